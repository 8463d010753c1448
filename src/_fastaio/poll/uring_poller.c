/* uring_poller.c: a poller on io_uring.
 *
 * WATCH_EDGE has a multishot poll in the ring. WATCH_ONESHOT and WATCH_EXCLUSIVE have a one-shot poll;
 * that of WATCH_EXCLUSIVE is armed again with the next poll of the loop, when its callback has run. New
 * requests wait for the next poll of the loop and cost no system call of their own.
 *
 * An armed poll keeps its file open, even when the descriptor is closed. So unwatch() cancels it
 * immediately. Descriptors of the user (WATCH_LEVEL), which may be closed without notice, are in an
 * epoll set that the ring polls.
 *
 * The loop's thread waits without the GIL, while another thread may unwatch (by collecting garbage, for
 * example). So a lock guards the table, and only the ring's own thread touches the ring.
 */
#include "poll/poller.h"
#include "base/kernel.h"
#include "poll/uring_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EPOLL_BATCH 256
/* The kernel delivers few completions per call if many are due. A wait asks again this often. */
#define MORE_CALLS 32
/* After the kernel has refused a request for lack of memory, a wait pauses this long. */
#define RETRY_NS 1000000

typedef struct {
    uint64_t token;
    uint32_t events;
    uint32_t serial; /* of the poll that is armed */
    uint8_t mode;
    bool watched; /* by the ring */
    bool levels;  /* by the epoll set */
    bool armed;   /* a poll of this serial is in the ring */
    bool queued;  /* in `pending`: to be armed */
} Slot;

typedef struct {
    Poller base;
    pthread_mutex_t lock; /* guards all that follows, but for the ring */
    Slot *slots;
    int size;
    int *pending;
    int pending_count;
    uint64_t *cancels; /* polls to be given up, by their user_data; room for one per slot and two */
    int cancel_count;
    atomic_bool dirty; /* pending, cancels or one of the following has work for the next wait */
    int wake_fd;
    int epoll_fd; /* -1: nothing level-triggered yet */
    uint64_t wake_poll;   /* user_data of the poll of wake_fd; 0: not armed */
    uint64_t levels_poll; /* the same of epoll_fd */
    uint32_t serial;
    unsigned renewals;     /* of the ring, when all was armed */
    atomic_bool running;   /* between the first wait of a run and its end */
    bool starved;          /* the kernel had no memory for a poll */
} UringPoller;

/* ---- polls in the ring ----------------------------------------------------------------------- */

static uint64_t
poll_data(const Slot *slot, int fd)
{
    return (uint64_t)slot->serial << 32 | (uint32_t)fd << 1 | TAG_POLL;
}

/* The kernel reads the two halves the other way round on big-endian machines. */
static uint32_t
poll_mask(uint32_t events)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return events << 16 | events >> 16;
#else
    return events;
#endif
}

static int
add_poll(Uring *ring, int fd, uint32_t events, unsigned flags, uint64_t user_data)
{
    UringSqe *sqe = uring_sqe(ring);
    if (sqe == NULL) {
        return -errno;
    }
    sqe->opcode = URING_OP_POLL_ADD;
    sqe->fd = fd;
    sqe->op_flags = poll_mask(events);
    sqe->len = flags;
    sqe->user_data = user_data;
    return 0;
}

/* Cancel a poll. POLL_REMOVE would miss a poll that has just been triggered. */
static int
remove_poll(Uring *ring, uint64_t user_data)
{
    UringSqe *sqe = uring_sqe(ring);
    if (sqe == NULL) {
        return -errno;
    }
    sqe->opcode = URING_OP_ASYNC_CANCEL;
    sqe->flags = URING_SQE_CQE_SKIP_SUCCESS;
    sqe->fd = -1;
    sqe->addr = user_data;
    return 0;
}

static void
queue_slot(UringPoller *self, int fd)
{
    Slot *slot = &self->slots[fd];
    if (!slot->queued) {
        slot->queued = true;
        self->pending[self->pending_count++] = fd;
    }
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
}

static void
queue_cancel(UringPoller *self, uint64_t user_data)
{
    self->cancels[self->cancel_count++] = user_data;
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
}

