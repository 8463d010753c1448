/* kernel.h: the hot system calls, without libc's cancellation points.
 *
 * In a process with several threads (the keeper is one), glibc's recv() and its kin are points where
 * pthread_cancel() may end the thread. That costs about 30 ns a call, and nobody cancels a thread that
 * runs a loop. So these functions enter the kernel directly. They return as libc's do: -1 with errno on
 * error. Each has a probe. Sanitizers check the arguments of libc's functions, so a build with one calls
 * libc.
 */
#ifndef FASTAIO_KERNEL_H
#define FASTAIO_KERNEL_H

#include "base/probe.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* System calls that are newer than the headers of the oldest systems for which wheels are built. */
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
/* The same of a constant. */
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#if defined(SYS_recvfrom) && defined(SYS_sendto) && defined(SYS_sendmsg) && defined(SYS_epoll_pwait)   \
    && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ENTERS_KERNEL 1
#else
#define ENTERS_KERNEL 0
#endif

static inline ssize_t
kernel_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *from,
                socklen_t *from_size)
{
#if ENTERS_KERNEL
    ssize_t count = syscall(SYS_recvfrom, fd, buffer, size, flags, from, from_size);
#else
    ssize_t count = recvfrom(fd, buffer, size, flags, from, from_size);
#endif
    PROBE2(receive, fd, count);
    return count;
}

/* `flags` without MSG_WAITFORONE and a timeout, so the kernel never waits after the first message. */
static inline int
kernel_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
#if ENTERS_KERNEL && defined(SYS_recvmmsg)
    int received = (int)syscall(SYS_recvmmsg, fd, messages, count, flags, NULL);
#else
    int received = recvmmsg(fd, messages, count, flags, NULL);
#endif
    PROBE2(receive_many, fd, received);
    return received;
}

static inline ssize_t
kernel_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
              socklen_t to_size)
{
#if ENTERS_KERNEL
    ssize_t count = syscall(SYS_sendto, fd, data, size, flags, to, to_size);
#else
    ssize_t count = sendto(fd, data, size, flags, to, to_size);
#endif
    PROBE2(send, fd, count);
    return count;
}

static inline ssize_t
kernel_recv(int fd, void *buffer, size_t size, int flags)
{
    return kernel_recvfrom(fd, buffer, size, flags, NULL, NULL);
}

static inline ssize_t
kernel_send(int fd, const void *data, size_t size, int flags)
{
    return kernel_sendto(fd, data, size, flags, NULL, 0);
}

static inline ssize_t
kernel_sendmsg(int fd, const struct msghdr *message, int flags)
{
#if ENTERS_KERNEL
    ssize_t count = syscall(SYS_sendmsg, fd, message, flags);
#else
    ssize_t count = sendmsg(fd, message, flags);
#endif
    PROBE2(send, fd, count);
    return count;
}

static inline ssize_t
kernel_read(int fd, void *buffer, size_t size)
{
#if ENTERS_KERNEL
    ssize_t count = syscall(SYS_read, fd, buffer, size);
#else
    ssize_t count = read(fd, buffer, size);
#endif
    PROBE2(receive, fd, count);
    return count;
}

static inline ssize_t
kernel_write(int fd, const void *data, size_t size)
{
#if ENTERS_KERNEL
    ssize_t count = syscall(SYS_write, fd, data, size);
#else
    ssize_t count = write(fd, data, size);
#endif
    PROBE2(send, fd, count);
    return count;
}

/* musl has had preadv2() only since 1.2.5. An offset of -1 is the descriptor's own position. */
static inline ssize_t
kernel_preadv2(int fd, const struct iovec *parts, int count, int64_t offset, int flags)
{
#if ENTERS_KERNEL || !defined(__GLIBC__)
    /* A 64-bit kernel ignores the upper half, because the lower one has it all. */
    return syscall(SYS_preadv2, fd, parts, (long)count, (long)offset, (long)(offset >> 32), flags);
#else
    return preadv2(fd, parts, count, offset, flags);
#endif
}

/* The same for pwritev2(). */
static inline ssize_t
kernel_pwritev2(int fd, const struct iovec *parts, int count, int64_t offset, int flags)
{
#if ENTERS_KERNEL || !defined(__GLIBC__)
    ssize_t written =
        syscall(SYS_pwritev2, fd, parts, (long)count, (long)offset, (long)(offset >> 32), flags);
#else
    ssize_t written = pwritev2(fd, parts, count, offset, flags);
#endif
    PROBE2(send, fd, written);
    return written;
}

static inline int
kernel_epoll_wait(int epoll_fd, struct epoll_event *events, int count, int timeout_ms)
{
#if ENTERS_KERNEL
#ifdef SYS_epoll_wait
    return (int)syscall(SYS_epoll_wait, epoll_fd, events, count, timeout_ms);
#else
    return (int)syscall(SYS_epoll_pwait, epoll_fd, events, count, timeout_ms, NULL, (size_t)0);
#endif
#else
    return epoll_wait(epoll_fd, events, count, timeout_ms);
#endif
}

#endif
