/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VF leaves its guest, which goes on on its standby.
 *
 * The VF leaves the guest through device_del rather than through QEMU's own
 * unplug at the start of a migration: DEVICE_DELETED comes at once and means
 * that the VF is free, where stock QEMU 10.0 keeps it open until QEMU exits.
 */
#include "core/parts.h"

#include <string.h>

void vfo_give_init(VfoGive *give, VfoVm *vm, VfoHost *host, VfoLeases *leases)
{
    give->vm = vm;
    give->host = host;
    give->leases = leases;
    vm->ops->ref(vm);
    give->in_guest = TRUE;
}

void vfo_give_clear(VfoGive *give)
{
    g_clear_handle_id(&give->hold_timer, g_source_remove);
    give->vm->ops->unref(give->vm);
    g_free(give->standby);
    g_free(give->pci);
    vfo_vm_info_free(give->info);
    vfo_vf_free(give->vf);
    vfo_wire_free(give->wire);
}

VfoGive *vfo_give_of(VfoJob *job)
{
    return &((VfoParts *)vfo_job_context(job))->give;
}

void vfo_give_describe(VfoJob *job, VfoOffer *offer)
{
    const VfoGive *give = vfo_give_of(job);

    *offer = (VfoOffer){
        .job = (char *)vfo_job_id(job),
        .vm = give->info->name,
        .machine = give->info->machine,
        .pair = (VfoPair *)give->pair,
        .network = give->wire->network,
        .settings = give->vf->settings,
        .vendor = give->vf->vendor,
        .device = give->vf->device,
        .mtu = give->vf->mtu,
    };
}

/* Before the VF is asked for: who is killed at any moment from then on has it written down. */
static void note(VfoJob *job)
{
    const VfoGive *give = vfo_give_of(job);
    VfoOffer offer;

    if (!give->absences)
        return;
    vfo_give_describe(job, &offer);
    vfo_absences_note(give->absences, &offer, FALSE);
}

/* It has its VF. What leads to a guest that bonds may be kept for it all the same. */
static void forget(VfoGive *give)
{
    if (give->absences && !give->pair->bonded)
        vfo_absences_forget(give->absences, give->info->name, give->pair->standby);
}

void vfo_give_keep(VfoJob *job)
{
    VfoGive *give = vfo_give_of(job);

    if (!give->absences)
        return;
    vfo_absences_keep(give->absences, give->info->name, give->pair->standby,
                      g_steal_pointer(&give->wire));
}

/* ---------------------------------------------------------------- inspect */

static const VfoPair *find_pair(const VfoGive *give, GError **error)
{
    VfoVmInfo *info = give->info;
    const VfoPair *found = NULL;
    g_autoptr(GError) single = NULL;

    if (!vfo_bonds_join(info, give->host, &single) && info->pairs->len == 0) {
        g_propagate_error(error, g_steal_pointer(&single));
        return NULL;
    }
    if (info->pairs->len == 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no failover pair: give it a virtio-net device with failover=on and "
                    "a VF whose failover_pair_id names it",
                    info->name);
        return NULL;
    }
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (!pair->vf || (give->standby && !g_str_equal(give->standby, pair->standby)) ||
            (give->pci && !g_str_equal(give->pci, pair->vf)))
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                        "VM %s has several pairs with a VF (%s, %s); %s", info->name,
                        found->standby, pair->standby, give->several);
            return NULL;
        }
        found = pair;
    }
    if (!found)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no VF%s%s in its pair%s%s: %s", info->name, give->pci ? " " : "",
                    give->pci ? give->pci : "", give->standby ? " " : "",
                    give->standby ? give->standby : "", give->none);
    else if (!found->tap) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: standby %s is not on a tap device; only a tap in a bridge can carry "
                    "its traffic",
                    info->name, found->standby);
        return NULL;
    }
    return found;
}

