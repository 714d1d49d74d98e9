/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include "qmp/code.h"
#include "qmp/link.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/un.h>

#define GREETING_MS    10000
#define MIN_BACKOFF_MS 100
#define MAX_BACKOFF_MS 5000

/* The id of qmp_capabilities; commands count from 1. */
#define NEGOTIATION_ID 0

typedef enum {
    STATE_WAITING,     /* until the next try to connect */
    STATE_CONNECTING,  /* connect(2) is under way */
    STATE_GREETING,    /* the greeting has not come */
    STATE_NEGOTIATING, /* nor the answer to qmp_capabilities */
    STATE_READY,
    STATE_LOST,   /* for good */
    STATE_CLOSED, /* by our side */
} State;

struct _VfoQmpClient {
    GObject parent;
    char *name;
    char *path; /* NULL: a stream that cannot be made again */
    gboolean reconnect;
    GMainContext *context;
    State state;
    gboolean unheard; /* nobody listened at the last try to connect */
    gboolean told;    /* "closed" was emitted for the present loss */
    GCancellable *connecting;
    VfoLink *link;
    GSource *timer; /* the next try, or the deadline of the greeting */
    guint backoff_ms;
    guint greeting_ms;
    json_object *greeting;
    pid_t peer_pid;
    GError *last_error;
    gint64 last_id;
    GHashTable *commands; /* gint64 -> Command, sent and not answered */
};

/* A command without a task has timed out or was cancelled: its answer will be dropped. */
typedef struct {
    gint64 id;
    VfoQmpClient *client; /* kept by the task */
    char *name;
    guint timeout_ms;
    GTask *task;
    GSource *timeout;
    GSource *cancelled;
} Command;

enum { SIGNAL_READY, SIGNAL_EVENT, SIGNAL_CLOSED, N_SIGNALS };
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(VfoQmpClient, vfo_qmp_client, G_TYPE_OBJECT)

static gboolean on_try(gpointer data);

/* -------------------------------------------------------------- commands */

static void command_free(gpointer data)
{
    Command *command = data;

    vfo_source_stop(&command->timeout);
    vfo_source_stop(&command->cancelled);
    g_clear_object(&command->task);
    g_free(command->name);
    g_free(command);
}

/* Ends the wait. The task's callback may close the client, which frees @command. */
static void command_give_up(Command *command, GError *error)
{
    g_autoptr(GTask) task = g_steal_pointer(&command->task);

    vfo_source_stop(&command->timeout);
    vfo_source_stop(&command->cancelled);
    g_task_return_error(task, error);
}

static gboolean on_command_timeout(gpointer data)
{
    Command *command = data;

    command_give_up(command,
                    g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                                "%s: no answer to %s within %u ms; is it stuck?",
                                command->client->name, command->name, command->timeout_ms));
    return G_SOURCE_REMOVE;
}

static gboolean on_command_cancelled(GCancellable *cancellable, gpointer data)
{
    Command *command = data;

    command_give_up(command, g_error_new(G_IO_ERROR, G_IO_ERROR_CANCELLED, "%s: %s was cancelled",
                                         command->client->name, command->name));
    return G_SOURCE_REMOVE;
}

/* Callbacks may send, close or drop the client: the table is emptied first. */
static void fail_commands(VfoQmpClient *self, const GError *error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(command_free);
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->commands);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        g_hash_table_iter_steal(&iter);
        g_ptr_array_add(all, value);
    }
    for (guint i = 0; i < all->len; i++) {
        Command *command = all->pdata[i];

        if (command->task)
            command_give_up(command,
                            g_error_new(error->domain, error->code, "%s (%s had no answer)",
                                        error->message, command->name));
    }
}

/* ------------------------------------------------------------ connection */

static void drop_connection(VfoQmpClient *self)
{
    vfo_source_stop(&self->timer);
    g_clear_pointer(&self->link, vfo_link_close);
    g_clear_pointer(&self->greeting, json_object_put);
    self->peer_pid = -1;
}

