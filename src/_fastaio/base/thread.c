/* thread.c: starting and joining native threads. */
#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STACK_SIZE (256 * 1024)

static void *
begin(void *arg)
{
    NativeThread *thread = arg;
    atomic_store(&thread->tid, (int)syscall(SYS_gettid));
    thread->run(thread->arg);
    return NULL;
}

int
native_thread_start(NativeThread *thread, const char *name, void (*run)(void *arg), void *arg)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    atomic_store(&thread->tid, 0);
    thread->run = run;
    thread->arg = arg;
    sigfillset(&all);
    pthread_attr_setstacksize(&attributes, STACK_SIZE); /* or else the default */
    /* A new thread inherits the mask: signals are for the program's own threads. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread->thread, &attributes, begin, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        pthread_setname_np(thread->thread, name);
    }
    return error;
}

/* pthread_join() returns a moment before the kernel stops counting the thread. */
static void
wait_until_uncounted(NativeThread *thread)
{
    int tid = atomic_load(&thread->tid);
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), tid, 0) == 0; i++) {
        if (i < 10) {
            sched_yield();
        }
        else {
            usleep(50);
        }
    }
}

void
native_thread_join(NativeThread *thread)
{
    pthread_join(thread->thread, NULL);
    wait_until_uncounted(thread);
}

int
native_lock_init(pthread_mutex_t *lock, pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error == 0) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    if (error == 0) {
        error = pthread_mutex_init(lock, NULL);
        if (error) {
            pthread_cond_destroy(condition);
        }
    }
    return error;
}
