/* queue.c: what a queue does without a wait. */
#include "primitives/queue.h"

#include "base/args.h"
#include "base/asyncio_versions.h"
#include "primitives/counter.h"
#include "primitives/event.h"
#include "primitives/queue_items.h"
#include "primitives/waiter.h"

/* Return the truth of self.<method>(): 1, 0, or -1 with an exception. */
static int
ask(PyObject *self, PyObject *method)
{
    PyObject *answer = PyObject_CallMethodNoArgs(self, method);
    int truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

/* ---- size ------------------------------------------------------------------------------------ */

/* Return true if the container is exactly a deque or a list: Py_SIZE() is its length. */
static bool
is_sized(const fastaio_state *st, PyObject *items)
{
    return Py_IS_TYPE(items, (PyTypeObject *)st->deque) || PyList_CheckExact(items);
}

/* Return len(_queue), or -1 with an exception. */
static Py_ssize_t
item_count(const fastaio_state *st, PyObject *self)
{
    PyObject *items = primitive_field(self, ((QueueObject *)self)->queue, "_queue");
    if (items == NULL || is_sized(st, items)) {
        return items ? Py_SIZE(items) : -1;
    }
    Py_INCREF(items);
    Py_ssize_t count = PyObject_Size(items);
    Py_DECREF(items);
    return count;
}

/* Do empty(): return `not _queue`: 1, 0, or -1 with an exception. */
static int
has_no_items(const fastaio_state *st, PyObject *self)
{
    PyObject *items = primitive_field(self, ((QueueObject *)self)->queue, "_queue");
    if (items == NULL || is_sized(st, items)) {
        return items ? Py_SIZE(items) == 0 : -1;
    }
    int truth = primitive_truth(items);
    return truth < 0 ? -1 : !truth;
}

int
queue_is_empty(fastaio_state *st, PyObject *self)
{
    return queue_kind(st, self) != QUEUE_OTHER ? has_no_items(st, self) : ask(self, st->str_empty);
}

/* Return the size as qsize() does, a new reference; NULL with an exception. */
static PyObject *
size_of(const fastaio_state *st, PyObject *self)
{
    if (queue_kind(st, self) == QUEUE_OTHER) {
        return PyObject_CallMethodNoArgs(self, st->str_qsize);
    }
    Py_ssize_t count = item_count(st, self);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

/* Return `qsize() >= _maxsize`: 1, 0, or -1 with an exception. */
static int
has_items(const fastaio_state *st, PyObject *self)
{
    PyObject *size = size_of(st, self);
    PyObject *maxsize = size ? primitive_field(self, ((QueueObject *)self)->maxsize, "_maxsize")
                             : NULL;
    int full = maxsize ? counter_compare_fields(size, maxsize, Py_GE) : -1;
    Py_XDECREF(size);
    return full;
}

/* Do full(): return 1, 0, or -1 with an exception. */
static int
has_maxsize_items(const fastaio_state *st, PyObject *self)
{
    PyObject *maxsize = primitive_field(self, ((QueueObject *)self)->maxsize, "_maxsize");
    long number;
    if (maxsize != NULL && compat_small_int(maxsize, &number)
        && (number <= 0 || queue_kind(st, self) != QUEUE_OTHER)) {
        Py_ssize_t count = number > 0 ? item_count(st, self) : 0;
        return number <= 0 ? 0 : count < 0 ? -1 : count >= number;
    }
    int unlimited = maxsize ? counter_compare(maxsize, 0, Py_LE) : -1;
    return unlimited == 0 ? has_items(st, self) : unlimited < 0 ? -1 : 0;
}

int
queue_is_full(fastaio_state *st, PyObject *self)
{
    return queue_kind(st, self) != QUEUE_OTHER ? has_maxsize_items(st, self)
                                               : ask(self, st->str_full);
}

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\nReturn the number of items in the queue.");

static PyObject *
queue_qsize(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    Py_ssize_t count = st ? item_count(st, self) : -1;
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nReturn True if the queue has no items.");

static PyObject *
queue_empty(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    int empty = st ? has_no_items(st, self) : -1;
    return empty < 0 ? NULL : PyBool_FromLong(empty);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\n"
"Return True if the queue has `maxsize` items. A queue without a limit is never full.");

static PyObject *
queue_full(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    int full = st ? has_maxsize_items(st, self) : -1;
    return full < 0 ? NULL : PyBool_FromLong(full);
}

/* ---- the end of a queue ---------------------------------------------------------------------- */

#if QUEUE_HAS_SHUTDOWN
int
queue_is_shutdown(PyObject *self)
{
    PyObject *value = primitive_field(self, ((QueueObject *)self)->is_shutdown, "_is_shutdown");
    return value ? primitive_truth(value) : -1;
}

void
queue_raise_shutdown(fastaio_state *st)
{
    PyErr_SetNone(st->primitives->QueueShutDown);
}
#else
int
queue_is_shutdown(PyObject *Py_UNUSED(self))
{
    return 0;
}

void
queue_raise_shutdown(fastaio_state *Py_UNUSED(st))
{
}
#endif

/* ---- waking ---------------------------------------------------------------------------------- */

/* Wake the first waiter that is not done, and drop those before it. Return 0, or -1 with an exception. */
static int
wake_first_pending(fastaio_state *st, PyObject *waiters)
{
    int more;
    while ((more = deque_is_true(st, waiters)) > 0) {
        PyObject *waiter = deque_popleft(st, waiters);
        int woken = waiter ? waiter_wake(st, waiter, Py_None) : -1;
        Py_XDECREF(waiter);
        if (woken != 0) {
            return woken < 0 ? -1 : 0;
        }
    }
    return more;
}

int
queue_wake_next(fastaio_state *st, PyObject *self, PyObject *const *waiters, const char *name)
{
    PyObject *deque = Py_XNewRef(primitive_field(self, *waiters, name));
    if (deque == NULL) {
        return -1;
    }
    int result = queue_kind(st, self) != QUEUE_OTHER
                     ? wake_first_pending(st, deque)
                     : drop_result(PyObject_CallMethodOneArg(self, st->str__wakeup_next, deque));
    Py_DECREF(deque);
    return result;
}

static PyObject *
queue_wakeup_next_method(PyObject *self, PyObject *waiters)
{
    fastaio_state *st = primitive_state(self);
    return st && wake_first_pending(st, waiters) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* ---- putting --------------------------------------------------------------------------------- */

/* Return 0, or -1 with QueueShutDown, QueueFull or another exception. */
static int
check_put(fastaio_state *st, PyObject *self)
{
    int refused = queue_is_shutdown(self);
    if (refused > 0) {
        queue_raise_shutdown(st);
    }
    else if (refused == 0 && (refused = queue_is_full(st, self)) > 0) {
        PyErr_SetNone(st->primitives->QueueFull);
    }
    return refused != 0 ? -1 : 0;
}

/* Count an item that has been put. Return 0, or -1 with an exception. */
static int
count_item(fastaio_state *st, PyObject *self)
{
    QueueObject *queue = (QueueObject *)self;
    if (counter_step(self, &queue->unfinished, "_unfinished_tasks", 1) < 0
        || primitive_field(self, queue->finished, "_finished") == NULL) {
        return -1;
    }
    PyObject *finished = Py_NewRef(queue->finished);
    int result = event_clear(st, finished);
    Py_DECREF(finished);
    return result;
}

/* Do Queue.put_nowait() behind its checks. Return None, or NULL with an exception. */
static PyObject *
put(fastaio_state *st, PyObject *self, PyObject *item)
{
    QueueKind kind = queue_kind(st, self);
    int added = kind != QUEUE_OTHER
                    ? queue_add(st, self, kind, item)
                    : drop_result(PyObject_CallMethodOneArg(self, st->str__put, item));
    if (added < 0 || count_item(st, self) < 0
        || queue_wake_next(st, self, &((QueueObject *)self)->getters, "_getters") < 0) {
        return NULL;
    }
    return Py_NewRef(Py_None);
}

PyObject *
queue_put_into_room(fastaio_state *st, PyObject *self, PyObject *item)
{
    if (queue_kind(st, self) == QUEUE_OTHER) {
        return PyObject_CallMethodOneArg(self, st->str_put_nowait, item);
    }
    int ended = queue_is_shutdown(self);
    if (ended > 0) {
        queue_raise_shutdown(st);
    }
    return ended != 0 ? NULL : put(st, self, item);
}

PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, /, item)\n--\n\n"
"Put an item into the queue. Raises QueueFull if there is no room.");

static PyObject *
put_nowait_method(PyObject *self, PyObject *item)
{
    fastaio_state *st = primitive_state(self);
    return st && check_put(st, self) == 0 ? put(st, self, item) : NULL;
}

BY_KEYWORD_TOO(put_nowait_method, "put_nowait", "item")

/* ---- getting --------------------------------------------------------------------------------- */

/* Return 0, or -1 with QueueEmpty, QueueShutDown or another exception. */
static int
check_get(fastaio_state *st, PyObject *self)
{
    int empty = queue_is_empty(st, self);
    if (empty <= 0) {
        return empty;
    }
    int ended = queue_is_shutdown(self);
    if (ended > 0) {
        queue_raise_shutdown(st);
    }
    else if (ended == 0) {
        PyErr_SetNone(st->primitives->QueueEmpty);
    }
    return -1;
}

/* Do Queue.get_nowait() behind its checks. Return the item, or NULL with an exception. */
static PyObject *
get(fastaio_state *st, PyObject *self)
{
    QueueKind kind = queue_kind(st, self);
    PyObject *item = kind != QUEUE_OTHER ? queue_take(st, self, kind)
                                         : PyObject_CallMethodNoArgs(self, st->str__get);
    if (item != NULL
        && queue_wake_next(st, self, &((QueueObject *)self)->putters, "_putters") < 0) {
        Py_CLEAR(item);
    }
    return item;
}

PyObject *
queue_get_present(fastaio_state *st, PyObject *self)
{
    return queue_kind(st, self) != QUEUE_OTHER
               ? get(st, self)
               : PyObject_CallMethodNoArgs(self, st->str_get_nowait);
}

PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
"Take an item out of the queue. Raises QueueEmpty if there is none.");

static PyObject *
get_nowait_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    return st && check_get(st, self) == 0 ? get(st, self) : NULL;
}

