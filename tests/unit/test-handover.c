/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two tables of a hand-over, against a VM, a host and a peer that are a few
 * booleans each. Every op's call is written down and numbered, and any one of
 * them can be made to go wrong; after each run the guest must be reachable.
 */
#include "core/core.h"

#include <string.h>

#define VM      "web1"
#define VF      "0000:01:10.0"
#define OTHER   "0000:01:10.2"
#define JOB     "5f1e2f6a-0000-4000-8000-000000000001"
#define URI     "tcp:10.8.0.2:49152"
#define LONG_MS 60000
/* Long enough for everything that does not wait, on a loaded machine under valgrind. */
#define SHORT_MS 400

static const VfoMac guest_mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};
static const VfoMac parking_mac = {{0x02, 0x00, 0x00, 0x00, 0x00, 0x01}};

typedef enum {
    FAULT_NONE,
    FAULT_REFUSED, /* fails and has done nothing */
    FAULT_BROKEN,  /* fails and has done all that it should */
    FAULT_SILENT,  /* does nothing until it is cancelled: a deadline */
    FAULT_UNHEARD, /* does all that it should, and nobody hears of it: a deadline */
    FAULT_CANCEL,  /* the user cancels during the call */
    N_FAULTS,
    FAULT_LATE /* succeeds when it is cancelled */
} Fault;

static const char *const fault_names[] = {"none",   "refused", "broken",
                                          "silent", "unheard", "cancel"};

typedef struct World World;

typedef struct {
    VfoVm vm;
    World *world;
} FakeVm;

typedef struct {
    VfoHost host;
    World *world;
} FakeHost;

typedef struct {
    VfoPeer peer;
    World *world;
} FakePeer;

struct World {
    FakeVm vm;
    FakeHost host;
    FakePeer peer;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJob *job;
    VfoPolicy policy;
    gboolean at_source;

    GPtrArray *calls; /* of char * */
    Fault faults[2];
    guint fault_at[2]; /* numbers of calls */
    guint orphan_at;   /* the source's daemon goes during this call; 0: it stays */
    gboolean cancel_refused;
    gboolean cannot_hold;
    guint vm_references;
    char *reserved_uri;

    /* The VM */
    char *status;
    char *machine;
    GPtrArray *pairs;      /* of VfoPair: what inspect tells, apart from the primary */
    GPtrArray *free_buses; /* of char * */
    gboolean in_guest;
    gboolean here;     /* the VM runs or may run on this host */
    gboolean moved;    /* ... and this one: on the other */
    gboolean began;    /* memory arrives */
    gboolean stops;    /* the source tells that it has stopped the VM */
    gboolean prepares; /* QEMU can open a VF before the VM is there */
    gboolean prepared; /* ... and has */
    gboolean gone;     /* QEMU has exited */
    /* The host */
    GPtrArray *vfs; /* of VfoVf; the first is the guest's */
    char *wire_network;
    guint16 wire_vlan;
    guint mtu; /* the PF's */
    gboolean pf_open;
    gboolean held;
    gboolean was_held;
    /* The other daemon */
    gboolean reserved;
    gboolean told; /* that the VM is stopped */
};

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

static VfoVmInfo *vm_info(World *world)
{
    VfoVmInfo *info = g_new0(VfoVmInfo, 1);

    info->name = g_strdup(VM);
    info->machine = g_strdup(world->machine);
    info->status = g_strdup(world->status);
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    for (guint i = 0; i < world->pairs->len; i++) {
        VfoPair *pair = vfo_pair_copy(g_ptr_array_index(world->pairs, i));

        if (i == 0 && !world->in_guest) {
            g_clear_pointer(&pair->primary, g_free);
            g_clear_pointer(&pair->vf, g_free);
        }
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

    if (world->gone) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "QEMU has exited"));
        return;
    }
    /* The guest lets go whether or not the user still wants it: that is waited for. */
    if (fault == FAULT_CANCEL)
        fault = FAULT_NONE;
    if (!world->in_guest && !world->prepared) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_QMP_DEVICE_NOT_FOUND,
                                        "Device '%s' not found", pair->primary));
        return;
    }
    if (has_effect(fault))
        world->in_guest = world->prepared = FALSE;
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
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

    if (!spoiled(world, enter(world, "announce %s", pair->standby), task))
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
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_migrate(VfoVm *vm, const char *uri, guint64 max_bandwidth, guint downtime_limit_ms,
                       GTask *task)
{
    World *world = world_of_vm(vm);

    if (!spoiled(world, enter(world, "migrate %s", uri), task))
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
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void vm_cancel(VfoVm *vm, GTask *task)
{
    World *world = world_of_vm(vm);
    Fault fault = enter(world, "cancel");

    if (world->moved)
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "the VM has moved"));
    else if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static gboolean vm_incoming_began(VfoVm *vm)
{
    return world_of_vm(vm)->began;
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
    wire->vlan = settings->vlan;
    wire->mtu = world->mtu;
    world->wire_vlan = settings->vlan;
    return wire;
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

    g_assert_true(world->pf_open);
    return leave(world, enter(world, "host_announce"), error);
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
    world->was_held |= world->held;
    return leave(world, fault, error);
}

static gboolean host_release(VfoHost *host, const VfoWire *wire, GError **error)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "release");

    world->held &= !has_effect(fault);
    return leave(world, fault, error);
}

static gboolean host_set_vf(VfoHost *host, const char *pci, const VfoVfSettings *settings,
                            GError **error)
{
    World *world = world_of_host(host);
    gboolean to_guest = vfo_mac_equal(&settings->mac, &guest_mac);
    VfoVfSettings parked = vfo_vf_parked(vf_of(world, pci));
    const char *what = to_guest                                   ? "guest"
                       : vfo_vf_settings_equal(settings, &parked) ? "parked"
                                                                  : "tried";
    Fault fault = enter(world, "set_vf %s %s", pci, what);

    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_true(to_guest || vfo_mac_equal(&settings->mac, &vf_of(world, pci)->parking));
    g_assert_true(!to_guest || world->here);
    /* A VF in use keeps the guest's address. */
    g_assert_true(to_guest || !world->in_guest);
    if (has_effect(fault))
        vf_of(world, pci)->settings = *settings;
    return leave(world, fault, error);
}