/* What is too long now would not be taken when it is needed: by a peer, or by the next daemon. */
static gboolean check_id(const VfoGive *give, const char *what, const char *id, GError **error)
{
    if (!id || strlen(id) <= VFO_MAX_ID)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "VM %s: the id '%.*s...' of its %s has more than %d characters: give the device a "
                "shorter one",
                give->info->name, VFO_MAX_ID, id, what, VFO_MAX_ID);
    return FALSE;
}

static gboolean check_ids(const VfoGive *give, GError **error)
{
    const VfoPair *pair = give->pair;

    return check_id(give, "standby", pair->standby, error) &&
           check_id(give, "VF", pair->primary, error) &&
           check_id(give, "VF's port", pair->bus, error);
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok = FALSE;

    give->info = g_task_propagate_pointer(G_TASK(result), &error);
    if (give->info && !g_str_equal(give->info->status, "running"))
        g_set_error(&error, VFO_ERROR, VFO_ERROR_FAILED,
                    "VM %s is not running (%s): its guest cannot release the VF; resume it first",
                    give->info->name, give->info->status);
    else if (give->info) {
        give->pair = find_pair(give, &error);
        ok = !error && check_ids(give, &error);
    }
    vfo_task_return(task, ok, error);
}

void vfo_give_inspect(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    give->vm->ops->inspect(give->vm, vfo_job_inner_task(job, task, on_inspected));
}

/* ------------------------------------------------------------------ lease */

static gboolean lease_vf(VfoJob *job, gboolean must_be_open, GError **error)
{
    VfoGive *give = vfo_give_of(job);
    VfoHost *host = give->host;
    char vf_mac[VFO_MAC_STRLEN], guest_mac[VFO_MAC_STRLEN];
    g_autofree char *way = NULL;
    g_autofree char *own = vfo_leases_of_domain(give->info->name);

    give->vf = host->ops->read_vf(host, give->pair->vf, error);
    if (!give->vf)
        return FALSE;
    if (!vfo_mac_equal(&give->vf->settings.mac, &give->pair->mac)) {
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "VM %s: VF %s has MAC %s but standby %s has %s: the guest cannot pair them; set "
            "the VF's with 'ip link set %s vf %u mac %s'",
            give->info->name, give->vf->pci, vfo_mac_format(&give->vf->settings.mac, vf_mac),
            give->pair->standby, vfo_mac_format(&give->pair->mac, guest_mac), give->vf->pf,
            give->vf->index, guest_mac);
        return FALSE;
    }
    if (must_be_open && !give->vf->opened) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: its guest has not negotiated failover (yet): QEMU has not opened VF "
                    "%s, and cannot ask for it; migrate it when its kernel runs, with "
                    "net_failover, or without the VF, by 'vfailover migrate'",
                    give->info->name, give->vf->pci);
        return FALSE;
    }
    give->wire = host->ops->find_wire(host, give->pair->tap, give->vf, &give->vf->settings, error);
    if (!give->wire)
        return FALSE;
    way = vfo_wire_describe(give->wire);
    vfo_job_remark(job, VFO_RESULT_OK, way);
    /* What is kept for the VM until it has been looked at is the VM's to give. */
    vfo_leases_drop(give->leases, give->vf->pci, own);
    return vfo_leases_take(give->leases, give->vf->pci, vfo_job_id(job),
                           vfo_job_policy(job)->deadline_ms[VFO_DEADLINE_MIGRATE] / 1000 + 3600,
                           error);
}

void vfo_give_lease(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = lease_vf(job, FALSE, &error);

    vfo_task_return(task, ok, error);
}

void vfo_give_lease_opened(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = lease_vf(job, TRUE, &error);

    vfo_task_return(task, ok, error);
}

void vfo_give_undo_lease(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    if (give->vf)
        vfo_leases_drop(give->leases, give->vf->pci, vfo_job_id(job));
    vfo_task_done(task);
}

/* --------------------------------------------------------- open and close */

