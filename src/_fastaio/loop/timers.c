/* timers.c: the queue and the heap of timers. */
#include "loop/timers.h"

#include "base/bulk.h"
#include "loop/handle_object.h"
#include <math.h>

/* With this many timers or fewer, cancelled ones behind the first stay. */
#define PRUNE_MIN_COUNT 100

/* Return true if `a` comes first, by deadline, then by creation. Without a branch: which of two children in
   a heap is earlier cannot be predicted. */
static inline bool
earlier(const Timer *a, const Timer *b)
{
    return (a->when < b->when) |
           ((a->when == b->when) & (a->sequence < b->sequence));
}

static inline HandleObject *
handle_of(const Timer *timer)
{
    return (HandleObject *)timer->handle;
}

static inline Timer *
first_of(const TimerArray *array)
{
    return &array->items[array->head];
}

static inline Timer *
last_of(const TimerArray *array)
{
    return &array->items[array->head + array->count - 1];
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* Append a timer. Return 0, or -1 with MemoryError. */
static int
array_append(TimerArray *array, Timer timer)
{
    if (array->head + array->count == array->capacity) {
        if (array->head > array->capacity / 2) { /* the free front of the queue is large enough */
            memmove(array->items, first_of(array), array->count * sizeof(Timer));
            array->head = 0;
        }
        else {
            size_t capacity = array->capacity ? array->capacity * 2 : 32;
            Timer *items = bulk_resize(array->items, array->capacity * sizeof(Timer),
                                       capacity * sizeof(Timer));
            if (items == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            array->items = items;
            array->capacity = capacity;
        }
    }
    array->items[array->head + array->count] = timer;
    relaxed_add(&array->count, 1);
    return 0;
}

/* Give back the memory of an array that is much larger than its content. */
static void
array_shrink(TimerArray *array)
{
    size_t capacity = bulk_fitting_capacity(array->capacity, array->count);
    if (capacity == array->capacity) {
        return;
    }
    memmove(array->items, first_of(array), array->count * sizeof(Timer));
    array->head = 0;
    Timer *items = bulk_resize(array->items, array->capacity * sizeof(Timer),
                               capacity * sizeof(Timer));
    if (items != NULL) { /* without memory for a smaller array the large one stays */
        array->items = items;
        array->capacity = capacity;
    }
}

/* Move the handles of cancelled timers to `dead`, from *count on. The other timers keep their order. */
static void
array_remove_cancelled(TimerArray *array, PyObject **dead, size_t *count)
{
    Timer *items = array->items + array->head;
    size_t kept = 0;
    for (size_t i = 0; i < array->count; i++) {
        if (handle_of(&items[i])->cancelled) {
            handle_of(&items[i])->scheduled = false;
            dead[(*count)++] = items[i].handle;
        }
        else {
            items[kept++] = items[i];
        }
    }
    relaxed_store(&array->count, kept);
}

/* Mark all handles as no longer scheduled. */
static void
array_forget(const TimerArray *array)
{
    for (size_t i = 0; i < array->count; i++) {
        handle_of(&array->items[array->head + i])->scheduled = false;
    }
}

/* Empty an array whose memory the caller has taken over. Another thread may read the count. */
static void
array_forsake(TimerArray *array)
{
    array->items = NULL;
    array->head = array->capacity = 0;
    relaxed_store(&array->count, 0);
}

static void
array_free(TimerArray *array)
{
    for (size_t i = 0; i < array->count; i++) {
        handle_release(array->items[array->head + i].handle);
    }
    bulk_free(array->items, array->capacity * sizeof(Timer));
}

/* Track the handles at the end of the array whose sequence is `from` or higher. */
static void
array_track(const TimerArray *array, uint64_t from)
{
    const Timer *items = array->items + array->head;
    for (size_t i = array->count; i > 0 && items[i - 1].sequence >= from; i--) {
        handle_track(items[i - 1].handle);
    }
}

static int
array_traverse(const TimerArray *array, visitproc visit, void *arg)
{
    for (size_t i = 0; i < array->count; i++) {
        Py_VISIT(array->items[array->head + i].handle);
    }
    return 0;
}

/* ---- the heap -------------------------------------------------------------------------------- */

static void
sift_up(Timer *items, size_t index)
{
    Timer moving = items[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!earlier(&moving, &items[parent])) {
            break;
        }
        items[index] = items[parent];
        index = parent;
    }
    items[index] = moving;
}

/* Remove and return the first timer. The earlier child moves up, level by level, which frees a leaf. The last
   timer, usually a late one, is put there and rises, which takes half the comparisons of a sink from the
   top. Until then the last timer is still behind the others, so each child that is compared has a
   sibling. */
static Timer
heap_pop(TimerArray *heap)
{
    Timer *items = heap->items;
    Timer first = items[0];
    size_t last = heap->count - 1;
    size_t index = 0;
    for (size_t child = 1; child < last; child = 2 * index + 1) {
        child += earlier(&items[child + 1], &items[child]);
        items[index] = items[child];
        index = child;
    }
    items[index] = items[last];
    sift_up(items, index);
    relaxed_store(&heap->count, last);
    return first;
}

/* ---- queue and heap together ----------------------------------------------------------------- */

int
timers_push(Timers *timers, double when, PyObject *handle)
{
    if (isnan(when)) {
        when = -INFINITY;
    }
    Timer timer = {.when = when, .sequence = timers->sequence, .handle = handle};
    TimerArray *queue = &timers->queue;
    bool in_order = queue->count == 0 || last_of(queue)->when <= when;
    if (array_append(in_order ? queue : &timers->heap, timer) < 0) {
        return -1;
    }
    if (!in_order) {
        timers->heap_tracked = false;
        sift_up(timers->heap.items, timers->heap.count - 1);
    }
    timers->sequence++;
    timers->cancelled += ((HandleObject *)handle)->cancelled; /* while its deadline became a float */
    ((HandleObject *)Py_NewRef(handle))->scheduled = true;
    return 0;
}

static inline bool
queue_is_first(const Timers *timers)
{
    if (timers->queue.count == 0 || timers->heap.count == 0) {
        return timers->queue.count != 0;
    }
    return earlier(first_of(&timers->queue), first_of(&timers->heap));
}

const Timer *
timers_peek(const Timers *timers)
{
    if (queue_is_first(timers)) {
        return first_of(&timers->queue);
    }
    return timers->heap.count ? first_of(&timers->heap) : NULL;
}

PyObject *
timers_pop(Timers *timers)
{
    Timer timer;
    if (queue_is_first(timers)) {
        timer = *first_of(&timers->queue);
        timers->queue.head++;
        relaxed_add(&timers->queue.count, -1);
        if (timers->queue.count == 0) {
            timers->queue.head = 0;
        }
    }
    else {
        timer = heap_pop(&timers->heap);
    }
    HandleObject *handle = handle_of(&timer);
    handle->scheduled = false;
    if (handle->cancelled) {
        timers->cancelled--;
    }
    return timer.handle;
}

/* Remove the last timer of an array if that is `handle`. Return true if it is. */
static bool
drop_last(TimerArray *array, PyObject *handle)
{
    if (array->count == 0 || last_of(array)->handle != handle) {
        return false;
    }
    relaxed_add(&array->count, -1);
    if (array->count == 0) {
        array->head = 0;
    }
    return true;
}

void
timers_cancelled(Timers *timers, PyObject *handle)
{
    /* The last leaf of a heap can be removed without moving another timer. */
    if (drop_last(&timers->queue, handle) || drop_last(&timers->heap, handle)) {
        ((HandleObject *)handle)->scheduled = false;
        handle_release(handle);
    }
    else {
        timers->cancelled++;
    }
}

/* Remove all cancelled timers. The references are dropped last: that may run code which makes timers. */
static void
remove_cancelled(Timers *timers)
{
    size_t count = 0;
    size_t size = timers->cancelled * sizeof(PyObject *);
    PyObject **dead = bulk_new(size);
    if (dead == NULL) {
        return; /* the next turn tries again */
    }
    array_remove_cancelled(&timers->queue, dead, &count);
    array_remove_cancelled(&timers->heap, dead, &count);
    timers->cancelled = 0;
    for (size_t i = 1; i < timers->heap.count; i++) {
        sift_up(timers->heap.items, i);
    }
    timers_shrink(timers);
    for (size_t i = 0; i < count; i++) {
        handle_release(dead[i]);
    }
    bulk_free(dead, size);
}

void
timers_prune(Timers *timers)
{
    size_t count = timers_count(timers);
    if (count > PRUNE_MIN_COUNT && timers->cancelled > count / 2) {
        remove_cancelled(timers);
    }
    while (timers->cancelled && handle_of(timers_peek(timers))->cancelled) {
        handle_release(timers_pop(timers));
    }
}

void
timers_shrink(Timers *timers)
{
    array_shrink(&timers->queue);
    array_shrink(&timers->heap);
}

void
timers_track(Timers *timers)
{
    array_track(&timers->queue, timers->tracked);
    timers->tracked = timers->sequence;
    if (!timers->heap_tracked) {
        array_track(&timers->heap, 0);
        timers->heap_tracked = true;
    }
}

PyObject *
timers_list(Timers *timers)
{
    PyObject *list = NULL;
    size_t count;
    do { /* making the list may start the collector, whose finalizers may make or cancel timers */
        count = timers_count(timers);
        Py_XSETREF(list, PyList_New((Py_ssize_t)count));
    } while (list != NULL && count != timers_count(timers));
    if (list == NULL) {
        return NULL;
    }
    const TimerArray *arrays[] = {&timers->queue, &timers->heap};
    Py_ssize_t filled = 0;
    for (size_t array = 0; array < 2; array++) {
        for (size_t i = 0; i < arrays[array]->count; i++) {
            PyObject *handle = arrays[array]->items[arrays[array]->head + i].handle;
            handle_track(handle);
            PyList_SET_ITEM(list, filled++, Py_NewRef(handle));
        }
    }
    if (timers->heap.count != 0 && PyList_Sort(list) < 0) {
        Py_CLEAR(list);
    }
    return list;
}

void
timers_clear(Timers *timers)
{
    /* Empty both arrays first: dropping a timer may run code that cancels another one. */
    TimerArray queue = timers->queue, heap = timers->heap;
    array_forsake(&timers->queue);
    array_forsake(&timers->heap);
    timers->cancelled = 0;
    array_forget(&queue);
    array_forget(&heap);
    array_free(&queue);
    array_free(&heap);
}

int
timers_traverse(Timers *timers, visitproc visit, void *arg)
{
    int result = array_traverse(&timers->queue, visit, arg);
    return result ? result : array_traverse(&timers->heap, visit, arg);
}
