/* streamreader_op.c: ReadOp, the coroutine of one read from a native stream reader.
 *
 * An attempt takes all that the read returns, or nothing. So a cancelled read has taken nothing.
 */
#include "reader/streamreader_op.h"

#include "base/error.h"
#include "loop/ending.h"
#include "task/coro.h"
#include "task/future.h"

typedef struct {
    Coro coro;
    PyObject *reader; /* until the end, like the next */
    ReaderCore *core;
    Home home;
    PyObject *separator; /* bytes; NULL: a newline */
    PyObject *future;    /* while the read waits: what was yielded; else NULL */
    Py_ssize_t size;
    Py_ssize_t searched; /* no separator begins before this offset */
    uint8_t kind;        /* a ReadKind */
    bool woken;          /* the read has waited */
} ReadOp;

static const char *const names[] = {
    [READ_SOME] = "read",     [READ_EXACTLY] = "readexactly", [READ_UNTIL] = "readuntil",
    [READ_LINE] = "readline", [READ_NEXT] = "__anext__",
};

/* ---- attempts -------------------------------------------------------------------------------- */

/* Take `size` bytes as the result. */
static Outcome
take(ReadOp *op, Py_ssize_t size, PyObject **result)
{
    *result = reader_take(op->core, size);
    if (*result != NULL && reader_maybe_resume(op->core) < 0) {
        Py_CLEAR(*result);
    }
    return *result != NULL ? DONE : FAILED;
}

/* Return all that is left. The transport is not resumed: the stream has ended. */
static PyObject *
take_rest(ReadOp *op)
{
    Py_ssize_t available;
    if (reader_check(op->core) < 0) {
        return NULL;
    }
    reader_view(op->core, &available);
    return reader_take(op->core, available);
}

/* Raise IncompleteReadError with all that is left. expected: 0 stands for None. */
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
            raise_object(exc);
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

/* Return where the separator begins, from op->searched on; -1 if it is not there. Store its
   length. */
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

/* Return the first `size` bytes, or fewer if making the exception has run code that took some. */
static PyObject *
take_at_most(ReadOp *op, Py_ssize_t size)
{
    Py_ssize_t available;
    if (reader_check(op->core) < 0) {
        return NULL;
    }
    reader_view(op->core, &available);
    return reader_take(op->core, size < available ? size : available);
}

/* Drop `size` bytes, all for -1, and raise ValueError: what readline() does about an overrun. Take
   the reference to `overrun`. */
static Outcome
raise_line_too_long(ReadOp *op, const char *text, Py_ssize_t size, PyObject *overrun)
{
    PyObject *line = size < 0 ? take_rest(op) : take_at_most(op, size);
    if (line == NULL || reader_maybe_resume(op->core) < 0) {
        Py_XDECREF(line);
        Py_DECREF(overrun);
        return FAILED;
    }
    Py_DECREF(line);
    /* As if readline() had caught the overrun: the overrun is the context of the ValueError. */
    raise_object(overrun);
    overrun = PyErr_GetRaisedException();
    PyErr_SetString(PyExc_ValueError, text);
    PyObject *exc = PyErr_GetRaisedException();
    PyException_SetContext(exc, overrun);
    PyErr_SetRaisedException(exc);
    return FAILED;
}

/* Raise LimitOverrunError, or what readline() makes of it. found: where the separator begins, or
   -1. consumed: an attribute of the exception. */
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
        raise_object(exc);
        return FAILED;
    }
    return raise_line_too_long(op, text, found >= 0 ? found + 1 : -1, exc);
}

/* Read at the end of the stream, without a separator. */
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
op_finish(Coro *coro)
{
    ReadOp *op = (ReadOp *)coro;
    if (op->future != NULL && op->core->waiter == op->future) {
        Py_SETREF(op->core->waiter, Py_NewRef(Py_None));
    }
    Py_CLEAR(op->future);
    Py_CLEAR(op->separator);
    Py_CLEAR(op->core);
    Py_CLEAR(op->reader);
}

/* Make the future that is yielded next, and the reader's `_waiter`. Return 0, or -1 with an
   exception. */
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
    shared_store(&op->coro.phase, CORO_SUSPENDED);
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
    if (outcome == DONE) {
        shared_store(&op->coro.phase, CORO_CLOSED);
        op_finish(&op->coro);
        return PYGEN_RETURN;
    }
    coro_end(&op->coro);
    return PYGEN_ERROR;
}

