/* watch.c: the table of descriptors: the owner or the waiters of each, and the dispatch of events.
 *
 * An event carries its descriptor's number and the generation of its registration. The generation
 * grows with every registration. An event of an older generation is stale: its registration outlived
 * the descriptor, because the user closed that while a dup kept the file open. A stale registration is
 * removed. If the poller does not know it under that number any more, the whole poller is rebuilt.
 */
#include "loop/watch.h"

#include "base/error.h"
#include "loop/loop.h"
#include "poll/uring.h"
#include "signals/signal_pipe.h"

#include <errno.h>
#include <fcntl.h>

/* The waiter on one side of a user's descriptor: a Handle, which is queued as long as the descriptor is
   ready, or a native object, for which `run` is queued once. */
typedef struct {
    PyObject *waiter; /* NULL: none */
    ready_fn run;     /* NULL: the waiter is a Handle */
} Side;

typedef struct {
    IoWatcher *watcher; /* the native owner; without one, the sides are the user's */
    Side sides[2];
    PyObject *fileobj; /* the argument of add_reader() if that was not a number */
    uint32_t events;   /* as last registered, as is mode */
    uint32_t generation;
    uint8_t mode;
    bool known; /* the poller has the descriptor, unless that was closed unnoticed */
} FdEntry;

struct FdTable {
    FdEntry *entries;
    int size;
};

/* ---- the table ------------------------------------------------------------------------------- */

FdTable *
fd_table_new(void)
{
    FdTable *table = PyMem_Calloc(1, sizeof(*table));
    if (table == NULL) {
        PyErr_NoMemory();
    }
    return table;
}

/* Drop the waiters and the file object of an entry. May run code. */
static void
entry_clear(FdEntry *entry)
{
    PyObject *reader = entry->sides[SIDE_READ].waiter;
    PyObject *writer = entry->sides[SIDE_WRITE].waiter;
    PyObject *fileobj = entry->fileobj;
    entry->sides[SIDE_READ] = entry->sides[SIDE_WRITE] = (Side){NULL, NULL};
    entry->fileobj = NULL;
    Py_XDECREF(reader);
    Py_XDECREF(writer);
    Py_XDECREF(fileobj);
}

void
fd_table_clear(FdTable *table)
{
    for (int fd = 0; table != NULL && fd < table->size; fd++) {
        IoWatcher *watcher = table->entries[fd].watcher;
        if (watcher != NULL) {
            table->entries[fd].watcher = NULL;
            watcher->fd = -1;
            io_hold(watcher, false);
        }
        /* This may run code that grows the table, so `entries` is read again each time. */
        entry_clear(&table->entries[fd]);
    }
}

void
fd_table_free(FdTable *table)
{
    if (table != NULL) {
        fd_table_clear(table);
        PyMem_Free(table->entries);
        PyMem_Free(table);
    }
}

int
fd_table_traverse(FdTable *table, visitproc visit, void *arg)
{
    for (int fd = 0; table != NULL && fd < table->size; fd++) {
        Py_VISIT(table->entries[fd].sides[SIDE_READ].waiter);
        Py_VISIT(table->entries[fd].sides[SIDE_WRITE].waiter);
        Py_VISIT(table->entries[fd].fileobj);
        IoWatcher *watcher = table->entries[fd].watcher;
        if (watcher != NULL && watcher->held) {
            Py_VISIT(watcher->owner);
        }
    }
    return 0;
}

static FdEntry *
table_find(FdTable *table, int fd)
{
    return table != NULL && fd >= 0 && fd < table->size ? &table->entries[fd] : NULL;
}

/* Return the entry of fd; NULL with an exception. Grows the table if needed, so the pointer is valid until
   the next call. */
