/*
 * Helpers for the tests of virtio-net failover
 *
 * A machine with PCI Express root ports, a guest that does what the test
 * says, and QMP with waits that end: what does not happen within
 * FAILOVER_WAIT_MS fails the test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VIRTIO_NET_FAILOVER_UTIL_H
#define VIRTIO_NET_FAILOVER_UTIL_H

#include "libqtest.h"
#include "libqos/pci.h"
#include "libqos/virtio-pci.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"

/* Less than half a minute, for which QEMU itself waits for a guest */
#define FAILOVER_WAIT_MS 20000
#define FAILOVER_PORTS_MAX 8

#define VIRTIO_NET_F_STANDBY 62

/* What a guest reads where no device answers */
#define FAILOVER_NOTHING 0xffff

/* Who does hotplug behind the root ports */
typedef enum FailoverHotplug {
    FAILOVER_ACPI,
    FAILOVER_NATIVE,
} FailoverHotplug;

/* What the guest is told about a slot */
typedef enum FailoverSlotEvent {
    FAILOVER_SLOT_NONE = 0,
    FAILOVER_SLOT_PLUG = 1,
    FAILOVER_SLOT_UNPLUG = 2,
} FailoverSlotEvent;

typedef struct FailoverVM {
    QTestState *qts;
    QPCIBus *bus;
    QGuestAllocator alloc;
    FailoverHotplug hotplug;
    unsigned ports;
    uint32_t bsel[FAILOVER_PORTS_MAX];      /* of each root port's bus */
    bool stock;             /* this QEMU has no VIRTIO_NET_FAILOVER_STATE */
    GQueue events;          /* QDicts, oldest first */
} FailoverVM;

/* Machine */

/*
 * Start q35 with root ports root0, root1... (@ports of them), each of which
 * is a bus of the same name, and the given further arguments.
 */
