/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a test of host/ that plays the kernel reads in a request, and how it shows its links. */
#pragma once

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "host/netlink.h"

static inline const char *text_of(struct nlmsghdr *request, int header, int type)
{
    return nla_get_string(nlmsg_find_attr(request, header, type));
}

typedef struct {
    int index;
    const char *name, *kind;
    guint32 macvlan_mode; /* 0: it has none */
    struct rtnl_link_stats64 stats;
} FakeLink;

static inline int show_link(const FakeLink *link, VfoNetlinkAnswer answer, gpointer data)
{
    const struct ifinfomsg header = {.ifi_index = link->index};
    g_autoptr(VfoMessage) message = vfo_netlink_message(RTM_NEWLINK, 0, &header, sizeof(header));
    struct nlattr *info, *own;

    vfo_netlink_put_string(message, IFLA_IFNAME, link->name);
    vfo_netlink_put(message, IFLA_STATS64, &link->stats, sizeof(link->stats));
    info = nla_nest_start(message, IFLA_LINKINFO);
    vfo_netlink_put_string(message, IFLA_INFO_KIND, link->kind);
    if (link->macvlan_mode) {
        own = nla_nest_start(message, IFLA_INFO_DATA);
        vfo_netlink_put_u32(message, IFLA_MACVLAN_MODE, link->macvlan_mode);
        nla_nest_end(message, own);
    }
    nla_nest_end(message, info);
    return answer(nlmsg_hdr(message), data);
}
