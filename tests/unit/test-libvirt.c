/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's own test driver (test:///default) is the libvirt here: connection, domains, states and
 * their events are real. What it does not do as QEMU's driver does goes through the fakes below.
 */
#include "vm/libvirt.h"

#include "fake-qemu.h" /* for its loop */

#include <string.h>

#define URI  "test:///default"
#define UUID "12345678-0000-4000-8000-00000000000c"

#define STANDBY                                                                                    \
    "<interface type='bridge'><mac address='52:54:00:aa:00:10'/><source bridge='br0'/>"            \
    "<target dev='tap0'/><model type='virtio'/><teaming type='persistent'/>"                       \
    "<alias name='ua-net1'/></interface>"
#define VF                                                                                         \
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"                                  \
    "<address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/></source>"                    \
    "<teaming type='transient' persistent='ua-net1'/><alias name='ua-vf0'/></hostdev>"
#define BONDED                                                                                     \
    "<interface type='bridge'><mac address='52:54:00:aa:00:10'/><source bridge='br0'/>"            \
    "<target dev='tap0'/><model type='virtio'/><alias name='ua-net1'/></interface>"
#define SINGLE(alias)                                                                              \
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"                                   \
    "<address domain='0x0000' bus='0x01' slot='0x10' function='0x0'/></source>"                    \
    "<alias name='" alias "'/></hostdev>"
#define PLAIN                                                                                      \
    "<interface type='bridge'><mac address='52:54:00:aa:00:11'/><source bridge='br0'/>"            \
    "<model type='virtio'/></interface>"

/* ------------------------------------------------------- what QEMU's driver does */

typedef struct {
    void (*callback)(void); /* of the type that its event has */
    void *data;
} Registered;

/* Set by tests and read in threads, but never at the same time but for the integers. */
static struct {
    gboolean refuses;
    gboolean deaf; /* to the states of its domains: the test tells of them */
    int opened;
    virConnectPtr connection;
    virConnectCloseFunc closed;
    void *closed_data;
    Registered events[64];
    virConnectDomainQemuMonitorEventCallback qemu;
    void *qemu_data;
    int looks;
    char *xml; /* NULL: the test driver's */
    char *detached;
    char *attached;
    int defined;
    const char *error; /* of detach, attach, define, abort_job; NULL: they succeed */
    int error_code;
    int aborted;
    int jobs;          /* so many more looks see one */
    gboolean waiting;  /* QEMU has no figures of it yet */
    int state, reason; /* 0: the test driver's */
    GMutex hang;
    GMutex moves;     /* held: the migration goes on */
    char *moved_to;   /* by us */
    guint64 moved_at; /* MiB/s; 0: not said */
    int downtime;     /* ms */
    int moves_ended;
} driver;

/* Of all tests: a connection may be closed when the next test has begun. */
static struct {
    void *data;
    virFreeCallback data_free;
} qemu_registered[128];
static int n_qemu;

static virConnectPtr fake_open(const char *uri)
{
    g_atomic_int_inc(&driver.opened);
    if (driver.refuses)
        return virConnectOpen("test:///no/such/file");
    driver.connection = virConnectOpen(uri);
    return driver.connection;
}

static int fake_on_close(virConnectPtr connection, virConnectCloseFunc callback, void *data,
                         virFreeCallback data_free)
{
    driver.closed = callback;
    driver.closed_data = data;
    return 0;
}

static int fake_off_close(virConnectPtr connection, virConnectCloseFunc callback)
{
    return 0;
}

static int fake_on_event(virConnectPtr connection, virDomainPtr domain, int id,
                         virConnectDomainEventGenericCallback callback, void *data,
                         virFreeCallback data_free)
{
    driver.events[id] = (Registered){(void (*)(void))callback, data};
    if (driver.deaf && id == VIR_DOMAIN_EVENT_ID_LIFECYCLE)
        id = VIR_DOMAIN_EVENT_ID_REBOOT;
    return virConnectDomainEventRegisterAny(connection, domain, id, callback, data, data_free);
}

static int fake_on_qemu(virConnectPtr connection, virDomainPtr domain, const char *event,
                        virConnectDomainQemuMonitorEventCallback callback, void *data,
                        virFreeCallback data_free, unsigned int flags)
{
    g_assert_cmpint(flags, ==, VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX);
    g_assert_true(g_regex_match_simple(event, "UNPLUG_PRIMARY", 0, 0));
    g_assert_false(g_regex_match_simple(event, "BLOCK_JOB_READY", 0, 0));
    driver.qemu = callback;
    driver.qemu_data = data;
    g_assert_cmpint(n_qemu, <, G_N_ELEMENTS(qemu_registered));
    qemu_registered[n_qemu].data = data;
    qemu_registered[n_qemu].data_free = data_free;
    return n_qemu++;
}

static int fake_off_qemu(virConnectPtr connection, int id)
{
    qemu_registered[id].data_free(qemu_registered[id].data);
    return 0;
}

static char *fake_get_xml(virDomainPtr domain, unsigned int flags)
{
    g_mutex_lock(&driver.hang);
    g_mutex_unlock(&driver.hang);
    g_atomic_int_inc(&driver.looks);
    if (flags) {
        g_assert_cmpuint(flags, ==, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        return virDomainGetXMLDesc(domain, flags);
    }
    return driver.xml ? strdup(driver.xml) : virDomainGetXMLDesc(domain, flags);
}

static int fake_get_state(virDomainPtr domain, int *state, int *reason, unsigned int flags)
{
    if (!driver.state)
        return virDomainGetState(domain, state, reason, flags);
    *state = driver.state;
    *reason = driver.reason;
    return 0;
}

static int fail_if_told(void)
{
    return driver.error ? -1 : 0;
}

static virErrorPtr fake_last_error(void)
{
    static __thread virError error;

    if (!driver.error)
        return virGetLastError();
    error = (virError){.code = driver.error_code, .message = (char *)driver.error};
    return &error;
}

static int fake_detach(virDomainPtr domain, const char *alias, unsigned int flags)
{
    g_assert_cmpuint(flags, ==, VIR_DOMAIN_AFFECT_LIVE);
    g_free(driver.detached);
    driver.detached = g_strdup(alias);
    return fail_if_told();
}

static int fake_attach(virDomainPtr domain, const char *xml, unsigned int flags)
{
    g_assert_cmpuint(flags, ==, VIR_DOMAIN_AFFECT_LIVE);
    g_free(driver.attached);
    driver.attached = g_strdup(xml);
    return fail_if_told();
}

static virDomainPtr fake_define(virConnectPtr connection, const char *xml, unsigned int flags)
{
    virDomainPtr domain = driver.error ? NULL : virDomainDefineXMLFlags(connection, xml, flags);

    g_atomic_int_inc(&driver.defined);
    return domain;
}

static int fake_abort(virDomainPtr domain)
{
    g_atomic_int_inc(&driver.aborted);
    return fail_if_told();
}

static int fake_get_job(virDomainPtr domain, int *type, virTypedParameterPtr *params, int *n_params,
                        unsigned int flags)
{
    int max = 0;

    *params = NULL;
    *n_params = 0;
    *type = VIR_DOMAIN_JOB_NONE;
    if (g_atomic_int_get(&driver.jobs) <= 0)
        return 0;
    g_atomic_int_add(&driver.jobs, -1);
    *type = VIR_DOMAIN_JOB_UNBOUNDED;
    virTypedParamsAddInt(params, n_params, &max, VIR_DOMAIN_JOB_OPERATION,
                         VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT);
    if (driver.waiting)
        return 0;
    virTypedParamsAddULLong(params, n_params, &max, VIR_DOMAIN_JOB_MEMORY_TOTAL, 1000);
    virTypedParamsAddULLong(params, n_params, &max, VIR_DOMAIN_JOB_MEMORY_BPS, 125000000);
    return 0;
}

static int fake_migrate(virDomainPtr domain, const char *uri, virTypedParameterPtr params,
                        unsigned int n_params, unsigned int flags)
{
    unsigned long long value = 0;

    g_assert_cmpstr(virDomainGetName(domain), ==, "web1");
    g_assert_cmpuint(flags, ==, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER);
    virTypedParamsGetULLong(params, (int)n_params, VIR_MIGRATE_PARAM_BANDWIDTH, &value);
    driver.moved_at = value;
    g_atomic_pointer_set(&driver.moved_to, g_strdup(uri));
    g_mutex_lock(&driver.moves);
    g_mutex_unlock(&driver.moves);
    g_atomic_int_inc(&driver.moves_ended);
    return fail_if_told();
}

static int fake_set_downtime(virDomainPtr domain, unsigned long long ms, unsigned int flags)
{
    driver.downtime = (int)ms;
    return 0;
}

static const VfoLibvirtCalls fakes = {
    .open = fake_open,
    .on_close = fake_on_close,
    .off_close = fake_off_close,
    .on_event = fake_on_event,
    .on_qemu_event = fake_on_qemu,
    .off_qemu_event = fake_off_qemu,
    .get_xml = fake_get_xml,
    .get_state = fake_get_state,
    .detach = fake_detach,
    .attach = fake_attach,
    .define = fake_define,
    .abort_job = fake_abort,
    .migrate = fake_migrate,
    .set_downtime = fake_set_downtime,
    .get_job = fake_get_job,
    .last_error = fake_last_error,
};

/* ------------------------------------------------------------------ fixture */

typedef struct {
    char *directory;
    VfoVms *vms;
    virConnectPtr connection; /* the test's own, to the same driver */
    virDomainPtr domain;
    GString *signals;
} Fixture;

static void on_added(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "+%s ", vm->name);
}