FailoverVM *failover_vm_start(FailoverHotplug hotplug, unsigned ports,
                              const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* The same with the QEMU binary that environment variable @env names */
FailoverVM *failover_vm_start_env(const char *env, FailoverHotplug hotplug,
                                  unsigned ports, const char *fmt, ...)
                                  G_GNUC_PRINTF(4, 5);
void failover_vm_stop(FailoverVM *vm);

/* QMP */

/*
 * Run a command that must work, and return the value of "return" if it is
 * an object or else NULL.
 */
QDict *failover_qmp(FailoverVM *vm, const char *fmt, ...)
                    G_GNUC_PRINTF(2, 3);
/* Run a command that must fail; returns the "error" with class and desc */
QDict *failover_qmp_error(FailoverVM *vm, const char *fmt, ...)
                          G_GNUC_PRINTF(2, 3);
/* The same, return desc only; @class: what the error's class must be */
char *failover_qmp_refused(FailoverVM *vm, const char *class,
                           const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Take in what has come so far */
void failover_events_poll(FailoverVM *vm);
/* Forget what has come so far */
void failover_events_drop(FailoverVM *vm);
/* Take the oldest @name event out, NULL if there is none */
QDict *failover_event_take(FailoverVM *vm, const char *name);
/* Take the oldest @name event out, wait for one if necessary */
QDict *failover_event_wait(FailoverVM *vm, const char *name);
/* Number of @name events that have come and were not taken */
unsigned failover_event_count(FailoverVM *vm, const char *name);
/* Wall clock time of an event in microseconds */
int64_t failover_event_time(QDict *event);
/* DEVICE_DELETED of @id has come and was not taken */
bool failover_was_deleted(FailoverVM *vm, const char *id);
/* Wait for DEVICE_DELETED of @id */
void failover_wait_deleted(FailoverVM *vm, const char *id);

/*
 * Wait until @standby has got into state @state, for @reason if it is not
 * NULL; takes the state events of this pair up to that one.  Returns it.
 */
QDict *failover_state_wait(FailoverVM *vm, const char *standby,
                           const char *state, const char *reason);
/* The same, forget the event */
void failover_wait(FailoverVM *vm, const char *standby,
                   const char *state, const char *reason);
/* The pair's next state event must be this one */
void failover_expect(FailoverVM *vm, const char *standby, const char *old,
                     const char *state, const char *reason);

/* The pair as query-virtio-net-failover shows it, NULL if there is none */
QDict *failover_query(FailoverVM *vm, const char *standby);
void failover_assert_state(FailoverVM *vm, const char *standby,
                           const char *state);
int64_t failover_counter(FailoverVM *vm, const char *standby,
                         const char *name);
/* The device is in /machine/peripheral */
bool failover_device_exists(FailoverVM *vm, const char *id);

/*
 * device_add, of the given driver and id, with options in the form of a JSON
 * object as for qtest_qmp().  Must work, though the device may stay hidden.
 */
void failover_device_add(FailoverVM *vm, const char *driver, const char *id,
                         const char *fmt, ...) G_GNUC_PRINTF(4, 5);
void failover_device_del(FailoverVM *vm, const char *id);

/* Migration */

void failover_set_capability(FailoverVM *vm, const char *name, bool on);
/* Start a migration; it may still fail */
void failover_migrate(FailoverVM *vm, const char *uri);
void failover_migrate_to_file(FailoverVM *vm, const char *file);
/*
 * Start a migration to a file and wait for UNPLUG_PRIMARY: for what may be
 * over soon after that
 */
void failover_migrate_unplug(FailoverVM *vm, const char *file,
                             const char *primary);
/* The same, until it waits for the guest */
void failover_migrate_asked(FailoverVM *vm, const char *file,
                            const char *primary);
/* migrate_incoming */
void failover_incoming(FailoverVM *vm, const char *uri);
void failover_incoming_from_file(FailoverVM *vm, const char *file);
void failover_migrate_cancel(FailoverVM *vm);
char *failover_migration_status(FailoverVM *vm);
/*
 * Wait for a status of the migration.  Reaching another final status fails
 * the test.
 */
void failover_wait_status(FailoverVM *vm, const char *status);
/* Wait for status "failed"; returns the reason, NULL if there is none */
char *failover_wait_failed(FailoverVM *vm);
/* A temporary file's name; the file exists.  Unlink and free it. */
char *failover_temp_file(void);

/* Guest */

/* As firmware does: number the buses, open the root ports' windows */
void failover_guest_boot(FailoverVM *vm);
/* Start the virtio driver of the device in root port number @port */
QVirtioPCIDevice *failover_guest_negotiate(FailoverVM *vm, unsigned port,
                                           bool standby);
/* The driver lets go of the device */
void failover_guest_reset(QVirtioPCIDevice *dev);
void failover_guest_free(QVirtioPCIDevice *dev);
/* What the guest has been told about the slot; now it knows */
unsigned failover_guest_slot_event(FailoverVM *vm, unsigned port);
/* Native hotplug: slot control, and how the guest gives a slot power */
uint16_t failover_guest_slot_status(FailoverVM *vm, unsigned port);
uint16_t failover_guest_slot_control(FailoverVM *vm, unsigned port);
void failover_guest_set_slot_control(FailoverVM *vm, unsigned port,
                                     uint16_t mask, uint16_t value);
void failover_guest_power_on(FailoverVM *vm, unsigned port);
/* Release the device in the slot: ACPI eject, or power off */
void failover_guest_ack(FailoverVM *vm, unsigned port);
/* Config space of function 0 in the slot */
uint16_t failover_guest_readw(FailoverVM *vm, unsigned port, uint8_t reg);
uint32_t failover_guest_readl(FailoverVM *vm, unsigned port, uint8_t reg);
void failover_guest_writew(FailoverVM *vm, unsigned port, uint8_t reg,
                           uint16_t value);
void failover_guest_writel(FailoverVM *vm, unsigned port, uint8_t reg,
                           uint32_t value);
/* FAILOVER_NOTHING if the guest does not see a device */
uint16_t failover_guest_vendor(FailoverVM *vm, unsigned port);
void failover_guest_set_bus_master(FailoverVM *vm, unsigned port, bool on);
/*
 * Wait until the guest finds a device in the slot.  A guest with native
 * hotplug gives the slot power when it is told of a device.
 */
void failover_guest_wait_visible(FailoverVM *vm, unsigned port);
/* Wait until it finds nothing there */
void failover_guest_wait_gone(FailoverVM *vm, unsigned port);

/*
 * A loop's condition: false when FAILOVER_WAIT_MS have passed since *@start
 * (0 at first).  Takes a short break.
 */
bool failover_again(int64_t *start);

/* Wait until the machine runs */
void failover_wait_running(FailoverVM *vm);

#endif
