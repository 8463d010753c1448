/* fork.c: the hooks of os.fork(): the parent's output, keeper and pollers, and the child's copies.
 *
 * os.fork() calls the hooks, and prints their exceptions. A child that is made by posix_spawn() or
 * vfork() runs no Python and calls none.
 */
#include "loop/fork.h"

#include "signals/signal_pipe.h"

/* ---- listeners ------------------------------------------------------------------------------- */

void
fork_listen(LoopObject *loop)
{
    LoopObject **first = &loop->st->fork_listeners;
    state_lock(loop->st);
    loop->fork.next = *first;
    loop->fork.link = first;
    *first = loop;
    if (loop->fork.next != NULL) {
        loop->fork.next->fork.link = &loop->fork.next;
    }
    state_unlock(loop->st);
}

void
fork_unlisten(LoopObject *loop)
{
    state_lock(loop->st);
    if (loop->fork.link != NULL) {
        *loop->fork.link = loop->fork.next;
        if (loop->fork.next != NULL) {
            loop->fork.next->fork.link = loop->fork.link;
        }
        loop->fork.link = NULL;
    }
    state_unlock(loop->st);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

/* Return true if this thread runs the loop. */
static bool
is_running_here(const LoopObject *loop)
{
    return relaxed_load(&loop->thread_id) == PyThread_get_thread_ident();
}

/* Send the output of this thread's loop: the child may be the first to write to the same peer. */
static int
flush_before_fork(Keeper *keeper)
{
    LoopObject *loop = keeper_find(keeper, is_running_here);
    if (loop == NULL) {
        return 0;
    }
    Py_INCREF(loop);
    int result = loop_flush_now(loop);
    Py_DECREF(loop);
    return result;
}

static PyObject *
before_fork(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_module(module);
    Keeper *keeper = st->keeper;
    state_lock(st);
    relaxed_add(&st->fork_calls, 1);
    state_unlock(st);
    int result = flush_before_fork(keeper);
    keeper_before_fork(keeper);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
after_fork_in_parent(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    keeper_after_fork_in_parent(state_of_module(module)->keeper);
    Py_RETURN_NONE;
}

static PyObject *
after_fork_in_child(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fastaio_state *st = state_of_module(module);
    state_locks_after_fork(st);
    st->fork_count++;
    keeper_after_fork_in_child(st->keeper);
    if (st->recorder != NULL) {
        recorder_after_fork_in_child(st->recorder);
    }
    for (LoopObject *loop = st->fork_listeners; loop != NULL; loop = loop->fork.next) {
        claim_after_fork(&loop->claim);
#ifdef Py_GIL_DISABLED
        mutex_after_fork(&loop->inbox.lock);
#endif
        mutex_after_fork(&loop->account_lock);
        if (loop->poller->methods->forked != NULL) {
            loop->poller->methods->forked(loop->poller);
        }
    }
    signal_pipe_after_fork(st);
    Py_RETURN_NONE;
}

/* End the keeper. Finalizers may still write; their output is sent immediately from now on. */
static PyObject *
at_exit(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    keeper_end(state_of_module(module)->keeper);
    Py_RETURN_NONE;
}

/* ---- registration ---------------------------------------------------------------------------- */

static PyMethodDef fork_hooks[] = {
    {"before", before_fork, METH_NOARGS, NULL},
    {"after_in_parent", after_fork_in_parent, METH_NOARGS, NULL},
    {"after_in_child", after_fork_in_child, METH_NOARGS, NULL},
};

static PyMethodDef at_exit_def = {"_at_exit", at_exit, METH_NOARGS, NULL};

static int
add_hook(PyObject *hooks, PyMethodDef *def, PyObject *module)
{
    PyObject *callback = PyCFunction_New(def, module);
    int rc = callback != NULL ? PyDict_SetItemString(hooks, def->ml_name, callback) : -1;
    Py_XDECREF(callback);
    return rc;
}

static int
register_at_fork(PyObject *module)
{
    PyObject *method = state_import("os", "register_at_fork");
    PyObject *none = PyTuple_New(0), *hooks = PyDict_New(), *result = NULL;
    int rc = method != NULL && none != NULL && hooks != NULL ? 0 : -1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(fork_hooks) && rc == 0; i++) {
        rc = add_hook(hooks, &fork_hooks[i], module);
    }
    if (rc == 0) {
        result = PyObject_Call(method, none, hooks);
    }
    Py_XDECREF(none);
    Py_XDECREF(hooks);
    Py_XDECREF(method);
    return drop_result(result);
}

static int
register_at_exit(PyObject *module)
{
    PyObject *method = state_import("atexit", "register");
    PyObject *callback = method != NULL ? PyCFunction_New(&at_exit_def, module) : NULL;
    PyObject *result = callback != NULL ? PyObject_CallOneArg(method, callback) : NULL;
    Py_XDECREF(method);
    Py_XDECREF(callback);
    return drop_result(result);
}

int
fork_init(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    st->keeper = keeper_new();
    return st->keeper == NULL || register_at_fork(module) < 0 ? -1 : register_at_exit(module);
}
