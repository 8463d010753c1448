/* peer: the other end of the connections in the cells that look at a loop's neighbours.
 *
 *   peer [--tls] flood SIZE FD ...         write SIZE bytes to each descriptor in turn, for as long as somebody reads
 *   peer [--tls] sink BYTES FD             read that many bytes, then exit
 *   peer delay MICROSECONDS SIZE FD        answer each SIZE bytes with as many, after a busy wait
 *
 * The descriptors are inherited and connected: sockets or pipes. Built with -DLOAD_TLS and OpenSSL it can begin with a
 * TLS handshake on each of them, as a client that does not verify the certificate. A sink takes records as they are: it
 * does not decrypt, so that it is never the slower end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef LOAD_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { BUFFER = 1 << 18, MOST = 64 };

struct end {
    int fd;
#ifdef LOAD_TLS
    SSL *ssl;
#endif
};

static char buffer[BUFFER];

static void die(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- TLS ---- */

#ifdef LOAD_TLS
static void die_tls(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, ERR_reason_error_string(ERR_peek_last_error()));
    exit(1);
}

static void end_secure(struct end *end)
{
    static SSL_CTX *context;
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        if (context == NULL)
            die_tls("SSL_CTX_new");
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    end->ssl = SSL_new(context);
    if (end->ssl == NULL || SSL_set_fd(end->ssl, end->fd) != 1 || SSL_connect(end->ssl) != 1)
        die_tls("SSL_connect");
}
#else
static void end_secure(struct end *end)
{
    (void)end;
    fprintf(stderr, "peer: built without TLS\n");
    exit(1);
}
#endif

/* ---- flood ---- */

/* Write once. Return 0 where the descriptor takes nothing now; exit where nobody reads any more. */
static int end_put(struct end *end, size_t size)
{
#ifdef LOAD_TLS
    if (end->ssl != NULL) {
        int sent = SSL_write(end->ssl, buffer, (int)size);
        if (sent > 0)
            return 1;
        if (SSL_get_error(end->ssl, sent) == SSL_ERROR_WANT_WRITE)
            return 0;
        exit(0);
    }
#endif
    if (write(end->fd, buffer, size) >= 0)
        return 1;
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
        return 0;
    exit(0);
}

static void flood(struct end *ends, int count, size_t size)
{
    struct pollfd polls[MOST];
    for (int i = 0; i < count; i++) {
        polls[i] = (struct pollfd){.fd = ends[i].fd, .events = POLLOUT};
        if (fcntl(ends[i].fd, F_SETFL, O_NONBLOCK) < 0)
            die("fcntl");
    }
    for (;;) {
        int wrote = 0;
        for (int i = 0; i < count; i++)
            wrote += end_put(&ends[i], size);
        if (wrote == 0 && poll(polls, (nfds_t)count, -1) < 0 && errno != EINTR)
            die("poll");
    }
}

/* ---- sink, delay ---- */

/* Read up to SIZE bytes; exit where the other end is gone. */
static size_t end_get(const struct end *end, size_t size)
{
    ssize_t got = read(end->fd, buffer, size < sizeof buffer ? size : sizeof buffer);
    if (got <= 0)
        exit(got < 0 && errno != ECONNRESET);
    return (size_t)got;
}

static void sink(const struct end *end, uint64_t bytes)
{
    while (bytes > 0)
        bytes -= end_get(end, bytes);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void delay(const struct end *end, uint64_t ns, size_t size)
{
    for (;;) {
        for (size_t left = size; left > 0;)
            left -= end_get(end, left);
        for (uint64_t due = now_ns() + ns; now_ns() < due;)
            continue;
        for (size_t sent = 0; sent < size;) {
            ssize_t more = write(end->fd, buffer, size - sent);
            if (more < 0)
                exit(0);
            sent += (size_t)more;
        }
    }
}

/* ---- */

static uint64_t number(const char *text)
{
    char *rest;
    errno = 0;
    uint64_t value = strtoull(text, &rest, 10);
    if (errno != 0 || rest == text || *rest != '\0') {
        fprintf(stderr, "peer: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    int tls = argc > 1 && strcmp(argv[1], "--tls") == 0;
    const char *mode = argc > 1 + tls ? argv[1 + tls] : "";
    char **rest = argv + 2 + tls;
    int left = argc - 2 - tls, numbers = strcmp(mode, "delay") == 0 ? 2 : 1;
    int count = left - numbers;
    if (count < 1 || count > MOST || (tls && numbers == 2)) {
        fprintf(stderr, "peer: see the head of peer.c for the arguments\n");
        return 2;
    }
    struct end ends[MOST] = {0};
    for (int i = 0; i < count; i++) {
        ends[i].fd = (int)number(rest[numbers + i]);
        if (tls)
            end_secure(&ends[i]);
    }
    uint64_t first = number(rest[0]), second = numbers == 2 ? number(rest[1]) : first;
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(mode, "flood") == 0 && first > 0 && first <= sizeof buffer)
        flood(ends, count, (size_t)first);
    else if (strcmp(mode, "sink") == 0 && count == 1)
        sink(&ends[0], first);
    else if (strcmp(mode, "delay") == 0 && count == 1 && second > 0)
        delay(&ends[0], first * 1000, (size_t)second);
    else
        return 2;
    return 0;
}