static int
arm_slot(UringPoller *self, int fd)
{
    Slot *slot = &self->slots[fd];
    uint32_t events = slot->events;
    unsigned flags = slot->mode == WATCH_EDGE ? URING_POLL_MULTI : 0;
    if (slot->mode == WATCH_EXCLUSIVE) {
        events |= EPOLLEXCLUSIVE;
    }
    slot->serial = ++self->serial;
    int rc = add_poll(self->base.ring, fd, events, flags, poll_data(slot, fd));
    slot->armed = rc == 0;
    return rc;
}

/* Hand pending polls and cancellations to the ring. Return 0; or a negative errno, and the rest stays
   pending. */
static int
arm_all(UringPoller *self)
{
    Uring *ring = self->base.ring;
    int rc = 0;
    while (rc == 0 && self->cancel_count > 0) {
        rc = remove_poll(ring, self->cancels[self->cancel_count - 1]);
        self->cancel_count -= rc == 0;
    }
    while (rc == 0 && self->pending_count > 0) {
        int fd = self->pending[self->pending_count - 1];
        Slot *slot = &self->slots[fd];
        if (slot->watched && !slot->armed) {
            rc = arm_slot(self, fd);
        }
        if (rc == 0) {
            slot->queued = false;
            self->pending_count--;
        }
    }
    if (rc == 0 && self->wake_poll == 0) {
        uint64_t data = (uint64_t)++self->serial << 32 | TAG_WAKE;
        rc = add_poll(ring, self->wake_fd, EPOLLIN, URING_POLL_MULTI, data);
        self->wake_poll = rc == 0 ? data : 0;
    }
    if (rc == 0 && self->epoll_fd >= 0 && self->levels_poll == 0) {
        uint64_t data = (uint64_t)++self->serial << 32 | TAG_LEVELS;
        rc = add_poll(ring, self->epoll_fd, EPOLLIN, 0, data);
        self->levels_poll = rc == 0 ? data : 0;
    }
    if (rc == 0) {
        atomic_store_explicit(&self->dirty, false, memory_order_relaxed);
    }
    return rc;
}

/* Note that the ring has no poll any more, and queue the slots that need one. */
static void
forget_armed(UringPoller *self)
{
    self->cancel_count = 0;
    self->wake_poll = self->levels_poll = 0;
    for (int fd = 0; fd < self->size; fd++) {
        Slot *slot = &self->slots[fd];
        /* A one-shot that has fired stays silent. */
        if (slot->watched && (slot->armed || slot->mode != WATCH_ONESHOT)) {
            queue_slot(self, fd);
        }
        slot->armed = false;
    }
    self->renewals = self->base.ring->renewals;
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
}

/* ---- completions ----------------------------------------------------------------------------- */

/* Return true if a poll that ended by itself may be armed again. */
static bool
may_arm_again(UringPoller *self, int32_t result)
{
    if (result == -EAGAIN || result == -ENOMEM || result == -EBUSY) {
        self->starved = true;
        return true;
    }
    return result == -ECANCELED;
}

/* Take the completion of a poll. Return true if *event is to be reported. */
static bool
take_poll(UringPoller *self, const UringCqe *cqe, PollEvent *event)
{
    int fd = (int)((uint32_t)cqe->user_data >> 1);
    Slot *slot = fd < self->size ? &self->slots[fd] : NULL;
    if (slot == NULL || !slot->armed || slot->serial != (uint32_t)(cqe->user_data >> 32)) {
        return false; /* given up */
    }
    slot->armed = (cqe->flags & URING_CQE_MORE) != 0;
    if (cqe->res < 0 && may_arm_again(self, cqe->res)) {
        queue_slot(self, fd);
        return false;
    }
    if (!slot->armed && slot->mode != WATCH_ONESHOT && cqe->res >= 0) {
        queue_slot(self, fd); /* the next level; or a multishot that has overflowed */
    }
    /* A descriptor that cannot be polled is reported with an error: its owner's own call raises it. */
    uint32_t events = cqe->res >= 0 ? (uint32_t)cqe->res : EPOLLERR | EPOLLHUP;
    *event = (PollEvent){.token = slot->token, .events = events};
    return true;
}

