/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A migration that libvirt carries out: what QEMU and libvirt tell of it. Nothing is asked for that
 * starts a job in libvirt, but for the figures, once a second while memory moves, and for the
 * end of the migration when our own job has failed.
 */
#include "vm/libvirt.h"

#define LOOK_EVERY_MS 1000
/* While a migration is being abandoned, which nothing tells of if QEMU has not begun it. */
#define LOOK_OFTEN_MS 200
/* So many looks in a row see no job in libvirt before a migration that QEMU has not told of is
 * taken to be over: the phases of one are a job each. */
#define JOBLESS_LOOKS 3

static const char *const given_up[] = {"cancelling", "cancelled", "failed", NULL};
static const char *const over_badly[] = {"cancelled", "failed", NULL};
static const char *const over[] = {"none", "cancelled", "failed", "completed", NULL};
static const char *const post_copy[] = {"postcopy-active", "postcopy-paused", "postcopy-recover",
                                        "postcopy-recover-setup", NULL};
/* Memory moves, or has moved: the guest has released every primary that it was asked for. */
static const char *const moving[] = {"active",
                                     "pre-switchover",
                                     "device",
                                     "completed",
                                     "postcopy-active",
                                     "postcopy-device",
                                     "postcopy-paused",
                                     "postcopy-recover",
                                     "postcopy-recover-setup",
                                     NULL};
/* The VM stands still for the switch-over, or runs elsewhere. libvirt has QEMU stop there
 * ("pause-before-switchover"), and so these tell a pause by somebody else from that. */
static const char *const switching[] = {
    "pre-switchover",  "device",          "completed",        "postcopy-active",
    "postcopy-device", "postcopy-paused", "postcopy-recover", NULL};

static gboolean is(const VfoOp *op, const char *const *among)
{
    return vfo_libvirt_vm_status_is(vfo_libvirt_vm_of(op), among);
}

/* If we have asked for it, libvirt will say why. If QEMU has told nothing, as it has not begun, or
 * as nobody has listened, the looks at libvirt's job do. */
static gboolean was_given_up(const VfoOp *op)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);
    gboolean is_jobless = !vm->migration && vm->jobless >= JOBLESS_LOOKS;

    return vm->refusal || ((is_jobless || is(op, given_up)) && !vm->calling);
}

static void fail_given_up(VfoOp *op)
{
    const GError *refusal = vfo_libvirt_vm_of(op)->refusal;

    if (refusal) {
        vfo_op_fail_because(op, refusal);
        return;
    }
    vfo_op_fail(op, VFO_ERROR_FAILED,
                "the migration %s; what 'virsh migrate' printed says why, or QEMU's log",
                g_strcmp0(vfo_libvirt_vm_of(op)->migration, "failed") == 0 ? "failed"
                                                                           : "was cancelled");
}

/* ------------------------------------------------------------ libvirt's job */

typedef struct {
    int type; /* virDomainJobType */
    virTypedParameterPtr params;
    int n_params;
} Job;

static void job_free(gpointer data)
{
    Job *job = data;

    virTypedParamsFree(job->params, job->n_params);
    g_free(job);
}

static gpointer get_job(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                        GError **error)
{
    Job *job = g_new0(Job, 1);

    if (calls->get_job(domain, &job->type, &job->params, &job->n_params, 0) == 0)
        return job;
    vfo_libvirt_set_error(calls, error, "ask libvirt how far the migration is");
    job_free(job);
    return NULL;
}

static void on_job(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) base = data;
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    g_autoptr(GError) error = NULL;
    Job *job = g_task_propagate_pointer(G_TASK(result), &error);

    vm->looking = FALSE;
    if (error)
        g_debug("VM '%s': %s", base->name, error->message);
    if (!job || !vm->libvirt) {
        g_clear_pointer(&job, job_free);
        return;
    }
    if (job->type != VIR_DOMAIN_JOB_NONE) {
        vm->jobless = 0;
        /* Memory moves meanwhile. */
        vfo_stopwatch_begin_spare();
        vfo_libvirt_vm_take_progress(vm, job->params, job->n_params);
        vfo_stopwatch_end_spare();
    } else {
        vm->jobless++;
        vfo_op_tell_all(&vm->base, VFO_JOB_GONE, NULL);
    }
    job_free(job);
}

