/* replaced.h: noticing that names of asyncio have been replaced.
 *
 * Tracers, mocks and test tools replace functions of asyncio. Native code that stands in for such a
 * function calls the replacement instead. While nothing has changed, each question costs one
 * comparison: of the version of a class, or of the dicts that the clock is looked up in.
 */
#ifndef FASTAIO_REPLACED_H
#define FASTAIO_REPLACED_H

#include "base/compat.h"

/* The result of a look at a class. It holds while the class has that version. One word of the CPU's: any thread may
   look, and compare. */
typedef struct {
    unsigned tag; /* the version of the class; ~0u: not known, so the next question looks again */
    unsigned found;
} __attribute__((aligned(8))) Look;

typedef uint64_t __attribute__((may_alias)) LookWord;

static inline Look
look_load(const Look *place)
{
#ifdef Py_GIL_DISABLED
    uint64_t word = relaxed_load((const LookWord *)place);
    Look look;
    memcpy(&look, &word, sizeof(look));
    return look;
#else
    return *place;
#endif
}

static inline void
look_store(Look *place, Look look)
{
#ifdef Py_GIL_DISABLED
    uint64_t word;
    memcpy(&word, &look, sizeof(word));
    relaxed_store((LookWord *)place, word);
#else
    *place = look;
#endif
}

/* Begin a look, and end it after the attributes have been read, which gives a class its version. */
static inline Look
look_begin(const PyTypeObject *type)
{
    return (Look){.tag = HAS_GIL ? 0 : compat_type_tag(type)};
}

static inline void
look_end(Look *look, const PyTypeObject *type)
{
    unsigned tag = compat_type_tag(type);
    /* Another version than at the beginning: another thread may have changed the class in between. */
    look->tag = tag != 0 && (HAS_GIL || tag == look->tag) ? tag : ~0u;
}

/* An attribute of one of asyncio's classes. */
typedef struct {
    PyTypeObject *type; /* owned */
    PyObject *name;     /* owned */
    PyObject *original; /* owned: its value when the module was loaded */
    Look look;          /* whether it is replaced */
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
    Look look = look_load(&watched->look);
    return look.tag == compat_type_tag(watched->type) ? look.found != 0 : watched_name_look(watched);
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
#if DICT_HAS_WATCHERS
    return shared_load(clock->changes);
#else
    return compat_dict_version(clock->time_dict) + compat_dict_version(clock->base_dict);
#endif
}

/* Wait until the changes that are counted are made. Without a GIL a thread counts a change first, and then makes it,
   all within the critical section of the dict. */
static inline void
watched_clock_settle(const WatchedClock *clock)
{
#ifdef Py_GIL_DISABLED
    PyCriticalSection section;
    PyCriticalSection_Begin(&section, clock->time_dict);
    PyCriticalSection_End(&section);
    PyCriticalSection_Begin(&section, clock->base_dict);
    PyCriticalSection_End(&section);
#else
    (void)clock;
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
