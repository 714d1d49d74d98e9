/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside core/: what the tables of steps have in common. A VF leaves its guest
 * (give.c), a VF comes to a guest (take.c); a job does one of them, or both. The two halves of a
 * migration (source.c, destination.c) have each a table for a VM whose QEMU does what we say, and
 * one for a VM that libvirt migrates (follow-source.c, follow-destination.c).
 */
#pragma once

#include "core/core.h"

/** VfoGive: what the steps work on that take a VF out of its guest. */
typedef struct {
    VfoVm *vm;             /* owned: a reference */
    VfoHost *host;         /* not owned */
    VfoLeases *leases;     /* not owned */
    VfoAbsences *absences; /* not owned; NULL: the VM need not be remembered */
    char *standby;         /* of which pair; NULL: of the one with a VF */
    char *pci;             /* which VF; NULL: the one there is */
    const char *none;      /* how the error ends: there is no VF, */
    const char *several;   /* there are several */
    VfoVmInfo *info;
    const VfoPair *pair; /* in info */
    VfoVf *vf;
    VfoWire *wire;
    gboolean in_guest; /* the VF is, as far as is known */
    gboolean asked;    /* the guest, for the VF, and nobody knows what came of it */
    gboolean refused;  /* that was answered with an error */
    gboolean held;     /* frames wait on the PF side, or may at any moment */
    gboolean deaf;     /* they cannot be held here, as "prepare" has found out */
    guint hold_timer;
} VfoGive;

/** VfoTake: what the steps work on that bring a VF to a guest. */
typedef struct {
    VfoVm *vm;             /* owned: a reference */
    VfoHost *host;         /* not owned */
    VfoLeases *leases;     /* not owned */
    VfoAbsences *absences; /* not owned; NULL: nobody remembers */
    VfoOffer *offer;       /* the VF that the guest had */
    VfoPair *pair;         /* this side's standby; primary and bus as the guest had them */
    VfoVf *vf;             /* NULL: standby only */
    VfoWire *wire;
    int numa_node;    /* QEMU's; -1: unknown */
    gboolean stays;   /* the VM has been here before, and is on its standby */
    gboolean needs;   /* the VM comes with a VF or not at all */
    char *pci;        /* which VF; NULL: any that is free */
    gboolean exposed; /* the VF may have the guest's address */
} VfoTake;

/** VfoParts: what the context of every job with these steps begins with. */
typedef struct {
    VfoGive give;
    VfoTake take;
} VfoParts;

/** VfoSource: the context of both tables of a source begins with it. */
typedef struct {
    VfoParts parts;
    VfoPeer *peer;     /* not owned */
    gboolean follows;  /* libvirt migrates the VM, as somebody else has asked it to */
    char *libvirt_uri; /* ... as we ask it to, to the libvirt there; NULL: it does not */
    char *uri;
} VfoSource;

/** VfoDestination: the context of both tables of a destination begins with it. */
typedef struct {
    VfoParts parts;
    /* The standby here that suits the offer; NULL: there is none. */
    const VfoPair *(*find)(const VfoVmInfo *info, const VfoOffer *offer, GError **error);
    VfoReserved reserved;
    gpointer data;
    gboolean waits;  /* for memory to arrive */
    gboolean opened; /* the PF side, before the VM runs */
    gboolean shows;  /* QEMU shows the VF to the guest by itself when the VM runs */
    gboolean stays;  /* without the source's daemon: the VM may come all the same */
} VfoDestination;

/** vfo_announce_guest: @pair's guest is reached through its standby: @vm says so itself, or the
 * host does where it cannot. */
void vfo_announce_guest(VfoVm *vm, VfoHost *host, const VfoPair *pair, const VfoWire *wire,
                        GTask *task);

/** vfo_give_init: for the VF of @vm, of which it keeps a reference. */
void vfo_give_init(VfoGive *give, VfoVm *vm, VfoHost *host, VfoLeases *leases);
/** vfo_give_describe: @job's VF for somebody else; nothing in @offer is copied. */
void vfo_give_describe(VfoJob *job, VfoOffer *offer);
/** vfo_give_keep: the VM is here, without its VF, and its PF side stays open: to be closed when it
 *  goes. Takes the wire: for the last step. */
void vfo_give_keep(VfoJob *job);
void vfo_give_clear(VfoGive *give);
/** vfo_give_of: @job's, which has VfoParts. */
VfoGive *vfo_give_of(VfoJob *job);

/** vfo_give_await_release: the guest has been, or is about to be, asked for its VF: frames are held
 *  for as long as the policy says. Returns the task to wait with for its answer. */
GTask *vfo_give_await_release(VfoJob *job, GTask *task);
/** vfo_give_await_use: waits until the guest uses its VF again; its activity was @since. */
void vfo_give_await_use(VfoJob *job, guint64 since, GTask *task);
/** vfo_give_restore: the VF gets the settings that it had in the guest. */
gboolean vfo_give_restore(VfoJob *job, GError **error);
/** vfo_give_silence: it loses them, for its parking address. */
gboolean vfo_give_silence(VfoJob *job, GError **error);
/** vfo_give_release_held: nothing is held any more; what goes wrong is logged, and tried again in
 *  the undo of "hold", or of "prepare". */
