/*
 * Tests of virtio-net failover: how a primary leaves the guest and returns
 *
 * Tests that have no need of anything that QEMU 10.0 lacks run with it too,
 * and show its faults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "virtio-net-failover-util.h"

#define DRIVER "virtio-net-pci"

/* Without a ROM, which a device that is to be closed must not have */
#define STANDBY "-device " DRIVER ",bus=root0,id=standby0,failover=on," \
                "romfile="
#define PRIMARY "-device " DRIVER ",bus=root1,id=primary0," \
                "failover_pair_id=standby0,romfile="

#define STANDBY_JSON "-device '{\"driver\": \"" DRIVER "\"," \
                     " \"bus\": \"root0\", \"id\": \"standby0\"," \
                     " \"failover\": true, \"romfile\": \"\"}'"
#define PRIMARY_JSON "-device '{\"driver\": \"" DRIVER "\"," \
                     " \"bus\": \"root1\", \"id\": \"primary0\"," \
                     " \"failover_pair_id\": \"standby0\"," \
                     " \"romfile\": \"\"}'"

#define STANDBY_OPTS "{ 'bus': 'root0', 'failover': true, 'romfile': '' }"
#define PRIMARY_OPTS "{ 'bus': 'root1', 'failover_pair_id': 'standby0', " \
                     "'romfile': '' }"

/* Somewhere in the root ports' window */
#define BAR4_ADDR 0xe0800000u

/* Below this, in us, "at once": stock QEMU looks every 250 ms. */
#define AT_ONCE 20000

/* How standby and primary came to be */
typedef enum Order {
    STANDBY_FIRST,
    PRIMARY_FIRST,
    STANDBY_FIRST_JSON,
    PRIMARY_FIRST_JSON,
    PRIMARY_COLD_STANDBY_HOT,
    STANDBY_HOT_FIRST,
    PRIMARY_HOT_FIRST,
    PRIMARY_HOT_LAST,
    PRIMARY_FIRST_STANDBY_JSON,
    PRIMARY_JSON_FIRST_STANDBY,
    ORDER_MAX
} Order;

static const char *const order_names[ORDER_MAX] = {
    [STANDBY_FIRST] = "standby-first",
    [PRIMARY_FIRST] = "primary-first",
    [STANDBY_FIRST_JSON] = "standby-first-json",
    [PRIMARY_FIRST_JSON] = "primary-first-json",
    [PRIMARY_COLD_STANDBY_HOT] = "primary-cold-standby-hot",
    [STANDBY_HOT_FIRST] = "standby-hot-first",
    [PRIMARY_HOT_FIRST] = "primary-hot-first",
    [PRIMARY_HOT_LAST] = "primary-hot-last",
    [PRIMARY_FIRST_STANDBY_JSON] = "primary-first-standby-json",
    [PRIMARY_JSON_FIRST_STANDBY] = "primary-json-first-standby",
};

static const char *const order_args[ORDER_MAX] = {
    [STANDBY_FIRST] = STANDBY " " PRIMARY,
    [PRIMARY_FIRST] = PRIMARY " " STANDBY,
    [STANDBY_FIRST_JSON] = STANDBY_JSON " " PRIMARY_JSON,
    [PRIMARY_FIRST_JSON] = PRIMARY_JSON " " STANDBY_JSON,
    [PRIMARY_COLD_STANDBY_HOT] = PRIMARY,
    [STANDBY_HOT_FIRST] = "",
    [PRIMARY_HOT_FIRST] = "",
    [PRIMARY_HOT_LAST] = STANDBY,
    [PRIMARY_FIRST_STANDBY_JSON] = PRIMARY " " STANDBY_JSON,
    [PRIMARY_JSON_FIRST_STANDBY] = PRIMARY_JSON " " STANDBY,
};

static const char *const hotplug_names[] = {
    [FAILOVER_ACPI] = "acpi",
    [FAILOVER_NATIVE] = "native",
};

typedef struct Case {
    FailoverHotplug hotplug;
    Order order;
} Case;

/* A guest that uses the pair of standby0 in root0 and primary0 in root1 */
typedef struct Pair {
    FailoverVM *vm;
    QVirtioPCIDevice *dev;      /* the standby's driver */
    char *file;                 /* to migrate to */
} Pair;

static void add_standby(FailoverVM *vm)
{
    failover_device_add(vm, DRIVER, "standby0", STANDBY_OPTS);
    failover_guest_wait_visible(vm, 0);
}

/* Both devices are there, the driver of the standby has not started. */
static FailoverVM *start_order(FailoverHotplug hotplug, Order order)
{
    FailoverVM *vm = failover_vm_start(hotplug, 2, "%s", order_args[order]);

    switch (order) {
    case PRIMARY_COLD_STANDBY_HOT:
        add_standby(vm);
        break;
    case STANDBY_HOT_FIRST:
        add_standby(vm);
        failover_device_add(vm, DRIVER, "primary0", PRIMARY_OPTS);
        break;
    case PRIMARY_HOT_FIRST:
        failover_device_add(vm, DRIVER, "primary0", PRIMARY_OPTS);
        failover_guest_wait_visible(vm, 1);
        add_standby(vm);
        break;
    default:
        break;
    }
    return vm;
}

/* The guest's driver of the primary starts. */
static void use_primary(FailoverVM *vm)
{
    failover_guest_wait_visible(vm, 1);
    /* So that it is not taken for the news of the next plug */
    failover_guest_slot_event(vm, 1);
    failover_guest_writel(vm, 1, PCI_BASE_ADDRESS_4, BAR4_ADDR);
    failover_guest_set_bus_master(vm, 1, true);
    if (!vm->stock) {
        failover_wait(vm, "standby0", "active", "bus-master-on");
    }
}

static Pair pair_start_order(FailoverHotplug hotplug, Order order)
{
    Pair p = { .file = failover_temp_file() };

    p.vm = start_order(hotplug, order);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    if (order == PRIMARY_HOT_LAST) {
        failover_device_add(p.vm, DRIVER, "primary0", PRIMARY_OPTS);
    }
    use_primary(p.vm);
    return p;
}

/* @options: of the standby, each of which begins with a comma */
static Pair pair_start(FailoverHotplug hotplug, const char *options)
{
    Pair p = { .file = failover_temp_file() };

    p.vm = failover_vm_start(hotplug, 3, STANDBY "%s " PRIMARY, options);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    use_primary(p.vm);
    return p;
}

static void pair_stop(Pair *p)
{
    if (p->dev) {
        failover_guest_free(p->dev);
    }
    failover_vm_stop(p->vm);
    unlink(p->file);
    g_free(p->file);
}

/* Where nothing else is, of the 128 MiB that there are */
#define FILL_ADDR (64 * MiB)
#define FILL_SIZE (32 * MiB)

/*
 * So slow that a migration takes more than a minute, or as fast as can be.
 * However low the limit is, QEMU sends 32 KiB ten times a second: enough for
 * 128 MiB of zeroes in a second.
 */
static void set_slow(FailoverVM *vm, bool slow)
{
    if (slow) {
        qtest_memset(vm->qts, FILL_ADDR, 0x5a, FILL_SIZE);
    }
    qobject_unref(failover_qmp(vm, "{ 'execute': 'migrate-set-parameters', "
                               "'arguments': { 'max-bandwidth': %"
                               PRId64 " } }",
                               slow ? (int64_t)4096 : (int64_t)1 << 40));
}

static void cont(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'cont' }"));
}

static void unplug(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm,
                               "{ 'execute': 'virtio-net-failover-unplug', "
                               "'arguments': { 'standby': 'standby0' } }"));
}

static void replug(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm,
                               "{ 'execute': 'virtio-net-failover-replug', "
                               "'arguments': { 'standby': 'standby0' } }"));
}

static void system_reset(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'system_reset' }"));
    qobject_unref(failover_event_wait(vm, "RESET"));
    failover_guest_boot(vm);
}

static void wait_state(FailoverVM *vm, const char *state, const char *reason)
{
    if (!vm->stock) {
        failover_wait(vm, "standby0", state, reason);
    }
}

static void assert_state(FailoverVM *vm, const char *state)
{
    if (!vm->stock) {
        failover_assert_state(vm, "standby0", state);
    }
}

/* The primary is back in the guest, as new, and the guest was told. */
static void assert_back(Pair *p)
{
    failover_guest_wait_visible(p->vm, 1);
    if (p->vm->hotplug == FAILOVER_ACPI) {
        g_assert_cmpuint(failover_guest_slot_event(p->vm, 1), ==,
                         FAILOVER_SLOT_PLUG);
    }
    wait_state(p->vm, "plugged", "plugged");
}

static void assert_reset(Pair *p)
{
    g_assert_cmphex(failover_guest_readw(p->vm, 1, PCI_COMMAND) &
                    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                     PCI_COMMAND_MASTER), ==, 0);
    g_assert_cmphex(failover_guest_readl(p->vm, 1, PCI_BASE_ADDRESS_4) & ~0xf,
                    ==, 0);
}

