/* primitives.h: asyncio's high-level API in C: what the room keeps in the module's state.
 *
 * Each class is a heap type that derives from asyncio's class of the same name. asyncio's instance attributes
 * (`_waiters`, `_locked`, ...) are fields in C, shown as slots of the same name and meaning. So the methods that
 * are asyncio's own Python code work on the same state as the native ones. Native are the methods that
 * programs call often.
 *
 * The files in order: primitives (the state) < function (coroutine functions) < bound (the classes) < op (the
 * coroutines), waiter (the futures that wait), running (the running loop), counter (fields that count) < line
 * (waiting in line), children (the futures that functions wait for) < one file for each class and function.
 */
#ifndef FASTAIO_PRIMITIVES_H
#define FASTAIO_PRIMITIVES_H

#include "base/asyncio_versions.h"
#include "base/state.h"

/* A native class, and whether it still has its own methods. */
typedef struct {
    PyTypeObject *type;
    PyObject *base;      /* asyncio's class */
    PyObject *originals; /* a dict: what the class's attributes were at first, by name */
    uint64_t look;       /* the last look: twice the version of the type then, plus 1 if all attributes were the
                            originals */
} PrimitiveClass;

/* The classes: X(name, asyncio's module). */
#define PRIMITIVE_CLASSES(X)                                                                       \
    X(Lock, "asyncio.locks")                                                                       \
    X(Event, "asyncio.locks")                                                                      \
    X(Semaphore, "asyncio.locks")                                                                  \
    X(BoundedSemaphore, "asyncio.locks")                                                           \
    X(Condition, "asyncio.locks")                                                                  \
    X(Barrier, "asyncio.locks")                                                                    \
    X(Queue, "asyncio.queues")                                                                     \
    X(PriorityQueue, "asyncio.queues")                                                             \
    X(LifoQueue, "asyncio.queues")                                                                 \
    X(TaskGroup, "asyncio.taskgroups")

/* Python objects that the classes need: X(name, module). */
#define PRIMITIVE_IMPORTS(X)                                                                       \
    X(BrokenBarrierError, "asyncio.exceptions")                                                    \
    X(_BarrierState, "asyncio.locks")                                                              \
    X(QueueEmpty, "asyncio.queues")                                                                \
    X(QueueFull, "asyncio.queues")                                                                 \
    PRIMITIVE_IMPORTS_OF_SHUTDOWN(X)                                                               \
    X(heappush, "heapq")                                                                           \
    X(heappop, "heapq")

#if QUEUE_HAS_SHUTDOWN
#define PRIMITIVE_IMPORTS_OF_SHUTDOWN(X) X(QueueShutDown, "asyncio.queues")
#else
#define PRIMITIVE_IMPORTS_OF_SHUTDOWN(X)
#endif

/* The members of asyncio's _BarrierState. */
#define BARRIER_STATES(X) X(FILLING) X(DRAINING) X(RESETTING) X(BROKEN)

/* The functions of asyncio.tasks that do what the native ones of the same name leave to them: X(name). */
#define PRIMITIVE_FUNCTIONS(X) X(gather) X(shield) X(wait) X(_release_waiter) X(as_completed)

struct Primitives {
    PyTypeObject *FunctionType; /* function.c */
    PyTypeObject *OpType;       /* op.c */
    PyTypeObject *AsCompletedType;
    PyTypeObject *TimeoutType;  /* timeout.c */
    PyTypeObject *ImmediateType; /* immediate.c */
    PyObject *spare_immediate;   /* for the next call, if nobody else has it; or NULL */
    Pool op_pool;
    Pool timeout_pool;
#define X(name, module) PyObject *name;
    PRIMITIVE_IMPORTS(X)
#undef X
#define X(name) PyObject *name;
    BARRIER_STATES(X)
#undef X
    bool knows_shield; /* shield.c */
    bool knows_group_fields; /* this and the next two: taskgroup.c */
    bool group_drops_references;
    bool group_uncancels_first;
    bool as_completed_counts_again;
#define X(name, module) PrimitiveClass name;
    PRIMITIVE_CLASSES(X)
#undef X
#define X(name) PyObject *asyncio_##name;
    PRIMITIVE_FUNCTIONS(X)
#undef X
};

/* Make the room's part of the module's state. Return 0, or -1 with an exception. */
int primitives_init(PyObject *module);
int primitives_traverse(fastaio_state *st, visitproc visit, void *arg);
void primitives_clear(fastaio_state *st);

#endif