static void host_reset_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "reset_vf %s", pci);

    g_assert_true(vfo_leases_check(world->leases, pci, vfo_job_id(world->job), NULL));
    g_assert_false(world->in_guest);
    if (!spoiled(world, fault, task))
        vfo_task_done(task);
}

static void host_closed_vf(VfoHost *host, const char *pci, GTask *task)
{
    World *world = world_of_host(host);
    Fault fault = enter(world, "closed_vf %s", pci);

    g_assert_false(world->in_guest);
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
    .open_pf = host_open_pf,
    .close_pf = host_close_pf,
    .announce = host_announce,
    .hold = host_hold,
    .release = host_release,
    .set_vf = host_set_vf,
    .reset_vf = host_reset_vf,
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

    g_assert_cmpstr(offer->job, ==, vfo_job_id(world->job));
    g_assert_cmpstr(offer->vm, ==, VM);
    g_assert_cmpstr(offer->machine, ==, world->machine);
    g_assert_cmpstr(offer->network, ==, "blue");
    g_assert_cmpstr(offer->pair->primary, ==, "vf0");
    g_assert_cmpstr(offer->pair->bus, ==, "rp1");
    g_assert_true(vfo_mac_equal(&offer->settings.mac, &guest_mac));
    g_assert_cmpuint(offer->settings.max_tx_rate, ==, 500);
    world->reserved |= has_effect(fault) && fault != FAULT_CANCEL;
    if (spoiled(world, fault, task))
        return;
    g_task_return_pointer(task, g_strdup(URI), g_free);
    g_object_unref(task);
}

static void peer_stopped(VfoPeer *peer)
{
    World *world = world_of_peer(peer);

    /* While the guest's address is still here: to be told first saves frames. */
    g_assert_true(world->pf_open);
    world->told = TRUE;
}

static void peer_finished(VfoPeer *peer, GTask *task)
{
    World *world = world_of_peer(peer);

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

static VfoPair *pair_new(const char *standby, const char *primary, const char *vf)
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

static World *world_new(gboolean at_source)
{
    World *world = g_new0(World, 1);

    world->at_source = at_source;
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

static void world_free(World *world)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    vfo_job_unref(world->job);
    g_assert_cmpuint(world->vm_references, ==, 0);
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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(World, world_free)

static void on_reserved(VfoJob *job, const char *uri, gpointer data)
{
    World *world = data;

    enter(world, "reserved");
    g_assert_null(world->reserved_uri);
    world->reserved_uri = g_strdup(uri);
}

static void start(World *world)
{
    if (world->at_source) {
        VfoSourceArgs args = {.vm = &world->vm.vm,
                              .host = &world->host.host,
                              .peer = &world->peer.peer,
                              .leases = world->leases};

        world->job = vfo_source_job("hosta", &args, &world->policy);
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
                                   .data = world};

        g_free(pair->tap);
        pair->tap = g_strdup("tap-of-the-source");
        world->job = vfo_destination_job("hostb", &args, &world->policy);
        g_assert_cmpstr(vfo_job_id(world->job), ==, JOB);
    }
    g_assert_cmpstr(vfo_job_vm(world->job), ==, VM);
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
    g_ptr_array_add(world->calls, NULL);
    {
        char *calls = g_strjoinv("\n", (char **)world->calls->pdata);

        g_ptr_array_remove_index(world->calls, world->calls->len - 1);
        return calls;
    }
}

static void assert_calls(World *world, const char *const *expected)
{
    g_autofree char *wanted = g_strjoinv("\n", (char **)expected);
    g_autofree char *got = calls_of(world);

    g_assert_cmpstr(got, ==, wanted);
}

static gboolean called(World *world, const char *call)
{
    for (guint i = 0; i < world->calls->len; i++) {
        if (g_str_equal(g_ptr_array_index(world->calls, i), call))
            return TRUE;
    }
    return FALSE;
}

static void assert_state(World *world, VfoJobState state)
{
    g_assert_cmpstr(vfo_job_state_name(vfo_job_state(world->job)), ==, vfo_job_state_name(state));
}

static const VfoRecord *record_of(World *world, const char *step)
{
    GPtrArray *records = vfo_job_records(world->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (g_str_equal(record->step, step))
            return record;
    }
    g_error("no record of '%s'", step);
}

static void assert_record(World *world, const char *step, VfoResult result)
{
    g_assert_cmpstr(vfo_result_name(record_of(world, step)->result), ==, vfo_result_name(result));
}

/* ------------------------------------------------------------- invariants */

static gboolean undo_failed(World *world, const char *step)
{
    GPtrArray *records = vfo_job_records(world->job);

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (record->result == VFO_RESULT_UNDO_FAILED && (!step || g_str_equal(record->step, step)))
            return TRUE;
    }
    return FALSE;
}

/* Steps are run in order, once; then undone in reverse, once. */
static void assert_undo_order(World *world)
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

static void assert_no_lease(World *world)
{
    g_assert_null(vfo_leases_holder(world->leases, VF));
    g_assert_null(vfo_leases_holder(world->leases, OTHER));
}

/* Whether frames for the guest, which is on this host, reach it. */
static gboolean reachable(World *world)
{
    VfoVf *vf = vf_of(world, VF);

    if (world->in_guest)
        return vfo_mac_equal(&vf->settings.mac, &guest_mac);
    return world->pf_open && !world->held;
}

/* It was asked for its VF, nobody heard its answer, and it had not let go when it was looked at. */
static gboolean guest_may_release(World *world)
{
    const GPtrArray *records = vfo_job_records(world->job);
    gboolean unheard = FALSE;

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (g_str_equal(record->step, "unplug") && record->detail)
            unheard = !g_str_has_suffix(record->detail, " broke");
        if (g_str_equal(record->step, "undo unplug"))
            return unheard && g_strcmp0(record->detail, "the guest had not released the VF") == 0;
    }
    return FALSE;
}

