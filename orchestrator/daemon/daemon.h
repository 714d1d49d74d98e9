/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside daemon/: the configuration, the jobs of this host, and the control
 * socket's commands. Nobody includes this from outside; the program is the door.
 */
#pragma once

#include "core/core.h"
#include "domain/domain.h"
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
    char *state; /* the file of the absences */
    VfoGuestMac guest_mac;
    char *migration_address;
    char *migration_ports;
    char *libvirt_uri;          /* NULL: libvirt is not used */
    gboolean libvirt_alone;     /* a VM may come from a host whose daemon does not hand it over */
    guint hook_ms;              /* how long libvirt's hook waits */
    gboolean update_definition; /* that a VM brings, for the VF that it has here */
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
 * its VM, or the one it takes a VF from, has a job already that is not about another pair
 * (vfo_job_pair()), or one that is under way has its id. */
gboolean vfo_jobs_add(VfoJobs *jobs, VfoJob *job, gboolean listen, GError **error);

/** vfo_jobs_note: a followed job changed: emits "changed". */
void vfo_jobs_note(VfoJobs *jobs, VfoJob *job, const VfoRecord *record);

/** vfo_jobs_find: by id, by an unambiguous beginning of one (4 characters or more), or the
 *  latest job of the VM of that name, one that is under way before others. */
VfoJob *vfo_jobs_find(VfoJobs *jobs, const char *what, GError **error);

/** vfo_jobs_of_vm: the job under way for @vm, the first of several; NULL: none. */
VfoJob *vfo_jobs_of_vm(VfoJobs *jobs, const char *vm);

/** vfo_jobs_beside: of VfoJob (transfer container), oldest first: those that were added while @job
 *  was under way, or the other way round, for other pairs of the same VM. */
GPtrArray *vfo_jobs_beside(VfoJobs *jobs, VfoJob *job);

/** vfo_jobs_are_idle: no job is under way. */
gboolean vfo_jobs_are_idle(VfoJobs *jobs);

/** vfo_jobs_list: of VfoJob, oldest first (transfer none). */
GPtrArray *vfo_jobs_list(VfoJobs *jobs);

/** vfo_jobs_undo_within: vfo_job_undo_within() for each that is under way. */
void vfo_jobs_undo_within(VfoJobs *jobs, guint ms);

/** vfo_jobs_cancel_all: cancels what can be; TRUE when nothing is under way any more. */
gboolean vfo_jobs_cancel_all(VfoJobs *jobs);

/* ------------------------------------------------------------------ views */

/* How the control socket shows things; docs/control-socket.md describes each member. */
json_object *vfo_view_vm(VfoVm *vm, VfoJobs *jobs, VfoHost *host, VfoAbsences *absences);
/** VfoVfUse: whose a VF is; all borrowed, for a call. */
typedef struct {
    const char *owner;   /* VM; NULL: none */
    const char *lease;   /* job; NULL: none */
    const char *unclean; /* vfo_leases_unclean() */
    const GError *doubt; /* vfo_vf_doubt() */
} VfoVfUse;
json_object *vfo_view_vf(const VfoVf *vf, const VfoVfUse *use);
json_object *vfo_view_record(const VfoRecord *record);
/* @jobs: those that @job is among, to be told which others belong to it, and its steps; NULL:
 * neither. */
json_object *vfo_view_job(VfoJob *job, VfoJobs *jobs);
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
 * came standby-only gets a VF when a job has ended, or the VM has been found, and one is free;
 * once, unless another was faster. */
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

/* ----------------------------------------------------------------- memory */

typedef struct _VfoMemory VfoMemory;

/**
 * vfo_memory_new: what was written to @path by the daemon before this one goes into @absences, and
 * from here on each change of @absences into @path, before the change returns: atomically, for the
 * daemon's user alone. Neither may be lost with the machine, nor outlive it: a file in memory.
 * Blocks for as long as the file takes. No error stops anything: a file that cannot be used is
 * logged and counts as empty, one that cannot be written is logged. A VM that is never seen again
 * is remembered until one of its name is, or VFO_MAX_ABSENCES are. @absences is not owned and
 * outlives the memory.
 */
VfoMemory *vfo_memory_new(VfoAbsences *absences, const char *path);
/** vfo_memory_free: writes nothing more. */
void vfo_memory_free(VfoMemory *memory);

/* ------------------------------------------------------------------ watch */

