/*
 * Helpers for the tests of virtio-net failover
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "virtio-net-failover-util.h"

#define STATE_EVENT "VIRTIO_NET_FAILOVER_STATE"

/* ACPI PCI hotplug registers of Q35 */
#define PCIHP_UP     0xcc0
#define PCIHP_DOWN   0xcc4
#define PCIHP_EJECT  0xcc8
#define PCIHP_SELECT 0xcd0

bool failover_again(int64_t *start)
{
    int64_t now = g_get_monotonic_time();

    if (!*start) {
        *start = now;
    } else if (now - *start > FAILOVER_WAIT_MS * 1000) {
        return false;
    } else {
        g_usleep(500);
    }
    return true;
}

/* Machine */

static bool take_event(QTestState *qts, const char *name, QDict *event,
                       void *opaque)
{
    FailoverVM *vm = opaque;

    g_queue_push_tail(&vm->events, qobject_ref(event));
    return true;
}

static bool has_command(FailoverVM *vm, const char *name)
{
    QDict *resp = qtest_qmp(vm->qts, "{ 'execute': %s }", name);
    bool has = qdict_haskey(resp, "return");

    qobject_unref(resp);
    return has;
}

G_GNUC_PRINTF(4, 0)
static FailoverVM *start(const char *env, FailoverHotplug hotplug,
                         unsigned ports, const char *fmt, va_list ap)
{
    FailoverVM *vm = g_new0(FailoverVM, 1);
    g_autoptr(GString) args = g_string_new("-M q35 -nodefaults");
    unsigned i;

    g_assert_cmpuint(ports, <=, FAILOVER_PORTS_MAX);
    vm->hotplug = hotplug;
    vm->ports = ports;
    g_queue_init(&vm->events);

    if (hotplug == FAILOVER_NATIVE) {
        g_string_append(args, " -global ICH9-LPC."
                        "acpi-pci-hotplug-with-bridge-support=off");
    }
    for (i = 0; i < ports; i++) {
        g_string_append_printf(args, " -device pcie-root-port,id=root%u,"
                               "bus=pcie.0,addr=0x%x,chassis=%u",
                               i, i + 1, i + 1);
    }
    g_string_append_c(args, ' ');
    g_string_append_vprintf(args, fmt, ap);

    vm->qts = env ? qtest_init_with_env(env, args->str, true)
                  : qtest_init(args->str);
    qtest_qmp_set_event_callback(vm->qts, take_event, vm);
    vm->stock = !has_command(vm, "query-virtio-net-failover");
    pc_alloc_init(&vm->alloc, vm->qts, 0);
    vm->bus = qpci_new_pc(vm->qts, &vm->alloc);

    for (i = 0; hotplug == FAILOVER_ACPI && i < ports; i++) {
        g_autofree char *path =
            g_strdup_printf("/machine/peripheral/root%u/root%u", i, i);
        QDict *resp = qtest_qmp(vm->qts, "{ 'execute': 'qom-get', "
                                "'arguments': { 'path': %s, "
                                "'property': 'acpi-pcihp-bsel' } }", path);

        /* A root port with hotplug=off has none. */
        vm->bsel[i] = qdict_get_try_int(resp, "return", UINT32_MAX);
        qobject_unref(resp);
    }
    failover_guest_boot(vm);
    return vm;
}

FailoverVM *failover_vm_start(FailoverHotplug hotplug, unsigned ports,
                              const char *fmt, ...)
{
    FailoverVM *vm;
    va_list ap;

    va_start(ap, fmt);
    vm = start(NULL, hotplug, ports, fmt, ap);
    va_end(ap);
    return vm;
}

FailoverVM *failover_vm_start_env(const char *env, FailoverHotplug hotplug,
                                  unsigned ports, const char *fmt, ...)
{
    FailoverVM *vm;
    va_list ap;

    va_start(ap, fmt);
    vm = start(env, hotplug, ports, fmt, ap);
    va_end(ap);
    return vm;
}

void failover_vm_stop(FailoverVM *vm)
{
    qpci_free_pc(vm->bus);
    alloc_destroy(&vm->alloc);
    qtest_quit(vm->qts);
    failover_events_drop(vm);
    g_free(vm);
}

/* QMP */

