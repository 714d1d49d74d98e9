/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where in the guest each frame of a client is seen. A packet socket sees a frame at the interface
 * by which it comes in, and once more at the master if the pair takes it (Linux,
 * __netif_receive_skb_core(), rx_handler): one that the pair throws away is seen at its standby or
 * primary alone.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { BUFFER = 16 * 1024 * 1024, BATCH = 64, IP_AT = ETH_HLEN };

struct packet {
    uint8_t ethernet[ETH_HLEN];
    struct iphdr ip; /* without options */
    struct udphdr udp;
    struct frame frame;
} __attribute__((packed));

static struct {
    int fd;
    struct in_addr client;
    unsigned int others[LINKS_OTHERS];
    struct sighting *list;
    uint32_t count;
} watch = {.fd = -1};

/* UDP that comes in. */
static int open_socket(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 5, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN - 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, IP_AT + offsetof(struct iphdr, protocol)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, sizeof(struct packet)),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return packet_socket(&program, BUFFER);
}

int sightings_start(struct in_addr client)
{
    uint8_t mac[6];

    if (watch.fd >= 0) {
        close(watch.fd);
        watch.fd = -1;
    }
    free(watch.list);
    watch.list = NULL;
    watch.count = 0;
    watch.client = client;
    if (!links_others(watch.others, mac)) {
        return -1;
    }
    watch.fd = open_socket();
    return watch.fd;
}

static uint32_t place_of(int interface)
{
    if (interface == (int)watch.others[1]) {
        return SEEN_AT_STANDBY;
    }
    return interface == (int)watch.others[2] ? SEEN_AT_MASTER : SEEN_AT_PRIMARY;
}

/* When the frame that was read last came in: the first is not timed, its call turns this on. */
static uint64_t arrived_us(void)
{
    struct timeval time = {0};

    if (ioctl(watch.fd, SIOCGSTAMP, &time) < 0 && errno != ENOENT) {
        die("time of a sighting");
    }
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Return: false if there is nothing to read. */
static bool read_one(void)
{
    struct packet packet;
    struct sockaddr_ll from;
    socklen_t from_size = sizeof(from);
    ssize_t size =
        recvfrom(watch.fd, &packet, sizeof(packet), 0, (struct sockaddr *)&from, &from_size);

    if (size == sizeof(packet) && packet.ip.saddr == watch.client.s_addr &&
        packet.udp.dest == htons(PORT_DATA) && packet.frame.magic == FRAME_MAGIC) {
        watch.list = grow(watch.list, watch.count, sizeof(watch.list[0]));
        watch.list[watch.count++] = (struct sighting){
            .us = arrived_us(),
            .sequence = packet.frame.sequence,
            .place = place_of(from.sll_ifindex),
        };
    }
    return size >= 0;
}

void sightings_read(void)
{
    /* Not until there are none: in a slow guest they may come as fast as they are looked at. */
    for (int i = 0; i < BATCH && read_one(); i++) {
    }
}

const struct sighting *sightings_stop(uint32_t *count, uint32_t *missed)
{
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof(statistics);

    if (watch.fd >= 0) {
        /* What comes from here on is not in the record: no more than is waiting now. */
        if (getsockopt(watch.fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) {
            die("statistics of sightings");
        }
        for (unsigned int i = 0; i < statistics.tp_packets && read_one(); i++) {
        }
        close(watch.fd);
        watch.fd = -1;
    }
    *count = watch.count;
    *missed = statistics.tp_drops;
    return watch.list;
}
