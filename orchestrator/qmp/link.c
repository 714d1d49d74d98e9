/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/link.h"

#include "qmp/framing.h"

#include <string.h>

#define CHUNK     (16 * 1024)
#define FINISH_MS 2000

struct _VfoLink {
    GIOStream *stream;
    const VfoLinkHandlers *handlers;
    gpointer owner; /* NULL once closed */
    GMainContext *context;
    GCancellable *cancellable; /* of @reader: has it look at @failure */
    GSource *reader;
    GSource *writer;  /* NULL: nothing is to be written */
    gboolean presses; /* the hand-over waits for something of that */
    VfoFraming *framing;
    GByteArray *unsent; /* not yet given to the stream */
    GBytes *writing;    /* being given to it; TLS wants to be offered the same bytes again */
    gsize written;      /* of which it has taken so many */
    gboolean finishing;
    GSource *finish_timer;
    GError *failure;
    guint8 chunk[CHUNK];
};

GSource *vfo_timer_start(GMainContext *context, guint ms, GSourceFunc func, gpointer data)
{
    GSource *source = g_timeout_source_new(ms);

    g_source_set_callback(source, func, data, NULL);
    g_source_attach(source, context);
    return source;
}

void vfo_source_stop(GSource **source)
{
    GSource *stopped = g_steal_pointer(source);

    if (!stopped)
        return;
    g_source_destroy(stopped);
    g_source_unref(stopped);
}

static void link_clear(gpointer data)
{
    VfoLink *link = data;

    g_clear_object(&link->stream);
    g_clear_object(&link->cancellable);
    g_clear_pointer(&link->framing, vfo_framing_free);
    g_clear_pointer(&link->unsent, g_byte_array_unref);
    g_clear_pointer(&link->writing, g_bytes_unref);
    g_clear_pointer(&link->context, g_main_context_unref);
    g_clear_error(&link->failure);
}

static void link_unref(VfoLink *link)
{
    g_rc_box_release_full(link, link_clear);
}

/* The connection's end is felt through the socket and not through TLS's own farewell, which could
 * wait for an other end that does not read. Messages tell their own end: nothing can be cut off
 * unseen. */
static void shut_down(VfoLink *link, gboolean both)
{
    g_autoptr(GIOStream) base = NULL;

    if (G_IS_TLS_CONNECTION(link->stream))
        g_object_get(link->stream, "base-io-stream", &base, NULL);
    else
        base = g_object_ref(link->stream);
    if (G_IS_SOCKET_CONNECTION(base)) {
        g_autoptr(GError) error = NULL;

        if (!g_socket_shutdown(g_socket_connection_get_socket(G_SOCKET_CONNECTION(base)), both,
                               TRUE, &error))
            g_debug("shutdown: %s", error->message); /* the other end was faster */
    }
}

/* The reader reports it. */
static void fail(VfoLink *link, GError *error)
{
    if (link->failure) {
        g_error_free(error);
        return;
    }
    link->failure = error;
    g_cancellable_cancel(link->cancellable);
}

/* -------------------------------------------------------------- writing */

static gboolean on_writable(GObject *stream, gpointer data);

static void wait_until_writable(VfoLink *link, GPollableOutputStream *stream)
{
    link->writer = g_pollable_output_stream_create_source(stream, NULL);
    g_source_set_callback(link->writer, G_SOURCE_FUNC(on_writable), link, NULL);
    g_source_attach(link->writer, link->context);
}

/* Gives the stream what it takes at once: all there is, unless the other end is slow. */
static void write_out(VfoLink *link)
{
    GPollableOutputStream *stream =
        G_POLLABLE_OUTPUT_STREAM(g_io_stream_get_output_stream(link->stream));

    vfo_source_stop(&link->writer);
    if (link->presses)
        vfo_stopwatch_press();
    link->presses = FALSE;
    while (!link->failure && (link->writing || link->unsent->len > 0)) {
        g_autoptr(GError) error = NULL;
        const guint8 *bytes;
        gsize length;
        gssize n;

        if (!link->writing) {
            link->writing = g_byte_array_free_to_bytes(link->unsent);
            link->unsent = g_byte_array_new();
            link->written = 0;
        }
        bytes = g_bytes_get_data(link->writing, &length);
        n = g_pollable_output_stream_write_nonblocking(stream, bytes + link->written,
                                                       length - link->written, NULL, &error);
        if (n >= 0) {
            link->written += (gsize)n;
            if (link->written == length)
                g_clear_pointer(&link->writing, g_bytes_unref);
        } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            wait_until_writable(link, stream);
            return;
        } else {
            fail(link, g_steal_pointer(&error));
        }
    }
    if (link->finishing)
        shut_down(link, FALSE);
}

static gboolean on_writable(GObject *stream, gpointer data)
{
    vfo_stopwatch_press();
    write_out(data);
    return G_SOURCE_REMOVE;
}

