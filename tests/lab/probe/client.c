/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's end. Runs until SIGTERM or SIGINT, then fetches the guest's record and writes, into
 * its directory:
 *   sent.csv       sequence,send time           frames from the client to the guest
 *   delivered.csv  sequence                     those that the guest received, in its order
 *   received.csv   sequence,receive time,links,received  frames from the guest; the last two are
 *                                                        its links and how many frames it received
 *   tcp.csv        send time,echo time          messages on the TCP connection; no echo: empty
 *   summary        name=value lines
 * Times are the client's CLOCK_MONOTONIC in microseconds. On standard output: "started" once
 * frames arrive from the guest, and "links TIME FLAGS" whenever the guest's links change.
 *
 * A neighbour says "listens" when it does, and writes what is its own: sent.csv, received.csv, and
 * in its summary `epoch_us`, the time of its CLOCK_REALTIME at 0 of the other.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ECHO_SPACING_US = 50000,
    STRAGGLERS_US = 500000, /* how long frames may still arrive after the last one was sent */
    ECHOES_US = 60000000, /* after an outage, TCP's next try may be as far away as that was long */
    ANSWER_MS = 10000,
};

struct arrival {
    uint64_t us;
    uint32_t sequence;
    uint32_t links;
    uint32_t received;
};

struct client {
    struct sockaddr_in guest;
    uint16_t port; /* a neighbour's own, else 0 */
    const char *directory;
    int data;
    int control;
    int tcp;
    char own[INET_ADDRSTRLEN]; /* address */
    bool tcp_alive;
    bool stopping;
    bool started;
    uint64_t skipped;
    uint64_t *sent; /* send times; the index is the sequence number */
    size_t sent_count;
    struct arrival *arrivals;
    size_t arrival_count;
    uint64_t *messages; /* send times on the TCP connection */
    uint64_t *echoes;   /* when the echo of the message came, in order */
    size_t message_count;
    size_t echo_count;
    size_t echo_bytes; /* of the message that is coming in */
};

static int connect_tcp(const struct sockaddr_in *guest, uint16_t port)
{
    struct sockaddr_in address = *guest;
    struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    address.sin_port = htons(port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("connection to the guest");
    }
    return fd;
}

/* One command, one line back. */
static bool ask(int control, const char *command, char *answer, size_t size)
{
    size_t length = 0;

    if (send(control, command, strlen(command), MSG_NOSIGNAL) < 0) {
        return false;
    }
    while (length + 1 < size) {
        if (recv(control, answer + length, 1, 0) != 1) {
            return false;
        }
        if (answer[length] == '\n') {
            answer[length] = '\0';
            return true;
        }
        length++;
    }
    return false;
}

/* A command about this client, to which the guest answers. */
static bool ask_about_us(struct client *client, const char *word, char *answer, size_t size)
{
    char command[64];

    snprintf(command, sizeof(command), "%s %s\n", word, client->own);
    return ask(client->control, command, answer, size);
}

static void send_frame(struct client *client, int pacer)
{
    uint64_t ticks = pacer_take(pacer);
    struct frame frame = {.magic = FRAME_MAGIC, .sequence = (uint32_t)client->sent_count};

    if (ticks == 0) {
        return;
    }
    client->skipped += ticks - 1;
    client->sent = grow(client->sent, client->sent_count, sizeof(client->sent[0]));
    frame.sender_us = now_us();
    client->sent[client->sent_count++] = frame.sender_us;
    /* A frame that the kernel refuses keeps its number: for the flow it is lost like any other. */
    sendto(client->data, &frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&client->guest,
           sizeof(client->guest));
}

static void receive_frames(struct client *client)
{
    struct frame frame;

    while (recv(client->data, &frame, sizeof(frame), MSG_DONTWAIT) == (ssize_t)sizeof(frame)) {
        struct arrival *arrival;

        if (frame.magic != FRAME_MAGIC) {
            continue;
        }
        client->arrivals =
            grow(client->arrivals, client->arrival_count, sizeof(client->arrivals[0]));
        arrival = &client->arrivals[client->arrival_count++];
        *arrival = (struct arrival){now_us(), frame.sequence, frame.links, frame.received};
        if (!client->started) {
            puts("started");
            client->started = true;
        }
        if (client->arrival_count == 1 || arrival[-1].links != arrival->links) {
            printf("links %" PRIu64 " %" PRIu32 "\n", arrival->us, arrival->links);
        }
        fflush(stdout);
    }
}

