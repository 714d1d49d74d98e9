/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VFs of domains that libvirt starts, stops and restores. */
#include "daemon/daemon.h"
#include "domain-xml.h"
#include "fake-vms.h"

#define VF    "0000:01:10.0"
#define OTHER "0000:01:10.2"
#define JOB   "11111111-1111-1111-1111-111111111111"

#define THIRD "0000:01:10.4"

#define PAIR DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV)
#define TWO                                                                                        \
    DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV DOMAIN_STANDBY_OF(                                        \
        "ua-net2", "52:54:00:aa:00:20", "br0", "vnet1",                                            \
        "") "<hostdev mode='subsystem' type='pci'><source>"                                        \
            "<address domain='0x0000' bus='0x01' slot='0x10' function='0x2'/></source>"            \
            "<teaming type='transient' persistent='ua-net2'/></hostdev>")

/* ------------------------------------------------------- the other rooms */

static VfoVm other_vm = {NULL, (char *)"web2"};
static const char *owned; /* the VF of web2 */
static guint freed;
static guint told;

gboolean vfo_vms_tell_start(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    g_assert_cmpstr(domain->name, ==, "web1");
    told++;
    return FALSE;
}

static VfoVm known_vm = {NULL, (char *)"web1"};
static guint refreshed;
static gboolean looked_at; /* web1, since it has started */

VfoVm *vfo_vms_get_uuid(VfoVms *vms, const char *uuid, GError **error)
{
    return &known_vm;
}

void vfo_vm_refresh(VfoVm *vm)
{
    g_assert_true(vm == &known_vm);
    refreshed++;
}

GPtrArray *vfo_vms_list(VfoVms *vms)
{
    return g_ptr_array_new();
}

const VfoPair *vfo_inventory_owner(GPtrArray *vms, const char *pci, VfoVm **owner)
{
    *owner = g_strcmp0(owned, pci) == 0 ? &other_vm : looked_at ? &known_vm : NULL;
    return NULL;
}

void vfo_lending_freed(VfoLending *lending)
{
    freed++;
}

typedef struct {
    VfoHost host;
    VfoLeases *leases;
    GPtrArray *vfs;
    guint16 wire_vlan;
    gboolean no_wire;
    gboolean set_fails;
    gboolean reset_fails;
    gboolean reset_hangs;
    guint resets;
} FakeHost;

static VfoVf *find_vf(FakeHost *host, const char *pci)
{
    for (guint i = 0; i < host->vfs->len; i++) {
        VfoVf *vf = g_ptr_array_index(host->vfs, i);

        if (g_str_equal(vf->pci, pci))
            return vf;
    }
    return NULL;
}

static GPtrArray *list_vfs(VfoHost *base, GError **error)
{
    FakeHost *host = (FakeHost *)base;
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);

    for (guint i = 0; i < host->vfs->len; i++)
        g_ptr_array_add(list, vfo_vf_copy(g_ptr_array_index(host->vfs, i)));
    return list;
}

static VfoVf *read_vf(VfoHost *base, const char *pci, GError **error)
{
    const VfoVf *vf = find_vf((FakeHost *)base, pci);

    if (!vf)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, "no VF %s", pci);
    return vf ? vfo_vf_copy(vf) : NULL;
}

static VfoWire *find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                          const VfoVfSettings *settings, GError **error)
{
    const FakeHost *host = (FakeHost *)base;
    VfoWire *wire;

    g_assert_true(g_str_has_prefix(tap, "vnet"));
    if (host->no_wire) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "vnet0 is in no bridge");
        return NULL;
    }
    wire = g_new0(VfoWire, 1);
    wire->vlan = settings->vlan == VFO_VLAN_ANY ? host->wire_vlan : settings->vlan;
    wire->vlans = g_array_new(FALSE, FALSE, sizeof(guint16));
    return wire;
}

