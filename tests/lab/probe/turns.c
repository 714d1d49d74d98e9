/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A datagram there and back, one after the other, by turns through the failover interface and
 * through the VF below it; a "vflab-probe clock" answers. Both are there at the same time, so what
 * else the machine does meets both alike, trip by trip.
 *
 * The frames are sent and received at the interfaces themselves: what comes through the VF is seen
 * there before the failover interface takes it, and what is sent there does not pass through that.
 * Writes how many trips had no answer, of each side, then a line for each block: nanoseconds of its
 * trips through the failover interface, and of as many through the VF.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    FAILOVER,
    VF,
    SIDES,
    /* Each side is first as often as second. */
    ROUND = 4,
    ROUNDS_OF_BLOCK = 16,
    BLOCKS_MAX = 4096,
    PADDING_MAX = 9000,
    ANSWER_US = 200000, /* an answer that is later is none */
};

static const int order[ROUND] = {FAILOVER, VF, VF, FAILOVER};

struct datagram {
    struct ethhdr ethernet;
    struct iphdr ip;
    struct udphdr udp;
    uint64_t number; /* the lowest bit is the side */
    uint8_t padding[PADDING_MAX];
} __attribute__((packed));

struct turns {
    int side[SIDES];
    size_t size; /* of the frame */
    struct datagram frame;
    uint64_t number;
    size_t missing[SIDES];
    uint64_t blocks[BLOCKS_MAX][SIDES];
};

/* Has a port, for as long as the program runs, and takes no datagram there: the answers have to go
 * to one that somebody has. */
static void own_port(struct in_addr peer, struct sockaddr_in *own)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(PORT_CLOCK), .sin_addr = peer};
    socklen_t size = sizeof(*own);
    int nothing = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &nothing, sizeof(nothing)) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        getsockname(fd, (struct sockaddr *)own, &size) < 0) {
        die("port");
    }
}

/* Return: a socket at the interface, which receives the answers of that side. */
static int open_side(const char *interface, uint16_t port, uint32_t side)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct datagram, ethernet.h_proto)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 7),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct datagram, ip.protocol)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 5),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct datagram, udp.dest)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct datagram, number)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 1),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, side, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, sizeof(struct datagram)),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    struct sockaddr_ll all = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(interface),
    };
    struct timeval limit = {.tv_usec = ANSWER_US};
    int yes = 1;
    /* Protocol 0: nothing comes in before the filter is there. */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

    if (all.sll_ifindex == 0 || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        /* Else the VF's socket is shown what is sent through the failover interface. */
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) < 0 ||
        bind(fd, (struct sockaddr *)&all, sizeof(all)) < 0) {
        die(interface);
    }
    return fd;
}

/* RFC 1071 */
static uint16_t checksum(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i += 2) {
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons((uint16_t)~sum);
}

static void make_frame(struct turns *turns, const struct turns_way *way,
                       const struct sockaddr_in *own)
{
    struct datagram *frame = &turns->frame;
    struct ifreq interface = {0};
    size_t of_udp = way->bytes - sizeof(frame->ip);

    snprintf(interface.ifr_name, sizeof(interface.ifr_name), "%s", way->failover);
    if (ioctl(turns->side[FAILOVER], SIOCGIFHWADDR, &interface) < 0) {
        die(way->failover);
    }
    memcpy(frame->ethernet.h_dest, way->mac, ETH_ALEN);
    memcpy(frame->ethernet.h_source, interface.ifr_hwaddr.sa_data, ETH_ALEN);
    frame->ethernet.h_proto = htons(ETH_P_IP);
    frame->ip = (struct iphdr){
        .version = 4,
        .ihl = sizeof(frame->ip) / 4,
        .tot_len = htons((uint16_t)(sizeof(frame->ip) + of_udp)),
        .ttl = 64,
        .protocol = IPPROTO_UDP,
        .saddr = own->sin_addr.s_addr,
        .daddr = way->address.s_addr,
    };
    frame->ip.check = checksum(&frame->ip, sizeof(frame->ip));
    /* No checksum: 0 says so. */
    frame->udp = (struct udphdr){
        .source = own->sin_port, .dest = htons(PORT_CLOCK), .len = htons((uint16_t)of_udp)};
    turns->size = offsetof(struct datagram, udp) + of_udp;
}

/* Return: nanoseconds there and back, 0 if no answer came in time. */
static uint64_t trip(struct turns *turns, int side)
{
    static struct datagram answer;
    uint64_t started;

    turns->number += 2;
    turns->frame.number = turns->number | (uint64_t)side;
    started = now_ns();
    if (send(turns->side[side], &turns->frame, turns->size, 0) < 0) {
        die("sending");
    }
    /* What comes late answers an earlier one. */
    do {
        ssize_t size = recv(turns->side[side], &answer, sizeof(answer), 0);

        if (size < (ssize_t)offsetof(struct datagram, padding)) {
            if (size >= 0 || errno != EAGAIN) {
                die("receiving");
            }
            return 0;
        }
    } while (answer.number != turns->frame.number);
    return now_ns() - started;
}

static void run_block(struct turns *turns, uint64_t block[SIDES])
{
    for (int round = 0; round < ROUNDS_OF_BLOCK; round++) {
        uint64_t ns[SIDES] = {0};
        bool answered = true;

        for (int i = 0; i < ROUND; i++) {
            uint64_t one = trip(turns, order[i]);

            ns[order[i]] += one;
            turns->missing[order[i]] += one == 0;
            answered = answered && one > 0;
        }
        for (int side = 0; side < SIDES && answered; side++) {
            block[side] += ns[side];
        }
    }
}

int turns_main(const struct turns_way *way, unsigned seconds)
{
    struct turns *turns = calloc(1, sizeof(*turns));
    size_t least = offsetof(struct datagram, padding) - offsetof(struct datagram, ip);
    struct sockaddr_in own = {0};
    size_t count = 0;
    uint64_t started;

    if (way->bytes < least || way->bytes > least + PADDING_MAX) {
        fprintf(stderr, "turns: a packet has %zu to %zu bytes\n", least, least + PADDING_MAX);
        return 2;
    }
    if (turns == NULL) {
        die("memory");
    }
    own_port(way->address, &own);
    turns->side[FAILOVER] = open_side(way->failover, ntohs(own.sin_port), FAILOVER);
    turns->side[VF] = open_side(way->vf, ntohs(own.sin_port), VF);
    make_frame(turns, way, &own);
    raise_priority();
    started = now_ns();
    while (now_ns() - started < (uint64_t)seconds * 1000000000 && count < BLOCKS_MAX) {
        uint64_t *block = turns->blocks[count];

        run_block(turns, block);
        count += block[FAILOVER] > 0 && block[VF] > 0;
        if (count == 0 && turns->missing[VF] > ROUNDS_OF_BLOCK) {
            fputs("turns: no answer\n", stderr);
            return 1;
        }
    }
    printf("%zu %zu\n", turns->missing[FAILOVER], turns->missing[VF]);
    for (size_t i = 0; i < count; i++) {
        printf("%" PRIu64 " %" PRIu64 "\n", turns->blocks[i][FAILOVER], turns->blocks[i][VF]);
    }
    return 0;
}
