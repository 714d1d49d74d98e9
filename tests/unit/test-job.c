/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: order, deadlines, cancellation, undo. Each test has a table of
 * steps of its own; what a step does is in its name's entry of the script.
 */
#include "core/core.h"

#include <string.h>

#define HOST     "here"
#define VM       "web1"
#define SHORT_MS 200
/* Nothing in these tests lasts as long. */
#define LONG_MS 60000
/* As job.c bounds them. */
#define MAX_RECORDS 256

typedef enum {
    DO_OK,
    DO_FAIL,
    DO_FAIL_FOR_GOOD, /* nothing more is undone */
    DO_NOT_FOR_GOOD,  /* ... unless it succeeds */
    DO_LATER,         /* succeeds on a later turn of the loop */
    DO_WAIT,          /* until its cancellable fires */
    DO_DEAF,          /* once its cancellable fires, succeeds all the same */
    DO_SKIP,          /* remarks that there is nothing to do */
    DO_REMARK_FAIL,
    DO_DEGRADE,
    DO_DEGRADE_FAIL,
    DO_CANCEL,       /* the user cancels while it runs; waits for its cancellable */
    DO_CANCEL_OK,    /* the user cancels while it runs, and it succeeds */
    DO_CANCEL_LATE,  /* the user cancels, which is refused; succeeds */
    DO_CANCEL_LATER, /* the user cancels, and it succeeds on a later turn, unless cancelled */
    DO_CANCEL_FAIL,  /* the user cancels while it runs, and it fails */
} Action;

typedef struct {
    VfoJob *job;
    GString *trace;        /* "a b -b -a" */
    GString *heard;        /* by the listener */
    GHashTable *actions;   /* "a", "-a" -> Action; DO_OK when missing */
    const char *cancel_at; /* the listener cancels when this record has ended */
    gboolean cancel_refused;
    gboolean freed;
    guint last_calls; /* listener calls with the job ended */
} Script;

static gboolean on_cancellable(GCancellable *cancellable, gpointer data)
{
    GTask *task = data;

    g_assert_true(g_task_return_error_if_cancelled(task));
    return G_SOURCE_REMOVE;
}

static gboolean on_deaf(GCancellable *cancellable, gpointer data)
{
    GTask *task = data;

    g_task_return_boolean(task, TRUE);
    return G_SOURCE_REMOVE;
}

static gboolean on_later(gpointer data)
{
    vfo_task_done(data);
    return G_SOURCE_REMOVE;
}

static void when_cancelled(GTask *task, GCancellableSourceFunc callback)
{
    g_autoptr(GSource) source = g_cancellable_source_new(g_task_get_cancellable(task));

    g_source_set_callback(source, G_SOURCE_FUNC(callback), task, g_object_unref);
    g_source_attach(source, NULL);
}

static void cancel(Script *script, gboolean expected)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(vfo_job_cancel(script->job, &error), ==, expected);
    if (!expected) {
        g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
        g_assert_nonnull(strstr(error->message, vfo_job_id(script->job)));
        script->cancel_refused = TRUE;
    }
}

static void act(VfoJob *job, GTask *task, const char *sign)
{
    Script *script = vfo_job_context(job);
    g_autofree char *name = g_strconcat(sign, vfo_job_step(job)->name, NULL);
    Action action = (Action)GPOINTER_TO_INT(g_hash_table_lookup(script->actions, name));

    g_string_append_printf(script->trace, "%s%s", script->trace->len ? " " : "", name);
    switch (action) {
    case DO_SKIP:
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "nothing to do");
        vfo_task_done(task);
        return;
    case DO_REMARK_FAIL:
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "nothing to do");
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke", name));
        return;
    case DO_NOT_FOR_GOOD:
        vfo_job_undo_no_further(job);
        vfo_task_done(task);
        return;
    case DO_FAIL_FOR_GOOD:
        vfo_job_undo_no_further(job);
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke", name));
        return;
    case DO_FAIL:
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke", name));
        return;
    case DO_DEGRADE_FAIL:
        vfo_job_degrade(job, "no VF");
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke", name));
        return;
    case DO_LATER:
        g_idle_add(on_later, task);
        return;
    case DO_CANCEL:
        cancel(script, TRUE);
        when_cancelled(task, on_cancellable);
        return;
    case DO_WAIT:
        when_cancelled(task, on_cancellable);
        return;
    case DO_DEAF:
        when_cancelled(task, on_deaf);
        return;
    case DO_CANCEL_OK:
        cancel(script, TRUE);
        break;
    case DO_CANCEL_LATE:
        cancel(script, FALSE);
        break;
    case DO_CANCEL_LATER:
        cancel(script, TRUE);
        g_assert_false(g_cancellable_is_cancelled(g_task_get_cancellable(task)));
        g_idle_add(on_later, task);
        return;
    case DO_CANCEL_FAIL:
        cancel(script, TRUE);
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke", name));
        return;
    case DO_DEGRADE:
        vfo_job_degrade(job, "no VF");
        break;
    case DO_OK:
    default:
        break;
    }
    vfo_task_done(task);
}