static gboolean set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                       GError **error)
{
    FakeHost *host = (FakeHost *)base;

    /* No lease, no change of an address. */
    g_assert_nonnull(vfo_leases_holder(host->leases, pci));
    if (host->set_fails)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "VF %s: the driver refuses", pci);
    else
        find_vf(host, pci)->settings = *settings;
    return !host->set_fails;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    g_task_return_error_if_cancelled(data);
    g_object_unref(data);
    return G_SOURCE_REMOVE;
}

static void reset_vf(VfoHost *base, const char *pci, GTask *task)
{
    FakeHost *host = (FakeHost *)base;

    host->resets++;
    g_assert_nonnull(vfo_leases_holder(host->leases, pci));
    if (host->reset_hangs) {
        GSource *source = g_cancellable_source_new(g_task_get_cancellable(task));

        g_source_set_callback(source, G_SOURCE_FUNC(on_cancelled), task, NULL);
        g_source_attach(source, NULL);
        g_source_unref(source);
    } else {
        vfo_task_return(task, !host->reset_fails,
                        host->reset_fails
                            ? g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE, "VF %s is lost", pci)
                            : NULL);
    }
}

static void closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    vfo_task_done(task);
}

static const VfoHostOps host_ops = {.list_vfs = list_vfs,
                                    .read_vf = read_vf,
                                    .find_wire = find_wire,
                                    .set_vf = set_vf,
                                    .closed_vf = closed_vf,
                                    .reset_vf = reset_vf};

/* ---------------------------------------------------------------- fixture */

typedef struct {
    VfoConfig config;
    FakeHost host;
    GObject *vms;
    VfoJobs *jobs;
    VfoOwners *owners;
    VfoNetwork network;
} Fixture;

static VfoVf *add_vf(Fixture *f, const char *pci, guint index)
{
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup("pf0");
    vf->network = g_strdup("lan");
    vf->index = index;
    vf->driver = g_strdup("vfio-pci");
    vf->usable = TRUE;
    vf->parking = (VfoMac){{2, 0, 0, 0, 0, (guint8)index}};
    vf->settings = vfo_vf_parked(vf);
    g_ptr_array_add(f->host.vfs, vf);
    return vf;
}

static void set_up(Fixture *f, gconstpointer data)
{
    VfoOwnersArgs args = {.config = &f->config, .host = &f->host.host};

    f->network = (VfoNetwork){.name = (char *)"lan", .bridge = (char *)"br0"};
    f->config.networks = g_ptr_array_new();
    g_ptr_array_add(f->config.networks, &f->network);
    vfo_policy_default(&f->config.policy);
    f->host.host.ops = &host_ops;
    f->host.vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    f->host.leases = args.leases = vfo_leases_new();
    f->jobs = args.jobs = vfo_jobs_new();
    f->vms = g_object_new(vms_get_type(), NULL);
    args.vms = (VfoVms *)f->vms;
    f->owners = vfo_owners_new(&args);
    add_vf(f, VF, 0);
    freed = told = 0;
    owned = NULL;
    looked_at = FALSE;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_owners_free(f->owners);
    g_object_unref(f->vms);
    g_object_unref(f->jobs);
    vfo_leases_free(f->host.leases);
    g_ptr_array_unref(f->host.vfs);
    g_ptr_array_unref(f->config.networks);
}

static VfoDomain *parse(const char *xml)
{
    g_autoptr(GError) error = NULL;
    VfoDomain *domain = vfo_domain_parse(xml, strlen(xml), &error);

    g_assert_no_error(error);
    return domain;
}

static void expect(GLogLevelFlags level, const char *line)
{
    g_test_expect_message(G_LOG_DOMAIN, level, line);
}

static void assert_mac(Fixture *f, const char *pci, const char *mac, guint vlan)
{
    char text[VFO_MAC_STRLEN];
    const VfoVf *vf = find_vf(&f->host, pci);

    g_assert_cmpstr(vfo_mac_format(&vf->settings.mac, text), ==, mac);
    g_assert_cmpuint(vf->settings.vlan, ==, vlan);
}

