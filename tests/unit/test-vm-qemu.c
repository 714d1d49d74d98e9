/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vm/ against the QEMU of this machine: no guest, no VF. An e1000e stands in
 * for the VF: plugged before its standby, QEMU does not hide it.
 */
#include "fake-qemu.h"

#include "qmp/qmp.h"
#include "vm/vm.h"

#include <signal.h>
#include <string.h>

typedef struct {
    char *directory;
    VfoVms *vms;
    GPtrArray *processes; /* of GSubprocess */
    GCancellable *cancellable;
    GTask *result;
    VfoVm *source, *destination;
} Fixture;

#define ROOT_PORTS                                                                                 \
    "-device", "pcie-root-port,id=root1,chassis=1,slot=1", "-device",                              \
        "pcie-root-port,id=root2,chassis=2,slot=2", "-device",                                     \
        "pcie-root-port,id=root3,chassis=3,slot=3,hotplug=off"
#define STANDBY                                                                                    \
    "-netdev", "hubport,hubid=0,id=hn1", "-device",                                                \
        "virtio-net-pci,id=st0,netdev=hn1,failover=on,mac=52:54:00:11:22:33,bus=root1"
#define PRIMARY "-device", "e1000e,id=vf0,failover_pair_id=st0,romfile=,bus=root2"

/* Starts a QEMU whose VM is @name with @args, and waits until it can be used. */
static VfoVm *start(Fixture *f, const char *name, const char *const *args)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_autofree char *qmp =
        g_strdup_printf("unix:%s/%s.sock,server=on,wait=off", f->directory, name);
    const char *const base[] = {
        "qemu-system-x86_64", "-M",       "q35",  "-accel", "tcg", "-m", "64",
        "-nodefaults",        "-display", "none", "-qmp",   qmp,   NULL};
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    GSubprocess *process;
    VfoVm *vm = NULL;

    g_strv_builder_addv(builder, (const char **)base);
    g_strv_builder_addv(builder, (const char **)args);
    argv = g_strv_builder_end(builder);
    process =
        g_subprocess_newv((const char *const *)argv, G_SUBPROCESS_FLAGS_STDERR_SILENCE, &error);
    g_assert_no_error(error);
    g_ptr_array_add(f->processes, process);
    WAIT_UNTIL((vm = vfo_vms_get(f->vms, name, NULL)));
    WAIT_UNTIL(vfo_vm_cached(vm));
    return vm;
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->directory = g_dir_make_tmp("vm-qemu-XXXXXX", NULL);
    f->vms = vfo_vms_new(f->directory, &error);
    g_assert_no_error(error);
    f->processes = g_ptr_array_new_with_free_func(g_object_unref);
    f->cancellable = g_cancellable_new();
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) vms = vfo_vms_list(f->vms);

    for (guint i = 0; i < f->processes->len; i++) {
        g_subprocess_force_exit(f->processes->pdata[i]);
        g_subprocess_wait(f->processes->pdata[i], NULL, NULL);
    }
    for (guint i = 0; i < vms->len; i++) {
        const VfoVm *vm = vms->pdata[i];
        g_autofree char *path = g_strdup_printf("%s/%s.sock", f->directory, vm->name);

        g_unlink(path); /* a QEMU that is killed or fails leaves it behind */
    }
    g_ptr_array_unref(f->processes);
    g_clear_object(&f->vms);
    g_clear_object(&f->cancellable);
    g_clear_object(&f->result);
    run_for(5);
    g_assert_cmpint(g_rmdir(f->directory), ==, 0);
    g_free(f->directory);
}

static void on_result(GObject *source, GAsyncResult *result, gpointer data)
{
    g_set_object(&((Fixture *)data)->result, G_TASK(result));
}

static GTask *new_task(Fixture *f)
{
    g_clear_object(&f->result);
    g_cancellable_reset(f->cancellable);
    return g_task_new(NULL, f->cancellable, on_result, f);
}

static void expect_done(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    WAIT_UNTIL(f->result);
    g_task_propagate_boolean(f->result, &error);
    g_assert_no_error(error);
}

static gpointer expect_pointer(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    gpointer value;

    WAIT_UNTIL(f->result);
    value = g_task_propagate_pointer(f->result, &error);
    g_assert_no_error(error);
    return value;
}

