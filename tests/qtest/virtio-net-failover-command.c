/*
 * Tests of virtio-net failover: commands, events, properties
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qjson.h"
#include "virtio-net-failover-util.h"

#define STANDBY "-device virtio-net-pci,bus=root0,id=standby0,failover=on"
/* Without a ROM, which a destination would have to have from the start */
#define PRIMARY " -device virtio-net-pci,bus=root1,id=primary0,romfile=," \
                "failover_pair_id=standby0"

#define TIMEOUT_MAX 3600000

/* The longest time in which something that must not happen could happen */
#define QUIET_MS 300

#define UNPLUG "{ 'execute': 'virtio-net-failover-unplug', 'arguments': "
#define REPLUG "{ 'execute': 'virtio-net-failover-replug', 'arguments': "

static void unplug(FailoverVM *vm, uint32_t timeout, const char *policy,
                   bool release)
{
    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby0', "
                               "'timeout': %u, 'policy': %s, "
                               "'release': %i } }",
                               timeout, policy, release));
}

static void replug(FailoverVM *vm)
{
    qobject_unref(failover_qmp(vm, REPLUG "{ 'standby': 'standby0' } }"));
}

/* A pair whose primary the guest uses; nothing is left to be told about it */
static FailoverVM *start_active(FailoverHotplug hotplug, const char *options,
                                QVirtioPCIDevice **dev)
{
    FailoverVM *vm = failover_vm_start(hotplug, 2, STANDBY "%s" PRIMARY,
                                       options);

    *dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    failover_guest_slot_event(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    failover_wait(vm, "standby0", "active", "bus-master-on");
    return vm;
}

static void stop(FailoverVM *vm, QVirtioPCIDevice *dev)
{
    failover_guest_free(dev);
    failover_vm_stop(vm);
}

static QDict *query_all(FailoverVM *vm)
{
    return qtest_qmp(vm->qts, "{ 'execute': 'query-virtio-net-failover' }");
}

/* A command is refused with an error of this class, and changes nothing. */
G_GNUC_PRINTF(3, 4)
static void refused(FailoverVM *vm, const char *class, const char *fmt, ...)
{
    QDict *before = query_all(vm), *resp, *after, *error;
    va_list ap;

    va_start(ap, fmt);
    resp = qtest_vqmp(vm->qts, fmt, ap);
    va_end(ap);
    after = query_all(vm);

    error = qdict_get_qdict(resp, "error");
    g_assert_nonnull(error);
    g_assert_cmpstr(qdict_get_str(error, "class"), ==, class);
    g_assert_cmpstr(qdict_get_str(error, "desc"), !=, "");
    g_assert_true(qobject_is_equal(QOBJECT(before), QOBJECT(after)));

    qobject_unref(before);
    qobject_unref(resp);
    qobject_unref(after);
}

/* Nothing happens to the pair for a while. */
static void quiet(FailoverVM *vm, const char *state)
{
    int64_t end = g_get_monotonic_time() + QUIET_MS * 1000;

    do {
        failover_assert_state(vm, "standby0", state);
        g_usleep(10000);
    } while (g_get_monotonic_time() < end);
}

/* Not qtest_system_reset(): it would wait for an event that we have taken. */
static void reset_machine(FailoverVM *vm)
{
    QDict *event;

    qtest_system_reset_nowait(vm->qts);
    event = failover_event_wait(vm, "RESET");
    qobject_unref(event);
    failover_guest_boot(vm);
}

static void run_command(FailoverVM *vm, const char *name)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': %s }", name));
}

/* query-virtio-net-failover */

static void test_query_none(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 1,
                                       "-device virtio-net-pci,bus=root0,"
                                       "id=net0");
    g_autofree char *text = NULL;
    QDict *resp = query_all(vm);

    g_assert_true(qlist_empty(qdict_get_qlist(resp, "return")));
    qobject_unref(resp);
    text = qtest_hmp(vm->qts, "info virtio-net-failover");
    g_assert_nonnull(strstr(text, "No failover pair"));
    failover_vm_stop(vm);
}

static void check_transition(QDict *info, unsigned index, const char *old,
                             const char *new, const char *reason)
{
    QList *list = qdict_get_qlist(info, "transitions");
    QListEntry *entry;
    QDict *item = NULL;
    int64_t time = 0;

    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *this = qobject_to(QDict, qlist_entry_obj(entry));
        int64_t age = g_get_real_time() - qdict_get_int(this, "time-us");

        /* In order, and made by this test */
        g_assert_cmpint(qdict_get_int(this, "time-us"), >=, time);
        g_assert_cmpint(age, >=, 0);
        g_assert_cmpint(age, <, 60 * 1000000);
        time = qdict_get_int(this, "time-us");
        if (!index--) {
            item = this;
        }
    }
    g_assert_nonnull(item);
    g_assert_cmpstr(qdict_get_str(item, "old-state"), ==, old);
    g_assert_cmpstr(qdict_get_str(item, "new-state"), ==, new);
    g_assert_cmpstr(qdict_get_str(item, "reason"), ==, reason);
}

static void check_counters(FailoverVM *vm, int64_t plugs, int64_t unplugs,
                           int64_t timeouts, int64_t errors)
{
    QDict *info = failover_query(vm, "standby0");

    g_assert_cmpint(qdict_get_int(info, "plugs"), ==, plugs);
    g_assert_cmpint(qdict_get_int(info, "unplugs"), ==, unplugs);
    g_assert_cmpint(qdict_get_int(info, "timeouts"), ==, timeouts);
    g_assert_cmpint(qdict_get_int(info, "errors"), ==, errors);
    qobject_unref(info);
}

static void test_query_fields(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY PRIMARY);
    QVirtioPCIDevice *dev;
    QDict *info = failover_query(vm, "standby0");

    g_assert_cmpstr(qdict_get_str(info, "standby-path"), ==,
                    "/machine/peripheral/standby0");
    g_assert_cmpstr(qdict_get_str(info, "primary"), ==, "primary0");
    g_assert_false(qdict_haskey(info, "primary-path"));
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "hidden");
    g_assert_false(qdict_get_bool(info, "negotiated"));
    g_assert_cmpint(qdict_get_int(info, "unplug-timeout"), ==, 0);
    g_assert_cmpstr(qdict_get_str(info, "unplug-policy"), ==, "abort");
    g_assert_cmpstr(qdict_get_str(info, "replug"), ==, "auto");
    g_assert_false(qdict_get_bool(info, "release"));
    g_assert_false(qdict_haskey(info, "last-error"));
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "transitions")), ==, 1);
    check_transition(info, 0, "absent", "hidden", "primary-given");
    qobject_unref(info);
    check_counters(vm, 0, 0, 0, 0);

    dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    info = failover_query(vm, "standby0");
    g_assert_cmpstr(qdict_get_str(info, "primary-path"), ==,
                    "/machine/peripheral/primary0");
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "active");
    g_assert_true(qdict_get_bool(info, "negotiated"));
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "transitions")), ==, 3);
    check_transition(info, 1, "hidden", "plugged", "plugged");
    check_transition(info, 2, "plugged", "active", "bus-master-on");
    qobject_unref(info);
    check_counters(vm, 1, 0, 0, 0);

    failover_guest_reset(dev);
    info = failover_query(vm, "standby0");
    g_assert_false(qdict_get_bool(info, "negotiated"));
    qobject_unref(info);
    stop(vm, dev);
}

