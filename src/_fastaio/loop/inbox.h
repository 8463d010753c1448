/* inbox.h: on an interpreter without a GIL, entries that other threads have queued for a loop.
 *
 * The ready queue belongs to the thread that has claimed the loop. Other threads push here. The owner moves all
 * entries to the ready queue before it pushes or runs one of its own, so entries run in the order of the calls.
 */
#ifndef FASTAIO_INBOX_H
#define FASTAIO_INBOX_H

#include "base/mutex.h"
#include "loop/ready.h"

#ifdef Py_GIL_DISABLED

#include <stdatomic.h>

typedef struct {
    Mutex lock;
    ReadyQueue queue;   /* under the lock */
    atomic_size_t size; /* of the queue; changed under the lock */
    bool closed;        /* inbox_close() has been called; under the lock */
} Inbox;

static inline bool
inbox_is_empty(Inbox *inbox)
{
    return atomic_load(&inbox->size) == 0;
}

/* Push an entry, whose references are taken over. Return 0. If they are not taken over, return -1 with MemoryError,
   or 1 for a handle that comes after inbox_close(): it would never run. */
int inbox_push(Inbox *inbox, const ReadyEntry *entry);
/* Move all entries to the end of the loop's ready queue. Return 0, or -1 with MemoryError; then the rest stays
   here. */
int inbox_collect(Inbox *inbox, ReadyQueue *ready);
/* Drop all entries, and take no handles from now on. */
void inbox_close(Inbox *inbox);

#endif

#endif
