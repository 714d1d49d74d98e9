/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

#include <string.h>

#define MAX_JOBS 64

struct _VfoJobs {
    GObject parent;
    GPtrArray *list;      /* of VfoJob, oldest first */
    GHashTable *together; /* VfoJob * -> the number of the migration that it shares with others */
    guint last;           /* such number */
};

G_DEFINE_FINAL_TYPE(VfoJobs, vfo_jobs, G_TYPE_OBJECT)

static guint changed_signal;

static void vfo_jobs_finalize(GObject *object)
{
    VfoJobs *jobs = VFO_JOBS(object);

    for (guint i = 0; i < jobs->list->len; i++)
        vfo_job_on_change(g_ptr_array_index(jobs->list, i), NULL, NULL);
    g_ptr_array_unref(jobs->list);
    g_hash_table_unref(jobs->together);
    G_OBJECT_CLASS(vfo_jobs_parent_class)->finalize(object);
}

static void vfo_jobs_class_init(VfoJobsClass *class)
{
    G_OBJECT_CLASS(class)->finalize = vfo_jobs_finalize;
    changed_signal = g_signal_new("changed", VFO_TYPE_JOBS, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                  G_TYPE_NONE, 2, G_TYPE_POINTER, G_TYPE_POINTER);
}

static void vfo_jobs_init(VfoJobs *jobs)
{
    jobs->list = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_job_unref);
    jobs->together = g_hash_table_new(NULL, NULL);
}

VfoJobs *vfo_jobs_new(void)
{
    return g_object_new(VFO_TYPE_JOBS, NULL);
}

static void on_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    vfo_jobs_note(data, job, record);
}

/* Two pairs of a VM have nothing of each other's. */
static gboolean go_together(VfoJob *a, VfoJob *b)
{
    return g_str_equal(vfo_job_vm(a), vfo_job_vm(b)) && vfo_job_pair(a) && vfo_job_pair(b) &&
           !g_str_equal(vfo_job_pair(a), vfo_job_pair(b));
}

/* Leases go by the job's id, which a peer chooses. */
static gboolean is_in_the_way(VfoJob *other, VfoJob *job, GError **error)
{
    const char *vm = vfo_job_vm(job);

    if (vfo_job_ended(other))
        return FALSE;
    if (g_str_equal(vfo_job_id(other), vfo_job_id(job))) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM %s: there is a job %s already, for VM %s: it is to have another id", vm,
                    vfo_job_id(job), vfo_job_vm(other));
        return TRUE;
    }
    if (vfo_job_from(job) && vfo_job_concerns(other, vfo_job_from(job)))
        vm = vfo_job_from(job);
    else if (!vfo_job_concerns(other, vm) || go_together(other, job))
        return FALSE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                "VM %s already has a job, %s: wait for it or cancel it", vm, vfo_job_id(other));
    return TRUE;
}

static void forget(VfoJobs *jobs, guint index)
{
    g_hash_table_remove(jobs->together, g_ptr_array_index(jobs->list, index));
    g_ptr_array_remove_index(jobs->list, index);
}

gboolean vfo_jobs_add(VfoJobs *jobs, VfoJob *job, gboolean listen, GError **error)
{
    VfoJob *first;
    gpointer number;

    for (guint i = 0; i < jobs->list->len; i++) {
        if (is_in_the_way(g_ptr_array_index(jobs->list, i), job, error))
            return FALSE;
    }
    for (guint i = 0; jobs->list->len >= MAX_JOBS && i < jobs->list->len; i++) {
        if (vfo_job_ended(g_ptr_array_index(jobs->list, i)))
            forget(jobs, i);
    }
    first = vfo_jobs_of_vm(jobs, vfo_job_vm(job));
    number = first ? g_hash_table_lookup(jobs->together, first) : GUINT_TO_POINTER(++jobs->last);
    g_hash_table_insert(jobs->together, job, number);
    g_ptr_array_add(jobs->list, vfo_job_ref(job));
    if (listen)
        vfo_job_on_change(job, on_changed, jobs);
    return TRUE;
}

void vfo_jobs_note(VfoJobs *jobs, VfoJob *job, const VfoRecord *record)
{
    g_signal_emit(jobs, changed_signal, 0, job, record);
}

VfoJob *vfo_jobs_find(VfoJobs *jobs, const char *what, GError **error)
{
    VfoJob *found = vfo_jobs_of_vm(jobs, what);

    if (found)
        return found;
    for (guint i = jobs->list->len; i > 0; i--) {
        VfoJob *job = g_ptr_array_index(jobs->list, i - 1);

        if (vfo_job_concerns(job, what) || g_str_equal(vfo_job_id(job), what))
            return job;
        if (strlen(what) < 4 || !g_str_has_prefix(vfo_job_id(job), what))
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                        "'%s' is the beginning of several jobs (%s, %s): write more of it", what,
                        vfo_job_id(found), vfo_job_id(job));
            return NULL;
        }
        found = job;
    }
    if (!found)
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "no job, and no job of a VM, is called '%s'; 'vfailover jobs' lists them",
                    what);
    return found;
}

VfoJob *vfo_jobs_of_vm(VfoJobs *jobs, const char *vm)
{
    for (guint i = 0; i < jobs->list->len; i++) {
        VfoJob *job = g_ptr_array_index(jobs->list, i);

        if (!vfo_job_ended(job) && vfo_job_concerns(job, vm))
            return job;
    }
    return NULL;
}

GPtrArray *vfo_jobs_beside(VfoJobs *jobs, VfoJob *job)
{
    GPtrArray *others = g_ptr_array_new();
    gpointer number = g_hash_table_lookup(jobs->together, job);

    for (guint i = 0; i < jobs->list->len; i++) {
        VfoJob *other = g_ptr_array_index(jobs->list, i);

        if (other != job && g_hash_table_lookup(jobs->together, other) == number)
            g_ptr_array_add(others, other);
    }
    return others;
}

gboolean vfo_jobs_are_idle(VfoJobs *jobs)
{
    for (guint i = 0; i < jobs->list->len; i++) {
        if (!vfo_job_ended(g_ptr_array_index(jobs->list, i)))
            return FALSE;
    }
    return TRUE;
}

GPtrArray *vfo_jobs_list(VfoJobs *jobs)
{
    return jobs->list;
}

gboolean vfo_jobs_cancel_all(VfoJobs *jobs)
{
    gboolean all_ended = TRUE;

    for (guint i = 0; i < jobs->list->len; i++) {
        VfoJob *job = g_ptr_array_index(jobs->list, i);

        if (vfo_job_ended(job))
            continue;
        all_ended = FALSE;
        /* One that can no longer be cancelled is waited for. */
        vfo_job_cancel(job, NULL);
    }
    return all_ended;
}

void vfo_jobs_undo_within(VfoJobs *jobs, guint ms)
{
    for (guint i = 0; i < jobs->list->len; i++) {
        VfoJob *job = g_ptr_array_index(jobs->list, i);

        if (!vfo_job_ended(job))
            vfo_job_undo_within(job, ms);
    }
}
