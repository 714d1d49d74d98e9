/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forwarding entries: the unicast filter of a PF, and a bridge's table. Private
 * to host/.
 */
#pragma once

#include "host/link.h"

/**
 * vfo_fdb_open_filter: has @pf accept frames for @mac from the wire and from its
 * VFs ("bridge fdb add MAC dev PF self"). Already there is success. VFO_ERROR_BUSY: there is no
 * room, or the filter has @entries addresses already (0: its driver says when it is full).
 */
gboolean vfo_fdb_open_filter(VfoNetlink *netlink, const VfoLink *pf, guint entries,
                             const VfoMac *mac, GError **error);

/**
 * vfo_fdb_try_filter: whether that would find room for @mac, by a parking address that no VF has,
 * for which the filter is opened for a moment. VFO_ERROR_BUSY: no.
 */
gboolean vfo_fdb_try_filter(VfoNetlink *netlink, const VfoLink *pf, guint entries,
                            const VfoMac *mac, GError **error);

/** vfo_fdb_close_filter: takes that away. Nothing there is success. */
gboolean vfo_fdb_close_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                              GError **error);

/** vfo_fdb_closing: the request with which vfo_fdb_close_filter() begins. Never NULL; free with
 *  nlmsg_free(). */
VfoMessage *vfo_fdb_closing(const VfoLink *pf, const VfoMac *mac);

/** vfo_fdb_has_filter: whether @pf accepts frames for @mac (@found), whoever has seen to it. */
gboolean vfo_fdb_has_filter(VfoNetlink *netlink, const VfoLink *pf, const VfoMac *mac,
                            gboolean *found, GError **error);

/**
 * vfo_fdb_point: has the bridge of which @port is a port send frames for @mac to it,
 * in each of @vlans (of guint16; 0: without one, which is where a bridge that does not filter
 * VLANs looks), whatever arrives where (sticky entries). Replaces entries that
 * point elsewhere or were learned.
 */
gboolean vfo_fdb_point(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac,
                       const GArray *vlans, GError **error);

/** vfo_fdb_forget: takes the entries in @vlans that point to @port away. Nothing there is
 *  success. */
gboolean vfo_fdb_forget(VfoNetlink *netlink, const VfoLink *port, const VfoMac *mac,
                        const GArray *vlans, GError **error);
