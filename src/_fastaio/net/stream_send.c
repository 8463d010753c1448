/* stream_send.c: the system calls that send the queue.
 *
 * Nothing here calls the protocol or ends the connection. While a callback blocks its thread, the
 * keeper's thread sends instead (stream_keep()).
 */
#include "net/stream_send.h"

#include "base/asyncio_versions.h"
#include "base/kernel.h"
#include "net/stream_base.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- the system call ------------------------------------------------------------------------- */

static void
note_sent(StreamObject *self, size_t count)
{
    if (self->loop != NULL) {
        relaxed_add(&self->loop->metrics.bytes_sent, count);
    }
    pieces_advance(&self->out.pieces, count);
}

/* Send the queue without its first `skip` bytes, as much as one call takes. Store the size offered
   to the kernel in *asked. Return the count of bytes sent, or -1 with errno. Needs no GIL. */
static ssize_t
send_vector(const Pieces *pieces, size_t skip, int fd, size_t *asked)
{
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT; /* the socket may be in blocking mode: see stream_read.c */
    struct iovec vectors[PIECES_VECTORS];
    *asked = 0;
    size_t count = pieces_gather(pieces, skip, vectors, 0, asked);
    ssize_t sent;
    do {
        if (count == 1) {
            sent = kernel_send(fd, vectors[0].iov_base, vectors[0].iov_len, flags);
        }
        else {
            struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
            sent = kernel_sendmsg(fd, &message, flags);
        }
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* Send until the queue is empty or the kernel takes no more. Return 0, or -1 with OSError. */
static int
send_native(StreamObject *self)
{
    while (self->out.pieces.count) {
        size_t asked;
        ssize_t sent = send_vector(&self->out.pieces, 0, stream_fd(self), &asked);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (sent > 0) {
            note_sent(self, (size_t)sent);
        }
        if (sent < (ssize_t)asked) {
            self->out.writable = false;
            break;
        }
    }
    return 0;
}

/* Return the rest of the first piece as an object, or NULL with an exception. */
static PyObject *
get_first_piece(StreamObject *self)
{
    PyObject *piece = Py_NewRef(pieces_at(&self->out.pieces, 0));
    size_t offset = self->out.pieces.offset;
    if (offset == 0) {
        return piece;
    }
    PyObject *whole = PyMemoryView_FromObject(piece);
    Py_DECREF(piece);
    if (whole == NULL) {
        return NULL;
    }
    PyObject *rest = PySequence_GetSlice(whole, (Py_ssize_t)offset, PY_SSIZE_T_MAX);
    Py_DECREF(whole);
    return rest;
}

/* Return the queue as a list for sendmsg(), or NULL with an exception. */
static PyObject *
list_pieces(StreamObject *self)
{
    size_t count =
        self->out.pieces.count < PIECES_VECTORS ? self->out.pieces.count : PIECES_VECTORS;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *piece = i ? Py_NewRef(pieces_at(&self->out.pieces, i)) : get_first_piece(self);
        if (piece == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, piece);
    }
    return list;
}

/* Call the socket's own method, like asyncio: send() for new output, sendmsg() for refused output.
   Return the method's result, or NULL with an exception. Return NULL without an exception if the
   look-up of the method has dropped the queue. */
static PyObject *
call_send(StreamObject *self)
{
    fastaio_state *st = self->loop->st;
    PyObject *sock = Py_NewRef(self->sock.obj);
    PyObject *method = NULL, *data = NULL, *result = NULL;
    bool all = self->out.leftover && OUTPUT_IS_GATHERED;
    if (all && PyObject_GetOptionalAttr(sock, st->str_sendmsg, &method) < 0) {
        goto done;
    }
    all = method != NULL;
    if (method == NULL && (method = PyObject_GetAttr(sock, st->str_send)) == NULL) {
        goto done;
    }
    if (self->out.pieces.count) {
        data = all ? list_pieces(self) : get_first_piece(self);
        result = data != NULL ? PyObject_CallOneArg(method, data) : NULL;
    }
done:
    Py_DECREF(sock);
    Py_XDECREF(method);
    Py_XDECREF(data);
    return result;
}

/* Send through the methods of a foreign socket until it would block or takes nothing. A short count
   proves nothing: such a socket may take less than it has room for. Return 0, or -1 with an
   exception. */
static int
send_foreign(StreamObject *self)
{
    while (self->out.pieces.count && self->sock.obj != NULL) {
        PyObject *result = call_send(self);
        Py_ssize_t sent = result != NULL ? PyNumber_AsSsize_t(result, PyExc_OverflowError) : -1;
        Py_XDECREF(result);
        if (self->out.pieces.count == 0 && !PyErr_Occurred()) {
            return 0; /* the call has closed the transport */
        }
        if (sent > self->out.pieces.size || (sent < 0 && !PyErr_Occurred())) {
            PyErr_SetString(PyExc_ValueError, "the socket claims to have sent an impossible count");
            return -1;
        }
        if (sent <= 0) {
            if (sent < 0 && !PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
                !PyErr_ExceptionMatches(PyExc_InterruptedError)) {
                return -1;
            }
            PyErr_Clear();
            self->out.leftover = true;
            self->out.writable = false;
            return stream_watch_again(self);
        }
        note_sent(self, (size_t)sent);
        self->out.leftover = self->out.pieces.offset != 0;
    }
    return 0;
}

int
stream_send_queue(StreamObject *self)
{
    return self->sock.foreign ? send_foreign(self) : send_native(self);
}

/* ---- the keeper ------------------------------------------------------------------------------ */

/* Return the descriptor of a socket object. Another thread may be detaching or closing the socket. */
static inline int
current_fd(const int *sock_fd)
{
    return *(const volatile int *)sock_fd;
}

/* Return a duplicate of the socket's descriptor, or -1 with errno. The user may detach or close the
   socket object at any moment, and then the number may be another file's. The object's field
   changes before the number is free. So an unchanged field after dup() proves that dup() got the
   socket. */
static int
duplicate_fd(const int *sock_fd)
{
    int fd = current_fd(sock_fd);
    int own = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (own >= 0 && current_fd(sock_fd) != fd) {
        close(own);
        own = -1;
        errno = EBADF;
    }
    return own;
}

bool
stream_keep(FlushNode *node)
{
    StreamObject *self = (StreamObject *)node->owner;
    size_t left = (size_t)self->out.pieces.size - node->kept_size;
    if (left == 0 || self->sock.fd_ptr == NULL || node->kept_full || node->kept_error ||
        pieces_is_inherited(&self->out.pieces, self->loop->st->fork_count)) {
        return false;
    }
    int fd = duplicate_fd(self->sock.fd_ptr);
    if (fd < 0) {
        return errno != EBADF; /* no descriptor is free */
    }
    while (left > 0 && !node->kept_full && !node->kept_error) {
        size_t asked;
        ssize_t sent = send_vector(&self->out.pieces, node->kept_size, fd, &asked);
        node->kept_sends++;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            node->kept_error = errno;
        }
        else if (sent < (ssize_t)asked) {
            node->kept_full = true;
        }
        if (sent > 0) {
            node->kept_size += (size_t)sent;
            left -= (size_t)sent;
        }
    }
    close(fd);
    return false;
}

int
stream_take_kept(StreamObject *self)
{
    FlushNode *node = &self->out.flush;
    if (node->kept_sends == 0) {
        return 0;
    }
    FlushNode kept = *node;
    flush_forget_kept(node);
    if (self->loop != NULL) {
        relaxed_add(&self->loop->metrics.keeper_sends, kept.kept_sends);
    }
    note_sent(self, kept.kept_size);
    if (kept.kept_full) {
        self->out.writable = false;
    }
    if (kept.kept_error) {
        errno = kept.kept_error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* ---- for finalizers -------------------------------------------------------------------------- */

void
stream_send_last(StreamObject *self)
{
    loop_flush_cancel(&self->out.flush);
    if (stream_take_kept(self) < 0) {
        PyErr_Clear();
        return;
    }
    if (self->out.pieces.count && self->out.writable && !self->sock.foreign &&
        !self->life.conn_lost && self->sock.obj != NULL && self->loop != NULL &&
        !pieces_is_inherited(&self->out.pieces, self->loop->st->fork_count)) {
        if (send_native(self) < 0) {
            PyErr_Clear(); /* a finalizer reports no failure */
        }
    }
}
