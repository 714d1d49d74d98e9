/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFs that leave a VM, come to one, or go from one to another, without a
 * migration. Two guests and two VFs that are a few booleans each; every call of
 * an op can be made to go wrong, and after each run both guests must be reachable.
 */
#include "core/core.h"

#include <string.h>

#define STANDBY_VLAN 100
#define TAKER        "web1"
#define GIVER        "web2"
#define VF           "0000:01:10.0"
#define OTHER        "0000:01:10.2"
#define LONG_MS      60000
/* Long enough for everything that does not wait, on a loaded machine under valgrind. */
#define SHORT_MS 2000

typedef enum { DETACH, ATTACH, LEND } Kind;

typedef enum {
    FAULT_NONE,
    FAULT_REFUSED, /* fails and has done nothing */
    FAULT_BROKEN,  /* fails and has done all that it should */
    FAULT_SILENT,  /* does nothing until it is cancelled: a deadline */
    FAULT_UNHEARD, /* does all that it should, and nobody hears of it: a deadline */
    FAULT_CANCEL,  /* the user cancels during the call */
    N_FAULTS
} Fault;

typedef struct World World;

typedef struct {
    VfoVm vm;
    World *world;
    VfoMac mac;
    const char *tap;
    const char *status;
    GPtrArray *pairs; /* of VfoPair; the first one's primary and VF follow from vf */
    char *vf;         /* PCI address; NULL: the guest is on its standby */
    gboolean pf_open;
    gboolean held;
    gboolean bonded; /* nobody but the guest knows what belongs together */
    guint references;
} Guest;

struct World {
    VfoHost host;
    Guest guests[2]; /* the first takes, the second gives */
    GPtrArray *vfs;  /* of VfoVf */
    GPtrArray *buses;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoPolicy policy;
    VfoJob *job;
    Kind kind;
    const char *standby;
    const char *pci;
    GPtrArray *calls; /* of char * */
    Fault faults[3];
    guint fault_at[3];
    gboolean cancel_refused;
    const char *networks[2]; /* of the guests' standbys */
};

/* ----------------------------------------------------------------- faults */

static Fault enter(World *world, const char *format, ...)
{
    guint number = world->calls->len;
    va_list arguments;

    va_start(arguments, format);
    g_ptr_array_add(world->calls, g_strdup_vprintf(format, arguments));
    va_end(arguments);
    for (guint i = 0; i < G_N_ELEMENTS(world->faults); i++) {
        if (world->faults[i] == FAULT_NONE || world->fault_at[i] != number)
            continue;
        if (world->faults[i] != FAULT_CANCEL || vfo_job_cancel(world->job, NULL))
            return world->faults[i];
        world->cancel_refused = TRUE;
    }
    return FAULT_NONE;
}

static gboolean has_effect(Fault fault)
{
    return fault != FAULT_REFUSED && fault != FAULT_SILENT;
}

/* The outcome of a call that does not wait: it does not hear of a cancellation. */
static gboolean outcome(World *world, Fault fault, GError **error)
{
    if (fault == FAULT_NONE || fault == FAULT_CANCEL)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "%s broke",
                (const char *)g_ptr_array_index(world->calls, world->calls->len - 1));
    return FALSE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    g_assert_true(g_task_return_error_if_cancelled(data));
    return G_SOURCE_REMOVE;
}

/* TRUE: @task waits for its cancellation, or has failed. */
static gboolean spoiled(World *world, Fault fault, GTask *task)
{
    g_autoptr(GSource) source = NULL;
    GError *error = NULL;

    if (fault == FAULT_NONE)
        return FALSE;
    if (fault == FAULT_REFUSED || fault == FAULT_BROKEN) {
        g_assert_false(outcome(world, fault, &error));
        vfo_task_fail(task, error);
        return TRUE;
    }
    source = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(source, G_SOURCE_FUNC(on_cancelled), task, g_object_unref);
    g_source_attach(source, NULL);
    return TRUE;
}

