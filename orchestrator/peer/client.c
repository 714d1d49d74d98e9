/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's side: the destination's daemon as a VfoPeer.
 */
#include "peer/peer.h"

#include "peer/tls.h"
#include "peer/wire.h"

#define CONNECT_MS  10000 /* for TCP and for the TLS handshake together */
#define MAX_RECORDS 1024  /* STEP events of one job */

typedef struct {
    VfoPeer base;
    char *address;
    guint16 port;
    char *ca, *cert, *key;
    VfoJob *job;
    VfoOffer *offer;

    GCancellable *connecting; /* NULL: no connection is being made */
    guint timer;              /* its deadline */
    gboolean late;            /* it has passed */
    char *flaws;              /* of the other side's certificate; NULL: none was found */
    VfoQmpClient *client;     /* NULL: not connected, or not yet */
    gboolean asked;           /* reserve was sent: something may be reserved */
    guint n_records;

    GTask *reserve; /* waits for the connection */
    GSource *reserve_cancelled;
    GTask *finished; /* waits for the end of the job */
    GSource *finished_cancelled;

    gboolean ended;  /* the destination's half of the job; or the connection to it */
    gboolean undone; /* it ended, and nothing of it is left */
    GError *failure; /* why not well; NULL: well */
} PeerClient;

static void peer_clear(gpointer data)
{
    PeerClient *self = data;

    g_free(self->base.name);
    g_free(self->address);
    g_free(self->ca);
    g_free(self->cert);
    g_free(self->key);
    g_free(self->flaws);
    g_clear_pointer(&self->job, vfo_job_unref);
    g_clear_pointer(&self->offer, vfo_offer_free);
    g_clear_error(&self->failure);
}

static void peer_unref(PeerClient *self)
{
    g_rc_box_release_full(self, peer_clear);
}

static void stop_source(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_clear_pointer(source, g_source_unref);
    }
}

static GSource *watch_cancel(GTask *task, GCancellableSourceFunc func, gpointer data)
{
    GSource *source;

    if (!g_task_get_cancellable(task))
        return NULL;
    source = g_cancellable_source_new(g_task_get_cancellable(task));
    g_source_set_callback(source, G_SOURCE_FUNC(func), data, NULL);
    g_source_attach(source, g_main_context_get_thread_default());
    return source;
}

/* ---------------------------------------------------- the end of the job there */

static void complete_finished(PeerClient *self)
{
    GTask *task;

    if (!self->finished || !self->ended)
        return;
    task = g_steal_pointer(&self->finished);
    stop_source(&self->finished_cancelled);
    if (self->failure)
        vfo_task_fail(task, g_error_copy(self->failure));
    else
        vfo_task_done(task);
}

static void end(PeerClient *self, GError *failure)
{
    if (self->ended) {
        g_clear_error(&failure);
        return;
    }
    self->ended = TRUE;
    self->failure = failure;
    complete_finished(self);
}

/* The connection is of no more use; ends what waits for it. */
static void disconnect(PeerClient *self)
{
    g_autoptr(VfoQmpClient) client = g_steal_pointer(&self->client);

    g_clear_handle_id(&self->timer, g_source_remove);
    if (self->connecting)
        g_cancellable_cancel(self->connecting);
    g_clear_object(&self->connecting);
    if (client) {
        g_signal_handlers_disconnect_by_data(client, self);
        vfo_qmp_client_close(client);
    }
}

static void fail_reserve(PeerClient *self, GError *error)
{
    GTask *task = g_steal_pointer(&self->reserve);

    stop_source(&self->reserve_cancelled);
    disconnect(self);
    if (task)
        vfo_task_fail(task, error);
    else
        g_error_free(error);
}

/* ---------------------------------------------------------------- events */

static void break_off(PeerClient *self, GError *error)
{
    g_prefix_error(&error,
                   "peer %s: broke the protocol, the connection was closed: ", self->base.name);
    error->code = VFO_ERROR_PROTOCOL;
    g_warning("%s", error->message);
    disconnect(self);
    end(self, error);
}

static gboolean note_step(PeerClient *self, json_object *data, GError **error)
{
    g_autoptr(VfoRecord) record =
        vfo_wire_to_record(data, self->offer->job, self->base.name, error);

    if (!record)
        return FALSE;
    if (self->n_records == MAX_RECORDS) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_PROTOCOL, "more than %d steps", MAX_RECORDS);
        return FALSE;
    }
    self->n_records++;
    if (self->job)
        vfo_job_add_record(self->job, g_steal_pointer(&record));
    return TRUE;
}

