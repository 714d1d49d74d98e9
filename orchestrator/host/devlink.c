/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/devlink.h"

#include <errno.h>
#include <linux/devlink.h>
#include <linux/genetlink.h>
#include <string.h>

#include "host/generic.h"

/* More than any card has: 4096 VFs, and some. */
#define MAX_PORTS 8192

static VfoMessage *devlink_message(guint16 family, guint8 command, int flags,
                                   const VfoDevlinkPort *port)
{
    struct genlmsghdr header = {.cmd = command, .version = DEVLINK_GENL_VERSION};
    VfoMessage *request = vfo_netlink_message(family, flags, &header, sizeof(header));

    if (port) {
        vfo_netlink_put_string(request, DEVLINK_ATTR_BUS_NAME, port->bus);
        vfo_netlink_put_string(request, DEVLINK_ATTR_DEV_NAME, port->device);
        vfo_netlink_put_u32(request, DEVLINK_ATTR_PORT_INDEX, port->port);
    }
    return request;
}

/* --------------------------------------------------------------- finding */

typedef struct {
    VfoDevlinkPort port;
    int interface; /* 0: none */
    gboolean is_vf;
    gboolean external; /* of another machine that shares the card */
    guint32 vf;
    gboolean has_mac;
    VfoMac mac;
} Port;

static guint32 number_of(struct nlattr *attribute)
{
    return attribute ? nla_get_u32(attribute) : 0;
}

static int parse_port(struct nlmsghdr *message, Port *port)
{
    static const struct nla_policy policy[DEVLINK_ATTR_MAX + 1] = {
        [DEVLINK_ATTR_BUS_NAME] = {.type = NLA_STRING, .maxlen = sizeof(port->port.bus) - 1},
        [DEVLINK_ATTR_DEV_NAME] = {.type = NLA_STRING, .maxlen = sizeof(port->port.device) - 1},
        [DEVLINK_ATTR_PORT_INDEX] = {.type = NLA_U32},
        [DEVLINK_ATTR_PORT_NETDEV_IFINDEX] = {.type = NLA_U32},
        [DEVLINK_ATTR_PORT_FLAVOUR] = {.type = NLA_U16},
        [DEVLINK_ATTR_PORT_PCI_PF_NUMBER] = {.type = NLA_U16},
        [DEVLINK_ATTR_PORT_PCI_VF_NUMBER] = {.type = NLA_U16},
        [DEVLINK_ATTR_PORT_EXTERNAL] = {.type = NLA_U8},
        [DEVLINK_ATTR_PORT_FUNCTION] = {.type = NLA_NESTED},
    };
    struct nlattr *attributes[DEVLINK_ATTR_MAX + 1];
    struct nlattr *function[DEVLINK_PORT_FUNCTION_ATTR_MAX + 1];
    struct nlattr *mac;

    memset(port, 0, sizeof(*port));
    if (nlmsg_parse(message, GENL_HDRLEN, attributes, DEVLINK_ATTR_MAX,
                    (struct nla_policy *)policy) < 0 ||
        !attributes[DEVLINK_ATTR_BUS_NAME] || !attributes[DEVLINK_ATTR_DEV_NAME] ||
        !attributes[DEVLINK_ATTR_PORT_INDEX])
        return -EBADMSG;
    nla_strlcpy(port->port.bus, attributes[DEVLINK_ATTR_BUS_NAME], sizeof(port->port.bus));
    nla_strlcpy(port->port.device, attributes[DEVLINK_ATTR_DEV_NAME], sizeof(port->port.device));
    port->port.port = nla_get_u32(attributes[DEVLINK_ATTR_PORT_INDEX]);
    port->interface = (int)number_of(attributes[DEVLINK_ATTR_PORT_NETDEV_IFINDEX]);
    port->is_vf = attributes[DEVLINK_ATTR_PORT_FLAVOUR] &&
                  attributes[DEVLINK_ATTR_PORT_PCI_VF_NUMBER] &&
                  nla_get_u16(attributes[DEVLINK_ATTR_PORT_FLAVOUR]) == DEVLINK_PORT_FLAVOUR_PCI_VF;
    if (port->is_vf)
        port->vf = nla_get_u16(attributes[DEVLINK_ATTR_PORT_PCI_VF_NUMBER]);
    port->external = attributes[DEVLINK_ATTR_PORT_EXTERNAL] &&
                     nla_get_u8(attributes[DEVLINK_ATTR_PORT_EXTERNAL]) != 0;
    if (!attributes[DEVLINK_ATTR_PORT_FUNCTION])
        return 0;
    if (nla_parse_nested(function, DEVLINK_PORT_FUNCTION_ATTR_MAX,
                         attributes[DEVLINK_ATTR_PORT_FUNCTION], NULL) < 0)
        return -EBADMSG;
    mac = function[DEVLINK_PORT_FUNCTION_ATTR_HW_ADDR];
    port->has_mac = mac && nla_len(mac) == (int)sizeof(port->mac.octet);
    if (port->has_mac)
        memcpy(port->mac.octet, nla_data(mac), sizeof(port->mac.octet));
    return 0;
}

