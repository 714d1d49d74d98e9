/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to libvirt. It is made, and everything asked over it, in threads, as libvirt's
 * calls block; what libvirt tells arrives on the main loop, through libvirt-glib.
 */
#include "vm/libvirt.h"

#include <libvirt-glib/libvirt-glib.h>
#include <string.h>

/* libvirtd works on five calls of one client at a time (max_client_requests). */
#define MAX_THREADS 4
#define MAX_CALLS   2048
#define MAX_DOMAINS 1024
#define MAX_DETAILS (64 * 1024)

/* A libvirtd that says nothing for this long is as good as gone. */
#define KEEP_ALIVE_S      5
#define KEEP_ALIVE_MISSES 3

#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_LAST_MS  30000

#define QEMU_EVENTS "^(UNPLUG_PRIMARY|MIGRATION|STOP|RESUME|FAILOVER_NEGOTIATED|RESET)$"

typedef struct _Link Link;

struct _VfoLibvirt {
    gatomicrefcount refs; /* the owner's, the links', and one for each call under way */
    const VfoLibvirtCalls *calls;
    char *uri;
    gboolean updates;
    VfoLibvirtListener listener;
    gboolean closed;
    GThreadPool *pool;
    Link *link;        /* NULL: there is none */
    GError *error;     /* why not */
    guint back_off;    /* ms until the next try */
    guint timer;       /* of the next try */
    gboolean listed;   /* over this link: the domains that run */
    gboolean met;      /* each of those has been looked at, once */
    GHashTable *vms;   /* UUID -> VfoLibvirtVm, not owned */
    GHashTable *looks; /* UUID -> Look, not owned */
};

#define N_WATCHED 5

/* One connection. Each of its callbacks has a reference. */
struct _Link {
    gatomicrefcount refs;
    VfoLibvirt *libvirt; /* a reference */
    virConnectPtr connection;
    gboolean dead; /* what it still tells is of no interest; the main thread's */
    int ids[N_WATCHED];
    int qemu_id;
};

/* One look at a domain that may be a VM for us. */
typedef struct {
    VfoLibvirt *libvirt; /* a reference */
    char *uuid;
    virDomainPtr domain;
    gboolean gone;  /* it has stopped since */
    gboolean again; /* something has happened since */
} Look;

static VfoLibvirt *libvirt_ref(VfoLibvirt *libvirt)
{
    g_atomic_ref_count_inc(&libvirt->refs);
    return libvirt;
}

static void libvirt_unref(VfoLibvirt *libvirt)
{
    if (!g_atomic_ref_count_dec(&libvirt->refs))
        return;
    g_clear_error(&libvirt->error);
    g_hash_table_unref(libvirt->vms);
    g_hash_table_unref(libvirt->looks);
    g_free(libvirt->uri);
    g_free(libvirt);
}

static Link *link_ref(Link *link)
{
    g_atomic_ref_count_inc(&link->refs);
    return link;
}

static void link_unref(gpointer data)
{
    Link *link = data;

    if (!g_atomic_ref_count_dec(&link->refs))
        return;
    libvirt_unref(link->libvirt);
    g_free(link);
}

/* ------------------------------------------------------------------- calls */

typedef struct {
    VfoLibvirt *libvirt;
    virDomainPtr domain;
    VfoLibvirtFunc func;
    gpointer data;
    GDestroyNotify data_free;
    GDestroyNotify value_free;
    GTask *task;
} Call;

static void call_free(Call *call)
{
    if (call->data_free)
        call->data_free(call->data);
    g_clear_pointer(&call->domain, virDomainFree);
    g_object_unref(call->task);
    libvirt_unref(call->libvirt);
    g_free(call);
}

static void run_call(gpointer data, gpointer unused)
{
    Call *call = data;
    GError *error = NULL;
    gpointer value = call->func(call->libvirt->calls, call->domain, call->data, &error);

    if (error)
        g_task_return_error(call->task, error);
    else
        g_task_return_pointer(call->task, value, call->value_free);
    call_free(call);
}