/* The primary stayed in the guest, untouched. */
static void assert_kept(Pair *p)
{
    g_assert_cmphex(failover_guest_vendor(p->vm, 1), !=, FAILOVER_NOTHING);
    g_assert_cmphex(failover_guest_readw(p->vm, 1, PCI_COMMAND) &
                    (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), ==,
                    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmphex(failover_guest_readl(p->vm, 1, PCI_BASE_ADDRESS_4) & ~0xf,
                    ==, BAR4_ADDR);
}

/* A whole migration works, and the primary is gone for it. */
static void migrate_whole(Pair *p)
{
    set_slow(p->vm, false);
    failover_migrate_asked(p->vm, p->file, "primary0");
    failover_guest_ack(p->vm, 1);
    failover_wait_status(p->vm, "completed");
    failover_guest_wait_gone(p->vm, 1);
}

/* 1: migration goes on as soon as the guest has acked */

static int compare_times(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

#define ACK_RUNS 15

static void test_ack_latency(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");
    int64_t times[ACK_RUNS];
    unsigned i;

    failover_set_capability(p.vm, "events", true);
    set_slow(p.vm, true);
    for (i = 0; i < ACK_RUNS; i++) {
        const char *status = "";
        int64_t acked;

        failover_migrate_asked(p.vm, p.file, "primary0");
        failover_events_drop(p.vm);
        /* At any point of a wait of 250 ms, to be fair to stock QEMU */
        g_usleep(i * 250000 / ACK_RUNS);
        acked = g_get_real_time();
        failover_guest_ack(p.vm, 1);
        while (strcmp(status, "active")) {
            QDict *event = failover_event_wait(p.vm, "MIGRATION");

            status = !strcmp(qdict_get_str(qdict_get_qdict(event, "data"),
                                           "status"), "active") ?
                     "active" : "";
            times[i] = failover_event_time(event) - acked;
            qobject_unref(event);
        }
        failover_migrate_cancel(p.vm);
        failover_wait_status(p.vm, "cancelled");
        use_primary(p.vm);
    }
    qsort(times, ACK_RUNS, sizeof(times[0]), compare_times);
    g_test_message("ack to active, us: least %" PRId64 ", median %" PRId64
                   ", most %" PRId64, times[0], times[ACK_RUNS / 2],
                   times[ACK_RUNS - 1]);
    /* Not the median: a busy machine may be late in most of them. */
    g_assert_cmpint(times[ACK_RUNS / 4], <, AT_ONCE);
    pair_stop(&p);
}

/* 2: a guest that does not ack */

static void test_deadline_abort(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), ",failover-unplug-timeout=300");
    g_autofree char *reason = NULL;
    int64_t begin = g_get_monotonic_time();

    failover_migrate_unplug(p.vm, p.file, "primary0");
    reason = failover_wait_failed(p.vm);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 300000);
    g_assert_nonnull(reason);
    g_assert_nonnull(strstr(reason, "primary0"));
    failover_expect(p.vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(p.vm, "standby0", "unplugging", "plugged", "timed-out");
    failover_expect(p.vm, "standby0", "plugged", "active", "bus-master-on");
    g_assert_cmpint(failover_counter(p.vm, "standby0", "timeouts"), ==, 1);
    assert_kept(&p);

    /* The guest is done at last: it gets the primary back. */
    failover_guest_slot_event(p.vm, 1);
    failover_guest_ack(p.vm, 1);
    failover_expect(p.vm, "standby0", "active", "unplugged",
                    "guest-released");
    assert_back(&p);
    assert_reset(&p);

    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* The first request was given up; the guest acks the second one. */
static void test_deadline_abort_again(const void *data)
{
    FailoverHotplug hotplug = GPOINTER_TO_INT(data);
    Pair p = pair_start(hotplug, ",failover-unplug-timeout=1000");

    failover_migrate_asked(p.vm, p.file, "primary0");
    g_free(failover_wait_failed(p.vm));
    assert_kept(&p);
    migrate_whole(&p);
    cont(p.vm);
    assert_back(&p);
    assert_reset(&p);
    pair_stop(&p);
}

static void test_deadline_surprise(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), ",failover-unplug-timeout=1000,"
                        "failover-unplug-policy=surprise");
    int64_t begin = g_get_monotonic_time();
    unsigned event;

    failover_migrate_asked(p.vm, p.file, "primary0");
    /* The request is seen; from now on only what comes after it counts. */
    failover_guest_slot_event(p.vm, 1);
    failover_expect(p.vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(p.vm, "standby0", "unplugging", "unplugged",
                    "surprise-removed");
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 1000000);
    g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
    event = failover_guest_slot_event(p.vm, 1);
    if (p.vm->hotplug == FAILOVER_ACPI) {
        /* Look at the slot: nothing there. */
        g_assert_cmpuint(event, ==, FAILOVER_SLOT_PLUG);
    } else {
        g_assert_cmpuint(event, ==, FAILOVER_SLOT_UNPLUG);
        g_assert_cmphex(failover_guest_slot_status(p.vm, 1) &
                        PCI_EXP_SLTSTA_PDS, ==, 0);
    }
    failover_wait_status(p.vm, "completed");
    g_assert_cmpint(failover_counter(p.vm, "standby0", "timeouts"), ==, 1);

    if (p.vm->hotplug == FAILOVER_NATIVE) {
        /* As pciehp does with a slot that has become empty */
        failover_guest_ack(p.vm, 1);
    }
    cont(p.vm);
    assert_back(&p);
    assert_reset(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* The answer comes when the next primary is there already. */
static void test_deadline_surprise_late_ack(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), ",failover-unplug-timeout=200,"
                        "failover-unplug-policy=surprise");

    failover_migrate_unplug(p.vm, p.file, "primary0");
    failover_wait(p.vm, "standby0", "unplugged", "surprise-removed");
    failover_wait_status(p.vm, "completed");
    cont(p.vm);
    failover_guest_wait_visible(p.vm, 1);
    failover_expect(p.vm, "standby0", "unplugged", "plugged", "plugged");
    failover_guest_slot_event(p.vm, 1);

    failover_guest_ack(p.vm, 1);
    failover_expect(p.vm, "standby0", "plugged", "unplugged",
                    "guest-released");
    assert_back(&p);
    assert_reset(&p);
    g_assert_false(failover_was_deleted(p.vm, "primary0"));
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* 3: cancel while the guest has not acked */

/* At once: FAILOVER_WAIT_MS are less than the time that the guest has. */
static void test_cancel_deadline(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data),
                        ",failover-unplug-timeout=60000");
    unsigned i;

    for (i = 0; i < 2; i++) {
        failover_migrate_asked(p.vm, p.file, "primary0");
        failover_migrate_cancel(p.vm);
        failover_wait_status(p.vm, "cancelled");
        wait_state(p.vm, "plugged", "cancelled");
        wait_state(p.vm, "active", "bus-master-on");
        assert_kept(&p);

        failover_guest_slot_event(p.vm, 1);
        failover_guest_ack(p.vm, 1);
        wait_state(p.vm, "unplugged", "guest-released");
        assert_back(&p);
        assert_reset(&p);
        use_primary(p.vm);
    }
    migrate_whole(&p);
    pair_stop(&p);
}

/*
 * Without a deadline it is as in stock QEMU: cancelling until the ack, which
 * is waited for longer than FAILOVER_WAIT_MS.
 */
