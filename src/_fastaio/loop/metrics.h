/* metrics.h: counters that cost an increment each, read by loop.metrics(). */
#ifndef FASTAIO_METRICS_H
#define FASTAIO_METRICS_H

#include "base/compat.h"

#define METRICS_LAG_BUCKETS 24

#define METRICS_COUNTERS(X)                                                                        \
    X(iterations) X(callbacks) X(polls) X(blocks) X(spins) X(spin_hits) X(spin_ns) X(io_events)    \
    X(timers_fired) X(wakeups) X(slow_callbacks) X(bytes_received) X(bytes_sent)                   \
    X(connections_made) X(connections_lost) X(keeper_sends) X(gil_offers)

typedef struct {
#define X(name) uint64_t name;
    METRICS_COUNTERS(X)
#undef X
    /* Bucket i counts turns whose callbacks took less than 2**i microseconds; the last one, all longer
       turns. */
    uint64_t lag[METRICS_LAG_BUCKETS];
} Metrics;

/* Count a turn whose callbacks took `ns`. */
static inline void
metrics_turn(Metrics *metrics, int64_t ns)
{
    if (ns < 1000) {
        metrics->lag[0]++;
        return;
    }
    int bucket = 64 - __builtin_clzll((uint64_t)ns / 1000);
    metrics->lag[bucket < METRICS_LAG_BUCKETS ? bucket : METRICS_LAG_BUCKETS - 1]++;
}

/* Return the counters as a new dict; NULL with an exception. */
PyObject *metrics_dict(const Metrics *metrics);

#endif