static void on_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "-%s ", vm->name);
}

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "?%s:%s ", vm->name, vfo_vm_cached(vm)->status);
}

static void on_progress(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "~%s ", vm->name);
}

static char *domain_xml(const char *name, const char *uuid, const char *devices)
{
    return g_strdup_printf("<domain type='test'><name>%s</name><uuid>%s</uuid>"
                           "<memory unit='MiB'>8</memory><os><type>hvm</type></os>"
                           "<devices>%s</devices></domain>",
                           name, uuid, devices);
}

static virDomainPtr create(const Fixture *f, const char *name, const char *uuid,
                           const char *devices)
{
    g_autofree char *xml = domain_xml(name, uuid, devices);
    virDomainPtr domain = virDomainCreateXML(f->connection, xml, 0);

    g_assert_nonnull(domain);
    return domain;
}

static void set_up_alone(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->directory = g_dir_make_tmp("libvirt-XXXXXX", NULL);
    f->signals = g_string_new(NULL);
    f->vms = vfo_vms_new(f->directory, &error);
    g_assert_no_error(error);
    g_signal_connect(f->vms, "added", G_CALLBACK(on_added), f->signals);
    g_signal_connect(f->vms, "removed", G_CALLBACK(on_removed), f->signals);
    g_signal_connect(f->vms, "inspected", G_CALLBACK(on_inspected), f->signals);
    g_signal_connect(f->vms, "progress", G_CALLBACK(on_progress), f->signals);
}

static void connect_test(Fixture *f)
{
    f->connection = virConnectOpen(URI);
    g_assert_nonnull(f->connection);
}

/* The test driver has a running domain of its own, which is looked at once it has been listed. */
static void wait_for_list(void)
{
    WAIT_UNTIL(g_atomic_int_get(&driver.looks));
}

/* One more look than @looks has been had, and what comes of it. */
static void wait_for_look(int looks)
{
    WAIT_UNTIL(g_atomic_int_get(&driver.looks) > looks);
    run_for(200);
}

/* VM web1 runs, and is known. */
static void set_up(Fixture *f, gconstpointer data)
{
    set_up_alone(f, data);
    vfo_vms_follow_calls(f->vms, URI, TRUE, &fakes);
    connect_test(f);
    wait_for_list();
    f->domain = create(f, "web1", UUID, STANDBY VF);
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_clear_object(&f->vms);
    if (f->domain) {
        virDomainDestroy(f->domain);
        virDomainUndefine(f->domain);
        virDomainFree(f->domain);
    }
    if (f->connection)
        virConnectClose(f->connection);
    run_for(100); /* threads end, libvirt-glib frees what it watched */
    g_rmdir(f->directory);
    g_free(f->directory);
    g_string_free(f->signals, TRUE);
    g_free(driver.xml);
    g_free(driver.detached);
    g_free(driver.attached);
    g_free(driver.moved_to);
    memset(&driver, 0, sizeof(driver));
}

static VfoVm *web1(const Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VfoVm *vm = vfo_vms_get(f->vms, "web1", &error);

    g_assert_no_error(error);
    return vm;
}

static void qemu(const Fixture *f, const char *event, const char *details)
{
    driver.qemu(driver.connection, f->domain, event, 1, 0, details, driver.qemu_data);
}

static void migration(const Fixture *f, const char *status)
{
    g_autofree char *details = g_strdup_printf("{\"status\": \"%s\"}", status);

    qemu(f, "MIGRATION", details);
}

static void lifecycle(const Fixture *f, int event, int detail)
{
    const Registered *to = &driver.events[VIR_DOMAIN_EVENT_ID_LIFECYCLE];

    ((virConnectDomainEventCallback)to->callback)(driver.connection, f->domain, event, detail,
                                                  to->data);
}

static void device(const Fixture *f, int id, const char *alias)
{
    const Registered *to = &driver.events[id];

    ((virConnectDomainEventDeviceRemovedCallback)to->callback)(driver.connection, f->domain, alias,
                                                               to->data);
}

/* ---------------------------------------------------------------------- ops */

typedef struct {
    gboolean done;
    GError *error;
    VfoVmInfo *info;
    GCancellable *cancellable;
} Op;

static void on_op(GObject *source, GAsyncResult *result, gpointer data)
{
    Op *op = data;

    g_assert_false(op->done);
    op->done = TRUE;
    g_task_propagate_boolean(G_TASK(result), &op->error);
}

static void on_op_info(GObject *source, GAsyncResult *result, gpointer data)
{
    Op *op = data;

    op->done = TRUE;
    op->info = g_task_propagate_pointer(G_TASK(result), &op->error);
}

static void op_clear(Op *op)
{
    g_clear_error(&op->error);
    g_clear_pointer(&op->info, vfo_vm_info_free);
    g_clear_object(&op->cancellable);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Op, op_clear)

static GTask *task_for(Op *op)
{
    op->cancellable = g_cancellable_new();
    return g_task_new(NULL, op->cancellable, on_op, op);
}

static const VfoPair *pair_of(VfoVm *vm)
{
    return g_ptr_array_index(vfo_vm_cached(vm)->pairs, 0);
}

static VfoVmInfo *inspect(VfoVm *vm)
{
    Op op = {0};

    vm->ops->inspect(vm, g_task_new(NULL, NULL, on_op_info, &op));
    WAIT_UNTIL(op.done);
    g_assert_no_error(op.error);
    return op.info;
}

#define ASSERT_DONE(op)                                                                            \
    do {                                                                                           \
        WAIT_UNTIL((op).done);                                                                     \
        g_assert_no_error((op).error);                                                             \
    } while (0)

#define ASSERT_FAILED(op, code, text)                                                              \
    do {                                                                                           \
        WAIT_UNTIL((op).done);                                                                     \
        g_assert_error((op).error, VFO_ERROR, code);                                               \
        g_assert_nonnull(strstr((op).error->message, text));                                       \
    } while (0)

/* Nothing has completed the op, and all that was to happen has. */
#define ASSERT_WAITS(op)                                                                           \
    do {                                                                                           \
        run_for(20);                                                                               \
        g_assert_false((op).done);                                                                 \
    } while (0)

/* ------------------------------------------------------------------ domains */

static void test_real(Fixture *f, gconstpointer data)
{
    virDomainPtr other;

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*tells nothing of QEMU*");
    connect_test(f);
    f->domain = create(f, "web1", UUID, STANDBY VF);
    vfo_vms_follow_libvirt(f->vms, URI, TRUE);
    WAIT_UNTIL(strstr(f->signals->str, "+web1 ?web1:running "));
    g_test_assert_expected_messages();
    g_assert_true(vfo_vm_is_libvirts(web1(f)));

    virDomainSuspend(f->domain);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:paused "));
    virDomainResume(f->domain);
    WAIT_UNTIL(g_str_has_suffix(f->signals->str, "?web1:running "));

    other = create(f, "db1", "12345678-0000-4000-8000-00000000000d", STANDBY);
    WAIT_UNTIL(strstr(f->signals->str, "+db1 "));
    virDomainDestroy(other);
    virDomainFree(other);
    WAIT_UNTIL(strstr(f->signals->str, "-db1 "));
    g_assert_nonnull(vfo_vms_get(f->vms, "web1", NULL));
}

static void test_inspect(Fixture *f, gconstpointer data)
{
    VfoVm *vm = web1(f);
    VfoVmInfo *info = inspect(vm);
    const VfoPair *pair;
    char mac[VFO_MAC_STRLEN];

    g_assert_cmpstr(info->name, ==, "web1");
    g_assert_cmpstr(info->status, ==, "running");
    g_assert_cmpint(info->numa_node, ==, -1);
    g_assert_cmpuint(info->pairs->len, ==, 1);
    pair = g_ptr_array_index(info->pairs, 0);
    g_assert_cmpstr(pair->standby, ==, "ua-net1");
    g_assert_cmpstr(vfo_mac_format(&pair->mac, mac), ==, "52:54:00:aa:00:10");
    g_assert_cmpstr(pair->tap, ==, "tap0");
    g_assert_cmpstr(pair->primary, ==, "ua-vf0");
    g_assert_cmpstr(pair->vf, ==, "0000:01:10.0");
    g_assert_cmpstr(pair->features, ==, "");
    /* A job asks whether there is room for the VF. */
    g_assert_cmpuint(info->free_buses->len, ==, 1);
    g_assert_cmpstr(pair->bus, ==, g_ptr_array_index(info->free_buses, 0));
    vfo_vm_info_free(info);
    g_assert_true(vfo_vms_get_uuid(f->vms, UUID, NULL) == vm);
    g_assert_null(vfo_vms_get_uuid(f->vms, "12345678-0000-4000-8000-00000000000e", NULL));
}

/* A libvirt that takes its time tells how the VM is then. */
static void test_inspect_late(Fixture *f, gconstpointer data)
{
    Op op = {0};
    VfoVm *vm = web1(f);

    virDomainSuspend(f->domain);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:paused "));
    g_mutex_lock(&driver.hang);
    vm->ops->inspect(vm, g_task_new(NULL, NULL, on_op_info, &op));
    run_for(100);
    g_assert_false(op.done);
    virDomainResume(f->domain);
    g_mutex_unlock(&driver.hang);
    WAIT_UNTIL(op.done);
    g_assert_no_error(op.error);
    g_assert_cmpstr(op.info->status, ==, "running");
    op_clear(&op);
}

