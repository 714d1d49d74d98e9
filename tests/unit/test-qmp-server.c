/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include "wire.h"

typedef struct {
    VfoQmpServer *server;
    VfoQmpSession *session;
    Wire wire;
    GPtrArray *calls; /* of VfoQmpCall, of the command "later" */
    guint closed;
} Fixture;

static void handle_echo(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    vfo_qmp_call_return(call, json_object_get(arguments));
}

static void handle_nothing(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    vfo_qmp_call_return(call, NULL);
}

static void handle_later(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    g_ptr_array_add(((Fixture *)data)->calls, call);
}

static void handle_fail(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    gint64 code = 0;

    g_assert_true(vfo_json_int(arguments, "code", "fail", 0, 99, &code, NULL));
    vfo_qmp_call_fail(call, g_error_new_literal(VFO_ERROR, (gint)code, "it \xff failed"));
}

static void handle_drop(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    g_clear_object(&((Fixture *)data)->server);
    vfo_qmp_call_return(call, NULL);
}

static const VfoQmpCommand commands[] = {
    {"echo", FALSE, handle_echo}, {"change", TRUE, handle_nothing}, {"later", FALSE, handle_later},
    {"fail", FALSE, handle_fail}, {"drop", FALSE, handle_drop},     {NULL, FALSE, NULL},
};

static void on_session_closed(VfoQmpServer *server, VfoQmpSession *session, Fixture *f)
{
    g_assert_true(session == f->session);
    g_assert_cmpstr(vfo_qmp_session_name(session), ==, "uid 0");
    f->closed++;
}

static void setup(Fixture *f, gconstpointer read_only)
{
    g_autoptr(GIOStream) stream = wire_open(&f->wire);

    f->calls = g_ptr_array_new();
    f->server = vfo_qmp_server_new("vfailover 0.1.0", commands, f);
    g_signal_connect(f->server, "session-closed", G_CALLBACK(on_session_closed), f);
    f->session = vfo_qmp_server_add(f->server, stream, "uid 0", read_only == NULL);
    g_assert_nonnull(f->session);
}

static void negotiate(Fixture *f, gconstpointer read_only)
{
    setup(f, read_only);
    wire_expect(&f->wire, "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\":0},"
                          "\"package\":\"vfailover 0.1.0\"},\"capabilities\":[]}}");
    wire_send(&f->wire, "{\"execute\":\"qmp_capabilities\"}\n");
    wire_expect(&f->wire, "{\"return\":{}}");
}

static void teardown(Fixture *f, gconstpointer data)
{
    g_clear_object(&f->server);
    wire_settle();
    wire_close(&f->wire);
    g_ptr_array_unref(f->calls);
}

#define NOT_FOUND "{\"class\":\"CommandNotFound\",\"desc\":"
#define GENERIC   "{\"class\":\"GenericError\",\"desc\":"

static void test_negotiation(Fixture *f, gconstpointer data)
{
    g_free(wire_line(&f->wire));
    vfo_qmp_server_emit(f->server, "EARLY", NULL);
    vfo_qmp_session_emit(f->session, "EARLY", NULL);
    wire_send(&f->wire, "{\"execute\":\"echo\"}\n");
    wire_expect(&f->wire, "{\"error\":" NOT_FOUND
                          "\"Expecting capabilities negotiation with 'qmp_capabilities'\"}}");
    wire_send(&f->wire,
              "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}\n");
    wire_expect(&f->wire, "{\"error\":" GENERIC
                          "\"qmp_capabilities: 'enable' has more than the 0 elements allowed; no "
                          "capability is offered\"}}");
    wire_send(
        &f->wire,
        "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]},\"id\":{\"a\":[1]}}\n");
    wire_expect(&f->wire, "{\"return\":{},\"id\":{\"a\":[1]}}");
    wire_send(&f->wire, "{\"execute\":\"qmp_capabilities\"}\n");
    wire_expect(&f->wire, "{\"error\":" NOT_FOUND "\"Capabilities negotiation is already complete, "
                          "command ignored\"}}");
}

