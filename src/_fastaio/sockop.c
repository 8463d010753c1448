/* sockop.c: SockOp, a coroutine in C that waits for a socket. */
#include "sockop.h"
#include "future.h"

#include <structmember.h>

int
sockop_fd(SockOp *op)
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

/* Lets go of all that was held while waiting; keeps a raised exception. */
static void
op_finish(SockOp *op)
{
    PyObject *raised = PyErr_GetRaisedException();
    op->phase = CLOSED;
    if (op->future != NULL) {
        watch_unwait(op->loop, op->fd, op->kind->side, (PyObject *)op);
        Py_CLEAR(op->future);
    }
    Py_CLEAR(op->lookup);
    if (op->view.obj != NULL) {
        PyBuffer_Release(&op->view);
    }
    if (op->holds_socket) {
        op->holds_socket = false;
        /* Closes the socket where its user has done so meanwhile. */
        PyObject *done =
            PyObject_CallMethodNoArgs(sockop_sock(op), op->loop->st->str__decref_socketios);
        if (done == NULL) {
            PyErr_WriteUnraisable((PyObject *)op);
        }
        Py_XDECREF(done);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

/* Keeps the descriptor's number from being reused while it is waited for, as makefile() does. */
static int
hold_socket(SockOp *op)
{
    fastaio_state *st = op->loop->st;
    if (op->holds_socket || !PyObject_TypeCheck(sockop_sock(op), (PyTypeObject *)st->socket_type)) {
        return 0;
    }
    PyObject *refs = PyObject_GetAttr(sockop_sock(op), st->str__io_refs);
    long count = refs ? PyLong_AsLong(refs) : -1;
    Py_XDECREF(refs);
    if (count == -1 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *more = PyLong_FromLong(count + 1);
    if (more == NULL || PyObject_SetAttr(sockop_sock(op), st->str__io_refs, more) < 0) {
        Py_XDECREF(more);
        return -1;
    }
    Py_DECREF(more);
    op->holds_socket = true;
    return 0;
}

static int op_ready(LoopObject *loop, PyObject *obj);

/* Arms the wait and makes the future that is to be yielded. */
static int
op_wait(SockOp *op)
{
    int fd = sockop_fd(op);
    if (fd == -1) {
        PyErr_SetString(PyExc_ValueError, "Invalid file descriptor: -1");
    }
    if (fd < 0 || (op->fd != fd && watch_ensure_free(op->loop, fd) < 0) || hold_socket(op) < 0) {
        return -1;
    }
    PyObject *future = future_new(op->loop);
    if (future == NULL) {
        return -1;
    }
    op->fd = fd;
    if (watch_wait(op->loop, fd, op->kind->side, (PyObject *)op, op_ready) < 0) {
        Py_DECREF(future);
        return -1;
    }
    future_core(op->loop->st, future)->blocking = true;
    Py_XSETREF(op->future, future);
    op->phase = WAITING;
    return 0;
}

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
    op_finish(op);
    return outcome == DONE ? PYGEN_RETURN : PYGEN_ERROR;
}

/* What the loop calls when the socket is ready. */
static int
op_ready(LoopObject *loop, PyObject *obj)
{
    SockOp *op = (SockOp *)obj;
    FutureCore *core = op->future ? future_core(loop->st, op->future) : NULL;
    if (core == NULL || !future_is_pending(core) || op->running) {
        return 0; /* cancelled since */
    }
    if (!op->kind->eager) {
        return future_set_result(core, Py_None);
    }
    PyObject *future = Py_NewRef(op->future);
    PyObject *result = NULL;
    op->running = true;
    Outcome outcome = op->kind->attempt(op, &result);
    op->running = false;
    if (outcome == WAIT) {
        int rc = watch_wait(loop, op->fd, op->kind->side, obj, op_ready);
        outcome = rc < 0 ? FAILED : WAIT;
    }
    int rc = 0;
    if (!future_is_pending(core)) {
        /* A method of the user's has cancelled it. */
        PyErr_Clear();
    }
    else if (outcome == DONE) {
        rc = future_set_result(core, result);
    }
    else if (outcome == FAILED && (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
                                   PyErr_ExceptionMatches(PyExc_SystemExit))) {
        rc = -1;
    }
    else if (outcome == FAILED) {
        PyObject *exc = PyErr_GetRaisedException();
        rc = future_set_exception(core, exc);
        Py_DECREF(exc);
    }
    Py_XDECREF(result);
    Py_DECREF(future);
    return rc;
}

static int
check_socket(SockOp *op)
{
    fastaio_state *st = op->loop->st;
    if ((PyObject *)Py_TYPE(sockop_sock(op)) != st->socket_type) {
        /* Without the ssl module there is no such socket. */
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
    if (op->loop->debug) {
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

/* The address of the first of the infos that a look-up gave. */
static PyObject *
first_address(PyObject *infos)
{
    PyObject *info = PySequence_GetItem(infos, 0);
    PyObject *address = info ? PySequence_GetItem(info, 4) : NULL;
    Py_XDECREF(info);
    return address;
}

/* What the look-up came to. */
static PySendResult
op_looked_up(SockOp *op, PySendResult sent, PyObject **result)
{
    if (sent == PYGEN_NEXT) {
        return PYGEN_NEXT;
    }
    PyObject *address = sent == PYGEN_RETURN ? first_address(*result) : NULL;
    Py_CLEAR(*result);
    if (address == NULL) {
        op_finish(op);
        return PYGEN_ERROR;
    }
    Py_CLEAR(op->lookup);
    Py_SETREF(op->args[1], address);
    return op_attempt(op, result);
}

static PySendResult
op_start(SockOp *op, PyObject **result)
{
    *result = NULL;
    op->phase = WAITING;
    if (check_socket(op) < 0) {
        goto error;
    }
    if (op->kind->look_up != NULL) {
        op->lookup = op->kind->look_up(op);
        if (op->lookup != NULL) {
            op->phase = LOOKING_UP;
            return op_looked_up(op, PyIter_Send(op->lookup, Py_None, result), result);
        }
        if (PyErr_Occurred()) {
            goto error;
        }
    }
    return op_attempt(op, result);

error:
    op_finish(op);
    return PYGEN_ERROR;
}

/* A resumed wait. */
static PySendResult
op_resume(SockOp *op, PyObject **result)
{
    *result = NULL;
    FutureCore *core = future_core(op->loop->st, op->future);
    if (future_is_pending(core)) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    }
    else {
        *result = future_get_result(core);
    }
    if (*result == NULL) {
        op_finish(op);
        return PYGEN_ERROR;
    }
    if (op->kind->eager) {
        op_finish(op);
        return PYGEN_RETURN;
    }
    Py_CLEAR(*result);
    return op_attempt(op, result);
}

static int
check_running(SockOp *op)
{
    if (op->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

static PySendResult
op_send(PyObject *self, PyObject *value, PyObject **result)
{
    SockOp *op = (SockOp *)self;
    *result = NULL;
    if (check_running(op) < 0) {
        return PYGEN_ERROR;
    }
    if (op->phase == CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return PYGEN_ERROR;
    }
    if (op->phase == CREATED && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    PySendResult sent;
    op->running = true;
    if (op->phase == CREATED) {
        sent = op_start(op, result);
    }
    else if (op->phase == LOOKING_UP) {
        sent = op_looked_up(op, PyIter_Send(op->lookup, value, result), result);
    }
    else {
        sent = op_resume(op, result);
    }
    op->running = false;
    return sent;
}

/* What send() and throw() return: what was yielded, or StopIteration with the result. */
static PyObject *
op_sent(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        PyObject *stop = result == Py_None ? PyObject_CallNoArgs(PyExc_StopIteration)
                                           : PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_DECREF(result);
        if (stop != NULL) {
            PyErr_SetRaisedException(stop);
        }
        return NULL;
    }
    return sent == PYGEN_NEXT ? result : NULL;
}

static PyObject *
op_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = op_send(self, value, &result);
    return op_sent(sent, result);
}

static PyObject *
op_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult sent = op_send(self, Py_None, &result);
    if (sent == PYGEN_RETURN && result == Py_None) {
        Py_DECREF(result);
        return NULL; /* as good as StopIteration() */
    }
    return op_sent(sent, result);
}

/* Raises what throw(type[, value[, traceback]]) was given; 0 where that is no exception. */
static int
raise_thrown(PyObject *const *args, Py_ssize_t count)
{
    PyObject *value = count > 1 && args[1] != Py_None ? args[1] : NULL;
    if (PyExceptionInstance_Check(args[0]) && value == NULL) {
        PyErr_SetRaisedException(Py_NewRef(args[0]));
    }
    else if (PyExceptionClass_Check(args[0])) {
        PyErr_SetObject(args[0], value);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     PyExceptionInstance_Check(args[0])
                         ? "instance exception may not have a separate value"
                         : "exceptions must be classes or instances deriving from "
                           "BaseException, not %s",
                     Py_TYPE(args[0])->tp_name);
        return 0;
    }
    if (count > 2 && args[2] != Py_None) {
        PyObject *exc = PyErr_GetRaisedException();
        if (PyException_SetTraceback(exc, args[2]) < 0) {
            Py_DECREF(exc);
            return 0;
        }
        PyErr_SetRaisedException(exc);
    }
    return 1;
}

static PySendResult
throw_into_lookup(SockOp *op, PyObject *const *args, Py_ssize_t count, PyObject **result)
{
    PyObject *thrown[4] = {op->lookup, args[0], count > 1 ? args[1] : NULL,
                           count > 2 ? args[2] : NULL};
    op->running = true;
    *result = PyObject_VectorcallMethod(op->loop->st->str_throw, thrown, (size_t)count + 1, NULL);
    PySendResult sent = *result ? PYGEN_NEXT : PYGEN_ERROR;
    if (*result == NULL && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyObject *stop = PyErr_GetRaisedException();
        *result = Py_XNewRef(((PyStopIterationObject *)stop)->value);
        Py_DECREF(stop);
        sent = PYGEN_RETURN;
    }
    sent = op_looked_up(op, sent, result);
    op->running = false;
    return sent;
}

static PyObject *
op_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    SockOp *op = (SockOp *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    if (check_running(op) < 0) {
        return NULL;
    }
    if (op->phase == CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return NULL;
    }
    if (op->phase == LOOKING_UP) {
        PyObject *result;
        PySendResult sent = throw_into_lookup(op, args, count, &result);
        return op_sent(sent, result);
    }
    if (raise_thrown(args, count)) {
        op_finish(op);
    }
    return NULL;
}

static PyObject *
op_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    SockOp *op = (SockOp *)self;
    if (check_running(op) < 0) {
        return NULL;
    }
    PyObject *closed = NULL;
    if (op->phase == LOOKING_UP) {
        closed = PyObject_CallMethodNoArgs(op->lookup, op->loop->st->str_close);
        if (closed == NULL) {
            op_finish(op);
            return NULL;
        }
        Py_DECREF(closed);
    }
    if (op->phase != CLOSED) {
        op_finish(op);
    }
    Py_RETURN_NONE;
}

static PyObject *
op_await(PyObject *self)
{
    return Py_NewRef(self);
}

/* The type */

SockOp *
sockop_new(LoopObject *loop, const OpKind *kind)
{
    SockOp *op = PyObject_GC_New(SockOp, loop->st->SockOpType);
    if (op == NULL) {
        return NULL;
    }
    memset((char *)op + sizeof(PyObject), 0, sizeof(*op) - sizeof(PyObject));
    op->loop = (LoopObject *)Py_NewRef(loop);
    op->kind = kind;
    op->fd = -1;
    return op;
}

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    SockOp *op = (SockOp *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->loop);
    for (int i = 0; i < SOCKOP_MAX_ARGS; i++) {
        Py_VISIT(op->args[i]);
    }
    Py_VISIT(op->future);
    Py_VISIT(op->lookup);
    Py_VISIT(op->view.obj);
    return 0;
}

/* What is waited with is let go by op_finish(): the collector runs finalizers first. */
static int
op_clear(PyObject *self)
{
    SockOp *op = (SockOp *)self;
    for (int i = 0; i < SOCKOP_MAX_ARGS; i++) {
        Py_CLEAR(op->args[i]);
    }
    Py_CLEAR(op->future);
    Py_CLEAR(op->lookup);
    Py_CLEAR(op->loop);
    return 0;
}

static void
op_finalize(PyObject *self)
{
    SockOp *op = (SockOp *)self;
    if (op->phase == CLOSED || op->loop == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (op->phase == CREATED && sockop_sock(op) != NULL &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine 'Loop.%s' was never awaited",
                         op->kind->name) < 0) {
        PyErr_WriteUnraisable(self);
    }
    op_finish(op);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static void
op_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    SockOp *op = (SockOp *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (op->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    op_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *
op_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object Loop.%s at %p>", ((SockOp *)self)->kind->name,
                                self);
}

static PyObject *
op_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((SockOp *)self)->kind->name);
}

