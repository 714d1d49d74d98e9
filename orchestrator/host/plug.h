/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A plug between the network and a macvtap: frames that are about to enter it wait in a row until
 * they are let go. Private to host/.
 *
 * A filter at the macvtap's ingress (tc-matchall(8), action mirred) sends them through an interface
 * of kind ifb, whose queueing discipline is a plug (Linux, net/sched/sch_plug.c), and which gives
 * them back where they were taken. All of it is the kernel's, and stays when the daemon ends: the
 * next one takes it away. What waits then is lost.
 *
 * The kernel counts without a lock what is before a mark: where very much comes by several
 * processors, a frame more or less may be let go.
 */
#pragma once

#include "host/link.h"

typedef struct _VfoPlug VfoPlug;

/** VfoPlugCount: frames. */
typedef struct {
    guint waiting;
    guint dropped; /* since vfo_plug_new(), as there was no room */
} VfoPlugCount;

/**
 * vfo_plug_new: all passes at first. VFO_ERROR_NOT_SUPPORTED: this kernel cannot, or somebody else
 * has filters at the ingress of @macvtap, which frames that an ifb gives back would skip.
 */
VfoPlug *vfo_plug_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error);
void vfo_plug_free(VfoPlug *plug);

/** vfo_plug_mark: what comes from here on waits. What waits already is before the mark. */
gboolean vfo_plug_mark(VfoPlug *plug, GError **error);

/** vfo_plug_let_go: what is before the last mark, once for each. */
gboolean vfo_plug_let_go(VfoPlug *plug, GError **error);

/** vfo_plug_pull: all that waits goes on, and nothing waits until the next mark. */
gboolean vfo_plug_pull(VfoPlug *plug, GError **error);

/** vfo_plug_count: what waits now. */
gboolean vfo_plug_count(VfoPlug *plug, VfoPlugCount *count, GError **error);

/** vfo_plug_remove: pulls it, and takes it away once it is empty: the kernel sees to that, for
 * which this waits 200 ms at most. What waits still is lost, with a warning. Done already, a part
 * that has gone, and a macvtap that has, are success. What fails may be asked for again. */
gboolean vfo_plug_remove(VfoPlug *plug, GError **error);

/** vfo_plug_remove_all: those that a daemon has left which has ended in the middle of a job. What
 *  goes wrong is logged. */
void vfo_plug_remove_all(VfoNetlink *netlink);
