/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFs that come to running domains, and leave them, by others' hands: 'virsh attach-device' and
 * 'detach-device', a guest that releases its VF out of time. libvirt runs no hook for that.
 */
#include "daemon/daemon.h"

/* How long QEMU may take to close a VF that it has given up. */
#define CLOSE_SECONDS 30
#define RESET_SECONDS 30
/* A lease for both: it must stand still when the later of the two has passed. */
#define RETURN_SECONDS (CLOSE_SECONDS + RESET_SECONDS + 10)

struct _VfoPairing {
    VfoPairingArgs args;
    GPtrArray *known;   /* of Known */
    GPtrArray *returns; /* of Return */
};

/* A pair that has been seen with its VF. */
typedef struct {
    char *vm, *standby, *primary;
    VfoVf *vf; /* as it was then */
} Known;

static void known_free(gpointer data)
{
    Known *known = data;

    g_free(known->vm);
    g_free(known->standby);
    g_free(known->primary);
    vfo_vf_free(known->vf);
    g_free(known);
}

static Known *find(VfoPairing *pairing, const char *vm, const char *standby)
{
    for (guint i = 0; i < pairing->known->len; i++) {
        Known *known = g_ptr_array_index(pairing->known, i);

        if (g_str_equal(known->vm, vm) && g_str_equal(known->standby, standby))
            return known;
    }
    return NULL;
}

static void forget(VfoPairing *pairing, const char *vm)
{
    for (guint i = pairing->known->len; i > 0; i--) {
        const Known *known = g_ptr_array_index(pairing->known, i - 1);

        if (g_str_equal(known->vm, vm))
            g_ptr_array_remove_index(pairing->known, i - 1);
    }
}

/* ---------------------------------------------------------------- it comes */

static gboolean set_vf(VfoPairing *pairing, const char *vm, const VfoVf *vf,
                       const VfoVfSettings *settings, GError **error)
{
    VfoHost *host = pairing->args.host;
    g_autofree char *holder = vfo_leases_of_domain(vm);
    gboolean ok = vfo_leases_take(pairing->args.leases, vf->pci, holder, CLOSE_SECONDS, error) &&
                  host->ops->set_vf(host, vf->pci, settings, error);

    vfo_leases_drop(pairing->args.leases, vf->pci, holder);
    return ok;
}

/* The guest's driver looks for the address a moment after QEMU has the VF. One that has another
 * address than its parking address has got it from somebody who wants it so. */
static void on_came(VfoPairing *pairing, VfoVm *vm, const VfoPair *pair)
{
    VfoHost *host = pairing->args.host;
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = host->ops->read_vf(host, pair->vf, NULL);
    g_autoptr(VfoWire) wire = NULL;
    VfoVfSettings settings;
    Known *known;

    if (!vf)
        return;
    known = g_new0(Known, 1);
    known->vm = g_strdup(vm->name);
    known->standby = g_strdup(pair->standby);
    known->primary = g_strdup(pair->primary);
    known->vf = vfo_vf_copy(vf);
    g_ptr_array_add(pairing->known, known);
    vfo_absences_forget(pairing->args.absences, vm->name, pair->standby);
    if (!vfo_vf_is_anybodys(vf))
        return;
    settings = vf->settings;
    settings.mac = pair->mac;
    settings.vlan = VFO_VLAN_ANY;
    wire = pair->tap ? host->ops->find_wire(host, pair->tap, vf, &settings, &error) : NULL;
    settings.vlan = wire ? wire->vlan : vf->settings.vlan;
    settings.vlan_outer = wire ? wire->vlan_outer : vf->settings.vlan_outer;
    g_clear_error(&error);
    if (!set_vf(pairing, vm->name, vf, &settings, &error)) {
        g_warning("VM %s has got VF %s, but the VF cannot get its address: %s", vm->name, vf->pci,
                  error->message);
        return;
    }
    g_message("VM %s has got VF %s at its standby %s%s", vm->name, vf->pci, pair->standby,
              vf->mac_resets ? "; the PF's driver resets it for its address" : "");
    known->vf->settings = settings;
    /* What steers this host's own frames has seen it without. */
    vfo_vm_refresh(vm);
}

