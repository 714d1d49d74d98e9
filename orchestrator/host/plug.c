/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/plug.h"

#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/plug.h>
#include <netlink/route/tc.h>
#include <string.h>

/* Ours, so that a plug of somebody else (Remus, COLO) is not taken for it. */
#define HANDLE TC_H_MAKE(0x7f0U << 16, 0U)

/* A tap's ring takes 1000 frames (its txqueuelen), each of 64 KiB at most: more could
 * not be delivered at once anyway. */
#define LIMIT_BYTES (64 * 1024 * 1024)

#define PULL_TIMEOUT_US (100 * 1000)
#define PULL_POLL_US    200

typedef struct {
    gboolean found;
    guint32 backlog; /* frames */
    guint32 drops;   /* since it was put in */
} Plug;

static int on_qdisc(struct nlmsghdr *message, gpointer data)
{
    Plug *plug = data;
    struct nlattr *attributes[TCA_MAX + 1];
    struct nlattr *stats[TCA_STATS_MAX + 1];
    struct gnet_stats_queue queue;

    if (message->nlmsg_type != RTM_NEWQDISC)
        return 0;
    if (nlmsg_parse(message, sizeof(struct tcmsg), attributes, TCA_MAX, NULL) < 0)
        return -EBADMSG;
    if (!attributes[TCA_KIND] || nla_strcmp(attributes[TCA_KIND], "plug") != 0)
        return 0;
    if (!attributes[TCA_STATS2] ||
        nla_parse_nested(stats, TCA_STATS_MAX, attributes[TCA_STATS2], NULL) < 0 ||
        !stats[TCA_STATS_QUEUE] || nla_len(stats[TCA_STATS_QUEUE]) < (int)sizeof(queue))
        return -EBADMSG;
    memcpy(&queue, nla_data(stats[TCA_STATS_QUEUE]), sizeof(queue));
    plug->found = TRUE;
    plug->backlog = queue.qlen;
    plug->drops = queue.drops;
    return 0;
}

static int read_plug(VfoNetlink *netlink, const VfoLink *tap, Plug *plug)
{
    struct tcmsg header = {
        .tcm_family = AF_UNSPEC, .tcm_ifindex = tap->index, .tcm_handle = HANDLE};
    /* NLM_F_ECHO: without it the kernel answers to the multicast group alone
     * (qdisc_notify() in net/sched/sch_api.c). */
    g_autoptr(VfoMessage) request =
        vfo_netlink_message(RTM_GETQDISC, NLM_F_ECHO, &header, sizeof(header));
    int code;

    memset(plug, 0, sizeof(*plug));
    code = vfo_netlink_query(netlink, request, on_qdisc, plug);
    return code == -ENOENT ? 0 : code;
}

/* @action: one of rtnl_qdisc_plug_*(); NULL: set the limit. */
static VfoMessage *plug_message(const VfoLink *tap, int flags, int (*action)(struct rtnl_qdisc *))
{
    struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();
    VfoMessage *request = NULL;

    if (!qdisc)
        g_error("out of memory for a netlink request");
    rtnl_tc_set_ifindex(TC_CAST(qdisc), tap->index);
    rtnl_tc_set_parent(TC_CAST(qdisc), TC_H_ROOT);
    rtnl_tc_set_handle(TC_CAST(qdisc), HANDLE);
    if (rtnl_tc_set_kind(TC_CAST(qdisc), "plug") < 0 ||
        (action ? action(qdisc) : rtnl_qdisc_plug_set_limit(qdisc, LIMIT_BYTES)) < 0 ||
        rtnl_qdisc_build_add_request(qdisc, flags, &request) < 0)
        g_error("libnl cannot build a request for sch_plug");
    rtnl_qdisc_put(qdisc);
    return request;
}

