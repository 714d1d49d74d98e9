/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#define RECEIVE_TIMEOUT_S  1
#define BUFFER_BYTES       (256 * 1024)
#define BUFFER_BYTES_LIMIT (8 * 1024 * 1024)
/* A bridge that has learned more addresses than this on one port is broken or under attack. */
#define MAX_ANSWERS 131072
#define MAX_TRIES   6

struct _VfoNetlink {
    int protocol;
    /* Apart, so that an answer that was given up does not turn up among a change's. */
    struct nl_sock *query;
    struct nl_sock *change;
    int buffer_bytes;
    char *reason;          /* the kernel's words for the last refusal, NULL: none */
    VfoMessage *follow_up; /* not owned; NULL: nothing follows the next change */
    VfoNetlinkStandIn stand_in;
    gpointer stand_in_data;
};

typedef struct {
    VfoNetlinkAnswer answer;
    gpointer data;
    char **reason;
    guint answers;
    int code;
    guint requests; /* this is about the first, and over when all have ended */
    guint ended;
    gboolean interrupted; /* the table changed under the dump */
} Exchange;

static struct nl_sock *socket_open(int protocol, int buffer_bytes, int *code)
{
    struct nl_sock *sock = nl_socket_alloc();
    struct timeval timeout = {.tv_sec = RECEIVE_TIMEOUT_S};
    int on = 1;
    int fd;

    if (!sock) {
        *code = -NLE_NOMEM;
        return NULL;
    }
    *code = nl_connect(sock, protocol);
    if (*code >= 0)
        *code = nl_socket_set_buffer_size(sock, buffer_bytes, 0);
    if (*code < 0) {
        nl_socket_free(sock);
        return NULL;
    }
    fd = nl_socket_get_fd(sock);
    nl_socket_enable_msg_peek(sock);
    /* Strict: the kernel filters a dump by device, and refuses what it does not
     * understand instead of leaving it out (Linux 4.20). */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0) {
        *code = -nl_syserr2nlerr(errno);
        nl_socket_free(sock);
        return NULL;
    }
    return sock;
}

VfoNetlink *vfo_netlink_new(int protocol, GError **error)
{
    VfoNetlink *netlink;
    int code;
    struct nl_sock *query = socket_open(protocol, BUFFER_BYTES, &code);
    struct nl_sock *change = query ? socket_open(protocol, BUFFER_BYTES, &code) : NULL;

    if (!change) {
        nl_socket_free(query);
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "cannot open a netlink socket: %s (vfailoverd needs Linux 5.0 or later)",
                    nl_geterror(code));
        return NULL;
    }
    netlink = g_new0(VfoNetlink, 1);
    netlink->protocol = protocol;
    netlink->buffer_bytes = BUFFER_BYTES;
    netlink->query = query;
    netlink->change = change;
    return netlink;
}

VfoNetlink *vfo_netlink_new_stand_in(VfoNetlinkStandIn stand_in, gpointer data)
{
    VfoNetlink *netlink = g_new0(VfoNetlink, 1);

    netlink->stand_in = stand_in;
    netlink->stand_in_data = data;
    return netlink;
}

void vfo_netlink_free(VfoNetlink *netlink)
{
    if (!netlink)
        return;
    nl_socket_free(netlink->query);
    nl_socket_free(netlink->change);
    g_free(netlink->reason);
    g_free(netlink);
}

VfoMessage *vfo_netlink_message(int type, int flags, const void *header, gsize length)
{
    VfoMessage *message = nlmsg_alloc_simple(type, flags);

    if (!message || nlmsg_append(message, (void *)header, length, NLMSG_ALIGNTO) < 0)
        g_error("out of memory for a netlink request");
    return message;
}

void vfo_netlink_put(VfoMessage *message, int type, const void *data, gsize length)
{
    if (nla_put(message, type, (int)length, data) < 0)
        g_error("netlink attribute %d of %zu bytes does not fit", type, length);
}

void vfo_netlink_put_u32(VfoMessage *message, int type, guint32 value)
{
    vfo_netlink_put(message, type, &value, sizeof(value));
}

void vfo_netlink_put_string(VfoMessage *message, int type, const char *value)
{
    vfo_netlink_put(message, type, value, strlen(value) + 1);
}

struct nlattr *vfo_netlink_nest(VfoMessage *message, int type)
{
    struct nlattr *nested = nla_nest_start(message, type);