static void finish(World *world, Fault fault, GTask *task)
{
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

/* ---------------------------------------------------------------- the VMs */

/* Takes @pair. */
static void add_halves(VfoVmInfo *info, VfoPair *pair)
{
    VfoPair *vf;

    pair->bonded = TRUE;
    g_ptr_array_add(info->halves, pair);
    if (!pair->vf)
        return;
    vf = g_new0(VfoPair, 1);
    vf->primary = g_steal_pointer(&pair->primary);
    vf->vf = g_steal_pointer(&pair->vf);
    g_ptr_array_add(info->halves, vf);
}

static void vm_inspect(VfoVm *vm, GTask *task)
{
    Guest *guest = (Guest *)vm;
    VfoVmInfo *info;

    if (spoiled(guest->world, enter(guest->world, "inspect %s", vm->name), task))
        return;
    info = g_new0(VfoVmInfo, 1);
    info->name = g_strdup(vm->name);
    info->machine = g_strdup("pc-q35-10.0");
    info->status = g_strdup(guest->status);
    info->free_buses = g_ptr_array_ref(guest->world->buses);
    if (guest->bonded)
        info->halves = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    for (guint i = 0; i < guest->pairs->len; i++) {
        VfoPair *pair = vfo_pair_copy(g_ptr_array_index(guest->pairs, i));

        if (i == 0 && guest->vf) {
            pair->primary = pair->primary ? pair->primary : g_strdup("vf0");
            pair->vf = g_strdup(guest->vf);
        }
        if (guest->bonded)
            add_halves(info, pair);
        else
            g_ptr_array_add(info->pairs, pair);
    }
    g_task_return_pointer(task, info, (GDestroyNotify)vfo_vm_info_free);
    g_object_unref(task);
}

/* The one that has the VF before; NULL: neither. */
static Guest *giver_of(World *world)
{
    return world->kind == ATTACH ? NULL : &world->guests[world->kind == DETACH ? 0 : 1];
}

static void vm_unplug(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    Guest *guest = (Guest *)vm;
    Fault fault = enter(guest->world, "unplug %s %s", vm->name, pair->primary);

    g_assert_nonnull(guest->vf);
    /* A daemon that is killed now has written down what the VF is like. */
    if (guest == giver_of(guest->world)) {
        const VfoOffer *known = vfo_absences_find(guest->world->absences, vm->name, pair->standby);

        g_assert_nonnull(known);
        g_assert_cmpstr(known->pair->primary, ==, pair->primary);
        g_assert_cmpuint(known->settings.max_tx_rate, ==, 500);
    }
    /* The guest lets go whether or not the user still wants it: that is waited for. */
    if (fault == FAULT_CANCEL)
        fault = FAULT_NONE;
    if (has_effect(fault))
        g_clear_pointer(&guest->vf, g_free);
    finish(guest->world, fault, task);
}

static VfoVf *vf_of(World *world, const char *pci)
{
    for (guint i = 0; i < world->vfs->len; i++) {
        VfoVf *vf = g_ptr_array_index(world->vfs, i);

        if (g_str_equal(vf->pci, pci))
            return vf;
    }
    g_assert_not_reached();
}

static void vm_plug(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task)
{
    Guest *guest = (Guest *)vm;
    World *world = guest->world;
    Fault fault = enter(world, "plug %s %s %s %s", vm->name, pair->primary, pair->bus, pci);

    for (int i = 0; i < 2; i++)
        g_assert_cmpstr(world->guests[i].vf, !=, pci);
    g_assert_null(guest->vf);
    /* net_failover pairs by MAC, when the primary is registered. */
    g_assert_true(vfo_mac_equal(&vf_of(world, pci)->settings.mac, &guest->mac));
    /* Until the guest uses the VF it lives on its standby. */
    g_assert_true(guest->pf_open);
    if (has_effect(fault) && fault != FAULT_CANCEL)
        guest->vf = g_strdup(pci);
    finish(world, fault, task);
}

static void vm_announce(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = ((Guest *)vm)->world;

    finish(world, enter(world, "announce %s", vm->name), task);
}

static void vm_ref(VfoVm *vm)
{
    ((Guest *)vm)->references++;
}

static void vm_unref(VfoVm *vm)
{
    g_assert_cmpuint(((Guest *)vm)->references--, >, 0);
}

static const VfoVmOps vm_ops = {
    .inspect = vm_inspect,
    .unplug = vm_unplug,
    .plug = vm_plug,
    .announce = vm_announce,
    .ref = vm_ref,
    .unref = vm_unref,
};

/* --------------------------------------------------------------- the host */

static World *world_of(VfoHost *host)
{
    return (World *)host;
}

static GPtrArray *host_list_vfs(VfoHost *host, GError **error)
{
    World *world = world_of(host);
    GPtrArray *vfs;

    if (!outcome(world, enter(world, "list_vfs"), error))
        return NULL;
    vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    for (guint i = 0; i < world->vfs->len; i++)
        g_ptr_array_add(vfs, vfo_vf_copy(g_ptr_array_index(world->vfs, i)));
    return vfs;
}

static VfoVf *host_read_vf(VfoHost *host, const char *pci, GError **error)
{
    World *world = world_of(host);

    return outcome(world, enter(world, "read_vf %s", pci), error) ? vfo_vf_copy(vf_of(world, pci))
                                                                  : NULL;
}

static Guest *guest_of(World *world, const VfoMac *mac)
{
    for (int i = 0; i < 2; i++) {
        if (vfo_mac_equal(&world->guests[i].mac, mac))
            return &world->guests[i];
    }
    return NULL;
}

static VfoWire *host_find_wire(VfoHost *host, const char *tap, const VfoVf *vf,
                               const VfoVfSettings *settings, GError **error)
{
    World *world = world_of(host);
    const Guest *guest = guest_of(world, &settings->mac);
    VfoWire *wire;

    g_assert_cmpstr(guest->tap, ==, tap);
    if (!outcome(world, enter(world, "find_wire %s %s", tap, vf ? vf->pf : "-"), error))
        return NULL;
    wire = g_new0(VfoWire, 1);
    wire->network = g_strdup(world->networks[guest - world->guests]);
    wire->datapath = "bridge";
    wire->pf = g_strdup("eth0");
    wire->bridge = g_strdup("br0");
    wire->tap = g_strdup(tap);
    wire->mac = settings->mac;
    wire->vlan = settings->vlan == VFO_VLAN_ANY ? STANDBY_VLAN : settings->vlan;
    return wire;
}

static gboolean host_try_pf(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of(host);

    return outcome(world, enter(world, "try_pf %s", guest_of(world, &wire->mac)->vm.name), error);
}

static void host_unwatch_standby(VfoHost *host, const VfoWire *wire)
{
    g_assert_nonnull(wire);
}

static gboolean host_open_pf(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of(host);
    Guest *guest = guest_of(world, &wire->mac);
    Fault fault = enter(world, "open_pf %s", guest->vm.name);

    guest->pf_open |= has_effect(fault);
    return outcome(world, fault, error);
}

static gboolean host_close_pf(VfoHost *host, const VfoWire *wire, gboolean to_vf, GError **error)
{
    World *world = world_of(host);
    Guest *guest = guest_of(world, &wire->mac);
    Fault fault = enter(world, "close_pf %s", guest->vm.name);

    /* Both VMs stay: the PF side is never without a VF closed. */
    g_assert_true(to_vf);
    guest->pf_open &= !has_effect(fault);
    return outcome(world, fault, error);
}

static gboolean host_hold(VfoHost *host, const VfoWire *wire, const char *pci, GError **error)
{
    World *world = world_of(host);
    Guest *guest = guest_of(world, &wire->mac);
    Fault fault = enter(world, "hold %s", guest->vm.name);

    guest->held |= has_effect(fault);
    return outcome(world, fault, error);
}

static gboolean host_release(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of(host);
    Guest *guest = guest_of(world, &wire->mac);
    Fault fault = enter(world, "release %s", guest->vm.name);

    guest->held &= !has_effect(fault);
    return outcome(world, fault, error);
}

static gboolean in_a_guest(World *world, const char *pci)
{
    return g_strcmp0(world->guests[0].vf, pci) == 0 || g_strcmp0(world->guests[1].vf, pci) == 0;
}

static gboolean host_set_vf(VfoHost *host, const char *pci, const VfoVfSettings *settings,
                            GError **error)
{
    World *world = world_of(host);
    const Guest *guest = guest_of(world, &settings->mac);
    VfoVfSettings parked = vfo_vf_parked(vf_of(world, pci));
    gboolean parks = vfo_vf_settings_equal(settings, &parked);
    Fault fault = enter(world, "set_vf %s %s", pci,
                        guest   ? guest->vm.name
                        : parks ? "parked"
                                : "tried");

    g_assert_cmpuint(settings->vlan, <=, 4094);
    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_true(guest || vfo_mac_equal(&settings->mac, &vf_of(world, pci)->parking));
    g_assert_false(in_a_guest(world, pci));
    if (has_effect(fault))
        vf_of(world, pci)->settings = *settings;
    return outcome(world, fault, error);
}

static void host_reset_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of(host);
    Fault fault = enter(world, "reset_vf %s", pci);

    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_false(in_a_guest(world, pci));
    finish(world, fault, task);
}

