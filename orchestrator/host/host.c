/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/host.h"

#include <string.h>
#include <unistd.h>

#include "host/announce.h"
#include "host/datapath.h"
#include "host/devlink.h"
#include "host/events.h"
#include "host/group.h"
#include "host/hold.h"
#include "host/host-private.h"
#include "host/link.h"
#include "host/netlink.h"
#include "host/pci.h"
#include "host/poll.h"
#include "host/pool.h"
#include "host/quirks.h"
#include "host/vf.h"

#define CLOSED_EVERY_MS 5
/* Until it is noticed both sides deliver, and the guest gets frames twice. */
#define USED_EVERY_MS 10
/* The counters of a PF are part of a message about all of its VFs: not at each look. */
#define ACTIVE_EVERY 5

typedef struct {
    VfoHost host; /* first: a VfoHost * is a Host * */
    GPtrArray *networks;
    GPtrArray *quirks; /* of VfoQuirks, configured; NULL: none */
    VfoLeases *leases;
    char *sysfs;
    char *dev;
    VfoNetlink *netlink;
    VfoNetlink *generic;
    VfoPool *pool;       /* NULL: not watched */
    VfoEvents *events;   /* likewise */
    GHashTable *numbers; /* PCI address of a VF: its number at its PF when it was last found */
    GHashTable *known;   /* name of a PF: its VFs as last read, a GArray of VfoVfState */
    VfoQueue *queue;     /* NULL: nothing has been held yet */
    GHashTable *holds;   /* a tap's name -> VfoHold */
} Host;

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

/* -------------------------------------------------------------- finding */

/* Where a VF is: on which PF of which network, with which number. */
typedef struct {
    const VfoNetwork *network; /* borrowed */
    const char *pf;            /* borrowed from network */
    char *pf_pci;
    guint index;
} Place;

static void place_clear(Place *place)
{
    g_free(place->pf_pci);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static gboolean number_of_vf(Host *host, const char *pf_pci, const char *pci, guint *index)
{
    guint count = vfo_pci_count_vfs(host->sysfs, pf_pci);
    gpointer last = g_hash_table_lookup(host->numbers, pci);
    g_autofree char *there = vfo_pci_vf(host->sysfs, pf_pci, GPOINTER_TO_UINT(last));

    if (g_strcmp0(there, pci) == 0) {
        *index = GPOINTER_TO_UINT(last);
        return TRUE;
    }
    for (guint i = 0; i < count; i++) {
        g_autofree char *vf = vfo_pci_vf(host->sysfs, pf_pci, i);

        if (g_strcmp0(vf, pci) == 0) {
            g_hash_table_replace(host->numbers, g_strdup(pci), GUINT_TO_POINTER(i));
            *index = i;
            return TRUE;
        }
    }
    return FALSE;
}

/* The configured PF whose PCI address is @pf_pci. */
static gboolean find_pf(Host *host, const char *pf_pci, Place *place)
{
    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        for (char **pf = network->pfs; *pf; pf++) {
            g_autofree char *address = vfo_pci_of_interface(host->sysfs, *pf, NULL);

            if (g_strcmp0(address, pf_pci) == 0) {
                place->network = network;
                place->pf = *pf;
                return TRUE;
            }
        }
    }
    return FALSE;
}

static gboolean find_vf(Host *host, const char *pci, Place *place, GError **error)
{
    gboolean found = FALSE;

    if (!vfo_pci_is_address(pci)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "'%.32s' is no PCI address such as 0000:01:10.0", pci);
        return FALSE;
    }
    vfo_stopwatch_begin_outside();
    place->pf_pci = vfo_pci_pf(host->sysfs, pci);
    if (!place->pf_pci)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "there is no VF %s on this host; see 'vfailover vfs'", pci);
    else if (!find_pf(host, place->pf_pci, place))
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VF %s belongs to PF %s, which is in no [network] of the configuration", pci,
                    place->pf_pci);
    else if (!number_of_vf(host, place->pf_pci, pci, &place->index))
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "VF %s is gone: its PF %s no longer lists it", pci, place->pf);
    else
        found = TRUE;
    vfo_stopwatch_end_outside();
    return found;
}

