/* spin.c: whether and for how long a wait asks the kernel again and again before it blocks.
 *
 * A thread that blocks costs CPU time: the kernel takes it off its CPU and puts it back, and then the
 * caches are cold. A wait that is shorter than that cost is cheaper, and over sooner, if the thread
 * spins. How much blocking costs and how long the waits are depends on the machine, on the peers and
 * on who else wants the CPU. So the loop tries: for a few waits each it blocks at once, spins a little,
 * spins longer, and compares the CPU time per callback. The cheapest holds until the next trial.
 */
#include "loop/spin.h"

#include "loop/clock.h"

/* Waits that take longer, waking a halted CPU included, are never worth a spin. */
#define SHORT_WAIT_NS 120000
#define SHORT_SHARE_MIN 0.5
#define STAGE_WAITS 32
#define TRIAL_STAGES (2 * SPIN_LENGTHS)
/* A trial's result holds for so many times the trial's duration: more where it is confirmed. */
#define PATIENCE_MIN 16
#define PATIENCE_MAX 256
/* Spinning has to spare this share of the CPU time, so that noise does not choose it. */
#define WORTH_SHARE 0.02

static const int64_t lengths_ns[SPIN_LENGTHS] = {0, 15000, 50000};

static int64_t
thread_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static void
start_stage(Spin *spin, int64_t now_ns, uint64_t work)
{
    spin->wait_count = 0;
    spin->start = (SpinCost){.cpu_ns = thread_cpu_ns(), .wall_ns = now_ns, .work = work};
}

static void
start_trial(Spin *spin, int64_t now_ns, uint64_t work)
{
    memset(spin->costs, 0, sizeof(spin->costs));
    spin->stage = spin->length = 0;
    spin->trial_ns = now_ns;
    start_stage(spin, now_ns, work);
}

void
spin_start_run(Spin *spin)
{
    spin->stage = TRIAL_STAGES;
    spin->length = 0;
    spin->until_ns = 0;
    spin->patience = PATIENCE_MIN;
}

/* Return true if spinning for one length has cost less than for another, and has not slowed the loop. */
static bool
is_cheaper(const SpinCost *cost, const SpinCost *other, double margin)
{
    double work = (double)cost->work, other_work = (double)other->work;
    return (double)cost->cpu_ns * other_work < (double)other->cpu_ns * work * (1.0 - margin)
           && (double)cost->wall_ns * other_work <= (double)other->wall_ns * work * 1.05;
}

static void
end_trial(Spin *spin, int64_t now_ns)
{
    unsigned best = 0;
    for (unsigned i = 1; i < SPIN_LENGTHS; i++) {
        if (is_cheaper(&spin->costs[i], &spin->costs[best], best == 0 ? WORTH_SHARE : 0.0)) {
            best = i;
        }
    }
    bool confirmed = best == spin->chosen;
    spin->patience = !confirmed                       ? PATIENCE_MIN
                     : spin->patience < PATIENCE_MAX ? 2 * spin->patience
                                                      : PATIENCE_MAX;
    spin->length = spin->chosen = best;
    spin->until_ns = now_ns + spin->patience * (now_ns - spin->trial_ns);
}

static void
end_stage(Spin *spin, int64_t now_ns, uint64_t work)
{
    SpinCost *cost = &spin->costs[spin->length];
    cost->cpu_ns += thread_cpu_ns() - spin->start.cpu_ns;
    cost->wall_ns += now_ns - spin->start.wall_ns;
    cost->work += work - spin->start.work;
    if (++spin->stage == TRIAL_STAGES) {
        end_trial(spin, now_ns);
    }
    else {
        spin->length = spin->stage % SPIN_LENGTHS;
        start_stage(spin, now_ns, work);
    }
}

static int64_t
measured_limit(Spin *spin, int64_t now_ns, uint64_t work)
{
    if (spin->stage < TRIAL_STAGES) {
        if (++spin->wait_count > STAGE_WAITS) {
            end_stage(spin, now_ns, work);
        }
    }
    else if (now_ns >= spin->until_ns) {
        start_trial(spin, now_ns, work);
    }
    return lengths_ns[spin->length];
}

int64_t
spin_limit(Spin *spin, int64_t now_ns, int64_t timeout_ns, uint64_t work)
{
    if (spin->forced_us == 0 || spin->short_share < SHORT_SHARE_MIN) {
        return 0;
    }
    int64_t limit_ns = spin->forced_us == SPIN_MEASURED ? measured_limit(spin, now_ns, work)
                                                        : spin->forced_us * INT64_C(1000);
    return timeout_ns >= 0 && timeout_ns < limit_ns ? 0 : limit_ns;
}

void
spin_learn(Spin *spin, int64_t wait_ns, bool found)
{
    double is_short = found && wait_ns < SHORT_WAIT_NS ? 1.0 : 0.0;
    spin->short_share += (is_short - spin->short_share) / 8;
}
