/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/taken.h"

#include "host/pci.h"
#include "host/ring.h"

/*
 * The descriptors that a driver leaves between the tail and the head when it has taken all: Linux's
 * igbvf two (igbvf_desc_unused() and igbvf_alloc_rx_buffers(), Linux 6.1). One that leaves more
 * seems to have taken less, and one that leaves one a frame more, until it is seen to have taken
 * all.
 */
#define ROOM 2

/* Good looks, after something that nobody knows about, before a span begins: the PF may tell of a
 * frame a little later than the VF has received it, or not. */
#define DOUBT 2

/** What the VF had received at the end of a span, at a look. */
typedef struct {
    VfoTakenSpan span;
    guint64 received;
} Mark;

struct _VfoTaken {
    char *sysfs;
    char *pci;
    char *pf;
    guint index;
    int vector;
    GQueue news; /* of VfoTakenSpan, in order */

    VfoRing ring;     /* at the last look that showed it with room; size 0: never */
    gboolean on;      /* it received at the last look */
    gboolean begun;   /* or at an earlier one */
    guint room;       /* at most ROOM */
    guint64 received; /* by the VF, since the first look */
    guint doubt;      /* good looks until a span may begin */
    gint64 seen_us;   /* the last one */
    GQueue marks;     /* of Mark, in order: of what the guest has not taken yet */
    gboolean told;    /* that it cannot be seen */

    char *irq; /* of the vector; NULL: not known, or not looked for yet */
    gint64 looked_us;
    gboolean known; /* the interrupts were read at the last look */
    guint64 interrupts;
    gint64 noticed_us; /* what arrived before this the guest has been told of, by an interrupt */
    gint64 until_us;   /* and has taken what arrived before this */
};

/* ------------------------------------------------------------------- ring */

static guint distance(const VfoRing *ring, guint from, guint to)
{
    return (to + ring->size - from) % ring->size;
}

static void tell(VfoTaken *taken, gint64 from_us, gint64 until_us)
{
    VfoTakenSpan span = {from_us, until_us};

    g_queue_push_tail(&taken->news, g_memdup2(&span, sizeof(span)));
}

/* The ring begins anew, or may have: what was in it nobody takes. */
static void forget(VfoTaken *taken)
{
    g_queue_clear_full(&taken->marks, g_free);
    taken->doubt = DOUBT;
}

/* FALSE: it cannot be seen. */
static gboolean read_ring(VfoTaken *taken, VfoRing *ring)
{
    g_autoptr(GError) error = NULL;

    if (!taken->pf)
        return FALSE;
    if (vfo_ring_read(taken->pf, taken->index, ring, &error))
        return TRUE;
    if (!taken->told && taken->ring.size == 0)
        g_message("the receive ring of VF %s cannot be seen, its interrupts count: %s", taken->pci,
                  error->message);
    taken->told = TRUE;
    return FALSE;
}

/* It has been full since the last look: the card has come to where the driver let it go then. */
static gboolean was_full(const VfoTaken *taken, const VfoRing *ring)
{
    const VfoRing *last = &taken->ring;

    return last->size == ring->size &&
           distance(ring, last->head, ring->head) >= distance(ring, last->head, last->tail);
}

/* What has arrived since the last good look has been received, and is in the ring. */
static void mark(VfoTaken *taken, gint64 now_us)
{
    gint64 from_us = taken->doubt > 0 ? now_us : taken->seen_us;
    Mark *last = g_queue_peek_tail(&taken->marks);
    Mark fresh = {{from_us, now_us}, taken->received};

    if (last && last->received == taken->received && last->span.until_us == from_us)
        last->span.until_us = now_us;
    else
        g_queue_push_tail(&taken->marks, g_memdup2(&fresh, sizeof(fresh)));
    taken->doubt -= taken->doubt > 0;
    taken->seen_us = now_us;
}

