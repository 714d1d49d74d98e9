/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

struct _VfoLending {
    VfoLendingArgs args;
    gulong inspected_handler;
    gulong removed_handler;
    gulong met_handler;
    gulong changed_handler;
    gboolean stopped;
    GHashTable *unwired; /* "VM standby": the way was not found, which was logged */
    guint idle;
    VfoJob *supply; /* owned: the job of a VM that waited; NULL: none */
    char *standby;  /* at which it gets its VF */
};

/* --------------------------------------------------------------- commands */

/* A member that may be left out, or be null. */
static gboolean optional(json_object *arguments, const char *member, const char **value,
                         GError **error)
{
    return !vfo_json_has(arguments, member) ||
           vfo_json_string(arguments, member, "arguments", value, error);
}

static VfoVm *vm_argument(VfoLending *lending, json_object *arguments, GError **error)
{
    const char *name;

    if (!vfo_json_string(arguments, "vm", "arguments", &name, error))
        return NULL;
    return vfo_vms_get(lending->args.vms, name, error);
}

/* Takes @job. */
static VfoJob *add(VfoLending *lending, VfoJob *new_job, GError **error)
{
    g_autoptr(VfoJob) job = new_job;

    return vfo_jobs_add(lending->args.jobs, job, TRUE, error) ? g_steal_pointer(&job) : NULL;
}

VfoJob *vfo_lending_detach(VfoLending *lending, json_object *arguments, GError **error)
{
    static const char *const members[] = {"vm", "standby", NULL};
    const VfoConfig *config = lending->args.config;
    VfoDetachArgs args = {.host = lending->args.host,
                          .leases = lending->args.leases,
                          .absences = lending->args.absences};

    if (!vfo_json_only(arguments, members, "arguments", error) ||
        !optional(arguments, "standby", &args.standby, error))
        return NULL;
    args.vm = vm_argument(lending, arguments, error);
    if (!args.vm)
        return NULL;
    return add(lending, vfo_detach_job(config->name, &args, &config->policy), error);
}

static gboolean find_giver(VfoLending *lending, const char *name, VfoAttachArgs *args,
                           GError **error)
{
    if (!name)
        return TRUE;
    args->from = vfo_vms_get(lending->args.vms, name, error);
    if (args->from && args->from == args->vm) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "VM %s cannot get a VF from itself: name another VM", name);
        return FALSE;
    }
    return args->from != NULL;
}

VfoJob *vfo_lending_attach(VfoLending *lending, json_object *arguments, GError **error)
{
    static const char *const members[] = {"vm", "from", "vf", "standby", NULL};
    const VfoConfig *config = lending->args.config;
    const char *from = NULL;
    VfoAttachArgs args = {.host = lending->args.host,
                          .leases = lending->args.leases,
                          .absences = lending->args.absences};

    if (!vfo_json_only(arguments, members, "arguments", error) ||
        !optional(arguments, "standby", &args.standby, error) ||
        !optional(arguments, "vf", &args.vf, error) || !optional(arguments, "from", &from, error))
        return NULL;
    if (args.vf && !vfo_pci_is_address(args.vf)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "arguments: 'vf' is a PCI address such as 0000:01:10.0, in lower case");
        return NULL;
    }
    args.vm = vm_argument(lending, arguments, error);
    if (!args.vm || !find_giver(lending, from, &args, error))
        return NULL;
    return add(lending, vfo_attach_job(config->name, &args, &config->policy), error);
}

/* ------------------------------------------------------------------ supply */

static gboolean has_vf_for(VfoLending *lending, const GPtrArray *vfs, const VfoOffer *wanted)
{
    VfoWant want = vfo_want_like(wanted, &lending->args.config->policy);

    return vfo_choose_vf(vfs, lending->args.leases, &want, NULL) != NULL;
}