    if (!nested)
        g_error("netlink attribute %d does not fit", type);
    return nested;
}

static int on_valid(struct nl_msg *message, void *data)
{
    Exchange *exchange = data;

    /* After a failure the rest is still read, so that the socket is empty
     * when the next request is sent. */
    if (exchange->code < 0)
        return NL_OK;
    if (++exchange->answers > MAX_ANSWERS)
        exchange->code = -EMSGSIZE;
    else if (exchange->answer)
        exchange->code = exchange->answer(nlmsg_hdr(message), exchange->data);
    return NL_OK;
}

static int on_interrupted(struct nl_msg *message, void *data)
{
    Exchange *exchange = data;

    exchange->interrupted = TRUE;
    return NL_OK;
}

static int on_end(struct nl_msg *message, void *data)
{
    Exchange *exchange = data;
    struct nlmsghdr *header = nlmsg_hdr(message);

    /* Since Linux 4.14 the end of a dump carries its result. */
    if (header->nlmsg_type == NLMSG_DONE && nlmsg_datalen(header) >= (int)sizeof(int)) {
        int result = *(const int *)nlmsg_data(header);

        if (result < 0 && exchange->code == 0)
            exchange->code = result;
    }
    exchange->ended++;
    return NL_STOP;
}

static int on_refusal(struct sockaddr_nl *address, struct nlmsgerr *refusal, void *data)
{
    static const struct nla_policy policy[NLMSGERR_ATTR_MAX + 1] = {
        [NLMSGERR_ATTR_MSG] = {.type = NLA_STRING, .maxlen = 512},
    };
    Exchange *exchange = data;
    struct nlmsghdr *header = (struct nlmsghdr *)((char *)refusal - NLMSG_HDRLEN);
    struct nlattr *attributes[NLMSGERR_ATTR_MAX + 1];
    int length = nlmsg_datalen(header) - (int)sizeof(*refusal);

    /* Not NL_STOP: libnl would call it a failure of the reading. */
    if (exchange->ended++ > 0)
        return NL_SKIP;
    exchange->code = refusal->error;
    /* With NETLINK_CAP_ACK the attributes follow at once; the request is not repeated. */
    if ((header->nlmsg_flags & NLM_F_ACK_TLVS) && length > 0 &&
        nla_parse(attributes, NLMSGERR_ATTR_MAX, (struct nlattr *)(refusal + 1), length,
                  (struct nla_policy *)policy) >= 0 &&
        attributes[NLMSGERR_ATTR_MSG]) {
        char *reason = nla_strdup(attributes[NLMSGERR_ATTR_MSG]);

        g_free(*exchange->reason);
        *exchange->reason = g_strdup(reason);
        free(reason);
    }
    return NL_SKIP;
}

/* In one call, in which the kernel does one after the other. */
static int send_all(struct nl_sock *sock, VfoMessage *request, VfoMessage *follow_up)
{
    struct iovec parts[2] = {{nlmsg_hdr(request), nlmsg_hdr(request)->nlmsg_len}};

    nlmsg_hdr(request)->nlmsg_seq = NL_AUTO_SEQ;
    nlmsg_hdr(request)->nlmsg_pid = NL_AUTO_PORT;
    nl_complete_msg(sock, request);
    if (!follow_up)
        return nl_send_iovec(sock, request, parts, 1);
    nlmsg_hdr(follow_up)->nlmsg_seq = NL_AUTO_SEQ;
    nlmsg_hdr(follow_up)->nlmsg_pid = NL_AUTO_PORT;
    nl_complete_msg(sock, follow_up);
    parts[1] = (struct iovec){nlmsg_hdr(follow_up), nlmsg_hdr(follow_up)->nlmsg_len};
    return nl_send_iovec(sock, request, parts, 2);
}

/* Returns an NLE_* value (negative) when the connection failed; the kernel's own verdict is
 * in exchange->code. */