void vfo_give_open(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok = give->host->ops->open_pf(give->host, give->wire, &error);

    vfo_task_return(task, ok, error);
}

void vfo_give_undo_open(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok = TRUE;

    /* A guest whose VF, or the VF's address, could not be given back lives on its standby. */
    if (give->in_guest && !give->asked)
        ok = give->host->ops->close_pf(give->host, give->wire, TRUE, &error);
    else
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "left open: the guest may be on its standby");
    vfo_task_return(task, ok, error);
}

/* ------------------------------------------------------------------- hold */

static gboolean set_vf(VfoJob *job, const VfoVfSettings *settings, GError **error)
{
    VfoGive *give = vfo_give_of(job);

    return vfo_leases_check(give->leases, give->vf->pci, vfo_job_id(job), error) &&
           give->host->ops->set_vf(give->host, give->vf->pci, settings, error);
}

/* A job that cannot hold frames goes on without. */
static void answer_held(VfoJob *job, GTask *task, gboolean ok, GError *error)
{
    VfoGive *give = vfo_give_of(job);
    gboolean cannot = g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);

    /* One that fails may have been half done. */
    give->held = give->held || !cannot;
    if (cannot) {
        vfo_job_remark(job, VFO_RESULT_SKIPPED, error->message);
        g_clear_error(&error);
    }
    vfo_task_return(task, ok || cannot, error);
}

void vfo_give_prepare_hold(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok = give->host->ops->prepare_hold(give->host, give->wire, give->vf->pci, &error);

    give->deaf = g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    answer_held(job, task, ok, error);
}

/*
 * From here on what the PF side has for the guest waits. net_failover drops what
 * comes in on the standby while a primary is registered (Linux 6.1,
 * net_failover_handle_frame()), and the VF stops receiving some time before it is
 * unregistered: the frames of that time are among those that wait.
 *
 * The VF keeps the guest's address until it is out: igbvf reads its address anew when
 * it is closed, and the guest's failover module finds the pair of a VF that goes by
 * that address (Linux 6.1, failover_slave_unregister()).
 */
void vfo_give_hold(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok;

    if (give->deaf) {
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "as 'prepare'");
        vfo_task_done(task);
        return;
    }
    ok = give->host->ops->hold(give->host, give->wire, give->vf->pci, &error);
    answer_held(job, task, ok, error);
}

static gboolean release_held(VfoGive *give, GError **error)
{
    /* One that fails is tried again on the way back. */
    if (give->held)
        give->held = !give->host->ops->release(give->host, give->wire, error);
    if (!give->held)
        g_clear_handle_id(&give->hold_timer, g_source_remove);
    return !give->held;
}

void vfo_give_release_held(VfoJob *job)
{
    g_autoptr(GError) error = NULL;

    if (!release_held(vfo_give_of(job), &error))
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), error->message);
}

void vfo_give_undo_hold(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = release_held(vfo_give_of(job), &error);

    vfo_task_return(task, ok, error);
}

/* ----------------------------------------------------------------- unplug */

static gboolean on_held_too_long(gpointer data)
{
    VfoJob *job = data;

    vfo_give_of(job)->hold_timer = 0;
    vfo_give_release_held(job);
    /* In an undo it is not the result that counts. */
    if (vfo_job_state(job) == VFO_JOB_RUNNING)
        vfo_job_remark(
            job, VFO_RESULT_OK,
            "the guest took longer than the deadline 'hold': frames were no longer held");
    return G_SOURCE_REMOVE;
}

static void on_unplugged(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoGive *give = vfo_give_of(g_task_get_task_data(task));
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    /* Else the deadline is that of the way back, too, which may take as long. */
    if (ok) {
        g_clear_handle_id(&give->hold_timer, g_source_remove);
        give->in_guest = give->asked = FALSE;
    } else
        give->refused = error->domain == VFO_ERROR && error->code != VFO_ERROR_CLOSED;
    vfo_task_return(task, ok, error);
}

