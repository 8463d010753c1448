/* spin.c: how long a wait spins before it blocks: measuring, choosing, limiting the extra CPU time.
 *
 * To block costs CPU time: the kernel takes the thread off its CPU and puts it back, and then the caches
 * are cold. A wait that is shorter than that costs less CPU time, and ends sooner, if the thread spins.
 * The cost of blocking and the length of the waits depend on the machine, on the peers and on other
 * programs that want the CPU. So the loop tries. For some waits each it blocks immediately, spins for
 * a little, spins for longer, and compares CPU time times wall time per callback. The best length holds
 * until the next trial.
 */
#include "loop/spin.h"

#include "loop/clock.h"
#include <string.h>
#include <sys/resource.h>

/* A longer wait, the wake-up of a halted CPU included, is never worth a spin. */
#define SHORT_WAIT_NS 120000
/* No wait spins while the share of short waits is smaller. */
#define SHORT_SHARE_MIN 0.5
/* Waits in a stage of a trial, and in a group between trials. */
#define STAGE_WAITS 64
#define TRIAL_STAGES SPIN_LENGTHS
/* If the thread is preempted more than once in this many waits of a length, other threads want the CPU: no
   wait spins for that length. */
#define CROWDED_WAITS 8
/* One trial is short and noisy, so trials add up: this many quarters of the earlier costs count in the next
   one. */
#define KEPT_QUARTERS 3
/* A choice holds for this many times its trial's duration, longer each time that a trial confirms it. */
#define PATIENCE_MIN 32
#define PATIENCE_MAX 256
#define HOLD_MAX_NS  (10 * NS_PER_SECOND)
/* A wait of this length says nothing about spinning: the stage begins again. */
#define QUIET_WAIT_NS 1000000
/* A trial whose stages begin again more often is given up. Else a stage could spin without end. */
#define RESTARTS_MAX 16
/* A length is chosen only if it spares this share of CPU time times wall time: noise must not choose. */
#define WORTH_SHARE 0.02
/* Spinning may raise the loop's CPU time by this share. Where it would raise the CPU time further, up to
   MUCH_EXTRA_CPU, and shortens the wall time to MUCH_LESS_WALL or less, some of the waits spin. */
#define EXTRA_CPU_MAX 0.03
#define MUCH_EXTRA_CPU 0.25
#define MUCH_LESS_WALL 0.75

static const int64_t lengths_ns[SPIN_LENGTHS] = {0, 15000, 50000};

/* Return the totals of this thread up to now, but for `waits`. */
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
    spin->was_quiet = false;
    spin->start = read_totals(now_ns, work);
}

static void
start_trial(Spin *spin, int64_t now_ns, uint64_t work)
{
    for (unsigned i = 0; i < SPIN_LENGTHS; i++) {
        SpinCost *cost = &spin->costs[i];
        cost->cpu_ns = cost->cpu_ns * KEPT_QUARTERS / 4;
        cost->wall_ns = cost->wall_ns * KEPT_QUARTERS / 4;
        cost->work = cost->work * KEPT_QUARTERS / 4;
        cost->waits = cost->waits * KEPT_QUARTERS / 4;
        cost->preemptions = cost->preemptions * KEPT_QUARTERS / 4;
    }
    spin->stage = spin->length = 0;
    spin->restarts = 0;
    spin->trial_start_ns = now_ns;
    start_stage(spin, now_ns, work);
}

void
spin_start_run(Spin *spin)
{
    spin->stage = TRIAL_STAGES;
    spin->length = 0;
    spin->next_trial_ns = 0;
    spin->patience = PATIENCE_MIN;
    memset(spin->costs, 0, sizeof(spin->costs));
}

/* Return the share of the waits that may spin. `cpu`, `wall`: the CPU time and the wall time per callback if
   all waits spin, relative to those if all block. */
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

/* Choose the length, and the share of the waits that spin for it, with the least CPU time times wall time
   per callback. */
static void
choose(Spin *spin)
{
    const SpinCost *blocking = &spin->costs[0];
    double least = 1.0 - WORTH_SHARE;
    spin->best = 0;
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
            spin->best = i;
            spin->share = share;
        }
    }
}

/* Begin a group between two trials. `share` of the groups spin. */
static void
start_group(Spin *spin)
{
    spin->wait_count = 0;
    spin->share_due += spin->share;
    spin->length = spin->share_due >= 1.0 ? spin->best : 0;
    spin->share_due -= spin->share_due >= 1.0 ? 1.0 : 0.0;
}

/* Wait by the choice until the next trial. */
static void
hold_choice(Spin *spin, int64_t now_ns)
{
    spin->stage = TRIAL_STAGES;
    spin->share_due = 0.0;
    start_group(spin);
    int64_t hold_ns = spin->patience * (now_ns - spin->trial_start_ns);
    spin->next_trial_ns = now_ns + (hold_ns < HOLD_MAX_NS ? hold_ns : HOLD_MAX_NS);
}

static void
end_trial(Spin *spin, int64_t now_ns)
{
    unsigned before = spin->best;
    choose(spin);
    spin->patience = spin->best != before            ? PATIENCE_MIN
                     : spin->patience < PATIENCE_MAX ? 2 * spin->patience
                                                     : PATIENCE_MAX;
    hold_choice(spin, now_ns);
}

/* Add the costs of a stage to those of its length. */
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

/* Return the length in ns for the wait that begins now, as part of the measurement or by its result. */
static int64_t
measured_limit(Spin *spin, int64_t now_ns, uint64_t work)
{
    bool in_trial = spin->stage < TRIAL_STAGES;
    if (!in_trial && now_ns >= spin->next_trial_ns) {
        start_trial(spin, now_ns, work);
    }
    else if (in_trial && spin->was_quiet) {
        if (++spin->restarts > RESTARTS_MAX) {
            hold_choice(spin, now_ns);
        }
        else {
            start_stage(spin, now_ns, work);
        }
    }
    else if (++spin->wait_count > STAGE_WAITS) {
        if (in_trial) {
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
    spin->was_quiet = spin->was_quiet || wait_ns >= QUIET_WAIT_NS;
}