/* Looked at from before @now_us on. @ring has room: the guest is not at its end. */
static void follow(VfoTaken *taken, const VfoRing *ring, gint64 now_us, gboolean *ended)
{
    guint room = distance(ring, ring->tail, ring->head);
    const Mark *oldest;
    guint pending;

    if ((taken->ring.size != 0 && taken->ring.size != ring->size) || now_us < taken->seen_us ||
        (ring->receives && taken->begun && !taken->on))
        forget(taken);
    else if (was_full(taken, ring))
        taken->doubt = DOUBT;
    taken->room = MIN(taken->room, room);
    if (taken->ring.size == ring->size)
        taken->received += distance(ring, taken->ring.head, ring->head);
    taken->ring = *ring;
    taken->on = ring->receives;
    taken->begun = taken->begun || ring->receives;
    if (ring->receives)
        mark(taken, now_us);
    pending = distance(ring, (ring->tail + taken->room) % ring->size, ring->head);
    while ((oldest = g_queue_peek_head(&taken->marks)) &&
           oldest->received + pending <= taken->received) {
        tell(taken, oldest->span.from_us, oldest->span.until_us);
        g_free(g_queue_pop_head(&taken->marks));
    }
    *ended = taken->begun && !ring->receives && pending == 0;
}

/* FALSE: the ring has never been seen. */
static gboolean look_at_ring(VfoTaken *taken, gint64 now_us, gboolean *ended)
{
    VfoRing ring;

    if (!read_ring(taken, &ring)) {
        forget(taken);
        return taken->ring.size != 0;
    }
    if (!ring.alone) {
        forget(taken);
        return TRUE;
    }
    if (distance(&ring, ring.tail, ring.head) != 0) {
        follow(taken, &ring, now_us, ended);
        return TRUE;
    }
    /* A tail at the head: full, or it has been reset. */
    if (ring.head == 0)
        forget(taken);
    taken->doubt = DOUBT;
    taken->on = ring.receives;
    *ended = taken->begun && !ring.receives;
    return ring.receives || taken->ring.size != 0;
}

/* ------------------------------------------------------------- interrupts */

static gboolean read_interrupts(VfoTaken *taken, guint64 *count)
{
    if (taken->vector >= 0) {
        if (!taken->irq)
            taken->irq = vfo_pci_irq(taken->sysfs, taken->pci, (guint)taken->vector);
        return taken->irq && vfo_pci_irq_count(taken->sysfs, taken->irq, count);
    }
    *count = vfo_pci_interrupts(taken->sysfs, taken->pci);
    return TRUE;
}

static void look_at_interrupts(VfoTaken *taken, gint64 now_us)
{
    guint64 count = 0;
    gboolean known = read_interrupts(taken, &count);

    if (known && taken->known && count > taken->interrupts) {
        gint64 until_us = count - taken->interrupts > 1 ? taken->looked_us : taken->noticed_us;

        tell(taken, taken->until_us, until_us);
        taken->until_us = until_us;
        taken->noticed_us = taken->looked_us;
    }
    taken->known = known;
    taken->interrupts = count;
    taken->looked_us = now_us;
}

/* ------------------------------------------------------------------- both */

gboolean vfo_taken_look(VfoTaken *taken)
{
    gint64 now_us = g_get_real_time();
    gboolean ended = FALSE;

    if (!look_at_ring(taken, now_us, &ended))
        look_at_interrupts(taken, now_us);
    return !ended;
}

gboolean vfo_taken_next(VfoTaken *taken, VfoTakenSpan *span)
{
    g_autofree VfoTakenSpan *next = g_queue_pop_head(&taken->news);

    if (next)
        *span = *next;
    return next != NULL;
}

VfoTaken *vfo_taken_new(const VfoTakenVf *vf)
{
    VfoTaken *taken = g_new0(VfoTaken, 1);

    taken->sysfs = g_strdup(vf->sysfs);
    taken->pci = g_strdup(vf->pci);
    taken->pf = g_strdup(vf->pf);
    taken->index = vf->index;
    taken->vector = vf->vector;
    taken->until_us = taken->noticed_us = taken->seen_us = G_MININT64;
    taken->room = ROOM;
    /* Nothing waits before the first look. */
    taken->doubt = 1;
    g_queue_init(&taken->marks);
    g_queue_init(&taken->news);
    return taken;
}

void vfo_taken_free(VfoTaken *taken)
{
    if (!taken)
        return;
    g_queue_clear_full(&taken->marks, g_free);
    g_queue_clear_full(&taken->news, g_free);
    g_free(taken->sysfs);
    g_free(taken->pci);
    g_free(taken->pf);
    g_free(taken->irq);
    g_free(taken);
}
