/* tls_object.h: the struct of a TLS connection, and what TLS keeps in the module's state. Only the
 * files of this folder include it.
 *
 * Each file uses only files above it:
 *
 *   tls_openssl.c    finds libssl's functions, and the SSL behind Python's objects
 *   tls_cipher.c     encrypts and decrypts, by either of the two
 *   tls_write.c      from the application to the wire
 *   tls_read.c       from the wire to the application
 *   tls_type.c       the type TlsProtocol, asyncio's SSLProtocol with C fields
 *   tls_transport.c  the type TlsTransport, on which the application writes
 *   tls_state.c      TlsState, the start of the room
 *
 * The wire is the transport below, which carries the records.
 */
#ifndef FASTAIO_TLS_OBJECT_H
#define FASTAIO_TLS_OBJECT_H

#include "loop/loop.h"
#include "reader/streamreader.h"
#include "tls/tls_openssl.h"
#include "transport/pieces.h"

/* The members of asyncio.sslproto.SSLProtocolState. */
typedef enum {
    TLS_UNWRAPPED,
    TLS_HANDSHAKE,
    TLS_WRAPPED,
    TLS_FLUSHING,
    TLS_SHUTDOWN,
    TLS_MODES,
} TlsMode;

struct TlsState {
    PyTypeObject *ProtocolType;
    PyTypeObject *TransportType;
    PyObject *feed_method;      /* ProtocolType.buffer_updated */
    PyObject *modes[TLS_MODES]; /* asyncio's members, by TlsMode */
    bool wire_closing_counts;   /* this asyncio's is_closing() asks the wire, too */
    OpenSSL openssl;

    /* Of the modules ssl and _ssl; all NULL in a Python without them. */
    PyObject *again_errors; /* asyncio's SSLAgainErrors */
    PyObject *SSLObject;
    PyObject *SSLObject_read; /* as this method was when the state was made, like the next two */
    PyObject *SSLObject_write;
    PyObject *SSLObject_pending;
    PyObject *MemoryBIO;
    PyObject *SSLSocket; /* the type of SSLObject._sslobj */
};

typedef enum {
    CIPHER_UNBOUND, /* not looked at yet */
    CIPHER_OBJECTS, /* methods of Python's objects are called */
    CIPHER_OPENSSL, /* OpenSSL behind these objects is called */
} CipherKind;

typedef struct {
    PyObject *sslobj; /* an SSLObject or another object; NULL before __init__, like the next two */
    PyObject *incoming;
    PyObject *outgoing;
    CipherKind kind;
    bool exact;      /* `read`, `write` and `pending` are methods of _ssl, which take buffers */
    PyObject *inner; /* sslobj._sslobj; NULL unless `exact` */
    PyObject *read;  /* methods of `inner`, or else of `sslobj`; NULL while unbound */
    PyObject *write;
    PyObject *pending;
    SslHandles handles;       /* CIPHER_OPENSSL: borrowed from the objects */
    void *lent;               /* a BIO over the caller's memory that replaces `incoming`; or NULL */
    const char *lent_end;     /* the end of that memory */
    bool busy;                /* OpenSSL works on the connection, and the GIL may be released */
    unsigned busy_fork_count; /* st->fork_count at that time: a forked child has no such thread */
    unsigned long busy_thread; /* the thread that set `busy` */
} TlsCipher;

/* The side of the application. */
typedef struct {
    PyObject *transport;
    PyObject *protocol;
    PyObject *get_buffer; /* of a BufferedProtocol, like the next; else NULL */
    PyObject *buffer_updated;
    ReaderCore *reader;  /* of a stream protocol whose reader is fed natively; borrowed, or NULL */
    bool streams;        /* the protocol is of asyncio.streams: is_closing() is a part of drain() */
    bool reading_paused; /* by the application */
    bool writing_paused; /* pause_writing() was called, resume_writing() not yet */
    bool resume_queued;  /* resume_reading() has queued the next read */
    bool read_queued;    /* a BufferedProtocol's next read is queued */
} TlsApp;

typedef struct {
    PyObject *transport; /* NULL before connection_made() and after connection_lost() */
    bool reading_paused; /* by TLS: too much has arrived that is not decrypted */
    bool writing_paused; /* by the transport */
    unsigned depth;      /* how many calls of its write() are on the stack */
} TlsWire;

typedef struct {
    PyObject_HEAD
    LoopObject *loop; /* NULL before __init__ */
    Home home;
    PyObject *extra;
    PyObject *state; /* asyncio's member for `mode` */
    TlsMode mode;
    TlsCipher cipher;
    TlsApp app;
    TlsWire wire;
    Pieces pieces;   /* written and not encrypted */
    bool encrypting; /* the first piece is being encrypted */
    int conn_lost;   /* writes since the end */
    Py_ssize_t incoming_high;
    Py_ssize_t incoming_low;
    Py_ssize_t outgoing_high;
    Py_ssize_t outgoing_low;
#ifdef Py_GIL_DISABLED
    Py_ssize_t outgoing_size; /* encrypted and not sent when that was last asked for: for other threads */
#endif
} TlsObject;

/* Other threads may look at this. */
static inline void
tls_set_reading_paused(TlsObject *self, bool paused)
{
    Section section;
    section_begin(&section, (PyObject *)self);
    self->app.reading_paused = paused;
    section_end(&section);
}

/* Return true while data may be encrypted and decrypted. */
static inline bool
tls_is_open(const TlsObject *self)
{
    return self->mode == TLS_WRAPPED || self->mode == TLS_FLUSHING;
}

#endif
