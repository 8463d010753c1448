/* future_base.h: the part of a future or task that asyncio's own type lays out. */
#ifndef FASTAIO_FUTURE_BASE_H
#define FASTAIO_FUTURE_BASE_H

#include "task/objects.h"

/* Return the asyncio class that `self` derives from: the base of the native type, whose tp_dealloc is
   `ours`. Subclasses have another tp_dealloc. */
static inline PyTypeObject *
future_base_of(PyObject *self, destructor ours)
{
    PyTypeObject *type = Py_TYPE(self);
    while (type->tp_dealloc != ours) {
        type = type->tp_base;
    }
    return type->tp_base;
}

/* Do the base's tp_traverse, tp_clear and tp_dealloc, and what 3.11's static types leave to a subclass. */
static inline int
future_base_traverse(PyObject *self, destructor ours, visitproc visit, void *arg)
{
#if !BASE_OWNS_TYPE_REF
    Py_VISIT(Py_TYPE(self));
#endif
    return future_base_of(self, ours)->tp_traverse(self, visit, arg);
}

static inline int
future_base_clear(PyObject *self, destructor ours)
{
    return future_base_of(self, ours)->tp_clear(self);
}

static inline void
future_base_dealloc(PyObject *self, destructor ours)
{
#if BASE_OWNS_TYPE_REF
    future_base_of(self, ours)->tp_dealloc(self);
#else
    PyTypeObject *type = Py_TYPE(self);
    future_base_of(self, ours)->tp_dealloc(self);
    Py_DECREF(type);
#endif
}

/* Return true if the base's dealloc would find nothing in an object of one of the exact types: the base's
   fields are unused, and there are no weak references and no __dict__. Always false for a subclass. */
static inline bool
future_base_is_blank(PyObject *self)
{
    const uintptr_t *words = (const uintptr_t *)self;
    size_t count = (size_t)Py_TYPE(self)->tp_base->tp_basicsize / sizeof(*words);
    uintptr_t found = 0, found_too = 0;
    for (size_t i = sizeof(PyObject) / sizeof(*words); i + 1 < count; i += 2) {
        found |= relaxed_load(&words[i]); /* its neighbours in the list of all tasks may change meanwhile */
        found_too |= relaxed_load(&words[i + 1]);
        /* Word by word: a vector load of words that have just been written singly waits for the stores. */
        __asm__("" : "+r"(found), "+r"(found_too));
    }
    found |= relaxed_load(&words[count - 1]);
    return (found | found_too) == 0 && compat_prefix_is_blank(self);
}

/* Return 0, or -1 with ImportError if the interpreter's type does not fit into the bytes kept for it. */
static inline int
future_base_check(PyObject *base, size_t room)
{
    const PyTypeObject *type = (PyTypeObject *)base;
    if ((size_t)type->tp_basicsize <= room) {
        return 0;
    }
    PyErr_Format(PyExc_ImportError,
                 "fastaio: %s of this Python is larger (%zd bytes) than this build expects (%zu)",
                 type->tp_name, type->tp_basicsize, room);
    return -1;
}

#endif
