/* inbox.h: handles that other threads hand to a running loop (call_soon_threadsafe). */
#ifndef FASTAIO_INBOX_H
#define FASTAIO_INBOX_H

#include "compat.h"
#include "ready.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    pthread_mutex_t lock; /* guards items, count and capacity */
    PyObject **items;     /* owned Handles */
    size_t count;
    size_t capacity;
    atomic_bool filled;   /* count > 0, readable without the lock */
} Inbox;

int inbox_init(Inbox *inbox);
/* Takes a new reference. 0, or -1 with MemoryError. Any thread that holds the GIL. */
int inbox_put(Inbox *inbox, PyObject *handle);
/* Moves everything to the ready queue; the loop's thread only. 0, or -1 with MemoryError. */
int inbox_drain(Inbox *inbox, ReadyQueue *queue);
void inbox_clear(Inbox *inbox);
void inbox_destroy(Inbox *inbox);
int inbox_traverse(Inbox *inbox, visitproc visit, void *arg);

static inline bool
inbox_filled(Inbox *inbox)
{
    return atomic_load_explicit(&inbox->filled, memory_order_acquire);
}

#endif
