/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two tables of a hand-over over QMP; after each run the guest must be reachable.
 */
#include "handover-world.h"

#include <string.h>

/* It was asked for its VF, nobody heard its answer, and it had not let go when it was looked at. */
static gboolean guest_may_release(World *world)
{
    const GPtrArray *records = vfo_job_records(world->job);
    gboolean unheard = FALSE;

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        if (g_str_equal(record->step, "unplug") && record->detail)
            unheard = !g_str_has_suffix(record->detail, " broke");
        if (g_str_equal(record->step, "undo unplug"))
            return unheard && g_strcmp0(record->detail, "the guest had not released the VF") == 0;
    }
    return FALSE;
}

/* The VF's settings are known for as long as the VM may be here without it. What leads to it was
 * closed when it was stopped: there is nothing to close when it goes. */
static void assert_known(World *world)
{
    g_autoptr(GPtrArray) wires = vfo_absences_wires(world->absences, VM);
    gboolean known = vfo_absences_find(world->absences, VM, "net0") != NULL;

    g_assert_cmpuint(wires->len, ==, 0);
    /* A guest that bonds: what leads to it may be kept for it all the same. */
    if (world->side == SOURCE)
        g_assert_cmpint(known, ==, world->moved || guest_may_release(world));
}

static void assert_source(World *world, Fault fault)
{
    VfoVf *vf = vf_of(world, VF);
    VfoJobState state = vfo_job_state(world->job);

    assert_undo_order(world);
    assert_known(world);
    g_assert_false(world->held);
    if (world->moved) {
        g_assert_false(world->pf_open);
        g_assert_false(world->in_guest);
        g_assert_true(vfo_mac_equal(&vf->settings.mac, &parking_mac));
        if (!undo_failed(world, "undo migrate")) {
            assert_no_lease(world);
            g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
            g_assert_true(state == VFO_JOB_COMPLETED || state == VFO_JOB_DEGRADED);
        }
        return;
    }
    g_assert_true(reachable(world));
    g_assert_cmpint(state, ==, fault == FAULT_CANCEL ? VFO_JOB_CANCELLED : VFO_JOB_FAILED);
    if (fault == FAULT_CANCEL)
        g_assert_error(vfo_job_error(world->job), G_IO_ERROR, G_IO_ERROR_CANCELLED);
    else
        g_assert_true(vfo_job_error(world->job)->domain == VFO_ERROR);
    g_assert_false(world->reserved);
    assert_no_lease(world);
    /* One thing went wrong, and there was a way back from it. */
    g_assert_false(undo_failed(world, NULL));
    g_assert_true(world->in_guest);
    /* A guest that was asked and has not answered may release its VF at any time. */
    g_assert_cmpint(world->pf_open, ==, guest_may_release(world));
    g_assert_true(vf->settings.spoofchk);
    g_assert_cmpuint(vf->settings.max_tx_rate, ==, 500);
}

static void assert_destination(World *world, Fault fault)
{
    VfoVf *vf = vf_of(world, VF);
    VfoJobState state = vfo_job_state(world->job);

    assert_undo_order(world);
    assert_no_lease(world);
    g_assert_false(undo_failed(world, NULL));
    if (!world->in_guest)
        g_assert_true(vfo_mac_equal(&vf->settings.mac, &parking_mac));
    if (world->here) {
        g_assert_cmpint(state, ==, VFO_JOB_DEGRADED);
        g_assert_true(world->in_guest || world->pf_open || called(world, "open_pf"));
        /* With nothing but the PF's filter missing there is no more to be done. */
        if (!g_str_equal(g_ptr_array_index(world->calls, world->calls->len - 1), "open_pf"))
            g_assert_true(reachable(world));
        return;
    }
    g_assert_cmpint(state, ==, fault == FAULT_CANCEL ? VFO_JOB_CANCELLED : VFO_JOB_FAILED);
    g_assert_false(world->pf_open);
    g_assert_false(world->in_guest);
}

static void test_source_each(gconstpointer side)
{
    inject_each((Side)GPOINTER_TO_INT(side), assert_source);
}

static void test_destination_each(gconstpointer side)
{
    inject_each((Side)GPOINTER_TO_INT(side), assert_destination);
}

/* Two calls go wrong: the second while the first is being undone, or later on the way. */
static void check_source_two(World *world)
{
    const char *second = call_at(world, world->fault_at[1]);

    if (!world->in_guest && called(world, "unplug vf0"))
        g_assert_nonnull(vfo_absences_find(world->absences, VM, "net0"));
    if (world->moved)
        return;
    if (!undo_failed(world, "undo migrate"))
        assert_no_lease(world);
    g_assert_true(world->held == FALSE || g_str_equal(second, "release"));
    g_assert_true(reachable(world) || world->pf_open || undo_failed(world, "undo migrate"));
}

static void test_source_two(gconstpointer side)
{
    inject_two((Side)GPOINTER_TO_INT(side), check_source_two);
}

static void check_destination_two(World *world)
{
    const char *first = call_at(world, world->fault_at[0]);

    if (world->here)
        g_assert_true(reachable(world) || g_str_equal(first, "open_pf"));
    else
        g_assert_false(world->pf_open);
}

static void test_destination_two(gconstpointer side)
{
    inject_two((Side)GPOINTER_TO_INT(side), check_destination_two);
}

/* --------------------------------------------------------------- the source */

