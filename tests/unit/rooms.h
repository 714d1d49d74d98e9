/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What daemon/ calls of host/ and peer/, as a test of daemon/ plays it: these
 * two rooms are not linked.
 */
#pragma once

#include "daemon/daemon.h"

void vfo_network_free(VfoNetwork *network)
{
    if (!network)
        return;
    g_free(network->name);
    g_strfreev(network->pfs);
    g_free(network->bridge);
    g_free(network);
}

void vfo_peer_address_free(VfoPeerAddress *address)
{
    g_free(address->name);
    g_free(address->address);
    g_free(address);
}