typedef struct _VfoWatch VfoWatch;

/** vfo_watch_new: has VMs that no job works on steered (core/core.h). Nothing is owned; all
 *  outlives the watch. */
VfoWatch *vfo_watch_new(VfoVms *vms, VfoHost *host, VfoJobs *jobs);
void vfo_watch_free(VfoWatch *watch);

/* ---------------------------------------------------------------- cleaner */

typedef struct _VfoCleaner VfoCleaner;

typedef struct {
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoJobs *jobs;
    VfoLending *lending;
} VfoCleanerArgs; /* none of it owned; all outlives the cleaner */

/** vfo_cleaner_new: tries once a minute to clean the VFs that are kept (vfo_leases_keep()), while
 *  nobody has them. Those that a job still holds when it has ended are kept, too. */
VfoCleaner *vfo_cleaner_new(const VfoCleanerArgs *args);
void vfo_cleaner_free(VfoCleaner *cleaner);

/** vfo_cleaner_try: tries all of them now. */
void vfo_cleaner_try(VfoCleaner *cleaner);

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

/** vfo_inventory_owner: the pair that has the VF @pci as its primary, NULL: none; in @owner the VM
 *  among @vms (of VfoVm) that has it, in a pair or not, NULL: none. Borrowed, until the loop runs.
 */
const VfoPair *vfo_inventory_owner(GPtrArray *vms, const char *pci, VfoVm **owner);

/** vfo_inventory_owned: a VfoOwned whose data is a VfoVms: @vf is in a pair of one of them other
 *  than @vm, and has that pair's address. One that has been taken out of its guest has another,
 * though the VM may not have been looked at since. */
gboolean vfo_inventory_owned(const VfoVf *vf, const char *vm, gpointer vms);

/* ------------------------------------------------------------------ hooks */

typedef struct _VfoHooks VfoHooks;
typedef struct _VfoOwners VfoOwners;
typedef struct _VfoArrivals VfoArrivals;

/** vfo_hooks_new: answers libvirt's hook. Neither is owned; both outlive it. */
VfoHooks *vfo_hooks_new(const VfoConfig *config, VfoOwners *owners, VfoArrivals *arrivals);
void vfo_hooks_free(VfoHooks *hooks);

/** vfo_hooks_call: the command "libvirt-hook" with @arguments; answers @call, now or within
 *  config->hook_ms. */
void vfo_hooks_call(VfoHooks *hooks, VfoQmpCall *call, json_object *arguments);

/* --------------------------------------------------------------- arrivals */

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJobs *jobs;
    VfoPeerPool *pool;
} VfoArrivalsArgs; /* none of it owned; all outlives the arrivals */

/** vfo_arrivals_new: the domains that libvirt is migrating to this host: from "migrate" on, when
 *  it asks, to the end of the job. */
VfoArrivals *vfo_arrivals_new(const VfoArrivalsArgs *args);
/** vfo_arrivals_free: calls that wait are answered with an error. */
void vfo_arrivals_free(VfoArrivals *arrivals);

/** vfo_arrivals_begin: @domain, read from @xml, is about to come: the daemon that has it is asked
 *  for it, and @call answered when that one is ready: with XML that names the VF it gets. */
void vfo_arrivals_begin(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain,
                        const char *xml);
/** vfo_arrivals_has: @domain is on its way here, or was let come and has failed since. */
gboolean vfo_arrivals_has(VfoArrivals *arrivals, const VfoDomain *domain);
/** vfo_arrivals_prepare: @domain, which vfo_arrivals_has(), has the VF that was chosen for it. */
gboolean vfo_arrivals_prepare(VfoArrivals *arrivals, const VfoDomain *domain, GError **error);
/** vfo_arrivals_start: its taps are there: @call is answered when QEMU may be started. */
void vfo_arrivals_start(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain);

/** vfo_arrivals_job: a VfoPeerStart for an offer that an arrival waits for; NULL without an error:
 *  none does. */
VfoJob *vfo_arrivals_job(VfoArrivals *arrivals, const char *peer_name, const VfoOffer *offer,
                         VfoReserved reserved, gpointer reserved_data, GError **error);

/* ------------------------------------------------------------------ moves */

typedef struct _VfoMoves VfoMoves;

/** vfo_moves_new: the domains of libvirt that come here without a VF, and get one then. */
VfoMoves *vfo_moves_new(const VfoArrivalsArgs *args);
void vfo_moves_free(VfoMoves *moves);