static void test_source(void)
{
    static const char *const calls[] = {
        "inspect",
        "read_vf " VF,
        "find_wire tap0 eth0",
        "reserve",
        "hold",
        "open_pf",
        "unplug vf0",
        "release",
        "announce net0",
        "closed_vf " VF,
        "set_vf " VF " parked",
        "reset_vf " VF,
        "migrate " URI,
        "close_pf",
        "completed",
        "finished",
        NULL,
    };
    g_autoptr(World) world = world_new(SOURCE);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_null(vfo_job_error(world->job));
    assert_source(world, FAULT_NONE);
    g_assert_true(world->told);
    g_assert_true(vf_of(world, VF)->settings.spoofchk);
}

static void test_source_cannot_hold(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->cannot_hold = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "hold", VFO_RESULT_SKIPPED);
    g_assert_cmpstr(record_of(world, "hold")->detail, ==, "this kernel cannot hold frames");
    g_assert_false(called(world, "release"));
    assert_source(world, FAULT_NONE);
}

static void test_source_refuses(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_free(world->status);
    world->status = g_strdup("paused");
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "paused"));
    g_assert_cmpuint(world->calls->len, ==, 1);
}

static void assert_source_refuses(World *world, VfoError code, const char *word)
{
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, (int)code);
    g_test_message("%s", vfo_job_error(world->job)->message);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, VM));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, word));
    g_assert_false(called(world, "reserve"));
    g_assert_false(called(world, "open_pf"));
}

static void test_source_no_pair(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_ptr_array_set_size(world->pairs, 0);
    assert_source_refuses(world, VFO_ERROR_NOT_FOUND, "failover=on");
}

static void test_source_no_vf(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->in_guest = FALSE;
    assert_source_refuses(world, VFO_ERROR_NOT_FOUND, "nothing to hand over");
}

static void test_source_two_pairs(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_ptr_array_add(world->pairs, pair_new("net1", "vf1", OTHER));
    assert_source_refuses(world, VFO_ERROR_NOT_SUPPORTED, "net1");
}

/* Only a pair with a VF counts. */
static void test_source_second_pair_empty(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_ptr_array_add(world->pairs, pair_new("net1", NULL, NULL));
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
}

static void test_source_no_tap(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_clear_pointer(&((VfoPair *)world->pairs->pdata[0])->tap, g_free);
    assert_source_refuses(world, VFO_ERROR_NOT_SUPPORTED, "tap");
}

static void test_source_other_mac(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    vf_of(world, VF)->settings.mac.octet[5]++;
    assert_source_refuses(world, VFO_ERROR_MISMATCH, "52:54:00:aa:00:11");
}

static void test_source_vlan(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    vf_of(world, VF)->settings.vlan = 100;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(world->wire_vlan, ==, 100);
    g_assert_cmpstr(record_of(world, "lease")->detail, ==,
                    "tap0 reaches PF eth0 by datapath 'bridge', VLAN 100");
}

static void test_source_leased(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    g_assert_true(vfo_leases_take(world->leases, VF, "another", 60, NULL));
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, "another");
    g_assert_false(called(world, "reserve"));
}

/* The VF is back in the guest, but nothing shows that the guest uses it. */
static void test_source_not_used_again(void)
{
    g_autoptr(World) world = world_new(SOURCE);
    guint reset = number_of(SOURCE, "reset_vf " VF);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = reset;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = reset + 5;
    run(world);
    g_assert_cmpstr(call_at(world, reset + 5), ==, "used_vf " VF " 7");
    assert_state(world, VFO_JOB_FAILED);
    assert_record(world, "undo unplug", VFO_RESULT_UNDO_FAILED);
    assert_record(world, "undo open", VFO_RESULT_SKIPPED);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
    assert_no_lease(world);
}

/* The end of the hold is nothing to a job whose guest has answered. */
static void test_source_hold_ends_once(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(SOURCE, "closed_vf " VF);
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 50;
    world->policy.deadline_ms[VFO_DEADLINE_CLOSE] = SHORT_MS;
    start_until(world, "close");
    while (!vfo_job_ended(world->job)) {
        const VfoRecord *record = record_of(world, "close");

        g_assert_true(!record->detail || record->result == VFO_RESULT_FAILED);
        g_main_context_iteration(NULL, TRUE);
    }
    assert_source(world, FAULT_SILENT);
}

/* The guest does not answer: frames are held for no longer than the policy says. */
static void test_source_unplug_never_ends(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(SOURCE, "unplug vf0");
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    start(world);
    while (!world->held)
        g_main_context_iteration(NULL, TRUE);
    while (world->held)
        g_main_context_iteration(NULL, TRUE);
    g_assert_false(vfo_job_ended(world->job));
    g_assert_cmpstr(vfo_job_step(world->job)->name, ==, "unplug");
    g_assert_true(vfo_mac_equal(&vf_of(world, VF)->settings.mac, &guest_mac));
    finish(world);
    assert_source(world, FAULT_SILENT);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_DEADLINE);
    assert_record(world, "unplug", VFO_RESULT_FAILED);
    assert_record(world, "undo unplug", VFO_RESULT_UNDONE);
    g_assert_false(called(world, "plug vf0 " VF));
}

/* A VF that the guest was asked for comes back after a cancellation. */
static void test_source_cancel_while_unplugging(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_CANCEL;
    world->fault_at[0] = number_of(SOURCE, "unplug vf0");
    run(world);
    assert_state(world, VFO_JOB_CANCELLED);
    assert_source(world, FAULT_CANCEL);
    assert_record(world, "unplug", VFO_RESULT_OK);
    g_assert_true(called(world, "plug vf0 " VF));
    g_assert_true(world->in_guest);
    g_assert_false(world->pf_open);
}