void vfo_libvirt_call(VfoLibvirt *libvirt, virDomainPtr domain, VfoLibvirtFunc func, gpointer data,
                      GDestroyNotify data_free, GDestroyNotify value_free, GTask *task)
{
    Call *call = g_new0(Call, 1);

    call->libvirt = libvirt_ref(libvirt);
    call->domain = domain;
    if (domain)
        virDomainRef(domain);
    call->func = func;
    call->data = data;
    call->data_free = data_free;
    call->value_free = value_free;
    call->task = task;
    if (g_thread_pool_unprocessed(libvirt->pool) < MAX_CALLS) {
        g_thread_pool_push(libvirt->pool, call, NULL);
        return;
    }
    g_task_return_new_error(task, VFO_ERROR, VFO_ERROR_BUSY,
                            "libvirt (%s) does not answer: %d calls wait for it; look at libvirtd",
                            libvirt->uri, MAX_CALLS);
    call_free(call);
}

/* ------------------------------------------------------------------ domains */

static char *uuid_of(virDomainPtr domain)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    return virDomainGetUUIDString(domain, uuid) < 0 ? NULL : g_ascii_strdown(uuid, -1);
}

VfoLibvirtVm *vfo_libvirt_find(VfoLibvirt *libvirt, const char *uuid)
{
    g_autofree char *key = g_ascii_strdown(uuid, -1);

    return g_hash_table_lookup(libvirt->vms, key);
}

gboolean vfo_libvirt_add(VfoLibvirt *libvirt, VfoLibvirtVm *vm)
{
    g_hash_table_insert(libvirt->vms, g_strdup(vm->uuid), vm);
    if (libvirt->listener.appeared(&vm->base, libvirt->listener.data))
        return TRUE;
    vfo_local_vm_close(&vm->base);
    vfo_vm_unref(&vm->base.vm);
    return FALSE;
}

void vfo_libvirt_remove(VfoLibvirt *libvirt, VfoLibvirtVm *vm)
{
    libvirt->listener.gone(&vm->base, libvirt->listener.data);
}

void vfo_libvirt_forget(VfoLibvirt *libvirt, VfoLibvirtVm *vm)
{
    if (g_hash_table_lookup(libvirt->vms, vm->uuid) == vm)
        g_hash_table_remove(libvirt->vms, vm->uuid);
}

/* A plain <hostdev> may be any PCI device. */
static gboolean is_vf(const VfoDomainPair *pair)
{
    g_autofree char *physfn = NULL;

    if (pair->form != VFO_DOMAIN_HOSTDEV || !pair->vf)
        return TRUE;
    physfn = g_strdup_printf("/sys/bus/pci/devices/%s/physfn", pair->vf);
    return g_file_test(physfn, G_FILE_TEST_EXISTS);
}

static gboolean is_for_us(const VfoDomain *config)
{
    for (guint i = 0; i < config->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(config->pairs, i);

        if (pair->standby || (pair->has_vf && is_vf(pair)))
            return TRUE;
    }
    return FALSE;
}

static void look(VfoLibvirt *libvirt, virDomainPtr domain);

static void look_free(Look *seen)
{
    g_clear_pointer(&seen->domain, virDomainFree);
    g_free(seen->uuid);
    libvirt_unref(seen->libvirt);
    g_free(seen);
}

static void look_take(Look *one, const VfoLibvirtSeen *seen)
{
    VfoLibvirt *libvirt = one->libvirt;
    VfoLibvirtVm *vm;

    if (!is_for_us(seen->config))
        return;
    vm = vfo_libvirt_vm_new(libvirt, seen->config, one->domain, &libvirt->listener.vm);
    vfo_libvirt_vm_take_missed(vm, seen);
    vfo_libvirt_vm_take(vm, seen);
    if (vfo_libvirt_add(libvirt, vm))
        libvirt->listener.vm.inspected(&vm->base.vm, libvirt->listener.vm.data);
}

static void note_met(VfoLibvirt *libvirt);

