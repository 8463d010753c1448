/* load: a load generator for the echo, HTTP and WebSocket servers of the benchmark.
 *
 *   load --port P [--mode echo|short|http|ws|hold] [--connections N] [--size BYTES] [--pipeline DEPTH] [--path /]
 *        [--warmup SECONDS] [--seconds SECONDS] [--requests N] [--pid SERVER] [--cubic] [--whole]
 *
 * Each of N connections sends DEPTH requests at once, waits for all the answers, and starts again. What happens during
 * the warm-up is checked (an echo must come back byte for byte) and not counted; the window that counts ends after
 * SECONDS, or after N requests if that comes first. The window consists of slices. The CPU time of the server, when its
 * process id is known, is read at the end of each. Requests, seconds and CPU time are those of the three slices with
 * the least CPU time per request, since a virtual machine is slow at times; the window grows up to four times until
 * these three are alike. With --whole, or without the process id, they are those of the whole window, as latencies
 * and the share always are. The result is one line of JSON; a failure is one too, {"error": ...}, and exit status 1.
 * A latency is the time from sending a batch to one answer of the batch. `share` is the number of answers that the
 * least served connection got in the window, divided by the mean of all connections: 1 is fair, 0 is starved.
 * Built with -DLOAD_TLS and OpenSSL it speaks TLS on every connection; the server's certificate is not verified.
 * `short` is an echo with a new connection for each batch, which the client closes once the answers are there.
 * `hold` opens the connections, prints {"connections": N} and keeps them idle until standard input ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef LOAD_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { BUFFER = 1 << 20, EVENTS = 256, HEADER = 8192, PATIENCE = 5 };
/* The length of a slice of the window, how many count, and by what share the most costly of these may differ. */
#define SLICE_NS 50000000u
#define SLICES 3
#define ALIKE 0.03
enum mode { ECHO, SHORT, HTTP, WS, HOLD };

struct options {
    enum mode mode;
    int port, connections, pipeline, cubic, whole;
    size_t size;
    const char *path;
    double warmup, seconds;
    uint64_t requests;
    pid_t pid;
};

struct conn {
    int fd;
#ifdef LOAD_TLS
    SSL *ssl;
#endif
    int handshaken;     /* WebSocket: the 101 has been seen */
    size_t sent;        /* bytes of the batch that the kernel has taken */
    size_t got;         /* echo: bytes of the batch that came back */
    int answers;        /* complete answers to this batch */
    size_t held;        /* header bytes collected so far */
    uint64_t body;      /* HTTP, WebSocket: bytes of the body that are still to come */
    int in_body;
    uint64_t started;   /* ns, when the batch was sent */
    uint64_t completed; /* answers since the window began */
    char header[HEADER];
};

static struct options options = {
    .connections = 1, .pipeline = 1, .size = 1024, .path = "/", .warmup = 0.2, .seconds = 1.0, .requests = UINT64_MAX};
static int epoll;
static char buffer[BUFFER];
static char *batch;             /* what each connection sends, again and again */
static size_t batch_size;
static int checking = 1;        /* the warm-up: compare what comes back */
static uint64_t completed;      /* answers since the window began, all connections */

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        fail("clock_gettime: %s", strerror(errno));
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- latencies: a histogram of 64 linear steps for every power of two, so within 1.6 % ---- */

enum { STEPS = 64, POWERS = 40 };
static uint64_t histogram[POWERS * STEPS];

static void latency_add(uint64_t ns)
{
    int power = ns < STEPS ? 0 : 63 - __builtin_clzll(ns) - 5;
    size_t slot = power == 0 ? ns : (size_t)power * STEPS + ((ns >> (power - 1)) - STEPS);
    histogram[slot < POWERS * STEPS ? slot : POWERS * STEPS - 1]++;
}

static double latency_us(double share)
{
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < POWERS * STEPS; i++)
        total += histogram[i];
    for (size_t i = 0; i < POWERS * STEPS; i++) {
        seen += histogram[i];
        if (total > 0 && (double)seen >= share * (double)total) {
            size_t power = i / STEPS, step = i % STEPS;
            return (power == 0 ? (double)step : (double)((STEPS + step) << (power - 1))) / 1000.0;
        }
    }
    return 0.0;
}

/* ---- requests ---- */

