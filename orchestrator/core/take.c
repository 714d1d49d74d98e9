/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VF comes to a guest that runs on its standby.
 *
 * The VF is plugged after the VM runs here: stock QEMU 10.0 opens a VF of its
 * command line, and pins all guest memory, while the guest is stopped.
 */
#include "core/parts.h"

void vfo_take_init(VfoTake *take, VfoVm *vm, VfoHost *host, VfoLeases *leases)
{
    take->vm = vm;
    take->host = host;
    take->leases = leases;
    take->numa_node = -1;
    vm->ops->ref(vm);
}

void vfo_take_clear(VfoTake *take)
{
    take->vm->ops->unref(take->vm);
    vfo_offer_free(take->offer);
    vfo_pair_free(take->pair);
    vfo_vf_free(take->vf);
    vfo_wire_free(take->wire);
    g_free(take->pci);
}

VfoTake *vfo_take_of(VfoJob *job)
{
    return &((VfoParts *)vfo_job_context(job))->take;
}

gboolean vfo_take_has_room(const VfoVmInfo *info, const char *bus)
{
    for (guint i = 0; i < info->free_buses->len; i++) {
        if (g_str_equal(g_ptr_array_index(info->free_buses, i), bus))
            return TRUE;
    }
    return FALSE;
}

const VfoPair *vfo_take_find_standby(const VfoVmInfo *info, const char *standby)
{
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (g_str_equal(pair->standby, standby))
            return pair;
    }
    for (guint i = 0; info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (g_strcmp0(half->standby, standby) == 0)
            return half;
    }
    return NULL;
}

/* An interface that the user has given no alias may have another one on each host. */
const VfoPair *vfo_take_find_ours(const VfoVmInfo *info, const VfoPair *pair)
{
    if (!pair->bonded)
        return vfo_take_find_standby(info, pair->standby);
    for (guint i = 0; info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (half->standby && vfo_mac_equal(&half->mac, &pair->mac))
            return half;
    }
    return NULL;
}

/* ------------------------------------------------------------------ lease */

static VfoVf *choose_vf(const VfoTake *take, const VfoPolicy *policy, GError **error)
{
    g_autoptr(GPtrArray) vfs = take->host->ops->list_vfs(take->host, error);
    VfoWant want = vfo_want_like(take->offer, policy);
    const VfoVf *vf;

    want.numa_node = take->numa_node;
    want.stays = take->stays;
    want.needs = take->needs;
    vf = vfs ? vfo_choose_vf(vfs, take->leases, &want, error) : NULL;
    return vf ? vfo_vf_copy(vf) : NULL;
}

static VfoVf *named_vf(const VfoTake *take, GError **error)
{
    g_autoptr(VfoVf) vf = take->host->ops->read_vf(take->host, take->pci, error);
    g_autoptr(GError) doubt = NULL;

    if (!vf)
        return NULL;
    doubt = vfo_vf_doubt(vf, take->leases, take->offer->vm);
    if (!g_str_equal(vf->network, take->offer->network))
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "VF %s is in network '%s', standby %s of VM %s in '%s': choose a VF of that one",
            vf->pci, vf->network, take->pair->standby, take->offer->vm, take->offer->network);
    else if (doubt)
        g_propagate_error(error, g_steal_pointer(&doubt));
    else if (vfo_vf_is_free(vf, take->leases, take->offer->vm))
        return g_steal_pointer(&vf);
    else
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_BUSY,
            "VF %s is not free: it is another VM's, leased, open, or not bound to vfio-pci; "
            "'vfailover vfs' shows which are",
            vf->pci);
    return NULL;
}

gboolean vfo_take_is_wide_enough(VfoJob *job, GError **error)
{
    const VfoTake *take = vfo_take_of(job);

    if (take->wire->mtu >= take->offer->mtu)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "VM %s: PF %s%s has an MTU of %u, but the PF of the guest's old VF one of %u: its "
                "frames would not fit; set it with 'ip link set %s mtu %u'",
                vfo_job_vm(job), take->wire->pf, take->stays ? "" : " at the destination",
                take->wire->mtu, take->offer->mtu, take->wire->pf, take->offer->mtu);
    return FALSE;
}

