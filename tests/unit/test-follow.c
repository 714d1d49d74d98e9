/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two tables of a hand-over that libvirt carries out; after each run the guest must be
 * reachable.
 */
#include "handover-world.h"

#include <string.h>

/* ------------------------------------------------------------- invariants */

static gboolean is_parked(World *world, const char *pci)
{
    const VfoVf *vf = vf_of(world, pci);
    VfoVfSettings parked = vfo_vf_parked(vf);

    return vfo_vf_settings_equal(&vf->settings, &parked);
}

/* It draws nobody's frames. */
static gboolean is_silent(World *world)
{
    return !vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac);
}

static gboolean ended_badly(World *world, Fault fault)
{
    VfoJobState state = vfo_job_state(world->job);
    const GError *error = vfo_job_error(world->job);

    if (fault == FAULT_CANCEL)
        return state == VFO_JOB_CANCELLED &&
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    return state == VFO_JOB_FAILED && error->domain == VFO_ERROR;
}

/* The VM is here, with its VF, as if nothing had been. */
static void assert_back(World *world)
{
    const VfoVf *vf = vf_of(world, VF);

    g_assert_true(world->in_guest);
    g_assert_true(vfo_mac_equal(&vf->settings.mac, &guest_mac));
    g_assert_cmpuint(vf->settings.max_tx_rate, ==, 500);
    g_assert_false(world->pf_open || world->held || world->hold_ready || world->reserved);
    g_assert_false(undo_failed(world, NULL));
    assert_no_lease(world);
}

static void assert_source(World *world, Fault fault)
{
    assert_undo_order(world);
    /* QEMU plugs the VF in again by itself, as it knows it. */
    g_assert_null(vfo_absences_find(world->absences, VM, NULL));
    g_assert_false(world->held || world->hold_ready);
    if (!world->moved) {
        assert_back(world);
        g_assert_true(ended_badly(world, fault));
        /* libvirt must not go on without us. */
        g_assert_true(!world->ready || world->given_up);
        return;
    }
    g_assert_false(world->pf_open || world->in_guest);
    /* Who does not know where the VM is leaves the VF silent, and leased. */
    if (undo_failed(world, "undo migrate")) {
        g_assert_true(is_parked(world, VF));
        g_assert_nonnull(vfo_leases_holder(world->leases, VF));
        return;
    }
    if (vfo_job_state(world->job) == VFO_JOB_COMPLETED ||
        vfo_leases_generation(world->leases, VF) > 0) {
        g_assert_true(is_parked(world, VF));
        assert_no_lease(world);
        g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
        return;
    }
    /* A VF that could not be cleaned up is given to nobody. */
    g_assert_cmpint(vfo_job_state(world->job), ==, VFO_JOB_DEGRADED);
    g_assert_nonnull(vfo_leases_holder(world->leases, VF));
}

static void assert_destination(World *world, Fault fault)
{
    assert_undo_order(world);
    g_assert_false(undo_failed(world, NULL));
    assert_no_lease(world);
    if (!world->here) {
        g_assert_true(ended_badly(world, fault));
        g_assert_false(world->pf_open);
        /* libvirt takes back what it has done to a VF of a domain that does not start. */
        g_assert_true(is_silent(world) || (world->started && !world->wired));
        return;
    }
    if (vfo_job_state(world->job) == VFO_JOB_COMPLETED) {
        g_assert_true(world->in_guest);
    } else {
        g_assert_cmpint(vfo_job_state(world->job), ==, VFO_JOB_DEGRADED);
        g_assert_true(is_silent(world) || world->in_guest);
    }
    g_assert_true(reachable(world) || called(world, "open_pf"));
    if (world->in_guest)
        g_assert_true(vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac));
}

/* --------------------------------------------------------------- the source */

static void test_source(void)
{
    static const char *const calls[] = {
        "inspect",
        "read_vf " VF,
        "find_wire tap0 eth0",
        "reserve",
        "prepare_hold",
        "ready",
        "watched",
        "unplugging vf0",
        "hold",
        "open_pf",
        "watched",
        "unplugged vf0",
        "release",
        "host_announce",
        "set_vf " VF " parked",
        "watched",
        "stopped",
        "close_pf",
        "completed",
        "ended",
        "closed_vf " VF,
        "set_vf " VF " parked",
        "reset_vf " VF,
        "finished",
        NULL,
    };
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpstr(vfo_job_id(world->job), ==, JOB);
    g_assert_true(world->told);
    assert_source(world, FAULT_NONE);
}

