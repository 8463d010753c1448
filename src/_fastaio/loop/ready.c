/* ready.c: the ring of the ready queue: growing, shrinking, clearing. */
#include "loop/ready.h"

#include "base/bulk.h"
#include "loop/handle_object.h"

#define READY_FIRST_CAPACITY 64

/* Move the entries into a ring of another capacity. Return 0, or -1 without an exception. */
static int
resize(ReadyQueue *queue, size_t capacity)
{
    ReadyEntry *entries = bulk_new(capacity * sizeof(*entries));
    if (entries == NULL) {
        return -1;
    }
    for (size_t i = queue->head; i != queue->tail; i++) {
        entries[i & (capacity - 1)] = *ready_at(queue, i);
    }
    bulk_free(queue->entries, queue->capacity * sizeof(*entries));
    queue->entries = entries;
    queue->capacity = capacity;
    return 0;
}

int
ready_grow(ReadyQueue *queue)
{
    if (resize(queue, queue->capacity ? queue->capacity * 2 : READY_FIRST_CAPACITY) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void
ready_shrink(ReadyQueue *queue)
{
    size_t capacity = bulk_fitting_capacity(queue->capacity, ready_len(queue));
    if (capacity < queue->capacity) {
        (void)resize(queue, capacity); /* without memory for a smaller ring the large one stays */
    }
}

void
ready_drop(ReadyEntry *entry)
{
    if (entry->kind == READY_HANDLE) {
        handle_release(entry->obj);
        return;
    }
    Py_XDECREF(entry->obj);
    Py_XDECREF(entry->arg);
    if (entry->kind != READY_NATIVE) {
        Py_XDECREF(entry->context);
    }
}

void
ready_clear(ReadyQueue *queue)
{
    while (ready_len(queue)) {
        ReadyEntry entry = ready_pop(queue);
        ready_drop(&entry);
    }
    bulk_free(queue->entries, queue->capacity * sizeof(*queue->entries));
    queue->entries = NULL;
    queue->capacity = 0;
}

int
ready_traverse(ReadyQueue *queue, visitproc visit, void *arg)
{
    for (size_t i = queue->head; i != queue->tail; i++) {
        ReadyEntry *entry = ready_at(queue, i);
        Py_VISIT(entry->obj);
        Py_VISIT(entry->arg);
        if (entry->kind != READY_NATIVE) {
            Py_VISIT(entry->context);
        }
    }
    return 0;
}
