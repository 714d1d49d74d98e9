/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/taken.h"

#include "host/pci.h"
#include "host/ring.h"

/*
 * The descriptors that a driver leaves between the tail and the head when it has taken all: Linux's
 * igbvf two (igbvf_desc_unused() and igbvf_alloc_rx_buffers(), Linux 6.1). One that leaves more
 * seems to have taken less.
 */
#define ROOM 2

/** What the VF had received at a look. */
typedef struct {
    gint64 at_us;
    guint64 received;
} Mark;

struct _VfoTaken {
    char *sysfs;
    char *pci;
    char *pf;
    guint index;
    int vector;
    gint64 until_us;

    VfoRing ring;     /* at the last look; size 0: never seen */
    guint room;       /* at most ROOM */
    guint64 received; /* by the VF, since the first look */
    gboolean begun;   /* it has been seen to receive */
    GQueue marks;     /* of Mark, in order: looks after which the guest has not taken all yet */

    char *irq; /* of the vector; NULL: not known, or not looked for yet */
    gint64 looked_us;
    gboolean known; /* the interrupts were read at the last look */
    guint64 interrupts;
    gint64 noticed_us; /* what arrived before this the guest has been told of, by an interrupt */
};

/* ------------------------------------------------------------------- ring */

static guint distance(const VfoRing *ring, guint from, guint to)
{
    return (to + ring->size - from) % ring->size;
}

/* Looked at from before @now_us on. FALSE: the registers have never shown the ring. */
static gboolean look_at_ring(VfoTaken *taken, gint64 now_us, gboolean *ended)
{
    VfoRing ring;
    guint room;
    guint pending;
    const Mark *mark;

    if (!taken->pf || !vfo_ring_read(taken->pf, taken->index, &ring))
        return taken->ring.size != 0;
    room = distance(&ring, ring.tail, ring.head);
    /* A tail at the head: full, or it has been reset. */
    if (room == 0) {
        *ended = taken->begun && !ring.receives;
        return taken->ring.size != 0;
    }
    taken->room = MIN(taken->room, room);
    if (taken->ring.size == ring.size)
        taken->received += distance(&ring, taken->ring.head, ring.head);
    taken->ring = ring;
    if (ring.receives) {
        Mark fresh = {now_us, taken->received};

        taken->begun = TRUE;
        g_queue_push_tail(&taken->marks, g_memdup2(&fresh, sizeof(fresh)));
    }
    pending = distance(&ring, (ring.tail + taken->room) % ring.size, ring.head);
    while ((mark = g_queue_peek_head(&taken->marks)) &&
           mark->received + pending <= taken->received) {
        taken->until_us = mark->at_us;
        g_free(g_queue_pop_head(&taken->marks));
    }
    *ended = taken->begun && !ring.receives && pending == 0;
    return TRUE;
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
        taken->until_us = count - taken->interrupts > 1 ? taken->looked_us : taken->noticed_us;
        taken->noticed_us = taken->looked_us;
    }
    taken->known = known;
    taken->interrupts = count;
    taken->looked_us = now_us;
}

/* ------------------------------------------------------------------- both */

gboolean vfo_taken_look(VfoTaken *taken, gint64 *until_us)
{
    gint64 now_us = g_get_real_time();
    gboolean ended = FALSE;

    if (!look_at_ring(taken, now_us, &ended))
        look_at_interrupts(taken, now_us);
    *until_us = taken->until_us;
    return !ended;
}

VfoTaken *vfo_taken_new(const VfoTakenVf *vf)
{
    VfoTaken *taken = g_new0(VfoTaken, 1);

    taken->sysfs = g_strdup(vf->sysfs);
    taken->pci = g_strdup(vf->pci);
    taken->pf = g_strdup(vf->pf);
    taken->index = vf->index;
    taken->vector = vf->vector;
    taken->until_us = taken->noticed_us = G_MININT64;
    taken->room = ROOM;
    g_queue_init(&taken->marks);
    return taken;
}

void vfo_taken_free(VfoTaken *taken)
{
    if (!taken)
        return;
    g_queue_clear_full(&taken->marks, g_free);
    g_free(taken->sysfs);
    g_free(taken->pci);
    g_free(taken->pf);
    g_free(taken->irq);
    g_free(taken);
}