static void print_response(QDict *resp)
{
    g_autoptr(GString) text = qobject_to_json(QOBJECT(resp));

    g_test_message("unexpected: %s", text->str);
}

QDict *failover_qmp(FailoverVM *vm, const char *fmt, ...)
{
    QDict *resp, *ret;
    va_list ap;

    va_start(ap, fmt);
    resp = qtest_vqmp(vm->qts, fmt, ap);
    va_end(ap);
    if (!qdict_haskey(resp, "return")) {
        print_response(resp);
    }
    g_assert_true(qdict_haskey(resp, "return"));
    ret = qobject_to(QDict, qdict_get(resp, "return"));
    qobject_ref(ret);
    qobject_unref(resp);
    return ret;
}

G_GNUC_PRINTF(2, 0)
static QDict *vqmp_error(FailoverVM *vm, const char *fmt, va_list ap)
{
    QDict *resp, *error;

    resp = qtest_vqmp(vm->qts, fmt, ap);
    if (!qdict_haskey(resp, "error")) {
        print_response(resp);
    }
    g_assert_true(qdict_haskey(resp, "error"));
    error = qobject_ref(qdict_get_qdict(resp, "error"));
    qobject_unref(resp);
    return error;
}

QDict *failover_qmp_error(FailoverVM *vm, const char *fmt, ...)
{
    QDict *error;
    va_list ap;

    va_start(ap, fmt);
    error = vqmp_error(vm, fmt, ap);
    va_end(ap);
    return error;
}

char *failover_qmp_refused(FailoverVM *vm, const char *class,
                           const char *fmt, ...)
{
    QDict *error;
    va_list ap;
    char *desc;

    va_start(ap, fmt);
    error = vqmp_error(vm, fmt, ap);
    va_end(ap);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, class);
    desc = g_strdup(qdict_get_str(error, "desc"));
    qobject_unref(error);
    return desc;
}

void failover_events_poll(FailoverVM *vm)
{
    /* What was sent before the answer comes before it. */
    qobject_unref(failover_qmp(vm, "{ 'execute': 'query-status' }"));
}

void failover_events_drop(FailoverVM *vm)
{
    QDict *event;

    while ((event = g_queue_pop_head(&vm->events))) {
        qobject_unref(event);
    }
}

static bool event_is(QDict *event, const char *name)
{
    return !strcmp(qdict_get_str(event, "event"), name);
}

/* The oldest event of this name, of this standby if one is given */
static QDict *take_first(FailoverVM *vm, const char *name,
                         const char *standby)
{
    GList *item;

    for (item = vm->events.head; item; item = item->next) {
        QDict *event = item->data;

        if (event_is(event, name) &&
            (!standby ||
             !strcmp(qdict_get_str(qdict_get_qdict(event, "data"),
                                   "standby"), standby))) {
            g_queue_delete_link(&vm->events, item);
            return event;
        }
    }
    return NULL;
}

static QDict *wait_first(FailoverVM *vm, const char *name,
                         const char *standby)
{
    int64_t begin = 0;
    QDict *event = NULL;

    while (!(event = take_first(vm, name, standby)) &&
           failover_again(&begin)) {
        failover_events_poll(vm);
    }
    return event;
}

QDict *failover_event_take(FailoverVM *vm, const char *name)
{
    failover_events_poll(vm);
    return take_first(vm, name, NULL);
}

QDict *failover_event_wait(FailoverVM *vm, const char *name)
{
    QDict *event = wait_first(vm, name, NULL);

    if (!event) {
        g_test_message("no event %s", name);
    }
    g_assert_nonnull(event);
    return event;
}

unsigned failover_event_count(FailoverVM *vm, const char *name)
{
    unsigned count = 0;
    GList *item;

    failover_events_poll(vm);
    for (item = vm->events.head; item; item = item->next) {
        count += event_is(item->data, name);
    }
    return count;
}

int64_t failover_event_time(QDict *event)
{
    QDict *stamp = qdict_get_qdict(event, "timestamp");

    return qdict_get_int(stamp, "seconds") * 1000000 +
           qdict_get_int(stamp, "microseconds");
}

