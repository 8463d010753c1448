/* keeper.h: the native thread that sends output while a callback blocks its loop.
 *
 * Queued output leaves when the callback that wrote it returns, or soon after. A callback that blocks
 * its thread does not return, so the keeper looks every few milliseconds, and sends output that is
 * older than that. It runs no Python, never takes the GIL, handles no signal, and is no thread for
 * Python's threading. It sleeps while nothing is queued.
 *
 * One keeper per module state. All functions are called with the GIL held; only the thread runs
 * without it. Where there is no GIL, `control` guards what the GIL guards. It is taken before `lock`.
 */
#ifndef FASTAIO_KEEPER_H
#define FASTAIO_KEEPER_H

#include "base/mutex.h"
#include "base/thread.h"
#include "loop/flush.h"

typedef struct Keeper {
    pthread_mutex_t lock;  /* guards the fields below; held while the keeper looks */
    pthread_cond_t called; /* signalled for the thread to wake up, or to stop */
    FlushList *lists;
    bool stopping;
    atomic_bool asleep;
    /* These belong to the threads that hold the GIL, or `control`: */
    Mutex control;
    NativeThread thread;
    bool running;
    bool ended;            /* the interpreter ends: the thread does not start again */
    unsigned forking;      /* forks that have begun: the thread must not start meanwhile */
    int64_t retry_at_ns;   /* when making the thread failed: try again from then on */
} Keeper;

/* Return a keeper without a thread; NULL with an exception. */
Keeper *keeper_new(void);
/* Stop the thread, take all lists off and free the keeper. NULL is harmless. */
void keeper_free(Keeper *keeper);
/* Stop the thread for the last time: the interpreter ends. */
void keeper_end(Keeper *keeper);

/* Have the list's keeper look at it, and start the thread if it does not run. Return false, without an
   exception, if there can be no thread: then nothing may be left queued. */
bool keeper_take(FlushList *list);
/* Take the list off its keeper; harmless when repeated, and without a keeper. */
void keeper_forget(FlushList *list);

/* Return true if output in the list may wait for the end of the turn, because the keeper sends it if the
   turn takes long. */
static inline bool
keeper_is_ready(FlushList *list)
{
    return atomic_load_explicit(&list->kept, memory_order_relaxed) || keeper_take(list);
}

/* Return the first loop with listed output for which is_wanted(loop) is true, borrowed; NULL: none. */
LoopObject *keeper_find(Keeper *keeper, bool (*is_wanted)(const LoopObject *loop));

/* Wake the thread if it sleeps. */
void keeper_wake(Keeper *keeper);
/* Wake the list's keeper if it sleeps. To be called after an addition, without the list's lock. */
static inline void
keeper_call(FlushList *list)
{
    if (atomic_load_explicit(&list->keeper->asleep, memory_order_relaxed)) {
        keeper_wake(list->keeper);
    }
}

/* The thread ends before a fork: the child has no keeper, and os.fork() warns of threads. */
void keeper_before_fork(Keeper *keeper);
void keeper_after_fork_in_parent(Keeper *keeper);
void keeper_after_fork_in_child(Keeper *keeper);

#endif
