/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * On a macvtap: the kernel keeps frames in a row (host/plug.h), of which the first can be let go
 * and none be dropped. Those which the guest has taken of its VF are let go at once: as long as
 * its VF is registered, the guest itself drops what comes through its standby.
 */
#include "host/hold-kind.h"
#include "host/plug.h"

typedef struct {
    VfoHold hold; /* first: a VfoHold * is an OnMacvtap * */
    VfoPlug *plug;
    gboolean marked;
    gint64 marked_us; /* what had arrived then is before the mark */
    gint64 until_us;  /* the guest has taken what had arrived before this */
    gboolean missed;  /* but not all: the rest waits behind what it may need */
} OnMacvtap;

static void read_news(OnMacvtap *on)
{
    VfoTakenSpan span;

    while (vfo_taken_next(on->hold.taken, &span)) {
        on->missed = on->missed || span.from_us > on->until_us;
        if (!on->missed)
            on->until_us = MAX(on->until_us, span.until_us);
    }
}

static void warn(const VfoHold *hold, GError *error)
{
    g_warning("macvtap %s: %s", hold->port, error->message);
    g_error_free(error);
}

static void set_mark(OnMacvtap *on)
{
    GError *error = NULL;

    on->marked = vfo_plug_mark(on->plug, &error);
    /* A clock that was set back tells nothing any more. */
    on->missed = on->missed || g_get_real_time() < on->marked_us;
    on->marked_us = g_get_real_time();
    if (!on->marked)
        warn(&on->hold, error);
}

static void begin(VfoHold *hold)
{
    OnMacvtap *on = (OnMacvtap *)hold;

    /* What comes from the first look on is told of, and what comes before the mark passes. */
    hold->ended = !vfo_taken_look(hold->taken);
    on->until_us = g_get_real_time();
    set_mark(on);
}

static void let_go_taken(VfoHold *hold)
{
    OnMacvtap *on = (OnMacvtap *)hold;
    GError *error = NULL;

    read_news(on);
    if (on->marked && on->until_us <= on->marked_us)
        return;
    if (on->marked && !vfo_plug_let_go(on->plug, &error))
        warn(hold, error);
    on->marked = FALSE;
    if (!hold->ended)
        set_mark(on);
}

static void deliver(VfoHold *hold)
{
    OnMacvtap *on = (OnMacvtap *)hold;
    GError *error = NULL;
    VfoPlugCount count;

    if (!vfo_plug_count(on->plug, &count, &error) || !vfo_plug_pull(on->plug, &error))
        warn(hold, error);
    else
        g_message(
            "macvtap %s: %u frames held and delivered, besides those that VF %s has delivered; "
            "%u dropped for want of room",
            hold->port, count.waiting, hold->pci, count.dropped);
}

static gboolean pass(VfoHold *hold, GError **error)
{
    return vfo_plug_remove(((OnMacvtap *)hold)->plug, error);
}

static void on_macvtap_free(VfoHold *hold)
{
    OnMacvtap *on = (OnMacvtap *)hold;
    g_autoptr(GError) error = NULL;

    if (!vfo_plug_remove(on->plug, &error))
        g_warning("a guest may hear nothing on its standby: %s", error->message);
    vfo_plug_free(on->plug);
    g_free(on);
}

static const VfoHoldKind on_macvtap = {
    .begin = begin,
    .sift = let_go_taken,
    .deliver = deliver,
    .pass = pass,
    .free = on_macvtap_free,
};

VfoHold *vfo_hold_new_on_macvtap(VfoNetlink *netlink, const VfoLink *tap, const VfoTakenVf *vf,
                                 GError **error)
{
    VfoPlug *plug = vfo_plug_new(netlink, tap, error);
    OnMacvtap *on;

    if (!plug)
        return NULL;
    on = g_new0(OnMacvtap, 1);
    vfo_hold_init(&on->hold, &on_macvtap, tap, vf);
    on->plug = plug;
    return &on->hold;
}
