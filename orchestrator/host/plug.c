/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/plug.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

/* Of an ifb, before the number of its macvtap. */
#define NAME "vfo-hold"

/* 140 000 of the smallest frames, which take up the kernel's memory for 2 kB each and more. */
#define MAX_BYTES (8 * 1024 * 1024)

#define EMPTY_MS      100
#define LOOK_EVERY_US 1000

#define PLUG    TC_H_MAKE(1U << 16, 0U)
#define INGRESS TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
/* Of our filter, by which it is known. */
#define PRIORITY 0x5646U

struct _VfoPlug {
    VfoNetlink *netlink;
    VfoLink macvtap;
    VfoLink ifb;    /* index 0: there is none yet */
    gboolean there; /* it, or a part of it */
};

/* ------------------------------------------------------------------ requests */

static VfoMessage *plug_message(const VfoPlug *plug, int type, int flags)
{
    const struct tcmsg header = {
        .tcm_ifindex = plug->ifb.index, .tcm_parent = TC_H_ROOT, .tcm_handle = PLUG};

    return vfo_netlink_message(type, flags, &header, sizeof(header));
}

static struct nlattr *nest(VfoMessage *message, int type)
{
    struct nlattr *nested = nla_nest_start(message, type);

    if (!nested)
        g_error("netlink attribute %d does not fit", type);
    return nested;
}

static int command_plug(VfoPlug *plug, int flags, int action)
{
    const struct tc_plug_qopt command = {.action = action, .limit = MAX_BYTES};
    g_autoptr(VfoMessage) message = plug_message(plug, RTM_NEWQDISC, flags);

    vfo_netlink_put_string(message, TCA_KIND, "plug");
    vfo_netlink_put(message, TCA_OPTIONS, &command, sizeof(command));
    return vfo_netlink_change(plug->netlink, message);
}

/* It stays: to take it away, too, would cost what the guest sends meanwhile (Linux 6.1,
 * qdisc_graft()). */
static int add_ingress(VfoPlug *plug)
{
    const struct tcmsg header = {.tcm_ifindex = plug->macvtap.index,
                                 .tcm_parent = TC_H_CLSACT,
                                 .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0U)};
    g_autoptr(VfoMessage) message =
        vfo_netlink_message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));

    vfo_netlink_put_string(message, TCA_KIND, "clsact");
    return vfo_netlink_change(plug->netlink, message);
}

static int add_ifb(VfoNetlink *netlink, const char *name)
{
    const struct ifinfomsg header = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    g_autoptr(VfoMessage) message =
        vfo_netlink_message(RTM_NEWLINK, NLM_F_CREATE, &header, sizeof(header));
    struct nlattr *info;

    vfo_netlink_put_string(message, IFLA_IFNAME, name);
    info = nest(message, IFLA_LINKINFO);
    vfo_netlink_put_string(message, IFLA_INFO_KIND, "ifb");
    nla_nest_end(message, info);
    return vfo_netlink_change(netlink, message);
}

static char *name_of_ifb(int macvtap)
{
    return g_strdup_printf(NAME "%d", macvtap);
}

static int remove_ifb(VfoNetlink *netlink, int macvtap)
{
    const struct ifinfomsg header = {0};
    g_autoptr(VfoMessage) message = vfo_netlink_message(RTM_DELLINK, 0, &header, sizeof(header));
    g_autofree char *name = name_of_ifb(macvtap);

    vfo_netlink_put_string(message, IFLA_IFNAME, name);
    return vfo_netlink_change(netlink, message);
}

static VfoMessage *filter_message(int type, int flags, int macvtap, guint32 priority)
{
    const struct tcmsg header = {
        .tcm_ifindex = macvtap,
        .tcm_parent = INGRESS,
        .tcm_info = priority ? TC_H_MAKE(priority << 16, (guint32)htons(ETH_P_ALL)) : 0,
    };

    return vfo_netlink_message(type, flags, &header, sizeof(header));
}

static int remove_filter(VfoNetlink *netlink, int macvtap)
{
    g_autoptr(VfoMessage) message = filter_message(RTM_DELTFILTER, 0, macvtap, PRIORITY);

    vfo_netlink_put_string(message, TCA_KIND, "matchall");
    return vfo_netlink_change(netlink, message);
}

