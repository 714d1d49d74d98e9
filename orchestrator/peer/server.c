/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination's side: the port that other hosts' daemons connect to.
 */
#include "peer/peer.h"

#include "peer/calls.h"
#include "peer/tls.h"
#include "peer/wire.h"

#define HANDSHAKE_MS    10000
#define MAX_HANDSHAKES  16
#define MAX_CONNECTIONS 32
/* Of one peer: its spare one, and the one that it has lost and we do not know it yet. */
#define MAX_IDLE 2
#define IDLE_MS  (3 * 60 * 1000)
/* A peer makes a new one before that: its certificate may have expired since. */
#define MAX_AGE_US ((gint64)2 * 60 * 60 * G_USEC_PER_SEC)

struct _VfoPeerServer {
    GSocketService *service;
    char *ca;
    GTlsDatabase *database;
    GTlsCertificate *certificate;
    GPtrArray *names; /* of the peers; char * */
    VfoPeerStart start;
    gpointer start_data;
    VfoJobChanged changed;
    gpointer changed_data;
    VfoQmpServer *qmp;
    GPtrArray *handshakes;   /* of Handshake */
    GHashTable *connections; /* VfoQmpSession -> Connection */
    guint idle_ms;
    guint idle_timer;
    GPtrArray *halves; /* of Half: jobs that have not ended */
    VfoCalls *calls;
};

/* One connection whose other end has not shown who it is. */
typedef struct {
    VfoPeerServer *server; /* NULL: gone */
    GIOStream *stream;
    GCancellable *cancellable;
    guint timer;
    char *from; /* the address, for the log */
} Handshake;

/* The destination's half of one job. Lives until the job has ended and the session is gone. */
typedef struct {
    VfoPeerServer *server;  /* NULL: gone */
    VfoQmpSession *session; /* NULL: gone */
    VfoJob *job;
    VfoNotes *notes;     /* for the source */
    VfoQmpCall *reserve; /* waits for its answer */
    VfoQmpCall *release;
    VfoJobState told; /* the state that the source knows */
} Half;

/* Connection: one over which a peer talks to us, having shown who it is. */
typedef struct {
    Half *half; /* NULL: nothing was reserved over it */
    gboolean closing;
    gint64 since_us;
    gint64 used_us; /* the last command */
} Connection;

/* ------------------------------------------------------------------ jobs */

static void half_clear(gpointer data)
{
    Half *half = data;

    g_clear_pointer(&half->notes, vfo_notes_free);
    g_clear_pointer(&half->job, vfo_job_unref);
}

static void half_unref(gpointer data)
{
    g_rc_box_release_full(data, half_clear);
}

static void answer_ended(Half *half)
{
    VfoQmpCall *reserve = g_steal_pointer(&half->reserve);
    VfoQmpCall *release = g_steal_pointer(&half->release);
    const GError *error = vfo_job_error(half->job);
    VfoJobState state = vfo_job_state(half->job);

    if (reserve)
        vfo_qmp_call_fail(reserve, error && error->domain == VFO_ERROR
                                       ? g_error_copy(error)
                                       : g_error_new(VFO_ERROR, VFO_ERROR_FAILED,
                                                     "job %s of VM %s has ended (%s): %s",
                                                     vfo_job_id(half->job), vfo_job_vm(half->job),
                                                     vfo_job_state_name(state),
                                                     error ? error->message : "nothing to do"));
    if (!release)
        return;
    if (state == VFO_JOB_CANCELLED || state == VFO_JOB_FAILED)
        vfo_qmp_call_return(release, NULL);
    else
        vfo_qmp_call_fail(release, g_error_new(VFO_ERROR, VFO_ERROR_FAILED,
                                               "job %s was not undone: VM %s runs here",
                                               vfo_job_id(half->job), vfo_job_vm(half->job)));
}

static void tell_step(VfoJob *job, const VfoRecord *record, gpointer data)
{
    const Half *half = data;

    if (half->session)
        vfo_qmp_session_emit(half->session, "STEP", vfo_wire_from_record(vfo_job_id(job), record));
}

