/* guard.h: on an interpreter without a GIL, methods and attributes that only one thread at a time may use.
 *
 * A type is guarded as a whole, once it has all its methods. Each method and each attribute of the type is then
 * used within a claim of the object's loop (base/claim.h), or, for an object of no loop, within the critical
 * section of the object. Names that any thread may use are left out. Slots are guarded by hand: GUARDED();
 * those that end an object in loop/ending.h.
 *
 * Looks. A thread may ask how an object is while another thread has the loop:
 *
 * 1. A method has a second function for that (GuardRules.looks). A thread that gets the claim, if need be as a
 *    guest, calls the method itself.
 * 2. An attribute is read within the critical section of its object (GuardRules.open_names).
 * 3. So whoever writes such a field has the claim, and writes a plain word with relaxed_store(), a reference with
 *    section_set(). Whoever has the claim reads as before.
 *
 * With a GIL nothing is guarded.
 */
#ifndef FASTAIO_GUARD_H
#define FASTAIO_GUARD_H

#include "base/claim.h"
#include "base/state.h"

/* The head of a loop: the claim stands first, where the lower rooms find it. */
typedef struct {
    PyObject_HEAD
    Claim claim;
} ClaimedObject;

typedef struct {
    /* Return the loop of an object, borrowed; NULL if it has none. NULL: no object of the type has one. */
    PyObject *(*loop_of)(PyObject *self);
    const char *const *free_names; /* what any thread may use, up to a NULL; or NULL */
    const char *const *open_names; /* attributes that any thread may read; likewise */
    PyMethodDef *looks; /* methods for threads that do not get the claim, up to an empty one; or NULL */
} GuardRules;

#ifdef Py_GIL_DISABLED

#define GUARD_LOOKS(looks) looks

/* A claim of an object, begun and not ended. */
typedef struct {
    PyObject *loop; /* owned if this claim is the outermost; NULL: the object's critical section */
    PyCriticalSection section;
    bool outermost;
    bool guest; /* the claim is that of a guest */
} Guard;

/* Return 0, or -1 with RuntimeError if another thread has the claim. */
int guard_begin(Guard *guard, PyObject *self, PyObject *loop);
/* The same for what any thread may do: a thread that claims the loop meanwhile waits, and is not refused. Return
   false, without an exception, if another thread has the claim. */
bool guard_try_as_guest(Guard *guard, PyObject *self, PyObject *loop);
void guard_end(Guard *guard);

/* Guard the methods and attributes of a type. Return 0, or -1 with an exception. */
int guard_type(fastaio_state *st, PyTypeObject *type, const GuardRules *rules);
int guard_types_init(PyObject *module);

/* A critical section of an object, or of none. */
typedef struct {
    PyCriticalSection section;
    bool begun;
} Section;

/* Begin the critical section of an object that lives until section_end(); none if `obj` is NULL. */
static inline void
section_begin(Section *section, PyObject *obj)
{
    section->begun = obj != NULL;
    if (obj != NULL) {
        PyCriticalSection_Begin(&section->section, obj);
    }
}

static inline void
section_end(Section *section)
{
    if (section->begun) {
        PyCriticalSection_End(&section->section);
    }
}

/* Return the repr() of an object whose loop another thread has. */
PyObject *guard_foreign_repr(PyObject *self);

#else

typedef struct {
    char nothing[0];
} Guard;

typedef Guard Section;

#define section_begin(section, obj) ((void)(section), (void)(obj))
#define section_end(section) ((void)(section))

#define GUARD_LOOKS(looks) NULL

#define guard_begin(guard, self, loop) ((void)(guard), (void)(self), (void)(loop), 0)
#define guard_end(guard) ((void)(guard))
#define guard_type(st, type, rules) ((void)(st), (void)(rules), 0)

#endif

/* Replace a reference of `owner` that other threads may look at; NULL: none. Takes the reference to `value`.
   Return the old reference, which the caller drops. */
static inline PyObject *
section_swap(PyObject *owner, PyObject **place, PyObject *value)
{
    Section section;
    section_begin(&section, owner);
    PyObject *old = *place;
    *place = value;
    section_end(&section);
    return old;
}

static inline void
section_set(PyObject *owner, PyObject **place, PyObject *value)
{
    PyObject *old = section_swap(owner, place, value);
    Py_XDECREF(old);
}

/* Return a new reference to what section_set() has set; NULL: nothing. */
static inline PyObject *
section_get(PyObject *owner, PyObject *const *place)
{
    Section section;
    section_begin(&section, owner);
    PyObject *value = Py_XNewRef(*place);
    section_end(&section);
    return value;
}

/* ---- the loop of an object ------------------------------------------------------------------- */

/* The loop whose claim guards an object, for types whose `loop` changes while other threads may look at it: set
   once, dropped in the dealloc. With a GIL it is nothing, and home_loop() is NULL. */
#ifdef Py_GIL_DISABLED

typedef struct {
    PyObject *loop; /* owned; NULL: none yet */
} Home;

static inline PyObject *
home_loop(const Home *home)
{
    return home->loop;
}

static inline void
home_set(Home *home, PyObject *loop)
{
    if (home->loop == NULL) {
        home->loop = Py_NewRef(loop);
    }
}

