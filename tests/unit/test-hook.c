/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program that libvirt runs, against a daemon of the test's own. */
#include "domain-xml.h"
#include "domain/domain.h"
#include "qmp/qmp.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>

#define PAIR DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV)

typedef struct {
    char *directory, *socket, *config;
    GSocketService *service;
    VfoQmpServer *server;
    GMainLoop *loop;
    gboolean mute;      /* accepts, and greets nobody */
    gboolean silent;    /* greets, and answers nothing */
    const char *answer; /* XML, NULL: none */
    const char *error;  /* NULL: none */
    char *asked;        /* "web1 migrate begin -" */
    char *xml;          /* as it arrived */
    VfoQmpCall *unanswered;
    int status;
    char *out, *err;
} Test;

static void on_hook(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    static const char *const members[] = {"domain", "operation", "sub-operation", "extra"};
    Test *test = data;
    const char *words[4], *xml;
    json_object *answer;

    for (gsize i = 0; i < G_N_ELEMENTS(members); i++)
        g_assert_true(vfo_json_string(arguments, members[i], "arguments", &words[i], NULL));
    g_assert_true(vfo_json_string(arguments, "xml", "arguments", &xml, NULL));
    test->asked = g_strjoin(" ", words[0], words[1], words[2], words[3], NULL);
    test->xml = g_strdup(xml);
    if (test->silent) {
        test->unanswered = call;
        return;
    }
    if (test->error) {
        vfo_qmp_call_fail(call, g_error_new_literal(VFO_ERROR, VFO_ERROR_BUSY, test->error));
        return;
    }
    answer = json_object_new_object();
    if (test->answer)
        json_object_object_add(answer, "xml", json_object_new_string(test->answer));
    vfo_qmp_call_return(call, answer);
}

static const VfoQmpCommand commands[] = {{"libvirt-hook", TRUE, on_hook}, {NULL, FALSE, NULL}};

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    Test *test = data;

    if (test->mute)
        g_object_set_data_full(G_OBJECT(service), "kept", g_object_ref(connection), g_object_unref);
    else
        vfo_qmp_server_add(test->server, G_IO_STREAM(connection), "control", TRUE);
    return TRUE;
}

static void write_config(Test *test, const char *text)
{
    g_autofree char *all = g_strdup_printf("[daemon]\nsocket = %s\n%s", test->socket, text);

    g_assert_true(g_file_set_contents(test->config, all, -1, NULL));
}

static void listen_on_socket(Test *test)
{
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(test->socket);

    test->server = vfo_qmp_server_new("test", commands, test);
    test->service = g_socket_service_new();
    g_signal_connect(test->service, "incoming", G_CALLBACK(on_incoming), test);
    g_assert_true(g_socket_listener_add_address(G_SOCKET_LISTENER(test->service), address,
                                                G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                NULL, NULL, NULL));
}

static void set_up(Test *test, gconstpointer data)
{
    test->directory = g_dir_make_tmp("vfailover-hook-XXXXXX", NULL);
    test->socket = g_build_filename(test->directory, "socket", NULL);
    test->config = g_build_filename(test->directory, "conf", NULL);
    test->loop = g_main_loop_new(NULL, FALSE);
    write_config(test, "[libvirt]\n");
}

static void forget(Test *test)
{
    g_clear_pointer(&test->asked, g_free);
    g_clear_pointer(&test->xml, g_free);
    g_clear_pointer(&test->out, g_free);
    g_clear_pointer(&test->err, g_free);
}

static void tear_down(Test *test, gconstpointer data)
{
    forget(test);
    if (test->service) {
        g_socket_service_stop(test->service);
        g_socket_listener_close(G_SOCKET_LISTENER(test->service));
    }
    if (test->unanswered)
        vfo_qmp_call_return(test->unanswered, NULL);
    g_clear_object(&test->service);
    g_clear_object(&test->server);
    g_main_loop_unref(test->loop);
    g_unlink(test->socket);
    g_unlink(test->config);
    g_rmdir(test->directory);
    g_free(test->socket);
    g_free(test->config);
    g_free(test->directory);
}

static char *text_of(GBytes *bytes)
{
    return g_strdup_printf("%.*s", (int)g_bytes_get_size(bytes),
                           (const char *)g_bytes_get_data(bytes, NULL));
}

