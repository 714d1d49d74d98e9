/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a guest is reached, told to the network.
 */
#include "core/parts.h"

typedef struct {
    VfoHost *host;
    const VfoWire *wire; /* the job's, which lives as long as its step */
    GTask *task;
} Announcement;

/* What QEMU sends has no tag. */
static void announce_trunk(const Announcement *announcement)
{
    g_autoptr(GError) error = NULL;

    if (!announcement->host->ops->announce(announcement->host, announcement->wire, &error))
        g_message("%s", error->message);
}

static void on_announced(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Announcement *announcement = data;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    /* libvirt has no call for it, and QEMU's own command would taint the domain. */
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED)) {
        g_clear_error(&error);
        ok = announcement->host->ops->announce(announcement->host, announcement->wire, &error);
    } else if (ok && announcement->wire->trunk) {
        announce_trunk(announcement);
    }
    vfo_task_return(announcement->task, ok, error);
}

void vfo_announce_guest(VfoVm *vm, VfoHost *host, const VfoPair *pair, const VfoWire *wire,
                        GTask *task)
{
    Announcement *announcement = g_new(Announcement, 1);

    *announcement = (Announcement){host, wire, task};
    vm->ops->announce(vm, pair,
                      g_task_new(NULL, g_task_get_cancellable(task), on_announced, announcement));
}
