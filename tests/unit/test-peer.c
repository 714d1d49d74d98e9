/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer/peer.h"
#include "peer/tls.h"
#include "qmp/qmp.h"

#include "wire.h"

#include <glib/gstdio.h>

#define JOB "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

static char *folder; /* of the certificates */

static char *file(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* ------------------------------------------------------------ certificates */

static void run(const char *const *argv)
{
    g_autoptr(GError) error = NULL;
    int status = 0;

    g_spawn_sync(folder, (char **)argv, NULL,
                 G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                 NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static void make_certificate(const char *name, const char *ca)
{
    g_autofree char *key = g_strconcat(name, ".key", NULL);
    g_autofree char *cert = g_strconcat(name, ".pem", NULL);
    g_autofree char *template = g_strconcat(name, ".cfg", NULL);
    g_autofree char *template_path = file(template);
    g_autofree char *ca_key = g_strconcat(ca ? ca : name, ".key", NULL);
    g_autofree char *ca_cert = g_strconcat(ca ? ca : name, ".pem", NULL);
    g_auto(GStrv) parts = g_strsplit(name, "@", 2);
    g_autofree char *text = g_strdup_printf("cn = \"%s\"\nexpiration_days = 2\n%s", parts[0],
                                            ca ? "tls_www_server\ntls_www_client\nsigning_key\n"
                                               : "ca\ncert_signing_key\n");
    const char *make_key[] = {"certtool", "--generate-privkey", "--ecc", "--outfile", key, NULL};
    const char *make_ca[] = {"certtool",
                             "--generate-self-signed",
                             "--load-privkey",
                             key,
                             "--template",
                             template,
                             "--outfile",
                             cert,
                             NULL};
    const char *make_cert[] = {"certtool",
                               "--generate-certificate",
                               "--load-privkey",
                               key,
                               "--load-ca-certificate",
                               ca_cert,
                               "--load-ca-privkey",
                               ca_key,
                               "--template",
                               template,
                               "--outfile",
                               cert,
                               NULL};

    g_assert_true(g_file_set_contents(template_path, text, -1, NULL));
    run(make_key);
    run(ca ? make_cert : make_ca);
}

static void make_certificates(void)
{
    g_autofree char *empty = NULL;

    folder = g_dir_make_tmp("vfo-peer-XXXXXX", NULL);
    empty = file("empty.pem");
    g_assert_true(g_file_set_contents(empty, "", -1, NULL));
    make_certificate("ca", NULL);
    make_certificate("otherca", NULL);
    make_certificate("host-a", "ca");
    make_certificate("host-b", "ca");
    make_certificate("host-c", "ca");
    make_certificate("host-a@other", "otherca");
    make_certificate("host-b@other", "otherca");
}

static void remove_certificates(void)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = file(name);

        g_unlink(path);
    }
    g_rmdir(folder);
    g_free(folder);
}

static VfoTlsFiles tls_files(const char *server, const char *client)
{
    g_autofree char *server_key = g_strconcat(server, ".key", NULL);
    g_autofree char *server_cert = g_strconcat(server, ".pem", NULL);
    g_autofree char *client_key = g_strconcat(client, ".key", NULL);
    g_autofree char *client_cert = g_strconcat(client, ".pem", NULL);

    return (VfoTlsFiles){file("ca.pem"), file(server_cert), file(server_key), file(client_cert),
                         file(client_key)};
}

static void clear_files(VfoTlsFiles *files)
{
    g_free(files->ca);
    g_free(files->server_cert);
    g_free(files->server_key);
    g_free(files->client_cert);
    g_free(files->client_key);
}

static guint16 free_port(void)
{
    g_autoptr(GSocket) socket =
        g_socket_new(G_SOCKET_FAMILY_IPV4, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL);
    g_autoptr(GSocketAddress) any = g_inet_socket_address_new_from_string("127.0.0.1", 0);
    g_autoptr(GSocketAddress) bound = NULL;

    g_assert_true(g_socket_bind(socket, any, TRUE, NULL));
    bound = g_socket_get_local_address(socket, NULL);
    return g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
}

/* ---------------------------------------------------- the destination's job */

typedef struct {
    VfoPeerServer *server;
    GPtrArray *peers;
    guint16 port;
    VfoPeerAddress address; /* of host-b, as host-a knows it */
    VfoTlsFiles destination, source;
    VfoPeer *peer;
    VfoJob *source_job;

    const char *refuse; /* the destination's start fails */
    const char *fail;   /* its first step fails */
    VfoOffer *offer;    /* as it arrived */
    char *offered_by;
    VfoJob *job; /* the destination's */
    VfoReserved reserved;
    gpointer reserved_data;
    GTask *arrive; /* its second step, which waits for the test */
    GTask *undo;   /* ... and so does its undo */
    guint orphaned;
    guint changes;

    GPtrArray *asked;     /* of VfoJob: those that vfo_peer_call() has begun */
    const char *absent;   /* there is no such VM */
    const GError *fails;  /* their step */
    gboolean ready, stay; /* who asks is told; it goes on until it is cancelled */
    VfoReady tell;
    gpointer tell_data;
    char *asked_by, *asked_vm, *asked_uuid, *asked_standby;
} Fixture;

static guint orphans;

void vfo_destination_orphaned(VfoJob *job)
{
    orphans++;
    vfo_job_cancel(job, NULL);
}

static guint stops;

gboolean vfo_destination_stopped(VfoJob *job, GError **error)
{
    stops++;
    return TRUE;
}

static void step_reserve(VfoJob *job, GTask *task)
{
    Fixture *f = vfo_job_context(job);

    if (f->fail) {
        vfo_task_fail(task, g_error_new_literal(VFO_ERROR, VFO_ERROR_BUSY, f->fail));
        return;
    }
    f->reserved(job, "tcp:10.8.0.2:49152", f->reserved_data);
    vfo_task_done(task);
}

static void undo_reserve(VfoJob *job, GTask *task)
{
    Fixture *f = vfo_job_context(job);

    if (f->fail)
        vfo_task_done(task);
    else
        f->undo = task;
}

static gboolean on_arrive_cancelled(GCancellable *cancellable, gpointer data)
{
    Fixture *f = data;
    GTask *task = g_steal_pointer(&f->arrive);

    if (task)
        vfo_task_fail(task, g_error_new_literal(G_IO_ERROR, G_IO_ERROR_CANCELLED, "cancelled"));
    return G_SOURCE_REMOVE;
}

static void step_arrive(VfoJob *job, GTask *task)
{
    Fixture *f = vfo_job_context(job);
    g_autoptr(GSource) source = g_cancellable_source_new(g_task_get_cancellable(task));

    f->arrive = task;
    g_source_set_callback(source, G_SOURCE_FUNC(on_arrive_cancelled), f, NULL);
    g_source_attach(source, NULL);
}

static const VfoStep steps[] = {
    {.name = "reserve", .waits_for = "x", .run = step_reserve, .undo = undo_reserve},
    {.name = "arrive", .waits_for = "x", .run = step_arrive},
};

static VfoJob *on_start(const char *peer_name, const VfoOffer *offer, VfoReserved reserved,
                        gpointer reserved_data, gpointer data, GError **error)
{
    Fixture *f = data;
    VfoPolicy policy = {0};

    if (f->refuse) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, f->refuse);
        return NULL;
    }
    for (guint i = 0; i < VFO_N_DEADLINES; i++)
        policy.deadline_ms[i] = 60000;
    f->offer = vfo_offer_copy(offer);
    f->offered_by = g_strdup(peer_name);
    f->reserved = reserved;
    f->reserved_data = reserved_data;
    f->job = vfo_job_new(offer->job, offer->vm, "host-b", steps, G_N_ELEMENTS(steps), &policy);
    vfo_job_set_context(f->job, f, NULL);
    return vfo_job_ref(f->job);
}

