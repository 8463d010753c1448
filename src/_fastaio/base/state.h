/* state.h: the state of one interpreter's copy of the module. There is no other mutable state. */
#ifndef FASTAIO_STATE_H
#define FASTAIO_STATE_H

#include "base/base_layout.h"
#include "base/compat.h"
#include "base/pool.h"
#include "base/replaced.h"

#include <stdatomic.h>

/* Interned strings for hot or repeated paths: X(name) makes st->str_name with the text "name". */
#define FASTAIO_NAMES(X)                                                                           \
    X(__name__) X(__qualname__) X(func) X(__kwdefaults__) X(_asyncio_future_blocking) X(add_done_callback) X(accept)       \
    X(buffer_updated)                                                                              \
    X(call_exception_handler) X(call_at) X(call_soon) X(cancel) X(close) X(connection_lost)        \
    X(connection_made) X(context) X(create_task) X(create_future) X(data_received)                 \
    X(eof_received) X(exception) X(fileno) X(get_buffer) X(get_debug) X(get_loop) X(handle)        \
    X(is_running) X(loop) X(message) X(name) X(pause_writing) X(protocol) X(recv) X(recv_into)     \
    X(resume_writing) X(send) X(sendmsg) X(shutdown) X(socket) X(source_traceback) X(throw)        \
    X(time) X(_attach) X(_detach) X(_write_to_self) X(_process_events) X(_loop) X(_io_refs)        \
    X(_decref_socketios) X(recvfrom) X(recvfrom_into) X(sendto) X(connect) X(setblocking)          \
    X(gettimeout) X(getsockopt) X(family) X(type) X(proto) X(_ensure_resolved) X(__await__)        \
    X(_transports) X(data) X(sockname) X(peername) X(getsockname) X(getpeername) X(call_later)     \
    X(debug) X(warning) X(done) X(set_result) X(set_exception) X(_call_connection_lost)            \
    X(__class__) X(_buffer) X(_limit) X(_eof) X(_waiter) X(_exception) X(_transport) X(_paused)    \
    X(_stream_reader_wr) X(_native_reader) X(n) X(separator) X(cancelled) X(result)                \
    X(pause_reading) X(resume_reading) X(eager_start) X(read) X(write) X(pending)                  \
    X(get_extra_info) X(_do_handshake) X(_do_flush) X(_do_shutdown) X(_call_eof_received)          \
    X(_start_shutdown) X(datagram_received) X(error_received) X(_read_ready) X(_extra)             \
    X(_read_eof) X(_write_ready) X(_add_writer) X(_remove_writer) X(_write_end)                    \
    X(_maybe_pause_protocol) X(_maybe_resume_protocol) X(_run) X(_run_once)                        \
    X(append) X(popleft) X(remove) X(_get_loop) X(acquire) X(release) X(locked) X(cr_await)        \
    X(_wake_up_next) X(notify_all) X(wait) X(set) X(clear) X(empty) X(full) X(qsize) X(pop)        \
    X(put_nowait) X(get_nowait) X(_init) X(_get) X(_put) X(_wakeup_next) X(msg)          \
    X(call_soon_threadsafe) X(None)

