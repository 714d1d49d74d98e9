/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { GROW = 64 * 1024 };

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t now_us(void)
{
    return now_ns() / 1000;
}

uint64_t real_us(void)
{
    return read_ns(CLOCK_REALTIME) / 1000;
}

_Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

int pacer_new(uint32_t spacing_us)
{
    struct itimerspec spec = {
        .it_interval = {.tv_sec = spacing_us / 1000000,
                        .tv_nsec = (long)(spacing_us % 1000000) * 1000},
    };
    int pacer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    clock_gettime(CLOCK_MONOTONIC, &spec.it_value);
    if (pacer < 0 || timerfd_settime(pacer, TFD_TIMER_ABSTIME, &spec, NULL) < 0) {
        die("timerfd");
    }
    return pacer;
}

uint64_t pacer_take(int pacer)
{
    uint64_t ticks;

    return read(pacer, &ticks, sizeof(ticks)) == sizeof(ticks) ? ticks : 0;
}

int listen_tcp(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_ANY),
    };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 4) < 0) {
        die("listening TCP socket");
    }
    return listener;
}

void raise_priority(void)
{
    if (setpriority(PRIO_PROCESS, 0, -15) < 0) {
        perror("vflab-probe: priority stays as it is");
    }
}

void *grow(void *array, size_t count, size_t size)
{
    if (count % GROW == 0) {
        array = realloc(array, (count + GROW) * size);
        if (array == NULL) {
            die("memory");
        }
    }
    return array;
}

int packet_socket(const struct sock_fprog *filter, int buffer)
{
    struct sockaddr_ll everything = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    /* Protocol 0: nothing comes in before the filter is there. */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof(*filter)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&everything, sizeof(everything)) < 0) {
        die("packet socket");
    }
    return fd;
}
