/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this machine takes for the daemon's kind of work, by the daemon's own stopwatch: the lab
 * compares machines by it. A process that answers a command every few milliseconds, each with a
 * job of three steps; it prints the microseconds of each 50 commands.
 */
#include "core/core.h"
#include "qmp/qmp.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMANDS 600
#define BATCH    50
#define PAUSE_MS 2

static GIOStream *stream_of(int fd)
{
    g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, NULL);

    g_assert_nonnull(socket);
    return G_IO_STREAM(g_socket_connection_factory_create_connection(socket));
}

/* ---------------------------------------------------------- who is measured */

typedef struct {
    GMainLoop *loop;
    VfoQmpCall *call;
    guint commands;
    gint64 since_us;
} Worker;

static void pass(VfoJob *job, GTask *task)
{
    vfo_task_done(task);
}

static const VfoStep steps[] = {
    {.name = "one", .waits_for = "nothing", .run = pass},
    {.name = "two", .waits_for = "nothing", .run = pass},
    {.name = "three", .waits_for = "nothing", .run = pass},
};

static json_object *view(VfoJob *job)
{
    json_object *list = json_object_new_array();
    GPtrArray *records = vfo_job_records(job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);
        json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(record->step));
        json_object_object_add(entry, "host", json_object_new_string(record->host));
        json_object_object_add(entry, "start-us", json_object_new_int64(record->start_us));
        json_object_object_add(entry, "duration-us", json_object_new_int64(record->duration_us));
        json_object_array_add(list, entry);
    }
    return list;
}

static void on_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Worker *worker = data;

    if (record || !vfo_job_ended(job))
        return;
    vfo_qmp_call_return(g_steal_pointer(&worker->call), view(job));
    vfo_job_on_change(job, NULL, NULL);
}

static void handle_work(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    Worker *worker = data;
    g_autoptr(VfoJob) job = NULL;
    const char *vm = "";
    VfoPolicy policy;

    if (worker->commands++ % BATCH == 0) {
        gint64 now_us = vfo_stopwatch_own_us();

        if (worker->commands > 1)
            printf("%" G_GINT64_FORMAT "\n", now_us - worker->since_us);
        worker->since_us = now_us;
    }
    g_assert_true(vfo_json_string(arguments, "vm", "work", &vm, NULL));
    vfo_policy_default(&policy);
    job = vfo_job_new("6ba7b810-9dad-11d1-80b4-00c04fd430c8", vm, "here", steps,
                      G_N_ELEMENTS(steps), &policy);
    worker->call = call;
    vfo_job_on_change(job, on_changed, worker);
    vfo_job_run(job);
}

static void on_session_closed(VfoQmpServer *server, VfoQmpSession *session, gpointer data)
{
    g_main_loop_quit(((Worker *)data)->loop);
}

static GLogWriterOutput drop(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                             gpointer data)
{
    return G_LOG_WRITER_HANDLED;
}

static void work(int fd)
{
    static const VfoQmpCommand commands[] = {{"work", FALSE, handle_work}, {NULL, FALSE, NULL}};
    Worker worker = {.loop = g_main_loop_new(NULL, FALSE)};
    VfoQmpServer *server = vfo_qmp_server_new("pace", commands, &worker);
    g_autoptr(GIOStream) stream = stream_of(fd);

    g_log_set_writer_func(drop, NULL, NULL);
    vfo_stopwatch_install(NULL);
    g_signal_connect(server, "session-closed", G_CALLBACK(on_session_closed), &worker);
    vfo_qmp_server_add(server, stream, "client", TRUE);
    g_main_loop_run(worker.loop);
    g_object_unref(server);
    g_main_loop_unref(worker.loop);
}

/* ------------------------------------------------------------- who asks */

typedef struct {
    GMainLoop *loop;
    VfoQmpClient *client;
    guint commands;
} Asker;

static gboolean on_time(gpointer data);

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, NULL);

    g_assert_nonnull(answer);
    g_timeout_add(PAUSE_MS, on_time, data);
}

static gboolean on_time(gpointer data)
{
    Asker *asker = data;
    json_object *arguments;

    if (asker->commands++ > COMMANDS) {
        g_main_loop_quit(asker->loop);
        return G_SOURCE_REMOVE;
    }
    arguments = json_object_new_object();
    json_object_object_add(arguments, "vm", json_object_new_string("web1"));
    vfo_qmp_client_execute_async(asker->client, "work", arguments, 0, NULL, on_answer, asker);
    return G_SOURCE_REMOVE;
}

static void on_ready(VfoQmpClient *client, gpointer data)
{
    on_time(data);
}

static void ask(int fd)
{
    g_autoptr(GIOStream) stream = stream_of(fd);
    Asker asker = {.loop = g_main_loop_new(NULL, FALSE),
                   .client = vfo_qmp_client_new_stream("worker", stream)};

    g_signal_connect(asker.client, "ready", G_CALLBACK(on_ready), &asker);
    g_main_loop_run(asker.loop);
    vfo_qmp_client_close(asker.client);
    g_object_unref(asker.client);
    g_main_loop_unref(asker.loop);
}

int main(void)
{
    int fds[2];
    int status = 0;
    pid_t child;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
    child = fork();
    g_assert_cmpint(child, >=, 0);
    close(fds[child ? 1 : 0]);
    if (child == 0) {
        work(fds[1]);
        return 0;
    }
    ask(fds[0]);
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}
