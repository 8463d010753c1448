/* accept.c: the coroutine that sets up an accepted connection, like asyncio's _accept_connection2().
 *
 * It runs in a task of its own. So whoever cancels all tasks of a loop also closes the connections that
 * no other task knows yet, and the protocol factory has a current task.
 */
#include "net/accept.h"

#include "base/error.h"
#include "loop/ending.h"
#include "net/stream.h"
#include "task/coro.h"
#include "task/future_await.h"

typedef struct {
    Coro coro;
    LoopObject *loop; /* NULL once the coroutine has ended */
    Home home;
    PyObject *factory; /* this one and the next three: the arguments */
    PyObject *conn;
    PyObject *extra;
    PyObject *server; /* or NULL */
    PyObject *protocol;
    PyObject *transport; /* NULL before it is made */
    PyObject *wait;      /* the iterator of `await waiter`, while connection_made() is to come; or NULL */
} AcceptObject;

/* ---- failing --------------------------------------------------------------------------------- */

/* Close what there is of the connection. In debug mode report `exc`, or what closing has raised instead. Takes
   over the reference to `exc`. Return 0, or -1 with what leaves the loop or with the handler's exception. */
static int
close_and_report(AcceptObject *self, PyObject *exc)
{
    PyObject *outer = begin_handling(exc);
    PyObject *open = self->transport != NULL ? self->transport : self->conn;
    if (drop_result(PyObject_CallMethodNoArgs(open, self->loop->st->str_close)) < 0) {
        Py_SETREF(exc, PyErr_GetRaisedException());
    }
    end_handling(outer);
    PyErr_SetRaisedException(exc);
    if (raised_leaves_loop()) {
        return -1;
    }
    if (!relaxed_load(&self->loop->watchdog.debug)) {
        PyErr_Clear();
        return 0;
    }
    bool has_protocol = self->protocol != NULL && self->protocol != Py_None;
    return loop_report(self->loop, "Error on transport creation for incoming connection",
                       has_protocol ? "protocol" : NULL, self->protocol,
                       self->transport != NULL ? "transport" : NULL, self->transport, NULL);
}

/* End with the raised exception. Return the result of the last step, as am_send does. */
static PySendResult
fail(AcceptObject *self, PyObject **result)
{
    int rc = close_and_report(self, PyErr_GetRaisedException());
    coro_end(&self->coro);
    *result = rc < 0 ? NULL : Py_NewRef(Py_None);
    return rc < 0 ? PYGEN_ERROR : PYGEN_RETURN;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* CoroKind.inner_sent: pass on what the wait for connection_made() yields, and end with it. */
static PySendResult
pass_wait(Coro *coro, PySendResult sent, PyObject **result)
{
    AcceptObject *self = (AcceptObject *)coro;
    if (sent == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    Py_CLEAR(self->wait);
    if (sent == PYGEN_ERROR) {
        return fail(self, result);
    }
    coro_end(coro);
    Py_SETREF(*result, Py_NewRef(Py_None));
    return PYGEN_RETURN;
}

/* Make the protocol and the transport. Return 0, or -1 with an exception. */
static int
make_transport(AcceptObject *self)
{
    LoopObject *loop = self->loop;
    self->protocol = PyObject_CallNoArgs(self->factory);
    PyObject *waiter = self->protocol != NULL ? future_new(loop) : NULL;
    if (waiter == NULL) {
        return -1;
    }
    self->transport = stream_transport_new(loop, self->conn, self->protocol, waiter, self->extra,
                                           self->server);
    if (self->transport != NULL) {
        self->wait = core_await(future_core(loop->st, waiter));
    }
    Py_DECREF(waiter);
    return self->wait != NULL ? 0 : -1;
}

/* Return the loop whose claim guards the coroutine, borrowed. */
static PyObject *
loop_of(PyObject *op)
{
    return home_loop(&((AcceptObject *)op)->home);
}

GUARD_SEND(accept_send, loop_of)

static PySendResult
accept_send(PyObject *op, PyObject *value, PyObject **result)
{
    AcceptObject *self = (AcceptObject *)op;
    if (coro_enter(&self->coro, value, result) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent;
    bool starts = self->coro.phase == CORO_CREATED;
    shared_store(&self->coro.phase, CORO_SUSPENDED);
    if (starts && make_transport(self) < 0) {
        sent = fail(self, result);
    }
    else {
        PyObject *wait = Py_NewRef(self->wait);
        sent = pass_wait(&self->coro, PyIter_Send(wait, value, result), result);
        Py_DECREF(wait);
    }
    coro_leave(&self->coro);
    return sent;
}

/* ---- the coroutine --------------------------------------------------------------------------- */

static const char *
accept_name(const Coro *Py_UNUSED(coro))
{
    return "_accept_connection2";
}

static PyObject *
accept_inner(const Coro *coro)
{
    return ((const AcceptObject *)coro)->wait;
}

/* CoroKind.finish: a coroutine that is closed while it waits fails with GeneratorExit. */
static void
accept_finish(Coro *coro)
{
    AcceptObject *self = (AcceptObject *)coro;
    PyObject *wait = self->wait;
    self->wait = NULL;
    if (wait != NULL) {
        PyObject *exit = PyObject_CallNoArgs(PyExc_GeneratorExit);
        if (exit == NULL || close_and_report(self, exit) < 0) {
            PyErr_WriteUnraisable((PyObject *)self);
        }
    }
    Py_XDECREF(wait);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->conn);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->server);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->loop);
}

