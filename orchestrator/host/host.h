/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of host/: this host's PFs, VFs, bridges and taps, through sysfs and
 * netlink. The rest is reached through VfoHostOps (core/core.h).
 */
#pragma once

#include "core/core.h"

/** VfoNetwork: a [network NAME] group of the configuration. */
typedef struct {
    char *name;
    char **pfs;     /* interfaces, NULL-terminated, at least one */
    char *bridge;   /* NULL: no datapath of this network has one */
    char *datapath; /* NULL: whichever the standby is wired with */
} VfoNetwork;

void vfo_network_free(VfoNetwork *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoNetwork, vfo_network_free)

/** What a driver may be unable to set for a VF. */
typedef enum {
    VFO_QUIRK_LINK_STATE = 1 << 0,
    VFO_QUIRK_MIN_RATE = 1 << 1,
    VFO_QUIRK_OUTER_VLAN = 1 << 2,
} VfoQuirkSet;

/** VfoQuirks: what a PF's driver does otherwise: a row of the table in quirks.c, or a [driver NAME]
 *  group of the configuration. */
typedef struct {
    char *driver;
    guint cannot_set;        /* VFO_QUIRK_* */
    gboolean no_vf_counters; /* the PF does not count what its VFs receive */
    gboolean shows_rings;    /* the registers of the PF show how far a VF's guest is (ring.h) */
    int receive_vector;      /* the interrupt vector by which a VF receives; -1: not known */
    int ready_vector;        /* the first that a guest's driver asks for when its VF receives
                                already; -1: not known */
    guint16 quarantine; /* the VLAN in which a VF that a guest is about to get hears nobody, until
                           that driver asks; 0: it need not be kept from hearing */
    gboolean mac_resets_vf;  /* a VF that gets an address is reset: a guest that has it loses its
                                link for a moment */
    gboolean vlan_resets_vf; /* the same with a VLAN; there is no quarantine then */
    guint filter_entries;    /* addresses for which the PF's filter has room, where the driver does
                                not say that it is full but drops the rest; 0: not so, or not known */
} VfoQuirks;

void vfo_quirks_free(VfoQuirks *quirks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoQuirks, vfo_quirks_free)

/** vfo_quirks_of: those of PF driver @driver: of @configured (of VfoQuirks; may be NULL), else of
 *  the table, else none. Never NULL; borrowed. */
const VfoQuirks *vfo_quirks_of(const GPtrArray *configured, const char *driver);

/**
 * vfo_host_new: the host with @networks (of VfoNetwork; reference taken). Opens
 * its netlink sockets; asks nothing yet. @leases tells generations (not owned).
 * @sysfs is "/sys", or a test's own tree; the vfio groups are looked for in dev/vfio beside
 * it. The host must outlive the tasks given to its ops.
 *
 * What the ops here add to what core/core.h says of them:
 *
 * list_vfs: a PF that cannot be read is left out with a line in the log, unless none can.
 * Whether a vfio group is open is found out by opening it, and the kernel lets one process
 * have it at a time: a QEMU that opens it in the same microseconds fails. A VF
 * that a job has leased is therefore not probed here but shown as opened; read_vf does probe it.
 *
 * find_wire: that frames stay in their VLAN is looked at here, once, and that the VF's driver can
 * do what @settings ask for, as far as is known. Bridges with VLAN filtering need Linux 5.6.
 *
 * try_pf: logs a PF in mode VEPA, whose VFs reach neighbours on this host by way of the network.
 *
 * open_pf, close_pf: work on the bridge's entry in each VLAN of the tap, or on the one
 * without a VLAN when the bridge does not filter them.
 *
 * hold, release: see host/hold.h. For a tap in a bridge needs nf_tables for bridges and
 * nfnetlink_queue, for a macvtap ifb, sch_plug, sch_ingress, cls_matchall and act_mirred. At most
 * 100000 frames are kept, or 8 MiB for a macvtap; what is more the kernel drops. release gives
 * what is delivered to the tap at once, whose ring takes as many frames as its txqueuelen (1000
 * unless it was changed) less those that QEMU has not read yet; what is more is dropped by the tap
 * and counted in its tx_dropped. At 1 Gbit/s of full frames that is 12 ms of holding: for longer,
 * 'ip link set TAP txqueuelen 10000'.
 *
 * hand_to_vf, close_pf to a VF: a macvtap takes nothing in for two seconds (host/mute.h), which
 * needs sch_ingress, cls_flower and act_gact.
 *
 * set_vf: one attribute per request, only those that differ, the MAC address last, or
 * first when it becomes the parking address. A driver that does not report the link state is
 * believed when it acknowledges one.
 *
 * reset_vf: the kernel's reset cannot be called off: a cancelled task returns at
 * once, but the VF shows as opened until its reset has ended.
 */
VfoHost *vfo_host_new(GPtrArray *networks, VfoLeases *leases, const char *sysfs, GError **error);
void vfo_host_free(VfoHost *host);

/** vfo_host_clean_up: takes away what a daemon that ended in the middle of a job has left, and
 * keeps frames from guests: for the one daemon of this host, before its first job. What goes wrong
 * is logged. */
void vfo_host_clean_up(VfoHost *host);

/** vfo_host_set_quirks: what the configuration has to say of drivers (of VfoQuirks; reference
 *  taken). */
void vfo_host_set_quirks(VfoHost *host, GPtrArray *quirks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoHost, vfo_host_free)

/**
 * VfoHostChanged: a VF came (@before is NULL), went (@now is NULL), or changed: its driver, its
 * settings, or whether its PF is usable. @ours: its settings by this daemon's own hand. Whether
 * somebody has the VF open is not told: nothing tells that.
 */
typedef void (*VfoHostChanged)(VfoHost *host, const VfoVf *before, const VfoVf *now, gboolean ours,
                               gpointer data);

/**
 * vfo_host_watch: follows the kernel's events of interfaces and PCI devices (with or without
 * udevd) from now on, in the thread-default main context, and calls @changed after a moment. Once.
 */
gboolean vfo_host_watch(VfoHost *host, VfoHostChanged changed, gpointer data, GError **error);
