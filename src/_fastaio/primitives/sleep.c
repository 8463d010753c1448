/* sleep.c: sleep(). */
#include "primitives/sleep.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "base/error.h"
#include "primitives/function.h"
#include "primitives/op.h"
#include "primitives/running.h"
#include "primitives/waiter.h"

/* The uses of an Op's fields: `self` is the delay, `saved` the result, `extra` the timer's handle. */

/* Return 1 if the delay is 0 or less, 0, or -1 with an exception. */
static int
is_over(PyObject *delay)
{
    if (PyFloat_CheckExact(delay)) {
        return PyFloat_AS_DOUBLE(delay) <= 0;
    }
    PyObject *zero = PyLong_FromLong(0);
    int result = zero ? PyObject_RichCompareBool(delay, zero, Py_LE) : -1;
    Py_XDECREF(zero);
    return result;
}

/* Return 0, or -1 with an exception: ValueError for NaN. */
static int
check_delay(PyObject *delay)
{
    if (!SLEEP_REFUSES_NAN) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(delay);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (seconds != seconds) {
        PyErr_SetString(PyExc_ValueError, "Invalid delay: NaN (not a number)");
        return -1;
    }
    return 0;
}

static Outcome
start_sleep(Op *op, PyObject **Py_UNUSED(result))
{
    int over = is_over(op->self);
    if (over != 0) {
        return over < 0 ? FAILED : op_yield(op);
    }
    PyObject *loop = check_delay(op->self) < 0 ? NULL : running_loop(op->st);
    if (loop == NULL) {
        return FAILED;
    }
    op->waiter = waiter_new(op->st, loop);
    if (op->waiter != NULL) {
        PyObject *args[] = {op->waiter, op->saved};
        op->extra = running_call_later(op->st, loop, op->self,
                                       op->st->set_result_unless_cancelled, args, 2);
    }
    Py_DECREF(loop);
    return op->extra ? op_await(op, op->waiter) : FAILED;
}

static Outcome
resume_sleep(Op *op, PyObject *value, PyObject **result)
{
    if (op->extra == NULL) { /* behind the bare yield of a delay of 0 */
        Py_XDECREF(value);
        *result = value ? Py_NewRef(op->saved) : NULL;
        return value ? DONE : FAILED;
    }
    PyObject *exc = value ? NULL : PyErr_GetRaisedException();
    int cancelled = running_cancel(op->st, op->extra);
    if (cancelled < 0 || exc != NULL) {
        Py_XDECREF(value);
        if (cancelled < 0) {
            Py_XDECREF(exc);
        }
        else {
            PyErr_SetRaisedException(exc);
        }
        return FAILED;
    }
    *result = value;
    return DONE;
}

static const OpSpec sleep_spec = {OP_KIND(NULL), "sleep", start_sleep, resume_sleep};

static PyObject *
sleep_call(fastaio_state *st, PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count,
           PyObject *keywords)
{
    PyObject *delay = count > 0 ? args[0] : NULL, *result = count > 1 ? args[1] : NULL;
    const NamedArgument known[] = {{"delay", &delay}, {"result", &result}, {NULL, NULL}};
    if (keywords != NULL && parse_keywords("sleep", known, keywords, args + count) < 0) {
        return NULL;
    }
    if (count > 2) {
        PyErr_Format(PyExc_TypeError,
                     "sleep() takes from 1 to 2 positional arguments but %zd were given", count);
        return NULL;
    }
    if (delay == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "sleep() missing 1 required positional argument: 'delay'");
        return NULL;
    }
    Op *op = op_new(st, &sleep_spec, delay);
    if (op != NULL) {
        op->saved = Py_NewRef(result ? result : Py_None);
    }
    return (PyObject *)op;
}

static const CoroutineDef functions[] = {
    {"sleep", sleep_call,
     PyDoc_STR("sleep(delay, result=None)\n--\n\n"
               "Return the result after `delay` seconds. With a delay of 0 or less the other tasks\n"
               "run once. asyncio.sleep() in C.")},
    {NULL, NULL, NULL},
};

int
sleep_init(PyObject *module)
{
    return coroutine_functions_add(module, functions);
}
