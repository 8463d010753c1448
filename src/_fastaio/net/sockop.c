/* sockop.c: the type SockOp, a coroutine that waits for a socket. */
#include "net/sockop.h"
#include "base/error.h"
#include "loop/ending.h"
#include "loop/readers.h"
#include "task/future.h"
#include "net/sockobj.h"

int
sockop_fileno(SockOp *op)
{
    PyObject *number = PyObject_CallMethodNoArgs(sockop_sock(op), op->loop->st->str_fileno);
    long fd = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        return -2;
    }
    if (fd < -1 || fd > INT_MAX) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
        return -2;
    }
    return (int)fd;
}

/* CoroKind.finish: end the wait, and release the buffer and the socket. */
static void
op_finish(Coro *coro)
{
    SockOp *op = (SockOp *)coro;
    if (op->future != NULL) {
        watch_unwait(op->loop, op->fd, op->kind->side, (PyObject *)op);
        Py_CLEAR(op->future);
    }
    Py_CLEAR(op->lookup);
    if (op->view.obj != NULL) {
        PyBuffer_Release(&op->view);
    }
    if (op->has_lease) {
        op->has_lease = false;
        if (sockobj_end_lease(op->loop->st, sockop_sock(op)) < 0) {
            PyErr_WriteUnraisable((PyObject *)op);
        }
    }
    for (int i = 0; i < SOCKOP_MAX_ARGS; i++) {
        Py_CLEAR(op->args[i]);
    }
    Py_CLEAR(op->loop);
}

/* Take a lease, once, so that the number of the descriptor is not reused while the operation waits.
   Return 0, or -1 with an exception. */
static int
lease_socket(SockOp *op)
{
    if (op->has_lease) {
        return 0;
    }
    int leased = sockobj_lease(op->loop->st, sockop_sock(op));
    op->has_lease = leased > 0;
    return leased < 0 ? -1 : 0;
}

static int op_run_ready(LoopObject *loop, PyObject *obj);

/* Watch the socket and set op->future to the future that is to be yielded. Return 0, or -1 with an
   exception. */
static int
op_wait(SockOp *op)
{
    int fd = sockop_fileno(op);
    if (fd == -1) {
        PyErr_SetString(PyExc_ValueError, "Invalid file descriptor: -1");
    }
    if (fd < 0 || (op->fd != fd && readers_ensure_free(op->loop, fd) < 0) || lease_socket(op) < 0) {
        return -1;
    }
    PyObject *future = future_new(op->loop);
    if (future == NULL) {
        return -1;
    }
    op->fd = fd;
    if (watch_wait(op->loop, fd, op->kind->side, (PyObject *)op, op_run_ready) < 0) {
        Py_DECREF(future);
        return -1;
    }
    future_core(op->loop->st, future)->blocking = true;
    Py_XSETREF(op->future, future);
    shared_store(&op->coro.phase, CORO_SUSPENDED);
    return 0;
}

/* Make the system call. Set *result and return as am_send does. */
static PySendResult
op_attempt(SockOp *op, PyObject **result)
{
    *result = NULL;
    Outcome outcome = op->kind->attempt(op, result);
    if (outcome == WAIT) {
        if (op_wait(op) == 0) {
            *result = Py_NewRef(op->future);
            return PYGEN_NEXT;
        }
        outcome = FAILED;
    }
    coro_end(&op->coro);
    return outcome == DONE ? PYGEN_RETURN : PYGEN_ERROR;
}

/* End the wait, or make the call of an eager operation. The loop calls this when the socket is
   ready. Return 0, or -1 with what leaves the loop. */