static void host_closed_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of(host);

    g_assert_false(in_a_guest(world, pci));
    finish(world, enter(world, "closed_vf %s", pci), task);
}

static void host_used_vf(VfoHost *host, const char *pci, guint64 since, GTask *task)
{
    World *world = world_of(host);

    g_assert_true(in_a_guest(world, pci));
    finish(world, enter(world, "used_vf %s", pci), task);
}

static gboolean host_activity_vf(VfoHost *host, const char *pci, guint64 *activity, GError **error)
{
    World *world = world_of(host);

    *activity = 7;
    return outcome(world, enter(world, "activity_vf %s", pci), error);
}

static void host_prepare_hand_to_vf(VfoHost *host, const VfoWire *wire)
{
    g_assert_nonnull(wire);
}

static const VfoHostOps host_ops = {
    .list_vfs = host_list_vfs,
    .read_vf = host_read_vf,
    .find_wire = host_find_wire,
    .try_pf = host_try_pf,
    .unwatch_standby = host_unwatch_standby,
    .open_pf = host_open_pf,
    .close_pf = host_close_pf,
    .hold = host_hold,
    .release = host_release,
    .set_vf = host_set_vf,
    .prepare_hand_to_vf = host_prepare_hand_to_vf,
    .reset_vf = host_reset_vf,
    .closed_vf = host_closed_vf,
    .used_vf = host_used_vf,
    .activity_vf = host_activity_vf,
};

/* -------------------------------------------------------------- the world */

static VfoPair *pair_new(const char *standby, const VfoMac *mac, const char *tap)
{
    VfoPair *pair = g_new0(VfoPair, 1);

    pair->standby = g_strdup(standby);
    pair->mac = *mac;
    pair->tap = g_strdup(tap);
    pair->features = g_strdup("mq=off");
    pair->bus = g_strdup("rp1");
    return pair;
}

static void add_vf(World *world, const char *pci, guint8 index)
{
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup("eth0");
    vf->network = g_strdup("blue");
    vf->driver = g_strdup("vfio-pci");
    vf->index = index;
    vf->numa_node = -1;
    vf->parking = (VfoMac){{0x02, 0, 0, 0, 0, index}};
    vf->settings = vfo_vf_parked(vf);
    g_ptr_array_add(world->vfs, vf);
}

static void give_vf(World *world, Guest *guest, const char *pci)
{
    VfoVf *vf = vf_of(world, pci);

    guest->vf = g_strdup(pci);
    guest->pf_open = FALSE;
    vf->opened = TRUE;
    vf->settings.mac = guest->mac;
    vf->settings.max_tx_rate = 500;
}

static World *world_new(Kind kind)
{
    static const char *const names[] = {TAKER, GIVER};
    World *world = g_new0(World, 1);

    world->kind = kind;
    world->host.ops = &host_ops;
    world->calls = g_ptr_array_new_with_free_func(g_free);
    world->leases = vfo_leases_new();
    world->absences = vfo_absences_new();
    world->buses = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(world->buses, g_strdup("rp1"));
    world->vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    add_vf(world, VF, 0);
    add_vf(world, OTHER, 1);
    for (guint8 i = 0; i < 2; i++) {
        Guest *guest = &world->guests[i];

        guest->world = world;
        guest->vm = (VfoVm){.ops = &vm_ops, .name = (char *)names[i]};
        guest->mac = (VfoMac){{0x52, 0x54, 0, 0xaa, 0, i}};
        guest->tap = i ? "tap1" : "tap0";
        guest->status = "running";
        guest->pf_open = TRUE;
        guest->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
        g_ptr_array_add(guest->pairs, pair_new("net0", &guest->mac, guest->tap));
        world->networks[i] = "blue";
    }
    if (kind == DETACH)
        give_vf(world, &world->guests[0], VF);
    if (kind == LEND)
        give_vf(world, &world->guests[1], VF);
    vfo_policy_default(&world->policy);
    /* Of no concern to an attachment. */
    world->policy.standby_only = TRUE;
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = LONG_MS;
    return world;
}

static void world_free(World *world)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    vfo_job_unref(world->job);
    vfo_leases_free(world->leases);
    vfo_absences_free(world->absences);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpuint(world->guests[i].references, ==, 0);
        g_ptr_array_unref(world->guests[i].pairs);
        g_free(world->guests[i].vf);
    }
    g_ptr_array_unref(world->vfs);
    g_ptr_array_unref(world->buses);
    g_ptr_array_unref(world->calls);
    g_free(world);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(World, world_free)

static void make_job(World *world)
{
    VfoDetachArgs detach = {.vm = &world->guests[0].vm,
                            .host = &world->host,
                            .leases = world->leases,
                            .absences = world->absences,
                            .standby = world->standby};
    VfoAttachArgs attach = {.vm = &world->guests[0].vm,
                            .from = world->kind == LEND ? &world->guests[1].vm : NULL,
                            .host = &world->host,
                            .leases = world->leases,
                            .absences = world->absences,
                            .standby = world->standby,
                            .vf = world->pci};

    vfo_job_unref(world->job);
    world->job = world->kind == DETACH ? vfo_detach_job("hosta", &detach, &world->policy)
                                       : vfo_attach_job("hosta", &attach, &world->policy);
    g_assert_cmpstr(vfo_job_vm(world->job), ==, TAKER);
    g_assert_cmpstr(vfo_job_kind(world->job), ==, world->kind == DETACH ? "detach" : "attach");
    g_assert_true(vfo_job_concerns(world->job, TAKER));
    g_assert_cmpint(vfo_job_concerns(world->job, GIVER), ==, world->kind == LEND);
}

static void start(World *world)
{
    make_job(world);
    vfo_job_run(world->job);
}

static void run(World *world)
{
    start(world);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
}

static char *calls_of(World *world)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < world->calls->len; i++)
        g_string_append_printf(text, "%s\n", (const char *)g_ptr_array_index(world->calls, i));
    return g_string_free(text, FALSE);
}

static void assert_calls(World *world, const char *expected)
{
    g_autofree char *calls = calls_of(world);

    g_assert_cmpstr(calls, ==, expected);
}

static const char *call_at(World *world, guint number)
{
    return g_ptr_array_index(world->calls, number);
}

static void assert_state(World *world, VfoJobState state)
{
    g_assert_cmpstr(vfo_job_state_name(vfo_job_state(world->job)), ==, vfo_job_state_name(state));
}

static gboolean has_record(World *world, const char *step, VfoResult result)
{
    GPtrArray *records = vfo_job_records(world->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (record->result == result && (!step || g_str_equal(record->step, step)))
            return TRUE;
    }
    return FALSE;
}

