/* uring_poller.c: a poller on io_uring: watching descriptors, the ends of runs, forks, its methods.
 *
 * WATCH_EDGE has a multishot poll in the ring. WATCH_ONESHOT and WATCH_EXCLUSIVE have a one-shot poll;
 * that of WATCH_EXCLUSIVE is armed again with the next poll of the loop, when its callback has run. New
 * requests wait for the next poll of the loop and cost no system call of their own.
 *
 * An armed poll keeps its file open, even when the descriptor is closed. So unwatch() cancels it
 * immediately. Descriptors of the user (WATCH_LEVEL), which may be closed without notice, are in an
 * epoll set that the ring polls.
 */
#include "poll/uring_polls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- watching -------------------------------------------------------------------------------- */

/* Make room for descriptor numbers up to fd. Return 0 or a negative errno. */
static int
grow(UringPoller *self, int fd)
{
    int size = self->size ? self->size : 64;
    while (size <= fd) {
        if (size > INT32_MAX / 2) {
            return -ENOMEM;
        }
        size *= 2;
    }
    int *pending = realloc(self->pending, (size_t)size * sizeof(*pending));
    if (pending == NULL) {
        return -ENOMEM;
    }
    self->pending = pending;
    uint64_t *cancels = realloc(self->cancels, ((size_t)size + 2) * sizeof(*cancels));
    if (cancels == NULL) {
        return -ENOMEM;
    }
    self->cancels = cancels;
    Slot *slots = realloc(self->slots, (size_t)size * sizeof(*slots));
    if (slots == NULL) {
        return -ENOMEM;
    }
    self->slots = slots;
    memset(slots + self->size, 0, (size_t)(size - self->size) * sizeof(*slots));
    self->size = size;
    return 0;
}

/* Return true if this thread owns the ring. */
static bool
on_own_thread(UringPoller *self)
{
    Uring *ring = self->base.ring;
    return ring->fd >= 0 && ring->enabled && pthread_equal(ring->owner, pthread_self());
}

/* Wake the loop if another thread runs it: the wait there does not know of a changed registration. */
static void
wake_other_thread(UringPoller *self)
{
    if (atomic_load_explicit(&self->running, memory_order_relaxed) && !on_own_thread(self)) {
        (void)polls_wake(&self->base);
    }
}

/* Cancel the poll of a slot before its descriptor is closed: an armed poll would keep the file open, and the
   peer would get no FIN. */
static void
disarm(UringPoller *self, int fd)
{
    Uring *ring = self->base.ring;
    Slot *slot = &self->slots[fd];
    uint64_t data = poll_data(slot, fd);
    int rc = -EEXIST;
    slot->armed = false;
    if (on_own_thread(self)) {
        rc = polls_cancel(ring, data);
        for (int i = 0; rc == 0 && (i == 0 || uring_owes(ring)) && i < MORE_CALLS; i++) {
            rc = uring_enter(ring, 0, 0);
        }
        if (rc == 0) {
            return;
        }
    }
    else if (atomic_load_explicit(&self->running, memory_order_relaxed)) {
        polls_queue_cancel(self, data);
        (void)polls_wake(&self->base);
        return;
    }
    /* The thread that owns the ring runs the loop no longer: only a new ring ends the poll. */
    if (rc == -EEXIST && uring_renew(ring) == 0) {
        polls_mark_dirty(self);
    }
    else {
        polls_queue_cancel(self, data);
    }
}

/* Register fd in the ring. Its poll is armed by the next wait. */
static void
watch_in_ring(UringPoller *self, int fd, uint32_t events, WatchMode mode, uint64_t token)
{
    Slot *slot = &self->slots[fd];
    if (slot->in_epoll) {
        (void)epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        slot->in_epoll = false;
    }
    if (slot->armed) {
        polls_queue_cancel(self, poll_data(slot, fd));
        slot->armed = false;
    }
    slot->in_ring = true;
    slot->events = events;
    slot->mode = (uint8_t)mode;
    slot->token = token;
    polls_queue(self, fd);
}

