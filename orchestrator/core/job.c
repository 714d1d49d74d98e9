/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: runs a table of steps from top to bottom, one at a time, each
 * under its deadline, and on failure undoes them from the bottom up.
 */
#include "core/core.h"

/* Many times what two tables and their undos make. */
#define MAX_RECORDS 256

struct _VfoJob {
    gatomicrefcount references;
    char *id;
    char *vm;
    char *host;
    const char *kind;
    char *from;
    char *pair;
    const VfoStep *steps;
    guint n_steps;
    VfoPolicy policy;
    gpointer context;
    GDestroyNotify context_free;
    VfoJobChanged changed;
    gpointer changed_data;

    VfoJobState state;
    gboolean ended;
    gboolean cancel_wanted;
    GError *lost; /* why its VF is gone; NULL: it is not */
    gboolean degraded;
    gboolean stop_undoing;
    GError *error;
    GPtrArray *records; /* of VfoRecord */

    guint present;     /* the step that runs, or is being undone */
    guint undo_floor;  /* steps before this one are not undone */
    gint64 undo_by_us; /* undos are not waited for longer; 0: as long as they may take */
    VfoRecord *record; /* of the present step; owned by records */
    gint64 started_us;
    gint64 own_counted_us; /* up to here the daemon's own time is in the records */
    GCancellable *cancellable;
    guint timer;
    gboolean expired;
    VfoNotes *log; /* of steps that went well */
};

static void run_step(VfoJob *job);
static void undo_step(VfoJob *job);

static const char *const result_names[] = {
    [VFO_RESULT_RUNNING] = "running",         [VFO_RESULT_OK] = "ok",
    [VFO_RESULT_SKIPPED] = "skipped",         [VFO_RESULT_FAILED] = "failed",
    [VFO_RESULT_CANCELLED] = "cancelled",     [VFO_RESULT_UNDONE] = "undone",
    [VFO_RESULT_UNDO_FAILED] = "undo-failed",
};

static const char *const state_names[] = {
    [VFO_JOB_RUNNING] = "running",     [VFO_JOB_UNDOING] = "undoing",
    [VFO_JOB_COMPLETED] = "completed", [VFO_JOB_DEGRADED] = "degraded",
    [VFO_JOB_CANCELLED] = "cancelled", [VFO_JOB_FAILED] = "failed",
};

static gboolean find_name(const char *const *names, guint n_names, const char *name, guint *index)
{
    for (guint i = 0; i < n_names; i++) {
        if (g_str_equal(names[i], name)) {
            *index = i;
            return TRUE;
        }
    }
    return FALSE;
}

const char *vfo_result_name(VfoResult result)
{
    return result_names[result];
}

gboolean vfo_result_parse(const char *name, VfoResult *result)
{
    guint index;

    if (!find_name(result_names, G_N_ELEMENTS(result_names), name, &index))
        return FALSE;
    *result = (VfoResult)index;
    return TRUE;
}

const char *vfo_job_state_name(VfoJobState state)
{
    return state_names[state];
}

gboolean vfo_job_state_parse(const char *name, VfoJobState *state)
{
    guint index;

    if (!find_name(state_names, G_N_ELEMENTS(state_names), name, &index))
        return FALSE;
    *state = (VfoJobState)index;
    return TRUE;
}

static void log_end(VfoJob *job, const VfoRecord *record, gpointer data)
{
    g_message("job %s: VM %s: %s: %s in %.1f ms", job->id, job->vm, record->step,
              vfo_result_name(record->result), (double)record->duration_us / 1000);
}

VfoJob *vfo_job_new(const char *id, const char *vm, const char *host, const VfoStep *steps,
                    guint n_steps, const VfoPolicy *policy)
{
    VfoJob *job = g_new0(VfoJob, 1);

    g_atomic_ref_count_init(&job->references);
    job->id = g_strdup(id);
    job->vm = g_strdup(vm);
    job->host = g_strdup(host);
    job->kind = "migrate";
    job->steps = steps;
    job->n_steps = n_steps;
    job->policy = *policy;
    job->records = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_record_free);
    job->log = vfo_notes_new(log_end, NULL);
    return job;
}

VfoJob *vfo_job_ref(VfoJob *job)
{
    g_atomic_ref_count_inc(&job->references);
    return job;
}

void vfo_job_unref(VfoJob *job)
{
    if (!job || !g_atomic_ref_count_dec(&job->references))
        return;
    if (job->context_free)
        job->context_free(job->context);
    vfo_notes_free(job->log);
    g_free(job->id);
    g_free(job->vm);
    g_free(job->host);
    g_free(job->from);
    g_free(job->pair);
    g_clear_error(&job->error);
    g_clear_error(&job->lost);
    g_ptr_array_unref(job->records);
    g_clear_object(&job->cancellable);
    g_free(job);
}

