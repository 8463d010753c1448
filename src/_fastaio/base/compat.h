/* compat.h: everything that depends on the version of CPython: the sizes and layouts of its objects, and
 * newer public C API on older versions.
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

/* From 3.15 on all callbacks of a connection run in one context. Before that, connection_made(), reading
   and connection_lost() each run in a copy of the context that schedules them. */
#define CONNECTION_HAS_ONE_CONTEXT (PY_VERSION_HEX >= 0x030F0000)

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

/* Up to 3.12 the library does not export PySignal_SetWakeupFd(), which any thread may call. */
#define HAS_SET_WAKEUP_FD (PY_VERSION_HEX >= 0x030D0000)

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
#if defined(Py_GIL_DISABLED) || PY_VERSION_HEX >= 0x03100000
        return false; /* the layout is unknown */
#else
        const struct {
            uint8_t capacity, size, embedded, valid;
        } *values = (const void *)((const char *)obj + type->tp_basicsize);
        return values->size == 0 && values->valid;
#endif
    }
#endif
    (void)obj;
    return true;
}

/* Return true if the words in front of an object of asyncio's types hold no attributes and no weak
   references. Always true on versions that keep both among the fields, where the caller looks; always
   false on unknown versions. */
static inline bool
compat_prefix_is_blank(PyObject *obj)
{
#if defined(Py_GIL_DISABLED) || PY_VERSION_HEX >= 0x03100000
    return false;
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

/* Return a number that changes with each change of the class or its bases; 0 if it is not known. */
static inline unsigned
compat_type_tag(const PyTypeObject *type)
{
    return type->tp_version_tag;
}

#if PY_VERSION_HEX < 0x030C0000
/* Return a number that changes with each change of the dict. Newer versions have watchers instead. */
static inline uint64_t
compat_dict_version(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#endif

/* Return the address of the descriptor in a socket.socket, the first field behind the object header; the
   descriptor is -1 once closed or detached. The layout is private: the caller compares it with fileno()
   before using it. */
static inline const int *
compat_socket_fd(PyObject *sock)
{
    return (const int *)((const char *)sock + sizeof(PyObject));
}

#endif
