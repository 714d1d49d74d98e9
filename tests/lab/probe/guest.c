/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's end. Its record of received frames stays in memory, because nothing in a migrating
 * guest can be written elsewhere without becoming traffic.
 *
 * Commands on the control connection, one per line, each answered with one line:
 *   links              LINK_* flags, decimal
 *   start SPACING PORT send a frame to the commander's address and PORT every SPACING microseconds
 *   stop               "SENT SKIPPED"
 *   record             the number of frames received, then that many 32-bit sequence numbers, raw
 */
#include "probe.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SLOT_DATA,
    SLOT_LINKS,
    SLOT_CONTROL_LISTENER,
    SLOT_ECHO_LISTENER,
    SLOT_PACER,
    SLOT_FIRST_CONNECTION,
    SLOTS = SLOT_FIRST_CONNECTION + 16,
};

/* About four and a half hours at 2 ms; pages that were never written to cost nothing. */
enum { RECORD_MAX = 8 * 1024 * 1024 };

static uint32_t received[RECORD_MAX];
static uint32_t received_count;

struct guest {
    struct pollfd polls[SLOTS];
    bool is_echo[SLOTS];
    char line[SLOTS][128]; /* what came of a command so far */
    struct sockaddr_in client;
    struct frame frame;
    uint32_t skipped;
};

static void set_links(struct guest *guest, uint32_t links)
{
    if (links != guest->frame.links) {
        printf("lab: links standby=%s primary=%s\n",
               links & LINK_STANDBY_CARRIER ? "up"
               : links & LINK_STANDBY       ? "down"
                                            : "none",
               links & LINK_PRIMARY_CARRIER ? "up"
               : links & LINK_PRIMARY       ? "down"
                                            : "none");
        fflush(stdout);
    }
    guest->frame.links = links;
}

static void receive_frames(int fd)
{
    struct frame frame;

    while (recv(fd, &frame, sizeof(frame), MSG_DONTWAIT) == (ssize_t)sizeof(frame)) {
        if (frame.magic == FRAME_MAGIC && received_count < RECORD_MAX) {
            received[received_count++] = frame.sequence;
        }
    }
}

static void send_frame(struct guest *guest)
{
    uint64_t ticks = pacer_take(guest->polls[SLOT_PACER].fd);

    if (ticks == 0) {
        return;
    }
    guest->skipped += (uint32_t)(ticks - 1);
    guest->frame.received = received_count;
    guest->frame.sender_us = now_us();
    /* A frame that the kernel refuses keeps its number: for the flow it is lost like any other. */
    sendto(guest->polls[SLOT_DATA].fd, &guest->frame, sizeof(guest->frame), MSG_DONTWAIT,
           (struct sockaddr *)&guest->client, sizeof(guest->client));
    guest->frame.sequence++;
}

/* Write all of it to a non-blocking connection; the peer reads what it asked for. */
static bool write_all(int fd, const void *data, size_t size)
{
    const uint8_t *next = data;

    while (size > 0) {
        ssize_t written = send(fd, next, size, MSG_NOSIGNAL);

        if (written > 0) {
            next += written;
            size -= (size_t)written;
        } else if (errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};

            if (poll(&writable, 1, 5000) != 1) {
                return false;
            }
        } else {
            return false;
        }
    }
    return true;
}

static void stop_sending(struct guest *guest)
{
    if (guest->polls[SLOT_PACER].fd >= 0) {
        close(guest->polls[SLOT_PACER].fd);
        guest->polls[SLOT_PACER].fd = -1;
    }
}

