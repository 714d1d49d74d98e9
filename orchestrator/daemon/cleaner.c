/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VFs that a VM has left and that could not be cleaned (vfo_leases_keep()): that is tried again,
 * until it succeeds.
 */
#include "daemon/daemon.h"

/* Of a lease: no job or VM is called so. */
#define HOLDER        "the cleaner"
#define AGAIN_SECONDS 60
/* For one try: QEMU closes the VF, the VF comes back from its reset. */
#define TRY_SECONDS 30

struct _VfoCleaner {
    VfoCleanerArgs args;
    GPtrArray *tries; /* of Try, under way */
    guint timer;
    gulong changed_handler;
};

typedef struct {
    VfoCleaner *cleaner; /* NULL: that has gone */
    char *pci, *vm;
    GCancellable *cancellable;
    guint timer;
} Try;

/* --------------------------------------------------------------------- try */

static gboolean on_deadline(gpointer data)
{
    Try *now = data;

    now->timer = 0;
    g_cancellable_cancel(now->cancellable);
    return G_SOURCE_REMOVE;
}

static void take_result(const Try *now, const GError *error)
{
    VfoCleaner *cleaner = now->cleaner;

    if (error) {
        vfo_leases_keep(cleaner->args.leases, now->pci, HOLDER, now->vm, error);
        return;
    }
    g_message("VF %s, which VM %s had, is clean now: it is parked, reset and free", now->pci,
              now->vm);
    vfo_lending_freed(cleaner->args.lending);
}

static void on_cleaned(GObject *source, GAsyncResult *result, gpointer data)
{
    Try *now = data;
    g_autoptr(GError) error = NULL;

    g_task_propagate_boolean(G_TASK(result), &error);
    if (now->cleaner) {
        g_ptr_array_remove(now->cleaner->tries, now);
        take_result(now, error);
    }
    g_clear_handle_id(&now->timer, g_source_remove);
    g_object_unref(now->cancellable);
    g_free(now->pci);
    g_free(now->vm);
    g_free(now);
}

/* A VM has it, or somebody else may. One that is a VM's with the address that it should have is
 * where it belongs, whatever became of it before; and one that a driver of the host has taken,
 * which has reset it, has no VM's address. */
static gboolean is_somebodys(VfoCleaner *cleaner, const VfoVf *vf)
{
    g_autoptr(GPtrArray) vms = vfo_vms_list(cleaner->args.vms);
    gboolean is_hosts = vf->driver && !g_str_equal(vf->driver, "vfio-pci");
    VfoVm *owner;
    const VfoPair *pair = vfo_inventory_owner(vms, vf->pci, &owner);

    if ((pair && vfo_mac_equal(&pair->mac, &vf->settings.mac)) ||
        (is_hosts && vfo_vf_is_anybodys(vf)))
        vfo_leases_unkeep(cleaner->args.leases, vf->pci);
    return owner || vf->opened || is_hosts;
}

static void try_one(VfoCleaner *cleaner, const char *pci, const char *vm)
{
    VfoHost *host = cleaner->args.host;
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = NULL;
    Try *now;

    /* Its VM's own, as that is about to have it again, or a try that is under way. */
    if (vfo_leases_holder(cleaner->args.leases, pci))
        return;
    vf = host->ops->read_vf(host, pci, &error);
    if (!vf)
        g_debug("VF %s cannot be cleaned: %s", pci, error->message);
    if (!vf || is_somebodys(cleaner, vf) ||
        !vfo_leases_take(cleaner->args.leases, pci, HOLDER, 2 * TRY_SECONDS, NULL))
        return;
    now = g_new0(Try, 1);
    now->cleaner = cleaner;
    now->pci = g_strdup(pci);
    now->vm = g_strdup(vm);
    now->cancellable = g_cancellable_new();
    now->timer = g_timeout_add_seconds(TRY_SECONDS, on_deadline, now);
    g_ptr_array_add(cleaner->tries, now);
    vfo_clean_vf(host, cleaner->args.leases, vf, HOLDER,
                 g_task_new(NULL, now->cancellable, on_cleaned, now));
}

void vfo_cleaner_try(VfoCleaner *cleaner)
{
    g_autoptr(GHashTable) kept = vfo_leases_kept(cleaner->args.leases);
    GHashTableIter iter;
    gpointer pci, vm;

    g_hash_table_iter_init(&iter, kept);
    while (g_hash_table_iter_next(&iter, &pci, &vm))
        try_one(cleaner, pci, vm);
}

/* ---------------------------------------------------------------- lifetime */

static gboolean on_timer(gpointer data)
{
    vfo_cleaner_try(data);
    return G_SOURCE_CONTINUE;
}

/* A job drops the leases of what it leaves as it should be. */
static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoCleaner *cleaner = data;
    VfoLeases *leases = cleaner->args.leases;
    g_autoptr(GPtrArray) left = NULL;
    g_autoptr(GError) why = NULL;

    if (record || !vfo_job_ended(job))
        return;
    left = vfo_leases_held(leases, vfo_job_id(job));
    why = g_error_new(VFO_ERROR, VFO_ERROR_FAILED,
                      "job %s has left it as it is (see 'vfailover job %.8s')", vfo_job_id(job),
                      vfo_job_id(job));
    for (guint i = 0; i < left->len; i++)
        vfo_leases_keep(leases, g_ptr_array_index(left, i), vfo_job_id(job), vfo_job_vm(job), why);
}

VfoCleaner *vfo_cleaner_new(const VfoCleanerArgs *args)
{
    VfoCleaner *cleaner = g_new0(VfoCleaner, 1);

    cleaner->args = *args;
    cleaner->tries = g_ptr_array_new();
    cleaner->timer = g_timeout_add_seconds(AGAIN_SECONDS, on_timer, cleaner);
    cleaner->changed_handler =
        g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), cleaner);
    return cleaner;
}

void vfo_cleaner_free(VfoCleaner *cleaner)
{
    if (!cleaner)
        return;
    for (guint i = 0; i < cleaner->tries->len; i++) {
        Try *now = g_ptr_array_index(cleaner->tries, i);

        now->cleaner = NULL;
        g_cancellable_cancel(now->cancellable);
    }
    g_ptr_array_unref(cleaner->tries);
    g_signal_handler_disconnect(cleaner->args.jobs, cleaner->changed_handler);
    g_source_remove(cleaner->timer);
    g_free(cleaner);
}
