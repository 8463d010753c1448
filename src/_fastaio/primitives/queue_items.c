/* queue_items.c: the items of the three kinds of queue: a deque, a heap, a stack. */
#include "primitives/queue_items.h"

#include "base/deque.h"

/* Return a new reference to _queue; NULL with AttributeError. */
static PyObject *
items_of(PyObject *self)
{
    return Py_XNewRef(primitive_field(self, ((QueueObject *)self)->queue, "_queue"));
}

int
queue_make_items(fastaio_state *st, PyObject *self, QueueKind kind)
{
    PyObject *items = kind == QUEUE_FIFO ? deque_new(st) : PyList_New(0);
    if (items == NULL) {
        return -1;
    }
    Py_XSETREF(((QueueObject *)self)->queue, items);
    return 0;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static int
push_on_heap(const fastaio_state *st, PyObject *items, PyObject *item)
{
    PyObject *args[] = {items, item};
    return drop_result(PyObject_Vectorcall(st->primitives->heappush, args, 2, NULL));
}

static int
push_on_stack(const fastaio_state *st, PyObject *items, PyObject *item)
{
    return PyList_CheckExact(items)
               ? PyList_Append(items, item)
               : drop_result(PyObject_CallMethodOneArg(items, st->str_append, item));
}

int
queue_add(fastaio_state *st, PyObject *self, QueueKind kind, PyObject *item)
{
    PyObject *items = items_of(self);
    if (items == NULL) {
        return -1;
    }
    int result = kind == QUEUE_FIFO       ? deque_append(st, items, item)
                 : kind == QUEUE_PRIORITY ? push_on_heap(st, items, item)
                                          : push_on_stack(st, items, item);
    Py_DECREF(items);
    return result;
}

/* ---- taking ---------------------------------------------------------------------------------- */

static PyObject *
pop_from_stack(const fastaio_state *st, PyObject *items)
{
    Py_ssize_t count = PyList_CheckExact(items) ? PyList_GET_SIZE(items) : 0;
    if (count == 0) {
        return PyObject_CallMethodNoArgs(items, st->str_pop);
    }
    PyObject *item = Py_NewRef(PyList_GET_ITEM(items, count - 1));
    if (PyList_SetSlice(items, count - 1, count, NULL) < 0) {
        Py_CLEAR(item);
    }
    return item;
}

PyObject *
queue_take(fastaio_state *st, PyObject *self, QueueKind kind)
{
    PyObject *items = items_of(self);
    if (items == NULL) {
        return NULL;
    }
    PyObject *item = kind == QUEUE_FIFO       ? deque_popleft(st, items)
                     : kind == QUEUE_PRIORITY ? PyObject_CallOneArg(st->primitives->heappop, items)
                                              : pop_from_stack(st, items);
    Py_DECREF(items);
    return item;
}

/* ---- the methods ----------------------------------------------------------------------------- */

/* Define the three methods of a kind. */
#define DEFINE_ITEM_METHODS(name, kind)                                                            \
    PyObject *queue_##name##_init(PyObject *self, PyObject *Py_UNUSED(maxsize))                    \
    {                                                                                              \
        fastaio_state *st = primitive_state(self);                                                 \
        return st && queue_make_items(st, self, kind) == 0 ? Py_NewRef(Py_None) : NULL;            \
    }                                                                                              \
    PyObject *queue_##name##_put(PyObject *self, PyObject *item)                                   \
    {                                                                                              \
        fastaio_state *st = primitive_state(self);                                                 \
        return st && queue_add(st, self, kind, item) == 0 ? Py_NewRef(Py_None) : NULL;             \
    }                                                                                              \
    PyObject *queue_##name##_get(PyObject *self, PyObject *Py_UNUSED(ignored))                     \
    {                                                                                              \
        fastaio_state *st = primitive_state(self);                                                 \
        return st ? queue_take(st, self, kind) : NULL;                                             \
    }

DEFINE_ITEM_METHODS(fifo, QUEUE_FIFO)
DEFINE_ITEM_METHODS(priority, QUEUE_PRIORITY)
DEFINE_ITEM_METHODS(lifo, QUEUE_LIFO)
