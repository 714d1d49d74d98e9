/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-qemu.h"

#include "vm/vm.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEV          "/machine/peripheral"
#define NOT_FOUND    "error DeviceNotFound Device not found"
#define NETWORK_NONE "return \"\""
#define LIST_STANDBY "{\"name\": \"st0\", \"type\": \"child<virtio-net-pci>\"}"
#define LIST_PRIMARY "{\"name\": \"vf0\", \"type\": \"child<vfio-pci>\"}"
#define LIST_OTHERS                                                                                \
    "{\"name\": \"type\", \"type\": \"string\"}, {\"name\": \"root1\", \"type\": "                 \
    "\"child<pcie-root-port>\"}, {\"name\": \"root2\", \"type\": \"child<pcie-root-port>\"}, "     \
    "{\"name\": \"disk\", \"type\": \"child<virtio-blk-pci>\"}"
#define BUS_FULL  "return [{\"name\": \"child[0]\", \"type\": \"link<vfio-pci>\"}]"
#define BUS_EMPTY "return [{\"name\": \"realized\", \"type\": \"bool\"}]"
#define RUNNING   "return {\"status\": \"running\", \"running\": true}"
#define INMIGRATE "return {\"status\": \"inmigrate\", \"running\": false}"

typedef struct {
    char *directory;
    FakeQemu *fake;
    VfoVms *vms;
    VfoVm *vm;
    GCancellable *cancellable;
    GTask *result; /* of the op; NULL: under way */
    guint results;
    guint moved;
} Fixture;

static void on_progress(VfoVms *vms, VfoVm *vm, gpointer data)
{
    ((Fixture *)data)->moved++;
}

/* The VM is also inspected unasked, and that fails as well where a test makes it fail. */
static gboolean is_fatal(const char *domain, GLogLevelFlags level, const char *message,
                         gpointer data)
{
    return !strstr(message, "may be out of date");
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;

    g_test_log_set_fatal_handler(is_fatal, NULL); /* for one test */
    f->directory = g_dir_make_tmp("vm-XXXXXX", NULL);
    path = g_build_filename(f->directory, "web1.sock", NULL);
    f->fake = fake_new(path);
    fake_script(f->fake, "migrate-set-capabilities", "return {}");
    fake_script(f->fake, "query-status", data ? data : RUNNING);
    fake_script(f->fake, "query-migrate", "return {}");
    fake_script(f->fake, "qom-get /machine type", "return \"pc-q35-10.0-machine\"");
    fake_script(f->fake, "human-monitor-command", NETWORK_NONE);
    fake_script(f->fake, "qom-list " DEV,
                "return [" LIST_OTHERS ", " LIST_STANDBY ", " LIST_PRIMARY "]");
    fake_script(
        f->fake, "qom-list " DEV "/st0",
        "return [{\"name\": \"mq\", \"type\": \"bool\"}, {\"name\": \"host_mtu\", \"type\": "
        "\"uint16\"}, {\"name\": \"disable-legacy\", \"type\": \"OnOffAuto\"}, {\"name\": "
        "\"vectors\", \"type\": \"uint32\"}]");
    fake_script(f->fake, "qom-list " DEV "/root1/root1", BUS_FULL);
    fake_script(f->fake, "qom-list " DEV "/root2/root2", BUS_EMPTY);
    fake_script(f->fake, "qom-get " DEV "/root1 hotplug", "return true");
    fake_script(f->fake, "qom-get " DEV "/root2 hotplug", "return true");
    fake_script(f->fake, "qom-get " DEV "/st0 failover", "return true");
    fake_script(f->fake, "qom-get " DEV "/st0 mac", "return \"52:54:00:AA:00:10\"");
    fake_script(f->fake, "qom-get " DEV "/st0 netdev", "return \"hn1\"");
    fake_script(f->fake, "qom-get " DEV "/st0 mq", "return false");
    fake_script(f->fake, "qom-get " DEV "/st0 host_mtu", "return 1500");
    fake_script(f->fake, "qom-get " DEV "/st0 disable-legacy", "return \"on\"");
    fake_script(f->fake, "qom-get " DEV "/disk failover_pair_id", "return \"\"");
    fake_script(f->fake, "qom-get " DEV "/vf0 failover_pair_id", "return \"st0\"");
    fake_script(f->fake, "qom-get " DEV "/vf0 host", "return \"0000:01:10.0\"");
    fake_script(f->fake, "qom-get " DEV "/vf0 parent_bus", "return \"" DEV "/root1/root1\"");
    fake_script(f->fake, "qom-get " DEV "/vf0 rombar", "return 1");
    f->vms = vfo_vms_new(f->directory, &error);
    g_assert_no_error(error);
    g_signal_connect(f->vms, "progress", G_CALLBACK(on_progress), f);
    WAIT_UNTIL((f->vm = vfo_vms_get(f->vms, "web1", NULL)));
    WAIT_UNTIL(vfo_vm_cached(f->vm));
    g_ptr_array_set_size(f->fake->commands, 0);
    f->cancellable = g_cancellable_new();
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_clear_object(&f->vms);
    g_clear_object(&f->cancellable);
    g_clear_object(&f->result);
    fake_free(f->fake);
    g_assert_cmpint(g_rmdir(f->directory), ==, 0);
    g_free(f->directory);
}

