/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/ring.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * igb_get_regs() in drivers/net/ethernet/intel/igb/igb_ethtool.c (Linux 6.1): version 1, the
 * queues 0 to 3, and, of a 82576, 4 to 15. The first queue of VF i is queue i of the PF (82576
 * datasheet, 7.10.2.7.1 and 8.26).
 */
#define MAX_REGISTERS   1024
#define VERSION_SHIFT   24
#define VERSION         1
#define FIRST_QUEUES    4
#define QUEUES          16
#define DESCRIPTOR_BITS 4          /* a descriptor has 16 bytes */
#define LENGTH_MASK     0x000fff80 /* RDLEN */
#define ENABLE          (1U << 25) /* RXDCTL */

typedef struct {
    guint length, head, tail, control; /* where these registers of the first queue are */
} Columns;

static const Columns first = {137, 141, 145, 149};
static const Columns further = {595, 607, 619, 631};

gboolean vfo_ring_of(const guint32 *registers, gsize n, guint index, VfoRing *ring)
{
    const Columns *columns = index < FIRST_QUEUES ? &first : &further;
    guint queue = index < FIRST_QUEUES ? index : index - FIRST_QUEUES;

    if (index >= QUEUES || columns->control + queue >= n)
        return FALSE;
    ring->size = (registers[columns->length + queue] & LENGTH_MASK) >> DESCRIPTOR_BITS;
    ring->head = registers[columns->head + queue];
    ring->tail = registers[columns->tail + queue];
    ring->receives = (registers[columns->control + queue] & ENABLE) != 0;
    return ring->head < ring->size && ring->tail < ring->size;
}

gboolean vfo_ring_read(const char *pf, guint index, VfoRing *ring)
{
    g_autofree struct ethtool_regs *dump =
        g_malloc0(sizeof(*dump) + MAX_REGISTERS * sizeof(guint32));
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_data = (char *)dump};
    gboolean read;

    dump->cmd = ETHTOOL_GREGS;
    dump->len = MAX_REGISTERS * sizeof(guint32);
    g_strlcpy(request.ifr_name, pf, sizeof(request.ifr_name));
    read = fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0;
    if (!read)
        g_debug("registers of PF %s: %s", pf, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return read && dump->version >> VERSION_SHIFT == VERSION &&
           dump->len <= MAX_REGISTERS * sizeof(guint32) &&
           vfo_ring_of((const guint32 *)dump->data, dump->len / sizeof(guint32), index, ring);
}