static void test_source_each(void)
{
    inject_each(FOLLOWING_SOURCE, assert_source);
}

static void check_source_two(World *world)
{
    const char *second = call_at(world, world->fault_at[1]);

    if (world->moved)
        return;
    if (!undo_failed(world, "undo migrate") && !undo_failed(world, "undo unplug"))
        assert_no_lease(world);
    g_assert_true(!(world->held || world->hold_ready) || g_str_equal(second, "release"));
    /* After the stop, when libvirt does not answer, nobody knows where the VM is. */
    g_assert_true(reachable(world) || world->pf_open || undo_failed(world, "undo migrate"));
}

static void test_source_two(void)
{
    inject_two(FOLLOWING_SOURCE, check_source_two);
}

static World *fails_at(Side side, const char *call, Fault fault)
{
    World *world = world_new(side);

    world->faults[0] = fault;
    world->fault_at[0] = number_of(side, call);
    return world;
}

/* QEMU plugs the VF in by itself the moment the migration is over: not a call comes between. */
static void test_source_settings_at_once(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
    guint failed = world->fault_at[0];

    run(world);
    g_assert_cmpstr(call_at(world, failed + 1), ==, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, failed + 2), ==, "cancel");
    assert_source(world, FAULT_REFUSED);
}

/* After the stop nobody knows where the VM is: libvirt is asked first. */
static void test_source_fails_after_stop(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "completed", FAULT_REFUSED);
    guint failed = world->fault_at[0];

    run(world);
    g_assert_cmpstr(call_at(world, failed + 1), ==, "cancel");
    g_assert_cmpstr(call_at(world, failed + 2), ==, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, failed + 3), ==, "open_pf");
    assert_source(world, FAULT_REFUSED);
}

/* The settings come late: what failed at once is tried again. */
static void test_source_settings_later(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);

    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 1;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, world->fault_at[1] + 2), ==, "set_vf " VF " guest");
    assert_source(world, FAULT_REFUSED);
}

/* The guest has released its VF, and libvirt cannot be told to give up: the VM may go. */
static void test_source_does_not_give_up(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "release", FAULT_REFUSED);
    guint failed = world->fault_at[0];

    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = failed + 2;
    run(world);
    g_assert_cmpstr(call_at(world, failed + 2), ==, "cancel");
    g_assert_cmpstr(call_at(world, failed + 3), ==, "set_vf " VF " parked");
    g_assert_cmpstr(call_at(world, failed + 4), ==, "release");
    g_assert_cmpuint(world->calls->len, ==, failed + 5);
    assert_state(world, VFO_JOB_FAILED);
    assert_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED);
    g_assert_true(world->pf_open);
    g_assert_true(world->reserved);
    g_assert_nonnull(vfo_leases_holder(world->leases, VF));
}

/* ... and one that was parked and got its settings back is parked again. */
static void test_source_exposed_in_vain(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
    guint failed = world->fault_at[0];

    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = failed + 2;
    run(world);
    g_assert_cmpstr(call_at(world, failed + 2), ==, "cancel");
    g_assert_cmpuint(world->calls->len, ==, failed + 4);
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_true(is_parked(world, VF));
    g_assert_true(world->pf_open);
}

/* The VM has moved, which the job did not hear. */
static void test_source_lost(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "completed", FAULT_BROKEN);

    run(world);
    g_assert_true(world->moved);
    assert_source(world, FAULT_BROKEN);
    g_assert_false(called(world, "peer_release"));
}

/* Nothing is told of the VM any more: QEMU may give the VF back, and nobody would hear of it. */
static void test_source_blind(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);
    guint stopped;

    world->blind = TRUE;
    run(world);
    stopped = number_in(world, "stopped");
    g_assert_cmpstr(call_at(world, stopped + 1), ==, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, stopped + 2), ==, "set_vf " VF " parked");
    g_assert_cmpstr(call_at(world, stopped + 3), ==, "close_pf");
    assert_state(world, VFO_JOB_COMPLETED);
    assert_source(world, FAULT_NONE);
}

/* ... and so it is. */
static void test_source_blind_given_up(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
    guint failed = world->fault_at[0];

    world->blind = TRUE;
    run(world);
    g_assert_cmpstr(call_at(world, failed + 1), ==, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, failed + 2), ==, "cancel");
    assert_source(world, FAULT_REFUSED);
}

