/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How wires are found and opened, against a kernel that has what this machine's may lack:
 * VLANs in a bridge, VLAN interfaces, macvtaps, a card in switchdev mode.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/openvswitch.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <string.h>
#include <unistd.h>

#include "host/host-private.h"
#include "host/quirks.h"

#define GUEST                                                                                      \
    {                                                                                              \
        {                                                                                          \
            0x52, 0x54, 0x00, 0xaa, 0x00, 0x10                                                     \
        }                                                                                          \
    }

/* ------------------------------------------------------------ the kernel */

typedef struct {
    guint16 first;
    guint16 last;
    guint16 flags; /* BRIDGE_VLAN_INFO_* */
} FakeRange;

typedef struct {
    const char *name;
    const char *kind; /* NULL: hardware */
    int master;
    int lower;
    gboolean down;
    gboolean no_carrier;
    gboolean filters; /* a bridge */
    guint16 vlan;
    guint16 protocol; /* 0: 802.1Q */
    guint32 mode;     /* of a macvtap */
    VfoMac mac;
    const char *switch_id;
    const char *port_name;
    FakeRange vlans[4]; /* up to one with first == 0 */
} FakeLink;

typedef struct {
    int index;
    guint16 vlan;
    guint8 flags; /* NTF_SELF or NTF_MASTER */
    VfoMac mac;   /* the guest's, but for one that is tried */
} FakeEntry;

typedef struct {
    FakeLink links[8]; /* the number of each is its place, from 1 */
    GArray *entries;   /* of FakeEntry */
    gboolean full;     /* the PF's filter has no room */
    gboolean vepa;     /* the PF's mode */
    gboolean no_modes; /* nobody's is told */
    guint trials;      /* of others' addresses in it */
    gboolean bad_vlans;
    gboolean stubborn; /* no link goes up or down */
    gboolean deaf;     /* a macvtap's address does not reach the PF's filter */
    gboolean crowded;  /* or stays in it */
    gboolean mute;     /* a macvtap drops what comes */
    guint tries;       /* times that it began to */
    gboolean unmuted;  /* which the kernel cannot */
    guint link_changes;
    gboolean no_ports; /* Open vSwitch's module has gone */
    gboolean bad_port; /* it answers with less than was asked for */
    int refuse_frame;  /* with this, a frame for Open vSwitch */
    guint frames;      /* that it took */
    const char *heard; /* the port at which it took the last one */
} World;

static int number_of(const World *world, const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(world->links); i++)
        if (g_strcmp0(world->links[i].name, name) == 0)
            return (int)i + 1;
    return 0;
}

static void put_info(struct nl_msg *message, const FakeLink *link)
{
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    struct nlattr *data;
    guint16 protocol = htons(link->protocol ? link->protocol : ETH_P_8021Q);

    nla_put_string(message, IFLA_INFO_KIND, link->kind);
    data = nla_nest_start(message, IFLA_INFO_DATA);
    if (strcmp(link->kind, "bridge") == 0) {
        nla_put_u8(message, IFLA_BR_VLAN_FILTERING, link->filters ? 1 : 0);
        nla_put_u16(message, IFLA_BR_VLAN_PROTOCOL, protocol);
    } else if (strcmp(link->kind, "vlan") == 0) {
        nla_put_u16(message, IFLA_VLAN_ID, link->vlan);
        nla_put_u16(message, IFLA_VLAN_PROTOCOL, protocol);
    } else if (strcmp(link->kind, "macvtap") == 0) {
        nla_put_u32(message, IFLA_MACVLAN_MODE, link->mode);
    }
    nla_nest_end(message, data);
    nla_nest_end(message, info);
}

static int show_link(const World *world, int index, VfoNetlinkAnswer answer, gpointer data)
{
    const FakeLink *link = &world->links[index - 1];
    unsigned int flags =
        (link->down ? 0 : IFF_UP) | (link->down || link->no_carrier ? 0 : IFF_RUNNING);
    struct ifinfomsg header = {.ifi_index = index, .ifi_flags = flags};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
    int code;

    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, link->name);
    nla_put(message, IFLA_ADDRESS, sizeof(link->mac), &link->mac);
    if (link->master)
        nla_put_u32(message, IFLA_MASTER, (guint32)link->master);
    if (link->lower)
        nla_put_u32(message, IFLA_LINK, (guint32)link->lower);
    if (link->switch_id)
        nla_put(message, IFLA_PHYS_SWITCH_ID, (int)strlen(link->switch_id), link->switch_id);
    if (link->port_name)
        nla_put_string(message, IFLA_PHYS_PORT_NAME, link->port_name);
    if (link->kind)
        put_info(message, link);
    code = answer(nlmsg_hdr(message), data);
    nlmsg_free(message);
    return code;
}

/* As rtnl_bridge_getlink(): a port of a bridge, another PF, the PF itself as a port and as a PF. */
static int get_modes(const World *world, VfoNetlinkAnswer answer, gpointer data)
{
    const struct {
        int index;
        gboolean own;
        guint16 mode;
    } told[] = {{2, FALSE, 0},
                {90, TRUE, BRIDGE_MODE_VEPA},
                {1, FALSE, 0},
                {1, TRUE, world->vepa ? BRIDGE_MODE_VEPA : BRIDGE_MODE_VEB}};
    int code = world->no_modes ? -ENOBUFS : 0;

    for (gsize i = 0; code == 0 && i < G_N_ELEMENTS(told); i++) {
        struct ifinfomsg header = {.ifi_family = AF_BRIDGE, .ifi_index = told[i].index};
        struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
        struct nlattr *own;

        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
        if (told[i].own) {
            own = nla_nest_start(message, IFLA_AF_SPEC);
            nla_put_u16(message, IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF);
            nla_put_u16(message, IFLA_BRIDGE_MODE, told[i].mode);
            nla_nest_end(message, own);
        }
        code = answer(nlmsg_hdr(message), data);
        nlmsg_free(message);
    }
    return code;
}

static int get_link(const World *world, struct nlmsghdr *request, VfoNetlinkAnswer answer,
                    gpointer data)
{
    const struct ifinfomsg *header = nlmsg_data(request);
    struct nlattr *name = nlmsg_find_attr(request, sizeof(*header), IFLA_IFNAME);
    struct nlattr *master = nlmsg_find_attr(request, sizeof(*header), IFLA_MASTER);
    int index = name ? number_of(world, nla_get_string(name)) : header->ifi_index;
    int code = 0;

    if (!(request->nlmsg_flags & NLM_F_DUMP))
        return index ? show_link(world, index, answer, data) : -ENODEV;
    if (header->ifi_family == AF_BRIDGE)
        return get_modes(world, answer, data);
    /* A host may have a thousand taps. */
    g_assert_true(master || world->links[0].switch_id);
    for (guint i = 0; code == 0 && i < G_N_ELEMENTS(world->links); i++)
        if (world->links[i].name && (!master || world->links[i].master == (int)nla_get_u32(master)))
            code = show_link(world, (int)i + 1, answer, data);
    return code;
}

