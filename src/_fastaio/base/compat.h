/* compat.h: what depends on the version of CPython itself: sizes and layouts of its objects, rules of the interpreter,
 * and newer public C API on older versions. What asyncio does differently is in asyncio_versions.h.
 */
#ifndef FASTAIO_COMPAT_H
#define FASTAIO_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030B0000
#error "fastaio needs CPython 3.11 or newer"
#endif

/* ---- sizes of asyncio's types ---------------------------------------------------------------- */

/* The words for the fields of the base, _asyncio.Future or the larger _asyncio.Task, in front of our own
   fields, with a little room to grow. future_base_check() refuses to load if a base is larger. */
#if PY_VERSION_HEX >= 0x030E0000 || PY_VERSION_HEX < 0x030D0000
#define BASE_ROOM_WORDS 20
#else
#define BASE_ROOM_WORDS 17
#endif

/* False on 3.11, where asyncio's types are static: a subclass itself drops and traverses the reference from
   an object to its type. */
#define BASE_OWNS_TYPE_REF (PY_VERSION_HEX >= 0x030C0000)

/* ---- coroutines ------------------------------------------------------------------------------ */

/* Raise the interpreter's TypeError for an object that `await` does not take, and for what an __await__()
   returned that is no iterator; `coroutine`: it is a coroutine, which is not allowed either. */
static inline void
compat_refuse_awaitable(PyObject *obj)
{
    const char *format = PY_VERSION_HEX >= 0x030E0000
                             ? "'%.100s' object can't be awaited"
                             : "object %.100s can't be used in 'await' expression";
    PyErr_Format(PyExc_TypeError, format, Py_TYPE(obj)->tp_name);
}

static inline void
compat_refuse_await_result(PyObject *obj, PyObject *result, bool coroutine)
{
    const char *type = Py_TYPE(result)->tp_name;
    if (PY_VERSION_HEX >= 0x030F0000) {
        PyErr_Format(PyExc_TypeError, "%s.__await__() must return an iterator, not %s",
                     Py_TYPE(obj)->tp_name, type);
    }
    else if (coroutine) {
        PyErr_SetString(PyExc_TypeError, "__await__() returned a coroutine");
    }
    else {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'", type);
    }
}

/* From 3.15 on coroutines have `cr_state`, which inspect.getcoroutinestate() reads. */
#define COROUTINE_HAS_STATE (PY_VERSION_HEX >= 0x030F0000)

/* From 3.12 on throw(type, value, tb) warns that its signature is old. */
#define OLD_THROW_WARNS (PY_VERSION_HEX >= 0x030C0000)

/* ---- the end of an object -------------------------------------------------------------------- */

/* Run drop(self), the body of `dealloc`, unless deallocations are nested too deeply: then the
   interpreter calls `dealloc` again once the stack has unwound. `self` must be untracked. A subclass
   written in Python is bounded by its own dealloc, and from 3.14 on the interpreter bounds all. */
#if PY_VERSION_HEX >= 0x030E0000
#define DEALLOC_BOUNDED(self, dealloc, drop) drop(self)
#else
#define DEALLOC_BOUNDED(self, dealloc, drop)                                                       \
    do {                                                                                           \
        PyObject *const dying_ = (PyObject *)(self);                                               \
        if (Py_TYPE(dying_)->tp_dealloc != (destructor)(dealloc)) {                                \
            drop(self);                                                                            \
            break;                                                                                 \
        }                                                                                          \
        Py_TRASHCAN_BEGIN(dying_, dealloc)                                                         \
        drop(self);                                                                                \
        Py_TRASHCAN_END                                                                            \
    } while (0)
#endif

/* Return true if the object's last reference is gone, but its deallocation is put off. The interpreter does
   that to deallocations that are nested too deeply, and code runs meanwhile. A borrowed pointer to such
   an object must not become a reference: to drop the reference would free the object a first time. */
static inline bool
is_dying(PyObject *obj)
{
    return Py_REFCNT(obj) == 0;
}

/* Run the finalizer of an untracked object in its dealloc. Return 0; or -1 if the object lives on, tracked
   again. */
static inline int
dealloc_finalize(PyObject *self)
{
    PyObject_GC_Track(self); /* the finalizer may make a reference that lasts */
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return -1;
    }
    PyObject_GC_UnTrack(self);
    return 0;
}