static void test_cancel_no_deadline(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");
    int64_t begin = g_get_monotonic_time();

    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_migrate_cancel(p.vm);
    do {
        g_autofree char *status = failover_migration_status(p.vm);

        g_assert_cmpstr(status, ==, "cancelling");
    } while (g_get_monotonic_time() - begin < 700000);
    failover_guest_slot_event(p.vm, 1);
    failover_guest_ack(p.vm, 1);
    failover_wait_status(p.vm, "cancelled");
    assert_back(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/*
 * The wait ends after half a minute, however often it is woken, and the guest
 * keeps the primary.
 */
static void test_cancel_no_deadline_slow(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");
    g_autofree char *status = NULL;
    int64_t begin;

    failover_migrate_asked(p.vm, p.file, "primary0");
    begin = g_get_monotonic_time();
    do {
        failover_migrate_cancel(p.vm);
        g_free(status);
        status = failover_migration_status(p.vm);
        g_usleep(10000);
    } while (!strcmp(status, "cancelling") &&
             g_get_monotonic_time() - begin < 60000000);
    g_assert_cmpstr(status, ==, "cancelled");
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 30000000);
    wait_state(p.vm, "plugged", "cancelled");
    wait_state(p.vm, "active", "bus-master-on");
    assert_kept(&p);

    failover_guest_slot_event(p.vm, 1);
    failover_guest_ack(p.vm, 1);
    assert_back(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* 4: after cancel or failure every primary is back */

static void back_after_cancel(Pair *p)
{
    set_slow(p->vm, true);
    failover_migrate_asked(p->vm, p->file, "primary0");
    failover_guest_ack(p->vm, 1);
    failover_wait_status(p->vm, "active");
    failover_guest_wait_gone(p->vm, 1);
    failover_migrate_cancel(p->vm);
    failover_wait_status(p->vm, "cancelled");
    assert_back(p);
}

static void test_back(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);

    back_after_cancel(&p);
    use_primary(p.vm);
    back_after_cancel(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

static void test_back_reset(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);

    back_after_cancel(&p);
    assert_reset(&p);
    pair_stop(&p);
}

/* With an address, which is in its config space as well */
#define E1000E "-device e1000e,bus=root1,id=primary0," \
               "failover_pair_id=standby0,romfile=,mac=52:54:00:0e:10:00"

/*
 * Its vmstate is registered again: without its standby the primary is
 * migrated as any other device.  Not virtio-net: what a virtio device has
 * registered does not belong to the PCI device.
 */
static void test_back_vmstate(const void *data)
{
    const Case *c = data;
    Pair p = { .file = failover_temp_file() };
    bool cold = c->order == PRIMARY_COLD_STANDBY_HOT;
    FailoverVM *dst;

    p.vm = failover_vm_start(c->hotplug, 2, "%s " E1000E, cold ? "" : STANDBY);
    if (cold) {
        add_standby(p.vm);
    }
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    use_primary(p.vm);
    back_after_cancel(&p);
    use_primary(p.vm);
    failover_guest_writel(p.vm, 1, PCI_BASE_ADDRESS_0, BAR4_ADDR);

    failover_guest_free(p.dev);
    p.dev = NULL;
    failover_device_del(p.vm, "standby0");
    failover_guest_ack(p.vm, 0);
    failover_wait_deleted(p.vm, "standby0");

    set_slow(p.vm, false);
    failover_migrate_to_file(p.vm, p.file);
    failover_wait_status(p.vm, "completed");

    dst = failover_vm_start(c->hotplug, 2, E1000E " -incoming defer");
    failover_incoming_from_file(dst, p.file);
    failover_wait_status(dst, "completed");
    g_assert_cmphex(failover_guest_readl(dst, 1, PCI_BASE_ADDRESS_0) & ~0xf,
                    ==, BAR4_ADDR);
    g_assert_cmphex(failover_guest_readw(dst, 1, PCI_COMMAND) &
                    PCI_COMMAND_MASTER, !=, 0);
    failover_vm_stop(dst);
    pair_stop(&p);
}

/* 5: a destination in any order */

static void test_hidden(const void *data)
{
    const Case *c = data;
    FailoverVM *vm = start_order(c->hotplug, c->order);
    QVirtioPCIDevice *dev;

    g_assert_false(failover_device_exists(vm, "primary0"));
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    g_assert_true(failover_device_exists(vm, "primary0"));
    failover_guest_free(dev);
    failover_vm_stop(vm);
}

static void test_destination(const void *data)
{
    const Case *c = data;
    Pair p = pair_start(c->hotplug, "");
    FailoverVM *dst;

    migrate_whole(&p);
    dst = failover_vm_start(c->hotplug, 3, "%s -incoming defer",
                            order_args[c->order]);
    g_assert_false(failover_device_exists(dst, "primary0"));
    g_assert_cmphex(failover_guest_vendor(dst, 1), ==, FAILOVER_NOTHING);
    failover_incoming_from_file(dst, p.file);
    failover_wait_status(dst, "completed");
    qobject_unref(failover_event_wait(dst, "FAILOVER_NEGOTIATED"));
    failover_guest_wait_visible(dst, 1);
    wait_state(dst, "plugged", "plugged");
    failover_vm_stop(dst);
    pair_stop(&p);
}

/* 6: the source goes on */

static void test_source_cont(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);
    unsigned i;

    for (i = 0; i < 2; i++) {
        migrate_whole(&p);
        failover_guest_slot_event(p.vm, 1);
        cont(p.vm);
        assert_back(&p);
        use_primary(p.vm);
    }
    pair_stop(&p);
}

/* The other side goes away while memory is sent. */
static void test_source_dead_peer(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);

    failover_migrate(p.vm, "exec:exec dd bs=1 count=1 of=/dev/null 2>&-");
    qobject_unref(failover_event_wait(p.vm, "UNPLUG_PRIMARY"));
    failover_guest_ack(p.vm, 1);
    g_free(failover_wait_failed(p.vm));
    assert_back(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

static void test_source_killed_destination(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);
    g_autofree char *path = g_strdup_printf("%s.sock", p.file);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    FailoverVM *dst = failover_vm_start(c->hotplug, 2, "%s -incoming %s",
                                        order_args[STANDBY_FIRST], uri);

    set_slow(p.vm, true);
    failover_migrate(p.vm, uri);
    qobject_unref(failover_event_wait(p.vm, "UNPLUG_PRIMARY"));
    failover_guest_ack(p.vm, 1);
    failover_wait_status(p.vm, "active");
    failover_guest_wait_gone(p.vm, 1);
    qtest_kill_qemu(dst->qts);
    failover_vm_stop(dst);
    unlink(path);
    g_free(failover_wait_failed(p.vm));
    assert_back(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* Nobody listens: the guest is not even asked. */
static void test_source_no_destination(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");
    g_autofree char *uri = g_strdup_printf("unix:%s.no", p.file);
    QDict *resp;

    resp = qtest_qmp(p.vm->qts, "{ 'execute': 'migrate', "
                     "'arguments': { 'uri': %s } }", uri);
    if (qdict_haskey(resp, "return")) {
        g_free(failover_wait_failed(p.vm));
    }
    qobject_unref(resp);
    g_assert_cmpuint(failover_event_count(p.vm, "UNPLUG_PRIMARY"), ==, 0);
    assert_kept(&p);
    migrate_whole(&p);
    pair_stop(&p);
}

/* 7: device_del in every state */

typedef enum DelState {
    DEL_HIDDEN,
    DEL_PLUGGED,
    DEL_ACTIVE,
    DEL_UNPLUGGING_MIGRATION,
    DEL_UNPLUGGING_COMMAND,
    DEL_TIMED_OUT,
    DEL_UNPLUGGED_MIGRATION,
    DEL_UNPLUGGED_COMMAND,
    DEL_RELEASED,
    DEL_PREPARED,
    DEL_FAILED,
    DEL_MAX
} DelState;

static const char *const del_names[DEL_MAX] = {
    [DEL_HIDDEN] = "hidden",
    [DEL_PLUGGED] = "plugged",
    [DEL_ACTIVE] = "active",
    [DEL_UNPLUGGING_MIGRATION] = "unplugging-migration",
    [DEL_UNPLUGGING_COMMAND] = "unplugging-command",
    [DEL_TIMED_OUT] = "timed-out",
    [DEL_UNPLUGGED_MIGRATION] = "unplugged-migration",
    [DEL_UNPLUGGED_COMMAND] = "unplugged-command",
    [DEL_RELEASED] = "released",
    [DEL_PREPARED] = "prepared",
    [DEL_FAILED] = "failed",
};

typedef struct DelCase {
    FailoverHotplug hotplug;
    DelState state;
} DelCase;

static bool del_guest_has_it(DelState state)
{
    return state == DEL_PLUGGED || state == DEL_ACTIVE ||
           state == DEL_UNPLUGGING_MIGRATION ||
           state == DEL_UNPLUGGING_COMMAND || state == DEL_TIMED_OUT;
}

/* What stock QEMU can get into */
static bool del_in_stock(DelState state)
{
    return state == DEL_HIDDEN || state == DEL_PLUGGED ||
           state == DEL_ACTIVE || state == DEL_UNPLUGGING_MIGRATION ||
           state == DEL_UNPLUGGED_MIGRATION || state == DEL_FAILED;
}

/* @dev: set to the standby's driver where it has started */
static FailoverVM *del_prepare(FailoverHotplug hotplug, DelState state,
                               const char *file, QVirtioPCIDevice **dev)
{
    FailoverVM *vm;

    vm = failover_vm_start(hotplug, 4, STANDBY "%s " PRIMARY "%s "
                           "-device " DRIVER ",bus=root2,id=standby1,"
                           "failover=on,romfile=%s",
                           state == DEL_RELEASED ? ",failover-release=on" :
                           state == DEL_PREPARED ? ",failover-prepare=on" :
                           state == DEL_TIMED_OUT ?
                           ",failover-unplug-timeout=100" : "",
                           state == DEL_FAILED ? "/no/such/file" : "",
                           state == DEL_PREPARED ? " -incoming defer" : "");
    *dev = NULL;
    g_assert_true(!vm->stock || del_in_stock(state));
    if (state == DEL_HIDDEN) {
        assert_state(vm, "hidden");
        return vm;
    }
    if (state == DEL_PREPARED) {
        failover_assert_state(vm, "standby0", "prepared");
        g_assert_true(failover_device_exists(vm, "primary0"));
        g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
        return vm;
    }
    *dev = failover_guest_negotiate(vm, 0, true);
    if (state == DEL_FAILED) {
        wait_state(vm, "failed", "plug-failed");
        return vm;
    }
    failover_guest_wait_visible(vm, 1);
    if (state == DEL_PLUGGED) {
        assert_state(vm, "plugged");
        return vm;
    }
    use_primary(vm);

    switch (state) {
    case DEL_UNPLUGGING_MIGRATION:
        failover_migrate_asked(vm, file, "primary0");
        break;
    case DEL_TIMED_OUT:
        failover_migrate_unplug(vm, file, "primary0");
        g_free(failover_wait_failed(vm));
        failover_wait(vm, "standby0", "plugged", "timed-out");
        break;
    case DEL_UNPLUGGED_MIGRATION:
        set_slow(vm, true);
        failover_migrate_asked(vm, file, "primary0");
        failover_guest_ack(vm, 1);
        wait_state(vm, "unplugged", "guest-released");
        failover_wait_status(vm, "active");
        break;
    case DEL_UNPLUGGING_COMMAND:
        unplug(vm);
        failover_wait(vm, "standby0", "unplugging", "unplug-requested");
        break;
    case DEL_UNPLUGGED_COMMAND:
        unplug(vm);
        failover_guest_ack(vm, 1);
        failover_wait(vm, "standby0", "unplugged", "guest-released");
        break;
    case DEL_RELEASED:
        unplug(vm);
        failover_guest_ack(vm, 1);
        failover_wait(vm, "standby0", "released", "closed");
        break;
    default:
        break;
    }
    return vm;
}

static void assert_no_primary(FailoverVM *vm)
{
    QDict *info;

    g_assert_false(failover_device_exists(vm, "primary0"));
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    if (vm->stock) {
        return;
    }
    info = failover_query(vm, "standby0");
    g_assert_nonnull(info);
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "absent");
    g_assert_false(qdict_haskey(info, "primary"));
    g_assert_false(qdict_haskey(info, "primary-path"));
    qobject_unref(info);
}

static void del_and_ack(FailoverVM *vm)
{
    failover_device_del(vm, "primary0");
    failover_guest_ack(vm, 1);
    failover_wait_deleted(vm, "primary0");
}

/* Nobody has the id. */
static void assert_id_free(FailoverVM *vm)
{
    g_autofree char *hmp = NULL;

    /* For the primary of another standby... */
    failover_device_add(vm, DRIVER, "primary0", "{ 'bus': 'root1', "
                        "'failover_pair_id': 'standby1', 'romfile': '' }");
    failover_guest_wait_visible(vm, 1);
    assert_state(vm, "absent");
    if (!vm->stock) {
        failover_wait(vm, "standby1", "plugged", "plugged");
    }
    del_and_ack(vm);

    /* ...of the same one, */
    failover_device_add(vm, DRIVER, "primary0", PRIMARY_OPTS);
    failover_guest_wait_visible(vm, 1);
    wait_state(vm, "plugged", "plugged");
    del_and_ack(vm);

    /* and by way of HMP, which has a list of options of its own. */
    hmp = qtest_hmp(vm->qts, "device_add " DRIVER ",bus=root1,id=primary0,"
                    "failover_pair_id=standby0,romfile=");
    g_assert_cmpstr(hmp, ==, "");
    failover_guest_wait_visible(vm, 1);
    wait_state(vm, "plugged", "plugged");
}

static void test_del(const void *data)
{
    const DelCase *c = data;
    g_autofree char *file = failover_temp_file();
    QVirtioPCIDevice *dev, *dev1;
    FailoverVM *vm = del_prepare(c->hotplug, c->state, file, &dev);

    failover_device_del(vm, "primary0");
    if (del_guest_has_it(c->state)) {
        g_assert_false(failover_was_deleted(vm, "primary0"));
        g_assert_true(failover_device_exists(vm, "primary0"));
        failover_guest_ack(vm, 1);
    }
    failover_wait_deleted(vm, "primary0");
    wait_state(vm, "absent", "deleted");
    assert_no_primary(vm);
    g_assert_false(failover_was_deleted(vm, "primary0"));

    /* A migration that has waited for it goes on; the one that runs ends. */
    if (c->state == DEL_UNPLUGGING_MIGRATION) {
        failover_wait_status(vm, "completed");
        cont(vm);
    } else if (c->state == DEL_UNPLUGGED_MIGRATION) {
        failover_migrate_cancel(vm);
        failover_wait_status(vm, "cancelled");
    }
    assert_no_primary(vm);

    if (c->state == DEL_PREPARED) {
        /* It does not run before a migration has arrived. */
        failover_device_add(vm, DRIVER, "primary0", PRIMARY_OPTS);
        assert_state(vm, "prepared");
        goto out;
    }

    /* A guest that starts anew does not find it again. */
    if (dev) {
        failover_guest_free(dev);
    }
    failover_events_drop(vm);
    system_reset(vm);
    dev = failover_guest_negotiate(vm, 0, true);
    qobject_unref(failover_event_wait(vm, "FAILOVER_NEGOTIATED"));
    assert_no_primary(vm);

    dev1 = failover_guest_negotiate(vm, 2, true);
    assert_id_free(vm);
    failover_guest_free(dev1);

out:
    if (dev) {
        failover_guest_free(dev);
    }
    failover_vm_stop(vm);
    unlink(file);
}

/* The guest was asked, the user deletes it, the request is given up. */
static void test_del_given_up(FailoverHotplug hotplug, bool cancel)
{
    Pair p = pair_start(hotplug, cancel ? ",failover-unplug-timeout=60000" :
                        ",failover-unplug-timeout=1000");

    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_device_del(p.vm, "primary0");
    if (cancel) {
        failover_migrate_cancel(p.vm);
        failover_wait_status(p.vm, "cancelled");
        failover_wait(p.vm, "standby0", "plugged", "cancelled");
    } else {
        g_free(failover_wait_failed(p.vm));
        failover_wait(p.vm, "standby0", "plugged", "timed-out");
    }
    g_assert_false(failover_was_deleted(p.vm, "primary0"));
    assert_kept(&p);

    failover_guest_ack(p.vm, 1);
    failover_wait_deleted(p.vm, "primary0");
    failover_wait(p.vm, "standby0", "absent", "deleted");
    assert_no_primary(p.vm);
    pair_stop(&p);
}

static void test_del_timed_out(const void *data)
{
    test_del_given_up(GPOINTER_TO_INT(data), false);
}

static void test_del_cancelled(const void *data)
{
    test_del_given_up(GPOINTER_TO_INT(data), true);
}

/* The user deletes it, then the guest does not answer in time. */
static void test_del_surprise(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), ",failover-unplug-timeout=1000,"
                        "failover-unplug-policy=surprise");

    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_device_del(p.vm, "primary0");
    failover_wait_deleted(p.vm, "primary0");
    failover_wait(p.vm, "standby0", "absent", "deleted");
    assert_no_primary(p.vm);
    failover_wait_status(p.vm, "completed");
    cont(p.vm);
    assert_no_primary(p.vm);
    pair_stop(&p);
}

/* device_del takes paths as well. */
static void test_del_path(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");

    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    failover_wait(p.vm, "standby0", "unplugged", "guest-released");
    failover_device_del(p.vm, "/machine/peripheral/primary0");
    failover_wait_deleted(p.vm, "primary0");
    assert_no_primary(p.vm);
    pair_stop(&p);
}

/*
 * device_del of the standby: the guest keeps a primary that it has, another
 * one goes.
 */
static void test_del_standby(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");

    failover_guest_free(p.dev);
    failover_device_del(p.vm, "standby0");
    failover_guest_ack(p.vm, 0);
    failover_wait_deleted(p.vm, "standby0");
    assert_kept(&p);
    g_assert_true(failover_device_exists(p.vm, "primary0"));

    /* A new standby takes it over. */
    failover_guest_slot_event(p.vm, 0);
    add_standby(p.vm);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    migrate_whole(&p);
    cont(p.vm);
    assert_back(&p);
    use_primary(p.vm);

    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    failover_wait(p.vm, "standby0", "unplugged", "guest-released");
    failover_guest_free(p.dev);
    p.dev = NULL;
    failover_device_del(p.vm, "standby0");
    failover_guest_ack(p.vm, 0);
    failover_wait_deleted(p.vm, "primary0");
    g_assert_false(failover_device_exists(p.vm, "primary0"));
    g_assert_false(failover_device_exists(p.vm, "standby0"));
    g_assert_null(failover_query(p.vm, "standby0"));
    pair_stop(&p);
}

/* 8: a request that fails */

static char *migration_must_fail(FailoverVM *vm, const char *file)
{
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", file);
    QDict *resp = qtest_qmp(vm->qts, "{ 'execute': 'migrate', "
                            "'arguments': { 'uri': %s } }", uri);
    char *reason;

    if (qdict_haskey(resp, "error")) {
        reason = g_strdup(qdict_get_str(qdict_get_qdict(resp, "error"),
                                        "desc"));
    } else {
        reason = failover_wait_failed(vm);
    }
    qobject_unref(resp);
    g_assert_nonnull(reason);
    return reason;
}

/* The slot's hotplug=off: only a primary that is there at the start fits. */
static void test_no_hotplug(const void *data)
{
    FailoverVM *vm = failover_vm_start(GPOINTER_TO_INT(data), 2, PRIMARY
                                       " -set device.root1.hotplug=off");
    g_autofree char *file = failover_temp_file();
    g_autofree char *reason = NULL;
    Pair p = { .vm = vm };

    add_standby(vm);
    p.dev = failover_guest_negotiate(vm, 0, true);
    use_primary(vm);
    reason = migration_must_fail(vm, file);
    g_assert_nonnull(strstr(reason, "primary0"));
    assert_kept(&p);
    wait_state(vm, "plugged", "unplug-failed");
    wait_state(vm, "active", "bus-master-on");
    failover_guest_free(p.dev);
    failover_vm_stop(vm);
    unlink(file);
}

/* The guest is at work on the slot. */
static void test_slot_busy(void)
{
    Pair p = pair_start(FAILOVER_NATIVE, "");
    g_autofree char *reason = NULL;

    failover_guest_set_slot_control(p.vm, 1, PCI_EXP_SLTCTL_PIC,
                                    PCI_EXP_SLTCTL_PWR_IND_BLINK);
    reason = migration_must_fail(p.vm, p.file);
    g_assert_nonnull(strstr(reason, "busy"));
    assert_kept(&p);
    wait_state(p.vm, "plugged", "unplug-failed");
    wait_state(p.vm, "active", "bus-master-on");

    failover_guest_set_slot_control(p.vm, 1, PCI_EXP_SLTCTL_PIC,
                                    PCI_EXP_SLTCTL_PWR_IND_ON);
    migrate_whole(&p);
    cont(p.vm);
    assert_back(&p);
    pair_stop(&p);
}

static void test_slot_locked(void)
{
    Pair p = pair_start(FAILOVER_NATIVE, "");
    g_autofree char *reason = NULL;

    failover_guest_set_slot_control(p.vm, 1, PCI_EXP_SLTCTL_EIC,
                                    PCI_EXP_SLTCTL_EIC);
    g_assert_cmphex(failover_guest_slot_status(p.vm, 1) & PCI_EXP_SLTSTA_EIS,
                    !=, 0);
    reason = migration_must_fail(p.vm, p.file);
    g_assert_nonnull(strstr(reason, "locked"));
    assert_kept(&p);
    wait_state(p.vm, "plugged", "unplug-failed");
    wait_state(p.vm, "active", "bus-master-on");

    failover_guest_set_slot_control(p.vm, 1, PCI_EXP_SLTCTL_EIC,
                                    PCI_EXP_SLTCTL_EIC);
    migrate_whole(&p);
    pair_stop(&p);
}

/* The guest has not given power to the slot: there is nobody to ask. */
static void test_slot_without_power(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_NATIVE, 2, STANDBY);
    Pair p = { .vm = vm, .file = failover_temp_file() };

    p.dev = failover_guest_negotiate(vm, 0, true);
    failover_device_add(vm, DRIVER, "primary0", PRIMARY_OPTS);
    wait_state(vm, "plugged", "plugged");
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);

    failover_migrate_to_file(vm, p.file);
    failover_wait_status(vm, "completed");
    wait_state(vm, "unplugged", "guest-released");
    cont(vm);
    assert_back(&p);
    use_primary(vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* 9: the guest no longer knows about failover */

static void test_driver_reset(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);

    failover_guest_reset(p.dev);
    failover_guest_free(p.dev);
    g_assert_cmpuint(failover_guest_slot_event(p.vm, 1) &
                     FAILOVER_SLOT_UNPLUG, !=, 0);
    wait_state(p.vm, "unplugging", "unplug-requested");
    failover_guest_ack(p.vm, 1);
    failover_guest_wait_gone(p.vm, 1);
    wait_state(p.vm, "unplugged", "guest-released");
    failover_guest_slot_event(p.vm, 1);

    p.dev = failover_guest_negotiate(p.vm, 0, false);
    g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
    g_assert_cmpuint(failover_guest_slot_event(p.vm, 1), ==,
                     FAILOVER_SLOT_NONE);
    failover_guest_reset(p.dev);
    failover_guest_free(p.dev);

    p.dev = failover_guest_negotiate(p.vm, 0, true);
    assert_back(&p);
    assert_reset(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* The driver is back before the guest has acked: so is the primary then. */
static void test_driver_restart(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);

    failover_guest_reset(p.dev);
    failover_guest_free(p.dev);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    g_assert_cmpuint(failover_guest_slot_event(p.vm, 1) &
                     FAILOVER_SLOT_UNPLUG, !=, 0);
    failover_guest_ack(p.vm, 1);
    wait_state(p.vm, "unplugged", "guest-released");
    assert_back(&p);
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

static void test_system_reset(const void *data)
{
    const Case *c = data;
    Pair p = pair_start_order(c->hotplug, c->order);
    unsigned i;

    for (i = 0; i < 2; i++) {
        failover_guest_free(p.dev);
        system_reset(p.vm);
        g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
        wait_state(p.vm, "unplugged", "machine-reset");

        p.dev = failover_guest_negotiate(p.vm, 0, false);
        g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
        failover_guest_reset(p.dev);
        failover_guest_free(p.dev);

        failover_guest_slot_event(p.vm, 1);
        p.dev = failover_guest_negotiate(p.vm, 0, true);
        assert_back(&p);
        assert_reset(&p);
        use_primary(p.vm);
    }
    migrate_whole(&p);
    pair_stop(&p);
}

/* Reset while the guest is asked: it does not answer any more. */
static void test_system_reset_unplugging(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), "");

    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_guest_free(p.dev);
    p.dev = NULL;
    qobject_unref(failover_qmp(p.vm, "{ 'execute': 'system_reset' }"));
    /* Firmware's ACPI hotplug ejects by itself what is to be ejected. */
    wait_state(p.vm, "unplugged", NULL);
    failover_wait_status(p.vm, "completed");

    failover_events_drop(p.vm);
    cont(p.vm);
    failover_guest_boot(p.vm);
    g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
    failover_guest_slot_event(p.vm, 1);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    assert_back(&p);
    use_primary(p.vm);
    pair_stop(&p);
}

