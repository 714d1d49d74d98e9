/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMs that are on their standby, as a daemon finds them that was not there when their VF left. */
#include "daemon/daemon.h"

#include "fake-vms.h"

#define JOB "11111111-1111-1111-1111-111111111111"

/* ------------------------------------------------------- the other rooms */

static VfoVmInfo *info;

/* What the job that gives it a VF asks first. */
static void inspect_vm(VfoVm *vm, GTask *task)
{
    vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "it does not answer"));
}

static void nothing(VfoVm *vm)
{
}

static const VfoVmOps vm_ops = {.inspect = inspect_vm, .ref = nothing, .unref = nothing};
static VfoVm vm = {&vm_ops, (char *)"web1"};

const VfoVmInfo *vfo_vm_cached(VfoVm *which)
{
    return info;
}

VfoVm *vfo_vms_get(VfoVms *vms, const char *name, GError **error)
{
    g_assert_cmpstr(name, ==, "web1");
    return &vm;
}

typedef struct {
    VfoHost host;
    gboolean no_wire;
    guint searched, closed;
} FakeHost;

static GPtrArray *list_vfs(VfoHost *base, GError **error)
{
    GPtrArray *vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup("0000:01:10.0");
    vf->pf = g_strdup("pf0");
    vf->network = g_strdup("lan");
    vf->driver = g_strdup("vfio-pci");
    vf->usable = TRUE;
    g_ptr_array_add(vfs, vf);
    return vfs;
}

static VfoWire *find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                          const VfoVfSettings *settings, GError **error)
{
    FakeHost *host = (FakeHost *)base;
    VfoWire *wire;

    g_assert_cmpstr(tap, ==, "vnet0");
    g_assert_null(vf);
    g_assert_cmpuint(settings->vlan, ==, 100);
    host->searched++;
    if (host->no_wire) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "%s is in no bridge", tap);
        return NULL;
    }
    wire = g_new0(VfoWire, 1);
    wire->tap = g_strdup(tap);
    wire->vlans = g_array_new(FALSE, FALSE, sizeof(guint16));
    return wire;
}

static gboolean close_pf(VfoHost *base, const VfoWire *wire, gboolean to_vf, GError **error)
{
    g_assert_cmpstr(wire->tap, ==, "vnet0");
    g_assert_false(to_vf);
    ((FakeHost *)base)->closed++;
    return TRUE;
}

static const VfoHostOps host_ops = {
    .list_vfs = list_vfs, .find_wire = find_wire, .close_pf = close_pf};

/* ---------------------------------------------------------------- fixture */

typedef struct {
    FakeHost host;
    GObject *vms;
    VfoConfig config;
    VfoLeases *leases;
    VfoJobs *jobs;
    VfoAbsences *absences;
    VfoLending *lending;
    VfoPair *pair; /* the VM's, of @info */
} Fixture;

static const VfoMac guest_mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};

static void add_network(VfoConfig *config)
{
    static VfoNetwork network = {.name = (char *)"lan"};

    config->name = (char *)"hosta";
    config->networks = g_ptr_array_new();
    g_ptr_array_add(config->networks, &network);
    vfo_policy_default(&config->policy);
}

static void set_up(Fixture *f, gconstpointer data)
{
    VfoLendingArgs args = {.host = &f->host.host, .config = &f->config};

    f->host.host.ops = &host_ops;
    add_network(&f->config);
    f->vms = g_object_new(vms_get_type(), NULL);
    args.vms = (VfoVms *)f->vms;
    args.leases = f->leases = vfo_leases_new();
    args.jobs = f->jobs = vfo_jobs_new();
    args.absences = f->absences = vfo_absences_new();
    f->lending = vfo_lending_new(&args);
    f->pair = g_new0(VfoPair, 1);
    f->pair->standby = g_strdup("net1");
    f->pair->tap = g_strdup("vnet0");
    f->pair->mac = guest_mac;
    info = g_new0(VfoVmInfo, 1);
    info->name = g_strdup("web1");
    info->status = g_strdup("running");
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    g_ptr_array_add(info->pairs, f->pair);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_lending_free(f->lending);
    g_object_unref(f->vms);
    g_object_unref(f->jobs);
    vfo_absences_free(f->absences);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->config.networks);
    g_clear_pointer(&info, vfo_vm_info_free);
}

/* As it is read from the file: without its tap, and without its wire. */
static void recall(Fixture *f, gboolean wanted)
{
    VfoPair pair = {.standby = (char *)"net1", .mac = guest_mac};
    VfoOffer offer = {.job = (char *)JOB,
                      .vm = (char *)"web1",
                      .machine = (char *)"q35",
                      .pair = &pair,
                      .network = (char *)"lan",
                      .settings = {.mac = guest_mac, .vlan = 100}};

    vfo_absences_note(f->absences, &offer, wanted);
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_test_assert_expected_messages();
}

static void inspect(Fixture *f)
{
    g_signal_emit_by_name(f->vms, "inspected", &vm);
    turn();
}

static void removed(Fixture *f)
{
    g_signal_emit_by_name(f->vms, "removed", &vm);
    turn();
}

static void has_vf(Fixture *f, const char *primary)
{
    g_free(f->pair->primary);
    f->pair->primary = g_strdup(primary);
}

static gboolean is_known(Fixture *f)
{
    return vfo_absences_find(f->absences, "web1", "net1") != NULL;
}

static gboolean is_wanted(Fixture *f)
{
    gboolean wanted = FALSE;

    g_assert_nonnull(vfo_absences_nth(f->absences, 0, &wanted));
    return wanted;
}

