/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel is told when a macvtap is to take nothing in for a while, and when it ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_gact.h>

#include "fake-links.h"
#include "host/mute.h"

#define MACVTAP     6
#define PATIENCE_MS 10000
#define READY       "ingress try hear "

typedef struct {
    GString *asked;
    const char *refused; /* the request that fails with @code; NULL: none */
    int code;
    gboolean drops;
    guint others; /* macvtaps besides ours */
} Kernel;

static const VfoLink macvtap = {
    .index = MACVTAP, .name = "macvtap0", .mac = {{0x52, 0x54, 0x00, 0xaa, 0x00, 0x10}}};
static const VfoMac nobody = {{0}};

/* Whose frames it drops. */
static VfoMac check_drop(struct nlmsghdr *request)
{
    static const VfoMac all_of_it = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    struct nlattr *options = nlmsg_find_attr(request, sizeof(struct tcmsg), TCA_OPTIONS);
    struct nlattr *mac = nla_find(nla_data(options), nla_len(options), TCA_FLOWER_KEY_ETH_DST);
    struct nlattr *mask =
        nla_find(nla_data(options), nla_len(options), TCA_FLOWER_KEY_ETH_DST_MASK);
    struct nlattr *list = nla_find(nla_data(options), nla_len(options), TCA_FLOWER_ACT);
    struct nlattr *first = nla_find(nla_data(list), nla_len(list), 1);
    struct nlattr *kind = nla_find(nla_data(first), nla_len(first), TCA_ACT_KIND);
    struct nlattr *own = nla_find(nla_data(first), nla_len(first), TCA_ACT_OPTIONS);
    const struct tc_gact *gact = nla_data(nla_find(nla_data(own), nla_len(own), TCA_GACT_PARMS));

    g_assert_cmpstr(nla_get_string(kind), ==, "gact");
    g_assert_cmpint(gact->action, ==, TC_ACT_SHOT);
    g_assert_cmpmem(nla_data(mask), nla_len(mask), &all_of_it, sizeof(all_of_it));
    g_assert_cmpint(nla_len(mac), ==, sizeof(VfoMac));
    return *(const VfoMac *)nla_data(mac);
}

static const char *name_of(struct nlmsghdr *request)
{
    const struct tcmsg *tc = nlmsg_data(request);
    VfoMac mac;

    if (request->nlmsg_type == RTM_GETLINK)
        return "list";
    if (request->nlmsg_type == RTM_NEWQDISC) {
        g_assert_cmpstr(text_of(request, sizeof(*tc), TCA_KIND), ==, "clsact");
        g_assert_true(request->nlmsg_flags & NLM_F_EXCL);
        return "ingress";
    }
    g_assert_cmphex(tc->tcm_parent, ==, 0xfffffff2);
    g_assert_cmphex(tc->tcm_info, ==, 0x56470000U | htons(ETH_P_ALL));
    if (request->nlmsg_type == RTM_DELTFILTER)
        return "hear";
    g_assert_cmpint(request->nlmsg_type, ==, RTM_NEWTFILTER);
    g_assert_cmpstr(text_of(request, sizeof(*tc), TCA_KIND), ==, "flower");
    mac = check_drop(request);
    if (vfo_mac_equal(&mac, &nobody))
        return "try";
    g_assert_true(vfo_mac_equal(&mac, &macvtap.mac));
    return "drop";
}

static int show_links(const Kernel *kernel, VfoNetlinkAnswer answer, gpointer data)
{
    int code = 0;

    for (guint i = 0; code == 0 && i <= kernel->others; i++) {
        g_autofree char *name = g_strdup_printf("macvtap%u", i);
        const FakeLink link = {.index = MACVTAP + (int)i,
                               .name = name,
                               .kind = "macvtap",
                               .macvlan_mode = MACVLAN_MODE_VEPA};

        code = show_link(&link, answer, data);
    }
    return code;
}

static int answer_as(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                     gpointer data)
{
    Kernel *kernel = data;
    const char *name = name_of(request);

    g_string_append_printf(kernel->asked, "%s ", name);
    if (g_strcmp0(name, kernel->refused) == 0)
        return kernel->code;
    if (g_str_equal(name, "list"))
        return show_links(kernel, answer, answer_data);
    if (g_str_equal(name, "drop")) {
        int code = kernel->drops ? -EEXIST : 0;

        kernel->drops = TRUE;
        return code;
    }
    if (g_str_equal(name, "hear")) {
        int code = kernel->drops ? 0 : -ENOENT;

        kernel->drops = FALSE;
        return code;
    }
    return 0;
}

/* ---------------------------------------------------------------------- tests */

typedef struct {
    Kernel kernel;
    VfoNetlink *netlink;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->kernel.asked = g_string_new(NULL);
    f->netlink = vfo_netlink_new_stand_in(answer_as, &f->kernel);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_netlink_free(f->netlink);
    g_string_free(f->kernel.asked, TRUE);
}

static void assert_asked(Fixture *f, const char *expected)
{
    g_assert_cmpstr(f->kernel.asked->str, ==, expected);
    g_string_set_size(f->kernel.asked, 0);
}

static VfoMute *make(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VfoMute *mute = vfo_mute_new(f->netlink, &macvtap, &error);

    g_assert_no_error(error);
    assert_asked(f, READY);
    return mute;
}

