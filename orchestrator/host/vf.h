/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a PF's driver enforces for its VFs, over netlink. Private to host/.
 */
#pragma once

#include "host/link.h"

/** VfoVfState: a VF as its PF's driver reports it. */
typedef struct {
    guint index;
    VfoVfSettings settings; /* FALSE or 0 for what the driver does not report */
    guint64 packets;        /* received and sent; 0 where the driver does not count (igb) */
} VfoVfState;

/**
 * vfo_vf_states: all VFs of the PF called @pf, of VfoVfState, and the PF itself in @link.
 * The kernel has no smaller question: they are part of one message. Free with
 * g_array_unref(). With @counters, packets are read as well.
 */
GArray *vfo_vf_states(VfoNetlink *netlink, const char *pf, gboolean counters, VfoLink *link,
                      GError **error);

/** vfo_vf_state: VF number @index of the PF called @pf; VFO_ERROR_NOT_FOUND when the
 *  driver reports none. @link may be NULL. */
gboolean vfo_vf_state(VfoNetlink *netlink, const char *pf, guint index, gboolean counters,
                      VfoLink *link, VfoVfState *state, GError **error);

/**
 * vfo_vf_apply: gives VF number @index of the PF called @pf (driver @driver, for errors)
 * what differs between @want and its present settings, one attribute per request, and
 * reads all of it back. With @mac_first its address changes before the rest,
 * otherwise after.
 */
gboolean vfo_vf_apply(VfoNetlink *netlink, const char *pf, const char *driver, guint index,
                      const VfoVfSettings *want, gboolean mac_first, GError **error);
