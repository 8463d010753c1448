/* stream_object.h: the struct of a stream transport. Only the stream's own files include it.
 *
 * Each file calls only files above it:
 *
 *   stream_base.c   context, reports, watching, the I/O reference on the socket
 *   stream_end.c    connection_lost() and the release; stream_send.c: the system calls
 *   stream_flush.c  when the queue is sent; flow control, failure, closing
 *   stream_write.c  write() and its kin; stream_read.c: from the kernel to the protocol
 *   stream_start.c  set-up, and the events of the descriptor
 *   stream_looks.c  what other threads see; uses none of the above
 *   stream.c        the type
 */
#ifndef FASTAIO_STREAM_OBJECT_H
#define FASTAIO_STREAM_OBJECT_H

#include "loop/watch.h"
#include "reader/streamreader.h"
#include "transport/pieces.h"

/* The slots of asyncio.transports._FlowControlMixin behind BaseTransport's one. */
#define FLOW_CONTROL_SLOTS 4
/* A write of this size is sent immediately. After a read of this size the next one receives
   straight into a bytes object. A turn reads this much ahead of the tasks behind stream readers. */
#define STREAM_LARGE (64 * 1024)

/* The kinds of sockets by what can cut a read before the data ends: see stream_read.c. */
typedef enum {
    SOCKET_OTHER,
    SOCKET_TCP,
    SOCKET_UNIX, /* a Unix stream socket */
} SocketKind;

/* The target of received data. */
typedef struct {
    PyObject *protocol;  /* NULL once the connection is lost */
    ReaderCore *reader;  /* of a stream protocol whose reader is fed natively; borrowed, or NULL */
    native_feed_fn feed; /* takes what is read for `protocol`, a native one (TLS); or NULL */
    bool buffered;       /* the protocol is a BufferedProtocol */
    bool streams;        /* the protocol is of asyncio.streams: is_closing() is a part of drain() */
} StreamSink;

typedef struct {
    Py_ssize_t last_read; /* bytes */
    bool readable;        /* the kernel is believed to have data, or the end */
    bool hung_up;         /* HUP, RDHUP or ERR was reported: only EAGAIN or EOF ends reading */
    bool urgent;          /* urgent data may have been received: EPOLLPRI was reported */
    bool read_queued;     /* a read is in a queue of the loop */
    bool eof;             /* the end was read; resume_reading() reads again */
    bool paused;          /* pause_reading() was called */
} StreamInput;

typedef struct {
    FlushNode flush; /* listed while the loop or the keeper is to send the queue */
    Pieces pieces;   /* the queue; the keeper reads it while `flush` is listed, see flush.h */
    Py_ssize_t high_water;
    Py_ssize_t low_water;
    PyObject *empty_waiter; /* a future: the queue is to be left empty for sendfile; or NULL */
    bool writable;          /* the kernel is believed to take more */
    bool has_room;        /* EPOLLOUT was reported; the refused output has not been offered again */
    bool watched;         /* EPOLLOUT is asked for */
    bool leftover;        /* foreign: what is queued was refused before */
    bool scattered;       /* the refused queue has a view with gaps: the next send fails */
    bool protocol_paused; /* pause_writing() was called, resume_writing() not yet */
    bool eof;             /* write_eof() was called */
    bool drains_each;     /* drain() has followed the last write(): the next one is sent at once */
    unsigned undrained;   /* writes since the last drain() */
} StreamOutput;

typedef struct {
    PyObject *obj;     /* the Python socket; NULL once it is closed */
    PyObject *shown;   /* the TransportSocket in `extra`, which holds `obj`; NULL: `obj` is another one */
    const int *fd_ptr; /* where `obj` keeps its descriptor; NULL where that is not known */
    IoWatcher io;
    int fd; /* the number that is watched */
    SocketKind kind;
    bool foreign; /* not exactly socket.socket: its own methods are called */
    bool io_ref;  /* the transport has an I/O reference on `obj` */
    bool lent;    /* sendfile() waits for the descriptor's events, the transport does not */
} StreamSocket;

