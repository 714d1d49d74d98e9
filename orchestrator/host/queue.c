/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/queue.h"

/* Before linux/netfilter.h, which defines the same unless it sees it. */
#include <netinet/in.h>

#include <errno.h>
#include <glib-unix.h>
#include <linux/netfilter.h>
#include <netlink/msg.h>
#include <netlink/netfilter/nfnl.h>
#include <netlink/netfilter/queue.h>
#include <netlink/netfilter/queue_msg.h>
#include <nftables/libnftables.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Others count theirs from 0. */
#define FIRST_NUMBER 0x7f00
#define NUMBERS      16

/* 100 ms of a million frames a second. What is more the kernel drops. */
#define MAX_FRAMES   100000
#define BUFFER_BYTES (32 * 1024 * 1024)

struct _VfoQueue {
    struct nft_ctx *nft;
    struct nl_sock *sock;
    guint number;
    guint source;
    int stamps; /* a socket that has the kernel note when frames arrive */
    VfoQueueArrived arrived;
    gpointer data;
};

/* ------------------------------------------------------------------ table */

static gboolean run_nft(VfoQueue *queue, const char *commands, GError **error)
{
    const char *said;
    int code;

    vfo_stopwatch_begin_outside();
    code = nft_run_cmd_from_buffer(queue->nft, commands);
    vfo_stopwatch_end_outside();
    said = nft_ctx_get_error_buffer(queue->nft);
    if (code == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "cannot hold frames: nftables refuses its table for bridges: %.*s (needs "
                "CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_QUEUE; see 'nft list ruleset')",
                (int)strcspn(said, "\n"), said);
    return FALSE;
}

static gboolean change_port(VfoQueue *queue, const char *verb, const char *port, GError **error)
{
    g_autofree char *command = NULL;

    /* The name becomes part of a command. */
    if (strpbrk(port, "\"\\*\n")) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "cannot hold frames for %s: nftables cannot express its name", port);
        return FALSE;
    }
    command = g_strdup_printf("%s element bridge vfailover held_%u { \"%s\" }", verb, queue->number,
                              port);
    return run_nft(queue, command, error);
}

gboolean vfo_queue_keep(VfoQueue *queue, const char *port, GError **error)
{
    return change_port(queue, "add", port, error);
}

gboolean vfo_queue_pass(VfoQueue *queue, const char *port, GError **error)
{
    return change_port(queue, "delete", port, error);
}

/* What another life of this daemon left is replaced: the chain's rules, and the set. */
static gboolean make_table(VfoQueue *queue, GError **error)
{
    g_autofree char *commands = g_strdup_printf(
        "table bridge vfailover {\n"
        "  set held_%1$u { type ifname; }\n"
        "  chain forward_%1$u { type filter hook forward priority 0; }\n"
        "  chain output_%1$u { type filter hook output priority 0; }\n"
        "}\n"
        "flush set bridge vfailover held_%1$u\n"
        "flush chain bridge vfailover forward_%1$u\n"
        "flush chain bridge vfailover output_%1$u\n"
        "add rule bridge vfailover forward_%1$u oifname @held_%1$u queue flags bypass to %1$u\n"
        "add rule bridge vfailover output_%1$u oifname @held_%1$u queue flags bypass to %1$u\n",
        queue->number);

    return run_nft(queue, commands, error);
}

/* ------------------------------------------------------------------ queue */

static int on_message(struct nl_msg *message, void *data)
{
    VfoQueue *queue = data;
    struct nfnl_queue_msg *parsed = NULL;
    VfoQueued frame = {0};

    if (nfnlmsg_queue_msg_parse(nlmsg_hdr(message), &parsed) < 0)
        return NL_SKIP;
    frame.id = nfnl_queue_msg_get_packetid(parsed);
    /* "phys": a port, where the kernel tells its bridge as the device. */
    frame.in = (int)(nfnl_queue_msg_test_physindev(parsed) ? nfnl_queue_msg_get_physindev(parsed)
                                                           : nfnl_queue_msg_get_indev(parsed));
    frame.out = (int)(nfnl_queue_msg_test_physoutdev(parsed) ? nfnl_queue_msg_get_physoutdev(parsed)
                                                             : nfnl_queue_msg_get_outdev(parsed));
    if (nfnl_queue_msg_test_timestamp(parsed)) {
        const struct timeval *at = nfnl_queue_msg_get_timestamp(parsed);

        frame.arrived_us = (gint64)at->tv_sec * G_USEC_PER_SEC + at->tv_usec;
    } else {
        frame.arrived_us = g_get_real_time();
    }
    nfnl_queue_msg_put(parsed);
    queue->arrived(&frame, queue->data);
    return NL_OK;
}

