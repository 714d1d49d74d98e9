/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside vm/: what the VMs of every back end have in common, and the op, which
 * is one call of a VM's ops table from the GTask's arrival to its completion.
 */
#pragma once

#include "qmp/qmp.h"
#include "vm/vm.h"

typedef struct _VfoLocalVm VfoLocalVm;
typedef struct _VfoOp VfoOp;

/** VfoOpEvent: QEMU, or what manages it, told something while @op is under way. */
typedef void (*VfoOpEvent)(VfoOp *op, const char *event, json_object *data);

/** VfoVmTold: the figures of a migration have been read anew; VfoLocalVm.info has, unasked. */
typedef void (*VfoVmTold)(VfoVm *vm, gpointer data);

/** VfoVmListener: who hears of that. */
typedef struct {
    VfoVmTold moved;
    VfoVmTold inspected;
    gpointer data;
} VfoVmListener;

/** VfoVmBackend: what VMs that are reached in one way do, beside their ops. */
typedef struct {
    /** Why it does not answer (transfer full); NULL: it does. */
    GError *(*state)(VfoLocalVm *vm);
    /** It has gone: every op fails, now and later. */
    void (*close)(VfoLocalVm *vm);
    /** Frees what the back end has added, and @vm itself is no more. */
    void (*clear)(VfoLocalVm *vm);
} VfoVmBackend;

/** VfoLocalVm: a VM of this host, whatever reaches it. */
struct _VfoLocalVm {
    VfoVm vm;
    const VfoVmBackend *backend;
    char *where; /* it is reached, for errors */
    guint refs;
    gboolean closed; /* by its back end's close() */
    VfoVmListener listener;
    GError *state;  /* what vfo_vm_state() lent last */
    GPtrArray *ops; /* of VfoOp: under way */

    VfoVmInfo *info; /* of the last inspection */
    guint refresh;   /* source that will inspect again; 0: none */
    GCancellable *refreshing;
    gboolean stale; /* something happened while an inspection was under way */
};

/** vfo_local_vm_init: fills in the head of the VM called @name, with one reference. */
void vfo_local_vm_init(VfoLocalVm *vm, const VfoVmBackend *backend, const VfoVmOps *ops,
                       const char *name, const char *where, const VfoVmListener *listener);
/** vfo_local_vm_ref: vfo_vm_ref() as VfoVmOps has it. */
void vfo_local_vm_ref(VfoVm *vm);
/** vfo_local_vm_close: the VM has gone: every op fails, now and later. */
void vfo_local_vm_close(VfoLocalVm *vm);
/** vfo_local_vm_refresh: inspects after @after_ms, for vfo_vm_cached(): something changed of
 *  which nobody told what. */
void vfo_local_vm_refresh(VfoLocalVm *vm, guint after_ms);
/** vfo_local_vm_keep: @info (transfer full) is what vfo_vm_cached() lends from now on. */
void vfo_local_vm_keep(VfoLocalVm *vm, VfoVmInfo *info);
/** vfo_local_vm_copy_info: of what vfo_vm_cached() lends, which is not NULL. */
VfoVmInfo *vfo_local_vm_copy_info(const VfoLocalVm *vm);
/** vfo_local_vm_reason: the text of @error without the VM's name in front, for a sentence that
 *  has named it. Borrowed from @error. */
const char *vfo_local_vm_reason(const VfoLocalVm *vm, const GError *error);

/* Events come in bursts (a migration sends six); one inspection after a burst is enough. It is not
 * to come between the steps of a job that follow one another without a wait. */
#define VFO_REFRESH_AFTER_MS 500

/* ------------------------------------------------------------------ VfoOp */

struct _VfoOp {
    guint refs;
    VfoLocalVm *vm;
    GTask *task; /* NULL: completed */
    char *what;  /* "unplug 'vf0' of VM 'web1'", for errors */
    VfoOpEvent event;
    gboolean spare;   /* nobody waits for it (vfo_stopwatch_spare()) */
    gboolean patient; /* a VM that does not answer may do so again */
    GSource *cancelled;
    gpointer state; /* what one kind of op remembers */
    GDestroyNotify state_free;
};

/**
 * vfo_op_begin: an op that completes @task (transfer full) when the task's
 * cancellable fires or the connection is lost, if nothing completes it before.
 * @event (NULL: none) gets every event from here on. The op is borrowed and
 * lives until it is completed. NULL: the VM does not answer or the
 * task was cancelled; @task has been completed with that.
 */
VfoOp *vfo_op_begin(VfoLocalVm *vm, GTask *task, VfoOpEvent event, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/** vfo_op_begin_patiently: the same for one that waits on while the VM does not answer, now or
 *  later: it may again. */
VfoOp *vfo_op_begin_patiently(VfoLocalVm *vm, GTask *task, VfoOpEvent event, const char *format,
                              ...) G_GNUC_PRINTF(4, 5);
/** vfo_op_waits_for_vm: it does, and somebody waits for it. */
gboolean vfo_op_waits_for_vm(const VfoOp *op);
VfoOp *vfo_op_ref(VfoOp *op);
void vfo_op_unref(VfoOp *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoOp, vfo_op_unref)

void vfo_op_set_state(VfoOp *op, gpointer state, GDestroyNotify state_free);

/* Each completes the op; all but the first completion are ignored. */
void vfo_op_done(VfoOp *op);
void vfo_op_return(VfoOp *op, gpointer value, GDestroyNotify value_free);
/** vfo_op_fail: "cannot WHAT: REASON". */
void vfo_op_fail(VfoOp *op, VfoError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/** vfo_op_fail_because: the same with the text and the code of @error. */
void vfo_op_fail_because(VfoOp *op, const GError *error);

/** vfo_op_tell_all: hands an event to every op of @vm that is under way. */
void vfo_op_tell_all(VfoLocalVm *vm, const char *event, json_object *data);
/** vfo_op_fail_all: every op of @vm fails: the VM has gone. */
void vfo_op_fail_all(VfoLocalVm *vm, const GError *error);
/** vfo_op_fail_impatient: those that do not wait on: the connection is lost. */
void vfo_op_fail_impatient(VfoLocalVm *vm, const GError *error);