static int get_vlans(const World *world, struct nlmsghdr *request, VfoNetlinkAnswer answer,
                     gpointer data)
{
    const struct br_vlan_msg *header = nlmsg_data(request);
    const FakeLink *link = &world->links[header->ifindex - 1];
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWVLAN, 0);
    int code;

    g_assert_cmpint(header->family, ==, AF_BRIDGE);
    g_assert_cmpuint(header->ifindex, !=, 0);
    nlmsg_append(message, (void *)header, sizeof(*header), NLMSG_ALIGNTO);
    for (const FakeRange *range = link->vlans; range->first; range++) {
        struct bridge_vlan_info info = {.flags = range->flags, .vid = range->first};
        struct nlattr *entry = nla_nest_start(message, BRIDGE_VLANDB_ENTRY);

        nla_put(message, BRIDGE_VLANDB_ENTRY_INFO, sizeof(info), &info);
        if (range->last > range->first || world->bad_vlans)
            nla_put_u16(message, BRIDGE_VLANDB_ENTRY_RANGE, world->bad_vlans ? 65535 : range->last);
        nla_nest_end(message, entry);
    }
    code = answer(nlmsg_hdr(message), data);
    nlmsg_free(message);
    return code;
}

static guint16 vlan_of(struct nlmsghdr *request)
{
    struct nlattr *vlan = nlmsg_find_attr(request, sizeof(struct ndmsg), NDA_VLAN);

    return vlan ? nla_get_u16(vlan) : 0;
}

static FakeEntry *find_entry(World *world, int index, guint16 vlan, guint8 flags)
{
    for (guint i = 0; i < world->entries->len; i++) {
        FakeEntry *entry = &g_array_index(world->entries, FakeEntry, i);

        /* A bridge has one entry for an address in a VLAN; a NIC's filter is its own. */
        if ((entry->flags & flags) && entry->vlan == vlan &&
            ((flags & NTF_MASTER) || entry->index == index))
            return entry;
    }
    return NULL;
}

static int change_entry(World *world, struct nlmsghdr *request)
{
    static const VfoMac guest = GUEST;
    const struct ndmsg *header = nlmsg_data(request);
    guint8 flags = header->ndm_flags & (NTF_SELF | NTF_MASTER);
    guint16 vlan = vlan_of(request);
    FakeEntry *entry = find_entry(world, header->ndm_ifindex, vlan, flags);
    struct nlattr *mac = nlmsg_find_attr(request, sizeof(*header), NDA_LLADDR);

    if (request->nlmsg_type == RTM_NEWNEIGH) {
        FakeEntry added = {header->ndm_ifindex, vlan, flags, *(const VfoMac *)nla_data(mac)};

        if (flags == NTF_SELF && world->full)
            return -ENOMEM;
        world->trials += !vfo_mac_equal(&added.mac, &guest);

        if (entry)
            entry->index = header->ndm_ifindex;
        else
            g_array_append_val(world->entries, added);
        return 0;
    }
    if (!entry || entry->index != header->ndm_ifindex)
        return -ENOENT;
    g_array_remove_index_fast(world->entries,
                              (guint)(entry - (FakeEntry *)(void *)world->entries->data));
    return 0;
}

static int show_entry(const FakeEntry *entry, VfoNetlinkAnswer answer, gpointer data)
{
    const VfoMac mac = entry->mac;
    struct ndmsg header = {.ndm_family = AF_BRIDGE,
                           .ndm_ifindex = entry->index,
                           .ndm_flags = (guint8)(entry->flags | NTF_STICKY),
                           .ndm_state = NUD_NOARP};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWNEIGH, 0);
    int code;

    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put(message, NDA_LLADDR, sizeof(mac), &mac);
    code = answer(nlmsg_hdr(message), data);
    nlmsg_free(message);
    return code;
}

static int get_entry(World *world, struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer data)
{
    const struct ndmsg *header = nlmsg_data(request);
    gboolean dump = (request->nlmsg_flags & NLM_F_DUMP) != 0;
    const FakeEntry *entry =
        find_entry(world, header->ndm_ifindex, vlan_of(request), dump ? NTF_SELF : NTF_MASTER);

    if (!entry)
        return dump ? 0 : -ENOENT;
    return show_entry(entry, answer, data);
}

/* As macvlan_open() and macvlan_stop(): the address goes into the PF's filter, and out of it. */
static int change_link(World *world, struct nlmsghdr *request)
{
    const struct ifinfomsg *header = nlmsg_data(request);
    FakeLink *link = &world->links[header->ifi_index - 1];
    gboolean up = (header->ifi_flags & IFF_UP) != 0;
    FakeEntry *entry = find_entry(world, 1, 0, NTF_SELF);
    FakeEntry added = {1, 0, NTF_SELF, GUEST};

    g_assert_cmpuint(header->ifi_change, ==, IFF_UP);
    g_assert_cmpint(nlmsg_attrlen(request, sizeof(*header)), ==, 0);
    world->link_changes++;
    if (world->stubborn)
        return 0;
    link->down = !up;
    if (up && !entry && !world->deaf)
        g_array_append_val(world->entries, added);
    else if (!up && entry && !world->crowded)
        g_array_set_size(world->entries, 0);
    return 0;
}

/* The one that drops what comes; test-mute looks at it closely. */
static int change_filter(World *world, const struct nlmsghdr *request)
{
    gboolean muted = world->mute;

    world->mute = request->nlmsg_type == RTM_NEWTFILTER;
    world->tries += world->mute;
    if (muted == world->mute)
        return muted ? -EEXIST : -ENOENT;
    return 0;
}

static int kernel(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                  gpointer data)
{
    switch (request->nlmsg_type) {
    case RTM_GETLINK:
        return get_link(data, request, answer, answer_data);
    case RTM_SETLINK:
        return change_link(data, request);
    case RTM_NEWQDISC:
        return ((World *)data)->unmuted ? -EOPNOTSUPP : 0;
    case RTM_NEWTFILTER:
    case RTM_DELTFILTER:
        return change_filter(data, request);
    case RTM_GETVLAN:
        return get_vlans(data, request, answer, answer_data);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        return change_entry(data, request);
    case RTM_GETNEIGH:
        return get_entry(data, request, answer, answer_data);
    case RTM_GETQDISC:
        return -ENOENT;
    default:
        return -EOPNOTSUPP;
    }
}

/* ----------------------------------------------------------- Open vSwitch */

#define PORTS    31
#define PACKETS  32
#define DATAPATH 77
/* A port's number is neither its place here nor the number of its interface. */
#define PORT_OFFSET 100

typedef struct {
    struct genlmsghdr generic;
    struct ovs_header ovs;
} OvsHeader;

static int answer_family(const World *world, struct nlmsghdr *request, VfoNetlinkAnswer answer,
                         gpointer data)
{
    struct genlmsghdr header = {.cmd = CTRL_CMD_NEWFAMILY};
    const char *name = nla_get_string(nlmsg_find_attr(request, GENL_HDRLEN, CTRL_ATTR_FAMILY_NAME));
    g_autoptr(VfoMessage) message = nlmsg_alloc_simple(GENL_ID_CTRL, 0);

    if (world->no_ports)
        return -ENOENT;
    g_assert_true(g_str_equal(name, "ovs_vport") || g_str_equal(name, "ovs_packet"));
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_u16(message, CTRL_ATTR_FAMILY_ID, g_str_equal(name, "ovs_vport") ? PORTS : PACKETS);
    return answer(nlmsg_hdr(message), data);
}