static void test_query_properties(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 1, STANDBY
                                       ",failover-unplug-timeout=1234,"
                                       "failover-unplug-policy=surprise,"
                                       "failover-replug=manual,"
                                       "failover-release=on");
    QDict *info = failover_query(vm, "standby0");

    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "absent");
    g_assert_false(qdict_haskey(info, "primary"));
    g_assert_false(qdict_haskey(info, "primary-path"));
    g_assert_true(qlist_empty(qdict_get_qlist(info, "transitions")));
    g_assert_cmpint(qdict_get_int(info, "unplug-timeout"), ==, 1234);
    g_assert_cmpstr(qdict_get_str(info, "unplug-policy"), ==, "surprise");
    g_assert_cmpstr(qdict_get_str(info, "replug"), ==, "manual");
    g_assert_true(qdict_get_bool(info, "release"));
    qobject_unref(info);
    failover_vm_stop(vm);
}

/* Each of several pairs has a life of its own. */
static void test_query_several(void)
{
    FailoverVM *vm =
        failover_vm_start(FAILOVER_ACPI, 6, STANDBY PRIMARY
                          " -device virtio-net-pci,bus=root2,id=standby1,"
                          "failover=on"
                          " -device e1000e,bus=root3,id=primary1,romfile=,"
                          "failover_pair_id=standby1"
                          " -device virtio-net-pci,bus=root4,id=standby2,"
                          "failover=on");
    QVirtioPCIDevice *dev = failover_guest_negotiate(vm, 2, true);
    QDict *resp;

    failover_assert_state(vm, "standby0", "hidden");
    failover_assert_state(vm, "standby1", "plugged");
    failover_assert_state(vm, "standby2", "absent");
    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby1' } }"));
    failover_guest_ack(vm, 3);
    failover_assert_state(vm, "standby0", "hidden");
    failover_assert_state(vm, "standby1", "unplugged");
    failover_assert_state(vm, "standby2", "absent");
    g_assert_cmpint(failover_counter(vm, "standby0", "unplugs"), ==, 0);
    g_assert_cmpint(failover_counter(vm, "standby1", "unplugs"), ==, 1);

    resp = query_all(vm);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(resp, "return")), ==, 3);
    qobject_unref(resp);
    stop(vm, dev);
}

/* The latest 16 transitions are kept. */
static void test_query_history(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);
    QDict *info;
    unsigned i;

    for (i = 0; i < 6; i++) {
        unplug(vm, 0, "abort", false);
        failover_guest_ack(vm, 1);
        replug(vm);
    }
    info = failover_query(vm, "standby0");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "transitions")), ==, 16);
    check_transition(info, 15, "unplugged", "plugged", "plugged");
    check_transition(info, 14, "unplugging", "unplugged", "guest-released");
    check_transition(info, 13, "plugged", "unplugging", "unplug-requested");
    check_transition(info, 0, "unplugged", "plugged", "plugged");
    qobject_unref(info);
    check_counters(vm, 7, 6, 0, 0);
    stop(vm, dev);
}

static void test_query_last_error(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);
    QDict *event, *info;

    unplug(vm, 20, "abort", false);
    event = failover_state_wait(vm, "standby0", "plugged", "timed-out");
    info = failover_query(vm, "standby0");
    g_assert_nonnull(strstr(qdict_get_str(info, "last-error"), "20 ms"));
    g_assert_nonnull(strstr(qdict_get_str(info, "last-error"), "primary0"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"), "error"),
                    ==, qdict_get_str(info, "last-error"));
    qobject_unref(event);
    qobject_unref(info);
    check_counters(vm, 1, 0, 1, 0);
    stop(vm, dev);
}

static void test_hmp(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);
    static const char * const parts[] = {
        "standby0", "primary0", "plugged", "unplugging", "plugs 1",
        "timeouts 1", "last error", "bus-master-on", "timed-out",
    };
    g_autofree char *text = NULL;
    unsigned i;

    unplug(vm, 1, "abort", false);
    failover_wait(vm, "standby0", "plugged", "timed-out");
    text = qtest_hmp(vm->qts, "info virtio-net-failover");
    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        if (!strstr(text, parts[i])) {
            g_test_message("no '%s' in: %s", parts[i], text);
        }
        g_assert_nonnull(strstr(text, parts[i]));
    }
    stop(vm, dev);
}

/* virtio-net-failover-unplug and -replug */

typedef struct UnplugTest {
    FailoverHotplug hotplug;
    bool release;
} UnplugTest;

static void check_gone(FailoverVM *vm, bool release)
{
    if (release) {
        failover_wait(vm, "standby0", "released", "closed");
        g_assert_false(failover_device_exists(vm, "primary0"));
    } else {
        failover_assert_state(vm, "standby0", "unplugged");
        g_assert_true(failover_device_exists(vm, "primary0"));
    }
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
}

