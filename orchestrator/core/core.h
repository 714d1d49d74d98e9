/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of core/: the words of a hand-over, the tables through which it is
 * carried out, and the engine that carries it out.
 *
 * core/ knows no QEMU and no kernel. It reaches them through the ops tables
 * below, which vm/, host/ and peer/ fill in.
 */
#pragma once

#include <gio/gio.h>

/* ---------------------------------------------------------------- errors */

/**
 * VFO_ERROR: the one error domain of vfailover.
 *
 * A message says what was being done, to which VM, VF or socket, and what the
 * user can do about it, on one line. A call that was cancelled through its
 * GCancellable fails with G_IO_ERROR_CANCELLED instead.
 */
#define VFO_ERROR (vfo_error_quark())
GQuark vfo_error_quark(void);

typedef enum {
    VFO_ERROR_FAILED,        /* it did not work, for the reason given */
    VFO_ERROR_INVALID,       /* bad input from the user, a file or a peer */
    VFO_ERROR_NOT_FOUND,     /* no such VM, VF, host, job, socket */
    VFO_ERROR_BUSY,          /* there, but in use by somebody else */
    VFO_ERROR_MISMATCH,      /* the two hosts or a read-back disagree */
    VFO_ERROR_DEADLINE,      /* the deadline of a wait passed */
    VFO_ERROR_CLOSED,        /* the other end of a connection went away */
    VFO_ERROR_PROTOCOL,      /* the other end broke the protocol or a bound */
    VFO_ERROR_DENIED,        /* the caller may not do this */
    VFO_ERROR_NOT_SUPPORTED, /* the kernel, driver or QEMU cannot do this */
    /* The error classes of QMP, as QEMU's qapi/error.json names them. */
    VFO_ERROR_QMP_GENERIC,
    VFO_ERROR_QMP_COMMAND_NOT_FOUND,
    VFO_ERROR_QMP_DEVICE_NOT_ACTIVE,
    VFO_ERROR_QMP_DEVICE_NOT_FOUND,
    VFO_ERROR_QMP_KVM_MISSING_CAP,
} VfoError;

/** vfo_fail: sets @error, for a call that ends with it: always FALSE. */
gboolean vfo_fail(GError **error, VfoError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* ------------------------------------------------------------------- MAC */

typedef struct {
    guint8 octet[6];
} VfoMac;

/* Room for "52:54:00:aa:00:10" and the NUL. */
#define VFO_MAC_STRLEN 18

/**
 * vfo_mac_parse: reads @text ("52:54:00:aa:00:10", either case, nothing around
 * it) into @mac. FALSE and @mac unchanged when it is anything else.
 */
gboolean vfo_mac_parse(const char *text, VfoMac *mac);

/** vfo_mac_format: writes @mac in lower case into @buffer and returns @buffer. */
char *vfo_mac_format(const VfoMac *mac, char buffer[VFO_MAC_STRLEN]);

gboolean vfo_mac_equal(const VfoMac *a, const VfoMac *b);

/** vfo_mac_is_unicast: TRUE for an address that a NIC may own: not zero, not a group address. */
gboolean vfo_mac_is_unicast(const VfoMac *mac);

/**
 * vfo_mac_parking: the address for VF number @index of the PF whose own
 * address is @pf while no guest uses it: unicast, locally administered (IEEE
 * 802-2014, 8.2.2), the same each time, and different for each PF and VF.
 */
void vfo_mac_parking(const VfoMac *pf, guint index, VfoMac *mac);

/** vfo_pci_is_address: TRUE for "0000:01:10.0" (lower case hexadecimal) and nothing else. */
gboolean vfo_pci_is_address(const char *text);

/* -------------------------------------------------------------- VF, pair */

typedef enum { VFO_LINK_AUTO, VFO_LINK_ENABLE, VFO_LINK_DISABLE } VfoLinkState;

/** VFO_VLAN_ANY: for find_wire() alone, in place of a VF's VLAN: the one that the standby is in. */
#define VFO_VLAN_ANY G_MAXUINT16

/** VfoVfSettings: what the PF's driver enforces for one VF (IFLA_VFINFO_LIST). */
typedef struct {
    VfoMac mac;
    guint16 vlan;        /* 0: none; 1..4094 */
    gboolean vlan_outer; /* its tag is the outer one of QinQ (802.1ad) instead of 802.1Q's */
    guint8 qos;          /* 802.1p priority, 0..7 */
    gboolean spoofchk;
    gboolean trust;
    guint min_tx_rate; /* Mbit/s, 0: none */
    guint max_tx_rate; /* Mbit/s, 0: no limit */
    VfoLinkState link;
} VfoVfSettings;

/** VfoVf: one VF as the host sees it at one moment. Free with vfo_vf_free(). */
typedef struct {
    char *pci;     /* "0000:01:10.0" */
    char *pf;      /* the PF's network interface */
    char *network; /* the physical network the configuration puts the PF in */
    guint index;   /* the VF's number on its PF */
    char *driver;  /* "vfio-pci"; NULL: none is bound */
    int iommu_group;
    int numa_node;          /* -1: unknown */
    guint16 vendor, device; /* what the guest's driver goes by; 0: unknown */
    gboolean usable;        /* its PF is up and has a carrier */
    guint mtu;              /* its PF's */
    guint16 quarantine;     /* VLAN that keeps it from receiving before the guest's driver takes
                               what it receives; 0: none */
    gboolean mac_resets;    /* it is reset when it gets an address: whoever has it loses its link
                               for a moment */
    gboolean opened;        /* some process holds its vfio group open */
    guint64 generation;
    VfoMac parking; /* the address it has while no guest uses it */
    VfoVfSettings settings;
} VfoVf;

void vfo_vf_free(VfoVf *vf);
VfoVf *vfo_vf_copy(const VfoVf *vf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoVf, vfo_vf_free)

/** vfo_vf_parked: the settings of @vf while no guest uses it: its parking address, no VLAN, no
 *  priority, spoof check on, not trusted, no rates, the PF's link state. */
VfoVfSettings vfo_vf_parked(const VfoVf *vf);

/** vfo_vf_is_anybodys: it has the parking address, or none: drivers show zero for a VF that nobody
 * has given one since it was made. */
gboolean vfo_vf_is_anybodys(const VfoVf *vf);

gboolean vfo_vf_settings_equal(const VfoVfSettings *a, const VfoVfSettings *b);

/** VFO_MAX_ID: bytes of a device's id that is told to another host, or written down. */
#define VFO_MAX_ID 64

/** VfoPair: a standby and its primary as QEMU describes them. Free with vfo_pair_free(). */
typedef struct {
    char *standby;  /* device id of the virtio-net device with failover=on */
    VfoMac mac;     /* the address of the pair */
    char *tap;      /* the standby's host interface; NULL: not a tap */
    char *features; /* the standby's properties that both ends must share,
                       "name=value" sorted and joined by ',' */
    char *primary;  /* device id of the VF; NULL: none in the guest */
    char *vf;       /* PCI address of the VF on the host; NULL with @primary */
    char *bus;      /* id of the bus that the primary sits on, or may be plugged into */
    gboolean rombar;
    gboolean bonded;   /* not with failover=on: the guest joins the two itself */
    gboolean prepared; /* by VfoVmOps.prepare() */
} VfoPair;

void vfo_pair_free(VfoPair *pair);
VfoPair *vfo_pair_copy(const VfoPair *pair);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoPair, vfo_pair_free)

