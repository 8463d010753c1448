/* spin.h: how long a wait spins, that is polls again and again, before it blocks. */
#ifndef FASTAIO_SPIN_H
#define FASTAIO_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* The value of Spin.forced_us for which the loop measures which length is cheapest. */
#define SPIN_MEASURED (-1)
/* The number of lengths that are compared. Length 0 is to block immediately. */
#define SPIN_LENGTHS 3

/* The cost of the loop while its waits spun for one of the lengths. */
typedef struct {
    int64_t cpu_ns;  /* CPU time of the loop's thread */
    int64_t wall_ns;
    uint64_t work;   /* that was done, in any unit */
    uint64_t waits;
    uint64_t preemptions; /* of the loop's thread, because another thread wanted its CPU */
} SpinCost;

typedef struct {
    int forced_us;      /* 0: never spin; above 0: spin that long; SPIN_MEASURED */
    double short_share; /* moving share of the waits that were short and ended with work */
    /* The measurement. A trial has a stage of each length. A stage is some waits of one length, and so is a
       group, between two trials. */
    unsigned length;     /* of this stage or group: an index */
    unsigned stage;      /* number of the stage within the trial; past the last one between trials */
    unsigned wait_count; /* in this stage or group */
    bool was_quiet;      /* a wait of this stage took so long that the stage is to begin again */
    unsigned restarts;   /* how often a stage of this trial has begun again */
    int64_t trial_start_ns;
    int64_t next_trial_ns;
    unsigned best;       /* the length that the last trial chose: an index */
    double share;        /* of the groups that spin for it; the others block */
    double share_due;    /* the sum of `share` over the groups, less the number of groups that spun */
    unsigned patience;   /* the choice holds for this many times the duration of its trial */
    SpinCost start;      /* totals when this stage began */
    SpinCost costs[SPIN_LENGTHS]; /* by length, over all trials of the run, later ones with more weight */
} Spin;

/* Start the measurement anew: a run begins, perhaps in another thread. */
void spin_start_run(Spin *spin);

/* Return how many ns the wait that begins now is to spin; 0: it blocks immediately. `timeout_ns`: the longest
   that the wait may take; negative: for ever. `work`: the amount of work that has been done. */
int64_t spin_limit(Spin *spin, int64_t now_ns, int64_t timeout_ns, uint64_t work);

/* Take account of a wait that took wait_ns, whether it spun or not. `found`: it ended with work. */
void spin_learn(Spin *spin, int64_t wait_ns, bool found);

#endif
