/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/queue.h"

/* Before linux/netfilter.h, which defines the same unless it sees it. */
#include <netinet/in.h>

#include <errno.h>
#include <glib-unix.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <netlink/msg.h>
#include <netlink/netfilter/nfnl.h>
#include <netlink/netfilter/queue.h>
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

/* Of frames, at a time: they may come as fast as they are read. */
#define MAX_READS MAX_FRAMES

/* Bytes that are sent together. */
#define MAX_VERDICTS 8192

struct _VfoQueue {
    struct nft_ctx *nft;
    struct nl_sock *sock;
    guint number;
    guint n_stamps;
    int stamps; /* a socket that has the kernel note when frames arrive; -1: nobody wants that */
    guint n_attends;
    guint source;         /* of what has come; 0: nobody wants to know at once */
    GByteArray *verdicts; /* that have not been sent */
    VfoQueueArrived arrived;
    gpointer data;
};

/* ------------------------------------------------------------------ table */

/* @code: of the error, of which @what is the beginning. */
static gboolean run_nft(VfoQueue *queue, const char *commands, VfoError code, const char *what,
                        GError **error)
{
    const char *said;
    int failed;

    vfo_stopwatch_begin_outside();
    failed = nft_run_cmd_from_buffer(queue->nft, commands);
    vfo_stopwatch_end_outside();
    said = nft_ctx_get_error_buffer(queue->nft);
    if (failed == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, code,
                "%s: nftables refuses its table for bridges: %.*s (needs CONFIG_NF_TABLES_BRIDGE "
                "and CONFIG_NFT_QUEUE; see 'nft list ruleset')",
                what, (int)strcspn(said, "\n"), said);
    return FALSE;
}

/* The kernel notes arrivals only as long as somebody asks for that: it costs every frame of the
 * host a look at the clock. */
static void begin_stamps(VfoQueue *queue)
{
    int on = 1;

    queue->stamps = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (queue->stamps >= 0 &&
        setsockopt(queue->stamps, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)) < 0)
        g_debug("SO_TIMESTAMP: %s", g_strerror(errno));
}

static void end_stamps(VfoQueue *queue)
{
    if (queue->stamps >= 0)
        close(queue->stamps);
    queue->stamps = -1;
}

/* The set of ports, there in any case: somebody may have flushed the ruleset. */
#define SET                                                                                        \
    "table bridge vfailover {\n"                                                                   \
    "  set held_%1$u { type ifname; }\n"                                                           \
    "}\n"

/* All of it; a chain's rules are replaced. */
#define TABLE                                                                                      \
    "table bridge vfailover {\n"                                                                   \
    "  set held_%1$u { type ifname; }\n"                                                           \
    "  chain forward_%1$u { type filter hook forward priority 0; }\n"                              \
    "  chain output_%1$u { type filter hook output priority 0; }\n"                                \
    "}\n"                                                                                          \
    "flush chain bridge vfailover forward_%1$u\n"                                                  \
    "flush chain bridge vfailover output_%1$u\n"                                                   \
    "add rule bridge vfailover forward_%1$u oifname @held_%1$u queue flags bypass to %1$u\n"       \
    "add rule bridge vfailover output_%1$u oifname @held_%1$u queue flags bypass to %1$u\n"

#define CANNOT "cannot hold frames"

static char *element_of(const VfoQueue *queue, const char *verb, const char *port)
{
    return g_strdup_printf("%s element bridge vfailover held_%u { \"%s\" }\n", verb, queue->number,
                           port);
}

gboolean vfo_queue_keep(VfoQueue *queue, const char *port, GError **error)
{
    g_autofree char *table = NULL;
    g_autofree char *element = NULL;
    g_autofree char *commands = NULL;

    /* The name becomes part of a command. */
    if (strpbrk(port, "\"\\*\n")) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    CANNOT " for %s: nftables cannot express its name", port);
        return FALSE;
    }
    table = g_strdup_printf(TABLE, queue->number);
    element = element_of(queue, "add", port);
    commands = g_strconcat(table, element, NULL);
    return run_nft(queue, commands, VFO_ERROR_NOT_SUPPORTED, CANNOT, error);
}

