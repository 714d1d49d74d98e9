/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer/dial.h"

#include "peer/tls.h"

#define CONNECT_MS 10000 /* for TCP and for the TLS handshake together */

typedef struct {
    VfoPeerAddress address;
    VfoTlsFiles tls;
    GTask *task; /* NULL: it has ended */
    GSource *cancelled;
    GCancellable *connecting;
    guint timer;
    gboolean late;        /* the timer has fired */
    char *flaws;          /* of the other side's certificate; NULL: none was found */
    VfoQmpClient *client; /* NULL: not connected yet */
} Dial;

static void dial_clear(gpointer data)
{
    Dial *self = data;

    g_free(self->address.name);
    g_free(self->address.address);
    vfo_tls_files_clear(&self->tls);
    g_free(self->flaws);
    g_object_unref(self->connecting);
}

static void dial_unref(Dial *self)
{
    g_rc_box_release_full(self, dial_clear);
}

/* Ends the attempt: the task is the caller's to complete, the client, if there is one, as well. */
static GTask *dial_end(Dial *self, VfoQmpClient **client)
{
    GTask *task = g_steal_pointer(&self->task);

    g_clear_handle_id(&self->timer, g_source_remove);
    if (self->cancelled) {
        g_source_destroy(self->cancelled);
        g_clear_pointer(&self->cancelled, g_source_unref);
    }
    g_cancellable_cancel(self->connecting);
    *client = g_steal_pointer(&self->client);
    if (*client)
        g_signal_handlers_disconnect_by_data(*client, self);
    return task;
}

/* Takes @error. */
static void dial_fail(Dial *self, GError *error)
{
    g_autoptr(VfoQmpClient) client = NULL;
    GTask *task = dial_end(self, &client);

    if (client)
        vfo_qmp_client_close(client);
    vfo_task_fail(task, error);
    dial_unref(self); /* the task's reference */
}

static void on_ready(VfoQmpClient *ready, gpointer data)
{
    Dial *self = data;
    VfoQmpClient *client = NULL;
    GTask *task = dial_end(self, &client);

    dial_unref(self);
    g_task_return_pointer(task, client, g_object_unref);
    g_object_unref(task);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    Dial *self = data;

    /* With TLS 1.3 our handshake is over before the other side has looked at our
     * certificate: it refuses by closing. */
    dial_fail(self, g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                                "peer %s: it closed the connection; most likely it did not "
                                "accept our certificate in %s, which its CA must have "
                                "signed and which must carry the name of one of its [peer] "
                                "groups (%s)",
                                self->address.name, self->tls.client_cert, error->message));
}

static GError *connect_error(Dial *self, const GError *error)
{
    const VfoPeerAddress *address = &self->address;
    VfoError code = VFO_ERROR_FAILED;

    if (self->late)
        return g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                           "peer %s: no TLS connection to %s port %u within %d s; is it up, and "
                           "does its vfailoverd listen there?",
                           address->name, address->address, address->port, CONNECT_MS / 1000);
    if (self->flaws)
        return g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                           "peer %s: connecting to %s port %u: %s (a peer's certificate must carry "
                           "the name of its [peer] group)",
                           address->name, address->address, address->port, self->flaws);
    if (error->domain == G_TLS_ERROR)
        return g_error_new(VFO_ERROR, VFO_ERROR_DENIED,
                           "peer %s: TLS handshake with %s port %u failed: %s (our certificate is "
                           "%s, our CA %s)",
                           address->name, address->address, address->port, error->message,
                           self->tls.client_cert, self->tls.ca);
    if (error->domain == VFO_ERROR || g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return g_error_copy(error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED))
        code = VFO_ERROR_CLOSED;
    if (error->domain == G_RESOLVER_ERROR)
        code = VFO_ERROR_NOT_FOUND;
    return g_error_new(VFO_ERROR, (gint)code,
                       "peer %s: cannot connect to %s port %u: %s; does its vfailoverd run, with "
                       "[peer] groups?",
                       address->name, address->address, address->port, error->message);
}

static gboolean on_late(gpointer data)
{
    Dial *self = data;

    self->timer = 0;
    self->late = TRUE;
    g_cancellable_cancel(self->connecting);
    return G_SOURCE_REMOVE;
}

static gboolean on_certificate(GTlsConnection *connection, GTlsCertificate *certificate,
                               GTlsCertificateFlags flags, gpointer data)
{
    Dial *self = data;

    g_free(self->flaws);
    self->flaws = vfo_tls_flaws(flags, certificate, self->address.name, self->tls.ca);
    return FALSE;
}

/* TRUE when the attempt goes on; else its task has been dealt with. */
static gboolean goes_on(Dial *self, gboolean ok, const GError *error)
{
    if (!self->task)
        return FALSE;
    if (!ok)
        dial_fail(self, connect_error(self, error));
    return ok;
}

static void on_handshake(GObject *source, GAsyncResult *result, gpointer data)
{
    Dial *self = data;
    g_autoptr(GIOStream) stream = G_IO_STREAM(source);
    g_autoptr(GError) error = NULL;
    gboolean ok = g_tls_connection_handshake_finish(G_TLS_CONNECTION(source), result, &error);

    g_signal_handlers_disconnect_by_data(source, self);
    if (goes_on(self, ok, error)) {
        g_autofree char *name = g_strdup_printf("peer %s", self->address.name);

        g_clear_handle_id(&self->timer, g_source_remove);
        self->client = vfo_qmp_client_new_stream(name, stream);
        g_signal_connect(self->client, "ready", G_CALLBACK(on_ready), self);
        g_signal_connect(self->client, "closed", G_CALLBACK(on_closed), self);
    }
    dial_unref(self);
}

static GIOStream *tls_over(Dial *self, GSocketConnection *connection, GError **error)
{
    g_autoptr(GTlsDatabase) database = NULL;
    g_autoptr(GTlsCertificate) certificate = NULL;
    g_autoptr(GIOStream) stream = NULL;
    /* Whom we mean, rather than where it is: the certificate carries the peer's name. */
    g_autoptr(GSocketConnectable) identity =
        g_network_address_new(self->address.name, self->address.port);

    if (!vfo_tls_load(self->tls.ca, self->tls.client_cert, self->tls.client_key, &database,
                      &certificate, error))
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
    Dial *self = data;
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
            dial_fail(self, g_steal_pointer(&error));
    }
    dial_unref(self);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    Dial *self = data;

    dial_fail(self, g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED,
                                "peer %s: connecting was cancelled", self->address.name));
    return G_SOURCE_REMOVE;
}

void vfo_dial(const VfoPeerAddress *address, const VfoTlsFiles *tls, GTask *task)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    GCancellable *cancellable = g_task_get_cancellable(task);
    Dial *self = g_rc_box_new0(Dial);

    self->address.name = g_strdup(address->name);
    self->address.address = g_strdup(address->address);
    self->address.port = address->port;
    vfo_tls_files_copy(&self->tls, tls);
    self->task = task; /* has a reference of @self */
    self->connecting = g_cancellable_new();
    self->timer = g_timeout_add(CONNECT_MS, on_late, self);
    if (cancellable) {
        self->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(self->cancelled, G_SOURCE_FUNC(on_cancelled), self, NULL);
        g_source_attach(self->cancelled, g_main_context_get_thread_default());
    }
    g_socket_client_set_enable_proxy(client, FALSE);
    g_socket_client_connect_to_host_async(client, self->address.address, self->address.port,
                                          self->connecting, on_connected, g_rc_box_acquire(self));
}
