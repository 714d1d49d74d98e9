/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which frames a guest gets through its standby while its VF leaves or comes. */
#include <glib/gstdio.h>

#include "core/core.h"
#include "host/hold.h"
#include "host/ring.h"

#define VF       "0000:01:10.0"
#define PF_PORT  3
#define TAP_PORT 7
#define OTHER    9

typedef struct {
    char *sysfs;
    VfoHold *hold;
    gint64 now_us; /* of the frames that arrive */
    guint32 next;
    GString *decided; /* "1+ 2- ": the frames' ids; + goes on */
    VfoRing ring;     /* size 0: cannot be seen */
} Fixture;

/* ------------------------------------------------------- the kernel's queue */

static Fixture *fixture;
static gboolean keeps;
static gboolean refuses;
static int attended;
static int stamped;

gboolean vfo_queue_keep(VfoQueue *queue, const char *port, GError **error)
{
    g_assert_cmpstr(port, ==, "tap0");
    if (refuses)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "this kernel cannot");
    keeps = !refuses;
    return keeps;
}

gboolean vfo_queue_pass(VfoQueue *queue, const char *port, GError **error)
{
    if (refuses)
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "the kernel will not");
    else
        keeps = FALSE;
    return !refuses;
}

void vfo_queue_read(VfoQueue *queue)
{
}

void vfo_queue_attend(VfoQueue *queue, gboolean wanted)
{
    attended += wanted ? 1 : -1;
}

void vfo_queue_stamp(VfoQueue *queue, gboolean wanted)
{
    stamped += wanted ? 1 : -1;
}

void vfo_queue_flush(VfoQueue *queue)
{
}

void vfo_queue_decide(VfoQueue *queue, guint32 id, gboolean goes_on)
{
    g_string_append_printf(fixture->decided, "%u%c ", id, goes_on ? '+' : '-');
}

/* --------------------------------------------------------------- the VF */

static void put(Fixture *f, const char *text, const char *path)
{
    g_autofree char *file = g_build_filename(f->sysfs, path, NULL);
    g_autofree char *directory = g_path_get_dirname(file);

    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

/* The guest's driver has asked for vector @vector, interrupt 40 + @vector. */
static void ask_vector(Fixture *f, guint vector)
{
    g_autofree char *msi = g_strdup_printf("bus/pci/devices/" VF "/msi_irqs/%u", 40 + vector);
    g_autofree char *actions = g_strdup_printf("kernel/irq/%u/actions", 40 + vector);
    g_autofree char *name = g_strdup_printf("vfio-msix[%u](" VF ")\n", vector);

    put(f, "msix\n", msi);
    put(f, name, actions);
}

static void interrupts(Fixture *f, guint vector, guint count)
{
    g_autofree char *path = g_strdup_printf("kernel/irq/%u/per_cpu_count", 40 + vector);
    g_autofree char *text = g_strdup_printf("%u,0\n", count);

    put(f, text, path);
}

gboolean vfo_ring_read(const char *pf, guint index, VfoRing *ring, GError **error)
{
    g_assert_cmpstr(pf, ==, "pf0");
    g_assert_cmpuint(index, ==, 5);
    *ring = fixture->ring;
    if (ring->size == 0)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "no ring");
    return ring->size != 0;
}

/* Linux's igbvf: two descriptors are not given back. */
static void ring_at(Fixture *f, guint head, guint pending, gboolean receives)
{
    f->ring = (VfoRing){.size = 256,
                        .head = head % 256,
                        .tail = (head + 256 - pending - 2) % 256,
                        .receives = receives,
                        .alone = TRUE};
}

/* -------------------------------------------------------------- the fixture */

static void fixture_set_up(Fixture *f, gconstpointer data)
{
    fixture = f;
    keeps = refuses = FALSE;
    attended = stamped = 0;
    f->sysfs = g_dir_make_tmp("vfo-hold-XXXXXX", NULL);
    f->decided = g_string_new(NULL);
    f->next = 1;
    f->ring = (VfoRing){0};
}

static void fixture_tear_down(Fixture *f, gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -r %s", f->sysfs);

    vfo_hold_free(f->hold);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_free(f->sysfs);
    g_string_free(f->decided, TRUE);
}

