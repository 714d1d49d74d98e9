/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long this machine takes to read all VFs of a PF, over netlink alone and with sysfs, and to
 * change one of them, by the daemon's own code (the host/ room): scale SYSFS PF READINGS CHANGES.
 * It prints "ask VFS MICROSECONDS", "read VFS MICROSECONDS" or "change VF MICROSECONDS" for each.
 * For scripts/bench scale.
 */
#include <stdio.h>
#include <stdlib.h>

#include <linux/netlink.h>

#include "host/host.h"
#include "host/vf.h"

static const VfoMac macs[] = {{{0x02, 0x5c, 0xa1, 0xe0, 0x00, 0x01}},
                              {{0x02, 0x5c, 0xa1, 0xe0, 0x00, 0x02}}};

static void stop_at(const GError *error)
{
    if (!error)
        return;
    fprintf(stderr, "scale: %s\n", error->message);
    exit(1);
}

static void ask(const char *pf, int times)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoNetlink) netlink = vfo_netlink_new(NETLINK_ROUTE, &error);

    stop_at(error);
    for (int i = 0; i < times; i++) {
        gint64 since = g_get_monotonic_time();
        g_autoptr(GArray) states = NULL;
        VfoLink link;

        states = vfo_vf_states(netlink, pf, FALSE, &link, &error);
        stop_at(error);
        printf("ask %u %" G_GINT64_FORMAT "\n", states->len, g_get_monotonic_time() - since);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) networks =
        g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    VfoNetwork *network = g_new0(VfoNetwork, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) vfs = NULL;
    g_autoptr(VfoHost) host = NULL;

    if (argc != 5) {
        fprintf(stderr, "usage: scale SYSFS PF READINGS CHANGES\n");
        return 2;
    }
    network->name = g_strdup("scale");
    network->pfs = g_strsplit(argv[2], ",", 0);
    network->bridge = g_strdup("br0");
    g_ptr_array_add(networks, network);
    host = vfo_host_new(networks, leases, argv[1], &error);
    stop_at(error);

    ask(argv[2], atoi(argv[3]) - 1); /* none in a run whose messages are counted */
    for (int i = 0; i < atoi(argv[3]); i++) {
        gint64 since = g_get_monotonic_time();

        g_clear_pointer(&vfs, g_ptr_array_unref);
        vfs = host->ops->list_vfs(host, &error);
        stop_at(error);
        printf("read %u %" G_GINT64_FORMAT "\n", vfs->len, g_get_monotonic_time() - since);
    }
    for (int i = 0; i < atoi(argv[4]); i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, vfs->len / 2);
        VfoVfSettings settings = vf->settings;
        gint64 since = g_get_monotonic_time();

        settings.mac = macs[i % 2];
        host->ops->set_vf(host, vf->pci, &settings, &error);
        stop_at(error);
        printf("change %u %" G_GINT64_FORMAT "\n", vf->index, g_get_monotonic_time() - since);
    }
    return 0;
}
