/*
 * Failover pair: a virtio-net standby and its PCI primary
 *
 * One VirtIONetFailover per standby.  What can happen to a pair, and what
 * comes of it, is transition_table[]; failover_transition() alone changes
 * the state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/config-file.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-net-failover.h"
#include "qapi/qapi-events-migration.h"
#include "qapi/qapi-events-net.h"
#include "qapi/qapi-events-qdev.h"
#include "qapi/qapi-events-virtio-net-failover.h"
#include "qobject/qdict.h"
#include "hw/hotplug.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-core.h"
#include "hw/virtio/virtio-net.h"
#include "hw/virtio/virtio-net-failover.h"
#include "migration/blocker.h"
#include "migration/client-options.h"
#include "migration/misc.h"
#include "migration/postcopy-ram.h"
#include "migration/vmstate.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "monitor/qdev.h"
#include "net/announce.h"
#include "net/net.h"
#include "system/qtest.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/system.h"
#include "trace.h"

#define TRANSITIONS_KEPT 16

/*
 * A guest can turn bus mastering on and off all day long.  Changes beyond
 * this many in a second are told together, at the end of the second.
 */
#define BUS_MASTER_CHANGES 16

/* Who has asked for the primary to leave the guest, and so may want it back */
typedef enum FailoverCause {
    FAILOVER_CAUSE_NONE,
    FAILOVER_CAUSE_MIGRATION,
    FAILOVER_CAUSE_COMMAND,
    FAILOVER_CAUSE_RESET,       /* the guest no longer knows about failover */
    FAILOVER_CAUSE_GUEST,       /* released without being asked */
} FailoverCause;

struct VirtIONetFailover {
    VirtIONet *n;
    char *name;                 /* id of the standby */
    VirtioNetFailoverState state;
    bool negotiated;

    /* Options of the primary; NULL if it was plugged before its standby */
    QDict *opts;
    bool opts_from_json;
    /* Options of a device that is being created and may still fail */
    QDict *new_opts;
    bool new_opts_from_json;

    PCIDevice *primary;         /* NULL while its device does not exist */
    PCIDevice *closing;         /* unrealized, not yet finalized */
    bool creating;              /* primary is being created from opts */
    bool preparing;             /* the device being created stays invisible */
    bool closing_wanted;        /* unrealize is ours, the primary comes back */
    bool vmstate_gone;

    /* The unplug under way, or the last one */
    FailoverCause cause;
    VirtioNetFailoverPolicy policy;
    uint32_t timeout;           /* ms, 0: no limit */
    bool release;
    bool delete_wanted;         /* device_del came after the request */
    bool answer_owed;           /* it was taken away, the guest may yet eject */
    bool migration_waits;       /* an outgoing migration needs it done */
    bool replug_when_closed;

    /* Read by the migration thread, without the BQL */
    bool unplug_pending;
    bool has_deadline;

    bool bus_master;            /* as last told */
    unsigned bus_master_changes;
    int64_t bus_master_second;  /* start of the one being counted in, ms */
    QEMUTimer *bus_master_timer;

    QEMUTimer *deadline;
    QEMUBH *replug_bh;
    AnnounceTimer announce;
    Error *blocker;
    NotifierWithReturn migration;
    NotifierWithReturn postcopy;
    VMChangeStateEntry *vm_state;

    uint64_t plugs;
    uint64_t unplugs;
    uint64_t timeouts;
    uint64_t errors;
    char *last_error;
    VirtioNetFailoverTransition history[TRANSITIONS_KEPT];
    unsigned history_len;

    QTAILQ_ENTRY(VirtIONetFailover) next;
};

/* A device with a failover_pair_id that no standby looks after */
typedef struct FailoverOrphan {
    PCIDevice *dev;
    Error *blocker;
    QTAILQ_ENTRY(FailoverOrphan) next;
} FailoverOrphan;

static QTAILQ_HEAD(, VirtIONetFailover) pairs = QTAILQ_HEAD_INITIALIZER(pairs);
static QTAILQ_HEAD(, FailoverOrphan) orphans =
    QTAILQ_HEAD_INITIALIZER(orphans);

#define S(s) VIRTIO_NET_FAILOVER_STATE_##s
#define R(r) VIRTIO_NET_FAILOVER_REASON_##r

/* What can happen in which state, and what comes of it. */
static const struct {
    VirtioNetFailoverState old;
    VirtioNetFailoverReason reason;
    VirtioNetFailoverState new;
} transition_table[] = {
    { S(ABSENT),     R(PRIMARY_GIVEN),    S(HIDDEN) },
    { S(ABSENT),     R(PREPARED),         S(PREPARED) },
    { S(ABSENT),     R(PLUGGED),          S(PLUGGED) },

    { S(HIDDEN),     R(PLUGGED),          S(PLUGGED) },
    { S(HIDDEN),     R(PLUG_FAILED),      S(FAILED) },
    { S(HIDDEN),     R(DELETED),          S(ABSENT) },

    { S(PREPARED),   R(PLUGGED),          S(PLUGGED) },
    { S(PREPARED),   R(PLUG_FAILED),      S(PREPARED) },
    { S(PREPARED),   R(DELETED),          S(ABSENT) },

    { S(PLUGGED),    R(BUS_MASTER_ON),    S(ACTIVE) },
    { S(PLUGGED),    R(UNPLUG_REQUESTED), S(UNPLUGGING) },
    { S(PLUGGED),    R(PLUG_FAILED),      S(FAILED) },
    { S(PLUGGED),    R(GUEST_RELEASED),   S(UNPLUGGED) },
    { S(PLUGGED),    R(MACHINE_RESET),    S(UNPLUGGED) },
    { S(PLUGGED),    R(DELETED),          S(ABSENT) },

    { S(ACTIVE),     R(BUS_MASTER_OFF),   S(PLUGGED) },
    { S(ACTIVE),     R(UNPLUG_REQUESTED), S(UNPLUGGING) },
    { S(ACTIVE),     R(GUEST_RELEASED),   S(UNPLUGGED) },
    { S(ACTIVE),     R(MACHINE_RESET),    S(UNPLUGGED) },
    { S(ACTIVE),     R(DELETED),          S(ABSENT) },

    { S(UNPLUGGING), R(BUS_MASTER_ON),    S(UNPLUGGING) },
    { S(UNPLUGGING), R(BUS_MASTER_OFF),   S(UNPLUGGING) },
    { S(UNPLUGGING), R(UNPLUG_FAILED),    S(PLUGGED) },
    { S(UNPLUGGING), R(GUEST_RELEASED),   S(UNPLUGGED) },
    { S(UNPLUGGING), R(SURPRISE_REMOVED), S(UNPLUGGED) },
    { S(UNPLUGGING), R(TIMED_OUT),        S(PLUGGED) },
    { S(UNPLUGGING), R(CANCELLED),        S(PLUGGED) },
    { S(UNPLUGGING), R(MACHINE_RESET),    S(UNPLUGGED) },
    { S(UNPLUGGING), R(DELETED),          S(ABSENT) },

    { S(UNPLUGGED),  R(PLUGGED),          S(PLUGGED) },
    { S(UNPLUGGED),  R(PLUG_FAILED),      S(UNPLUGGED) },
    { S(UNPLUGGED),  R(CLOSED),           S(RELEASED) },
    { S(UNPLUGGED),  R(DELETED),          S(ABSENT) },

    { S(RELEASED),   R(PLUGGED),          S(PLUGGED) },
    { S(RELEASED),   R(PLUG_FAILED),      S(FAILED) },
    { S(RELEASED),   R(DELETED),          S(ABSENT) },

    { S(FAILED),     R(PLUGGED),          S(PLUGGED) },
    { S(FAILED),     R(PLUG_FAILED),      S(FAILED) },
    { S(FAILED),     R(DELETED),          S(ABSENT) },
};

