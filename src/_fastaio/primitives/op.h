/* op.h: Op, the coroutine of a primitive's method or function: a state machine in C.
 *
 * An Op starts with its first step. Its function does what it can, and then either is done, fails, or awaits
 * something by op_await() and returns WAIT. Behind each wait `resume` gets the outcome: a value, or NULL with
 * the raised exception, which also comes from throw() and close(). It returns like `start`. So `resume` is
 * where asyncio's code has `finally:` and `except:`.
 *
 * Without a GIL only one thread at a time is in a step of an Op (Coro.running). The functions of a method run within the
 * critical section of the object of the method.
 */
#ifndef FASTAIO_OP_H
#define FASTAIO_OP_H

#include "primitives/bound.h"
#include "task/coro.h"

typedef struct Op Op;

typedef struct {
    CoroKind coro; /* OP_KIND(...) */
    const char *name;
    /* Do the first part. DONE: *result is a new reference. FAILED: an exception is raised. */
    Outcome (*start)(Op *op, PyObject **result);
    /* Go on behind a wait. `value`: a new reference, which the function takes over; NULL: an exception is
       raised. NULL for an Op that never waits. */
    Outcome (*resume)(Op *op, PyObject *value, PyObject **result);
    bool shared; /* callbacks use the Op, too: without a GIL all that use its fields enter its critical section */
} OpSpec;

struct Op {
    Coro coro;
    fastaio_state *st;
    PyObject *self;    /* the object of the method; or what a function is about; or NULL */
    PyObject *awaited; /* the native future that was yielded, or the iterator of an awaitable; or NULL */
    PyObject *waiter;  /* this and the next two: for the Op's own use, dropped at the end; or NULL */
    PyObject *extra;
    PyObject *saved;
    double number;
    uint32_t count;
    uint8_t stage;
    bool awaits_native; /* `awaited` is a native future */
};

const char *op_name(const Coro *coro);
void op_finish(Coro *coro);
Pool *op_pool(fastaio_state *st);
PyObject *op_inner(const Coro *coro);
PySendResult op_inner_sent(Coro *coro, PySendResult sent, PyObject **result);
PySendResult op_thrown(Coro *coro, PyObject **result);

/* The CoroKind of an Op; `owner_`: the class in front of the dot, or NULL for a function. */
#define OP_KIND(owner_)                                                                            \
    {.owner = (owner_), .name = op_name, .finish = op_finish, .pool = op_pool,                     \
     .inner = op_inner, .inner_sent = op_inner_sent, .thrown = op_thrown}

/* Return a new coroutine, which has not started; NULL with an exception. `self` may be NULL. */
Op *op_new(fastaio_state *st, const OpSpec *spec, PyObject *self);

/* Await an object, as `await` does, and return WAIT; FAILED with an exception if it cannot be awaited. */
Outcome op_await(Op *op, PyObject *awaitable);
/* Yield once, as a bare `yield` does: go on in the next turn of the loop. Return WAIT. */
static inline Outcome
op_yield(Op *op)
{
    (void)op;
    return WAIT;
}

/* The time of a `finally:` or `except:` block behind a wait: the exception that passes through it; or NULL if the
   wait has a value. */
typedef struct {
    PyObject *exc;
    PyObject *outer; /* what was handled before */
} Cleanup;

/* Begin such a block. `value`: what `resume` got; the reference is taken over. */
Cleanup cleanup_begin(PyObject *value);
/* End the block. `result`: -1 if it has raised an exception of its own, which takes the place of the one that
   passes through; else 0. Return 0 if no exception passes through, or -1 with an exception. */
int cleanup_end(Cleanup *cleanup, int result);
/* Return true if an exception of the type passes through. */
static inline bool
cleanup_has(const Cleanup *cleanup, PyObject *type)
{
    return cleanup->exc != NULL && PyErr_GivenExceptionMatches(cleanup->exc, type);
}

/* Return the Op of a coroutine_fn that takes no arguments; NULL with TypeError if there are some. */
PyObject *op_without_arguments(fastaio_state *st, const OpSpec *spec, PyObject *self,
                               Py_ssize_t count, PyObject *keywords);

int op_type_init(PyObject *module);

#endif
