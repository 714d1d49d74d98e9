/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

typedef struct {
    char *job; /* NULL: nobody's */
    gint64 expires_us;
    guint64 generation;
} Lease;

struct _VfoLeases {
    GHashTable *by_pci; /* char * -> Lease */
};

static void lease_free(gpointer data)
{
    Lease *lease = data;

    g_free(lease->job);
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
    Lease *lease = g_hash_table_lookup(leases->by_pci, pci);

    if (lease && lease->job && lease->expires_us <= g_get_monotonic_time())
        g_clear_pointer(&lease->job, g_free);
    return lease;
}

gboolean vfo_leases_take(VfoLeases *leases, const char *pci, const char *job, guint seconds,
                         GError **error)
{
    Lease *lease = lease_of(leases, pci);

    if (!lease) {
        lease = g_new0(Lease, 1);
        g_hash_table_insert(leases->by_pci, g_strdup(pci), lease);
    }
    if (lease->job && g_strcmp0(lease->job, job) != 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s is leased to job %s; wait for it or cancel it", pci, lease->job);
        return FALSE;
    }
    if (!lease->job)
        lease->job = g_strdup(job);
    lease->expires_us = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    return TRUE;
}

gboolean vfo_leases_check(VfoLeases *leases, const char *pci, const char *job, GError **error)
{
    Lease *lease = lease_of(leases, pci);

    if (lease && g_strcmp0(lease->job, job) == 0)
        return TRUE;
    if (lease && lease->job)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VF %s is leased to job %s, not to job %s; it was left alone", pci, lease->job,
                    job);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "job %s holds no lease of VF %s, or it has expired; the VF was left alone", job,
                    pci);
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
    Lease *lease = lease_of(leases, pci);

    return lease ? lease->job : NULL;
}

gboolean vfo_vf_is_free(const VfoVf *vf, VfoLeases *leases)
{
    return g_strcmp0(vf->driver, "vfio-pci") == 0 && !vf->opened &&
           !vfo_leases_holder(leases, vf->pci);
}

guint64 vfo_leases_generation(VfoLeases *leases, const char *pci)
{
    Lease *lease = lease_of(leases, pci);

    return lease ? lease->generation : 0;
}

void vfo_leases_returned(VfoLeases *leases, const char *pci)
{
    Lease *lease = lease_of(leases, pci);

    if (!lease) {
        lease = g_new0(Lease, 1);
        g_hash_table_insert(leases->by_pci, g_strdup(pci), lease);
    }
    lease->generation++;
    g_clear_pointer(&lease->job, g_free);
}