static void on_result(GObject *source, GAsyncResult *result, gpointer data)
{
    Fixture *f = data;

    f->results++;
    g_set_object(&f->result, G_TASK(result));
}

/* A task for an op; what it returned before is forgotten. */
static GTask *new_task(Fixture *f)
{
    g_clear_object(&f->result);
    f->results = 0;
    g_cancellable_reset(f->cancellable);
    return g_task_new(NULL, f->cancellable, on_result, f);
}

static void expect_done(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    WAIT_UNTIL(f->result);
    g_task_propagate_boolean(f->result, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f->results, ==, 1);
}

static void expect_error(Fixture *f, VfoError code, const char *part)
{
    g_autoptr(GError) error = NULL;

    WAIT_UNTIL(f->result);
    g_assert_false(g_task_had_error(f->result) == FALSE);
    g_task_propagate_boolean(f->result, &error);
    if (!strstr(error->message, part))
        g_error("'%s' is not in: %s", part, error->message);
    g_assert_error(error, VFO_ERROR, (gint)code);
    g_assert_nonnull(strstr(error->message, "'web1'"));
    g_assert_null(strchr(error->message, '\n'));
    g_assert_cmpuint(f->results, ==, 1);
}

/* The op goes on waiting. */
static void expect_nothing(Fixture *f)
{
    run_for(20);
    g_assert_null(f->result);
}

/* The command @prefix has come and been answered. */
static void wait_for_command(Fixture *f, const char *prefix)
{
    WAIT_UNTIL(fake_count(f->fake, prefix) > 0);
    run_for(5);
}

static void cancel_and_check(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_cancellable_cancel(f->cancellable);
    WAIT_UNTIL(f->result);
    g_task_propagate_boolean(f->result, &error);
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_assert_cmpuint(f->results, ==, 1);
}

static VfoVmInfo *inspect(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VfoVmInfo *info;

    f->vm->ops->inspect(f->vm, new_task(f));
    WAIT_UNTIL(f->result);
    info = g_task_propagate_pointer(f->result, &error);
    g_assert_no_error(error);
    return info;
}

static VfoPair *a_pair(void)
{
    VfoPair *pair = g_new0(VfoPair, 1);

    pair->standby = g_strdup("st0");
    pair->primary = g_strdup("vf0");
    pair->bus = g_strdup("root1");
    return pair;
}

/* ------------------------------------------------------------------ inspect */

static void test_inspect(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVmInfo) info = inspect(f);
    char mac[VFO_MAC_STRLEN];
    const VfoPair *pair;

    g_assert_cmpstr(info->name, ==, "web1");
    g_assert_cmpstr(info->machine, ==, "pc-q35-10.0");
    g_assert_cmpstr(info->status, ==, "running");
    g_assert_cmpuint(info->pairs->len, ==, 1);
    pair = info->pairs->pdata[0];
    g_assert_cmpstr(pair->standby, ==, "st0");
    g_assert_cmpstr(vfo_mac_format(&pair->mac, mac), ==, "52:54:00:aa:00:10");
    g_assert_null(pair->tap);
    g_assert_cmpstr(pair->features, ==, "disable-legacy=on,host_mtu=1500,mq=off");
    g_assert_cmpstr(pair->primary, ==, "vf0");
    g_assert_cmpstr(pair->vf, ==, "0000:01:10.0");
    g_assert_cmpstr(pair->bus, ==, "root1");
    g_assert_true(pair->rombar);
    g_assert_cmpuint(info->free_buses->len, ==, 1);
    g_assert_cmpstr(info->free_buses->pdata[0], ==, "root2");
    g_assert_cmpstr(vfo_vm_cached(f->vm)->status, ==, "running");
    /* What was known needs no questions. */
    g_assert_cmpuint(f->fake->commands->len, ==, 2);
}

static void test_inspect_unplugged(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVmInfo) info = NULL;
    const VfoPair *pair;

    fake_script(f->fake, "qom-list " DEV, "return [" LIST_OTHERS ", " LIST_STANDBY "]");
    fake_script(f->fake, "qom-list " DEV "/root1/root1", BUS_EMPTY);
    info = inspect(f);
    pair = info->pairs->pdata[0];
    g_assert_null(pair->primary);
    g_assert_null(pair->vf);
    g_assert_cmpstr(pair->bus, ==, "root1");
    g_assert_cmpuint(info->free_buses->len, ==, 2);
    g_assert_cmpuint(fake_count(f->fake, "qom-get"), ==, 0);
}

/* The same id and type, but another VF, as only the event tells. */
static void test_inspect_replaced(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVmInfo) info = NULL;

    fake_script(f->fake, "qom-get " DEV "/vf0 host", "return \"0000:01:10.2\"");
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    run_for(10);
    info = inspect(f);
    g_assert_cmpstr(((VfoPair *)info->pairs->pdata[0])->vf, ==, "0000:01:10.2");
}

