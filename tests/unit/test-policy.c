/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy of a configuration file that says nothing. */
#include "core/core.h"

static void test_deadlines(void)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    VfoPolicy policy;

    vfo_policy_default(&policy);
    for (int i = 0; i < VFO_N_DEADLINES; i++) {
        const char *name = vfo_deadline_name((VfoDeadline)i);

        g_assert_nonnull(name);
        g_assert_true(g_hash_table_add(names, (gpointer)name));
        g_assert_cmpuint(policy.deadline_ms[i], >, 0);
    }
    g_assert_cmpstr(vfo_deadline_name(VFO_DEADLINE_UNPLUG), ==, "unplug");
    g_assert_cmpstr(vfo_deadline_name(VFO_DEADLINE_ARRIVE), ==, "arrive");
    /* Held frames are let go before the unplug is given up, or they never would be. */
    g_assert_cmpuint(policy.deadline_ms[VFO_DEADLINE_HOLD], <,
                     policy.deadline_ms[VFO_DEADLINE_UNPLUG]);
}

static void test_choices(void)
{
    VfoPolicy policy = {.standby_only = TRUE, .max_bandwidth = 1, .downtime_limit_ms = 1};

    vfo_policy_default(&policy);
    g_assert_false(policy.standby_only);
    g_assert_cmpuint(policy.max_bandwidth, ==, 0);
    g_assert_cmpuint(policy.downtime_limit_ms, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/deadlines", test_deadlines);
    g_test_add_func("/policy/choices", test_choices);
    return g_test_run();
}