static void failover_update_blocker(VirtIONetFailover *f);

static VirtIONetFailover *failover_find(const char *standby)
{
    VirtIONetFailover *f;

    QTAILQ_FOREACH(f, &pairs, next) {
        if (!g_strcmp0(f->name, standby)) {
            return f;
        }
    }
    return NULL;
}

static const char *failover_primary_id(const VirtIONetFailover *f)
{
    if (f->primary) {
        return DEVICE(f->primary)->id;
    }
    return f->opts ? qdict_get_try_str(f->opts, "id") : NULL;
}

/* The guest has the primary, whether or not it was asked to release it. */
static bool failover_in_guest(const VirtIONetFailover *f)
{
    return f->state == S(PLUGGED) || f->state == S(ACTIVE) ||
           f->state == S(UNPLUGGING);
}

/* The guest is able to live with the primary and without it. */
static bool failover_guest_ready(const VirtIONetFailover *f)
{
    return f->negotiated || !f->n->failover_conf.require_standby;
}

static bool failover_auto(const VirtIONetFailover *f)
{
    return f->n->failover_conf.replug == VIRTIO_NET_FAILOVER_REPLUG_AUTO;
}

static bool failover_bus_master(const VirtIONetFailover *f)
{
    return pci_get_word(f->primary->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/*
 * The one place where a state changes.  @error: what went wrong, or NULL.
 * Nothing happens, and false is returned, if @reason means nothing in this
 * state.
 */
static bool failover_transition(VirtIONetFailover *f,
                                VirtioNetFailoverReason reason,
                                const char *error)
{
    VirtioNetFailoverState old = f->state;
    VirtioNetFailoverTransition *entry;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(transition_table); i++) {
        if (transition_table[i].old == old &&
            transition_table[i].reason == reason) {
            break;
        }
    }
    if (i == ARRAY_SIZE(transition_table)) {
        trace_virtio_net_failover_ignored(f->name,
                                          VirtioNetFailoverState_str(old),
                                          VirtioNetFailoverReason_str(reason));
        return false;
    }

    f->state = transition_table[i].new;
    trace_virtio_net_failover_transition(f->name,
                                         VirtioNetFailoverState_str(old),
                                         VirtioNetFailoverState_str(f->state),
                                         VirtioNetFailoverReason_str(reason));

    if (error) {
        g_free(f->last_error);
        f->last_error = g_strdup(error);
    }
    if (f->history_len == TRANSITIONS_KEPT) {
        memmove(f->history, f->history + 1,
                sizeof(f->history) - sizeof(f->history[0]));
        f->history_len--;
    }
    entry = &f->history[f->history_len++];
    entry->old_state = old;
    entry->new_state = f->state;
    entry->reason = reason;
    entry->time_us = g_get_real_time();

    failover_update_blocker(f);
    qapi_event_send_virtio_net_failover_state(f->name, failover_primary_id(f),
                                              old, f->state, reason, error);
    return true;
}

static int failover_find_vmstate(DeviceState *dev, void *opaque)
{
    return qdev_get_vmsd(dev) ? -EEXIST : 0;
}

/* Without it, as with vfio, nothing of the device is in a migration stream. */
static bool failover_has_vmstate(PCIDevice *pdev)
{
    return qdev_walk_children(DEVICE(pdev), failover_find_vmstate, NULL,
                              NULL, NULL, NULL) != 0;
}

/*
 * Only failover gets a device without vmstate out of a migration's way.
 * While nothing does that, migration would lose it without a word.
 */
static void failover_update_blocker(VirtIONetFailover *f)
{
    bool blocked = f->primary && failover_in_guest(f) &&
                   f->state != S(UNPLUGGING) && !failover_guest_ready(f) &&
                   !failover_has_vmstate(f->primary);

    if (blocked && !f->blocker) {
        error_setg(&f->blocker, "Failover primary '%s' cannot be migrated: "
                   "the guest has not negotiated VIRTIO_NET_F_STANDBY with "
                   "its standby '%s'", DEVICE(f->primary)->id, f->name);
        migrate_add_blocker_internal(&f->blocker, NULL);
    } else if (!blocked && f->blocker) {
        migrate_del_blocker(&f->blocker);
    }
}

static int failover_set_device_vmstate(DeviceState *dev, void *opaque)
{
    const VMStateDescription *vmsd = qdev_get_vmsd(dev);
    bool on = *(bool *)opaque;

    if (!vmsd) {
        return 0;
    }
    if (on) {
        vmstate_register_with_alias_id(VMSTATE_IF(dev),
                                       VMSTATE_INSTANCE_ID_ANY, vmsd, dev,
                                       dev->instance_id_alias,
                                       dev->alias_required_for_version,
                                       &error_abort);
    } else {
        vmstate_unregister(VMSTATE_IF(dev), vmsd, dev);
    }
    return 0;
}

/* Of the primary and of what is behind it: a virtio device has two parts. */
static void failover_set_vmstate(VirtIONetFailover *f, bool on)
{
    if (f->vmstate_gone == !on) {
        return;
    }
    qdev_walk_children(DEVICE(f->primary), failover_set_device_vmstate, NULL,
                       NULL, NULL, &on);
    f->vmstate_gone = !on;
}

/* Whatever was waited for is not waited for any more. */
static void failover_end_unplug(VirtIONetFailover *f)
{
    timer_del(f->deadline);
    f->migration_waits = false;
    qatomic_set(&f->unplug_pending, false);
    migration_wake_unplug_wait();
}

static void failover_announce(VirtIONetFailover *f)
{
    const VirtIONetFailoverConf *conf = &f->n->failover_conf;
    strList name = { .value = f->name };
    AnnounceParameters params = {
        .initial = conf->announce_interval,
        .max = conf->announce_interval,
        .rounds = conf->announce_rounds,
        .has_interfaces = true,
        .interfaces = &name,
    };

    if (conf->announce_rounds) {
        qemu_announce_self(&f->announce, &params);
    }
}

/* The migration thread may be reading the RAM block of the primary's ROM. */
static bool failover_rom_in_use(const VirtIONetFailover *f)
{
    return f->primary->has_rom && migration_is_running();
}

/*
 * The primary's device leaves QEMU, its options stay.  Its id is free at
 * once; what it held open is closed when the last reference is dropped,
 * which failover_notify() is told.
 */
static void failover_close(VirtIONetFailover *f)
{
    DeviceState *dev = DEVICE(f->primary);

    if (!f->opts) {
        trace_virtio_net_failover_kept(f->name, "plugged before its standby");
        return;
    }
    if (failover_rom_in_use(f)) {
        trace_virtio_net_failover_kept(f->name, "its ROM is being migrated");
        return;
    }

    f->closing_wanted = true;
    f->primary->partially_hotplugged = false;
    hotplug_handler_unplug(qdev_get_hotplug_handler(dev), dev, &error_abort);
    /* No DEVICE_DELETED: for the user the device will be back. */
    dev->pending_deleted_event = false;
    g_clear_pointer(&dev->canonical_path, g_free);
    object_unparent(OBJECT(dev));
}

/* It does not matter any more when the device is finalized. */
static void failover_stop_closing(VirtIONetFailover *f)
{
    if (f->closing) {
        f->closing->failover_notify = NULL;
        f->closing = NULL;
    }
    f->closing_wanted = false;
}

/* The primary leaves QEMU for good; DEVICE_DELETED follows. */
static void failover_delete_device(VirtIONetFailover *f)
{
    DeviceState *dev = DEVICE(f->primary);

    f->primary->partially_hotplugged = false;
    hotplug_handler_unplug(qdev_get_hotplug_handler(dev), dev, &error_abort);
    object_unparent(OBJECT(dev));
}

/* The primary's device is gone and does not come back. */
static void failover_forget_primary(VirtIONetFailover *f)
{
    failover_transition(f, R(DELETED), NULL);
    f->primary = NULL;
    qobject_unref(f->opts);
    f->opts = NULL;
    failover_end_unplug(f);
}

/* The primary is out of the guest, because of @reason. */
static void failover_left_guest(VirtIONetFailover *f,
                                VirtioNetFailoverReason reason,
                                const char *error)
{
    PCIDevice *pdev = f->primary;
    uint16_t command = pci_get_word(pdev->config + PCI_COMMAND);

    f->unplugs++;
    if (f->delete_wanted && !failover_rom_in_use(f)) {
        failover_delete_device(f);
        failover_announce(f);
        return;
    }

    failover_set_vmstate(f, false);
    failover_transition(f, reason, error);
    /* After the transition, so that it is not taken for the guest's doing. */
    pdev->config_write(pdev, PCI_COMMAND,
                       command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                                   PCI_COMMAND_MASTER), 2);
    if (f->release && reason != R(MACHINE_RESET)) {
        failover_close(f);
    }
    failover_end_unplug(f);
    failover_announce(f);
}

