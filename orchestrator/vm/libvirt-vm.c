/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM that libvirt manages: what is known of it, which libvirt's events keep true. */
#include "vm/libvirt.h"

#include <string.h>

/* What core/ calls the place that a VF may be plugged into: libvirt finds one itself. */
#define ANY_BUS   "libvirt"
#define MAX_ASKED 8

static gboolean libvirt_vm_incoming_began(VfoVm *vm)
{
    return ((VfoLibvirtVm *)vm)->began;
}

static void libvirt_vm_progress(VfoVm *vm, VfoProgress *progress)
{
    *progress = ((VfoLibvirtVm *)vm)->progress;
}

static void refuse(VfoVm *vm, GTask *task, const char *what, const char *why)
{
    vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_NOT_SUPPORTED, "cannot %s VM '%s': %s",
                                    what, vm->name, why));
}

static void libvirt_vm_prepare(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task)
{
    refuse(vm, task, "open the VF before it is plugged into",
           "libvirt manages it and knows no such thing");
}

/* QEMU could, by a command past libvirt, after which libvirt calls the domain tainted. */
static void libvirt_vm_announce(VfoVm *vm, const VfoPair *pair, GTask *task)
{
    refuse(vm, task, "announce the standby of",
           "libvirt manages it and has no call for that; the host announces the guest");
}

static void libvirt_vm_listen(VfoVm *vm, const char *address, const char *ports, GTask *task)
{
    refuse(vm, task, "await the memory of",
           "libvirt manages it: migrate it with 'virsh migrate --live'");
}

static const VfoVmOps libvirt_vm_ops = {
    .inspect = vfo_libvirt_vm_inspect,
    .unplug = vfo_libvirt_vm_unplug,
    .prepare = libvirt_vm_prepare,
    .plug = vfo_libvirt_vm_plug,
    .announce = libvirt_vm_announce,
    .listen = libvirt_vm_listen,
    .resumed = vfo_libvirt_vm_resumed,
    .migrate = vfo_libvirt_vm_migrate,
    .completed = vfo_libvirt_vm_completed,
    .cancel = vfo_libvirt_vm_cancel,
    .incoming_began = libvirt_vm_incoming_began,
    .progress = libvirt_vm_progress,
    .ref = vfo_local_vm_ref,
    .unref = vfo_vm_unref,
    .unplugging = vfo_libvirt_vm_unplugging,
    .unplugged = vfo_libvirt_vm_unplugged,
    .stopped = vfo_libvirt_vm_stopped,
    .replugged = vfo_libvirt_vm_replugged,
    .ended = vfo_libvirt_vm_ended,
    .started = vfo_libvirt_vm_started,
    .unseen = vfo_libvirt_vm_unseen,
};

VfoLibvirtVm *vfo_libvirt_vm_of(const VfoOp *op)
{
    return (VfoLibvirtVm *)op->vm;
}

gboolean vfo_libvirt_vm_status_is(const VfoLibvirtVm *vm, const char *const *among)
{
    return vm->migration && g_strv_contains(among, vm->migration);
}

/* ------------------------------------------------------------ what it is like */

static VfoPair *pair_of(const VfoDomainPair *from)
{
    VfoPair *pair = g_new0(VfoPair, 1);

    pair->standby = g_strdup(from->standby);
    pair->mac = from->mac;
    pair->tap = g_strdup(from->tap);
    /* libvirt sees to it that both ends of a migration have the same. */
    pair->features = g_strdup("");
    if (from->has_vf) {
        pair->primary = g_strdup(from->primary ? from->primary : "vf");
        pair->vf = g_strdup(from->vf);
    }
    pair->bus = g_strdup(ANY_BUS);
    return pair;
}

/* An interface or a VF that belongs to no pair of libvirt's. */
static VfoPair *half_of(const VfoDomainPair *from)
{
    VfoPair *half = pair_of(from);

    half->bonded = TRUE;
    return half;
}

