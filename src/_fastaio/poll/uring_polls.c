/* uring_polls.c: arming polls in the ring, taking completions as events, waiting. */
#include "poll/uring_polls.h"

#include "base/kernel.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define EPOLL_BATCH 256
/* After the kernel has refused a request for lack of memory, a wait pauses this long. */
#define RETRY_NS 1000000

/* Return true if the kernel has refused a request for lack of memory: a later try may succeed. */
static inline bool
is_refusal(int rc)
{
    return rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM;
}

/* ---- arming ---------------------------------------------------------------------------------- */

/* Return events as a poll request has them: on big-endian machines the kernel reads the two halves the other
   way round. */
static uint32_t
poll_mask(uint32_t events)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return events << 16 | events >> 16;
#else
    return events;
#endif
}

/* Put the request for a poll in the ring. Return 0 or a negative errno. */
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

int
polls_cancel(Uring *ring, uint64_t user_data)
{
    UringSqe *sqe = uring_sqe(ring);
    if (sqe == NULL) {
        return -errno;
    }
    sqe->opcode = URING_OP_ASYNC_CANCEL; /* POLL_REMOVE would miss a poll that has just been triggered */
    sqe->flags = URING_SQE_CQE_SKIP_SUCCESS;
    sqe->fd = -1;
    sqe->addr = user_data;
    return 0;
}

/* Arm the poll of a slot, under a new serial. Return 0 or a negative errno. */
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

int
polls_arm(UringPoller *self)
{
    Uring *ring = self->base.ring;
    int rc = 0;
    while (rc == 0 && self->cancel_count > 0) {
        rc = polls_cancel(ring, self->cancels[self->cancel_count - 1]);
        self->cancel_count -= rc == 0;
    }
    while (rc == 0 && self->pending_count > 0) {
        int fd = self->pending[self->pending_count - 1];
        Slot *slot = &self->slots[fd];
        if (slot->in_ring && !slot->armed) {
            rc = arm_slot(self, fd);
        }
        if (rc == 0) {
            slot->pending = false;
            self->pending_count--;
        }
    }
    if (rc == 0 && self->wake_poll == 0) {
        uint64_t data = (uint64_t)++self->serial << 32 | TAG_WAKE;
        rc = add_poll(ring, self->wake_fd, EPOLLIN, URING_POLL_MULTI, data);
        self->wake_poll = rc == 0 ? data : 0;
    }
    if (rc == 0 && self->epoll_fd >= 0 && self->epoll_poll == 0) {
        uint64_t data = (uint64_t)++self->serial << 32 | TAG_EPOLL;
        rc = add_poll(ring, self->epoll_fd, EPOLLIN, 0, data);
        self->epoll_poll = rc == 0 ? data : 0;
    }
    if (rc == 0) {
        atomic_store_explicit(&self->dirty, false, memory_order_relaxed);
    }
    return rc;
}

/* Queue the poll of each slot that needs one: the ring is new and has none. */
static void
requeue_all(UringPoller *self)
{
    self->cancel_count = 0;
    self->wake_poll = self->epoll_poll = 0;
    for (int fd = 0; fd < self->size; fd++) {
        Slot *slot = &self->slots[fd];
        /* A one-shot poll that has fired stays silent. */
        if (slot->in_ring && (slot->armed || slot->mode != WATCH_ONESHOT)) {
            polls_queue(self, fd);
        }
        slot->armed = false;
    }
    self->renewals = self->base.ring->renewals;
    polls_mark_dirty(self);
}

/* ---- completions ----------------------------------------------------------------------------- */

/* Take the completion of a poll. Return true with *event set if there is an event to report. */
static bool
take_poll(UringPoller *self, const UringCqe *cqe, PollEvent *event)
{
    int fd = (int)((uint32_t)cqe->user_data >> 1);
    Slot *slot = fd < self->size ? &self->slots[fd] : NULL;
    if (slot == NULL || !slot->armed || slot->serial != (uint32_t)(cqe->user_data >> 32)) {
        return false; /* of a poll that was cancelled */
    }
    slot->armed = (cqe->flags & URING_CQE_MORE) != 0;
    if (cqe->res < 0 && (is_refusal(cqe->res) || cqe->res == -ECANCELED)) {
        self->starved |= is_refusal(cqe->res);
        polls_queue(self, fd);
        return false;
    }
    if (!slot->armed && slot->mode != WATCH_ONESHOT && cqe->res >= 0) {
        polls_queue(self, fd); /* for the next level, or since the completion queue was full */
    }
    /* A descriptor that cannot be polled is reported with an error: the owner's next call raises it. */
    uint32_t events = cqe->res >= 0 ? (uint32_t)cqe->res : EPOLLERR | EPOLLHUP;
    *event = (PollEvent){.token = slot->token, .events = events};
    return true;
}

/* Take the events of the epoll set, whose poll has ended. Return their number. */
static int
take_epoll(UringPoller *self, PollEvent *events, int max_events)
{
    struct epoll_event batch[EPOLL_BATCH];
    self->epoll_poll = 0;
    polls_mark_dirty(self);
    int count =
        kernel_epoll_wait(self->epoll_fd, batch, max_events < EPOLL_BATCH ? max_events : EPOLL_BATCH, 0);
    for (int i = 0; i < count; i++) {
        events[i] = (PollEvent){.token = batch[i].data.u64, .events = batch[i].events};
    }
    return count > 0 ? count : 0; /* the set is level-triggered: it reports the rest again */
}