static FdEntry *
table_get(FdTable *table, int fd)
{
    if (fd >= table->size) {
        /* A number that is not a descriptor must not make a large table. */
        if (fcntl(fd, F_GETFD) < 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return NULL;
        }
        int size = table->size ? table->size : 64;
        while (size <= fd) {
            if (size > INT_MAX / 2) {
                PyErr_NoMemory();
                return NULL;
            }
            size *= 2;
        }
        FdEntry *entries = PyMem_Realloc(table->entries, (size_t)size * sizeof(*entries));
        if (entries == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        memset(entries + table->size, 0, (size_t)(size - table->size) * sizeof(*entries));
        table->entries = entries;
        table->size = size;
    }
    return &table->entries[fd];
}

/* ---- registrations --------------------------------------------------------------------------- */

static bool
entry_has_waiter(const FdEntry *entry)
{
    return entry->sides[SIDE_READ].waiter != NULL || entry->sides[SIDE_WRITE].waiter != NULL;
}

/* Register fd for entry->events in entry->mode, under a new generation. Return 0 or a negative errno. */
static int
entry_register(LoopObject *loop, FdEntry *entry, int fd)
{
    if (loop_is_copy(loop)) {
        entry->generation++;
        return 0; /* the poller is the parent's until watch_adopt() */
    }
    uint64_t token = (uint64_t)(entry->generation + 1) << 32 | (uint32_t)fd;
    int rc = loop->poller->methods->watch(loop->poller, fd, entry->events, entry->mode, token,
                                          entry->known);
    if (rc == 0) {
        entry->generation++;
        entry->known = true;
        loop_io_happened(loop);
    }
    return rc;
}

/* Register fd for its waiters: level-triggered if a Handle waits, else one-shot. Always asks the kernel: the
   descriptor may have been closed and its number reused. Return 0 or a negative errno. */
static int
entry_arm(LoopObject *loop, FdEntry *entry, int fd)
{
    const Side *reader = &entry->sides[SIDE_READ];
    const Side *writer = &entry->sides[SIDE_WRITE];
    bool has_handle = (reader->waiter && !reader->run) || (writer->waiter && !writer->run);
    entry->events = (reader->waiter ? EPOLLIN : 0u) | (writer->waiter ? EPOLLOUT : 0u);
    entry->mode = has_handle ? WATCH_LEVEL : WATCH_ONESHOT;
    return entry_register(loop, entry, fd);
}

/* Take fd off the poller. Events that it still reports are stale. */
static void
entry_unregister(LoopObject *loop, FdEntry *entry, int fd)
{
    if (entry->known && loop->poller != NULL && !loop_is_copy(loop)) {
        (void)loop->poller->methods->unwatch(loop->poller, fd);
    }
    entry->known = false;
    entry->generation++;
}

/* Adapt the registration after a side has lost its waiter. Return 0 or a negative errno. */
static int
entry_disarm(LoopObject *loop, FdEntry *entry, int fd)
{
    if (entry_has_waiter(entry)) {
        return entry_arm(loop, entry, fd);
    }
    if (entry->mode != WATCH_ONESHOT || loop->poller->methods->pins_files) {
        entry_unregister(loop, entry, fd);
    }
    /* A one-shot registration that stays armed reports once more at most, and the report is dropped. */
    return 0;
}

/* Register all watched descriptors with an empty poller. Return 0, or -1 with OSError. */
static int
register_all(LoopObject *loop)
{
    FdTable *table = loop->fds;
    int failure = 0;
    for (int fd = 0; fd < table->size; fd++) {
        FdEntry *entry = &table->entries[fd];
        entry->known = false;
        if (entry->watcher == NULL && !entry_has_waiter(entry)) {
            continue;
        }
        int rc = entry->watcher ? entry_register(loop, entry, fd) : entry_arm(loop, entry, fd);
        if (rc < 0 && rc != -EBADF && rc != -EPERM) {
            failure = rc; /* EBADF, EPERM: the user has closed fd without remove_reader() */
        }
    }
    return failure < 0 ? raise_errno(-failure) : 0;
}

/* Replace the poller's kernel object and register everything again: nothing else removes a registration
   whose descriptor is closed. Return 0, or -1 with OSError. */
static int
rebuild(LoopObject *loop)
{
    int rc = loop->poller->methods->rebuild(loop->poller, false);
    return rc < 0 ? raise_errno(-rc) : register_all(loop);
}

int
watch_adopt(LoopObject *loop)
{
    if (signal_pipes_renew(loop->st) < 0) { /* first: register_all() registers one */
        return -1;
    }
    int rc = loop->poller->methods->rebuild(loop->poller, true);
    if (rc < 0) {
        return raise_errno(-rc);
    }
    atomic_store(&loop->wait.wakers, 0);
    relaxed_store(&loop->fork.count, loop->st->fork_count);
    return register_all(loop);
}

/* Take the registration of a stale event off the poller: a level-triggered one would make the loop spin.
   Return true if only rebuild() can do that. */
static bool
stale_needs_rebuild(LoopObject *loop, FdEntry *entry, int fd)
{
    if (entry != NULL && (entry->watcher != NULL || entry_has_waiter(entry))) {
        return true; /* the number has a newer registration, which must stay */
    }
    if (loop->poller->methods->unwatch(loop->poller, fd) < 0) {
        return true;
    }
    if (entry != NULL) {
        entry->known = false;
    }
    return false;
}

/* ---- native owners --------------------------------------------------------------------------- */

int
watch_raise_taken(PyObject *fd, PyObject *owner)
{
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fd, owner);
    return -1;
}