/* Keeps @states (reference taken), NULL: nothing, of @pf until it is read again. */
static void remember(Host *host, const char *pf, GArray *states)
{
    if (states)
        g_hash_table_replace(host->known, g_strdup(pf), g_array_ref(states));
    else
        g_hash_table_remove(host->known, pf);
}

static const VfoVfSettings *known_settings(Host *host, const Place *place)
{
    const GArray *states = g_hash_table_lookup(host->known, place->pf);
    const VfoVfState *state = states ? vfo_vf_find(states, place->index) : NULL;

    return state ? &state->settings : NULL;
}

/* Of which VFs it is found out whether somebody has them open. A probe could get in the way of a
 * QEMU that is about to open one. */
typedef enum { PROBE_NONE, PROBE_UNLEASED, PROBE_ALL } Probe;

/* Of the driver of the PF at @pf_pci, which may be NULL. */
static const VfoQuirks *quirks_of(Host *host, const char *pf_pci)
{
    g_autofree char *driver = NULL;

    if (!pf_pci)
        return vfo_quirks_of(NULL, NULL);
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pf_pci);
    vfo_stopwatch_end_outside();
    return vfo_quirks_of(host->quirks, driver);
}

/* What sysfs, vfio and the leases know of a VF, whose PF's driver has @quirks. */
static VfoVf *describe_vf(Host *host, const Place *place, const VfoQuirks *quirks,
                          const VfoLink *pf, const char *pci, Probe probe, const VfoVfState *state,
                          GError **error)
{
    g_autoptr(VfoVf) vf = g_new0(VfoVf, 1);
    VfoGroupUse use = VFO_GROUP_NONE;
    gboolean known = TRUE;

    vf->pci = g_strdup(pci);
    vf->pf = g_strdup(place->pf);
    vf->network = g_strdup(place->network->name);
    vf->index = place->index;
    vf->generation = vfo_leases_generation(host->leases, pci);
    vfo_mac_parking(&pf->mac, place->index, &vf->parking);
    vf->settings = state->settings;
    vf->usable = pf->up && pf->carrier;
    vf->mtu = pf->mtu;
    vf->quarantine = quirks->quarantine;
    vfo_stopwatch_begin_outside();
    vf->driver = vfo_pci_driver(host->sysfs, pci);
    vf->iommu_group = vfo_pci_iommu_group(host->sysfs, pci);
    vf->numa_node = vfo_pci_numa_node(host->sysfs, pci);
    vfo_pci_ids(host->sysfs, pci, &vf->vendor, &vf->device);
    if (probe != PROBE_NONE && g_strcmp0(vf->driver, "vfio-pci") == 0) {
        /* QEMU may be about to open it for the job. */
        if (probe != PROBE_ALL && vfo_leases_holder(host->leases, pci))
            use = VFO_GROUP_OPEN;
        else
            known = vfo_group_use(host->dev, vf->iommu_group, &use, error);
    }
    vfo_stopwatch_end_outside();
    if (!known)
        return NULL;
    vf->opened = use == VFO_GROUP_OPEN;
    return g_steal_pointer(&vf);
}

static VfoVf *host_read_vf(VfoHost *base, const char *pci, GError **error)
{
    Host *host = (Host *)base;
    g_auto(Place) place = {0};
    g_autoptr(GArray) states = NULL;
    const VfoVfState *state;
    VfoLink pf;

    if (!find_vf(host, pci, &place, error))
        return NULL;
    states = vfo_vf_read(host->netlink, place.pf, place.index, FALSE, &pf, &state, error);
    remember(host, place.pf, states);
    return states ? describe_vf(host, &place, quirks_of(host, place.pf_pci), &pf, pci, PROBE_ALL,
                                state, error)
                  : NULL;
}