static void check_back(FailoverVM *vm)
{
    failover_wait(vm, "standby0", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    /* As after a reset: the guest has to start it anew. */
    g_assert_false(failover_guest_readw(vm, 1, PCI_COMMAND) &
                   PCI_COMMAND_MASTER);
    failover_guest_set_bus_master(vm, 1, true);
    failover_wait(vm, "standby0", "active", "bus-master-on");
}

static void test_unplug_ack(const void *data)
{
    const UnplugTest *test = data;
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(test->hotplug, "", &dev);
    QDict *event;
    unsigned i;

    failover_guest_slot_event(vm, 1);
    for (i = 1; i <= 2; i++) {
        unplug(vm, 0, "abort", test->release);
        failover_assert_state(vm, "standby0", "unplugging");
        g_assert_cmphex(failover_guest_slot_event(vm, 1) &
                        FAILOVER_SLOT_UNPLUG, ==, FAILOVER_SLOT_UNPLUG);
        failover_guest_ack(vm, 1);
        check_gone(vm, test->release);
        replug(vm);
        check_back(vm);
        check_counters(vm, 1 + i, i, 0, 0);
    }
    /* No migration wanted it. */
    g_assert_cmpuint(failover_event_count(vm, "UNPLUG_PRIMARY"), ==, 0);
    /* For the user the device never went away. */
    while ((event = failover_event_take(vm, "DEVICE_DELETED"))) {
        g_assert_false(qdict_haskey(qdict_get_qdict(event, "data"),
                                    "device"));
        qobject_unref(event);
    }
    stop(vm, dev);
}

/* What was unplugged by command comes back by command only. */
static void test_unplug_stays(const void *data)
{
    const UnplugTest *test = data;
    g_autofree char *reason = NULL;
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(test->hotplug, "", &dev);
    const char *state = test->release ? "released" : "unplugged";

    unplug(vm, 0, "abort", test->release);
    failover_guest_ack(vm, 1);
    check_gone(vm, test->release);

    failover_guest_reset(dev);
    failover_guest_free(dev);
    dev = failover_guest_negotiate(vm, 0, true);
    failover_assert_state(vm, "standby0", state);

    run_command(vm, "stop");
    run_command(vm, "cont");
    failover_assert_state(vm, "standby0", state);

    failover_migrate(vm, "exec:exit 1");
    reason = failover_wait_failed(vm);
    quiet(vm, state);
    replug(vm);
    check_back(vm);
    stop(vm, dev);
}

static void test_unplug_abort(const void *data)
{
    const UnplugTest *test = data;
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(test->hotplug, "", &dev);

    unplug(vm, 30, "abort", test->release);
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(vm, "standby0", "unplugging", "plugged", "timed-out");
    /* The guest has used it all the time. */
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    g_assert_cmphex(failover_guest_vendor(vm, 1), !=, FAILOVER_NOTHING);
    check_counters(vm, 1, 0, 1, 0);

    /* The guest's answer is late: nobody wants it any more. */
    failover_guest_ack(vm, 1);
    failover_expect(vm, "standby0", "active", "unplugged", "guest-released");
    check_back(vm);
    check_counters(vm, 2, 1, 1, 0);

    /* And it can be asked again. */
    unplug(vm, TIMEOUT_MAX, "abort", test->release);
    failover_guest_ack(vm, 1);
    check_gone(vm, test->release);
    replug(vm);
    check_back(vm);
    stop(vm, dev);
}

static void test_unplug_surprise(const void *data)
{
    const UnplugTest *test = data;
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(test->hotplug, "", &dev);
    QDict *event;

    unplug(vm, 30, "surprise", test->release);
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    event = failover_state_wait(vm, "standby0", "unplugged",
                                "surprise-removed");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(event, "data"),
                                          "error"), "30 ms"));
    qobject_unref(event);
    check_gone(vm, test->release);
    check_counters(vm, 1, 1, 1, 0);
    if (test->hotplug == FAILOVER_NATIVE) {
        g_assert_cmphex(failover_guest_slot_event(vm, 1), ==,
                        FAILOVER_SLOT_UNPLUG);
        failover_guest_ack(vm, 1);
        failover_assert_state(vm, "standby0",
                              test->release ? "released" : "unplugged");
    }
    replug(vm);
    check_back(vm);
    stop(vm, dev);
}

/* Without arguments the standby's properties hold. */
static void test_unplug_defaults(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI,
                                  ",failover-unplug-timeout=20,"
                                  "failover-unplug-policy=surprise,"
                                  "failover-release=on", &dev);

    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby0' } }"));
    failover_wait(vm, "standby0", "unplugged", "surprise-removed");
    check_gone(vm, true);
    replug(vm);
    check_back(vm);

    /* Each can be overridden. */
    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby0', "
                               "'policy': 'abort' } }"));
    failover_wait(vm, "standby0", "plugged", "timed-out");
    failover_wait(vm, "standby0", "active", "bus-master-on");
    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby0', "
                               "'timeout': %u } }", TIMEOUT_MAX));
    quiet(vm, "unplugging");
    failover_guest_ack(vm, 1);
    check_gone(vm, true);
    stop(vm, dev);
}

static void test_unplug_no_deadline(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);

    qobject_unref(failover_qmp(vm, UNPLUG "{ 'standby': 'standby0' } }"));
    quiet(vm, "unplugging");
    failover_guest_ack(vm, 1);
    check_gone(vm, false);
    stop(vm, dev);
}

static void test_manual_negotiate(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY
                                       ",failover-replug=manual" PRIMARY);
    QVirtioPCIDevice *dev = failover_guest_negotiate(vm, 0, true);

    quiet(vm, "hidden");
    g_assert_false(failover_device_exists(vm, "primary0"));
    replug(vm);
    check_back(vm);
    stop(vm, dev);
}

static void test_manual_failed_migration(const void *data)
{
    const UnplugTest *test = data;
    g_autofree char *reason = NULL;
    QVirtioPCIDevice *dev;
    FailoverVM *vm = failover_vm_start(test->hotplug, 2, STANDBY
                                       ",failover-replug=manual%s" PRIMARY,
                                       test->release ?
                                       ",failover-release=on" : "");

    dev = failover_guest_negotiate(vm, 0, true);
    replug(vm);
    check_back(vm);
    failover_migrate(vm, "exec:exit 1");
    failover_wait(vm, "standby0", "unplugging", "unplug-requested");
    failover_guest_ack(vm, 1);
    reason = failover_wait_failed(vm);
    check_gone(vm, test->release);
    quiet(vm, test->release ? "released" : "unplugged");
    replug(vm);
    check_back(vm);
    stop(vm, dev);
}

/* The state of a guest that has released its primary, in a file */
static char *saved_guest(const char *options, bool negotiate)
{
    char *file = failover_temp_file();
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY "%s" PRIMARY,
                                       options);
    QVirtioPCIDevice *dev = NULL;

    if (negotiate) {
        dev = failover_guest_negotiate(vm, 0, true);
    }
    failover_guest_wait_visible(vm, 1);
    failover_migrate_asked(vm, file, "primary0");
    failover_guest_ack(vm, 1);
    failover_wait_status(vm, "completed");
    if (dev) {
        failover_guest_free(dev);
    }
    failover_vm_stop(vm);
    return file;
}

static FailoverVM *start_incoming(const char *options)
{
    return failover_vm_start(FAILOVER_ACPI, 2, STANDBY "%s" PRIMARY
                             " -incoming defer", options);
}

static void resume(FailoverVM *vm, char *file)
{
    failover_incoming_from_file(vm, file);
    failover_wait_running(vm);
    unlink(file);
    g_free(file);
}

static void test_manual_destination(void)
{
    FailoverVM *vm = start_incoming(",failover-replug=manual");

    failover_assert_state(vm, "standby0", "hidden");
    resume(vm, saved_guest("", true));
    quiet(vm, "hidden");
    replug(vm);
    check_back(vm);
    failover_vm_stop(vm);
}

/* Events */