static void tell_state(Half *half)
{
    VfoJobState state = vfo_job_state(half->job);

    if (state == half->told || !half->session)
        return;
    half->told = state;
    vfo_notes_flush(half->notes);
    vfo_qmp_session_emit(
        half->session, "JOB",
        vfo_wire_from_state(vfo_job_id(half->job), state, vfo_job_error(half->job)));
}

static void on_job_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    Half *half = g_rc_box_acquire(data);

    if (record && half->session)
        vfo_notes_add(half->notes, job, record);
    else if (!record)
        tell_state(half);
    if (half->server && half->server->changed)
        half->server->changed(job, record, half->server->changed_data);
    if (!record && vfo_job_ended(job)) {
        answer_ended(half);
        vfo_job_on_change(job, NULL, NULL);
        if (half->server)
            g_ptr_array_remove_fast(half->server->halves, half); /* drops the reference */
        else
            half_unref(half);
    }
    half_unref(half);
}

static void on_reserved(VfoJob *job, const char *uri, gpointer data)
{
    Half *half = data;
    VfoQmpCall *call = g_steal_pointer(&half->reserve);
    json_object *answer;

    if (!call)
        return;
    answer = json_object_new_object();
    json_object_object_add(answer, "uri", json_object_new_string(uri));
    vfo_qmp_call_return(call, answer);
}

static gboolean is_running(VfoPeerServer *self, const char *job)
{
    for (guint i = 0; i < self->halves->len; i++) {
        Half *half = self->halves->pdata[i];

        if (g_str_equal(vfo_job_id(half->job), job))
            return TRUE;
    }
    return FALSE;
}

/* ------------------------------------------------------------ connections */

static void connection_free(gpointer data)
{
    Connection *connection = data;

    if (connection->half)
        half_unref(connection->half);
    g_free(connection);
}

static gboolean is_idle(VfoPeerServer *self, VfoQmpSession *session, const Connection *connection)
{
    return !connection->half && !connection->closing && !vfo_calls_wait(self->calls, session);
}

/* The session that has been idle for the longest time, of the peer called @name or (NULL) of any,
 * and how many there are. */
static VfoQmpSession *oldest_idle(VfoPeerServer *self, const char *name, guint *count)
{
    VfoQmpSession *oldest = NULL;
    gint64 used_us = G_MAXINT64;
    GHashTableIter iter;
    gpointer key, value;

    *count = 0;
    g_hash_table_iter_init(&iter, self->connections);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const Connection *connection = value;

        if (!is_idle(self, key, connection) ||
            (name && !g_str_equal(vfo_qmp_session_name(key), name)))
            continue;
        ++*count;
        if (connection->used_us < used_us) {
            used_us = connection->used_us;
            oldest = key;
        }
    }
    return oldest;
}

static void close_idle(VfoPeerServer *self, VfoQmpSession *session, const char *reason)
{
    Connection *connection = g_hash_table_lookup(self->connections, session);

    g_debug("peer %s: an idle connection is closed: %s", vfo_qmp_session_name(session), reason);
    connection->closing = TRUE;
    vfo_qmp_session_close(session);
}

/* Those that are being closed are as good as gone. */
static guint count_connections(VfoPeerServer *self)
{
    guint count = 0;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->connections);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        count += !((const Connection *)value)->closing;
    return count;
}

/* FALSE when there is no room for one more connection of @name. */
static gboolean make_room(VfoPeerServer *self, const char *name)
{
    VfoQmpSession *oldest;
    guint count;

    oldest = oldest_idle(self, name, &count);
    if (count >= MAX_IDLE)
        close_idle(self, oldest, "the peer has another");
    if (count_connections(self) < MAX_CONNECTIONS)
        return TRUE;
    oldest = oldest_idle(self, NULL, &count);
    if (oldest)
        close_idle(self, oldest, "another peer needs the room");
    return oldest != NULL;
}

