/*
 * Tests of virtio-net failover: every kind of migration with every kind of
 * pair, and migration to and from a QEMU without our changes
 *
 * Of the matrix {standby} x {migration} x {primary} x {hotplug} all pairs of
 * the first two are there; the other two, and what becomes of the primary's
 * device, vary so that each value meets each of the first two.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_net.h"
#include "libqos/virtio.h"
#include "virtio-net-failover-util.h"

#define TUN "/dev/net/tun"
#define VHOST_NET "/dev/vhost-net"
#define MTU 1400

/* Path of a QEMU of the same version without our changes */
#define STOCK_ENV "VFAILOVER_STOCK"

enum { NEEDS_TUN = 1, NEEDS_VHOST = 2, NO_STANDBY = 4, HAS_MTU = 8 };

static const struct {
    const char *name;
    const char *args;           /* before the standby */
    const char *options;        /* of the standby */
    unsigned flags;
} standbys[] = {
    { "modern", "", ",disable-legacy=on", 0 },
    { "transitional", "", ",disable-legacy=off", 0 },
    /*
     * A legacy device has no feature bits above 31, and so no
     * VIRTIO_NET_F_STANDBY: only for guests that need not negotiate it.
     */
    { "legacy", "", ",disable-legacy=off,disable-modern=on,"
      "failover-require-standby=off", NO_STANDBY },
    { "mq", "-netdev tap,id=tap0,queues=3,script=no,downscript=no",
      ",netdev=tap0,mq=on,vectors=8", NEEDS_TUN },
    { "mtu", "", ",host_mtu=" G_STRINGIFY(MTU), HAS_MTU },
    { "iommu", "-device intel-iommu",
      ",iommu_platform=on,disable-legacy=on,ats=on", 0 },
    { "vhost", "-netdev tap,id=tap0,vhost=on,script=no,downscript=no",
      ",netdev=tap0", NEEDS_TUN | NEEDS_VHOST },
};

static const char * const migrations[] = {
    "file", "socket", "postcopy", "multifd",
};
enum { TO_FILE, TO_SOCKET, POSTCOPY, MULTIFD };

static const char * const primaries[] = {
    "virtio-net-pci", "e1000e", "vmxnet3",
};

typedef struct Cell {
    unsigned standby;
    unsigned migration;
    const char *primary;
    FailoverHotplug hotplug;
    bool release;
    bool prepare;
} Cell;

static bool has_tun(void)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open(TUN, O_RDWR);
    bool has = fd >= 0 && !ioctl(fd, TUNSETIFF, &ifr);

    if (fd >= 0) {
        close(fd);
    }
    return has;
}

static FailoverVM *start(const Cell *cell, const char *more)
{
    return failover_vm_start(cell->hotplug, 2,
                             "%s -device virtio-net-pci,bus=root0,"
                             "id=standby0,failover=on%s%s%s "
                             "-device %s,bus=root1,id=primary0,romfile=,"
                             "failover_pair_id=standby0 %s",
                             standbys[cell->standby].args,
                             standbys[cell->standby].options,
                             cell->release ? ",failover-release=on" : "",
                             cell->prepare ? ",failover-prepare=on" : "",
                             cell->primary, more);
}