/* It has gone, and the other half knows where to. */
static void test_source_vanishes(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);
    guint completed;

    world->vanishes = TRUE;
    run(world);
    completed = number_in(world, "completed");
    g_assert_cmpstr(call_at(world, completed + 1), ==, "finished");
    g_assert_cmpstr(call_at(world, completed + 2), ==, "ended");
    assert_state(world, VFO_JOB_COMPLETED);
    assert_source(world, FAULT_NONE);
}

/* ... or does not: what it had here is cleaned up. */
static void test_source_is_nowhere(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

    world->vanishes = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(FOLLOWING_SOURCE, "completed") + 1;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_cmpstr(vfo_job_error(world->job)->message, ==, "the VM has gone");
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_false(world->pf_open || world->held || world->hold_ready);
    g_assert_true(called(world, "reset_vf " VF));
    g_assert_true(is_parked(world, VF));
    assert_no_lease(world);
    g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
}

/* A VF that cannot be cleaned up, at each of the calls, is nobody's. */
static void test_source_is_dirty(void)
{
    static const char *const calls[] = {"close_pf", "set_vf " VF " parked", "closed_vf " VF,
                                        "set_vf " VF " parked", "reset_vf " VF};
    g_autoptr(World) good = world_new(FOLLOWING_SOURCE);
    guint cancelled;

    good->vanishes = TRUE;
    good->faults[0] = FAULT_REFUSED;
    good->fault_at[0] = number_of(FOLLOWING_SOURCE, "completed") + 1;
    run(good);
    cancelled = number_in(good, "cancel");
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

        world->vanishes = TRUE;
        world->faults[0] = world->faults[1] = FAULT_REFUSED;
        world->fault_at[0] = good->fault_at[0];
        world->fault_at[1] = cancelled + 1 + (guint)i;
        g_assert_cmpstr(call_at(good, world->fault_at[1]), ==, calls[i]);
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_true(is_parked(world, VF));
        g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, i < 2 ? 1 : 0);
    }
}

/* The destination's half is undone while QEMU is waited for, at each of the waits. */
static void test_source_other_half(void)
{
    g_autoptr(World) good = world_new(FOLLOWING_SOURCE);
    guint n_waits = 0;

    run(good);
    for (guint number = 0; number < good->calls->len; number++) {
        g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

        if (!g_str_equal(call_at(good, number), "watched"))
            continue;
        n_waits++;
        world->faults[0] = FAULT_REFUSED;
        world->fault_at[0] = number;
        world->faults[1] = FAULT_SILENT; /* QEMU has nothing to tell */
        world->fault_at[1] = number + 1;
        run(world);
        g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "watched broke"));
        assert_source(world, FAULT_REFUSED);
    }
    g_assert_cmpuint(n_waits, ==, 3);
}

/* libvirt takes hours over the disks: what the guest has is not touched until QEMU asks for it. */
static void test_source_waits(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "unplugging vf0", FAULT_SILENT);

    start_until(world, "ask");
    g_assert_true(world->ready);
    g_assert_false(world->pf_open || world->held);
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
    assert_source(world, FAULT_CANCEL);
    g_assert_false(called(world, "open_pf") || called(world, "replugged vf0"));
}

static void test_source_loses_vf(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "unplugging vf0", FAULT_SILENT);
    g_autoptr(GError) gone = g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND, "VF is gone");

    start_until(world, "ask");
    g_assert_true(vfo_job_lost_vf(world->job, gone));
    finish(world);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_true(world->given_up);
    g_assert_false(world->reserved);
}

/* The guest does not let go: QEMU would wait for ever, the job does not. */
static void test_source_never_released(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "unplugged vf0", FAULT_SILENT);

    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    start_until(world, "unplug");
    g_assert_true(world->held);
    while (world->held)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(vfo_job_step(world->job)->name, ==, "unplug");
    finish(world);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_source(world, FAULT_SILENT);
}

/* Nor does libvirt, when it is to give up: what is held is not held for as long as that takes. */
static void test_source_gives_up_slowly(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "unplugged vf0", FAULT_SILENT);
    gint64 begun_us;

    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_PLUG] = 2000;
    start_until(world, "unplug");
    world->faults[1] = FAULT_SILENT;
    world->fault_at[1] = number_in(world, "unplugged vf0") + 2; /* "cancel" */
    g_assert_true(world->held);
    g_assert_true(vfo_job_cancel(world->job, NULL));
    begun_us = g_get_monotonic_time();
    while (world->held)
        g_main_context_iteration(NULL, TRUE);
    /* "plug" has not passed. */
    g_assert_cmpint(g_get_monotonic_time() - begun_us, <, G_USEC_PER_SEC);
    g_assert_cmpint(vfo_job_state(world->job), ==, VFO_JOB_UNDOING);
    finish(world);
    g_assert_true(undo_failed(world, "undo unplug"));
}

