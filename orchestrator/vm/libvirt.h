/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside vm/: the VMs that libvirt manages (libvirt-vm.c, libvirt-follow.c, libvirt-device.c,
 * libvirt-definition.c), the connection through which it tells of them (libvirt.c), what is called
 * of it (libvirt-calls.c), and what was missed while there was none (libvirt-missed.c).
 */
#pragma once

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "domain/domain.h"
#include "vm/local-vm.h"

/** VfoLibvirtCalls: the functions of libvirt that its test driver does not have, or does not do as
 *  QEMU's does; a test puts others in their place. */
typedef struct {
    virConnectPtr (*open)(const char *uri);
    int (*on_close)(virConnectPtr connection, virConnectCloseFunc callback, void *data,
                    virFreeCallback data_free);
    int (*off_close)(virConnectPtr connection, virConnectCloseFunc callback);
    int (*on_event)(virConnectPtr connection, virDomainPtr domain, int id,
                    virConnectDomainEventGenericCallback callback, void *data,
                    virFreeCallback data_free);
    int (*on_qemu_event)(virConnectPtr connection, virDomainPtr domain, const char *event,
                         virConnectDomainQemuMonitorEventCallback callback, void *data,
                         virFreeCallback data_free, unsigned int flags);
    int (*off_qemu_event)(virConnectPtr connection, int id);
    char *(*get_xml)(virDomainPtr domain, unsigned int flags);
    int (*get_state)(virDomainPtr domain, int *state, int *reason, unsigned int flags);
    int (*detach)(virDomainPtr domain, const char *alias, unsigned int flags);
    int (*attach)(virDomainPtr domain, const char *xml, unsigned int flags);
    virDomainPtr (*define)(virConnectPtr connection, const char *xml, unsigned int flags);
    int (*abort_job)(virDomainPtr domain);
    int (*migrate)(virDomainPtr domain, const char *uri, virTypedParameterPtr params,
                   unsigned int n_params, unsigned int flags);
    int (*set_downtime)(virDomainPtr domain, unsigned long long ms, unsigned int flags);
    int (*get_job)(virDomainPtr domain, int *type, virTypedParameterPtr *params, int *n_params,
                   unsigned int flags);
    virErrorPtr (*last_error)(void);
} VfoLibvirtCalls;

/** vfo_libvirt_calls: libvirt's own. */
extern const VfoLibvirtCalls vfo_libvirt_calls;

typedef struct _VfoLibvirt VfoLibvirt;
typedef struct _VfoLibvirtVm VfoLibvirtVm;

/** VfoLibvirtListener: who keeps the VMs. */
typedef struct {
    /** There is a VM more: takes it (transfer full); FALSE: does not. */
    gboolean (*appeared)(VfoLocalVm *vm, gpointer data);
    /** A VM that it took is not there any more: closes it and lets go of it. */
    void (*gone)(VfoLocalVm *vm, gpointer data);
    /** vfo_libvirt_unmet() is NULL from now on. */
    void (*met)(gpointer data);
    gpointer data;
    VfoVmListener vm;
} VfoLibvirtListener;

/* ------------------------------------------------------------- connection */

/** vfo_libvirt_new: connects to @uri, now and whenever the connection is lost, and tells @listener
 *  of the running domains that have a pair or a VF. @updates: as for vfo_vms_follow_libvirt().
 *  Belongs to the default main context. */
VfoLibvirt *vfo_libvirt_new(const VfoLibvirtCalls *calls, const char *uri, gboolean updates,
                            const VfoLibvirtListener *listener);
/** vfo_libvirt_close: tells nothing any more, and drops the caller's reference. Every VM has been
 *  closed before. */
void vfo_libvirt_close(VfoLibvirt *libvirt);

const char *vfo_libvirt_uri(const VfoLibvirt *libvirt);
const VfoLibvirtCalls *vfo_libvirt_calls_of(const VfoLibvirt *libvirt);
gboolean vfo_libvirt_updates(const VfoLibvirt *libvirt);
/** vfo_libvirt_state: why there is no connection (transfer full); NULL: there is one. */
GError *vfo_libvirt_state(const VfoLibvirt *libvirt);
/** vfo_libvirt_unmet: why not every domain that ran at the beginning has been looked at (transfer
 *  full); NULL: it has, be there a connection or not. */
GError *vfo_libvirt_unmet(const VfoLibvirt *libvirt);
/** vfo_libvirt_find: the VM of @uuid; NULL: there is none. Borrowed. */
VfoLibvirtVm *vfo_libvirt_find(VfoLibvirt *libvirt, const char *uuid);
/** vfo_libvirt_add: offers @vm (transfer full), which is known under its UUID from now on if the
 *  listener takes it. */
gboolean vfo_libvirt_add(VfoLibvirt *libvirt, VfoLibvirtVm *vm);
/** vfo_libvirt_remove: @vm is not there any more; the listener is told. */
void vfo_libvirt_remove(VfoLibvirt *libvirt, VfoLibvirtVm *vm);
/** vfo_libvirt_forget: @vm is being closed. */
void vfo_libvirt_forget(VfoLibvirt *libvirt, VfoLibvirtVm *vm);