void vfo_give_release_held(VfoJob *job);

/* The steps, in the order of a table, and their undos. */
void vfo_give_inspect(VfoJob *job, GTask *task);
void vfo_give_lease(VfoJob *job, GTask *task);
void vfo_give_lease_opened(VfoJob *job, GTask *task); /* of a VF that QEMU has shown to its guest */
void vfo_give_undo_lease(VfoJob *job, GTask *task);
void vfo_give_open(VfoJob *job, GTask *task);
void vfo_give_undo_open(VfoJob *job, GTask *task);
void vfo_give_prepare_hold(VfoJob *job, GTask *task);
void vfo_give_hold(VfoJob *job, GTask *task);
void vfo_give_undo_hold(VfoJob *job, GTask *task);
void vfo_give_unplug(VfoJob *job, GTask *task);
void vfo_give_undo_unplug(VfoJob *job, GTask *task);
void vfo_give_deliver(VfoJob *job, GTask *task);
void vfo_give_close(VfoJob *job, GTask *task);
void vfo_give_park(VfoJob *job, GTask *task);
void vfo_give_reset(VfoJob *job, GTask *task);
void vfo_give_return(VfoJob *job, GTask *task);

/** vfo_take_init: for a VF for @vm, of which it keeps a reference. */
void vfo_take_init(VfoTake *take, VfoVm *vm, VfoHost *host, VfoLeases *leases);
void vfo_take_clear(VfoTake *take);
/** vfo_take_of: @job's, which has VfoParts. */
VfoTake *vfo_take_of(VfoJob *job);

/** vfo_take_has_room: a VF can be plugged into @bus. */
gboolean vfo_take_has_room(const VfoVmInfo *info, const char *bus);
/** vfo_take_find_standby: the pair of @standby, or the interface of that name; NULL: there is none.
 */
const VfoPair *vfo_take_find_standby(const VfoVmInfo *info, const char *standby);
/** vfo_take_find_ours: the standby of @pair, which is another host's; NULL: there is none here. */
const VfoPair *vfo_take_find_ours(const VfoVmInfo *info, const VfoPair *pair);

/** vfo_take_is_wide_enough: the frames of @job's guest fit through the PF. */
gboolean vfo_take_is_wide_enough(VfoJob *job, GError **error);

/** vfo_take_exchange: the VF that was leased, and is parked, for the one at @pci. */
gboolean vfo_take_exchange(VfoJob *job, const char *pci, GError **error);
/** vfo_take_find_wire: how the standby reaches the network of the offer. */
gboolean vfo_take_find_wire(VfoJob *job, GError **error);
/** vfo_take_expose: the VF gets the guest's address and settings. */
gboolean vfo_take_expose(VfoJob *job, GError **error);
/** vfo_take_park: it loses them. */
gboolean vfo_take_park(VfoJob *job, GError **error);
/** vfo_take_skips: there is no VF: @task is done. */
gboolean vfo_take_skips(VfoJob *job, GTask *task);

void vfo_take_choose(VfoJob *job, GTask *task); /* a lease without a wire */
void vfo_take_lease(VfoJob *job, GTask *task);
void vfo_take_undo_lease(VfoJob *job, GTask *task);
void vfo_take_open(VfoJob *job, GTask *task);
void vfo_take_drain(VfoJob *job, GTask *task);
void vfo_take_configure(VfoJob *job, GTask *task);
void vfo_take_undo_configure(VfoJob *job, GTask *task);
void vfo_take_prepare(VfoJob *job, GTask *task);
void vfo_take_undo_prepare(VfoJob *job, GTask *task);
void vfo_take_plug(VfoJob *job, GTask *task);
void vfo_take_undo_plug(VfoJob *job, GTask *task);
void vfo_take_use(VfoJob *job, GTask *task);
void vfo_take_shut(VfoJob *job, GTask *task);
void vfo_take_settle(VfoJob *job, GTask *task);

void vfo_source_init(VfoSource *source, const VfoSourceArgs *args);
void vfo_source_clear(VfoSource *source);
/** vfo_source_reopen: the task for giving up the migration: when that is done the VM is here, and
 *  its PF side is opened again. What goes wrong with that is logged and remarked. */
GTask *vfo_source_reopen(VfoJob *job, GTask *task);

/** vfo_source_wait: the task for an op that waits for QEMU or libvirt; @task is completed when that
 *  is, or when the other half of @job is undone, of which nobody tells those. */
GTask *vfo_source_wait(VfoJob *job, GTask *task);

void vfo_source_reserve(VfoJob *job, GTask *task);
void vfo_source_undo_reserve(VfoJob *job, GTask *task);
void vfo_source_tell(VfoJob *job, GTask *task);
void vfo_source_leave(VfoJob *job, GTask *task);
void vfo_source_complete(VfoJob *job, GTask *task);
void vfo_source_arrive(VfoJob *job, GTask *task);