bool failover_was_deleted(FailoverVM *vm, const char *id)
{
    GList *item;

    failover_events_poll(vm);
    for (item = vm->events.head; item; item = item->next) {
        QDict *data = qdict_get_qdict(item->data, "data");

        /* Without an id it is a part of a device. */
        if (event_is(item->data, "DEVICE_DELETED") &&
            !g_strcmp0(qdict_get_try_str(data, "device"), id)) {
            return true;
        }
    }
    return false;
}

void failover_wait_deleted(FailoverVM *vm, const char *id)
{
    bool found = false;

    while (!found) {
        QDict *event = failover_event_wait(vm, "DEVICE_DELETED");
        QDict *data = qdict_get_qdict(event, "data");

        found = !g_strcmp0(qdict_get_try_str(data, "device"), id);
        qobject_unref(event);
    }
}

QDict *failover_state_wait(FailoverVM *vm, const char *standby,
                           const char *state, const char *reason)
{
    for (;;) {
        QDict *event = wait_first(vm, STATE_EVENT, standby);
        QDict *data;

        if (!event) {
            g_test_message("%s did not become %s", standby, state);
        }
        g_assert_nonnull(event);
        data = qdict_get_qdict(event, "data");
        if (!strcmp(qdict_get_str(data, "new-state"), state) &&
            (!reason || !strcmp(qdict_get_str(data, "reason"), reason))) {
            return event;
        }
        qobject_unref(event);
    }
}

void failover_wait(FailoverVM *vm, const char *standby, const char *state,
                   const char *reason)
{
    qobject_unref(failover_state_wait(vm, standby, state, reason));
}

void failover_expect(FailoverVM *vm, const char *standby, const char *old,
                     const char *state, const char *reason)
{
    QDict *event = wait_first(vm, STATE_EVENT, standby);
    QDict *data;

    if (!event) {
        g_test_message("%s did not become %s", standby, state);
    }
    g_assert_nonnull(event);
    data = qdict_get_qdict(event, "data");
    if (strcmp(qdict_get_str(data, "old-state"), old) ||
        strcmp(qdict_get_str(data, "new-state"), state) ||
        strcmp(qdict_get_str(data, "reason"), reason)) {
        print_response(event);
    }
    g_assert_cmpstr(qdict_get_str(data, "old-state"), ==, old);
    g_assert_cmpstr(qdict_get_str(data, "new-state"), ==, state);
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, reason);
    qobject_unref(event);
}

QDict *failover_query(FailoverVM *vm, const char *standby)
{
    QDict *resp = qtest_qmp(vm->qts,
                            "{ 'execute': 'query-virtio-net-failover' }");
    QDict *found = NULL;
    QListEntry *entry;

    g_assert_true(qdict_haskey(resp, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *info = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(info, "standby"), standby)) {
            found = qobject_ref(info);
        }
    }
    qobject_unref(resp);
    return found;
}

void failover_assert_state(FailoverVM *vm, const char *standby,
                           const char *state)
{
    QDict *info = failover_query(vm, standby);

    g_assert_nonnull(info);
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, state);
    qobject_unref(info);
}

int64_t failover_counter(FailoverVM *vm, const char *standby,
                         const char *name)
{
    QDict *info = failover_query(vm, standby);
    int64_t value;

    g_assert_nonnull(info);
    value = qdict_get_int(info, name);
    qobject_unref(info);
    return value;
}

bool failover_device_exists(FailoverVM *vm, const char *id)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *resp = qtest_qmp(vm->qts, "{ 'execute': 'qom-list', "
                            "'arguments': { 'path': %s } }", path);
    bool exists = qdict_haskey(resp, "return");

    qobject_unref(resp);
    return exists;
}

void failover_device_add(FailoverVM *vm, const char *driver, const char *id,
                         const char *fmt, ...)
{
    QDict *args;
    va_list ap;

    va_start(ap, fmt);
    args = qdict_from_vjsonf_nofail(fmt, ap);
    va_end(ap);
    qdict_put_str(args, "driver", driver);
    qdict_put_str(args, "id", id);
    qobject_unref(failover_qmp(vm, "{ 'execute': 'device_add', "
                               "'arguments': %p }", args));
}

void failover_device_del(FailoverVM *vm, const char *id)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'device_del', "
                               "'arguments': { 'id': %s } }", id));
}

/* Migration */