static void failover_bus_master_changed(VirtIONetFailover *f)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    bool on;

    if (!f->primary || !failover_in_guest(f)) {
        return;
    }
    on = failover_bus_master(f);
    if (on == f->bus_master) {
        return;
    }
    if (now - f->bus_master_second >= 1000) {
        f->bus_master_second = now;
        f->bus_master_changes = 0;
    }
    if (f->bus_master_changes == BUS_MASTER_CHANGES) {
        timer_mod(f->bus_master_timer, f->bus_master_second + 1000);
        return;
    }
    f->bus_master_changes++;
    f->bus_master = on;
    if (on && f->state != S(UNPLUGGING)) {
        /* The traffic is the primary's now. */
        qemu_announce_timer_del(&f->announce, false);
    }
    failover_transition(f, on ? R(BUS_MASTER_ON) : R(BUS_MASTER_OFF), NULL);
}

static void failover_bus_master_timer(void *opaque)
{
    failover_bus_master_changed(opaque);
}

/* The primary stays in the guest, because of @reason. */
static void failover_stays_in_guest(VirtIONetFailover *f,
                                    VirtioNetFailoverReason reason,
                                    const char *error)
{
    if (f->delete_wanted) {
        /* device_del goes its ordinary way from here. */
        f->primary->partially_hotplugged = false;
        f->delete_wanted = false;
    }
    failover_set_vmstate(f, true);
    failover_transition(f, reason, error);
    f->bus_master = false;
    failover_bus_master_changed(f);
    failover_end_unplug(f);
}

/* Take the primary away without asking.  False if the slot cannot do that. */
static bool failover_take_away(VirtIONetFailover *f)
{
    DeviceState *dev = DEVICE(f->primary);
    HotplugHandler *handler = qdev_get_hotplug_handler(dev);

    /* Where nothing can be plugged, it could not come back. */
    if (!handler || !qbus_is_hotpluggable(qdev_get_parent_bus(dev)) ||
        !hotplug_handler_surprise_removal(handler, dev)) {
        return false;
    }
    f->primary->partially_hotplugged = true;
    dev->pending_deleted_event = false;
    f->answer_owed = true;
    return true;
}

/* The guest has ejected the primary.  False: delete it. */
static bool failover_ejected(VirtIONetFailover *f)
{
    DeviceState *dev = DEVICE(f->primary);

    if (!f->primary->partially_hotplugged) {
        if (!f->answer_owed || dev->pending_deleted_event) {
            return false;
        }
        /* Meant for the device that was there before. */
        f->primary->partially_hotplugged = true;
    }
    f->answer_owed = false;

    if (failover_in_guest(f)) {
        if (f->state != S(UNPLUGGING)) {
            /* The answer to a request that was given up. */
            f->cause = FAILOVER_CAUSE_GUEST;
        }
        failover_left_guest(f, R(GUEST_RELEASED), NULL);
    }
    if (f->state == S(UNPLUGGED) &&
        (f->cause == FAILOVER_CAUSE_GUEST ||
         f->cause == FAILOVER_CAUSE_RESET)) {
        /* Not here: this is the guest's own access to the slot. */
        qemu_bh_schedule(f->replug_bh);
    }
    return true;
}

/* What the guest does with the primary, and the end of its device. */
static bool failover_notify(PCIDevice *dev, PCIFailoverEvent event,
                            void *opaque)
{
    VirtIONetFailover *f = opaque;

    switch (event) {
    case PCI_FAILOVER_BUS_MASTER:
        failover_bus_master_changed(f);
        break;
    case PCI_FAILOVER_RELEASED:
        return failover_ejected(f);
    case PCI_FAILOVER_FINALIZED:
        if (f->primary == dev) {
            /* device_add failed after the device was realized. */
            failover_forget_primary(f);
        }
        if (f->closing == dev) {
            f->closing = NULL;
            f->closing_wanted = false;
            failover_transition(f, R(CLOSED), NULL);
            if (f->replug_when_closed) {
                qemu_bh_schedule(f->replug_bh);
            }
        }
        break;
    }
    return false;
}

