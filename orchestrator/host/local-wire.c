/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/announce.h"
#include "host/hold.h"
#include "host/host-private.h"
#include "host/link.h"
#include "host/mute.h"
#include "host/openvswitch.h"
#include "host/pci.h"

#include <errno.h>
#include <sched.h>

/* VLANs of a trunk; a port may have all 4094, of which a guest uses few. */
#define MAX_ANNOUNCED 64

static const VfoDatapath *const datapaths[] = {&vfo_datapath_macvtap, &vfo_datapath_switchdev,
                                               &vfo_datapath_bridge};

/* The network that the standby's bridge belongs to. Bridges may be shared: with a VF, the network
 * that has its PF; else the first. */
static const VfoNetwork *network_of_bridge(VfoLocalHost *host, const VfoSearch *search,
                                           GError **error)
{
    const char *pf = search->vf ? search->vf->pf : NULL;
    gboolean configured = FALSE;

    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        if (g_strcmp0(network->bridge, search->bridge.name) != 0)
            continue;
        configured = TRUE;
        if (!pf || g_strv_contains((const char *const *)network->pfs, pf))
            return network;
    }
    if (configured)
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "tap %s is in bridge %s, but PF %s is in no [network] with that bridge: the "
                    "guest's standby and its VF are on different networks",
                    search->standby.name, search->bridge.name, pf);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "tap %s is in %s, which is the bridge of no [network] of the configuration",
                    search->standby.name, search->bridge.name);
    return NULL;
}

/* The network that the PF below the standby's macvtap belongs to. */
static const VfoNetwork *network_of_lower(VfoLocalHost *host, const VfoSearch *search,
                                          GError **error)
{
    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        if (g_strv_contains((const char *const *)network->pfs, search->lower_pf.name))
            return network;
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "macvtap %s is on %s, which is the PF of no [network] of the configuration",
                search->standby.name, search->lower_pf.name);
    return NULL;
}

/* Reads what macvtap @search's standby is on. */
static gboolean search_lower(VfoLocalHost *host, VfoSearch *search, GError **error)
{
    if (search->standby.lower == 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "macvtap %s is on an interface of another network namespace: this daemon "
                    "cannot see it",
                    search->standby.name);
        return FALSE;
    }
    if (!vfo_link_read_index(host->netlink, search->standby.lower, &search->lower, error))
        return FALSE;
    search->lower_pf = search->lower;
    return g_strcmp0(search->lower.kind, "vlan") != 0 ||
           vfo_link_read_index(host->netlink, search->lower.lower, &search->lower_pf, error);
}

/* Reads the standby's interface @tap, and what it hangs on, into @search, and finds the network. */
static gboolean search_standby(VfoLocalHost *host, const char *tap, VfoSearch *search,
                               GError **error)
{
    if (!vfo_link_read(host->netlink, tap, &search->standby, error))
        return FALSE;
    if (g_str_equal(search->standby.kind, "macvtap")) {
        if (!search_lower(host, search, error))
            return FALSE;
        search->network = network_of_lower(host, search, error);
        return search->network != NULL;
    }
    if (search->standby.master == 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "tap %s is in no bridge: put it in the one of its network with 'ip link set %s "
                    "master BRIDGE'",
                    tap, tap);
        return FALSE;
    }
    if (!vfo_link_read_index(host->netlink, search->standby.master, &search->bridge, error))
        return FALSE;
    search->network = network_of_bridge(host, search, error);
    return search->network != NULL;
}

/* The way in which the standby is wired, which is one that its network may have. */
static const VfoDatapath *detect(const VfoSearch *search, GError **error)
{
    const char *expected = search->network->datapath;
    gboolean claimed = FALSE;

    for (gsize i = 0; i < G_N_ELEMENTS(datapaths); i++) {
        if (!datapaths[i]->claims(search, &claimed, error))
            return NULL;
        if (!claimed)
            continue;
        if (!expected || g_str_equal(expected, datapaths[i]->name))
            return datapaths[i];
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "%s is wired as datapath '%s', but network %s has 'datapath = %s' in the "
                    "configuration",
                    search->standby.name, datapaths[i]->name, search->network->name, expected);
        return NULL;
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "this daemon does not know the way in which %s is wired", search->standby.name);
    return NULL;
}

static const VfoQuirks *quirks_of_pf(VfoLocalHost *host, const char *pf)
{
    g_autofree char *pci = NULL;

    vfo_stopwatch_begin_outside();
    pci = vfo_pci_of_interface(host->sysfs, pf, NULL);
    vfo_stopwatch_end_outside();
    return vfo_local_quirks(host, pci);
}

