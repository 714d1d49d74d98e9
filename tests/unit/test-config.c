/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration file: what it sets, and the one line that each mistake gets. */
#include "rooms.h"

#include <glib/gstdio.h>
#include <string.h>

/* The least that is a configuration. */
#define ADDRESS "[migration]\naddress=10.8.0.1\n"
#define LAN     "[network lan]\npf=pf0\nbridge=br0\n"

static char *directory;

static char *write_file(const char *text, gssize length)
{
    char *path = g_build_filename(directory, "test.conf", NULL);

    g_assert_true(g_file_set_contents(path, text, length, NULL));
    return path;
}

static VfoConfig *load(const char *text)
{
    g_autofree char *path = write_file(text, -1);
    GError *error = NULL;
    VfoConfig *config = vfo_config_load(path, &error);

    g_assert_no_error(error);
    g_assert_nonnull(config);
    return config;
}

static void assert_refused(const char *text, gssize length, const char *what)
{
    g_autofree char *path = write_file(text, length);
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoConfig) config = vfo_config_load(path, &error);

    g_assert_null(config);
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, path));
    if (!strstr(error->message, what))
        g_error("'%s' does not name '%s'", error->message, what);
    g_assert_null(strchr(error->message, '\n'));
}

static void test_defaults(void)
{
    g_autoptr(VfoConfig) config = load(ADDRESS LAN);
    VfoPolicy policy;

    vfo_policy_default(&policy);
    g_assert_cmpstr(config->name, ==, g_get_host_name());
    g_assert_cmpstr(config->socket, ==, VFO_CONTROL_SOCKET);
    g_assert_null(config->admin_group);
    g_assert_cmpstr(config->listen, ==, "0.0.0.0");
    g_assert_cmpuint(config->port, ==, 16516);
    g_assert_cmpstr(config->qmp_dir, ==, "/run/vfailover/qmp");
    g_assert_cmpstr(config->state, ==, "/run/vfailover/absences.json");
    g_assert_cmpstr(config->migration_address, ==, "10.8.0.1");
    g_assert_cmpstr(config->migration_ports, ==, "49152-49215");
    g_assert_null(config->libvirt_uri);
    g_assert_cmpstr(config->tls.ca, ==, "/etc/pki/vfailover/cacert.pem");
    g_assert_cmpstr(config->tls.server_cert, ==, "/etc/pki/vfailover/servercert.pem");
    g_assert_cmpstr(config->tls.server_key, ==, "/etc/pki/vfailover/serverkey.pem");
    g_assert_cmpstr(config->tls.client_cert, ==, "/etc/pki/vfailover/clientcert.pem");
    g_assert_cmpstr(config->tls.client_key, ==, "/etc/pki/vfailover/clientkey.pem");
    g_assert_cmpmem(&config->policy, sizeof(policy), &policy, sizeof(policy));
    g_assert_cmpuint(config->networks->len, ==, 1);
    g_assert_cmpuint(config->peers->len, ==, 0);
}

/* A quarantine of the table is left out where its end would reset the VF. */
static void test_resets(void)
{
    g_autoptr(VfoConfig) config = load(ADDRESS LAN "[driver igb]\nresets-vf = vlan\n");
    const VfoQuirks *quirks = g_ptr_array_index(config->quirks, 0);

    g_assert_cmpuint(quirks->quarantine, ==, 0);
}

/* The group alone is enough. */
static void test_libvirt(void)
{
    g_autoptr(VfoConfig) config = load(ADDRESS LAN "[libvirt]\n");

    g_assert_cmpstr(config->libvirt_uri, ==, "qemu:///system");
    g_assert_false(config->libvirt_alone);
    g_assert_true(config->update_definition);
    g_assert_cmpuint(config->hook_ms, ==, 30000);
}

