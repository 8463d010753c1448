/* loop.c: checks of a loop's state, its receive buffer, its queued output. */
#include "loop/loop.h"

int
loop_check_closed(LoopObject *loop)
{
    if (loop->closed || loop->poller == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

int
loop_check_thread(LoopObject *loop)
{
    if (loop->thread_id == 0 || loop->thread_id == PyThread_get_thread_ident()) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop other "
                                        "than the current one");
    return -1;
}

char *
loop_hot_buffer(LoopObject *loop)
{
    if (loop->hot_buffer == NULL) {
        loop->hot_buffer = PyMem_RawMalloc(HOT_BUFFER_SIZE);
        if (loop->hot_buffer == NULL) {
            PyErr_NoMemory();
        }
    }
    return loop->hot_buffer;
}

/* ---- output ---------------------------------------------------------------------------------- */

void
loop_flush_later(LoopObject *loop, FlushNode *node)
{
    if (node->link != NULL) {
        return;
    }
    node->loop = loop;
    flush_list_append(&loop->output, node);
    keeper_call(&loop->output);
    loop_io_happened(loop);
}

void
loop_flush_cancel(FlushNode *node)
{
    if (node->link != NULL) {
        flush_list_remove(&node->loop->output, node);
    }
}

/* Take the first node off the list and send its output. Return 0, or -1 with what must leave the loop. */
static int
flush_first(LoopObject *loop)
{
    FlushNode *node = loop->output.first;
    if (is_dying(node->owner)) { /* the finalizer sends the output */
        loop_flush_cancel(node);
        return 0;
    }
    PyObject *owner = Py_NewRef(node->owner);
    loop_flush_cancel(node);
    int result = node->flush(loop, owner);
    Py_DECREF(owner);
    return result;
}

int
loop_flush_now(LoopObject *loop)
{
    while (loop->output.first != NULL) {
        if (flush_first(loop) < 0) {
            return -1;
        }
    }
    return 0;
}

int
loop_flush_through(LoopObject *loop, FlushNode *node)
{
    if (loop->thread_id != PyThread_get_thread_ident()) {
        return 0; /* the transports' callbacks belong to the loop's thread */
    }
    bool listed = node != NULL && node->link != NULL;
    while (loop->output.first != NULL && (!listed || node->link != NULL)) {
        if (flush_first(loop) < 0) {
            return -1;
        }
    }
    return 0;
}
