/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs that libvirt is migrating to this host.
 *
 * libvirt tells nobody at the source; here it runs its hook before it makes anything, and waits.
 * The daemon at the source is asked for the VM: it begins a job that reserves here, under the id
 * that this side has chosen.
 */
#include "daemon/daemon.h"

/* libvirt, once it was let go on, comes with "prepare" before this. */
#define FAILED_SECONDS 60

struct _VfoArrivals {
    VfoArrivalsArgs args;
    GPtrArray *list; /* of Arrival, each with a reference */
    gulong changed_handler;
};

typedef struct {
    VfoArrivals *arrivals;
    VfoDomain *domain;
    const VfoDomainPair *pair; /* of @domain: the one with a VF */
    char *xml;
    char *id;                  /* of the job */
    VfoVm *vm;                 /* owned; NULL: not expected (yet) */
    VfoJob *job;               /* owned; NULL: the source has not reserved yet */
    VfoQmpCall *migrate;       /* the hook that waits for the source; NULL: none */
    VfoQmpCall *start;         /* the hook that waits for the wire; NULL: none */
    GCancellable *cancellable; /* of what the peers are asked */
    guint asked;               /* so many have not answered */
    GString *refusals;         /* what the others have said */
    gboolean wired;
    GError *failed; /* libvirt, which was let go on, is still to be told; NULL: it has not failed */
    guint timer;
} Arrival;

typedef struct {
    Arrival *arrival;
    const char *peer; /* the configuration's */
} Asked;

/* ---------------------------------------------------------------- lifetime */

static void arrival_clear(gpointer data)
{
    Arrival *arrival = data;

    vfo_domain_free(arrival->domain);
    g_free(arrival->xml);
    g_free(arrival->id);
    g_clear_pointer(&arrival->vm, vfo_vm_unref);
    g_clear_pointer(&arrival->job, vfo_job_unref);
    g_object_unref(arrival->cancellable);
    g_string_free(arrival->refusals, TRUE);
    g_clear_error(&arrival->failed);
}

static void arrival_unref(gpointer arrival)
{
    g_rc_box_release_full(arrival, arrival_clear);
}

static Arrival *find(VfoArrivals *arrivals, const char *uuid)
{
    for (guint i = 0; i < arrivals->list->len; i++) {
        Arrival *arrival = g_ptr_array_index(arrivals->list, i);

        if (g_str_equal(arrival->domain->uuid, uuid))
            return arrival;
    }
    return NULL;
}

static void fail_call(VfoQmpCall **call, const GError *error)
{
    if (*call)
        vfo_qmp_call_fail(g_steal_pointer(call), g_error_copy(error));
}

static gboolean on_forget(gpointer data)
{
    Arrival *arrival = data;

    arrival->timer = 0;
    g_ptr_array_remove(arrival->arrivals->list, arrival);
    return G_SOURCE_REMOVE;
}

/* Its job is over, and the VM not here. libvirt may have been let go on: what it asks next is
 * answered with @error. */
static void fail(Arrival *arrival, const GError *error)
{
    VfoJob *job = g_steal_pointer(&arrival->job);
    gboolean may_come = job && !arrival->migrate && !arrival->start && !arrival->wired;

    g_clear_handle_id(&arrival->timer, g_source_remove);
    arrival->failed = g_error_copy(error);
    fail_call(&arrival->migrate, error);
    fail_call(&arrival->start, error);
    g_cancellable_cancel(arrival->cancellable);
    /* Refused when it has ended already. */
    if (job)
        vfo_job_cancel(job, NULL);
    vfo_job_unref(job);
    if (arrival->vm)
        vfo_vms_unexpect(arrival->arrivals->args.vms, arrival->domain->uuid);
    if (may_come)
        arrival->timer = g_timeout_add_seconds(FAILED_SECONDS, on_forget, arrival);
    else
        g_ptr_array_remove(arrival->arrivals->list, arrival);
}