static void test_inspect_emulated(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVmInfo) info = NULL;
    const VfoPair *pair;

    fake_script(f->fake, "qom-list " DEV,
                "return [" LIST_OTHERS ", " LIST_STANDBY
                ", {\"name\": \"e0\", \"type\": \"child<e1000e>\"}]");
    fake_script(f->fake, "qom-get " DEV "/e0 failover_pair_id", "return \"st0\"");
    fake_script(f->fake, "qom-get " DEV "/e0 parent_bus", "return \"" DEV "/root2/root2\"");
    fake_script(f->fake, "qom-get " DEV "/e0 rombar", "return 0");
    info = inspect(f);
    pair = info->pairs->pdata[0];
    g_assert_cmpstr(pair->primary, ==, "e0");
    g_assert_null(pair->vf);
    g_assert_false(pair->rombar);
}

static void test_inspect_refreshes(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "query-status", "return {\"status\": \"paused\", \"running\": false}");
    fake_event(f->fake, "STOP", "{}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"setup\"}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"active\"}");
    WAIT_UNTIL(g_str_equal(vfo_vm_cached(f->vm)->status, "paused"));
    run_for(150);
    g_assert_cmpuint(fake_count(f->fake, "query-status"), ==, 1);
}

static void test_inspect_hostile(Fixture *f, gconstpointer data)
{
    static const char *const scripts[][2] = {
        {"query-status", "return {\"status\": \"run\\nning\"}"},
        {"query-status", "return []"},
        {"qom-list " DEV, "return {}"},
        {"qom-list " DEV, "return [" LIST_STANDBY ", " LIST_STANDBY "]"},
        {"qom-get " DEV "/st0 failover", "return \"on\""},
        {"qom-get " DEV "/st0 mac", "return \"52:54:00:aa:00\""},
        {"qom-get " DEV "/st0 netdev", "return 1"},
        {"qom-get " DEV "/st0 disable-legacy", "return \"on,mq=off\""},
        {"qom-get " DEV "/vf0 host", "return \"../../0000:01:10.0\""},
        {"qom-get " DEV "/vf0 parent_bus", "return \"root1\""},
        {"qom-get " DEV "/vf0 failover_pair_id", "return \"a b\""},
        {"human-monitor-command", "return 7"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(scripts); i++) {
        const char *was = g_hash_table_lookup(f->fake->scripts, scripts[i][0]);
        g_autofree char *kept = g_strdup(was);
        g_autoptr(GError) error = NULL;

        fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
        fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"st0\", \"path\": \"/x\"}");
        run_for(5);
        fake_script(f->fake, scripts[i][0], scripts[i][1]);
        f->vm->ops->inspect(f->vm, new_task(f));
        WAIT_UNTIL(f->result);
        g_assert_null(g_task_propagate_pointer(f->result, &error));
        g_test_message("%s", error->message);
        g_assert_true(error->domain == VFO_ERROR);
        g_assert_true(error->code == VFO_ERROR_PROTOCOL || error->code == VFO_ERROR_INVALID);
        fake_script(f->fake, scripts[i][0], kept);
    }
}

static void test_inspect_too_many(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) list = g_string_new("return [{\"name\": \"a\", \"type\": \"child<x>\"}");

    for (guint i = 0; i < 1000; i++)
        g_string_append_printf(list, ", {\"name\": \"a%u\", \"type\": \"child<x>\"}", i);
    g_string_append_c(list, ']');
    fake_script(f->fake, "qom-list " DEV, list->str);
    f->vm->ops->inspect(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_PROTOCOL, "cannot inspect VM 'web1'");
}

/* The primary goes while it is being asked about. */
static void test_inspect_vanishing(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoVmInfo) info = NULL;

    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    run_for(5);
    fake_script(f->fake, "qom-get " DEV "/vf0 parent_bus", NOT_FOUND);
    info = inspect(f);
    g_assert_null(((VfoPair *)info->pairs->pdata[0])->primary);
}

static void test_inspect_lost(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "query-status", "close");
    f->vm->ops->inspect(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_CLOSED, "cannot inspect VM 'web1': ");
    f->vm->ops->inspect(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_CLOSED, "cannot inspect VM 'web1': ");
}

static int open_tap(char name[IFNAMSIZ])
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    memcpy(name, request.ifr_name, IFNAMSIZ);
    return fd;
}

static char *inspect_tap(Fixture *f, const char *network)
{
    g_autofree char *script = g_strdup_printf("return \"%s\"", network);
    g_autoptr(VfoVmInfo) info = NULL;

    fake_script(f->fake, "human-monitor-command", script);
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"st0\", \"path\": \"/x\"}");
    run_for(5);
    info = inspect(f);
    return g_strdup(((VfoPair *)info->pairs->pdata[0])->tap);
}

static void expect_tap(Fixture *f, const char *before, const char *value, const char *after,
                       const char *expected)
{
    g_autofree char *network = g_strconcat(before, value, after, NULL);
    g_autofree char *tap = inspect_tap(f, network);

    g_assert_cmpstr(tap, ==, expected);
}

