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

typedef enum {
    ASKED,
    READY, /* the source, for this pair */
    WIRED, /* its standby reaches the network */
} Stage;

/* A pair with a VF: each has a job of its own. */
typedef struct {
    const VfoDomainPair *pair;
    char *id;    /* of the job */
    VfoJob *job; /* owned; NULL: the source has not reserved yet */
    Stage stage;
} Half;

typedef struct {
    VfoArrivals *arrivals;
    VfoDomain *domain;
    GPtrArray *halves; /* of Half, of @domain's pairs */
    char *xml;
    VfoVm *vm;                 /* owned; NULL: not expected (yet) */
    VfoQmpCall *migrate;       /* the hook that waits for the source; NULL: none */
    VfoQmpCall *start;         /* the hook that waits for the wire; NULL: none */
    GCancellable *cancellable; /* of what the peers are asked */
    guint asked;               /* so many have not answered */
    GString *refusals;         /* what the others have said */
    GError *failed; /* libvirt, which was let go on, is still to be told; NULL: it has not failed */
    guint timer;
} Arrival;

typedef struct {
    Arrival *arrival;
    Half *half;                 /* of @arrival */
    const VfoPeerAddress *peer; /* the configuration's */
} Asked;

/* ---------------------------------------------------------------- lifetime */

static void half_free(gpointer data)
{
    Half *half = data;

    g_clear_pointer(&half->job, vfo_job_unref);
    g_free(half->id);
    g_free(half);
}

