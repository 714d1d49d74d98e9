/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handover-world.h"

#include <string.h>

const VfoMac guest_mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};
const VfoMac parking_mac = {{0x02, 0x00, 0x00, 0x00, 0x00, 0x01}};

static const char *const fault_names[] = {"none",   "refused", "broken",
                                          "silent", "unheard", "cancel"};

gboolean is_source(const World *world)
{
    return world->side == SOURCE || world->side == FOLLOWING_SOURCE || world->side == BARE_SOURCE;
}

static gboolean is_bare(const World *world)
{
    return world->side == BARE_SOURCE || world->side == BARE_DESTINATION;
}

static gboolean is_libvirts(const World *world)
{
    return world->side != SOURCE && world->side != DESTINATION;
}

/* ----------------------------------------------------------------- faults */

static Fault enter(World *world, const char *format, ...)
{
    guint number = world->calls->len;
    va_list arguments;

    va_start(arguments, format);
    g_ptr_array_add(world->calls, g_strdup_vprintf(format, arguments));
    va_end(arguments);
    if (world->orphan_at && world->orphan_at == number)
        vfo_destination_orphaned(world->job);
    for (guint i = 0; i < G_N_ELEMENTS(world->faults); i++) {
        Fault fault = world->faults[i];

        if (fault == FAULT_NONE || world->fault_at[i] != number)
            continue;
        if (fault == FAULT_CANCEL && !vfo_job_cancel(world->job, NULL)) {
            world->cancel_refused = TRUE;
            return FAULT_NONE;
        }
        return fault;
    }
    return FAULT_NONE;
}

/* Whether the op's effect takes place. An op that asks the kernel does not hear of a cancellation.
 */
static gboolean has_effect(Fault fault)
{
    return fault != FAULT_REFUSED && fault != FAULT_SILENT;
}

static GError *broken(World *world)
{
    return g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s broke",
                       (char *)g_ptr_array_index(world->calls, world->calls->len - 1));
}

static gboolean leave(World *world, Fault fault, GError **error)
{
    if (fault == FAULT_NONE || fault == FAULT_CANCEL)
        return TRUE;
    g_propagate_error(error, broken(world));
    return FALSE;
}

static gboolean on_cancelled_late(GCancellable *cancellable, gpointer data)
{
    g_task_return_boolean(data, TRUE);
    return G_SOURCE_REMOVE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    g_assert_true(g_task_return_error_if_cancelled(data));
    return G_SOURCE_REMOVE;
}

/* TRUE: @task has been, or will be, completed because of @fault. */
static gboolean spoiled(World *world, Fault fault, GTask *task)
{
    g_autoptr(GSource) source = NULL;

    if (fault == FAULT_NONE)
        return FALSE;
    if (fault == FAULT_REFUSED || fault == FAULT_BROKEN) {
        vfo_task_fail(task, broken(world));
        return TRUE;
    }
    source = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(source,
                          fault == FAULT_LATE ? G_SOURCE_FUNC(on_cancelled_late)
                                              : G_SOURCE_FUNC(on_cancelled),
                          task, g_object_unref);
    g_source_attach(source, NULL);
    return TRUE;
}

/* ----------------------------------------------------------------- the VM */

static World *world_of_vm(VfoVm *vm)
{
    return ((FakeVm *)vm)->world;
}

/* The guest knows that they belong together. Takes @pair. */
static void add_halves(VfoVmInfo *info, VfoPair *pair)
{
    VfoPair *vf;

    pair->bonded = TRUE;
    g_ptr_array_add(info->halves, pair);
    if (!pair->vf)
        return;
    vf = vfo_pair_copy(pair);
    g_clear_pointer(&vf->standby, g_free);
    memset(&vf->mac, 0, sizeof(vf->mac));
    g_clear_pointer(&pair->primary, g_free);
    g_clear_pointer(&pair->vf, g_free);
    g_ptr_array_add(info->halves, vf);
}

static VfoVmInfo *vm_info(World *world)
{
    VfoVmInfo *info = g_new0(VfoVmInfo, 1);

    if (is_libvirts(world))
        info->uuid = g_strdup(UUID);
    if (is_bare(world))
        info->halves = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    info->name = g_strdup(VM);
    info->machine = g_strdup(world->machine);
    info->status = g_strdup(world->status);
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    for (guint i = 0; i < world->pairs->len; i++) {
        VfoPair *pair = vfo_pair_copy(g_ptr_array_index(world->pairs, i));

        if (i == 0 && !world->in_guest && !world->listed) {
            g_clear_pointer(&pair->primary, g_free);
            g_clear_pointer(&pair->vf, g_free);
        }
        if (is_libvirts(world) && !is_source(world) && !world->started)
            g_clear_pointer(&pair->tap, g_free);
        if (is_bare(world))
            add_halves(info, pair);
        else
            g_ptr_array_add(info->pairs, pair);
    }
    info->free_buses = g_ptr_array_ref(world->free_buses);
    return info;
}

