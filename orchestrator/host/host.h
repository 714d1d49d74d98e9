/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of host/: this host's PFs, VFs, bridges and taps, through sysfs and
 * netlink. The rest is reached through VfoHostOps (core/core.h).
 */
#pragma once

#include "core/core.h"

/** VfoNetwork: a [network NAME] group of the configuration. */
typedef struct {
    char *name;
    char **pfs; /* interfaces, NULL-terminated, at least one */
    char *bridge;
} VfoNetwork;

void vfo_network_free(VfoNetwork *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoNetwork, vfo_network_free)

/**
 * vfo_host_new: the host with @networks (of VfoNetwork; reference taken). Opens
 * its netlink sockets; asks nothing yet. @leases tells generations (not owned).
 * @sysfs is "/sys", or a test's own tree.
 */
VfoHost *vfo_host_new(GPtrArray *networks, VfoLeases *leases, const char *sysfs, GError **error);
void vfo_host_free(VfoHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoHost, vfo_host_free)