static void batch_echo(void)
{
    batch_size = options.size * (size_t)options.pipeline;
    batch = malloc(batch_size);
    for (size_t i = 0; batch != NULL && i < batch_size; i++)
        batch[i] = (char)(i * 31 + i / 251 + 7);
}

static void batch_http(void)
{
    char request[1024];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n\r\n",
                          options.path, options.port);
    if (length < 0 || (size_t)length >= sizeof request)
        fail("the path is too long");
    batch_size = (size_t)length * (size_t)options.pipeline;
    batch = malloc(batch_size);
    for (size_t i = 0; batch != NULL && i < batch_size; i++)
        batch[i] = request[i % (size_t)length];
}

/* Binary frames, masked as a client must. */
static void batch_ws(void)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char head[14] = {0x82};
    size_t length = 2, size = options.size;
    if (size < 126) {
        head[1] = (unsigned char)(0x80 | size);
    } else {
        int bytes = size < 65536 ? 2 : 8;
        head[1] = (unsigned char)(0x80 | (bytes == 2 ? 126 : 127));
        for (int i = bytes - 1; i >= 0; i--)
            head[length++] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    memcpy(head + length, mask, 4);
    length += 4;
    batch_size = (length + size) * (size_t)options.pipeline;
    batch = malloc(batch_size);
    for (size_t i = 0; batch != NULL && i < batch_size; i++) {
        size_t at = i % (length + size);
        batch[i] = at < length ? (char)head[at] : (char)('a' ^ mask[(at - length) % 4]);
    }
}

/* ---- sending and receiving, as send() and recv() do ---- */

#ifdef LOAD_TLS
static SSL_CTX *context;

static ssize_t tls_result(struct conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: fail("TLS: %s", ERR_reason_error_string(ERR_peek_last_error()));
    }
    return -1;
}

static ssize_t conn_put(struct conn *conn, const char *data, size_t size)
{
    int sent = SSL_write(conn->ssl, data, (int)size);
    return sent > 0 ? sent : tls_result(conn, sent);
}

static ssize_t conn_get(struct conn *conn, char *data, size_t size)
{
    int got = SSL_read(conn->ssl, data, (int)size);
    return got > 0 ? got : tls_result(conn, got);
}

/* Whether a read that gave so little has left nothing behind: a record at a time comes from TLS. */
static int conn_is_drained(size_t got)
{
    (void)got;
    return 0;
}

static void conn_secure(struct conn *conn)
{
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
        if (context == NULL)
            fail("SSL_CTX_new: %s", ERR_reason_error_string(ERR_peek_last_error()));
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(context, 1);
    }
    conn->ssl = SSL_new(context);
    if (conn->ssl == NULL || SSL_set_fd(conn->ssl, conn->fd) != 1 || SSL_connect(conn->ssl) != 1)
        fail("SSL_connect: %s", ERR_reason_error_string(ERR_peek_last_error()));
}
#else
static ssize_t conn_put(struct conn *conn, const char *data, size_t size)
{
    return send(conn->fd, data, size, MSG_NOSIGNAL);
}

static ssize_t conn_get(struct conn *conn, char *data, size_t size)
{
    return recv(conn->fd, data, size, 0);
}

static int conn_is_drained(size_t got)
{
    return got < sizeof buffer;
}

static void conn_secure(struct conn *conn)
{
    (void)conn;
}
#endif

/* ---- one connection ---- */

static void conn_send(struct conn *conn)
{
    while (conn->sent < batch_size) {
        ssize_t sent = conn_put(conn, batch + conn->sent, batch_size - conn->sent);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            fail("send: %s", strerror(errno));
        conn->sent += (size_t)sent;
    }
}