/* No VM for us, until it gets a VF. */
static void test_not_for_us(Fixture *f, gconstpointer data)
{
    virDomainPtr own = f->domain;
    g_autofree char *xml = NULL;
    int looks;

    looks = driver.looks;
    f->domain = create(f, "plain", "12345678-0000-4000-8000-00000000000d", PLAIN);
    wait_for_look(looks);
    g_assert_null(vfo_vms_get(f->vms, "plain", NULL));
    g_assert_null(strstr(f->signals->str, "plain"));
    driver.xml = domain_xml("plain", "12345678-0000-4000-8000-00000000000d", STANDBY VF);
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, "ua-vf0");
    WAIT_UNTIL(strstr(f->signals->str, "+plain "));
    /* Not its VF: it stays one. */
    virDomainDestroy(f->domain);
    WAIT_UNTIL(strstr(f->signals->str, "-plain "));
    virDomainFree(f->domain);
    f->domain = own;
}

static void test_bad_domains(Fixture *f, gconstpointer data)
{
    virDomainPtr named = NULL;
    int looks;

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*'a b' is left alone*");
    looks = driver.looks;
    named = create(f, "a b", "12345678-0000-4000-8000-00000000000d", STANDBY VF);
    wait_for_look(looks);
    g_test_assert_expected_messages();
    virDomainDestroy(named);
    virDomainFree(named);

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*'odd' is left alone*");
    driver.xml = g_strdup("<domain");
    looks = driver.looks;
    named = create(f, "odd", "12345678-0000-4000-8000-00000000000d", STANDBY VF);
    wait_for_look(looks);
    g_test_assert_expected_messages();
    virDomainDestroy(named);
    virDomainFree(named);
}

static void test_name_is_taken(Fixture *f, gconstpointer data)
{
    g_autofree char *socket = g_build_filename(f->directory, "db1.sock", NULL);
    virDomainPtr other;
    int looks;

    g_assert_true(g_file_set_contents(socket, "", 0, NULL));
    WAIT_UNTIL(strstr(f->signals->str, "+db1 "));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*'db1' is reached through*ignored*");
    looks = driver.looks;
    other = create(f, "db1", "12345678-0000-4000-8000-00000000000d", STANDBY);
    wait_for_look(looks);
    g_test_assert_expected_messages();
    virDomainDestroy(other);
    virDomainFree(other);
    run_for(50);
    g_assert_null(strstr(f->signals->str, "-db1"));
    g_remove(socket);
    WAIT_UNTIL(strstr(f->signals->str, "-db1"));
}

/* It has stopped by the time that its XML has come. */
static void test_gone_while_looking(Fixture *f, gconstpointer data)
{
    virDomainPtr other;

    g_mutex_lock(&driver.hang);
    other = create(f, "db1", "12345678-0000-4000-8000-00000000000d", STANDBY);
    run_for(100);
    driver.xml = domain_xml("db1", "12345678-0000-4000-8000-00000000000d", STANDBY);
    virDomainDestroy(other);
    run_for(100);
    g_mutex_unlock(&driver.hang);
    run_for(100);
    g_assert_null(strstr(f->signals->str, "db1"));
    virDomainFree(other);
}

/* --------------------------------------------------------------- connection */

static void test_connection_lost(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    vm->ops->resumed(vm, task_for(&op)); /* it runs */
    ASSERT_DONE(op);
    op_clear(&op);
    op = (Op){0};
    vm->ops->stopped(vm, task_for(&op));
    driver.refuses = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*test:///default does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_EOF, driver.closed_data);
    g_test_assert_expected_messages();
    ASSERT_WAITS(op);
    g_assert_null(vfo_vms_get(f->vms, "web1", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(error->message, "does not answer on " URI));

    /* Another domain goes meanwhile, and one comes. */
    driver.opened = 0;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*test:///default does not answer*");
    WAIT_UNTIL(driver.opened > 0);
    run_for(200);
    g_test_assert_expected_messages();
    driver.refuses = FALSE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
    g_test_assert_expected_messages();
    g_assert_true(web1(f) == vm);
    /* libvirt has no migration under way. */
    ASSERT_FAILED(op, VFO_ERROR_FAILED, "the migration was cancelled");
}

static void test_gone_meanwhile(Fixture *f, gconstpointer data)
{
    virDomainPtr other;

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_KEEPALIVE, driver.closed_data);
    virDomainDestroy(f->domain);
    other = create(f, "db1", "12345678-0000-4000-8000-00000000000d", STANDBY);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    WAIT_UNTIL(strstr(f->signals->str, "+db1 "));
    g_test_assert_expected_messages();
    g_assert_nonnull(strstr(f->signals->str, "-web1 "));
    virDomainDestroy(other);
    virDomainFree(other);
}

static void on_vms_met(VfoVms *vms, VfoVm *none, gpointer data)
{
    g_assert_null(none);
    g_string_append(data, "met ");
}

static gboolean is_met(const Fixture *f)
{
    g_autoptr(GError) unmet = vfo_vms_unmet(f->vms);

    return !unmet;
}

/* libvirt has listed its domains, and does not describe them. */
static void wait_for_listed(const Fixture *f, GError **unmet)
{
    for (;;) {
        *unmet = vfo_vms_unmet(f->vms);
        g_assert_nonnull(*unmet);
        if (g_error_matches(*unmet, VFO_ERROR, VFO_ERROR_BUSY))
            return;
        g_clear_error(unmet);
        run_for(5);
    }
}

/* A domain that ran before: until it has been looked at nobody knows that it has a VF. */
static void test_unmet(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) early = NULL;
    g_autoptr(GError) error = NULL;

    connect_test(f);
    f->domain = create(f, "web1", UUID, STANDBY VF);
    g_signal_connect(f->vms, "met", G_CALLBACK(on_vms_met), f->signals);
    g_assert_true(is_met(f));
    g_mutex_lock(&driver.hang);
    vfo_vms_follow_calls(f->vms, URI, TRUE, &fakes);
    early = vfo_vms_unmet(f->vms);
    g_assert_error(early, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(early->message, "has not told of its domains: the connection is not"));
    wait_for_listed(f, &error);
    g_assert_nonnull(strstr(error->message, "has not described all of its domains"));
    g_assert_cmpstr(f->signals->str, ==, "");
    g_mutex_unlock(&driver.hang);
    WAIT_UNTIL(is_met(f));
    g_assert_cmpstr(f->signals->str, ==, "+web1 ?web1:running met ");

    /* What is known is known on. */
    driver.refuses = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*test:///default does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_EOF, driver.closed_data);
    g_test_assert_expected_messages();
    g_assert_true(is_met(f));
}

/* The connection is lost in the middle of that: it begins anew. */
static void test_unmet_lost(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    connect_test(f);
    f->domain = create(f, "web1", UUID, STANDBY VF);
    g_signal_connect(f->vms, "met", G_CALLBACK(on_vms_met), f->signals);
    g_mutex_lock(&driver.hang);
    vfo_vms_follow_calls(f->vms, URI, TRUE, &fakes);
    wait_for_listed(f, &error);
    g_clear_error(&error);
    driver.refuses = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_EOF, driver.closed_data);
    g_test_assert_expected_messages();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    g_mutex_unlock(&driver.hang);
    run_for(200);
    g_test_assert_expected_messages();
    error = vfo_vms_unmet(f->vms);
    g_assert_error(error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(error->message, "start libvirtd"));
    g_assert_null(strstr(f->signals->str, "met"));
    driver.refuses = FALSE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    WAIT_UNTIL(strstr(f->signals->str, "+web1 ?web1:running met "));
    g_test_assert_expected_messages();
}

static void test_no_libvirt(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    driver.refuses = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    vfo_vms_follow_calls(f->vms, URI, TRUE, &fakes);
    WAIT_UNTIL(driver.opened >= 2); /* tried again after a second */
    g_test_assert_expected_messages();
    error = vfo_vms_unmet(f->vms);
    g_assert_error(error, VFO_ERROR, VFO_ERROR_CLOSED);
}

/* A call that hangs keeps neither its op nor the daemon. */
static void test_hang(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    run_for(600); /* no inspection is under way */
    g_mutex_lock(&driver.hang);
    op.cancellable = g_cancellable_new();
    vm->ops->inspect(vm, g_task_new(NULL, op.cancellable, on_op_info, &op));
    run_for(20);
    g_assert_false(op.done);
    g_cancellable_cancel(op.cancellable);
    WAIT_UNTIL(op.done);
    g_assert_error(op.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_mutex_unlock(&driver.hang);
}

/* -------------------------------------------------------------------- source */

static void begin_migration(const Fixture *f)
{
    migration(f, "setup");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf0\"}");
    migration(f, "wait-unplug");
}

static void test_source(Fixture *f, gconstpointer data)
{
    g_auto(Op) unplugging = {0}, unplugged = {0}, stopped = {0}, completed = {0}, ended = {0};
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));
    VfoProgress progress;

    driver.jobs = 1000;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&unplugging));
    migration(f, "setup");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"other\"}");
    ASSERT_WAITS(unplugging);
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf0\"}");
    ASSERT_DONE(unplugging);

    vm->ops->unplugged(vm, pair_of(vm), task_for(&unplugged));
    migration(f, "wait-unplug");
    ASSERT_WAITS(unplugged);
    migration(f, "active");
    ASSERT_DONE(unplugged);

    vm->ops->stopped(vm, task_for(&stopped));
    /* Somebody's pause. */
    qemu(f, "STOP", NULL);
    ASSERT_WAITS(stopped);
    WAIT_UNTIL(strstr(f->signals->str, "~web1 "));
    vm->ops->progress(vm, &progress);
    g_assert_cmpuint(progress.total, ==, 1000);
    g_assert_cmpfloat(progress.mbps, ==, 1000.0);
    migration(f, "pre-switchover");
    ASSERT_DONE(stopped);

    vm->ops->completed(vm, task_for(&completed));
    migration(f, "device");
    migration(f, "completed");
    ASSERT_WAITS(completed);
    lifecycle(f, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    ASSERT_DONE(completed);
    g_assert_nonnull(strstr(f->signals->str, "-web1 "));
    /* Asked of a VM that has gone. */
    vm->ops->ended(vm, task_for(&ended));
    ASSERT_DONE(ended);
    g_assert_error(vfo_vm_state(vm), VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(vfo_vm_state(vm)->message, "another host"));
}

