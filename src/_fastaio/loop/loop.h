/* loop.h: the struct of a loop: its state, scheduling, output, reports, replaced methods. */
#ifndef FASTAIO_LOOP_H
#define FASTAIO_LOOP_H

#include "base/args.h"
#include "base/state.h"
#include "loop/clock.h"
#include "loop/gil.h"
#include "loop/handle_object.h"
#include "loop/keeper.h"
#include "loop/metrics.h"
#include "loop/ready.h"
#include "loop/spin.h"
#include "loop/timers.h"
#include "poll/poller.h"

typedef struct FdTable FdTable; /* watch.h */

/* Methods of the loop that tests, subclasses and virtual clocks may have replaced. */
enum {
    OVERRIDE_CALL_SOON = 1 << 0,
    OVERRIDE_TIME = 1 << 1,
    OVERRIDE_WRITE_TO_SELF = 1 << 2,
    OVERRIDE_PROCESS_EVENTS = 1 << 3,
    OVERRIDE_CALL_AT = 1 << 4,
    OVERRIDE_GET_DEBUG = 1 << 5,
    OVERRIDE_RUN_ONCE = 1 << 6,
    OVERRIDE_CLOCK = 1 << 7, /* asyncio's clock; always together with OVERRIDE_TIME */
    OVERRIDE_ALL = (1 << 8) - 1,
};

/* The result of the last look at the loop's methods: ask loop_overrides(). */
typedef struct {
    uint64_t clock; /* watched_clock_version() at that look */
    unsigned flags; /* OVERRIDE_* */
    unsigned tag;   /* the version of the loop's class at that look */
} Overrides;

/* Queued reads of connections whose stream readers get much at a time, the longest waiting first. */
typedef struct {
    ReadyQueue queue;
    uint64_t turn;   /* metrics.iterations of the turn that `size` belongs to */
    Py_ssize_t size; /* bytes that such reads have received in that turn */
    bool scheduled;  /* an entry that serves the queue is in the ready queue */
} BulkReads;

/* Timing of callbacks, in debug mode or on demand. */
typedef struct {
    int64_t slow_ns; /* callbacks that take longer are logged */
    bool debug;
    bool warn_slow;
    bool timed;      /* debug or warn_slow */
} Watchdog;

/* The loop's place in st->fork_listeners, and whose poller it has. */
typedef struct {
    LoopObject *next;
    LoopObject **link; /* NULL: not listed */
    unsigned count;    /* st->fork_count when the poller became this process's own */
} LoopFork;

/* The state that decides whether a turn polls, and how long it waits. */
typedef struct {
    int64_t poll_due_ns;  /* until then ready work alone is no reason to poll */
    unsigned timer_crowd; /* timers fired lately: half as many count each turn */
    bool io_happened;     /* something since the last poll makes another one due */
    bool answering;       /* the last poll found events, whose callbacks run before the next poll */
    atomic_bool blocked;  /* the loop waits, and no thread has woken it yet */
    Spin spin;            /* measurements that decide how long a wait spins before it blocks */
} LoopWait;

struct LoopObject {
    PyObject_HEAD
    fastaio_state *st;
    ReadyQueue ready;
    Timers timers;
    Poller *poller;         /* NULL once closed */
    FdTable *fds;
    FlushList output;       /* transports with queued output, the oldest first */
    PyObject *current_task; /* the current task for asyncio; borrowed, NULL: none */
    PyObject **current_field; /* 3.14: the word where asyncio keeps it, during a run; NULL: not known */
    PyObject *task_factory; /* or NULL */
    char *hot_buffer;       /* HOT_BUFFER_SIZE bytes, made at the first use */
    Metrics metrics;
    BulkReads bulk;         /* stream_read.c */
    /* The fields from here to `wait` are touched in each turn: few cache lines. */
    LoopClock clock;        /* read at the start of this turn, or a moment before */
    GilShare gil;           /* when the loop offers the GIL next */
    Overrides overrides;
    Watchdog watchdog;
    LoopFork fork;
    unsigned long thread_id; /* of the running thread, 0: not running */
    int64_t gave_back_ns;   /* when the memory of a burst was given back last */
    unsigned run_count;     /* runs that have not ended; above 0, new handles are untracked */
    bool closed;
    bool stopping;
    LoopWait wait;
};

#define HOT_BUFFER_SIZE (256 * 1024)

/* ---- state ----------------------------------------------------------------------------------- */

