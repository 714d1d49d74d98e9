/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/hold.h"

#include "host/pci.h"

/* Each look interrupts the guests of a busy host, the one that is waited for among them. */
#define LOOK_EVERY_MS 5

struct _VfoHold {
    VfoQueue *queue;
    char *sysfs;
    char *pci;
    int vector;
    char *irq; /* of the vector; NULL: not known, or not looked for yet */
    int pf;
    int tap;
    char *port;
    GQueue frames; /* of VfoQueued from the PF, in order: the VF may have seen them */
    GQueue others; /* likewise, from elsewhere: no VF has */
    guint timer;

    gint64 looked_us; /* the last look, CLOCK_REALTIME */
    gboolean known;   /* the interrupts were read at it */
    guint64 interrupts;
    gint64 noticed_us; /* what arrived before this the guest has been told of, by an interrupt */
    gint64 until_us;   /* the VF has delivered what arrived before this */
    guint dropped, delivered;
};

static void decide(VfoHold *hold, GQueue *frames, gboolean goes_on)
{
    const VfoQueued *frame = g_queue_peek_head(frames);

    hold->dropped += !goes_on;
    hold->delivered += goes_on;
    vfo_queue_decide(hold->queue, frame->id, goes_on);
    g_free(g_queue_pop_head(frames));
}

static void drop_taken(VfoHold *hold)
{
    const VfoQueued *frame;

    while ((frame = g_queue_peek_head(&hold->frames)) && frame->arrived_us < hold->until_us)
        decide(hold, &hold->frames, FALSE);
    vfo_queue_flush(hold->queue);
}

static gboolean read_interrupts(VfoHold *hold, guint64 *count)
{
    if (hold->vector >= 0) {
        if (!hold->irq)
            hold->irq = vfo_pci_irq(hold->sysfs, hold->pci, (guint)hold->vector);
        return hold->irq && vfo_pci_irq_count(hold->sysfs, hold->irq, count);
    }
    *count = vfo_pci_interrupts(hold->sysfs, hold->pci);
    return TRUE;
}

/*
 * An interrupt tells the guest of what has arrived, and comes again only when the guest has taken
 * that (NAPI). So the one before has been heeded: what arrived before the look before it has been
 * delivered, as the VF does that in order. The last one may never be: a guest that closes its VF
 * throws away what it finds in the ring. Twice is better than not at all.
 */
static gboolean on_look(gpointer data)
{
    VfoHold *hold = data;
    gint64 now_us;
    guint64 count = 0;
    gboolean known;

    vfo_stopwatch_begin_spare();
    vfo_stopwatch_begin_outside();
    now_us = g_get_real_time();
    vfo_queue_read(hold->queue);
    known = read_interrupts(hold, &count);
    if (known && hold->known && count > hold->interrupts) {
        hold->until_us = count - hold->interrupts > 1 ? hold->looked_us : hold->noticed_us;
        hold->noticed_us = hold->looked_us;
        drop_taken(hold);
    }
    hold->known = known;
    hold->interrupts = count;
    hold->looked_us = now_us;
    vfo_stopwatch_end_outside();
    vfo_stopwatch_end_spare();
    /* From the end of this look on: on a busy host the next shall not be due already. */
    hold->timer = g_timeout_add(LOOK_EVERY_MS, on_look, hold);
    return G_SOURCE_REMOVE;
}

VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, const char *sysfs,
                      const char *pci, int vector, GError **error)
{
    VfoHold *hold = g_new0(VfoHold, 1);

    hold->queue = queue;
    hold->sysfs = g_strdup(sysfs);
    hold->pci = g_strdup(pci);
    hold->vector = vector;
    hold->pf = pf->index;
    hold->tap = tap->index;
    hold->port = g_strdup(tap->name);
    hold->noticed_us = hold->until_us = G_MININT64;
    g_queue_init(&hold->frames);
    g_queue_init(&hold->others);
    on_look(hold);
    if (!vfo_queue_keep(queue, tap->name, error))
        g_clear_pointer(&hold, vfo_hold_free);
    return hold;
}

gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame)
{
    if (frame->out != hold->tap)
        return FALSE;
    g_queue_push_tail(frame->in == hold->pf ? &hold->frames : &hold->others,
                      g_memdup2(frame, sizeof(*frame)));
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
    vfo_queue_read(hold->queue);
    drop_taken(hold);
    while (hold->frames.length + hold->others.length > 0) {
        gboolean other =
            is_before(g_queue_peek_head(&hold->others), g_queue_peek_head(&hold->frames));

        decide(hold, other ? &hold->others : &hold->frames, TRUE);
    }
    vfo_queue_flush(hold->queue);
    vfo_stopwatch_end_outside();
}

gboolean vfo_hold_end(VfoHold *hold, GError **error)
{
    deliver(hold);
    if (!vfo_queue_pass(hold->queue, hold->port, error))
        return FALSE;
    g_message("tap %s: %u frames held and delivered, %u dropped that VF %s has delivered",
              hold->port, hold->delivered, hold->dropped, hold->pci);
    vfo_hold_free(hold);
    return TRUE;
}

void vfo_hold_free(VfoHold *hold)
{
    if (!hold)
        return;
    g_clear_handle_id(&hold->timer, g_source_remove);
    deliver(hold);
    g_free(hold->sysfs);
    g_free(hold->pci);
    g_free(hold->irq);
    g_free(hold->port);
    g_free(hold);
}