static void assert_source(World *world, Fault fault)
{
    VfoVf *vf = vf_of(world, VF);
    VfoJobState state = vfo_job_state(world->job);

    assert_undo_order(world);
    g_assert_false(world->held);
    if (world->moved) {
        g_assert_false(world->pf_open);
        g_assert_false(world->in_guest);
        g_assert_true(vfo_mac_equal(&vf->settings.mac, &parking_mac));
        if (!undo_failed(world, "undo migrate")) {
            assert_no_lease(world);
            g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
            g_assert_true(state == VFO_JOB_COMPLETED || state == VFO_JOB_DEGRADED);
        }
        return;
    }
    g_assert_true(reachable(world));
    g_assert_cmpint(state, ==, fault == FAULT_CANCEL ? VFO_JOB_CANCELLED : VFO_JOB_FAILED);
    if (fault == FAULT_CANCEL)
        g_assert_error(vfo_job_error(world->job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
    else
        g_assert_true(vfo_job_error(world->job)->domain == VFO_ERROR);
    g_assert_false(world->reserved);
    assert_no_lease(world);
    /* One thing went wrong, and there was a way back from it. */
    g_assert_false(undo_failed(world, NULL));
    g_assert_true(world->in_guest);
    /* A guest that was asked and has not answered may release its VF at any time. */
    g_assert_cmpint(world->pf_open, ==, guest_may_release(world));
    g_assert_true(vf->settings.spoofchk);
    g_assert_cmpuint(vf->settings.max_tx_rate, ==, 500);
}

static void assert_destination(World *world, Fault fault)
{
    VfoVf *vf = vf_of(world, VF);
    VfoJobState state = vfo_job_state(world->job);

    assert_undo_order(world);
    assert_no_lease(world);
    g_assert_false(undo_failed(world, NULL));
    if (!world->in_guest)
        g_assert_true(vfo_mac_equal(&vf->settings.mac, &parking_mac));
    if (world->here) {
        g_assert_cmpint(state, ==, VFO_JOB_DEGRADED);
        g_assert_true(world->in_guest || world->pf_open || called(world, "open_pf"));
        /* With nothing but the PF's filter missing there is no more to be done. */
        if (!g_str_equal(g_ptr_array_index(world->calls, world->calls->len - 1), "open_pf"))
            g_assert_true(reachable(world));
        return;
    }
    g_assert_cmpint(state, ==, fault == FAULT_CANCEL ? VFO_JOB_CANCELLED : VFO_JOB_FAILED);
    g_assert_false(world->pf_open);
    g_assert_false(world->in_guest);
}

/* --------------------------------------------------------------- injection */

static guint count_calls(gboolean at_source)
{
    g_autoptr(World) world = world_new(at_source);

    world->in_guest = at_source;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    return world->calls->len;
}

static gboolean is_async(const char *call)
{
    static const char *const names[] = {"inspect", "unplug",   "plug",        "announce",
                                        "listen",  "resumed",  "migrate",     "completed",
                                        "cancel",  "reset_vf", "closed_vf",   "used_vf",
                                        "reserve", "finished", "peer_release"};
    g_auto(GStrv) words = g_strsplit(call, " ", 2);

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(words[0], names[i]))
            return TRUE;
    }
    return FALSE;
}

static const char *call_at(World *world, guint number)
{
    return g_ptr_array_index(world->calls, number);
}

/* Each call of the good path goes wrong in turn, in each way. Those that wait for a deadline
 * wait at the same time. */
static void inject_each(gboolean at_source)
{
    guint n_calls = count_calls(at_source);
    g_autoptr(GPtrArray) worlds = g_ptr_array_new_with_free_func((GDestroyNotify)world_free);

    for (guint fault = FAULT_REFUSED; fault < N_FAULTS; fault++) {
        for (guint number = 0; number < n_calls; number++) {
            World *world = world_new(at_source);

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

        while (!vfo_job_ended(world->job))
            g_main_context_iteration(NULL, TRUE);
        calls = calls_of(world);
        call = call_at(world, world->fault_at[0]);
        g_test_message("call %u (%s) %s: %s\n%s", world->fault_at[0], call, fault_names[fault],
                       vfo_job_state_name(vfo_job_state(world->job)), calls);
        /* The user's wish comes too late for these, and the answer is all that op has. */
        if (world->cancel_refused) {
            assert_state(world, VFO_JOB_COMPLETED);
            continue;
        }
        if (g_str_equal(call, "reserved") && fault != FAULT_CANCEL) {
            assert_state(world, VFO_JOB_COMPLETED);
            continue;
        }
        if (!is_async(call) && (fault == FAULT_SILENT || fault == FAULT_UNHEARD))
            g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_FAILED);
        if (at_source)
            assert_source(world, fault);
        else
            assert_destination(world, fault);
    }
}

static void test_source_each(void)
{
    inject_each(TRUE);
}

static void test_destination_each(void)
{
    inject_each(FALSE);
}

