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

/* A VF that is not clean: for the VM that had it alone, until it is, or is another. */
static void test_kept(void)
{
    g_autoptr(VfoLeases) leases = vfo_leases_new();
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "the card says no");
    g_autoptr(GError) late = g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED, "was cancelled");
    g_autoptr(GHashTable) kept = NULL, none = NULL;
    g_autoptr(GPtrArray) held = NULL;
    VfoVf vf = {.pci = (char *)VF, .driver = (char *)"vfio-pci"};

    g_assert_true(vfo_vf_is_free(&vf, leases, "web2"));
    for (int i = 0; i < 2; i++) {
        g_assert_true(vfo_leases_take(leases, VF, MINE, SECONDS, NULL));
        g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING,
                              "VF " VF "*web1*the card says no*");
        vfo_leases_keep(leases, VF, MINE, "web1", why);
        g_assert_null(vfo_leases_holder(leases, VF));
        /* To say it once is enough. */
        g_assert_true(vfo_leases_take(leases, VF, THEIRS, SECONDS, NULL));
        vfo_leases_keep(leases, VF, THEIRS, "web1", why);
        g_test_assert_expected_messages();
        g_assert_cmpstr(vfo_leases_unclean(leases, VF, "web2"), ==, "the card says no");
        g_assert_cmpstr(vfo_leases_unclean(leases, VF, NULL), ==, "the card says no");
        g_assert_null(vfo_leases_unclean(leases, VF, "web1"));
        g_assert_null(vfo_leases_unclean(leases, OTHER, "web2"));
        g_assert_false(vfo_vf_is_free(&vf, leases, "web2"));
        g_assert_true(vfo_vf_is_free(&vf, leases, "web1"));
        if (i == 0)
            vfo_leases_returned(leases, VF);
        else
            vfo_leases_gone(leases, VF);
        g_assert_true(vfo_vf_is_free(&vf, leases, "web2"));
    }
    none = vfo_leases_kept(leases);
    g_assert_cmpuint(g_hash_table_size(none), ==, 0);
    /* Nothing is kept of what is somebody else's. */
    g_assert_true(vfo_leases_take(leases, VF, THEIRS, SECONDS, NULL));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*somebody else's by now");
    vfo_leases_keep(leases, VF, MINE, "web1", why);
    g_test_assert_expected_messages();
    g_assert_cmpstr(vfo_leases_holder(leases, VF), ==, THEIRS);
    g_assert_null(vfo_leases_unclean(leases, VF, NULL));
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "VF " VF "*in time; no other VM*");
    vfo_leases_keep(leases, VF, THEIRS, "web1", late);
    g_test_assert_expected_messages();
    kept = vfo_leases_kept(leases);
    g_assert_cmpuint(g_hash_table_size(kept), ==, 1);
    g_assert_cmpstr(g_hash_table_lookup(kept, VF), ==, "web1");
    vfo_leases_unkeep(leases, VF);
    g_assert_true(vfo_vf_is_free(&vf, leases, "web2"));
    g_assert_true(vfo_leases_take(leases, OTHER, MINE, SECONDS, NULL));
    held = vfo_leases_held(leases, MINE);
    g_assert_cmpuint(held->len, ==, 1);
    g_assert_cmpstr(held->pdata[0], ==, OTHER);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lease/take-and-drop", test_take_and_drop);
    g_test_add_func("/lease/another-job", test_another_job);
    g_test_add_func("/lease/expiry", test_expiry);
    g_test_add_func("/lease/generation", test_generation);
    g_test_add_func("/lease/gone", test_gone);
    g_test_add_func("/lease/kept", test_kept);
    return g_test_run();
}
