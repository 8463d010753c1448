/* keeper.h: the native thread that sends what a blocked callback holds back.
 *
 * Queued output leaves when the callback that wrote it returns, or soon after. A callback that blocks
 * its thread does not return, so the keeper looks every few milliseconds, and sends output that is
 * older than that. It runs no Python, never takes the GIL, handles no signal, and is no thread for
 * Python's threading. It sleeps while nothing is queued.
 *
 * One per module state. Everything here but the thread itself is called with the GIL held.
 */
#ifndef FASTAIO_KEEPER_H
#define FASTAIO_KEEPER_H

#include "base/compat.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct FlushList;

typedef struct Keeper {
    pthread_mutex_t lock;  /* guards the fields below; held while the keeper looks */
    pthread_cond_t called; /* it is to wake up, or to stop */
    struct FlushList *lists;
    bool stopping;
    atomic_bool asleep;
    /* These belong to the threads that hold the GIL: */
    pthread_t thread;
    atomic_int tid;        /* the kernel's number of the thread */
    bool running;
    bool ended;            /* for good: the interpreter ends */
    int64_t retry_at_ns;   /* when making the thread failed: try again from then on */
} Keeper;

/* NULL with an exception. */
Keeper *keeper_new(void);
/* Stops the thread. No list may be used any more; NULL is harmless. */
void keeper_free(Keeper *keeper);

/* Has the keeper look at a list, and starts its thread where it does not run. False without an
   exception where there can be no thread: then nothing may be left queued. */
bool keeper_take(Keeper *keeper, struct FlushList *list);
void keeper_forget(Keeper *keeper, struct FlushList *list);

static inline bool
keeper_is_asleep(Keeper *keeper)
{
    return atomic_load_explicit(&keeper->asleep, memory_order_relaxed);
}
void keeper_wake(Keeper *keeper);

/* A forked child has no keeper, and os.fork() warns of threads: the keeper ends before. */
void keeper_before_fork(Keeper *keeper);
void keeper_after_fork_in_parent(Keeper *keeper);
void keeper_after_fork_in_child(Keeper *keeper);
/* Stops the thread for good. */
void keeper_end(Keeper *keeper);

#endif