/* ------------------------------------------------------------- invariants */

/* Whether frames for the guest reach it. */
static gboolean reachable(World *world, const Guest *guest)
{
    if (guest->vf)
        return vfo_mac_equal(&vf_of(world, guest->vf)->settings.mac, &guest->mac);
    return guest->pf_open && !guest->held;
}

/* A VF with a guest's address, and the guest is not on it, black-holes the guest's neighbours. */
static gboolean is_clean(World *world, const char *pci)
{
    VfoVf *vf = vf_of(world, pci);

    return in_a_guest(world, pci) || vfo_mac_equal(&vf->settings.mac, &vf->parking);
}

static void assert_no_lease(World *world)
{
    g_assert_null(vfo_leases_holder(world->leases, VF));
    g_assert_null(vfo_leases_holder(world->leases, OTHER));
}

static void assert_good(World *world)
{
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_no_error(vfo_job_error(world->job));
    assert_no_lease(world);
    for (int i = 0; i < 2; i++) {
        const Guest *guest = &world->guests[i];

        g_assert_true(reachable(world, guest));
        g_assert_cmpint(guest->pf_open, ==, !guest->vf);
    }
    g_assert_true(is_clean(world, VF));
    g_assert_true(is_clean(world, OTHER));
}

/* After one fault, from which there was a way back: all is as it was. */
static void assert_undone(World *world, Fault fault)
{
    Guest *giver = giver_of(world);

    assert_state(world, fault == FAULT_CANCEL ? VFO_JOB_CANCELLED : VFO_JOB_FAILED);
    if (fault == FAULT_CANCEL)
        g_assert_error(vfo_job_error(world->job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
    else
        g_assert_true(vfo_job_error(world->job)->domain == VFO_ERROR);
    g_assert_false(has_record(world, NULL, VFO_RESULT_UNDO_FAILED));
    assert_no_lease(world);
    for (int i = 0; i < 2; i++) {
        g_assert_true(reachable(world, &world->guests[i]));
        g_assert_false(world->guests[i].held);
    }
    g_assert_true(is_clean(world, VF));
    g_assert_true(is_clean(world, OTHER));
    if (giver) {
        g_assert_cmpstr(giver->vf, ==, VF);
        g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 500);
        /* One that was asked, and whose answer nobody heard, may still let go. */
        g_assert_true(!giver->pf_open || has_record(world, "unplug", VFO_RESULT_FAILED));
    }
    if (world->kind != DETACH)
        g_assert_null(world->guests[0].vf);
    for (int i = 0; i < 2; i++) {
        const Guest *guest = &world->guests[i];
        gboolean may_let_go = guest == giver && guest->pf_open;

        g_assert_cmpint(vfo_absences_find(world->absences, guest->vm.name, NULL) != NULL, ==,
                        may_let_go);
    }
}

/* --------------------------------------------------------------- injection */

static guint count_calls(Kind kind)
{
    g_autoptr(World) world = world_new(kind);

    run(world);
    assert_good(world);
    return world->calls->len;
}

/* Each call of the good path goes wrong in turn, in each way. Those that wait for a deadline
 * wait at the same time. */
static void test_each(gconstpointer data)
{
    Kind kind = (Kind)GPOINTER_TO_INT(data);
    guint n_calls = count_calls(kind), refused = 0;
    g_autoptr(GPtrArray) worlds = g_ptr_array_new_with_free_func((GDestroyNotify)world_free);

    for (guint fault = FAULT_REFUSED; fault < N_FAULTS; fault++) {
        for (guint number = 0; number < n_calls; number++) {
            World *world = world_new(kind);

            world->faults[0] = (Fault)fault;
            world->fault_at[0] = number;
            if (fault == FAULT_SILENT || fault == FAULT_UNHEARD) {
                for (int i = 0; i < VFO_N_DEADLINES; i++)
                    world->policy.deadline_ms[i] = SHORT_MS;
            }
            start(world);
            g_ptr_array_add(worlds, world);
        }
    }
    for (guint i = 0; i < worlds->len; i++) {
        World *world = g_ptr_array_index(worlds, i);
        g_autofree char *calls = NULL;

        while (!vfo_job_ended(world->job))
            g_main_context_iteration(NULL, TRUE);
        calls = calls_of(world);
        g_test_message("call %u (%s), fault %d: %s\n%s", world->fault_at[0],
                       call_at(world, world->fault_at[0]), world->faults[0],
                       vfo_job_state_name(vfo_job_state(world->job)), calls);
        refused += world->cancel_refused;
        if (world->cancel_refused)
            assert_good(world);
        else
            assert_undone(world, world->faults[0]);
    }
    /* All that is called can be cancelled: the last step calls nobody. */
    g_assert_cmpuint(refused, ==, 0);
}

static void on_last_step(VfoJob *job, const VfoRecord *record, gpointer data)
{
    World *world = data;
    gboolean last =
        record && (g_str_equal(record->step, "return") || g_str_equal(record->step, "settle"));

    if (last && record->result == VFO_RESULT_RUNNING) {
        g_assert_false(vfo_job_cancel(job, NULL));
        world->cancel_refused = TRUE;
    }
}

/* In the last step the VF becomes somebody else's: there is no way back from there. */
static void test_too_late(gconstpointer data)
{
    g_autoptr(World) world = world_new((Kind)GPOINTER_TO_INT(data));

    make_job(world);
    vfo_job_on_change(world->job, on_last_step, world);
    vfo_job_run(world->job);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    g_assert_true(world->cancel_refused);
    assert_good(world);
}

/* Two calls go wrong: the second while the first is being undone. What cannot be known is which
 * guest has the VF; but a VF that may have a guest's address is in nobody's reach. */
static void test_two(gconstpointer data)
{
    Kind kind = (Kind)GPOINTER_TO_INT(data);
    guint n_calls = count_calls(kind);

    for (guint kinds = 0; kinds < 4; kinds++) {
        for (guint first = 0; first < n_calls; first++) {
            guint n_second = first + 2;

            for (guint second = first + 1; second < n_second; second++) {
                g_autoptr(World) world = world_new(kind);
                g_autofree char *calls = NULL;

                world->faults[0] = kinds & 1 ? FAULT_REFUSED : FAULT_BROKEN;
                world->fault_at[0] = first;
                world->faults[1] = kinds & 2 ? FAULT_REFUSED : FAULT_BROKEN;
                world->fault_at[1] = second;
                run(world);
                n_second = world->calls->len;
                calls = calls_of(world);
                g_test_message("fault %d at %u, %d at %u: %s\n%s", world->faults[0], first,
                               world->faults[1], second,
                               vfo_job_state_name(vfo_job_state(world->job)), calls);
                for (int i = 0; i < 2; i++)
                    g_assert_true(
                        reachable(world, &world->guests[i]) ||
                        g_str_has_prefix(call_at(world, MIN(second, n_second - 1)), "release"));
                if (giver_of(world) && !giver_of(world)->vf)
                    g_assert_nonnull(
                        vfo_absences_find(world->absences, giver_of(world)->vm.name, "net0"));
                if (!is_clean(world, VF) && kind != DETACH)
                    g_assert_true(vfo_leases_holder(world->leases, VF) ||
                                  has_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED));
                g_assert_true(is_clean(world, OTHER));
            }
        }
    }
}

