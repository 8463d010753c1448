/* loop.c: what every room asks of a loop: is it open, is this its thread, its receive buffer. */
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
