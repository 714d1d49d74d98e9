/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The functions behind a card's ports, against a devlink that this machine lacks.
 */
#include <errno.h>
#include <linux/devlink.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <string.h>

#include "host/devlink.h"
#include "host/vf.h"

#define FAMILY 21
#define PF     7

static const VfoMac guest = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};

/* ------------------------------------------------------------ the kernel */

typedef struct {
    const char *device;
    guint32 number;
    int interface;
    int vf; /* -1: a port to the network */
    gboolean external;
    gboolean no_function;
    VfoMac mac;
} FakePort;

typedef struct {
    FakePort ports[6];
    gboolean no_devlink;
    int refuse;      /* with this, a new address */
    gboolean ignore; /* takes it, but nothing happens */
    gboolean spoil;
    guint changes;        /* of addresses here */
    guint legacy_changes; /* ... and as in legacy mode */
    VfoMac legacy_mac;
} Card;

static int answer_family(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer data)
{
    struct genlmsghdr header = {.cmd = CTRL_CMD_NEWFAMILY};
    struct nlattr *name = nlmsg_find_attr(request, GENL_HDRLEN, CTRL_ATTR_FAMILY_NAME);
    g_autoptr(VfoMessage) message = nlmsg_alloc_simple(GENL_ID_CTRL, 0);

    g_assert_cmpstr(nla_get_string(name), ==, "devlink");
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_u16(message, CTRL_ATTR_FAMILY_ID, FAMILY);
    return answer(nlmsg_hdr(message), data);
}

static int show_port(const Card *card, const FakePort *port, VfoNetlinkAnswer answer, gpointer data)
{
    struct genlmsghdr header = {.cmd = DEVLINK_CMD_PORT_NEW};
    g_autoptr(VfoMessage) message = nlmsg_alloc_simple(FAMILY, 0);
    struct nlattr *function;

    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message, DEVLINK_ATTR_BUS_NAME, "pci");
    if (!card->spoil)
        nla_put_string(message, DEVLINK_ATTR_DEV_NAME, port->device);
    nla_put_u32(message, DEVLINK_ATTR_PORT_INDEX, port->number);
    if (port->interface)
        nla_put_u32(message, DEVLINK_ATTR_PORT_NETDEV_IFINDEX, (guint32)port->interface);
    nla_put_u16(message, DEVLINK_ATTR_PORT_FLAVOUR,
                port->vf < 0 ? DEVLINK_PORT_FLAVOUR_PHYSICAL : DEVLINK_PORT_FLAVOUR_PCI_VF);
    if (port->vf >= 0) {
        nla_put_u16(message, DEVLINK_ATTR_PORT_PCI_PF_NUMBER, 0);
        nla_put_u16(message, DEVLINK_ATTR_PORT_PCI_VF_NUMBER, (guint16)port->vf);
        nla_put_u8(message, DEVLINK_ATTR_PORT_EXTERNAL, port->external ? 1 : 0);
        if (!port->no_function) {
            function = nla_nest_start(message, DEVLINK_ATTR_PORT_FUNCTION);
            nla_put(message, DEVLINK_PORT_FUNCTION_ATTR_HW_ADDR, sizeof(port->mac), &port->mac);
            nla_nest_end(message, function);
        }
    }
    return answer(nlmsg_hdr(message), data);
}

static FakePort *port_of(Card *card, struct nlmsghdr *request)
{
    struct nlattr *attributes[DEVLINK_ATTR_MAX + 1];

    g_assert_cmpint(nlmsg_parse(request, GENL_HDRLEN, attributes, DEVLINK_ATTR_MAX, NULL), ==, 0);
    g_assert_cmpstr(nla_get_string(attributes[DEVLINK_ATTR_BUS_NAME]), ==, "pci");
    for (guint i = 0; i < G_N_ELEMENTS(card->ports); i++)
        if (g_strcmp0(card->ports[i].device, nla_get_string(attributes[DEVLINK_ATTR_DEV_NAME])) ==
                0 &&
            card->ports[i].number == nla_get_u32(attributes[DEVLINK_ATTR_PORT_INDEX]))
            return &card->ports[i];
    return NULL;
}