/* ------------------------------------------------------------------ detach */

static void test_detach(void)
{
    g_autoptr(World) world = world_new(DETACH);
    const VfoOffer *known;

    run(world);
    assert_calls(world, "inspect web1\nread_vf " VF "\nfind_wire tap0 eth0\nhold web1\n"
                        "open_pf web1\nunplug web1 vf0\nrelease web1\nannounce web1\nclosed_vf " VF
                        "\nset_vf " VF " parked\nreset_vf " VF "\n");
    assert_good(world);
    g_assert_null(world->guests[0].vf);
    g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
    {
        g_autoptr(GPtrArray) wires = vfo_absences_wires(world->absences, TAKER);

        g_assert_cmpuint(wires->len, ==, 1);
        g_assert_cmpstr(((VfoWire *)wires->pdata[0])->tap, ==, "tap0");
    }
    known = vfo_absences_find(world->absences, TAKER, "net0");
    g_assert_cmpstr(known->pair->primary, ==, "vf0");
    g_assert_cmpuint(known->settings.max_tx_rate, ==, 500);
}

/* What is kept for a VM that has only just started is its own; another's is not. */
static void test_detach_kept(void)
{
    g_autoptr(World) world = world_new(DETACH);
    g_autoptr(World) others = world_new(DETACH);
    g_autofree char *own = vfo_leases_of_domain(TAKER);
    g_autofree char *other = vfo_leases_of_domain("web9");

    g_assert_true(vfo_leases_take(world->leases, VF, own, 600, NULL));
    run(world);
    assert_good(world);
    assert_no_lease(world);
    g_assert_true(vfo_leases_take(others->leases, VF, other, 600, NULL));
    run(others);
    g_assert_cmpint(vfo_job_state(others->job), ==, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(others->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_cmpstr(vfo_leases_holder(others->leases, VF), ==, other);
}

static void assert_refused(World *world, VfoError code, const char *word)
{
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, (int)code);
    g_test_message("%s", vfo_job_error(world->job)->message);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, word));
    g_assert_cmpuint(world->calls->len, <=, 5);
    assert_no_lease(world);
}

static void test_detach_none(void)
{
    g_autoptr(World) world = world_new(DETACH);

    g_clear_pointer(&world->guests[0].vf, g_free);
    assert_refused(world, VFO_ERROR_NOT_FOUND, "on its standby already");
}

static void add_pair(Guest *guest, const char *standby, const char *vf)
{
    VfoPair *pair = pair_new(standby, &guest->mac, guest->tap);

    pair->primary = vf ? g_strdup("vf1") : NULL;
    pair->vf = g_strdup(vf);
    g_ptr_array_add(guest->pairs, pair);
}

/* Of what is known of its VF nobody could read it. */
static void test_detach_long_ids(void)
{
    g_autofree char *longest = g_strnfill(VFO_MAX_ID, 'x');
    g_autofree char *too_long = g_strnfill(VFO_MAX_ID + 1, 'x');
    enum { STANDBY, PRIMARY, BUS, N_IDS };

    for (int i = 0; i < 2 * N_IDS; i++) {
        g_autoptr(World) world = world_new(DETACH);
        VfoPair *pair = g_ptr_array_index(world->guests[0].pairs, 0);
        char **id = i % N_IDS == STANDBY   ? &pair->standby
                    : i % N_IDS == PRIMARY ? &pair->primary
                                           : &pair->bus;

        g_free(*id);
        *id = g_strdup(i < N_IDS ? too_long : longest);
        if (i < N_IDS) {
            assert_refused(world, VFO_ERROR_NOT_SUPPORTED, "has more than 64 characters");
            g_assert_null(vfo_absences_find(world->absences, TAKER, NULL));
        } else {
            run(world);
            assert_good(world);
        }
    }
}

/* The VF that a VM is given there can be taken out again. */
static void test_attach_long_id(void)
{
    g_autoptr(World) world = world_new(ATTACH);
    VfoPair *pair = g_ptr_array_index(world->guests[0].pairs, 0);
    g_autofree char *rest = g_strnfill(VFO_MAX_ID - 3, 'x');
    g_autofree char *plug = g_strdup_printf("plug web1 vf-%s rp1 " VF, rest);

    g_free(pair->standby);
    pair->standby = g_strnfill(VFO_MAX_ID, 'x');
    run(world);
    assert_good(world);
    g_assert_cmpstr(call_at(world, world->calls->len - 5), ==, plug);
}

static void test_detach_several(void)
{
    g_autoptr(World) world = world_new(DETACH);
    g_autoptr(World) chosen = world_new(DETACH);
    g_autoptr(World) wrong = world_new(DETACH);

    add_pair(&world->guests[0], "net1", OTHER);
    assert_refused(world, VFO_ERROR_NOT_SUPPORTED, "--standby");
    add_pair(&chosen->guests[0], "net1", OTHER);
    chosen->standby = "net0";
    run(chosen);
    assert_good(chosen);
    wrong->standby = "net9";
    assert_refused(wrong, VFO_ERROR_NOT_FOUND, "net9");
}

/* ------------------------------------------------------------------ attach */

static void test_attach(void)
{
    g_autoptr(World) world = world_new(ATTACH);
    const VfoVfSettings *settings = &vf_of(world, VF)->settings;

    run(world);
    assert_calls(world,
                 "inspect web1\nfind_wire tap0 -\nlist_vfs\nfind_wire tap0 eth0\ntry_pf web1\n"
                 "set_vf " VF " tried\nset_vf " VF " parked\n"
                 "open_pf web1\nannounce web1\nset_vf " VF " web1\n"
                 "plug web1 vf-net0 rp1 " VF "\nannounce web1\nactivity_vf " VF "\nused_vf " VF
                 "\nclose_pf web1\n");
    assert_good(world);
    g_assert_cmpstr(world->guests[0].vf, ==, VF);
    g_assert_cmpuint(settings->vlan, ==, STANDBY_VLAN);
    g_assert_true(settings->spoofchk);
    g_assert_false(settings->trust);
    g_assert_cmpuint(settings->max_tx_rate, ==, 0);
}