static gboolean on_turn(gpointer data)
{
    vfo_stopwatch_begin_spare();
    write_out(data);
    vfo_stopwatch_end_spare();
    return G_SOURCE_REMOVE;
}

/* -------------------------------------------------------------- reading */

static void feed(VfoLink *link, const guint8 *bytes, gsize length)
{
    while (length > 0 && link->owner && !link->failure && !link->finishing) {
        g_autoptr(json_object) message = NULL;
        g_autoptr(GError) error = NULL;
        VfoFrame frame = vfo_framing_next(link->framing, &bytes, &length, &message, &error);
        guint spares = vfo_stopwatch_spares();

        if (frame == VFO_FRAME_MESSAGE)
            link->handlers->message(link->owner, message);
        else if (frame != VFO_FRAME_MORE)
            link->handlers->garbage(link->owner, error, frame == VFO_FRAME_BOUND);
        if (frame != VFO_FRAME_MORE && spares == vfo_stopwatch_spares())
            vfo_stopwatch_press();
    }
}

static gboolean on_readable(GObject *stream, gpointer data)
{
    VfoLink *link = g_rc_box_acquire(data);
    gboolean goes_on;

    if (!link->failure) {
        g_autoptr(GError) error = NULL;
        gssize n = g_pollable_input_stream_read_nonblocking(G_POLLABLE_INPUT_STREAM(stream),
                                                            link->chunk, CHUNK, NULL, &error);

        if (n > 0)
            feed(link, link->chunk, (gsize)n);
        else if (n == 0)
            fail(link, g_error_new_literal(VFO_ERROR, VFO_ERROR_CLOSED,
                                           "the other end closed the connection"));
        else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
            fail(link, g_steal_pointer(&error));
    }
    if (link->owner && link->failure) {
        vfo_source_stop(&link->reader);
        link->handlers->lost(link->owner, link->failure);
    }
    goes_on = link->reader != NULL;
    link_unref(link);
    return goes_on;
}

/* One source for the whole of the connection, and no asynchronous operations: these cost several
 * times what the message itself does. */
VfoLink *vfo_link_new(GIOStream *stream, const VfoLinkHandlers *handlers, gpointer owner)
{
    VfoLink *link = g_rc_box_new0(VfoLink);

    link->stream = g_object_ref(stream);
    link->handlers = handlers;
    link->owner = owner;
    link->context = g_main_context_ref_thread_default();
    link->cancellable = g_cancellable_new();
    link->framing = vfo_framing_new();
    link->unsent = g_byte_array_new();
    link->reader = g_pollable_input_stream_create_source(
        G_POLLABLE_INPUT_STREAM(g_io_stream_get_input_stream(stream)), link->cancellable);
    g_source_set_callback(link->reader, G_SOURCE_FUNC(on_readable), link, NULL);
    g_source_attach(link->reader, link->context);
    return link;
}

void vfo_link_send(VfoLink *link, json_object *message)
{
    size_t length = 0;
    const char *text;

    if (link->failure || link->finishing)
        return;
    text = json_object_to_json_string_length(
        message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    if (!text)
        g_error("out of memory");
    if (link->unsent->len + (link->writing ? g_bytes_get_size(link->writing) : 0) + length + 2 >
        (gsize)VFO_QMP_MAX_UNSENT) {
        fail(link,
             g_error_new(VFO_ERROR, VFO_ERROR_PROTOCOL,
                         "the other end leaves more than %d bytes unread", VFO_QMP_MAX_UNSENT));
        return;
    }
    g_byte_array_append(link->unsent, (const guint8 *)text, (guint)length);
    g_byte_array_append(link->unsent, (const guint8 *)"\r\n", 2);
    if (!vfo_stopwatch_is_spare()) {
        link->presses = TRUE;
        vfo_stopwatch_press();
    }
    /* When the loop turns, so that messages made together are written together. */
    if (!link->writer)
        link->writer = vfo_timer_start(link->context, 0, on_turn, link);
}

static gboolean on_finish_timer(gpointer data)
{
    VfoLink *link = data;

    fail(link, g_error_new_literal(VFO_ERROR, VFO_ERROR_CLOSED, "the connection was closed here"));
    return G_SOURCE_REMOVE;
}

void vfo_link_finish(VfoLink *link)
{
    if (link->failure || link->finishing)
        return;
    link->finishing = TRUE;
    link->finish_timer = vfo_timer_start(link->context, FINISH_MS, on_finish_timer, link);
    if (!link->writer)
        shut_down(link, FALSE);
}

void vfo_link_close(VfoLink *link)
{
    g_autoptr(GError) error = NULL;

    if (!link)
        return;
    link->owner = NULL;
    if (link->writer)
        write_out(link);
    vfo_source_stop(&link->writer);
    vfo_source_stop(&link->reader);
    vfo_source_stop(&link->finish_timer);
    shut_down(link, TRUE);
    if (!g_io_stream_close(link->stream, NULL, &error))
        g_debug("close: %s", error->message); /* TLS could not say farewell */
    link_unref(link);
}
