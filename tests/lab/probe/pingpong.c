/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small datagram there and back, one after the other; a "vflab-probe clock" answers. Writes one
 * line: round trips, those without an answer, microseconds in all, and of a round trip the median
 * and the 99th percentile in nanoseconds.
 */
#include "probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    TRIPS_MAX = 4 * 1024 * 1024,
    ANSWER_US = 200000, /* an answer that is later is none */
};

static int compare(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

    return (first > second) - (first < second);
}

/* Return: whether the answer to the datagram with that number came in time. */
static bool trip(int fd, uint64_t number)
{
    uint64_t answer[8];

    if (send(fd, &number, sizeof(number), 0) < 0) {
        die("sending");
    }
    /* What comes late answers an earlier one. */
    do {
        if (recv(fd, answer, sizeof(answer), 0) < (ssize_t)sizeof(answer[0])) {
            if (errno != EAGAIN) {
                die("receiving");
            }
            return false;
        }
    } while (answer[0] != number);
    return true;
}

int pingpong_main(struct in_addr address, unsigned seconds)
{
    struct sockaddr_in peer = {
        .sin_family = AF_INET, .sin_port = htons(PORT_CLOCK), .sin_addr = address};
    struct timeval limit = {.tv_usec = ANSWER_US};
    uint64_t *trips = calloc(TRIPS_MAX, sizeof(trips[0]));
    size_t count = 0, missing = 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t started, now;

    if (trips == NULL || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
        die("ping-pong socket");
    }
    raise_priority();
    started = now = now_ns();
    while (now - started < (uint64_t)seconds * 1000000000 && count < TRIPS_MAX) {
        bool answered = trip(fd, count + missing + 1);
        uint64_t ended = now_ns();

        if (answered) {
            trips[count++] = ended - now;
        } else {
            missing++;
        }
        now = ended;
    }
    if (count == 0) {
        fputs("ping-pong: no answer\n", stderr);
        return 1;
    }
    qsort(trips, count, sizeof(trips[0]), compare);
    printf("%zu %zu %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count, missing, (now - started) / 1000,
           trips[count / 2], trips[count * 99 / 100]);
    return 0;
}