static gboolean read_pf(VfoLocalHost *host, const VfoVf *vf, VfoWire *wire, GError **error)
{
    VfoLink pf;

    if (!vf && !vfo_link_read(host->netlink, wire->pf, &pf, error))
        return FALSE;
    wire->mtu = vf ? vf->mtu : pf.mtu;
    wire->filter_entries = quirks_of_pf(host, wire->pf)->filter_entries;
    return TRUE;
}

static gboolean driver_can(VfoLocalHost *host, const VfoVf *vf, const VfoVfSettings *settings,
                           GError **error)
{
    return !vf || vfo_quirks_check(quirks_of_pf(host, vf->pf), settings, vf->pf, error);
}

VfoWire *vfo_local_find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                             const VfoVfSettings *settings, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    VfoSearch search = {
        .netlink = host->netlink, .sysfs = host->sysfs, .vf = vf, .settings = settings};
    VfoVfSettings found = *settings;
    g_autoptr(VfoWire) wire = NULL;
    const VfoDatapath *datapath;

    if (!search_standby(host, tap, &search, error) || !driver_can(host, vf, settings, error))
        return NULL;
    datapath = detect(&search, error);
    if (!datapath)
        return NULL;
    wire = g_new0(VfoWire, 1);
    wire->network = g_strdup(search.network->name);
    wire->datapath = datapath->name;
    wire->tap = g_strdup(tap);
    wire->mac = settings->mac;
    if (!datapath->find(&search, wire, error) || !read_pf(host, vf, wire, error))
        return NULL;
    /* It was asked about the rest before. */
    found.vlan_outer = wire->vlan_outer;
    if (found.vlan_outer != settings->vlan_outer && !driver_can(host, vf, &found, error))
        return NULL;
    return g_steal_pointer(&wire);
}

/* The datapath that found @wire. */
static const VfoDatapath *datapath_of(const VfoWire *wire)
{
    for (gsize i = 0; i < G_N_ELEMENTS(datapaths); i++)
        if (g_str_equal(datapaths[i]->name, wire->datapath))
            return datapaths[i];
    g_error("a wire that this host did not find: datapath '%s'", wire->datapath);
}

gboolean vfo_local_is_bridged(const VfoWire *wire)
{
    return datapath_of(wire)->bridged;
}

/* On a busy host the guest's own virtual processor takes its time in between. FALSE: it still may.
 */
static gboolean begin_undisturbed(void)
{
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};

    /* Without SCHED_RESET_ON_FORK, which only CAP_SYS_NICE could take back: nothing forks here. */
    return sched_getscheduler(0) == SCHED_OTHER && sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
}

static void end_undisturbed(gboolean ordinary)
{
    const struct sched_param none = {0};

    if (ordinary && sched_setscheduler(0, SCHED_OTHER, &none) < 0)
        g_warning("cannot go back to the usual scheduling: %s", g_strerror(errno));
}

/* That may be meant so, and only the network knows whether it sends them back. */
static void tell_of_vepa(VfoNetlink *netlink, const VfoWire *wire)
{
    g_autoptr(GError) error = NULL;
    gboolean vepa = FALSE;
    VfoLink pf;

    if (!vfo_link_read(netlink, wire->pf, &pf, &error) ||
        !vfo_link_is_vepa(netlink, &pf, &vepa, &error))
        g_message("%s", error->message);
    else if (vepa)
        g_message("PF %s is in mode VEPA: a guest on one of its VFs reaches its neighbours on this "
                  "host only if the network's switch sends their frames back; else 'bridge link "
                  "set dev %s hwmode veb'",
                  pf.name, pf.name);
}

gboolean vfo_local_try_pf(VfoHost *base, const VfoWire *wire, GError **error)
{
    VfoNetlink *netlink = ((VfoLocalHost *)base)->netlink;
    const VfoDatapath *datapath = datapath_of(wire);

    tell_of_vepa(netlink, wire);
    return !datapath->try_pf || datapath->try_pf(netlink, wire, error);
}

static gboolean end_mute(VfoLocalHost *host, const VfoWire *wire, GError **error)
{
    VfoMute *mute = g_hash_table_lookup(host->mutes, wire->tap);

    if (mute && !vfo_mute_end(mute, error))
        return FALSE;
    g_hash_table_remove(host->mutes, wire->tap);
    return TRUE;
}

gboolean vfo_local_open_pf(VfoHost *base, const VfoWire *wire, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    gboolean ordinary;
    gboolean opened;

    g_hash_table_remove(host->lessons, wire->tap);
    if (!end_mute(host, wire, error))
        return FALSE;
    /* The guest may be letting go of its VF. */
    ordinary = begin_undisturbed();
    opened = datapath_of(wire)->open_pf(host->netlink, wire, error);
    end_undisturbed(ordinary);
    return opened;
}

