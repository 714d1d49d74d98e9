/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

struct _VfoWatch {
    VfoVms *vms;
    VfoJobs *jobs;
    VfoSteering *steering;
};

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoWatch *watch = data;

    if (vfo_jobs_of_vm(watch->jobs, vm->name))
        return;
    /* It delays no other VM's job. */
    vfo_stopwatch_begin_spare();
    vfo_steering_see(watch->steering, vfo_vm_cached(vm));
    vfo_stopwatch_end_spare();
}

static void on_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoWatch *watch = data;

    vfo_stopwatch_begin_spare();
    vfo_steering_gone(watch->steering, vm->name);
    vfo_stopwatch_end_spare();
}

static void on_vm_changed(VfoWatch *watch, const char *name, gboolean ended)
{
    VfoVm *vm = name ? vfo_vms_get(watch->vms, name, NULL) : NULL;

    if (name)
        vfo_steering_forget(watch->steering, name);
    if (vm && ended)
        vfo_vm_refresh(vm);
}

/* A job leaves a VM on its VF, on its standby, or on another host. */
static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    gboolean ended = !record && vfo_job_ended(job);

    on_vm_changed(data, vfo_job_vm(job), ended);
    on_vm_changed(data, vfo_job_from(job), ended);
}

VfoWatch *vfo_watch_new(VfoVms *vms, VfoHost *host, VfoJobs *jobs)
{
    VfoWatch *watch = g_new0(VfoWatch, 1);

    watch->vms = vms;
    watch->jobs = jobs;
    watch->steering = vfo_steering_new(host);
    g_signal_connect(vms, "inspected", G_CALLBACK(on_inspected), watch);
    g_signal_connect(vms, "removed", G_CALLBACK(on_removed), watch);
    g_signal_connect(jobs, "changed", G_CALLBACK(on_job_changed), watch);
    return watch;
}

void vfo_watch_free(VfoWatch *watch)
{
    if (!watch)
        return;
    g_signal_handlers_disconnect_by_data(watch->vms, watch);
    g_signal_handlers_disconnect_by_data(watch->jobs, watch);
    vfo_steering_free(watch->steering);
    g_free(watch);
}
