/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VFs that come to running domains, and leave them, by others' hands. */
#include "daemon/daemon.h"

#include "fake-vms.h"

#define VF  "0000:01:10.0"
#define JOB "11111111-1111-1111-1111-111111111111"

/* ------------------------------------------------------- the other rooms */

static VfoVm vm = {NULL, (char *)"web1"};
static VfoVmInfo *info;
static gboolean is_libvirts;
static guint freed, refreshed;

const VfoVmInfo *vfo_vm_cached(VfoVm *which)
{
    return info;
}

gboolean vfo_vm_is_libvirts(VfoVm *which)
{
    return is_libvirts;
}

void vfo_vm_refresh(VfoVm *which)
{
    refreshed++;
}

void vfo_lending_freed(VfoLending *lending)
{
    freed++;
}

typedef struct {
    VfoHost host;
    VfoLeases *leases;
    VfoVf *vf;
    gboolean no_wire, set_fails;
    guint opened, announced, changes;
    GTask *closing, *resetting;
} FakeHost;

static VfoVf *read_vf(VfoHost *base, const char *pci, GError **error)
{
    const FakeHost *host = (FakeHost *)base;

    if (g_str_equal(pci, VF))
        return vfo_vf_copy(host->vf);
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, "no VF %s", pci);
    return NULL;
}

static gboolean set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                       GError **error)
{
    FakeHost *host = (FakeHost *)base;

    /* No lease, no change of an address. */
    g_assert_nonnull(vfo_leases_holder(host->leases, pci));
    host->changes++;
    if (host->set_fails)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "the driver refuses");
    else
        host->vf->settings = *settings;
    return !host->set_fails;
}

static VfoWire *find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                          const VfoVfSettings *settings, GError **error)
{
    VfoWire *wire;

    if (((FakeHost *)base)->no_wire) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "%s is in no bridge", tap);
        return NULL;
    }
    wire = g_new0(VfoWire, 1);
    wire->vlan = settings->vlan == VFO_VLAN_ANY ? 7 : settings->vlan;
    wire->vlans = g_array_new(FALSE, FALSE, sizeof(guint16));
    return wire;
}

static gboolean open_pf(VfoHost *base, const VfoWire *wire, GError **error)
{
    ((FakeHost *)base)->opened++;
    return TRUE;
}

static gboolean announce(VfoHost *base, const VfoWire *wire, GError **error)
{
    ((FakeHost *)base)->announced++;
    return TRUE;
}

static void closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    ((FakeHost *)base)->closing = task;
}

static void reset_vf(VfoHost *base, const char *pci, GTask *task)
{
    ((FakeHost *)base)->resetting = task;
}

static const VfoHostOps host_ops = {.read_vf = read_vf,
                                    .find_wire = find_wire,
                                    .set_vf = set_vf,
                                    .open_pf = open_pf,
                                    .announce = announce,
                                    .closed_vf = closed_vf,
                                    .reset_vf = reset_vf};

/* ---------------------------------------------------------------- fixture */

typedef struct {
    FakeHost host;
    GObject *vms;
    VfoJobs *jobs;
    VfoAbsences *absences;
    VfoPairing *pairing;
    VfoPair *pair; /* the VM's, of @info */
} Fixture;

static const VfoMac guest_mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};

static void set_up(Fixture *f, gconstpointer data)
{
    VfoPairingArgs args = {.host = &f->host.host};

    f->host.host.ops = &host_ops;
    f->host.leases = args.leases = vfo_leases_new();
    f->host.vf = g_new0(VfoVf, 1);
    f->host.vf->pci = g_strdup(VF);
    f->host.vf->network = g_strdup("lan");
    f->host.vf->parking = (VfoMac){{2, 0, 0, 0, 0, 1}};
    f->host.vf->settings = vfo_vf_parked(f->host.vf);
    f->vms = g_object_new(vms_get_type(), NULL);
    f->jobs = args.jobs = vfo_jobs_new();
    f->absences = args.absences = vfo_absences_new();
    args.vms = (VfoVms *)f->vms;
    f->pairing = vfo_pairing_new(&args);
    f->pair = g_new0(VfoPair, 1);
    f->pair->standby = g_strdup("ua-net1");
    f->pair->tap = g_strdup("vnet0");
    f->pair->mac = guest_mac;
    info = g_new0(VfoVmInfo, 1);
    info->name = g_strdup("web1");
    info->status = g_strdup("running");
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    g_ptr_array_add(info->pairs, f->pair);
    is_libvirts = TRUE;
    freed = refreshed = 0;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_pairing_free(f->pairing);
    g_object_unref(f->vms);
    g_object_unref(f->jobs);
    vfo_absences_free(f->absences);
    vfo_leases_free(f->host.leases);
    vfo_vf_free(f->host.vf);
    g_clear_pointer(&info, vfo_vm_info_free);
}

