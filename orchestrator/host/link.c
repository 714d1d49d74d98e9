/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

/* As many as a PF has VLANs, and more than it has VFs. */
#define MAX_OF_KIND 4096

gboolean vfo_link_is_name(const char *name)
{
    gsize length = strnlen(name, IF_NAMESIZE);

    if (length == 0 || length >= IF_NAMESIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return FALSE;
    for (gsize i = 0; i < length; i++)
        if (name[i] == '/' || name[i] == ':' || !g_ascii_isgraph(name[i]))
            return FALSE;
    return TRUE;
}

static int parse_bridge(struct nlattr *data, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_BR_MAX + 1] = {
        [IFLA_BR_VLAN_FILTERING] = {.type = NLA_U8},
        [IFLA_BR_VLAN_PROTOCOL] = {.type = NLA_U16},
    };
    struct nlattr *attributes[IFLA_BR_MAX + 1];

    if (nla_parse_nested(attributes, IFLA_BR_MAX, data, (struct nla_policy *)policy) < 0)
        return -EBADMSG;
    link->filters_vlans =
        attributes[IFLA_BR_VLAN_FILTERING] && nla_get_u8(attributes[IFLA_BR_VLAN_FILTERING]) != 0;
    if (attributes[IFLA_BR_VLAN_PROTOCOL])
        link->vlan_protocol = ntohs(nla_get_u16(attributes[IFLA_BR_VLAN_PROTOCOL]));
    return 0;
}

static int parse_vlan(struct nlattr *data, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_VLAN_MAX + 1] = {
        [IFLA_VLAN_ID] = {.type = NLA_U16},
        [IFLA_VLAN_PROTOCOL] = {.type = NLA_U16},
    };
    struct nlattr *attributes[IFLA_VLAN_MAX + 1];

    if (nla_parse_nested(attributes, IFLA_VLAN_MAX, data, (struct nla_policy *)policy) < 0 ||
        !attributes[IFLA_VLAN_ID] || !attributes[IFLA_VLAN_PROTOCOL])
        return -EBADMSG;
    link->vlan = nla_get_u16(attributes[IFLA_VLAN_ID]);
    link->vlan_protocol = ntohs(nla_get_u16(attributes[IFLA_VLAN_PROTOCOL]));
    return 0;
}

static int parse_macvtap(struct nlattr *data, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_MACVLAN_MAX + 1] = {
        [IFLA_MACVLAN_MODE] = {.type = NLA_U32},
    };
    struct nlattr *attributes[IFLA_MACVLAN_MAX + 1];

    if (nla_parse_nested(attributes, IFLA_MACVLAN_MAX, data, (struct nla_policy *)policy) < 0 ||
        !attributes[IFLA_MACVLAN_MODE])
        return -EBADMSG;
    link->macvlan_mode = nla_get_u32(attributes[IFLA_MACVLAN_MODE]);
    return 0;
}

/* What sort of interface it is, and what is particular to that sort. */
static int parse_info(struct nlattr *info, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_INFO_MAX + 1] = {
        [IFLA_INFO_KIND] = {.type = NLA_STRING},
        [IFLA_INFO_DATA] = {.type = NLA_NESTED},
    };
    static const struct {
        const char *kind;
        int (*parse)(struct nlattr *data, VfoLink *link);
    } kinds[] = {{"bridge", parse_bridge}, {"vlan", parse_vlan}, {"macvtap", parse_macvtap}};
    struct nlattr *attributes[IFLA_INFO_MAX + 1];

    if (nla_parse_nested(attributes, IFLA_INFO_MAX, info, (struct nla_policy *)policy) < 0)
        return -EBADMSG;
    if (!attributes[IFLA_INFO_KIND])
        return 0;
    nla_strlcpy(link->kind, attributes[IFLA_INFO_KIND], sizeof(link->kind));
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i].kind, link->kind) == 0)
            return attributes[IFLA_INFO_DATA] ? kinds[i].parse(attributes[IFLA_INFO_DATA], link)
                                              : -EBADMSG;
    return 0;
}

static int parse_port(struct nlattr *switch_id, struct nlattr *name, VfoLink *link)
{
    if (switch_id && nla_len(switch_id) > (int)sizeof(link->switch_id))
        return -EBADMSG;
    if (switch_id) {
        link->switch_id_length = (gsize)nla_len(switch_id);
        memcpy(link->switch_id, nla_data(switch_id), link->switch_id_length);
    }
    if (name)
        nla_strlcpy(link->port_name, name, sizeof(link->port_name));
    return 0;
}

