/* account.c: what each task and callback costs. */
#include "turn/account.h"

#include "base/args.h"
#include "loop/handle.h"
#include "task/objects.h"

/* The row of whatever comes when there are so many others. */
#define ROWS_MAX 10000
#define OTHERS "(others)"

typedef struct {
    PyObject *name;
    uint64_t steps;
    uint64_t run_ns;
    uint64_t cpu_ns;
    uint64_t longest_ns;
    uint64_t waited_ns;
} Row;

/* Any thread may read the rows and clear them: loop->account_lock is for the rows and their index. */
struct Account {
    bool by_name;
    PyObject *index; /* a dict: name, an exact str -> number of the row */
    Row *rows;
    size_t count;
    size_t capacity;
    int64_t *stamps; /* of the queue's positions; the capacity is a power of two, or 0 */
    size_t stamp_capacity;
    size_t first;    /* the positions from here to `stamped` have a stamp */
    size_t stamped;
};

/* ---- waiting --------------------------------------------------------------------------------- */

/* Make room for `count` stamps. Return false without memory. */
static bool
grow_stamps(Account *account, size_t count)
{
    size_t capacity = account->stamp_capacity ? account->stamp_capacity : 64;
    while (capacity < count) {
        capacity *= 2;
    }
    if (capacity == account->stamp_capacity) {
        return true;
    }
    int64_t *stamps = PyMem_RawMalloc(capacity * sizeof(*stamps));
    if (stamps == NULL) {
        return false;
    }
    for (size_t i = account->first; i != account->stamped; i++) {
        stamps[i & (capacity - 1)] = account->stamps[i & (account->stamp_capacity - 1)];
    }
    PyMem_RawFree(account->stamps);
    account->stamps = stamps;
    account->stamp_capacity = capacity;
    return true;
}

/* Stamp the entries that have no stamp yet. */
static void
stamp(Account *account, const ReadyQueue *ready, int64_t now_ns)
{
    if (account->stamped < ready->head || account->stamped > ready->tail) { /* another queue, or a gap */
        account->first = account->stamped = ready->head;
    }
    if (account->first < ready->head) {
        account->first = ready->head;
    }
    if (!grow_stamps(account, ready->tail - account->first)) {
        account->first = account->stamped = ready->tail; /* these wait for an unknown time */
        return;
    }
    for (; account->stamped != ready->tail; account->stamped++) {
        account->stamps[account->stamped & (account->stamp_capacity - 1)] = now_ns;
    }
}