static gboolean list_pf(Host *host, const VfoNetwork *network, const char *pf, Probe probe,
                        GPtrArray *vfs, GError **error)
{
    g_auto(Place) place = {.network = network, .pf = pf};
    g_autoptr(GArray) states = NULL;
    const VfoQuirks *quirks;
    VfoLink link;

    vfo_stopwatch_begin_outside();
    place.pf_pci = vfo_pci_of_interface(host->sysfs, pf, error);
    vfo_stopwatch_end_outside();
    if (!place.pf_pci)
        return FALSE;
    states = vfo_vf_states(host->netlink, pf, FALSE, &link, error);
    if (!states)
        return FALSE;
    remember(host, pf, states);
    quirks = quirks_of(host, place.pf_pci);
    for (guint i = 0; i < states->len; i++) {
        const VfoVfState *state = &g_array_index(states, VfoVfState, i);
        g_autofree char *pci = NULL;
        VfoVf *vf;

        vfo_stopwatch_begin_outside();
        pci = vfo_pci_vf(host->sysfs, place.pf_pci, state->index);
        vfo_stopwatch_end_outside();
        /* The VFs are being switched off, or on. */
        if (!pci)
            continue;
        place.index = state->index;
        vf = describe_vf(host, &place, quirks, &link, pci, probe, state, error);
        if (!vf)
            return FALSE;
        g_ptr_array_add(vfs, vf);
    }
    return TRUE;
}

static GPtrArray *host_list_vfs(VfoHost *base, GError **error)
{
    Host *host = (Host *)base;
    g_autoptr(GPtrArray) vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    g_autoptr(GError) failure = NULL;
    gboolean any = FALSE;

    for (guint i = 0; i < host->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(host->networks, i);

        for (char **pf = network->pfs; *pf; pf++) {
            g_autoptr(GError) own = NULL;

            if (list_pf(host, network, *pf, PROBE_UNLEASED, vfs, &own)) {
                any = TRUE;
                continue;
            }
            /* One dead card does not take the VFs of the others out of service. */
            g_warning("network %s: %s", network->name, own->message);
            if (!failure)
                failure = g_steal_pointer(&own);
        }
    }
    if (failure && !any) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    return g_steal_pointer(&vfs);
}

/* ----------------------------------------------------------------- wire */

static const VfoDatapath *const datapaths[] = {&vfo_datapath_macvtap, &vfo_datapath_switchdev,
                                               &vfo_datapath_bridge};

/* The network that the standby's bridge belongs to. Bridges may be shared: with a VF, the network
 * that has its PF; else the first. */
static const VfoNetwork *network_of_bridge(Host *host, const VfoSearch *search, GError **error)
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
static const VfoNetwork *network_of_lower(Host *host, const VfoSearch *search, GError **error)
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
static gboolean search_lower(Host *host, VfoSearch *search, GError **error)
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
static gboolean search_standby(Host *host, const char *tap, VfoSearch *search, GError **error)
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

static gboolean read_mtu(Host *host, const VfoVf *vf, VfoWire *wire, GError **error)
{
    VfoLink pf;

    if (!vf && !vfo_link_read(host->netlink, wire->pf, &pf, error))
        return FALSE;
    wire->mtu = vf ? vf->mtu : pf.mtu;
    return TRUE;
}

static gboolean driver_can(Host *host, const VfoVf *vf, const VfoVfSettings *settings,
                           GError **error)
{
    g_autofree char *pci = NULL;

    if (!vf)
        return TRUE;
    vfo_stopwatch_begin_outside();
    pci = vfo_pci_of_interface(host->sysfs, vf->pf, NULL);
    vfo_stopwatch_end_outside();
    return vfo_quirks_check(quirks_of(host, pci), settings, vf->pf, error);
}

