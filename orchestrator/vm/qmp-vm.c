/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/qmp-vm.h"

#include <string.h>

static gboolean qmp_vm_incoming_began(VfoVm *vm)
{
    return ((VfoQmpVm *)vm)->began;
}

static void qmp_vm_progress(VfoVm *vm, VfoProgress *progress)
{
    *progress = ((VfoQmpVm *)vm)->progress;
}

static const VfoVmOps qmp_vm_ops = {
    .inspect = vfo_qmp_vm_inspect,
    .unplug = vfo_qmp_vm_unplug,
    .prepare = vfo_qmp_vm_prepare,
    .plug = vfo_qmp_vm_plug,
    .announce = vfo_qmp_vm_announce,
    .listen = vfo_qmp_vm_listen,
    .resumed = vfo_qmp_vm_resumed,
    .migrate = vfo_qmp_vm_migrate,
    .completed = vfo_qmp_vm_completed,
    .cancel = vfo_qmp_vm_cancel,
    .incoming_began = qmp_vm_incoming_began,
    .progress = qmp_vm_progress,
    .ref = vfo_local_vm_ref,
    .unref = vfo_vm_unref,
};

/* ------------------------------------------------------------ what it knows */

const char *vfo_qmp_vm_take_status(VfoOp *op, json_object *answer)
{
    g_autoptr(GError) error = NULL;
    const char *status = NULL;

    if (!vfo_json_string(answer, "status", "query-status", &status, &error)) {
        vfo_op_fail_because(op, error);
        return NULL;
    }
    if (!*status || strlen(status) > 32 ||
        strspn(status, "abcdefghijklmnopqrstuvwxyz-") != strlen(status)) {
        vfo_op_fail(op, VFO_ERROR_PROTOCOL, "QEMU's answer to query-status is malformed");
        return NULL;
    }
    vfo_qmp_vm_of(op)->running = g_str_equal(status, "running");
    vfo_qmp_vm_of(op)->waiting = g_str_equal(status, "inmigrate");
    return status;
}

void vfo_qmp_vm_set_migration(VfoQmpVm *vm, const char *status)
{
    static const char *const not_begun[] = {"none", "setup", "failed", "cancelled", NULL};

    if (vm->waiting && !g_strv_contains(not_begun, status))
        vm->began = TRUE;
    g_free(vm->migration);
    vm->migration = g_strndup(status, 32);
}

static guint64 read_figure(json_object *object, const char *member)
{
    gint64 value;

    /* QEMU leaves out what it does not know yet. */
    if (!vfo_json_has(object, member) ||
        !vfo_json_int(object, member, "query-migrate", 0, G_MAXINT64, &value, NULL))
        return 0;
    return (guint64)value;
}

void vfo_qmp_vm_read_progress(VfoQmpVm *vm, json_object *answer)
{
    json_object *ram, *mbps;

    vm->progress.total_ms = read_figure(answer, "total-time");
    vm->progress.downtime_ms = read_figure(answer, "downtime");
    if (vfo_json_has(answer, "ram") &&
        vfo_json_object(answer, "ram", "query-migrate", &ram, NULL)) {
        vm->progress.transferred = read_figure(ram, "transferred");
        vm->progress.remaining = read_figure(ram, "remaining");
        vm->progress.total = read_figure(ram, "total");
        mbps = json_object_object_get(ram, "mbps");
        if (json_object_is_type(mbps, json_type_double) || json_object_is_type(mbps, json_type_int))
            vm->progress.mbps = json_object_get_double(mbps);
    }
    vm->base.listener.moved(&vm->base.vm, vm->base.listener.data);
}

/* -------------------------------------------------------------- questions */

typedef struct {
    VfoOp *op;
    VfoOpReply reply;
    gpointer data;
} Question;

VfoQmpVm *vfo_qmp_vm_of(const VfoOp *op)
{
    return (VfoQmpVm *)op->vm;
}

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Question *question = data;
    g_autoptr(VfoOp) op = question->op;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) value =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (op->spare)
        vfo_stopwatch_begin_spare();
    if (op->task)
        question->reply(op, value, error, question->data);
    if (op->spare)
        vfo_stopwatch_end_spare();
}