/* Raise the same for a number. Takes over the reference to the owner. Return -1. */
static int
raise_number_taken(int fd, PyObject *owner)
{
    PyObject *number = PyLong_FromLong(fd);
    if (number != NULL) {
        watch_raise_taken(number, owner);
        Py_DECREF(number);
    }
    Py_DECREF(owner);
    return -1;
}

/* Drop a waiter that has left the table. A Handle is cancelled, as asyncio cancels one that it replaces.
   Return 0, or -1 with an exception. This runs code: pointers into the table are void afterwards. */
static int
drop_waiter(LoopObject *loop, Side old)
{
    int rc = 0;
    if (old.waiter != NULL && old.run == NULL) {
        PyObject *done = PyObject_CallMethodNoArgs(old.waiter, loop->st->str_cancel);
        rc = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    }
    Py_XDECREF(old.waiter);
    return rc;
}

void
io_unwatch(LoopObject *loop, IoWatcher *watcher)
{
    FdEntry *entry = table_find(loop->fds, watcher->fd);
    if (entry != NULL && entry->watcher == watcher) {
        entry->watcher = NULL;
        entry_unregister(loop, entry, watcher->fd);
    }
    watcher->fd = -1;
}

PyObject *
watch_find_owner(LoopObject *loop, int fd)
{
    FdEntry *entry = table_find(loop->fds, fd);
    IoWatcher *watcher = entry != NULL ? entry->watcher : NULL;
    if (watcher != NULL && watcher->lost_fd != NULL && watcher->lost_fd(watcher->owner)) {
        io_unwatch(loop, watcher);
        io_hold(watcher, false); /* may free the owner, which runs code */
        return watch_find_owner(loop, fd);
    }
    PyObject *owner = watcher != NULL ? try_ref(watcher->owner) : NULL;
    if (watcher != NULL && owner == NULL) {
        io_unwatch(loop, watcher);
    }
    return owner;
}

int
io_watch(LoopObject *loop, IoWatcher *watcher, int fd, uint32_t events, WatchMode mode)
{
    if (fd < 0) {
        return raise_errno(EBADF);
    }
    PyObject *owner = watch_find_owner(loop, fd);
    if (owner != NULL && owner != watcher->owner) {
        return raise_number_taken(fd, owner);
    }
    Py_XDECREF(owner); /* the caller has a reference of its own */
    FdEntry *entry = loop_check_closed(loop) < 0 ? NULL : table_get(loop->fds, fd);
    if (entry == NULL) {
        return -1;
    }
    FdEntry before = *entry;
    entry->events = events;
    entry->mode = (uint8_t)mode;
    int rc = entry_register(loop, entry, fd);
    if (rc < 0) {
        entry->events = before.events;
        entry->mode = before.mode;
        return raise_errno(-rc);
    }
    entry->watcher = watcher;
    watcher->fd = fd;
    /* The waiters here wait for an earlier descriptor of this number. */
    entry->sides[SIDE_READ] = entry->sides[SIDE_WRITE] = (Side){NULL, NULL};
    entry->fileobj = NULL;
    Py_XDECREF(before.fileobj);
    for (int side = SIDE_READ; side <= SIDE_WRITE; side++) {
        if (drop_waiter(loop, before.sides[side]) < 0) {
            PyErr_WriteUnraisable((PyObject *)loop); /* the descriptor is watched nevertheless */
        }
    }
    return 0;
}

/* ---- waiters --------------------------------------------------------------------------------- */

/* Put a waiter on a side of fd, and register fd for it. Takes over the reference. Return 0; or -1 with an
   exception, and nothing has changed, unless the exception comes from the cancel() of a replaced Handle. */
