/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's standby gets while its VF leaves. Private to host/.
 *
 * While both the PF and the VF accept frames for the guest, each arrives on both ways. The guest's
 * net_failover drops what its standby receives as long as a primary is registered, and the VF stops
 * to receive some time before that ends: the frames of this time would be lost. So the kernel keeps
 * them (host/queue.h). What the guest still takes of its VF at first it would get twice: up to
 * when that is host/taken.h tells.
 */
#pragma once

#include "host/link.h"
#include "host/queue.h"
#include "host/taken.h"

typedef struct _VfoHold VfoHold;

/**
 * vfo_hold_new: keeps what goes to @tap, a port of a bridge, until vfo_hold_end(), but drops what
 * has come from @pf, another one, and the guest has taken of @vf for certain. That is looked at
 * every 5 ms: nothing tells of it. @pf is NULL where the VF receives nothing of this.
 */
VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, const VfoTakenVf *vf,
                      GError **error);

/** vfo_hold_take: @frame, if it is on its way to this hold's tap. */
gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame);

/** vfo_hold_end: delivers all that is kept, in order, keeps nothing more, and frees @hold unless
 *  it fails. */
gboolean vfo_hold_end(VfoHold *hold, GError **error);

/** vfo_hold_free: the same where nobody is left to be told of a failure. */
void vfo_hold_free(VfoHold *hold);