static int
op_run_ready(LoopObject *loop, PyObject *obj)
{
    SockOp *op = (SockOp *)obj;
    FutureCore *core = op->future ? future_core(loop->st, op->future) : NULL;
    if (core == NULL || !future_is_pending(core) || op->coro.running) {
        return 0; /* the wait was cancelled */
    }
    if (!op->kind->eager) {
        return future_set_result_unless_done(core, Py_None) < 0 ? -1 : 0;
    }
    PyObject *future = Py_NewRef(op->future);
    PyObject *result = NULL;
    op->coro.running = true;
    Outcome outcome = op->kind->attempt(op, &result);
    op->coro.running = false;
    if (outcome == WAIT) {
        int rc = watch_wait(loop, op->fd, op->kind->side, obj, op_run_ready);
        outcome = rc < 0 ? FAILED : WAIT;
    }
    int rc = 0;
    if (outcome == DONE) {
        rc = future_set_result_unless_done(core, result);
    }
    else if (!future_is_pending(core)) {
        /* A method of a foreign socket, or another thread, has ended the future. */
        PyErr_Clear();
    }
    else if (outcome == FAILED && raised_leaves_loop()) {
        rc = -1;
    }
    else if (outcome == FAILED) {
        PyObject *exc = PyErr_GetRaisedException();
        rc = future_set_exception_unless_done(core, exc);
        Py_DECREF(exc);
    }
    Py_XDECREF(result);
    Py_DECREF(future);
    return rc < 0 ? -1 : 0;
}

/* Check the socket as asyncio does. Return 0, or -1 with TypeError or ValueError. */
static int
check_socket(SockOp *op)
{
    fastaio_state *st = op->loop->st;
    if ((PyObject *)Py_TYPE(sockop_sock(op)) != st->socket_type) {
        /* A program that has not imported ssl has no SSLSocket. */
        PyObject *modules = PyImport_GetModuleDict();                          /* borrowed */
        PyObject *ssl = modules ? PyDict_GetItemString(modules, "ssl") : NULL; /* borrowed */
        PyObject *type = ssl ? PyObject_GetAttrString(ssl, "SSLSocket") : NULL;
        int is_ssl = type ? PyObject_IsInstance(sockop_sock(op), type) : 0;
        Py_XDECREF(type);
        if (is_ssl < 0) {
            return -1;
        }
        PyErr_Clear();
        if (is_ssl) {
            PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
            return -1;
        }
    }
    if (relaxed_load(&op->loop->watchdog.debug)) {
        PyObject *timeout = PyObject_CallMethodNoArgs(sockop_sock(op), st->str_gettimeout);
        double seconds = timeout == NULL      ? -1.0
                         : timeout == Py_None ? 1.0
                                              : PyFloat_AsDouble(timeout);
        Py_XDECREF(timeout);
        if (PyErr_Occurred()) {
            return -1;
        }
        if (seconds != 0.0) {
            PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
            return -1;
        }
    }
    return 0;
}

/* Return the first address in a result of getaddrinfo(); NULL with an exception. */
static PyObject *
first_address(PyObject *infos)
{
    PyObject *info = PySequence_GetItem(infos, 0);
    PyObject *address = info ? PySequence_GetItem(info, 4) : NULL;
    Py_XDECREF(info);
    return address;
}

/* CoroKind.inner_sent: pass on what the look-up yields. At its end set the address, and make the
   call. */
