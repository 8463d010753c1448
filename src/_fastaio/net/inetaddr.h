/* inetaddr.h: addresses of peers in the kernel's form and in Python's; a cache of recent peers. */
#ifndef FASTAIO_INETADDR_H
#define FASTAIO_INETADDR_H

#include "base/compat.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef union {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
} SockAddr;

/* Return the address as socket.accept() does, for AF_INET, AF_INET6 and AF_UNIX; NULL with an
   exception. size: of *from, in bytes. */
PyObject *address_new(const SockAddr *from, socklen_t size);

#define ADDRESS_CACHE_SIZE 16

/* An IPv4 or IPv6 address. Bytes that the kernel leaves undefined are 0, so memcmp() compares
   keys. */
typedef union {
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
} InetKey;

typedef struct {
    InetKey key;
    PyObject *address; /* the tuple for `key`; NULL: unused */
} KnownAddress;

/* The peers of recent datagrams. A known address costs a comparison instead of a conversion. */
typedef struct {
    KnownAddress known[ADDRESS_CACHE_SIZE]; /* tuples that address_to_python() has made */
    KnownAddress sent;                      /* the last tuple that the user has sent to */
} AddressCache;

/* Visit and drop the tuples, for tp_traverse and tp_clear. */
int address_cache_traverse(AddressCache *cache, visitproc visit, void *arg);
void address_cache_clear(AddressCache *cache);

/* Return the address as socket.recvfrom() does, for the same families; NULL with an exception. */
PyObject *address_to_python(AddressCache *cache, const SockAddr *from, socklen_t size);
/* Convert a plain address: a tuple with a numeric host, or the path of a Unix socket. Return the
   size of *to in bytes; 0 without an exception for any other object, which socket.sendto() may
   understand. */
socklen_t address_from_python(AddressCache *cache, int family, PyObject *address, SockAddr *to);

#endif
