/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/fdb.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* No PF has so many. */
#define NO_VF 0xffffU

typedef struct {
    const VfoMac *mac;
    int index;    /* of the device */
    guint8 flags; /* NTF_*: all of these */
    gboolean found;
    guint count;      /* of unicast addresses */
    guint32 sequence; /* of the dump that they are counted in */
    struct ndmsg entry;
} Lookup;

static int on_entry(struct nlmsghdr *message, gpointer data)
{
    Lookup *lookup = data;
    struct nlattr *attributes[NDA_MAX + 1];
    const struct ndmsg *entry;
    VfoMac mac;

    if (message->nlmsg_type != RTM_NEWNEIGH)
        return 0;
    if (nlmsg_parse(message, sizeof(*entry), attributes, NDA_MAX, NULL) < 0)
        return -EBADMSG;
    entry = nlmsg_data(message);
    if (!attributes[NDA_LLADDR] || nla_len(attributes[NDA_LLADDR]) != (int)sizeof(mac))
        return 0;
    if (lookup->index && entry->ndm_ifindex != lookup->index)
        return 0;
    if ((entry->ndm_flags & lookup->flags) != lookup->flags)
        return 0;
    memcpy(&mac, nla_data(attributes[NDA_LLADDR]), sizeof(mac));
    /* A dump that was interrupted begins anew. */
    if (message->nlmsg_seq != lookup->sequence)
        lookup->count = 0;
    lookup->sequence = message->nlmsg_seq;
    lookup->count += vfo_mac_is_unicast(&mac) ? 1 : 0;
    if (!vfo_mac_equal(&mac, lookup->mac))
        return 0;
    lookup->found = TRUE;
    lookup->entry = *entry;
    return 0;
}

/* Drivers' own tables can only be dumped: only bridge and vxlan have ndo_fdb_get (Linux 6.12). The
 * kernel filters by device; what the bridge has learned on that port comes along. */
static int read_filter(VfoNetlink *netlink, const VfoLink *pf, Lookup *lookup)
{
    struct ndmsg header = {.ndm_family = AF_BRIDGE, .ndm_ifindex = pf->index};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETNEIGH, NLM_F_DUMP, &header, sizeof(header));

    lookup->index = pf->index;
    lookup->flags = NTF_SELF;
    return vfo_netlink_query(netlink, request, on_entry, lookup);
}

static int filter_has(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac, gboolean *found)
{
    Lookup lookup = {.mac = mac};
    int code = read_filter(netlink, pf, &lookup);

    *found = lookup.found;
    return code;
}