static gboolean on_idle_timer(gpointer data)
{
    VfoPeerServer *self = data;
    gint64 now_us = g_get_monotonic_time();
    GHashTableIter iter;
    gpointer key, value;

    if (g_hash_table_size(self->connections) == 0) {
        self->idle_timer = 0;
        return G_SOURCE_REMOVE;
    }
    g_hash_table_iter_init(&iter, self->connections);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const Connection *connection = value;

        if (!is_idle(self, key, connection))
            continue;
        if (now_us - connection->used_us > (gint64)self->idle_ms * 1000)
            close_idle(self, key, "nobody has used it");
        else if (now_us - connection->since_us > MAX_AGE_US)
            close_idle(self, key, "it is old");
    }
    return G_SOURCE_CONTINUE;
}

/* -------------------------------------------------------------- commands */

static void handle_ping(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    static const char *const members[] = {NULL};
    VfoPeerServer *self = data;
    Connection *connection = g_hash_table_lookup(self->connections, vfo_qmp_call_session(call));
    GError *error = NULL;

    if (!vfo_json_only(arguments, members, "ping", &error)) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    connection->used_us = g_get_monotonic_time();
    vfo_qmp_call_return(call, NULL);
}

static void handle_reserve(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    VfoPeerServer *self = data;
    VfoQmpSession *session = vfo_qmp_call_session(call);
    Connection *connection = g_hash_table_lookup(self->connections, session);
    const char *name = vfo_qmp_session_name(session);
    g_autoptr(VfoOffer) offer = NULL;
    GError *error = NULL;
    Half *half;

    offer = vfo_wire_to_offer(arguments, &error);
    connection->used_us = g_get_monotonic_time();
    if (offer && (connection->half || is_running(self, offer->job))) {
        g_set_error(&error, VFO_ERROR, VFO_ERROR_BUSY,
                    "job %s of VM %s: this connection or another has reserved for a job already",
                    offer->job, offer->vm);
        g_clear_pointer(&offer, vfo_offer_free);
    }
    if (!offer) {
        g_message("peer %s: refused: %s", name, error->message);
        vfo_qmp_call_fail(call, error);
        return;
    }
    half = g_rc_box_new0(Half);
    half->server = self;
    half->session = session;
    half->reserve = call;
    half->told = VFO_JOB_RUNNING;
    half->notes = vfo_notes_new(tell_step, half);
    half->job = self->start(name, offer, on_reserved, half, self->start_data, &error);
    if (!half->job) {
        half_unref(half);
        g_message("peer %s: job %s of VM %s refused: %s", name, offer->job, offer->vm,
                  error->message);
        vfo_qmp_call_fail(call, error);
        return;
    }
    connection->half = g_rc_box_acquire(half);
    g_ptr_array_add(self->halves, half);
    vfo_job_on_change(half->job, on_job_changed, half);
    vfo_job_run(half->job);
}

static void handle_hand_over(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    VfoPeerServer *self = data;
    Connection *connection = g_hash_table_lookup(self->connections, vfo_qmp_call_session(call));

    connection->used_us = g_get_monotonic_time();
    vfo_calls_take(self->calls, call, arguments);
}

/* The half that @call's connection has reserved; NULL: not that of the job in @arguments, which are
 * well formed unless @error is set. */
static Half *half_of(VfoPeerServer *self, VfoQmpCall *call, const char *command,
                     json_object *arguments, GError **error)
{
    static const char *const members[] = {"job", NULL};
    const Connection *connection =
        g_hash_table_lookup(self->connections, vfo_qmp_call_session(call));
    const char *job = NULL;

    if (!vfo_json_only(arguments, members, command, error) ||
        !vfo_json_string(arguments, "job", command, &job, error) || !connection->half ||
        !g_str_equal(job, vfo_job_id(connection->half->job)))
        return NULL;
    return connection->half;
}

static void handle_stopped(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    GError *error = NULL;
    const Half *half = half_of(data, call, "stopped", arguments, &error);

    if (!half && !error)
        g_set_error(&error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "this connection has reserved nothing for that job");
    if (half && vfo_destination_stopped(half->job, &error))
        vfo_qmp_call_return(call, NULL);
    else
        vfo_qmp_call_fail(call, error);
}