static gboolean on_look(gpointer data)
{
    VfoLibvirtVm *vm = data;

    if (!vm->base.ops->len) {
        vm->watch = 0;
        return G_SOURCE_REMOVE;
    }
    vfo_stopwatch_spare();
    /* QEMU answers nothing while it saves the devices' state, and the VM stands still. */
    if (vm->domain && !vm->looking && !vfo_libvirt_vm_status_is(vm, switching)) {
        vm->looking = TRUE;
        vfo_libvirt_call(vm->libvirt, vm->domain, get_job, NULL, NULL, job_free,
                         g_task_new(NULL, NULL, on_job, vfo_vm_ref(&vm->base.vm)));
    }
    return G_SOURCE_CONTINUE;
}

/* Looks at libvirt's job while an op of the VM is under way. */
static void watch(VfoLibvirtVm *vm, guint every_ms)
{
    g_clear_handle_id(&vm->watch, g_source_remove);
    vm->jobless = 0;
    vm->watch = g_timeout_add(every_ms, on_look, vm);
}

/* --------------------------------------------------------------- the source */

/* What is asked of a VM that may have gone: that it has gone is the answer then. */
static gboolean has_gone(GTask *task)
{
    if (g_cancellable_is_cancelled(g_task_get_cancellable(task)))
        return FALSE;
    vfo_task_done(task);
    return TRUE;
}

static void look_for_unplug(VfoOp *op, const char *event, json_object *data)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);
    gboolean asked = g_ptr_array_find_with_equal_func(vm->asked, op->state, g_str_equal, NULL);

    if (asked || vm->vanished || (is(op, moving) && vm->missed))
        vfo_op_done(op);
    else if (was_given_up(op))
        fail_given_up(op);
    else if (is(op, moving))
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "QEMU migrates without asking the guest for it; its log says why");
}

static void forget_migration(VfoLibvirtVm *vm)
{
    g_clear_pointer(&vm->migration, g_free);
    g_ptr_array_set_size(vm->asked, 0);
    g_clear_error(&vm->refusal);
}

void vfo_libvirt_vm_unplugging(VfoVm *base, const VfoPair *pair, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op;

    if (vm->vanished && has_gone(task))
        return;
    op = vfo_op_begin_patiently(&vm->base, task, look_for_unplug,
                                "wait until QEMU asks the guest of VM '%s' for '%s'", base->name,
                                pair->primary);
    if (!op)
        return;
    vfo_op_set_state(op, g_strdup(pair->primary), g_free);
    g_clear_error(&vm->refusal);
    /* What is over is an earlier migration, and so is one whose end was missed. */
    if (!vm->migration || is(op, over))
        forget_migration(vm);
    watch(vm, LOOK_EVERY_MS);
    look_for_unplug(op, "", NULL);
}

/* Done when QEMU has told one of @among, or must have. */
static void look_for_status(VfoOp *op, const char *const *among)
{
    gboolean vanished = vfo_libvirt_vm_of(op)->vanished;

    if (!vanished && was_given_up(op))
        fail_given_up(op);
    else if (vanished || is(op, among))
        vfo_op_done(op);
}

static void look_for_release(VfoOp *op, const char *event, json_object *data)
{
    look_for_status(op, moving);
}

void vfo_libvirt_vm_unplugged(VfoVm *base, const VfoPair *pair, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op;

    if (vm->vanished && has_gone(task))
        return;
    op = vfo_op_begin_patiently(&vm->base, task, look_for_release,
                                "wait until the guest of VM '%s' has released '%s'", base->name,
                                pair->primary);
    if (!op)
        return;
    watch(vm, LOOK_EVERY_MS);
    look_for_release(op, "", NULL);
}

static void look_for_stop(VfoOp *op, const char *event, json_object *data)
{
    look_for_status(op, switching);
}

void vfo_libvirt_vm_stopped(VfoVm *base, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op;

    if (vm->vanished && has_gone(task))
        return;
    op = vfo_op_begin_patiently(&vm->base, task, look_for_stop,
                                "wait until VM '%s' is stopped for the switch-over", base->name);
    if (!op)
        return;
    watch(vm, LOOK_EVERY_MS);
    look_for_stop(op, "", NULL);
}

/* What libvirt is asked to do, in a thread of its own. */
typedef struct {
    const VfoLibvirtCalls *calls;
    char *where; /* our libvirt */
    char *uuid;
    char *uri;             /* the libvirt there */
    guint64 max_bandwidth; /* bytes/s, 0: libvirt's */
    guint downtime_ms;     /* 0: QEMU's */
    GTask *task;
} Move;

