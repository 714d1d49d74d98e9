/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

typedef struct {
    char *job; /* that has or had it; NULL: none since the VF was last returned */
    gint64 expires_us;
    guint64 leased; /* the generation that it has */
    guint64 generation;
    char *left_by; /* VM, by which it was not left clean; NULL: it is clean, or a VM's */
    char *unclean; /* why */
} Lease;

struct _VfoLeases {
    GHashTable *by_pci; /* char * -> Lease */
    VfoOwned owned;
    gpointer data; /* for it */
    VfoUnmet unmet;
    gpointer unmet_data;
};

static void lease_free(gpointer data)
{
    Lease *lease = data;

    g_free(lease->job);
    g_free(lease->left_by);
    g_free(lease->unclean);
    g_free(lease);
}

VfoLeases *vfo_leases_new(void)
{
    VfoLeases *leases = g_new0(VfoLeases, 1);

    leases->by_pci = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, lease_free);
    return leases;
}

void vfo_leases_free(VfoLeases *leases)
{
    if (!leases)
        return;
    g_hash_table_unref(leases->by_pci);
    g_free(leases);
}

static Lease *lease_of(VfoLeases *leases, const char *pci)
{
    return g_hash_table_lookup(leases->by_pci, pci);
}

static Lease *make_lease(VfoLeases *leases, const char *pci)
{
    Lease *lease = lease_of(leases, pci);

    if (!lease) {
        lease = g_new0(Lease, 1);
        g_hash_table_insert(leases->by_pci, g_strdup(pci), lease);
    }
    return lease;
}

/* Whether somebody's lease stands. */
static gboolean stands(const Lease *lease)
{
    return lease && lease->job && lease->leased == lease->generation &&
           lease->expires_us > g_get_monotonic_time();
}

gboolean vfo_leases_take(VfoLeases *leases, const char *pci, const char *job, guint seconds,
                         GError **error)
{
    Lease *lease = make_lease(leases, pci);

    if (stands(lease) && g_strcmp0(lease->job, job) != 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s is leased to %s%s ('vfailover vfs'); wait until that is over", pci,
                    g_uuid_string_is_valid(lease->job) ? "job " : "", lease->job);
        return FALSE;
    }
    if (g_strcmp0(lease->job, job) != 0) {
        g_free(lease->job);
        lease->job = g_strdup(job);
    }
    lease->leased = lease->generation;
    lease->expires_us = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    return TRUE;
}

gboolean vfo_leases_check(VfoLeases *leases, const char *pci, const char *job, GError **error)
{
    const Lease *lease = lease_of(leases, pci);
    gboolean own = lease && g_strcmp0(lease->job, job) == 0;

    if (own && stands(lease))
        return TRUE;
    if (own && lease->leased != lease->generation)
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
            "VF %s went away while job %s had it (was its PF's sriov_numvfs changed?); what "
            "is there now was left alone",
            pci, job);
    else if (own)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "the lease of VF %s has expired while job %s went on; the VF was left alone",
                    pci, job);
    else if (stands(lease))
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s is leased to job %s, not to job %s; it was left alone", pci, lease->job,
                    job);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "job %s holds no lease of VF %s; the VF was left alone", job, pci);
    return FALSE;
}

void vfo_leases_drop(VfoLeases *leases, const char *pci, const char *job)
{
    Lease *lease = lease_of(leases, pci);

    if (lease && g_strcmp0(lease->job, job) == 0)
        g_clear_pointer(&lease->job, g_free);
}

const char *vfo_leases_holder(VfoLeases *leases, const char *pci)
{
    const Lease *lease = lease_of(leases, pci);

    return stands(lease) ? lease->job : NULL;
}

char *vfo_leases_of_domain(const char *domain)
{
    return g_strdup_printf("domain %s", domain);
}

guint64 vfo_leases_generation(VfoLeases *leases, const char *pci)
{
    const Lease *lease = lease_of(leases, pci);

    return lease ? lease->generation : 0;
}

void vfo_leases_set_owned(VfoLeases *leases, VfoOwned owned, gpointer data)
{
    leases->owned = owned;
    leases->data = data;
}

