#include "inbox.h"

int
inbox_init(Inbox *inbox)
{
    int error = pthread_mutex_init(&inbox->lock, NULL);
    if (error) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    inbox->items = NULL;
    inbox->count = inbox->capacity = 0;
    atomic_init(&inbox->filled, false);
    return 0;
}

int
inbox_put(Inbox *inbox, PyObject *handle)
{
    int result = -1;
    pthread_mutex_lock(&inbox->lock);
    if (inbox->count == inbox->capacity) {
        size_t capacity = inbox->capacity ? inbox->capacity * 2 : 32;
        PyObject **items = PyMem_RawRealloc(inbox->items, capacity * sizeof(*items));
        if (items == NULL) {
            goto done;
        }
        inbox->items = items;
        inbox->capacity = capacity;
    }
    inbox->items[inbox->count++] = Py_NewRef(handle);
    atomic_store_explicit(&inbox->filled, true, memory_order_release);
    result = 0;
done:
    pthread_mutex_unlock(&inbox->lock);
    if (result < 0) {
        PyErr_NoMemory();
    }
    return result;
}

int
inbox_drain(Inbox *inbox, ReadyQueue *queue)
{
    int result = 0;
    size_t moved = 0;
    pthread_mutex_lock(&inbox->lock);
    for (; moved < inbox->count; moved++) {
        ReadyEntry *entry = ready_push(queue);
        if (entry == NULL) {
            result = -1;
            break;
        }
        *entry = (ReadyEntry){.kind = READY_HANDLE, .obj = inbox->items[moved]};
    }
    inbox->count -= moved;
    if (inbox->count) {
        memmove(inbox->items, inbox->items + moved, inbox->count * sizeof(*inbox->items));
    }
    atomic_store_explicit(&inbox->filled, inbox->count > 0, memory_order_release);
    pthread_mutex_unlock(&inbox->lock);
    return result;
}

void
inbox_clear(Inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    PyObject **items = inbox->items;
    size_t count = inbox->count;
    inbox->items = NULL;
    inbox->count = inbox->capacity = 0;
    atomic_store_explicit(&inbox->filled, false, memory_order_release);
    pthread_mutex_unlock(&inbox->lock);
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(items[i]);
    }
    PyMem_RawFree(items);
}

void
inbox_destroy(Inbox *inbox)
{
    inbox_clear(inbox);
    pthread_mutex_destroy(&inbox->lock);
}

int
inbox_traverse(Inbox *inbox, visitproc visit, void *arg)
{
    for (size_t i = 0; i < inbox->count; i++) {
        Py_VISIT(inbox->items[i]);
    }
    return 0;
}
