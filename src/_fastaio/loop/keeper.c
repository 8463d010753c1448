/* keeper.c: the keeper's thread: its loop, its start and stop, its lists. */
#include "loop/keeper.h"

#include "base/error.h"
#include "loop/clock.h"
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The keeper looks every LOOK_NS, and sends output that is AGE_NS old. So output leaves 7 ms after its write
   at the latest, if the kernel lets the keeper run. A loop that reaches its next callback sends
   earlier. */
#define AGE_NS  INT64_C(3000000)
#define LOOK_NS INT64_C(4000000)
/* The keeper sleeps after this many looks without output. Waking it costs the writer a system call. */
#define QUIET_LOOKS 6
/* If the thread cannot be made, each write sends its output for this long; then it is tried again. */
#define RETRY_NS NS_PER_SECOND
#define STACK_SIZE (256 * 1024)

/* ---- the thread ------------------------------------------------------------------------------ */

/* Send output that is old enough. The caller has the list's lock. Return true if the list is to be looked
   at again soon. */
static bool
look_at(FlushList *list, int64_t now_ns)
{
    bool again = list->seen != list->additions;
    list->seen = list->additions;
    if (list->first == NULL) {
        return again;
    }
    if (now_ns - list->since_ns < AGE_NS) {
        return true;
    }
    for (FlushNode *node = list->first; node != NULL; node = node->next) {
        if (flush_lock_is_wanted(list)) {
            return true; /* the loop's thread is awake: it sends the rest itself */
        }
        if (node->keep(node)) {
            return true; /* the nodes behind this one were written later, so they wait as well */
        }
    }
    return again;
}

static bool
look(Keeper *keeper)
{
    bool again = false;
    int64_t now_ns = clock_ns();
    for (FlushList *list = keeper->lists; list != NULL; list = list->next_kept) {
        if (!flush_try_lock(list)) {
            again = true; /* its thread is at work there: it does not block now */
            continue;
        }
        again = look_at(list, now_ns) || again;
        flush_unlock(list);
    }
    return again;
}

static void
pause_between_looks(Keeper *keeper)
{
    int64_t until_ns = clock_ns() + LOOK_NS;
    struct timespec until = {until_ns / NS_PER_SECOND, until_ns % NS_PER_SECOND};
    while (!keeper->stopping &&
           pthread_cond_timedwait(&keeper->called, &keeper->lock, &until) == 0) {
    }
}

/* Sleep until keeper_wake() or stop(). Additions are made, and looked at, under the list's lock. So either
   the last look() sees an addition, or the thread that made it sees that the keeper is asleep. */
static void
sleep_until_called(Keeper *keeper)
{
    atomic_store(&keeper->asleep, true);
    if (look(keeper)) {
        atomic_store(&keeper->asleep, false);
    }
    while (atomic_load(&keeper->asleep) && !keeper->stopping) {
        pthread_cond_wait(&keeper->called, &keeper->lock);
    }
}

static void *
keep(void *arg)
{
    Keeper *keeper = arg;
    int quiet = 0;
    atomic_store(&keeper->tid, (int)syscall(SYS_gettid));
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->stopping) {
        pause_between_looks(keeper);
        quiet = look(keeper) ? 0 : quiet + 1;
        if (quiet == QUIET_LOOKS && !keeper->stopping) {
            sleep_until_called(keeper);
            quiet = 0;
        }
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

/* ---- starting and stopping ------------------------------------------------------------------- */

static int
start_thread(Keeper *keeper)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    sigfillset(&all);
    pthread_attr_setstacksize(&attributes, STACK_SIZE); /* or else the default */
    /* A new thread inherits the mask: signals are for the program's own threads. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&keeper->thread, &attributes, keep, keeper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static bool
start(Keeper *keeper)
{
    if (keeper->running) {
        return true;
    }
    if (keeper->ended || keeper->forking || (keeper->retry_at_ns && clock_ns() < keeper->retry_at_ns)) {
        return false;
    }
    keeper->stopping = false;
    atomic_store(&keeper->asleep, false);
    atomic_store(&keeper->tid, 0);
    if (start_thread(keeper) != 0) {
        keeper->retry_at_ns = clock_ns() + RETRY_NS;
        return false;
    }
    pthread_setname_np(keeper->thread, "fastaio-keeper");
    keeper->retry_at_ns = 0;
    keeper->running = true;
    return true;
}

/* Wait until the kernel no longer counts the thread: pthread_join() returns a moment earlier, and
   os.fork() would warn of it. */
static void
wait_until_uncounted(Keeper *keeper)
{
    int tid = atomic_load(&keeper->tid);
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), tid, 0) == 0; i++) {
        if (i < 10) {
            sched_yield();
        }
        else {
            usleep(50);
        }
    }
}