static int
take_levels(UringPoller *self, PollEvent *events, int max_events)
{
    struct epoll_event batch[EPOLL_BATCH];
    self->levels_poll = 0;
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
    int count =
        kernel_epoll_wait(self->epoll_fd, batch, max_events < EPOLL_BATCH ? max_events : EPOLL_BATCH, 0);
    for (int i = 0; i < count; i++) {
        events[i] = (PollEvent){.token = batch[i].data.u64, .events = batch[i].events};
    }
    return count > 0 ? count : 0; /* level-triggered: what is not taken now is reported again */
}

static void
report_op(UringOp *op, int32_t result, bool more, PollEvent *event)
{
    if (!more) {
        op->finished = true;
        op->result = result;
    }
    *event = (PollEvent){.token = (uintptr_t)op,
                         .events = POLL_OPERATION | (more ? POLL_MORE : 0u),
                         .result = result};
}

/* Take the completions of the ring as events. Return their number. */
static int
take_all(UringPoller *self, PollEvent *events, int max_events)
{
    Uring *ring = self->base.ring;
    int count = 0;
    UringOp *op;
    UringCqe cqe;
    while (count < max_events && (op = uring_next_finished(ring)) != NULL) {
        report_op(op, op->result, false, &events[count++]);
    }
    while (count < max_events && uring_next(ring, &cqe)) {
        if (cqe.user_data == 0) {
            continue; /* a cancellation that came too late */
        }
        if (cqe.user_data & TAG_POLL) {
            count += take_poll(self, &cqe, &events[count]);
        }
        else if (cqe.user_data == self->levels_poll) {
            count += take_levels(self, events + count, max_events - count);
        }
        else if (cqe.user_data == self->wake_poll) {
            if (!(cqe.flags & URING_CQE_MORE)) {
                self->wake_poll = 0;
                atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
            }
        }
        else if ((cqe.user_data & TAG_MASK) == TAG_OPERATION) {
            report_op((UringOp *)(uintptr_t)cqe.user_data, cqe.res,
                      (cqe.flags & URING_CQE_MORE) != 0, &events[count++]);
        }
    }
    return count;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Return true if there is nothing to submit and nothing to collect. Makes no system call. */
static bool
is_idle(UringPoller *self)
{
    return !atomic_load_explicit(&self->dirty, memory_order_relaxed) &&
           uring_is_idle(self->base.ring);
}

/* Enter the kernel, without the lock. A ring that another thread owns is replaced first, whether that
   thread lives or not. */
static int
enter(UringPoller *self, unsigned least, int64_t timeout_ns)
{
    Uring *ring = self->base.ring;
    pthread_mutex_unlock(&self->lock);
    int rc = uring_enter(ring, least, timeout_ns);
    pthread_mutex_lock(&self->lock);
    if (rc == -EEXIST) {
        rc = uring_renew(ring);
    }
    if (rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM) {
        self->starved = true;
        rc = 0;
    }
    return rc;
}

/* Pause before the next try if the kernel has refused a request for lack of memory. */
static void
rest(UringPoller *self)
{
    struct timespec moment = {0, RETRY_NS};
    self->starved = false;
    pthread_mutex_unlock(&self->lock);
    nanosleep(&moment, NULL);
    pthread_mutex_lock(&self->lock);
}

static int
prepare(UringPoller *self)
{
    Uring *ring = self->base.ring;
    int rc = ring->fd < 0 ? uring_renew(ring) : 0;
    while (rc == 0) {
        if (self->renewals != ring->renewals) {
            forget_armed(self);
        }
        rc = arm_all(self);
        if (rc == 0 && self->renewals == ring->renewals) {
            return 0;
        }
    }
    if (rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM) {
        self->starved = true;
        rc = 0;
    }
    return rc;
}

static int
wait_locked(UringPoller *self, int64_t timeout_ns, PollEvent *events, int max_events)
{
    Uring *ring = self->base.ring;
    int rc = prepare(self);
    if (rc < 0) {
        return rc;
    }
    int count = take_all(self, events, max_events);
    if (count == 0 && timeout_ns != 0) {
        if (self->starved) {
            rest(self);
            timeout_ns = 0;
        }
        rc = enter(self, timeout_ns != 0, timeout_ns);
    }
    else if (uring_queued(ring) != 0 || uring_owes(ring)) {
        rc = enter(self, 0, 0);
    }
    count += take_all(self, events + count, max_events - count);
    for (int i = 0; i < MORE_CALLS && rc == 0 && count < max_events && uring_owes(ring); i++) {
        rc = enter(self, 0, 0);
        count += take_all(self, events + count, max_events - count);
    }
    return count > 0 ? count : rc;
}

/* Note that a run has begun. The lock keeps give_up() of another thread from replacing the ring at the
   same time: a loop that spins holds neither lock nor GIL. */
static void
start_running(UringPoller *self)
{
    pthread_mutex_lock(&self->lock);
    atomic_store_explicit(&self->running, true, memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
}

static int
ring_wait(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events)
{
    UringPoller *self = (UringPoller *)poller;
    if (!atomic_load_explicit(&self->running, memory_order_relaxed)) {
        start_running(self);
    }
    if (timeout_ns == 0 && is_idle(self)) {
        return 0;
    }
    pthread_mutex_lock(&self->lock);
    int count = wait_locked(self, timeout_ns, events, max_events);
    pthread_mutex_unlock(&self->lock);
    return count;
}

static int
ring_wake(Poller *poller)
{
    uint64_t one = 1;
    ssize_t written;
    do {
        written = write(((UringPoller *)poller)->wake_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

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

static bool
on_own_thread(UringPoller *self)
{
    Uring *ring = self->base.ring;
    return ring->fd >= 0 && ring->enabled && pthread_equal(ring->owner, pthread_self());
}

/* Wake the loop if it waits in another thread: this thread has changed a registration. */
static void
tell_the_loop(UringPoller *self)
{
    if (atomic_load_explicit(&self->running, memory_order_relaxed) && !on_own_thread(self)) {
        (void)ring_wake(&self->base);
    }
}

/* Cancel a poll before its descriptor is closed: an armed poll would keep the file open, and the peer
   would get no FIN. */
static void
give_up(UringPoller *self, int fd)
{
    Uring *ring = self->base.ring;
    Slot *slot = &self->slots[fd];
    uint64_t data = poll_data(slot, fd);
    int rc = -EEXIST;
    slot->armed = false;
    if (on_own_thread(self)) {
        rc = remove_poll(ring, data);
        for (int i = 0; rc == 0 && (i == 0 || uring_owes(ring)) && i < MORE_CALLS; i++) {
            rc = uring_enter(ring, 0, 0);
        }
        if (rc == 0) {
            return;
        }
    }
    else if (atomic_load_explicit(&self->running, memory_order_relaxed)) {
        queue_cancel(self, data);
        (void)ring_wake(&self->base);
        return;
    }
    /* The thread that ran the loop does so no longer: with its ring all its polls end. */
    if (rc == -EEXIST && uring_renew(ring) == 0) {
        atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
    }
    else {
        queue_cancel(self, data);
    }
}

static int
watch_once(UringPoller *self, int fd, uint32_t events, WatchMode mode, uint64_t token)
{
    Slot *slot = &self->slots[fd];
    if (slot->levels) {
        (void)epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        slot->levels = false;
    }
    if (slot->armed) {
        queue_cancel(self, poll_data(slot, fd));
        slot->armed = false;
    }
    slot->watched = true;
    slot->events = events;
    slot->mode = (uint8_t)mode;
    slot->token = token;
    queue_slot(self, fd);
    return 0;
}

static int
watch_level(UringPoller *self, int fd, uint32_t events, uint64_t token)
{
    Slot *slot = &self->slots[fd];
    if (self->epoll_fd < 0) {
        self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (self->epoll_fd < 0) {
            return -errno;
        }
        atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
    }
    struct epoll_event event = {.events = events, .data.u64 = token};
    int rc = epoll_ctl(self->epoll_fd, slot->levels ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    if (rc < 0 && (errno == EEXIST || errno == ENOENT)) {
        rc = epoll_ctl(self->epoll_fd, slot->levels ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
    }
    if (rc < 0) {
        return -errno;
    }
    if (slot->armed) {
        queue_cancel(self, poll_data(slot, fd));
    }
    slot->watched = slot->armed = false;
    slot->levels = true;
    return 0;
}

static int
ring_watch(Poller *poller, int fd, uint32_t events, WatchMode mode, uint64_t token, int known)
{
    UringPoller *self = (UringPoller *)poller;
    (void)known; /* `slots` has the truth */
    pthread_mutex_lock(&self->lock);
    int rc = fd < self->size ? 0 : grow(self, fd);
    if (rc == 0) {
        rc = mode == WATCH_LEVEL ? watch_level(self, fd, events, token)
                                 : watch_once(self, fd, events, mode, token);
    }
    tell_the_loop(self);
    pthread_mutex_unlock(&self->lock);
    return rc;
}

static int
unwatch_slot(UringPoller *self, int fd)
{
    Slot *slot = fd < self->size ? &self->slots[fd] : NULL;
    if (slot == NULL || !(slot->levels || slot->watched)) {
        return -ENOENT;
    }
    if (slot->levels) {
        slot->levels = false;
        return epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
    }
    slot->watched = false;
    if (slot->armed) {
        give_up(self, fd);
    }
    return 0;
}

static int
ring_unwatch(Poller *poller, int fd)
{
    UringPoller *self = (UringPoller *)poller;
    if (!uring_is_ours(self->base.ring)) {
        return 0; /* a forked child, before it has been told that it is one */
    }
    pthread_mutex_lock(&self->lock);
    int rc = unwatch_slot(self, fd);
    pthread_mutex_unlock(&self->lock);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Take a completion that comes while operations are awaited. Its event is not reported, so the poll is armed
   again and reports anew. */
static void
note_missed(void *arg, const UringCqe *cqe)
{
    UringPoller *self = arg;
    PollEvent event;
    if (cqe->user_data == self->wake_poll && !(cqe->flags & URING_CQE_MORE)) {
        self->wake_poll = 0;
    }
    else if (cqe->user_data == self->levels_poll) {
        self->levels_poll = 0;
    }
    else if ((cqe->user_data & TAG_POLL) && take_poll(self, cqe, &event)) {
        int fd = (int)((uint32_t)cqe->user_data >> 1);
        if (self->slots[fd].armed) {
            queue_cancel(self, cqe->user_data);
            self->slots[fd].armed = false;
        }
        queue_slot(self, fd);
    }
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
}

static void
ring_stopped(Poller *poller)
{
    UringPoller *self = (UringPoller *)poller;
    pthread_mutex_lock(&self->lock);
    if (uring_count(poller->ring) > 0) {
        (void)uring_finish_all(poller->ring, note_missed, self);
    }
    if (self->cancel_count > 0 && arm_all(self) == 0) {
        (void)uring_enter(poller->ring, 0, 0); /* what another thread has given up in the last turn */
    }
    /* Last: from now on give_up() may exchange the ring, which loses what is in flight on it. */
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
forget_watched(UringPoller *self)
{
    if (self->levels_poll != 0) {
        queue_cancel(self, self->levels_poll);
        self->levels_poll = 0;
    }
    close_fd(&self->epoll_fd);
    for (int fd = 0; fd < self->size; fd++) {
        Slot *slot = &self->slots[fd];
        if (slot->armed) {
            queue_cancel(self, poll_data(slot, fd));
        }
        *slot = (Slot){.queued = slot->queued};
    }
}

/* Give a forked child's copy a state of its own: polls that the parent has armed belong to the parent. */
static int
adopt(UringPoller *self)
{
    uring_abandon(self->base.ring);
    pthread_mutex_init(&self->lock, NULL); /* a thread that held it does not exist in this process */
    close_fd(&self->epoll_fd);
    close_fd(&self->wake_fd);
    self->wake_poll = self->levels_poll = 0;
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
    forget_watched(self);
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
    .wait = ring_wait,
    .wake = ring_wake,
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
