/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <link.h>
#include <locale.h>
#include <stdio.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* How long the daemon goes on when it is told to stop, and how long it waits for jobs to be undone:
 * a little less, so that each ends, and says what was not. */
#define STOP_SECONDS 20
#define UNDO_SECONDS 18

typedef struct {
    VfoConfig *config;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoMemory *memory;
    VfoHost *host;
    VfoVms *vms;
    VfoJobs *jobs;
    VfoLending *lending;
    VfoCleaner *cleaner;
    VfoWatch *watch;
    VfoInventory *inventory;
    VfoPeerServer *peers;
    VfoPeerPool *pool; /* of connections to peers */
    VfoPartners *partners;
    VfoOwners *owners;
    VfoArrivals *arrivals;
    VfoMoves *moves;
    VfoHooks *hooks;
    VfoPairing *pairing;
    VfoControl *control;
    GMainLoop *loop;
    guint stop_timer;
    gboolean stopping;
} Daemon;

static VfoJob *start_destination(const char *peer_name, const VfoOffer *offer, VfoReserved reserved,
                                 gpointer reserved_data, gpointer data, GError **error)
{
    Daemon *daemon = data;
    VfoDestinationArgs args = {
        .host = daemon->host,
        .leases = daemon->leases,
        .absences = daemon->absences,
        .offer = offer,
        .address = daemon->config->migration_address,
        .ports = daemon->config->migration_ports,
        .reserved = reserved,
        .data = reserved_data,
    };
    g_autoptr(VfoJob) job = NULL;
    g_autoptr(GError) why = NULL;

    if (offer->uuid)
        return vfo_moves_job(daemon->moves, peer_name, offer, reserved, reserved_data, error);
    job = vfo_arrivals_job(daemon->arrivals, peer_name, offer, reserved, reserved_data, &why);
    if (job || why) {
        if (why)
            g_propagate_error(error, g_steal_pointer(&why));
        return g_steal_pointer(&job);
    }
    args.vm = vfo_vms_get(daemon->vms, offer->vm, error);
    if (!args.vm) {
        g_prefix_error(error, "at the destination: ");
        return NULL;
    }
    g_message("job %s: VM %s comes from %s", offer->job, offer->vm, peer_name);
    job = vfo_destination_job(daemon->config->name, &args, &daemon->config->policy);
    if (!vfo_jobs_add(daemon->jobs, job, FALSE, error))
        return NULL;
    return g_steal_pointer(&job);
}

static VfoJob *start_followed(const char *peer_name, const VfoPeerCall *call, VfoReady ready,
                              gpointer ready_data, gpointer data, GError **error)
{
    Daemon *daemon = data;
    VfoSourceArgs args = {
        .host = daemon->host,
        .leases = daemon->leases,
        .job = call->job,
        .standby = call->standby,
        .ready = ready,
        .data = ready_data,
    };

    args.vm = vfo_vms_get_uuid(daemon->vms, call->uuid, error);
    if (!args.vm)
        return NULL;
    g_message("job %s: libvirt migrates VM %s, pair %s, to %s", call->job, args.vm->name,
              call->standby, peer_name);
    return vfo_partners_source_job(daemon->partners, vfo_follow_source_job, &args, peer_name, FALSE,
                                   error);
}

static void on_peer_job_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    const Daemon *daemon = data;

    vfo_jobs_note(daemon->jobs, job, record);
}

static void start_libvirt(Daemon *daemon)
{
    const VfoConfig *config = daemon->config;
    const VfoOwnersArgs owners = {.config = config,
                                  .vms = daemon->vms,
                                  .host = daemon->host,
                                  .leases = daemon->leases,
                                  .jobs = daemon->jobs,
                                  .lending = daemon->lending};
    const VfoArrivalsArgs arrivals = {.config = config,
                                      .vms = daemon->vms,
                                      .host = daemon->host,
                                      .leases = daemon->leases,
                                      .absences = daemon->absences,
                                      .jobs = daemon->jobs,
                                      .pool = daemon->pool};
    const VfoPairingArgs pairing = {.vms = daemon->vms,
                                    .host = daemon->host,
                                    .leases = daemon->leases,
                                    .absences = daemon->absences,
                                    .jobs = daemon->jobs,
                                    .lending = daemon->lending};

    daemon->owners = vfo_owners_new(&owners);
    daemon->arrivals = vfo_arrivals_new(&arrivals);
    daemon->moves = vfo_moves_new(&arrivals);
    daemon->hooks = vfo_hooks_new(config, daemon->owners, daemon->arrivals);
    if (!config->libvirt_uri)
        return;
    daemon->pairing = vfo_pairing_new(&pairing);
    vfo_peer_server_on_call(daemon->peers, start_followed, daemon);
    vfo_vms_follow_libvirt(daemon->vms, config->libvirt_uri, config->update_definition);
}

