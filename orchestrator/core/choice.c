/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which VF a guest gets.
 */
#include "core/core.h"

/* As far as is known. */
static gboolean is_unused(const VfoVf *vf, VfoLeases *leases, const char *vm)
{
    return g_strcmp0(vf->driver, "vfio-pci") == 0 && !vf->opened &&
           !vfo_leases_holder(leases, vf->pci) && !vfo_leases_owned(leases, vf, vm);
}

GError *vfo_vf_doubt(const VfoVf *vf, VfoLeases *leases, const char *vm)
{
    return is_unused(vf, leases, vm) ? vfo_leases_doubt(leases, vf) : NULL;
}

gboolean vfo_vf_is_free(const VfoVf *vf, VfoLeases *leases, const char *vm)
{
    g_autoptr(GError) doubt = NULL;

    if (!is_unused(vf, leases, vm))
        return FALSE;
    doubt = vfo_leases_doubt(leases, vf);
    return doubt == NULL;
}

static gboolean is_same_device(const VfoVf *vf, const VfoWant *want)
{
    return (!want->vendor && !want->device) ||
           (vf->vendor == want->vendor && vf->device == want->device);
}

VfoWant vfo_want_like(const VfoOffer *offer, const VfoPolicy *policy)
{
    return (VfoWant){
        .vm = offer->vm,
        .network = offer->network,
        .vendor = offer->vendor,
        .device = offer->device,
        .any_vf = policy->any_vf,
        .mtu = offer->mtu,
        .mac = offer->settings.mac,
        .numa_node = -1,
    };
}

/* Which of @vfs are free: asked for once, as each may be compared with each. */
static gboolean *find_free(const GPtrArray *vfs, VfoLeases *leases, const char *vm)
{
    gboolean *is_free = g_new(gboolean, vfs->len);

    for (guint i = 0; i < vfs->len; i++)
        is_free[i] = vfo_vf_is_free(g_ptr_array_index(vfs, i), leases, vm);
    return is_free;
}

/* How many VFs the PF of @one has in all, and in use. */
static void count_pf(const GPtrArray *vfs, const gboolean *is_free, const VfoVf *one, guint *all,
                     guint *used)
{
    *all = *used = 0;
    for (guint i = 0; i < vfs->len; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);

        if (!g_str_equal(vf->pf, one->pf))
            continue;
        ++*all;
        *used += !is_free[i];
    }
}

/* What is better about one VF than another, the most important first. */
typedef struct {
    const VfoVf *vf;
    gboolean merits[6];
    guint all, used; /* VFs of its PF */
} Candidate;

static Candidate weigh(const VfoVf *vf, const GPtrArray *vfs, const gboolean *is_free,
                       const VfoWant *want, gboolean is_clean)
{
    Candidate candidate = {
        .vf = vf,
        .merits = {vf->usable, vf->mtu >= want->mtu, is_same_device(vf, want), is_clean,
                   vfo_mac_equal(&vf->settings.mac, &want->mac),
                   want->numa_node >= 0 && vf->numa_node == want->numa_node},
    };

    count_pf(vfs, is_free, vf, &candidate.all, &candidate.used);
    return candidate;
}

static gboolean is_better(const Candidate *a, const Candidate *b)
{
    for (gsize i = 0; i < G_N_ELEMENTS(a->merits); i++)
        if (!a->merits[i] != !b->merits[i])
            return a->merits[i];
    return (guint64)a->used * b->all < (guint64)b->used * a->all;
}

/* About one of the VFs that @want could have. */
static GError *find_doubt(const GPtrArray *vfs, VfoLeases *leases, const VfoWant *want)
{
    GError *doubt = NULL;

    for (guint i = 0; i < vfs->len && !doubt; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);

        if (g_str_equal(vf->network, want->network))
            doubt = vfo_vf_doubt(vf, leases, want->vm);
    }
    return doubt;
}

const VfoVf *vfo_choose_vf(const GPtrArray *vfs, VfoLeases *leases, const VfoWant *want,
                           GError **error)
{
    const char *where = want->stays ? "" : " at the destination";
    g_autofree gboolean *is_free = find_free(vfs, leases, want->vm);
    const VfoVf *other = NULL; /* free, but of another vendor:device */
    g_autoptr(GError) doubt = NULL;
    Candidate best = {0};
    guint in_network = 0;

    for (guint i = 0; i < vfs->len; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);
        Candidate candidate;

        if (!g_str_equal(vf->network, want->network))
            continue;
        in_network++;
        if (!is_free[i])
            continue;
        if (!want->any_vf && !is_same_device(vf, want)) {
            other = vf;
            continue;
        }
        candidate = weigh(vf, vfs, is_free, want, !vfo_leases_unclean(leases, vf->pci, NULL));
        if (!best.vf || is_better(&candidate, &best))
            best = candidate;
    }
    doubt = best.vf ? NULL : find_doubt(vfs, leases, want);
    if (!best.vf && other)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "no VF of network '%s' that is free%s is a %04x:%04x, for which the guest has "
                    "the driver (VF %s is a %04x:%04x): free one, or set 'vf-match = any'%s",
                    want->network, where, want->vendor, want->device, other->pci, other->vendor,
                    other->device,
                    want->stays   ? ""
                    : want->needs ? " there"
                                  : " or 'no-vf = standby-only' there");
    else if (doubt)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "no VF of network '%s' is known to be free%s: %s", want->network, where,
                    doubt->message);
    else if (!best.vf)
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_BUSY,
            "no VF of network '%s' is free%s (it has %u, all a VM's, leased, open, or not bound "
            "to vfio-pci): free one%s",
            want->network, where, in_network,
            want->stays   ? ", or take another VM's with --from"
            : want->needs ? " there; libvirt migrates no VM without its VF"
                          : ", or set 'no-vf = standby-only' there");
    return best.vf;
}