static void test_inspect_tap(Fixture *f, gconstpointer data)
{
    char name[IFNAMSIZ];
    g_autofree char *number = NULL;
    int fd = open_tap(name);

    expect_tap(f, "hn1: index=0,type=user,net=10.0.2.0,restrict=", "off", "\\r\\n", NULL);
    /* Somebody else's. */
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*does not have it open*");
    expect_tap(f, "hn1: index=0,type=tap,ifname=", "lo", "\\r\\n", NULL);
    g_test_assert_expected_messages();
    if (fd < 0) {
        g_test_skip("no tap can be made here (/dev/net/tun, CAP_NET_ADMIN)");
        return;
    }
    number = g_strdup_printf("%d", fd);
    expect_tap(f, "hn1: index=0,type=tap,ifname=", name, ",script=no,downscript=no\\r\\n", name);
    expect_tap(f, "st0: index=0,type=nic,model=x\\r\\n \\\\ hn1: index=0,type=tap,ifname=", name,
               ",script=no\\r\\n", name);
    expect_tap(f, "hn1: index=0,type=tap,fd=", number, "\\r\\n", name);
    expect_tap(f, "hn11: index=0,type=tap,ifname=", name, "\\r\\n", NULL);
    expect_tap(f, "hn1: index=0,type=hubport,ifname=", name, "\\r\\n", NULL);
    expect_tap(f, "hn1: index=0,type=tap,fd=", "0", "\\r\\n", NULL);
    close(fd);
}

static gboolean succeeds(const char *command)
{
    int status = -1;

    return g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) && status == 0;
}

/* A macvtap, in this process's own network namespace and sysfs; its device open; -1: cannot be. */
static int open_macvtap(char *node)
{
    static const char read_number[] = "sh -c 'cat /sys/class/net/standby0/macvtap/tap*/dev'";
    g_autofree char *number = NULL;
    unsigned int device_major, device_minor;
    int fd;

    if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) != 0)
        return -1;
    if (!succeeds("ip link add pf0 type veth peer name pf1") ||
        !succeeds("ip link add link pf0 name standby0 type macvtap mode vepa"))
        return -1;
    g_assert_true(g_spawn_command_line_sync(read_number, &number, NULL, NULL, NULL));
    g_assert_cmpint(sscanf(number, "%u:%u", &device_major, &device_minor), ==, 2);
    g_assert_nonnull(mkdtemp(node));
    strcat(node, "/tap");
    g_assert_cmpint(mknod(node, S_IFCHR | 0600, makedev(device_major, device_minor)), ==, 0);
    fd = open(node, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* In a process of its own, for the namespaces. */
static void test_inspect_macvtap(Fixture *f, gconstpointer data)
{
    char node[32] = "/tmp/vfo-macvtap-XXXXXX";
    g_autofree char *number = NULL;
    g_autofree char *directory = NULL;
    int fd;

    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
        g_test_trap_assert_passed();
        return;
    }
    fd = open_macvtap(node);
    if (fd < 0) {
        g_test_skip("no macvtap can be made here (CONFIG_MACVTAP, CAP_NET_ADMIN)");
        return;
    }
    number = g_strdup_printf("%d", fd);
    expect_tap(f, "hn1: index=0,type=tap,fd=", number, "\\r\\n", "standby0");
    g_assert_true(succeeds("ip link set standby0 name other0"));
    expect_tap(f, "hn1: index=0,type=tap,fd=", number, "\\r\\n", "other0");
    /* Another character device. */
    close(fd);
    g_assert_cmpint(open("/dev/null", O_RDWR | O_CLOEXEC), ==, fd);
    expect_tap(f, "hn1: index=0,type=tap,fd=", number, "\\r\\n", NULL);
    close(fd);
    unlink(node);
    directory = g_path_get_dirname(node);
    rmdir(directory);
}

/* ----------------------------------------------------------- unplug and plug */

static void test_unplug(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, "device_del", "return {}");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    wait_for_command(f, "device_del {\"id\":\"vf0\"}");
    fake_event(f->fake, "DEVICE_DELETED", "{\"path\": \"/x\"}");
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"other\", \"path\": \"/x\"}");
    expect_nothing(f);
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    expect_done(f);
}

static void test_unplug_answers(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    /* The event overtakes the answer. */
    fake_script(f->fake, "device_del",
                "event DEVICE_DELETED {\"device\": \"vf0\", \"path\": \"/x\"}\nreturn {}");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    expect_done(f);

    fake_script(f->fake, "device_del",
                "error GenericError Device vf0 is already in the process of unplug");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    run_for(20);
    g_assert_null(f->result);
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    expect_done(f);

    fake_script(f->fake, "device_del", NOT_FOUND);
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    expect_done(f);

    fake_script(f->fake, "device_del", "error GenericError Hot-unplug failed: guest is busy");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "guest is busy");

    fake_script(f->fake, "device_del", "return {}");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    run_for(10);
    fake_event(f->fake, "DEVICE_UNPLUG_GUEST_ERROR", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    expect_error(f, VFO_ERROR_FAILED, "the guest refuses");

    g_clear_pointer(&pair->primary, g_free);
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    expect_done(f);
}

static void test_unplug_ends(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, "device_del", "return {}");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    wait_for_command(f, "device_del");
    cancel_and_check(f);
    /* Too late: nobody waits any more. */
    fake_event(f->fake, "DEVICE_DELETED", "{\"device\": \"vf0\", \"path\": \"/x\"}");
    run_for(10);
    g_assert_cmpuint(f->results, ==, 1);

    f->vm->ops->unplug(f->vm, pair, new_task(f));
    wait_for_command(f, "device_del");
    run_for(10);
    fake_close(f->fake);
    expect_error(f, VFO_ERROR_CLOSED, "cannot unplug the primary 'vf0' of VM 'web1'");
}