static GError *unmet(gpointer vms)
{
    return vfo_vms_unmet(vms);
}

static gboolean start(Daemon *daemon, GError **error)
{
    VfoConfig *config = daemon->config;
    VfoControlArgs args = {.config = config};
    VfoLendingArgs lending = {.config = config};
    VfoInventoryArgs inventory = {.config = config};
    VfoCleanerArgs cleaner = {0};

    daemon->leases = vfo_leases_new();
    daemon->absences = vfo_absences_new();
    daemon->memory = vfo_memory_new(daemon->absences, config->state);
    daemon->jobs = vfo_jobs_new();
    daemon->host = vfo_host_new(config->networks, daemon->leases, "/sys", error);
    if (!daemon->host)
        return FALSE;
    vfo_host_set_quirks(daemon->host, config->quirks);
    daemon->vms = vfo_vms_new(config->qmp_dir, error);
    if (!daemon->vms)
        return FALSE;
    vfo_leases_set_owned(daemon->leases, vfo_inventory_owned, daemon->vms);
    vfo_leases_set_unmet(daemon->leases, unmet, daemon->vms);
    lending.vms = daemon->vms;
    lending.host = daemon->host;
    lending.leases = daemon->leases;
    lending.absences = daemon->absences;
    lending.jobs = daemon->jobs;
    daemon->lending = vfo_lending_new(&lending);
    cleaner.vms = daemon->vms;
    cleaner.host = daemon->host;
    cleaner.leases = daemon->leases;
    cleaner.jobs = daemon->jobs;
    cleaner.lending = daemon->lending;
    daemon->cleaner = vfo_cleaner_new(&cleaner);
    daemon->watch = vfo_watch_new(daemon->vms, daemon->host, daemon->jobs);
    inventory.vms = daemon->vms;
    inventory.host = daemon->host;
    inventory.leases = daemon->leases;
    inventory.jobs = daemon->jobs;
    inventory.lending = daemon->lending;
    daemon->inventory = vfo_inventory_new(&inventory);
    if (!vfo_host_watch(daemon->host, vfo_inventory_on_change, daemon->inventory, error))
        return FALSE;
    daemon->peers = vfo_peer_server_new(config->listen, config->port, &config->tls, config->peers,
                                        start_destination, daemon, error);
    if (!daemon->peers)
        return FALSE;
    vfo_peer_server_on_change(daemon->peers, on_peer_job_changed, daemon);
    daemon->pool = vfo_peer_pool_new(config->peers, &config->tls);
    daemon->partners = vfo_partners_new(config, daemon->pool, daemon->jobs);
    start_libvirt(daemon);
    args.vms = daemon->vms;
    args.host = daemon->host;
    args.leases = daemon->leases;
    args.absences = daemon->absences;
    args.lending = daemon->lending;
    args.jobs = daemon->jobs;
    args.partners = daemon->partners;
    args.hooks = daemon->hooks;
    daemon->control = vfo_control_new(&args, error);
    if (!daemon->control)
        return FALSE;
    /* The socket is ours: no other daemon is at work. */
    vfo_host_clean_up(daemon->host);
    return TRUE;
}

static void stop(Daemon *daemon)
{
    if (daemon->control) {
        vfo_control_free(daemon->control);
        g_unlink(daemon->config->socket);
    }
    g_clear_pointer(&daemon->pairing, vfo_pairing_free);
    g_clear_pointer(&daemon->hooks, vfo_hooks_free);
    g_clear_pointer(&daemon->arrivals, vfo_arrivals_free);
    g_clear_pointer(&daemon->moves, vfo_moves_free);
    g_clear_pointer(&daemon->owners, vfo_owners_free);
    g_clear_pointer(&daemon->partners, vfo_partners_free);
    g_clear_pointer(&daemon->pool, vfo_peer_pool_free);
    g_clear_pointer(&daemon->peers, vfo_peer_server_free);
    g_clear_pointer(&daemon->watch, vfo_watch_free);
    g_clear_pointer(&daemon->inventory, vfo_inventory_free);
    g_clear_pointer(&daemon->cleaner, vfo_cleaner_free);
    g_clear_pointer(&daemon->lending, vfo_lending_free);
    g_clear_object(&daemon->jobs);
    g_clear_object(&daemon->vms);
    g_clear_pointer(&daemon->host, vfo_host_free);
    g_clear_pointer(&daemon->memory, vfo_memory_free);
    g_clear_pointer(&daemon->absences, vfo_absences_free);
    g_clear_pointer(&daemon->leases, vfo_leases_free);
}