static void on_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    ((Fixture *)data)->changes++;
}

static gboolean on_ask_cancelled(GCancellable *cancellable, gpointer data)
{
    g_assert_true(g_task_return_error_if_cancelled(data));
    return G_SOURCE_REMOVE;
}

static void step_ask(VfoJob *job, GTask *task)
{
    Fixture *f = vfo_job_context(job);
    g_autoptr(GSource) source = NULL;

    if (f->fails) {
        vfo_task_fail(task, g_error_copy(f->fails));
        return;
    }
    if (f->ready)
        f->tell(job, f->tell_data);
    if (f->ready && !f->stay) {
        vfo_task_done(task);
        return;
    }
    source = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(source, G_SOURCE_FUNC(on_ask_cancelled), task, g_object_unref);
    g_source_attach(source, NULL);
}

static const VfoStep ask_steps[] = {{.name = "ask", .waits_for = "x", .run = step_ask}};

static VfoJob *on_called(const char *peer_name, const VfoPeerCall *call, VfoReady ready,
                         gpointer ready_data, gpointer data, GError **error)
{
    Fixture *f = data;
    VfoPolicy policy = {0};
    VfoJob *job;

    if (f->absent) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_NOT_FOUND, f->absent);
        return NULL;
    }
    for (guint i = 0; i < VFO_N_DEADLINES; i++)
        policy.deadline_ms[i] = 60000;
    g_free(f->asked_by);
    g_free(f->asked_vm);
    g_free(f->asked_uuid);
    g_free(f->asked_standby);
    f->asked_by = g_strdup(peer_name);
    f->asked_vm = g_strdup(call->vm);
    f->asked_uuid = g_strdup(call->uuid);
    f->asked_standby = g_strdup(call->standby);
    f->tell = ready;
    f->tell_data = ready_data;
    job = vfo_job_new(call->job, call->vm, "host-b", ask_steps, G_N_ELEMENTS(ask_steps), &policy);
    vfo_job_set_context(job, f, NULL);
    g_ptr_array_add(f->asked, vfo_job_ref(job));
    return job;
}

/* ------------------------------------------------------------------- ops */

typedef struct {
    gboolean done;
    char *uri;
    GError *error;
} Result;

static void on_uri(GObject *source, GAsyncResult *result, gpointer data)
{
    Result *r = data;

    r->uri = g_task_propagate_pointer(G_TASK(result), &r->error);
    r->done = TRUE;
}

static void on_done(GObject *source, GAsyncResult *result, gpointer data)
{
    Result *r = data;

    g_assert_true(g_task_propagate_boolean(G_TASK(result), &r->error) == (r->error == NULL));
    r->done = TRUE;
}

static void result_clear(Result *result)
{
    g_free(result->uri);
    g_clear_error(&result->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Result, result_clear)

static VfoOffer *make_offer(void)
{
    VfoPair pair = {.standby = (char *)"net0",
                    .tap = (char *)"tap0",
                    .features = (char *)"csum=true,mrg_rxbuf=true",
                    .primary = (char *)"vf0",
                    .bus = (char *)"pci.5",
                    .rombar = FALSE,
                    .bonded = TRUE};
    VfoOffer offer = {.job = (char *)JOB,
                      .vm = (char *)"web1",
                      .machine = (char *)"pc-q35-10.0",
                      .pair = &pair,
                      .network = (char *)"net-a",
                      .uuid = (char *)JOB,
                      .vendor = 0x8086,
                      .device = 0x10ca,
                      .mtu = 9000,
                      .settings = {.vlan = 7,
                                   .vlan_outer = TRUE,
                                   .qos = 3,
                                   .spoofchk = TRUE,
                                   .max_tx_rate = 1000,
                                   .link = VFO_LINK_ENABLE}};

    g_assert_true(vfo_mac_parse("52:54:00:aa:00:10", &pair.mac));
    offer.settings.mac = pair.mac;
    return vfo_offer_copy(&offer);
}

static void reserve(Fixture *f, Result *result)
{
    g_autoptr(VfoOffer) offer = make_offer();

    f->peer->ops->reserve(f->peer, offer, g_task_new(NULL, NULL, on_uri, result));
    WAIT_FOR(result->done);
}

static void expect_error(const GError *error, gint code, const char *part)
{
    g_assert_error(error, VFO_ERROR, code);
    g_assert_null(strchr(error->message, '\n'));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "host-b"));
    if (!strstr(error->message, part))
        g_error("'%s' is not in: %s", part, error->message);
}

/* --------------------------------------------------------------- fixture */

typedef struct {
    const char *server, *client; /* whose certificates they use */
} Names;

static const Names good = {"host-b", "host-a"};

static void setup(Fixture *f, gconstpointer data)
{
    const Names *names = data ? data : &good;
    VfoPeerAddress *known = g_new0(VfoPeerAddress, 1);
    g_autoptr(GError) error = NULL;
    VfoPolicy policy;

    vfo_policy_default(&policy);
    orphans = 0;
    known->name = g_strdup("host-a");
    known->address = g_strdup("127.0.0.1");
    f->peers = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_peer_address_free);
    g_ptr_array_add(f->peers, known);
    f->port = free_port();
    f->destination = tls_files(names->server, names->server);
    f->source = tls_files(names->client, names->client);
    f->server =
        vfo_peer_server_new("127.0.0.1", f->port, &f->destination, f->peers, on_start, f, &error);
    g_assert_no_error(error);
    vfo_peer_server_on_change(f->server, on_changed, f);
    vfo_peer_server_on_call(f->server, on_called, f);
    f->asked = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_job_unref);
    f->address = (VfoPeerAddress){(char *)"host-b", (char *)"127.0.0.1", f->port};
    f->peer = vfo_peer_new(&f->address, &f->source, NULL);
    f->source_job = vfo_job_new(JOB, "web1", "host-a", steps, G_N_ELEMENTS(steps), &policy);
    vfo_peer_set_job(f->peer, f->source_job);
}

static void teardown(Fixture *f, gconstpointer data)
{
    if (f->peer)
        vfo_peer_free(f->peer);
    if (f->job)
        WAIT_FOR(f->undo || vfo_job_ended(f->job));
    if (f->undo)
        vfo_task_done(f->undo);
    if (f->job)
        WAIT_FOR(vfo_job_ended(f->job));
    vfo_peer_server_free(f->server);
    wire_settle();
    for (guint i = 0; i < f->asked->len; i++) {
        vfo_job_cancel(f->asked->pdata[i], NULL);
        WAIT_FOR(vfo_job_ended(f->asked->pdata[i]));
    }
    g_ptr_array_unref(f->asked);
    g_free(f->asked_by);
    g_free(f->asked_vm);
    g_free(f->asked_uuid);
    g_free(f->asked_standby);
    vfo_job_unref(f->job);
    vfo_job_unref(f->source_job);
    vfo_offer_free(f->offer);
    g_free(f->offered_by);
    g_ptr_array_unref(f->peers);
    clear_files(&f->source);
    clear_files(&f->destination);
}

static const VfoRecord *record_of(Fixture *f, const char *step)
{
    GPtrArray *records = vfo_job_records(f->source_job);

    for (guint i = 0; i < records->len; i++) {
        VfoRecord *record = records->pdata[i];

        if (g_str_equal(record->step, step))
            return record;
    }
    return NULL;
}

/* ----------------------------------------------------------------- tests */

