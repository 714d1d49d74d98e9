/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains of libvirt that come without their VF: whom the daemon expects, and for how long. */
#include "daemon/daemon.h"

#define UUID "12345678-0000-4000-8000-00000000000c"
#define JOB  "5f1e2f6a-0000-4000-8000-000000000001"

/* ------------------------------------------------------- the other rooms */

static VfoVm vm = {NULL, (char *)"web1"};
static VfoDomain *expected; /* NULL: nobody is */
static gboolean is_here;

VfoVm *vfo_vms_expect(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    g_assert_null(expected);
    if (is_here) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY, "VM %s runs here already", domain->name);
        return NULL;
    }
    expected = vfo_domain_copy(domain);
    return &vm;
}

void vfo_vms_unexpect(VfoVms *vms, const char *uuid)
{
    g_assert_cmpstr(uuid, ==, UUID);
    g_clear_pointer(&expected, vfo_domain_free);
}

static VfoDestinationArgs made;
static GTask *stepping;

static void step(VfoJob *job, GTask *task)
{
    stepping = task;
}

VfoJob *vfo_bare_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                 const VfoPolicy *policy)
{
    static const VfoStep steps[] = {
        {.name = "all", .waits_for = "x", .run = step, .deadline = VFO_DEADLINE_MIGRATE}};

    made = *args;
    g_assert_true(policy->standby_only);
    return vfo_job_new(args->offer->job, args->vm->name, host_name, steps, 1, policy);
}

/* ---------------------------------------------------------------- fixture */

typedef struct {
    VfoConfig config;
    VfoJobs *jobs;
    VfoMoves *moves;
    VfoPair pair;
    VfoOffer offer;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    VfoArrivalsArgs args = {.config = &f->config};

    f->config.name = (char *)"hostb";
    vfo_policy_default(&f->config.policy);
    f->config.policy.standby_only = TRUE;
    f->jobs = args.jobs = vfo_jobs_new();
    f->moves = vfo_moves_new(&args);
    f->pair = (VfoPair){.standby = (char *)"net0", .bonded = TRUE};
    g_assert_true(vfo_mac_parse("52:54:00:aa:00:10", &f->pair.mac));
    f->offer = (VfoOffer){.job = (char *)JOB,
                          .vm = (char *)"web1",
                          .machine = (char *)"pc-q35-10.0",
                          .uuid = (char *)UUID,
                          .pair = &f->pair};
    is_here = FALSE;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_moves_free(f->moves);
    g_object_unref(f->jobs);
    g_clear_pointer(&expected, vfo_domain_free);
}

static void on_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    vfo_jobs_note(data, job, record);
}

/* The job of hosta's offer, which is run as peer/ does it. */
static VfoJob *begin(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VfoJob *job = vfo_moves_job(f->moves, "hosta", &f->offer, NULL, f, &error);

    g_assert_no_error(error);
    vfo_job_on_change(job, on_changed, f->jobs);
    vfo_job_run(job);
    return job;
}

static void end(VfoJob *job, GError *error)
{
    vfo_task_return(g_steal_pointer(&stepping), error == NULL, error);
    while (!vfo_job_ended(job))
        g_main_context_iteration(NULL, TRUE);
}

/* ------------------------------------------------------------------ tests */

static void test_bonded(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = begin(f);
    const VfoDomainPair *standby;

    g_assert_cmpstr(vfo_job_id(job), ==, JOB);
    g_assert_true(made.vm == &vm && made.data == f);
    g_assert_cmpstr(expected->name, ==, "web1");
    g_assert_cmpstr(expected->uuid, ==, UUID);
    g_assert_cmpstr(expected->machine, ==, "pc-q35-10.0");
    g_assert_cmpuint(expected->pairs->len, ==, 0);
    g_assert_cmpuint(expected->plain->len, ==, 1);
    standby = g_ptr_array_index(expected->plain, 0);
    g_assert_cmpstr(standby->standby, ==, "net0");
    g_assert_true(vfo_mac_equal(&standby->mac, &f->pair.mac));
    end(job, NULL);
    g_assert_null(expected);
}

static void test_pair(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    f->pair.bonded = FALSE;
    job = begin(f);
    g_assert_cmpuint(expected->plain->len, ==, 0);
    g_assert_nonnull(vfo_domain_pair(expected, "net0"));
    end(job, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "the source has given up"));
    g_assert_null(expected);
}

static void test_here_already(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    is_here = TRUE;
    g_assert_null(vfo_moves_job(f->moves, "hosta", &f->offer, NULL, NULL, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_cmpstr(error->message, ==, "at the destination: VM web1 runs here already");
}

/* Who comes second does not spoil it for the first. */
static void test_busy(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = begin(f);
    g_autoptr(GError) error = NULL;

    f->offer.job = (char *)"5f1e2f6a-0000-4000-8000-000000000002";
    g_assert_null(vfo_moves_job(f->moves, "hosta", &f->offer, NULL, NULL, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, JOB));
    g_assert_nonnull(expected);
    end(job, NULL);
    g_assert_null(expected);
}

#define ADD(name, func) g_test_add("/moves/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A job that fails says so. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    ADD("bonded", test_bonded);
    ADD("pair", test_pair);
    ADD("here-already", test_here_already);
    ADD("busy", test_busy);
    return g_test_run();
}
