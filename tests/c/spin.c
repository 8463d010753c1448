/* spin.c: the decision how long waits spin, fed with costs, without Python: one case per run.
 *
 * Built with loop/spin.c by test_spin.py. The CPU time and the preemptions of the thread are variables here.
 * Exit status 0: the case holds.
 */
#include "check.h"
#include "loop/spin.h"

#include <sys/resource.h>
#include <time.h>

#define SHORT_NS 20000
#define LONG_NS  1000000
/* Waits that are looked at between two trials: 50 groups. The shortest time between trials has more. */
#define WAITS (50 * 64)

/* The costs of a wait and of the callback that it ends with. */
typedef struct {
    int64_t cpu_ns;
    int64_t wall_ns;
} Cost;

static const Cost blocking = {10000, 20000};
static Spin spin;
static int64_t cpu_ns, now_ns;
static uint64_t work;
static long preemptions;
static int waits_per_preemption; /* of waits that spin; 0: no wait is preempted */

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_getrusage(int who, struct rusage *usage);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    CHECK(clock == CLOCK_THREAD_CPUTIME_ID);
    *time = (struct timespec){cpu_ns / 1000000000, cpu_ns % 1000000000};
    return 0;
}

int
__wrap_getrusage(int who, struct rusage *usage)
{
    CHECK(who == RUSAGE_THREAD);
    *usage = (struct rusage){.ru_nivcsw = preemptions};
    return 0;
}

/* Return the cost of spinning, relative to that of blocking. */
static Cost
relative(double cpu, double wall)
{
    return (Cost){(int64_t)((double)blocking.cpu_ns * cpu + 0.5),
                  (int64_t)((double)blocking.wall_ns * wall + 0.5)};
}

static void
start(void)
{
    spin = (Spin){.forced_us = SPIN_MEASURED};
    spin_start_run(&spin);
}

/* Do one wait, of which the two lengths of spinning cost `spinning`. Return its length. */
static unsigned
wait_once(const Cost spinning[2])
{
    unsigned length = spin_limit(&spin, now_ns, -1, work) > 0 ? spin.length : 0;
    const Cost *cost = length > 0 ? &spinning[length - 1] : &blocking;
    cpu_ns += cost->cpu_ns;
    now_ns += cost->wall_ns;
    work++;
    preemptions += length > 0 && waits_per_preemption > 0 && work % (unsigned)waits_per_preemption == 0;
    spin_learn(&spin, SHORT_NS, true);
    return length;
}

/* Do one trial. */
static void
try(Cost short_spin, Cost long_spin)
{
    const Cost spinning[2] = {short_spin, long_spin};
    int64_t before_ns = spin.next_trial_ns;
    if (now_ns < before_ns) {
        now_ns = before_ns;
    }
    while (spin.next_trial_ns == before_ns) {
        wait_once(spinning);
    }
}

typedef struct {
    double share; /* of the waits that spun */
    double cpu;   /* CPU time and wall time, relative to those of waits that block */
    double wall;
    unsigned length; /* of the waits that spun; 0: none did */
} Outcome;

/* Return the outcome of waits between two trials. */
static Outcome
look(Cost short_spin, Cost long_spin)
{
    const Cost spinning[2] = {short_spin, long_spin};
    int64_t next_trial_ns = spin.next_trial_ns, cpu_before_ns = cpu_ns, before_ns = now_ns;
    int spun = 0;
    Outcome outcome = {0};
    for (int i = 0; i < WAITS; i++) {
        unsigned length = wait_once(spinning);
        if (length > 0) {
            spun++;
            outcome.length = length;
        }
    }
    CHECK(spin.next_trial_ns == next_trial_ns);
    outcome.share = (double)spun / WAITS;
    outcome.cpu = (double)(cpu_ns - cpu_before_ns) / WAITS / (double)blocking.cpu_ns;
    outcome.wall = (double)(now_ns - before_ns) / WAITS / (double)blocking.wall_ns;
    return outcome;
}

