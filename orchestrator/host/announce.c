/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/announce.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <string.h>
#include <sys/socket.h>

#define ARPOP_REVERSE_REQUEST 3 /* RFC 903 */

static void add(VfoFrame *frame, const void *data, gsize length)
{
    memcpy(frame->bytes + frame->length, data, length);
    frame->length += length;
}

static void add_u16(VfoFrame *frame, guint16 value)
{
    guint16 wire = htons(value);

    add(frame, &wire, sizeof(wire));
}

void vfo_announce_build(VfoFrame *frame, const VfoMac *mac, const VfoTag *tag)
{
    static const guint8 broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const guint8 no_address[4] = {0};

    memset(frame, 0, sizeof(*frame));
    add(frame, broadcast, sizeof(broadcast));
    add(frame, mac->octet, sizeof(mac->octet));
    if (tag->id) {
        add_u16(frame, tag->outer ? ETH_P_8021AD : ETH_P_8021Q);
        add_u16(frame, tag->id);
    }
    add_u16(frame, ETH_P_RARP);
    add_u16(frame, ARPHRD_ETHER);
    add_u16(frame, ETH_P_IP);
    frame->bytes[frame->length++] = ETH_ALEN;
    frame->bytes[frame->length++] = sizeof(no_address);
    add_u16(frame, ARPOP_REVERSE_REQUEST);
    for (int side = 0; side < 2; side++) {
        add(frame, mac->octet, sizeof(mac->octet));
        add(frame, no_address, sizeof(no_address));
    }
    frame->length = tag->id ? ETH_ZLEN + 4 : ETH_ZLEN;
}

int vfo_announce_socket(GError **error)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "cannot announce guests: packet socket: %s",
                    g_strerror(errno));
    return fd;
}

gboolean vfo_announce(int socket, const VfoLink *port, const VfoMac *mac, const VfoTag *tag,
                      GError **error)
{
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_ifindex = port->index, .sll_halen = ETH_ALEN};
    char text[VFO_MAC_STRLEN];
    VfoFrame frame;

    vfo_announce_build(&frame, mac, tag);
    if (sendto(socket, frame.bytes, frame.length, 0, (struct sockaddr *)&to, sizeof(to)) ==
        (ssize_t)frame.length)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                "cannot announce %s on interface %s: %s; is it up?", vfo_mac_format(mac, text),
                port->name, g_strerror(errno));
    return FALSE;
}