static void test_commands(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *ask, *answer;
    } cases[] = {
        {"{\"execute\":\"echo\",\"arguments\":{\"a\":\"/\xc3\xa9\"},\"id\":\"x\"}",
         "{\"return\":{\"a\":\"/\xc3\xa9\"},\"id\":\"x\"}"},
        {"{\"execute\":\"echo\",\"id\":null}", "{\"return\":{},\"id\":null}"},
        {"{\"execute\":\"echo\",\"id\":1.5}", "{\"return\":{},\"id\":1.5}"},
        {"{\r\n \"execute\":\r\n\"change\",\r\n \"id\": 18446744073709551615\r\n}",
         "{\"return\":{},\"id\":18446744073709551615}"},
        {"{\"execute\":\"nix\",\"id\":3}",
         "{\"error\":" NOT_FOUND "\"The command nix has not been found\"},\"id\":3}"},
        {"{\"execute\":7,\"id\":3}", "{\"error\":" GENERIC "\"QMP input: 'execute' must be of type "
                                     "string, not int\",\"data\":{\"code\":\"x\"}},\"id\":3}"},
        {"{\"id\":3}",
         "{\"error\":" GENERIC "\"QMP input: 'execute' is missing\",\"data\":{}},\"id\":3}"},
        {"{\"execute\":\"echo\",\"argument\":{}}",
         "{\"error\":" GENERIC "\"QMP input: 'argument' is unexpected\"}}"},
        {"{\"execute\":\"echo\",\"arguments\":[]}",
         "{\"error\":" GENERIC "\"QMP input: 'arguments' must be of type object, not array\"}}"},
        {"{\"exec-oob\":\"echo\",\"id\":4}",
         "{\"error\":" GENERIC
         "\"Out-of-band execution is not enabled: send 'execute'\"},\"id\":4}"},
        {"{\"execute\":\"query-commands\"}",
         "{\"return\":[{\"name\":\"qmp_capabilities\"},{\"name\":\"query-commands\"},"
         "{\"name\":\"echo\"},{\"name\":\"change\"},{\"name\":\"later\"},{\"name\":\"fail\"},"
         "{\"name\":\"drop\"}]}"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(json_object) expected = json_tokener_parse(cases[i].answer);
        g_autoptr(json_object) answer = NULL;
        json_object *failure = NULL;

        wire_send(&f->wire, cases[i].ask); /* without a line end */
        answer = wire_message(&f->wire);
        if (json_object_object_get_ex(answer, "error", &failure))
            json_object_object_del(failure, "data");
        if (json_object_object_get_ex(expected, "error", &failure))
            json_object_object_del(failure, "data");
        g_assert_cmpstr(json_object_to_json_string(answer), ==,
                        json_object_to_json_string(expected));
    }
}

static void test_garbage(Fixture *f, gconstpointer data)
{
    static const char *const cases[] = {
        "garbage\n",
        "[1]\n",
        "'\n",
        "{\"execute\" \"echo\"}\n",
        "{\"execute\": \"\xff",
        "{\"execute\": \"echo\",}\n",
        "{'execute': 'echo'}\n",
        "{\"execute\": NaN}\n",
        "{\"execute\": \"e\xf5\x80\x80\x80\"}\n",
        "{\"execute\": \"e\ncho\"}\n",
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(json_object) answer = NULL;
        const char *class_name = NULL;
        json_object *failure = NULL;

        wire_send(&f->wire, cases[i]);
        answer = wire_message(&f->wire);
        g_assert_true(vfo_json_object(answer, "error", "answer", &failure, NULL));
        g_assert_true(vfo_json_string(failure, "class", "error", &class_name, NULL));
        g_assert_cmpstr(class_name, ==, "GenericError");
        if (strstr(cases[i], "e\ncho"))
            g_free(wire_line(&f->wire)); /* the second half is garbage of its own */
        wire_send(&f->wire, "{\"execute\":\"echo\",\"id\":1}\n");
        wire_expect(&f->wire, "{\"return\":{},\"id\":1}");
    }
    wire_send(&f->wire, "\xff\r\n \xff{\"execute\":\"echo\",\"id\":2}");
    wire_expect(&f->wire, "{\"return\":{},\"id\":2}");
}

static void test_late(Fixture *f, gconstpointer data)
{
    VfoQmpCall *a, *b, *c;

    wire_send(&f->wire, "{\"execute\":\"later\",\"id\":1}{\"execute\":\"later\",\"id\":2}"
                        "{\"execute\":\"later\",\"id\":3}{\"execute\":\"echo\",\"id\":4}");
    wire_expect(&f->wire, "{\"return\":{},\"id\":4}");
    g_assert_cmpuint(f->calls->len, ==, 3);
    a = f->calls->pdata[0];
    b = f->calls->pdata[1];
    c = f->calls->pdata[2];
    g_assert_true(vfo_qmp_call_session(a) == f->session);
    vfo_qmp_call_return(b, json_object_new_int(5));
    wire_expect(&f->wire, "{\"return\":5,\"id\":2}");
    wire_close(&f->wire);
    WAIT_FOR(f->closed == 1);
    g_assert_null(vfo_qmp_call_session(a));
    vfo_qmp_call_return(a, json_object_new_int(5));
    vfo_qmp_call_fail(c, g_error_new_literal(VFO_ERROR, VFO_ERROR_FAILED, "late"));
}

