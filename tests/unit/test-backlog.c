/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much is in a tap: with the kernel's own, in a network namespace without anybody else. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/host-private.h"

#define TAP  "tap0"
#define ROOM 1000 /* frames: a tap's txqueuelen */

typedef struct {
    int reader; /* what QEMU has */
    int sender; /* what the bridge is */
    VfoNetlink *netlink;
    VfoLink tap;
} Fixture;

static void be_alone(void)
{
    /* Where IPv6 is, it has something to say at an interface that comes up. */
    int v6;

    g_assert_no_errno(unshare(CLONE_NEWNET));
    v6 = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
    if (v6 >= 0) {
        g_assert_cmpint(write(v6, "1", 1), ==, 1);
        close(v6);
    }
}

static void set_up(Fixture *f, gconstpointer data)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    GError *error = NULL;

    be_alone();
    g_strlcpy(request.ifr_name, TAP, sizeof(request.ifr_name));
    f->reader = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    g_assert_no_errno(f->reader);
    g_assert_no_errno(ioctl(f->reader, TUNSETIFF, &request));
    f->netlink = vfo_netlink_new(NETLINK_ROUTE, &error);
    g_assert_no_error(error);
    g_assert_true(vfo_link_read(f->netlink, TAP, &f->tap, &error));
    g_assert_true(vfo_link_set_up(f->netlink, &f->tap, TRUE, &error));
    g_assert_no_error(error);
    f->sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    g_assert_no_errno(f->sender);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close(f->sender);
    if (f->reader >= 0)
        close(f->reader);
    vfo_netlink_free(f->netlink);
}

static void send_frames(Fixture *f, guint n)
{
    const struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_ifindex = f->tap.index, .sll_halen = ETH_ALEN};
    guint8 frame[ETH_ZLEN] = {0x52, 0x54, 0x00, 0xaa, 0x00, 0x10, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5};

    for (guint i = 0; i < n; i++) {
        if (sendto(f->sender, frame, sizeof(frame), 0, (const struct sockaddr *)&to, sizeof(to)) <
            0)
            g_assert_cmpint(errno, ==, ENOBUFS);
    }
}

/* How many there were, @n at most. */
static guint take_frames(Fixture *f, guint n)
{
    guint8 frame[2048];
    guint taken = 0;

    while (taken < n && read(f->reader, frame, sizeof(frame)) > 0)
        taken++;
    return taken;
}

