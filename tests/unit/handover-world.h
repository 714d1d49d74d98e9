/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM, a host and a peer that are a few booleans each, for the tables of a hand-over. Every op's
 * call is written down and numbered, and any one of them can be made to go wrong.
 */
#pragma once

#include "core/core.h"

#define VM      "web1"
#define VF      "0000:01:10.0"
#define OTHER   "0000:01:10.2"
#define JOB     "5f1e2f6a-0000-4000-8000-000000000001"
#define UUID    "12345678-0000-4000-8000-00000000000c"
#define URI     "tcp:10.8.0.2:49152"
#define LIBVIRT "qemu+tcp://hostb/system"
#define LONG_MS 60000
/* Long enough for everything that does not wait, on a loaded machine under valgrind. */
#define SHORT_MS 2000

extern const VfoMac guest_mac;
extern const VfoMac parking_mac;

/* Which half, and whether libvirt migrates: as somebody else has asked it to, or the job itself, of
 * a guest that bonds its VF. */
typedef enum {
    DESTINATION,
    SOURCE,
    FOLLOWING_DESTINATION,
    FOLLOWING_SOURCE,
    BARE_DESTINATION,
    BARE_SOURCE
} Side;

typedef enum {
    FAULT_NONE,
    FAULT_REFUSED, /* fails and has done nothing */
    FAULT_BROKEN,  /* fails and has done all that it should */
    FAULT_SILENT,  /* does nothing until it is cancelled: a deadline */
    FAULT_UNHEARD, /* does all that it should, and nobody hears of it: a deadline */
    FAULT_CANCEL,  /* the user cancels during the call */
    N_FAULTS,
    FAULT_LATE /* succeeds when it is cancelled */
} Fault;

typedef struct World World;

typedef struct {
    VfoVm vm;
    World *world;
} FakeVm;

typedef struct {
    VfoHost host;
    World *world;
} FakeHost;

typedef struct {
    VfoPeer peer;
    World *world;
} FakePeer;

struct World {
    FakeVm vm;
    FakeHost host;
    FakePeer peer;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJob *job;
    VfoPolicy policy;
    Side side;

    GPtrArray *calls; /* of char * */
    Fault faults[2];
    guint fault_at[2]; /* numbers of calls */
    guint orphan_at;   /* the source's daemon goes during this call; 0: it stays */
    gboolean cancel_refused;
    gboolean cannot_hold;
    guint vm_references;
    char *reserved_uri;

    /* The VM */
    char *status;
    char *machine;
    GPtrArray *pairs;      /* of VfoPair: what inspect tells, apart from the primary */
    GPtrArray *free_buses; /* of char * */
    gboolean in_guest;
    gboolean here;     /* the VM runs or may run on this host */
    gboolean moved;    /* ... and this one: on the other */
    gboolean began;    /* memory arrives */
    gboolean stops;    /* the source tells that it has stopped the VM */
    gboolean prepares; /* QEMU can open a VF before the VM is there */
    gboolean prepared; /* ... and has */
    gboolean gone;     /* QEMU has exited */
    /* ... that libvirt migrates */
    gboolean asked;    /* the guest, for its VF, by QEMU */
    gboolean given_up; /* the migration */
    gboolean ended;    /* QEMU, and libvirt is through with its devices */
    gboolean started;  /* QEMU: its tap is there */
    gboolean listed;   /* the VF, in the domain's XML */
    gboolean early;    /* the kernel tells of the VF's address before the start is told of */
    gboolean ready;    /* somebody was told */
    gboolean wired;
    gboolean blind;     /* nothing is told of it before it is stopped */
    gboolean vanishes;  /* nobody sees where it goes */
    GTask *unseen;      /* owned: is done when nothing is told of it any more; NULL: nobody asks */
    gboolean wrong_uri; /* the destination's, for this source */
    gboolean mute;      /* no op announces the guest */
    /* The host */
    GPtrArray *vfs; /* of VfoVf; the first is the guest's */
    char *wire_network;
    guint16 wire_vlan;
    guint16 wire_trunk;
    guint mtu; /* the PF's */
    gboolean pf_open;
    gboolean held;
    gboolean hold_ready; /* to hold, which has not begun */
    gboolean was_held;
    gboolean watched; /* what is sent to the standby is counted */
    /* The other daemon */
    gboolean reserved;
    gboolean told; /* that the VM is stopped */
};

World *world_new(Side side);
void world_free(World *world);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(World, world_free)

VfoPair *pair_new(const char *standby, const char *primary, const char *vf);
/* The VF of this host at @pci. */
VfoVf *vf_of(World *world, const char *pci);
gboolean is_source(const World *world);

/* Makes the job and runs its first step; until @step runs; until it has ended. */
void start(World *world);
void start_until(World *world, const char *step);
void finish(World *world);
void run(World *world);

char *calls_of(World *world);
const char *call_at(World *world, guint number);
gboolean called(World *world, const char *call);
/* The number of the first @call, which is made; in a run in which nothing goes wrong. */
guint number_in(World *world, const char *call);
guint number_of(Side side, const char *call);
void assert_calls(World *world, const char *const *expected);
void assert_state(World *world, VfoJobState state);
const VfoRecord *record_of(World *world, const char *step);
void assert_record(World *world, const char *step, VfoResult result);

/* @step's undo (NULL: any) has failed. */
gboolean undo_failed(World *world, const char *step);
/* Steps are run in order, once; then undone in reverse, once. */
void assert_undo_order(World *world);
void assert_no_lease(World *world);
/* Whether frames for the guest, which is on this host, reach it. */
gboolean reachable(World *world);

/* Each call of the good path goes wrong in turn, in each way. Those that wait for a deadline wait
 * at the same time. @check is for those that were not in vain. */
void inject_each(Side side, void (*check)(World *world, Fault fault));
/* Two calls go wrong: the second while the first is being undone, or later on the way. */
void inject_two(Side side, void (*check)(World *world));