/* Two calls go wrong: the second while the first is being undone, or later on the way. */
static void inject_two(gboolean at_source, void (*check)(World *world))
{
    guint n_calls = count_calls(at_source);

    for (guint kinds = 0; kinds < 4; kinds++) {
        for (guint first = 0; first < n_calls; first++) {
            guint n_second = first + 2;

            for (guint second = first + 1; second < n_second; second++) {
                g_autoptr(World) world = world_new(at_source);
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

static void check_source_two(World *world)
{
    const char *second = call_at(world, world->fault_at[1]);

    if (world->moved)
        return;
    if (!undo_failed(world, "undo migrate"))
        assert_no_lease(world);
    g_assert_true(world->held == FALSE || g_str_equal(second, "release"));
    g_assert_true(reachable(world) || world->pf_open || undo_failed(world, "undo migrate"));
}

static void test_source_two(void)
{
    inject_two(TRUE, check_source_two);
}

static void check_destination_two(World *world)
{
    const char *first = call_at(world, world->fault_at[0]);

    if (world->here)
        g_assert_true(reachable(world) || g_str_equal(first, "open_pf"));
    else
        g_assert_false(world->pf_open);
}

static void test_destination_two(void)
{
    inject_two(FALSE, check_destination_two);
}

/* --------------------------------------------------------------- the source */

static void test_source(void)
{
    static const char *const calls[] = {
        "inspect",
        "read_vf " VF,
        "find_wire tap0 eth0",
        "reserve",
        "hold",
        "open_pf",
        "unplug vf0",
        "release",
        "announce net0",
        "closed_vf " VF,
        "set_vf " VF " parked",
        "reset_vf " VF,
        "migrate " URI,
        "close_pf",
        "completed",
        "finished",
        NULL,
    };
    g_autoptr(World) world = world_new(TRUE);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_null(vfo_job_error(world->job));
    assert_source(world, FAULT_NONE);
    g_assert_true(world->told);
    g_assert_true(vf_of(world, VF)->settings.spoofchk);
}

static void test_source_cannot_hold(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->cannot_hold = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "hold", VFO_RESULT_SKIPPED);
    g_assert_cmpstr(record_of(world, "hold")->detail, ==, "this kernel cannot hold frames");
    g_assert_false(called(world, "release"));
    assert_source(world, FAULT_NONE);
}

static void test_source_refuses(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_free(world->status);
    world->status = g_strdup("paused");
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "paused"));
    g_assert_cmpuint(world->calls->len, ==, 1);
}

static void assert_source_refuses(World *world, VfoError code, const char *word)
{
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, (int)code);
    g_test_message("%s", vfo_job_error(world->job)->message);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, VM));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, word));
    g_assert_false(called(world, "reserve"));
    g_assert_false(called(world, "open_pf"));
}

static void test_source_no_pair(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_ptr_array_set_size(world->pairs, 0);
    assert_source_refuses(world, VFO_ERROR_NOT_FOUND, "failover=on");
}

static void test_source_no_vf(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->in_guest = FALSE;
    assert_source_refuses(world, VFO_ERROR_NOT_FOUND, "nothing to hand over");
}

static void test_source_two_pairs(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_ptr_array_add(world->pairs, pair_new("net1", "vf1", OTHER));
    assert_source_refuses(world, VFO_ERROR_NOT_SUPPORTED, "net1");
}

/* Only a pair with a VF counts. */
static void test_source_second_pair_empty(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_ptr_array_add(world->pairs, pair_new("net1", NULL, NULL));
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
}

static void test_source_no_tap(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_clear_pointer(&((VfoPair *)world->pairs->pdata[0])->tap, g_free);
    assert_source_refuses(world, VFO_ERROR_NOT_SUPPORTED, "tap");
}

static void test_source_other_mac(void)
{
    g_autoptr(World) world = world_new(TRUE);

    vf_of(world, VF)->settings.mac.octet[5]++;
    assert_source_refuses(world, VFO_ERROR_MISMATCH, "52:54:00:aa:00:11");
}

static void test_source_vlan(void)
{
    g_autoptr(World) world = world_new(TRUE);

    vf_of(world, VF)->settings.vlan = 100;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(world->wire_vlan, ==, 100);
    g_assert_cmpstr(record_of(world, "lease")->detail, ==,
                    "tap0 reaches PF eth0 by datapath 'bridge', VLAN 100");
}

static void test_source_leased(void)
{
    g_autoptr(World) world = world_new(TRUE);

    g_assert_true(vfo_leases_take(world->leases, VF, "another", 60, NULL));
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, "another");
    g_assert_false(called(world, "reserve"));
}

static guint number_in(World *world, const char *call)
{
    for (guint i = 0; i < world->calls->len; i++) {
        if (g_str_equal(call_at(world, i), call))
            return i;
    }
    g_error("'%s' is not called", call);
}

static guint number_of(gboolean at_source, const char *call)
{
    g_autoptr(World) world = world_new(at_source);

    run(world);
    return number_in(world, call);
}

static void start_until(World *world, const char *step)
{
    start(world);
    while (!vfo_job_step(world->job) || !g_str_equal(vfo_job_step(world->job)->name, step))
        g_main_context_iteration(NULL, TRUE);
}

/* The VF is back in the guest, but nothing shows that the guest uses it. */
static void test_source_not_used_again(void)
{
    g_autoptr(World) world = world_new(TRUE);
    guint reset = number_of(TRUE, "reset_vf " VF);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = reset;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = reset + 5;
    run(world);
    g_assert_cmpstr(call_at(world, reset + 5), ==, "used_vf " VF " 7");
    assert_state(world, VFO_JOB_FAILED);
    assert_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED);
    assert_record(world, "undo open", VFO_RESULT_SKIPPED);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
    assert_no_lease(world);
}

/* The end of the hold is nothing to a job whose guest has answered. */
static void test_source_hold_ends_once(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(TRUE, "closed_vf " VF);
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 50;
    world->policy.deadline_ms[VFO_DEADLINE_CLOSE] = SHORT_MS;
    start_until(world, "close");
    while (!vfo_job_ended(world->job)) {
        const VfoRecord *record = record_of(world, "close");

        g_assert_true(!record->detail || record->result == VFO_RESULT_FAILED);
        g_main_context_iteration(NULL, TRUE);
    }
    assert_source(world, FAULT_SILENT);
}

/* The guest does not answer: frames are held for no longer than the policy says. */
static void test_source_unplug_never_ends(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(TRUE, "unplug vf0");
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    start(world);
    while (!world->held)
        g_main_context_iteration(NULL, TRUE);
    while (world->held)
        g_main_context_iteration(NULL, TRUE);
    g_assert_false(vfo_job_ended(world->job));
    g_assert_cmpstr(vfo_job_step(world->job)->name, ==, "unplug");
    g_assert_true(vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac));
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    assert_source(world, FAULT_SILENT);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_record(world, "unplug", VFO_RESULT_FAILED);
    assert_record(world, "undo unplug", VFO_RESULT_UNDONE);
    g_assert_false(called(world, "plug vf0 " VF));
}

