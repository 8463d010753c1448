/* loop.c: checks of a loop's state, its receive buffer, its queued output. */
#include "loop/loop.h"

#include "base/bulk.h"

int
loop_check_closed(LoopObject *loop)
{
    if (relaxed_load(&loop->closed) || relaxed_load(&loop->poller) == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

int
loop_check_thread(LoopObject *loop)
{
    unsigned long runner = relaxed_load(&loop->thread_id);
    if (runner == 0 || runner == PyThread_get_thread_ident()) {
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

char *
loop_batch_buffer(LoopObject *loop)
{
    if (loop->batch_buffer == NULL) {
        loop->batch_buffer = bulk_new(BATCH_SLOTS * BATCH_STRIDE);
    }
    return loop->batch_buffer;
}

void
loop_free_buffers(LoopObject *loop)
{
    PyMem_RawFree(loop->hot_buffer);
    loop->hot_buffer = NULL;
    if (loop->batch_buffer != NULL) {
        bulk_free(loop->batch_buffer, BATCH_SLOTS * BATCH_STRIDE);
        loop->batch_buffer = NULL;
    }
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
    PyObject *owner = try_ref(node->owner);
    loop_flush_cancel(node);
    if (owner == NULL) { /* the finalizer sends the output */
        return 0;
    }
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
loop_flush_in_any_thread(LoopObject *loop)
{
    if (claim_is_mine(&loop->claim)) {
        return loop_flush_now(loop);
    }
    if (!claim_as_guest(&loop->claim)) {
        return 0;
    }
    int result = loop_flush_now(loop);
    claim_end_as_guest(&loop->claim);
    return result;
}

int
loop_flush_through(LoopObject *loop, FlushNode *node)
{
    if (relaxed_load(&loop->thread_id) != PyThread_get_thread_ident()) {
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

bool
loop_type_is_native(fastaio_state *st, PyTypeObject *type)
{
    if (!PyType_IsSubtype(type, st->LoopType)) {
        return false;
    }
#ifndef Py_GIL_DISABLED /* threads would write that word in turn */
    Py_INCREF(type);
    Py_XSETREF(st->known_loop, type);
#endif
    return true;
}