void failover_set_capability(FailoverVM *vm, const char *name, bool on)
{
    qobject_unref(failover_qmp(vm,
                               "{ 'execute': 'migrate-set-capabilities', "
                               "'arguments': { 'capabilities': [ "
                               "{ 'capability': %s, 'state': %i } ] } }",
                               name, on));
}

void failover_migrate(FailoverVM *vm, const char *uri)
{
    int64_t begin = 0;
    bool started = false;

    while (!started) {
        QDict *resp = qtest_qmp(vm->qts, "{ 'execute': 'migrate', "
                                "'arguments': { 'uri': %s } }", uri);

        started = qdict_haskey(resp, "return");
        if (!started) {
            const char *desc = qdict_get_str(qdict_get_qdict(resp, "error"),
                                             "desc");

            /* The last one has failed, and is not cleaned up yet. */
            if (strcmp(desc, "duplicate yank instance") ||
                !failover_again(&begin)) {
                print_response(resp);
                g_assert_not_reached();
            }
        }
        qobject_unref(resp);
    }
}

void failover_migrate_to_file(FailoverVM *vm, const char *file)
{
    g_autofree char *uri = g_strdup_printf("exec:cat > %s", file);

    failover_migrate(vm, uri);
}

void failover_migrate_unplug(FailoverVM *vm, const char *file,
                             const char *primary)
{
    QDict *event;

    failover_migrate_to_file(vm, file);
    event = failover_event_wait(vm, "UNPLUG_PRIMARY");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"),
                                  "device-id"), ==, primary);
    qobject_unref(event);
}

void failover_migrate_asked(FailoverVM *vm, const char *file,
                            const char *primary)
{
    failover_migrate_unplug(vm, file, primary);
    failover_wait_status(vm, "wait-unplug");
}

void failover_incoming(FailoverVM *vm, const char *uri)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'migrate-incoming', "
                               "'arguments': { 'uri': %s } }", uri));
}

void failover_incoming_from_file(FailoverVM *vm, const char *file)
{
    g_autofree char *uri = g_strdup_printf("exec:cat %s", file);

    failover_incoming(vm, uri);
}

void failover_migrate_cancel(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'migrate_cancel' }"));
}

static QDict *query_migrate(FailoverVM *vm)
{
    QDict *info = failover_qmp(vm, "{ 'execute': 'query-migrate' }");

    g_assert_nonnull(info);
    return info;
}

char *failover_migration_status(FailoverVM *vm)
{
    QDict *info = query_migrate(vm);
    char *status = g_strdup(qdict_get_try_str(info, "status") ?: "none");

    qobject_unref(info);
    return status;
}

static bool is_final(const char *status)
{
    return !strcmp(status, "completed") || !strcmp(status, "failed") ||
           !strcmp(status, "cancelled");
}

void failover_wait_status(FailoverVM *vm, const char *status)
{
    int64_t begin = 0;
    bool reached = false;

    while (!reached) {
        QDict *info = query_migrate(vm);
        const char *now = qdict_get_try_str(info, "status") ?: "none";

        reached = !strcmp(now, status);
        if (!reached && (is_final(now) || !failover_again(&begin))) {
            print_response(info);
            g_assert_cmpstr(now, ==, status);
        }
        qobject_unref(info);
    }
}

char *failover_wait_failed(FailoverVM *vm)
{
    QDict *info;
    char *reason;

    failover_wait_status(vm, "failed");
    info = query_migrate(vm);
    reason = g_strdup(qdict_get_try_str(info, "error-desc"));
    qobject_unref(info);
    return reason;
}