/* A VF that the guest was asked for comes back after a cancellation. */
static void test_source_cancel_while_unplugging(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_CANCEL;
    world->fault_at[0] = number_of(TRUE, "unplug vf0");
    run(world);
    assert_state(world, VFO_JOB_CANCELLED);
    assert_source(world, FAULT_CANCEL);
    assert_record(world, "unplug", VFO_RESULT_OK);
    g_assert_true(called(world, "plug vf0 " VF));
    g_assert_true(world->in_guest);
    g_assert_false(world->pf_open);
}

/* A guest that is slow, but not too slow. */
static void test_source_unplug_late(void)
{
    g_autoptr(World) world = world_new(TRUE);
    guint unplug = number_of(TRUE, "unplug vf0");

    world->faults[0] = FAULT_UNHEARD;
    world->fault_at[0] = unplug;
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    run(world);
    assert_source(world, FAULT_UNHEARD);
    g_assert_true(called(world, "plug vf0 " VF));
}

/* The host cannot let go of the frames when the hold ends, but can later. */
static void test_source_hold_ends_badly(void)
{
    g_autoptr(World) world = world_new(TRUE);
    guint unplug = number_of(TRUE, "unplug vf0");

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = unplug;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = unplug + 1;
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    run(world);
    g_assert_cmpstr(call_at(world, unplug + 1), ==, "release");
    assert_source(world, FAULT_SILENT);
}

/* The migration is off and the VM runs here, but its PF side stays shut: the VF is its only way. */
static void test_source_reopen_fails(void)
{
    g_autoptr(World) world = world_new(TRUE);
    guint leave_call = number_of(TRUE, "close_pf");

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = leave_call;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = leave_call + 2;
    run(world);
    g_assert_cmpstr(call_at(world, leave_call + 1), ==, "cancel");
    g_assert_cmpstr(call_at(world, leave_call + 2), ==, "open_pf");
    assert_state(world, VFO_JOB_FAILED);
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_true(world->in_guest);
    g_assert_true(reachable(world));
    assert_no_lease(world);
    g_assert_false(world->reserved);
}

/* Nobody knows where the VM is: neither is the PF side opened nor the VF plugged. */
static void test_source_lost(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = number_of(TRUE, "completed");
    run(world);
    g_assert_cmpstr(call_at(world, world->calls->len - 1), ==, "cancel");
    g_assert_false(world->pf_open);
    g_assert_true(world->reserved);
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_false(called(world, "peer_release"));
}

static void test_source_late_cancel(void)
{
    static const char *const late[] = {"close_pf", "completed", "finished"};

    for (gsize i = 0; i < G_N_ELEMENTS(late); i++) {
        g_autoptr(World) world = world_new(TRUE);

        world->faults[0] = FAULT_CANCEL;
        world->fault_at[0] = number_of(TRUE, late[i]);
        run(world);
        g_assert_true(world->cancel_refused);
        assert_state(world, VFO_JOB_COMPLETED);
        assert_source(world, FAULT_NONE);
    }
}

static void test_source_arrives_badly(void)
{
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(TRUE, "finished");
    run(world);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_source(world, FAULT_REFUSED);
}

/* ---------------------------------------------------------- the destination */

static void test_destination(void)
{
    static const char *const calls[] = {
        "inspect",
        "list_vfs",
        "find_wire tap0 eth0",
        "set_vf " VF " tried",
        "set_vf " VF " parked",
        "listen 10.8.0.2 49152-49215",
        "reserved",
        "resumed",
        "open_pf",
        "announce net0",
        "set_vf " VF " guest",
        "plug vf0 " VF,
        "announce net0",
        "activity_vf " VF,
        "used_vf " VF " 7",
        "close_pf to_vf",
        NULL,
    };
    g_autoptr(World) world = world_new(FALSE);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_null(vfo_job_error(world->job));
    g_assert_cmpstr(world->reserved_uri, ==, URI);
    g_assert_null(vfo_absences_find(world->absences, VM, NULL));
    g_assert_true(world->in_guest);
    g_assert_false(world->pf_open);
    g_assert_true(reachable(world));
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 500);
    assert_no_lease(world);
}

/* The source has stopped the VM: its frames come here from then on. */
static void test_destination_stopped(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->stops = world->began = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(number_in(world, "open_pf"), <, number_in(world, "host_announce"));
    g_assert_cmpuint(number_in(world, "host_announce"), <, number_in(world, "resumed"));
    g_assert_true(reachable(world));
}

static void test_destination_stopped_in_vain(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->stops = world->began = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(FALSE, "resumed") + 2;
    run(world);
    g_assert_true(called(world, "host_announce"));
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "resumed");
    g_assert_true(called(world, "close_pf"));
    assert_destination(world, FAULT_REFUSED);
}

static void test_destination_prepares(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->prepares = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "prepare", VFO_RESULT_OK);
    g_assert_cmpuint(number_in(world, "reserved"), <, number_in(world, "prepare vf0 " VF));
    g_assert_cmpuint(number_in(world, "prepare vf0 " VF), <, number_in(world, "resumed"));
    g_assert_true(world->in_guest);
}

static void test_destination_cannot_prepare(void)
{
    g_autoptr(World) world = world_new(FALSE);

    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "prepare", VFO_RESULT_SKIPPED);
    g_assert_true(called(world, "plug vf0 " VF));
}

/* The VM does not come: QEMU gives the VF back, or has gone and taken it along. */
static void test_destination_prepares_in_vain(void)
{
    for (int gone = 0; gone < 2; gone++) {
        g_autoptr(World) world = world_new(FALSE);

        world->prepares = TRUE;
        world->faults[0] = FAULT_REFUSED;
        world->fault_at[0] = number_of(FALSE, "resumed") + 1;
        world->gone = gone;
        run(world);
        g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "resumed");
        g_assert_true(called(world, "unplug vf0"));
        assert_destination(world, FAULT_REFUSED);
    }
}

