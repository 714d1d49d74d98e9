/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside daemon/: the configuration, the jobs of this host, and the control
 * socket's commands. Nobody includes this from outside; the program is the door.
 */
#pragma once

#include "core/core.h"
#include "host/host.h"
#include "peer/peer.h"
#include "qmp/qmp.h"
#include "vm/vm.h"

/* ---------------------------------------------------------- configuration */

#define VFO_CONFIG_FILE    "/etc/vfailover/vfailoverd.conf"
#define VFO_CONTROL_SOCKET "/run/vfailover/vfailoverd.sock"

/** VfoGuestMac: what is done when a guest's VF has got another MAC. */
typedef enum {
    VFO_GUEST_MAC_DENY, /* it is put back */
    VFO_GUEST_MAC_LOG,
} VfoGuestMac;

typedef struct {
    char *name; /* this host's, as its peers know it */
    char *socket;
    char *admin_group; /* NULL: root alone changes things */
    char *listen;
    guint16 port;
    char *qmp_dir;
    VfoGuestMac guest_mac;
    char *migration_address;
    char *migration_ports;
    VfoTlsFiles tls;
    VfoPolicy policy;
    GPtrArray *networks; /* of VfoNetwork */
    GPtrArray *quirks;   /* of VfoQuirks */
    GPtrArray *peers;    /* of VfoPeerAddress */
} VfoConfig;

/** vfo_config_load: reads and checks all of @path; an error names the file, the group, the key
 *  and what would be right. Free with vfo_config_free(). */
VfoConfig *vfo_config_load(const char *path, GError **error);
void vfo_config_free(VfoConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoConfig, vfo_config_free)

/** vfo_config_peer: the [peer @name], NULL and an error with the names there are. Borrowed. */
const VfoPeerAddress *vfo_config_peer(const VfoConfig *config, const char *name, GError **error);

/* ------------------------------------------------------------------- jobs */

#define VFO_TYPE_JOBS (vfo_jobs_get_type())
G_DECLARE_FINAL_TYPE(VfoJobs, vfo_jobs, VFO, JOBS, GObject)

/* Signal "changed" (jobs, VfoJob *job, const VfoRecord *record): as VfoJobChanged. */

VfoJobs *vfo_jobs_new(void);

/** vfo_jobs_add: keeps @job (own reference) and, when @listen, follows it (otherwise whoever
 *  listens calls vfo_jobs_note()). Ended ones beyond the last 64 are forgotten. VFO_ERROR_BUSY when
 * its VM, or the one it takes a VF from, has a job already. */
gboolean vfo_jobs_add(VfoJobs *jobs, VfoJob *job, gboolean listen, GError **error);

/** vfo_jobs_note: a followed job changed: emits "changed". */
void vfo_jobs_note(VfoJobs *jobs, VfoJob *job, const VfoRecord *record);

/** vfo_jobs_find: by id, by an unambiguous beginning of one (4 characters or more), or the
 *  latest job of the VM of that name. */
VfoJob *vfo_jobs_find(VfoJobs *jobs, const char *what, GError **error);

/** vfo_jobs_of_vm: the job under way for @vm; NULL: none. */
VfoJob *vfo_jobs_of_vm(VfoJobs *jobs, const char *vm);

/** vfo_jobs_are_idle: no job is under way. */
gboolean vfo_jobs_are_idle(VfoJobs *jobs);

/** vfo_jobs_list: of VfoJob, oldest first (transfer none). */
GPtrArray *vfo_jobs_list(VfoJobs *jobs);

/** vfo_jobs_cancel_all: cancels what can be; TRUE when nothing is under way any more. */
gboolean vfo_jobs_cancel_all(VfoJobs *jobs);

/* ------------------------------------------------------------------ views */

/* How the control socket shows things; docs/control-socket.md describes each member. */
json_object *vfo_view_vm(VfoVm *vm, VfoJobs *jobs);
json_object *vfo_view_vf(const VfoVf *vf, const char *owner, const char *lease);
json_object *vfo_view_record(const VfoRecord *record);
json_object *vfo_view_job(VfoJob *job, gboolean with_steps);
json_object *vfo_view_progress(VfoJob *job, const VfoProgress *progress);

/* ---------------------------------------------------------------- lending */

typedef struct _VfoLending VfoLending;

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJobs *jobs;
} VfoLendingArgs; /* none of it owned; all outlives the lending */

/** vfo_lending_new: VFs that leave VMs and come to them without a migration. What is remembered of
 *  a VM's VF is forgotten when the VM has gone, and the PF side of its standby closed. A VM that
 * came standby-only gets a VF when a job has ended and one is free; once, unless another was
 * faster. */
VfoLending *vfo_lending_new(const VfoLendingArgs *args);
void vfo_lending_free(VfoLending *lending);
/** vfo_lending_freed: a VF may have become free: a VM that came standby-only may get it, soon. */
void vfo_lending_freed(VfoLending *lending);
/** vfo_lending_stop: from here on no VM gets a VF that nobody asked for. */
void vfo_lending_stop(VfoLending *lending);

/** vfo_lending_detach: the job that the command "detach" with @arguments calls for; among this
 *  host's jobs, not yet running. */
VfoJob *vfo_lending_detach(VfoLending *lending, json_object *arguments, GError **error);
/** vfo_lending_attach: likewise, "attach". */
VfoJob *vfo_lending_attach(VfoLending *lending, json_object *arguments, GError **error);

/* ------------------------------------------------------------------ watch */

typedef struct _VfoWatch VfoWatch;

/** vfo_watch_new: has VMs that no job works on steered (core/core.h). Nothing is owned; all
 *  outlives the watch. */
VfoWatch *vfo_watch_new(VfoVms *vms, VfoHost *host, VfoJobs *jobs);
void vfo_watch_free(VfoWatch *watch);

/* -------------------------------------------------------------- inventory */

typedef struct _VfoInventory VfoInventory;

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoJobs *jobs;
    VfoLending *lending;
} VfoInventoryArgs; /* none of it owned; all outlives the inventory */

/** vfo_inventory_new: tells the log, the leases, the jobs and the lending of VFs that come, go and
 *  change, and stands up for the MAC of a guest's VF. */
VfoInventory *vfo_inventory_new(const VfoInventoryArgs *args);
void vfo_inventory_free(VfoInventory *inventory);

/** vfo_inventory_on_change: a VfoHostChanged whose data is a VfoInventory. */
void vfo_inventory_on_change(VfoHost *host, const VfoVf *before, const VfoVf *now, gboolean ours,
                             gpointer data);

/** vfo_inventory_owner: the pair that has the VF @pci as its primary, and its VM among @vms (of
 *  VfoVm) in @owner; NULL in both: none. Borrowed, until the loop runs. */
const VfoPair *vfo_inventory_owner(GPtrArray *vms, const char *pci, VfoVm **owner);

/* ---------------------------------------------------------------- control */

typedef struct _VfoControl VfoControl;

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoJobs *jobs;
    VfoLending *lending;
    VfoPeerPool *pool;
} VfoControlArgs; /* none of it owned; all outlives the control socket */

/** vfo_control_new: listens on the configured control socket, replacing a stale one. */
VfoControl *vfo_control_new(const VfoControlArgs *args, GError **error);
/** vfo_control_free: also ends the connections to other hosts of jobs under way, which must not
 *  go on after it. */
void vfo_control_free(VfoControl *control);