static VfoWire *host_find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                               const VfoVfSettings *settings, GError **error)
{
    Host *host = (Host *)base;
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
    if (!datapath->find(&search, wire, error) || !read_mtu(host, vf, wire, error))
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

static gboolean host_open_pf(VfoHost *base, const VfoWire *wire, GError **error)
{
    return datapath_of(wire)->open_pf(((Host *)base)->netlink, wire, error);
}

static gboolean host_close_pf(VfoHost *base, const VfoWire *wire, gboolean to_vf, GError **error)
{
    return datapath_of(wire)->close_pf(((Host *)base)->netlink, wire, to_vf, error);
}

static gboolean host_announce(VfoHost *base, const VfoWire *wire, GError **error)
{
    const VfoTag tag = {wire->vlan, wire->vlan_outer};
    Host *host = (Host *)base;
    gboolean ok;
    VfoLink pf;

    if (!vfo_link_read(host->netlink, wire->pf, &pf, error))
        return FALSE;
    vfo_stopwatch_begin_outside();
    ok = vfo_announce(&pf, &wire->mac, &tag, error);
    vfo_stopwatch_end_outside();
    return ok;
}

static void on_queued(const VfoQueued *frame, gpointer data)
{
    Host *host = data;
    GHashTableIter iter;
    gpointer hold;

    g_hash_table_iter_init(&iter, host->holds);
    while (g_hash_table_iter_next(&iter, NULL, &hold)) {
        if (vfo_hold_take(hold, frame))
            return;
    }
    vfo_queue_decide(host->queue, frame->id, TRUE);
}

static gboolean host_release(VfoHost *base, const VfoWire *wire, GError **error)
{
    Host *host = (Host *)base;
    VfoHold *hold = g_hash_table_lookup(host->holds, wire->tap);

    if (hold && !vfo_hold_end(hold, error))
        return FALSE;
    g_hash_table_remove(host->holds, wire->tap);
    return TRUE;
}

static gboolean host_hold(VfoHost *base, const VfoWire *wire, const char *pci, GError **error)
{
    Host *host = (Host *)base;
    g_auto(Place) place = {0};
    VfoLink uplink;
    VfoLink tap;
    VfoHold *hold;

    if (!datapath_of(wire)->bridged) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "frames for %s are not held: with datapath %s they come to it from the PF "
                    "without a queue that could keep them",
                    wire->tap, wire->datapath);
        return FALSE;
    }
    if (!host_release(base, wire, error) || !find_vf(host, pci, &place, error) ||
        !vfo_link_read(host->netlink, wire->uplink, &uplink, error) ||
        !vfo_link_read(host->netlink, wire->tap, &tap, error))
        return FALSE;
    if (!host->queue)
        host->queue = vfo_queue_new(on_queued, host, error);
    if (!host->queue)
        return FALSE;
    hold = vfo_hold_new(host->queue, &uplink, &tap, host->sysfs, pci,
                        quirks_of(host, place.pf_pci)->receive_vector, error);
    if (!hold)
        return FALSE;
    g_hash_table_insert(host->holds, g_strdup(wire->tap), hold);
    return TRUE;
}

/* ------------------------------------------------------------------- VF */

static gboolean host_set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                            GError **error)
{
    Host *host = (Host *)base;
    g_auto(Place) place = {0};
    g_autofree char *driver = NULL;
    g_autoptr(GArray) states = NULL;
    gboolean has_port = FALSE;
    VfoDevlinkPort port;
    VfoVfChange change;
    VfoMac parking;
    VfoLink pf;

    if (!vfo_mac_is_unicast(&settings->mac) || settings->vlan > 4094 || settings->qos > 7 ||
        (settings->vlan_outer && !settings->vlan) || settings->link > VFO_LINK_DISABLE) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "VF %s was left alone: its new settings need a unicast MAC address, a VLAN of "
                    "0..4094 and a priority of 0..7",
                    pci);
        return FALSE;
    }
    if (!find_vf(host, pci, &place, error) || !vfo_link_read(host->netlink, place.pf, &pf, error))
        return FALSE;
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, place.pf_pci);
    vfo_stopwatch_end_outside();
    if (pf.switch_id_length &&
        !vfo_devlink_find(host->generic, &pf, place.index, &port, &has_port, error))
        return FALSE;
    vfo_mac_parking(&pf.mac, place.index, &parking);
    if (host->pool)
        vfo_pool_expect(host->pool, pci);
    /*
     * A VF never has a guest's address in a VLAN that is not the guest's, for it would take
     * the frames of whoever has that address there: it gets the address last,
     * and loses it first.
     */
    change = (VfoVfChange){.pf = &pf,
                           .driver = driver,
                           .index = place.index,
                           .known = known_settings(host, &place),
                           .want = settings,
                           .generic = host->generic,
                           .port = has_port ? &port : NULL,
                           .mac_first = vfo_mac_equal(&settings->mac, &parking)};
    states = vfo_vf_apply(host->netlink, &change, error);
    remember(host, place.pf, states);
    return states != NULL;
}