static void vm_inspect(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);

    if (spoiled(world, enter(world, "inspect"), task))
        return;
    g_task_return_pointer(task, vm_info(world), (GDestroyNotify)vfo_vm_info_free);
    g_object_unref(task);
}

static void vm_unplug(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "unplug %s", pair->primary);

    /* A daemon that is killed now has written down what the VF is like. */
    if (is_source(world)) {
        const VfoOffer *known = vfo_absences_find(world->absences, VM, pair->standby);

        g_assert_nonnull(known);
        g_assert_cmpstr(known->pair->primary, ==, "vf0");
        g_assert_cmpuint(known->settings.max_tx_rate, ==, 500);
    }
    if (world->gone) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "QEMU has exited"));
        return;
    }
    /* The guest lets go whether or not the user still wants it: that is waited for. */
    if (fault == FAULT_CANCEL)
        fault = FAULT_NONE;
    if (!world->in_guest && !world->prepared && !world->listed) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_QMP_DEVICE_NOT_FOUND,
                                        "Device '%s' not found", pair->primary));
        return;
    }
    if (has_effect(fault))
        world->in_guest = world->prepared = world->listed = FALSE;
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

VfoVf *vf_of(World *world, const char *pci)
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
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "plug %s %s", pair->primary, pci);

    g_assert_false(world->in_guest);
    g_assert_true(world->here);
    g_assert_cmpint(pair->prepared, ==, world->prepared);
    /* net_failover pairs by MAC, when the primary is registered. */
    g_assert_true(vfo_mac_equal(&vf_of(world, pci)->settings.mac, &guest_mac));
    if (has_effect(fault) && fault != FAULT_CANCEL)
        world->in_guest = TRUE;
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_prepare(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task)
{
    World *world = world_of_vm(vm);

    if (!world->prepares) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "this QEMU cannot"));
        return;
    }
    g_assert_false(world->here);
    g_assert_true(vfo_mac_equal(&vf_of(world, pci)->settings.mac, &parking_mac));
    world->prepared = TRUE;
    if (!spoiled(world, enter(world, "prepare %s %s", pair->primary, pci), task))
        vfo_task_done(task);
}

static void vm_announce(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = world_of_vm(vm);

    if (world->mute)
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "no call for it"));
    else if (!spoiled(world, enter(world, "announce %s", pair->standby), task))
        vfo_task_done(task);
}

static void vm_listen(VfoVm *vm, const char *address, const char *ports, GTask *task)
{
    World *world = world_of_vm(vm);

    if (spoiled(world, enter(world, "listen %s %s", address, ports), task))
        return;
    g_task_return_pointer(task, g_strdup(URI), g_free);
    g_object_unref(task);
}

static void vm_resumed(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault;

    if (world->stops)
        vfo_destination_stopped(world->job, NULL);
    fault = enter(world, "resumed");
    world->here = fault == FAULT_NONE || fault == FAULT_LATE;
    if (world->side == FOLLOWING_DESTINATION)
        world->in_guest = world->here && vfo_follow_destination_vf(world->job);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_migrate(VfoVm *vm, const char *uri, guint64 max_bandwidth, guint downtime_limit_ms,
                       GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "migrate %s", uri);

    g_assert_false(world->in_guest);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_completed(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "completed");

    if (has_effect(fault)) {
        world->moved = TRUE;
        world->here = FALSE;
    }
    world->ended |= world->vanishes;
    if (world->vanishes)
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "the VM has gone"));
    else if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_cancel(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "cancel");

    world->given_up = !world->moved && has_effect(fault);
    if (world->moved)
        vfo_task_fail(task,
                      g_error_new(VFO_ERROR, world->vanishes ? VFO_ERROR_CLOSED : VFO_ERROR_FAILED,
                                  "the VM has moved"));
    else if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static gboolean vm_incoming_began(VfoVm *vm)
{
    return world_of_vm(vm)->began;
}