/** VfoVmInfo: a VM at one moment. Free with vfo_vm_info_free(). */
typedef struct {
    char *name;
    char *machine;         /* "pc-q35-10.0" */
    char *status;          /* QEMU's RunState: "running", "inmigrate", ... */
    int numa_node;         /* the only one whose memory QEMU may use; -1: unknown, or several */
    char *uuid;            /* libvirt's; NULL: it has none */
    GPtrArray *pairs;      /* of VfoPair */
    GPtrArray *halves;     /* of VfoPair: what belongs to none of those: a VF (its standby NULL),
                              or an interface that may be its standby; NULL: not known */
    GPtrArray *free_buses; /* of char *: hot-pluggable PCIe buses with nothing on them */
    gboolean leaving; /* somebody migrates it to another host: it runs on its standbys, although
                         it has its VFs */
} VfoVmInfo;

void vfo_vm_info_free(VfoVmInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoVmInfo, vfo_vm_info_free)

/** VfoProgress: how far memory has moved. */
typedef struct {
    guint64 transferred; /* bytes */
    guint64 remaining;   /* bytes */
    guint64 total;       /* bytes */
    double mbps;         /* Mbit/s */
    guint64 total_ms;    /* since the migration began */
    guint64 downtime_ms; /* QEMU's own figure; 0 until it is known */
} VfoProgress;

/* ------------------------------------------------------------ ops tables */

/*
 * An op that waits for somebody takes a GTask. The op owns that reference and
 * completes the task exactly once, with vfo_task_done(), vfo_task_fail() or
 * g_task_return_*(), soon after the task's cancellable fires at the latest.
 * What the task returns is in the op's comment; "nothing" is TRUE.
 *
 * An op without a GTask asks the kernel and returns at once.
 */

typedef struct _VfoVm VfoVm;

/** VfoVmOps: a VM, whatever manages it. vm/ fills this in. */
typedef struct {
    /** Returns a VfoVmInfo, read from QEMU now. Free with vfo_vm_info_free(). */
    void (*inspect)(VfoVm *vm, GTask *task);
    /** Asks the guest to release the primary; done when it is out of QEMU as well
     *  (DEVICE_DELETED). Fails at once when QEMU or the guest refuses. */
    void (*unplug)(VfoVm *vm, const VfoPair *pair, GTask *task);
    /** Destination: opens @pci for the VM that waits for its memory, as the primary of @pair, but
     *  does not show it to the guest; plug() does. VFO_ERROR_NOT_SUPPORTED when this QEMU cannot,
     *  or was not told to. unplug() takes it back. Allocates and pins all guest memory. */
    void (*prepare)(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task);
    /** Plugs @pci as the primary of @pair, or shows it if it was prepared; done when QEMU has
     *  realized it. */
    void (*plug)(VfoVm *vm, const VfoPair *pair, const char *pci, GTask *task);
    /** Sends the standby's announcements (RARP / guest announce). Returns nothing. */
    void (*announce)(VfoVm *vm, const VfoPair *pair, GTask *task);
    /** Destination: listens for a migration on @address and a port of @ports
     *  ("49152-49215"). Returns the URI ("tcp:10.8.0.2:49152"). Free with g_free(). */
    void (*listen)(VfoVm *vm, const char *address, const char *ports, GTask *task);
    /** Destination: done when the VM runs here (RESUME); fails when the
     *  incoming migration failed or QEMU went away. */
    void (*resumed)(VfoVm *vm, GTask *task);
    /** Source: starts the migration to @uri (of a VM that libvirt manages: that of the libvirt
     *  there); done when the VM has been stopped for the switch-over (STOP). Progress goes to the
     *  VM's progress handler. */
    void (*migrate)(VfoVm *vm, const char *uri, guint64 max_bandwidth, guint downtime_limit_ms,
                    GTask *task);
    /** Source: done when the migration completed; fails when it failed. */
    void (*completed)(VfoVm *vm, GTask *task);
    /** Source: abandons a migration; done when QEMU is rid of it and the VM runs
     *  again if it ran before. Nothing under way is success. */
    void (*cancel)(VfoVm *vm, GTask *task);
    /** TRUE when an incoming migration has begun (bytes are arriving or have arrived). */
    gboolean (*incoming_began)(VfoVm *vm);
    /** The figures of a migration under way or just completed. */
    void (*progress)(VfoVm *vm, VfoProgress *progress);
    /** A job keeps its VM's object although the VM may go away; its ops fail from then on. */
    void (*ref)(VfoVm *vm);
    void (*unref)(VfoVm *vm);

    /*
     * A VM that somebody else migrates (libvirt), for a job that follows: NULL in a back end that
     * cannot be followed. Each waits for what that somebody does; what has happened already in the
     * migration that is under way counts, and what happens while the connection to that somebody
     * is lost is read back when it is there again. They return nothing, and fail with
     * VFO_ERROR_CLOSED when the VM has gone from this host (but for ended()); if that was not seen,
     * all but completed() are done.
     */

    /** Source: done when QEMU asks the guest for the primary (UNPLUG_PRIMARY). Fails when the
     *  migration was given up before, or goes on without asking. */
    void (*unplugging)(VfoVm *vm, const VfoPair *pair, GTask *task);
    /** Source: done when the guest has released the primary and memory moves. QEMU keeps it open
     *  until it ends. Fails when the migration is given up. */
    void (*unplugged)(VfoVm *vm, const VfoPair *pair, GTask *task);
    /** Source: done when the VM has been stopped for the switch-over (STOP), not when somebody has
     *  paused it. Fails when the migration is given up. */
    void (*stopped)(VfoVm *vm, GTask *task);
    /** Source, after a migration that was given up: done when QEMU has, or is about to have, the
     *  primary in the guest again. */
    void (*replugged)(VfoVm *vm, const VfoPair *pair, GTask *task);
    /** Source, after a migration that has completed: done when QEMU has gone and whoever manages
     *  the VM is through with what it does to the VM's devices then (STOPPED). */
    void (*ended)(VfoVm *vm, GTask *task);
    /** Destination: done when QEMU is about to be started here; inspect() then knows the
     *  standbys' taps. Fails when it will not be started. */
    void (*started)(VfoVm *vm, GTask *task);
    /** Source: done when nothing is told of the VM (any more), as the connection to whoever manages
     *  it is lost: the migration may end unseen. What waits for it waits on. */
    void (*unseen)(VfoVm *vm, GTask *task);
} VfoVmOps;