/* A source that says so before there is anything to wait for is not believed. */
static void test_destination_stopped_early(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->stops = TRUE;
    run(world);
    g_assert_false(called(world, "host_announce"));
    assert_state(world, VFO_JOB_COMPLETED);
}

/* What makes a VF not free, one thing at a time: the next one is taken. */
static void test_destination_chooses(void)
{
    for (int reason = 0; reason < 5; reason++) {
        g_autoptr(World) world = world_new(FALSE);
        VfoVf *vf = vf_of(world, VF);

        if (reason == 0)
            vf->opened = TRUE;
        if (reason == 1)
            g_clear_pointer(&vf->driver, g_free);
        if (reason == 2)
            vf->driver[0] = 'x';
        if (reason == 3)
            vf->network[0] = 'x';
        if (reason == 4)
            g_assert_true(vfo_leases_take(world->leases, VF, "another", 60, NULL));
        g_test_message("reason %d", reason);
        run(world);
        assert_state(world, VFO_JOB_COMPLETED);
        g_assert_true(called(world, "plug vf0 " OTHER));
        g_assert_false(called(world, "set_vf " VF " parked"));
    }
}

static void no_vf(World *world)
{
    for (guint i = 0; i < world->vfs->len; i++)
        ((VfoVf *)world->vfs->pdata[i])->opened = TRUE;
}

static void test_destination_no_vf(void)
{
    g_autoptr(World) world = world_new(FALSE);

    no_vf(world);
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "'blue'"));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "standby-only"));
    g_assert_false(called(world, "reserved"));
    assert_destination(world, FAULT_REFUSED);
}

static guint count_wanted(World *world)
{
    g_autoptr(GPtrArray) wanted = vfo_absences_wanted(world->absences, "blue");

    return wanted->len;
}

static void test_destination_standby_only(void)
{
    static const char *const calls[] = {
        "inspect",  "list_vfs", "find_wire tap0 -", "listen 10.8.0.2 49152-49215",
        "reserved", "resumed",  "open_pf",          "announce net0",
        NULL,
    };
    g_autoptr(World) world = world_new(FALSE);

    no_vf(world);
    world->policy.standby_only = TRUE;
    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
    assert_record(world, "lease", VFO_RESULT_SKIPPED);
    assert_record(world, "configure", VFO_RESULT_SKIPPED);
    assert_record(world, "plug", VFO_RESULT_SKIPPED);
    assert_record(world, "use", VFO_RESULT_SKIPPED);
    assert_record(world, "shut", VFO_RESULT_SKIPPED);
    assert_no_lease(world);
    g_assert_cmpuint(count_wanted(world), ==, 1);
    {
        g_autoptr(GPtrArray) wires = vfo_absences_wires(world->absences, VM);

        g_assert_cmpuint(wires->len, ==, 1);
    }
    g_assert_cmpuint(vfo_absences_find(world->absences, VM, "net0")->settings.max_tx_rate, ==, 500);
}

/* Standby-only is for a host without a free VF, not for one that cannot tell. */
static void test_destination_cannot_list(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->policy.standby_only = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(FALSE, "list_vfs");
    run(world);
    assert_state(world, VFO_JOB_FAILED);
}

static void test_destination_standby_only_fails(void)
{
    g_autoptr(World) world = world_new(FALSE);

    no_vf(world);
    world->policy.standby_only = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = 3;
    run(world);
    g_assert_cmpstr(call_at(world, 3), ==, "listen 10.8.0.2 49152-49215");
    assert_destination(world, FAULT_REFUSED);
}

static void set_text(char **field, const char *text)
{
    g_free(*field);
    *field = g_strdup(text);
}

static void test_destination_mismatch(void)
{
    enum { STATUS, MACHINE, STANDBY, MAC, FEATURES, PRIMARY, TAP, BUS, NETWORK, N_CASES };
    static const struct {
        VfoError code;
        const char *words[2];
    } expected[N_CASES] = {
        [STATUS] = {VFO_ERROR_FAILED, {"running", "-incoming defer"}},
        [MACHINE] = {VFO_ERROR_MISMATCH, {"pc-q35-9.2", "-machine pc-q35-10.0"}},
        [STANDBY] = {VFO_ERROR_MISMATCH, {"net0", "failover=on"}},
        [MAC] = {VFO_ERROR_MISMATCH, {"52:54:00:aa:00:10 here", "52:54:00:aa:00:11 at the dest"}},
        [FEATURES] = {VFO_ERROR_MISMATCH, {"here (mq=off,mrg_rxbuf=on)", "destination (mq=on)"}},
        [PRIMARY] = {VFO_ERROR_MISMATCH, {"vf0", "leave it out"}},
        [TAP] = {VFO_ERROR_NOT_SUPPORTED, {"net0", "tap"}},
        [BUS] = {VFO_ERROR_MISMATCH, {"no room", "id=rp1"}},
        [NETWORK] = {VFO_ERROR_MISMATCH, {"'blue'", "'red'"}},
    };

    for (int i = 0; i < N_CASES; i++) {
        g_autoptr(World) world = world_new(FALSE);
        VfoPair *pair = g_ptr_array_index(world->pairs, 0);
        const char *message;

        if (i == STATUS)
            set_text(&world->status, "running");
        if (i == MACHINE)
            set_text(&world->machine, "pc-q35-9.2");
        if (i == STANDBY)
            set_text(&pair->standby, "net9");
        if (i == MAC)
            pair->mac.octet[5]++;
        if (i == FEATURES)
            set_text(&pair->features, "mq=on");
        if (i == PRIMARY)
            world->in_guest = TRUE;
        if (i == TAP)
            g_clear_pointer(&pair->tap, g_free);
        if (i == BUS)
            g_ptr_array_set_size(world->free_buses, 1);
        if (i == NETWORK)
            set_text(&world->wire_network, "red");
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_error(vfo_job_error(world->job), VFO_ERROR, (int)expected[i].code);
        message = vfo_job_error(world->job)->message;
        g_test_message("%s", message);
        g_assert_nonnull(strstr(message, VM));
        g_assert_nonnull(strstr(message, expected[i].words[0]));
        g_assert_nonnull(strstr(message, expected[i].words[1]));
        g_assert_false(called(world, "reserved"));
        g_assert_false(called(world, "set_vf " VF " parked"));
        assert_no_lease(world);
    }
}

