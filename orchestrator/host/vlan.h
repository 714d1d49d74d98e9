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

/** VfoTag: what a frame is tagged with. */
typedef struct {
    guint16 id;     /* 0: nothing */
    gboolean outer; /* of 802.1ad instead of 802.1Q */
} VfoTag;

/** vfo_vlan_read: the VLANs of @port, of VfoVlan. Free with g_array_unref(). Needs Linux 5.6. */
GArray *vfo_vlan_read(VfoNetlink *netlink, const VfoLink *port, GError **error);

/** VfoCarried: what a bridge carries between a tap and the way out. Clear with
 *  vfo_carried_clear(). */
typedef struct {
    GArray *vlans; /* of guint16: in which it does; 0: without one */
    GArray *trunk; /* of guint16: the tags that the guest itself gives its frames; NULL: none */
    VfoTag tag;    /* of its untagged frames beyond the way out */
} VfoCarried;

void vfo_carried_clear(VfoCarried *carried);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VfoCarried, vfo_carried_clear)

/**
 * vfo_vlan_match: what @bridge carries of what @tap and @uplink send each other. VFO_ERROR_MISMATCH
 * with the command that helps when frames change their VLAN between tap and network in another way
 * than that, or the tap gets frames of a VLAN that it does not send into.
 */
gboolean vfo_vlan_match(VfoNetlink *netlink, const VfoLink *bridge, const VfoLink *tap,
                        const VfoLink *uplink, VfoCarried *carried, GError **error);
