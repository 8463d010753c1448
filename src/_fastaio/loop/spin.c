/* spin.c: whether and for how long a wait asks the kernel again and again before it blocks.
 *
 * A thread that blocks costs CPU time: the kernel takes it off its CPU and puts it back, and then the
 * caches are cold. A wait that is shorter than that cost is cheaper, and over sooner, if the thread
 * spins. How much blocking costs and how long the waits are depends on the machine, on the peers and
 * on who else wants the CPU. So the loop tries: for a few waits each it blocks at once, spins a little,
 * spins longer, and compares CPU time and wall time per callback. The best holds until the next trial.
 */
#include "loop/spin.h"

#include "loop/clock.h"
#include <sys/resource.h>

/* Waits that take longer, waking a halted CPU included, are never worth a spin. */
#define SHORT_WAIT_NS 120000
#define SHORT_SHARE_MIN 0.5
#define STAGE_WAITS 64
#define TRIAL_STAGES SPIN_LENGTHS
/* If more than one in this many waits is preempted, others want the CPU: a spin would be at their cost. */
#define CROWDED_WAITS 8
/* This many quarters of a trial's costs count in the next one. */
#define KEPT_QUARTERS 3
/* A trial's result holds for so many times the trial's duration: more where it is confirmed. */
#define PATIENCE_MIN 32
#define PATIENCE_MAX 256
/* A length has to spare this share of CPU time times wall time, so that noise does not choose it. */
#define WORTH_SHARE 0.02
/* The loop may take this share of CPU time more than if it never spun. Where spinning costs more, but saves
   much wall time, only some of the waits spin. */
#define EXTRA_CPU_MAX 0.03
#define MUCH_EXTRA_CPU 0.25
#define MUCH_LESS_WALL 0.75

static const int64_t lengths_ns[SPIN_LENGTHS] = {0, 15000, 50000};

/* Return the totals of this thread. */
static SpinCost
read_totals(int64_t now_ns, uint64_t work)
{
    struct timespec time;
    struct rusage usage;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    getrusage(RUSAGE_THREAD, &usage);
    return (SpinCost){.cpu_ns = time.tv_sec * NS_PER_SECOND + time.tv_nsec,
                      .wall_ns = now_ns,
                      .work = work,
                      .preemptions = (uint64_t)usage.ru_nivcsw};
}

static void
start_stage(Spin *spin, int64_t now_ns, uint64_t work)
{
    spin->wait_count = 0;
    spin->start = read_totals(now_ns, work);
}

static void
start_trial(Spin *spin, int64_t now_ns, uint64_t work)
{
    for (unsigned i = 0; i < SPIN_LENGTHS; i++) { /* one trial is short, so earlier ones count as well */
        SpinCost *cost = &spin->costs[i];
        cost->cpu_ns = cost->cpu_ns * KEPT_QUARTERS / 4;
        cost->wall_ns = cost->wall_ns * KEPT_QUARTERS / 4;
        cost->work = cost->work * KEPT_QUARTERS / 4;
        cost->waits = cost->waits * KEPT_QUARTERS / 4;
        cost->preemptions = cost->preemptions * KEPT_QUARTERS / 4;
    }
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
    memset(spin->costs, 0, sizeof(spin->costs));
}

/* Return the share of the waits that may spin, given the CPU time and the wall time of a turn that spins,
   both relative to one that blocks. */
static double
allowed_share(double cpu, double wall)
{
    double extra = cpu - 1.0;
    if (wall > 1.0 + EXTRA_CPU_MAX) {
        return 0.0;
    }
    if (extra <= EXTRA_CPU_MAX) {
        return 1.0;
    }
    return extra <= MUCH_EXTRA_CPU && wall <= MUCH_LESS_WALL ? EXTRA_CPU_MAX / extra : 0.0;
}

/* Choose the length, and the share of the waits that spin for it, with the least CPU time times wall
   time. */
static void
choose(Spin *spin)
{
    const SpinCost *blocking = &spin->costs[0];
    double least = 1.0 - WORTH_SHARE;
    spin->chosen = 0;
    spin->share = 1.0;
    for (unsigned i = 1; i < SPIN_LENGTHS; i++) {
        const SpinCost *cost = &spin->costs[i];
        double scale = (double)blocking->work / (double)cost->work;
        double cpu = (double)cost->cpu_ns / (double)blocking->cpu_ns * scale;
        double wall = (double)cost->wall_ns / (double)blocking->wall_ns * scale;
        bool crowded = cost->preemptions * CROWDED_WAITS > cost->waits;
        double share = crowded ? 0.0 : allowed_share(cpu, wall);
        double product = (1.0 + share * (cpu - 1.0)) * (1.0 + share * (wall - 1.0));
        if (product < least) {
            least = product;
            spin->chosen = i;
            spin->share = share;
        }
    }
}

static void
end_trial(Spin *spin, int64_t now_ns)
{
    unsigned before = spin->chosen;
    choose(spin);
    spin->patience = spin->chosen != before          ? PATIENCE_MIN
                     : spin->patience < PATIENCE_MAX ? 2 * spin->patience
                                                     : PATIENCE_MAX;
    spin->length = spin->chosen;
    spin->due_share = 0.0;
    spin->wait_count = 0;
    spin->until_ns = now_ns + spin->patience * (now_ns - spin->trial_ns);
}

/* Between two trials: spin in `share` of the groups of STAGE_WAITS waits. */
static void
start_group(Spin *spin)
{
    spin->wait_count = 0;
    spin->due_share += spin->share;
    spin->length = spin->due_share >= 1.0 ? spin->chosen : 0;
    spin->due_share -= spin->due_share >= 1.0 ? 1.0 : 0.0;
}

static void
end_stage(Spin *spin, int64_t now_ns, uint64_t work)
{
    SpinCost *cost = &spin->costs[spin->length];
    SpinCost now = read_totals(now_ns, work);
    cost->cpu_ns += now.cpu_ns - spin->start.cpu_ns;
    cost->wall_ns += now.wall_ns - spin->start.wall_ns;
    cost->work += now.work - spin->start.work;
    cost->waits += STAGE_WAITS;
    cost->preemptions += now.preemptions - spin->start.preemptions;
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
    bool tries = spin->stage < TRIAL_STAGES;
    if (!tries && now_ns >= spin->until_ns) {
        start_trial(spin, now_ns, work);
    }
    else if (++spin->wait_count > STAGE_WAITS) {
        if (tries) {
            end_stage(spin, now_ns, work);
        }
        else {
            start_group(spin);
        }
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
