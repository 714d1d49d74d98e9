/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames on their way out of a bridge's port, which the kernel keeps until it is told what
 * becomes of each: a table of nftables that sends them to a queue of nfnetlink_queue. Private to
 * host/.
 *
 * The table stays when nothing is kept any more, with an empty set of ports. To take it away would
 * drop what other programs' queues hold at that moment (nf_queue_nf_hook_drop(), Linux 6.1). When
 * this daemon goes, what it kept is dropped, and all else passes (flag "bypass").
 */
#pragma once

#include "core/core.h"

/** VfoQueued: one frame. */
typedef struct {
    guint32 id;
    int in;            /* number of the port that it came in at; 0: the host itself sent it */
    int out;           /* number of the port that it leaves by */
    gint64 arrived_us; /* CLOCK_REALTIME, when the host's driver handed it to the kernel */
} VfoQueued;

typedef struct _VfoQueue VfoQueue;

/** VfoQueueArrived: @frame is kept, behind all that were told of before it. */
typedef void (*VfoQueueArrived)(const VfoQueued *frame, gpointer data);

/** vfo_queue_new: a queue and its table. VFO_ERROR_NOT_SUPPORTED when this kernel has no
 *  nf_tables for bridges or no nfnetlink_queue. */
VfoQueue *vfo_queue_new(VfoQueueArrived arrived, gpointer data, GError **error);
void vfo_queue_free(VfoQueue *queue);

/** vfo_queue_keep: keeps what leaves by @port (an interface in a bridge) from here on. Takes
 *  nftables some 50 ms in an emulated host. */
gboolean vfo_queue_keep(VfoQueue *queue, const char *port, GError **error);

/** vfo_queue_pass: no more, from here on; what is kept stays kept. Nothing kept is success. */
gboolean vfo_queue_pass(VfoQueue *queue, const char *port, GError **error);

/** vfo_queue_read: tells of all that the kernel has kept until now. For each frame that comes to
 *  wake the daemon would take much of a busy host's time: a hold reads when it looks. */
void vfo_queue_read(VfoQueue *queue);

/** vfo_queue_attend: reads, and flushes, whenever a frame has come, for somebody who expects few:
 *  until it was called with @wanted FALSE as often as with TRUE, and not while somebody wants
 *  vfo_queue_stamp(), who reads for all. */
void vfo_queue_attend(VfoQueue *queue, gboolean wanted);

/** vfo_queue_stamp: notes when frames arrive, for somebody who reads every few milliseconds:
 *  likewise. */
void vfo_queue_stamp(VfoQueue *queue, gboolean wanted);

/** vfo_queue_decide: the frame goes on its way, or is dropped, in order, when vfo_queue_flush() is
 *  called. */
void vfo_queue_decide(VfoQueue *queue, guint32 id, gboolean goes_on);
void vfo_queue_flush(VfoQueue *queue);