static void test_after_server(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"execute\":\"later\",\"id\":1}");
    WAIT_FOR(f->calls->len == 1);
    g_clear_object(&f->server);
    g_assert_null(vfo_qmp_call_session(f->calls->pdata[0]));
    vfo_qmp_call_return(f->calls->pdata[0], NULL);
    WAIT_FOR(wire_at_end(&f->wire));
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_drop(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"execute\":\"drop\"}{\"execute\":\"echo\"}");
    WAIT_FOR(f->server == NULL && wire_at_end(&f->wire));
}

static void test_in_flight(Fixture *f, gconstpointer data)
{
    g_autofree char *answer = NULL;

    for (guint i = 0; i < VFO_QMP_MAX_IN_FLIGHT + 2; i++)
        wire_send(&f->wire, "{\"execute\":\"later\"}\n");
    answer = wire_line(&f->wire);
    g_assert_nonnull(strstr(answer, "256 commands wait"));
    g_assert_nonnull(strstr(answer, "\"code\":\"protocol\""));
    g_assert_null(wire_line(&f->wire));
    g_assert_cmpuint(f->calls->len, ==, VFO_QMP_MAX_IN_FLIGHT);
    wire_close(&f->wire);
    WAIT_FOR(f->closed == 1);
    for (guint i = 0; i < f->calls->len; i++)
        vfo_qmp_call_return(f->calls->pdata[i], NULL);
}

static void test_read_only(Fixture *f, gconstpointer data)
{
    g_autofree char *answer = NULL;

    wire_send(&f->wire, "{\"execute\":\"change\",\"id\":1}{\"execute\":\"echo\",\"id\":2}");
    answer = wire_line(&f->wire);
    g_assert_nonnull(strstr(answer, "GenericError"));
    g_assert_nonnull(strstr(answer, "\"data\":{\"code\":\"denied\"}"));
    g_assert_nonnull(strstr(answer, "uid 0"));
    wire_expect(&f->wire, "{\"return\":{},\"id\":2}");
}

static void assert_refused_and_closed(Fixture *f, const char *part)
{
    g_autofree char *answer = wire_line(&f->wire);

    g_assert_nonnull(answer);
    g_assert_nonnull(strstr(answer, part));
    g_assert_null(wire_line(&f->wire));
    wire_close(&f->wire);
    WAIT_FOR(f->closed == 1);
}

static void test_too_long(Fixture *f, gconstpointer data)
{
    g_autofree char *text = g_strnfill(VFO_QMP_MAX_LINE * 2, data ? 'x' : ' ');

    if (!data)
        text[0] = '{';
    wire_send(&f->wire, text);
    wire_send(&f->wire, "}\n{\"execute\":\"echo\"}\n");
    if (data)
        g_free(wire_line(&f->wire)); /* garbage, when it began */
    assert_refused_and_closed(f, "longer");
}

static void test_too_deep(Fixture *f, gconstpointer data)
{
    wire_send(&f->wire, "{\"execute\":\"echo\",\"arguments\":{\"x\":");
    for (guint i = 0; i < VFO_QMP_MAX_DEPTH; i++)
        wire_send(&f->wire, "[");
    assert_refused_and_closed(f, "deeper");
}

static void test_slow_reader(Fixture *f, gconstpointer data)
{
    g_autofree char *text = g_strnfill(100000, 'x');

    for (guint i = 0; i < 100 && f->closed == 0; i++) {
        json_object *object = json_object_new_object();

        json_object_object_add(object, "x", json_object_new_string(text));
        vfo_qmp_server_emit(f->server, "BIG", object);
        g_main_context_iteration(NULL, FALSE);
    }
    WAIT_FOR(f->closed == 1);
}

static void test_big_answer(Fixture *f, gconstpointer data)
{
    g_autofree char *text = g_strnfill(3000000, 'x');
    g_autofree char *line = NULL;
    json_object *object = json_object_new_object();

    json_object_object_add(object, "x", json_object_new_string(text));
    vfo_qmp_server_emit(f->server, "BIG", object);
    line = wire_line(&f->wire);
    g_assert_nonnull(line);
    g_assert_cmpuint(strlen(line), >, 3000000);
    g_assert_cmpuint(f->closed, ==, 0);
}

