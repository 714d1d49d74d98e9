/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host/ against the kernel of this machine, in a network namespace of its own:
 * "pf0" is one end of a veth pair, whose other end "wire" is the physical
 * network; pf0, the tap "tap0" and "nb0" (a neighbour on the same host) are ports of br0.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/events.h"
#include "host/fdb.h"
#include "host/host.h"

static const VfoMac guest = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};
static const VfoVfSettings settings = {.mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}}};
#define GUEST      "52:54:00:aa:00:10"
#define ETHERTYPE  0x88b5 /* IEEE 802: local experiments */
#define SHORTLY_MS 10000

static char *output_of(const char *format, ...) G_GNUC_PRINTF(1, 2);
static char *output_of(const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *command = NULL;
    char *output = NULL;
    va_list arguments;
    int status;

    va_start(arguments, format);
    command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_spawn_command_line_sync(command, &output, NULL, &status, &error);
    g_assert_no_error(error);
    if (!g_spawn_check_wait_status(status, NULL))
        g_error("'%s' failed", command);
    return output;
}

static void run(const char *command)
{
    g_autofree char *output = output_of("%s", command);
}

typedef struct {
    GPtrArray *networks;
    VfoLeases *leases;
    VfoHost *host;
    VfoWire *wire;
    int tap; /* the guest's end of tap0 */
    int wire_socket;
    int neighbour;
} Fixture;

static int packet_socket(const char *name)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE));

    g_assert_cmpint(fd, >=, 0);
    address.sll_ifindex = (int)if_nametoindex(name);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    return fd;
}

static int tap_open(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_strlcpy(request.ifr_name, name, sizeof(request.ifr_name));
    g_assert_cmpint(ioctl(fd, TUNSETIFF, &request), ==, 0);
    return fd;
}

static GPtrArray *networks_new(const char *bridge, const char *pfs)
{
    GPtrArray *networks = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    VfoNetwork *network = g_new0(VfoNetwork, 1);

    network->name = g_strdup("blue");
    network->bridge = g_strdup(bridge);
    network->pfs = g_strsplit(pfs, ",", 0);
    g_ptr_array_add(networks, network);
    return networks;
}

static void set_up(Fixture *f, gconstpointer data)
{
    const VfoVf vf = {.pf = (char *)"pf0"};
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(unshare(CLONE_NEWNET), ==, 0);
    run("ip link add br0 type bridge");
    run("ip link add pf0 type veth peer name wire");
    run("ip link add nb0 type veth peer name neighbour");
    f->tap = tap_open("tap0");
    for (const char *const *name = (const char *const[]){"pf0", "nb0", "tap0", NULL}; *name;
         name++) {
        g_autofree char *in = output_of("ip link set %s master br0 up", *name);
    }
    run("ip link set wire up");
    run("ip link set neighbour up");
    run("ip link set br0 up");
    f->wire_socket = packet_socket("wire");
    f->neighbour = packet_socket("neighbour");

    f->networks = networks_new("br0", "pf0");
    f->leases = vfo_leases_new();
    f->host = vfo_host_new(f->networks, f->leases, "/sys", &error);
    g_assert_no_error(error);
    f->wire = f->host->ops->find_wire(f->host, "tap0", &vf, &settings, &error);
    g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_wire_free(f->wire);
    vfo_host_free(f->host);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->networks);
    close(f->neighbour);
    close(f->wire_socket);
    if (f->tap >= 0)
        close(f->tap);
}

static gboolean open_pf(Fixture *f, GError **error)
{
    return f->host->ops->open_pf(f->host, f->wire, error);
}

static gboolean close_pf(Fixture *f, gboolean to_vf, GError **error)
{
    return f->host->ops->close_pf(f->host, f->wire, to_vf, error);
}

/* What iproute2, a reader of its own, says. */
static void assert_entry(const char *device, const char *expected)
{
    g_autofree char *shown = output_of("bridge fdb show dev %s", device);

    if (!strstr(shown, expected))
        g_error("no '%s' at %s:\n%s", expected, device, shown);
}

static void assert_no_guest(const char *device)
{
    g_autofree char *shown = output_of("bridge fdb show dev %s", device);

    if (strstr(shown, GUEST))
        g_error("the guest is still at %s:\n%s", device, shown);
}

