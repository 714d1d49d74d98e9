/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon does when VFs come, go and change without its doing. */
#include "daemon/daemon.h"

#include <string.h>

#define VM    "web1"
#define VF    "0000:01:10.0"
#define OTHER "0000:01:10.2"
#define JOB   "11111111-1111-1111-1111-111111111111"

static const VfoMac guest_mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};
static const VfoMac wrong_mac = {{0x52, 0x54, 0x00, 0xbb, 0x00, 0x10}};

/* ------------------------------------------------------- the other rooms */

/* A set of VMs is no more than its signal to the inventory. */
GType vms_get_type(void);
typedef GObject Vms;
typedef GObjectClass VmsClass;
G_DEFINE_FINAL_TYPE(Vms, vms, G_TYPE_OBJECT)

static void vms_class_init(VmsClass *class)
{
    g_signal_new("removed", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                 G_TYPE_NONE, 1, G_TYPE_POINTER);
}

static void vms_init(Vms *vms)
{
}

static VfoVm vm = {NULL, (char *)VM};
static VfoVmInfo *info; /* of the only VM there is */
static guint freed;     /* how often the lending was told */

GPtrArray *vfo_vms_list(VfoVms *vms)
{
    GPtrArray *list = g_ptr_array_new();

    g_ptr_array_add(list, &vm);
    return list;
}

const VfoVmInfo *vfo_vm_cached(VfoVm *which)
{
    return info;
}

void vfo_lending_freed(VfoLending *lending)
{
    freed++;
}

typedef struct {
    VfoHost host;
    VfoLeases *leases;
    VfoVfSettings settings; /* last set */
    guint changes;
    gboolean refuses;
    gboolean closed; /* nobody has the VF open */
    GTask *closing;  /* NULL: nobody waits */
} FakeHost;

static gboolean set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                       GError **error)
{
    FakeHost *host = (FakeHost *)base;

    g_assert_cmpstr(pci, ==, VF);
    /* No lease, no change of an address. */
    g_assert_nonnull(vfo_leases_holder(host->leases, pci));
    host->changes++;
    host->settings = *settings;
    if (host->refuses)
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_FAILED, "the driver refuses");
    return !host->refuses;
}

static VfoVf *vf_new(const char *pci);

static VfoVf *read_vf(VfoHost *base, const char *pci, GError **error)
{
    VfoVf *vf = vf_new(pci);

    vf->opened = !((FakeHost *)base)->closed;
    return vf;
}

static void closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    g_assert_cmpstr(pci, ==, VF);
    ((FakeHost *)base)->closing = task;
}

static const VfoHostOps host_ops = {.read_vf = read_vf, .set_vf = set_vf, .closed_vf = closed_vf};

/* --------------------------------------------------------------- fixture */

typedef struct {
    VfoConfig config;
    FakeHost host;
    VfoJobs *jobs;
    GObject *vms;
    VfoInventory *inventory;
    VfoVf *vf;  /* the VM's */
    VfoVf *now; /* the same, to be changed */
} Fixture;

static VfoVf *vf_new(const char *pci)
{
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup("pf0");
    vf->network = g_strdup("lan");
    vf->driver = g_strdup("vfio-pci");
    vf->usable = TRUE;
    vf->settings = (VfoVfSettings){.mac = guest_mac, .trust = TRUE};
    return vf;
}

static void set_up(Fixture *f, gconstpointer data)
{
    VfoPair *pair = g_new0(VfoPair, 1);
    VfoInventoryArgs args = {.config = &f->config, .host = &f->host.host};

    pair->vf = g_strdup(VF);
    pair->mac = guest_mac;
    info = g_new0(VfoVmInfo, 1);
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    g_ptr_array_add(info->pairs, pair);
    freed = 0;
    f->host.host.ops = &host_ops;
    f->host.leases = args.leases = vfo_leases_new();
    f->jobs = args.jobs = vfo_jobs_new();
    f->vms = g_object_new(vms_get_type(), NULL);
    args.vms = (VfoVms *)f->vms;
    f->inventory = vfo_inventory_new(&args);
    f->vf = vf_new(VF);
    f->now = vf_new(VF);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_inventory_free(f->inventory);
    g_object_unref(f->vms);
    g_object_unref(f->jobs);
    vfo_leases_free(f->host.leases);
    vfo_vf_free(f->vf);
    vfo_vf_free(f->now);
    g_clear_pointer(&info, vfo_vm_info_free);
}

/* Tells the inventory, which must say so in the log. */
static void tell(Fixture *f, const VfoVf *before, const VfoVf *now, gboolean ours,
                 GLogLevelFlags level, const char *line)
{
    if (line)
        g_test_expect_message(G_LOG_DOMAIN, level, line);
    vfo_inventory_on_change(&f->host.host, before, now, ours, f->inventory);
    g_test_assert_expected_messages();
}