static void send_message(struct client *client, int pacer)
{
    uint64_t now = now_us();

    if (pacer_take(pacer) == 0 || !client->tcp_alive || client->stopping) {
        return;
    }
    /* A message is its own send time. Never a part of one: it fits into the socket's buffer. */
    if (send(client->tcp, &now, sizeof(now), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(now)) {
        client->messages = grow(client->messages, client->message_count, sizeof(uint64_t));
        client->messages[client->message_count++] = now;
    } else if (errno != EAGAIN) {
        client->tcp_alive = false;
    }
}

static void receive_echoes(struct client *client)
{
    char data[4096];
    ssize_t size = recv(client->tcp, data, sizeof(data), MSG_DONTWAIT);

    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        client->tcp_alive = false;
        return;
    }
    client->echo_bytes += size > 0 ? (size_t)size : 0;
    while (client->echo_bytes >= sizeof(uint64_t)) {
        client->echo_bytes -= sizeof(uint64_t);
        client->echoes = grow(client->echoes, client->echo_count, sizeof(uint64_t));
        client->echoes[client->echo_count++] = now_us();
    }
}

static FILE *open_result(const struct client *client, const char *name)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", client->directory, name);
    file = fopen(path, "we");
    if (file == NULL) {
        die(path);
    }
    return file;
}

static void close_result(FILE *file)
{
    if (ferror(file) || fclose(file) != 0) {
        die("writing results");
    }
}

static void write_own_records(const struct client *client)
{
    FILE *file = open_result(client, "sent.csv");

    for (size_t i = 0; i < client->sent_count; i++) {
        fprintf(file, "%zu,%" PRIu64 "\n", i, client->sent[i]);
    }
    close_result(file);

    file = open_result(client, "received.csv");
    for (size_t i = 0; i < client->arrival_count; i++) {
        const struct arrival *arrival = &client->arrivals[i];

        fprintf(file, "%" PRIu32 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32 "\n", arrival->sequence,
                arrival->us, arrival->links, arrival->received);
    }
    close_result(file);

    file = open_result(client, "tcp.csv");
    for (size_t i = 0; i < client->message_count; i++) {
        fprintf(file, "%" PRIu64 ",", client->messages[i]);
        if (i < client->echo_count) {
            fprintf(file, "%" PRIu64, client->echoes[i]);
        }
        fputc('\n', file);
    }
    close_result(file);
}

/* Return: whether the guest handed over all it has. */
static bool write_guest_record(struct client *client, const char *totals)
{
    uint64_t guest_sent, guest_skipped;
    uint32_t *record;
    size_t count;
    char answer[64];
    FILE *file;

    if (sscanf(totals, "%" SCNu64 " %" SCNu64, &guest_sent, &guest_skipped) != 2 ||
        !ask_about_us(client, "record", answer, sizeof(answer)) ||
        sscanf(answer, "%zu", &count) != 1) {
        return false;
    }
    record = calloc(count + 1, sizeof(record[0]));
    if (record == NULL) {
        die("memory");
    }
    if (count > 0 && recv(client->control, record, count * sizeof(record[0]), MSG_WAITALL) !=
                         (ssize_t)(count * sizeof(record[0]))) {
        free(record);
        return false;
    }
    file = open_result(client, "delivered.csv");
    for (size_t i = 0; i < count; i++) {
        fprintf(file, "%" PRIu32 "\n", record[i]);
    }
    close_result(file);
    free(record);

    file = open_result(client, "summary");
    fprintf(file,
            "sent=%zu\nskipped=%" PRIu64 "\nguest_sent=%" PRIu64 "\nguest_skipped=%" PRIu64
            "\ntcp_alive=%d\n",
            client->sent_count, client->skipped, guest_sent, guest_skipped,
            client->tcp_alive && client->echo_count == client->message_count);
    close_result(file);
    return true;
}

