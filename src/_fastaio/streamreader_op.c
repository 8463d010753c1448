/* streamreader_op.c: ReadOp, the coroutine of one read from a native stream reader.
 *
 * Nothing is taken before its first step, nor while it waits: an attempt takes
 * all it is to return at once, so a cancelled one has taken nothing.
 */
#include "streamreader_impl.h"

#include <structmember.h>

typedef enum { CREATED, WAITING, CLOSED } Phase;
typedef enum { FAILED = -1, WAIT, DONE } Outcome;

typedef struct {
    PyObject_HEAD
    PyObject *reader; /* until the end */
    ReaderCore *core; /* the same */
    PyObject *separator;
    PyObject *future; /* while WAITING: what was yielded */
    PyObject *weakrefs;
    Py_ssize_t size;
    Py_ssize_t searched; /* no separator begins before */
    uint8_t kind;        /* a ReadKind */
    uint8_t phase;
    bool running;
    bool woken; /* has waited */
} ReadOp;

static const char *const names[] = {
    [READ_SOME] = "read",         [READ_EXACTLY] = "readexactly", [READ_UNTIL] = "readuntil",
    [READ_LINE] = "readline",     [READ_NEXT] = "__anext__",
};

/* ---- attempts -------------------------------------------------------------------------------- */

static Outcome
take(ReadOp *op, Py_ssize_t size, PyObject **result)
{
    *result = reader_take(op->core, size);
    if (*result != NULL && reader_maybe_resume(op->core) < 0) {
        Py_CLEAR(*result);
    }
    return *result != NULL ? DONE : FAILED;
}

/* All that is left, without a look at the transport: the stream has ended. */
static PyObject *
take_rest(ReadOp *op)
{
    Py_ssize_t available;
    reader_view(op->core, &available);
    return reader_take(op->core, available);
}

static Outcome
raise_incomplete(ReadOp *op, Py_ssize_t expected)
{
    fastaio_state *st = op->core->st;
    PyObject *partial = take_rest(op);
    PyObject *number = expected > 0 ? PyLong_FromSsize_t(expected) : Py_NewRef(Py_None);
    if (partial != NULL && number != NULL) {
        PyObject *exc =
            PyObject_CallFunctionObjArgs(st->asyncio_IncompleteReadError, partial, number, NULL);
        if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
    }
    Py_XDECREF(partial);
    Py_XDECREF(number);
    return FAILED;
}

static Outcome
attempt_some(ReadOp *op, PyObject **result)
{
    Py_ssize_t available;
    if (op->size == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result != NULL ? DONE : FAILED;
    }
    reader_view(op->core, &available);
    if (available == 0 && !op->woken) {
        if (op->core->eof == Py_False) {
            return WAIT;
        }
    }
    return take(op, op->size < available ? op->size : available, result);
}

static Outcome
attempt_exactly(ReadOp *op, PyObject **result)
{
    Py_ssize_t available;
    if (op->size == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result != NULL ? DONE : FAILED;
    }
    reader_view(op->core, &available);
    if (available >= op->size) {
        return take(op, op->size, result);
    }
    return op->core->eof == Py_False ? WAIT : raise_incomplete(op, op->size);
}

/* Where the separator begins, from op->searched on; -1: it is not there. */
static Py_ssize_t
find_separator(ReadOp *op, const char *data, Py_ssize_t size, Py_ssize_t *length)
{
    const char *separator = "\n";
    *length = 1;
    if (op->separator != NULL) {
        separator = PyBytes_AS_STRING(op->separator);
        *length = PyBytes_GET_SIZE(op->separator);
    }
    if (size - op->searched < *length) {
        return -1;
    }
    const char *from = data + op->searched;
    size_t room = (size_t)(size - op->searched);
    const char *found = *length == 1 ? memchr(from, separator[0], room)
                                     : memmem(from, room, separator, (size_t)*length);
    return found != NULL ? found - data : -1;
}

