/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

#include <time.h>

/* One main loop, one thread: plain counters do. */
static GPollFunc real_poll;
static gint64 outside_us;
static gint64 outside_since_us;
static guint outside_depth;

/* Of the present turn of the loop. */
static gint64 turn_us; /* own time when it began */
static gboolean turn_spare;
static gboolean turn_pressed;
static guint spare_depth;
static guint spares; /* ever */

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
    if (turn_spare && !turn_pressed)
        outside_us += outside_since_us - outside_us - turn_us;
    ready = real_poll(fds, n_fds, timeout_ms);
    vfo_stopwatch_end_outside();
    turn_us = vfo_stopwatch_own_us();
    turn_spare = turn_pressed = FALSE;
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

void vfo_stopwatch_spare(void)
{
    turn_spare = TRUE;
    spares++;
}

void vfo_stopwatch_begin_spare(void)
{
    vfo_stopwatch_spare();
    spare_depth++;
}

void vfo_stopwatch_end_spare(void)
{
    g_return_if_fail(spare_depth > 0);
    spare_depth--;
}

gboolean vfo_stopwatch_is_spare(void)
{
    return spare_depth > 0;
}

guint vfo_stopwatch_spares(void)
{
    return spares;
}

void vfo_stopwatch_press(void)
{
    turn_pressed = TRUE;
}

gint64 vfo_stopwatch_turn_us(void)
{
    return turn_us;
}