GTask *vfo_give_await_release(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    if (give->held)
        give->hold_timer = g_timeout_add(vfo_job_policy(job)->deadline_ms[VFO_DEADLINE_HOLD],
                                         on_held_too_long, job);
    give->asked = TRUE;
    return vfo_job_inner_task(job, task, on_unplugged);
}

void vfo_give_unplug(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    note(job);
    give->vm->ops->unplug(give->vm, give->pair, vfo_give_await_release(job, task));
}

gboolean vfo_give_restore(VfoJob *job, GError **error)
{
    return set_vf(job, &vfo_give_of(job)->vf->settings, error);
}

gboolean vfo_give_silence(VfoJob *job, GError **error)
{
    VfoVfSettings parked = vfo_vf_parked(vfo_give_of(job)->vf);

    return set_vf(job, &parked, error);
}

static void on_used_again(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoGive *give = vfo_give_of(g_task_get_task_data(task));
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    give->in_guest = ok;
    if (ok) {
        give->asked = FALSE;
        forget(give);
    }
    vfo_task_return(task, ok, error);
}

void vfo_give_await_use(VfoJob *job, guint64 since, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    give->host->ops->used_vf(give->host, give->vf->pci, since,
                             vfo_job_inner_task(job, task, on_used_again));
}

static void on_replugged(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    guint64 activity = 0;

    if (!g_task_propagate_boolean(G_TASK(result), &error) ||
        !give->host->ops->activity_vf(give->host, give->vf->pci, &activity, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    vfo_give_await_use(job, activity, task);
}

static void on_inspected_for_replug(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);

    if (!info) {
        vfo_task_fail(task, error);
        return;
    }
    if (vfo_bonds_has_vf(info, give->pair->standby, give->vf->pci)) {
        give->in_guest = TRUE;
        /* One that refused does not do it later; one that has not answered may. */
        if (give->refused) {
            give->asked = FALSE;
            forget(give);
        }
        vfo_job_remark(job, VFO_RESULT_UNDONE, "the guest had not released the VF");
        vfo_task_done(task);
        return;
    }
    give->in_guest = give->asked = FALSE;
    /* net_failover pairs by MAC when the VF's driver registers its interface. */
    if (!vfo_give_restore(job, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    /* The guest is on its standby: nothing may wait while the VF comes back. When frames do,
     * the VF is the guest's only way, and the undo of "hold" tries again. */
    vfo_give_release_held(job);
    give->vm->ops->plug(give->vm, give->pair, give->vf->pci, vfo_task_inner(task, on_replugged));
}

void vfo_give_undo_unplug(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    give->vm->ops->inspect(give->vm, vfo_job_inner_task(job, task, on_inspected_for_replug));
}

/* ---------------------------------------------------------------- deliver */

void vfo_give_deliver(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;

    if (!release_held(give, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    vfo_announce_guest(give->vm, give->host, give->pair, give->wire, task);
}

/* ---------------------------------------------- close, park, reset, return */

void vfo_give_close(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);

    give->host->ops->closed_vf(give->host, give->vf->pci, task);
}

void vfo_give_park(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = vfo_give_silence(job, &error);

    vfo_task_return(task, ok, error);
}

void vfo_give_reset(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    GError *error = NULL;

    if (!vfo_leases_check(give->leases, give->vf->pci, vfo_job_id(job), &error)) {
        vfo_task_fail(task, error);
        return;
    }
    give->host->ops->reset_vf(give->host, give->vf->pci, task);
}

void vfo_give_return(VfoJob *job, GTask *task)
{
    VfoGive *give = vfo_give_of(job);
    g_autoptr(GError) not_ours = NULL;

    if (vfo_leases_check(give->leases, give->vf->pci, vfo_job_id(job), &not_ours))
        vfo_leases_returned(give->leases, give->vf->pci);
    else
        vfo_job_remark(job, VFO_RESULT_SKIPPED, not_ours->message);
    vfo_task_done(task);
}
