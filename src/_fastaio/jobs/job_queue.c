/* job_queue.c: the type JobQueue, what the threads of the default executor wait for.
 *
 * The executor is concurrent.futures' own, with its threads, its bounds and its shutdown. This queue takes the
 * place of two of its parts:
 *
 * - of the queue of work items. Beside work items it has native jobs (job.c), which get() runs itself. So
 *   a thread that has only native jobs to run does not leave get().
 * - of the semaphore that counts idle threads: acquire() tells whether an idle thread has been woken
 *   for the item that was put last.
 *
 * An idle thread waits in get() without the GIL. The thread that came last is woken first, since its stack is in
 * the CPU's cache. A thread that has to wake its loop does that after it has released the GIL, so that the loop
 * need not wait for the GIL. The GIL guards all fields; without one, `lock` does.
 */
#include "jobs/job_queue.h"

#include "base/deque.h"
#include "base/mutex.h"
#include "jobs/job.h"
#include <semaphore.h>

/* A thread that waits for an item; on its stack. */
typedef struct Waiter {
    struct Waiter *next;
    sem_t woken;
} Waiter;

typedef struct {
    PyObject_HEAD
    fastaio_state *st;
    Mutex lock;           /* held while the fields below are used; no Python code runs meanwhile */
    PyObject *items;     /* a deque of jobs and work items; None tells the threads to end */
    Waiter *waiters;     /* the last comes first; while there are any, `items` is empty */
    unsigned unserved;   /* items that no idle thread was woken for: each is a false acquire() */
    unsigned fork_count; /* st->fork_count when the queue was made or used last */
    bool is_ending;      /* a None has been put; without the lock: relaxed_load() */
} JobQueue;

static inline bool
is_inherited(const JobQueue *queue)
{
    return __atomic_load_n(&queue->fork_count, __ATOMIC_ACQUIRE) != queue->st->fork_count;
}

/* Lock the queue. In a forked child forget who had the lock. */
static void
queue_lock(JobQueue *queue)
{
    if (is_inherited(queue)) {
        state_lock(queue->st);
        if (is_inherited(queue)) {
            mutex_after_fork(&queue->lock);
            queue->waiters = NULL; /* threads of the parent */
            __atomic_store_n(&queue->fork_count, queue->st->fork_count, __ATOMIC_RELEASE);
        }
        state_unlock(queue->st);
    }
    mutex_lock(&queue->lock);
}

/* Do add() for a caller that has the lock. */
static int
add_locked(JobQueue *queue, PyObject *item)
{
    if (deque_append(queue->st, queue->items, item) < 0) {
        return -1;
    }
    Waiter *waiter = queue->waiters;
    if (waiter == NULL) {
        queue->unserved++;
        return 0;
    }
    queue->waiters = waiter->next;
    sem_post(&waiter->woken);
    return 1;
}

/* Add an item. Return 1 if an idle thread has been woken for it, 0 if there is none, or -1 with an
   exception. */
static int
add(JobQueue *queue, PyObject *item)
{
    queue_lock(queue);
    int woken = add_locked(queue, item);
    if (woken >= 0 && item == Py_None) {
        relaxed_store(&queue->is_ending, true);
    }
    mutex_unlock(&queue->lock);
    return woken;
}

/* Add a job, as add() does. Drop it and return -2 if the threads are ending. Takes over the reference. */
static int
add_job(JobQueue *queue, PyObject *job)
{
    queue_lock(queue);
    int woken = queue->is_ending ? -2 : add_locked(queue, job);
    mutex_unlock(&queue->lock);
    Py_DECREF(job);
    return woken;
}

/* Wait until another thread adds an item. `sleeper`: a loop to be woken meanwhile, or NULL. The caller has the
   lock, which is given back. */
