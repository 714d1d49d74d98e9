/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's half of a hand-over that libvirt carries out: the table at the end of this file.
 *
 * QEMU itself asks the guest for its VF when the migration begins, keeps the VF open until it
 * ends, and plugs it in again when the migration is given up. The job sees to the VF's address and
 * to the PF side meanwhile. If it fails, the migration is abandoned: a guest must not arrive where
 * nobody gives its VF an address.
 */
#include "core/parts.h"

typedef struct {
    VfoSource base;
    VfoReady ready;
    gpointer data;
    gboolean parked;     /* the VF has not, or may not have, the guest's address */
    gboolean stopped;    /* QEMU has stopped the VM, as far as is known */
    guint64 activity;    /* the VF's, before it came back */
    GCancellable *blind; /* of the wait for the moment when nothing is told any more; NULL: none */
} Follow;

static void follow_free(gpointer data)
{
    vfo_source_clear(data);
    g_free(data);
}

/* -------------------------------------------------------------------- waits */

/* Waits for QEMU, and for the destination to keep its half: what its user or its daemon's end
 * undoes there nobody tells QEMU. */
typedef struct {
    GTask *task; /* that waits for both */
    GCancellable *cancellable;
    GSource *cancelled;
    guint pending;
    gboolean decided;
    GError *error;
} Wait;

static void wait_leave(Wait *wait)
{
    if (--wait->pending > 0)
        return;
    if (wait->cancelled) {
        g_source_destroy(wait->cancelled);
        g_source_unref(wait->cancelled);
    }
    g_object_unref(wait->cancellable);
    vfo_task_return(wait->task, wait->error == NULL, wait->error);
    g_free(wait);
}

/* Takes @error; only the first word counts. */
static void wait_decide(Wait *wait, GError *error)
{
    if (wait->decided) {
        g_clear_error(&error);
        return;
    }
    wait->decided = TRUE;
    wait->error = error;
    g_cancellable_cancel(wait->cancellable);
}

static void on_seen(GObject *source, GAsyncResult *result, gpointer data)
{
    Wait *wait = data;
    GError *error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error))
        wait_decide(wait, error);
    else
        wait_decide(wait, NULL);
    wait_leave(wait);
}

static void on_other_half_ended(GObject *source, GAsyncResult *result, gpointer data)
{
    Wait *wait = data;
    GError *error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error))
        wait_decide(wait, error);
    wait_leave(wait);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    Wait *wait = data;

    g_cancellable_cancel(wait->cancellable);
    return G_SOURCE_REMOVE;
}

GTask *vfo_source_wait(VfoJob *job, GTask *task)
{
    const VfoSource *s = vfo_job_context(job);
    Wait *wait = g_new0(Wait, 1);

    wait->task = task;
    wait->pending = 2;
    wait->cancellable = g_cancellable_new();
    wait->cancelled = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(wait->cancelled, G_SOURCE_FUNC(on_cancelled), wait, NULL);
    g_source_attach(wait->cancelled, g_main_context_get_thread_default());
    s->peer->ops->finished(s->peer, g_task_new(NULL, wait->cancellable, on_other_half_ended, wait));
    return g_task_new(NULL, wait->cancellable, on_seen, wait);
}

/* ----------------------------------------------------------- answer and ask */

static void answer(VfoJob *job, GTask *task)
{
    const Follow *f = vfo_job_context(job);

    if (f->ready)
        f->ready(job, f->data);
    vfo_task_done(task);
}

static void ask(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);

    give->vm->ops->unplugging(give->vm, give->pair, vfo_source_wait(job, task));
}

/* ------------------------------------------------------------------- give up */

/* Before all else: QEMU shows the VF to the guest as soon as the migration is over. What goes wrong
 * is tried again when there is time to fail. */
static void restore_early(VfoJob *job)
{
    Follow *f = vfo_job_context(job);

    f->parked = f->parked && !vfo_give_restore(job, NULL);
}

/* The task has been given up for, with this error. */
typedef struct {
    GTask *task;
    GError *error;
} Gone;

static void on_cleaned(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Gone *gone = data;
    VfoJob *job = g_task_get_task_data(gone->task);
    g_autoptr(GError) error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error))
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), error->message);
    vfo_task_fail(gone->task, gone->error);
}

/*
 * There is no VM here any more, and so nothing to give back to it: nothing here leads to it, and
 * its VF is cleaned. Where it is, or that it is nowhere, is not ours to say: @error (transfer
 * full).
 */