static int on_ports(struct nlmsghdr *message, gpointer data)
{
    GArray *ports = data;
    Port port;
    int code = parse_port(message, &port);

    if (code < 0)
        return code;
    if (ports->len == MAX_PORTS)
        return -EMSGSIZE;
    g_array_append_val(ports, port);
    return 0;
}

static gboolean is_same_card(const VfoDevlinkPort *a, const VfoDevlinkPort *b)
{
    return g_str_equal(a->bus, b->bus) && g_str_equal(a->device, b->device);
}

gboolean vfo_devlink_find(VfoNetlink *generic, const VfoLink *pf, guint index, VfoDevlinkPort *port,
                          gboolean *found, GError **error)
{
    g_autoptr(GArray) ports = g_array_new(FALSE, FALSE, sizeof(Port));
    g_autoptr(VfoMessage) request = NULL;
    const Port *own = NULL;
    guint16 family;
    int code = vfo_generic_family(generic, DEVLINK_GENL_NAME, &family);

    *found = FALSE;
    if (code == -ENOENT)
        return TRUE;
    if (code == 0) {
        /* All ports of all cards: before Linux 6.5 there is no smaller question, except for a
         * port whose number is known. */
        request = devlink_message(family, DEVLINK_CMD_PORT_GET, NLM_F_DUMP, NULL);
        code = vfo_netlink_query(generic, request, on_ports, ports);
    }
    if (code < 0)
        return vfo_netlink_fail(generic, code, error, "cannot read the devlink ports of PF %s",
                                pf->name);
    for (guint i = 0; i < ports->len && !own; i++)
        if (g_array_index(ports, Port, i).interface == pf->index)
            own = &g_array_index(ports, Port, i);
    for (guint i = 0; i < ports->len && own; i++) {
        const Port *candidate = &g_array_index(ports, Port, i);

        if (!candidate->is_vf || candidate->external || candidate->vf != index ||
            !is_same_card(&own->port, &candidate->port))
            continue;
        if (*found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                        "the card of PF %s has more than one VF number %u: which one is the PF's "
                        "cannot be told; see 'devlink port show'",
                        pf->name, index);
            return FALSE;
        }
        *port = candidate->port;
        *found = TRUE;
    }
    return TRUE;
}

/* -------------------------------------------------------------- changing */

static int on_port(struct nlmsghdr *message, gpointer data)
{
    return parse_port(message, data);
}

gboolean vfo_devlink_set_mac(VfoNetlink *generic, const VfoDevlinkPort *port, const VfoMac *mac,
                             GError **error)
{
    g_autoptr(VfoMessage) set = NULL;
    g_autoptr(VfoMessage) get = NULL;
    char text[VFO_MAC_STRLEN];
    struct nlattr *function;
    Port now = {0};
    guint16 family;
    int code = vfo_generic_family(generic, DEVLINK_GENL_NAME, &family);

    vfo_mac_format(mac, text);
    if (code == 0) {
        set = devlink_message(family, DEVLINK_CMD_PORT_SET, 0, port);
        /* Marked as nested, without which the kernel refuses it. */
        function = nla_nest_start(set, DEVLINK_ATTR_PORT_FUNCTION | NLA_F_NESTED);
        vfo_netlink_put(set, DEVLINK_PORT_FUNCTION_ATTR_HW_ADDR, mac->octet, sizeof(mac->octet));
        nla_nest_end(set, function);
        code = vfo_netlink_change(generic, set);
    }
    if (code == 0) {
        get = devlink_message(family, DEVLINK_CMD_PORT_GET, 0, port);
        code = vfo_netlink_query(generic, get, on_port, &now);
    }
    if (code < 0)
        return vfo_netlink_fail(generic, code, error,
                                "cannot give the function of devlink port %s/%s/%u the address %s "
                                "(see whether it can: 'devlink port function set %s/%s/%u hw_addr "
                                "...')",
                                port->bus, port->device, port->port, text, port->bus, port->device,
                                port->port);
    if (!now.has_mac || !vfo_mac_equal(&now.mac, mac)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "the function of devlink port %s/%s/%u has not got the address %s: its driver "
                    "took the request but shows something else; see 'devlink port show %s/%s/%u'",
                    port->bus, port->device, port->port, text, port->bus, port->device, port->port);
        return FALSE;
    }
    return TRUE;
}