static inline void
home_drop(Home *home)
{
    Py_XDECREF(home->loop);
}

/* Return true if this thread has claimed the loop, or if there is none. */
static inline bool
home_is_mine(const Home *home)
{
    return home->loop == NULL || claim_is_mine(&((ClaimedObject *)home->loop)->claim);
}

#define HOME_VISIT(home) Py_VISIT((home)->loop)

#else

typedef struct {
    char nothing[0];
} Home;

#define home_loop(home) ((void)(home), (PyObject *)NULL)
#define home_set(home, loop) ((void)(home), (void)(loop))
#define home_drop(home) ((void)(home))
#define home_is_mine(home) ((void)(home), true)
#define HOME_VISIT(home) ((void)(home))

#endif

/* ---- slots ----------------------------------------------------------------------------------- */

/* The guarded form of a slot's function, which one of the GUARD_* macros below defines at the file's level.
   `loop_of` is a function like GuardRules.loop_of. With a GIL it is the function itself. */
#ifdef Py_GIL_DISABLED

#define GUARDED(slot) guarded_##slot

/* For tp_iternext, am_await, am_anext and other functions of one object. */
#define GUARD_UNARY(slot, loop_of)                                                                 \
    static PyObject *slot(PyObject *self);                                                         \
    static PyObject *guarded_##slot(PyObject *self)                                                \
    {                                                                                              \
        Guard guard;                                                                               \
        if (guard_begin(&guard, self, loop_of(self)) < 0) {                                        \
            return NULL;                                                                           \
        }                                                                                          \
        PyObject *result = slot(self);                                                             \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

/* For tp_repr and tp_str. They answer in each thread. */
#define GUARD_REPR(slot, loop_of)                                                                  \
    static PyObject *slot(PyObject *self);                                                         \
    static PyObject *guarded_##slot(PyObject *self)                                                \
    {                                                                                              \
        Guard guard;                                                                               \
        if (!guard_try_as_guest(&guard, self, loop_of(self))) {                                    \
            return guard_foreign_repr(self);                                                       \
        }                                                                                          \
        PyObject *result = slot(self);                                                             \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

/* For tp_call. */
#define GUARD_CALL(slot, loop_of)                                                                  \
    static PyObject *slot(PyObject *self, PyObject *args, PyObject *kwargs);                       \
    static PyObject *guarded_##slot(PyObject *self, PyObject *args, PyObject *kwargs)              \
    {                                                                                              \
        Guard guard;                                                                               \
        if (guard_begin(&guard, self, loop_of(self)) < 0) {                                        \
            return NULL;                                                                           \
        }                                                                                          \
        PyObject *result = slot(self, args, kwargs);                                               \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

/* For tp_richcompare of two objects of one type; others are not equal. Both may have loops of their own. */
#define GUARD_COMPARE(slot, loop_of)                                                               \
    static PyObject *slot(PyObject *self, PyObject *other, int op);                                \
    static PyObject *guarded_##slot(PyObject *self, PyObject *other, int op)                       \
    {                                                                                              \
        Guard guard, other_guard;                                                                  \
        if (!Py_IS_TYPE(other, Py_TYPE(self))) {                                                   \
            Py_RETURN_NOTIMPLEMENTED;                                                              \
        }                                                                                          \
        if (guard_begin(&guard, self, loop_of(self)) < 0) {                                        \
            return NULL;                                                                           \
        }                                                                                          \
        PyObject *result = NULL;                                                                   \
        if (guard_begin(&other_guard, other, loop_of(other)) == 0) {                               \
            result = slot(self, other, op);                                                        \
            guard_end(&other_guard);                                                               \
        }                                                                                          \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

#define GUARD_SEND(slot, loop_of)                                                                  \
    static PySendResult slot(PyObject *self, PyObject *value, PyObject **result);                  \
    static PySendResult guarded_##slot(PyObject *self, PyObject *value, PyObject **result)         \
    {                                                                                              \
        Guard guard;                                                                               \
        *result = NULL;                                                                            \
        if (guard_begin(&guard, self, loop_of(self)) < 0) {                                        \
            return PYGEN_ERROR;                                                                    \
        }                                                                                          \
        PySendResult sent = slot(self, value, result);                                             \
        guard_end(&guard);                                                                         \
        return sent;                                                                               \
    }

#define GUARD_SETATTRO(slot, loop_of)                                                              \
    static int slot(PyObject *self, PyObject *name, PyObject *value);                              \
    static int guarded_##slot(PyObject *self, PyObject *name, PyObject *value)                     \
    {                                                                                              \
        Guard guard;                                                                               \
        if (guard_begin(&guard, self, loop_of(self)) < 0) {                                        \
            return -1;                                                                             \
        }                                                                                          \
        int result = slot(self, name, value);                                                      \
        guard_end(&guard);                                                                         \
        return result;                                                                             \
    }

#else

#define GUARDED(slot) slot
#define GUARD_UNARY(slot, loop_of)
#define GUARD_REPR(slot, loop_of)
#define GUARD_CALL(slot, loop_of)
#define GUARD_COMPARE(slot, loop_of)
#define GUARD_SEND(slot, loop_of)
#define GUARD_SETATTRO(slot, loop_of)

#endif

#endif