static gboolean on_patience(gpointer data)
{
    g_error("waited %d ms for the macvtap to %s", PATIENCE_MS, (const char *)data);
    return G_SOURCE_REMOVE;
}

static void await(Fixture *f, gboolean drops)
{
    guint patience = g_timeout_add(PATIENCE_MS, on_patience, (gpointer)(drops ? "drop" : "hear"));

    while (f->kernel.drops != drops)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(patience);
}

static void begin(Fixture *f, VfoMute *mute)
{
    vfo_mute_begin(mute);
    /* What the card has given to the PF before may be on its way. */
    assert_asked(f, "");
    await(f, TRUE);
    assert_asked(f, "drop ");
}

static void test_ends(Fixture *f, gconstpointer data)
{
    VfoMute *mute = make(f);

    begin(f, mute);
    vfo_mute_begin(mute);
    await(f, FALSE);
    assert_asked(f, "hear ");
    vfo_mute_free(mute);
    assert_asked(f, "");
}

static void test_ended_early(Fixture *f, gconstpointer data)
{
    VfoMute *mute = make(f);

    begin(f, mute);
    vfo_mute_free(mute);
    assert_asked(f, "hear ");
    g_assert_false(f->kernel.drops);
}

/* The job fails before anything is dropped. */
static void test_never_began(Fixture *f, gconstpointer data)
{
    VfoMute *mute = make(f);

    vfo_mute_begin(mute);
    vfo_mute_free(mute);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    assert_asked(f, "");
}

static void assert_cannot(Fixture *f, const char *refused, const char *asked)
{
    g_autoptr(GError) error = NULL;

    f->kernel.refused = refused;
    f->kernel.code = -ENOENT;
    g_assert_null(vfo_mute_new(f->netlink, &macvtap, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    g_assert_nonnull(strstr(error->message, "macvtap0"));
    g_assert_nonnull(strstr(error->message, "CONFIG_NET_ACT_GACT"));
    assert_asked(f, asked);
}

static void test_cannot(Fixture *f, gconstpointer data)
{
    VfoMute *mute;

    assert_cannot(f, "ingress", "ingress ");
    assert_cannot(f, "try", "ingress try ");
    f->kernel.refused = NULL;
    mute = make(f);
    f->kernel.refused = "drop";
    g_test_expect_message("vfailover", G_LOG_LEVEL_MESSAGE, "*twice*macvtap0*");
    vfo_mute_begin(mute);
    while (f->kernel.asked->len == 0)
        g_main_context_iteration(NULL, TRUE);
    g_test_assert_expected_messages();
    assert_asked(f, "drop ");
    /* A macvtap that has gone is nobody's loss. */
    f->kernel.code = -ENODEV;
    vfo_mute_begin(mute);
    while (f->kernel.asked->len == 0)
        g_main_context_iteration(NULL, TRUE);
    vfo_mute_free(mute);
    assert_asked(f, "drop ");
}

/* It is tried again until the guest hears, and whoever opens the way hears of it. */
static void test_will_not_end(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    VfoMute *mute = make(f);

    begin(f, mute);
    f->kernel.refused = "hear";
    f->kernel.code = -ENOBUFS;
    g_assert_false(vfo_mute_end(mute, &error));
    g_assert_nonnull(strstr(error->message, "interface 6"));
    g_string_set_size(f->kernel.asked, 0);
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*macvtap0*");
    while (f->kernel.asked->len == 0)
        g_main_context_iteration(NULL, TRUE);
    g_test_assert_expected_messages();
    f->kernel.refused = NULL;
    await(f, FALSE);
    assert_asked(f, "hear hear ");
    g_clear_error(&error);
    g_assert_true(vfo_mute_end(mute, &error));
    vfo_mute_free(mute);
    assert_asked(f, "");
}

/* A guest that stays deaf is worth a warning, with what helps. */
static void test_stays(Fixture *f, gconstpointer data)
{
    VfoMute *mute = make(f);

    begin(f, mute);
    f->kernel.refused = "hear";
    f->kernel.code = -EPERM;
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING,
                          "*tc filter del dev macvtap0 ingress pref 22087*");
    vfo_mute_free(mute);
    g_test_assert_expected_messages();
    assert_asked(f, "hear ");
    /* It has gone, and its ingress with it. */
    f->kernel.code = -ENODEV;
    mute = make(f);
    f->kernel.drops = FALSE;
    begin(f, mute);
    vfo_mute_free(mute);
    assert_asked(f, "hear ");
}

static void test_left_over(Fixture *f, gconstpointer data)
{
    f->kernel.others = 2;
    f->kernel.drops = TRUE;
    vfo_mute_end_all(f->netlink);
    assert_asked(f, "list hear hear hear ");
    f->kernel.refused = "list";
    f->kernel.code = -EPERM;
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*cannot look*");
    vfo_mute_end_all(f->netlink);
    g_test_assert_expected_messages();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/mute/ends", test_ends},
        {"/mute/ended-early", test_ended_early},
        {"/mute/never-began", test_never_began},
        {"/mute/cannot", test_cannot},
        {"/mute/will-not-end", test_will_not_end},
        {"/mute/stays", test_stays},
        {"/mute/left-over", test_left_over},
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