static int change_port(Card *card, struct nlmsghdr *request)
{
    struct nlattr *function = nlmsg_find_attr(request, GENL_HDRLEN, DEVLINK_ATTR_PORT_FUNCTION);
    struct nlattr *mac = nla_data(function);
    FakePort *port = port_of(card, request);

    g_assert_true(function->nla_type & NLA_F_NESTED);
    g_assert_cmpint(nla_type(mac), ==, DEVLINK_PORT_FUNCTION_ATTR_HW_ADDR);
    g_assert_cmpint(nla_len(mac), ==, sizeof(port->mac));
    if (!port)
        return -ENODEV;
    if (card->refuse)
        return card->refuse;
    card->changes++;
    if (!card->ignore)
        memcpy(&port->mac, nla_data(mac), sizeof(port->mac));
    return 0;
}

static int generic(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                   gpointer data)
{
    const struct genlmsghdr *header = nlmsg_data(request);
    Card *card = data;
    const FakePort *port;
    int code = 0;

    if (request->nlmsg_type == GENL_ID_CTRL)
        return card->no_devlink ? -ENOENT : answer_family(request, answer, answer_data);
    g_assert_cmpint(request->nlmsg_type, ==, FAMILY);
    if (header->cmd == DEVLINK_CMD_PORT_SET)
        return change_port(card, request);
    g_assert_cmpint(header->cmd, ==, DEVLINK_CMD_PORT_GET);
    if (!(request->nlmsg_flags & NLM_F_DUMP)) {
        port = port_of(card, request);
        return port ? show_port(card, port, answer, answer_data) : -ENODEV;
    }
    for (guint i = 0; code == 0 && i < G_N_ELEMENTS(card->ports) && card->ports[i].device; i++)
        code = show_port(card, &card->ports[i], answer, answer_data);
    return code;
}

/* The PF, whose driver shows one address in both places. */
static int route(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                 gpointer data)
{
    Card *card = data;
    struct ifinfomsg header = {.ifi_index = PF};
    g_autoptr(VfoMessage) message = NULL;
    struct ifla_vf_mac mac = {.vf = 2};
    struct nlattr *list;
    struct nlattr *info;

    if (request->nlmsg_type == RTM_SETLINK) {
        card->legacy_changes++;
        card->legacy_mac = guest;
        return 0;
    }
    g_assert_cmpint(request->nlmsg_type, ==, RTM_GETLINK);
    memcpy(mac.mac, card->changes ? &card->ports[2].mac : &card->legacy_mac, sizeof(VfoMac));
    message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, "pf0");
    list = nla_nest_start(message, IFLA_VFINFO_LIST);
    info = nla_nest_start(message, IFLA_VF_INFO);
    nla_put(message, IFLA_VF_MAC, sizeof(mac), &mac);
    nla_nest_end(message, info);
    nla_nest_end(message, list);
    return answer(nlmsg_hdr(message), answer_data);
}

/* --------------------------------------------------------------- fixture */

typedef struct {
    Card card;
    VfoNetlink *generic;
    VfoNetlink *route;
    VfoLink pf;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    static const FakePort ports[] = {
        {"0000:01:00.0", 0, PF, -1, FALSE, FALSE, {{0}}},
        {"0000:01:00.0", 1, 10, 1, FALSE, FALSE, {{0}}},
        {"0000:01:00.0", 2, 11, 2, FALSE, FALSE, {{0}}},
        {"0000:01:00.0", 3, 12, 2, TRUE, FALSE, {{0}}},
        {"0000:02:00.0", 2, 13, 2, FALSE, FALSE, {{0}}},
    };

    memcpy(f->card.ports, ports, sizeof(ports));
    f->generic = vfo_netlink_new_stand_in(generic, &f->card);
    f->route = vfo_netlink_new_stand_in(route, &f->card);
    f->pf = (VfoLink){.index = PF, .name = "pf0"};
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_netlink_free(f->generic);
    vfo_netlink_free(f->route);
}

