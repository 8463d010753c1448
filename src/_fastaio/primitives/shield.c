/* shield.c: shield(). */
#include "primitives/shield.h"

#include "base/asyncio_versions.h"
#include "base/traits.h"
#include "primitives/children.h"
#include "task/done_callback.h"
#include "task/future.h"
#include "task/future_callbacks.h"

/* ---- callbacks ------------------------------------------------------------------------------- */

/* The inner future is done. `self`: the awaiter. */
static int
awaiting_done(DoneCallback *callback, FutureCore *inner, bool Py_UNUSED(in_context))
{
    return child_await_ends(inner->st, future_object(inner), callback->self) < 0 ? -1 : 1;
}

static const DoneCallbackSpec awaiting_done_spec = {"shield.<locals>._clear_awaited_by_callback",
                                                    awaiting_done, NULL};

/* The inner future is done. `self`: the outer one; `extra`: the callback of the awaiter, or NULL. */
static int
inner_done(DoneCallback *callback, FutureCore *inner, bool Py_UNUSED(in_context))
{
    FutureCore *outer = child_core(callback->self);
    if (future_state(outer) == FUTURE_CANCELLED) {
        if (CANCELLED_SHIELD_RETRIEVES && future_state(inner) != FUTURE_CANCELLED) {
            child_exception(inner);
        }
        return 1;
    }
    int result;
    if (future_state(inner) == FUTURE_CANCELLED) {
        result = future_cancel(outer, Py_None);
    }
    else {
        PyObject *exception = Py_XNewRef(child_exception(inner));
        PyObject *value = exception ? NULL : future_get_result(inner);
        result = exception ? future_set_exception_unless_cancelled(outer, exception)
                 : value   ? future_set_result_unless_cancelled(outer, value)
                           : -1;
        Py_XDECREF(exception);
        Py_XDECREF(value);
    }
    return result < 0 ? -1 : 1;
}

static const DoneCallbackSpec inner_done_spec = {"shield.<locals>._inner_done_callback", inner_done,
                                                 NULL};

/* The outer future is done. `self`: the inner one; `extra`: the callback that the inner one has. */
static int
outer_done(DoneCallback *callback, FutureCore *Py_UNUSED(outer), bool Py_UNUSED(in_context))
{
    FutureCore *inner = child_core(callback->self);
    if (!future_is_pending(inner)) {
        return 1;
    }
    if (future_remove_callback(inner, callback->extra) < 0) {
        return -1;
    }
    DoneCallback *awaiting = (DoneCallback *)((DoneCallback *)callback->extra)->extra;
    if (awaiting == NULL) {
        return 1;
    }
    if (future_remove_callback(inner, (PyObject *)awaiting) < 0) {
        return -1;
    }
    return child_await_ends(inner->st, callback->self, awaiting->self) < 0 ? -1 : 1;
}

static const DoneCallbackSpec outer_done_spec = {"shield.<locals>._outer_done_callback", outer_done,
                                                 NULL};

/* ---- shield() -------------------------------------------------------------------------------- */

/* Link a pending future with the outer one. Return 0, or -1 with an exception. */
static int
link_futures(LoopObject *loop, PyObject *inner, PyObject *outer)
{
    fastaio_state *st = loop->st;
    PyObject *awaiter, *context = NULL;
    DoneCallback *awaiting = NULL, *at_inner = NULL, *at_outer = NULL;
    int result = -1;
    if (children_awaiter(loop, &awaiter) < 0) {
        return -1;
    }
    if ((context = PyContext_CopyCurrent()) == NULL) {
        goto done;
    }
    if (awaiter != NULL) {
        awaiting = done_callback_new(st, &awaiting_done_spec, awaiter, NULL);
        if (awaiting == NULL || child_await_begins(st, inner, awaiter) < 0
            || future_add_callback(child_core(inner), (PyObject *)awaiting, context) < 0) {
            goto done;
        }
    }
    if ((at_inner = done_callback_new(st, &inner_done_spec, outer, (PyObject *)awaiting)) == NULL
        || (at_outer = done_callback_new(st, &outer_done_spec, inner, (PyObject *)at_inner)) == NULL
        || future_add_callback(child_core(inner), (PyObject *)at_inner, context) < 0) {
        goto done;
    }
    result = future_add_callback(child_core(outer), (PyObject *)at_outer, context);
done:
    Py_XDECREF(awaiting);
    Py_XDECREF(at_outer);
    Py_XDECREF(at_inner);
    Py_XDECREF(context);
    Py_XDECREF(awaiter);
    return result;
}

