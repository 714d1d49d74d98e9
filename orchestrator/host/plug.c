/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/plug.h"
#include "host/ingress.h"

#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* Of an ifb, before the number of its macvtap. */
#define NAME "vfo-hold"

/* 140 000 of the smallest frames, which take up the kernel's memory for 2 kB each and more. */
#define MAX_BYTES (8 * 1024 * 1024)

#define EMPTY_MS      100
#define LOOK_EVERY_US 1000

#define PLUG TC_H_MAKE(1U << 16, 0U)

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

static int command_plug(VfoPlug *plug, int flags, int action)
{
    const struct tc_plug_qopt command = {.action = action, .limit = MAX_BYTES};
    g_autoptr(VfoMessage) message = plug_message(plug, RTM_NEWQDISC, flags);

    vfo_netlink_put_string(message, TCA_KIND, "plug");
    vfo_netlink_put(message, TCA_OPTIONS, &command, sizeof(command));
    return vfo_netlink_change(plug->netlink, message);
}

static int add_ifb(VfoNetlink *netlink, const char *name)
{
    const struct ifinfomsg header = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    g_autoptr(VfoMessage) message =
        vfo_netlink_message(RTM_NEWLINK, NLM_F_CREATE, &header, sizeof(header));
    struct nlattr *info;

    vfo_netlink_put_string(message, IFLA_IFNAME, name);
    info = vfo_netlink_nest(message, IFLA_LINKINFO);
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

static gboolean end_detour(VfoNetlink *netlink, int macvtap, GError **error)
{
    int code = remove_ifb(netlink, macvtap);

    return is_gone(code) ||
           vfo_netlink_fail(netlink, code, error, "cannot take away interface " NAME "%d", macvtap);
}

/* First the filter: what it sends to an interface that has gone is lost. */
static gboolean take_apart(VfoNetlink *netlink, int macvtap, GError **error)
{
    return vfo_ingress_remove(netlink, macvtap, VFO_INGRESS_DIVERT, error) &&
           end_detour(netlink, macvtap, error);
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
    gboolean existed = FALSE;
    guint others = 0;
    int code = vfo_ingress_prepare(plug->netlink, plug->macvtap.index, &existed);

    if (code == 0 && existed)
        code = vfo_ingress_count(plug->netlink, plug->macvtap.index, &others);
    if (code == 0 && others == 0)
        code = vfo_ingress_divert(plug->netlink, plug->macvtap.index, plug->ifb.index);
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

/* Between plug and guest, what has left the plug waits for the ifb to give it back: all but what it
 * drops, frames that this host has sent out by it (Linux 6.1, ifb_xmit()). */
static gboolean is_empty(VfoPlug *plug, gboolean *empty, GError **error)
{
    struct rtnl_link_stats64 counters;
    VfoPlugCount count;

    if (!vfo_plug_count(plug, &count, error) ||
        !vfo_link_count(plug->netlink, &plug->ifb, &counters, error))
        return FALSE;
    *empty = count.waiting == 0 && counters.rx_packets - counters.rx_dropped == counters.tx_packets;
    return TRUE;
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
    if (!vfo_ingress_remove(plug->netlink, plug->macvtap.index, VFO_INGRESS_DIVERT, error))
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

    if (!g_str_has_prefix(link->name, NAME) ||
        !g_ascii_string_to_unsigned(link->name + strlen(NAME), 10, 1, G_MAXINT, &number, NULL))
        return 0;
    return (int)number;
}

static void remove_left_over(VfoNetlink *netlink, const VfoLink *ifb)
{
    int macvtap = macvtap_of(ifb);
    g_autoptr(GError) error = NULL;

    if (macvtap == 0)
        return;
    if (take_apart(netlink, macvtap, &error))
        g_message("%s, in which frames were held, was left over from before: taken away",
                  ifb->name);
    else
        g_warning("the guest of interface %d hears nothing on its standby: %s", macvtap,
                  error->message);
}

void vfo_plug_remove_all(VfoNetlink *netlink)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) ifbs = vfo_link_find_kind(netlink, "ifb", NULL, &error);

    if (!ifbs)
        g_warning("cannot look for frames that are still held for macvtaps: %s", error->message);
    for (guint i = 0; ifbs && i < ifbs->len; i++)
        remove_left_over(netlink, &g_array_index(ifbs, VfoLink, i));
}
