/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The far end of a connection, as a test plays it: a socketpair whose other
 * half is given to the code under test.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_PATIENCE_US (10 * G_USEC_PER_SEC)

typedef struct {
    int fd;
    GString *in;
    gboolean eof;
} Wire;

static inline gboolean wire_tick(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

/* Runs the main loop until @condition holds; the test fails when that takes too long. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        gint64 patience_ = g_get_monotonic_time() + WIRE_PATIENCE_US;                              \
        guint tick_ = g_timeout_add(5, wire_tick, NULL);                                           \
        while (!(condition)) {                                                                     \
            if (g_get_monotonic_time() > patience_)                                                \
                g_error("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);           \
            g_main_context_iteration(NULL, TRUE);                                                  \
        }                                                                                          \
        g_source_remove(tick_);                                                                    \
    } while (0)

/* Runs what is ready, for a thing that must not happen. */
static inline void wire_settle(void)
{
    gint64 end = g_get_monotonic_time() + 30000;
    guint tick = g_timeout_add(5, wire_tick, NULL);

    while (g_get_monotonic_time() < end)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(tick);
}

static inline GIOStream *wire_open(Wire *wire)
{
    g_autoptr(GSocket) socket = NULL;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
    wire->fd = fds[1];
    wire->in = g_string_new(NULL);
    wire->eof = FALSE;
    socket = g_socket_new_from_fd(fds[0], NULL);
    g_assert_nonnull(socket);
    return G_IO_STREAM(g_socket_connection_factory_create_connection(socket));
}

static inline void wire_close(Wire *wire)
{
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    if (wire->in)
        g_string_free(wire->in, TRUE);
    wire->in = NULL;
}

static inline gboolean wire_pull(Wire *wire)
{
    char chunk[65536];
    ssize_t n = read(wire->fd, chunk, sizeof(chunk));

    if (n > 0)
        g_string_append_len(wire->in, chunk, n);
    else if (n == 0 || errno != EAGAIN)
        wire->eof = TRUE;
    return wire->eof || strchr(wire->in->str, '\n');
}

/* The next line without its end; NULL: there is none, the connection was closed. */
static inline char *wire_line(Wire *wire)
{
    char *end;
    char *line;

    WAIT_FOR(strchr(wire->in->str, '\n') || wire_pull(wire));
    end = strstr(wire->in->str, "\r\n");
    if (!end)
        return NULL;
    line = g_strndup(wire->in->str, (gsize)(end - wire->in->str));
    g_string_erase(wire->in, 0, end - wire->in->str + 2);
    return line;
}

static inline json_object *wire_message(Wire *wire)
{
    g_autofree char *line = wire_line(wire);
    json_object *message = line ? json_tokener_parse(line) : NULL;

    if (!message)
        g_error("no message but: %s", line ? line : "end of file");
    return message;
}

/* What arrives next, compared as text. */
#define wire_expect(wire, text)                                                                    \
    do {                                                                                           \
        g_autofree char *line_ = wire_line(wire);                                                  \
        g_assert_cmpstr(line_, ==, text);                                                          \
    } while (0)

static inline void wire_send_bytes(Wire *wire, const void *bytes, gsize length)
{
    const char *next = bytes;

    while (length > 0) {
        ssize_t n = send(wire->fd, next, length, MSG_NOSIGNAL);

        if (n > 0) {
            next += n;
            length -= (gsize)n;
        } else if (n < 0 && errno != EAGAIN) {
            return; /* the other end has closed; the test looks for that itself */
        }
        while (g_main_context_iteration(NULL, FALSE))
            ;
    }
}

static inline void wire_send(Wire *wire, const char *text)
{
    wire_send_bytes(wire, text, strlen(text));
}

static inline gboolean wire_at_end(Wire *wire)
{
    wire_pull(wire);
    return wire->eof;
}
