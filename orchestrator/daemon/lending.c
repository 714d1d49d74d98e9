/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

struct _VfoLending {
    VfoLendingArgs args;
    gulong removed_handler;
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

/* ---------------------------------------------------------------- lifetime */

static void on_vm_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoLending *lending = data;

    vfo_absences_forget(lending->args.absences, vm->name, NULL);
}

VfoLending *vfo_lending_new(const VfoLendingArgs *args)
{
    VfoLending *lending = g_new0(VfoLending, 1);

    lending->args = *args;
    lending->removed_handler =
        g_signal_connect(args->vms, "removed", G_CALLBACK(on_vm_removed), lending);
    return lending;
}

void vfo_lending_free(VfoLending *lending)
{
    if (!lending)
        return;
    g_signal_handler_disconnect(lending->args.vms, lending->removed_handler);
    g_free(lending);
}