/* QEMU asks for one VF after the other, and goes on when it has both. */
static void test_source_two_pairs(Fixture *f, gconstpointer data)
{
    Op unplugging[2] = {0}, unplugged[2] = {0}, replugged[2] = {0}, cancel[2] = {0};
    VfoPair second = {.standby = (char *)"ua-net2", .primary = (char *)"ua-vf1"};
    VfoVm *vm = web1(f);
    const VfoPair *pairs[2] = {pair_of(vm), &second};

    driver.jobs = 1000;
    for (int i = 0; i < 2; i++)
        vm->ops->unplugging(vm, pairs[i], task_for(&unplugging[i]));
    migration(f, "setup");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf1\"}");
    ASSERT_DONE(unplugging[1]);
    g_assert_false(unplugging[0].done);
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf0\"}");
    ASSERT_DONE(unplugging[0]);
    for (int i = 0; i < 2; i++)
        vm->ops->unplugged(vm, pairs[i], task_for(&unplugged[i]));
    migration(f, "wait-unplug");
    ASSERT_WAITS(unplugged[0]);
    migration(f, "active");
    ASSERT_DONE(unplugged[0]);
    ASSERT_DONE(unplugged[1]);

    /* One job fails, and the other sees the migration end; then both take back what they did. */
    vm->ops->cancel(vm, task_for(&cancel[0]));
    WAIT_UNTIL(driver.aborted == 1);
    migration(f, "cancelling");
    vm->ops->cancel(vm, task_for(&cancel[1]));
    for (int i = 0; i < 2; i++)
        vm->ops->replugged(vm, pairs[i], task_for(&replugged[i]));
    WAIT_UNTIL(driver.aborted == 2);
    ASSERT_WAITS(replugged[1]);
    migration(f, "cancelled");
    for (int i = 0; i < 2; i++) {
        ASSERT_DONE(cancel[i]);
        ASSERT_DONE(replugged[i]);
        op_clear(&unplugging[i]);
        op_clear(&unplugged[i]);
        op_clear(&replugged[i]);
        op_clear(&cancel[i]);
    }
}

/* All has happened already. */
static void test_source_late(Fixture *f, gconstpointer data)
{
    g_auto(Op) unplugging = {0}, unplugged = {0}, stopped = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "active");
    qemu(f, "STOP", NULL);
    migration(f, "pre-switchover");
    vm->ops->unplugging(vm, pair_of(vm), task_for(&unplugging));
    ASSERT_DONE(unplugging);
    vm->ops->unplugged(vm, pair_of(vm), task_for(&unplugged));
    ASSERT_DONE(unplugged);
    vm->ops->stopped(vm, task_for(&stopped));
    ASSERT_DONE(stopped);
}

static void test_not_asked(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    vm->ops->unplugging(vm, pair_of(vm), task_for(&op));
    migration(f, "setup");
    migration(f, "active");
    ASSERT_FAILED(op, VFO_ERROR_FAILED, "without asking the guest");
}

/* libvirt gives up before QEMU begins, of which nothing tells. */
static void test_never_begun(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 1;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&op));
    ASSERT_FAILED(op, VFO_ERROR_FAILED, "the migration was cancelled");
}

static void test_given_up(Fixture *f, gconstpointer data)
{
    g_auto(Op) unplugged = {0}, replugged = {0}, cancel = {0}, again = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    vm->ops->unplugged(vm, pair_of(vm), task_for(&unplugged));
    migration(f, "cancelling");
    ASSERT_FAILED(unplugged, VFO_ERROR_FAILED, "was cancelled");
    vm->ops->replugged(vm, pair_of(vm), task_for(&replugged));
    ASSERT_WAITS(replugged);
    migration(f, "cancelled");
    ASSERT_DONE(replugged);
    /* It is over, and the VM runs. */
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_DONE(cancel);
    g_assert_cmpint(driver.aborted, ==, 0);

    /* The next migration is another one. */
    driver.jobs = 1000;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&again));
    ASSERT_WAITS(again);
    begin_migration(f);
    ASSERT_DONE(again);
}

static void test_completed_fails(Fixture *f, gconstpointer data)
{
    g_auto(Op) completed = {0}, replugged = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "active");
    qemu(f, "STOP", NULL);
    migration(f, "completed");
    vm->ops->completed(vm, task_for(&completed));
    ASSERT_WAITS(completed);
    qemu(f, "RESUME", NULL);
    ASSERT_FAILED(completed, VFO_ERROR_FAILED, "runs it here again");
    vm->ops->replugged(vm, pair_of(vm), task_for(&replugged));
    ASSERT_FAILED(replugged, VFO_ERROR_FAILED, "QEMU does not plug it again");
}

static void test_dies_while_migrating(Fixture *f, gconstpointer data)
{
    g_auto(Op) completed = {0}, ended = {0};
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));

    begin_migration(f);
    migration(f, "active");
    vm->ops->completed(vm, task_for(&completed));
    vm->ops->ended(vm, task_for(&ended));
    lifecycle(f, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    ASSERT_FAILED(completed, VFO_ERROR_CLOSED, "has ended in the middle");
    ASSERT_DONE(ended);
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 1000;
    begin_migration(f);
    migration(f, "active");
    qemu(f, "STOP", NULL);
    vm->ops->cancel(vm, task_for(&op));
    WAIT_UNTIL(g_atomic_int_get(&driver.aborted) == 1);
    migration(f, "cancelled");
    ASSERT_WAITS(op); /* for libvirt to resume it */
    qemu(f, "RESUME", NULL);
    ASSERT_DONE(op);
}

/* Before QEMU has begun, of which nothing tells. */
static void test_cancel_early(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 2;
    vm->ops->cancel(vm, task_for(&op));
    ASSERT_DONE(op);
    g_assert_cmpint(driver.aborted, ==, 1);
    g_assert_cmpint(driver.jobs, ==, 0);
}

static void test_cancel_nothing(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    driver.error_code = VIR_ERR_OPERATION_INVALID;
    driver.error = "no job is active on the domain";
    vm->ops->cancel(vm, task_for(&op));
    ASSERT_DONE(op);
}

static void test_cancel_refused(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    driver.error_code = VIR_ERR_ACCESS_DENIED;
    driver.error = "access denied";
    vm->ops->cancel(vm, task_for(&op));
    ASSERT_FAILED(op, VFO_ERROR_DENIED, "access denied");
}

/* libvirtd is restarted in the middle of a migration. */
static void test_cancel_without_libvirt(Fixture *f, gconstpointer data)
{
    g_auto(Op) stopped = {0}, cancel = {0}, replugged = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "active");
    vm->ops->stopped(vm, task_for(&stopped));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_EOF, driver.closed_data);
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_WAITS(cancel);
    g_assert_false(stopped.done);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    ASSERT_DONE(cancel);
    ASSERT_FAILED(stopped, VFO_ERROR_FAILED, "the migration was cancelled");
    g_assert_cmpint(driver.aborted, ==, 1);
    g_test_assert_expected_messages();
    vm->ops->replugged(vm, pair_of(vm), task_for(&replugged));
    ASSERT_DONE(replugged);
}

static void test_cancel_too_late(Fixture *f, gconstpointer data)
{
    g_auto(Op) post_copy = {0}, completed = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "postcopy-active");
    vm->ops->cancel(vm, task_for(&post_copy));
    ASSERT_FAILED(post_copy, VFO_ERROR_FAILED, "in post-copy");
    qemu(f, "STOP", NULL);
    migration(f, "completed");
    vm->ops->cancel(vm, task_for(&completed));
    ASSERT_FAILED(completed, VFO_ERROR_FAILED, "it has completed");
    g_assert_cmpint(driver.aborted, ==, 0);
}

/* --------------------------------------------------------------- destination */

static VfoDomain *parse(const char *name, const char *devices)
{
    g_autofree char *xml = domain_xml(name, UUID, devices);
    g_autoptr(GError) error = NULL;
    VfoDomain *domain = vfo_domain_parse(xml, strlen(xml), &error);

    g_assert_no_error(error);
    return domain;
}

#define NO_TAP                                                                                     \
    "<interface type='bridge'><mac address='52:54:00:aa:00:10'/><source bridge='br0'/>"            \
    "<model type='virtio'/><teaming type='persistent'/><alias name='ua-net1'/></interface>"

static VfoVm *expect(const Fixture *f)
{
    g_autoptr(VfoDomain) domain = parse("web1", NO_TAP VF);
    g_autoptr(GError) error = NULL;
    VfoVm *vm = vfo_vms_expect(f->vms, domain, &error);

    g_assert_no_error(error);
    return vm;
}

/* @data: not NULL: the definitions that VMs bring stay as they are. */
static void set_up_expecting(Fixture *f, gconstpointer data)
{
    set_up_alone(f, data);
    driver.deaf = TRUE;
    vfo_vms_follow_calls(f->vms, URI, !data, &fakes);
    connect_test(f);
    wait_for_list();
    g_assert_true(expect(f) == web1(f));
}

