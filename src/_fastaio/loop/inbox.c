/* inbox.c: on an interpreter without a GIL, entries that other threads have queued for a loop. */
#include "loop/inbox.h"

#ifdef Py_GIL_DISABLED

int
inbox_push(Inbox *inbox, const ReadyEntry *entry)
{
    mutex_lock(&inbox->lock);
    bool refused = inbox->closed && entry->kind == READY_HANDLE;
    ReadyEntry *place = refused ? NULL : ready_push(&inbox->queue);
    if (place != NULL) {
        *place = *entry;
        atomic_store(&inbox->size, ready_len(&inbox->queue));
    }
    mutex_unlock(&inbox->lock);
    return refused ? 1 : place != NULL ? 0 : -1;
}

int
inbox_collect(Inbox *inbox, ReadyQueue *ready)
{
    int result = 0;
    mutex_lock(&inbox->lock);
    while (ready_len(&inbox->queue)) {
        ReadyEntry *place = ready_push(ready);
        if (place == NULL) {
            result = -1;
            break;
        }
        *place = ready_pop(&inbox->queue);
    }
    ready_shrink(&inbox->queue);
    atomic_store(&inbox->size, ready_len(&inbox->queue));
    mutex_unlock(&inbox->lock);
    return result;
}

void
inbox_close(Inbox *inbox)
{
    ReadyQueue dropped;
    mutex_lock(&inbox->lock);
    dropped = inbox->queue;
    inbox->queue = (ReadyQueue){0};
    inbox->closed = true;
    atomic_store(&inbox->size, 0);
    mutex_unlock(&inbox->lock);
    ready_clear(&dropped); /* runs code */
}

#endif
