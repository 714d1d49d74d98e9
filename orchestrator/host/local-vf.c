/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <unistd.h>

#include "host/devlink.h"
#include "host/group.h"
#include "host/host-private.h"
#include "host/link.h"
#include "host/pci.h"
#include "host/vf.h"

/* Keeps @states (reference taken), NULL: nothing, of @pf until it is read again. */
static void remember(VfoLocalHost *host, const char *pf, GArray *states)
{
    if (states)
        g_hash_table_replace(host->known, g_strdup(pf), g_array_ref(states));
    else
        g_hash_table_remove(host->known, pf);
}

static const VfoVfSettings *known_settings(VfoLocalHost *host, const VfoPlace *place)
{
    const GArray *states = g_hash_table_lookup(host->known, place->pf);
    const VfoVfState *state = states ? vfo_vf_find(states, place->index) : NULL;

    return state ? &state->settings : NULL;
}

const VfoQuirks *vfo_local_quirks(VfoLocalHost *host, const char *pf_pci)
{
    g_autofree char *driver = NULL;

    if (!pf_pci)
        return vfo_quirks_of(NULL, NULL);
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pf_pci);
    vfo_stopwatch_end_outside();
    return vfo_quirks_of(host->quirks, driver);
}

/* Of which VFs it is found out whether somebody has them open. A probe could get in the way of a
 * QEMU that is about to open one. */
typedef enum { PROBE_NONE, PROBE_UNLEASED, PROBE_ALL } Probe;

/* What sysfs, vfio and the leases know of a VF, whose PF's driver has @quirks. */
static VfoVf *describe_vf(VfoLocalHost *host, const VfoPlace *place, const VfoQuirks *quirks,
                          const VfoLink *pf, const char *pci, Probe probe, const VfoVfState *state,
                          GError **error)
{
    g_autoptr(VfoVf) vf = g_new0(VfoVf, 1);
    VfoGroupUse use = VFO_GROUP_NONE;
    gboolean known = TRUE;

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup(place->pf);
    vf->network = g_strdup(place->network->name);
    vf->index = place->index;
    vf->generation = vfo_leases_generation(host->leases, pci);
    vfo_mac_parking(&pf->mac, place->index, &vf->parking);
    vf->settings = state->settings;
    vf->usable = pf->up && pf->carrier;
    vf->mtu = pf->mtu;
    vf->quarantine = quirks->quarantine;
    vf->mac_resets = quirks->mac_resets_vf;
    vfo_stopwatch_begin_outside();
    vf->driver = vfo_pci_driver(host->sysfs, pci);
    vf->iommu_group = vfo_pci_iommu_group(host->sysfs, pci);
    vf->numa_node = vfo_pci_numa_node(host->sysfs, pci);
    vfo_pci_ids(host->sysfs, pci, &vf->vendor, &vf->device);
    if (probe != PROBE_NONE && g_strcmp0(vf->driver, "vfio-pci") == 0) {
        /* QEMU may be about to open it for the job. */
        if (probe != PROBE_ALL && vfo_leases_holder(host->leases, pci))
            use = VFO_GROUP_OPEN;
        else
            known = vfo_group_use(host->dev, vf->iommu_group, &use, error);
    }
    vfo_stopwatch_end_outside();
    if (!known)
        return NULL;
    vf->opened = use == VFO_GROUP_OPEN;
    return g_steal_pointer(&vf);
}

VfoVf *vfo_local_read_vf(VfoHost *base, const char *pci, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_auto(VfoPlace) place = {0};
    g_autoptr(GArray) states = NULL;
    const VfoVfState *state;
    VfoLink pf;

    if (!vfo_place_find(host, pci, &place, error))
        return NULL;
    states = vfo_vf_read(host->netlink, place.pf, place.index, FALSE, &pf, &state, error);
    remember(host, place.pf, states);
    return states ? describe_vf(host, &place, vfo_local_quirks(host, place.pf_pci), &pf, pci,
                                PROBE_ALL, state, error)
                  : NULL;
}

static gboolean list_pf(VfoLocalHost *host, const VfoNetwork *network, const char *pf, Probe probe,
                        GPtrArray *vfs, GError **error)
{
    g_auto(VfoPlace) place = {.network = network, .pf = pf};
    g_autoptr(GArray) states = NULL;
    const VfoQuirks *quirks;
    VfoLink link;

    vfo_stopwatch_begin_outside();
    place.pf_pci = vfo_pci_of_interface(host->sysfs, pf, error);
    vfo_stopwatch_end_outside();
    if (!place.pf_pci)
        return FALSE;
    states = vfo_vf_states(host->netlink, pf, FALSE, &link, error);
    if (!states)
        return FALSE;
    remember(host, pf, states);
    quirks = vfo_local_quirks(host, place.pf_pci);
    for (guint i = 0; i < states->len; i++) {
        const VfoVfState *state = &g_array_index(states, VfoVfState, i);
        g_autofree char *pci = NULL;
        VfoVf *vf;

        vfo_stopwatch_begin_outside();
        pci = vfo_pci_vf(host->sysfs, place.pf_pci, state->index);
        vfo_stopwatch_end_outside();
        /* The VFs are being switched off, or on. */
        if (!pci)
            continue;
        place.index = state->index;
        vf = describe_vf(host, &place, quirks, &link, pci, probe, state, error);
        if (!vf)
            return FALSE;
        g_ptr_array_add(vfs, vf);
    }
    return TRUE;
}