static VfoVmInfo *info_of(const VfoDomain *config, const char *status)
{
    VfoVmInfo *info = g_new0(VfoVmInfo, 1);

    info->name = g_strdup(config->name);
    info->machine = g_strdup(config->machine ? config->machine : "");
    info->uuid = g_strdup(config->uuid);
    info->status = g_strdup(status);
    info->numa_node = config->numa_node;
    info->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    info->halves = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_pair_free);
    info->free_buses = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(info->free_buses, g_strdup(ANY_BUS));
    for (guint i = 0; i < config->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(config->pairs, i);

        if (pair->standby)
            g_ptr_array_add(info->pairs, pair_of(pair));
        else
            g_ptr_array_add(info->halves, half_of(pair));
    }
    for (guint i = 0; i < config->plain->len; i++)
        g_ptr_array_add(info->halves, half_of(g_ptr_array_index(config->plain, i)));
    return info;
}

/* libvirt's state by QEMU's name. */
static const char *status_of(const VfoLibvirtVm *vm, int state)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return "running";
    case VIR_DOMAIN_PAUSED:
        return vm->incoming ? "inmigrate" : "paused";
    case VIR_DOMAIN_CRASHED:
        return "guest-panicked";
    case VIR_DOMAIN_PMSUSPENDED:
        return "suspended";
    default:
        return "shutdown";
    }
}

static void keep_config(VfoLibvirtVm *vm, const VfoDomain *config)
{
    VfoDomain *copy = vfo_domain_copy(config);

    vfo_domain_free(vm->config);
    vm->config = copy;
    for (guint i = 0; i < copy->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(copy->pairs, i);

        if (pair->standby && pair->primary)
            g_hash_table_replace(vm->aliases, g_strdup(pair->standby), g_strdup(pair->primary));
    }
}

/* From QEMU's asking for the VFs on, until the VM is stopped. */
static gboolean is_leaving(const VfoLibvirtVm *vm)
{
    static const char *const statuses[] = {"wait-unplug", "active", NULL};

    return !vm->incoming && vfo_libvirt_vm_status_is(vm, statuses);
}

void vfo_libvirt_vm_take(VfoLibvirtVm *vm, const VfoLibvirtSeen *seen)
{
    VfoVmInfo *info;

    if (seen->config != vm->config)
        keep_config(vm, seen->config);
    if (seen->state == VIR_DOMAIN_RUNNING)
        vm->incoming = FALSE;
    vm->running = seen->state == VIR_DOMAIN_RUNNING || seen->state == VIR_DOMAIN_BLOCKED;
    info = info_of(vm->config, status_of(vm, seen->state));
    info->leaving = is_leaving(vm);
    vfo_local_vm_keep(&vm->base, info);
    if (vm->brings && !vm->incoming && vm->domain) {
        vm->brings = FALSE;
        vfo_libvirt_vm_update_definition(vm);
    }
}

/* ---------------------------------------------------------------- migrations */

static guint64 figure(virTypedParameterPtr params, int n_params, const char *name)
{
    unsigned long long value = 0;

    /* What is not known yet is left out. */
    return virTypedParamsGetULLong(params, n_params, name, &value) == 1 ? value : 0;
}

void vfo_libvirt_vm_take_progress(VfoLibvirtVm *vm, virTypedParameterPtr params, int n_params)
{
    /* Another job than a migration, or one that QEMU has not begun. */
    if (!figure(params, n_params, VIR_DOMAIN_JOB_MEMORY_TOTAL))
        return;
    vm->progress = (VfoProgress){
        .transferred = figure(params, n_params, VIR_DOMAIN_JOB_MEMORY_PROCESSED),
        .remaining = figure(params, n_params, VIR_DOMAIN_JOB_MEMORY_REMAINING),
        .total = figure(params, n_params, VIR_DOMAIN_JOB_MEMORY_TOTAL),
        /* libvirt's is in bytes/s. */
        .mbps = (double)figure(params, n_params, VIR_DOMAIN_JOB_MEMORY_BPS) * 8 / 1e6,
        .total_ms = figure(params, n_params, VIR_DOMAIN_JOB_TIME_ELAPSED),
        .downtime_ms = figure(params, n_params, VIR_DOMAIN_JOB_DOWNTIME),
    };
    vm->base.listener.moved(&vm->base.vm, vm->base.listener.data);
}