static void on_looked(GObject *source, GAsyncResult *result, gpointer data)
{
    Look *one = data;
    VfoLibvirt *libvirt = one->libvirt;
    g_autoptr(GError) error = NULL;
    VfoLibvirtSeen *seen = g_task_propagate_pointer(G_TASK(result), &error);

    g_hash_table_remove(libvirt->looks, one->uuid);
    /* It has not been looked at because the link is lost, of which nobody has told yet. */
    if (error && virConnectIsAlive(virDomainGetConnect(one->domain)) == 0)
        libvirt->listed = FALSE;
    if (error && !g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED) && !libvirt->closed)
        g_message("libvirt's domain '%s' is left alone: %s", virDomainGetName(one->domain),
                  error->message);
    if (libvirt->closed || !libvirt->link)
        ;
    else if (one->again)
        look(libvirt, one->domain);
    else if (seen && !one->gone && !vfo_libvirt_find(libvirt, one->uuid))
        look_take(one, seen);
    if (!libvirt->closed && libvirt->link)
        note_met(libvirt);
    vfo_libvirt_seen_free(seen);
    look_free(one);
}

/* Those that start later are told of, and what was known before a link was lost is known on. */
static void note_met(VfoLibvirt *libvirt)
{
    if (libvirt->met || !libvirt->listed || g_hash_table_size(libvirt->looks))
        return;
    libvirt->met = TRUE;
    libvirt->listener.met(libvirt->listener.data);
}

/* Finds out whether @domain, of which nothing is known, is a VM for us. */
static void look(VfoLibvirt *libvirt, virDomainPtr domain)
{
    g_autofree char *uuid = uuid_of(domain);
    Look *one = uuid ? g_hash_table_lookup(libvirt->looks, uuid) : NULL;

    if (one)
        one->again = TRUE;
    if (!uuid || one || g_hash_table_size(libvirt->looks) >= MAX_DOMAINS)
        return;
    one = g_new0(Look, 1);
    one->libvirt = libvirt_ref(libvirt);
    one->uuid = g_steal_pointer(&uuid);
    one->domain = domain;
    virDomainRef(domain);
    g_hash_table_insert(libvirt->looks, g_strdup(one->uuid), one);
    vfo_libvirt_call(libvirt, domain, vfo_libvirt_see_anew, NULL, NULL,
                     (GDestroyNotify)vfo_libvirt_seen_free, g_task_new(NULL, NULL, on_looked, one));
}

/* ------------------------------------------------------------------- events */

/* The VM that an event is about; NULL: none of ours. */
static VfoLibvirtVm *vm_of(const Link *link, virDomainPtr domain)
{
    g_autofree char *uuid = uuid_of(domain);

    return uuid && !link->dead ? vfo_libvirt_find(link->libvirt, uuid) : NULL;
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                        void *data)
{
    const Link *link = data;
    VfoLibvirtVm *vm = vm_of(link, domain);
    g_autofree char *uuid = uuid_of(domain);
    Look *one = uuid ? g_hash_table_lookup(link->libvirt->looks, uuid) : NULL;

    if (link->dead)
        return 0;
    if (one && event == VIR_DOMAIN_EVENT_STOPPED)
        one->gone = TRUE;
    if (vm)
        vfo_libvirt_vm_on_lifecycle(vm, domain, event, detail);
    else if (event == VIR_DOMAIN_EVENT_STARTED)
        look(link->libvirt, domain);
    return 0;
}

static void on_device_removed(virConnectPtr connection, virDomainPtr domain, const char *alias,
                              void *data)
{
    VfoLibvirtVm *vm = vm_of(data, domain);

    if (vm)
        vfo_libvirt_vm_on_device(vm, VFO_DEVICE_REMOVED, alias);
}

static void on_device_removal_failed(virConnectPtr connection, virDomainPtr domain,
                                     const char *alias, void *data)
{
    VfoLibvirtVm *vm = vm_of(data, domain);

    if (vm)
        vfo_libvirt_vm_on_device(vm, VFO_DEVICE_REMOVAL_FAILED, alias);
}

static void on_device_added(virConnectPtr connection, virDomainPtr domain, const char *alias,
                            void *data)
{
    const Link *link = data;
    VfoLibvirtVm *vm = vm_of(link, domain);

    if (vm)
        vfo_libvirt_vm_on_device(vm, VFO_DEVICE_ADDED, alias);
    else if (!link->dead)
        look(link->libvirt, domain);
}

