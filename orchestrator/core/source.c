/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's half of a hand-over: the table at the end of this file, and what
 * those of its lines do that give.c does not.
 */
#include "core/parts.h"

void vfo_source_init(VfoSource *source, const VfoSourceArgs *args)
{
    vfo_give_init(&source->parts.give, args->vm, args->host, args->leases);
    source->parts.give.several =
        "only one can be handed over: detach the others before (vfailover detach --standby)";
    source->peer = args->peer;
    source->libvirt_uri = g_strdup(args->libvirt_uri);
}

void vfo_source_clear(VfoSource *source)
{
    vfo_give_clear(&source->parts.give);
    g_free(source->libvirt_uri);
    g_free(source->uri);
}

static void source_free(gpointer data)
{
    vfo_source_clear(data);
    g_free(data);
}

/* ---------------------------------------------------------------- reserve */

/* Both halves are about libvirt's migration, or neither is. */
static gboolean suits(VfoJob *job, GError **error)
{
    const VfoSource *s = vfo_job_context(job);
    gboolean by_libvirt = s->follows || s->libvirt_uri;

    if (by_libvirt == g_str_equal(s->uri, VFO_URI_LIBVIRT))
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                by_libvirt ? "VM %s: libvirt migrates it, but %s waits for it in a QEMU without "
                             "libvirt: end that one"
                           : "VM %s: libvirt waits for it at %s, but its QEMU here is not "
                             "libvirt's: migrate it to a QEMU started with '-incoming defer'",
                vfo_job_vm(job), s->peer->name);
    return FALSE;
}

static void on_reserved(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    VfoJob *job = g_task_get_task_data(task);
    VfoSource *s = vfo_job_context(job);
    GError *error = NULL;
    gboolean ok;

    s->uri = g_task_propagate_pointer(G_TASK(result), &error);
    ok = s->uri && suits(job, &error);
    vfo_task_return(task, ok, error);
}

void vfo_source_reserve(VfoJob *job, GTask *task)
{
    VfoSource *s = vfo_job_context(job);
    VfoOffer offer;

    vfo_give_describe(job, &offer);
    if (s->libvirt_uri)
        offer.uuid = s->parts.give.info->uuid;
    s->peer->ops->reserve(s->peer, &offer, vfo_job_inner_task(job, task, on_reserved));
}

void vfo_source_undo_reserve(VfoJob *job, GTask *task)
{
    VfoSource *s = vfo_job_context(job);

    s->peer->ops->release(s->peer, task);
}

/* ---------------------------------------------------------------- migrate */

static void migrate(VfoJob *job, GTask *task)
{
    VfoSource *s = vfo_job_context(job);
    const VfoGive *give = &s->parts.give;
    const VfoPolicy *policy = vfo_job_policy(job);

    give->vm->ops->migrate(give->vm, s->libvirt_uri ? s->libvirt_uri : s->uri,
                           policy->max_bandwidth, policy->downtime_limit_ms,
                           s->libvirt_uri ? vfo_source_wait(job, task) : task);
}

/* The VM is here: without its PF side it needs its VF all the more. The destination may have drawn
 * its frames. */
static void reopen(VfoJob *job)
{
    const VfoGive *give = vfo_give_of(job);
    g_autoptr(GError) error = NULL;

    if (give->host->ops->draw(give->host, give->wire, &error))
        return;
    g_warning("job %s: VM %s: %s", vfo_job_id(job), vfo_job_vm(job), error->message);
    vfo_job_remark(job, VFO_RESULT_UNDO_FAILED, error->message);
}

static void on_given_up(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    if (ok)
        reopen(g_task_get_task_data(task));
    vfo_task_return(task, ok, error);
}

GTask *vfo_source_reopen(VfoJob *job, GTask *task)
{
    return vfo_job_inner_task(job, task, on_given_up);
}

/* The PF side is opened again only when the VM is known to be here. */
static void undo_migrate(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);

    give->vm->ops->cancel(give->vm, vfo_source_reopen(job, task));
}

void vfo_source_tell(VfoJob *job, GTask *task)
{
    const VfoSource *s = vfo_job_context(job);

    s->peer->ops->stopped(s->peer);
    vfo_task_done(task);
}

void vfo_source_leave(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);
    GError *error = NULL;
    gboolean ok = give->host->ops->close_pf(give->host, give->wire, FALSE, &error);

    vfo_task_return(task, ok, error);
}

