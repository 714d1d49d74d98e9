/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's half of a hand-over: the table at the end of this file, and what
 * each of its lines does.
 *
 * The VF leaves the guest through device_del rather than through QEMU's own
 * unplug at the start of a migration: DEVICE_DELETED comes at once and means
 * that the VF is free, where stock QEMU 10.0 keeps it open until QEMU exits.
 */
#include "core/core.h"

#include <string.h>

typedef struct {
    VfoSourceArgs args; /* of which only the VM is owned, a reference */
    VfoVmInfo *info;
    const VfoPair *pair; /* in info */
    VfoVf *vf;
    VfoWire *wire;
    char *uri;
    gboolean in_guest; /* the VF is, as far as is known */
    gboolean asked;    /* the guest, for the VF, and nobody knows what came of it */
    gboolean refused;  /* that was answered with an error */
    gboolean held;     /* frames wait on the PF side */
    guint hold_timer;
} Source;

static void source_free(gpointer data)
{
    Source *s = data;

    g_clear_handle_id(&s->hold_timer, g_source_remove);
    s->args.vm->ops->unref(s->args.vm);
    vfo_vm_info_free(s->info);
    vfo_vf_free(s->vf);
    vfo_wire_free(s->wire);
    g_free(s->uri);
    g_free(s);
}

/* ---------------------------------------------------------------- inspect */

static const VfoPair *find_pair(const VfoVmInfo *info, GError **error)
{
    const VfoPair *found = NULL;

    if (info->pairs->len == 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no failover pair: give it a virtio-net device with failover=on and "
                    "a VF whose failover_pair_id names it",
                    info->name);
        return NULL;
    }
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (!pair->vf)
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                        "VM %s has several pairs with a VF (%s, %s); only one can be handed over",
                        info->name, found->standby, pair->standby);
            return NULL;
        }
        found = pair;
    }
    if (!found)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no VF in its pair: there is nothing to hand over, and QEMU's own "
                    "migrate command moves it",
                    info->name);
    else if (!found->tap) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: standby %s is not on a tap device; only a tap in a bridge can carry "
                    "its traffic",
                    info->name, found->standby);
        return NULL;
    }
    return found;
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Source *s = vfo_job_context(job);
    GError *error = NULL;

    s->info = g_task_propagate_pointer(G_TASK(result), &error);
    if (s->info && !g_str_equal(s->info->status, "running"))
        g_set_error(&error, VFO_ERROR, VFO_ERROR_FAILED,
                    "VM %s is not running (%s): its guest cannot release the VF; resume it first",
                    s->info->name, s->info->status);
    else if (s->info)
        s->pair = find_pair(s->info, &error);
    vfo_task_return(task, error == NULL, error);
}

static void inspect(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.vm->ops->inspect(s->args.vm, vfo_job_inner_task(job, task, on_inspected));
}

/* ------------------------------------------------------------------ lease */

static gboolean lease_vf(VfoJob *job, GError **error)
{
    Source *s = vfo_job_context(job);
    VfoHost *host = s->args.host;
    char vf_mac[VFO_MAC_STRLEN], guest_mac[VFO_MAC_STRLEN];

    s->vf = host->ops->read_vf(host, s->pair->vf, error);
    if (!s->vf)
        return FALSE;
    if (!vfo_mac_equal(&s->vf->settings.mac, &s->pair->mac)) {
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "VM %s: VF %s has MAC %s but standby %s has %s: the guest cannot pair them; set "
            "the VF's with 'ip link set %s vf %u mac %s'",
            s->info->name, s->vf->pci, vfo_mac_format(&s->vf->settings.mac, vf_mac),
            s->pair->standby, vfo_mac_format(&s->pair->mac, guest_mac), s->vf->pf, s->vf->index,
            guest_mac);
        return FALSE;
    }
    if (s->vf->settings.vlan) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: VF %s is in VLAN %u: a bridge cannot carry the VLAN for the standby; "
                    "nothing was changed",
                    s->info->name, s->vf->pci, s->vf->settings.vlan);
        return FALSE;
    }
    s->wire = host->ops->find_wire(host, s->pair->tap, s->vf->pf, &s->pair->mac, 0, error);
    if (!s->wire)
        return FALSE;
    return vfo_leases_take(s->args.leases, s->vf->pci, vfo_job_id(job),
                           vfo_job_policy(job)->deadline_ms[VFO_DEADLINE_MIGRATE] / 1000 + 3600,
                           error);
}