/* ---- counting what is done ------------------------------------------------------------------- */

/* Count an item as done. Return 0, or -1 with an exception. */
static int
task_done(fastaio_state *st, PyObject *self)
{
    QueueObject *queue = (QueueObject *)self;
    int none = counter_compare_field(self, queue->unfinished, "_unfinished_tasks", 0, Py_LE);
    if (none > 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
    }
    if (none != 0 || counter_step(self, &queue->unfinished, "_unfinished_tasks", -1) < 0) {
        return -1;
    }
    int last = counter_compare_field(self, queue->unfinished, "_unfinished_tasks", 0, Py_EQ);
    if (last <= 0) {
        return last;
    }
    PyObject *finished = Py_XNewRef(primitive_field(self, queue->finished, "_finished"));
    int result = finished ? event_set(st, finished) : -1;
    Py_XDECREF(finished);
    return result;
}

PyDoc_STRVAR(task_done_doc, "task_done($self, /)\n--\n\n"
"Tell that the work on an item from get() is done. When it is done for all items, join() ends.\n\n"
"Raises ValueError if called more often than items were put.");

static PyObject *
task_done_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = primitive_state(self);
    return st && task_done(st, self) == 0 ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef queue_methods[] = {
    QUEUE_ITEM_METHODS(fifo),
    {"qsize", queue_qsize, METH_NOARGS, qsize_doc},
    {"empty", queue_empty, METH_NOARGS, empty_doc},
    {"full", queue_full, METH_NOARGS, full_doc},
    {"put_nowait", KEYWORDS(put_nowait_method_call), METH_FASTCALL | METH_KEYWORDS, put_nowait_doc},
    {"get_nowait", get_nowait_method, METH_NOARGS, get_nowait_doc},
    {"task_done", task_done_method, METH_NOARGS, task_done_doc},
    {"_wakeup_next", queue_wakeup_next_method, METH_O,
     PyDoc_STR("_wakeup_next($self, waiters, /)\n--\n\n"
               "Wake the first waiter that is not done, and drop those before it.")},
    {NULL, NULL, 0, NULL},
};
