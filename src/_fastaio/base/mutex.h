/* mutex.h: a lock that only an interpreter without a GIL needs. With a GIL it is nothing. */
#ifndef FASTAIO_MUTEX_H
#define FASTAIO_MUTEX_H

#include "base/compat.h"

/* Zeroed memory is a free lock. No Python code runs while it is held, and the thread stays attached to the
   interpreter. So os.fork(), which stops all threads first, stops none in the middle of a change. But a thread
   that has waited for the lock may own it while it is stopped, and has not touched anything yet. A forked child
   has to forget such an owner: mutex_after_fork(). */
#ifdef Py_GIL_DISABLED

typedef PyMutex Mutex;

static inline void
mutex_lock(Mutex *lock)
{
    PyMutex_Lock(lock);
}

static inline void
mutex_unlock(Mutex *lock)
{
    PyMutex_Unlock(lock);
}

/* In a child of os.fork(), before the lock is used there: the child's only thread does not hold it. */
static inline void
mutex_after_fork(Mutex *lock)
{
    *lock = (Mutex){0};
}

#else

typedef struct {
    char nothing[0];
} Mutex;

#define mutex_lock(lock) ((void)(lock))
#define mutex_unlock(lock) ((void)(lock))
#define mutex_after_fork(lock) ((void)(lock))

#endif

#endif