/* Raise RuntimeError if the loop is closed, as BaseEventLoop._check_closed() does. Return 0 or -1. */
int loop_check_closed(LoopObject *loop);
/* Raise RuntimeError in another thread than the one that runs the loop, as _check_thread() does. Return
   0 or -1. */
int loop_check_thread(LoopObject *loop);

static inline bool
loop_is_native(fastaio_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->LoopType);
}

/* Return true for a forked child's copy of a loop. Its poller is the parent's, which must not notice
   the copy. Running the copy gives it a poller of its own: watch_adopt(). */
static inline bool
loop_is_copy(const LoopObject *loop)
{
    return loop->fork.count != loop->st->fork_count;
}

/* Return the receive buffer that all connections of the loop share; NULL with MemoryError. Its content
   is valid until the next call into Python, which may receive into it. */
char *loop_hot_buffer(LoopObject *loop);

/* ---- scheduling ------------------------------------------------------------------------------ */

/* Queue fn(loop, obj): the native call_soon(). Return 0, or -1 with MemoryError. */
static inline int
loop_call_native(LoopObject *loop, ready_fn fn, PyObject *obj)
{
    return ready_push_native(&loop->ready, fn, obj);
}
/* Do loop.call_soon(callback, arg, context=context) without a handle for the caller. `context` NULL: a
   copy of the current one. Return 0, or -1 with an exception. */
int loop_call_soon_in(LoopObject *loop, PyObject *context, PyObject *callback, PyObject *arg);
/* Make the next turn poll. */
static inline void
loop_io_happened(LoopObject *loop)
{
    loop->wait.io_happened = true;
}

/* The methods call_soon, call_soon_threadsafe, call_later, call_at and time (call.c). */
extern PyMethodDef loop_call_methods[];

/* ---- output ---------------------------------------------------------------------------------- */

/* List a transport whose output is to be sent before the next poll; no effect if it is listed. If
   keeper_is_ready() is false, the output waits for as long as the callback blocks. */
void loop_flush_later(LoopObject *loop, FlushNode *node);
/* Take a transport off the list; harmless when it is not listed. */
void loop_flush_cancel(FlushNode *node);
/* Flush all listed transports, in order. Return 0, or -1 with what must leave the loop. */
int loop_flush_now(LoopObject *loop);
/* Flush the list up to and including `node`; the whole list if `node` is NULL or not listed. For output
   that is sent immediately and must not overtake queued output. Does nothing in another thread than the
   loop's. Return 0, or -1 with what must leave the loop. */
int loop_flush_through(LoopObject *loop, FlushNode *node);
/* Flush the whole list before output that bypasses it. Return 0, or -1 with what must leave the loop. */
static inline int
loop_flush_before(LoopObject *loop)
{
    return loop->output.first == NULL ? 0 : loop_flush_through(loop, NULL);
}

/* ---- reports (report.c) ---------------------------------------------------------------------- */

/* Hand the raised exception to loop.call_exception_handler({message, exception, ...}), with pairs
   of (const char *key, PyObject *value) up to a NULL key. Return 0; or -1 with KeyboardInterrupt or
   SystemExit, which are not reported, or with what the handler raised. */
int loop_report(LoopObject *loop, const char *message, ...);
/* Report the raised exception in asyncio's words as a failure of a handle's callback. Returns like
   loop_report(). */
int loop_report_handle(LoopObject *loop, HandleObject *handle);

/* ---- overrides (overrides.c) ----------------------------------------------------------------- */

/* Look at the methods of the loop's class and at the loop's own attributes. Return OVERRIDE_*. Never
   fails, and keeps the exception that is set. */
unsigned loop_refresh_overrides(LoopObject *loop);
/* The tp_setattro of Loop: notices replaced methods. */
int loop_setattro(PyObject *self, PyObject *name, PyObject *value);
/* Keep the original methods. The Loop type must have been made. Return 0, or -1 with an exception. */
int loop_overrides_init(fastaio_state *st);

/* Return OVERRIDE_*. A change of the clock alone goes unnoticed: see loop_time_overrides(). */
static inline unsigned
loop_overrides(LoopObject *loop)
{
    return loop->overrides.tag == compat_type_tag(Py_TYPE(loop)) ? loop->overrides.flags
                                                                 : loop_refresh_overrides(loop);
}

/* Return OVERRIDE_*, with a change of the clock noticed. */
static inline unsigned
loop_time_overrides(LoopObject *loop)
{
    return loop->overrides.clock == watched_clock_version(&loop->st->replaced.clock)
               ? loop_overrides(loop)
               : loop_refresh_overrides(loop);
}

#endif