/** VfoLibvirtFunc: asks libvirt, in a thread. NULL with @error set when it fails. */
typedef gpointer (*VfoLibvirtFunc)(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                                   GError **error);

/**
 * vfo_libvirt_call: runs @func in a thread, as calls of libvirt block; @task (transfer full)
 * returns its value, or NULL when that is NULL without an error. There are few threads, so that a
 * libvirt that hangs does not take all of ours: what is called has to wait for its turn.
 */
void vfo_libvirt_call(VfoLibvirt *libvirt, virDomainPtr domain, VfoLibvirtFunc func, gpointer data,
                      GDestroyNotify data_free, GDestroyNotify value_free, GTask *task);

/** vfo_libvirt_set_error: "cannot WHAT: REASON", libvirt's last error in this thread being the
 *  reason. */
void vfo_libvirt_set_error(const VfoLibvirtCalls *calls, GError **error, const char *what);
/** vfo_libvirt_error_is: it has the code @code (virErrorNumber). */
gboolean vfo_libvirt_error_is(const VfoLibvirtCalls *calls, int code);

/** VfoLibvirtSeen: a domain at one moment. */
typedef struct {
    VfoDomain *config;
    int state;       /* virDomainState */
    int reason;      /* of that state */
    gboolean moving; /* its memory moves to another host; FALSE: or nobody has asked for that */
} VfoLibvirtSeen;

void vfo_libvirt_seen_free(VfoLibvirtSeen *seen);
/** vfo_libvirt_see: a VfoLibvirtFunc that returns a VfoLibvirtSeen. VFO_ERROR_CLOSED: the domain
 *  does not run. Safe while the domain migrates: it starts no job in libvirt. */
gpointer vfo_libvirt_see(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                         GError **error);
/** vfo_libvirt_see_anew: the same of one that may have been migrating for a while. */
gpointer vfo_libvirt_see_anew(const VfoLibvirtCalls *calls, virDomainPtr domain, gpointer data,
                              GError **error);

/* -------------------------------------------------------------------- VM */

struct _VfoLibvirtVm {
    VfoLocalVm base;
    VfoLibvirt *libvirt; /* not owned; NULL: closed */
    char *uuid;
    virDomainPtr domain; /* NULL: expected, or the connection is lost */
    VfoDomain *config;   /* its XML, as it was last seen */
    GHashTable *aliases; /* of standbys -> of the VFs that they had last */

    gboolean expected; /* libvirt has not told of it yet: nothing may be asked about it */
    gboolean starting; /* libvirt is about to start its QEMU */
    gboolean incoming; /* it waits for its memory */
    gboolean began;    /* which has begun to arrive */
    gboolean brings;   /* a definition, which has not been looked at yet */
    gboolean running;  /* its CPUs run */
    gboolean ended;    /* its QEMU has gone, */
    gboolean moved;    /* to another host */
    gboolean missed;   /* the connection was lost since the last migration began, */
    gboolean vanished; /* and its QEMU has ended before there was one again */

    /* The last migration. */
    char *migration;  /* QEMU's MigrationStatus; NULL: none */
    gboolean ran;     /* the VM did when it began */
    GPtrArray *asked; /* of char *: the primaries that QEMU has asked the guest for */
    gboolean calling; /* we have libvirt migrate it, and it has not said how that ended */
    GError *refusal;  /* ... which it has: badly; NULL: it has not */
    VfoProgress progress;
    guint watch;      /* timer that looks at libvirt's job; 0: none */
    gboolean looking; /* such a look is under way */
    guint jobless;    /* so many looks in a row have seen no job */
};

/** vfo_libvirt_vm_new: of the domain that @config describes; @domain NULL: it is expected. */
VfoLibvirtVm *vfo_libvirt_vm_new(VfoLibvirt *libvirt, const VfoDomain *config, virDomainPtr domain,
                                 const VfoVmListener *listener);
gboolean vfo_libvirt_vm_is(const VfoLocalVm *vm);
/** vfo_libvirt_vm_take: @seen is how @vm is now. */
void vfo_libvirt_vm_take(VfoLibvirtVm *vm, const VfoLibvirtSeen *seen);
/** vfo_libvirt_vm_on_start: libvirt is about to start @vm, which is expected; @config has its taps.
 */
void vfo_libvirt_vm_on_start(VfoLibvirtVm *vm, const VfoDomain *config);
/** vfo_libvirt_vm_set_domain: libvirt calls it @domain; NULL: nothing may be asked about it. */
void vfo_libvirt_vm_set_domain(VfoLibvirtVm *vm, virDomainPtr domain);

/** vfo_libvirt_vm_lose: the connection is lost. */
void vfo_libvirt_vm_lose(VfoLibvirtVm *vm);
/** vfo_libvirt_vm_meet: libvirt tells, on a new connection, that @vm has a QEMU. What was missed is
 *  read back, then its ops are told. */
void vfo_libvirt_vm_meet(VfoLibvirtVm *vm, virDomainPtr domain);
/** vfo_libvirt_vm_miss: ... that it has none any more. Whether @vm runs elsewhere nobody has said.
 */