/* What readline() makes of an overrun: a ValueError, and the line, or all, is dropped. */
static Outcome
raise_line_too_long(ReadOp *op, const char *text, Py_ssize_t dropped, PyObject *overrun)
{
    PyObject *line = dropped < 0 ? take_rest(op) : reader_take(op->core, dropped);
    if (line == NULL || reader_maybe_resume(op->core) < 0) {
        Py_XDECREF(line);
        Py_DECREF(overrun);
        return FAILED;
    }
    Py_DECREF(line);
    PyErr_SetString(PyExc_ValueError, text);
    PyObject *exc = PyErr_GetRaisedException();
    PyException_SetContext(exc, overrun);
    PyErr_SetRaisedException(exc);
    return FAILED;
}

/* found: where the separator begins, or -1; consumed: what the exception says. */
static Outcome
raise_overrun(ReadOp *op, Py_ssize_t found, Py_ssize_t consumed)
{
    const char *text = found >= 0 ? "Separator is found, but chunk is longer than limit"
                                  : "Separator is not found, and chunk exceed the limit";
    PyObject *exc =
        PyObject_CallFunction(op->core->st->asyncio_LimitOverrunError, "sn", text, consumed);
    if (exc == NULL) {
        return FAILED;
    }
    if (op->kind == READ_UNTIL) {
        PyErr_SetRaisedException(exc);
        return FAILED;
    }
    return raise_line_too_long(op, text, found >= 0 ? found + 1 : -1, exc);
}

/* The end of the stream, and no separator. */
static Outcome
attempt_rest(ReadOp *op, PyObject **result)
{
    if (op->kind == READ_UNTIL) {
        return raise_incomplete(op, 0);
    }
    *result = take_rest(op);
    return *result != NULL ? DONE : FAILED;
}

static Outcome
attempt_until(ReadOp *op, PyObject **result)
{
    Py_ssize_t size, length;
    const char *data = reader_view(op->core, &size);
    Py_ssize_t limit = reader_limit(op->core);
    Py_ssize_t found = find_separator(op, data, size, &length);
    if (found >= 0) {
        return found > limit ? raise_overrun(op, found, found) : take(op, found + length, result);
    }
    if (size - op->searched >= length) {
        op->searched = size + 1 - length;
        if (op->searched > limit) {
            return raise_overrun(op, -1, op->searched);
        }
    }
    return op->core->eof == Py_False ? WAIT : attempt_rest(op, result);
}

static Outcome
attempt_next(ReadOp *op, PyObject **result)
{
    Outcome outcome = attempt_until(op, result);
    if (outcome == DONE && PyBytes_GET_SIZE(*result) == 0) {
        Py_CLEAR(*result);
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return FAILED;
    }
    return outcome;
}

static Outcome
attempt(ReadOp *op, PyObject **result)
{
    *result = NULL;
    if (reader_check(op->core) < 0) {
        return FAILED;
    }
    switch ((ReadKind)op->kind) {
    case READ_SOME:
        return attempt_some(op, result);
    case READ_EXACTLY:
        return attempt_exactly(op, result);
    case READ_NEXT:
        return attempt_next(op, result);
    default:
        return attempt_until(op, result);
    }
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void
op_finish(ReadOp *op)
{
    op->phase = CLOSED;
    if (op->future != NULL && op->core->waiter == op->future) {
        Py_SETREF(op->core->waiter, Py_NewRef(Py_None));
    }
    Py_CLEAR(op->future);
    Py_CLEAR(op->separator);
    Py_CLEAR(op->core);
    Py_CLEAR(op->reader);
}

/* Makes the future that is to be yielded, and the reader's `_waiter`. */
static int
op_wait(ReadOp *op)
{
    ReaderCore *core = op->core;
    if (core->waiter != Py_None) {
        const char *name = names[op->kind >= READ_UNTIL ? READ_UNTIL : op->kind];
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting for incoming data",
                     name);
        return -1;
    }
    if (core->paused != Py_False && (reader_resume(core) < 0 || reader_check(core) < 0)) {
        return -1;
    }
    PyObject *future = PyObject_CallMethodNoArgs(core->loop, core->st->str_create_future);
    if (future == NULL) {
        return -1;
    }
    FutureCore *native = future_core(core->st, future);
    if (native != NULL) {
        native->blocking = true;
    }
    else if (PyObject_SetAttr(future, core->st->str__asyncio_future_blocking, Py_True) < 0) {
        Py_DECREF(future);
        return -1;
    }
    Py_XSETREF(core->waiter, Py_NewRef(future));
    Py_XSETREF(op->future, future);
    op->phase = WAITING;
    return 0;
}

