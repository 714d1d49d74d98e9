/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon does when VFs come, go and change without its doing.
 */
#include "daemon/daemon.h"

/* How long QEMU may take to end, once its socket has gone. */
#define EXIT_SECONDS 30
/* The name under which an address is put back. */
#define GUARD "guest-mac"

struct _VfoInventory {
    VfoInventoryArgs args;
    GHashTable *pfs;  /* char * -> whether it is usable, of the PFs that were told of */
    GPtrArray *exits; /* of Exit */
    gulong removed_handler;
};

static const VfoPair *find_vf(const GPtrArray *pairs, const char *pci)
{
    for (guint i = 0; pairs && i < pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(pairs, i);

        if (g_strcmp0(pair->vf, pci) == 0)
            return pair;
    }
    return NULL;
}

const VfoPair *vfo_inventory_owner(GPtrArray *vms, const char *pci, VfoVm **owner)
{
    for (guint i = 0; i < vms->len; i++) {
        VfoVm *vm = g_ptr_array_index(vms, i);
        const VfoVmInfo *info = vfo_vm_cached(vm);
        const VfoPair *pair = info ? find_vf(info->pairs, pci) : NULL;

        if (!pair && (!info || !find_vf(info->halves, pci)))
            continue;
        *owner = vm;
        return pair;
    }
    *owner = NULL;
    return NULL;
}

gboolean vfo_inventory_owned(const VfoVf *vf, const char *vm, gpointer vms)
{
    g_autoptr(GPtrArray) list = vfo_vms_list(vms);

    for (guint i = 0; i < list->len; i++) {
        VfoVm *other = g_ptr_array_index(list, i);
        const VfoVmInfo *info = vfo_vm_cached(other);
        const VfoPair *pair = info ? find_vf(info->pairs, vf->pci) : NULL;

        if (pair && g_strcmp0(other->name, vm) != 0 && vfo_mac_equal(&pair->mac, &vf->settings.mac))
            return TRUE;
    }
    return FALSE;
}

/* ------------------------------------------------------------ come and go */

static void on_gone(VfoInventory *inventory, const VfoVf *vf)
{
    VfoLeases *leases = inventory->args.leases;
    g_autofree char *holder = g_strdup(vfo_leases_holder(leases, vf->pci));
    g_autoptr(GError) why = NULL;
    VfoJob *job;

    g_message("VF %s, number %u of PF %s, network %s, is gone", vf->pci, vf->index, vf->pf,
              vf->network);
    vfo_leases_gone(leases, vf->pci);
    job = holder ? vfo_jobs_find(inventory->args.jobs, holder, NULL) : NULL;
    if (!job)
        return;
    why = g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND,
                      "VM %s: VF %s of PF %s went away while the job had it (was the PF's "
                      "sriov_numvfs changed?)",
                      vfo_job_vm(job), vf->pci, vf->pf);
    if (!vfo_job_lost_vf(job, why))
        g_warning("job %s: %s; the job goes on", holder, why->message);
}

static void note_pf(VfoInventory *inventory, const VfoVf *vf)
{
    gpointer known;
    gboolean is_known = g_hash_table_lookup_extended(inventory->pfs, vf->pf, NULL, &known);

    if (is_known && GPOINTER_TO_INT(known) == vf->usable)
        return;
    g_hash_table_insert(inventory->pfs, g_strdup(vf->pf), GINT_TO_POINTER(vf->usable));
    if (vf->usable)
        g_message("PF %s of network %s is up and has a carrier", vf->pf, vf->network);
    else
        g_warning("PF %s of network %s is down or has no carrier: no VM gets one of its VFs if "
                  "there are others",
                  vf->pf, vf->network);
}

static gboolean may_be_free(const VfoVf *vf)
{
    return vf->usable && g_strcmp0(vf->driver, "vfio-pci") == 0;
}

/* --------------------------------------------------------------- authority */

/* No change without a lease. */
static gboolean put_back(VfoInventory *inventory, const VfoVf *before, const VfoVf *now,
                         GError **error)
{
    VfoHost *host = inventory->args.host;
    VfoVfSettings settings = now->settings;
    gboolean ok;

    settings.mac = before->settings.mac;
    if (!vfo_leases_take(inventory->args.leases, now->pci, GUARD, 1, error))
        return FALSE;
    ok = host->ops->set_vf(host, now->pci, &settings, error);
    vfo_leases_drop(inventory->args.leases, now->pci, GUARD);
    return ok;
}

/*
 * The PF's driver has let it happen: the guest is trusted, or it was somebody on this host. A guest
 * whose VF and standby have different addresses cannot pair them any more.
 */
static void on_foreign_mac(VfoInventory *inventory, const VfoVf *before, const VfoVf *now,
                           const VfoVm *vm)
{
    char old_mac[VFO_MAC_STRLEN], new_mac[VFO_MAC_STRLEN];
    const char *who = now->settings.trust ? "its guest, which is trusted, or somebody on this host"
                                          : "somebody on this host";
    g_autoptr(GError) error = NULL;

    vfo_mac_format(&before->settings.mac, old_mac);
    vfo_mac_format(&now->settings.mac, new_mac);
    if (inventory->args.config->guest_mac == VFO_GUEST_MAC_LOG)
        g_warning("VM %s: the MAC of its VF %s was changed from %s to %s by %s; with 'guest-mac = "
                  "log' that is left so, but the VM cannot be handed over",
                  vm->name, now->pci, old_mac, new_mac, who);
    else if (put_back(inventory, before, now, &error))
        g_warning("VM %s: the MAC of its VF %s was changed from %s to %s by %s; it was put back%s",
                  vm->name, now->pci, old_mac, new_mac, who,
                  now->mac_resets
                      ? ", for which the PF's driver resets the VF: the guest loses its "
                        "link for a moment"
                      : "");
    else
        g_warning("VM %s: the MAC of its VF %s was changed from %s to %s by %s, and cannot be put "
                  "back: %s",
                  vm->name, now->pci, old_mac, new_mac, who, error->message);
}

