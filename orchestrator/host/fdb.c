/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/fdb.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

typedef struct {
    const VfoMac *mac;
    int index;    /* of the device */
    guint8 flags; /* NTF_*: all of these */
    gboolean found;
    struct ndmsg entry;
} Lookup;

static int on_entry(struct nlmsghdr *message, gpointer data)
{
    Lookup *lookup = data;
    struct nlattr *attributes[NDA_MAX + 1];
    const struct ndmsg *entry;

    if (message->nlmsg_type != RTM_NEWNEIGH)
        return 0;
    if (nlmsg_parse(message, sizeof(*entry), attributes, NDA_MAX, NULL) < 0)
        return -EBADMSG;
    entry = nlmsg_data(message);
    if (!attributes[NDA_LLADDR] || nla_len(attributes[NDA_LLADDR]) != (int)sizeof(VfoMac) ||
        memcmp(nla_data(attributes[NDA_LLADDR]), lookup->mac->octet, sizeof(VfoMac)) != 0)
        return 0;
    if (lookup->index && entry->ndm_ifindex != lookup->index)
        return 0;
    if ((entry->ndm_flags & lookup->flags) != lookup->flags)
        return 0;
    lookup->found = TRUE;
    lookup->entry = *entry;
    return 0;
}

/* Drivers' own tables can only be dumped: only bridge and vxlan have ndo_fdb_get (Linux 6.12). The
 * kernel filters by device; what the bridge has learned on that port comes along. */
static int filter_has(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac, gboolean *found)
{
    struct ndmsg header = {.ndm_family = AF_BRIDGE, .ndm_ifindex = pf->index};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETNEIGH, NLM_F_DUMP, &header, sizeof(header));
    Lookup lookup = {.mac = mac, .index = pf->index, .flags = NTF_SELF};
    int code = vfo_netlink_query(netlink, request, on_entry, &lookup);

    *found = lookup.found;
    return code;
}

static VfoMessage *filter_message(int type, int flags, const VfoLink *pf, const VfoMac *mac)
{
    /* NUD_PERMANENT: the kernel's own code for a NIC's filter takes nothing else
     * (ndo_dflt_fdb_add() in net/core/rtnetlink.c). Nor does it take a VLAN. */
    struct ndmsg header = {.ndm_family = AF_BRIDGE,
                           .ndm_ifindex = pf->index,
                           .ndm_flags = NTF_SELF,
                           .ndm_state = NUD_PERMANENT | NUD_NOARP};
    VfoMessage *request = vfo_netlink_message(type, flags, &header, sizeof(header));

    vfo_netlink_put(request, NDA_LLADDR, mac->octet, sizeof(mac->octet));
    return request;
}

gboolean vfo_fdb_open_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                             GError **error)
{
    g_autoptr(VfoMessage) request = filter_message(RTM_NEWNEIGH, NLM_F_CREATE, pf, mac);
    char text[VFO_MAC_STRLEN];
    gboolean found = FALSE;
    int code;

    vfo_mac_format(mac, text);
    /* Asked first: igb says that its table is full even of an entry that is in it. */
    code = filter_has(netlink, pf, mac, &found);
    if (code == 0 && found)
        return TRUE;
    if (code == 0)
        code = vfo_netlink_change(netlink, request);
    if (code == -ENOMEM || code == -ENOSPC) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "cannot let %s in on PF %s: the PF's filter table is full; remove entries that "
                    "nobody needs ('bridge fdb show dev %s self') or move guests away",
                    text, pf->name, pf->name);
        return FALSE;
    }
    if (code == 0 || code == -EEXIST)
        code = filter_has(netlink, pf, mac, &found);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot let %s in on PF %s", text, pf->name);
    if (!found) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the driver of PF %s accepted a filter entry for %s but does not have it; see "
                    "'bridge fdb show dev %s self'",
                    pf->name, text, pf->name);
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_fdb_close_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                              GError **error)
{
    g_autoptr(VfoMessage) request = filter_message(RTM_DELNEIGH, 0, pf, mac);
    char text[VFO_MAC_STRLEN];
    gboolean found = FALSE;
    int code = vfo_netlink_change(netlink, request);

    vfo_mac_format(mac, text);
    if (code == 0 || code == -ENOENT)
        code = filter_has(netlink, pf, mac, &found);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot shut %s out on PF %s", text,
                                pf->name);
    /* The kernel counts how often an address was added: somebody else needs it too. */
    if (found) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "PF %s still lets %s in after its filter entry was removed: something else has "
                    "added it as well; see 'bridge fdb show dev %s self'",
                    pf->name, text, pf->name);
        return FALSE;
    }
    return TRUE;
}