gboolean vfo_queue_pass(VfoQueue *queue, const char *port, GError **error)
{
    g_autofree char *set = g_strdup_printf(SET, queue->number);
    g_autofree char *added = element_of(queue, "add", port);
    g_autofree char *deleted = element_of(queue, "delete", port);
    g_autofree char *commands = g_strconcat(set, added, deleted, NULL);

    return run_nft(queue, commands, VFO_ERROR_FAILED, "frames still pass through this daemon",
                   error);
}

/* What another life of this daemon left is replaced. */
static gboolean make_table(VfoQueue *queue, GError **error)
{
    g_autofree char *commands =
        g_strdup_printf(TABLE "flush set bridge vfailover held_%1$u", queue->number);

    return run_nft(queue, commands, VFO_ERROR_NOT_SUPPORTED, CANNOT, error);
}

/* ------------------------------------------------------------------ queue */

static guint32 u32_of(struct nlattr **attributes, int type)
{
    return attributes[type] && nla_len(attributes[type]) >= 4 ? ntohl(nla_get_u32(attributes[type]))
                                                              : 0;
}

static void take_message(VfoQueue *queue, struct nlmsghdr *message)
{
    struct nlattr *attributes[NFQA_MAX + 1];
    struct nfqnl_msg_packet_hdr packet;
    struct nfqnl_msg_packet_timestamp at;
    VfoQueued frame = {0};

    /* What else there may be is the refusal of a verdict that came too late: the kernel has
     * dropped the frame already. */
    if (nfnlmsg_subsys(message) != NFNL_SUBSYS_QUEUE ||
        nfnlmsg_subtype(message) != NFQNL_MSG_PACKET ||
        nlmsg_parse(message, sizeof(struct nfgenmsg), attributes, NFQA_MAX, NULL) < 0 ||
        !attributes[NFQA_PACKET_HDR] || nla_len(attributes[NFQA_PACKET_HDR]) < (int)sizeof(packet))
        return;
    memcpy(&packet, nla_data(attributes[NFQA_PACKET_HDR]), sizeof(packet));
    frame.id = ntohl(packet.packet_id);
    /* "PHYS": a port, where the kernel tells its bridge as the device. */
    frame.in = (int)u32_of(attributes, attributes[NFQA_IFINDEX_PHYSINDEV] ? NFQA_IFINDEX_PHYSINDEV
                                                                          : NFQA_IFINDEX_INDEV);
    frame.out =
        (int)u32_of(attributes, attributes[NFQA_IFINDEX_PHYSOUTDEV] ? NFQA_IFINDEX_PHYSOUTDEV
                                                                    : NFQA_IFINDEX_OUTDEV);
    frame.arrived_us = g_get_real_time();
    if (attributes[NFQA_TIMESTAMP] && nla_len(attributes[NFQA_TIMESTAMP]) >= (int)sizeof(at)) {
        memcpy(&at, nla_data(attributes[NFQA_TIMESTAMP]), sizeof(at));
        frame.arrived_us =
            (gint64)(GUINT64_FROM_BE(at.sec) * G_USEC_PER_SEC + GUINT64_FROM_BE(at.usec));
    }
    queue->arrived(&frame, queue->data);
}