static void failover_set_deadline(VirtIONetFailover *f, uint32_t timeout,
                                  VirtioNetFailoverPolicy policy)
{
    f->timeout = timeout;
    f->policy = policy;
    qatomic_set(&f->has_deadline, timeout != 0);
    if (timeout) {
        timer_mod(f->deadline, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               timeout);
    }
}

/*
 * Ask the guest to release the primary; it may have done so when this
 * returns.  On error nothing has changed.
 */
static bool failover_request_unplug(VirtIONetFailover *f, FailoverCause cause,
                                    uint32_t timeout,
                                    VirtioNetFailoverPolicy policy,
                                    bool release, Error **errp)
{
    PCIDevice *pdev = f->primary;
    DeviceState *dev = DEVICE(pdev);
    HotplugHandler *handler = qdev_get_hotplug_handler(dev);
    bool asked_before = dev->pending_deleted_event;
    Error *err = NULL;

    if (!handler || !HOTPLUG_HANDLER_GET_CLASS(handler)->unplug_request) {
        error_setg(errp, "Failover primary '%s' cannot be unplugged: its slot "
                   "has no hotplug controller", dev->id);
        return false;
    }
    if (qdev_unplug_blocked(dev, errp)) {
        return false;
    }

    f->cause = cause;
    failover_set_deadline(f, timeout, policy);
    f->release = release;
    /* A device_del that the guest has not answered is not taken back. */
    f->delete_wanted = asked_before && !pdev->partially_hotplugged;
    f->migration_waits = cause == FAILOVER_CAUSE_MIGRATION;
    f->replug_when_closed = false;
    qatomic_set(&f->unplug_pending, true);
    pdev->partially_hotplugged = true;
    failover_set_vmstate(f, false);
    failover_transition(f, R(UNPLUG_REQUESTED), NULL);

    /* The guest may answer at once and the device be gone. */
    object_ref(OBJECT(dev));
    hotplug_handler_unplug_request(handler, dev, &err);
    if (err && asked_before) {
        /* The slot is busy with the first request: that one will do. */
        error_free(err);
        err = NULL;
    }
    if (err) {
        pdev->partially_hotplugged = false;
        f->errors++;
        failover_stays_in_guest(f, R(UNPLUG_FAILED), error_get_pretty(err));
        error_propagate_prepend(errp, err, "Failover primary '%s' cannot be "
                                "unplugged: ", dev->id);
    }
    object_unref(OBJECT(dev));
    return !err;
}

static void failover_deadline(void *opaque)
{
    VirtIONetFailover *f = opaque;
    bool migration_waits = f->migration_waits;
    Error *err = NULL;

    if (f->state != S(UNPLUGGING)) {
        return;
    }
    f->timeouts++;
    error_setg(&err, "Failover: the guest did not release primary '%s' of "
               "standby '%s' within %u ms", failover_primary_id(f), f->name,
               f->timeout);

    if (f->policy == VIRTIO_NET_FAILOVER_POLICY_SURPRISE &&
        failover_take_away(f)) {
        failover_left_guest(f, R(SURPRISE_REMOVED), error_get_pretty(err));
        error_free(err);
        return;
    }

    /* First, lest the migration take the end of the wait for an answer. */
    if (migration_waits) {
        migration_fail_unplug_wait(error_copy(err));
    }
    failover_stays_in_guest(f, R(TIMED_OUT), error_get_pretty(err));
    error_free(err);
}

/* The device exists and the guest cannot see it: let the guest see it. */
static bool failover_show(VirtIONetFailover *f, Error **errp)
{
    PCIDevice *pdev = f->primary;
    DeviceState *dev = DEVICE(pdev);
    HotplugHandler *handler = qdev_get_hotplug_handler(dev);
    Error *err = NULL;

    if (f->state == S(UNPLUGGED)) {
        pci_device_reset(pdev);
    }
    pdev->partially_hotplugged = false;
    dev->pending_deleted_event = false;
    /* Plugged at a time when the guest has to be told, even if it was cold. */
    dev->hotplugged = true;
    /* As for a new device; the slot's plug handler has the last word. */
    pci_set_power(pdev, true);
    if (handler) {
        hotplug_handler_pre_plug(handler, dev, &err);
        if (!err) {
            hotplug_handler_plug(handler, dev, &err);
        }
    }
    if (err) {
        pdev->partially_hotplugged = true;
        f->errors++;
        failover_transition(f, R(PLUG_FAILED), error_get_pretty(err));
        error_propagate(errp, err);
        return false;
    }
    failover_set_vmstate(f, true);
    f->plugs++;
    f->delete_wanted = false;
    f->bus_master = false;
    return failover_transition(f, R(PLUGGED), NULL);
}

/* The device does not exist: create it from its options. */
static bool failover_create(VirtIONetFailover *f, Error **errp)
{
    DeviceState *dev;
    Error *err = NULL;

    f->creating = true;
    dev = qdev_device_add_from_qdict(f->opts, f->opts_from_json, &err);
    f->creating = false;
    if (!dev) {
        if (f->primary) {
            f->primary->failover_notify = NULL;
            f->primary = NULL;
        }
        f->errors++;
        failover_transition(f, R(PLUG_FAILED), error_get_pretty(err));
        error_propagate(errp, err);
        return false;
    }
    object_unref(OBJECT(dev));
    /* As for any other device: when it is deleted, its id is free. */
    qemu_opts_del(qemu_opts_find(qemu_find_opts("device"),
                                 failover_primary_id(f)));
    return true;
}

/* Give the primary to the guest, from any state in which it is not there. */
static bool failover_plug(VirtIONetFailover *f, Error **errp)
{
    f->replug_when_closed = false;
    switch (f->state) {
    case S(PREPARED):
        return failover_show(f, errp);
    case S(UNPLUGGED):
        if (f->closing) {
            f->replug_when_closed = true;
            return true;
        }
        return failover_show(f, errp);
    case S(HIDDEN):
    case S(RELEASED):
    case S(FAILED):
        return failover_create(f, errp);
    default:
        error_setg(errp, "Failover pair of standby '%s' is %s", f->name,
                   VirtioNetFailoverState_str(f->state));
        return false;
    }
}

static void failover_plug_or_warn(VirtIONetFailover *f)
{
    Error *err = NULL;

    if (!failover_plug(f, &err)) {
        warn_reportf_err(err, "Failover primary of standby '%s': ", f->name);
    }
}

/* QEMU is to plug the primary, now. */
static bool failover_wants_plug(const VirtIONetFailover *f)
{
    if (!failover_guest_ready(f) || migration_is_running()) {
        return false;
    }
    if (f->replug_when_closed && !f->closing) {
        /* The user has said so. */
        return true;
    }
    if (!failover_auto(f)) {
        return false;
    }
    switch (f->state) {
    case S(HIDDEN):
    case S(FAILED):
        return true;
    case S(PREPARED):
        return !runstate_check(RUN_STATE_INMIGRATE);
    case S(UNPLUGGED):
    case S(RELEASED):
        return f->cause != FAILOVER_CAUSE_COMMAND && !f->delete_wanted;
    default:
        return false;
    }
}