/* As a source's offer tells of it: with a standby and nothing else. */
static void set_up_expecting_bare(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = NULL;

    set_up_expecting(f, data);
    domain = parse("web1", BONDED);
    g_assert_nonnull(vfo_vms_expect(f->vms, domain, NULL));
}

static void start(Fixture *f)
{
    f->domain = create(f, "web1", UUID, STANDBY VF);
    virDomainSuspend(f->domain);
    lifecycle(f, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
}

static void test_destination(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) started_as = parse("web1", STANDBY VF);
    g_auto(Op) started = {0}, resumed = {0};
    g_autoptr(GError) error = NULL;
    VfoVm *vm = web1(f);
    VfoVmInfo *info;

    /* Nothing is asked of libvirt: it would hang. */
    g_mutex_lock(&driver.hang);
    info = inspect(vm);
    g_assert_cmpstr(info->status, ==, "inmigrate");
    g_assert_null(((const VfoPair *)info->pairs->pdata[0])->tap);
    vfo_vm_info_free(info);
    vm->ops->started(vm, task_for(&started));
    ASSERT_WAITS(started);
    g_assert_true(vfo_vms_tell_start(f->vms, started_as, &error));
    ASSERT_DONE(started);
    info = inspect(vm);
    g_assert_cmpstr(((const VfoPair *)info->pairs->pdata[0])->tap, ==, "tap0");
    vfo_vm_info_free(info);
    g_mutex_unlock(&driver.hang);

    start(f);
    vm->ops->resumed(vm, task_for(&resumed));
    migration(f, "setup");
    g_assert_false(vm->ops->incoming_began(vm));
    migration(f, "active");
    g_assert_true(vm->ops->incoming_began(vm));
    WAIT_UNTIL(strstr(f->signals->str, "?web1:inmigrate "));
    migration(f, "completed");
    ASSERT_WAITS(resumed);
    virDomainResume(f->domain);
    qemu(f, "RESUME", NULL);
    ASSERT_DONE(resumed);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    g_assert_true(web1(f) == vm);
    g_assert_null(strstr(f->signals->str, "-web1"));
    vfo_vms_unexpect(f->vms, UUID); /* it is libvirt's now */
    g_assert_true(web1(f) == vm);
}

/* QEMU tells that it runs before libvirt tells that it has started it. */
static void test_runs_before_started(Fixture *f, gconstpointer data)
{
    g_auto(Op) resumed = {0};
    VfoVm *vm = web1(f);
    VfoVmInfo *info;

    vm->ops->resumed(vm, task_for(&resumed));
    f->domain = create(f, "web1", UUID, STANDBY VF);
    migration(f, "active");
    qemu(f, "RESUME", NULL);
    ASSERT_DONE(resumed);
    vfo_vms_unexpect(f->vms, UUID);
    g_assert_true(web1(f) == vm);
    info = inspect(vm);
    g_assert_cmpstr(info->status, ==, "running");
    vfo_vm_info_free(info);
    lifecycle(f, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    info = inspect(vm);
    g_assert_cmpstr(info->status, ==, "running");
    vfo_vm_info_free(info);
    g_assert_null(strstr(f->signals->str, "-web1"));
}

static void test_unexpected(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = parse("web1", STANDBY VF);
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));
    g_autoptr(GError) error = NULL;
    g_auto(Op) started = {0};

    vm->ops->started(vm, task_for(&started));
    ASSERT_WAITS(started);
    vfo_vms_unexpect(f->vms, UUID);
    ASSERT_FAILED(started, VFO_ERROR_CLOSED, "has gone");
    g_assert_cmpstr(f->signals->str, ==, "+web1 -web1 ");
    g_assert_false(vfo_vms_tell_start(f->vms, domain, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
}

/* An attempt of which nobody has said that it failed. */
static void test_expected_anew(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));

    g_assert_true(expect(f) != vm);
    g_assert_cmpstr(f->signals->str, ==, "+web1 -web1 +web1 ");
}

static void test_expect_refused(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) runs = parse("web1", NO_TAP VF);
    g_autoptr(VfoDomain) named = parse("a b", NO_TAP VF);
    g_autoptr(VfoDomain) same_name = parse("web1", NO_TAP VF);
    g_autoptr(VfoVms) deaf = NULL;
    GError *error = NULL;

    g_assert_null(vfo_vms_expect(f->vms, runs, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "runs here already"));
    g_clear_error(&error);

    g_free(named->uuid);
    named->uuid = g_strdup("12345678-0000-4000-8000-00000000000d");
    g_assert_null(vfo_vms_expect(f->vms, named, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_clear_error(&error);

    g_free(same_name->uuid);
    same_name->uuid = g_strdup("12345678-0000-4000-8000-00000000000d");
    g_assert_null(vfo_vms_expect(f->vms, same_name, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "has its name"));
    g_clear_error(&error);

    deaf = vfo_vms_new(f->directory, NULL);
    g_assert_null(vfo_vms_expect(deaf, runs, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    g_clear_error(&error);
}

static void test_arrives_paused(Fixture *f, gconstpointer data)
{
    g_auto(Op) resumed = {0};
    VfoVm *vm = web1(f);

    start(f);
    vm->ops->resumed(vm, task_for(&resumed));
    migration(f, "active");
    ASSERT_WAITS(resumed);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*has arrived but does not run*");
    lifecycle(f, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    ASSERT_DONE(resumed);
    g_test_assert_expected_messages();
}

static void test_does_not_arrive(Fixture *f, gconstpointer data)
{
    g_auto(Op) failed = {0}, gone = {0};
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));

    start(f);
    vm->ops->resumed(vm, task_for(&failed));
    migration(f, "active");
    migration(f, "failed");
    ASSERT_FAILED(failed, VFO_ERROR_FAILED, "the migration failed");
    migration(f, "setup");
    vm->ops->resumed(vm, task_for(&gone));
    lifecycle(f, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    ASSERT_FAILED(gone, VFO_ERROR_CLOSED, "has gone");
    g_assert_null(vfo_vms_get(f->vms, "web1", NULL));
}

#define VF_AT_SOURCE                                                                               \
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"                                  \
    "<address domain='0x0000' bus='0x82' slot='0x02' function='0x1'/></source>"                    \
    "<teaming type='transient' persistent='ua-net1'/><alias name='ua-vf0'/></hostdev>"

/* libvirt takes over the definition of the domain that arrives, which has @devices. */
static void bring(const Fixture *f, const char *devices)
{
    g_autofree char *xml = domain_xml("web1", UUID, devices);
    virDomainPtr defined = virDomainDefineXML(f->connection, xml);

    g_assert_nonnull(defined);
    virDomainFree(defined);
    lifecycle(f, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
}

/* The VF of web1's definition. */
static char *defined_vf(const Fixture *f)
{
    char *xml = virDomainGetXMLDesc(f->domain, VIR_DOMAIN_XML_INACTIVE);
    g_autoptr(VfoDomain) domain = vfo_domain_parse(xml, strlen(xml), NULL);
    const VfoDomainPair *pair = vfo_domain_pair(domain, "ua-net1");

    free(xml);
    return g_strdup(pair->vf);
}

/* The VM runs, and what follows from that has happened. */
static void resume(const Fixture *f)
{
    virDomainResume(f->domain);
    lifecycle(f, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    run_for(200);
}

static void test_brings_definition(Fixture *f, gconstpointer data)
{
    g_autofree char *before = NULL, *after = NULL;

    start(f);
    migration(f, "active");
    bring(f, PLAIN STANDBY VF_AT_SOURCE);
    /* It may still fail to come. */
    WAIT_UNTIL(strstr(f->signals->str, "?web1:inmigrate "));
    run_for(200);
    before = defined_vf(f);
    g_assert_cmpstr(before, ==, "0000:82:02.1");

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*'web1'*names its VF on this host*");
    resume(f);
    g_test_assert_expected_messages();
    after = defined_vf(f);
    g_assert_cmpstr(after, ==, "0000:01:10.0");

    /* From here on it is its user's. */
    bring(f, STANDBY VF_AT_SOURCE);
    vfo_vm_refresh(web1(f));
    run_for(1000);
    g_assert_cmpint(driver.defined, ==, 1);
}

static void test_brings_right_definition(Fixture *f, gconstpointer data)
{
    start(f);
    bring(f, STANDBY VF);
    resume(f);
    g_assert_cmpint(driver.defined, ==, 0);
}

/* It was here before, and --persistent was not called for. */
static void test_brings_no_definition(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = domain_xml("web1", UUID, STANDBY VF_AT_SOURCE);

    start(f);
    virDomainFree(virDomainDefineXML(f->connection, xml));
    resume(f);
    g_assert_cmpint(driver.defined, ==, 0);
}

static void test_brings_odd_definition(Fixture *f, gconstpointer data)
{
    start(f);
    bring(f, STANDBY);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                          "*left as it is*standby ua-net1 has no VF*virsh edit web1*");
    resume(f);
    g_test_assert_expected_messages();
    g_assert_cmpint(driver.defined, ==, 0);
}

static void test_definition_refused(Fixture *f, gconstpointer data)
{
    start(f);
    bring(f, STANDBY VF_AT_SOURCE);
    driver.error_code = VIR_ERR_ACCESS_DENIED;
    driver.error = "access denied";
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                          "*left as it is*cannot have libvirt change it: access denied*");
    resume(f);
    g_test_assert_expected_messages();
    g_assert_cmpint(driver.defined, ==, 1);
}

static void test_keeps_definition(Fixture *f, gconstpointer data)
{
    start(f);
    bring(f, STANDBY VF_AT_SOURCE);
    resume(f);
    g_assert_cmpint(driver.defined, ==, 0);
}

/* The connection is lost and made again while libvirt's hook waits for us. */
static void test_expected_while_lost(Fixture *f, gconstpointer data)
{
    g_auto(Op) started = {0};
    VfoVm *vm = web1(f);

    vm->ops->started(vm, task_for(&started));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.looks = 0;
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_ERROR, driver.closed_data);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    wait_for_list();
    ASSERT_WAITS(started);
    g_test_assert_expected_messages();
    g_assert_true(web1(f) == vm);
    vfo_vms_unexpect(f->vms, UUID);
    ASSERT_FAILED(started, VFO_ERROR_CLOSED, "has gone");
}

/* libvirt has started it, and told nobody. */
static void test_missed_start(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) started_as = parse("web1", STANDBY VF);
    VfoVm *vm = web1(f);

    g_assert_true(vfo_vms_tell_start(f->vms, started_as, NULL));
    f->domain = create(f, "web1", UUID, STANDBY VF);
    virDomainSuspend(f->domain);
    driver.state = VIR_DOMAIN_PAUSED;
    driver.reason = VIR_DOMAIN_PAUSED_STARTING_UP;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_ERROR, driver.closed_data);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
    WAIT_UNTIL(strstr(f->signals->str, "?web1:inmigrate "));
    g_test_assert_expected_messages();
    vfo_vms_unexpect(f->vms, UUID);
    g_assert_true(web1(f) == vm);
}

