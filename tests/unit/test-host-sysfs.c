/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host/ on a sysfs of umockdev's and a PF that answers netlink as a driver would:
 * this machine has no SR-IOV. PF eth1 (0000:01:00.0) has the VFs 0000:01:10.0 to .2, of
 * which .0 and .1 are bound to vfio-pci; PF 0000:02:00.0 is in no network.
 */
#undef _FORTIFY_SOURCE /* it makes open() an inline function, which cannot be replaced */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gen_stats.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <umockdev.h>
#include <unistd.h>

#include "host/host-private.h"

#define VF0     "0000:01:10.0"
#define VF1     "0000:01:10.1"
#define VF2     "0000:01:10.2"
#define N_VFS   3
#define PATIENT 5000 /* ms, until a test gives up */

static const VfoMac guest = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}};
static const VfoMac pf_mac = {{0x3c, 0xfd, 0xfe, 0x00, 0x00, 0x01}};

/* A file whose opening fails with EBUSY, as that of a vfio group which another process has. */
static char *busy_path;

/* Takes the place of libc's, for host/ as well. */
int open(const char *path, int flags, ...)
{
    g_autofree char *real =
        busy_path && strstr(path, "/vfio/") ? g_canonicalize_filename(path, NULL) : NULL;
    if (real && strcmp(real, busy_path) == 0) {
        errno = EBUSY;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

/* -------------------------------------------------------------- the PF */

typedef struct {
    struct ifla_vf_mac mac;
    struct ifla_vf_vlan vlan;
    guint16 vlan_protocol; /* 0: 802.1Q */
    struct ifla_vf_spoofchk spoofchk;
    struct ifla_vf_trust trust;
    struct ifla_vf_rate rate;
    struct ifla_vf_link_state link;
    guint64 received;
} FakeVf;

typedef struct {
    FakeVf vfs[N_VFS];
    guint n_vfs;
    guint readings; /* of all VFs */
    gboolean down;
    int read_code;    /* of questions for the PF; 0: they are answered */
    GString *changes; /* "vlan mac " */
    int refuse_type;  /* IFLA_VF_*: refused with refuse_code */
    int refuse_code;
    int ignore_type;                      /* taken, but nothing happens */
    void (*spoil)(struct nl_msg *answer); /* replaces the list of VFs */
} FakePf;

static void put_vf(struct nl_msg *answer, const FakePf *pf, const FakeVf *vf, guint32 mask)
{
    struct nlattr *info = nla_nest_start(answer, IFLA_VF_INFO);
    struct ifla_vf_vlan_info tag = {.vf = vf->vlan.vf,
                                    .vlan = vf->vlan.vlan,
                                    .qos = vf->vlan.qos,
                                    .vlan_proto =
                                        htons(vf->vlan_protocol ? vf->vlan_protocol : ETH_P_8021Q)};
    struct nlattr *tags;

    nla_put(answer, IFLA_VF_MAC, sizeof(vf->mac), &vf->mac);
    tags = nla_nest_start(answer, IFLA_VF_VLAN_LIST);
    nla_put(answer, IFLA_VF_VLAN_INFO, sizeof(tag), &tag);
    nla_nest_end(answer, tags);
    nla_put(answer, IFLA_VF_VLAN, sizeof(vf->vlan), &vf->vlan);
    nla_put(answer, IFLA_VF_SPOOFCHK, sizeof(vf->spoofchk), &vf->spoofchk);
    nla_put(answer, IFLA_VF_TRUST, sizeof(vf->trust), &vf->trust);
    nla_put(answer, IFLA_VF_RATE, sizeof(vf->rate), &vf->rate);
    nla_put(answer, IFLA_VF_LINK_STATE, sizeof(vf->link), &vf->link);
    if (!(mask & RTEXT_FILTER_SKIP_STATS)) {
        struct nlattr *stats = nla_nest_start(answer, IFLA_VF_STATS);

        nla_put_u64(answer, IFLA_VF_STATS_RX_PACKETS, vf->received);
        nla_put_u64(answer, IFLA_VF_STATS_TX_PACKETS, 0);
        nla_nest_end(answer, stats);
    }
    nla_nest_end(answer, info);
}

static int show_pf(FakePf *pf, struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer data)
{
    struct ifinfomsg header = {.ifi_index = 7, .ifi_flags = pf->down ? 0 : IFF_UP | IFF_RUNNING};
    struct nlattr *name = nlmsg_find_attr(request, sizeof(header), IFLA_IFNAME);
    struct nlattr *mask = nlmsg_find_attr(request, sizeof(header), IFLA_EXT_MASK);
    struct nl_msg *message;
    int code;

    if (pf->read_code)
        return pf->read_code;
    if (!name || (nla_strcmp(name, "eth1") != 0 && nla_strcmp(name, "tap0") != 0))
        return -ENODEV;
    message = nlmsg_alloc_simple(RTM_NEWLINK, 0);
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, nla_get_string(name));
    nla_put(message, IFLA_ADDRESS, sizeof(pf_mac), &pf_mac);
    if (mask && (nla_get_u32(mask) & RTEXT_FILTER_VF))
        pf->readings++;
    nla_put_u32(message, IFLA_MTU, 9000);
    if (pf->spoil) {
        pf->spoil(message);
    } else if (mask && (nla_get_u32(mask) & RTEXT_FILTER_VF)) {
        struct nlattr *list = nla_nest_start(message, IFLA_VFINFO_LIST);

        for (guint i = 0; i < pf->n_vfs; i++)
            put_vf(message, pf, &pf->vfs[i], nla_get_u32(mask));
        nla_nest_end(message, list);
    }
    code = answer(nlmsg_hdr(message), data);
    nlmsg_free(message);
    return code;
}

/* As do_setvfinfo(): a list of one tag, with its protocol. */
static int change_vlan_list(FakePf *pf, struct nlattr *list)
{
    struct nlattr *tag = nla_data(list);
    const struct ifla_vf_vlan_info *info = nla_data(tag);
    FakeVf *vf;

    g_assert_cmpint(nla_len(list), ==, nla_total_size(sizeof(*info)));
    g_assert_cmpint(nla_type(tag), ==, IFLA_VF_VLAN_INFO);
    g_assert_cmpuint(info->vf, <, N_VFS);
    vf = &pf->vfs[info->vf];
    g_string_append(pf->changes, "qinq ");
    if (pf->refuse_type == IFLA_VF_VLAN_LIST)
        return pf->refuse_code;
    vf->vlan.vlan = info->vlan;
    vf->vlan.qos = info->qos;
    vf->vlan_protocol = ntohs(info->vlan_proto);
    return 0;
}

static int change_vf(FakePf *pf, struct nlmsghdr *request)
{
    static const struct {
        const char *name;
        gsize offset;
        gsize length;
    } kinds[IFLA_VF_MAX + 1] = {
        [IFLA_VF_MAC] = {"mac", offsetof(FakeVf, mac), sizeof(struct ifla_vf_mac)},
        [IFLA_VF_VLAN] = {"vlan", offsetof(FakeVf, vlan), sizeof(struct ifla_vf_vlan)},
        [IFLA_VF_SPOOFCHK] = {"spoofchk", offsetof(FakeVf, spoofchk),
                              sizeof(struct ifla_vf_spoofchk)},
        [IFLA_VF_TRUST] = {"trust", offsetof(FakeVf, trust), sizeof(struct ifla_vf_trust)},
        [IFLA_VF_RATE] = {"rate", offsetof(FakeVf, rate), sizeof(struct ifla_vf_rate)},
        [IFLA_VF_LINK_STATE] = {"link", offsetof(FakeVf, link), sizeof(struct ifla_vf_link_state)},
    };
    const struct ifinfomsg *header = nlmsg_data(request);
    struct nlattr *list = nlmsg_find_attr(request, sizeof(*header), IFLA_VFINFO_LIST);
    struct nlattr *info = nla_data(list);
    struct nlattr *attribute = nla_data(info);
    guint32 vf;

    g_assert_cmpint(header->ifi_index, ==, 7);
    g_assert_cmpint(nla_type(info), ==, IFLA_VF_INFO);
    /* One attribute, which fills everything. */
    g_assert_cmpint(nla_len(list), ==, nla_total_size(nla_len(info)));
    g_assert_cmpint(nla_len(info), ==, nla_total_size(nla_len(attribute)));
    g_assert_cmpint(nla_type(attribute), <=, IFLA_VF_MAX);
    if (nla_type(attribute) == IFLA_VF_VLAN_LIST)
        return change_vlan_list(pf, attribute);
    g_assert_nonnull(kinds[nla_type(attribute)].name);
    g_assert_cmpuint(nla_len(attribute), ==, kinds[nla_type(attribute)].length);
    memcpy(&vf, nla_data(attribute), sizeof(vf));
    g_assert_cmpuint(vf, <, N_VFS);
    g_string_append_printf(pf->changes, "%s ", kinds[nla_type(attribute)].name);
    if (nla_type(attribute) == pf->refuse_type)
        return pf->refuse_code;
    if (nla_type(attribute) == IFLA_VF_VLAN)
        pf->vfs[vf].vlan_protocol = ETH_P_8021Q;
    if (nla_type(attribute) != pf->ignore_type)
        memcpy((char *)&pf->vfs[vf] + kinds[nla_type(attribute)].offset, nla_data(attribute),
               kinds[nla_type(attribute)].length);
    return 0;
}

static int kernel(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                  gpointer data)
{
    switch (request->nlmsg_type) {
    case RTM_GETLINK:
        return show_pf(data, request, answer, answer_data);
    case RTM_SETLINK:
        return change_vf(data, request);
    case RTM_DELNEIGH:
        return -ENOENT;
    case RTM_GETNEIGH:
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

/* ------------------------------------------------------------- fixture */

typedef struct {
    UMockdevTestbed *testbed;
    char *root;
    FakePf pf;
    GPtrArray *networks;
    VfoLeases *leases;
    VfoHost *host;
} Fixture;

static void write_file(Fixture *f, const char *path, const char *data, gssize length)
{
    g_autofree char *full = g_build_filename(f->root, path, NULL);
    g_autofree char *directory = g_path_get_dirname(full);
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_file_set_contents(full, data, length, &error);
    g_assert_no_error(error);
}

static void add_vf(Fixture *f, const char *pci, const char *pf, guint index, guint group,
                   const char *driver)
{
    /* As hardware has it: no vendor id, status and command alive. */
    static const char config[64] = {-1, -1, -1, -1, 0x06, 0x00, 0x10, 0x00};
    g_autofree char *device = umockdev_testbed_add_device(
        f->testbed, "pci", pci, NULL, "numa_node", "1", "reset_method", "flr bus", "reset", "",
        "vendor", "0x8086\n", "device", "0x10ca\n", NULL, NULL, NULL);
    g_autofree char *pf_device = g_strdup_printf("/sys/devices/%s", pf);
    g_autofree char *virtfn = g_strdup_printf("virtfn%u", index);
    g_autofree char *to_pf = g_strdup_printf("../%s", pf);
    g_autofree char *to_vf = g_strdup_printf("../%s", pci);
    g_autofree char *to_group = g_strdup_printf("../../kernel/iommu_groups/%u", group);
    g_autofree char *to_driver = g_strdup_printf("../../bus/pci/drivers/%s", driver);
    g_autofree char *node = g_strdup_printf("dev/vfio/%u", group);

    umockdev_testbed_set_attribute_binary(f->testbed, device, "config", (guint8 *)config,
                                          sizeof(config));
    umockdev_testbed_set_attribute_link(f->testbed, device, "physfn", to_pf);
    umockdev_testbed_set_attribute_link(f->testbed, device, "iommu_group", to_group);
    umockdev_testbed_set_attribute_link(f->testbed, pf_device, virtfn, to_vf);
    if (driver)
        umockdev_testbed_set_attribute_link(f->testbed, device, "driver", to_driver);
    write_file(f, node, "", 0);
}

static void add_pf(Fixture *f, const char *pci, const char *name, const char *n_vfs)
{
    g_autofree char *pf = umockdev_testbed_add_device(f->testbed, "pci", pci, NULL, "sriov_numvfs",
                                                      n_vfs, NULL, NULL, NULL);
    g_autofree char *net =
        umockdev_testbed_add_device(f->testbed, "net", name, NULL, NULL, NULL, NULL);
    g_autofree char *to_pf = g_strdup_printf("../%s", pci);

    umockdev_testbed_set_attribute_link(f->testbed, pf, "driver", "../../bus/pci/drivers/igb");
    umockdev_testbed_set_attribute_link(f->testbed, net, "device", to_pf);
}

static void set_up(Fixture *f, gconstpointer data)
{
    VfoNetwork *network = g_new0(VfoNetwork, 1);
    g_autofree char *sysfs = NULL;

    f->testbed = umockdev_testbed_new();
    f->root = umockdev_testbed_get_root_dir(f->testbed);
    add_pf(f, "0000:01:00.0", "eth1", "3");
    add_pf(f, "0000:02:00.0", "eth2", "1");
    add_vf(f, VF0, "0000:01:00.0", 0, 17, "vfio-pci");
    add_vf(f, VF1, "0000:01:00.0", 1, 18, "vfio-pci");
    add_vf(f, VF2, "0000:01:00.0", 2, 19, NULL);
    add_vf(f, "0000:02:10.0", "0000:02:00.0", 0, 20, NULL);

    f->pf.n_vfs = N_VFS;
    f->pf.changes = g_string_new(NULL);
    for (guint i = 0; i < N_VFS; i++) {
        FakeVf *vf = &f->pf.vfs[i];

        vf->mac.vf = vf->vlan.vf = vf->spoofchk.vf = vf->trust.vf = vf->rate.vf = vf->link.vf = i;
        vf->mac.mac[0] = 0x02;
        vf->mac.mac[5] = (guint8)i;
        vf->spoofchk.setting = 1;
    }
    network->name = g_strdup("blue");
    network->bridge = g_strdup("br0");
    network->pfs = g_strsplit("eth1", ",", 0);
    f->networks = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    g_ptr_array_add(f->networks, network);
    f->leases = vfo_leases_new();
    sysfs = g_build_filename(f->root, "sys", NULL);
    f->host = vfo_host_new_with(f->networks, f->leases, sysfs,
                                vfo_netlink_new_stand_in(kernel, &f->pf), NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_host_free(f->host);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->networks);
    g_string_free(f->pf.changes, TRUE);
    g_free(f->root);
    g_object_unref(f->testbed);
    g_clear_pointer(&busy_path, g_free);
}

static void set_busy(Fixture *f, int group)
{
    g_autofree char *leaf = g_strdup_printf("%d", group);

    g_clear_pointer(&busy_path, g_free);
    if (group >= 0)
        busy_path = g_build_filename(f->root, "dev", "vfio", leaf, NULL);
}

/* ------------------------------------------------------------- reading */

static void test_read_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = NULL;
    g_autoptr(VfoVf) unbound = NULL;
    VfoMac parking;

    memcpy(f->pf.vfs[1].mac.mac, guest.octet, sizeof(guest.octet));
    f->pf.vfs[1].vlan.vlan = 100;
    f->pf.vfs[1].vlan.qos = 5;
    f->pf.vfs[1].spoofchk.setting = 0;
    f->pf.vfs[1].trust.setting = 1;
    f->pf.vfs[1].rate.min_tx_rate = 10;
    f->pf.vfs[1].rate.max_tx_rate = 1000;
    f->pf.vfs[1].link.link_state = IFLA_VF_LINK_STATE_DISABLE;
    vfo_leases_returned(f->leases, VF1);
    set_busy(f, 18);
    vf = f->host->ops->read_vf(f->host, VF1, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(vf->pci, ==, VF1);
    g_assert_cmpstr(vf->pf, ==, "eth1");
    g_assert_cmpstr(vf->network, ==, "blue");
    g_assert_cmpuint(vf->index, ==, 1);
    g_assert_cmpstr(vf->driver, ==, "vfio-pci");
    g_assert_cmpint(vf->iommu_group, ==, 18);
    g_assert_cmpint(vf->numa_node, ==, 1);
    g_assert_cmphex(vf->vendor, ==, 0x8086);
    g_assert_cmphex(vf->device, ==, 0x10ca);
    g_assert_cmpuint(vf->mtu, ==, 9000);
    g_assert_true(vf->usable);
    g_assert_true(vf->opened);
    g_assert_cmpuint(vf->generation, ==, 1);
    vfo_mac_parking(&pf_mac, 1, &parking);
    g_assert_true(vfo_mac_equal(&vf->parking, &parking));
    g_assert_true(vfo_mac_equal(&vf->settings.mac, &guest));
    g_assert_cmpuint(vf->settings.vlan, ==, 100);
    g_assert_cmpuint(vf->settings.qos, ==, 5);
    g_assert_false(vf->settings.spoofchk);
    g_assert_true(vf->settings.trust);
    g_assert_cmpuint(vf->settings.min_tx_rate, ==, 10);
    g_assert_cmpuint(vf->settings.max_tx_rate, ==, 1000);
    g_assert_cmpint(vf->settings.link, ==, VFO_LINK_DISABLE);

    unbound = f->host->ops->read_vf(f->host, VF2, &error);
    g_assert_no_error(error);
    g_assert_null(unbound->driver);
    g_assert_false(unbound->opened);
}

static void assert_not_read(Fixture *f, const char *pci, VfoError code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = f->host->ops->read_vf(f->host, pci, &error);

    g_assert_null(vf);
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
}

static void test_not_there(Fixture *f, gconstpointer data)
{
    assert_not_read(f, "0000:01:10.7", VFO_ERROR_NOT_FOUND, "0000:01:10.7");
    assert_not_read(f, "0000:01:00.0", VFO_ERROR_NOT_FOUND, "0000:01:00.0");
    assert_not_read(f, "0000:02:10.0", VFO_ERROR_NOT_FOUND, "configuration");
    assert_not_read(f, "../../../../etc", VFO_ERROR_INVALID, "PCI address");
    f->pf.n_vfs = 1;
    assert_not_read(f, VF1, VFO_ERROR_NOT_FOUND, "number 1");
}

static void spoil_short_mac(struct nl_msg *answer)
{
    struct nlattr *list = nla_nest_start(answer, IFLA_VFINFO_LIST);
    struct nlattr *info = nla_nest_start(answer, IFLA_VF_INFO);

    nla_put_u32(answer, IFLA_VF_MAC, 1);
    nla_nest_end(answer, info);
    nla_nest_end(answer, list);
}

static void spoil_wrong_lengths(struct nl_msg *answer)
{
    struct nlattr *list = nla_nest_start(answer, IFLA_VFINFO_LIST);
    struct nlattr *info = nla_nest_start(answer, IFLA_VF_INFO);
    struct ifla_vf_mac mac = {.vf = 1};

    nla_put(answer, IFLA_VF_MAC, sizeof(mac), &mac);
    nla_put_u8(answer, IFLA_VF_VLAN, 1);
    nla_put_u8(answer, IFLA_VF_RATE, 1);
    nla_put_u8(answer, IFLA_VF_STATS, 1);
    nla_nest_end(answer, info);
    nla_nest_end(answer, list);
}

/* As the kernel puts them: the length of the list wraps, and something follows it. VF 1 is the
 * last. */
static void put_many(struct nl_msg *answer, guint count)
{
    struct nlattr *list;

    nlmsg_expand(answer, 300000);
    list = nla_nest_start(answer, IFLA_VFINFO_LIST);
    for (guint i = count; i-- > 0;) {
        struct nlattr *info = nla_nest_start(answer, IFLA_VF_INFO);
        struct ifla_vf_mac mac = {.vf = i + 1};

        memcpy(mac.mac, guest.octet, sizeof(guest.octet));
        nla_put(answer, IFLA_VF_MAC, sizeof(mac), &mac);
        nla_nest_end(answer, info);
    }
    list->nla_len = (guint16)((char *)nlmsg_tail(nlmsg_hdr(answer)) - (char *)list);
    nla_put_string(answer, IFLA_IFALIAS, "wire");
}

static void spoil_wrapped(struct nl_msg *answer)
{
    put_many(answer, 4096);
}

static void spoil_many(struct nl_msg *answer)
{
    put_many(answer, 4097);
}

static void test_many_vfs(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = NULL;
    VfoMac parking;

    f->pf.spoil = spoil_wrapped;
    vf = f->host->ops->read_vf(f->host, VF1, &error);
    g_assert_no_error(error);
    g_assert_true(vfo_mac_equal(&vf->settings.mac, &guest));
    /* A VF is not taken for what the PF's message says of the PF. */
    vfo_mac_parking(&pf_mac, 1, &parking);
    g_assert_true(vfo_mac_equal(&vf->parking, &parking));
}

static void test_hostile_answers(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = NULL;

    f->pf.spoil = spoil_short_mac;
    assert_not_read(f, VF1, VFO_ERROR_FAILED, "eth1");
    f->pf.spoil = spoil_many;
    assert_not_read(f, VF1, VFO_ERROR_NOT_SUPPORTED, "sriov_numvfs");
    f->pf.spoil = spoil_wrong_lengths;
    vf = f->host->ops->read_vf(f->host, VF1, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(vf->settings.vlan, ==, 0);
}

static void test_list_vfs(Fixture *f, gconstpointer data)
{
    VfoNetwork *broken = g_new0(VfoNetwork, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) vfs = NULL;
    g_autoptr(GPtrArray) none = NULL;

    broken->name = g_strdup("red");
    broken->bridge = g_strdup("br1");
    broken->pfs = g_strsplit("gone0", ",", 0);
    g_ptr_array_add(f->networks, broken);
    /* The kernel would say "free"; a leased VF is not probed. */
    vfo_leases_take(f->leases, VF0, "job", 60, NULL);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*red*gone0*");
    vfs = f->host->ops->list_vfs(f->host, &error);
    g_test_assert_expected_messages();
    g_assert_no_error(error);
    g_assert_cmpuint(vfs->len, ==, N_VFS);
    for (guint i = 0; i < N_VFS; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);
        g_autofree char *pci = g_strdup_printf("0000:01:10.%u", i);

        g_assert_cmpstr(vf->pci, ==, pci);
        g_assert_cmpuint(vf->index, ==, i);
        g_assert_cmpuint(vf->settings.mac.octet[5], ==, i);
        g_assert_cmpint(vf->opened, ==, i == 0);
    }

    g_ptr_array_remove_index(f->networks, 0);
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*gone0*");
    none = f->host->ops->list_vfs(f->host, &error);
    g_test_assert_expected_messages();
    g_assert_null(none);
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
}

/* ------------------------------------------------------------ settings */

static VfoVfSettings settings_of(Fixture *f, const char *pci)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoVf) vf = f->host->ops->read_vf(f->host, pci, &error);

    g_assert_no_error(error);
    return vf->settings;
}

static void assert_set(Fixture *f, const char *pci, const VfoVfSettings *settings,
                       const char *changes)
{
    g_autoptr(GError) error = NULL;

    g_string_truncate(f->pf.changes, 0);
    g_assert_true(f->host->ops->set_vf(f->host, pci, settings, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(f->pf.changes->str, ==, changes);
}

static void assert_not_set(Fixture *f, const VfoVfSettings *settings, VfoError code,
                           const char *words)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(f->host->ops->set_vf(f->host, VF1, settings, &error));
    g_assert_error(error, VFO_ERROR, (int)code);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
    g_assert_null(strchr(error->message, '\n'));
}

static void test_set_vf(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);
    VfoVfSettings now;

    assert_set(f, VF1, &settings, "");
    settings = (VfoVfSettings){.mac = guest,
                               .vlan = 100,
                               .qos = 3,
                               .trust = TRUE,
                               .max_tx_rate = 500,
                               .link = VFO_LINK_ENABLE};
    /* The address last: never a guest's in a foreign VLAN. */
    assert_set(f, VF1, &settings, "vlan spoofchk trust rate link mac ");
    now = settings_of(f, VF1);
    g_assert_true(vfo_mac_equal(&now.mac, &guest));
    g_assert_cmpuint(now.vlan, ==, 100);
    g_assert_cmpuint(now.qos, ==, 3);
    g_assert_false(now.spoofchk);
    g_assert_true(now.trust);
    g_assert_cmpuint(now.max_tx_rate, ==, 500);
    g_assert_cmpint(now.link, ==, VFO_LINK_ENABLE);

    settings.qos = 4;
    assert_set(f, VF1, &settings, "vlan ");

    /* ... and away first when it is parked. */
    vfo_mac_parking(&pf_mac, 1, &settings.mac);
    settings.vlan = settings.qos = 0;
    assert_set(f, VF1, &settings, "mac vlan ");
    g_assert_cmpuint(settings_of(f, VF0).mac.octet[5], ==, 0);
}

/* The kernel has no question for one VF: all of a PF's are read once for a change. */
static void test_set_readings(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);

    f->pf.readings = 0;
    settings.vlan = 100;
    assert_set(f, VF1, &settings, "vlan ");
    settings.mac = guest;
    assert_set(f, VF1, &settings, "mac ");
    g_assert_cmpuint(f->pf.readings, ==, 2);

    /* Somebody else has changed it: seen, and put right. */
    f->pf.vfs[1].vlan.vlan = 7;
    settings.qos = 0;
    f->pf.readings = 0;
    assert_set(f, VF1, &settings, "vlan ");
    g_assert_cmpuint(settings_of(f, VF1).vlan, ==, 100);
    g_assert_cmpuint(f->pf.readings, ==, 3);

    /* After a failure nothing is known. */
    f->pf.refuse_type = IFLA_VF_TRUST;
    f->pf.refuse_code = -EIO;
    settings.trust = !settings.trust;
    assert_not_set(f, &settings, VFO_ERROR_FAILED, "trust of VF 1 of PF eth1");
    f->pf.refuse_type = 0;
    f->pf.readings = 0;
    assert_set(f, VF1, &settings, "trust ");
    g_assert_cmpuint(f->pf.readings, ==, 2);
}

