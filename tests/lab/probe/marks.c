/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts the marked frames that the guest is given, by mark: those that its failover master
 * delivers, whether they came through the VF or the standby.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ETHERTYPE = 0x88b6, MARKS = 8 }; /* as in marks.py */

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
    uint8_t mark;

    if (frames < 0 || file < 0) {
        die(frames < 0 ? "packet socket" : path);
    }
    report(file, counts);
    for (;;) {
        if (recv(frames, &mark, sizeof(mark), 0) == 1 && mark < MARKS) {
            counts[mark]++;
            report(file, counts);
        }
    }
}