static void on_job_completed(virConnectPtr connection, virDomainPtr domain,
                             virTypedParameterPtr params, int n_params, void *data)
{
    VfoLibvirtVm *vm = vm_of(data, domain);

    if (vm)
        vfo_libvirt_vm_on_job(vm, params, n_params);
}

static void on_qemu(virConnectPtr connection, virDomainPtr domain, const char *event,
                    long long seconds, unsigned int micros, const char *details, void *data)
{
    VfoLibvirtVm *vm = vm_of(data, domain);

    if (!vm)
        return;
    if (details && strlen(details) > MAX_DETAILS)
        g_warning("VM '%s': QEMU's event %s has more than %d bytes; ignored", vm->base.vm.name,
                  event, MAX_DETAILS);
    else
        vfo_libvirt_vm_on_qemu(vm, domain, event, details);
}

static const struct {
    int id;
    virConnectDomainEventGenericCallback callback;
} watched[N_WATCHED] = {
    {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device_removed)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
     VIR_DOMAIN_EVENT_CALLBACK(on_device_removal_failed)},
    {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device_added)},
    {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed)},
};

/* ------------------------------------------------------------------ opening */

typedef struct {
    Link *link;
    virDomainPtr *domains; /* that run */
    int n_domains;
} Opened;

static void domains_free(virDomainPtr *domains, int n)
{
    for (int i = 0; i < n; i++)
        virDomainFree(domains[i]);
    free(domains);
}

static void on_link_closed(virConnectPtr connection, int reason, void *data);

/* In a thread of its own, as a libvirtd that hangs does not answer this either. */
static gpointer close_link(gpointer data)
{
    Link *link = data;
    const VfoLibvirtCalls *calls = link->libvirt->calls;

    for (guint i = 0; i < N_WATCHED; i++)
        if (link->ids[i] >= 0)
            virConnectDomainEventDeregisterAny(link->connection, link->ids[i]);
    if (link->qemu_id >= 0)
        calls->off_qemu_event(link->connection, link->qemu_id);
    calls->off_close(link->connection, on_link_closed);
    virConnectClose(link->connection);
    link_unref(link);
    return NULL;
}

static void drop_link(Link *link)
{
    link->dead = TRUE;
    g_thread_unref(g_thread_new("libvirt-close", close_link, link));
}

static void opened_free(gpointer data)
{
    Opened *opened = data;

    domains_free(opened->domains, opened->n_domains);
    if (opened->link)
        drop_link(opened->link);
    g_free(opened);
}

static gboolean register_events(const VfoLibvirtCalls *calls, Link *link, GError **error)
{
    /* Without a reference: it is not called any more once it is taken away, and drivers that have
     * no such thing would not give the reference back. */
    if (calls->on_close(link->connection, on_link_closed, link, NULL) < 0) {
        vfo_libvirt_set_error(calls, error, "watch the connection to libvirt");
        return FALSE;
    }
    for (guint i = 0; i < N_WATCHED; i++) {
        link->ids[i] = calls->on_event(link->connection, NULL, watched[i].id, watched[i].callback,
                                       link_ref(link), link_unref);
        if (link->ids[i] < 0) {
            link_unref(link);
            vfo_libvirt_set_error(calls, error, "have libvirt tell of its domains");
            return FALSE;
        }
    }
    link->qemu_id =
        calls->on_qemu_event(link->connection, NULL, QEMU_EVENTS, on_qemu, link_ref(link),
                             link_unref, VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX);
    if (link->qemu_id >= 0)
        return TRUE;
    link_unref(link);
    if (vfo_libvirt_error_is(calls, VIR_ERR_NO_SUPPORT)) {
        g_message("libvirt at %s tells nothing of QEMU: no migration can be followed there",
                  link->libvirt->uri);
        return TRUE;
    }
    vfo_libvirt_set_error(calls, error, "have libvirt tell of its domains' QEMU");
    return FALSE;
}