enum { IGBVF = 1, UNKNOWN = -1 };

static gboolean begin_at(Fixture *f, int vector, const char *ring_of, GError **error)
{
    VfoLink pf = {.index = PF_PORT, .name = "eth1"};
    VfoLink tap = {.index = TAP_PORT, .name = "tap0"};
    VfoTakenVf vf = {.sysfs = f->sysfs, .pci = VF, .vector = vector, .pf = ring_of, .index = 5};

    f->hold = vfo_hold_new_in_bridge(NULL, &pf, &tap, &vf, error);
    if (f->hold)
        vfo_hold_begin(f->hold);
    return f->hold != NULL;
}

static gboolean begin(Fixture *f, int vector, GError **error)
{
    return begin_at(f, vector, NULL, error);
}

static gboolean on_over(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/* Lets the hold look at least once more. */
static void look(Fixture *f)
{
    gboolean over = FALSE;

    g_timeout_add(25, on_over, &over);
    while (!over)
        g_main_context_iteration(NULL, TRUE);
}

static void begin_with_ring(Fixture *f, guint head, guint pending)
{
    ring_at(f, head, pending, TRUE);
    g_assert_true(begin_at(f, IGBVF, "pf0", NULL));
}

static void frame_from(Fixture *f, int in)
{
    VfoQueued frame = {.id = f->next++, .in = in, .out = TAP_PORT};

    frame.arrived_us = g_get_real_time();
    g_assert_true(vfo_hold_take(f->hold, &frame));
}

/* A frame; then the VF is at @head, and the guest @pending behind. */
static void receive_one(Fixture *f, guint head, guint pending)
{
    frame_from(f, PF_PORT);
    ring_at(f, head, pending, TRUE);
    look(f);
}

static void end(Fixture *f, const char *expected)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vfo_hold_end(g_steal_pointer(&f->hold), &error));
    g_assert_no_error(error);
    g_assert_false(keeps);
    g_assert_cmpint(attended, ==, 0);
    g_assert_cmpint(stamped, ==, 0);
    g_assert_cmpstr(f->decided->str, ==, expected);
}

/* --------------------------------------------------------------- leaving */

/* Each frame has its interrupt, until the VF no longer receives: the last two that it has delivered
 * may come twice. */
static void test_leaving(Fixture *f, gconstpointer data)
{
    ask_vector(f, 0);
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    g_assert_true(begin(f, IGBVF, NULL));
    g_assert_true(keeps);
    for (guint n = 1; n <= 3; n++) {
        frame_from(f, PF_PORT);
        interrupts(f, 1, 10 + n);
        look(f);
    }
    /* What the interrupt before the last one has told of is known to have been taken. */
    g_assert_cmpstr(f->decided->str, ==, "1- ");
    for (guint n = 0; n < 3; n++) {
        frame_from(f, PF_PORT);
        look(f);
    }
    end(f, "1- 2+ 3+ 4+ 5+ 6+ ");
}

/* Told of what has arrived, the guest closes its VF and takes no more of it. */
static void test_leaving_untaken(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    g_assert_true(begin(f, IGBVF, NULL));
    frame_from(f, PF_PORT);
    look(f);
    interrupts(f, 1, 11);
    look(f);
    frame_from(f, PF_PORT);
    end(f, "1+ 2+ ");
}

/* Neighbours on the bridge, and the host itself, reach the guest through the standby alone, which
 * takes nothing as long as the VF is there. */
static void test_leaving_neighbours(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    g_assert_true(begin(f, IGBVF, NULL));
    frame_from(f, OTHER);
    frame_from(f, PF_PORT);
    frame_from(f, 0);
    look(f);
    interrupts(f, 1, 12);
    look(f);
    g_assert_cmpstr(f->decided->str, ==, "2- ");
    frame_from(f, PF_PORT);
    frame_from(f, OTHER);
    end(f, "2- 1+ 3+ 4+ 5+ ");
}

static void test_leaving_quiet(Fixture *f, gconstpointer data)
{
    g_assert_true(begin(f, IGBVF, NULL));
    frame_from(f, PF_PORT);
    frame_from(f, PF_PORT);
    look(f);
    end(f, "1+ 2+ ");
}