static void fail_with(Arrival *arrival, VfoError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void fail_with(Arrival *arrival, VfoError code, const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    va_list args;

    va_start(args, format);
    error = g_error_new_valist(VFO_ERROR, (gint)code, format, args);
    va_end(args);
    fail(arrival, error);
}

static gboolean on_deadline(gpointer data)
{
    Arrival *arrival = data;
    guint ms = arrival->arrivals->args.config->hook_ms;

    arrival->timer = 0;
    if (arrival->start)
        fail_with(arrival, VFO_ERROR_DEADLINE,
                  "VM %s: its standby %s was not found to reach the network within %g s; see "
                  "'vfailover job %.8s'",
                  arrival->domain->name, arrival->pair->standby, ms / 1e3, arrival->id);
    else
        fail_with(arrival, VFO_ERROR_DEADLINE,
                  "VM %s: the host that it comes from did not make ready to hand it over within "
                  "%g s%s%s",
                  arrival->domain->name, ms / 1e3, arrival->refusals->len ? "; " : "",
                  arrival->refusals->str);
    return G_SOURCE_REMOVE;
}

/* The VM is here, or comes without us. */
static void end(Arrival *arrival)
{
    g_clear_handle_id(&arrival->timer, g_source_remove);
    g_cancellable_cancel(arrival->cancellable);
    g_ptr_array_remove(arrival->arrivals->list, arrival);
}

static void set_deadline(Arrival *arrival)
{
    g_clear_handle_id(&arrival->timer, g_source_remove);
    arrival->timer = g_timeout_add(arrival->arrivals->args.config->hook_ms, on_deadline, arrival);
}

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoArrivals *arrivals = data;

    if (record || !vfo_job_ended(job))
        return;
    for (guint i = 0; i < arrivals->list->len; i++) {
        Arrival *arrival = g_ptr_array_index(arrivals->list, i);
        VfoJobState state = vfo_job_state(job);
        gboolean here = state == VFO_JOB_COMPLETED || state == VFO_JOB_DEGRADED;

        if (arrival->job != job)
            continue;
        if (here)
            end(arrival);
        else if (vfo_job_error(job))
            fail(arrival, vfo_job_error(job));
        else
            fail_with(arrival, VFO_ERROR_FAILED, "VM %s: job %s was cancelled",
                      arrival->domain->name, vfo_job_id(job));
        return;
    }
}

VfoArrivals *vfo_arrivals_new(const VfoArrivalsArgs *args)
{
    VfoArrivals *arrivals = g_new0(VfoArrivals, 1);

    arrivals->args = *args;
    arrivals->list = g_ptr_array_new_with_free_func(arrival_unref);
    arrivals->changed_handler =
        g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), arrivals);
    return arrivals;
}

void vfo_arrivals_free(VfoArrivals *arrivals)
{
    if (!arrivals)
        return;
    g_signal_handler_disconnect(arrivals->args.jobs, arrivals->changed_handler);
    while (arrivals->list->len) {
        Arrival *arrival = g_ptr_array_index(arrivals->list, 0);
        g_autoptr(GError) error =
            g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "VM %s: vfailoverd stops at the destination",
                        arrival->domain->name);

        fail_call(&arrival->migrate, error);
        fail_call(&arrival->start, error);
        end(arrival);
    }
    g_ptr_array_unref(arrivals->list);
    g_free(arrivals);
}

/* ----------------------------------------------------------------- migrate */

/* Of a pool libvirt itself takes one, later. */
static char *change_xml(const Arrival *arrival, GError **error)
{
    const VfoDomainPair *pair = arrival->pair;
    const char *pci = vfo_follow_destination_vf(arrival->job);

    if (!pci) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM %s: no VF is free at the destination; libvirt cannot migrate it without",
                    arrival->domain->name);
        return NULL;
    }
    if (pair->form == VFO_DOMAIN_NETWORK || g_strcmp0(pair->vf, pci) == 0)
        return g_strdup("");
    return vfo_domain_set_vf(arrival->xml, strlen(arrival->xml), pair->standby, pci, error);
}

/* The source is ready: the hook may go on. */
static void let_migrate(Arrival *arrival)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = change_xml(arrival, &error);
    json_object *value;

    if (!xml) {
        fail(arrival, error);
        return;
    }
    g_clear_handle_id(&arrival->timer, g_source_remove);
    g_cancellable_cancel(arrival->cancellable);
    value = json_object_new_object();
    /* A domain whose XML a hook has changed is tainted for libvirt. */
    if (*xml)
        json_object_object_add(value, "xml", json_object_new_string(xml));
    vfo_qmp_call_return(g_steal_pointer(&arrival->migrate), value);
}

/* Nobody hands it over. */
static void give_up(Arrival *arrival)
{
    if (arrival->arrivals->args.config->libvirt_alone) {
        g_warning("VM %s comes without being handed over, as no-daemon = allow: %s",
                  arrival->domain->name, arrival->refusals->str);
        vfo_qmp_call_return(g_steal_pointer(&arrival->migrate), NULL);
        vfo_vms_unexpect(arrival->arrivals->args.vms, arrival->domain->uuid);
        end(arrival);
        return;
    }
    fail_with(arrival, VFO_ERROR_NOT_FOUND,
              "VM %s has a VF that fails over, but no host hands it over (%s): vfailoverd must run "
              "on the host that it comes from, with that host as a [peer] here",
              arrival->domain->name, arrival->refusals->str);
}

