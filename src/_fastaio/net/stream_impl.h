/* stream_impl.h: what the five rooms of the stream transport share.
 *
 * stream.c has the type and what Python sees, stream_life.c a connection's
 * beginning and end; stream_read.c brings data in, stream_write.c queues output
 * and stream_send.c sends it. Nobody else includes this.
 */
#ifndef FASTAIO_STREAM_IMPL_H
#define FASTAIO_STREAM_IMPL_H

#include "transport/pieces.h"
#include "net/stream.h"
#include "reader/streamreader.h"

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

/* All of these: 0, or -1 with an exception that is the caller's caller's business. */

/* stream_life.c */

/* What asyncio's constructor does; on error the socket stays the caller's. */
int stream_set_up(StreamObject *self, LoopObject *loop, PyObject *sock, PyObject *protocol,
                  PyObject *waiter, PyObject *extra, PyObject *server);
/* Another socket in the place of self->sock, whose descriptor stays the one that is watched. */
int stream_use_socket(StreamObject *self, PyObject *sock);
int stream_use_protocol(StreamObject *self, fastaio_state *st, PyObject *protocol);
/* Runs fn(self) in `context`. */
int stream_run_in(StreamObject *self, PyObject *context, int (*fn)(StreamObject *));
/* Registers for what is wanted now. */
int stream_watch(StreamObject *self);
/* Has the kernel say again what it may have said before: a foreign socket's "would block" need not
   be the kernel's. */
int stream_watch_again(StreamObject *self);
/* Keeps the transport alive while the kernel is to report something. */
void stream_update_hold(StreamObject *self);
/* {message, exception, transport, protocol} to the loop's exception handler. */
int stream_report(StreamObject *self, const char *message, PyObject *exc);
/* As asyncio's _fatal_error: reports, and gives the connection up. */
int stream_fatal_error(StreamObject *self, PyObject *exc, const char *message);
/* The same for the raised exception; KeyboardInterrupt and SystemExit stay raised. */
int stream_fatal_raised(StreamObject *self, const char *message);
int stream_force_close(StreamObject *self, PyObject *exc);
int stream_close(StreamObject *self);
/* Queues connection_lost(exc). */
int stream_lose(StreamObject *self, PyObject *exc);
/* Calls it (with lost_exc), and lets everything go. */
int stream_call_lost(StreamObject *self);
/* Lets the poller go, then closes the socket, once. */
int stream_release(StreamObject *self);
/* logger.debug(format, self) in debug mode. */
int stream_debug(StreamObject *self, const char *format);
/* Ends the sendfile waiter, if there is one that still waits; exc NULL: with success. */
int stream_end_empty_waiter(StreamObject *self, PyObject *exc);

/* stream_read.c */

/* One turn of reading, if it can and may be. */
int stream_read(StreamObject *self);
/* Queues one. */
int stream_read_later(StreamObject *self);

/* stream_send.c */

/* Sends what is queued, as far as the kernel takes it, and before it what other transports have
   queued before. */
int stream_flush(StreamObject *self);
/* FlushNode.keep: the keeper's thread, under the list's lock. */
bool stream_keep(FlushNode *node);
/* The loop's FlushNode callback. */
int stream_flush_entry(LoopObject *loop, PyObject *op);
void stream_drop_output(StreamObject *self);
/* shutdown(SHUT_WR). */
int stream_shut_down_writing(StreamObject *self);
int stream_maybe_pause(StreamObject *self);
/* Hands the kernel what it will take without a word to anybody: for finalizers. */
void stream_send_last(StreamObject *self);

/* stream_write.c */

extern PyMethodDef stream_write_methods[];

#endif
