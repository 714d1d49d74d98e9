/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include "wire.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>

#define GREETING                                                                                   \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, "             \
    "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"

typedef struct {
    Wire wire;
    VfoQmpClient *client;
    guint ready, closed;
    GError *error; /* of the last "closed" */
    GString *events;
    gint64 timestamp;
} Fixture;

static void on_ready(VfoQmpClient *client, Fixture *f)
{
    f->ready++;
}

static void on_event(VfoQmpClient *client, const char *name, json_object *data, gint64 timestamp,
                     Fixture *f)
{
    g_string_append_printf(f->events, "%s%s;", name,
                           data ? json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN)
                                : "");
    f->timestamp = timestamp;
}

static void on_closed(VfoQmpClient *client, const GError *error, Fixture *f)
{
    f->closed++;
    g_clear_error(&f->error);
    f->error = g_error_copy(error);
}

static void listen_to(Fixture *f)
{
    f->events = g_string_new(NULL);
    g_signal_connect(f->client, "ready", G_CALLBACK(on_ready), f);
    g_signal_connect(f->client, "event", G_CALLBACK(on_event), f);
    g_signal_connect(f->client, "closed", G_CALLBACK(on_closed), f);
}

static void open_client(Fixture *f, gconstpointer data)
{
    g_autoptr(GIOStream) stream = wire_open(&f->wire);

    f->client = vfo_qmp_client_new_stream("VM web1", stream);
    listen_to(f);
}

static void negotiate(Fixture *f, gconstpointer data)
{
    open_client(f, data);
    wire_send(&f->wire, GREETING);
    wire_expect(&f->wire, "{\"execute\":\"qmp_capabilities\",\"id\":0}");
    wire_send(&f->wire, "{\"return\": {}, \"id\": 0}\r\n");
    WAIT_FOR(f->ready == 1);
}

static void teardown(Fixture *f, gconstpointer data)
{
    g_clear_object(&f->client);
    wire_settle();
    wire_close(&f->wire);
    if (f->events)
        g_string_free(f->events, TRUE);
    g_clear_error(&f->error);
}

/* ----------------------------------------------------------- an answer awaited */

typedef struct {
    gboolean done;
    json_object *value;
    GError *error;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Answer *answer = data;

    g_assert_false(answer->done);
    answer->done = TRUE;
    answer->value = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &answer->error);
    g_assert_true((answer->value == NULL) == (answer->error != NULL));
}

static void answer_clear(Answer *answer)
{
    json_object_put(answer->value);
    g_clear_error(&answer->error);
    *answer = (Answer){0};
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Answer, answer_clear)

static void assert_one_line(const GError *error, const char *part)
{
    g_assert_null(strchr(error->message, '\n'));
    g_assert_nonnull(strstr(error->message, "VM web1"));
    if (!strstr(error->message, part))
        g_error("'%s' is not in: %s", part, error->message);
}

/* ------------------------------------------------------------------ tests */

static void test_greeting(Fixture *f, gconstpointer data)
{
    json_object *version = NULL;

    g_assert_false(vfo_qmp_client_is_ready(f->client));
    g_assert_null(vfo_qmp_client_greeting(f->client));
    wire_send(&f->wire, GREETING);
    wire_expect(&f->wire, "{\"execute\":\"qmp_capabilities\",\"id\":0}");
    g_assert_false(vfo_qmp_client_is_ready(f->client));
    wire_send(&f->wire, "{\"return\": {}, \"id\": 0}\r\n");
    WAIT_FOR(f->ready == 1);
    g_assert_true(vfo_qmp_client_is_ready(f->client));
    g_assert_null(vfo_qmp_client_last_error(f->client));
    g_assert_true(
        json_object_object_get_ex(vfo_qmp_client_greeting(f->client), "version", &version));
    g_assert_cmpint(vfo_qmp_client_peer_pid(f->client), ==, getpid());
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_out_of_order(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0}, b = {0}, c = {0};
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "id", json_object_new_string("net/0"));
    vfo_qmp_client_execute_async(f->client, "device_del", arguments, 0, NULL, on_answer, &a);
    vfo_qmp_client_execute_async(f->client, "query-status", NULL, 0, NULL, on_answer, &b);
    vfo_qmp_client_execute_async(f->client, "query-null", NULL, 0, NULL, on_answer, &c);
    wire_expect(&f->wire, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"net/0\"},\"id\":1}");
    wire_expect(&f->wire, "{\"execute\":\"query-status\",\"id\":2}");
    wire_expect(&f->wire, "{\"execute\":\"query-null\",\"id\":3}");
    /* Three in one write. */
    wire_send(&f->wire, "{\"return\": null, \"id\": 3}\r\n{\"return\": [1], \"id\": 2}\r\n"
                        "{\"return\": {\"x\": 1}, \"id\": 1}\r\n");
    WAIT_FOR(a.done && b.done && c.done);
    g_assert_cmpstr(json_object_to_json_string(a.value), ==, "{ \"x\": 1 }");
    g_assert_cmpstr(json_object_to_json_string(b.value), ==, "[ 1 ]");
    g_assert_cmpstr(json_object_to_json_string(c.value), ==, "{ }");
}