static void start_using(FailoverVM *vm)
{
    failover_guest_wait_visible(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    failover_wait(vm, "standby0", "active", "bus-master-on");
}

/* Forget MIGRATION events; was one of them this? */
static bool had_status(FailoverVM *vm, const char *status)
{
    QDict *event;
    bool found = false;

    while ((event = failover_event_take(vm, "MIGRATION"))) {
        found |= !strcmp(qdict_get_str(qdict_get_qdict(event, "data"),
                                       "status"), status);
        qobject_unref(event);
    }
    return found;
}

static bool set_capability(FailoverVM *vm, const char *name)
{
    QDict *resp = qtest_qmp(vm->qts,
                            "{ 'execute': 'migrate-set-capabilities', "
                            "'arguments': { 'capabilities': [ "
                            "{ 'capability': %s, 'state': true } ] } }", name);
    bool done = qdict_haskey(resp, "return");

    if (!done) {
        g_test_skip(qdict_get_str(qdict_get_qdict(resp, "error"), "desc"));
    }
    qobject_unref(resp);
    return done;
}

/* Both machines are there at the same time: set it in both. */
static bool set_capabilities(const Cell *cell, FailoverVM *from,
                             FailoverVM *to)
{
    const char *name = cell->migration == POSTCOPY ? "postcopy-ram" :
                       cell->migration == MULTIFD ? "multifd" : NULL;

    failover_set_capability(from, "events", true);
    return !name || (set_capability(to, name) && set_capability(from, name));
}

static void check_standby(const Cell *cell, FailoverVM *vm,
                          QVirtioPCIDevice *dev)
{
    QDict *info = failover_query(vm, "standby0");
    bool standby = !(standbys[cell->standby].flags & NO_STANDBY);

    g_assert_cmpint(qdict_get_bool(info, "negotiated"), ==, standby);
    qobject_unref(info);
    if (standbys[cell->standby].flags & HAS_MTU) {
        g_assert_cmpuint(qvirtio_config_readw(&dev->vdev,
                                              offsetof(struct
                                                       virtio_net_config,
                                                       mtu)), ==, MTU);
    }
}

static void test_cell(const void *data)
{
    const Cell *cell = data;
    unsigned flags = standbys[cell->standby].flags;
    g_autofree char *file = failover_temp_file();
    g_autofree char *uri = g_strdup_printf("unix:%s", file);
    FailoverVM *from, *to = NULL;
    QVirtioPCIDevice *dev;
    QDict *event;

    if (flags & NEEDS_TUN && !has_tun()) {
        g_test_skip("no tap device: " TUN " is missing or not for us");
        unlink(file);
        return;
    }
    if (flags & NEEDS_VHOST && access(VHOST_NET, R_OK | W_OK)) {
        g_test_skip("no " VHOST_NET);
        unlink(file);
        return;
    }

    from = start(cell, "");
    dev = failover_guest_negotiate(from, 0, !(flags & NO_STANDBY));
    check_standby(cell, from, dev);
    start_using(from);

    if (cell->migration != TO_FILE) {
        to = start(cell, "-incoming defer");
        if (!set_capabilities(cell, from, to)) {
            goto out;
        }
        failover_incoming(to, uri);
    }
    if (cell->migration == TO_FILE) {
        failover_migrate_to_file(from, file);
    } else {
        failover_migrate(from, uri);
    }
    failover_wait(from, "standby0", "unplugging", "unplug-requested");
    failover_wait_status(from, "wait-unplug");
    if (cell->migration == POSTCOPY) {
        /* As soon as it can begin, which is when the guest has answered */
        qobject_unref(failover_qmp(from,
                                   "{ 'execute': 'migrate-start-postcopy' }"));
    }
    failover_guest_ack(from, 1);
    failover_wait(from, "standby0", "unplugged", "guest-released");
    failover_wait_status(from, "completed");
    failover_guest_wait_gone(from, 1);
    event = failover_event_wait(from, "UNPLUG_PRIMARY");
    qobject_unref(event);
    if (cell->migration == POSTCOPY) {
        g_assert_true(had_status(from, "postcopy-active"));
    }

    if (cell->migration == TO_FILE) {
        to = start(cell, "-incoming defer");
        failover_incoming_from_file(to, file);
    }
    failover_wait_running(to);
    failover_wait(to, "standby0", "plugged", "plugged");
    start_using(to);
    failover_wait_status(to, "completed");

    /* The destination is given up: the source goes on. */
    failover_vm_stop(to);
    to = NULL;
    if (cell->release) {
        failover_wait(from, "standby0", "released", "closed");
    } else {
        failover_assert_state(from, "standby0", "unplugged");
    }
    qobject_unref(failover_qmp(from, "{ 'execute': 'cont' }"));
    failover_wait(from, "standby0", "plugged", "plugged");
    start_using(from);

out:
    if (to) {
        failover_vm_stop(to);
    }
    failover_guest_free(dev);
    failover_vm_stop(from);
    unlink(file);
}

/* Stock QEMU */

typedef struct StockTest {
    bool stock_from;
    bool stock_to;
    FailoverHotplug hotplug;
    const char *primary;
} StockTest;

static FailoverVM *start_default(const StockTest *test, bool stock,
                                 const char *more)
{
    return failover_vm_start_env(stock ? STOCK_ENV : NULL, test->hotplug, 2,
                                 "-device virtio-net-pci,bus=root0,"
                                 "id=standby0,failover=on "
                                 "-device %s,bus=root1,id=primary0,romfile=,"
                                 "failover_pair_id=standby0 %s",
                                 test->primary, more);
}

static void test_stock(const void *data)
{
    const StockTest *test = data;
    g_autofree char *file = failover_temp_file();
    g_autofree char *uri = g_strdup_printf("unix:%s", file);
    FailoverVM *from, *to;
    QVirtioPCIDevice *dev;

    if (!getenv(STOCK_ENV)) {
        g_test_skip(STOCK_ENV " is not set");
        unlink(file);
        return;
    }
    from = start_default(test, test->stock_from, "");
    to = start_default(test, test->stock_to, "-incoming defer");
    g_assert_cmpint(from->stock, ==, test->stock_from);
    g_assert_cmpint(to->stock, ==, test->stock_to);

    dev = failover_guest_negotiate(from, 0, true);
    failover_guest_wait_visible(from, 1);
    failover_guest_set_bus_master(from, 1, true);
    failover_incoming(to, uri);
    failover_migrate(from, uri);
    failover_wait_status(from, "wait-unplug");
    failover_guest_ack(from, 1);
    failover_wait_status(from, "completed");
    failover_wait_running(to);
    failover_wait_status(to, "completed");
    g_assert_true(failover_device_exists(to, "primary0"));
    failover_guest_wait_visible(to, 1);
    failover_guest_set_bus_master(to, 1, true);
    if (!to->stock) {
        failover_wait(to, "standby0", "active", "bus-master-on");
    }

    /* And on to where the guest has come from */
    failover_vm_stop(from);
    from = start_default(test, test->stock_from, "-incoming defer");
    failover_incoming(from, uri);
    failover_migrate(to, uri);
    failover_wait_status(to, "wait-unplug");
    failover_guest_ack(to, 1);
    failover_wait_status(to, "completed");
    failover_wait_running(from);
    failover_guest_wait_visible(from, 1);

    failover_guest_free(dev);
    failover_vm_stop(from);
    failover_vm_stop(to);
    unlink(file);
}

static void add_stock(void)
{
    static StockTest tests[2 * 2 * ARRAY_SIZE(primaries)];
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        StockTest *test = &tests[i];
        g_autofree char *path = NULL;

        test->stock_from = i & 1;
        test->stock_to = !test->stock_from;
        test->hotplug = i & 2 ? FAILOVER_NATIVE : FAILOVER_ACPI;
        test->primary = primaries[i / 4];
        path = g_strdup_printf("virtio-net-failover/matrix/stock/%s/%s/%s",
                               test->stock_from ? "from" : "to",
                               i & 2 ? "native" : "acpi", test->primary);
        qtest_add_data_func(path, test, test_stock);
    }
}

int main(int argc, char **argv)
{
    static Cell cells[ARRAY_SIZE(standbys) * ARRAY_SIZE(migrations)];
    unsigned i, j;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(standbys); i++) {
        for (j = 0; j < ARRAY_SIZE(migrations); j++) {
            Cell *cell = &cells[i * ARRAY_SIZE(migrations) + j];
            g_autofree char *path = NULL;

            cell->standby = i;
            cell->migration = j;
            cell->primary = primaries[(2 * i + j) % ARRAY_SIZE(primaries)];
            cell->hotplug = (i + j) % 2 ? FAILOVER_NATIVE : FAILOVER_ACPI;
            cell->release = (i + j / 2) % 2;
            cell->prepare = (i / 2 + j) % 2;
            path = g_strdup_printf("virtio-net-failover/matrix/"
                                   "%s/%s/%s/%s%s%s",
                                   standbys[i].name, migrations[j],
                                   cell->primary,
                                   cell->hotplug == FAILOVER_ACPI ?
                                   "acpi" : "native",
                                   cell->release ? "+release" : "",
                                   cell->prepare ? "+prepare" : "");
            qtest_add_data_func(path, cell, test_cell);
        }
    }
    add_stock();
    return g_test_run();
}
