/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The standby's tap and the PF are ports of one bridge.
 */
#include "host/datapath.h"

#include "host/fdb.h"
#include "host/plug.h"

static gboolean check_pf(VfoNetlink *netlink, const char *pf, const VfoLink *bridge, GError **error)
{
    VfoLink link;

    if (!vfo_link_read(netlink, pf, &link, error))
        return FALSE;
    if (link.master != bridge->index)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s is not in bridge %s: put it there with 'ip link set %s master %s'", pf,
                    bridge->name, pf, bridge->name);
    else if (!link.up)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s is down: bring it up with 'ip link set %s up'", pf, pf);
    else if (!link.carrier)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s has no carrier: check its cable and the switch at the other end", pf);
    else
        return TRUE;
    return FALSE;
}

/* The first PF of @network that can carry frames, or the reason why the first cannot. */
static const char *usable_pf(VfoNetlink *netlink, const VfoNetwork *network, const VfoLink *bridge,
                             GError **error)
{
    g_autoptr(GError) first = NULL;

    for (char **pf = network->pfs; *pf; pf++) {
        g_autoptr(GError) own = NULL;

        if (check_pf(netlink, *pf, bridge, &own))
            return *pf;
        if (!first)
            first = g_steal_pointer(&own);
    }
    if (first)
        g_propagate_prefixed_error(error, g_steal_pointer(&first),
                                   "no PF of network %s is usable: ", network->name);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "network %s has no 'pf' in the configuration", network->name);
    return NULL;
}

static gboolean claims(const VfoSearch *search, gboolean *claimed, GError **error)
{
    *claimed = search->bridge.index != 0;
    return TRUE;
}

gboolean vfo_bridge_find(const VfoSearch *search, VfoWire *wire, GError **error)
{
    const char *pf;

    if (!search->vf)
        pf = usable_pf(search->netlink, search->network, &search->bridge, error);
    else
        pf = check_pf(search->netlink, search->vf->pf, &search->bridge, error) ? search->vf->pf
                                                                               : NULL;
    if (!pf)
        return FALSE;
    wire->pf = g_strdup(pf);
    wire->bridge = g_strdup(search->bridge.name);
    return TRUE;
}

static gboolean open_pf(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink pf;
    VfoLink tap;

    if (!vfo_link_read(netlink, wire->pf, &pf, error) ||
        !vfo_link_read(netlink, wire->tap, &tap, error))
        return FALSE;
    /*
     * The bridge first: while its entry still points to the PF, what the PF let in
     * for the guest would be dropped (or, with hairpin on, sent back out). The
     * entry is sticky because frames that the guest still sends through its VF reach
     * the bridge at the PF's port and would draw it there.
     */
    return vfo_fdb_point(netlink, &tap, &wire->mac, error) &&
           vfo_fdb_forget(netlink, &pf, &wire->mac, error) &&
           vfo_fdb_open_filter(netlink, &pf, &wire->mac, error);
}

static gboolean close_pf(VfoNetlink *netlink, const VfoWire *wire, gboolean to_vf, GError **error)
{
    VfoLink pf;
    VfoLink tap;

    if (!vfo_link_read_if_there(netlink, wire->pf, &pf, error) ||
        !vfo_link_read_if_there(netlink, wire->tap, &tap, error))
        return FALSE;
    if (to_vf && pf.index == 0)
        return vfo_link_read(netlink, wire->pf, &pf, error);
    /*
     * The filter first, the reverse of opening: what it lets in must find the
     * entry to the tap, not one back to the PF (dropped) or none (flooded to every
     * port of the bridge).
     */
    if (pf.index && !vfo_fdb_close_filter(netlink, &pf, &wire->mac, error))
        return FALSE;
    /*
     * Sticky: a guest sends through its standby until its VF has a link (2.4 s with
     * igbvf), but receives through its VF alone from the moment that it is paired.
     */
    if (to_vf && !vfo_fdb_point(netlink, &pf, &wire->mac, error))
        return FALSE;
    /* With VLANs, the tap's port may have some that the PF's has not: replacing
     * has not reached those entries. */
    if (tap.master && !vfo_fdb_forget(netlink, &tap, &wire->mac, error))
        return FALSE;
    if (!to_vf && pf.master && !vfo_fdb_forget(netlink, &pf, &wire->mac, error))
        return FALSE;
    return !tap.index || vfo_plug_remove(netlink, &tap, error);
}

static gboolean hold(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink tap;

    return vfo_link_read(netlink, wire->tap, &tap, error) && vfo_plug_insert(netlink, &tap, error);
}

static gboolean release(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink tap;

    return vfo_link_read_if_there(netlink, wire->tap, &tap, error) &&
           (!tap.index || vfo_plug_pull(netlink, &tap, error));
}

const VfoDatapath vfo_datapath_bridge = {
    .name = "bridge",
    .claims = claims,
    .find = vfo_bridge_find,
    .open_pf = open_pf,
    .close_pf = close_pf,
    .hold = hold,
    .release = release,
};