static PyObject *
op_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromFormat("Loop.%s", ((SockOp *)self)->kind->name);
}

static PyObject *
op_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((SockOp *)self)->running);
}

static PyObject *
op_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    SockOp *op = (SockOp *)self;
    return PyBool_FromLong(!op->running && (op->phase == WAITING || op->phase == LOOKING_UP));
}

static PyObject *
op_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyMethodDef op_methods[] = {
    {"send", op_send_method, METH_O,
     PyDoc_STR("send($self, value, /)\n--\n\nRun to the next wait; StopIteration has the result.")},
    {"throw", (PyCFunction)(void (*)(void))op_throw, METH_FASTCALL,
     PyDoc_STR("throw(typ[, val[, tb]])\n\nEnd it with an exception.")},
    {"close", op_close, METH_NOARGS, PyDoc_STR("close($self, /)\n--\n\nEnd it; nothing is raised.")},
    {NULL, NULL, 0, NULL},
};

/* There is no cr_await: asyncio.graph takes what has one for a coroutine with a frame. */
static PyGetSetDef op_getset[] = {
    {"__name__", op_get_name, NULL, NULL, NULL},
    {"__qualname__", op_get_qualname, NULL, NULL, NULL},
    {"cr_running", op_get_running, NULL, NULL, NULL},
    {"cr_suspended", op_get_suspended, NULL, NULL, NULL},
    {"cr_frame", op_get_none, NULL, NULL, NULL},
    {"cr_code", op_get_none, NULL, NULL, NULL},
    {"cr_origin", op_get_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef op_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SockOp, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A coroutine that waits for a socket.")},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear},
    {Py_tp_finalize, op_finalize},
    {Py_tp_dealloc, op_dealloc},
    {Py_tp_repr, op_repr},
    {Py_tp_iter, op_await}, /* what `await` iterates is the coroutine itself */
    {Py_tp_iternext, op_iternext},
    {Py_am_await, op_await},
    {Py_am_send, op_send},
    {Py_tp_methods, op_methods},
    {Py_tp_getset, op_getset},
    {Py_tp_members, op_members},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.SockOp",
    .basicsize = sizeof(SockOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};

int
sockop_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->SockOpType = state_add_type(module, &op_spec, NULL);
    return st->SockOpType ? 0 : -1;
}