static void handle_release(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    GError *error = NULL;
    Half *half = half_of(data, call, "release", arguments, &error);

    if (error) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    if (!half) {
        vfo_qmp_call_return(call, NULL); /* nothing reserved is success */
        return;
    }
    if (half->release) {
        vfo_qmp_call_fail(call,
                          g_error_new(VFO_ERROR, VFO_ERROR_BUSY, "job %s is being released already",
                                      vfo_job_id(half->job)));
        return;
    }
    half->release = call;
    if (vfo_job_ended(half->job)) {
        answer_ended(half);
        return;
    }
    /* The listener answers when the job has ended. It does so as well where it cannot be
     * cancelled: memory arrives, and ends when the source's QEMU is told to give up. */
    vfo_job_cancel(half->job, NULL);
}

static void on_session_closed(VfoQmpServer *qmp, VfoQmpSession *session, gpointer data)
{
    VfoPeerServer *self = data;
    gpointer value = NULL;
    g_autofree Connection *connection = NULL;
    Half *half;

    if (!g_hash_table_steal_extended(self->connections, session, NULL, &value))
        return;
    connection = value;
    half = connection->half;
    vfo_calls_closed(self->calls, session);
    if (!half)
        return;
    half->session = NULL;
    if (!vfo_job_ended(half->job)) {
        g_message("peer %s: the connection was lost during job %s of VM %s",
                  vfo_qmp_session_name(session), vfo_job_id(half->job), vfo_job_vm(half->job));
        vfo_destination_orphaned(half->job);
    }
    half_unref(half);
}

/* -------------------------------------------------------------- admission */

/* The configured peer whose name the certificate carries; NULL: none. That it is valid and signed
 * by the CA has been verified in the handshake (on_certificate()). */
static const char *name_of(VfoPeerServer *self, GTlsCertificate *certificate)
{
    for (guint i = 0; certificate && i < self->names->len; i++) {
        const char *name = self->names->pdata[i];
        g_autoptr(GSocketConnectable) identity = g_network_address_new(name, 0);

        if (g_tls_certificate_verify(certificate, identity, NULL) == 0)
            return name;
    }
    return NULL;
}

static void admit(VfoPeerServer *self, Handshake *handshake)
{
    GTlsCertificate *certificate =
        g_tls_connection_get_peer_certificate(G_TLS_CONNECTION(handshake->stream));
    const char *name = name_of(self, certificate);
    VfoQmpSession *session;
    Connection *connection;

    if (!name) {
        g_autofree char *subject = vfo_tls_subject(certificate);

        g_warning("connection from %s refused: its certificate %s carries the name of no [peer] "
                  "group of the configuration",
                  handshake->from, subject);
        return;
    }
    if (!make_room(self, name)) {
        g_warning("connection of peer %s refused: there are %d already", name, MAX_CONNECTIONS);
        return;
    }
    session = vfo_qmp_server_add(self->qmp, handshake->stream, name, TRUE);
    if (!session)
        return;
    connection = g_new0(Connection, 1);
    connection->since_us = connection->used_us = g_get_monotonic_time();
    g_hash_table_insert(self->connections, session, connection);
    if (!self->idle_timer)
        self->idle_timer = g_timeout_add(MAX(self->idle_ms / 4, 10), on_idle_timer, self);
}

static void handshake_free(gpointer data)
{
    Handshake *handshake = data;

    g_clear_handle_id(&handshake->timer, g_source_remove);
    g_object_unref(handshake->stream);
    g_object_unref(handshake->cancellable);
    g_free(handshake->from);
    g_free(handshake);
}

static gboolean on_handshake_late(gpointer data)
{
    Handshake *handshake = data;

    handshake->timer = 0;
    g_cancellable_cancel(handshake->cancellable);
    return G_SOURCE_REMOVE;
}

/* GLib asks on the server's side whatever its own verification has found. */
static gboolean on_certificate(GTlsConnection *connection, GTlsCertificate *certificate,
                               GTlsCertificateFlags flags, gpointer data)
{
    Handshake *handshake = data;

    if (flags == 0)
        return TRUE;
    if (handshake->server) {
        g_autofree char *flaws = vfo_tls_flaws(flags, certificate, NULL, handshake->server->ca);

        g_warning("connection from %s refused: %s", handshake->from, flaws);
    }
    return FALSE;
}

