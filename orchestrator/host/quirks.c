/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/quirks.h"

/*
 * Sources: Linux 6.1, drivers/net/ethernet/. A driver that is not here does all there is, as far as
 * is known; what it refuses is an error when it is asked.
 *
 * That a driver refuses the zero address for a VF (bnx2x, be2net, qede and others) needs no row: no
 * VF is given it, whichever it had (vfo_vf_parked()). Nor does a filter whose driver says that it
 * is full (igb_ndo_fdb_add(), ixgbe_ndo_fdb_add()), or takes everything in then
 * (i40e_aqc_add_filters(), ice_vsi_sync_fltr(), bnxt_cfg_rx_mode()). Nor does a switch in the card
 * that does not deliver between its functions: the PF itself tells (vfo_link_is_vepa()).
 */
static const VfoQuirks rows[] = {
    {
        /* intel/igb/igb_main.c: igb_netdev_ops has no ndo_set_vf_link_state and no
         * ndo_get_vf_stats; igb_ndo_set_vf_bw(): min_tx_rate; igb_ndo_set_vf_vlan(): the protocol.
         * intel/igbvf/netdev.c: igbvf_open() fills the receive ring, then asks for its vectors:
         * 0 sends, 1 receives, 2 is the mailbox; its link comes up seconds later, so that the guest
         * sends nothing before (igbvf_watchdog_task()). Rings: igb_get_regs(), see ring.c. */
        .driver = (char *)"igb",
        .cannot_set = VFO_QUIRK_LINK_STATE | VFO_QUIRK_MIN_RATE | VFO_QUIRK_OUTER_VLAN,
        .no_vf_counters = TRUE,
        .shows_rings = TRUE,
        .receive_vector = 1,
        .ready_vector = 0,
        .quarantine = 4094,
    },
    {
        /* intel/ixgbe/ixgbe_sriov.c: ixgbe_ndo_set_vf_bw(), ixgbe_ndo_set_vf_vlan(). */
        .driver = (char *)"ixgbe",
        .cannot_set = VFO_QUIRK_MIN_RATE | VFO_QUIRK_OUTER_VLAN,
        .receive_vector = -1,
        .ready_vector = -1,
    },
    {
        /* intel/i40e/i40e_virtchnl_pf.c: i40e_ndo_set_vf_bw(), i40e_ndo_set_vf_port_vlan(), which
         * calls i40e_vc_reset_vf(), as i40e_ndo_set_vf_mac() does. */
        .driver = (char *)"i40e",
        .cannot_set = VFO_QUIRK_MIN_RATE | VFO_QUIRK_OUTER_VLAN,
        .receive_vector = -1,
        .ready_vector = -1,
        .mac_resets_vf = TRUE,
        .vlan_resets_vf = TRUE,
    },
    {
        /* intel/ice/ice_sriov.c: ice_set_vf_mac(), ice_set_vf_port_vlan(): ice_reset_vf(). */
        .driver = (char *)"ice",
        .receive_vector = -1,
        .ready_vector = -1,
        .mac_resets_vf = TRUE,
        .vlan_resets_vf = TRUE,
    },
    {
        /* mellanox/mlx5/core/en_main.c: mlx5e_set_vf_vlan(). en_fs.c:
         * mlx5e_vport_context_update_addr_list() leaves out what its filter has no room for, and
         * tells the kernel's log alone; how much that is depends on the card's firmware, so that
         * filter_entries is the configuration's to give. */
        .driver = (char *)"mlx5_core",
        .cannot_set = VFO_QUIRK_OUTER_VLAN,
        .receive_vector = -1,
        .ready_vector = -1,
    },
    {
        /* broadcom/bnxt/bnxt_sriov.c: bnxt_set_vf_vlan(); bnxt.c: bnxt_netdev_ops has no
         * ndo_get_vf_stats. */
        .driver = (char *)"bnxt_en",
        .cannot_set = VFO_QUIRK_OUTER_VLAN,
        .no_vf_counters = TRUE,
        .receive_vector = -1,
        .ready_vector = -1,
    },
};

void vfo_quirks_free(VfoQuirks *quirks)
{
    if (!quirks)
        return;
    g_free(quirks->driver);
    g_free(quirks);
}

const VfoQuirks *vfo_quirks_of(const GPtrArray *configured, const char *driver)
{
    static const VfoQuirks none = {
        .driver = (char *)"(none)", .receive_vector = -1, .ready_vector = -1};

    for (guint i = 0; configured && i < configured->len; i++) {
        const VfoQuirks *own = g_ptr_array_index(configured, i);

        if (g_strcmp0(own->driver, driver) == 0)
            return own;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (g_strcmp0(rows[i].driver, driver) == 0)
            return &rows[i];
    return &none;
}

gboolean vfo_quirks_check(const VfoQuirks *quirks, const VfoVfSettings *settings, const char *pf,
                          GError **error)
{
    const char *what = NULL;

    if (settings->link != VFO_LINK_AUTO && (quirks->cannot_set & VFO_QUIRK_LINK_STATE))
        what = "a link state other than 'auto'";
    else if (settings->min_tx_rate && (quirks->cannot_set & VFO_QUIRK_MIN_RATE))
        what = "a minimum transmit rate";
    else if (settings->vlan_outer && (quirks->cannot_set & VFO_QUIRK_OUTER_VLAN))
        what = "a VLAN of 802.1ad (QinQ)";
    if (!what)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "the guest's VF has %s, which driver %s of PF %s cannot set: take it from the VF "
                "at the source, or see [driver %s] in vfailoverd.conf(5)",
                what, quirks->driver, pf, quirks->driver);
    return FALSE;
}