void vfo_op_ask(VfoOp *op, const char *command, json_object *arguments, VfoOpReply reply,
                gpointer data)
{
    Question *question;

    if (!op->task || !vfo_qmp_vm_of(op)->client ||
        g_cancellable_is_cancelled(g_task_get_cancellable(op->task))) {
        json_object_put(arguments);
        return;
    }
    question = g_new0(Question, 1);
    question->op = vfo_op_ref(op);
    question->reply = reply;
    question->data = data;
    if (op->spare)
        vfo_stopwatch_begin_spare();
    /* Not under the task's cancellable: the op watches that one itself, for all its questions. */
    vfo_qmp_client_execute_async(vfo_qmp_vm_of(op)->client, command, arguments, 0, NULL, on_answer,
                                 question);
    if (op->spare)
        vfo_stopwatch_end_spare();
}

gboolean vfo_op_is_answer(const GError *error)
{
    return error->domain == VFO_ERROR && error->code >= VFO_ERROR_QMP_GENERIC;
}

/* --------------------------------------------------------- the connection */

/* A daemon that was started in the middle of a migration has missed its events. */
static void on_first_migration(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    VfoQmpVm *vm = vfo_qmp_vm_of(op);
    const char *status;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    if (vfo_json_has(value, "status") &&
        vfo_json_string(value, "status", "query-migrate", &status, NULL)) {
        vfo_qmp_vm_set_migration(vm, status);
        /* "completed" and running: it arrived here; at a source it would be in postmigrate. */
        if (vm->running && g_str_equal(status, "completed"))
            vm->began = TRUE;
    }
    vfo_local_vm_refresh(&vm->base, 0);
    vfo_op_done(op);
}

static void on_first_status(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error)
        vfo_op_fail_because(op, error);
    else if (vfo_qmp_vm_take_status(op, value))
        vfo_op_ask(op, "query-migrate", NULL, on_first_migration, NULL);
}

static void on_first_capabilities(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    /* Refused while a migration is under way; migrate and listen ask again. */
    if (error && vfo_op_is_answer(error))
        g_message("VM '%s' does not report migrations yet: %s", op->vm->vm.name,
                  vfo_local_vm_reason(op->vm, error));
    vfo_qmp_vm_of(op)->events = !error;
    vfo_op_ask(op, "query-status", NULL, on_first_status, NULL);
}

static void on_met(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) vm = data;
    g_autoptr(GError) error = NULL;

    if (!g_task_propagate_boolean(G_TASK(result), &error) &&
        !g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED))
        g_warning("%s", error->message);
}

static json_object *capabilities(void)
{
    json_object *capability = json_object_new_object();
    json_object *list = json_object_new_array();
    json_object *arguments = json_object_new_object();

    json_object_object_add(capability, "capability", json_object_new_string("events"));
    json_object_object_add(capability, "state", json_object_new_boolean(TRUE));
    json_object_array_add(list, capability);
    json_object_object_add(arguments, "capabilities", list);
    return arguments;
}

void vfo_qmp_vm_ask_events(VfoOp *op, VfoOpReply reply)
{
    vfo_op_ask(op, "migrate-set-capabilities", capabilities(), reply, NULL);
}

/* Behind the Unix socket may be another QEMU than before: nothing known of the last one holds. */
static void on_ready(VfoQmpClient *client, gpointer data)
{
    VfoQmpVm *vm = data;
    VfoOp *op;

    vm->events = vm->running = vm->waiting = vm->began = vm->ran = FALSE;
    memset(&vm->progress, 0, sizeof(vm->progress));
    g_clear_pointer(&vm->migration, g_free);
    g_clear_pointer(&vm->machine, g_free);
    vfo_qmp_vm_forget(vm, NULL);

    op = vfo_op_begin(&vm->base, g_task_new(NULL, NULL, on_met, vfo_vm_ref(&vm->base.vm)), NULL,
                      "get to know VM '%s'", vm->base.vm.name);
    if (op)
        vfo_qmp_vm_ask_events(op, on_first_capabilities);
}

