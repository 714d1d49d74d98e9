/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/ingress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>

#define INGRESS TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)

int vfo_ingress_prepare(VfoNetlink *netlink, int macvtap, gboolean *existed)
{
    const struct tcmsg header = {.tcm_ifindex = macvtap,
                                 .tcm_parent = TC_H_CLSACT,
                                 .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0U)};
    g_autoptr(VfoMessage) message =
        vfo_netlink_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
    int code;

    vfo_netlink_put_string(message, TCA_KIND, "clsact");
    code = vfo_netlink_change(netlink, message);
    *existed = code == -EEXIST;
    return *existed ? 0 : code;
}

/* Without a @priority: of all filters. */
static VfoMessage *filter_message(int type, int flags, int macvtap, guint32 priority)
{
    const struct tcmsg header = {
        .tcm_ifindex = macvtap,
        .tcm_parent = INGRESS,
        .tcm_info = priority ? TC_H_MAKE(priority << 16, (guint32)htons(ETH_P_ALL)) : 0,
    };

    return vfo_netlink_message(type, flags, &header, sizeof(header));
}

static int on_filter(struct nlmsghdr *message, gpointer data)
{
    (*(guint *)data)++;
    return 0;
}

int vfo_ingress_count(VfoNetlink *netlink, int macvtap, guint *count)
{
    g_autoptr(VfoMessage) message = filter_message(RTM_GETTFILTER, NLM_F_DUMP, macvtap, 0);

    *count = 0;
    return vfo_netlink_query(netlink, message, on_filter, count);
}

static VfoMessage *new_filter(int macvtap, VfoIngressFilter filter, const char *kind)
{
    VfoMessage *message =
        filter_message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, macvtap, filter);

    vfo_netlink_put_string(message, TCA_KIND, kind);
    return message;
}

/* What a filter does: one action, of @kind, with its @parameters; @list is the filter's attribute
 * of actions. */
static void put_action(VfoMessage *message, int list, const char *kind, int type,
                       gconstpointer parameters, gsize length)
{
    struct nlattr *nests[3];

    nests[0] = vfo_netlink_nest(message, list);
    nests[1] = vfo_netlink_nest(message, 1);
    vfo_netlink_put_string(message, TCA_ACT_KIND, kind);
    nests[2] = vfo_netlink_nest(message, TCA_ACT_OPTIONS);
    vfo_netlink_put(message, type, parameters, length);
    for (gsize i = G_N_ELEMENTS(nests); i > 0; i--)
        nla_nest_end(message, nests[i - 1]);
}

int vfo_ingress_divert(VfoNetlink *netlink, int macvtap, int ifb)
{
    const struct tc_mirred redirect = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (guint32)ifb};
    g_autoptr(VfoMessage) message = new_filter(macvtap, VFO_INGRESS_DIVERT, "matchall");
    struct nlattr *options = vfo_netlink_nest(message, TCA_OPTIONS);

    put_action(message, TCA_MATCHALL_ACT, "mirred", TCA_MIRRED_PARMS, &redirect, sizeof(redirect));
    nla_nest_end(message, options);
    return vfo_netlink_change(netlink, message);
}

int vfo_ingress_drop(VfoNetlink *netlink, int macvtap, const VfoMac *mac)
{
    static const VfoMac all_of_it = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    const struct tc_gact drop = {.action = TC_ACT_SHOT};
    g_autoptr(VfoMessage) message = new_filter(macvtap, VFO_INGRESS_DROP, "flower");
    struct nlattr *options = vfo_netlink_nest(message, TCA_OPTIONS);
    int code;

    vfo_netlink_put(message, TCA_FLOWER_KEY_ETH_DST, mac, sizeof(*mac));
    vfo_netlink_put(message, TCA_FLOWER_KEY_ETH_DST_MASK, &all_of_it, sizeof(all_of_it));
    put_action(message, TCA_FLOWER_ACT, "gact", TCA_GACT_PARMS, &drop, sizeof(drop));
    nla_nest_end(message, options);
    code = vfo_netlink_change(netlink, message);
    return code == -EEXIST ? 0 : code;
}

gboolean vfo_ingress_remove(VfoNetlink *netlink, int macvtap, VfoIngressFilter filter,
                            GError **error)
{
    g_autoptr(VfoMessage) message = filter_message(RTM_DELTFILTER, 0, macvtap, filter);
    int code = vfo_netlink_change(netlink, message);

    /* -EINVAL: it has no ingress. */
    return code == 0 || code == -ENODEV || code == -ENOENT || code == -EINVAL ||
           vfo_netlink_fail(netlink, code, error,
                            "cannot take away the filter of priority %d at the ingress of "
                            "interface %d, which keeps frames from it",
                            (int)filter, macvtap);
}