/* Not through libnl, whose several calls and allocations for each frame add up. */
void vfo_queue_read(VfoQueue *queue)
{
    _Alignas(struct nlmsghdr) char buffer[4096];
    int fd = nl_socket_get_fd(queue->sock);
    guint reads = 0;
    ssize_t got = 0;

    while (reads++ < MAX_READS && (got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0) {
        struct nlmsghdr *message = (struct nlmsghdr *)buffer;
        int left = (int)got;

        for (; nlmsg_ok(message, left); message = nlmsg_next(message, &left))
            take_message(queue, message);
    }
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        g_warning("frames that are held may be lost: nfnetlink_queue: %s", g_strerror(errno));
}

typedef struct {
    struct nlmsghdr header;
    struct nfgenmsg family;
    struct nlattr attribute;
    struct nfqnl_msg_verdict_hdr verdict;
} Verdict;

void vfo_queue_flush(VfoQueue *queue)
{
    int fd = nl_socket_get_fd(queue->sock);

    if (queue->verdicts->len > 0 &&
        send(fd, queue->verdicts->data, queue->verdicts->len, 0) != (ssize_t)queue->verdicts->len)
        g_warning("frames that were held are lost: nfnetlink_queue: %s", g_strerror(errno));
    g_byte_array_set_size(queue->verdicts, 0);
}

void vfo_queue_decide(VfoQueue *queue, guint32 id, gboolean goes_on)
{
    Verdict verdict = {
        .header = {.nlmsg_len = sizeof(verdict),
                   .nlmsg_type = (NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_VERDICT,
                   .nlmsg_flags = NLM_F_REQUEST},
        .family = {.nfgen_family = PF_BRIDGE,
                   .version = NFNETLINK_V0,
                   .res_id = htons((guint16)queue->number)},
        .attribute = {.nla_len = sizeof(verdict.attribute) + sizeof(verdict.verdict),
                      .nla_type = NFQA_VERDICT_HDR},
        .verdict = {.verdict = htonl(goes_on ? NF_ACCEPT : NF_DROP), .id = htonl(id)},
    };

    if (queue->verdicts->len + sizeof(verdict) > MAX_VERDICTS)
        vfo_queue_flush(queue);
    g_byte_array_append(queue->verdicts, (const guint8 *)&verdict, sizeof(verdict));
}

static gboolean on_arrived(int fd, GIOCondition condition, gpointer data)
{
    VfoQueue *queue = data;

    vfo_stopwatch_begin_spare();
    vfo_queue_read(queue);
    vfo_queue_flush(queue);
    vfo_stopwatch_end_spare();
    return G_SOURCE_CONTINUE;
}

/* Whoever wants the times reads often enough for all, and may expect many. */
static void choose_source(VfoQueue *queue)
{
    gboolean wanted = queue->n_attends > 0 && queue->n_stamps == 0;

    if (wanted && queue->source == 0)
        queue->source = g_unix_fd_add(nl_socket_get_fd(queue->sock), G_IO_IN, on_arrived, queue);
    else if (!wanted)
        g_clear_handle_id(&queue->source, g_source_remove);
}

void vfo_queue_attend(VfoQueue *queue, gboolean wanted)
{
    g_assert(wanted || queue->n_attends > 0);
    queue->n_attends += wanted ? 1 : -1;
    choose_source(queue);
}

void vfo_queue_stamp(VfoQueue *queue, gboolean wanted)
{
    g_assert(wanted || queue->n_stamps > 0);
    if (wanted && queue->n_stamps++ == 0)
        begin_stamps(queue);
    else if (!wanted && --queue->n_stamps == 0)
        end_stamps(queue);
    choose_source(queue);
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
    nl_socket_disable_auto_ack(queue->sock);
    nl_socket_set_nonblocking(queue->sock);
    return TRUE;
}

VfoQueue *vfo_queue_new(VfoQueueArrived arrived, gpointer data, GError **error)
{
    VfoQueue *queue = g_new0(VfoQueue, 1);

    queue->verdicts = g_byte_array_new();
    queue->arrived = arrived;
    queue->data = data;
    queue->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!queue->nft)
        g_error("out of memory for nftables");
    nft_ctx_buffer_error(queue->nft);
    nft_ctx_buffer_output(queue->nft);
    queue->stamps = -1;
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
    g_byte_array_unref(queue->verdicts);
    nft_ctx_free(queue->nft);
    end_stamps(queue);
    g_free(queue);
}
