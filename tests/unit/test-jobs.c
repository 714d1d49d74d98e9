/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs of a host: one per VM at a time, found by id, beginning or VM, bounded. */
#include "daemon/daemon.h"

#include <string.h>

#define KEPT 64

/* A step that ends when it is cancelled. */
static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    GTask *task = data;

    g_task_return_error_if_cancelled(task);
    g_object_unref(task);
    return G_SOURCE_REMOVE;
}

static void wait_for_cancel(VfoJob *job, GTask *task)
{
    GSource *source = g_cancellable_source_new(g_task_get_cancellable(task));

    g_source_set_callback(source, G_SOURCE_FUNC(on_cancelled), task, NULL);
    g_source_attach(source, NULL);
    g_source_unref(source);
}

static void pass(VfoJob *job, GTask *task)
{
    vfo_task_done(task);
}

static const VfoStep waiting[] = {
    {"wait", "the user", wait_for_cancel, VFO_DEADLINE_MIGRATE, NULL, VFO_DEADLINE_QUERY, 0},
};
static const VfoStep passing[] = {
    {"pass", "nothing", pass, VFO_DEADLINE_QUERY, NULL, VFO_DEADLINE_QUERY, 0},
};
static const VfoStep stubborn[] = {
    {"wait", "the other host", wait_for_cancel, VFO_DEADLINE_MIGRATE, NULL, VFO_DEADLINE_QUERY,
     VFO_STEP_NO_CANCEL},
};

static VfoJob *new_job(const char *id, const char *vm, const VfoStep *steps)
{
    VfoPolicy policy;

    vfo_policy_default(&policy);
    return vfo_job_new(id, vm, "hosta", steps, 1, &policy);
}

static VfoJob *add_job(VfoJobs *jobs, const char *id, const char *vm, const VfoStep *steps)
{
    g_autoptr(VfoJob) job = new_job(id, vm, steps);
    GError *error = NULL;

    vfo_jobs_add(jobs, job, TRUE, &error);
    g_assert_no_error(error);
    vfo_job_run(job);
    return job; /* the list has it */
}

static void run_to_end(VfoJob *job)
{
    while (!vfo_job_ended(job))
        g_main_context_iteration(NULL, TRUE);
}

static void assert_not_found(VfoJobs *jobs, const char *what, gint code)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vfo_jobs_find(jobs, what, &error));
    g_assert_error(error, VFO_ERROR, code);
    g_assert_nonnull(strstr(error->message, what));
}

static void test_find(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *first = add_job(jobs, "aaaa1111-0000-0000-0000-000000000000", "web1", passing);
    VfoJob *second, *third;

    run_to_end(first);
    second = add_job(jobs, "aaaa2222-0000-0000-0000-000000000000", "web1", passing);
    run_to_end(second);
    third = add_job(jobs, "bbbb3333-0000-0000-0000-000000000000", "db1", passing);
    run_to_end(third);

    g_assert_true(vfo_jobs_find(jobs, "aaaa1111-0000-0000-0000-000000000000", NULL) == first);
    g_assert_true(vfo_jobs_find(jobs, "aaaa1", NULL) == first);
    g_assert_true(vfo_jobs_find(jobs, "bbbb", NULL) == third);
    /* a VM's name stands for its latest job */
    g_assert_true(vfo_jobs_find(jobs, "web1", NULL) == second);
    g_assert_true(vfo_jobs_find(jobs, "db1", NULL) == third);

    assert_not_found(jobs, "aaaa", VFO_ERROR_INVALID);
    assert_not_found(jobs, "bbb", VFO_ERROR_NOT_FOUND);
    assert_not_found(jobs, "", VFO_ERROR_NOT_FOUND);
    assert_not_found(jobs, "web", VFO_ERROR_NOT_FOUND);
    assert_not_found(jobs, "aaaa1111-0000-0000-0000-0000000000001", VFO_ERROR_NOT_FOUND);
}

