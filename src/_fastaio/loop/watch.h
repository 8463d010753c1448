/* watch.h: the table of watched descriptors.
 *
 * One entry per descriptor. It belongs either to a native owner that embeds an IoWatcher (a transport,
 * a listening socket) or to the user's add_reader() and add_writer() handles and sock_*() waits.
 * Events carry descriptor and generation, so an event for an earlier owner is dropped.
 */
#ifndef FASTAIO_WATCH_H
#define FASTAIO_WATCH_H

#include "poll/poller.h"
#include "loop/ready.h"

/* Embedded in its owner. Reported events are joined in `events`, and run(loop, owner) is queued once; it
   takes the events with io_take_events(). */
typedef struct {
    PyObject *owner; /* borrowed: the object that embeds the watcher; after try_ref_enable() */
    ready_fn run;
    /* Return true if the user has closed or detached the owner's socket, so that the number may belong to
       another file. NULL: never. */
    bool (*lost_fd)(PyObject *owner);
    int fd;          /* -1: not watched */
    uint32_t events; /* reported since the last io_take_events() */
    bool queued;
    bool held;       /* the table has a reference to the owner: io_hold() */
} IoWatcher;

typedef struct FdTable FdTable;

/* Return an empty table; NULL with MemoryError. */
FdTable *fd_table_new(void);
/* Clear and free the table. NULL is harmless. */
void fd_table_free(FdTable *table);
int fd_table_traverse(FdTable *table, visitproc visit, void *arg);
/* Drop all owners and waiters. May run code. */
void fd_table_clear(FdTable *table);

/* Watch fd for a native owner. Drops the user's waiters on that number. Return 0, or -1 with OSError, or with
   RuntimeError if another transport uses fd. */
int io_watch(LoopObject *loop, IoWatcher *watcher, int fd, uint32_t events, WatchMode mode);
/* End the watching. Must come before the descriptor is closed; harmless when it is not watched. */
void io_unwatch(LoopObject *loop, IoWatcher *watcher);

/* Let the table own a reference to the owner, or drop that reference: an owner that waits for events may have
   no other one. The caller has a reference of its own. */
static inline void
io_hold(IoWatcher *watcher, bool hold)
{
    if (watcher->held != hold) {
        watcher->held = hold;
        if (hold) {
            Py_INCREF(watcher->owner);
        }
        else {
            Py_DECREF(watcher->owner);
        }
    }
}

/* Return the events that have been reported since the last call; 0: none. */
static inline uint32_t
io_take_events(IoWatcher *watcher)
{
    uint32_t events = watcher->events;
    watcher->events = 0;
    watcher->queued = false;
    return events;
}

/* The two sides of a user's descriptor. */
typedef enum { SIDE_READ, SIDE_WRITE } WatchSide;

/* Queue fn(loop, obj) once, when fd is ready, for a sock_*() operation. Replaces the waiter of that side,
   as add_reader() does. Return 0, or -1 with an exception. */
int watch_wait(LoopObject *loop, int fd, WatchSide side, PyObject *obj, ready_fn fn);
/* End the wait of `obj`; harmless when `obj` is not the waiter of that side. */
void watch_unwait(LoopObject *loop, int fd, WatchSide side, PyObject *obj);

/* Queue the owners and waiters of reported events; runs none of them. Return 0, or -1 with an exception. */
int watch_dispatch(LoopObject *loop, const PollEvent *events, int count);

/* Give a forked child's copy of a loop a poller of its own, with all watched descriptors registered.
   Return 0, or -1 with OSError. */
int watch_adopt(LoopObject *loop);

/* Watch fd for a user's Handle. Replaces and cancels the waiter of that side. `fileobj`: the file object that
   the user gave in place of a number, or NULL. Return 0; or -1 with an exception, and nothing has
   changed, unless the exception comes from the cancel() of the replaced Handle. */
int watch_set_handle(LoopObject *loop, int fd, WatchSide side, PyObject *handle, PyObject *fileobj);
/* Drop the waiter of a side. Return 1, 0 if there was none, or -1 with an exception. */
int watch_remove(LoopObject *loop, int fd, WatchSide side);
/* Queue the user's Handle for reading fd, as an event does. Does nothing if there is none. Return 0, or -1
   with MemoryError. */
int watch_queue_reader(LoopObject *loop, int fd);
/* Return the sides that have a waiter: 1 for reading, 2 for writing, or their sum. */
unsigned watch_sides(LoopObject *loop, int fd);
/* Return the number under which a file object is watched; -1, without an exception, for none. */
int watch_number(const LoopObject *loop, const PyObject *fileobj);
/* Drop an owner that has lost fd, then return a new reference to the native owner of fd, or NULL. May run code,
   which may close the loop. */
PyObject *watch_find_owner(LoopObject *loop, int fd);
/* Raise RuntimeError for a descriptor that a transport uses. The caller has a reference to the owner, which its
   repr() may end. Return -1. */
int watch_raise_taken(PyObject *fd, PyObject *owner);

#endif