static void test_set_qinq(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);

    g_assert_false(settings.vlan_outer);
    settings.vlan = 100;
    settings.vlan_outer = TRUE;
    settings.qos = 2;
    assert_set(f, VF1, &settings, "qinq ");
    g_assert_cmpuint(f->pf.vfs[1].vlan_protocol, ==, ETH_P_8021AD);
    g_assert_cmpuint(settings_of(f, VF1).vlan, ==, 100);
    g_assert_cmpuint(settings_of(f, VF1).qos, ==, 2);
    g_assert_true(settings_of(f, VF1).vlan_outer);

    /* The same VLAN with the other tag is another. */
    settings.vlan_outer = FALSE;
    assert_set(f, VF1, &settings, "vlan ");
    g_assert_false(settings_of(f, VF1).vlan_outer);

    f->pf.refuse_type = IFLA_VF_VLAN_LIST;
    f->pf.refuse_code = -EPROTONOSUPPORT; /* igb's */
    settings.vlan_outer = TRUE;
    assert_not_set(f, &settings, VFO_ERROR_NOT_SUPPORTED, "VLAN of VF 1 of PF eth1");
}

static void test_set_refused(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);

    f->pf.refuse_type = IFLA_VF_LINK_STATE;
    f->pf.refuse_code = -EOPNOTSUPP;
    settings.mac = guest;
    assert_set(f, VF1, &settings, "mac ");
    settings.link = VFO_LINK_ENABLE;
    assert_not_set(f, &settings, VFO_ERROR_NOT_SUPPORTED, "link state of VF 1 of PF eth1");
    assert_not_set(f, &settings, VFO_ERROR_NOT_SUPPORTED, "igb");
    settings.link = VFO_LINK_AUTO;

    f->pf.refuse_type = IFLA_VF_RATE;
    f->pf.refuse_code = -EPROTONOSUPPORT;
    settings.min_tx_rate = 10;
    assert_not_set(f, &settings, VFO_ERROR_NOT_SUPPORTED, "transmit rate");
}

