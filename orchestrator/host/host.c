/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/events.h"
#include "host/hold.h"
#include "host/host-private.h"
#include "host/mute.h"
#include "host/openvswitch.h"
#include "host/plug.h"

#include <unistd.h>

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

static void on_event(const VfoLink *link, gpointer data)
{
    VfoLocalHost *host = data;

    if (!link || vfo_pool_has_pf(host->pool, link->name))
        vfo_pool_look_soon(host->pool);
}

VfoPool *vfo_host_watch_with(VfoHost *base, VfoHostChanged changed, gpointer data)
{
    VfoLocalHost *host = (VfoLocalHost *)base;

    host->pool = vfo_pool_new(host->networks, host->sysfs, vfo_local_read_for_pool, host);
    vfo_pool_on_change(host->pool, changed, base, data);
    return host->pool;
}

gboolean vfo_host_watch(VfoHost *base, VfoHostChanged changed, gpointer data, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;

    host->events = vfo_events_new(on_event, host, error);
    if (!host->events)
        return FALSE;
    /* After the sockets are open, so that nothing happens unseen in between. */
    vfo_host_watch_with(base, changed, data);
    return TRUE;
}

static const VfoHostOps ops = {
    .list_vfs = vfo_local_list_vfs,
    .read_vf = vfo_local_read_vf,
    .find_wire = vfo_local_find_wire,
    .try_pf = vfo_local_try_pf,
    .open_pf = vfo_local_open_pf,
    .close_pf = vfo_local_close_pf,
    .announce = vfo_local_announce,
    .watch_standby = vfo_local_watch_standby,
    .unwatch_standby = vfo_local_unwatch_standby,
    .draw = vfo_local_draw,
    .drained = vfo_local_drained,
    .prepare_hold = vfo_local_prepare_hold,
    .hold = vfo_local_hold,
    .release = vfo_local_release,
    .set_vf = vfo_local_set_vf,
    .prepare_hand_to_vf = vfo_local_prepare_hand_to_vf,
    .hand_to_vf = vfo_local_hand_to_vf,
    .reset_vf = vfo_local_reset_vf,
    .closed_vf = vfo_local_closed_vf,
    .used_vf = vfo_local_used_vf,
    .activity_vf = vfo_local_activity_vf,
};

VfoHost *vfo_host_new_with(GPtrArray *networks, VfoLeases *leases, const char *sysfs,
                           VfoNetlink *netlink, VfoNetlink *generic)
{
    VfoLocalHost *host = g_new0(VfoLocalHost, 1);

    host->host.ops = &ops;
    host->networks = g_ptr_array_ref(networks);
    host->leases = leases;
    host->sysfs = g_strdup(sysfs);
    host->dev = g_build_filename(sysfs, "..", "dev", NULL);
    host->netlink = netlink;
    host->generic = generic;
    host->numbers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    host->known =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_array_unref);
    host->holds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    host->announcer = -1;
    host->lessons =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vfo_lesson_free);
    host->backlogs =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vfo_backlog_free);
    host->mutes =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vfo_mute_free);
    return &host->host;
}

/* Before a guest waits for it: the kernel may have modules to load. */
static void prepare_queue(VfoLocalHost *host)
{
    g_autoptr(GError) error = NULL;

    host->queue = vfo_queue_new(vfo_local_on_queued, host, &error);
    if (!host->queue)
        g_message("guests will lose frames when their VF leaves, and get some twice: %s",
                  error->message);
}

VfoHost *vfo_host_new(GPtrArray *networks, VfoLeases *leases, const char *sysfs, GError **error)
{
    g_autoptr(VfoNetlink) netlink = vfo_netlink_new(NETLINK_ROUTE, error);
    g_autoptr(VfoNetlink) generic = netlink ? vfo_netlink_new(NETLINK_GENERIC, error) : NULL;
    VfoHost *host;

    if (!generic)
        return NULL;
    host = vfo_host_new_with(networks, leases, sysfs, g_steal_pointer(&netlink),
                             g_steal_pointer(&generic));
    prepare_queue((VfoLocalHost *)host);
    return host;
}

void vfo_host_clean_up(VfoHost *base)
{
    VfoNetlink *netlink = ((VfoLocalHost *)base)->netlink;

    vfo_plug_remove_all(netlink);
    vfo_mute_end_all(netlink);
}

void vfo_host_set_quirks(VfoHost *base, GPtrArray *quirks)
{
    VfoLocalHost *host = (VfoLocalHost *)base;

    g_clear_pointer(&host->quirks, g_ptr_array_unref);
    host->quirks = g_ptr_array_ref(quirks);
}

void vfo_host_free(VfoHost *base)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    GHashTableIter iter;
    gpointer hold;

    if (!host)
        return;
    vfo_events_free(host->events);
    vfo_pool_free(host->pool);
    g_hash_table_iter_init(&iter, host->holds);
    while (g_hash_table_iter_next(&iter, NULL, &hold)) {
        /* Before it is out of the table: it reads what the kernel has kept, some of it for itself.
         */
        vfo_hold_free(hold);
        g_hash_table_iter_remove(&iter);
    }
    g_hash_table_unref(host->holds);
    g_hash_table_unref(host->lessons);
    g_hash_table_unref(host->mutes);
    g_hash_table_unref(host->backlogs);
    vfo_queue_free(host->queue);
    vfo_netlink_free(host->netlink);
    vfo_netlink_free(host->generic);
    if (host->announcer >= 0)
        close(host->announcer);
    g_hash_table_unref(host->numbers);
    g_hash_table_unref(host->known);
    g_ptr_array_unref(host->networks);
    g_clear_pointer(&host->quirks, g_ptr_array_unref);
    g_free(host->sysfs);
    g_free(host->dev);
    g_free(host);
}