/* Register fd in the epoll set. Return 0 or a negative errno. */
static int
watch_in_epoll(UringPoller *self, int fd, uint32_t events, uint64_t token)
{
    Slot *slot = &self->slots[fd];
    if (self->epoll_fd < 0) {
        self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (self->epoll_fd < 0) {
            return -errno;
        }
        polls_mark_dirty(self);
    }
    struct epoll_event event = {.events = events, .data.u64 = token};
    int rc = epoll_ctl(self->epoll_fd, slot->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (rc < 0 && (errno == EEXIST || errno == ENOENT)) {
        rc = epoll_ctl(self->epoll_fd, slot->in_epoll ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
    }
    if (rc < 0) {
        return -errno;
    }
    if (slot->armed) {
        polls_queue_cancel(self, poll_data(slot, fd));
    }
    slot->in_ring = slot->armed = false;
    slot->in_epoll = true;
    return 0;
}

static int
ring_watch(Poller *poller, int fd, uint32_t events, WatchMode mode, uint64_t token, bool known)
{
    UringPoller *self = (UringPoller *)poller;
    (void)known; /* the slot tells */
    pthread_mutex_lock(&self->lock);
    int rc = fd < self->size ? 0 : grow(self, fd);
    if (rc == 0 && mode == WATCH_LEVEL) {
        rc = watch_in_epoll(self, fd, events, token);
    }
    else if (rc == 0) {
        watch_in_ring(self, fd, events, mode, token);
    }
    wake_other_thread(self);
    pthread_mutex_unlock(&self->lock);
    return rc;
}

static int
unwatch_slot(UringPoller *self, int fd)
{
    Slot *slot = fd < self->size ? &self->slots[fd] : NULL;
    if (slot == NULL || !(slot->in_epoll || slot->in_ring)) {
        return -ENOENT;
    }
    if (slot->in_epoll) {
        slot->in_epoll = false;
        return epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
    }
    slot->in_ring = false;
    if (slot->armed) {
        disarm(self, fd);
    }
    return 0;
}

static int
ring_unwatch(Poller *poller, int fd)
{
    UringPoller *self = (UringPoller *)poller;
    if (!uring_is_ours(self->base.ring)) {
        return 0; /* in a forked child, before forked() has been called */
    }
    pthread_mutex_lock(&self->lock);
    int rc = unwatch_slot(self, fd);
    pthread_mutex_unlock(&self->lock);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void
ring_stopped(Poller *poller)
{
    UringPoller *self = (UringPoller *)poller;
    pthread_mutex_lock(&self->lock);
    if (uring_count(poller->ring) > 0) {
        (void)uring_finish_all(poller->ring, polls_rearm, self);
    }
    if (self->cancel_count > 0 && polls_arm(self) == 0) {
        (void)uring_enter(poller->ring, 0, 0); /* for descriptors that another thread has just unwatched */
    }
    /* This comes last: from now on disarm() may replace the ring, which loses operations in flight. */
    atomic_store_explicit(&self->running, false, memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
}

static void
ring_forked(Poller *poller)
{
    uring_abandon(poller->ring);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* Cancel all polls and empty the slots. */
static void
forget_all(UringPoller *self)
{
    if (self->epoll_poll != 0) {
        polls_queue_cancel(self, self->epoll_poll);
        self->epoll_poll = 0;
    }
    close_fd(&self->epoll_fd);
    for (int fd = 0; fd < self->size; fd++) {
        Slot *slot = &self->slots[fd];
        if (slot->armed) {
            polls_queue_cancel(self, poll_data(slot, fd));
        }
        *slot = (Slot){.pending = slot->pending};
    }
}

/* Give a forked child's copy a ring and descriptors of its own: those that it has are the parent's. Return 0
   or a negative errno. */
static int
adopt(UringPoller *self)
{
    uring_abandon(self->base.ring);
    pthread_mutex_init(&self->lock, NULL); /* a thread that held it does not exist in this process */
    close_fd(&self->epoll_fd);
    close_fd(&self->wake_fd);
    self->wake_poll = self->epoll_poll = 0;
    self->pending_count = self->cancel_count = 0;
    if (self->size > 0) {
        memset(self->slots, 0, (size_t)self->size * sizeof(*self->slots));
    }
    atomic_store(&self->running, false);
    atomic_store(&self->dirty, true);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return self->wake_fd < 0 ? -errno : uring_renew(self->base.ring);
}

static int
ring_rebuild(Poller *poller, bool forked)
{
    UringPoller *self = (UringPoller *)poller;
    if (forked) {
        return adopt(self);
    }
    pthread_mutex_lock(&self->lock);
    forget_all(self);
    pthread_mutex_unlock(&self->lock);
    return 0;
}

static void
ring_destroy(Poller *poller)
{
    UringPoller *self = (UringPoller *)poller;
    if (poller->ring != NULL) {
        uring_destroy(poller->ring);
    }
    close_fd(&self->epoll_fd);
    close_fd(&self->wake_fd);
    pthread_mutex_destroy(&self->lock);
    free(self->slots);
    free(self->pending);
    free(self->cancels);
    free(self);
}

static void
ring_quiesce(Poller *poller)
{
    if (uring_count(poller->ring) > 0) {
        uring_quiesce(poller->ring);
    }
}

static const PollerMethods uring_methods = {
    .name = "io_uring",
    .pins_files = true,
    .destroy = ring_destroy,
    .watch = ring_watch,
    .unwatch = ring_unwatch,
    .wait = polls_wait,
    .wake = polls_wake,
    .rebuild = ring_rebuild,
    .stopped = ring_stopped,
    .quiesce = ring_quiesce,
    .forked = ring_forked,
};

Poller *
uring_poller_create(int *error)
{
    UringPoller *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    self->base.methods = &uring_methods;
    self->epoll_fd = -1;
    atomic_init(&self->dirty, true);
    atomic_init(&self->running, false);
    pthread_mutex_init(&self->lock, NULL);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = self->wake_fd < 0 ? -errno : grow(self, 0);
    if (rc == 0) {
        self->base.ring = uring_create(error);
        rc = self->base.ring == NULL ? -*error : 0;
    }
    if (rc < 0) {
        *error = -rc;
        ring_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}

#ifndef NDEBUG
int
uring_poller_fault(Poller *poller, const char *kind, int error, unsigned times)
{
    static const char *const kinds[FAULT_KINDS] = {
        [FAULT_SETUP] = "setup",
        [FAULT_ENTER] = "enter",
        [FAULT_REGISTER] = "register",
        [FAULT_SUBMIT] = "submit",
        [FAULT_QUEUE] = "queue",
    };
    for (int i = 0; poller->ring != NULL && i < FAULT_KINDS; i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            poller->ring->faults[i] = (Fault){error, times};
            return 0;
        }
    }
    return -EINVAL;
}
#endif