static int show_ovs_port(const World *world, struct nlmsghdr *request, VfoNetlinkAnswer answer,
                         gpointer data)
{
    OvsHeader header = {{.cmd = OVS_VPORT_CMD_NEW}, {.dp_ifindex = DATAPATH}};
    struct nlattr *name = nlmsg_find_attr(request, sizeof(header), OVS_VPORT_ATTR_NAME);
    g_autoptr(VfoMessage) message = nlmsg_alloc_simple(PORTS, 0);
    int index = number_of(world, nla_get_string(name));

    if (!index || !world->links[index - 1].master)
        return -ENODEV;
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    if (!world->bad_port)
        nla_put_u32(message, OVS_VPORT_ATTR_PORT_NO, (guint32)(index + PORT_OFFSET));
    return answer(nlmsg_hdr(message), data);
}

static int take_frame(World *world, struct nlmsghdr *request)
{
    static const guint8 expected[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52,
                                      0x54, 0x00, 0xaa, 0x00, 0x10, 0x80, 0x35};
    const OvsHeader *header = nlmsg_data(request);
    struct nlattr *attributes[OVS_PACKET_ATTR_MAX + 1];
    struct nlattr *port;
    struct nlattr *action;

    g_assert_cmpint(header->ovs.dp_ifindex, ==, DATAPATH);
    g_assert_cmpint(nlmsg_parse(request, sizeof(*header), attributes, OVS_PACKET_ATTR_MAX, NULL),
                    ==, 0);
    g_assert_cmpint(nla_len(attributes[OVS_PACKET_ATTR_PACKET]), ==, ETH_ZLEN);
    g_assert_cmpmem(nla_data(attributes[OVS_PACKET_ATTR_PACKET]), sizeof(expected), expected,
                    sizeof(expected));
    port = nla_data(attributes[OVS_PACKET_ATTR_KEY]);
    g_assert_cmpint(nla_type(port), ==, OVS_KEY_ATTR_IN_PORT);
    action = nla_data(attributes[OVS_PACKET_ATTR_ACTIONS]);
    g_assert_cmpint(nla_len(attributes[OVS_PACKET_ATTR_ACTIONS]), ==, nla_total_size(4));
    g_assert_cmpint(nla_type(action), ==, OVS_ACTION_ATTR_RECIRC);
    g_assert_cmpuint(nla_get_u32(action), ==, 0);
    if (world->refuse_frame)
        return world->refuse_frame;
    world->frames++;
    world->heard = world->links[nla_get_u32(port) - PORT_OFFSET - 1].name;
    return 0;
}

static int open_vswitch(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                        gpointer data)
{
    const OvsHeader *header = nlmsg_data(request);

    if (request->nlmsg_type == GENL_ID_CTRL)
        return answer_family(data, request, answer, answer_data);
    if (request->nlmsg_type == PORTS) {
        g_assert_cmpint(header->generic.cmd, ==, OVS_VPORT_CMD_GET);
        return show_ovs_port(data, request, answer, answer_data);
    }
    g_assert_cmpint(request->nlmsg_type, ==, PACKETS);
    g_assert_cmpint(header->generic.cmd, ==, OVS_PACKET_CMD_EXECUTE);
    return take_frame(data, request);
}

/* --------------------------------------------------------------- fixture */

/* The places in World.links, and with that the numbers of the interfaces. */
enum { PF = 1, BRIDGE, TAP, VLAN, VLAN2, MACVTAP, PORT, OTHER_PORT };

#define ACCESS (BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED)

typedef struct {
    World world;
    GPtrArray *networks;
    VfoLeases *leases;
    VfoHost *host;
} Fixture;

static FakeLink *link_of(Fixture *f, int number)
{
    return &f->world.links[number - 1];
}

static void set_up(Fixture *f, gconstpointer data)
{
    VfoNetwork *network = g_new0(VfoNetwork, 1);

    *link_of(f, PF) = (FakeLink){.name = "pf0", .master = BRIDGE};
    *link_of(f, BRIDGE) = (FakeLink){.name = "br0", .kind = "bridge"};
    *link_of(f, TAP) = (FakeLink){.name = "tap0", .kind = "tun", .master = BRIDGE};
    f->world.entries = g_array_new(FALSE, FALSE, sizeof(FakeEntry));
    network->name = g_strdup("blue");
    network->bridge = g_strdup("br0");
    network->pfs = g_strsplit("pf0", ",", 0);
    f->networks = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    g_ptr_array_add(f->networks, network);
    f->leases = vfo_leases_new();
    f->host = vfo_host_new_with(f->networks, f->leases, "/nonexistent",
                                vfo_netlink_new_stand_in(kernel, &f->world),
                                vfo_netlink_new_stand_in(open_vswitch, &f->world));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_host_free(f->host);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->networks);
    g_array_unref(f->world.entries);
}

/* A bridge that filters VLANs, with these at the tap and at the PF. */
static void set_vlans(Fixture *f, FakeRange tap, FakeRange pf)
{
    link_of(f, BRIDGE)->filters = TRUE;
    memset(link_of(f, TAP)->vlans, 0, sizeof(link_of(f, TAP)->vlans));
    memset(link_of(f, PF)->vlans, 0, sizeof(link_of(f, PF)->vlans));
    link_of(f, TAP)->vlans[0] = tap;
    link_of(f, PF)->vlans[0] = pf;
}

/* The PF out of the bridge, and VLAN interface @vlan on it in its place. */
static void set_sub_interface(Fixture *f, guint16 vlan)
{
    link_of(f, PF)->master = 0;
    *link_of(f, VLAN) =
        (FakeLink){.name = "pf0.100", .kind = "vlan", .master = BRIDGE, .lower = PF, .vlan = vlan};
}

/* With a VF that is the guest's already (as at the source), or with one that is parked. */
static VfoWire *find(Fixture *f, const char *standby, guint16 vlan, gboolean is_guests,
                     GError **error)
{
    const VfoVfSettings settings = {.mac = GUEST, .vlan = vlan};
    VfoVf vf = {.pf = (char *)"pf0", .index = 2};

    if (is_guests)
        vf.settings = settings;
    return f->host->ops->find_wire(f->host, standby, &vf, &settings, error);
}

static VfoWire *find_well(Fixture *f, const char *standby, guint16 vlan)
{
    g_autoptr(GError) error = NULL;
    VfoWire *wire = find(f, standby, vlan, TRUE, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(wire->pf, ==, "pf0");
    g_assert_cmpuint(wire->vlan, ==, vlan);
    return wire;
}

static void assert_refused_as(Fixture *f, const char *standby, guint16 vlan, gboolean is_guests,
                              VfoError code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoWire) wire = find(f, standby, vlan, is_guests, &error);

    g_assert_null(wire);
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
}

static void assert_mismatch(Fixture *f, guint16 vlan, const char *words)
{
    assert_refused_as(f, "tap0", vlan, TRUE, VFO_ERROR_MISMATCH, words);
}

static void assert_vlans(const VfoWire *wire, guint16 first, guint16 second)
{
    g_assert_cmpuint(wire->vlans->len, ==, second ? 2 : 1);
    g_assert_cmpuint(g_array_index(wire->vlans, guint16, 0), ==, first);
    if (second)
        g_assert_cmpuint(g_array_index(wire->vlans, guint16, 1), ==, second);
}

