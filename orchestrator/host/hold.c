/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/hold.h"

#include "host/pci.h"

/* Each look interrupts a guest on a busy host: they are close together only while it matters. */
#define LOOK_EVERY_MS  10
#define LOOK_CLOSER_MS 2
/* Longer than it takes from the first look that sees the VF receive until the guest has registered
 * it; short enough for nobody to notice. */
#define DELAY_US 10000
/* From the moment at which a driver's receive ring is ready to that at which the host's kernel
 * shows the vector that it then asks for. */
#define ASKED_AFTER_US 1000

struct _VfoHold {
    VfoQueue *queue;
    VfoHoldKind kind;
    char *sysfs;
    char *pci;
    VfoVectors vectors;
    char *irq; /* of the receive vector; NULL: not known, or not looked for yet */
    int pf;
    int tap;
    char *port;
    GQueue frames; /* of VfoQueued, in order */
    guint timer;

    gint64 looked_us;   /* the last look, CLOCK_REALTIME */
    gboolean known;     /* the interrupts were read at it */
    guint64 interrupts; /* then */
    gint64 since_us;    /* the VF has taken what arrived from here ... */
    gint64 until_us;    /* ... to here */
    guint more;         /* and the first so many after that */
    guint dropped, delivered;
};

static gboolean has_vf(VfoHold *hold, const VfoQueued *frame)
{
    if (frame->in != hold->pf || frame->arrived_us < hold->since_us)
        return FALSE;
    if (frame->arrived_us <= hold->until_us)
        return TRUE;
    if (hold->more == 0)
        return FALSE;
    hold->more--;
    return TRUE;
}

/* Decides on what arrived before @before_us. */
static void decide(VfoHold *hold, gint64 before_us)
{
    VfoQueued *frame;

    while ((frame = g_queue_peek_head(&hold->frames)) && frame->arrived_us < before_us) {
        gboolean taken = has_vf(hold, frame);

        hold->dropped += taken;
        hold->delivered += !taken;
        vfo_queue_decide(hold->queue, frame->id, !taken);
        g_free(g_queue_pop_head(&hold->frames));
    }
    vfo_queue_flush(hold->queue);
}

/* ---------------------------------------------------------------- watching */

static gboolean read_interrupts(VfoHold *hold, guint64 *count)
{
    if (hold->vectors.receive >= 0) {
        if (!hold->irq)
            hold->irq = vfo_pci_irq(hold->sysfs, hold->pci, (guint)hold->vectors.receive);
        return hold->irq && vfo_pci_irq_count(hold->sysfs, hold->irq, count);
    }
    *count = vfo_pci_interrupts(hold->sysfs, hold->pci);
    return TRUE;
}

static gboolean receives(VfoHold *hold)
{
    g_autofree char *irq = NULL;
    guint64 count = 0;

    if (hold->vectors.ready < 0)
        return read_interrupts(hold, &count) && count > 0;
    irq = vfo_pci_irq(hold->sysfs, hold->pci, (guint)hold->vectors.ready);
    return irq != NULL;
}

/*
 * An interrupt between two looks: all that arrived before the first of them has been taken, as the
 * VF delivers in order. So has one frame for each interrupt, if the vector does nothing but
 * receive; there may be more, as one interrupt may stand for several.
 */
static void look_leaving(VfoHold *hold)
{
    guint64 count = 0;
    gboolean known = read_interrupts(hold, &count);

    if (known && hold->known && count > hold->interrupts) {
        hold->until_us = hold->looked_us;
        hold->more = 0;
        decide(hold, hold->looked_us);
        if (hold->vectors.receive >= 0)
            hold->more = (guint)MIN(count - hold->interrupts, G_MAXUINT16);
    }
    hold->known = known;
    hold->interrupts = count;
}

static void look_coming(VfoHold *hold, gint64 now_us)
{
    if (hold->since_us == G_MAXINT64 && receives(hold))
        hold->since_us = now_us - ASKED_AFTER_US;
    decide(hold, now_us - DELAY_US);
}

/* The guest's driver is being set up: its VF will receive in a moment. */
static gboolean is_close(const VfoHold *hold)
{
    return hold->kind == VFO_HOLD_COMING && hold->since_us == G_MAXINT64 &&
           vfo_pci_has_msix(hold->sysfs, hold->pci);
}

static gboolean on_look(gpointer data)
{
    VfoHold *hold = data;
    gint64 now_us;

    vfo_stopwatch_begin_spare();
    vfo_stopwatch_begin_outside();
    now_us = g_get_real_time();
    vfo_queue_read(hold->queue);
    if (hold->kind == VFO_HOLD_LEAVING)
        look_leaving(hold);
    else
        look_coming(hold, now_us);
    hold->looked_us = now_us;
    vfo_stopwatch_end_outside();
    vfo_stopwatch_end_spare();
    /* From the end of this look on: on a busy host the next shall not be due already. */
    hold->timer = g_timeout_add(is_close(hold) ? LOOK_CLOSER_MS : LOOK_EVERY_MS, on_look, hold);
    return G_SOURCE_REMOVE;
}

/* ------------------------------------------------------------------ object */

VfoHold *vfo_hold_new(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap, VfoHoldKind kind,
                      const VfoHoldVf *vf, GError **error)
{
    VfoHold *hold = g_new0(VfoHold, 1);

    hold->queue = queue;
    hold->kind = kind;
    hold->sysfs = g_strdup(vf->sysfs);
    hold->pci = g_strdup(vf->pci);
    hold->vectors = vf->vectors;
    hold->pf = pf->index;
    hold->tap = tap->index;
    hold->port = g_strdup(tap->name);
    hold->since_us = kind == VFO_HOLD_LEAVING ? G_MININT64 : G_MAXINT64;
    hold->until_us = kind == VFO_HOLD_LEAVING ? G_MININT64 : G_MAXINT64;
    g_queue_init(&hold->frames);
    on_look(hold);
    if (!vfo_queue_keep(queue, tap->name, error))
        g_clear_pointer(&hold, vfo_hold_free);
    return hold;
}

gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame)
{
    if (frame->out != hold->tap)
        return FALSE;
    g_queue_push_tail(&hold->frames, g_memdup2(frame, sizeof(*frame)));
    return TRUE;
}

gboolean vfo_hold_end(VfoHold *hold, GError **error)
{
    g_clear_handle_id(&hold->timer, g_source_remove);
    on_look(hold);
    vfo_stopwatch_begin_outside();
    vfo_queue_read(hold->queue);
    decide(hold, G_MAXINT64);
    vfo_stopwatch_end_outside();
    if (!vfo_queue_pass(hold->queue, hold->port, error))
        return FALSE;
    g_message("tap %s: %u frames held and delivered, %u dropped that the VF %s has delivered",
              hold->port, hold->delivered, hold->dropped, hold->pci);
    vfo_hold_free(hold);
    return TRUE;
}

void vfo_hold_free(VfoHold *hold)
{
    if (!hold)
        return;
    g_clear_handle_id(&hold->timer, g_source_remove);
    vfo_queue_read(hold->queue);
    decide(hold, G_MAXINT64);
    g_queue_clear_full(&hold->frames, g_free);
    g_free(hold->sysfs);
    g_free(hold->pci);
    g_free(hold->irq);
    g_free(hold->port);
    g_free(hold);
}
