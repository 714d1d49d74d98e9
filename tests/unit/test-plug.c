/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel is told when frames for a macvtap are to wait, and what if it will not. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>

#include "fake-links.h"
#include "host/plug.h"

#define MACVTAP 6
#define IFB     9
#define BUSY    3 /* times that frames are still there when they are looked for */

typedef struct {
    GString *asked;
    const char *refused; /* the request that fails with @code; NULL: none */
    int code;
    gboolean has_ingress;
    guint filters;           /* of others, at the ingress */
    guint waiting;           /* looks at which a frame still waits */
    guint between;           /* and at which one is in the ifb */
    const char *const *left; /* interfaces of kind ifb; NULL: there is none */
} Kernel;

static const VfoLink macvtap = {.index = MACVTAP, .name = "macvtap0"};

static const char *name_of_qdisc(struct nlmsghdr *request)
{
    static const char *const actions[] = {"mark", "let-go", "pull", "limit"};
    const struct tcmsg *tc = nlmsg_data(request);
    const char *kind = text_of(request, sizeof(*tc), TCA_KIND);
    const struct tc_plug_qopt *plug;

    if (tc->tcm_parent == TC_H_CLSACT) {
        g_assert_cmpint(tc->tcm_ifindex, ==, MACVTAP);
        g_assert_cmphex(tc->tcm_handle, ==, 0xffff0000);
        g_assert_cmpstr(kind, ==, "clsact");
        g_assert_true(request->nlmsg_flags & NLM_F_EXCL);
        return "ingress";
    }
    g_assert_cmpint(tc->tcm_ifindex, ==, IFB);
    g_assert_cmphex(tc->tcm_parent, ==, TC_H_ROOT);
    g_assert_cmphex(tc->tcm_handle, ==, 0x10000);
    g_assert_cmpstr(kind, ==, "plug");
    plug = nla_data(nlmsg_find_attr(request, sizeof(*tc), TCA_OPTIONS));
    g_assert_cmpuint(plug->limit, ==, 8 * 1024 * 1024);
    /* The first makes it; the others must not make another. */
    g_assert_cmpint(!!(request->nlmsg_flags & NLM_F_CREATE), ==, plug->action == TCQ_PLUG_LIMIT);
    return actions[plug->action];
}

/* All protocols, by way of the ifb. */
static void check_redirect(struct nlmsghdr *request)
{
    struct nlattr *options = nlmsg_find_attr(request, sizeof(struct tcmsg), TCA_OPTIONS);
    struct nlattr *list = nla_find(nla_data(options), nla_len(options), TCA_MATCHALL_ACT);
    struct nlattr *first = nla_find(nla_data(list), nla_len(list), 1);
    struct nlattr *kind = nla_find(nla_data(first), nla_len(first), TCA_ACT_KIND);
    struct nlattr *own = nla_find(nla_data(first), nla_len(first), TCA_ACT_OPTIONS);
    const struct tc_mirred *mirred =
        nla_data(nla_find(nla_data(own), nla_len(own), TCA_MIRRED_PARMS));

    g_assert_cmpstr(nla_get_string(kind), ==, "mirred");
    g_assert_cmpint(mirred->action, ==, TC_ACT_STOLEN);
    g_assert_cmpint(mirred->eaction, ==, TCA_EGRESS_REDIR);
    g_assert_cmpuint(mirred->ifindex, ==, IFB);
}

static const char *name_of_filter(struct nlmsghdr *request)
{
    const struct tcmsg *tc = nlmsg_data(request);

    g_assert_cmpint(tc->tcm_ifindex, ==, MACVTAP);
    g_assert_cmphex(tc->tcm_parent, ==, 0xfffffff2);
    if (request->nlmsg_type == RTM_GETTFILTER) {
        g_assert_cmpuint(tc->tcm_info, ==, 0);
        return "filters";
    }
    g_assert_cmphex(tc->tcm_info, ==, 0x56460000U | htons(ETH_P_ALL));
    if (request->nlmsg_type == RTM_DELTFILTER)
        return "remove-filter";
    g_assert_cmpstr(text_of(request, sizeof(*tc), TCA_KIND), ==, "matchall");
    check_redirect(request);
    return "filter";
}