static void lease(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = lease_vf(job, &error);

    vfo_task_return(task, ok, error);
}

static void undo_lease(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    if (s->vf)
        vfo_leases_drop(s->args.leases, s->vf->pci, vfo_job_id(job));
    vfo_task_done(task);
}

/* ---------------------------------------------------------------- reserve */

static void on_reserved(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Source *s = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;

    s->uri = g_task_propagate_pointer(G_TASK(result), &error);
    vfo_task_return(task, s->uri != NULL, error);
}

static void reserve(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    VfoOffer offer = {
        .job = (char *)vfo_job_id(job),
        .vm = s->info->name,
        .machine = s->info->machine,
        .pair = (VfoPair *)s->pair,
        .network = s->wire->network,
        .settings = s->vf->settings,
    };

    s->args.peer->ops->reserve(s->args.peer, &offer, vfo_job_inner_task(job, task, on_reserved));
}

static void undo_reserve(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.peer->ops->release(s->args.peer, task);
}

/* --------------------------------------------------------- open and close */

static void open_pf(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    gboolean ok = s->args.host->ops->open_pf(s->args.host, s->wire, &error);

    vfo_task_return(task, ok, error);
}

static void undo_open_pf(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    gboolean ok = TRUE;

    /* A guest whose VF, or the VF's address, could not be given back lives on its standby. */
    if (s->in_guest && !s->asked)
        ok = s->args.host->ops->close_pf(s->args.host, s->wire, TRUE, &error);
    else
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "left open: the guest may be on its standby");
    vfo_task_return(task, ok, error);
}

/* ------------------------------------------------------------------- hold */

static gboolean set_vf(VfoJob *job, const VfoVfSettings *settings, GError **error)
{
    Source *s = vfo_job_context(job);

    return vfo_leases_check(s->args.leases, s->vf->pci, vfo_job_id(job), error) &&
           s->args.host->ops->set_vf(s->args.host, s->vf->pci, settings, error);
}

/*
 * From here on what the PF side has for the guest waits. net_failover drops what
 * comes in on the standby while a primary is registered (Linux 6.1,
 * net_failover_handle_frame()), and the VF stops receiving some time before it is
 * unregistered: the frames of that time are among those that wait. So are some that
 * the VF delivers as well; the guest gets those twice.
 *
 * The VF keeps the guest's address until it is out: igbvf reads its address anew when
 * it is closed, and the guest's failover module finds the pair of a VF that goes by
 * that address (Linux 6.1, failover_slave_unregister()).
 */
static gboolean hold_frames(VfoJob *job, GError **error)
{
    Source *s = vfo_job_context(job);
    g_autoptr(GError) not_held = NULL;

    /* One that fails may have been half done. */
    s->held = s->args.host->ops->hold(s->args.host, s->wire, &not_held) ||
              !g_error_matches(not_held, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    if (!not_held)
        return TRUE;
    if (!s->held) {
        vfo_job_remark(job, VFO_RESULT_SKIPPED, not_held->message);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&not_held));
    return FALSE;
}

static void hold(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = hold_frames(job, &error);

    vfo_task_return(task, ok, error);
}

static gboolean release_held(Source *s, GError **error)
{
    /* One that fails is tried again on the way back. */
    if (s->held)
        s->held = !s->args.host->ops->release(s->args.host, s->wire, error);
    return !s->held;
}

static void undo_hold(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = release_held(vfo_job_context(job), &error);

    vfo_task_return(task, ok, error);
}

/* ----------------------------------------------------------------- unplug */

