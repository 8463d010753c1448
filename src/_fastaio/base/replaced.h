/* replaced.h: which of asyncio's names others have replaced.
 *
 * Tracers, mocks and test tools put functions of their own in the place of asyncio's. Where asyncio
 * goes through such a name, fastaio does too as soon as the name means something else than it did
 * when the module was loaded. While nothing has changed, each question costs a comparison: of the
 * version of a type, or of the version of the dicts that the clock is looked up in.
 */
#ifndef FASTAIO_REPLACED_H
#define FASTAIO_REPLACED_H

#include "base/compat.h"

/* An attribute of one of asyncio's classes. */
typedef struct {
    PyTypeObject *type; /* owned */
    PyObject *name;     /* owned */
    PyObject *original; /* owned: what it was when the module was loaded */
    unsigned tag;       /* the version of the class at the last look */
    bool replaced;
} WatchedName;

/* What the loop's clock is in asyncio: the name `time` in base_events, and its `monotonic`. */
typedef struct {
    PyObject *time_dict;  /* owned: of the module time */
    PyObject *base_dict;  /* owned: of asyncio.base_events */
    PyObject *module;     /* owned: the module time */
    PyObject *original;   /* owned: time.monotonic */
    PyObject *capsule;    /* owned: what `changes` points to (3.12 and newer) */
    const uint64_t *changes; /* counts the changes of both dicts (3.12 and newer) */
    int watcher;          /* of both dicts; -1: none, so the version tells nothing */
} WatchedClock;

typedef struct {
    WatchedName timer_run;   /* TimerHandle._run, and so Handle._run */
    WatchedName guarded_run; /* _ThreadSafeHandle._run, where there is one */
    WatchedName extra_info;  /* get_extra_info() of BaseTransport and the classes below it */
    WatchedClock clock;
} Replaced;

/* Look at the class; the exception that may be set stays. */
bool watched_name_look(WatchedName *watched);

static inline bool
watched_name_is_replaced(WatchedName *watched)
{
    return watched->tag == compat_type_tag(watched->type) ? watched->replaced
                                                          : watched_name_look(watched);
}

/* Whether a tracer sees the handles that run. */
static inline bool
handle_run_is_replaced(Replaced *replaced)
{
    return watched_name_is_replaced(&replaced->timer_run)
           || watched_name_is_replaced(&replaced->guarded_run);
}

/* A number that is another one after each change to the names that lead to the clock. */
static inline uint64_t
watched_clock_version(const WatchedClock *clock)
{
#if PY_VERSION_HEX >= 0x030C0000
    return *clock->changes;
#else
    return compat_dict_version(clock->time_dict) + compat_dict_version(clock->base_dict);
#endif
}

/* Whether asyncio's clock is another one than time.monotonic(); keeps the exception that is set. */
bool watched_clock_is_replaced(const WatchedClock *clock);

/* Return what `instance.name` is for a class that instance only pretends to be an instance of. */
PyObject *bind_attribute(PyObject *type, PyObject *name, PyObject *instance);

int replaced_init(PyObject *module);
int replaced_traverse(Replaced *replaced, visitproc visit, void *arg);
void replaced_clear(Replaced *replaced);

#endif