/* Return the outcome after one trial of a new run. */
static Outcome
decide(double cpu, double wall)
{
    Cost cost = relative(cpu, wall);
    start();
    try(cost, cost);
    return look(cost, cost);
}

/* Return true if the two differ by no more than one of the 50 groups would. */
static bool
is_near(double value, double expected)
{
    return value > expected - 0.021 && value < expected + 0.021;
}

static void
blocking_is_kept(void)
{
    CHECK(decide(1.30, 0.50).share == 0.0); /* far more CPU time, whatever the wall time */
    CHECK(decide(1.10, 0.90).share == 0.0); /* more CPU time, and little wall time saved */
    CHECK(decide(0.80, 1.10).share == 0.0); /* more wall time, whatever the CPU time */
    CHECK(decide(1.00, 0.99).share == 0.0); /* not worth it */
    CHECK(decide(1.50, 1.50).share == 0.0);
}

static void
some_waits_spin(void)
{
    Outcome outcome = decide(1.10, 0.50);
    CHECK(is_near(outcome.share, 0.30));
    CHECK(outcome.cpu > 1.02 && outcome.cpu < 1.0301); /* 3% is the most that the loop may take */
    CHECK(is_near(outcome.wall, 0.85));
    outcome = decide(1.20, 0.50);
    CHECK(is_near(outcome.share, 0.15) && outcome.cpu < 1.0301);
    CHECK(decide(1.10, 0.76).share == 0.0); /* not enough wall time saved */
}

static void
all_waits_spin(void)
{
    CHECK(decide(0.90, 0.90).share == 1.0);
    CHECK(decide(0.97, 1.00).share == 1.0);
    CHECK(decide(1.02, 0.80).share == 1.0); /* little CPU time more */
}

static void
none_spins_in_a_crowd(void)
{
    waits_per_preemption = 4;
    CHECK(decide(0.50, 0.50).share == 0.0);
    waits_per_preemption = 16;
    CHECK(decide(0.50, 0.50).share == 1.0);
}

static void
the_better_length(void)
{
    Cost cheap = relative(0.80, 0.80), dear = relative(0.90, 0.90), dearest = relative(1.50, 1.50);
    start();
    try(cheap, dear);
    CHECK(look(cheap, dear).length == 1);
    start();
    try(dear, cheap);
    CHECK(look(dear, cheap).length == 2);
    start();
    try(dearest, dear);
    CHECK(look(dearest, dear).length == 2);
}

static void
trials_add_up(void)
{
    Cost usual = relative(0.90, 0.90), odd = relative(1.30, 0.95);
    CHECK(decide(1.30, 0.95).share == 0.0);
    start();
    for (int i = 0; i < 6; i++) {
        try(usual, usual);
    }
    try(odd, odd);
    CHECK(look(usual, usual).share == 1.0); /* one trial is outweighed */
    try(odd, odd);
    CHECK(look(usual, usual).share == 0.0); /* two are not */
    for (int i = 0; i < 6; i++) {
        try(usual, usual);
    }
    CHECK(look(usual, usual).share == 1.0);
    spin_start_run(&spin);
    try(odd, odd);
    CHECK(look(odd, odd).share == 0.0); /* a new run has no earlier trials */
}

static void
earlier_trials_count_less(void)
{
    Cost cost = relative(0.90, 0.90);
    start();
    try(cost, cost);
    uint64_t once = spin.costs[0].work;
    int64_t once_ns = spin.costs[0].cpu_ns;
    CHECK(once > 0 && once_ns == (int64_t)once * blocking.cpu_ns);
    try(cost, cost);
    CHECK(spin.costs[0].work == once * 3 / 4 + once);
    CHECK(spin.costs[0].cpu_ns == once_ns * 3 / 4 + once_ns);
}