/*
 * Parks the VF: with the guest's address on it, it would black-hole this host's neighbours now.
 * Before, it gets all other settings for a moment: what this PF's driver cannot do is to show
 * now, while the guest still has its VF.
 */
static gboolean try_and_park(VfoTake *take, GError **error)
{
    const VfoHostOps *ops = take->host->ops;
    VfoVfSettings parked = vfo_vf_parked(take->vf);
    VfoVfSettings trial = take->offer->settings;
    gboolean tried = TRUE;

    trial.mac = parked.mac;
    if (!vfo_vf_settings_equal(&trial, &parked))
        tried = ops->set_vf(take->host, take->vf->pci, &trial, error);
    return ops->set_vf(take->host, take->vf->pci, &parked, tried ? error : NULL) && tried;
}

/* FALSE: there is none, and it does not go without. */
static gboolean choose(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);
    const VfoPolicy *policy = vfo_job_policy(job);
    g_autoptr(GError) no_vf = NULL;

    take->vf = take->pci ? named_vf(take, &no_vf) : choose_vf(take, policy, &no_vf);
    if (take->vf)
        return TRUE;
    if (!policy->standby_only || !g_error_matches(no_vf, VFO_ERROR, VFO_ERROR_BUSY)) {
        g_propagate_error(error, g_steal_pointer(&no_vf));
        return FALSE;
    }
    vfo_job_remark(job, VFO_RESULT_SKIPPED, no_vf->message);
    vfo_job_degrade(job, no_vf->message);
    return TRUE;
}

gboolean vfo_take_find_wire(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);
    g_autofree char *way = NULL;

    take->wire = take->host->ops->find_wire(take->host, take->pair->tap, take->vf,
                                            &take->offer->settings, error);
    if (!take->wire)
        return FALSE;
    if (!g_str_equal(take->wire->network, take->offer->network)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s: its standby is in network '%s' at the source and '%s' at the "
                    "destination: put tap %s into the right bridge",
                    vfo_job_vm(job), take->offer->network, take->wire->network, take->pair->tap);
        return FALSE;
    }
    /* It is opened when the VM is stopped, or runs here already. */
    if (!vfo_take_is_wide_enough(job, error) ||
        !take->host->ops->try_pf(take->host, take->wire, error))
        return FALSE;
    if (take->vf) {
        way = vfo_wire_describe(take->wire);
        vfo_job_remark(job, VFO_RESULT_OK, way);
    }
    return TRUE;
}

static gboolean lease_vf(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);

    return !take->vf ||
           (vfo_leases_take(take->leases, take->vf->pci, vfo_job_id(job),
                            vfo_job_policy(job)->deadline_ms[VFO_DEADLINE_MIGRATE] / 1000 + 3600,
                            error) &&
            try_and_park(take, error));
}

gboolean vfo_take_exchange(VfoJob *job, const char *pci, GError **error)
{
    VfoTake *take = vfo_take_of(job);
    VfoVf *vf;

    g_free(take->pci);
    take->pci = g_strdup(pci);
    vf = named_vf(take, error);
    if (!vf)
        return FALSE;
    vfo_leases_drop(take->leases, take->vf->pci, vfo_job_id(job));
    vfo_vf_free(take->vf);
    take->vf = vf;
    return lease_vf(job, error);
}

void vfo_take_choose(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = choose(job, &error) && lease_vf(job, &error);

    vfo_task_return(task, ok, error);
}

void vfo_take_lease(VfoJob *job, GTask *task)
{
    GError *error = NULL;
    gboolean ok = choose(job, &error) && vfo_take_find_wire(job, &error) && lease_vf(job, &error);

    vfo_task_return(task, ok, error);
}

/* A VF that could not be parked stays leased: nobody may take it with a guest's address on it. */
void vfo_take_undo_lease(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (take->wire)
        take->host->ops->unwatch_standby(take->host, take->wire);
    if (take->vf && !take->exposed)
        vfo_leases_drop(take->leases, take->vf->pci, vfo_job_id(job));
    vfo_task_done(task);
}

