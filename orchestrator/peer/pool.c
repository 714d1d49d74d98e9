/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to each peer before a job needs it: to connect over TLS costs more of this daemon's
 * time than all the rest of a hand-over.
 */
#include "peer/pool.h"

#include "peer/dial.h"
#include "peer/tls.h"

#define RETRY_MS     1000
#define MAX_RETRY_MS (5 * 60 * 1000)
/* Well within what a server grants to a connection that nobody uses. */
#define PING_MS (60 * 1000)
#define PONG_MS (10 * 1000)
/* A certificate that has expired is noticed when the connection is made anew. */
#define MAX_AGE_US ((gint64)60 * 60 * G_USEC_PER_SEC)

/* Line: one peer's. */
typedef struct {
    VfoPeerPool *pool; /* NULL: gone */
    VfoPeerAddress address;
    GTlsDatabase *database; /* what the connection was made with */
    GTlsCertificate *certificate;
    GCancellable *dialling; /* NULL: no connection is being made */
    VfoQmpClient *client;   /* NULL: there is none */
    gint64 since_us;
    guint timer; /* until the next attempt, or the next ping */
    guint retry_ms;
} Line;

struct _VfoPeerPool {
    VfoTlsFiles tls;
    GPtrArray *lines; /* of Line */
    guint retry_ms, ping_ms;
    gboolean busy;
};

static gboolean on_time(gpointer data);

static void line_clear(gpointer data)
{
    Line *line = data;

    g_free(line->address.name);
    g_free(line->address.address);
    g_clear_object(&line->database);
    g_clear_object(&line->certificate);
}

static void line_unref(Line *line)
{
    g_rc_box_release_full(line, line_clear);
}

static void schedule(Line *line, guint ms)
{
    g_clear_handle_id(&line->timer, g_source_remove);
    if (!line->pool->busy)
        line->timer = g_timeout_add(ms, on_time, line);
}

static void retry(Line *line)
{
    schedule(line, line->retry_ms);
    line->retry_ms = MIN(line->retry_ms * 2, MAX_RETRY_MS);
}

static VfoQmpClient *steal_client(Line *line)
{
    VfoQmpClient *client = g_steal_pointer(&line->client);

    if (client)
        g_signal_handlers_disconnect_by_data(client, line);
    return client;
}

static void drop(Line *line, const char *reason)
{
    g_autoptr(VfoQmpClient) client = steal_client(line);

    if (!client)
        return;
    g_debug("peer %s: the spare connection is closed: %s", line->address.name, reason);
    vfo_qmp_client_close(client);
}

/* -------------------------------------------------------------- keeping it */

static void on_pong(GObject *source, GAsyncResult *result, gpointer data)
{
    Line *line = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) answer =
        vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &error);

    if (line->pool && VFO_QMP_CLIENT(source) == line->client) {
        /* To say that it does not know the command is an answer. */
        if (error && g_error_matches(error, VFO_ERROR, VFO_ERROR_DEADLINE)) {
            drop(line, error->message);
            retry(line);
        } else if (vfo_qmp_client_is_ready(line->client)) {
            /* One that is shut at once each time is not asked for each second. */
            if (g_get_monotonic_time() - line->since_us > (gint64)line->pool->ping_ms * 500)
                line->retry_ms = line->pool->retry_ms;
            schedule(line, line->pool->ping_ms);
        }
    }
    line_unref(line);
}

static void ping(Line *line)
{
    vfo_qmp_client_execute_async(line->client, "ping", NULL, PONG_MS, NULL, on_pong,
                                 g_rc_box_acquire(line));
}

/* --------------------------------------------------------------- making it */

static gboolean load(const Line *line, GTlsDatabase **database, GTlsCertificate **certificate,
                     GError **error)
{
    const VfoTlsFiles *tls = &line->pool->tls;

    return vfo_tls_load(tls->ca, tls->client_cert, tls->client_key, database, certificate, error);
}

/* vfo_tls_load() gives the same objects while the files are the same. */
static gboolean is_up_to_date(const Line *line)
{
    g_autoptr(GTlsDatabase) database = NULL;
    g_autoptr(GTlsCertificate) certificate = NULL;

    return load(line, &database, &certificate, NULL) && database == line->database &&
           certificate == line->certificate;
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    Line *line = data;

    drop(line, error->message);
    retry(line);
}

/* Takes @client, which is ready. */
static void keep(Line *line, VfoQmpClient *client)
{
    line->client = client;
    g_signal_connect(client, "closed", G_CALLBACK(on_closed), line);
}

static void on_dialled(GObject *source, GAsyncResult *result, gpointer data)
{
    Line *line = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoQmpClient) client = g_task_propagate_pointer(G_TASK(result), &error);

    if (!line->pool || !line->dialling) {
        /* given up in the meantime */
    } else if (!client || !vfo_qmp_client_is_ready(client)) {
        g_debug("peer %s: no spare connection: %s", line->address.name,
                error ? error->message : "closed at once");
        g_clear_object(&line->dialling);
        retry(line);
    } else {
        g_debug("peer %s: a spare connection is ready", line->address.name);
        g_clear_object(&line->dialling);
        line->since_us = g_get_monotonic_time();
        keep(line, g_steal_pointer(&client));
        /* The first message of a connection costs several times what the next ones do. */
        ping(line);
    }
    line_unref(line);
}

