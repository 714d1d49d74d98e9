/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receive ring of a VF, as the registers of its PF show it. Private to host/.
 *
 * A card of which the PF has the registers of all queues tells exactly what a guest has taken of
 * what its VF has received: the guest's driver gives the descriptors back when it has.
 */
#pragma once

#include <glib.h>

/** VfoRing: where the card and the guest's driver are in the ring. All in descriptors. */
typedef struct {
    guint size;
    guint head;        /* the next that the card fills */
    guint tail;        /* as far as the driver lets it go */
    gboolean receives; /* the queue is enabled */
    gboolean alone;    /* it is the only one by which the VF receives */
} VfoRing;

/**
 * vfo_ring_read: the ring of VF number @index of PF @pf, whose driver is igb, from its register
 * dump (ETHTOOL_GREGS: `ethtool -d`). VFO_ERROR_NOT_SUPPORTED: it is of another card, or shows no
 * ring. About 700 registers are read, under the rtnl lock: 1 to 2 ms in an emulated host.
 */
gboolean vfo_ring_read(const char *pf, guint index, VfoRing *ring, GError **error);

/** vfo_ring_of: the same, of a dump of @n registers. FALSE: not supported. */
gboolean vfo_ring_of(const guint32 *registers, gsize n, guint index, VfoRing *ring);