/* A job that takes a VF from one VM for another is both VMs'. */
static void test_two_vms(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    g_autoptr(VfoJob) lending = new_job("11111111", "web1", waiting);
    g_autoptr(VfoJob) of_giver = new_job("22222222", "web2", waiting);
    g_autoptr(VfoJob) from_taker = new_job("33333333", "web3", waiting);
    g_autoptr(GError) error = NULL;

    vfo_job_set_kind(lending, "attach", "web2");
    vfo_job_set_kind(from_taker, "attach", "web1");
    g_assert_true(vfo_jobs_add(jobs, lending, TRUE, NULL));
    vfo_job_run(lending);
    g_assert_true(vfo_jobs_of_vm(jobs, "web2") == lending);
    g_assert_true(vfo_jobs_find(jobs, "web2", NULL) == lending);
    g_assert_false(vfo_jobs_add(jobs, of_giver, TRUE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_false(vfo_jobs_add(jobs, from_taker, TRUE, NULL));
    g_assert_null(vfo_jobs_of_vm(jobs, "web3"));
    g_assert_true(vfo_job_cancel(lending, NULL));
    run_to_end(lending);
    g_assert_null(vfo_jobs_of_vm(jobs, "web2"));
}

static VfoJob *add_pair(VfoJobs *jobs, const char *id, const char *vm, const char *standby,
                        GError **error)
{
    g_autoptr(VfoJob) job = new_job(id, vm, waiting);

    vfo_job_set_pair(job, standby);
    if (!vfo_jobs_add(jobs, job, TRUE, error))
        return NULL;
    vfo_job_run(job);
    return job; /* the list has it */
}

static void end(VfoJob *job)
{
    g_assert_true(vfo_job_cancel(job, NULL));
    run_to_end(job);
}

static void assert_beside(VfoJobs *jobs, VfoJob *job, VfoJob *other)
{
    g_autoptr(GPtrArray) beside = vfo_jobs_beside(jobs, job);

    g_assert_cmpuint(beside->len, ==, other ? 1 : 0);
    g_assert_true(!other || g_ptr_array_index(beside, 0) == other);
}

static void test_pairs(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *first = add_pair(jobs, "11111111", "web1", "net1", NULL);
    VfoJob *second = add_pair(jobs, "22222222", "web1", "net2", NULL);
    VfoJob *stranger = add_pair(jobs, "33333333", "web2", "net2", NULL);
    g_autoptr(VfoJob) lending = new_job("44444444", "web3", waiting);
    g_autoptr(GError) error = NULL;
    VfoJob *later;

    g_assert_true(first && second && stranger);
    g_assert_cmpstr(vfo_job_pair(second), ==, "net2");
    assert_beside(jobs, first, second);
    assert_beside(jobs, second, first);
    assert_beside(jobs, stranger, NULL);
    g_assert_true(vfo_jobs_of_vm(jobs, "web1") == first);
    /* The same pair, all of the VM, and its VFs for another one. */
    g_assert_null(add_pair(jobs, "55555555", "web1", "net2", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "22222222"));
    g_assert_null(add_pair(jobs, "55555555", "web1", NULL, NULL));
    vfo_job_set_kind(lending, "attach", "web1");
    vfo_job_set_pair(lending, "net3");
    g_assert_false(vfo_jobs_add(jobs, lending, TRUE, NULL));

    /* The one that is under way goes before a later one. */
    end(second);
    g_assert_true(vfo_jobs_find(jobs, "web1", NULL) == first);
    end(first);
    g_assert_true(vfo_jobs_find(jobs, "web1", NULL) == second);
    later = add_pair(jobs, "66666666", "web1", "net1", NULL);
    assert_beside(jobs, later, NULL);
    assert_beside(jobs, first, second);
    end(later);
    end(stranger);
}

/* Who chooses the id may choose badly. */
static void test_same_id(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *first = add_job(jobs, "11111111", "web1", waiting);
    g_autoptr(VfoJob) second = new_job("11111111", "web2", waiting);
    g_autoptr(GError) error = NULL;

    g_assert_false(vfo_jobs_add(jobs, second, TRUE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "11111111 already, for VM web1"));
    g_assert_cmpuint(vfo_jobs_list(jobs)->len, ==, 1);
    end(first);
    g_assert_true(vfo_jobs_add(jobs, second, TRUE, NULL));
}

static void test_one_per_vm(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *first = add_job(jobs, "11111111", "web1", waiting);
    VfoJob *other = add_job(jobs, "22222222", "web2", waiting);
    g_autoptr(VfoJob) second = new_job("33333333", "web1", waiting);
    GError *error = NULL;

    g_assert_true(vfo_jobs_of_vm(jobs, "web1") == first);
    g_assert_true(vfo_jobs_of_vm(jobs, "web2") == other);
    g_assert_null(vfo_jobs_of_vm(jobs, "web3"));
    g_assert_false(vfo_jobs_add(jobs, second, TRUE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "web1"));
    g_assert_nonnull(strstr(error->message, "11111111"));
    g_clear_error(&error);
    g_assert_cmpuint(vfo_jobs_list(jobs)->len, ==, 2);

    vfo_job_cancel(first, NULL);
    run_to_end(first);
    g_assert_null(vfo_jobs_of_vm(jobs, "web1"));
    g_assert_true(vfo_jobs_add(jobs, second, TRUE, NULL));
    vfo_job_cancel(other, NULL);
    run_to_end(other);
}

static void test_bounded(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *running = add_job(jobs, "the-one-that-runs", "busy", waiting);

    for (guint i = 0; i < 3 * KEPT; i++) {
        g_autofree char *id = g_strdup_printf("job-%04u", i);

        run_to_end(add_job(jobs, id, "web1", passing));
        g_assert_cmpuint(vfo_jobs_list(jobs)->len, <=, KEPT);
    }
    g_assert_cmpuint(vfo_jobs_list(jobs)->len, ==, KEPT);
    /* the oldest went, but not what is under way */
    g_assert_true(vfo_jobs_find(jobs, "the-one-that-runs", NULL) == running);
    g_assert_null(vfo_jobs_find(jobs, "job-0000", NULL));
    g_assert_nonnull(vfo_jobs_find(jobs, "job-0191", NULL));
    g_assert_nonnull(vfo_jobs_find(jobs, "job-0129", NULL));
    g_assert_null(vfo_jobs_find(jobs, "job-0128", NULL));
    vfo_job_cancel(running, NULL);
    run_to_end(running);
}

typedef struct {
    guint records;
    guint states;
    VfoJob *job;
} Seen;

static void on_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    Seen *seen = data;

    seen->job = job;
    if (record)
        seen->records++;
    else
        seen->states++;
}

static void test_changed(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    g_autoptr(VfoJob) unheard = new_job("22222222", "web2", passing);
    Seen seen = {0};
    VfoJob *job;

    g_signal_connect(jobs, "changed", G_CALLBACK(on_changed), &seen);
    job = add_job(jobs, "11111111", "web1", passing);
    run_to_end(job);
    g_assert_true(seen.job == job);
    g_assert_cmpuint(seen.records, ==, 2); /* it began, it ended */
    g_assert_cmpuint(seen.states, ==, 1);

    /* followed by somebody else, who tells */
    g_assert_true(vfo_jobs_add(jobs, unheard, FALSE, NULL));
    vfo_job_run(unheard);
    run_to_end(unheard);
    g_assert_cmpuint(seen.states, ==, 1);
    vfo_jobs_note(jobs, unheard, NULL);
    g_assert_cmpuint(seen.states, ==, 2);
    g_assert_true(seen.job == unheard);
}

static void test_cancel_all(void)
{
    g_autoptr(VfoJobs) jobs = vfo_jobs_new();
    VfoJob *ended, *running, *busy;

    g_assert_true(vfo_jobs_cancel_all(jobs));
    ended = add_job(jobs, "11111111", "web1", passing);
    run_to_end(ended);
    g_assert_true(vfo_jobs_cancel_all(jobs));

    running = add_job(jobs, "22222222", "web2", waiting);
    busy = add_job(jobs, "33333333", "web3", stubborn);
    g_assert_false(vfo_jobs_cancel_all(jobs));
    run_to_end(running);
    g_assert_cmpint(vfo_job_state(running), ==, VFO_JOB_CANCELLED);
    g_assert_cmpint(vfo_job_state(ended), ==, VFO_JOB_COMPLETED);
    /* one that may not be cancelled is waited for */
    g_assert_false(vfo_job_ended(busy));
    g_assert_false(vfo_jobs_cancel_all(jobs));
    vfo_jobs_undo_within(jobs, 0);
    g_assert_false(vfo_job_ended(busy));
}

/* A job may outlive the list, as when the daemon stops before it has ended. */
static void test_freed_first(void)
{
    VfoJobs *jobs = vfo_jobs_new();
    g_autoptr(VfoJob) job = new_job("11111111", "web1", waiting);

    g_assert_true(vfo_jobs_add(jobs, job, TRUE, NULL));
    vfo_job_run(job);
    g_object_unref(jobs);
    vfo_job_cancel(job, NULL);
    run_to_end(job);
    g_assert_cmpint(vfo_job_state(job), ==, VFO_JOB_CANCELLED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A cancelled step warns in the log. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/jobs/find", test_find);
    g_test_add_func("/jobs/one-per-vm", test_one_per_vm);
    g_test_add_func("/jobs/two-vms", test_two_vms);
    g_test_add_func("/jobs/pairs", test_pairs);
    g_test_add_func("/jobs/same-id", test_same_id);
    g_test_add_func("/jobs/bounded", test_bounded);
    g_test_add_func("/jobs/changed", test_changed);
    g_test_add_func("/jobs/cancel-all", test_cancel_all);
    g_test_add_func("/jobs/freed-first", test_freed_first);
    return g_test_run();
}
