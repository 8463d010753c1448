/* module.c: the front door: the module's definition, and the rooms that make its types. */
#include "base/guard.h"
#include "base/probe.h"
#include "base/state.h"
#include "base/traits.h"
#include "files/file_now.h"
#include "files/file_op.h"
#include "jobs/job.h"
#include "jobs/job_queue.h"
#include "loop/fork.h"
#include "loop/handle.h"
#include "loop/keeper.h"
#include "loop/recorder.h"
#include "net/datagram.h"
#include "net/literal.h"
#include "net/server.h"
#include "net/sockops.h"
#include "net/stream.h"
#include "pipe/pipe.h"
#include "primitives/as_completed.h"
#include "primitives/barrier.h"
#include "primitives/condition_type.h"
#include "primitives/event.h"
#include "primitives/function.h"
#include "primitives/immediate.h"
#include "primitives/gather.h"
#include "primitives/lock.h"
#include "primitives/op.h"
#include "primitives/primitives.h"
#include "primitives/queue_type.h"
#include "primitives/semaphore.h"
#include "primitives/shield.h"
#include "primitives/sleep.h"
#include "primitives/timeout.h"
#include "primitives/wait_for.h"
#include "primitives/taskgroup.h"
#include "primitives/wait.h"
#include "reader/streamreader_type.h"
#include "signals/signal_pipe.h"
#include "task/done_callback.h"
#include "task/future_type.h"
#include "task/registry.h"
#include "task/task_type.h"
#include "tls/tls_state.h"
#include "turn/loop_type.h"
#include "turn/view.h"

/* The rooms' initialisers, from low to high: a room may add methods to the types of earlier ones. Each
   returns 0, or -1 with an exception. */
static int (*const inits[])(PyObject *module) = {
#ifdef Py_GIL_DISABLED
    guard_types_init,
#endif
    signal_pipe_type_init,
    fork_init,
    recorder_init,
    handle_types_init,
    registry_init,
    future_types_init,
    done_callback_type_init,
    task_types_init,
    loop_types_init,
    loop_view_init,
    streamreader_types_init,
    file_now_init,
    file_op_init,
    job_type_init,
    job_queue_type_init,
    literal_init,
    sockops_types_init,
    stream_types_init,
    server_types_init,
    datagram_types_init,
    pipe_read_type_init,
    pipe_write_type_init,
    tls_types_init,
    primitives_init,
    coroutine_function_type_init,
    op_type_init,
    immediate_type_init,
    lock_type_init,
    event_type_init,
    semaphore_types_init,
    queue_types_init,
    condition_type_init,
    barrier_type_init,
    sleep_init,
    timeout_type_init,
    wait_for_init,
    gather_init,
    shield_init,
    wait_init,
    taskgroup_type_init,
    as_completed_init,
};

static int
module_exec(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    if (state_init(st) < 0 || traits_init(st) < 0) {
        return -1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(inits); i++) {
        if (inits[i](module) < 0) {
            return -1;
        }
    }
    return PyModule_AddObjectRef(module, "HAS_PROBES", HAS_PROBES ? Py_True : Py_False);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fastaio_state *st = state_of_module(module);
    int result = state_traverse(st, visit, arg);
    if (result == 0) {
        result = tls_state_traverse(st, visit, arg);
    }
    return result ? result : primitives_traverse(st, visit, arg);
}

static int
module_clear(PyObject *module)
{
    fastaio_state *st = state_of_module(module);
    primitives_clear(st);
    tls_state_clear(st);
    state_clear(st);
    return 0;
}

static void
module_free(void *module)
{
    fastaio_state *st = state_of_module(module);
    module_clear((PyObject *)module);
    keeper_free(st->keeper);
    st->keeper = NULL;
    recorder_free(st->recorder);
    st->recorder = NULL;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if INTERPRETER_MAY_OWN_GIL
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyModuleDef fastaio_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastaio._fastaio",
    .m_doc = "The native asyncio core: Future, Task, handles, the event loop and its transports.",
    .m_size = sizeof(fastaio_state),
    .m_methods = registry_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__fastaio(void)
{
    return PyModuleDef_Init(&fastaio_module);
}
