/* job.c: a call that a thread makes for a loop.
 *
 * The job itself carries the outcome to the loop, as an entry of the ready queue. So a job costs no
 * concurrent.futures.Future, no callback and no wrapper around the asyncio future.
 */
#include "jobs/job.h"

#include "task/future.h"

typedef struct {
    PyObject_HEAD
    LoopObject *loop; /* a strong reference, like the following */
    PyObject *future;
    PyObject *func;
    PyObject *args;
    PyObject *outcome; /* the result or the exception; NULL: the call has not been made */
    bool has_failed;
    bool is_counted; /* in the loop's metrics.jobs */
} JobObject;

PyObject *
job_new(LoopObject *loop, PyObject *future, PyObject *func, PyObject *args)
{
    JobObject *job = PyObject_GC_New(JobObject, loop->st->JobType);
    if (job == NULL) {
        return NULL;
    }
    job->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    job->future = Py_NewRef(future);
    job->func = Py_NewRef(func);
    job->args = Py_NewRef(args);
    job->outcome = NULL;
    job->has_failed = false;
    job->is_counted = true;
    metrics_add_jobs(&loop->metrics, 1);
    PyObject_GC_Track(job);
    return (PyObject *)job;
}

/* Note that the job has ended; harmless when repeated. */
static void
uncount(JobObject *job)
{
    if (job->is_counted) {
        job->is_counted = false;
        metrics_add_jobs(&job->loop->metrics, -1);
    }
}

/* ---- the outcome ----------------------------------------------------------------------------- */

/* Set the future's exception, in asyncio's class for errors that concurrent.futures has a class of its own for.
   Return 1, 0 if the future was done, or -1 with an exception. */
static int
set_failure(fastaio_state *st, FutureCore *core, PyObject *error)
{
    PyObject *exception = PyObject_CallOneArg(st->convert_future_exc, error);
    int result = exception ? future_set_exception_unless_done(core, exception) : -1;
    Py_XDECREF(exception);
    return result;
}

/* Give the future its outcome. Called by the loop. Return 0, or -1 with an exception: AssertionError if the
   program has set the future itself, as asyncio's _copy_future_state() raises it. */
static int
finish(LoopObject *loop, PyObject *obj)
{
    JobObject *job = (JobObject *)obj;
    FutureCore *core = future_core(loop->st, job->future);
    uncount(job);
    int set = !job->has_failed           ? future_set_result_unless_done(core, job->outcome)
              : !future_is_pending(core) ? 0
                                         : set_failure(loop->st, core, job->outcome);
    if (set == 0 && future_state(core) != FUTURE_CANCELLED) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    return set < 0 ? -1 : 0;
}

/* Queue the outcome in the loop, unless that is closed. Return the loop if this thread has to wake it, else
   NULL. */
static LoopObject *
deliver(JobObject *job)
{
    LoopObject *loop = job->loop;
    if (relaxed_load(&loop->closed) || relaxed_load(&loop->poller) == NULL) {
        return NULL;
    }
    if (loop_call_native(loop, finish, (PyObject *)job) < 0) {
        PyErr_WriteUnraisable((PyObject *)job);
        return NULL;
    }
    if (loop_overrides(loop) & OVERRIDE_WRITE_TO_SELF) {
        if (loop_wake(loop) < 0) {
            PyErr_WriteUnraisable((PyObject *)job);
        }
        return NULL;
    }
    return loop_claim_wake(loop) ? loop : NULL;
}

/* Return true if dropping a tuple runs no code. */
static bool
tuple_is_inert(PyObject *tuple)
{
    bool inert = true;
    for (Py_ssize_t i = 0; inert && i < PyTuple_GET_SIZE(tuple); i++) {
        inert = reference_is_inert(PyTuple_GET_ITEM(tuple, i));
    }
    return inert;
}

/* Call the job's function. Return its result, or NULL with its exception. The thread asks for jobs while it
   handles queue.Empty, which must be neither the function's sys.exception() nor its exception's __context__. */
static PyObject *
call_function(PyObject *func, PyObject *args)
{
    PyObject *handled = PyErr_GetHandledException();
    PyErr_SetHandledException(NULL);
    PyObject *result = PyObject_Call(func, args, NULL);
    PyErr_SetHandledException(handled);
    Py_XDECREF(handled);
    return result;
}

void
job_run(PyObject *obj, LoopObject **sleeper)
{
    JobObject *job = (JobObject *)obj;
    PyObject *func = job->func, *args = job->args;
    *sleeper = NULL;
    job->func = job->args = NULL;
    if (future_state(&((FutureObject *)job->future)->core) != FUTURE_CANCELLED) {
        job->outcome = call_function(func, args);
        job->has_failed = job->outcome == NULL;
        if (job->has_failed) {
            job->outcome = PyErr_GetRaisedException();
        }
        *sleeper = deliver(job);
    }
    if (*sleeper != NULL && !(reference_is_inert(func) && tuple_is_inert(args))) {
        loop_wake_claimed(*sleeper); /* a finalizer may take long */
        *sleeper = NULL;
    }
    Py_DECREF(func);
    Py_DECREF(args);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

/* Cancel the future. Called by the loop. */
static int
cancel(LoopObject *loop, PyObject *future)
{
    return future_cancel(future_core(loop->st, future), NULL) < 0 ? -1 : 0;
}

int
job_cancel(PyObject *obj)
{
    JobObject *job = (JobObject *)obj;
    LoopObject *loop = job->loop;
    if (relaxed_load(&loop->closed) || relaxed_load(&loop->poller) == NULL) {
        return 0;
    }
    return loop_call_native(loop, cancel, job->future) < 0 ? -1 : loop_wake(loop);
}

/* ---- the type -------------------------------------------------------------------------------- */

static int
job_traverse(JobObject *job, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(job));
    Py_VISIT(job->loop);
    Py_VISIT(job->future);
    Py_VISIT(job->func);
    Py_VISIT(job->args);
    Py_VISIT(job->outcome);
    return 0;
}

/* There is no tp_clear: a queue or the loop is part of any cycle, and drops the job. */
static void
job_dealloc(JobObject *job)
{
    PyTypeObject *type = Py_TYPE(job);
    PyObject_GC_UnTrack(job);
    uncount(job);
    Py_XDECREF(job->outcome);
    Py_XDECREF(job->args);
    Py_XDECREF(job->func);
    Py_DECREF(job->future);
    Py_DECREF((PyObject *)job->loop);
    type->tp_free(job);
    Py_DECREF(type);
}

PyDoc_STRVAR(job_doc, "A call that a thread of the default executor makes for a loop.");

static PyType_Slot job_slots[] = {
    {Py_tp_doc, (void *)job_doc},
    {Py_tp_dealloc, job_dealloc},
    {Py_tp_traverse, job_traverse},
    {0, NULL},
};

static PyType_Spec job_spec = {
    .name = "fastaio._fastaio.Job",
    .basicsize = sizeof(JobObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = job_slots,
};

int
job_type_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->JobType = state_add_type(module, &job_spec, NULL);
    return st->JobType ? 0 : -1;
}
