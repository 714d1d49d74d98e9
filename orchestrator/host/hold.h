/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest's standby gets while its VF leaves or comes: each frame once, through one of the
 * two. Private to host/.
 *
 * While both the PF and the VF accept frames for the guest, each arrives on both ways. The guest's
 * net_failover drops what its standby receives as long as a primary is registered, which begins
 * and ends some time after the VF receives: frames in between would be lost, or arrive twice. So
 * each is kept by the kernel (host/queue.h) until it is known whether the VF has taken it too: by
 * the interrupts of its receive vector, and by when its driver asks for that vector.
 */
#pragma once

#include "host/link.h"
#include "host/queue.h"

typedef struct _VfoHold VfoHold;

/** VfoVectors: what the driver of a kind of VF uses its MSI-X vectors for. */
typedef struct {
    int receive; /* for nothing but receiving; -1: not known */
    int ready;   /* the first that it asks for when the VF receives already; -1: not known */
} VfoVectors;

/** VfoHoldVf: the VF, as far as a hold watches it. */
typedef struct {
    const char *sysfs;
    const char *pci;
    VfoVectors vectors;
} VfoHoldVf;

/**
 * vfo_hold_new: from here on decides on what goes from @pf to @tap, both ports of one bridge.
 * VFO_HOLD_LEAVING: keeps all of it until vfo_hold_end(), but drops what has come through the VF
 * for certain. VFO_HOLD_COMING: keeps each frame for 10 ms, then lets it go on if the VF
 * did not receive yet when it came, and drops it if it did.
 * The watching looks at the VF's interrupts every 10 ms, and every 2 ms between the guest's driver
 * having MSI-X enabled and its first vector: nothing tells of them.
 */
VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, VfoHoldKind kind,
                      const VfoHoldVf *vf, GError **error);

/** vfo_hold_take: @frame, if it is on its way to this hold's tap. */
gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame);

/** vfo_hold_end: decides on all that is kept, in order, keeps nothing more, and frees @hold unless
 *  it fails. */
gboolean vfo_hold_end(VfoHold *hold, GError **error);

/** vfo_hold_free: without regard to what is kept, which is delivered. */
void vfo_hold_free(VfoHold *hold);
