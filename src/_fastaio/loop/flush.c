/* flush.c: the list of transports with queued output. */
#include "loop/loop.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void
flush_list_init(FlushList *list, Keeper *keeper)
{
    atomic_init(&list->lock, LIST_FREE);
    list->keeper = keeper;
    list->end = &list->first;
}

void
flush_list_close(FlushList *list)
{
    if (list->keeper != NULL) {
        keeper_forget(list->keeper, list);
    }
}

/* After waiting, the lock is marked as wanted though perhaps nobody else waits: that costs a system
   call at most. */
void
flush_wait_for_lock(FlushList *list)
{
    while (atomic_exchange_explicit(&list->lock, LIST_WANTED, memory_order_acquire) != LIST_FREE) {
        syscall(SYS_futex, &list->lock, FUTEX_WAIT_PRIVATE, LIST_WANTED, NULL, NULL, 0);
    }
}

void
flush_wake_waiter(FlushList *list)
{
    syscall(SYS_futex, &list->lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void
loop_flush_later(LoopObject *loop, FlushNode *node)
{
    FlushList *list = &loop->output;
    if (node->link != NULL) {
        return;
    }
    int64_t now_ns = list->first == NULL ? clock_ns() : 0;
    flush_lock(list);
    if (list->first == NULL) {
        list->since_ns = now_ns;
        list->end = &list->first;
    }
    node->loop = loop;
    node->next = NULL;
    node->link = list->end;
    *list->end = node;
    list->end = &node->next;
    flush_added(list);
    flush_unlock(list);
    flush_call_keeper(list);
    loop->io_happened = true;
}

void
loop_flush_cancel(FlushNode *node)
{
    if (node->link == NULL) {
        return;
    }
    FlushList *list = &node->loop->output;
    flush_lock(list);
    *node->link = node->next;
    if (node->next != NULL) {
        node->next->link = node->link;
    }
    else {
        list->end = node->link;
    }
    node->next = NULL;
    node->link = NULL;
    flush_unlock(list);
}

static int
flush_first(LoopObject *loop)
{
    FlushNode *node = loop->output.first;
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

/* The loop that this thread runs, if output of its transports is listed; borrowed. */
static LoopObject *
loop_with_output(Keeper *keeper)
{
    unsigned long thread_id = PyThread_get_thread_ident();
    for (FlushList *list = keeper->lists; list != NULL; list = list->next_kept) {
        if (list->first != NULL && list->first->loop->thread_id == thread_id) {
            return list->first->loop;
        }
    }
    return NULL;
}

int
flush_before_fork(Keeper *keeper)
{
    LoopObject *loop = loop_with_output(keeper);
    if (loop == NULL) {
        return 0;
    }
    Py_INCREF(loop);
    int rc = loop_flush_now(loop);
    Py_DECREF(loop);
    return rc;
}

int
loop_flush_through(LoopObject *loop, FlushNode *node)
{
    if (loop->thread_id != PyThread_get_thread_ident()) {
        return 0; /* the others' callbacks belong to the loop's thread */
    }
    bool listed = node != NULL && node->link != NULL;
    while (loop->output.first != NULL && (!listed || node->link != NULL)) {
        if (flush_first(loop) < 0) {
            return -1;
        }
    }
    return 0;
}
