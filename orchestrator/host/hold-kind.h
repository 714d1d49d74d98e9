/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the ways to hold frames have in common, and what each does by itself. For hold.c and
 * hold-*.c alone.
 */
#pragma once

#include "host/hold.h"

/** VfoHoldKind: one way, a table of its operations. */
typedef struct {
    /** From here on frames are kept. */
    void (*begin)(VfoHold *hold);
    /** The guest may have taken more: vfo_taken_next() has the news, if there are any. */
    void (*sift)(VfoHold *hold);
    /** All that is kept goes to the guest, and what comes from here on passes. */
    void (*deliver)(VfoHold *hold);
    /** Nothing comes this way any more. What fails may be asked for again. */
    gboolean (*pass)(VfoHold *hold, GError **error);
    /** A frame of the queue; NULL: none comes from there. */
    gboolean (*take)(VfoHold *hold, const VfoQueued *frame);
    void (*free)(VfoHold *hold);
} VfoHoldKind;

/** What each kind's own begins with. */
struct _VfoHold {
    const VfoHoldKind *kind;
    VfoTaken *taken;
    char *pci;  /* of the VF */
    char *port; /* the guest's tap */
    gboolean begun;
    gboolean keeping; /* from begin to end; else all passes */
    gboolean ended;   /* there will be no news of what the guest has taken */
    guint timer;
};

/** vfo_hold_init: for @vf's guest, whose standby is @tap. */
void vfo_hold_init(VfoHold *hold, const VfoHoldKind *kind, const VfoLink *tap,
                   const VfoTakenVf *vf);
