/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/hold-kind.h"

/* Each look interrupts the guests of a busy host, the one that is waited for among them. */
#define LOOK_EVERY_MS 5

void vfo_hold_init(VfoHold *hold, const VfoHoldKind *kind, const VfoLink *tap, const VfoTakenVf *vf)
{
    hold->kind = kind;
    hold->taken = vfo_taken_new(vf);
    hold->pci = g_strdup(vf->pci);
    hold->port = g_strdup(tap->name);
}

static gboolean on_look(gpointer data)
{
    VfoHold *hold = data;

    vfo_stopwatch_begin_spare();
    vfo_stopwatch_begin_outside();
    hold->ended = hold->ended || !vfo_taken_look(hold->taken);
    hold->kind->sift(hold);
    vfo_stopwatch_end_outside();
    vfo_stopwatch_end_spare();
    /* From the end of this look on: on a busy host the next shall not be due already. */
    hold->timer = g_timeout_add(LOOK_EVERY_MS, on_look, hold);
    return G_SOURCE_REMOVE;
}

void vfo_hold_begin(VfoHold *hold)
{
    hold->kind->begin(hold);
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
    return hold->kind->take && hold->kind->take(hold, frame);
}

/* From here on all passes again. */
static void stop_keeping(VfoHold *hold)
{
    if (!hold->keeping)
        return;
    g_clear_handle_id(&hold->timer, g_source_remove);
    vfo_stopwatch_begin_outside();
    hold->kind->sift(hold);
    hold->kind->deliver(hold);
    vfo_stopwatch_end_outside();
    hold->keeping = FALSE;
}

gboolean vfo_hold_end(VfoHold *hold, GError **error)
{
    stop_keeping(hold);
    if (!hold->kind->pass(hold, error))
        return FALSE;
    vfo_hold_free(hold);
    return TRUE;
}

void vfo_hold_free(VfoHold *hold)
{
    if (!hold)
        return;
    stop_keeping(hold);
    vfo_taken_free(hold->taken);
    g_free(hold->pci);
    g_free(hold->port);
    hold->kind->free(hold);
}