void vfo_job_set_kind(VfoJob *job, const char *kind, const char *from)
{
    job->kind = kind;
    g_free(job->from);
    job->from = g_strdup(from);
}

void vfo_job_set_pair(VfoJob *job, const char *standby)
{
    g_free(job->pair);
    job->pair = g_strdup(standby);
}

const char *vfo_job_pair(VfoJob *job)
{
    return job->pair;
}

void vfo_job_set_context(VfoJob *job, gpointer context, GDestroyNotify free_func)
{
    job->context = context;
    job->context_free = free_func;
}

gpointer vfo_job_context(VfoJob *job)
{
    return job->context;
}

GTask *vfo_job_inner_task(VfoJob *job, GTask *outer, GAsyncReadyCallback callback)
{
    g_task_set_task_data(outer, job, NULL);
    return vfo_task_inner(outer, callback);
}

const VfoPolicy *vfo_job_policy(VfoJob *job)
{
    return &job->policy;
}

void vfo_job_on_change(VfoJob *job, VfoJobChanged changed, gpointer data)
{
    job->changed = changed;
    job->changed_data = data;
}

static void tell(VfoJob *job, const VfoRecord *record)
{
    if (job->changed)
        job->changed(job, record, job->changed_data);
}

static gboolean on_deadline(gpointer data)
{
    VfoJob *job = data;

    job->timer = 0;
    job->expired = TRUE;
    g_cancellable_cancel(job->cancellable);
    return G_SOURCE_REMOVE;
}

/* For an undo that needs no more than its turn on the main loop, when no time is left. */
#define LEAST_UNDO_MS 100

/* What is left to wait for the present undo, of which it takes @ms at most. */
static guint left_ms(const VfoJob *job, gint64 ms)
{
    gint64 left = (job->undo_by_us - g_get_monotonic_time()) / 1000;

    return (guint)(job->undo_by_us ? CLAMP(left, MIN(ms, LEAST_UNDO_MS), ms) : ms);
}

static void begin(VfoJob *job, gboolean undo)
{
    const VfoStep *step = &job->steps[job->present];
    VfoDeadline deadline = undo ? step->undo_deadline : step->deadline;
    guint ms = job->policy.deadline_ms[deadline];
    VfoRecord *record = g_new0(VfoRecord, 1);

    record->step = g_strconcat(undo ? "undo " : "", step->name, NULL);
    record->host = g_strdup(job->host);
    record->start_us = g_get_real_time();
    job->record = record;
    job->started_us = g_get_monotonic_time();
    vfo_stopwatch_press();
    job->expired = FALSE;
    g_clear_object(&job->cancellable);
    job->cancellable = g_cancellable_new();
    job->timer = g_timeout_add(undo ? left_ms(job, ms) : ms, on_deadline, job);
    g_ptr_array_add(job->records, record);
    if (!g_log_writer_default_would_drop(G_LOG_LEVEL_INFO, G_LOG_DOMAIN)) {
        vfo_notes_flush(job->log);
        g_info("job %s: VM %s: %s: waits for %s", job->id, job->vm, record->step,
               undo ? "its end" : step->waits_for);
    }
    tell(job, record);
}

static void end(VfoJob *job, VfoResult result, const GError *error)
{
    VfoRecord *record = job->record;
    gint64 own_us = vfo_stopwatch_own_us();

    g_clear_handle_id(&job->timer, g_source_remove);
    record->duration_us = g_get_monotonic_time() - job->started_us;
    record->own_us = own_us - job->own_counted_us;
    job->own_counted_us = own_us;
    vfo_stopwatch_press();
    if (error) {
        g_free(record->detail);
        record->detail = g_strdup(error->message);
    }
    if (error || record->result == VFO_RESULT_RUNNING)
        record->result = result;
    if (error) {
        vfo_notes_flush(job->log);
        g_warning("job %s: VM %s: %s: %s", job->id, job->vm, record->step, error->message);
    } else {
        vfo_notes_add(job->log, job, record);
    }
    job->record = NULL;
    tell(job, record);
}

static GError *cancelled_error(VfoJob *job)
{
    return g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED, "job %s of VM %s was cancelled", job->id,
                       job->vm);
}

/* The error of a step as the user shall read it: a deadline is named, a cancellation is not an
 * error of the step's own. */