static gboolean on_held_too_long(gpointer data)
{
    VfoJob *job = data;
    Source *s = vfo_job_context(job);
    g_autoptr(GError) error = NULL;

    s->hold_timer = 0;
    if (!release_held(s, &error))
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), error->message);
    vfo_job_remark(job, VFO_RESULT_OK,
                   "the guest took longer than the deadline 'hold': frames were no longer held");
    return G_SOURCE_REMOVE;
}

static void on_unplugged(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Source *s = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    g_clear_handle_id(&s->hold_timer, g_source_remove);
    if (ok)
        s->in_guest = s->asked = FALSE;
    else
        s->refused = error->domain == VFO_ERROR && error->code != VFO_ERROR_CLOSED;
    vfo_task_return(task, ok, error);
}

static void unplug(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    if (s->held)
        s->hold_timer = g_timeout_add(vfo_job_policy(job)->deadline_ms[VFO_DEADLINE_HOLD],
                                      on_held_too_long, job);
    s->asked = TRUE;
    s->args.vm->ops->unplug(s->args.vm, s->pair, vfo_job_inner_task(job, task, on_unplugged));
}

static void on_used_again(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    Source *s = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    s->in_guest = ok;
    vfo_task_return(task, ok, error);
}

static void on_replugged(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    guint64 activity = 0;

    if (!g_task_propagate_boolean(G_TASK(result), &error) ||
        !s->args.host->ops->activity_vf(s->args.host, s->vf->pci, &activity, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    s->args.host->ops->used_vf(s->args.host, s->vf->pci, activity,
                               vfo_task_inner(task, on_used_again));
}

static void on_inspected_for_replug(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    g_autoptr(GError) not_released = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);

    if (!info) {
        vfo_task_fail(task, error);
        return;
    }
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (g_str_equal(pair->standby, s->pair->standby) && pair->primary) {
            s->in_guest = TRUE;
            /* One that refused does not do it later; one that has not answered may. */
            if (s->refused)
                s->asked = FALSE;
            vfo_job_remark(job, VFO_RESULT_UNDONE, "the guest had not released the VF");
            vfo_task_done(task);
            return;
        }
    }
    s->in_guest = s->asked = FALSE;
    /* net_failover pairs by MAC when the VF's driver registers its interface. */
    if (!set_vf(job, &s->vf->settings, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    /* The guest is on its standby: nothing may wait while the VF comes back. When frames do,
     * the VF is the guest's only way, and the undo of "hold" tries again. */
    if (!release_held(s, &not_released))
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), not_released->message);
    s->args.vm->ops->plug(s->args.vm, s->pair, s->vf->pci, vfo_task_inner(task, on_replugged));
}

static void replug(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    g_clear_handle_id(&s->hold_timer, g_source_remove);
    s->args.vm->ops->inspect(s->args.vm, vfo_job_inner_task(job, task, on_inspected_for_replug));
}

/* ---------------------------------------------------------------- deliver */

static void deliver(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    GError *error = NULL;

    if (!release_held(s, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    s->args.vm->ops->announce(s->args.vm, s->pair, task);
}

/* ---------------------------------------------- close, park, reset, return */

static void close_vf(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.host->ops->closed_vf(s->args.host, s->vf->pci, task);
}

static void park(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    VfoVfSettings parked = vfo_vf_parked(s->vf);
    GError *error = NULL;
    gboolean ok = set_vf(job, &parked, &error);

    vfo_task_return(task, ok, error);
}

static void reset(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    GError *error = NULL;

    if (!vfo_leases_check(s->args.leases, s->vf->pci, vfo_job_id(job), &error)) {
        vfo_task_fail(task, error);
        return;
    }
    s->args.host->ops->reset_vf(s->args.host, s->vf->pci, task);
}

static void return_vf(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    vfo_leases_returned(s->args.leases, s->vf->pci);
    vfo_task_done(task);
}

/* ---------------------------------------------------------------- migrate */

static void migrate(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    const VfoPolicy *policy = vfo_job_policy(job);

    s->args.vm->ops->migrate(s->args.vm, s->uri, policy->max_bandwidth, policy->downtime_limit_ms,
                             task);
}

static void on_migration_cancelled(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    g_autoptr(GError) not_opened = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    /* The VM is here: without its PF side it needs its VF all the more. */
    if (ok && !s->args.host->ops->open_pf(s->args.host, s->wire, &not_opened)) {
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), not_opened->message);
        vfo_job_remark(job, VFO_RESULT_UNDO_FAILED, not_opened->message);
    }
    vfo_task_return(task, ok, error);
}

