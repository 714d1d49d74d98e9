/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VF's receive ring in a dump of igb's registers. */
#include <string.h>

#include "core/core.h"
#include "host/ring.h"

#define REGISTERS 740

/* Where the registers of queue 6 and of queue 2 are: ethtool's igb.c prints the same ones. */
static const struct {
    guint queue, length, head, tail, control;
} places[] = {{6, 597, 609, 621, 633}, {2, 139, 143, 147, 151}};

static void test_found(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        guint32 registers[REGISTERS] = {0};
        VfoRing ring;

        registers[places[i].length] = 256 * 16;
        registers[places[i].head] = 17;
        registers[places[i].tail] = 15;
        registers[places[i].control] = 1U << 25;
        g_assert_true(vfo_ring_of(registers, REGISTERS, places[i].queue, &ring));
        g_assert_cmpuint(ring.size, ==, 256);
        g_assert_cmpuint(ring.head, ==, 17);
        g_assert_cmpuint(ring.tail, ==, 15);
        g_assert_true(ring.receives);
        registers[places[i].control] = 0;
        g_assert_true(vfo_ring_of(registers, REGISTERS, places[i].queue, &ring));
        g_assert_false(ring.receives);
    }
}

static void test_not_there(void)
{
    guint32 registers[REGISTERS] = {0};
    VfoRing ring;

    g_assert_false(vfo_ring_of(registers, REGISTERS, 2, &ring));
    registers[139] = 256 * 16;
    g_assert_true(vfo_ring_of(registers, REGISTERS, 2, &ring));
    registers[143] = 256;
    g_assert_false(vfo_ring_of(registers, REGISTERS, 2, &ring));
    registers[143] = 0;
    registers[147] = 0xffffffff;
    g_assert_false(vfo_ring_of(registers, REGISTERS, 2, &ring));
    registers[147] = 0;
    /* A dump that ends before, as that of another card. */
    g_assert_true(vfo_ring_of(registers, 152, 2, &ring));
    g_assert_false(vfo_ring_of(registers, 151, 2, &ring));
    registers[597] = 256 * 16;
    g_assert_true(vfo_ring_of(registers, REGISTERS, 6, &ring));
    g_assert_false(vfo_ring_of(registers, 633, 6, &ring));
}

/* A VF that no 82576 has: the queue with its number is the second one of another. */
static void test_too_many(void)
{
    guint32 registers[REGISTERS] = {0};
    VfoRing ring;

    for (guint queue = 4; queue < 16; queue++)
        registers[595 + queue - 4] = 256 * 16;
    g_assert_true(vfo_ring_of(registers, REGISTERS, 7, &ring));
    g_assert_false(vfo_ring_of(registers, REGISTERS, 8, &ring));
    g_assert_false(vfo_ring_of(registers, REGISTERS, 16, &ring));
}

/* A driver that spreads what it receives over both queues: the first one alone tells nothing. */
static void test_two_queues(void)
{
    guint32 registers[REGISTERS] = {0};
    VfoRing ring;

    registers[139] = registers[595 + 6] = 256 * 16;
    g_assert_true(vfo_ring_of(registers, REGISTERS, 2, &ring));
    g_assert_true(ring.alone);
    registers[631 + 6] = 1U << 25;
    g_assert_true(vfo_ring_of(registers, REGISTERS, 2, &ring));
    g_assert_false(ring.alone);
}

/* An interface without registers, and one that is not there. */
static void test_no_dump(void)
{
    static const char *const names[] = {"lo", "no-such-card"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        VfoRing ring;

        g_assert_false(vfo_ring_read(names[i], 0, &ring, &error));
        g_assert_error(error, VFO_ERROR, VFO_ERROR_FAILED);
        g_assert_nonnull(strstr(error->message, names[i]));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ring/found", test_found);
    g_test_add_func("/ring/not-there", test_not_there);
    g_test_add_func("/ring/too-many", test_too_many);
    g_test_add_func("/ring/two-queues", test_two_queues);
    g_test_add_func("/ring/no-dump", test_no_dump);
    return g_test_run();
}
