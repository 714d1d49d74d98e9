/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/vf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* More than any card has; PCI Express could number 65535. */
#define MAX_VFS 4096

/* ------------------------------------------------------------- reading */

typedef struct {
    GArray *states;
    VfoLink *link;
} States;

/* FALSE: the attribute is missing or too short. */
static gboolean copy_attribute(struct nlattr *attribute, void *value, gsize length)
{
    if (!attribute || nla_len(attribute) < (int)length)
        return FALSE;
    memcpy(value, nla_data(attribute), length);
    return TRUE;
}

static guint64 packets_of(struct nlattr *attribute)
{
    struct nlattr *stats[IFLA_VF_STATS_MAX + 1];
    guint64 received = 0;
    guint64 sent = 0;

    if (!attribute || nla_parse_nested(stats, IFLA_VF_STATS_MAX, attribute, NULL) < 0)
        return 0;
    copy_attribute(stats[IFLA_VF_STATS_RX_PACKETS], &received, sizeof(received));
    copy_attribute(stats[IFLA_VF_STATS_TX_PACKETS], &sent, sizeof(sent));
    return received + sent;
}

/* The kernel gives one tag in the list, though there is room for two (rtnl_fill_vfinfo()). */
static gboolean has_outer_vlan(struct nlattr *list)
{
    struct ifla_vf_vlan_info info;
    struct nlattr *tag;
    int remaining;

    if (!list)
        return FALSE;
    nla_for_each_nested(tag, list, remaining)
    {
        if (nla_type(tag) == IFLA_VF_VLAN_INFO && copy_attribute(tag, &info, sizeof(info)) &&
            info.vlan != 0 && info.vlan_proto == htons(ETH_P_8021AD))
            return TRUE;
    }
    return FALSE;
}

static int parse_vf(struct nlattr *info, VfoVfState *state)
{
    struct nlattr *attributes[IFLA_VF_MAX + 1];
    struct ifla_vf_mac mac;
    struct ifla_vf_vlan vlan;
    struct ifla_vf_spoofchk spoofchk;
    struct ifla_vf_trust trust;
    struct ifla_vf_rate rate;
    struct ifla_vf_link_state link;

    memset(state, 0, sizeof(*state));
    if (nla_parse_nested(attributes, IFLA_VF_MAX, info, NULL) < 0 ||
        !copy_attribute(attributes[IFLA_VF_MAC], &mac, sizeof(mac)))
        return -EBADMSG;
    state->index = mac.vf;
    memcpy(state->settings.mac.octet, mac.mac, sizeof(state->settings.mac.octet));
    if (copy_attribute(attributes[IFLA_VF_VLAN], &vlan, sizeof(vlan))) {
        state->settings.vlan = (guint16)vlan.vlan;
        state->settings.qos = (guint8)vlan.qos;
    }
    state->settings.vlan_outer = has_outer_vlan(attributes[IFLA_VF_VLAN_LIST]);
    /* All ones: the driver does not say (rtnl_fill_vfinfo() in net/core/rtnetlink.c). */
    if (copy_attribute(attributes[IFLA_VF_SPOOFCHK], &spoofchk, sizeof(spoofchk)))
        state->settings.spoofchk = spoofchk.setting == 1;
    if (copy_attribute(attributes[IFLA_VF_TRUST], &trust, sizeof(trust)))
        state->settings.trust = trust.setting == 1;
    if (copy_attribute(attributes[IFLA_VF_RATE], &rate, sizeof(rate))) {
        state->settings.min_tx_rate = rate.min_tx_rate;
        state->settings.max_tx_rate = rate.max_tx_rate;
    }
    if (copy_attribute(attributes[IFLA_VF_LINK_STATE], &link, sizeof(link))) {
        if (link.link_state == IFLA_VF_LINK_STATE_ENABLE)
            state->settings.link = VFO_LINK_ENABLE;
        else if (link.link_state == IFLA_VF_LINK_STATE_DISABLE)
            state->settings.link = VFO_LINK_DISABLE;
    }
    state->packets = packets_of(attributes[IFLA_VF_STATS]);
    return 0;
}

