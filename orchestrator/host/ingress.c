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

/* Of frames of @protocol (ETH_P_*); without a @priority, all of them. */
static VfoMessage *filter_message(int type, int flags, int macvtap, guint32 priority,
                                  guint16 protocol)
{
    const struct tcmsg header = {
        .tcm_ifindex = macvtap,
        .tcm_parent = INGRESS,
        .tcm_info = priority ? TC_H_MAKE(priority << 16, (guint32)htons(protocol)) : 0,
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
    g_autoptr(VfoMessage) message = filter_message(RTM_GETTFILTER, NLM_F_DUMP, macvtap, 0, 0);

    *count = 0;
    return vfo_netlink_query(netlink, message, on_filter, count);
}

static struct nlattr *nest(VfoMessage *message, int type)
{
    struct nlattr *nested = nla_nest_start(message, type);

    if (!nested)
        g_error("netlink attribute %d does not fit", type);
    return nested;
}

/* What a filter (@message, which is returned) does: one action, of @kind, with its @parameters. */
static VfoMessage *matchall(VfoMessage *message, const char *kind, int type,
                            gconstpointer parameters, gsize length)
{
    struct nlattr *nests[4];

    vfo_netlink_put_string(message, TCA_KIND, "matchall");
    nests[0] = nest(message, TCA_OPTIONS);
    nests[1] = nest(message, TCA_MATCHALL_ACT);
    nests[2] = nest(message, 1);
    vfo_netlink_put_string(message, TCA_ACT_KIND, kind);
    nests[3] = nest(message, TCA_ACT_OPTIONS);
    vfo_netlink_put(message, type, parameters, length);
    for (gsize i = G_N_ELEMENTS(nests); i > 0; i--)
        nla_nest_end(message, nests[i - 1]);
    return message;
}

static VfoMessage *new_filter(int macvtap, VfoIngressFilter filter, guint16 protocol)
{
    return filter_message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, macvtap, filter, protocol);
}

int vfo_ingress_divert(VfoNetlink *netlink, int macvtap, int ifb)
{
    const struct tc_mirred redirect = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (guint32)ifb};
    g_autoptr(VfoMessage) message =
        matchall(new_filter(macvtap, VFO_INGRESS_DIVERT, ETH_P_ALL), "mirred", TCA_MIRRED_PARMS,
                 &redirect, sizeof(redirect));

    return vfo_netlink_change(netlink, message);
}

static VfoMessage *dropping(int macvtap, guint16 protocol)
{
    const struct tc_gact drop = {.action = TC_ACT_SHOT};

    return matchall(new_filter(macvtap, VFO_INGRESS_DROP, protocol), "gact", TCA_GACT_PARMS, &drop,
                    sizeof(drop));
}

int vfo_ingress_drop(VfoNetlink *netlink, int macvtap)
{
    g_autoptr(VfoMessage) message = dropping(macvtap, ETH_P_ALL);
    int code = vfo_netlink_change(netlink, message);

    return code == -EEXIST ? 0 : code;
}

static int remove_filter(VfoNetlink *netlink, int macvtap, VfoIngressFilter filter,
                         guint16 protocol)
{
    g_autoptr(VfoMessage) message = filter_message(RTM_DELTFILTER, 0, macvtap, filter, protocol);

    vfo_netlink_put_string(message, TCA_KIND, "matchall");
    return vfo_netlink_change(netlink, message);
}

int vfo_ingress_try_dropping(VfoNetlink *netlink, int macvtap)
{
    g_autoptr(VfoMessage) message = dropping(macvtap, ETH_P_LOOPBACK);
    int code = vfo_netlink_change(netlink, message);

    return code == 0 ? remove_filter(netlink, macvtap, VFO_INGRESS_DROP, ETH_P_LOOPBACK) : code;
}

gboolean vfo_ingress_remove(VfoNetlink *netlink, int macvtap, VfoIngressFilter filter,
                            GError **error)
{
    int code = remove_filter(netlink, macvtap, filter, ETH_P_ALL);

    /* -EINVAL: it has no ingress. */
    return code == 0 || code == -ENODEV || code == -ENOENT || code == -EINVAL ||
           vfo_netlink_fail(netlink, code, error,
                            "cannot take away the filter of priority %d at the ingress of "
                            "interface %d, which keeps frames from it",
                            (int)filter, macvtap);
}
