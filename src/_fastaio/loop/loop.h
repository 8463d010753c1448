/* loop.h: the struct of a loop: its state, scheduling, output, reports, replaced methods. */
#ifndef FASTAIO_LOOP_H
#define FASTAIO_LOOP_H

#include "base/args.h"
#include "base/guard.h"
#include "base/mutex.h"
#include "base/state.h"
#include "loop/clock.h"
#include "loop/gil.h"
#include "loop/handle_object.h"
#include "loop/inbox.h"
#include "loop/keeper.h"
#include "loop/metrics.h"
#include "loop/ready.h"
#include "loop/recorder.h"
#include "loop/spin.h"
#include "loop/timers.h"
#include "poll/poller.h"

typedef struct FdTable FdTable; /* watch.h */
typedef struct Account Account; /* account.h */

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
    OVERRIDE_CALL_LATER = 1 << 8,
    OVERRIDE_CREATE_FUTURE = 1 << 9,
    OVERRIDE_CREATE_TASK = 1 << 10,
    OVERRIDE_CALL_SOON_THREADSAFE = 1 << 11,
    OVERRIDE_ALL = (1 << 12) - 1,
};

/* The result of the last look at the loop's methods: ask loop_overrides(). */
typedef struct {
    uint64_t clock; /* watched_clock_version() at that look */
    Look look;      /* OVERRIDE_*, found in the loop's class */
#ifdef Py_GIL_DISABLED
    unsigned changes; /* of the loop's own attributes, to notice those that another thread makes during a look */
#endif
} Overrides;

/* Queued reads of connections whose stream readers get much at a time, the longest waiting first. */
typedef struct {
    ReadyQueue queue;
    uint64_t turn;   /* metrics.iterations of the turn that `size` belongs to */
    Py_ssize_t size; /* bytes that such reads have received in that turn */
    bool scheduled;  /* an entry that serves the queue is in the ready queue */
} BulkReads;

/* A long batch reads the clock once in this many entries: a part of the batch. A power of two. */
#define LONG_PART 32

/* Timing of callbacks, in debug mode or on demand. */
typedef struct {
    /* Any thread may set these, and what loop_update_watchdog() derives from them: relaxed_load(). */
    int64_t slow_ns; /* callbacks that take longer are logged */
    bool debug;
    bool warn_slow;
    bool accounted;  /* accounts are kept */
    bool timed;      /* debug or warn_slow */
    bool observed;   /* timed or accounted */
    unsigned char part_mask; /* LONG_PART - 1, or 0: the clock is read after each callback */
    unsigned short light_count; /* light callbacks that have been measured in a row */
    int64_t part_ns;         /* when this part of the batch began */
    atomic_bool stalled; /* the recorder has found that the callback at work blocks the loop */
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
    atomic_uint wakers;   /* threads between loop_claim_wake() and the end of loop_wake_claimed() */
    Spin spin;            /* measurements that decide how long a wait spins before it blocks */
} LoopWait;

#ifdef Py_GIL_DISABLED
/* Numbers for tasks without a name, which the loop has taken from the counter of all loops at once: the counter is
   one word, and each change of it costs the other processors a cache miss. */
typedef struct {
    uint64_t next;
    unsigned left; /* numbers that are not used yet */
    unsigned size; /* of the block */
} TaskNumbers;
#endif

