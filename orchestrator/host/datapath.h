/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A datapath: one way in which hosts wire a standby to the physical network. A table per
 * way, one file each; local-wire.c has them all. Private to host/.
 */
#pragma once

#include "host/host.h"
#include "host/vlan.h"

/** VfoSearch: what is known before a wire is found. Nothing in it is owned. */
typedef struct {
    VfoNetlink *netlink;
    const char *sysfs;
    const VfoNetwork *network;     /* the one that the standby is in */
    VfoLink standby;               /* the standby's interface */
    VfoLink bridge;                /* that it is a port of; index 0: none */
    VfoLink lower;                 /* what a macvtap is on; index 0: it is none */
    VfoLink lower_pf;              /* that, or what it, a VLAN interface, is on */
    const VfoVf *vf;               /* NULL: none was chosen */
    const VfoVfSettings *settings; /* of a VF that is the guest's */
} VfoSearch;

typedef struct {
    const char *name; /* as in the configuration */

    /** Whether the standby is wired this way (@claimed). The first datapath that says so is it. */
    gboolean (*claims)(const VfoSearch *search, gboolean *claimed, GError **error);

    /** Completes @wire, which has network, tap, MAC and VLAN already, with pf, uplink and
     *  what else the ops below need. Fails when frames could not pass, or would be in another
     *  VLAN than those of the VF. */
    gboolean (*find)(const VfoSearch *search, VfoWire *wire, GError **error);

    /* As in VfoHostOps (core/core.h, with what host/host.h adds). try_pf NULL: there is nothing
     * that could be full, or no way to know. */
    gboolean (*try_pf)(VfoNetlink *netlink, const VfoWire *wire, GError **error);
    gboolean (*open_pf)(VfoNetlink *netlink, const VfoWire *wire, GError **error);
    gboolean (*close_pf)(VfoNetlink *netlink, const VfoWire *wire, gboolean to_vf, GError **error);

    /** The request with which close_pf() begins: what it does is done twice without harm. NULL (the
     *  op, or what it returns with @error set): there is none. Free with nlmsg_free(). */
    VfoMessage *(*closing)(VfoNetlink *netlink, const VfoWire *wire, GError **error);

    /** A bridge that has no entries to set, but learns from what comes in: has it learn (@learned)
     *  that the guest is at its standby or, @at_vf, at its VF, and tell the network. @netlink is
     *  for NETLINK_ROUTE, @generic for NETLINK_GENERIC. NULL: no bridge here is like that. */
    gboolean (*learn)(VfoNetlink *netlink, VfoNetlink *generic, const VfoWire *wire, gboolean at_vf,
                      gboolean *learned, GError **error);
    gboolean bridged;    /* the standby is a port of a bridge, in which frames for it can be kept */
    gboolean stays_open; /* close_pf() to the VF leaves the standby's interface as it is */
    gboolean twofold;    /* what the PF lets in for the guest its VF receives as well */
} VfoDatapath;

extern const VfoDatapath vfo_datapath_bridge;
extern const VfoDatapath vfo_datapath_macvtap;
extern const VfoDatapath vfo_datapath_switchdev;

/** vfo_datapath_check_pf: @pf and its port @uplink, which may be the same, can carry frames. */
gboolean vfo_datapath_check_pf(const VfoLink *pf, const VfoLink *uplink, GError **error);

/**
 * vfo_datapath_match_vlan: the guest's untagged frames, which leave the host with @tag through the
 * standby, leave it with the same through the VF: @wire is in that VLAN. VFO_ERROR_MISMATCH
 * with a command that helps: one for the VF if it is the guest's already, else @advice.
 */
gboolean vfo_datapath_match_vlan(const VfoSearch *search, const VfoTag *tag, const char *advice,
                                 VfoWire *wire, GError **error);

/** vfo_bridge_find: the bridge datapath's find(), for others whose PF is a port of a bridge: the
 *  VF's PF, or the network's first that can carry frames, the bridge and its VLANs. */
gboolean vfo_bridge_find(const VfoSearch *search, VfoWire *wire, GError **error);