static void on_step(PeerClient *self, json_object *data)
{
    GError *error = NULL;
    gboolean noted;

    /* The other daemon is at work; to note what it does delays nobody. */
    vfo_stopwatch_begin_outside();
    noted = note_step(self, data, &error);
    vfo_stopwatch_end_outside();
    if (!noted)
        break_off(self, error);
}

static void on_state(PeerClient *self, json_object *data)
{
    VfoJobState state = VFO_JOB_RUNNING;
    const char *text = NULL;
    GError *error = NULL;

    if (!vfo_wire_to_state(data, self->offer->job, &state, &text, &error)) {
        break_off(self, error);
        return;
    }
    switch (state) {
    case VFO_JOB_RUNNING:
    case VFO_JOB_UNDOING:
        return;
    case VFO_JOB_COMPLETED:
        end(self, NULL);
        return;
    case VFO_JOB_DEGRADED:
        if (self->job && !self->ended) {
            g_autofree char *reason =
                g_strdup_printf("at %s: %s", self->base.name, text ? text : "no reason given");

            vfo_job_degrade(self->job, reason);
        }
        end(self, NULL);
        return;
    case VFO_JOB_CANCELLED:
    case VFO_JOB_FAILED:
        self->undone = TRUE;
        end(self, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "peer %s: its half of job %s was %s: %s",
                              self->base.name, self->offer->job,
                              state == VFO_JOB_FAILED ? "undone after a failure" : "cancelled",
                              text ? text : "no reason given"));
        return;
    }
}

static void on_event(VfoQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    PeerClient *self = g_rc_box_acquire(user_data);

    if (g_str_equal(name, "STEP"))
        on_step(self, data);
    else if (g_str_equal(name, "JOB"))
        on_state(self, data);
    else
        g_debug("peer %s: unknown event", self->base.name); /* of a newer version */
    peer_unref(self);
}

/* ------------------------------------------------------------- reserving */

static void on_reserved(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);
    const char *uri = answer ? vfo_wire_to_uri(answer, &error) : NULL;

    if (uri) {
        g_task_return_pointer(task, g_strdup(uri), g_free);
        g_object_unref(task);
    } else {
        vfo_task_fail(task, error);
    }
}

static void on_ready(VfoQmpClient *client, gpointer data)
{
    PeerClient *self = data;
    GTask *task = g_steal_pointer(&self->reserve);

    stop_source(&self->reserve_cancelled);
    self->asked = TRUE;
    vfo_qmp_client_execute_async(client, "reserve", vfo_wire_from_offer(self->offer), 0,
                                 g_task_get_cancellable(task), on_reserved, task);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    PeerClient *self = g_rc_box_acquire(data);

    if (!self->asked)
        /* With TLS 1.3 our handshake is over before the other side has looked at our
         * certificate: it refuses by closing. */
        fail_reserve(self, g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                                       "peer %s: it closed the connection; most likely it did not "
                                       "accept our certificate in %s, which its CA must have "
                                       "signed and which must carry the name of one of its [peer] "
                                       "groups (%s)",
                                       self->base.name, self->cert, error->message));
    else
        end(self, g_error_new(VFO_ERROR, error->code,
                              "%s; how its half of job %s ends is unknown here, ask on that host",
                              error->message, self->offer->job));
    peer_unref(self);
}

/* ------------------------------------------------------------ connecting */

static GError *connect_error(PeerClient *self, const GError *error)
{
    VfoError code = VFO_ERROR_FAILED;

    if (self->late)
        return g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                           "peer %s: no TLS connection to %s port %u within %d s; is it up, and "
                           "does its vfailoverd listen there?",
                           self->base.name, self->address, self->port, CONNECT_MS / 1000);
    if (self->flaws)
        return g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                           "peer %s: connecting to %s port %u: %s (a peer's certificate must carry "
                           "the name of its [peer] group)",
                           self->base.name, self->address, self->port, self->flaws);
    if (error->domain == G_TLS_ERROR)
        return g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                           "peer %s: TLS handshake with %s port %u failed: %s (our certificate is "
                           "%s, our CA %s)",
                           self->base.name, self->address, self->port, error->message, self->cert,
                           self->ca);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return g_error_copy(error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
        code = VFO_ERROR_CLOSED;
    if (error->domain == G_RESOLVER_ERROR)
        code = VFO_ERROR_NOT_FOUND;
    return g_error_new(VFO_ERROR, (gint)code,
                       "peer %s: cannot connect to %s port %u: %s; does its vfailoverd run, with "
                       "[peer] groups?",
                       self->base.name, self->address, self->port, error->message);
}