static VfoMessage *bridge_message(int type, int flags, const VfoLink *port, const VfoMac *mac)
{
    struct ndmsg header = {.ndm_family = AF_BRIDGE,
                           .ndm_ifindex = port->index,
                           .ndm_flags = NTF_MASTER | NTF_STICKY,
                           .ndm_state = NUD_NOARP};
    VfoMessage *request = vfo_netlink_message(type, flags, &header, sizeof(header));

    /* Without NDA_VLAN the kernel takes every VLAN of the port, and none. */
    vfo_netlink_put(request, NDA_LLADDR, mac->octet, sizeof(mac->octet));
    return request;
}

/* The one entry of the bridge for @mac outside of VLANs, whichever port it points to. */
static int bridge_entry(VfoNetlink *netlink, const VfoLink *port, Lookup *lookup)
{
    struct ndmsg header = {
        .ndm_family = AF_BRIDGE, .ndm_ifindex = port->index, .ndm_flags = NTF_MASTER};
    g_autoptr(VfoMessage) request = vfo_netlink_message(RTM_GETNEIGH, 0, &header, sizeof(header));
    int code;

    vfo_netlink_put(request, NDA_LLADDR, lookup->mac->octet, sizeof(lookup->mac->octet));
    code = vfo_netlink_query(netlink, request, on_entry, lookup);
    return code == -ENOENT ? 0 : code;
}

gboolean vfo_fdb_point(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac, GError **error)
{
    /* Not NLM_F_EXCL: the bridge may have learned the address already. */
    g_autoptr(VfoMessage) request =
        bridge_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, port, mac);
    Lookup lookup = {.mac = mac};
    char text[VFO_MAC_STRLEN];
    int code = vfo_netlink_change(netlink, request);

    vfo_mac_format(mac, text);
    if (code == 0)
        code = bridge_entry(netlink, port, &lookup);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error,
                                "cannot point the bridge's entry for %s at its port %s", text,
                                port->name);
    if (!lookup.found || lookup.entry.ndm_ifindex != port->index ||
        !(lookup.entry.ndm_state & NUD_NOARP) || !(lookup.entry.ndm_flags & NTF_STICKY)) {
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "the bridge took a sticky entry for %s at its port %s but does not have it; see "
            "'bridge fdb show dev %s'",
            text, port->name, port->name);
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_fdb_forget(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac, GError **error)
{
    g_autoptr(VfoMessage) request = bridge_message(RTM_DELNEIGH, 0, port, mac);
    Lookup lookup = {.mac = mac, .index = port->index};
    char text[VFO_MAC_STRLEN];
    int code = vfo_netlink_change(netlink, request);

    vfo_mac_format(mac, text);
    if (code == 0 || code == -ENOENT)
        code = bridge_entry(netlink, port, &lookup);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error,
                                "cannot remove the bridge's entry for %s at its port %s", text,
                                port->name);
    /* A frame under way may have been learned from since; that is no entry of ours. */
    if (lookup.found && (lookup.entry.ndm_state & NUD_NOARP)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the bridge still has its entry for %s at its port %s after it was removed; "
                    "see 'bridge fdb show dev %s'",
                    text, port->name, port->name);
        return FALSE;
    }
    return TRUE;
}