/* The activity cannot be read, which is no reason to leave the guest without its VF. */
static void test_source_no_activity(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "release", FAULT_REFUSED);
    g_autofree char *used = g_strdup_printf("used_vf " VF " %" G_GUINT64_FORMAT, G_MAXUINT64);

    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 1;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "activity_vf " VF);
    g_assert_true(called(world, used));
    assert_source(world, FAULT_REFUSED);
}

/* QEMU does not bring the VF back, or the guest does not use it: it lives on its standby. */
static void test_source_not_back(void)
{
    static const char *const lost[] = {"replugged vf0", "used_vf " VF " 7"};

    for (gsize i = 0; i < G_N_ELEMENTS(lost); i++) {
        g_autoptr(World) rehearsal = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
        g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);

        run(rehearsal);
        world->faults[1] = FAULT_REFUSED;
        world->fault_at[1] = number_in(rehearsal, lost[i]);
        run(world);
        assert_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED);
        assert_record(world, "undo open", VFO_RESULT_SKIPPED);
        g_assert_true(world->pf_open);
        g_assert_false(world->reserved);
        assert_no_lease(world);
    }
}

/* libvirt at the destination is started anew before its half can end. */
static void test_source_other_half_slow(void)
{
    g_autoptr(World) rehearsal = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
    g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_REFUSED);
    const VfoRecord *record;

    run(rehearsal);
    world->faults[1] = FAULT_SILENT;
    world->fault_at[1] = number_in(rehearsal, "peer_release");
    world->policy.deadline_ms[VFO_DEADLINE_ARRIVE] = 20;
    run(world);
    record = record_of(world, "undo reserve");
    g_assert_cmpint(record->result, ==, VFO_RESULT_UNDO_FAILED);
    g_assert_nonnull(strstr(record->detail, "'arrive'"));
    assert_no_lease(world);
}

/* The other half takes longer than the daemon goes on when it is told to stop: it has been told,
 * and ends without us. */
static void test_source_daemon_stops(void)
{
    g_autoptr(World) rehearsal = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_CANCEL);

    run(rehearsal);
    for (int early = 0; early < 2; early++) {
        g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, "stopped", FAULT_SILENT);
        guint release = number_in(rehearsal, "peer_release");
        const VfoRecord *record;
        gint64 begun;

        world->faults[1] = FAULT_SILENT;
        world->fault_at[1] = release;
        world->policy.deadline_ms[VFO_DEADLINE_ARRIVE] = 120 * 1000;
        start_until(world, "migrate");
        begun = g_get_monotonic_time();
        if (early)
            vfo_job_undo_within(world->job, 100);
        g_assert_true(vfo_job_cancel(world->job, NULL));
        while (world->calls->len < release)
            g_main_context_iteration(NULL, TRUE);
        if (!early)
            vfo_job_undo_within(world->job, 100);
        finish(world);
        g_assert_cmpint(g_get_monotonic_time() - begun, <, 10 * G_USEC_PER_SEC);
        assert_state(world, VFO_JOB_CANCELLED);
        g_assert_true(called(world, "peer_release"));
        record = record_of(world, "undo reserve");
        g_assert_cmpint(record->result, ==, VFO_RESULT_UNDO_FAILED);
        g_assert_nonnull(strstr(record->detail, "before the daemon stops"));
        g_assert_cmpint(record_of(world, "undo lease")->result, ==, VFO_RESULT_UNDONE);
        /* All of this host's own was undone. */
        g_assert_true(world->in_guest && world->given_up);
        g_assert_true(vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac));
        g_assert_false(world->pf_open || world->held);
        assert_no_lease(world);
    }
}

static void test_source_late_cancel(void)
{
    static const char *const late[] = {"close_pf", "completed", "ended", "finished"};

    for (gsize i = 0; i < G_N_ELEMENTS(late); i++) {
        g_autoptr(World) world = fails_at(FOLLOWING_SOURCE, late[i], FAULT_CANCEL);

        run(world);
        g_assert_true(world->cancel_refused);
        assert_state(world, VFO_JOB_COMPLETED);
    }
}

