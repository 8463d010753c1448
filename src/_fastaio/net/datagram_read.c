/* datagram_read.c: receiving datagrams.
 *
 * asyncio receives one datagram in each turn. Here a turn receives as many as lately came together. What a
 * callback can do stays as on asyncio:
 * - After each callback that has queued something for the next turn, or has stopped the loop, the next
 *   datagram waits for the next turn. So a task that a datagram wakes runs before the next datagram.
 * - Once the protocol closes, aborts or pauses the transport, nothing more is delivered.
 *
 * One recvmmsg() receives many datagrams before the first one is delivered. That is only done where nobody
 * can tell: the loop has made the socket, no fork has shared it, and it has no peer, so the kernel holds no
 * pending error that belongs between two datagrams. What is left over when the transport closes is lost,
 * like what is left in the queue of such a socket. On other sockets a system call receives one datagram.
 */
#include "net/datagram_read.h"

#include "base/error.h"
#include "base/kernel.h"
#include "loop/watch.h"
#include "net/datagram_kind.h"

#include <errno.h>

typedef enum { FAILED = -1, NOTHING, RECEIVED } Received;

/* Datagrams whose size adds up to more than this in a batch are received fewer at a time. */
#define BATCH_BYTES (256 * 1024)

static const char read_error[] = "Fatal read error on datagram transport";

/* ---- how many come together ------------------------------------------------------------------- */

/* Return how many datagrams this turn may receive: twice as many as lately came together. Where they came
   alone, only one turn in DATAGRAM_PROBE looks for a second one: to look costs a system call that finds
   nothing. */
static int
choose_limit(DatagramBatch *batch)
{
    if (batch->size == 1 && ++batch->events % DATAGRAM_PROBE) {
        return 1;
    }
    return 2 * batch->size < DATAGRAM_BATCH ? 2 * batch->size : DATAGRAM_BATCH;
}

/* Note that `received` datagrams have come together. Single ones between bursts lower the count slowly. */
static void
note_count(DatagramBatch *batch, int received)
{
    int least = batch->size * 3 / 4;
    batch->size = received > least ? received : least;
    batch->size = batch->size > 1 ? batch->size : 1;
}

/* ---- the batch ------------------------------------------------------------------------------- */

void
datagram_drop_batch(DatagramObject *self)
{
    DatagramBatch *batch = &self->batch;
    while (batch->count > 0) {
        Datagram *next = &batch->items[batch->first++];
        batch->count--;
        Py_CLEAR(next->data); /* bytes, and an address of str and int: dropping them runs no code */
        Py_CLEAR(next->address);
    }
}

static inline bool
may_deliver(const DatagramObject *self)
{
    return !self->core.conn_lost && !self->core.closing && !self->core.paused;
}

/* Return true if a callback has left the loop something to do before the next datagram. `tail`: the tail of
   the loop's ready queue before the callback. */
static inline bool
must_yield(const DatagramObject *self, const LoopObject *loop, size_t tail)
{
    return self->core.native != loop || loop->ready.tail != tail || relaxed_load(&loop->stopping);
}

/* Pass a datagram to the protocol and drop it. Return 0, or -1 with an exception. */
static int
deliver(DatagramObject *self, fastaio_state *st, Datagram datagram)
{
    /* Own the protocol: the callback may set another one. */
    PyObject *protocol = self->core.protocol;
    PyObject *args[] = {Py_NewRef(protocol ? protocol : Py_None), datagram.data, datagram.address};
    PyObject *result = PyObject_VectorcallMethod(st->str_datagram_received, args, 3, NULL);
    Py_DECREF(args[0]);
    Py_DECREF(datagram.data);
    Py_DECREF(datagram.address);
    return drop_result(result);
}

/* Queue the reader's handle for the next turn, which delivers or receives the next datagrams. Until then
   datagram_read_ready() does nothing. Keeps a raised exception. */
