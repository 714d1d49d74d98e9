/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <glib-unix.h>
#include <stdio.h>
#include <unistd.h>

typedef struct {
    Cli *cli;
    char *job;       /* NULL until it has begun */
    GError *refused; /* why it has not */
    char *state;     /* NULL until the job has ended */
    gint64 started_us;
    gboolean live; /* a terminal: the last line is rewritten */
} Watch;

static void show(Watch *watch, const char *text)
{
    double seconds = (double)(g_get_monotonic_time() - watch->started_us) / 1e6;

    if (watch->cli->json)
        return;
    if (watch->live)
        fprintf(stderr, "\r\033[K%7.3f s  %s", seconds, text);
    else
        fprintf(stderr, "%7.3f s  %s\n", seconds, text);
    fflush(stderr);
}

static void show_step(Watch *watch, json_object *step)
{
    const char *result = cli_member(step, "result");
    g_autofree char *text = NULL;

    if (!result)
        return;
    if (g_str_equal(result, "running"))
        text = g_strdup_printf("%s: %s ...", cli_member(step, "host"), cli_member(step, "name"));
    else
        text = g_strdup_printf("%s: %s: %s, %.1f ms", cli_member(step, "host"),
                               cli_member(step, "name"), result,
                               (double)cli_number(step, "duration-us") / 1e3);
    /* Off a terminal one line per step is enough. */
    if (watch->live || !g_str_equal(result, "running"))
        show(watch, text);
}

static void show_progress(Watch *watch, json_object *progress)
{
    const char *step = cli_member(progress, "step");
    json_object *rate = NULL;
    g_autofree char *moved =
        g_format_size_full((guint64)cli_number(progress, "transferred"), G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *left =
        g_format_size_full((guint64)cli_number(progress, "remaining"), G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *text = NULL;

    json_object_object_get_ex(progress, "mbps", &rate);
    text = g_strdup_printf("%s: %s moved, %s left, %.0f Mbit/s", step ? step : "migrate", moved,
                           left, json_object_get_double(rate));
    show(watch, text);
}

static void on_event(VfoQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    Watch *watch = user_data;
    gboolean is_job = g_str_equal(name, "JOB");
    const char *state;

    /* Events of this job alone; they follow the answer that told its id. */
    if (!watch->job || g_strcmp0(cli_member(data, is_job ? "id" : "job"), watch->job) != 0)
        return;
    if (watch->cli->json && !is_job)
        cli_print_json(data);
    else if (g_str_equal(name, "STEP"))
        show_step(watch, data);
    else if (g_str_equal(name, "PROGRESS"))
        show_progress(watch, data);
    if (!is_job)
        return;
    state = cli_member(data, "state");
    if (!state || g_str_equal(state, "running") || g_str_equal(state, "undoing"))
        return;
    g_free(watch->state);
    watch->state = g_strdup(state);
    g_main_loop_quit(watch->cli->loop);
}

static void on_cancelled(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) value =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (!value)
        fprintf(stderr, "\nvfailover: %s\n", error->message);
}

static gboolean on_interrupt(gpointer data)
{
    Watch *watch = data;
    json_object *arguments = json_object_new_object();

    fprintf(stderr, "\nvfailover: cancelling job %s\n", watch->job);
    json_object_object_add(arguments, "job", json_object_new_string(watch->job));
    vfo_qmp_client_execute_async(watch->cli->client, "cancel-job", arguments, 0, NULL, on_cancelled,
                                 NULL);
    return G_SOURCE_CONTINUE;
}

static int report(Watch *watch)
{
    json_object *arguments = json_object_new_object();
    GError *error = NULL;
    g_autoptr(json_object) job = NULL;
    gboolean ok = g_strcmp0(watch->state, "completed") == 0;

    json_object_object_add(arguments, "job", json_object_new_string(watch->job));
    job = cli_call(watch->cli, "query-job", arguments, &error);
    if (!job)
        return cli_fail(error);
    if (watch->cli->json)
        cli_print_json(job);
    else
        cli_print_job(job);
    if (!ok && cli_member(job, "error"))
        fprintf(stderr, "vfailover: %s\n", cli_member(job, "error"));
    return ok ? 0 : 1;
}

static int watch_to_the_end(Watch *watch)
{
    Cli *cli = watch->cli;
    guint interrupt = g_unix_signal_add(SIGINT, on_interrupt, watch);
    guint term = g_unix_signal_add(SIGTERM, on_interrupt, watch);

    while (!watch->state && !cli->lost)
        g_main_loop_run(cli->loop);
    g_source_remove(interrupt);
    g_source_remove(term);
    if (watch->live && !cli->json)
        fprintf(stderr, "\r\033[K");
    if (watch->state)
        return report(watch);
    fprintf(stderr,
            "vfailover: the connection to vfailoverd is lost: %s; 'vfailover job %s' tells how the "
            "job goes on\n",
            cli->lost->message, watch->job);
    return 1;
}

/* Here, and not when the loop has ended: the job's first events may come along with the answer. */
static void on_begun(GObject *source, GAsyncResult *result, gpointer data)
{
    Watch *watch = data;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &watch->refused);

    if (answer)
        watch->job = g_strdup(cli_member(answer, "job"));
    g_main_loop_quit(watch->cli->loop);
}

int cli_watch(Cli *cli, const char *command, json_object *arguments)
{
    Watch watch = {.cli = cli, .live = isatty(STDERR_FILENO) == 1};
    gulong handler = g_signal_connect(cli->client, "event", G_CALLBACK(on_event), &watch);
    int status;

    watch.started_us = g_get_monotonic_time();
    vfo_qmp_client_execute_async(cli->client, command, arguments, CLI_CALL_MS, NULL, on_begun,
                                 &watch);
    while (!watch.job && !watch.refused)
        g_main_loop_run(cli->loop);
    status = watch.job ? watch_to_the_end(&watch) : cli_fail(watch.refused);
    g_signal_handler_disconnect(cli->client, handler);
    g_free(watch.job);
    g_free(watch.state);
    return status;
}
