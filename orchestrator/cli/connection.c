/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <stdio.h>

#define CONNECT_SECONDS 5

static void on_ready(VfoQmpClient *client, gpointer data)
{
    const Cli *cli = data;

    g_main_loop_quit(cli->loop);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    Cli *cli = data;

    if (!cli->lost)
        cli->lost = g_error_copy(error);
    g_main_loop_quit(cli->loop);
}

static gboolean on_no_answer(gpointer data)
{
    Cli *cli = data;

    cli->lost = g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                            "vfailoverd does not answer on %s within %d s; see its log",
                            cli->socket, CONNECT_SECONDS);
    g_main_loop_quit(cli->loop);
    return G_SOURCE_CONTINUE;
}

gboolean cli_connect(Cli *cli, GError **error)
{
    guint timer;

    cli->loop = g_main_loop_new(NULL, FALSE);
    cli->client = vfo_qmp_client_new_unix("vfailoverd", cli->socket, FALSE);
    g_signal_connect(cli->client, "ready", G_CALLBACK(on_ready), cli);
    g_signal_connect(cli->client, "closed", G_CALLBACK(on_closed), cli);
    timer = g_timeout_add_seconds(CONNECT_SECONDS, on_no_answer, cli);
    g_main_loop_run(cli->loop);
    g_source_remove(timer);
    if (cli->lost) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_CLOSED, cli->lost->message);
        return FALSE;
    }
    return TRUE;
}

void cli_disconnect(Cli *cli)
{
    if (cli->client)
        vfo_qmp_client_close(cli->client);
    g_clear_object(&cli->client);
    g_clear_pointer(&cli->loop, g_main_loop_unref);
    g_clear_error(&cli->lost);
}

typedef struct {
    GMainLoop *loop;
    json_object *value;
    GError *error;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Answer *answer = data;

    answer->value = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &answer->error);
    g_main_loop_quit(answer->loop);
}

json_object *cli_call(Cli *cli, const char *command, json_object *arguments, GError **error)
{
    /* A loop of its own: the caller may be inside the other one. */
    Answer answer = {.loop = g_main_loop_new(NULL, FALSE)};

    vfo_qmp_client_execute_async(cli->client, command, arguments, CLI_CALL_MS, NULL, on_answer,
                                 &answer);
    g_main_loop_run(answer.loop);
    g_main_loop_unref(answer.loop);
    if (answer.error)
        g_propagate_error(error, answer.error);
    return answer.value;
}

int cli_fail(GError *error)
{
    gboolean input = g_error_matches(error, VFO_ERROR, VFO_ERROR_INVALID) ||
                     g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);

    fprintf(stderr, "vfailover: %s\n", error->message);
    g_error_free(error);
    return input ? 2 : 1;
}