static void test_good(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};
    g_autoptr(VfoOffer) offer = make_offer();
    const VfoRecord *record;

    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    g_assert_cmpstr(reserved.uri, ==, "tcp:10.8.0.2:49152");
    g_assert_cmpstr(f->offered_by, ==, "host-a");
    g_assert_cmpstr(f->offer->job, ==, offer->job);
    g_assert_cmpstr(f->offer->vm, ==, offer->vm);
    g_assert_cmpstr(f->offer->machine, ==, offer->machine);
    g_assert_cmpstr(f->offer->network, ==, offer->network);
    g_assert_cmpstr(f->offer->uuid, ==, JOB);
    g_assert_true(f->offer->pair->bonded);
    g_assert_cmpstr(f->offer->pair->standby, ==, offer->pair->standby);
    g_assert_cmpstr(f->offer->pair->features, ==, offer->pair->features);
    g_assert_cmpstr(f->offer->pair->primary, ==, offer->pair->primary);
    g_assert_cmpstr(f->offer->pair->bus, ==, offer->pair->bus);
    g_assert_null(f->offer->pair->tap);
    g_assert_cmpuint(f->offer->vendor, ==, 0x8086);
    g_assert_cmpuint(f->offer->device, ==, 0x10ca);
    g_assert_cmpuint(f->offer->mtu, ==, 9000);
    g_assert_true(vfo_mac_equal(&f->offer->pair->mac, &offer->pair->mac));
    g_assert_true(vfo_mac_equal(&f->offer->settings.mac, &offer->pair->mac));
    g_assert_cmpuint(f->offer->settings.vlan, ==, 7);
    g_assert_true(f->offer->settings.vlan_outer);
    g_assert_cmpuint(f->offer->settings.qos, ==, 3);
    g_assert_true(f->offer->settings.spoofchk);
    g_assert_false(f->offer->settings.trust);
    g_assert_cmpuint(f->offer->settings.max_tx_rate, ==, 1000);
    g_assert_cmpint(f->offer->settings.link, ==, VFO_LINK_ENABLE);

    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(record_of(f, "arrive"));
    record = record_of(f, "reserve");
    g_assert_cmpstr(record->host, ==, "host-b");
    g_assert_cmpint(record->result, ==, VFO_RESULT_OK);
    g_assert_cmpint(record->start_us, >, G_USEC_PER_SEC);
    g_assert_cmpint(record_of(f, "arrive")->result, ==, VFO_RESULT_RUNNING);
    g_assert_false(finished.done);
    vfo_task_done(g_steal_pointer(&f->arrive));
    WAIT_FOR(finished.done);
    g_assert_no_error(finished.error);
    g_assert_cmpint(record_of(f, "arrive")->result, ==, VFO_RESULT_OK);
    g_assert_cmpuint(vfo_job_records(f->source_job)->len, ==, 2);
    g_assert_cmpuint(f->changes, >=, 5);
    g_clear_pointer(&f->peer, vfo_peer_free);
    wire_settle();
    g_assert_cmpuint(orphans, ==, 0);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, released = {0};
    const Names *names = data;

    reserve(f, &reserved);
    if (g_str_equal(names->server, "host-b@other"))
        expect_error(reserved.error, VFO_ERROR_DENIED, f->source.ca);
    else if (g_str_equal(names->server, "host-c"))
        expect_error(reserved.error, VFO_ERROR_DENIED, "does not carry the name 'host-b'");
    else
        expect_error(reserved.error, VFO_ERROR_DENIED, f->source.client_cert);
    g_assert_null(f->job);
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(released.done);
    g_assert_no_error(released.error);
}

static void test_destination_refuses(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};

    f->refuse = "no VF is free";
    reserve(f, &reserved);
    expect_error(reserved.error, VFO_ERROR_NOT_FOUND, "no VF is free");
}

static void test_destination_fails_early(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, released = {0}, finished = {0};

    f->fail = "the VF is in use";
    reserve(f, &reserved);
    expect_error(reserved.error, VFO_ERROR_BUSY, "the VF is in use");
    g_assert_cmpint(record_of(f, "reserve")->result, ==, VFO_RESULT_FAILED);
    g_assert_nonnull(strstr(record_of(f, "reserve")->detail, "in use"));
    g_assert_nonnull(record_of(f, "undo reserve"));
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(released.done && finished.done);
    g_assert_no_error(released.error);
    expect_error(finished.error, VFO_ERROR_FAILED, "in use");
}

static void test_destination_fails_late(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};

    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(f->arrive);
    vfo_task_fail(g_steal_pointer(&f->arrive),
                  g_error_new_literal(VFO_ERROR, VFO_ERROR_FAILED, "QEMU\twent away"));
    WAIT_FOR(f->undo);
    wire_settle();
    g_assert_false(finished.done); /* not before it is undone */
    vfo_task_done(g_steal_pointer(&f->undo));
    WAIT_FOR(finished.done);
    expect_error(finished.error, VFO_ERROR_FAILED, "QEMU went away");
}

static void test_degraded(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};

    reserve(f, &reserved);
    WAIT_FOR(f->arrive);
    vfo_job_degrade(f->job, "no VF for it");
    vfo_task_done(g_steal_pointer(&f->arrive));
    WAIT_FOR(vfo_job_ended(f->job));
    wire_settle();
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(finished.done);
    g_assert_no_error(finished.error);
    expect_error(vfo_job_error(f->source_job), VFO_ERROR_FAILED, "no VF for it");
}

static void test_stopped(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};

    reserve(f, &reserved);
    WAIT_FOR(f->arrive);
    stops = 0;
    f->peer->ops->stopped(f->peer);
    WAIT_FOR(stops == 1);
}

static void test_release(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, released = {0}, finished = {0}, again = {0};

    reserve(f, &reserved);
    WAIT_FOR(f->arrive);
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(f->undo);
    wire_settle();
    g_assert_false(released.done);
    vfo_task_done(g_steal_pointer(&f->undo));
    WAIT_FOR(released.done);
    g_assert_no_error(released.error);
    g_assert_cmpint(vfo_job_state(f->job), ==, VFO_JOB_CANCELLED);
    g_assert_cmpint(record_of(f, "undo reserve")->result, ==, VFO_RESULT_UNDONE);
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &again));
    WAIT_FOR(finished.done && again.done);
    expect_error(finished.error, VFO_ERROR_FAILED, "cancelled");
    g_assert_no_error(again.error);
}

static void test_release_too_late(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, released = {0};

    reserve(f, &reserved);
    WAIT_FOR(f->arrive);
    vfo_task_done(g_steal_pointer(&f->arrive));
    WAIT_FOR(vfo_job_ended(f->job));
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(released.done);
    expect_error(released.error, VFO_ERROR_FAILED, "was not undone");
}

static void test_source_lost(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};

    reserve(f, &reserved);
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    g_clear_pointer(&f->peer, vfo_peer_free);
    WAIT_FOR(finished.done && f->undo);
    expect_error(finished.error, VFO_ERROR_CLOSED, "given up");
    g_assert_cmpuint(orphans, ==, 1);
}

static void test_destination_lost(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0}, released = {0};

    reserve(f, &reserved);
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    g_clear_pointer(&f->server, vfo_peer_server_free);
    WAIT_FOR(finished.done);
    expect_error(finished.error, VFO_ERROR_CLOSED, JOB);
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(released.done);
    expect_error(released.error, VFO_ERROR_CLOSED, JOB);
    /* The job outlives the server. */
    vfo_task_done(g_steal_pointer(&f->arrive));
    WAIT_FOR(vfo_job_ended(f->job));
}

static void test_nobody(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};

    g_clear_pointer(&f->server, vfo_peer_server_free);
    reserve(f, &reserved);
    expect_error(reserved.error, VFO_ERROR_CLOSED, "127.0.0.1 port");
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(finished.done);
    expect_error(finished.error, VFO_ERROR_FAILED, "nothing was reserved");
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(VfoOffer) offer = make_offer();
    g_auto(Result) reserved = {0}, released = {0};

    f->peer->ops->reserve(f->peer, offer, g_task_new(NULL, cancellable, on_uri, &reserved));
    g_main_context_iteration(NULL, FALSE);
    g_cancellable_cancel(cancellable);
    WAIT_FOR(reserved.done);
    g_assert_error(reserved.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    f->peer->ops->release(f->peer, g_task_new(NULL, NULL, on_done, &released));
    WAIT_FOR(released.done);
    g_assert_no_error(released.error);
    wire_settle();
    g_assert_null(f->job);
}

