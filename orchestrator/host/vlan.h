/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VLANs of a bridge's ports. Private to host/.
 */
#pragma once

#include "host/link.h"

/** VfoVlan: one VLAN of a port. */
typedef struct {
    guint16 id;
    gboolean pvid;     /* takes what comes without a tag */
    gboolean untagged; /* goes out without a tag */
} VfoVlan;

/** vfo_vlan_read: the VLANs of @port, of VfoVlan. Free with g_array_unref(). Needs Linux 5.6. */
GArray *vfo_vlan_read(VfoNetlink *netlink, const VfoLink *port, GError **error);

/**
 * vfo_vlan_match: the VLANs in which @bridge carries what @tap and @uplink send each other
 * (@vlans, of guint16; free with g_array_unref()), and the one (@wire_vlan, 0: none) that the
 * guest's untagged frames are in beyond @uplink. VFO_ERROR_MISMATCH with the command that helps
 * when frames change their VLAN between tap and network in another way than that, or the
 * tap gets frames of a VLAN that it does not send into.
 */
gboolean vfo_vlan_match(VfoNetlink *netlink, const VfoLink *bridge, const VfoLink *tap,
                        const VfoLink *uplink, GArray **vlans, guint16 *wire_vlan, GError **error);