static gboolean learn(VfoLocalHost *host, const VfoWire *wire, gboolean at_vf, gboolean *learned,
                      GError **error)
{
    const VfoDatapath *datapath = datapath_of(wire);

    *learned = FALSE;
    if (datapath->learn &&
        !datapath->learn(host->netlink, host->generic, wire, at_vf, learned, error))
        return FALSE;
    if (*learned && at_vf)
        g_hash_table_insert(host->lessons, g_strdup(wire->tap),
                            vfo_lesson_new(host->generic, wire->vf_port, &wire->mac));
    return TRUE;
}

/* What keeps its standby from taking in what its VF does; NULL: there is nothing. */
static VfoMute *mute_of(VfoLocalHost *host, const VfoWire *wire)
{
    g_autoptr(GError) error = NULL;
    VfoMute *mute = NULL;
    VfoLink tap;

    if (!datapath_of(wire)->stays_open || g_hash_table_contains(host->mutes, wire->tap))
        return g_hash_table_lookup(host->mutes, wire->tap);
    if (vfo_link_read(host->netlink, wire->tap, &tap, &error))
        mute = vfo_mute_new(host->netlink, &tap, &error);
    if (!mute)
        g_message("a guest may get frames twice as it gets its VF: %s", error->message);
    g_hash_table_insert(host->mutes, g_strdup(wire->tap), mute);
    return mute;
}

void vfo_local_prepare_hand_to_vf(VfoHost *base, const VfoWire *wire)
{
    mute_of((VfoLocalHost *)base, wire);
}

gboolean vfo_local_close_pf(VfoHost *base, const VfoWire *wire, gboolean to_vf, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    VfoMute *mute = to_vf ? mute_of(host, wire) : NULL;
    gboolean learned;

    g_hash_table_remove(host->lessons, wire->tap);
    if (mute)
        vfo_mute_begin(mute);
    if (!to_vf && !end_mute(host, wire, error))
        return FALSE;
    return datapath_of(wire)->close_pf(host->netlink, wire, to_vf, error) &&
           (!to_vf || learn(host, wire, TRUE, &learned, error));
}

gboolean vfo_local_hand_to_vf(VfoHost *base, const VfoWire *wire, const char *pci,
                              const VfoVfSettings *settings, GError **error)
{
    VfoNetlink *netlink = ((VfoLocalHost *)base)->netlink;
    const VfoDatapath *datapath = datapath_of(wire);
    g_autoptr(VfoMessage) closing = NULL;
    gboolean ordinary;
    gboolean set;

    if (datapath->closing && !(closing = datapath->closing(netlink, wire, error)))
        return FALSE;
    vfo_netlink_follow_up(netlink, closing);
    /* From when the VF receives until the PF no longer does, the guest gets each frame twice. */
    ordinary = begin_undisturbed();
    set = vfo_local_set_vf(base, pci, settings, error);
    end_undisturbed(ordinary);
    /* Nothing had to be changed, or nothing could be. */
    vfo_netlink_follow_up(netlink, NULL);
    return set && vfo_local_close_pf(base, wire, TRUE, error);
}

/* Switches may learn where the guest is in each VLAN by itself. One that does not hear it there
 * learns when the guest sends. */
static void announce_trunk(VfoLocalHost *host, const VfoWire *wire, const VfoLink *pf)
{
    guint n = MIN(wire->trunk->len, MAX_ANNOUNCED);
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < n && !error; i++) {
        const VfoTag tag = {g_array_index(wire->trunk, guint16, i), wire->tag_outer};

        vfo_announce(host->announcer, pf, &wire->mac, &tag, &error);
    }
    if (error)
        g_message("a guest is not announced in each VLAN of %s: %s", wire->tap, error->message);
    else if (wire->trunk->len > n)
        g_message("%s carries %u VLANs to its guest, which is announced in the first %u", wire->tap,
                  wire->trunk->len, n);
}

static gboolean announce(VfoLocalHost *host, const VfoWire *wire, const VfoLink *pf, GError **error)
{
    const VfoTag tag = {wire->tag, wire->tag_outer};
    /* A tap all of whose VLANs have tags has none for what the guest sends without. */
    gboolean bare = !wire->trunk || wire->trunk->len < wire->vlans->len;

    if (bare && !vfo_announce(host->announcer, pf, &wire->mac, &tag, error))
        return FALSE;
    if (wire->trunk)
        announce_trunk(host, wire, pf);
    return TRUE;
}