static void on_handshake(GObject *source, GAsyncResult *result, gpointer data)
{
    Handshake *handshake = data;
    VfoPeerServer *self = handshake->server;
    g_autoptr(GError) error = NULL;

    g_signal_handlers_disconnect_by_data(source, handshake);
    if (g_tls_connection_handshake_finish(G_TLS_CONNECTION(source), result, &error)) {
        if (self)
            admit(self, handshake);
    } else if (handshake->timer == 0 && self) {
        g_message("connection from %s closed: no TLS handshake within %d s", handshake->from,
                  HANDSHAKE_MS / 1000);
    } else {
        g_message("connection from %s closed: TLS handshake: %s", handshake->from, error->message);
    }
    if (self)
        g_ptr_array_remove_fast(self->handshakes, handshake);
    handshake_free(handshake);
}

static char *address_of(GSocketConnection *connection)
{
    g_autoptr(GSocketAddress) address = g_socket_connection_get_remote_address(connection, NULL);

    if (!G_IS_INET_SOCKET_ADDRESS(address))
        return g_strdup("an unknown address");
    return g_inet_address_to_string(
        g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address)));
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    VfoPeerServer *self = data;
    g_autofree char *from = address_of(connection);
    g_autoptr(GIOStream) stream = NULL;
    g_autoptr(GError) error = NULL;
    Handshake *handshake;

    if (self->handshakes->len >= MAX_HANDSHAKES) {
        g_message("connection from %s closed: %d others have not shown who they are", from,
                  MAX_HANDSHAKES);
        return TRUE;
    }
    vfo_tls_tune(connection);
    /* A connection made without its database reads the system's trust store at once: 8 MB. */
    stream = g_initable_new(g_tls_backend_get_server_connection_type(g_tls_backend_get_default()),
                            NULL, &error, "base-io-stream", connection, "certificate",
                            self->certificate, "database", self->database, "authentication-mode",
                            G_TLS_AUTHENTICATION_REQUIRED, NULL);
    if (!stream) {
        g_warning("connection from %s closed: %s", from, error->message);
        return TRUE;
    }
    handshake = g_new0(Handshake, 1);
    handshake->server = self;
    handshake->stream = g_steal_pointer(&stream);
    handshake->cancellable = g_cancellable_new();
    handshake->from = g_steal_pointer(&from);
    handshake->timer = g_timeout_add(HANDSHAKE_MS, on_handshake_late, handshake);
    g_ptr_array_add(self->handshakes, handshake);
    g_tls_connection_set_require_close_notify(G_TLS_CONNECTION(handshake->stream), FALSE);
    g_signal_connect(handshake->stream, "accept-certificate", G_CALLBACK(on_certificate),
                     handshake);
    g_tls_connection_handshake_async(G_TLS_CONNECTION(handshake->stream), G_PRIORITY_DEFAULT,
                                     handshake->cancellable, on_handshake, handshake);
    return TRUE;
}

/* ---------------------------------------------------------------- object */

static gboolean start_listening(VfoPeerServer *self, const char *address, guint16 port,
                                GError **error)
{
    g_autoptr(GSocketAddress) where = g_inet_socket_address_new_from_string(address, port);
    g_autoptr(GError) reason = NULL;

    if (!where) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "listening for peers: '%s' is no IP address", address);
        return FALSE;
    }
    if (!g_socket_listener_add_address(G_SOCKET_LISTENER(self->service), where,
                                       G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL, NULL,
                                       &reason)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "listening for peers on %s port %u: %s; is the address this host's, and the "
                    "port free?",
                    address, port, reason->message);
        return FALSE;
    }
    g_signal_connect(self->service, "incoming", G_CALLBACK(on_incoming), self);
    g_socket_service_start(self->service);
    return TRUE;
}

