/* wait.c: polling and waiting for the kernel's events, for other threads and for the time. */
#include "turn/wait.h"

#include "base/error.h"
#include "base/probe.h"
#include "loop/watch.h"

#define EVENTS_PER_POLL 512
/* A loop with work at hand polls this often. */
#define POLL_INTERVAL_NS 10000
/* The resolution of the clock in seconds. As on asyncio, a timer is due this much before its deadline. */
#define CLOCK_RESOLUTION 1e-9
/* If the last turns have fired this many timers, the next ones may be this late: with many timers, one
   wake-up serves several. The wait for a lone timer is exact to the nanosecond. */
#define TIMER_CROWD 16
#define TIMER_CROWD_WAIT_NS 300000

/* ---- time ------------------------------------------------------------------------------------ */

/* Set *seconds to the time that timers are compared with: the clock, or the result of a replaced
   loop.time(). Return 0, or -1 with an exception. */
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

int
fire_timers(LoopObject *loop)
{
    const Timer *first = timers_peek(&loop->timers);
    double now;
    loop->wait.timer_crowd /= 2;
    if (first == NULL) {
        return 0;
    }
    refresh_clock_for(loop, first);
    if (timer_time(loop, &now) < 0) {
        return -1;
    }
    now += CLOCK_RESOLUTION;
    /* Not "when < now": a replaced clock may say NaN, which no deadline is ahead of. */
    while ((first = timers_peek(&loop->timers)) != NULL && !(first->when >= now)) {
        ReadyEntry *entry = ready_push(&loop->ready);
        if (entry == NULL) {
            return -1;
        }
        *entry = (ReadyEntry){.kind = READY_HANDLE, .obj = timers_pop(&loop->timers)};
        loop->wait.timer_crowd++;
        relaxed_add(&loop->metrics.timers_fired, 1);
    }
    return 0;
}

/* Set *timeout_ns to the longest wait: 0 with work at hand, -1 without any timer. Return 0, or -1 with an
   exception. */
static int
poll_timeout(LoopObject *loop, int64_t *timeout_ns)
{
    const Timer *first = timers_peek(&loop->timers);
    if (ready_len(&loop->ready) || relaxed_load(&loop->stopping)) {
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
    if (loop->wait.timer_crowd >= TIMER_CROWD && *timeout_ns > 0
        && *timeout_ns < TIMER_CROWD_WAIT_NS) {
        *timeout_ns = TIMER_CROWD_WAIT_NS;
    }
    return 0;
}

/* ---- polling --------------------------------------------------------------------------------- */

/* Return true if another thread has called the waiting loop. Needs no GIL. A poll consumes the wake-up, so
   the poller alone does not tell. */
static inline bool
is_called(LoopObject *loop)
{
    return !atomic_load(&loop->wait.blocked);
}

/* Poll again and again, for limit_ns at most, until there are events or a call. Needs no GIL. Return the
   number of events, or a negative errno. */
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
    relaxed_add(&loop->metrics.spins, 1);
    relaxed_add(&loop->metrics.spin_ns, (uint64_t)spent_ns);
    relaxed_add(&loop->metrics.spin_hits, count != 0 || is_called(loop));
    return count;
}

/* Return the amount of work that the loop has done, by which spinning and blocking are compared: callbacks,
   and bytes. A loop that spins reads large data in more and smaller parts, so callbacks alone mislead. */
static inline uint64_t
work_done(const LoopObject *loop)
{
    const Metrics *metrics = &loop->metrics;
    return metrics->callbacks * 1024 + metrics->bytes_received + metrics->bytes_sent;
}

/* Spin, then block, for timeout_ns at most. Return the number of events, or a negative errno. `blocked` is
   set before the queues are read, and other threads push before they read `blocked`: so no call is
   lost. */
static int
wait_blocking(LoopObject *loop, int64_t timeout_ns, PollEvent *events)
{
    int count = 0;
    int64_t before_ns = loop->clock.now_ns;
    int64_t limit_ns = spin_limit(&loop->wait.spin, before_ns, timeout_ns, work_done(loop));
    atomic_store(&loop->wait.blocked, true);
    if (ready_len(&loop->ready) || loop_has_mail(loop)) { /* pushed before it could see `blocked` */
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
    atomic_store(&loop->wait.blocked, false);
    recorder_call(&loop->stall);
    clock_read(&loop->clock);
    gil_note_release(&loop->gil, loop->clock.now_ns);
    relaxed_add(&loop->metrics.blocks, 1);
    relaxed_add(&loop->metrics.idle_ns, (uint64_t)(loop->clock.now_ns - before_ns));
    spin_learn(&loop->wait.spin, loop->clock.now_ns - before_ns, count > 0 || ready_len(&loop->ready));
    return count;
}

void
let_others_in(LoopObject *loop)
{
    gil_offer(&loop->gil, &loop->clock.now_ns);
    relaxed_add(&loop->metrics.gil_offers, 1);
}

/* Call a replaced _process_events() with an empty list: the events are native. Return 0, or -1 with an
   exception. */
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

/* Poll, and queue the owners of the events behind the entries that are queued. Return 0, or -1 with what
   leaves the loop. */
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
    relaxed_add(&loop->metrics.polls, 1);
    loop->wait.io_happened = false;
    if (timeout_ns == 0) {
        if (gil_is_due(&loop->gil, loop->clock.now_ns)) {
            let_others_in(loop);
            if (loop->poller == NULL) {
                return loop_check_closed(loop);
            }
        }
        PROBE2(poll_begin, loop, timeout_ns);
        count = loop->poller->methods->wait(loop->poller, 0, events, EVENTS_PER_POLL);
    }
    else {
        PROBE2(poll_begin, loop, timeout_ns);
        count = wait_blocking(loop, timeout_ns, events);
    }
    PROBE2(poll_end, loop, count);
    loop->wait.poll_due_ns = loop->clock.now_ns + POLL_INTERVAL_NS;
    loop->wait.answering = count > 0;
    if (count < 0) {
        return raise_errno(-count);
    }
    if (PyErr_CheckSignals() < 0 || call_process_events(loop) < 0) {
        /* The events must not be lost: edge-triggered ones are reported only once. */
        PyObject *error = PyErr_GetRaisedException();
        if (watch_dispatch(loop, events, count) < 0) {
            PyErr_Clear();
        }
        PyErr_SetRaisedException(error);
        return -1;
    }
    return watch_dispatch(loop, events, count);
}

int
poll_if_due(LoopObject *loop)
{
    int64_t timeout_ns;
    if (poll_timeout(loop, &timeout_ns) < 0) {
        return -1;
    }
    if (timeout_ns == 0 && !loop->wait.io_happened
        && (loop->wait.answering || loop->clock.now_ns < loop->wait.poll_due_ns)) {
        loop->wait.io_happened = loop->wait.answering; /* the next turn polls */
        loop->wait.answering = false;
        return 0;
    }
    return poll(loop, timeout_ns);
}
