/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The standby's tap and the PF, or a VLAN interface on it, are ports of one bridge.
 */
#include "host/datapath.h"

#include "host/fdb.h"
#include "host/openvswitch.h"
#include "host/vlan.h"

/* The port of the bridge that leads to @pf: itself, or the one VLAN interface on it. */
static gboolean find_uplink(VfoNetlink *netlink, const VfoLink *pf, const VfoLink *bridge,
                            VfoLink *uplink, GError **error)
{
    g_autoptr(GArray) vlans = NULL;

    if (pf->master == bridge->index) {
        *uplink = *pf;
        return TRUE;
    }
    vlans = vfo_link_find_vlans(netlink, pf, bridge, error);
    if (!vlans)
        return FALSE;
    if (vlans->len == 1) {
        *uplink = g_array_index(vlans, VfoLink, 0);
        return TRUE;
    }
    if (vlans->len == 0 && vfo_openvswitch_is(bridge))
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s is in no bridge of Open vSwitch: put it there with 'ovs-vsctl add-port "
                    "BRIDGE %s'",
                    pf->name, pf->name);
    else if (vlans->len == 0)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s is not in bridge %s, nor is a VLAN interface on it: put it there with "
                    "'ip link set %s master %s'",
                    pf->name, bridge->name, pf->name, bridge->name);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "bridge %s joins %u VLANs of PF %s (%s, %s): a VF is in one; see 'bridge link'",
                    bridge->name, vlans->len, pf->name, g_array_index(vlans, VfoLink, 0).name,
                    g_array_index(vlans, VfoLink, 1).name);
    return FALSE;
}

static gboolean check_pf(const VfoSearch *search, const char *name, VfoLink *pf, VfoLink *uplink,
                         GError **error)
{
    return vfo_link_read(search->netlink, name, pf, error) &&
           find_uplink(search->netlink, pf, &search->bridge, uplink, error) &&
           vfo_datapath_check_pf(pf, uplink, error);
}

/* It lets the guest's frames in: a daemon before this one has chosen it. */
static gboolean is_open(const VfoSearch *search, const VfoLink *pf)
{
    g_autoptr(GError) error = NULL;
    gboolean found = FALSE;

    if (search->network->pfs[1] &&
        !vfo_fdb_has_filter(search->netlink, pf, &search->settings->mac, &found, &error))
        g_message("taken as not open: %s", error->message);
    return found;
}

/* The PF of the network that is open, or the first that can carry frames, or the reason why the
 * first cannot. */
static const char *usable_pf(const VfoSearch *search, VfoLink *uplink, GError **error)
{
    const VfoNetwork *network = search->network;
    g_autoptr(GError) first = NULL;
    const char *usable = NULL;

    for (char **name = network->pfs; *name; name++) {
        g_autoptr(GError) own = NULL;
        VfoLink pf, port;
        gboolean open;

        if (!check_pf(search, *name, &pf, &port, &own)) {
            if (!first)
                first = g_steal_pointer(&own);
            continue;
        }
        open = is_open(search, &pf);
        if (open || !usable) {
            usable = *name;
            *uplink = port;
        }
        if (open)
            break;
    }
    if (usable)
        return usable;
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

/* How to bring the standby to the VLAN of the VF. */
static char *vlan_advice(const VfoSearch *search, const VfoWire *wire)
{
    const char *tap = search->standby.name;
    guint16 want = search->settings->vlan;

    if (want && search->bridge.filters_vlans)
        return g_strdup_printf("'bridge vlan add dev %s vid %u pvid untagged', and 'bridge vlan "
                               "add dev %s vid %u'",
                               tap, want, wire->uplink, want);
    if (want)
        return g_strdup_printf("put %s into a bridge with a VLAN interface of VLAN %u on PF %s",
                               tap, want, wire->pf);
    return g_strdup_printf("put %s into a bridge with PF %s itself", tap, wire->pf);
}

/* The guest keeps its VLAN when it changes from the VF to the standby, and back. */
static gboolean match_vlans(const VfoSearch *search, const VfoLink *uplink, VfoWire *wire,
                            GError **error)
{
    g_autofree char *advice = vlan_advice(search, wire);
    const char *tap = search->standby.name;
    g_auto(VfoCarried) carried = {0};

    if (!vfo_vlan_match(search->netlink, &search->bridge, &search->standby, uplink, &carried,
                        error) ||
        !vfo_datapath_match_vlan(search, &carried.tag, advice, wire, error))
        return FALSE;
    wire->vlans = g_steal_pointer(&carried.vlans);
    wire->trunk = g_steal_pointer(&carried.trunk);
    if (!wire->vlan || wire->vlans->len == 1)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "%s carries %u VLANs, but the guest's VF is in VLAN %u alone: take the others "
                "away with 'bridge vlan del dev %s vid VLAN'",
                tap, wire->vlans->len, wire->vlan, tap);
    return FALSE;
}