/* The answer to @task, unless the other half knows better. */
typedef struct {
    GTask *task;
    GError *error;
} Unseen;

static void on_other_half(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Unseen *unseen = data;
    VfoJob *job = g_task_get_task_data(unseen->task);

    if (g_task_propagate_boolean(G_TASK(result), NULL)) {
        vfo_job_remark(job, VFO_RESULT_OK, unseen->error->message);
        vfo_task_done(unseen->task);
        g_error_free(unseen->error);
    } else {
        vfo_task_fail(unseen->task, unseen->error);
    }
}

/* Its end here may be that of a migration, which nobody has seen: it runs there, or it does not. */
static void on_completed(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    const VfoSource *s = vfo_job_context(g_task_get_task_data(task));
    GError *error = NULL;
    Unseen *unseen;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        vfo_task_done(task);
    } else if (g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED)) {
        unseen = g_new0(Unseen, 1);
        unseen->task = task;
        unseen->error = error;
        s->peer->ops->finished(
            s->peer, g_task_new(NULL, g_task_get_cancellable(task), on_other_half, unseen));
    } else {
        vfo_task_fail(task, error);
    }
}

void vfo_source_complete(VfoJob *job, GTask *task)
{
    const VfoGive *give = vfo_give_of(job);
    GTask *inner = vfo_job_inner_task(job, task, on_completed);

    /* As for the step itself, which commits. */
    g_task_set_check_cancellable(inner, FALSE);
    give->vm->ops->completed(give->vm, inner);
}

void vfo_source_arrive(VfoJob *job, GTask *task)
{
    VfoSource *s = vfo_job_context(job);

    s->peer->ops->finished(s->peer, task);
}

/* ------------------------------------------------------------------ steps */

/*
 * The lease is kept until the migration has completed, although the VF is clean
 * long before: a migration that fails gives the guest its own VF back.
 */
static const VfoStep steps[] = {
    /* name, waits for, run, deadline, undo, its deadline, flags, veto */
    {"inspect", "QEMU to describe the pair", vfo_give_inspect, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0},
    {"lease", "the host to describe the VF and its wire", vfo_give_lease, VFO_DEADLINE_QUERY,
     vfo_give_undo_lease, VFO_DEADLINE_QUERY, 0},
    {"reserve", "the destination to be ready", vfo_source_reserve, VFO_DEADLINE_PEER,
     vfo_source_undo_reserve, VFO_DEADLINE_PEER, VFO_STEP_NEEDS_VF},
    VFO_GIVE_STEPS,
    {"migrate", "the VM to be stopped for the switch-over", migrate, VFO_DEADLINE_MIGRATE,
     undo_migrate, VFO_DEADLINE_SWITCH, VFO_STEP_UNDO_OR_STOP},
    {"tell", "the destination to be told that the VM is stopped", vfo_source_tell,
     VFO_DEADLINE_QUERY, VFO_NO_UNDO, VFO_STEP_NO_CANCEL},
    {"leave", "the guest's address to leave the PF", vfo_source_leave, VFO_DEADLINE_QUERY,
     VFO_NO_UNDO, VFO_STEP_NO_CANCEL},
    {"complete", "the migration to complete", vfo_source_complete, VFO_DEADLINE_SWITCH, VFO_NO_UNDO,
     VFO_STEP_NO_CANCEL | VFO_STEP_COMMITS},
    {"return", "the VF to be back in its pool", vfo_give_return, VFO_DEADLINE_QUERY, VFO_NO_UNDO,
     0},
    {"arrive", "the destination to finish", vfo_source_arrive, VFO_DEADLINE_ARRIVE, VFO_NO_UNDO, 0},
};

VfoJob *vfo_source_job(const char *host_name, const VfoSourceArgs *args, const VfoPolicy *policy)
{
    g_autofree char *id = g_uuid_string_random();
    VfoJob *job = vfo_job_new(id, args->vm->name, host_name, steps, G_N_ELEMENTS(steps), policy);
    VfoSource *s = g_new0(VfoSource, 1);

    vfo_source_init(s, args);
    s->parts.give.absences = args->absences;
    s->parts.give.none = "there is nothing to hand over, and QEMU's own migrate command moves it";
    vfo_job_set_context(job, s, source_free);
    return job;
}