/* A guest that is slow, but not too slow. */
static void test_source_unplug_late(void)
{
    g_autoptr(World) world = world_new(SOURCE);
    guint unplug = number_of(SOURCE, "unplug vf0");

    world->faults[0] = FAULT_UNHEARD;
    world->fault_at[0] = unplug;
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    run(world);
    assert_source(world, FAULT_UNHEARD);
    g_assert_true(called(world, "plug vf0 " VF));
}

/* The host cannot let go of the frames when the hold ends, but can later. */
static void test_source_hold_ends_badly(void)
{
    g_autoptr(World) world = world_new(SOURCE);
    guint unplug = number_of(SOURCE, "unplug vf0");

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = unplug;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = unplug + 1;
    world->policy.deadline_ms[VFO_DEADLINE_HOLD] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = SHORT_MS;
    run(world);
    g_assert_cmpstr(call_at(world, unplug + 1), ==, "release");
    assert_source(world, FAULT_SILENT);
}

/* The migration is off and the VM runs here, but its PF side stays shut: the VF is its only way. */
static void test_source_reopen_fails(void)
{
    g_autoptr(World) world = world_new(SOURCE);
    guint leave_call = number_of(SOURCE, "close_pf");

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = leave_call;
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = leave_call + 2;
    run(world);
    g_assert_cmpstr(call_at(world, leave_call + 1), ==, "cancel");
    g_assert_cmpstr(call_at(world, leave_call + 2), ==, "open_pf");
    assert_state(world, VFO_JOB_FAILED);
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_true(world->in_guest);
    g_assert_true(reachable(world));
    assert_no_lease(world);
    g_assert_false(world->reserved);
}

/* Nobody knows where the VM is: neither is the PF side opened nor the VF plugged. */
static void test_source_lost(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = number_of(SOURCE, "completed");
    run(world);
    g_assert_cmpstr(call_at(world, world->calls->len - 1), ==, "cancel");
    g_assert_false(world->pf_open);
    g_assert_true(world->reserved);
    assert_record(world, "undo migrate", VFO_RESULT_UNDO_FAILED);
    g_assert_false(called(world, "peer_release"));
}

static void test_source_late_cancel(void)
{
    static const char *const late[] = {"close_pf", "completed", "finished"};

    for (gsize i = 0; i < G_N_ELEMENTS(late); i++) {
        g_autoptr(World) world = world_new(SOURCE);

        world->faults[0] = FAULT_CANCEL;
        world->fault_at[0] = number_of(SOURCE, late[i]);
        run(world);
        g_assert_true(world->cancel_refused);
        assert_state(world, VFO_JOB_COMPLETED);
        assert_source(world, FAULT_NONE);
    }
}

static void test_source_arrives_badly(void)
{
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(SOURCE, "finished");
    run(world);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_source(world, FAULT_REFUSED);
}

/* ---------------------------------------------------------- the destination */

static void test_destination(void)
{
    static const char *const calls[] = {
        "inspect",
        "list_vfs",
        "find_wire tap0 eth0",
        "try_pf",
        "set_vf " VF " tried",
        "set_vf " VF " parked",
        "listen 10.8.0.2 49152-49215",
        "reserved",
        "resumed",
        "open_pf",
        "announce net0",
        "drained tap0",
        "set_vf " VF " guest",
        "plug vf0 " VF,
        "announce net0",
        "activity_vf " VF,
        "used_vf " VF " 7",
        "close_pf to_vf",
        NULL,
    };
    g_autoptr(World) world = world_new(DESTINATION);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_null(vfo_job_error(world->job));
    g_assert_cmpstr(world->reserved_uri, ==, URI);
    g_assert_null(vfo_absences_find(world->absences, VM, NULL));
    g_assert_true(world->in_guest);
    g_assert_false(world->pf_open);
    g_assert_true(reachable(world));
    g_assert_cmpuint(vf_of(world, VF)->settings.max_tx_rate, ==, 500);
    assert_no_lease(world);
}

/* QEMU announces it without a tag. */
static void test_destination_trunk(void)
{
    g_autoptr(World) world = world_new(DESTINATION);
    guint announced;

    world->wire_trunk = 100;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    announced = number_in(world, "announce net0");
    g_assert_cmpstr(call_at(world, announced + 1), ==, "host_announce");
}

/* The VF hears nobody until the guest's driver is seen to listen, and then both ways change at
 * once. */
static void test_destination_quarantine(void)
{
    g_autoptr(World) world = world_new(DESTINATION);
    guint set_call;

    vf_of(world, VF)->quarantine = 4094;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(number_in(world, "set_vf " VF " quarantined"), <,
                     number_in(world, "plug vf0 " VF));
    set_call = number_in(world, "set_vf " VF " guest");
    g_assert_cmpstr(call_at(world, set_call - 1), ==, "used_vf " VF " 7");
    g_assert_cmpstr(call_at(world, set_call + 1), ==, "close_pf to_vf");
    g_assert_cmpuint(vf_of(world, VF)->settings.vlan, ==, 0);
    g_assert_true(reachable(world));
}

/* Out of quarantine it does not come: a guest on its standby is better than a deaf one. */
static void test_destination_stays_in_quarantine(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    vf_of(world, VF)->quarantine = 4094;
    world->faults[0] = FAULT_REFUSED;
    /* Without a quarantine it is the last call, close_pf. */
    world->fault_at[0] = number_of(DESTINATION, "close_pf to_vf");
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "set_vf " VF " guest");
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_false(world->in_guest);
    g_assert_true(reachable(world));
}

