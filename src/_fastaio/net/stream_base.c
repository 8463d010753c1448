/* stream_base.c: what every room of the stream transport needs: context, report, watching, the I/O
 * reference on the socket.
 *
 * The Python socket is the one owner of the descriptor. While the transport lives it holds an I/O
 * reference on the socket, as makefile() does. So a user who closes the socket does not free the
 * number while the poller watches it.
 */
#include "net/stream_base.h"

#include "base/asyncio_versions.h"
#include "net/sockobj.h"

/* ---- calling --------------------------------------------------------------------------------- */

int
stream_run_in(StreamObject *self, PyObject *context, int (*fn)(StreamObject *))
{
    Py_INCREF(context);
    if (PyContext_Enter(context) < 0) {
        /* The context is entered already: a callback of this connection runs the loop again. */
        PyErr_Clear();
        Py_SETREF(context, PyContext_Copy(context));
        if (context == NULL || PyContext_Enter(context) < 0) {
            Py_XDECREF(context);
            return -1;
        }
    }
    int rc = fn(self);
    if (PyContext_Exit(context) < 0) {
        rc = -1;
    }
    Py_DECREF(context);
    return rc;
}

static int
debug_log(StreamObject *self, PyObject *kwargs, const char *format, const char *message)
{
    PyObject *debug = PyObject_GetAttr(self->loop->st->logger, self->loop->st->str_debug);
    PyObject *args = message ? Py_BuildValue("(sOs)", format, self, message)
                             : Py_BuildValue("(sO)", format, self);
    PyObject *result = debug && args ? PyObject_Call(debug, args, kwargs) : NULL;
    Py_XDECREF(debug);
    Py_XDECREF(args);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

int
stream_debug(StreamObject *self, const char *format)
{
    if (self->loop == NULL || !relaxed_load(&self->loop->watchdog.debug)) {
        return 0;
    }
    return debug_log(self, NULL, format, NULL);
}

int
stream_debug_error(StreamObject *self, PyObject *exc, const char *message)
{
    if (self->loop == NULL || !relaxed_load(&self->loop->watchdog.debug)) {
        return 0;
    }
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exc);
    int rc = kwargs != NULL ? debug_log(self, kwargs, "%r: %s", message) : -1;
    Py_XDECREF(kwargs);
    return rc;
}

int
stream_report(StreamObject *self, const char *message, PyObject *exc)
{
    if (self->loop == NULL) {
        return 0;
    }
    LoopObject *loop = self->loop;
    PyObject *context =
        Py_BuildValue("{s:s,s:O,s:O,s:O}", "message", message, "exception", exc, "transport", self,
                      "protocol", self->sink.protocol ? self->sink.protocol : Py_None);
    if (context == NULL) {
        return -1;
    }
    PyObject *result =
        PyObject_CallMethodOneArg((PyObject *)loop, loop->st->str_call_exception_handler, context);
    Py_DECREF(context);
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* ---- watching -------------------------------------------------------------------------------- */

void
stream_update_hold(StreamObject *self)
{
    bool wanted = stream_may_read(self) || (self->out.pieces.count && !self->out.writable);
    io_hold(&self->sock.io, wanted && self->sock.io.fd >= 0);
}

int
stream_watch(StreamObject *self)
{
    /* EPOLLOUT is asked for after the first refused output. Otherwise each message that the peer of
       a Unix socket reads would be an event. */
    bool out = self->out.watched || !self->out.writable;
    uint32_t events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | (out ? EPOLLOUT : 0u);
    if (self->sock.lent) {
        return 0;
    }
    if (io_watch(self->loop, &self->sock.io, stream_fd(self), events, WATCH_EDGE) < 0) {
        return -1;
    }
    self->out.watched = out;
    stream_update_hold(self);
    return 0;
}

int
stream_watch_again(StreamObject *self)
{
    return self->life.started && self->sock.io.fd >= 0 ? stream_watch(self) : 0;
}

/* ---- the socket and the server --------------------------------------------------------------- */

int
stream_take_io_ref(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    int held = sockobj_lease(st, sock);
    self->sock.io_ref = held > 0;
    return held < 0 ? -1 : 0;
}

int
stream_drop_io_ref(StreamObject *self, fastaio_state *st, PyObject *sock)
{
    if (!self->sock.io_ref) {
        return 0;
    }
    self->sock.io_ref = false;
    return sockobj_end_lease(st, sock);
}

int
stream_attach(StreamObject *self, fastaio_state *st, PyObject *server)
{
    return drop_result(SERVER_KNOWS_TRANSPORTS
                           ? PyObject_CallMethodOneArg(server, st->str__attach, (PyObject *)self)
                           : PyObject_CallMethodNoArgs(server, st->str__attach));
}

int
stream_detach(StreamObject *self, fastaio_state *st, PyObject *server)
{
    return drop_result(SERVER_KNOWS_TRANSPORTS
                           ? PyObject_CallMethodOneArg(server, st->str__detach, (PyObject *)self)
                           : PyObject_CallMethodNoArgs(server, st->str__detach));
}

/* ---- the queue ------------------------------------------------------------------------------- */

void
stream_drop_output(StreamObject *self)
{
    loop_flush_cancel(&self->out.flush);
    flush_forget_kept(&self->out.flush);
    self->out.scattered = false;
    pieces_drop(&self->out.pieces);
}
