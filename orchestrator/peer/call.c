/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination of a migration that libvirt carries out asks the source's daemon for its half.
 */
#include "peer/dial.h"
#include "peer/peer.h"
#include "peer/pool.h"
#include "peer/tls.h"
#include "peer/wire.h"

/* A connection that lives answers a ping at once. */
#define PING_MS 3000

typedef struct {
    VfoPeerAddress address;
    VfoTlsFiles tls;
    json_object *arguments;
    GTask *task;
    GCancellable *cancellable; /* of what is being waited for */
    GSource *cancelled;
    guint timeout_ms;
    guint timer;
    gboolean late;        /* the timer has fired */
    VfoQmpClient *client; /* NULL: not connected */
    VfoPeerPool *pool;    /* whose connection it is; NULL: our own */
} Call;

static void call_free(Call *self)
{
    g_clear_handle_id(&self->timer, g_source_remove);
    if (self->cancelled) {
        g_source_destroy(self->cancelled);
        g_source_unref(self->cancelled);
    }
    /* What has been begun over there and not been answered is cancelled with it. */
    if (self->client)
        vfo_qmp_client_close(self->client);
    g_clear_object(&self->client);
    g_object_unref(self->cancellable);
    json_object_put(self->arguments);
    g_free(self->address.name);
    g_free(self->address.address);
    vfo_tls_files_clear(&self->tls);
    g_free(self);
}

/* Takes @error; NULL: it went well. */
static void call_end(Call *self, GError *error)
{
    GTask *task = self->task;

    if (error && self->late) {
        g_clear_error(&error);
        error = g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                            "peer %s: hand-over: no answer within %.1f s; is its vfailoverd busy?",
                            self->address.name, (double)self->timeout_ms / 1000);
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        g_clear_error(&error);
        error = g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED, "peer %s: hand-over: was cancelled",
                            self->address.name);
    }
    call_free(self);
    vfo_task_return(task, error == NULL, error);
}

static void on_answered(GObject *source, GAsyncResult *result, gpointer data)
{
    static const char *const members[] = {NULL};
    GError *error = NULL;
    Call *self = data;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    /* Most peers do not have the VM: their connections are for the next call. */
    if (self->pool && (answer || error->domain == VFO_ERROR))
        vfo_peer_pool_give(self->pool, self->address.name, g_steal_pointer(&self->client));
    if (answer)
        vfo_json_only(answer, members, "the answer to hand-over", &error);
    call_end(self, error);
}

static void ask(Call *self)
{
    vfo_qmp_client_execute_async(self->client, "hand-over", json_object_get(self->arguments), 0,
                                 self->cancellable, on_answered, self);
}

static void on_dialled(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *self = data;
    GError *error = NULL;

    self->client = g_task_propagate_pointer(G_TASK(result), &error);
    if (self->client)
        ask(self);
    else
        call_end(self, error);
}

static void dial(Call *self)
{
    vfo_dial(&self->address, &self->tls, g_task_new(NULL, self->cancellable, on_dialled, self));
}

static void on_pong(GObject *source, GAsyncResult *result, gpointer data)
{
    Call *self = data;
    GError *error = NULL;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (answer) {
        ask(self);
        return;
    }
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        call_end(self, error);
        return;
    }
    g_debug("peer %s: connects afresh: %s", self->address.name, error->message);
    g_clear_error(&error);
    vfo_qmp_client_close(self->client);
    g_clear_object(&self->client);
    self->pool = NULL;
    dial(self);
}

static gboolean on_late(gpointer data)
{
    Call *self = data;

    self->timer = 0;
    self->late = TRUE;
    g_cancellable_cancel(self->cancellable);
    return G_SOURCE_REMOVE;
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer data)
{
    Call *self = data;

    g_cancellable_cancel(self->cancellable);
    return G_SOURCE_REMOVE;
}

void vfo_peer_call(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool,
                   const VfoPeerCall *call, guint timeout_ms, GTask *task)
{
    GCancellable *cancellable = g_task_get_cancellable(task);
    Call *self = g_new0(Call, 1);

    self->address.name = g_strdup(address->name);
    self->address.address = g_strdup(address->address);
    self->address.port = address->port;
    vfo_tls_files_copy(&self->tls, tls);
    self->arguments = vfo_wire_from_call(call);
    self->task = task;
    self->cancellable = g_cancellable_new();
    self->timeout_ms = timeout_ms;
    self->timer = g_timeout_add(timeout_ms, on_late, self);
    if (cancellable) {
        self->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(self->cancelled, G_SOURCE_FUNC(on_cancelled), self, NULL);
        g_source_attach(self->cancelled, g_main_context_get_thread_default());
    }
    self->client = pool ? vfo_peer_pool_take(pool, address) : NULL;
    self->pool = self->client ? pool : NULL;
    if (self->client)
        vfo_qmp_client_execute_async(self->client, "ping", NULL, PING_MS, self->cancellable,
                                     on_pong, self);
    else
        dial(self);
}
