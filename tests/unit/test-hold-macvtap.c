/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When frames for a macvtap wait, and when they are let go. */
#include "host/hold-kind.h"
#include "host/plug.h"

#define MANY 3 /* looks, and more of them */

static const VfoTakenVf vf = {.pci = "0000:01:10.0"};

/* ------------------------------------------------------------------- the plug */

static GString *calls;
static const char *refuses; /* a call; NULL: none */

static gboolean call(const char *what, GError **error)
{
    g_string_append_printf(calls, "%s ", what);
    if (g_strcmp0(what, refuses) != 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "the kernel will not %s", what);
    return FALSE;
}

VfoPlug *vfo_plug_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error)
{
    g_assert_cmpstr(macvtap->name, ==, "macvtap0");
    return call("new", error) ? (VfoPlug *)(void *)calls : NULL;
}

void vfo_plug_free(VfoPlug *plug)
{
    call("free", NULL);
}

gboolean vfo_plug_mark(VfoPlug *plug, GError **error)
{
    return call("mark", error);
}

gboolean vfo_plug_let_go(VfoPlug *plug, GError **error)
{
    return call("let-go", error);
}

gboolean vfo_plug_pull(VfoPlug *plug, GError **error)
{
    return call("pull", error);
}

gboolean vfo_plug_count(VfoPlug *plug, VfoPlugCount *count, GError **error)
{
    *count = (VfoPlugCount){.waiting = 7};
    return TRUE;
}

gboolean vfo_plug_remove(VfoPlug *plug, GError **error)
{
    return call("remove", error);
}

/* --------------------------------------------------------- what the guest takes */

static gboolean missed; /* the VF has not had all */
static gint64 until_us; /* it has taken what came before; 0: all, always */
static gint64 told_us;
static gboolean ended;

VfoTaken *vfo_taken_new(const VfoTakenVf *of)
{
    g_assert_cmpstr(of->pci, ==, vf.pci);
    told_us = G_MININT64;
    return (VfoTaken *)(void *)calls;
}

void vfo_taken_free(VfoTaken *taken)
{
}

gboolean vfo_taken_look(VfoTaken *taken)
{
    return !ended;
}

gboolean vfo_taken_next(VfoTaken *taken, VfoTakenSpan *span)
{
    gint64 now_us = until_us ? until_us : g_get_real_time();

    if (now_us <= told_us)
        return FALSE;
    span->from_us = missed ? now_us : told_us;
    span->until_us = told_us = now_us;
    return TRUE;
}

/* ---------------------------------------------------------------------- tests */

typedef struct {
    VfoHold *hold;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    const VfoLink macvtap = {.index = 6, .name = "macvtap0"};
    g_autoptr(GError) error = NULL;

    calls = g_string_new(NULL);
    refuses = NULL;
    until_us = 0;
    missed = ended = FALSE;
    f->hold = vfo_hold_new_on_macvtap(NULL, &macvtap, &vf, &error);
    g_assert_no_error(error);
    g_assert_false(vfo_hold_has_begun(f->hold));
    g_assert_cmpstr(vfo_hold_vf(f->hold), ==, vf.pci);
    g_assert_cmpstr(calls->str, ==, "new ");
    g_string_set_size(calls, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_hold_free(f->hold);
    g_string_free(calls, TRUE);
}

/* Nothing else is on the main loop. */
static void look(guint more)
{
    for (guint i = 0; i < more; i++)
        g_main_context_iteration(NULL, TRUE);
}

static void end_well(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_string_set_size(calls, 0);
    g_assert_true(vfo_hold_end(g_steal_pointer(&f->hold), &error));
    g_assert_no_error(error);
}

/* It takes what comes as it comes: each mark is let go at the next look. */
static void test_taken(Fixture *f, gconstpointer data)
{
    vfo_hold_begin(f->hold);
    g_assert_true(vfo_hold_has_begun(f->hold));
    look(MANY);
    g_assert_true(g_str_has_prefix(calls->str, "mark let-go mark let-go mark let-go mark "));
    end_well(f);
    /* What came since the last look. */
    g_assert_nonnull(strstr(calls->str, "pull remove "));
}

/* It takes nothing any more: all waits, behind one mark, until the end. */
static void test_not_taken(Fixture *f, gconstpointer data)
{
    until_us = g_get_real_time();
    vfo_hold_begin(f->hold);
    look(MANY);
    g_assert_cmpstr(calls->str, ==, "mark ");
    end_well(f);
    g_assert_cmpstr(calls->str, ==, "pull remove remove free ");
}

/* Its VF has not had all: what comes later waits as well, as it cannot go first. */
static void test_missed(Fixture *f, gconstpointer data)
{
    missed = TRUE;
    vfo_hold_begin(f->hold);
    look(MANY);
    g_assert_cmpstr(calls->str, ==, "mark ");
}

/* No news any more: the last mark is let go if what is before it was taken, and none is set. */
static void test_ended(Fixture *f, gconstpointer data)
{
    vfo_hold_begin(f->hold);
    look(MANY);
    ended = TRUE;
    look(1);
    g_string_set_size(calls, 0);
    look(MANY);
    g_assert_cmpstr(calls->str, ==, "");
}

/* Nobody has been told that frames wait: they need not, and all pass. */
static void test_never_begun(Fixture *f, gconstpointer data)
{
    end_well(f);
    g_assert_cmpstr(calls->str, ==, "remove remove free ");
}

static void test_cannot_mark(Fixture *f, gconstpointer data)
{
    refuses = "mark";
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*macvtap0*will not mark*");
    for (guint i = 0; i < MANY; i++)
        g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*macvtap0*will not mark*");
    vfo_hold_begin(f->hold);
    look(MANY - 1);
    g_test_assert_expected_messages();
    refuses = NULL;
    look(1);
    g_assert_true(g_str_has_suffix(calls->str, "mark mark "));
}

/* Whoever ends it is told, and may try again. */
static void test_cannot_remove(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    vfo_hold_begin(f->hold);
    refuses = "remove";
    g_assert_false(vfo_hold_end(f->hold, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    refuses = NULL;
    end_well(f);
    g_assert_cmpstr(calls->str, ==, "remove remove free ");
}

/* What waits may be lost; what comes later goes on. */
static void test_cannot_pull(Fixture *f, gconstpointer data)
{
    vfo_hold_begin(f->hold);
    refuses = "pull";
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*will not pull*");
    end_well(f);
    g_test_assert_expected_messages();
    g_assert_true(g_str_has_suffix(calls->str, "pull remove remove free "));
}

static void test_cannot_make(void)
{
    const VfoLink macvtap = {.index = 6, .name = "macvtap0"};
    g_autoptr(GError) error = NULL;

    calls = g_string_new(NULL);
    refuses = "new";
    g_assert_null(vfo_hold_new_on_macvtap(NULL, &macvtap, &vf, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    g_string_free(calls, TRUE);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/hold-macvtap/taken", test_taken},
        {"/hold-macvtap/not-taken", test_not_taken},
        {"/hold-macvtap/missed", test_missed},
        {"/hold-macvtap/ended", test_ended},
        {"/hold-macvtap/never-begun", test_never_begun},
        {"/hold-macvtap/cannot-mark", test_cannot_mark},
        {"/hold-macvtap/cannot-pull", test_cannot_pull},
        {"/hold-macvtap/cannot-remove", test_cannot_remove},
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    g_test_add_func("/hold-macvtap/cannot-make", test_cannot_make);
    return g_test_run();
}
