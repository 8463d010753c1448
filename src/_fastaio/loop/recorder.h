/* recorder.h: noticing a callback that blocks its loop, while it blocks.
 *
 * A native thread looks at each watched loop several times per threshold. The loop keeps no heartbeat of its
 * own: the head of its ready queue moves with every entry. If the head has not moved for the threshold and
 * the loop does not wait for events, the callback at work is a stall.
 *
 * A stall is told to a thread of Python, the reporter, which takes the stack. If that thread does not get the
 * GIL soon, the native thread signals the loop's thread instead, and faulthandler's handler of that signal
 * writes the stack to a file. When the callback returns, the loop's thread adds the end of the stall.
 *
 * One recorder per module state. Threads:
 * 1. recorder->lock guards the recorder's list and every StallWatch in it. No code of Python runs under it.
 * 2. A watch is listed while its loop runs. The native thread looks at listed ones only.
 * 3. The native thread never takes the GIL, and does not hold the lock while it waits for a stack.
 */
#ifndef FASTAIO_RECORDER_H
#define FASTAIO_RECORDER_H

#include "base/compat.h"
#include "base/thread.h"
#include "loop/clock.h"

typedef struct Recorder Recorder;

typedef enum {
    STALL_NONE,
    STALL_FOUND,  /* the reporter is to take the stack */
    STALL_TAKEN,  /* it has */
    STALL_DUMPED, /* the native thread has had the stack written */
} StallState;

/* What the recorder knows of a loop. The loop's thread writes the words that the first pointers point to. */
typedef struct StallWatch {
    PyObject *loop;        /* borrowed: a listed loop runs */
    const size_t *head;    /* of the ready queue */
    atomic_bool *waits;    /* true while the loop waits for events */
    const int64_t *turn_ns; /* a time shortly before this turn */
    atomic_bool *stalled;  /* set by the recorder, cleared by the end of the stall */
    Recorder *recorder;    /* borrowed: the module state's */
    int64_t threshold_ns;  /* 0: the loop is not watched */
    struct StallWatch *next;
    struct StallWatch **link; /* NULL: not listed */
    int tid;                  /* the kernel's number of the loop's thread */
    size_t seen_head;         /* at the last look */
    int64_t looked_ns;        /* the time of the last look */
    int64_t since_ns;         /* the first look with this head */
    int64_t begin_ns;         /* an estimate of when the callback began */
    StallState state;
    uint64_t number;          /* of the stall, from 1 on */
    int64_t found_ns;
    bool described;           /* the reporter knows what runs */
    char *stack;              /* faulthandler's text; from malloc(); or NULL */
} StallWatch;

/* Make the module state's recorder, without threads, and its functions. Return 0, or -1 with an
   exception. */
int recorder_init(PyObject *module);
/* Stop the native thread and free the recorder. NULL is harmless. */
void recorder_free(Recorder *recorder);
/* A forked child has only the thread that forked, and runs none of the parent's loops. */
void recorder_after_fork_in_child(Recorder *recorder);

/* List a watch whose loop runs in this thread from now on, if it has a threshold; take it off the list. Both
   are harmless when repeated. */
void recorder_begin(StallWatch *watch);
void recorder_end(StallWatch *watch);
/* Set the threshold; 0: do not watch. May be called while the loop runs, in any thread. */
void recorder_set_threshold(StallWatch *watch, int64_t threshold_ns);

/* Wake the native thread, which sleeps while every listed loop waits. */
void recorder_wake(Recorder *recorder);
bool recorder_sleeps(const Recorder *recorder);
/* Wake it if it sleeps: a wait of the loop has ended. */
static inline void
recorder_call(StallWatch *watch)
{
    if (__atomic_load_n(&watch->link, __ATOMIC_RELAXED) != NULL && recorder_sleeps(watch->recorder)) {
        recorder_wake(watch->recorder);
    }
}

/* A stall that is over. */
typedef struct {
    uint64_t number;
    int64_t spent_ns;
    StallState state; /* how far its report had come */
    char *stack;      /* faulthandler's text; from malloc(); or NULL */
} StallEnd;

/* Move the stall that *watch->stalled tells of out of the watch. Called by the loop's thread when the
   callback has returned. recorder_tell_end() must follow. */
StallEnd recorder_take_end(StallWatch *watch);
/* Hand the end of a stall to the reporter. `subject` is a str that says what ran, or NULL. Takes over
   end->stack. */
void recorder_tell_end(StallWatch *watch, StallEnd *end, PyObject *subject);

#endif
