/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A QEMU as a test scripts it: a QMP monitor on a Unix socket, in the test's
 * own main loop. Each command is answered by lines such as
 *
 *   return {"status": "running"}
 *   error DeviceNotFound Device 'x' not found
 *   event STOP {}
 *   close
 *
 * in their order. A command without a script is unknown to this QEMU.
 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <json-c/json.h>

typedef struct {
    char *path;
    GSocketService *service;
    GSocketConnection *connection;
    GDataInputStream *in;
    json_object *id;     /* of the last command */
    GHashTable *scripts; /* "qom-get /machine type" -> the lines above */
    GPtrArray *commands; /* every command received: "device_del {...}" */
} FakeQemu;

static inline gboolean fake_timed_out(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/* Runs the main loop until @condition; it must come true within ten seconds. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        gboolean late_ = FALSE;                                                                    \
        guint timer_ = g_timeout_add_seconds(10, fake_timed_out, &late_);                          \
        while (!(condition) && !late_)                                                             \
            g_main_context_iteration(NULL, TRUE);                                                  \
        if (late_)                                                                                 \
            g_error("%s:%d: waited in vain for: %s", __FILE__, __LINE__, #condition);              \
        g_source_remove(timer_);                                                                   \
    } while (0)

/* Runs the main loop for @ms: for what must not happen. */
static inline void run_for(guint ms)
{
    gboolean over = FALSE;

    g_timeout_add(ms, fake_timed_out, &over);
    while (!over)
        g_main_context_iteration(NULL, TRUE);
}

static inline void fake_send(FakeQemu *fake, const char *line)
{
    g_autofree char *text = g_strconcat(line, "\r\n", NULL);

    g_assert_true(
        g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(fake->connection)),
                                  text, strlen(text), NULL, NULL, NULL));
}

static inline void fake_close(FakeQemu *fake)
{
    if (fake->connection)
        g_io_stream_close(G_IO_STREAM(fake->connection), NULL, NULL);
    g_clear_object(&fake->connection);
    g_clear_object(&fake->in);
}

static inline void fake_event(FakeQemu *fake, const char *name, const char *data)
{
    g_autofree char *line = g_strdup_printf(
        "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"%s\", \"data\": %s}",
        name, data);

    fake_send(fake, line);
}

static inline void fake_play(FakeQemu *fake, const char *script)
{
    g_auto(GStrv) lines = g_strsplit(script, "\n", -1);
    const char *id = json_object_to_json_string(fake->id);

    for (guint i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 3);
        g_autofree char *line = NULL;

        if (g_str_has_prefix(lines[i], "return ")) {
            line = g_strdup_printf("{\"return\": %s, \"id\": %s}", lines[i] + 7, id);
            fake_send(fake, line);
        } else if (g_str_has_prefix(lines[i], "error ")) {
            line = g_strdup_printf("{\"error\": {\"class\": \"%s\", \"desc\": \"%s\"}, \"id\": %s}",
                                   words[1], words[2], id);
            fake_send(fake, line);
        } else if (g_str_has_prefix(lines[i], "event ")) {
            fake_event(fake, words[1], words[2]);
        } else if (g_str_equal(lines[i], "close")) {
            fake_close(fake);
        } else {
            g_assert_cmpstr(lines[i], ==, "");
        }
    }
}

static inline void fake_answer(FakeQemu *fake, json_object *message)
{
    const char *command = json_object_get_string(json_object_object_get(message, "execute"));
    json_object *arguments = json_object_object_get(message, "arguments");
    const char *path = json_object_get_string(json_object_object_get(arguments, "path"));
    const char *property = json_object_get_string(json_object_object_get(arguments, "property"));
    g_autofree char *key = g_strdup_printf("%s%s%s%s%s", command, path ? " " : "", path ? path : "",
                                           property ? " " : "", property ? property : "");
    const char *script = g_hash_table_lookup(fake->scripts, key);

    json_object_put(fake->id);
    fake->id = json_object_get(json_object_object_get(message, "id"));
    g_ptr_array_add(fake->commands,
                    path ? g_strdup(key)
                         : g_strdup_printf("%s %s", command,
                                           arguments ? json_object_to_json_string_ext(
                                                           arguments, JSON_C_TO_STRING_PLAIN)
                                                     : "{}"));
    if (!script && g_str_equal(command, "qmp_capabilities"))
        script = "return {}";
    if (!script && property)
        script = "error GenericError Property not found";
    fake_play(fake, script ? script : "error CommandNotFound The command has not been found");
}

static inline void fake_on_line(GObject *source, GAsyncResult *result, gpointer data)
{
    FakeQemu *fake = data;
    g_autofree char *line =
        g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(source), result, NULL, NULL);
    json_object *message;

    if (!line || G_DATA_INPUT_STREAM(source) != fake->in)
        return;
    message = json_tokener_parse(line);
    g_assert_nonnull(message);
    fake_answer(fake, message);
    json_object_put(message);
    if (fake->in)
        g_data_input_stream_read_line_async(fake->in, 0, NULL, fake_on_line, fake);
}

static inline gboolean fake_on_client(GSocketService *service, GSocketConnection *connection,
                                      GObject *object, gpointer data)
{
    FakeQemu *fake = data;

    fake_close(fake);
    fake->connection = g_object_ref(connection);
    fake->in = g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(fake->connection)));
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(fake->in), FALSE);
    g_data_input_stream_set_newline_type(fake->in, G_DATA_STREAM_NEWLINE_TYPE_LF);
    fake_send(fake,
              "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 10},"
              " \"package\": \"fake\"}, \"capabilities\": [\"oob\"]}}");
    g_data_input_stream_read_line_async(fake->in, 0, NULL, fake_on_line, fake);
    return TRUE;
}

/* What this QEMU does when it gets the command @key from here on. */
static inline void fake_script(FakeQemu *fake, const char *key, const char *script)
{
    g_hash_table_replace(fake->scripts, g_strdup(key), g_strdup(script));
}

/* How often a command that begins with @prefix has come. */
static inline guint fake_count(const FakeQemu *fake, const char *prefix)
{
    guint n = 0;

    for (guint i = 0; i < fake->commands->len; i++)
        n += g_str_has_prefix(g_ptr_array_index(fake->commands, i), prefix);
    return n;
}

static inline FakeQemu *fake_new(const char *path)
{
    FakeQemu *fake = g_new0(FakeQemu, 1);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GError) error = NULL;

    fake->path = g_strdup(path);
    fake->scripts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    fake->commands = g_ptr_array_new_with_free_func(g_free);
    fake->service = g_socket_service_new();
    g_signal_connect(fake->service, "incoming", G_CALLBACK(fake_on_client), fake);
    g_socket_listener_add_address(G_SOCKET_LISTENER(fake->service), address, G_SOCKET_TYPE_STREAM,
                                  G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, &error);
    g_assert_no_error(error);
    return fake;
}

/* QEMU exits: the connection and the socket file go. */
static inline void fake_free(FakeQemu *fake)
{
    g_socket_service_stop(fake->service);
    g_socket_listener_close(G_SOCKET_LISTENER(fake->service));
    g_signal_handlers_disconnect_by_data(fake->service, fake);
    g_clear_object(&fake->service);
    g_unlink(fake->path);
    fake_close(fake);
    run_for(5); /* the read under way ends */
    json_object_put(fake->id);
    g_hash_table_unref(fake->scripts);
    g_ptr_array_unref(fake->commands);
    g_free(fake->path);
    g_free(fake);
}
