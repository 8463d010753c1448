/* claim.h: on an interpreter without a GIL, the one thread that uses a loop and the objects of that loop.
 *
 * A thread claims a loop for the time of a run, and for the time of each call of a method. While one thread has
 * the claim, a call from another thread raises RuntimeError. So whatever holds the claim may use all objects of
 * the loop as if it had a GIL. A nested claim costs a comparison and a count.
 *
 * With a GIL all of this is nothing, and each claim succeeds.
 */
#ifndef FASTAIO_CLAIM_H
#define FASTAIO_CLAIM_H

#include "base/compat.h"

#ifdef Py_GIL_DISABLED

#include <stdatomic.h>

typedef struct {
    atomic_ulong owner;  /* the thread that has the claim; 0: none */
    unsigned depth;      /* claims of the owner that have not ended; only the owner touches it */
    atomic_bool runs;    /* the loop says that it runs */
    atomic_uint guests;  /* threads in or before a claim_as_guest() */
    atomic_uint waiters; /* threads that wait in claim_when_free(): no guest comes before them */
} Claim;

static inline bool
claim_is_mine(Claim *claim)
{
    return atomic_load_explicit(&claim->owner, memory_order_relaxed)
           == PyThread_get_thread_ident();
}

/* Return true if another thread uses the loop at this moment. */
static inline bool
claim_is_foreign(Claim *claim)
{
    unsigned long owner = atomic_load_explicit(&claim->owner, memory_order_relaxed);
    return owner != 0 && owner != PyThread_get_thread_ident();
}

/* Claim the loop for this thread. Return false, without an exception, if another thread has it. */
static inline bool
claim_try(Claim *claim)
{
    unsigned long none = 0;
    if (!claim_is_mine(claim)
        && !atomic_compare_exchange_strong_explicit(&claim->owner, &none,
                                                    PyThread_get_thread_ident(),
                                                    memory_order_acquire, memory_order_acquire)) {
        return false;
    }
    claim->depth++;
    return true;
}

/* End a claim. */
static inline void
claim_end(Claim *claim)
{
    if (--claim->depth == 0) {
        atomic_store_explicit(&claim->owner, 0, memory_order_release);
    }
}

/* Claim the loop for the end of one of its objects, which any thread may bring about. A claim_begin() of
   another thread waits for the end of such a claim. Return false if another thread has the loop. */
static inline bool
claim_as_guest(Claim *claim)
{
    atomic_fetch_add(&claim->guests, 1); /* first: who finds the loop taken looks here next */
    if (atomic_load(&claim->waiters) == 0 && claim_try(claim)) {
        return true;
    }
    atomic_fetch_sub(&claim->guests, 1);
    return false;
}

static inline void
claim_end_as_guest(Claim *claim)
{
    claim_end(claim);
    atomic_fetch_sub(&claim->guests, 1);
}

/* Note whether the loop says that it runs: its thread then keeps the claim for long. */
static inline void
claim_set_runs(Claim *claim, bool runs)
{
    atomic_store(&claim->runs, runs);
}

/* Claim the loop once nobody has it, but do not wait for the end of a run. Return 0, or -1 with a RuntimeError
   that names both threads. */
int claim_when_free(Claim *claim);
/* Raise that RuntimeError. */
void claim_refuse(Claim *claim);

/* Claim the loop for this thread. Return 0, or -1 with RuntimeError if another thread has it. */
static inline int
claim_begin(Claim *claim)
{
    return claim_try(claim) ? 0 : claim_when_free(claim);
}

/* In a child of os.fork(): the thread that forked is the only one. */
static inline void
claim_after_fork(Claim *claim)
{
    if (!claim_is_mine(claim)) {
        *claim = (Claim){0};
    }
    atomic_store(&claim->guests, 0);
    atomic_store(&claim->waiters, 0);
}

#else

typedef struct {
    char nothing[0];
} Claim;

#define claim_is_mine(claim) ((void)(claim), true)
#define claim_try(claim) ((void)(claim), true)
#define claim_begin(claim) ((void)(claim), 0)
#define claim_end(claim) ((void)(claim))
#define claim_set_runs(claim, runs) ((void)(claim), (void)(runs))
#define claim_as_guest(claim) ((void)(claim), true)
#define claim_end_as_guest(claim) ((void)(claim))
#define claim_after_fork(claim) ((void)(claim))

#endif

#endif