/* The entry that there is, alone, "9 0 " being link 9 without a VLAN; "self" for a filter. */
static char *entries_of(Fixture *f)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < f->world.entries->len; i++) {
        const FakeEntry *entry = &g_array_index(f->world.entries, FakeEntry, i);

        g_string_append_printf(text, "%s %s%u ", f->world.links[entry->index - 1].name,
                               entry->flags & NTF_SELF ? "self" : "", entry->vlan);
    }
    return g_string_free(text, FALSE);
}

static void assert_entries(Fixture *f, const char *expected)
{
    g_autofree char *entries = entries_of(f);

    g_assert_cmpstr(entries, ==, expected);
}

static void assert_opens(Fixture *f, const VfoWire *wire, const char *expected)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_no_error(error);
    assert_entries(f, expected);
}

/* The guest's address is not let in for it. */
static void test_try(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = find_well(f, "tap0", 0);
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->try_pf(f->host, wire, &error));
    g_assert_cmpuint(f->world.trials, ==, 1);
    assert_entries(f, "");

    f->world.full = TRUE;
    g_assert_false(f->host->ops->try_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "cannot let 52:54:00:aa:00:10 in on PF pf0"));
    g_assert_nonnull(strstr(error->message, "table is full, with 0 addresses"));
    g_clear_error(&error);
    assert_entries(f, "");
    g_assert_false(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_clear_error(&error);

    /* What is open has its room. */
    f->world.full = FALSE;
    assert_opens(f, wire, "tap0 0 pf0 self0 ");
    f->world.full = TRUE;
    g_assert_true(f->host->ops->try_pf(f->host, wire, &error));
    g_assert_cmpuint(f->world.trials, ==, 1);
}

static void test_vepa(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = find_well(f, "tap0", 0);
    g_autoptr(GError) error = NULL;

    f->world.vepa = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "PF pf0 is in mode VEPA*");
    g_assert_true(f->host->ops->try_pf(f->host, wire, &error));
    g_test_assert_expected_messages();
    g_assert_cmpuint(f->world.trials, ==, 1);

    f->world.no_modes = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*the mode of the switch in PF pf0*");
    g_assert_true(f->host->ops->try_pf(f->host, wire, &error));
    g_test_assert_expected_messages();
    g_assert_cmpuint(f->world.trials, ==, 2);
}

static void assert_closes(Fixture *f, const VfoWire *wire, gboolean to_vf, const char *expected)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->close_pf(f->host, wire, to_vf, &error));
    g_assert_no_error(error);
    assert_entries(f, expected);
}

/* ---------------------------------------------------------------- bridge */

static void test_plain(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = find_well(f, "tap0", 0);

    g_assert_cmpstr(wire->datapath, ==, "bridge");
    g_assert_cmpstr(wire->uplink, ==, "pf0");
    assert_vlans(wire, 0, 0);
    assert_opens(f, wire, "tap0 0 pf0 self0 ");
    assert_closes(f, wire, TRUE, "pf0 0 ");
    assert_closes(f, wire, FALSE, "");

    assert_mismatch(f, 100, "VLAN 100");
    assert_mismatch(f, 100, "'ip link set pf0 vf 2 vlan 0'");
    assert_refused_as(f, "tap0", 100, FALSE, VFO_ERROR_MISMATCH, "VLAN interface of VLAN 100");
}

static void test_access(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){90, 110, 0});
    wire = find_well(f, "tap0", 100);
    g_assert_cmpstr(wire->uplink, ==, "pf0");
    assert_vlans(wire, 100, 0);
    g_assert_null(wire->trunk);
    assert_opens(f, wire, "tap0 100 pf0 self0 ");
    assert_closes(f, wire, TRUE, "pf0 100 ");
    assert_closes(f, wire, FALSE, "");

    /* The VF is in none, or in another. */
    assert_mismatch(f, 0, "'ip link set pf0 vf 2 vlan 100'");
    assert_mismatch(f, 101, "'ip link set pf0 vf 2 vlan 100'");
    assert_refused_as(f, "tap0", 101, FALSE, VFO_ERROR_MISMATCH,
                      "'bridge vlan add dev tap0 vid 101 pvid untagged'");
    assert_refused_as(f, "tap0", 0, FALSE, VFO_ERROR_MISMATCH, "PF pf0 itself");

    /* It leaves the host untagged: then the VF needs no VLAN. */
    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){100, 100, ACCESS});
    vfo_wire_free(wire);
    wire = find_well(f, "tap0", 0);
    assert_vlans(wire, 100, 0);
    assert_mismatch(f, 100, "'ip link set pf0 vf 2 vlan 0'");
}

/* The tags that the guest gives its frames itself. */
static void assert_trunk(const VfoWire *wire, guint16 first, guint16 second)
{
    g_assert_nonnull(wire->trunk);
    g_assert_cmpuint(wire->trunk->len, ==, second ? 2 : 1);
    g_assert_cmpuint(g_array_index(wire->trunk, guint16, 0), ==, first);
    if (second)
        g_assert_cmpuint(g_array_index(wire->trunk, guint16, 1), ==, second);
}

static void test_trunk(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_vlans(f, (FakeRange){1, 1, ACCESS}, (FakeRange){1, 1, ACCESS});
    link_of(f, TAP)->vlans[1] = (FakeRange){100, 100, 0};
    link_of(f, PF)->vlans[1] = (FakeRange){2, 4094, 0};
    wire = find_well(f, "tap0", 0);
    assert_vlans(wire, 1, 100);
    assert_trunk(wire, 100, 0);
    g_assert_cmpuint(wire->trunk->len, <, wire->vlans->len);
    assert_opens(f, wire, "tap0 1 tap0 100 pf0 self0 ");
    assert_closes(f, wire, TRUE, "pf0 1 pf0 100 ");
    assert_closes(f, wire, FALSE, "");

    /* All with tags. */
    set_vlans(f, (FakeRange){100, 101, 0}, (FakeRange){100, 101, 0});
    vfo_wire_free(wire);
    wire = find_well(f, "tap0", 0);
    assert_vlans(wire, 100, 101);
    assert_trunk(wire, 100, 101);
    g_assert_cmpuint(wire->trunk->len, ==, wire->vlans->len);
    assert_mismatch(f, 100, "'ip link set pf0 vf 2 vlan 0'");

    /* A VF in a VLAN carries that one alone. */
    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){100, 101, 0});
    link_of(f, TAP)->vlans[1] = (FakeRange){101, 101, 0};
    assert_mismatch(f, 100, "in VLAN 100 alone");
}

static void test_crooked(Fixture *f, gconstpointer data)
{
    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){200, 200, 0});
    assert_mismatch(f, 100, "'bridge vlan add dev pf0 vid 100'");

    /* What 'bridge vlan add ... pvid untagged' leaves of the default. */
    set_vlans(f, (FakeRange){1, 1, BRIDGE_VLAN_INFO_UNTAGGED}, (FakeRange){1, 100, 0});
    link_of(f, TAP)->vlans[1] = (FakeRange){100, 100, ACCESS};
    assert_mismatch(f, 100, "'bridge vlan del dev tap0 vid 1'");

    set_vlans(f, (FakeRange){100, 100, BRIDGE_VLAN_INFO_PVID}, (FakeRange){100, 100, 0});
    assert_mismatch(f, 100, "'bridge vlan add dev tap0 vid 100 pvid untagged'");

    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){100, 100, BRIDGE_VLAN_INFO_UNTAGGED});
    assert_mismatch(f, 100, "one direction");

    set_vlans(f, (FakeRange){100, 100, 0}, (FakeRange){100, 100, ACCESS});
    assert_mismatch(f, 0, "leaves the host");

    set_vlans(f, (FakeRange){0}, (FakeRange){1, 4094, 0});
    assert_mismatch(f, 0, "in no VLAN of its bridge");

    f->world.bad_vlans = TRUE;
    set_vlans(f, (FakeRange){1, 1, ACCESS}, (FakeRange){1, 1, ACCESS});
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "cannot read the VLANs of tap0");
    f->world.bad_vlans = FALSE;
}