static void
await_item(JobQueue *queue, LoopObject *sleeper)
{
    Waiter waiter = {.next = queue->waiters};
    sem_init(&waiter.woken, 0, 0);
    queue->waiters = &waiter;
    mutex_unlock(&queue->lock);
    Py_BEGIN_ALLOW_THREADS
    if (sleeper != NULL) {
        loop_wake_claimed(sleeper);
    }
    while (sem_wait(&waiter.woken) < 0) {
        continue; /* a signal */
    }
    Py_END_ALLOW_THREADS
    queue_lock(queue); /* the thread that has posted is done with the semaphore */
    mutex_unlock(&queue->lock);
    sem_destroy(&waiter.woken);
}

/* ---- methods --------------------------------------------------------------------------------- */

PyDoc_STRVAR(submit_doc, "submit($self, loop, future, func, args, /)\n--\n\n"
"Have a thread call func(*args), and give `future` the outcome.\n\n"
"loop: a native loop. future: a native future of that loop. args: a tuple.\n"
"Return True if an idle thread has been woken, False if there is none, and None if the queue\n"
"does not take the call: it is ending, or belongs to the parent of this process, or the loop's\n"
"call_soon_threadsafe() has been replaced.");

static PyObject *
queue_submit(JobQueue *queue, PyObject *const *args, Py_ssize_t count)
{
    fastaio_state *st = queue->st;
    if (count != 4 || !loop_is_native(st, args[0]) || !PyTuple_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, "submit() takes a native loop, a future, a function, a tuple");
        return NULL;
    }
    LoopObject *loop = (LoopObject *)args[0];
    if (relaxed_load(&queue->is_ending) || is_inherited(queue)
        || !Py_IS_TYPE(args[1], st->FutureType)
        || (loop_overrides(loop) & OVERRIDE_CALL_SOON_THREADSAFE)) {
        Py_RETURN_NONE;
    }
    PyObject *job = job_new(loop, args[1], args[2], args[3]);
    int woken = job ? add_job(queue, job) : -1;
    if (woken == -2) {
        Py_RETURN_NONE;
    }
    return woken < 0 ? NULL : PyBool_FromLong(woken);
}

PyDoc_STRVAR(put_doc, "put($self, item, /)\n--\n\n"
"Add a work item. None tells the threads to end.");

static PyObject *
queue_put(JobQueue *queue, PyObject *item)
{
    if (add(queue, item) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(get_doc, "get($self, block=True)\n--\n\n"
"Run native jobs until the next item is another; return that. Wait for it.");

static PyObject *
queue_get(JobQueue *queue, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count),
          PyObject *Py_UNUSED(keywords))
{
    fastaio_state *st = queue->st;
    LoopObject *sleeper = NULL;
    for (;;) {
        queue_lock(queue);
        if (Py_SIZE(queue->items) == 0) {
            await_item(queue, sleeper);
            sleeper = NULL;
            continue;
        }
        PyObject *item = deque_popleft(st, queue->items);
        mutex_unlock(&queue->lock);
        if (sleeper != NULL) {
            loop_wake_claimed(sleeper);
            sleeper = NULL;
        }
        if (item == NULL || !job_check(st, item)) {
            return item;
        }
        job_run(item, &sleeper);
        Py_DECREF(item);
    }
}

PyDoc_STRVAR(get_nowait_doc, "get_nowait($self, /)\n--\n\n"
"Return the next item. Raises queue.Empty if there is none, or if it is a native job.");

static PyObject *
queue_get_nowait(JobQueue *queue, PyObject *Py_UNUSED(ignored))
{
    PyObject *first = NULL, *item = NULL;
    queue_lock(queue);
    int found = deque_first(queue->st, queue->items, &first);
    if (found > 0 && !job_check(queue->st, first)) {
        item = deque_popleft(queue->st, queue->items);
    }
    mutex_unlock(&queue->lock);
    Py_XDECREF(first);
    if (item == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(queue->st->queue_Empty);
    }
    return item;
}

PyDoc_STRVAR(acquire_doc, "acquire($self, blocking=True, timeout=None)\n--\n\n"
"Return True if idle threads have been woken for all items, as far as this method has not told yet.");

static PyObject *
queue_acquire(JobQueue *queue, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count),
              PyObject *Py_UNUSED(keywords))
{
    queue_lock(queue);
    bool served = queue->unserved == 0;
    queue->unserved -= !served;
    mutex_unlock(&queue->lock);
    return PyBool_FromLong(served);
}

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
"Do nothing: a thread that waits in get() is known to be idle.");