char *failover_temp_file(void)
{
    char *name;
    int fd = g_file_open_tmp("virtio-net-failover-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return name;
}

/* Guest */

/* The device of a root port, of which the caller becomes the owner */
static QPCIDevice *root_port(FailoverVM *vm, unsigned port)
{
    QPCIDevice *dev;

    g_assert_cmpuint(port, <, vm->ports);
    dev = qpci_device_find(vm->bus, QPCI_DEVFN(port + 1, 0));
    g_assert_nonnull(dev);
    return dev;
}

void failover_guest_boot(FailoverVM *vm)
{
    unsigned port;

    g_assert_cmpint(qpci_secondary_buses_init(vm->bus), ==, vm->ports);
    for (port = 0; port < vm->ports; port++) {
        QPCIDevice *dev = root_port(vm, port);

        /* The same window for all: BARs are assigned one after the other. */
        qpci_config_writeb(dev, PCI_IO_BASE, 0xc0);
        qpci_config_writeb(dev, PCI_IO_LIMIT, 0xf0);
        qpci_config_writew(dev, PCI_MEMORY_BASE, 0xe000);
        qpci_config_writew(dev, PCI_MEMORY_LIMIT, 0xfeb0);
        qpci_device_enable(dev);
        g_free(dev);
    }
}

/* Buses have the numbers of their root ports' slots. */
static int slot_devfn(unsigned port)
{
    return QPCI_DEVFN((port + 1) << 5, 0);
}

QVirtioPCIDevice *failover_guest_negotiate(FailoverVM *vm, unsigned port,
                                           bool standby)
{
    QPCIAddress addr = { .devfn = slot_devfn(port) };
    QVirtioPCIDevice *dev = virtio_pci_new(vm->bus, &addr);
    uint64_t features;

    g_assert_nonnull(dev);
    qvirtio_pci_device_enable(dev);
    qvirtio_start_device(&dev->vdev);
    features = qvirtio_get_features(&dev->vdev);
    features &= ~(QVIRTIO_F_BAD_FEATURE |
                  1ull << VIRTIO_RING_F_INDIRECT_DESC |
                  1ull << VIRTIO_RING_F_EVENT_IDX);
    if (standby) {
        g_assert_true(features & 1ull << VIRTIO_NET_F_STANDBY);
    } else {
        features &= ~(1ull << VIRTIO_NET_F_STANDBY);
    }
    qvirtio_set_features(&dev->vdev, features);
    qvirtio_set_driver_ok(&dev->vdev);
    return dev;
}

void failover_guest_reset(QVirtioPCIDevice *dev)
{
    qvirtio_reset(&dev->vdev);
}

void failover_guest_free(QVirtioPCIDevice *dev)
{
    qos_object_destroy((QOSGraphObject *)dev);
}

/* Read or change a register of the root port's slot. */
static uint16_t slot_readw(FailoverVM *vm, unsigned port, unsigned reg)
{
    QPCIDevice *dev = root_port(vm, port);
    uint8_t cap = qpci_find_capability(dev, PCI_CAP_ID_EXP, 0);
    uint16_t value;

    g_assert_cmpuint(cap, !=, 0);
    value = qpci_config_readw(dev, cap + reg);
    g_free(dev);
    return value;
}

static void slot_writew(FailoverVM *vm, unsigned port, unsigned reg,
                        uint16_t value)
{
    QPCIDevice *dev = root_port(vm, port);
    uint8_t cap = qpci_find_capability(dev, PCI_CAP_ID_EXP, 0);

    g_assert_cmpuint(cap, !=, 0);
    qpci_config_writew(dev, cap + reg, value);
    g_free(dev);
}

uint16_t failover_guest_slot_status(FailoverVM *vm, unsigned port)
{
    return slot_readw(vm, port, PCI_EXP_SLTSTA);
}

uint16_t failover_guest_slot_control(FailoverVM *vm, unsigned port)
{
    return slot_readw(vm, port, PCI_EXP_SLTCTL);
}

void failover_guest_set_slot_control(FailoverVM *vm, unsigned port,
                                     uint16_t mask, uint16_t value)
{
    uint16_t old = slot_readw(vm, port, PCI_EXP_SLTCTL);

    slot_writew(vm, port, PCI_EXP_SLTCTL, (old & ~mask) | value);
}

void failover_guest_power_on(FailoverVM *vm, unsigned port)
{
    failover_guest_set_slot_control(vm, port,
                                    PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC,
                                    PCI_EXP_SLTCTL_PWR_IND_ON);
}

unsigned failover_guest_slot_event(FailoverVM *vm, unsigned port)
{
    unsigned event = FAILOVER_SLOT_NONE;
    uint16_t status;

    if (vm->hotplug == FAILOVER_ACPI) {
        qtest_outl(vm->qts, PCIHP_SELECT, vm->bsel[port]);
        if (qtest_inl(vm->qts, PCIHP_UP) & 1) {
            event |= FAILOVER_SLOT_PLUG;
        }
        if (qtest_inl(vm->qts, PCIHP_DOWN) & 1) {
            event |= FAILOVER_SLOT_UNPLUG;
        }
        return event;
    }

    status = failover_guest_slot_status(vm, port);
    slot_writew(vm, port, PCI_EXP_SLTSTA,
                status & (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC));
    if (!(status & (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC))) {
        return event;
    }
    if (!(status & PCI_EXP_SLTSTA_PDS)) {
        /* The device was pulled out. */
        return FAILOVER_SLOT_UNPLUG;
    }
    /* The button of a slot that has power asks for its release. */
    return status & PCI_EXP_SLTSTA_ABP &&
           !(failover_guest_slot_control(vm, port) & PCI_EXP_SLTCTL_PCC) ?
           FAILOVER_SLOT_UNPLUG : FAILOVER_SLOT_PLUG;
}

void failover_guest_ack(FailoverVM *vm, unsigned port)
{
    if (vm->hotplug == FAILOVER_ACPI) {
        qtest_outl(vm->qts, PCIHP_SELECT, vm->bsel[port]);
        qtest_outl(vm->qts, PCIHP_EJECT, 1);
    } else {
        failover_guest_set_slot_control(vm, port, PCI_EXP_SLTCTL_PCC |
                                        PCI_EXP_SLTCTL_PIC,
                                        PCI_EXP_SLTCTL_PWR_OFF |
                                        PCI_EXP_SLTCTL_PWR_IND_OFF);
    }
}

uint16_t failover_guest_readw(FailoverVM *vm, unsigned port, uint8_t reg)
{
    return vm->bus->config_readw(vm->bus, slot_devfn(port), reg);
}

uint32_t failover_guest_readl(FailoverVM *vm, unsigned port, uint8_t reg)
{
    return vm->bus->config_readl(vm->bus, slot_devfn(port), reg);
}

void failover_guest_writew(FailoverVM *vm, unsigned port, uint8_t reg,
                           uint16_t value)
{
    vm->bus->config_writew(vm->bus, slot_devfn(port), reg, value);
}

void failover_guest_writel(FailoverVM *vm, unsigned port, uint8_t reg,
                           uint32_t value)
{
    vm->bus->config_writel(vm->bus, slot_devfn(port), reg, value);
}

uint16_t failover_guest_vendor(FailoverVM *vm, unsigned port)
{
    return failover_guest_readw(vm, port, PCI_VENDOR_ID);
}

void failover_guest_set_bus_master(FailoverVM *vm, unsigned port, bool on)
{
    uint16_t command = failover_guest_readw(vm, port, PCI_COMMAND);

    command &= ~PCI_COMMAND_MASTER;
    if (on) {
        command |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
    }
    failover_guest_writew(vm, port, PCI_COMMAND, command);
}

void failover_guest_wait_visible(FailoverVM *vm, unsigned port)
{
    int64_t begin = 0;

    while (failover_guest_vendor(vm, port) == FAILOVER_NOTHING) {
        if (vm->hotplug == FAILOVER_NATIVE &&
            failover_guest_slot_event(vm, port) & FAILOVER_SLOT_PLUG) {
            failover_guest_power_on(vm, port);
        }
        if (!failover_again(&begin)) {
            g_test_message("no device in root%u", port);
            g_assert_cmphex(failover_guest_vendor(vm, port), !=,
                            FAILOVER_NOTHING);
        }
    }
}

void failover_guest_wait_gone(FailoverVM *vm, unsigned port)
{
    int64_t begin = 0;

    while (failover_guest_vendor(vm, port) != FAILOVER_NOTHING) {
        if (!failover_again(&begin)) {
            g_test_message("still a device in root%u", port);
            g_assert_cmphex(failover_guest_vendor(vm, port), ==,
                            FAILOVER_NOTHING);
        }
    }
}

void failover_wait_running(FailoverVM *vm)
{
    int64_t begin = 0;
    bool running = false;

    while (!running) {
        QDict *status = failover_qmp(vm, "{ 'execute': 'query-status' }");

        running = qdict_get_bool(status, "running");
        qobject_unref(status);
        g_assert_true(running || failover_again(&begin));
    }
}