/* The connection is gone or could not be made. Takes @error. */
static void lose(VfoQmpClient *self, GError *error)
{
    g_autoptr(VfoQmpClient) alive = g_object_ref(self);
    g_autoptr(GError) reason = error;

    drop_connection(self);
    g_clear_error(&self->last_error);
    self->last_error = g_error_copy(reason);
    if (self->reconnect) {
        self->state = STATE_WAITING;
        self->timer = vfo_timer_start(self->context, self->backoff_ms, on_try, self);
        self->backoff_ms = MIN(self->backoff_ms * 2, MAX_BACKOFF_MS);
    } else {
        self->state = STATE_LOST;
    }
    fail_commands(self, reason);
    if (self->state == STATE_CLOSED || self->told)
        return;
    self->told = TRUE;
    g_signal_emit(self, signals[SIGNAL_CLOSED], 0, reason);
}

static void lose_protocol(VfoQmpClient *self, const char *what)
{
    lose(self, g_error_new(VFO_ERROR, VFO_ERROR_PROTOCOL, "%s does not speak QMP as it should: %s",
                           self->name, what));
}

static gboolean on_greeting_timeout(gpointer data)
{
    VfoQmpClient *self = data;

    if (self->state == STATE_GREETING)
        lose(self,
             g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                         "%s: no QMP greeting within %.3g s: another client probably holds the "
                         "monitor, which serves one at a time; give vfailover a monitor of its own",
                         self->name, self->greeting_ms / 1000.0));
    else
        lose(self, g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                               "%s: no answer to qmp_capabilities within %.3g s; is it stuck?",
                               self->name, self->greeting_ms / 1000.0));
    return G_SOURCE_REMOVE;
}

static void send_command(VfoQmpClient *self, const char *name, json_object *arguments, gint64 id)
{
    g_autoptr(json_object) message = json_object_new_object();

    json_object_object_add(message, "execute", json_object_new_string(name));
    if (arguments)
        json_object_object_add(message, "arguments", arguments);
    json_object_object_add(message, "id", json_object_new_int64(id));
    vfo_link_send(self->link, message);
}

static void on_greeting(VfoQmpClient *self, json_object *message)
{
    json_object *greeting = NULL;

    if (!vfo_json_object(message, "QMP", "greeting", &greeting, NULL)) {
        lose_protocol(self, "its first message is no greeting");
        return;
    }
    self->greeting = json_object_get(greeting);
    self->state = STATE_NEGOTIATING;
    send_command(self, "qmp_capabilities", NULL, NEGOTIATION_ID);
}

/* ---------------------------------------------------- messages of the other end */

static void on_event(VfoQmpClient *self, json_object *message)
{
    const char *name = NULL;
    json_object *data = NULL;
    json_object *timestamp = NULL;
    gint64 seconds = 0;
    gint64 us = 0;

    if (!vfo_json_string(message, "event", "event", &name, NULL)) {
        lose_protocol(self, "an event without a name");
        return;
    }
    if (json_object_object_get_ex(message, "data", &data) &&
        !json_object_is_type(data, json_type_object)) {
        lose_protocol(self, "an event whose data is no object");
        return;
    }
    /* QEMU sends -1 when its host's clock fails: no time is no reason to lose the event. */
    if (!vfo_json_object(message, "timestamp", "event", &timestamp, NULL) ||
        !vfo_json_int(timestamp, "seconds", "timestamp", 0, G_MAXINT64 / G_USEC_PER_SEC - 1,
                      &seconds, NULL) ||
        !vfo_json_int(timestamp, "microseconds", "timestamp", 0, G_USEC_PER_SEC - 1, &us, NULL))
        seconds = us = 0;
    /* Nobody has asked. What waits for this event presses when it goes on. */
    vfo_stopwatch_spare();
    if (self->state == STATE_READY)
        g_signal_emit(self, signals[SIGNAL_EVENT], 0, name, data, seconds * G_USEC_PER_SEC + us);
}