static int on_filter(struct nlmsghdr *message, gpointer data)
{
    (*(guint *)data)++;
    return 0;
}

static int count_filters(VfoPlug *plug, guint *count)
{
    g_autoptr(VfoMessage) message =
        filter_message(RTM_GETTFILTER, NLM_F_DUMP, plug->macvtap.index, 0);

    *count = 0;
    return vfo_netlink_query(plug->netlink, message, on_filter, count);
}

/* All that is about to enter the macvtap leaves by the ifb. */
static int add_filter(VfoPlug *plug)
{
    const struct tc_mirred redirect = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (guint32)plug->ifb.index};
    g_autoptr(VfoMessage) message =
        filter_message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, plug->macvtap.index, PRIORITY);
    struct nlattr *nests[4];

    vfo_netlink_put_string(message, TCA_KIND, "matchall");
    nests[0] = nest(message, TCA_OPTIONS);
    nests[1] = nest(message, TCA_MATCHALL_ACT);
    nests[2] = nest(message, 1);
    vfo_netlink_put_string(message, TCA_ACT_KIND, "mirred");
    nests[3] = nest(message, TCA_ACT_OPTIONS);
    vfo_netlink_put(message, TCA_MIRRED_PARMS, &redirect, sizeof(redirect));
    for (gsize i = G_N_ELEMENTS(nests); i > 0; i--)
        nla_nest_end(message, nests[i - 1]);
    return vfo_netlink_change(plug->netlink, message);
}

/* -------------------------------------------------------------------- new */

static gboolean cannot(const VfoPlug *plug, int code, GError **error)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "cannot hold frames for macvtap %s: %s (needs CONFIG_IFB, CONFIG_NET_SCH_PLUG, "
                "CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_MATCHALL and CONFIG_NET_ACT_MIRRED)",
                plug->macvtap.name, vfo_netlink_reason(plug->netlink, code));
    return FALSE;
}

/* What is gone already is success. */
static gboolean is_gone(int code)
{
    return code == 0 || code == -ENODEV || code == -ENOENT;
}

static gboolean end_diversion(VfoNetlink *netlink, int macvtap, GError **error)
{
    int code = remove_filter(netlink, macvtap);

    /* -EINVAL: it has no ingress. */
    return is_gone(code) || code == -EINVAL ||
           vfo_netlink_fail(netlink, code, error,
                            "cannot take away the filter of interface %d, which keeps frames",
                            macvtap);
}

static gboolean end_detour(VfoNetlink *netlink, int macvtap, GError **error)
{
    int code = remove_ifb(netlink, macvtap);

    return is_gone(code) ||
           vfo_netlink_fail(netlink, code, error, "cannot take away interface " NAME "%d", macvtap);
}

/* First the filter: what it sends to an interface that has gone is lost. */
static gboolean take_apart(VfoNetlink *netlink, int macvtap, GError **error)
{
    return end_diversion(netlink, macvtap, error) && end_detour(netlink, macvtap, error);
}

static gboolean make_detour(VfoPlug *plug, GError **error)
{
    g_autofree char *name = name_of_ifb(plug->macvtap.index);
    int code = add_ifb(plug->netlink, name);

    if (code < 0)
        return cannot(plug, code, error);
    if (!vfo_link_read(plug->netlink, name, &plug->ifb, error))
        return FALSE;
    code = command_plug(plug, NLM_F_CREATE | NLM_F_REPLACE, TCQ_PLUG_LIMIT);
    if (code == 0)
        code = command_plug(plug, 0, TCQ_PLUG_RELEASE_INDEFINITE);
    return code == 0 || cannot(plug, code, error);
}

/* From here on frames come this way. What an ifb gives back skips all filters of the ingress:
 * others, which may be there to keep something out, are not to be skipped. */