/* A destination that waits for a QEMU without libvirt, and the other way round. */
static void test_source_mismatch(void)
{
    for (int side = 0; side < 2; side++) {
        g_autoptr(World) world = world_new(side ? FOLLOWING_SOURCE : SOURCE);

        world->wrong_uri = TRUE;
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_MISMATCH);
        g_test_message("%s", vfo_job_error(world->job)->message);
        g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "libvirt"));
        g_assert_false(world->reserved || world->ready);
        g_assert_false(called(world, "open_pf"));
    }
}

/* Of several pairs each has its own job: this one sees nothing of the others. */
static void test_source_several(void)
{
    g_autoptr(World) alone = world_new(FOLLOWING_SOURCE);
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);
    g_autofree char *expected = NULL;
    g_autofree char *calls = NULL;

    run(alone);
    g_ptr_array_add(world->pairs, pair_new("net1", "vf1", OTHER));
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    expected = calls_of(alone);
    calls = calls_of(world);
    g_assert_cmpstr(calls, ==, expected);
    g_assert_cmpstr(vfo_job_pair(world->job), ==, "net0");
    assert_source(world, FAULT_NONE);
}

/* The one that is asked for has no VF. */
static void test_source_other_pair(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

    g_ptr_array_add(world->pairs, pair_new("net1", "vf1", OTHER));
    world->in_guest = FALSE;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "pair net0"));
}

/* ---------------------------------------------------------- the destination */

static void test_destination(void)
{
    static const char *const calls[] = {
        "inspect",
        "list_vfs",
        "set_vf " VF " tried",
        "set_vf " VF " parked",
        "reserved",
        "started",
        "inspect",
        "find_wire tap0 eth0",
        "try_pf",
        "set_vf " VF " parked",
        "wired",
        "resumed",
        "set_vf " VF " guest",
        "open_pf",
        "host_announce",
        "host_announce",
        "activity_vf " VF,
        "used_vf " VF " 7",
        "close_pf to_vf",
        NULL,
    };
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpstr(vfo_follow_destination_vf(world->job), ==, VF);
    g_assert_null(vfo_absences_find(world->absences, VM, NULL));
    g_assert_false(world->pf_open);
    g_assert_true(reachable(world));
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 500);
    assert_destination(world, FAULT_NONE);
}

static void test_destination_each(void)
{
    inject_each(FOLLOWING_DESTINATION, assert_destination);
}

static void check_destination_two(World *world)
{
    const char *first = call_at(world, world->fault_at[0]);

    if (world->here)
        g_assert_true(reachable(world) || world->in_guest || g_str_equal(first, "open_pf"));
    else
        g_assert_false(world->pf_open);
}

static void test_destination_two(void)
{
    inject_two(FOLLOWING_DESTINATION, check_destination_two);
}

/* libvirt gives the VF the guest's address a second before it says that it starts QEMU. */
static void test_destination_early(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "started", FAULT_NONE);
    guint at = world->fault_at[0];

    world->early = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpstr(call_at(world, at + 1), ==, "set_vf " VF " parked");
    g_assert_cmpstr(call_at(world, at + 2), ==, "inspect");
    g_assert_nonnull(strstr(record_of(world, "start")->detail, "early"));
    assert_destination(world, FAULT_NONE);
}

/* In two calls, with a look after each. */
static void test_destination_early_twice(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "started", FAULT_LATE);
    VfoVf *vf = vf_of(world, VF);
    guint calls;

    world->early = TRUE;
    start_until(world, "start");
    g_assert_true(is_parked(world, VF));
    vf->settings.vlan = 100;
    vfo_job_vf_changed(world->job, vf);
    g_assert_true(is_parked(world, VF));
    calls = world->calls->len;
    vfo_job_vf_changed(world->job, vf);
    g_assert_cmpuint(world->calls->len, ==, calls);
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
    assert_state(world, VFO_JOB_CANCELLED);
    g_assert_true(is_parked(world, VF));
    assert_no_lease(world);
}

/* "quiet" does it then; before, nobody else gets the VF. */
static void test_destination_early_in_vain(void)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        g_autoptr(World) world =
            fails_at(FOLLOWING_DESTINATION, "started", cancelled ? FAULT_LATE : FAULT_NONE);

        world->early = TRUE;
        world->faults[1] = FAULT_REFUSED;
        world->fault_at[1] = world->fault_at[0] + 1;
        start_until(world, cancelled ? "start" : "quiet");
        if (cancelled)
            g_assert_true(vfo_job_cancel(world->job, NULL));
        finish(world);
        g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "set_vf " VF " parked");
        assert_state(world, cancelled ? VFO_JOB_CANCELLED : VFO_JOB_COMPLETED);
        g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, cancelled ? JOB : NULL);
    }
}