static void open_data(struct client *client)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(client->port)};
    /* To send as well: what waits in this host for the guest is charged to its sender's socket,
     * whose usual 208 KiB are 277 frames. */
    int buffer = 4 * 1024 * 1024;

    client->data = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (client->data < 0 ||
        setsockopt(client->data, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
        setsockopt(client->data, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
        bind(client->data, (struct sockaddr *)&own, sizeof(own)) < 0) {
        die("data socket");
    }
}

static void ask_for_ok(const struct client *client, const char *command)
{
    char answer[64];

    if (!ask(client->control, command, answer, sizeof(answer)) || strcmp(answer, "ok") != 0) {
        die("starting the guest's sender");
    }
}

static void connect_guest(struct client *client, uint32_t spacing_us)
{
    struct sockaddr_in own, data;
    socklen_t own_size = sizeof(own), data_size = sizeof(data);
    char command[64];

    client->tcp = connect_tcp(&client->guest, PORT_ECHO);
    client->tcp_alive = true;
    client->control = connect_tcp(&client->guest, PORT_CONTROL);
    if (getsockname(client->control, (struct sockaddr *)&own, &own_size) < 0 ||
        getsockname(client->data, (struct sockaddr *)&data, &data_size) < 0 ||
        inet_ntop(AF_INET, &own.sin_addr, client->own, sizeof(client->own)) == NULL) {
        die("own address");
    }
    snprintf(command, sizeof(command), "expect %s %u\n", client->own, ntohs(data.sin_port));
    ask_for_ok(client, command);
    snprintf(command, sizeof(command), "send %" PRIu32 " %s\n", spacing_us, client->own);
    ask_for_ok(client, command);
    /* The end of the run makes a new one, which need not have lived through the outages. */
    close(client->control);
}

static void stop_guest(struct client *client, char *totals, size_t size)
{
    /* Own records first: they are worth having even if the guest cannot be reached. */
    write_own_records(client);
    client->control = connect_tcp(&client->guest, PORT_CONTROL);
    if (!ask_about_us(client, "stop", totals, size)) {
        die("stopping the guest's sender");
    }
}

static void write_neighbour_summary(const struct client *client)
{
    FILE *file = open_result(client, "summary");

    fprintf(file, "skipped=%" PRIu64 "\nepoch_us=%" PRIu64 "\n", client->skipped,
            real_us() - now_us());
    close_result(file);
}

/* Whether something may still come, that long after the last frame was sent. */
static bool is_awaiting(const struct client *client, uint64_t elapsed_us)
{
    return elapsed_us < STRAGGLERS_US ||
           (client->tcp_alive && client->echo_count < client->message_count &&
            elapsed_us < ECHOES_US);
}

int client_main(struct in_addr address, uint32_t spacing_us, const char *directory, uint16_t port)
{
    struct client client = {
        .guest = {.sin_family = AF_INET, .sin_port = htons(PORT_DATA), .sin_addr = address},
        .directory = directory,
        .port = port,
        .tcp = -1,
    };
    enum { DATA, TCP, SIGNAL, PACER, ECHO_PACER, POLLS };
    struct pollfd polls[POLLS];
    char totals[64] = "";
    uint64_t stopped_us = 0;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    open_data(&client);
    if (port == 0) {
        connect_guest(&client, spacing_us);
    } else {
        puts("listens");
        fflush(stdout);
    }
    raise_priority();
    polls[DATA] = (struct pollfd){.fd = client.data, .events = POLLIN};
    polls[TCP] = (struct pollfd){.fd = client.tcp, .events = POLLIN};
    polls[SIGNAL] = (struct pollfd){.fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN};
    polls[PACER] = (struct pollfd){.fd = pacer_new(spacing_us), .events = POLLIN};
    polls[ECHO_PACER] = (struct pollfd){.fd = pacer_new(ECHO_SPACING_US), .events = POLLIN};

    while (!client.stopping || is_awaiting(&client, now_us() - stopped_us)) {
        if (poll(polls, POLLS, client.stopping ? 20 : -1) < 0) {
            die("poll");
        }
        if (polls[DATA].revents) {
            receive_frames(&client);
        }
        if (polls[TCP].fd >= 0 && polls[TCP].revents) {
            receive_echoes(&client);
        }
        if (!client.tcp_alive) {
            polls[TCP].fd = -1;
        }
        if (polls[PACER].revents && !client.stopping) {
            send_frame(&client, polls[PACER].fd);
        }
        if (polls[ECHO_PACER].revents) {
            send_message(&client, polls[ECHO_PACER].fd);
        }
        if (polls[SIGNAL].revents && !client.stopping) {
            client.stopping = true;
            polls[PACER].fd = polls[SIGNAL].fd = -1;
            if (port == 0) {
                stop_guest(&client, totals, sizeof(totals));
            }
            stopped_us = now_us();
        }
    }
    write_own_records(&client);
    if (port != 0) {
        write_neighbour_summary(&client);
    } else if (!write_guest_record(&client, totals)) {
        die("the guest's record");
    }
    return 0;
}