/*
 * All VFs are one attribute, whose length is a number of 16 bits. The kernel puts in what does not
 * fit there as well, and lets the length wrap (nla_nest_end() in include/net/netlink.h): from the
 * 335th VF on it says nothing of where the list ends. So the list is read as far as there are VFs
 * in it, which each have a length that is right; what can follow them in the message is of another
 * type.
 */
static int on_states(struct nlmsghdr *message, gpointer data)
{
    States *states = data;
    struct nlattr *list;
    struct nlattr *info;
    int remaining;
    int code;

    if (message->nlmsg_type != RTM_NEWLINK)
        return 0;
    code = vfo_link_parse(message, states->link);
    if (code < 0)
        return code;
    list = nlmsg_find_attr(message, sizeof(struct ifinfomsg), IFLA_VFINFO_LIST);
    if (!list)
        return 0;
    info = nla_data(list);
    remaining = (int)((char *)nlmsg_tail(message) - (char *)info);
    for (; nla_ok(info, remaining) && nla_type(info) == IFLA_VF_INFO;
         info = nla_next(info, &remaining)) {
        VfoVfState state;

        code = parse_vf(info, &state);
        if (code < 0)
            return code;
        if (states->states->len == MAX_VFS)
            return -EMSGSIZE;
        g_array_append_val(states->states, state);
    }
    return 0;
}

GArray *vfo_vf_states(VfoNetlink *netlink, const char *pf, gboolean counters, VfoLink *link,
                      GError **error)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    g_autoptr(VfoMessage) request = vfo_netlink_message(RTM_GETLINK, 0, &header, sizeof(header));
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VfoVfState));
    States states = {.states = found, .link = link};
    int code;

    memset(link, 0, sizeof(*link));
    if (!vfo_link_is_name(pf)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "'%.32s' is no name of an interface", pf);
        return NULL;
    }
    vfo_netlink_put_string(request, IFLA_IFNAME, pf);
    /* Without the counters a large PF's message is a third of its size. */
    vfo_netlink_put_u32(request, IFLA_EXT_MASK,
                        counters ? RTEXT_FILTER_VF : RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
    code = vfo_netlink_query(netlink, request, on_states, &states);
    if (code == 0)
        return g_steal_pointer(&found);
    if (code == -ENODEV)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "there is no PF %s on this host; see 'ip link' and the configuration", pf);
    else if (code == -EMSGSIZE)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "cannot read the VFs of PF %s: it has more than fit a netlink message of this "
                    "kernel, or more than %d; lower its sriov_numvfs",
                    pf, MAX_VFS);
    else
        vfo_netlink_fail(netlink, code, error, "cannot read the VFs of PF %s", pf);
    return NULL;
}

const VfoVfState *vfo_vf_find(const GArray *states, guint index)
{
    for (guint i = 0; i < states->len; i++) {
        const VfoVfState *state = &g_array_index(states, VfoVfState, i);

        if (state->index == index)
            return state;
    }
    return NULL;
}

GArray *vfo_vf_read(VfoNetlink *netlink, const char *pf, guint index, gboolean counters,
                    VfoLink *link, const VfoVfState **state, GError **error)
{
    g_autoptr(GArray) states = vfo_vf_states(netlink, pf, counters, link, error);

    if (!states)
        return NULL;
    *state = vfo_vf_find(states, index);
    if (*state)
        return g_steal_pointer(&states);
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "the driver of PF %s reports no VF number %u; see 'ip link show %s'", pf, index,
                pf);
    return NULL;
}

/* ------------------------------------------------------------ changing */

static gboolean mac_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return !vfo_mac_equal(&a->mac, &b->mac);
}

static void put_mac(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    struct ifla_vf_mac value = {.vf = index};

    memcpy(value.mac, want->mac.octet, sizeof(want->mac.octet));
    vfo_netlink_put(request, IFLA_VF_MAC, &value, sizeof(value));
}

static gboolean vlan_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return a->vlan != b->vlan || a->qos != b->qos || !a->vlan_outer != !b->vlan_outer;
}