static PySendResult
op_attempt(ReadOp *op, PyObject **result)
{
    Outcome outcome = attempt(op, result);
    if (outcome == WAIT) {
        if (op_wait(op) == 0) {
            *result = Py_NewRef(op->future);
            return PYGEN_NEXT;
        }
        outcome = FAILED;
    }
    PyObject *raised = outcome == FAILED ? PyErr_GetRaisedException() : NULL;
    op_finish(op);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return outcome == DONE ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult
op_fail(ReadOp *op)
{
    PyObject *raised = PyErr_GetRaisedException();
    op_finish(op);
    PyErr_SetRaisedException(raised);
    return PYGEN_ERROR;
}

static PySendResult
op_start(ReadOp *op, PyObject **result)
{
    PyObject *exception = op->core->exception;
    if (exception != NULL && exception != Py_None) {
        if (PyExceptionInstance_Check(exception)) {
            PyErr_SetRaisedException(Py_NewRef(exception));
        }
        else if (PyExceptionClass_Check(exception)) {
            PyErr_SetNone(exception);
        }
        else {
            PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
        }
        return op_fail(op);
    }
    return op_attempt(op, result);
}

/* What a future of another library has come to. */
static PyObject *
foreign_result(fastaio_state *st, PyObject *future)
{
    PyObject *done = PyObject_CallMethodNoArgs(future, st->str_done);
    int is_done = done != NULL ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done > 0) {
        return PyObject_CallMethodNoArgs(future, st->str_result);
    }
    if (is_done == 0) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    }
    return NULL;
}

static PySendResult
op_resume(ReadOp *op, PyObject **result)
{
    fastaio_state *st = op->core->st;
    FutureCore *core = future_core(st, op->future);
    PyObject *value = NULL;
    if (core == NULL) {
        value = foreign_result(st, op->future);
    }
    else if (future_is_pending(core)) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    }
    else {
        value = future_get_result(core);
    }
    if (value == NULL) {
        return op_fail(op);
    }
    Py_DECREF(value);
    if (op->core->waiter == op->future) {
        Py_SETREF(op->core->waiter, Py_NewRef(Py_None));
    }
    Py_CLEAR(op->future);
    op->woken = true;
    return op_attempt(op, result);
}

/* ---- the protocol of coroutines -------------------------------------------------------------- */