static void test_sub_interface(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_sub_interface(f, 100);
    wire = find_well(f, "tap0", 100);
    g_assert_cmpstr(wire->uplink, ==, "pf0.100");
    assert_vlans(wire, 0, 0);
    assert_opens(f, wire, "tap0 0 pf0 self0 ");
    assert_closes(f, wire, TRUE, "pf0.100 0 ");
    assert_closes(f, wire, FALSE, "");
    assert_mismatch(f, 0, "'ip link set pf0 vf 2 vlan 100'");

    /* In a bridge that filters, untagged in and out. */
    set_vlans(f, (FakeRange){1, 1, ACCESS}, (FakeRange){0});
    link_of(f, VLAN)->vlans[0] = (FakeRange){1, 1, ACCESS};
    vfo_wire_free(wire);
    wire = find_well(f, "tap0", 100);
    assert_vlans(wire, 1, 0);
    link_of(f, VLAN)->vlans[0] = (FakeRange){1, 1, 0};
    assert_mismatch(f, 100, "second tag");

    link_of(f, BRIDGE)->filters = FALSE;
    link_of(f, VLAN)->down = TRUE;
    assert_refused_as(f, "tap0", 100, TRUE, VFO_ERROR_FAILED, "'ip link set pf0.100 up'");
    link_of(f, VLAN)->down = FALSE;

    *link_of(f, VLAN2) = *link_of(f, VLAN);
    link_of(f, VLAN2)->name = "pf0.200";
    assert_mismatch(f, 100, "joins 2 VLANs");
    /* On another card. */
    link_of(f, VLAN)->lower = link_of(f, VLAN2)->lower = 77;
    assert_refused_as(f, "tap0", 100, TRUE, VFO_ERROR_FAILED, "ip link set pf0 master br0");
}

static void test_outer(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = {.mac = GUEST, .vlan = 100, .vlan_outer = TRUE};
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_sub_interface(f, 100);
    g_assert_null(f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "in VLAN 100 of 802.1ad, but"));
    g_clear_error(&error);

    link_of(f, VLAN)->protocol = ETH_P_8021AD;
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(wire->vlan, ==, 100);
    g_assert_true(wire->vlan_outer);
    assert_mismatch(f, 100, "'ip link set pf0 vf 2 vlan 100 proto 802.1ad'");
    assert_opens(f, wire, "tap0 0 pf0 self0 ");

    /* In the VLAN of a bridge whose tags are the outer ones. */
    link_of(f, PF)->master = BRIDGE;
    link_of(f, VLAN)->master = 0;
    link_of(f, BRIDGE)->protocol = ETH_P_8021AD;
    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){100, 100, 0});
    vfo_wire_free(wire);
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_true(wire->vlan_outer);
    settings.vlan = VFO_VLAN_ANY;
    settings.vlan_outer = FALSE;
    vfo_wire_free(wire);
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(wire->vlan, ==, 100);
    g_assert_true(wire->vlan_outer);

    /* Without a tag there is none that could be the outer one. */
    link_of(f, PF)->vlans[0].flags = ACCESS;
    vfo_wire_free(wire);
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(wire->vlan, ==, 0);
    g_assert_false(wire->vlan_outer);
}

/* A VM that is on its standby when the daemon starts: through which PF the kernel tells. */
static void test_several_pfs(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *open; /* NULL: none; all are usable but for what is @down */
        const char *down;
        const char *found;
    } rows[] = {
        {NULL, NULL, "pf0"},  {NULL, "pf0", "pf1"},  {"pf1", NULL, "pf1"},
        {"pf0", NULL, "pf0"}, {"pf1", "pf0", "pf1"}, {"pf1", "pf1", "pf0"},
    };
    const VfoVfSettings settings = {.mac = GUEST, .vlan = VFO_VLAN_ANY};
    VfoNetwork *network = g_ptr_array_index(f->networks, 0);

    g_strfreev(network->pfs);
    network->pfs = g_strsplit("pf0,pf1", ",", 0);
    *link_of(f, OTHER_PORT) = (FakeLink){.name = "pf1", .master = BRIDGE};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const FakeEntry entry = {.index = g_strcmp0(rows[i].open, "pf1") == 0 ? OTHER_PORT : PF,
                                 .flags = NTF_SELF,
                                 .mac = GUEST};
        g_autoptr(GError) error = NULL;
        g_autoptr(VfoWire) wire = NULL;

        g_array_set_size(f->world.entries, 0);
        if (rows[i].open)
            g_array_append_val(f->world.entries, entry);
        link_of(f, PF)->no_carrier = g_strcmp0(rows[i].down, "pf0") == 0;
        link_of(f, OTHER_PORT)->no_carrier = g_strcmp0(rows[i].down, "pf1") == 0;
        wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(wire->pf, ==, rows[i].found);
        g_assert_cmpstr(wire->uplink, ==, rows[i].found);
    }
}

/* --------------------------------------------------------------- macvtap */

static void set_macvtap(Fixture *f, int lower)
{
    VfoNetwork *network = g_ptr_array_index(f->networks, 0);

    link_of(f, PF)->master = 0;
    *link_of(f, MACVTAP) = (FakeLink){.name = "macvtap0",
                                      .kind = "macvtap",
                                      .lower = lower,
                                      .down = TRUE,
                                      .mode = MACVLAN_MODE_BRIDGE,
                                      .mac = GUEST};
    g_clear_pointer(&network->bridge, g_free);
}

/* The test's own deadline is the harness's. */
static void await_mute(Fixture *f)
{
    while (!f->world.mute)
        g_main_context_iteration(NULL, TRUE);
}