static void arrival_clear(gpointer data)
{
    Arrival *arrival = data;

    g_ptr_array_unref(arrival->halves);
    vfo_domain_free(arrival->domain);
    g_free(arrival->xml);
    g_clear_pointer(&arrival->vm, vfo_vm_unref);
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

/* The first one that has not got to @stage, NULL: all have. */
static Half *find_behind(const Arrival *arrival, Stage stage)
{
    for (guint i = 0; i < arrival->halves->len; i++) {
        Half *half = g_ptr_array_index(arrival->halves, i);

        if (half->stage < stage)
            return half;
    }
    return NULL;
}

/* The arrival's half that @job is, NULL: none. */
static Half *find_half(VfoArrivals *arrivals, const VfoJob *job, Arrival **arrival)
{
    for (guint i = 0; i < arrivals->list->len; i++) {
        *arrival = g_ptr_array_index(arrivals->list, i);
        for (guint k = 0; k < (*arrival)->halves->len; k++) {
            Half *half = g_ptr_array_index((*arrival)->halves, k);

            if (half->job == job)
                return half;
        }
    }
    return NULL;
}

static void cancel_jobs(const Arrival *arrival)
{
    for (guint i = 0; i < arrival->halves->len; i++) {
        const Half *half = g_ptr_array_index(arrival->halves, i);

        /* Refused when it has ended already. */
        if (half->job)
            vfo_job_cancel(half->job, NULL);
    }
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

/* One of its jobs is over, and the VM not here. libvirt may have been let go on: what it asks next
 * is answered with @error. */
static void fail(Arrival *arrival, const GError *error)
{
    gboolean may_come = !find_behind(arrival, READY) && !arrival->migrate && !arrival->start &&
                        find_behind(arrival, WIRED);

    g_clear_handle_id(&arrival->timer, g_source_remove);
    arrival->failed = g_error_copy(error);
    fail_call(&arrival->migrate, error);
    fail_call(&arrival->start, error);
    g_cancellable_cancel(arrival->cancellable);
    cancel_jobs(arrival);
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
    const Half *late = find_behind(arrival, WIRED);

    arrival->timer = 0;
    if (arrival->start && late)
        fail_with(arrival, VFO_ERROR_DEADLINE,
                  "VM %s: its standby %s was not found to reach the network within %g s; see "
                  "'vfailover job %.8s'",
                  arrival->domain->name, late->pair->standby, ms / 1e3, late->id);
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
    VfoJobState state = vfo_job_state(job);
    Arrival *arrival;

    if (record || !vfo_job_ended(job) || !find_half(data, job, &arrival) || arrival->failed)
        return;
    /* For one pair as for another. */
    if (state == VFO_JOB_COMPLETED || state == VFO_JOB_DEGRADED)
        end(arrival);
    else if (vfo_job_error(job))
        fail(arrival, vfo_job_error(job));
    else
        fail_with(arrival, VFO_ERROR_FAILED, "VM %s: job %s was cancelled", arrival->domain->name,
                  vfo_job_id(job));
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

/* @xml becomes what it is with the VF of @half. Of a pool libvirt itself takes one, later. */
static gboolean change_xml(const Arrival *arrival, const Half *half, char **xml, GError **error)
{
    const VfoDomainPair *pair = half->pair;
    const char *pci = vfo_follow_destination_vf(half->job);
    char *changed;

    if (!pci) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "VM %s: no VF is free at the destination for its standby %s; libvirt cannot "
                    "migrate it without",
                    arrival->domain->name, pair->standby);
        return FALSE;
    }
    if (pair->form == VFO_DOMAIN_NETWORK || g_strcmp0(pair->vf, pci) == 0)
        return TRUE;
    changed = vfo_domain_set_vf(*xml, strlen(*xml), pair->standby, pci, error);
    if (!changed)
        return FALSE;
    g_free(*xml);
    *xml = changed;
    return TRUE;
}

/* The source is ready: the hook may go on. */
static void let_migrate(Arrival *arrival)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = g_strdup(arrival->xml);
    json_object *value;

    for (guint i = 0; i < arrival->halves->len; i++) {
        if (!change_xml(arrival, g_ptr_array_index(arrival->halves, i), &xml, &error)) {
            fail(arrival, error);
            return;
        }
    }
    g_clear_handle_id(&arrival->timer, g_source_remove);
    value = json_object_new_object();
    /* A domain whose XML a hook has changed is tainted for libvirt. */
    if (!g_str_equal(xml, arrival->xml))
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

static void on_peer_answered(GObject *source, GAsyncResult *result, gpointer data);

static void ask_peer(Arrival *arrival, Half *half, const VfoPeerAddress *peer)
{
    const VfoArrivalsArgs *args = &arrival->arrivals->args;
    const VfoPeerCall call = {.job = half->id,
                              .vm = arrival->domain->name,
                              .uuid = arrival->domain->uuid,
                              .standby = half->pair->standby};
    Asked *asked = g_new0(Asked, 1);

    arrival->asked++;
    asked->arrival = g_rc_box_acquire(arrival);
    asked->half = half;
    asked->peer = peer;
    /* A little less than the hook, so that it can still be told which it was. */
    vfo_peer_call(peer, &args->config->tls, args->pool, &call, args->config->hook_ms / 10 * 9,
                  g_task_new(NULL, arrival->cancellable, on_peer_answered, asked));
}

/* @peer has the VM, and has made ready for one of its pairs: it is asked for the next. */
static void go_on(Arrival *arrival, const VfoPeerAddress *peer)
{
    Half *next = find_behind(arrival, READY);

    /* The others need not answer any more. */
    g_cancellable_cancel(arrival->cancellable);
    g_object_unref(arrival->cancellable);
    arrival->cancellable = g_cancellable_new();
    if (next)
        ask_peer(arrival, next, peer);
    else
        let_migrate(arrival);
}

static void on_peer_answered(GObject *source, GAsyncResult *result, gpointer data)
{
    Asked *asked = data;
    Arrival *arrival = asked->arrival;
    Half *half = asked->half;
    g_autoptr(GError) error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    arrival->asked--;
    if (!arrival->migrate || half->stage >= READY) {
        /* It is over, or another has answered. */
    } else if (ok && !half->job) {
        fail_with(arrival, VFO_ERROR_PROTOCOL,
                  "VM %s: %s says that it hands the VM over, but has not reserved here",
                  arrival->domain->name, asked->peer->name);
    } else if (ok) {
        half->stage = READY;
        go_on(arrival, asked->peer);
    } else if (half->job || half != g_ptr_array_index(arrival->halves, 0) || is_final(error)) {
        fail(arrival, error);
    } else {
        on_refused(arrival, asked->peer->name, error);
    }
    arrival_unref(arrival);
    g_free(asked);
}

/* Whoever has the VM makes ready for its first pair. */
static void ask_peers(Arrival *arrival)
{
    const GPtrArray *peers = arrival->arrivals->args.config->peers;

    for (guint i = 0; i < peers->len; i++)
        ask_peer(arrival, g_ptr_array_index(arrival->halves, 0), g_ptr_array_index(peers, i));
}

static Half *half_new(const VfoDomainPair *pair)
{
    Half *half = g_new0(Half, 1);

    half->pair = pair;
    half->id = g_uuid_string_random();
    return half;
}

/* One for each pair with a VF. */
static GPtrArray *halves_of(const VfoDomain *domain)
{
    GPtrArray *halves = g_ptr_array_new_with_free_func(half_free);

    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        if (pair->standby && pair->has_vf)
            g_ptr_array_add(halves, half_new(pair));
    }
    return halves;
}

static gboolean can_be_handed_over(const VfoDomain *domain, const GPtrArray *halves, GError **error)
{
    for (guint i = 0; i < halves->len; i++) {
        const VfoDomainPair *pair = ((const Half *)g_ptr_array_index(halves, i))->pair;

        if (!pair->virtualport)
            continue;
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VM %s: the pair %s has a <virtualport>, which cannot be handed over: its "
                    "interfaces must be in a bridge and on a VF as they are",
                    domain->name, pair->standby);
        return FALSE;
    }
    return TRUE;
}

/* Takes @call. */
static Arrival *arrival_new(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain,
                            const char *xml)
{
    Arrival *arrival = g_rc_box_new0(Arrival);

    arrival->arrivals = arrivals;
    arrival->domain = vfo_domain_copy(domain);
    arrival->halves = halves_of(arrival->domain);
    arrival->xml = g_strdup(xml);
    arrival->migrate = call;
    arrival->cancellable = g_cancellable_new();
    arrival->refusals = g_string_new(NULL);
    g_ptr_array_add(arrivals->list, arrival);
    return arrival;
}