static void send_frame(int fd, guint8 from, guint8 number)
{
    guint8 frame[60] = {0};

    memcpy(frame, guest.octet, ETH_ALEN);
    frame[6] = 0x02;
    frame[11] = from;
    frame[12] = ETHERTYPE >> 8;
    frame[13] = ETHERTYPE & 0xff;
    frame[14] = number;
    g_assert_cmpint(write(fd, frame, sizeof(frame)), ==, sizeof(frame));
}

/* Reads until frame @number has come (TRUE) or nothing has for @timeout_ms. */
static gboolean frame_comes(int fd, guint8 number, int timeout_ms)
{
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    guint8 frame[2048];

    while (poll(&waiting, 1, timeout_ms) > 0) {
        ssize_t length = read(fd, frame, sizeof(frame));

        if (length >= 15 && frame[12] == ETHERTYPE >> 8 && frame[13] == (ETHERTYPE & 0xff) &&
            frame[14] == number)
            return TRUE;
    }
    return FALSE;
}

static void test_open_and_close(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < 2; i++) {
        g_assert_true(open_pf(f, &error));
        g_assert_no_error(error);
        assert_entry("tap0", GUEST " sticky master br0 static");
        assert_entry("pf0", GUEST " self permanent");
    }
    for (int i = 0; i < 2; i++) {
        g_assert_true(close_pf(f, FALSE, &error));
        g_assert_no_error(error);
        assert_no_guest("tap0");
        assert_no_guest("pf0");
    }
}

static void test_close_to_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *shown = NULL;

    g_assert_true(open_pf(f, &error));
    g_assert_true(close_pf(f, TRUE, &error));
    g_assert_no_error(error);
    assert_no_guest("tap0");
    assert_entry("pf0", GUEST " sticky master br0 static");
    shown = output_of("bridge fdb show dev pf0");
    g_assert_null(strstr(shown, GUEST " self"));

    /* And round again: the entry of the PF's port does not stand in the way. */
    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    assert_entry("tap0", GUEST " sticky master br0 static");
    g_assert_true(close_pf(f, TRUE, &error));
    g_assert_true(close_pf(f, FALSE, &error));
    g_assert_no_error(error);
    assert_no_guest("pf0");
}

static void test_learned_entry(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    run("bridge fdb replace " GUEST " dev pf0 master dynamic");
    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    assert_entry("tap0", GUEST " sticky master br0 static");
}

static gboolean filters_vlans(void)
{
    int status;

    g_assert_true(g_spawn_command_line_sync("ip link set br0 type bridge vlan_filtering 1", NULL,
                                            NULL, &status, NULL));
    if (status != 0)
        g_test_skip("this kernel's bridge knows no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)");
    return status == 0;
}

static void find_again(Fixture *f, const VfoVfSettings *of_vf)
{
    g_autoptr(GError) error = NULL;

    vfo_wire_free(f->wire);
    f->wire = f->host->ops->find_wire(f->host, "tap0", NULL, of_vf, &error);
    g_assert_no_error(error);
}

static void test_trunk(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    if (!filters_vlans())
        return;
    run("bridge vlan add dev tap0 vid 100");
    run("bridge vlan add dev pf0 vid 100");
    run("bridge vlan add dev pf0 vid 200"); /* not the guest's */
    find_again(f, &settings);
    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    assert_entry("tap0", GUEST " vlan 1 sticky master br0 static");
    assert_entry("tap0", GUEST " vlan 100 sticky master br0 static");
    g_assert_true(close_pf(f, TRUE, &error));
    g_assert_no_error(error);
    assert_no_guest("tap0");
    assert_entry("pf0", GUEST " vlan 100 sticky master br0 static");
    {
        g_autofree char *shown = output_of("bridge fdb show dev pf0");

        g_assert_null(strstr(shown, GUEST " vlan 200"));
    }
    g_assert_true(close_pf(f, FALSE, &error));
    g_assert_no_error(error);
    assert_no_guest("pf0");
}