static void failover_replug_bh(void *opaque)
{
    VirtIONetFailover *f = opaque;

    if (failover_wants_plug(f)) {
        failover_plug_or_warn(f);
    }
}

/* Migration */

static int failover_migration_setup(VirtIONetFailover *f, Error **errp)
{
    VirtIONetFailoverConf *conf = &f->n->failover_conf;

    if (f->state == S(UNPLUGGING)) {
        f->migration_waits = true;
        if (!f->timeout && conf->unplug_timeout) {
            failover_set_deadline(f, conf->unplug_timeout,
                                  conf->unplug_policy);
        }
        qapi_event_send_unplug_primary(failover_primary_id(f) ?: "");
        return 0;
    }
    if (!failover_in_guest(f) || !failover_guest_ready(f)) {
        return 0;
    }
    if (!failover_request_unplug(f, FAILOVER_CAUSE_MIGRATION,
                                 conf->unplug_timeout, conf->unplug_policy,
                                 conf->release, errp)) {
        return -EBUSY;
    }
    qapi_event_send_unplug_primary(failover_primary_id(f) ?: "");
    return 0;
}

static int failover_migration_event(NotifierWithReturn *notifier,
                                    MigrationEvent *e, Error **errp)
{
    VirtIONetFailover *f = container_of(notifier, VirtIONetFailover,
                                        migration);

    switch (e->type) {
    case MIG_EVENT_PRECOPY_SETUP:
        return failover_migration_setup(f, errp);
    case MIG_EVENT_PRECOPY_FAILED:
        if (f->state == S(UNPLUGGING) &&
            f->cause == FAILOVER_CAUSE_MIGRATION) {
            failover_stays_in_guest(f, R(CANCELLED), NULL);
            break;
        }
        f->migration_waits = false;
        /* fall through */
    case MIG_EVENT_PRECOPY_DONE:
        if (migration_thread_is_self()) {
            break;
        }
        if (f->state == S(UNPLUGGED) && f->delete_wanted &&
            !failover_rom_in_use(f)) {
            failover_delete_device(f);
        } else if ((e->type == MIG_EVENT_PRECOPY_FAILED ||
                    runstate_is_running()) && failover_wants_plug(f)) {
            failover_plug_or_warn(f);
        }
        break;
    case MIG_EVENT_SNAPSHOT:
        if (failover_in_guest(f) &&
            (failover_guest_ready(f) || f->vmstate_gone)) {
            error_setg(errp, "Failover primary '%s' is in the guest and would "
                       "not be in the snapshot: unplug it first, with "
                       "virtio-net-failover-unplug",
                       DEVICE(f->primary)->id);
            return -EBUSY;
        }
        break;
    default:
        break;
    }
    return 0;
}

/* Post-copy discards guest memory on the destination while it is incoming. */
static int failover_postcopy_event(NotifierWithReturn *notifier, void *opaque,
                                   Error **errp)
{
    VirtIONetFailover *f = container_of(notifier, VirtIONetFailover, postcopy);
    struct PostcopyNotifyData *data = opaque;

    if (data->reason == POSTCOPY_NOTIFY_PROBE && f->state == S(PREPARED) &&
        !failover_has_vmstate(f->primary)) {
        error_setg(errp, "Failover primary '%s' is prepared and has pinned "
                   "guest memory: no post-copy with failover-prepare=on",
                   DEVICE(f->primary)->id);
        return -EBUSY;
    }
    return 0;
}

bool virtio_net_failover_unplug_pending(void *opaque)
{
    VirtIONetFailover *f = VIRTIO_NET(opaque)->failover_pair;

    if (!f || !qatomic_read(&f->unplug_pending)) {
        return false;
    }
    /* With a deadline, an answer that comes after a cancel is no problem. */
    return !(qatomic_read(&f->has_deadline) && migration_is_cancelling());
}

/* The machine */

static void failover_vm_state(void *opaque, bool running, RunState state)
{
    VirtIONetFailover *f = opaque;

    if (!running || !failover_wants_plug(f)) {
        return;
    }
    if ((f->state == S(PREPARED) || f->state == S(HIDDEN)) &&
        !migration_thread_is_self()) {
        /* Now, and not when the guest has run for a while. */
        failover_plug_or_warn(f);
    } else {
        qemu_bh_schedule(f->replug_bh);
    }
}

/*
 * A guest that starts anew does not know about failover until it says so:
 * as at its first start, it must not see two NICs with one address.
 */
static void failover_pair_reset(VirtIONetFailover *f)
{
    f->negotiated = false;
    f->answer_owed = false;
    if (!failover_in_guest(f)) {
        return;
    }
    if (f->state == S(UNPLUGGING)) {
        if (failover_take_away(f)) {
            failover_left_guest(f, R(MACHINE_RESET), NULL);
        }
    } else if (f->n->failover_conf.require_standby &&
               (f->primary->partially_hotplugged ||
                !DEVICE(f->primary)->pending_deleted_event) &&
               failover_take_away(f)) {
        /* A device_del that is pending is not ours, other requests are. */
        f->cause = FAILOVER_CAUSE_RESET;
        failover_left_guest(f, R(MACHINE_RESET), NULL);
    }
}

/*
 * One handler for all pairs: a standby may be deleted in the course of a
 * reset, when no handler may be unregistered.
 */
static void failover_machine_reset(void *opaque)
{
    VirtIONetFailover *f;

    QTAILQ_FOREACH(f, &pairs, next) {
        failover_pair_reset(f);
    }
}

void virtio_net_failover_set_features(VirtIONet *n, uint64_t features)
{
    VirtIONetFailover *f = n->failover_pair;
    bool standby = virtio_has_feature(features, VIRTIO_NET_F_STANDBY);
    Error *err = NULL;

    if (!f) {
        return;
    }
    if (standby) {
        qapi_event_send_failover_negotiated(f->name);
    }
    if (standby == f->negotiated) {
        return;
    }
    f->negotiated = standby;
    failover_update_blocker(f);

    if (!standby) {
        /* The guest's driver is gone, or the machine is being reset. */
        if (f->n->failover_conf.require_standby &&
            (f->state == S(PLUGGED) || f->state == S(ACTIVE)) &&
            !failover_request_unplug(f, FAILOVER_CAUSE_RESET, 0,
                                     VIRTIO_NET_FAILOVER_POLICY_ABORT, false,
                                     &err)) {
            warn_report_err(err);
        }
        return;
    }

    if (failover_wants_plug(f)) {
        failover_plug_or_warn(f);
    } else if (f->state == S(ABSENT) && !qtest_enabled()) {
        warn_report("Standby '%s' has no primary: virtio-net failover "
                    "needs a device with failover_pair_id=%s",
                    f->name, f->name);
    }
}