static void
stop(Keeper *keeper)
{
    if (!keeper->running) {
        return;
    }
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->called);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    wait_until_uncounted(keeper);
    keeper->running = false;
    for (FlushList *list = keeper->lists; list != NULL; list = list->next_kept) {
        list->kept = false;
    }
}

Keeper *
keeper_new(void)
{
    Keeper *keeper = PyMem_RawCalloc(1, sizeof(*keeper));
    if (keeper == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error == 0) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(&keeper->called, &attributes);
        pthread_condattr_destroy(&attributes);
    }
    if (error == 0) {
        error = pthread_mutex_init(&keeper->lock, NULL);
        if (error) {
            pthread_cond_destroy(&keeper->called);
        }
    }
    if (error) {
        PyMem_RawFree(keeper);
        raise_errno(error);
        return NULL;
    }
    return keeper;
}

void
keeper_free(Keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    stop(keeper);
    while (keeper->lists != NULL) {
        FlushList *list = keeper->lists;
        keeper_forget(list);
        list->keeper = NULL;
    }
    pthread_cond_destroy(&keeper->called);
    pthread_mutex_destroy(&keeper->lock);
    PyMem_RawFree(keeper);
}

void
keeper_end(Keeper *keeper)
{
    keeper->ended = true;
    stop(keeper);
}

void
keeper_wake(Keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    atomic_store(&keeper->asleep, false);
    pthread_cond_signal(&keeper->called);
    pthread_mutex_unlock(&keeper->lock);
}

/* ---- lists ----------------------------------------------------------------------------------- */

bool
keeper_take(FlushList *list)
{
    Keeper *keeper = list->keeper;
    if (!start(keeper)) {
        return false;
    }
    if (list->kept_link == NULL) {
        pthread_mutex_lock(&keeper->lock);
        list->next_kept = keeper->lists;
        list->kept_link = &keeper->lists;
        keeper->lists = list;
        if (list->next_kept != NULL) {
            list->next_kept->kept_link = &list->next_kept;
        }
        pthread_mutex_unlock(&keeper->lock);
    }
    list->kept = true;
    return true;
}

void
keeper_forget(FlushList *list)
{
    Keeper *keeper = list->keeper;
    list->kept = false;
    if (list->kept_link == NULL) { /* as it is without a keeper */
        return;
    }
    pthread_mutex_lock(&keeper->lock);
    *list->kept_link = list->next_kept;
    if (list->next_kept != NULL) {
        list->next_kept->kept_link = list->kept_link;
    }
    list->next_kept = NULL;
    list->kept_link = NULL;
    pthread_mutex_unlock(&keeper->lock);
}

/* ---- forks ----------------------------------------------------------------------------------- */

void
keeper_before_fork(Keeper *keeper)
{
    keeper->forking++; /* other hooks may let other threads write before the process forks */
    stop(keeper);
}

/* Start the keeper again if loops in other threads have queued output. Otherwise the next write starts
   it. */
void
keeper_after_fork_in_parent(Keeper *keeper)
{
    FlushList *list = keeper->lists;
    keeper->forking -= keeper->forking != 0;
    while (list != NULL && list->first == NULL) {
        list = list->next_kept;
    }
    if (list == NULL || !start(keeper)) {
        return;
    }
    for (; list != NULL; list = list->next_kept) {
        list->kept = true;
    }
}

/* Take all lists off: their output belongs to the parent, which sends it. */
void
keeper_after_fork_in_child(Keeper *keeper)
{
    keeper->forking = 0;
    while (keeper->lists != NULL) {
        keeper_forget(keeper->lists);
    }
}