static void vm_unplugging(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "unplugging %s", pair->primary);

    /* What follows must not wait for anything but QEMU. */
    g_assert_true(world->ready);
    g_assert_false(world->pf_open || world->held);
    g_assert_true(world->hold_ready || world->cannot_hold);
    world->asked |= has_effect(fault);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_unplugged(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "unplugged %s", pair->primary);

    g_assert_true(world->asked && world->pf_open);
    if (has_effect(fault))
        world->in_guest = FALSE;
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_stopped(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);

    g_assert_false(world->in_guest);
    if (world->blind)
        g_task_return_boolean(world->unseen, TRUE);
    if (!spoiled(world, enter(world, "stopped"), task))
        vfo_task_done(task);
}

static void vm_replugged(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "replugged %s", pair->primary);

    g_assert_true(world->given_up);
    g_assert_true(!world->held || called(world, "release"));
    /* The guest pairs by address, and looks at it when the VF comes. */
    g_assert_true(vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac));
    world->in_guest |= has_effect(fault);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

/* As with <interface type='hostdev'>. */
static void vm_ended(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "ended");

    g_assert_true(world->moved);
    if (has_effect(fault)) {
        world->ended = TRUE;
        vf_of(world, VF)->settings.mac = guest_mac;
    }
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_started(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "started");
    const char *pci = ((VfoPair *)world->pairs->pdata[0])->vf;

    g_assert_cmpstr(world->reserved_uri, ==, VFO_URI_LIBVIRT);
    if (has_effect(fault)) {
        world->started = TRUE;
        if (pci && world->listed)
            vf_of(world, pci)->settings.mac = guest_mac;
        if (pci && world->early)
            vfo_job_vf_changed(world->job, vf_of(world, pci));
    }
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

/* Until the test says so. */
static void vm_unseen(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);

    g_assert_null(world->unseen);
    spoiled(world, FAULT_SILENT, g_object_ref(task));
    world->unseen = task;
}

static void vm_ref(VfoVm *vm)
{
    world_of_vm(vm)->vm_references++;
}

static void vm_unref(VfoVm *vm)
{
    g_assert_cmpuint(world_of_vm(vm)->vm_references, >, 0);
    world_of_vm(vm)->vm_references--;
}

static const VfoVmOps vm_ops = {
    .inspect = vm_inspect,
    .unplug = vm_unplug,
    .prepare = vm_prepare,
    .plug = vm_plug,
    .announce = vm_announce,
    .listen = vm_listen,
    .resumed = vm_resumed,
    .migrate = vm_migrate,
    .completed = vm_completed,
    .cancel = vm_cancel,
    .incoming_began = vm_incoming_began,
    .ref = vm_ref,
    .unref = vm_unref,
    .unplugging = vm_unplugging,
    .unplugged = vm_unplugged,
    .stopped = vm_stopped,
    .replugged = vm_replugged,
    .ended = vm_ended,
    .started = vm_started,
    .unseen = vm_unseen,
};

/* --------------------------------------------------------------- the host */

static World *world_of_host(VfoHost *host)
{
    return ((FakeHost *)host)->world;
}

static GPtrArray *host_list_vfs(VfoHost *host, GError **error)
{
    World *world = world_of_host(host);
    GPtrArray *vfs;

    if (!leave(world, enter(world, "list_vfs"), error))
        return NULL;
    vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    for (guint i = 0; i < world->vfs->len; i++)
        g_ptr_array_add(vfs, vfo_vf_copy(g_ptr_array_index(world->vfs, i)));
    return vfs;
}

static VfoVf *host_read_vf(VfoHost *host, const char *pci, GError **error)
{
    World *world = world_of_host(host);

    return leave(world, enter(world, "read_vf %s", pci), error) ? vfo_vf_copy(vf_of(world, pci))
                                                                : NULL;
}

static VfoWire *host_find_wire(VfoHost *host, const char *tap, const VfoVf *vf,
                               const VfoVfSettings *settings, GError **error)
{
    World *world = world_of_host(host);
    VfoWire *wire;

    g_assert_true(vfo_mac_equal(&settings->mac, &guest_mac));
    if (!leave(world, enter(world, "find_wire %s %s", tap, vf ? vf->pf : "-"), error))
        return NULL;
    wire = g_new0(VfoWire, 1);
    wire->network = g_strdup(world->wire_network);
    wire->datapath = "bridge";
    wire->pf = g_strdup("eth0");
    wire->bridge = g_strdup("br0");
    wire->tap = g_strdup(tap);
    wire->mac = settings->mac;
    wire->vlan = wire->tag = settings->vlan;
    wire->mtu = world->mtu;
    world->wire_vlan = settings->vlan;
    if (world->wire_trunk) {
        wire->trunk = g_array_new(FALSE, FALSE, sizeof(guint16));
        g_array_append_val(wire->trunk, world->wire_trunk);
    }
    return wire;
}