static void on_ended(GObject *source, GAsyncResult *result, gpointer data)
{
    Test *test = data;
    g_autoptr(GBytes) out = NULL, err = NULL;
    GSubprocess *process = G_SUBPROCESS(source);

    g_subprocess_communicate_finish(process, result, &out, &err, NULL);
    g_assert_true(g_subprocess_get_if_exited(process));
    test->status = g_subprocess_get_exit_status(process);
    test->out = text_of(out);
    test->err = text_of(err);
    g_main_loop_quit(test->loop);
}

/* Runs the program as libvirt does, but for the configuration. */
static void run_with(Test *test, const char *const *words, const void *input, gsize length)
{
    g_autofree char *program =
        g_test_build_filename(G_TEST_BUILT, "..", "..", "orchestrator", "vfailover-hook", NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GBytes) bytes = g_bytes_new(input, length);
    g_autoptr(GSubprocess) process = NULL;
    g_autoptr(GError) error = NULL;

    g_ptr_array_add(argv, program);
    for (; *words; words++)
        g_ptr_array_add(argv, (gpointer)*words);
    g_ptr_array_add(argv, NULL);
    forget(test);
    process = g_subprocess_newv((const char *const *)argv->pdata,
                                G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                    G_SUBPROCESS_FLAGS_STDERR_PIPE,
                                &error);
    g_assert_no_error(error);
    g_subprocess_communicate_async(process, bytes, NULL, on_ended, test);
    g_main_loop_run(test->loop);
    g_test_message("%d '%s' '%s'", test->status, test->err, test->out);
}

static void run(Test *test, const char *operation, const char *sub_operation, const char *xml)
{
    const char *words[] = {"--config", test->config, "web1", operation, sub_operation, "-", NULL};

    run_with(test, words, xml, strlen(xml));
}

static void assert_silent(const Test *test, int status)
{
    g_assert_cmpint(test->status, ==, status);
    g_assert_cmpstr(test->out, ==, "");
    g_assert_cmpstr(test->err, ==, "");
}

/* One line, ours, which says @what; nothing that libvirt would take for XML. */
static void assert_said(const Test *test, int status, const char *what)
{
    g_assert_cmpint(test->status, ==, status);
    g_assert_cmpstr(test->out, ==, "");
    g_assert_true(g_str_has_prefix(test->err, "vfailover: "));
    g_assert_nonnull(strstr(test->err, what));
    g_assert_true(strchr(test->err, '\n') == test->err + strlen(test->err) - 1);
}

/* ------------------------------------------------------------------- tests */

static void test_unchanged(Test *test, gconstpointer data)
{
    listen_on_socket(test);
    run(test, "migrate", "begin", PAIR);
    assert_silent(test, 0);
    g_assert_cmpstr(test->asked, ==, "web1 migrate begin -");
    g_assert_cmpstr(test->xml, ==, PAIR);
}

static void test_changed(Test *test, gconstpointer data)
{
    listen_on_socket(test);
    test->answer = "<domain>\n  <name>\xc3\xa9</name>\n</domain>\n";
    run(test, "restore", "begin", PAIR);
    g_assert_cmpint(test->status, ==, 0);
    g_assert_cmpstr(test->out, ==, test->answer);
    g_assert_cmpstr(test->err, ==, "");
}

static void test_refused(Test *test, gconstpointer data)
{
    listen_on_socket(test);
    test->error = "no VF is free in network 'lan'\nat all";
    run(test, "migrate", "begin", PAIR);
    assert_said(test, 1, "vfailover: no VF is free in network 'lan' at all\n");
}

/* What libvirt does after a failure of these would be worse. */
static void test_told_only(Test *test, gconstpointer data)
{
    static const char *const operations[][2] = {
        {"started", "begin"}, {"stopped", "end"}, {"release", "end"}, {"reconnect", "begin"}};

    for (gsize i = 0; i < G_N_ELEMENTS(operations); i++) {
        run(test, operations[i][0], operations[i][1], PAIR);
        assert_said(test, 0, "vfailoverd does not answer");
    }
    listen_on_socket(test);
    test->error = "something";
    for (gsize i = 0; i < G_N_ELEMENTS(operations); i++) {
        run(test, operations[i][0], operations[i][1], PAIR);
        assert_said(test, 0, "vfailover: something\n");
    }
}

