/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts the marked frames that the guest is given, by mark: those that its failover master
 * delivers, whether they came through the VF or the standby. Each is answered the way it came.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ETHERTYPE = 0x88b6, MARKS = 8, ANSWER = 0x80, PAYLOAD = 46 }; /* as in marks.py */

static void report(int file, const uint64_t counts[MARKS])
{
    char text[MARKS * 21 + 1] = "";

    for (int i = 0; i < MARKS; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%" PRIu64 " ", counts[i]);
    }
    if (pwrite(file, text, strlen(text), 0) < 0) {
        die("write");
    }
}

int marks_main(const char *path)
{
    /* Not bound to an interface: what net_failover drops of the standby's is not seen. */
    int frames = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETHERTYPE));
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    uint64_t counts[MARKS] = {0};
    uint8_t payload[PAYLOAD];

    if (frames < 0 || file < 0) {
        die(frames < 0 ? "packet socket" : path);
    }
    report(file, counts);
    for (;;) {
        struct sockaddr_ll from;
        socklen_t length = sizeof(from);
        ssize_t got =
            recvfrom(frames, payload, sizeof(payload), 0, (struct sockaddr *)&from, &length);

        if (got < 1 || payload[0] >= MARKS) {
            continue;
        }
        counts[payload[0]]++;
        report(file, counts);
        /* The emulated card gives a guest's own frames back to it: an answer has no answer. */
        payload[0] |= ANSWER;
        /* Its interface may be gone, or its queue be full: whoever counts the answers sees that. */
        (void)sendto(frames, payload, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
}