static void test_free_while_connecting(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoOffer) offer = make_offer();
    g_auto(Result) reserved = {0};

    f->peer->ops->reserve(f->peer, offer, g_task_new(NULL, NULL, on_uri, &reserved));
    g_main_context_iteration(NULL, FALSE);
    g_clear_pointer(&f->peer, vfo_peer_free);
    WAIT_FOR(reserved.done);
    expect_error(reserved.error, VFO_ERROR_CLOSED, "given up");
}

/* --------------------------------------------------- others at our port */

static GSocketConnection *connect_plain(Fixture *f)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    GSocketConnection *connection;

    /* To ask for one would need a thread of the pool in which the others' handshakes wait. */
    g_socket_client_set_enable_proxy(client, FALSE);
    connection = g_socket_client_connect_to_host(client, "127.0.0.1", f->port, NULL, NULL);
    g_assert_nonnull(connection);
    return connection;
}

static void on_handshake(GObject *source, GAsyncResult *result, gpointer data)
{
    g_tls_connection_handshake_finish(G_TLS_CONNECTION(source), result, NULL);
    *(gboolean *)data = TRUE;
}

static gboolean accept_any(void)
{
    return TRUE;
}

/* A TLS client, with host-a's certificate or none. */
static GIOStream *connect_tls(Fixture *f, gboolean with_certificate)
{
    g_autoptr(GSocketConnection) connection = connect_plain(f);
    GIOStream *stream = g_tls_client_connection_new(G_IO_STREAM(connection), NULL, NULL);
    gboolean done = FALSE;

    g_signal_connect(stream, "accept-certificate", G_CALLBACK(accept_any), NULL);
    if (with_certificate) {
        g_autoptr(GTlsCertificate) certificate =
            g_tls_certificate_new_from_files(f->source.client_cert, f->source.client_key, NULL);

        g_tls_connection_set_certificate(G_TLS_CONNECTION(stream), certificate);
    }
    g_tls_connection_handshake_async(G_TLS_CONNECTION(stream), 0, NULL, on_handshake, &done);
    WAIT_FOR(done);
    return stream;
}

typedef struct {
    gboolean done;
    gssize n;
} Read;

static void on_read(GObject *source, GAsyncResult *result, gpointer data)
{
    Read *read = data;

    read->n = g_input_stream_read_finish(G_INPUT_STREAM(source), result, NULL);
    read->done = TRUE;
}

/* The connection ends without a byte of QMP for the other end. */
static void expect_silence(GIOStream *stream)
{
    char chunk[64];
    Read read = {0};

    g_input_stream_read_async(g_io_stream_get_input_stream(stream), chunk, sizeof(chunk), 0, NULL,
                              on_read, &read);
    WAIT_FOR(read.done);
    if (read.n > 0)
        g_assert_cmpint(chunk[0], ==, 0x15); /* a TLS alert */
}

static void test_no_certificate(Fixture *f, gconstpointer data)
{
    g_autoptr(GIOStream) stream = connect_tls(f, FALSE);
    Read read = {0};
    char chunk[64];

    g_input_stream_read_async(g_io_stream_get_input_stream(stream), chunk, sizeof(chunk), 0, NULL,
                              on_read, &read);
    WAIT_FOR(read.done);
    g_assert_cmpint(read.n, <=, 0);
}

static void test_garbage(Fixture *f, gconstpointer data)
{
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n", "{\"execute\": \"reserve\"}\n",
                                        "\x16\x03\x01\xff\xff garbage"};
    g_auto(Result) reserved = {0};

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GSocketConnection) connection = connect_plain(f);

        g_assert_true(
            g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)),
                                      texts[i], strlen(texts[i]), NULL, NULL, NULL));
        if (i == 2)
            g_socket_shutdown(g_socket_connection_get_socket(connection), FALSE, TRUE, NULL);
        expect_silence(G_IO_STREAM(connection));
    }
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
}

static void test_crowd(Fixture *f, gconstpointer data)
{
    GSocketConnection *crowd[20];
    g_auto(Result) reserved = {0};

    for (guint i = 0; i < G_N_ELEMENTS(crowd); i++) {
        crowd[i] = connect_plain(f);
        wire_settle(); /* the listener's backlog is shorter than this crowd */
    }
    expect_silence(G_IO_STREAM(crowd[19]));
    for (guint i = 0; i < G_N_ELEMENTS(crowd); i++) {
        g_io_stream_close(G_IO_STREAM(crowd[i]), NULL, NULL);
        g_object_unref(crowd[i]);
    }
    wire_settle();
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
}

typedef struct {
    gboolean done;
    json_object *value;
    GError *error;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Answer *answer = data;

    answer->value = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &answer->error);
    answer->done = TRUE;
}

static json_object *offer_json(const char *path, json_object *value)
{
    static const char text[] =
        "{\"job\":\"" JOB "\",\"vm\":\"web1\",\"machine\":\"pc\",\"network\":\"a\","
        "\"pair\":{\"standby\":\"net0\",\"mac\":\"52:54:00:aa:00:10\",\"features\":\"\","
        "\"primary\":\"vf0\",\"bus\":\"b\",\"rombar\":true},"
        "\"settings\":{\"vlan\":0,\"qos\":0,\"spoofchk\":true,\"trust\":false,"
        "\"min-tx-rate\":0,\"max-tx-rate\":0,\"link\":\"auto\"}}";
    json_object *offer = json_tokener_parse(text);
    json_object *inner = offer;
    g_auto(GStrv) parts = g_strsplit(path, ".", 2);

    if (parts[1])
        g_assert_true(json_object_object_get_ex(offer, parts[0], &inner));
    json_object_object_add(inner, parts[1] ? parts[1] : parts[0], value);
    return offer;
}

static void test_bad_offers(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *path, *json;
    } cases[] = {
        {"job", "\"1\""},
        {"job", "null"},
        {"vm", "\"a b\""},
        {"vm", "\"../x\""},
        {"vm", "\"\""},
        {"vm", "\"a\\nb\""},
        {"machine", "\"pc;\""},
        {"network", "[]"},
        {"odd", "1"},
        {"vendor", "65536"},
        {"device", "-1"},
        {"mtu", "\"1500\""},
        {"mtu", "2147483648"},
        {"uuid", "\"web1\""},
        {"pair", "[]"},
        {"pair.standby", "\"/net0\""},
        {"pair.mac", "\"ff:ff:ff:ff:ff:ff\""},
        {"pair.mac", "\"52:54:00:aa:00:1\""},
        {"pair.features", "\"a=\\\"\""},
        {"pair.primary", "\"-x\""},
        {"pair.bus", "7"},
        {"pair.rombar", "1"},
        {"pair.bonded", "1"},
        {"pair.odd", "1"},
        {"settings.vlan", "4095"},
        {"settings.vlan", "-1"},
        {"settings.vlan-outer", "1"},
        {"settings.qos", "8"},
        {"settings.min-tx-rate", "4294967296"},
        {"settings.max-tx-rate", "-1"},
        {"settings.spoofchk", "null"},
        {"settings.link", "\"up\""},
    };
    g_autoptr(GIOStream) stream = connect_tls(f, TRUE);
    g_autoptr(VfoQmpClient) client = vfo_qmp_client_new_stream("host-b", stream);

    WAIT_FOR(vfo_qmp_client_is_ready(client));
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        Answer answer = {0};

        vfo_qmp_client_execute_async(client, "reserve",
                                     offer_json(cases[i].path, json_tokener_parse(cases[i].json)),
                                     0, NULL, on_answer, &answer);
        WAIT_FOR(answer.done);
        expect_error(answer.error, VFO_ERROR_INVALID,
                     strrchr(cases[i].path, '.') ? strrchr(cases[i].path, '.') + 1 : cases[i].path);
        g_clear_error(&answer.error);
        g_assert_null(f->job);
    }
    /* And what it takes is no more than once. */
    for (guint i = 0; i < 2; i++) {
        Answer answer = {0};

        vfo_qmp_client_execute_async(client, "reserve", offer_json("pair.primary", NULL), 0, NULL,
                                     on_answer, &answer);
        WAIT_FOR(answer.done);
        if (i == 0)
            g_assert_no_error(answer.error);
        else
            expect_error(answer.error, VFO_ERROR_BUSY, JOB);
        g_clear_error(&answer.error);
        json_object_put(answer.value);
    }
    g_assert_null(f->offer->pair->primary);
    vfo_qmp_client_close(client);
    WAIT_FOR(f->undo);
}