/* The PF is known from here on. */
static void introduce(Fixture *f)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*pf0*is up*");
    tell(f, f->vf, f->now, FALSE, 0, NULL);
    g_assert_cmpuint(freed, ==, 0);
}

/* ------------------------------------------------------------ come and go */

static void test_freed(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVf) other = vf_new(OTHER);

    introduce(f);
    tell(f, NULL, other, FALSE, G_LOG_LEVEL_MESSAGE, "*" OTHER "*is there*vfio-pci*");
    g_assert_cmpuint(freed, ==, 1);
    /* Bound to another driver: nothing for a guest. And back. */
    g_free(f->now->driver);
    f->now->driver = g_strdup("igbvf");
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_MESSAGE, "*" VF "*igbvf*");
    g_assert_cmpuint(freed, ==, 1);
    tell(f, f->now, f->vf, FALSE, G_LOG_LEVEL_MESSAGE, "*" VF "*vfio-pci*");
    g_assert_cmpuint(freed, ==, 2);
    g_clear_pointer(&f->now->driver, g_free);
    tell(f, NULL, f->now, FALSE, G_LOG_LEVEL_MESSAGE, "*" VF "*is there*none*");
    g_assert_cmpuint(freed, ==, 2);
}

static void test_pf(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVf) other = vf_new(OTHER);
    g_autoptr(VfoVf) other_down = vf_new(OTHER);

    introduce(f);
    f->now->usable = other_down->usable = FALSE;
    /* Once, not for every VF of the PF. */
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_WARNING, "*pf0*down*");
    tell(f, other, other_down, FALSE, 0, NULL);
    g_assert_cmpuint(freed, ==, 0);
    tell(f, f->now, f->vf, FALSE, G_LOG_LEVEL_MESSAGE, "*pf0*is up*");
    tell(f, other_down, other, FALSE, 0, NULL);
    g_assert_cmpuint(freed, ==, 2);
}

static void on_cancelled(GCancellable *cancellable, gpointer data)
{
    g_task_return_error_if_cancelled(data);
    g_object_unref(data);
}

static void wait_for_ever(VfoJob *job, GTask *task)
{
    g_cancellable_connect(g_task_get_cancellable(task), G_CALLBACK(on_cancelled), task, NULL);
}

static void test_gone(Fixture *f, gconstpointer data)
{
    static const VfoStep steps[] = {
        {"wait", "nothing", wait_for_ever, VFO_DEADLINE_MIGRATE, NULL, 0, VFO_STEP_NEEDS_VF}};
    g_autoptr(VfoJob) job = NULL;
    VfoPolicy policy;

    tell(f, f->vf, NULL, FALSE, G_LOG_LEVEL_MESSAGE, "*" VF "*gone*");
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 1);

    vfo_policy_default(&policy);
    job = vfo_job_new(JOB, VM, "hosta", steps, G_N_ELEMENTS(steps), &policy);
    g_assert_true(vfo_jobs_add(f->jobs, job, TRUE, NULL));
    vfo_job_run(job);
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 60, NULL));
    vfo_inventory_on_change(&f->host.host, f->vf, NULL, FALSE, f->inventory);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_FATAL_MASK);
    while (!vfo_job_ended(job))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(vfo_job_state(job), ==, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(job)->message, VM));
    g_assert_nonnull(strstr(vfo_job_error(job)->message, VF));
}

/* --------------------------------------------------------------- authority */

static void test_mac_denied(Fixture *f, gconstpointer data)
{
    introduce(f);
    f->now->settings.mac = wrong_mac;
    f->now->settings.max_tx_rate = 7;
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_WARNING,
         "*" VM "*" VF "*52:54:00:aa:00:10 to 52:54:00:bb:00:10*trusted*put back*");
    g_assert_cmpuint(f->host.changes, ==, 1);
    g_assert_true(vfo_mac_equal(&f->host.settings.mac, &guest_mac));
    /* The rest is the administrator's. */
    g_assert_cmpuint(f->host.settings.max_tx_rate, ==, 7);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));

    f->now->mac_resets = TRUE;
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_WARNING,
         "*put back, for which the PF's driver resets the VF*");

    f->now->settings.trust = FALSE;
    f->host.refuses = TRUE;
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_WARNING,
         "*by somebody on this host*cannot be put back: the driver refuses");
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void test_mac_logged(Fixture *f, gconstpointer data)
{
    introduce(f);
    f->config.guest_mac = VFO_GUEST_MAC_LOG;
    f->now->settings.mac = wrong_mac;
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_WARNING, "*" VM "*" VF "*left so*");
    g_assert_cmpuint(f->host.changes, ==, 0);
}

static guint told; /* how often a job was */

static void on_vf_changed(VfoJob *job, const VfoVf *now)
{
    g_assert_cmpstr(now->pci, ==, VF);
    g_assert_true(vfo_mac_equal(&now->settings.mac, &wrong_mac));
    told++;
}