/* There and back: the VF, its id and its settings are those that the VM had. */
static void test_attach_again(void)
{
    g_autoptr(World) world = world_new(DETACH);

    run(world);
    vf_of(world, VF)->opened = FALSE;
    world->kind = ATTACH;
    run(world);
    assert_good(world);
    g_assert_cmpstr(world->guests[0].vf, ==, VF);
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 500);
    g_assert_nonnull(strstr(call_at(world, world->calls->len - 5), "plug web1 vf0 rp1"));
    g_assert_null(vfo_absences_find(world->absences, TAKER, NULL));
}

/* The guest bonds the two: the interface that the VF came from is known. */
static void test_bonded(void)
{
    g_autoptr(World) world = world_new(DETACH);
    g_autoptr(World) unknown = world_new(ATTACH);
    g_autoptr(World) named = world_new(ATTACH);

    world->guests[0].bonded = unknown->guests[0].bonded = named->guests[0].bonded = TRUE;
    run(world);
    assert_good(world);
    g_assert_null(world->guests[0].vf);
    vf_of(world, VF)->opened = FALSE;
    world->kind = ATTACH;
    run(world);
    assert_good(world);
    g_assert_cmpstr(world->guests[0].vf, ==, VF);
    /* Who has the VM's end closes its way. */
    g_assert_nonnull(vfo_absences_find(world->absences, TAKER, "net0"));
    run(world);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);

    assert_refused(unknown, VFO_ERROR_NOT_FOUND, "no standby");
    named->standby = "net0";
    run(named);
    assert_good(named);
    g_assert_cmpstr(named->guests[0].vf, ==, VF);
}

/* A VM of the same name with another address is another VM. */
static void test_attach_other_vm(void)
{
    g_autoptr(World) world = world_new(DETACH);
    VfoPair *pair = g_ptr_array_index(world->guests[0].pairs, 0);

    run(world);
    vf_of(world, VF)->opened = FALSE;
    world->guests[0].mac.octet[4] = 9;
    pair->mac = world->guests[0].mac;
    world->kind = ATTACH;
    run(world);
    assert_good(world);
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 0);
}

/* The bus that the VF was on has been taken by another device. */
static void test_attach_other_bus(void)
{
    g_autoptr(World) world = world_new(DETACH);

    run(world);
    vf_of(world, VF)->opened = FALSE;
    g_ptr_array_set_size(world->buses, 0);
    g_ptr_array_add(world->buses, g_strdup("rp7"));
    g_free(((VfoPair *)world->guests[0].pairs->pdata[0])->bus);
    ((VfoPair *)world->guests[0].pairs->pdata[0])->bus = g_strdup("rp7");
    world->kind = ATTACH;
    run(world);
    assert_good(world);
    g_assert_nonnull(strstr(call_at(world, world->calls->len - 5), "plug web1 vf0 rp7"));
}

static void test_attach_vf(void)
{
    g_autoptr(World) world = world_new(ATTACH);
    g_autoptr(World) busy = world_new(ATTACH);
    g_autoptr(World) elsewhere = world_new(ATTACH);

    world->pci = OTHER;
    run(world);
    assert_good(world);
    g_assert_cmpstr(world->guests[0].vf, ==, OTHER);
    busy->pci = OTHER;
    vf_of(busy, OTHER)->opened = TRUE;
    assert_refused(busy, VFO_ERROR_BUSY, OTHER);
    elsewhere->pci = OTHER;
    vf_of(elsewhere, OTHER)->network[0] = 'x';
    assert_refused(elsewhere, VFO_ERROR_MISMATCH, "'xlue'");
}

static GError *is_unmet(gpointer data)
{
    return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "libvirt is silent");
}

/* Not even one that was named. */
static void test_attach_unmet(void)
{
    g_autoptr(World) world = world_new(ATTACH);
    g_autoptr(World) parked = world_new(ATTACH);
    VfoVf *vf = vf_of(parked, OTHER);

    vfo_leases_set_unmet(world->leases, is_unmet, NULL);
    vfo_leases_set_unmet(parked->leases, is_unmet, NULL);
    world->pci = parked->pci = OTHER;
    vf_of(world, OTHER)->settings.mac = world->guests[1].mac;
    assert_refused(world, VFO_ERROR_BUSY, "libvirt is silent");
    vf->settings = vfo_vf_parked(vf);
    run(parked);
    assert_good(parked);
}

static void test_attach_no_vf(void)
{
    g_autoptr(World) world = world_new(ATTACH);

    vf_of(world, VF)->opened = vf_of(world, OTHER)->opened = TRUE;
    assert_refused(world, VFO_ERROR_BUSY, "--from");
    g_assert_null(strstr(vfo_job_error(world->job)->message, "destination"));
}

static void test_attach_refused(void)
{
    enum { STATUS, NO_PAIR, HAS_VF, NO_TAP, NO_BUS, SEVERAL, UNKNOWN, NAMED_HAS_VF, N_CASES };
    static const struct {
        VfoError code;
        const char *word;
    } expected[N_CASES] = {
        [STATUS] = {VFO_ERROR_FAILED, "paused"},
        [NO_PAIR] = {VFO_ERROR_NOT_FOUND, "failover=on"},
        [HAS_VF] = {VFO_ERROR_BUSY, "a VF already"},
        [NO_TAP] = {VFO_ERROR_NOT_SUPPORTED, "tap"},
        [NO_BUS] = {VFO_ERROR_NOT_FOUND, "pcie-root-port"},
        [SEVERAL] = {VFO_ERROR_NOT_SUPPORTED, "--standby"},
        [UNKNOWN] = {VFO_ERROR_NOT_FOUND, "net9"},
        [NAMED_HAS_VF] = {VFO_ERROR_BUSY, OTHER},
    };

    for (int i = 0; i < N_CASES; i++) {
        g_autoptr(World) world = world_new(ATTACH);
        Guest *guest = &world->guests[0];
        VfoPair *pair = g_ptr_array_index(guest->pairs, 0);

        if (i == STATUS)
            guest->status = "paused";
        if (i == NO_PAIR)
            g_ptr_array_set_size(guest->pairs, 0);
        if (i == HAS_VF)
            give_vf(world, guest, VF);
        if (i == NO_TAP)
            g_clear_pointer(&pair->tap, g_free);
        if (i == NO_BUS)
            g_clear_pointer(&pair->bus, g_free);
        if (i == SEVERAL)
            add_pair(guest, "net1", NULL);
        if (i == UNKNOWN)
            world->standby = "net9";
        if (i == NAMED_HAS_VF) {
            add_pair(guest, "net1", OTHER);
            world->standby = "net1";
        }
        assert_refused(world, expected[i].code, expected[i].word);
        g_assert_cmpuint(world->calls->len, ==, 1);
    }
}