/* The verdict came too late: the kernel has dropped the frame already. */
static int on_refusal(struct sockaddr_nl *from, struct nlmsgerr *refusal, void *data)
{
    g_debug("nfnetlink_queue: %s", g_strerror(-refusal->error));
    return NL_SKIP;
}

void vfo_queue_read(VfoQueue *queue)
{
    int code;

    do
        code = nl_recvmsgs_default(queue->sock);
    while (code >= 0);
    if (code != -NLE_AGAIN)
        g_warning("frames that are held may be lost: nfnetlink_queue: %s", nl_geterror(code));
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    /* A frame delays no step of a job. */
    vfo_stopwatch_begin_spare();
    vfo_queue_read(data);
    vfo_stopwatch_end_spare();
    return G_SOURCE_CONTINUE;
}

void vfo_queue_decide(VfoQueue *queue, guint32 id, gboolean goes_on)
{
    struct nfnl_queue_msg *verdict = nfnl_queue_msg_alloc();
    int code;

    if (!verdict)
        g_error("out of memory for a verdict");
    nfnl_queue_msg_set_group(verdict, (guint16)queue->number);
    nfnl_queue_msg_set_family(verdict, PF_BRIDGE);
    nfnl_queue_msg_set_packetid(verdict, id);
    nfnl_queue_msg_set_verdict(verdict, goes_on ? NF_ACCEPT : NF_DROP);
    code = nfnl_queue_msg_send_verdict(queue->sock, verdict);
    nfnl_queue_msg_put(verdict);
    if (code < 0)
        g_warning("a frame that was held is lost: nfnetlink_queue: %s", nl_geterror(code));
}

static int bind_number(VfoQueue *queue, guint number)
{
    struct nfnl_queue *request = nfnl_queue_alloc();
    int code;

    if (!request)
        g_error("out of memory for a queue");
    nfnl_queue_set_group(request, (guint16)number);
    nfnl_queue_set_copy_mode(request, NFNL_QUEUE_COPY_META);
    nfnl_queue_set_maxlen(request, MAX_FRAMES);
    code = nfnl_queue_create(queue->sock, request);
    nfnl_queue_put(request);
    queue->number = number;
    return code;
}

static gboolean open_queue(VfoQueue *queue, GError **error)
{
    int code = -NLE_NOMEM;
    int on = 1;
    int fd;

    queue->sock = nfnl_queue_socket_alloc();
    if (queue->sock)
        code = nl_connect(queue->sock, NETLINK_NETFILTER);
    if (code >= 0) {
        nl_socket_disable_seq_check(queue->sock);
        nl_socket_modify_cb(queue->sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, queue);
        code = -NLE_BUSY;
    }
    for (guint i = 0; code == -NLE_BUSY && i < NUMBERS; i++)
        code = bind_number(queue, FIRST_NUMBER + i);
    if (code < 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "cannot hold frames: nfnetlink_queue: %s (CONFIG_NETFILTER_NETLINK_QUEUE; try "
                    "'modprobe nfnetlink_queue')",
                    nl_geterror(code));
        return FALSE;
    }
    fd = nl_socket_get_fd(queue->sock);
    /* Best effort: with less room, or as someone who may not ask for more, fewer frames fit. */
    nl_socket_set_buffer_size(queue->sock, BUFFER_BYTES, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){BUFFER_BYTES}, sizeof(int)) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on)) < 0)
        g_debug("nfnetlink_queue: %s", g_strerror(errno));
    nl_socket_modify_err_cb(queue->sock, NL_CB_CUSTOM, on_refusal, queue);
    nl_socket_disable_auto_ack(queue->sock);
    nl_socket_set_nonblocking(queue->sock);
    queue->source = g_unix_fd_add(fd, G_IO_IN, on_readable, queue);
    return TRUE;
}

VfoQueue *vfo_queue_new(VfoQueueArrived arrived, gpointer data, GError **error)
{
    VfoQueue *queue = g_new0(VfoQueue, 1);
    int on = 1;

    queue->arrived = arrived;
    queue->data = data;
    queue->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!queue->nft)
        g_error("out of memory for nftables");
    nft_ctx_buffer_error(queue->nft);
    nft_ctx_buffer_output(queue->nft);
    /* The kernel notes arrivals only as long as somebody asks for that. */
    queue->stamps = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (queue->stamps >= 0 &&
        setsockopt(queue->stamps, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)) < 0)
        g_debug("SO_TIMESTAMP: %s", g_strerror(errno));
    if (!open_queue(queue, error) || !make_table(queue, error))
        g_clear_pointer(&queue, vfo_queue_free);
    return queue;
}

void vfo_queue_free(VfoQueue *queue)
{
    if (!queue)
        return;
    g_clear_handle_id(&queue->source, g_source_remove);
    nl_socket_free(queue->sock);
    nft_ctx_free(queue->nft);
    if (queue->stamps >= 0)
        close(queue->stamps);
    g_free(queue);
}
