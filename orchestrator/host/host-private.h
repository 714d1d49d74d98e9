/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "host/host.h"
#include "host/netlink.h"
#include "host/pool.h"

/** vfo_host_new_with: as vfo_host_new(), with a given @netlink for NETLINK_ROUTE and @generic for
 *  NETLINK_GENERIC (transfer full), for tests. */
VfoHost *vfo_host_new_with(GPtrArray *networks, VfoLeases *leases, const char *sysfs,
                           VfoNetlink *netlink, VfoNetlink *generic);

/** vfo_host_watch_with: as vfo_host_watch(), without the kernel's events: for tests. */
VfoPool *vfo_host_watch_with(VfoHost *host, VfoHostChanged changed, gpointer data);