/* Somebody who has the VM has said no, and not merely that he has it not or cannot be asked. */
static gboolean is_final(const GError *error)
{
    static const VfoError passing[] = {VFO_ERROR_NOT_FOUND, VFO_ERROR_CLOSED, VFO_ERROR_DEADLINE,
                                       VFO_ERROR_DENIED, VFO_ERROR_NOT_SUPPORTED};

    for (gsize i = 0; i < G_N_ELEMENTS(passing); i++) {
        if (g_error_matches(error, VFO_ERROR, (gint)passing[i]))
            return FALSE;
    }
    return TRUE;
}

static void on_refused(Arrival *arrival, const char *peer, const GError *error)
{
    GString *refusals = arrival->refusals;

    if (refusals->len)
        g_string_append(refusals, "; ");
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_NOT_FOUND))
        g_string_append_printf(refusals, "it does not run on %s", peer);
    else
        g_string_append(refusals, error->message);
    if (arrival->asked == 0)
        give_up(arrival);
}

static void on_peer_answered(GObject *source, GAsyncResult *result, gpointer data)
{
    Asked *asked = data;
    Arrival *arrival = asked->arrival;
    g_autoptr(GError) error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    arrival->asked--;
    if (!arrival->migrate) {
        /* It is over, or another has answered. */
    } else if (ok && !arrival->job) {
        fail_with(arrival, VFO_ERROR_PROTOCOL,
                  "VM %s: %s says that it hands the VM over, but has not reserved here",
                  arrival->domain->name, asked->peer);
    } else if (ok) {
        let_migrate(arrival);
    } else if (arrival->job || is_final(error)) {
        fail(arrival, error);
    } else {
        on_refused(arrival, asked->peer, error);
    }
    arrival_unref(arrival);
    g_free(asked);
}

static void ask_peers(Arrival *arrival)
{
    const VfoArrivalsArgs *args = &arrival->arrivals->args;
    const GPtrArray *peers = args->config->peers;
    const VfoPeerCall call = {
        .job = arrival->id, .vm = arrival->domain->name, .uuid = arrival->domain->uuid};

    arrival->asked = peers->len;
    for (guint i = 0; i < peers->len; i++) {
        const VfoPeerAddress *peer = g_ptr_array_index(peers, i);
        Asked *asked = g_new0(Asked, 1);

        asked->arrival = g_rc_box_acquire(arrival);
        asked->peer = peer->name;
        /* A little less than the hook, so that it can still be told which it was. */
        vfo_peer_call(peer, &args->config->tls, args->pool, &call, args->config->hook_ms / 10 * 9,
                      g_task_new(NULL, arrival->cancellable, on_peer_answered, asked));
    }
}

/* The one pair with a VF; NULL without an error: there is none. */
static const VfoDomainPair *pair_of(const VfoDomain *domain, GError **error)
{
    const VfoDomainPair *found = NULL;

    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        if (!pair->standby || !pair->has_vf)
            continue;
        if (found) {
            g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                        "VM %s has VFs at %s and at %s: one pair can be handed over, not yet two; "
                        "detach one of them (vfailover detach)",
                        domain->name, found->standby, pair->standby);
            return NULL;
        }
        found = pair;
    }
    if (found && found->virtualport) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: the pair %s has a <virtualport>, which cannot be handed over: its "
                    "interfaces must be in a bridge and on a VF as they are",
                    domain->name, found->standby);
        return NULL;
    }
    return found;
}

static Arrival *arrival_new(VfoArrivals *arrivals, const VfoDomain *domain, const char *xml)
{
    Arrival *arrival = g_rc_box_new0(Arrival);

    arrival->arrivals = arrivals;
    arrival->domain = vfo_domain_copy(domain);
    arrival->pair = pair_of(arrival->domain, NULL);
    arrival->xml = g_strdup(xml);
    arrival->id = g_uuid_string_random();
    arrival->cancellable = g_cancellable_new();
    arrival->refusals = g_string_new(NULL);
    g_ptr_array_add(arrivals->list, arrival);
    return arrival;
}

/* libvirt tells nobody that it has given up before QEMU was started. */
static gboolean make_room(VfoArrivals *arrivals, const VfoDomain *domain, GError **error)
{
    Arrival *earlier = find(arrivals, domain->uuid);

    if (!earlier)
        return TRUE;
    if (earlier->failed) {
        end(earlier);
        return TRUE;
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                "VM %s: an earlier migration of it to this host, job %.8s, has not ended%s",
                domain->name, earlier->id,
                earlier->migrate || earlier->start || earlier->wired
                    ? "; wait for it"
                    : " and is being cancelled; try again");
    if (!earlier->migrate && !earlier->start && !earlier->wired)
        vfo_job_cancel(earlier->job, NULL);
    return FALSE;
}

