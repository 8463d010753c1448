/* kernel.h: the hot system calls, without libc's cancellation points.
 *
 * In a process with several threads (the keeper is one), glibc's recv() and its kin are points where
 * pthread_cancel() may end the thread. That costs about 30 ns a call, and nobody cancels a thread that
 * runs a loop. So these functions enter the kernel directly. They return as libc's do: -1 with errno on
 * error. Sanitizers check the arguments of libc's functions, so a build with one calls libc.
 */
#ifndef FASTAIO_KERNEL_H
#define FASTAIO_KERNEL_H

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    return syscall(SYS_recvfrom, fd, buffer, size, flags, from, from_size);
#else
    return recvfrom(fd, buffer, size, flags, from, from_size);
#endif
}

static inline ssize_t
kernel_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
              socklen_t to_size)
{
#if ENTERS_KERNEL
    return syscall(SYS_sendto, fd, data, size, flags, to, to_size);
#else
    return sendto(fd, data, size, flags, to, to_size);
#endif
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
    return syscall(SYS_sendmsg, fd, message, flags);
#else
    return sendmsg(fd, message, flags);
#endif
}

static inline ssize_t
kernel_read(int fd, void *buffer, size_t size)
{
#if ENTERS_KERNEL
    return syscall(SYS_read, fd, buffer, size);
#else
    return read(fd, buffer, size);
#endif
}

static inline ssize_t
kernel_write(int fd, const void *data, size_t size)
{
#if ENTERS_KERNEL
    return syscall(SYS_write, fd, data, size);
#else
    return write(fd, data, size);
#endif
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