/* The job is told, and of its own changes as well: they may hide another's. */
static void test_mac_leased(Fixture *f, gconstpointer data)
{
    static const VfoStep steps[] = {
        {"wait", "nothing", wait_for_ever, VFO_DEADLINE_MIGRATE, NULL, 0, 0, NULL, on_vf_changed}};
    g_autoptr(VfoJob) job = NULL;
    VfoPolicy policy;

    introduce(f);
    told = 0;
    f->now->settings.mac = wrong_mac;
    vfo_policy_default(&policy);
    job = vfo_job_new(JOB, VM, "hosta", steps, G_N_ELEMENTS(steps), &policy);
    g_assert_true(vfo_jobs_add(f->jobs, job, TRUE, NULL));
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 60, NULL));
    vfo_job_run(job);
    tell(f, f->vf, f->now, FALSE, 0, NULL);
    g_assert_cmpuint(told, ==, 1);
    tell(f, f->vf, f->now, TRUE, 0, NULL);
    g_assert_cmpuint(told, ==, 2);
    tell(f, f->now, f->now, FALSE, 0, NULL);
    g_assert_cmpuint(told, ==, 2);
    vfo_leases_drop(f->host.leases, VF, JOB);
    tell(f, f->vf, f->now, TRUE, 0, NULL);
    g_assert_cmpuint(told, ==, 2);
    g_assert_cmpuint(f->host.changes, ==, 0);
    g_assert_true(vfo_job_cancel(job, NULL));
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR | G_LOG_FATAL_MASK);
    while (!vfo_job_ended(job))
        g_main_context_iteration(NULL, TRUE);
}

static void test_mac_allowed(Fixture *f, gconstpointer data)
{
    introduce(f);
    /* Ours. */
    f->now->settings.mac = wrong_mac;
    tell(f, f->vf, f->now, TRUE, 0, NULL);
    /* Of a domain that libvirt is about to start. */
    g_assert_true(vfo_leases_take(f->host.leases, VF, "domain 1", 60, NULL));
    tell(f, f->vf, f->now, FALSE, 0, NULL);
    vfo_leases_drop(f->host.leases, VF, "domain 1");
    /* From a wrong one to the right one: a repair. */
    tell(f, f->now, f->vf, FALSE, G_LOG_LEVEL_MESSAGE, "*somebody*" VF "*" VM "*");
    /* QEMU has ended, and somebody parks its VF. */
    f->host.closed = TRUE;
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_MESSAGE, "*somebody*" VF "*");
    f->host.closed = FALSE;
    /* Of a VF that no VM has. */
    g_ptr_array_set_size(info->pairs, 0);
    tell(f, f->vf, f->now, FALSE, G_LOG_LEVEL_MESSAGE, "*somebody*" VF "*");
    g_assert_cmpuint(f->host.changes, ==, 0);
}

/* ------------------------------------------------------------- QEMU's end */

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static void test_exit(Fixture *f, gconstpointer data)
{
    g_signal_emit_by_name(f->vms, "removed", &vm);
    turn();
    g_assert_nonnull(f->host.closing);
    g_assert_cmpuint(freed, ==, 0);
    vfo_task_done(g_steal_pointer(&f->host.closing));
    turn();
    g_assert_cmpuint(freed, ==, 1);

    /* The inventory goes before QEMU does. */
    g_signal_emit_by_name(f->vms, "removed", &vm);
    vfo_inventory_free(f->inventory);
    f->inventory = NULL;
    g_assert_true(g_cancellable_is_cancelled(g_task_get_cancellable(f->host.closing)));
    vfo_task_done(g_steal_pointer(&f->host.closing));
    turn();
    g_assert_cmpuint(freed, ==, 1);
}

/* ------------------------------------------------------------------ owned */

static void test_owned(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVf) other = vf_new(OTHER);

    g_assert_true(vfo_inventory_owned(f->vf, "web2", f->vms));
    g_assert_false(vfo_inventory_owned(other, "web2", f->vms));
    g_assert_false(vfo_inventory_owned(f->vf, VM, f->vms));
    /* It has been taken out of its guest, and the VM has not been looked at since. */
    f->vf->settings.mac = wrong_mac;
    g_assert_false(vfo_inventory_owned(f->vf, "web2", f->vms));
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/inventory/freed", test_freed);
    add("/inventory/pf", test_pf);
    add("/inventory/gone", test_gone);
    add("/inventory/mac-denied", test_mac_denied);
    add("/inventory/mac-logged", test_mac_logged);
    add("/inventory/mac-leased", test_mac_leased);
    add("/inventory/mac-allowed", test_mac_allowed);
    add("/inventory/exit", test_exit);
    add("/inventory/owned", test_owned);
    return g_test_run();
}