/* Do shield() for a native child. Return the future, or NULL with an exception. */
static PyObject *
shield_native(LoopObject *loop, PyObject *argument)
{
    PyObject *inner = child_ensure(loop, argument);
    if (inner == NULL || !future_is_pending(child_core(inner))) {
        return inner;
    }
    PyObject *outer = future_new(loop);
    if (outer != NULL && link_futures(loop, inner, outer) < 0) {
        Py_CLEAR(outer);
    }
    Py_DECREF(inner);
    return outer;
}

PyDoc_STRVAR(shield_doc, "shield(arg)\n--\n\n"
"Return a future with the outcome of a coroutine or future, which goes on if the returned\n"
"future is cancelled.\n\n"
"Keep a reference to a task that is given: the loop has only a weak one. asyncio.shield() in C.");

static PyObject *
shield(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    fastaio_state *st = state_of_module(module);
    LoopObject *loop = NULL;
    int found = 0;
    if (count == 1 && keywords == NULL && st->primitives->knows_shield) {
        found = children_loop(st, &loop);
    }
    if (found < 0) {
        return NULL;
    }
    PyObject *result =
        found && child_is_native(loop, args[0])
            ? shield_native(loop, args[0])
            : PyObject_Vectorcall(st->primitives->asyncio_shield, args, count, keywords);
    Py_XDECREF(loop);
    return result;
}

/* The callbacks of asyncio's shield() that this file knows. */
static bool
is_known_callback(PyObject *name)
{
    return PyUnicode_CompareWithASCIIString(name, "_inner_done_callback") == 0
           || PyUnicode_CompareWithASCIIString(name, "_outer_done_callback") == 0
           || PyUnicode_CompareWithASCIIString(name, "_clear_awaited_by_callback") == 0;
}

/* Return true if a callback adds one that reports exceptions of shielded futures. */
static bool
adds_report(const PyCodeObject *code)
{
    return has_name(code->co_names, "_log_on_exception");
}

/* Return 1 if asyncio's shield() has only callbacks that this file knows, 0, or -1 with an exception. Some
   releases of 3.14 report exceptions of shielded futures by one more, their own or one of the module. */
static int
knows_shield(PyObject *function)
{
    PyObject *code = PyObject_GetAttrString(function, "__code__");
    PyObject *consts = code ? PyObject_GetAttrString(code, "co_consts") : NULL;
    int known = consts && PyTuple_Check(consts) ? 1 : -1;
    for (Py_ssize_t i = 0; known > 0 && i < PyTuple_GET_SIZE(consts); i++) {
        PyObject *constant = PyTuple_GET_ITEM(consts, i);
        if (PyCode_Check(constant)) {
            const PyCodeObject *callback = (PyCodeObject *)constant;
            known = is_known_callback(callback->co_name) && !adds_report(callback);
        }
    }
    Py_XDECREF(code);
    Py_XDECREF(consts);
    return known;
}

static PyMethodDef functions[] = {
    {"shield", KEYWORDS(shield), METH_FASTCALL | METH_KEYWORDS, shield_doc},
    {NULL, NULL, 0, NULL},
};

int
shield_init(PyObject *module)
{
    Primitives *primitives = state_of_module(module)->primitives;
    int known = knows_shield(primitives->asyncio_shield);
    if (known < 0) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear(); /* replaced by another callable: that is what is called */
    }
    primitives->knows_shield = known > 0;
    return PyModule_AddFunctions(module, functions);
}