static void
a_confirmed_choice_holds_longer(void)
{
    Cost cost = relative(0.90, 0.90), odd = relative(2.00, 2.00);
    int64_t shortest = 0;
    start();
    for (int factor = 1; factor <= 64; factor *= 2) {
        try(cost, cost);
        int64_t holds_ns = spin.next_trial_ns - (now_ns - cost.wall_ns); /* one wait came after it */
        shortest = shortest ? shortest : holds_ns;
        CHECK(holds_ns == shortest * (factor < 8 ? factor : 8));
    }
    try(odd, odd);
    CHECK(spin.best == 0 && spin.next_trial_ns - now_ns < 3 * shortest);
}

static void
quiet_times_do_not_count(void)
{
    const Cost spinning[2] = {relative(0.90, 0.90), relative(0.90, 0.90)};
    start();
    for (int i = 0; i < 3 * 32; i++) { /* into the second stage */
        wait_once(spinning);
    }
    now_ns += INT64_C(3600) * 1000000000;
    cpu_ns += 1000000000;
    spin_learn(&spin, INT64_C(3600) * 1000000000, true);
    for (int i = 0; i < 10; i++) { /* waits are short again */
        spin_learn(&spin, SHORT_NS, true);
    }
    try(spinning[0], spinning[1]);
    CHECK(spin.best > 0 && spin.costs[1].cpu_ns < INT64_C(100000000));
    CHECK(spin.next_trial_ns - now_ns <= INT64_C(10000000000));
}

static void
a_trial_among_quiet_waits_is_given_up(void)
{
    const Cost spinning[2] = {relative(1.50, 1.50), relative(1.50, 1.50)};
    start();
    for (int i = 0; i < 2 * 64 + 32; i++) { /* into the last stage */
        wait_once(spinning);
    }
    CHECK(spin.length > 0 && spin.next_trial_ns == 0);
    for (int i = 0; i < 32 * 64 && spin.next_trial_ns == 0; i++) {
        wait_once(spinning);
        if (i % 32 == 0) {
            spin_learn(&spin, LONG_NS, true);
        }
    }
    CHECK(spin.length == 0 && spin.next_trial_ns > now_ns);
}

static void
only_short_waits_spin(void)
{
    start();
    spin.forced_us = 100;
    CHECK(spin_limit(&spin, 0, -1, 0) == 0); /* nothing is known of the waits */
    for (int i = 0; i < 10; i++) {
        spin_learn(&spin, SHORT_NS, true);
    }
    CHECK(spin_limit(&spin, 0, -1, 0) == 100000);
    CHECK(spin_limit(&spin, 0, 100000, 0) == 100000);
    CHECK(spin_limit(&spin, 0, 99999, 0) == 0); /* a timer is due sooner */
    spin.forced_us = 0;
    CHECK(spin_limit(&spin, 0, -1, 0) == 0);
    spin.forced_us = 100;
    for (int i = 0; i < 10; i++) {
        spin_learn(&spin, LONG_NS, true);
    }
    CHECK(spin_limit(&spin, 0, -1, 0) == 0);
    for (int i = 0; i < 10; i++) {
        spin_learn(&spin, SHORT_NS, false); /* short, but for a timer */
    }
    CHECK(spin_limit(&spin, 0, -1, 0) == 0);
}

static const Case cases[] = {
    {"blocking_is_kept", blocking_is_kept},
    {"some_waits_spin", some_waits_spin},
    {"all_waits_spin", all_waits_spin},
    {"none_spins_in_a_crowd", none_spins_in_a_crowd},
    {"the_better_length", the_better_length},
    {"trials_add_up", trials_add_up},
    {"earlier_trials_count_less", earlier_trials_count_less},
    {"a_confirmed_choice_holds_longer", a_confirmed_choice_holds_longer},
    {"quiet_times_do_not_count", quiet_times_do_not_count},
    {"a_trial_among_quiet_waits_is_given_up", a_trial_among_quiet_waits_is_given_up},
    {"only_short_waits_spin", only_short_waits_spin},
};

int
main(int argc, char **argv)
{
    run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
    return 0;
}