/* ------------------------------------------------------------------- missed */

static void lose(void)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not answer*");
    driver.closed(driver.connection, VIR_CONNECT_CLOSE_REASON_EOF, driver.closed_data);
    g_test_assert_expected_messages();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*answers");
}

/* All that QEMU has told until memory moves. */
static void test_missed_unplug(Fixture *f, gconstpointer data)
{
    g_auto(Op) unplugging = {0}, unplugged = {0}, stopped = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 1000;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&unplugging));
    lose();
    ASSERT_DONE(unplugging);
    g_test_assert_expected_messages();
    vm->ops->unplugged(vm, pair_of(vm), task_for(&unplugged));
    ASSERT_DONE(unplugged);
    vm->ops->stopped(vm, task_for(&stopped));
    ASSERT_WAITS(stopped);
    migration(f, "pre-switchover");
    ASSERT_DONE(stopped);
}

/* The guest takes its time: nothing is missed but that it was asked. */
static void test_missed_asking(Fixture *f, gconstpointer data)
{
    g_auto(Op) unplugging = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 1000;
    driver.waiting = TRUE;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&unplugging));
    lose();
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
    run_for(200);
    g_assert_false(unplugging.done);
    migration(f, "active");
    ASSERT_DONE(unplugging);
    g_test_assert_expected_messages();
}

static void test_missed_stop(Fixture *f, gconstpointer data)
{
    g_auto(Op) stopped = {0}, completed = {0}, cancel = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "active");
    vm->ops->stopped(vm, task_for(&stopped));
    driver.state = VIR_DOMAIN_PAUSED;
    driver.reason = VIR_DOMAIN_PAUSED_MIGRATION;
    lose();
    ASSERT_DONE(stopped);
    vm->ops->completed(vm, task_for(&completed));
    ASSERT_WAITS(completed);
    g_test_assert_expected_messages();
    /* Nobody can say where it is: to have no job is not to be here. */
    vm->ops->cancel(vm, task_for(&cancel));
    run_for(1000);
    g_assert_false(cancel.done || completed.done);
    lifecycle(f, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    ASSERT_DONE(completed);
    ASSERT_FAILED(cancel, VFO_ERROR_CLOSED, "another host");
}

static void test_missed_postcopy(Fixture *f, gconstpointer data)
{
    g_auto(Op) stopped = {0}, cancel = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    vm->ops->stopped(vm, task_for(&stopped));
    driver.state = VIR_DOMAIN_PAUSED;
    driver.reason = VIR_DOMAIN_PAUSED_POSTCOPY;
    lose();
    ASSERT_DONE(stopped);
    g_test_assert_expected_messages();
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_FAILED(cancel, VFO_ERROR_FAILED, "in post-copy");
}

/* It stopped, was given up, and runs again. */
static void test_missed_failure(Fixture *f, gconstpointer data)
{
    g_auto(Op) completed = {0}, cancel = {0}, replugged = {0}, again = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "active");
    migration(f, "device");
    qemu(f, "STOP", NULL);
    vm->ops->completed(vm, task_for(&completed));
    lose();
    ASSERT_FAILED(completed, VFO_ERROR_FAILED, "the migration was cancelled");
    g_test_assert_expected_messages();
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_DONE(cancel);
    vm->ops->replugged(vm, pair_of(vm), task_for(&replugged));
    ASSERT_DONE(replugged);

    /* The guest has not been asked in the next one. */
    driver.jobs = 1000;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&again));
    ASSERT_WAITS(again);
    begin_migration(f);
    ASSERT_DONE(again);
}

/* It has gone, and nobody has said where to. */
static void test_missed_end(Fixture *f, gconstpointer data)
{
    g_auto(Op) stopped = {0}, late = {0}, completed = {0}, ended = {0}, cancel = {0};
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));

    begin_migration(f);
    migration(f, "active");
    vm->ops->stopped(vm, task_for(&stopped));
    vm->ops->ended(vm, task_for(&ended));
    lose();
    virDomainDestroy(f->domain);
    ASSERT_DONE(stopped);
    ASSERT_DONE(ended);
    g_test_assert_expected_messages();
    g_assert_nonnull(strstr(f->signals->str, "-web1 "));
    vm->ops->stopped(vm, task_for(&late));
    ASSERT_DONE(late);
    vm->ops->completed(vm, task_for(&completed));
    ASSERT_FAILED(completed, VFO_ERROR_CLOSED, "has gone");
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_FAILED(cancel, VFO_ERROR_CLOSED, "has gone");
}

static void test_missed_end_at_end(Fixture *f, gconstpointer data)
{
    g_auto(Op) completed = {0};
    VfoVm *vm = web1(f);

    begin_migration(f);
    migration(f, "device");
    vm->ops->completed(vm, task_for(&completed));
    lose();
    virDomainDestroy(f->domain);
    ASSERT_FAILED(completed, VFO_ERROR_CLOSED, "while libvirt did not answer");
    g_test_assert_expected_messages();
}

static void test_missed_resume(Fixture *f, gconstpointer data)
{
    g_auto(Op) resumed = {0};
    VfoVm *vm = web1(f);

    start(f);
    vm->ops->resumed(vm, task_for(&resumed));
    driver.state = VIR_DOMAIN_PAUSED;
    driver.reason = VIR_DOMAIN_PAUSED_MIGRATION;
    lose();
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
    g_test_assert_expected_messages();
    run_for(200);
    g_assert_false(resumed.done);
    /* That too may have been missed. */
    g_assert_true(vm->ops->incoming_began(vm));
    driver.state = VIR_DOMAIN_RUNNING;
    driver.reason = VIR_DOMAIN_RUNNING_MIGRATED;
    lose();
    ASSERT_DONE(resumed);
    g_test_assert_expected_messages();
}

static void test_missed_pause(Fixture *f, gconstpointer data)
{
    g_auto(Op) resumed = {0};
    VfoVm *vm = web1(f);

    start(f);
    vm->ops->resumed(vm, task_for(&resumed));
    driver.state = VIR_DOMAIN_PAUSED;
    driver.reason = VIR_DOMAIN_PAUSED_USER;
    lose();
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*has arrived but does not run*");
    ASSERT_DONE(resumed);
    g_test_assert_expected_messages();
}

/* libvirt has ended it, and told nobody. */
static void test_ended_untold(Fixture *f, gconstpointer data)
{
    g_auto(Op) resumed = {0};
    g_autoptr(VfoVm) vm = vfo_vm_ref(web1(f));

    start(f);
    vm->ops->resumed(vm, task_for(&resumed));
    migration(f, "active");
    WAIT_UNTIL(strstr(f->signals->str, "?web1:"));
    virDomainDestroy(f->domain);
    ASSERT_WAITS(resumed);
    vfo_vm_refresh(vm);
    ASSERT_FAILED(resumed, VFO_ERROR_CLOSED, "has gone");
    g_assert_nonnull(strstr(f->signals->str, "-web1 "));
}

static void test_unseen(Fixture *f, gconstpointer data)
{
    g_auto(Op) unseen = {0}, late = {0}, inspection = {0};
    VfoVm *vm = web1(f);

    run_for(600); /* no inspection is under way */
    vm->ops->unseen(vm, task_for(&unseen));
    migration(f, "active");
    ASSERT_WAITS(unseen);
    lose();
    ASSERT_DONE(unseen);
    vm->ops->unseen(vm, task_for(&late));
    ASSERT_DONE(late);
    vm->ops->inspect(vm, g_task_new(NULL, NULL, on_op_info, &inspection));
    ASSERT_WAITS(inspection);
    WAIT_UNTIL(inspection.done);
    g_assert_no_error(inspection.error);
    g_assert_cmpstr(inspection.info->status, ==, "running");
    g_test_assert_expected_messages();
}

/* The daemon is started while it migrates. */
static void test_found_leaving(Fixture *f, gconstpointer data)
{
    const VfoVm *vm;

    connect_test(f);
    f->domain = create(f, "web1", UUID, STANDBY VF);
    driver.jobs = 1000;
    vfo_vms_follow_calls(f->vms, URI, TRUE, &fakes);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    vm = web1(f);
    g_assert_true(vfo_vm_cached((VfoVm *)vm)->leaving);
    migration(f, "failed");
    g_string_truncate(f->signals, 0);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    g_assert_false(vfo_vm_cached((VfoVm *)vm)->leaving);

    /* Of the next one it is told; nobody else sees to the VM. */
    migration(f, "setup");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf0\"}");
    migration(f, "wait-unplug");
    g_string_truncate(f->signals, 0);
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    g_assert_true(vfo_vm_cached((VfoVm *)vm)->leaving);
}