static void conn_open(struct conn *conn)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.mode == SHORT) {
        /* From a network of addresses: ports of closed connections rest for a minute. */
        static uint32_t host;
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010000u + host++ % 65000)};
        setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(conn->fd, (struct sockaddr *)&from, sizeof from) < 0)
            fail("bind: %s", strerror(errno));
    }
    if (options.cubic)
        setsockopt(conn->fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    if (connect(conn->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    conn_secure(conn);
}

static void conn_watch(struct conn *conn)
{
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = conn};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void conn_begin(struct conn *conn)
{
    conn->sent = conn->got = 0;
    conn->answers = 0;
    conn->started = now_ns(CLOCK_MONOTONIC);
    if (options.mode == SHORT) {
        conn_open(conn);
        conn_watch(conn);
    }
    conn_send(conn);
}

static void conn_answered(struct conn *conn)
{
    if (conn->answers++ >= options.pipeline)
        fail("more answers than requests");
    latency_add(now_ns(CLOCK_MONOTONIC) - conn->started);
    conn->completed++;
    completed++;
}

static void feed_echo(struct conn *conn, const char *data, size_t length)
{
    if (conn->got + length > batch_size)
        fail("more bytes came back than were sent");
    if (checking && memcmp(data, batch + conn->got, length) != 0)
        fail("what came back is not what was sent");
    conn->got += length;
    while (conn->answers < options.pipeline && conn->got >= options.size * (size_t)(conn->answers + 1))
        conn_answered(conn);
}

/* The value of a header field, or NULL; `head` is the whole head and ends with a NUL. */
static const char *header_field(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':')
            return line + 2 + length + 1;
    return NULL;
}

/* A complete head: 101 opens the WebSocket, 200 with a Content-Length begins a body. */
static void head_done(struct conn *conn)
{
    int status = conn->held > 12 ? atoi(conn->header + 9) : 0;
    if (options.mode == WS) {
        if (status != 101)
            fail("the handshake was answered with status %d", status);
        conn->handshaken = 1;
        conn_begin(conn);
        return;
    }
    const char *length = header_field(conn->header, "content-length");
    if (status != 200 || length == NULL)
        fail("status %d, %s Content-Length", status, length == NULL ? "without" : "with");
    conn->body = strtoull(length, NULL, 10);
    conn->in_body = 1;
}

/* Collects a head; returns how many bytes of data belong to it. */
static size_t feed_head(struct conn *conn, const char *data, size_t length)
{
    size_t used = 0;
    while (used < length) {
        if (conn->held == HEADER - 1)
            fail("the head of an answer is too long");
        conn->header[conn->held++] = data[used++];
        if (conn->held >= 4 && memcmp(conn->header + conn->held - 4, "\r\n\r\n", 4) == 0) {
            conn->header[conn->held] = '\0';
            head_done(conn);
            conn->held = 0;
            break;
        }
    }
    return used;
}

/* Collects a frame's head; a server's frames are not masked. */
static size_t feed_frame(struct conn *conn, const char *data, size_t length)
{
    size_t used = 0;
    const unsigned char *head = (const unsigned char *)conn->header;
    while (used < length) {
        conn->header[conn->held++] = data[used++];
        size_t need = conn->held < 2 || head[1] < 126 ? 2 : head[1] == 126 ? 4 : 10;
        if (conn->held < need)
            continue;
        if (head[0] != 0x82)
            fail("a frame begins with 0x%02x", head[0]);
        conn->body = need == 2 ? head[1] : 0;
        for (size_t i = 2; i < need; i++)
            conn->body = conn->body << 8 | head[i];
        if (conn->body != options.size)
            fail("a frame of %llu bytes came back", (unsigned long long)conn->body);
        conn->held = 0;
        conn->in_body = 1;
        break;
    }
    return used;
}

static void feed(struct conn *conn, const char *data, size_t length)
{
    if (options.mode == ECHO || options.mode == SHORT) {
        feed_echo(conn, data, length);
        return;
    }
    while (length > 0 || (conn->in_body && conn->body == 0)) {
        size_t used;
        if (conn->in_body) {
            used = length < conn->body ? length : (size_t)conn->body;
            conn->body -= used;
            if (conn->body == 0) {
                conn->in_body = 0;
                conn_answered(conn);
            }
        } else if (options.mode == WS && conn->handshaken) {
            used = feed_frame(conn, data, length);
        } else {
            used = feed_head(conn, data, length);
        }
        data += used;
        length -= used;
    }
}

static void conn_ready(struct conn *conn, uint32_t events)
{
    if (conn->sent < batch_size && (options.mode != WS || conn->handshaken))
        conn_send(conn);
    for (;;) {
        ssize_t got = conn_get(conn, buffer, sizeof buffer);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got < 0)
            fail("recv: %s", strerror(errno));
        if (got == 0)
            fail("the server closed a connection");
        feed(conn, buffer, (size_t)got);
        if (conn->answers == options.pipeline) {
            if (options.mode == SHORT)
                close(conn->fd);
            conn_begin(conn);
            /* One batch a turn, so that the generator itself prefers no connection. Answers to the new batch make a new
               event: the socket is edge-triggered, and all that was sent to it has been read. */
            if (options.mode == SHORT || !(events & EPOLLRDHUP))
                return;
        }
        if (conn_is_drained((size_t)got) && !(events & EPOLLRDHUP))
            return;
    }
}