static gboolean on_late(gpointer data)
{
    PeerClient *self = data;

    self->timer = 0;
    self->late = TRUE;
    g_cancellable_cancel(self->connecting);
    return G_SOURCE_REMOVE;
}

static gboolean on_certificate(GTlsConnection *connection, GTlsCertificate *certificate,
                               GTlsCertificateFlags flags, gpointer data)
{
    PeerClient *self = data;

    g_free(self->flaws);
    self->flaws = vfo_tls_flaws(flags, certificate, self->base.name, self->ca);
    return FALSE;
}

/* TRUE when the attempt goes on; else @self->reserve has been dealt with. */
static gboolean goes_on(PeerClient *self, gboolean ok, const GError *error)
{
    if (!self->connecting)
        return FALSE; /* given up in the meantime */
    if (!ok)
        fail_reserve(self, connect_error(self, error));
    return ok;
}

static void on_handshake(GObject *source, GAsyncResult *result, gpointer data)
{
    PeerClient *self = data;
    g_autoptr(GIOStream) stream = G_IO_STREAM(source);
    g_autoptr(GError) error = NULL;
    gboolean ok = g_tls_connection_handshake_finish(G_TLS_CONNECTION(source), result, &error);

    g_signal_handlers_disconnect_by_data(source, self);
    if (goes_on(self, ok, error)) {
        g_autofree char *name = g_strdup_printf("peer %s", self->base.name);

        g_clear_handle_id(&self->timer, g_source_remove);
        g_clear_object(&self->connecting);
        self->client = vfo_qmp_client_new_stream(name, stream);
        g_signal_connect(self->client, "ready", G_CALLBACK(on_ready), self);
        g_signal_connect(self->client, "event", G_CALLBACK(on_event), self);
        g_signal_connect(self->client, "closed", G_CALLBACK(on_closed), self);
    }
    peer_unref(self);
}

static GIOStream *tls_over(PeerClient *self, GSocketConnection *connection, GError **error)
{
    g_autoptr(GTlsDatabase) database = NULL;
    g_autoptr(GTlsCertificate) certificate = NULL;
    g_autoptr(GIOStream) stream = NULL;
    /* Whom we mean, rather than where it is: the certificate carries the peer's name. */
    g_autoptr(GSocketConnectable) identity = g_network_address_new(self->base.name, self->port);

    if (!vfo_tls_load(self->ca, self->cert, self->key, &database, &certificate, error))
        return NULL;
    /* A connection made without its database reads the system's trust store at once: 8 MB. */
    stream = g_initable_new(g_tls_backend_get_client_connection_type(g_tls_backend_get_default()),
                            NULL, error, "base-io-stream", connection, "server-identity", identity,
                            "database", database, NULL);
    if (!stream)
        return NULL;
    g_tls_connection_set_certificate(G_TLS_CONNECTION(stream), certificate);
    g_tls_connection_set_require_close_notify(G_TLS_CONNECTION(stream), FALSE);
    g_signal_connect(stream, "accept-certificate", G_CALLBACK(on_certificate), self);
    return g_steal_pointer(&stream);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data)
{
    PeerClient *self = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host_finish(G_SOCKET_CLIENT(source), result, &error);
    GIOStream *stream = NULL;

    if (goes_on(self, connection != NULL, error)) {
        vfo_tls_tune(connection);
        stream = tls_over(self, connection, &error);
        if (stream)
            g_tls_connection_handshake_async(G_TLS_CONNECTION(stream), G_PRIORITY_DEFAULT,
                                             self->connecting, on_handshake,
                                             g_rc_box_acquire(self)); /* and the stream */
        else
            fail_reserve(self, g_steal_pointer(&error));
    }
    peer_unref(self);
}