/* What the driver cannot do is found out before the source hears that all is ready. */
static void test_destination_cannot_configure(void)
{
    for (Fault fault = FAULT_REFUSED; fault <= FAULT_BROKEN; fault++) {
        g_autoptr(World) world = world_new(FALSE);
        VfoVfSettings parked = vfo_vf_parked(vf_of(world, VF));

        world->faults[0] = fault;
        world->fault_at[0] = number_of(FALSE, "set_vf " VF " tried");
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "tried"));
        g_assert_false(called(world, "reserved"));
        /* All of it, not the address alone. */
        g_assert_true(vfo_vf_settings_equal(&vf_of(world, VF)->settings, &parked));
        assert_destination(world, fault);
    }
}

static void test_destination_mtu(void)
{
    g_autoptr(World) world = world_new(FALSE);
    g_autoptr(World) without_vf = world_new(FALSE);
    g_autoptr(World) wider = world_new(FALSE);

    world->mtu = 1499;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "1499"));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "ip link set eth0 mtu 1500"));
    g_assert_false(called(world, "set_vf " VF " tried"));
    g_assert_false(called(world, "reserved"));
    assert_no_lease(world);

    /* The standby's frames go through the PF as well. */
    no_vf(without_vf);
    without_vf->policy.standby_only = TRUE;
    without_vf->mtu = 1499;
    run(without_vf);
    assert_state(without_vf, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(without_vf->job), VFO_ERROR, VFO_ERROR_MISMATCH);

    wider->mtu = 9000;
    run(wider);
    assert_state(wider, VFO_JOB_COMPLETED);
}

/* A VF that the guest does not give back stays as it is: without the guest's address it would
 * still be the guest's primary, and the guest would hear nothing. */
static void test_destination_stuck(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(FALSE, "used_vf " VF " 7");
    world->faults[1] = FAULT_SILENT;
    world->fault_at[1] = world->fault_at[0] + 2;
    world->policy.deadline_ms[VFO_DEADLINE_USE] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = 20;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "unplug vf0");
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "undo plug", VFO_RESULT_UNDO_FAILED);
    g_assert_true(world->in_guest);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
}

/* Nobody takes a VF with a guest's address on it. */
static void test_destination_not_parked(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = number_of(FALSE, "set_vf " VF " guest");
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 1;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "set_vf " VF " parked");
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, JOB);
    g_assert_true(reachable(world));
    /* It is known what the guest has lost, but a VF has been tried. */
    g_assert_nonnull(vfo_absences_find(world->absences, VM, "net0"));
    g_assert_cmpuint(count_wanted(world), ==, 0);
}

/* The VM resumes here in the moment in which the deadline passes. */
static void test_destination_resumed_at_deadline(void)
{
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = number_of(FALSE, "resumed");
    /* Memory is waited for as long as all deadlines together. */
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_true(reachable(world));
}

/* ------------------------------------------------------------------ orphans */

static World *waiting_for_memory(void)
{
    guint resumed = number_of(FALSE, "resumed");
    World *world = world_new(FALSE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = resumed;
    start_until(world, "resume");
    return world;
}

static void test_orphaned_before_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    vfo_destination_orphaned(world->job);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    assert_destination(world, FAULT_CANCEL);
}

static void test_orphaned_after_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    world->began = TRUE;
    vfo_destination_orphaned(world->job);
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    g_assert_false(vfo_job_ended(world->job));
    assert_state(world, VFO_JOB_RUNNING);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, JOB);
    /* Nor may anybody else end it now. */
    g_assert_false(vfo_job_cancel(world->job, NULL));
    /* The test's way out of the wait; an orphan of which memory stops has QEMU's error instead. */
    world->began = FALSE;
    g_assert_true(vfo_job_cancel(world->job, NULL));
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
}

/* -------------------------------------------------------------- a VF is gone */

static void lose(World *world, gboolean ends)
{
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND, "VF %s is gone", VF);

    vfo_leases_gone(world->leases, VF);
    g_assert_cmpint(vfo_job_lost_vf(world->job, why), ==, ends);
    /* To be told twice does no harm. */
    g_assert_false(vfo_job_lost_vf(world->job, why));
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    g_assert_false(vfo_job_lost_vf(world->job, why));
    assert_no_lease(world);
}

static void test_lost_before_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    lose(world, TRUE);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "VF " VF " is gone"));
    g_assert_false(world->pf_open);
}

/* The VM comes all the same, and lives on its standby. */
static void test_lost_while_memory_arrives(void)
{
    guint resumed = number_of(FALSE, "resumed");
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = resumed;
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    world->began = TRUE;
    start_until(world, "resume");
    lose(world, FALSE);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "configure", VFO_RESULT_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, VF));
    g_assert_false(called(world, "set_vf " VF " guest"));
    g_assert_false(called(world, "plug vf0 " VF));
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
}

static void test_lost_at_source(void)
{
    guint reserve = number_of(TRUE, "reserve");
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = reserve;
    start_until(world, "reserve");
    lose(world, TRUE);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_false(called(world, "unplug vf0"));
}

/* The guest has left, and with it the need for its old VF. */
static void test_lost_after_the_guest(void)
{
    guint finished = number_of(TRUE, "migrate " URI);
    g_autoptr(World) world = world_new(TRUE);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = finished;
    world->policy.deadline_ms[VFO_DEADLINE_MIGRATE] = 20;
    start_until(world, "migrate");
    vfo_leases_gone(world->leases, VF);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
}

/* An expired lease is as good as none, also when nobody else has the VF. */
static void test_lease_expires(void)
{
    guint resumed = number_of(FALSE, "resumed");
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = resumed;
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    start_until(world, "resume");
    g_assert_true(vfo_leases_take(world->leases, VF, JOB, 0, NULL));
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "configure", VFO_RESULT_FAILED);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "expired"));
    g_assert_false(called(world, "set_vf " VF " guest"));
    g_assert_true(reachable(world));
}