static void explain(VfoJob *job, VfoDeadline deadline, GError **error)
{
    const VfoStep *step = &job->steps[job->present];
    double seconds;

    if (!job->expired) {
        if (job->lost && g_error_matches(*error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
            g_clear_error(error);
            *error = g_error_copy(job->lost);
            return;
        }
        /* GLib's own words name neither the job nor the VM. */
        if (job->cancel_wanted && g_error_matches(*error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
            g_clear_error(error);
            *error = cancelled_error(job);
        }
        return;
    }
    g_clear_error(error);
    if (job->state == VFO_JOB_UNDOING && job->undo_by_us &&
        g_get_monotonic_time() >= job->undo_by_us) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                    "VM %s: step '%s' could not be undone before the daemon stops", job->vm,
                    step->name);
        return;
    }
    seconds = (double)job->policy.deadline_ms[deadline] / 1000;
    if (job->state == VFO_JOB_UNDOING)
        g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                    "VM %s: step '%s' could not be undone within %.1f s (deadline '%s' in the "
                    "configuration)",
                    job->vm, step->name, seconds, vfo_deadline_name(deadline));
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_DEADLINE,
                    "VM %s: step '%s' waited %.1f s for %s (deadline '%s' in the configuration)",
                    job->vm, step->name, seconds, step->waits_for, vfo_deadline_name(deadline));
}

static void finish(VfoJob *job)
{
    if (job->degraded || (job->error && job->undo_floor > 0))
        job->state = VFO_JOB_DEGRADED;
    else if (job->cancel_wanted && job->error)
        job->state = VFO_JOB_CANCELLED;
    else
        job->state = job->error ? VFO_JOB_FAILED : VFO_JOB_COMPLETED;
    job->ended = TRUE;
    vfo_notes_flush(job->log);
    g_message("job %s: VM %s: %s%s%s", job->id, job->vm, vfo_job_state_name(job->state),
              job->error ? ": " : "", job->error ? job->error->message : "");
    tell(job, NULL);
    vfo_job_unref(job);
}

static void on_undone(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoJob *job = data;
    const VfoStep *step = &job->steps[job->present];
    g_autoptr(GError) error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        job->stop_undoing = FALSE;
        end(job, VFO_RESULT_UNDONE, NULL);
    } else {
        explain(job, step->undo_deadline, &error);
        end(job, VFO_RESULT_UNDO_FAILED, error);
        if (step->flags & VFO_STEP_UNDO_OR_STOP)
            job->stop_undoing = TRUE;
    }
    if (job->stop_undoing || job->present == job->undo_floor) {
        finish(job);
        return;
    }
    job->present--;
    undo_step(job);
}

static void undo_step(VfoJob *job)
{
    const VfoStep *step = &job->steps[job->present];

    while (!step->undo) {
        if (job->present == job->undo_floor) {
            finish(job);
            return;
        }
        step = &job->steps[--job->present];
    }
    begin(job, TRUE);
    step->undo(job, g_task_new(NULL, job->cancellable, on_undone, job));
}

static void give_up(VfoJob *job, GError *error)
{
    g_clear_error(&job->error);
    job->error = error;
    /* A VM that has not moved is not degraded. */
    job->degraded = FALSE;
    job->state = VFO_JOB_UNDOING;
    tell(job, NULL);
    undo_step(job);
}

static void on_ran(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoJob *job = data;
    const VfoStep *step = &job->steps[job->present];
    g_autoptr(GError) error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        end(job, VFO_RESULT_OK, NULL);
        if (step->flags & VFO_STEP_COMMITS)
            job->undo_floor = job->present + 1;
        /* The listener may cancel as well, when nothing waits. */
        if (job->cancel_wanted && job->undo_floor == 0) {
            give_up(job, cancelled_error(job));
            return;
        }
        if (job->lost && job->undo_floor == 0) {
            give_up(job, g_error_copy(job->lost));
            return;
        }
        job->present++;
        run_step(job);
        return;
    }
    explain(job, step->deadline, &error);
    end(job, job->cancel_wanted ? VFO_RESULT_CANCELLED : VFO_RESULT_FAILED, error);
    give_up(job, g_steal_pointer(&error));
}

static void run_step(VfoJob *job)
{
    const VfoStep *step;
    GTask *task;

    if (job->present == job->n_steps) {
        finish(job);
        return;
    }
    step = &job->steps[job->present];
    begin(job, FALSE);
    task = g_task_new(NULL, job->cancellable, on_ran, job);
    /* A VM that has moved has moved, even if the deadline passes before the loop turns. */
    if (step->flags & VFO_STEP_COMMITS)
        g_task_set_check_cancellable(task, FALSE);
    step->run(job, task);
}

void vfo_job_run(VfoJob *job)
{
    vfo_job_ref(job);
    /* What asked for the job was read in this turn. */
    job->own_counted_us = vfo_stopwatch_turn_us();
    if (job->cancel_wanted) {
        job->error = cancelled_error(job);
        finish(job);
        return;
    }
    run_step(job);
}

