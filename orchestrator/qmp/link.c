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
    GCancellable *cancellable;
    VfoFraming *framing;
    GByteArray *unsent; /* not yet given to the stream */
    GBytes *writing;    /* given to it */
    gboolean reading;
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

    vfo_source_stop(&link->finish_timer);
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

/* GIO refuses to close a stream while an operation is under way; they have all been cancelled. */
static void close_when_quiet(VfoLink *link)
{
    g_autoptr(GError) error = NULL;

    if (link->owner || link->reading || link->writing || g_io_stream_is_closed(link->stream))
        return;
    shut_down(link, TRUE);
    if (!g_io_stream_close(link->stream, NULL, &error))
        g_debug("close: %s", error->message); /* TLS could not say farewell */
}

/* The read under way, which is always there, reports it. */
static void fail(VfoLink *link, GError *error)
{
    if (link->failure) {
        g_error_free(error);
        return;
    }
    link->failure = error;
    g_cancellable_cancel(link->cancellable);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer data);

static void start_write(VfoLink *link)
{
    gconstpointer bytes;
    gsize length;

    link->writing = g_byte_array_free_to_bytes(link->unsent);
    link->unsent = g_byte_array_new();
    bytes = g_bytes_get_data(link->writing, &length);
    g_output_stream_write_all_async(g_io_stream_get_output_stream(link->stream), bytes, length,
                                    G_PRIORITY_DEFAULT, link->cancellable, on_written,
                                    g_rc_box_acquire(link));
}

static void on_written(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoLink *link = data;
    g_autoptr(GError) error = NULL;
    gboolean written =
        g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, &error);

    g_clear_pointer(&link->writing, g_bytes_unref);
    if (link->owner && !link->failure) {
        if (!written)
            fail(link, g_steal_pointer(&error));
        else if (link->unsent->len > 0)
            start_write(link);
        else if (link->finishing)
            shut_down(link, FALSE);
    }
    close_when_quiet(link);
    link_unref(link);
}

static void feed(VfoLink *link, const guint8 *bytes, gsize length)
{
    while (length > 0 && link->owner && !link->failure && !link->finishing) {
        g_autoptr(json_object) message = NULL;
        g_autoptr(GError) error = NULL;
        VfoFrame frame = vfo_framing_next(link->framing, &bytes, &length, &message, &error);

        if (frame == VFO_FRAME_MESSAGE)
            link->handlers->message(link->owner, message);
        else if (frame != VFO_FRAME_MORE)
            link->handlers->garbage(link->owner, error, frame == VFO_FRAME_BOUND);
    }
}

static void on_read(GObject *source, GAsyncResult *result, gpointer data);

static void start_read(VfoLink *link)
{
    link->reading = TRUE;
    g_input_stream_read_async(g_io_stream_get_input_stream(link->stream), link->chunk, CHUNK,
                              G_PRIORITY_DEFAULT, link->cancellable, on_read,
                              g_rc_box_acquire(link));
}

static void on_read(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoLink *link = data;
    g_autoptr(GError) error = NULL;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(source), result, &error);

    link->reading = FALSE;
    if (n > 0)
        feed(link, link->chunk, (gsize)n);
    else if (link->owner)
        fail(link, error ? g_steal_pointer(&error)
                         : g_error_new_literal(VFO_ERROR, VFO_ERROR_CLOSED,
                                               "the other end closed the connection"));
    if (link->owner && !link->failure)
        start_read(link);
    else if (link->owner)
        link->handlers->lost(link->owner, link->failure);
    close_when_quiet(link);
    link_unref(link);
}

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
    start_read(link);
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
    if (!link->writing)
        start_write(link);
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
    if (!link->writing)
        shut_down(link, FALSE);
}

void vfo_link_close(VfoLink *link)
{
    if (!link)
        return;
    link->owner = NULL;
    vfo_source_stop(&link->finish_timer);
    g_cancellable_cancel(link->cancellable);
    close_when_quiet(link);
    link_unref(link);
}