static void run(VfoJob *job, GTask *task)
{
    act(job, task, "");
}

static void undo(VfoJob *job, GTask *task)
{
    act(job, task, "-");
}

static void script_freed(gpointer data)
{
    ((Script *)data)->freed = TRUE;
}

static void listen_to(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Script *script = data;

    g_assert_cmpuint(script->last_calls, ==, 0);
    script->last_calls += vfo_job_ended(job);
    if (!record) {
        g_string_append_printf(script->heard, "[%s]", vfo_job_state_name(vfo_job_state(job)));
        return;
    }
    g_string_append_printf(script->heard, "%s=%s;", record->step, vfo_result_name(record->result));
    if (script->cancel_at && record->result != VFO_RESULT_RUNNING &&
        g_str_equal(script->cancel_at, record->step))
        cancel(script, TRUE);
}

/* @actions: pairs of a name ("a", or "-a" for its undo) and what it does, up to a NULL. */
static void script_init(Script *script, const VfoStep *steps, guint n_steps, ...)
{
    VfoPolicy policy;
    const char *name;
    va_list actions;

    vfo_policy_default(&policy);
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        policy.deadline_ms[i] = LONG_MS;
    policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    policy.deadline_ms[VFO_DEADLINE_PLUG] = 2 * SHORT_MS;

    *script = (Script){0};
    script->trace = g_string_new(NULL);
    script->heard = g_string_new(NULL);
    script->actions = g_hash_table_new(g_str_hash, g_str_equal);
    va_start(actions, n_steps);
    while ((name = va_arg(actions, const char *)))
        g_hash_table_insert(script->actions, (gpointer)name, GINT_TO_POINTER(va_arg(actions, int)));
    va_end(actions);
    script->job = vfo_job_new("1c3e", VM, HOST, steps, n_steps, &policy);
    vfo_job_set_context(script->job, script, script_freed);
    vfo_job_on_change(script->job, listen_to, script);
}

static void finish(Script *script, VfoJobState state, const char *trace)
{
    while (!vfo_job_ended(script->job))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(script->trace->str, ==, trace);
    g_assert_cmpstr(vfo_job_state_name(vfo_job_state(script->job)), ==, vfo_job_state_name(state));
    g_assert_cmpuint(script->last_calls, ==, 1);
    g_assert_null(vfo_job_step(script->job));
}

static void script_clear(Script *script)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_false(script->freed);
    vfo_job_unref(script->job);
    g_assert_true(script->freed);
    g_string_free(script->trace, TRUE);
    g_string_free(script->heard, TRUE);
    g_hash_table_unref(script->actions);
}

static const VfoRecord *record_of(Script *script, const char *step)
{
    GPtrArray *records = vfo_job_records(script->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (g_str_equal(record->step, step))
            return record;
    }
    g_test_message("no record of '%s'", step);
    return NULL;
}

static void assert_record(Script *script, const char *step, VfoResult result, const char *detail)
{
    const VfoRecord *record = record_of(script, step);

    g_assert_nonnull(record);
    g_assert_cmpstr(record->host, ==, HOST);
    g_assert_cmpstr(vfo_result_name(record->result), ==, vfo_result_name(result));
    g_assert_cmpstr(record->detail, ==, detail);
    g_assert_cmpint(record->start_us, >, 0);
    g_assert_cmpint(record->duration_us, >=, 0);
}

