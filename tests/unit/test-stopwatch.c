/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stopwatch: own time is neither sleep in poll(2) nor time spent outside. */
#include "core/core.h"

#include <time.h>

#define SPAN_US 200000
/* What the test itself may take around a span. */
#define SLACK_US (SPAN_US / 2)

static gint64 cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (gint64)now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static void work(gint64 us)
{
    gint64 until = cpu_us() + us;

    while (cpu_us() < until)
        ;
}

static gboolean quit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void test_own_work(void)
{
    gint64 before = vfo_stopwatch_own_us();
    gint64 own;

    work(SPAN_US);
    own = vfo_stopwatch_own_us() - before;
    g_assert_cmpint(own, >=, SPAN_US);
}

static void test_poll(void)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    gint64 start = g_get_monotonic_time();
    gint64 before = vfo_stopwatch_own_us();

    g_timeout_add(SPAN_US / 1000, quit, loop);
    g_main_loop_run(loop);
    g_assert_cmpint(g_get_monotonic_time() - start, >=, SPAN_US - 1000);
    g_assert_cmpint(vfo_stopwatch_own_us() - before, <, SLACK_US);
}

static void test_outside(void)
{
    gint64 before = vfo_stopwatch_own_us();

    vfo_stopwatch_begin_outside();
    work(SPAN_US);
    vfo_stopwatch_end_outside();
    g_assert_cmpint(vfo_stopwatch_own_us() - before, <, SLACK_US);
}

static void test_nested(void)
{
    gint64 before = vfo_stopwatch_own_us();
    gint64 own;

    vfo_stopwatch_begin_outside();
    work(SPAN_US);
    vfo_stopwatch_begin_outside();
    work(SPAN_US);
    vfo_stopwatch_end_outside();
    work(SPAN_US);
    vfo_stopwatch_end_outside();
    own = vfo_stopwatch_own_us() - before;
    /* Counted once, not twice: that would make it negative. */
    g_assert_cmpint(own, >=, 0);
    g_assert_cmpint(own, <, SLACK_US);
}

static gboolean do_spare(gpointer loop)
{
    vfo_stopwatch_begin_spare();
    g_assert_true(vfo_stopwatch_is_spare());
    work(SPAN_US);
    vfo_stopwatch_end_spare();
    g_assert_false(vfo_stopwatch_is_spare());
    work(SPAN_US);
    return quit(loop);
}

static gboolean do_press(gpointer data)
{
    vfo_stopwatch_press();
    return G_SOURCE_REMOVE;
}

static gint64 own_of_loop(GSourceFunc first, GSourceFunc second)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    gint64 before = vfo_stopwatch_own_us();

    if (first)
        g_idle_add(first, loop);
    g_idle_add(second, loop);
    g_main_loop_run(loop);
    /* A turn is judged when it is over. */
    while (g_main_context_iteration(NULL, FALSE))
        ;
    return vfo_stopwatch_own_us() - before;
}

/* The whole turn, with what it does outside the span. */
static void test_spare(void)
{
    gint64 before = vfo_stopwatch_own_us();
    guint spares = vfo_stopwatch_spares();

    g_assert_cmpint(own_of_loop(NULL, do_spare), <, SLACK_US);
    g_assert_cmpint(vfo_stopwatch_own_us(), >=, before);
    g_assert_cmpuint(vfo_stopwatch_spares(), ==, spares + 1);
}

/* Something in the same turn cannot wait. */
static void test_press(void)
{
    g_assert_cmpint(own_of_loop(do_press, do_spare), >=, 2 * SPAN_US);
    /* The next turn is judged by itself. */
    g_assert_cmpint(own_of_loop(NULL, do_spare), <, SLACK_US);
}

static gboolean do_begin(gpointer loop)
{
    gint64 begun = vfo_stopwatch_turn_us();

    work(SPAN_US);
    g_assert_cmpint(vfo_stopwatch_turn_us(), ==, begun);
    g_assert_cmpint(vfo_stopwatch_own_us() - begun, >=, SPAN_US);
    return quit(loop);
}

static void test_turn(void)
{
    g_assert_cmpint(own_of_loop(NULL, do_begin), >=, SPAN_US);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(vfo_stopwatch_own_us(), ==, 0);
    vfo_stopwatch_install(NULL);
    g_test_add_func("/stopwatch/own-work", test_own_work);
    g_test_add_func("/stopwatch/poll", test_poll);
    g_test_add_func("/stopwatch/outside", test_outside);
    g_test_add_func("/stopwatch/nested", test_nested);
    g_test_add_func("/stopwatch/spare", test_spare);
    g_test_add_func("/stopwatch/press", test_press);
    g_test_add_func("/stopwatch/turn", test_turn);
    return g_test_run();
}
