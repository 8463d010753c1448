/* overrides.c: looking for methods of a loop that tests, subclasses and tools have replaced. */
#include "loop/loop.h"

enum { HOOK_COUNT = 11 };

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
        {st->str_call_later, OVERRIDE_CALL_LATER},
        {st->str_create_future, OVERRIDE_CREATE_FUTURE},
        {st->str_create_task, OVERRIDE_CREATE_TASK},
        {st->str_call_soon_threadsafe, OVERRIDE_CALL_SOON_THREADSAFE},
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

/* Add to the number of changes of the loop's own attributes, and return it. */
static inline unsigned
count_changes(LoopObject *loop, unsigned more)
{
#ifdef Py_GIL_DISABLED
    return __atomic_add_fetch(&loop->overrides.changes, more, __ATOMIC_SEQ_CST);
#else
    (void)loop;
    return more;
#endif
}

/* Note the result of a look. Another thread may have changed the loop or the clock since, and looked again: then its
   result stays. */
static void
keep_look(LoopObject *loop, Look look, uint64_t clock, unsigned changes)
{
    Overrides *overrides = &loop->overrides;
    Py_BEGIN_CRITICAL_SECTION(loop);
    if (HAS_GIL || (changes == count_changes(loop, 0) && clock >= relaxed_load(&overrides->clock))) {
        look_store(&overrides->look, look);
        shared_store(&overrides->clock, clock);
    }
    Py_END_CRITICAL_SECTION();
}

unsigned
loop_refresh_overrides(LoopObject *loop)
{
    fastaio_state *st = loop->st;
    if (st->loop_hooks == NULL) {
        return look_load(&loop->overrides.look).found; /* the module has been cleared */
    }
    PyObject *raised = PyErr_GetRaisedException();
    uint64_t clock = watched_clock_version(&st->replaced.clock);
    watched_clock_settle(&st->replaced.clock);
    unsigned changes = count_changes(loop, 0);
    Look look = look_begin(Py_TYPE(loop));
    if (find_overrides(loop, &look.found) < 0) {
        PyErr_Clear();
        look = (Look){.found = OVERRIDE_ALL}; /* each call looks its name up: slow, but correct */
        clock = shared_load(&loop->overrides.clock);
    }
    else {
        look_end(&look, Py_TYPE(loop));
        clock = st->replaced.clock.watcher >= 0 ? clock : UINT64_MAX;
    }
    keep_look(loop, look, clock, changes);
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return look.found;
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
                (void)count_changes(loop, 1);
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
