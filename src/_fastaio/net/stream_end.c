/* stream_end.c: the end of a stream connection: connection_lost(), and what it lets go. */
#include "net/stream_end.h"

#include "base/asyncio_versions.h"
#include "base/error.h"
#include "loop/handle.h"
#include "net/stream_base.h"
#include "task/future.h"

/* Set the exception, or None as the result if `exc` is NULL, unless the waiter is done. Return 0, or -1 with an
   exception. */
static int
complete_empty_waiter(fastaio_state *st, PyObject *waiter, PyObject *exc)
{
    if (Py_IS_TYPE(waiter, st->FutureType)) {
        FutureCore *core = &((FutureObject *)waiter)->core;
        int set = exc != NULL ? future_set_exception_unless_done(core, exc)
                              : future_set_result_unless_done(core, Py_None);
        return set < 0 ? -1 : 0;
    }
    PyObject *done = PyObject_CallMethodNoArgs(waiter, st->str_done);
    int is_done = done != NULL ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done != 0) {
        return is_done < 0 ? -1 : 0;
    }
    return drop_result(exc != NULL
                           ? PyObject_CallMethodOneArg(waiter, st->str_set_exception, exc)
                           : PyObject_CallMethodOneArg(waiter, st->str_set_result, Py_None));
}

int
stream_end_empty_waiter(StreamObject *self, PyObject *exc)
{
    if (self->out.empty_waiter == NULL || self->loop == NULL) {
        return 0;
    }
    fastaio_state *st = self->loop->st;
    PyObject *waiter = Py_NewRef(self->out.empty_waiter);
    int set = complete_empty_waiter(st, waiter, exc);
    Py_DECREF(waiter);
    if (set >= 0 && exc == NULL && self->sock.io.fd >= 0) {
        /* sock_sendfile() waits on the descriptor by itself, until _reset_empty_waiter(). */
        self->sock.lent = true;
        stream_update_hold(self);
        io_unwatch(self->loop, &self->sock.io);
    }
    return set;
}