/* 10: more than one primary, more than one pair */

static void second_refused(FailoverVM *vm)
{
    g_autofree char *desc =
        failover_qmp_refused(vm, "GenericError", "{ 'execute': 'device_add', "
                             "'arguments': { 'driver': '" DRIVER "', "
                             "'id': 'primary1', 'bus': 'root2', "
                             "'failover_pair_id': 'standby0' } }");

    g_assert_nonnull(strstr(desc, "more than one primary"));
    g_assert_nonnull(strstr(desc, "primary0"));
    g_assert_nonnull(strstr(desc, "primary1"));
    g_assert_false(failover_device_exists(vm, "primary1"));
    g_assert_cmphex(failover_guest_vendor(vm, 2), ==, FAILOVER_NOTHING);
}

static void test_second_primary(const void *data)
{
    const Case *c = data;
    FailoverVM *vm = failover_vm_start(c->hotplug, 3, "%s",
                                       order_args[c->order]);
    QVirtioPCIDevice *dev;

    if (c->order == PRIMARY_COLD_STANDBY_HOT) {
        add_standby(vm);
    }
    second_refused(vm);
    dev = failover_guest_negotiate(vm, 0, true);
    use_primary(vm);
    second_refused(vm);

    /* Also while the first one is out of the guest */
    if (!vm->stock) {
        unplug(vm);
        second_refused(vm);
        failover_guest_ack(vm, 1);
        failover_wait(vm, "standby0", "unplugged", NULL);
        second_refused(vm);
    }
    failover_guest_free(dev);
    failover_vm_stop(vm);
}