/* The source has stopped the VM: its frames come here from then on. */
static void test_destination_stopped(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->stops = world->began = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(number_in(world, "open_pf"), <, number_in(world, "host_announce"));
    g_assert_cmpuint(number_in(world, "host_announce"), <, number_in(world, "resumed"));
    g_assert_true(reachable(world));
}

static void test_destination_stopped_in_vain(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->stops = world->began = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(DESTINATION, "resumed") + 2;
    run(world);
    g_assert_true(called(world, "host_announce"));
    g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "resumed");
    g_assert_true(called(world, "close_pf"));
    assert_destination(world, FAULT_REFUSED);
}

static void test_destination_prepares(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->prepares = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "prepare", VFO_RESULT_OK);
    g_assert_cmpuint(number_in(world, "reserved"), <, number_in(world, "prepare vf0 " VF));
    g_assert_cmpuint(number_in(world, "prepare vf0 " VF), <, number_in(world, "resumed"));
    g_assert_true(world->in_guest);
}

static void test_destination_cannot_prepare(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_record(world, "prepare", VFO_RESULT_SKIPPED);
    g_assert_true(called(world, "plug vf0 " VF));
}

/* The VM does not come: QEMU gives the VF back, or has gone and taken it along. */
static void test_destination_prepares_in_vain(void)
{
    for (int gone = 0; gone < 2; gone++) {
        g_autoptr(World) world = world_new(DESTINATION);

        world->prepares = TRUE;
        world->faults[0] = FAULT_REFUSED;
        world->fault_at[0] = number_of(DESTINATION, "resumed") + 1;
        world->gone = gone;
        run(world);
        g_assert_cmpstr(call_at(world, world->fault_at[0]), ==, "resumed");
        g_assert_true(called(world, "unplug vf0"));
        assert_destination(world, FAULT_REFUSED);
    }
}

/* A source that says so before there is anything to wait for is not believed. */
static void test_destination_stopped_early(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->stops = TRUE;
    run(world);
    g_assert_false(called(world, "host_announce"));
    assert_state(world, VFO_JOB_COMPLETED);
}

/* What makes a VF not free, one thing at a time: the next one is taken. */
static void test_destination_chooses(void)
{
    for (int reason = 0; reason < 5; reason++) {
        g_autoptr(World) world = world_new(DESTINATION);
        VfoVf *vf = vf_of(world, VF);

        if (reason == 0)
            vf->opened = TRUE;
        if (reason == 1)
            g_clear_pointer(&vf->driver, g_free);
        if (reason == 2)
            vf->driver[0] = 'x';
        if (reason == 3)
            vf->network[0] = 'x';
        if (reason == 4)
            g_assert_true(vfo_leases_take(world->leases, VF, "another", 60, NULL));
        g_test_message("reason %d", reason);
        run(world);
        assert_state(world, VFO_JOB_COMPLETED);
        g_assert_true(called(world, "plug vf0 " OTHER));
        g_assert_false(called(world, "set_vf " VF " parked"));
    }
}

static void no_vf(World *world)
{
    for (guint i = 0; i < world->vfs->len; i++)
        ((VfoVf *)world->vfs->pdata[i])->opened = TRUE;
}

static void test_destination_no_vf(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    no_vf(world);
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "'blue'"));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "standby-only"));
    g_assert_false(called(world, "reserved"));
    assert_destination(world, FAULT_REFUSED);
}

static guint count_wanted(World *world)
{
    g_autoptr(GPtrArray) wanted = vfo_absences_wanted(world->absences, "blue");

    return wanted->len;
}

static void test_destination_standby_only(void)
{
    static const char *const calls[] = {
        "inspect",  "list_vfs", "find_wire tap0 -", "try_pf",        "listen 10.8.0.2 49152-49215",
        "reserved", "resumed",  "open_pf",          "announce net0", NULL,
    };
    g_autoptr(World) world = world_new(DESTINATION);

    no_vf(world);
    world->policy.standby_only = TRUE;
    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_FAILED);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
    assert_record(world, "lease", VFO_RESULT_SKIPPED);
    assert_record(world, "configure", VFO_RESULT_SKIPPED);
    assert_record(world, "plug", VFO_RESULT_SKIPPED);
    assert_record(world, "use", VFO_RESULT_SKIPPED);
    assert_record(world, "shut", VFO_RESULT_SKIPPED);
    assert_no_lease(world);
    g_assert_cmpuint(count_wanted(world), ==, 1);
    {
        g_autoptr(GPtrArray) wires = vfo_absences_wires(world->absences, VM);

        g_assert_cmpuint(wires->len, ==, 1);
    }
    g_assert_cmpuint(vfo_absences_find(world->absences, VM, "net0")->settings.max_tx_rate, ==, 500);
}

/* Standby-only is for a host without a free VF, not for one that cannot tell. */
static void test_destination_cannot_list(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->policy.standby_only = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = number_of(DESTINATION, "list_vfs");
    run(world);
    assert_state(world, VFO_JOB_FAILED);
}

static void test_destination_standby_only_fails(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    no_vf(world);
    world->policy.standby_only = TRUE;
    world->faults[0] = FAULT_REFUSED;
    world->fault_at[0] = 4;
    run(world);
    g_assert_cmpstr(call_at(world, 4), ==, "listen 10.8.0.2 49152-49215");
    assert_destination(world, FAULT_REFUSED);
}

static void set_text(char **field, const char *text)
{
    g_free(*field);
    *field = g_strdup(text);
}