static gboolean host_try_pf(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of_host(host);

    return leave(world, enter(world, "try_pf"), error);
}

static void host_watch_standby(VfoHost *host, const VfoWire *wire)
{
    world_of_host(host)->watched = TRUE;
}

static void host_unwatch_standby(VfoHost *host, const VfoWire *wire)
{
    g_assert_nonnull(wire);
    world_of_host(host)->watched = FALSE;
}

static void host_drained(VfoHost *host, const VfoWire *wire, guint wait_ms, GTask *task)
{
    World *world = world_of_host(host);

    Fault fault = enter(world, "drained %s", wire->tap);

    g_assert_true(world->watched);
    world->watched = FALSE;
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static gboolean host_open_pf(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "open_pf");

    /* Two hosts with the guest's address at once black-hole it. */
    g_assert_true(world->here || world->stops);
    world->pf_open |= has_effect(fault);
    return leave(world, fault, error);
}

static gboolean host_close_pf(VfoHost *host, const VfoWire *wire, gboolean to_vf, GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "close_pf%s", to_vf ? " to_vf" : "");

    world->pf_open &= !has_effect(fault);
    return leave(world, fault, error);
}

static gboolean host_announce(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of_host(host);

    g_assert_true(world->pf_open || world->side == FOLLOWING_DESTINATION);
    return leave(world, enter(world, "host_announce"), error);
}

static gboolean host_draw(VfoHost *host, const VfoWire *wire, GError **error)
{
    return host_open_pf(host, wire, error) && host_announce(host, wire, error);
}

static gboolean host_prepare_hold(VfoHost *host, const VfoWire *wire, const char *pci,
                                  GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "prepare_hold");

    if (world->cannot_hold) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "this kernel cannot hold frames");
        return FALSE;
    }
    world->hold_ready |= has_effect(fault);
    return leave(world, fault, error);
}

static gboolean host_hold(VfoHost *host, const VfoWire *wire, const char *pci, GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "hold");

    if (world->cannot_hold) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "this kernel cannot hold frames");
        return FALSE;
    }
    world->held |= has_effect(fault);
    world->hold_ready &= !has_effect(fault);
    world->was_held |= world->held;
    return leave(world, fault, error);
}

static gboolean host_release(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "release");

    world->held &= !has_effect(fault);
    world->hold_ready &= !has_effect(fault);
    return leave(world, fault, error);
}

static gboolean host_set_vf(VfoHost *host, const char *pci, const VfoVfSettings *settings,
                            GError **error)
{
    World *world = world_of_host(host);
    gboolean to_guest = vfo_mac_equal(&settings->mac, &guest_mac);
    VfoVfSettings parked = vfo_vf_parked(vf_of(world, pci));
    gboolean to_nobody =
        to_guest && settings->vlan && settings->vlan == vf_of(world, pci)->quarantine;
    const char *what = to_nobody                                  ? "quarantined"
                       : to_guest                                 ? "guest"
                       : vfo_vf_settings_equal(settings, &parked) ? "parked"
                                                                  : "tried";
    Fault fault = enter(world, "set_vf %s %s", pci, what);

    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_true(to_guest || vfo_mac_equal(&settings->mac, &vf_of(world, pci)->parking));
    g_assert_true(!to_guest || world->here || world->stops);
    /* A VF in use keeps the guest's address. */
    g_assert_true(to_guest || !world->in_guest);
    if (has_effect(fault))
        vf_of(world, pci)->settings = *settings;
    return leave(world, fault, error);
}

static void host_prepare_hand_to_vf(VfoHost *host, const VfoWire *wire)
{
    g_assert_nonnull(wire);
}

static gboolean host_hand_to_vf(VfoHost *host, const VfoWire *wire, const char *pci,
                                const VfoVfSettings *settings, GError **error)
{
    if (host_set_vf(host, pci, settings, error))
        return host_close_pf(host, wire, TRUE, error);
    /* The kernel had both requests. */
    world_of_host(host)->pf_open = FALSE;
    return FALSE;
}