static PyObject *
queue_release(JobQueue *Py_UNUSED(queue), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

/* Take the first item out of the queue if that is a job, into *job; else move the item to the end and set *job to
   NULL. Return 1; 0 if the queue is empty; or -1 with an exception. */
static int
take_job(JobQueue *queue, PyObject **job)
{
    int found = 0;
    *job = NULL;
    queue_lock(queue);
    PyObject *item = Py_SIZE(queue->items) ? deque_popleft(queue->st, queue->items) : NULL;
    if (item != NULL && job_check(queue->st, item)) {
        *job = item;
        item = NULL;
        found = 1;
    }
    else if (item != NULL) {
        found = deque_append(queue->st, queue->items, item) < 0 ? -1 : 1;
    }
    mutex_unlock(&queue->lock);
    Py_XDECREF(item);
    return found;
}

PyDoc_STRVAR(cancel_jobs_doc, "cancel_jobs($self, /)\n--\n\n"
"Take the native jobs out of the queue, and cancel their futures.");

static PyObject *
queue_cancel_jobs(JobQueue *queue, PyObject *Py_UNUSED(ignored))
{
    PyObject *item;
    queue_lock(queue);
    Py_ssize_t left = Py_SIZE(queue->items);
    mutex_unlock(&queue->lock);
    for (; left > 0; left--) {
        int done = take_job(queue, &item);
        if (done == 0) {
            break;
        }
        if (item != NULL) {
            done = job_cancel(item);
            Py_DECREF(item);
        }
        if (done < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
queue_is_inherited(JobQueue *queue, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(is_inherited(queue));
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    fastaio_state *st = state_of_type(type);
    JobQueue *queue = st ? (JobQueue *)type->tp_alloc(type, 0) : NULL;
    if (queue == NULL) {
        return NULL;
    }
    queue->st = st;
    queue->fork_count = st->fork_count;
    queue->items = deque_new(st);
    if (queue->items == NULL) {
        Py_CLEAR(queue);
    }
    return (PyObject *)queue;
}

static int
queue_traverse(JobQueue *queue, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(queue));
    Py_VISIT(queue->items);
    return 0;
}

/* The deque itself is cleared by the collector, and stays for methods that are called meanwhile. */
static void
queue_dealloc(JobQueue *queue)
{
    PyTypeObject *type = Py_TYPE(queue);
    PyObject_GC_UnTrack(queue);
    Py_XDECREF(queue->items);
    type->tp_free(queue);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"submit", (PyCFunction)(void (*)(void))queue_submit, METH_FASTCALL, submit_doc},
    {"put", (PyCFunction)queue_put, METH_O, put_doc},
    {"get", KEYWORDS(queue_get), METH_FASTCALL | METH_KEYWORDS, get_doc},
    {"get_nowait", (PyCFunction)queue_get_nowait, METH_NOARGS, get_nowait_doc},
    {"acquire", KEYWORDS(queue_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", (PyCFunction)queue_release, METH_NOARGS, release_doc},
    {"cancel_jobs", (PyCFunction)queue_cancel_jobs, METH_NOARGS, cancel_jobs_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"is_inherited", (getter)queue_is_inherited, NULL,
     PyDoc_STR("True in a forked child: the threads are the parent's."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(queue_doc, "JobQueue()\n--\n\n"
"The queue of work items of a ThreadPoolExecutor, with native jobs, and its count of idle threads.");

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, (void *)queue_doc},
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "fastaio._fastaio.JobQueue",
    .basicsize = sizeof(JobQueue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};

int
job_queue_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->JobQueueType = state_add_type(module, &queue_spec, NULL);
    return st->JobQueueType ? 0 : -1;
}