/** VfoVm: what every back end's VM begins with. */
struct _VfoVm {
    const VfoVmOps *ops;
    char *name;
};

typedef struct _VfoHost VfoHost;

/**
 * vfo_bonds_join: adds to info->pairs each VF of info->halves together with the interface there
 * that has the address which @host's PF has for the VF: a guest that bonds them tells nobody.
 * FALSE: a VF of this host cannot be read, or has an address that none, or more than one, of the
 * interfaces has; the others have been added.
 */
gboolean vfo_bonds_join(VfoVmInfo *info, VfoHost *host, GError **error);
/** vfo_bonds_of: those alone (transfer full), of VfoPair. */
GPtrArray *vfo_bonds_of(const VfoVmInfo *info, VfoHost *host);
/** vfo_bonds_has_vf: the VM has a VF in the pair of @standby, or has @pci in none. */
gboolean vfo_bonds_has_vf(const VfoVmInfo *info, const char *standby, const char *pci);

/** VfoWire: how one pair reaches the physical network on this host. */
typedef struct {
    char *network;
    const char *datapath; /* the way it is wired: "bridge", ...; host/'s, static */
    char *pf;             /* the PF's network interface */
    char *bridge;         /* NULL: the datapath has none */
    char *uplink;         /* the PF, or the VLAN interface on it that carries the standby */
    char *vf_port;        /* the VF's own port of the bridge; NULL: it has none */
    char *tap;
    guint mtu;            /* the PF's */
    guint filter_entries; /* addresses for which the PF's filter has room; 0: its driver says when
                             it is full */
    VfoMac mac;           /* the guest's */
    guint16 vlan;         /* in which the guest's VF itself has to be, 0: none */
    gboolean vlan_outer;  /* with a tag of 802.1ad (QinQ) */
    guint16 tag; /* of the guest's frames on the physical network, 0: none; the same, unless
                    the VF is behind a port of the bridge, which tags for it */
    gboolean tag_outer;
    GArray *trunk; /* of guint16: the tags that the guest itself gives its frames; NULL: none */
    GArray *vlans; /* of guint16: those in which the bridge carries the guest, 0: without one */
} VfoWire;

void vfo_wire_free(VfoWire *wire);
/** vfo_wire_describe: "tap0 reaches PF pf0 by datapath 'bridge', VLAN 100". Free with g_free(). */
char *vfo_wire_describe(const VfoWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoWire, vfo_wire_free)

/** VfoHostOps: this host's PFs, VFs and bridges. host/ fills this in.
 *  Every change is read back from the kernel before the op succeeds. */
typedef struct {
    /** Every VF of every configured PF. (transfer container) of VfoVf, or NULL. */
    GPtrArray *(*list_vfs)(VfoHost *host, GError **error);
    /** One VF. Free with vfo_vf_free(). */
    VfoVf *(*read_vf)(VfoHost *host, const char *pci, GError **error);
    /** Finds the wire of a pair from its @tap and, when it has been chosen, the @vf
     *  (NULL: the network's first PF that is usable). @settings are those of a VF that
     *  is the guest's: MAC address and VLAN (or VFO_VLAN_ANY). Fails when the PF is down, the tap
     * is not wired to it, or its frames are in another VLAN than the VF's. */
    VfoWire *(*find_wire)(VfoHost *host, const char *tap, const VfoVf *vf,
                          const VfoVfSettings *settings, GError **error);
    /** Whether open_pf() will find room in the PF's filter, by an address that nobody has, which is
     *  let in for a moment. VFO_ERROR_BUSY: it is full. Open already is success. */
    gboolean (*try_pf)(VfoHost *host, const VfoWire *wire, GError **error);
    /** Lets frames for the guest in on the PF side: filter on the PF, bridge
     *  entry to the tap. Succeeds when they are already there. */
    gboolean (*open_pf)(VfoHost *host, const VfoWire *wire, GError **error);
    /** Takes both away; nothing there is success. With @to_vf the bridge sends
     *  what its own ports have for the guest out through the PF, to its VF. */
    gboolean (*close_pf)(VfoHost *host, const VfoWire *wire, gboolean to_vf, GError **error);
    /** Tells the physical network that the guest is behind this PF now: one broadcast in the
     *  guest's name, so that switches send its frames here. */
    gboolean (*announce)(VfoHost *host, const VfoWire *wire, GError **error);
    /** Counts from here on what is sent to the standby, for drained(), until that or
     *  unwatch_standby(). What it cannot do is logged: the guest may lose frames then. */
    void (*watch_standby)(VfoHost *host, const VfoWire *wire);
    /** Ends that. Not counted is fine. */
    void (*unwatch_standby)(VfoHost *host, const VfoWire *wire);
    /** Done when the guest has for a while taken what is sent to its standby as it comes, or was
     *  never counted. VFO_ERROR_DEADLINE: it is behind after @wait_ms. Returns nothing. */
    void (*drained)(VfoHost *host, const VfoWire *wire, guint wait_ms, GTask *task);
    /** Both, with as little as possible in between: what is sent to the guest until then is lost.
     */
    gboolean (*draw)(VfoHost *host, const VfoWire *wire, GError **error);
    /** Gets ready for hold(), which then begins at once, for a guest that may be asked for its VF
     *  at any moment; release() takes it back. VFO_ERROR_NOT_SUPPORTED as there. */
    gboolean (*prepare_hold)(VfoHost *host, const VfoWire *wire, const char *pci, GError **error);
    /** VF @pci is about to leave the guest: keeps what arrives on the PF side, but for what the
     *  VF has delivered for certain, until release(). VFO_ERROR_NOT_SUPPORTED when this host or
     *  its wiring cannot; nothing has changed then. */
    gboolean (*hold)(VfoHost *host, const VfoWire *wire, const char *pci, GError **error);
    /** Delivers what is kept, in order, and keeps nothing more. Nothing kept is success. */
    gboolean (*release)(VfoHost *host, const VfoWire *wire, GError **error);
    /** Gives a VF its settings. What the driver cannot do fails only when it was asked
     *  for (a state that differs from the present one). */
    gboolean (*set_vf)(VfoHost *host, const char *pci, const VfoVfSettings *settings,
                       GError **error);
    /** Gets ready for hand_to_vf() (or close_pf() to a VF), which then takes effect at once. What
     *  it cannot do is logged: the guest gets some frames twice then. */
    void (*prepare_hand_to_vf)(VfoHost *host, const VfoWire *wire);
    /** set_vf() and close_pf() to the VF, as closely after one another as the kernel can: what is
     *  sent in between reaches the guest by both. After a failure the PF side may be closed. */
    gboolean (*hand_to_vf)(VfoHost *host, const VfoWire *wire, const char *pci,
                           const VfoVfSettings *settings, GError **error);
    /** A function-level reset of a VF that nobody has open; in a thread, as it
     *  takes 100 ms and more. Done when the VF answers again. Returns nothing. */
    void (*reset_vf)(VfoHost *host, const char *pci, GTask *task);
    /** Done when no process has the VF's vfio group open. Returns nothing. */
    void (*closed_vf)(VfoHost *host, const char *pci, GTask *task);
    /** Done when the guest's driver receives through the VF: its counters or
     *  interrupts have grown since they stood at @since. Returns nothing. */
    void (*used_vf)(VfoHost *host, const char *pci, guint64 since, GTask *task);
    /** The present value of what used_vf() watches. */
    gboolean (*activity_vf)(VfoHost *host, const char *pci, guint64 *activity, GError **error);
} VfoHostOps;