/* A QEMU that has just ended may still be listed; what others do with its VF then is their affair.
 */
static gboolean is_open(VfoInventory *inventory, const VfoVf *vf)
{
    VfoHost *host = inventory->args.host;
    g_autoptr(VfoVf) now = host->ops->read_vf(host, vf->pci, NULL);

    return now && now->opened;
}

static void on_foreign_change(VfoInventory *inventory, const VfoVf *before, const VfoVf *now)
{
    g_autoptr(GPtrArray) vms = NULL;
    const VfoPair *pair;
    VfoVm *vm;

    vms = vfo_vms_list(inventory->args.vms);
    pair = vfo_inventory_owner(vms, now->pci, &vm);
    if (pair && !vfo_mac_equal(&before->settings.mac, &now->settings.mac) &&
        vfo_mac_equal(&before->settings.mac, &pair->mac) && is_open(inventory, now))
        on_foreign_mac(inventory, before, now, vm);
    else
        g_message("somebody on this host has changed the settings of VF %s, number %u of PF %s%s%s",
                  now->pci, now->index, now->pf, vm ? ", which VM " : "", vm ? vm->name : "");
}

/* What somebody does to a leased VF is its job's affair, and may be hidden in the same look as what
 * that job has done. */
static void on_settings(VfoInventory *inventory, const VfoVf *before, const VfoVf *now,
                        gboolean ours)
{
    g_autofree char *holder = g_strdup(vfo_leases_holder(inventory->args.leases, now->pci));
    VfoJob *job = holder ? vfo_jobs_find(inventory->args.jobs, holder, NULL) : NULL;

    if (job)
        vfo_job_vf_changed(job, now);
    else if (!holder && !ours)
        on_foreign_change(inventory, before, now);
}

void vfo_inventory_on_change(VfoHost *host, const VfoVf *before, const VfoVf *now, gboolean ours,
                             gpointer data)
{
    VfoInventory *inventory = data;

    if (!now) {
        on_gone(inventory, before);
        return;
    }
    note_pf(inventory, now);
    if (!before)
        g_message("VF %s, number %u of PF %s, network %s, is there, with driver %s", now->pci,
                  now->index, now->pf, now->network, now->driver ? now->driver : "none");
    else if (g_strcmp0(before->driver, now->driver) != 0)
        g_message("VF %s has driver %s now", now->pci, now->driver ? now->driver : "none");
    if (before && !vfo_vf_settings_equal(&before->settings, &now->settings))
        on_settings(inventory, before, now, ours);
    if (may_be_free(now) && (!before || !may_be_free(before)))
        vfo_lending_freed(inventory->args.lending);
}

/* ------------------------------------------------------------- QEMU's end */

/* A QEMU that ends gives its VF free a moment after its socket has gone. */
typedef struct {
    VfoInventory *inventory; /* NULL: it has gone as well */
    GCancellable *cancellable;
    guint timer;
} Exit;

static gboolean on_exit_deadline(gpointer data)
{
    Exit *exit = data;

    exit->timer = 0;
    g_cancellable_cancel(exit->cancellable);
    return G_SOURCE_REMOVE;
}

static void on_closed(GObject *source, GAsyncResult *result, gpointer data)
{
    Exit *exit = data;
    gboolean closed = g_task_propagate_boolean(G_TASK(result), NULL);

    if (exit->inventory) {
        g_ptr_array_remove(exit->inventory->exits, exit);
        if (closed)
            vfo_lending_freed(exit->inventory->args.lending);
    }
    g_clear_handle_id(&exit->timer, g_source_remove);
    g_object_unref(exit->cancellable);
    g_free(exit);
}

static void on_vm_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoInventory *inventory = data;
    VfoHost *host = inventory->args.host;
    const VfoVmInfo *info = vfo_vm_cached(vm);

    for (guint i = 0; info && i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);
        Exit *exit;

        if (!pair->vf)
            continue;
        exit = g_new0(Exit, 1);
        exit->inventory = inventory;
        exit->cancellable = g_cancellable_new();
        exit->timer = g_timeout_add_seconds(EXIT_SECONDS, on_exit_deadline, exit);
        g_ptr_array_add(inventory->exits, exit);
        host->ops->closed_vf(host, pair->vf, g_task_new(NULL, exit->cancellable, on_closed, exit));
    }
}

VfoInventory *vfo_inventory_new(const VfoInventoryArgs *args)
{
    VfoInventory *inventory = g_new0(VfoInventory, 1);

    inventory->args = *args;
    inventory->pfs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    inventory->exits = g_ptr_array_new();
    inventory->removed_handler =
        g_signal_connect(args->vms, "removed", G_CALLBACK(on_vm_removed), inventory);
    return inventory;
}

void vfo_inventory_free(VfoInventory *inventory)
{
    if (!inventory)
        return;
    g_signal_handler_disconnect(inventory->args.vms, inventory->removed_handler);
    for (guint i = 0; i < inventory->exits->len; i++) {
        Exit *exit = g_ptr_array_index(inventory->exits, i);

        exit->inventory = NULL;
        g_cancellable_cancel(exit->cancellable);
    }
    g_ptr_array_unref(inventory->exits);
    g_hash_table_unref(inventory->pfs);
    g_free(inventory);
}
