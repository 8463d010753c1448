/* done_callback.h: DoneCallback, a callback of native futures that is a function in C.
 *
 * It is kept, shown and removed like any other callback. The loop runs it without entering its context if no
 * code of a user can run in it.
 */
#ifndef FASTAIO_DONE_CALLBACK_H
#define FASTAIO_DONE_CALLBACK_H

#include "task/objects.h"

typedef struct DoneCallback DoneCallback;

typedef struct {
    const char *name; /* the qualified name of asyncio's callback, which reprs show */
    /* Do the callback for a future that is done. Return 1, or -1 with an exception. With `in_context` false the
       function may also do nothing and return 0: it is called again with the callback's context entered. */
    int (*call)(DoneCallback *callback, FutureCore *future, bool in_context);
    /* Called when the future gets done, a turn before `call`. Return true to take the callback's work over:
       then `call` is not called. Runs no code of a user. May be NULL. */
    bool (*absorb)(DoneCallback *callback, FutureCore *future);
} DoneCallbackSpec;

struct DoneCallback {
    PyObject_HEAD
    const DoneCallbackSpec *spec;
    PyObject *self;  /* the object that waits for the future */
    PyObject *extra; /* for the callback's own use; or NULL */
};

/* Return a new callback; NULL with an exception. `extra` may be NULL. */
DoneCallback *done_callback_new(fastaio_state *st, const DoneCallbackSpec *spec, PyObject *self,
                                PyObject *extra);

static inline bool
done_callback_check(fastaio_state *st, PyObject *callback)
{
    return Py_IS_TYPE(callback, st->DoneCallbackType);
}

/* Do a callback without its context. `future`: a native one. Returns like DoneCallbackSpec.call(). */
static inline int
done_callback_try(PyObject *callback, PyObject *future)
{
    DoneCallback *done = (DoneCallback *)callback;
    return done->self == NULL ? 1 : done->spec->call(done, &((FutureObject *)future)->core, false);
}

int done_callback_type_init(PyObject *module);

#endif