static void on_negotiated(VfoQmpClient *self, json_object *failure)
{
    if (failure) {
        lose(self, vfo_code_from_json(failure, self->name, "qmp_capabilities"));
        return;
    }
    vfo_source_stop(&self->timer);
    g_clear_error(&self->last_error);
    self->backoff_ms = MIN_BACKOFF_MS;
    self->told = FALSE;
    self->state = STATE_READY;
    g_signal_emit(self, signals[SIGNAL_READY], 0);
}

static void put_value(gpointer value)
{
    json_object_put(value);
}

static void answer_command(VfoQmpClient *self, Command *command, json_object *value,
                           json_object *failure)
{
    g_autoptr(GTask) task = g_steal_pointer(&command->task);

    if (task && failure)
        g_task_return_error(task, vfo_code_from_json(failure, self->name, command->name));
    else if (task)
        g_task_return_pointer(task, value ? json_object_get(value) : json_object_new_object(),
                              put_value);
    command_free(command);
}

static void on_answer(VfoQmpClient *self, json_object *message)
{
    json_object *value = NULL;
    json_object *failure = NULL;
    gboolean has_value = json_object_object_get_ex(message, "return", &value);
    gboolean has_failure = json_object_object_get_ex(message, "error", &failure);
    gpointer command = NULL;
    gint64 id = -1;

    if (has_value == has_failure) {
        lose_protocol(self, "a message that is neither an event nor an answer");
        return;
    }
    if (has_failure && !json_object_is_type(failure, json_type_object)) {
        lose_protocol(self, "an error that is no object");
        return;
    }
    if (!vfo_json_has(message, "id") && has_failure) {
        /* Answers without an id are to what could not be parsed. */
        lose(self, vfo_code_from_json(failure, self->name, "a message of ours"));
        return;
    }
    if (!vfo_json_int(message, "id", "answer", NEGOTIATION_ID, G_MAXINT64, &id, NULL)) {
        lose_protocol(self, "an answer without a valid id");
        return;
    }
    if (self->state == STATE_NEGOTIATING && id == NEGOTIATION_ID)
        on_negotiated(self, failure);
    else if (g_hash_table_steal_extended(self->commands, &id, NULL, &command))
        answer_command(self, command, value, failure);
    else
        lose_protocol(self, "an answer to nothing that was asked");
}

static void on_message(gpointer owner, json_object *message)
{
    /* Whoever is told may drop the last reference. */
    g_autoptr(VfoQmpClient) self = g_object_ref(owner);

    if (self->state == STATE_GREETING)
        on_greeting(self, message);
    else if (json_object_object_get_ex(message, "event", NULL))
        on_event(self, message);
    else
        on_answer(self, message);
}

static void on_garbage(gpointer owner, const GError *error, gboolean over)
{
    lose_protocol(owner, error->message);
}

static void on_lost(gpointer owner, const GError *error)
{
    VfoQmpClient *self = owner;
    const char *when = self->state == STATE_READY ? "lost" : "ended before it was ready";

    lose(self,
         g_error_new(VFO_ERROR,
                     g_error_matches(error, VFO_ERROR, VFO_ERROR_PROTOCOL) ? VFO_ERROR_PROTOCOL
                                                                           : VFO_ERROR_CLOSED,
                     "%s: the connection was %s: %s", self->name, when, error->message));
}

/* ------------------------------------------------------------ connecting */

static const VfoLinkHandlers link_handlers = {on_message, on_garbage, on_lost};

static void adopt_stream(VfoQmpClient *self, GIOStream *stream)
{
    if (G_IS_SOCKET_CONNECTION(stream)) {
        g_autoptr(GCredentials) credentials = g_socket_get_credentials(
            g_socket_connection_get_socket(G_SOCKET_CONNECTION(stream)), NULL);

        /* Only a Unix socket has credentials. */
        self->peer_pid = credentials ? g_credentials_get_unix_pid(credentials, NULL) : -1;
    }
    self->state = STATE_GREETING;
    self->link = vfo_link_new(stream, &link_handlers, self);
    self->timer = vfo_timer_start(self->context, self->greeting_ms, on_greeting_timeout, self);
}

