#include "timers.h"

#include "handle.h"

/* Below this many it is not worth looking for cancelled timers deep in the heap. */
#define PRUNE_MIN_COUNT 100

static inline bool
earlier(const Timer *a, const Timer *b)
{
    return a->when_ns < b->when_ns || (a->when_ns == b->when_ns && a->sequence < b->sequence);
}

static void
sift_up(Timer *timers, size_t index)
{
    Timer moving = timers[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!earlier(&moving, &timers[parent])) {
            break;
        }
        timers[index] = timers[parent];
        index = parent;
    }
    timers[index] = moving;
}

static void
sift_down(Timer *timers, size_t count, size_t index)
{
    Timer moving = timers[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && earlier(&timers[child + 1], &timers[child])) {
            child++;
        }
        if (!earlier(&timers[child], &moving)) {
            break;
        }
        timers[index] = timers[child];
        index = child;
    }
    timers[index] = moving;
}

static inline HandleObject *
handle_of(const Timer *timer)
{
    return (HandleObject *)timer->handle;
}

int
timers_push(TimerHeap *heap, int64_t when_ns, PyObject *handle)
{
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity ? heap->capacity * 2 : 32;
        Timer *timers = PyMem_Realloc(heap->timers, capacity * sizeof(*timers));
        if (timers == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        heap->timers = timers;
        heap->capacity = capacity;
    }
    heap->timers[heap->count] =
        (Timer){.when_ns = when_ns, .sequence = heap->sequence++, .handle = Py_NewRef(handle)};
    ((HandleObject *)handle)->heap = heap;
    sift_up(heap->timers, heap->count++);
    return 0;
}

PyObject *
timers_pop(TimerHeap *heap)
{
    PyObject *handle = heap->timers[0].handle;
    ((HandleObject *)handle)->heap = NULL;
    if (((HandleObject *)handle)->cancelled) {
        heap->cancelled--;
    }
    heap->timers[0] = heap->timers[--heap->count];
    if (heap->count > 1) {
        sift_down(heap->timers, heap->count, 0);
    }
    return handle;
}

void
timers_cancelled(TimerHeap *heap, PyObject *handle)
{
    if (heap->timers[heap->count - 1].handle != handle) {
        heap->cancelled++;
        return;
    }
    heap->count--;
    ((HandleObject *)handle)->heap = NULL;
    Py_DECREF(handle);
}

/* Takes every cancelled timer out and makes the rest a heap again. The references are dropped
   last: that may run code which pushes timers. */
static void
remove_cancelled(TimerHeap *heap)
{
    size_t kept = 0, dropped = 0;
    PyObject **dead = PyMem_New(PyObject *, heap->cancelled ? heap->cancelled : 1);
    if (dead == NULL) {
        return; /* only an economy: the next turn tries again */
    }
    for (size_t i = 0; i < heap->count; i++) {
        Timer timer = heap->timers[i];
        if (handle_of(&timer)->cancelled) {
            handle_of(&timer)->heap = NULL;
            dead[dropped++] = timer.handle;
        }
        else {
            heap->timers[kept++] = timer;
        }
    }
    heap->count = kept;
    heap->cancelled = 0;
    for (size_t i = kept / 2; i-- > 0;) {
        sift_down(heap->timers, kept, i);
    }
    if (heap->capacity > 1024 && kept < heap->capacity / 8) {
        Timer *smaller = PyMem_Realloc(heap->timers, heap->capacity / 4 * sizeof(*smaller));
        if (smaller != NULL) {
            heap->timers = smaller;
            heap->capacity /= 4;
        }
    }
    for (size_t i = 0; i < dropped; i++) {
        Py_DECREF(dead[i]);
    }
    PyMem_Free(dead);
}

void
timers_prune(TimerHeap *heap)
{
    if (heap->count > PRUNE_MIN_COUNT && heap->cancelled > heap->count / 2) {
        remove_cancelled(heap);
    }
    while (heap->cancelled && heap->count && handle_of(&heap->timers[0])->cancelled) {
        Py_DECREF(timers_pop(heap));
    }
}

void
timers_clear(TimerHeap *heap)
{
    Timer *timers = heap->timers;
    size_t count = heap->count;
    heap->timers = NULL;
    heap->count = heap->capacity = heap->cancelled = 0;
    for (size_t i = 0; i < count; i++) {
        handle_of(&timers[i])->heap = NULL;
        Py_DECREF(timers[i].handle);
    }
    PyMem_Free(timers);
}

int
timers_traverse(TimerHeap *heap, visitproc visit, void *arg)
{
    for (size_t i = 0; i < heap->count; i++) {
        Py_VISIT(heap->timers[i].handle);
    }
    return 0;
}
