/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's half of a hand-over: the table at the end of this file, and
 * what each of its lines does.
 *
 * The VF is plugged after the VM runs here: stock QEMU 10.0 opens a VF of its
 * command line, and pins all guest memory, while the guest is stopped.
 */
#include "core/core.h"

typedef struct {
    VfoVm *vm;
    VfoHost *host;
    VfoLeases *leases;
    VfoOffer *offer;
    char *address;
    char *ports;
    VfoReserved reserved;
    gpointer data;

    VfoPair *pair; /* this side's standby; primary and bus as the source has them */
    VfoVf *vf;     /* NULL: standby only */
    VfoWire *wire;
    char *uri;
    gboolean parked; /* the VF, by this job */
    gboolean waits;  /* for memory to arrive */
} Destination;

static void destination_free(gpointer data)
{
    Destination *d = data;

    d->vm->ops->unref(d->vm);
    vfo_offer_free(d->offer);
    g_free(d->address);
    g_free(d->ports);
    vfo_pair_free(d->pair);
    vfo_vf_free(d->vf);
    vfo_wire_free(d->wire);
    g_free(d->uri);
    g_free(d);
}

/* ---------------------------------------------------------------- inspect */

static gboolean has_room(const VfoVmInfo *info, const char *bus)
{
    for (guint i = 0; i < info->free_buses->len; i++) {
        if (g_str_equal(g_ptr_array_index(info->free_buses, i), bus))
            return TRUE;
    }
    return FALSE;
}

static const VfoPair *find_standby(const VfoVmInfo *info, const char *standby)
{
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (g_str_equal(pair->standby, standby))
            return pair;
    }
    return NULL;
}

static gboolean matches(const VfoVmInfo *info, const VfoOffer *offer, GError **error)
{
    const VfoPair *theirs = offer->pair;
    const VfoPair *ours = find_standby(info, theirs->standby);
    char our_mac[VFO_MAC_STRLEN], their_mac[VFO_MAC_STRLEN];

    if (!g_str_equal(info->status, "inmigrate"))
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "VM %s at the destination does not wait for a migration (%s): start its QEMU "
                    "there with '-incoming defer'",
                    info->name, info->status);
    else if (!g_str_equal(info->machine, offer->machine))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s has machine type %s here and %s at the destination: start it there with "
                    "'-machine %s'",
                    info->name, offer->machine, info->machine, offer->machine);
    else if (!ours)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s has no standby %s at the destination: give its QEMU there the same "
                    "virtio-net device, with failover=on",
                    info->name, theirs->standby);
    else if (!vfo_mac_equal(&ours->mac, &theirs->mac))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s: standby %s has MAC %s here and %s at the destination: start it there "
                    "with the same mac=",
                    info->name, theirs->standby, vfo_mac_format(&theirs->mac, their_mac),
                    vfo_mac_format(&ours->mac, our_mac));
    else if (!g_str_equal(ours->features, theirs->features))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s: standby %s has other features here (%s) than at the destination (%s)",
                    info->name, theirs->standby, theirs->features, ours->features);
    else if (ours->primary)
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "VM %s has primary %s on its command line at the destination: leave it out, the "
            "VF is plugged when the VM runs there",
            info->name, ours->primary);
    else if (!ours->tap)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: standby %s is not on a tap device at the destination", info->name,
                    theirs->standby);
    else if (!has_room(info, theirs->bus))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s has no room for its VF at the destination: give its QEMU there an empty "
                    "pcie-root-port with id=%s",
                    info->name, theirs->bus);
    else
        return TRUE;
    return FALSE;
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Destination *d = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);

    if (info && matches(info, d->offer, &error)) {
        const VfoPair *ours = find_standby(info, d->offer->pair->standby);

        d->pair = vfo_pair_copy(d->offer->pair);
        g_free(d->pair->tap);
        d->pair->tap = g_strdup(ours->tap);
    }
    vfo_task_return(task, error == NULL, error);
}

static void inspect(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    d->vm->ops->inspect(d->vm, vfo_job_inner_task(job, task, on_inspected));
}

/* ------------------------------------------------------------------ lease */

static gboolean is_free(Destination *d, const VfoVf *vf)
{
    return g_strcmp0(vf->driver, "vfio-pci") == 0 && !vf->opened &&
           !vfo_leases_holder(d->leases, vf->pci) && g_str_equal(vf->network, d->offer->network);
}

static VfoVf *choose_vf(Destination *d, GError **error)
{
    g_autoptr(GPtrArray) vfs = d->host->ops->list_vfs(d->host, error);
    guint in_network = 0;

    if (!vfs)
        return NULL;
    for (guint i = 0; i < vfs->len; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);

        in_network += g_str_equal(vf->network, d->offer->network);
        if (is_free(d, vf))
            return vfo_vf_copy(vf);
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                "no VF of network '%s' is free at the destination (it has %u, all leased, open, or "
                "not bound to vfio-pci): free one, or set 'no-vf = standby-only' there",
                d->offer->network, in_network);
    return NULL;
}

