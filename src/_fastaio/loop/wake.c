/* wake.c: waking a loop from another thread. */
#include "loop/loop.h"

#include <sched.h>

#ifdef Py_GIL_DISABLED
int
loop_push_foreign(LoopObject *loop, const ReadyEntry *entry)
{
    ready_entry_take(entry);
    int pushed = inbox_push(&loop->inbox, entry);
    if (pushed != 0) {
        ReadyEntry dropped = *entry;
        ready_drop(&dropped);
        return pushed < 0 ? -1 : loop_check_closed(loop);
    }
    if (loop_claim_wake(loop)) {
        loop_wake_claimed(loop);
    }
    return 0;
}
#endif

int
loop_wake(LoopObject *loop)
{
    if (loop_overrides(loop) & OVERRIDE_WRITE_TO_SELF) {
        PyObject *result =
            PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str__write_to_self);
        Py_XDECREF(result);
        if (result == NULL) {
            return -1;
        }
    }
    if (loop_claim_wake(loop)) {
        loop_wake_claimed(loop);
    }
    return 0;
}

bool
loop_claim_wake(LoopObject *loop)
{
    /* The plain load comes first because it is cheap. The loop stores `blocked`, then reads its queues; so a
       push that the loop has not seen comes after the store. */
    if (!atomic_load(&loop->wait.blocked)) {
        return false;
    }
    /* Counted first: while the loop waits it is not closed, and afterwards not before this thread is done. */
    atomic_fetch_add(&loop->wait.wakers, 1);
    if (!atomic_exchange(&loop->wait.blocked, false) || loop->poller == NULL
        || loop_is_copy(loop)) {
        atomic_fetch_sub(&loop->wait.wakers, 1);
        return false;
    }
    shared_add(&loop->metrics.wakeups, 1); /* several threads may be here */
    return true;
}

void
loop_wake_claimed(LoopObject *loop)
{
    loop->poller->methods->wake(loop->poller);
    atomic_fetch_sub(&loop->wait.wakers, 1);
}

void
loop_await_wakers(LoopObject *loop)
{
    if (loop_is_copy(loop)) {
        return; /* the threads are the parent's */
    }
    while (atomic_load(&loop->wait.wakers) != 0) {
        sched_yield(); /* they need no GIL, and are a system call away from the end */
    }
}

#ifdef Py_GIL_DISABLED

Poller *
loop_borrow_poller(LoopObject *loop)
{
    if (loop_is_copy(loop)) {
        return NULL;
    }
    /* Counted first: then either loop_take_poller() sees this thread, or this thread sees no poller. */
    atomic_fetch_add(&loop->wait.wakers, 1);
    Poller *poller = __atomic_load_n(&loop->poller, __ATOMIC_SEQ_CST);
    if (poller == NULL) {
        atomic_fetch_sub(&loop->wait.wakers, 1);
    }
    return poller;
}

void
loop_return_poller(LoopObject *loop, Poller *poller)
{
    if (poller != NULL) {
        atomic_fetch_sub(&loop->wait.wakers, 1);
    }
}

Poller *
loop_take_poller(LoopObject *loop)
{
    relaxed_store(&loop->backend, NULL);
    Poller *poller = __atomic_exchange_n(&loop->poller, NULL, __ATOMIC_SEQ_CST);
    loop_await_wakers(loop);
    return poller;
}

#else

Poller *
loop_borrow_poller(LoopObject *loop)
{
    return loop_is_copy(loop) ? NULL : loop->poller;
}

void
loop_return_poller(LoopObject *Py_UNUSED(loop), Poller *Py_UNUSED(poller))
{
}

Poller *
loop_take_poller(LoopObject *loop)
{
    Poller *poller = loop->poller;
    loop->poller = NULL;
    loop->backend = NULL;
    return poller;
}

#endif