int
stream_release(StreamObject *self)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) { /* connection_lost() has run already, within itself */
        return 0;
    }
    fastaio_state *st = loop->st;
    PyObject *sock = self->sock.obj;
    PyObject *server = self->server;
    PyObject *failure = NULL;
    stream_drop_output(self); /* first, because the keeper may be using the socket */
    self->sock.obj = NULL;
    self->sock.fd_ptr = NULL;
    self->server = NULL;
    self->in.readable = self->out.writable = false;
    io_hold(&self->sock.io, false);
    io_unwatch(loop, &self->sock.io);
    loop_io_happened(loop);
    if (sock != NULL) {
        if (stream_drop_io_ref(self, st, sock) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        if (drop_result(PyObject_CallMethodNoArgs(sock, st->str_close)) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(sock);
        Py_CLEAR(self->sock.shown);
    }
    if (server != NULL) {
        if (stream_detach(self, st, server) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(server);
    }
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        return -1;
    }
    return 0;
}

int
stream_call_lost(StreamObject *self)
{
    if (self->loop == NULL) {
        return 0;
    }
    LoopObject *loop = (LoopObject *)Py_NewRef(self->loop);
    PyObject *exc =
        self->life.lost_exc != NULL ? Py_NewRef(self->life.lost_exc) : Py_NewRef(Py_None);
    PyObject *failure = NULL;
    relaxed_store(&self->life.closing, true);
    self->life.conn_lost += self->life.conn_lost == 0;
    relaxed_add(&loop->metrics.connections_lost, 1);
    if (self->sink.protocol != NULL) {
        PyObject *protocol = Py_NewRef(self->sink.protocol);
        PyObject *result = PyObject_CallMethodOneArg(protocol, loop->st->str_connection_lost, exc);
        if (drop_result(result) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_DECREF(protocol);
    }
    if (stream_release(self) < 0) {
        keep_first(&failure, (PyObject *)self);
    }
    if (self->loop != NULL && self->out.empty_waiter != NULL) {
        PyObject *gone =
            PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
        if (gone == NULL || stream_end_empty_waiter(self, gone) < 0) {
            keep_first(&failure, (PyObject *)self);
        }
        Py_XDECREF(gone);
    }
    section_set((PyObject *)self, &self->sink.protocol, NULL);
    Py_CLEAR(self->life.lost_exc);
    Py_CLEAR(self->loop);
    Py_DECREF(exc);
    Py_DECREF(loop);
    if (failure != NULL) {
        PyErr_SetRaisedException(failure);
        return -1;
    }
    return 0;
}

/* Report the raised exception of connection_lost() as a failure of the handle that asyncio would
   have queued. Return 0, or -1 with what leaves the loop. */
static int
report_lost(LoopObject *loop, PyObject *op, PyObject *exc, PyObject *context)
{
    if (raised_leaves_loop()) {
        return -1;
    }
    PyObject *failure = PyErr_GetRaisedException();
    PyObject *method = PyObject_GetAttr(op, loop->st->str__call_connection_lost);
    HandleObject *handle = NULL;
    if (method != NULL) {
        handle = handle_new(loop->st, (PyObject *)loop, method, &exc, 1, context, false);
        Py_DECREF(method);
    }
    if (handle == NULL) {
        Py_DECREF(failure);
        return -1;
    }
    handle_track((PyObject *)handle);
    PyErr_SetRaisedException(failure);
    int rc = loop_report_handle(loop, handle);
    Py_DECREF((PyObject *)handle);
    return rc;
}

static int
run_connection_lost(LoopObject *loop, PyObject *op)
{
    StreamObject *self = (StreamObject *)op;
    PyObject *context = self->life.lost_context;
    if (context == NULL) {
        return 0;
    }
    self->life.lost_context = NULL;
    PyObject *exc = Py_NewRef(self->life.lost_exc != NULL ? self->life.lost_exc : Py_None);
    int rc = stream_run_in(self, context, stream_call_lost);
    if (rc < 0) {
        rc = report_lost(loop, op, exc, context);
    }
    Py_DECREF(exc);
    Py_DECREF(context);
    return rc;
}

int
stream_lose(StreamObject *self, PyObject *exc)
{
    LoopObject *loop = self->loop;
    if (loop == NULL) {
        return 0;
    }
    self->life.conn_lost++;
    /* No event is awaited any more. As on asyncio, others may watch the descriptor until the socket
       is closed. */
    io_hold(&self->sock.io, false);
    io_unwatch(loop, &self->sock.io);
    Py_XSETREF(self->life.lost_exc, exc != Py_None ? Py_NewRef(exc) : NULL);
    if (self->loop != loop) { /* dropping an earlier exception has ended it */
        return 0;
    }
    if (loop_check_closed(loop) < 0 || (relaxed_load(&loop->watchdog.debug) && loop_check_thread(loop) < 0)) {
        return -1;
    }
    /* A handle of call_soon() in place of a native entry: debug mode keeps where it was made. */
    if (relaxed_load(&loop->watchdog.debug) || (loop_overrides(loop) & OVERRIDE_CALL_SOON)) {
        PyObject *method = PyObject_GetAttr((PyObject *)self, loop->st->str__call_connection_lost);
        PyObject *context = CONNECTION_HAS_ONE_CONTEXT ? self->context : NULL;
        int rc = method != NULL ? loop_call_soon_in(loop, context, method, exc) : -1;
        Py_XDECREF(method);
        return rc;
    }
    Py_XSETREF(self->life.lost_context,
               CONNECTION_HAS_ONE_CONTEXT ? Py_NewRef(self->context) : PyContext_CopyCurrent());
    if (self->life.lost_context == NULL) {
        return -1;
    }
    return loop_call_native(loop, run_connection_lost, (PyObject *)self);
}