/* Devices come and go */

/* False if it could not be shown to the guest later. */
static bool failover_can_prepare(const QDict *opts)
{
    const char *name = qdict_get_try_str(opts, "bus");
    Object *bus = name ? object_resolve_path_type(name, TYPE_BUS, NULL) : NULL;

    return name && (!bus || qbus_is_hotpluggable(BUS(bus)));
}

static bool failover_hide_device(DeviceListener *listener, const QDict *opts,
                                 bool from_json, Error **errp)
{
    const char *standby, *id, *old;
    VirtIONetFailover *f;
    bool hide;

    standby = opts ? qdict_get_try_str(opts, "failover_pair_id") : NULL;
    id = opts ? qdict_get_try_str(opts, "id") : NULL;
    QTAILQ_FOREACH(f, &pairs, next) {
        /* A primary without a device has an id all the same. */
        if (id && !f->creating && g_strcmp0(f->name, standby) &&
            !g_strcmp0(failover_primary_id(f), id)) {
            error_setg(errp, "Duplicate device ID '%s'", id);
            return false;
        }
    }
    if (!standby || QTAILQ_EMPTY(&pairs)) {
        return false;
    }
    if (!id) {
        error_setg(errp, "Device with failover_pair_id needs to have id");
        return false;
    }
    f = failover_find(standby);
    if (!f || f->creating) {
        return false;
    }
    old = failover_primary_id(f);
    if (old) {
        if (!strcmp(old, id)) {
            error_setg(errp, "Standby '%s' has primary '%s' already",
                       f->name, id);
        } else {
            error_setg(errp, "Cannot attach more than one primary device to "
                       "'%s': '%s' and '%s'", f->name, old, id);
        }
        return false;
    }

    qobject_unref(f->new_opts);
    f->new_opts = NULL;
    /* Post-copy discards memory, which a prepared vfio device has pinned. */
    f->preparing = runstate_check(RUN_STATE_INMIGRATE) &&
                   f->n->failover_conf.prepare && !migrate_postcopy_ram() &&
                   failover_can_prepare(opts);
    hide = !f->preparing && (!failover_guest_ready(f) ||
                             runstate_check(RUN_STATE_INMIGRATE));
    if (hide && object_resolve_path_component(
                    machine_get_container("peripheral"), id)) {
        error_setg(errp, "Duplicate device ID '%s'", id);
        return false;
    }
    if (hide) {
        f->opts = qdict_clone_shallow(opts);
        f->opts_from_json = from_json;
        failover_transition(f, R(PRIMARY_GIVEN), NULL);
    } else {
        f->new_opts = qdict_clone_shallow(opts);
        f->new_opts_from_json = from_json;
    }
    return hide;
}

/* Options that hide_device has taken cannot be used after all. */
static void failover_unhide_device(DeviceListener *listener, const QDict *opts)
{
    VirtIONetFailover *f =
        failover_find(qdict_get_try_str(opts, "failover_pair_id"));

    if (f && f->state == S(HIDDEN) &&
        !g_strcmp0(failover_primary_id(f), qdict_get_try_str(opts, "id"))) {
        qobject_unref(f->opts);
        f->opts = NULL;
        failover_transition(f, R(DELETED), NULL);
    }
}

static void failover_adopt(VirtIONetFailover *f, PCIDevice *pdev)
{
    const char *id = DEVICE(pdev)->id;

    f->primary = pdev;
    f->vmstate_gone = false;
    f->delete_wanted = false;
    pdev->failover_notify = failover_notify;
    pdev->failover_opaque = f;

    if (f->new_opts &&
        !g_strcmp0(qdict_get_try_str(f->new_opts, "id"), id)) {
        qobject_unref(f->opts);
        f->opts = g_steal_pointer(&f->new_opts);
        f->opts_from_json = f->new_opts_from_json;
    }
    if (f->preparing) {
        /* Seen by the slot's plug handler, which is called after this. */
        pdev->partially_hotplugged = true;
        f->preparing = false;
        failover_transition(f, R(PREPARED), NULL);
        return;
    }
    f->plugs++;
    failover_transition(f, R(PLUGGED), NULL);
    f->bus_master = false;
    failover_bus_master_changed(f);
}

static FailoverOrphan *failover_find_orphan(PCIDevice *pdev)
{
    FailoverOrphan *orphan;

    QTAILQ_FOREACH(orphan, &orphans, next) {
        if (orphan->dev == pdev) {
            return orphan;
        }
    }
    return NULL;
}

static void failover_add_orphan(PCIDevice *pdev)
{
    FailoverOrphan *orphan = g_new0(FailoverOrphan, 1);

    orphan->dev = pdev;
    QTAILQ_INSERT_TAIL(&orphans, orphan, next);
    if (!failover_has_vmstate(pdev)) {
        error_setg(&orphan->blocker, "Failover primary '%s' cannot be "
                   "migrated: it has no standby '%s'",
                   DEVICE(pdev)->id ?: "", pdev->failover_pair_id);
        migrate_add_blocker_internal(&orphan->blocker, NULL);
    }
}

static void failover_del_orphan(FailoverOrphan *orphan)
{
    if (orphan->blocker) {
        migrate_del_blocker(&orphan->blocker);
    }
    QTAILQ_REMOVE(&orphans, orphan, next);
    g_free(orphan);
}

/* NULL unless the device names a standby */
static PCIDevice *failover_as_primary(DeviceState *dev)
{
    PCIDevice *pdev = (PCIDevice *)object_dynamic_cast(OBJECT(dev),
                                                       TYPE_PCI_DEVICE);

    return pdev && pdev->failover_pair_id ? pdev : NULL;
}

/* May be called again for a device that is known. */
static void failover_device_realized(DeviceListener *listener,
                                     DeviceState *dev)
{
    PCIDevice *pdev = failover_as_primary(dev);
    VirtIONetFailover *f;

    if (!pdev || pdev->failover_notify || failover_find_orphan(pdev)) {
        return;
    }
    f = failover_find(pdev->failover_pair_id);
    if (f && !f->primary) {
        failover_adopt(f, pdev);
    } else {
        failover_add_orphan(pdev);
    }
}

static void failover_device_unrealized(DeviceListener *listener,
                                       DeviceState *dev)
{
    PCIDevice *pdev = failover_as_primary(dev);
    FailoverOrphan *orphan;
    VirtIONetFailover *f;

    if (!pdev) {
        return;
    }
    orphan = failover_find_orphan(pdev);
    if (orphan) {
        failover_del_orphan(orphan);
        return;
    }
    f = pdev->failover_notify ? pdev->failover_opaque : NULL;
    if (!f || f->primary != pdev) {
        return;
    }
    if (f->closing_wanted) {
        f->closing = pdev;
        f->primary = NULL;
        return;
    }
    /* It is nobody's any more, and may outlive the pair. */
    pdev->failover_notify = NULL;
    failover_forget_primary(f);
}