static PySendResult
op_pass_lookup(Coro *coro, PySendResult sent, PyObject **result)
{
    SockOp *op = (SockOp *)coro;
    if (sent == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    PyObject *address = sent == PYGEN_RETURN ? first_address(*result) : NULL;
    Py_CLEAR(*result);
    if (address == NULL) {
        coro_end(&op->coro);
        return PYGEN_ERROR;
    }
    Py_CLEAR(op->lookup);
    Py_SETREF(op->args[1], address);
    return op_attempt(op, result);
}

/* Run the first step. */
static PySendResult
op_start(SockOp *op, PyObject **result)
{
    *result = NULL;
    shared_store(&op->coro.phase, CORO_SUSPENDED);
    if (check_socket(op) < 0) {
        goto error;
    }
    /* Output that transports have queued goes first. */
    if (op->kind->side == SIDE_WRITE && loop_flush_before(op->loop) < 0) {
        goto error;
    }
    if (op->kind->look_up != NULL) {
        op->lookup = op->kind->look_up(op);
        if (op->lookup != NULL) {
            return op_pass_lookup(&op->coro, PyIter_Send(op->lookup, Py_None, result), result);
        }
        if (PyErr_Occurred()) {
            goto error;
        }
    }
    return op_attempt(op, result);

error:
    coro_end(&op->coro);
    return PYGEN_ERROR;
}

/* Run a step after a wait. */
static PySendResult
op_resume(SockOp *op, PyObject **result)
{
    FutureCore *future = future_core(op->loop->st, op->future);
    if (coro_yield_future(future, result)) { /* somebody has resumed the coroutine too early */
        return PYGEN_NEXT;
    }
    *result = coro_future_result(future);
    if (*result == NULL) {
        coro_end(&op->coro);
        return PYGEN_ERROR;
    }
    if (op->kind->eager) {
        coro_end(&op->coro);
        return PYGEN_RETURN;
    }
    Py_CLEAR(*result);
    return op_attempt(op, result);
}

/* Return the loop whose claim guards the coroutine, borrowed. */
static PyObject *
loop_of(PyObject *self)
{
    return home_loop(&((SockOp *)self)->home);
}

GUARD_SEND(op_send, loop_of)

static PySendResult
op_send(PyObject *self, PyObject *value, PyObject **result)
{
    SockOp *op = (SockOp *)self;
    if (coro_enter(&op->coro, value, result) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent;
    if (op->coro.phase == CORO_CREATED) {
        sent = op_start(op, result);
    }
    else if (op->lookup != NULL) {
        sent = op_pass_lookup(&op->coro, PyIter_Send(op->lookup, value, result), result);
    }
    else {
        sent = op_resume(op, result);
    }
    coro_leave(&op->coro);
    return sent;
}

static const char *
op_name(const Coro *coro)
{
    return ((const SockOp *)coro)->kind->name;
}

static PyObject *
op_inner(const Coro *coro)
{
    return ((const SockOp *)coro)->lookup;
}

static void
op_release(Coro *coro)
{
    home_drop(&((SockOp *)coro)->home);
}

static const CoroKind op_coro = {
    .owner = "Loop",
    .name = op_name,
    .finish = op_finish,
    .inner = op_inner,
    .inner_sent = op_pass_lookup,
    .loop_of = loop_of,
    .release = op_release,
};

/* ---- the type -------------------------------------------------------------------------------- */

SockOp *
sockop_new(LoopObject *loop, const OpKind *kind)
{
    SockOp *op = PyObject_GC_New(SockOp, loop->st->SockOpType);
    if (op == NULL) {
        return NULL;
    }
    memset((char *)op + sizeof(PyObject), 0, sizeof(*op) - sizeof(PyObject));
    op->coro.kind = &op_coro;
    op->loop = (LoopObject *)Py_NewRef(loop);
    home_set(&op->home, (PyObject *)loop);
    op->kind = kind;
    op->fd = -1;
    return op;
}

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    SockOp *op = (SockOp *)self;
    Py_VISIT(Py_TYPE(self));
    CORO_VISIT(&op->coro);
    Py_VISIT(op->loop);
    HOME_VISIT(&op->home);
    for (int i = 0; i < SOCKOP_MAX_ARGS; i++) {
        Py_VISIT(op->args[i]);
    }
    Py_VISIT(op->future);
    Py_VISIT(op->lookup);
    Py_VISIT(op->view.obj);
    return 0;
}

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A coroutine that waits for a socket.")},
    {Py_tp_traverse, op_traverse},
    {Py_am_send, GUARDED(op_send)},
    CORO_SLOTS,
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.SockOp",
    .basicsize = sizeof(SockOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};

static const GuardRules op_rules = {loop_of, NULL};

int
sockop_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->SockOpType = state_add_type(module, &op_spec, NULL);
    if (st->SockOpType == NULL) {
        return -1;
    }
    return guard_type(st, st->SockOpType, &op_rules);
}