static PySendResult
op_fail(ReadOp *op)
{
    coro_end(&op->coro);
    return PYGEN_ERROR;
}

static PySendResult
op_start(ReadOp *op, PyObject **result)
{
    PyObject *exception = op->core->exception;
    if (exception != NULL && exception != Py_None) {
        if (PyExceptionInstance_Check(exception)) {
            raise_object(Py_NewRef(exception));
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

/* Return the result of a future of another library, like coro_future_result(). */
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
    if (core != NULL && coro_yield_future(core, result)) { /* somebody has resumed the coroutine too early */
        return PYGEN_NEXT;
    }
    PyObject *value = core != NULL ? coro_future_result(core) : foreign_result(st, op->future);
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

/* ---- steps ----------------------------------------------------------------------------------- */

/* Return the loop whose claim guards the coroutine, borrowed. */
static PyObject *
loop_of(PyObject *self)
{
    return home_loop(&((ReadOp *)self)->home);
}

GUARD_SEND(op_send, loop_of)

static PySendResult
op_send(PyObject *self, PyObject *value, PyObject **result)
{
    ReadOp *op = (ReadOp *)self;
    if (coro_enter(&op->coro, value, result) < 0) {
        return PYGEN_ERROR;
    }
    PySendResult sent =
        op->coro.phase == CORO_CREATED ? op_start(op, result) : op_resume(op, result);
    coro_leave(&op->coro);
    return sent;
}

static const char *
op_name(const Coro *coro)
{
    return names[((const ReadOp *)coro)->kind];
}

static Pool *
op_pool(fastaio_state *st)
{
    return &st->read_op_pool;
}

static void
op_release(Coro *coro)
{
    home_drop(&((ReadOp *)coro)->home);
}

static const CoroKind op_coro = {
    .owner = "StreamReader",
    .name = op_name,
    .finish = op_finish,
    .pool = op_pool,
    .loop_of = loop_of,
    .release = op_release,
};

/* ---- making and freeing ---------------------------------------------------------------------- */

PyObject *
read_op_new(ReaderCore *core, PyObject *reader, ReadKind kind, Py_ssize_t size, PyObject *separator)
{
    fastaio_state *st = core->st;
    bool debug = relaxed_load(&((LoopObject *)core->loop)->watchdog.debug);
    Py_INCREF(core); /* the allocation may start the collector, which runs code */
    ReadOp *op = (ReadOp *)pool_alloc(&st->read_op_pool, st->ReadOpType);
    if (op == NULL) {
        Py_DECREF(core);
        return NULL;
    }
    op->coro.kind = &op_coro;
    op->core = core;
    home_set(&op->home, home_loop(&core->home));
    op->reader = Py_NewRef(reader);
    op->separator = Py_XNewRef(separator);
    op->kind = (uint8_t)kind;
    op->size = size;
    if (debug && coro_keep_origin(&op->coro) < 0) {
        coro_end(&op->coro); /* so that it does not warn that it was never awaited */
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}

static int
op_traverse(PyObject *self, visitproc visit, void *arg)
{
    ReadOp *op = (ReadOp *)self;
    Py_VISIT(Py_TYPE(self));
    CORO_VISIT(&op->coro);
    Py_VISIT(op->reader);
    Py_VISIT(op->core);
    HOME_VISIT(&op->home);
    Py_VISIT(op->separator);
    Py_VISIT(op->future);
    return 0;
}

static PyType_Slot op_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The coroutine of a read from a stream.")},
    {Py_tp_traverse, op_traverse},
    {Py_am_send, GUARDED(op_send)},
    CORO_SLOTS,
    {0, NULL},
};

static PyType_Spec op_spec = {
    .name = "fastaio._fastaio.ReadOp",
    .basicsize = sizeof(ReadOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = op_slots,
};

static const GuardRules op_rules = {loop_of, NULL};

int
read_op_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->ReadOpType = state_add_type(module, &op_spec, NULL);
    if (st->ReadOpType == NULL) {
        return -1;
    }
    return guard_type(st, st->ReadOpType, &op_rules);
}
