/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside vm/: a VM that is reached over QMP, and the op, which is one call of
 * its ops table from the GTask's arrival to its completion.
 */
#pragma once

#include "qmp/qmp.h"
#include "vm/vm.h"

typedef struct _VfoQmpVm VfoQmpVm;
typedef struct _VfoOp VfoOp;

/** VfoOpEvent: QEMU told something while @op is under way. */
typedef void (*VfoOpEvent)(VfoOp *op, const char *event, json_object *data);
/** VfoOpReply: the answer to a command: @value (borrowed), or NULL and @error. Not called
 *  once the op has been completed. */
typedef void (*VfoOpReply)(VfoOp *op, json_object *value, const GError *error, gpointer data);

/** VfoQmpVmTold: vm->progress has been read anew; vm->info has, unasked. */
typedef void (*VfoQmpVmTold)(VfoVm *vm, gpointer data);

struct _VfoQmpVm {
    VfoVm base;
    guint refs;
    VfoQmpClient *client; /* NULL: the socket file has gone */
    GError *state;        /* what vfo_vm_state() lent last */
    VfoQmpVmTold moved;
    VfoQmpVmTold inspected;
    gpointer told_data;
    GPtrArray *ops; /* of VfoOp: under way */

    /* What QEMU told of itself; events keep it true. */
    gboolean events;  /* the capability "events" is on: MIGRATION is told */
    gboolean running; /* its CPUs run */
    gboolean waiting; /* RunState inmigrate */
    gboolean began;   /* an incoming migration has begun */
    gboolean ran;     /* it ran when the last outgoing migration was asked for */
    char *migration;  /* MigrationStatus of the last migration; NULL: none */
    VfoProgress progress;

    /* The last inspection. */
    char *machine;
    GHashTable *devices;   /* id -> VfoDevice (inspect.c): what cannot change while it is there */
    GPtrArray *free_buses; /* NULL: ask again */
    guint epoch;           /* grows when a device may have gone or changed */
    VfoVmInfo *info;
    guint refresh; /* source that will inspect again; 0: none */
    GCancellable *refreshing;
    gboolean stale; /* something happened while an inspection was under way */
};

/** vfo_qmp_vm_new: the VM called @name behind the socket @path. Begins to connect. */
VfoQmpVm *vfo_qmp_vm_new(const char *name, const char *path, VfoQmpVmTold moved,
                         VfoQmpVmTold inspected, gpointer data);
/** vfo_qmp_vm_close: the socket file has gone: every op fails, now and later. */
void vfo_qmp_vm_close(VfoQmpVm *vm);

/** vfo_qmp_vm_reason: the text of @error without the VM's name in front, for a sentence that
 *  has named it. Borrowed from @error. */
const char *vfo_qmp_vm_reason(const VfoQmpVm *vm, const GError *error);
/** vfo_qmp_vm_take_status: the RunState in an answer to query-status, which @op's VM now has.
 *  NULL: the answer is malformed; the op has failed. */
const char *vfo_qmp_vm_take_status(VfoOp *op, json_object *answer);
/** vfo_qmp_vm_set_migration: @status is QEMU's MigrationStatus, told now. */
void vfo_qmp_vm_set_migration(VfoQmpVm *vm, const char *status);
/** vfo_qmp_vm_ask_events: turns the migration capability "events" on. */
void vfo_qmp_vm_ask_events(VfoOp *op, VfoOpReply reply);
/** vfo_qmp_vm_read_progress: takes the figures out of the answer to query-migrate. */
void vfo_qmp_vm_read_progress(VfoQmpVm *vm, json_object *answer);

/* ------------------------------------------------------------------ VfoOp */

struct _VfoOp {
    guint refs;
    VfoQmpVm *vm;
    GTask *task; /* NULL: completed */
    char *what;  /* "unplug 'vf0' of VM 'web1'", for errors */
    VfoOpEvent event;
    gboolean spare; /* nobody waits for it (vfo_stopwatch_spare()) */
    GSource *cancelled;
    gpointer state; /* what one kind of op remembers */
    GDestroyNotify state_free;
};

/**
 * vfo_op_begin: an op that completes @task (transfer full) when the task's
 * cancellable fires or the connection is lost, if nothing completes it before.
 * @event (NULL: none) gets every event from here on. The op is borrowed and
 * lives until it is completed. NULL: QEMU is not connected or the
 * task was cancelled; @task has been completed with that.
 */
