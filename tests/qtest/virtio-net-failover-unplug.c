/*
 * Tests of virtio-net failover: how a primary leaves the guest and returns
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "virtio-net-failover-util.h"

#define STANDBY "-device virtio-net-pci,bus=root0,id=standby0,failover=on"
#define PRIMARY "-device virtio-net-pci,bus=root1,id=primary0," \
                "failover_pair_id=standby0"

static void test_smoke(const void *data)
{
    FailoverHotplug hotplug = GPOINTER_TO_INT(data);
    FailoverVM *vm = failover_vm_start(hotplug, 2, STANDBY " " PRIMARY);
    g_autofree char *file = failover_temp_file();
    QVirtioPCIDevice *dev;

    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    if (!vm->stock) {
        failover_wait(vm, "standby0", "active", "bus-master-on");
    }
    failover_migrate_asked(vm, file, "primary0");
    failover_guest_ack(vm, 1);
    failover_wait_status(vm, "completed");
    failover_guest_wait_gone(vm, 1);
    failover_guest_free(dev);
    failover_vm_stop(vm);
    unlink(file);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("virtio-net-failover/smoke/acpi",
                        GINT_TO_POINTER(FAILOVER_ACPI), test_smoke);
    qtest_add_data_func("virtio-net-failover/smoke/native",
                        GINT_TO_POINTER(FAILOVER_NATIVE), test_smoke);
    return g_test_run();
}