/* libvirt has told of web1's VM, and what it has is known. */
static void look(Fixture *f)
{
    looked_at = TRUE;
    g_signal_emit_by_name(f->vms, "inspected", &known_vm);
}

static void start(Fixture *f, const VfoDomain *domain)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vfo_owners_prepare(f->owners, domain, &error));
    g_assert_true(vfo_owners_start(f->owners, domain, &error));
    vfo_owners_started(f->owners, domain);
    look(f);
    g_test_assert_expected_messages();
}

static void on_released(GObject *source, GAsyncResult *result, gpointer data)
{
    g_assert_true(g_task_propagate_boolean(G_TASK(result), NULL));
    *(gboolean *)data = TRUE;
}

static void release(Fixture *f, const VfoDomain *domain)
{
    gboolean done = FALSE;

    refreshed = 0;
    looked_at = FALSE;
    vfo_owners_release(f->owners, domain, g_task_new(NULL, NULL, on_released, &done));
    /* libvirt may have told nobody else. */
    g_assert_cmpuint(refreshed, ==, 1);
    while (!done)
        g_main_context_iteration(NULL, TRUE);
    g_test_assert_expected_messages();
}

/* ------------------------------------------------------------------- tests */

static void test_life(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);

    expect(G_LOG_LEVEL_MESSAGE, "*web1 starts with VF " VF "*");
    start(f, domain);
    assert_mac(f, VF, "52:54:00:aa:00:10", 0);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_cmpuint(told, ==, 1);

    expect(G_LOG_LEVEL_MESSAGE, "*web1 has ended*" VF " is parked*");
    release(f, domain);
    assert_mac(f, VF, "02:00:00:00:00:00", 0);
    g_assert_cmpuint(f->host.resets, ==, 1);
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 1);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_cmpuint(freed, ==, 1);

    /* Nothing of it is left to be done. */
    release(f, domain);
    g_assert_cmpuint(f->host.resets, ==, 1);
}

static void test_two_pairs(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(TWO);
    g_autoptr(GError) error = NULL;

    add_vf(f, OTHER, 2);
    expect(G_LOG_LEVEL_MESSAGE, "*web1 starts with VF " VF " at its standby ua-net1");
    expect(G_LOG_LEVEL_MESSAGE, "*web1 starts with VF " OTHER " at its standby ua-net2");
    start(f, domain);
    assert_mac(f, VF, "52:54:00:aa:00:10", 0);
    assert_mac(f, OTHER, "52:54:00:aa:00:20", 0);
    expect(G_LOG_LEVEL_MESSAGE, "*" VF " is parked*");
    expect(G_LOG_LEVEL_MESSAGE, "*" OTHER " is parked*");
    release(f, domain);
    g_assert_cmpuint(f->host.resets, ==, 2);
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, OTHER), ==, 1);

    /* One that is taken: the other is left to whoever wants it. */
    g_assert_true(vfo_leases_take(f->host.leases, OTHER, JOB, 10, NULL));
    g_assert_false(vfo_owners_prepare(f->owners, domain, &error));
    g_assert_nonnull(strstr(error->message, OTHER));
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

/* Nobody else gets it until it is known that its VM has it. */
static void test_leased_while_starting(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);
    g_autoptr(GError) error = NULL;

    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    g_assert_false(vfo_leases_take(f->host.leases, VF, JOB, 10, &error));
    /* A start that fails. */
    release(f, domain);
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
}