static guint count_wires(Fixture *f)
{
    g_autoptr(GPtrArray) wires = vfo_absences_wires(f->absences, "web1");

    return wires->len;
}

/* ------------------------------------------------------------------- tests */

static void test_found(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    inspect(f);
    g_assert_cmpuint(count_wires(f), ==, 1);
    inspect(f);
    g_assert_cmpuint(f->host.searched, ==, 1);
    removed(f);
    g_assert_cmpuint(f->host.closed, ==, 1);
    g_assert_false(is_known(f));
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 0);
}

/* The guest bonds the two: its interface is in no pair. */
static void test_found_half(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    info->halves = g_steal_pointer(&info->pairs);
    info->pairs = g_ptr_array_new();
    g_ptr_array_insert(info->halves, 0, g_new0(VfoPair, 1));
    inspect(f);
    g_assert_cmpuint(count_wires(f), ==, 1);
}

/* Nothing is sought for a VM of which nothing is known. */
static void test_unknown(Fixture *f, gconstpointer data)
{
    inspect(f);
    g_assert_cmpuint(f->host.searched, ==, 0);
}

static void test_no_wire(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    f->host.no_wire = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                          "how standby net1 of VM web1 *: vnet0 is in no bridge");
    inspect(f);
    /* Once is enough. */
    inspect(f);
    g_assert_true(is_known(f));
    /* Somebody has seen to it. */
    f->host.no_wire = FALSE;
    inspect(f);
    g_assert_cmpuint(count_wires(f), ==, 1);
}

/* It has the name of the one that is known; or it has no tap. */
static void test_other_vm(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    f->pair->mac.octet[5]++;
    inspect(f);
    f->pair->mac = guest_mac;
    g_clear_pointer(&f->pair->tap, g_free);
    inspect(f);
    g_assert_cmpuint(f->host.searched, ==, 0);
}

/* It waits for its memory; it has moved; a job sees to it. */
static void test_not_ours(Fixture *f, gconstpointer data)
{
    static const char *const states[] = {"inmigrate", "postmigrate", "finish-migrate"};
    static const VfoStep step = {.name = "x"};
    g_autoptr(VfoJob) job = NULL;

    recall(f, FALSE);
    for (gsize i = 0; i < G_N_ELEMENTS(states); i++) {
        g_free(info->status);
        info->status = g_strdup(states[i]);
        inspect(f);
    }
    g_free(info->status);
    info->status = g_strdup("running");
    job = vfo_job_new(JOB, "web1", "hosta", &step, 1, &f->config.policy);
    g_assert_true(vfo_jobs_add(f->jobs, job, FALSE, NULL));
    inspect(f);
    g_assert_cmpuint(f->host.searched, ==, 0);
    g_assert_true(is_known(f));
}

/* A daemon was killed that had asked the guest for its VF: it lets go when it likes. */
static void test_leaves_late(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    has_vf(f, "vf0");
    inspect(f);
    g_assert_true(is_known(f));
    g_assert_cmpuint(f->host.searched, ==, 0);
    has_vf(f, NULL);
    inspect(f);
    g_assert_cmpuint(count_wires(f), ==, 1);
}

/* Somebody else has given it a VF. */
/* Maybe in vain: the guest cannot use it, and lets go of it later. */
static void test_has_one_again(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    inspect(f);
    has_vf(f, "vf0");
    inspect(f);
    g_assert_true(is_known(f));
    removed(f);
    g_assert_cmpuint(f->host.closed, ==, 1);
}

static void test_wanted(Fixture *f, gconstpointer data)
{
    VfoJob *job;

    recall(f, TRUE);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "job *: VM web1 came without a VF*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*it does not answer*");
    inspect(f);
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 1);
    job = g_ptr_array_index(vfo_jobs_list(f->jobs), 0);
    g_assert_cmpstr(vfo_job_kind(job), ==, "attach");
    g_assert_false(is_wanted(f));
}

/* No VF was free as long as it was not known whose they are. */
static void test_wanted_and_met(Fixture *f, gconstpointer data)
{
    recall(f, TRUE);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "job *: VM web1 came without a VF*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*it does not answer*");
    g_signal_emit_by_name(f->vms, "met", NULL);
    turn();
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 1);
}

/* It would be given one for ever. */
static void test_wanted_has_one(Fixture *f, gconstpointer data)
{
    recall(f, TRUE);
    has_vf(f, "vf0");
    inspect(f);
    g_assert_true(is_known(f));
    g_assert_false(is_wanted(f));
    vfo_lending_freed(f->lending);
    turn();
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 0);
}

static void test_freed(Fixture *f, gconstpointer data)
{
    recall(f, FALSE);
    g_clear_pointer(&f->lending, vfo_lending_free);
    inspect(f);
    removed(f);
    g_assert_cmpuint(f->host.searched + f->host.closed, ==, 0);
}

#define ADD(name, func) g_test_add("/lending/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("found", test_found);
    ADD("found-half", test_found_half);
    ADD("unknown", test_unknown);
    ADD("no-wire", test_no_wire);
    ADD("other-vm", test_other_vm);
    ADD("not-ours", test_not_ours);
    ADD("leaves-late", test_leaves_late);
    ADD("has-one-again", test_has_one_again);
    ADD("wanted", test_wanted);
    ADD("wanted-and-met", test_wanted_and_met);
    ADD("wanted-has-one", test_wanted_has_one);
    ADD("freed", test_freed);
    return g_test_run();
}