static void start_supply(VfoLending *lending, VfoVm *vm, const VfoOffer *wanted)
{
    const VfoConfig *config = lending->args.config;
    VfoAttachArgs args = {.vm = vm,
                          .host = lending->args.host,
                          .leases = lending->args.leases,
                          .absences = lending->args.absences,
                          .standby = wanted->pair->standby};
    g_autoptr(VfoJob) job = vfo_attach_job(config->name, &args, &config->policy);
    g_autoptr(GError) error = NULL;

    if (!vfo_jobs_add(lending->args.jobs, job, TRUE, &error)) {
        g_warning("VM %s, which came without a VF, gets none: %s", vm->name, error->message);
        return;
    }
    g_message("job %s: VM %s came without a VF; network '%s' has a free one now", vfo_job_id(job),
              vm->name, wanted->network);
    lending->supply = vfo_job_ref(job);
    lending->standby = g_strdup(wanted->pair->standby);
    /* A guest that cannot use its VF would be given it for ever. */
    vfo_absences_note(lending->args.absences, wanted, FALSE);
    vfo_job_run(job);
}

/* One VM at a time: the end of its job calls again. */
static void supply_network(VfoLending *lending, const char *network)
{
    g_autoptr(GPtrArray) wanted = vfo_absences_wanted(lending->args.absences, network);
    VfoHost *host = lending->args.host;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) vfs = NULL;

    if (wanted->len == 0)
        return;
    vfs = host->ops->list_vfs(host, &error);
    if (!vfs) {
        g_warning("whether a VF is free for a VM that came without one cannot be told: %s",
                  error->message);
        return;
    }
    for (guint i = 0; i < wanted->len; i++) {
        const VfoOffer *offer = g_ptr_array_index(wanted, i);
        VfoVm *vm = vfo_vms_get(lending->args.vms, offer->vm, NULL);

        if (!vm || vfo_jobs_of_vm(lending->args.jobs, offer->vm) ||
            !has_vf_for(lending, vfs, offer))
            continue;
        start_supply(lending, vm, offer);
        return;
    }
}

static gboolean supply(gpointer data)
{
    VfoLending *lending = data;
    const GPtrArray *networks = lending->args.config->networks;

    lending->idle = 0;
    for (guint i = 0; i < networks->len && !lending->supply; i++)
        supply_network(lending, ((const VfoNetwork *)g_ptr_array_index(networks, i))->name);
    return G_SOURCE_REMOVE;
}

void vfo_lending_freed(VfoLending *lending)
{
    if (!lending->stopped && !lending->supply && !lending->idle)
        lending->idle = g_idle_add(supply, lending);
}

void vfo_lending_stop(VfoLending *lending)
{
    lending->stopped = TRUE;
    g_clear_handle_id(&lending->idle, g_source_remove);
}

static void end_supply(VfoLending *lending)
{
    g_autoptr(VfoJob) job = g_steal_pointer(&lending->supply);
    g_autofree char *standby = g_steal_pointer(&lending->standby);
    VfoAbsences *absences = lending->args.absences;
    const VfoOffer *offer = vfo_absences_find(absences, vfo_job_vm(job), standby);

    /* Somebody else has taken the VF. */
    if (offer && g_error_matches(vfo_job_error(job), VFO_ERROR, VFO_ERROR_BUSY))
        vfo_absences_note(absences, offer, TRUE);
}

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoLending *lending = data;

    if (record || !vfo_job_ended(job))
        return;
    if (job == lending->supply)
        end_supply(lending);
    vfo_lending_freed(lending);
}

/* ------------------------------------------------------------------- reunion */

static void warn_of_wire(VfoLending *lending, const char *vm, const VfoPair *pair,
                         const GError *error)
{
    if (g_hash_table_add(lending->unwired, g_strdup_printf("%s %s", vm, pair->standby)))
        g_warning(
            "how standby %s of VM %s reaches the network is not known; what leads to it there "
            "stays when the VM goes: %s",
            pair->standby, vm, error->message);
}

/*
 * @pair of a VM of which an absence is known. Without its wire that is one of another daemon, which
 * was ended; or of a job that was. That the VF is there proves nothing: it may have been asked for,
 * or plugged in vain, and leave the guest any moment. So what it is like is not forgotten.
 */
