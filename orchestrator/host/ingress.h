/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ingress of a macvtap: what is about to enter it passes a filter (tc(8)) that sends it
 * elsewhere, or drops it. Private to host/.
 *
 * The queueing discipline `clsact`, at which filters are, is made when it is needed, and stays: to
 * take it away, too, would cost what the guest sends meanwhile (Linux 6.1, qdisc_graft()).
 *
 * Functions that return int give 0 or a negative errno value; all block until the kernel has
 * answered. @macvtap is an interface index.
 */
#pragma once

#include "host/netlink.h"

/** VfoIngressFilter: its priority, by which it is known. The first of several is heeded first. */
typedef enum {
    VFO_INGRESS_DIVERT = 0x5646,
    VFO_INGRESS_DROP = 0x5647,
} VfoIngressFilter;

/** vfo_ingress_prepare: makes `clsact`; there already is success, with @existed. */
int vfo_ingress_prepare(VfoNetlink *netlink, int macvtap, gboolean *existed);

/** vfo_ingress_count: the filters that are there, anybody's. */
int vfo_ingress_count(VfoNetlink *netlink, int macvtap, guint *count);

/** vfo_ingress_divert: all goes to the interface @ifb and leaves by it. */
int vfo_ingress_divert(VfoNetlink *netlink, int macvtap, int ifb);

/** vfo_ingress_drop: what is addressed to @mac, and to nobody else, is dropped. Already so is
 *  success. */
int vfo_ingress_drop(VfoNetlink *netlink, int macvtap, const VfoMac *mac);

/** vfo_ingress_remove: all of @filter. There is none, or no such interface, is success. */
gboolean vfo_ingress_remove(VfoNetlink *netlink, int macvtap, VfoIngressFilter filter,
                            GError **error);