static void expect_error(Fixture *f, VfoError code, const char *part)
{
    g_autoptr(GError) error = NULL;

    WAIT_UNTIL(f->result);
    g_task_propagate_boolean(f->result, &error);
    g_test_message("%s", error->message);
    if (!strstr(error->message, part))
        g_error("'%s' is not in: %s", part, error->message);
    g_assert_error(error, VFO_ERROR, (gint)code);
}

static VfoVmInfo *inspect(Fixture *f, VfoVm *vm)
{
    vm->ops->inspect(vm, new_task(f));
    return expect_pointer(f);
}

static void test_inspect(Fixture *f, gconstpointer data)
{
    const char *const args[] = {"-S", ROOT_PORTS, PRIMARY, STANDBY, NULL};
    VfoVm *vm = start(f, "web1", args);
    g_autoptr(VfoVmInfo) info = inspect(f, vm);
    const VfoPair *pair;
    char mac[VFO_MAC_STRLEN];

    g_assert_true(g_str_has_prefix(info->machine, "pc-q35-"));
    g_assert_null(strstr(info->machine, "machine"));
    g_assert_cmpstr(info->status, ==, "prelaunch");
    g_assert_cmpuint(info->pairs->len, ==, 1);
    pair = info->pairs->pdata[0];
    g_test_message("features: %s", pair->features);
    g_assert_cmpstr(pair->standby, ==, "st0");
    g_assert_cmpstr(vfo_mac_format(&pair->mac, mac), ==, "52:54:00:11:22:33");
    g_assert_null(pair->tap);
    g_assert_nonnull(strstr(pair->features, "guest_tso4="));
    g_assert_nonnull(strstr(pair->features, "mq=off"));
    g_assert_cmpstr(pair->primary, ==, "vf0");
    g_assert_null(pair->vf);
    g_assert_cmpstr(pair->bus, ==, "root2");
    g_assert_cmpuint(info->free_buses->len, ==, 0); /* root3 cannot be plugged into */
}

/* An orderly exit removes the socket, and with it the VM. */
static void test_exit(Fixture *f, gconstpointer data)
{
    const char *const args[] = {"-S", NULL};
    g_autoptr(VfoVm) vm = vfo_vm_ref(start(f, "web1", args));

    g_subprocess_send_signal(f->processes->pdata[0], SIGTERM);
    WAIT_UNTIL(g_error_matches(vfo_vm_state(vm), VFO_ERROR, VFO_ERROR_CLOSED) &&
               strstr(vfo_vm_state(vm)->message, "has gone"));
}

static void test_hidden(Fixture *f, gconstpointer data)
{
    const char *const args[] = {"-S", ROOT_PORTS, STANDBY, PRIMARY, NULL};
    VfoVm *vm = start(f, "web1", args);
    g_autoptr(VfoVmInfo) info = inspect(f, vm);
    VfoPair *pair = info->pairs->pdata[0];

    g_assert_null(pair->primary);
    g_assert_cmpstr(pair->bus, ==, "root2");
    pair->primary = g_strdup("vf0");
    vm->ops->plug(vm, pair, "0000:01:10.0", new_task(f));
    expect_error(f, VFO_ERROR_NOT_SUPPORTED, "VIRTIO_NET_F_STANDBY");
    vm->ops->unplug(vm, pair, new_task(f)); /* it is not in the VM */
    expect_done(f);
    vm->ops->announce(vm, pair, new_task(f));
    expect_done(f);
    pair->standby[0] = 'x';
    vm->ops->plug(vm, pair, "0000:01:10.0", new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "cannot plug the VF 0000:01:10.0 into VM 'web1'");
}

/* HMP's port output on a second monitor: what the guest's ACPI code does to eject a device. */
static void eject(VfoQmpClient *monitor, const char *line)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "command-line", json_object_new_string(line));
    vfo_qmp_client_execute_async(monitor, "human-monitor-command", arguments, 0, NULL, NULL, NULL);
}

/* PCI hotplug through ACPI, docs/specs/acpi_pci_hotplug.rst: 0xcd0 selects the bus, a bit of
 * 0xcc8 ejects a slot. */
static void on_bus_number(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoQmpClient *monitor = VFO_QMP_CLIENT(source);
    g_autoptr(json_object) value = vfo_qmp_client_execute_finish(monitor, result, NULL);
    g_autofree char *line = g_strdup_printf("o /w 0xcd0 %d", json_object_get_int(value));

    g_assert_nonnull(value);
    eject(monitor, line);
    eject(monitor, "o /w 0xcc8 1");
}

