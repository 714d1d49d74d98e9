/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers every datagram with the same bytes and CLOCK_REALTIME in microseconds behind them. */
#include "probe.h"

#include <string.h>
#include <sys/socket.h>

int clock_main(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(PORT_CLOCK),
        .sin_addr.s_addr = htonl(INADDR_ANY),
    };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("clock socket");
    }
    raise_priority();
    for (;;) {
        uint8_t buffer[64 + sizeof(uint64_t)];
        struct sockaddr_in from;
        socklen_t from_size = sizeof(from);
        uint64_t us;
        ssize_t size = recvfrom(fd, buffer, 64, 0, (struct sockaddr *)&from, &from_size);

        if (size < 0) {
            continue;
        }
        us = real_us();
        memcpy(buffer + size, &us, sizeof(us));
        sendto(fd, buffer, (size_t)size + sizeof(us), 0, (struct sockaddr *)&from, from_size);
    }
}
