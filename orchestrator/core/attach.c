/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM that runs on its standby gets a VF, from the pool or from another VM of
 * this host: the two tables at the end of this file.
 */
#include "core/parts.h"

#include <string.h>

typedef struct {
    VfoParts parts; /* give: of the other VM; its VM is NULL if the VF is from the pool */
    char *standby;  /* NULL: the one without a VF */
} Attach;

static void attach_free(gpointer data)
{
    Attach *a = data;

    if (a->parts.give.vm)
        vfo_give_clear(&a->parts.give);
    vfo_take_clear(&a->parts.take);
    g_free(a->standby);
    g_free(a);
}

/* ---------------------------------------------------------------- inspect */

static const VfoPair *named_gap(const VfoVmInfo *info, const char *standby, GError **error)
{
    const VfoPair *pair = vfo_take_find_standby(info, standby);

    if (!pair)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no standby %s: 'vfailover list' shows those it has", info->name,
                    standby);
    else if (pair->primary)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM %s has a VF already at its standby %s: %s", info->name, standby,
                    pair->vf ? pair->vf : pair->primary);
    else
        return pair;
    return NULL;
}

static const VfoPair *only_gap(const VfoVmInfo *info, GError **error)
{
    const VfoPair *found = NULL;

    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (pair->primary)
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                        "VM %s has several standbys without a VF (%s, %s); choose one with "
                        "--standby",
                        info->name, found->standby, pair->standby);
            return NULL;
        }
        found = pair;
    }
    if (!found && info->pairs->len)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM %s has a VF already: 'vfailover list' shows it", info->name);
    else if (!found)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no standby: give it a virtio-net device with failover=on",
                    info->name);
    return found;
}

static const VfoPair *find_gap(const VfoVmInfo *info, const char *standby, GError **error)
{
    const VfoPair *pair;

    if (!g_str_equal(info->status, "running")) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "VM %s is not running (%s): its guest cannot use a VF; resume it first",
                    info->name, info->status);
        return NULL;
    }
    pair = standby ? named_gap(info, standby, error) : only_gap(info, error);
    if (pair && !pair->tap) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: standby %s is not on a tap device; only a tap in a bridge can carry "
                    "its traffic while the VF comes",
                    info->name, pair->standby);
        return NULL;
    }
    if (pair && !pair->bus) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s has no room for a VF: give its QEMU an empty pcie-root-port with an id",
                    info->name);
        return NULL;
    }
    return pair;
}

/* A VF that nobody knows anything of: as a parked one, with the guest's address. */
static VfoOffer *new_offer(const VfoPair *pair)
{
    VfoOffer *offer = g_new0(VfoOffer, 1);
    gsize length = strlen(pair->standby);
    /* Numbers, which tell one from the other, are at an id's end. */
    const char *tail = pair->standby + (length > VFO_MAX_ID - 3 ? length - (VFO_MAX_ID - 3) : 0);

    offer->pair = vfo_pair_copy(pair);
    offer->pair->primary = g_strconcat("vf-", tail, NULL);
    offer->settings.mac = pair->mac;
    offer->settings.vlan = VFO_VLAN_ANY;
    offer->settings.spoofchk = TRUE;
    return offer;
}

/* One that the VM had: its address tells whether the VM is still the same. */
static VfoOffer *known_offer(const VfoVmInfo *info, const VfoPair *pair, const VfoOffer *known)
{
    VfoOffer *offer = vfo_offer_copy(known);

    if (!vfo_take_has_room(info, offer->pair->bus)) {
        g_free(offer->pair->bus);
        offer->pair->bus = g_strdup(pair->bus);
    }
    g_free(offer->pair->tap);
    offer->pair->tap = g_strdup(pair->tap);
    return offer;
}

static void describe(VfoJob *job, const VfoVmInfo *info, const VfoPair *pair)
{
    VfoTake *take = vfo_take_of(job);
    const VfoOffer *known = NULL;
    VfoOffer *offer;

    if (take->absences)
        known = vfo_absences_find(take->absences, info->name, pair->standby);
    if (known && vfo_mac_equal(&known->settings.mac, &pair->mac))
        offer = known_offer(info, pair, known);
    else
        offer = new_offer(pair);
    g_free(offer->job);
    offer->job = g_strdup(vfo_job_id(job));
    g_free(offer->vm);
    offer->vm = g_strdup(info->name);
    g_free(offer->machine);
    offer->machine = g_strdup(info->machine);
    take->offer = offer;
    take->pair = vfo_pair_copy(offer->pair);
    take->numa_node = info->numa_node;
}

/* The standby of a guest that bonds is known from when it had a VF. */
static const char *standby_of(const Attach *a, const VfoVmInfo *info)
{
    const VfoOffer *known = a->parts.take.absences && !a->standby && info->pairs->len == 0
                                ? vfo_absences_find(a->parts.take.absences, info->name, NULL)
                                : NULL;

    return known ? known->pair->standby : a->standby;
}

static void on_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    const Attach *a = vfo_job_context(job);
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);
    const VfoPair *pair;

    if (info)
        vfo_bonds_join(info, a->parts.take.host, NULL);
    pair = info ? find_gap(info, standby_of(a, info), &error) : NULL;

    if (pair)
        describe(job, info, pair);
    vfo_task_return(task, pair != NULL, error);
}