static void test_macvtap(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_macvtap(f, PF);
    for (guint32 mode = MACVLAN_MODE_PRIVATE; mode <= MACVLAN_MODE_BRIDGE; mode <<= 1) {
        link_of(f, MACVTAP)->mode = mode;
        vfo_wire_free(wire);
        wire = find_well(f, "macvtap0", 0);
    }
    g_assert_cmpstr(wire->datapath, ==, "macvtap");
    g_assert_cmpstr(wire->network, ==, "blue");
    g_assert_cmpstr(wire->uplink, ==, "pf0");
    g_assert_null(wire->bridge);
    assert_opens(f, wire, "pf0 self0 ");
    g_assert_false(link_of(f, MACVTAP)->down);
    assert_opens(f, wire, "pf0 self0 ");
    g_assert_cmpuint(f->world.link_changes, ==, 1);
    f->host->ops->prepare_hand_to_vf(f->host, wire);
    g_assert_false(f->world.mute);
    g_assert_cmpuint(f->world.tries, ==, 1);
    /* The guest may send through it until its VF has a link. */
    assert_closes(f, wire, TRUE, "pf0 self0 ");
    g_assert_false(link_of(f, MACVTAP)->down);
    await_mute(f);
    assert_closes(f, wire, TRUE, "pf0 self0 ");
    g_assert_true(f->world.mute);
    assert_opens(f, wire, "pf0 self0 ");
    g_assert_false(f->world.mute);
    assert_closes(f, wire, TRUE, "pf0 self0 ");
    await_mute(f);
    assert_closes(f, wire, FALSE, "");
    g_assert_true(link_of(f, MACVTAP)->down);
    g_assert_false(f->world.mute);
    /* Frames come twice then, which is no failure. */
    assert_opens(f, wire, "pf0 self0 ");
    f->world.unmuted = TRUE;
    assert_closes(f, wire, TRUE, "pf0 self0 ");
    g_assert_false(f->world.mute);
    assert_closes(f, wire, FALSE, "");

    g_assert_true(f->host->ops->release(f->host, wire, &error));

    /* QEMU has exited, and took its macvtap along. */
    link_of(f, MACVTAP)->name = NULL;
    assert_closes(f, wire, FALSE, "");
    g_assert_false(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
}

static void test_macvtap_disobeys(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_macvtap(f, PF);
    wire = find_well(f, "macvtap0", 0);
    f->world.stubborn = TRUE;
    g_assert_false(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_clear_error(&error);
    f->world.stubborn = FALSE;

    f->world.deaf = TRUE;
    g_assert_false(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "does not let"));
    g_clear_error(&error);
    f->world.deaf = FALSE;

    link_of(f, MACVTAP)->down = TRUE;
    assert_opens(f, wire, "pf0 self0 ");
    f->world.crowded = TRUE;
    g_assert_false(f->host->ops->close_pf(f->host, wire, FALSE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "still lets"));
}

static void test_macvtap_refused(Fixture *f, gconstpointer data)
{
    FakeLink *macvtap = link_of(f, MACVTAP);

    set_macvtap(f, PF);
    macvtap->mode = MACVLAN_MODE_PASSTHRU;
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_NOT_SUPPORTED, "passthru");
    macvtap->mode = MACVLAN_MODE_SOURCE;
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_NOT_SUPPORTED, "mode 16");
    macvtap->mode = MACVLAN_MODE_VEPA;
    macvtap->mac.octet[5]++;
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_MISMATCH,
                      "'ip link set macvtap0 address 52:54:00:aa:00:10'");
    macvtap->mac.octet[5]--;
    assert_refused_as(f, "macvtap0", 100, FALSE, VFO_ERROR_MISMATCH, "VLAN 100 on PF pf0");
    link_of(f, PF)->no_carrier = TRUE;
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_FAILED, "carrier");
    link_of(f, PF)->no_carrier = FALSE;

    /* On another PF than the VF; of another network; of another namespace. */
    link_of(f, PF)->name = "pf1";
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_NOT_FOUND, "pf1");
    g_strfreev(((VfoNetwork *)g_ptr_array_index(f->networks, 0))->pfs);
    ((VfoNetwork *)g_ptr_array_index(f->networks, 0))->pfs = g_strsplit("pf0,pf1", ",", 0);
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_MISMATCH, "VF on PF pf0");
    link_of(f, PF)->name = "pf0";
    macvtap->lower = 0;
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_NOT_SUPPORTED, "namespace");
}

static void test_macvtap_vlan(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_macvtap(f, VLAN);
    *link_of(f, VLAN) = (FakeLink){.name = "pf0.100", .kind = "vlan", .lower = PF, .vlan = 100};
    wire = find_well(f, "macvtap0", 100);
    g_assert_cmpstr(wire->uplink, ==, "pf0.100");
    assert_opens(f, wire, "pf0 self0 ");
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_MISMATCH,
                      "'ip link set pf0 vf 2 vlan 100'");
    assert_refused_as(f, "macvtap0", 0, FALSE, VFO_ERROR_MISMATCH, "PF pf0 itself");
    link_of(f, VLAN)->protocol = ETH_P_8021AD;
    assert_refused_as(f, "macvtap0", 100, TRUE, VFO_ERROR_MISMATCH,
                      "'ip link set pf0 vf 2 vlan 100 proto 802.1ad'");
}

/* ------------------------------------------------------------- switchdev */

/* The VF is number 2; "enp1" is behind another one, or one of another card. */
static void set_switchdev(Fixture *f)
{
    link_of(f, PF)->switch_id = "card";
    link_of(f, PF)->port_name = "p0";
    *link_of(f, PORT) =
        (FakeLink){.name = "enp0", .master = BRIDGE, .switch_id = "card", .port_name = "pf0vf2"};
    *link_of(f, OTHER_PORT) =
        (FakeLink){.name = "enp1", .master = BRIDGE, .switch_id = "card", .port_name = "pf0vf1"};
}

static void test_switchdev(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_switchdev(f);
    wire = find_well(f, "tap0", 0);
    g_assert_cmpstr(wire->datapath, ==, "switchdev");
    g_assert_cmpstr(wire->uplink, ==, "pf0");
    g_assert_cmpstr(wire->vf_port, ==, "enp0");
    /* Never an entry in the PF's filter. */
    assert_opens(f, wire, "tap0 0 ");
    assert_closes(f, wire, TRUE, "enp0 0 ");
    assert_opens(f, wire, "tap0 0 ");
    assert_closes(f, wire, FALSE, "");
    assert_closes(f, wire, TRUE, "enp0 0 ");
    assert_closes(f, wire, FALSE, "");

    /* The card has left switchdev mode. */
    link_of(f, PORT)->name = NULL;
    assert_opens(f, wire, "tap0 0 ");
    g_assert_false(f->host->ops->close_pf(f->host, wire, TRUE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "enp0"));
    assert_closes(f, wire, FALSE, "");
}

static void test_switchdev_without_vf(Fixture *f, gconstpointer data)
{
    const VfoVfSettings settings = {.mac = GUEST, .vlan = VFO_VLAN_ANY};
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_switchdev(f);
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(wire->datapath, ==, "switchdev");
    g_assert_null(wire->vf_port);
    g_assert_cmpuint(wire->vlan, ==, 0);
    assert_opens(f, wire, "tap0 0 ");
    assert_closes(f, wire, FALSE, "");
}

/* A card that has a switch, but no ports for its VFs, is in legacy mode. */
static void test_legacy(Fixture *f, gconstpointer data)
{
    static const char *const others[] = {"pf0vf1", "c1pf0vf2", "pf0sf2", "pf0vf2x", "p2", NULL};
    g_autoptr(VfoWire) wire = NULL;

    set_switchdev(f);
    link_of(f, OTHER_PORT)->name = NULL;
    for (const char *const *other = others; *other; other++) {
        link_of(f, PORT)->port_name = *other;
        vfo_wire_free(wire);
        wire = find_well(f, "tap0", 0);
        g_assert_cmpstr(wire->datapath, ==, "bridge");
    }
    link_of(f, PORT)->port_name = "pf0vf2";
    link_of(f, PORT)->switch_id = "card2";
    vfo_wire_free(wire);
    wire = find_well(f, "tap0", 0);
    g_assert_cmpstr(wire->datapath, ==, "bridge");
    assert_opens(f, wire, "tap0 0 pf0 self0 ");
}

