/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Netlink, one request at a time. Private to host/.
 */
#pragma once

#include <netlink/msg.h>

#include "core/core.h"

typedef struct nl_msg VfoMessage;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoMessage, nlmsg_free)

typedef struct _VfoNetlink VfoNetlink;

/**
 * VfoNetlinkAnswer: called for each message that answers a query. Returns 0, or
 * a negative errno value with which the query then fails.
 */
typedef int (*VfoNetlinkAnswer)(struct nlmsghdr *message, gpointer data);

/** vfo_netlink_new: opens one socket for queries and one for changes, of @protocol
 *  (NETLINK_ROUTE, NETLINK_GENERIC). */
VfoNetlink *vfo_netlink_new(int protocol, GError **error);
void vfo_netlink_free(VfoNetlink *netlink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoNetlink, vfo_netlink_free)

/** VfoNetlinkStandIn: answers @request in the kernel's place: 0 or a negative errno value. */
typedef int (*VfoNetlinkStandIn)(struct nlmsghdr *request, VfoNetlinkAnswer answer,
                                 gpointer answer_data, gpointer data);

/** vfo_netlink_new_stand_in: for tests, a kernel with hardware that the machine lacks. */
VfoNetlink *vfo_netlink_new_stand_in(VfoNetlinkStandIn stand_in, gpointer data);

/**
 * vfo_netlink_message: a request of @type (RTM_*) with @flags (NLM_F_*) and the
 * family header @header. Never NULL.
 */
VfoMessage *vfo_netlink_message(int type, int flags, const void *header, gsize length);

/** vfo_netlink_put: adds an attribute. Requests are small: it always fits. */
void vfo_netlink_put(VfoMessage *message, int type, const void *data, gsize length);
void vfo_netlink_put_u32(VfoMessage *message, int type, guint32 value);
/** vfo_netlink_nest: begins an attribute of attributes, which nla_nest_end() ends. */
struct nlattr *vfo_netlink_nest(VfoMessage *message, int type);
void vfo_netlink_put_string(VfoMessage *message, int type, const char *value);

/**
 * vfo_netlink_query: sends @request and gives every answer to @answer. Waits for
 * the kernel's acknowledgement, for a second at most (the kernel does the work
 * before it returns from the sending, so that the wait is none in practice).
 * Returns 0, or a negative errno value, of which vfo_netlink_fail() makes an error.
 */
int vfo_netlink_query(VfoNetlink *netlink, VfoMessage *request, VfoNetlinkAnswer answer,
                      gpointer data);

/** vfo_netlink_change: sends @request and waits for its acknowledgement, likewise. */
int vfo_netlink_change(VfoNetlink *netlink, VfoMessage *request);

/**
 * vfo_netlink_follow_up: the kernel gets @request in one go with the next change, and carries it
 * out directly after that one, whether that succeeds or not. What comes of it is told to nobody:
 * for what is asked for once more, or read back. NULL, and that next change: nothing more is to
 * follow. Not owned.
 */
void vfo_netlink_follow_up(VfoNetlink *netlink, VfoMessage *request);

/** vfo_netlink_reason: what the last request's negative @code means, in the kernel's
 *  own words where it gave some. Valid until the next request. */
const char *vfo_netlink_reason(VfoNetlink *netlink, int code);

/**
 * vfo_netlink_fail: sets @error to "@format: reason" for @code, which the last request
 * returned. Returns FALSE.
 */
gboolean vfo_netlink_fail(VfoNetlink *netlink, int code, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