/* Python objects looked up once, when the module is loaded: X(field, module, attribute). */
#define FASTAIO_IMPORTS(X)                                                                         \
    X(asyncio_Future, "_asyncio", "Future")                                                        \
    X(asyncio_Task, "_asyncio", "Task")                                                            \
    X(asyncio_Handle, "asyncio.events", "Handle")                                                  \
    X(asyncio_TimerHandle, "asyncio.events", "TimerHandle")                                        \
    X(asyncio_Transport, "asyncio.transports", "_FlowControlMixin")                                \
    X(asyncio_BufferedProtocol, "asyncio.protocols", "BufferedProtocol")                           \
    X(asyncio_BaseEventLoop, "asyncio.base_events", "BaseEventLoop")                               \
    X(asyncio_SelectorLoop, "asyncio.unix_events", "_UnixSelectorEventLoop")                       \
    X(get_event_loop, "asyncio.events", "get_event_loop")                                          \
    X(get_running_loop, "asyncio.events", "_get_running_loop")                                     \
    X(current_task, "asyncio.tasks", "current_task")                                               \
    X(asyncio_Timeout, "asyncio.timeouts", "Timeout")                                              \
    X(timeout_states, "asyncio.timeouts", "_State")                                                \
    X(asyncio_wait_for, "asyncio.tasks", "wait_for")                                               \
    X(set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled")              \
    X(CancelledError, "asyncio.exceptions", "CancelledError")                                      \
    X(InvalidStateError, "asyncio.exceptions", "InvalidStateError")                                \
    X(future_repr, "asyncio.base_futures", "_future_repr")                                         \
    X(task_repr, "asyncio.base_tasks", "_task_repr")                                               \
    X(task_get_stack, "asyncio.base_tasks", "_task_get_stack")                                     \
    X(task_print_stack, "asyncio.base_tasks", "_task_print_stack")                                 \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source")                 \
    X(handle_extract_stack, "asyncio.format_helpers", "extract_stack")                             \
    X(extract_stack, "traceback", "extract_stack")                                                 \
    X(convert_future_exc, "asyncio.futures", "_convert_future_exc")                                \
    X(queue_Empty, "queue", "Empty")                                                               \
    X(deque, "collections", "deque")                                                               \
    X(nullcontext, "contextlib", "nullcontext")                                                    \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine")                                            \
    X(logger, "asyncio.log", "logger")                                                             \
    X(socket_type, "socket", "socket")                                                             \
    X(socket_base, "_socket", "socket")                                                            \
    X(FileIO, "_io", "FileIO")                                                                     \
    X(asyncio_SocketTransport, "asyncio.selector_events", "_SelectorSocketTransport")              \
    X(asyncio_DatagramTransport, "asyncio.selector_events", "_SelectorDatagramTransport")          \
    X(asyncio_ReadTransport, "asyncio.transports", "ReadTransport")                                \
    X(asyncio_ReadPipeTransport, "asyncio.unix_events", "_UnixReadPipeTransport")                  \
    X(asyncio_WritePipeTransport, "asyncio.unix_events", "_UnixWritePipeTransport")                \
    X(TransportSocket, "asyncio.trsock", "TransportSocket")                                        \
    X(set_nodelay, "asyncio.base_events", "_set_nodelay")                                          \
    X(sendfile_mode, "asyncio.constants", "_SendfileMode")                                         \
    X(asyncio_StreamReader, "asyncio.streams", "StreamReader")                                     \
    X(asyncio_StreamReaderProtocol, "asyncio.streams", "StreamReaderProtocol")                     \
    X(asyncio_FlowControlMixin, "asyncio.streams", "FlowControlMixin")                             \
    X(asyncio_IncompleteReadError, "asyncio.exceptions", "IncompleteReadError")                    \
    X(asyncio_LimitOverrunError, "asyncio.exceptions", "LimitOverrunError")

/* The same for objects that some versions of Python lack: the field is None there. */
#define FASTAIO_OPTIONAL_IMPORTS(X)                                                                \
    X(asyncio_ThreadSafeHandle, "asyncio.events", "_ThreadSafeHandle")                             \
    X(eager_task_factory, "asyncio.tasks", "eager_task_factory")

struct LoopObject;
typedef struct TaskObject TaskObject;
typedef struct TlsState TlsState;
typedef struct Primitives Primitives;

/* Hand received bytes to a protocol whose data path is native, in place of its get_buffer() and
   buffer_updated(). `data` may lie in the loop's receive buffer: the function uses the bytes before it
   makes its first call into Python, not after. Return 0, or -1 with an exception. */
typedef int (*native_feed_fn)(PyObject *protocol, const char *data, Py_ssize_t size);

/* TLS is above the transports that feed it, so it registers its functions here. */
typedef struct {
    /* Return 1 if `protocol` takes its input by feed(), 0, or -1 with an exception. */
    int (*takes)(struct LoopObject *loop, PyObject *protocol);
    native_feed_fn feed;
} NativeFeed;

