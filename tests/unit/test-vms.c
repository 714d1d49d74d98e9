/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-qemu.h"

#include "vm/vm.h"

#include <string.h>

typedef struct {
    char *directory;
    VfoVms *vms;
    GString *signals; /* "+web1 -web1 " */
} Fixture;

static void on_added(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "+%s ", vm->name);
}

static void on_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_string_append_printf(data, "-%s ", vm->name);
}

static char *path_of(const Fixture *f, const char *file)
{
    return g_build_filename(f->directory, file, NULL);
}

static void put_file(const Fixture *f, const char *file)
{
    g_autofree char *path = path_of(f, file);

    g_assert_true(g_file_set_contents(path, "", 0, NULL));
}

static void remove_file(const Fixture *f, const char *file)
{
    g_autofree char *path = path_of(f, file);

    g_assert_cmpint(g_unlink(path), ==, 0);
}

static FakeQemu *put_qemu(const Fixture *f, const char *file)
{
    g_autofree char *path = path_of(f, file);
    FakeQemu *fake = fake_new(path);

    fake_script(fake, "query-status", "return {\"status\": \"running\", \"running\": true}");
    fake_script(fake, "query-migrate", "return {}");
    fake_script(fake, "migrate-set-capabilities", "return {}");
    fake_script(fake, "qom-get /machine type", "return \"pc-q35-10.0-machine\"");
    fake_script(fake, "qom-list /machine/peripheral", "return []");
    return fake;
}

static void watch(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    f->vms = vfo_vms_new(f->directory, &error);
    g_assert_no_error(error);
    g_signal_connect(f->vms, "added", G_CALLBACK(on_added), f->signals);
    g_signal_connect(f->vms, "removed", G_CALLBACK(on_removed), f->signals);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->directory = g_dir_make_tmp("vms-XXXXXX", NULL);
    f->signals = g_string_new(NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_autoptr(GDir) directory = NULL;
    const char *name;

    g_clear_object(&f->vms);
    run_for(5);
    directory = g_dir_open(f->directory, 0, NULL);
    while (directory && (name = g_dir_read_name(directory)))
        remove_file(f, name);
    g_rmdir(f->directory);
    g_free(f->directory);
    g_string_free(f->signals, TRUE);
}

static void test_directory_is_made(Fixture *f, gconstpointer data)
{
    GStatBuf made;

    g_rmdir(f->directory);
    watch(f);
    g_assert_cmpint(g_stat(f->directory, &made), ==, 0);
    g_assert_cmpint(made.st_mode & 07777, ==, 0700);
}

static void test_no_directory(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vfo_vms_new("/dev/null/vms", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "/dev/null/vms"));
}

static void test_names(Fixture *f, gconstpointer data)
{
    g_autofree char *longest = g_strnfill(64, 'a');
    g_autofree char *longest_file = g_strconcat(longest, ".sock", NULL);
    g_autofree char *too_long = g_strconcat(longest, "a.sock", NULL);
    g_autoptr(GPtrArray) list = NULL;
    const char *const good[] = {"db.2_x-Y", "web1", longest};

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*ignored*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*ignored*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*ignored*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*ignored*");
    put_file(f, "web1.sock");
    put_file(f, "db.2_x-Y.sock");
    put_file(f, longest_file);
    put_file(f, too_long);
    put_file(f, ".sock");
    put_file(f, "a b.sock");
    put_file(f, "web1.pid");
    watch(f);
    g_test_assert_expected_messages();
    list = vfo_vms_list(f->vms);
    g_assert_cmpuint(list->len, ==, 3);
    /* Sorted by strcmp(). */
    g_assert_cmpstr(((VfoVm *)list->pdata[0])->name, ==, longest);
    g_assert_cmpstr(((VfoVm *)list->pdata[1])->name, ==, good[0]);
    g_assert_cmpstr(((VfoVm *)list->pdata[2])->name, ==, good[1]);
}

static void test_come_and_go(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) none = NULL;

    put_file(f, "old.sock");
    watch(f);
    g_assert_cmpstr(f->signals->str, ==, ""); /* listed, not told */
    put_file(f, "new.sock");
    WAIT_UNTIL(strstr(f->signals->str, "+new "));
    remove_file(f, "old.sock");
    remove_file(f, "new.sock");
    WAIT_UNTIL(strstr(f->signals->str, "-new "));
    g_assert_cmpstr(f->signals->str, ==, "+new -old -new ");
    none = vfo_vms_list(f->vms);
    g_assert_cmpuint(none->len, ==, 0);
}

static void test_get(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) absent = NULL;
    g_autoptr(GError) silent = NULL;
    g_autoptr(GError) bad = NULL;
    g_autofree char *socket = path_of(f, "x.sock");
    FakeQemu *fake;

    put_file(f, "dead.sock");
    watch(f);
    fake = put_qemu(f, "live.sock");
    WAIT_UNTIL(vfo_vms_get(f->vms, "live", NULL));
    g_assert_null(vfo_vm_state(vfo_vms_get(f->vms, "live", NULL)));

    g_assert_null(vfo_vms_get(f->vms, "x", &absent));
    g_assert_error(absent, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(absent->message, "no VM is called 'x' (VMs here: dead, live)"));
    g_assert_nonnull(strstr(absent->message, socket));

    g_assert_null(vfo_vms_get(f->vms, "dead", &silent));
    g_assert_error(silent, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(silent->message, "VM 'dead' does not answer on "));

    g_assert_null(vfo_vms_get(f->vms, "../x", &bad));
    g_assert_error(bad, VFO_ERROR, VFO_ERROR_INVALID);
    fake_free(fake);
}

