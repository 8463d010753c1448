/* guard.c: on an interpreter without a GIL, methods and attributes that only one thread at a time may use.
 *
 * In the dict of a guarded type stand descriptors that begin the claim, use the descriptor that stood there
 * before, and end the claim.
 */
#include "base/guard.h"

#ifdef Py_GIL_DISABLED

#include <structmember.h>

/* ---- claims ---------------------------------------------------------------------------------- */

int
guard_begin(Guard *guard, PyObject *self, PyObject *loop)
{
    guard->loop = loop;
    guard->guest = false;
    if (loop == NULL) {
        PyCriticalSection_Begin(&guard->section, self);
        return 0;
    }
    Claim *claim = &((ClaimedObject *)loop)->claim;
    if (claim_begin(claim) < 0) {
        return -1;
    }
    /* Within another claim somebody else holds the loop. */
    guard->outermost = claim->depth == 1;
    if (guard->outermost) {
        Py_INCREF(loop);
    }
    return 0;
}

bool
guard_try_as_guest(Guard *guard, PyObject *self, PyObject *loop)
{
    Claim *claim = loop ? &((ClaimedObject *)loop)->claim : NULL;
    if (claim == NULL || claim_is_mine(claim)) {
        (void)guard_begin(guard, self, loop); /* cannot fail */
        return true;
    }
    if (!claim_as_guest(claim)) {
        return false;
    }
    guard->loop = Py_NewRef(loop);
    guard->guest = guard->outermost = true;
    return true;
}

void
guard_end(Guard *guard)
{
    if (guard->loop == NULL) {
        PyCriticalSection_End(&guard->section);
        return;
    }
    Claim *claim = &((ClaimedObject *)guard->loop)->claim;
    if (guard->guest) {
        claim_end_as_guest(claim);
    }
    else {
        claim_end(claim);
    }
    if (guard->outermost) {
        Py_DECREF(guard->loop);
    }
}

PyObject *
guard_foreign_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<%s at %p, of a loop in another thread>", Py_TYPE(self)->tp_name,
                                self);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall; /* of a method */
    PyObject *inner;           /* the descriptor that stood in its place */
    PyTypeObject *type;        /* the guarded type; borrowed from `inner` */
    const GuardRules *rules;
    PyObject *look;            /* the method for threads without the claim, a descriptor; or NULL */
    bool is_open;              /* any thread may read this attribute */
} GuardedObject;

static inline PyObject *
loop_of(const GuardedObject *guarded, PyObject *self)
{
    return guarded->rules->loop_of != NULL ? guarded->rules->loop_of(self) : NULL;
}

static PyObject *
method_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *keywords)
{
    GuardedObject *guarded = (GuardedObject *)callable;
    if (PyVectorcall_NARGS(flags) == 0 || !PyObject_TypeCheck(args[0], guarded->type)) {
        return PyObject_Vectorcall(guarded->inner, args, flags, keywords); /* raises TypeError */
    }
    Guard guard;
    PyObject *loop = loop_of(guarded, args[0]);
    if (guarded->look != NULL) {
        if (!guard_try_as_guest(&guard, args[0], loop)) {
            return PyObject_Vectorcall(guarded->look, args, flags, keywords);
        }
    }
    else if (guard_begin(&guard, args[0], loop) < 0) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(guarded->inner, args, flags, keywords);
    guard_end(&guard);
    return result;
}

static PyObject *
method_get(PyObject *self, PyObject *obj, PyObject *Py_UNUSED(type))
{
    return obj == NULL || obj == Py_None ? Py_NewRef(self) : PyMethod_New(self, obj);
}

static PyObject *
attribute_get(PyObject *self, PyObject *obj, PyObject *type)
{
    GuardedObject *guarded = (GuardedObject *)self;
    descrgetfunc get = Py_TYPE(guarded->inner)->tp_descr_get;
    if (obj == NULL) {
        return Py_NewRef(self);
    }
    if (!PyObject_TypeCheck(obj, guarded->type)) {
        return get(guarded->inner, obj, type); /* raises TypeError */
    }
    Guard guard;
    PyObject *loop = loop_of(guarded, obj);
    if (guarded->is_open && loop != NULL && !claim_is_mine(&((ClaimedObject *)loop)->claim)) {
        loop = NULL; /* the section is enough */
    }
    if (guard_begin(&guard, obj, loop) < 0) {
        return NULL;
    }
    PyObject *result = get(guarded->inner, obj, type);
    guard_end(&guard);
    return result;
}

static int
attribute_set(PyObject *self, PyObject *obj, PyObject *value)
{
    GuardedObject *guarded = (GuardedObject *)self;
    descrsetfunc set = Py_TYPE(guarded->inner)->tp_descr_set;
    if (!PyObject_TypeCheck(obj, guarded->type)) {
        return set(guarded->inner, obj, value);
    }
    Guard guard;
    if (guard_begin(&guard, obj, loop_of(guarded, obj)) < 0) {
        return -1;
    }
    Section section;
    section_begin(&section, guarded->is_open ? obj : NULL);
    int result = set(guarded->inner, obj, value);
    section_end(&section);
    guard_end(&guard);
    return result;
}

/* Everything else about a guarded descriptor is what the inner one says: its name, its signature, its
   documentation. */
