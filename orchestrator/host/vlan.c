/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/vlan.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define MAX_ID 4094

static int add_range(GArray *vlans, const struct bridge_vlan_info *info, guint16 last)
{
    if (info->vid == 0 || last < info->vid || last > MAX_ID ||
        vlans->len + last - info->vid >= MAX_ID)
        return -EBADMSG;
    for (guint id = info->vid; id <= last; id++) {
        VfoVlan vlan = {.id = (guint16)id,
                        .pvid = (info->flags & BRIDGE_VLAN_INFO_PVID) != 0,
                        .untagged = (info->flags & BRIDGE_VLAN_INFO_UNTAGGED) != 0};

        g_array_append_val(vlans, vlan);
    }
    return 0;
}

static int add_entry(GArray *vlans, struct nlattr *entry)
{
    static const struct nla_policy policy[BRIDGE_VLANDB_ENTRY_MAX + 1] = {
        [BRIDGE_VLANDB_ENTRY_INFO] = {.minlen = sizeof(struct bridge_vlan_info)},
        [BRIDGE_VLANDB_ENTRY_RANGE] = {.type = NLA_U16},
    };
    struct nlattr *attributes[BRIDGE_VLANDB_ENTRY_MAX + 1];
    struct bridge_vlan_info info;

    if (nla_parse_nested(attributes, BRIDGE_VLANDB_ENTRY_MAX, entry, (struct nla_policy *)policy) <
            0 ||
        !attributes[BRIDGE_VLANDB_ENTRY_INFO])
        return -EBADMSG;
    memcpy(&info, nla_data(attributes[BRIDGE_VLANDB_ENTRY_INFO]), sizeof(info));
    return add_range(vlans, &info,
                     attributes[BRIDGE_VLANDB_ENTRY_RANGE]
                         ? nla_get_u16(attributes[BRIDGE_VLANDB_ENTRY_RANGE])
                         : info.vid);
}

typedef struct {
    int port;
    GArray *vlans;
} Answer;

static int on_vlans(struct nlmsghdr *message, gpointer data)
{
    const Answer *answer = data;
    const struct br_vlan_msg *header;
    struct nlattr *entry;
    int remaining;
    int code;

    if (message->nlmsg_type != RTM_NEWVLAN)
        return 0;
    if (!nlmsg_valid_hdr(message, sizeof(*header)))
        return -EBADMSG;
    header = nlmsg_data(message);
    if ((int)header->ifindex != answer->port)
        return 0;
    nlmsg_for_each_attr(entry, message, sizeof(*header), remaining)
    {
        code = nla_type(entry) == BRIDGE_VLANDB_ENTRY ? add_entry(answer->vlans, entry) : 0;
        if (code < 0)
            return code;
    }
    return 0;
}

GArray *vfo_vlan_read(VfoNetlink *netlink, const VfoLink *port, GError **error)
{
    /* RTM_GETLINK would tell the VLANs of all ports of all bridges. */
    struct br_vlan_msg header = {.family = AF_BRIDGE, .ifindex = (guint32)port->index};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETVLAN, NLM_F_DUMP, &header, sizeof(header));
    g_autoptr(GArray) vlans = g_array_new(FALSE, FALSE, sizeof(VfoVlan));
    Answer answer = {port->index, vlans};
    int code = vfo_netlink_query(netlink, request, on_vlans, &answer);

    if (code == 0)
        return g_steal_pointer(&vlans);
    vfo_netlink_fail(netlink, code, error, "cannot read the VLANs of %s (needs Linux 5.6)",
                     port->name);
    return NULL;
}

static const VfoVlan *find(const GArray *vlans, guint16 id)
{
    for (guint i = 0; i < vlans->len; i++)
        if (g_array_index(vlans, VfoVlan, i).id == id)
            return &g_array_index(vlans, VfoVlan, i);
    return NULL;
}