static gboolean move(const Move *move, virDomainPtr domain, GError **error)
{
    virTypedParameterPtr params = NULL;
    int n_params = 0, max_params = 0;
    gboolean ok;

    if (move->downtime_ms && move->calls->set_downtime(domain, move->downtime_ms, 0) < 0) {
        vfo_libvirt_set_error(move->calls, error, "set the downtime limit");
        return FALSE;
    }
    /* libvirt's is in MiB/s. */
    if (move->max_bandwidth)
        virTypedParamsAddULLong(&params, &n_params, &max_params, VIR_MIGRATE_PARAM_BANDWIDTH,
                                MAX(move->max_bandwidth >> 20, 1));
    ok = move->calls->migrate(domain, move->uri, params, (guint)n_params,
                              VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER) == 0;
    if (!ok)
        vfo_libvirt_set_error(move->calls, error, "have libvirt migrate it");
    virTypedParamsFree(params, n_params);
    return ok;
}

/* Over a connection of its own: the call lasts as long as the migration, and of those that are
 * under way over one connection libvirtd works on few (max_client_requests). */
static gpointer run_move(gpointer data)
{
    Move *asked = data;
    GError *error = NULL;
    virConnectPtr connection = asked->calls->open(asked->where);
    virDomainPtr domain = connection ? virDomainLookupByUUIDString(connection, asked->uuid) : NULL;

    if (!domain)
        vfo_libvirt_set_error(asked->calls, &error, "find it in libvirt");
    else
        move(asked, domain, &error);
    if (error)
        g_task_return_error(asked->task, error);
    else
        g_task_return_boolean(asked->task, TRUE);
    g_object_unref(asked->task);
    g_clear_pointer(&domain, virDomainFree);
    if (connection)
        virConnectClose(connection);
    g_free(asked->where);
    g_free(asked->uuid);
    g_free(asked->uri);
    g_free(asked);
    return NULL;
}

static void on_moved(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoVm) base = data;
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;

    vm->calling = FALSE;
    g_task_propagate_boolean(G_TASK(result), &vm->refusal);
    vfo_op_tell_all(&vm->base, VFO_MIGRATE_ENDED, NULL);
}

void vfo_libvirt_vm_migrate(VfoVm *base, const char *uri, guint64 max_bandwidth,
                            guint downtime_limit_ms, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op = vfo_op_begin_patiently(&vm->base, task, look_for_stop, "migrate VM '%s' to %s",
                                       base->name, uri);
    Move *asked;

    if (!op)
        return;
    if (vm->calling) {
        vfo_op_fail(op, VFO_ERROR_BUSY, "libvirt has not ended the migration before");
        return;
    }
    forget_migration(vm);
    vm->calling = TRUE;
    asked = g_new0(Move, 1);
    asked->calls = vfo_libvirt_calls_of(vm->libvirt);
    asked->where = g_strdup(vfo_libvirt_uri(vm->libvirt));
    asked->uuid = g_strdup(vm->uuid);
    asked->uri = g_strdup(uri);
    asked->max_bandwidth = max_bandwidth;
    asked->downtime_ms = downtime_limit_ms;
    asked->task = g_task_new(NULL, NULL, on_moved, vfo_vm_ref(base));
    watch(vm, LOOK_EVERY_MS);
    g_thread_unref(g_thread_new("libvirt-migrate", run_move, asked));
}

/* QEMU's "completed" is not the end: libvirt at the destination may fail to run the VM, and then
 * runs it here again. */
static void look_for_end(VfoOp *op, const char *event, json_object *data)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);

    if (vm->moved)
        vfo_op_done(op);
    else if (vm->vanished)
        vfo_op_fail(op, VFO_ERROR_CLOSED,
                    "its QEMU has ended while libvirt did not answer; if it does not run at the "
                    "destination, libvirt's and QEMU's logs say why");
    else if (vm->ended)
        vfo_op_fail(op, VFO_ERROR_CLOSED,
                    "its QEMU has ended in the middle of it; libvirt's and QEMU's logs say why");
    else if (was_given_up(op))
        fail_given_up(op);
    else if (vm->running && g_strcmp0(vm->migration, "completed") == 0)
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "libvirt could not run it at the destination, and runs it here again");
}

void vfo_libvirt_vm_completed(VfoVm *base, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op;

    if (vm->moved && has_gone(task))
        return;
    op = vfo_op_begin_patiently(&vm->base, task, look_for_end,
                                "wait for the end of the migration of VM '%s'", base->name);
    if (!op)
        return;
    watch(vm, LOOK_EVERY_MS);
    look_for_end(op, "", NULL);
}

static void look_for_stopped(VfoOp *op, const char *event, json_object *data)
{
    if (vfo_libvirt_vm_of(op)->ended)
        vfo_op_done(op);
}

void vfo_libvirt_vm_ended(VfoVm *base, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;

    if (vm->ended && has_gone(task))
        return;
    vfo_op_begin_patiently(&vm->base, task, look_for_stopped,
                           "wait until libvirt has ended VM '%s'", base->name);
}