/* A VF that may still have the guest's address is nobody's. */
static void test_attach_not_parked(void)
{
    g_autoptr(World) world = world_new(ATTACH);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = 9;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = 10;
    run(world);
    g_assert_cmpstr(call_at(world, 9), ==, "set_vf " VF " web1");
    g_assert_cmpstr(call_at(world, 10), ==, "set_vf " VF " parked");
    assert_state(world, VFO_JOB_FAILED);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, vfo_job_id(world->job));
    g_assert_true(reachable(world, &world->guests[0]));
}

/* ----------------------------------------------------------------- lending */

static void test_lend(void)
{
    g_autoptr(World) world = world_new(LEND);

    run(world);
    assert_calls(world, "inspect web2\nread_vf " VF "\nfind_wire tap1 eth0\ninspect web1\n"
                        "find_wire tap0 eth0\nopen_pf web1\nannounce web1\nhold web2\n"
                        "open_pf web2\nunplug web2 vf0\nrelease web2\nannounce web2\nclosed_vf " VF
                        "\nset_vf " VF " parked\nreset_vf " VF "\nset_vf " VF " web1\n"
                        "plug web1 vf-net0 rp1 " VF "\nannounce web1\nactivity_vf " VF
                        "\nused_vf " VF "\nclose_pf web1\n");
    assert_good(world);
    g_assert_cmpstr(world->guests[0].vf, ==, VF);
    g_assert_null(world->guests[1].vf);
    g_assert_cmpstr(vfo_job_from(world->job), ==, GIVER);
    g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 0);
    g_assert_nonnull(vfo_absences_find(world->absences, GIVER, "net0"));
}

static void test_lend_refused(void)
{
    g_autoptr(World) none = world_new(LEND);
    g_autoptr(World) other = world_new(LEND);
    g_autoptr(World) network = world_new(LEND);
    g_autoptr(World) taken = world_new(LEND);

    g_clear_pointer(&none->guests[1].vf, g_free);
    assert_refused(none, VFO_ERROR_NOT_FOUND, "none to give");
    other->pci = OTHER;
    assert_refused(other, VFO_ERROR_NOT_FOUND, OTHER);
    network->networks[0] = "red";
    assert_refused(network, VFO_ERROR_MISMATCH, "'red'");
    give_vf(taken, &taken->guests[0], OTHER);
    assert_refused(taken, VFO_ERROR_BUSY, "a VF already");
}

/* The taker's frames do not fit through the giver's PF: the giver is not asked for its VF. */
static void test_lend_too_narrow(void)
{
    g_autoptr(World) world = world_new(LEND);
    VfoPair *pair = g_ptr_array_index(world->guests[0].pairs, 0);
    VfoOffer offer = {.vm = (char *)TAKER,
                      .pair = pair,
                      .network = (char *)"blue",
                      .settings = {.mac = pair->mac},
                      .mtu = 9000};

    pair->primary = g_strdup("vf0");
    vfo_absences_note(world->absences, &offer, FALSE);
    g_clear_pointer(&pair->primary, g_free);
    assert_refused(world, VFO_ERROR_MISMATCH, "9000");
}

/* The taker's guest does not use the VF: the giver has it back, and a record says so. */
static void test_lend_not_used(void)
{
    g_autoptr(World) world = world_new(LEND);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = count_calls(LEND) - 2;
    world->policy.deadline_ms[VFO_DEADLINE_USE] = 20;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "used_vf " VF);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_undone(world, FAULT_SILENT);
    g_assert_true(has_record(world, "undo plug", VFO_RESULT_UNDONE));
    g_assert_true(has_record(world, "undo configure", VFO_RESULT_UNDONE));
    g_assert_true(has_record(world, "undo unplug", VFO_RESULT_UNDONE));
    g_assert_true(has_record(world, "undo open", VFO_RESULT_UNDONE));
}

/* Neither of the two can have the VF, and it may have an address of theirs: nobody gets it. */
static void test_lend_lost(void)
{
    g_autoptr(World) world = world_new(LEND);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = count_calls(LEND) - 2;
    world->faults[1] = world->faults[2] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 3;
    world->fault_at[2] = world->fault_at[0] + 5;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "used_vf " VF);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "set_vf " VF " parked");
    g_assert_cmpstr(call_at(world, world->fault_at[2]), ==, "set_vf " VF " web2");
    assert_state(world, VFO_JOB_FAILED);
    g_assert_true(has_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED));
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, vfo_job_id(world->job));
    for (int i = 0; i < 2; i++)
        g_assert_true(reachable(world, &world->guests[i]));
}

/* ---------------------------------------------------------------- absences */

static VfoOffer offer_of(const char *vm, const char *network, VfoPair *pair)
{
    return (VfoOffer){.job = (char *)"5f1e",
                      .vm = (char *)vm,
                      .machine = (char *)"q35",
                      .pair = pair,
                      .network = (char *)network};
}

static void test_absences(void)
{
    static const VfoMac mac = {{0x52, 0x54, 0, 0, 0, 1}};
    g_autoptr(VfoAbsences) absences = vfo_absences_new();
    g_autoptr(VfoPair) pair = pair_new("net0", &mac, "tap0");
    VfoOffer web1 = offer_of("web1", "blue", pair);
    VfoOffer web2 = offer_of("web2", "red", pair);
    VfoOffer web3 = offer_of("web3", "blue", pair);

    vfo_absences_note(absences, &web1, TRUE);
    vfo_absences_note(absences, &web2, TRUE);
    vfo_absences_note(absences, &web3, FALSE);
    {
        g_autoptr(GPtrArray) wanted = vfo_absences_wanted(absences, "blue");

        g_assert_cmpuint(wanted->len, ==, 1);
        g_assert_cmpstr(((VfoOffer *)wanted->pdata[0])->vm, ==, "web1");
    }
    g_assert_null(vfo_absences_find(absences, "web1", "net1"));
    g_assert_nonnull(vfo_absences_find(absences, "web1", "net0"));
    /* What is noted last is what is known; the wire stays. */
    vfo_absences_keep(absences, "web1", "net0", g_new0(VfoWire, 1));
    vfo_absences_keep(absences, "web1", "net1", g_new0(VfoWire, 1));
    vfo_absences_note(absences, &web1, FALSE);
    {
        g_autoptr(GPtrArray) wires = vfo_absences_wires(absences, "web1");

        g_assert_cmpuint(wires->len, ==, 1);
    }
    {
        g_autoptr(GPtrArray) wanted = vfo_absences_wanted(absences, "blue");

        g_assert_cmpuint(wanted->len, ==, 0);
    }
    vfo_absences_forget(absences, "web1", "net1");
    g_assert_nonnull(vfo_absences_find(absences, "web1", NULL));
    vfo_absences_forget(absences, "web1", NULL);
    g_assert_null(vfo_absences_find(absences, "web1", NULL));
    g_assert_nonnull(vfo_absences_find(absences, "web2", NULL));
}