/* Cancelled before it was begun, and while a command is in flight. */
static void test_unplug_cancelled_early(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();
    GTask *task = new_task(f);

    g_cancellable_cancel(f->cancellable);
    f->vm->ops->unplug(f->vm, pair, task);
    cancel_and_check(f);
    g_assert_cmpuint(fake_count(f->fake, "device_del"), ==, 0);

    fake_script(f->fake, "device_del", "");
    f->vm->ops->unplug(f->vm, pair, new_task(f));
    wait_for_command(f, "device_del");
    cancel_and_check(f);
}

static void test_unplug_removed(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();
    g_autoptr(VfoVm) vm = vfo_vm_ref(f->vm);

    fake_script(f->fake, "device_del", "return {}");
    vm->ops->unplug(vm, pair, new_task(f));
    wait_for_command(f, "device_del");
    g_unlink(f->fake->path);
    expect_error(f, VFO_ERROR_CLOSED, "has gone");
    vm->ops->unplug(vm, pair, new_task(f));
    expect_error(f, VFO_ERROR_CLOSED, "has gone");
}

static void test_plug(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();
    guint n_looks;

    fake_script(f->fake, "device_add", "return {}");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "device_add {\"driver\":\"vfio-pci\",\"id\":\"vf0\","
                                         "\"host\":\"0000:01:10.2\",\"bus\":\"root1\","
                                         "\"failover_pair_id\":\"st0\",\"rombar\":0}"),
                     ==, 1);
    /* QEMU sends no event for it: without a look what is shown of the VM would be old. */
    n_looks = fake_count(f->fake, "query-status");
    WAIT_UNTIL(fake_count(f->fake, "query-status") > n_looks);

    fake_script(f->fake, "x-query-virtio-status " DEV "/st0/virtio-backend",
                "return {\"guest-features\": {\"dev-features\": [\"VIRTIO_NET_F_MAC: x\", "
                "\"VIRTIO_NET_F_STANDBY: y\"]}}");
    pair->rombar = TRUE;
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "device_add"), ==, 2);
}

static void test_plug_refused(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, "x-query-virtio-status " DEV "/st0/virtio-backend",
                "return {\"guest-features\": {\"dev-features\": [\"VIRTIO_NET_F_MAC: x\"]}}");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_error(f, VFO_ERROR_NOT_SUPPORTED, "VIRTIO_NET_F_STANDBY");
    g_assert_cmpuint(fake_count(f->fake, "device_add"), ==, 0);

    /* Hidden: success, but the device is not there. */
    fake_script(f->fake, "x-query-virtio-status " DEV "/st0/virtio-backend",
                "error CommandNotFound nope");
    fake_script(f->fake, "device_add", "return {}");
    fake_script(f->fake, "qom-list " DEV, "return [" LIST_OTHERS ", " LIST_STANDBY "]");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_error(f, VFO_ERROR_NOT_SUPPORTED, "VIRTIO_NET_F_STANDBY");

    fake_script(f->fake, "device_add", "error GenericError vfio 0000:01:10.2: no iommu_group");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "no iommu_group");

    f->vm->ops->plug(f->vm, pair, "0000:01:10.2,x=y", new_task(f));
    expect_error(f, VFO_ERROR_INVALID, "PCI address");
    g_clear_pointer(&pair->bus, g_free);
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_error(f, VFO_ERROR_INVALID, "free PCIe bus");
}

static void test_plug_cancelled(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, "device_add", ""); /* it pins memory */
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    wait_for_command(f, "device_add");
    cancel_and_check(f);
    fake_play(f->fake, "return {}"); /* the late answer harms nobody */
    run_for(10);
    fake_script(f->fake, "device_add", "return {}");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_done(f);
}

#define PREPARE "query-virtio-net-failover"

static void test_prepare(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, PREPARE,
                "return [{\"standby\": \"other\", \"prepare\": false, \"replug\": \"auto\"}, "
                "{\"standby\": \"st0\", \"prepare\": true, \"replug\": \"manual\"}]");
    fake_script(f->fake, "device_add", "return {}");
    f->vm->ops->prepare(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "device_add {\"driver\":\"vfio-pci\",\"id\":\"vf0\","
                                         "\"host\":\"0000:01:10.2\""),
                     ==, 1);

    pair->prepared = TRUE;
    fake_script(f->fake, "virtio-net-failover-replug", "return {}");
    f->vm->ops->plug(f->vm, pair, "0000:01:10.2", new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "virtio-net-failover-replug {\"standby\":\"st0\"}"), ==,
                     1);
    g_assert_cmpuint(fake_count(f->fake, "device_add"), ==, 1);
}

static void test_prepare_refused(Fixture *f, gconstpointer data)
{
    static const char *const answers[] = {
        "return [{\"standby\": \"st0\", \"prepare\": true, \"replug\": \"auto\"}]",
        "return [{\"standby\": \"st0\", \"prepare\": false, \"replug\": \"manual\"}]",
        "return [{\"standby\": \"st0\", \"prepare\": 1}]",
        "return [{\"standby\": \"other\", \"prepare\": true, \"replug\": \"manual\"}, 5, null]",
        "return {}",
        "error CommandNotFound nope",
    };
    g_autoptr(VfoPair) pair = a_pair();

    for (gsize i = 0; i < G_N_ELEMENTS(answers); i++) {
        fake_script(f->fake, PREPARE, answers[i]);
        f->vm->ops->prepare(f->vm, pair, "0000:01:10.2", new_task(f));
        expect_error(f, VFO_ERROR_NOT_SUPPORTED, "0000:01:10.2");
    }
    g_assert_cmpuint(fake_count(f->fake, "device_add"), ==, 0);
}

