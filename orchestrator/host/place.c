/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/host-private.h"
#include "host/pci.h"

void vfo_place_clear(VfoPlace *place)
{
    g_free(place->pf_pci);
}

static gboolean number_of_vf(VfoLocalHost *host, const char *pf_pci, const char *pci, guint *index)
{
    guint count = vfo_pci_count_vfs(host->sysfs, pf_pci);
    gpointer last = g_hash_table_lookup(host->numbers, pci);
    g_autofree char *there = vfo_pci_vf(host->sysfs, pf_pci, GPOINTER_TO_UINT(last));

    if (g_strcmp0(there, pci) == 0) {
        *index = GPOINTER_TO_UINT(last);
        return TRUE;
    }
    for (guint i = 0; i < count; i++) {
        g_autofree char *vf = vfo_pci_vf(host->sysfs, pf_pci, i);

        if (g_strcmp0(vf, pci) == 0) {
            g_hash_table_replace(host->numbers, g_strdup(pci), GUINT_TO_POINTER(i));
            *index = i;
            return TRUE;
        }
    }
    return FALSE;
}

/* The configured PF whose PCI address is @pf_pci. */
static gboolean find_pf(VfoLocalHost *host, const char *pf_pci, VfoPlace *place)
{
    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        for (char **pf = network->pfs; *pf; pf++) {
            g_autofree char *address = vfo_pci_of_interface(host->sysfs, *pf, NULL);

            if (g_strcmp0(address, pf_pci) == 0) {
                place->network = network;
                place->pf = *pf;
                return TRUE;
            }
        }
    }
    return FALSE;
}

gboolean vfo_place_find(VfoLocalHost *host, const char *pci, VfoPlace *place, GError **error)
{
    gboolean found = FALSE;

    if (!vfo_pci_is_address(pci)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "'%.32s' is no PCI address such as 0000:01:10.0", pci);
        return FALSE;
    }
    vfo_stopwatch_begin_outside();
    place->pf_pci = vfo_pci_pf(host->sysfs, pci);
    if (!place->pf_pci)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "there is no VF %s on this host; see 'vfailover vfs'", pci);
    else if (!find_pf(host, place->pf_pci, place))
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VF %s belongs to PF %s, which is in no [network] of the configuration", pci,
                    place->pf_pci);
    else if (!number_of_vf(host, place->pf_pci, pci, &place->index))
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VF %s is gone: its PF %s no longer lists it", pci, place->pf);
    else
        found = TRUE;
    vfo_stopwatch_end_outside();
    return found;
}
