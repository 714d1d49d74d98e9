/*
 * Failover pair: a virtio-net standby and its PCI primary
 *
 * The standby is a virtio-net device with failover=on.  The primary is
 * a PCI Express network device, usually a vfio one, whose
 * failover_pair_id names the standby.  The guest has the primary only
 * while it is able to live without it, and it is taken from the guest
 * for migration.  See docs/system/virtio-net-failover.rst.
 *
 * All functions need the BQL, but for virtio_net_failover_unplug_pending.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_NET_FAILOVER_H
#define HW_VIRTIO_NET_FAILOVER_H

#include "qapi/qapi-types-virtio-net-failover.h"

/* Longest time that a guest may be given to release its primary: an hour */
#define VIRTIO_NET_FAILOVER_TIMEOUT_MAX 3600000

/* As many announcements as migration's announce-rounds may ask for */
#define VIRTIO_NET_FAILOVER_ANNOUNCE_ROUNDS_MAX 1000
#define VIRTIO_NET_FAILOVER_ANNOUNCE_INTERVAL_MAX 100000

typedef struct VirtIONet VirtIONet;
typedef struct VirtIONetFailover VirtIONetFailover;

typedef struct VirtIONetFailoverConf {
    uint32_t unplug_timeout;                /* ms, 0: no limit */
    VirtioNetFailoverPolicy unplug_policy;
    VirtioNetFailoverReplug replug;
    bool release;
    bool prepare;
    bool require_standby;
    uint32_t announce_rounds;
    uint32_t announce_interval;             /* ms */
} VirtIONetFailoverConf;

/**
 * virtio_net_failover_check: can this device become a standby?
 * @n: the device, before it is realized
 * @errp: set if the answer is no: a property out of range, or more than
 *        one primary waiting for it
 */
bool virtio_net_failover_check(VirtIONet *n, Error **errp);

/**
 * virtio_net_failover_realize: make a device the standby of a pair
 * @n: a device for which virtio_net_failover_check() returned true
 *
 * A primary that was plugged before its standby is adopted.
 */
void virtio_net_failover_realize(VirtIONet *n);

/**
 * virtio_net_failover_unrealize: dissolve a pair
 * @n: its standby
 *
 * A primary that the guest has stays with the guest, another is deleted.
 * Does nothing for a device that is not a standby.
 */
void virtio_net_failover_unrealize(VirtIONet *n);

/**
 * virtio_net_failover_set_features: the guest has chosen features
 * @n: the device, standby or not
 * @features: the features; 0 at a reset
 */
void virtio_net_failover_set_features(VirtIONet *n, uint64_t features);

/**
 * virtio_net_failover_unplug_pending: must migration wait for the guest?
 * @opaque: a VirtIONet
 *
 * Called without the BQL, by the migration thread.
 */
bool virtio_net_failover_unplug_pending(void *opaque);

#endif