/* A step with an undo, under the short deadline; its undo under the longer one. */
#define STEP(name_, flags_)                                                                        \
    {                                                                                              \
        .name = (name_), .waits_for = "the " name_ " event", .run = run, .undo = undo,             \
        .deadline = VFO_DEADLINE_UNPLUG, .undo_deadline = VFO_DEADLINE_PLUG, .flags = (flags_)     \
    }
/* One with nothing to undo. */
#define PLAIN(name_, flags_)                                                                       \
    {                                                                                              \
        .name = (name_), .waits_for = "the " name_ " event", .run = run,                           \
        .deadline = VFO_DEADLINE_UNPLUG, .flags = (flags_)                                         \
    }

static const VfoStep abc[] = {STEP("a", 0), STEP("b", 0), STEP("c", 0)};
static const VfoStep gap[] = {PLAIN("a", 0), STEP("b", 0), PLAIN("c", 0), STEP("d", 0),
                              PLAIN("e", 0)};
static const VfoStep moving[] = {STEP("a", 0), STEP("b", VFO_STEP_NO_CANCEL),
                                 STEP("c", VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS), STEP("d", 0),
                                 STEP("e", 0)};

/* ---------------------------------------------------------- the good path */

static void test_order(void)
{
    Script script;

    script_init(&script, abc, 3, "b", DO_LATER, NULL);
    vfo_job_run(script.job);
    g_assert_cmpstr(script.trace->str, ==, "a");
    g_assert_cmpint(vfo_job_state(script.job), ==, VFO_JOB_RUNNING);
    g_assert_cmpstr(vfo_job_step(script.job)->name, ==, "a");
    finish(&script, VFO_JOB_COMPLETED, "a b c");
    g_assert_null(vfo_job_error(script.job));
    g_assert_cmpuint(vfo_job_records(script.job)->len, ==, 3);
    assert_record(&script, "a", VFO_RESULT_OK, NULL);
    assert_record(&script, "b", VFO_RESULT_OK, NULL);
    assert_record(&script, "c", VFO_RESULT_OK, NULL);
    g_assert_cmpstr(script.heard->str, ==,
                    "a=running;a=ok;b=running;b=ok;c=running;c=ok;[completed]");
    script_clear(&script);
}

static void test_no_steps(void)
{
    Script script;

    script_init(&script, abc, 0, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_COMPLETED, "");
    script_clear(&script);
}

static void test_keeps_itself(void)
{
    Script script;

    script_init(&script, abc, 3, "b", DO_LATER, NULL);
    vfo_job_run(script.job);
    /* The only reference outside. */
    vfo_job_unref(script.job);
    g_assert_false(script.freed);
    while (!script.freed)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(script.trace->str, ==, "a b c");
    g_assert_cmpuint(script.last_calls, ==, 1);
    g_string_free(script.trace, TRUE);
    g_string_free(script.heard, TRUE);
    g_hash_table_unref(script.actions);
}

/* --------------------------------------------------------- failure, undo */