static gboolean divert(VfoPlug *plug, GError **error)
{
    int code = add_ingress(plug);
    guint others = 0;

    if (code == -EEXIST)
        code = count_filters(plug, &others);
    if (code == 0 && others == 0)
        code = add_filter(plug);
    if (code < 0 && code != -EEXIST)
        return cannot(plug, code, error);
    if (others == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "cannot hold frames for macvtap %s: there are filters at its ingress, which frames "
                "that were held would skip; see 'tc filter show dev %s ingress'",
                plug->macvtap.name, plug->macvtap.name);
    return FALSE;
}

VfoPlug *vfo_plug_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error)
{
    VfoPlug *plug = g_new0(VfoPlug, 1);

    plug->netlink = netlink;
    plug->macvtap = *macvtap;
    plug->there = TRUE;
    if (make_detour(plug, error) && divert(plug, error))
        return plug;
    vfo_plug_free(plug);
    return NULL;
}

/* ------------------------------------------------------------------- commands */

static gboolean command(VfoPlug *plug, int action, GError **error)
{
    int code = command_plug(plug, 0, action);

    return code == 0 || vfo_netlink_fail(plug->netlink, code, error, "the plug of macvtap %s",
                                         plug->macvtap.name);
}

gboolean vfo_plug_mark(VfoPlug *plug, GError **error)
{
    return command(plug, TCQ_PLUG_BUFFER, error);
}

gboolean vfo_plug_let_go(VfoPlug *plug, GError **error)
{
    return command(plug, TCQ_PLUG_RELEASE_ONE, error);
}

gboolean vfo_plug_pull(VfoPlug *plug, GError **error)
{
    return command(plug, TCQ_PLUG_RELEASE_INDEFINITE, error);
}

/* --------------------------------------------------------------------- remove */

static int on_qdisc(struct nlmsghdr *message, gpointer data)
{
    static const struct nla_policy policy[TCA_STATS_MAX + 1] = {
        [TCA_STATS_BASIC] = {.minlen = sizeof(struct gnet_stats_basic)},
        [TCA_STATS_QUEUE] = {.minlen = sizeof(struct gnet_stats_queue)},
    };
    struct nlattr *stats = nlmsg_find_attr(message, sizeof(struct tcmsg), TCA_STATS2);
    struct nlattr *attributes[TCA_STATS_MAX + 1];
    VfoPlugCount *count = data;
    struct gnet_stats_queue queue;

    if (!stats ||
        nla_parse_nested(attributes, TCA_STATS_MAX, stats, (struct nla_policy *)policy) < 0 ||
        !attributes[TCA_STATS_QUEUE])
        return -EBADMSG;
    memcpy(&queue, nla_data(attributes[TCA_STATS_QUEUE]), sizeof(queue));
    count->waiting = queue.qlen;
    count->dropped = queue.drops;
    return 0;
}

gboolean vfo_plug_count(VfoPlug *plug, VfoPlugCount *count, GError **error)
{
    g_autoptr(VfoMessage) message = plug_message(plug, RTM_GETQDISC, NLM_F_ECHO);
    int code;

    *count = (VfoPlugCount){0};
    code = vfo_netlink_query(plug->netlink, message, on_qdisc, count);
    return code == 0 || vfo_netlink_fail(plug->netlink, code, error, "the plug of macvtap %s",
                                         plug->macvtap.name);
}

/* What has left the plug, and waits for the ifb to give it back: all but what it drops, frames that
 * this host has sent out by it (Linux 6.1, ifb_xmit()). */
static int on_ifb(struct nlmsghdr *message, gpointer data)
{
    struct nlattr *stats = nlmsg_find_attr(message, sizeof(struct ifinfomsg), IFLA_STATS64);
    guint64 *between = data;
    struct rtnl_link_stats64 counters;

    if (!stats || nla_len(stats) < (int)offsetof(struct rtnl_link_stats64, multicast))
        return -EBADMSG;
    memset(&counters, 0, sizeof(counters));
    memcpy(&counters, nla_data(stats), MIN(sizeof(counters), (gsize)nla_len(stats)));
    *between = counters.rx_packets - counters.rx_dropped - counters.tx_packets;
    return 0;
}

