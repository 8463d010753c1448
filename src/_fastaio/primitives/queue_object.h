/* queue_object.h: the struct of the three queues, and which of them an object is. */
#ifndef FASTAIO_QUEUE_OBJECT_H
#define FASTAIO_QUEUE_OBJECT_H

#include "base/asyncio_versions.h"
#include "primitives/bound.h"

typedef struct {
    BoundObject bound;
    PyObject *maxsize;    /* `_maxsize`: an int; 0 or less: no limit */
    PyObject *getters;    /* `_getters`: a deque of futures */
    PyObject *putters;    /* `_putters`: a deque of futures */
    PyObject *unfinished; /* `_unfinished_tasks`: an int */
    PyObject *finished;   /* `_finished`: an Event that is set while _unfinished_tasks is 0 */
    PyObject *queue;      /* `_queue`: the items, in a deque or list */
#if QUEUE_HAS_SHUTDOWN
    PyObject *is_shutdown; /* `_is_shutdown`: a bool */
#endif
} QueueObject;

/* What a queue is. QUEUE_OTHER: its methods are called by name. */
typedef enum { QUEUE_OTHER, QUEUE_FIFO, QUEUE_PRIORITY, QUEUE_LIFO } QueueKind;

static inline QueueKind
queue_kind(const fastaio_state *st, PyObject *self)
{
    Primitives *primitives = st->primitives;
    return primitive_is_plain(&primitives->Queue, self)           ? QUEUE_FIFO
           : primitive_is_plain(&primitives->PriorityQueue, self) ? QUEUE_PRIORITY
           : primitive_is_plain(&primitives->LifoQueue, self)     ? QUEUE_LIFO
                                                                  : QUEUE_OTHER;
}

#endif