static void test_undo_in_reverse(void)
{
    Script script;

    script_init(&script, abc, 3, "c", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    g_assert_error(vfo_job_error(script.job), VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "c broke");
    assert_record(&script, "c", VFO_RESULT_FAILED, "c broke");
    assert_record(&script, "undo c", VFO_RESULT_UNDONE, NULL);
    assert_record(&script, "undo a", VFO_RESULT_UNDONE, NULL);
    g_assert_cmpstr(script.heard->str, ==,
                    "a=running;a=ok;b=running;b=ok;c=running;c=failed;[undoing]"
                    "undo c=running;undo c=undone;undo b=running;undo b=undone;"
                    "undo a=running;undo a=undone;[failed]");
    script_clear(&script);
}

static void test_undo_of_the_first(void)
{
    Script script;

    script_init(&script, abc, 3, "a", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a -a");
    script_clear(&script);
}

static void test_undo_gaps(void)
{
    Script script;

    script_init(&script, gap, 5, "e", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c d e -d -b");
    script_clear(&script);

    script_init(&script, gap, 5, "a", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a");
    script_clear(&script);
}

static void test_undo_fails(void)
{
    Script script;

    script_init(&script, abc, 3, "c", DO_FAIL, "-b", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    /* The first error is the reason; the undo's is in its record. */
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "c broke");
    assert_record(&script, "undo b", VFO_RESULT_UNDO_FAILED, "-b broke");
    assert_record(&script, "undo a", VFO_RESULT_UNDONE, NULL);
    script_clear(&script);
}

static void test_undo_or_stop(void)
{
    static const VfoStep steps[] = {STEP("a", 0), STEP("b", VFO_STEP_UNDO_OR_STOP), STEP("c", 0)};
    Script script;

    script_init(&script, steps, 3, "c", DO_FAIL, "-b", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b");
    assert_record(&script, "undo b", VFO_RESULT_UNDO_FAILED, "-b broke");
    script_clear(&script);

    script_init(&script, steps, 3, "c", DO_FAIL, "-c", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    script_clear(&script);
}

/* It turns out while it is undone, and holds for that step alone. */
static void test_undo_no_further(void)
{
    Script script;

    script_init(&script, abc, 3, "c", DO_FAIL, "-b", DO_FAIL_FOR_GOOD, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b");
    script_clear(&script);

    script_init(&script, abc, 3, "c", DO_FAIL, "-c", DO_NOT_FOR_GOOD, "-b", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    script_clear(&script);
}

static void test_commits(void)
{
    Script script;

    script_init(&script, moving, 5, "e", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_DEGRADED, "a b c d e -e -d");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "e broke");
    script_clear(&script);

    script_init(&script, moving, 5, "d", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_DEGRADED, "a b c d -d");
    script_clear(&script);

    script_init(&script, moving, 5, "c", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    script_clear(&script);
}

/* ------------------------------------------------------------- deadlines */

static void test_deadline(void)
{
    Script script;
    const char *message;

    script_init(&script, abc, 3, "b", DO_WAIT, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    g_assert_error(vfo_job_error(script.job), VFO_ERROR, VFO_ERROR_DEADLINE);
    message = vfo_job_error(script.job)->message;
    g_assert_nonnull(strstr(message, VM));
    g_assert_nonnull(strstr(message, "the b event"));
    g_assert_nonnull(strstr(message, "'unplug'"));
    assert_record(&script, "b", VFO_RESULT_FAILED, message);
    g_assert_cmpint(record_of(&script, "b")->duration_us, >=, (SHORT_MS - 1) * 1000);
    script_clear(&script);
}

static void test_undo_deadline(void)
{
    Script script;
    const VfoRecord *record;

    script_init(&script, abc, 3, "b", DO_FAIL, "-b", DO_WAIT, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "b broke");
    record = record_of(&script, "undo b");
    g_assert_cmpint(record->result, ==, VFO_RESULT_UNDO_FAILED);
    g_assert_nonnull(strstr(record->detail, "'b' could not be undone"));
    /* What the step itself waits for is not what its undo waits for. */
    g_assert_null(strstr(record->detail, "the b event"));
    g_assert_nonnull(strstr(record->detail, "'plug'"));
    g_assert_cmpint(record->duration_us, >=, (2 * SHORT_MS - 1) * 1000);
    script_clear(&script);
}

/* The deadline was the step's; its undo fails for a reason of its own. */
static void test_deadline_then_undo_fails(void)
{
    Script script;

    script_init(&script, abc, 3, "b", DO_WAIT, "-b", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    g_assert_error(vfo_job_error(script.job), VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_record(&script, "undo b", VFO_RESULT_UNDO_FAILED, "-b broke");
    script_clear(&script);
}

/* What has happened has happened, although the deadline passed in the same moment. */
static void test_deadline_of_a_commit(void)
{
    Script script;

    script_init(&script, moving, 5, "c", DO_DEAF, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_COMPLETED, "a b c d e");
    g_assert_null(vfo_job_error(script.job));
    script_clear(&script);
}

static void test_deaf_step(void)
{
    Script script;

    script_init(&script, abc, 3, "b", DO_DEAF, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    g_assert_error(vfo_job_error(script.job), VFO_ERROR, VFO_ERROR_DEADLINE);
    script_clear(&script);
}

/* -------------------------------------------------------------- cancelled */

static void test_cancel_everywhere(void)
{
    static const struct {
        const char *step;
        const char *trace;
    } cases[] = {
        {"a", "a -a"},
        {"b", "a b -b -a"},
        {"c", "a b c -c -b -a"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Action action[] = {DO_CANCEL, DO_CANCEL_OK};

        for (gsize j = 0; j < G_N_ELEMENTS(action); j++) {
            Script script;

            g_test_message("in step %s, action %d", cases[i].step, action[j]);
            script_init(&script, abc, 3, cases[i].step, action[j], NULL);
            vfo_job_run(script.job);
            finish(&script, VFO_JOB_CANCELLED, cases[i].trace);
            g_assert_error(vfo_job_error(script.job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
            g_assert_cmpint(record_of(&script, cases[i].step)->result, ==, VFO_RESULT_CANCELLED);
            /* The line that the user reads names job and VM, however the step put it. */
            g_assert_nonnull(strstr(vfo_job_error(script.job)->message, vfo_job_id(script.job)));
            g_assert_nonnull(strstr(vfo_job_error(script.job)->message, vfo_job_vm(script.job)));
            script_clear(&script);
        }
    }
}

/* Between two steps: nothing waits there, but the listener is called. */
static void test_cancel_between(void)
{
    static const struct {
        const char *step;
        const char *trace;
    } cases[] = {
        {"a", "a -a"},
        {"b", "a b -b -a"},
        {"c", "a b c -c -b -a"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Script script;

        g_test_message("after step %s", cases[i].step);
        script_init(&script, abc, 3, NULL);
        script.cancel_at = cases[i].step;
        vfo_job_run(script.job);
        finish(&script, VFO_JOB_CANCELLED, cases[i].trace);
        g_assert_error(vfo_job_error(script.job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_assert_cmpint(record_of(&script, cases[i].step)->result, ==, VFO_RESULT_OK);
        script_clear(&script);
    }
}

/* In a step whose effect comes about all the same: the step ends first, in whatever way. */
static void test_cancel_after(void)
{
    static const VfoStep asking[] = {STEP("a", 0), STEP("b", VFO_STEP_CANCEL_AFTER), STEP("c", 0)};
    static const struct {
        Action action;
        VfoResult result;
    } cases[] = {
        {DO_CANCEL_LATER, VFO_RESULT_OK},
        {DO_CANCEL_FAIL, VFO_RESULT_CANCELLED},
        {DO_CANCEL, VFO_RESULT_CANCELLED}, /* by its deadline */
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Script script;

        g_test_message("action %d", cases[i].action);
        script_init(&script, asking, 3, "b", cases[i].action, NULL);
        vfo_job_run(script.job);
        g_assert_cmpint(vfo_job_state(script.job), !=, VFO_JOB_CANCELLED);
        finish(&script, VFO_JOB_CANCELLED, "a b -b -a");
        g_assert_cmpint(record_of(&script, "b")->result, ==, cases[i].result);
        script_clear(&script);
    }
}

static void test_cancel_before(void)
{
    Script script;

    script_init(&script, abc, 3, NULL);
    cancel(&script, TRUE);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_CANCELLED, "");
    g_assert_error(vfo_job_error(script.job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
    script_clear(&script);
}

static void test_cancel_refused(void)
{
    static const char *const late[] = {"b", "c", "d", "e"};

    for (gsize i = 0; i < G_N_ELEMENTS(late); i++) {
        Script script;

        g_test_message("in step %s", late[i]);
        script_init(&script, moving, 5, late[i], DO_CANCEL_LATE, NULL);
        vfo_job_run(script.job);
        finish(&script, VFO_JOB_COMPLETED, "a b c d e");
        g_assert_true(script.cancel_refused);
        g_assert_null(vfo_job_error(script.job));
        script_clear(&script);
    }
}

static void test_cancel_while_undoing(void)
{
    Script script;

    script_init(&script, abc, 3, "c", DO_FAIL, "-b", DO_CANCEL_LATE, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b c -c -b -a");
    g_assert_true(script.cancel_refused);
    script_clear(&script);
}

static void test_cancel_ended(void)
{
    g_autoptr(GError) error = NULL;
    Script script;

    script_init(&script, abc, 3, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_COMPLETED, "a b c");
    g_assert_false(vfo_job_cancel(script.job, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "completed"));
    g_assert_cmpint(vfo_job_state(script.job), ==, VFO_JOB_COMPLETED);
    script_clear(&script);
}

/* A cancellation does not stop the undo's own waits. */
static void test_undo_after_cancel(void)
{
    Script script;

    script_init(&script, abc, 3, "b", DO_CANCEL, "-b", DO_LATER, "-a", DO_LATER, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_CANCELLED, "a b -b -a");
    assert_record(&script, "undo b", VFO_RESULT_UNDONE, NULL);
    assert_record(&script, "undo a", VFO_RESULT_UNDONE, NULL);
    script_clear(&script);
}

/* -------------------------------------------------------- remark, degrade */

static void test_remark(void)
{
    Script script;

    script_init(&script, abc, 3, "a", DO_SKIP, "b", DO_REMARK_FAIL, "-a", DO_SKIP, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    assert_record(&script, "a", VFO_RESULT_SKIPPED, "nothing to do");
    assert_record(&script, "b", VFO_RESULT_FAILED, "b broke");
    assert_record(&script, "undo a", VFO_RESULT_SKIPPED, "nothing to do");
    script_clear(&script);
}

static void test_degrade(void)
{
    Script script;

    script_init(&script, moving, 5, "a", DO_DEGRADE, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_DEGRADED, "a b c d e");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "no VF");
    assert_record(&script, "a", VFO_RESULT_OK, NULL);
    script_clear(&script);
}

static void test_degrade_then(void)
{
    Script script;

    script_init(&script, moving, 5, "a", DO_DEGRADE, "b", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a b -b -a");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "b broke");
    script_clear(&script);

    script_init(&script, moving, 5, "a", DO_DEGRADE_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_FAILED, "a -a");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "a broke");
    script_clear(&script);

    script_init(&script, moving, 5, "a", DO_DEGRADE, "d", DO_FAIL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_DEGRADED, "a b c d -d");
    g_assert_cmpstr(vfo_job_error(script.job)->message, ==, "d broke");
    script_clear(&script);

    script_init(&script, abc, 3, "a", DO_DEGRADE, "b", DO_CANCEL, NULL);
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_CANCELLED, "a b -b -a");
    script_clear(&script);
}

/* ------------------------------------------------ another daemon's records */

static VfoRecord *foreign(const char *host, const char *step, gint64 start_us, VfoResult result)
{
    VfoRecord *record = g_new0(VfoRecord, 1);

    record->host = g_strdup(host);
    record->step = g_strdup(step);
    record->start_us = start_us;
    record->result = result;
    return record;
}

static void test_add_record(void)
{
    Script script;
    GPtrArray *records;

    script_init(&script, abc, 3, NULL);
    records = vfo_job_records(script.job);
    vfo_job_add_record(script.job, foreign("there", "a", 5, VFO_RESULT_RUNNING));
    g_assert_cmpuint(records->len, ==, 1);
    vfo_job_add_record(script.job, foreign("there", "a", 5, VFO_RESULT_OK));
    g_assert_cmpuint(records->len, ==, 1);
    g_assert_cmpint(((VfoRecord *)records->pdata[0])->result, ==, VFO_RESULT_OK);
    g_assert_cmpstr(script.heard->str, ==, "a=running;a=ok;");
    /* Another step, another start, another host: each a record of its own. */
    vfo_job_add_record(script.job, foreign("there", "b", 5, VFO_RESULT_OK));
    vfo_job_add_record(script.job, foreign("there", "a", 6, VFO_RESULT_OK));
    vfo_job_add_record(script.job, foreign("yonder", "a", 5, VFO_RESULT_OK));
    g_assert_cmpuint(records->len, ==, 4);
    script_clear(&script);
}

static void test_add_record_in_our_name(void)
{
    Script script;
    const VfoRecord *ours;

    script_init(&script, abc, 3, "b", DO_LATER, NULL);
    vfo_job_run(script.job);
    ours = record_of(&script, "a");
    vfo_job_add_record(script.job, foreign(HOST, "a", ours->start_us, VFO_RESULT_FAILED));
    vfo_job_add_record(script.job, foreign(HOST, "x", 5, VFO_RESULT_FAILED));
    finish(&script, VFO_JOB_COMPLETED, "a b c");
    g_assert_cmpuint(vfo_job_records(script.job)->len, ==, 3);
    assert_record(&script, "a", VFO_RESULT_OK, NULL);
    script_clear(&script);
}

static void test_add_too_many(void)
{
    Script script;
    GPtrArray *records;
    VfoRecord *last;

    script_init(&script, abc, 3, NULL);
    records = vfo_job_records(script.job);
    for (int i = 0; i < 10 * MAX_RECORDS; i++)
        vfo_job_add_record(script.job, foreign("there", "a", i, VFO_RESULT_RUNNING));
    g_assert_cmpuint(records->len, ==, MAX_RECORDS);
    /* The end of one that began still arrives. */
    vfo_job_add_record(script.job, foreign("there", "a", MAX_RECORDS - 1, VFO_RESULT_OK));
    last = g_ptr_array_index(records, MAX_RECORDS - 1);
    g_assert_cmpint(last->result, ==, VFO_RESULT_OK);
    /* The job's own are not crowded out. */
    vfo_job_run(script.job);
    finish(&script, VFO_JOB_COMPLETED, "a b c");
    assert_record(&script, "c", VFO_RESULT_OK, NULL);
    script_clear(&script);
}

/* ------------------------------------------------------------------ names */

static void test_names(void)
{
    VfoResult result = VFO_RESULT_OK;
    VfoJobState state = VFO_JOB_COMPLETED;

    for (int i = VFO_RESULT_RUNNING; i <= VFO_RESULT_UNDO_FAILED; i++) {
        g_assert_true(vfo_result_parse(vfo_result_name((VfoResult)i), &result));
        g_assert_cmpint(result, ==, i);
    }
    for (int i = VFO_JOB_RUNNING; i <= VFO_JOB_FAILED; i++) {
        g_assert_true(vfo_job_state_parse(vfo_job_state_name((VfoJobState)i), &state));
        g_assert_cmpint(state, ==, i);
    }
    g_assert_false(vfo_result_parse("OK", &result));
    g_assert_false(vfo_result_parse("", &result));
    g_assert_cmpint(result, ==, VFO_RESULT_UNDO_FAILED);
    g_assert_false(vfo_job_state_parse("ended", &state));
    g_assert_cmpint(state, ==, VFO_JOB_FAILED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed step is a warning in the log, and here it is meant to fail. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/job/order", test_order);
    g_test_add_func("/job/no-steps", test_no_steps);
    g_test_add_func("/job/keeps-itself", test_keeps_itself);
    g_test_add_func("/job/undo/in-reverse", test_undo_in_reverse);
    g_test_add_func("/job/undo/of-the-first", test_undo_of_the_first);
    g_test_add_func("/job/undo/gaps", test_undo_gaps);
    g_test_add_func("/job/undo/fails", test_undo_fails);
    g_test_add_func("/job/undo/or-stop", test_undo_or_stop);
    g_test_add_func("/job/undo/no-further", test_undo_no_further);
    g_test_add_func("/job/undo/commits", test_commits);
    g_test_add_func("/job/deadline/step", test_deadline);
    g_test_add_func("/job/deadline/undo", test_undo_deadline);
    g_test_add_func("/job/deadline/then-undo-fails", test_deadline_then_undo_fails);
    g_test_add_func("/job/deadline/commit", test_deadline_of_a_commit);
    g_test_add_func("/job/deadline/deaf", test_deaf_step);
    g_test_add_func("/job/cancel/everywhere", test_cancel_everywhere);
    g_test_add_func("/job/cancel/after", test_cancel_after);
    g_test_add_func("/job/cancel/between", test_cancel_between);
    g_test_add_func("/job/cancel/before", test_cancel_before);
    g_test_add_func("/job/cancel/refused", test_cancel_refused);
    g_test_add_func("/job/cancel/while-undoing", test_cancel_while_undoing);
    g_test_add_func("/job/cancel/ended", test_cancel_ended);
    g_test_add_func("/job/cancel/undo-after", test_undo_after_cancel);
    g_test_add_func("/job/remark", test_remark);
    g_test_add_func("/job/degrade", test_degrade);
    g_test_add_func("/job/degrade-then", test_degrade_then);
    g_test_add_func("/job/records/add", test_add_record);
    g_test_add_func("/job/records/our-name", test_add_record_in_our_name);
    g_test_add_func("/job/records/too-many", test_add_too_many);
    g_test_add_func("/job/names", test_names);
    return g_test_run();
}
