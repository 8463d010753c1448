/* function.c: CoroutineFunction. It binds to objects like a method written in C. */
#include "primitives/function.h"

#include "primitives/primitives.h"
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const CoroutineDef *def;
    fastaio_state *st; /* that of `module` */
    PyObject *module;
    PyTypeObject *owner; /* the class of a method; NULL for a function */
} FunctionObject;

/* ---- calling --------------------------------------------------------------------------------- */

/* Return 0, or -1 with TypeError if a method is not called for an object of its class. */
static int
check_self(const FunctionObject *function, PyObject *const *args, Py_ssize_t count)
{
    if (count > 0 && PyObject_TypeCheck(args[0], function->owner)) {
        return 0;
    }
    if (count == 0) {
        PyErr_Format(PyExc_TypeError, "%s.%s() missing 1 required positional argument: 'self'",
                     function->owner->tp_name, function->def->name);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s.%s() needs a %s object, not %s", function->owner->tp_name,
                     function->def->name, function->owner->tp_name, Py_TYPE(args[0])->tp_name);
    }
    return -1;
}

static PyObject *
function_vectorcall(PyObject *callable, PyObject *const *args, size_t flagged, PyObject *keywords)
{
    const FunctionObject *function = (FunctionObject *)callable;
    Py_ssize_t count = PyVectorcall_NARGS(flagged);
    if (function->owner == NULL) {
        return function->def->call(function->st, NULL, args, count, keywords);
    }
    if (check_self(function, args, count) < 0) {
        return NULL;
    }
    PyObject *result;
    Py_BEGIN_CRITICAL_SECTION(args[0]);
    result = function->def->call(function->st, args[0], args + 1, count - 1, keywords);
    Py_END_CRITICAL_SECTION();
    return result;
}

static PyObject *
function_descr_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* Return where the signature ends in a docstring: at ")\n--\n\n", behind the parenthesis. */
static const char *
signature_end(const char *doc)
{
    const char *end = strstr(doc, ")\n--\n\n");
    return end ? end + 1 : doc;
}

static PyObject *
function_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((FunctionObject *)self)->def->name);
}

static PyObject *
function_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    const FunctionObject *function = (FunctionObject *)self;
    if (function->owner == NULL) {
        return PyUnicode_FromString(function->def->name);
    }
    PyObject *owner = PyObject_GetAttrString((PyObject *)function->owner, "__qualname__");
    PyObject *name = owner ? PyUnicode_FromFormat("%U.%s", owner, function->def->name) : NULL;
    Py_XDECREF(owner);
    return name;
}

static PyObject *
function_get_module(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_FromString("fastaio");
}

static PyObject *
function_get_doc(PyObject *self, void *Py_UNUSED(closure))
{
    const char *end = signature_end(((FunctionObject *)self)->def->doc);
    return PyUnicode_FromString(end + strspn(end, "\n-"));
}

static PyObject *
function_get_text_signature(PyObject *self, void *Py_UNUSED(closure))
{
    const char *doc = ((FunctionObject *)self)->def->doc;
    const char *begin = strchr(doc, '('), *end = signature_end(doc);
    return begin && begin < end ? PyUnicode_FromStringAndSize(begin, end - begin)
                                : Py_NewRef(Py_None);
}

/* The marks that inspect and asyncio look for: a module, and the names that versions of Python give to the mark.
   A version that lacks all of them does not look for it. */
static PyObject *
function_get_mark(PyObject *Py_UNUSED(self), void *closure)
{
    const char *const *place = closure;
    const char *const *name = place + 1;
    PyObject *mark = state_import(place[0], *name);
    while (mark == NULL && *++name != NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        mark = state_import(place[0], *name);
    }
    return mark;
}

static const char *const inspect_mark[] = {
    "inspect",
    "_is_coroutine_mark",
    "_is_coroutine_marker", /* 3.12 */
    NULL,
};
static const char *const asyncio_mark[] = {"asyncio.coroutines", "_is_coroutine", NULL};