gboolean vfo_local_announce(VfoHost *base, const VfoWire *wire, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    gboolean learned;
    gboolean ok;
    VfoLink pf;

    g_hash_table_remove(host->lessons, wire->tap);
    if (!learn(host, wire, FALSE, &learned, error))
        return FALSE;
    if (learned)
        return TRUE;
    if (!vfo_link_read(host->netlink, wire->pf, &pf, error))
        return FALSE;
    vfo_stopwatch_begin_outside();
    if (host->announcer < 0)
        host->announcer = vfo_announce_socket(error);
    ok = host->announcer >= 0 && announce(host, wire, &pf, error);
    vfo_stopwatch_end_outside();
    return ok;
}

gboolean vfo_local_draw(VfoHost *base, const VfoWire *wire, GError **error)
{
    gboolean ordinary = begin_undisturbed();
    gboolean drawn = vfo_local_open_pf(base, wire, error) && vfo_local_announce(base, wire, error);

    end_undisturbed(ordinary);
    return drawn;
}

void vfo_local_on_queued(const VfoQueued *frame, gpointer data)
{
    VfoLocalHost *host = data;
    GHashTableIter iter;
    gpointer hold;

    g_hash_table_iter_init(&iter, host->holds);
    while (g_hash_table_iter_next(&iter, NULL, &hold)) {
        if (vfo_hold_take(hold, frame))
            return;
    }
    vfo_queue_decide(host->queue, frame->id, TRUE);
}

gboolean vfo_local_release(VfoHost *base, const VfoWire *wire, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    VfoHold *hold = g_hash_table_lookup(host->holds, wire->tap);

    if (hold && !vfo_hold_end(hold, error))
        return FALSE;
    g_hash_table_remove(host->holds, wire->tap);
    return TRUE;
}

/* Frames for a tap in it pass nftables. */
static gboolean is_bridge(VfoLocalHost *host, const VfoWire *wire, GError **error)
{
    VfoLink bridge;

    if (!vfo_link_read(host->netlink, wire->bridge, &bridge, error))
        return FALSE;
    if (!vfo_openvswitch_is(&bridge))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                "frames for %s are not held: those of Open vSwitch do not pass nftables, which "
                "would keep them",
                wire->tap);
    return FALSE;
}

static VfoHold *make_hold_in_bridge(VfoLocalHost *host, const VfoWire *wire, const VfoLink *tap,
                                    const VfoTakenVf *vf, GError **error)
{
    VfoLink uplink;

    if (!vfo_link_read(host->netlink, wire->uplink, &uplink, error))
        return NULL;
    if (!host->queue)
        host->queue = vfo_queue_new(vfo_local_on_queued, host, error);
    if (!host->queue)
        return NULL;
    return vfo_hold_new_in_bridge(host->queue, datapath_of(wire)->twofold ? &uplink : NULL, tap, vf,
                                  error);
}

static VfoHold *make_hold(VfoLocalHost *host, const VfoWire *wire, const char *pci, GError **error)
{
    g_auto(VfoPlace) place = {0};
    gboolean bridged = datapath_of(wire)->bridged;
    const VfoQuirks *quirks;
    VfoTakenVf vf = {.sysfs = host->sysfs, .pci = pci};
    VfoLink tap;

    if (!end_mute(host, wire, error) || (bridged && !is_bridge(host, wire, error)) ||
        !vfo_local_release(&host->host, wire, error) || !vfo_place_find(host, pci, &place, error) ||
        !vfo_link_read(host->netlink, wire->tap, &tap, error))
        return NULL;
    quirks = vfo_local_quirks(host, place.pf_pci);
    vf.vector = quirks->receive_vector;
    vf.pf = quirks->shows_rings ? place.pf : NULL;
    vf.index = place.index;
    if (bridged)
        return make_hold_in_bridge(host, wire, &tap, &vf, error);
    return vfo_hold_new_on_macvtap(host->netlink, &tap, &vf, error);
}

gboolean vfo_local_prepare_hold(VfoHost *base, const VfoWire *wire, const char *pci, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    VfoHold *hold = make_hold(host, wire, pci, error);

    if (hold)
        g_hash_table_insert(host->holds, g_strdup(wire->tap), hold);
    return hold != NULL;
}

gboolean vfo_local_hold(VfoHost *base, const VfoWire *wire, const char *pci, GError **error)
{
    VfoLocalHost *host = (VfoLocalHost *)base;
    VfoHold *hold = g_hash_table_lookup(host->holds, wire->tap);
    gboolean ordinary;

    if (!hold || vfo_hold_has_begun(hold) || !g_str_equal(vfo_hold_vf(hold), pci)) {
        if (!vfo_local_prepare_hold(base, wire, pci, error))
            return FALSE;
        hold = g_hash_table_lookup(host->holds, wire->tap);
    }
    ordinary = begin_undisturbed();
    vfo_hold_begin(hold);
    end_undisturbed(ordinary);
    return TRUE;
}
