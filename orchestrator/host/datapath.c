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

static char *vlan_text(guint16 vlan)
{
    return vlan ? g_strdup_printf("in VLAN %u", vlan) : g_strdup("in no VLAN");
}

gboolean vfo_datapath_match_vlan(const VfoSearch *search, guint16 wire_vlan, const char *advice,
                                 VfoWire *wire, GError **error)
{
    const VfoVfSettings *settings = search->settings;
    const VfoVf *vf = search->vf;
    const char *tap = search->standby.name;
    g_autofree char *has = vlan_text(wire_vlan);
    g_autofree char *wants = vlan_text(settings->vlan);
    g_autofree char *for_vf = NULL;

    if (settings->vlan_outer) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "the guest's VF is in VLAN %u of 802.1ad (QinQ), which is not supported for "
                    "what %s sends",
                    settings->vlan, tap);
        return FALSE;
    }
    wire->vlan = wire_vlan;
    if (wire_vlan == settings->vlan || settings->vlan == VFO_VLAN_ANY)
        return TRUE;
    if (vf && vfo_mac_equal(&vf->settings.mac, &settings->mac)) {
        for_vf = g_strdup_printf("'ip link set %s vf %u vlan %u'", vf->pf, vf->index, wire_vlan);
        advice = for_vf;
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "the guest's VF is %s, but what %s sends is %s on the network: %s", wants, tap, has,
                advice);
    return FALSE;
}