/** vfo_moves_job: a VfoPeerStart for an offer with a UUID. */
VfoJob *vfo_moves_job(VfoMoves *moves, const char *peer_name, const VfoOffer *offer,
                      VfoReserved reserved, gpointer reserved_data, GError **error);

/* ----------------------------------------------------------------- owners */

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoJobs *jobs;
    VfoLending *lending;
} VfoOwnersArgs; /* none of it owned; all outlives the owners */

/** vfo_owners_new: keeps true whose the VFs are of the domains that libvirt starts, stops and
 *  restores, as its hook tells of them. VFs of PFs that the configuration does not name are left
 *  alone. */
VfoOwners *vfo_owners_new(const VfoOwnersArgs *args);
void vfo_owners_free(VfoOwners *owners);

/** vfo_owners_prepare: @domain is about to start: nobody else gets its VFs until its VM is known to
 *  have them, or it has taken too long to start.
 *  VFO_ERROR_BUSY: somebody has one of them already. */
gboolean vfo_owners_prepare(VfoOwners *owners, const VfoDomain *domain, GError **error);
/** vfo_owners_start: its taps are there, its QEMU is not: its VFs get the guest's MAC and VLAN,
 *  unless libvirt sees to that. */
gboolean vfo_owners_start(VfoOwners *owners, const VfoDomain *domain, GError **error);
/** vfo_owners_started: its QEMU runs, and its VM will be looked at. */
void vfo_owners_started(VfoOwners *owners, const VfoDomain *domain);
/** vfo_owners_release: its QEMU has ended, or has never begun: VFs of its pairs that nobody has go
 *  back to the pool, parked and reset. @task returns nothing; what goes wrong is logged. */
void vfo_owners_release(VfoOwners *owners, const VfoDomain *domain, GTask *task);
/** vfo_owners_restore: @xml, from which @domain was read, with a free VF in place of each one that
 *  somebody else has by now; the same text when there is none. Free with g_free(). */
char *vfo_owners_restore(VfoOwners *owners, const VfoDomain *domain, const char *xml,
                         GError **error);

/* --------------------------------------------------------------- partners */

typedef struct _VfoPartners VfoPartners;

/** vfo_partners_new: the connections to other hosts of the jobs by which VMs leave this one, each
 *  for as long as its job is under way. Nothing is owned; all outlives the partners. */
VfoPartners *vfo_partners_new(const VfoConfig *config, VfoPeerPool *pool, VfoJobs *jobs);
/** vfo_partners_free: closes them, also those of jobs under way, which must not go on after it. */
void vfo_partners_free(VfoPartners *partners);

/** VfoSourceMaker: vfo_source_job() or vfo_follow_source_job(). */
typedef VfoJob *(*VfoSourceMaker)(const char *host_name, const VfoSourceArgs *args,
                                  const VfoPolicy *policy);

/** vfo_partners_source_job: the job that @make makes for @args, towards [peer @host], which becomes
 *  args->peer; among this host's jobs (vfo_jobs_add() with @listen), not yet running. */
VfoJob *vfo_partners_source_job(VfoPartners *partners, VfoSourceMaker make, VfoSourceArgs *args,
                                const char *host, gboolean listen, GError **error);

/* ---------------------------------------------------------------- pairing */

typedef struct _VfoPairing VfoPairing;

typedef struct {
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJobs *jobs;
    VfoLending *lending;
} VfoPairingArgs; /* none of it owned; all outlives the pairing */

/** vfo_pairing_new: sees to VFs that come to libvirt's running domains, or leave them, while no job
 *  works on them: the VF gets the address of its pair, or is parked, reset and returned, and the
 *  PF side of the standby opened. */
VfoPairing *vfo_pairing_new(const VfoPairingArgs *args);
void vfo_pairing_free(VfoPairing *pairing);

/* ---------------------------------------------------------------- control */

typedef struct _VfoControl VfoControl;

typedef struct {
    const VfoConfig *config;
    VfoVms *vms;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJobs *jobs;
    VfoLending *lending;
    VfoPartners *partners;
    VfoHooks *hooks;
} VfoControlArgs; /* none of it owned; all outlives the control socket */

/** vfo_control_new: listens on the configured control socket, replacing a stale one. */
VfoControl *vfo_control_new(const VfoControlArgs *args, GError **error);
void vfo_control_free(VfoControl *control);
