/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/mute.h"

#include "host/ingress.h"

/* A frame that the card has given to the PF alone is in the macvtap by then: more of them twice is
 * better than one of them lost. */
#define DELAY_MS 10
#define SECONDS  2

struct _VfoMute {
    VfoNetlink *netlink;
    VfoLink macvtap;
    gboolean drops;
    guint timer; /* of what comes next: to begin, or to end; 0: neither */
};

static gboolean cannot(VfoNetlink *netlink, const VfoLink *macvtap, int code, GError **error)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "cannot drop what enters macvtap %s: %s (needs CONFIG_NET_SCH_INGRESS, "
                "CONFIG_NET_CLS_MATCHALL and CONFIG_NET_ACT_GACT)",
                macvtap->name, vfo_netlink_reason(netlink, code));
    return FALSE;
}

VfoMute *vfo_mute_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error)
{
    VfoMute *mute;
    gboolean existed;
    int code = vfo_ingress_prepare(netlink, macvtap->index, &existed);

    if (code == 0)
        code = vfo_ingress_try_dropping(netlink, macvtap->index);
    if (code < 0) {
        cannot(netlink, macvtap, code, error);
        return NULL;
    }
    mute = g_new0(VfoMute, 1);
    mute->netlink = netlink;
    mute->macvtap = *macvtap;
    return mute;
}

static void end(VfoNetlink *netlink, const VfoLink *macvtap)
{
    g_autoptr(GError) error = NULL;

    if (!vfo_ingress_remove(netlink, macvtap->index, VFO_INGRESS_DROP, &error))
        g_warning("a guest hears nothing on its standby %s until 'tc filter del dev %s ingress "
                  "pref %d': %s",
                  macvtap->name, macvtap->name, VFO_INGRESS_DROP, error->message);
}

static gboolean on_over(gpointer data)
{
    VfoMute *mute = data;

    mute->timer = 0;
    mute->drops = FALSE;
    end(mute->netlink, &mute->macvtap);
    return G_SOURCE_REMOVE;
}

static gboolean on_begin(gpointer data)
{
    VfoMute *mute = data;
    int code = vfo_ingress_drop(mute->netlink, mute->macvtap.index);
    g_autoptr(GError) error = NULL;

    mute->timer = 0;
    mute->drops = code == 0;
    if (mute->drops)
        mute->timer = g_timeout_add_seconds(SECONDS, on_over, mute);
    else if (!cannot(mute->netlink, &mute->macvtap, code, &error))
        g_message("a guest may get frames twice as it gets its VF: %s", error->message);
    return G_SOURCE_REMOVE;
}

void vfo_mute_begin(VfoMute *mute)
{
    if (!mute->drops && !mute->timer)
        mute->timer = g_timeout_add(DELAY_MS, on_begin, mute);
}

void vfo_mute_free(VfoMute *mute)
{
    if (mute->drops)
        end(mute->netlink, &mute->macvtap);
    g_clear_handle_id(&mute->timer, g_source_remove);
    g_free(mute);
}

void vfo_mute_free_all(VfoNetlink *netlink)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) macvtaps = vfo_link_find_kind(netlink, "macvtap", NULL, &error);

    if (!macvtaps)
        g_warning("cannot look for macvtaps that take nothing in: %s", error->message);
    for (guint i = 0; macvtaps && i < macvtaps->len; i++)
        end(netlink, &g_array_index(macvtaps, VfoLink, i));
}