static int
set_waiter(LoopObject *loop, int fd, WatchSide side, Side waiting, PyObject *fileobj)
{
    PyObject *owner = watch_find_owner(loop, fd);
    if (owner != NULL) {
        Py_DECREF(waiting.waiter);
        return raise_number_taken(fd, owner);
    }
    FdEntry *entry = loop_check_closed(loop) < 0 ? NULL : table_get(loop->fds, fd);
    if (entry == NULL) {
        Py_DECREF(waiting.waiter);
        return -1;
    }
    FdEntry before = *entry;
    entry->sides[side] = waiting;
    int rc = entry_arm(loop, entry, fd);
    if (rc < 0) {
        entry->sides[side] = before.sides[side];
        entry->events = before.events;
        entry->mode = before.mode;
        Py_DECREF(waiting.waiter);
        return raise_errno(-rc);
    }
    if (fileobj != NULL && before.fileobj == NULL) {
        entry->fileobj = Py_NewRef(fileobj);
    }
    if (drop_waiter(loop, before.sides[side]) == 0) {
        return 0;
    }
    if (waiting.run == NULL) {
        return -1; /* the new Handle stays registered, as in asyncio's add_reader() */
    }
    PyErr_WriteUnraisable((PyObject *)loop);
    return 0;
}

int
watch_remove(LoopObject *loop, int fd, WatchSide side)
{
    FdEntry *entry = table_find(loop->fds, fd);
    if (entry == NULL || entry->sides[side].waiter == NULL) {
        return 0;
    }
    Side old = entry->sides[side];
    entry->sides[side] = (Side){NULL, NULL};
    PyObject *fileobj = NULL;
    if (!entry_has_waiter(entry)) {
        fileobj = entry->fileobj;
        entry->fileobj = NULL;
    }
    int rc = loop->poller != NULL ? entry_disarm(loop, entry, fd) : 0;
    Py_XDECREF(fileobj);
    int dropped = drop_waiter(loop, old);
    if (rc < 0 && rc != -EBADF && rc != -EPERM) {
        /* fd cannot be registered for the other side any more. */
        return dropped < 0 ? -1 : raise_errno(-rc);
    }
    return dropped < 0 ? -1 : 1;
}

int
watch_set_handle(LoopObject *loop, int fd, WatchSide side, PyObject *handle, PyObject *fileobj)
{
    return set_waiter(loop, fd, side, (Side){Py_NewRef(handle), NULL}, fileobj);
}

unsigned
watch_sides(LoopObject *loop, int fd)
{
    FdEntry *entry = table_find(loop->fds, fd);
    if (entry == NULL) {
        return 0;
    }
    return (entry->sides[SIDE_READ].waiter != NULL ? 1u : 0u)
           | (entry->sides[SIDE_WRITE].waiter != NULL ? 2u : 0u);
}

int
watch_number(const LoopObject *loop, const PyObject *fileobj)
{
    const FdTable *table = loop->fds;
    for (int i = 0; table != NULL && i < table->size; i++) {
        if (table->entries[i].fileobj == fileobj) {
            return i;
        }
    }
    return -1;
}

int
watch_wait(LoopObject *loop, int fd, WatchSide side, PyObject *obj, ready_fn fn)
{
    return set_waiter(loop, fd, side, (Side){Py_NewRef(obj), fn}, NULL);
}