static void host_reset_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "reset_vf %s", pci);

    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_false(world->in_guest);
    if (world->side == FOLLOWING_SOURCE)
        g_assert_false(vfo_mac_equal(&vf_of(world, pci)->settings.mac, &guest_mac));
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void host_closed_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "closed_vf %s", pci);

    g_assert_false(world->in_guest);
    g_assert_cmpint(world->ended, ==, world->side == FOLLOWING_SOURCE);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void host_used_vf(VfoHost *host, const char *pci, guint64 since, GTask *task)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "used_vf %s %" G_GUINT64_FORMAT, pci, since);

    g_assert_true(world->in_guest);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static gboolean host_activity_vf(VfoHost *host, const char *pci, guint64 *activity, GError **error)
{
    World *world = world_of_host(host);

    if (!leave(world, enter(world, "activity_vf %s", pci), error))
        return FALSE;
    *activity = 7;
    return TRUE;
}

static const VfoHostOps host_ops = {
    .list_vfs = host_list_vfs,
    .read_vf = host_read_vf,
    .find_wire = host_find_wire,
    .try_pf = host_try_pf,
    .open_pf = host_open_pf,
    .close_pf = host_close_pf,
    .announce = host_announce,
    .draw = host_draw,
    .prepare_hold = host_prepare_hold,
    .hold = host_hold,
    .release = host_release,
    .set_vf = host_set_vf,
    .prepare_hand_to_vf = host_prepare_hand_to_vf,
    .hand_to_vf = host_hand_to_vf,
    .reset_vf = host_reset_vf,
    .watch_standby = host_watch_standby,
    .unwatch_standby = host_unwatch_standby,
    .drained = host_drained,
    .closed_vf = host_closed_vf,
    .used_vf = host_used_vf,
    .activity_vf = host_activity_vf,
};

/* --------------------------------------------------------------- the peer */

static World *world_of_peer(VfoPeer *peer)
{
    return ((FakePeer *)peer)->world;
}

static void peer_reserve(VfoPeer *peer, const VfoOffer *offer, GTask *task)
{
    World *world = world_of_peer(peer);
    Fault fault = enter(world, "reserve");
    gboolean libvirts;

    g_assert_cmpstr(offer->job, ==, vfo_job_id(world->job));
    g_assert_cmpstr(offer->vm, ==, VM);
    g_assert_cmpstr(offer->machine, ==, world->machine);
    g_assert_cmpstr(offer->network, ==, "blue");
    g_assert_cmpstr(offer->uuid, ==, world->side == BARE_SOURCE ? UUID : NULL);
    g_assert_cmpint(offer->pair->bonded, ==, is_bare(world));
    g_assert_cmpstr(offer->pair->primary, ==, "vf0");
    g_assert_cmpstr(offer->pair->bus, ==, "rp1");
    g_assert_true(vfo_mac_equal(&offer->settings.mac, &guest_mac));
    g_assert_cmpuint(offer->settings.max_tx_rate, ==, 500);
    world->reserved |= has_effect(fault) && fault != FAULT_CANCEL;
    if (spoiled(world, fault, task))
        return;
    libvirts = is_libvirts(world) != world->wrong_uri;
    g_task_return_pointer(task, g_strdup(libvirts ? VFO_URI_LIBVIRT : URI), g_free);
    g_object_unref(task);
}

static void peer_stopped(VfoPeer *peer)
{
    World *world = world_of_peer(peer);

    /* While the guest's address is still here: to be told first saves frames. */
    g_assert_true(world->pf_open);
    world->told = TRUE;
}

/* Beside another op the destination's half goes on until that one is done, or ends badly. */
static void peer_finished(VfoPeer *peer, GTask *task)
{
    World *world = world_of_peer(peer);
    const char *step = vfo_job_step(world->job)->name;

    if (!g_str_equal(step, "arrive") && !g_str_equal(step, "complete")) {
        Fault fault = enter(world, "watched");

        if (fault == FAULT_REFUSED || fault == FAULT_BROKEN)
            world->reserved = FALSE;
        else
            fault = FAULT_SILENT;
        spoiled(world, fault, task);
        return;
    }
    if (!spoiled(world, enter(world, "finished"), task))
        vfo_task_done(task);
}