static void put_vlan(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    struct ifla_vf_vlan value = {.vf = index, .vlan = want->vlan, .qos = want->qos};
    struct ifla_vf_vlan_info outer = {
        .vf = index, .vlan = want->vlan, .qos = want->qos, .vlan_proto = htons(ETH_P_8021AD)};
    struct nlattr *list;

    if (!want->vlan_outer) {
        vfo_netlink_put(request, IFLA_VF_VLAN, &value, sizeof(value));
        return;
    }
    list = nla_nest_start(request, IFLA_VF_VLAN_LIST);
    vfo_netlink_put(request, IFLA_VF_VLAN_INFO, &outer, sizeof(outer));
    nla_nest_end(request, list);
}

static gboolean spoofchk_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return !a->spoofchk != !b->spoofchk;
}

static void put_spoofchk(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    struct ifla_vf_spoofchk value = {.vf = index, .setting = want->spoofchk ? 1 : 0};

    vfo_netlink_put(request, IFLA_VF_SPOOFCHK, &value, sizeof(value));
}

static gboolean trust_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return !a->trust != !b->trust;
}

static void put_trust(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    struct ifla_vf_trust value = {.vf = index, .setting = want->trust ? 1 : 0};

    vfo_netlink_put(request, IFLA_VF_TRUST, &value, sizeof(value));
}

static gboolean rate_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return a->min_tx_rate != b->min_tx_rate || a->max_tx_rate != b->max_tx_rate;
}

static void put_rate(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    struct ifla_vf_rate value = {
        .vf = index, .min_tx_rate = want->min_tx_rate, .max_tx_rate = want->max_tx_rate};

    vfo_netlink_put(request, IFLA_VF_RATE, &value, sizeof(value));
}

static gboolean link_differs(const VfoVfSettings *a, const VfoVfSettings *b)
{
    return a->link != b->link;
}

static void put_link(VfoMessage *request, guint index, const VfoVfSettings *want)
{
    static const guint32 states[] = {
        [VFO_LINK_AUTO] = IFLA_VF_LINK_STATE_AUTO,
        [VFO_LINK_ENABLE] = IFLA_VF_LINK_STATE_ENABLE,
        [VFO_LINK_DISABLE] = IFLA_VF_LINK_STATE_DISABLE,
    };
    struct ifla_vf_link_state value = {.vf = index, .link_state = states[want->link]};

    vfo_netlink_put(request, IFLA_VF_LINK_STATE, &value, sizeof(value));
}

typedef struct {
    const char *name;
    gboolean (*differs)(const VfoVfSettings *a, const VfoVfSettings *b);
    void (*put)(VfoMessage *request, guint index, const VfoVfSettings *want);
} Attribute;

static const Attribute mac_attribute = {"MAC address", mac_differs, put_mac};

static const Attribute attributes[] = {
    {"VLAN", vlan_differs, put_vlan},       {"spoof check", spoofchk_differs, put_spoofchk},
    {"trust", trust_differs, put_trust},    {"transmit rate", rate_differs, put_rate},
    {"link state", link_differs, put_link},
};

typedef struct {
    VfoNetlink *netlink;
    VfoNetlink *generic;
    const VfoDevlinkPort *port;
    const char *driver;
    const VfoLink *pf;
    guint index;
    const VfoVfSettings *want;
    const VfoVfSettings *have; /* before the change */
} Change;

