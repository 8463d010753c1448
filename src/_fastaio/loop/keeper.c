/* keeper.c: the keeper's thread: its loop, its start and stop, its lists. */
#include "loop/keeper.h"

#include "base/error.h"
#include "loop/clock.h"

/* The keeper looks every LOOK_NS, and sends output that is AGE_NS old. So output leaves 7 ms after its write
   at the latest, if the kernel lets the keeper run. A loop that reaches its next callback sends
   earlier. */
#define AGE_NS  INT64_C(3000000)
#define LOOK_NS INT64_C(4000000)
/* The keeper sleeps after this many looks without output. Waking it costs the writer a system call. */
#define QUIET_LOOKS 6
/* If the thread cannot be made, each write sends its output for this long; then it is tried again. */
#define RETRY_NS NS_PER_SECOND

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

static void
keep(void *arg)
{
    Keeper *keeper = arg;
    int quiet = 0;
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
}

/* ---- lists of the keeper --------------------------------------------------------------------- */

static void
list_set_kept(FlushList *list, bool kept)
{
    atomic_store_explicit(&list->kept, kept, memory_order_relaxed);
}

/* Add a list that is not one of the keeper's. The caller has `control`. */
static void
add_list(Keeper *keeper, FlushList *list)
{
    pthread_mutex_lock(&keeper->lock);
    list->next_kept = keeper->lists;
    list->kept_link = &keeper->lists;
    keeper->lists = list;
    if (list->next_kept != NULL) {
        list->next_kept->kept_link = &list->next_kept;
    }
    pthread_mutex_unlock(&keeper->lock);
}

/* Take a list off; harmless when repeated. The caller has `control`. */
static void
remove_list(Keeper *keeper, FlushList *list)
{
    list_set_kept(list, false);
    if (list->kept_link == NULL) {
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

/* ---- starting and stopping ------------------------------------------------------------------- */

/* Return false if there can be no thread. The caller has `control`, as for stop(). */
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
    if (native_thread_start(&keeper->thread, "fastaio-keeper", keep, keeper) != 0) {
        keeper->retry_at_ns = clock_ns() + RETRY_NS;
        return false;
    }
    keeper->retry_at_ns = 0;
    keeper->running = true;
    return true;
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
    native_thread_join(&keeper->thread);
    keeper->running = false;
    for (FlushList *list = keeper->lists; list != NULL; list = list->next_kept) {
        list_set_kept(list, false);
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
    int error = native_lock_init(&keeper->lock, &keeper->called);
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
        remove_list(keeper, list);
        list->keeper = NULL;
    }
    pthread_cond_destroy(&keeper->called);
    pthread_mutex_destroy(&keeper->lock);
    PyMem_RawFree(keeper);
}

void
keeper_end(Keeper *keeper)
{
    mutex_lock(&keeper->control);
    keeper->ended = true;
    stop(keeper);
    mutex_unlock(&keeper->control);
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
    mutex_lock(&keeper->control);
    bool running = start(keeper);
    if (running) {
        if (list->kept_link == NULL) {
            add_list(keeper, list);
        }
        list_set_kept(list, true);
    }
    mutex_unlock(&keeper->control);
    return running;
}

void
keeper_forget(FlushList *list)
{
    Keeper *keeper = list->keeper;
    if (keeper != NULL) {
        mutex_lock(&keeper->control);
        remove_list(keeper, list);
        mutex_unlock(&keeper->control);
    }
}

LoopObject *
keeper_find(Keeper *keeper, bool (*is_wanted)(const LoopObject *loop))
{
    LoopObject *found = NULL;
    mutex_lock(&keeper->control);
    for (FlushList *list = keeper->lists; list != NULL && found == NULL; list = list->next_kept) {
        flush_lock(list);
        if (list->first != NULL && is_wanted(list->first->loop)) {
            found = list->first->loop;
        }
        flush_unlock(list);
    }
    mutex_unlock(&keeper->control);
    return found;
}

/* ---- forks ----------------------------------------------------------------------------------- */

void
keeper_before_fork(Keeper *keeper)
{
    mutex_lock(&keeper->control);
    keeper->forking++; /* other hooks may let other threads write before the process forks */
    stop(keeper);
    mutex_unlock(&keeper->control);
}

static bool
has_output(Keeper *keeper)
{
    FlushList *list = keeper->lists;
    bool found = false;
    for (; list != NULL && !found; list = list->next_kept) {
        flush_lock(list);
        found = list->first != NULL;
        flush_unlock(list);
    }
    return found;
}

/* Start the keeper again if loops in other threads have queued output. Otherwise the next write starts
   it. */
void
keeper_after_fork_in_parent(Keeper *keeper)
{
    mutex_lock(&keeper->control);
    keeper->forking -= keeper->forking != 0;
    if (has_output(keeper) && start(keeper)) {
        for (FlushList *list = keeper->lists; list != NULL; list = list->next_kept) {
            list_set_kept(list, true);
        }
    }
    mutex_unlock(&keeper->control);
}

/* Take all lists off: their output belongs to the parent, which sends it. */
void
keeper_after_fork_in_child(Keeper *keeper)
{
    mutex_after_fork(&keeper->control);
    keeper->forking = 0;
    while (keeper->lists != NULL) {
        remove_list(keeper, keeper->lists);
    }
}
