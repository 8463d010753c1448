/* inetaddr.c: addresses of peers in the kernel's form and in Python's; a cache of recent peers. */
#include "net/inetaddr.h"

#include <arpa/inet.h>

/* ---- the cache ------------------------------------------------------------------------------- */

int
address_cache_traverse(AddressCache *cache, visitproc visit, void *arg)
{
    for (int i = 0; i < ADDRESS_CACHE_SIZE; i++) {
        Py_VISIT(cache->known[i].address);
    }
    Py_VISIT(cache->sent.address);
    return 0;
}

void
address_cache_clear(AddressCache *cache)
{
    for (int i = 0; i < ADDRESS_CACHE_SIZE; i++) {
        Py_CLEAR(cache->known[i].address);
    }
    Py_CLEAR(cache->sent.address);
}

/* Fill *key. Return false unless the family is AF_INET or AF_INET6. */
static bool
make_key(const SockAddr *from, InetKey *key)
{
    memset(key, 0, sizeof(*key));
    if (from->any.sa_family == AF_INET) {
        key->in4.sin_family = AF_INET;
        key->in4.sin_port = from->in4.sin_port;
        key->in4.sin_addr = from->in4.sin_addr;
        return true;
    }
    if (from->any.sa_family == AF_INET6) {
        key->in6.sin6_family = AF_INET6;
        key->in6.sin6_port = from->in6.sin6_port;
        key->in6.sin6_flowinfo = from->in6.sin6_flowinfo;
        key->in6.sin6_addr = from->in6.sin6_addr;
        key->in6.sin6_scope_id = from->in6.sin6_scope_id;
        return true;
    }
    return false;
}

/* Return the place of a key in the cache. The hash is of the port and the last bytes of the
   address. */
static KnownAddress *
find_place(AddressCache *cache, const InetKey *key)
{
    unsigned hash = ntohs(key->in4.sin_port); /* in6.sin6_port has the same offset */
    if (key->in4.sin_family == AF_INET) {
        hash ^= ntohl(key->in4.sin_addr.s_addr);
    }
    else {
        const uint8_t *raw = key->in6.sin6_addr.s6_addr;
        hash ^= raw[15] ^ (unsigned)raw[14] << 8;
    }
    return &cache->known[hash % ADDRESS_CACHE_SIZE];
}

/* Store a pair in the cache. */
static void
remember_address(KnownAddress *place, const InetKey *key, PyObject *address)
{
    place->key = *key;
    Py_XSETREF(place->address, Py_NewRef(address));
}

/* ---- from the kernel ------------------------------------------------------------------------- */

static PyObject *
inet_to_python(const SockAddr *from)
{
    char host[INET6_ADDRSTRLEN];
    bool v6 = from->any.sa_family == AF_INET6;
    const void *raw = v6 ? (const void *)&from->in6.sin6_addr : (const void *)&from->in4.sin_addr;
    if (inet_ntop(from->any.sa_family, raw, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (!v6) {
        return Py_BuildValue("(si)", host, (int)ntohs(from->in4.sin_port));
    }
    return Py_BuildValue("(siII)", host, (int)ntohs(from->in6.sin6_port),
                         (unsigned)ntohl(from->in6.sin6_flowinfo),
                         (unsigned)from->in6.sin6_scope_id);
}

static PyObject *
unix_to_python(const SockAddr *from, socklen_t size)
{
    const socklen_t offset = offsetof(struct sockaddr_un, sun_path);
    const char *path = from->un.sun_path;
    socklen_t length = size > offset ? size - offset : 0;
    if (length > 0 && path[0] == 0) { /* a name in the abstract name space */
        return PyBytes_FromStringAndSize(path, length);
    }
    return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, length));
}

PyObject *
address_new(const SockAddr *from, socklen_t size)
{
    return from->any.sa_family == AF_UNIX ? unix_to_python(from, size) : inet_to_python(from);
}