gboolean vfo_leases_owned(const VfoLeases *leases, const VfoVf *vf, const char *vm)
{
    if (vfo_leases_unclean(leases, vf->pci, vm))
        return TRUE;
    return leases->owned && !vfo_mac_equal(&vf->settings.mac, &vf->parking) &&
           leases->owned(vf, vm, leases->data);
}

void vfo_leases_set_unmet(VfoLeases *leases, VfoUnmet unmet, gpointer data)
{
    leases->unmet = unmet;
    leases->unmet_data = data;
}

GError *vfo_leases_doubt(const VfoLeases *leases, const VfoVf *vf)
{
    g_autoptr(GError) unmet = NULL;

    if (!leases->unmet || vfo_vf_is_anybodys(vf))
        return NULL;
    unmet = leases->unmet(leases->unmet_data);
    return unmet ? g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                               "VF %s has an address, which may be that of a VM that is not known "
                               "here yet: %s",
                               vf->pci, unmet->message)
                 : NULL;
}

/* ----------------------------------------------------------------- unclean */

/* GLib's own words do not say that it took too long. */
static const char *reason_of(const GError *why)
{
    return g_error_matches(why, G_IO_ERROR, G_IO_ERROR_CANCELLED)
               ? "it was not closed, or has not come back from its reset, in time"
               : why->message;
}

void vfo_leases_keep(VfoLeases *leases, const char *pci, const char *holder, const char *vm,
                     const GError *why)
{
    Lease *lease = make_lease(leases, pci);
    gboolean stood = stands(lease) && g_str_equal(lease->job, holder);

    vfo_leases_drop(leases, pci, holder);
    if (!stood) {
        g_warning("VF %s, which VM %s had, could not be cleaned: %s; it has gone, or is somebody "
                  "else's by now",
                  pci, vm, reason_of(why));
        return;
    }
    if (g_strcmp0(lease->left_by, vm) != 0)
        g_warning("VF %s, which VM %s had, could not be cleaned: %s; no other VM gets it until "
                  "that has been done, which is tried once a minute",
                  pci, vm, reason_of(why));
    g_free(lease->left_by);
    lease->left_by = g_strdup(vm);
    g_free(lease->unclean);
    lease->unclean = g_strdup(reason_of(why));
}

const char *vfo_leases_unclean(const VfoLeases *leases, const char *pci, const char *vm)
{
    const Lease *lease = g_hash_table_lookup(leases->by_pci, pci);

    return lease && lease->left_by && g_strcmp0(lease->left_by, vm) != 0 ? lease->unclean : NULL;
}

GHashTable *vfo_leases_kept(const VfoLeases *leases)
{
    GHashTable *kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    GHashTableIter iter;
    gpointer pci, lease;

    g_hash_table_iter_init(&iter, leases->by_pci);
    while (g_hash_table_iter_next(&iter, &pci, &lease))
        if (((const Lease *)lease)->left_by)
            g_hash_table_insert(kept, g_strdup(pci), g_strdup(((const Lease *)lease)->left_by));
    return kept;
}

static void forget_unclean(Lease *lease)
{
    g_clear_pointer(&lease->left_by, g_free);
    g_clear_pointer(&lease->unclean, g_free);
}

void vfo_leases_unkeep(VfoLeases *leases, const char *pci)
{
    forget_unclean(make_lease(leases, pci));
}

/* -------------------------------------------------------------------- ends */

GPtrArray *vfo_leases_held(const VfoLeases *leases, const char *job)
{
    GPtrArray *held = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer pci, lease;

    g_hash_table_iter_init(&iter, leases->by_pci);
    while (g_hash_table_iter_next(&iter, &pci, &lease))
        if (stands(lease) && g_str_equal(((const Lease *)lease)->job, job))
            g_ptr_array_add(held, g_strdup(pci));
    return held;
}

void vfo_leases_gone(VfoLeases *leases, const char *pci)
{
    Lease *lease = make_lease(leases, pci);

    lease->generation++;
    forget_unclean(lease);
}

void vfo_leases_returned(VfoLeases *leases, const char *pci)
{
    Lease *lease = make_lease(leases, pci);

    lease->generation++;
    g_clear_pointer(&lease->job, g_free);
    forget_unclean(lease);
}
