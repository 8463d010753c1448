/* thread.h: native threads that are no threads for Python: they run no Python and handle no signal. */
#ifndef FASTAIO_THREAD_H
#define FASTAIO_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    pthread_t thread;
    atomic_int tid; /* the kernel's number of the thread; 0: it has not begun yet */
    void (*run)(void *arg);
    void *arg;
} NativeThread;

/* Start a thread that calls run(arg). `name` has 15 characters at most. Return 0 or an errno. */
int native_thread_start(NativeThread *thread, const char *name, void (*run)(void *arg), void *arg);
/* Wait until the thread has ended, and until the kernel no longer counts it: os.fork() warns of threads. */
void native_thread_join(NativeThread *thread);

/* Make a condition whose timed waits use CLOCK_MONOTONIC, and a mutex. Return 0 or an errno. */
int native_lock_init(pthread_mutex_t *lock, pthread_cond_t *condition);

#endif
