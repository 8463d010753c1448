/* bound.c: making the classes, noticing replaced methods, binding objects to loops. */
#include "primitives/bound.h"

#include "base/guard.h"
#include "loop/loop.h"
#include <limits.h>

/* ---- classes --------------------------------------------------------------------------------- */

/* Return 0, or -1 with ImportError if asyncio's class is larger than the room kept for it. */
static int
check_room(PyObject *base)
{
    const PyTypeObject *type = (PyTypeObject *)base;
    if ((size_t)type->tp_basicsize <= offsetof(BoundObject, loop)) {
        return 0;
    }
    PyErr_Format(PyExc_ImportError, "fastaio: asyncio's %s has an unexpected layout", type->tp_name);
    return -1;
}

/* Return the dict of a class written in Python or made from a spec, borrowed; NULL for a builtin class, which
   nobody can change. */
static PyObject *
changeable_dict(PyObject *type)
{
    return PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_HEAPTYPE)
               ? ((PyTypeObject *)type)->tp_dict
               : NULL;
}

/* Return a new dict of the attributes of a type, inherited ones too; NULL with an exception. */
static PyObject *
collect_attributes(const PyTypeObject *type)
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = 0; found != NULL && i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyObject *dict = changeable_dict(PyTuple_GET_ITEM(type->tp_mro, i));
        if (dict != NULL && PyDict_Merge(found, dict, 0) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

/* Have the interpreter's messages name the class without its module, as they name a class in Python. */
static void
shorten_name(PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');
    type->tp_name = dot ? dot + 1 : type->tp_name;
}

/* A version that no class has: the next call of primitive_is_plain() looks. */
#define NO_TAG UINT_MAX
#define NO_LOOK ((uint64_t)NO_TAG << 1)

static const GuardRules rules = {0};

/* ---- copying and pickling -------------------------------------------------------------------- */

/* Add the fields that are set to a dict, by the names of their members. Return 0, or -1 with an exception. */
static int
collect_fields(PyObject *self, const PyTypeObject *type, PyObject *fields)
{
    for (const PyMemberDef *member = type->tp_members; member != NULL && member->name != NULL;
         member++) {
        PyObject *value = member->type == T_OBJECT_EX
                              ? *(PyObject **)((char *)self + member->offset)
                              : NULL;
        if (value != NULL && PyDict_SetItemString(fields, member->name, value) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Return what object.__reduce_ex__() returns for an object with slots: (__newobj__, (type,), (dict, fields)). The
   interpreter's own refuses types with fields in C. */
static PyObject *
primitive_reduce_ex(PyObject *self, PyObject *Py_UNUSED(protocol))
{
    PyObject *newobj = state_import("copyreg", "__newobj__"), *fields = PyDict_New();
    PyObject *dict = PyObject_GetAttrString(self, "__dict__"), *result = NULL;
    PyObject *mro = Py_TYPE(self)->tp_mro;
    int failed = newobj == NULL || fields == NULL || dict == NULL;
    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(mro); i++) {
        failed = collect_fields(self, (PyTypeObject *)PyTuple_GET_ITEM(mro, i), fields) < 0;
    }
    if (!failed) {
        result = Py_BuildValue("O(O)(OO)", newobj, Py_TYPE(self), dict, fields);
    }
    Py_XDECREF(newobj);
    Py_XDECREF(fields);
    Py_XDECREF(dict);
    return result;
}

static PyMethodDef copying_methods[] = {
    {"__reduce_ex__", primitive_reduce_ex, METH_O,
     PyDoc_STR("__reduce_ex__($self, protocol, /)\n--\n\nFor copy and pickle.")},
    {NULL, NULL, 0, NULL},
};

/* ---- making a class --------------------------------------------------------------------------- */

/* Make the class; `bases`: a class or a tuple of classes. Return 0, or -1 with an exception. */
static int
add_class(PyObject *module, PrimitiveClass *cls, PyType_Spec *spec, PyObject *bases,
          const CoroutineDef *coroutines)
{
    if (check_room(cls->base) < 0) {
        return -1;
    }
    cls->type = state_add_type(module, spec, bases);
    if (cls->type == NULL || state_add_methods(cls->type, copying_methods) < 0
        || (coroutines != NULL && add_coroutine_methods(module, cls->type, coroutines) < 0)
        || guard_type(state_of_module(module), cls->type, &rules) < 0) {
        return -1;
    }
    shorten_name(cls->type);
    cls->originals = collect_attributes(cls->type);
    cls->look = NO_LOOK;
    return cls->originals ? 0 : -1;
}

int
primitive_add_class(PyObject *module, PrimitiveClass *cls, PyType_Spec *spec,
                    const CoroutineDef *coroutines)
{
    return add_class(module, cls, spec, cls->base, coroutines);
}

int
primitive_add_subclass(PyObject *module, PrimitiveClass *cls, PyType_Spec *spec,
                       const PrimitiveClass *parent)
{
    PyObject *bases = PyTuple_Pack(2, (PyObject *)parent->type, cls->base);
    int result = bases ? add_class(module, cls, spec, bases, NULL) : -1;
    Py_XDECREF(bases);
    return result;
}

/* Return the attribute of a type, borrowed; NULL if there is none, or with an exception. */
static PyObject *
find_attribute(const PyTypeObject *type, PyObject *name)
{
    PyObject *found = NULL;
    for (Py_ssize_t i = 0; found == NULL && i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyObject *dict = changeable_dict(PyTuple_GET_ITEM(type->tp_mro, i));
        found = dict ? PyDict_GetItemWithError(dict, name) : NULL;
        if (found == NULL && PyErr_Occurred()) {
            return NULL;
        }
    }
    return found;
}

/* Return 1 if all attributes are the originals, 0, or -1 with an exception. */
static int
has_original_attributes(const PrimitiveClass *cls)
{
    PyObject *name, *original;
    Py_ssize_t position = 0;
    while (PyDict_Next(cls->originals, &position, &name, &original)) {
        if (find_attribute(cls->type, name) != original) {
            return PyErr_Occurred() ? -1 : 0;
        }
    }
    return 1;
}

/* Have the interpreter give the class a tag, as it does with the next look-up of an attribute. Return 0, or -1 with
   an exception. */
static int
ensure_tag(PyTypeObject *type)
{
    return drop_result(PyObject_GetAttrString((PyObject *)type, "__init__"));
}

bool
primitive_look(PrimitiveClass *cls)
{
    PyObject *raised = PyErr_GetRaisedException();
    int intact = ensure_tag(cls->type) < 0 ? -1 : has_original_attributes(cls);
    if (intact < 0) {
        PyErr_Clear();
    }
    unsigned tag = compat_type_tag(cls->type);
    uint64_t version = tag != 0 ? tag : NO_TAG; /* 0 stays 0 with the next change */
    shared_store(&cls->look, version << 1 | (intact > 0));
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return intact > 0;
}

/* Return 1 if a dict has a key that is the name of one of the class's attributes, 0, or -1 with an exception. */
static int
has_name_of_class(const PrimitiveClass *cls, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    int found = 0;
    Section section;
    section_begin(&section, dict); /* another thread may set an attribute */
    while (found == 0 && PyDict_Next(dict, &position, &name, &value)) {
        /* Comparing with any other key may run code, which may change the dict. */
        found = PyUnicode_CheckExact(name) ? PyDict_Contains(cls->originals, name) : 1;
    }
    section_end(&section);
    return found;
}

bool
primitive_hides_attribute(const PrimitiveClass *cls, PyObject *self)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *dict = PyObject_GenericGetDict(self, NULL);
    int hides = dict ? has_name_of_class(cls, dict) : -1;
    Py_XDECREF(dict);
    PyErr_Clear();
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return hides != 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

PyObject *
primitive_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        ((BoundObject *)self)->loop = Py_NewRef(Py_None);
    }
    return self;
}

int
primitive_base_init(PrimitiveClass *cls, PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *init = PyObject_GetAttrString(cls->base, "__init__");
    PyObject *bound = init ? PyMethod_New(init, self) : NULL;
    Py_XDECREF(init);
    PyObject *result = bound ? PyObject_Call(bound, args, kwargs) : NULL;
    Py_XDECREF(bound);
    return drop_result(result);
}

PyObject *
primitive_init_argument(PyObject *args, PyObject *kwargs, const char *name, PyObject *fallback)
{
    Py_ssize_t named = kwargs ? PyDict_GET_SIZE(kwargs) : 0;
    Py_ssize_t total = PyTuple_GET_SIZE(args) + named;
    if (total != 1) {
        return total == 0 ? fallback : NULL;
    }
    return named ? PyDict_GetItemString(kwargs, name) : PyTuple_GET_ITEM(args, 0);
}

PyObject *
primitive_base_call(const PrimitiveClass *cls, PyObject *self, const char *method,
                    PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    PyObject *function = PyObject_GetAttrString(cls->base, method);
    PyObject *bound = function ? PyMethod_New(function, self) : NULL;
    Py_XDECREF(function);
    PyObject *result = bound ? PyObject_Vectorcall(bound, args, (size_t)count, keywords) : NULL;
    Py_XDECREF(bound);
    return result;
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* Return true if the loop is a native one that runs in this thread. */
static bool
runs_here(fastaio_state *st, PyObject *loop)
{
    return loop_is_native(st, loop)
           && relaxed_load(&((LoopObject *)loop)->thread_id) == PyThread_get_thread_ident();
}

PyObject *
primitive_loop(fastaio_state *st, PyObject *self)
{
    BoundObject *bound = (BoundObject *)self;
    if (bound->loop != NULL && runs_here(st, bound->loop)) {
        return Py_NewRef(bound->loop);
    }
    PyObject *loop = PyObject_CallMethodNoArgs(self, st->str__get_loop);
    if (loop == NULL) {
        return NULL;
    }
    primitive_set(&bound->loop, loop);
    return loop;
}
