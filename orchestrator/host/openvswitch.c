/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/openvswitch.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/openvswitch.h>
#include <string.h>

#include "host/announce.h"
#include "host/generic.h"

/*
 * From frames of a flow that the kernel knows, ovs-vswitchd learns when it next looks at the flow's
 * counters: every 500 ms (max-revalidator), in no order. The last repetition is to be alone there.
 */
#define REPEAT_MS 1000
#define REPEATS   3

struct _VfoLesson {
    VfoNetlink *generic;
    char *port;
    VfoMac mac;
    guint timer;
    guint left;
};

/* A port of a datapath, of which there is one for all bridges of Open vSwitch. */
typedef struct {
    int datapath;
    guint32 number;
} Port;

typedef struct {
    struct genlmsghdr generic;
    struct ovs_header ovs;
} Header;

G_STATIC_ASSERT(sizeof(Header) == GENL_HDRLEN + sizeof(struct ovs_header));

gboolean vfo_openvswitch_is(const VfoLink *bridge)
{
    return g_str_equal(bridge->kind, "openvswitch");
}

static int on_port(struct nlmsghdr *message, gpointer data)
{
    static const struct nla_policy policy[OVS_VPORT_ATTR_MAX + 1] = {
        [OVS_VPORT_ATTR_PORT_NO] = {.type = NLA_U32},
    };
    struct nlattr *attributes[OVS_VPORT_ATTR_MAX + 1];
    Port *port = data;

    if (nlmsg_parse(message, sizeof(Header), attributes, OVS_VPORT_ATTR_MAX,
                    (struct nla_policy *)policy) < 0 ||
        !attributes[OVS_VPORT_ATTR_PORT_NO])
        return -EBADMSG;
    port->datapath = ((const Header *)nlmsg_data(message))->ovs.dp_ifindex;
    port->number = nla_get_u32(attributes[OVS_VPORT_ATTR_PORT_NO]);
    return 0;
}

static int read_port(VfoNetlink *generic, const char *name, Port *port)
{
    Header header = {{.cmd = OVS_VPORT_CMD_GET, .version = OVS_VPORT_VERSION}, {0}};
    g_autoptr(VfoMessage) request = NULL;
    guint16 family;
    int code = vfo_generic_family(generic, OVS_VPORT_FAMILY, &family);

    memset(port, 0, sizeof(*port));
    if (code < 0)
        return code;
    request = vfo_netlink_message(family, 0, &header, sizeof(header));
    vfo_netlink_put_string(request, OVS_VPORT_ATTR_NAME, name);
    code = vfo_netlink_query(generic, request, on_port, port);
    return code == 0 && port->datapath == 0 ? -ENODEV : code;
}

/*
 * The one action has the kernel look the frame up in its table of flows, as it does with what a
 * port receives: from there it comes to ovs-vswitchd, which learns.
 */
static int receive(VfoNetlink *generic, const Port *port, const VfoMac *mac)
{
    Header header = {{.cmd = OVS_PACKET_CMD_EXECUTE, .version = OVS_PACKET_VERSION},
                     {.dp_ifindex = port->datapath}};
    const VfoTag untagged = {0};
    g_autoptr(VfoMessage) request = NULL;
    struct nlattr *nest;
    VfoFrame frame;
    guint16 family;
    int code = vfo_generic_family(generic, OVS_PACKET_FAMILY, &family);

    if (code < 0)
        return code;
    vfo_announce_build(&frame, mac, &untagged);
    request = vfo_netlink_message(family, 0, &header, sizeof(header));
    vfo_netlink_put(request, OVS_PACKET_ATTR_PACKET, frame.bytes, frame.length);
    nest = nla_nest_start(request, OVS_PACKET_ATTR_KEY);
    vfo_netlink_put_u32(request, OVS_KEY_ATTR_IN_PORT, port->number);
    nla_nest_end(request, nest);
    nest = nla_nest_start(request, OVS_PACKET_ATTR_ACTIONS);
    vfo_netlink_put_u32(request, OVS_ACTION_ATTR_RECIRC, 0);
    nla_nest_end(request, nest);
    return vfo_netlink_change(generic, request);
}

gboolean vfo_openvswitch_learn(VfoNetlink *generic, const char *port, const VfoMac *mac,
                               GError **error)
{
    char text[VFO_MAC_STRLEN];
    Port number;
    int code = read_port(generic, port, &number);

    if (code == 0)
        code = receive(generic, &number, mac);
    if (code == 0)
        return TRUE;
    return vfo_netlink_fail(generic, code, error,
                            "cannot have Open vSwitch learn that %s is at its port %s (is it one? "
                            "'ovs-vsctl add-port BRIDGE %s')",
                            vfo_mac_format(mac, text), port, port);
}

static gboolean on_repeat(gpointer data)
{
    VfoLesson *lesson = data;
    g_autoptr(GError) error = NULL;

    lesson->left--;
    if (!vfo_openvswitch_learn(lesson->generic, lesson->port, &lesson->mac, &error)) {
        g_message("%s", error->message);
        lesson->left = 0;
    }
    if (lesson->left > 0)
        return G_SOURCE_CONTINUE;
    lesson->timer = 0;
    return G_SOURCE_REMOVE;
}

VfoLesson *vfo_lesson_new(VfoNetlink *generic, const char *port, const VfoMac *mac)
{
    VfoLesson *lesson = g_new0(VfoLesson, 1);

    lesson->generic = generic;
    lesson->port = g_strdup(port);
    lesson->mac = *mac;
    lesson->left = REPEATS;
    lesson->timer = g_timeout_add(REPEAT_MS, on_repeat, lesson);
    return lesson;
}

void vfo_lesson_free(VfoLesson *lesson)
{
    g_clear_handle_id(&lesson->timer, g_source_remove);
    g_free(lesson->port);
    g_free(lesson);
}