static void test_set_ignored(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);

    f->pf.ignore_type = IFLA_VF_MAC;
    settings.mac = guest;
    assert_not_set(f, &settings, VFO_ERROR_MISMATCH, "MAC address of VF 1");
    f->pf.ignore_type = IFLA_VF_VLAN;
    settings.vlan = 9;
    assert_not_set(f, &settings, VFO_ERROR_MISMATCH, "VLAN of VF 1");
    settings.vlan = 0;
    /* A driver that does not report the link state. */
    f->pf.ignore_type = IFLA_VF_LINK_STATE;
    settings.link = VFO_LINK_ENABLE;
    assert_set(f, VF1, &settings, "link ");
}

static void test_set_unreported(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings;

    f->pf.vfs[1].spoofchk.setting = G_MAXUINT32;
    f->pf.vfs[1].trust.setting = G_MAXUINT32;
    settings = settings_of(f, VF1);
    g_assert_false(settings.spoofchk);
    g_assert_false(settings.trust);
    settings.mac = guest;
    assert_set(f, VF1, &settings, "mac ");
}

static void test_set_invalid(Fixture *f, gconstpointer data)
{
    VfoVfSettings settings = settings_of(f, VF1);
    VfoVfSettings bad = settings;

    g_string_truncate(f->pf.changes, 0);
    bad.mac = (VfoMac){{0}};
    assert_not_set(f, &bad, VFO_ERROR_INVALID, VF1);
    bad = settings;
    bad.mac.octet[0] = 0x01;
    assert_not_set(f, &bad, VFO_ERROR_INVALID, VF1);
    bad = settings;
    bad.vlan = 4095;
    assert_not_set(f, &bad, VFO_ERROR_INVALID, VF1);
    bad = settings;
    bad.vlan = 0;
    bad.vlan_outer = TRUE;
    assert_not_set(f, &bad, VFO_ERROR_INVALID, VF1);
    bad = settings;
    bad.qos = 8;
    assert_not_set(f, &bad, VFO_ERROR_INVALID, VF1);
    g_assert_cmpstr(f->pf.changes->str, ==, "");
}