static void test_announce(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoPair) pair = a_pair();

    fake_script(f->fake, "announce-self", "return {}");
    f->vm->ops->announce(f->vm, pair, new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "announce-self {\"initial\":50,\"max\":550,\"rounds\":5,"
                                         "\"step\":100,\"interfaces\":[\"st0\"],\"id\":\"st0\"}"),
                     ==, 1);
    fake_script(f->fake, "announce-self", "error GenericError no");
    f->vm->ops->announce(f->vm, pair, new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "cannot announce the standby 'st0'");
}

/* -------------------------------------------------------------- destination */

static char *expect_uri(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    char *uri;

    WAIT_UNTIL(f->result);
    uri = g_task_propagate_pointer(f->result, &error);
    g_assert_no_error(error);
    return uri;
}

static void test_listen(Fixture *f, gconstpointer data)
{
    g_autofree char *uri = NULL, *again = NULL, *six = NULL;

    fake_script(f->fake, "migrate-incoming", "event MIGRATION {\"status\": \"setup\"}\nreturn {}");
    fake_script(f->fake, "query-migrate",
                "return {\"status\": \"setup\", \"socket-address\": [{\"type\": \"inet\", "
                "\"host\": \"10.8.0.2\", \"port\": \"49153\"}]}");
    f->vm->ops->listen(f->vm, "10.8.0.2", "49152-49215", new_task(f));
    uri = expect_uri(f);
    g_assert_cmpstr(uri, ==, "tcp:10.8.0.2:49153");
    g_assert_cmpuint(
        fake_count(f->fake, "migrate-incoming {\"uri\":\"tcp:10.8.0.2:49152,to=49215\"}"), ==, 1);
    g_assert_false(f->vm->ops->incoming_began(f->vm));

    fake_script(f->fake, "migrate-incoming",
                "error GenericError The incoming migration has already been started");
    f->vm->ops->listen(f->vm, "10.8.0.2", "49152-49215", new_task(f));
    again = expect_uri(f);
    g_assert_cmpstr(again, ==, uri);

    fake_script(f->fake, "migrate-incoming", "return {}");
    fake_script(f->fake, "query-migrate", "return {\"status\": \"setup\"}");
    f->vm->ops->listen(f->vm, "fd00::2", "49152", new_task(f));
    six = expect_uri(f);
    g_assert_cmpstr(six, ==, "tcp:[fd00::2]:49152");
}

static void test_listen_errors(Fixture *f, gconstpointer data)
{
    static const char *const bad[][2] = {
        {"", "49152"},       {"10.8.0.2,to=1", "49152"}, {"10.8.0.2", ""},      {"10.8.0.2", "0"},
        {"10.8.0.2", "2-1"}, {"10.8.0.2", "1-65536"},    {"10.8.0.2", "1-2-3"}, {"10.8.0.2", "x"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        f->vm->ops->listen(f->vm, bad[i][0], bad[i][1], new_task(f));
        expect_error(f, VFO_ERROR_INVALID, "ports such as");
    }
    fake_script(f->fake, "migrate-incoming",
                "error GenericError Failed to find an available port: Address already in use");
    f->vm->ops->listen(f->vm, "10.8.0.2", "49152-49153", new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "Address already in use");
    fake_script(f->fake, "query-status", RUNNING);
    f->vm->ops->listen(f->vm, "10.8.0.2", "49152-49153", new_task(f));
    expect_error(f, VFO_ERROR_BUSY, "-incoming defer");
}

static void test_resumed(Fixture *f, gconstpointer data)
{
    f->vm->ops->resumed(f->vm, new_task(f));
    fake_event(f->fake, "MIGRATION", "{\"status\": \"setup\"}");
    expect_nothing(f);
    g_assert_false(f->vm->ops->incoming_began(f->vm));
    fake_event(f->fake, "MIGRATION", "{\"status\": \"active\"}");
    expect_nothing(f);
    g_assert_true(f->vm->ops->incoming_began(f->vm));
    fake_event(f->fake, "RESUME", "{}");
    expect_done(f);

    /* The event came before the op. */
    fake_script(f->fake, "query-status", RUNNING);
    f->vm->ops->resumed(f->vm, new_task(f));
    expect_done(f);
    g_assert_true(f->vm->ops->incoming_began(f->vm));
}

static void test_resumed_paused(Fixture *f, gconstpointer data)
{
    f->vm->ops->resumed(f->vm, new_task(f));
    fake_event(f->fake, "MIGRATION", "{\"status\": \"active\"}");
    expect_nothing(f);
    fake_script(f->fake, "query-status", "return {\"status\": \"paused\", \"running\": false}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"completed\"}");
    expect_done(f);
}

static void test_resumed_fails(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "query-migrate",
                "return {\"status\": \"failed\", \"error-desc\": \"bad\\nsection\"}");
    f->vm->ops->resumed(f->vm, new_task(f));
    expect_nothing(f);
    fake_event(f->fake, "MIGRATION", "{\"status\": \"failed\"}");
    expect_error(f, VFO_ERROR_FAILED, "the migration failed: bad section");
    f->vm->ops->resumed(f->vm, new_task(f)); /* it failed before the op */
    expect_error(f, VFO_ERROR_FAILED, "the migration failed");
}