void vfo_destination_init(VfoDestination *destination, const VfoDestinationArgs *args);
void vfo_destination_clear(VfoDestination *destination);
/** vfo_destination_patience: @policy with a longer wait for memory. */
VfoPolicy vfo_destination_patience(const VfoPolicy *policy);
/** vfo_destination_match: the standby here that is the offer's, NULL: none is. */
const VfoPair *vfo_destination_match(const VfoVmInfo *info, const VfoOffer *offer, GError **error);
void vfo_destination_inspect(VfoJob *job, GTask *task);
void vfo_destination_resume(VfoJob *job, GTask *task);
void vfo_destination_undo_resume(VfoJob *job, GTask *task);
/** vfo_destination_memory_arrives: a veto. The source gives up, or does not, and QEMU tells; a job
 *  that ended here meanwhile would leave the VM to itself. */
gboolean vfo_destination_memory_arrives(VfoJob *job);

/* For steps that leave nothing behind, and their deadline. */
#define VFO_NO_UNDO NULL, VFO_DEADLINE_QUERY

/* clang-format off */
/*
 * The lines that all tables have in common which take a VF from its guest, and those that give a
 * guest a VF: name, waits for, run, deadline, undo, its deadline, flags, veto.
 *
 * A guest that was asked for its VF cannot be asked to keep it: it lets go a moment later, and
 * would be without if nobody waited for that.
 */
#define VFO_HOLD_STEPS \
    {"hold", "frames for the guest to be held on the PF side", vfo_give_hold, VFO_DEADLINE_QUERY, \
     vfo_give_undo_hold, VFO_DEADLINE_QUERY, 0}, \
    {"open", "the PF's filter and the bridge entry", vfo_give_open, VFO_DEADLINE_QUERY, \
     vfo_give_undo_open, VFO_DEADLINE_QUERY, 0}

#define VFO_GIVE_STEPS \
    VFO_HOLD_STEPS, \
    {"unplug", "the guest to release the VF", vfo_give_unplug, VFO_DEADLINE_UNPLUG, \
     vfo_give_undo_unplug, VFO_DEADLINE_PLUG, VFO_STEP_CANCEL_AFTER}, \
    {"deliver", "the held frames to be delivered", vfo_give_deliver, VFO_DEADLINE_QUERY, \
     VFO_NO_UNDO, 0}, \
    {"close", "QEMU to close the VF", vfo_give_close, VFO_DEADLINE_CLOSE, VFO_NO_UNDO, 0}, \
    {"park", "the VF's parking address", vfo_give_park, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0}, \
    {"reset", "the VF to come back from its reset", vfo_give_reset, VFO_DEADLINE_RESET, \
     VFO_NO_UNDO, 0}

/* A VF that stays in the guest keeps the guest's address: a primary without it is deaf. */
#define VFO_TAKE_STEPS \
    {"configure", "the VF's address and settings", vfo_take_configure, VFO_DEADLINE_QUERY, \
     vfo_take_undo_configure, VFO_DEADLINE_QUERY, 0}, \
    {"plug", "QEMU to realize the VF", vfo_take_plug, VFO_DEADLINE_PLUG, vfo_take_undo_plug, \
     VFO_DEADLINE_UNPLUG, VFO_STEP_UNDO_OR_STOP}, \
    {"use", "the guest to receive through the VF", vfo_take_use, VFO_DEADLINE_USE, VFO_NO_UNDO, 0}, \
    {"shut", "the guest's address to leave the PF", vfo_take_shut, VFO_DEADLINE_QUERY, \
     vfo_take_open, VFO_DEADLINE_QUERY, VFO_STEP_UNDO_OR_STOP}

#define VFO_SETTLE_STEP \
    {"settle", "the lease to end", vfo_take_settle, VFO_DEADLINE_QUERY, VFO_NO_UNDO, 0}

/* And those of destinations. */
#define VFO_RESUME_STEP \
    {"resume", "the VM to run here", vfo_destination_resume, VFO_DEADLINE_MIGRATE, \
     vfo_destination_undo_resume, VFO_DEADLINE_QUERY, VFO_STEP_COMMITS | VFO_STEP_NEEDS_VF, \
     vfo_destination_memory_arrives}

#define VFO_ARRIVE_STEPS \
    VFO_RESUME_STEP, \
    {"open", "the PF's filter, the bridge entry, the announcement", vfo_take_open, \
     VFO_DEADLINE_QUERY, vfo_take_undo_lease, VFO_DEADLINE_QUERY, 0}, \
    {"drain", "the guest to take what waits in its tap", vfo_take_drain, VFO_DEADLINE_PLUG, \
     VFO_NO_UNDO, 0}, \
    VFO_TAKE_STEPS, \
    VFO_SETTLE_STEP
/* clang-format on */