/* --------------------------------------------------------------- waits */

typedef struct {
    gboolean done;
    GError *error;
} Outcome;

static void on_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Outcome *outcome = data;

    g_assert_false(outcome->done);
    g_task_propagate_boolean(G_TASK(result), &outcome->error);
    outcome->done = TRUE;
}

static gboolean on_timeout(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/* Runs the loop until @outcome is there, for @ms at most. */
static void wait_for(Outcome *outcome, guint ms)
{
    gboolean late = FALSE;
    guint timer = g_timeout_add(ms, on_timeout, &late);

    while (!outcome->done && !late)
        g_main_context_iteration(NULL, TRUE);
    if (!late)
        g_source_remove(timer);
}

static void assert_waits_well(Outcome *outcome)
{
    wait_for(outcome, PATIENT);
    g_assert_true(outcome->done);
    g_assert_no_error(outcome->error);
    outcome->done = FALSE;
}

static void assert_waits_ill(Outcome *outcome, GQuark domain, int code, const char *words)
{
    wait_for(outcome, PATIENT);
    g_assert_true(outcome->done);
    g_assert_error(outcome->error, domain, code);
    if (!strstr(outcome->error->message, words))
        g_error("'%s' does not say '%s'", outcome->error->message, words);
    g_clear_error(&outcome->error);
    outcome->done = FALSE;
}

static void test_reset(Fixture *f, gconstpointer data)
{
    static const char dead[64] = {-1, -1, -1, -1, -1, -1, -1, -1};
    g_autofree char *reset = g_build_filename(f->root, "sys/devices/" VF1 "/reset", NULL);
    g_autofree char *written = NULL;
    Outcome outcome = {0};

    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_well(&outcome);
    g_file_get_contents(reset, &written, NULL, NULL);
    g_assert_cmpstr(written, ==, "1");

    write_file(f, "sys/devices/" VF1 "/reset", "", 0);
    set_busy(f, 18);
    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_BUSY, "/dev/vfio/18");
    g_clear_pointer(&written, g_free);
    g_file_get_contents(reset, &written, NULL, NULL);
    g_assert_cmpstr(written, ==, "");
    set_busy(f, -1);

    write_file(f, "sys/devices/" VF1 "/config", dead, sizeof(dead));
    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_FAILED, "does not answer");

    write_file(f, "sys/devices/" VF1 "/reset_method", "bus\n", -1);
    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "'bus'");
    write_file(f, "sys/devices/" VF1 "/reset_method", "", 0);
    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "Linux 5.15");

    umockdev_testbed_set_attribute_link(f->testbed, "/sys/devices/" VF2, "driver",
                                        "../../bus/pci/drivers/igbvf");
    f->host->ops->reset_vf(f->host, VF2, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_BUSY, "igbvf");
    f->host->ops->reset_vf(f->host, "0000:01:10.6", g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_FOUND, "0000:01:10.6");
}

