/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to guests that are on their VFs, on a host of a few words. */
#include "core/core.h"

#include <string.h>

#define VF "0000:01:10.0"

typedef struct {
    VfoHost host;
    VfoSteering *steering;
    GString *calls; /* "close vf web1 " */
    VfoMac guest;
    VfoMac vf_mac;
    gboolean unwired;
    gboolean no_bridge;
    gboolean broken;
    VfoVmInfo *info;
    VfoPair *pair;
} Fixture;

static VfoVf *fake_read_vf(VfoHost *host, const char *pci, GError **error)
{
    Fixture *f = (Fixture *)host;
    VfoVf *vf = g_new0(VfoVf, 1);

    g_assert_cmpstr(pci, ==, f->pair->vf);
    vf->pci = g_strdup(pci);
    vf->settings.mac = f->vf_mac;
    vf->settings.vlan = 7;
    return vf;
}

static VfoWire *fake_find_wire(VfoHost *host, const char *tap, const VfoVf *vf,
                               const VfoVfSettings *settings, GError **error)
{
    Fixture *f = (Fixture *)host;
    VfoWire *wire;

    g_assert_cmpuint(settings->vlan, ==, 7);
    g_assert_true(vfo_mac_equal(&settings->mac, &f->guest));
    if (f->unwired) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, "%s is in no bridge", tap);
        return NULL;
    }
    wire = g_new0(VfoWire, 1);
    wire->tap = g_strdup(tap);
    wire->bridge = f->no_bridge ? NULL : g_strdup("br0");
    return wire;
}

static gboolean fake_change(VfoHost *host, const char *what, GError **error)
{
    Fixture *f = (Fixture *)host;

    g_string_append_printf(f->calls, "%s ", what);
    if (f->broken)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "no");
    return !f->broken;
}

static gboolean fake_open_pf(VfoHost *host, const VfoWire *wire, GError **error)
{
    g_assert_cmpstr(wire->tap, ==, "tap0");
    return fake_change(host, "standby", error);
}

static gboolean fake_close_pf(VfoHost *host, const VfoWire *wire, gboolean to_vf, GError **error)
{
    g_assert_cmpstr(wire->tap, ==, "tap0");
    return fake_change(host, to_vf ? "vf" : "gone", error);
}

static const VfoHostOps fake_ops = {
    .read_vf = fake_read_vf,
    .find_wire = fake_find_wire,
    .open_pf = fake_open_pf,
    .close_pf = fake_close_pf,
};

static void set_up(Fixture *f, gconstpointer data)
{
    f->host.ops = &fake_ops;
    f->steering = vfo_steering_new(&f->host);
    f->calls = g_string_new(NULL);
    g_assert_true(vfo_mac_parse("52:54:00:aa:00:10", &f->guest));
    f->vf_mac = f->guest;
    f->info = g_new0(VfoVmInfo, 1);
    f->info->name = g_strdup("web1");
    f->info->status = g_strdup("running");
    f->info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    f->info->free_buses = g_ptr_array_new();
    f->pair = g_new0(VfoPair, 1);
    f->pair->standby = g_strdup("net1");
    f->pair->tap = g_strdup("tap0");
    f->pair->vf = g_strdup(VF);
    f->pair->mac = f->guest;
    g_ptr_array_add(f->info->pairs, f->pair);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_steering_free(f->steering);
    vfo_vm_info_free(f->info);
    g_string_free(f->calls, TRUE);
}

static void set(char **member, const char *value)
{
    g_free(*member);
    *member = g_strdup(value);
}

/* What has been called since the last time. */
static void assert_calls(Fixture *f, const char *calls)
{
    g_assert_cmpstr(f->calls->str, ==, calls);
    g_string_truncate(f->calls, 0);
}

static void see(Fixture *f, const char *calls)
{
    vfo_steering_see(f->steering, f->info);
    assert_calls(f, calls);
}

static void test_life(Fixture *f, gconstpointer data)
{
    set(&f->info->status, "prelaunch");
    see(f, "");
    set(&f->info->status, "running");
    see(f, "vf ");
    see(f, ""); /* once is enough */
    set(&f->pair->vf, "0000:01:10.2");
    see(f, "vf ");
    set(&f->pair->vf, NULL);
    see(f, "standby ");
    see(f, "");
    set(&f->pair->vf, VF);
    see(f, "vf ");
    vfo_steering_gone(f->steering, "web2");
    assert_calls(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "gone ");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "");
}

static void test_not_its_vf(Fixture *f, gconstpointer data)
{
    f->vf_mac.octet[5] ^= 1; /* parked, or not yet the guest's */
    see(f, "");
    f->vf_mac = f->guest;
    see(f, "vf ");
}

/* A guest that has been on its standby all the time is whoever started it's affair. */
static void test_on_standby(Fixture *f, gconstpointer data)
{
    set(&f->pair->vf, NULL);
    see(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "");
}

static void test_elsewhere(Fixture *f, gconstpointer data)
{
    see(f, "vf ");
    set(&f->info->status, "postmigrate");
    see(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "");
}

static void expect_unannounced(void)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                          "VM web1 is being migrated, and no job hands it over*");
}

/* Seen by a daemon that was started in the middle of a migration, or without one at the other end.
 */
static void test_leaving(Fixture *f, gconstpointer data)
{
    f->info->leaving = TRUE;
    expect_unannounced();
    see(f, "standby ");
    see(f, "");
    f->info->leaving = FALSE; /* it was given up */
    see(f, "vf ");
    f->info->leaving = TRUE;
    expect_unannounced();
    see(f, "standby ");
    g_test_assert_expected_messages();
    set(&f->info->status, "paused");
    see(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "gone ");
}

static void test_job(Fixture *f, gconstpointer data)
{
    see(f, "vf ");
    vfo_steering_forget(f->steering, "web1");
    assert_calls(f, "");
    see(f, "vf ");
}

static void test_unwired(Fixture *f, gconstpointer data)
{
    f->unwired = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*web1*" VF "*tap0 is in no bridge*");
    see(f, "");
    see(f, ""); /* said once */
    set(&f->pair->vf, NULL);
    see(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "");
    g_test_assert_expected_messages();
}

static void test_no_bridge(Fixture *f, gconstpointer data)
{
    f->no_bridge = TRUE;
    see(f, "");
    set(&f->pair->vf, NULL);
    see(f, "");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "");
}

static void test_broken(Fixture *f, gconstpointer data)
{
    f->broken = TRUE;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*web1*" VF "*");
    see(f, "vf ");
    see(f, "");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*web1 has gone*");
    vfo_steering_gone(f->steering, "web1");
    assert_calls(f, "gone ");
    g_test_assert_expected_messages();
}

#define ADD(name, test) g_test_add("/steering/" name, Fixture, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("life", test_life);
    ADD("not-its-vf", test_not_its_vf);
    ADD("on-standby", test_on_standby);
    ADD("elsewhere", test_elsewhere);
    ADD("leaving", test_leaving);
    ADD("job", test_job);
    ADD("unwired", test_unwired);
    ADD("no-bridge", test_no_bridge);
    ADD("broken", test_broken);
    return g_test_run();
}
