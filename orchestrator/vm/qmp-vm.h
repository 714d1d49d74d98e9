/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside vm/: a VM that is reached over QMP.
 */
#pragma once

#include "vm/local-vm.h"

typedef struct _VfoQmpVm VfoQmpVm;

/** VfoOpReply: the answer to a command: @value (borrowed), or NULL and @error. Not called
 *  once the op has been completed. */
typedef void (*VfoOpReply)(VfoOp *op, json_object *value, const GError *error, gpointer data);

struct _VfoQmpVm {
    VfoLocalVm base;
    VfoQmpClient *client; /* NULL: the socket file has gone */

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
};

/** vfo_qmp_vm_new: the VM called @name behind the socket @path. Begins to connect. */
VfoLocalVm *vfo_qmp_vm_new(const char *name, const char *path, const VfoVmListener *listener);
/** vfo_qmp_vm_is: @vm is one of this back end. */
gboolean vfo_qmp_vm_is(const VfoLocalVm *vm);
/** vfo_qmp_vm_is_dead: there is no QEMU behind the socket of @vm, which is one of this back end. */
gboolean vfo_qmp_vm_is_dead(const VfoLocalVm *vm);

/** vfo_qmp_vm_take_status: the RunState in an answer to query-status, which @op's VM now has.
 *  NULL: the answer is malformed; the op has failed. */
const char *vfo_qmp_vm_take_status(VfoOp *op, json_object *answer);
/** vfo_qmp_vm_set_migration: @status is QEMU's MigrationStatus, told now. */
void vfo_qmp_vm_set_migration(VfoQmpVm *vm, const char *status);
/** vfo_qmp_vm_ask_events: turns the migration capability "events" on. */
void vfo_qmp_vm_ask_events(VfoOp *op, VfoOpReply reply);
/** vfo_qmp_vm_read_progress: takes the figures out of the answer to query-migrate. */
void vfo_qmp_vm_read_progress(VfoQmpVm *vm, json_object *answer);

/* -------------------------------------------------------------- questions */

/** vfo_qmp_vm_of: the VM of @op, which is one of this back end. */
VfoQmpVm *vfo_qmp_vm_of(const VfoOp *op);

/** vfo_op_ask: sends @command with @arguments (transfer full, NULL: none). Its only
 *  deadline is the op's own: whoever made the task set one. */
void vfo_op_ask(VfoOp *op, const char *command, json_object *arguments, VfoOpReply reply,
                gpointer data);

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