static void test_everything(void)
{
    g_autoptr(VfoConfig) config = load(
        "# a comment\n"
        "[daemon]\nname = hosta\nsocket = /run/x.sock\nadmin-group = kvm\nlisten = 10.8.0.1\n"
        "port = 1\nqmp-dir = /run/qmp\nstate = /run/state\n"
        "[migration]\nports = 1-65535\nmax-bandwidth = 1250000000\ndowntime-limit = 300\n"
        "no-vf = standby-only\n"
        "vf-match = any\n"
        "[libvirt]\nuri = qemu+unix:///system\nno-daemon = allow\nhook-deadline = 2.5\n"
        "update-definition = no\n"
        "[tls]\nca = /1\nserver-cert = /2\nserver-key = /3\nclient-cert = /4\nclient-key = /5\n"
        "[deadlines]\nquery = 0.001\nunplug = 2.5\narrive = 86400\n"
        "[network lan]\npf = pf0; pf1 ;\nbridge = br0\n"
        "[network storage]\npf = pf2\nbridge = br1\ndatapath = bridge\n"
        "[network tap]\npf = pf3\ndatapath = macvtap\n"
        "[network switch]\npf = pf4\nbridge = br2\ndatapath = switchdev\n"
        "[driver igb]\ncannot-set = link-state; min-rate\nring-registers = no\n"
        "[driver new-nic]\nreceive-vector = 5\nvf-counters = no\ncannot-set =\nquarantine-vlan = "
        "4000\n"
        "[driver old-nic]\nquarantine-vlan = 4000\nfilter-entries = 127\n"
        "[driver reset-nic]\nresets-vf = mac; vlan\nreceive-vector = 1\n"
        "[driver third-nic]\nresets-vf = mac\nquarantine-vlan = 4000\nreceive-vector = 1\n"
        "[peer hostb]\nlibvirt-uri = qemu+tcp://hostb/system\n"
        "[peer hostc]\naddress = fd00::3\nport = 65535\n");
    const VfoNetwork *lan, *storage, *tap;
    const VfoQuirks *quirks;
    const VfoPeerAddress *hostb, *hostc;

    g_assert_cmpstr(config->name, ==, "hosta");
    g_assert_cmpstr(config->socket, ==, "/run/x.sock");
    g_assert_cmpstr(config->admin_group, ==, "kvm");
    g_assert_cmpstr(config->listen, ==, "10.8.0.1");
    g_assert_cmpuint(config->port, ==, 1);
    g_assert_cmpstr(config->qmp_dir, ==, "/run/qmp");
    g_assert_cmpstr(config->state, ==, "/run/state");
    g_assert_cmpstr(config->libvirt_uri, ==, "qemu+unix:///system");
    g_assert_true(config->libvirt_alone);
    g_assert_false(config->update_definition);
    g_assert_cmpuint(config->hook_ms, ==, 2500);
    /* where the daemon listens, QEMU does as well */
    g_assert_cmpstr(config->migration_address, ==, "10.8.0.1");
    g_assert_cmpstr(config->migration_ports, ==, "1-65535");
    g_assert_cmpuint(config->policy.max_bandwidth, ==, 1250000000);
    g_assert_cmpuint(config->policy.downtime_limit_ms, ==, 300);
    g_assert_true(config->policy.standby_only);
    g_assert_true(config->policy.any_vf);
    g_assert_cmpstr(config->tls.ca, ==, "/1");
    g_assert_cmpstr(config->tls.server_cert, ==, "/2");
    g_assert_cmpstr(config->tls.server_key, ==, "/3");
    g_assert_cmpstr(config->tls.client_cert, ==, "/4");
    g_assert_cmpstr(config->tls.client_key, ==, "/5");
    g_assert_cmpuint(config->policy.deadline_ms[VFO_DEADLINE_QUERY], ==, 1);
    g_assert_cmpuint(config->policy.deadline_ms[VFO_DEADLINE_UNPLUG], ==, 2500);
    g_assert_cmpuint(config->policy.deadline_ms[VFO_DEADLINE_ARRIVE], ==, 86400000);

    g_assert_cmpuint(config->networks->len, ==, 4);
    lan = g_ptr_array_index(config->networks, 0);
    storage = g_ptr_array_index(config->networks, 1);
    g_assert_cmpstr(lan->name, ==, "lan");
    g_assert_cmpuint(g_strv_length(lan->pfs), ==, 2);
    g_assert_cmpstr(lan->pfs[0], ==, "pf0");
    g_assert_cmpstr(lan->pfs[1], ==, "pf1");
    g_assert_cmpstr(lan->bridge, ==, "br0");
    g_assert_cmpstr(storage->name, ==, "storage");
    g_assert_null(lan->datapath);
    g_assert_cmpstr(storage->datapath, ==, "bridge");
    tap = g_ptr_array_index(config->networks, 2);
    g_assert_cmpstr(tap->datapath, ==, "macvtap");
    g_assert_null(tap->bridge);
    g_assert_cmpstr(((VfoNetwork *)g_ptr_array_index(config->networks, 3))->datapath, ==,
                    "switchdev");

    /* What is not set is as in the table. */
    g_assert_cmpuint(config->quirks->len, ==, 5);
    quirks = g_ptr_array_index(config->quirks, 0);
    g_assert_cmpstr(quirks->driver, ==, "igb");
    g_assert_cmpuint(quirks->cannot_set, ==, VFO_QUIRK_LINK_STATE | VFO_QUIRK_MIN_RATE);
    g_assert_false(quirks->shows_rings);
    g_assert_true(quirks->no_vf_counters);
    g_assert_cmpint(quirks->receive_vector, ==, 1);
    g_assert_cmpuint(quirks->quarantine, ==, 4094);
    quirks = g_ptr_array_index(config->quirks, 1);
    g_assert_cmpuint(quirks->cannot_set, ==, 0);
    g_assert_true(quirks->no_vf_counters);
    g_assert_cmpint(quirks->receive_vector, ==, 5);
    g_assert_cmpuint(quirks->quarantine, ==, 4000);
    quirks = g_ptr_array_index(config->quirks, 2);
    g_assert_cmpuint(quirks->quarantine, ==, 0);
    g_assert_cmpuint(quirks->filter_entries, ==, 127);
    g_assert_false(quirks->mac_resets_vf || quirks->vlan_resets_vf);
    quirks = g_ptr_array_index(config->quirks, 3);
    g_assert_true(quirks->mac_resets_vf && quirks->vlan_resets_vf);
    g_assert_cmpuint(quirks->filter_entries, ==, 0);
    quirks = g_ptr_array_index(config->quirks, 4);
    g_assert_true(quirks->mac_resets_vf && !quirks->vlan_resets_vf);
    g_assert_cmpuint(quirks->quarantine, ==, 4000);

    g_assert_cmpuint(config->peers->len, ==, 2);
    hostb = vfo_config_peer(config, "hostb", NULL);
    hostc = vfo_config_peer(config, "hostc", NULL);
    g_assert_cmpstr(hostb->address, ==, "hostb");
    g_assert_cmpuint(hostb->port, ==, 16516);
    g_assert_cmpstr(hostc->address, ==, "fd00::3");
    g_assert_cmpuint(hostc->port, ==, 65535);
    g_assert_cmpstr(hostb->libvirt_uri, ==, "qemu+tcp://hostb/system");
    g_assert_cmpstr(hostc->libvirt_uri, ==, "qemu+ssh://[fd00::3]/system");
}

