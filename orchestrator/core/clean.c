/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a VF back to its pool when no job has steps for it.
 */
#include "core/core.h"

typedef struct {
    VfoHost *host;
    VfoLeases *leases;
    VfoVf *vf;
    char *holder;
    GTask *task;
} Clean;

/* @error: transfer full. */
static void finish(Clean *clean, gboolean ok, GError *error)
{
    vfo_task_return(clean->task, ok, error);
    vfo_vf_free(clean->vf);
    g_free(clean->holder);
    g_free(clean);
}

static gboolean park(Clean *clean, GError **error)
{
    VfoVfSettings parked = vfo_vf_parked(clean->vf);

    return vfo_leases_check(clean->leases, clean->vf->pci, clean->holder, error) &&
           clean->host->ops->set_vf(clean->host, clean->vf->pci, &parked, error);
}

static void on_reset(GObject *source, GAsyncResult *result, gpointer data)
{
    Clean *clean = data;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    if (ok)
        vfo_leases_returned(clean->leases, clean->vf->pci);
    finish(clean, ok, error);
}

static void on_closed(GObject *source, GAsyncResult *result, gpointer data)
{
    Clean *clean = data;
    GError *error = NULL;

    /* Whoever had it open may have put an address back at the end. */
    if (!g_task_propagate_boolean(G_TASK(result), &error) || !park(clean, &error)) {
        finish(clean, FALSE, error);
        return;
    }
    clean->host->ops->reset_vf(
        clean->host, clean->vf->pci,
        g_task_new(NULL, g_task_get_cancellable(clean->task), on_reset, clean));
}

void vfo_clean_vf(VfoHost *host, VfoLeases *leases, const VfoVf *vf, const char *holder,
                  GTask *task)
{
    Clean *clean = g_new0(Clean, 1);
    g_autoptr(GError) error = NULL;

    clean->host = host;
    clean->leases = leases;
    clean->vf = vfo_vf_copy(vf);
    clean->holder = g_strdup(holder);
    clean->task = task;
    if (!park(clean, &error))
        g_debug("%s: %s (to be tried again when nobody has it open)", holder, error->message);
    host->ops->closed_vf(host, vf->pci,
                         g_task_new(NULL, g_task_get_cancellable(task), on_closed, clean));
}
