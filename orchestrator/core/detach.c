/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM lends its VF: the VF goes back to the pool, and the VM goes on here, on
 * its standby.
 */
#include "core/parts.h"

static void detach_free(gpointer data)
{
    VfoParts *parts = data;

    vfo_give_clear(&parts->give);
    g_free(parts);
}

static void return_vf(VfoJob *job, GTask *task)
{
    vfo_give_keep(job);
    vfo_give_return(job, task);
}

/* As at the source of a migration. The PF side stays open: it is the guest's only way from now on.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the pair", vfo_give_inspect, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"lease", "the host to describe the VF and its wire", vfo_give_lease, VFO_DEADLINE_QUERY,
     vfo_give_undo_lease, VFO_DEADLINE_QUERY, 0},
    VFO_GIVE_STEPS,
    {"return", "the VF to be back in its pool", return_vf, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
};

VfoJob *vfo_detach_job(const char *host_name, const VfoDetachArgs *args, const VfoPolicy *policy)
{
    g_autofree char *id = g_uuid_string_random();
    VfoJob *job = vfo_job_new(id, args->vm->name, host_name, steps, G_N_ELEMENTS(steps), policy);
    VfoParts *parts = g_new0(VfoParts, 1);

    vfo_give_init(&parts->give, args->vm, args->host, args->leases);
    parts->give.absences = args->absences;
    parts->give.standby = g_strdup(args->standby);
    parts->give.none = "it is on its standby already";
    parts->give.several = "choose one with --standby";
    vfo_job_set_kind(job, "detach", NULL);
    vfo_job_set_context(job, parts, detach_free);
    return job;
}