struct _VfoHost {
    const VfoHostOps *ops;
};

/** VfoOffer: what the source tells the destination before anything is touched. */
typedef struct {
    char *job; /* UUID */
    char *vm;
    char *machine;
    VfoPair *pair; /* with the primary's id and bus; its tap and VF are the source's */
    char *network;
    VfoVfSettings settings; /* of the source's VF; every attribute is carried over */
    guint16 vendor, device; /* of the source's VF; 0: unknown */
    guint mtu;              /* of the source's PF; 0: unknown */
    char *uuid; /* libvirt brings the domain of this UUID, without a VF; NULL: it does not */
} VfoOffer;

void vfo_offer_free(VfoOffer *offer);
VfoOffer *vfo_offer_copy(const VfoOffer *offer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoOffer, vfo_offer_free)

typedef struct _VfoPeer VfoPeer;

/** VfoPeerOps: the destination's daemon, seen from the source. peer/ fills this in. */
typedef struct {
    /** Makes the destination ready for @offer. Returns the URI to migrate to. Free with g_free().
     */
    void (*reserve)(VfoPeer *peer, const VfoOffer *offer, GTask *task);
    /** Tells the destination that the VM has been stopped here for the switch-over and that
     *  what is sent to it had better go there. Nobody waits for the answer: a destination that
     *  does not hear it opens its side when the VM runs there. */
    void (*stopped)(VfoPeer *peer);
    /** Done when the destination's half of the job has ended well. */
    void (*finished)(VfoPeer *peer, GTask *task);
    /** Tells the destination to undo its half. Nothing reserved is success. */
    void (*release)(VfoPeer *peer, GTask *task);
} VfoPeerOps;

struct _VfoPeer {
    const VfoPeerOps *ops;
    char *name;
};

/** vfo_task_done: completes @task, which returns nothing, and drops the reference. */
void vfo_task_done(GTask *task);

/** vfo_task_fail: completes @task with @error (transfer full) and drops the reference. */
void vfo_task_fail(GTask *task, GError *error);

/** vfo_task_return: vfo_task_done() if @ok, else vfo_task_fail() with @error (transfer full). */
void vfo_task_return(GTask *task, gboolean ok, GError *error);

/** vfo_task_inner: a task under @outer's cancellable whose @callback gets @outer as its data. */
GTask *vfo_task_inner(GTask *outer, GAsyncReadyCallback callback);

/* ------------------------------------------------------------- deadlines */

typedef enum {
    VFO_DEADLINE_QUERY,   /* QEMU answers a question */
    VFO_DEADLINE_PEER,    /* the other daemon answers */
    VFO_DEADLINE_UNPLUG,  /* the guest releases the primary */
    VFO_DEADLINE_HOLD,    /* frames are held for no longer than this */
    VFO_DEADLINE_CLOSE,   /* QEMU closes the VF's descriptors */
    VFO_DEADLINE_RESET,   /* the VF comes back from its reset */
    VFO_DEADLINE_MIGRATE, /* memory moves, until the switch-over */
    VFO_DEADLINE_SWITCH,  /* from the stop to the resume */
    VFO_DEADLINE_DRAIN,   /* the guest takes what waits for it, before it gets its VF */
    VFO_DEADLINE_PLUG,    /* QEMU realizes the primary */
    VFO_DEADLINE_USE,     /* the guest uses the primary */
    VFO_DEADLINE_ARRIVE,  /* the destination has done all that it does */
    VFO_N_DEADLINES
} VfoDeadline;

/** VfoPolicy: what the operator decided. Plain data, copied by assignment. */
typedef struct {
    guint deadline_ms[VFO_N_DEADLINES];
    guint64 max_bandwidth;   /* bytes/s, 0: leave QEMU's */
    guint downtime_limit_ms; /* 0: leave QEMU's */
    gboolean standby_only;   /* no VF free at the destination: go on without one */
    gboolean any_vf;         /* the guest may get a VF of another vendor:device than it had */
} VfoPolicy;

/** vfo_policy_default: the policy of a configuration file that says nothing. */
void vfo_policy_default(VfoPolicy *policy);

/** vfo_deadline_name: "unplug", as in the configuration file. */
const char *vfo_deadline_name(VfoDeadline deadline);

/* ---------------------------------------------------------------- leases */

typedef struct _VfoLeases VfoLeases;

/**
 * vfo_leases_new: who may touch which VF on this host: no lease, no reset, no
 * change of its MAC. A lease is one VF, one job, the VF's generation, an expiry.
 */
VfoLeases *vfo_leases_new(void);
void vfo_leases_free(VfoLeases *leases);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoLeases, vfo_leases_free)

/** vfo_leases_take: gives @pci, in its present generation, to @job for @seconds. VFO_ERROR_BUSY
 *  when another job's lease stands. */
gboolean vfo_leases_take(VfoLeases *leases, const char *pci, const char *job, guint seconds,
                         GError **error);
/** vfo_leases_check: TRUE while @job may touch @pci. */
gboolean vfo_leases_check(VfoLeases *leases, const char *pci, const char *job, GError **error);
/** vfo_leases_drop: ends @job's lease of @pci; none is fine. */
void vfo_leases_drop(VfoLeases *leases, const char *pci, const char *job);
/** vfo_leases_holder: the job that holds @pci, NULL: nobody. Valid until the next call. */
const char *vfo_leases_holder(VfoLeases *leases, const char *pci);
/** vfo_leases_of_domain: the name under which something is kept for @domain itself while no job of
 * it has it, in place of a job's. Free with g_free(). */
