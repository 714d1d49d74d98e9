/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host that this machine's kernel is: what the ops of VfoHost are made of. Private to host/.
 * The ops themselves, vfo_local_*, are those of VfoHostOps (core/core.h), which tells what they do.
 */
#pragma once

#include "host/backlog.h"
#include "host/datapath.h"
#include "host/events.h"
#include "host/host.h"
#include "host/netlink.h"
#include "host/pool.h"
#include "host/queue.h"
#include "host/quirks.h"

typedef struct {
    VfoHost host; /* first: a VfoHost * is a VfoLocalHost * */
    GPtrArray *networks;
    GPtrArray *quirks; /* of VfoQuirks, configured; NULL: none */
    VfoLeases *leases;
    char *sysfs;
    char *dev;
    VfoNetlink *netlink;
    VfoNetlink *generic;
    VfoPool *pool;        /* NULL: not watched */
    VfoEvents *events;    /* likewise */
    GHashTable *numbers;  /* PCI address of a VF: its number at its PF when it was last found */
    GHashTable *known;    /* name of a PF: its VFs as last read, a GArray of VfoVfState */
    VfoQueue *queue;      /* NULL: nothing has been held yet */
    GHashTable *holds;    /* a tap's name -> VfoHold */
    GHashTable *lessons;  /* a tap's name -> VfoLesson, where its bridge learns */
    GHashTable *mutes;    /* a macvtap's name -> VfoMute; NULL: the kernel cannot */
    GHashTable *backlogs; /* a tap's name -> VfoBacklog */
    int announcer;        /* vfo_announce_socket(); -1: none has been needed */
} VfoLocalHost;

/** vfo_host_new_with: as vfo_host_new(), with a given @netlink for NETLINK_ROUTE and @generic for
 *  NETLINK_GENERIC (transfer full), for tests. */
VfoHost *vfo_host_new_with(GPtrArray *networks, VfoLeases *leases, const char *sysfs,
                           VfoNetlink *netlink, VfoNetlink *generic);

/** vfo_host_watch_with: as vfo_host_watch(), without the kernel's events: for tests. */
VfoPool *vfo_host_watch_with(VfoHost *host, VfoHostChanged changed, gpointer data);

/* ---------------------------------------------------------------- place.c */

/** VfoPlace: where a VF is: on which PF of which network, with which number. */
typedef struct {
    const VfoNetwork *network; /* borrowed */
    const char *pf;            /* borrowed from network */
    char *pf_pci;
    guint index;
} VfoPlace;

/** vfo_place_find: finds the VF at PCI address @pci. FALSE (VFO_ERROR_INVALID,
 * VFO_ERROR_NOT_FOUND): no such VF, or one of a PF that is not configured. sysfs only; @place is to
 * be cleared. */
gboolean vfo_place_find(VfoLocalHost *host, const char *pci, VfoPlace *place, GError **error);
void vfo_place_clear(VfoPlace *place);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VfoPlace, vfo_place_clear)

/* ------------------------------------------------------------- local-vf.c */

/** vfo_local_quirks: of the driver of the PF at @pf_pci, which may be NULL; configured ones first.
 */
const VfoQuirks *vfo_local_quirks(VfoLocalHost *host, const char *pf_pci);
/** vfo_local_read_for_pool: a VfoPoolRead; nobody is asked whether a VF is open. @data: the host.
 */
gboolean vfo_local_read_for_pool(const VfoNetwork *network, const char *pf, GPtrArray *vfs,
                                 gpointer data, GError **error);
GPtrArray *vfo_local_list_vfs(VfoHost *base, GError **error);
VfoVf *vfo_local_read_vf(VfoHost *base, const char *pci, GError **error);
gboolean vfo_local_set_vf(VfoHost *base, const char *pci, const VfoVfSettings *settings,
                          GError **error);
void vfo_local_reset_vf(VfoHost *base, const char *pci, GTask *task);

/* ------------------------------------------------------------ local-use.c */

void vfo_local_closed_vf(VfoHost *base, const char *pci, GTask *task);
void vfo_local_used_vf(VfoHost *base, const char *pci, guint64 since, GTask *task);
gboolean vfo_local_activity_vf(VfoHost *base, const char *pci, guint64 *activity, GError **error);

/* ---------------------------------------------------------- local-drain.c */

void vfo_local_watch_standby(VfoHost *base, const VfoWire *wire);
void vfo_local_unwatch_standby(VfoHost *base, const VfoWire *wire);
void vfo_local_drained(VfoHost *base, const VfoWire *wire, guint wait_ms, GTask *task);

/* ----------------------------------------------------------- local-wire.c */

/** vfo_local_on_queued: a VfoQueueArrived: a frame waits for whoever holds it. @data: the host. */
void vfo_local_on_queued(const VfoQueued *frame, gpointer data);
VfoWire *vfo_local_find_wire(VfoHost *base, const char *tap, const VfoVf *vf,
                             const VfoVfSettings *settings, GError **error);
gboolean vfo_local_try_pf(VfoHost *base, const VfoWire *wire, GError **error);
gboolean vfo_local_open_pf(VfoHost *base, const VfoWire *wire, GError **error);
gboolean vfo_local_close_pf(VfoHost *base, const VfoWire *wire, gboolean to_vf, GError **error);
gboolean vfo_local_hand_to_vf(VfoHost *base, const VfoWire *wire, const char *pci,
                              const VfoVfSettings *settings, GError **error);
gboolean vfo_local_announce(VfoHost *base, const VfoWire *wire, GError **error);
/** vfo_local_is_bridged: the standby of @wire, which this host has found, is in a bridge. */
gboolean vfo_local_is_bridged(const VfoWire *wire);
gboolean vfo_local_draw(VfoHost *base, const VfoWire *wire, GError **error);
void vfo_local_prepare_hand_to_vf(VfoHost *base, const VfoWire *wire);
gboolean vfo_local_prepare_hold(VfoHost *base, const VfoWire *wire, const char *pci,
                                GError **error);
gboolean vfo_local_hold(VfoHost *base, const VfoWire *wire, const char *pci, GError **error);
gboolean vfo_local_release(VfoHost *base, const VfoWire *wire, GError **error);
