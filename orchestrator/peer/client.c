/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source's side: the destination's daemon as a VfoPeer.
 */
#include "peer/peer.h"

#include "peer/dial.h"
#include "peer/pool.h"
#include "peer/tls.h"
#include "peer/wire.h"

#define MAX_RECORDS 1024 /* STEP events of one job */
/* Over a connection that lives the first event comes at once: the first step begins. */
#define SILENCE_MS 3000

typedef struct {
    VfoPeer base;
    VfoPeerAddress address;
    VfoTlsFiles tls;
    VfoPeerPool *pool; /* not owned; NULL: none */
    VfoJob *job;
    VfoOffer *offer;

    GCancellable *connecting; /* NULL: no connection is being made */
    VfoQmpClient *client;     /* NULL: not connected, or not yet */
    gboolean untried;         /* it is the pool's, and nothing has come over it */
    guint timer;              /* for how long that may be so */
    gboolean asked;           /* reserve was sent: something may be reserved */
    guint n_records;

    GTask *reserve; /* waits for the connection, then for the answer */
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
    g_free(self->address.address);
    vfo_tls_files_clear(&self->tls);
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
    fail_reserve(self, g_error_copy(error));
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
    vfo_stopwatch_begin_spare();
    noted = note_step(self, data, &error);
    vfo_stopwatch_end_spare();
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

    self->untried = FALSE;
    g_clear_handle_id(&self->timer, g_source_remove);
    if (g_str_equal(name, "STEP"))
        on_step(self, data);
    else if (g_str_equal(name, "JOB"))
        on_state(self, data);
    else
        g_debug("peer %s: unknown event", self->base.name); /* of a newer version */
    peer_unref(self);
}

/* ------------------------------------------------------------- reserving */

static void start_over(PeerClient *self, const char *reason);

static void on_reserved(GObject *source, GAsyncResult *result, gpointer data)
{
    PeerClient *self = data;
    VfoQmpClient *client = VFO_QMP_CLIENT(source);
    GError *error = NULL;
    g_autoptr(json_object) answer = vfo_qmp_client_execute_finish(client, result, &error);
    const char *uri = answer ? vfo_wire_to_uri(answer, &error) : NULL;
    GTask *task;

    if (client != self->client || !self->reserve) {
        g_clear_error(&error); /* given up in the meantime */
    } else if (error && self->untried && !vfo_qmp_client_is_ready(client)) {
        start_over(self, error->message);
        g_clear_error(&error);
    } else {
        self->untried = FALSE;
        g_clear_handle_id(&self->timer, g_source_remove);
        task = g_steal_pointer(&self->reserve);
        if (uri) {
            g_task_return_pointer(task, g_strdup(uri), g_free);
            g_object_unref(task);
        } else {
            vfo_task_fail(task, error);
        }
    }
    peer_unref(self);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    PeerClient *self = g_rc_box_acquire(data);

    if (self->untried)
        start_over(self, error->message);
    else
        end(self, g_error_new(VFO_ERROR, error->code,
                              "%s; how its half of job %s ends is unknown here, ask on that host",
                              error->message, self->offer->job));
    peer_unref(self);
}

/* Takes the reference of @client. */
static void ask(PeerClient *self, VfoQmpClient *client)
{
    self->client = client;
    g_signal_connect(client, "event", G_CALLBACK(on_event), self);
    g_signal_connect(client, "closed", G_CALLBACK(on_closed), self);
    stop_source(&self->reserve_cancelled);
    self->asked = TRUE;
    vfo_qmp_client_execute_async(client, "reserve", vfo_wire_from_offer(self->offer), 0,
                                 g_task_get_cancellable(self->reserve), on_reserved,
                                 g_rc_box_acquire(self));
}

static void on_dialled(GObject *source, GAsyncResult *result, gpointer data)
{
    PeerClient *self = data;
    GError *error = NULL;
    g_autoptr(VfoQmpClient) client = g_task_propagate_pointer(G_TASK(result), &error);

    if (!self->connecting) {
        g_clear_error(&error); /* given up in the meantime */
    } else if (client) {
        g_clear_object(&self->connecting);
        ask(self, g_steal_pointer(&client));
    } else {
        fail_reserve(self, error);
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

static void connect_now(PeerClient *self)
{
    self->reserve_cancelled = watch_cancel(self->reserve, on_reserve_cancelled, self);
    self->connecting = g_cancellable_new();
    vfo_dial(&self->address, &self->tls,
             g_task_new(NULL, self->connecting, on_dialled, g_rc_box_acquire(self)));
}

/* The connection that was there already is none. What the other side may have begun over it ends
 * with it. */
static void start_over(PeerClient *self, const char *reason)
{
    g_debug("peer %s: connects afresh: %s", self->base.name, reason);
    self->untried = FALSE;
    self->asked = FALSE;
    disconnect(self);
    connect_now(self);
}

static gboolean on_silence(gpointer data)
{
    PeerClient *self = data;

    self->timer = 0;
    start_over(self, "nothing came over the connection that was there");
    return G_SOURCE_REMOVE;
}

static void peer_reserve(VfoPeer *peer, const VfoOffer *offer, GTask *task)
{
    PeerClient *self = (PeerClient *)peer;
    VfoQmpClient *client;

    if (self->offer) {
        vfo_task_fail(task,
                      g_error_new(VFO_ERROR, VFO_ERROR_BUSY,
                                  "peer %s: this connection has had its job already", peer->name));
        return;
    }
    self->offer = vfo_offer_copy(offer);
    self->reserve = task;
    client = self->pool ? vfo_peer_pool_take(self->pool, &self->address) : NULL;
    if (!client) {
        connect_now(self);
        return;
    }
    self->untried = TRUE;
    self->timer = g_timeout_add(SILENCE_MS, on_silence, self);
    ask(self, client);
}

/* ----------------------------------------------- stopped, finished, release */

static void on_stopped_told(GObject *source, GAsyncResult *result, gpointer data)
{
    PeerClient *self = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (!answer)
        g_message("peer %s: job %s: frames for VM %s are lost until it runs there: %s",
                  self->base.name, self->offer->job, self->offer->vm, error->message);
    peer_unref(self);
}

static json_object *job_argument(const PeerClient *self)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "job", json_object_new_string(self->offer->job));
    return arguments;
}

static void peer_stopped(VfoPeer *peer)
{
    PeerClient *self = (PeerClient *)peer;

    if (self->client)
        vfo_qmp_client_execute_async(self->client, "stopped", job_argument(self), 0, NULL,
                                     on_stopped_told, g_rc_box_acquire(self));
}

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
    vfo_qmp_client_execute_async(self->client, "release", job_argument(self), 0,
                                 g_task_get_cancellable(task), on_released, task);
}

/* ---------------------------------------------------------------- object */

VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool)
{
    static const VfoPeerOps ops = {peer_reserve, peer_stopped, peer_finished, peer_release};
    PeerClient *self = g_rc_box_new0(PeerClient);

    self->base.ops = &ops;
    self->base.name = g_strdup(address->name);
    self->address.name = self->base.name;
    self->address.address = g_strdup(address->address);
    self->address.port = address->port;
    vfo_tls_files_copy(&self->tls, tls);
    self->pool = pool;
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
    g_free(address->libvirt_uri);
    g_free(address);
}