char *vfo_leases_of_domain(const char *domain);
/** vfo_leases_generation: how often @pci has gone back to the pool. */
guint64 vfo_leases_generation(VfoLeases *leases, const char *pci);
/** vfo_leases_gone: @pci is no longer there: its lease ends, and what comes back under its address
 *  is another VF, of the next generation. */
void vfo_leases_gone(VfoLeases *leases, const char *pci);
/** vfo_leases_returned: @pci is clean, and back in the pool: its generation grows by one, its lease
 *  ends. */
void vfo_leases_returned(VfoLeases *leases, const char *pci);

/** VfoOwned: whether @vf is that of a VM other than @vm on this host. */
typedef gboolean (*VfoOwned)(const VfoVf *vf, const char *vm, gpointer data);

/** vfo_leases_set_owned: who knows that. NULL, as at first: nobody. */
void vfo_leases_set_owned(VfoLeases *leases, VfoOwned owned, gpointer data);
/**
 * vfo_leases_owned: whether @vf is a VM's other than @vm, without a lease; or is kept for it, as
 * vfo_leases_keep() has it. It may be a VM's and not be open: QEMU opens the VF of a pair when the
 * guest has negotiated failover, which takes until its kernel runs.
 */
gboolean vfo_leases_owned(const VfoLeases *leases, const VfoVf *vf, const char *vm);

/**
 * vfo_leases_keep: @pci, which @vm had and of which @holder has a lease, could not be cleaned, as
 * @why says: the lease ends, and nobody but @vm gets it until vfo_leases_returned(), or it goes
 * away. Logged the first time. One of which @holder has no lease (any more) is not kept.
 */
void vfo_leases_keep(VfoLeases *leases, const char *pci, const char *holder, const char *vm,
                     const GError *why);
/** vfo_leases_unkeep: it is kept no longer, as a VM has it again. */
void vfo_leases_unkeep(VfoLeases *leases, const char *pci);
/** vfo_leases_unclean: why @pci, if it is kept and @vm is not the VM that had it; else NULL. Valid
 *  until the next call. */
const char *vfo_leases_unclean(const VfoLeases *leases, const char *pci, const char *vm);
/** vfo_leases_kept: all that are kept (transfer full): PCI address -> VM that had it. */
GHashTable *vfo_leases_kept(const VfoLeases *leases);
/** vfo_leases_held: of char * (transfer full): the PCI addresses of those that @job holds. */
GPtrArray *vfo_leases_held(const VfoLeases *leases, const char *job);

/** VfoUnmet: why there may be a VM on this host of which nothing is known yet (transfer full);
 * NULL: there is none. */
typedef GError *(*VfoUnmet)(gpointer data);

/** vfo_leases_set_unmet: who knows that. NULL, as at first: nobody. */
void vfo_leases_set_unmet(VfoLeases *leases, VfoUnmet unmet, gpointer data);
/** vfo_leases_doubt: why @vf, of which vfo_leases_owned() knows no owner, may have one all the same
 *  (transfer full); NULL: it has none. It has an address that somebody has given it, which may be
 *  that of a VM of which nothing is known yet. */
GError *vfo_leases_doubt(const VfoLeases *leases, const VfoVf *vf);

/**
 * vfo_clean_vf: what the steps "park", "close", "reset" and "return" do, for a VF that no guest has
 * any more and no step sees to: it is parked, open nowhere, parked once more, reset, and back in
 * the pool. @holder has its lease, and keeps it if that fails. Does not block; returns nothing.
 */
void vfo_clean_vf(VfoHost *host, VfoLeases *leases, const VfoVf *vf, const char *holder,
                  GTask *task);

/* ---------------------------------------------------------------- choice */

/** VfoWant: what a guest needs of a VF. Nothing in it is owned. */
typedef struct {
    const char *vm; /* its name */
    const char *network;
    guint16 vendor, device; /* of the VF that its driver knows; 0: any */
    gboolean any_vf;        /* ... if there is one; else any other */
    guint mtu;              /* of the PF, at least; 0: any */
    VfoMac mac;             /* the guest's: a VF that has it is taken before others */
    int numa_node;          /* its QEMU's; -1: unknown */
    gboolean stays;         /* the VM is on this host already: for the words of an error */
    gboolean needs;         /* the VM cannot come without: likewise */
} VfoWant;

/** vfo_vf_is_free: @vm may get @vf: bound to vfio-pci, open nowhere, leased to nobody, no other
 *  VM's, without a doubt. */
gboolean vfo_vf_is_free(const VfoVf *vf, VfoLeases *leases, const char *vm);
/** vfo_vf_doubt: the doubt (vfo_leases_doubt()) that alone keeps @vf from being free; NULL: there
 * is none, or more. Transfer full. */
GError *vfo_vf_doubt(const VfoVf *vf, VfoLeases *leases, const char *vm);

/** vfo_want_like: a VF like the one of @offer, as far as @policy wants that. QEMU's NUMA node is
 *  left unknown. */
VfoWant vfo_want_like(const VfoOffer *offer, const VfoPolicy *policy);

/**
 * vfo_choose_vf: of @vfs (of VfoVf) one that is free and in the network. Preferred in this order:
 * its PF can carry frames; with the MTU; the same vendor:device; one that has the guest's MAC, and
 * would go on to take the guest's frames away; QEMU's NUMA node; the PF with the least share of its
 * VFs in use; the first.
 * Borrowed from @vfs. NULL and VFO_ERROR_BUSY: there is none.
 *
 * A VF whose PF is down, or has too small an MTU, is chosen when there is no better: what looks at
 * the PF tells what is wrong with it.
 */
const VfoVf *vfo_choose_vf(const GPtrArray *vfs, VfoLeases *leases, const VfoWant *want,
                           GError **error);

/* ------------------------------------------------------------------ jobs */

typedef struct _VfoJob VfoJob;

typedef void (*VfoStepFunc)(VfoJob *job, GTask *task);

typedef enum {
    /* Once this step is done the VM belongs to the other side of it: it and the
     * steps before it are no longer undone. */
    VFO_STEP_COMMITS = 1 << 0,
    /* The VM is between two hosts: the user may not cancel. */
    VFO_STEP_NO_CANCEL = 1 << 1,
    /* When the undo of this step fails the VM may be on the other host: what
     * was done before it is left as it is. */
    VFO_STEP_UNDO_OR_STOP = 1 << 2,
    /* What was asked for comes about whether or not somebody waits for it: a
     * cancellation takes effect when the step has ended. */
    VFO_STEP_CANCEL_AFTER = 1 << 3,
    /* It waits for somebody else while the job needs its VF: without the VF it is
     * pointless to wait on. */
    VFO_STEP_NEEDS_VF = 1 << 4,
} VfoStepFlags;

