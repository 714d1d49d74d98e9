/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's end. Its records of received frames stay in memory, because nothing in a migrating
 * guest can be written elsewhere without becoming traffic. Clients are told apart by their
 * addresses; whoever can reach the guest may give the commands for any of them.
 *
 * Commands on the control connection, one per line, each answered with one line:
 *   links                      LINK_* flags, decimal
 *   expect ADDRESS PORT        forget what there is about this client, and record its frames
 *   send SPACING ADDRESS       send it a frame every SPACING microseconds
 *   stop ADDRESS               "SENT SKIPPED"
 *   record ADDRESS             the number of frames received from it, then that many 32-bit
 *                              sequence numbers, raw
 *   capture                    begin to look at what the primary receives, see capture.c
 *   captured                   "FRAMES FOREIGN MISSED RETURNED" since then, and no more
 *   watch ADDRESS              begin to note where the client's frames are seen, see sightings.c
 *   watched                    "SIGHTINGS MISSED", and no more of them; then as many times a
 *                              struct sighting, raw
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CLIENTS = 16,
    SLOT_DATA = 0,
    SLOT_LINKS,
    SLOT_CAPTURE,
    SLOT_SIGHTINGS,
    SLOT_CONTROL_LISTENER,
    SLOT_ECHO_LISTENER,
    SLOT_FIRST_PACER, /* one for each client */
    SLOT_FIRST_CONNECTION = SLOT_FIRST_PACER + CLIENTS,
    SLOTS = SLOT_FIRST_CONNECTION + 16,
};

struct client {
    struct sockaddr_in address;
    uint32_t *received; /* sequence numbers, in the order of arrival */
    uint32_t received_count;
    uint32_t sent;
    uint32_t skipped;
};

struct guest {
    struct pollfd polls[SLOTS];
    bool is_echo[SLOTS];
    char line[SLOTS][128]; /* what came of a command so far */
    struct client clients[CLIENTS];
    size_t client_count;
    uint32_t links;
};

static void set_links(struct guest *guest, uint32_t links)
{
    if (links != guest->links) {
        printf("lab: links standby=%s primary=%s\n",
               links & LINK_STANDBY_CARRIER ? "up"
               : links & LINK_STANDBY       ? "down"
                                            : "none",
               links & LINK_PRIMARY_CARRIER ? "up"
               : links & LINK_PRIMARY       ? "down"
                                            : "none");
        fflush(stdout);
    }
    guest->links = links;
}

static struct client *find_client(struct guest *guest, struct in_addr address)
{
    for (size_t i = 0; i < guest->client_count; i++) {
        if (guest->clients[i].address.sin_addr.s_addr == address.s_addr) {
            return &guest->clients[i];
        }
    }
    return NULL;
}

static void receive_frames(struct guest *guest)
{
    struct frame frame;
    struct sockaddr_in from;
    socklen_t from_size = sizeof(from);

    while (recvfrom(guest->polls[SLOT_DATA].fd, &frame, sizeof(frame), MSG_DONTWAIT,
                    (struct sockaddr *)&from, &from_size) == (ssize_t)sizeof(frame)) {
        struct client *client = find_client(guest, from.sin_addr);

        from_size = sizeof(from);
        /* Of the port too: an earlier process of the same machine may still be sending. */
        if (frame.magic == FRAME_MAGIC && client != NULL &&
            client->address.sin_port == from.sin_port) {
            client->received =
                grow(client->received, client->received_count, sizeof(client->received[0]));
            client->received[client->received_count++] = frame.sequence;
        }
    }
}

static void send_frame(struct guest *guest, size_t number)
{
    struct client *client = &guest->clients[number];
    uint64_t ticks = pacer_take(guest->polls[SLOT_FIRST_PACER + number].fd);
    struct frame frame = {
        .magic = FRAME_MAGIC,
        .sequence = client->sent,
        .links = guest->links,
        .received = client->received_count,
    };

    if (ticks == 0) {
        return;
    }
    client->skipped += (uint32_t)(ticks - 1);
    frame.sender_us = now_us();
    /* A frame that the kernel refuses keeps its number: for the flow it is lost like any other. */
    sendto(guest->polls[SLOT_DATA].fd, &frame, sizeof(frame), MSG_DONTWAIT,
           (struct sockaddr *)&client->address, sizeof(client->address));
    client->sent++;
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

static void stop_sending(struct guest *guest, const struct client *client)
{
    struct pollfd *pacer = &guest->polls[SLOT_FIRST_PACER + (client - guest->clients)];

    if (pacer->fd >= 0) {
        close(pacer->fd);
        pacer->fd = -1;
    }
}

/* Return: false if there are too many clients. */
static bool expect_client(struct guest *guest, struct in_addr address, uint16_t port)
{
    struct client *client = find_client(guest, address);

    if (client == NULL) {
        if (guest->client_count == CLIENTS) {
            return false;
        }
        client = &guest->clients[guest->client_count++];
    }
    stop_sending(guest, client);
    free(client->received);
    *client = (struct client){
        .address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address},
    };
    return true;
}