static void leave_nothing(VfoJob *job, GTask *task, GError *error)
{
    Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;
    g_autoptr(GError) open = NULL;
    Gone *gone = g_new0(Gone, 1);

    vfo_give_release_held(job);
    f->parked = TRUE;
    if (!give->host->ops->close_pf(give->host, give->wire, FALSE, &open))
        g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), open->message);
    gone->task = task;
    gone->error = error;
    g_task_set_task_data(task, job, NULL);
    vfo_clean_vf(give->host, give->leases, give->vf, vfo_job_id(job),
                 g_task_new(NULL, g_task_get_cancellable(task), on_cleaned, gone));
}

static void on_given_up(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        restore_early(job);
        vfo_task_done(task);
        return;
    }
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED)) {
        leave_nothing(job, task, error);
        return;
    }
    /* The VM may be on the other host. Here, it is reached through its standby as well. */
    if (!give->in_guest && !f->parked) {
        g_autoptr(GError) not_parked = NULL;

        f->parked = TRUE;
        if (!vfo_give_silence(job, &not_parked))
            g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), not_parked->message);
    }
    vfo_task_fail(task, error);
}

/* Done when libvirt has given up the migration, or had before: the VM is here. */
static void give_up(VfoJob *job, GTask *task)
{
    const Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;

    /* While memory moves the VM is here for certain; what it is sent reaches it on its standby,
     * whatever address the VF has. */
    if (!f->stopped)
        restore_early(job);
    give->vm->ops->cancel(give->vm, vfo_job_inner_task(job, task, on_given_up));
}

/* ------------------------------------------------------------------- unplug */

static void unplug(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);

    give->vm->ops->unplugged(give->vm, give->pair,
                             vfo_source_wait(job, vfo_give_await_release(job, task)));
}

static void on_back(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    const Follow *f = vfo_job_context(job);
    GError *error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error))
        vfo_give_await_use(job, f->activity, task);
    else
        vfo_task_fail(task, error);
}

static void on_given_up_for_replug(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;
    GError *error = NULL;

    /* The guest is on its standby, or about to be: nothing may wait there. */
    vfo_give_release_held(job);
    if (!g_task_propagate_boolean(G_TASK(result), &error)) {
        vfo_job_undo_no_further(job);
        vfo_task_fail(task, error);
        return;
    }
    if (f->parked && !vfo_give_restore(job, &error)) {
        vfo_task_fail(task, error);
        return;
    }
    f->parked = FALSE;
    give->vm->ops->replugged(give->vm, give->pair, vfo_job_inner_task(job, task, on_back));
}

static void undo_unplug(VfoJob *job, GTask *task)
{
    Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;

    /* If it cannot be read now, what is read first counts. */
    if (!give->host->ops->activity_vf(give->host, give->vf->pci, &f->activity, NULL))
        f->activity = G_MAXUINT64;
    give_up(job, vfo_job_inner_task(job, task, on_given_up_for_replug));
}

/* --------------------------------------------------------- park, migrate, quit */

static void park(VfoJob *job, GTask *task)
{
    Follow *f = vfo_job_context(job);

    f->parked = TRUE;
    vfo_give_park(job, task);
}

/* Should the migration be given up now, QEMU would show the VF to the guest before anybody here
 * hears of it. */
static void on_unseen(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoJob) job = data;
    Follow *f = vfo_job_context(job);
    gboolean is_unseen = g_task_propagate_boolean(G_TASK(result), NULL);

    if (is_unseen && f->blind)
        restore_early(job);
    g_clear_object(&f->blind);
}

static void on_stopped(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    Follow *f = vfo_job_context(job);
    GError *error = NULL;

    if (f->blind)
        g_cancellable_cancel(f->blind);
    g_clear_object(&f->blind);
    f->stopped = g_task_propagate_boolean(G_TASK(result), &error);
    if (f->stopped && !f->parked) {
        f->parked = TRUE;
        f->stopped = vfo_give_silence(job, &error);
    }
    vfo_task_return(task, f->stopped, error);
}

static void migrate(VfoJob *job, GTask *task)
{
    Follow *f = vfo_job_context(job);
    const VfoGive *give = &f->base.parts.give;

    f->blind = g_cancellable_new();
    give->vm->ops->unseen(give->vm, g_task_new(NULL, f->blind, on_unseen, vfo_job_ref(job)));
    give->vm->ops->stopped(give->vm,
                           vfo_source_wait(job, vfo_job_inner_task(job, task, on_stopped)));
}