static gboolean host_hand_to_vf(VfoHost *base, const VfoWire *wire, const char *pci,
                                const VfoVfSettings *settings, GError **error)
{
    VfoNetlink *netlink = ((Host *)base)->netlink;
    const VfoDatapath *datapath = datapath_of(wire);
    g_autoptr(VfoMessage) closing = NULL;
    gboolean set;

    if (datapath->closing && !(closing = datapath->closing(netlink, wire, error)))
        return FALSE;
    vfo_netlink_follow_up(netlink, closing);
    set = host_set_vf(base, pci, settings, error);
    /* Nothing had to be changed, or nothing could be. */
    vfo_netlink_follow_up(netlink, NULL);
    return set && datapath->close_pf(netlink, wire, TRUE, error);
}

typedef struct {
    char *sysfs;
    char *dev;
    char *pci;
    int group;
} Reset;

static void reset_free(gpointer data)
{
    Reset *reset = data;

    g_free(reset->sysfs);
    g_free(reset->dev);
    g_free(reset->pci);
    g_free(reset);
}

/* Touches nothing of Host: it may still run when the task has long been cancelled. */
static void reset_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    const Reset *reset = data;
    GError *error = NULL;
    VfoGroupUse use;
    int fd;

    /* Held until the reset is over, so that no QEMU gets hold of the VF in the middle of it. */
    if (!vfo_group_take(reset->dev, reset->group, &use, &fd, &error)) {
        g_task_return_error(task, error);
        return;
    }
    if (use == VFO_GROUP_OPEN)
        g_set_error(&error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s was not reset: some process has its vfio group %d open; see 'fuser -v "
                    "/dev/vfio/%d'",
                    reset->pci, reset->group, reset->group);
    else if (!g_cancellable_set_error_if_cancelled(cancellable, &error))
        vfo_pci_reset(reset->sysfs, reset->pci, &error);
    if (fd >= 0)
        close(fd);
    if (error)
        g_task_return_error(task, error);
    else
        g_task_return_boolean(task, TRUE);
}

static void on_reset(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error))
        vfo_task_done(task);
    else
        vfo_task_fail(task, error);
}

static void host_reset_vf(VfoHost *base, const char *pci, GTask *task)
{
    Host *host = (Host *)base;
    g_auto(Place) place = {0};
    g_autofree char *driver = NULL;
    g_autoptr(GTask) thread = NULL;
    GError *error = NULL;
    Reset *reset;

    if (!find_vf(host, pci, &place, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pci);
    vfo_stopwatch_end_outside();
    if (driver && strcmp(driver, "vfio-pci") != 0) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                                        "VF %s was not reset: this host's driver %s uses it; bind "
                                        "it to vfio-pci",
                                        pci, driver));
        return;
    }
    reset = g_new0(Reset, 1);
    reset->sysfs = g_strdup(host->sysfs);
    reset->dev = g_strdup(host->dev);
    reset->pci = g_strdup(pci);
    reset->group = vfo_pci_iommu_group(host->sysfs, pci);
    /* A task of its own: the data of @task may be its owner's. */
    thread = g_task_new(NULL, g_task_get_cancellable(task), on_reset, task);
    g_task_set_task_data(thread, reset, reset_free);
    g_task_set_return_on_cancel(thread, TRUE);
    g_task_run_in_thread(thread, reset_in_thread);
}

typedef struct {
    Host *host;
    char *pci;
    Place place;
    int group;
    const VfoQuirks *quirks;
    guint ticks;
    guint64 since;
} Watch;

static void watch_free(gpointer data)
{
    Watch *watch = data;

    place_clear(&watch->place);
    g_free(watch->pci);
    g_free(watch);
}