static void start_sending(struct guest *guest, const struct client *client, uint32_t spacing_us)
{
    stop_sending(guest, client);
    guest->polls[SLOT_FIRST_PACER + (client - guest->clients)].fd = pacer_new(spacing_us);
}

/* Commands about one client. Return: false if the connection is of no more use. */
static bool run_client_command(struct guest *guest, int fd, const char *line)
{
    char word[16], text[INET_ADDRSTRLEN], answer[64] = "ok\n";
    struct client *client;
    struct in_addr address;
    uint32_t spacing_us;
    uint16_t port;

    if (sscanf(line, "expect %15s %" SCNu16, text, &port) == 2 &&
        inet_pton(AF_INET, text, &address) == 1) {
        if (!expect_client(guest, address, port)) {
            snprintf(answer, sizeof(answer), "too many clients\n");
        }
        return write_all(fd, answer, strlen(answer));
    }
    if ((sscanf(line, "send %" SCNu32 " %15s", &spacing_us, text) != 2 &&
         sscanf(line, "%15s %15s", word, text) != 2) ||
        inet_pton(AF_INET, text, &address) != 1 || (client = find_client(guest, address)) == NULL) {
        snprintf(answer, sizeof(answer), "unknown command or client\n");
    } else if (strncmp(line, "send ", 5) == 0) {
        start_sending(guest, client, spacing_us);
    } else if (strcmp(word, "watch") == 0) {
        guest->polls[SLOT_SIGHTINGS].fd = sightings_start(address);
        if (guest->polls[SLOT_SIGHTINGS].fd < 0) {
            snprintf(answer, sizeof(answer), "unknown pair\n");
        }
    } else if (strcmp(word, "stop") == 0) {
        stop_sending(guest, client);
        snprintf(answer, sizeof(answer), "%" PRIu32 " %" PRIu32 "\n", client->sent,
                 client->skipped);
    } else if (strcmp(word, "record") == 0) {
        snprintf(answer, sizeof(answer), "%" PRIu32 "\n", client->received_count);
        return write_all(fd, answer, strlen(answer)) &&
               write_all(fd, client->received,
                         client->received_count * sizeof(client->received[0]));
    } else {
        snprintf(answer, sizeof(answer), "unknown command\n");
    }
    return write_all(fd, answer, strlen(answer));
}

static bool send_sightings(struct guest *guest, int fd)
{
    char answer[64];
    uint32_t count, missed;
    const struct sighting *list = sightings_stop(&count, &missed);

    guest->polls[SLOT_SIGHTINGS].fd = -1;
    snprintf(answer, sizeof(answer), "%" PRIu32 " %" PRIu32 "\n", count, missed);
    return write_all(fd, answer, strlen(answer)) && write_all(fd, list, count * sizeof(list[0]));
}

static bool run_command(struct guest *guest, int fd, const char *line)
{
    char answer[64] = "ok\n";

    if (strcmp(line, "links") == 0) {
        snprintf(answer, sizeof(answer), "%" PRIu32 "\n", guest->links);
    } else if (strcmp(line, "capture") == 0) {
        guest->polls[SLOT_CAPTURE].fd = capture_start();
    } else if (strcmp(line, "captured") == 0) {
        guest->polls[SLOT_CAPTURE].fd = -1;
        capture_stop(answer, sizeof(answer));
    } else if (strcmp(line, "watched") == 0) {
        return send_sightings(guest, fd);
    } else {
        return run_client_command(guest, fd, line);
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
    /* Frames that were held come at once: what the guest has received is not to be lost here. */
    int buffer = 16 * 1024 * 1024;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("data socket");
    }
    return fd;
}

int guest_main(void)
{
    static struct guest guest;

    for (size_t slot = 0; slot < SLOTS; slot++) {
        guest.polls[slot] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    guest.polls[SLOT_DATA].fd = data_socket();
    guest.polls[SLOT_LINKS].fd = links_open();
    guest.polls[SLOT_CONTROL_LISTENER].fd = listen_tcp(PORT_CONTROL);
    guest.polls[SLOT_ECHO_LISTENER].fd = listen_tcp(PORT_ECHO);
    set_links(&guest, links_read(guest.polls[SLOT_LINKS].fd));
    puts("lab: probe ready");
    fflush(stdout);

    for (;;) {
        if (poll(guest.polls, SLOTS, -1) < 0) {
            die("poll");
        }
        if (guest.polls[SLOT_DATA].revents) {
            receive_frames(&guest);
        }
        for (size_t i = 0; i < guest.client_count; i++) {
            const struct pollfd *pacer = &guest.polls[SLOT_FIRST_PACER + i];

            if (pacer->fd >= 0 && pacer->revents) {
                send_frame(&guest, i);
            }
        }
        if (guest.polls[SLOT_CAPTURE].fd >= 0 && guest.polls[SLOT_CAPTURE].revents) {
            capture_read();
        }
        if (guest.polls[SLOT_SIGHTINGS].fd >= 0 && guest.polls[SLOT_SIGHTINGS].revents) {
            sightings_read();
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
