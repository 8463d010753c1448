/* loop.h: the native Loop, one iteration on one page (loop.c), and what transports ask of it. */
#ifndef FASTAIO_LOOP_H
#define FASTAIO_LOOP_H

#include "base/args.h"
#include "loop/clock.h"
#include "loop/flush.h"
#include "loop/gil.h"
#include "loop/handle.h"
#include "loop/metrics.h"
#include "poll/poller.h"
#include "loop/ready.h"
#include "loop/spin.h"
#include "base/state.h"
#include "loop/timers.h"
#include "loop/watch.h"
#include <stdatomic.h>

/* What tests, subclasses and virtual clocks may have put in the place of a method of the loop. */
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

/* Reads of connections whose stream readers get much at a time, the longest waiting first. */
typedef struct {
    ReadyQueue queue;
    uint64_t turn;   /* metrics.iterations of the turn that `size` belongs to */
    Py_ssize_t size; /* bytes that such reads have brought in that turn */
    bool scheduled;  /* an entry that serves the queue is in the ready queue */
} BulkReads;

struct LoopObject {
    PyObject_HEAD
    fastaio_state *st;
    ReadyQueue ready;
    Timers timers;
    Poller *poller;
    FdTable *fds;
    FlushList output;         /* transports with queued output, the oldest first */
    PyObject *current_task;   /* what asyncio believes to be current; borrowed, NULL: none */
    PyObject *task_factory;   /* or NULL */
    char *hot_buffer;         /* HOT_BUFFER_SIZE bytes, made at the first use */
    Metrics metrics;
    BulkReads bulk;           /* reads that wait for their turn (stream_read.c) */
    LoopClock clock;          /* read at the start of this turn, or a moment before */
    GilShare gil;             /* when other threads are let in next */
    int64_t gave_back_ns;     /* when the memory of a burst was given back last */
    int64_t poll_due_ns;      /* until then ready work alone is no reason to poll */
    int64_t slow_callback_ns;
    unsigned keeps_handles;   /* runs that have not ended: new handles are as handle_track() says */
    unsigned timer_crowd;     /* timers fired lately: half as many count each turn */
    unsigned long thread_id;  /* of the running thread, 0: not running */
    unsigned forks;           /* st->forks where the poller is this process's own */
    unsigned overrides;       /* OVERRIDE_*, as of the last look: ask loop_overrides() */
    unsigned seen_tag;        /* the version of the loop's class at that look */
    uint64_t seen_clock;      /* watched_clock_version() at that look */
    bool debug;
    bool closed;
    bool stopping;
    bool io_happened;         /* something since the last poll that makes another one due */
    bool answering;           /* the last poll found events: what they woke up goes first */
    bool timed;               /* measure each callback (debug mode or asked for) */
    bool warn_slow;
    atomic_bool blocked;      /* the loop is in a wait, and nobody has woken it yet */
    Spin spin;                /* what is learnt of spinning before a wait blocks */
    LoopObject *next_forked; /* in st->forked_loops: whose poller wants to hear of a fork */
    LoopObject **forked_link;
};

#define HOT_BUFFER_SIZE (256 * 1024)

/* Whether this is a forked child's copy of a loop: the poller is shared with the parent, which must
   not notice. It is until the child runs it: see watch_adopt(). */
static inline bool
loop_is_copy(const LoopObject *loop)
{
    return loop->forks != loop->st->forks;
}
/* The loop's 256 KiB receive buffer, shared by all its connections: only between two calls into
   Python. NULL with MemoryError. */
char *loop_hot_buffer(LoopObject *loop);
/* Lists a transport for flushing before the next poll (once; again is harmless), or takes it off.
   Where flush_may_wait() is false nobody sends for it if the callback blocks. (flush.c) */
void loop_flush_later(LoopObject *loop, FlushNode *node);
void loop_flush_cancel(FlushNode *node);
/* Flushes what is listed, in order. 0, or -1 with what must leave the loop. */
int loop_flush_now(LoopObject *loop);
/* The same up to a node that is listed, or else (NULL, too) all: for what sends at once and must not
   overtake. Does nothing in another thread than the loop's. */
int loop_flush_through(LoopObject *loop, FlushNode *node);
/* For output that goes other ways than by a listed transport: what was written before is sent. */
static inline int
loop_flush_before(LoopObject *loop)
{
    return loop->output.first == NULL ? 0 : loop_flush_through(loop, NULL);
}
/* Makes the next turn poll, however soon it is. */
static inline void
loop_io_happened(LoopObject *loop)
{
    loop->io_happened = true;
}
/* Queues fn(loop, obj): the native call_soon. */
static inline int
loop_call_native(LoopObject *loop, ready_fn fn, PyObject *obj)
{
    return ready_push_native(&loop->ready, fn, obj);
}
/* loop.call_soon(callback, *args, context=context), a copy of the current one where that is NULL;
   drops the handle. -1 on error. */
int loop_call_soon_in(LoopObject *loop, PyObject *context, PyObject *callback,
                      PyObject *const *args, Py_ssize_t count);
/* Hands the raised exception to loop.call_exception_handler({message, exception, ...}), with pairs
   of (const char *key, PyObject *value) up to a NULL key. KeyboardInterrupt and SystemExit are left
   raised: -1; else 0. */
int loop_report(LoopObject *loop, const char *message, ...);
/* Report the raised exception in asyncio's words as a failure of a handle's callback (report.c). */
int loop_report_handle(LoopObject *loop, HandleObject *handle);
/* As BaseEventLoop._check_closed and _check_thread: -1 with RuntimeError. */
int loop_check_closed(LoopObject *loop);
int loop_check_thread(LoopObject *loop);
/* Look at what has been replaced, in the loop's class or on the loop itself. Never fails, and keeps the
   exception that is set (overrides.c). */
unsigned loop_refresh_overrides(LoopObject *loop);
int loop_setattro(PyObject *self, PyObject *name, PyObject *value);
int loop_overrides_init(fastaio_state *st);

/* Return OVERRIDE_*, without OVERRIDE_CLOCK and OVERRIDE_TIME where only the clock has changed. */
static inline unsigned
loop_overrides(LoopObject *loop)
{
    return loop->seen_tag == compat_type_tag(Py_TYPE(loop)) ? loop->overrides
                                                            : loop_refresh_overrides(loop);
}

/* Return OVERRIDE_* for whoever needs the time. */
static inline unsigned
loop_time_overrides(LoopObject *loop)
{
    return loop->seen_clock == watched_clock_version(&loop->st->replaced.clock)
               ? loop_overrides(loop)
               : loop_refresh_overrides(loop);
}

static inline bool
loop_is_native(fastaio_state *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->LoopType);
}

/* call_soon, call_soon_threadsafe, call_later, call_at, time (call.c). */
extern PyMethodDef loop_call_methods[];

#endif