static void test_destination_mismatch(void)
{
    enum { STATUS, MACHINE, STANDBY, MAC, FEATURES, PRIMARY, TAP, BUS, NETWORK, N_CASES };
    static const struct {
        VfoError code;
        const char *words[2];
    } expected[N_CASES] = {
        [STATUS] = {VFO_ERROR_FAILED, {"running", "-incoming defer"}},
        [MACHINE] = {VFO_ERROR_MISMATCH, {"pc-q35-9.2", "-machine pc-q35-10.0"}},
        [STANDBY] = {VFO_ERROR_MISMATCH, {"net0", "failover=on"}},
        [MAC] = {VFO_ERROR_MISMATCH, {"52:54:00:aa:00:10 here", "52:54:00:aa:00:11 at the dest"}},
        [FEATURES] = {VFO_ERROR_MISMATCH, {"here (mq=off,mrg_rxbuf=on)", "destination (mq=on)"}},
        [PRIMARY] = {VFO_ERROR_MISMATCH, {"vf0", "leave it out"}},
        [TAP] = {VFO_ERROR_NOT_SUPPORTED, {"net0", "tap"}},
        [BUS] = {VFO_ERROR_MISMATCH, {"no room", "id=rp1"}},
        [NETWORK] = {VFO_ERROR_MISMATCH, {"'blue'", "'red'"}},
    };

    for (int i = 0; i < N_CASES; i++) {
        g_autoptr(World) world = world_new(DESTINATION);
        VfoPair *pair = g_ptr_array_index(world->pairs, 0);
        const char *message;

        if (i == STATUS)
            set_text(&world->status, "running");
        if (i == MACHINE)
            set_text(&world->machine, "pc-q35-9.2");
        if (i == STANDBY)
            set_text(&pair->standby, "net9");
        if (i == MAC)
            pair->mac.octet[5]++;
        if (i == FEATURES)
            set_text(&pair->features, "mq=on");
        if (i == PRIMARY)
            world->in_guest = TRUE;
        if (i == TAP)
            g_clear_pointer(&pair->tap, g_free);
        if (i == BUS)
            g_ptr_array_set_size(world->free_buses, 1);
        if (i == NETWORK)
            set_text(&world->wire_network, "red");
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_error(vfo_job_error(world->job), VFO_ERROR, (int)expected[i].code);
        message = vfo_job_error(world->job)->message;
        g_test_message("%s", message);
        g_assert_nonnull(strstr(message, VM));
        g_assert_nonnull(strstr(message, expected[i].words[0]));
        g_assert_nonnull(strstr(message, expected[i].words[1]));
        g_assert_false(called(world, "reserved"));
        g_assert_false(called(world, "set_vf " VF " parked"));
        assert_no_lease(world);
    }
}

/* What the driver cannot do is found out before the source hears that all is ready. */
static void test_destination_cannot_configure(void)
{
    for (Fault fault = FAULT_REFUSED; fault <= FAULT_BROKEN; fault++) {
        g_autoptr(World) world = world_new(DESTINATION);
        VfoVfSettings parked = vfo_vf_parked(vf_of(world, VF));

        world->faults[0] = fault;
        world->fault_at[0] = number_of(DESTINATION, "set_vf " VF " tried");
        run(world);
        assert_state(world, VFO_JOB_FAILED);
        g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "tried"));
        g_assert_false(called(world, "reserved"));
        /* All of it, not the address alone. */
        g_assert_true(vfo_vf_settings_equal(&vf_of(world, VF)->settings, &parked));
        assert_destination(world, fault);
    }
}

static void test_destination_mtu(void)
{
    g_autoptr(World) world = world_new(DESTINATION);
    g_autoptr(World) without_vf = world_new(DESTINATION);
    g_autoptr(World) wider = world_new(DESTINATION);

    world->mtu = 1499;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "1499"));
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "ip link set eth0 mtu 1500"));
    g_assert_false(called(world, "set_vf " VF " tried"));
    g_assert_false(called(world, "reserved"));
    assert_no_lease(world);

    /* The standby's frames go through the PF as well. */
    no_vf(without_vf);
    without_vf->policy.standby_only = TRUE;
    without_vf->mtu = 1499;
    run(without_vf);
    assert_state(without_vf, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(without_vf->job), VFO_ERROR, VFO_ERROR_MISMATCH);

    wider->mtu = 9000;
    run(wider);
    assert_state(wider, VFO_JOB_COMPLETED);
}

/* A VF that the guest does not give back stays as it is: without the guest's address it would
 * still be the guest's primary, and the guest would hear nothing. */
static void test_destination_stuck(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = number_of(DESTINATION, "used_vf " VF " 7");
    world->faults[1] = FAULT_SILENT;
    world->fault_at[1] = world->fault_at[0] + 2;
    world->policy.deadline_ms[VFO_DEADLINE_USE] = 20;
    world->policy.deadline_ms[VFO_DEADLINE_UNPLUG] = 20;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "unplug vf0");
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "undo plug", VFO_RESULT_UNDO_FAILED);
    g_assert_true(world->in_guest);
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
}

/* Nobody takes a VF with a guest's address on it. */
static void test_destination_not_parked(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_BROKEN;
    world->fault_at[0] = number_of(DESTINATION, "set_vf " VF " guest");
    world->faults[1] = FAULT_REFUSED;
    world->fault_at[1] = world->fault_at[0] + 1;
    run(world);
    g_assert_cmpstr(call_at(world, world->fault_at[1]), ==, "set_vf " VF " parked");
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, JOB);
    g_assert_true(reachable(world));
    /* It is known what the guest has lost, but a VF has been tried. */
    g_assert_nonnull(vfo_absences_find(world->absences, VM, "net0"));
    g_assert_cmpuint(count_wanted(world), ==, 0);
}