static void inspect(Fixture *f)
{
    g_signal_emit_by_name(f->vms, "inspected", &vm);
    g_test_assert_expected_messages();
}

static void expect(GLogLevelFlags level, const char *line)
{
    g_test_expect_message(G_LOG_DOMAIN, level, line);
}

static void has_vf(Fixture *f, const char *pci)
{
    g_free(f->pair->vf);
    f->pair->vf = g_strdup(pci);
    g_free(f->pair->primary);
    f->pair->primary = pci ? g_strdup("ua-vf1") : NULL;
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_test_assert_expected_messages();
}

static void assert_parked(const Fixture *f)
{
    g_assert_true(vfo_mac_equal(&f->host.vf->settings.mac, &f->host.vf->parking));
    g_assert_cmpuint(f->host.vf->settings.vlan, ==, 0);
}

/* The VM with its VF, seen. */
static void give(Fixture *f)
{
    f->host.vf->settings.mac = guest_mac;
    has_vf(f, VF);
    inspect(f);
    g_assert_cmpuint(f->host.changes, ==, 0);
}

static void leave(Fixture *f)
{
    has_vf(f, NULL);
    expect(G_LOG_LEVEL_MESSAGE, "VF " VF " has left VM web1*standby ua-net1");
    inspect(f);
}

/* ------------------------------------------------------------------- tests */

static void test_comes(Fixture *f, gconstpointer data)
{
    inspect(f);
    has_vf(f, VF);
    expect(G_LOG_LEVEL_MESSAGE, "VM web1 has got VF " VF " at its standby ua-net1");
    inspect(f);
    g_assert_true(vfo_mac_equal(&f->host.vf->settings.mac, &guest_mac));
    g_assert_cmpuint(f->host.vf->settings.vlan, ==, 7);
    g_assert_cmpuint(refreshed, ==, 1);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    inspect(f);
    g_assert_cmpuint(f->host.changes, ==, 1);
}

/* Nobody has given it an address since it was made. */
static void test_comes_with_none(Fixture *f, gconstpointer data)
{
    memset(&f->host.vf->settings.mac, 0, sizeof(VfoMac));
    f->host.vf->mac_resets = TRUE;
    has_vf(f, VF);
    expect(G_LOG_LEVEL_MESSAGE, "VM web1 has got VF " VF " at its standby ua-net1; *resets it*");
    inspect(f);
    g_assert_true(vfo_mac_equal(&f->host.vf->settings.mac, &guest_mac));
    leave(f);
    assert_parked(f);
    vfo_task_done(g_steal_pointer(&f->host.closing));
    turn();
    vfo_task_done(g_steal_pointer(&f->host.resetting));
    turn();
}

/* libvirt has given it one, or an administrator. */
static void test_comes_with_address(Fixture *f, gconstpointer data)
{
    give(f);
    g_assert_cmpuint(refreshed, ==, 0);
}

static void test_comes_and_fails(Fixture *f, gconstpointer data)
{
    f->host.set_fails = f->host.no_wire = TRUE;
    has_vf(f, VF);
    expect(G_LOG_LEVEL_WARNING, "*cannot get its address: the driver refuses");
    inspect(f);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void test_leaves(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) wires = NULL;
    const VfoOffer *offer;

    give(f);
    leave(f);
    assert_parked(f);
    g_assert_cmpuint(f->host.opened, ==, 1);
    g_assert_cmpuint(f->host.announced, ==, 1);
    /* The next VF is like it, and what is open for it is closed when the VM goes. */
    offer = vfo_absences_find(f->absences, "web1", "ua-net1");
    g_assert_nonnull(offer);
    g_assert_true(vfo_mac_equal(&offer->settings.mac, &guest_mac));
    g_assert_cmpstr(offer->network, ==, "lan");
    g_assert_cmpstr(offer->pair->primary, ==, "ua-vf1");
    /* It is kept in the form in which peers get offers. */
    g_assert_true(g_uuid_string_is_valid(offer->job));
    wires = vfo_absences_wires(f->absences, "web1");
    g_assert_cmpuint(wires->len, ==, 1);

    /* libvirt has put an address back meanwhile. */
    f->host.vf->settings.mac = guest_mac;
    vfo_task_done(g_steal_pointer(&f->host.closing));
    turn();
    assert_parked(f);
    g_assert_nonnull(vfo_leases_holder(f->host.leases, VF));
    vfo_task_done(g_steal_pointer(&f->host.resetting));
    turn();
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 1);
    g_assert_cmpuint(freed, ==, 1);

    has_vf(f, VF);
    expect(G_LOG_LEVEL_MESSAGE, "VM web1 has got VF " VF "*");
    inspect(f);
    g_assert_null(vfo_absences_find(f->absences, "web1", "ua-net1"));
}