static void test_access(Fixture *f, gconstpointer data)
{
    VfoVfSettings in_vlan = {.mac = guest, .vlan = 100};
    g_autoptr(GError) error = NULL;

    if (!filters_vlans())
        return;
    run("bridge vlan del dev tap0 vid 1");
    run("bridge vlan add dev tap0 vid 100 pvid untagged");
    run("bridge vlan add dev pf0 vid 100");
    find_again(f, &in_vlan);
    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    assert_entry("tap0", GUEST " vlan 100 sticky master br0 static");
    assert_entry("pf0", GUEST " self permanent");
    /* Out of the VLAN, the port keeps the entry, and the kernel does not let it be taken away. */
    run("bridge vlan del dev tap0 vid 100");
    g_assert_false(close_pf(f, FALSE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, GUEST " in VLAN 100 at its port tap0"));
    g_clear_error(&error);
    run("bridge vlan add dev tap0 vid 100 pvid untagged");
    g_assert_true(close_pf(f, FALSE, &error));
    g_assert_no_error(error);
    assert_no_guest("tap0");
    assert_no_guest("pf0");
}

static void test_frames(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    send_frame(f->wire_socket, 1, 1);
    g_assert_true(frame_comes(f->tap, 1, SHORTLY_MS));
    send_frame(f->neighbour, 2, 2);
    g_assert_true(frame_comes(f->tap, 2, SHORTLY_MS));

    g_assert_true(close_pf(f, TRUE, &error));
    g_assert_no_error(error);
    /* In order, so that frame 4 at the wire proves that frame 3 is not on its way any more. */
    send_frame(f->wire_socket, 1, 3);
    send_frame(f->neighbour, 2, 4);
    g_assert_true(frame_comes(f->wire_socket, 4, SHORTLY_MS));
    g_assert_false(frame_comes(f->tap, 3, 100));

    /* Sticky: the standby's frames do not draw the entry to themselves. */
    {
        guint8 frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

        memcpy(frame + 6, guest.octet, ETH_ALEN);
        frame[12] = ETHERTYPE >> 8;
        frame[13] = ETHERTYPE & 0xff;
        frame[14] = 5;
        g_assert_cmpint(write(f->tap, frame, sizeof(frame)), ==, sizeof(frame));
        g_assert_true(frame_comes(f->neighbour, 5, SHORTLY_MS));
        send_frame(f->neighbour, 2, 6);
        g_assert_true(frame_comes(f->wire_socket, 6, SHORTLY_MS));
    }
}

static void test_sticky(Fixture *f, gconstpointer data)
{
    guint8 frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    g_autoptr(GError) error = NULL;

    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    /* The guest's own frame comes in at the PF: it still sends through its VF. */
    memcpy(frame + 6, guest.octet, ETH_ALEN);
    frame[12] = ETHERTYPE >> 8;
    frame[13] = ETHERTYPE & 0xff;
    frame[14] = 7;
    g_assert_cmpint(write(f->wire_socket, frame, sizeof(frame)), ==, sizeof(frame));
    g_assert_true(frame_comes(f->neighbour, 7, SHORTLY_MS));
    assert_entry("tap0", GUEST " sticky master br0 static");
}

static void test_close_without_tap(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(open_pf(f, &error));
    close(f->tap); /* QEMU has exited */
    f->tap = -1;
    g_assert_true(close_pf(f, FALSE, &error));
    g_assert_no_error(error);
    assert_no_guest("pf0");
    g_assert_true(f->host->ops->release(f->host, f->wire, &error));
    g_assert_no_error(error);
    g_assert_false(open_pf(f, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, "tap0"));
}

static void test_open_out_of_bridge(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    run("ip link set tap0 nomaster");
    g_assert_false(open_pf(f, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, "tap0"));
    assert_no_guest("pf0"); /* no filter without an entry: it would flood */
}

static void assert_no_wire(Fixture *f, const char *tap, const char *pf, VfoError code,
                           const char *words)
{
    g_autoptr(GError) error = NULL;
    VfoVf vf = {.pf = (char *)pf};
    g_autoptr(VfoWire) wire =
        f->host->ops->find_wire(f->host, tap, pf ? &vf : NULL, &settings, &error);

    g_assert_null(wire);
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
}

