/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a PF's driver enforces for its VFs, over netlink. Private to host/.
 */
#pragma once

#include "host/devlink.h"

/** VfoVfState: a VF as its PF's driver reports it. */
typedef struct {
    guint index;
    VfoVfSettings settings; /* FALSE or 0 for what the driver does not report */
    guint64 packets;        /* received and sent; 0 where the driver does not count (igb) */
} VfoVfState;

/**
 * vfo_vf_states: all VFs of the PF called @pf, of VfoVfState, and the PF itself in @link.
 * The kernel has no smaller question: they are part of one message (196 bytes each, 296 with
 * @counters, with which packets are read as well). Free with g_array_unref().
 */
GArray *vfo_vf_states(VfoNetlink *netlink, const char *pf, gboolean counters, VfoLink *link,
                      GError **error);

/** vfo_vf_find: VF number @index among @states; NULL: the driver reports none. */
const VfoVfState *vfo_vf_find(const GArray *states, guint index);

/** vfo_vf_read: vfo_vf_states(), and @state is VF number @index among them;
 *  VFO_ERROR_NOT_FOUND when the driver reports none. */
GArray *vfo_vf_read(VfoNetlink *netlink, const char *pf, guint index, gboolean counters,
                    VfoLink *link, const VfoVfState **state, GError **error);

/** VfoVfChange: what vfo_vf_apply() shall do. Nothing in it is owned. */
typedef struct {
    const VfoLink *pf;
    const char *driver; /* for errors; NULL: none */
    guint index;
    const VfoVfSettings *known; /* what the VF had when it was last read; NULL: not known */
    const VfoVfSettings *want;
    VfoNetlink *generic;
    const VfoDevlinkPort *port; /* that the VF is behind; NULL: none */
    gboolean mac_first;         /* its address changes before the rest, otherwise after */
} VfoVfChange;

/**
 * vfo_vf_apply: gives a VF what differs between what is wanted and its present settings, one
 * attribute per request, and reads all of it back. Returns all VFs of the PF as they are then,
 * or NULL. What is known saves a reading before the change; if it turns out to be outdated, the
 * change is made anew. The address of a VF behind a port is that of the port's function, if the
 * driver lets it be set there.
 */
GArray *vfo_vf_apply(VfoNetlink *netlink, const VfoVfChange *wanted, GError **error);