/* From the moment that the VM may run the address is right. */
static void test_destination_not_early(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "resumed", FAULT_SILENT);

    start_until(world, "resume");
    g_assert_true(is_parked(world, VF));
    vf_of(world, VF)->settings.mac = guest_mac;
    vfo_job_vf_changed(world->job, vf_of(world, VF));
    g_assert_false(is_parked(world, VF));
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
    vfo_job_vf_changed(world->job, vf_of(world, VF));
    g_assert_true(is_parked(world, VF));
}

/* The source has stopped the VM: the guest looks at its VF as soon as it runs. */
static void test_destination_stopped(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    world->stops = world->began = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(number_in(world, "open_pf"), <, number_in(world, "set_vf " VF " guest"));
    g_assert_cmpuint(number_in(world, "set_vf " VF " guest"), <, number_in(world, "resumed"));
    assert_destination(world, FAULT_NONE);
}

static void test_destination_stopped_in_vain(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    world->stops = world->began = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(FOLLOWING_DESTINATION, "resumed") + 3;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "resumed");
    g_assert_true(called(world, "set_vf " VF " guest"));
    g_assert_true(is_parked(world, VF));
    assert_destination(world, FAULT_REFUSED);
}

/* The guest does not use its VF: better none. */
static void test_destination_not_used(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "used_vf " VF " 7", FAULT_REFUSED);

    run(world);
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_true(called(world, "unplug vf0"));
    g_assert_false(world->in_guest);
    g_assert_true(world->pf_open);
    g_assert_true(is_parked(world, VF));
    assert_no_lease(world);
    g_assert_nonnull(vfo_absences_find(world->absences, VM, "net0"));
}

/* It cannot be taken out: it keeps its address, and nobody else gets it. */
static void test_destination_stuck(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "used_vf " VF " 7", FAULT_REFUSED);

    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 4;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "unplug vf0");
    g_assert_true(reachable(world));
    g_assert_nonnull(vfo_leases_holder(world->leases, VF));
}

/* QEMU has not shown it to the guest, and would migrate without waiting for it. */
static void test_source_hidden(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_SOURCE);

    ((VfoVf *)world->vfs->pdata[0])->opened = FALSE;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_SUPPORTED);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "has not negotiated failover"));
    g_assert_false(world->ready || world->reserved);
    assert_no_lease(world);
}

/* The VF is the guest's way when the PF side is not. */
static void test_destination_not_opened(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "open_pf", FAULT_REFUSED);

    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "open", VFO_RESULT_SKIPPED);
    g_assert_true(reachable(world));
}

static void take_all(World *world)
{
    for (guint i = 0; i < world->vfs->len; i++)
        ((VfoVf *)world->vfs->pdata[i])->opened = TRUE;
}

static void test_destination_no_vf(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    take_all(world);
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    /* What would help a VM that is not libvirt's is not offered. */
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "free one there; libvirt"));
    g_assert_null(strstr(vfo_job_error(world->job)->message, "standby-only"));
    g_assert_null(world->reserved_uri);
    g_assert_null(vfo_follow_destination_vf(world->job));
}

static void test_destination_standby_only(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);
    g_autoptr(GPtrArray) wanted = NULL;

    take_all(world);
    world->policy.standby_only = TRUE;
    run(world);
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_cmpstr(world->reserved_uri, ==, VFO_URI_LIBVIRT);
    g_assert_true(world->wired);
    g_assert_true(world->pf_open);
    assert_record(world, "lease", VFO_RESULT_SKIPPED);
    assert_record(world, "quiet", VFO_RESULT_SKIPPED);
    assert_record(world, "configure", VFO_RESULT_SKIPPED);
    wanted = vfo_absences_wanted(world->absences, "blue");
    g_assert_cmpuint(wanted->len, ==, 1);
}

static void assert_refuses_leased(World *world, const char *word)
{
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_test_message("%s", vfo_job_error(world->job)->message);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, word));
    g_assert_false(world->wired);
}

static void assert_refuses(World *world, const char *word)
{
    assert_refuses_leased(world, word);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, VM));
    assert_no_lease(world);
}