static GError *connect_error(VfoQmpClient *self, const GError *error)
{
    VfoError code = VFO_ERROR_FAILED;
    const char *hint = "";

    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
        code = VFO_ERROR_NOT_FOUND;
        hint = "; is it running?";
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED)) {
        code = VFO_ERROR_CLOSED;
        hint = "; nobody listens there any more: is it running?";
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED)) {
        code = VFO_ERROR_DENIED;
        hint = "; check the socket's owner and mode";
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        code = VFO_ERROR_BUSY; /* unix(7): the listener's backlog is full */
        hint = "; other clients are waiting for it already";
    }
    return g_error_new(VFO_ERROR, (gint)code, "%s: cannot connect to %s: %s%s", self->name,
                       self->path, error->message, hint);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(VfoQmpClient) self = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_finish(G_SOCKET_CLIENT(source), result, &error);

    g_clear_object(&self->connecting);
    if (self->state == STATE_CLOSED)
        return;
    self->unheard = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) ||
                    g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
    if (connection)
        adopt_stream(self, G_IO_STREAM(connection));
    else
        lose(self, connect_error(self, error));
}

static gboolean on_try(gpointer data)
{
    VfoQmpClient *self = data;
    g_autoptr(GSocketClient) client = NULL;
    g_autoptr(GSocketAddress) address = NULL;

    vfo_source_stop(&self->timer);
    if (strlen(self->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        lose(self, g_error_new(VFO_ERROR, VFO_ERROR_INVALID,
                               "%s: the path of a socket may have %zu bytes, this has more: %s",
                               self->name, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
                               self->path));
        return G_SOURCE_REMOVE;
    }
    address = g_unix_socket_address_new(self->path);
    client = g_socket_client_new();
    g_socket_client_set_enable_proxy(client, FALSE);
    self->state = STATE_CONNECTING;
    self->connecting = g_cancellable_new();
    g_socket_client_connect_async(client, G_SOCKET_CONNECTABLE(address), self->connecting,
                                  on_connected, g_object_ref(self));
    return G_SOURCE_REMOVE;
}

/* ---------------------------------------------------------------- object */

static void vfo_qmp_client_init(VfoQmpClient *self)
{
    self->context = g_main_context_ref_thread_default();
    self->backoff_ms = MIN_BACKOFF_MS;
    self->greeting_ms = GREETING_MS;
    self->peer_pid = -1;
    self->commands = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, command_free);
}

static void vfo_qmp_client_dispose(GObject *object)
{
    vfo_qmp_client_close(VFO_QMP_CLIENT(object));
    G_OBJECT_CLASS(vfo_qmp_client_parent_class)->dispose(object);
}

static void vfo_qmp_client_finalize(GObject *object)
{
    VfoQmpClient *self = VFO_QMP_CLIENT(object);

    g_hash_table_unref(self->commands);
    g_main_context_unref(self->context);
    g_clear_error(&self->last_error);
    g_free(self->name);
    g_free(self->path);
    G_OBJECT_CLASS(vfo_qmp_client_parent_class)->finalize(object);
}