static gboolean lease_vf(VfoJob *job, GError **error)
{
    Destination *d = vfo_job_context(job);
    const VfoPolicy *policy = vfo_job_policy(job);
    g_autoptr(GError) no_vf = NULL;
    VfoVfSettings parked;

    d->vf = choose_vf(d, &no_vf);
    if (!d->vf) {
        if (!policy->standby_only || !g_error_matches(no_vf, VFO_ERROR, VFO_ERROR_BUSY)) {
            g_propagate_error(error, g_steal_pointer(&no_vf));
            return FALSE;
        }
        vfo_job_remark(job, VFO_RESULT_SKIPPED, no_vf->message);
        vfo_job_degrade(job, no_vf->message);
    }
    d->wire = d->host->ops->find_wire(d->host, d->pair->tap, d->vf ? d->vf->pf : NULL,
                                      &d->pair->mac, d->offer->settings.vlan, error);
    if (!d->wire)
        return FALSE;
    if (!g_str_equal(d->wire->network, d->offer->network)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s: its standby is in network '%s' at the source and '%s' at the "
                    "destination: put tap %s into the right bridge",
                    vfo_job_vm(job), d->offer->network, d->wire->network, d->pair->tap);
        return FALSE;
    }
    if (!d->vf)
        return TRUE;
    if (!vfo_leases_take(d->leases, d->vf->pci, vfo_job_id(job),
                         policy->deadline_ms[VFO_DEADLINE_MIGRATE] / 1000 + 3600, error))
        return FALSE;
    /* With the guest's address on it the VF would black-hole this host's neighbours now. */
    parked = vfo_vf_parked(d->vf);
    d->parked = d->host->ops->set_vf(d->host, d->vf->pci, &parked, error);
    return d->parked;
}

static void lease(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = lease_vf(job, &error);

    vfo_task_return(task, ok, error);
}

static void undo_lease(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (d->vf)
        vfo_leases_drop(d->leases, d->vf->pci, vfo_job_id(job));
    vfo_task_done(task);
}

/* --------------------------------------------------------- listen, answer */

static void on_listening(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Destination *d = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;

    d->uri = g_task_propagate_pointer(G_TASK(result), &error);
    vfo_task_return(task, d->uri != NULL, error);
}

static void listen_for_memory(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    d->vm->ops->listen(d->vm, d->address, d->ports, vfo_job_inner_task(job, task, on_listening));
}

static void answer(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (d->reserved)
        d->reserved(job, d->uri, d->data);
    vfo_task_done(task);
}

/* ----------------------------------------------------------------- resume */

static void on_resumed(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Destination *d = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    d->waits = FALSE;
    vfo_task_return(task, ok, error);
}

static void resume(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    GTask *inner = vfo_job_inner_task(job, task, on_resumed);

    /* As for the step itself, which commits: a VM that runs here runs here. */
    g_task_set_check_cancellable(inner, FALSE);
    d->waits = TRUE;
    d->vm->ops->resumed(d->vm, inner);
}

/* The source gives up, or does not, and QEMU tells; a job that ended here meanwhile would leave
 * the VM to itself. */
static gboolean memory_arrives(VfoJob *job)
{
    const Destination *d = vfo_job_context(job);

    return d->waits && d->vm->ops->incoming_began(d->vm);
}

/* --------------------------------------------------------- open and close */

static void open_pf(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);
    GError *error = NULL;

    if (d->host->ops->open_pf(d->host, d->wire, &error))
        d->vm->ops->announce(d->vm, d->pair, task);
    else
        vfo_task_fail(task, error);
}

/* The undo of "lease" is out of reach once the VM runs here. A VF that could not be parked
 * stays leased: nobody may take it with a guest's address on it. */
static void undo_open_pf(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (d->parked)
        undo_lease(job, task);
    else
        vfo_task_done(task);
}

static void close_pf(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);
    GError *error = NULL;
    gboolean ok = TRUE;

    if (d->vf)
        ok = d->host->ops->close_pf(d->host, d->wire, TRUE, &error);
    else
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "left open: the guest is on its standby");
    vfo_task_return(task, ok, error);
}

/* ------------------------------------------------------------ the VF back */

static gboolean set_vf(VfoJob *job, const VfoVfSettings *settings, GError **error)
{
    Destination *d = vfo_job_context(job);

    return vfo_leases_check(d->leases, d->vf->pci, vfo_job_id(job), error) &&
           d->host->ops->set_vf(d->host, d->vf->pci, settings, error);
}

static gboolean skips(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (d->vf)
        return FALSE;
    vfo_job_remark(job, VFO_RESULT_SKIPPED, "no VF");
    vfo_task_done(task);
    return TRUE;
}

static void configure(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);
    GError *error = NULL;

    if (!skips(job, task)) {
        gboolean ok;

        d->parked = FALSE;
        ok = set_vf(job, &d->offer->settings, &error);
        vfo_task_return(task, ok, error);
    }
}

