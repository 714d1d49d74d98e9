/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's half of a hand-over: the table at the end of this file, and
 * what those of its lines do that take.c does not.
 */
#include "core/parts.h"

typedef struct {
    VfoDestination base;
    char *address;
    char *ports;
    char *uri;
} Destination;

void vfo_destination_init(VfoDestination *destination, const VfoDestinationArgs *args)
{
    VfoTake *take = &destination->parts.take;

    vfo_take_init(take, args->vm, args->host, args->leases);
    take->absences = args->absences;
    take->offer = vfo_offer_copy(args->offer);
    destination->reserved = args->reserved;
    destination->data = args->data;
}

void vfo_destination_clear(VfoDestination *destination)
{
    vfo_take_clear(&destination->parts.take);
}

static void destination_free(gpointer data)
{
    Destination *d = data;

    vfo_destination_clear(&d->base);
    g_free(d->address);
    g_free(d->ports);
    g_free(d->uri);
    g_free(d);
}

/* This side waits for memory from its reservation on: for all that the source does first, and for
 * longer than the source, which is the one to give up. */
VfoPolicy vfo_destination_patience(const VfoPolicy *policy)
{
    VfoPolicy patient = *policy;

    for (int i = 0; i < VFO_N_DEADLINES; i++) {
        if (i != VFO_DEADLINE_MIGRATE)
            patient.deadline_ms[VFO_DEADLINE_MIGRATE] += policy->deadline_ms[i];
    }
    return patient;
}

/* ---------------------------------------------------------------- inspect */

const VfoPair *vfo_destination_match(const VfoVmInfo *info, const VfoOffer *offer, GError **error)
{
    const VfoPair *theirs = offer->pair;
    const VfoPair *ours = vfo_take_find_ours(info, theirs);
    char our_mac[VFO_MAC_STRLEN], their_mac[VFO_MAC_STRLEN];

    if (!g_str_equal(info->machine, offer->machine))
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
    else
        return ours;
    return NULL;
}

static const VfoPair *find_ours(const VfoVmInfo *info, const VfoOffer *offer, GError **error)
{
    const VfoPair *theirs = offer->pair;
    const VfoPair *ours;

    if (!g_str_equal(info->status, "inmigrate")) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "VM %s at the destination does not wait for a migration (%s): start its QEMU "
                    "there with '-incoming defer'",
                    info->name, info->status);
        return NULL;
    }
    ours = vfo_destination_match(info, offer, error);
    if (!ours)
        return NULL;
    if (!g_str_equal(ours->features, theirs->features))
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
    else if (!vfo_take_has_room(info, theirs->bus))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s has no room for its VF at the destination: give its QEMU there an empty "
                    "pcie-root-port with id=%s",
                    info->name, theirs->bus);
    else
        return ours;
    return NULL;
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoDestination *d = vfo_job_context(g_task_get_task_data(task));
    VfoTake *take = &d->parts.take;
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);
    const VfoPair *ours = info ? d->find(info, take->offer, &error) : NULL;

    if (ours) {
        take->pair = vfo_pair_copy(take->offer->pair);
        g_free(take->pair->tap);
        take->pair->tap = g_strdup(ours->tap);
        if (ours->primary) {
            g_free(take->pair->primary);
            take->pair->primary = g_strdup(ours->primary);
        }
        take->numa_node = info->numa_node;
    }
    vfo_task_return(task, ours != NULL, error);
}

void vfo_destination_inspect(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);

    take->vm->ops->inspect(take->vm, vfo_job_inner_task(job, task, on_inspected));
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
    const VfoTake *take = vfo_take_of(job);

    take->vm->ops->listen(take->vm, d->address, d->ports,
                          vfo_job_inner_task(job, task, on_listening));
}

static void answer(VfoJob *job, GTask *task)
{
    Destination *d = vfo_job_context(job);

    if (d->base.reserved)
        d->base.reserved(job, d->uri, d->base.data);
    vfo_task_done(task);
}

/* ----------------------------------------------------------------- resume */