static void test_unplug_ejected(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->directory, "second", NULL);
    g_autofree char *second = g_strdup_printf("unix:%s,server=on,wait=off", path);
    const char *const args[] = {"-S", "-qmp", second, ROOT_PORTS, PRIMARY, STANDBY, NULL};
    VfoVm *vm = start(f, "web1", args);
    g_autoptr(VfoQmpClient) monitor = vfo_qmp_client_new_unix("second", path, TRUE);
    g_autoptr(VfoVmInfo) info = inspect(f, vm);
    g_autoptr(VfoVmInfo) after = NULL;
    const VfoPair *pair = info->pairs->pdata[0];
    json_object *arguments;

    WAIT_UNTIL(vfo_qmp_client_is_ready(monitor));
    vm->ops->unplug(vm, pair, new_task(f));
    run_for(50);
    g_assert_null(f->result);
    arguments = json_object_new_object();
    json_object_object_add(arguments, "path",
                           json_object_new_string("/machine/peripheral/root2/root2"));
    json_object_object_add(arguments, "property", json_object_new_string("acpi-pcihp-bsel"));
    vfo_qmp_client_execute_async(monitor, "qom-get", arguments, 0, NULL, on_bus_number, NULL);
    expect_done(f);
    after = inspect(f, vm);
    pair = after->pairs->pdata[0];
    g_assert_null(pair->primary);
    g_assert_cmpstr(pair->bus, ==, "root2");
    vfo_qmp_client_close(monitor);
    g_unlink(path);
}

/* Nobody in the VM answers: the unplug waits until it is given up. */
static void test_unplug(Fixture *f, gconstpointer data)
{
    const char *const args[] = {"-S", ROOT_PORTS, PRIMARY, STANDBY, NULL};
    VfoVm *vm = start(f, "web1", args);
    g_autoptr(VfoVmInfo) info = inspect(f, vm);
    g_autoptr(GError) error = NULL;

    vm->ops->unplug(vm, info->pairs->pdata[0], new_task(f));
    run_for(50);
    g_assert_null(f->result);
    g_cancellable_cancel(f->cancellable);
    WAIT_UNTIL(f->result);
    g_task_propagate_boolean(f->result, &error);
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    /* Asked again, QEMU refuses; the wait is the same. */
    vm->ops->unplug(vm, info->pairs->pdata[0], new_task(f));
    run_for(50);
    g_assert_null(f->result);
    g_subprocess_force_exit(f->processes->pdata[0]);
    expect_error(f, VFO_ERROR_CLOSED, "cannot unplug the primary 'vf0' of VM 'web1'");
}

static char *listen_for(Fixture *f)
{
    f->destination->ops->listen(f->destination, "127.0.0.1", "47152-47215", new_task(f));
    return expect_pointer(f);
}

static void start_both(Fixture *f, gboolean source_runs, gboolean destination_runs)
{
    const char *const source[] = {ROOT_PORTS, STANDBY, source_runs ? NULL : "-S", NULL};
    const char *const destination[] = {
        ROOT_PORTS, STANDBY, "-incoming", "defer", destination_runs ? NULL : "-S", NULL};

    f->source = start(f, "source", source);
    f->destination = start(f, "destination", destination);
}

static void test_migrate(Fixture *f, gconstpointer data)
{
    g_autofree char *uri = NULL, *again = NULL;
    g_autoptr(VfoVmInfo) before = NULL, after = NULL;
    VfoProgress progress;

    start_both(f, TRUE, TRUE);
    before = inspect(f, f->destination);
    g_assert_cmpstr(before->status, ==, "inmigrate");
    g_assert_cmpuint(before->free_buses->len, ==, 1);
    g_assert_cmpstr(before->free_buses->pdata[0], ==, "root2");
    f->source->ops->listen(f->source, "127.0.0.1", "47152-47215", new_task(f));
    expect_error(f, VFO_ERROR_BUSY, "-incoming defer");
    uri = listen_for(f);
    g_assert_true(g_str_has_prefix(uri, "tcp:127.0.0.1:47"));
    again = listen_for(f);
    g_assert_cmpstr(again, ==, uri);
    g_assert_false(f->destination->ops->incoming_began(f->destination));

    f->source->ops->migrate(f->source, uri, 1 << 30, 500, new_task(f));
    expect_done(f);
    f->source->ops->completed(f->source, new_task(f));
    expect_done(f);
    f->source->ops->progress(f->source, &progress);
    g_assert_cmpuint(progress.total, >=, 64 << 20);
    g_assert_cmpuint(progress.transferred, >, 0);
    f->destination->ops->resumed(f->destination, new_task(f));
    expect_done(f);
    g_assert_true(f->destination->ops->incoming_began(f->destination));
    WAIT_UNTIL(g_str_equal(vfo_vm_cached(f->source)->status, "postmigrate"));
    WAIT_UNTIL(g_str_equal(vfo_vm_cached(f->destination)->status, "running"));
    f->source->ops->cancel(f->source, new_task(f));
    expect_error(f, VFO_ERROR_FAILED, "it has completed");
    after = inspect(f, f->destination);
    g_assert_cmpstr(after->free_buses->pdata[0], ==, "root2");
    f->destination->ops->cancel(f->destination, new_task(f)); /* none of its own */
    expect_done(f);
}