void vfo_libvirt_vm_on_job(VfoLibvirtVm *vm, virTypedParameterPtr params, int n_params)
{
    vfo_libvirt_vm_take_progress(vm, params, n_params);
}

static void set_migration(VfoLibvirtVm *vm, const char *status)
{
    static const char *const not_begun[] = {"none", "setup", "failed", "cancelled", NULL};

    g_free(vm->migration);
    vm->migration = g_strndup(status, 32);
    if (g_str_equal(status, "setup")) {
        vm->ran = vm->running;
        vm->missed = FALSE;
        memset(&vm->progress, 0, sizeof(vm->progress));
        g_ptr_array_set_size(vm->asked, 0);
    }
    if (vm->incoming && !g_strv_contains(not_begun, status))
        vm->began = TRUE;
}

void vfo_libvirt_vm_set_domain(VfoLibvirtVm *vm, virDomainPtr domain)
{
    g_clear_pointer(&vm->domain, virDomainFree);
    vm->domain = domain;
    if (domain)
        virDomainRef(domain);
}

/* An expected VM that runs has been started; libvirt 11.3 tells of that about when it runs. */
static void set_running(VfoLibvirtVm *vm, virDomainPtr domain)
{
    if (vm->expected)
        vfo_libvirt_vm_set_domain(vm, domain);
    vm->expected = vm->incoming = FALSE;
    vm->running = TRUE;
}

/* One that is expected, and whose memory arrives, has been started: it may be asked about. */
static void take_arriving(VfoLibvirtVm *vm, virDomainPtr domain)
{
    if (!vm->expected || !vm->began)
        return;
    vfo_libvirt_vm_set_domain(vm, domain);
    vm->expected = FALSE;
    vm->starting = TRUE;
}

/* What may change something of what an inspection sees. @followed: a job sees to the VM. */
static gboolean tells_more(const VfoLibvirtVm *vm, const char *event, gboolean followed)
{
    static const char *const telling[] = {"FAILOVER_NEGOTIATED", "RESET", NULL};
    static const char *const over[] = {"cancelled", "completed", "failed", NULL};

    return g_strv_contains(telling, event) ||
           (g_str_equal(event, "MIGRATION") && (!followed || vfo_libvirt_vm_status_is(vm, over)));
}

/* NULL: there are none, or none that make sense. */
static json_object *parse(const char *event, const char *details)
{
    g_autoptr(GError) error = NULL;
    json_object *data = details ? vfo_json_parse(details, strlen(details), &error) : NULL;

    if (error)
        g_debug("QEMU's event %s: %s", event, error->message);
    return data;
}

void vfo_libvirt_vm_on_qemu(VfoLibvirtVm *vm, virDomainPtr domain, const char *event,
                            const char *details)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);
    g_autoptr(json_object) data = parse(event, details);
    gboolean followed = vm->base.ops->len > 0;
    const char *text = NULL;

    if (g_str_equal(event, "STOP")) {
        vm->running = FALSE;
    } else if (g_str_equal(event, "RESUME")) {
        set_running(vm, domain);
    } else if (g_str_equal(event, "MIGRATION") && data &&
               vfo_json_string(data, "status", event, &text, NULL)) {
        set_migration(vm, text);
        take_arriving(vm, domain);
    } else if (g_str_equal(event, "UNPLUG_PRIMARY") && data && vm->asked->len < MAX_ASKED &&
               vfo_json_string(data, "device-id", event, &text, NULL)) {
        g_ptr_array_add(vm->asked, g_strdup(text));
    }
    vfo_op_tell_all(&vm->base, event, data);
    if (tells_more(vm, event, followed))
        vfo_local_vm_refresh(&vm->base, VFO_REFRESH_AFTER_MS);
}