/* ------------------------------------------------------------------ devices */

static void test_unplug(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    vm->ops->unplug(vm, pair_of(vm), task_for(&op));
    WAIT_UNTIL(driver.detached);
    g_assert_cmpstr(driver.detached, ==, "ua-vf0");
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "ua-net1");
    ASSERT_WAITS(op);
    driver.xml = domain_xml("web1", UUID, STANDBY);
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "ua-vf0");
    ASSERT_DONE(op);
    g_assert_null(pair_of(vm)->primary);
}

static void test_unplug_refused(Fixture *f, gconstpointer data)
{
    g_auto(Op) by_guest = {0}, by_libvirt = {0};
    VfoVm *vm = web1(f);

    vm->ops->unplug(vm, pair_of(vm), task_for(&by_guest));
    WAIT_UNTIL(driver.detached);
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, "ua-vf0");
    ASSERT_FAILED(by_guest, VFO_ERROR_FAILED, "the guest refuses");

    driver.error_code = VIR_ERR_INTERNAL_ERROR;
    driver.error = "end of file from\nqemu monitor";
    vm->ops->unplug(vm, pair_of(vm), task_for(&by_libvirt));
    ASSERT_FAILED(by_libvirt, VFO_ERROR_FAILED,
                  "cannot unplug the primary 'ua-vf0' of VM 'web1': cannot ask libvirt to detach "
                  "it: end of file from qemu monitor");
}

/* Somebody else has done it, or has asked for it. */
static void test_unplugged_by_others(Fixture *f, gconstpointer data)
{
    g_auto(Op) asked = {0}, missing = {0};
    VfoVm *vm = web1(f);

    driver.error_code = VIR_ERR_INTERNAL_ERROR;
    driver.error = "Device ua-vf0 is already in the process of unplug";
    vm->ops->unplug(vm, pair_of(vm), task_for(&asked));
    WAIT_UNTIL(driver.detached);
    ASSERT_WAITS(asked);
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "ua-vf0");
    ASSERT_DONE(asked);

    driver.error_code = VIR_ERR_DEVICE_MISSING;
    driver.error = "no device found with alias ua-vf0";
    driver.xml = domain_xml("web1", UUID, STANDBY);
    vm->ops->unplug(vm, pair_of(vm), task_for(&missing));
    ASSERT_DONE(missing);
    g_assert_null(pair_of(vm)->primary);
}

static void test_plug(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = NULL;
    g_auto(Op) op = {0}, refused = {0}, bad = {0};
    VfoVm *vm = web1(f);

    driver.xml = domain_xml("web1", UUID, STANDBY);
    vfo_vm_info_free(inspect(vm));
    pair = vfo_pair_copy(pair_of(vm));
    /* Whatever the job calls it: QEMU knows one id. */
    pair->primary = g_strdup("vf-ua-net1");
    driver.error_code = VIR_ERR_CONFIG_UNSUPPORTED;
    driver.error = "no PCI slot";
    vm->ops->plug(vm, pair, "0000:01:10.4", task_for(&refused));
    ASSERT_FAILED(refused, VFO_ERROR_NOT_SUPPORTED, "the VF 0000:01:10.4 into VM 'web1'");

    driver.error = NULL;
    g_free(driver.xml);
    driver.xml = domain_xml("web1", UUID, STANDBY VF);
    vm->ops->plug(vm, pair, "0000:01:10.4", task_for(&op));
    ASSERT_DONE(op);
    g_assert_cmpstr(driver.attached, ==,
                    "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/>"
                    "<source><address domain='0x0000' bus='0x01' slot='0x10' function='0x4'/>"
                    "</source><teaming type='transient' persistent='ua-net1'/><rom bar='off'/>"
                    "<alias name='ua-vf0'/></hostdev>");
    g_assert_cmpstr(pair_of(vm)->primary, ==, "ua-vf0");

    vm->ops->plug(vm, pair, "eth0", task_for(&bad));
    ASSERT_FAILED(bad, VFO_ERROR_INVALID, "a PCI address");
}

/* What libvirt does not take as an alias from others is not given to it, nor is what would be XML.
 */
static void test_device_xml(void)
{
    g_autoptr(VfoPair) pair = g_new0(VfoPair, 1);
    g_autofree char *xml = NULL;

    pair->standby = g_strdup("a'b<");
    xml = vfo_libvirt_device_xml(pair, "hostdev0", "0000:01:10.4");
    g_assert_null(strstr(xml, "alias"));
    g_assert_nonnull(strstr(xml, "persistent='a&apos;b&lt;'"));
}

static void test_not_supported(Fixture *f, gconstpointer data)
{
    g_auto(Op) prepare = {0}, announce = {0}, listen = {0};
    VfoVm *vm = web1(f);

    vm->ops->prepare(vm, pair_of(vm), "0000:01:10.0", task_for(&prepare));
    ASSERT_FAILED(prepare, VFO_ERROR_NOT_SUPPORTED, "libvirt manages it");
    vm->ops->announce(vm, pair_of(vm), task_for(&announce));
    ASSERT_FAILED(announce, VFO_ERROR_NOT_SUPPORTED, "libvirt manages it");
    vm->ops->listen(vm, "10.8.0.2", "49152", task_for(&listen));
    ASSERT_FAILED(listen, VFO_ERROR_NOT_SUPPORTED, "virsh migrate");
}

/* -------------------------------------------------------------- a migration of ours */

#define THERE "qemu+tcp://hostb/system"

/* It is under way, until driver.moves is let go. */
static void begin_move(const Fixture *f, VfoVm *vm, Op *op)
{
    driver.jobs = 1000;
    g_mutex_lock(&driver.moves);
    vm->ops->migrate(vm, THERE, 200 << 20, 300, task_for(op));
    WAIT_UNTIL(g_atomic_pointer_get(&driver.moved_to));
    migration(f, "setup");
    migration(f, "active");
}

static void end_move(void)
{
    g_mutex_unlock(&driver.moves);
    WAIT_UNTIL(g_atomic_int_get(&driver.moves_ended));
    run_for(20);
}

static void test_migrate(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0}, completed = {0};
    VfoVm *vm = web1(f);

    /* It has come here by another. */
    migration(f, "completed");
    begin_move(f, vm, &op);
    g_assert_cmpstr(driver.moved_to, ==, THERE);
    g_assert_cmpuint(driver.moved_at, ==, 200);
    g_assert_cmpint(driver.downtime, ==, 300);
    ASSERT_WAITS(op);
    migration(f, "pre-switchover");
    ASSERT_DONE(op);
    qemu(f, "STOP", NULL);
    vm->ops->completed(vm, task_for(&completed));
    migration(f, "completed");
    ASSERT_WAITS(completed);
    lifecycle(f, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    ASSERT_DONE(completed);
    /* libvirt answers when the VM has gone. */
    end_move();
}

/* Before QEMU has begun anything. Then another one, which works. */
static void test_migrate_refused(Fixture *f, gconstpointer data)
{
    g_auto(Op) refused = {0}, busy = {0}, cancel = {0}, again = {0};
    VfoVm *vm = web1(f);

    driver.error_code = VIR_ERR_OPERATION_FAILED;
    driver.error = "unable to connect to server at\n'hostb:16509'";
    g_mutex_lock(&driver.moves);
    vm->ops->migrate(vm, THERE, 0, 0, task_for(&refused));
    WAIT_UNTIL(g_atomic_pointer_get(&driver.moved_to));
    vm->ops->migrate(vm, THERE, 0, 0, task_for(&busy));
    ASSERT_FAILED(busy, VFO_ERROR_BUSY, "has not ended");
    end_move();
    ASSERT_FAILED(refused, VFO_ERROR_FAILED,
                  "cannot migrate VM 'web1' to " THERE
                  ": cannot have libvirt migrate it: unable to "
                  "connect to server at 'hostb:16509'");
    g_assert_cmpuint(driver.moved_at, ==, 0);
    g_assert_cmpint(driver.downtime, ==, 0);

    driver.error_code = VIR_ERR_OPERATION_INVALID;
    vm->ops->cancel(vm, task_for(&cancel));
    ASSERT_DONE(cancel);

    driver.error = NULL;
    g_clear_pointer(&driver.moved_to, g_free);
    driver.moves_ended = 0;
    begin_move(f, vm, &again);
    migration(f, "pre-switchover");
    ASSERT_DONE(again);
    end_move();
}

/* QEMU tells before libvirt says why. */
static void test_migrate_given_up(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    begin_move(f, vm, &op);
    driver.error_code = VIR_ERR_OPERATION_ABORTED;
    driver.error = "job 'migration out' aborted by client";
    migration(f, "cancelling");
    migration(f, "cancelled");
    ASSERT_WAITS(op);
    end_move();
    ASSERT_FAILED(op, VFO_ERROR_FAILED, "aborted by client");
}