static void test_destination_mismatch(void)
{
    for (int reason = 0; reason < 6; reason++) {
        g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);
        VfoPair *pair = world->pairs->pdata[0];

        switch (reason) {
        case 0:
            world->listed = FALSE;
            assert_refuses(world, "no VF in the domain's XML");
            break;
        case 1:
            pair->mac.octet[5]++;
            assert_refuses(world, "52:54:00:aa:00:11");
            break;
        case 2:
            g_clear_pointer(&pair->tap, g_free);
            assert_refuses(world, "tap");
            break;
        case 3:
            g_free(world->wire_network);
            world->wire_network = g_strdup("red");
            assert_refuses(world, "'red'");
            break;
        case 4:
            world->mtu = 1400;
            assert_refuses(world, "MTU");
            break;
        default:
            g_free(world->machine);
            world->machine = g_strdup("pc-q35-9.0");
            assert_refuses(world, "pc-q35-9.0");
        }
    }
}

/* Two hosts may call a VF by two names, and QEMU's features are libvirt's affair. */
static void test_destination_differs(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);
    VfoPair *pair = world->pairs->pdata[0];

    g_free(pair->features);
    pair->features = g_strdup("");
    g_free(pair->primary);
    pair->primary = g_strdup("ua-vf");
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(FOLLOWING_DESTINATION, "used_vf " VF " 7");
    run(world);
    g_assert_true(called(world, "unplug ua-vf"));
}

static void list_other(World *world)
{
    VfoPair *pair = world->pairs->pdata[0];

    g_free(pair->vf);
    pair->vf = g_strdup(OTHER);
}

/* libvirt has taken another VF from its own pool than the job has leased. */
static void test_destination_exchange(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    list_other(world);
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_true(called(world, "read_vf " OTHER));
    g_assert_true(is_parked(world, VF));
    g_assert_cmpstr(vfo_follow_destination_vf(world->job), ==, OTHER);
    g_assert_true(vfo_mac_equal(&vf_of(world, OTHER)->settings.mac, &guest_mac));
    g_assert_true(called(world, "used_vf " OTHER " 7"));
    assert_no_lease(world);
}

/* The kernel tells of it before it is known that it is the VM's. */
static void test_destination_exchange_early(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "started", FAULT_LATE);

    list_other(world);
    world->early = TRUE;
    start_until(world, "start");
    g_assert_false(is_parked(world, OTHER));
    g_assert_true(is_parked(world, VF));
    g_assert_null(record_of(world, "start")->detail);
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
}

static void test_destination_exchange_in_vain(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    list_other(world);
    g_assert_true(vfo_leases_take(world->leases, OTHER, "another", 60, NULL));
    assert_refuses_leased(world, OTHER);
    g_assert_cmpstr(vfo_leases_holder(world->leases, OTHER), ==, "another");
    g_assert_null(vfo_leases_holder(world->leases, VF));
}

/* libvirt deals a pool's VFs out among two pairs: what this job has chosen is the other's. */
static void test_destination_yields(void)
{
    g_autoptr(World) world = world_new(FOLLOWING_DESTINATION);

    list_other(world);
    start_until(world, "answer");
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, JOB);
    vfo_follow_destination_yield(world->job);
    g_assert_null(vfo_leases_holder(world->leases, VF));
    g_assert_true(vfo_leases_take(world->leases, VF, "another", 60, NULL));
    finish(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpstr(vfo_job_pair(world->job), ==, "net0");
    g_assert_cmpstr(vfo_follow_destination_vf(world->job), ==, OTHER);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, "another");
    g_assert_true(is_parked(world, VF));
}

/* libvirt goes on without the source's daemon, once it has been answered. */
static void test_destination_orphaned(void)
{
    g_autoptr(World) early = fails_at(FOLLOWING_DESTINATION, "list_vfs", FAULT_NONE);
    g_autoptr(World) late = world_new(FOLLOWING_DESTINATION);

    early->orphan_at = early->fault_at[0];
    run(early);
    assert_state(early, VFO_JOB_CANCELLED);
    g_assert_null(early->reserved_uri);
    late->orphan_at = number_of(FOLLOWING_DESTINATION, "started");
    run(late);
    assert_state(late, VFO_JOB_COMPLETED);
}

/* It would come and find nobody who gives its VF an address. */
static void test_destination_cancel(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "resumed", FAULT_LATE);

    world->began = TRUE;
    start_until(world, "resume");
    g_assert_false(vfo_job_cancel(world->job, NULL));
    world->began = FALSE;
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
    assert_state(world, VFO_JOB_COMPLETED);
}