typedef struct {
    PyObject *waiter;       /* a future: its result is set once reading has begun; or NULL */
    PyObject *lost_exc;     /* the argument of connection_lost(); NULL: None */
    PyObject *lost_context; /* of connection_lost(), while that is queued; or NULL */
    unsigned conn_lost;     /* not 0: connection_lost() is queued; counts writes from there on */
    bool started;           /* connection_made() has been called: the descriptor may be watched */
    bool closing;           /* no read begins any more, and write_eof() does nothing */
} StreamLife;

/* The states of a connection. `loop` is set from set-up until it is gone.
 *
 *   state        started closing conn_lost  loop  sock.obj   what may happen
 *   blank           0       0        0      NULL    NULL     __init__() has not run
 *   made            0       0        0      set     set      write(); connection_made() is queued
 *   open            1       0        0      set     set      reads and writes
 *   closing        0/1      1        0      set     set      the rest of the queue is sent
 *   lost           0/1      1       > 0     set     set      connection_lost() is queued
 *   released       0/1      1       > 0     set     NULL     within connection_lost()'s last part
 *   gone           0/1      1       > 0     NULL    NULL     write() counts and warns
 *
 * A connection only moves down this table. `closing` ends with the empty queue, so a transport with
 * an empty queue goes straight to `lost`. No other combination exists.
 *
 * 1. `in.readable` becomes true by an event (stream_start.c), by resume_reading() after EOF, and by
 *    _read_ready(). It becomes false in stream_read.c, where a read proves that the input is
 *    exhausted, and at the release. Nothing else may touch it.
 * 2. `out.writable` becomes false in stream_send.c, by EAGAIN and by a short count, and at the
 *    release. It becomes true by an event (stream_start.c).
 * 3. A transport is kept alive by the loop's table while an event is awaited: while it may read, or
 *    refused output waits for room (stream_update_hold()). A queued read, start or connection_lost()
 *    holds it by the ready queue. Listed output holds nothing: a finalizer sends it
 *    (stream_send_last()). So a paused transport without output lives by its users alone, as on
 *    asyncio.
 * 4. `out.flush` is listed only while `loop` and `sock.obj` stay the same. Whatever changes either
 *    takes the node off first: the keeper's thread may be reading both.
 */
typedef struct {
    PyObject_HEAD
    PyObject *extra;                     /* here asyncio.BaseTransport has its slot _extra */
    void *base_room[FLOW_CONTROL_SLOTS]; /* never used: getters of ours hide these */
    PyObject *dict;
    PyObject *weakrefs;
    LoopObject *loop;
    Home home;
    PyObject *server;  /* or NULL */
    PyObject *context; /* of the protocol's callbacks, see CONNECTION_HAS_ONE_CONTEXT */
    StreamSink sink;
    StreamInput in;
    StreamOutput out;
    StreamSocket sock;
    StreamLife life;
} StreamObject;

/* Return true if somebody else holds the socket, and may shut it down, close it or send by it: what
   is written then must not wait. The transport and `shown` hold `obj`, the transport and `extra`
   hold `shown`. */
static inline bool
stream_socket_is_shared(const StreamObject *self)
{
    return self->sock.shown == NULL || Py_REFCNT(self->sock.shown) > 2
           || Py_REFCNT(self->sock.obj) > 2;
}

/* Return the descriptor for system calls: -1 if the user has closed or detached the socket. */
static inline int
stream_fd(const StreamObject *self)
{
    return self->sock.fd_ptr != NULL ? *self->sock.fd_ptr : self->sock.fd;
}

static inline bool
stream_may_read(const StreamObject *self)
{
    return self->life.started && !self->in.paused && !self->life.closing && !self->in.eof &&
           !self->sock.lent;
}

/* Return whether no attribute of the object can hide a method of the type. */
static inline bool
stream_is_unpatched(const StreamObject *self)
{
    return self->dict == NULL || PyDict_GET_SIZE(self->dict) == 0;
}

#endif