static void test_switchdev_refused(Fixture *f, gconstpointer data)
{
    set_switchdev(f);
    link_of(f, PORT)->master = 0;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "'ip link set enp0 master br0'");
    link_of(f, PORT)->master = BRIDGE;
    link_of(f, PORT)->down = TRUE;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "'ip link set enp0 up'");
    link_of(f, PORT)->down = FALSE;
    assert_refused_as(f, "tap0", 100, TRUE, VFO_ERROR_NOT_SUPPORTED, "VLAN 100 by itself");
    link_of(f, PF)->master = 0;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "'ip link set pf0 master br0'");
    link_of(f, PF)->master = BRIDGE;
    link_of(f, OTHER_PORT)->port_name = "pf1vf2";
    assert_mismatch(f, 0, "2 ports for a VF number 2");
}

static void test_switchdev_vlan(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_switchdev(f);
    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){90, 110, 0});
    link_of(f, PORT)->vlans[0] = (FakeRange){100, 100, ACCESS};
    wire = find_well(f, "tap0", 0);
    assert_vlans(wire, 100, 0);
    g_assert_cmpuint(wire->tag, ==, 100);
    g_assert_cmpuint(wire->vlan, ==, 0);
    assert_opens(f, wire, "tap0 100 ");
    assert_closes(f, wire, TRUE, "enp0 100 ");
    link_of(f, PORT)->vlans[0] = (FakeRange){101, 101, ACCESS};
    assert_mismatch(f, 0, "not in the same VLANs of bridge br0");
    link_of(f, PORT)->vlans[0] = (FakeRange){100, 101, 0};
    assert_mismatch(f, 0, "not in the same VLANs of bridge br0");
}

static void set_open_vswitch(Fixture *f)
{
    VfoNetwork *network = g_ptr_array_index(f->networks, 0);

    set_switchdev(f);
    link_of(f, BRIDGE)->name = "ovs-system";
    link_of(f, BRIDGE)->kind = "openvswitch";
    g_free(network->bridge);
    network->bridge = g_strdup("ovs-system");
}

static void assert_heard(Fixture *f, guint frames, const char *port)
{
    g_assert_cmpuint(f->world.frames, ==, frames);
    g_assert_cmpstr(f->world.heard, ==, port);
}