static void test_partial(Fixture *f, gconstpointer data)
{
    static const char text[] = "{\"event\": \"STOP\", \"data\": {\"r\": \"\xc3\xa9}\\\"{\"},\r\n"
                               " \"timestamp\": {\"seconds\": 17, \"microseconds\": 5}}\r\n"
                               "\r\n{\"return\": \"\\ud83d\\ude00\", \"id\": 1}";
    g_auto(Answer) a = {0};

    vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, on_answer, &a);
    for (gsize i = 0; i < sizeof(text) - 1; i++)
        wire_send_bytes(&f->wire, &text[i], 1);
    WAIT_FOR(a.done);
    g_assert_cmpstr(json_object_get_string(a.value), ==, "\xf0\x9f\x98\x80");
    g_assert_cmpstr(f->events->str, ==, "STOP{\"r\":\"\xc3\xa9}\\\"{\"};");
    g_assert_cmpint(f->timestamp, ==, 17000005);
}

static void test_events(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"event\": \"A\"}\n{\"event\": \"B\", \"timestamp\": {\"seconds\": -1, "
                        "\"microseconds\": -1}, \"data\": {}}\n");
    WAIT_FOR(f->events->len >= 6);
    g_assert_cmpstr(f->events->str, ==, "A;B{};");
    g_assert_cmpint(f->timestamp, ==, 0);
    wire_send(&f->wire, "{\"event\": \"A\", \"data\": 3}\n");
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
}

