/* overrides.c: looking for methods of a loop that tests, subclasses and tools have replaced. */
#include "loop/loop.h"

enum { HOOK_COUNT = 7 };

typedef struct {
    PyObject *name;
    unsigned flag;
} Hook;

/* List the methods that native code calls without looking them up. */
static void
list_hooks(fastaio_state *st, Hook hooks[HOOK_COUNT])
{
    const Hook all[HOOK_COUNT] = {
        {st->str_call_soon, OVERRIDE_CALL_SOON},
        {st->str_time, OVERRIDE_TIME},
        {st->str_call_at, OVERRIDE_CALL_AT},
        {st->str_get_debug, OVERRIDE_GET_DEBUG},
        {st->str__write_to_self, OVERRIDE_WRITE_TO_SELF},
        {st->str__process_events, OVERRIDE_PROCESS_EVENTS},
        {st->str__run_once, OVERRIDE_RUN_ONCE},
    };
    memcpy(hooks, all, sizeof(all));
}

/* Return 1 if the name leads to something else than the original method, 0, or -1 with an exception. */
static int
is_replaced(PyTypeObject *type, PyObject *dict, PyObject *name, PyObject *original)
{
    int in_dict = dict ? PyDict_Contains(dict, name) : 0;
    if (in_dict) {
        return in_dict;
    }
    PyObject *method = PyObject_GetAttr((PyObject *)type, name);
    if (method == NULL) {
        return -1;
    }
    Py_DECREF(method);
    return method != original;
}

/* Return 1 if asyncio's time() or time.monotonic() has been replaced, 0, or -1 with an exception. A bare
   native loop does not inherit from asyncio's: always 0. */
static int
is_clock_replaced(LoopObject *loop)
{
    fastaio_state *st = loop->st;
    PyTypeObject *base = (PyTypeObject *)st->asyncio_SelectorLoop;
    if (!PyObject_TypeCheck(loop, base)) {
        return 0;
    }
    PyObject *original = PyTuple_GET_ITEM(st->loop_hooks, HOOK_COUNT);
    int replaced = is_replaced(base, NULL, st->str_time, original);
    return replaced ? replaced : watched_clock_is_replaced(&st->replaced.clock);
}

/* Set *overrides to OVERRIDE_*. Return 0, or -1 with an exception. */
static int
find_overrides(LoopObject *loop, unsigned *overrides)
{
    fastaio_state *st = loop->st;
    Hook hooks[HOOK_COUNT];
    PyObject *dict = PyObject_GenericGetDict((PyObject *)loop, NULL);
    if (dict == NULL) {
        PyErr_Clear(); /* a bare native Loop has none */
    }
    int replaced = is_clock_replaced(loop);
    *overrides = replaced > 0 ? OVERRIDE_CLOCK | OVERRIDE_TIME : 0;
    list_hooks(st, hooks);
    for (int i = 0; replaced >= 0 && i < HOOK_COUNT; i++) {
        replaced = is_replaced(Py_TYPE(loop), dict, hooks[i].name,
                               PyTuple_GET_ITEM(st->loop_hooks, i));
        if (replaced > 0) {
            *overrides |= hooks[i].flag;
        }
    }
    Py_XDECREF(dict);
    return replaced < 0 ? -1 : 0;
}

unsigned
loop_refresh_overrides(LoopObject *loop)
{
    fastaio_state *st = loop->st;
    if (st->loop_hooks == NULL) {
        return loop->overrides.flags; /* the module has been cleared */
    }
    PyObject *raised = PyErr_GetRaisedException();
    uint64_t clock = watched_clock_version(&st->replaced.clock);
    if (find_overrides(loop, &loop->overrides.flags) < 0) {
        PyErr_Clear();
        loop->overrides.flags = OVERRIDE_ALL; /* each call looks its name up: slow, but correct */
        loop->overrides.tag = 0;
    }
    else {
        unsigned tag = compat_type_tag(Py_TYPE(loop));
        loop->overrides.tag = tag ? tag : ~0u; /* an unknown version never matches */
        loop->overrides.clock = st->replaced.clock.watcher >= 0 ? clock : UINT64_MAX;
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return loop->overrides.flags;
}

int
loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    LoopObject *loop = (LoopObject *)self;
    if (PyObject_GenericSetAttr(self, name, value) < 0) {
        return -1;
    }
    Hook hooks[HOOK_COUNT];
    if (loop->st != NULL) {
        list_hooks(loop->st, hooks);
        for (int i = 0; i < HOOK_COUNT; i++) {
            if (name == hooks[i].name) {
                loop_refresh_overrides(loop);
            }
        }
    }
    return 0;
}

/* loop_hooks has one method for each hook, then asyncio's time(). */
int
loop_overrides_init(fastaio_state *st)
{
    Hook hooks[HOOK_COUNT];
    list_hooks(st, hooks);
    st->loop_hooks = PyTuple_New(HOOK_COUNT + 1);
    if (st->loop_hooks == NULL) {
        return -1;
    }
    for (int i = 0; i <= HOOK_COUNT; i++) {
        PyObject *type = i < HOOK_COUNT ? (PyObject *)st->LoopType : st->asyncio_SelectorLoop;
        PyObject *method =
            PyObject_GetAttr(type, i < HOOK_COUNT ? hooks[i].name : st->str_time);
        if (method == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(st->loop_hooks, i, method);
    }
    return 0;
}
