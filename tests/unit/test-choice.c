/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which VF a guest gets: tables of hosts, and what is to be chosen there. */
#include "core/core.h"

#include <string.h>

#define JOB     "11111111-1111-1111-1111-111111111111"
#define MAX_VFS 8
#define INTEL   0x8086
#define IGBVF   0x10ca
#define IAVF    0x154c
#define GUEST                                                                                      \
    {                                                                                              \
        {                                                                                          \
            0x52, 0x54, 0x00, 0xaa, 0x00, 0x10                                                     \
        }                                                                                          \
    }

/* A VF in a table; what is not written is as a free VF has it. */
typedef struct {
    const char *pf; /* NULL: the end */
    const char *network;
    const char *driver;
    guint16 device;
    int node;
    guint mtu;
    gboolean down, opened, leased;
    gboolean left; /* with the guest's MAC */
    gboolean owned;
    gboolean kept; /* for web1, as it is not clean */
} Row;

typedef struct {
    const char *name;
    Row rows[MAX_VFS];
    VfoWant want;
    int chosen; /* number of the row; -1: none */
    const char *words;
} Case;

static const Case cases[] = {
    {"the first", {{"p0"}, {"p0"}}, {.numa_node = -1}, 0, NULL},
    {"no VFs", {{NULL}}, {.numa_node = -1}, -1, "it has 0"},
    {"used ones",
     {{"p0", .opened = TRUE}, {"p0", .leased = TRUE}, {"p0", .driver = "igbvf"}, {"p0"}},
     {.numa_node = -1},
     3,
     NULL},
    {"none free",
     {{"p0", .opened = TRUE}, {"p0", .leased = TRUE}, {"p0", .driver = "igbvf"}},
     {.numa_node = -1},
     -1,
     "no VF of network 'blue' is free at the destination (it has 3"},
    {"another network",
     {{"p1", .network = "red"}, {"p0", .opened = TRUE}},
     {.numa_node = -1},
     -1,
     "it has 1"},
    {"its own that is not open", {{"p0", .owned = TRUE}}, {.vm = "web1", .numa_node = -1}, 0, NULL},
    {"a VM's that is not open", {{"p0", .owned = TRUE}, {"p0"}}, {.numa_node = -1}, 1, NULL},
    {"no driver", {{"p0", .driver = ""}}, {.numa_node = -1}, -1, "vfio-pci"},

    {"a usable PF", {{"p0", .down = TRUE}, {"p1"}}, {.numa_node = -1}, 1, NULL},
    {"no usable PF: said by who looks at it", {{"p0", .down = TRUE}}, {.numa_node = -1}, 0, NULL},
    {"usable before all else",
     {{"p0", .node = 1, .mtu = 9000, .down = TRUE}, {"p1", .opened = TRUE}, {"p1"}},
     {.numa_node = 1, .mtu = 9000},
     2,
     NULL},

    {"the MTU", {{"p0"}, {"p1", .mtu = 9000}}, {.numa_node = -1, .mtu = 9000}, 1, NULL},
    {"a larger MTU", {{"p0"}, {"p1", .mtu = 9000}}, {.numa_node = -1, .mtu = 1501}, 1, NULL},
    {"no MTU: said by who looks at it", {{"p0"}}, {.numa_node = -1, .mtu = 9000}, 0, NULL},
    {"the MTU before the node",
     {{"p0", .node = 1}, {"p1", .mtu = 9000}},
     {.numa_node = 1, .mtu = 9000},
     1,
     NULL},

    {"the device",
     {{"p0", .device = IAVF}, {"p1"}},
     {.numa_node = -1, .vendor = INTEL, .device = IGBVF},
     1,
     NULL},
    {"no such device",
     {{"p0", .device = IAVF}, {"p1", .opened = TRUE}},
     {.numa_node = -1, .vendor = INTEL, .device = IGBVF},
     -1,
     "8086:10ca"},
    {"any device will do",
     {{"p0", .device = IAVF}},
     {.numa_node = -1, .vendor = INTEL, .device = IGBVF, .any_vf = TRUE},
     0,
     NULL},
    {"any, but the same is better",
     {{"p0", .device = IAVF, .node = 1}, {"p1"}},
     {.numa_node = 1, .vendor = INTEL, .device = IGBVF, .any_vf = TRUE},
     1,
     NULL},
    {"the source does not know its device", {{"p0", .device = IAVF}}, {.numa_node = -1}, 0, NULL},

    {"the node", {{"p0"}, {"p1", .node = 1}}, {.numa_node = 1}, 1, NULL},
    {"no such node", {{"p0"}, {"p1", .node = 1}}, {.numa_node = 2}, 0, NULL},
    {"the node before the load",
     {{"p0"}, {"p1", .node = 1, .opened = TRUE}, {"p1", .node = 1}},
     {.numa_node = 1},
     2,
     NULL},
    {"a node is no use that nobody knows",
     {{"p0", .opened = TRUE}, {"p0", .node = -1}, {"p1", .node = 1}},
     {.numa_node = -1},
     2,
     NULL},

    {"what has the guest's MAC",
     {{"p0", .node = 1}, {"p1", .opened = TRUE}, {"p1", .left = TRUE}},
     {.mac = GUEST, .numa_node = 1},
     2,
     NULL},
    {"the device before the MAC",
     {{"p0", .device = IAVF, .left = TRUE}, {"p0"}},
     {.mac = GUEST, .numa_node = -1, .vendor = INTEL, .device = IGBVF, .any_vf = TRUE},
     1,
     NULL},

    {"unclean ones", {{"p0", .kept = TRUE}, {"p0"}}, {.vm = "web2", .numa_node = -1}, 1, NULL},
    {"no clean one", {{"p0", .kept = TRUE}}, {.vm = "web2", .numa_node = -1}, -1, "it has 1"},
    {"its own, unclean", {{"p0", .kept = TRUE}}, {.vm = "web1", .numa_node = -1}, 0, NULL},
    {"clean before its own MAC",
     {{"p0", .kept = TRUE, .left = TRUE}, {"p0"}},
     {.vm = "web1", .mac = GUEST, .numa_node = -1},
     1,
     NULL},

    {"the load", {{"p0", .opened = TRUE}, {"p0"}, {"p1"}, {"p1"}}, {.numa_node = -1}, 2, NULL},
    {"the load is a share",
     {{"p0", .opened = TRUE}, {"p0"}, {"p1", .opened = TRUE}, {"p1"}, {"p1"}},
     {.numa_node = -1},
     3,
     NULL},
    {"leased is load as well",
     {{"p0", .leased = TRUE}, {"p0"}, {"p1"}},
     {.numa_node = -1},
     2,
     NULL},
    {"equal load: the first",
     {{"p0", .opened = TRUE}, {"p0"}, {"p1", .opened = TRUE}, {"p1"}},
     {.numa_node = -1},
     1,
     NULL},
};