/* Return how long the entry at a position has waited; 0 if that is not known. */
static int64_t
waited(const Account *account, size_t position, int64_t now_ns)
{
    return position >= account->first && position < account->stamped
               ? now_ns - account->stamps[position & (account->stamp_capacity - 1)] : 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

static PyObject *
type_name(PyObject *obj)
{
    return PyUnicode_FromString(obj ? Py_TYPE(obj)->tp_name : "native");
}

/* Return the qualified name of a function, a coroutine or the like: a new reference; NULL without an exception
   if there is none. */
static PyObject *
qualified_name(fastaio_state *st, PyObject *obj)
{
    PyObject *name;
    if (PyObject_GetOptionalAttr(obj, st->str___qualname__, &name) < 0) {
        PyErr_Clear();
        return NULL;
    }
    if (name != NULL && !PyUnicode_Check(name)) {
        Py_CLEAR(name);
    }
    return name;
}

/* Return the name of a task's account: a new reference, or NULL with an exception. */
static PyObject *
task_name(const Account *account, TaskObject *task)
{
    PyObject *name = NULL;
    if (shared_load(&account->by_name)) {
        Py_BEGIN_CRITICAL_SECTION(task);
        name = task->number == 0 ? Py_XNewRef(task->name) : NULL;
        Py_END_CRITICAL_SECTION();
    }
    if (name == NULL && task->coro != NULL) {
        name = qualified_name(task->core.st, task->coro);
    }
    return name ? name : type_name(task->coro);
}

/* Return the name of a callback's account: a new reference, or NULL with an exception. */
static PyObject *
callback_name(const Account *account, fastaio_state *st, PyObject *callback)
{
    if (callback == NULL) {
        return PyUnicode_FromString("(cancelled)");
    }
    if (PyCFunction_Check(callback)) { /* the step of a task, on a loop where call_soon() is replaced */
        PyObject *self = PyCFunction_GET_SELF(callback);
        if (self != NULL && PyObject_TypeCheck(self, st->TaskType)) {
            return task_name(account, (TaskObject *)self);
        }
    }
    PyObject *name = qualified_name(st, callback);
    if (name != NULL) {
        return name;
    }
    PyObject *inner; /* of a functools.partial() */
    if (PyObject_GetOptionalAttr(callback, st->str_func, &inner) < 0) {
        PyErr_Clear();
        inner = NULL;
    }
    name = inner ? qualified_name(st, inner) : NULL;
    Py_XDECREF(inner);
    return name ? name : type_name(callback);
}

/* Return the name of an entry's account: a new reference, or NULL with an exception. */
static PyObject *
name_of(const Account *account, fastaio_state *st, const ReadyEntry *entry)
{
    PyObject *name, *callback;
    switch (entry->kind) {
    case READY_TASK_STEP:
    case READY_TASK_WAKEUP:
        return task_name(account, (TaskObject *)entry->obj);
    case READY_HANDLE:
        callback = handle_callback((HandleObject *)entry->obj); /* it may be cancelled meanwhile */
        name = callback_name(account, st, callback);
        Py_XDECREF(callback);
        return name;
    case READY_FUTURE_CALLBACK:
        return callback_name(account, st, entry->obj);
    case READY_NATIVE:
        return type_name(entry->obj);
    }
    Py_UNREACHABLE();
}

/* Like name_of(), but an exact str: comparing such names runs no Python code. */
static PyObject *
entry_name(const Account *account, fastaio_state *st, const ReadyEntry *entry)
{
    PyObject *name = name_of(account, st, entry);
    if (name != NULL && !PyUnicode_CheckExact(name)) {
        Py_SETREF(name, PyUnicode_FromObject(name));
    }
    return name;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Add a row, with the lock held. Return its number, or -1 with an exception. */
static Py_ssize_t
add_row(Account *account, PyObject *name)
{
    if (account->count == account->capacity) {
        size_t capacity = account->capacity ? account->capacity * 2 : 32;
        Row *rows = PyMem_RawRealloc(account->rows, capacity * sizeof(*rows));
        if (rows == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        account->rows = rows;
        account->capacity = capacity;
    }
    PyObject *number = PyLong_FromSize_t(account->count);
    if (number == NULL || PyDict_SetItem(account->index, name, number) < 0) {
        Py_XDECREF(number);
        return -1;
    }
    Py_DECREF(number);
    account->rows[account->count] = (Row){.name = Py_NewRef(name)};
    return (Py_ssize_t)account->count++;
}

/* Return the number of the row with that name, or -1 with an exception. The caller has the lock. */
static Py_ssize_t
find_row(Account *account, PyObject *name)
{
    PyObject *number = PyDict_GetItemWithError(account->index, name);
    if (number != NULL) {
        return PyLong_AsSsize_t(number);
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    if (account->count < ROWS_MAX) {
        return add_row(account, name);
    }
    PyObject *others = PyUnicode_FromString(OTHERS);
    Py_ssize_t row = -1;
    if (others != NULL) {
        number = PyDict_GetItemWithError(account->index, others);
        row = number != NULL ? PyLong_AsSsize_t(number)
                             : PyErr_Occurred() ? -1 : add_row(account, others);
    }
    Py_XDECREF(others);
    return row;
}

static int64_t
thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

AccountMark
account_begin(LoopObject *loop, const ReadyEntry *entry)
{
    Account *account = loop->account;
    AccountMark mark = {.row = -1};
    PyObject *name = entry_name(account, loop->st, entry);
    if (name != NULL) {
        mutex_lock(&loop->account_lock);
        mark.row = find_row(account, name);
        if (mark.row >= 0) {
            mark.begin_ns = clock_ns();
            account->rows[mark.row].waited_ns +=
                (uint64_t)waited(account, loop->ready.head - 1, mark.begin_ns);
        }
        mutex_unlock(&loop->account_lock);
        Py_DECREF(name);
    }
    if (mark.row < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
        return mark;
    }
    stamp(account, &loop->ready, mark.begin_ns); /* what the poll and the timers have queued */
    mark.cpu_ns = thread_cpu_ns();
    return mark;
}

void
account_end(LoopObject *loop, AccountMark mark)
{
    Account *account = loop->account;
    int64_t now_ns = clock_ns();
    mutex_lock(&loop->account_lock);
    if (mark.row >= 0 && (size_t)mark.row < account->count) { /* the callback may have cleared the rows */
        Row *row = &account->rows[mark.row];
        uint64_t spent_ns = (uint64_t)(now_ns - mark.begin_ns);
        row->steps++;
        row->run_ns += spent_ns;
        row->cpu_ns += (uint64_t)(thread_cpu_ns() - mark.cpu_ns);
        if (spent_ns > row->longest_ns) {
            row->longest_ns = spent_ns;
        }
    }
    mutex_unlock(&loop->account_lock);
    stamp(account, &loop->ready, now_ns);
}

/* ---- methods --------------------------------------------------------------------------------- */

static void
free_rows(Row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(rows[i].name);
    }
    PyMem_RawFree(rows);
}

/* Drop all rows. Return 0, or -1 with an exception. */
static int
clear_rows(LoopObject *loop, Account *account)
{
    PyObject *index = PyDict_New();
    if (index == NULL) {
        return -1;
    }
    mutex_lock(&loop->account_lock);
    PyObject *old_index = account->index;
    Row *rows = account->rows;
    size_t count = account->count;
    account->index = index;
    account->rows = NULL;
    account->count = account->capacity = 0;
    mutex_unlock(&loop->account_lock);
    Py_DECREF(old_index);
    free_rows(rows, count);
    return 0;
}

/* Return a copy of the rows, to be freed by free_rows(); NULL with MemoryError. Sets *count. */
static Row *
copy_rows(LoopObject *loop, const Account *account, size_t *count)
{
    mutex_lock(&loop->account_lock);
    *count = account->count;
    Row *rows = PyMem_RawMalloc(*count ? *count * sizeof(*rows) : 1);
    if (rows != NULL && *count > 0) {
        memcpy(rows, account->rows, *count * sizeof(*rows));
        for (size_t i = 0; i < *count; i++) {
            Py_INCREF(rows[i].name);
        }
    }
    mutex_unlock(&loop->account_lock);
    if (rows == NULL) {
        PyErr_NoMemory();
    }
    return rows;
}

static Account *
account_new(void)
{
    Account *account = PyMem_RawCalloc(1, sizeof(*account));
    if (account == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    account->index = PyDict_New();
    if (account->index == NULL) {
        PyMem_RawFree(account);
        return NULL;
    }
    return account;
}

PyDoc_STRVAR(account_doc, "_account($self, mode, /)\n--\n\n"
"Keep accounts by coroutine function (1) or by task name (2), or stop (0). Rows stay.");

static PyObject *
loop_account(LoopObject *loop, PyObject *value)
{
    long mode = PyLong_AsLong(value);
    if (mode == -1 && PyErr_Occurred()) {
        return NULL;
    }
    bool exists;
    Py_BEGIN_CRITICAL_SECTION(loop);
    if (loop->account == NULL) {
        shared_store(&loop->account, account_new());
    }
    exists = loop->account != NULL;
    if (exists) {
        shared_store(&loop->account->by_name, mode == 2);
        shared_store(&loop->watchdog.accounted, mode != 0);
    }
    Py_END_CRITICAL_SECTION();
    if (!exists) {
        return NULL;
    }
    loop_update_watchdog(loop);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(account_rows_doc, "_account_rows($self, /)\n--\n\n"
"Return a list of (name, steps, run_ns, cpu_ns, longest_ns, waited_ns).");

static PyObject *
loop_account_rows(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    Account *account = shared_load(&loop->account);
    if (account == NULL) {
        return PyList_New(0);
    }
    size_t count;
    Row *rows = copy_rows(loop, account, &count);
    PyObject *list = rows ? PyList_New(0) : NULL;
    for (size_t i = 0; list != NULL && i < count; i++) {
        const Row *row = &rows[i];
        PyObject *item = Py_BuildValue(
            "OKKKKK", row->name, (unsigned long long)row->steps, (unsigned long long)row->run_ns,
            (unsigned long long)row->cpu_ns, (unsigned long long)row->longest_ns,
            (unsigned long long)row->waited_ns);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    if (rows != NULL) {
        free_rows(rows, count);
    }
    return list;
}

static PyObject *
loop_account_clear(LoopObject *loop, PyObject *Py_UNUSED(ignored))
{
    Account *account = shared_load(&loop->account);
    return account != NULL && clear_rows(loop, account) < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef account_methods[] = {
    {"_account", (PyCFunction)loop_account, METH_O, account_doc},
    {"_account_rows", (PyCFunction)loop_account_rows, METH_NOARGS, account_rows_doc},
    {"_account_clear", (PyCFunction)loop_account_clear, METH_NOARGS,
     "_account_clear($self, /)\n--\n\nDrop all rows."},
    {NULL, NULL, 0, NULL},
};

/* ---- life ------------------------------------------------------------------------------------ */

void
account_free(Account *account)
{
    if (account == NULL) {
        return;
    }
    free_rows(account->rows, account->count);
    Py_DECREF(account->index);
    PyMem_RawFree(account->stamps);
    PyMem_RawFree(account);
}
