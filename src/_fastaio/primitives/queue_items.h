/* queue_items.h: the items of the three kinds of queue. */
#ifndef FASTAIO_QUEUE_ITEMS_H
#define FASTAIO_QUEUE_ITEMS_H

#include "primitives/queue_object.h"

/* Do _init(), _put() or _get() of a kind that is not QUEUE_OTHER. Return 0, or -1 with an exception; queue_take()
   an item, or NULL with an exception. */
int queue_make_items(fastaio_state *st, PyObject *self, QueueKind kind);
int queue_add(fastaio_state *st, PyObject *self, QueueKind kind, PyObject *item);
PyObject *queue_take(fastaio_state *st, PyObject *self, QueueKind kind);

/* The methods of the same names, for each kind. */
#define DECLARE_ITEM_METHODS(kind)                                                                 \
    PyObject *queue_##kind##_init(PyObject *self, PyObject *maxsize);                              \
    PyObject *queue_##kind##_put(PyObject *self, PyObject *item);                                  \
    PyObject *queue_##kind##_get(PyObject *self, PyObject *ignored);
DECLARE_ITEM_METHODS(fifo)
DECLARE_ITEM_METHODS(priority)
DECLARE_ITEM_METHODS(lifo)

/* Their entries in the table of a type's methods. */
#define QUEUE_ITEM_METHODS(kind)                                                                   \
    {"_init", queue_##kind##_init, METH_O,                                                         \
     PyDoc_STR("_init($self, maxsize, /)\n--\n\nMake the container of the items.")},               \
    {"_put", queue_##kind##_put, METH_O,                                                           \
     PyDoc_STR("_put($self, item, /)\n--\n\nAdd an item to the container.")},                      \
    {"_get", queue_##kind##_get, METH_NOARGS,                                                      \
     PyDoc_STR("_get($self, /)\n--\n\nTake an item out of the container.")}

#endif
