/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling the physical network where a guest is. Private to host/.
 */
#pragma once

#include <linux/if_ether.h>

#include "host/vlan.h"

/** VfoFrame: the shortest frame there is, or that and a VLAN tag. Plain data. */
typedef struct {
    guint8 bytes[ETH_ZLEN + 4];
    gsize length;
} VfoFrame;

/** vfo_announce_build: makes @frame what vfo_announce() sends. */
void vfo_announce_build(VfoFrame *frame, const VfoMac *mac, const VfoTag *tag);

/** vfo_announce_socket: to send by; receives nothing. -1: it cannot be opened. To be kept: to close
 *  it waits for all processors (Linux 6.1, packet_release(): 9 to 20 ms in an emulated host). */
int vfo_announce_socket(GError **error);

/**
 * vfo_announce: sends one broadcast of @mac by @socket out of @port, tagged with @tag, from
 * which switches learn the way: a reverse ARP request (RFC 903), as QEMU announces its guests,
 * which no host answers or takes for news of an IP address.
 */
gboolean vfo_announce(int socket, const VfoLink *port, const VfoMac *mac, const VfoTag *tag,
                      GError **error);