/* Two primaries wait for a standby, which is refused until there is one. */
static void test_second_primary_standby_last(const void *data)
{
    FailoverVM *vm = failover_vm_start(GPOINTER_TO_INT(data), 3, PRIMARY);
    g_autofree char *desc = NULL;
    QVirtioPCIDevice *dev;

    failover_device_add(vm, DRIVER, "primary1", "{ 'bus': 'root2', "
                        "'failover_pair_id': 'standby0', 'romfile': '' }");
    failover_guest_wait_visible(vm, 2);
    desc = failover_qmp_refused(vm, "GenericError",
                                "{ 'execute': 'device_add', "
                                "'arguments': { 'driver': '" DRIVER "', "
                                "'id': 'standby0', 'bus': 'root0', "
                                "'failover': true } }");
    g_assert_nonnull(strstr(desc, "primary0"));
    g_assert_nonnull(strstr(desc, "primary1"));
    g_assert_false(failover_device_exists(vm, "standby0"));

    failover_device_del(vm, "primary1");
    failover_guest_ack(vm, 2);
    failover_wait_deleted(vm, "primary1");
    add_standby(vm);
    dev = failover_guest_negotiate(vm, 0, true);
    use_primary(vm);
    second_refused(vm);
    failover_guest_free(dev);
    failover_vm_stop(vm);
}

