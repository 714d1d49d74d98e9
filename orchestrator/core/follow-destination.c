/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's half of a hand-over that libvirt carries out: the table at the end of this
 * file.
 *
 * QEMU is started when the VF has been chosen, and not before: its tap, and so its wire, are known
 * later. It opens the VF while the VM is stopped, and shows it to the guest as soon as the VM runs.
 */
#include "core/parts.h"

typedef struct {
    VfoDestination base;
    VfoReady wired;
    gpointer wired_data;
} Follow;

static void follow_free(gpointer data)
{
    vfo_destination_clear(data);
    g_free(data);
}

/* ---------------------------------------------------------- inspect, answer */

static const VfoPair *find_ours(const VfoVmInfo *info, const VfoOffer *offer, GError **error)
{
    const VfoPair *ours = vfo_destination_match(info, offer, error);

    if (!ours || ours->primary)
        return ours;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "VM %s: standby %s has no VF in the domain's XML for the destination: leave it in, "
                "whatever its address is",
                info->name, ours->standby);
    return NULL;
}

/* From here on libvirt goes on, with the source's daemon or without, unless that daemon is the one
 * that is about to ask it. */
static void answer(VfoJob *job, GTask *task)
{
    VfoDestination *d = vfo_job_context(job);

    d->stays = d->shows;
    if (d->reserved)
        d->reserved(job, VFO_URI_LIBVIRT, d->data);
    vfo_task_done(task);
}

/* ------------------------------------------------------- start, wire, quiet */

static void start(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);

    take->vm->ops->started(take->vm, task);
}

/*
 * libvirt gives a VF of <interface type='hostdev'> the guest's address, and a VLAN, and some time
 * after that says that it starts QEMU: until the VM runs the VF would black-hole this host's
 * neighbours. What fails here is the affair of "quiet", which has an error to fail with.
 */
static void hush(VfoJob *job, const VfoVf *now)
{
    const VfoTake *take = vfo_take_of(job);
    VfoVfSettings parked = vfo_vf_parked(now);
    g_autoptr(GError) error = NULL;

    if (!take->vf || !g_str_equal(take->vf->pci, now->pci) ||
        vfo_vf_settings_equal(&now->settings, &parked))
        return;
    if (vfo_take_park(job, &error))
        vfo_job_remark(job, VFO_RESULT_OK, "the VF was given an address early: parked again");
    else
        g_warning("job %s: VM %s: its VF has an address too early: %s", vfo_job_id(job),
                  vfo_job_vm(job), error->message);
}

static void set(char **text, const char *value)
{
    g_free(*text);
    *text = g_strdup(value);
}

static gboolean find_wire(VfoJob *job, const VfoVmInfo *info, GError **error)
{
    VfoTake *take = vfo_take_of(job);
    const VfoPair *ours = vfo_take_find_ours(info, take->pair);

    if (!ours || !ours->tap) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: standby %s is not on a tap device at the destination", info->name,
                    take->pair->standby);
        return FALSE;
    }
    set(&take->pair->tap, ours->tap);
    set(&take->pair->standby, ours->standby);
    set(&take->offer->pair->standby, ours->standby);
    /* From the pool of a network of libvirt's own, which libvirt takes whatever it likes from. */
    if (take->vf && ours->vf && !g_str_equal(ours->vf, take->vf->pci) &&
        !vfo_take_exchange(job, ours->vf, error))
        return FALSE;
    return vfo_take_find_wire(job, error);
}

static void on_inspected_for_wire(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;
    g_autoptr(VfoVmInfo) info = g_task_propagate_pointer(G_TASK(result), &error);
    gboolean ok = info && find_wire(g_task_get_task_data(task), info, &error);

    vfo_task_return(task, ok, error);
}

static void wire(VfoJob *job, GTask *task)
{
    const VfoTake *take = vfo_take_of(job);

    take->vm->ops->inspect(take->vm, vfo_job_inner_task(job, task, on_inspected_for_wire));
}

/* Nothing tells for certain, and at once, of what hush() is for. */
static void quiet(VfoJob *job, GTask *task)
{
    const Follow *f = vfo_job_context(job);
    GError *error = NULL;

    if (f->base.parts.take.vf && !vfo_take_park(job, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    if (!f->base.parts.take.vf)
        vfo_job_remark(job, VFO_RESULT_SKIPPED, "no VF");
    if (f->wired)
        f->wired(job, f->wired_data);
    vfo_task_done(task);
}

/* ---------------------------------------------------------- configure, open */

static void on_unplugged(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error) && vfo_take_park(job, &error);

    if (ok)
        vfo_take_undo_lease(job, task);
    else
        vfo_task_fail(task, error);
}

static void on_reopened(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error))
        vfo_take_undo_plug(job, vfo_job_inner_task(job, task, on_unplugged));
    else
        vfo_task_fail(task, error);
}

/* QEMU has given the VF to the guest, whether or not it had its settings. It is taken out when the
 * guest has another way. One that stays there keeps them: a primary without them is deaf. */
