/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

static void add_string(json_object *object, const char *member, const char *value)
{
    json_object_object_add(object, member, value ? json_object_new_string(value) : NULL);
}

static void add_int(json_object *object, const char *member, gint64 value)
{
    json_object_object_add(object, member, json_object_new_int64(value));
}

static void add_bool(json_object *object, const char *member, gboolean value)
{
    json_object_object_add(object, member, json_object_new_boolean(value));
}

static void add_mac(json_object *object, const char *member, const VfoMac *mac)
{
    char text[VFO_MAC_STRLEN];

    add_string(object, member, vfo_mac_format(mac, text));
}

/* Of those under way: the one about @standby, or about all of the VM. */
static VfoJob *job_of_pair(const VfoVm *vm, const char *standby, VfoJobs *jobs)
{
    const GPtrArray *list = vfo_jobs_list(jobs);

    for (guint i = 0; i < list->len; i++) {
        VfoJob *job = g_ptr_array_index(list, i);

        if (!vfo_job_ended(job) && vfo_job_concerns(job, vm->name) &&
            (!vfo_job_pair(job) || g_str_equal(vfo_job_pair(job), standby)))
            return job;
    }
    return NULL;
}

static json_object *view_pair(const VfoPair *pair, VfoJob *job)
{
    json_object *view = json_object_new_object();

    add_string(view, "standby", pair->standby);
    add_mac(view, "mac", &pair->mac);
    add_string(view, "tap", pair->tap);
    add_string(view, "primary", pair->primary);
    add_string(view, "vf", pair->vf);
    add_string(view, "side", pair->primary ? "vf" : "standby");
    add_string(view, "job", job ? vfo_job_id(job) : NULL);
    return view;
}

static void add_pairs(json_object *views, const GPtrArray *pairs, VfoVm *vm, VfoJobs *jobs)
{
    for (guint i = 0; i < pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(pairs, i);

        json_object_array_add(views, view_pair(pair, job_of_pair(vm, pair->standby, jobs)));
    }
}

/* Of a guest that bonds: what has a VF, or else what had one. */
static GPtrArray *bonds_of(const VfoVmInfo *info, VfoHost *host, VfoAbsences *absences)
{
    GPtrArray *bonds = vfo_bonds_of(info, host);

    for (guint i = 0; bonds->len == 0 && info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (half->standby && vfo_absences_find(absences, info->name, half->standby))
            g_ptr_array_add(bonds, vfo_pair_copy(half));
    }
    return bonds;
}

json_object *vfo_view_vm(VfoVm *vm, VfoJobs *jobs, VfoHost *host, VfoAbsences *absences)
{
    json_object *view = json_object_new_object();
    json_object *pairs = json_object_new_array();
    const GError *why = vfo_vm_state(vm);
    const VfoVmInfo *info = vfo_vm_cached(vm);
    VfoJob *job = vfo_jobs_of_vm(jobs, vm->name);

    add_string(view, "name", vm->name);
    add_string(view, "status", why ? "unreachable" : info ? info->status : "unknown");
    add_string(view, "error", why ? why->message : NULL);
    add_string(view, "machine", info ? info->machine : NULL);
    if (info) {
        g_autoptr(GPtrArray) bonds = bonds_of(info, host, absences);

        add_pairs(pairs, info->pairs, vm, jobs);
        add_pairs(pairs, bonds, vm, jobs);
    }
    json_object_object_add(view, "pairs", pairs);
    add_string(view, "job", job ? vfo_job_id(job) : NULL);
    return view;
}