struct LoopObject {
    PyObject_HEAD
    Claim claim;            /* first: see ClaimedObject */
    fastaio_state *st;
    ReadyQueue ready;
#ifdef Py_GIL_DISABLED
    Inbox inbox;            /* what other threads than the claim's queue */
#endif
    Timers timers;
    Poller *poller;         /* NULL once closed; for other threads: loop_borrow_poller() */
    FdTable *fds;
    FlushList output;       /* transports with queued output, the oldest first */
    PyObject *current_task; /* the current task for asyncio; borrowed, NULL: none */
    PyObject **current_field; /* 3.14: the word where asyncio keeps it, during a run; NULL: not known */
    PyObject *task_factory; /* or NULL */
    PyObject *blank_context; /* without variables: for callbacks in C; NULL: not made yet */
    char *hot_buffer;       /* HOT_BUFFER_SIZE bytes, made at the first use */
    char *batch_buffer;     /* BATCH_SLOTS slots for datagrams, made at the first use */
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
    unsigned claim_count;   /* calls of _claim() that have not been undone */
    unsigned run_count;     /* runs that have not ended; above 0, new handles are untracked */
    bool closed;
    bool stopping;
    LoopWait wait;
    StallWatch stall;       /* recorder.h */
    PyObject *kept_tasks;   /* a set: the pending tasks, which the loop keeps alive; NULL: it keeps none */
    Account *account;       /* NULL: no accounts have been kept */
    const char *backend;    /* the poller's name; NULL once closed */
    Mutex account_lock;     /* of its rows */
#ifdef Py_GIL_DISABLED
    TaskNumbers numbers;
#endif
};

#define HOT_BUFFER_SIZE (256 * 1024)

/* A slot takes any UDP datagram. The odd part of the stride spreads the starts of the slots over the sets of
   the CPU's caches. */
#define BATCH_SLOTS 32
#define BATCH_SLOT_SIZE 65536
#define BATCH_STRIDE (BATCH_SLOT_SIZE + 1088)

/* ---- state ----------------------------------------------------------------------------------- */

/* Raise RuntimeError if the loop is closed, as BaseEventLoop._check_closed() does. Return 0 or -1. */
int loop_check_closed(LoopObject *loop);
/* Raise RuntimeError in another thread than the one that runs the loop, as _check_thread() does. Return
   0 or -1. */
int loop_check_thread(LoopObject *loop);

/* Do loop_is_native() by the bases of the type, and remember a type that is ours. */
bool loop_type_is_native(fastaio_state *st, PyTypeObject *type);

static inline bool
loop_is_native(fastaio_state *st, PyObject *obj)
{
    return Py_TYPE(obj) == st->known_loop || loop_type_is_native(st, Py_TYPE(obj));
}

/* Return true for a forked child's copy of a loop. Its poller is the parent's, which must not notice
   the copy. Running the copy gives it a poller of its own: watch_adopt(). */
static inline bool
loop_is_copy(const LoopObject *loop)
{
    return relaxed_load(&loop->fork.count) != loop->st->fork_count;
}

/* Derive what follows from a flag that this thread has set. */
static inline void
loop_update_watchdog(LoopObject *loop)
{
    Watchdog *watchdog = &loop->watchdog;
    Py_BEGIN_CRITICAL_SECTION(loop);
    bool timed = relaxed_load(&watchdog->debug) || relaxed_load(&watchdog->warn_slow);
    relaxed_store(&watchdog->timed, timed);
    relaxed_store(&watchdog->observed, timed || relaxed_load(&watchdog->accounted));
    Py_END_CRITICAL_SECTION();
}

/* Return the receive buffer that all connections of the loop share; NULL with MemoryError. Its content
   is valid until the next call into Python, which may receive into it. */
char *loop_hot_buffer(LoopObject *loop);

/* Return the buffer into which one recvmmsg() receives many datagrams, slot i at i * BATCH_STRIDE; NULL
   without an exception if there is no memory. The rules are those of loop_hot_buffer(). Pages that no
   datagram reaches take no memory. */
char *loop_batch_buffer(LoopObject *loop);
void loop_free_buffers(LoopObject *loop);

/* ---- scheduling ------------------------------------------------------------------------------ */

#ifdef Py_GIL_DISABLED
/* Do loop_push() in a thread that has not claimed the loop, and wake the loop. */
int loop_push_foreign(LoopObject *loop, const ReadyEntry *entry);
#endif

/* Move what other threads have queued into the ready queue. Return 0, or -1 with MemoryError. */
static inline int
loop_collect_inbox(LoopObject *loop)
{
#ifdef Py_GIL_DISABLED
    return inbox_is_empty(&loop->inbox) ? 0 : inbox_collect(&loop->inbox, &loop->ready);
#else
    (void)loop;
    return 0;
#endif
}

