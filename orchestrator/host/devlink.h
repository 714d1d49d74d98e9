/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports of a card whose PF is in switchdev mode, over devlink (generic netlink): behind the port
 * of a VF is its function, which has a MAC address. Private to host/.
 */
#pragma once

#include "host/link.h"

/** VfoDevlinkPort: which port of which card. Plain data. */
typedef struct {
    char bus[32];
    char device[64];
    guint32 port;
} VfoDevlinkPort;

/**
 * vfo_devlink_find: the port of VF number @index on the card of @pf. @found is FALSE where the
 * kernel has no devlink, or the driver makes no ports for its VFs, as in legacy mode. @generic is
 * a socket for NETLINK_GENERIC.
 */
gboolean vfo_devlink_find(VfoNetlink *generic, const VfoLink *pf, guint index, VfoDevlinkPort *port,
                          gboolean *found, GError **error);

/**
 * vfo_devlink_set_mac: gives the function behind @port the address @mac, and reads it back.
 * VFO_ERROR_NOT_SUPPORTED when the driver leaves that to others.
 */
gboolean vfo_devlink_set_mac(VfoNetlink *generic, const VfoDevlinkPort *port, const VfoMac *mac,
                             GError **error);