/* ---------------------------------------------------------------- it leaves */

/* A VF on its way back to the pool. */
typedef struct {
    VfoPairing *pairing; /* NULL: that has gone as well */
    char *vm, *pci, *holder;
    GCancellable *cancellable;
    guint timer;
} Return;

static gboolean on_deadline(gpointer data)
{
    Return *back = data;

    back->timer = 0;
    g_cancellable_cancel(back->cancellable);
    return G_SOURCE_REMOVE;
}

static void set_deadline(Return *back, guint seconds)
{
    g_clear_handle_id(&back->timer, g_source_remove);
    back->timer = g_timeout_add_seconds(seconds, on_deadline, back);
}

static void return_end(Return *back, GError *error)
{
    VfoPairing *pairing = back->pairing;
    g_autoptr(GError) why = error;

    if (pairing) {
        g_ptr_array_remove(pairing->returns, back);
        if (why) {
            vfo_leases_keep(pairing->args.leases, back->pci, back->holder, back->vm, why);
        } else {
            vfo_leases_returned(pairing->args.leases, back->pci);
            vfo_lending_freed(pairing->args.lending);
        }
    }
    g_clear_handle_id(&back->timer, g_source_remove);
    g_object_unref(back->cancellable);
    g_free(back->vm);
    g_free(back->pci);
    g_free(back->holder);
    g_free(back);
}

static void on_reset(GObject *source, GAsyncResult *result, gpointer data)
{
    GError *error = NULL;

    g_task_propagate_boolean(G_TASK(result), &error);
    return_end(data, error);
}

/* Once more: libvirt puts back what an <interface type='hostdev'> had before. */
static void on_closed(GObject *source, GAsyncResult *result, gpointer data)
{
    Return *back = data;
    VfoHost *host = back->pairing ? back->pairing->args.host : NULL;
    GError *error = NULL;
    g_autoptr(VfoVf) vf = NULL;
    VfoVfSettings parked;

    if (g_task_propagate_boolean(G_TASK(result), &error) && host)
        vf = host->ops->read_vf(host, back->pci, &error);
    if (vf) {
        parked = vfo_vf_parked(vf);
        host->ops->set_vf(host, back->pci, &parked, &error);
    }
    if (error || !vf) {
        return_end(back, error);
        return;
    }
    set_deadline(back, RESET_SECONDS);
    host->ops->reset_vf(host, back->pci, g_task_new(NULL, back->cancellable, on_reset, back));
}

static void give_back(VfoPairing *pairing, const char *vm, const VfoVf *vf)
{
    VfoHost *host = pairing->args.host;
    VfoVfSettings parked = vfo_vf_parked(vf);
    g_autofree char *holder = vfo_leases_of_domain(vm);
    g_autoptr(GError) error = NULL;
    Return *back;

    if (!vfo_leases_take(pairing->args.leases, vf->pci, holder, RETURN_SECONDS, &error) ||
        !host->ops->set_vf(host, vf->pci, &parked, &error)) {
        vfo_leases_keep(pairing->args.leases, vf->pci, holder, vm, error);
        return;
    }
    back = g_new0(Return, 1);
    back->pairing = pairing;
    back->vm = g_strdup(vm);
    back->pci = g_strdup(vf->pci);
    back->holder = g_steal_pointer(&holder);
    back->cancellable = g_cancellable_new();
    g_ptr_array_add(pairing->returns, back);
    set_deadline(back, CLOSE_SECONDS);
    host->ops->closed_vf(host, vf->pci, g_task_new(NULL, back->cancellable, on_closed, back));
}

