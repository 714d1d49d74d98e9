/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PF is in switchdev mode: the card is a switch, and each VF is behind a port of it, which is a
 * network interface of the host (its representor). That, the PF (the port to the network) and the
 * standby's tap are ports of one bridge, whose entries alone say where the guest is: the PF
 * lets everything in.
 *
 * With Open vSwitch in the bridge's place the kernel has no entries to set: it learns where the
 * guest is from an announcement that comes from the tap, or from the VF's port.
 */
#include <string.h>

#include "host/datapath.h"
#include "host/fdb.h"
#include "host/openvswitch.h"
#include "host/vlan.h"

/* The VF's representor, or without a VF that of any of @pf. */
static gboolean find_representor(const VfoSearch *search, const char *pf, VfoLink *representor,
                                 GError **error)
{
    VfoLink link;

    memset(representor, 0, sizeof(*representor));
    return vfo_link_read_if_there(search->netlink, pf, &link, error) &&
           vfo_link_find_representor(search->netlink, &link,
                                     search->vf ? search->vf->index : G_MAXUINT, representor,
                                     error);
}

static gboolean claims(const VfoSearch *search, gboolean *claimed, GError **error)
{
    VfoLink representor = {0};

    if (search->bridge.index && search->vf) {
        if (!find_representor(search, search->vf->pf, &representor, error))
            return FALSE;
    } else if (search->bridge.index) {
        for (char **pf = search->network->pfs; *pf && !representor.index; pf++)
            if (!find_representor(search, *pf, &representor, error))
                return FALSE;
    }
    *claimed = representor.index != 0;
    return TRUE;
}

static gboolean check_representor(const VfoSearch *search, const VfoLink *representor,
                                  GError **error)
{
    const char *bridge = search->bridge.name;
    const char *name = representor->name;

    if (representor->master != search->bridge.index && vfo_openvswitch_is(&search->bridge))
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "%s, behind which VF %s is, is in no bridge of Open vSwitch: put it there with "
                    "'ovs-vsctl add-port BRIDGE %s'",
                    name, search->vf->pci, name);
    else if (representor->master != search->bridge.index)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "%s, behind which VF %s is, is not in bridge %s: put it there with 'ip link "
                    "set %s master %s'",
                    name, search->vf->pci, bridge, name, bridge);
    else if (!representor->up)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "%s, behind which VF %s is, is down: bring it up with 'ip link set %s up'",
                    name, search->vf->pci, name);
    else
        return TRUE;
    return FALSE;
}

static gboolean has_vlan(const GArray *vlans, guint16 vlan)
{
    for (guint i = 0; i < vlans->len; i++)
        if (g_array_index(vlans, guint16, i) == vlan)
            return TRUE;
    return FALSE;
}

/* Tap and representor are in the same VLANs of the bridge, so that the guest stays in its own. */
static gboolean match_vlans(const VfoSearch *search, const VfoLink *representor,
                            const VfoWire *wire, GError **error)
{
    g_auto(VfoCarried) theirs = {0};
    gboolean same;
    VfoLink uplink;

    if (!vfo_link_read(search->netlink, wire->uplink, &uplink, error) ||
        !vfo_vlan_match(search->netlink, &search->bridge, representor, &uplink, &theirs, error))
        return FALSE;
    same = theirs.tag.id == wire->vlan && theirs.vlans->len == wire->vlans->len;
    for (guint i = 0; i < theirs.vlans->len && same; i++)
        same = has_vlan(wire->vlans, g_array_index(theirs.vlans, guint16, i));
    if (!same)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s and %s, behind which VF %s is, are not in the same VLANs of bridge %s: see "
                    "'bridge vlan show' and give both the same",
                    wire->tap, representor->name, search->vf->pci, wire->bridge);
    return same;
}