/* -------------------------------------------------- connections made before */

/* A pool of the source's, quick enough for a test, and a peer that uses it. */
static VfoPeerPool *use_pool(Fixture *f, guint ping_ms)
{
    g_autoptr(GPtrArray) peers = g_ptr_array_new();
    VfoPeerPool *pool;

    g_ptr_array_add(peers, &f->address);
    pool = vfo_peer_pool_new(peers, &f->source);
    vfo_peer_pool_set_pace(pool, 20, ping_ms);
    vfo_peer_free(f->peer);
    f->peer = vfo_peer_new(&f->address, &f->source, pool);
    vfo_peer_set_job(f->peer, f->source_job);
    return pool;
}

static void end_pool(Fixture *f, VfoPeerPool *pool)
{
    g_clear_pointer(&f->peer, vfo_peer_free);
    vfo_peer_pool_free(pool);
}

static void test_pool(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    g_assert_false(vfo_peer_pool_has(pool, "host-x"));
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    g_assert_cmpstr(reserved.uri, ==, "tcp:10.8.0.2:49152");
    /* It was that one, and there is no other before the job has ended. */
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(f->arrive);
    wire_settle();
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    vfo_task_done(g_steal_pointer(&f->arrive));
    WAIT_FOR(finished.done);
    g_assert_no_error(finished.error);
    vfo_peer_pool_set_busy(pool, FALSE);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    end_pool(f, pool);
}

/* What the destination says about the offer is final, over a connection that was there as well. */
static void test_pool_refused(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    f->refuse = "no VF is free";
    reserve(f, &reserved);
    expect_error(reserved.error, VFO_ERROR_NOT_FOUND, "no VF is free");
    end_pool(f, pool);
}

static void test_pool_stranger(Fixture *f, gconstpointer data)
{
    VfoPeerPool *pool = use_pool(f, 60000);

    for (guint i = 0; i < 10; i++)
        wire_settle();
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    end_pool(f, pool);
}

static void test_pool_busy(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    vfo_peer_pool_set_busy(pool, TRUE);
    for (guint i = 0; i < 5; i++)
        wire_settle();
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    end_pool(f, pool);
}

static void test_pool_lost(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    VfoPeerPool *pool = use_pool(f, 60000);
    g_autoptr(GError) error = NULL;

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_server_free(f->server);
    WAIT_FOR(!vfo_peer_pool_has(pool, "host-b"));
    f->server =
        vfo_peer_server_new("127.0.0.1", f->port, &f->destination, f->peers, on_start, f, &error);
    g_assert_no_error(error);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    end_pool(f, pool);
}

/* The other side has gone, which nobody has told the pool. */
static void test_pool_lost_unnoticed(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    VfoPeerPool *pool = use_pool(f, 60000);
    g_autoptr(GError) error = NULL;

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_server_free(f->server);
    f->server =
        vfo_peer_server_new("127.0.0.1", f->port, &f->destination, f->peers, on_start, f, &error);
    g_assert_no_error(error);
    g_assert_true(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    g_assert_cmpstr(reserved.uri, ==, "tcp:10.8.0.2:49152");
    end_pool(f, pool);
}

static void test_pool_renewed(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    make_certificate("host-a", "otherca");
    reserve(f, &reserved);
    expect_error(reserved.error, VFO_ERROR_DENIED, f->source.client_cert);
    make_certificate("host-a", "ca");
    end_pool(f, pool);
}

static guint sessions_seen; /* admitted and gone again */

static void test_pool_idle(Fixture *f, gconstpointer data)
{
    VfoPeerPool *pool = use_pool(f, 50);

    vfo_peer_server_set_idle_limit(f->server, 300);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    /* A ping in time keeps it. */
    for (gint64 end = g_get_monotonic_time() + 800000; g_get_monotonic_time() < end;) {
        wire_settle();
        g_assert_true(vfo_peer_pool_has(pool, "host-b"));
    }
    vfo_peer_pool_set_pace(pool, 20, 60000);
    WAIT_FOR(!vfo_peer_pool_has(pool, "host-b"));
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    end_pool(f, pool);
}

static void on_gone(void)
{
    sessions_seen++;
}

/* The oldest of a peer's idle connections makes room. */
static void test_idle_crowd(Fixture *f, gconstpointer data)
{
    VfoQmpClient *clients[3];
    g_auto(Result) reserved = {0};

    sessions_seen = 0;
    for (guint i = 0; i < G_N_ELEMENTS(clients); i++) {
        g_autoptr(GIOStream) stream = connect_tls(f, TRUE);

        clients[i] = vfo_qmp_client_new_stream("host-b", stream);
        g_signal_connect(clients[i], "closed", G_CALLBACK(on_gone), NULL);
        WAIT_FOR(vfo_qmp_client_is_ready(clients[i]));
    }
    WAIT_FOR(sessions_seen == 1);
    g_assert_false(vfo_qmp_client_is_ready(clients[0]));
    /* That they are there hinders nobody. */
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    for (guint i = 0; i < G_N_ELEMENTS(clients); i++) {
        vfo_qmp_client_close(clients[i]);
        g_object_unref(clients[i]);
    }
}

/* --------------------------------------------------------------- hand-over */

#define DOMAIN "11111111-2222-3333-4444-555555555555"

static void call_begin(Fixture *f, VfoPeerPool *pool, const char *job, guint timeout_ms,
                       GCancellable *cancellable, Result *result)
{
    VfoPeerCall call = {.job = job, .vm = "web1", .uuid = DOMAIN, .standby = "ua-net1"};

    vfo_peer_call(&f->address, &f->source, pool, &call, timeout_ms,
                  g_task_new(NULL, cancellable, on_done, result));
}

static void call(Fixture *f, VfoPeerPool *pool, Result *result)
{
    call_begin(f, pool, JOB, 10000, NULL, result);
    WAIT_FOR(result->done);
}

static VfoJob *asked(Fixture *f)
{
    g_assert_cmpuint(f->asked->len, ==, 1);
    return f->asked->pdata[0];
}

static void test_call(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    f->ready = f->stay = TRUE;
    call(f, NULL, &result);
    g_assert_no_error(result.error);
    g_assert_cmpstr(f->asked_by, ==, "host-a");
    g_assert_cmpstr(f->asked_vm, ==, "web1");
    g_assert_cmpstr(f->asked_uuid, ==, DOMAIN);
    g_assert_cmpstr(f->asked_standby, ==, "ua-net1");
    g_assert_cmpstr(vfo_job_id(asked(f)), ==, JOB);
    g_assert_cmpuint(f->changes, >, 0);
    /* Its connection has gone, and is no longer needed. */
    wire_settle();
    g_assert_cmpint(vfo_job_state(asked(f)), ==, VFO_JOB_RUNNING);
}

static void test_call_pool(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    f->ready = TRUE;
    call(f, pool, &result);
    g_assert_no_error(result.error);
    g_assert_cmpint(vfo_job_state(asked(f)), ==, VFO_JOB_COMPLETED);
    /* It was that one, and is there for the next. */
    g_assert_true(vfo_peer_pool_has(pool, "host-b"));
    end_pool(f, pool);
}

/* What is under way over it ends with it. */
static void test_call_pool_cancelled(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Result) result = {0};
    VfoPeerPool *pool = use_pool(f, 60000);

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    call_begin(f, pool, JOB, 10000, cancellable, &result);
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    WAIT_FOR(f->asked->len == 1);
    g_cancellable_cancel(cancellable);
    WAIT_FOR(result.done);
    g_assert_false(vfo_peer_pool_has(pool, "host-b"));
    WAIT_FOR(vfo_job_ended(asked(f)));
    g_assert_cmpint(vfo_job_state(asked(f)), ==, VFO_JOB_CANCELLED);
    end_pool(f, pool);
}