/* --------------------------------------------------------- open and close */

void vfo_take_open(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;

    if (take->host->ops->open_pf(take->host, take->wire, &error))
        vfo_announce_guest(take->vm, take->host, take->pair, take->wire, task);
    else
        vfo_task_fail(task, error);
}

/* ------------------------------------------------------------ the VF back */

static gboolean set_vf(VfoJob *job, const VfoVfSettings *settings, GError **error)
{
    VfoTake *take = vfo_take_of(job);

    return vfo_leases_check(take->leases, take->vf->pci, vfo_job_id(job), error) &&
           take->host->ops->set_vf(take->host, take->vf->pci, settings, error);
}

gboolean vfo_take_skips(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (take->vf)
        return FALSE;
    vfo_job_remark(job, VFO_RESULT_SKIPPED, "no VF");
    vfo_task_done(task);
    return TRUE;
}

/*
 * From the moment that its ring is there the VF has the guest's frames, and so has the PF side,
 * until the guest's driver is seen to take them: the guest would get all of that time twice.
 */
static gboolean is_quarantined(const VfoTake *take)
{
    return take->vf->quarantine && take->vf->quarantine != take->offer->settings.vlan;
}

gboolean vfo_take_expose(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);

    VfoVfSettings settings = take->offer->settings;

    take->exposed = TRUE;
    if (is_quarantined(take)) {
        settings.vlan = take->vf->quarantine;
        settings.vlan_outer = FALSE;
        settings.qos = 0;
    }
    return set_vf(job, &settings, error);
}

gboolean vfo_take_park(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);
    VfoVfSettings parked = vfo_vf_parked(take->vf);

    take->exposed = !set_vf(job, &parked, error);
    return !take->exposed;
}

static gboolean change_over(VfoJob *job, GError **error)
{
    VfoTake *take = vfo_take_of(job);

    if (!is_quarantined(take))
        return take->host->ops->close_pf(take->host, take->wire, TRUE, error);
    return vfo_leases_check(take->leases, take->vf->pci, vfo_job_id(job), error) &&
           take->host->ops->hand_to_vf(take->host, take->wire, take->vf->pci,
                                       &take->offer->settings, error);
}

void vfo_take_shut(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;
    gboolean ok = TRUE;

    if (take->vf)
        ok = change_over(job, &error);
    else
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "left open: the guest is on its standby");
    vfo_task_return(task, ok, error);
}

static void on_drained(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    GError *error = NULL;

    /* A VF helps a guest that does not keep up with its standby. */
    if (!g_task_propagate_boolean(G_TASK(result), &error) && error->domain == VFO_ERROR) {
        g_message("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), error->message);
        vfo_job_remark(job, VFO_RESULT_SKIPPED, error->message);
        g_clear_error(&error);
    }
    vfo_task_return(task, error == NULL, error);
}

/* From the moment that its VF is registered net_failover throws away what its standby receives,
 * also what was sent long before and has waited for a guest that lags behind. */
void vfo_take_drain(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);
    const guint *deadline_ms = vfo_job_policy(job)->deadline_ms;

    /* It must not run into the step's own deadline, with which the guest would get no VF. */
    if (!vfo_take_skips(job, task))
        take->host->ops->drained(
            take->host, take->wire,
            MIN(deadline_ms[VFO_DEADLINE_DRAIN], deadline_ms[VFO_DEADLINE_PLUG] / 2),
            vfo_job_inner_task(job, task, on_drained));
}

void vfo_take_configure(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);
    GError *error = NULL;

    if (!vfo_take_skips(job, task)) {
        gboolean ok = vfo_take_expose(job, &error);

        if (ok)
            take->host->ops->prepare_hand_to_vf(take->host, take->wire);
        vfo_task_return(task, ok, error);
    }
}

void vfo_take_undo_configure(VfoJob *job, GTask *task)
{
    GError *error = NULL;

    if (!vfo_take_skips(job, task)) {
        gboolean ok = vfo_take_park(job, &error);

        vfo_task_return(task, ok, error);
    }
}