static PyObject *
guarded_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((GuardedObject *)self)->inner, name);
    }
    return value;
}

static PyObject *
guarded_repr(PyObject *self)
{
    return PyObject_Repr(((GuardedObject *)self)->inner);
}

static PyObject *
guarded_get_from_inner(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((GuardedObject *)self)->inner, name);
}

static int
guarded_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((GuardedObject *)self)->inner);
    Py_VISIT(((GuardedObject *)self)->look);
    return 0;
}

static int
guarded_clear(PyObject *self)
{
    (void)self; /* a descriptor stays whole: another thread may call it */
    return 0;
}

static void
guarded_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(((GuardedObject *)self)->inner);
    Py_XDECREF(((GuardedObject *)self)->look);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyGetSetDef guarded_getset[] = {
    {"__doc__", guarded_get_from_inner, NULL, NULL, "__doc__"},
    {"__name__", guarded_get_from_inner, NULL, NULL, "__name__"},
    {"__qualname__", guarded_get_from_inner, NULL, NULL, "__qualname__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(GuardedObject, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define GUARDED_SLOTS                                                                              \
    {Py_tp_dealloc, guarded_dealloc}, {Py_tp_traverse, guarded_traverse},                          \
    {Py_tp_clear, guarded_clear}, {Py_tp_getattro, guarded_getattro},                              \
    {Py_tp_repr, guarded_repr}, {Py_tp_getset, guarded_getset}

static PyType_Slot method_slots[] = {
    GUARDED_SLOTS,
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, method_get},
    {Py_tp_members, method_members},
    {0, NULL},
};

static PyType_Slot attribute_slots[] = {
    GUARDED_SLOTS,
    {Py_tp_descr_get, attribute_get},
    {Py_tp_descr_set, attribute_set},
    {0, NULL},
};

#define GUARDED_FLAGS                                                                              \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION                   \
     | Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec method_spec = {
    .name = "fastaio._fastaio.GuardedMethod",
    .basicsize = sizeof(GuardedObject),
    .flags = GUARDED_FLAGS | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .slots = method_slots,
};

static PyType_Spec attribute_spec = {
    .name = "fastaio._fastaio.GuardedAttribute",
    .basicsize = sizeof(GuardedObject),
    .flags = GUARDED_FLAGS,
    .slots = attribute_slots,
};

int
guard_types_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->GuardedMethodType = state_add_type(module, &method_spec, NULL);
    st->GuardedAttributeType = state_add_type(module, &attribute_spec, NULL);
    return st->GuardedMethodType && st->GuardedAttributeType ? 0 : -1;
}

/* ---- guarding a type ------------------------------------------------------------------------- */

static bool
is_listed(const char *const *names, PyObject *name)
{
    for (const char *const *known = names; known != NULL && *known != NULL; known++) {
        if (PyUnicode_CompareWithASCIIString(name, *known) == 0) {
            return true;
        }
    }
    return false;
}

/* Store the method for threads without the claim, or NULL, in *look. Return 0, or -1 with an exception. */
static int
find_look(PyTypeObject *type, const GuardRules *rules, PyObject *name, PyObject **look)
{
    *look = NULL;
    for (PyMethodDef *def = rules->looks; def != NULL && def->ml_name != NULL; def++) {
        if (PyUnicode_CompareWithASCIIString(name, def->ml_name) == 0) {
            *look = PyDescr_NewMethod(type, def);
            return *look != NULL ? 0 : -1;
        }
    }
    return 0;
}

/* Return the type of the descriptor that guards `value`, or NULL if nothing has to. */
static PyTypeObject *
guarding_type(fastaio_state *st, PyObject *value)
{
    if (Py_IS_TYPE(value, &PyMethodDescr_Type)) {
        return st->GuardedMethodType;
    }
    if (Py_IS_TYPE(value, &PyGetSetDescr_Type) || Py_IS_TYPE(value, &PyMemberDescr_Type)) {
        return st->GuardedAttributeType;
    }
    return NULL;
}

int
guard_type(fastaio_state *st, PyTypeObject *type, const GuardRules *rules)
{
    PyObject *name, *value, *dict = PyType_GetDict(type);
    PyObject *items = dict ? PyDict_Copy(dict) : NULL;
    Py_ssize_t position = 0;
    int result = items != NULL ? 0 : -1;
    while (result == 0 && PyDict_Next(items, &position, &name, &value)) {
        PyTypeObject *guarding = guarding_type(st, value);
        if (guarding == NULL || is_listed(rules->free_names, name)) {
            continue;
        }
        GuardedObject *guarded = PyObject_GC_New(GuardedObject, guarding);
        if (guarded == NULL) {
            result = -1;
            break;
        }
        guarded->vectorcall = method_call;
        guarded->inner = Py_NewRef(value);
        guarded->type = type;
        guarded->rules = rules;
        guarded->is_open = is_listed(rules->open_names, name);
        result = find_look(type, rules, name, &guarded->look);
        PyObject_GC_Track(guarded);
        compat_immortalise(guarded);
        if (result == 0) {
            result = PyDict_SetItem(dict, name, (PyObject *)guarded);
        }
    }
    if (result == 0) {
        PyType_Modified(type);
    }
    Py_XDECREF(items);
    Py_XDECREF(dict);
    return result;
}

#endif