/* The PF side is opened again only when the VM is known to be here. */
static void undo_migrate(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.vm->ops->cancel(s->args.vm, vfo_job_inner_task(job, task, on_migration_cancelled));
}

static void leave(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);
    GError *error = NULL;
    gboolean ok = s->args.host->ops->close_pf(s->args.host, s->wire, FALSE, &error);

    vfo_task_return(task, ok, error);
}

static void complete(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.vm->ops->completed(s->args.vm, task);
}

static void arrive(VfoJob *job, GTask *task)
{
    Source *s = vfo_job_context(job);

    s->args.peer->ops->finished(s->args.peer, task);
}

/* ------------------------------------------------------------------ steps */

#define NOTHING NULL, VFO_DEADLINE_QUERY

/*
 * The lease is kept until the migration has completed, although the VF is clean
 * long before: a migration that fails gives the guest its own VF back.
 *
 * A guest that was asked for its VF cannot be asked to keep it: it lets go a
 * moment later, and would be without if nobody waited for that.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the pair", inspect, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"lease", "the host to describe the VF and its wire", lease, VFO_DEADLINE_QUERY, undo_lease,
     VFO_DEADLINE_QUERY, 0},
    {"reserve", "the destination to be ready", reserve, VFO_DEADLINE_PEER, undo_reserve,
     VFO_DEADLINE_PEER, 0},
    {"open", "the PF's filter and the bridge entry", open_pf, VFO_DEADLINE_QUERY, undo_open_pf,
     VFO_DEADLINE_QUERY, 0},
    {"hold", "frames for the guest to be held on the PF side", hold, VFO_DEADLINE_QUERY, undo_hold,
     VFO_DEADLINE_QUERY, 0},
    {"unplug", "the guest to release the VF", unplug, VFO_DEADLINE_UNPLUG, replug,
     VFO_DEADLINE_PLUG, VFO_STEP_CANCEL_AFTER},
    {"deliver", "the held frames to be delivered", deliver, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"close", "QEMU to close the VF", close_vf, VFO_DEADLINE_CLOSE, NOTHING, 0},
    {"park", "the VF's parking address", park, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"reset", "the VF to come back from its reset", reset, VFO_DEADLINE_RESET, NOTHING, 0},
    {"migrate", "the VM to be stopped for the switch-over", migrate, VFO_DEADLINE_MIGRATE,
     undo_migrate, VFO_DEADLINE_SWITCH, VFO_STEP_UNDO_OR_STOP},
    {"leave", "the guest's address to leave the PF", leave, VFO_DEADLINE_QUERY, NOTHING,
     VFO_STEP_NO_CANCEL},
    {"complete", "the migration to complete", complete, VFO_DEADLINE_SWITCH, NOTHING,
     VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
    {"return", "the VF to be back in its pool", return_vf, VFO_DEADLINE_QUERY, NOTHING, 0},
    {"arrive", "the destination to finish", arrive, VFO_DEADLINE_ARRIVE, NOTHING, 0},
};

VfoJob *vfo_source_job(const char *host_name, const VfoSourceArgs *args, const VfoPolicy *policy)
{
    g_autofree char *id = g_uuid_string_random();
    VfoJob *job = vfo_job_new(id, args->vm->name, host_name, steps, G_N_ELEMENTS(steps), policy);
    Source *s = g_new0(Source, 1);

    s->args = *args;
    args->vm->ops->ref(args->vm);
    s->in_guest = TRUE;
    vfo_job_set_context(job, s, source_free);
    return job;
}