static void peer_release(VfoPeer *peer, GTask *task)
{
    World *world = world_of_peer(peer);
    Fault fault = enter(world, "peer_release");

    world->reserved &= !has_effect(fault);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static const VfoPeerOps peer_ops = {
    .reserve = peer_reserve,
    .stopped = peer_stopped,
    .finished = peer_finished,
    .release = peer_release,
};

/* -------------------------------------------------------------- the world */

VfoPair *pair_new(const char *standby, const char *primary, const char *vf)
{
    VfoPair *pair = g_new0(VfoPair, 1);

    pair->standby = g_strdup(standby);
    pair->mac = guest_mac;
    pair->tap = g_strdup("tap0");
    pair->features = g_strdup("mq=off,mrg_rxbuf=on");
    pair->primary = g_strdup(primary);
    pair->vf = g_strdup(vf);
    pair->bus = g_strdup("rp1");
    return pair;
}

static VfoVf *vf_new(const char *pci, guint index)
{
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup("eth0");
    vf->network = g_strdup("blue");
    vf->driver = g_strdup("vfio-pci");
    vf->index = index;
    vf->numa_node = -1;
    vf->parking = parking_mac;
    vf->parking.octet[5] = (guint8)(parking_mac.octet[5] + index);
    vf->settings = vfo_vf_parked(vf);
    return vf;
}

World *world_new(Side side)
{
    World *world = g_new0(World, 1);
    gboolean at_source;

    world->side = side;
    at_source = is_source(world);
    world->vm = (FakeVm){.vm = {.ops = &vm_ops, .name = (char *)VM}, .world = world};
    world->host = (FakeHost){.host = {.ops = &host_ops}, .world = world};
    world->peer = (FakePeer){.peer = {.ops = &peer_ops, .name = (char *)"hostb"}, .world = world};
    world->leases = vfo_leases_new();
    world->absences = vfo_absences_new();
    world->calls = g_ptr_array_new_with_free_func(g_free);
    world->machine = g_strdup("pc-q35-10.0");
    world->status = g_strdup(at_source ? "running" : "inmigrate");
    world->wire_network = g_strdup("blue");
    world->mtu = 1500;
    world->free_buses = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(world->free_buses, g_strdup("rp0"));
    g_ptr_array_add(world->free_buses, g_strdup("rp1"));
    world->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    g_ptr_array_add(world->pairs, pair_new("net0", "vf0", VF));
    world->vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    g_ptr_array_add(world->vfs, vf_new(VF, 0));
    g_ptr_array_add(world->vfs, vf_new(OTHER, 1));
    world->in_guest = at_source;
    world->here = at_source;
    world->listed = side == FOLLOWING_DESTINATION;
    world->mute = is_libvirts(world);
    if (at_source) {
        VfoVf *vf = g_ptr_array_index(world->vfs, 0);

        vf->settings.mac = guest_mac;
        vf->settings.max_tx_rate = 500;
        vf->opened = TRUE;
    }
    vfo_policy_default(&world->policy);
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = LONG_MS;
    return world;
}

void world_free(World *world)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    vfo_job_unref(world->job);
    g_assert_false(world->watched);
    g_assert_cmpuint(world->vm_references, ==, 0);
    g_clear_object(&world->unseen);
    vfo_leases_free(world->leases);
    vfo_absences_free(world->absences);
    g_ptr_array_unref(world->calls);
    g_ptr_array_unref(world->pairs);
    g_ptr_array_unref(world->free_buses);
    g_ptr_array_unref(world->vfs);
    g_free(world->machine);
    g_free(world->status);
    g_free(world->wire_network);
    g_free(world->reserved_uri);
    g_free(world);
}

static void on_reserved(VfoJob *job, const char *uri, gpointer data)
{
    World *world = data;

    enter(world, "reserved");
    g_assert_null(world->reserved_uri);
    world->reserved_uri = g_strdup(uri);
}

static void on_ready(VfoJob *job, gpointer data)
{
    World *world = data;

    enter(world, "ready");
    g_assert_false(world->ready);
    world->ready = TRUE;
}

static void on_wired(VfoJob *job, gpointer data)
{
    World *world = data;
    const char *pci = vfo_follow_destination_vf(job);

    enter(world, "wired");
    g_assert_false(world->wired);
    world->wired = TRUE;
    if (pci)
        g_assert_false(vfo_mac_equal(&vf_of(world, pci)->settings.mac, &guest_mac));
}

