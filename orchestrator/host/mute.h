/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A macvtap whose guest has just got its VF takes in nothing that is addressed to the guest, for
 * two seconds. Private to host/.
 *
 * The VF receives it from now on, and the macvtap, which has to stay up, would as well. The guest
 * takes both until its VF is registered (Linux 6.1, net_failover_slave_register(): it is opened
 * first), 120 to 180 ms in an emulated host, and nobody outside the guest is told of that. After it
 * the guest itself drops what its standby receives. So to end this early brings frames twice, and
 * to end it late nothing. What is addressed to many is let in: the VF does not receive all of it
 * yet. What another macvtap of the same PF sends (mode bridge) does not come by the VF, and is
 * dropped as it will be by the guest. So are, until the VF is registered, frames of the guest's own
 * VLANs.
 */
#pragma once

#include "host/link.h"

typedef struct _VfoMute VfoMute;

/** vfo_mute_new: gets ready, for which the kernel may have to load modules; nothing is dropped yet.
 *  VFO_ERROR_NOT_SUPPORTED: this kernel cannot. */
VfoMute *vfo_mute_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error);

/** vfo_mute_begin: drops, from a moment later on and for two seconds. Does not block; a failure is
 *  logged. While it drops, or is about to, nothing more happens. */
void vfo_mute_begin(VfoMute *mute);

/** vfo_mute_end: nothing is dropped any more. What fails may be asked for again. */
gboolean vfo_mute_end(VfoMute *mute, GError **error);

/** vfo_mute_free: ends it; a failure is logged. NULL is nothing to do. */
void vfo_mute_free(VfoMute *mute);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoMute, vfo_mute_free)

/** vfo_mute_end_all: those that a daemon has left which has ended within the two seconds. What
 *  goes wrong is logged. */
void vfo_mute_end_all(VfoNetlink *netlink);