VfoOp *vfo_op_begin(VfoQmpVm *vm, GTask *task, VfoOpEvent event, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
VfoOp *vfo_op_ref(VfoOp *op);
void vfo_op_unref(VfoOp *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoOp, vfo_op_unref)

void vfo_op_set_state(VfoOp *op, gpointer state, GDestroyNotify state_free);

/** vfo_op_ask: sends @command with @arguments (transfer full, NULL: none). Its only
 *  deadline is the op's own: whoever made the task set one. */
void vfo_op_ask(VfoOp *op, const char *command, json_object *arguments, VfoOpReply reply,
                gpointer data);

/* Each completes the op; all but the first completion are ignored. */
void vfo_op_done(VfoOp *op);
void vfo_op_return(VfoOp *op, gpointer value, GDestroyNotify value_free);
/** vfo_op_fail: "cannot WHAT: REASON". */
void vfo_op_fail(VfoOp *op, VfoError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/** vfo_op_fail_because: the same with the text and the code of @error. */
void vfo_op_fail_because(VfoOp *op, const GError *error);

/** vfo_op_tell_all: hands an event to every op of @vm that is under way. */
void vfo_op_tell_all(VfoQmpVm *vm, const char *event, json_object *data);
/** vfo_op_fail_all: every op of @vm fails: the connection is lost. */
void vfo_op_fail_all(VfoQmpVm *vm, const GError *error);

/** vfo_op_is_answer: @error is QEMU's own answer, not a lost connection or a broken bound. */
gboolean vfo_op_is_answer(const GError *error);

/* -------------------------------------------------------------------- ops */

void vfo_qmp_vm_inspect(VfoVm *vm, GTask *task);                     /* inspect.c */
void vfo_qmp_vm_unplug(VfoVm *vm, const VfoPair *pair, GTask *task); /* primary.c */
void vfo_qmp_vm_prepare(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task);
void vfo_qmp_vm_plug(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task);
void vfo_qmp_vm_announce(VfoVm *vm, const VfoPair *pair, GTask *task);
void vfo_qmp_vm_listen(VfoVm *vm, const char *address, const char *ports, GTask *task);
void vfo_qmp_vm_resumed(VfoVm *vm, GTask *task); /* migration.c */
void vfo_qmp_vm_migrate(VfoVm *vm, const char *uri, guint64 max_bandwidth, guint downtime_limit_ms,
                        GTask *task);
void vfo_qmp_vm_completed(VfoVm *vm, GTask *task);
void vfo_qmp_vm_cancel(VfoVm *vm, GTask *task);

/** vfo_qmp_vm_refresh: inspects soon, for vfo_vm_cached(): something changed of which QEMU
 *  sends no event. */
void vfo_qmp_vm_refresh(VfoQmpVm *vm);

/** vfo_qmp_vm_forget: the device @id (NULL: every device) may have gone or changed. */
void vfo_qmp_vm_forget(VfoQmpVm *vm, const char *id);
/** vfo_qmp_vm_new_devices: the empty table of a VM that has not been inspected. */
GHashTable *vfo_qmp_vm_new_devices(void);

/* -------------------------------------------------------------------- tap */

/**
 * vfo_tap_find: the host interface of QEMU's network backend @netdev, NULL when
 * it is neither a tap nor a macvtap that the process @pid holds. @text is what HMP's "info
 * network" prints; there is no QMP command for it in QEMU 10.0. Its lines are
 * made by net/net.c (print_net_client) and net/tap.c (net_init_tap_one).
 * What QEMU claims is believed only when the descriptors of the process bear it out
 * (/proc/PID/fdinfo, or the device that they are of): the name decides whose frames go where.
 */
char *vfo_tap_find(const char *text, const char *netdev, pid_t pid);

/* ------------------------------------------------------------------- NUMA */

/** vfo_numa_of_process: the only NUMA node whose memory @pid may use; -1: there are several, or it
 *  is not known. */
int vfo_numa_of_process(pid_t pid);

/** vfo_numa_parse: the only node of a list as in /proc/PID/status, likewise. */
int vfo_numa_parse(const char *list);
