/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In a bridge: the kernel keeps each frame by itself (host/queue.h), so that those which the guest
 * has taken of its VF can be picked out and dropped.
 */
#include "host/hold-kind.h"

typedef struct {
    VfoHold hold; /* first: a VfoHold * is an InBridge * */
    VfoQueue *queue;
    int pf; /* -1: no frame is from it */
    int tap;
    GQueue frames; /* of VfoQueued from the PF, in order: the VF may have seen them */
    GList *next;   /* in frames: the first that may yet turn out to be taken; NULL: none */
    GQueue others; /* likewise, from elsewhere: no VF has */
    guint dropped, delivered;
} InBridge;

static void decide(InBridge *in, GQueue *frames, GList *link, gboolean goes_on)
{
    const VfoQueued *frame = link->data;

    in->dropped += !goes_on;
    in->delivered += goes_on;
    vfo_queue_decide(in->queue, frame->id, goes_on);
    g_free(link->data);
    g_queue_delete_link(frames, link);
}

static void drop_taken(VfoHold *hold)
{
    InBridge *in = (InBridge *)hold;
    VfoTakenSpan span;

    vfo_queue_read(in->queue);
    while (vfo_taken_next(hold->taken, &span)) {
        GList *link;

        while ((link = in->next) && ((const VfoQueued *)link->data)->arrived_us < span.until_us) {
            in->next = link->next;
            if (((const VfoQueued *)link->data)->arrived_us >= span.from_us)
                decide(in, &in->frames, link, FALSE);
        }
    }
    vfo_queue_flush(in->queue);
}

static void begin(VfoHold *hold)
{
    InBridge *in = (InBridge *)hold;

    vfo_queue_attend(in->queue, FALSE);
    vfo_queue_read(in->queue);
    vfo_queue_flush(in->queue);
    vfo_queue_stamp(in->queue, TRUE);
}

static gboolean take(VfoHold *hold, const VfoQueued *frame)
{
    InBridge *in = (InBridge *)hold;
    VfoQueued *copy;

    if (frame->out != in->tap)
        return FALSE;
    if (!hold->keeping) {
        vfo_queue_decide(in->queue, frame->id, TRUE);
        return TRUE;
    }
    copy = g_memdup2(frame, sizeof(*frame));
    if (frame->in != in->pf) {
        g_queue_push_tail(&in->others, copy);
        return TRUE;
    }
    g_queue_push_tail(&in->frames, copy);
    if (!in->next)
        in->next = in->frames.tail;
    return TRUE;
}

/* The kernel numbers what it keeps as it comes; from the last number on it begins anew. */
static gboolean is_before(const VfoQueued *a, const VfoQueued *b)
{
    return !b || (a && (gint32)(a->id - b->id) < 0);
}

static void deliver(VfoHold *hold)
{
    InBridge *in = (InBridge *)hold;

    in->next = NULL;
    while (in->frames.length + in->others.length > 0) {
        gboolean other = is_before(g_queue_peek_head(&in->others), g_queue_peek_head(&in->frames));

        GQueue *frames = other ? &in->others : &in->frames;

        decide(in, frames, frames->head, TRUE);
    }
    vfo_queue_flush(in->queue);
    vfo_queue_attend(in->queue, TRUE);
    vfo_queue_stamp(in->queue, FALSE);
}

static gboolean pass(VfoHold *hold, GError **error)
{
    const InBridge *in = (const InBridge *)hold;

    if (!vfo_queue_pass(in->queue, hold->port, error))
        return FALSE;
    if (hold->begun)
        g_message("tap %s: %u frames held and delivered, %u dropped that VF %s has delivered",
                  hold->port, in->delivered, in->dropped, hold->pci);
    return TRUE;
}

static void in_bridge_free(VfoHold *hold)
{
    InBridge *in = (InBridge *)hold;

    vfo_queue_read(in->queue);
    vfo_queue_flush(in->queue);
    vfo_queue_attend(in->queue, FALSE);
    g_free(in);
}

static const VfoHoldKind in_bridge = {
    .begin = begin,
    .sift = drop_taken,
    .deliver = deliver,
    .pass = pass,
    .take = take,
    .free = in_bridge_free,
};

VfoHold *vfo_hold_new_in_bridge(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap,
                                const VfoTakenVf *vf, GError **error)
{
    InBridge *in;

    if (!vfo_queue_keep(queue, tap->name, error))
        return NULL;
    in = g_new0(InBridge, 1);
    vfo_hold_init(&in->hold, &in_bridge, tap, vf);
    in->queue = queue;
    in->pf = pf ? pf->index : -1;
    in->tap = tap->index;
    in->hold.ended = !pf;
    g_queue_init(&in->frames);
    g_queue_init(&in->others);
    vfo_queue_attend(queue, TRUE);
    return &in->hold;
}