static void inspect(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);

    take->vm->ops->inspect(take->vm, vfo_job_inner_task(job, task, on_inspected));
}

/* ------------------------------------------------------------------ lease */

static VfoWire *find_wire(VfoJob *job, const VfoVf *vf, GError **error)
{
    const VfoTake *take = vfo_take_of(job);

    return take->host->ops->find_wire(take->host, take->pair->tap, vf, &take->offer->settings,
                                      error);
}

/* The network is the one that the standby is in. */
static void lease(VfoJob *job, GTask *task)
{
    VfoTake *take = vfo_take_of(job);
    GError *error = NULL;
    g_autoptr(VfoWire) wire = find_wire(job, NULL, &error);

    if (!wire) {
        vfo_task_fail(task, error);
        return;
    }
    g_free(take->offer->network);
    take->offer->network = g_strdup(wire->network);
    take->offer->settings.vlan = wire->vlan;
    take->offer->settings.vlan_outer = wire->vlan_outer;
    vfo_take_lease(job, task);
}

/* ---------------------------------------------------------- from another VM */

static gboolean match(VfoJob *job, GError **error)
{
    const VfoGive *give = vfo_give_of(job);
    VfoTake *take = vfo_take_of(job);

    take->wire = find_wire(job, give->vf, error);
    if (!take->wire)
        return FALSE;
    if (!g_str_equal(take->wire->network, give->wire->network)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s has its standby in network '%s', and VM %s its VF in '%s': a VF can "
                    "only be lent within a network",
                    vfo_job_vm(job), take->wire->network, give->info->name, give->wire->network);
        return FALSE;
    }
    if (!vfo_take_is_wide_enough(job, error))
        return FALSE;
    g_free(take->offer->network);
    take->offer->network = g_strdup(take->wire->network);
    take->offer->settings.vlan = take->wire->vlan;
    take->offer->settings.vlan_outer = take->wire->vlan_outer;
    take->vf = vfo_vf_copy(give->vf);
    return TRUE;
}

static void on_taker_inspected(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error) &&
                  match(g_task_get_task_data(task), &error);

    vfo_task_return(task, ok, error);
}

static void inspect_taker(VfoJob *job, GTask *task)
{
    inspect(job, vfo_job_inner_task(job, task, on_taker_inspected));
}

/* A VF with an address that may be the taker's, in nobody's hands, stays leased. */
static void undo_lease(VfoJob *job, GTask *task)
{
    if (vfo_take_of(job)->exposed && !vfo_give_of(job)->in_guest)
        vfo_task_done(task);
    else
        vfo_give_undo_lease(job, task);
}

static void settle(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);

    vfo_give_keep(job);
    vfo_leases_returned(give->leases, give->vf->pci);
    vfo_take_settle(job, task);
}

/* ------------------------------------------------------------------ steps */

static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the standby", inspect, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"lease", "a free VF and its wire", lease, VFO_DEADLINE_QUERY, vfo_take_undo_lease,
     VFO_DEADLINE_QUERY, 0},
    {"open", "the PF's filter, the bridge entry, the announcement", vfo_take_open,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    VFO_TAKE_STEPS,
    {"settle", "the lease to end", vfo_take_settle, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
};

/*
 * One job, so that the way back from any step gives the other VM its VF again, and nobody else gets
 * it in between. What can be known before the other VM is asked for its VF is looked at before.
 */
static const VfoStep lending_steps[] = {
    {"inspect", "QEMU to describe the pair of the VM that gives", vfo_give_inspect,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"lease", "the host to describe the VF and its wire", vfo_give_lease, VFO_DEADLINE_QUERY,
     undo_lease, VFO_DEADLINE_QUERY, 0},
    {"inspect-taker", "QEMU to describe the standby of the VM that takes", inspect_taker,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"open-taker", "the PF's filter, the bridge entry, the announcement", vfo_take_open,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    VFO_GIVE_STEPS,
    VFO_TAKE_STEPS,
    {"settle", "the lease to end", settle, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
};

VfoJob *vfo_attach_job(const char *host_name, const VfoAttachArgs *args, const VfoPolicy *policy)
{
    g_autofree char *id = g_uuid_string_random();
    const VfoStep *table = args->from ? lending_steps : steps;
    guint n_steps = args->from ? G_N_ELEMENTS(lending_steps) : G_N_ELEMENTS(steps);
    VfoPolicy strict = *policy;
    Attach *a = g_new0(Attach, 1);
    VfoJob *job;

    /* The VM is on its standby already: without a VF there is nothing to do. */
    strict.standby_only = FALSE;
    job = vfo_job_new(id, args->vm->name, host_name, table, n_steps, &strict);
    vfo_take_init(&a->parts.take, args->vm, args->host, args->leases);
    a->parts.take.absences = args->absences;
    a->parts.take.stays = TRUE;
    a->standby = g_strdup(args->standby);
    if (args->from) {
        vfo_give_init(&a->parts.give, args->from, args->host, args->leases);
        a->parts.give.absences = args->absences;
        a->parts.give.pci = g_strdup(args->vf);
        a->parts.give.none = "it has none to give";
        a->parts.give.several = "choose one with --vf";
    } else {
        a->parts.take.pci = g_strdup(args->vf);
    }
    vfo_job_set_kind(job, "attach", args->from ? args->from->name : NULL);
    vfo_job_set_context(job, a, attach_free);
    return job;
}
