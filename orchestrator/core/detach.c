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

#define NOTHING NULL, VFO_DEADLINE_QUERY

/* As at the source of a migration. The PF side stays open: it is the guest's only way from now on.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the pair", vfo_give_inspect, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"lease", "the host to describe the VF and its wire", vfo_give_lease, VFO_DEADLINE_QUERY,
     vfo_give_undo_lease, VFO_DEADLINE_QUERY, 0},
    {"open", "the PF's filter and the bridge entry", vfo_give_open, VFO_DEADLINE_QUERY,
     vfo_give_undo_open, VFO_DEADLINE_QUERY, 0},
    {"hold", "frames for the guest to be held on the PF side", vfo_give_hold, VFO_DEADLINE_QUERY,
     vfo_give_undo_hold, VFO_DEADLINE_QUERY, 0},
    {"unplug", "the guest to release the VF", vfo_give_unplug, VFO_DEADLINE_UNPLUG,
     vfo_give_undo_unplug, VFO_DEADLINE_PLUG, VFO_STEP_CANCEL_AFTER},
    {"deliver", "the held frames to be delivered", vfo_give_deliver, VFO_DEADLINE_QUERY, NOTHING,
     0},
    {"close", "QEMU to close the VF", vfo_give_close, VFO_DEADLINE_CLOSE, NOTHING, 0},
    {"park", "the VF's parking address", vfo_give_park, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"reset", "the VF to come back from its reset", vfo_give_reset, VFO_DEADLINE_RESET, NOTHING, 0},
    {"return", "the VF to be back in its pool", vfo_give_return, VFO_DEADLINE_QUERY, NOTHING,
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