/* Whether VLAN @own of @tap is the same to the guest as to the network beyond @uplink. */
static gboolean check_vlan(const VfoLink *tap, const VfoVlan *own, const VfoLink *uplink,
                           const VfoVlan *theirs, GError **error)
{
    if (own->untagged && !own->pvid)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s gives the guest the frames of VLAN %u without their tag, next to those of "
                    "its own VLAN: 'bridge vlan del dev %s vid %u'",
                    tap->name, own->id, tap->name, own->id);
    else if (own->pvid && !own->untagged)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s takes untagged frames into VLAN %u but gives those of that VLAN to the "
                    "guest with their tag: 'bridge vlan add dev %s vid %u pvid untagged'",
                    tap->name, own->id, tap->name, own->id);
    else if (!theirs)
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_MISMATCH,
            "%s is in VLAN %u and %s, the way out of the host, is not: 'bridge vlan add dev "
            "%s vid %u'",
            tap->name, own->id, uplink->name, uplink->name, own->id);
    else if (!theirs->pvid != !theirs->untagged)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s has VLAN %u with its tag in one direction and without it in the other: "
                    "'bridge vlan add dev %s vid %u', with 'pvid untagged' or without",
                    uplink->name, own->id, uplink->name, own->id);
    else if (!own->pvid && theirs->pvid)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s gives VLAN %u to the guest with its tag, but it leaves the host through %s "
                    "without one: 'bridge vlan add dev %s vid %u'",
                    tap->name, own->id, uplink->name, uplink->name, own->id);
    else if (!theirs->pvid && strcmp(uplink->kind, "vlan") == 0)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s would put a second tag on the frames of VLAN %u: 'bridge vlan add dev %s "
                    "vid %u pvid untagged'",
                    uplink->name, own->id, uplink->name, own->id);
    else
        return TRUE;
    return FALSE;
}

void vfo_carried_clear(VfoCarried *carried)
{
    g_clear_pointer(&carried->vlans, g_array_unref);
    g_clear_pointer(&carried->trunk, g_array_unref);
}

static void add_to_trunk(VfoCarried *carried, guint16 id)
{
    if (!carried->trunk)
        carried->trunk = g_array_new(FALSE, FALSE, sizeof(id));
    g_array_append_val(carried->trunk, id);
}

/* The ids of @own in @carried. */
static gboolean match_all(const VfoLink *tap, const GArray *own, const VfoLink *uplink,
                          const GArray *theirs, VfoCarried *carried, GError **error)
{
    for (guint i = 0; i < own->len; i++) {
        const VfoVlan *vlan = &g_array_index(own, VfoVlan, i);
        const VfoVlan *outside = find(theirs, vlan->id);

        if (!check_vlan(tap, vlan, uplink, outside, error))
            return FALSE;
        if (!vlan->pvid)
            add_to_trunk(carried, vlan->id);
        else if (!outside->pvid)
            carried->tag.id = vlan->id;
        g_array_append_val(carried->vlans, vlan->id);
    }
    if (carried->vlans->len > 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "%s is in no VLAN of its bridge, which drops all that comes from it: 'bridge vlan "
                "add dev %s vid VLAN pvid untagged'",
                tap->name, tap->name);
    return FALSE;
}

gboolean vfo_vlan_match(VfoNetlink *netlink, const VfoLink *bridge, const VfoLink *tap,
                        const VfoLink *uplink, VfoCarried *carried, GError **error)
{
    g_auto(VfoCarried) found = {.vlans = g_array_new(FALSE, FALSE, sizeof(guint16))};
    g_autoptr(GArray) own = NULL;
    g_autoptr(GArray) theirs = NULL;
    const guint16 none = 0;

    /* A VLAN interface gets from its bridge what has no tag, and adds its own. */
    found.tag = (VfoTag){uplink->vlan, (uplink->vlan ? uplink->vlan_protocol
                                                     : bridge->vlan_protocol) == ETH_P_8021AD};
    if (!bridge->filters_vlans) {
        g_array_append_val(found.vlans, none);
        *carried = found;
        found = (VfoCarried){0};
        return TRUE;
    }
    own = vfo_vlan_read(netlink, tap, error);
    if (!own)
        return FALSE;
    theirs = vfo_vlan_read(netlink, uplink, error);
    if (!theirs || !match_all(tap, own, uplink, theirs, &found, error))
        return FALSE;
    *carried = found;
    found = (VfoCarried){0};
    return TRUE;
}