/* Events first: a domain that starts while the others are listed is told of. */
static gpointer open_link(const VfoLibvirtCalls *calls, virDomainPtr none, gpointer data,
                          GError **error)
{
    VfoLibvirt *libvirt = data;
    Opened *opened = g_new0(Opened, 1);
    virConnectPtr connection = calls->open(libvirt->uri);
    Link *link;

    if (!connection) {
        vfo_libvirt_set_error(calls, error, "connect to libvirt");
        opened_free(opened);
        return NULL;
    }
    link = opened->link = g_new0(Link, 1);
    g_atomic_ref_count_init(&link->refs);
    link->libvirt = libvirt_ref(libvirt);
    link->connection = connection;
    link->qemu_id = -1;
    for (guint i = 0; i < N_WATCHED; i++)
        link->ids[i] = -1;

    /* Local drivers have none, and need none. */
    virConnectSetKeepAlive(connection, KEEP_ALIVE_S, KEEP_ALIVE_MISSES);
    if (!register_events(calls, link, error)) {
        opened_free(opened);
        return NULL;
    }
    opened->n_domains =
        virConnectListAllDomains(connection, &opened->domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (opened->n_domains < 0) {
        opened->n_domains = 0;
        vfo_libvirt_set_error(calls, error, "ask libvirt for its domains");
        opened_free(opened);
        return NULL;
    }
    return opened;
}

static void try_again(VfoLibvirt *libvirt, GError *error);

/* Those that ran before the connection was lost, and do not now. */
static void remove_missing(VfoLibvirt *libvirt, GHashTable *running)
{
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    GHashTableIter iter;
    gpointer uuid, vm;

    g_hash_table_iter_init(&iter, libvirt->vms);
    while (g_hash_table_iter_next(&iter, &uuid, &vm))
        if (!((VfoLibvirtVm *)vm)->expected && !g_hash_table_contains(running, uuid))
            g_ptr_array_add(missing, vm);
    for (guint i = 0; i < missing->len; i++)
        vfo_libvirt_vm_miss(g_ptr_array_index(missing, i));
}

static void meet(VfoLibvirt *libvirt, const Opened *opened)
{
    g_autoptr(GHashTable) running = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    if (opened->n_domains > MAX_DOMAINS)
        g_warning("libvirt at %s runs more than %d domains; only so many are looked at",
                  libvirt->uri, MAX_DOMAINS);
    for (int i = 0; i < opened->n_domains && i < MAX_DOMAINS; i++) {
        char *uuid = uuid_of(opened->domains[i]);

        if (uuid)
            g_hash_table_add(running, uuid);
    }
    remove_missing(libvirt, running);
    for (int i = 0; i < opened->n_domains && i < MAX_DOMAINS; i++) {
        g_autofree char *uuid = uuid_of(opened->domains[i]);
        VfoLibvirtVm *vm = uuid ? vfo_libvirt_find(libvirt, uuid) : NULL;

        /* Of one that is expected libvirt will tell when it has started it. */
        if (vm && (!vm->expected || vm->starting))
            vfo_libvirt_vm_meet(vm, opened->domains[i]);
        else if (uuid && !vm)
            look(libvirt, opened->domains[i]);
    }
    libvirt->listed = TRUE;
    note_met(libvirt);
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer data)
{
    VfoLibvirt *libvirt = data;
    GError *error = NULL;
    Opened *opened = g_task_propagate_pointer(G_TASK(result), &error);

    if (libvirt->closed) {
        g_clear_error(&error);
    } else if (!opened) {
        try_again(libvirt, error);
    } else {
        if (libvirt->error)
            g_message("libvirt at %s answers", libvirt->uri);
        g_clear_error(&libvirt->error);
        libvirt->back_off = BACK_OFF_FIRST_MS;
        libvirt->link = g_steal_pointer(&opened->link);
        meet(libvirt, opened);
    }
    g_clear_pointer(&opened, opened_free);
    libvirt_unref(libvirt);
}

static gboolean on_try(gpointer data)
{
    VfoLibvirt *libvirt = data;

    libvirt->timer = 0;
    vfo_libvirt_call(libvirt, NULL, open_link, libvirt, NULL, opened_free,
                     g_task_new(NULL, NULL, on_opened, libvirt_ref(libvirt)));
    return G_SOURCE_REMOVE;
}

/* Warns of the first failure in a row. */
static void try_again(VfoLibvirt *libvirt, GError *error)
{
    if (!libvirt->error || libvirt->error->code != error->code)
        g_warning("libvirt at %s does not answer, and is tried again and again: %s", libvirt->uri,
                  error->message);
    g_clear_error(&libvirt->error);
    libvirt->error = error;
    libvirt->timer = g_timeout_add(libvirt->back_off, on_try, libvirt);
    libvirt->back_off = MIN(2 * libvirt->back_off, (guint)BACK_OFF_LAST_MS);
}

static const char *close_reason(int reason)
{
    switch (reason) {
    case VIR_CONNECT_CLOSE_REASON_EOF:
        return "libvirtd has ended or closed it";
    case VIR_CONNECT_CLOSE_REASON_KEEPALIVE:
        return "libvirtd does not answer any more";
    case VIR_CONNECT_CLOSE_REASON_CLIENT:
        return "libvirt's client library has closed it";
    default:
        return "it broke";
    }
}

static void on_link_closed(virConnectPtr connection, int reason, void *data)
{
    Link *link = data;
    VfoLibvirt *libvirt = link->libvirt;
    g_autoptr(GList) vms = NULL;

    if (link->dead || libvirt->link != link)
        return;
    libvirt->link = NULL;
    libvirt->listed = FALSE;
    drop_link(link);
    try_again(libvirt, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "the connection is lost: %s",
                                   close_reason(reason)));
    vms = g_hash_table_get_values(libvirt->vms);
    for (const GList *vm = vms; vm; vm = vm->next)
        vfo_libvirt_vm_lose(vm->data);
}

