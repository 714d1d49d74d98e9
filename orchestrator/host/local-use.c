/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/group.h"
#include "host/host-private.h"
#include "host/link.h"
#include "host/pci.h"
#include "host/poll.h"
#include "host/vf.h"

#define CLOSED_EVERY_MS 5
/* Until it is noticed both sides deliver, and the guest gets frames twice. */
#define USED_EVERY_MS 10
/* The counters of a PF are part of a message about all of its VFs: not at each look. */
#define ACTIVE_EVERY 5

typedef struct {
    VfoLocalHost *host;
    char *pci;
    VfoPlace place;
    int group;
    const VfoQuirks *quirks;
    guint ticks;
    guint64 since;
} Watch;

static void watch_free(gpointer data)
{
    Watch *watch = data;

    vfo_place_clear(&watch->place);
    g_free(watch->pci);
    g_free(watch);
}

/* What to poll of the VF, until @task ends; NULL: it has failed. */
static Watch *watch_new(VfoLocalHost *host, const char *pci, GTask *task)
{
    Watch *watch = g_new0(Watch, 1);
    GError *error = NULL;

    watch->host = host;
    watch->pci = g_strdup(pci);
    if (vfo_place_find(host, pci, &watch->place, &error))
        return watch;
    vfo_task_fail(task, error);
    watch_free(watch);
    return NULL;
}

static gboolean is_closed(gpointer data, GError **error)
{
    Watch *watch = data;
    VfoGroupUse use;
    gboolean known;

    vfo_stopwatch_begin_outside();
    known = vfo_group_use(watch->host->dev, watch->group, &use, error);
    vfo_stopwatch_end_outside();
    return known && use != VFO_GROUP_OPEN;
}

/*
 * Polled: vfio tells nobody that a group is free again. inotify tells of the close
 * before the kernel has released the group (__fput() in fs/file_table.c), so that a poll
 * would have to follow it anyway.
 */
void vfo_local_closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    Watch *watch = watch_new(host, pci, task);
    g_autofree char *driver = NULL;

    if (!watch)
        return;
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pci);
    watch->group = g_strcmp0(driver, "vfio-pci") == 0 ? vfo_pci_iommu_group(host->sysfs, pci) : -1;
    vfo_stopwatch_end_outside();
    vfo_poll(task, CLOSED_EVERY_MS, is_closed, watch, watch_free);
}

static gboolean is_there(VfoLocalHost *host, const VfoPlace *place, const char *pci, GError **error)
{
    g_autofree char *now = NULL;

    vfo_stopwatch_begin_outside();
    now = vfo_pci_vf(host->sysfs, place->pf_pci, place->index);
    vfo_stopwatch_end_outside();
    if (g_strcmp0(now, pci) == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "VF %s is gone: its PF %s no longer lists it as number %u", pci, place->pf,
                place->index);
    return FALSE;
}

/*
 * What the PF counts for the VF, and the interrupts that the VF has delivered. vfio
 * asks for a vector when the guest's driver enables it, so that an
 * interrupt through one means that the driver is up and the VF works; some PFs count nothing
 * for their VFs (igb).
 */
static gboolean read_activity(VfoLocalHost *host, const VfoPlace *place, const char *pci,
                              guint64 *activity, GError **error)
{
    VfoLink ignored;
    const VfoVfState *state;
    g_autoptr(GArray) states = NULL;

    *activity = 0;
    if (vfo_local_quirks(host, place->pf_pci)->no_vf_counters) {
        if (!is_there(host, place, pci, error))
            return FALSE;
    } else {
        states = vfo_vf_read(host->netlink, place->pf, place->index, TRUE, &ignored, &state, error);
        if (!states)
            return FALSE;
        *activity = state->packets;
    }
    vfo_stopwatch_begin_outside();
    *activity += vfo_pci_interrupts(host->sysfs, pci);
    vfo_stopwatch_end_outside();
    return TRUE;
}

gboolean vfo_local_activity_vf(VfoHost *base, const char *pci, guint64 *activity, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_auto(VfoPlace) place = {0};

    return vfo_place_find(host, pci, &place, error) &&
           read_activity(host, &place, pci, activity, error);
}

static gboolean is_active(Watch *watch, GError **error)
{
    guint64 activity;

    if (!read_activity(watch->host, &watch->place, watch->pci, &activity, error))
        return FALSE;
    if (activity > watch->since)
        return TRUE;
    /* A vector that is freed takes its count along: growth counts from there. */
    watch->since = activity;
    return FALSE;
}

static gboolean is_used(gpointer data, GError **error)
{
    Watch *watch = data;
    g_autofree char *irq = NULL;

    if (watch->quirks->ready_vector >= 0) {
        vfo_stopwatch_begin_outside();
        irq = vfo_pci_irq(watch->host->sysfs, watch->pci, (guint)watch->quirks->ready_vector);
        vfo_stopwatch_end_outside();
    }
    return irq || (watch->ticks++ % ACTIVE_EVERY == 0 && is_active(watch, error));
}

/* Polled: neither a counter's nor an interrupt's first step is an event for anybody. */
void vfo_local_used_vf(VfoHost *base, const char *pci, guint64 since, GTask *task)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    Watch *watch = watch_new(host, pci, task);

    if (!watch)
        return;
    watch->quirks = vfo_local_quirks(host, watch->place.pf_pci);
    watch->since = since;
    vfo_poll(task, USED_EVERY_MS, is_used, watch, watch_free);
}
