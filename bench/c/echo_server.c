/* echo_server: what a plain epoll server in C needs for an echo; the `limit` row of the echo cells.
 *
 *   echo_server [--cubic]
 *
 * Listens on a free port of 127.0.0.1, prints {"port": N} and serves until it is killed: one thread, level-triggered
 * epoll, one shared receive buffer, recv and send as soon as there is something to do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, EVENTS = 128 };

/* A connection; `pending` holds what the kernel would not take yet. */
struct conn {
    int fd;
    char *pending;
    size_t length, offset;
};

static char buffer[BUFFER];

static void die(const char *what)
{
    fprintf(stderr, "echo_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void conn_close(struct conn *conn)
{
    close(conn->fd);
    free(conn->pending);
    free(conn);
}

static void conn_interest(int epoll, struct conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event) < 0)
        die("epoll_ctl");
}

/* Keep the rest of an echo and wait for room instead of for data: a slow reader holds itself back. */
static void conn_postpone(int epoll, struct conn *conn, const char *data, size_t length)
{
    conn->pending = malloc(length);
    if (conn->pending == NULL)
        die("malloc");
    memcpy(conn->pending, data, length);
    conn->length = length;
    conn->offset = 0;
    conn_interest(epoll, conn, EPOLLOUT);
}

/* Both return 0 once the connection is over. */
static int conn_flush(int epoll, struct conn *conn)
{
    ssize_t sent = send(conn->fd, conn->pending + conn->offset, conn->length - conn->offset, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    conn->offset += (size_t)sent;
    if (conn->offset == conn->length) {
        free(conn->pending);
        conn->pending = NULL;
        conn_interest(epoll, conn, EPOLLIN);
    }
    return 1;
}

static int conn_echo(int epoll, struct conn *conn)
{
    ssize_t got = recv(conn->fd, buffer, sizeof buffer, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0)
        return 0;
    ssize_t sent = send(conn->fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return 0;
        sent = 0;
    }
    if (sent < got)
        conn_postpone(epoll, conn, buffer + sent, (size_t)(got - sent));
    return 1;
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                return;
            die("accept4");
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *conn = calloc(1, sizeof *conn);
        if (conn == NULL)
            die("calloc");
        conn->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static int listen_somewhere(int cubic)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    if (cubic)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 4096) < 0
        || getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        die("listen");
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    int listener = listen_somewhere(argc > 1 && strcmp(argv[1], "--cubic") == 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct conn *conn = events[i].data.ptr;
            if (conn == NULL)
                accept_all(epoll, listener);
            else if (!(conn->pending != NULL ? conn_flush(epoll, conn) : conn_echo(epoll, conn)))
                conn_close(conn);
        }
    }
}
