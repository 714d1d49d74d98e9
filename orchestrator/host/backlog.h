/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far behind the reader of a tap is: what has been sent to the tap and has not been read from
 * it. Private to host/.
 *
 * The kernel does not tell how much is in a tap (drivers/net/tun.c, Linux 6.1), but it counts what
 * is read from it and what did not fit; what is sent to it a packet socket counts here.
 */
#pragma once

#include "host/link.h"

typedef struct _VfoBacklog VfoBacklog;

/** vfo_backlog_new: counts what is sent to @tap from here on. Costs each of its frames a clone of
 *  its header. VFO_ERROR_FAILED: no packet socket; VFO_ERROR_NOT_FOUND: there is no such tap. */
VfoBacklog *vfo_backlog_new(VfoNetlink *netlink, const VfoLink *tap, GError **error);

/** vfo_backlog_free: blocks for some 10 ms: to close a packet socket the kernel waits until no
 *  processor can be in it. */
void vfo_backlog_free(VfoBacklog *backlog);

/**
 * vfo_backlog_is_short: whether what is sent to the tap now is read within 50 ms, at the rate at
 * which it was read since the last look; or there is nothing in it. What was in it at the beginning
 * nobody knows; but as long as clearly more is read than is sent something is left, so three looks
 * in which it was not so have to go by.
 */
gboolean vfo_backlog_is_short(VfoBacklog *backlog, gboolean *is_short, GError **error);

/** vfo_backlog_frames: in the tap as of the last look, but for what was there at the beginning. */
guint64 vfo_backlog_frames(const VfoBacklog *backlog);