/* A reset that takes for ever: a pipe that nobody reads. */
static void test_reset_cancelled(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *reset = g_build_filename(f->root, "sys/devices/" VF1 "/reset", NULL);
    Outcome outcome = {0};
    char byte = 0;
    int fd;

    unlink(reset);
    g_assert_cmpint(mkfifo(reset, 0600), ==, 0);
    f->host->ops->reset_vf(f->host, VF1, g_task_new(NULL, cancellable, on_done, &outcome));
    wait_for(&outcome, 50);
    g_assert_false(outcome.done);
    g_cancellable_cancel(cancellable);
    assert_waits_ill(&outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED, "");
    fd = open(reset, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(read(fd, &byte, 1), ==, 1);
    g_assert_true(byte == '1');
    close(fd);
}

static void test_closed(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Outcome outcome = {0};

    f->host->ops->closed_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_well(&outcome);

    set_busy(f, 18);
    f->host->ops->closed_vf(f->host, VF1, g_task_new(NULL, NULL, on_done, &outcome));
    wait_for(&outcome, 70);
    g_assert_false(outcome.done);
    set_busy(f, -1);
    assert_waits_well(&outcome);

    set_busy(f, 18);
    f->host->ops->closed_vf(f->host, VF1, g_task_new(NULL, cancellable, on_done, &outcome));
    wait_for(&outcome, 30);
    g_assert_false(outcome.done);
    g_cancellable_cancel(cancellable);
    assert_waits_ill(&outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED, "");

    /* Not vfio's: nobody can have it open through vfio. */
    set_busy(f, 19);
    f->host->ops->closed_vf(f->host, VF2, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_well(&outcome);
    f->host->ops->closed_vf(f->host, "0000:01:10.6", g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_FOUND, "0000:01:10.6");
}

static guint64 activity_of(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    guint64 activity = 0;

    g_assert_true(f->host->ops->activity_vf(f->host, VF1, &activity, &error));
    g_assert_no_error(error);
    return activity;
}

static void set_pf_driver(Fixture *f, const char *driver)
{
    g_autofree char *link = g_strdup_printf("../../bus/pci/drivers/%s", driver);
    g_autofree char *path = g_build_filename(f->root, "sys/devices/0000:01:00.0/driver", NULL);

    unlink(path);
    umockdev_testbed_set_attribute_link(f->testbed, "/sys/devices/0000:01:00.0", "driver", link);
}

/* igb counts nothing for its VFs: it is not asked. */
static void test_activity_uncounted(Fixture *f, gconstpointer data)
{
    g_autofree char *virtfn = g_build_filename(f->root, "sys/devices/0000:01:00.0/virtfn1", NULL);
    g_autoptr(GPtrArray) configured =
        g_ptr_array_new_with_free_func((GDestroyNotify)vfo_quirks_free);
    VfoQuirks *own = g_new0(VfoQuirks, 1);
    Outcome outcome = {0};

    f->pf.vfs[1].received = 5;
    g_assert_cmpuint(activity_of(f), ==, 0);
    write_file(f, "sys/devices/" VF1 "/msi_irqs/40", "msix\n", -1);
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "3\n", -1);
    g_assert_cmpuint(activity_of(f), ==, 3);

    /* The VF goes while it is waited for. */
    f->host->ops->used_vf(f->host, VF1, 3, g_task_new(NULL, NULL, on_done, &outcome));
    unlink(virtfn);
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_FOUND, "number 1");
    g_assert_cmpint(symlink("../" VF1, virtfn), ==, 0);

    /* The configuration knows better. */
    own->driver = g_strdup("igb");
    own->receive_vector = 0;
    g_ptr_array_add(configured, own);
    vfo_host_set_quirks(f->host, configured);
    g_assert_cmpuint(activity_of(f), ==, 8);
    write_file(f, "sys/kernel/irq/40/actions", "vfio-msix[0](" VF1 ")\n", -1);
    f->host->ops->used_vf(f->host, VF1, 100, g_task_new(NULL, NULL, on_done, &outcome));
    assert_waits_well(&outcome);
}