static void vfo_qmp_client_class_init(VfoQmpClientClass *class)
{
    GObjectClass *object_class = G_OBJECT_CLASS(class);
    GType type = G_TYPE_FROM_CLASS(class);

    object_class->dispose = vfo_qmp_client_dispose;
    object_class->finalize = vfo_qmp_client_finalize;
    signals[SIGNAL_READY] =
        g_signal_new("ready", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
    signals[SIGNAL_EVENT] =
        g_signal_new("event", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 3,
                     G_TYPE_STRING | G_SIGNAL_TYPE_STATIC_SCOPE, G_TYPE_POINTER, G_TYPE_INT64);
    signals[SIGNAL_CLOSED] =
        g_signal_new("closed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                     G_TYPE_ERROR | G_SIGNAL_TYPE_STATIC_SCOPE);
}

VfoQmpClient *vfo_qmp_client_new_unix(const char *name, const char *path, gboolean reconnect)
{
    VfoQmpClient *self = g_object_new(VFO_TYPE_QMP_CLIENT, NULL);

    self->name = g_strdup(name);
    self->path = g_strdup(path);
    self->reconnect = reconnect;
    self->timer = vfo_timer_start(self->context, 0, on_try, self);
    return self;
}

VfoQmpClient *vfo_qmp_client_new_stream(const char *name, GIOStream *stream)
{
    VfoQmpClient *self = g_object_new(VFO_TYPE_QMP_CLIENT, NULL);

    self->name = g_strdup(name);
    adopt_stream(self, stream);
    return self;
}

void vfo_qmp_client_set_greeting_timeout(VfoQmpClient *self, guint ms)
{
    self->greeting_ms = ms;
    if (self->state == STATE_GREETING || self->state == STATE_NEGOTIATING) {
        vfo_source_stop(&self->timer);
        self->timer = vfo_timer_start(self->context, ms, on_greeting_timeout, self);
    }
}

gboolean vfo_qmp_client_is_ready(VfoQmpClient *self)
{
    return self->state == STATE_READY;
}

json_object *vfo_qmp_client_greeting(VfoQmpClient *self)
{
    return self->state == STATE_READY ? self->greeting : NULL;
}

pid_t vfo_qmp_client_peer_pid(VfoQmpClient *self)
{
    return self->peer_pid;
}

gboolean vfo_qmp_client_is_unheard(VfoQmpClient *self)
{
    return self->unheard;
}

const GError *vfo_qmp_client_last_error(VfoQmpClient *self)
{
    return self->last_error;
}

static Command *command_new(VfoQmpClient *self, const char *name, guint timeout_ms, GTask *task)
{
    GCancellable *cancellable = g_task_get_cancellable(task);
    Command *command = g_new0(Command, 1);

    command->id = ++self->last_id;
    command->client = self;
    command->name = g_strdup(name);
    command->timeout_ms = timeout_ms;
    command->task = g_object_ref(task);
    if (timeout_ms > 0)
        command->timeout = vfo_timer_start(self->context, timeout_ms, on_command_timeout, command);
    if (cancellable) {
        command->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(command->cancelled, G_SOURCE_FUNC(on_command_cancelled), command,
                              NULL);
        g_source_attach(command->cancelled, self->context);
    }
    g_hash_table_insert(self->commands, &command->id, command);
    return command;
}

void vfo_qmp_client_execute_async(VfoQmpClient *self, const char *name, json_object *arguments,
                                  guint timeout_ms, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer data)
{
    g_autoptr(GTask) task = g_task_new(self, cancellable, callback, data);
    g_autoptr(json_object) owned = arguments;
    Command *command;

    g_task_set_source_tag(task, vfo_qmp_client_execute_async);
    if (g_task_return_error_if_cancelled(task))
        return;
    if (self->state != STATE_READY) {
        g_task_return_new_error(task, VFO_ERROR, VFO_ERROR_CLOSED,
                                "%s: %s was not sent, there is no connection: %s", self->name, name,
                                self->last_error ? self->last_error->message : "not made yet");
        return;
    }
    /* QEMU still owes the answers of those given up. */
    if (g_hash_table_size(self->commands) >= VFO_QMP_MAX_IN_FLIGHT) {
        g_task_return_new_error(task, VFO_ERROR, VFO_ERROR_BUSY,
                                "%s: %s was not sent, %d commands wait for their answer already",
                                self->name, name, VFO_QMP_MAX_IN_FLIGHT);
        return;
    }
    command = command_new(self, name, timeout_ms, task);
    send_command(self, name, g_steal_pointer(&owned), command->id);
}

json_object *vfo_qmp_client_execute_finish(VfoQmpClient *self, GAsyncResult *result, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, self), NULL);
    return g_task_propagate_pointer(G_TASK(result), error);
}

void vfo_qmp_client_close(VfoQmpClient *self)
{
    g_autoptr(GError) error = NULL;

    if (self->state == STATE_CLOSED)
        return;
    self->state = STATE_CLOSED;
    if (self->connecting)
        g_cancellable_cancel(self->connecting);
    drop_connection(self);
    error =
        g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "%s: the connection was closed here", self->name);
    g_clear_error(&self->last_error);
    self->last_error = g_error_copy(error);
    fail_commands(self, error);
}