static void test_leased_until_looked_at(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE));

    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    /* Another VM is looked at, and web1 as it was before. */
    g_signal_emit_by_name(f->vms, "inspected", &other_vm);
    g_signal_emit_by_name(f->vms, "inspected", &known_vm);
    g_assert_cmpstr(vfo_leases_holder(f->host.leases, VF), ==, "domain web1");
    vfo_owners_started(f->owners, domain);
    g_assert_cmpstr(vfo_leases_holder(f->host.leases, VF), ==, "domain web1");
    g_signal_emit_by_name(f->vms, "inspected", &other_vm);
    g_assert_cmpstr(vfo_leases_holder(f->host.leases, VF), ==, "domain web1");
    look(f);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));

    /* It has gone before that. */
    looked_at = FALSE;
    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    vfo_owners_started(f->owners, domain);
    release(f, domain);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    look(f);
    g_assert_cmpstr(vfo_leases_holder(f->host.leases, VF), ==, JOB);
    vfo_leases_drop(f->host.leases, VF, JOB);

    /* libvirt has told of it before it has run the hook. */
    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    look(f);
    g_assert_nonnull(vfo_leases_holder(f->host.leases, VF));
    vfo_owners_started(f->owners, domain);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void test_vlan(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) of_bridge = parse(PAIR);
    g_autoptr(VfoDomain) of_domain = parse(DOMAIN(DOMAIN_STANDBY_OF(
        "ua-net1", "52:54:00:aa:00:10", "br0", "vnet0", DOMAIN_VLAN) DOMAIN_HOSTDEV));

    f->host.wire_vlan = 7;
    expect(G_LOG_LEVEL_MESSAGE, "*starts with*");
    start(f, of_bridge);
    assert_mac(f, VF, "52:54:00:aa:00:10", 7);
    expect(G_LOG_LEVEL_MESSAGE, "*starts with*");
    start(f, of_domain);
    assert_mac(f, VF, "52:54:00:aa:00:10", 42);

    f->host.no_wire = TRUE;
    expect(G_LOG_LEVEL_WARNING, "*ua-net1 does not reach*cannot be handed over: vnet0 is in no*");
    expect(G_LOG_LEVEL_MESSAGE, "*starts with*");
    start(f, of_domain);
    assert_mac(f, VF, "52:54:00:aa:00:10", 42);
}

/* What libvirt sees to itself: it has set them before "start", and puts back what was before. */
static void test_interface(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE));

    start(f, domain);
    assert_mac(f, VF, "02:00:00:00:00:00", 0);
    release(f, domain);
    g_assert_cmpuint(f->host.resets, ==, 0);

    find_vf(&f->host, VF)->settings.vlan = 5;
    expect(G_LOG_LEVEL_MESSAGE, "*is parked*");
    release(f, domain);
    assert_mac(f, VF, "02:00:00:00:00:00", 0);
}

/* Its VF is known when it starts, and not before. */
static void test_pool(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) early = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK));
    g_autoptr(VfoDomain) late = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE));
    g_autoptr(GError) error = NULL;

    g_assert_true(vfo_owners_prepare(f->owners, early, NULL));
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    g_assert_false(vfo_owners_start(f->owners, late, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    vfo_leases_drop(f->host.leases, VF, JOB);
    g_assert_true(vfo_owners_start(f->owners, late, NULL));
    g_assert_nonnull(vfo_leases_holder(f->host.leases, VF));
    vfo_owners_started(f->owners, late);
    look(f);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void assert_refused(Fixture *f, const VfoDomain *domain, const char *what)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vfo_owners_prepare(f->owners, domain, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, what));
}

#define SECOND                                                                                     \
    DOMAIN_STANDBY_OF("ua-net2", "52:54:00:aa:00:20", "br0", "vnet0", "")                          \
    "<hostdev mode='subsystem' type='pci'><source><address bus='1' slot='16' function='2'/>"       \
    "</source><teaming type='transient' persistent='ua-net2'/></hostdev>"

