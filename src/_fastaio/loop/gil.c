/* gil.c: how a busy loop shares the GIL with other threads.
 *
 * A thread that waits for the GIL sleeps until the holder releases it, then needs some microseconds to
 * wake up. A holder that takes the GIL back immediately is faster. The waiting thread then sleeps on,
 * and gets the GIL by force after sys.getswitchinterval() (5 ms). So the loop stays away for as long as
 * a wake-up takes, but only if a thread waits. CPython does not tell whether one does. The duration of
 * the release does: with a waiting thread it includes the system call that wakes that thread.
 */
#include "loop/gil.h"

#include "loop/clock.h"
#include <sched.h>

/* A busy loop offers the GIL this often. */
#define OFFER_INTERVAL_NS 100000
/* The loop offers the GIL again this soon after a thread has taken it: a thread that makes system calls wants
   the GIL back after each of them. */
#define OFFER_AGAIN_NS 25000
/* A longer release has woken a thread. Measured on two virtual CPUs: 30 to 600 ns
   without a waiter, 4 to 30 us with one. */
#define WAITER_RELEASE_NS 1200
/* The loop stays away for this many times the duration of the release: a machine that is slow to send a
   wake-up is slow to receive it. */
#define AWAY_FACTOR 3
#define AWAY_MIN_NS 10000
#define AWAY_MAX_NS 60000
/* The longest that the loop keeps the GIL in return for a wait: CPython's switch interval. */
#define KEEP_MAX_NS 5000000

void
gil_note_release(GilShare *share, int64_t now_ns)
{
    share->due_ns = now_ns + OFFER_INTERVAL_NS;
}

#ifdef Py_GIL_DISABLED
void
gil_offer(GilShare *share, int64_t *now_ns)
{
    gil_note_release(share, *now_ns);
}
#else

/* Give the woken thread the time to take the GIL. Return the time at which that has passed. */
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
    /* A thread that computes keeps the GIL until it loses it by force. So the loop keeps the GIL as long:
       otherwise it would get a fiftieth of the time. */
    int64_t keep_ns = *now_ns - asked_ns;
    keep_ns = keep_ns > KEEP_MAX_NS ? KEEP_MAX_NS : keep_ns;
    int64_t interval_ns = had_waiter ? OFFER_AGAIN_NS : OFFER_INTERVAL_NS;
    share->due_ns = *now_ns + (keep_ns > interval_ns ? keep_ns : interval_ns);
}
#endif