/* ---- the run ---- */

static void handshake(struct conn *conn)
{
    char request[512];
    int length = snprintf(request, sizeof request,
                          "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                          options.port);
    if (conn_put(conn, request, (size_t)length) != length)
        fail("the handshake could not be sent");
}

static struct conn *open_all(void)
{
    struct conn *conns = calloc((size_t)options.connections, sizeof *conns);
    if (conns == NULL)
        fail("out of memory");
    for (int i = 0; options.mode != SHORT && i < options.connections; i++) {
        conn_open(&conns[i]);
        if (options.mode == HOLD) {
            /* No storm: what a server holds for a moment while it accepts a crowd is not what is measured. */
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
            continue;
        }
        conn_watch(&conns[i]);
    }
    return conns;
}

/* Voluntary context switches of the server's main thread: how often it went to sleep. */
static long switches(void)
{
    char path[64], line[256];
    long count = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)options.pid);
    FILE *file = options.pid > 0 ? fopen(path, "r") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return count;
}

static void serve_events(void)
{
    static uint64_t quiet_since;
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, 100);
    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    if (count > 0 || quiet_since == 0)
        quiet_since = now;
    else if (now - quiet_since > PATIENCE * 1000000000ull)
        fail("no answer for %d s", PATIENCE);
    for (int i = 0; i < count; i++)
        conn_ready(events[i].data.ptr, events[i].events);
}

/* Return the answers of the least served connection, divided by the mean. */
static double least_share(const struct conn *conns)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < options.connections; i++)
        if (conns[i].completed < least)
            least = conns[i].completed;
    return (double)least * options.connections / (double)completed;
}

/* Start the window that counts: forget what the warm-up has recorded. */
static void begin_window(struct conn *conns)
{
    checking = 0;
    completed = 0;
    memset(histogram, 0, sizeof histogram);
    for (int i = 0; i < options.connections; i++)
        conns[i].completed = 0;
}

/* Record the age of the request of each connection that got no answer at all in the window: else a starved connection
   would not show in the latencies. */
static void count_starved(const struct conn *conns, uint64_t now)
{
    for (int i = 0; i < options.connections; i++)
        if (conns[i].completed == 0)
            latency_add(now - conns[i].started);
}

/* What went on between two readings of the clocks. */
struct slice {
    uint64_t answers, ns, cpu; /* cpu: of the server, ns */
    long slept;                /* context switches of the server */
};

/* The slices with the least CPU time per answer, the cheapest first. */
static struct slice best[SLICES];

static double slice_cost(const struct slice *slice)
{
    return (double)slice->cpu / (double)slice->answers;
}

/* Put a slice in its place among the best, and drop the most costly of them. */
static void keep_if_best(struct slice slice)
{
    for (int i = 0; i < SLICES; i++) {
        if (best[i].answers == 0 || slice_cost(&slice) < slice_cost(&best[i])) {
            struct slice worse = best[i];
            best[i] = slice;
            slice = worse;
        }
        if (slice.answers == 0)
            break;
    }
}

/* Return true if the best slices are so alike that the machine was at its best in all of them. */
static int best_is_certain(void)
{
    return best[SLICES - 1].answers > 0 && slice_cost(&best[SLICES - 1]) <= slice_cost(&best[0]) * (1 + ALIKE);
}

static struct slice sum_of_best(void)
{
    struct slice sum = {0};
    for (int i = 0; i < SLICES; i++) {
        sum.answers += best[i].answers;
        sum.ns += best[i].ns;
        sum.cpu += best[i].cpu;
        sum.slept += best[i].slept;
    }
    return sum;
}

static struct slice read_clocks(clockid_t clock)
{
    return (struct slice){completed, now_ns(CLOCK_MONOTONIC), now_ns(clock), switches()};
}