void vfo_arrivals_begin(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain,
                        const char *xml)
{
    GError *error = NULL;
    Arrival *arrival;

    if (!pair_of(domain, &error) || !make_room(arrivals, domain, &error)) {
        if (error)
            vfo_qmp_call_fail(call, error);
        else
            vfo_qmp_call_return(call, NULL);
        return;
    }
    arrival = arrival_new(arrivals, domain, xml);
    arrival->migrate = call;
    arrival->vm = vfo_vms_expect(arrivals->args.vms, arrival->domain, &error);
    if (!arrival->vm) {
        g_autoptr(GError) why = error;

        fail(arrival, why);
        return;
    }
    vfo_vm_ref(arrival->vm);
    set_deadline(arrival);
    if (arrivals->args.config->peers->len == 0) {
        g_string_append(arrival->refusals, "no [peer] in the configuration");
        give_up(arrival);
        return;
    }
    ask_peers(arrival);
}

/* ------------------------------------------------------------- the other end */

static void on_wired(VfoJob *job, gpointer data)
{
    VfoArrivals *arrivals = data;

    for (guint i = 0; i < arrivals->list->len; i++) {
        Arrival *arrival = g_ptr_array_index(arrivals->list, i);

        if (arrival->job != job)
            continue;
        arrival->wired = TRUE;
        if (arrival->start) {
            g_clear_handle_id(&arrival->timer, g_source_remove);
            vfo_qmp_call_return(g_steal_pointer(&arrival->start), NULL);
        }
    }
}

VfoJob *vfo_arrivals_job(VfoArrivals *arrivals, const char *peer_name, const VfoOffer *offer,
                         VfoReserved reserved, gpointer reserved_data, GError **error)
{
    const VfoArrivalsArgs *args = &arrivals->args;
    VfoPolicy policy = args->config->policy;
    VfoDestinationArgs destination = {
        .host = args->host,
        .leases = args->leases,
        .absences = args->absences,
        .offer = offer,
        .reserved = reserved,
        .data = reserved_data,
        .wired = on_wired,
        .wired_data = arrivals,
    };
    g_autoptr(VfoJob) job = NULL;
    Arrival *arrival = NULL;

    for (guint i = 0; i < arrivals->list->len && !arrival; i++) {
        Arrival *candidate = g_ptr_array_index(arrivals->list, i);

        if (candidate->migrate && !candidate->job && g_str_equal(candidate->id, offer->job))
            arrival = candidate;
    }
    if (!arrival)
        return NULL;
    /* libvirt's destination must have as many devices as its source. */
    policy.standby_only = FALSE;
    destination.vm = arrival->vm;
    g_message("job %s: VM %s comes from %s, by libvirt", offer->job, arrival->domain->name,
              peer_name);
    job = vfo_follow_destination_job(args->config->name, &destination, &policy);
    if (!vfo_jobs_add(args->jobs, job, FALSE, error))
        return NULL;
    arrival->job = vfo_job_ref(job);
    return g_steal_pointer(&job);
}

/* ---------------------------------------------------------- prepare, start */

gboolean vfo_arrivals_has(VfoArrivals *arrivals, const VfoDomain *domain)
{
    return find(arrivals, domain->uuid) != NULL;
}

/* The arrival that libvirt may go on with. */
static Arrival *find_ready(VfoArrivals *arrivals, const VfoDomain *domain, GError **error)
{
    Arrival *arrival = find(arrivals, domain->uuid);

    if (arrival->failed)
        g_propagate_error(error, g_error_copy(arrival->failed));
    else if (arrival->migrate || arrival->start)
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "VM %s: libvirt's hook asks again before it was answered", domain->name);
    else
        return arrival;
    return NULL;
}

gboolean vfo_arrivals_prepare(VfoArrivals *arrivals, const VfoDomain *domain, GError **error)
{
    const Arrival *arrival = find_ready(arrivals, domain, error);
    const VfoDomainPair *pair;
    const char *pci;

    if (!arrival)
        return FALSE;
    pair = vfo_domain_pair(domain, arrival->pair->standby);
    pci = vfo_follow_destination_vf(arrival->job);
    if (!pair || !pair->vf || arrival->pair->form == VFO_DOMAIN_NETWORK ||
        g_strcmp0(pair->vf, pci) == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "VM %s: VF %s was chosen for it, but it comes with VF %s: does another hook of "
                "libvirt's change its XML?",
                domain->name, pci ? pci : "(none)", pair->vf);
    return FALSE;
}

void vfo_arrivals_start(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain)
{
    GError *error = NULL;
    Arrival *arrival = find_ready(arrivals, domain, &error);

    if (!arrival) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    arrival->start = call;
    set_deadline(arrival);
    if (!vfo_vms_tell_start(arrivals->args.vms, domain, &error)) {
        g_autoptr(GError) why = error;

        fail(arrival, why);
    }
}
