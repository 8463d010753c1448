/* clock.c: reading the clock, and measuring the rate of the CPU's counter. */
#include "loop/clock.h"

#include "base/compat.h"

#include <math.h>

/* The CPU's counter is compared with the clock for this long before its rate is used. */
#define COUNTER_MEASURED_NS 200000

static void
measure_counter(LoopClock *clock)
{
    int64_t elapsed_ns = clock->now_ns - clock->start_ns;
    if (clock->start_ns == 0) {
        clock->start_counter = clock->counter;
        clock->start_ns = clock->now_ns;
    }
    else if (elapsed_ns > COUNTER_MEASURED_NS) {
        clock->stale_count =
            (clock->counter - clock->start_counter) * CLOCK_STALE_NS / (uint64_t)elapsed_ns;
    }
}

void
clock_read_at(LoopClock *clock, uint64_t counter)
{
    clock->counter = counter;
    relaxed_store(&clock->now_ns, clock_ns());
    if (clock->stale_count == 0) {
        measure_counter(clock);
    }
}

int64_t
seconds_to_ns(double seconds)
{
    double ns = seconds * 1e9;
    if (!(ns > (double)INT64_MIN)) {
        return INT64_MIN; /* NaN too */
    }
    return ns < (double)INT64_MAX ? (int64_t)ceil(ns) : INT64_MAX;
}