/* Make the event of a completed operation. `more`: more completions of the operation follow. */
static void
operation_event(UringOp *op, int32_t result, bool more, PollEvent *event)
{
    if (!more) {
        op->finished = true;
        op->result = result;
    }
    *event = (PollEvent){.token = (uintptr_t)op,
                         .events = POLL_OPERATION | (more ? POLL_MORE : 0u),
                         .result = result};
}

/* Take completions off the ring. Return the number of events that they make. */
static int
take_completions(UringPoller *self, PollEvent *events, int max_events)
{
    Uring *ring = self->base.ring;
    int count = 0;
    UringOp *op;
    UringCqe cqe;
    while (count < max_events && (op = uring_next_finished(ring)) != NULL) {
        operation_event(op, op->result, false, &events[count++]);
    }
    while (count < max_events && uring_next(ring, &cqe)) {
        if (cqe.user_data == 0) {
            continue; /* a cancellation that came too late */
        }
        if (cqe.user_data & TAG_POLL) {
            count += take_poll(self, &cqe, &events[count]);
        }
        else if (cqe.user_data == self->epoll_poll) {
            count += take_epoll(self, events + count, max_events - count);
        }
        else if (cqe.user_data == self->wake_poll) {
            if (!(cqe.flags & URING_CQE_MORE)) {
                self->wake_poll = 0;
                polls_mark_dirty(self);
            }
        }
        else if ((cqe.user_data & TAG_MASK) == TAG_OPERATION) {
            operation_event((UringOp *)(uintptr_t)cqe.user_data, cqe.res,
                            (cqe.flags & URING_CQE_MORE) != 0, &events[count++]);
        }
    }
    return count;
}

void
polls_rearm(void *poller, const UringCqe *cqe)
{
    UringPoller *self = poller;
    PollEvent event;
    if (cqe->user_data == self->wake_poll && !(cqe->flags & URING_CQE_MORE)) {
        self->wake_poll = 0;
    }
    else if (cqe->user_data == self->epoll_poll) {
        self->epoll_poll = 0;
    }
    else if ((cqe->user_data & TAG_POLL) && take_poll(self, cqe, &event)) {
        int fd = (int)((uint32_t)cqe->user_data >> 1);
        if (self->slots[fd].armed) {
            polls_queue_cancel(self, cqe->user_data);
            self->slots[fd].armed = false;
        }
        polls_queue(self, fd);
    }
    polls_mark_dirty(self);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Return true if there is nothing to submit and nothing to collect. Makes no system call. */
static bool
is_idle(UringPoller *self)
{
    return !atomic_load_explicit(&self->dirty, memory_order_relaxed) &&
           uring_is_idle(self->base.ring);
}

/* Note a refusal: the next wait pauses, then asks again. Return rc, or 0 for a refusal. */
static int
postpone_refused(UringPoller *self, int rc)
{
    if (is_refusal(rc)) {
        self->starved = true;
        return 0;
    }
    return rc;
}

/* Enter the kernel without the lock. If another thread owns the ring, whether that thread lives or not,
   replace the ring instead. Return 0 or a negative errno. */
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
    return postpone_refused(self, rc);
}

/* Give the kernel time to find memory after a refusal. */
static void
pause_after_refusal(UringPoller *self)
{
    struct timespec moment = {0, RETRY_NS};
    self->starved = false;
    pthread_mutex_unlock(&self->lock);
    nanosleep(&moment, NULL);
    pthread_mutex_lock(&self->lock);
}

/* Make the ring if there is none, and arm all queued polls. Arming may itself replace the ring, which drops
   the polls. Return 0 or a negative errno. */
static int
prepare(UringPoller *self)
{
    Uring *ring = self->base.ring;
    int rc = ring->fd < 0 ? uring_renew(ring) : 0;
    while (rc == 0) {
        if (self->renewals != ring->renewals) {
            requeue_all(self);
        }
        rc = polls_arm(self);
        if (rc == 0 && self->renewals == ring->renewals) {
            return 0;
        }
    }
    return postpone_refused(self, rc);
}

static int
wait_locked(UringPoller *self, int64_t timeout_ns, PollEvent *events, int max_events)
{
    Uring *ring = self->base.ring;
    int rc = prepare(self);
    if (rc < 0) {
        return rc;
    }
    int count = take_completions(self, events, max_events);
    if (count == 0 && timeout_ns != 0) {
        if (self->starved) {
            pause_after_refusal(self);
            timeout_ns = 0;
        }
        rc = enter(self, timeout_ns != 0, timeout_ns);
    }
    else if (uring_queued(ring) != 0 || uring_owes(ring)) {
        rc = enter(self, 0, 0);
    }
    count += take_completions(self, events + count, max_events - count);
    for (int i = 0; i < MORE_CALLS && rc == 0 && count < max_events && uring_owes(ring); i++) {
        rc = enter(self, 0, 0);
        count += take_completions(self, events + count, max_events - count);
    }
    return count > 0 ? count : rc;
}

/* Note that a run has begun. The lock keeps another thread's unwatch() from replacing the ring at the same
   time: a loop that spins holds neither lock nor GIL. */
static void
start_running(UringPoller *self)
{
    pthread_mutex_lock(&self->lock);
    atomic_store_explicit(&self->running, true, memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
}

int
polls_wait(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events)
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

int
polls_wake(Poller *poller)
{
    uint64_t one = 1;
    ssize_t written;
    do {
        written = write(((UringPoller *)poller)->wake_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}
