/* future_methods.h: the methods and attributes that Future and Task have in common.
 *
 * Each is a function of a FutureCore, here or in a header that is included here. A type wraps them by
 * FUTURE_WRAP_*(Object, prefix, ...), which find the core behind that type's base, and lists the wrappers in
 * its own tables.
 */
#ifndef FASTAIO_FUTURE_METHODS_H
#define FASTAIO_FUTURE_METHODS_H

#include "task/future_await.h"
#include "task/future_callbacks.h"

#define FUTURE_NOARGS(X)                                                                           \
    X(result) X(exception) X(done) X(cancelled) X(get_loop) X(_make_cancelled_error)
#define FUTURE_GETTERS(X)                                                                          \
    X(_state) X(_loop) X(_callbacks) X(_result) X(_exception) X(_source_traceback)
#define FUTURE_ACCESSORS(X) X(_asyncio_future_blocking) X(_log_traceback) X(_cancel_message)

#define X(name) PyObject *core_##name(FutureCore *core); extern const char core_doc_##name[];
FUTURE_NOARGS(X)
#undef X
#define X(name) PyObject *core_get_##name(FutureCore *core);
FUTURE_GETTERS(X)
FUTURE_ACCESSORS(X)
#undef X
#define X(name) int core_set_##name(FutureCore *core, PyObject *value);
FUTURE_ACCESSORS(X)
#undef X

/* Return the one argument of cancel(), `msg` by position or keyword: borrowed, None if it is not given; NULL
   with TypeError. */
PyObject *core_cancel_argument(PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/* Return the truth of a value assigned to an attribute, 0 or 1; -1 with an exception: AttributeError for
   NULL, a deletion. */
int core_assigned_truth(PyObject *value);

#define FUTURE_WRAP_NOARGS(Object, prefix, name)                                                   \
    static PyObject *prefix##_##name(PyObject *self, PyObject *Py_UNUSED(ignored))                 \
    {                                                                                              \
        return core_##name(&((Object *)self)->core);                                               \
    }
#define FUTURE_WRAP_GETTER(Object, prefix, name)                                                   \
    static PyObject *prefix##_get_##name(PyObject *self, void *Py_UNUSED(closure))                 \
    {                                                                                              \
        PyObject *value;                                                                           \
        Py_BEGIN_CRITICAL_SECTION(self); /* another thread may set it */                           \
        value = core_get_##name(&((Object *)self)->core);                                          \
        Py_END_CRITICAL_SECTION();                                                                 \
        return value;                                                                              \
    }
#define FUTURE_WRAP_SETTER(Object, prefix, name)                                                   \
    static int prefix##_set_##name(PyObject *self, PyObject *value, void *Py_UNUSED(closure))      \
    {                                                                                              \
        return core_set_##name(&((Object *)self)->core, value);                                    \
    }
#define FUTURE_WRAP_REST(Object, prefix)                                                           \
    static PyObject *prefix##_add_done_callback(PyObject *self, PyObject *const *args,             \
                                                Py_ssize_t count, PyObject *keywords)              \
    {                                                                                              \
        return core_add_done_callback(&((Object *)self)->core, args, count, keywords);             \
    }                                                                                              \
    static PyObject *prefix##_remove_done_callback(PyObject *self, PyObject *callback)             \
    {                                                                                              \
        return core_remove_done_callback(&((Object *)self)->core, callback);                       \
    }                                                                                              \
    static PyObject *prefix##_iter(PyObject *self)                                                 \
    {                                                                                              \
        return core_await(&((Object *)self)->core);                                                \
    }                                                                                              \
    static PyObject *prefix##_await_method(PyObject *self, PyObject *Py_UNUSED(ignored))           \
    {                                                                                              \
        return core_await(&((Object *)self)->core);                                                \
    }                                                                                              \
    static PyObject *prefix##_await(PyObject *self)                                                \
    {                                                                                              \
        return core_self(&((Object *)self)->core);                                                 \
    }                                                                                              \
    static PyObject *prefix##_next(PyObject *self)                                                 \
    {                                                                                              \
        return core_next(&((Object *)self)->core);                                                 \
    }

#define FUTURE_METHOD_ENTRIES(prefix)                                                              \
    {"add_done_callback", (PyCFunction)(void (*)(void))prefix##_add_done_callback,                 \
     METH_FASTCALL | METH_KEYWORDS, core_doc_add_done_callback},                                   \
    {"remove_done_callback", prefix##_remove_done_callback, METH_O,                                \
     core_doc_remove_done_callback},                                                               \
    {"__await__", prefix##_await_method, METH_NOARGS | METH_COEXIST,                               \
     "Return an iterator that yields the future while it is pending."},                            \
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585."}

/* The names that need no critical section around them: they ask for what does not change, or enter it themselves. */
#define FUTURE_FREE_NAMES                                                                          \
    "result", "exception", "done", "cancelled", "get_loop", "_make_cancelled_error", "_state",     \
        "_loop", "_result", "_exception", "_asyncio_future_blocking", "_log_traceback",            \
        "add_done_callback", "remove_done_callback", "set_result", "set_exception", "cancel",      \
        "__await__"

#endif