static void test_taken(Fixture *f, gconstpointer data)
{
    static const VfoStep step = {.name = "x"};
    g_autoptr(VfoDomain) domain = parse(PAIR);
    g_autoptr(VfoDomain) two = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV SECOND));
    g_autoptr(VfoJob) job = vfo_job_new(JOB, "web3", "hosta", &step, 1, &f->config.policy);

    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    assert_refused(f, domain, JOB);
    g_assert_true(vfo_jobs_add(f->jobs, job, FALSE, NULL));
    assert_refused(f, domain, "reserved for VM web3, by job " JOB);
    vfo_leases_drop(f->host.leases, VF, JOB);
    find_vf(&f->host, VF)->opened = TRUE;
    assert_refused(f, domain, "in use by another program");
    owned = VF;
    assert_refused(f, domain, "in use by VM web2");

    /* One of two: the other is not kept. */
    add_vf(f, OTHER, 2)->opened = TRUE;
    find_vf(&f->host, VF)->opened = FALSE;
    assert_refused(f, two, OTHER);
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void test_not_ours(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain =
        parse(DOMAIN("<hostdev mode='subsystem' type='pci'><source><address "
                     "bus='9'/></source></hostdev>" DOMAIN_STANDBY DOMAIN_HOSTDEV_AT(
                         "bus='0x9' function='0x1'")));

    start(f, domain);
    release(f, domain);
    g_assert_cmpuint(f->host.resets, ==, 0);
}

/* A VF of ours that belongs to no pair is whoever's who set it up. */
static void test_no_pair(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain =
        parse(DOMAIN("<hostdev mode='subsystem' type='pci'><source><address " DOMAIN_ADDRESS
                     "/></source></hostdev>"));

    find_vf(&f->host, VF)->settings.vlan = 5;
    start(f, domain);
    release(f, domain);
    assert_mac(f, VF, "02:00:00:00:00:00", 5);
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    assert_refused(f, domain, VF);
}

/* It has moved, and its VF is another's by now. */
static void test_release_of_others(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);

    find_vf(&f->host, VF)->settings.vlan = 5;
    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    release(f, domain);
    vfo_leases_drop(f->host.leases, VF, JOB);
    find_vf(&f->host, VF)->opened = TRUE;
    release(f, domain);
    assert_mac(f, VF, "02:00:00:00:00:00", 5);
    g_assert_cmpuint(f->host.resets, ==, 0);
}

/* A VF that the guest bonds: of those, the ones that we have plugged. */
static void test_release_bonded(Fixture *f, gconstpointer data)
{
    static const char format[] =
        DOMAIN("<hostdev mode='subsystem' type='pci'><source><address " DOMAIN_ADDRESS "/></source>"
               "<alias name='%s'/></hostdev>");
    g_autofree char *users_xml = g_strdup_printf(format, "hostdev0");
    g_autofree char *our_xml = g_strdup_printf(format, VFO_DOMAIN_BONDED "net0");
    g_autoptr(VfoDomain) users = parse(users_xml);
    g_autoptr(VfoDomain) ours = parse(our_xml);

    find_vf(&f->host, VF)->settings.vlan = 5;
    release(f, users);
    g_assert_cmpuint(f->host.resets, ==, 0);
    expect(G_LOG_LEVEL_MESSAGE, "*is parked*");
    release(f, ours);
    g_assert_cmpuint(f->host.resets, ==, 1);
    g_assert_cmpuint(find_vf(&f->host, VF)->settings.vlan, ==, 0);
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 1);
}

static void assert_unclean(Fixture *f)
{
    g_assert_nonnull(vfo_leases_unclean(f->host.leases, VF, NULL));
    g_assert_null(vfo_leases_unclean(f->host.leases, VF, "web1"));
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
}

static void test_failures(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);
    g_autoptr(VfoDomain) other = parse(PAIR);
    g_autoptr(GError) taken = NULL;
    g_autoptr(GError) error = NULL;

    f->host.set_fails = TRUE;
    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    g_assert_false(vfo_owners_start(f->owners, domain, &error));
    g_assert_cmpstr(error->message, ==, "domain web1: VF " VF ": the driver refuses");
    find_vf(&f->host, VF)->settings.vlan = 5;
    expect(G_LOG_LEVEL_WARNING, "VF " VF ", which VM web1 had*the driver refuses; no other VM*");
    release(f, domain);
    assert_unclean(f);
    g_free(other->name);
    other->name = g_strdup("web2");
    g_assert_false(vfo_owners_prepare(f->owners, other, &taken));
    g_assert_error(taken, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(taken->message, "the driver refuses"));
    g_assert_nonnull(strstr(taken->message, "could not be cleaned"));

    /* Its own it may have again, and if it does not start that changes nothing. */
    f->host.set_fails = FALSE;
    f->host.reset_fails = TRUE;
    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    release(f, domain);
    assert_unclean(f);
    g_assert_cmpuint(f->host.resets, ==, 1);
    g_assert_true(vfo_owners_prepare(f->owners, domain, NULL));
    release(f, domain);
    assert_unclean(f);
    /* It is parked, and it is the cleaner that tries again. */
    g_assert_cmpuint(f->host.resets, ==, 1);
    g_assert_cmpuint(vfo_leases_generation(f->host.leases, VF), ==, 0);
}

