/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network interface. Private to host/.
 */
#pragma once

#include <linux/if_link.h>
#include <net/if.h>

#include "host/netlink.h"

typedef struct {
    int index;
    char name[IF_NAMESIZE];
    gboolean up;
    gboolean carrier;
    guint mtu;
    int master; /* index of the bridge (or bond) it is in; 0: none */
    int lower;  /* index of what it is on, in this network namespace; 0: nothing */
    VfoMac mac;
    char kind[16];          /* "bridge", "vlan", "macvtap"; empty: not software's */
    gboolean filters_vlans; /* of a bridge */
    guint16 vlan;           /* of a VLAN interface */
    guint16 vlan_protocol;  /* of either: ETH_P_8021Q or ETH_P_8021AD */
    guint32 macvlan_mode;   /* MACVLAN_MODE_* of a macvtap */
    guint8 switch_id[32]; /* of the switch in the card that it is a port of, filled up with zeros */
    gsize switch_id_length; /* 0: of none */
    char port_name[16];     /* its name there: "p0", "pf0vf3" */
} VfoLink;

/** vfo_link_is_name: @name can be an interface's, and a file's in /sys/class/net. */
gboolean vfo_link_is_name(const char *name);

/** vfo_link_read: the interface called @name. VFO_ERROR_NOT_FOUND when there is none. */
gboolean vfo_link_read(VfoNetlink *netlink, const char *name, VfoLink *link, GError **error);

/** vfo_link_read_index: the interface with number @index, likewise. */
gboolean vfo_link_read_index(VfoNetlink *netlink, int index, VfoLink *link, GError **error);

/** vfo_link_read_if_there: as vfo_link_read(), but one that has gone, with all its entries, is
 *  success: @link is all zero then. */
gboolean vfo_link_read_if_there(VfoNetlink *netlink, const char *name, VfoLink *link,
                                GError **error);

/** vfo_link_set_up: brings @link up or takes it down, and reads it back. Already so is success. */
gboolean vfo_link_set_up(VfoNetlink *netlink, const VfoLink *link, gboolean up, GError **error);

/** vfo_link_count: what the kernel has counted of @link's frames; what it does not know is 0. */
gboolean vfo_link_count(VfoNetlink *netlink, const VfoLink *link,
                        struct rtnl_link_stats64 *counters, GError **error);

/** vfo_link_find_kind: the interfaces of @kind, of VfoLink, 4096 at most; those that are ports of
 *  @master, if it is not NULL. Free with g_array_unref(). */
GArray *vfo_link_find_kind(VfoNetlink *netlink, const char *kind, const VfoLink *master,
                           GError **error);

/** vfo_link_find_vlans: the VLAN interfaces on @lower that are ports of @master, likewise. */
GArray *vfo_link_find_vlans(VfoNetlink *netlink, const VfoLink *lower, const VfoLink *master,
                            GError **error);

/**
 * vfo_link_find_representor: the port, in the switch of @pf's card, behind which VF number @index
 * is; with G_MAXUINT, any VF. @representor's index is 0 when there is none, as in a card that is
 * not in switchdev mode.
 */
gboolean vfo_link_find_representor(VfoNetlink *netlink, const VfoLink *pf, guint index,
                                   VfoLink *representor, GError **error);

/** vfo_link_is_vepa: whether the switch in @pf's card sends all that its functions send out to the
 *  network (@vepa), instead of delivering it among them (VEB). A driver that does not tell the mode
 *  delivers, as igb does (igb_vmdq_set_loopback_pf()). */
gboolean vfo_link_is_vepa(VfoNetlink *netlink, const VfoLink *pf, gboolean *vepa, GError **error);

/** vfo_link_parse: the interface that an RTM_NEWLINK message describes. 0 or -EBADMSG. */
int vfo_link_parse(struct nlmsghdr *message, VfoLink *link);