static bool run_command(struct guest *guest, int fd, const char *line)
{
    uint32_t spacing_us;
    uint16_t port;
    char answer[64];

    if (strcmp(line, "links") == 0) {
        snprintf(answer, sizeof(answer), "%" PRIu32 "\n", guest->frame.links);
    } else if (sscanf(line, "start %" SCNu32 " %" SCNu16, &spacing_us, &port) == 2) {
        socklen_t size = sizeof(guest->client);

        if (getpeername(fd, (struct sockaddr *)&guest->client, &size) < 0) {
            return false;
        }
        guest->client.sin_port = htons(port);
        guest->frame.sequence = 0;
        guest->skipped = 0;
        received_count = 0;
        stop_sending(guest);
        guest->polls[SLOT_PACER].fd = pacer_new(spacing_us);
        snprintf(answer, sizeof(answer), "ok\n");
    } else if (strcmp(line, "stop") == 0) {
        stop_sending(guest);
        snprintf(answer, sizeof(answer), "%" PRIu32 " %" PRIu32 "\n", guest->frame.sequence,
                 guest->skipped);
    } else if (strcmp(line, "record") == 0) {
        snprintf(answer, sizeof(answer), "%" PRIu32 "\n", received_count);
        return write_all(fd, answer, strlen(answer)) &&
               write_all(fd, received, received_count * sizeof(received[0]));
    } else {
        snprintf(answer, sizeof(answer), "unknown command\n");
    }
    return write_all(fd, answer, strlen(answer));
}

static bool read_commands(struct guest *guest, size_t slot)
{
    char *line = guest->line[slot];
    size_t used = strlen(line);
    int fd = guest->polls[slot].fd;
    ssize_t size = recv(fd, line + used, sizeof(guest->line[slot]) - used - 1, 0);
    char *end;

    if (size <= 0) {
        return size < 0 && errno == EAGAIN;
    }
    line[used + (size_t)size] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        if (!run_command(guest, fd, line)) {
            return false;
        }
        memmove(line, end + 1, strlen(end + 1) + 1);
    }
    /* A full buffer without a line in it is not a command. */
    return strlen(line) < sizeof(guest->line[slot]) - 1;
}

static bool echo(int fd)
{
    char data[2048];
    ssize_t size = recv(fd, data, sizeof(data), 0);

    if (size <= 0) {
        return size < 0 && errno == EAGAIN;
    }
    return write_all(fd, data, (size_t)size);
}

static void accept_connection(struct guest *guest, size_t listener)
{
    int fd = accept4(guest->polls[listener].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        return;
    }
    for (size_t slot = SLOT_FIRST_CONNECTION; slot < SLOTS; slot++) {
        if (guest->polls[slot].fd < 0) {
            guest->polls[slot].fd = fd;
            guest->is_echo[slot] = listener == SLOT_ECHO_LISTENER;
            guest->line[slot][0] = '\0';
            return;
        }
    }
    close(fd);
}

static int data_socket(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(PORT_DATA),
        .sin_addr.s_addr = htonl(INADDR_ANY),
    };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("data socket");
    }
    return fd;
}

int guest_main(void)
{
    static struct guest guest = {.frame.magic = FRAME_MAGIC};

    for (size_t slot = 0; slot < SLOTS; slot++) {
        guest.polls[slot] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    guest.polls[SLOT_DATA].fd = data_socket();
    guest.polls[SLOT_LINKS].fd = links_open();
    guest.polls[SLOT_CONTROL_LISTENER].fd = listen_tcp(PORT_CONTROL);
    guest.polls[SLOT_ECHO_LISTENER].fd = listen_tcp(PORT_ECHO);
    raise_priority();
    set_links(&guest, links_read(guest.polls[SLOT_LINKS].fd));
    puts("lab: probe ready");
    fflush(stdout);

    for (;;) {
        if (poll(guest.polls, SLOTS, -1) < 0) {
            die("poll");
        }
        if (guest.polls[SLOT_DATA].revents) {
            receive_frames(guest.polls[SLOT_DATA].fd);
        }
        if (guest.polls[SLOT_PACER].fd >= 0 && guest.polls[SLOT_PACER].revents) {
            send_frame(&guest);
        }
        if (guest.polls[SLOT_LINKS].revents) {
            set_links(&guest, links_read(guest.polls[SLOT_LINKS].fd));
        }
        for (size_t slot = SLOT_FIRST_CONNECTION; slot < SLOTS; slot++) {
            struct pollfd *connection = &guest.polls[slot];

            if (connection->fd >= 0 && connection->revents &&
                !(guest.is_echo[slot] ? echo(connection->fd) : read_commands(&guest, slot))) {
                close(connection->fd);
                connection->fd = -1;
            }
        }
        for (size_t slot = SLOT_CONTROL_LISTENER; slot <= SLOT_ECHO_LISTENER; slot++) {
            if (guest.polls[slot].revents) {
                accept_connection(&guest, slot);
            }
        }
    }
}