/* What the running release does, unlike others of its version (traits.c). */
typedef struct {
    bool create_task_passes_all;    /* loop.create_task() hands unknown keywords, like eager_start, to Task */
    bool factory_gets_name;         /* a task factory gets the name; else set_name() is called after it */
    bool factory_task_always_named; /* set_name() is called without a name, too: the task is called "None" */
    bool task_checks_context;       /* Task(context=...) refuses what is no Context */
    bool failed_start_is_silent;    /* a task whose eager start fails is dropped without a report */
} Traits;

/* The last look at StreamReader and StreamReaderProtocol of asyncio, whose methods others may replace. */
typedef struct {
    PyObject *functions; /* owned: the methods when the module was loaded */
    /* The versions of the two classes at that look, and in the lowest bit whether both had the methods that they
       were loaded with; 0: none. One word, since each thread may look. */
    _Atomic uint64_t look;
} ReaderClasses;

/* deque.c: the C functions of collections.deque's methods; NULL: called by name. */
typedef struct {
    PyCFunction append;
    PyCFunction popleft;
    PyCFunction remove;
} DequeFunctions;

typedef struct fastaio_state {
#ifdef Py_GIL_DISABLED
    PyMutex lock; /* of rare tables: state_lock() */
    PyMutex prepare_lock;           /* of registry_prepare_first() */
    unsigned long preparing_thread; /* the thread that is in there; 0: none */
    PyTypeObject *GuardedMethodType; /* guard.c */
    PyTypeObject *GuardedAttributeType;
#endif
    PyTypeObject *FutureType;
    PyTypeObject *TaskType;
    PyTypeObject *AwaitType; /* the iterator of future.__await__() */
    PyTypeObject *DoneCallbackType;
    PyTypeObject *GatheringFutureType; /* gather.c */
    PyTypeObject *HandleType;
    PyTypeObject *TimerHandleType;
    PyTypeObject *LoopType;
    PyTypeObject *NativeCallType;      /* view.c */
    PyTypeObject *StreamTransportType; /* stream.c */
    PyTypeObject *ListenerType;        /* server.c */
    PyTypeObject *AcceptType;          /* accept.c */
    PyTypeObject *SockOpType;          /* sockops.c */
    PyTypeObject *StreamReaderType;    /* streamreader_type.c */
    PyTypeObject *ReaderCoreType;      /* streamreader_core.c */
    PyTypeObject *ReadOpType;          /* streamreader_op.c */
    PyTypeObject *FileOpType;          /* file_op.c */
    PyTypeObject *JobType;             /* job.c */
    PyTypeObject *JobQueueType;        /* job_queue.c */
    PyTypeObject *DatagramCoreType;    /* datagram.c */
    PyTypeObject *ReadPipeCoreType;    /* pipe_read.c */
    PyTypeObject *WritePipeCoreType;   /* pipe_write.c */

#define X(name) PyObject *str_##name;
    FASTAIO_NAMES(X)
#undef X
#define X(field, module, attribute) PyObject *field;
    FASTAIO_IMPORTS(X)
    FASTAIO_OPTIONAL_IMPORTS(X)
#undef X
    PyObject *spare_stop;     /* coro.c: a StopIteration to be used again; or NULL */
    bool spare_stop_is_full;  /* it still has the result that it was raised with */
    PyTypeObject *known_loop; /* the last type that loop_is_native() has found to be one of ours; or NULL */
    PyObject *context_kwname; /* ("context",) */
    PyObject *loop_hooks;     /* overrides.c: the native methods that others may replace */

    PyMethodDef *task_wakeup; /* task.c: what task_wakeup_callable() makes objects of */

    /* registry_list.c, registry_thread.c */
    PyObject *current_tasks;     /* up to 3.13: asyncio's dict loop -> task */
    PyObject *swap_current_task; /* from 3.14: asyncio's function */
    PyObject *register_task;     /* from 3.14: asyncio's function */
    PyObject *awaited_by_add;    /* from 3.14: asyncio's function */
    PyObject *awaited_by_discard;
    TaskObject *tasks;           /* up to 3.13: the newest of our living tasks */
    Traits traits;
    bool registry_ready;         /* fastaio._registry.prepare() has been called */
    BaseLayout layout;
    uint64_t *task_numbers;    /* the last "Task-<number>" of asyncio; NULL: not looked for yet */
    uint64_t own_task_numbers; /* the last number, if asyncio's is not found */

    unsigned fork_count;               /* os.fork() calls between the module's loading and this process */
    unsigned fork_calls;               /* the same, with the os.fork() calls of this process: relaxed_load() */
    struct LoopObject *fork_listeners; /* fork.c: the loops whose pollers are told of a fork */
    struct Keeper *keeper;             /* keeper.h: sends output while a callback blocks */
    struct Recorder *recorder;         /* recorder.h: notices callbacks that block a loop */
    struct SignalPipe *signal_pipes;   /* signal_pipe.c: the open ones */
    bool wakeup_slot_proved;           /* signal_pipe.c: wakeup_slot_read() has proved right; relaxed_load() */

    Pool handle_pool; /* of Handles and TimerHandles */
    Pool await_pool;
    Pool done_callback_pool;
    Pool future_pool;
    Pool task_pool;
    Pool read_op_pool;

    DequeFunctions deque_functions;
    Primitives *primitives;       /* primitives.h */
    ReaderClasses reader_classes; /* streamreader_core.c */
    Replaced replaced;
    NativeFeed native_feed;       /* set by TLS */
    TlsState *tls;                /* tls_object.h */
} fastaio_state;