int vfo_link_parse(struct nlmsghdr *message, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_MAX + 1] = {
        [IFLA_IFNAME] = {.type = NLA_STRING, .maxlen = IF_NAMESIZE},
        [IFLA_MASTER] = {.type = NLA_U32},
        [IFLA_LINK] = {.type = NLA_U32},
        [IFLA_LINKINFO] = {.type = NLA_NESTED},
        [IFLA_MTU] = {.type = NLA_U32},
        [IFLA_PHYS_PORT_NAME] = {.type = NLA_STRING},
    };
    struct nlattr *attributes[IFLA_MAX + 1];
    const struct ifinfomsg *info;
    struct nlattr *vfs;
    int length;

    if (!nlmsg_valid_hdr(message, sizeof(*info)))
        return -EBADMSG;
    length = nlmsg_attrlen(message, sizeof(*info));
    /* A list of many VFs gives a wrong length (host/vf.c): what seems to follow it may be VFs. All
     * that is wanted here comes before it (rtnl_fill_ifinfo() in net/core/rtnetlink.c). */
    vfs = nlmsg_find_attr(message, sizeof(*info), IFLA_VFINFO_LIST);
    if (vfs)
        length = (int)((char *)vfs - (char *)nlmsg_attrdata(message, sizeof(*info)));
    if (nla_parse(attributes, IFLA_MAX, nlmsg_attrdata(message, sizeof(*info)), length,
                  (struct nla_policy *)policy) < 0 ||
        !attributes[IFLA_IFNAME])
        return -EBADMSG;
    info = nlmsg_data(message);
    link->index = info->ifi_index;
    link->up = (info->ifi_flags & IFF_UP) != 0;
    link->carrier = (info->ifi_flags & IFF_RUNNING) != 0;
    link->mtu = attributes[IFLA_MTU] ? nla_get_u32(attributes[IFLA_MTU]) : 0;
    link->master = attributes[IFLA_MASTER] ? (int)nla_get_u32(attributes[IFLA_MASTER]) : 0;
    nla_strlcpy(link->name, attributes[IFLA_IFNAME], sizeof(link->name));
    if (attributes[IFLA_ADDRESS] &&
        nla_len(attributes[IFLA_ADDRESS]) == (int)sizeof(link->mac.octet))
        memcpy(link->mac.octet, nla_data(attributes[IFLA_ADDRESS]), sizeof(link->mac.octet));
    if (parse_port(attributes[IFLA_PHYS_SWITCH_ID], attributes[IFLA_PHYS_PORT_NAME], link) < 0)
        return -EBADMSG;
    /* With IFLA_LINK_NETNSID it is a number of another namespace. */
    if (attributes[IFLA_LINK] && !attributes[IFLA_LINK_NETNSID])
        link->lower = (int)nla_get_u32(attributes[IFLA_LINK]);
    return attributes[IFLA_LINKINFO] ? parse_info(attributes[IFLA_LINKINFO], link) : 0;
}

static int on_link(struct nlmsghdr *message, gpointer data)
{
    return message->nlmsg_type == RTM_NEWLINK ? vfo_link_parse(message, data) : 0;
}

static int read_link(VfoNetlink *netlink, const char *name, int index, VfoLink *link)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = index};
    g_autoptr(VfoMessage) request = vfo_netlink_message(RTM_GETLINK, 0, &header, sizeof(header));
    int code;

    if (name)
        vfo_netlink_put_string(request, IFLA_IFNAME, name);
    vfo_netlink_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    memset(link, 0, sizeof(*link));
    code = vfo_netlink_query(netlink, request, on_link, link);
    return code == 0 && link->index == 0 ? -ENODEV : code;
}

static int on_counters(struct nlmsghdr *message, gpointer data)
{
    struct nlattr *stats = nlmsg_find_attr(message, sizeof(struct ifinfomsg), IFLA_STATS64);

    if (!stats || nla_len(stats) < (int)offsetof(struct rtnl_link_stats64, multicast))
        return -EBADMSG;
    memcpy(data, nla_data(stats), MIN(sizeof(struct rtnl_link_stats64), (gsize)nla_len(stats)));
    return 0;
}