/* What to poll of the VF, until @task ends; NULL: it has failed. */
static Watch *watch_new(Host *host, const char *pci, GTask *task)
{
    Watch *watch = g_new0(Watch, 1);
    GError *error = NULL;

    watch->host = host;
    watch->pci = g_strdup(pci);
    if (find_vf(host, pci, &watch->place, &error))
        return watch;
    vfo_task_fail(task, error);
    watch_free(watch);
    return NULL;
}

static gboolean is_closed(gpointer data, GError **error)
{
    Watch *watch = data;
    VfoGroupUse use;
    gboolean known;

    vfo_stopwatch_begin_outside();
    known = vfo_group_use(watch->host->dev, watch->group, &use, error);
    vfo_stopwatch_end_outside();
    return known && use != VFO_GROUP_OPEN;
}

/*
 * Polled: vfio tells nobody that a group is free again. inotify tells of the close
 * before the kernel has released the group (__fput() in fs/file_table.c), so that a poll
 * would have to follow it anyway.
 */
static void host_closed_vf(VfoHost *base, const char *pci, GTask *task)
{
    Host *host = (Host *)base;
    Watch *watch = watch_new(host, pci, task);
    g_autofree char *driver = NULL;

    if (!watch)
        return;
    vfo_stopwatch_begin_outside();
    driver = vfo_pci_driver(host->sysfs, pci);
    watch->group = g_strcmp0(driver, "vfio-pci") == 0 ? vfo_pci_iommu_group(host->sysfs, pci) : -1;
    vfo_stopwatch_end_outside();
    vfo_poll(task, CLOSED_EVERY_MS, is_closed, watch, watch_free);
}

static gboolean is_there(Host *host, const Place *place, const char *pci, GError **error)
{
    g_autofree char *now = NULL;

    vfo_stopwatch_begin_outside();
    now = vfo_pci_vf(host->sysfs, place->pf_pci, place->index);
    vfo_stopwatch_end_outside();
    if (g_strcmp0(now, pci) == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "VF %s is gone: its PF %s no longer lists it as number %u", pci, place->pf,
                place->index);
    return FALSE;
}

/*
 * What the PF counts for the VF, and the interrupts that the VF has delivered. vfio
 * asks for a vector when the guest's driver enables it, so that an
 * interrupt through one means that the driver is up and the VF works; some PFs count nothing
 * for their VFs (igb).
 */
static gboolean read_activity(Host *host, const Place *place, const char *pci, guint64 *activity,
                              GError **error)
{
    VfoLink ignored;
    const VfoVfState *state;
    g_autoptr(GArray) states = NULL;

    *activity = 0;
    if (quirks_of(host, place->pf_pci)->no_vf_counters) {
        if (!is_there(host, place, pci, error))
            return FALSE;
    } else {
        states = vfo_vf_read(host->netlink, place->pf, place->index, TRUE, &ignored, &state, error);
        if (!states)
            return FALSE;
        *activity = state->packets;
    }
    vfo_stopwatch_begin_outside();
    *activity += vfo_pci_interrupts(host->sysfs, pci);
    vfo_stopwatch_end_outside();
    return TRUE;
}

static gboolean host_activity_vf(VfoHost *base, const char *pci, guint64 *activity, GError **error)
{
    Host *host = (Host *)base;
    g_auto(Place) place = {0};

    return find_vf(host, pci, &place, error) && read_activity(host, &place, pci, activity, error);
}

static gboolean is_active(Watch *watch, GError **error)
{
    guint64 activity;

    if (!read_activity(watch->host, &watch->place, watch->pci, &activity, error))
        return FALSE;
    if (activity > watch->since)
        return TRUE;
    /* A vector that is freed takes its count along: growth counts from there. */
    watch->since = activity;
    return FALSE;
}

static gboolean is_used(gpointer data, GError **error)
{
    Watch *watch = data;
    g_autofree char *irq = NULL;

    if (watch->quirks->ready_vector >= 0) {
        vfo_stopwatch_begin_outside();
        irq = vfo_pci_irq(watch->host->sysfs, watch->pci, (guint)watch->quirks->ready_vector);
        vfo_stopwatch_end_outside();
    }
    return irq || (watch->ticks++ % ACTIVE_EVERY == 0 && is_active(watch, error));
}

