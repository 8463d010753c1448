/* replaced.c: looking at asyncio's classes and clock again after a change. */
#include "base/replaced.h"

/* ---- attributes of classes ------------------------------------------------------------------- */

bool
watched_name_look(WatchedName *watched)
{
    if (watched->name == NULL) {
        return false; /* the module has been cleared */
    }
    PyObject *raised = PyErr_GetRaisedException();
    Look look = look_begin(watched->type);
    PyObject *current = PyObject_GetAttr((PyObject *)watched->type, watched->name);
    look.found = current != watched->original;
    look_end(&look, watched->type);
    look_store(&watched->look, look);
    Py_XDECREF(current);
    PyErr_Clear();
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return look.found;
}

/* Take the present value of type.name as the original. Return 0, or -1 with an exception. */
static int
watch_name(WatchedName *watched, PyObject *type, const char *name)
{
    if (!PyType_Check(type)) {
        PyErr_Format(PyExc_ImportError, "%R is no class", type);
        return -1;
    }
    watched->name = PyUnicode_InternFromString(name);
    if (watched->name == NULL) {
        return -1;
    }
    watched->type = (PyTypeObject *)Py_NewRef(type);
    watched->look = look_begin(watched->type);
    watched->original = PyObject_GetAttr(type, watched->name);
    look_end(&watched->look, watched->type);
    return watched->original ? 0 : -1;
}

static int
name_traverse(WatchedName *watched, visitproc visit, void *arg)
{
    if (watched->name != NULL) {
        Py_VISIT(watched->type);
    }
    Py_VISIT(watched->original);
    return 0;
}

/* Clear a name. Code that runs later finds the name not replaced. */
static void
name_clear(WatchedName *watched)
{
    PyTypeObject *type = watched->name != NULL ? watched->type : NULL;
    watched->type = &PyBaseObject_Type;
    watched->look = (Look){0};
    Py_CLEAR(watched->name);
    Py_CLEAR(watched->original);
    Py_XDECREF(type);
}

PyObject *
bind_attribute(PyObject *type, PyObject *name, PyObject *instance)
{
    PyObject *attribute = PyObject_GetAttr(type, name);
    descrgetfunc get = attribute ? Py_TYPE(attribute)->tp_descr_get : NULL;
    if (get == NULL) { /* no descriptor, as a mock: called without the instance, as by asyncio */
        return attribute;
    }
    PyObject *bound = get(attribute, instance, type);
    Py_DECREF(attribute);
    return bound;
}

/* ---- the clock ------------------------------------------------------------------------------- */

#if DICT_HAS_WATCHERS

#define CHANGES_KEY "fastaio._fastaio.clock_changes"

/* Return the interpreter's count of changes, and set *capsule to a new reference to its owner if `capsule` is
   not NULL; NULL if there is no count. A watcher's callback does not know which copy of the module it
   serves. So the count belongs to the interpreter, and every copy keeps the count alive. */
static uint64_t *
changes_of_interpreter(PyObject **capsule)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get()); /* borrowed */
    PyObject *found = dict ? PyDict_GetItemString(dict, CHANGES_KEY) : NULL;
    if (found == NULL) {
        return NULL;
    }
    if (capsule != NULL) {
        *capsule = Py_NewRef(found);
    }
    return PyCapsule_GetPointer(found, CHANGES_KEY);
}

/* The watcher's callback: count a change, unless it is of another name. */
static int
clock_changes(PyDict_WatchEvent event, PyObject *Py_UNUSED(dict), PyObject *key,
              PyObject *Py_UNUSED(value))
{
    bool other_key = key != NULL && PyUnicode_Check(key)
                     && PyUnicode_CompareWithASCIIString(key, "monotonic") != 0
                     && PyUnicode_CompareWithASCIIString(key, "time") != 0;
    if (event == PyDict_EVENT_DEALLOCATED || other_key) {
        return 0;
    }
    uint64_t *changes = changes_of_interpreter(NULL);
    if (changes != NULL) {
        shared_add(changes, 1);
    }
    return 0;
}

static void
free_changes(PyObject *capsule)
{
    PyMem_RawFree(PyCapsule_GetPointer(capsule, CHANGES_KEY));
}