/* ------------------------------------------------------------ devices, states */

void vfo_libvirt_vm_on_device(VfoLibvirtVm *vm, const char *event, const char *alias)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);
    g_autoptr(json_object) data = json_object_new_object();

    json_object_object_add(data, "device", json_object_new_string(alias));
    vfo_op_tell_all(&vm->base, event, data);
    vfo_local_vm_refresh(&vm->base, VFO_REFRESH_AFTER_MS);
}

static void on_started(VfoLibvirtVm *vm, virDomainPtr domain, int detail)
{
    vm->expected = FALSE;
    vm->starting = TRUE;
    vm->incoming = detail == VIR_DOMAIN_EVENT_STARTED_MIGRATED && !vm->running;
    vfo_libvirt_vm_set_domain(vm, domain);
}

void vfo_libvirt_vm_on_lifecycle(VfoLibvirtVm *vm, virDomainPtr domain, int event, int detail)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);

    if (event == VIR_DOMAIN_EVENT_STARTED) {
        on_started(vm, domain, detail);
    } else if (event == VIR_DOMAIN_EVENT_RESUMED) {
        set_running(vm, domain);
    } else if (event == VIR_DOMAIN_EVENT_SUSPENDED) {
        vm->running = FALSE;
        /* As it was at the source: it has arrived, and whoever paused it resumes it. */
        if (detail == VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
            vm->incoming = FALSE;
    } else if (event == VIR_DOMAIN_EVENT_DEFINED) {
        /* libvirt does that before it lets the VM run (qemuMigrationDstPersist() of 9.0 and 11.3),
         * when it may still fail to come. */
        vm->brings = vm->brings || (vm->incoming && vfo_libvirt_updates(vm->libvirt));
    } else if (event == VIR_DOMAIN_EVENT_STOPPED) {
        vm->running = FALSE;
        vm->ended = TRUE;
        vm->moved = detail == VIR_DOMAIN_EVENT_STOPPED_MIGRATED;
    }
    vfo_op_tell_all(&vm->base, VFO_LIFECYCLE, NULL);
    if (vm->ended && vm->libvirt)
        vfo_libvirt_remove(vm->libvirt, vm);
    else
        vfo_local_vm_refresh(&vm->base, VFO_REFRESH_AFTER_MS);
}

void vfo_libvirt_vm_on_start(VfoLibvirtVm *vm, const VfoDomain *config)
{
    g_autoptr(VfoVm) keep = vfo_vm_ref(&vm->base.vm);

    keep_config(vm, config);
    vfo_local_vm_keep(&vm->base, info_of(config, "inmigrate"));
    vm->starting = TRUE;
    vfo_op_tell_all(&vm->base, VFO_LIFECYCLE, NULL);
}

/* -------------------------------------------------------------------- asking */

typedef struct {
    VfoOp *op;
    virDomainPtr domain;
    VfoLibvirtReply reply;
    GDestroyNotify value_free;
} Question;

/* The answer is that there is no connection any more, which on_link_closed() tells, or has told. */
static gboolean is_cut_off(const Question *question, const GError *error)
{
    return error && vfo_op_waits_for_vm(question->op) &&
           virConnectIsAlive(virDomainGetConnect(question->domain)) == 0;
}

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autofree Question *question = data;
    g_autoptr(VfoOp) op = question->op;
    g_autoptr(GError) error = NULL;
    gpointer value = g_task_propagate_pointer(G_TASK(result), &error);

    if (op->spare)
        vfo_stopwatch_begin_spare();
    if (op->task && !is_cut_off(question, error))
        question->reply(op, value, error);
    virDomainFree(question->domain);
    if (value && question->value_free)
        question->value_free(value);
    if (op->spare)
        vfo_stopwatch_end_spare();
}