void start(World *world)
{
    if (is_source(world)) {
        VfoSourceArgs args = {.vm = &world->vm.vm,
                              .host = &world->host.host,
                              .peer = &world->peer.peer,
                              .leases = world->leases,
                              .absences = world->absences,
                              .libvirt_uri = is_bare(world) ? LIBVIRT : NULL,
                              .job = JOB,
                              .standby = "net0",
                              .ready = on_ready,
                              .data = world};

        world->job = world->side == FOLLOWING_SOURCE
                         ? vfo_follow_source_job("hosta", &args, &world->policy)
                         : vfo_source_job("hosta", &args, &world->policy);
    } else {
        g_autoptr(VfoPair) pair = pair_new("net0", "vf0", "0000:99:10.0");
        VfoOffer offer = {.job = (char *)JOB,
                          .vm = (char *)VM,
                          .machine = (char *)"pc-q35-10.0",
                          .pair = pair,
                          .network = (char *)"blue",
                          .mtu = 1500,
                          .settings = {.mac = guest_mac, .spoofchk = TRUE, .max_tx_rate = 500}};
        VfoDestinationArgs args = {.vm = &world->vm.vm,
                                   .host = &world->host.host,
                                   .leases = world->leases,
                                   .absences = world->absences,
                                   .offer = &offer,
                                   .address = "10.8.0.2",
                                   .ports = "49152-49215",
                                   .reserved = on_reserved,
                                   .data = world,
                                   .wired = on_wired,
                                   .wired_data = world};

        g_free(pair->tap);
        pair->tap = g_strdup("tap-of-the-source");
        pair->bonded = is_bare(world);
        offer.uuid = is_bare(world) ? (char *)UUID : NULL;
        world->job = world->side == DESTINATION
                         ? vfo_destination_job("hostb", &args, &world->policy)
                     : world->side == BARE_DESTINATION
                         ? vfo_bare_destination_job("hostb", &args, &world->policy)
                         : vfo_follow_destination_job("hostb", &args, &world->policy);
        g_assert_cmpstr(vfo_job_id(world->job), ==, JOB);
    }
    g_assert_cmpstr(vfo_job_vm(world->job), ==, VM);
    vfo_job_run(world->job);
}

void finish(World *world)
{
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
}

void run(World *world)
{
    start(world);
    finish(world);
}

char *calls_of(World *world)
{
    g_ptr_array_add(world->calls, NULL);
    {
        char *calls = g_strjoinv("\n", (char **)world->calls->pdata);

        g_ptr_array_remove_index(world->calls, world->calls->len - 1);
        return calls;
    }
}

void assert_calls(World *world, const char *const *expected)
{
    g_autofree char *wanted = g_strjoinv("\n", (char **)expected);
    g_autofree char *got = calls_of(world);

    g_assert_cmpstr(got, ==, wanted);
}

gboolean called(World *world, const char *call)
{
    for (guint i = 0; i < world->calls->len; i++) {
        if (g_str_equal(g_ptr_array_index(world->calls, i), call))
            return TRUE;
    }
    return FALSE;
}

void assert_state(World *world, VfoJobState state)
{
    g_assert_cmpstr(vfo_job_state_name(vfo_job_state(world->job)), ==, vfo_job_state_name(state));
}

const VfoRecord *record_of(World *world, const char *step)
{
    GPtrArray *records = vfo_job_records(world->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (g_str_equal(record->step, step))
            return record;
    }
    g_error("no record of '%s'", step);
}

void assert_record(World *world, const char *step, VfoResult result)
{
    g_assert_cmpstr(vfo_result_name(record_of(world, step)->result), ==, vfo_result_name(result));
}

/* ------------------------------------------------------------- invariants */

gboolean undo_failed(World *world, const char *step)
{
    GPtrArray *records = vfo_job_records(world->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (record->result == VFO_RESULT_UNDO_FAILED && (!step || g_str_equal(record->step, step)))
            return TRUE;
    }
    return FALSE;
}

void assert_undo_order(World *world)
{
    GPtrArray *records = vfo_job_records(world->job);
    g_autoptr(GHashTable) places = g_hash_table_new(g_str_hash, g_str_equal);
    guint last = G_MAXUINT;

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);
        gboolean undo = g_str_has_prefix(record->step, "undo ");
        guint place;

        g_assert_cmpint(record->result, !=, VFO_RESULT_RUNNING);
        if (record->result == VFO_RESULT_FAILED || record->result == VFO_RESULT_UNDO_FAILED)
            g_assert_true(record->detail && !strchr(record->detail, '\n'));
        if (!undo) {
            g_assert_cmpuint(last, ==, G_MAXUINT);
            g_assert_true(g_hash_table_insert(places, record->step, GUINT_TO_POINTER(i + 1)));
            continue;
        }
        place = GPOINTER_TO_UINT(g_hash_table_lookup(places, record->step + strlen("undo ")));
        g_assert_cmpuint(place, >, 0);
        g_assert_cmpuint(place, <, last);
        last = place;
    }
}

void assert_no_lease(World *world)
{
    g_assert_null(vfo_leases_holder(world->leases, VF));
    g_assert_null(vfo_leases_holder(world->leases, OTHER));
}

gboolean reachable(World *world)
{
    VfoVf *vf = vf_of(world, VF);

    if (world->in_guest)
        return vfo_mac_equal(&vf->settings.mac, &guest_mac) &&
               (!vf->quarantine || vf->settings.vlan != vf->quarantine);
    return world->pf_open && !world->held;
}

