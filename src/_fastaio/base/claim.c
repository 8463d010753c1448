/* claim.c: the error of a call from a thread that may not use the loop. */
#include "base/claim.h"

#ifdef Py_GIL_DISABLED

#include <time.h>

/* Return the name of a thread as a new reference to a str; NULL with an exception. */
static PyObject *
thread_name(PyObject *threads, unsigned long ident)
{
    PyObject *key = PyLong_FromUnsignedLong(ident);
    PyObject *thread = key ? PyObject_GetItem(threads, key) : NULL;
    PyObject *name = thread ? PyObject_GetAttrString(thread, "name") : NULL;
    Py_XDECREF(thread);
    if (name == NULL && key != NULL) { /* no thread of Python's, or ended meanwhile */
        PyErr_Clear();
        name = PyUnicode_FromFormat("%S", key);
    }
    Py_XDECREF(key);
    return name;
}

/* asyncio's debug mode has the first sentence. */
void
claim_refuse(Claim *claim)
{
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *threads = threading ? PyObject_GetAttrString(threading, "_active") : NULL;
    PyObject *owner = NULL, *caller = NULL;
    if (threads != NULL) {
        owner = thread_name(threads, atomic_load(&claim->owner));
        caller = owner ? thread_name(threads, PyThread_get_thread_ident()) : NULL;
    }
    if (caller != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "Non-thread-safe operation invoked on an event loop other than the current one: "
                     "the loop is used by thread %R, the caller is thread %R", owner, caller);
    }
    Py_XDECREF(owner);
    Py_XDECREF(caller);
    Py_XDECREF(threads);
    Py_XDECREF(threading);
}

/* Whoever has the claim of a loop that does not run is about to leave: it has ended the run, is in one call of a
   method, or is a guest that runs finalizers. After this time it is an error like any other. */
#define SHORT_CLAIM_MAX_NS INT64_C(1000000000)
#define LOOK_NS 20000
/* A guest may come between a look at the count and the next try. */
#define TRIES 20

/* Return true if the owner keeps the claim for as long as a run takes. */
static bool
claim_is_long(Claim *claim)
{
    return atomic_load(&claim->guests) == 0 && atomic_load(&claim->runs);
}

int
claim_when_free(Claim *claim)
{
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    int64_t waited_ns = 0;
    bool claimed = false;
    atomic_fetch_add(&claim->waiters, 1);
    for (int tries = 0; !claimed && tries < TRIES && waited_ns < SHORT_CLAIM_MAX_NS;) {
        tries += claim_is_long(claim);
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
        waited_ns += LOOK_NS;
        claimed = claim_try(claim);
    }
    atomic_fetch_sub(&claim->waiters, 1);
    if (!claimed) {
        claim_refuse(claim);
    }
    return claimed ? 0 : -1;
}

#endif