/* The first port of the range is somebody else's. */
static void test_listen_busy(Fixture *f, gconstpointer data)
{
    g_autoptr(GSocketListener) other = g_socket_listener_new();
    g_autoptr(GInetAddress) loopback = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
    g_autoptr(GSocketAddress) address = g_inet_socket_address_new(loopback, 47152);
    g_autofree char *uri = NULL;

    g_socket_listener_add_address(other, address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL,
                                  NULL, NULL);
    start_both(f, TRUE, TRUE);
    uri = listen_for(f);
    g_assert_cmpstr(uri, !=, "tcp:127.0.0.1:47152");
}

static void test_migrate_paused(Fixture *f, gconstpointer data)
{
    g_autofree char *uri = NULL;

    start_both(f, TRUE, FALSE); /* -S keeps the destination from running */
    uri = listen_for(f);
    f->source->ops->migrate(f->source, uri, 0, 0, new_task(f));
    expect_done(f);
    f->destination->ops->resumed(f->destination, new_task(f));
    expect_done(f);
    WAIT_UNTIL(g_str_equal(vfo_vm_cached(f->destination)->status, "paused"));
}

static void test_migrate_nowhere(Fixture *f, gconstpointer data)
{
    start_both(f, TRUE, TRUE);
    f->source->ops->migrate(f->source, "tcp:127.0.0.1:1", 0, 0, new_task(f));
    expect_error(f, VFO_ERROR_FAILED, "Connection refused");
    f->source->ops->cancel(f->source, new_task(f));
    expect_done(f);
    WAIT_UNTIL(g_str_equal(vfo_vm_cached(f->source)->status, "running"));
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    g_autofree char *uri = NULL;
    g_autoptr(VfoVmInfo) info = NULL;

    start_both(f, TRUE, TRUE);
    uri = listen_for(f);
    f->source->ops->migrate(f->source, uri, 10000, 1, new_task(f));
    WAIT_UNTIL(f->destination->ops->incoming_began(f->destination));
    g_assert_null(f->result);
    g_cancellable_cancel(f->cancellable);
    WAIT_UNTIL(f->result);
    f->source->ops->cancel(f->source, new_task(f));
    expect_done(f);
    info = inspect(f, f->source);
    g_assert_cmpstr(info->status, ==, "running");
    f->destination->ops->resumed(f->destination, new_task(f));
    expect_error(f, VFO_ERROR_CLOSED, "VM 'destination'");
}

static void skip(void)
{
    g_test_skip("there is no qemu-system-x86_64");
}

static void add(const char *path, void (*function)(Fixture *f, gconstpointer data))
{
    g_autofree char *qemu = g_find_program_in_path("qemu-system-x86_64");

    if (qemu)
        g_test_add(path, Fixture, NULL, set_up, function, tear_down);
    else
        g_test_add_func(path, skip);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/vm-qemu/inspect", test_inspect);
    add("/vm-qemu/exit", test_exit);
    add("/vm-qemu/hidden", test_hidden);
    add("/vm-qemu/unplug", test_unplug);
    add("/vm-qemu/unplug-ejected", test_unplug_ejected);
    add("/vm-qemu/migrate", test_migrate);
    add("/vm-qemu/listen-busy", test_listen_busy);
    add("/vm-qemu/migrate-paused", test_migrate_paused);
    add("/vm-qemu/migrate-nowhere", test_migrate_nowhere);
    add("/vm-qemu/cancel", test_cancel);
    return g_test_run();
}