static void test_find_wire(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoWire) wire = f->host->ops->find_wire(f->host, "tap0", NULL, &settings, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(wire->network, ==, "blue");
    g_assert_cmpstr(wire->datapath, ==, "bridge");
    g_assert_cmpstr(wire->pf, ==, "pf0");
    g_assert_cmpstr(wire->bridge, ==, "br0");
    g_assert_cmpstr(wire->tap, ==, "tap0");
    g_assert_cmpstr(wire->uplink, ==, "pf0");
    g_assert_cmpint(wire->vlan, ==, 0);
    g_assert_true(vfo_mac_equal(&wire->mac, &guest));

    assert_no_wire(f, "nosuch", NULL, VFO_ERROR_NOT_FOUND, "nosuch");
    assert_no_wire(f, "../../etc", NULL, VFO_ERROR_INVALID, "../../etc");
    assert_no_wire(f, "aninterfacewithaverylongname", NULL, VFO_ERROR_INVALID, "name");
    assert_no_wire(f, "", NULL, VFO_ERROR_INVALID, "name");
    assert_no_wire(f, "tap0", "nb0", VFO_ERROR_MISMATCH, "nb0");

    run("ip link set wire down");
    assert_no_wire(f, "tap0", "pf0", VFO_ERROR_FAILED, "carrier");
    run("ip link set pf0 down");
    assert_no_wire(f, "tap0", "pf0", VFO_ERROR_FAILED, "ip link set pf0 up");
    assert_no_wire(f, "tap0", NULL, VFO_ERROR_FAILED, "ip link set pf0 up");
    run("ip link set pf0 nomaster");
    assert_no_wire(f, "tap0", "pf0", VFO_ERROR_FAILED, "ip link set pf0 master br0");
    run("ip link set tap0 nomaster");
    assert_no_wire(f, "tap0", "pf0", VFO_ERROR_FAILED, "tap0");
    run("ip link add br1 type bridge");
    run("ip link set tap0 master br1");
    assert_no_wire(f, "tap0", NULL, VFO_ERROR_NOT_FOUND, "br1");
}

static void test_second_pf(Fixture *f, gconstpointer data)
{
    g_autoptr(GPtrArray) networks = networks_new("br0", "gone0,pf0");
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoHost) host = vfo_host_new(networks, f->leases, "/sys", &error);
    g_autoptr(VfoWire) wire = host->ops->find_wire(host, "tap0", NULL, &settings, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(wire->pf, ==, "pf0");
}