static gboolean find(Fixture *f, guint index, VfoDevlinkPort *port)
{
    g_autoptr(GError) error = NULL;
    gboolean found;

    g_assert_true(vfo_devlink_find(f->generic, &f->pf, index, port, &found, &error));
    g_assert_no_error(error);
    return found;
}

static void test_find(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    VfoDevlinkPort port;
    gboolean found;

    g_assert_true(find(f, 2, &port));
    g_assert_cmpstr(port.bus, ==, "pci");
    g_assert_cmpstr(port.device, ==, "0000:01:00.0");
    g_assert_cmpuint(port.port, ==, 2);
    g_assert_false(find(f, 3, &port));
    f->pf.index = 99;
    g_assert_false(find(f, 2, &port));
    f->pf.index = PF;
    f->card.no_devlink = TRUE;
    g_assert_false(find(f, 2, &port));
    f->card.no_devlink = FALSE;

    f->card.ports[3].external = FALSE;
    g_assert_false(vfo_devlink_find(f->generic, &f->pf, 2, &port, &found, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_clear_error(&error);
    f->card.spoil = TRUE;
    g_assert_false(vfo_devlink_find(f->generic, &f->pf, 2, &port, &found, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "devlink ports of PF pf0"));
}

static void assert_not_set(Fixture *f, const VfoDevlinkPort *port, VfoError code, const char *words)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vfo_devlink_set_mac(f->generic, port, &guest, &error));
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
}

static void test_set_mac(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    VfoDevlinkPort port;

    g_assert_true(find(f, 2, &port));
    g_assert_true(vfo_devlink_set_mac(f->generic, &port, &guest, &error));
    g_assert_no_error(error);
    g_assert_true(vfo_mac_equal(&f->card.ports[2].mac, &guest));
    g_assert_false(vfo_mac_equal(&f->card.ports[4].mac, &guest));

    memset(&f->card.ports[2].mac, 0, sizeof(VfoMac));
    f->card.ignore = TRUE;
    assert_not_set(f, &port, VFO_ERROR_MISMATCH, "shows something else");
    f->card.ports[2].no_function = TRUE;
    assert_not_set(f, &port, VFO_ERROR_MISMATCH, "pci/0000:01:00.0/2");
    f->card.refuse = -EOPNOTSUPP;
    assert_not_set(f, &port, VFO_ERROR_NOT_SUPPORTED, "52:54:00:aa:00:10");
    f->card.refuse = -EBUSY;
    assert_not_set(f, &port, VFO_ERROR_BUSY, "'devlink port function set pci/0000:01:00.0/2");
    port.port = 5;
    assert_not_set(f, &port, VFO_ERROR_NOT_FOUND, "pci/0000:01:00.0/5");
}

/* A VF gets its address through its port, or as in legacy mode where the driver cannot do that. */
static void test_apply(Fixture *f, gconstpointer data)
{
    const VfoVfSettings want = {.mac = guest};
    g_autoptr(GError) error = NULL;
    VfoDevlinkPort port;
    VfoVfChange change = {
        .pf = &f->pf, .index = 2, .want = &want, .generic = f->generic, .port = &port};

    g_assert_true(find(f, 2, &port));
    f->card.refuse = -EBUSY;
    g_assert_null(vfo_vf_apply(f->route, &change, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_clear_error(&error);
    g_assert_cmpuint(f->card.legacy_changes, ==, 0);

    f->card.refuse = 0;
    g_array_unref(vfo_vf_apply(f->route, &change, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(f->card.changes, ==, 1);
    g_assert_cmpuint(f->card.legacy_changes, ==, 0);

    f->card.changes = 0;
    f->card.refuse = -EOPNOTSUPP;
    g_array_unref(vfo_vf_apply(f->route, &change, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(f->card.legacy_changes, ==, 1);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/host/devlink/find", test_find);
    add("/host/devlink/set-mac", test_set_mac);
    add("/host/devlink/apply", test_apply);
    return g_test_run();
}
