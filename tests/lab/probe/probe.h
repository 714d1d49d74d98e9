/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lab's traffic probe: numbered UDP frames both ways between a client and a guest, a TCP
 * connection that must survive, and a clock that can be asked for the time.
 */
#ifndef VFLAB_PROBE_H
#define VFLAB_PROBE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PORT_DATA = 7000,    /* UDP: the numbered frames, to the guest; replies go where "start" says */
    PORT_CONTROL = 7000, /* TCP: one line per command, see guest.c */
    PORT_ECHO = 7001,    /* TCP: whatever comes in goes back */
    PORT_CLOCK = 7002,   /* UDP: a host's clock */
    PORT_NEIGHBOUR = 7003, /* UDP: a neighbour's own */
};

#define FRAME_MAGIC 0x76666c62u

/* What the guest's links look like; it says so in every frame. */
enum {
    LINK_STANDBY = 1 << 0,
    LINK_STANDBY_CARRIER = 1 << 1,
    LINK_PRIMARY = 1 << 2,
    LINK_PRIMARY_CARRIER = 1 << 3,
};

enum { LINKS_OTHERS = 3 };

/* A frame on the wire. Both ends are the same machine type, so no byte order is imposed. */
struct frame {
    uint32_t magic;
    uint32_t sequence;
    uint32_t links;     /* LINK_*, from the guest only */
    uint32_t received;  /* frames that came in so far, from the guest only */
    uint64_t sender_us; /* sender's CLOCK_MONOTONIC */
    uint8_t padding[40];
};

/**
 * now_us() - CLOCK_MONOTONIC in microseconds
 *
 * Return: the time; on the client this is the clock that every result is in.
 */
uint64_t now_us(void);

/**
 * now_ns() - CLOCK_MONOTONIC in nanoseconds
 *
 * Return: the time.
 */
uint64_t now_ns(void);

/**
 * real_us() - CLOCK_REALTIME in microseconds
 *
 * Return: the time; a host's clock, as QEMU and the daemon tell times.
 */
uint64_t real_us(void);

/**
 * die() - print a message and the reason in errno, and exit
 * @what: what was being done
 */
_Noreturn void die(const char *what);

/**
 * grow() - room for one more element
 * @array: from grow(), NULL at first
 * @count: how many elements it has
 * @size: of an element
 *
 * Return: the array, maybe at another place; it grows in steps.
 */
void *grow(void *array, size_t count, size_t size);

/**
 * pacer_new() - a timer that ticks at absolute times
 * @spacing_us: microseconds between two ticks
 *
 * Return: a file descriptor to poll for input.
 */
int pacer_new(uint32_t spacing_us);

/**
 * pacer_take() - take the ticks that are due
 * @pacer: from pacer_new()
 *
 * A sender that wakes up late sends one frame and skips the slots it missed. A burst would be
 * traffic that nobody asked for, and would count one outage of the sender as many delivered frames.
 *
 * Return: the number of ticks since the last call, 0 if none is due.
 */
uint64_t pacer_take(int pacer);

/**
 * listen_tcp() - a listening, non-blocking TCP socket on all addresses
 * @port: port number
 *
 * Return: the file descriptor.
 */
int listen_tcp(uint16_t port);

/**
 * links_open() - hear about changes of network interfaces
 *
 * Return: a file descriptor to poll for input, for links_read().
 */
int links_open(void);

/**
 * links_read() - forget the news that are waiting on the descriptor and look at the interfaces
 * @events: from links_open()
 *
 * Return: LINK_* flags.
 */
uint32_t links_read(int events);

/**
 * links_others() - the interfaces that are not the primary, and the guest's address
 * @indexes: theirs; of the loopback, the standby and its master
 * @mac: the guest's MAC address
 *
 * Return: false if there is no pair.
 */
bool links_others(unsigned int indexes[LINKS_OTHERS], uint8_t mac[6]);

struct sock_fprog;

/**
 * packet_socket() - see every frame at every interface that passes a filter, with its VLAN tag
 * @filter: which
 * @buffer: bytes of room for frames that wait
 *
 * Return: the socket, which does not block.
 */
int packet_socket(const struct sock_fprog *filter, int buffer);

/**
 * capture_start() - look at every frame that the primary receives from now on
 *
 * Whatever primary: it may vanish, and another may come.
 *
 * Return: a file descriptor to poll for input, for capture_read(); -1 if there is no pair.
 */
int capture_start(void);

/**
 * capture_read() - look at the frames that are waiting
 */
void capture_read(void);

/**
 * capture_stop() - end it
 * @answer: one line: how many frames the primary received, how many of them were foreign, how many
 *          came and were not looked at, and how many were the guest's own
 * @size: room in @answer
 */
void capture_stop(char *answer, size_t size);

enum { SEEN_AT_PRIMARY, SEEN_AT_STANDBY, SEEN_AT_MASTER };

/* A frame of a client at an interface of the guest. */
struct sighting {
    uint64_t us; /* the guest's clock, when its kernel was given the frame */
    uint32_t sequence;
    uint32_t place; /* SEEN_AT_* */
};

/**
 * sightings_start() - note where each frame of a client is seen from now on
 * @client: the client's address
 *
 * Return: a file descriptor to poll for input, for sightings_read(); -1 if there is no pair.
 */
int sightings_start(struct in_addr client);

/**
 * sightings_read() - note what is waiting
 */
void sightings_read(void);

/**
 * sightings_stop() - end it
 * @count: how many there are
 * @missed: how many frames the socket had no room for
 *
 * Return: them, in order; until the next sightings_start().
 */
const struct sighting *sightings_stop(uint32_t *count, uint32_t *missed);

/**
 * raise_priority() - ask to run before ordinary processes, as a late sender or receiver falsifies
 * what is measured
 */
void raise_priority(void);

int guest_main(void);

/**
 * client_main() - the client's end, or a neighbour's
 * @guest: the guest's address
 * @spacing_us: microseconds between two frames
 * @directory: for what was measured
 * @port: 0: of a client. A neighbour's own port, for the guest may be out of its reach: somebody
 *        else has to start the guest's sender, to stop it, and to fetch its record
 *
 * Return: exit status.
 */
int client_main(struct in_addr guest, uint32_t spacing_us, const char *directory, uint16_t port);

int clock_main(void);
int marks_main(const char *path);
int send_main(struct in_addr address, uint16_t port, const char *path, uint64_t bytes_per_second);
int receive_main(uint16_t port, const char *path);
int pingpong_main(struct in_addr address, unsigned seconds);

/* Which way trips go by turns. */
struct turns_way {
    struct in_addr address; /* of whoever answers */
    uint8_t mac[6];         /* its own, too */
    const char *failover;
    const char *vf;
    size_t bytes; /* of each packet there, of IP; what comes back is small */
};

int turns_main(const struct turns_way *way, unsigned seconds);

#endif