static void test_unknown_peer(void)
{
    g_autoptr(VfoConfig) config = load(ADDRESS LAN "[peer hostb]\n[peer hostc]\n");
    g_autoptr(VfoConfig) lonely = load(ADDRESS LAN);
    GError *error = NULL;

    g_assert_null(vfo_config_peer(config, "hostd", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "hostd"));
    g_assert_nonnull(strstr(error->message, "hostb, hostc"));
    g_clear_error(&error);
    g_assert_null(vfo_config_peer(lonely, "hostd", &error));
    g_assert_nonnull(strstr(error->message, "none"));
    g_clear_error(&error);
}

static void test_mistakes(void)
{
    static const struct {
        const char *text;
        const char *names; /* what the error points at */
    } mistakes[] = {
        {"", "[network NAME]"},
        {"# nothing\n", "[network NAME]"},
        {"key=value\n", "cannot be read"},
        {"[daemon\n", "cannot be read"},
        {"[daemon]\nname\n", "cannot be read"},
        {ADDRESS, "[network NAME]"},
        /* groups and keys that there are not */
        {ADDRESS LAN "[demon]\n", "[demon]: there is no such group"},
        {ADDRESS LAN "[network]\n", "[network]: there is no such group"},
        {ADDRESS LAN "[daemon x]\n", "[daemon x]: there is no such group"},
        {ADDRESS LAN "[networks x]\n", "[networks x]: there is no such group"},
        {ADDRESS LAN "[daemon]\nsock=/x\n", "[daemon] sock: there is no such setting"},
        {ADDRESS LAN "[deadlines]\nwait=1\n", "[deadlines] wait: there is no such setting"},
        {ADDRESS LAN "[peer b]\npf=x\n", "[peer b] pf: there is no such setting"},
        /* [daemon] */
        {ADDRESS LAN "[daemon]\nname=a_b\n", "[daemon] name: 'a_b'"},
        {ADDRESS LAN "[daemon]\nname=\n", "[daemon] name"},
        {ADDRESS LAN "[daemon]\nname=-a\n", "[daemon] name"},
        {ADDRESS LAN "[daemon]\nlisten=hosta\n", "[daemon] listen: 'hosta'"},
        {ADDRESS LAN "[daemon]\nport=0\n", "[daemon] port: '0'"},
        {ADDRESS LAN "[daemon]\nport=65536\n", "[daemon] port: '65536'"},
        {ADDRESS LAN "[daemon]\nport=-1\n", "[daemon] port: '-1'"},
        {ADDRESS LAN "[daemon]\nport=1x\n", "[daemon] port: '1x'"},
        {ADDRESS LAN "[daemon]\nport=\n", "[daemon] port"},
        {ADDRESS LAN "[daemon]\nport=99999999999999999999999\n", "[daemon] port"},
        {ADDRESS LAN "[daemon]\nsocket=\n", "[daemon] socket"},
        {ADDRESS LAN "[daemon]\nsocket=x.sock\n", "[daemon] socket: 'x.sock'"},
        {ADDRESS LAN "[daemon]\nqmp-dir=qmp\n", "[daemon] qmp-dir: 'qmp'"},
        {ADDRESS LAN "[daemon]\nstate=\n", "[daemon] state: ''"},
        {ADDRESS LAN "[daemon]\nsocket=/x\\q\n", "[daemon] socket"},
        {ADDRESS LAN "[daemon]\nsocket=/x\xff\n", "[daemon] socket"},
        /* [migration] */
        {LAN, "[migration] address: give the address"},
        {"[daemon]\nlisten=::\n" LAN, "[migration] address: give the address"},
        {"[migration]\naddress=hosta\n" LAN, "[migration] address: 'hosta'"},
        {ADDRESS "ports=49152\n" LAN, "[migration] ports: '49152'"},
        {ADDRESS "ports=2-1\n" LAN, "[migration] ports: '2-1'"},
        {ADDRESS "ports=0-1\n" LAN, "[migration] ports"},
        {ADDRESS "ports=1-65536\n" LAN, "[migration] ports"},
        {ADDRESS "ports=1-2-3\n" LAN, "[migration] ports"},
        {ADDRESS "ports=-\n" LAN, "[migration] ports"},
        {ADDRESS "max-bandwidth=10G\n" LAN, "[migration] max-bandwidth: '10G'"},
        {ADDRESS "downtime-limit=2000001\n" LAN, "[migration] downtime-limit: '2000001'"},
        {ADDRESS "no-vf=maybe\n" LAN, "[migration] no-vf: 'maybe'"},
        {"[daemon]\nguest-mac=maybe\n" ADDRESS LAN, "[daemon] guest-mac: 'maybe'"},
        {"[daemon]\nguest-mac=carry\n" ADDRESS LAN, "by their common MAC"},
        {ADDRESS "vf-match=some\n" LAN, "[migration] vf-match: 'some'"},
        /* [tls] */
        {ADDRESS LAN "[tls]\nca=ca.pem\n", "[tls] ca: 'ca.pem'"},
        {ADDRESS LAN "[tls]\nserver-cert=x\n", "[tls] server-cert"},
        {ADDRESS LAN "[tls]\nserver-key=\n", "[tls] server-key"},
        {ADDRESS LAN "[tls]\nclient-cert=x\n", "[tls] client-cert"},
        {ADDRESS LAN "[tls]\nclient-key=x\n", "[tls] client-key"},
        /* [libvirt] */
        {ADDRESS LAN "[libvirt]\nuri=system\n", "[libvirt] uri: 'system'"},
        {ADDRESS LAN "[libvirt]\nno-daemon=maybe\n", "[libvirt] no-daemon: 'maybe'"},
        {ADDRESS LAN "[libvirt]\nhook-deadline=0\n", "[libvirt] hook-deadline: '0'"},
        {ADDRESS LAN "[libvirt]\nupdate-definition=1\n", "[libvirt] update-definition: '1'"},
        {ADDRESS LAN "[libvirt]\nurl=x\n", "[libvirt] url: there is no such setting"},
        /* [deadlines] */
        {ADDRESS LAN "[deadlines]\nunplug=0\n", "[deadlines] unplug: '0'"},
        {ADDRESS LAN "[deadlines]\nunplug=15s\n", "[deadlines] unplug: '15s'"},
        {ADDRESS LAN "[deadlines]\nunplug=nan\n", "[deadlines] unplug: 'nan'"},
        {ADDRESS LAN "[deadlines]\nunplug=inf\n", "[deadlines] unplug: 'inf'"},
        {ADDRESS LAN "[deadlines]\nunplug=-1\n", "[deadlines] unplug: '-1'"},
        {ADDRESS LAN "[deadlines]\nunplug=86401\n", "[deadlines] unplug: '86401'"},
        {ADDRESS LAN "[deadlines]\nunplug=\n", "[deadlines] unplug"},
        /* [network NAME] */
        {ADDRESS "[network ]\npf=pf0\nbridge=br0\n", "[network ]"},
        {ADDRESS "[network a b]\npf=pf0\nbridge=br0\n", "[network a b]: 'a b'"},
        {ADDRESS LAN "[network  lan]\npf=pf1\nbridge=br0\n", "[network  lan]"},
        {ADDRESS "[network x]\nbridge=br0\n", "[network x] pf"},
        {ADDRESS "[network x]\npf=\nbridge=br0\n", "[network x] pf"},
        {ADDRESS "[network x]\npf=a;;b\nbridge=br0\n", "[network x] pf"},
        {ADDRESS "[network x]\npf=longer-than-15-b\nbridge=br0\n", "[network x] pf"},
        {ADDRESS "[network x]\npf=pf0\n", "[network x] bridge"},
        {ADDRESS "[network x]\npf=pf0\nbridge=longer-than-15-b\n", "[network x] bridge"},
        {ADDRESS LAN "[driver a b]\n", "[driver a b]: 'a b'"},
        {ADDRESS LAN "[driver]\n", "[driver]: there is no such group"},
        {ADDRESS LAN "[driver igb]\ncannot-set = mac\n", "[driver igb] cannot-set: 'mac'"},
        {ADDRESS LAN "[driver igb]\nvf-counters = 1\n", "[driver igb] vf-counters: '1'"},
        {ADDRESS LAN "[driver igb]\nring-registers = on\n", "[driver igb] ring-registers: 'on'"},
        {ADDRESS LAN "[driver x]\nring-registers = yes\n", "[driver x] ring-registers: the reg"},
        {ADDRESS LAN "[driver igb]\nreceive-vector = -1\n", "[driver igb] receive-vector"},
        {ADDRESS LAN "[driver igb]\nquarantine-vlan = 4095\n", "[driver igb] quarantine-vlan"},
        {ADDRESS LAN "[driver igb]\nresets-vf = trust\n", "[driver igb] resets-vf: 'trust'"},
        {ADDRESS LAN "[driver igb]\nfilter-entries = -1\n", "[driver igb] filter-entries"},
        {ADDRESS LAN "[driver igb]\nresets-vf = vlan\nquarantine-vlan = 9\n",
         "[driver igb] quarantine-vlan: this driver resets a VF"},
        {ADDRESS LAN "[driver igb]\nzero-mac = no\n", "[driver igb] zero-mac"},
        {ADDRESS LAN "datapath=ovs\n", "[network lan] datapath: 'ovs'"},
        {ADDRESS LAN "datapath=macvtap\n", "[network lan] bridge: macvtaps"},
        {ADDRESS "[network x]\npf=pf0;pf1\ndatapath=macvtap\n", "[network x] pf: a macvtap"},
        {ADDRESS "[network x]\npf=pf0\ndatapath=switchdev\n", "[network x] bridge"},
        {ADDRESS LAN "[network x]\npf=pf1;pf0\nbridge=br1\n", "[network x] pf: pf0 is in network"},
        /* [peer NAME] */
        {ADDRESS LAN "[peer a/b]\n", "[peer a/b]: 'a/b'"},
        {ADDRESS LAN "[daemon]\nname=a\n[peer a]\n", "[peer a]: this host"},
        {ADDRESS LAN "[peer a]\naddress=a b\n", "[peer a] address: 'a b'"},
        {ADDRESS LAN "[peer a]\nport=http\n", "[peer a] port: 'http'"},
        {ADDRESS LAN "[peer a]\nlibvirt-uri=a b\n", "[peer a] libvirt-uri: 'a b'"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(mistakes); i++)
        assert_refused(mistakes[i].text, -1, mistakes[i].names);
}

static void test_no_file(void)
{
    g_autofree char *path = g_build_filename(directory, "none.conf", NULL);
    GError *error = NULL;

    g_assert_null(vfo_config_load(path, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, path));
    g_clear_error(&error);
    g_assert_null(vfo_config_load(directory, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_clear_error(&error);
}

/* Any bytes are either a configuration or get one line. */
static void test_garbage(void)
{
    static const char valid[] = "[daemon]\nname=a\n" ADDRESS LAN "[peer b]\nport=1\n"
                                "[deadlines]\nunplug=1\n";
    g_autofree char *text = g_malloc(sizeof(valid));

    assert_refused("\0\0\0\0", 4, "[network NAME]");
    for (guint round = 0; round < 2000; round++) {
        g_autofree char *path = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(VfoConfig) config = NULL;

        memcpy(text, valid, sizeof(valid));
        for (gint n = g_test_rand_int_range(1, 4); n > 0; n--)
            text[g_test_rand_int_range(0, sizeof(valid) - 1)] = (char)g_test_rand_int_range(0, 256);
        path = write_file(text, sizeof(valid) - 1);
        config = vfo_config_load(path, &error);
        g_assert_true((config != NULL) == (error == NULL));
        if (error)
            g_assert_null(strchr(error->message, '\n'));
    }
}

int main(int argc, char **argv)
{
    g_autofree char *path = NULL;
    int status;

    g_test_init(&argc, &argv, NULL);
    directory = g_dir_make_tmp("vfailover-config-XXXXXX", NULL);
    g_assert_nonnull(directory);
    g_test_add_func("/config/defaults", test_defaults);
    g_test_add_func("/config/libvirt", test_libvirt);
    g_test_add_func("/config/resets", test_resets);
    g_test_add_func("/config/everything", test_everything);
    g_test_add_func("/config/unknown-peer", test_unknown_peer);
    g_test_add_func("/config/mistakes", test_mistakes);
    g_test_add_func("/config/no-file", test_no_file);
    g_test_add_func("/config/garbage", test_garbage);
    status = g_test_run();
    path = g_build_filename(directory, "test.conf", NULL);
    g_remove(path);
    g_rmdir(directory);
    g_free(directory);
    return status;
}