static void test_events_life(const void *data)
{
    FailoverHotplug hotplug = GPOINTER_TO_INT(data);
    FailoverVM *vm = failover_vm_start(hotplug, 3, STANDBY
                                       ",failover-unplug-timeout=5000");
    QVirtioPCIDevice *dev;

    failover_device_add(vm, "virtio-net-pci", "primary0",
                        "{ 'bus': 'root1', 'failover_pair_id': 'standby0' }");
    failover_expect(vm, "standby0", "absent", "hidden", "primary-given");
    dev = failover_guest_negotiate(vm, 0, true);
    failover_expect(vm, "standby0", "hidden", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    failover_guest_set_bus_master(vm, 1, true);
    failover_guest_set_bus_master(vm, 1, false);
    failover_expect(vm, "standby0", "active", "plugged", "bus-master-off");
    failover_guest_set_bus_master(vm, 1, true);
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    failover_guest_slot_event(vm, 1);

    unplug(vm, 0, "abort", true);
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_guest_set_bus_master(vm, 1, false);
    failover_expect(vm, "standby0", "unplugging", "unplugging",
                    "bus-master-off");
    failover_guest_set_bus_master(vm, 1, true);
    failover_expect(vm, "standby0", "unplugging", "unplugging",
                    "bus-master-on");
    failover_guest_ack(vm, 1);
    failover_expect(vm, "standby0", "unplugging", "unplugged",
                    "guest-released");
    failover_expect(vm, "standby0", "unplugged", "released", "closed");
    replug(vm);
    failover_expect(vm, "standby0", "released", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    failover_guest_set_bus_master(vm, 1, true);
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    failover_guest_slot_event(vm, 1);

    unplug(vm, 20, "abort", false);
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_expect(vm, "standby0", "unplugging", "plugged", "timed-out");
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    failover_guest_slot_event(vm, 1);

    failover_migrate(vm, "exec:cat > /dev/null");
    failover_expect(vm, "standby0", "active", "unplugging",
                    "unplug-requested");
    failover_migrate_cancel(vm);
    failover_expect(vm, "standby0", "unplugging", "plugged", "cancelled");
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    failover_guest_ack(vm, 1);
    failover_expect(vm, "standby0", "active", "unplugged", "guest-released");
    failover_expect(vm, "standby0", "unplugged", "plugged", "plugged");

    reset_machine(vm);
    failover_expect(vm, "standby0", "plugged", "unplugged", "machine-reset");
    failover_guest_free(dev);
    dev = failover_guest_negotiate(vm, 0, true);
    failover_expect(vm, "standby0", "unplugged", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    failover_guest_slot_event(vm, 1);

    unplug(vm, 20, "surprise", false);
    failover_expect(vm, "standby0", "plugged", "unplugging",
                    "unplug-requested");
    failover_expect(vm, "standby0", "unplugging", "unplugged",
                    "surprise-removed");
    failover_device_del(vm, "primary0");
    failover_expect(vm, "standby0", "unplugged", "absent", "deleted");
    failover_wait_deleted(vm, "primary0");

    /* The guest is ready for a primary: it is plugged at once. */
    failover_device_add(vm, "virtio-net-pci", "primary1",
                        "{ 'bus': 'root2', 'failover_pair_id': 'standby0' }");
    failover_expect(vm, "standby0", "absent", "plugged", "plugged");
    failover_guest_wait_visible(vm, 2);
    failover_guest_slot_event(vm, 2);
    failover_device_del(vm, "primary1");
    failover_guest_ack(vm, 2);
    failover_expect(vm, "standby0", "plugged", "absent", "deleted");
    failover_wait_deleted(vm, "primary1");

    /* Its slot is not free when its time has come. */
    failover_guest_reset(dev);
    failover_device_add(vm, "virtio-net-pci", "primary2",
                        "{ 'bus': 'root1', 'failover_pair_id': 'standby0' }");
    failover_expect(vm, "standby0", "absent", "hidden", "primary-given");
    failover_device_add(vm, "virtio-net-pci", "other", "{ 'bus': 'root1' }");
    failover_guest_free(dev);
    dev = failover_guest_negotiate(vm, 0, true);
    failover_expect(vm, "standby0", "hidden", "failed", "plug-failed");
    g_free(failover_qmp_refused(vm, "GenericError", REPLUG
                                "{ 'standby': 'standby0' } }"));
    failover_expect(vm, "standby0", "failed", "failed", "plug-failed");
    failover_device_del(vm, "other");
    failover_guest_ack(vm, 1);
    failover_wait_deleted(vm, "other");
    replug(vm);
    failover_expect(vm, "standby0", "failed", "plugged", "plugged");
    check_counters(vm, 6, 4, 2, 2);
    stop(vm, dev);
}

/* A guest that turns bus mastering on and off all the time. */
static void test_events_rate(const void *data)
{
    bool on = GPOINTER_TO_INT(data);
    const char *state = on ? "active" : "plugged";
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);
    int64_t begin, seconds;
    unsigned i, count;

    /* Let it start in a state that is not the last. */
    failover_guest_set_bus_master(vm, 1, false);
    failover_wait(vm, "standby0", "plugged", "bus-master-off");
    failover_events_drop(vm);

    begin = g_get_monotonic_time();
    for (i = 0; i < 1000; i++) {
        failover_guest_set_bus_master(vm, 1, !(i & 1));
    }
    failover_guest_set_bus_master(vm, 1, on);
    seconds = (g_get_monotonic_time() - begin) / 1000000;

    count = failover_event_count(vm, "VIRTIO_NET_FAILOVER_STATE");
    g_test_message("%u events in %" PRId64 " s", count, seconds);
    g_assert_cmpuint(count, >=, 10);
    g_assert_cmpuint(count, <=, 16 * (seconds + 2));

    /* What has become of it is told, a second later at most. */
    begin = 0;
    for (;;) {
        QDict *info = failover_query(vm, "standby0");
        bool right = !strcmp(qdict_get_str(info, "state"), state);

        qobject_unref(info);
        if (right) {
            break;
        }
        g_assert_true(failover_again(&begin));
    }
    quiet(vm, state);
    count = failover_event_count(vm, "VIRTIO_NET_FAILOVER_STATE");
    g_assert_cmpuint(count, <=, 16 * (seconds + 2) + 1);
    stop(vm, dev);
}

/* Stock's events, as libvirt knows them */
static void test_events_stock(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY PRIMARY);
    g_autofree char *file = failover_temp_file();
    QVirtioPCIDevice *dev;
    QDict *event, *data;
    unsigned i;

    dev = failover_guest_negotiate(vm, 0, false);
    g_assert_cmpuint(failover_event_count(vm, "FAILOVER_NEGOTIATED"), ==, 0);
    failover_guest_free(dev);

    for (i = 0; i < 2; i++) {
        dev = failover_guest_negotiate(vm, 0, true);
        event = failover_event_wait(vm, "FAILOVER_NEGOTIATED");
        data = qdict_get_qdict(event, "data");
        g_assert_cmpuint(qdict_size(data), ==, 1);
        g_assert_cmpstr(qdict_get_str(data, "device-id"), ==, "standby0");
        qobject_unref(event);
        /* One for each time that features are set: qtest does it twice. */
        event = failover_event_take(vm, "FAILOVER_NEGOTIATED");
        qobject_unref(event);
        g_assert_cmpuint(failover_event_count(vm, "FAILOVER_NEGOTIATED"), ==,
                         0);
        if (!i) {
            failover_guest_free(dev);
        }
    }

    failover_guest_wait_visible(vm, 1);
    failover_migrate_to_file(vm, file);
    event = failover_event_wait(vm, "UNPLUG_PRIMARY");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpuint(qdict_size(data), ==, 1);
    g_assert_cmpstr(qdict_get_str(data, "device-id"), ==, "primary0");
    qobject_unref(event);
    failover_guest_ack(vm, 1);
    failover_wait_status(vm, "completed");
    g_assert_cmpuint(failover_event_count(vm, "UNPLUG_PRIMARY"), ==, 0);
    g_assert_cmpuint(failover_event_count(vm, "FAILOVER_NEGOTIATED"), ==, 0);
    g_assert_cmpuint(failover_event_count(vm, "DEVICE_DELETED"), ==, 0);
    unlink(file);
    stop(vm, dev);
}

/* Snapshots */

/* Wait for the job that a command has started; it must have worked. */
static void finish_job(FailoverVM *vm, const char *id)
{
    int64_t begin = 0;
    bool concluded = false;

    while (!concluded) {
        QDict *resp = qtest_qmp(vm->qts, "{ 'execute': 'query-jobs' }");
        QListEntry *entry;

        QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
            QDict *job = qobject_to(QDict, qlist_entry_obj(entry));

            if (!strcmp(qdict_get_str(job, "id"), id) &&
                !strcmp(qdict_get_str(job, "status"), "concluded")) {
                g_assert_false(qdict_haskey(job, "error"));
                concluded = true;
            }
        }
        qobject_unref(resp);
        g_assert_true(concluded || failover_again(&begin));
    }
    qobject_unref(failover_qmp(vm, "{ 'execute': 'job-dismiss', "
                               "'arguments': { 'id': %s } }", id));
}