static gboolean is_vetoed(VfoJob *job)
{
    const VfoStep *step = &job->steps[job->present];

    return (step->flags & VFO_STEP_NO_CANCEL) || (job->record && step->veto && step->veto(job));
}

gboolean vfo_job_cancel(VfoJob *job, GError **error)
{
    if (job->ended) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "job %s has already ended (%s)", job->id,
                    vfo_job_state_name(job->state));
        return FALSE;
    }
    if (job->state == VFO_JOB_UNDOING || job->cancel_wanted) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY, "job %s is already being undone", job->id);
        return FALSE;
    }
    if (job->undo_floor > 0 || is_vetoed(job)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "job %s can no longer be cancelled: what it does to VM %s now cannot be undone",
                    job->id, job->vm);
        return FALSE;
    }
    job->cancel_wanted = TRUE;
    if (!job->record || !(job->steps[job->present].flags & VFO_STEP_CANCEL_AFTER))
        g_cancellable_cancel(job->cancellable);
    return TRUE;
}

void vfo_job_undo_within(VfoJob *job, guint ms)
{
    gint64 now = g_get_monotonic_time();
    gint64 own;

    job->undo_by_us = now + (gint64)ms * 1000;
    if (job->state != VFO_JOB_UNDOING || !job->timer)
        return;
    own = job->policy.deadline_ms[job->steps[job->present].undo_deadline] -
          (now - job->started_us) / 1000;
    g_source_remove(job->timer);
    job->timer = g_timeout_add(left_ms(job, MAX(own, 0)), on_deadline, job);
}

gboolean vfo_job_lost_vf(VfoJob *job, const GError *why)
{
    if (!job->record || job->state != VFO_JOB_RUNNING || job->cancel_wanted || job->lost ||
        job->undo_floor > 0 || !(job->steps[job->present].flags & VFO_STEP_NEEDS_VF) ||
        is_vetoed(job))
        return FALSE;
    job->lost = g_error_copy(why);
    g_cancellable_cancel(job->cancellable);
    return TRUE;
}

void vfo_job_vf_changed(VfoJob *job, const VfoVf *now)
{
    const VfoStep *step = vfo_job_step(job);

    if (step && step->changed && job->state == VFO_JOB_RUNNING)
        step->changed(job, now);
}

void vfo_job_remark(VfoJob *job, VfoResult result, const char *detail)
{
    g_return_if_fail(job->record);
    job->record->result = result;
    g_free(job->record->detail);
    job->record->detail = g_strdup(detail);
}

void vfo_job_undo_no_further(VfoJob *job)
{
    job->stop_undoing = TRUE;
}

void vfo_job_degrade(VfoJob *job, const char *reason)
{
    job->degraded = TRUE;
    if (!job->error)
        job->error = g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "%s", reason);
}

void vfo_job_add_record(VfoJob *job, VfoRecord *record)
{
    /* The present step's record is the engine's own, whatever another daemon calls itself. */
    if (g_str_equal(record->host, job->host)) {
        vfo_record_free(record);
        return;
    }
    for (guint i = 0; i < job->records->len; i++) {
        VfoRecord *known = g_ptr_array_index(job->records, i);

        if (known->start_us == record->start_us && g_str_equal(known->host, record->host) &&
            g_str_equal(known->step, record->step)) {
            vfo_record_free(known);
            job->records->pdata[i] = record;
            tell(job, record);
            return;
        }
    }
    if (job->records->len >= MAX_RECORDS) {
        vfo_record_free(record);
        return;
    }
    /* In the order of arrival: the two hosts' clocks may differ. */
    g_ptr_array_add(job->records, record);
    tell(job, record);
}

const char *vfo_job_id(VfoJob *job)
{
    return job->id;
}

const char *vfo_job_vm(VfoJob *job)
{
    return job->vm;
}

const char *vfo_job_kind(VfoJob *job)
{
    return job->kind;
}

const char *vfo_job_from(VfoJob *job)
{
    return job->from;
}

gboolean vfo_job_concerns(VfoJob *job, const char *vm)
{
    return g_str_equal(job->vm, vm) || g_strcmp0(job->from, vm) == 0;
}

VfoJobState vfo_job_state(VfoJob *job)
{
    return job->state;
}

gboolean vfo_job_ended(VfoJob *job)
{
    return job->ended;
}

const GError *vfo_job_error(VfoJob *job)
{
    return job->error;
}

GPtrArray *vfo_job_records(VfoJob *job)
{
    return job->records;
}

const VfoStep *vfo_job_step(VfoJob *job)
{
    return job->ended || !job->record ? NULL : &job->steps[job->present];
}