static void
accept_release(Coro *coro)
{
    home_drop(&((AcceptObject *)coro)->home);
}

static const CoroKind accept_coro = {
    .owner = "Loop",
    .name = accept_name,
    .finish = accept_finish,
    .inner = accept_inner,
    .inner_sent = pass_wait,
    .loop_of = loop_of,
    .release = accept_release,
};

PyObject *
accept_new(LoopObject *loop, PyObject *factory, PyObject *conn, PyObject *extra, PyObject *server)
{
    AcceptObject *self = PyObject_GC_New(AcceptObject, loop->st->AcceptType);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->coro.kind = &accept_coro;
    self->loop = (LoopObject *)Py_NewRef(loop);
    home_set(&self->home, (PyObject *)loop);
    self->factory = Py_NewRef(factory);
    self->conn = Py_NewRef(conn);
    self->extra = Py_NewRef(extra);
    self->server = Py_XNewRef(server);
    PyObject_GC_Track(self);
    if (relaxed_load(&loop->watchdog.debug) && coro_keep_origin(&self->coro) < 0) {
        coro_end(&self->coro); /* no warning that it was never awaited */
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
accept_traverse(PyObject *op, visitproc visit, void *arg)
{
    AcceptObject *self = (AcceptObject *)op;
    Py_VISIT(Py_TYPE(op));
    CORO_VISIT(&self->coro);
    Py_VISIT(self->loop);
    HOME_VISIT(&self->home);
    Py_VISIT(self->factory);
    Py_VISIT(self->conn);
    Py_VISIT(self->extra);
    Py_VISIT(self->server);
    Py_VISIT(self->protocol);
    Py_VISIT(self->transport);
    Py_VISIT(self->wait);
    return 0;
}

static PyType_Slot accept_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A coroutine that sets up an accepted connection.")},
    {Py_tp_traverse, accept_traverse},
    {Py_am_send, GUARDED(accept_send)},
    CORO_SLOTS,
    {0, NULL},
};

static PyType_Spec accept_spec = {
    .name = "fastaio._fastaio.Accept",
    .basicsize = sizeof(AcceptObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = accept_slots,
};

static const GuardRules accept_rules = {loop_of, NULL};

int
accept_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->AcceptType = state_add_type(module, &accept_spec, NULL);
    if (st->AcceptType == NULL) {
        return -1;
    }
    return guard_type(st, st->AcceptType, &accept_rules);
}