/* Return true if another thread has queued something that the ready queue does not have yet. */
static inline bool
loop_has_mail(LoopObject *loop)
{
#ifdef Py_GIL_DISABLED
    return !inbox_is_empty(&loop->inbox);
#else
    (void)loop;
    return false;
#endif
}

/* Return the number of entries that are queued. May be called in any thread. */
static inline size_t
loop_queued_count(LoopObject *loop)
{
#ifdef Py_GIL_DISABLED
    return ready_len_elsewhere(&loop->ready) + atomic_load(&loop->inbox.size);
#else
    return ready_len(&loop->ready);
#endif
}

/* Queue an entry, for which new references are made. Return 0, or -1 with MemoryError. */
static inline int
loop_push(LoopObject *loop, ReadyEntry entry)
{
#ifdef Py_GIL_DISABLED
    if (!claim_is_mine(&loop->claim)) {
        return loop_push_foreign(loop, &entry);
    }
    if (loop_collect_inbox(loop) < 0) {
        return -1;
    }
#endif
    ReadyEntry *place = ready_push(&loop->ready);
    if (place == NULL) {
        return -1;
    }
    ready_entry_take(&entry);
    *place = entry;
    return 0;
}

/* Queue fn(loop, obj): the native call_soon(). Return 0, or -1 with MemoryError. */
static inline int
loop_call_native(LoopObject *loop, ready_fn fn, PyObject *obj)
{
    return loop_push(loop, (ReadyEntry){.kind = READY_NATIVE, .obj = obj, .fn = fn});
}
/* Do loop.call_soon(callback, arg, context=context) without a handle for the caller. `context` NULL: a
   copy of the current one. Return 0, or -1 with an exception. */
int loop_call_soon_in(LoopObject *loop, PyObject *context, PyObject *callback, PyObject *arg);
/* Do loop.call_later(delay, callback, *args) or loop.call_at(when, callback, *args) of any native loop,
   a replaced method included. `callback` must not depend on context variables: it may run without any.
   Return the TimerHandle; NULL with an exception. */
PyObject *loop_call_later(LoopObject *loop, PyObject *delay, PyObject *callback,
                          PyObject *const *args, Py_ssize_t count);
PyObject *loop_call_at(LoopObject *loop, PyObject *when, PyObject *callback,
                       PyObject *const *args, Py_ssize_t count);
/* Wake the loop if it waits, after something has been queued by another thread. Return 0, or -1 with an exception
   of a replaced _write_to_self(). */
int loop_wake(LoopObject *loop);
/* Take on the duty to wake the loop. Return true if it waits: then this thread has to call
   loop_wake_claimed(), with no call into Python in between. Until then the loop is not closed. */
bool loop_claim_wake(LoopObject *loop);
/* Wake the loop; with or without the GIL. The loop may be gone afterwards. */
void loop_wake_claimed(LoopObject *loop);
/* Wait for threads that are about to wake the loop. Called before the poller is closed. */
void loop_await_wakers(LoopObject *loop);
/* Return the poller for a thread that has not claimed the loop; NULL for a closed loop, or a copy of a forked child.
   The poller stays open until loop_return_poller(), which comes soon, with no call into Python before. */
Poller *loop_borrow_poller(LoopObject *loop);
void loop_return_poller(LoopObject *loop, Poller *poller);
/* Set loop->poller to NULL and return it, for the caller to close. No other thread uses it any more. */
Poller *loop_take_poller(LoopObject *loop);
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
/* The same for a thread that may not have the claim, before it sends a signal to a child. While another thread has the
   claim, that one sends the output soon. */
int loop_flush_in_any_thread(LoopObject *loop);
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
    Look look = look_load(&loop->overrides.look);
    return look.tag == compat_type_tag(Py_TYPE(loop)) ? look.found : loop_refresh_overrides(loop);
}

/* Return OVERRIDE_*, with a change of the clock noticed. */
static inline unsigned
loop_time_overrides(LoopObject *loop)
{
    return shared_load(&loop->overrides.clock) == watched_clock_version(&loop->st->replaced.clock)
               ? loop_overrides(loop)
               : loop_refresh_overrides(loop);
}

#endif