static gboolean is_empty(VfoPlug *plug, gboolean *empty, GError **error)
{
    const struct ifinfomsg header = {.ifi_index = plug->ifb.index};
    g_autoptr(VfoMessage) message = vfo_netlink_message(RTM_GETLINK, 0, &header, sizeof(header));
    VfoPlugCount count;
    guint64 between = 0;
    int code;

    if (!vfo_plug_count(plug, &count, error))
        return FALSE;
    code = vfo_netlink_query(plug->netlink, message, on_ifb, &between);
    *empty = count.waiting == 0 && between == 0;
    return code == 0 ||
           vfo_netlink_fail(plug->netlink, code, error, "the counters of %s", plug->ifb.name);
}

/* The kernel empties it by itself, on this processor or another, and tells nobody. */
static gboolean await_empty(VfoPlug *plug, GError **error)
{
    gint64 deadline = g_get_monotonic_time() + EMPTY_MS * G_TIME_SPAN_MILLISECOND;
    gboolean empty;

    while (is_empty(plug, &empty, error)) {
        if (empty)
            return TRUE;
        if (g_get_monotonic_time() > deadline) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                        "frames still waited in %s %d ms after it was told to let them go",
                        plug->ifb.name, EMPTY_MS);
            return FALSE;
        }
        g_usleep(LOOK_EVERY_US);
    }
    return FALSE;
}

gboolean vfo_plug_remove(VfoPlug *plug, GError **error)
{
    g_autoptr(GError) first = NULL;
    g_autoptr(GError) second = NULL;

    if (!plug->there)
        return TRUE;
    /* So that nothing overtakes what waits; it may never be seen empty as long as more comes. */
    if (vfo_plug_pull(plug, &first))
        await_empty(plug, &first);
    if (!end_diversion(plug->netlink, plug->macvtap.index, error))
        return FALSE;
    if (!await_empty(plug, &second) && !g_error_matches(second, VFO_ERROR, VFO_ERROR_NOT_FOUND))
        g_warning("macvtap %s: held frames may be lost: %s", plug->macvtap.name, second->message);
    if (!end_detour(plug->netlink, plug->macvtap.index, error))
        return FALSE;
    plug->there = FALSE;
    return TRUE;
}

void vfo_plug_free(VfoPlug *plug)
{
    g_autoptr(GError) error = NULL;

    if (plug->there && !take_apart(plug->netlink, plug->macvtap.index, &error))
        g_warning("macvtap %s: %s", plug->macvtap.name, error->message);
    g_free(plug);
}

/* ------------------------------------------------------------------ left over */

/* The number of the macvtap whose ifb @link is; 0: of none. */
static int macvtap_of(const VfoLink *link)
{
    guint64 number;

    if (strcmp(link->kind, "ifb") != 0 || !g_str_has_prefix(link->name, NAME) ||
        !g_ascii_string_to_unsigned(link->name + strlen(NAME), 10, 1, G_MAXINT, &number, NULL))
        return 0;
    return (int)number;
}

static int on_link(struct nlmsghdr *message, gpointer data)
{
    VfoLink link = {0};
    int macvtap;

    /* A kernel without ifb shows all links; what is odd with another one is not of interest. */
    if (vfo_link_parse(message, &link) == 0 && (macvtap = macvtap_of(&link)))
        g_array_append_val((GArray *)data, macvtap);
    return 0;
}

void vfo_plug_remove_all(VfoNetlink *netlink)
{
    const struct ifinfomsg header = {0};
    g_autoptr(VfoMessage) message =
        vfo_netlink_message(RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header));
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(int));
    struct nlattr *info = nest(message, IFLA_LINKINFO);
    int code;

    vfo_netlink_put_string(message, IFLA_INFO_KIND, "ifb");
    nla_nest_end(message, info);
    code = vfo_netlink_query(netlink, message, on_link, found);
    if (code < 0)
        g_warning("cannot look for frames that are still held for macvtaps: %s",
                  vfo_netlink_reason(netlink, code));
    for (guint i = 0; i < found->len; i++) {
        int macvtap = g_array_index(found, int, i);
        g_autoptr(GError) error = NULL;

        if (take_apart(netlink, macvtap, &error))
            g_message(NAME "%d, in which frames were held, was left over from before: taken away",
                      macvtap);
        else
            g_warning("the guest of interface %d hears nothing on its standby: %s", macvtap,
                      error->message);
    }
}
