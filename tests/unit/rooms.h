/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What daemon/ calls of host/ and peer/, as a test of daemon/ plays it: these
 * two rooms are not linked.
 */
#pragma once

#include "daemon/daemon.h"

void vfo_quirks_free(VfoQuirks *quirks)
{
    g_free(quirks->driver);
    g_free(quirks);
}

const VfoQuirks *vfo_quirks_of(const GPtrArray *configured, const char *driver)
{
    static const VfoQuirks igb = {.driver = (char *)"igb",
                                  .cannot_set = VFO_QUIRK_OUTER_VLAN,
                                  .no_vf_counters = TRUE,
                                  .shows_rings = TRUE,
                                  .receive_vector = 1,
                                  .quarantine = 4094};
    static const VfoQuirks none = {
        .driver = (char *)"(none)", .receive_vector = -1, .ready_vector = -1};

    return g_str_equal(driver, "igb") ? &igb : &none;
}

void vfo_network_free(VfoNetwork *network)
{
    if (!network)
        return;
    g_free(network->name);
    g_strfreev(network->pfs);
    g_free(network->bridge);
    g_free(network->datapath);
    g_free(network);
}

void vfo_peer_address_free(VfoPeerAddress *address)
{
    g_free(address->name);
    g_free(address->address);
    g_free(address->libvirt_uri);
    g_free(address);
}
