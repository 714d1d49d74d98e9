/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

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

int vfo_link_parse(struct nlmsghdr *message, VfoLink *link)
{
    static const struct nla_policy policy[IFLA_MAX + 1] = {
        [IFLA_IFNAME] = {.type = NLA_STRING, .maxlen = IF_NAMESIZE},
        [IFLA_MASTER] = {.type = NLA_U32},
    };
    struct nlattr *attributes[IFLA_MAX + 1];
    const struct ifinfomsg *info;

    if (nlmsg_parse(message, sizeof(*info), attributes, IFLA_MAX, (struct nla_policy *)policy) <
            0 ||
        !attributes[IFLA_IFNAME])
        return -EBADMSG;
    info = nlmsg_data(message);
    link->index = info->ifi_index;
    link->up = (info->ifi_flags & IFF_UP) != 0;
    link->carrier = (info->ifi_flags & IFF_RUNNING) != 0;
    link->master = attributes[IFLA_MASTER] ? (int)nla_get_u32(attributes[IFLA_MASTER]) : 0;
    nla_strlcpy(link->name, attributes[IFLA_IFNAME], sizeof(link->name));
    if (attributes[IFLA_ADDRESS] &&
        nla_len(attributes[IFLA_ADDRESS]) == (int)sizeof(link->mac.octet))
        memcpy(link->mac.octet, nla_data(attributes[IFLA_ADDRESS]), sizeof(link->mac.octet));
    return 0;
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
