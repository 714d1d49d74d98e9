/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling the physical network where a guest is. Private to host/.
 */
#pragma once

#include "host/vlan.h"

/**
 * vfo_announce: sends one broadcast of @mac out of @port, tagged with @tag, from
 * which switches learn the way: a reverse ARP request (RFC 903), as QEMU announces its guests,
 * which no host answers or takes for news of an IP address.
 */
gboolean vfo_announce(const VfoLink *port, const VfoMac *mac, const VfoTag *tag, GError **error);
