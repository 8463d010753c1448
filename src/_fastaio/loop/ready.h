/* ready.h: the ready queue, a FIFO ring of small tagged entries.
 *
 * A switch between tasks or a future's callback allocates nothing here. Only call_soon() and its kin make
 * a Handle, since they return one.
 */
#ifndef FASTAIO_READY_H
#define FASTAIO_READY_H

#include "base/compat.h"

typedef struct LoopObject LoopObject;

/* The function of a native entry, called with the entry's object. Returns 0, or -1 with an exception: the
   loop reports that to the exception handler, except KeyboardInterrupt and SystemExit, which leave the
   loop. */
typedef int (*ready_fn)(LoopObject *loop, PyObject *obj);

typedef enum {
    READY_HANDLE,          /* obj: a Handle */
    READY_TASK_STEP,       /* obj: a Task; arg: an exception to throw, or NULL */
    READY_TASK_WAKEUP,     /* obj: a Task whose awaited future is done; arg: that future */
    READY_FUTURE_CALLBACK, /* obj: a callable; arg: its future; context: a Context */
    READY_NATIVE,          /* obj: the argument of fn, may be NULL */
} ReadyKind;

typedef struct {
    ReadyKind kind;
    PyObject *obj; /* owned, as are arg and context */
    PyObject *arg;
    union {
        PyObject *context;
        ready_fn fn;
    };
} ReadyEntry;

typedef struct {
    ReadyEntry *entries; /* capacity is a power of two, or 0 */
    size_t capacity;
    size_t head; /* next to run; head and tail only ever grow; any thread may read them */
    size_t tail;
} ReadyQueue;

static inline size_t
ready_len(const ReadyQueue *queue)
{
    return queue->tail - queue->head;
}

/* Return ready_len() in a thread that the queue does not belong to: the number of a moment ago. */
static inline size_t
ready_len_elsewhere(const ReadyQueue *queue)
{
    Py_ssize_t count = (Py_ssize_t)(relaxed_load(&queue->tail) - relaxed_load(&queue->head));
    return count > 0 ? (size_t)count : 0;
}

/* Double the ring. Return 0, or -1 with MemoryError. */
int ready_grow(ReadyQueue *queue);

/* Give back the memory of a ring that is much larger than its content. */
void ready_shrink(ReadyQueue *queue);

/* Make new references to what an entry has. */
static inline void
ready_entry_take(const ReadyEntry *entry)
{
    Py_XINCREF(entry->obj);
    Py_XINCREF(entry->arg);
    if (entry->kind != READY_NATIVE) {
        Py_XINCREF(entry->context);
    }
}

/* Drop the references of an entry that was moved out. May run code. */
void ready_drop(ReadyEntry *entry);

/* Drop every entry and the memory. May run code. */
void ready_clear(ReadyQueue *queue);

int ready_traverse(ReadyQueue *queue, visitproc visit, void *arg);

/* Return the entry at a position: head <= position < tail. */
static inline ReadyEntry *
ready_at(const ReadyQueue *queue, size_t position)
{
    return &queue->entries[position & (queue->capacity - 1)];
}

/* Add an entry and return it, for the caller to fill; NULL with MemoryError. */
static inline ReadyEntry *
ready_push(ReadyQueue *queue)
{
    if (queue->tail - queue->head == queue->capacity && ready_grow(queue) < 0) {
        return NULL;
    }
    size_t position = queue->tail;
    relaxed_store(&queue->tail, position + 1);
    return ready_at(queue, position);
}

/* Move the oldest entry out. Its references belong to the caller. There must be one. */
static inline ReadyEntry
ready_pop(ReadyQueue *queue)
{
    size_t position = queue->head;
    relaxed_store(&queue->head, position + 1);
    return *ready_at(queue, position);
}

static inline int
ready_push_native(ReadyQueue *queue, ready_fn fn, PyObject *obj)
{
    ReadyEntry *entry = ready_push(queue);
    if (entry == NULL) {
        return -1;
    }
    *entry = (ReadyEntry){.kind = READY_NATIVE, .obj = Py_XNewRef(obj), .fn = fn};
    return 0;
}

#endif