static void test_release_cancelled(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    gboolean done = FALSE;
    GTask *task = g_task_new(NULL, cancellable, on_released, &done);

    g_task_set_check_cancellable(task, FALSE);
    f->host.reset_hangs = TRUE;
    find_vf(&f->host, VF)->settings.vlan = 5;
    expect(G_LOG_LEVEL_WARNING, "VF " VF ", which VM web1 had*in time; no other VM*");
    vfo_owners_release(f->owners, domain, task);
    while (f->host.resets == 0)
        g_main_context_iteration(NULL, TRUE);
    g_cancellable_cancel(cancellable);
    while (!done)
        g_main_context_iteration(NULL, TRUE);
    g_test_assert_expected_messages();
    assert_unclean(f);
}

/* ----------------------------------------------------------------- restore */

static char *restore(Fixture *f, const char *xml, GError **error)
{
    g_autoptr(VfoDomain) domain = parse(xml);
    char *changed = vfo_owners_restore(f->owners, domain, xml, error);

    g_test_assert_expected_messages();
    return changed;
}

static void test_restore_same(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = restore(f, PAIR, NULL);

    g_assert_cmpstr(xml, ==, PAIR);
}

static void test_restore_other(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = NULL;
    g_autoptr(VfoDomain) domain = NULL;

    add_vf(f, OTHER, 2);
    find_vf(&f->host, VF)->opened = TRUE;
    expect(G_LOG_LEVEL_MESSAGE, "*is restored with VF " OTHER " in place of " VF);
    xml = restore(f, PAIR, NULL);
    domain = parse(xml);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net1")->vf, ==, OTHER);
    /* Nobody else gets it before the domain starts. */
    g_assert_nonnull(vfo_leases_holder(f->host.leases, OTHER));
    expect(G_LOG_LEVEL_MESSAGE, "*web1 starts with VF " OTHER "*");
    start(f, domain);
    assert_mac(f, OTHER, "52:54:00:aa:00:10", 0);
}

static gboolean is_vf(const VfoVf *vf, const char *vm, gpointer data)
{
    g_assert_cmpstr(vm, ==, "web1");
    return g_str_equal(vf->pci, VF);
}

/* QEMU does not open the VF of a guest that has not negotiated failover. */
static void test_restore_owned(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = NULL;

    add_vf(f, OTHER, 2);
    find_vf(&f->host, VF)->settings.mac = (VfoMac){{0x52, 0x54, 0, 0xaa, 0, 0x77}};
    vfo_leases_set_owned(f->host.leases, is_vf, NULL);
    expect(G_LOG_LEVEL_MESSAGE, "*is restored with VF " OTHER " in place of " VF);
    xml = restore(f, PAIR, NULL);
    g_assert_nonnull(strstr(xml, "function=\"0x2\""));
}

/* It is left alone when libvirt has refused to start another domain with it. */
static void test_start_owned(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse(PAIR);
    g_autoptr(GError) error = NULL;
    const VfoMac theirs = {{0x52, 0x54, 0, 0xaa, 0, 0x77}};

    find_vf(&f->host, VF)->settings.mac = theirs;
    vfo_leases_set_owned(f->host.leases, is_vf, NULL);
    g_assert_false(vfo_owners_prepare(f->owners, domain, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "its VF " VF " is in use"));
    g_assert_null(vfo_leases_holder(f->host.leases, VF));
    release(f, domain);
    g_assert_cmpuint(f->host.resets, ==, 0);
    g_assert_true(vfo_mac_equal(&find_vf(&f->host, VF)->settings.mac, &theirs));
}