/* A node for snapshots in this file */
static void add_disk(FailoverVM *vm, const char *file)
{
    qobject_unref(failover_qmp(vm, "{ 'execute': 'blockdev-add', "
                               "'arguments': { 'driver': 'file', "
                               "'node-name': 'file0', 'filename': %s } }",
                               file));
    qobject_unref(failover_qmp(vm, "{ 'execute': 'blockdev-create', "
                               "'arguments': { 'job-id': 'create', "
                               "'options': { 'driver': 'qcow2', "
                               "'file': 'file0', 'size': 1048576 } } }"));
    finish_job(vm, "create");
    qobject_unref(failover_qmp(vm, "{ 'execute': 'blockdev-add', "
                               "'arguments': { 'driver': 'qcow2', "
                               "'node-name': 'disk0', 'file': 'file0' } }"));
}

static void test_savevm(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY PRIMARY);
    g_autofree char *file = failover_temp_file();
    g_autofree char *empty = NULL;
    QVirtioPCIDevice *dev;
    char *text;

    add_disk(vm, file);
    empty = qtest_hmp(vm->qts, "info snapshots");

    /* A primary that the guest does not have is in nobody's way. */
    text = qtest_hmp(vm->qts, "savevm hidden");
    g_assert_cmpstr(text, ==, "");
    g_free(text);
    text = qtest_hmp(vm->qts, "delvm hidden");
    g_assert_cmpstr(text, ==, "");
    g_free(text);

    dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    text = qtest_hmp(vm->qts, "savevm plugged");
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "primary0"));
    g_free(text);
    text = qtest_hmp(vm->qts, "info snapshots");
    g_assert_cmpstr(text, ==, empty);
    g_free(text);
    failover_assert_state(vm, "standby0", "plugged");
    failover_wait_running(vm);

    /* Nor while the guest is being asked */
    unplug(vm, 0, "abort", false);
    text = qtest_hmp(vm->qts, "savevm unplugging");
    g_assert_nonnull(strstr(text, "primary0"));
    g_free(text);

    failover_guest_ack(vm, 1);
    text = qtest_hmp(vm->qts, "savevm unplugged");
    g_assert_cmpstr(text, ==, "");
    g_free(text);
    text = qtest_hmp(vm->qts, "info snapshots");
    g_assert_nonnull(strstr(text, "unplugged"));
    g_free(text);

    replug(vm);
    check_back(vm);
    unlink(file);
    stop(vm, dev);
}

static void test_background_snapshot(const void *data)
{
    const UnplugTest *test = data;
    g_autofree char *file = failover_temp_file();
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(test->hotplug, test->release ?
                                  ",failover-release=on" : "", &dev);
    QDict *resp;

    resp = qtest_qmp(vm->qts, "{ 'execute': 'migrate-set-capabilities', "
                     "'arguments': { 'capabilities': [ { 'capability': "
                     "'background-snapshot', 'state': true } ] } }");
    if (qdict_haskey(resp, "error")) {
        g_test_skip(qdict_get_str(qdict_get_qdict(resp, "error"), "desc"));
    } else {
        failover_migrate_asked(vm, file, "primary0");
        failover_wait(vm, "standby0", "unplugging", "unplug-requested");
        failover_guest_ack(vm, 1);
        failover_wait(vm, "standby0", "unplugged", "guest-released");
        failover_wait_status(vm, "completed");
        failover_wait_running(vm);
        check_back(vm);
    }
    qobject_unref(resp);
    unlink(file);
    stop(vm, dev);
}

/* failover-prepare */

static void test_prepare(void)
{
    FailoverVM *vm = start_incoming(",failover-prepare=on");
    QDict *info = failover_query(vm, "standby0");

    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "prepared");
    g_assert_cmpstr(qdict_get_str(info, "primary-path"), ==,
                    "/machine/peripheral/primary0");
    g_assert_cmpint(qdict_get_int(info, "plugs"), ==, 0);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "transitions")), ==, 1);
    check_transition(info, 0, "absent", "prepared", "prepared");
    qobject_unref(info);
    g_assert_true(failover_device_exists(vm, "primary0"));
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);

    resume(vm, saved_guest("", true));
    failover_expect(vm, "standby0", "prepared", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    g_assert_cmphex(failover_guest_slot_event(vm, 1), ==, FAILOVER_SLOT_PLUG);
    failover_guest_set_bus_master(vm, 1, true);
    failover_expect(vm, "standby0", "plugged", "active", "bus-master-on");
    check_counters(vm, 1, 0, 0, 0);
    failover_vm_stop(vm);
}

