/* pool.h: freed objects of one size, kept for reuse.
 *
 * Small objects are made and freed with every callback. A pool spares the allocator's work.
 */
#ifndef FASTAIO_POOL_H
#define FASTAIO_POOL_H

#include "base/compat.h"

#define POOL_CAPACITY 256

#ifdef Py_GIL_DISABLED

/* Without a GIL the allocator has free memory for each thread, and a pool that threads share would need a
   lock: nothing is kept. */
typedef struct {
    char nothing[0];
} Pool;

static inline PyObject *
pool_take(Pool *Py_UNUSED(pool), PyTypeObject *type)
{
    return PyObject_GC_New(PyObject, type);
}

static inline PyObject *
pool_alloc(Pool *Py_UNUSED(pool), PyTypeObject *type)
{
    return PyType_GenericAlloc(type, 0);
}

static inline void
pool_give(Pool *Py_UNUSED(pool), PyObject *obj)
{
    PyObject_GC_Del(obj);
}

static inline void
pool_close(Pool *Py_UNUSED(pool))
{
}

#else

typedef struct {
    PyObject *items[POOL_CAPACITY];
    size_t count;
    bool closed; /* keeps no more objects: their types are being freed */
} Pool;

/* Return a new, untracked object of `type`, whose fields are not initialised; NULL with MemoryError. */
static inline PyObject *
pool_take(Pool *pool, PyTypeObject *type)
{
    if (pool->count) {
        return PyObject_Init(pool->items[--pool->count], type);
    }
    return PyObject_GC_New(PyObject, type);
}

/* Return a new object of `type`, zeroed and tracked, as tp_alloc does; NULL with MemoryError. Also for types
   with a managed dict: their dealloc has cleared the words in front of the object. */
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

/* Keep an untracked, cleared object, or free it if the pool is full, closed or NULL. The caller drops the
   reference to the type. */
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

/* Free the kept objects, and keep none from now on. */
static inline void
pool_close(Pool *pool)
{
    pool->closed = true;
    while (pool->count) {
        PyObject_GC_Del(pool->items[--pool->count]);
    }
}

#endif

#endif