static void test_activity(Fixture *f, gconstpointer data)
{
    set_pf_driver(f, "ixgbe");
    g_assert_cmpuint(activity_of(f), ==, 0);
    f->pf.vfs[1].received = 5;
    g_assert_cmpuint(activity_of(f), ==, 5);
    write_file(f, "sys/devices/" VF1 "/msi_irqs/40", "msix\n", -1);
    write_file(f, "sys/devices/" VF1 "/msi_irqs/41", "msix\n", -1);
    write_file(f, "sys/devices/" VF1 "/msi_irqs/..40", "msix\n", -1);
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "3,0,17\n", -1);
    g_assert_cmpuint(activity_of(f), ==, 25);
    write_file(f, "sys/kernel/irq/41/per_cpu_count", "1,x,17\n", -1);
    g_assert_cmpuint(activity_of(f), ==, 26);
}

static void test_used(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Outcome outcome = {0};

    set_pf_driver(f, "ixgbe");
    write_file(f, "sys/devices/" VF1 "/msi_irqs/40", "msix\n", -1);
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "100,0\n", -1);
    f->host->ops->used_vf(f->host, VF1, 100, g_task_new(NULL, NULL, on_done, &outcome));
    wait_for(&outcome, 150);
    g_assert_false(outcome.done);
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "100,1\n", -1);
    assert_waits_well(&outcome);

    /* The vector starts again from 0: what it had counted is not waited for. */
    f->host->ops->used_vf(f->host, VF1, 101, g_task_new(NULL, NULL, on_done, &outcome));
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "0,0\n", -1);
    wait_for(&outcome, 500); /* a dozen looks, on a busy machine */
    g_assert_false(outcome.done);
    write_file(f, "sys/kernel/irq/40/per_cpu_count", "2,0\n", -1);
    assert_waits_well(&outcome);

    f->host->ops->used_vf(f->host, VF1, 2, g_task_new(NULL, cancellable, on_done, &outcome));
    g_cancellable_cancel(cancellable);
    assert_waits_ill(&outcome, G_IO_ERROR, G_IO_ERROR_CANCELLED, "");

    /* The VF goes while it is waited for. */
    f->host->ops->used_vf(f->host, VF1, 2, g_task_new(NULL, NULL, on_done, &outcome));
    f->pf.n_vfs = 0;
    assert_waits_ill(&outcome, VFO_ERROR, VFO_ERROR_NOT_FOUND, "number 1");
}

