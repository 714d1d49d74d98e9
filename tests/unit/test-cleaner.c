/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VFs that could not be cleaned. */
#include "daemon/daemon.h"

#include <string.h>

#define VF  "0000:01:10.0"
#define JOB "11111111-1111-1111-1111-111111111111"
#define OLD "domain web1"

/* ------------------------------------------------------- the other rooms */

static VfoVm vm = {NULL, (char *)"web1"};
static VfoPair pair; /* web1's; vf NULL: it has none */
static guint freed;

GPtrArray *vfo_vms_list(VfoVms *vms)
{
    return g_ptr_array_new();
}

const VfoPair *vfo_inventory_owner(GPtrArray *vms, const char *pci, VfoVm **owner)
{
    *owner = pair.vf ? &vm : NULL;
    return pair.vf ? &pair : NULL;
}

void vfo_lending_freed(VfoLending *lending)
{
    freed++;
}

typedef struct {
    VfoHost host;
    VfoLeases *leases;
    VfoVf *vf; /* NULL: it has gone */
    gboolean reset_fails;
    guint resets;
    GTask *closing; /* NULL: nobody waits */
} FakeHost;

static VfoVf *read_vf(VfoHost *base, const char *pci, GError **error)
{
    const FakeHost *host = (FakeHost *)base;

    if (!host->vf)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "netlink is silent");
    return host->vf ? vfo_vf_copy(host->vf) : NULL;
}

static gboolean set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                       GError **error)
{
    FakeHost *host = (FakeHost *)base;

    g_assert_cmpstr(vfo_leases_holder(host->leases, pci), ==, "the cleaner");
    host->vf->settings = *settings;
    return TRUE;
}

static void closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    ((FakeHost *)base)->closing = task;
}

static void reset_vf(VfoHost *base, const char *pci, GTask *task)
{
    FakeHost *host = (FakeHost *)base;

    g_assert_cmpstr(vfo_leases_holder(host->leases, pci), ==, "the cleaner");
    host->resets++;
    if (host->reset_fails)
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "it is lost again"));
    else
        vfo_task_done(task);
}

static const VfoHostOps host_ops = {
    .read_vf = read_vf, .set_vf = set_vf, .closed_vf = closed_vf, .reset_vf = reset_vf};

/* ---------------------------------------------------------------- fixture */

typedef struct {
    FakeHost host;
    VfoJobs *jobs;
    VfoCleaner *cleaner;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    VfoCleanerArgs args = {.host = &f->host.host};

    f->host.host.ops = &host_ops;
    f->host.leases = args.leases = vfo_leases_new();
    f->host.vf = g_new0(VfoVf, 1);
    f->host.vf->pci = g_strdup(VF);
    f->host.vf->parking = (VfoMac){{2, 0, 0, 0, 0, 1}};
    f->host.vf->settings.mac = pair.mac = (VfoMac){{0x52, 0x54, 0, 0xaa, 0, 0x10}};
    f->jobs = args.jobs = vfo_jobs_new();
    f->cleaner = vfo_cleaner_new(&args);
    pair.vf = NULL;
    freed = 0;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_cleaner_free(f->cleaner);
    if (f->host.closing)
        vfo_task_done(g_steal_pointer(&f->host.closing));
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_object_unref(f->jobs);
    vfo_leases_free(f->host.leases);
    vfo_vf_free(f->host.vf);
}

static void expect(GLogLevelFlags level, const char *line)
{
    g_test_expect_message(G_LOG_DOMAIN, level, line);
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_test_assert_expected_messages();
}

static void keep(Fixture *f)
{
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "VF " VF " is lost");

    expect(G_LOG_LEVEL_WARNING,
           "VF " VF ", which VM web1 had, could not be cleaned: VF " VF " is lost; no other VM*");
    g_assert_true(vfo_leases_take(f->host.leases, VF, OLD, 60, NULL));
    vfo_leases_keep(f->host.leases, VF, OLD, "web1", why);
    g_test_assert_expected_messages();
}

/* A minute has passed. */
static void try_again(Fixture *f)
{
    vfo_cleaner_try(f->cleaner);
    if (f->host.closing)
        vfo_task_done(g_steal_pointer(&f->host.closing));
    turn();
}

static void assert_kept(Fixture *f, const char *why)
{
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_cmpstr(vfo_leases_unclean(f->host.leases, VF, NULL), ==, why);
    g_assert_true(vfo_leases_owned(f->host.leases, f->host.vf, "web2"));
    /* The one that had it may have it again. */
    g_assert_false(vfo_leases_owned(f->host.leases, f->host.vf, "web1"));
}

static void assert_free(Fixture *f)
{
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_null(vfo_leases_unclean(f->host.leases, VF, NULL));
}

/* ------------------------------------------------------------------- tests */

/* What goes wrong again is not logged again. */
static void test_again(Fixture *f, gconstpointer data)
{
    keep(f);
    assert_kept(f, "VF " VF " is lost");
    f->host.reset_fails = TRUE;
    for (int i = 0; i < 3; i++) {
        try_again(f);
        assert_kept(f, "it is lost again");
    }
    g_assert_cmpuint(f->host.resets, ==, 3);
    g_assert_cmpuint(freed, ==, 0);
    f->host.reset_fails = FALSE;
    expect(G_LOG_LEVEL_MESSAGE, "VF " VF ", which VM web1 had, is clean now*");
    try_again(f);
    assert_free(f);
    g_assert_true(vfo_mac_equal(&f->host.vf->settings.mac, &f->host.vf->parking));
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 1);
    g_assert_cmpuint(freed, ==, 1);
    try_again(f);
    g_assert_cmpuint(f->host.resets, ==, 4);
}