static void test_prepare_manual(void)
{
    FailoverVM *vm = start_incoming(",failover-prepare=on,"
                                    "failover-replug=manual");

    refused(vm, "GenericError", REPLUG "{ 'standby': 'standby0' } }");
    refused(vm, "GenericError", UNPLUG "{ 'standby': 'standby0' } }");
    resume(vm, saved_guest("", true));
    quiet(vm, "prepared");
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    replug(vm);
    failover_expect(vm, "standby0", "prepared", "plugged", "plugged");
    failover_guest_wait_visible(vm, 1);
    failover_vm_stop(vm);
}

/* A guest that does not know about failover does not see it. */
static void test_prepare_not_negotiated(void)
{
    g_autofree char *file = failover_temp_file();
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY PRIMARY);
    QVirtioPCIDevice *dev = failover_guest_negotiate(vm, 0, false);

    failover_migrate_to_file(vm, file);
    failover_wait_status(vm, "completed");
    stop(vm, dev);

    vm = start_incoming(",failover-prepare=on");
    resume(vm, g_steal_pointer(&file));
    quiet(vm, "prepared");
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    refused(vm, "GenericError", REPLUG "{ 'standby': 'standby0' } }");
    dev = failover_guest_negotiate(vm, 0, true);
    check_back(vm);
    stop(vm, dev);
}

static void test_prepare_delete(void)
{
    FailoverVM *vm = start_incoming(",failover-prepare=on");

    failover_device_del(vm, "primary0");
    failover_wait(vm, "standby0", "absent", "deleted");
    failover_wait_deleted(vm, "primary0");
    g_assert_false(failover_device_exists(vm, "primary0"));
    resume(vm, saved_guest("", true));
    failover_assert_state(vm, "standby0", "absent");
    g_assert_cmphex(failover_guest_vendor(vm, 1), ==, FAILOVER_NOTHING);
    failover_vm_stop(vm);
}

/* failover-require-standby=off */

static void test_any_guest(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY
                                       ",failover-require-standby=off"
                                       PRIMARY);
    g_autofree char *file = failover_temp_file();
    QDict *info = failover_query(vm, "standby0");

    /* There from the start, before any driver */
    g_assert_cmpstr(qdict_get_str(info, "state"), ==, "plugged");
    g_assert_false(qdict_get_bool(info, "negotiated"));
    qobject_unref(info);
    g_assert_cmphex(failover_guest_vendor(vm, 1), !=, FAILOVER_NOTHING);

    /* And after a reset */
    reset_machine(vm);
    failover_assert_state(vm, "standby0", "plugged");
    g_assert_cmphex(failover_guest_vendor(vm, 1), !=, FAILOVER_NOTHING);

    /* It leaves for a migration, and for nothing else. */
    failover_migrate_asked(vm, file, "primary0");
    failover_guest_ack(vm, 1);
    failover_wait_status(vm, "completed");
    failover_assert_state(vm, "standby0", "unplugged");
    failover_guest_wait_gone(vm, 1);
    failover_events_drop(vm);
    run_command(vm, "cont");
    check_back(vm);
    unplug(vm, 0, "abort", true);
    failover_guest_ack(vm, 1);
    check_gone(vm, true);
    replug(vm);
    check_back(vm);
    failover_vm_stop(vm);

    vm = start_incoming(",failover-require-standby=off");
    failover_assert_state(vm, "standby0", "hidden");
    resume(vm, g_steal_pointer(&file));
    check_back(vm);
    failover_vm_stop(vm);
}

/* Whether or not the driver wants VIRTIO_NET_F_STANDBY */
static void test_any_guest_driver(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY
                                       ",failover-require-standby=off"
                                       PRIMARY);
    unsigned i;

    for (i = 0; i < 2; i++) {
        QVirtioPCIDevice *dev = failover_guest_negotiate(vm, 0, i);

        failover_guest_reset(dev);
        failover_guest_free(dev);
        failover_assert_state(vm, "standby0", "plugged");
    }
    check_counters(vm, 1, 0, 0, 0);
    failover_vm_stop(vm);
}

/* Misuse */

static void test_error_unknown(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 3, STANDBY PRIMARY
                                       " -device virtio-net-pci,bus=root2,"
                                       "id=net0");
    static const char * const names[] = { "nobody", "", "primary0", "net0",
                                          "/machine/peripheral/standby0" };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        refused(vm, "DeviceNotFound", UNPLUG "{ 'standby': %s } }", names[i]);
        refused(vm, "DeviceNotFound", REPLUG "{ 'standby': %s } }", names[i]);
        /* What is wrong with the rest does not matter then. */
        refused(vm, "DeviceNotFound", UNPLUG "{ 'standby': %s, "
                "'timeout': 4000000 } }", names[i]);
    }
    failover_vm_stop(vm);
}

static void test_error_arguments(void)
{
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);
    static const char * const bad[] = {
        "{ 'standby': 'standby0', 'timeout': 3600001 }",
        "{ 'standby': 'standby0', 'timeout': 4294967295 }",
        "{ 'standby': 'standby0', 'timeout': 4294967296 }",
        "{ 'standby': 'standby0', 'timeout': -1 }",
        "{ 'standby': 'standby0', 'timeout': '5' }",
        "{ 'standby': 'standby0', 'timeout': 0, 'policy': 'surprise' }",
        "{ 'standby': 'standby0', 'policy': 'surprise' }",
        "{ 'standby': 'standby0', 'policy': 'none' }",
        "{ 'standby': 'standby0', 'release': 1 }",
        "{ 'standby': 'standby0', 'nonsense': 1 }",
        "{ 'standby': 1 }",
        "{}",
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        refused(vm, "GenericError", "{ 'execute': "
                "'virtio-net-failover-unplug', 'arguments': %p }",
                qobject_from_json(bad[i], &error_abort));
    }
    refused(vm, "GenericError", REPLUG "{} }");
    refused(vm, "GenericError", REPLUG "{ 'standby': 'standby0', "
            "'timeout': 1 } }");
    stop(vm, dev);
}

static void test_error_state(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 3, STANDBY);
    QVirtioPCIDevice *dev;

#define BOTH_REFUSED() \
    do { \
        refused(vm, "GenericError", UNPLUG "{ 'standby': 'standby0' } }"); \
        refused(vm, "GenericError", REPLUG "{ 'standby': 'standby0' } }"); \
    } while (0)
#define UNPLUG_REFUSED() \
    refused(vm, "GenericError", UNPLUG "{ 'standby': 'standby0' } }")