/* An orphan does not tell a source that is gone where to migrate to. */
static void test_orphaned_unanswered(void)
{
    guint set_call = number_of(FALSE, "set_vf " VF " parked");
    g_autoptr(World) world = world_new(FALSE);

    world->orphan_at = set_call;
    world->began = TRUE;
    run(world);
    assert_destination(world, FAULT_CANCEL);
    g_assert_null(world->reserved_uri);
    g_assert_false(called(world, "resumed"));
}

static void test_orphaned_early(void)
{
    guint listen_call = number_of(FALSE, "listen 10.8.0.2 49152-49215");
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = listen_call;
    start_until(world, "listen");
    vfo_destination_orphaned(world->job);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    assert_destination(world, FAULT_CANCEL);
    g_assert_null(world->reserved_uri);
}

static void test_orphaned_late(void)
{
    guint plug_call = number_of(FALSE, "plug vf0 " VF);
    g_autoptr(World) world = world_new(FALSE);

    world->faults[0] = FAULT_UNHEARD;
    world->fault_at[0] = plug_call;
    world->policy.deadline_ms[VFO_DEADLINE_PLUG] = 50;
    start_until(world, "plug");
    vfo_destination_orphaned(world->job);
    assert_state(world, VFO_JOB_RUNNING);
    while (!vfo_job_ended(world->job))
        g_main_context_iteration(NULL, TRUE);
    assert_destination(world, FAULT_UNHEARD);
    vfo_destination_orphaned(world->job);
    assert_state(world, VFO_JOB_DEGRADED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed step is a warning in the log, and here it is meant to fail. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/handover/source/good", test_source);
    g_test_add_func("/handover/source/cannot-hold", test_source_cannot_hold);
    g_test_add_func("/handover/source/refuses", test_source_refuses);
    g_test_add_func("/handover/source/no-pair", test_source_no_pair);
    g_test_add_func("/handover/source/no-vf", test_source_no_vf);
    g_test_add_func("/handover/source/two-pairs", test_source_two_pairs);
    g_test_add_func("/handover/source/second-pair-empty", test_source_second_pair_empty);
    g_test_add_func("/handover/source/no-tap", test_source_no_tap);
    g_test_add_func("/handover/source/other-mac", test_source_other_mac);
    g_test_add_func("/handover/source/vlan", test_source_vlan);
    g_test_add_func("/handover/source/leased", test_source_leased);
    g_test_add_func("/handover/source/unplug-never-ends", test_source_unplug_never_ends);
    g_test_add_func("/handover/source/unplug-late", test_source_unplug_late);
    g_test_add_func("/handover/source/cancel-while-unplugging",
                    test_source_cancel_while_unplugging);
    g_test_add_func("/handover/source/hold-ends-badly", test_source_hold_ends_badly);
    g_test_add_func("/handover/source/reopen-fails", test_source_reopen_fails);
    g_test_add_func("/handover/source/lost", test_source_lost);
    g_test_add_func("/handover/source/late-cancel", test_source_late_cancel);
    g_test_add_func("/handover/source/arrives-badly", test_source_arrives_badly);
    g_test_add_func("/handover/source/not-used-again", test_source_not_used_again);
    g_test_add_func("/handover/source/hold-ends-once", test_source_hold_ends_once);
    g_test_add_func("/handover/source/each", test_source_each);
    g_test_add_func("/handover/source/two", test_source_two);
    g_test_add_func("/handover/destination/good", test_destination);
    g_test_add_func("/handover/destination/stopped", test_destination_stopped);
    g_test_add_func("/handover/destination/stopped-in-vain", test_destination_stopped_in_vain);
    g_test_add_func("/handover/destination/stopped-early", test_destination_stopped_early);
    g_test_add_func("/handover/destination/prepares", test_destination_prepares);
    g_test_add_func("/handover/destination/prepares-in-vain", test_destination_prepares_in_vain);
    g_test_add_func("/handover/destination/cannot-prepare", test_destination_cannot_prepare);
    g_test_add_func("/handover/destination/chooses", test_destination_chooses);
    g_test_add_func("/handover/destination/cannot-configure", test_destination_cannot_configure);
    g_test_add_func("/handover/destination/mtu", test_destination_mtu);
    g_test_add_func("/handover/lost/before-memory", test_lost_before_memory);
    g_test_add_func("/handover/lost/while-memory-arrives", test_lost_while_memory_arrives);
    g_test_add_func("/handover/lost/at-source", test_lost_at_source);
    g_test_add_func("/handover/lost/after-the-guest", test_lost_after_the_guest);
    g_test_add_func("/handover/lost/lease-expires", test_lease_expires);
    g_test_add_func("/handover/destination/no-vf", test_destination_no_vf);
    g_test_add_func("/handover/destination/standby-only", test_destination_standby_only);
    g_test_add_func("/handover/destination/cannot-list", test_destination_cannot_list);
    g_test_add_func("/handover/destination/standby-only-fails",
                    test_destination_standby_only_fails);
    g_test_add_func("/handover/destination/mismatch", test_destination_mismatch);
    g_test_add_func("/handover/destination/stuck", test_destination_stuck);
    g_test_add_func("/handover/destination/not-parked", test_destination_not_parked);
    g_test_add_func("/handover/destination/resumed-at-deadline",
                    test_destination_resumed_at_deadline);
    g_test_add_func("/handover/destination/each", test_destination_each);
    g_test_add_func("/handover/destination/two", test_destination_two);
    g_test_add_func("/handover/orphaned/before-memory", test_orphaned_before_memory);
    g_test_add_func("/handover/orphaned/after-memory", test_orphaned_after_memory);
    g_test_add_func("/handover/orphaned/unanswered", test_orphaned_unanswered);
    g_test_add_func("/handover/orphaned/early", test_orphaned_early);
    g_test_add_func("/handover/orphaned/late", test_orphaned_late);
    return g_test_run();
}