/** VfoStep: one line of a hand-over. */
typedef struct {
    const char *name;
    const char *waits_for; /* the observable, for the log and the deadline's error */
    VfoStepFunc run;       /* completes its task when the observable was seen */
    VfoDeadline deadline;
    VfoStepFunc undo; /* must bear a step that was only half done; NULL: nothing to undo */
    VfoDeadline undo_deadline;
    guint flags; /* VfoStepFlags */
    /* TRUE while the step, which is running, may not be cancelled; NULL: it always may. */
    gboolean (*veto)(VfoJob *job);
    /* While the step runs, the settings of the job's VF have become those of @now, whoever it was;
     * NULL: they are left so. */
    void (*changed)(VfoJob *job, const VfoVf *now);
} VfoStep;

typedef enum {
    VFO_RESULT_RUNNING,
    VFO_RESULT_OK,
    VFO_RESULT_SKIPPED,
    VFO_RESULT_FAILED,
    VFO_RESULT_CANCELLED,
    VFO_RESULT_UNDONE,      /* a record of an undo that worked */
    VFO_RESULT_UNDO_FAILED, /* ... and of one that did not */
} VfoResult;

const char *vfo_result_name(VfoResult result);
/** vfo_result_parse: the inverse; FALSE when @name is no result's name. */
gboolean vfo_result_parse(const char *name, VfoResult *result);

/** VfoRecord: what happened to one step, for the timeline. */
typedef struct {
    char *step;
    char *host;      /* the daemon that ran it */
    gint64 start_us; /* CLOCK_REALTIME */
    gint64 duration_us;
    gint64 own_us; /* by which the daemon itself prolonged it (vfo_stopwatch_own_us()); what it
                      did since the step before is counted here */
    VfoResult result;
    char *detail; /* an error, or a remark; NULL: none */
} VfoRecord;

void vfo_record_free(VfoRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoRecord, vfo_record_free)

typedef enum {
    VFO_JOB_RUNNING,
    VFO_JOB_UNDOING,
    VFO_JOB_COMPLETED,
    VFO_JOB_DEGRADED,  /* the VM has moved, but without its VF */
    VFO_JOB_CANCELLED, /* undone at the user's wish */
    VFO_JOB_FAILED,    /* undone after a failure */
} VfoJobState;

const char *vfo_job_state_name(VfoJobState state);
gboolean vfo_job_state_parse(const char *name, VfoJobState *state);

/** VfoJobChanged: @record began, ended, or (NULL) the job's state or progress changed. */
typedef void (*VfoJobChanged)(VfoJob *job, const VfoRecord *record, gpointer data);

/**
 * vfo_job_new: a job that will run @n_steps of @steps on @host (this daemon's
 * name) for the VM named @vm. @steps must outlive it. @id is a UUID.
 */
VfoJob *vfo_job_new(const char *id, const char *vm, const char *host, const VfoStep *steps,
                    guint n_steps, const VfoPolicy *policy);
VfoJob *vfo_job_ref(VfoJob *job);
void vfo_job_unref(VfoJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoJob, vfo_job_unref)

/** vfo_job_set_kind: what the user called for: @kind, a constant ("migrate" if nobody says), and
 * the VM whose VF it takes, NULL: none; the job is that VM's as well. Before the job runs. */
void vfo_job_set_kind(VfoJob *job, const char *kind, const char *from);
const char *vfo_job_kind(VfoJob *job);
/** vfo_job_from: the VM whose VF another VM gets; NULL: none. */
const char *vfo_job_from(VfoJob *job);
/** vfo_job_concerns: @vm is the job's, or the one it takes a VF from. */
gboolean vfo_job_concerns(VfoJob *job, const char *vm);

/** vfo_job_set_pair: @job is about the VM's pair of @standby alone, and of several such jobs, one
 * for each pair, all may be under way at a time. Before the job runs. */
void vfo_job_set_pair(VfoJob *job, const char *standby);
/** vfo_job_pair: the standby of that pair; NULL: the job is about the whole VM. */
const char *vfo_job_pair(VfoJob *job);

/** vfo_job_set_context: what the steps work on; @free_func runs when the job is freed. */
void vfo_job_set_context(VfoJob *job, gpointer context, GDestroyNotify free_func);
gpointer vfo_job_context(VfoJob *job);
const VfoPolicy *vfo_job_policy(VfoJob *job);

/**
 * vfo_job_inner_task: vfo_task_inner() for a step that waits for an op. @job becomes @outer's task
 * data; borrowed, as it lives until its last step has completed.
 */
GTask *vfo_job_inner_task(VfoJob *job, GTask *outer, GAsyncReadyCallback callback);

/** vfo_job_on_change: one listener; called on the main loop's thread. */
void vfo_job_on_change(VfoJob *job, VfoJobChanged changed, gpointer data);

/**
 * vfo_job_run: starts the first step and returns. The job keeps itself alive
 * until it has ended; the listener is told.
 */
void vfo_job_run(VfoJob *job);

/**
 * vfo_job_cancel: ends the present step and undoes what was done. Fails,
 * changing nothing, when the job has ended or the VM has already moved.
 */
gboolean vfo_job_cancel(VfoJob *job, GError **error);

/** vfo_job_undo_within: the daemon stops: from here on all undos of @job, the one that runs
 * included, are waited for no longer than @ms together. Each is begun all the same. */
void vfo_job_undo_within(VfoJob *job, guint ms);

/** vfo_job_lost_vf: the VF that @job has leased is gone, as @why says: a step that needs it fails
 *  with a copy of that. FALSE: the job goes on, until it finds the VF missing or without it. */
gboolean vfo_job_lost_vf(VfoJob *job, const GError *why);

/** vfo_job_vf_changed: the settings of the VF that @job has leased are those of @now, by the job's
 *  hand or another's: the running step is told. */
void vfo_job_vf_changed(VfoJob *job, const VfoVf *now);

/** vfo_job_remark: puts @detail on the record of the running step, with @result as its
 *  outcome if it is OK otherwise (VFO_RESULT_OK or VFO_RESULT_SKIPPED). */
void vfo_job_remark(VfoJob *job, VfoResult result, const char *detail);

/** vfo_job_undo_no_further: when the undo that is running fails, what was done before its step is
 *  left as it is: the VM may be on the other host. */
void vfo_job_undo_no_further(VfoJob *job);

/** vfo_job_degrade: the job will end as VFO_JOB_DEGRADED for @reason unless it fails. */
void vfo_job_degrade(VfoJob *job, const char *reason);

/** vfo_job_add_record: adds or (same host, step and start) replaces a record that
 *  another daemon made (transfer full). One that bears this daemon's own name, or is one too
 *  many, is dropped. */