static void undo_configure(VfoJob *job, GTask *task)
{
    if (!vfo_take_skips(job, task))
        vfo_take_open(job, vfo_job_inner_task(job, task, on_reopened));
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    GError *error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error) && error->domain == VFO_ERROR &&
        vfo_take_of(job)->vf) {
        g_warning("job %s: VM %s: until it uses its VF it is not reached: %s", vfo_job_id(job),
                  vfo_job_vm(job), error->message);
        vfo_job_remark(job, VFO_RESULT_SKIPPED, error->message);
        g_clear_error(&error);
    }
    vfo_task_return(task, error == NULL, error);
}

/* With a VF that comes by itself nothing is won by failing. */
static void open_side(VfoJob *job, GTask *task)
{
    vfo_take_open(job, vfo_job_inner_task(job, task, on_opened));
}

/* ------------------------------------------------------------------ steps */

/*
 * "configure" is first when the VM runs: the guest looks for the VF's address some 100 ms later
 * (and the VF has it since the VM's stop, if the source has told of that, which the undo of
 * "quiet" takes back). Its undo takes the VF out again, which no step has plugged in.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "libvirt to describe the standby", vfo_destination_inspect, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, 0},
    {"lease", "a free VF", vfo_take_choose, VFO_DEADLINE_QUERY, vfo_take_undo_lease,
     VFO_DEADLINE_QUERY, 0},
    {"answer", "the source and libvirt to be told", answer, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"start", "libvirt to start QEMU", start, VFO_DEADLINE_PLUG, VFO_NO_UNDO, VFO_STEP_NEEDS_VF,
     NULL, hush},
    {"wire", "the host to describe the standby's wire", wire, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"quiet", "the VF's parking address", quiet, VFO_DEADLINE_QUERY, vfo_take_undo_configure,
     VFO_DEADLINE_QUERY, 0},
    VFO_RESUME_STEP,
    {"configure", "the VF's address and settings", vfo_take_configure, VFO_DEADLINE_QUERY,
     undo_configure, VFO_DEADLINE_UNPLUG, 0},
    {"open", "the PF's filter, the bridge entry, the announcement", open_side, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, 0},
    {"use", "the guest to receive through the VF", vfo_take_use, VFO_DEADLINE_USE, VFO_NO_UNDO, 0},
    {"shut", "the guest's address to leave the PF", vfo_take_shut, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     0},
    VFO_SETTLE_STEP,
};

VfoJob *vfo_follow_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                   const VfoPolicy *policy)
{
    VfoPolicy patient = vfo_destination_patience(policy);
    VfoJob *job = vfo_job_new(args->offer->job, args->vm->name, host_name, steps,
                              G_N_ELEMENTS(steps), &patient);
    Follow *f = g_new0(Follow, 1);

    vfo_destination_init(&f->base, args);
    f->base.find = find_ours;
    f->base.shows = TRUE;
    f->base.parts.take.needs = !policy->standby_only;
    f->wired = args->wired;
    f->wired_data = args->wired_data;
    vfo_job_set_pair(job, args->offer->pair->standby);
    vfo_job_set_context(job, f, follow_free);
    return job;
}

/* ------------------------------------------------------- without its VF */

static gboolean is_arriving(VfoJob *job)
{
    const VfoTake *take = vfo_take_of(job);

    return take->vm->ops->incoming_began(take->vm);
}

/*
 * The VM that libvirt brings has no VF: it gets one as from vfo_destination_job(), and may do
 * without. Nothing is known of its tap before QEMU is started, and a libvirt that is busy with that
 * may tell of it when the VM runs, and not before.
 */
static const VfoStep bare_steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "the offer to be looked at", vfo_destination_inspect, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, 0},
    {"lease", "a free VF", vfo_take_choose, VFO_DEADLINE_QUERY, vfo_take_undo_lease,
     VFO_DEADLINE_QUERY, 0},
    {"answer", "the source to be told", answer, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"start", "the VM's memory to begin to arrive", start, VFO_DEADLINE_MIGRATE, VFO_NO_UNDO,
     VFO_STEP_NEEDS_VF},
    {"wire", "libvirt to describe the standby", wire, VFO_DEADLINE_MIGRATE, VFO_NO_UNDO, 0,
     is_arriving},
    VFO_ARRIVE_STEPS,
};

VfoJob *vfo_bare_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                 const VfoPolicy *policy)
{
    VfoPolicy patient = vfo_destination_patience(policy);
    VfoJob *job = vfo_job_new(args->offer->job, args->vm->name, host_name, bare_steps,
                              G_N_ELEMENTS(bare_steps), &patient);
    Follow *f = g_new0(Follow, 1);

    vfo_destination_init(&f->base, args);
    f->base.find = vfo_destination_match;
    vfo_job_set_context(job, f, follow_free);
    return job;
}

const char *vfo_follow_destination_vf(VfoJob *job)
{
    const VfoTake *take = vfo_take_of(job);

    return take->vf ? take->vf->pci : NULL;
}

void vfo_follow_destination_yield(VfoJob *job)
{
    const VfoTake *take = vfo_take_of(job);

    if (take->vf)
        vfo_leases_drop(take->leases, take->vf->pci, vfo_job_id(job));
}
