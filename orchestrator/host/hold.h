/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's standby gets while its VF leaves. Private to host/.
 *
 * While both the PF and the VF accept frames for the guest, each arrives on both ways. The guest's
 * net_failover drops what its standby receives as long as a primary is registered, and the VF stops
 * to receive some time before that ends: the frames of this time would be lost. So the kernel keeps
 * them (host/queue.h). What the VF still delivers at first, the guest would get twice: the
 * VF's interrupts tell up to when that is.
 */
#pragma once

#include "host/link.h"
#include "host/queue.h"

typedef struct _VfoHold VfoHold;

/**
 * vfo_hold_new: keeps what goes from @pf to @tap, both ports of one bridge, until vfo_hold_end(),
 * but drops what VF @pci has delivered for certain. @vector: the number of the MSI-X vector by
 * which the VF receives, -1: not known. The VF's interrupts are looked at every 5 ms: nothing tells
 * of them; what it delivers between the last two looks arrives twice.
 */
VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, const char *sysfs,
                      const char *pci, int vector, GError **error);

/** vfo_hold_take: @frame, if it is on its way to this hold's tap. */
gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame);

/** vfo_hold_end: delivers all that is kept, in order, keeps nothing more, and frees @hold unless
 *  it fails. */
gboolean vfo_hold_end(VfoHold *hold, GError **error);

/** vfo_hold_free: the same where nobody is left to be told of a failure. */
void vfo_hold_free(VfoHold *hold);
