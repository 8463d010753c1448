/* pool.h: freed objects of one size, kept for reuse: small objects that come and go with every
 * callback are not worth a trip through the allocator. */
#ifndef FASTAIO_POOL_H
#define FASTAIO_POOL_H

#include "base/compat.h"

#define POOL_CAPACITY 256

typedef struct {
    PyObject *items[POOL_CAPACITY];
    size_t count;
    bool closed; /* keeps nothing any more: the types of what it would keep go away */
} Pool;

/* A new, untracked object of `type`, whose fields are not initialised; NULL with MemoryError. */
static inline PyObject *
pool_take(Pool *pool, PyTypeObject *type)
{
    if (pool->count) {
        return PyObject_Init(pool->items[--pool->count], type);
    }
    return PyObject_GC_New(PyObject, type);
}

/* The same for a type whose instances must begin zeroed and tracked: its tp_alloc. Works for
   subclasses of types with a managed dict, too: what lies before the object is cleared by their
   dealloc. */
static inline PyObject *
pool_alloc(Pool *pool, PyTypeObject *type)
{
    if (pool->count == 0) {
        return PyType_GenericAlloc(type, 0);
    }
    PyObject *obj = pool->items[--pool->count];
    gc_head_reset(obj);
    memset(obj + 1, 0, type->tp_basicsize - sizeof(PyObject));
    PyObject_Init(obj, type);
    PyObject_GC_Track(obj);
    return obj;
}

/* Keeps or frees an untracked, cleared object; the type's reference is the caller's to drop. */
static inline void
pool_give(Pool *pool, PyObject *obj)
{
    if (pool != NULL && pool->count < POOL_CAPACITY && !pool->closed) {
        pool->items[pool->count++] = obj;
    }
    else {
        PyObject_GC_Del(obj);
    }
}

static inline void
pool_close(Pool *pool)
{
    pool->closed = true;
    while (pool->count) {
        PyObject_GC_Del(pool->items[--pool->count]);
    }
}

#endif