static int
make_changes(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get()); /* borrowed */
    uint64_t *changes = PyMem_RawCalloc(1, sizeof(*changes));
    PyObject *capsule = changes ? PyCapsule_New(changes, CHANGES_KEY, free_changes) : NULL;
    if (capsule == NULL) {
        PyMem_RawFree(changes);
        return -1;
    }
    int result = dict ? PyDict_SetItemString(dict, CHANGES_KEY, capsule) : -1;
    Py_DECREF(capsule);
    return result;
}

static int
watch_clock(WatchedClock *clock)
{
    if (changes_of_interpreter(NULL) == NULL && make_changes() < 0) {
        return -1;
    }
    clock->changes = changes_of_interpreter(&clock->capsule);
    if (clock->changes == NULL) {
        return -1;
    }
    clock->watcher = PyDict_AddWatcher(clock_changes);
    if (clock->watcher < 0) { /* all watchers are taken: the clock is looked up each time */
        PyErr_Clear();
        return 0;
    }
    return PyDict_Watch(clock->watcher, clock->time_dict) < 0
                   || PyDict_Watch(clock->watcher, clock->base_dict) < 0
               ? -1
               : 0;
}

/* Remove the watcher, which belongs to this copy of the module. */
static void
unwatch_clock(WatchedClock *clock)
{
    static const uint64_t never_changes = 0;
    if (clock->capsule != NULL && clock->watcher >= 0) {
        PyObject *raised = PyErr_GetRaisedException();
        if (PyDict_Unwatch(clock->watcher, clock->time_dict) < 0
            || PyDict_Unwatch(clock->watcher, clock->base_dict) < 0
            || PyDict_ClearWatcher(clock->watcher) < 0) {
            PyErr_Clear();
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    clock->watcher = -1;
    clock->changes = &never_changes;
    Py_CLEAR(clock->capsule);
}

#else /* a dict has a version */

static int
watch_clock(WatchedClock *clock)
{
    clock->watcher = 0;
    return 0;
}

static void
unwatch_clock(WatchedClock *Py_UNUSED(clock))
{
}

#endif

bool
watched_clock_is_replaced(const WatchedClock *clock)
{
    if (clock->original == NULL) {
        return false; /* the module is being cleared */
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *module = PyDict_GetItemString(clock->base_dict, "time");
    bool replaced = module != clock->module
                    || PyDict_GetItemString(clock->time_dict, "monotonic") != clock->original;
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return replaced;
}

static int
init_clock(WatchedClock *clock)
{
    PyObject *base_events = PyImport_ImportModule("asyncio.base_events");
    clock->module = base_events ? PyImport_ImportModule("time") : NULL;
    if (clock->module == NULL) {
        Py_XDECREF(base_events);
        return -1;
    }
    clock->base_dict = Py_NewRef(PyModule_GetDict(base_events));
    clock->time_dict = Py_NewRef(PyModule_GetDict(clock->module));
    clock->original = PyObject_GetAttrString(clock->module, "monotonic");
    Py_DECREF(base_events);
    return clock->original ? watch_clock(clock) : -1;
}

/* ---- all names ------------------------------------------------------------------------------- */

int
replaced_init(Replaced *replaced, PyObject *timer_handle, PyObject *guarded_handle,
              PyObject *transport)
{
    replaced->clock.watcher = -1;
    return watch_name(&replaced->timer_run, timer_handle, "_run") < 0
                   || watch_name(&replaced->guarded_run, guarded_handle, "_run") < 0
                   || watch_name(&replaced->extra_info, transport, "get_extra_info") < 0
                   || init_clock(&replaced->clock) < 0
               ? -1
               : 0;
}

int
replaced_traverse(Replaced *replaced, visitproc visit, void *arg)
{
    WatchedName *names[] = {&replaced->timer_run, &replaced->guarded_run, &replaced->extra_info};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        int result = name_traverse(names[i], visit, arg);
        if (result) {
            return result;
        }
    }
    Py_VISIT(replaced->clock.time_dict);
    Py_VISIT(replaced->clock.base_dict);
    Py_VISIT(replaced->clock.module);
    Py_VISIT(replaced->clock.original);
    return 0;
}

void
replaced_clear(Replaced *replaced)
{
    name_clear(&replaced->timer_run);
    name_clear(&replaced->guarded_run);
    name_clear(&replaced->extra_info);
    unwatch_clock(&replaced->clock);
    Py_CLEAR(replaced->clock.original);
    Py_CLEAR(replaced->clock.module);
    Py_CLEAR(replaced->clock.time_dict);
    Py_CLEAR(replaced->clock.base_dict);
}