static int exchange_once(struct nl_sock *sock, VfoMessage *request, VfoMessage *follow_up,
                         Exchange *exchange)
{
    struct nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
    int result;

    if (!callbacks)
        return -NLE_NOMEM;
    nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, on_valid, exchange);
    nl_cb_set(callbacks, NL_CB_ACK, NL_CB_CUSTOM, on_end, exchange);
    nl_cb_set(callbacks, NL_CB_FINISH, NL_CB_CUSTOM, on_end, exchange);
    nl_cb_set(callbacks, NL_CB_DUMP_INTR, NL_CB_CUSTOM, on_interrupted, exchange);
    nl_cb_err(callbacks, NL_CB_CUSTOM, on_refusal, exchange);

    result = send_all(sock, request, follow_up);
    while (result >= 0 && exchange->ended < exchange->requests)
        result = nl_recvmsgs(sock, callbacks);
    nl_cb_put(callbacks);
    return exchange->ended < exchange->requests ? result : 0;
}

/* The old socket may still get an answer that nobody waits for: it goes with it. */
static int reopen(VfoNetlink *netlink, struct nl_sock **sock)
{
    int code;
    struct nl_sock *fresh = socket_open(netlink->protocol, netlink->buffer_bytes, &code);

    if (!fresh)
        return code;
    nl_socket_free(*sock);
    *sock = fresh;
    return 0;
}

static int request_on(VfoNetlink *netlink, struct nl_sock **sock, VfoMessage *request,
                      VfoMessage *follow_up, VfoNetlinkAnswer answer, gpointer data)
{
    int failure = 0;

    for (int i = 0; i < MAX_TRIES; i++) {
        Exchange exchange = {.answer = answer,
                             .data = data,
                             .reason = &netlink->reason,
                             .requests = follow_up ? 2 : 1};

        failure = exchange_once(*sock, request, follow_up, &exchange);
        if (failure == 0) {
            if (exchange.interrupted && exchange.code == 0)
                continue;
            return exchange.code;
        }
        /* libnl's name for ENOBUFS. The request may have been carried out: every
         * request of this room may be sent twice. */
        if (failure == -NLE_NOMEM && netlink->buffer_bytes < BUFFER_BYTES_LIMIT)
            netlink->buffer_bytes *= 2;
        else
            i = MAX_TRIES;
        if (reopen(netlink, sock) < 0)
            break;
    }
    if (failure == 0)
        return -EAGAIN;
    return failure == -NLE_AGAIN ? -ETIMEDOUT : -EIO;
}

static int request_outside(VfoNetlink *netlink, struct nl_sock **sock, VfoMessage *request,
                           VfoMessage *follow_up, VfoNetlinkAnswer answer, gpointer data)
{
    int code;

    g_clear_pointer(&netlink->reason, g_free);
    vfo_stopwatch_begin_outside();
    if (!netlink->stand_in) {
        code = request_on(netlink, sock, request, follow_up, answer, data);
    } else {
        code = netlink->stand_in(nlmsg_hdr(request), answer, data, netlink->stand_in_data);
        if (follow_up)
            netlink->stand_in(nlmsg_hdr(follow_up), NULL, NULL, netlink->stand_in_data);
    }
    vfo_stopwatch_end_outside();
    return code;
}

int vfo_netlink_query(VfoNetlink *netlink, VfoMessage *request, VfoNetlinkAnswer answer,
                      gpointer data)
{
    return request_outside(netlink, &netlink->query, request, NULL, answer, data);
}

int vfo_netlink_change(VfoNetlink *netlink, VfoMessage *request)
{
    VfoMessage *follow_up = g_steal_pointer(&netlink->follow_up);

    return request_outside(netlink, &netlink->change, request, follow_up, NULL, NULL);
}

void vfo_netlink_follow_up(VfoNetlink *netlink, VfoMessage *request)
{
    netlink->follow_up = request;
}

const char *vfo_netlink_reason(VfoNetlink *netlink, int code)
{
    return netlink->reason ? netlink->reason : g_strerror(-code);
}

static VfoError code_of(int code)
{
    switch (-code) {
    case ENODEV:
    case ENOENT:
    case ENXIO:
        return VFO_ERROR_NOT_FOUND;
    case EBUSY:
        return VFO_ERROR_BUSY;
    case EPERM:
    case EACCES:
        return VFO_ERROR_DENIED;
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
        return VFO_ERROR_NOT_SUPPORTED;
    case ETIMEDOUT:
        return VFO_ERROR_DEADLINE;
    default:
        return VFO_ERROR_FAILED;
    }
}

gboolean vfo_netlink_fail(VfoNetlink *netlink, int code, GError **error, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list arguments;

    va_start(arguments, format);
    what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, VFO_ERROR, code_of(code), "%s: %s", what, vfo_netlink_reason(netlink, code));
    return FALSE;
}