#define PRIMARY1 "-device " DRIVER ",bus=root2,id=primary1," \
                 "failover_pair_id=standby0,romfile="

/* QEMU does not start, whatever comes first. */
static void test_second_primary_command_line(void)
{
    static const char *const args[] = {
        STANDBY " " PRIMARY " " PRIMARY1,
        PRIMARY " " STANDBY " " PRIMARY1,
        PRIMARY " " PRIMARY1 " " STANDBY,
        PRIMARY_JSON " " PRIMARY1 " " STANDBY,
        PRIMARY " " PRIMARY1 " " STANDBY_JSON,
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(args); i++) {
        g_autofree char *command =
            g_strdup_printf("exec timeout 20 %s -accel qtest -display none "
                            "-M q35 -nodefaults -S "
                            "-device pcie-root-port,id=root0,chassis=1 "
                            "-device pcie-root-port,id=root1,chassis=2 "
                            "-device pcie-root-port,id=root2,chassis=3 %s "
                            "-monitor none -serial none",
                            getenv("QTEST_QEMU_BINARY"), args[i]);
        g_autofree char *err = NULL;
        char *argv[] = { (char *)"/bin/sh", (char *)"-c", command, NULL };
        int status;

        g_assert_true(g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, NULL,
                                   &err, &status, NULL));
        g_test_message("%s", err);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_assert_nonnull(strstr(err, "more than one primary"));
    }
}

#define TWO_PAIRS STANDBY "%s " PRIMARY " " \
    "-device " DRIVER ",bus=root2,id=standby1,failover=on,romfile=%s " \
    "-device " DRIVER ",bus=root3,id=primary1,failover_pair_id=standby1," \
    "romfile="

/* One acks, the other one does not: the migration fails for both. */
static void test_two_pairs_one_acks(const void *data)
{
    Pair p = { .file = failover_temp_file() };
    g_autofree char *reason = NULL;
    g_autofree char *status = NULL;
    QVirtioPCIDevice *dev1;
    int64_t asked, spent;

    p.vm = failover_vm_start(GPOINTER_TO_INT(data), 4, TWO_PAIRS,
                             ",failover-unplug-timeout=60000",
                             ",failover-unplug-timeout=2000");
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    dev1 = failover_guest_negotiate(p.vm, 2, true);
    use_primary(p.vm);
    failover_guest_wait_visible(p.vm, 3);
    failover_guest_set_bus_master(p.vm, 3, true);
    failover_wait(p.vm, "standby1", "active", NULL);

    asked = g_get_monotonic_time();
    failover_migrate_to_file(p.vm, p.file);
    failover_wait(p.vm, "standby0", "unplugging", NULL);
    failover_wait(p.vm, "standby1", "unplugging", NULL);
    failover_guest_slot_event(p.vm, 1);
    failover_guest_ack(p.vm, 1);
    failover_expect(p.vm, "standby0", "unplugging", "unplugged",
                    "guest-released");
    status = failover_migration_status(p.vm);
    g_assert_cmpstr(status, !=, "active");
    g_assert_cmpstr(status, !=, "completed");

    reason = failover_wait_failed(p.vm);
    spent = g_get_monotonic_time() - asked;
    g_assert_cmpint(spent, >=, 2000000);
    g_assert_nonnull(strstr(reason, "primary1"));
    failover_expect(p.vm, "standby1", "unplugging", "plugged", "timed-out");
    g_assert_cmphex(failover_guest_vendor(p.vm, 3), !=, FAILOVER_NOTHING);
    failover_guest_wait_visible(p.vm, 1);
    failover_expect(p.vm, "standby0", "unplugged", "plugged", "plugged");
    assert_reset(&p);

    failover_guest_free(dev1);
    pair_stop(&p);
}

/* Both deadlines run at the same time, each with its own policy. */
static void test_two_pairs_deadlines(const void *data)
{
    static const char *const standbys[] = { "standby0", "standby1" };
    static const int64_t least_us[] = { 400000, 700000 };
    Pair p = { .file = failover_temp_file() };
    int64_t asked[G_N_ELEMENTS(standbys)], gone[G_N_ELEMENTS(standbys)];
    QVirtioPCIDevice *dev1;
    QDict *event;
    int64_t begin;
    unsigned i;

    p.vm = failover_vm_start(GPOINTER_TO_INT(data), 4, TWO_PAIRS,
                             ",failover-unplug-timeout=400,"
                             "failover-unplug-policy=surprise",
                             ",failover-unplug-timeout=700,"
                             "failover-unplug-policy=surprise");
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    dev1 = failover_guest_negotiate(p.vm, 2, true);
    use_primary(p.vm);
    failover_guest_wait_visible(p.vm, 3);

    begin = g_get_monotonic_time();
    failover_migrate_to_file(p.vm, p.file);
    for (i = 0; i < G_N_ELEMENTS(standbys); i++) {
        event = failover_state_wait(p.vm, standbys[i], "unplugging",
                                    "unplug-requested");
        asked[i] = failover_event_time(event);
        qobject_unref(event);
    }
    for (i = 0; i < G_N_ELEMENTS(standbys); i++) {
        event = failover_state_wait(p.vm, standbys[i], "unplugged",
                                    "surprise-removed");
        g_assert_cmpint(g_get_monotonic_time() - begin, >=, least_us[i]);
        gone[i] = failover_event_time(event);
        qobject_unref(event);
    }
    g_assert_cmpint(asked[1], <, gone[0]);
    g_assert_cmpint(gone[0], <, gone[1]);
    failover_wait_status(p.vm, "completed");

    failover_guest_free(dev1);
    pair_stop(&p);
}

/* 13: the primary's device is closed */

static void assert_released(FailoverVM *vm)
{
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(vm, "standby0", "unplugging", "unplugged",
                    "guest-released");
    failover_expect(vm, "standby0", "unplugged", "released", "closed");
    failover_assert_state(vm, "standby0", "released");
    g_assert_false(failover_device_exists(vm, "primary0"));
    /* It will be back. */
    g_assert_false(failover_was_deleted(vm, "primary0"));
}

static void assert_created(Pair *p)
{
    failover_guest_wait_visible(p->vm, 1);
    failover_expect(p->vm, "standby0", "released", "plugged", "plugged");
    g_assert_true(failover_device_exists(p->vm, "primary0"));
    assert_reset(p);
    use_primary(p->vm);
}

static void test_release(const void *data)
{
    FailoverHotplug hotplug = GPOINTER_TO_INT(data);
    Pair p = pair_start(hotplug, ",failover-release=on");

    /* While memory is sent */
    set_slow(p.vm, true);
    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_guest_ack(p.vm, 1);
    assert_released(p.vm);
    failover_wait_status(p.vm, "active");
    failover_migrate_cancel(p.vm);
    failover_wait_status(p.vm, "cancelled");
    assert_created(&p);

    /* Failure */
    failover_migrate(p.vm, "exec:exec dd bs=1 count=1 of=/dev/null 2>&-");
    failover_wait(p.vm, "standby0", "unplugging", "unplug-requested");
    failover_guest_ack(p.vm, 1);
    failover_wait(p.vm, "standby0", "released", "closed");
    g_free(failover_wait_failed(p.vm));
    assert_created(&p);

    /* Success, and yet the source goes on */
    migrate_whole(&p);
    assert_released(p.vm);
    cont(p.vm);
    assert_created(&p);

    /* Without a migration */
    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    assert_released(p.vm);
    replug(p.vm);
    assert_created(&p);
    pair_stop(&p);
}

static void test_release_surprise(const void *data)
{
    Pair p = pair_start(GPOINTER_TO_INT(data), ",failover-release=on,"
                        "failover-unplug-timeout=200,"
                        "failover-unplug-policy=surprise");

    set_slow(p.vm, true);
    failover_migrate_unplug(p.vm, p.file, "primary0");
    failover_wait(p.vm, "standby0", "unplugged", "surprise-removed");
    failover_expect(p.vm, "standby0", "unplugged", "released", "closed");
    g_assert_false(failover_device_exists(p.vm, "primary0"));
    g_assert_cmphex(failover_guest_vendor(p.vm, 1), ==, FAILOVER_NOTHING);
    failover_wait_status(p.vm, "active");
    failover_migrate_cancel(p.vm);
    failover_wait_status(p.vm, "cancelled");
    assert_created(&p);
    pair_stop(&p);
}