static void test_resumed_exits(Fixture *f, gconstpointer data)
{
    f->vm->ops->resumed(f->vm, new_task(f));
    expect_nothing(f);
    fake_close(f->fake); /* exit-on-error */
    expect_error(f, VFO_ERROR_CLOSED, "cannot wait for VM 'web1' to run here");
}

/* ------------------------------------------------------------------- source */

#define FIGURES                                                                                    \
    "\"total-time\": 1200, \"ram\": {\"transferred\": 100, \"remaining\": 50, \"total\": 150, "    \
    "\"mbps\": 12.5}"

static void start_migration(Fixture *f, guint64 bandwidth, guint downtime)
{
    fake_script(f->fake, "migrate-set-parameters", "return {}");
    fake_script(f->fake, "migrate", "event MIGRATION {\"status\": \"setup\"}\nreturn {}");
    fake_script(f->fake, "query-migrate", "return {\"status\": \"active\", " FIGURES "}");
    f->vm->ops->migrate(f->vm, "tcp:10.8.0.2:49152", bandwidth, downtime, new_task(f));
    wait_for_command(f, "migrate {\"uri\":\"tcp:10.8.0.2:49152\"}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"active\"}");
    expect_nothing(f);
}

static void test_migrate(Fixture *f, gconstpointer data)
{
    VfoProgress progress;

    start_migration(f, 1000000, 300);
    g_assert_cmpuint(fake_count(f->fake, "migrate-set-parameters {\"max-bandwidth\":1000000,"
                                         "\"downtime-limit\":300}"),
                     ==, 1);
    WAIT_UNTIL(f->moved);
    f->vm->ops->progress(f->vm, &progress);
    g_assert_cmpuint(progress.transferred, ==, 100);
    g_assert_cmpuint(progress.remaining, ==, 50);
    g_assert_cmpuint(progress.total, ==, 150);
    g_assert_cmpfloat(progress.mbps, ==, 12.5);
    g_assert_cmpuint(progress.total_ms, ==, 1200);
    fake_event(f->fake, "STOP", "{}");
    expect_done(f);

    f->vm->ops->completed(f->vm, new_task(f));
    expect_nothing(f);
    fake_script(f->fake, "query-migrate",
                "return {\"status\": \"completed\", \"downtime\": 42, " FIGURES "}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"completed\"}");
    expect_done(f);
    f->vm->ops->progress(f->vm, &progress);
    g_assert_cmpuint(progress.downtime_ms, ==, 42);
    f->vm->ops->completed(f->vm, new_task(f)); /* the event came before the op */
    expect_done(f);
}

static void test_migrate_fails(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "migrate", "error GenericError bad uri");
    f->vm->ops->migrate(f->vm, "nowhere", 0, 0, new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "cannot migrate VM 'web1' to nowhere");
    g_assert_cmpuint(fake_count(f->fake, "migrate-set-parameters"), ==, 0);

    start_migration(f, 0, 0);
    fake_script(f->fake, "query-migrate",
                "return {\"status\": \"failed\", \"error-desc\": \"Connection refused\"}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"failed\"}");
    expect_error(f, VFO_ERROR_FAILED, "the migration failed: Connection refused");
    f->vm->ops->completed(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_FAILED, "the migration failed: Connection refused");

    start_migration(f, 0, 0);
    fake_event(f->fake, "MIGRATION", "{\"status\": \"cancelled\"}");
    expect_error(f, VFO_ERROR_FAILED, "the migration was cancelled");

    start_migration(f, 0, 0);
    fake_close(f->fake);
    expect_error(f, VFO_ERROR_CLOSED, "QEMU");
}

static void test_completed_none(Fixture *f, gconstpointer data)
{
    f->vm->ops->completed(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_FAILED, "none has begun");
}

static void test_cancel_none(Fixture *f, gconstpointer data)
{
    f->vm->ops->cancel(f->vm, new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "migrate_cancel"), ==, 0);
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    start_migration(f, 0, 0);
    cancel_and_check(f);
    fake_script(f->fake, "migrate_cancel",
                "event MIGRATION {\"status\": \"cancelling\"}\nreturn {}");
    fake_script(f->fake, "query-migrate", "return {\"status\": \"cancelling\"}");
    /* Not yet cancelling when it is asked for the first time. */
    f->vm->ops->cancel(f->vm, new_task(f));
    run_for(20);
    g_assert_null(f->result);
    g_assert_cmpuint(fake_count(f->fake, "migrate_cancel"), ==, 1);
    fake_event(f->fake, "MIGRATION", "{\"status\": \"cancelled\"}");
    expect_done(f);
}

