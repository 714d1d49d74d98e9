/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which hold a host takes when it is to keep frames: one that was made ready, or a new one. */
#include "host/hold.h"
#include "host/host-private.h"

#define VF    "0000:01:10.0"
#define OTHER "0000:01:10.2"

struct _VfoHold {
    char *pci;
    gboolean begun;
};

/* "made VF1", "begun VF1", "ended VF1", in order. */
static GString *calls;
static gboolean stays; /* a hold cannot be ended */

static void note(const char *what, const char *pci)
{
    g_string_append_printf(calls, "%s %s ", what, g_str_equal(pci, VF) ? "VF" : "other");
}

/* ---------------------------------------------------------------- the holds */

VfoHold *vfo_hold_new_in_bridge(VfoQueue *queue, const VfoLink *pf, const VfoLink *tap,
                                const VfoTakenVf *vf, GError **error)
{
    VfoHold *hold = g_new0(VfoHold, 1);

    g_assert_cmpstr(pf->name, ==, "pf0");
    g_assert_cmpstr(tap->name, ==, "tap0");
    hold->pci = g_strdup(vf->pci);
    note("made", hold->pci);
    return hold;
}

VfoHold *vfo_hold_new_on_macvtap(VfoNetlink *netlink, const VfoLink *tap, const VfoTakenVf *vf,
                                 GError **error)
{
    g_string_append(calls, "macvtap: ");
    return vfo_hold_new_in_bridge(NULL, &(VfoLink){.name = "pf0"}, tap, vf, error);
}

void vfo_hold_begin(VfoHold *hold)
{
    g_assert_false(hold->begun);
    hold->begun = TRUE;
    note("begun", hold->pci);
}

gboolean vfo_hold_has_begun(const VfoHold *hold)
{
    return hold->begun;
}

const char *vfo_hold_vf(const VfoHold *hold)
{
    return hold->pci;
}

gboolean vfo_hold_take(VfoHold *hold, const VfoQueued *frame)
{
    return FALSE;
}

static void end(VfoHold *hold)
{
    note("ended", hold->pci);
    g_free(hold->pci);
    g_free(hold);
}

gboolean vfo_hold_end(VfoHold *hold, GError **error)
{
    if (stays)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "nftables will not");
    else
        end(hold);
    return !stays;
}

void vfo_hold_free(VfoHold *hold)
{
    end(hold);
}

/* ------------------------------------------------------------------ the rest */

VfoQueue *vfo_queue_new(VfoQueueArrived arrived, gpointer data, GError **error)
{
    return (VfoQueue *)(void *)calls;
}

void vfo_queue_free(VfoQueue *queue)
{
}

void vfo_queue_decide(VfoQueue *queue, guint32 id, gboolean goes_on)
{
    g_assert_not_reached();
}

gboolean vfo_place_find(VfoLocalHost *host, const char *pci, VfoPlace *place, GError **error)
{
    *place = (VfoPlace){.pf = "pf0"};
    return TRUE;
}

void vfo_place_clear(VfoPlace *place)
{
}

static int kernel(struct nlmsghdr *request, VfoNetlinkAnswer answer, gpointer answer_data,
                  gpointer data)
{
    struct ifinfomsg header = {.ifi_index = 1};
    struct nlattr *name = nlmsg_find_attr(request, sizeof(header), IFLA_IFNAME);
    g_autoptr(VfoMessage) message = nlmsg_alloc_simple(RTM_NEWLINK, 0);

    g_assert_cmpint(request->nlmsg_type, ==, RTM_GETLINK);
    g_assert_nonnull(name);
    nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, nla_get_string(name));
    return answer(nlmsg_hdr(message), answer_data);
}

/* ----------------------------------------------------------------- the tests */

typedef struct {
    GPtrArray *networks;
    VfoLeases *leases;
    VfoHost *host;
    VfoWire wire;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    calls = g_string_new(NULL);
    stays = FALSE;
    f->networks = g_ptr_array_new();
    f->leases = vfo_leases_new();
    f->wire = (VfoWire){.datapath = "bridge",
                        .uplink = (char *)"pf0",
                        .bridge = (char *)"br0",
                        .tap = (char *)"tap0"};
    f->host = vfo_host_new_with(f->networks, f->leases, "/nonexistent",
                                vfo_netlink_new_stand_in(kernel, NULL),
                                vfo_netlink_new_stand_in(kernel, NULL));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_host_free(f->host);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->networks);
    g_string_free(calls, TRUE);
}

static void prepare(Fixture *f, const char *pci)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->prepare_hold(f->host, &f->wire, pci, &error));
    g_assert_no_error(error);
}

static void hold(Fixture *f, const char *pci)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->hold(f->host, &f->wire, pci, &error));
    g_assert_no_error(error);
}

static void release(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(f->host->ops->release(f->host, &f->wire, &error));
    g_assert_no_error(error);
}

static void test_prepared(Fixture *f, gconstpointer data)
{
    prepare(f, VF);
    hold(f, VF);
    release(f);
    g_assert_cmpstr(calls->str, ==, "made VF begun VF ended VF ");
}

static void test_unprepared(Fixture *f, gconstpointer data)
{
    hold(f, VF);
    release(f);
    release(f);
    g_assert_cmpstr(calls->str, ==, "made VF begun VF ended VF ");
}

/* A job that has failed has left one for the VF of that time. */
static void test_prepared_for_another(Fixture *f, gconstpointer data)
{
    prepare(f, OTHER);
    hold(f, VF);
    g_assert_cmpstr(calls->str, ==, "made other ended other made VF begun VF ");
}

/* What it keeps is delivered before another one keeps anything. */
static void test_begun(Fixture *f, gconstpointer data)
{
    hold(f, VF);
    hold(f, VF);
    g_assert_cmpstr(calls->str, ==, "made VF begun VF ended VF made VF begun VF ");
}

static void test_macvtap(Fixture *f, gconstpointer data)
{
    f->wire.datapath = "macvtap";
    prepare(f, VF);
    hold(f, VF);
    g_assert_cmpstr(calls->str, ==, "macvtap: made VF begun VF ");
}

static void test_cannot_end(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    hold(f, VF);
    stays = TRUE;
    g_assert_false(f->host->ops->release(f->host, &f->wire, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    g_clear_error(&error);
    g_assert_false(f->host->ops->hold(f->host, &f->wire, VF, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    stays = FALSE;
    release(f);
    g_assert_cmpstr(calls->str, ==, "made VF begun VF ended VF ");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/host/hold/prepared", Fixture, NULL, set_up, test_prepared, tear_down);
    g_test_add("/host/hold/unprepared", Fixture, NULL, set_up, test_unprepared, tear_down);
    g_test_add("/host/hold/prepared-for-another", Fixture, NULL, set_up, test_prepared_for_another,
               tear_down);
    g_test_add("/host/hold/begun", Fixture, NULL, set_up, test_begun, tear_down);
    g_test_add("/host/hold/cannot-end", Fixture, NULL, set_up, test_cannot_end, tear_down);
    g_test_add("/host/hold/macvtap", Fixture, NULL, set_up, test_macvtap, tear_down);
    return g_test_run();
}