/* It has no entries; what it learns from is one frame at each change. */
static void test_open_vswitch(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_open_vswitch(f);
    wire = find_well(f, "tap0", 0);
    g_assert_false(f->host->ops->hold(f->host, wire, "0000:01:10.0", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    g_assert_nonnull(strstr(error->message, "nftables"));
    g_clear_error(&error);
    g_assert_cmpstr(wire->datapath, ==, "switchdev");
    assert_opens(f, wire, "");
    assert_heard(f, 0, NULL);
    g_assert_true(f->host->ops->announce(f->host, wire, &error));
    g_assert_no_error(error);
    assert_heard(f, 1, "tap0");
    assert_closes(f, wire, TRUE, "");
    assert_heard(f, 2, "enp0");
    assert_closes(f, wire, FALSE, "");
    assert_heard(f, 2, "enp0");
    g_assert_true(f->host->ops->draw(f->host, wire, &error));
    g_assert_no_error(error);
    assert_heard(f, 3, "tap0");
}

/* Where the PF cannot be opened nobody is told that the guest is here. */
static void test_draw(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = find_well(f, "tap0", 0);
    g_autoptr(GError) error = NULL;

    link_of(f, PF)->name = NULL;
    g_assert_false(f->host->ops->draw(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    assert_entries(f, "");
}

static gboolean on_late(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

static void wait_for_a_second(void)
{
    gboolean late = FALSE;

    g_timeout_add(1100, on_late, &late);
    while (!late)
        g_main_context_iteration(NULL, TRUE);
}

/* What QEMU says meanwhile of the standby must not be the last that is learned. */
static void test_open_vswitch_again(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;

    set_open_vswitch(f);
    wire = find_well(f, "tap0", 0);
    assert_closes(f, wire, TRUE, "");
    assert_opens(f, wire, "");
    assert_heard(f, 1, "enp0");
    wait_for_a_second();
    assert_heard(f, 1, "enp0");
    assert_closes(f, wire, TRUE, "");
    f->world.heard = "tap0";
    while (f->world.frames < 5)
        g_main_context_iteration(NULL, TRUE);
    assert_heard(f, 5, "enp0");
    wait_for_a_second();
    assert_heard(f, 5, "enp0");
}

static void test_open_vswitch_refused(Fixture *f, gconstpointer data)
{
    set_open_vswitch(f);
    link_of(f, PORT)->master = 0;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "'ovs-vsctl add-port BRIDGE enp0'");
    link_of(f, PORT)->master = BRIDGE;
    link_of(f, PF)->master = 0;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_FAILED, "'ovs-vsctl add-port BRIDGE pf0'");
}

/* What the other datapaths do to a bridge is nothing to Open vSwitch. */
static void test_open_vswitch_legacy(Fixture *f, gconstpointer data)
{
    set_open_vswitch(f);
    link_of(f, PF)->switch_id = NULL;
    assert_refused_as(f, "tap0", 0, TRUE, VFO_ERROR_NOT_SUPPORTED, "datapath 'switchdev' alone");
    assert_heard(f, 0, NULL);
}

static void assert_learns_not(Fixture *f, const VfoWire *wire, VfoError code, const char *words)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(f->host->ops->close_pf(f->host, wire, TRUE, &error));
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
    g_assert_cmpuint(f->world.frames, ==, 0);
}

static void test_open_vswitch_disobeys(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_open_vswitch(f);
    wire = find_well(f, "tap0", 0);
    f->world.refuse_frame = -EPERM;
    assert_learns_not(f, wire, VFO_ERROR_DENIED, "learn that 52:54:00:aa:00:10 is at its port");
    g_assert_false(f->host->ops->announce(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_DENIED);
    f->world.refuse_frame = 0;
    f->world.bad_port = TRUE;
    assert_learns_not(f, wire, VFO_ERROR_FAILED, "Bad message");
    f->world.bad_port = FALSE;
    link_of(f, PORT)->master = 0;
    assert_learns_not(f, wire, VFO_ERROR_NOT_FOUND, "'ovs-vsctl add-port BRIDGE enp0'");
    f->world.no_ports = TRUE;
    assert_learns_not(f, wire, VFO_ERROR_NOT_FOUND, "'ovs-vsctl add-port BRIDGE enp0'");
}

/* ---------------------------------------------------------- configuration */

static void test_configured(Fixture *f, gconstpointer data)
{
    VfoNetwork *network = g_ptr_array_index(f->networks, 0);

    network->datapath = g_strdup("bridge");
    vfo_wire_free(find_well(f, "tap0", 0));
    g_free(network->datapath);
    network->datapath = g_strdup("switchdev");
    assert_mismatch(f, 0, "'datapath = switchdev'");
    set_macvtap(f, PF);
    assert_refused_as(f, "macvtap0", 0, TRUE, VFO_ERROR_MISMATCH, "wired as datapath 'macvtap'");
}

static void make_link(const char *root, const char *path, const char *target)
{
    g_autofree char *full = g_build_filename(root, path, NULL);
    g_autofree char *directory = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_assert_cmpint(symlink(target, full), ==, 0);
}

/* A PF of igb in a sysfs of its own. Free with g_free() when it has been removed. */
static char *set_driver(Fixture *f)
{
    char *sysfs = g_dir_make_tmp("vfo-sysfs-XXXXXX", NULL);

    make_link(sysfs, "class/net/pf0/device", "../../../0000:01:00.0");
    make_link(sysfs, "bus/pci/devices/0000:01:00.0/driver", "../../drivers/igb");
    vfo_host_free(f->host);
    f->host = vfo_host_new_with(f->networks, f->leases, sysfs,
                                vfo_netlink_new_stand_in(kernel, &f->world), NULL);
    return sysfs;
}

static void remove_all(const char *sysfs)
{
    g_autofree char *remove = g_strdup_printf("rm -r %s", sysfs);

    g_assert_true(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
}

/* A driver that does not say that its filter is full, which the configuration knows of. */
static void test_room(Fixture *f, gconstpointer data)
{
    const FakeEntry other = {1, 0, NTF_SELF, {{0x52, 0x54, 0, 0xbb, 0, 1}}};
    g_autofree char *sysfs = set_driver(f);
    g_autoptr(GPtrArray) configured =
        g_ptr_array_new_with_free_func((GDestroyNotify)vfo_quirks_free);
    VfoQuirks *own = g_new0(VfoQuirks, 1);
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    own->driver = g_strdup("igb");
    own->filter_entries = 1;
    g_ptr_array_add(configured, own);
    vfo_host_set_quirks(f->host, configured);
    wire = find_well(f, "tap0", 0);
    g_assert_true(f->host->ops->try_pf(f->host, wire, &error));
    g_assert_cmpuint(f->world.trials, ==, 1);

    g_array_append_val(f->world.entries, other);
    g_assert_false(f->host->ops->try_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "table is full, with 1 addresses"));
    g_clear_error(&error);
    g_assert_false(f->host->ops->open_pf(f->host, wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_cmpuint(f->world.trials, ==, 1);
    remove_all(sysfs);
}

static void test_driver(Fixture *f, gconstpointer data)
{
    static const struct {
        VfoVfSettings settings;
        const char *words;
    } refused[] = {
        {{.mac = GUEST, .link = VFO_LINK_ENABLE},
         "a link state other than 'auto', which driver igb"},
        {{.mac = GUEST, .min_tx_rate = 1}, "a minimum transmit rate"},
        {{.mac = GUEST, .vlan = 5, .vlan_outer = TRUE}, "QinQ"},
    };
    const VfoVfSettings good = {.mac = GUEST, .max_tx_rate = 1000, .trust = TRUE};
    g_autofree char *sysfs = set_driver(f);
    VfoVf vf = {.pf = (char *)"pf0"};
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    wire = f->host->ops->find_wire(f->host, "tap0", &vf, &good, &error);
    g_assert_no_error(error);
    for (gsize i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_assert_null(f->host->ops->find_wire(f->host, "tap0", &vf, &refused[i].settings, &error));
        g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
        g_assert_nonnull(strstr(error->message, refused[i].words));
        g_clear_error(&error);
    }
    /* Without a VF nothing is set. */
    vfo_wire_free(wire);
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &refused[0].settings, &error);
    g_assert_no_error(error);
    remove_all(sysfs);
}

static void test_quirks(void)
{
    const VfoVfSettings link = {.link = VFO_LINK_DISABLE};
    g_autoptr(GPtrArray) configured =
        g_ptr_array_new_with_free_func((GDestroyNotify)vfo_quirks_free);
    VfoQuirks *own = g_new0(VfoQuirks, 1);

    own->driver = g_strdup("ice");
    own->cannot_set = VFO_QUIRK_LINK_STATE;
    g_ptr_array_add(configured, own);
    g_assert_true(vfo_quirks_of(configured, "ice") == own);
    g_assert_cmpint(vfo_quirks_of(configured, "igb")->receive_vector, ==, 1);
    g_assert_cmpint(vfo_quirks_of(configured, "unheard-of")->receive_vector, ==, -1);
    g_assert_cmpint(vfo_quirks_of(NULL, NULL)->cannot_set, ==, 0);
    g_assert_false(vfo_quirks_of(NULL, "igb")->mac_resets_vf);
    g_assert_true(vfo_quirks_of(NULL, "ice")->mac_resets_vf);
    /* The end of a quarantine would take the VF from the guest that has just got it. */
    g_assert_cmpuint(vfo_quirks_of(NULL, "i40e")->quarantine, ==, 0);
    g_assert_true(vfo_quirks_of(NULL, "i40e")->vlan_resets_vf);
    g_assert_false(vfo_quirks_check(own, &link, "pf0", NULL));
    g_assert_true(vfo_quirks_check(vfo_quirks_of(NULL, "ice"), &link, "pf0", NULL));
}

/* Attaching a VF: it gets the VLAN that the standby is in. */
static void test_any_vlan(Fixture *f, gconstpointer data)
{
    const VfoVfSettings settings = {.mac = GUEST, .vlan = VFO_VLAN_ANY};
    g_autoptr(VfoWire) wire = NULL;
    g_autoptr(GError) error = NULL;

    set_vlans(f, (FakeRange){100, 100, ACCESS}, (FakeRange){90, 110, 0});
    wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(wire->vlan, ==, 100);
    vfo_wire_free(g_steal_pointer(&wire));

    link_of(f, TAP)->vlans[1] = (FakeRange){101, 101, 0};
    g_assert_null(f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/host/datapath/bridge/plain", test_plain);
    add("/host/datapath/bridge/access", test_access);
    add("/host/datapath/bridge/trunk", test_trunk);
    add("/host/datapath/bridge/crooked", test_crooked);
    add("/host/datapath/bridge/sub-interface", test_sub_interface);
    add("/host/datapath/bridge/outer", test_outer);
    add("/host/datapath/bridge/several-pfs", test_several_pfs);
    add("/host/datapath/bridge/draw", test_draw);
    add("/host/datapath/bridge/try", test_try);
    add("/host/datapath/bridge/vepa", test_vepa);
    add("/host/datapath/bridge/room", test_room);
    add("/host/datapath/macvtap/open-and-close", test_macvtap);
    add("/host/datapath/macvtap/disobeys", test_macvtap_disobeys);
    add("/host/datapath/macvtap/refused", test_macvtap_refused);
    add("/host/datapath/macvtap/vlan", test_macvtap_vlan);
    add("/host/datapath/switchdev/open-and-close", test_switchdev);
    add("/host/datapath/switchdev/without-vf", test_switchdev_without_vf);
    add("/host/datapath/switchdev/legacy", test_legacy);
    add("/host/datapath/switchdev/refused", test_switchdev_refused);
    add("/host/datapath/switchdev/vlan", test_switchdev_vlan);
    add("/host/datapath/switchdev/open-vswitch", test_open_vswitch);
    add("/host/datapath/switchdev/open-vswitch-again", test_open_vswitch_again);
    add("/host/datapath/switchdev/open-vswitch-refused", test_open_vswitch_refused);
    add("/host/datapath/switchdev/open-vswitch-legacy", test_open_vswitch_legacy);
    add("/host/datapath/switchdev/open-vswitch-disobeys", test_open_vswitch_disobeys);
    add("/host/datapath/configured", test_configured);
    add("/host/datapath/any-vlan", test_any_vlan);
    add("/host/datapath/driver", test_driver);
    g_test_add_func("/host/quirks", test_quirks);
    return g_test_run();
}