/* Polled: neither a counter's nor an interrupt's first step is an event for anybody. */
static void host_used_vf(VfoHost *base, const char *pci, guint64 since, GTask *task)
{
    Host *host = (Host *)base;
    Watch *watch = watch_new(host, pci, task);

    if (!watch)
        return;
    watch->quirks = quirks_of(host, watch->place.pf_pci);
    watch->since = since;
    vfo_poll(task, USED_EVERY_MS, is_used, watch, watch_free);
}

/* ---------------------------------------------------------------- watching */

static gboolean read_for_pool(const VfoNetwork *network, const char *pf, GPtrArray *vfs,
                              gpointer data, GError **error)
{
    return list_pf(data, network, pf, PROBE_NONE, vfs, error);
}

static void on_event(const VfoLink *link, gpointer data)
{
    Host *host = data;

    if (!link || vfo_pool_has_pf(host->pool, link->name))
        vfo_pool_look_soon(host->pool);
}

VfoPool *vfo_host_watch_with(VfoHost *base, VfoHostChanged changed, gpointer data)
{
    Host *host = (Host *)base;

    host->pool = vfo_pool_new(host->networks, host->sysfs, read_for_pool, host);
    vfo_pool_on_change(host->pool, changed, base, data);
    return host->pool;
}

gboolean vfo_host_watch(VfoHost *base, VfoHostChanged changed, gpointer data, GError **error)
{
    Host *host = (Host *)base;

    host->events = vfo_events_new(on_event, host, error);
    if (!host->events)
        return FALSE;
    /* After the sockets are open, so that nothing happens unseen in between. */
    vfo_host_watch_with(base, changed, data);
    return TRUE;
}

/* ----------------------------------------------------------------- host */

static const VfoHostOps ops = {
    .list_vfs = host_list_vfs,
    .read_vf = host_read_vf,
    .find_wire = host_find_wire,
    .open_pf = host_open_pf,
    .close_pf = host_close_pf,
    .announce = host_announce,
    .hold = host_hold,
    .release = host_release,
    .set_vf = host_set_vf,
    .hand_to_vf = host_hand_to_vf,
    .reset_vf = host_reset_vf,
    .closed_vf = host_closed_vf,
    .used_vf = host_used_vf,
    .activity_vf = host_activity_vf,
};

VfoHost *vfo_host_new_with(GPtrArray *networks, VfoLeases *leases, const char *sysfs,
                           VfoNetlink *netlink, VfoNetlink *generic)
{
    Host *host = g_new0(Host, 1);

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
    return &host->host;
}

/* Before a guest waits for it: the kernel may have modules to load. */
static void prepare_queue(Host *host)
{
    g_autoptr(GError) error = NULL;

    host->queue = vfo_queue_new(on_queued, host, &error);
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
    prepare_queue((Host *)host);
    return host;
}

void vfo_host_set_quirks(VfoHost *base, GPtrArray *quirks)
{
    Host *host = (Host *)base;

    g_clear_pointer(&host->quirks, g_ptr_array_unref);
    host->quirks = g_ptr_array_ref(quirks);
}

void vfo_host_free(VfoHost *base)
{
    Host *host = (Host *)base;
    GHashTableIter iter;
    gpointer hold;

    if (!host)
        return;
    vfo_events_free(host->events);
    vfo_pool_free(host->pool);
    g_hash_table_iter_init(&iter, host->holds);
    while (g_hash_table_iter_next(&iter, NULL, &hold))
        vfo_hold_free(hold);
    g_hash_table_unref(host->holds);
    vfo_queue_free(host->queue);
    vfo_netlink_free(host->netlink);
    vfo_netlink_free(host->generic);
    g_hash_table_unref(host->numbers);
    g_hash_table_unref(host->known);
    g_ptr_array_unref(host->networks);
    g_clear_pointer(&host->quirks, g_ptr_array_unref);
    g_free(host->sysfs);
    g_free(host->dev);
    g_free(host);
}