#define REPLUG_REFUSED() \
    refused(vm, "GenericError", REPLUG "{ 'standby': 'standby0' } }")

    failover_assert_state(vm, "standby0", "absent");
    BOTH_REFUSED();
    failover_device_add(vm, "virtio-net-pci", "primary0",
                        "{ 'bus': 'root1', 'failover_pair_id': 'standby0' }");
    failover_assert_state(vm, "standby0", "hidden");
    BOTH_REFUSED();
    /* A second one, or the same again */
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'root2', 'id': 'primary1', "
            "'failover_pair_id': 'standby0' } }");
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'root2', 'id': 'primary0', "
            "'failover_pair_id': 'standby0' } }");
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'root2', "
            "'failover_pair_id': 'standby0' } }");

    dev = failover_guest_negotiate(vm, 0, true);
    failover_guest_wait_visible(vm, 1);
    failover_assert_state(vm, "standby0", "plugged");
    REPLUG_REFUSED();
    failover_guest_set_bus_master(vm, 1, true);
    failover_assert_state(vm, "standby0", "active");
    REPLUG_REFUSED();
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'root2', 'id': 'primary1', "
            "'failover_pair_id': 'standby0' } }");

    unplug(vm, 0, "abort", false);
    failover_assert_state(vm, "standby0", "unplugging");
    BOTH_REFUSED();
    failover_guest_ack(vm, 1);
    failover_assert_state(vm, "standby0", "unplugged");
    UNPLUG_REFUSED();

    /* The guest's driver has let go of the standby. */
    failover_guest_reset(dev);
    REPLUG_REFUSED();
    failover_guest_free(dev);
    dev = failover_guest_negotiate(vm, 0, true);
    replug(vm);
    REPLUG_REFUSED();

    unplug(vm, 0, "abort", true);
    failover_guest_ack(vm, 1);
    failover_wait(vm, "standby0", "released", "closed");
    UNPLUG_REFUSED();
    replug(vm);
    REPLUG_REFUSED();
    failover_assert_state(vm, "standby0", "plugged");
    stop(vm, dev);
}

static void test_error_migration(void)
{
    g_autofree char *file = failover_temp_file();
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(FAILOVER_ACPI, "", &dev);

    failover_set_capability(vm, "pause-before-switchover", true);
    failover_migrate_asked(vm, file, "primary0");
    BOTH_REFUSED();
    failover_guest_ack(vm, 1);
    failover_wait_status(vm, "pre-switchover");
    failover_assert_state(vm, "standby0", "unplugged");
    BOTH_REFUSED();
    failover_migrate_cancel(vm);
    failover_wait_status(vm, "cancelled");
    failover_wait(vm, "standby0", "unplugged", "guest-released");
    check_back(vm);
    unlink(file);
    stop(vm, dev);
}

static void test_error_incoming(void)
{
    FailoverVM *vm = start_incoming("");

    BOTH_REFUSED();
    failover_vm_stop(vm);
}

/* A primary on a bus that is not PCI Express */
static void test_error_conventional(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, STANDBY);
    QVirtioPCIDevice *dev;
    QDict *info;

    /* After the guest has numbered its buses */
    failover_device_add(vm, "pcie-pci-bridge", "old", "{ 'bus': 'root1' }");

    /* Its options are looked at when the guest is ready for it. */
    failover_device_add(vm, "virtio-net-pci", "primary0",
                        "{ 'bus': 'old', 'failover_pair_id': 'standby0' }");
    failover_expect(vm, "standby0", "absent", "hidden", "primary-given");
    dev = failover_guest_negotiate(vm, 0, true);
    failover_expect(vm, "standby0", "hidden", "failed", "plug-failed");
    info = failover_query(vm, "standby0");
    g_test_message("%s", qdict_get_str(info, "last-error"));
    g_assert_nonnull(strstr(qdict_get_str(info, "last-error"), "failover"));
    g_assert_cmpint(qdict_get_int(info, "errors"), ==, 1);
    qobject_unref(info);
    g_assert_false(failover_device_exists(vm, "primary0"));
    UNPLUG_REFUSED();
    failover_device_del(vm, "primary0");
    failover_wait_deleted(vm, "primary0");
    failover_expect(vm, "standby0", "failed", "absent", "deleted");

    /* Now that it is, the command fails. */
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'old', 'id': 'primary0', "
            "'failover_pair_id': 'standby0' } }");
    g_assert_false(failover_device_exists(vm, "primary0"));
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'pcie.0', 'id': 'primary0', "
            "'failover_pair_id': 'standby0' } }");
    refused(vm, "GenericError", "{ 'execute': 'device_add', 'arguments': { "
            "'driver': 'virtio-net-pci', 'bus': 'nowhere', "
            "'id': 'primary0', 'failover_pair_id': 'standby0' } }");
    stop(vm, dev);
}

/* The id of a primary is taken, also while there is no device. */
static void test_error_id(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 4, STANDBY PRIMARY
                                       " -device virtio-net-pci,bus=root2,"
                                       "id=standby1,failover=on");
    QVirtioPCIDevice *dev;
    unsigned i;

    for (i = 0; i < 2; i++) {
        failover_assert_state(vm, "standby0", i ? "released" : "hidden");
        refused(vm, "GenericError", "{ 'execute': 'device_add', "
                "'arguments': { 'driver': 'virtio-net-pci', 'bus': 'root3', "
                "'id': 'primary0', 'failover_pair_id': 'standby1' } }");
        refused(vm, "GenericError", "{ 'execute': 'device_add', "
                "'arguments': { 'driver': 'virtio-net-pci', 'bus': 'root3', "
                "'id': 'primary0' } }");
        if (i) {
            break;
        }
        dev = failover_guest_negotiate(vm, 0, true);
        unplug(vm, 0, "abort", true);
        failover_guest_ack(vm, 1);
        failover_wait(vm, "standby0", "released", "closed");
    }
    replug(vm);
    failover_assert_state(vm, "standby0", "plugged");

    /* Another may be used, and this one when the primary is deleted. */
    failover_device_add(vm, "virtio-net-pci", "primary1",
                        "{ 'bus': 'root3', 'failover_pair_id': 'standby1' }");
    failover_device_del(vm, "primary1");
    failover_wait_deleted(vm, "primary1");
    failover_device_add(vm, "virtio-net-pci", "primary1",
                        "{ 'bus': 'root3' }");
    refused(vm, "GenericError", "{ 'execute': 'device_add', "
            "'arguments': { 'driver': 'virtio-net-pci', 'bus': 'root3', "
            "'id': 'primary1', 'failover_pair_id': 'standby1' } }");
    stop(vm, dev);
}

