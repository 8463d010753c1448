/* replaced.h: noticing that names of asyncio have been replaced.
 *
 * Tracers, mocks and test tools replace functions of asyncio. Native code that stands in for such a
 * function calls the replacement instead. While nothing has changed, each question costs one
 * comparison: of the version of a class, or of the dicts that the clock is looked up in.
 */
#ifndef FASTAIO_REPLACED_H
#define FASTAIO_REPLACED_H

#include "base/compat.h"

/* An attribute of one of asyncio's classes. */
typedef struct {
    PyTypeObject *type; /* owned */
    PyObject *name;     /* owned */
    PyObject *original; /* owned: its value when the module was loaded */
    unsigned tag;       /* the version of the class at the last look */
    bool replaced;      /* the result of the last look */
} WatchedName;

/* The clock of asyncio's loops: the name `time` in base_events, and the name `monotonic` in that module. */
typedef struct {
    PyObject *time_dict;     /* owned: of the module time */
    PyObject *base_dict;     /* owned: of asyncio.base_events */
    PyObject *module;        /* owned: the module time */
    PyObject *original;      /* owned: time.monotonic when the module was loaded */
    PyObject *capsule;       /* owned: the memory that `changes` points to (3.12 and newer) */
    const uint64_t *changes; /* the count of changes of both dicts (3.12 and newer) */
    int watcher;             /* of both dicts; -1: none, so nothing counts the changes */
} WatchedClock;

typedef struct {
    WatchedName timer_run;   /* TimerHandle._run, and so Handle._run */
    WatchedName guarded_run; /* _ThreadSafeHandle._run; Handle._run on versions without that class */
    WatchedName extra_info;  /* get_extra_info() of BaseTransport and the classes below it */
    WatchedClock clock;
} Replaced;

/* Look the attribute up. Return true if it is replaced. Keeps the exception that is set. */
bool watched_name_look(WatchedName *watched);

/* Return true if the attribute is replaced. Keeps the exception that is set. */
static inline bool
watched_name_is_replaced(WatchedName *watched)
{
    return watched->tag == compat_type_tag(watched->type) ? watched->replaced
                                                          : watched_name_look(watched);
}

/* Return true if a tracer has replaced Handle._run. */
static inline bool
handle_run_is_replaced(Replaced *replaced)
{
    return watched_name_is_replaced(&replaced->timer_run)
           || watched_name_is_replaced(&replaced->guarded_run);
}

/* Return a number that changes with each change of the names that lead to the clock.
   Void while `watcher` is -1. */
static inline uint64_t
watched_clock_version(const WatchedClock *clock)
{
#if PY_VERSION_HEX >= 0x030C0000
    return *clock->changes;
#else
    return compat_dict_version(clock->time_dict) + compat_dict_version(clock->base_dict);
#endif
}

/* Return true if asyncio's clock is no longer time.monotonic(). Keeps the exception that is set. */
bool watched_clock_is_replaced(const WatchedClock *clock);

/* Return `type.name` bound to an object that need not be an instance of `type`; NULL with an exception. */
PyObject *bind_attribute(PyObject *type, PyObject *name, PyObject *instance);

/* Take asyncio's names as the originals. `guarded_handle`: the class whose _run() guarded handles call.
   Return 0, or -1 with an exception. */
int replaced_init(Replaced *replaced, PyObject *timer_handle, PyObject *guarded_handle,
                  PyObject *transport);
int replaced_traverse(Replaced *replaced, visitproc visit, void *arg);
void replaced_clear(Replaced *replaced);

#endif
