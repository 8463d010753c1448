/* flush.c: the list of queued output and its lock. */
#include "loop/flush.h"

#include "loop/clock.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void
flush_list_init(FlushList *list, struct Keeper *keeper)
{
    atomic_init(&list->lock, LIST_FREE);
    list->keeper = keeper;
    list->end = &list->first;
}

/* The lock stays marked as wanted after the wait, even if no other thread waits: that costs at most one
   needless system call. */
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
flush_list_append(FlushList *list, FlushNode *node)
{
    int64_t now_ns = list->first == NULL ? clock_ns() : 0;
    flush_lock(list);
    if (list->first == NULL) {
        list->since_ns = now_ns;
        list->end = &list->first;
    }
    node->next = NULL;
    node->link = list->end;
    *list->end = node;
    list->end = &node->next;
    flush_added(list);
    flush_unlock(list);
}

void
flush_list_remove(FlushList *list, FlushNode *node)
{
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