void vfo_job_add_record(VfoJob *job, VfoRecord *record);

const char *vfo_job_id(VfoJob *job);
const char *vfo_job_vm(VfoJob *job);
VfoJobState vfo_job_state(VfoJob *job);
/** vfo_job_ended: the job's last listener call has been made or is being made. */
gboolean vfo_job_ended(VfoJob *job);
/** vfo_job_error: why it failed or is degraded; NULL: it did not. */
const GError *vfo_job_error(VfoJob *job);
/** vfo_job_records: of VfoRecord (transfer none): our own in order of their start, another
 *  daemon's in order of arrival. */
GPtrArray *vfo_job_records(VfoJob *job);
/** vfo_job_step: the running step; NULL: none. */
const VfoStep *vfo_job_step(VfoJob *job);

/* ----------------------------------------------------------------- notes */

typedef struct _VfoNotes VfoNotes;

/**
 * vfo_notes_new: tells @told of records later: when the loop has nothing else to do, in the order
 * in which they were first added. A record that changes before it is told of is told of once.
 * A listener of jobs that sends what it hears to somebody does not hold up the next step this way.
 */
VfoNotes *vfo_notes_new(VfoJobChanged told, gpointer data);
/** vfo_notes_add: @record, which is one of @job's. */
void vfo_notes_add(VfoNotes *notes, VfoJob *job, const VfoRecord *record);
/** vfo_notes_flush: tells of all that was added, now. */
void vfo_notes_flush(VfoNotes *notes);
/** vfo_notes_free: tells nothing more. */
void vfo_notes_free(VfoNotes *notes);

/* ------------------------------------------------------------- hand-over */

typedef struct _VfoAbsences VfoAbsences;

/**
 * vfo_absences_new: remembers which VMs of this host are without a VF that they had, or are about
 * to be, and what it was like, so that the next one is. What outlives this is up to who listens
 * (vfo_absences_on_change()).
 */
VfoAbsences *vfo_absences_new(void);
void vfo_absences_free(VfoAbsences *absences);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoAbsences, vfo_absences_free)

/** VFO_MAX_ABSENCES: many times the VMs of a host; of more the oldest is forgotten. */
#define VFO_MAX_ABSENCES 4096

/** VfoAbsencesChanged: another absence is known, or one is not, or not as before. */
typedef void (*VfoAbsencesChanged)(VfoAbsences *absences, gpointer data);

/** vfo_absences_on_change: @changed is called from here on, before what changes something returns;
 *  in place of who was called before. NULL: nobody is. A wire is no part of what is told of. */
void vfo_absences_on_change(VfoAbsences *absences, VfoAbsencesChanged changed, gpointer data);

/** vfo_absences_nth: the oldest is 0; NULL: there are not so many. @wanted (NULL: not asked for) as
 *  in vfo_absences_note(). Valid until the next change. */
const VfoOffer *vfo_absences_nth(VfoAbsences *absences, guint index, gboolean *wanted);

/** vfo_absences_note: @offer describes the VF that offer->vm is without, or is asked for in a
 *  moment, at the standby of offer->pair. @wanted: it came standby-only and gets one when there is
 *  one. Replaces what was known of that standby, but for its wire. */
void vfo_absences_note(VfoAbsences *absences, const VfoOffer *offer, gboolean wanted);
/** vfo_absences_keep: the PF side at @wire (transfer full) is open for what is known of that VM's
 *  standby, and to be closed when the VM goes. */
void vfo_absences_keep(VfoAbsences *absences, const char *vm, const char *standby, VfoWire *wire);
/** vfo_absences_wires: of VfoWire (transfer container): those kept for @vm. Valid until the next
 *  call. */
GPtrArray *vfo_absences_wires(VfoAbsences *absences, const char *vm);
/** vfo_absences_has_wire: one is kept for that very standby. */
gboolean vfo_absences_has_wire(VfoAbsences *absences, const char *vm, const char *standby);
/** vfo_absences_forget: the VM has a VF at @standby (NULL: at all of them), or has gone. */
void vfo_absences_forget(VfoAbsences *absences, const char *vm, const char *standby);
/** vfo_absences_find: NULL: nothing is known. Valid until the next call. */
const VfoOffer *vfo_absences_find(VfoAbsences *absences, const char *vm, const char *standby);
/** vfo_absences_unwant: the VM has got a VF at @standby; what is known of it stays known. */
void vfo_absences_unwant(VfoAbsences *absences, const char *vm, const char *standby);
/** vfo_absences_wanted: of VfoOffer (transfer container): those of @network that were noted as
 *  wanted, the oldest first. Valid until the next call. */
GPtrArray *vfo_absences_wanted(VfoAbsences *absences, const char *network);

/** VFO_URI_LIBVIRT: what a destination answers to a reservation, in place of a URI, when libvirt
 *  migrates the VM. */
#define VFO_URI_LIBVIRT "libvirt"

/** VfoReady: @job has got so far that whoever waits for it may go on. */
typedef void (*VfoReady)(VfoJob *job, gpointer data);

/** VfoSourceArgs: what the source's steps work on. None of it is owned, but for the strings; all of
 * it must outlive the job. */
typedef struct {
    VfoVm *vm;         /* not owned */
    VfoHost *host;     /* not owned */
    VfoPeer *peer;     /* not owned */
    VfoLeases *leases; /* not owned */

    /* For vfo_source_job() alone. */
    VfoAbsences *absences;   /* not owned; NULL: nobody remembers */
    const char *libvirt_uri; /* of the libvirt there, by which libvirt migrates args->vm when it is
                                without its VF; NULL: it is not libvirt's; copied */

    /* For vfo_follow_source_job() alone. */
    const char *job;     /* the UUID that the destination has chosen; copied */
    const char *standby; /* of which pair; copied */
    VfoReady ready; /* the destination is ready, and QEMU is watched here; NULL: nobody waits */
    gpointer data;
} VfoSourceArgs;

/** vfo_source_job: the source's half of a hand-over of args->vm to args->peer. */
VfoJob *vfo_source_job(const char *host_name, const VfoSourceArgs *args, const VfoPolicy *policy);

/** vfo_follow_source_job: the same while libvirt migrates args->vm to the host of args->peer: it
 *  asks QEMU for nothing but to give up (cancel()) when the job fails. A VM with several pairs has
 *  one such job for each, and all of them watch one and the same migration. */
VfoJob *vfo_follow_source_job(const char *host_name, const VfoSourceArgs *args,
                              const VfoPolicy *policy);

/** VfoReserved: the destination is ready and listens on @uri. */
typedef void (*VfoReserved)(VfoJob *job, const char *uri, gpointer data);