static struct slice since(struct slice then, struct slice now)
{
    return (struct slice){now.answers - then.answers, now.ns - then.ns, now.cpu - then.cpu, now.slept - then.slept};
}

static void run(struct conn *conns)
{
    clockid_t clock = CLOCK_MONOTONIC;
    if (options.pid > 0 && clock_getcpuclockid(options.pid, &clock) != 0)
        fail("no CPU clock for process %d", (int)options.pid);
    int whole = options.whole || options.pid <= 0;
    uint64_t begin = now_ns(CLOCK_MONOTONIC) + (uint64_t)(options.warmup * 1e9);
    while (now_ns(CLOCK_MONOTONIC) < begin || completed < (uint64_t)options.connections)
        serve_events();

    begin_window(conns);
    struct slice first = read_clocks(clock), last = first, now = first;
    uint64_t limit = (uint64_t)(options.seconds * 1e9), most = whole ? limit : 4 * limit;
    /* Answers under way at the ends of a slice belong to two slices: they have to be few of all. */
    uint64_t enough = 20 * (uint64_t)options.connections * (uint64_t)options.pipeline;
    while (now.ns - first.ns < most && completed < options.requests) {
        serve_events();
        now.ns = now_ns(CLOCK_MONOTONIC);
        if (now.ns - last.ns < SLICE_NS || completed - last.answers < enough)
            continue;
        now = read_clocks(clock);
        keep_if_best(since(last, now));
        last = now;
        if (now.ns - first.ns >= limit && best_is_certain())
            break;
    }
    now = read_clocks(clock);
    if (completed == 0)
        fail("nothing came back");
    count_starved(conns, now.ns);
    struct slice counted = since(first, now);
    if (!whole && best[0].answers > 0)
        counted = sum_of_best();
    double seconds = (double)counted.ns / 1e9;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"rps\": %.1f, \"share\": %.4f, ",
           (unsigned long long)counted.answers, seconds, (double)counted.answers / seconds, least_share(conns));
    printf("\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, ", latency_us(0.5), latency_us(0.9),
           latency_us(0.99), latency_us(0.999));
    printf("\"server_cpu\": %.9f, \"server_switches\": %ld}\n", options.pid > 0 ? (double)counted.cpu / 1e9 : 0.0,
           counted.slept);
}

static void parse(int argc, char **argv)
{
    static const char *const modes[] = {"echo", "short", "http", "ws", "hold"};
    static const struct option names[] = {
        {"port", 1, 0, 'p'},    {"mode", 1, 0, 'm'},     {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'},
        {"pipeline", 1, 0, 'd'}, {"path", 1, 0, 'u'},    {"warmup", 1, 0, 'w'},      {"seconds", 1, 0, 't'},
        {"requests", 1, 0, 'n'}, {"pid", 1, 0, 'i'},     {"cubic", 0, 0, 'q'},
        {"whole", 0, 0, 'l'},   {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.size = (size_t)strtoull(optarg, NULL, 10); break;
        case 'd': options.pipeline = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'w': options.warmup = atof(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'n': options.requests = strtoull(optarg, NULL, 10); break;
        case 'i': options.pid = (pid_t)atoi(optarg); break;
        case 'q': options.cubic = 1; break;
        case 'l': options.whole = 1; break;
        case 'm':
            for (options.mode = ECHO; options.mode <= HOLD && strcmp(optarg, modes[options.mode]) != 0;)
                options.mode++;
            if (options.mode <= HOLD)
                break;
            /* fall through */
        default: fail("see the head of load.c for the options");
        }
    }
    if (options.port <= 0 || options.connections < 1 || options.pipeline < 1 || options.size < 1)
        fail("--port is needed; --connections, --pipeline and --size are at least 1");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail("epoll_create1: %s", strerror(errno));
    struct conn *conns = open_all();
    if (options.mode == HOLD) {
        printf("{\"connections\": %d}\n", options.connections);
        fflush(stdout);
        while (read(0, buffer, sizeof buffer) > 0)
            continue;
        return 0;
    }
    options.mode == ECHO || options.mode == SHORT ? batch_echo() : options.mode == HTTP ? batch_http() : batch_ws();
    if (batch == NULL)
        fail("out of memory");
    for (int i = 0; i < options.connections; i++)
        options.mode == WS ? handshake(&conns[i]) : conn_begin(&conns[i]);
    run(conns);
    return 0;
}
