/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A macvtap whose guest has just got its VF takes nothing in for two seconds. Private to host/.
 *
 * The VF receives from now on, and the macvtap, which has to stay up, would as well. The guest
 * takes both until its VF is registered (Linux 6.1, net_failover_slave_register(): it is opened
 * first), 120 to 180 ms in an emulated host, and nobody outside the guest is told of that. After it
 * the guest itself drops what its standby receives. So to end this early brings frames twice, and
 * to end it late nothing.
 */
#pragma once

#include "host/link.h"

typedef struct _VfoMute VfoMute;

/** vfo_mute_new: gets ready, for which the kernel may have to load modules; nothing is dropped yet.
 *  VFO_ERROR_NOT_SUPPORTED: this kernel cannot. */
VfoMute *vfo_mute_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error);

/** vfo_mute_begin: drops, from a moment later on and for two seconds. Does not block; a failure is
 *  logged. Begun already: nothing more happens. */
void vfo_mute_begin(VfoMute *mute);

/** vfo_mute_free: nothing is dropped any more; a failure is logged. */
void vfo_mute_free(VfoMute *mute);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoMute, vfo_mute_free)

/** vfo_mute_free_all: those that a daemon has left which has ended within the two seconds. What
 *  goes wrong is logged. */
void vfo_mute_free_all(VfoNetlink *netlink);
