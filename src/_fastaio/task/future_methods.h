/* future_methods.h: the methods and attributes that Future and Task have in common.
 *
 * future.c and future_callbacks.c have each as a function of a FutureCore; a type wraps them by
 * FUTURE_WRAP_*(Object, prefix, ...), which find the core behind that type's base, and lists them
 * in its own tables.
 */
#ifndef FASTAIO_FUTURE_SHARED_H
#define FASTAIO_FUTURE_SHARED_H

#include "task/future.h"

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
PyObject *core_add_done_callback(FutureCore *core, PyObject *const *args, Py_ssize_t count,
                                 PyObject *keywords);
PyObject *core_remove_done_callback(FutureCore *core, PyObject *callback);
/* future_await.c: a FutureIter; and the future as its own iterator, for `await`. */
PyObject *core_await(FutureCore *core);
PyObject *core_self(FutureCore *core);
PyObject *core_next(FutureCore *core);
int future_await_init(PyObject *module);
/* Have every callback called soon, once; the future keeps none. 0, or -1. */
int future_schedule_callbacks(FutureCore *core);
/* In debug mode notes where the future was made. 0, or -1. */
int future_keep_source_traceback(FutureCore *core);
/* -1 with RuntimeError before __init__ has run. */
int future_ensure_initialized(FutureCore *core);
extern const char core_doc_add_done_callback[];
extern const char core_doc_remove_done_callback[];
/* The one argument `msg` of cancel(), by position or keyword: borrowed, None when not given. */
PyObject *core_cancel_argument(PyObject *const *args, Py_ssize_t count, PyObject *keywords);

/* loop.call_exception_handler(context), with the source traceback added. */
int future_call_exception_handler(FutureCore *core, PyObject *context);

/* The base's own traverse, clear and dealloc; `ours` is the calling type's dealloc, which tells
   how far up the base begins. */
int future_base_traverse(PyObject *self, destructor ours, visitproc visit, void *arg);
int future_base_clear(PyObject *self, destructor ours);
void future_base_dealloc(PyObject *self, destructor ours);
/* Return true if that dealloc would find nothing in an object of one of the exact types: nobody has used the
   base's fields, and there are no weak references and no __dict__. Always false for a subclass. */
static inline bool
future_base_is_blank(PyObject *self)
{
    const uintptr_t *words = (const uintptr_t *)self;
    size_t count = (size_t)Py_TYPE(self)->tp_base->tp_basicsize / sizeof(*words);
    uintptr_t found = 0, found_too = 0;
    for (size_t i = sizeof(PyObject) / sizeof(*words); i + 1 < count; i += 2) {
        found |= words[i];
        found_too |= words[i + 1];
        /* Word by word: a vector load of words that have just been written singly waits for the stores. */
        __asm__("" : "+r"(found), "+r"(found_too));
    }
    found |= words[count - 1];
    return (found | found_too) == 0 && compat_prefix_is_blank(self);
}

/* ImportError where the interpreter's type does not fit into the room kept for it. */
int future_base_check(PyObject *base, size_t room);

#define FUTURE_WRAP_NOARGS(Object, prefix, name)                                                   \
    static PyObject *prefix##_##name(PyObject *self, PyObject *Py_UNUSED(ignored))                 \
    {                                                                                              \
        return core_##name(&((Object *)self)->core);                                               \
    }
#define FUTURE_WRAP_GETTER(Object, prefix, name)                                                   \
    static PyObject *prefix##_get_##name(PyObject *self, void *Py_UNUSED(closure))                 \
    {                                                                                              \
        return core_get_##name(&((Object *)self)->core);                                           \
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
     "Return an iterator over what is yielded until the result is there."},                        \
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585."}

#endif
