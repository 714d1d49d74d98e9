/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases: one VF, one job at a time, not for ever. */
#include "core/core.h"

#include <string.h>

#define VF      "0000:01:10.0"
#define OTHER   "0000:01:10.2"
#define MINE    "11111111-1111-1111-1111-111111111111"
#define THEIRS  "22222222-2222-2222-2222-222222222222"
#define SECONDS 60

static void assert_refused(GError *error)
{
    g_assert_error(error, VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, VF));
    g_assert_null(strchr(error->message, '\n'));
    g_error_free(error);
}

static void test_take_and_drop(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    GError *error = NULL;

    g_assert_null(vfo_leases_holder(leases, VF));
    g_assert_false(vfo_leases_check(leases, VF, MINE, &error));
    assert_refused(g_steal_pointer(&error));

    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(vfo_leases_holder(leases, VF), ==, MINE);
    g_assert_true(vfo_leases_check(leases, VF, MINE, NULL));
    g_assert_null(vfo_leases_holder(leases, OTHER));

    vfo_leases_drop(leases, VF, MINE);
    g_assert_null(vfo_leases_holder(leases, VF));
    g_assert_false(vfo_leases_check(leases, VF, MINE, &error));
    assert_refused(g_steal_pointer(&error));
    vfo_leases_drop(leases, VF, MINE);
    vfo_leases_drop(leases, OTHER, MINE);
}

static void test_another_job(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    GError *error = NULL;

    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
    g_assert_false(vfo_leases_take(leases, VF, THEIRS, SECONDS, &error));
    g_assert_nonnull(strstr(error->message, MINE));
    assert_refused(g_steal_pointer(&error));
    g_assert_false(vfo_leases_check(leases, VF, THEIRS, &error));
    g_assert_nonnull(strstr(error->message, MINE));
    assert_refused(g_steal_pointer(&error));

    vfo_leases_drop(leases, VF, THEIRS);
    g_assert_cmpstr(vfo_leases_holder(leases, VF), ==, MINE);
    g_assert_true(vfo_leases_take(leases, OTHER, THEIRS, SECONDS, NULL));
    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
}

static void test_expiry(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    GError *error = NULL;

    g_assert_true(vfo_leases_take(leases, VF, MINE, 0, NULL));
    g_assert_false(vfo_leases_check(leases, VF, MINE, &error));
    assert_refused(g_steal_pointer(&error));
    g_assert_null(vfo_leases_holder(leases, VF));
    g_assert_true(vfo_leases_take(leases, VF, THEIRS, SECONDS, NULL));

    /* A second take by the same job sets the expiry anew: here to the past. */
    g_assert_true(vfo_leases_take(leases, VF, THEIRS, 0, NULL));
    g_assert_null(vfo_leases_holder(leases, VF));

    /* More seconds than a guint holds in microseconds. */
    g_assert_true(vfo_leases_take(leases, VF, MINE, G_MAXUINT, NULL));
    g_assert_true(vfo_leases_check(leases, VF, MINE, NULL));
}

static void test_generation(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();

    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 0);
    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 0);
    vfo_leases_returned(leases, VF);
    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 1);
    g_assert_null(vfo_leases_holder(leases, VF));

    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
    vfo_leases_drop(leases, VF, MINE);
    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 1);

    vfo_leases_returned(leases, OTHER);
    g_assert_cmpuint(vfo_leases_generation(leases, OTHER), ==, 1);
    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 1);
}

static void test_gone(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    g_autoptr(GError) error = NULL;

    vfo_leases_gone(leases, OTHER);
    g_assert_cmpuint(vfo_leases_generation(leases, OTHER), ==, 1);

    g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
    vfo_leases_gone(leases, VF);
    g_assert_null(vfo_leases_holder(leases, VF));
    g_assert_cmpuint(vfo_leases_generation(leases, VF), ==, 1);
    /* What is there now is another VF, under the same address. */
    g_assert_false(vfo_leases_check(leases, VF, MINE, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(error->message, VF));
    g_assert_nonnull(strstr(error->message, "went away"));

    g_assert_true(vfo_leases_take(leases, VF, THEIRS, SECONDS, NULL));
    g_assert_true(vfo_leases_check(leases, VF, THEIRS, NULL));
    g_assert_false(vfo_leases_check(leases, VF, MINE, NULL));
    vfo_leases_drop(leases, VF, MINE);
    g_assert_cmpstr(vfo_leases_holder(leases, VF), ==, THEIRS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lease/take-and-drop", test_take_and_drop);
    g_test_add_func("/lease/another-job", test_another_job);
    g_test_add_func("/lease/expiry", test_expiry);
    g_test_add_func("/lease/generation", test_generation);
    g_test_add_func("/lease/gone", test_gone);
    return g_test_run();
}