/* ---- threads and interpreters ---------------------------------------------------------------- */

/* True if threads run Python one at a time. */
#ifdef Py_GIL_DISABLED
#define HAS_GIL 0
#else
#define HAS_GIL 1
#endif

/* From 3.12 on an interpreter may have a GIL of its own, and a module says whether it supports that. */
#define INTERPRETER_MAY_OWN_GIL (PY_VERSION_HEX >= 0x030C0000)

/* The critical section of an object: nothing with a GIL. */
#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(obj) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* A word that one thread may read while another one writes it: what was written before shared_store() is there
   behind a shared_load() that reads the new value. With a GIL these are plain accesses. */
#ifdef Py_GIL_DISABLED
#define shared_load(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define shared_store(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
#define shared_add(place, number) __atomic_add_fetch(place, number, __ATOMIC_RELAXED)
/* The same without an order between this word and others. */
#define relaxed_load(place) __atomic_load_n(place, __ATOMIC_RELAXED)
#define relaxed_store(place, value) __atomic_store_n(place, value, __ATOMIC_RELAXED)
/* Add to a word that only this thread changes at present, and that others may read: no atomic addition. */
#define relaxed_add(place, number) relaxed_store(place, *(place) + (number))
/* Set a pointer to NULL, and return the old one. */
#define shared_clear(place) __atomic_exchange_n(place, NULL, __ATOMIC_ACQ_REL)
/* Set a bool that is false, and return true. Return false if it is true already. */
#define shared_take(place) (!__atomic_exchange_n(place, true, __ATOMIC_ACQUIRE))
#else
#define shared_load(place) (*(place))
#define shared_store(place, value) (*(place) = (value))
#define shared_add(place, number) (*(place) += (number))
#define relaxed_load(place) (*(place))
#define relaxed_store(place, value) (*(place) = (value))
#define relaxed_add(place, number) (*(place) += (number))
#define shared_clear(place)                                                                         \
    ({                                                                                             \
        __typeof__(*(place)) old_ = *(place);                                                      \
        *(place) = NULL;                                                                           \
        old_;                                                                                      \
    })
#define shared_take(place) (!*(place) && (*(place) = true))
#endif

/* compat_immortalise(): without a GIL, references to this new object of the caller cost nothing and it is never
   freed. It is for what every thread uses for each operation: a count that two threads write is a cache line that
   moves between their processors. */
#ifdef Py_GIL_DISABLED
#define compat_immortalise(obj) Py_SET_REFCNT(obj, (Py_ssize_t)UINT32_MAX + 1)
#else
#define compat_immortalise(obj) ((void)(obj))
#endif

#ifdef Py_GIL_DISABLED
/* compat_disown(): give an object without references one reference, which any thread may drop for good. The thread
   that has made the object would have to run to do that. */
static inline void
compat_disown(PyObject *obj)
{
    __atomic_store_n(&obj->ob_tid, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&obj->ob_ref_local, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&obj->ob_ref_shared, _Py_REF_SHARED(1, _Py_REF_MERGED), __ATOMIC_RELEASE);
}

/* compat_try_incref(): make a reference to an object of which there may be none left, in memory that is not freed yet.
   Return false if there is none. Before, the owner calls compat_allow_try_incref() for the object. */
#if PY_VERSION_HEX >= 0x030E0000
#define compat_allow_try_incref(obj) PyUnstable_EnableTryIncRef(obj)
#define compat_try_incref(obj) PyUnstable_TryIncRef(obj)
#else
static inline void
compat_allow_try_incref(PyObject *obj)
{
    /* What the interpreter does for an object that gets a weak reference. */
    Py_ssize_t shared = __atomic_load_n(&obj->ob_ref_shared, __ATOMIC_RELAXED);
    while ((shared & _Py_REF_SHARED_FLAG_MASK) == 0
           && !__atomic_compare_exchange_n(&obj->ob_ref_shared, &shared,
                                           shared | _Py_REF_MAYBE_WEAKREF, true, __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED)) {
    }
}