/* It had stopped for the switch-over; QEMU resumes it. */
static void test_cancel_late(Fixture *f, gconstpointer data)
{
    start_migration(f, 0, 0);
    fake_event(f->fake, "STOP", "{}");
    expect_done(f);
    fake_script(f->fake, "migrate_cancel", "return {}");
    fake_script(f->fake, "query-status",
                "return {\"status\": \"finish-migrate\", \"running\": false}");
    f->vm->ops->cancel(f->vm, new_task(f));
    run_for(20);
    fake_event(f->fake, "MIGRATION", "{\"status\": \"cancelled\"}");
    expect_nothing(f);
    fake_event(f->fake, "RESUME", "{}");
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "cont"), ==, 0);
}

/* The migration failed and left the VM paused. */
static void test_cancel_paused(Fixture *f, gconstpointer data)
{
    start_migration(f, 0, 0);
    fake_event(f->fake, "STOP", "{}");
    expect_done(f);
    fake_script(f->fake, "query-migrate", "return {\"status\": \"failed\"}");
    fake_script(f->fake, "query-status", "return {\"status\": \"paused\", \"running\": false}");
    fake_script(f->fake, "cont", "return {}");
    f->vm->ops->cancel(f->vm, new_task(f));
    expect_done(f);
    g_assert_cmpuint(fake_count(f->fake, "cont"), ==, 1);
}

static void test_cancel_completed(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "query-migrate", "return {\"status\": \"completed\"}");
    fake_script(f->fake, "query-status",
                "return {\"status\": \"postmigrate\", \"running\": false}");
    f->vm->ops->cancel(f->vm, new_task(f));
    expect_error(f, VFO_ERROR_FAILED, "it has completed");
    /* That one came from elsewhere, and brought the VM here. */
    fake_script(f->fake, "query-status", RUNNING);
    f->vm->ops->cancel(f->vm, new_task(f));
    expect_done(f);
}

/* The daemon was started while a migration was under way. */
static void test_late_daemon(Fixture *f, gconstpointer data)
{
    fake_script(f->fake, "migrate-set-capabilities",
                "error GenericError There's a migration process in progress");
    fake_script(f->fake, "query-migrate", "return {\"status\": \"active\"}");
    fake_close(f->fake);
    WAIT_UNTIL(fake_count(f->fake, "query-migrate") == 1);
    run_for(10);
    f->vm->ops->completed(f->vm, new_task(f));
    expect_nothing(f);
    fake_script(f->fake, "query-migrate", "return {\"status\": \"completed\"}");
    fake_event(f->fake, "MIGRATION", "{\"status\": \"completed\"}");
    expect_done(f);
    /* Events are asked for again before the next one. */
    f->vm->ops->migrate(f->vm, "tcp:h:1", 0, 0, new_task(f));
    expect_error(f, VFO_ERROR_QMP_GENERIC, "in progress");
    g_assert_cmpuint(fake_count(f->fake, "migrate "), ==, 0);
}

#define TEST(path, function) g_test_add(path, Fixture, NULL, set_up, function, tear_down)
#define TEST_INCOMING(path, function)                                                              \
    g_test_add(path, Fixture, INMIGRATE, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST("/vm/inspect/all", test_inspect);
    TEST("/vm/inspect/unplugged", test_inspect_unplugged);
    TEST("/vm/inspect/replaced", test_inspect_replaced);
    TEST("/vm/inspect/emulated", test_inspect_emulated);
    TEST("/vm/inspect/refreshes", test_inspect_refreshes);
    TEST("/vm/inspect/hostile", test_inspect_hostile);
    TEST("/vm/inspect/too-many", test_inspect_too_many);
    TEST("/vm/inspect/vanishing", test_inspect_vanishing);
    TEST("/vm/inspect/lost", test_inspect_lost);
    TEST("/vm/inspect/tap", test_inspect_tap);
    TEST("/vm/inspect/macvtap", test_inspect_macvtap);
    TEST("/vm/unplug/deleted", test_unplug);
    TEST("/vm/unplug/answers", test_unplug_answers);
    TEST("/vm/unplug/ends", test_unplug_ends);
    TEST("/vm/unplug/cancelled-early", test_unplug_cancelled_early);
    TEST("/vm/unplug/removed", test_unplug_removed);
    TEST("/vm/plug/done", test_plug);
    TEST("/vm/plug/refused", test_plug_refused);
    TEST("/vm/plug/cancelled", test_plug_cancelled);
    TEST("/vm/prepare/good", test_prepare);
    TEST("/vm/prepare/refused", test_prepare_refused);
    TEST("/vm/announce", test_announce);
    TEST_INCOMING("/vm/listen/done", test_listen);
    TEST_INCOMING("/vm/listen/errors", test_listen_errors);
    TEST_INCOMING("/vm/resumed/done", test_resumed);
    TEST_INCOMING("/vm/resumed/paused", test_resumed_paused);
    TEST_INCOMING("/vm/resumed/fails", test_resumed_fails);
    TEST_INCOMING("/vm/resumed/exits", test_resumed_exits);
    TEST("/vm/migrate/done", test_migrate);
    TEST("/vm/migrate/fails", test_migrate_fails);
    TEST("/vm/completed/none", test_completed_none);
    TEST("/vm/cancel/none", test_cancel_none);
    TEST("/vm/cancel/under-way", test_cancel);
    TEST("/vm/cancel/late", test_cancel_late);
    TEST("/vm/cancel/paused", test_cancel_paused);
    TEST("/vm/cancel/completed", test_cancel_completed);
    TEST("/vm/late-daemon", test_late_daemon);
    return g_test_run();
}
