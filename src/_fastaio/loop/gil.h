/* gil.h: how a busy loop shares the GIL with other threads. */
#ifndef FASTAIO_GIL_H
#define FASTAIO_GIL_H

#include "base/compat.h"

typedef struct {
    int64_t due_ns; /* when the loop offers the GIL next */
} GilShare;

/* Offer the GIL to threads that wait for it. Set *now_ns to the time at which this thread has the GIL again.
   The caller holds the GIL and has checked gil_is_due(). */
void gil_offer(GilShare *share, int64_t *now_ns);

/* Put off the next offer: a wait without the GIL has ended at now_ns. */
void gil_note_release(GilShare *share, int64_t now_ns);

/* Return true if the loop is to offer the GIL. */
static inline bool
gil_is_due(const GilShare *share, int64_t now_ns)
{
    return now_ns >= share->due_ns;
}

#endif
