/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file over TCP, at a limited rate. When the receiver has all of it, both write one line: the
 * sender its bytes, retransmitted segments, how many of those had not been lost (the receiver says
 * so), microseconds in all and the longest stall, which is the longest time in which nothing that
 * was under way was acknowledged; the receiver its bytes and the longest time between two arrivals.
 * Times are those of the end that writes them.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
/* Not netinet/tcp.h: its struct tcp_info ends before what newer kernels tell. */
#include <linux/tcp.h>

enum {
    BUFFER = 1024 * 1024,
    PIECE = 64 * 1024,
    LOOK_MS = 10,          /* how often the sender looks at what was acknowledged */
    CONNECTION_MS = 60000, /* how long the receiver waits for a sender */
};

struct stall {
    uint64_t since_us;
    uint64_t longest_us;
};

/* Something has come, or nothing was to be expected. */
static void stall_ends(struct stall *stall, uint64_t now)
{
    if (now - stall->since_us > stall->longest_us) {
        stall->longest_us = now - stall->since_us;
    }
    stall->since_us = now;
}

static void read_info(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof(*info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) < 0) {
        die("figures of the connection");
    }
}

/* Everybody's, so that no figure depends on what this machine's kernel likes best. */
static const char congestion_control[] = "cubic";

static int connect_to(struct in_addr address, uint16_t port, uint64_t bytes_per_second)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_second,
                   sizeof(bytes_per_second)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion_control,
                   sizeof(congestion_control) - 1) < 0 ||
        connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        die("connection to the receiver");
    }
    return fd;
}

int send_main(struct in_addr address, uint16_t port, const char *path, uint64_t bytes_per_second)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct tcp_info info = {0};
    uint64_t total = 0, acknowledged = 0, started = now_us();
    struct stall stall = {0};
    struct pollfd connection;
    bool ended = false;
    ssize_t size;
    char end;

    if (file < 0) {
        die(path);
    }
    connection = (struct pollfd){.fd = connect_to(address, port, bytes_per_second)};
    stall.since_us = now_us();
    for (;;) {
        if (!ended) {
            size = sendfile(connection.fd, file, NULL, PIECE);
            if (size < 0 && errno != EAGAIN) {
                die("sending");
            }
            total += size > 0 ? (uint64_t)size : 0;
            ended = size == 0;
            if (ended && shutdown(connection.fd, SHUT_WR) < 0) {
                die("sending");
            }
        }
        connection.events = ended ? POLLIN : POLLOUT;
        if (poll(&connection, 1, LOOK_MS) < 0) {
            die("poll");
        }
        read_info(connection.fd, &info);
        if (info.tcpi_bytes_acked != acknowledged || info.tcpi_unacked == 0) {
            stall_ends(&stall, now_us());
        }
        acknowledged = info.tcpi_bytes_acked;
        if (ended && connection.revents != 0) {
            break;
        }
    }
    /* The receiver closes when it has read to the end. */
    if (recv(connection.fd, &end, 1, 0) != 0) {
        die("sending");
    }
    printf("%" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", total,
           info.tcpi_total_retrans, info.tcpi_dsack_dups, now_us() - started, stall.longest_us);
    return 0;
}

int receive_main(uint16_t port, const char *path)
{
    static char buffer[BUFFER];
    struct pollfd listener = {.fd = listen_tcp(port), .events = POLLIN};
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct stall stall = {0};
    uint64_t total = 0;
    ssize_t size;
    int fd;

    if (file < 0) {
        die(path);
    }
    puts("ready");
    fflush(stdout);
    if (poll(&listener, 1, CONNECTION_MS) != 1) {
        fputs("receive: nobody has connected\n", stderr);
        return 1;
    }
    fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        die("connection from the sender");
    }
    stall.since_us = now_us();
    while ((size = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        stall_ends(&stall, now_us());
        total += (uint64_t)size;
        if (write(file, buffer, (size_t)size) != size) {
            die(path);
        }
    }
    if (size < 0 || close(file) < 0) {
        die("receiving");
    }
    printf("%" PRIu64 " %" PRIu64 "\n", total, stall.longest_us);
    fflush(stdout);
    /* Last: to the sender it says that the file is there. */
    close(fd);
    return 0;
}