/* The other side has gone, which nobody has told the pool. */
static void test_call_pool_lost(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};
    VfoPeerPool *pool = use_pool(f, 60000);
    g_autoptr(GError) error = NULL;

    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_server_free(f->server);
    f->server =
        vfo_peer_server_new("127.0.0.1", f->port, &f->destination, f->peers, on_start, f, &error);
    g_assert_no_error(error);
    vfo_peer_server_on_call(f->server, on_called, f);
    vfo_peer_pool_set_busy(pool, TRUE);
    f->ready = TRUE;
    call(f, pool, &result);
    g_assert_no_error(result.error);
    end_pool(f, pool);
}

static void test_call_absent(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    f->absent = "no such VM here";
    call(f, NULL, &result);
    expect_error(result.error, VFO_ERROR_NOT_FOUND, "no such VM here");
}

/* What the job does not find is not the VM. */
static void test_call_fails(Fixture *f, gconstpointer data)
{
    static const struct {
        gint code, told;
    } cases[] = {{VFO_ERROR_NOT_FOUND, VFO_ERROR_FAILED}, {VFO_ERROR_BUSY, VFO_ERROR_BUSY}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Result) result = {0};
        g_autoptr(GError) why = g_error_new(VFO_ERROR, cases[i].code, "VM web1 has no pair");

        f->fails = why;
        call(f, NULL, &result);
        expect_error(result.error, cases[i].told, "has no pair");
        g_ptr_array_set_size(f->asked, 0);
    }
}

static void test_call_unknown(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    vfo_peer_server_on_call(f->server, NULL, NULL);
    call(f, NULL, &result);
    expect_error(result.error, VFO_ERROR_NOT_SUPPORTED, "[libvirt]");
}

static void test_call_nobody(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    g_clear_pointer(&f->server, vfo_peer_server_free);
    call(f, NULL, &result);
    expect_error(result.error, VFO_ERROR_CLOSED, "127.0.0.1 port");
}

/* Who asked has given up: so does the job. */
static void test_call_cancelled(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Result) result = {0};

    call_begin(f, NULL, JOB, 10000, cancellable, &result);
    WAIT_FOR(f->asked->len == 1);
    g_cancellable_cancel(cancellable);
    WAIT_FOR(result.done);
    g_assert_error(result.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    WAIT_FOR(vfo_job_ended(asked(f)));
    g_assert_cmpint(vfo_job_state(asked(f)), ==, VFO_JOB_CANCELLED);
}

static void test_call_late(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    call_begin(f, NULL, JOB, 1500, NULL, &result);
    WAIT_FOR(result.done);
    expect_error(result.error, VFO_ERROR_DEADLINE, "1.5 s");
    WAIT_FOR(vfo_job_ended(asked(f)));
    g_assert_cmpint(vfo_job_state(asked(f)), ==, VFO_JOB_CANCELLED);
}

/* The daemon there ends: the job is its own, and nobody hears of it any more. */
static void test_call_server_gone(Fixture *f, gconstpointer data)
{
    g_auto(Result) result = {0};

    call_begin(f, NULL, JOB, 10000, NULL, &result);
    WAIT_FOR(f->asked->len == 1);
    g_clear_pointer(&f->server, vfo_peer_server_free);
    WAIT_FOR(result.done);
    g_assert_error(result.error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_false(vfo_job_ended(asked(f)));
}

static void test_call_twice(Fixture *f, gconstpointer data)
{
    g_auto(Result) first = {0}, second = {0};

    call_begin(f, NULL, JOB, 10000, NULL, &first);
    WAIT_FOR(f->asked->len == 1);
    call(f, NULL, &second);
    expect_error(second.error, VFO_ERROR_BUSY, JOB);
    g_assert_false(first.done);
    vfo_job_cancel(asked(f), NULL);
    WAIT_FOR(first.done);
    expect_error(first.error, VFO_ERROR_FAILED, "cancelled");
}

/* A peer gets no more than its share, whose other connections nobody closes meanwhile. */
static void test_call_flood(Fixture *f, gconstpointer data)
{
    Result results[9] = {0};
    guint ended = 0;

    for (guint i = 0; i < G_N_ELEMENTS(results); i++) {
        g_autofree char *job = g_uuid_string_random();

        call_begin(f, NULL, job, 60000, NULL, &results[i]);
        WAIT_FOR(f->asked->len == i + 1 || results[i].done);
    }
    g_assert_cmpuint(f->asked->len, ==, 8);
    expect_error(results[8].error, VFO_ERROR_BUSY, "host-a waits for 8");
    for (guint i = 0; i < 8; i++)
        g_assert_false(results[i].done);
    for (guint i = 0; i < 8; i++)
        vfo_job_cancel(f->asked->pdata[i], NULL);
    for (guint i = 0; i < G_N_ELEMENTS(results); i++) {
        WAIT_FOR(results[i].done);
        ended += results[i].error != NULL;
        result_clear(&results[i]);
    }
    g_assert_cmpuint(ended, ==, 9);
}

static void test_call_bad(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *member, *json;
    } cases[] = {
        {"job", "\"1\""},  {"job", "null"},      {"vm", "\"../x\""},     {"vm", "\"\""},
        {"vm", "[\"a\"]"}, {"uuid", "\"web1\""}, {"uuid", "7"},          {"host", "\"host-c\""},
        {"standby", "1"},  {"standby", "\"\""},  {"standby", "\"a b\""}, {"standby", "null"},
    };
    g_autoptr(GIOStream) stream = connect_tls(f, TRUE);
    g_autoptr(VfoQmpClient) client = vfo_qmp_client_new_stream("host-b", stream);

    WAIT_FOR(vfo_qmp_client_is_ready(client));
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_object *arguments = json_object_new_object();
        Answer answer = {0};

        json_object_object_add(arguments, "job", json_object_new_string(JOB));
        json_object_object_add(arguments, "vm", json_object_new_string("web1"));
        json_object_object_add(arguments, "uuid", json_object_new_string(DOMAIN));
        json_object_object_add(arguments, "standby", json_object_new_string("ua-net1"));
        json_object_object_add(arguments, cases[i].member, json_tokener_parse(cases[i].json));
        vfo_qmp_client_execute_async(client, "hand-over", arguments, 0, NULL, on_answer, &answer);
        WAIT_FOR(answer.done);
        expect_error(answer.error, VFO_ERROR_INVALID, cases[i].member);
        g_clear_error(&answer.error);
    }
    g_assert_cmpuint(f->asked->len, ==, 0);
    vfo_qmp_client_close(client);
}

/* ------------------------------------------------- a destination that is not ours */

typedef struct {
    GSocketService *service;
    GTlsCertificate *certificate;
    VfoQmpServer *qmp;
    const char *uri;
    guint deaf;  /* so many reserve() get no answer */
    guint rude;  /* so many end the connection */
    guint calls; /* of reserve() */
    VfoQmpCall *unanswered;
} Impostor;