static inline bool
compat_try_incref(PyObject *obj)
{
    if (__atomic_load_n(&obj->ob_tid, __ATOMIC_RELAXED) == _Py_ThreadId()) {
        if (__atomic_load_n(&obj->ob_ref_local, __ATOMIC_RELAXED) == 0) {
            return false;
        }
        Py_INCREF(obj);
        return true;
    }
    Py_ssize_t shared = __atomic_load_n(&obj->ob_ref_shared, __ATOMIC_RELAXED);
    do {
        if (shared == 0 || shared == _Py_REF_MERGED) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&obj->ob_ref_shared, &shared,
                                          shared + (1 << _Py_REF_SHARED_SHIFT), true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return true;
}
#endif
#else
#define compat_allow_try_incref(obj) ((void)(obj))
#endif

/* Return a new reference to an object that a table has borrowed; NULL, without an exception, if its last reference
   is gone. Without a GIL another thread may drop that reference at this moment. So try_ref_enable() must come
   before, and what frees the object's memory must exclude the caller. */
static inline PyObject *
try_ref(PyObject *obj)
{
#ifdef Py_GIL_DISABLED
    return compat_try_incref(obj) ? obj : NULL;
#else
    return is_dying(obj) ? NULL : Py_NewRef(obj);
#endif
}

/* Prepare an object, to which the caller has a reference, for try_ref() in other threads. */
static inline void
try_ref_enable(PyObject *obj)
{
    compat_allow_try_incref(obj);
}

/* ---- the signal wakeup descriptor ------------------------------------------------------------ */

/* Up to 3.12 the library does not export PySignal_SetWakeupFd(), which any thread may call. */
#define HAS_SET_WAKEUP_FD (PY_VERSION_HEX >= 0x030D0000)

/* From 3.12 on the descriptor is in _PyRuntime, which a private header describes; before, in a static variable. */
#define RUNTIME_HAS_WAKEUP_FD (PY_VERSION_HEX >= 0x030C0000)

/* ---- what lies around the fields of an object ------------------------------------------------ */

/* Reset the garbage collector's two words in front of an untracked object: a finalizer leaves a mark there
   that the next object in the same memory must not inherit. */
static inline void
gc_head_reset(PyObject *obj)
{
    memset((uintptr_t *)obj - 2, 0, 2 * sizeof(uintptr_t));
}

/* Return true if no attribute has ever been set in the object itself, behind its fields, where asyncio's
   types keep attributes from 3.14 on. False for an object whose attributes have been dropped: it must
   not be used again either. */
static inline bool
compat_inline_values_are_blank(PyObject *obj)
{
#ifdef Py_TPFLAGS_INLINE_VALUES
    const PyTypeObject *type = Py_TYPE(obj);
    if (type->tp_flags & Py_TPFLAGS_INLINE_VALUES) {
#if PY_VERSION_HEX >= 0x03100000
        return false; /* the layout is unknown */
#else
        const struct {
            uint8_t capacity, size, embedded, valid;
        } *values = (const void *)((const char *)obj + type->tp_basicsize);
        return relaxed_load(&values->size) == 0 && relaxed_load(&values->valid);
#endif
    }
#endif
    (void)obj;
    return true;
}

/* Return true if an object has no attributes outside of its fields. Its type is made from a spec and derives from
   a class written in Python: such a type keeps attributes behind the fields from 3.14 on. False may also mean that
   the answer is unknown. */
static inline bool
compat_has_no_attributes(PyObject *obj)
{
#if PY_VERSION_HEX >= 0x03100000
    (void)obj;
    return false;
#elif defined(Py_GIL_DISABLED) /* the collector keeps nothing in front of an object */
    return shared_load(&((void **)obj)[-1]) == NULL && compat_inline_values_are_blank(obj);
#elif PY_VERSION_HEX >= 0x030E0000
    return ((void **)obj)[-3] == NULL && compat_inline_values_are_blank(obj);
#elif PY_VERSION_HEX >= 0x030C0000
    return ((void **)obj)[-3] == NULL;
#else
    return ((void **)obj)[-3] == NULL && ((void **)obj)[-4] == NULL;
#endif
}

/* Return true if the words in front of an object of asyncio's types hold no attributes and no weak
   references. Always true on versions that keep both among the fields, where the caller looks; always
   false on unknown versions. */
static inline bool
compat_prefix_is_blank(PyObject *obj)
{
#if PY_VERSION_HEX >= 0x03100000
    return false;
#elif defined(Py_GIL_DISABLED) /* the collector keeps nothing in front of an object */
    void **words = (void **)obj;
    return shared_load(&words[-1]) == NULL && shared_load(&words[-2]) == NULL
           && compat_inline_values_are_blank(obj);
#elif PY_VERSION_HEX >= 0x030D0000
    void **words = (void **)obj;
    return words[-3] == NULL && words[-4] == NULL && compat_inline_values_are_blank(obj);
#else
    return true;
#endif
}

/* Return true if an object of asyncio's types may have a __dict__ or weak references. */
static inline bool
compat_may_have_attributes(PyObject *obj)
{
#if PY_VERSION_HEX >= 0x030D0000
    return !compat_prefix_is_blank(obj);
#else
    const PyTypeObject *type = Py_TYPE(obj);
    return *(PyObject **)((char *)obj + type->tp_weaklistoffset) != NULL
           || *(PyObject **)((char *)obj + type->tp_dictoffset) != NULL;
#endif
}

/* ---- functions of newer versions ------------------------------------------------------------- */

#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL) {
        PyException_SetTraceback(value, tb);
    }
    Py_XDECREF(tb);
    Py_DECREF(type);
    return value;
}

