/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that joins a VF and an interface itself, in a bond: nothing that manages the VM knows
 * which belong together. They have the same MAC address, as the frames of a bond do.
 */
#include "core/core.h"

/* The only interface with the address of @vf. */
static const VfoPair *interface_of(const VfoVmInfo *info, const VfoVf *vf, GError **error)
{
    const VfoPair *found = NULL;
    char mac[VFO_MAC_STRLEN];

    for (guint i = 0; i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (!half->standby || !vfo_mac_equal(&half->mac, &vf->settings.mac))
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                        "VM %s: its interfaces %s and %s both have the MAC %s of its VF %s: which "
                        "of them stands by for the VF cannot be told",
                        info->name, found->standby, half->standby,
                        vfo_mac_format(&vf->settings.mac, mac), vf->pci);
            return NULL;
        }
        found = half;
    }
    if (!found)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VM %s: none of its interfaces has the MAC %s of its VF %s, and could stand by "
                    "for it: give it one in the VF's bridge with that MAC and bond the two in the "
                    "guest (or 'vfailover define' makes a pair of them)",
                    info->name, vfo_mac_format(&vf->settings.mac, mac), vf->pci);
    return found;
}

/* @half, which is a VF, with its interface; NULL without an error: it is none of this host's, as a
 * plain <hostdev> may be any device. */
static VfoPair *join_one(const VfoVmInfo *info, VfoHost *host, const VfoPair *half, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(VfoVf) vf = host->ops->read_vf(host, half->vf, &why);
    const VfoPair *interface;
    VfoPair *pair;

    if (!vf) {
        if (!g_error_matches(why, VFO_ERROR, VFO_ERROR_NOT_FOUND))
            g_propagate_error(error, g_steal_pointer(&why));
        return NULL;
    }
    interface = interface_of(info, vf, error);
    if (!interface)
        return NULL;
    pair = vfo_pair_copy(interface);
    pair->primary = g_strdup(half->primary);
    pair->vf = g_strdup(half->vf);
    return pair;
}

/* Adds to @pairs. */
static gboolean join(const VfoVmInfo *info, VfoHost *host, GPtrArray *pairs, GError **error)
{
    g_autoptr(GError) first = NULL;

    for (guint i = 0; info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);
        VfoPair *pair = NULL;

        if (!half->standby && half->vf)
            pair = join_one(info, host, half, first ? NULL : &first);
        if (pair)
            g_ptr_array_add(pairs, pair);
    }
    if (!first)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&first));
    return FALSE;
}

gboolean vfo_bonds_join(VfoVmInfo *info, VfoHost *host, GError **error)
{
    return join(info, host, info->pairs, error);
}

GPtrArray *vfo_bonds_of(const VfoVmInfo *info, VfoHost *host)
{
    GPtrArray *pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);

    join(info, host, pairs, NULL);
    return pairs;
}

gboolean vfo_bonds_has_vf(const VfoVmInfo *info, const char *standby, const char *pci)
{
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        if (g_str_equal(pair->standby, standby) && pair->primary)
            return TRUE;
    }
    for (guint i = 0; info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (g_strcmp0(half->vf, pci) == 0)
            return TRUE;
    }
    return FALSE;
}