void vfo_libvirt_vm_miss(VfoLibvirtVm *vm);
/** vfo_libvirt_vm_take_missed: @seen is how @vm was a moment ago; what has been told since counts
 *  more. */
void vfo_libvirt_vm_take_missed(VfoLibvirtVm *vm, const VfoLibvirtSeen *seen);

/* What libvirt tells of the VM. Its ops hear of that by QEMU's names and these; the data of those
 * about a device has its alias as "device". */
#define VFO_DEVICE_ADDED          "device-added"
#define VFO_DEVICE_REMOVED        "device-removed"
#define VFO_DEVICE_REMOVAL_FAILED "device-removal-failed"
#define VFO_LIFECYCLE             "lifecycle"
#define VFO_LOST                  "lost" /* there is no connection any more */
#define VFO_MET                   "met"  /* there is one again, and the state has been read back */
#define VFO_JOB_GONE              "job-gone"      /* libvirt is not migrating it (any more) */
#define VFO_MIGRATE_ENDED         "migrate-ended" /* libvirt has said how the migration ended */

void vfo_libvirt_vm_on_lifecycle(VfoLibvirtVm *vm, virDomainPtr domain, int event, int detail);
void vfo_libvirt_vm_on_qemu(VfoLibvirtVm *vm, virDomainPtr domain, const char *event,
                            const char *details);
/** @event: VFO_DEVICE_* */
void vfo_libvirt_vm_on_device(VfoLibvirtVm *vm, const char *event, const char *alias);
void vfo_libvirt_vm_on_job(VfoLibvirtVm *vm, virTypedParameterPtr params, int n_params);

/** vfo_libvirt_vm_take_progress: the figures of libvirt's job of @vm. */
void vfo_libvirt_vm_take_progress(VfoLibvirtVm *vm, virTypedParameterPtr params, int n_params);
/** vfo_libvirt_vm_status_is: the last migration's MigrationStatus is one of @among. */
gboolean vfo_libvirt_vm_status_is(const VfoLibvirtVm *vm, const char *const *among);

/** vfo_libvirt_vm_ask: vfo_libvirt_call() for @op; @reply is not called once the op has been
 *  completed, nor, if the op waits on, when the connection breaks: VFO_MET is the time to ask
 * again. FALSE: there is nothing to ask, as libvirt has not started the VM; the op has failed.
 */
typedef void (*VfoLibvirtReply)(VfoOp *op, gpointer value, const GError *error);
gboolean vfo_libvirt_vm_ask(VfoOp *op, VfoLibvirtFunc func, gpointer data, GDestroyNotify data_free,
                            GDestroyNotify value_free, VfoLibvirtReply reply);
VfoLibvirtVm *vfo_libvirt_vm_of(const VfoOp *op);

/* -------------------------------------------------------------------- ops */

void vfo_libvirt_vm_inspect(VfoVm *vm, GTask *task); /* libvirt-device.c */
void vfo_libvirt_vm_unplug(VfoVm *vm, const VfoPair *pair, GTask *task);
void vfo_libvirt_vm_plug(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task);

void vfo_libvirt_vm_resumed(VfoVm *vm, GTask *task); /* libvirt-follow.c */
void vfo_libvirt_vm_migrate(VfoVm *vm, const char *uri, guint64 max_bandwidth,
                            guint downtime_limit_ms, GTask *task);
void vfo_libvirt_vm_completed(VfoVm *vm, GTask *task);
void vfo_libvirt_vm_cancel(VfoVm *vm, GTask *task);
void vfo_libvirt_vm_unplugging(VfoVm *vm, const VfoPair *pair, GTask *task);
void vfo_libvirt_vm_unplugged(VfoVm *vm, const VfoPair *pair, GTask *task);
void vfo_libvirt_vm_stopped(VfoVm *vm, GTask *task);
void vfo_libvirt_vm_replugged(VfoVm *vm, const VfoPair *pair, GTask *task);
void vfo_libvirt_vm_ended(VfoVm *vm, GTask *task);
void vfo_libvirt_vm_started(VfoVm *vm, GTask *task);

void vfo_libvirt_vm_unseen(VfoVm *vm, GTask *task); /* libvirt-missed.c */

/** vfo_libvirt_vm_update_definition: @vm, which has a domain, runs here, and libvirt has taken its
 *  definition over from the source: that is to name the VFs that @vm has here. Does not block; how
 *  it went is logged. */
void vfo_libvirt_vm_update_definition(VfoLibvirtVm *vm); /* libvirt-definition.c */

/** vfo_libvirt_device_xml: the <hostdev> that makes @pci the primary of @pair, under the alias
 *  @primary if that is one that users may choose. Free with g_free(). */
char *vfo_libvirt_device_xml(const VfoPair *pair, const char *primary, const char *pci);

/* ------------------------------------------------------------------- set */

/** vfo_vms_follow_calls: vfo_vms_follow_libvirt() through @calls. */
void vfo_vms_follow_calls(VfoVms *vms, const char *uri, gboolean updates,
                          const VfoLibvirtCalls *calls);
