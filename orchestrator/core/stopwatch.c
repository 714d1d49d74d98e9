/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

/* One main loop, one thread: plain counters do. */
static GPollFunc real_poll;
static gint64 installed_us;
static gint64 outside_us;
static gint64 outside_since_us;
static guint outside_depth;

static gint counting_poll(GPollFD *fds, guint n_fds, gint timeout_ms)
{
    gint64 before = g_get_monotonic_time();
    gint ready = real_poll(fds, n_fds, timeout_ms);

    outside_us += g_get_monotonic_time() - before;
    return ready;
}

void vfo_stopwatch_install(GMainContext *context)
{
    real_poll = g_main_context_get_poll_func(context);
    installed_us = g_get_monotonic_time();
    g_main_context_set_poll_func(context, counting_poll);
}

gint64 vfo_stopwatch_own_us(void)
{
    if (!installed_us)
        return 0;
    return g_get_monotonic_time() - installed_us - outside_us;
}

void vfo_stopwatch_begin_outside(void)
{
    if (outside_depth++ == 0)
        outside_since_us = g_get_monotonic_time();
}

void vfo_stopwatch_end_outside(void)
{
    g_return_if_fail(outside_depth > 0);
    if (--outside_depth == 0)
        outside_us += g_get_monotonic_time() - outside_since_us;
}