static void test_other_operations(Test *test, gconstpointer data)
{
    listen_on_socket(test);
    run(test, "attach", "begin", PAIR);
    assert_silent(test, 0);
    run(test, "prepare", "end", PAIR);
    assert_silent(test, 0);
    g_assert_null(test->asked);
}

static void test_no_daemon(Test *test, gconstpointer data)
{
    run(test, "start", "begin", PAIR);
    assert_said(test, 1, "domain web1 has a VF that fails over, but vfailoverd does not answer");
    g_assert_nonnull(strstr(test->err, test->socket));

    /* A domain without a pair must start all the same, be its VF one or not. */
    run(test, "start", "begin", DOMAIN(""));
    assert_silent(test, 0);
    run(test, "start", "begin",
        DOMAIN("<hostdev mode='subsystem' type='pci'><source><address bus='3'/></source>"
               "</hostdev>"));
    assert_said(test, 0, "cannot connect");

    write_config(test, "[libvirt]\nno-daemon = allow\n");
    run(test, "start", "begin", PAIR);
    assert_said(test, 0, "cannot connect");
}

/* It may be one that is expected without its VF. */
static void test_plain(Test *test, gconstpointer data)
{
    static const char plain[] = DOMAIN("");
    gint64 began;

    listen_on_socket(test);
    run(test, "start", "begin", plain);
    assert_silent(test, 0);
    g_assert_cmpstr(test->asked, ==, "web1 start begin -");
    g_assert_cmpstr(test->xml, ==, plain);
    run(test, "prepare", "begin", plain);
    assert_silent(test, 0);
    g_assert_null(test->asked);

    /* Whatever becomes of that, the domain starts as it is. */
    test->answer = "<domain/>";
    run(test, "start", "begin", plain);
    assert_silent(test, 0);
    test->error = "something";
    run(test, "start", "begin", plain);
    assert_silent(test, 0);
    test->silent = TRUE;
    began = g_get_monotonic_time();
    run(test, "start", "begin", plain);
    assert_silent(test, 0);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 6 * G_USEC_PER_SEC);
}

static void test_not_in_use(Test *test, gconstpointer data)
{
    listen_on_socket(test);
    write_config(test, "");
    run(test, "start", "begin", PAIR);
    assert_silent(test, 0);
    g_assert_null(test->asked);
    g_unlink(test->config);
    run(test, "start", "begin", PAIR);
    assert_silent(test, 0);
}

static void test_hung_daemon(Test *test, gconstpointer data)
{
    gint64 began = g_get_monotonic_time();

    write_config(test, "[libvirt]\nhook-deadline = 1\n");
    listen_on_socket(test);
    test->mute = TRUE;
    run(test, "migrate", "begin", PAIR);
    assert_said(test, 1, "vfailoverd does not answer");
    test->mute = FALSE;
    test->silent = TRUE;
    run(test, "migrate", "begin", PAIR);
    assert_said(test, 1, "vfailoverd does not answer");
    g_assert_cmpstr(test->asked, ==, "web1 migrate begin -");
    g_assert_cmpint(g_get_monotonic_time() - began, <, 20 * G_USEC_PER_SEC);
}

static void test_bad_xml(Test *test, gconstpointer data)
{
    g_autofree char *huge = g_strnfill(VFO_DOMAIN_MAX + 1, ' ');

    listen_on_socket(test);
    run(test, "start", "begin", DOMAIN(DOMAIN_HOSTDEV));
    assert_said(test, 1, "domain web1: <teaming type='transient'> names the interface ua-net1");
    run(test, "start", "begin", "<domain><name>web1</name>");
    assert_said(test, 0, "domain XML: line 1");
    run(test, "start", "begin", "");
    assert_said(test, 0, "domain XML: there is none");
    run(test, "start", "begin", huge);
    assert_said(test, 1, "too long");
    write_config(test, "[libvirt]\nno-daemon = allow\n");
    run(test, "start", "begin", DOMAIN(DOMAIN_HOSTDEV));
    assert_said(test, 0, "domain web1: <teaming type='transient'> names the interface ua-net1");
    g_assert_null(test->asked);
}