static void on_unprepared(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    GError *error = NULL;

    /* A migration that failed ends QEMU here, as a rule. */
    if (!g_task_propagate_boolean(G_TASK(result), &error) &&
        g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED)) {
        vfo_job_remark(job, VFO_RESULT_UNDONE, "QEMU has gone, and has closed the VF");
        g_clear_error(&error);
    }
    vfo_task_return(task, error == NULL, error);
}

void vfo_take_undo_prepare(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (take->vf && take->pair->prepared)
        take->vm->ops->unplug(take->vm, take->pair, vfo_job_inner_task(job, task, on_unprepared));
    else
        vfo_task_done(task);
}

static void on_prepared(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;

    take->pair->prepared = g_task_propagate_boolean(G_TASK(result), &error);
    /* It can be opened later as well, at the cost of a guest that stands still meanwhile. */
    if (error && error->domain == VFO_ERROR) {
        vfo_job_remark(job, VFO_RESULT_SKIPPED, error->message);
        g_clear_error(&error);
    }
    vfo_task_return(task, error == NULL, error);
}

void vfo_take_prepare(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (!vfo_take_skips(job, task))
        take->vm->ops->prepare(take->vm, take->pair, take->vf->pci,
                               vfo_job_inner_task(job, task, on_prepared));
}

void vfo_take_plug(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;

    if (vfo_take_skips(job, task))
        return;
    if (vfo_leases_check(take->leases, take->vf->pci, vfo_job_id(job), &error))
        take->vm->ops->plug(take->vm, take->pair, take->vf->pci, task);
    else
        vfo_task_fail(task, error);
}

static void on_inspected_for_unplug(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);

    if (!info) {
        vfo_task_fail(task, error);
    } else if (!vfo_bonds_has_vf(info, take->pair->standby, take->vf->pci)) {
        vfo_job_remark(job, VFO_RESULT_UNDONE, "QEMU does not have the VF");
        vfo_task_done(task);
    } else {
        take->vm->ops->unplug(take->vm, take->pair, task);
    }
}

/* A VF that the guest has but cannot use is worse than none: net_failover drops
 * what comes in on the standby while a primary is registered. */
void vfo_take_undo_plug(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (!vfo_take_skips(job, task))
        take->vm->ops->inspect(take->vm, vfo_job_inner_task(job, task, on_inspected_for_unplug));
}

static void on_announced(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoTake *take = vfo_take_of(g_task_get_task_data(task));
    GError *error = NULL;
    guint64 activity = 0;

    if (!g_task_propagate_boolean(G_TASK(result), &error) ||
        !take->host->ops->activity_vf(take->host, take->vf->pci, &activity, &error))
        vfo_task_fail(task, error);
    else
        take->host->ops->used_vf(take->host, take->vf->pci, activity, task);
}

/* The standby's broadcasts also reach the VF, through the NIC's own switch: a guest to
 * which nobody sends anything receives something as well. */
void vfo_take_use(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (!vfo_take_skips(job, task))
        vfo_announce_guest(take->vm, take->host, take->pair, take->wire,
                           vfo_job_inner_task(job, task, on_announced));
}

/* From here on the VF is the VM's, which QEMU shows; it needs no lease. */
void vfo_take_settle(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);

    if (take->vf)
        vfo_leases_drop(take->leases, take->vf->pci, vfo_job_id(job));
    /* What leads to a guest that bonds is nobody's to see to but the one who closes this when the
     * VM goes. */
    if (take->vf && take->absences && !take->pair->bonded)
        vfo_absences_forget(take->absences, take->offer->vm, take->offer->pair->standby);
    else if (take->absences) {
        if (take->vf)
            vfo_absences_unwant(take->absences, take->offer->vm, take->offer->pair->standby);
        vfo_absences_keep(take->absences, take->offer->vm, take->offer->pair->standby,
                          g_steal_pointer(&take->wire));
    }
    vfo_task_done(task);
}