gboolean vfo_libvirt_vm_ask(VfoOp *op, VfoLibvirtFunc func, gpointer data, GDestroyNotify data_free,
                            GDestroyNotify value_free, VfoLibvirtReply reply)
{
    VfoLibvirtVm *vm = vfo_libvirt_vm_of(op);
    Question *question;

    if (!vm->libvirt || !vm->domain) {
        if (data_free)
            data_free(data);
        vfo_op_fail(op, VFO_ERROR_CLOSED, "libvirt has not started it");
        return FALSE;
    }
    question = g_new0(Question, 1);
    question->op = vfo_op_ref(op);
    question->domain = vm->domain;
    virDomainRef(vm->domain);
    question->reply = reply;
    question->value_free = value_free;
    /* Not under the task's cancellable: the op watches that one itself, and a call that hangs does
     * not keep it. */
    vfo_libvirt_call(vm->libvirt, vm->domain, func, data, data_free, value_free,
                     g_task_new(NULL, NULL, on_answer, question));
    return TRUE;
}

/* ------------------------------------------------------------------ its life */

static GError *libvirt_vm_state(VfoLocalVm *base)
{
    const VfoLibvirtVm *vm = (const VfoLibvirtVm *)base;
    g_autoptr(GError) lost = NULL;

    if (!vm->libvirt)
        return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "VM '%s' has gone: %s", base->vm.name,
                           vm->moved ? "it is on another host now" : "libvirt says that it ended");
    if (vm->expected || vm->domain)
        return NULL;
    lost = vfo_libvirt_state(vm->libvirt);
    return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "VM '%s': libvirt does not answer: %s",
                       base->vm.name, lost ? lost->message : "it has not told of the VM yet");
}

static void libvirt_vm_close(VfoLocalVm *base)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;

    g_clear_handle_id(&vm->watch, g_source_remove);
    vfo_libvirt_vm_set_domain(vm, NULL);
    vfo_libvirt_forget(vm->libvirt, vm);
    vm->libvirt = NULL;
}

static void libvirt_vm_clear(VfoLocalVm *base)
{
    VfoLibvirtVm *vm = (VfoLibvirtVm *)base;

    vfo_domain_free(vm->config);
    g_hash_table_unref(vm->aliases);
    g_ptr_array_unref(vm->asked);
    g_clear_error(&vm->refusal);
    g_free(vm->migration);
    g_free(vm->uuid);
}

static const VfoVmBackend libvirt_backend = {
    .state = libvirt_vm_state,
    .close = libvirt_vm_close,
    .clear = libvirt_vm_clear,
};

VfoLibvirtVm *vfo_libvirt_vm_new(VfoLibvirt *libvirt, const VfoDomain *config, virDomainPtr domain,
                                 const VfoVmListener *listener)
{
    VfoLibvirtVm *vm = g_new0(VfoLibvirtVm, 1);

    vfo_local_vm_init(&vm->base, &libvirt_backend, &libvirt_vm_ops, config->name,
                      vfo_libvirt_uri(libvirt), listener);
    vm->libvirt = libvirt;
    vm->uuid = g_ascii_strdown(config->uuid, -1);
    vm->aliases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    vm->asked = g_ptr_array_new_with_free_func(g_free);
    vm->expected = vm->incoming = domain == NULL;
    vfo_libvirt_vm_set_domain(vm, domain);
    keep_config(vm, config);
    vfo_local_vm_keep(&vm->base, info_of(config, "inmigrate"));
    return vm;
}

gboolean vfo_libvirt_vm_is(const VfoLocalVm *vm)
{
    return vm->backend == &libvirt_backend;
}
