/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest has taken of the frames that its VF has received: as much of it as can be known.
 * Private to host/.
 *
 * By the VF's receive ring, where the PF's registers show it (host/ring.h): the guest's driver
 * gives the card back the descriptors of what it has taken. So all that had arrived at a look has
 * been taken when the driver is where the card was then. What arrives between the last look and the
 * end of the VF is not known: the VF may get frames that come no other way, so that to count is no
 * use.
 *
 * Else by the VF's interrupts: the card tells the guest of what has arrived, and does so again only
 * when the guest has taken that (NAPI, and a vector that the card masks when it fires). So the one
 * before has been heeded. The last one may never be: a guest that closes its VF throws away what
 * it finds in the ring.
 */
#pragma once

#include <glib.h>

/** VfoTakenVf: a VF, and where to look. */
typedef struct {
    const char *sysfs;
    const char *pci;
    int vector;     /* the number of the MSI-X vector by which it receives; -1: not known */
    const char *pf; /* the PF, if its registers show the ring; else NULL */
    guint index;    /* the VF's number */
} VfoTakenVf;

typedef struct _VfoTaken VfoTaken;

/** vfo_taken_new: copies @vf. */
VfoTaken *vfo_taken_new(const VfoTakenVf *vf);
void vfo_taken_free(VfoTaken *taken);

/**
 * vfo_taken_look: looks; vfo_taken_next() has the news. FALSE: there will be no more. Nothing tells
 * when there are any: it is to be called often.
 */
gboolean vfo_taken_look(VfoTaken *taken);

/** VfoTakenSpan: what had arrived at @from_us or later (CLOCK_REALTIME), but before @until_us, the
 *  guest has taken. Before @from_us there may be a time in which the ring was full, and the card
 *  threw away what it received. */
typedef struct {
    gint64 from_us;
    gint64 until_us;
} VfoTakenSpan;

/** vfo_taken_next: the next span, in order. FALSE: nothing more is known yet. */
gboolean vfo_taken_next(VfoTaken *taken, VfoTakenSpan *span);