static void impostor_reserve(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    Impostor *impostor = data;
    json_object *answer;

    if (++impostor->calls <= impostor->deaf) {
        impostor->unanswered = call;
        return;
    }
    if (impostor->calls <= impostor->rude) {
        vfo_qmp_session_close(vfo_qmp_call_session(call));
        vfo_qmp_call_return(call, NULL); /* which is no longer sent */
        return;
    }
    answer = json_object_new_object();
    json_object_object_add(answer, "uri", json_object_new_string(impostor->uri));
    vfo_qmp_call_return(call, answer);
}

static const VfoQmpCommand impostor_commands[] = {{"reserve", TRUE, impostor_reserve},
                                                  {NULL, FALSE, NULL}};

static void on_impostor_handshake(GObject *source, GAsyncResult *result, gpointer data)
{
    Impostor *impostor = data;

    g_assert_true(g_tls_connection_handshake_finish(G_TLS_CONNECTION(source), result, NULL));
    vfo_qmp_server_add(impostor->qmp, G_IO_STREAM(source), "x", TRUE);
    g_object_unref(source);
}

static gboolean on_impostor_incoming(GSocketService *service, GSocketConnection *connection,
                                     GObject *source, gpointer data)
{
    Impostor *impostor = data;
    GIOStream *stream =
        g_tls_server_connection_new(G_IO_STREAM(connection), impostor->certificate, NULL);

    g_tls_connection_handshake_async(G_TLS_CONNECTION(stream), 0, NULL, on_impostor_handshake,
                                     impostor);
    return TRUE;
}

static void impostor_start(Impostor *impostor, Fixture *f)
{
    g_autoptr(GSocketAddress) where = NULL;

    g_clear_pointer(&f->server, vfo_peer_server_free);
    where = g_inet_socket_address_new_from_string("127.0.0.1", f->port);
    impostor->service = g_socket_service_new();
    impostor->qmp = vfo_qmp_server_new("x", impostor_commands, impostor);
    impostor->certificate = g_tls_certificate_new_from_files(f->destination.server_cert,
                                                             f->destination.server_key, NULL);
    g_assert_true(g_socket_listener_add_address(G_SOCKET_LISTENER(impostor->service), where,
                                                G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL,
                                                NULL, NULL));
    g_signal_connect(impostor->service, "incoming", G_CALLBACK(on_impostor_incoming), impostor);
}

static void impostor_stop(Impostor *impostor)
{
    g_socket_service_stop(impostor->service);
    g_socket_listener_close(G_SOCKET_LISTENER(impostor->service));
    g_object_unref(impostor->service);
    g_object_unref(impostor->qmp);
    g_object_unref(impostor->certificate);
}

static void answer_late(Impostor *impostor)
{
    if (impostor->unanswered)
        vfo_qmp_call_return(g_steal_pointer(&impostor->unanswered), NULL);
}

/* A connection over which nothing comes any more. */
static void test_pool_silent(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    Impostor impostor = {.uri = "tcp:h:1", .deaf = 1};
    VfoPeerPool *pool;

    impostor_start(&impostor, f);
    pool = use_pool(f, 60000);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    reserve(f, &reserved);
    g_assert_no_error(reserved.error);
    g_assert_cmpstr(reserved.uri, ==, "tcp:h:1");
    g_assert_cmpuint(impostor.calls, ==, 2);
    answer_late(&impostor);
    end_pool(f, pool);
    impostor_stop(&impostor);
}

/* It is tried afresh once, not for ever. */
static void test_pool_once(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0};
    Impostor impostor = {.uri = "tcp:h:1", .rude = 9};
    VfoPeerPool *pool;

    impostor_start(&impostor, f);
    pool = use_pool(f, 60000);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    reserve(f, &reserved);
    g_assert_error(reserved.error, VFO_ERROR, VFO_ERROR_CLOSED);
    g_assert_cmpuint(impostor.calls, ==, 2);
    answer_late(&impostor);
    end_pool(f, pool);
    impostor_stop(&impostor);
}

/* Given up while the connection that was there is silent. */
static void test_pool_cancel(Fixture *f, gconstpointer data)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(VfoOffer) offer = make_offer();
    g_auto(Result) reserved = {0};
    Impostor impostor = {.uri = "tcp:h:1", .deaf = 9};
    VfoPeerPool *pool;

    impostor_start(&impostor, f);
    pool = use_pool(f, 60000);
    WAIT_FOR(vfo_peer_pool_has(pool, "host-b"));
    vfo_peer_pool_set_busy(pool, TRUE);
    f->peer->ops->reserve(f->peer, offer, g_task_new(NULL, cancellable, on_uri, &reserved));
    WAIT_FOR(impostor.calls == 1);
    g_cancellable_cancel(cancellable);
    WAIT_FOR(reserved.done);
    g_assert_error(reserved.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    answer_late(&impostor);
    end_pool(f, pool);
    impostor_stop(&impostor);
}

static void test_bad_uri(Fixture *f, gconstpointer data)
{
    static const char *const uris[] = {
        "exec:reboot", "tcp:a b", "", "tcp:", "unix:/x", "tcp:h:1\n", "libvirtd"};
    Impostor impostor = {0};

    impostor_start(&impostor, f);
    for (guint i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_auto(Result) reserved = {0};

        impostor.uri = uris[i];
        reserve(f, &reserved);
        g_assert_error(reserved.error, VFO_ERROR, VFO_ERROR_INVALID);
        g_assert_null(reserved.uri);
        vfo_peer_free(f->peer);
        f->peer = vfo_peer_new(&f->address, &f->source, NULL);
        vfo_peer_set_job(f->peer, f->source_job);
    }
    impostor_stop(&impostor);
}

#define STEP                                                                                       \
    "\"job\":\"" JOB "\",\"step\":\"s\",\"host\":\"host-a\",\"start-us\":1,\"own-us\":0,"          \
    "\"duration-us\":0"

static void test_bad_events(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *event, *json;
    } cases[] = {
        {"STEP", "{" STEP ",\"result\":\"great\"}"},
        {"STEP", "{" STEP ",\"result\":\"ok\",\"detail\":\"a\\nb\"}"},
        {"STEP", "{" STEP ",\"result\":\"ok\",\"odd\":1}"},
        {"STEP", "{" STEP "}"},
        {"STEP", "{\"job\":\"x\"}"},
        {"STEP", NULL},
        {"JOB", "{\"job\":\"" JOB "\",\"state\":\"happy\"}"},
        {"JOB", "{\"job\":\"" JOB "\"}"},
        {"JOB", "{\"job\":7,\"state\":\"completed\"}"},
    };
    Impostor impostor = {.uri = "tcp:h:1"};

    impostor_start(&impostor, f);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Result) reserved = {0}, finished = {0};

        reserve(f, &reserved);
        g_assert_no_error(reserved.error);
        vfo_qmp_server_emit(impostor.qmp, "UNKNOWN", NULL);
        vfo_qmp_server_emit(impostor.qmp, "STEP",
                            json_tokener_parse("{" STEP ",\"result\":\"ok\"}"));
        vfo_qmp_server_emit(impostor.qmp, cases[i].event,
                            cases[i].json ? json_tokener_parse(cases[i].json) : NULL);
        f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
        WAIT_FOR(finished.done);
        expect_error(finished.error, VFO_ERROR_PROTOCOL, cases[i].event);
        vfo_peer_free(f->peer);
        f->peer = vfo_peer_new(&f->address, &f->source, NULL);
        vfo_peer_set_job(f->peer, f->source_job);
    }
    /* It cannot speak for another host. */
    g_assert_cmpuint(vfo_job_records(f->source_job)->len, ==, 1);
    g_assert_cmpstr(record_of(f, "s")->host, ==, "host-b");
    impostor_stop(&impostor);
}