/* The VM resumes here in the moment in which the deadline passes. */
static void test_destination_resumed_at_deadline(void)
{
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = number_of(DESTINATION, "resumed");
    /* Memory is waited for as long as all deadlines together. */
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_true(reachable(world));
}

/* ------------------------------------------------------------------ orphans */

static World *waiting_for_memory(void)
{
    guint resumed = number_of(DESTINATION, "resumed");
    World *world = world_new(DESTINATION);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = resumed;
    start_until(world, "resume");
    return world;
}

static void test_orphaned_before_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    vfo_destination_orphaned(world->job);
    finish(world);
    assert_destination(world, FAULT_CANCEL);
}

static void test_orphaned_after_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    world->began = TRUE;
    vfo_destination_orphaned(world->job);
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    g_assert_false(vfo_job_ended(world->job));
    assert_state(world, VFO_JOB_RUNNING);
    g_assert_cmpstr(vfo_leases_holder(world->leases, VF), ==, JOB);
    /* Nor may anybody else end it now. */
    g_assert_false(vfo_job_cancel(world->job, NULL));
    /* The test's way out of the wait; an orphan of which memory stops has QEMU's error instead. */
    world->began = FALSE;
    g_assert_true(vfo_job_cancel(world->job, NULL));
    finish(world);
}

/* -------------------------------------------------------------- a VF is gone */

static void lose(World *world, gboolean ends)
{
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND, "VF %s is gone", VF);

    vfo_leases_gone(world->leases, VF);
    g_assert_cmpint(vfo_job_lost_vf(world->job, why), ==, ends);
    /* To be told twice does no harm. */
    g_assert_false(vfo_job_lost_vf(world->job, why));
    finish(world);
    g_assert_false(vfo_job_lost_vf(world->job, why));
    assert_no_lease(world);
}

static void test_lost_before_memory(void)
{
    g_autoptr(World) world = waiting_for_memory();

    lose(world, TRUE);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "VF " VF " is gone"));
    g_assert_false(world->pf_open);
}

/* The VM comes all the same, and lives on its standby. */
static void test_lost_while_memory_arrives(void)
{
    guint resumed = number_of(DESTINATION, "resumed");
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = resumed;
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    world->began = TRUE;
    start_until(world, "resume");
    lose(world, FALSE);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "configure", VFO_RESULT_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_NOT_FOUND);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, VF));
    g_assert_false(called(world, "set_vf " VF " guest"));
    g_assert_false(called(world, "plug vf0 " VF));
    g_assert_true(world->pf_open);
    g_assert_true(reachable(world));
}

static void test_lost_at_source(void)
{
    guint reserve = number_of(SOURCE, "reserve");
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = reserve;
    start_until(world, "reserve");
    lose(world, TRUE);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_false(called(world, "unplug vf0"));
}

/* The guest has left, and with it the need for its old VF. */
static void test_lost_after_the_guest(void)
{
    guint finished = number_of(SOURCE, "migrate " URI);
    g_autoptr(World) world = world_new(SOURCE);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = finished;
    world->policy.deadline_ms[VFO_DEADLINE_MIGRATE] = 20;
    start_until(world, "migrate");
    vfo_leases_gone(world->leases, VF);
    finish(world);
    g_assert_cmpuint(vfo_leases_generation(world->leases, VF), ==, 1);
}

/* An expired lease is as good as none, also when nobody else has the VF. */
static void test_lease_expires(void)
{
    guint resumed = number_of(DESTINATION, "resumed");
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_LATE;
    world->fault_at[0] = resumed;
    for (int i = 0; i < VFO_N_DEADLINES; i++)
        world->policy.deadline_ms[i] = 20;
    start_until(world, "resume");
    g_assert_true(vfo_leases_take(world->leases, VF, JOB, 0, NULL));
    finish(world);
    assert_state(world, VFO_JOB_DEGRADED);
    assert_record(world, "configure", VFO_RESULT_FAILED);
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "expired"));
    g_assert_false(called(world, "set_vf " VF " guest"));
    g_assert_true(reachable(world));
}

/* An orphan does not tell a source that is gone where to migrate to. */
static void test_orphaned_unanswered(void)
{
    guint set_call = number_of(DESTINATION, "set_vf " VF " parked");
    g_autoptr(World) world = world_new(DESTINATION);

    world->orphan_at = set_call;
    world->began = TRUE;
    run(world);
    assert_destination(world, FAULT_CANCEL);
    g_assert_null(world->reserved_uri);
    g_assert_false(called(world, "resumed"));
}

static void test_orphaned_early(void)
{
    guint listen_call = number_of(DESTINATION, "listen 10.8.0.2 49152-49215");
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = listen_call;
    start_until(world, "listen");
    vfo_destination_orphaned(world->job);
    finish(world);
    assert_destination(world, FAULT_CANCEL);
    g_assert_null(world->reserved_uri);
}

static void test_orphaned_late(void)
{
    guint plug_call = number_of(DESTINATION, "plug vf0 " VF);
    g_autoptr(World) world = world_new(DESTINATION);

    world->faults[0] = FAULT_UNHEARD;
    world->fault_at[0] = plug_call;
    world->policy.deadline_ms[VFO_DEADLINE_PLUG] = 50;
    start_until(world, "plug");
    vfo_destination_orphaned(world->job);
    assert_state(world, VFO_JOB_RUNNING);
    finish(world);
    assert_destination(world, FAULT_UNHEARD);
    vfo_destination_orphaned(world->job);
    assert_state(world, VFO_JOB_DEGRADED);
}

