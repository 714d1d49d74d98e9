/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/local-vm.h"

VfoOp *vfo_op_ref(VfoOp *op)
{
    op->refs++;
    return op;
}

void vfo_op_unref(VfoOp *op)
{
    if (--op->refs)
        return;
    g_assert(!op->task);
    if (op->state_free)
        op->state_free(op->state);
    vfo_vm_unref(&op->vm->vm);
    g_free(op->what);
    g_free(op);
}

/* The op's task, which the caller completes; NULL when that has been done. */
static GTask *op_steal_task(VfoOp *op)
{
    GTask *task = g_steal_pointer(&op->task);

    if (!task)
        return NULL;
    if (op->cancelled) {
        g_source_destroy(op->cancelled);
        g_clear_pointer(&op->cancelled, g_source_unref);
    }
    return task;
}

/* Last, as it may free the op: completing a task may begin the next op of the VM. */
static void op_end(VfoOp *op)
{
    g_ptr_array_remove(op->vm->ops, op);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    g_autoptr(VfoOp) op = vfo_op_ref(data);
    GTask *task = op_steal_task(op);

    if (task) {
        g_task_return_error_if_cancelled(task);
        g_object_unref(task);
        op_end(op);
    }
    return G_SOURCE_REMOVE;
}

/* Takes @what. */
static VfoOp *op_begin(VfoLocalVm *vm, GTask *task, VfoOpEvent event, gboolean patient, char *what)
{
    GCancellable *cancellable = g_task_get_cancellable(task);
    const GError *state = vfo_vm_state(&vm->vm);
    VfoOp *op;

    if (g_task_return_error_if_cancelled(task)) {
        g_object_unref(task);
        g_free(what);
        return NULL;
    }
    if (state && (vm->closed || !patient)) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "cannot %s: %s", what,
                                        vfo_local_vm_reason(vm, state)));
        g_free(what);
        return NULL;
    }

    op = g_new0(VfoOp, 1);
    op->refs = 1;
    op->vm = vm;
    vfo_vm_ref(&vm->vm);
    op->task = task;
    op->what = what;
    op->event = event;
    op->patient = patient;
    op->spare = cancellable && cancellable == vm->refreshing;
    if (cancellable) {
        /* A source rather than a handler: it may be destroyed from within itself, and the task's
         * callback runs outside whatever fired the cancellable. */
        op->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(op->cancelled, G_SOURCE_FUNC(on_cancelled), op, NULL);
        g_source_attach(op->cancelled, g_main_context_get_thread_default());
    }
    g_ptr_array_add(vm->ops, op);
    return op;
}

VfoOp *vfo_op_begin(VfoLocalVm *vm, GTask *task, VfoOpEvent event, const char *format, ...)
{
    char *what;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    return op_begin(vm, task, event, FALSE, what);
}

VfoOp *vfo_op_begin_patiently(VfoLocalVm *vm, GTask *task, VfoOpEvent event, const char *format,
                              ...)
{
    char *what;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    return op_begin(vm, task, event, TRUE, what);
}

void vfo_op_set_state(VfoOp *op, gpointer state, GDestroyNotify state_free)
{
    op->state = state;
    op->state_free = state_free;
}

void vfo_op_done(VfoOp *op)
{
    GTask *task = op_steal_task(op);

    if (!task)
        return;
    vfo_task_done(task);
    op_end(op);
}

void vfo_op_return(VfoOp *op, gpointer value, GDestroyNotify value_free)
{
    GTask *task = op_steal_task(op);

    if (!task) {
        value_free(value);
        return;
    }
    g_task_return_pointer(task, value, value_free);
    g_object_unref(task);
    op_end(op);
}

static void op_fail(VfoOp *op, GError *error)
{
    GTask *task = op_steal_task(op);

    if (!task) {
        g_error_free(error);
        return;
    }
    vfo_task_fail(task, error);
    op_end(op);
}

void vfo_op_fail(VfoOp *op, VfoError code, const char *format, ...)
{
    g_autofree char *reason = NULL;
    va_list args;

    va_start(args, format);
    reason = g_strdup_vprintf(format, args);
    va_end(args);
    op_fail(op, g_error_new(VFO_ERROR, (gint)code, "cannot %s: %s", op->what, reason));
}

void vfo_op_fail_because(VfoOp *op, const GError *error)
{
    if (error->domain == VFO_ERROR)
        op_fail(op, g_error_new(VFO_ERROR, error->code, "cannot %s: %s", op->what,
                                vfo_local_vm_reason(op->vm, error)));
    else
        op_fail(op, g_error_copy(error));
}

static gpointer copy_op(gconstpointer op, gpointer data)
{
    return vfo_op_ref((VfoOp *)op);
}

void vfo_op_tell_all(VfoLocalVm *vm, const char *event, json_object *data)
{
    /* An op that ends may begin others, and these shall not see this event. */
    g_autoptr(GPtrArray) ops = g_ptr_array_copy(vm->ops, copy_op, NULL);

    for (guint i = 0; i < ops->len; i++) {
        VfoOp *op = g_ptr_array_index(ops, i);

        if (op->task && op->event)
            op->event(op, event, data);
    }
}

static void fail_all(VfoLocalVm *vm, const GError *error, gboolean spare_patient)
{
    g_autoptr(GPtrArray) ops = g_ptr_array_copy(vm->ops, copy_op, NULL);

    for (guint i = 0; i < ops->len; i++) {
        VfoOp *op = g_ptr_array_index(ops, i);

        if (!spare_patient || !vfo_op_waits_for_vm(op))
            vfo_op_fail(op, VFO_ERROR_CLOSED, "%s; if QEMU has exited, its log says why",
                        vfo_local_vm_reason(vm, error));
    }
}

gboolean vfo_op_waits_for_vm(const VfoOp *op)
{
    return op->patient && !op->spare;
}

void vfo_op_fail_all(VfoLocalVm *vm, const GError *error)
{
    fail_all(vm, error, FALSE);
}

void vfo_op_fail_impatient(VfoLocalVm *vm, const GError *error)
{
    fail_all(vm, error, TRUE);
}