/* libvirt binds it to vfio-pci only if it is managed. */
static void test_restore_host_driver(Fixture *f, gconstpointer data)
{
    static const char unmanaged[] = DOMAIN(
        DOMAIN_STANDBY "<hostdev mode='subsystem' type='pci'><source>"
                       "<address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/>"
                       "</source><teaming type='transient' persistent='ua-net1'/></hostdev>");
    g_autofree char *xml = NULL, *same = NULL;
    VfoVf *vf = find_vf(&f->host, VF);

    add_vf(f, OTHER, 2);
    g_free(vf->driver);
    vf->driver = g_strdup("igbvf");
    same = restore(f, PAIR, NULL);
    g_assert_cmpstr(same, ==, PAIR);
    expect(G_LOG_LEVEL_MESSAGE, "*is restored with VF " OTHER " in place of " VF);
    xml = restore(f, unmanaged, NULL);
    g_assert_nonnull(strstr(xml, "function=\"0x2\""));
}

/* The second pair's own VF is free, and not for the first. */
static void test_restore_two(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = NULL;
    g_autoptr(VfoDomain) domain = NULL;

    add_vf(f, OTHER, 2);
    add_vf(f, THIRD, 3);
    find_vf(&f->host, VF)->opened = TRUE;
    expect(G_LOG_LEVEL_MESSAGE, "*is restored with VF " THIRD " in place of " VF);
    xml = restore(f, TWO, NULL);
    domain = parse(xml);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net1")->vf, ==, THIRD);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net2")->vf, ==, OTHER);
}

/* Saved on another host: the bridge tells the network. */
static void test_restore_foreign(Fixture *f, gconstpointer data)
{
    static const char foreign[] = DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("bus='9'"));
    static const char lost[] = DOMAIN(DOMAIN_STANDBY_OF("ua-net1", "52:54:00:aa:00:10", "br7",
                                                        "vnet0", "") DOMAIN_HOSTDEV_AT("bus='9'"));
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = NULL;

    expect(G_LOG_LEVEL_MESSAGE, "*is restored with VF " VF "*");
    xml = restore(f, foreign, NULL);
    g_assert_nonnull(strstr(xml, "slot=\"0x10\""));
    g_assert_null(restore(f, lost, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "'br7'"));
}

static void test_restore_none(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vfo_leases_take(f->host.leases, VF, JOB, 10, NULL));
    g_assert_null(restore(f, PAIR, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_true(g_str_has_prefix(error->message, "domain web1: its VF " VF " is taken: "));
}

#define ADD(name, func) g_test_add("/owners/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("life", test_life);
    ADD("two-pairs", test_two_pairs);
    ADD("leased-while-starting", test_leased_while_starting);
    ADD("leased-until-looked-at", test_leased_until_looked_at);
    ADD("vlan", test_vlan);
    ADD("interface", test_interface);
    ADD("pool", test_pool);
    ADD("taken", test_taken);
    ADD("not-ours", test_not_ours);
    ADD("no-pair", test_no_pair);
    ADD("release-of-others", test_release_of_others);
    ADD("release-bonded", test_release_bonded);
    ADD("failures", test_failures);
    ADD("release-cancelled", test_release_cancelled);
    ADD("restore/same", test_restore_same);
    ADD("restore/other", test_restore_other);
    ADD("restore/owned", test_restore_owned);
    ADD("start/owned", test_start_owned);
    ADD("restore/host-driver", test_restore_host_driver);
    ADD("restore/two", test_restore_two);
    ADD("restore/foreign", test_restore_foreign);
    ADD("restore/none", test_restore_none);
    return g_test_run();
}