/* QEMU is started anew under the same name, also when the old one left its socket behind. */
static void test_restart(Fixture *f, gconstpointer data)
{
    FakeQemu *fake;
    VfoVm *vm;

    watch(f);
    fake = put_qemu(f, "web1.sock");
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
    fake_close(fake);
    WAIT_UNTIL(!vfo_vms_get(f->vms, "web1", NULL));
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL)); /* reconnected: the VM is the same */
    g_assert_cmpstr(f->signals->str, ==, "+web1 ");

    vm = vfo_vm_ref(vfo_vms_get(f->vms, "web1", NULL));
    fake_free(fake);
    WAIT_UNTIL(strstr(f->signals->str, "-web1"));
    g_assert_error(vfo_vm_state(vm), VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_nonnull(strstr(vfo_vm_state(vm)->message, "web1"));

    fake = put_qemu(f, "web1.sock");
    WAIT_UNTIL(vfo_vms_get(f->vms, "web1", NULL));
    g_assert_true(vfo_vms_get(f->vms, "web1", NULL) != vm);
    g_assert_cmpstr(f->signals->str, ==, "+web1 -web1 +web1 ");
    vfo_vm_unref(vm);
    fake_free(fake);
}

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    g_assert_nonnull(vfo_vm_cached(vm));
    g_string_append_printf(data, "?%s:%s ", vm->name, vfo_vm_cached(vm)->status);
}

static void test_inspected(Fixture *f, gconstpointer data)
{
    FakeQemu *fake;

    watch(f);
    g_signal_connect(f->vms, "inspected", G_CALLBACK(on_inspected), f->signals);
    fake = put_qemu(f, "web1.sock");
    WAIT_UNTIL(strstr(f->signals->str, "?web1:running "));
    fake_script(fake, "query-status", "return {\"status\": \"paused\", \"running\": false}");
    vfo_vm_refresh(vfo_vms_get(f->vms, "web1", NULL));
    WAIT_UNTIL(strstr(f->signals->str, "?web1:paused "));
    /* One that has gone is not. */
    vfo_vm_refresh(vfo_vms_get(f->vms, "web1", NULL));
    fake_free(fake);
    WAIT_UNTIL(strstr(f->signals->str, "-web1"));
    run_for(600);
    g_assert_cmpstr(f->signals->str, ==, "+web1 ?web1:running ?web1:paused -web1 ");
}

static void on_met(VfoVms *vms, VfoVm *none, gpointer data)
{
    g_assert_null(none);
    g_string_append(data, "met ");
}

static gboolean is_met(const Fixture *f)
{
    g_autoptr(GError) unmet = vfo_vms_unmet(f->vms);

    return !unmet;
}

/* A QEMU that was killed has left it. */
static void put_dead_socket(const Fixture *f, const char *file)
{
    g_autofree char *path = path_of(f, file);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GSocket) dead =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL);

    g_assert_true(g_socket_bind(dead, address, FALSE, NULL));
}

/* Whose VFs nobody knows: of a QEMU that has not been looked at; not of one that has ended. */
static void test_unmet(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    FakeQemu *fake = put_qemu(f, "web1.sock");

    put_dead_socket(f, "dead.sock");
    watch(f);
    g_signal_connect(f->vms, "met", G_CALLBACK(on_met), f->signals);
    error = vfo_vms_unmet(f->vms);
    g_assert_nonnull(strstr(error->message, "has not answered on its QMP socket yet"));
    WAIT_UNTIL(is_met(f));
    g_assert_cmpstr(f->signals->str, ==, "met ");
    /* It does not answer any more: what it has is known. */
    fake_close(fake);
    WAIT_UNTIL(!vfo_vms_get(f->vms, "web1", NULL));
    g_assert_true(is_met(f));
    fake_free(fake);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/vms/directory-is-made", Fixture, NULL, set_up, test_directory_is_made, tear_down);
    g_test_add_func("/vms/no-directory", test_no_directory);
    g_test_add("/vms/names", Fixture, NULL, set_up, test_names, tear_down);
    g_test_add("/vms/come-and-go", Fixture, NULL, set_up, test_come_and_go, tear_down);
    g_test_add("/vms/get", Fixture, NULL, set_up, test_get, tear_down);
    g_test_add("/vms/restart", Fixture, NULL, set_up, test_restart, tear_down);
    g_test_add("/vms/inspected", Fixture, NULL, set_up, test_inspected, tear_down);
    g_test_add("/vms/unmet", Fixture, NULL, set_up, test_unmet, tear_down);
    return g_test_run();
}
