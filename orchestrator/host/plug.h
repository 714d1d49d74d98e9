/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A plug in a tap: the sch_plug queueing discipline, which keeps frames back in
 * order until it is pulled. Private to host/.
 *
 * A plug that has been pulled stays and lets everything through, because to put in or
 * take out a root qdisc loses frames: the kernel points the queue at noop while
 * it exchanges it (dev_deactivate() in net/sched/sch_generic.c; 170 us each time, measured
 * on a tap under 20,000 frames a second). So it is put in before frames come this way, and
 * taken out when they no longer do.
 */
#pragma once

#include "host/link.h"

/**
 * vfo_plug_insert: keeps what is sent to @tap from here on. A pulled plug that is
 * still there is used again. VFO_ERROR_NOT_SUPPORTED when the kernel has no
 * sch_plug; VFO_ERROR_BUSY when the tap has a root qdisc that somebody else configured.
 */
gboolean vfo_plug_insert(VfoNetlink *netlink, const VfoLink *tap, GError **error);

/**
 * vfo_plug_pull: lets everything kept go, in order, and keeps nothing more. Waits for
 * the last of it to reach the tap: at most 100 ms, a fraction of one in practice, as
 * a tap never refuses a frame. No plug is success.
 */
gboolean vfo_plug_pull(VfoNetlink *netlink, const VfoLink *tap, GError **error);

/** vfo_plug_remove: takes the plug out, with what it still keeps. No plug is success. */
gboolean vfo_plug_remove(VfoNetlink *netlink, const VfoLink *tap, GError **error);
