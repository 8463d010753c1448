/* flush.c: the list of queued output and its lock. */
#include "loop/flush.h"

#include <sys/syscall.h>
#include <unistd.h>

/* From linux/futex.h, which a system with musl may lack. */
#ifndef FUTEX_WAIT_PRIVATE
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
#endif

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