gboolean vfo_plug_insert(VfoNetlink *netlink, const VfoLink *tap, GError **error)
{
    /* sch_plug keeps frames from its creation on. Without NLM_F_REPLACE the kernel
     * leaves a root qdisc that somebody configured alone. */
    g_autoptr(VfoMessage) create = plug_message(tap, NLM_F_CREATE | NLM_F_EXCL, NULL);
    Plug plug = {0};
    int code = vfo_netlink_change(netlink, create);

    if (code == -ENOENT || code == -EOPNOTSUPP) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "cannot hold frames for tap %s: this kernel has no sch_plug (%s); try "
                    "'modprobe sch_plug' (CONFIG_NET_SCH_PLUG)",
                    tap->name, vfo_netlink_reason(netlink, code));
        return FALSE;
    }
    if (code == -EEXIST) {
        code = read_plug(netlink, tap, &plug);
        if (code == 0 && !plug.found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                        "cannot hold frames for tap %s: it has a queueing discipline that is not "
                        "vfailover's, which was left alone; see 'tc qdisc show dev %s'",
                        tap->name, tap->name);
            return FALSE;
        }
        if (code == 0) {
            g_autoptr(VfoMessage) again = plug_message(tap, 0, rtnl_qdisc_plug_buffer);

            code = vfo_netlink_change(netlink, again);
        }
    }
    if (code == 0)
        code = read_plug(netlink, tap, &plug);
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot hold frames for tap %s", tap->name);
    if (!plug.found) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the kernel took a plug for tap %s but does not have it; see 'tc qdisc show "
                    "dev %s'",
                    tap->name, tap->name);
        return FALSE;
    }
    return TRUE;
}

gboolean vfo_plug_pull(VfoNetlink *netlink, const VfoLink *tap, GError **error)
{
    gint64 until = g_get_monotonic_time() + PULL_TIMEOUT_US;
    Plug plug;
    int code = read_plug(netlink, tap, &plug);

    if (code == 0 && plug.found) {
        g_autoptr(VfoMessage) pull = plug_message(tap, 0, rtnl_qdisc_plug_release_indefinite);

        code = vfo_netlink_change(netlink, pull);
        if (code == 0)
            code = read_plug(netlink, tap, &plug);
    }
    /* The frames go in the transmit softirq, which tells nobody when it is done. */
    while (code == 0 && plug.backlog > 0 && g_get_monotonic_time() < until) {
        vfo_stopwatch_begin_outside();
        g_usleep(PULL_POLL_US);
        vfo_stopwatch_end_outside();
        code = read_plug(netlink, tap, &plug);
    }
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot let go the frames held for tap %s",
                                tap->name);
    if (plug.backlog > 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                    "%u frames held for tap %s were let go but have not left its queue after %d "
                    "ms; see 'tc -s qdisc show dev %s'",
                    plug.backlog, tap->name, PULL_TIMEOUT_US / 1000, tap->name);
        return FALSE;
    }
    if (plug.drops > 0)
        g_warning("%u frames for tap %s were lost: more than %d MiB arrived while they were held",
                  plug.drops, tap->name, LIMIT_BYTES / (1024 * 1024));
    return TRUE;
}

gboolean vfo_plug_remove(VfoNetlink *netlink, const VfoLink *tap, GError **error)
{
    struct tcmsg header = {.tcm_family = AF_UNSPEC,
                           .tcm_ifindex = tap->index,
                           .tcm_parent = TC_H_ROOT,
                           .tcm_handle = HANDLE};
    Plug plug;
    int code = read_plug(netlink, tap, &plug);

    if (code == 0 && plug.found) {
        g_autoptr(VfoMessage) request =
            vfo_netlink_message(RTM_DELQDISC, 0, &header, sizeof(header));

        code = vfo_netlink_change(netlink, request);
        if (code == 0)
            code = read_plug(netlink, tap, &plug);
    }
    if (code < 0)
        return vfo_netlink_fail(netlink, code, error, "cannot remove the plug from tap %s",
                                tap->name);
    if (plug.found) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "tap %s still has its plug after it was removed; see 'tc qdisc show dev %s'",
                    tap->name, tap->name);
        return FALSE;
    }
    return TRUE;
}
