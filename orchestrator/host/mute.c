/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/mute.h"

#include <errno.h>

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

static void set_cannot(VfoNetlink *netlink, const VfoLink *macvtap, int code, GError **error)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "cannot drop what enters macvtap %s: %s (needs CONFIG_NET_SCH_INGRESS, "
                "CONFIG_NET_CLS_FLOWER and CONFIG_NET_ACT_GACT)",
                macvtap->name, vfo_netlink_reason(netlink, code));
}

/* What is addressed to nobody: modules that the kernel has to load for it are there after that. */
static int try(VfoNetlink *netlink, int macvtap)
{
    static const VfoMac nobody = {{0}};

    return vfo_ingress_drop(netlink, macvtap, &nobody);
}

VfoMute *vfo_mute_new(VfoNetlink *netlink, const VfoLink *macvtap, GError **error)
{
    VfoMute *mute;
    gboolean existed;
    int code = vfo_ingress_prepare(netlink, macvtap->index, &existed);

    if (code == 0)
        code = try(netlink, macvtap->index);
    if (code < 0)
        set_cannot(netlink, macvtap, code, error);
    if (code < 0 || !vfo_ingress_remove(netlink, macvtap->index, VFO_INGRESS_DROP, error))
        return NULL;
    mute = g_new0(VfoMute, 1);
    mute->netlink = netlink;
    mute->macvtap = *macvtap;
    return mute;
}

static void warn(const VfoLink *macvtap, const GError *error)
{
    g_warning("a guest hears nothing on its standby %s until 'tc filter del dev %s ingress pref "
              "%d': %s",
              macvtap->name, macvtap->name, VFO_INGRESS_DROP, error->message);
}

gboolean vfo_mute_end(VfoMute *mute, GError **error)
{
    if (mute->drops &&
        !vfo_ingress_remove(mute->netlink, mute->macvtap.index, VFO_INGRESS_DROP, error))
        return FALSE;
    mute->drops = FALSE;
    g_clear_handle_id(&mute->timer, g_source_remove);
    return TRUE;
}

static gboolean on_over(gpointer data)
{
    VfoMute *mute = data;
    g_autoptr(GError) error = NULL;

    if (vfo_mute_end(mute, &error))
        return G_SOURCE_REMOVE;
    warn(&mute->macvtap, error);
    return G_SOURCE_CONTINUE;
}

static gboolean on_begin(gpointer data)
{
    VfoMute *mute = data;
    int code = vfo_ingress_drop(mute->netlink, mute->macvtap.index, &mute->macvtap.mac);
    g_autoptr(GError) error = NULL;

    mute->timer = 0;
    mute->drops = code == 0;
    if (mute->drops) {
        mute->timer = g_timeout_add_seconds(SECONDS, on_over, mute);
    } else if (code != -ENODEV) {
        set_cannot(mute->netlink, &mute->macvtap, code, &error);
        g_message("a guest may get frames twice as it gets its VF: %s", error->message);
    }
    return G_SOURCE_REMOVE;
}

void vfo_mute_begin(VfoMute *mute)
{
    if (!mute->timer)
        mute->timer = g_timeout_add(DELAY_MS, on_begin, mute);
}

void vfo_mute_free(VfoMute *mute)
{
    g_autoptr(GError) error = NULL;

    if (!mute)
        return;
    if (!vfo_mute_end(mute, &error))
        warn(&mute->macvtap, error);
    g_clear_handle_id(&mute->timer, g_source_remove);
    g_free(mute);
}

void vfo_mute_end_all(VfoNetlink *netlink)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) macvtaps = vfo_link_find_kind(netlink, "macvtap", NULL, &error);

    if (!macvtaps)
        g_warning("cannot look for macvtaps that take nothing in: %s", error->message);
    for (guint i = 0; macvtaps && i < macvtaps->len; i++) {
        const VfoLink *macvtap = &g_array_index(macvtaps, VfoLink, i);
        g_autoptr(GError) failure = NULL;

        if (!vfo_ingress_remove(netlink, macvtap->index, VFO_INGRESS_DROP, &failure))
            warn(macvtap, failure);
    }
}