void
watch_unwait(LoopObject *loop, int fd, WatchSide side, PyObject *obj)
{
    FdEntry *entry = table_find(loop->fds, fd);
    if (entry == NULL || entry->sides[side].waiter != obj || entry->sides[side].run == NULL) {
        return;
    }
    entry->sides[side] = (Side){NULL, NULL};
    if (loop->poller != NULL) {
        /* If the user has closed the descriptor, the wait of the other side ends as well. */
        (void)entry_disarm(loop, entry, fd);
    }
    Py_DECREF(obj);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

/* Give a native owner its events, and queue it once. Return 0, or -1 with MemoryError. */
static int
push_watcher(LoopObject *loop, IoWatcher *watcher, uint32_t events)
{
    PyObject *owner = try_ref(watcher->owner);
    if (owner == NULL) {
        return 0;
    }
    int result = 0;
    watcher->events |= events;
    if (!watcher->queued) {
        result = ready_push_native(&loop->ready, watcher->run, owner);
        watcher->queued = result == 0;
    }
    Py_DECREF(owner);
    return result;
}

/* Queue the waiter of a side. Set *changed if it has left the side. Return 0, or -1 with MemoryError. */
static int
push_side(LoopObject *loop, Side *side, bool *changed)
{
    if (side->run != NULL) {
        Side told = *side;
        if (ready_push_native(&loop->ready, told.run, told.waiter) < 0) {
            return -1;
        }
        *side = (Side){NULL, NULL};
        *changed = true;
        Py_DECREF(told.waiter); /* the queue has a reference of its own */
        return 0;
    }
    ReadyEntry *ready = ready_push(&loop->ready);
    if (ready == NULL) {
        return -1;
    }
    *ready = (ReadyEntry){.kind = READY_HANDLE, .obj = Py_NewRef(side->waiter)};
    return 0;
}

static bool
side_is_cancelled(const Side *side)
{
    return side->waiter != NULL && side->run == NULL && ((HandleObject *)side->waiter)->cancelled;
}

int
watch_queue_reader(LoopObject *loop, int fd)
{
    FdEntry *entry = table_find(loop->fds, fd);
    Side *side = entry != NULL && entry->watcher == NULL ? &entry->sides[SIDE_READ] : NULL;
    if (side == NULL || side->waiter == NULL || side->run != NULL || side_is_cancelled(side)) {
        return 0;
    }
    bool changed;
    return push_side(loop, side, &changed);
}

/* Queue the waiters that the events are for. As in the selectors module, every event but "writable" is
   for the reader, and every event but "readable" for the writer. Return 0, or -1 with an exception. */
static int
push_sides(LoopObject *loop, int fd, uint32_t events)
{
    static const uint32_t masks[2] = {
        [SIDE_READ] = ~(uint32_t)EPOLLOUT, [SIDE_WRITE] = ~(uint32_t)EPOLLIN};
    bool changed = false;
    bool one_shot = loop->fds->entries[fd].mode == WATCH_ONESHOT;
    for (int side = SIDE_READ; side <= SIDE_WRITE; side++) {
        if (!(events & masks[side])) {
            continue;
        }
        Side *waiting = &loop->fds->entries[fd].sides[side];
        if (side_is_cancelled(waiting)) {
            if (watch_remove(loop, fd, side) < 0) {
                return -1;
            }
        }
        else if (waiting->waiter != NULL && push_side(loop, waiting, &changed) < 0) {
            return -1;
        }
    }
    FdEntry *entry = &loop->fds->entries[fd];
    if (!changed || (one_shot && !entry_has_waiter(entry))) {
        return 0; /* a level-triggered registration stays; a one-shot one has fired */
    }
    int rc = entry_disarm(loop, entry, fd);
    return rc < 0 && rc != -EBADF && rc != -EPERM ? raise_errno(-rc) : 0;
}

/* Queue the owner or the waiters of one event. Set *needs_rebuild if the poller has to be rebuilt. Return
   0, or -1 with an exception. */
static int
dispatch(LoopObject *loop, const PollEvent *event, bool *needs_rebuild)
{
    int fd = (int)(uint32_t)event->token;
    FdEntry *entry = table_find(loop->fds, fd);
    if (entry == NULL || entry->generation != (uint32_t)(event->token >> 32)) {
        *needs_rebuild |= stale_needs_rebuild(loop, entry, fd);
        return 0;
    }
    if (entry->watcher != NULL) {
        return push_watcher(loop, entry->watcher, event->events);
    }
    loop_io_happened(loop); /* these callbacks do I/O that the loop does not see */
    return push_sides(loop, fd, event->events);
}

int
watch_dispatch(LoopObject *loop, const PollEvent *events, int count)
{
    if (count > 0) {
        relaxed_add(&loop->metrics.io_events, (uint64_t)count);
    }
    PyObject *error = NULL;
    bool needs_rebuild = false;
    for (int i = 0; i < count && loop->poller != NULL; i++) {
        if (events[i].events & POLL_OPERATION) {
            uring_deliver(loop->poller->ring, (UringOp *)(uintptr_t)events[i].token,
                          events[i].result, events[i].events & POLL_MORE);
        }
        else if (error == NULL && dispatch(loop, &events[i], &needs_rebuild) < 0) {
            /* Go on: a completed operation is reported only once. */
            error = PyErr_GetRaisedException();
            needs_rebuild = true; /* a rebuilt poller reports the event again */
        }
    }
    if (needs_rebuild && loop->poller != NULL && rebuild(loop) < 0) {
        if (error == NULL) {
            return -1;
        }
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    if (error != NULL) {
        PyErr_SetRaisedException(error);
        return -1;
    }
    return 0;
}
