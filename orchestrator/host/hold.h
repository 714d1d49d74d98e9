/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's standby gets while its VF leaves. Private to host/.
 *
 * While both the PF and the VF accept frames for the guest, each arrives on both ways. The guest's
 * net_failover drops what its standby receives as long as a primary is registered, and the VF stops
 * to receive some time before that ends: the frames of this time would be lost. So the kernel keeps
 * them. What the guest still takes of its VF at first it would get twice: up to when that is
 * host/taken.h tells.
 */
#pragma once

#include "host/link.h"
#include "host/queue.h"
#include "host/taken.h"

typedef struct _VfoHold VfoHold;

/**
 * vfo_hold_new_in_bridge: gets ready to keep what goes to @tap, a port of a bridge: until
 * vfo_hold_begin() it passes through here, at once. Takes nftables some 50 ms in an emulated host,
 * in which a guest that has been asked for @vf may let go of it. @pf: another port, from which what
 * the guest takes of @vf comes as well; NULL: there is none.
 */
VfoHold *vfo_hold_new_in_bridge(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap,
                                const VfoTakenVf *vf, GError **error);

/** vfo_hold_new_on_macvtap: likewise what goes to macvtap @tap, by way of an interface of the
 *  kernel's. VFO_ERROR_NOT_SUPPORTED: as vfo_plug_new(). */
VfoHold *vfo_hold_new_on_macvtap(VfoNetlink *netlink, const VfoLink *tap, const VfoTakenVf *vf,
                                 GError **error);

/**
 * vfo_hold_begin: keeps it from here on until vfo_hold_end(), but not what has come from the PF
 * and the guest has taken of the VF for certain. That is looked at every 5 ms: nothing tells of it.
 * Once for each hold.
 */
void vfo_hold_begin(VfoHold *hold);

gboolean vfo_hold_has_begun(const VfoHold *hold);

/** vfo_hold_vf: the PCI address of its VF. */
const char *vfo_hold_vf(const VfoHold *hold);

/** vfo_hold_take: @frame, if it is on its way to this hold's tap. */
gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame);

/** vfo_hold_end: delivers all that is kept, in order, keeps nothing more, and frees @hold unless
 *  it fails: what comes then passes through here still. */
gboolean vfo_hold_end(VfoHold *hold, GError **error);

/** vfo_hold_free: the same where nobody is left to be told of a failure. */
void vfo_hold_free(VfoHold *hold);
