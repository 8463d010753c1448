/* spin.h: whether and for how long a wait asks the kernel again and again before it blocks. */
#ifndef FASTAIO_SPIN_H
#define FASTAIO_SPIN_H

#include "base/compat.h"

/* The value of Spin.forced_us that means: find out what is cheapest. */
#define SPIN_MEASURED (-1)
#define SPIN_LENGTHS 3

/* The cost of the loop while it spun for one of the lengths. */
typedef struct {
    int64_t cpu_ns;  /* CPU time of the loop's thread */
    int64_t wall_ns;
    uint64_t work;   /* callbacks that ran */
    uint64_t waits;
    uint64_t preemptions; /* of this thread, because another one wanted the CPU */
} SpinCost;

typedef struct {
    int forced_us;      /* 0: never spin; above: spin that long; SPIN_MEASURED */
    double short_share; /* moving share of the waits that were short */
    /* The measurement. A stage is some waits of one length; a trial is several stages of each. */
    unsigned length;    /* of this stage or group of waits: an index */
    unsigned stage;     /* number of the stage within the trial; past the last: the trial is over */
    unsigned wait_count; /* in this stage or group */
    int64_t until_ns;   /* when the next trial begins */
    int64_t trial_ns;   /* when this one began */
    unsigned chosen;    /* the length that the last trial found best */
    double share;       /* of the waits that spin for it */
    double due_share;   /* sum of `share` over the groups of waits, less the groups that spun */
    unsigned patience;  /* for how many times its own duration a trial's result holds */
    SpinCost start;     /* totals when this stage began */
    SpinCost costs[SPIN_LENGTHS];
} Spin;

/* Start the measurement anew: a run begins, perhaps in another thread. */
void spin_start_run(Spin *spin);

/* Return how many ns the wait that begins now is to spin; 0: it blocks at once. timeout_ns: how long
   it may take, below 0 for ever. work: the number of callbacks that have run. */
int64_t spin_limit(Spin *spin, int64_t now_ns, int64_t timeout_ns, uint64_t work);

/* Learn from a wait that took wait_ns, whether it spun or not. found: it ended with work. */
void spin_learn(Spin *spin, int64_t wait_ns, bool found);

#endif