/* --------------------------------------------------- by libvirt, without its VF */

static void test_bare_source(void)
{
    static const char *const calls[] = {
        "inspect",
        "read_vf " VF,
        "read_vf " VF,
        "find_wire tap0 eth0",
        "reserve",
        "hold",
        "open_pf",
        "unplug vf0",
        "release",
        "host_announce",
        "closed_vf " VF,
        "set_vf " VF " parked",
        "reset_vf " VF,
        "watched",
        "migrate " LIBVIRT,
        "close_pf",
        "completed",
        "finished",
        NULL,
    };
    g_autoptr(World) world = world_new(BARE_SOURCE);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    assert_source(world, FAULT_NONE);
    g_assert_true(world->told);
}

static void test_bare_source_no_interface(void)
{
    g_autoptr(World) world = world_new(BARE_SOURCE);

    vf_of(world, VF)->settings.mac.octet[5]++;
    assert_source_refuses(world, VFO_ERROR_NOT_FOUND, "52:54:00:aa:00:11");
    g_assert_nonnull(strstr(vfo_job_error(world->job)->message, "bond the two"));
}

static void test_bare_source_two_interfaces(void)
{
    g_autoptr(World) world = world_new(BARE_SOURCE);

    g_ptr_array_add(world->pairs, pair_new("net1", NULL, NULL));
    assert_source_refuses(world, VFO_ERROR_NOT_SUPPORTED, "net1");
}

static void test_bare_source_wrong_uri(void)
{
    g_autoptr(World) world = world_new(BARE_SOURCE);

    world->wrong_uri = TRUE;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_true(world->in_guest);
    g_assert_false(called(world, "unplug vf0"));
}

static void test_bare_destination(void)
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
        "resumed",
        "open_pf",
        "host_announce",
        "drained tap0",
        "set_vf " VF " guest",
        "plug vf0 " VF,
        "host_announce",
        "activity_vf " VF,
        "used_vf " VF " 7",
        "close_pf to_vf",
        NULL,
    };
    g_autoptr(World) world = world_new(BARE_DESTINATION);

    run(world);
    assert_calls(world, calls);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpstr(world->reserved_uri, ==, VFO_URI_LIBVIRT);
    g_assert_true(reachable(world));
    assert_no_lease(world);
    /* Whoever ends the VM closes it. */
    g_assert_nonnull(vfo_absences_find(world->absences, VM, "net0"));
}

/* The frames of the last moments wait in its tap. */
static void test_bare_destination_stopped(void)
{
    g_autoptr(World) world = world_new(BARE_DESTINATION);

    world->stops = world->began = TRUE;
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_cmpuint(number_in(world, "open_pf"), <, number_in(world, "resumed"));
}

/* libvirt counts its aliases anew. */
static void test_bare_destination_other_alias(void)
{
    g_autoptr(World) world = world_new(BARE_DESTINATION);
    VfoPair *pair = g_ptr_array_index(world->pairs, 0);

    g_free(pair->standby);
    pair->standby = g_strdup("net7");
    run(world);
    assert_state(world, VFO_JOB_COMPLETED);
    g_assert_nonnull(vfo_absences_find(world->absences, VM, "net7"));
}

static void test_bare_destination_standby_only(void)
{
    g_autoptr(World) world = world_new(BARE_DESTINATION);
    g_autoptr(GPtrArray) wanted = NULL;

    world->policy.standby_only = TRUE;
    vf_of(world, VF)->opened = vf_of(world, OTHER)->opened = TRUE;
    run(world);
    assert_state(world, VFO_JOB_DEGRADED);
    g_assert_true(world->here && world->pf_open);
    assert_record(world, "plug", VFO_RESULT_SKIPPED);
    wanted = vfo_absences_wanted(world->absences, "blue");
    g_assert_cmpuint(wanted->len, ==, 1);
}

/* Refused before anybody has touched anything. */
static void test_bare_destination_no_vf(void)
{
    g_autoptr(World) world = world_new(BARE_DESTINATION);

    vf_of(world, VF)->opened = vf_of(world, OTHER)->opened = TRUE;
    run(world);
    assert_state(world, VFO_JOB_FAILED);
    g_assert_error(vfo_job_error(world->job), VFO_ERROR, VFO_ERROR_BUSY);
    g_assert_null(strstr(vfo_job_error(world->job)->message, "libvirt"));
    g_assert_null(world->reserved_uri);
}

/* Nobody asks libvirt for it any more. */
static void test_bare_destination_orphaned(void)
{
    g_autoptr(World) world = world_new(BARE_DESTINATION);

    world->faults[0] = FAULT_SILENT;
    world->fault_at[0] = world->orphan_at = number_of(BARE_DESTINATION, "started");
    run(world);
    assert_state(world, VFO_JOB_CANCELLED);
    assert_no_lease(world);
}