gboolean vfo_link_count(VfoNetlink *netlink, const VfoLink *link,
                        struct rtnl_link_stats64 *counters, GError **error)
{
    const struct ifinfomsg header = {.ifi_index = link->index};
    g_autoptr(VfoMessage) request = vfo_netlink_message(RTM_GETLINK, 0, &header, sizeof(header));
    int code;

    memset(counters, 0, sizeof(*counters));
    code = vfo_netlink_query(netlink, request, on_counters, counters);
    return code == 0 ||
           vfo_netlink_fail(netlink, code, error, "cannot read the counters of %s", link->name);
}

gboolean vfo_link_read(VfoNetlink *netlink, const char *name, VfoLink *link, GError **error)
{
    int code;

    if (!vfo_link_is_name(name)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "'%.32s' is no name of an interface",
                    name);
        return FALSE;
    }
    code = read_link(netlink, name, 0, link);
    if (code == -ENODEV) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "there is no interface %s on this host; see 'ip link'", name);
        return FALSE;
    }
    return code == 0 || vfo_netlink_fail(netlink, code, error, "cannot read interface %s", name);
}

gboolean vfo_link_read_index(VfoNetlink *netlink, int index, VfoLink *link, GError **error)
{
    int code = read_link(netlink, NULL, index, link);

    return code == 0 ||
           vfo_netlink_fail(netlink, code, error, "cannot read interface number %d", index);
}

gboolean vfo_link_read_if_there(VfoNetlink *netlink, const char *name, VfoLink *link,
                                GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (vfo_link_read(netlink, name, link, &failure))
        return TRUE;
    memset(link, 0, sizeof(*link));
    if (g_error_matches(failure, VFO_ERROR, VFO_ERROR_NOT_FOUND))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

gboolean vfo_link_set_up(VfoNetlink *netlink, const VfoLink *link, gboolean up, GError **error)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC,
                               .ifi_index = link->index,
                               .ifi_flags = up ? IFF_UP : 0,
                               .ifi_change = IFF_UP};
    g_autoptr(VfoMessage) request = vfo_netlink_message(RTM_SETLINK, 0, &header, sizeof(header));
    const char *what = up ? "bring up" : "take down";
    VfoLink after = *link;
    int code = 0;

    if (!link->up != !up) {
        code = vfo_netlink_change(netlink, request);
        if (code == 0)
            code = read_link(netlink, NULL, link->index, &after);
    }
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot %s interface %s", what, link->name);
    if (!after.up == !up)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "the kernel was told to %s interface %s but has not; see 'ip link show %s'", what,
                link->name, link->name);
    return FALSE;
}

typedef struct {
    const char *kind;
    int master; /* 0: any, or none */
    GArray *found;
} OfKind;

/* What is odd about another one is not of interest. */
static gboolean is_of_kind(struct nlmsghdr *message, const char *kind)
{
    struct nlattr *info = nlmsg_find_attr(message, sizeof(struct ifinfomsg), IFLA_LINKINFO);
    struct nlattr *found = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;

    return found && nla_strcmp(found, kind) == 0;
}

/* A kernel that does not know the kind, or no such master, shows all interfaces. */
static int on_any_kind(struct nlmsghdr *message, gpointer data)
{
    const OfKind *wanted = data;
    VfoLink link = {0};
    int code;

    if (message->nlmsg_type != RTM_NEWLINK || !is_of_kind(message, wanted->kind))
        return 0;
    code = vfo_link_parse(message, &link);
    if (code == 0 && (wanted->master == 0 || link.master == wanted->master) &&
        wanted->found->len < MAX_OF_KIND)
        g_array_append_val(wanted->found, link);
    return code;
}

GArray *vfo_link_find_kind(VfoNetlink *netlink, const char *kind, const VfoLink *master,
                           GError **error)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VfoLink));
    OfKind wanted = {kind, master ? master->index : 0, found};
    struct nlattr *info;
    int code;

    /* The kernel looks for them: a host may have a thousand taps. */
    if (master)
        vfo_netlink_put_u32(request, IFLA_MASTER, (guint32)master->index);
    info = nla_nest_start(request, IFLA_LINKINFO);
    vfo_netlink_put_string(request, IFLA_INFO_KIND, kind);
    nla_nest_end(request, info);
    vfo_netlink_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    code = vfo_netlink_query(netlink, request, on_any_kind, &wanted);
    if (code == 0)
        return g_steal_pointer(&found);
    vfo_netlink_fail(netlink, code, error, "cannot read the interfaces of kind %s%s%s", kind,
                     master ? " in " : "", master ? master->name : "");
    return NULL;
}