/* All vectors count where it is not known which receives. */
static void test_leaving_unknown(Fixture *f, gconstpointer data)
{
    ask_vector(f, 0);
    interrupts(f, 0, 5);
    g_assert_true(begin(f, UNKNOWN, NULL));
    frame_from(f, PF_PORT);
    look(f);
    frame_from(f, PF_PORT);
    interrupts(f, 0, 7);
    look(f);
    end(f, "1- 2+ ");
}

/* ------------------------------------------------------------ a ring to see */

/* What the guest has taken is dropped, and nothing else, whatever interrupts there were. */
static void test_ring_each(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    begin_with_ring(f, 254, 0);
    for (guint n = 0; n < 3; n++) {
        frame_from(f, PF_PORT);
        interrupts(f, 1, 20 + n);
        ring_at(f, 255 + n, n == 2, TRUE);
        look(f);
    }
    end(f, "1- 2- 3+ ");
}

/* Begins at @head; then @count frames, for each of which the VF receives @step, and the guest is
 * @pending behind. */
static void receive(Fixture *f, guint head, guint count, guint step, guint pending)
{
    begin_with_ring(f, head, pending);
    for (guint n = 1; n <= count; n++) {
        receive_one(f, head + step * n, pending);
    }
}

/* A guest that is always behind, as a busy one is, takes them all the same. */
static void test_ring_behind(Fixture *f, gconstpointer data)
{
    receive(f, 10, 4, 1, 2);
    end(f, "1- 2- 3+ 4+ ");
}

/* The VF has had others, which come no other way. */
static void test_ring_others(Fixture *f, gconstpointer data)
{
    receive(f, 250, 3, 7, 0);
    frame_from(f, PF_PORT);
    ring_at(f, 250 + 7 * 4, 0, FALSE);
    look(f);
    end(f, "1- 2- 3- 4+ ");
}

/* Much traffic: the ring has gone round between two looks. */
static void test_ring_round(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 10, 0);
    receive_one(f, 12, 4);
    ring_at(f, 12 + 256, 4, TRUE);
    look(f);
    g_assert_cmpstr(f->decided->str, ==, "");
    ring_at(f, 12 + 256, 0, TRUE);
    look(f);
    g_assert_cmpstr(f->decided->str, ==, "1- ");
    end(f, "1- ");
}

/* The card has been told to stop. What it had received before it was last seen to receive is
 * taken by and by, and no more is known. */
static void test_ring_stopped(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 100, 0);
    for (guint n = 1; n <= 3; n++) {
        receive_one(f, 100 + n, n);
    }
    frame_from(f, PF_PORT);
    ring_at(f, 104, 3, FALSE);
    look(f);
    g_assert_cmpstr(f->decided->str, ==, "1- ");
    ring_at(f, 104, 0, FALSE);
    look(f);
    g_assert_cmpstr(f->decided->str, ==, "1- 2- 3- ");
    /* It is not looked at any more. */
    ring_at(f, 105, 0, TRUE);
    look(f);
    end(f, "1- 2- 3- 4+ ");
}

/* A reset empties the registers, which then say nothing. */
static void test_ring_reset(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 100, 0);
    frame_from(f, PF_PORT);
    f->ring = (VfoRing){.size = 256, .alone = TRUE};
    look(f);
    f->ring = (VfoRing){0};
    look(f);
    end(f, "1+ ");
}

/* A guest that does not get round to its ring until it is full, and then closes it. */
static void test_ring_starved(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    begin_with_ring(f, 10, 0);
    for (guint n = 1; n <= 3; n++) {
        frame_from(f, PF_PORT);
        interrupts(f, 1, 10 + 2 * n);
        ring_at(f, 10 + (n == 3 ? 254 : n), n == 3 ? 254 : n, TRUE);
        look(f);
    }
    end(f, "1+ 2+ 3+ ");
}

/* Or it gets round to it at last: what came while it was full the card has thrown away. */
static void test_ring_overrun(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 10, 0);
    receive_one(f, 11, 1);
    receive_one(f, 10 + 254, 254);
    receive_one(f, 10 + 254, 100);
    receive_one(f, 10 + 255, 0);
    g_assert_cmpstr(f->decided->str, ==, "1- 4- ");
    end(f, "1- 4- 2+ 3+ ");
}