gboolean vfo_local_read_for_pool(const VfoNetwork *network, const char *pf, GPtrArray *vfs,
                                 gpointer data, GError **error)
{
    return list_pf(data, network, pf, PROBE_NONE, vfs, error);
}

GPtrArray *vfo_local_list_vfs(VfoHost *base, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_autoptr(GPtrArray) vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    g_autoptr(GError) failure = NULL;
    gboolean any = FALSE;

    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        for (char **pf = network->pfs; *pf; pf++) {
            g_autoptr(GError) own = NULL;

            if (list_pf(host, network, *pf, PROBE_UNLEASED, vfs, &own)) {
                any = TRUE;
                continue;
            }
            /* One dead card does not take the VFs of the others out of service. */
            g_warning("network %s: %s", network->name, own->message);
            if (!failure)
                failure = g_steal_pointer(&own);
        }
    }
    if (failure && !any) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    return g_steal_pointer(&vfs);
}

static gboolean are_valid(const VfoVfSettings *settings, const char *pci, GError **error)
{
    if (vfo_mac_is_unicast(&settings->mac) && settings->vlan <= 4094 && settings->qos <= 7 &&
        (settings->vlan || !settings->vlan_outer) && settings->link <= VFO_LINK_DISABLE)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                "VF %s was left alone: its new settings need a unicast MAC address, a VLAN of "
                "0..4094 and a priority of 0..7",
                pci);
    return FALSE;
}

gboolean vfo_local_set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                          GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_auto(VfoPlace) place = {0};
    g_autofree char *driver = NULL;
    g_autoptr(GArray) states = NULL;
    gboolean has_port = FALSE;
    VfoDevlinkPort port;
    VfoVfChange change;
    VfoMac parking;
    VfoLink pf;

    if (!are_valid(settings, pci, error) || !vfo_place_find(host, pci, &place, error) ||
        !vfo_link_read(host->netlink, place.pf, &pf, error))
        return FALSE;
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, place.pf_pci);
    vfo_stopwatch_end_outside();
    if (pf.switch_id_length &&
        !vfo_devlink_find(host->generic, &pf, place.index, &port, &has_port, error))
        return FALSE;
    vfo_mac_parking(&pf.mac, place.index, &parking);
    if (host->pool)
        vfo_pool_expect(host->pool, pci);
    /*
     * A VF never has a guest's address in a VLAN that is not the guest's, for it would take
     * the frames of whoever has that address there: it gets the address last,
     * and loses it first.
     */
    change = (VfoVfChange){.pf = &pf,
                           .driver = driver,
                           .index = place.index,
                           .known = known_settings(host, &place),
                           .want = settings,
                           .generic = host->generic,
                           .port = has_port ? &port : NULL,
                           .mac_first = vfo_mac_equal(&settings->mac, &parking)};
    states = vfo_vf_apply(host->netlink, &change, error);
    remember(host, place.pf, states);
    return states != NULL;
}

typedef struct {
    char *sysfs;
    char *dev;
    char *pci;
    int group;
} Reset;

static void reset_free(gpointer data)
{
    Reset *reset = data;

    g_free(reset->sysfs);
    g_free(reset->dev);
    g_free(reset->pci);
    g_free(reset);
}

/* Touches nothing of the host's: it may still run when the task has long been cancelled. */
static void reset_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const Reset *reset = data;
    GError *error = NULL;
    VfoGroupUse use;
    int fd;

    /* Held until the reset is over, so that no QEMU gets hold of the VF in the middle of it. */
    if (!vfo_group_take(reset->dev, reset->group, &use, &fd, &error)) {
        g_task_return_error(task, error);
        return;
    }
    if (use == VFO_GROUP_OPEN)
        g_set_error(&error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s was not reset: some process has its vfio group %d open; see 'fuser -v "
                    "/dev/vfio/%d'",
                    reset->pci, reset->group, reset->group);
    else if (!g_cancellable_set_error_if_cancelled(cancellable, &error))
        vfo_pci_reset(reset->sysfs, reset->pci, &error);
    if (fd >= 0)
        close(fd);
    if (error)
        g_task_return_error(task, error);
    else
        g_task_return_boolean(task, TRUE);
}

static void on_reset(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error))
        vfo_task_done(task);
    else
        vfo_task_fail(task, error);
}

void vfo_local_reset_vf(VfoHost *base, const char *pci, GTask *task)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    g_auto(VfoPlace) place = {0};
    g_autofree char *driver = NULL;
    g_autoptr(GTask) thread = NULL;
    GError *error = NULL;
    Reset *reset;

    if (!vfo_place_find(host, pci, &place, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pci);
    vfo_stopwatch_end_outside();
    if (driver && strcmp(driver, "vfio-pci") != 0) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                                        "VF %s was not reset: this host's driver %s uses it; bind "
                                        "it to vfio-pci",
                                        pci, driver));
        return;
    }
    reset = g_new0(Reset, 1);
    reset->sysfs = g_strdup(host->sysfs);
    reset->dev = g_strdup(host->dev);
    reset->pci = g_strdup(pci);
    reset->group = vfo_pci_iommu_group(host->sysfs, pci);
    /* A task of its own: the data of @task may be its owner's. */
    thread = g_task_new(NULL, g_task_get_cancellable(task), on_reset, task);
    g_task_set_task_data(thread, reset, reset_free);
    g_task_set_return_on_cancel(thread, TRUE);
    g_task_run_in_thread(thread, reset_in_thread);
}