static void assert_look(VfoBacklog *backlog, guint64 frames, gboolean is_short)
{
    GError *error = NULL;
    gboolean found = !is_short;

    g_assert_true(vfo_backlog_is_short(backlog, &found, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(vfo_backlog_frames(backlog), ==, frames);
    g_assert_cmpint(found, ==, is_short);
}

static VfoBacklog *backlog_of(Fixture *f)
{
    GError *error = NULL;
    VfoBacklog *backlog = vfo_backlog_new(f->netlink, &f->tap, &error);

    g_assert_no_error(error);
    return backlog;
}

/* It has been read to the end. */
static void assert_steady(VfoBacklog *backlog)
{
    for (guint i = 0; i < 3; i++) {
        gboolean last;

        g_assert_true(vfo_backlog_is_short(backlog, &last, NULL));
        g_assert_cmpuint(vfo_backlog_frames(backlog), ==, 0);
        g_assert_true(last || i < 2);
    }
}

static void test_frames(Fixture *f, gconstpointer data)
{
    VfoBacklog *backlog = backlog_of(f);

    /* It is not known at once that nothing was in it. */
    assert_look(backlog, 0, FALSE);
    send_frames(f, 40);
    assert_look(backlog, 40, FALSE);
    assert_look(backlog, 40, FALSE);
    g_assert_cmpuint(take_frames(f, 39), ==, 39);
    assert_look(backlog, 1, FALSE);
    g_assert_cmpuint(take_frames(f, 2), ==, 1);
    assert_look(backlog, 0, FALSE);
    assert_look(backlog, 0, FALSE);
    assert_look(backlog, 0, TRUE);
    vfo_backlog_free(backlog);
}

/* One waits all the time, but each is read soon. */
static void test_rate(Fixture *f, gconstpointer data)
{
    VfoBacklog *backlog = backlog_of(f);

    send_frames(f, 1);
    for (guint i = 0; i < 4; i++) {
        send_frames(f, 5);
        g_assert_cmpuint(take_frames(f, 5), ==, 5);
        assert_look(backlog, 1, i >= 2);
    }
    /* Until it is not. */
    assert_look(backlog, 1, FALSE);
    vfo_backlog_free(backlog);
}

static void test_slow(Fixture *f, gconstpointer data)
{
    VfoBacklog *backlog = backlog_of(f);

    send_frames(f, ROOM);
    assert_look(backlog, ROOM, FALSE);
    /* A rate is about time that goes by. */
    g_usleep(60 * 1000);
    g_assert_cmpuint(take_frames(f, 1), ==, 1);
    /* At that rate the last one waits for long. */
    assert_look(backlog, ROOM - 1, FALSE);
    vfo_backlog_free(backlog);
}

static void test_overflow(Fixture *f, gconstpointer data)
{
    VfoBacklog *backlog = backlog_of(f);

    send_frames(f, ROOM + 100);
    assert_look(backlog, ROOM, FALSE);
    g_assert_cmpuint(take_frames(f, ROOM + 1), ==, ROOM);
    assert_look(backlog, 0, FALSE);
    assert_steady(backlog);
    vfo_backlog_free(backlog);
}

/* What the guest sends waits for nobody. */
static void test_from_guest(Fixture *f, gconstpointer data)
{
    static const guint8 frame[ETH_ZLEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52,
                                           0x54, 0x00, 0xaa, 0x00, 0x10, 0x88, 0xb5};
    VfoBacklog *backlog = backlog_of(f);

    for (guint i = 0; i < 5; i++)
        g_assert_cmpint(write(f->reader, frame, sizeof(frame)), ==, sizeof(frame));
    assert_look(backlog, 0, FALSE);
    assert_look(backlog, 0, FALSE);
    assert_look(backlog, 0, TRUE);
    vfo_backlog_free(backlog);
}

/* What came later waits behind it: nothing is short before it was read as well. */
static void test_before(Fixture *f, gconstpointer data)
{
    enum { BEFORE = 98, STEP = 20 };
    VfoBacklog *backlog;

    send_frames(f, BEFORE);
    backlog = backlog_of(f);
    send_frames(f, 2);
    assert_look(backlog, 2, FALSE);
    for (guint left = BEFORE + 2; left > 0; left -= STEP) {
        g_assert_cmpuint(take_frames(f, STEP), ==, STEP);
        assert_look(backlog, 0, FALSE);
    }
    assert_steady(backlog);
    vfo_backlog_free(backlog);
}

static void test_gone(Fixture *f, gconstpointer data)
{
    VfoBacklog *backlog = backlog_of(f);
    g_autoptr(GError) error = NULL;
    gboolean is_short;

    close(f->reader);
    f->reader = -1;
    g_assert_false(vfo_backlog_is_short(backlog, &is_short, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, TAP));
    vfo_backlog_free(backlog);
    backlog = vfo_backlog_new(f->netlink, &f->tap, NULL);
    g_assert_null(backlog);
}

/* ------------------------------------------------------------------- the ops */

typedef struct {
    gboolean done;
    GError *error;
} Wait;

static void on_drained(GObject *source, GAsyncResult *result, gpointer data)
{
    Wait *wait = data;

    g_task_propagate_boolean(G_TASK(result), &wait->error);
    wait->done = TRUE;
}

static VfoHost *host_of(Fixture *f)
{
    g_autoptr(GPtrArray) networks = g_ptr_array_new();
    GError *error = NULL;
    VfoNetlink *netlink = vfo_netlink_new(NETLINK_ROUTE, &error);
    VfoNetlink *generic = vfo_netlink_new(NETLINK_GENERIC, &error);

    g_assert_no_error(error);
    return vfo_host_new_with(networks, NULL, "/sys", netlink, generic);
}

static void begin_wait(VfoHost *host, const VfoWire *wire, guint wait_ms, Wait *wait)
{
    host->ops->drained(host, wire, wait_ms, g_task_new(NULL, NULL, on_drained, wait));
}

static void end_wait(Wait *wait)
{
    while (!wait->done)
        g_main_context_iteration(NULL, TRUE);
}

static void test_drained(Fixture *f, gconstpointer data)
{
    const VfoWire wire = {.datapath = "bridge", .tap = (char *)TAP};
    VfoHost *host = host_of(f);
    Wait wait = {0};
    gint64 taken_us;

    host->ops->watch_standby(host, &wire);
    send_frames(f, 3);
    begin_wait(host, &wire, 60 * 1000, &wait);
    for (guint i = 0; i < 5; i++)
        g_main_context_iteration(NULL, FALSE);
    g_assert_false(wait.done);
    g_assert_cmpuint(take_frames(f, 4), ==, 3);
    taken_us = g_get_monotonic_time();
    end_wait(&wait);
    g_assert_no_error(wait.error);
    /* It has kept up for a while. */
    g_assert_cmpint(g_get_monotonic_time() - taken_us, >=, 500 * G_TIME_SPAN_MILLISECOND);
    vfo_host_free(host);
}

static void test_not_drained(Fixture *f, gconstpointer data)
{
    const VfoWire wire = {.datapath = "bridge", .tap = (char *)TAP};
    VfoHost *host = host_of(f);
    Wait wait = {0};

    host->ops->watch_standby(host, &wire);
    send_frames(f, 3);
    begin_wait(host, &wire, 50, &wait);
    end_wait(&wait);
    g_assert_error(wait.error, VFO_ERROR, VFO_ERROR_DEADLINE);
    g_assert_nonnull(strstr(wait.error->message, "3 frames behind after 50 ms"));
    g_clear_error(&wait.error);
    vfo_host_free(host);
}

/* Not begun, or ended by then: there is nothing to wait for. */
static void test_not_watched(Fixture *f, gconstpointer data)
{
    const VfoWire wire = {.datapath = "bridge", .tap = (char *)TAP};
    const VfoWire macvtap = {.datapath = "macvtap", .tap = (char *)TAP};
    VfoHost *host = host_of(f);
    Wait waits[3] = {0};

    begin_wait(host, &wire, 60 * 1000, &waits[0]);
    host->ops->watch_standby(host, &macvtap);
    send_frames(f, 3);
    begin_wait(host, &macvtap, 60 * 1000, &waits[1]);
    host->ops->watch_standby(host, &wire);
    send_frames(f, 3);
    begin_wait(host, &wire, 1, &waits[2]);
    end_wait(&waits[2]);
    g_assert_error(waits[2].error, VFO_ERROR, VFO_ERROR_DEADLINE);
    g_clear_error(&waits[2].error);
    for (guint i = 0; i < G_N_ELEMENTS(waits); i++) {
        end_wait(&waits[i]);
        g_assert_no_error(waits[i].error);
    }
    vfo_host_free(host);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/backlog/frames", test_frames},
        {"/backlog/rate", test_rate},
        {"/backlog/slow", test_slow},
        {"/backlog/overflow", test_overflow},
        {"/backlog/from-guest", test_from_guest},
        {"/backlog/before", test_before},
        {"/backlog/gone", test_gone},
        {"/backlog/drained", test_drained},
        {"/backlog/not-drained", test_not_drained},
        {"/backlog/not-watched", test_not_watched},
    };

    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].run, tear_down);
    return g_test_run();
}