/* Within the bound of domain XML, but beyond that of the control socket once escaped. */
static void test_long_xml(Test *test, gconstpointer data)
{
    static const char head[] = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
                               "<description>";
    g_autoptr(GString) xml = g_string_new(head);

    listen_on_socket(test);
    while (xml->len < 500 * 1024)
        g_string_append(xml, "a \"b\"\n");
    g_string_append(xml, "</description>");
    g_string_append(xml, strstr(PAIR, "  <name>"));
    run(test, "start", "begin", xml->str);
    assert_silent(test, 0);
    g_assert_cmpstr(test->xml, ==, xml->str);

    g_string_truncate(xml, strlen(head));
    while (xml->len < 800 * 1024)
        g_string_append(xml, "a \"b\"\n");
    g_string_append(xml, "</description>");
    g_string_append(xml, strstr(PAIR, "  <name>"));
    run(test, "start", "begin", xml->str);
    assert_said(test, 1, "too long for the control socket");
    g_assert_null(test->asked);
}

static void test_usage(Test *test, gconstpointer data)
{
    static const char *const help[] = {"--help", NULL};
    static const char *const version[] = {"--version", NULL};
    static const char *const few[] = {"web1", "start", "begin", NULL};
    static const char *const many[] = {"web1", "start", "begin", "-", "-", NULL};
    /* A domain may be called so; there is no configuration on the machine that runs the tests. */
    static const char *const odd[] = {"--help", "nothing", "begin", "-", NULL};
    static const char *const invalid[] = {"web\xff", "start", "begin", "-", NULL};

    run_with(test, help, "", 0);
    g_assert_cmpint(test->status, ==, 0);
    g_assert_true(g_str_has_prefix(test->out, "usage: vfailover-hook"));
    run_with(test, version, "", 0);
    g_assert_true(g_str_has_prefix(test->out, "vfailover-hook 0"));
    run_with(test, few, "", 0);
    g_assert_cmpint(test->status, ==, 2);
    run_with(test, many, "", 0);
    g_assert_cmpint(test->status, ==, 2);
    run_with(test, odd, "", 0);
    assert_silent(test, 0);
    run_with(test, invalid, "", 0);
    assert_said(test, 1, "not UTF-8");
}

/* Whatever arrives, the program ends by itself, says one line at most, and libvirt gets no XML. */
static void test_fuzz(Test *test, gconstpointer data)
{
    static const char *const operations[] = {"migrate", "prepare", "start", "release", "\n", ""};
    int rounds = g_test_quick() ? 20 : 2000;

    listen_on_socket(test);
    for (int round = 0; round < rounds; round++) {
        g_autoptr(GString) xml = g_string_new(PAIR);
        g_autofree char *name = g_strnfill((gsize)g_test_rand_int_range(0, 40), 'x');
        const char *words[] = {"--config", test->config, name, NULL, "begin", "-", NULL};

        words[3] = operations[g_test_rand_int_range(0, G_N_ELEMENTS(operations))];
        for (int change = g_test_rand_int_range(0, 4); change > 0; change--)
            xml->str[g_test_rand_int_range(0, (gint32)xml->len)] =
                (char)g_test_rand_int_range(0, 256);
        g_string_truncate(xml, (gsize)g_test_rand_int_range(0, (gint32)xml->len * 2));
        run_with(test, words, xml->str, xml->len);
        if (*test->err)
            assert_said(test, test->status, "vfailover: ");
        else
            assert_silent(test, 0);
    }
}

#define ADD(name, func) g_test_add("/hook/" name, Test, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("unchanged", test_unchanged);
    ADD("changed", test_changed);
    ADD("refused", test_refused);
    ADD("told-only", test_told_only);
    ADD("other-operations", test_other_operations);
    ADD("no-daemon", test_no_daemon);
    ADD("plain", test_plain);
    ADD("not-in-use", test_not_in_use);
    ADD("hung-daemon", test_hung_daemon);
    ADD("bad-xml", test_bad_xml);
    ADD("long-xml", test_long_xml);
    ADD("usage", test_usage);
    ADD("fuzz", test_fuzz);
    return g_test_run();
}