static void failover_delete_hidden(VirtIONetFailover *f)
{
    g_autofree char *id = g_strdup(failover_primary_id(f));
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);

    failover_transition(f, R(DELETED), NULL);
    qobject_unref(f->opts);
    f->opts = NULL;
    f->replug_when_closed = false;
    qemu_opts_del(qemu_opts_find(qemu_find_opts("device"), id));
    qapi_event_send_device_deleted(id, path);
}

static bool failover_delete_device_by_id(DeviceListener *listener,
                                         const char *id)
{
    VirtIONetFailover *f;

    QTAILQ_FOREACH(f, &pairs, next) {
        const char *primary = failover_primary_id(f);

        if (primary && (!strcmp(primary, id) ||
                        (f->primary &&
                         !g_strcmp0(DEVICE(f->primary)->canonical_path,
                                    id)))) {
            break;
        }
    }
    if (!f) {
        return false;
    }

    switch (f->state) {
    case S(HIDDEN):
    case S(RELEASED):
    case S(FAILED):
        failover_delete_hidden(f);
        return true;
    case S(PREPARED):
    case S(UNPLUGGED):
        if (f->closing) {
            /* Its device is going; without options it does not come back. */
            failover_stop_closing(f);
            failover_delete_hidden(f);
        } else if (failover_rom_in_use(f)) {
            f->delete_wanted = true;
        } else {
            failover_delete_device(f);
        }
        return true;
    case S(UNPLUGGING):
        f->delete_wanted = true;
        return true;
    default:
        if (f->primary->partially_hotplugged) {
            /* A request was given up; this is a new one, of another kind. */
            f->primary->partially_hotplugged = false;
            DEVICE(f->primary)->pending_deleted_event = false;
        }
        return false;
    }
}

static DeviceListener failover_listener = {
    .hide_device = failover_hide_device,
    .unhide_device = failover_unhide_device,
    .delete_device = failover_delete_device_by_id,
    .realize = failover_device_realized,
    .unrealize = failover_device_unrealized,
};

static void failover_register(void)
{
    static bool done;

    if (!done) {
        done = true;
        device_listener_register(&failover_listener);
        /* A snapshot may have what a reset would take from the guest. */
        qemu_register_reset_nosnapshotload(failover_machine_reset, NULL);
    }
}

bool virtio_net_failover_check(VirtIONet *n, Error **errp)
{
    const VirtIONetFailoverConf *conf = &n->failover_conf;
    FailoverOrphan *orphan;
    const char *first = NULL;

    if (conf->unplug_timeout > VIRTIO_NET_FAILOVER_TIMEOUT_MAX) {
        error_setg(errp, "failover-unplug-timeout must be between 0 and %d "
                   "milliseconds", VIRTIO_NET_FAILOVER_TIMEOUT_MAX);
        return false;
    }
    if (conf->announce_rounds > VIRTIO_NET_FAILOVER_ANNOUNCE_ROUNDS_MAX) {
        error_setg(errp, "failover-announce-rounds must be between 0 and %d",
                   VIRTIO_NET_FAILOVER_ANNOUNCE_ROUNDS_MAX);
        return false;
    }
    if (conf->announce_interval > VIRTIO_NET_FAILOVER_ANNOUNCE_INTERVAL_MAX) {
        error_setg(errp, "failover-announce-interval must be between 0 and %d "
                   "milliseconds", VIRTIO_NET_FAILOVER_ANNOUNCE_INTERVAL_MAX);
        return false;
    }
    if (conf->unplug_policy == VIRTIO_NET_FAILOVER_POLICY_SURPRISE &&
        !conf->unplug_timeout) {
        error_setg(errp, "failover-unplug-policy=surprise needs a "
                   "failover-unplug-timeout");
        return false;
    }

    failover_register();
    QTAILQ_FOREACH(orphan, &orphans, next) {
        if (g_strcmp0(orphan->dev->failover_pair_id, n->netclient_name)) {
            continue;
        }
        if (first) {
            error_setg(errp, "Cannot attach more than one primary device to "
                       "'%s': '%s' and '%s'", n->netclient_name, first,
                       DEVICE(orphan->dev)->id ?: "");
            return false;
        }
        first = DEVICE(orphan->dev)->id ?: "";
    }
    return true;
}

void virtio_net_failover_realize(VirtIONet *n)
{
    VirtIONetFailover *f = g_new0(VirtIONetFailover, 1);
    FailoverOrphan *orphan, *next;

    f->n = n;
    f->name = g_strdup(n->nic->ncs->name);
    f->deadline = timer_new_ms(QEMU_CLOCK_REALTIME, failover_deadline, f);
    f->bus_master_timer = timer_new_ms(QEMU_CLOCK_REALTIME,
                                       failover_bus_master_timer, f);
    f->replug_bh = qemu_bh_new(failover_replug_bh, f);
    f->vm_state = qemu_add_vm_change_state_handler(failover_vm_state, f);
    migration_add_notifier(&f->migration, failover_migration_event);
    f->postcopy.notify = failover_postcopy_event;
    postcopy_add_notifier(&f->postcopy);
    n->failover_pair = f;
    QTAILQ_INSERT_TAIL(&pairs, f, next);

    QTAILQ_FOREACH_SAFE(orphan, &orphans, next, next) {
        PCIDevice *pdev = orphan->dev;

        if (!f->primary && !strcmp(pdev->failover_pair_id, f->name)) {
            failover_del_orphan(orphan);
            failover_adopt(f, pdev);
        }
    }
}

void virtio_net_failover_unrealize(VirtIONet *n)
{
    VirtIONetFailover *f = n->failover_pair;

    if (!f) {
        return;
    }
    if (f->state == S(PREPARED) || (f->state == S(UNPLUGGED) && f->primary)) {
        failover_delete_device(f);
    } else if (f->opts && !f->primary) {
        failover_stop_closing(f);
        failover_delete_hidden(f);
    }
    failover_end_unplug(f);
    if (f->blocker) {
        migrate_del_blocker(&f->blocker);
    }
    QTAILQ_REMOVE(&pairs, f, next);
    n->failover_pair = NULL;
    if (f->primary) {
        /* The guest keeps it, as an ordinary device. */
        f->primary->failover_notify = NULL;
        f->primary->partially_hotplugged = false;
        failover_set_vmstate(f, true);
        failover_add_orphan(f->primary);
    }

    migration_remove_notifier(&f->migration);
    postcopy_remove_notifier(&f->postcopy);
    qemu_del_vm_change_state_handler(f->vm_state);
    qemu_announce_timer_del(&f->announce, false);
    qemu_bh_delete(f->replug_bh);
    timer_free(f->bus_master_timer);
    timer_free(f->deadline);
    qobject_unref(f->opts);
    qobject_unref(f->new_opts);
    g_free(f->last_error);
    g_free(f->name);
    g_free(f);
}