/* ----------------------------------------------------------------- giving up */

/* QEMU plugs what it has unplugged when it tells of the end of a migration that failed
 * (virtio_net_handle_migration_primary() of QEMU 10.0). */
static void look_for_replug(VfoOp *op, const char *event, json_object *data)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);

    /* Nobody has told how it ended, if the connection was lost meanwhile; it was given up. */
    if (!vm->migration || is(op, over_badly) ||
        !g_ptr_array_find_with_equal_func(vm->asked, op->state, g_str_equal, NULL))
        vfo_op_done(op);
    else if (g_strcmp0(vm->migration, "completed") == 0)
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "the migration completed, and QEMU does not plug it again; attach one when the "
                    "VM runs here");
}

void vfo_libvirt_vm_replugged(VfoVm *base, const VfoPair *pair, GTask *task)
{
    VfoOp *op = vfo_op_begin_patiently((VfoLocalVm *)base, task, look_for_replug,
                                       "wait until QEMU gives '%s' back to the guest of VM '%s'",
                                       pair->primary, base->name);

    if (!op)
        return;
    vfo_op_set_state(op, g_strdup(pair->primary), g_free);
    look_for_replug(op, "", NULL);
}

static gpointer abort_job(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                          GError **error)
{
    /* Invalid is also what libvirt calls it when there is no job. */
    if (calls->abort_job(domain) < 0 && !vfo_libvirt_error_is(calls, VIR_ERR_OPERATION_INVALID))
        vfo_libvirt_set_error(calls, error, "ask libvirt to abort it");
    return NULL;
}

static gboolean look_for_abort(VfoOp *op)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);
    gboolean is_over = is(op, over_badly) || vm->jobless;

    if (is(op, post_copy))
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "it is in post-copy: the VM runs at the destination, and its memory is needed "
                    "from here");
    else if (g_strcmp0(vm->migration, "completed") == 0 && !vm->running)
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "it has completed: the VM is at the destination; look for it there before you "
                    "resume it here");
    else if (is_over && (vm->running || !vm->ran))
        vfo_op_done(op);
    else
        return FALSE;
    return TRUE;
}

static void on_abort_asked(VfoOp *op, gpointer value, const GError *error)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        watch(vfo_libvirt_vm_of(op), LOOK_OFTEN_MS);
}

static void ask_to_abort(VfoOp *op)
{
    vfo_libvirt_vm_ask(op, abort_job, NULL, NULL, NULL, on_abort_asked);
}

static void on_cancel_event(VfoOp *op, const char *event, json_object *data)
{
    if (!look_for_abort(op) && g_str_equal(event, VFO_MET))
        ask_to_abort(op);
}

/* A libvirtd that has been restarted in the middle of a migration gives it up itself, as a rule: it
 * is waited for. */
void vfo_libvirt_vm_cancel(VfoVm *base, GTask *task)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;
    VfoOp *op = vfo_op_begin_patiently(&vm->base, task, on_cancel_event,
                                       "abandon the migration of VM '%s'", base->name);

    if (!op)
        return;
    vm->jobless = 0;
    if (!look_for_abort(op) && vm->domain)
        ask_to_abort(op);
}

/* ----------------------------------------------------------- the destination */

static void look_for_start(VfoOp *op, const char *event, json_object *data)
{
    if (vfo_libvirt_vm_of(op)->starting)
        vfo_op_done(op);
}

void vfo_libvirt_vm_started(VfoVm *base, GTask *task)
{
    VfoOp *op = vfo_op_begin_patiently((VfoLocalVm *)base, task, look_for_start,
                                       "wait until libvirt starts VM '%s' here", base->name);

    if (op)
        look_for_start(op, "", NULL);
}

static void look_for_resume(VfoOp *op, const char *event, json_object *data)
{
    const VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);

    if (vm->running) {
        vfo_op_done(op);
    } else if (is(op, over_badly)) {
        fail_given_up(op);
    } else if (!vm->incoming) {
        /* The VM is nowhere else any more, so this is no reason to undo anything. */
        g_message("VM '%s' has arrived but does not run: it was paused at the source, or "
                  "'virsh migrate --suspend' was called for; resume it with 'virsh resume'",
                  vm->base.vm.name);
        vfo_op_done(op);
    }
}

void vfo_libvirt_vm_resumed(VfoVm *base, GTask *task)
{
    VfoOp *op = vfo_op_begin_patiently((VfoLocalVm *)base, task, look_for_resume,
                                       "wait for VM '%s' to run here", base->name);

    if (op)
        look_for_resume(op, "", NULL);
}