json_object *vfo_view_vf(const VfoVf *vf, const VfoVfUse *use)
{
    static const char *const links[] = {"auto", "enable", "disable"};
    json_object *view = json_object_new_object();

    add_string(view, "pci", vf->pci);
    add_string(view, "network", vf->network);
    add_string(view, "pf", vf->pf);
    add_int(view, "index", vf->index);
    add_string(view, "driver", vf->driver);
    add_int(view, "iommu-group", vf->iommu_group);
    add_int(view, "numa-node", vf->numa_node);
    add_int(view, "vendor", vf->vendor);
    add_int(view, "device", vf->device);
    add_bool(view, "usable", vf->usable);
    add_int(view, "mtu", vf->mtu);
    add_string(view, "owner", use->owner);
    add_string(view, "lease", use->lease);
    add_string(view, "unclean", use->unclean);
    add_string(view, "doubt", use->doubt ? use->doubt->message : NULL);
    add_bool(view, "opened", vf->opened);
    add_int(view, "generation", (gint64)vf->generation);
    add_mac(view, "mac", &vf->settings.mac);
    add_bool(view, "parked", vfo_mac_equal(&vf->settings.mac, &vf->parking));
    add_int(view, "vlan", vf->settings.vlan);
    add_bool(view, "vlan-outer", vf->settings.vlan_outer);
    add_int(view, "qos", vf->settings.qos);
    add_bool(view, "spoofchk", vf->settings.spoofchk);
    add_bool(view, "trust", vf->settings.trust);
    add_int(view, "min-tx-rate", vf->settings.min_tx_rate);
    add_int(view, "max-tx-rate", vf->settings.max_tx_rate);
    add_string(view, "link", links[vf->settings.link]);
    return view;
}

json_object *vfo_view_record(const VfoRecord *record)
{
    json_object *view = json_object_new_object();

    add_string(view, "name", record->step);
    add_string(view, "host", record->host);
    add_int(view, "start-us", record->start_us);
    add_int(view, "duration-us", record->duration_us);
    add_int(view, "own-us", record->own_us);
    add_string(view, "result", vfo_result_name(record->result));
    add_string(view, "detail", record->detail);
    return view;
}

static json_object *view_beside(VfoJob *job, VfoJobs *jobs)
{
    g_autoptr(GPtrArray) others = vfo_jobs_beside(jobs, job);
    json_object *view = json_object_new_array();

    for (guint i = 0; i < others->len; i++)
        json_object_array_add(view,
                              json_object_new_string(vfo_job_id(g_ptr_array_index(others, i))));
    return view;
}

json_object *vfo_view_job(VfoJob *job, VfoJobs *jobs)
{
    json_object *view = json_object_new_object();
    const GPtrArray *records = vfo_job_records(job);
    json_object *steps = json_object_new_array();
    gint64 own_us = 0;

    for (guint i = 0; i < records->len; i++) {
        const VfoRecord *record = g_ptr_array_index(records, i);

        own_us += record->own_us;
        if (jobs)
            json_object_array_add(steps, vfo_view_record(record));
    }
    add_string(view, "id", vfo_job_id(job));
    add_string(view, "kind", vfo_job_kind(job));
    add_string(view, "vm", vfo_job_vm(job));
    add_string(view, "from", vfo_job_from(job));
    add_string(view, "pair", vfo_job_pair(job));
    add_string(view, "state", vfo_job_state_name(vfo_job_state(job)));
    add_string(view, "error", vfo_job_error(job) ? vfo_job_error(job)->message : NULL);
    add_int(view, "own-us", own_us);
    if (jobs) {
        json_object_object_add(view, "beside", view_beside(job, jobs));
        json_object_object_add(view, "steps", steps);
    } else {
        json_object_put(steps);
    }
    return view;
}

json_object *vfo_view_progress(VfoJob *job, const VfoProgress *progress)
{
    const VfoStep *step = vfo_job_step(job);
    json_object *view = json_object_new_object();

    add_string(view, "job", vfo_job_id(job));
    add_string(view, "step", step ? step->name : NULL);
    add_int(view, "transferred", (gint64)progress->transferred);
    add_int(view, "remaining", (gint64)progress->remaining);
    add_int(view, "total", (gint64)progress->total);
    json_object_object_add(view, "mbps", json_object_new_double(progress->mbps));
    add_int(view, "total-ms", (gint64)progress->total_ms);
    add_int(view, "downtime-ms", (gint64)progress->downtime_ms);
    return view;
}
