/* turn.c: one iteration, top to bottom. */
#include "loop/loop.h"

#include "base/bulk.h"
#include "base/error.h"
#include "task/registry.h"
#include "task/task.h"
#include "turn/run.h"
#include <errno.h>

#define EVENTS_PER_POLL 512
/* With work at hand, how long a purely computing loop goes without asking the kernel. */
#define POLL_INTERVAL_NS 10000
/* In a long batch the clock is looked at once in so many entries. */
#define ENTRIES_PER_CLOCK 32
/* How old queued output may grow while callbacks run. */
#define FLUSH_AGE_NS 1000000
/* How often memory that a burst took is given back. */
#define GIVE_BACK_NS 100000000
/* The resolution of the clock in seconds: a timer is due from this much before its deadline on, as
   on asyncio. */
#define CLOCK_RESOLUTION 1e-9
/* Where the last turns have fired this many timers, the next ones may be this late: a crowd of timers is
   worth fewer wake-ups. A lone timer is waited for to the nanosecond. */
#define TIMER_CROWD 16
#define TIMER_CROWD_WAIT_NS 300000
static int
set_current_task(LoopObject *loop, PyObject *task)
{
    if (loop->current_task == task) {
        return 0;
    }
    loop->current_task = task;
    return registry_set_current(loop->st, (PyObject *)loop, task);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Set *seconds to what timers are compared with: the clock, or what replaces loop.time(). */
static int
timer_time(LoopObject *loop, double *seconds)
{
    if (!(loop_time_overrides(loop) & OVERRIDE_TIME)) {
        *seconds = (double)loop->clock.now_ns / NS_PER_SECOND;
        return 0;
    }
    PyObject *time = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str_time);
    *seconds = time ? PyFloat_AsDouble(time) : -1.0;
    Py_XDECREF(time);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* Make now_ns exact, unless the first timer's deadline is certainly ahead of the clock. */
static inline void
refresh_clock_for(LoopObject *loop, const Timer *first)
{
    LoopClock *clock = &loop->clock;
    double latest = (double)(clock->now_ns + 2 * CLOCK_STALE_NS) / NS_PER_SECOND;
    if (first->when <= latest || !clock_is_fresh(clock)) {
        clock_read(clock);
    }
}

/* Move the timers that are due into the ready queue, in order of their deadlines. */
static int
fire_timers(LoopObject *loop)
{
    const Timer *first = timers_peek(&loop->timers);
    double now;
    loop->timer_crowd /= 2;
    if (first == NULL) {
        return 0;
    }
    refresh_clock_for(loop, first);
    if (timer_time(loop, &now) < 0) {
        return -1;
    }
    now += CLOCK_RESOLUTION;
    while ((first = timers_peek(&loop->timers)) != NULL && first->when < now) {
        ReadyEntry *entry = ready_push(&loop->ready);
        if (entry == NULL) {
            return -1;
        }
        *entry = (ReadyEntry){.kind = READY_HANDLE, .obj = timers_pop(&loop->timers)};
        loop->timer_crowd++;
        loop->metrics.timers_fired++;
    }
    return 0;
}

/* Set *timeout_ns to how long the loop may wait: 0 with work at hand, -1 without any timer. */
static int
poll_timeout(LoopObject *loop, int64_t *timeout_ns)
{
    const Timer *first = timers_peek(&loop->timers);
    if (ready_len(&loop->ready) || loop->stopping) {
        *timeout_ns = 0;
        return 0;
    }
    if (first == NULL) {
        *timeout_ns = -1;
        return 0;
    }
    double now;
    clock_refresh(&loop->clock);
    if (timer_time(loop, &now) < 0) {
        return -1;
    }
    first = timers_peek(&loop->timers); /* a replaced clock may have moved timers */
    *timeout_ns = first != NULL && first->when > now ? seconds_to_ns(first->when - now) : 0;
    if (loop->timer_crowd >= TIMER_CROWD && *timeout_ns > 0
        && *timeout_ns < TIMER_CROWD_WAIT_NS) {
        *timeout_ns = TIMER_CROWD_WAIT_NS;
    }
    return 0;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* Return true if another thread has called the waiting loop. Needs no GIL. A look at the poller
   consumes the wake-up, so the poller alone does not tell. */
static inline bool
is_called(LoopObject *loop)
{
    return !atomic_load(&loop->blocked);
}

/* Ask the poller again and again, for limit_ns at most. Needs no GIL. Return what the poller has found. */
static int
spin(LoopObject *loop, int64_t limit_ns, PollEvent *events)
{
    int64_t begin_ns = clock_ns();
    int64_t spent_ns;
    int count;
    do {
        count = loop->poller->methods->wait(loop->poller, 0, events, EVENTS_PER_POLL);
        spent_ns = clock_ns() - begin_ns;
    } while (count == 0 && !is_called(loop) && spent_ns < limit_ns);
    loop->metrics.spins++;
    loop->metrics.spin_ns += (uint64_t)spent_ns;
    loop->metrics.spin_hits += count != 0 || is_called(loop);
    return count;
}

static int
wait_blocking(LoopObject *loop, int64_t timeout_ns, PollEvent *events)
{
    int count = 0;
    int64_t before_ns = loop->clock.now_ns;
    int64_t limit_ns = spin_limit(&loop->spin, before_ns, timeout_ns, loop->metrics.callbacks);
    atomic_store(&loop->blocked, true);
    if (ready_len(&loop->ready)) { /* by another thread, before it could see `blocked` */
        timeout_ns = 0;
    }
    Py_BEGIN_ALLOW_THREADS
    if (limit_ns) {
        count = spin(loop, limit_ns, events);
    }
    if (count == 0) {
        count = loop->poller->methods->wait(loop->poller, is_called(loop) ? 0 : timeout_ns, events,
                                            EVENTS_PER_POLL);
    }
    Py_END_ALLOW_THREADS
    atomic_store(&loop->blocked, false);
    clock_read(&loop->clock);
    gil_was_released(&loop->gil, loop->clock.now_ns);
    loop->metrics.blocks++;
    spin_learn(&loop->spin, loop->clock.now_ns - before_ns, count > 0 || ready_len(&loop->ready));
    return count;
}

/* Offer the GIL to other threads. */
static void
let_others_in(LoopObject *loop)
{
    gil_offer(&loop->gil, &loop->clock.now_ns);
    loop->metrics.gil_offers++;
}

/* A hook for subclasses; what the loop has polled it keeps to itself. */
static int
call_process_events(LoopObject *loop)
{
    if (!(loop_overrides(loop) & OVERRIDE_PROCESS_EVENTS)) {
        return 0;
    }
    PyObject *list = PyList_New(0);
    PyObject *result = list ? PyObject_CallMethodOneArg((PyObject *)loop,
                                                        loop->st->str__process_events, list)
                            : NULL;
    Py_XDECREF(list);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Collects what the kernel has; the events' owners are queued behind what was queued before. */
static int
poll(LoopObject *loop, int64_t timeout_ns)
{
    PollEvent events[EVENTS_PER_POLL];
    int count;
    if (loop->poller == NULL) {
        return loop_check_closed(loop); /* closed by force while it ran */
    }
    if (loop_is_copy(loop) && watch_adopt(loop) < 0) {
        return -1;
    }
    loop->metrics.polls++;
    loop->io_happened = false;
    if (timeout_ns == 0) {
        if (gil_is_due(&loop->gil, loop->clock.now_ns)) {
            let_others_in(loop);
        }
        count = loop->poller->methods->wait(loop->poller, 0, events, EVENTS_PER_POLL);
    }
    else {
        count = wait_blocking(loop, timeout_ns, events);
    }
    loop->poll_due_ns = loop->clock.now_ns + POLL_INTERVAL_NS;
    loop->answering = count > 0;
    if (count < 0) {
        return raise_errno(-count);
    }
    if (PyErr_CheckSignals() < 0 || call_process_events(loop) < 0) {
        /* What was reported must not be lost: edge-triggered events come only once. */
        PyObject *error = PyErr_GetRaisedException();
        if (watch_dispatch(loop, events, count) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(error);
        return -1;
    }
    return watch_dispatch(loop, events, count);
}

/* The turn behind one that found events does not poll, unless there was output or the like: what the
   events woke up goes first. To look for more in between would split what can be answered together,
   and wake the peers more often. */
static int
poll_if_due(LoopObject *loop)
{
    int64_t timeout_ns;
    if (poll_timeout(loop, &timeout_ns) < 0) {
        return -1;
    }
    if (timeout_ns == 0 && !loop->io_happened
        && (loop->answering || loop->clock.now_ns < loop->poll_due_ns)) {
        loop->io_happened = loop->answering; /* the next turn polls */
        loop->answering = false;
        return 0;
    }
    return poll(loop, timeout_ns);
}

/* ---- running what is ready ------------------------------------------------------------------- */

/* A task stays current until the next entry that is none, or until something else than an entry may
   run code (leave_task()): one write per switch between tasks. */
static int
run_task(LoopObject *loop, ReadyEntry *entry)
{
    TaskObject *task = (TaskObject *)entry->obj;
    if (set_current_task(loop, entry->obj) < 0) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return -1;
    }
    int result = entry->kind == READY_TASK_STEP ? task_step(task, entry->arg)
                                                : task_wakeup(task, entry->arg);
    if (PyContext_Exit(context) < 0) {
        result = -1;
    }
    Py_DECREF(context);
    return result;
}

/* Between two entries no task is current, as on asyncio. To be called before code of others may run
   there; keeps a raised exception. */
static void
leave_task(LoopObject *loop)
{
    if (loop->current_task == NULL) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (set_current_task(loop, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
}

static int
run_future_callback(ReadyEntry *entry)
{
    if (PyContext_Enter(entry->context) < 0) {
        return -1;
    }
    PyObject *stack[2] = {NULL, entry->arg};
    PyObject *result =
        PyObject_Vectorcall(entry->obj, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_XDECREF(result);
    if (PyContext_Exit(entry->context) < 0) {
        return -1;
    }
    return result ? 0 : -1;
}

static int
run_entry(LoopObject *loop, ReadyEntry *entry)
{
    switch (entry->kind) {
    case READY_TASK_STEP:
    case READY_TASK_WAKEUP:
        return run_task(loop, entry);
    case READY_FUTURE_CALLBACK:
        return set_current_task(loop, NULL) < 0 ? -1 : run_future_callback(entry);
    case READY_HANDLE:
        return set_current_task(loop, NULL) < 0
                   ? -1
                   : handle_run(loop->st, (HandleObject *)entry->obj);
    case READY_NATIVE:
        return set_current_task(loop, NULL) < 0 ? -1 : entry->fn(loop, entry->obj);
    }
    Py_UNREACHABLE();
}

/* What watches the entry is code of others, before and behind it. */
static int
run_entry_and_leave(LoopObject *loop, ReadyEntry *entry)
{
    int result = run_entry(loop, entry);
    leave_task(loop);
    return result;
}

/* A tracer in the place of Handle._run sees the entry. What it lets through leaves the loop. */
static int
run_traced(LoopObject *loop, ReadyEntry *entry)
{
    return set_current_task(loop, NULL) < 0 ? -1 : loop_run_traced(loop, entry);
}

/* Run the entry in debug mode or for a tracer; -1 with what leaves the loop. */
static int
run_watched(LoopObject *loop, ReadyEntry *entry, bool traced)
{
    if (loop->timed) {
        return loop_run_timed(loop, entry, traced ? run_traced : run_entry_and_leave, !traced);
    }
    return run_traced(loop, entry);
}

static int
run_batch(LoopObject *loop)
{
    size_t count = ready_len(&loop->ready);
    int result = 0;
    bool traced = handle_run_is_replaced(&loop->st->replaced);
    loop->metrics.callbacks += count;
    /* A nested run may have taken some of these: it never leaves the count too small. */
    while (count-- && ready_len(&loop->ready) && result == 0) {
        ReadyEntry entry = ready_pop(&loop->ready);
        if (loop->timed || traced) {
            result = run_watched(loop, &entry, traced);
        }
        else if (run_entry(loop, &entry) < 0) {
            leave_task(loop);
            result = loop_report_entry(loop, &entry);
        }
        if (loop->current_task != NULL && task_entry_runs_code(&entry)) {
            leave_task(loop);
        }
        ready_drop(&entry);
        if (count % ENTRIES_PER_CLOCK == 0 && count != 0) {
            clock_refresh(&loop->clock);
            if (gil_is_due(&loop->gil, loop->clock.now_ns)) {
                let_others_in(loop);
            }
        }
        if (loop->output.first != NULL && result == 0
            && clock_ns() - loop->output.since_ns > FLUSH_AGE_NS) {
            leave_task(loop);
            result = loop_flush_now(loop);
        }
    }
    return result;
}

/* ---- one turn -------------------------------------------------------------------------------- */

/* There is work, and nothing else to look after: no output, no timer, no reason to ask the kernel. */
static inline bool
only_computes(LoopObject *loop)
{
    return ready_len(&loop->ready) && !loop->io_happened && !loop->answering
           && loop->output.first == NULL
           && timers_count(&loop->timers) == 0
           && loop->clock.now_ns < loop->poll_due_ns;
}

/* Give back the memory that a burst took. A steady load that lets its queues run empty grows them anew
   at most once per GIVE_BACK_NS. */
static inline void
give_back(LoopObject *loop)
{
    size_t capacities = loop->ready.capacity | timers_capacities(&loop->timers);
    if (capacities < 2 * BULK_KEPT_COUNT /* all are powers of two */
        || loop->clock.now_ns - loop->gave_back_ns < GIVE_BACK_NS) {
        return;
    }
    ready_shrink(&loop->ready);
    timers_shrink(&loop->timers);
    if ((loop->ready.capacity | timers_capacities(&loop->timers)) != capacities) {
        loop->gave_back_ns = loop->clock.now_ns;
    }
}

/* Send queued output, then move I/O events and due timers into the ready queue. */
static int
collect(LoopObject *loop)
{
    if (set_current_task(loop, NULL) < 0) {
        return -1;
    }
    give_back(loop);
    if (loop->output.first != NULL && loop_flush_now(loop) < 0) {
        return -1;
    }
    timers_prune(&loop->timers);
    if (poll_if_due(loop) < 0) {
        return -1;
    }
    return fire_timers(loop);
}

/* Blocks where nothing is ready. 0, or -1 with what leaves the loop. */
static int
turn(LoopObject *loop)
{
    if (!only_computes(loop) && collect(loop) < 0) {
        return -1;
    }
    int64_t begin = loop->clock.now_ns;
    int result = run_batch(loop);
    clock_refresh(&loop->clock);
    loop->metrics.iterations++;
    metrics_turn(&loop->metrics, loop->clock.now_ns - begin);
    return result;
}

/* No task is current where turns begin. *outer_task: the current one of a turn that these turns are
   nested in, whatever made it current, or NULL. */
static int
enter_turns(LoopObject *loop, PyObject **outer_task)
{
    *outer_task = NULL;
    return loop->keeps_handles == 0
               ? set_current_task(loop, NULL)
               : registry_swap_current(loop->st, (PyObject *)loop, NULL, outer_task);
}

static void
leave_turns(LoopObject *loop, PyObject *outer_task, PyObject **error)
{
    int left = outer_task == NULL
                   ? set_current_task(loop, NULL)
                   : registry_swap_current(loop->st, (PyObject *)loop, outer_task, NULL);
    if (left < 0) {
        keep_first(error, NULL);
    }
    Py_XDECREF(outer_task);
}

int
loop_run_once(LoopObject *loop)
{
    PyObject *outer_task;
    if (enter_turns(loop, &outer_task) < 0) {
        return -1;
    }
    loop_io_happened(loop); /* it polls */
    PyObject *error = turn(loop) < 0 ? PyErr_GetRaisedException() : NULL;
    leave_turns(loop, outer_task, &error);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}

/* What is queued may be garbage once the loop stands still. */
static void
track_handles(LoopObject *loop)
{
    ReadyQueue *ready = &loop->ready;
    for (size_t i = ready->head; i != ready->tail; i++) {
        ReadyEntry *entry = ready_at(ready, i);
        if (entry->kind == READY_HANDLE) {
            handle_track(entry->obj);
        }
    }
    timers_track(&loop->timers);
}

/* What is in flight on a ring does not outlast the run. */
static void
end_run(LoopObject *loop)
{
    Poller *poller = loop->poller;
    if (poller != NULL && poller->methods->stopped != NULL && !loop_is_copy(loop)) {
        Py_BEGIN_ALLOW_THREADS
        poller->methods->stopped(poller);
        Py_END_ALLOW_THREADS
    }
}

/* A turn of a loop whose _run_once() is another one. */
static int
call_run_once(LoopObject *loop)
{
    if (set_current_task(loop, NULL) < 0) {
        return -1;
    }
    return drop_result(PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str__run_once));
}

int
loop_run(LoopObject *loop)
{
    int result;
    PyObject *outer_task;
    if (enter_turns(loop, &outer_task) < 0) {
        return -1;
    }
    loop->keeps_handles++;
    clock_read(&loop->clock);
    gil_was_released(&loop->gil, loop->clock.now_ns);
    loop->io_happened = true; /* the first turn polls */
    spin_start_run(&loop->spin);
    do {
        result = loop_overrides(loop) & OVERRIDE_RUN_ONCE ? call_run_once(loop) : turn(loop);
    } while (result == 0 && !loop->stopping);
    PyObject *error = result < 0 ? PyErr_GetRaisedException() : NULL;
    if (loop_flush_now(loop) < 0) {
        keep_first(&error, NULL);
    }
    leave_turns(loop, outer_task, &error);
    if (--loop->keeps_handles == 0) {
        ready_shrink(&loop->ready);
        timers_shrink(&loop->timers);
        track_handles(loop);
    }
    end_run(loop);
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}