/* ---------------------------------------------------------------- pool */

/* What the pool has told: "+pci", "-pci", "~pci driver usable", with "!" when it was ours. */
static void on_pool_changed(VfoHost *host, const VfoVf *before, const VfoVf *now, gboolean ours,
                            gpointer data)
{
    GString *news = data;

    g_assert_true(before || now);
    if (!before)
        g_string_append_printf(news, "+%s ", now->pci);
    else if (!now)
        g_string_append_printf(news, "-%s ", before->pci);
    else
        g_string_append_printf(news, "~%s %s %s%s ", now->pci, now->driver ? now->driver : "none",
                               now->usable ? "up" : "down", ours ? "!" : "");
}

static void assert_news(VfoPool *pool, GString *news, const char *expected)
{
    g_string_truncate(news, 0);
    vfo_pool_look(pool);
    g_assert_cmpstr(news->str, ==, expected);
    /* What has been told is no news any more. */
    vfo_pool_look(pool);
    g_assert_cmpstr(news->str, ==, expected);
}

static void remove_vf(Fixture *f, const char *pci)
{
    g_autofree char *path = g_strdup_printf("/sys/devices/%s", pci);
    g_autofree char *virtfn =
        g_strdup_printf("%s/sys/devices/0000:01:00.0/virtfn%c", f->root, pci[strlen(pci) - 1]);

    umockdev_testbed_remove_device(f->testbed, path);
    g_assert_cmpint(unlink(virtfn), ==, 0);
}

