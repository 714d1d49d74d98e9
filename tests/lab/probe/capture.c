/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest's primary receives, before the pair takes it: frames for the guest, for everybody
 * (broadcast, multicast), foreign ones, which have another unicast address or a VLAN, and the
 * guest's own ones that the card has returned: QEMU's igb (10.0, igb_receive_assign()) gives a
 * unicast frame that no filter matches to the pools that take all of multicast, and a guest's igbvf
 * is one.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 2 * 1024 * 1024, BATCH = 64, VLAN_ID = 0xfff };

static struct {
    int fd;
    uint8_t mac[ETH_ALEN];
    uint64_t frames;
    uint64_t foreign;
    uint64_t returned;
    uint8_t first[ETH_HLEN + 4]; /* of the first foreign one */
} capture = {.fd = -1};

/* Only what comes in, and not by way of the others: who is the primary changes on the way. */
static int open_socket(const unsigned int others[LINKS_OTHERS])
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 5, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[0], 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[1], 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, others[2], 1, 0),
        BPF_STMT(BPF_RET | BPF_K, ETH_HLEN + 4),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return packet_socket(&program, BUFFER);
}

int capture_start(void)
{
    unsigned int others[LINKS_OTHERS];

    if (capture.fd >= 0) {
        close(capture.fd);
        capture.fd = -1;
    }
    capture.frames = capture.foreign = capture.returned = 0;
    if (!links_others(others, capture.mac)) {
        return -1;
    }
    capture.fd = open_socket(others);
    return capture.fd;
}

/* The tag that the driver took out of the frame, or that is in it; a priority alone is no VLAN. */
static bool has_vlan(struct msghdr *message, const uint8_t *frame)
{
    uint16_t type = (uint16_t)(frame[12] << 8 | frame[13]);
    struct tpacket_auxdata tag;

    if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
        return ((frame[14] << 8 | frame[15]) & VLAN_ID) != 0;
    }
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
         control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == SOL_PACKET && control->cmsg_type == PACKET_AUXDATA) {
            memcpy(&tag, CMSG_DATA(control), sizeof(tag));
            return (tag.tp_status & TP_STATUS_VLAN_VALID) && (tag.tp_vlan_tci & VLAN_ID) != 0;
        }
    }
    return false;
}

void capture_read(void)
{
    /* Not until there are none: in a slow guest they may come as fast as they are looked at. */
    for (int i = 0; i < BATCH; i++) {
        uint8_t frame[ETH_HLEN + 4];
        char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        struct iovec data = {.iov_base = frame, .iov_len = sizeof(frame)};
        struct msghdr message = {
            .msg_iov = &data,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };

        /* Errors too: an interface that is taken down says so here. */
        if (recvmsg(capture.fd, &message, 0) < (ssize_t)sizeof(frame)) {
            return;
        }
        capture.frames++;
        if (memcmp(frame + ETH_ALEN, capture.mac, ETH_ALEN) == 0) {
            capture.returned++;
        } else if (has_vlan(&message, frame) ||
                   (!(frame[0] & 1) && memcmp(frame, capture.mac, ETH_ALEN) != 0)) {
            if (capture.foreign++ == 0) {
                memcpy(capture.first, frame, sizeof(frame));
            }
        }
    }
}

/* For whoever looks into why there are any. */
static void tell_first(void)
{
    if (capture.foreign == 0) {
        return;
    }
    printf("lab: %" PRIu64 " foreign frames; the first:", capture.foreign);
    for (size_t i = 0; i < sizeof(capture.first); i++) {
        printf(" %02x", capture.first[i]);
    }
    printf("\n");
    fflush(stdout);
}

void capture_stop(char *answer, size_t size)
{
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof(statistics);

    if (capture.fd >= 0) {
        capture_read();
        if (getsockopt(capture.fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) {
            die("capture statistics");
        }
        close(capture.fd);
        capture.fd = -1;
        tell_first();
    }
    snprintf(answer, size, "%" PRIu64 " %" PRIu64 " %u %" PRIu64 "\n", capture.frames,
             capture.foreign, statistics.tp_drops, capture.returned);
}