static void
postpone(DatagramObject *self, LoopObject *loop)
{
    PyObject *raised = PyErr_GetRaisedException();
    self->batch.turn = loop->metrics.iterations;
    /* Not found if a callback has set another socket: the poller reports the datagrams again. */
    if (watch_queue_reader(loop, datagram_fd(self, self->core.st)) < 0) {
        PyErr_WriteUnraisable((PyObject *)self); /* the next event goes on */
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* Deliver the batch until it is empty or must wait. Return 0, or -1 with an exception. */
static int
deliver_batch(DatagramObject *self, fastaio_state *st, LoopObject *loop)
{
    DatagramBatch *batch = &self->batch;
    int rc = 0;
    bool yields = false;
    while (rc == 0 && !yields && batch->count > 0 && may_deliver(self)) {
        size_t tail = loop->ready.tail;
        Datagram next = batch->items[batch->first++];
        batch->count--;
        rc = deliver(self, st, next);
        yields = must_yield(self, loop, tail);
    }
    if (batch->count > 0 && may_deliver(self) && self->core.native == loop &&
        self->core.file != NULL) {
        postpone(self, loop);
    }
    return rc;
}

/* Make Python objects of what recvmmsg() has received, and make them the batch. Return 0, or -1 with an
   exception. */
static int
keep_batch(DatagramObject *self, const char *buffer, const struct mmsghdr *messages,
           const SockAddr *from, int count)
{
    DatagramBatch *batch = &self->batch;
    Datagram received[DATAGRAM_BATCH] = {0};
    bool failed = false;
    batch->largest = 0;
    /* All data first: it leaves the loop's buffer before the collector can run code, which may receive. */
    for (int i = 0; i < count && !failed; i++) {
        int size = (int)messages[i].msg_len;
        received[i].data = PyBytes_FromStringAndSize(buffer + (size_t)i * BATCH_STRIDE, size);
        failed = received[i].data == NULL;
        batch->largest = size > batch->largest ? size : batch->largest;
    }
    batch->converting = true;
    for (int i = 0; i < count && !failed; i++) {
        received[i].address =
            address_to_python(&self->cache, &from[i], messages[i].msg_hdr.msg_namelen);
        failed = received[i].address == NULL;
    }
    batch->converting = false;
    if (failed || !may_deliver(self)) { /* the latter by code that the collector ran */
        for (int i = 0; i < count; i++) {
            Py_XDECREF(received[i].data);
            Py_XDECREF(received[i].address);
        }
        return failed ? -1 : 0;
    }
    memcpy(batch->items, received, (size_t)count * sizeof(*received));
    batch->first = 0;
    batch->count = count;
    return 0;
}

/* Return whether one call may receive several datagrams: the top of this file has the rule. */
static bool
may_batch(DatagramObject *self, fastaio_state *st, LoopObject *loop)
{
    if (!self->own_socket || self->has_peer || self->family == AF_UNIX ||
        self->fork_calls != relaxed_load(&st->fork_calls) || loop_batch_buffer(loop) == NULL) {
        return false;
    }
    if (self->batch.items == NULL) {
        self->batch.items = PyMem_Calloc(DATAGRAM_BATCH, sizeof(Datagram));
    }
    return self->batch.items != NULL;
}

/* Receive up to `most` datagrams by one call, and deliver them. Return 0, or -1 with an exception. */
static int
receive_batch(DatagramObject *self, fastaio_state *st, LoopObject *loop, int most)
{
    SockAddr from[DATAGRAM_BATCH];
    struct iovec vectors[DATAGRAM_BATCH];
    struct mmsghdr messages[DATAGRAM_BATCH];
    char *buffer = loop_batch_buffer(loop);
    for (int i = 0; i < most; i++) {
        memset(&from[i], 0, sizeof(from[i].any));
        vectors[i] = (struct iovec){buffer + (size_t)i * BATCH_STRIDE, BATCH_SLOT_SIZE};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                              .msg_namelen = sizeof(from[i]),
                                              .msg_iov = &vectors[i],
                                              .msg_iovlen = 1};
    }
    int fd = *compat_socket_fd(self->core.file);
    int count = kernel_recvmmsg(fd, messages, (unsigned)most, MSG_DONTWAIT);
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            return 0;
        }
        if (errno == ENOSYS || errno == EPERM) { /* a sandbox forbids recvmmsg() */
            self->own_socket = false;
            return 0; /* the poller reports the datagrams again: it is level-triggered */
        }
        return datagram_report_errno(self, st);
    }
    note_count(&self->batch, count);
    for (int i = 0; i < count; i++) {
        relaxed_add(&loop->metrics.bytes_received, messages[i].msg_len);
    }
    if (keep_batch(self, buffer, messages, from, count) < 0) {
        return transport_fatal_error((PyObject *)self, read_error);
    }
    return deliver_batch(self, st, loop);
}

/* ---- one by one ------------------------------------------------------------------------------ */

/* End a transport whose socket is detached. The descriptor has another owner now, and the transport
   does not read what it reports: the events would never end. Return 0, or -1 with what leaves the
   loop. */
static int
fail_detached(DatagramObject *self)
{
    errno = EBADF;
    PyErr_SetFromErrno(PyExc_OSError);
    return transport_fatal_error((PyObject *)self, read_error);
}

/* Receive one datagram and deliver it, or report the error of recvfrom(). RECEIVED stands for both,
   NOTHING for EAGAIN, FAILED for an exception. */