static void undo_migrate(VfoJob *job, GTask *task)
{
    give_up(job, vfo_source_reopen(job, task));
}

static void quit(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);

    give->vm->ops->ended(give->vm, task);
}

/* ------------------------------------------------------------------ steps */

/*
 * Nothing is opened or held before QEMU asks for the VF: libvirt may copy disks for hours before.
 * But then it presses, as the guest is asked at the same time: what takes long is done before.
 *
 * From "answer" on libvirt goes on, unless it is told to give up: the undo of it. If it does not,
 * no more is undone once the guest was asked. The destination does not undo its half before its
 * libvirt, which may have to be started anew, tells that the VM does not come: the undo of
 * "reserve" has as long. "complete" has the time of a whole migration, as memory moves after the
 * switch-over in post-copy mode. libvirt puts back the address that a VF of <interface
 * type='hostdev'> had, when QEMU has ended.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "libvirt to describe the pair", vfo_give_inspect, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     0},
    {"lease", "the host to describe the VF and its wire", vfo_give_lease_opened, VFO_DEADLINE_QUERY,
     vfo_give_undo_lease, VFO_DEADLINE_QUERY, 0},
    {"reserve", "the destination to be ready", vfo_source_reserve, VFO_DEADLINE_PEER,
     vfo_source_undo_reserve, VFO_DEADLINE_ARRIVE, VFO_STEP_NEEDS_VF},
    {"prepare", "the kernel to be ready to hold frames", vfo_give_prepare_hold, VFO_DEADLINE_QUERY,
     vfo_give_undo_hold, VFO_DEADLINE_QUERY, 0},
    {"answer", "the destination to be told", answer, VFO_DEADLINE_QUERY, give_up,
     VFO_DEADLINE_SWITCH, 0},
    {"ask", "QEMU to ask the guest for the VF", ask, VFO_DEADLINE_MIGRATE, VFO_NO_UNDO,
     VFO_STEP_NEEDS_VF},
    VFO_HOLD_STEPS,
    {"unplug", "the guest to release the VF", unplug, VFO_DEADLINE_UNPLUG, undo_unplug,
     VFO_DEADLINE_PLUG, 0},
    {"deliver", "the held frames to be delivered", vfo_give_deliver, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, 0},
    {"park", "the VF's parking address", park, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"migrate", "the VM to be stopped for the switch-over", migrate, VFO_DEADLINE_MIGRATE,
     undo_migrate, VFO_DEADLINE_SWITCH, VFO_STEP_UNDO_OR_STOP},
    {"tell", "the destination to be told that the VM is stopped", vfo_source_tell,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, VFO_STEP_NO_CANCEL},
    {"leave", "the guest's address to leave the PF", vfo_source_leave, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, VFO_STEP_NO_CANCEL},
    {"complete", "the migration to complete", vfo_source_complete, VFO_DEADLINE_MIGRATE,
     VFO_NO_UNDO, VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
    {"quit", "libvirt to end QEMU", quit, VFO_DEADLINE_ARRIVE, VFO_NO_UNDO, 0},
    {"close", "the VF to be closed", vfo_give_close, VFO_DEADLINE_CLOSE, VFO_NO_UNDO, 0},
    {"park-again", "the VF's parking address", vfo_give_park, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"reset", "the VF to come back from its reset", vfo_give_reset, VFO_DEADLINE_RESET, VFO_NO_UNDO,
     0},
    {"return", "the VF to be back in its pool", vfo_give_return, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     0},
    {"arrive", "the destination to finish", vfo_source_arrive, VFO_DEADLINE_ARRIVE, VFO_NO_UNDO, 0},
};

VfoJob *vfo_follow_source_job(const char *host_name, const VfoSourceArgs *args,
                              const VfoPolicy *policy)
{
    VfoJob *job =
        vfo_job_new(args->job, args->vm->name, host_name, steps, G_N_ELEMENTS(steps), policy);
    Follow *f = g_new0(Follow, 1);

    vfo_source_init(&f->base, args);
    f->base.parts.give.none = "there is nothing to hand over";
    f->base.parts.give.standby = g_strdup(args->standby);
    vfo_job_set_pair(job, args->standby);
    f->base.follows = TRUE;
    f->ready = args->ready;
    f->data = args->data;
    vfo_job_set_context(job, f, follow_free);
    return job;
}