extern PyModuleDef fastaio_module;

static inline fastaio_state *
state_of_module(PyObject *module)
{
    return (fastaio_state *)PyModule_GetState(module);
}

/* Return the state of the module that made `type` or the nearest of its bases; NULL with TypeError. */
static inline fastaio_state *
state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &fastaio_module);
    return module ? state_of_module(module) : NULL;
}

/* Return the state for the type of an object in its deallocation; NULL, without an exception, if the
   collector has already taken the module from the type. */
static inline fastaio_state *
state_of_dying(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    return module ? state_of_module(module) : NULL;
}

/* Lock the rare tables of the state, which threads may change at the same time without a GIL: the list of tasks
   up to 3.13, `fork_listeners`, `keeper`, `recorder`, `signal_pipes`, the search for OpenSSL. Between the two calls there is no call into
   Python, and no reference is dropped. With a GIL both are nothing. */
#ifdef Py_GIL_DISABLED
#define state_lock(st) PyMutex_Lock(&(st)->lock)
#define state_unlock(st) PyMutex_Unlock(&(st)->lock)
/* In a child of os.fork(): forget threads that the child has not got; as mutex_after_fork(). */
static inline void
state_locks_after_fork(fastaio_state *st)
{
    st->lock = (PyMutex){0};
    st->prepare_lock = (PyMutex){0};
    if (st->preparing_thread != PyThread_get_thread_ident()) {
        st->preparing_thread = 0;
    }
}
#else
#define state_lock(st) ((void)(st))
#define state_unlock(st) ((void)(st))
#define state_locks_after_fork(st) ((void)(st))
#endif

/* Drop the result of a call. Return 0, or -1 if the result is NULL. */
static inline int
drop_result(PyObject *result)
{
    Py_XDECREF(result);
    return result != NULL ? 0 : -1;
}

/* Import a module and return a new reference to its attribute; NULL with an exception. */
PyObject *state_import(const char *module, const char *name);
/* Make a heap type of this module and add it under its name. Return NULL with an exception. */
PyTypeObject *state_add_type(PyObject *module, PyType_Spec *spec, PyObject *base);
/* Add methods to a type that another room has made. Return 0, or -1 with an exception. */
int state_add_methods(PyTypeObject *type, PyMethodDef *methods);

/* Fill in names and imports, and note asyncio's originals. Return 0, or -1 with an exception. */
int state_init(fastaio_state *st);
int state_traverse(fastaio_state *st, visitproc visit, void *arg);
void state_clear(fastaio_state *st);

#endif