static const char *name_of(struct nlmsghdr *request)
{
    switch (request->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        g_assert_cmpstr(text_of(request, sizeof(struct ifinfomsg), IFLA_IFNAME), ==, "vfo-hold6");
        return request->nlmsg_type == RTM_NEWLINK ? "ifb" : "remove-ifb";
    case RTM_GETQDISC:
        g_assert_true(request->nlmsg_flags & NLM_F_ECHO);
        return "count";
    case RTM_GETLINK:
        return request->nlmsg_flags & NLM_F_DUMP ? "list" : "link";
    case RTM_NEWQDISC:
        return name_of_qdisc(request);
    default:
        return name_of_filter(request);
    }
}

static int show_ifb(const char *name, guint between, VfoNetlinkAnswer answer, gpointer data)
{
    const FakeLink link = {.index = IFB,
                           .name = name,
                           .kind = "ifb",
                           .stats = {.rx_packets = 10 + between, .rx_dropped = 2, .tx_packets = 8}};

    return show_link(&link, answer, data);
}

static int get_link(Kernel *kernel, struct nlmsghdr *request, VfoNetlinkAnswer answer,
                    gpointer data)
{
    int code = 0;

    if (!(request->nlmsg_flags & NLM_F_DUMP))
        return show_ifb("vfo-hold6", kernel->between ? kernel->between-- : 0, answer, data);
    for (guint i = 0; code == 0 && kernel->left && kernel->left[i]; i++)
        code = show_ifb(kernel->left[i], 0, answer, data);
    return code;
}

static int show_filters(const Kernel *kernel, VfoNetlinkAnswer answer, gpointer data)
{
    const struct tcmsg header = {.tcm_ifindex = MACVTAP};
    g_autoptr(VfoMessage) message = vfo_netlink_message(RTM_NEWTFILTER, 0, &header, sizeof(header));

    return kernel->filters ? answer(nlmsg_hdr(message), data) : 0;
}

static int count(Kernel *kernel, VfoNetlinkAnswer answer, gpointer data)
{
    const struct tcmsg header = {.tcm_ifindex = IFB};
    const struct gnet_stats_queue queue = {.qlen = kernel->waiting, .drops = 4};
    g_autoptr(VfoMessage) message = vfo_netlink_message(RTM_NEWQDISC, 0, &header, sizeof(header));
    struct nlattr *stats = nla_nest_start(message, TCA_STATS2);

    kernel->waiting -= kernel->waiting > 0;
    vfo_netlink_put(message, TCA_STATS_QUEUE, &queue, sizeof(queue));
    nla_nest_end(message, stats);
    return answer(nlmsg_hdr(message), data);
}

