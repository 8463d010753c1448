/* stream_object.h: the struct of a stream transport. Only the stream's own files include it.
 *
 * Each file calls only files above it:
 *
 *   stream_base.c   context, reports, watching, the I/O reference on the socket
 *   stream_end.c    connection_lost() and the release; stream_send.c: the system calls
 *   stream_flush.c  when the queue is sent; flow control, failure, closing
 *   stream_write.c  write() and its kin; stream_read.c: from the kernel to the protocol
 *   stream_start.c  set-up, and the events of the descriptor
 *   stream.c        the type
 */
#ifndef FASTAIO_STREAM_OBJECT_H
#define FASTAIO_STREAM_OBJECT_H

#include "reader/streamreader.h"
#include "transport/pieces.h"

/* The slots of asyncio.transports._FlowControlMixin behind BaseTransport's one. */
#define FLOW_CONTROL_SLOTS 4
/* From here on a single write goes at once, and reading takes the way without a copy. A turn reads no
   more than that ahead of the tasks behind stream readers. */
#define STREAM_LARGE (64 * 1024)

/* What can cut a read before the data ends: see stream_read.c. */
typedef enum {
    SOCKET_OTHER,
    SOCKET_TCP,
    SOCKET_UNIX, /* a Unix stream socket */
} SocketKind;

typedef struct {
    PyObject_HEAD
    PyObject *extra;                     /* here asyncio.BaseTransport has its slot _extra */
    void *base_room[FLOW_CONTROL_SLOTS]; /* never used: getters of ours hide these */
    PyObject *dict;
    PyObject *weakrefs;
    LoopObject *loop; /* NULL before __init__ and once the connection is lost; so are the next 3 */
    PyObject *protocol;
    native_feed_fn feed; /* takes what is read for `protocol`, a native one (TLS); or NULL */
    ReaderCore *reader; /* of a stream protocol whose reader we feed; borrowed, or NULL */
    PyObject *sock;
    const int *sock_fd;     /* where sock keeps its descriptor; NULL where that is not known */
    PyObject *server;       /* or NULL */
    PyObject *waiter;       /* told once reading has begun; or NULL */
    PyObject *context;      /* of the protocol's callbacks, see compat.h */
    PyObject *lost_context; /* of connection_lost(), once that is queued */
    PyObject *lost_exc;
    PyObject *empty_waiter; /* a future: the queue is to be left empty for sendfile */
    IoWatcher io;
    FlushNode flush;
    Pieces pieces;     /* queued output; the keeper reads it while `flush` is listed, see flush.h */
    Py_ssize_t queued; /* bytes not sent */
    Py_ssize_t high_water;
    Py_ssize_t low_water;
    Py_ssize_t last_read;
    int fd;
    unsigned
        conn_lost; /* 0: alive; else connection_lost() is queued; counts writes from there on */
    SocketKind kind;
    /* What the kernel is believed to answer. `readable` is cleared only where the input is proved to
       be exhausted, `writable` by EAGAIN and by a short count. */
    bool readable;
    bool writable;
    bool has_room; /* EPOLLOUT was reported, and refused output has not been offered again */
    bool urgent;   /* urgent data may have been received: EPOLLPRI was reported */
    bool hung_up;  /* HUP, RDHUP or ERR was seen: only EAGAIN or EOF ends reading */
    bool foreign;  /* not exactly socket.socket: its own methods are called */
    bool buffered; /* the protocol is a BufferedProtocol */
    bool streams;  /* the protocol is of asyncio.streams: is_closing() is a part of drain() */
    bool io_ref;   /* we hold an I/O reference on sock */
    bool started;
    bool watched_out; /* EPOLLOUT is asked for */
    bool read_queued;
    bool read_eof;
    bool leftover; /* foreign: what is queued was refused before */
    bool lent;     /* sendfile waits on the descriptor instead of us */
    bool closing;
    bool paused;
    bool protocol_paused;
    bool eof; /* write_eof() was called */
} StreamObject;

/* The descriptor to call the kernel with: -1 if the user has closed or detached it. */
static inline int
stream_fd(const StreamObject *self)
{
    return self->sock_fd != NULL ? *self->sock_fd : self->fd;
}

static inline bool
stream_may_read(const StreamObject *self)
{
    return self->started && !self->paused && !self->closing && !self->read_eof && !self->lent;
}

/* Whether nobody has set attributes, which may hide methods. */
static inline bool
stream_is_unpatched(const StreamObject *self)
{
    return self->dict == NULL || PyDict_GET_SIZE(self->dict) == 0;
}

#endif