static PyGetSetDef function_getset[] = {
    {"__name__", function_get_name, NULL, NULL, NULL},
    {"__qualname__", function_get_qualname, NULL, NULL, NULL},
    {"__module__", function_get_module, NULL, NULL, NULL},
    {"__doc__", function_get_doc, NULL, NULL, NULL},
    {"__text_signature__", function_get_text_signature, NULL, NULL, NULL},
    {"_is_coroutine_marker", function_get_mark, NULL, NULL, (void *)inspect_mark},
    {"_is_coroutine", function_get_mark, NULL, NULL, (void *)asyncio_mark},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef function_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FunctionObject, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
function_repr(PyObject *self)
{
    PyObject *name = function_get_qualname(self, NULL);
    PyObject *repr = name ? PyUnicode_FromFormat("<coroutine function fastaio.%U>", name) : NULL;
    Py_XDECREF(name);
    return repr;
}

/* Pickled, and copied, by its qualified name, as functions are. */
static PyObject *
function_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return function_get_qualname(self, NULL);
}

static PyMethodDef function_methods[] = {
    {"__reduce__", function_reduce, METH_NOARGS,
     PyDoc_STR("__reduce__($self, /)\n--\n\nReturn the qualified name.")},
    {NULL, NULL, 0, NULL},
};

/* ---- life ------------------------------------------------------------------------------------ */

static int
function_traverse(PyObject *self, visitproc visit, void *arg)
{
    FunctionObject *function = (FunctionObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(function->module);
    Py_VISIT(function->owner);
    return 0;
}

static int
function_clear(PyObject *self)
{
    FunctionObject *function = (FunctionObject *)self;
    Py_CLEAR(function->owner);
    return 0;
}

static void
function_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    function_clear(self);
    Py_CLEAR(((FunctionObject *)self)->module);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot function_slots[] = {
    {Py_tp_traverse, function_traverse},
    {Py_tp_clear, function_clear},
    {Py_tp_dealloc, function_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, function_descr_get},
    {Py_tp_repr, function_repr},
    {Py_tp_getset, function_getset},
    {Py_tp_members, function_members},
    {Py_tp_methods, function_methods},
    {0, NULL},
};

static PyType_Spec function_spec = {
    .name = "fastaio._fastaio.CoroutineFunction",
    .basicsize = sizeof(FunctionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION
             | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .slots = function_slots,
};

/* Return a new function, or a method of `owner` if that is not NULL; NULL with an exception. */
static PyObject *
coroutine_function_new(PyObject *module, PyTypeObject *owner, const CoroutineDef *def)
{
    fastaio_state *st = state_of_module(module);
    FunctionObject *self = PyObject_GC_New(FunctionObject, st->primitives->FunctionType);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = function_vectorcall;
    self->def = def;
    self->st = st;
    self->module = Py_NewRef(module);
    self->owner = (PyTypeObject *)Py_XNewRef((PyObject *)owner);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

int
coroutine_functions_add(PyObject *module, const CoroutineDef *defs)
{
    for (; defs->name != NULL; defs++) {
        PyObject *function = coroutine_function_new(module, NULL, defs);
        int result = function ? PyModule_AddObjectRef(module, defs->name, function) : -1;
        Py_XDECREF(function);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

int
add_coroutine_methods(PyObject *module, PyTypeObject *type, const CoroutineDef *defs)
{
    for (; defs->name != NULL; defs++) {
        PyObject *function = coroutine_function_new(module, type, defs);
        int result = function ? PyObject_SetAttrString((PyObject *)type, defs->name, function) : -1;
        Py_XDECREF(function);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

int
coroutine_function_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->primitives->FunctionType = state_add_type(module, &function_spec, NULL);
    return st->primitives->FunctionType ? 0 : -1;
}