static void test_error_classes(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *error;
        VfoError code;
    } cases[] = {
        {"{\"class\":\"GenericError\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_GENERIC},
        {"{\"class\":\"CommandNotFound\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_COMMAND_NOT_FOUND},
        {"{\"class\":\"DeviceNotActive\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_DEVICE_NOT_ACTIVE},
        {"{\"class\":\"DeviceNotFound\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_DEVICE_NOT_FOUND},
        {"{\"class\":\"KVMMissingCap\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_KVM_MISSING_CAP},
        {"{\"class\":\"NewOne\",\"desc\":\"no\\nway\"}", VFO_ERROR_QMP_GENERIC},
        {"{\"class\":\"GenericError\",\"desc\":\"no way\",\"data\":{\"code\":\"not-found\"}}",
         VFO_ERROR_NOT_FOUND},
        {"{\"class\":\"GenericError\",\"desc\":\"no way\",\"data\":{\"code\":\"not-supported\"}}",
         VFO_ERROR_NOT_SUPPORTED},
        {"{\"class\":\"GenericError\",\"desc\":\"no way\",\"data\":{\"code\":\"odd\"}}",
         VFO_ERROR_QMP_GENERIC},
        {"{\"class\":\"GenericError\",\"desc\":\"no way\",\"data\":7}", VFO_ERROR_QMP_GENERIC},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Answer) a = {0};
        g_autofree char *text =
            g_strdup_printf("{\"id\":%u,\"error\":%s}\r\n", i + 1, cases[i].error);

        vfo_qmp_client_execute_async(f->client, "device_add", NULL, 0, NULL, on_answer, &a);
        wire_send(&f->wire, text);
        WAIT_FOR(a.done);
        g_assert_error(a.error, VFO_ERROR, (gint)cases[i].code);
        assert_one_line(a.error, "device_add: no way");
    }
    {
        g_auto(Answer) a = {0};

        vfo_qmp_client_execute_async(f->client, "device_add", NULL, 0, NULL, on_answer, &a);
        wire_send(&f->wire, "{\"id\": 11, \"error\": {\"desc\": 5}}\n");
        WAIT_FOR(a.done);
        g_assert_error(a.error, VFO_ERROR, VFO_ERROR_PROTOCOL);
    }
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_timeout(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0}, b = {0};

    vfo_qmp_client_execute_async(f->client, "slow", NULL, 20, NULL, on_answer, &a);
    vfo_qmp_client_execute_async(f->client, "quick", NULL, 5000, NULL, on_answer, &b);
    WAIT_FOR(a.done);
    g_assert_error(a.error, VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_one_line(a.error, "slow within 20 ms");
    wire_send(&f->wire, "{\"return\": {}, \"id\": 1}{\"return\": {}, \"id\": 2}");
    WAIT_FOR(b.done);
    g_assert_no_error(b.error);
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) early = g_cancellable_new();
    g_autoptr(GCancellable) late = g_cancellable_new();
    g_auto(Answer) a = {0}, b = {0}, c = {0};

    g_cancellable_cancel(early);
    vfo_qmp_client_execute_async(f->client, "a", NULL, 0, early, on_answer, &a);
    vfo_qmp_client_execute_async(f->client, "b", NULL, 0, late, on_answer, &b);
    vfo_qmp_client_execute_async(f->client, "c", NULL, 0, NULL, on_answer, &c);
    wire_expect(&f->wire, "{\"execute\":\"b\",\"id\":1}");
    g_cancellable_cancel(late);
    WAIT_FOR(a.done && b.done);
    g_assert_error(a.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_error(b.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    wire_send(&f->wire, "{\"return\": {}, \"id\": 1}\n{\"return\": {}, \"id\": 2}\n");
    WAIT_FOR(c.done);
    g_assert_no_error(c.error);
}

static void test_not_ready(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    vfo_qmp_client_execute_async(f->client, "cont", json_object_new_object(), 0, NULL, on_answer,
                                 &a);
    WAIT_FOR(a.done);
    g_assert_error(a.error, VFO_ERROR, VFO_ERROR_CLOSED);
    assert_one_line(a.error, "cont");
}

static void test_in_flight(Fixture *f, gconstpointer data)
{
    g_autofree Answer *all = g_new0(Answer, VFO_QMP_MAX_IN_FLIGHT + 1);
    Answer *last = &all[VFO_QMP_MAX_IN_FLIGHT];

    for (guint i = 0; i <= VFO_QMP_MAX_IN_FLIGHT; i++)
        vfo_qmp_client_execute_async(f->client, "x", NULL, i % 2 ? 1 : 0, NULL, on_answer, &all[i]);
    WAIT_FOR(last->done);
    g_assert_error(last->error, VFO_ERROR, VFO_ERROR_BUSY);
    WAIT_FOR(all[255].done);
    g_assert_error(all[255].error, VFO_ERROR, VFO_ERROR_DEADLINE);
    g_assert_false(all[0].done);
    wire_close(&f->wire);
    WAIT_FOR(f->closed == 1);
    for (guint i = 0; i <= VFO_QMP_MAX_IN_FLIGHT; i++) {
        g_assert_true(all[i].done);
        answer_clear(&all[i]);
    }
}

static void test_lost(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, on_answer, &a);
    wire_close(&f->wire);
    WAIT_FOR(f->closed == 1);
    g_assert_true(a.done);
    g_assert_error(a.error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_CLOSED);
    assert_one_line(f->error, "lost");
    g_assert_error(vfo_qmp_client_last_error(f->client), VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_false(vfo_qmp_client_is_ready(f->client));
}

/* Each is sent to a ready client, which must close with VFO_ERROR_PROTOCOL. */
static const char *const nonsense[] = {
    "hello\n",
    "[]\n",
    "{\"event\": }\n",
    "{\"event\": \"\xc0\x80\"}\n",
    "{\"event\": \"\xed\xa0\x80\"}\n",
    "{\"event\": \"a\tb\"}\n",
    "{\"event\": 7}\n",
    "{}\n",
    "{\"return\": {}}\n",
    "{\"return\": {}, \"id\": \"1\"}\n",
    "{\"return\": {}, \"id\": 99}\n",
    "{\"return\": {}, \"error\": {}, \"id\": 1}\n",
    "{\"error\": 1, \"id\": 1}\n",
    "{\"return\": {}, \"id\": 0}\n",
};

static void test_nonsense(Fixture *f, gconstpointer data)
{
    for (guint i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_auto(Answer) a = {0};

        negotiate(f, NULL);
        vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, on_answer, &a);
        wire_send(&f->wire, nonsense[i]);
        WAIT_FOR(f->closed == 1);
        g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
        g_assert_true(a.done);
        g_assert_error(a.error, VFO_ERROR, VFO_ERROR_PROTOCOL);
        WAIT_FOR(wire_at_end(&f->wire));
        teardown(f, NULL);
        *f = (Fixture){.wire.fd = -1};
    }
}

static void test_unparsed(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse\"}}\n");
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_QMP_GENERIC);
    assert_one_line(f->error, "JSON parse");
}

static void send_filled(Fixture *f, gsize length)
{
    g_autofree char *text = g_malloc(length + 1);

    memset(text, 'x', length);
    memcpy(text, "{\"event\":\"A\",\"data\":{\"x\":\"", 26);
    memcpy(text + length - 4, "\"}}\n", 5);
    wire_send_bytes(&f->wire, text, length);
}

static void test_bounds(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) deep = g_string_new("{\"event\":\"D\",\"data\":{\"x\":");

    for (guint i = 0; i < VFO_QMP_MAX_DEPTH - 2; i++)
        g_string_append_c(deep, '[');
    for (guint i = 0; i < VFO_QMP_MAX_DEPTH - 2; i++)
        g_string_append_c(deep, ']');
    g_string_append(deep, "}}\n");
    wire_send(&f->wire, deep->str);
    WAIT_FOR(f->events->len > 0);
    g_assert_cmpint(f->events->str[0], ==, 'D');
    g_string_truncate(f->events, 0);
    send_filled(f, VFO_QMP_MAX_LINE);
    WAIT_FOR(f->events->len > VFO_QMP_MAX_LINE - 100);
    g_assert_cmpuint(f->closed, ==, 0);
    send_filled(f, VFO_QMP_MAX_LINE + 64);
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
    assert_one_line(f->error, "longer");
}

static void test_depth(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"event\":\"D\",\"data\":{\"x\":");
    for (guint i = 0; i < VFO_QMP_MAX_DEPTH - 1; i++)
        wire_send(&f->wire, "[");
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
    assert_one_line(f->error, "deeper");
}

