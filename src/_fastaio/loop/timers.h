/* timers.h: TimerHandles in order of (deadline, creation).
 *
 * Most programs make timers whose deadlines only grow: one timeout, many times. Those stand in a
 * queue, in and out at no cost; whatever is due before the queue's last goes to a binary heap.
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
    size_t count;
    size_t capacity;
} TimerArray;

typedef struct {
    TimerArray queue;
    TimerArray heap;
    uint64_t tracked;  /* in the queue: handle_track() has been called for those before this one */
    bool heap_tracked; /* for all in the heap */
    size_t cancelled;  /* how many in both are cancelled: they are removed lazily */
    uint64_t sequence; /* of the next timer */
} Timers;

/* Add a timer, with a new reference. A deadline of NaN has always passed. Return 0, or -1 with
   MemoryError. */
int timers_push(Timers *timers, double when, PyObject *handle);
static inline size_t
timers_count(const Timers *timers)
{
    return timers->queue.count + timers->heap.count;
}

/* The capacities of both arrays, powers of two, joined by `|`. */
static inline size_t
timers_capacities(const Timers *timers)
{
    return timers->queue.capacity | timers->heap.capacity;
}

/* The earliest, or NULL when there is none. */
const Timer *timers_peek(const Timers *timers);
/* Removes the earliest and hands its reference over. There must be one. */
PyObject *timers_pop(Timers *timers);
/* Tells that a timer has been cancelled: it goes at once where that costs nothing (the newest of
   the late ones: a timeout that was not reached), else in time. */
void timers_cancelled(Timers *timers, PyObject *handle);
/* Drops the cancelled timers that are first, and all of them once they are the larger part. */
void timers_prune(Timers *timers);
/* Give back the memory of arrays that are much larger than what is in them. */
void timers_shrink(Timers *timers);
/* handle_track() for all; at once, if none has come since the last time. */
void timers_track(Timers *timers);
/* Return a new list of the TimerHandles, cancelled ones too, the earliest first; NULL with an
   exception. */
PyObject *timers_list(Timers *timers);
void timers_clear(Timers *timers);
int timers_traverse(Timers *timers, visitproc visit, void *arg);

#endif