/* One try at a time, however long it takes. */
static void test_slow(Fixture *f, gconstpointer data)
{
    GTask *first;

    keep(f);
    vfo_cleaner_try(f->cleaner);
    first = f->host.closing;
    g_assert_nonnull(first);
    vfo_cleaner_try(f->cleaner);
    g_assert_true(f->host.closing == first);
    expect(G_LOG_LEVEL_MESSAGE, "*is clean now*");
    try_again(f);
}

/* The daemon ends in the middle. */
static void test_freed(Fixture *f, gconstpointer data)
{
    keep(f);
    vfo_cleaner_try(f->cleaner);
    g_assert_nonnull(f->host.closing);
}

static void test_unreadable(Fixture *f, gconstpointer data)
{
    VfoVf *vf = g_steal_pointer(&f->host.vf);

    keep(f);
    try_again(f);
    g_assert_cmpstr(vfo_leases_unclean(f->host.leases, VF, NULL), ==, "VF " VF " is lost");
    /* It has gone, and what comes under its address is another. */
    vfo_leases_gone(f->host.leases, VF);
    try_again(f);
    assert_free(f);
    f->host.vf = vf;
}

/* It goes while it is tried: another one is not kept for what became of it. */
static void test_gone(Fixture *f, gconstpointer data)
{
    keep(f);
    vfo_cleaner_try(f->cleaner);
    vfo_leases_gone(f->host.leases, VF);
    expect(G_LOG_LEVEL_WARNING, "VF " VF "*no such device; it has gone*");
    vfo_task_fail(g_steal_pointer(&f->host.closing),
                  g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "no such device"));
    turn();
    assert_free(f);
}

/* On a driver of the host's it is left alone, and is not unclean any more without an address. */
static void test_hosts(Fixture *f, gconstpointer data)
{
    keep(f);
    g_free(f->host.vf->driver);
    f->host.vf->driver = g_strdup("igbvf");
    try_again(f);
    assert_kept(f, "VF " VF " is lost");
    f->host.vf->settings.mac = f->host.vf->parking;
    try_again(f);
    assert_free(f);
    g_assert_cmpuint(f->host.resets, ==, 0);
}

/* Not while somebody has it, or may have it. */
static void test_in_use(Fixture *f, gconstpointer data)
{
    keep(f);
    f->host.vf->opened = TRUE;
    try_again(f);
    assert_kept(f, "VF " VF " is lost");
    pair.vf = (char *)VF;
    pair.mac.octet[5] = 9;
    try_again(f);
    f->host.vf->opened = FALSE;
    try_again(f);
    assert_kept(f, "VF " VF " is lost");
    g_assert_cmpuint(f->host.resets, ==, 0);
    /* It is its VM's after all. */
    f->host.vf->opened = TRUE;
    pair.mac = f->host.vf->settings.mac;
    try_again(f);
    assert_free(f);
    g_assert_cmpuint(f->host.resets, ==, 0);
}

/* It is about to have it again: that needs no lease of ours. */
static void test_own(Fixture *f, gconstpointer data)
{
    keep(f);
    g_assert_true(vfo_leases_take(f->host.leases, VF, OLD, 60, NULL));
    try_again(f);
    g_assert_cmpuint(f->host.resets, ==, 0);
    /* And never did. */
    vfo_leases_drop(f->host.leases, VF, OLD);
    assert_kept(f, "VF " VF " is lost");
    expect(G_LOG_LEVEL_MESSAGE, "*is clean now*");
    try_again(f);
    assert_free(f);
}

static void pass(VfoJob *job, GTask *task)
{
    vfo_task_done(task);
}

/* Ended, it has no use for a lease. */
static void test_job(Fixture *f, gconstpointer data)
{
    static const VfoStep step = {.name = "x", .waits_for = "nothing", .run = pass};
    VfoPolicy policy;
    g_autoptr(VfoJob) job = NULL;

    vfo_policy_default(&policy);
    job = vfo_job_new(JOB, "web1", "hosta", &step, 1, &policy);
    g_assert_true(vfo_jobs_add(f->jobs, job, TRUE, NULL));
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 60, NULL));
    vfo_jobs_note(f->jobs, job, NULL);
    g_assert_cmpstr(vfo_leases_holder(f->host.leases, VF), ==, JOB);
    expect(G_LOG_LEVEL_MESSAGE, "*x: ok*");
    expect(G_LOG_LEVEL_MESSAGE, "*completed");
    expect(G_LOG_LEVEL_WARNING, "VF " VF ", which VM web1 had, *job " JOB " has left it*");
    vfo_job_run(job);
    while (!vfo_job_ended(job))
        g_main_context_iteration(NULL, TRUE);
    g_test_assert_expected_messages();
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    expect(G_LOG_LEVEL_MESSAGE, "*is clean now*");
    try_again(f);
    assert_free(f);
}

#define ADD(name, func) g_test_add("/cleaner/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("again", test_again);
    ADD("slow", test_slow);
    ADD("freed", test_freed);
    ADD("unreadable", test_unreadable);
    ADD("gone", test_gone);
    ADD("hosts", test_hosts);
    ADD("in-use", test_in_use);
    ADD("own", test_own);
    ADD("job", test_job);
    return g_test_run();
}