static int answer_as(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                     gpointer data)
{
    Kernel *kernel = data;
    const char *name = name_of(request);

    if (request->nlmsg_type != RTM_GETLINK)
        g_string_append_printf(kernel->asked, "%s ", name);
    if (g_strcmp0(name, kernel->refused) == 0)
        return kernel->code;
    if (g_str_equal(name, "ingress") && kernel->has_ingress)
        return -EEXIST;
    switch (request->nlmsg_type) {
    case RTM_GETLINK:
        return get_link(kernel, request, answer, answer_data);
    case RTM_GETQDISC:
        return count(kernel, answer, answer_data);
    case RTM_GETTFILTER:
        return show_filters(kernel, answer, answer_data);
    default:
        return 0;
    }
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

static VfoPlug *make(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VfoPlug *plug = vfo_plug_new(f->netlink, &macvtap, &error);

    g_assert_no_error(error);
    assert_asked(f, "ifb limit pull ingress filter ");
    return plug;
}

#define GONE "remove-filter remove-ifb "

static void test_life(Fixture *f, gconstpointer data)
{
    VfoPlug *plug = make(f);
    g_autoptr(GError) error = NULL;
    VfoPlugCount counted;

    g_assert_true(vfo_plug_mark(plug, &error));
    g_assert_true(vfo_plug_let_go(plug, &error));
    f->kernel.waiting = BUSY;
    g_assert_true(vfo_plug_count(plug, &counted, &error));
    g_assert_cmpuint(counted.waiting, ==, BUSY);
    g_assert_cmpuint(counted.dropped, ==, 4);
    g_assert_true(vfo_plug_pull(plug, &error));
    assert_asked(f, "mark let-go count pull ");
    /* One more look, for what has left the plug and is not in the macvtap yet; and one when
     * nothing more can come. */
    f->kernel.between = BUSY;
    g_assert_true(vfo_plug_remove(plug, &error));
    assert_asked(f, "pull count count count count remove-filter count remove-ifb ");
    g_assert_true(vfo_plug_remove(plug, &error));
    g_assert_no_error(error);
    vfo_plug_free(plug);
    assert_asked(f, "");
}

/* A guest that gets so much that it is never seen empty hears all the same. */
static void test_full(Fixture *f, gconstpointer data)
{
    VfoPlug *plug = make(f);
    g_autoptr(GError) error = NULL;

    f->kernel.waiting = G_MAXUINT;
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*macvtap0*lost*waited in vfo-hold6*");
    g_assert_true(vfo_plug_remove(plug, &error));
    g_test_assert_expected_messages();
    g_assert_no_error(error);
    g_assert_nonnull(strstr(f->kernel.asked->str, "count remove-filter count "));
    g_assert_true(g_str_has_suffix(f->kernel.asked->str, "count remove-ifb "));
    vfo_plug_free(plug);
}

/* Somebody has taken the ifb away: the filter that leads to it must go. */
static void test_no_ifb(Fixture *f, gconstpointer data)
{
    VfoPlug *plug = make(f);
    g_autoptr(GError) error = NULL;

    f->kernel.refused = "pull";
    f->kernel.code = -ENODEV;
    g_assert_false(vfo_plug_pull(plug, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_string_set_size(f->kernel.asked, 0);
    g_assert_true(vfo_plug_remove(plug, &error));
    g_assert_no_error(error);
    assert_asked(f, "pull remove-filter count remove-ifb ");
    vfo_plug_free(plug);
}

/* QEMU has ended, and its macvtap with it: what waits is nobody's. */
static void test_no_macvtap(Fixture *f, gconstpointer data)
{
    VfoPlug *plug = make(f);
    g_autoptr(GError) error = NULL;

    f->kernel.refused = "remove-filter";
    f->kernel.code = -ENODEV;
    g_assert_true(vfo_plug_remove(plug, &error));
    assert_asked(f, "pull count remove-filter count remove-ifb ");
    vfo_plug_free(plug);
}

/* From the last time, or a user's: nothing is in it. */
static void test_has_ingress(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    VfoPlug *plug;

    f->kernel.has_ingress = TRUE;
    plug = vfo_plug_new(f->netlink, &macvtap, &error);
    g_assert_no_error(error);
    assert_asked(f, "ifb limit pull ingress filters filter ");
    vfo_plug_free(plug);
    assert_asked(f, GONE);

    f->kernel.filters = 1;
    g_assert_null(vfo_plug_new(f->netlink, &macvtap, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    g_assert_nonnull(strstr(error->message, "tc filter show dev macvtap0 ingress"));
    assert_asked(f, "ifb limit pull ingress filters " GONE);
}

static void assert_cannot(Fixture *f, const char *refused, int code, const char *words,
                          const char *asked)
{
    g_autoptr(GError) error = NULL;

    f->kernel.refused = refused;
    f->kernel.code = code;
    g_assert_null(vfo_plug_new(f->netlink, &macvtap, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    if (!strstr(error->message, words))
        g_error("'%s' does not say '%s'", error->message, words);
    assert_asked(f, asked);
}

/* Nothing of it is left. */
static void test_cannot(Fixture *f, gconstpointer data)
{
    assert_cannot(f, "ifb", -EOPNOTSUPP, "CONFIG_IFB", "ifb " GONE);
    assert_cannot(f, "limit", -ENOENT, "CONFIG_NET_SCH_PLUG", "ifb limit " GONE);
    assert_cannot(f, "pull", -EINVAL, "macvtap0", "ifb limit pull " GONE);
    assert_cannot(f, "ingress", -ENOENT, "CONFIG_NET_SCH_INGRESS", "ifb limit pull ingress " GONE);
    assert_cannot(f, "filter", -ENOENT, "CONFIG_NET_CLS_MATCHALL",
                  "ifb limit pull ingress filter " GONE);
}

static void assert_not_removed(Fixture *f, VfoPlug *plug, const char *refused, const char *words)
{
    g_autoptr(GError) error = NULL;

    f->kernel.refused = refused;
    f->kernel.code = -EPERM;
    g_assert_false(vfo_plug_remove(plug, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_DENIED);
    g_assert_nonnull(strstr(error->message, words));
    f->kernel.refused = NULL;
    g_string_set_size(f->kernel.asked, 0);
}

static void test_refuses(Fixture *f, gconstpointer data)
{
    VfoPlug *plug = make(f);
    g_autoptr(GError) error = NULL;

    f->kernel.refused = "mark";
    f->kernel.code = -EPERM;
    g_assert_false(vfo_plug_mark(plug, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_DENIED);
    g_assert_nonnull(strstr(error->message, "macvtap0"));
    g_clear_error(&error);
    assert_not_removed(f, plug, "remove-filter", "interface 6");
    assert_not_removed(f, plug, "remove-ifb", "vfo-hold6");
    g_assert_true(vfo_plug_remove(plug, &error));
    assert_asked(f, "pull count remove-filter count remove-ifb ");
    vfo_plug_free(plug);
}

/* Of all interfaces of that kind those with our name, and a number that can be one. */
static void test_left_over(Fixture *f, gconstpointer data)
{
    static const char *const others[] = {"ifb0", "vfo-hold", "vfo-hold0", "vfo-hold6x", NULL};
    static const char *const ours[] = {"ifb0", "vfo-hold6", "vfo-hold6", NULL};

    vfo_plug_remove_all(f->netlink);
    f->kernel.left = others;
    vfo_plug_remove_all(f->netlink);
    assert_asked(f, "");
    f->kernel.left = ours;
    vfo_plug_remove_all(f->netlink);
    assert_asked(f, GONE GONE);
    /* One that stays does not keep the others. */
    f->kernel.refused = "remove-filter";
    f->kernel.code = -EPERM;
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*interface 6 hears nothing*");
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*interface 6 hears nothing*");
    vfo_plug_remove_all(f->netlink);
    g_test_assert_expected_messages();
    assert_asked(f, "remove-filter remove-filter ");
    f->kernel.refused = "list";
    g_test_expect_message("vfailover", G_LOG_LEVEL_WARNING, "*cannot look*");
    vfo_plug_remove_all(f->netlink);
    g_test_assert_expected_messages();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/plug/life", test_life},
        {"/plug/full", test_full},
        {"/plug/no-ifb", test_no_ifb},
        {"/plug/no-macvtap", test_no_macvtap},
        {"/plug/has-ingress", test_has_ingress},
        {"/plug/cannot", test_cannot},
        {"/plug/refuses", test_refuses},
        {"/plug/left-over", test_left_over},
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}
