/* watch.h: which descriptor belongs to whom, and who hears of its events.
 *
 * One entry per descriptor. It is held either by an IoWatcher (a transport, a
 * listening socket: native code that owns the descriptor) or by the user's
 * add_reader/add_writer handles and sock_* waits. Events carry descriptor and
 * generation, so one that belongs to an earlier holder is dropped.
 */
#ifndef FASTAIO_WATCH_H
#define FASTAIO_WATCH_H

#include "poll/poller.h"
#include "loop/ready.h"

/* Embedded in its owner. When events arrive they are gathered in `events`, and `run` is queued
   once with the owner, which collects them with io_take_events(). */
typedef struct {
    PyObject *owner; /* borrowed: the object that embeds this */
    ready_fn run;
    /* Whether the owner's socket has been closed or detached by the user, so that the number may
       be another's; NULL: never. */
    bool (*lost_fd)(PyObject *owner);
    int fd;          /* -1: not watched */
    uint32_t events; /* what has been seen since the last io_take_events() */
    bool queued;
    bool held;       /* the table has a reference to the owner: io_hold() */
} IoWatcher;

typedef struct FdTable FdTable;

/* Makes and frees the table (loop.c). */
FdTable *fd_table_new(void); /* NULL with MemoryError */
void fd_table_free(FdTable *table);
int fd_table_traverse(FdTable *table, visitproc visit, void *arg);
void fd_table_clear(FdTable *table);

/* Native owners. -1 with OSError, or RuntimeError where the descriptor is taken. */
int io_watch(LoopObject *loop, IoWatcher *watcher, int fd, uint32_t events, WatchMode mode);
/* Must come before the descriptor is closed; harmless when not watched. */
void io_unwatch(LoopObject *loop, IoWatcher *watcher);
/* Makes the table keep the owner of something watched alive, or no longer: what waits for events
   may have no other reference. The caller has one of its own. */
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

/* One-shot wait of a sock_* operation: queues fn(loop, obj) once when fd is ready, replacing whatever
   waited on that side (as add_reader does). */
int watch_wait(LoopObject *loop, int fd, WatchSide side, PyObject *obj, ready_fn fn);
/* Ends the wait if `obj` is still what waits there. */
void watch_unwait(LoopObject *loop, int fd, WatchSide side, PyObject *obj);

/* Called by the loop with what the poller reported: queues, runs nothing. 0, or -1 with an exception. */
int watch_dispatch(LoopObject *loop, const PollEvent *events, int count);

/* In a forked child, before it runs its copy of its parent's loop: all that is watched, by a poller of
   its own. -1 with OSError. */
int watch_adopt(LoopObject *loop);

/* Watch fd for a user's Handle, replacing and cancelling what waited on that side. fileobj: what the
   user gave instead of a number, or NULL. Return 0; or -1 with an exception: then all is as before,
   unless it comes from the cancel() of the Handle that was replaced. */
int watch_set_handle(LoopObject *loop, int fd, WatchSide side, PyObject *handle, PyObject *fileobj);
/* Drop what waits on a side. Return 1, 0 if nothing waited there, or -1 with an exception. */
int watch_remove(LoopObject *loop, int fd, WatchSide side);
/* Return which sides are waited for: 1 for reading, 2 for writing. */
unsigned watch_sides(LoopObject *loop, int fd);
/* Return the number under which a file object is watched; -1, without an exception, for none. */
int watch_number(const LoopObject *loop, const PyObject *fileobj);
/* Return the native object that owns fd, borrowed, or NULL. An owner that has lost fd is taken off
   first, which may run code: that may have closed the loop. */
PyObject *watch_owner(LoopObject *loop, int fd);
/* Raise RuntimeError for a descriptor that a transport uses. Return -1. */
int watch_raise_taken(PyObject *fd, PyObject *owner);

#endif
