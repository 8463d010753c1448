/* uring_polls.h: the struct of an io_uring poller, arming its polls, waiting for them.
 *
 * The loop's thread waits without the GIL, while another thread may unwatch (by collecting garbage, for
 * example). So a lock guards the table of slots, and only the ring's own thread touches the ring. A
 * change is queued in the table, and the next wait hands it to the ring.
 */
#ifndef FASTAIO_URING_POLLS_H
#define FASTAIO_URING_POLLS_H

#include "poll/poller.h"
#include "poll/uring.h"
#include "poll/uring_impl.h"

/* The kernel delivers few completions per call if many are due. A caller enters the kernel again at most
   this many times. */
#define MORE_CALLS 32

/* The registration of a descriptor: in the ring, in the epoll set, or in neither. */
typedef struct {
    uint64_t token;
    uint32_t events;
    uint32_t serial; /* of the poll that is armed */
    uint8_t mode;
    bool in_ring;
    bool in_epoll;
    bool armed;   /* a poll of this serial is in the ring */
    bool pending; /* listed in `pending`, to be armed */
} Slot;

typedef struct {
    Poller base;
    pthread_mutex_t lock; /* guards all that follows */
    Slot *slots;          /* by descriptor */
    int size;
    int *pending; /* descriptors whose slots are to be armed */
    int pending_count;
    uint64_t *cancels; /* user_data of polls to be cancelled; room for one per slot and two */
    int cancel_count;
    atomic_bool dirty; /* the next wait has something to arm or to cancel */
    int wake_fd;
    int epoll_fd;        /* the set of level-triggered descriptors; -1: there have been none */
    uint64_t wake_poll;  /* user_data of the poll of wake_fd; 0: not armed */
    uint64_t epoll_poll; /* user_data of the poll of epoll_fd; 0: not armed */
    uint32_t serial;     /* of the newest poll */
    unsigned renewals;   /* ring->renewals when all polls were queued */
    atomic_bool running; /* between the first wait of a run and its end */
    bool starved;        /* the kernel has refused a request for lack of memory */
} UringPoller;

/* Return the user_data of the slot's poll. */
static inline uint64_t
poll_data(const Slot *slot, int fd)
{
    return (uint64_t)slot->serial << 32 | (uint32_t)fd << 1 | TAG_POLL;
}

static inline void
polls_mark_dirty(UringPoller *self)
{
    atomic_store_explicit(&self->dirty, true, memory_order_relaxed);
}

/* Have the next wait arm the slot, if the slot is in the ring and not armed then. */
static inline void
polls_queue(UringPoller *self, int fd)
{
    Slot *slot = &self->slots[fd];
    if (!slot->pending) {
        slot->pending = true;
        self->pending[self->pending_count++] = fd;
    }
    polls_mark_dirty(self);
}

/* Have the next wait cancel a poll. */
static inline void
polls_queue_cancel(UringPoller *self, uint64_t user_data)
{
    self->cancels[self->cancel_count++] = user_data;
    polls_mark_dirty(self);
}

/* Hand queued polls and cancellations to the ring. The caller has the lock. Return 0; or a negative errno,
   and the rest stays queued. */
int polls_arm(UringPoller *self);
/* Put the request to cancel a poll in the ring. Return 0 or a negative errno. */
int polls_cancel(Uring *ring, uint64_t user_data);
/* Take a completion whose event cannot be reported, and have the next wait arm its poll again, which reports
   the event anew. `poller`: a UringPoller, whose lock the caller has. */
void polls_rearm(void *poller, const UringCqe *cqe);
/* The poller's wait() and wake(): see PollerMethods. */
int polls_wait(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events);
int polls_wake(Poller *poller);

#endif
