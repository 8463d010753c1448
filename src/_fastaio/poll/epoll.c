/* epoll.c: the epoll poller: one epoll descriptor, and one eventfd for wake-ups. */
#include "poll/poller.h"

#include "base/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAKE_TOKEN UINT64_MAX
#define BATCH      256
#define NS_PER_MS  1000000
#define NS_PER_S   1000000000
/* Longer waits are cut to a day; the caller waits again. */
#define LONGEST_NS (INT64_C(86400) * NS_PER_S)

typedef struct {
    Poller base;
    int epoll_fd;
    int wake_fd;
    bool no_pwait2; /* the kernel (before 5.11) or a seccomp filter refuses epoll_pwait2() */
} EpollPoller;

/* Call epoll_ctl(). Return 0 or a negative errno. */
static int
control(EpollPoller *self, int op, int fd, uint32_t events, uint64_t token)
{
    struct epoll_event event = {.events = events, .data.u64 = token};
    return epoll_ctl(self->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

/* Make an epoll descriptor that watches the eventfd only. Return 0 or a negative errno. */
static int
open_epoll(EpollPoller *self)
{
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll_fd < 0) {
        return -errno;
    }
    /* Edge-triggered: every write to the eventfd is a new edge, so it need never be read. */
    int rc = control(self, EPOLL_CTL_ADD, self->wake_fd, EPOLLIN | EPOLLET, WAKE_TOKEN);
    if (rc < 0) {
        close(self->epoll_fd);
        self->epoll_fd = -1;
    }
    return rc;
}

static void
epoll_destroy(Poller *poller)
{
    EpollPoller *self = (EpollPoller *)poller;
    if (self->epoll_fd >= 0) {
        close(self->epoll_fd);
    }
    if (self->wake_fd >= 0) {
        close(self->wake_fd);
    }
    free(self);
}

static uint32_t
mode_bits(WatchMode mode)
{
    switch (mode) {
    case WATCH_EDGE:
        return EPOLLET;
    case WATCH_ONESHOT:
        return EPOLLONESHOT;
    case WATCH_EXCLUSIVE:
        return EPOLLEXCLUSIVE;
    case WATCH_LEVEL:
        break;
    }
    return 0;
}

/* Remove and add a registration: the kernel refuses to change one to or from EPOLLEXCLUSIVE. Return 0 or a
   negative errno. */
static int
add_again(EpollPoller *self, int fd, uint32_t events, uint64_t token)
{
    int rc = control(self, EPOLL_CTL_DEL, fd, 0, 0);
    if (rc < 0 && rc != -ENOENT) {
        return rc;
    }
    return control(self, EPOLL_CTL_ADD, fd, events, token);
}

static int
epoll_watch(Poller *poller, int fd, uint32_t events, WatchMode mode, uint64_t token, bool known)
{
    EpollPoller *self = (EpollPoller *)poller;
    if (mode == WATCH_EXCLUSIVE) {
        events &= EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP; /* the only bits allowed with it */
    }
    events |= mode_bits(mode);
    int rc;
    if (!known) {
        rc = control(self, EPOLL_CTL_ADD, fd, events, token);
        if (rc != -EEXIST) {
            return rc;
        }
    }
    if (mode == WATCH_EXCLUSIVE) {
        return add_again(self, fd, events, token);
    }
    rc = control(self, EPOLL_CTL_MOD, fd, events, token);
    if (rc == -ENOENT) {
        rc = control(self, EPOLL_CTL_ADD, fd, events, token);
    }
    else if (rc == -EINVAL) {
        rc = add_again(self, fd, events, token);
    }
    return rc;
}

static int
epoll_unwatch(Poller *poller, int fd)
{
    return control((EpollPoller *)poller, EPOLL_CTL_DEL, fd, 0, 0);
}

/* Wait by epoll_pwait2() if the kernel has it, else in milliseconds, rounded up so that no timer fires
   early. Return the number of events, or -1 with errno. */
static int
wait_ns(EpollPoller *self, struct epoll_event *batch, int size, int64_t ns)
{
    if (ns > LONGEST_NS) {
        ns = LONGEST_NS;
    }
    if (ns > 0 && !self->no_pwait2) {
        /* The kernel's own layout: time_t of the C library may be smaller. */
        struct {
            int64_t sec;
            int64_t nsec;
        } timeout = {ns / NS_PER_S, ns % NS_PER_S};
        long count =
            syscall(SYS_epoll_pwait2, self->epoll_fd, batch, size, &timeout, NULL, (size_t)0);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return (int)count;
        }
        self->no_pwait2 = true;
    }
    int ms = ns < 0 ? -1 : (int)((ns + NS_PER_MS - 1) / NS_PER_MS);
    return kernel_epoll_wait(self->epoll_fd, batch, size, ms);
}

static int
epoll_wait_events(Poller *poller, int64_t timeout_ns, PollEvent *events, int max_events)
{
    EpollPoller *self = (EpollPoller *)poller;
    struct epoll_event batch[BATCH];
    int found = wait_ns(self, batch, max_events < BATCH ? max_events : BATCH, timeout_ns);
    if (found < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    int count = 0;
    for (int i = 0; i < found; i++) {
        if (batch[i].data.u64 != WAKE_TOKEN) {
            events[count++] = (PollEvent){.token = batch[i].data.u64, .events = batch[i].events};
        }
    }
    return count;
}

static int
epoll_wake(Poller *poller)
{
    uint64_t one = 1;
    ssize_t written;
    do {
        written = write(((EpollPoller *)poller)->wake_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

static int
epoll_rebuild(Poller *poller, bool forked)
{
    EpollPoller *self = (EpollPoller *)poller;
    EpollPoller old = *self;
    if (forked) {
        self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    int rc = self->wake_fd < 0 ? -errno : open_epoll(self);
    if (rc < 0) {
        if (forked && self->wake_fd >= 0) {
            close(self->wake_fd);
        }
        *self = old;
        return rc;
    }
    close(old.epoll_fd);
    if (forked) {
        close(old.wake_fd);
    }
    return 0;
}

static const PollerMethods epoll_methods = {
    .name = "epoll",
    .destroy = epoll_destroy,
    .watch = epoll_watch,
    .unwatch = epoll_unwatch,
    .wait = epoll_wait_events,
    .wake = epoll_wake,
    .rebuild = epoll_rebuild,
};

Poller *
epoll_poller_create(int *error)
{
    EpollPoller *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    self->base.methods = &epoll_methods;
    self->epoll_fd = -1;
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = self->wake_fd < 0 ? -errno : open_epoll(self);
    if (rc < 0) {
        *error = -rc;
        epoll_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}
