/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to libvirt that breaks, and is made again: what libvirt would have told meanwhile is
 * read back from it. Who waits for something of that waits on (vfo_op_begin_patiently()).
 */
#include "vm/libvirt.h"

/* Asked about a domain that libvirt may be migrating away. One that is busy otherwise does not say.
 */
static void read_job(const VfoLibvirtCalls *calls, virDomainPtr domain, VfoLibvirtSeen *seen)
{
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n_params = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    unsigned long long total = 0;

    if (calls->get_job(domain, &type, &params, &n_params, 0) < 0)
        return;
    virTypedParamsGetInt(params, n_params, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsGetULLong(params, n_params, VIR_DOMAIN_JOB_MEMORY_TOTAL, &total);
    virTypedParamsFree(params, n_params);
    /* QEMU has figures when the guest has released its VFs. */
    seen->moving = type != VIR_DOMAIN_JOB_NONE &&
                   operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT && total > 0;
}

gpointer vfo_libvirt_see_anew(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                              GError **error)
{
    VfoLibvirtSeen *seen = vfo_libvirt_see(calls, domain, data, error);

    if (seen)
        read_job(calls, domain, seen);
    return seen;
}

/* @arriving: libvirt answers nothing else about such a domain. */
static gpointer see_missed(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer arriving,
                           GError **error)
{
    VfoLibvirtSeen *seen = g_new0(VfoLibvirtSeen, 1);

    if (calls->get_state(domain, &seen->state, &seen->reason, 0) == 0) {
        if (!arriving)
            read_job(calls, domain, seen);
        return seen;
    }
    vfo_libvirt_set_error(calls, error, "ask libvirt for the domain's state");
    vfo_libvirt_seen_free(seen);
    return NULL;
}

/* It stands still because it is being migrated, and nobody has paused it. */
static gboolean is_between_hosts(const VfoLibvirtSeen *seen)
{
    static const int reasons[] = {VIR_DOMAIN_PAUSED_MIGRATION, VIR_DOMAIN_PAUSED_POSTCOPY,
                                  VIR_DOMAIN_PAUSED_POSTCOPY_FAILED};

    for (gsize i = 0; seen->state == VIR_DOMAIN_PAUSED && i < G_N_ELEMENTS(reasons); i++) {
        if (seen->reason == reasons[i])
            return TRUE;
    }
    return FALSE;
}

static gboolean is_starting(const VfoLibvirtSeen *seen)
{
    return seen->state == VIR_DOMAIN_PAUSED && seen->reason == VIR_DOMAIN_PAUSED_STARTING_UP;
}

/* QEMU's MigrationStatus of a domain that leaves; NULL: it does not, or QEMU has not begun. */
static const char *status_of(const VfoLibvirtSeen *seen)
{
    if (!is_between_hosts(seen))
        return seen->moving ? "active" : NULL;
    switch (seen->reason) {
    case VIR_DOMAIN_PAUSED_POSTCOPY:
        return "postcopy-active";
    case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
        return "postcopy-paused";
    default:
        return "device";
    }
}

void vfo_libvirt_vm_take_missed(VfoLibvirtVm *vm, const VfoLibvirtSeen *seen)
{
    vm->running = seen->state == VIR_DOMAIN_RUNNING || seen->state == VIR_DOMAIN_BLOCKED;
    if (vm->incoming) {
        vm->incoming = is_between_hosts(seen) || is_starting(seen);
        vm->began = TRUE; /* it may have */
        return;
    }
    /* What has been told since then is newer. */
    if (vm->migration)
        return;
    vm->migration = g_strdup(status_of(seen));
    if (vm->migration)
        vm->ran = TRUE;
}

static void on_missed(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) base = data;
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    g_autoptr(GError) error = NULL;
    VfoLibvirtSeen *seen = g_task_propagate_pointer(G_TASK(result), &error);

    if (error && vm->domain)
        g_warning("what has happened to VM '%s' meanwhile cannot be told: %s", base->name,
                  error->message);
    if (seen && vm->domain)
        vfo_libvirt_vm_take_missed(vm, seen);
    vfo_libvirt_seen_free(seen);
    if (!vm->domain)
        return; /* it has gone, or the connection has once more */
    vfo_op_tell_all(&vm->base, VFO_MET, NULL);
    vfo_local_vm_refresh(&vm->base, 0);
}

void vfo_libvirt_vm_meet(VfoLibvirtVm *vm, virDomainPtr domain)
{
    vm->expected = FALSE;
    vfo_libvirt_vm_set_domain(vm, domain);
    vfo_libvirt_call(vm->libvirt, domain, see_missed, GINT_TO_POINTER(vm->incoming), NULL,
                     (GDestroyNotify)vfo_libvirt_seen_free,
                     g_task_new(NULL, NULL, on_missed, vfo_vm_ref(&vm->base.vm)));
}

void vfo_libvirt_vm_miss(VfoLibvirtVm *vm)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);

    vm->running = FALSE;
    vm->ended = vm->vanished = TRUE;
    vfo_op_tell_all(&vm->base, VFO_LIFECYCLE, NULL);
    if (vm->libvirt)
        vfo_libvirt_remove(vm->libvirt, vm);
}

void vfo_libvirt_vm_lose(VfoLibvirtVm *vm)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);
    const GError *why;

    if (vm->expected)
        return;
    vfo_libvirt_vm_set_domain(vm, NULL);
    g_clear_pointer(&vm->migration, g_free);
    vm->missed = TRUE;
    vm->jobless = 0;
    vfo_op_tell_all(&vm->base, VFO_LOST, NULL);
    why = vfo_vm_state(&vm->base.vm);
    if (why)
        vfo_op_fail_impatient(&vm->base, why);
}

static void on_unseen_event(VfoOp *op, const char *event, json_object *data)
{
    if (g_str_equal(event, VFO_LOST))
        vfo_op_done(op);
}

void vfo_libvirt_vm_unseen(VfoVm *base, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op = vfo_op_begin_patiently(&vm->base, task, on_unseen_event,
                                       "watch the connection to VM '%s'", base->name);

    if (op && !vm->domain)
        vfo_op_done(op);
}
