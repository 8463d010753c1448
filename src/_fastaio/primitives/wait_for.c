/* wait_for.c: wait_for(). From 3.12 on asyncio awaits the object itself, within timeout(). Before that, and for
 * a timeout of 0 or less, asyncio's own code does the work. It makes a task of its own for a coroutine then.
 */
#include "primitives/wait_for.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/error.h"
#include "primitives/op.h"
#include "primitives/timeout.h"

/* The uses of an Op's fields: `self` is the awaitable, `saved` the timeout in seconds, `extra` the Timeout, or
   NULL while asyncio's own wait_for() does the work. */

/* Return 1 if asyncio's own code is to do the work, 0, or -1 with an exception. */
static int
is_for_asyncio(PyObject *timeout)
{
    if (!WAIT_FOR_USES_TIMEOUT) {
        return 1;
    }
    if (timeout == Py_None) {
        return 0;
    }
    if (PyFloat_CheckExact(timeout)) {
        return PyFloat_AS_DOUBLE(timeout) <= 0;
    }
    PyObject *zero = PyLong_FromLong(0);
    int result = zero ? PyObject_RichCompareBool(timeout, zero, Py_LE) : -1;
    Py_XDECREF(zero);
    return result;
}

static Outcome
start_wait_for(Op *op, PyObject **Py_UNUSED(result))
{
    int for_asyncio = is_for_asyncio(op->saved);
    if (for_asyncio < 0) {
        return FAILED;
    }
    if (for_asyncio) {
        PyObject *coro = PyObject_CallFunctionObjArgs(op->st->asyncio_wait_for, op->self, op->saved,
                                                      NULL);
        Outcome outcome = coro ? op_await(op, coro) : FAILED;
        Py_XDECREF(coro);
        return outcome;
    }
    op->extra = timeout_new(op->st, op->saved);
    if (op->extra == NULL || timeout_enter(op->st, op->extra) < 0) {
        return FAILED;
    }
    if (op_await(op, op->self) == WAIT) {
        return WAIT;
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (timeout_exit(op->st, op->extra, exc) == 0) {
        PyErr_SetRaisedException(exc);
        return FAILED;
    }
    Py_DECREF(exc);
    return FAILED;
}

static Outcome
resume_wait_for(Op *op, PyObject *value, PyObject **result)
{
    PyObject *exc = value ? NULL : PyErr_GetRaisedException();
    if (op->extra != NULL && timeout_exit(op->st, op->extra, exc ? exc : Py_None) < 0) {
        Py_XDECREF(exc);
        Py_XDECREF(value);
        return FAILED;
    }
    *result = value;
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return value ? DONE : FAILED;
}

static const OpSpec wait_for_spec = {OP_KIND(NULL), "wait_for", start_wait_for, resume_wait_for};

static PyObject *
wait_for_call(fastaio_state *st, PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count,
              PyObject *keywords)
{
    PyObject *fut = count > 0 ? args[0] : NULL, *timeout = count > 1 ? args[1] : NULL;
    const NamedArgument known[] = {{"fut", &fut}, {"timeout", &timeout}, {NULL, NULL}};
    if (keywords != NULL && parse_keywords("wait_for", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "wait_for() takes 2 positional arguments but %zd were given",
                     count);
        return NULL;
    }
    if (fut == NULL || timeout == NULL) {
        PyErr_Format(PyExc_TypeError,
                     fut || timeout ? "wait_for() missing 1 required positional argument: '%s'"
                                    : "wait_for() missing 2 required positional arguments: 'fut' "
                                      "and '%s'",
                     fut || !timeout ? "timeout" : "fut");
        return NULL;
    }
    Op *op = op_new(st, &wait_for_spec, fut);
    if (op != NULL) {
        op->saved = Py_NewRef(timeout);
    }
    return (PyObject *)op;
}

static const CoroutineDef functions[] = {
    {"wait_for", wait_for_call,
     PyDoc_STR("wait_for(fut, timeout)\n--\n\n"
               "Return the result of an awaitable, or cancel it after `timeout` seconds and raise\n"
               "TimeoutError. timeout: seconds; None: no limit. asyncio.wait_for() in C.")},
    {NULL, NULL, NULL},
};

int
wait_for_init(PyObject *module)
{
    return coroutine_functions_add(module, functions);
}