/* No reason not to start: a host that is only ever a destination does not connect. */
static void rehearse_connecting(const VfoTlsFiles *tls)
{
    g_autoptr(GTlsDatabase) database = NULL;
    g_autoptr(GTlsCertificate) certificate = NULL;
    g_autoptr(GError) error = NULL;

    if (vfo_tls_load(tls->ca, tls->client_cert, tls->client_key, &database, &certificate, &error))
        vfo_tls_rehearse(database, certificate, tls->ca);
    else
        g_message("no VM can be handed over from here: %s", error->message);
}

VfoPeerServer *vfo_peer_server_new(const char *address, guint16 port, const VfoTlsFiles *tls,
                                   GPtrArray *peers, VfoPeerStart start, gpointer data,
                                   GError **error)
{
    static const VfoQmpCommand commands[] = {
        {"reserve", TRUE, handle_reserve}, {"stopped", TRUE, handle_stopped},
        {"release", TRUE, handle_release}, {"hand-over", TRUE, handle_hand_over},
        {"ping", FALSE, handle_ping},      {NULL, FALSE, NULL},
    };
    VfoPeerServer *self = g_new0(VfoPeerServer, 1);

    self->service = g_socket_service_new();
    self->ca = g_strdup(tls->ca);
    self->names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < peers->len; i++)
        g_ptr_array_add(self->names, g_strdup(((VfoPeerAddress *)peers->pdata[i])->name));
    self->start = start;
    self->start_data = data;
    self->idle_ms = IDLE_MS;
    self->qmp = vfo_qmp_server_new("vfailover", commands, self);
    g_signal_connect(self->qmp, "session-closed", G_CALLBACK(on_session_closed), self);
    self->handshakes = g_ptr_array_new();
    self->connections = g_hash_table_new_full(NULL, NULL, NULL, connection_free);
    self->halves = g_ptr_array_new_with_free_func(half_unref);
    self->calls = vfo_calls_new();
    if (!vfo_tls_load(tls->ca, tls->server_cert, tls->server_key, &self->database,
                      &self->certificate, error) ||
        !start_listening(self, address, port, error))
        g_clear_pointer(&self, vfo_peer_server_free);
    else
        rehearse_connecting(tls);
    return self;
}

void vfo_peer_server_on_change(VfoPeerServer *self, VfoJobChanged changed, gpointer data)
{
    self->changed = changed;
    self->changed_data = data;
    vfo_calls_set_changed(self->calls, changed, data);
}

void vfo_peer_server_on_call(VfoPeerServer *self, VfoPeerCalled called, gpointer data)
{
    vfo_calls_set_called(self->calls, called, data);
}

void vfo_peer_server_set_idle_limit(VfoPeerServer *self, guint ms)
{
    self->idle_ms = ms;
    g_clear_handle_id(&self->idle_timer, g_source_remove);
    self->idle_timer = g_timeout_add(MAX(ms / 4, 10), on_idle_timer, self);
}

void vfo_peer_server_free(VfoPeerServer *self)
{
    if (!self)
        return;
    g_clear_handle_id(&self->idle_timer, g_source_remove);
    g_socket_service_stop(self->service);
    g_socket_listener_close(G_SOCKET_LISTENER(self->service));
    g_signal_handlers_disconnect_by_data(self->service, self);
    g_object_unref(self->service);
    for (guint i = 0; i < self->handshakes->len; i++) {
        Handshake *handshake = self->handshakes->pdata[i];

        handshake->server = NULL; /* ends itself, cancelled */
        g_cancellable_cancel(handshake->cancellable);
    }
    g_ptr_array_unref(self->handshakes);
    for (guint i = 0; i < self->halves->len; i++) {
        Half *half = self->halves->pdata[i];

        half->server = NULL; /* ends itself, with its job */
        half->session = NULL;
    }
    g_ptr_array_set_free_func(self->halves, NULL);
    g_ptr_array_unref(self->halves);
    g_hash_table_unref(self->connections);
    g_object_unref(self->qmp);
    vfo_calls_free(self->calls);
    g_clear_object(&self->database);
    g_clear_object(&self->certificate);
    g_ptr_array_unref(self->names);
    g_free(self->ca);
    g_free(self);
}
