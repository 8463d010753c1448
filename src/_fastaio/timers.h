/* timers.h: a binary heap of TimerHandles over (deadline in ns, order of creation). */
#ifndef FASTAIO_TIMERS_H
#define FASTAIO_TIMERS_H

#include "compat.h"

typedef struct {
    int64_t when_ns;
    uint64_t sequence;
    PyObject *handle; /* owned TimerHandle */
} Timer;

typedef struct {
    Timer *timers;
    size_t count;
    size_t capacity;
    size_t cancelled;  /* how many in the heap are cancelled: lazy removal */
    uint64_t sequence; /* of the next timer */
} TimerHeap;

/* Takes a new reference. 0, or -1 with MemoryError. */
int timers_push(TimerHeap *heap, int64_t when_ns, PyObject *handle);
/* The earliest, or NULL when the heap is empty. */
static inline const Timer *
timers_peek(const TimerHeap *heap)
{
    return heap->count ? &heap->timers[0] : NULL;
}
/* Removes the earliest and hands its reference over. The heap must not be empty. */
PyObject *timers_pop(TimerHeap *heap);
/* Tells the heap that a timer in it has been cancelled: it goes at once where that costs nothing
   (the newest of the late ones: timeouts that are not reached), else in time. */
void timers_cancelled(TimerHeap *heap, PyObject *handle);
/* Drops the cancelled timers at the top, and all of them once they are the larger part. */
void timers_prune(TimerHeap *heap);
void timers_clear(TimerHeap *heap);
int timers_traverse(TimerHeap *heap, visitproc visit, void *arg);

#endif