/* Before it has answered. */
static void test_bad_event_early(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoOffer) offer = make_offer();
    g_auto(Result) reserved = {0};
    Impostor impostor = {.uri = "tcp:h:1", .deaf = 1};

    impostor_start(&impostor, f);
    f->peer->ops->reserve(f->peer, offer, g_task_new(NULL, NULL, on_uri, &reserved));
    WAIT_FOR(impostor.calls == 1);
    vfo_qmp_server_emit(impostor.qmp, "STEP", NULL);
    WAIT_FOR(reserved.done);
    expect_error(reserved.error, VFO_ERROR_PROTOCOL, "STEP");
    answer_late(&impostor);
    impostor_stop(&impostor);
}

static void test_flood(Fixture *f, gconstpointer data)
{
    g_auto(Result) reserved = {0}, finished = {0};
    Impostor impostor = {.uri = "tcp:h:1"};

    impostor_start(&impostor, f);
    reserve(f, &reserved);
    for (guint i = 0; i < 1100; i++)
        vfo_qmp_server_emit(impostor.qmp, "STEP",
                            json_tokener_parse("{" STEP ",\"result\":\"ok\"}"));
    f->peer->ops->finished(f->peer, g_task_new(NULL, NULL, on_done, &finished));
    WAIT_FOR(finished.done);
    expect_error(finished.error, VFO_ERROR_PROTOCOL, "more than");
    impostor_stop(&impostor);
}

/* ------------------------------------------------------------ bad settings */

static void expect_no_server(const VfoTlsFiles *tls, const char *address, guint16 port, gint code,
                             const char *part)
{
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    g_assert_null(vfo_peer_server_new(address, port, tls, none, on_start, NULL, &error));
    g_assert_error(error, VFO_ERROR, code);
    if (!strstr(error->message, part))
        g_error("'%s' is not in: %s", part, error->message);
}

static void test_bad_settings(void)
{
    VfoTlsFiles tls = tls_files("host-b", "host-b");
    VfoTlsFiles bad = tls;

    bad.ca = (char *)"/nonexistent/ca.pem";
    expect_no_server(&bad, "127.0.0.1", 0, VFO_ERROR_NOT_FOUND, "/nonexistent/ca.pem");
    bad.ca = file("empty.pem");
    expect_no_server(&bad, "127.0.0.1", 0, VFO_ERROR_INVALID, "empty.pem");
    g_free(bad.ca);
    bad = tls;
    bad.server_key = (char *)"/nonexistent/key.pem";
    expect_no_server(&bad, "127.0.0.1", 0, VFO_ERROR_NOT_FOUND, "/nonexistent/key.pem");
    expect_no_server(&tls, "localhost", 0, VFO_ERROR_INVALID, "localhost");
    expect_no_server(&tls, "192.0.2.1", 1, VFO_ERROR_FAILED, "192.0.2.1 port 1");
    clear_files(&tls);
}

static GTlsCertificate *load(const VfoTlsFiles *tls)
{
    g_autoptr(GTlsDatabase) database = NULL;
    GTlsCertificate *certificate = NULL;
    g_autoptr(GError) error = NULL;

    vfo_tls_load(tls->ca, tls->server_cert, tls->server_key, &database, &certificate, &error);
    g_assert_no_error(error);
    return certificate;
}

/* The files are read again when they have changed, and only then. */
static void test_renewed(void)
{
    VfoTlsFiles tls = tls_files("renewed", "host-b");
    g_autoptr(GTlsCertificate) first = NULL, same = NULL, renewed = NULL;

    make_certificate("renewed", "ca");
    first = load(&tls);
    same = load(&tls);
    g_assert_true(first == same);
    make_certificate("renewed", "ca");
    renewed = load(&tls);
    g_assert_false(g_tls_certificate_is_same(first, renewed));
    clear_files(&tls);
}

int main(int argc, char **argv)
{
    static const Names wrong_ca = {"host-b@other", "host-a"};
    static const Names wrong_name = {"host-c", "host-a"};
    static const Names wrong_client_ca = {"host-b", "host-a@other"};
    static const Names wrong_client_name = {"host-b", "host-c"};
    static const struct {
        const char *path;
        const Names *names;
        void (*test)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/peer/good", NULL, test_good},
        {"/peer/wrong-ca", &wrong_ca, test_refused},
        {"/peer/wrong-name", &wrong_name, test_refused},
        {"/peer/wrong-client-ca", &wrong_client_ca, test_refused},
        {"/peer/wrong-client-name", &wrong_client_name, test_refused},
        {"/peer/no-certificate", NULL, test_no_certificate},
        {"/peer/garbage", NULL, test_garbage},
        {"/peer/crowd", NULL, test_crowd},
        {"/peer/bad-offers", NULL, test_bad_offers},
        {"/peer/bad-uri", NULL, test_bad_uri},
        {"/peer/bad-events", NULL, test_bad_events},
        {"/peer/bad-event-early", NULL, test_bad_event_early},
        {"/peer/flood", NULL, test_flood},
        {"/peer/pool", NULL, test_pool},
        {"/peer/pool-refused", NULL, test_pool_refused},
        {"/peer/pool-stranger", &wrong_name, test_pool_stranger},
        {"/peer/pool-busy", NULL, test_pool_busy},
        {"/peer/pool-lost", NULL, test_pool_lost},
        {"/peer/pool-lost-unnoticed", NULL, test_pool_lost_unnoticed},
        {"/peer/pool-renewed", NULL, test_pool_renewed},
        {"/peer/pool-idle", NULL, test_pool_idle},
        {"/peer/pool-silent", NULL, test_pool_silent},
        {"/peer/pool-once", NULL, test_pool_once},
        {"/peer/pool-cancel", NULL, test_pool_cancel},
        {"/peer/idle-crowd", NULL, test_idle_crowd},
        {"/peer/call", NULL, test_call},
        {"/peer/call-pool", NULL, test_call_pool},
        {"/peer/call-pool-cancelled", NULL, test_call_pool_cancelled},
        {"/peer/call-pool-lost", NULL, test_call_pool_lost},
        {"/peer/call-absent", NULL, test_call_absent},
        {"/peer/call-fails", NULL, test_call_fails},
        {"/peer/call-unknown", NULL, test_call_unknown},
        {"/peer/call-nobody", NULL, test_call_nobody},
        {"/peer/call-cancelled", NULL, test_call_cancelled},
        {"/peer/call-late", NULL, test_call_late},
        {"/peer/call-server-gone", NULL, test_call_server_gone},
        {"/peer/call-twice", NULL, test_call_twice},
        {"/peer/call-flood", NULL, test_call_flood},
        {"/peer/call-bad", NULL, test_call_bad},
        {"/peer/destination-refuses", NULL, test_destination_refuses},
        {"/peer/destination-fails-early", NULL, test_destination_fails_early},
        {"/peer/destination-fails-late", NULL, test_destination_fails_late},
        {"/peer/degraded", NULL, test_degraded},
        {"/peer/stopped", NULL, test_stopped},
        {"/peer/release", NULL, test_release},
        {"/peer/release-too-late", NULL, test_release_too_late},
        {"/peer/source-lost", NULL, test_source_lost},
        {"/peer/destination-lost", NULL, test_destination_lost},
        {"/peer/nobody", NULL, test_nobody},
        {"/peer/cancel", NULL, test_cancel},
        {"/peer/free-while-connecting", NULL, test_free_while_connecting},
    };
    g_autofree char *certtool = g_find_program_in_path("certtool");
    int status;

    g_test_init(&argc, &argv, NULL);
    /* What is refused is warned of, which is no failure here. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    if (!certtool) {
        g_print("1..0 # SKIP certtool (gnutls-bin) is not installed\n");
        return 0;
    }
    make_certificates();
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, tests[i].names, setup, tests[i].test, teardown);
    g_test_add_func("/peer/bad-settings", test_bad_settings);
    g_test_add_func("/peer/renewed", test_renewed);
    status = g_test_run();
    remove_certificates();
    return status;
}
