/* bound.h: the classes of the room: objects that belong to the loop of their first wait.
 *
 * Without a GIL a method of an object runs within the critical section of the object, and so does a step of a
 * coroutine of the object (op.h). A function here or in another header of the room that gets an object wants that
 * section, unless it says that it enters it.
 */
#ifndef FASTAIO_BOUND_H
#define FASTAIO_BOUND_H

#include "primitives/function.h"
#include "primitives/primitives.h"
#include <structmember.h>

/* The words of the base, an instance of a Python class, in front of our own fields. */
#define PRIMITIVE_ROOM_WORDS 2

/* The beginning of each primitive's struct. The fields of asyncio's instances follow as PyObject pointers, and
   each has an entry in the type's members, of type T_OBJECT_EX: so the interpreter's own traverse, clear
   and dealloc of Python classes take care of them. A field is NULL before __init__ and after `del`. */
typedef struct {
    PyObject_HEAD
    void *base_room[PRIMITIVE_ROOM_WORDS];
    PyObject *loop; /* `_loop`: None until the first wait */
} BoundObject;

/* The members that each class begins with. */
#define BOUND_MEMBERS {"_loop", T_OBJECT_EX, offsetof(BoundObject, loop), 0, NULL}

/* Make a class, derived from asyncio's, and add it to the module. `coroutines`: its coroutine methods, up to an
   entry without a name; or NULL. Return 0, or -1 with an exception. */
int primitive_add_class(PyObject *module, PrimitiveClass *cls, PyType_Spec *spec,
                        const CoroutineDef *coroutines);
/* The same for a class that derives from another native class, too. Its methods come first. */
int primitive_add_subclass(PyObject *module, PrimitiveClass *cls, PyType_Spec *spec,
                           const PrimitiveClass *parent);

/* The tp_new of each class: an object whose `_loop` is None. */
PyObject *primitive_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
/* The tp_init of a class: init(self, args, kwargs) within the critical section of the object. */
#define PRIMITIVE_INIT(init)                                                                       \
    static int init##_guarded(PyObject *self, PyObject *args, PyObject *kwargs)                    \
    {                                                                                              \
        int result;                                                                                \
        Py_BEGIN_CRITICAL_SECTION(self);                                                           \
        result = init(self, args, kwargs);                                                         \
        Py_END_CRITICAL_SECTION();                                                                 \
        return result;                                                                             \
    }

/* Have asyncio's __init__ take or refuse the arguments. Return 0, or -1 with an exception. */
int primitive_base_init(PrimitiveClass *cls, PyObject *self, PyObject *args, PyObject *kwargs);

/* Call asyncio's own method for the object, with the arguments of a vectorcall. It uses the object's methods by
   their names. Return its result, or NULL with an exception. */
PyObject *primitive_base_call(const PrimitiveClass *cls, PyObject *self, const char *method,
                              PyObject *const *args, Py_ssize_t count, PyObject *keywords);

/* Return true if a call got no arguments. */
static inline bool
primitive_has_no_arguments(PyObject *args, PyObject *kwargs)
{
    return PyTuple_GET_SIZE(args) == 0 && (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0);
}

/* Match the arguments of __init__(self, <name>=fallback), borrowed references. Return the argument or the fallback;
   NULL, without an exception, if they do not match: asyncio's __init__ refuses them. */
PyObject *primitive_init_argument(PyObject *args, PyObject *kwargs, const char *name,
                                  PyObject *fallback);

/* Compare the class's attributes with the originals. Return true if they are. Keeps the raised exception. */
bool primitive_look(PrimitiveClass *cls);

/* Return true if an attribute in the object's __dict__ hides one of the class. Keeps the raised exception. */
bool primitive_hides_attribute(const PrimitiveClass *cls, PyObject *self);

/* Return true if no attribute of the class has been replaced. Keeps the raised exception. */
static inline bool
primitive_is_intact(PrimitiveClass *cls)
{
    uint64_t look = shared_load(&cls->look);
    return look >> 1 == compat_type_tag(cls->type) ? look & 1 : primitive_look(cls);
}

/* Return true if `self` is of the exact class, and neither class nor object has had a method replaced. Then
   a native method may do the work of another one without calling it by name. */
static inline bool
primitive_is_plain(PrimitiveClass *cls, PyObject *self)
{
    return Py_IS_TYPE(self, cls->type)
           && (compat_has_no_attributes(self) || !primitive_hides_attribute(cls, self))
           && primitive_is_intact(cls);
}

/* Return the state of the module for an object of one of the classes. */
static inline fastaio_state *
primitive_state(PyObject *self)
{
    return state_of_type(Py_TYPE(self));
}

/* Return a field's value, borrowed; NULL with AttributeError if it is not set. */
static inline PyObject *
primitive_field(PyObject *self, PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%s'",
                     Py_TYPE(self)->tp_name, name);
    }
    return value;
}

/* Return the truth of a field's value: 1, 0, or -1 with an exception. */
static inline int
primitive_truth(PyObject *value)
{
    if (value == Py_True || value == Py_False || value == Py_None) {
        return value == Py_True;
    }
    Py_INCREF(value); /* __bool__() may change the field */
    int result = PyObject_IsTrue(value);
    Py_DECREF(value);
    return result;
}

/* Put a new reference into a field, and drop the old one. May run code. */
static inline void
primitive_set(PyObject **field, PyObject *value)
{
    Py_XSETREF(*field, Py_NewRef(value));
}

/* Return the running loop, a new reference. The object belongs to that loop from now on. NULL with asyncio's
   RuntimeError if it belongs to another one. */
PyObject *primitive_loop(fastaio_state *st, PyObject *self);

#endif