/* Nobody knows the options of what came before its standby: it is kept. */
static void test_release_unknown_options(const void *data)
{
    FailoverVM *vm = failover_vm_start(GPOINTER_TO_INT(data), 2, PRIMARY);
    Pair p = { .vm = vm, .file = failover_temp_file() };

    failover_device_add(vm, DRIVER, "standby0", "{ 'bus': 'root0', "
                        "'failover': true, 'failover-release': true, "
                        "'romfile': '' }");
    failover_guest_wait_visible(vm, 0);
    p.dev = failover_guest_negotiate(vm, 0, true);
    use_primary(vm);
    migrate_whole(&p);
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(vm, "standby0", "unplugging", "unplugged",
                    "guest-released");
    failover_assert_state(vm, "standby0", "unplugged");
    g_assert_true(failover_device_exists(vm, "primary0"));
    cont(vm);
    assert_back(&p);
    assert_reset(&p);
    pair_stop(&p);
}

/* It cannot be created again: that is told, and another try may work. */
static void test_release_create_fails(void)
{
    Pair p = { .file = failover_temp_file() };
    QDict *info;

    p.vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY
                             ",failover-release=on -netdev user,id=hs1 "
                             PRIMARY ",netdev=hs1");
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    use_primary(p.vm);
    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    assert_released(p.vm);

    qobject_unref(failover_qmp(p.vm, "{ 'execute': 'netdev_del', "
                               "'arguments': { 'id': 'hs1' } }"));
    g_free(failover_qmp_refused(p.vm, "GenericError",
                                "{ 'execute': 'virtio-net-failover-replug', "
                                "'arguments': { 'standby': 'standby0' } }"));
    failover_expect(p.vm, "standby0", "released", "failed", "plug-failed");
    info = failover_query(p.vm, "standby0");
    g_assert_cmpstr(qdict_get_str(info, "primary"), ==, "primary0");
    g_assert_nonnull(qdict_get_str(info, "last-error"));
    g_assert_cmpint(qdict_get_int(info, "errors"), ==, 1);
    qobject_unref(info);
    g_assert_false(failover_device_exists(p.vm, "primary0"));

    qobject_unref(failover_qmp(p.vm, "{ 'execute': 'netdev_add', "
                               "'arguments': { 'type': 'user', "
                               "'id': 'hs1' } }"));
    replug(p.vm);
    failover_expect(p.vm, "standby0", "failed", "plugged", "plugged");
    use_primary(p.vm);
    migrate_whole(&p);
    pair_stop(&p);
}

/* 14, 15: what goes over the wire */

static void wire_send(int fd, uint8_t fill)
{
    uint8_t frame[4 + 64];

    stl_be_p(frame, 64);
    memset(frame + 4, fill, 64);
    memset(frame + 4, 0xff, 6);
    g_assert_cmpint(qemu_write_full(fd, frame, sizeof(frame)), ==,
                    sizeof(frame));
}

static void read_all(int fd, void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t n = RETRY_ON_EINTR(read(fd, p, len));

        g_assert_cmpint(n, >, 0);
        p += n;
        len -= n;
    }
}

/* The next frame, if there is one within @ms; returns its length or 0. */
static size_t wire_receive(int fd, uint8_t *frame, size_t size, int ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    uint32_t len;

    if (RETRY_ON_EINTR(poll(&pfd, 1, ms)) == 0) {
        return 0;
    }
    read_all(fd, &len, sizeof(len));
    len = be32_to_cpu(len);
    g_assert_cmpuint(len, <=, size);
    read_all(fd, frame, len);
    return len;
}

/* A buffer of the receive queue, of which QEMU has written nothing yet */
static uint64_t add_buffer(FailoverVM *vm, QVirtioPCIDevice *dev,
                           QVirtQueue *vq)
{
    uint64_t addr = guest_alloc(&vm->alloc, 2048);
    uint32_t head;

    qtest_memset(vm->qts, addr, 0, 2048);
    head = qvirtqueue_add(vm->qts, vq, addr, 2048, true, false);
    qvirtqueue_kick(vm->qts, &dev->vdev, vq, head);
    return addr;
}

/* As long as nothing is there, and the time is not over */
static bool still_empty(FailoverVM *vm, uint64_t addr, int64_t us)
{
    int64_t begin = g_get_monotonic_time();

    while (qtest_readl(vm->qts, addr + 64) == 0) {
        if (g_get_monotonic_time() - begin > us) {
            return true;
        }
        g_usleep(500);
    }
    return false;
}

/*
 * A frame reaches the guest's memory through the primary, until the guest
 * has released it: not its driver, QEMU makes sure of that.
 */
static void test_dma(const void *data)
{
    Pair p = { .file = failover_temp_file() };
    QVirtioPCIDevice *primary;
    QVirtQueue *vq;
    uint64_t addr;
    int sv[2];

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    p.vm = failover_vm_start(GPOINTER_TO_INT(data), 2, STANDBY
                             " -netdev socket,fd=%d,id=hs1 "
                             PRIMARY ",netdev=hs1", sv[1]);
    close(sv[1]);
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    failover_guest_wait_visible(p.vm, 1);
    primary = failover_guest_negotiate(p.vm, 1, false);
    vq = qvirtqueue_setup(&primary->vdev, &p.vm->alloc, 0);
    qvirtio_set_driver_ok(&primary->vdev);

    addr = add_buffer(p.vm, primary, vq);
    wire_send(sv[0], 0x5a);
    g_assert_false(still_empty(p.vm, addr, FAILOVER_WAIT_MS * 1000));

    addr = add_buffer(p.vm, primary, vq);
    set_slow(p.vm, true);
    failover_migrate_asked(p.vm, p.file, "primary0");
    failover_guest_ack(p.vm, 1);
    failover_wait_status(p.vm, "active");
    wire_send(sv[0], 0xa5);
    g_assert_true(still_empty(p.vm, addr, 500000));

    failover_migrate_cancel(p.vm);
    failover_wait_status(p.vm, "cancelled");
    assert_back(&p);
    qvirtqueue_cleanup(primary->vdev.bus, vq, &p.vm->alloc);
    failover_guest_free(primary);
    pair_stop(&p);
    close(sv[0]);
}

#define ANNOUNCE_MAC "52:54:00:12:34:56"

static const uint8_t announce_mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

/* What is on the wire now is of no interest. */
static void wire_drain(int fd)
{
    uint8_t frame[2048];

    while (wire_receive(fd, frame, sizeof(frame), 0)) {
        continue;
    }
}

/*
 * Exactly @rounds RARP frames, one every @interval ms, the first of them sent
 * after @begin (of the monotonic clock)
 */
static void assert_announced(int fd, unsigned rounds, unsigned interval,
                             int64_t begin)
{
    uint8_t frame[2048];
    unsigned i;
    size_t len;

    for (i = 0; i < rounds; i++) {
        len = wire_receive(fd, frame, sizeof(frame), FAILOVER_WAIT_MS);
        g_assert_cmpuint(len, ==, 60);
        g_assert_cmphex(lduw_be_p(frame + 12), ==, 0x8035);
        /* From the pair's address, and about it */
        g_assert_true(!memcmp(frame + 6, announce_mac, 6));
        g_assert_true(!memcmp(frame + 22, announce_mac, 6));
        g_assert_true(!memcmp(frame + 32, announce_mac, 6));
        /* It may be read late, and QEMU's timer counts whole ms. */
        g_assert_cmpint(g_get_monotonic_time() - begin, >=,
                        i * (interval - 1) * 1000);
    }
    g_assert_cmpuint(wire_receive(fd, frame, sizeof(frame),
                                  interval * 2 + 200), ==, 0);
}

static void assert_silent(int fd, unsigned interval)
{
    assert_announced(fd, 0, interval, 0);
}

static Pair announce_start(FailoverHotplug hotplug, const char *options,
                           int *fd)
{
    Pair p = { .file = failover_temp_file() };
    int sv[2];

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    p.vm = failover_vm_start(hotplug, 2, "-netdev socket,fd=%d,id=hs0 "
                             STANDBY ",netdev=hs0,mac=" ANNOUNCE_MAC "%s "
                             PRIMARY ",mac=" ANNOUNCE_MAC, sv[1], options);
    close(sv[1]);
    *fd = sv[0];
    p.dev = failover_guest_negotiate(p.vm, 0, true);
    use_primary(p.vm);
    wire_drain(*fd);
    return p;
}

