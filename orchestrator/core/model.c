/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

void vfo_vf_free(VfoVf *vf)
{
    if (!vf)
        return;
    g_free(vf->pci);
    g_free(vf->pf);
    g_free(vf->network);
    g_free(vf->driver);
    g_free(vf);
}

VfoVf *vfo_vf_copy(const VfoVf *vf)
{
    VfoVf *copy = g_memdup2(vf, sizeof(*vf));

    copy->pci = g_strdup(vf->pci);
    copy->pf = g_strdup(vf->pf);
    copy->network = g_strdup(vf->network);
    copy->driver = g_strdup(vf->driver);
    return copy;
}

VfoVfSettings vfo_vf_parked(const VfoVf *vf)
{
    return (VfoVfSettings){.mac = vf->parking, .spoofchk = TRUE, .link = VFO_LINK_AUTO};
}

gboolean vfo_vf_is_anybodys(const VfoVf *vf)
{
    static const VfoMac zero;

    return vfo_mac_equal(&vf->settings.mac, &vf->parking) ||
           vfo_mac_equal(&vf->settings.mac, &zero);
}

gboolean vfo_vf_settings_equal(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return vfo_mac_equal(&a->mac, &b->mac) && a->vlan == b->vlan &&
           !a->vlan_outer == !b->vlan_outer && a->qos == b->qos && !a->spoofchk == !b->spoofchk &&
           !a->trust == !b->trust && a->min_tx_rate == b->min_tx_rate &&
           a->max_tx_rate == b->max_tx_rate && a->link == b->link;
}

void vfo_pair_free(VfoPair *pair)
{
    if (!pair)
        return;
    g_free(pair->standby);
    g_free(pair->tap);
    g_free(pair->features);
    g_free(pair->primary);
    g_free(pair->vf);
    g_free(pair->bus);
    g_free(pair);
}

VfoPair *vfo_pair_copy(const VfoPair *pair)
{
    VfoPair *copy = g_memdup2(pair, sizeof(*pair));

    copy->standby = g_strdup(pair->standby);
    copy->tap = g_strdup(pair->tap);
    copy->features = g_strdup(pair->features);
    copy->primary = g_strdup(pair->primary);
    copy->vf = g_strdup(pair->vf);
    copy->bus = g_strdup(pair->bus);
    return copy;
}

void vfo_vm_info_free(VfoVmInfo *info)
{
    if (!info)
        return;
    g_free(info->name);
    g_free(info->machine);
    g_free(info->status);
    g_free(info->uuid);
    g_clear_pointer(&info->halves, g_ptr_array_unref);
    g_clear_pointer(&info->pairs, g_ptr_array_unref);
    g_clear_pointer(&info->free_buses, g_ptr_array_unref);
    g_free(info);
}

void vfo_wire_free(VfoWire *wire)
{
    if (!wire)
        return;
    g_free(wire->network);
    g_free(wire->pf);
    g_free(wire->bridge);
    g_free(wire->uplink);
    g_free(wire->vf_port);
    g_clear_pointer(&wire->trunk, g_array_unref);
    g_clear_pointer(&wire->vlans, g_array_unref);
    g_free(wire->tap);
    g_free(wire);
}

char *vfo_wire_describe(const VfoWire *wire)
{
    const char *proto = wire->tag_outer ? " (802.1ad)" : "";
    g_autofree char *vlan = wire->tag ? g_strdup_printf(", VLAN %u%s", wire->tag, proto) : NULL;

    return g_strdup_printf("%s reaches PF %s by datapath '%s'%s", wire->tap, wire->pf,
                           wire->datapath, vlan ? vlan : "");
}

void vfo_offer_free(VfoOffer *offer)
{
    if (!offer)
        return;
    g_free(offer->job);
    g_free(offer->vm);
    g_free(offer->machine);
    vfo_pair_free(offer->pair);
    g_free(offer->network);
    g_free(offer->uuid);
    g_free(offer);
}

VfoOffer *vfo_offer_copy(const VfoOffer *offer)
{
    VfoOffer *copy = g_memdup2(offer, sizeof(*offer));

    copy->job = g_strdup(offer->job);
    copy->vm = g_strdup(offer->vm);
    copy->machine = g_strdup(offer->machine);
    copy->pair = vfo_pair_copy(offer->pair);
    copy->network = g_strdup(offer->network);
    copy->uuid = g_strdup(offer->uuid);
    return copy;
}

void vfo_record_free(VfoRecord *record)
{
    if (!record)
        return;
    g_free(record->step);
    g_free(record->host);
    g_free(record->detail);
    g_free(record);
}
