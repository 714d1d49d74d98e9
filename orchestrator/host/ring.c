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

#include "core/core.h"

/*
 * igb_get_regs() in drivers/net/ethernet/intel/igb/igb_ethtool.c (Linux 6.1): version 1, the
 * queues 0 to 3, and, of a 82576, 4 to 15. The queues of VF i are those of the PF with the numbers
 * i and i + 8 (82576 datasheet, 7.10.2.7.1 and 8.26); Linux's igbvf uses the first.
 */
#define MAX_REGISTERS   1024
#define VERSION_SHIFT   24
#define VERSION         1
#define FIRST_QUEUES    4
#define QUEUES          16
#define VFS             8
#define DESCRIPTOR_BITS 4          /* a descriptor has 16 bytes */
#define LENGTH_MASK     0x000fff80 /* RDLEN */
#define ENABLE          (1U << 25) /* RXDCTL */

typedef struct {
    guint length, head, tail, control; /* where these registers of the first queue are */
} Columns;

static const Columns first = {137, 141, 145, 149};
static const Columns further = {595, 607, 619, 631};

static gboolean read_queue(const guint32 *registers, gsize n, guint queue, VfoRing *ring)
{
    const Columns *columns = queue < FIRST_QUEUES ? &first : &further;
    guint place = queue < FIRST_QUEUES ? queue : queue - FIRST_QUEUES;

    if (queue >= QUEUES || columns->control + place >= n)
        return FALSE;
    ring->size = (registers[columns->length + place] & LENGTH_MASK) >> DESCRIPTOR_BITS;
    ring->head = registers[columns->head + place];
    ring->tail = registers[columns->tail + place];
    ring->receives = (registers[columns->control + place] & ENABLE) != 0;
    return ring->head < ring->size && ring->tail < ring->size;
}

gboolean vfo_ring_of(const guint32 *registers, gsize n, guint index, VfoRing *ring)
{
    VfoRing second;

    if (index >= VFS || !read_queue(registers, n, index, ring))
        return FALSE;
    ring->alone = !read_queue(registers, n, index + VFS, &second) || !second.receives;
    return TRUE;
}

static gboolean read_dump(const char *pf, struct ethtool_regs *dump, GError **error)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_data = (char *)dump};
    gboolean read;

    dump->cmd = ETHTOOL_GREGS;
    dump->len = MAX_REGISTERS * sizeof(guint32);
    g_strlcpy(request.ifr_name, pf, sizeof(request.ifr_name));
    read = fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0;
    if (!read)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "the registers of PF %s cannot be read: %s",
                    pf, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return read;
}

gboolean vfo_ring_read(const char *pf, guint index, VfoRing *ring, GError **error)
{
    g_autofree struct ethtool_regs *dump =
        g_malloc0(sizeof(*dump) + MAX_REGISTERS * sizeof(guint32));

    if (!read_dump(pf, dump, error))
        return FALSE;
    if (dump->version >> VERSION_SHIFT == VERSION && dump->len <= MAX_REGISTERS * sizeof(guint32) &&
        vfo_ring_of((const guint32 *)dump->data, dump->len / sizeof(guint32), index, ring))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "the registers of PF %s show no receive ring of VF %u: see 'ethtool -d %s'", pf,
                index, pf);
    return FALSE;
}