static void on_resumed(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoDestination *d = vfo_job_context(g_task_get_task_data(task));
    const VfoTake *take = &d->parts.take;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    d->waits = FALSE;
    if (ok && take->absences)
        vfo_absences_note(take->absences, take->offer, take->vf == NULL);
    vfo_task_return(task, ok, error);
}

void vfo_destination_resume(VfoJob *job, GTask *task)
{
    VfoDestination *d = vfo_job_context(job);
    const VfoTake *take = &d->parts.take;
    GTask *inner = vfo_job_inner_task(job, task, on_resumed);

    /* As for the step itself, which commits: a VM that runs here runs here. */
    g_task_set_check_cancellable(inner, FALSE);
    d->waits = TRUE;
    if (take->vf && !d->shows)
        take->host->ops->watch_standby(take->host, take->wire);
    take->vm->ops->resumed(take->vm, inner);
}

gboolean vfo_destination_stopped(VfoJob *job, GError **error)
{
    VfoDestination *d = vfo_job_context(job);
    const VfoTake *take = &d->parts.take;

    if (!d->waits || !take->vm->ops->incoming_began(take->vm)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "job %s: VM %s is not arriving: its PF side was not opened", vfo_job_id(job),
                    vfo_job_vm(job));
        return FALSE;
    }
    /* Half opened is to be closed as well. */
    d->opened = TRUE;
    if (!take->host->ops->draw(take->host, take->wire, error))
        return FALSE;
    /* Nobody uses it yet; the guest will look at its address as soon as it runs. */
    return !d->shows || !take->vf || vfo_take_expose(job, error);
}

/* The VM does not come: it is at the source, and so its frames belong there. */
void vfo_destination_undo_resume(VfoJob *job, GTask *task)
{
    const VfoDestination *d = vfo_job_context(job);
    const VfoTake *take = &d->parts.take;
    GError *error = NULL;
    gboolean ok = TRUE;

    if (d->opened)
        ok = take->host->ops->close_pf(take->host, take->wire, FALSE, &error);
    vfo_task_return(task, ok, error);
}

gboolean vfo_destination_memory_arrives(VfoJob *job)
{
    const VfoDestination *d = vfo_job_context(job);
    const VfoTake *take = &d->parts.take;

    return d->waits && take->vm->ops->incoming_began(take->vm);
}

void vfo_destination_orphaned(VfoJob *job)
{
    VfoDestination *d = vfo_job_context(job);

    d->reserved = NULL;
    /* Refused once memory arrives. */
    if (!d->stays)
        vfo_job_cancel(job, NULL);
}

/* ------------------------------------------------------------------ steps */

/* The undo of "lease" is out of reach once the VM runs here, and is that of "open" as well. */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the standby", vfo_destination_inspect, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, 0},
    {"lease", "a free VF and its wire", vfo_take_lease, VFO_DEADLINE_QUERY, vfo_take_undo_lease,
     VFO_DEADLINE_QUERY, 0},
    {"listen", "QEMU to listen for memory", listen_for_memory, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     VFO_STEP_NEEDS_VF, NULL},
    {"answer", "the source to be told", answer, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"prepare", "QEMU to open the VF", vfo_take_prepare, VFO_DEADLINE_PLUG, vfo_take_undo_prepare,
     VFO_DEADLINE_UNPLUG, 0},
    VFO_ARRIVE_STEPS,
};

VfoJob *vfo_destination_job(const char *host_name, const VfoDestinationArgs *args,
                            const VfoPolicy *policy)
{
    VfoPolicy patient = vfo_destination_patience(policy);
    Destination *d = g_new0(Destination, 1);
    VfoJob *job = vfo_job_new(args->offer->job, args->vm->name, host_name, steps,
                              G_N_ELEMENTS(steps), &patient);

    vfo_destination_init(&d->base, args);
    d->base.find = find_ours;
    d->address = g_strdup(args->address);
    d->ports = g_strdup(args->ports);
    vfo_job_set_context(job, d, destination_free);
    return job;
}
