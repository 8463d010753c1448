/* metrics.h: counters that cost an increment each, and gauges; read by loop.metrics(). */
#ifndef FASTAIO_METRICS_H
#define FASTAIO_METRICS_H

#include "base/compat.h"

#define METRICS_LAG_BUCKETS 24

#define METRICS_COUNTERS(X)                                                                        \
    X(iterations) X(callbacks) X(polls) X(blocks) X(spins) X(spin_hits) X(spin_ns) X(io_events)    \
    X(timers_fired) X(wakeups) X(slow_callbacks) X(bytes_received) X(bytes_sent)                   \
    X(connections_made) X(connections_lost) X(keeper_sends) X(gil_offers)                          \
    X(tasks_started) X(tasks_ended) X(busy_ns) X(idle_ns)

/* Any thread may read the counters. The thread that uses the loop changes them, by relaxed_add(); `wakeups` and
   `jobs` change in any thread, by shared_add(). */
typedef struct {
#define X(name) uint64_t name;
    METRICS_COUNTERS(X)
#undef X
    /* Bucket i counts turns whose callbacks took less than 2**i microseconds; the last one, all longer
       turns. */
    uint64_t lag[METRICS_LAG_BUCKETS];
    uint64_t jobs; /* in threads of the default executor that have not ended */
} Metrics;

/* What there is at the moment. */
#define METRICS_GAUGES(X) X(ready) X(timers) X(connections) X(tasks) X(file_operations) \
    X(executor_jobs)

typedef struct {
#define X(name) uint64_t name;
    METRICS_GAUGES(X)
#undef X
} Gauges;

/* Count a turn whose callbacks took `ns`. Return true if that is a microsecond or longer. */
static inline bool
metrics_turn(Metrics *metrics, int64_t ns)
{
    relaxed_add(&metrics->busy_ns, (uint64_t)ns);
    if (ns < 1000) {
        relaxed_add(&metrics->lag[0], 1);
        return false;
    }
    int bucket = 64 - __builtin_clzll((uint64_t)ns / 1000);
    relaxed_add(&metrics->lag[bucket < METRICS_LAG_BUCKETS ? bucket : METRICS_LAG_BUCKETS - 1], 1);
    return true;
}

/* Count jobs that begin, or end: in any thread. */
static inline void
metrics_add_jobs(Metrics *metrics, int change)
{
    shared_add(&metrics->jobs, (uint64_t)(int64_t)change);
}

/* Return counters and gauges as a new dict; NULL with an exception. */
PyObject *metrics_dict(const Metrics *metrics, const Gauges *gauges);

#endif