/* What may change something of what an inspection sees. */
static gboolean tells_more(const VfoQmpVm *vm, const char *event)
{
    static const char *const telling[] = {
        "DEVICE_DELETED", "FAILOVER_NEGOTIATED", "RESET", "RESUME", "STOP", NULL};
    static const char *const over[] = {"cancelled", "completed", "failed", NULL};

    return g_strv_contains(telling, event) || (g_str_equal(event, "MIGRATION") && vm->migration &&
                                               g_strv_contains(over, vm->migration));
}

static void on_event(VfoQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    VfoQmpVm *vm = user_data;
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);
    const char *text = NULL;

    if (g_str_equal(name, "STOP")) {
        vm->running = FALSE;
    } else if (g_str_equal(name, "RESUME")) {
        vm->running = TRUE;
        vm->waiting = FALSE;
    } else if (g_str_equal(name, "MIGRATION") && data &&
               vfo_json_string(data, "status", name, &text, NULL)) {
        vfo_qmp_vm_set_migration(vm, text);
    } else if (g_str_equal(name, "DEVICE_DELETED") && data && vfo_json_has(data, "device") &&
               vfo_json_string(data, "device", name, &text, NULL)) {
        vfo_qmp_vm_forget(vm, text);
    }
    vfo_op_tell_all(&vm->base, name, data);
    if (tells_more(vm, name))
        vfo_local_vm_refresh(&vm->base, VFO_REFRESH_AFTER_MS);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    VfoQmpVm *vm = data;
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);

    vfo_op_fail_all(&vm->base, error);
}

/* ------------------------------------------------------------------ its life */

static GError *qmp_vm_state(VfoLocalVm *base)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;
    const GError *last;

    if (!vm->client)
        return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED,
                           "VM '%s' has gone: its QMP socket was removed", base->vm.name);
    if (vfo_qmp_client_is_ready(vm->client))
        return NULL;
    last = vfo_qmp_client_last_error(vm->client);
    if (last)
        return g_error_copy(last);
    return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED,
                       "VM '%s' has not answered on its QMP socket yet", base->vm.name);
}

static void qmp_vm_close(VfoLocalVm *base)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;

    g_signal_handlers_disconnect_by_data(vm->client, vm);
    vfo_qmp_client_close(vm->client);
    g_clear_object(&vm->client);
}

static void qmp_vm_clear(VfoLocalVm *base)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;

    g_hash_table_unref(vm->devices);
    g_clear_pointer(&vm->free_buses, g_ptr_array_unref);
    g_free(vm->machine);
    g_free(vm->migration);
}

static const VfoVmBackend qmp_backend = {
    .state = qmp_vm_state,
    .close = qmp_vm_close,
    .clear = qmp_vm_clear,
};

VfoLocalVm *vfo_qmp_vm_new(const char *name, const char *path, const VfoVmListener *listener)
{
    g_autofree char *peer = g_strdup_printf("VM '%s'", name);
    VfoQmpVm *vm = g_new0(VfoQmpVm, 1);

    vfo_local_vm_init(&vm->base, &qmp_backend, &qmp_vm_ops, name, path, listener);
    vm->devices = vfo_qmp_vm_new_devices();
    vm->client = vfo_qmp_client_new_unix(peer, path, TRUE);
    g_signal_connect(vm->client, "ready", G_CALLBACK(on_ready), vm);
    g_signal_connect(vm->client, "event", G_CALLBACK(on_event), vm);
    g_signal_connect(vm->client, "closed", G_CALLBACK(on_closed), vm);
    return &vm->base;
}

gboolean vfo_qmp_vm_is(const VfoLocalVm *vm)
{
    return vm->backend == &qmp_backend;
}

gboolean vfo_qmp_vm_is_dead(const VfoLocalVm *vm)
{
    const VfoQmpClient *client = ((const VfoQmpVm *)vm)->client;

    return client && vfo_qmp_client_is_unheard((VfoQmpClient *)client);
}