static void look(VfoLending *lending, const VfoVmInfo *info, const VfoPair *pair)
{
    VfoAbsences *absences = lending->args.absences;
    VfoHost *host = lending->args.host;
    const VfoOffer *offer = vfo_absences_find(absences, info->name, pair->standby);
    gboolean wired = vfo_absences_has_wire(absences, info->name, pair->standby);
    g_autoptr(GError) error = NULL;
    VfoWire *wire;

    if (!offer || !pair->tap)
        return;
    if (pair->primary) {
        vfo_absences_unwant(absences, info->name, pair->standby);
        return;
    }
    if (wired || !vfo_mac_equal(&offer->settings.mac, &pair->mac))
        return;
    wire = host->ops->find_wire(host, pair->tap, NULL, &offer->settings, &error);
    if (!wire) {
        warn_of_wire(lending, info->name, pair, error);
        return;
    }
    vfo_absences_keep(absences, info->name, pair->standby, wire);
    vfo_lending_freed(lending);
}

static void look_at_each(VfoLending *lending, const VfoVmInfo *info)
{
    for (guint i = 0; i < info->pairs->len; i++)
        look(lending, info, g_ptr_array_index(info->pairs, i));
    for (guint i = 0; info->halves && i < info->halves->len; i++) {
        const VfoPair *half = g_ptr_array_index(info->halves, i);

        if (half->standby)
            look(lending, info, half);
    }
}

/* One that waits for its memory, or has moved, is another host's. */
static void on_vm_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoLending *lending = data;
    const VfoVmInfo *info = vfo_vm_cached(vm);

    if (vfo_jobs_of_vm(lending->args.jobs, vm->name) ||
        !vfo_absences_find(lending->args.absences, vm->name, NULL))
        return;
    if (!g_str_equal(info->status, "running") && !g_str_equal(info->status, "paused"))
        return;
    /* It delays no other VM's job. */
    vfo_stopwatch_begin_spare();
    look_at_each(lending, info);
    vfo_stopwatch_end_spare();
}

/* A VF may have been free all the time. */
static void on_met(VfoVms *vms, VfoVm *none, gpointer data)
{
    vfo_lending_freed(data);
}

/* ---------------------------------------------------------------- lifetime */

static void on_vm_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoLending *lending = data;
    VfoHost *host = lending->args.host;
    g_autoptr(GPtrArray) wires = vfo_absences_wires(lending->args.absences, vm->name);

    /* The VM may run on another host by now, where nobody behind this PF would reach it. */
    for (guint i = 0; i < wires->len; i++) {
        g_autoptr(GError) error = NULL;

        if (!host->ops->close_pf(host, g_ptr_array_index(wires, i), FALSE, &error))
            g_warning("VM %s, which was on its standby, has gone: %s", vm->name, error->message);
    }
    vfo_absences_forget(lending->args.absences, vm->name, NULL);
    g_hash_table_remove_all(lending->unwired);
}

VfoLending *vfo_lending_new(const VfoLendingArgs *args)
{
    VfoLending *lending = g_new0(VfoLending, 1);

    lending->args = *args;
    lending->unwired = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    lending->inspected_handler =
        g_signal_connect(args->vms, "inspected", G_CALLBACK(on_vm_inspected), lending);
    lending->removed_handler =
        g_signal_connect(args->vms, "removed", G_CALLBACK(on_vm_removed), lending);
    lending->met_handler = g_signal_connect(args->vms, "met", G_CALLBACK(on_met), lending);
    lending->changed_handler =
        g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), lending);
    return lending;
}

void vfo_lending_free(VfoLending *lending)
{
    if (!lending)
        return;
    vfo_lending_stop(lending);
    g_signal_handler_disconnect(lending->args.vms, lending->inspected_handler);
    g_signal_handler_disconnect(lending->args.vms, lending->removed_handler);
    g_signal_handler_disconnect(lending->args.vms, lending->met_handler);
    g_signal_handler_disconnect(lending->args.jobs, lending->changed_handler);
    vfo_job_unref(lending->supply);
    g_free(lending->standby);
    g_hash_table_unref(lending->unwired);
    g_free(lending);
}