static void test_unread(Fixture *f, gconstpointer data)
{
    g_autofree char *text = g_strnfill(128 * 1024, 'x');
    g_autofree Answer *all = g_new0(Answer, 64);

    for (guint i = 0; i < 64; i++) {
        json_object *arguments = json_object_new_object();

        json_object_object_add(arguments, "x", json_object_new_string(text));
        vfo_qmp_client_execute_async(f->client, "x", arguments, 0, NULL, on_answer, &all[i]);
    }
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
    assert_one_line(f->error, "unread");
    for (guint i = 0; i < 64; i++) {
        g_assert_error(all[i].error, VFO_ERROR, VFO_ERROR_PROTOCOL);
        answer_clear(&all[i]);
    }
}

static void test_no_greeting(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_set_greeting_timeout(f->client, 30);
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_one_line(f->error, "another client");
    WAIT_FOR(wire_at_end(&f->wire));
}

static void test_no_negotiation(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_set_greeting_timeout(f->client, 30);
    wire_send(&f->wire, GREETING);
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_one_line(f->error, "qmp_capabilities");
}

static void test_bad_greeting(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"return\": {}}\n");
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_PROTOCOL);
}

/* ------------------------------------------------------- closing anywhere */

static void test_close(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0}, b = {0};

    vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, on_answer, &a);
    vfo_qmp_client_close(f->client);
    vfo_qmp_client_close(f->client);
    vfo_qmp_client_execute_async(f->client, "y", NULL, 0, NULL, on_answer, &b);
    WAIT_FOR(a.done && b.done && wire_at_end(&f->wire));
    g_assert_error(a.error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_error(b.error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_close_early(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_close(f->client);
    wire_send(&f->wire, GREETING);
    WAIT_FOR(wire_at_end(&f->wire));
    g_assert_cmpuint(f->ready + f->closed, ==, 0);
}

static void drop_in_signal(VfoQmpClient *client, Fixture *f)
{
    g_clear_object(&f->client);
}

static void drop_in_event(VfoQmpClient *client, const char *name, json_object *data, gint64 time,
                          Fixture *f)
{
    g_clear_object(&f->client);
}

static void close_in_signal(VfoQmpClient *client, Fixture *f)
{
    vfo_qmp_client_close(client);
}

static void test_drop_in_event(Fixture *f, gconstpointer data)
{
    g_signal_connect(f->client, "event", G_CALLBACK(drop_in_event), f);
    wire_send(&f->wire, "{\"event\": \"A\"}{\"event\": \"B\"}{\"event\": \"C\"}");
    WAIT_FOR(f->client == NULL && wire_at_end(&f->wire));
    g_assert_cmpstr(f->events->str, ==, "A;");
}

static void test_drop_in_ready(Fixture *f, gconstpointer data)
{
    g_signal_connect(f->client, "ready", G_CALLBACK(drop_in_signal), f);
    wire_send(&f->wire, GREETING "{\"return\": {}, \"id\": 0}{\"event\": \"A\"}");
    WAIT_FOR(f->client == NULL && wire_at_end(&f->wire));
    g_assert_cmpstr(f->events->str, ==, "");
}

static void test_drop_in_closed(Fixture *f, gconstpointer data)
{
    g_signal_connect_swapped(f->client, "closed", G_CALLBACK(g_clear_object), &f->client);
    wire_send(&f->wire, "nonsense\nnonsense\n");
    WAIT_FOR(f->client == NULL && wire_at_end(&f->wire));
    g_assert_cmpuint(f->closed, ==, 1);
}

static void test_close_in_ready(Fixture *f, gconstpointer data)
{
    g_signal_connect(f->client, "ready", G_CALLBACK(close_in_signal), f);
    wire_send(&f->wire, GREETING "{\"return\": {}, \"id\": 0}{\"event\": \"A\"}");
    WAIT_FOR(f->ready == 1 && wire_at_end(&f->wire));
    g_assert_cmpstr(f->events->str, ==, "");
}

static void drop_in_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Fixture *f = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) value =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (f->client) {
        vfo_qmp_client_close(f->client);
        g_clear_object(&f->client);
    }
}