GArray *vfo_link_find_vlans(VfoNetlink *netlink, const VfoLink *lower, const VfoLink *master,
                            GError **error)
{
    GArray *vlans = vfo_link_find_kind(netlink, "vlan", master, error);

    for (guint i = vlans ? vlans->len : 0; i > 0; i--) {
        if (g_array_index(vlans, VfoLink, i - 1).lower != lower->index)
            g_array_remove_index(vlans, i - 1);
    }
    return vlans;
}

typedef struct {
    const VfoLink *pf;
    guint index;
    guint count;
    VfoLink found;
} Representors;

/* The kernel's names of VFs' ports: devlink_port_phys_port_name_get() in net/core/devlink.c. Those
 * of another machine that shares the card begin with the number of its controller, "c1pf0vf3". */
static gboolean is_vf_port(const char *name, guint index)
{
    guint pf;
    guint vf;
    char rest;

    return sscanf(name, "pf%uvf%u%c", &pf, &vf, &rest) == 2 && (index == G_MAXUINT || vf == index);
}

static int on_representor(struct nlmsghdr *message, gpointer data)
{
    Representors *representors = data;
    VfoLink link = {0};
    int code;

    if (message->nlmsg_type != RTM_NEWLINK)
        return 0;
    code = vfo_link_parse(message, &link);
    if (code < 0)
        return code;
    if (link.switch_id_length != representors->pf->switch_id_length ||
        memcmp(link.switch_id, representors->pf->switch_id, link.switch_id_length) != 0 ||
        !is_vf_port(link.port_name, representors->index))
        return 0;
    representors->count++;
    representors->found = link;
    return 0;
}

gboolean vfo_link_find_representor(VfoNetlink *netlink, const VfoLink *pf, guint index,
                                   VfoLink *representor, GError **error)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
    Representors representors = {.pf = pf, .index = index};
    int code;

    memset(representor, 0, sizeof(*representor));
    if (pf->switch_id_length == 0)
        return TRUE;
    vfo_netlink_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    code = vfo_netlink_query(netlink, request, on_representor, &representors);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot read the ports of PF %s's switch",
                                pf->name);
    if (representors.count > 1 && index != G_MAXUINT) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the switch of PF %s has %u ports for a VF number %u: which one is the PF's "
                    "cannot be told; see 'ip -d link show'",
                    pf->name, representors.count, index);
        return FALSE;
    }
    *representor = representors.found;
    return TRUE;
}

typedef struct {
    int pf;
    guint16 mode;
} Mode;

static int on_mode(struct nlmsghdr *message, gpointer data)
{
    Mode *mode = data;
    const struct ifinfomsg *header;
    struct nlattr *attributes[IFLA_BRIDGE_MAX + 1];
    struct nlattr *own;

    if (message->nlmsg_type != RTM_NEWLINK)
        return 0;
    if (!nlmsg_valid_hdr(message, sizeof(*header)))
        return -EBADMSG;
    header = nlmsg_data(message);
    own = nlmsg_find_attr(message, sizeof(*header), IFLA_AF_SPEC);
    if (header->ifi_index != mode->pf || !own)
        return 0;
    if (nla_parse_nested(attributes, IFLA_BRIDGE_MAX, own, NULL) < 0)
        return -EBADMSG;
    if (attributes[IFLA_BRIDGE_MODE] &&
        nla_len(attributes[IFLA_BRIDGE_MODE]) >= (int)sizeof(mode->mode))
        mode->mode = nla_get_u16(attributes[IFLA_BRIDGE_MODE]);
    return 0;
}

gboolean vfo_link_is_vepa(VfoNetlink *netlink, const VfoLink *pf, gboolean *vepa, GError **error)
{
    /* What rtnl_bridge_getlink() has can only be dumped: all bridges' ports, and what drivers say
     * of their own switches. */
    struct ifinfomsg header = {.ifi_family = AF_BRIDGE};
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
    Mode mode = {.pf = pf->index, .mode = BRIDGE_MODE_UNDEF};
    int code = vfo_netlink_query(netlink, request, on_mode, &mode);

    *vepa = mode.mode == BRIDGE_MODE_VEPA;
    return code == 0 || vfo_netlink_fail(netlink, code, error,
                                         "cannot read the mode of the switch in PF %s", pf->name);
}
