/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/pool.h"

#include <sys/stat.h>

/* Events come in swarms. */
#define LOOK_AFTER_MS 20
/* Of the time, at most one part in so many is spent on looking. */
#define LOOK_SHARE 5
/* A guest that is trusted may change its VF's address, and the kernel tells nobody. */
#define TRUSTED_EVERY_MS 2000

/* One VF. @born is the number of its directory in sysfs: what comes back under the address of a VF
 * that is gone has another. */
typedef struct {
    VfoVf *vf;
    guint64 born;
    gboolean expected; /* its settings change, by this daemon's hand */
    gboolean seen;
} Entry;

struct _VfoPool {
    GPtrArray *networks;
    char *sysfs;
    VfoPoolRead read;
    gpointer read_data;
    GHashTable *entries; /* char *, a PCI address -> Entry */
    VfoHostChanged changed;
    VfoHost *host;
    gpointer data;
    guint timer;
    gint64 rest_until_us;
    guint trusted_timer;
};

static void entry_free(gpointer data)
{
    Entry *entry = data;

    vfo_vf_free(entry->vf);
    g_free(entry);
}

static guint64 born_of(const VfoPool *pool, const char *pci)
{
    g_autofree char *path = g_build_filename(pool->sysfs, "bus", "pci", "devices", pci, ".", NULL);
    struct stat status;

    return stat(path, &status) == 0 ? status.st_ino : 0;
}

static void tell(VfoPool *pool, const VfoVf *before, const VfoVf *now, gboolean ours)
{
    if (pool->changed)
        pool->changed(pool->host, before, now, ours, pool->data);
}

static gboolean differs(const VfoVf *a, const VfoVf *b)
{
    return g_strcmp0(a->pf, b->pf) != 0 || a->index != b->index ||
           g_strcmp0(a->driver, b->driver) != 0 || a->iommu_group != b->iommu_group ||
           !a->usable != !b->usable || a->mtu != b->mtu ||
           !vfo_vf_settings_equal(&a->settings, &b->settings);
}

/* @vf is there (transfer full). */
static void see(VfoPool *pool, VfoVf *vf)
{
    Entry *entry = g_hash_table_lookup(pool->entries, vf->pci);
    guint64 born = born_of(pool, vf->pci);
    g_autoptr(VfoVf) before = NULL;
    gboolean ours;

    if (entry && entry->born != born) {
        tell(pool, entry->vf, NULL, FALSE);
        g_hash_table_remove(pool->entries, vf->pci);
        entry = NULL;
    }
    if (!entry) {
        entry = g_new0(Entry, 1);
        g_hash_table_insert(pool->entries, g_strdup(vf->pci), entry);
    }
    before = g_steal_pointer(&entry->vf);
    entry->vf = vf;
    entry->born = born;
    entry->seen = TRUE;
    ours = entry->expected;
    entry->expected = FALSE;
    if (!before || differs(before, vf))
        tell(pool, before, vf, ours);
}

/* The VFs of a PF that cannot be read for a moment are still there. */
static void see_again(VfoPool *pool, const char *pf)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, pool->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Entry *entry = value;

        if (g_str_equal(entry->vf->pf, pf))
            entry->seen = TRUE;
    }
}

static void look_at_pf(VfoPool *pool, const VfoNetwork *network, const char *pf)
{
    g_autoptr(GPtrArray) vfs = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    if (!pool->read(network, pf, vfs, pool->read_data, &error) &&
        !g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND)) {
        g_warning("network %s: %s", network->name, error->message);
        see_again(pool, pf);
        g_ptr_array_set_free_func(vfs, (GDestroyNotify)vfo_vf_free);
        return;
    }
    for (guint i = 0; i < vfs->len; i++)
        see(pool, g_ptr_array_index(vfs, i));
}

static void forget_unseen(VfoPool *pool)
{
    g_autoptr(GPtrArray) gone = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, pool->entries);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        Entry *entry = value;

        if (!entry->seen)
            g_ptr_array_add(gone, key);
        entry->seen = FALSE;
    }
    for (guint i = 0; i < gone->len; i++) {
        const char *pci = g_ptr_array_index(gone, i);
        const Entry *entry = g_hash_table_lookup(pool->entries, pci);

        tell(pool, entry->vf, NULL, FALSE);
        g_hash_table_remove(pool->entries, pci);
    }
}

static gboolean on_trusted(gpointer data)
{
    VfoPool *pool = data;

    pool->trusted_timer = 0;
    vfo_stopwatch_spare();
    vfo_pool_look(pool);
    return G_SOURCE_REMOVE;
}

static gboolean trusts_a_guest(VfoPool *pool)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, pool->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VfoVf *vf = ((Entry *)value)->vf;

        if (vf->settings.trust && g_strcmp0(vf->driver, "vfio-pci") == 0)
            return TRUE;
    }
    return FALSE;
}

void vfo_pool_look(VfoPool *pool)
{
    gint64 started_us = g_get_monotonic_time();
    gint64 ended_us;

    for (guint i = 0; i < pool->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(pool->networks, i);

        for (char **pf = network->pfs; *pf; pf++)
            look_at_pf(pool, network, *pf);
    }
    forget_unseen(pool);
    ended_us = g_get_monotonic_time();
    pool->rest_until_us = ended_us + (ended_us - started_us) * LOOK_SHARE;
    if (!pool->trusted_timer && trusts_a_guest(pool))
        pool->trusted_timer =
            g_timeout_add_full(G_PRIORITY_LOW, TRUSTED_EVERY_MS, on_trusted, pool, NULL);
}

static gboolean on_look(gpointer data)
{
    VfoPool *pool = data;

    pool->timer = 0;
    vfo_stopwatch_spare();
    vfo_pool_look(pool);
    return G_SOURCE_REMOVE;
}

void vfo_pool_look_soon(VfoPool *pool)
{
    gint64 rest_ms = (pool->rest_until_us - g_get_monotonic_time()) / 1000;

    if (!pool->timer)
        pool->timer = g_timeout_add_full(G_PRIORITY_LOW, (guint)MAX(LOOK_AFTER_MS, rest_ms),
                                         on_look, pool, NULL);
}

gboolean vfo_pool_has_pf(VfoPool *pool, const char *name)
{
    for (guint i = 0; i < pool->networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(pool->networks, i);

        if (g_strv_contains((const char *const *)network->pfs, name))
            return TRUE;
    }
    return FALSE;
}

void vfo_pool_expect(VfoPool *pool, const char *pci)
{
    Entry *entry = g_hash_table_lookup(pool->entries, pci);

    if (entry)
        entry->expected = TRUE;
    vfo_pool_look_soon(pool);
}

VfoPool *vfo_pool_new(GPtrArray *networks, const char *sysfs, VfoPoolRead read, gpointer data)
{
    VfoPool *pool = g_new0(VfoPool, 1);

    pool->networks = g_ptr_array_ref(networks);
    pool->sysfs = g_strdup(sysfs);
    pool->read = read;
    pool->read_data = data;
    pool->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    vfo_pool_look(pool);
    return pool;
}

void vfo_pool_on_change(VfoPool *pool, VfoHostChanged changed, VfoHost *host, gpointer data)
{
    pool->changed = changed;
    pool->host = host;
    pool->data = data;
}

void vfo_pool_free(VfoPool *pool)
{
    if (!pool)
        return;
    g_clear_handle_id(&pool->timer, g_source_remove);
    g_clear_handle_id(&pool->trusted_timer, g_source_remove);
    g_hash_table_unref(pool->entries);
    g_ptr_array_unref(pool->networks);
    g_free(pool->sysfs);
    g_free(pool);
}