static void test_leaves_unwired(Fixture *f, gconstpointer data)
{
    give(f);
    f->host.no_wire = TRUE;
    has_vf(f, NULL);
    expect(G_LOG_LEVEL_MESSAGE, "*has left*");
    expect(G_LOG_LEVEL_WARNING, "*may not reach it: vnet0 is in no bridge");
    inspect(f);
    expect(G_LOG_LEVEL_WARNING, "VF " VF ", which VM web1 had*it is open; no other VM*");
    vfo_task_fail(g_steal_pointer(&f->host.closing),
                  g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE, "it is open"));
    turn();
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_nonnull(vfo_leases_unclean(f->host.leases, VF, "web2"));
    g_assert_cmpuint(freed, ==, 0);
}

static void test_leaves_taken(Fixture *f, gconstpointer data)
{
    give(f);
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    has_vf(f, NULL);
    inspect(f);
    g_assert_cmpuint(f->host.changes + f->host.opened, ==, 0);
}

/* What a job does, or where QEMU is about to go. */
static void test_not_ours(Fixture *f, gconstpointer data)
{
    static const VfoStep step = {.name = "x"};
    VfoPolicy policy;
    g_autoptr(VfoJob) job = NULL;

    has_vf(f, VF);
    is_libvirts = FALSE;
    inspect(f);
    is_libvirts = TRUE;
    g_free(info->status);
    info->status = g_strdup("inmigrate");
    inspect(f);
    g_free(info->status);
    info->status = g_strdup("running");
    vfo_policy_default(&policy);
    job = vfo_job_new(JOB, "web1", "hosta", &step, 1, &policy);
    g_assert_true(vfo_jobs_add(f->jobs, job, FALSE, NULL));
    inspect(f);
    g_assert_cmpuint(f->host.changes, ==, 0);
}

/* A job has taken it, and returned it: it may be anybody's. */
static void test_job(Fixture *f, gconstpointer data)
{
    static const VfoStep step = {.name = "x"};
    VfoPolicy policy;
    g_autoptr(VfoJob) job = NULL;

    give(f);
    vfo_policy_default(&policy);
    job = vfo_job_new(JOB, "web1", "hosta", &step, 1, &policy);
    vfo_jobs_note(f->jobs, job, NULL);
    has_vf(f, NULL);
    inspect(f);
    g_assert_cmpuint(f->host.changes + f->host.opened, ==, 0);
}

static void test_gone(Fixture *f, gconstpointer data)
{
    give(f);
    g_signal_emit_by_name(f->vms, "removed", &vm);
    has_vf(f, NULL);
    inspect(f);
    g_assert_cmpuint(f->host.changes + f->host.opened, ==, 0);
}

/* The daemon stops while QEMU closes the VF. */
static void test_freed(Fixture *f, gconstpointer data)
{
    GTask *closing;

    give(f);
    leave(f);
    closing = g_steal_pointer(&f->host.closing);
    g_clear_pointer(&f->pairing, vfo_pairing_free);
    g_assert_true(g_cancellable_is_cancelled(g_task_get_cancellable(closing)));
    g_task_return_error_if_cancelled(closing);
    g_object_unref(closing);
    turn();
}

#define ADD(name, func) g_test_add("/pairing/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("comes", test_comes);
    ADD("comes-with-none", test_comes_with_none);
    ADD("comes-with-address", test_comes_with_address);
    ADD("comes-and-fails", test_comes_and_fails);
    ADD("leaves", test_leaves);
    ADD("leaves-unwired", test_leaves_unwired);
    ADD("leaves-taken", test_leaves_taken);
    ADD("not-ours", test_not_ours);
    ADD("job", test_job);
    ADD("gone", test_gone);
    ADD("freed", test_freed);
    return g_test_run();
}