static void test_drop_in_answer(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, drop_in_answer, f);
    vfo_qmp_client_execute_async(f->client, "y", NULL, 0, NULL, drop_in_answer, f);
    wire_send(&f->wire, "{\"return\": {}, \"id\": 1}{\"return\": {}, \"id\": 2}{\"event\": \"A\"}");
    WAIT_FOR(f->client == NULL && wire_at_end(&f->wire));
    wire_settle();
    g_assert_cmpstr(f->events->str, ==, "");
}

static void test_drop_in_timeout(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_execute_async(f->client, "x", NULL, 5, NULL, drop_in_answer, f);
    vfo_qmp_client_execute_async(f->client, "y", NULL, 6, NULL, drop_in_answer, f);
    WAIT_FOR(f->client == NULL && wire_at_end(&f->wire));
}

static void test_drop_in_loss(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_execute_async(f->client, "x", NULL, 0, NULL, drop_in_answer, f);
    vfo_qmp_client_execute_async(f->client, "y", NULL, 0, NULL, drop_in_answer, f);
    wire_close(&f->wire);
    WAIT_FOR(f->client == NULL);
    wire_settle();
    g_assert_cmpuint(f->closed, ==, 0); /* it was closed before it could be told */
}

/* -------------------------------------------------------- by the socket's path */

typedef struct {
    GSocketService *service;
    GPtrArray *accepted;
} Monitor;

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    static const char text[] = GREETING "{\"return\": {}, \"id\": 0}\n";

    g_ptr_array_add(((Monitor *)data)->accepted, g_object_ref(connection));
    g_assert_true(g_output_stream_write_all(out, text, strlen(text), NULL, NULL, NULL));
    return TRUE;
}

static void monitor_start(Monitor *monitor, const char *path)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);

    monitor->service = g_socket_service_new();
    monitor->accepted = g_ptr_array_new_with_free_func(g_object_unref);
    g_assert_true(g_socket_listener_add_address(G_SOCKET_LISTENER(monitor->service), address,
                                                G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                NULL, NULL, NULL));
    g_signal_connect(monitor->service, "incoming", G_CALLBACK(on_incoming), monitor);
}

static void monitor_stop(Monitor *monitor, const char *path)
{
    g_socket_service_stop(monitor->service);
    g_socket_listener_close(G_SOCKET_LISTENER(monitor->service));
    g_clear_object(&monitor->service);
    for (guint i = 0; i < monitor->accepted->len; i++)
        g_io_stream_close(monitor->accepted->pdata[i], NULL, NULL);
    g_ptr_array_unref(monitor->accepted);
    g_unlink(path);
}