static const VfoMac owners = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x77}};

static VfoVf *vf_of(const Row *row, guint number)
{
    VfoVf *vf = g_new0(VfoVf, 1);

    vf->pci = g_strdup_printf("0000:01:10.%u", number);
    vf->pf = g_strdup(row->pf);
    vf->network = g_strdup(row->network ? row->network : "blue");
    if (g_strcmp0(row->driver, "") != 0)
        vf->driver = g_strdup(row->driver ? row->driver : "vfio-pci");
    vf->numa_node = row->node;
    vf->vendor = INTEL;
    vf->device = row->device ? row->device : IGBVF;
    vf->mtu = row->mtu ? row->mtu : 1500;
    vf->usable = !row->down;
    vf->opened = row->opened;
    if (row->left)
        vf->settings.mac = (VfoMac)GUEST;
    if (row->owned)
        vf->settings.mac = owners;
    return vf;
}

static gboolean has_owner(const VfoVf *vf, const char *vm, gpointer data)
{
    return g_strcmp0(vm, "web1") != 0 && vfo_mac_equal(&vf->settings.mac, &owners);
}

static void keep(VfoLeases *leases, const char *pci)
{
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "it is lost");

    g_assert_true(vfo_leases_take(leases, pci, JOB, 60, NULL));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*could not be cleaned*");
    vfo_leases_keep(leases, pci, JOB, "web1", why);
    g_test_assert_expected_messages();
}

static void test_case(gconstpointer data)
{
    const Case *test = data;
    g_autoptr(GPtrArray) vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    g_autoptr(GError) error = NULL;
    VfoWant want = test->want;
    const VfoVf *chosen;

    want.network = "blue";
    vfo_leases_set_owned(leases, has_owner, NULL);
    for (guint i = 0; i < MAX_VFS && test->rows[i].pf; i++) {
        VfoVf *vf = vf_of(&test->rows[i], i);

        g_ptr_array_add(vfs, vf);
        if (test->rows[i].leased)
            g_assert_true(vfo_leases_take(leases, vf->pci, JOB, 60, NULL));
        if (test->rows[i].kept)
            keep(leases, vf->pci);
    }
    chosen = vfo_choose_vf(vfs, leases, &want, &error);
    if (test->chosen >= 0) {
        g_assert_no_error(error);
        g_assert_true(chosen == g_ptr_array_index(vfs, test->chosen));
        return;
    }
    g_assert_null(chosen);
    /* The code with which a VM may come standby-only. */
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    if (!strstr(error->message, test->words))
        g_error("'%s' does not say '%s'", error->message, test->words);
    g_assert_null(strchr(error->message, '\n'));
}

static GError *is_unmet(gpointer data)
{
    return *(gboolean *)data ? g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "libvirt is silent") : NULL;
}

/* One that has an address may be that of a VM that nobody knows yet. */
static void test_unmet(void)
{
    static const Row given = {"p0", .left = TRUE};
    static const Row none = {"p0"};
    g_autoptr(GPtrArray) vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    g_autoptr(GError) error = NULL;
    const VfoWant want = {.vm = "web1", .network = "blue", .numa_node = -1};
    gboolean unmet = TRUE;
    VfoVf *vf = vf_of(&given, 0);

    vfo_leases_set_unmet(leases, is_unmet, &unmet);
    g_ptr_array_add(vfs, vf);
    g_assert_false(vfo_vf_is_free(vf, leases, "web1"));
    g_assert_null(vfo_choose_vf(vfs, leases, &want, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_true(g_str_has_prefix(error->message, "no VF of network 'blue' is known to be free"));
    g_assert_nonnull(strstr(error->message, "VF 0000:01:10.0 has an address"));
    g_assert_nonnull(strstr(error->message, "libvirt is silent"));

    g_ptr_array_add(vfs, vf_of(&none, 1));
    g_assert_true(vfo_choose_vf(vfs, leases, &want, NULL) == g_ptr_array_index(vfs, 1));
    vf->parking = vf->settings.mac;
    g_assert_true(vfo_vf_is_free(vf, leases, "web1"));
    memset(&vf->parking, 0, sizeof(vf->parking));
    g_assert_false(vfo_vf_is_free(vf, leases, "web1"));
    unmet = FALSE;
    g_assert_true(vfo_vf_is_free(vf, leases, "web1"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/choice/%s", cases[i].name);

        g_strdelimit(path, " :,", '-');
        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/choice/unmet", test_unmet);
    return g_test_run();
}