static void test_destination_loses_vf(void)
{
    g_autoptr(World) world = fails_at(FOLLOWING_DESTINATION, "started", FAULT_SILENT);
    g_autoptr(GError) gone = g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND, "VF is gone");

    start_until(world, "start");
    g_assert_true(vfo_job_lost_vf(world->job, gone));
    finish(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_false(world->wired);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed step is a warning in the log, and here it is meant to fail. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/follow/source/good", test_source);
    g_test_add_func("/follow/source/each", test_source_each);
    g_test_add_func("/follow/source/two", test_source_two);
    g_test_add_func("/follow/source/settings-at-once", test_source_settings_at_once);
    g_test_add_func("/follow/source/fails-after-stop", test_source_fails_after_stop);
    g_test_add_func("/follow/source/settings-later", test_source_settings_later);
    g_test_add_func("/follow/source/does-not-give-up", test_source_does_not_give_up);
    g_test_add_func("/follow/source/exposed-in-vain", test_source_exposed_in_vain);
    g_test_add_func("/follow/source/lost", test_source_lost);
    g_test_add_func("/follow/source/blind", test_source_blind);
    g_test_add_func("/follow/source/blind-given-up", test_source_blind_given_up);
    g_test_add_func("/follow/source/vanishes", test_source_vanishes);
    g_test_add_func("/follow/source/is-nowhere", test_source_is_nowhere);
    g_test_add_func("/follow/source/is-dirty", test_source_is_dirty);
    g_test_add_func("/follow/source/other-half", test_source_other_half);
    g_test_add_func("/follow/source/waits", test_source_waits);
    g_test_add_func("/follow/source/loses-vf", test_source_loses_vf);
    g_test_add_func("/follow/source/never-released", test_source_never_released);
    g_test_add_func("/follow/source/gives-up-slowly", test_source_gives_up_slowly);
    g_test_add_func("/follow/source/no-activity", test_source_no_activity);
    g_test_add_func("/follow/source/not-back", test_source_not_back);
    g_test_add_func("/follow/source/other-half-slow", test_source_other_half_slow);
    g_test_add_func("/follow/source/daemon-stops", test_source_daemon_stops);
    g_test_add_func("/follow/source/late-cancel", test_source_late_cancel);
    g_test_add_func("/follow/source/mismatch", test_source_mismatch);
    g_test_add_func("/follow/source/several", test_source_several);
    g_test_add_func("/follow/source/other-pair", test_source_other_pair);
    g_test_add_func("/follow/destination/good", test_destination);
    g_test_add_func("/follow/destination/each", test_destination_each);
    g_test_add_func("/follow/destination/two", test_destination_two);
    g_test_add_func("/follow/destination/early", test_destination_early);
    g_test_add_func("/follow/destination/early-twice", test_destination_early_twice);
    g_test_add_func("/follow/destination/early-in-vain", test_destination_early_in_vain);
    g_test_add_func("/follow/destination/not-early", test_destination_not_early);
    g_test_add_func("/follow/destination/stopped", test_destination_stopped);
    g_test_add_func("/follow/destination/stopped-in-vain", test_destination_stopped_in_vain);
    g_test_add_func("/follow/destination/not-used", test_destination_not_used);
    g_test_add_func("/follow/destination/stuck", test_destination_stuck);
    g_test_add_func("/follow/source/hidden", test_source_hidden);
    g_test_add_func("/follow/destination/not-opened", test_destination_not_opened);
    g_test_add_func("/follow/destination/no-vf", test_destination_no_vf);
    g_test_add_func("/follow/destination/standby-only", test_destination_standby_only);
    g_test_add_func("/follow/destination/mismatch", test_destination_mismatch);
    g_test_add_func("/follow/destination/differs", test_destination_differs);
    g_test_add_func("/follow/destination/exchange", test_destination_exchange);
    g_test_add_func("/follow/destination/exchange-early", test_destination_exchange_early);
    g_test_add_func("/follow/destination/yields", test_destination_yields);
    g_test_add_func("/follow/destination/exchange-in-vain", test_destination_exchange_in_vain);
    g_test_add_func("/follow/destination/orphaned", test_destination_orphaned);
    g_test_add_func("/follow/destination/cancel", test_destination_cancel);
    g_test_add_func("/follow/destination/loses-vf", test_destination_loses_vf);
    return g_test_run();
}
