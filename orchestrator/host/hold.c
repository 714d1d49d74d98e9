/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/hold.h"

/* Each look interrupts the guests of a busy host, the one that is waited for among them. */
#define LOOK_EVERY_MS 5

struct _VfoHold {
    VfoQueue *queue;
    VfoTaken *taken;
    gboolean begun;
    gboolean keeping; /* from begin to end; else all passes */
    char *pci;
    int pf; /* -1: no frame is from it */
    int tap;
    char *port;
    GQueue frames; /* of VfoQueued from the PF, in order: the VF may have seen them */
    GList *next;   /* in frames: the first that may yet turn out to be taken; NULL: none */
    GQueue others; /* likewise, from elsewhere: no VF has */
    guint timer;
    gboolean ended; /* there will be no news of what the guest has taken */
    guint dropped, delivered;
};

static void decide(VfoHold *hold, GQueue *frames, GList *link, gboolean goes_on)
{
    const VfoQueued *frame = link->data;

    hold->dropped += !goes_on;
    hold->delivered += goes_on;
    vfo_queue_decide(hold->queue, frame->id, goes_on);
    g_free(link->data);
    g_queue_delete_link(frames, link);
}

static void drop_taken(VfoHold *hold)
{
    VfoTakenSpan span;

    vfo_queue_read(hold->queue);
    while (vfo_taken_next(hold->taken, &span)) {
        GList *link;

        while ((link = hold->next) && ((const VfoQueued *)link->data)->arrived_us < span.until_us) {
            hold->next = link->next;
            if (((const VfoQueued *)link->data)->arrived_us >= span.from_us)
                decide(hold, &hold->frames, link, FALSE);
        }
    }
    vfo_queue_flush(hold->queue);
}

static gboolean on_look(gpointer data)
{
    VfoHold *hold = data;

    vfo_stopwatch_begin_spare();
    vfo_stopwatch_begin_outside();
    hold->ended = hold->ended || !vfo_taken_look(hold->taken);
    drop_taken(hold);
    vfo_stopwatch_end_outside();
    vfo_stopwatch_end_spare();
    /* From the end of this look on: on a busy host the next shall not be due already. */
    hold->timer = g_timeout_add(LOOK_EVERY_MS, on_look, hold);
    return G_SOURCE_REMOVE;
}

VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, const VfoTakenVf *vf,
                      GError **error)
{
    VfoHold *hold;

    if (!vfo_queue_keep(queue, tap->name, error))
        return NULL;
    hold = g_new0(VfoHold, 1);
    hold->queue = queue;
    hold->taken = vfo_taken_new(vf);
    hold->pci = g_strdup(vf->pci);
    hold->pf = pf ? pf->index : -1;
    hold->tap = tap->index;
    hold->port = g_strdup(tap->name);
    hold->ended = !pf;
    g_queue_init(&hold->frames);
    g_queue_init(&hold->others);
    vfo_queue_attend(queue, TRUE);
    return hold;
}

void vfo_hold_begin(VfoHold *hold)
{
    vfo_queue_attend(hold->queue, FALSE);
    vfo_queue_read(hold->queue);
    vfo_queue_flush(hold->queue);
    vfo_queue_stamp(hold->queue, TRUE);
    hold->begun = hold->keeping = TRUE;
    on_look(hold);
}

gboolean vfo_hold_has_begun(const VfoHold *hold)
{
    return hold->begun;
}

const char *vfo_hold_vf(const VfoHold *hold)
{
    return hold->pci;
}

gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame)
{
    VfoQueued *copy;

    if (frame->out != hold->tap)
        return FALSE;
    if (!hold->keeping) {
        vfo_queue_decide(hold->queue, frame->id, TRUE);
        return TRUE;
    }
    copy = g_memdup2(frame, sizeof(*frame));
    if (frame->in != hold->pf) {
        g_queue_push_tail(&hold->others, copy);
        return TRUE;
    }
    g_queue_push_tail(&hold->frames, copy);
    if (!hold->next)
        hold->next = hold->frames.tail;
    return TRUE;
}

/* The kernel numbers what it keeps as it comes; from the last number on it begins anew. */
static gboolean is_before(const VfoQueued *a, const VfoQueued *b)
{
    return !b || (a && (gint32)(a->id - b->id) < 0);
}

static void deliver(VfoHold *hold)
{
    vfo_stopwatch_begin_outside();
    drop_taken(hold);
    hold->next = NULL;
    while (hold->frames.length + hold->others.length > 0) {
        gboolean other =
            is_before(g_queue_peek_head(&hold->others), g_queue_peek_head(&hold->frames));

        GQueue *frames = other ? &hold->others : &hold->frames;

        decide(hold, frames, frames->head, TRUE);
    }
    vfo_queue_flush(hold->queue);
    vfo_stopwatch_end_outside();
}

/* From here on all passes again. */
static void stop_keeping(VfoHold *hold)
{
    if (!hold->keeping)
        return;
    g_clear_handle_id(&hold->timer, g_source_remove);
    deliver(hold);
    hold->keeping = FALSE;
    vfo_queue_attend(hold->queue, TRUE);
    vfo_queue_stamp(hold->queue, FALSE);
}

gboolean vfo_hold_end(VfoHold *hold, GError **error)
{
    stop_keeping(hold);
    if (!vfo_queue_pass(hold->queue, hold->port, error))
        return FALSE;
    if (hold->begun)
        g_message("tap %s: %u frames held and delivered, %u dropped that VF %s has delivered",
                  hold->port, hold->delivered, hold->dropped, hold->pci);
    vfo_hold_free(hold);
    return TRUE;
}

void vfo_hold_free(VfoHold *hold)
{
    if (!hold)
        return;
    stop_keeping(hold);
    vfo_queue_read(hold->queue);
    vfo_queue_flush(hold->queue);
    vfo_queue_attend(hold->queue, FALSE);
    vfo_taken_free(hold->taken);
    g_free(hold->pci);
    g_free(hold->port);
    g_free(hold);
}
