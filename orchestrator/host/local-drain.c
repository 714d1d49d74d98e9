/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a guest keeps up with its standby.
 */
#include "host/host-private.h"
#include "host/link.h"
#include "host/poll.h"

#define DRAINED_EVERY_MS 20
/* A VM that has just begun to run keeps up for a moment, and no longer when its driver finds the
 * VF: all that it touches is yet to be mapped. */
#define KEEPS_UP_US (500 * G_TIME_SPAN_MILLISECOND)

void vfo_local_watch_standby(VfoHost *base, const VfoWire *wire)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_autoptr(GError) error = NULL;
    VfoBacklog *backlog = NULL;
    VfoLink tap;

    /* What is read from a macvtap nobody counts (drivers/net/tap.c, Linux 6.1). */
    if (!vfo_local_is_bridged(wire))
        return;
    vfo_stopwatch_begin_outside();
    if (vfo_link_read(host->netlink, wire->tap, &tap, &error))
        backlog = vfo_backlog_new(host->netlink, &tap, &error);
    vfo_stopwatch_end_outside();
    if (backlog)
        g_hash_table_replace(host->backlogs, g_strdup(wire->tap), backlog);
    else
        g_message("a guest that is slow may lose frames as it gets its VF: %s", error->message);
}

void vfo_local_unwatch_standby(VfoHost *base, const VfoWire *wire)
{
    g_hash_table_remove(((VfoLocalHost *)base)->backlogs, wire->tap);
}

typedef struct {
    VfoBacklog *backlog;
    char *tap;
    guint wait_ms;
    gint64 until_us;
    gint64 short_us; /* since when the backlog has been short; 0: it is not */
} Drain;

static void drain_free(gpointer data)
{
    Drain *drain = data;

    vfo_backlog_free(drain->backlog);
    g_free(drain->tap);
    g_free(drain);
}

static gboolean is_drained(gpointer data, GError **error)
{
    Drain *drain = data;
    gint64 now = g_get_monotonic_time();
    gboolean is_short;

    if (!vfo_backlog_is_short(drain->backlog, &is_short, error))
        return FALSE;
    if (!is_short)
        drain->short_us = 0;
    else if (!drain->short_us)
        drain->short_us = now;
    if (is_short && (now - drain->short_us >= KEEPS_UP_US || now >= drain->until_us))
        return TRUE;
    if (now < drain->until_us)
        return FALSE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                "the guest is %" G_GUINT64_FORMAT
                " frames behind after %u ms: what waits in tap %s when it gets its VF is lost",
                vfo_backlog_frames(drain->backlog), drain->wait_ms, drain->tap);
    return FALSE;
}

/* Polled: that a tap has been read nobody is told. */
void vfo_local_drained(VfoHost *base, const VfoWire *wire, guint wait_ms, GTask *task)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    gpointer tap, backlog;
    Drain *drain;

    if (!g_hash_table_steal_extended(host->backlogs, wire->tap, &tap, &backlog)) {
        vfo_task_done(task);
        return;
    }
    drain = g_new0(Drain, 1);
    drain->backlog = backlog;
    drain->tap = tap;
    drain->wait_ms = wait_ms;
    drain->until_us = g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND;
    vfo_poll(task, DRAINED_EVERY_MS, is_drained, drain, drain_free);
}