/* Between two looks it was full, and then was not any more. */
static void test_ring_overrun_unseen(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 10, 0);
    ring_at(f, 260, 250, TRUE);
    look(f);
    receive_one(f, 270, 190);
    ring_at(f, 270, 0, TRUE);
    look(f);
    end(f, "1+ ");
}

/* It was full before it was looked at: interrupts prove nothing then, either. */
static void test_ring_full_at_first(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    begin_with_ring(f, 10, 254);
    frame_from(f, PF_PORT);
    look(f);
    interrupts(f, 1, 12);
    look(f);
    ring_at(f, 10, 0, TRUE);
    look(f);
    receive_one(f, 11, 0);
    end(f, "2- 1+ ");
}

/* The guest's driver has begun anew: what was in the ring is lost. */
static void test_ring_restarted(Fixture *f, gconstpointer data)
{
    begin_with_ring(f, 100, 0);
    receive_one(f, 101, 1);
    f->ring = (VfoRing){.size = 256, .receives = TRUE, .alone = TRUE};
    look(f);
    ring_at(f, 0, 0, TRUE);
    look(f);
    receive_one(f, 1, 0);
    end(f, "2- 1+ ");
}

/* The same, seen in other ways: what is in the ring before each of them is lost. */
static void test_ring_anew(Fixture *f, gconstpointer data)
{
    static const VfoRing between[] = {
        {.size = 256, .head = 101, .tail = 98, .alone = TRUE},
        {0},
        {.size = 512, .head = 1, .tail = 511, .receives = TRUE, .alone = TRUE},
        {.size = 256, .head = 101, .tail = 98, .receives = TRUE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(between); i++) {
        g_autofree char *expected = g_strdup_printf("%u+ ", f->next);

        g_string_truncate(f->decided, 0);
        begin_with_ring(f, 100, 0);
        receive_one(f, 101, 1);
        f->ring = between[i];
        look(f);
        ring_at(f, 3, 0, TRUE);
        look(f);
        end(f, expected);
    }
}

/* When the hold began it received nothing yet. */
static void test_ring_deaf_at_first(Fixture *f, gconstpointer data)
{
    f->ring = (VfoRing){.size = 256, .alone = TRUE};
    g_assert_true(begin_at(f, IGBVF, "pf0", NULL));
    receive_one(f, 0, 0);
    end(f, "1+ ");
}

/* By two queues: neither the one nor the interrupts tell anything. */
static void test_ring_not_alone(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    ring_at(f, 100, 0, TRUE);
    f->ring.alone = FALSE;
    g_assert_true(begin_at(f, IGBVF, "pf0", NULL));
    frame_from(f, PF_PORT);
    look(f);
    interrupts(f, 1, 12);
    f->ring.head++;
    f->ring.tail++;
    look(f);
    end(f, "1+ ");
}

/* What comes to the standby alone is delivered whatever the VF does. */
static void test_onefold(Fixture *f, gconstpointer data)
{
    VfoLink tap = {.index = TAP_PORT, .name = "tap0"};
    VfoTakenVf vf = {.sysfs = f->sysfs, .pci = VF, .vector = IGBVF, .pf = "pf0", .index = 5};

    ask_vector(f, 1);
    interrupts(f, 1, 10);
    ring_at(f, 10, 0, TRUE);
    f->hold = vfo_hold_new_in_bridge(NULL, NULL, &tap, &vf, NULL);
    vfo_hold_begin(f->hold);
    frame_from(f, PF_PORT);
    frame_from(f, 0);
    interrupts(f, 1, 20);
    ring_at(f, 20, 0, TRUE);
    look(f);
    end(f, "1+ 2+ ");
}

/* Of a card that shows none the interrupts tell. */
static void test_ring_unseen(Fixture *f, gconstpointer data)
{
    ask_vector(f, 1);
    interrupts(f, 1, 10);
    g_assert_true(begin_at(f, IGBVF, "pf0", NULL));
    frame_from(f, PF_PORT);
    look(f);
    interrupts(f, 1, 12);
    look(f);
    end(f, "1- ");
}

/* ------------------------------------------------------------------ ready */

/* A guest that has not been asked for its VF gets what comes at once. */
static void test_ready(Fixture *f, gconstpointer data)
{
    VfoLink tap = {.index = TAP_PORT, .name = "tap0"};
    VfoTakenVf vf = {.sysfs = f->sysfs, .pci = VF, .vector = IGBVF, .index = 5};

    f->hold = vfo_hold_new_in_bridge(NULL, NULL, &tap, &vf, NULL);
    g_assert_true(keeps && attended == 1 && stamped == 0 && !vfo_hold_has_begun(f->hold));
    frame_from(f, PF_PORT);
    g_assert_cmpstr(f->decided->str, ==, "1+ ");
    vfo_hold_begin(f->hold);
    g_assert_true(keeps && attended == 0 && stamped == 1 && vfo_hold_has_begun(f->hold));
    frame_from(f, PF_PORT);
    g_assert_cmpstr(f->decided->str, ==, "1+ ");
    end(f, "1+ 2+ ");
}

static void test_ready_in_vain(Fixture *f, gconstpointer data)
{
    VfoLink tap = {.index = TAP_PORT, .name = "tap0"};
    VfoTakenVf vf = {.sysfs = f->sysfs, .pci = VF, .vector = IGBVF, .index = 5};

    f->hold = vfo_hold_new_in_bridge(NULL, NULL, &tap, &vf, NULL);
    g_assert_cmpstr(vfo_hold_vf(f->hold), ==, VF);
    frame_from(f, 0);
    end(f, "1+ ");
}

/* ----------------------------------------------------------------- errors */

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    refuses = TRUE;
    g_assert_false(begin(f, IGBVF, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
}

static void test_not_ended(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(begin(f, IGBVF, NULL));
    frame_from(f, PF_PORT);
    refuses = TRUE;
    g_assert_false(vfo_hold_end(f->hold, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
    /* The guest has what was kept all the same, and what comes. */
    g_assert_cmpstr(f->decided->str, ==, "1+ ");
    frame_from(f, PF_PORT);
    g_assert_cmpstr(f->decided->str, ==, "1+ 2+ ");
    g_assert_cmpint(attended, ==, 1);
    refuses = FALSE;
    end(f, "1+ 2+ ");
}

static void test_not_ours(Fixture *f, gconstpointer data)
{
    VfoQueued frame = {.id = 1, .in = PF_PORT, .out = OTHER};

    g_assert_true(begin(f, IGBVF, NULL));
    g_assert_false(vfo_hold_take(f->hold, &frame));
    end(f, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(path, function)                                                                       \
    g_test_add(path, Fixture, NULL, fixture_set_up, function, fixture_tear_down)
    TEST("/hold/ready/begun", test_ready);
    TEST("/hold/ready/in-vain", test_ready_in_vain);
    TEST("/hold/leaving/each", test_leaving);
    TEST("/hold/leaving/untaken", test_leaving_untaken);
    TEST("/hold/leaving/neighbours", test_leaving_neighbours);
    TEST("/hold/leaving/quiet", test_leaving_quiet);
    TEST("/hold/leaving/unknown", test_leaving_unknown);
    TEST("/hold/ring/each", test_ring_each);
    TEST("/hold/ring/behind", test_ring_behind);
    TEST("/hold/ring/others", test_ring_others);
    TEST("/hold/ring/round", test_ring_round);
    TEST("/hold/ring/stopped", test_ring_stopped);
    TEST("/hold/ring/reset", test_ring_reset);
    TEST("/hold/ring/starved", test_ring_starved);
    TEST("/hold/ring/overrun", test_ring_overrun);
    TEST("/hold/ring/overrun-unseen", test_ring_overrun_unseen);
    TEST("/hold/ring/anew", test_ring_anew);
    TEST("/hold/ring/deaf-at-first", test_ring_deaf_at_first);
    TEST("/hold/ring/not-alone", test_ring_not_alone);
    TEST("/hold/ring/full-at-first", test_ring_full_at_first);
    TEST("/hold/ring/restarted", test_ring_restarted);
    TEST("/hold/ring/unseen", test_ring_unseen);
    TEST("/hold/onefold", test_onefold);
    TEST("/hold/refused", test_refused);
    TEST("/hold/not-ended", test_not_ended);
    TEST("/hold/not-ours", test_not_ours);
#undef TEST
    return g_test_run();
}
