/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/qmp-vm.h"

#include <string.h>

#define PROGRESS_EVERY_MS 1000
#define MAX_ADDRESSES     64
#define MAX_REASON        512

static gboolean is_status(const char *status, const char *const *among)
{
    return status && g_strv_contains(among, status);
}

static const char *const over_badly[] = {"cancelled", "failed", NULL};
static const char *const over[] = {"cancelled", "completed", "failed", "none", NULL};

/* The "status" of an answer to query-migrate: "none" where QEMU leaves it out. */
static const char *status_of(json_object *answer)
{
    const char *status = "none";

    if (vfo_json_has(answer, "status"))
        vfo_json_string(answer, "status", "query-migrate", &status, NULL);
    return status;
}

static void on_reason(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    const char *reason = NULL;
    g_autofree char *plain = NULL;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    if (vfo_json_has(value, "error-desc"))
        vfo_json_string(value, "error-desc", "query-migrate", &reason, NULL);
    plain = g_strndup(reason ? reason : "QEMU gives no reason; its log may", MAX_REASON);
    for (char *c = plain; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    vfo_op_fail(op, VFO_ERROR_FAILED, "the migration %s: %s",
                g_strcmp0(vfo_qmp_vm_of(op)->migration, "cancelled") == 0 ? "was cancelled"
                                                                          : "failed",
                plain);
}

/* Fails the op with QEMU's reason. */
static void fail_with_reason(VfoOp *op)
{
    /* From here on only the answer counts. */
    op->event = NULL;
    vfo_op_ask(op, "query-migrate", NULL, on_reason, NULL);
}

/* ------------------------------------------------------------------- listen */

typedef struct {
    char *address; /* "10.8.0.2", "[fd00::2]" */
    guint first, last;
    guint port;
} Listen;

static void listen_free(gpointer data)
{
    Listen *listen = data;

    g_free(listen->address);
    g_free(listen);
}

static gboolean listen_parse(Listen *listen, const char *address, const char *ports)
{
    g_auto(GStrv) range = g_strsplit(ports, "-", 2);
    guint64 first, last;
    guint n = g_strv_length(range);

    /* The address goes into QEMU's "HOST:PORT,option=..." */
    if (!*address || strlen(address) > 255 ||
        strspn(address, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:%_-") !=
            strlen(address))
        return FALSE;
    if (!n || !g_ascii_string_to_unsigned(range[0], 10, 1, G_MAXUINT16, &first, NULL))
        return FALSE;
    last = first;
    if (n == 2 && !g_ascii_string_to_unsigned(range[1], 10, first, G_MAXUINT16, &last, NULL))
        return FALSE;
    listen->address = g_strdup_printf(strchr(address, ':') ? "[%s]" : "%s", address);
    listen->first = (guint)first;
    listen->last = (guint)last;
    return TRUE;
}

/* The port QEMU chose: of the first IP socket it listens on; 0: none of the range. */
static guint port_of(json_object *answer, const Listen *listen)
{
    json_object *addresses;

    if (!vfo_json_has(answer, "socket-address") ||
        !vfo_json_array(answer, "socket-address", "query-migrate", MAX_ADDRESSES, &addresses, NULL))
        return 0;
    for (gsize i = 0; i < json_object_array_length(addresses); i++) {
        json_object *address = json_object_array_get_idx(addresses, i);
        const char *text = json_object_get_string(json_object_object_get(address, "port"));
        guint64 port;

        if (text && g_ascii_string_to_unsigned(text, 10, listen->first, listen->last, &port, NULL))
            return (guint)port;
    }
    return 0;
}

static void on_listening(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    const Listen *listen = op->state;
    guint port;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    port = port_of(value, listen);
    if (!port && listen->first == listen->last)
        port = listen->first;
    if (!port)
        vfo_op_fail(op, VFO_ERROR_BUSY,
                    "its QEMU does not say on which port of %u-%u it listens (query-migrate has no "
                    "socket-address), or listens elsewhere; start it anew with -incoming defer",
                    listen->first, listen->last);
    else
        vfo_op_return(op, g_strdup_printf("tcp:%s:%u", listen->address, port), g_free);
}

static void on_incoming(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    /* It listens since an earlier job, which was undone before a byte came: that will do. */
    if (error && !(vfo_op_is_answer(error) && strstr(error->message, "already been started"))) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_op_ask(op, "query-migrate", NULL, on_listening, NULL);
}

/* QEMU chooses the port itself ("to="): after a port that was in use QEMU 10.0 accepts no second
 * migrate-incoming ("Illegal migration incoming state: setup"). */
static void listen_start(VfoOp *op)
{
    const Listen *listen = op->state;
    json_object *arguments = json_object_new_object();
    g_autofree char *uri = NULL;

    uri = g_strdup_printf("tcp:%s:%u,to=%u", listen->address, listen->first, listen->last);
    json_object_object_add(arguments, "uri", json_object_new_string(uri));
    vfo_op_ask(op, "migrate-incoming", arguments, on_incoming, NULL);
}

static void on_listen_events(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_qmp_vm_of(op)->events = TRUE;
    listen_start(op);
}

static void on_listen_status(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    const char *status;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    status = vfo_qmp_vm_take_status(op, value);
    if (!status)
        return;
    if (!vfo_qmp_vm_of(op)->waiting)
        vfo_op_fail(op, VFO_ERROR_BUSY,
                    "it does not wait for one (its state is '%s'); start it with "
                    "-incoming defer",
                    status);
    else if (vfo_qmp_vm_of(op)->events)
        listen_start(op);
    else
        vfo_qmp_vm_ask_events(op, on_listen_events);
}

void vfo_qmp_vm_listen(VfoVm *base, const char *address, const char *ports, GTask *task)
{
    VfoOp *op = vfo_op_begin((VfoLocalVm *)base, task, NULL,
                             "make VM '%s' listen for a migration on %s, port %s", base->name,
                             address, ports);
    Listen *listen;

    if (!op)
        return;
    listen = g_new0(Listen, 1);
    vfo_op_set_state(op, listen, listen_free);
    if (!listen_parse(listen, address, ports)) {
        vfo_op_fail(op, VFO_ERROR_INVALID,
                    "it takes an IP address or host name and ports such as 49152-49215");
        return;
    }
    vfo_op_ask(op, "query-status", NULL, on_listen_status, NULL);
}

/* ------------------------------------------------------------------ resumed */

static void on_resumed_status(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    VfoQmpVm *vm = vfo_qmp_vm_of(op);
    const char *status;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    status = vfo_qmp_vm_take_status(op, value);
    if (!status)
        return;
    if (vm->running) {
        vfo_op_done(op);
    } else if (is_status(vm->migration, over_badly)) {
        fail_with_reason(op);
    } else if (!vm->waiting && g_strcmp0(vm->migration, "completed") == 0) {
        /* The VM is nowhere else any more, so this is no reason to undo anything. */
        g_message("VM '%s' has arrived but does not run (%s): it was paused at the source, or "
                  "QEMU was started here with -S; resume it with the QMP command cont",
                  vm->base.vm.name, status);
        vfo_op_done(op);
    }
}

static void on_resumed_event(VfoOp *op, const char *event, json_object *data)
{
    if (g_str_equal(event, "RESUME"))
        vfo_op_done(op);
    else if (g_str_equal(event, "MIGRATION") && is_status(vfo_qmp_vm_of(op)->migration, over_badly))
        fail_with_reason(op);
    else if (g_str_equal(event, "MIGRATION") &&
             g_strcmp0(vfo_qmp_vm_of(op)->migration, "completed") == 0)
        vfo_op_ask(op, "query-status", NULL, on_resumed_status, NULL);
}

void vfo_qmp_vm_resumed(VfoVm *base, GTask *task)
{
    VfoOp *op = vfo_op_begin((VfoLocalVm *)base, task, on_resumed_event,
                             "wait for VM '%s' to run here", base->name);

    /* RESUME may have come before the op; asked after the op has begun to watch, the state
     * cannot be missed. */
    if (op)
        vfo_op_ask(op, "query-status", NULL, on_resumed_status, NULL);
}

/* ------------------------------------------------------------------ migrate */

typedef struct {
    char *uri;
    guint64 max_bandwidth;
    guint downtime_limit_ms;
    gboolean started; /* QEMU's events are about our migration */
    guint timer;
    gboolean asked; /* the figures, and they have not come yet */
} Migrate;

static void migrate_free(gpointer data)
{
    Migrate *migrate = data;

    if (migrate->timer)
        g_source_remove(migrate->timer);
    g_free(migrate->uri);
    g_free(migrate);
}

static void on_figures(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    Migrate *migrate = op->state;

    migrate->asked = FALSE;
    if (!error) {
        /* Memory moves meanwhile. */
        vfo_stopwatch_begin_spare();
        vfo_qmp_vm_read_progress(vfo_qmp_vm_of(op), value);
        vfo_stopwatch_end_spare();
    } else if (!vfo_op_is_answer(error)) {
        vfo_op_fail_because(op, error);
    } else {
        g_debug("no progress of VM '%s': %s", op->vm->vm.name, error->message);
    }
}

static gboolean on_progress_timer(gpointer data)
{
    VfoOp *op = data;
    Migrate *migrate = op->state;

    if (!op->task) {
        migrate->timer = 0;
        return G_SOURCE_REMOVE;
    }
    if (!migrate->asked) {
        migrate->asked = TRUE;
        vfo_stopwatch_begin_spare();
        vfo_op_ask(op, "query-migrate", NULL, on_figures, NULL);
        vfo_stopwatch_end_spare();
    }
    return G_SOURCE_CONTINUE;
}

/* STOP also tells of an operator's pause in the middle of the migration. QEMU cannot be asked
 * which it was: it answers nothing while it saves the devices' state, which is what STOP announces.
 */
static void on_migrate_event(VfoOp *op, const char *event, json_object *data)
{
    const Migrate *migrate = op->state;

    gboolean told = g_str_equal(event, "MIGRATION");

    if (!migrate->started)
        return;
    if (told && is_status(vfo_qmp_vm_of(op)->migration, over_badly))
        fail_with_reason(op);
    else if (g_str_equal(event, "STOP") ||
             /* A VM that was paused before is not stopped again. */
             (told && g_strcmp0(vfo_qmp_vm_of(op)->migration, "completed") == 0))
        vfo_op_done(op);
}

static void on_migrate_started(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    Migrate *migrate = op->state;

    if (error)
        vfo_op_fail_because(op, error);
    else
        migrate->timer = g_timeout_add(PROGRESS_EVERY_MS, on_progress_timer, op);
}

static void migrate_start(VfoOp *op)
{
    Migrate *migrate = op->state;
    VfoQmpVm *vm = vfo_qmp_vm_of(op);
    json_object *arguments = json_object_new_object();

    vm->ran = vm->running;
    memset(&vm->progress, 0, sizeof(vm->progress));
    g_clear_pointer(&vm->migration, g_free);
    migrate->started = TRUE;
    json_object_object_add(arguments, "uri", json_object_new_string(migrate->uri));
    vfo_op_ask(op, "migrate", arguments, on_migrate_started, NULL);
}

static void on_parameters(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        migrate_start(op);
}

static void migrate_set_parameters(VfoOp *op)
{
    const Migrate *migrate = op->state;
    json_object *arguments;

    if (!migrate->max_bandwidth && !migrate->downtime_limit_ms) {
        migrate_start(op);
        return;
    }
    arguments = json_object_new_object();
    if (migrate->max_bandwidth)
        json_object_object_add(
            arguments, "max-bandwidth",
            json_object_new_int64((gint64)MIN(migrate->max_bandwidth, (guint64)G_MAXINT64)));
    if (migrate->downtime_limit_ms)
        json_object_object_add(arguments, "downtime-limit",
                               json_object_new_int64(migrate->downtime_limit_ms));
    vfo_op_ask(op, "migrate-set-parameters", arguments, on_parameters, NULL);
}

static void on_migrate_events(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_qmp_vm_of(op)->events = TRUE;
    migrate_set_parameters(op);
}

void vfo_qmp_vm_migrate(VfoVm *base, const char *uri, guint64 max_bandwidth,
                        guint downtime_limit_ms, GTask *task)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;
    VfoOp *op =
        vfo_op_begin(&vm->base, task, on_migrate_event, "migrate VM '%s' to %s", base->name, uri);
    Migrate *migrate;

    if (!op)
        return;
    migrate = g_new0(Migrate, 1);
    migrate->uri = g_strdup(uri);
    migrate->max_bandwidth = max_bandwidth;
    migrate->downtime_limit_ms = downtime_limit_ms;
    vfo_op_set_state(op, migrate, migrate_free);
    if (vm->events)
        migrate_set_parameters(op);
    else
        vfo_qmp_vm_ask_events(op, on_migrate_events);
}

/* ---------------------------------------------------------------- completed */

static void on_final_figures(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    vfo_qmp_vm_read_progress(vfo_qmp_vm_of(op), value);
    vfo_op_done(op);
}

/* Goes by the last status that QEMU told; nothing yet to go by is fine. */
static void completed_look(VfoOp *op)
{
    if (g_strcmp0(vfo_qmp_vm_of(op)->migration, "completed") == 0) {
        op->event = NULL;
        vfo_op_ask(op, "query-migrate", NULL, on_final_figures, NULL);
    } else if (is_status(vfo_qmp_vm_of(op)->migration, over_badly)) {
        fail_with_reason(op);
    }
}

static void on_completed_event(VfoOp *op, const char *event, json_object *data)
{
    if (g_str_equal(event, "MIGRATION"))
        completed_look(op);
}

void vfo_qmp_vm_completed(VfoVm *base, GTask *task)
{
    VfoQmpVm *vm = (VfoQmpVm *)base;
    VfoOp *op = vfo_op_begin(&vm->base, task, on_completed_event,
                             "wait for the end of the migration of VM '%s'", base->name);

    if (!op)
        return;
    if (!vm->migration)
        vfo_op_fail(op, VFO_ERROR_FAILED, "none has begun");
    else
        completed_look(op);
}

/* ------------------------------------------------------------------- cancel */

static void cancel_look(VfoOp *op);

static void on_continued(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        vfo_op_done(op);
}

/* The migration is over. What the VM does now says how: it is in postmigrate only after a
 * migration that completed, wherever that one came from. */
static void on_cancel_status(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    VfoQmpVm *vm = vfo_qmp_vm_of(op);
    const char *status;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    status = vfo_qmp_vm_take_status(op, value);
    if (!status)
        return;
    if (g_str_equal(status, "postmigrate") ||
        (g_str_equal(status, "finish-migrate") && g_strcmp0(vm->migration, "completed") == 0))
        vfo_op_fail(op, VFO_ERROR_FAILED,
                    "it has completed: the VM is at the destination; look for it there before "
                    "you resume it here");
    else if (g_str_equal(status, "finish-migrate"))
        return; /* QEMU is about to resume it, and refuses cont until then: RESUME follows */
    else if (g_str_equal(status, "paused") && vm->ran)
        vfo_op_ask(op, "cont", NULL, on_continued, NULL);
    else
        vfo_op_done(op);
}

static void on_cancel_event(VfoOp *op, const char *event, json_object *data)
{
    if (g_str_equal(event, "MIGRATION") && is_status(vfo_qmp_vm_of(op)->migration, over))
        vfo_op_ask(op, "query-status", NULL, on_cancel_status, NULL);
    else if (g_str_equal(event, "RESUME") && is_status(vfo_qmp_vm_of(op)->migration, over))
        vfo_op_done(op);
}

static void on_cancel_asked(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    if (error)
        vfo_op_fail_because(op, error);
    else
        cancel_look(op); /* it may have been over before; else the event tells */
}

static void on_cancel_migration(VfoOp *op, json_object *value, const GError *error, gpointer data)
{
    gboolean asked = GPOINTER_TO_INT(data);
    const char *status;

    if (error) {
        vfo_op_fail_because(op, error);
        return;
    }
    status = status_of(value);
    if (g_str_equal(status, "none") || vfo_qmp_vm_of(op)->waiting) {
        vfo_op_done(op);
    } else if (g_strv_contains(over, status)) {
        vfo_qmp_vm_set_migration(vfo_qmp_vm_of(op), status);
        vfo_op_ask(op, "query-status", NULL, on_cancel_status, NULL);
    } else if (!asked) {
        vfo_op_ask(op, "migrate_cancel", NULL, on_cancel_asked, NULL);
    }
}

static void cancel_look(VfoOp *op)
{
    vfo_op_ask(op, "query-migrate", NULL, on_cancel_migration, GINT_TO_POINTER(TRUE));
}

void vfo_qmp_vm_cancel(VfoVm *base, GTask *task)
{
    VfoOp *op = vfo_op_begin((VfoLocalVm *)base, task, on_cancel_event,
                             "abandon the migration of VM '%s'", base->name);

    if (op)
        vfo_op_ask(op, "query-migrate", NULL, on_cancel_migration, GINT_TO_POINTER(FALSE));
}