static void on_changed(VfoAbsences *absences, gpointer data)
{
    ++*(guint *)data;
}

/* Once for each change, when it has been made; and for nothing else. */
static void test_absences_tell(void)
{
    static const VfoMac mac = {{0x52, 0x54, 0, 0, 0, 1}};
    g_autoptr(VfoAbsences) absences = vfo_absences_new();
    g_autoptr(VfoPair) pair = pair_new("net0", &mac, "tap0");
    VfoOffer web1 = offer_of("web1", "blue", pair);
    VfoOffer web2 = offer_of("web2", "blue", pair);
    gboolean wanted = FALSE;
    guint changes = 0;

    vfo_absences_on_change(absences, on_changed, &changes);
    vfo_absences_note(absences, &web1, FALSE);
    g_assert_cmpuint(changes, ==, 1);
    vfo_absences_note(absences, &web2, FALSE);
    vfo_absences_note(absences, &web1, TRUE);
    g_assert_cmpuint(changes, ==, 3);
    vfo_absences_forget(absences, "web1", "net1");
    vfo_absences_keep(absences, "web1", "net0", g_new0(VfoWire, 1));
    g_assert_cmpuint(changes, ==, 3);

    g_assert_cmpstr(vfo_absences_nth(absences, 0, &wanted)->vm, ==, "web2");
    g_assert_false(wanted);
    g_assert_cmpstr(vfo_absences_nth(absences, 1, &wanted)->vm, ==, "web1");
    g_assert_true(wanted);
    g_assert_null(vfo_absences_nth(absences, 2, NULL));
    g_assert_true(vfo_absences_has_wire(absences, "web1", "net0"));
    g_assert_false(vfo_absences_has_wire(absences, "web2", "net0"));

    vfo_absences_unwant(absences, "web2", "net0");
    vfo_absences_unwant(absences, "web1", "net1");
    g_assert_cmpuint(changes, ==, 3);
    vfo_absences_unwant(absences, "web1", "net0");
    g_assert_cmpuint(changes, ==, 4);
    vfo_absences_nth(absences, 1, &wanted);
    g_assert_false(wanted);
    g_assert_true(vfo_absences_has_wire(absences, "web1", "net0"));

    vfo_absences_forget(absences, "web1", NULL);
    g_assert_cmpuint(changes, ==, 5);
    vfo_absences_on_change(absences, NULL, NULL);
    vfo_absences_forget(absences, "web2", NULL);
    g_assert_cmpuint(changes, ==, 5);
}

static void test_absences_are_bounded(void)
{
    static const VfoMac mac = {{0x52, 0x54, 0, 0, 0, 1}};
    g_autoptr(VfoAbsences) absences = vfo_absences_new();
    g_autoptr(VfoPair) pair = pair_new("net0", &mac, "tap0");

    for (int i = 0; i <= VFO_MAX_ABSENCES; i++) {
        g_autofree char *name = g_strdup_printf("vm%d", i);
        VfoOffer offer = offer_of(name, "blue", pair);

        vfo_absences_note(absences, &offer, FALSE);
    }
    g_assert_null(vfo_absences_find(absences, "vm0", NULL));
    g_assert_nonnull(vfo_absences_find(absences, "vm1", NULL));
    g_assert_nonnull(vfo_absences_find(absences, "vm4096", NULL));
    g_assert_null(vfo_absences_nth(absences, VFO_MAX_ABSENCES, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed step is a warning in the log, and here it is meant to fail. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/lend/detach/good", test_detach);
    g_test_add_func("/lend/detach/kept", test_detach_kept);
    g_test_add_func("/lend/detach/none", test_detach_none);
    g_test_add_func("/lend/detach/long-ids", test_detach_long_ids);
    g_test_add_func("/lend/attach/long-id", test_attach_long_id);
    g_test_add_func("/lend/detach/several", test_detach_several);
    g_test_add_data_func("/lend/detach/each", GINT_TO_POINTER(DETACH), test_each);
    g_test_add_data_func("/lend/detach/two", GINT_TO_POINTER(DETACH), test_two);
    g_test_add_data_func("/lend/detach/too-late", GINT_TO_POINTER(DETACH), test_too_late);
    g_test_add_func("/lend/attach/good", test_attach);
    g_test_add_func("/lend/attach/again", test_attach_again);
    g_test_add_func("/lend/attach/bonded", test_bonded);
    g_test_add_func("/lend/attach/other-vm", test_attach_other_vm);
    g_test_add_func("/lend/attach/other-bus", test_attach_other_bus);
    g_test_add_func("/lend/attach/vf", test_attach_vf);
    g_test_add_func("/lend/attach/unmet", test_attach_unmet);
    g_test_add_func("/lend/attach/no-vf", test_attach_no_vf);
    g_test_add_func("/lend/attach/refused", test_attach_refused);
    g_test_add_func("/lend/attach/not-parked", test_attach_not_parked);
    g_test_add_data_func("/lend/attach/each", GINT_TO_POINTER(ATTACH), test_each);
    g_test_add_data_func("/lend/attach/two", GINT_TO_POINTER(ATTACH), test_two);
    g_test_add_data_func("/lend/attach/too-late", GINT_TO_POINTER(ATTACH), test_too_late);
    g_test_add_func("/lend/from/good", test_lend);
    g_test_add_func("/lend/from/refused", test_lend_refused);
    g_test_add_func("/lend/from/too-narrow", test_lend_too_narrow);
    g_test_add_func("/lend/from/not-used", test_lend_not_used);
    g_test_add_func("/lend/from/lost", test_lend_lost);
    g_test_add_data_func("/lend/from/each", GINT_TO_POINTER(LEND), test_each);
    g_test_add_data_func("/lend/from/two", GINT_TO_POINTER(LEND), test_two);
    g_test_add_data_func("/lend/from/too-late", GINT_TO_POINTER(LEND), test_too_late);
    g_test_add_func("/lend/absences/known", test_absences);
    g_test_add_func("/lend/absences/tell", test_absences_tell);
    g_test_add_func("/lend/absences/bounded", test_absences_are_bounded);
    return g_test_run();
}