static gboolean on_stopped_too_long(gpointer data)
{
    Daemon *daemon = data;

    daemon->stop_timer = 0;
    g_warning("jobs were still under way after %d s; stopping all the same", STOP_SECONDS);
    g_main_loop_quit(daemon->loop);
    return G_SOURCE_REMOVE;
}

static gboolean quit_if_idle(gpointer data)
{
    Daemon *daemon = data;

    if (vfo_jobs_cancel_all(daemon->jobs))
        g_main_loop_quit(daemon->loop);
    return G_SOURCE_REMOVE;
}

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    const Daemon *daemon = data;

    vfo_peer_pool_set_busy(daemon->pool, record || !vfo_jobs_are_idle(jobs));
    /* Later, so that the other listeners have seen the job's end. */
    if (daemon->stopping && !record && vfo_job_ended(job))
        g_idle_add(quit_if_idle, data);
}

static gboolean on_signal(gpointer data)
{
    Daemon *daemon = data;

    if (daemon->stopping) {
        g_main_loop_quit(daemon->loop);
        return G_SOURCE_CONTINUE;
    }
    daemon->stopping = TRUE;
    vfo_lending_stop(daemon->lending);
    sd_notify(0, "STOPPING=1");
    g_message("stopping: jobs under way are cancelled and undone");
    daemon->stop_timer = g_timeout_add_seconds(STOP_SECONDS, on_stopped_too_long, daemon);
    vfo_jobs_undo_within(daemon->jobs, UNDO_SECONDS * 1000);
    quit_if_idle(daemon);
    return G_SOURCE_CONTINUE;
}

static void run(Daemon *daemon)
{
    guint term = g_unix_signal_add(SIGTERM, on_signal, daemon);
    guint interrupt = g_unix_signal_add(SIGINT, on_signal, daemon);
    gulong changed = g_signal_connect(daemon->jobs, "changed", G_CALLBACK(on_job_changed), daemon);

    daemon->loop = g_main_loop_new(NULL, FALSE);
    g_message("vfailoverd %s on %s: control socket %s, peers on %s:%u", VFO_VERSION,
              daemon->config->name, daemon->config->socket, daemon->config->listen,
              daemon->config->port);
    sd_notify(0, "READY=1");
    g_main_loop_run(daemon->loop);
    g_signal_handler_disconnect(daemon->jobs, changed);
    g_clear_handle_id(&daemon->stop_timer, g_source_remove);
    g_source_remove(term);
    g_source_remove(interrupt);
    g_main_loop_unref(daemon->loop);
}

/* A hand-over is not to wait for the disk because it is the first to run a piece of code. */
static int read_ahead(struct dl_phdr_info *object, size_t size, void *data)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    for (guint i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        size_t before = (object->dlpi_addr + segment->p_vaddr) % page;
        char *start = (char *)object->dlpi_addr + segment->p_vaddr - before;

        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) &&
            madvise(start, segment->p_memsz + before, MADV_WILLNEED) != 0)
            g_debug("read ahead of %s: %s", object->dlpi_name, g_strerror(errno));
    }
    return 0;
}

int main(int argc, char **argv)
{
    g_autofree char *path = NULL;
    gboolean check = FALSE, verbose = FALSE, version = FALSE;
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &path, "Read FILE instead of " VFO_CONFIG_FILE,
         "FILE"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &check, "Check the configuration and exit", NULL},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose, "Log what each step waits for", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version and exit", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    Daemon daemon = {0};
    gboolean ok;

    setlocale(LC_ALL, "");
    g_option_context_set_summary(context,
                                 "Hands over the SR-IOV VFs of virtual machines that migrate.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "vfailoverd: %s\n", error->message);
        return 2;
    }
    if (argc > 1) {
        fprintf(stderr, "vfailoverd: unexpected argument '%s'; see --help\n", argv[1]);
        return 2;
    }
    if (version) {
        puts("vfailoverd " VFO_VERSION);
        return 0;
    }
    if (verbose)
        g_setenv("G_MESSAGES_DEBUG", G_LOG_DOMAIN, TRUE);
    daemon.config = vfo_config_load(path ? path : VFO_CONFIG_FILE, &error);
    if (!daemon.config) {
        fprintf(stderr, "vfailoverd: %s\n", error->message);
        return 2;
    }
    if (check) {
        vfo_config_free(daemon.config);
        return 0;
    }
    dl_iterate_phdr(read_ahead, NULL);
    vfo_stopwatch_install(NULL);
    ok = start(&daemon, &error);
    if (ok)
        run(&daemon);
    else
        fprintf(stderr, "vfailoverd: %s\n", error->message);
    stop(&daemon);
    vfo_config_free(daemon.config);
    return ok ? 0 : 1;
}