static void dial(Line *line)
{
    g_autoptr(GError) error = NULL;

    g_clear_object(&line->database);
    g_clear_object(&line->certificate);
    if (!load(line, &line->database, &line->certificate, &error)) {
        g_debug("peer %s: no spare connection: %s", line->address.name, error->message);
        retry(line);
        return;
    }
    line->dialling = g_cancellable_new();
    vfo_dial(&line->address, &line->pool->tls,
             g_task_new(NULL, line->dialling, on_dialled, g_rc_box_acquire(line)));
}

static void stop_dialling(Line *line)
{
    if (line->dialling)
        g_cancellable_cancel(line->dialling);
    g_clear_object(&line->dialling);
}

static gboolean on_time(gpointer data)
{
    Line *line = data;

    line->timer = 0;
    if (line->client && !is_up_to_date(line))
        drop(line, "the certificates have changed");
    else if (line->client && g_get_monotonic_time() - line->since_us > MAX_AGE_US)
        drop(line, "it is old");
    if (!line->client && !line->dialling)
        dial(line);
    else if (line->client)
        ping(line);
    return G_SOURCE_REMOVE;
}

/* ------------------------------------------------------------------ object */

VfoPeerPool *vfo_peer_pool_new(GPtrArray *peers, const VfoTlsFiles *tls)
{
    VfoPeerPool *pool = g_new0(VfoPeerPool, 1);

    vfo_tls_files_copy(&pool->tls, tls);
    pool->lines = g_ptr_array_new();
    for (guint i = 0; i < peers->len; i++) {
        const VfoPeerAddress *address = g_ptr_array_index(peers, i);
        Line *line = g_rc_box_new0(Line);

        line->pool = pool;
        line->address.name = g_strdup(address->name);
        line->address.address = g_strdup(address->address);
        line->address.port = address->port;
        g_ptr_array_add(pool->lines, line);
    }
    vfo_peer_pool_set_pace(pool, RETRY_MS, PING_MS);
    return pool;
}

void vfo_peer_pool_set_pace(VfoPeerPool *pool, guint retry_ms, guint ping_ms)
{
    pool->retry_ms = retry_ms;
    pool->ping_ms = ping_ms;
    for (guint i = 0; i < pool->lines->len; i++) {
        Line *line = g_ptr_array_index(pool->lines, i);

        line->retry_ms = retry_ms;
        schedule(line, line->client ? ping_ms : retry_ms);
    }
}

void vfo_peer_pool_set_busy(VfoPeerPool *pool, gboolean busy)
{
    if (pool->busy == busy)
        return;
    pool->busy = busy;
    for (guint i = 0; i < pool->lines->len; i++) {
        Line *line = g_ptr_array_index(pool->lines, i);

        stop_dialling(line);
        schedule(line, line->client ? pool->ping_ms : line->retry_ms);
    }
}

static Line *find_line(VfoPeerPool *pool, const char *name)
{
    for (guint i = 0; i < pool->lines->len; i++) {
        Line *line = g_ptr_array_index(pool->lines, i);

        if (g_str_equal(line->address.name, name))
            return line;
    }
    return NULL;
}

gboolean vfo_peer_pool_has(VfoPeerPool *pool, const char *name)
{
    const Line *line = find_line(pool, name);

    return line && line->client;
}

VfoQmpClient *vfo_peer_pool_take(VfoPeerPool *pool, const VfoPeerAddress *address)
{
    Line *line = find_line(pool, address->name);

    if (!line || !line->client || line->address.port != address->port ||
        !g_str_equal(line->address.address, address->address))
        return NULL;
    schedule(line, line->retry_ms);
    if (!is_up_to_date(line)) {
        drop(line, "the certificates have changed");
        return NULL;
    }
    g_debug("peer %s: the spare connection is used", line->address.name);
    return steal_client(line);
}

void vfo_peer_pool_give(VfoPeerPool *pool, const char *name, VfoQmpClient *client)
{
    Line *line = find_line(pool, name);

    if (!line || line->client || line->dialling || !vfo_qmp_client_is_ready(client)) {
        vfo_qmp_client_close(client);
        g_object_unref(client);
        return;
    }
    g_debug("peer %s: the spare connection is back", name);
    keep(line, client);
    schedule(line, pool->ping_ms);
}

void vfo_peer_pool_free(VfoPeerPool *pool)
{
    if (!pool)
        return;
    for (guint i = 0; i < pool->lines->len; i++) {
        Line *line = g_ptr_array_index(pool->lines, i);

        g_clear_handle_id(&line->timer, g_source_remove);
        stop_dialling(line);
        drop(line, "the daemon stops");
        line->pool = NULL;
        line_unref(line);
    }
    g_ptr_array_unref(pool->lines);
    vfo_tls_files_clear(&pool->tls);
    g_free(pool);
}
