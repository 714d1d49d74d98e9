/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/generic.h"

#include <errno.h>
#include <linux/genetlink.h>

static int on_family(struct nlmsghdr *message, gpointer data)
{
    static const struct nla_policy policy[CTRL_ATTR_MAX + 1] = {
        [CTRL_ATTR_FAMILY_ID] = {.type = NLA_U16},
    };
    struct nlattr *attributes[CTRL_ATTR_MAX + 1];
    guint16 *family = data;

    if (nlmsg_parse(message, GENL_HDRLEN, attributes, CTRL_ATTR_MAX, (struct nla_policy *)policy) <
            0 ||
        !attributes[CTRL_ATTR_FAMILY_ID])
        return -EBADMSG;
    *family = nla_get_u16(attributes[CTRL_ATTR_FAMILY_ID]);
    return 0;
}

int vfo_generic_family(VfoNetlink *generic, const char *name, guint16 *family)
{
    struct genlmsghdr header = {.cmd = CTRL_CMD_GETFAMILY, .version = 1};
    g_autoptr(VfoMessage) request = vfo_netlink_message(GENL_ID_CTRL, 0, &header, sizeof(header));
    int code;

    *family = 0;
    vfo_netlink_put_string(request, CTRL_ATTR_FAMILY_NAME, name);
    code = vfo_netlink_query(generic, request, on_family, family);
    return code == 0 && *family == 0 ? -ENOENT : code;
}