gboolean vfo_fdb_has_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                            gboolean *found, GError **error)
{
    int code = filter_has(netlink, pf, mac, found);

    return code == 0 ||
           vfo_netlink_fail(netlink, code, error, "cannot read the filter of PF %s", pf->name);
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

/* For @mac, in place of @whose or for it. */
static gboolean open_filter(VfoNetlink *netlink, const VfoLink *pf, guint entries,
                            const VfoMac *mac, const VfoMac *whose, GError **error)
{
    g_autoptr(VfoMessage) request = filter_message(RTM_NEWNEIGH, NLM_F_CREATE, pf, mac);
    char text[VFO_MAC_STRLEN];
    Lookup before = {.mac = mac};
    gboolean found = FALSE;
    int code;

    vfo_mac_format(whose, text);
    /* Asked first: igb says that its table is full even of an entry that is in it. */
    code = read_filter(netlink, pf, &before);
    if (code == 0 && before.found)
        return TRUE;
    if (code == 0)
        code = entries && before.count >= entries ? -ENOSPC : vfo_netlink_change(netlink, request);
    if (code == -ENOMEM || code == -ENOSPC) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "cannot let %s in on PF %s: the PF's filter table is full, with %u addresses; "
                    "remove entries that nobody needs ('bridge fdb show dev %s self') or move "
                    "guests away",
                    text, pf->name, before.count, pf->name);
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

gboolean vfo_fdb_open_filter(VfoNetlink *netlink, const VfoLink *pf, guint entries,
                             const VfoMac *mac, GError **error)
{
    return open_filter(netlink, pf, entries, mac, mac, error);
}

VfoMessage *vfo_fdb_closing(const VfoLink *pf, const VfoMac *mac)
{
    return filter_message(RTM_DELNEIGH, 0, pf, mac);
}

gboolean vfo_fdb_close_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                              GError **error)
{
    g_autoptr(VfoMessage) request = vfo_fdb_closing(pf, mac);
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

gboolean vfo_fdb_try_filter(VfoNetlink *netlink, const VfoLink *pf, guint entries,
                            const VfoMac *mac, GError **error)
{
    VfoMac nobody;
    gboolean found;

    if (!vfo_fdb_has_filter(netlink, pf, mac, &found, error))
        return FALSE;
    if (found)
        return TRUE;
    vfo_mac_parking(&pf->mac, NO_VF, &nobody);
    return open_filter(netlink, pf, entries, &nobody, mac, error) &&
           vfo_fdb_close_filter(netlink, pf, &nobody, error);
}

/* An entry of a bridge: @mac in @vlan (0: without one) at @port. */
typedef struct {
    VfoNetlink *netlink;
    const VfoLink *port;
    const VfoMac *mac;
    guint16 vlan;
    char text[VFO_MAC_STRLEN + sizeof(" in VLAN 65535")];
} Entry;

static void entry_set(Entry *entry, guint16 vlan)
{
    char text[VFO_MAC_STRLEN];

    entry->vlan = vlan;
    vfo_mac_format(entry->mac, text);
    if (vlan)
        g_snprintf(entry->text, sizeof(entry->text), "%s in VLAN %u", text, vlan);
    else
        g_strlcpy(entry->text, text, sizeof(entry->text));
}

static VfoMessage *entry_message(const Entry *entry, int type, int flags, guint8 entry_flags,
                                 guint16 state)
{
    struct ndmsg header = {.ndm_family = AF_BRIDGE,
                           .ndm_ifindex = entry->port->index,
                           .ndm_flags = (guint8)(NTF_MASTER | entry_flags),
                           .ndm_state = state};
    VfoMessage *request = vfo_netlink_message(type, flags, &header, sizeof(header));

    vfo_netlink_put(request, NDA_LLADDR, entry->mac->octet, sizeof(entry->mac->octet));
    if (entry->vlan)
        vfo_netlink_put(request, NDA_VLAN, &entry->vlan, sizeof(entry->vlan));
    return request;
}

/* The one entry of the bridge for this address in this VLAN, whichever port it points to. */
static int entry_find(const Entry *entry, Lookup *lookup)
{
    g_autoptr(VfoMessage) request = entry_message(entry, RTM_GETNEIGH, 0, 0, 0);
    int code = vfo_netlink_query(entry->netlink, request, on_entry, lookup);

    return code == -ENOENT ? 0 : code;
}

static gboolean entry_point(const Entry *entry, GError **error)
{
    /* Not NLM_F_EXCL: the bridge may have learned the address already. */
    g_autoptr(VfoMessage) request =
        entry_message(entry, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, NTF_STICKY, NUD_NOARP);
    Lookup lookup = {.mac = entry->mac};
    int code = vfo_netlink_change(entry->netlink, request);

    if (code == 0)
        code = entry_find(entry, &lookup);
    if (code < 0)
        return vfo_netlink_fail(entry->netlink, code, error,
                                "cannot point the bridge's entry for %s at its port %s",
                                entry->text, entry->port->name);
    if (!lookup.found || lookup.entry.ndm_ifindex != entry->port->index ||
        !(lookup.entry.ndm_state & NUD_NOARP) || !(lookup.entry.ndm_flags & NTF_STICKY)) {
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "the bridge took a sticky entry for %s at its port %s but does not have it; see "
            "'bridge fdb show dev %s'",
            entry->text, entry->port->name, entry->port->name);
        return FALSE;
    }
    return TRUE;
}

static gboolean entry_forget(const Entry *entry, GError **error)
{
    g_autoptr(VfoMessage) request = entry_message(entry, RTM_DELNEIGH, 0, NTF_STICKY, NUD_NOARP);
    Lookup lookup = {.mac = entry->mac, .index = entry->port->index};
    int code = vfo_netlink_change(entry->netlink, request);

    /* EINVAL: somebody has taken the port out of the VLAN (br_fdb_delete()). */
    if (code == 0 || code == -ENOENT || (code == -EINVAL && entry->vlan))
        code = entry_find(entry, &lookup);
    if (code < 0)
        return vfo_netlink_fail(entry->netlink, code, error,
                                "cannot remove the bridge's entry for %s at its port %s",
                                entry->text, entry->port->name);
    /* A frame under way may have been learned from since; that is no entry of ours. */
    if (lookup.found && (lookup.entry.ndm_state & NUD_NOARP)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the bridge still has its entry for %s at its port %s after it was removed; "
                    "see 'bridge fdb show dev %s'",
                    entry->text, entry->port->name, entry->port->name);
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_fdb_point(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac,
                       const GArray *vlans, GError **error)
{
    Entry entry = {.netlink = netlink, .port = port, .mac = mac};

    for (guint i = 0; i < vlans->len; i++) {
        entry_set(&entry, g_array_index(vlans, guint16, i));
        if (!entry_point(&entry, error))
            return FALSE;
    }
    return TRUE;
}

gboolean vfo_fdb_forget(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac,
                        const GArray *vlans, GError **error)
{
    Entry entry = {.netlink = netlink, .port = port, .mac = mac};

    for (guint i = 0; i < vlans->len; i++) {
        entry_set(&entry, g_array_index(vlans, guint16, i));
        if (!entry_forget(&entry, error))
            return FALSE;
    }
    return TRUE;
}