static gboolean on_reserve_cancelled(GCancellable *cancellable, gpointer data)
{
    PeerClient *self = data;

    fail_reserve(self, g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED,
                                   "peer %s: connecting was cancelled", self->base.name));
    return G_SOURCE_REMOVE;
}

static void peer_reserve(VfoPeer *peer, const VfoOffer *offer, GTask *task)
{
    PeerClient *self = (PeerClient *)peer;
    g_autoptr(GSocketClient) client = NULL;

    if (self->offer) {
        vfo_task_fail(task,
                      g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                                  "peer %s: this connection has had its job already", peer->name));
        return;
    }
    self->offer = vfo_offer_copy(offer);
    self->reserve = task;
    self->reserve_cancelled = watch_cancel(task, on_reserve_cancelled, self);
    self->connecting = g_cancellable_new();
    self->timer = g_timeout_add(CONNECT_MS, on_late, self);
    client = g_socket_client_new();
    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_connect_to_host_async(client, self->address, self->port, self->connecting,
                                          on_connected, g_rc_box_acquire(self));
}

/* -------------------------------------------------------- finished, release */

static gboolean on_finished_cancelled(GCancellable *cancellable, gpointer data)
{
    PeerClient *self = data;
    GTask *task = g_steal_pointer(&self->finished);

    stop_source(&self->finished_cancelled);
    vfo_task_fail(task, g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED,
                                    "peer %s: waiting for its half of job %s was cancelled",
                                    self->base.name, self->offer->job));
    return G_SOURCE_REMOVE;
}

static void peer_finished(VfoPeer *peer, GTask *task)
{
    PeerClient *self = (PeerClient *)peer;

    if (!self->asked || self->finished) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "peer %s: %s", peer->name,
                                        self->asked ? "its end is being waited for already"
                                                    : "nothing was reserved, so nothing can end"));
        return;
    }
    self->finished = task;
    self->finished_cancelled = watch_cancel(task, on_finished_cancelled, self);
    complete_finished(self);
}

static void on_released(GObject *source, GAsyncResult *result, gpointer data)
{
    GTask *task = data;
    GError *error = NULL;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (answer)
        vfo_task_done(task);
    else
        vfo_task_fail(task, error);
}

static void peer_release(VfoPeer *peer, GTask *task)
{
    PeerClient *self = (PeerClient *)peer;
    json_object *arguments;

    if (!self->asked || self->undone) {
        disconnect(self);
        vfo_task_done(task);
        return;
    }
    if (!self->client || !vfo_qmp_client_is_ready(self->client)) {
        vfo_task_fail(task, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED,
                                        "peer %s: it cannot be told to undo its half of job %s, "
                                        "the connection is lost (%s); it does so by itself unless "
                                        "memory is arriving: look there",
                                        peer->name, self->offer->job,
                                        self->failure ? self->failure->message : "closed"));
        return;
    }
    arguments = json_object_new_object();
    json_object_object_add(arguments, "job", json_object_new_string(self->offer->job));
    vfo_qmp_client_execute_async(self->client, "release", arguments, 0,
                                 g_task_get_cancellable(task), on_released, task);
}

/* ---------------------------------------------------------------- object */

VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls)
{
    static const VfoPeerOps ops = {peer_reserve, peer_finished, peer_release};
    PeerClient *self = g_rc_box_new0(PeerClient);

    self->base.ops = &ops;
    self->base.name = g_strdup(address->name);
    self->address = g_strdup(address->address);
    self->port = address->port;
    self->ca = g_strdup(tls->ca);
    self->cert = g_strdup(tls->client_cert);
    self->key = g_strdup(tls->client_key);
    return &self->base;
}

void vfo_peer_set_job(VfoPeer *peer, VfoJob *job)
{
    PeerClient *self = (PeerClient *)peer;
    VfoJob *old = self->job;

    self->job = job ? vfo_job_ref(job) : NULL;
    vfo_job_unref(old);
}

void vfo_peer_free(VfoPeer *peer)
{
    PeerClient *self = (PeerClient *)peer;

    if (!self)
        return;
    fail_reserve(self, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED,
                                   "peer %s: the connection was given up", peer->name));
    end(self, g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "peer %s: the connection was given up",
                          peer->name));
    peer_unref(self);
}

void vfo_peer_address_free(VfoPeerAddress *address)
{
    if (!address)
        return;
    g_free(address->name);
    g_free(address->address);
    g_free(address);
}