/* Monitor */

static VirtIONetFailover *failover_find_or_error(const char *standby,
                                                 Error **errp)
{
    VirtIONetFailover *f = failover_find(standby);

    if (!f) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "No virtio-net device '%s' with failover=on", standby);
    }
    return f;
}

void qmp_virtio_net_failover_unplug(const char *standby, bool has_timeout,
                                    uint32_t timeout, bool has_policy,
                                    VirtioNetFailoverPolicy policy,
                                    bool has_release, bool release,
                                    Error **errp)
{
    VirtIONetFailover *f = failover_find_or_error(standby, errp);
    VirtIONetFailoverConf *conf;

    if (!f) {
        return;
    }
    conf = &f->n->failover_conf;
    timeout = has_timeout ? timeout : conf->unplug_timeout;
    policy = has_policy ? policy : conf->unplug_policy;
    if (timeout > VIRTIO_NET_FAILOVER_TIMEOUT_MAX) {
        error_setg(errp, "timeout must be between 0 and %d milliseconds",
                   VIRTIO_NET_FAILOVER_TIMEOUT_MAX);
        return;
    }
    if (policy == VIRTIO_NET_FAILOVER_POLICY_SURPRISE && !timeout) {
        error_setg(errp, "policy 'surprise' needs a timeout");
        return;
    }
    if (f->state != S(PLUGGED) && f->state != S(ACTIVE)) {
        error_setg(errp, "Failover pair of standby '%s' is %s: there is no "
                   "primary to unplug", f->name,
                   VirtioNetFailoverState_str(f->state));
        return;
    }
    if (migration_is_running()) {
        error_setg(errp, "A migration is running");
        return;
    }
    failover_request_unplug(f, FAILOVER_CAUSE_COMMAND, timeout, policy,
                            has_release ? release : conf->release, errp);
}

void qmp_virtio_net_failover_replug(const char *standby, Error **errp)
{
    VirtIONetFailover *f = failover_find_or_error(standby, errp);

    if (!f) {
        return;
    }
    if (f->state == S(ABSENT)) {
        error_setg(errp, "Standby '%s' has no primary", f->name);
        return;
    }
    if (failover_in_guest(f)) {
        error_setg(errp, "The guest has the primary of standby '%s' already",
                   f->name);
        return;
    }
    if (f->replug_when_closed && f->closing) {
        error_setg(errp, "The primary of standby '%s' is being plugged "
                   "already", f->name);
        return;
    }
    if (!failover_guest_ready(f)) {
        error_setg(errp, "The guest has not negotiated VIRTIO_NET_F_STANDBY "
                   "with standby '%s'", f->name);
        return;
    }
    if (migration_is_running() || runstate_check(RUN_STATE_INMIGRATE)) {
        error_setg(errp, "A migration is running");
        return;
    }
    failover_plug(f, errp);
}

static VirtioNetFailoverInfo *failover_info(VirtIONetFailover *f)
{
    VirtioNetFailoverInfo *info = g_new0(VirtioNetFailoverInfo, 1);
    VirtioNetFailoverTransitionList **tail = &info->transitions;
    unsigned i;

    info->standby = g_strdup(f->name);
    /* What the user knows is the transport's device, if it has made this one */
    info->standby_path = object_get_canonical_path(DEVICE(f->n)->id ?
                                                   OBJECT(f->n) :
                                                   OBJECT(f->n)->parent);
    info->primary = g_strdup(failover_primary_id(f));
    if (f->primary) {
        info->primary_path = object_get_canonical_path(OBJECT(f->primary));
    }
    info->state = f->state;
    info->negotiated = f->negotiated;
    info->unplug_timeout = f->n->failover_conf.unplug_timeout;
    info->unplug_policy = f->n->failover_conf.unplug_policy;
    info->replug = f->n->failover_conf.replug;
    info->release = f->n->failover_conf.release;
    info->prepare = f->n->failover_conf.prepare;
    info->require_standby = f->n->failover_conf.require_standby;
    info->plugs = f->plugs;
    info->unplugs = f->unplugs;
    info->timeouts = f->timeouts;
    info->errors = f->errors;
    info->last_error = g_strdup(f->last_error);
    for (i = 0; i < f->history_len; i++) {
        VirtioNetFailoverTransition *entry =
            g_memdup2(&f->history[i], sizeof(f->history[i]));

        QAPI_LIST_APPEND(tail, entry);
    }
    return info;
}

VirtioNetFailoverInfoList *qmp_query_virtio_net_failover(Error **errp)
{
    VirtioNetFailoverInfoList *list = NULL, **tail = &list;
    VirtIONetFailover *f;

    QTAILQ_FOREACH(f, &pairs, next) {
        QAPI_LIST_APPEND(tail, failover_info(f));
    }
    return list;
}

static void hmp_info_virtio_net_failover(Monitor *mon, const QDict *qdict)
{
    VirtioNetFailoverInfoList *list = qmp_query_virtio_net_failover(NULL);
    VirtioNetFailoverInfoList *item;

    if (!list) {
        monitor_printf(mon, "No failover pair\n");
    }
    for (item = list; item; item = item->next) {
        VirtioNetFailoverInfo *info = item->value;
        VirtioNetFailoverTransitionList *t;

        monitor_printf(mon, "%s: primary %s, %s%s\n", info->standby,
                       info->primary ?: "none",
                       VirtioNetFailoverState_str(info->state),
                       info->negotiated ? "" : ", standby not negotiated");
        monitor_printf(mon, "  plugs %" PRIu64 ", unplugs %" PRIu64
                       ", timeouts %" PRIu64 ", errors %" PRIu64 "\n",
                       info->plugs, info->unplugs, info->timeouts,
                       info->errors);
        if (info->last_error) {
            monitor_printf(mon, "  last error: %s\n", info->last_error);
        }
        for (t = info->transitions; t; t = t->next) {
            g_autoptr(GDateTime) time =
                g_date_time_new_from_unix_local(t->value->time_us / 1000000);
            g_autofree char *text = g_date_time_format(time, "%T");

            monitor_printf(mon, "  %s.%06d %s -> %s (%s)\n", text,
                           (int)(t->value->time_us % 1000000),
                           VirtioNetFailoverState_str(t->value->old_state),
                           VirtioNetFailoverState_str(t->value->new_state),
                           VirtioNetFailoverReason_str(t->value->reason));
        }
    }
    qapi_free_VirtioNetFailoverInfoList(list);
}

/*
 * From here on there may be primaries without any standby, which nobody
 * else would keep a migration from losing.
 */
static void failover_machine_done(Notifier *notifier, void *data)
{
    failover_register();
}

static void failover_init(void)
{
    static Notifier machine_done = { .notify = failover_machine_done };

    qemu_add_machine_init_done_notifier(&machine_done);
    monitor_register_hmp("virtio-net-failover", true,
                         hmp_info_virtio_net_failover);
}

type_init(failover_init)