/* It was asked for its VF, nobody heard its answer, and it had not let go when it was looked at. */
/* --------------------------------------------------------------- injection */

static guint count_calls(Side side)
{
    g_autoptr(World) world = world_new(side);

    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    return world->calls->len;
}

static gboolean is_async(const char *call)
{
    static const char *const names[] = {
        "inspect", "unplug",    "plug",         "announce", "listen",     "resumed",
        "migrate", "completed", "cancel",       "reset_vf", "closed_vf",  "used_vf",
        "reserve", "finished",  "peer_release", "watched",  "unplugging", "unplugged",
        "stopped", "replugged", "ended",        "started",  "drained"};
    g_auto(GStrv) words = g_strsplit(call, " ", 2);

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(words[0], names[i]))
            return TRUE;
    }
    return FALSE;
}

const char *call_at(World *world, guint number)
{
    return g_ptr_array_index(world->calls, number);
}

/* Who is told has nothing to answer, and who watches may do so in silence. */
static gboolean is_harmless(const char *call, Fault fault)
{
    if (g_str_equal(call, "watched"))
        return fault == FAULT_SILENT || fault == FAULT_UNHEARD;
    if (g_str_has_prefix(call, "drained"))
        return fault == FAULT_REFUSED || fault == FAULT_BROKEN;
    return fault != FAULT_CANCEL && (g_str_equal(call, "reserved") || g_str_equal(call, "ready") ||
                                     g_str_equal(call, "wired"));
}

void inject_each(Side side, void (*check)(World *world, Fault fault))
{
    guint n_calls = count_calls(side);
    g_autoptr(GPtrArray) worlds = g_ptr_array_new_with_free_func((GDestroyNotify)world_free);

    for (guint fault = FAULT_REFUSED; fault < N_FAULTS; fault++) {
        for (guint number = 0; number < n_calls; number++) {
            World *world = world_new(side);

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
        Fault fault = world->faults[0];
        g_autofree char *calls = NULL;
        const char *call;

        finish(world);
        calls = calls_of(world);
        call = call_at(world, world->fault_at[0]);
        g_test_message("call %u (%s) %s: %s\n%s", world->fault_at[0], call, fault_names[fault],
                       vfo_job_state_name(vfo_job_state(world->job)), calls);
        /* The user's wish comes too late for these. */
        if (world->cancel_refused) {
            assert_state(world, VFO_JOB_COMPLETED);
            continue;
        }
        if (is_harmless(call, fault)) {
            assert_state(world, VFO_JOB_COMPLETED);
            continue;
        }
        if (!is_async(call) && (fault == FAULT_SILENT || fault == FAULT_UNHEARD) &&
            vfo_job_state(world->job) != VFO_JOB_COMPLETED)
            g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_FAILED);
        check(world, fault);
    }
}

void inject_two(Side side, void (*check)(World *world))
{
    guint n_calls = count_calls(side);

    for (guint kinds = 0; kinds < 4; kinds++) {
        for (guint first = 0; first < n_calls; first++) {
            guint n_second = first + 2;

            for (guint second = first + 1; second < n_second; second++) {
                g_autoptr(World) world = world_new(side);
                g_autofree char *calls = NULL;

                world->faults[0] = kinds & 1 ? FAULT_REFUSED : FAULT_BROKEN;
                world->fault_at[0] = first;
                world->faults[1] = kinds & 2 ? FAULT_REFUSED : FAULT_BROKEN;
                world->fault_at[1] = second;
                run(world);
                n_second = world->calls->len;
                calls = calls_of(world);
                g_test_message("%s %u, %s %u: %s\n%s", fault_names[world->faults[0]], first,
                               fault_names[world->faults[1]], second,
                               vfo_job_state_name(vfo_job_state(world->job)), calls);
                assert_undo_order(world);
                if (second < n_second)
                    check(world);
            }
        }
    }
}

guint number_in(World *world, const char *call)
{
    for (guint i = 0; i < world->calls->len; i++) {
        if (g_str_equal(call_at(world, i), call))
            return i;
    }
    g_error("'%s' is not called", call);
}

guint number_of(Side side, const char *call)
{
    g_autoptr(World) world = world_new(side);

    run(world);
    return number_in(world, call);
}

void start_until(World *world, const char *step)
{
    start(world);
    while (!vfo_job_step(world->job) || !g_str_equal(vfo_job_step(world->job)->name, step))
        g_main_context_iteration(NULL, TRUE);
}
