/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/local-vm.h"

#include <string.h>

/* What does not answer an inspection nobody waits for is left alone until it tells more. */
#define REFRESH_TIMEOUT_MS 30000

void vfo_local_vm_init(VfoLocalVm *vm, const VfoVmBackend *backend, const VfoVmOps *ops,
                       const char *name, const char *where, const VfoVmListener *listener)
{
    vm->vm.ops = ops;
    vm->vm.name = g_strdup(name);
    vm->backend = backend;
    vm->where = g_strdup(where);
    vm->refs = 1;
    vm->listener = *listener;
    vm->ops = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_op_unref);
}

void vfo_local_vm_close(VfoLocalVm *vm)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->vm);

    if (vm->closed)
        return;
    vm->closed = TRUE;
    vm->backend->close(vm);
    g_clear_handle_id(&vm->refresh, g_source_remove);
    vfo_op_fail_all(vm, vfo_vm_state(&vm->vm));
}

VfoVm *vfo_vm_ref(VfoVm *vm)
{
    ((VfoLocalVm *)vm)->refs++;
    return vm;
}

void vfo_local_vm_ref(VfoVm *vm)
{
    vfo_vm_ref(vm);
}

void vfo_vm_unref(VfoVm *base)
{
    VfoLocalVm *vm = (VfoLocalVm *)base;

    if (--vm->refs)
        return;
    g_assert(vm->closed && !vm->ops->len);
    vm->backend->clear(vm);
    g_ptr_array_unref(vm->ops);
    vfo_vm_info_free(vm->info);
    g_clear_error(&vm->state);
    g_free(vm->where);
    g_free(vm->vm.name);
    g_free(vm);
}

const GError *vfo_vm_state(VfoVm *base)
{
    VfoLocalVm *vm = (VfoLocalVm *)base;

    g_clear_error(&vm->state);
    vm->state = vm->backend->state(vm);
    return vm->state;
}

const VfoVmInfo *vfo_vm_cached(VfoVm *vm)
{
    return ((VfoLocalVm *)vm)->info;
}

void vfo_local_vm_keep(VfoLocalVm *vm, VfoVmInfo *info)
{
    vfo_vm_info_free(vm->info);
    vm->info = info;
}

static gpointer copy_text(gconstpointer text, gpointer data)
{
    return g_strdup(text);
}

static gpointer copy_pair(gconstpointer pair, gpointer data)
{
    return vfo_pair_copy(pair);
}

VfoVmInfo *vfo_local_vm_copy_info(const VfoLocalVm *vm)
{
    const VfoVmInfo *info = vm->info;
    VfoVmInfo *copy = g_new0(VfoVmInfo, 1);

    copy->name = g_strdup(info->name);
    copy->machine = g_strdup(info->machine);
    copy->status = g_strdup(info->status);
    copy->numa_node = info->numa_node;
    copy->uuid = g_strdup(info->uuid);
    if (info->halves)
        copy->halves = g_ptr_array_copy(info->halves, copy_pair, NULL);
    copy->pairs = g_ptr_array_copy(info->pairs, copy_pair, NULL);
    copy->free_buses = g_ptr_array_copy(info->free_buses, copy_text, NULL);
    copy->leaving = info->leaving;
    return copy;
}

const char *vfo_local_vm_reason(const VfoLocalVm *vm, const GError *error)
{
    g_autofree char *prefix = g_strdup_printf("VM '%s': ", vm->vm.name);

    return error->message + (g_str_has_prefix(error->message, prefix) ? strlen(prefix) : 0);
}

/* ------------------------------------------------------- inspecting unasked */

static void on_refreshed(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) base = data;
    VfoLocalVm *vm = (VfoLocalVm *)base;
    g_autoptr(GError) error = NULL;
    VfoVmInfo *info = g_task_propagate_pointer(G_TASK(result), &error);

    g_clear_handle_id(&vm->refresh, g_source_remove);
    g_clear_object(&vm->refreshing);
    if (error && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        g_warning("VM '%s' did not answer an inspection within %d s; what is shown of it may be "
                  "out of date",
                  vm->vm.name, REFRESH_TIMEOUT_MS / 1000);
    else if (error && !g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED))
        g_warning("what is shown of VM '%s' may be out of date: %s", vm->vm.name, error->message);
    if (info && !vm->closed)
        vm->listener.inspected(base, vm->listener.data);
    vfo_vm_info_free(info);
    if (vm->stale)
        vfo_local_vm_refresh(vm, VFO_REFRESH_AFTER_MS);
}

static gboolean on_refresh_timeout(gpointer data)
{
    VfoLocalVm *vm = data;

    vm->refresh = 0;
    g_cancellable_cancel(vm->refreshing);
    return G_SOURCE_REMOVE;
}

static gboolean on_refresh(gpointer data)
{
    VfoLocalVm *vm = data;

    vm->refresh = 0;
    vm->stale = FALSE;
    if (vfo_vm_state(&vm->vm))
        return G_SOURCE_REMOVE;
    vm->refreshing = g_cancellable_new();
    vm->refresh = g_timeout_add(REFRESH_TIMEOUT_MS, on_refresh_timeout, vm);
    vm->vm.ops->inspect(&vm->vm,
                        g_task_new(NULL, vm->refreshing, on_refreshed, vfo_vm_ref(&vm->vm)));
    return G_SOURCE_REMOVE;
}

void vfo_local_vm_refresh(VfoLocalVm *vm, guint after_ms)
{
    if (vm->refreshing)
        vm->stale = TRUE;
    else if (!vm->closed && !vm->refresh) /* else it has gone: nothing would stop the timer */
        vm->refresh = g_timeout_add_full(G_PRIORITY_LOW, after_ms, on_refresh, vm, NULL);
}

void vfo_vm_refresh(VfoVm *vm)
{
    vfo_local_vm_refresh((VfoLocalVm *)vm, VFO_REFRESH_AFTER_MS);
}
