/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe.h"

#include <arpa/inet.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void)
{
    fputs("usage: vflab-probe guest\n"
          "       vflab-probe clock\n"
          "       vflab-probe marks FILE\n"
          "       vflab-probe pingpong ADDRESS SECONDS\n"
          "       vflab-probe turns ADDRESS MAC SECONDS FAILOVER-INTERFACE VF-INTERFACE BYTES\n"
          "       vflab-probe send ADDRESS PORT FILE BYTES-PER-SECOND\n"
          "       vflab-probe receive PORT FILE\n"
          "       vflab-probe client GUEST-ADDRESS SPACING-US DIRECTORY\n"
          "       vflab-probe neighbour GUEST-ADDRESS SPACING-US DIRECTORY\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "guest") == 0) {
        return guest_main();
    }
    if (argc == 2 && strcmp(argv[1], "clock") == 0) {
        return clock_main();
    }
    if (argc == 3 && strcmp(argv[1], "marks") == 0) {
        return marks_main(argv[2]);
    }
    if (argc == 4 && strcmp(argv[1], "pingpong") == 0) {
        struct in_addr address;
        int seconds = atoi(argv[3]);

        if (inet_pton(AF_INET, argv[2], &address) != 1 || seconds < 1 || seconds > 3600) {
            return usage();
        }
        return pingpong_main(address, (unsigned)seconds);
    }
    if (argc == 8 && strcmp(argv[1], "turns") == 0) {
        struct turns_way way = {
            .failover = argv[5], .vf = argv[6], .bytes = strtoul(argv[7], NULL, 10)};
        struct ether_addr *mac = ether_aton(argv[3]);
        int seconds = atoi(argv[4]);

        if (inet_pton(AF_INET, argv[2], &way.address) != 1 || mac == NULL || seconds < 1 ||
            seconds > 3600) {
            return usage();
        }
        memcpy(way.mac, mac, sizeof(way.mac));
        return turns_main(&way, (unsigned)seconds);
    }
    if (argc == 6 && strcmp(argv[1], "send") == 0) {
        unsigned long long rate = strtoull(argv[5], NULL, 10);
        struct in_addr address;
        int port = atoi(argv[3]);

        if (inet_pton(AF_INET, argv[2], &address) != 1 || port < 1 || port > UINT16_MAX ||
            rate == 0) {
            return usage();
        }
        return send_main(address, (uint16_t)port, argv[4], rate);
    }
    if (argc == 4 && strcmp(argv[1], "receive") == 0) {
        int port = atoi(argv[2]);

        if (port < 1 || port > UINT16_MAX) {
            return usage();
        }
        return receive_main((uint16_t)port, argv[3]);
    }
    if (argc == 5 && (strcmp(argv[1], "client") == 0 || strcmp(argv[1], "neighbour") == 0)) {
        uint16_t port = strcmp(argv[1], "neighbour") == 0 ? PORT_NEIGHBOUR : 0;
        struct in_addr guest;
        char *end;
        unsigned long spacing_us = strtoul(argv[3], &end, 10);

        if (inet_pton(AF_INET, argv[2], &guest) != 1 || *end != '\0' || spacing_us < 100 ||
            spacing_us > 1000000) {
            return usage();
        }
        return client_main(guest, (uint32_t)spacing_us, argv[4], port);
    }
    return usage();
}