static int
check_usable(ReadOp *op)
{
    if (op->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    if (op->phase == CLOSED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return -1;
    }
    return 0;
}

static PySendResult
op_send(PyObject *self, PyObject *value, PyObject **result)
{
    ReadOp *op = (ReadOp *)self;
    *result = NULL;
    if (check_usable(op) < 0) {
        return PYGEN_ERROR;
    }
    if (op->phase == CREATED && value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    op->running = true;
    PySendResult sent = op->phase == CREATED ? op_start(op, result) : op_resume(op, result);
    op->running = false;
    return sent;
}

static PyObject *
op_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult sent = op_send(self, Py_None, &result);
    if (sent == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_CLEAR(result);
        if (stop != NULL) {
            PyErr_SetRaisedException(stop);
        }
    }
    return result;
}

static PyObject *
op_send_method(PyObject *self, PyObject *value)
{
    if (value == Py_None) {
        return op_iternext(self);
    }
    PyObject *result;
    if (((ReadOp *)self)->phase == WAITING) {
        return op_iternext(self); /* what is sent to a future is of no account */
    }
    op_send(self, value, &result);
    return NULL;
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
        PyErr_SetString(PyExc_TypeError,
                        PyExceptionInstance_Check(args[0])
                            ? "instance exception may not have a separate value"
                            : "exceptions must be classes or instances deriving from "
                              "BaseException");
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

static PyObject *
op_throw(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    ReadOp *op = (ReadOp *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    if (check_usable(op) == 0 && raise_thrown(args, count)) {
        op_fail(op);
    }
    return NULL;
}

static PyObject *
op_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ReadOp *op = (ReadOp *)self;
    if (op->running) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return NULL;
    }
    if (op->phase != CLOSED) {
        op_finish(op);
    }
    Py_RETURN_NONE;
}

/* ---- making and freeing ---------------------------------------------------------------------- */

PyObject *
read_op_new(ReaderCore *core, PyObject *reader, ReadKind kind, Py_ssize_t size,
            PyObject *separator)
{
    fastaio_state *st = core->st;
    ReadOp *op = (ReadOp *)pool_alloc(&st->read_op_pool, st->ReadOpType);
    if (op == NULL) {
        return NULL;
    }
    op->core = (ReaderCore *)Py_NewRef(core);
    op->reader = Py_NewRef(reader);
    op->separator = Py_XNewRef(separator);
    op->kind = (uint8_t)kind;
    op->size = size;
    return (PyObject *)op;
}

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    ReadOp *op = (ReadOp *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->reader);
    Py_VISIT(op->core);
    Py_VISIT(op->separator);
    Py_VISIT(op->future);
    return 0;
}

/* The collector runs finalizers first, and they have let go of all. */
static int
op_clear(PyObject *self)
{
    ReadOp *op = (ReadOp *)self;
    op->phase = CLOSED;
    Py_CLEAR(op->future);
    Py_CLEAR(op->separator);
    Py_CLEAR(op->core);
    Py_CLEAR(op->reader);
    return 0;
}

static void
op_finalize(PyObject *self)
{
    ReadOp *op = (ReadOp *)self;
    if (op->phase == CLOSED || op->core == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (op->phase == CREATED &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine 'StreamReader.%s' was never awaited",
                         names[op->kind]) < 0) {
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
    ReadOp *op = (ReadOp *)self;
    if (op->phase != CLOSED && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (op->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    op_clear(self);
    fastaio_state *st = state_of_dying(type);
    pool_give(st ? &st->read_op_pool : NULL, self);
    Py_DECREF(type);
}

static PyObject *
op_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *
op_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object StreamReader.%s at %p>",
                                names[((ReadOp *)self)->kind], self);
}

static PyObject *
op_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(names[((ReadOp *)self)->kind]);
}

static PyObject *
op_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromFormat("StreamReader.%s", names[((ReadOp *)self)->kind]);
}

static PyObject *
op_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((ReadOp *)self)->running);
}

static PyObject *
op_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    ReadOp *op = (ReadOp *)self;
    return PyBool_FromLong(!op->running && op->phase == WAITING);
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
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ReadOp, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The coroutine of a read from a stream.")},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear},
    {Py_tp_finalize, op_finalize},
    {Py_tp_dealloc, op_dealloc},
    {Py_tp_repr, op_repr},
    {Py_tp_iter, op_self}, /* what `await` iterates is the coroutine itself */
    {Py_tp_iternext, op_iternext},
    {Py_am_await, op_self},
    {Py_am_send, op_send},
    {Py_tp_methods, op_methods},
    {Py_tp_getset, op_getset},
    {Py_tp_members, op_members},
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.ReadOp",
    .basicsize = sizeof(ReadOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = op_slots,
};

int
read_op_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->ReadOpType = state_add_type(module, &op_spec, NULL);
    return st->ReadOpType ? 0 : -1;
}