/* libvirt tells nobody that it has given up before QEMU was started. */
static gboolean make_room(VfoArrivals *arrivals, const VfoDomain *domain, GError **error)
{
    Arrival *earlier = find(arrivals, domain->uuid);
    gboolean goes_on;

    if (!earlier)
        return TRUE;
    if (earlier->failed) {
        end(earlier);
        return TRUE;
    }
    goes_on = earlier->migrate || earlier->start || !find_behind(earlier, WIRED);
    g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                "VM %s: an earlier migration of it to this host, job %.8s, has not ended%s",
                domain->name, ((const Half *)g_ptr_array_index(earlier->halves, 0))->id,
                goes_on ? "; wait for it" : " and is being cancelled; try again");
    if (!goes_on)
        cancel_jobs(earlier);
    return FALSE;
}

void vfo_arrivals_begin(VfoArrivals *arrivals, VfoQmpCall *call, const VfoDomain *domain,
                        const char *xml)
{
    g_autoptr(GPtrArray) halves = halves_of(domain);
    GError *error = NULL;
    Arrival *arrival;

    if (halves->len == 0) {
        vfo_qmp_call_return(call, NULL);
        return;
    }
    if (!can_be_handed_over(domain, halves, &error) || !make_room(arrivals, domain, &error)) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    arrival = arrival_new(arrivals, call, domain, xml);
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
    Arrival *arrival;
    Half *half = find_half(data, job, &arrival);

    if (!half)
        return;
    half->stage = WIRED;
    if (arrival->start && !find_behind(arrival, WIRED)) {
        g_clear_handle_id(&arrival->timer, g_source_remove);
        vfo_qmp_call_return(g_steal_pointer(&arrival->start), NULL);
    }
}

/* The half that waits for the reservation of job @id. */
static Half *find_waiting(VfoArrivals *arrivals, const char *id, Arrival **arrival)
{
    for (guint i = 0; i < arrivals->list->len; i++) {
        *arrival = g_ptr_array_index(arrivals->list, i);
        for (guint k = 0; (*arrival)->migrate && k < (*arrival)->halves->len; k++) {
            Half *half = g_ptr_array_index((*arrival)->halves, k);

            if (!half->job && g_str_equal(half->id, id))
                return half;
        }
    }
    return NULL;
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
    Arrival *arrival;
    Half *half = find_waiting(arrivals, offer->job, &arrival);

    if (!half)
        return NULL;
    if (!g_str_equal(half->pair->standby, offer->pair->standby)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VM %s: %s was asked for the pair %s, and offers %s", arrival->domain->name,
                    peer_name, half->pair->standby, offer->pair->standby);
        return NULL;
    }
    /* libvirt's destination must have as many devices as its source. */
    policy.standby_only = FALSE;
    destination.vm = arrival->vm;
    g_message("job %s: VM %s, pair %s, comes from %s, by libvirt", offer->job,
              arrival->domain->name, half->pair->standby, peer_name);
    job = vfo_follow_destination_job(args->config->name, &destination, &policy);
    if (!vfo_jobs_add(args->jobs, job, FALSE, error))
        return NULL;
    half->job = vfo_job_ref(job);
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

static gboolean has_its_vf(const Half *half, const VfoDomain *domain, GError **error)
{
    const VfoDomainPair *pair = vfo_domain_pair(domain, half->pair->standby);
    const char *pci = vfo_follow_destination_vf(half->job);

    if (!pair || !pair->vf || half->pair->form == VFO_DOMAIN_NETWORK ||
        g_strcmp0(pair->vf, pci) == 0)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                "VM %s: VF %s was chosen for its standby %s, but it comes with VF %s: does another "
                "hook of libvirt's change its XML?",
                domain->name, pci ? pci : "(none)", half->pair->standby, pair->vf);
    return FALSE;
}

gboolean vfo_arrivals_prepare(VfoArrivals *arrivals, const VfoDomain *domain, GError **error)
{
    const Arrival *arrival = find_ready(arrivals, domain, error);

    for (guint i = 0; arrival && i < arrival->halves->len; i++) {
        if (!has_its_vf(g_ptr_array_index(arrival->halves, i), domain, error))
            return FALSE;
    }
    return arrival != NULL;
}

/* What libvirt has taken from its pool for one pair may have been chosen for another one. */
static void yield_vfs(const Arrival *arrival, const VfoDomain *domain)
{
    for (guint i = 0; i < arrival->halves->len; i++) {
        const Half *half = g_ptr_array_index(arrival->halves, i);
        const VfoDomainPair *pair = vfo_domain_pair(domain, half->pair->standby);

        if (pair && pair->vf && g_strcmp0(pair->vf, vfo_follow_destination_vf(half->job)) != 0)
            vfo_follow_destination_yield(half->job);
    }
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
    yield_vfs(arrival, domain);
    if (!vfo_vms_tell_start(arrivals->args.vms, domain, &error)) {
        g_autoptr(GError) why = error;

        fail(arrival, why);
    }
}