/* libvirt prints each error otherwise. */
static void say_nothing(void *data, virErrorPtr error)
{
}

/* ------------------------------------------------------------------ its life */

static gpointer register_loop(gpointer unused)
{
    gvir_event_register();
    virSetErrorFunc(NULL, say_nothing);
    return NULL;
}

VfoLibvirt *vfo_libvirt_new(const VfoLibvirtCalls *calls, const char *uri, gboolean updates,
                            const VfoLibvirtListener *listener)
{
    static GOnce once = G_ONCE_INIT;
    VfoLibvirt *libvirt = g_new0(VfoLibvirt, 1);

    g_once(&once, register_loop, NULL);
    g_atomic_ref_count_init(&libvirt->refs);
    libvirt->calls = calls;
    libvirt->uri = g_strdup(uri);
    libvirt->updates = updates;
    libvirt->listener = *listener;
    libvirt->pool = g_thread_pool_new(run_call, NULL, MAX_THREADS, FALSE, NULL);
    libvirt->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    libvirt->looks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    libvirt->back_off = BACK_OFF_FIRST_MS;
    on_try(libvirt);
    return libvirt;
}

void vfo_libvirt_close(VfoLibvirt *libvirt)
{
    libvirt->closed = TRUE;
    g_clear_handle_id(&libvirt->timer, g_source_remove);
    if (libvirt->link)
        drop_link(g_steal_pointer(&libvirt->link));
    g_thread_pool_free(g_steal_pointer(&libvirt->pool), FALSE, FALSE);
    libvirt_unref(libvirt);
}

const char *vfo_libvirt_uri(const VfoLibvirt *libvirt)
{
    return libvirt->uri;
}

const VfoLibvirtCalls *vfo_libvirt_calls_of(const VfoLibvirt *libvirt)
{
    return libvirt->calls;
}

gboolean vfo_libvirt_updates(const VfoLibvirt *libvirt)
{
    return libvirt->updates;
}

GError *vfo_libvirt_state(const VfoLibvirt *libvirt)
{
    if (libvirt->link)
        return NULL;
    if (libvirt->error)
        return g_error_copy(libvirt->error);
    return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "the connection is not made yet");
}

GError *vfo_libvirt_unmet(const VfoLibvirt *libvirt)
{
    g_autoptr(GError) lost = libvirt->met ? NULL : vfo_libvirt_state(libvirt);

    if (libvirt->met)
        return NULL;
    if (lost)
        return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED,
                           "libvirt at %s has not told of its domains: %s; start libvirtd, or take "
                           "[libvirt] out of vfailoverd.conf",
                           libvirt->uri, lost->message);
    return g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                       "libvirt at %s has not described all of its domains; try again in a moment",
                       libvirt->uri);
}
