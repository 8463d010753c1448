/* datagram_object.h: the struct of the datagram transport, for the files of the transport. */
#ifndef FASTAIO_DATAGRAM_OBJECT_H
#define FASTAIO_DATAGRAM_OBJECT_H

#include "net/inetaddr.h"
#include "transport/half.h"

/* A datagram that is received and not yet delivered. */
typedef struct {
    PyObject *data;    /* bytes */
    PyObject *address; /* as recvfrom() returns it */
} Datagram;

/* Datagrams that one recvmmsg() has received, and what is known of bursts. Only a socket that nobody else
   reads from has such datagrams. */
typedef struct {
    Datagram *items;  /* room for DATAGRAM_BATCH; NULL until the first batch */
    int first;        /* the next to deliver */
    int count;
    bool converting;  /* Python objects are being made of a batch */
    uint64_t turn;    /* metrics.iterations when the rest was postponed to the next turn */
    int size;         /* datagrams that lately came together, at least 1 */
    int in_turns;     /* datagrams of one burst that earlier turns have received one by one */
    int largest;      /* the size in bytes of the largest datagram of the last batch */
    unsigned events;  /* events while datagrams came alone: see DATAGRAM_PROBE */
} DatagramBatch;

/* The most datagrams that a turn receives, so that a flood of them does not starve other work. */
#define DATAGRAM_BATCH BATCH_SLOTS
/* Where datagrams come alone, one event in this many looks for a second one. */
#define DATAGRAM_PROBE 4

typedef struct {
    TransportCore core;
    PyObject *address;     /* _address: the only one that may be sent to; NULL or None: any */
    PyObject *buffer_size; /* _buffer_size: asyncio's; the native half does not use it */
    unsigned socket_tag;   /* the version of the type socket.socket when the socket was inspected */
    unsigned fork_count;   /* st->fork_count and st->fork_calls when the transport was made */
    unsigned fork_calls;
    int family;            /* AF_ */
    bool plain;            /* the native methods serve the socket */
    bool connected;        /* extra["peername"] is set: asyncio sends by send() */
    bool has_peer;         /* the kernel knows a peer */
    char unnamed_peer;     /* the peer has no name, as in a socketpair: sendto() needs no address */
    char own_socket;       /* _own_socket: the loop has made the socket, and shares it with nobody */
    DatagramBatch batch;
    AddressCache cache;
} DatagramObject;

#endif
