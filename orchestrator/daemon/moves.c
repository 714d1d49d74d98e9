/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domains of libvirt that come without their VF, as 'vfailover migrate' was called for at their
 * source: libvirt runs no hook that would tell of one that has no VF.
 */
#include "daemon/daemon.h"

struct _VfoMoves {
    VfoArrivalsArgs args;
    GHashTable *uuids; /* VfoJob * -> char *, of the jobs under way */
    gulong changed_handler;
};

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoMoves *moves = data;
    g_autofree char *uuid = NULL;
    gpointer found;

    if (record || !vfo_job_ended(job) ||
        !g_hash_table_steal_extended(moves->uuids, job, NULL, &found))
        return;
    uuid = found;
    /* One that has come is not expected any more. */
    vfo_vms_unexpect(moves->args.vms, uuid);
}

VfoMoves *vfo_moves_new(const VfoArrivalsArgs *args)
{
    VfoMoves *moves = g_new0(VfoMoves, 1);

    moves->args = *args;
    moves->uuids = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    moves->changed_handler =
        g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), moves);
    return moves;
}

void vfo_moves_free(VfoMoves *moves)
{
    if (!moves)
        return;
    g_signal_handler_disconnect(moves->args.jobs, moves->changed_handler);
    g_hash_table_unref(moves->uuids);
    g_free(moves);
}

/* What the offer tells of the domain. */
static VfoDomain *domain_of(const VfoOffer *offer)
{
    VfoDomain *domain = vfo_domain_new(offer->vm, offer->uuid);
    VfoDomainPair *standby = g_new0(VfoDomainPair, 1);

    domain->machine = g_strdup(offer->machine);
    standby->standby = g_strdup(offer->pair->standby);
    standby->mac = offer->pair->mac;
    g_ptr_array_add(offer->pair->bonded ? domain->plain : domain->pairs, standby);
    return domain;
}

VfoJob *vfo_moves_job(VfoMoves *moves, const char *peer_name, const VfoOffer *offer,
                      VfoReserved reserved, gpointer reserved_data, GError **error)
{
    const VfoArrivalsArgs *args = &moves->args;
    g_autoptr(VfoDomain) domain = domain_of(offer);
    VfoDestinationArgs destination = {
        .host = args->host,
        .leases = args->leases,
        .absences = args->absences,
        .offer = offer,
        .reserved = reserved,
        .data = reserved_data,
    };
    VfoJob *earlier = vfo_jobs_of_vm(args->jobs, offer->vm);
    g_autoptr(VfoJob) job = NULL;

    /* It would not be expected any more. */
    if (earlier) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "at the destination: VM %s has a job already, %s: wait for it or cancel it",
                    offer->vm, vfo_job_id(earlier));
        return NULL;
    }
    destination.vm = vfo_vms_expect(args->vms, domain, error);
    if (!destination.vm) {
        g_prefix_error(error, "at the destination: ");
        return NULL;
    }
    g_message("job %s: VM %s comes from %s, by libvirt and without its VF", offer->job, offer->vm,
              peer_name);
    job = vfo_bare_destination_job(args->config->name, &destination, &args->config->policy);
    if (!vfo_jobs_add(args->jobs, job, FALSE, error)) {
        vfo_vms_unexpect(args->vms, domain->uuid);
        return NULL;
    }
    g_hash_table_insert(moves->uuids, job, g_strdup(domain->uuid));
    return g_steal_pointer(&job);
}
