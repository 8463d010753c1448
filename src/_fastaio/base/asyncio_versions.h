/* asyncio_versions.h: what asyncio does differently on the versions of CPython that fastaio runs on.
 *
 * Each name is true on the versions that its comment tells. It is a constant, so `if` costs nothing. #if is for what
 * other versions cannot compile or do not need. What differs between the releases of one version is in traits.h.
 */
#ifndef FASTAIO_ASYNCIO_VERSIONS_H
#define FASTAIO_ASYNCIO_VERSIONS_H

#include "base/compat.h"

/* ---- futures and tasks ----------------------------------------------------------------------- */

/* A future is initialised once: from 3.15 on, and without a GIL, where threads use its loop without a lock. Before
   that __init__() may be called again. */
#if PY_VERSION_HEX >= 0x030F0000 || defined(Py_GIL_DISABLED)
#define FUTURE_INIT_ONCE 1
#else
#define FUTURE_INIT_ONCE 0
#endif

/* Return true if set_exception() wraps a StopIteration, as since 3.12.6; before, it refuses one. The running version
   decides, not the compiled one: 3.12.6 is a bug-fix release. */
static inline bool
future_wraps_stop_iteration(void)
{
    return Py_Version >= 0x030C0600;
}

/* From 3.12 on a task may run its first step when it is made. */
#define TASK_HAS_EAGER_START (PY_VERSION_HEX >= 0x030C0000)

/* From 3.13 on the last uncancel() takes back a cancellation that the task has not got yet. */
#define UNCANCEL_TAKES_BACK (PY_VERSION_HEX >= 0x030D0000)

/* From 3.14 on the state of a thread has the list of its tasks and the current one. Before, asyncio keeps all tasks in
   a WeakSet, and the current ones in a dict. */
#define THREAD_KEEPS_TASKS (PY_VERSION_HEX >= 0x030E0000)

/* From 3.14 on a future knows the tasks that await it. */
#define FUTURE_KNOWS_AWAITERS (PY_VERSION_HEX >= 0x030E0000)

/* From 3.14 on the module _asyncio has a debug section, which tells other processes the offsets of fields. */
#define HAS_DEBUG_SECTION (PY_VERSION_HEX >= 0x030E0000)

/* ---- primitives ------------------------------------------------------------------------------ */

/* From 3.13 on sleep() refuses NaN. */
#define SLEEP_REFUSES_NAN (PY_VERSION_HEX >= 0x030D0000)

/* From 3.12 on wait_for() awaits its argument within timeout(), in the task that calls it. */
#define WAIT_FOR_USES_TIMEOUT (PY_VERSION_HEX >= 0x030C0000)

/* From 3.12 on gather() counts a child that is done already at once, not a turn later. */
#define GATHER_COUNTS_DONE_CHILDREN (PY_VERSION_HEX >= 0x030C0000)

/* Up to 3.13 the exception of a shielded future counts as retrieved if it comes right after the cancellation
   of the outer one. */
#define CANCELLED_SHIELD_RETRIEVES (PY_VERSION_HEX < 0x030E0000)

/* From 3.13 on as_completed() returns an iterator; before, a generator. */
#define AS_COMPLETED_IS_ITERATOR (PY_VERSION_HEX >= 0x030D0000)

/* From 3.13 on a TaskGroup takes back each cancellation by which it ended the wait for its own tasks; before,
   task.cancelling() keeps counting it if a task of the group failed while the group waited for its tasks. */
#define GROUP_UNCANCELS (PY_VERSION_HEX >= 0x030D0000)

/* From 3.15 on a TaskGroup can be cancelled, and its __aexit__() returns True. */
#define GROUP_HAS_CANCEL (PY_VERSION_HEX >= 0x030F0000)

/* From 3.13 on a semaphore's acquire() wakes as many tasks as the value allows when it ends, and _wake_up_next()
   tells whether it has woken one; before, one, and None. */
#define SEMAPHORE_WAKES_ALL (PY_VERSION_HEX >= 0x030D0000)

/* From 3.13 on Condition.wait() passes a notification on if it fails, makes its future before it releases the
   lock, and raises the CancelledError that it got; before, a new one. */
#define CONDITION_PASSES_NOTIFICATION (PY_VERSION_HEX >= 0x030D0000)

/* From 3.13 on queues have shutdown(). */
#define QUEUE_HAS_SHUTDOWN (PY_VERSION_HEX >= 0x030D0000)

/* ---- connections ----------------------------------------------------------------------------- */

/* From 3.15 on all callbacks of a connection run in one context. Before that, connection_made(), reading
   and connection_lost() each run in a copy of the context that schedules them. */
#define CONNECTION_HAS_ONE_CONTEXT (PY_VERSION_HEX >= 0x030F0000)

/* From 3.13 on a server is told which transport begins or ends. */
#define SERVER_KNOWS_TRANSPORTS (PY_VERSION_HEX >= 0x030D0000)

/* From 3.12 on a stream transport keeps what is written as a list, and one sendmsg() sends it. Before, it is joined:
   refused output in a bytearray, and the items of writelines() by bytes.join(), for write(). */
#define OUTPUT_IS_GATHERED (PY_VERSION_HEX >= 0x030C0000)

/* From 3.13 on an empty datagram is sent. */
#define EMPTY_DATAGRAM_IS_SENT (PY_VERSION_HEX >= 0x030D0000)

/* ---- traits ---------------------------------------------------------------------------------- */

/* What most releases of a version do. traits.c reads from asyncio's code what the running release does. These count
   where somebody has replaced that code. */

/* From 3.14 on loop.create_task() hands unknown keywords to Task, and the name to a task factory. */
#define CREATE_TASK_USUALLY_PASSES_ALL (PY_VERSION_HEX >= 0x030E0000)
#define FACTORY_USUALLY_GETS_NAME (PY_VERSION_HEX >= 0x030E0000)

/* On 3.13 set_name() is called for the task of a factory without a name, too. */
#define FACTORY_TASK_USUALLY_NAMED (PY_VERSION_HEX >= 0x030D0000 && PY_VERSION_HEX < 0x030E0000)

/* From 3.15 on Task(context=...) refuses what is no Context. */
#define TASK_USUALLY_CHECKS_CONTEXT (PY_VERSION_HEX >= 0x030F0000)

/* On 3.14 a task whose eager start fails is dropped without a report. */
#define FAILED_START_USUALLY_SILENT (PY_VERSION_HEX >= 0x030E0000 && PY_VERSION_HEX < 0x030F0000)

/* Up to 3.14 asyncio's tasks in Python and in C treat a failed start alike. On 3.15 only C reports it. */
#define FAILED_START_IS_ALIKE (PY_VERSION_HEX < 0x030F0000)

#endif