static void test_migrate_fails_late(Fixture *f, gconstpointer data)
{
    g_auto(Op) op = {0}, completed = {0}, followed = {0};
    VfoVm *vm = web1(f);

    begin_move(f, vm, &op);
    migration(f, "device");
    ASSERT_DONE(op);
    vm->ops->completed(vm, task_for(&completed));
    driver.error_code = VIR_ERR_INTERNAL_ERROR;
    driver.error = "the disk is full there";
    migration(f, "failed");
    ASSERT_WAITS(completed);
    end_move();
    ASSERT_FAILED(completed, VFO_ERROR_FAILED, "the disk is full there");

    /* That is no reason for the next one, which is somebody else's. */
    driver.error = NULL;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&followed));
    migration(f, "setup");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"ua-vf0\"}");
    ASSERT_DONE(followed);
    op_clear(&completed);
    memset(&completed, 0, sizeof(completed));
    vm->ops->stopped(vm, task_for(&completed));
    ASSERT_WAITS(completed);
    migration(f, "device");
    ASSERT_DONE(completed);
}

/* Without a hook: the beginning of its memory tells that it is there. */
static void test_arrives_bare(Fixture *f, gconstpointer data)
{
    g_auto(Op) started = {0}, resumed = {0};
    VfoVm *vm = web1(f);
    VfoVmInfo *info = inspect(vm);
    const VfoPair *half;

    g_assert_cmpuint(info->pairs->len, ==, 0);
    vfo_vm_info_free(info);
    vm->ops->started(vm, task_for(&started));
    ASSERT_WAITS(started);
    f->domain = create(f, "web1", UUID, BONDED);
    virDomainSuspend(f->domain);
    migration(f, "setup");
    g_assert_false(vm->ops->incoming_began(vm));
    migration(f, "active");
    ASSERT_DONE(started);
    g_assert_true(vm->ops->incoming_began(vm));
    info = inspect(vm);
    g_assert_cmpstr(info->status, ==, "inmigrate");
    half = g_ptr_array_index(info->halves, 0);
    g_assert_cmpstr(half->standby, ==, "ua-net1");
    g_assert_cmpstr(half->tap, ==, "tap0");
    g_assert_true(half->bonded);
    vfo_vm_info_free(info);
    vm->ops->resumed(vm, task_for(&resumed));
    qemu(f, "RESUME", NULL);
    ASSERT_DONE(resumed);
    g_assert_true(web1(f) == vm);
}

/* A VF that libvirt knows no standby of. */
static void test_bonded(Fixture *f, gconstpointer data)
{
    g_auto(Op) plug = {0}, unplug = {0}, first = {0};
    g_autoptr(VfoPair) pair = NULL;
    VfoVm *vm = web1(f);
    VfoVmInfo *info;
    const VfoPair *half;

    driver.xml = domain_xml("web1", UUID, BONDED SINGLE("hostdev0"));
    info = inspect(vm);
    g_assert_cmpstr(info->uuid, ==, UUID);
    g_assert_cmpuint(info->pairs->len, ==, 0);
    g_assert_cmpuint(info->halves->len, ==, 2);
    half = g_ptr_array_index(info->halves, 0);
    g_assert_null(half->standby);
    g_assert_cmpstr(half->vf, ==, "0000:01:10.0");
    g_assert_cmpstr(half->primary, ==, "hostdev0");
    pair = vfo_pair_copy(g_ptr_array_index(info->halves, 1));
    g_assert_cmpstr(pair->standby, ==, "ua-net1");
    pair->primary = g_strdup("hostdev0");
    vfo_vm_info_free(info);

    vm->ops->unplug(vm, pair, task_for(&first));
    WAIT_UNTIL(driver.detached);
    g_assert_cmpstr(driver.detached, ==, "hostdev0");
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "hostdev0");
    ASSERT_DONE(first);

    g_free(driver.xml);
    driver.xml = domain_xml("web1", UUID, BONDED SINGLE("ua-vfailover-with-net1"));
    vm->ops->plug(vm, pair, "0000:01:10.4", task_for(&plug));
    ASSERT_DONE(plug);
    g_assert_nonnull(strstr(driver.attached, "<alias name='ua-vfailover-with-net1'/>"));
    g_assert_null(strstr(driver.attached, "teaming"));

    g_clear_pointer(&driver.detached, g_free);
    vm->ops->unplug(vm, pair, task_for(&unplug));
    WAIT_UNTIL(driver.detached);
    g_assert_cmpstr(driver.detached, ==, "ua-vfailover-with-net1");
    device(f, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "ua-vfailover-with-net1");
    ASSERT_DONE(unplug);
}

/* QEMU may be in the hands of its guest. */
static void test_bad_events(Fixture *f, gconstpointer data)
{
    g_autofree char *long_one = g_strnfill(100000, ' ');
    g_auto(Op) op = {0};
    VfoVm *vm = web1(f);

    driver.jobs = 1000;
    vm->ops->unplugging(vm, pair_of(vm), task_for(&op));
    qemu(f, "UNPLUG_PRIMARY", NULL);
    qemu(f, "UNPLUG_PRIMARY", "{");
    qemu(f, "UNPLUG_PRIMARY", "[]");
    qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": 1}");
    qemu(f, "MIGRATION", "{\"status\": {}}");
    qemu(f, "MIGRATION", "null");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*more than*bytes; ignored");
    qemu(f, "MIGRATION", long_one);
    g_test_assert_expected_messages();
    for (guint i = 0; i < 100; i++)
        qemu(f, "UNPLUG_PRIMARY", "{\"device-id\": \"x\"}");
    ASSERT_WAITS(op);
    begin_migration(f);
    ASSERT_DONE(op);
}

#define ADD(name, up, test) g_test_add("/libvirt/" name, Fixture, NULL, up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("real", set_up_alone, test_real);
    ADD("inspect", set_up, test_inspect);
    ADD("inspect-late", set_up, test_inspect_late);
    ADD("not-for-us", set_up, test_not_for_us);
    ADD("bad-domains", set_up, test_bad_domains);
    ADD("name-is-taken", set_up, test_name_is_taken);
    ADD("gone-while-looking", set_up, test_gone_while_looking);
    ADD("connection-lost", set_up, test_connection_lost);
    ADD("gone-meanwhile", set_up, test_gone_meanwhile);
    ADD("unmet", set_up_alone, test_unmet);
    ADD("unmet-lost", set_up_alone, test_unmet_lost);
    ADD("no-libvirt", set_up_alone, test_no_libvirt);
    ADD("hang", set_up, test_hang);
    ADD("source", set_up, test_source);
    ADD("source-two-pairs", set_up, test_source_two_pairs);
    ADD("source-late", set_up, test_source_late);
    ADD("not-asked", set_up, test_not_asked);
    ADD("never-begun", set_up, test_never_begun);
    ADD("given-up", set_up, test_given_up);
    ADD("completed-fails", set_up, test_completed_fails);
    ADD("dies-while-migrating", set_up, test_dies_while_migrating);
    ADD("cancel", set_up, test_cancel);
    ADD("cancel-early", set_up, test_cancel_early);
    ADD("cancel-nothing", set_up, test_cancel_nothing);
    ADD("cancel-refused", set_up, test_cancel_refused);
    ADD("cancel-without-libvirt", set_up, test_cancel_without_libvirt);
    ADD("cancel-too-late", set_up, test_cancel_too_late);
    ADD("destination", set_up_expecting, test_destination);
    ADD("runs-before-started", set_up_expecting, test_runs_before_started);
    ADD("unexpected", set_up_expecting, test_unexpected);
    ADD("expected-anew", set_up_expecting, test_expected_anew);
    ADD("expect-refused", set_up, test_expect_refused);
    ADD("arrives-paused", set_up_expecting, test_arrives_paused);
    ADD("does-not-arrive", set_up_expecting, test_does_not_arrive);
    ADD("brings-definition", set_up_expecting, test_brings_definition);
    ADD("brings-right-definition", set_up_expecting, test_brings_right_definition);
    ADD("brings-no-definition", set_up_expecting, test_brings_no_definition);
    ADD("brings-odd-definition", set_up_expecting, test_brings_odd_definition);
    ADD("definition-refused", set_up_expecting, test_definition_refused);
    g_test_add("/libvirt/keeps-definition", Fixture, "no", set_up_expecting, test_keeps_definition,
               tear_down);
    ADD("expected-while-lost", set_up_expecting, test_expected_while_lost);
    ADD("missed-start", set_up_expecting, test_missed_start);
    ADD("missed-unplug", set_up, test_missed_unplug);
    ADD("missed-asking", set_up, test_missed_asking);
    ADD("missed-stop", set_up, test_missed_stop);
    ADD("missed-postcopy", set_up, test_missed_postcopy);
    ADD("missed-failure", set_up, test_missed_failure);
    ADD("missed-end", set_up, test_missed_end);
    ADD("missed-end-at-end", set_up, test_missed_end_at_end);
    ADD("missed-resume", set_up_expecting, test_missed_resume);
    ADD("missed-pause", set_up_expecting, test_missed_pause);
    ADD("ended-untold", set_up_expecting, test_ended_untold);
    ADD("unseen", set_up, test_unseen);
    ADD("found-leaving", set_up_alone, test_found_leaving);
    ADD("unplug", set_up, test_unplug);
    ADD("unplug-refused", set_up, test_unplug_refused);
    ADD("unplugged-by-others", set_up, test_unplugged_by_others);
    ADD("plug", set_up, test_plug);
    g_test_add_func("/libvirt/device-xml", test_device_xml);
    ADD("migrate", set_up, test_migrate);
    ADD("migrate-refused", set_up, test_migrate_refused);
    ADD("migrate-given-up", set_up, test_migrate_given_up);
    ADD("migrate-fails-late", set_up, test_migrate_fails_late);
    ADD("arrives-bare", set_up_expecting_bare, test_arrives_bare);
    ADD("bonded", set_up, test_bonded);
    ADD("not-supported", set_up, test_not_supported);
    ADD("bad-events", set_up, test_bad_events);
    return g_test_run();
}