/* The guest is on its standby: that is its way from now on, until it has a VF again or goes. */
static void open_standby(VfoPairing *pairing, const VfoVmInfo *info, const VfoPair *pair,
                         const VfoVf *vf)
{
    VfoHost *host = pairing->args.host;
    g_autofree char *no_job = g_uuid_string_random();
    g_autoptr(GError) error = NULL;
    VfoOffer offer = {.job = no_job,
                      .vm = info->name,
                      .machine = info->machine,
                      .pair = (VfoPair *)pair,
                      .network = vf->network,
                      .settings = vf->settings,
                      .vendor = vf->vendor,
                      .device = vf->device,
                      .mtu = vf->mtu};
    VfoWire *wire =
        pair->tap ? host->ops->find_wire(host, pair->tap, vf, &vf->settings, &error) : NULL;

    vfo_absences_note(pairing->args.absences, &offer, FALSE);
    if (wire && host->ops->open_pf(host, wire, &error))
        host->ops->announce(host, wire, &error);
    if (error || !wire)
        g_warning("VM %s has lost its VF %s, but frames for its standby may not reach it: %s",
                  info->name, vf->pci, error ? error->message : "it is on no tap");
    if (wire)
        vfo_absences_keep(pairing->args.absences, info->name, pair->standby, wire);
}

static void on_left(VfoPairing *pairing, const VfoVmInfo *info, const VfoPair *pair,
                    const Known *known)
{
    const VfoVf *vf = known->vf;
    g_autoptr(VfoPair) had = vfo_pair_copy(pair);

    /* Somebody else's by now. */
    if (vfo_leases_holder(pairing->args.leases, vf->pci))
        return;
    g_message("VF %s has left VM %s, which goes on on its standby %s", vf->pci, info->name,
              pair->standby);
    /* QEMU takes the next one by that id alone. */
    g_free(had->primary);
    had->primary = g_strdup(known->primary);
    give_back(pairing, info->name, vf);
    open_standby(pairing, info, had, vf);
}

/* -------------------------------------------------------------------- look */

static void look(VfoPairing *pairing, VfoVm *vm, const VfoVmInfo *info, const VfoPair *pair)
{
    Known *known = find(pairing, vm->name, pair->standby);

    if (known && g_strcmp0(known->vf->pci, pair->vf) == 0)
        return;
    if (known) {
        if (!pair->vf)
            on_left(pairing, info, pair, known);
        g_ptr_array_remove(pairing->known, known);
    }
    if (pair->vf)
        on_came(pairing, vm, pair);
}

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoPairing *pairing = data;
    const VfoVmInfo *info = vfo_vm_cached(vm);

    if (!vfo_vm_is_libvirts(vm) || vfo_jobs_of_vm(pairing->args.jobs, vm->name))
        return;
    if (!g_str_equal(info->status, "running") && !g_str_equal(info->status, "paused"))
        return;
    for (guint i = 0; i < info->pairs->len; i++)
        look(pairing, vm, info, g_ptr_array_index(info->pairs, i));
}

static void on_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    forget(data, vm->name);
}

/* What a job does to a VM's VF is its own; the VM is looked at anew when it has ended. */
static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    forget(data, vfo_job_vm(job));
    if (vfo_job_from(job))
        forget(data, vfo_job_from(job));
}

VfoPairing *vfo_pairing_new(const VfoPairingArgs *args)
{
    VfoPairing *pairing = g_new0(VfoPairing, 1);

    pairing->args = *args;
    pairing->known = g_ptr_array_new_with_free_func(known_free);
    pairing->returns = g_ptr_array_new();
    g_signal_connect(args->vms, "inspected", G_CALLBACK(on_inspected), pairing);
    g_signal_connect(args->vms, "removed", G_CALLBACK(on_removed), pairing);
    g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), pairing);
    return pairing;
}

void vfo_pairing_free(VfoPairing *pairing)
{
    if (!pairing)
        return;
    g_signal_handlers_disconnect_by_data(pairing->args.vms, pairing);
    g_signal_handlers_disconnect_by_data(pairing->args.jobs, pairing);
    for (guint i = 0; i < pairing->returns->len; i++) {
        Return *back = g_ptr_array_index(pairing->returns, i);

        back->pairing = NULL;
        g_cancellable_cancel(back->cancellable);
    }
    g_ptr_array_unref(pairing->returns);
    g_ptr_array_unref(pairing->known);
    g_free(pairing);
}