static gboolean find(const VfoSearch *search, VfoWire *wire, GError **error)
{
    VfoVfSettings settings = *search->settings;
    VfoSearch for_bridge = *search;
    VfoLink representor;

    if ((settings.vlan && settings.vlan != VFO_VLAN_ANY) || settings.vlan_outer) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "the guest's VF shall be in VLAN %u by itself, but PF %s is in switchdev mode, "
                    "where the VLAN is that of the VF's port in bridge %s",
                    settings.vlan, search->vf ? search->vf->pf : search->network->pfs[0],
                    search->bridge.name);
        return FALSE;
    }
    settings.vlan = VFO_VLAN_ANY;
    for_bridge.settings = &settings;
    if (!vfo_bridge_find(&for_bridge, wire, error))
        return FALSE;
    if (search->vf) {
        if (!find_representor(search, search->vf->pf, &representor, error) ||
            !check_representor(search, &representor, error) ||
            !match_vlans(search, &representor, wire, error))
            return FALSE;
        wire->vf_port = g_strdup(representor.name);
    }
    wire->vlan = 0;
    wire->vlan_outer = FALSE;
    return TRUE;
}

static gboolean is_open_vswitch(VfoNetlink *netlink, const VfoWire *wire, gboolean *is,
                                GError **error)
{
    VfoLink bridge;

    if (!vfo_link_read_if_there(netlink, wire->bridge, &bridge, error))
        return FALSE;
    *is = vfo_openvswitch_is(&bridge);
    return TRUE;
}

/* All zero when the wire has no VF, or its port has gone. */
static gboolean read_vf_port(VfoNetlink *netlink, const VfoWire *wire, VfoLink *port,
                             GError **error)
{
    memset(port, 0, sizeof(*port));
    return !wire->vf_port || vfo_link_read_if_there(netlink, wire->vf_port, port, error);
}

static gboolean open_pf(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    gboolean learns;
    VfoLink port;
    VfoLink tap;

    if (!is_open_vswitch(netlink, wire, &learns, error) ||
        !read_vf_port(netlink, wire, &port, error) ||
        !vfo_link_read(netlink, wire->tap, &tap, error))
        return FALSE;
    if (learns)
        return TRUE;
    /* Sticky: what the guest still sends through its VF would draw the entry to its port. */
    return vfo_fdb_point(netlink, &tap, &wire->mac, wire->vlans, error) &&
           (!port.master || vfo_fdb_forget(netlink, &port, &wire->mac, wire->vlans, error));
}

static gboolean close_pf(VfoNetlink *netlink, const VfoWire *wire, gboolean to_vf, GError **error)
{
    gboolean learns;
    VfoLink port;
    VfoLink tap;

    if (!is_open_vswitch(netlink, wire, &learns, error) ||
        !read_vf_port(netlink, wire, &port, error) ||
        !vfo_link_read_if_there(netlink, wire->tap, &tap, error))
        return FALSE;
    if (to_vf && !port.index) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "the frames for %s cannot go to its VF: the VF's port %s is gone; is PF %s "
                    "still in switchdev mode?",
                    wire->tap, wire->vf_port ? wire->vf_port : "(none)", wire->pf);
        return FALSE;
    }
    if (learns)
        return TRUE;
    if (to_vf && !vfo_fdb_point(netlink, &port, &wire->mac, wire->vlans, error))
        return FALSE;
    if (tap.master && !vfo_fdb_forget(netlink, &tap, &wire->mac, wire->vlans, error))
        return FALSE;
    return to_vf || !port.master || vfo_fdb_forget(netlink, &port, &wire->mac, wire->vlans, error);
}

static gboolean learn(VfoNetlink *netlink, VfoNetlink *generic, const VfoWire *wire, gboolean at_vf,
                      gboolean *learned, GError **error)
{
    return is_open_vswitch(netlink, wire, learned, error) &&
           (!*learned ||
            vfo_openvswitch_learn(generic, at_vf ? wire->vf_port : wire->tap, &wire->mac, error));
}

const VfoDatapath vfo_datapath_switchdev = {
    .name = "switchdev",
    .claims = claims,
    .find = find,
    .open_pf = open_pf,
    .close_pf = close_pf,
    .learn = learn,
    .bridged = TRUE,
};
