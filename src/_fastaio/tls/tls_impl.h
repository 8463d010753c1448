/* tls_impl.h: what the rooms of TLS share.
 *
 * tls.c moves the data, tls_type.c shows the protocol to Python, tls_transport.c
 * is the application's transport; tls_cipher.c is the seam to what encrypts.
 * Nobody else includes this.
 */
#ifndef FASTAIO_TLS_IMPL_H
#define FASTAIO_TLS_IMPL_H

#include "transport/pieces.h"
#include "reader/streamreader.h"
#include "tls/tls.h"
#include "tls/tls_openssl.h"

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
    PyObject *modes[TLS_MODES]; /* asyncio's enum */
    PyObject *again;            /* asyncio's SSLAgainErrors; NULL without ssl, like the next 6 */
    PyObject *SSLObject;
    PyObject *SSLObject_read; /* as they were when this was loaded */
    PyObject *SSLObject_write;
    PyObject *SSLObject_pending;
    PyObject *MemoryBIO;
    PyObject *SSLSocket; /* the type of ssl.SSLObject._sslobj */
    bool asks_wire;      /* this asyncio's is_closing() looks at the raw transport too */
    OpenSSL openssl;
};

/* Who encrypts. */
typedef enum {
    CIPHER_UNBOUND, /* to be found out */
    CIPHER_OBJECTS, /* methods of Python's objects */
    CIPHER_OPENSSL, /* OpenSSL behind these objects */
} CipherKind;

typedef struct {
    PyObject_HEAD
    LoopObject *loop; /* NULL before __init__ */
    PyObject *extra;
    PyObject *transport; /* the raw one; NULL before connection_made(), after connection_lost() */
    PyObject *app_transport;
    PyObject *app_protocol;
    PyObject *get_buffer; /* of a BufferedProtocol, else NULL; so is the next */
    PyObject *buffer_updated;
    ReaderCore *reader; /* of a stream protocol whose reader we feed; borrowed, or NULL */
    PyObject *state;
    TlsMode mode; /* the same */

    PyObject *sslobj;
    PyObject *incoming;
    PyObject *outgoing;
    CipherKind cipher;
    bool exact;     /* CIPHER_OBJECTS: methods of _ssl, which take buffers */
    PyObject *inner; /* what _ssl has behind sslobj; NULL unless `exact` */
    PyObject *read;  /* methods of `inner`, or else of sslobj */
    PyObject *write;
    PyObject *pending;
    SslHandles handles; /* CIPHER_OPENSSL: borrowed from the objects */
    void *lent;         /* a BIO over memory of others, which stands in for the incoming one */
    const char *lent_end;
    bool busy;             /* OpenSSL works on the connection and the GIL is released */
    /* st->fork_count when `busy` was set: a forked child has no such thread. */
    unsigned busy_fork_count;
    unsigned long busy_in; /* the thread that set `busy` */

    Pieces pieces; /* written and not encrypted */

    Py_ssize_t incoming_high;
    Py_ssize_t incoming_low;
    Py_ssize_t outgoing_high;
    Py_ssize_t outgoing_low;
    int conn_lost;
    bool encrypting;
    bool streams; /* the protocol is of asyncio.streams: is_closing() is a part of drain() */
    bool resuming;
    bool reading_again;
    char wire_writing_paused; /* chars: members for Python */
    char wire_reading_paused;
    char app_reading_paused;
    char app_writing_paused;
} TlsObject;

typedef struct {
    PyObject_HEAD
    PyObject *extra;    /* here asyncio.BaseTransport has its slot _extra */
    void *base_room[4]; /* _FlowControlMixin's slots: getters of ours hide these */
    PyObject *loop;
    PyObject *protocol; /* _ssl_protocol: a TlsObject, or what a test has put here, or None */
    char closed;
} TlsTransportObject;

static inline bool
tls_is_open(const TlsObject *self)
{
    return self->mode == TLS_WRAPPED || self->mode == TLS_FLUSHING;
}

/* All of these: 0, or -1 with an exception, where nothing else is said. */

/* tls_cipher.c */

enum { CIPHER_ERROR = -1, CIPHER_DONE, CIPHER_AGAIN, CIPHER_EOF };

/* From this size on OpenSSL works without the GIL: 64 KiB take it 30 to 40 us. */
#define CIPHER_RELEASE (64 * 1024)

/* Decrypt into a buffer: until the buffer is full (CIPHER_DONE), the input is exhausted
   (CIPHER_AGAIN), or the end (CIPHER_EOF). The bytes so far are in *total. May release the GIL. */
int cipher_read(TlsObject *self, char *buffer, Py_ssize_t size, Py_ssize_t *total);
/* Encrypt; CIPHER_*. May release the GIL: the caller holds `data` and `self`. */
int cipher_write(TlsObject *self, const char *data, Py_ssize_t size, Py_ssize_t *count);
/* Wait until no other thread works on the connection without the GIL. asyncio's rules never lead to
   a wait; a program that breaks these rules must not find OpenSSL at work. */
void cipher_wait_idle(TlsObject *self);

static inline void
cipher_wait(TlsObject *self)
{
    if (self->busy) {
        cipher_wait_idle(self);
    }
}

/* What has come from the peer. */
int cipher_feed(TlsObject *self, const char *data, Py_ssize_t size);
/* The same, where much has come and nothing is before it: without a copy, until cipher_settle() takes
   what is left. No Python may run in between. 1: done, 0: not possible, -1: error. */
int cipher_lend(TlsObject *self, const char *data, Py_ssize_t size);
int cipher_settle(TlsObject *self);
/* The next bytes for the peer, at most CIPHER_TAKE where OpenSSL is called; NULL for none. */
#define CIPHER_TAKE (512 * 1024)
int cipher_take(TlsObject *self, PyObject **data);
/* Bytes on both sides; -1 with an exception. */
Py_ssize_t cipher_incoming(TlsObject *self);
Py_ssize_t cipher_outgoing(TlsObject *self);
/* Finds out again who encrypts. */
void cipher_unbind(TlsObject *self);

/* tls.c */

/* What stream transports call for a protocol of ours: see NativeFeed. */
int tls_takes_feed(LoopObject *loop, PyObject *protocol);
int tls_feed(PyObject *protocol, const char *data, Py_ssize_t size);
int tls_read(TlsObject *self);
int tls_resume_reading(TlsObject *self);
/* Encrypts bytes (or what else has a buffer) and hands them on; what cannot be encrypted yet waits. */
int tls_write(TlsObject *self, PyObject *data);
int tls_write_all(TlsObject *self, PyObject *iterable);
/* Only queues. */
int tls_queue(TlsObject *self, PyObject *data);
/* Encrypts what is queued: whatever fails is handled as asyncio's _fatal_error(). */
int tls_flush(TlsObject *self);
/* The same before an end that has come already: whatever fails is forgotten. */
int tls_flush_last(TlsObject *self);
/* asyncio's _do_write(), _process_outgoing(), _control_app_writing(), _control_ssl_reading(). */
int tls_encrypt(TlsObject *self);
int tls_send(TlsObject *self);
int tls_control_writing(TlsObject *self);
int tls_control_reading(TlsObject *self);
void tls_drop_output(TlsObject *self);
int tls_use_protocol(TlsObject *self, PyObject *protocol);
/* get_extra_info(). */
PyObject *tls_extra_info(TlsObject *self, PyObject *name, PyObject *fallback);

/* tls_type.c, tls_transport.c */

int tls_protocol_type_init(PyObject *module);
int tls_transport_type_init(PyObject *module);

#endif