static void test_close(Fixture *f, gconstpointer data)
{
    vfo_qmp_session_emit(f->session, "BYE", NULL);
    vfo_qmp_session_close(f->session);
    {
        g_autoptr(json_object) bye = wire_message(&f->wire);
        const char *name = NULL;

        g_assert_true(vfo_json_string(bye, "event", "event", &name, NULL));
        g_assert_cmpstr(name, ==, "BYE");
    }
    g_assert_null(wire_line(&f->wire));
    g_assert_cmpuint(f->closed, ==, 0);
    /* The far end keeps it open: 2 s are enough. */
    WAIT_FOR(f->closed == 1);
}

static void test_sessions(void)
{
    g_autoptr(VfoQmpServer) server = vfo_qmp_server_new("x", commands, NULL);
    Wire wires[65];

    for (guint i = 0; i < 65; i++) {
        g_autoptr(GIOStream) stream = wire_open(&wires[i]);

        g_assert_true((vfo_qmp_server_add(server, stream, "s", FALSE) != NULL) == (i < 64));
    }
    WAIT_FOR(wire_at_end(&wires[64]));
    for (guint i = 0; i < 65; i++)
        wire_close(&wires[i]);
    wire_settle();
    {
        Wire wire;
        g_autoptr(GIOStream) stream = wire_open(&wire);

        g_assert_nonnull(vfo_qmp_server_add(server, stream, "s", FALSE));
        g_free(wire_line(&wire));
        wire_close(&wire);
    }
    wire_settle();
}

/* ------------------------------------------------------- our client, our server */

typedef struct {
    gboolean done;
    json_object *value;
    GError *error;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Answer *answer = data;

    answer->value = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &answer->error);
    answer->done = TRUE;
}

static void count(guint *n)
{
    (*n)++;
}

static void test_pair(void)
{
    Fixture f = {0};
    Wire wire;
    g_autoptr(GIOStream) ours = wire_open(&wire);
    g_autoptr(GSocket) socket = g_socket_new_from_fd(dup(wire.fd), NULL);
    g_autoptr(GIOStream) theirs =
        G_IO_STREAM(g_socket_connection_factory_create_connection(socket));
    g_autoptr(VfoQmpServer) server = vfo_qmp_server_new("vfailover 0.1.0", commands, &f);
    g_autoptr(VfoQmpClient) client = NULL;
    guint ready = 0;
    guint events = 0;

    wire_close(&wire);
    vfo_qmp_server_add(server, theirs, "uid 0", TRUE);
    client = vfo_qmp_client_new_stream("vfailoverd", ours);
    g_signal_connect_swapped(client, "ready", G_CALLBACK(count), &ready);
    g_signal_connect_swapped(client, "event", G_CALLBACK(count), &events);
    WAIT_FOR(ready == 1);
    for (gint code = VFO_ERROR_FAILED; code <= VFO_ERROR_QMP_KVM_MISSING_CAP; code++) {
        Answer answer = {0};
        json_object *arguments = json_object_new_object();

        json_object_object_add(arguments, "code", json_object_new_int(code));
        vfo_qmp_client_execute_async(client, "fail", arguments, 1000, NULL, on_answer, &answer);
        WAIT_FOR(answer.done);
        g_assert_error(answer.error, VFO_ERROR, code);
        g_assert_nonnull(strstr(answer.error->message, "vfailoverd: fail: it "));
        g_clear_error(&answer.error);
    }
    vfo_qmp_server_emit(server, "HELLO", NULL);
    WAIT_FOR(events == 1);
    g_clear_object(&client);
    wire_settle();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        gconstpointer data;
        void (*setup)(Fixture *f, gconstpointer data);
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/qmp-server/negotiation", NULL, setup, test_negotiation},
        {"/qmp-server/commands", NULL, negotiate, test_commands},
        {"/qmp-server/garbage", NULL, negotiate, test_garbage},
        {"/qmp-server/late", NULL, negotiate, test_late},
        {"/qmp-server/after-server", NULL, negotiate, test_after_server},
        {"/qmp-server/drop", NULL, negotiate, test_drop},
        {"/qmp-server/in-flight", NULL, negotiate, test_in_flight},
        {"/qmp-server/read-only", "ro", negotiate, test_read_only},
        {"/qmp-server/too-long", NULL, negotiate, test_too_long},
        {"/qmp-server/too-long-garbage", "garbage", negotiate, test_too_long},
        {"/qmp-server/too-deep", NULL, negotiate, test_too_deep},
        {"/qmp-server/slow-reader", NULL, negotiate, test_slow_reader},
        {"/qmp-server/big-answer", NULL, negotiate, test_big_answer},
        {"/qmp-server/close", NULL, negotiate, test_close},
    };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, tests[i].data, tests[i].setup, tests[i].test, teardown);
    g_test_add_func("/qmp-server/sessions", test_sessions);
    g_test_add_func("/qmp-server/pair", test_pair);
    return g_test_run();
}
