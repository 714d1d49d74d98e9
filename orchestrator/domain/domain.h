/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of domain/: what libvirt's domain XML says of a VM's pairs, and the
 * few changes of it that a hand-over needs. Knows no libvirt: text in, text out.
 */
#pragma once

#include "core/core.h"

/** VFO_DOMAIN_MAX: no domain XML is longer, in bytes. */
#define VFO_DOMAIN_MAX (1024 * 1024)

/** VfoDomainForm: how the domain has its VF. */
typedef enum {
    VFO_DOMAIN_HOSTDEV,   /* <hostdev>: libvirt leaves MAC and VLAN to others */
    VFO_DOMAIN_INTERFACE, /* <interface type='hostdev'>: libvirt sets MAC and VLAN */
    VFO_DOMAIN_NETWORK,   /* <interface type='network'> whose VF libvirt takes from a pool */
} VfoDomainForm;

/** VfoDomainPair: a <teaming> pair; or a standby that has no VF; or (no standby) a VF that belongs
 *  to no pair, where a plain <hostdev> may be any PCI device. */
typedef struct {
    char *standby; /* alias of the virtio interface, by which <teaming persistent=> calls it */
    VfoMac mac;    /* the pair's; zero: a plain <hostdev> without a standby */
    char *tap;     /* NULL: libvirt has not made it yet */
    char *bridge;  /* NULL: not named */
    guint16 vlan;  /* 0: none, or a trunk */
    char *primary; /* alias of the VF; NULL: it has none, or there is no VF */
    char *vf;      /* "0000:01:10.0"; NULL: none, or not taken from its pool yet */
    gboolean has_vf;
    VfoDomainForm form;   /* with has_vf */
    gboolean managed;     /* libvirt binds it to vfio-pci and back */
    char *network;        /* libvirt's network that it is taken from; NULL: none */
    gboolean virtualport; /* either of the two has a <virtualport> */
} VfoDomainPair;

void vfo_domain_pair_free(VfoDomainPair *pair);

/** VfoDomain: a domain as its XML describes it. Free with vfo_domain_free(). */
typedef struct {
    char *name;
    char *uuid;       /* lower case */
    char *machine;    /* "pc-q35-10.0"; NULL: not said */
    int numa_node;    /* the only one of the host that its memory may come from; -1: others too */
    GPtrArray *pairs; /* of VfoDomainPair */
    GPtrArray *plain; /* of VfoDomainPair: interfaces without <teaming> that are no VF */
} VfoDomain;

/** VFO_DOMAIN_BONDED: how the alias of a VF begins that belongs to no pair and that vfailover has
 *  given the domain. */
#define VFO_DOMAIN_BONDED "ua-vfailover-with-"

/** vfo_domain_new: a domain of which nothing more is known; both are copied. */
VfoDomain *vfo_domain_new(const char *name, const char *uuid);
void vfo_domain_free(VfoDomain *domain);
VfoDomain *vfo_domain_copy(const VfoDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoDomain, vfo_domain_free)

/**
 * vfo_domain_parse: reads the @length bytes of a domain's XML: live ('virsh dumpxml'), inactive, or
 * the migratable one that libvirt's hooks get. VFO_ERROR_INVALID, with the domain's name
 * once that is known, for what is no domain, is longer than VFO_DOMAIN_MAX, has a DTD, or has
 * pairs that contradict themselves. Reads nothing but @xml.
 *
 * A standby without an alias is left out: no VF can name it. So is an interface without <teaming>
 * that has none, or has no MAC.
 */
VfoDomain *vfo_domain_parse(const char *xml, gsize length, GError **error);

/** vfo_domain_pair: the pair of the standby called @standby; NULL: there is none. Borrowed. */
const VfoDomainPair *vfo_domain_pair(const VfoDomain *domain, const char *standby);

/**
 * vfo_domain_set_vf: the same XML with @pci as the VF of the pair of @standby, and nothing else
 * changed (as XML goes: quotes and the like may be). Free with g_free(). VFO_ERROR_NOT_SUPPORTED
 * when libvirt takes the VF from a pool: the ABI check at the destination does not let another form
 * pass for it.
 */
char *vfo_domain_set_vf(const char *xml, gsize length, const char *standby, const char *pci,
                        GError **error);

/**
 * vfo_domain_set_vfs: the same of all pairs of @running, which is the same domain, that have a VF:
 * @xml with the VFs that they have. NULL without an error: it has these. Free with g_free(). A VF
 * that libvirt takes from a pool is left as it is, and so is a pair that has no VF in @xml;
 * VFO_ERROR_NOT_FOUND: there is such a pair, and nothing to change for any other.
 */
char *vfo_domain_set_vfs(const char *xml, gsize length, const VfoDomain *running, GError **error);

/**
 * vfo_domain_make_pair: the same domain (inactive XML) with the VF @pci for one of its interfaces:
 * the interface becomes a standby, and a <hostdev> its primary. @interface: its MAC address or
 * alias; NULL: the only one that can be a standby. Nothing else is changed. Free with g_free().
 * VFO_ERROR_INVALID, with the interfaces there are, when it cannot be told which one is meant.
 */
char *vfo_domain_make_pair(const char *xml, gsize length, const char *interface, const char *pci,
                           GError **error);

/** vfo_domain_unmake_pair: the inverse: the VF of @standby (NULL: of the only one there is) goes,
 *  and the interface is an ordinary one. Free with g_free(). VFO_ERROR_NOT_FOUND: no such pair. */
char *vfo_domain_unmake_pair(const char *xml, gsize length, const char *standby, GError **error);