static void test_reconnect(Fixture *f, gconstpointer data)
{
    g_autofree char *folder = g_dir_make_tmp("vfo-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "qmp", NULL);
    Monitor monitor;

    f->client = vfo_qmp_client_new_unix("VM web1", path, TRUE);
    listen_to(f);
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    assert_one_line(f->error, path);
    monitor_start(&monitor, path);
    WAIT_FOR(f->ready == 1);
    g_assert_cmpuint(f->closed, ==, 1); /* not once for each try */
    g_assert_cmpint(vfo_qmp_client_peer_pid(f->client), ==, getpid());
    monitor_stop(&monitor, path);
    WAIT_FOR(f->closed == 2);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_cmpint(vfo_qmp_client_peer_pid(f->client), ==, -1);
    monitor_start(&monitor, path);
    WAIT_FOR(f->ready == 2);
    g_assert_null(vfo_qmp_client_last_error(f->client));
    monitor_stop(&monitor, path);
    WAIT_FOR(f->closed == 3);
    vfo_qmp_client_close(f->client);
    g_rmdir(folder);
}

static void test_no_socket(Fixture *f, gconstpointer data)
{
    f->client = vfo_qmp_client_new_unix("VM web1", "/nonexistent/qmp", FALSE);
    listen_to(f);
    WAIT_FOR(f->closed == 1);
    g_assert_error(f->error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_clear_object(&f->client);
    g_string_free(f->events, TRUE);

    {
        g_autofree char *path = g_strnfill(200, 'x');

        f->client = vfo_qmp_client_new_unix("VM web1", path, FALSE);
        listen_to(f);
        WAIT_FOR(f->closed == 2);
        g_assert_error(f->error, VFO_ERROR, VFO_ERROR_INVALID);
    }
}

static void test_drop_unconnected(Fixture *f, gconstpointer data)
{
    f->client = vfo_qmp_client_new_unix("VM web1", "/nonexistent/qmp", TRUE);
    listen_to(f);
    g_clear_object(&f->client);
    f->client = vfo_qmp_client_new_unix("VM web1", "/nonexistent/qmp", TRUE);
    g_main_context_iteration(NULL, TRUE); /* the try has begun */
    vfo_qmp_client_close(f->client);
    wire_settle();
}

static void nothing(Fixture *f, gconstpointer data)
{
    f->wire.fd = -1;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*setup)(Fixture *f, gconstpointer data);
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/qmp-client/greeting", open_client, test_greeting},
        {"/qmp-client/no-greeting", open_client, test_no_greeting},
        {"/qmp-client/no-negotiation", open_client, test_no_negotiation},
        {"/qmp-client/bad-greeting", open_client, test_bad_greeting},
        {"/qmp-client/out-of-order", negotiate, test_out_of_order},
        {"/qmp-client/partial", negotiate, test_partial},
        {"/qmp-client/events", negotiate, test_events},
        {"/qmp-client/error-classes", negotiate, test_error_classes},
        {"/qmp-client/timeout", negotiate, test_timeout},
        {"/qmp-client/cancel", negotiate, test_cancel},
        {"/qmp-client/not-ready", open_client, test_not_ready},
        {"/qmp-client/in-flight", negotiate, test_in_flight},
        {"/qmp-client/lost", negotiate, test_lost},
        {"/qmp-client/nonsense", nothing, test_nonsense},
        {"/qmp-client/unparsed", negotiate, test_unparsed},
        {"/qmp-client/bounds", negotiate, test_bounds},
        {"/qmp-client/depth", negotiate, test_depth},
        {"/qmp-client/unread", negotiate, test_unread},
        {"/qmp-client/close", negotiate, test_close},
        {"/qmp-client/close-early", open_client, test_close_early},
        {"/qmp-client/close-in-ready", open_client, test_close_in_ready},
        {"/qmp-client/drop-in-ready", open_client, test_drop_in_ready},
        {"/qmp-client/drop-in-event", negotiate, test_drop_in_event},
        {"/qmp-client/drop-in-closed", negotiate, test_drop_in_closed},
        {"/qmp-client/drop-in-answer", negotiate, test_drop_in_answer},
        {"/qmp-client/drop-in-timeout", negotiate, test_drop_in_timeout},
        {"/qmp-client/drop-in-loss", negotiate, test_drop_in_loss},
        {"/qmp-client/reconnect", nothing, test_reconnect},
        {"/qmp-client/no-socket", nothing, test_no_socket},
        {"/qmp-client/drop-unconnected", nothing, test_drop_unconnected},
    };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, tests[i].setup, tests[i].test, teardown);
    return g_test_run();
}
