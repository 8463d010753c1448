/* gil.c: how a busy loop shares the GIL with other threads.
 *
 * A thread that wants the GIL sleeps until its holder releases it, and needs some microseconds to wake
 * up. A holder that takes the GIL back at once is faster, so the other thread sleeps on, until after
 * sys.getswitchinterval() (5 ms) it gets the GIL by force. So the loop has to stay away for as long as
 * a wake-up takes, but only where somebody waits: CPython does not tell whether that is so. The time
 * that the release takes does: with a waiter it includes a system call that wakes a thread.
 */
#include "loop/gil.h"

#include "loop/clock.h"
#include <sched.h>

/* How often a busy loop offers the GIL. */
#define OFFER_INTERVAL_NS 100000
/* How soon it offers the GIL again after a thread has taken it: a thread that makes system calls wants it
   back after each of them. */
#define OFFER_AGAIN_NS 25000
/* A release that takes longer than this has woken a thread. Measured on two virtual CPUs: 30 to 600 ns
   without a waiter, 4 to 30 us with one. */
#define WAITER_RELEASE_NS 1200
/* How long the loop stays away: a multiple of the time that the release took, since a machine that is
   slow to send a wake-up is slow to receive it. */
#define AWAY_FACTOR 3
#define AWAY_MIN_NS 10000
#define AWAY_MAX_NS 60000
/* The most that the loop keeps the GIL for because it has waited for it: CPython's switch interval. */
#define KEEP_MAX_NS 5000000

void
gil_was_released(GilShare *share, int64_t now_ns)
{
    share->due_ns = now_ns + OFFER_INTERVAL_NS;
}

#ifdef Py_GIL_DISABLED
void
gil_offer(GilShare *share, int64_t *now_ns)
{
    gil_was_released(share, *now_ns);
}
#else

/* Let the thread that has been woken run; return when it has had the time to take the GIL. */
static int64_t
stay_away(int64_t released_ns, int64_t release_took_ns)
{
    int64_t away_ns = AWAY_FACTOR * release_took_ns;
    int64_t until_ns = released_ns + (away_ns < AWAY_MIN_NS   ? AWAY_MIN_NS
                                      : away_ns > AWAY_MAX_NS ? AWAY_MAX_NS
                                                              : away_ns);
    int64_t now_ns;
    do {
        sched_yield();
        now_ns = clock_ns();
    } while (now_ns < until_ns);
    return now_ns;
}

void
gil_offer(GilShare *share, int64_t *now_ns)
{
    int64_t begin_ns = clock_ns();
    PyThreadState *thread = PyEval_SaveThread();
    int64_t released_ns = clock_ns(), asked_ns = released_ns;
    bool had_waiter = released_ns - begin_ns > WAITER_RELEASE_NS;
    if (had_waiter) {
        asked_ns = stay_away(released_ns, released_ns - begin_ns);
    }
    PyEval_RestoreThread(thread);
    *now_ns = clock_ns();
    /* A thread that computes keeps the GIL until it loses it by force. The loop then keeps it as long,
       or it would get a fiftieth of the time. */
    int64_t keep_ns = *now_ns - asked_ns;
    keep_ns = keep_ns > KEEP_MAX_NS ? KEEP_MAX_NS : keep_ns;
    int64_t interval_ns = had_waiter ? OFFER_AGAIN_NS : OFFER_INTERVAL_NS;
    share->due_ns = *now_ns + (keep_ns > interval_ns ? keep_ns : interval_ns);
}
#endif