static Received
receive_one(DatagramObject *self, fastaio_state *st, LoopObject *loop)
{
    SockAddr from;
    socklen_t size = sizeof(from);
    char *buffer = loop_hot_buffer(loop);
    int fd = *compat_socket_fd(self->core.file);
    if (buffer == NULL) {
        return FAILED;
    }
    memset(&from, 0, sizeof(from.any));
    ssize_t count = kernel_recvfrom(fd, buffer, HOT_BUFFER_SIZE, MSG_DONTWAIT, &from.any, &size);
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            return NOTHING;
        }
        return datagram_report_errno(self, st) < 0 ? FAILED : RECEIVED;
    }
    relaxed_add(&loop->metrics.bytes_received, (uint64_t)count);
    Datagram datagram = {PyBytes_FromStringAndSize(buffer, count), NULL};
    datagram.address = datagram.data ? address_to_python(&self->cache, &from, size) : NULL;
    if (datagram.address == NULL) {
        Py_XDECREF(datagram.data);
        return transport_fatal_error((PyObject *)self, read_error) < 0 ? FAILED : RECEIVED;
    }
    return deliver(self, st, datagram) < 0 ? FAILED : RECEIVED;
}

/* Receive up to `most` datagrams one by one. Return 0, or -1 with an exception. */
static int
receive_singly(DatagramObject *self, fastaio_state *st, LoopObject *loop, int most)
{
    int received = 0;
    Received last = RECEIVED;
    bool yields = false;
    while (last == RECEIVED && !yields && received < most && may_deliver(self)) {
        if (received > 0 && (datagram_is_detached(self, st) || self->core.protocol == NULL ||
                             datagram_check_plain(self, st) <= 0)) {
            return PyErr_Occurred() ? -1 : 0; /* the next event finds the reason */
        }
        size_t tail = loop->ready.tail;
        last = receive_one(self, st, loop);
        received += last == RECEIVED;
        yields = must_yield(self, loop, tail);
    }
    if (yields && last == RECEIVED && received < most && may_deliver(self) &&
        self->core.native == loop && !datagram_is_detached(self, st)) {
        self->batch.in_turns += received;
        postpone(self, loop);
        return 0;
    }
    note_count(&self->batch, self->batch.in_turns + received);
    self->batch.in_turns = 0;
    return last == FAILED ? -1 : 0;
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Receive datagrams and deliver them. Return 0, or -1 with an exception. */
static int
receive(DatagramObject *self, fastaio_state *st)
{
    if (datagram_is_detached(self, st)) {
        return fail_detached(self);
    }
    int plain = datagram_check_plain(self, st);
    LoopObject *loop = plain > 0 ? self->core.native : NULL;
    if (loop == NULL || self->core.protocol == NULL) {
        return plain < 0 ? -1
                         : drop_result(transport_call_base(st->asyncio_DatagramTransport,
                                                           st->str__read_ready, (PyObject *)self,
                                                           NULL, 0));
    }
    int most = choose_limit(&self->batch);
    if (most == 1 || !may_batch(self, st, loop)) {
        return receive_singly(self, st, loop, most);
    }
    int fitting = BATCH_BYTES / (self->batch.largest + 1);
    most = most < fitting ? most : fitting;
    return receive_batch(self, st, loop, most > 1 ? most : 2);
}

PyObject *
datagram_read_ready(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    DatagramObject *self = (DatagramObject *)op;
    fastaio_state *st = self->core.st;
    DatagramBatch *batch = &self->batch;
    LoopObject *loop = self->core.native;
    if (self->core.conn_lost || batch->converting) {
        Py_RETURN_NONE;
    }
    if (batch->count > 0 && (loop == NULL || self->fork_count != st->fork_count)) {
        datagram_drop_batch(self); /* in a forked child: the parent delivers its own */
    }
    int rc;
    if (loop != NULL && batch->turn == loop->metrics.iterations) {
        rc = 0; /* postpone() has queued another call for the next turn */
    }
    else if (batch->count > 0) {
        rc = deliver_batch(self, st, loop);
    }
    else {
        rc = may_deliver(self) ? receive(self, st) : 0;
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
datagram_resume_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    DatagramObject *self = (DatagramObject *)op;
    fastaio_state *st = self->core.st;
    bool paused = self->core.paused;
    PyObject *result = transport_call_base(st->asyncio_DatagramTransport, st->str_resume_reading,
                                           op, NULL, 0);
    LoopObject *loop = self->core.native;
    if (result != NULL && paused && self->batch.count > 0 && may_deliver(self) && loop != NULL &&
        self->core.file != NULL) {
        postpone(self, loop);
    }
    return result;
}