typedef struct {
    VfoVm *vm;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences; /* NULL: nobody remembers */
    const VfoOffer *offer; /* copied */
    const char *address;   /* where QEMU shall listen; copied */
    const char *ports;     /* copied */
    VfoReserved reserved;
    gpointer data;

    /* For vfo_follow_destination_job() alone, which needs neither address nor ports. */
    VfoReady wired; /* the standby reaches the network, and the VF is parked: QEMU may be
                       started; NULL: nobody waits */
    gpointer wired_data;
} VfoDestinationArgs;

/** vfo_destination_job: the destination's half, under the source's job id. */
VfoJob *vfo_destination_job(const char *host_name, const VfoDestinationArgs *args,
                            const VfoPolicy *policy);

/** vfo_follow_destination_job: the same for a VM that libvirt is about to start here, to receive
 *  it. args->reserved is told VFO_URI_LIBVIRT when a VF is leased (vfo_follow_destination_vf()). */
VfoJob *vfo_follow_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                   const VfoPolicy *policy);

/** vfo_bare_destination_job: the destination's half of vfo_source_job() for a VM that libvirt
 *  migrates without its VF: args->vm, which is expected, gets one when it runs here. Needs neither
 *  address nor ports; args->reserved is told VFO_URI_LIBVIRT. */
VfoJob *vfo_bare_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                 const VfoPolicy *policy);

/** vfo_follow_destination_vf: the PCI address of the VF that the VM gets; NULL: it gets none, or
 *  @job has not chosen yet. Valid while the job lives. */
const char *vfo_follow_destination_vf(VfoJob *job);

/** vfo_follow_destination_yield: libvirt is about to start the VM with another VF, which it has
 *  taken from a pool of its own: that of @job may be had by another job, this one takes the other
 *  when QEMU is started. */
void vfo_follow_destination_yield(VfoJob *job);

/**
 * vfo_destination_stopped: the source has stopped the VM of @job, whose memory is arriving: the PF
 * side is opened here and the network told of it, so that the frames which are sent until the VM
 * runs wait in its standby's tap instead of going to a VM that is stopped. Fails, changing nothing,
 * when @job does not wait for its VM to run, or no memory has begun to arrive.
 */
gboolean vfo_destination_stopped(VfoJob *job, GError **error);

/** vfo_destination_orphaned: the source's daemon is gone: undo, unless memory is arriving. */
void vfo_destination_orphaned(VfoJob *job);

/* --------------------------------------------------------------- lending */

/** VfoDetachArgs: a VM that shall be without its VF. Only the strings are copied. */
typedef struct {
    VfoVm *vm;
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    const char *standby; /* of which pair; NULL: of the one that has a VF */
} VfoDetachArgs;

/** vfo_detach_job: args->vm goes on on its standby, and its VF back to the pool. */
VfoJob *vfo_detach_job(const char *host_name, const VfoDetachArgs *args, const VfoPolicy *policy);

/** VfoAttachArgs: a VM that shall have a VF. Only the strings are copied. */
typedef struct {
    VfoVm *vm;
    VfoVm *from; /* gives its VF; NULL: one of the pool is taken */
    VfoHost *host;
    VfoLeases *leases;
    VfoAbsences *absences;
    const char *standby; /* for which pair; NULL: for the one that has no VF */
    const char *vf;      /* PCI address; NULL: any */
} VfoAttachArgs;

/** vfo_attach_job: args->vm, which is on its standby, gets a VF. When it cannot use the one of
 *  args->from, that VM gets it back. */
VfoJob *vfo_attach_job(const char *host_name, const VfoAttachArgs *args, const VfoPolicy *policy);

/* -------------------------------------------------------------- steering */

typedef struct _VfoSteering VfoSteering;

/**
 * vfo_steering_new: keeps the way to guests that are on their VFs right on this host while no job
 * works on them: what others on the host have for such a guest goes out through the PF, to its VF,
 * and not to its standby, which is deaf then. What goes wrong is logged. @host is not owned.
 */
VfoSteering *vfo_steering_new(VfoHost *host);
void vfo_steering_free(VfoSteering *steering);

/** vfo_steering_see: a VM that no job works on, as it is now. One that has lost its VF to
 *  somebody else is on its standby from now on. */
void vfo_steering_see(VfoSteering *steering, const VfoVmInfo *info);
/** vfo_steering_forget: a job takes @vm over, or it runs elsewhere: nothing is changed. */
void vfo_steering_forget(VfoSteering *steering, const char *vm);
/** vfo_steering_gone: @vm's QEMU has ended: nothing here leads to it any more. */
void vfo_steering_gone(VfoSteering *steering, const char *vm);

/* ------------------------------------------------------------- stopwatch */

/*
 * How much time this daemon adds to a hand-over: the processor time of its main
 * thread, without poll(2), without what the kernel does on our behalf, and
 * without the turns of the main loop that delay nobody.
 */

/**
 * vfo_stopwatch_install: begins to count this thread's processor time, and keeps
 * what poll(2) takes out of it. Once, before the loop runs.
 */
void vfo_stopwatch_install(GMainContext *context);

/** vfo_stopwatch_own_us: the processor time that this thread has used since the stopwatch was
 *  installed: outside poll(2), outside spans, and in no spare turn of the loop. */
gint64 vfo_stopwatch_own_us(void);

/** vfo_stopwatch_turn_us: what vfo_stopwatch_own_us() was when this turn of the loop began. */
gint64 vfo_stopwatch_turn_us(void);

/** vfo_stopwatch_begin_outside: from here on the kernel works for us (a netlink request,
 *  sysfs). Spans may nest; they end before a task is completed, as what follows belongs to the next
 *  step. */
void vfo_stopwatch_begin_outside(void);
void vfo_stopwatch_end_outside(void);

/** vfo_stopwatch_spare: this turn of the loop delays nobody, as somebody else is waited for (a
 *  look that finds nothing, news that change nothing): it is not counted, with all that the loop
 *  itself takes for it, unless vfo_stopwatch_press() is called in it as well. */
void vfo_stopwatch_spare(void);

/** vfo_stopwatch_begin_spare: vfo_stopwatch_spare(), and nobody waits for what is sent from here to
 *  vfo_stopwatch_end_spare() either. Spans may nest. */
void vfo_stopwatch_begin_spare(void);
void vfo_stopwatch_end_spare(void);
/** vfo_stopwatch_is_spare: in such a span. */
gboolean vfo_stopwatch_is_spare(void);
/** vfo_stopwatch_spares: how often vfo_stopwatch_spare() was called. */
guint vfo_stopwatch_spares(void);

/** vfo_stopwatch_press: the hand-over waits for what is done in this turn of the loop. */
void vfo_stopwatch_press(void);
