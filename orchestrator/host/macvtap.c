/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The standby is a macvtap on the PF, or on a VLAN interface of it. While it is up the
 * PF has its address in its own filter: to open the PF side is to bring it up.
 *
 * It stays up while the guest is on its VF: a guest sends through its standby until its VF has a
 * link, and net_failover drops what the standby receives as well (not from the start: mute.h). It
 * is taken down where the guest leaves the host: the PF would swallow what this card's VFs send to
 * the guest.
 */
#include <linux/if_ether.h>
#include <linux/if_link.h>

#include "host/datapath.h"
#include "host/fdb.h"

static gboolean claims(const VfoSearch *search, gboolean *claimed, GError **error)
{
    *claimed = search->lower.index != 0;
    return TRUE;
}

static gboolean check_standby(const VfoSearch *search, GError **error)
{
    const VfoLink *standby = &search->standby;
    const VfoMac *mac = &search->settings->mac;
    const char *pf = search->lower_pf.name;
    char own[VFO_MAC_STRLEN], guest[VFO_MAC_STRLEN];

    if (standby->macvlan_mode == MACVLAN_MODE_PASSTHRU)
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
            "macvtap %s is in mode passthru: it gives its address to PF %s as the PF's own, "
            "which cannot be opened and closed for the guest; create it with 'mode "
            "bridge', 'vepa' or 'private'",
            standby->name, pf);
    else if (standby->macvlan_mode != MACVLAN_MODE_BRIDGE &&
             standby->macvlan_mode != MACVLAN_MODE_VEPA &&
             standby->macvlan_mode != MACVLAN_MODE_PRIVATE)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "macvtap %s is in mode %u, which does not deliver by the guest's address; "
                    "create it with 'mode bridge', 'vepa' or 'private'",
                    standby->name, standby->macvlan_mode);
    else if (!vfo_mac_equal(&standby->mac, mac))
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "macvtap %s has MAC %s but the guest has %s, whose frames it would not get: "
                    "'ip link set %s address %s'",
                    standby->name, vfo_mac_format(&standby->mac, own), vfo_mac_format(mac, guest),
                    standby->name, guest);
    else if (search->vf && g_strcmp0(search->vf->pf, pf) != 0)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "macvtap %s is on PF %s and the VF on PF %s: %s would keep the frames that its "
                    "own VFs send to the guest; put them on one PF, or each PF into a [network] of "
                    "its own",
                    standby->name, pf, search->vf->pf, pf);
    else
        return TRUE;
    return FALSE;
}

static gboolean find(const VfoSearch *search, VfoWire *wire, GError **error)
{
    const VfoLink *lower = &search->lower;
    const VfoTag tag = {lower->vlan, lower->vlan && lower->vlan_protocol == ETH_P_8021AD};
    const guint16 none = 0;
    g_autofree char *advice =
        search->settings->vlan
            ? g_strdup_printf("create it on a VLAN interface of VLAN %u on PF %s",
                              search->settings->vlan, search->lower_pf.name)
            : g_strdup_printf("create it on PF %s itself", search->lower_pf.name);

    if (!check_standby(search, error) || !vfo_datapath_check_pf(&search->lower_pf, lower, error))
        return FALSE;
    wire->pf = g_strdup(search->lower_pf.name);
    wire->uplink = g_strdup(lower->name);
    wire->vlans = g_array_new(FALSE, FALSE, sizeof(guint16));
    g_array_append_val(wire->vlans, none);
    return vfo_datapath_match_vlan(search, &tag, advice, wire, error);
}

/* Whether the PF lets the guest's frames in, as it shall when the macvtap is up, and then alone. */
static gboolean check_filter(VfoNetlink *netlink, const VfoWire *wire, const VfoLink *pf,
                             gboolean open, GError **error)
{
    char text[VFO_MAC_STRLEN];
    gboolean found;

    if (!vfo_fdb_has_filter(netlink, pf, &wire->mac, &found, error))
        return FALSE;
    if (!found == !open)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                open
                    ? "macvtap %s is up, but PF %s does not let %s in; see 'bridge fdb show dev %s'"
                    : "macvtap %s is down, but PF %s still lets %s in: something else has added it "
                      "as well; see 'bridge fdb show dev %s'",
                wire->tap, pf->name, vfo_mac_format(&wire->mac, text), pf->name);
    return FALSE;
}

static gboolean open_pf(VfoNetlink *netlink, const VfoWire *wire, GError **error)
{
    VfoLink pf;
    VfoLink tap;

    return vfo_link_read(netlink, wire->pf, &pf, error) &&
           vfo_link_read(netlink, wire->tap, &tap, error) &&
           vfo_link_set_up(netlink, &tap, TRUE, error) &&
           check_filter(netlink, wire, &pf, TRUE, error);
}

static gboolean close_pf(VfoNetlink *netlink, const VfoWire *wire, gboolean to_vf, GError **error)
{
    VfoLink pf;
    VfoLink tap;

    if (to_vf)
        return TRUE;
    if (!vfo_link_read_if_there(netlink, wire->pf, &pf, error) ||
        !vfo_link_read_if_there(netlink, wire->tap, &tap, error))
        return FALSE;
    if (tap.index && !vfo_link_set_up(netlink, &tap, FALSE, error))
        return FALSE;
    return !pf.index || check_filter(netlink, wire, &pf, FALSE, error);
}

const VfoDatapath vfo_datapath_macvtap = {
    .name = "macvtap",
    .claims = claims,
    .find = find,
    .open_pf = open_pf,
    .close_pf = close_pf,
    .stays_open = TRUE,
};
