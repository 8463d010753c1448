/* timers.h: TimerHandles in order of (deadline, creation).
 *
 * Most programs use one timeout many times, so deadlines only grow. Such timers are in a queue, where
 * adding and removing cost nothing. A timer that is due before the last of the queue is in a binary
 * heap.
 */
#ifndef FASTAIO_TIMERS_H
#define FASTAIO_TIMERS_H

#include "base/compat.h"

typedef struct {
    double when; /* in seconds of loop.time(), as asyncio compares it; never NaN */
    uint64_t sequence;
    PyObject *handle; /* owned TimerHandle */
} Timer;

typedef struct {
    Timer *items;
    size_t head; /* of the queue; 0 in the heap */
    size_t count; /* any thread may read it */
    size_t capacity;
} TimerArray;

typedef struct {
    TimerArray queue;
    TimerArray heap;
    uint64_t tracked;  /* handles in the queue with a lower sequence are tracked */
    bool heap_tracked; /* all handles in the heap are tracked */
    size_t cancelled;  /* the number of cancelled timers in both, which are removed lazily */
    uint64_t sequence; /* of the next timer */
} Timers;

/* Add a timer, with a new reference. A deadline of NaN has always passed. Return 0, or -1 with
   MemoryError. */
int timers_push(Timers *timers, double when, PyObject *handle);

/* Return the number of timers, cancelled ones too. May be called in any thread. */
static inline size_t
timers_count(const Timers *timers)
{
    return relaxed_load(&timers->queue.count) + relaxed_load(&timers->heap.count);
}

/* Return the capacities of both arrays, powers of two or 0, joined by `|`. */
static inline size_t
timers_capacities(const Timers *timers)
{
    return timers->queue.capacity | timers->heap.capacity;
}

/* Return the earliest timer, cancelled or not; NULL if there is none. Valid until the next change. */
const Timer *timers_peek(const Timers *timers);
/* Remove the earliest timer and return its handle, a reference for the caller. There must be one. */
PyObject *timers_pop(Timers *timers);
/* Note that a timer has been cancelled. The last one of the queue or of the heap is removed now (a timeout
   that was not reached, as a rule); another one is removed by timers_prune(). */
void timers_cancelled(Timers *timers, PyObject *handle);
/* Remove the cancelled timers that come first; remove all of them if they are more than half. */
void timers_prune(Timers *timers);
/* Give back the memory of arrays that are much larger than their content. */
void timers_shrink(Timers *timers);
/* Track all handles. Costs nothing if none has been added since the last call. */
void timers_track(Timers *timers);
/* Return a new list of the TimerHandles, cancelled ones too, the earliest first; NULL with an
   exception. */
PyObject *timers_list(Timers *timers);
void timers_clear(Timers *timers);
int timers_traverse(Timers *timers, visitproc visit, void *arg);

#endif
