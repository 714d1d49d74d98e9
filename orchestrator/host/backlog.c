/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/backlog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <unistd.h>

/* Little enough that a guest has taken it long before its driver has made its new VF known. */
#define MAX_WAIT_US  (50 * G_TIME_SPAN_MILLISECOND)
#define STEADY_LOOKS 3
/* Frames that may be read in one look and have been sent in the one before. */
#define FEW 8

struct _VfoBacklog {
    VfoNetlink *netlink;
    VfoLink tap;
    int counter;      /* a packet socket that nobody reads */
    guint64 sent;     /* to the tap, since the beginning */
    guint64 taken_at; /* what the tap's counters were at the beginning */
    guint64 taken;    /* from it, or dropped by it, since then */
    gint64 looked_us; /* at the last look; 0: none yet */
    gint64 low;       /* least that was sent and not taken: below 0, what was in it before */
    guint steady;     /* looks since clearly more was taken than sent */
};

static void fail(const VfoBacklog *backlog, const char *what, GError **error)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "cannot count what is sent to tap %s: %s: %s",
                backlog->tap.name, what, g_strerror(errno));
}

static gboolean open_counter(VfoBacklog *backlog, GError **error)
{
    /* Without what the guest itself sends by the tap. */
    struct sock_filter sent_alone[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    const struct sock_fprog filter = {.len = G_N_ELEMENTS(sent_alone), .filter = sent_alone};
    const struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                        .sll_protocol = htons(ETH_P_ALL),
                                        .sll_ifindex = backlog->tap.index};
    const int least = 0;

    /* Protocol 0: it receives nothing before it has its filter and its interface. */
    backlog->counter = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (backlog->counter < 0)
        fail(backlog, "packet socket", error);
    else if (setsockopt(backlog->counter, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)) < 0 ||
             setsockopt(backlog->counter, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) <
                 0)
        fail(backlog, "setsockopt", error);
    else if (bind(backlog->counter, (const struct sockaddr *)&address, sizeof(address)) < 0)
        fail(backlog, "bind", error);
    else
        return TRUE;
    return FALSE;
}

static gboolean read_taken(const VfoBacklog *backlog, guint64 *taken, GError **error)
{
    struct rtnl_link_stats64 counters;

    if (!vfo_link_count(backlog->netlink, &backlog->tap, &counters, error))
        return FALSE;
    *taken = counters.tx_packets + counters.tx_dropped;
    return TRUE;
}

VfoBacklog *vfo_backlog_new(VfoNetlink *netlink, const VfoLink *tap, GError **error)
{
    VfoBacklog *backlog = g_new0(VfoBacklog, 1);

    backlog->netlink = netlink;
    backlog->tap = *tap;
    if (!open_counter(backlog, error) || !read_taken(backlog, &backlog->taken_at, error))
        g_clear_pointer(&backlog, vfo_backlog_free);
    return backlog;
}

void vfo_backlog_free(VfoBacklog *backlog)
{
    if (!backlog)
        return;
    if (backlog->counter >= 0)
        close(backlog->counter);
    g_free(backlog);
}

/* Each answer counts from the one before. */
static gboolean read_sent(VfoBacklog *backlog, GError **error)
{
    struct tpacket_stats since = {0};
    socklen_t size = sizeof(since);

    if (getsockopt(backlog->counter, SOL_PACKET, PACKET_STATISTICS, &since, &size) < 0) {
        fail(backlog, "PACKET_STATISTICS", error);
        return FALSE;
    }
    backlog->sent += since.tp_packets;
    return TRUE;
}

static gint64 balance_of(const VfoBacklog *backlog)
{
    return (gint64)(backlog->sent - backlog->taken);
}

guint64 vfo_backlog_frames(const VfoBacklog *backlog)
{
    return (guint64)(balance_of(backlog) - backlog->low);
}

gboolean vfo_backlog_is_short(VfoBacklog *backlog, gboolean *is_short, GError **error)
{
    gint64 now = g_get_monotonic_time();
    gint64 elapsed = backlog->looked_us ? now - backlog->looked_us : 0;
    guint64 taken_before = backlog->taken;
    guint64 sent_before = backlog->sent;
    guint64 taken;
    gboolean falls;

    /* In this order: what comes in between is taken for waiting. */
    if (!read_taken(backlog, &taken, error) || !read_sent(backlog, error))
        return FALSE;
    backlog->taken = taken - backlog->taken_at;
    backlog->looked_us = now;
    falls = backlog->taken - taken_before > (backlog->sent - sent_before) * 5 / 4 + FEW;
    backlog->steady = falls ? 0 : backlog->steady + 1;
    backlog->low = MIN(backlog->low, balance_of(backlog));
    *is_short = backlog->steady >= STEADY_LOOKS &&
                (vfo_backlog_frames(backlog) == 0 ||
                 (elapsed > 0 && vfo_backlog_frames(backlog) * (guint64)elapsed <=
                                     (backlog->taken - taken_before) * MAX_WAIT_US));
    return TRUE;
}