static void test_error_properties(void)
{
    FailoverVM *vm = failover_vm_start(FAILOVER_ACPI, 2, "%s", "");
    static const char * const bad[] = {
        "'failover-unplug-timeout': 3600001",
        "'failover-unplug-timeout': 4294967296",
        "'failover-unplug-timeout': -1",
        "'failover-announce-rounds': 1001",
        "'failover-announce-interval': 100001",
        "'failover-unplug-policy': 'surprise'",
        "'failover-unplug-policy': 'none'",
        "'failover-unplug-timeout': 5, 'failover-unplug-policy': 'cancel'",
        "'failover-replug': 'never'",
        "'failover-release': 'perhaps'",
        "'failover-prepare': 2",
        "'failover-require-standby': 'x'",
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *text =
            g_strdup_printf("{ 'driver': 'virtio-net-pci', 'bus': 'root0', "
                            "'id': 'standby0', 'failover': true, %s }",
                            bad[i]);
        QDict *args = qobject_to(QDict, qobject_from_json(text,
                                                          &error_abort));

        refused(vm, "GenericError", "{ 'execute': 'device_add', "
                "'arguments': %p }", args);
        g_assert_false(failover_device_exists(vm, "standby0"));
    }

    /* The most that there may be */
    failover_device_add(vm, "virtio-net-pci", "standby0",
                        "{ 'bus': 'root0', 'failover': true, "
                        "'failover-unplug-timeout': 3600000, "
                        "'failover-unplug-policy': 'surprise', "
                        "'failover-announce-rounds': 1000, "
                        "'failover-announce-interval': 100000 }");
    failover_assert_state(vm, "standby0", "absent");
    failover_vm_stop(vm);
}

/* The guest lets go of both devices of a pair while the machine is reset. */
static void test_reset_deletes(const void *data)
{
    FailoverHotplug hotplug = GPOINTER_TO_INT(data);
    QVirtioPCIDevice *dev;
    FailoverVM *vm = start_active(hotplug, "", &dev);

    unplug(vm, 0, "abort", true);
    failover_device_del(vm, "primary0");
    failover_device_del(vm, "standby0");
    reset_machine(vm);
    if (hotplug == FAILOVER_NATIVE) {
        /* Nothing answers for the guest there. */
        failover_guest_ack(vm, 0);
        failover_guest_ack(vm, 1);
    }
    failover_wait_deleted(vm, "primary0");
    g_assert_false(failover_device_exists(vm, "primary0"));
    g_assert_false(failover_device_exists(vm, "standby0"));
    reset_machine(vm);
    stop(vm, dev);
}

static void add_variants(const char *name, GTestDataFunc func)
{
    static const UnplugTest variants[] = {
        { FAILOVER_ACPI, false }, { FAILOVER_ACPI, true },
        { FAILOVER_NATIVE, false }, { FAILOVER_NATIVE, true },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(variants); i++) {
        g_autofree char *path =
            g_strdup_printf("virtio-net-failover/command/%s/%s/%s", name,
                            variants[i].hotplug == FAILOVER_ACPI ?
                            "acpi" : "native",
                            variants[i].release ? "release" : "keep");

        qtest_add_data_func(path, &variants[i], (void (*)(const void *))func);
    }
}

static void add_hotplug(const char *name, GTestDataFunc func)
{
    g_autofree char *acpi =
        g_strdup_printf("virtio-net-failover/command/%s/acpi", name);
    g_autofree char *native =
        g_strdup_printf("virtio-net-failover/command/%s/native", name);

    qtest_add_data_func(acpi, GINT_TO_POINTER(FAILOVER_ACPI), func);
    qtest_add_data_func(native, GINT_TO_POINTER(FAILOVER_NATIVE), func);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-net-failover/command/query/none", test_query_none);
    qtest_add_func("virtio-net-failover/command/query/fields",
                   test_query_fields);
    qtest_add_func("virtio-net-failover/command/query/properties",
                   test_query_properties);
    qtest_add_func("virtio-net-failover/command/query/several",
                   test_query_several);
    qtest_add_func("virtio-net-failover/command/query/history",
                   test_query_history);
    qtest_add_func("virtio-net-failover/command/query/last-error",
                   test_query_last_error);
    qtest_add_func("virtio-net-failover/command/hmp", test_hmp);

    add_variants("unplug/ack", test_unplug_ack);
    add_variants("unplug/stays", test_unplug_stays);
    add_variants("unplug/abort", test_unplug_abort);
    add_variants("unplug/surprise", test_unplug_surprise);
    qtest_add_func("virtio-net-failover/command/unplug/defaults",
                   test_unplug_defaults);
    qtest_add_func("virtio-net-failover/command/unplug/no-deadline",
                   test_unplug_no_deadline);
    qtest_add_func("virtio-net-failover/command/manual/negotiate",
                   test_manual_negotiate);
    add_variants("manual/failed-migration", test_manual_failed_migration);
    qtest_add_func("virtio-net-failover/command/manual/destination",
                   test_manual_destination);

    add_hotplug("events/life", test_events_life);
    qtest_add_data_func("virtio-net-failover/command/events/rate/on",
                        GINT_TO_POINTER(true), test_events_rate);
    qtest_add_data_func("virtio-net-failover/command/events/rate/off",
                        GINT_TO_POINTER(false), test_events_rate);
    qtest_add_func("virtio-net-failover/command/events/stock",
                   test_events_stock);

    qtest_add_func("virtio-net-failover/command/snapshot/savevm",
                   test_savevm);
    add_variants("snapshot/background", test_background_snapshot);

    qtest_add_func("virtio-net-failover/command/prepare/auto", test_prepare);
    qtest_add_func("virtio-net-failover/command/prepare/manual",
                   test_prepare_manual);
    qtest_add_func("virtio-net-failover/command/prepare/not-negotiated",
                   test_prepare_not_negotiated);
    qtest_add_func("virtio-net-failover/command/prepare/delete",
                   test_prepare_delete);
    qtest_add_func("virtio-net-failover/command/any-guest/migrate",
                   test_any_guest);
    qtest_add_func("virtio-net-failover/command/any-guest/driver",
                   test_any_guest_driver);

    qtest_add_func("virtio-net-failover/command/error/unknown",
                   test_error_unknown);
    qtest_add_func("virtio-net-failover/command/error/arguments",
                   test_error_arguments);
    qtest_add_func("virtio-net-failover/command/error/state",
                   test_error_state);
    qtest_add_func("virtio-net-failover/command/error/migration",
                   test_error_migration);
    qtest_add_func("virtio-net-failover/command/error/incoming",
                   test_error_incoming);
    qtest_add_func("virtio-net-failover/command/error/conventional-bus",
                   test_error_conventional);
    qtest_add_func("virtio-net-failover/command/error/id", test_error_id);
    qtest_add_func("virtio-net-failover/command/error/properties",
                   test_error_properties);
    add_hotplug("reset-deletes", test_reset_deletes);

    return g_test_run();
}
