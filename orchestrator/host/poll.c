/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/poll.h"

typedef struct {
    GTask *task;
    VfoPollCheck check;
    gpointer data;
    GDestroyNotify free_data;
} Poll;

static void poll_free(gpointer data)
{
    Poll *poll = data;

    poll->free_data(poll->data);
    g_free(poll);
}

static gboolean on_tick(gpointer data)
{
    Poll *poll = data;
    GError *error = NULL;
    gboolean done;

    if (g_cancellable_set_error_if_cancelled(g_task_get_cancellable(poll->task), &error)) {
        vfo_task_fail(poll->task, error);
        return G_SOURCE_REMOVE;
    }
    /* Unless it finds something: what follows from that presses. */
    vfo_stopwatch_begin_spare();
    done = poll->check(poll->data, &error);
    vfo_stopwatch_end_spare();
    if (done) {
        vfo_task_done(poll->task);
        return G_SOURCE_REMOVE;
    }
    if (error) {
        vfo_task_fail(poll->task, error);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

void vfo_poll(GTask *task, guint interval_ms, VfoPollCheck check, gpointer data,
              GDestroyNotify free_data)
{
    Poll *poll = g_new0(Poll, 1);
    g_autoptr(GSource) source = NULL;

    poll->task = task;
    poll->check = check;
    poll->data = data;
    poll->free_data = free_data;
    if (on_tick(poll) == G_SOURCE_REMOVE) {
        poll_free(poll);
        return;
    }
    source = g_timeout_source_new(interval_ms);
    g_source_set_static_name(source, "vfo_poll");
    if (g_task_get_cancellable(task)) {
        g_autoptr(GSource) cancelled = g_cancellable_source_new(g_task_get_cancellable(task));

        /* As a child it has the timeout dispatched at once. */
        g_source_set_dummy_callback(cancelled);
        g_source_add_child_source(source, cancelled);
    }
    g_source_set_callback(source, on_tick, poll, poll_free);
    g_source_attach(source, g_task_get_context(task));
}
