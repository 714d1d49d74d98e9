/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notes: told of when nothing else is to be done, once each, in order. */
#include "core/core.h"

typedef struct {
    VfoNotes *notes;
    GString *told;
    gboolean busy; /* something else is to be done */
} Fixture;

static void on_told(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Fixture *f = data;

    g_assert_false(f->busy);
    g_string_append_printf(f->told, "%s=%s ", record->step, vfo_result_name(record->result));
}

static void on_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Fixture *f = data;

    if (record)
        vfo_notes_add(f->notes, job, record);
}

static void pass(VfoJob *job, GTask *task)
{
    vfo_task_done(task);
}

static GTask *waiting;

static void wait_for_test(VfoJob *job, GTask *task)
{
    waiting = task;
}

static const VfoStep steps[] = {
    {.name = "one", .waits_for = "x", .run = pass},
    {.name = "two", .waits_for = "x", .run = pass},
    {.name = "three", .waits_for = "x", .run = wait_for_test},
};

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static VfoJob *start(Fixture *f)
{
    VfoPolicy policy;
    VfoJob *job;

    vfo_policy_default(&policy);
    job = vfo_job_new("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "web1", "hosta", steps,
                      G_N_ELEMENTS(steps), &policy);
    vfo_job_on_change(job, on_changed, f);
    vfo_job_run(job);
    return job;
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->told = g_string_new(NULL);
    f->notes = vfo_notes_new(on_told, f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_notes_free(f->notes);
    g_string_free(f->told, TRUE);
}

static void test_once(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = start(f);

    g_assert_cmpstr(f->told->str, ==, "");
    settle();
    g_assert_cmpstr(f->told->str, ==, "one=ok two=ok three=running ");
    vfo_task_done(waiting);
    settle();
    g_assert_cmpstr(f->told->str, ==, "one=ok two=ok three=running three=ok ");
    g_assert_true(vfo_job_ended(job));
}

static gboolean be_busy(gpointer data)
{
    Fixture *f = data;
    static guint turns;

    f->busy = ++turns < 10;
    return f->busy;
}

static void test_leisure(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    f->busy = TRUE;
    g_idle_add_full(G_PRIORITY_DEFAULT, be_busy, f, NULL);
    job = start(f);
    settle();
    g_assert_cmpstr(f->told->str, ==, "one=ok two=ok three=running ");
    vfo_task_done(waiting);
    settle();
}

static void test_flush(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = start(f);

    vfo_notes_flush(f->notes);
    g_assert_nonnull(strstr(f->told->str, "one="));
    g_string_truncate(f->told, 0);
    vfo_notes_flush(f->notes);
    g_assert_cmpstr(f->told->str, ==, "");
    settle();
    vfo_task_done(waiting);
    settle();
}

/* What was not told by then is not told. */
static void test_free(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = start(f);

    vfo_job_on_change(job, NULL, NULL);
    g_clear_pointer(&f->notes, vfo_notes_free);
    settle();
    g_assert_cmpstr(f->told->str, ==, "");
    vfo_task_done(waiting);
    settle();
    g_assert_true(vfo_job_ended(job));
}

/* Another daemon's record may be replaced before it is told of. */
static void test_replaced(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = start(f);

    settle();
    g_string_truncate(f->told, 0);
    for (guint i = 0; i < 2; i++) {
        VfoRecord *record = g_new0(VfoRecord, 1);

        record->step = g_strdup("theirs");
        record->host = g_strdup("hostb");
        record->start_us = 1;
        record->result = i ? VFO_RESULT_OK : VFO_RESULT_RUNNING;
        vfo_job_add_record(job, record);
    }
    settle();
    g_assert_cmpstr(f->told->str, ==, "theirs=ok ");
    vfo_task_done(waiting);
    settle();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/notes/once", test_once},         {"/notes/leisure", test_leisure},
        {"/notes/flush", test_flush},       {"/notes/free", test_free},
        {"/notes/replaced", test_replaced},
    };

    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