/* @done is FALSE where the address has to be set as in legacy mode. */
static gboolean apply_to_function(const Change *change, gboolean *done, GError **error)
{
    g_autoptr(GError) failure = NULL;

    *done = change->port &&
            vfo_devlink_set_mac(change->generic, change->port, &change->want->mac, &failure);
    if (!failure || g_error_matches(failure, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

static gboolean apply_attribute(const Change *change, const Attribute *attribute, GError **error)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = change->pf->index};
    g_autoptr(VfoMessage) request = NULL;
    struct nlattr *list;
    struct nlattr *info;
    gboolean done = FALSE;
    int code;

    if (!attribute->differs(change->want, change->have))
        return TRUE;
    if (attribute == &mac_attribute && !apply_to_function(change, &done, error))
        return FALSE;
    if (done)
        return TRUE;
    request = vfo_netlink_message(RTM_SETLINK, 0, &header, sizeof(header));
    list = nla_nest_start(request, IFLA_VFINFO_LIST);
    info = nla_nest_start(request, IFLA_VF_INFO);
    attribute->put(request, change->index, change->want);
    nla_nest_end(request, info);
    nla_nest_end(request, list);
    code = vfo_netlink_change(change->netlink, request);
    if (code == 0)
        return TRUE;
    return vfo_netlink_fail(
        change->netlink, code, error,
        "cannot set the %s of VF %u of PF %s, driver %s (see whether it can: 'ip link set %s vf %u "
        "...')",
        attribute->name, change->index, change->pf->name, change->driver, change->pf->name,
        change->index);
}

static gboolean check_attribute(const Change *change, const Attribute *attribute,
                                const VfoVfSettings *now, GError **error)
{
    if (!attribute->differs(change->want, now))
        return TRUE;
    /* A driver that does not report the link state shows "auto" for ever. It has
     * acknowledged the request: there is no more to know. */
    if (attribute->differs == link_differs && now->link == VFO_LINK_AUTO &&
        change->have->link == VFO_LINK_AUTO)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "the %s of VF %u of PF %s is not what was set: its driver %s took the request but "
                "shows something else; see 'ip link show %s'",
                attribute->name, change->index, change->pf->name, change->driver, change->pf->name);
    return FALSE;
}

static gboolean apply_all(const Change *change, gboolean mac_first, GError **error)
{
    if (mac_first && !apply_attribute(change, &mac_attribute, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (!apply_attribute(change, &attributes[i], error))
            return FALSE;
    return mac_first || apply_attribute(change, &mac_attribute, error);
}

static gboolean check_all(const Change *change, const VfoVfSettings *now, GError **error)
{
    if (!check_attribute(change, &mac_attribute, now, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (!check_attribute(change, &attributes[i], now, error))
            return FALSE;
    return TRUE;
}

/* Something was left alone because it was right already, and is wrong. */
static gboolean was_mistaken(const Change *change, const VfoVfSettings *now)
{
    gboolean mistaken = !mac_differs(change->want, change->have) && mac_differs(change->want, now);

    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        mistaken = mistaken || (!attributes[i].differs(change->want, change->have) &&
                                attributes[i].differs(change->want, now));
    return mistaken;
}

/* Sends what differs, and reads all VFs back: @now is the one. */
static GArray *attempt(const Change *change, gboolean mac_first, const VfoVfState **now,
                       GError **error)
{
    VfoLink ignored;

    if (!apply_all(change, mac_first, error))
        return NULL;
    return vfo_vf_read(change->netlink, change->pf->name, change->index, FALSE, &ignored, now,
                       error);
}

GArray *vfo_vf_apply(VfoNetlink *netlink, const VfoVfChange *wanted, GError **error)
{
    Change change = {.netlink = netlink,
                     .generic = wanted->generic,
                     .port = wanted->port,
                     .driver = wanted->driver ? wanted->driver : "(none)",
                     .pf = wanted->pf,
                     .index = wanted->index,
                     .want = wanted->want,
                     .have = wanted->known};
    g_autoptr(GArray) before = NULL;
    g_autoptr(GArray) after = NULL;
    const VfoVfState *now;
    VfoLink ignored;

    if (wanted->known) {
        before = attempt(&change, wanted->mac_first, &now, error);
        if (before && !was_mistaken(&change, &now->settings))
            return check_all(&change, &now->settings, error) ? g_steal_pointer(&before) : NULL;
    } else {
        before =
            vfo_vf_read(netlink, wanted->pf->name, wanted->index, FALSE, &ignored, &now, error);
    }
    if (!before)
        return NULL;
    change.have = &now->settings;
    after = attempt(&change, wanted->mac_first, &now, error);
    return after && check_all(&change, &now->settings, error) ? g_steal_pointer(&after) : NULL;
}