static void test_pool(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_strdup_printf("%s/sys/devices/" VF2, f->root);
    g_autoptr(GString) news = g_string_new(NULL);
    VfoPool *pool = vfo_host_watch_with(f->host, on_pool_changed, news);
    int old;

    g_assert_true(vfo_pool_has_pf(pool, "eth1"));
    g_assert_false(vfo_pool_has_pf(pool, "eth2"));
    g_assert_cmpstr(news->str, ==, ""); /* what is there at the start is no news */
    assert_news(pool, news, "");

    f->pf.down = TRUE;
    assert_news(pool, news, "~" VF0 " vfio-pci down ~" VF1 " vfio-pci down ~" VF2 " none down ");
    f->pf.down = FALSE;
    assert_news(pool, news, "~" VF0 " vfio-pci up ~" VF1 " vfio-pci up ~" VF2 " none up ");

    /* Somebody else's change, and our own. */
    f->pf.vfs[1].mac.mac[5] = 0x99;
    assert_news(pool, news, "~" VF1 " vfio-pci up ");
    {
        VfoVfSettings settings = settings_of(f, VF1);

        settings.vlan = 7;
        g_assert_true(f->host->ops->set_vf(f->host, VF1, &settings, NULL));
        assert_news(pool, news, "~" VF1 " vfio-pci up! ");
        /* Ours was that one, not the next. */
        f->pf.vfs[1].vlan.vlan = 8;
        assert_news(pool, news, "~" VF1 " vfio-pci up ");
    }

    /* sriov_numvfs to 2. */
    f->pf.n_vfs = 2;
    remove_vf(f, VF2);
    assert_news(pool, news, "-" VF2 " ");
    f->pf.n_vfs = 3;
    add_vf(f, VF2, "0000:01:00.0", 2, 19, "vfio-pci");
    assert_news(pool, news, "+" VF2 " ");
    /* Gone and back between two looks: another VF. Held open, as the file system of the test would
     * use the number of its directory again; sysfs does not. */
    old = open(path, O_RDONLY | O_DIRECTORY);
    g_assert_cmpint(old, >=, 0);
    remove_vf(f, VF2);
    add_vf(f, VF2, "0000:01:00.0", 2, 19, "vfio-pci");
    assert_news(pool, news, "-" VF2 " +" VF2 " ");
    close(old);

    /* An answer that fails is no news of the VFs; a PF that is gone is. */
    f->pf.read_code = -EBUSY;
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*blue*eth1*");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*blue*eth1*");
    assert_news(pool, news, "");
    g_test_assert_expected_messages();
    f->pf.read_code = -ENODEV;
    g_string_truncate(news, 0);
    vfo_pool_look(pool);
    g_assert_nonnull(strstr(news->str, "-" VF0));
    g_assert_nonnull(strstr(news->str, "-" VF1));
    g_assert_nonnull(strstr(news->str, "-" VF2));
    f->pf.read_code = 0;
    assert_news(pool, news, "+" VF0 " +" VF1 " +" VF2 " ");
}

/* Nobody says that something has happened; a trusted guest's VF is looked at all the same. */
static void test_pool_trusted(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) news = g_string_new(NULL);
    gint64 until_us;
    VfoPool *pool;

    f->pf.vfs[0].trust.setting = 1;
    pool = vfo_host_watch_with(f->host, on_pool_changed, news);
    g_assert_nonnull(pool);
    f->pf.vfs[0].mac.mac[5] = 0x99;
    until_us = g_get_monotonic_time() + PATIENT * 1000;
    while (news->len == 0 && g_get_monotonic_time() < until_us)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(news->str, ==, "~" VF0 " vfio-pci up ");
}

/* Told that something may have happened, it looks once for many events. */
static void test_pool_soon(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) news = g_string_new(NULL);
    VfoPool *pool = vfo_host_watch_with(f->host, on_pool_changed, news);
    guint readings = f->pf.readings;
    gint64 until_us = g_get_monotonic_time() + PATIENT * 1000;

    f->pf.down = TRUE;
    for (int i = 0; i < 1000; i++)
        vfo_pool_look_soon(pool);
    g_assert_cmpuint(f->pf.readings, ==, readings);
    while (news->len == 0 && g_get_monotonic_time() < until_us)
        g_main_context_iteration(NULL, TRUE);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(f->pf.readings, ==, readings + 1);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/host/sysfs/read-vf", test_read_vf);
    add("/host/sysfs/not-there", test_not_there);
    add("/host/sysfs/many-vfs", test_many_vfs);
    add("/host/sysfs/hostile-answers", test_hostile_answers);
    add("/host/sysfs/list-vfs", test_list_vfs);
    add("/host/sysfs/set-vf", test_set_vf);
    add("/host/sysfs/set-readings", test_set_readings);
    add("/host/sysfs/set-qinq", test_set_qinq);
    add("/host/sysfs/set-refused", test_set_refused);
    add("/host/sysfs/set-ignored", test_set_ignored);
    add("/host/sysfs/set-unreported", test_set_unreported);
    add("/host/sysfs/set-invalid", test_set_invalid);
    add("/host/sysfs/reset", test_reset);
    add("/host/sysfs/reset-cancelled", test_reset_cancelled);
    add("/host/sysfs/closed", test_closed);
    add("/host/sysfs/activity", test_activity);
    add("/host/sysfs/activity-uncounted", test_activity_uncounted);
    add("/host/sysfs/used", test_used);
    add("/host/sysfs/pool", test_pool);
    add("/host/sysfs/pool-trusted", test_pool_trusted);
    add("/host/sysfs/pool-soon", test_pool_soon);
    return g_test_run();
}
