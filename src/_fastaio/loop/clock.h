/* clock.h: the monotonic clock, and a cheap way to know how old its last reading is. */
#ifndef FASTAIO_CLOCK_H
#define FASTAIO_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_SECOND INT64_C(1000000000)
/* How far now_ns may lag behind the clock. */
#define CLOCK_STALE_NS 1000

/* The loop's last reading of the clock. The CPU's counter, which is read in a third of the time that
   the clock takes, tells whether the reading is still fresh. */
typedef struct {
    int64_t now_ns;          /* the last reading of CLOCK_MONOTONIC; the recorder reads it, too */
    uint64_t counter;        /* the CPU's counter at that reading */
    uint64_t stale_count;    /* the counter's ticks in CLOCK_STALE_NS; 0: not measured yet */
    uint64_t start_counter;  /* the first reading of both, which stale_count is measured from */
    int64_t start_ns;
} LoopClock;

/* Return CLOCK_MONOTONIC in nanoseconds. */
static inline int64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Return a counter of steady rate; 0 on an architecture without one. */
static inline uint64_t
cycle_counter(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return 0;
#endif
}

/* Read the clock: now_ns is exact afterwards. `counter`: cycle_counter(), just read. */
void clock_read_at(LoopClock *clock, uint64_t counter);

/* Read the clock: now_ns is exact afterwards. */
static inline void
clock_read(LoopClock *clock)
{
    clock_read_at(clock, cycle_counter());
}

/* Return true if now_ns is less than CLOCK_STALE_NS old. */
static inline bool
clock_is_fresh(const LoopClock *clock)
{
    return cycle_counter() - clock->counter < clock->stale_count;
}

/* Read the clock unless now_ns is less than CLOCK_STALE_NS old. */
static inline void
clock_refresh(LoopClock *clock)
{
    uint64_t counter = cycle_counter();
    if (counter - clock->counter >= clock->stale_count) {
        clock_read_at(clock, counter);
    }
}

/* Return seconds in ns, rounded up and clamped to the range of int64_t; INT64_MIN for NaN. */
int64_t seconds_to_ns(double seconds);

#endif
