/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

struct _VfoPartners {
    const VfoConfig *config;
    VfoPeerPool *pool;
    VfoJobs *jobs;
    GHashTable *peers; /* VfoJob * -> VfoPeer *, of the jobs under way */
    gulong changed_handler;
};

static gboolean free_peer(gpointer data)
{
    vfo_peer_free(data);
    return G_SOURCE_REMOVE;
}

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoPartners *partners = data;
    gpointer peer;

    /* Not from inside the job's own call. */
    if (!record && vfo_job_ended(job) &&
        g_hash_table_steal_extended(partners->peers, job, NULL, &peer))
        g_idle_add(free_peer, peer);
}

VfoPartners *vfo_partners_new(const VfoConfig *config, VfoPeerPool *pool, VfoJobs *jobs)
{
    VfoPartners *partners = g_new0(VfoPartners, 1);

    partners->config = config;
    partners->pool = pool;
    partners->jobs = jobs;
    partners->peers = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)vfo_peer_free);
    partners->changed_handler =
        g_signal_connect(jobs, "changed", G_CALLBACK(on_job_changed), partners);
    return partners;
}

void vfo_partners_free(VfoPartners *partners)
{
    if (!partners)
        return;
    g_signal_handler_disconnect(partners->jobs, partners->changed_handler);
    g_hash_table_unref(partners->peers);
    g_free(partners);
}

VfoJob *vfo_partners_source_job(VfoPartners *partners, VfoSourceMaker make, VfoSourceArgs *args,
                                const char *host, gboolean listen, GError **error)
{
    const VfoConfig *config = partners->config;
    const VfoPeerAddress *address = vfo_config_peer(config, host, error);
    g_autoptr(VfoJob) job = NULL;

    if (!address)
        return NULL;
    args->peer = vfo_peer_new(address, &config->tls, partners->pool);
    job = make(config->name, args, &config->policy);
    if (!vfo_jobs_add(partners->jobs, job, listen, error)) {
        vfo_peer_free(args->peer);
        return NULL;
    }
    vfo_peer_set_job(args->peer, job);
    g_hash_table_insert(partners->peers, job, args->peer);
    return g_steal_pointer(&job);
}