static void undo_configure(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);
    VfoVfSettings parked;
    GError *error = NULL;

    if (skips(job, task))
        return;
    parked = vfo_vf_parked(d->vf);
    d->parked = set_vf(job, &parked, &error);
    vfo_task_return(task, d->parked, error);
}

static void plug(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (!skips(job, task))
        d->vm->ops->plug(d->vm, d->pair, d->vf->pci, task);
}

static void on_inspected_for_unplug(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Destination *d = vfo_job_context(job);
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);
    const VfoPair *ours = info ? find_standby(info, d->pair->standby) : NULL;

    if (!info) {
        vfo_task_fail(task, error);
    } else if (!ours || !ours->primary) {
        vfo_job_remark(job, VFO_RESULT_UNDONE, "QEMU does not have the VF");
        vfo_task_done(task);
    } else {
        d->vm->ops->unplug(d->vm, d->pair, task);
    }
}

/* A VF that the guest has but cannot use is worse than none: net_failover drops
 * what comes in on the standby while a primary is registered. */
static void undo_plug(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (!skips(job, task))
        d->vm->ops->inspect(d->vm, vfo_job_inner_task(job, task, on_inspected_for_unplug));
}

static void on_announced(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Destination *d = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    guint64 activity = 0;

    if (!g_task_propagate_boolean(G_TASK(result), &error) ||
        !d->host->ops->activity_vf(d->host, d->vf->pci, &activity, &error))
        vfo_task_fail(task, error);
    else
        d->host->ops->used_vf(d->host, d->vf->pci, activity, task);
}

/* The standby's broadcasts also reach the VF, through the NIC's own switch: a guest to
 * which nobody sends anything receives something as well. */
static void use(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (!skips(job, task))
        d->vm->ops->announce(d->vm, d->pair, vfo_job_inner_task(job, task, on_announced));
}

/* From here on the VF is the VM's, which QEMU shows; it needs no lease. */
static void settle(VfoJob *job, GTask *task)
{
    undo_lease(job, task);
}

/* ------------------------------------------------------------------ steps */

#define NOTHING NULL, VFO_DEADLINE_QUERY

/* A VF that stays in the guest keeps the guest's address: a primary without it is deaf. */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the standby", inspect, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"lease", "a free VF and its wire", lease, VFO_DEADLINE_QUERY, undo_lease, VFO_DEADLINE_QUERY,
     0},
    {"listen", "QEMU to listen for memory", listen_for_memory, VFO_DEADLINE_QUERY, NOTHING, 0,
     NULL},
    {"answer", "the source to be told", answer, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"resume", "the VM to run here", resume, VFO_DEADLINE_MIGRATE, NOTHING, VFO_STEP_COMMITS,
     memory_arrives},
    {"open", "the PF's filter, the bridge entry, the announcement", open_pf, VFO_DEADLINE_QUERY,
     undo_open_pf, VFO_DEADLINE_QUERY, 0},
    {"configure", "the VF's address and settings", configure, VFO_DEADLINE_QUERY, undo_configure,
     VFO_DEADLINE_QUERY, 0},
    {"plug", "QEMU to realize the VF", plug, VFO_DEADLINE_PLUG, undo_plug, VFO_DEADLINE_UNPLUG,
     VFO_STEP_UNDO_OR_STOP},
    {"use", "the guest to receive through the VF", use, VFO_DEADLINE_USE, NOTHING, 0},
    {"shut", "the guest's address to leave the PF", close_pf, VFO_DEADLINE_QUERY, open_pf,
     VFO_DEADLINE_QUERY, VFO_STEP_UNDO_OR_STOP},
    {"settle", "the lease to end", settle, VFO_DEADLINE_QUERY, NOTHING, 0},
};

VfoJob *vfo_destination_job(const char *host_name, const VfoDestinationArgs *args,
                            const VfoPolicy *policy)
{
    VfoPolicy patient = *policy;
    Destination *d = g_new0(Destination, 1);
    VfoJob *job;

    /* This side waits for memory from its reservation on: for all that the source does first, and
     * for longer than the source, which is the one to give up. */
    for (int i = 0; i < VFO_N_DEADLINES; i++) {
        if (i != VFO_DEADLINE_MIGRATE)
            patient.deadline_ms[VFO_DEADLINE_MIGRATE] += policy->deadline_ms[i];
    }
    job = vfo_job_new(args->offer->job, args->vm->name, host_name, steps, G_N_ELEMENTS(steps),
                      &patient);

    d->vm = args->vm;
    d->vm->ops->ref(d->vm);
    d->host = args->host;
    d->leases = args->leases;
    d->offer = vfo_offer_copy(args->offer);
    d->address = g_strdup(args->address);
    d->ports = g_strdup(args->ports);
    d->reserved = args->reserved;
    d->data = args->data;
    vfo_job_set_context(job, d, destination_free);
    return job;
}

void vfo_destination_orphaned(VfoJob *job)
{
    Destination *d = vfo_job_context(job);

    d->reserved = NULL;
    /* Refused once memory arrives. */
    vfo_job_cancel(job, NULL);
}
