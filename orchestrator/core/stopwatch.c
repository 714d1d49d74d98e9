/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

#include <time.h>

/* One main loop, one thread: plain counters do. */
static GPollFunc real_poll;
static gint64 outside_us;
static gint64 outside_since_us;
static guint outside_depth;

/* The processor's time, not the clock's: while somebody else has the processor it is the guest's
 * or the kernel's work that is done. */
static gint64 cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (gint64)now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static gint counting_poll(GPollFD *fds, guint n_fds, gint timeout_ms)
{
    gint ready;

    vfo_stopwatch_begin_outside();
    ready = real_poll(fds, n_fds, timeout_ms);
    vfo_stopwatch_end_outside();
    return ready;
}

void vfo_stopwatch_install(GMainContext *context)
{
    real_poll = g_main_context_get_poll_func(context);
    outside_us = cpu_us();
    g_main_context_set_poll_func(context, counting_poll);
}

gint64 vfo_stopwatch_own_us(void)
{
    return real_poll ? cpu_us() - outside_us : 0;
}

void vfo_stopwatch_begin_outside(void)
{
    if (outside_depth++ == 0)
        outside_since_us = cpu_us();
}

void vfo_stopwatch_end_outside(void)
{
    g_return_if_fail(outside_depth > 0);
    if (--outside_depth == 0)
        outside_us += cpu_us() - outside_since_us;
}