#define ADD_SIDE(name, test, side)                                                                 \
    g_test_add_data_func("/handover/" name, GINT_TO_POINTER(side), test)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed step is a warning in the log, and here it is meant to fail. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    g_test_add_func("/handover/source/good", test_source);
    g_test_add_func("/handover/source/cannot-hold", test_source_cannot_hold);
    g_test_add_func("/handover/source/refuses", test_source_refuses);
    g_test_add_func("/handover/source/no-pair", test_source_no_pair);
    g_test_add_func("/handover/source/no-vf", test_source_no_vf);
    g_test_add_func("/handover/source/two-pairs", test_source_two_pairs);
    g_test_add_func("/handover/source/second-pair-empty", test_source_second_pair_empty);
    g_test_add_func("/handover/source/no-tap", test_source_no_tap);
    g_test_add_func("/handover/source/other-mac", test_source_other_mac);
    g_test_add_func("/handover/source/vlan", test_source_vlan);
    g_test_add_func("/handover/source/leased", test_source_leased);
    g_test_add_func("/handover/source/unplug-never-ends", test_source_unplug_never_ends);
    g_test_add_func("/handover/source/unplug-late", test_source_unplug_late);
    g_test_add_func("/handover/source/cancel-while-unplugging",
                    test_source_cancel_while_unplugging);
    g_test_add_func("/handover/source/hold-ends-badly", test_source_hold_ends_badly);
    g_test_add_func("/handover/source/reopen-fails", test_source_reopen_fails);
    g_test_add_func("/handover/source/lost", test_source_lost);
    g_test_add_func("/handover/source/late-cancel", test_source_late_cancel);
    g_test_add_func("/handover/source/arrives-badly", test_source_arrives_badly);
    g_test_add_func("/handover/source/not-used-again", test_source_not_used_again);
    g_test_add_func("/handover/source/hold-ends-once", test_source_hold_ends_once);
    ADD_SIDE("source/each", test_source_each, SOURCE);
    ADD_SIDE("source/two", test_source_two, SOURCE);
    g_test_add_func("/handover/bare-source/good", test_bare_source);
    g_test_add_func("/handover/bare-source/no-interface", test_bare_source_no_interface);
    g_test_add_func("/handover/bare-source/two-interfaces", test_bare_source_two_interfaces);
    g_test_add_func("/handover/bare-source/wrong-uri", test_bare_source_wrong_uri);
    ADD_SIDE("bare-source/each", test_source_each, BARE_SOURCE);
    ADD_SIDE("bare-source/two", test_source_two, BARE_SOURCE);
    g_test_add_func("/handover/destination/good", test_destination);
    g_test_add_func("/handover/destination/trunk", test_destination_trunk);
    g_test_add_func("/handover/destination/quarantine", test_destination_quarantine);
    g_test_add_func("/handover/destination/stays-in-quarantine",
                    test_destination_stays_in_quarantine);
    g_test_add_func("/handover/destination/stopped", test_destination_stopped);
    g_test_add_func("/handover/destination/stopped-in-vain", test_destination_stopped_in_vain);
    g_test_add_func("/handover/destination/stopped-early", test_destination_stopped_early);
    g_test_add_func("/handover/destination/prepares", test_destination_prepares);
    g_test_add_func("/handover/destination/prepares-in-vain", test_destination_prepares_in_vain);
    g_test_add_func("/handover/destination/cannot-prepare", test_destination_cannot_prepare);
    g_test_add_func("/handover/destination/chooses", test_destination_chooses);
    g_test_add_func("/handover/destination/cannot-configure", test_destination_cannot_configure);
    g_test_add_func("/handover/destination/mtu", test_destination_mtu);
    g_test_add_func("/handover/lost/before-memory", test_lost_before_memory);
    g_test_add_func("/handover/lost/while-memory-arrives", test_lost_while_memory_arrives);
    g_test_add_func("/handover/lost/at-source", test_lost_at_source);
    g_test_add_func("/handover/lost/after-the-guest", test_lost_after_the_guest);
    g_test_add_func("/handover/lost/lease-expires", test_lease_expires);
    g_test_add_func("/handover/destination/no-vf", test_destination_no_vf);
    g_test_add_func("/handover/destination/standby-only", test_destination_standby_only);
    g_test_add_func("/handover/destination/cannot-list", test_destination_cannot_list);
    g_test_add_func("/handover/destination/standby-only-fails",
                    test_destination_standby_only_fails);
    g_test_add_func("/handover/destination/mismatch", test_destination_mismatch);
    g_test_add_func("/handover/destination/stuck", test_destination_stuck);
    g_test_add_func("/handover/destination/not-parked", test_destination_not_parked);
    g_test_add_func("/handover/destination/resumed-at-deadline",
                    test_destination_resumed_at_deadline);
    ADD_SIDE("destination/each", test_destination_each, DESTINATION);
    ADD_SIDE("destination/two", test_destination_two, DESTINATION);
    g_test_add_func("/handover/bare-destination/good", test_bare_destination);
    g_test_add_func("/handover/bare-destination/stopped", test_bare_destination_stopped);
    g_test_add_func("/handover/bare-destination/other-alias", test_bare_destination_other_alias);
    g_test_add_func("/handover/bare-destination/standby-only", test_bare_destination_standby_only);
    g_test_add_func("/handover/bare-destination/no-vf", test_bare_destination_no_vf);
    g_test_add_func("/handover/bare-destination/orphaned", test_bare_destination_orphaned);
    ADD_SIDE("bare-destination/each", test_destination_each, BARE_DESTINATION);
    ADD_SIDE("bare-destination/two", test_destination_two, BARE_DESTINATION);
    g_test_add_func("/handover/orphaned/before-memory", test_orphaned_before_memory);
    g_test_add_func("/handover/orphaned/after-memory", test_orphaned_after_memory);
    g_test_add_func("/handover/orphaned/unanswered", test_orphaned_unanswered);
    g_test_add_func("/handover/orphaned/early", test_orphaned_early);
    g_test_add_func("/handover/orphaned/late", test_orphaned_late);
    return g_test_run();
}