static void test_announce(const void *data)
{
    int64_t begin;
    int fd;
    Pair p = announce_start(GPOINTER_TO_INT(data),
                            ",failover-announce-rounds=4"
                            ",failover-announce-interval=120", &fd);

    /* By command */
    unplug(p.vm);
    /* Not before the switch */
    assert_silent(fd, 50);
    begin = g_get_monotonic_time();
    failover_guest_ack(p.vm, 1);
    assert_announced(fd, 4, 120, begin);
    replug(p.vm);
    use_primary(p.vm);

    /* For a migration, at its beginning */
    set_slow(p.vm, true);
    failover_migrate_asked(p.vm, p.file, "primary0");
    begin = g_get_monotonic_time();
    failover_guest_ack(p.vm, 1);
    assert_announced(fd, 4, 120, begin);
    failover_migrate_cancel(p.vm);
    failover_wait_status(p.vm, "cancelled");
    use_primary(p.vm);
    assert_silent(fd, 50);
    pair_stop(&p);
    close(fd);
}

static void test_announce_surprise(const void *data)
{
    int64_t begin;
    int fd;
    Pair p = announce_start(GPOINTER_TO_INT(data),
                            ",failover-announce-rounds=2"
                            ",failover-announce-interval=80"
                            ",failover-unplug-timeout=200"
                            ",failover-unplug-policy=surprise", &fd);

    /* Not before the deadline */
    begin = g_get_monotonic_time() + 199000;
    unplug(p.vm);
    failover_wait(p.vm, "standby0", "unplugged", "surprise-removed");
    assert_announced(fd, 2, 80, begin);
    pair_stop(&p);
    close(fd);
}

/* This one needs nothing but what stock QEMU has. */
static void test_announce_default(const void *data)
{
    int64_t begin;
    int fd;
    Pair p = announce_start(GPOINTER_TO_INT(data), "", &fd);

    set_slow(p.vm, true);
    failover_migrate_asked(p.vm, p.file, "primary0");
    begin = g_get_monotonic_time();
    failover_guest_ack(p.vm, 1);
    assert_announced(fd, 5, 50, begin);
    pair_stop(&p);
    close(fd);
}

static void test_announce_off(const void *data)
{
    int fd;
    Pair p = announce_start(GPOINTER_TO_INT(data),
                            ",failover-announce-rounds=0", &fd);

    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    failover_wait(p.vm, "standby0", "unplugged", "guest-released");
    assert_silent(fd, 100);
    pair_stop(&p);
    close(fd);
}

/* It does not go on when the traffic has gone back to the primary. */
static void test_announce_ends(const void *data)
{
    int fd;
    Pair p = announce_start(GPOINTER_TO_INT(data),
                            ",failover-announce-rounds=1000"
                            ",failover-announce-interval=100", &fd);
    uint8_t frame[2048];

    unplug(p.vm);
    failover_guest_ack(p.vm, 1);
    g_assert_cmpuint(wire_receive(fd, frame, sizeof(frame),
                                  FAILOVER_WAIT_MS), ==, 60);
    g_assert_cmpuint(wire_receive(fd, frame, sizeof(frame),
                                  FAILOVER_WAIT_MS), ==, 60);
    replug(p.vm);
    use_primary(p.vm);
    wire_drain(fd);
    assert_silent(fd, 100);
    pair_stop(&p);
    close(fd);
}

/* One test for each kind of hotplug */
static void add(const char *name, GTestDataFunc func)
{
    FailoverHotplug h;

    for (h = FAILOVER_ACPI; h <= FAILOVER_NATIVE; h++) {
        g_autofree char *path = g_strdup_printf("virtio-net-failover/%s/%s",
                                                name, hotplug_names[h]);

        qtest_add_data_func(path, GINT_TO_POINTER(h), func);
    }
}

/*
 * One test for each kind of hotplug and each order that is in @orders; with
 * native hotplug all of them only if there is time
 */
static void add_orders(const char *name, GTestDataFunc func, uint32_t orders)
{
    FailoverHotplug h;
    Order order;

    for (h = FAILOVER_ACPI; h <= FAILOVER_NATIVE; h++) {
        for (order = 0; order < ORDER_MAX; order++) {
            Case *c;
            g_autofree char *path = NULL;

            if (!(orders & 1u << order)) {
                continue;
            }
            if (h == FAILOVER_NATIVE && !g_test_slow() &&
                order != STANDBY_FIRST && order != PRIMARY_FIRST &&
                order != PRIMARY_COLD_STANDBY_HOT &&
                order != PRIMARY_HOT_LAST) {
                continue;
            }
            c = g_new(Case, 1);
            c->hotplug = h;
            c->order = order;
            path = g_strdup_printf("virtio-net-failover/%s/%s/%s", name,
                                   hotplug_names[h], order_names[order]);
            qtest_add_data_func_full(path, c, func, g_free);
        }
    }
}

static void add_del(void)
{
    FailoverHotplug h;
    DelState state;

    for (h = FAILOVER_ACPI; h <= FAILOVER_NATIVE; h++) {
        for (state = 0; state < DEL_MAX; state++) {
            DelCase *c = g_new(DelCase, 1);
            g_autofree char *path =
                g_strdup_printf("virtio-net-failover/del/%s/%s",
                                del_names[state], hotplug_names[h]);

            c->hotplug = h;
            c->state = state;
            qtest_add_data_func_full(path, c, test_del, g_free);
        }
    }
}

int main(int argc, char **argv)
{
    const uint32_t all = (1u << ORDER_MAX) - 1;
    const uint32_t command_line =
        1u << STANDBY_FIRST | 1u << PRIMARY_FIRST |
        1u << STANDBY_FIRST_JSON | 1u << PRIMARY_FIRST_JSON |
        1u << PRIMARY_FIRST_STANDBY_JSON | 1u << PRIMARY_JSON_FIRST_STANDBY;
    const uint32_t some = 1u << STANDBY_FIRST | 1u << PRIMARY_COLD_STANDBY_HOT;

    /* What a guest that went away leaves in a pipe is not worth a signal. */
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);

    add("ack-latency", test_ack_latency);

    add("deadline/abort", test_deadline_abort);
    add("deadline/abort-again", test_deadline_abort_again);
    add("deadline/surprise", test_deadline_surprise);
    add("deadline/surprise-late-ack", test_deadline_surprise_late_ack);

    add("cancel/deadline", test_cancel_deadline);
    add("cancel/no-deadline", test_cancel_no_deadline);
    if (g_test_slow()) {
        add("cancel/no-deadline-slow", test_cancel_no_deadline_slow);
    }

    add_orders("back/cancel", test_back, all);
    add_orders("back/reset", test_back_reset, all);
    add_orders("back/vmstate", test_back_vmstate, some);

    add_orders("hidden", test_hidden,
               command_line | 1u << STANDBY_HOT_FIRST);
    add_orders("destination", test_destination, command_line);

    add_orders("source/cont", test_source_cont, all);
    add_orders("source/dead-peer", test_source_dead_peer, some);
    add_orders("source/killed-destination", test_source_killed_destination,
               some);
    add("source/no-destination", test_source_no_destination);

    add_del();
    add("del/then-timed-out", test_del_timed_out);
    add("del/then-cancelled", test_del_cancelled);
    add("del/then-surprise", test_del_surprise);
    add("del/path", test_del_path);
    add("del/standby", test_del_standby);

    add("slot/no-hotplug", test_no_hotplug);
    qtest_add_func("virtio-net-failover/slot/busy", test_slot_busy);
    qtest_add_func("virtio-net-failover/slot/locked", test_slot_locked);
    qtest_add_func("virtio-net-failover/slot/without-power",
                   test_slot_without_power);

    add_orders("guest/driver-reset", test_driver_reset, some);
    add_orders("guest/driver-restart", test_driver_restart, some);
    add_orders("guest/system-reset", test_system_reset, all);
    add("guest/system-reset-unplugging", test_system_reset_unplugging);

    add_orders("second-primary/hot", test_second_primary,
               command_line | 1u << PRIMARY_COLD_STANDBY_HOT);
    add("second-primary/standby-last", test_second_primary_standby_last);
    qtest_add_func("virtio-net-failover/second-primary/command-line",
                   test_second_primary_command_line);
    add("two-pairs/one-acks", test_two_pairs_one_acks);
    add("two-pairs/deadlines", test_two_pairs_deadlines);

    add("release/migration", test_release);
    add("release/surprise", test_release_surprise);
    add("release/unknown-options", test_release_unknown_options);
    qtest_add_func("virtio-net-failover/release/create-fails",
                   test_release_create_fails);

    add("dma", test_dma);

    add("announce/settings", test_announce);
    add("announce/surprise", test_announce_surprise);
    add("announce/default", test_announce_default);
    add("announce/off", test_announce_off);
    add("announce/ends", test_announce_ends);

    return g_test_run();
}