PyObject *
address_to_python(AddressCache *cache, const SockAddr *from, socklen_t size)
{
    InetKey key;
    if (size < offsetof(struct sockaddr_un, sun_path)) {
        Py_RETURN_NONE; /* a Unix socket without a name */
    }
    if (!make_key(from, &key)) {
        return unix_to_python(from, size);
    }
    KnownAddress *place = find_place(cache, &key);
    if (place->address != NULL && memcmp(&place->key, &key, sizeof(key)) == 0) {
        return Py_NewRef(place->address);
    }
    PyObject *address = inet_to_python(from);
    if (address != NULL) {
        remember_address(place, &key, address);
    }
    return address;
}

/* ---- to the kernel --------------------------------------------------------------------------- */

/* Set *value to the number at `index` of a tuple, or to 0 behind its end. Return false, without an
   exception, for an object that is not exactly an int from 0 to `most`. */
static bool
get_number(PyObject *tuple, Py_ssize_t index, unsigned long most, unsigned long *value)
{
    *value = 0;
    if (index >= PyTuple_GET_SIZE(tuple)) {
        return true;
    }
    PyObject *number = PyTuple_GET_ITEM(tuple, index);
    if (!PyLong_CheckExact(number)) {
        return false;
    }
    *value = PyLong_AsUnsignedLong(number);
    if (*value == (unsigned long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return *value <= most;
}

static socklen_t
inet_from_python(int family, PyObject *address, SockAddr *to)
{
    Py_ssize_t size = PyTuple_CheckExact(address) ? PyTuple_GET_SIZE(address) : 0;
    unsigned long port, flowinfo, scope;
    if (size < 2 || size > (family == AF_INET ? 2 : 4) ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(address, 0)) ||
        !get_number(address, 1, 65535, &port) || !get_number(address, 2, 0xfffff, &flowinfo) ||
        !get_number(address, 3, UINT32_MAX, &scope)) {
        return 0;
    }
    Py_ssize_t length;
    const char *host = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(address, 0), &length);
    if (host == NULL) {
        PyErr_Clear();
        return 0;
    }
    if ((size_t)length != strlen(host)) { /* a null character within */
        return 0;
    }
    if (family == AF_INET) {
        to->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        return inet_pton(AF_INET, host, &to->in4.sin_addr) == 1 ? sizeof(to->in4) : 0;
    }
    to->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                    .sin6_port = htons((uint16_t)port),
                                    .sin6_flowinfo = htonl((uint32_t)flowinfo),
                                    .sin6_scope_id = (uint32_t)scope};
    return inet_pton(AF_INET6, host, &to->in6.sin6_addr) == 1 ? sizeof(to->in6) : 0;
}

static socklen_t
unix_from_python(PyObject *address, SockAddr *to)
{
    PyObject *encoded = NULL;
    if (PyUnicode_CheckExact(address)) {
        encoded = PyUnicode_EncodeFSDefault(address);
        PyErr_Clear();
    }
    else if (PyBytes_CheckExact(address)) {
        encoded = Py_NewRef(address);
    }
    if (encoded == NULL) {
        return 0;
    }
    size_t length = (size_t)PyBytes_GET_SIZE(encoded);
    socklen_t size = 0;
    if (length > 0 && length < sizeof(to->un.sun_path)) {
        to->un = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(to->un.sun_path, PyBytes_AS_STRING(encoded), length);
        size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    }
    Py_DECREF(encoded);
    return size;
}

/* Copy a key to *to. Return its size. */
static socklen_t
copy_key(const InetKey *key, SockAddr *to)
{
    if (key->in4.sin_family == AF_INET) {
        to->in4 = key->in4;
        return sizeof(to->in4);
    }
    to->in6 = key->in6;
    return sizeof(to->in6);
}

socklen_t
address_from_python(AddressCache *cache, int family, PyObject *address, SockAddr *to)
{
    if (family == AF_UNIX) {
        return unix_from_python(address, to);
    }
    for (int i = 0; i <= ADDRESS_CACHE_SIZE; i++) {
        const KnownAddress *known = i < ADDRESS_CACHE_SIZE ? &cache->known[i] : &cache->sent;
        if (known->address == address && known->key.in4.sin_family == family) {
            return copy_key(&known->key, to);
        }
    }
    socklen_t size = inet_from_python(family, address, to);
    InetKey key;
    if (size != 0 && make_key(to, &key)) {
        remember_address(&cache->sent, &key, address);
    }
    return size;
}
