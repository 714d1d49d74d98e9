/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/datapath.h"

gboolean vfo_datapath_check_pf(const VfoLink *pf, const VfoLink *uplink, GError **error)
{
    if (!pf->up)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s is down: bring it up with 'ip link set %s up'", pf->name, pf->name);
    else if (!pf->carrier)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "PF %s has no carrier: check its cable and the switch at the other end",
                    pf->name);
    else if (!uplink->up)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "%s is down: bring it up with 'ip link set %s up'", uplink->name, uplink->name);
    else
        return TRUE;
    return FALSE;
}

static char *tag_text(const VfoTag *tag)
{
    return tag->id ? g_strdup_printf("in VLAN %u%s", tag->id, tag->outer ? " of 802.1ad" : "")
                   : g_strdup("in no VLAN");
}

gboolean vfo_datapath_match_vlan(const VfoSearch *search, const VfoTag *tag, const char *advice,
                                 VfoWire *wire, GError **error)
{
    const VfoVfSettings *settings = search->settings;
    const VfoVf *vf = search->vf;
    const char *tap = search->standby.name;
    const VfoTag vf_tag = {settings->vlan, settings->vlan_outer};
    g_autofree char *has = tag_text(tag);
    g_autofree char *wants = tag_text(&vf_tag);
    g_autofree char *for_vf = NULL;

    wire->vlan = wire->tag = tag->id;
    wire->vlan_outer = wire->tag_outer = tag->id && tag->outer;
    if (settings->vlan == VFO_VLAN_ANY ||
        (tag->id == settings->vlan && (!tag->id || !tag->outer == !settings->vlan_outer)))
        return TRUE;
    if (vf && vfo_mac_equal(&vf->settings.mac, &settings->mac)) {
        for_vf = g_strdup_printf("'ip link set %s vf %u vlan %u%s'", vf->pf, vf->index, tag->id,
                                 tag->id && tag->outer ? " proto 802.1ad" : "");
        advice = for_vf;
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "the guest's VF is %s, but what %s sends is %s on the network: %s", wants, tap, has,
                advice);
    return FALSE;
}