gboolean vfo_bridge_find(const VfoSearch *search, VfoWire *wire, GError **error)
{
    VfoLink uplink;
    VfoLink pf;

    if (!search->vf)
        wire->pf = g_strdup(usable_pf(search, &uplink, error));
    else if (check_pf(search, search->vf->pf, &pf, &uplink, error))
        wire->pf = g_strdup(search->vf->pf);
    if (!wire->pf)
        return FALSE;
    wire->bridge = g_strdup(search->bridge.name);
    wire->uplink = g_strdup(uplink.name);
    return match_vlans(search, &uplink, wire, error);
}

static gboolean find(const VfoSearch *search, VfoWire *wire, GError **error)
{
    if (!vfo_openvswitch_is(&search->bridge))
        return vfo_bridge_find(search, wire, error);
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "%s is a port of Open vSwitch, in which no entry for a guest can be set: it is "
                "served by the datapath 'switchdev' alone, with PFs in that mode ('devlink dev "
                "eswitch set DEV mode switchdev'); else put %s and the PF into a Linux bridge",
                wire->tap, wire->tap);
    return FALSE;
}

static gboolean try_pf(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink pf;

    return vfo_link_read(netlink, wire->pf, &pf, error) &&
           vfo_fdb_try_filter(netlink, &pf, wire->filter_entries, &wire->mac, error);
}

static gboolean open_pf(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink pf;
    VfoLink uplink;
    VfoLink tap;

    if (!vfo_link_read(netlink, wire->pf, &pf, error) ||
        !vfo_link_read(netlink, wire->uplink, &uplink, error) ||
        !vfo_link_read(netlink, wire->tap, &tap, error))
        return FALSE;
    /*
     * The bridge first: while its entry still points to the PF, what the PF let in
     * for the guest would be dropped (or, with hairpin on, sent back out). The
     * entry is sticky because frames that the guest still sends through its VF reach
     * the bridge at the PF's port and would draw it there.
     */
    return vfo_fdb_point(netlink, &tap, &wire->mac, wire->vlans, error) &&
           vfo_fdb_forget(netlink, &uplink, &wire->mac, wire->vlans, error) &&
           vfo_fdb_open_filter(netlink, &pf, wire->filter_entries, &wire->mac, error);
}

static gboolean close_pf(VfoNetlink *netlink, const VfoWire *wire, gboolean to_vf, GError **error)
{
    VfoLink pf;
    VfoLink uplink;
    VfoLink tap;

    if (!vfo_link_read_if_there(netlink, wire->pf, &pf, error) ||
        !vfo_link_read_if_there(netlink, wire->uplink, &uplink, error) ||
        !vfo_link_read_if_there(netlink, wire->tap, &tap, error))
        return FALSE;
    if (to_vf && (pf.index == 0 || uplink.index == 0))
        return vfo_link_read(netlink, pf.index == 0 ? wire->pf : wire->uplink, &pf, error);
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
    if (to_vf && !vfo_fdb_point(netlink, &uplink, &wire->mac, wire->vlans, error))
        return FALSE;
    if (tap.master && !vfo_fdb_forget(netlink, &tap, &wire->mac, wire->vlans, error))
        return FALSE;
    if (!to_vf && uplink.master &&
        !vfo_fdb_forget(netlink, &uplink, &wire->mac, wire->vlans, error))
        return FALSE;
    return TRUE;
}

static VfoMessage *closing(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink pf;

    return vfo_link_read(netlink, wire->pf, &pf, error) ? vfo_fdb_closing(&pf, &wire->mac) : NULL;
}

const VfoDatapath vfo_datapath_bridge = {
    .name = "bridge",
    .claims = claims,
    .find = find,
    .try_pf = try_pf,
    .open_pf = open_pf,
    .close_pf = close_pf,
    .closing = closing,
    .bridged = TRUE,
    .twofold = TRUE,
};