/* This machine has no VF to hold for: that is refused before the kernel is asked. */
static void test_hold(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(open_pf(f, &error));
    g_assert_true(f->host->ops->release(f->host, f->wire, &error));
    g_assert_no_error(error);
    g_assert_false(f->host->ops->hold(f->host, f->wire, "0000:00:00.0", &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
}

/* A bridge that has learned more than one datagram of entries at the PF's port. */
static void test_large_table(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) batch = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("vfo-fdb-XXXXXX", &path, &error);

    g_assert_no_error(error);
    close(fd);
    for (int i = 0; i < 3000; i++)
        g_string_append_printf(batch, "fdb replace 02:00:00:00:%02x:%02x dev pf0 master dynamic\n",
                               i >> 8, i & 0xff);
    g_file_set_contents(path, batch->str, -1, &error);
    g_assert_no_error(error);
    g_free(output_of("bridge -batch %s", path));
    unlink(path);
    g_assert_true(open_pf(f, &error));
    g_assert_no_error(error);
    g_assert_true(close_pf(f, TRUE, &error));
    g_assert_no_error(error);
}

/* ---------------------------------------------------------------- events */

typedef struct {
    VfoLink pf; /* as last told */
    guint told;
    guint of_anything; /* NULL was told */
} News;

static void on_event(const VfoLink *link, gpointer data)
{
    News *news = data;

    if (!link) {
        news->of_anything++;
    } else if (strcmp(link->name, "pf0") == 0) {
        news->pf = *link;
        news->told++;
    }
}

static gboolean on_late(gpointer data)
{
    g_error("the kernel's event did not come");
    return G_SOURCE_REMOVE;
}

/* Until @value is other than it was. */
static void wait_for_news(const guint *value)
{
    guint before = *value;
    guint timer = g_timeout_add(10000, on_late, NULL);

    while (*value == before)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(timer);
}

static void test_events(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    News news = {0};
    VfoEvents *events = vfo_events_new(on_event, &news, &error);

    g_assert_no_error(error);
    run("ip link set pf0 mtu 1400");
    wait_for_news(&news.told);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(news.pf.mtu, ==, 1400);
    g_assert_true(news.pf.up);
    g_assert_true(news.pf.carrier);
    run("ip link set pf0 down");
    while (news.pf.up)
        wait_for_news(&news.told);
    run("ip link set pf0 up");
    while (!news.pf.up || !news.pf.carrier)
        wait_for_news(&news.told);
    run("ip link set wire down");
    while (news.pf.carrier)
        wait_for_news(&news.told);
    run("ip link del pf0");
    wait_for_news(&news.told);
    vfo_events_free(events);
}

/* More events than the socket holds: everything is to be read anew, and later ones come again. */
static void test_events_lost(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) batch = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    News news = {0};
    VfoEvents *events = vfo_events_new(on_event, &news, &error);
    int fd = g_file_open_tmp("vfo-links-XXXXXX", &path, &error);

    g_assert_no_error(error);
    close(fd);
    for (int i = 0; i < 12000; i++)
        g_string_append_printf(batch, "link set wire mtu %d\n", 1300 + i % 2);
    g_file_set_contents(path, batch->str, -1, &error);
    g_assert_no_error(error);
    g_free(output_of("ip -batch %s", path));
    unlink(path);
    wait_for_news(&news.of_anything);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    run("ip link set pf0 mtu 1450");
    while (news.pf.mtu != 1450)
        wait_for_news(&news.told);
    vfo_events_free(events);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

/* A change, and what takes the guest off the PF's filter in one go with it. */
static void test_follow_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoNetlink) netlink = vfo_netlink_new(NETLINK_ROUTE, &error);
    g_autoptr(VfoMessage) closing = NULL;
    VfoLink pf, tap, gone;

    g_assert_no_error(error);
    g_assert_true(vfo_link_read(netlink, "pf0", &pf, &error));
    g_assert_true(vfo_link_read(netlink, "tap0", &tap, &error));
    closing = vfo_fdb_closing(&pf, &settings.mac);
    g_assert_true(vfo_fdb_open_filter(netlink, &pf, 0, &settings.mac, &error));
    vfo_netlink_follow_up(netlink, closing);
    g_assert_true(vfo_link_set_up(netlink, &tap, FALSE, &error));
    g_assert_no_error(error);
    assert_no_guest("pf0");

    /* It follows one change only. */
    g_assert_true(vfo_fdb_open_filter(netlink, &pf, 0, &settings.mac, &error));
    assert_entry("pf0", GUEST);
    g_assert_true(vfo_link_set_up(netlink, &tap, TRUE, &error));
    assert_entry("pf0", GUEST);

    /* Each has an answer of its own: the second's is not taken for the first's. */
    vfo_netlink_follow_up(netlink, closing);
    gone = tap;
    gone.index = 4711;
    g_assert_false(vfo_link_set_up(netlink, &gone, FALSE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_clear_error(&error);
    assert_no_guest("pf0");
    vfo_netlink_follow_up(netlink, closing);
    g_assert_true(vfo_link_set_up(netlink, &tap, FALSE, &error));
    g_assert_no_error(error);
    g_assert_true(vfo_link_read(netlink, "tap0", &tap, &error));
    g_assert_false(tap.up);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        g_print("1..0 # SKIP needs root, for a network namespace\n");
        return 0;
    }
    add("/host/netlink/open-and-close", test_open_and_close);
    add("/host/netlink/close-to-vf", test_close_to_vf);
    add("/host/netlink/learned-entry", test_learned_entry);
    add("/host/netlink/trunk", test_trunk);
    add("/host/netlink/access", test_access);
    add("/host/netlink/frames", test_frames);
    add("/host/netlink/sticky", test_sticky);
    add("/host/netlink/close-without-tap", test_close_without_tap);
    add("/host/netlink/open-out-of-bridge", test_open_out_of_bridge);
    add("/host/netlink/find-wire", test_find_wire);
    add("/host/netlink/second-pf", test_second_pf);
    add("/host/netlink/hold", test_hold);
    add("/host/netlink/follow-up", test_follow_up);
    add("/host/netlink/large-table", test_large_table);
    add("/host/netlink/events", test_events);
    add("/host/netlink/events-lost", test_events_lost);
    return g_test_run();
}