static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    if (exc == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
}
#endif

#if PY_VERSION_HEX < 0x030D0000
/* As in 3.13: return 1 if found, 0 if missing, without an exception, or -1 with an exception. */
static inline int
PyObject_GetOptionalAttr(PyObject *obj, PyObject *name, PyObject **result)
{
    *result = PyObject_GetAttr(obj, name);
    if (*result != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **result)
{
    *result = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    if (*result != NULL) {
        return 1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static inline int
PyWeakref_GetRef(PyObject *ref, PyObject **result)
{
    PyObject *obj = PyWeakref_GetObject(ref); /* borrowed */
    *result = obj != NULL && obj != Py_None ? Py_NewRef(obj) : NULL;
    return obj == NULL ? -1 : *result != NULL;
}
#endif

/* ---- what CPython's API does not tell -------------------------------------------------------- */

/* Set *number to the value of an exact int if that is small, and return true. Else return false. */
static inline bool
compat_small_int(PyObject *obj, long *number)
{
    if (!PyLong_CheckExact(obj)) {
        return false;
    }
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)obj)) {
        return false;
    }
    *number = (long)PyUnstable_Long_CompactValue((PyLongObject *)obj);
#else
    Py_ssize_t size = Py_SIZE(obj);
    if (size < -1 || size > 1) {
        return false;
    }
    *number = (long)size * (long)((PyLongObject *)obj)->ob_digit[0];
#endif
    return true;
}

/* Return how many frames of its origin a new coroutine keeps: see
   sys.set_coroutine_origin_tracking_depth(). */
static inline int
compat_origin_depth(void)
{
    return PyThreadState_Get()->coroutine_origin_tracking_depth;
}

/* Return a number that changes with each change of the class or its bases; 0 if it is not known. */
static inline unsigned
compat_type_tag(const PyTypeObject *type)
{
    return __atomic_load_n(&type->tp_version_tag, __ATOMIC_RELAXED);
}

/* From 3.12 on a dict has watchers. Before, it has a version: a number that changes with each change of the dict. */
#define DICT_HAS_WATCHERS (PY_VERSION_HEX >= 0x030C0000)

#if !DICT_HAS_WATCHERS
static inline uint64_t
compat_dict_version(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#endif

/* Return the size of a module's state; -1 if it is not known, perhaps with an exception. */
static inline Py_ssize_t
compat_module_state_size(PyObject *module)
{
#if PY_VERSION_HEX >= 0x030F0000
    Py_ssize_t size;
    return PyModule_GetStateSize(module, &size) < 0 ? -1 : size;
#else
    const PyModuleDef *def = PyModule_GetDef(module);
    return def != NULL ? def->m_size : -1;
#endif
}

/* Return the address of the descriptor in a socket.socket, the first field behind the object header; the
   descriptor is -1 once closed or detached. The layout is private: the caller compares it with fileno()
   before using it. */
static inline const int *
compat_socket_fd(PyObject *sock)
{
    return (const int *)((const char *)sock + sizeof(PyObject));
}

#endif
