/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include "qmp/code.h"
#include "qmp/link.h"

#include <string.h>

#define MAX_SESSIONS 64
#define MAX_ID       1024 /* bytes of a command's id, which may be any JSON value */

struct _VfoQmpServer {
    GObject parent;
    char *package;
    const VfoQmpCommand *commands;
    gpointer data;
    GPtrArray *sessions;
};

struct _VfoQmpSession {
    VfoQmpServer *server;
    VfoLink *link;
    char *name;
    gboolean may_change;
    gboolean negotiated;
    GPtrArray *calls; /* not owned: a call is freed by its answer */
};

struct _VfoQmpCall {
    VfoQmpSession *session; /* NULL: gone */
    json_object *id;        /* NULL: none (or JSON null) */
    gboolean has_id;
};

enum { SIGNAL_SESSION_CLOSED, N_SIGNALS };
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(VfoQmpServer, vfo_qmp_server, G_TYPE_OBJECT)

/* -------------------------------------------------------------- sessions */

static void session_free(gpointer data)
{
    VfoQmpSession *session = data;

    for (guint i = 0; i < session->calls->len; i++)
        ((VfoQmpCall *)session->calls->pdata[i])->session = NULL;
    g_ptr_array_unref(session->calls);
    g_clear_pointer(&session->link, vfo_link_close);
    g_free(session->name);
    g_free(session);
}

static void on_lost(gpointer owner, const GError *error)
{
    VfoQmpSession *session = owner;
    g_autoptr(VfoQmpServer) server = g_object_ref(session->server);
    guint index = 0;

    /* Clients may leave as they like. */
    if (g_error_matches(error, VFO_ERROR, VFO_ERROR_CLOSED) ||
        g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED))
        g_debug("%s: %s", session->name, error->message);
    else
        g_message("%s: the connection was closed: %s", session->name, error->message);
    for (guint i = 0; i < session->calls->len; i++)
        ((VfoQmpCall *)session->calls->pdata[i])->session = NULL;
    g_ptr_array_set_size(session->calls, 0);
    if (g_ptr_array_find(server->sessions, session, &index)) {
        g_ptr_array_steal_index_fast(server->sessions, index);
        g_signal_emit(server, signals[SIGNAL_SESSION_CLOSED], 0, session);
        session_free(session);
    }
}

static void send_answer(VfoQmpSession *session, const char *member, json_object *value,
                        gboolean has_id, json_object *id)
{
    g_autoptr(json_object) answer = json_object_new_object();

    json_object_object_add(answer, member, value);
    if (has_id)
        json_object_object_add(answer, "id", json_object_get(id));
    vfo_link_send(session->link, answer);
}

static void G_GNUC_PRINTF(5, 6) refuse(VfoQmpSession *session, gboolean has_id, json_object *id,
                                       VfoError code, const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    va_list args;

    va_start(args, format);
    error = g_error_new_valist(VFO_ERROR, (gint)code, format, args);
    va_end(args);
    send_answer(session, "error", vfo_code_to_json(error), has_id, id);
}

/* -------------------------------------------------------------- commands */

static json_object *list_commands(VfoQmpServer *server)
{
    static const char *const built_in[] = {"qmp_capabilities", "query-commands", NULL};
    json_object *list = json_object_new_array();

    for (guint i = 0; built_in[i]; i++) {
        json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(built_in[i]));
        json_object_array_add(list, entry);
    }
    for (const VfoQmpCommand *command = server->commands; command->name; command++) {
        json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(command->name));
        json_object_array_add(list, entry);
    }
    return list;
}

/* qmp-spec.rst, "Capabilities Negotiation": none is offered, so none can be enabled. */
static void negotiate(VfoQmpSession *session, json_object *arguments, gboolean has_id,
                      json_object *id)
{
    static const char *const members[] = {"enable", NULL};
    g_autoptr(GError) error = NULL;
    json_object *enable = NULL;

    if (session->negotiated) {
        refuse(session, has_id, id, VFO_ERROR_QMP_COMMAND_NOT_FOUND,
               "Capabilities negotiation is already complete, command ignored");
        return;
    }
    if (arguments &&
        (!vfo_json_only(arguments, members, "qmp_capabilities", &error) ||
         (vfo_json_has(arguments, "enable") &&
          !vfo_json_array(arguments, "enable", "qmp_capabilities", 0, &enable, &error)))) {
        refuse(session, has_id, id, VFO_ERROR_QMP_GENERIC, "%s; no capability is offered",
               error->message);
        return;
    }
    session->negotiated = TRUE;
    send_answer(session, "return", json_object_new_object(), has_id, id);
}

static void call_handler(VfoQmpSession *session, const VfoQmpCommand *command,
                         json_object *arguments, gboolean has_id, json_object *id)
{
    VfoQmpCall *call = g_new0(VfoQmpCall, 1);
    g_autoptr(json_object) given =
        arguments ? json_object_get(arguments) : json_object_new_object();

    call->session = session;
    call->id = json_object_get(id);
    call->has_id = has_id;
    g_ptr_array_add(session->calls, call);
    command->handler(call, given, session->server->data);
}

static void dispatch(VfoQmpSession *session, const char *name, json_object *arguments,
                     gboolean has_id, json_object *id)
{
    if (strcmp(name, "qmp_capabilities") == 0) {
        negotiate(session, arguments, has_id, id);
        return;
    }
    if (!session->negotiated) {
        refuse(session, has_id, id, VFO_ERROR_QMP_COMMAND_NOT_FOUND,
               "Expecting capabilities negotiation with 'qmp_capabilities'");
        return;
    }
    if (strcmp(name, "query-commands") == 0) {
        send_answer(session, "return", list_commands(session->server), has_id, id);
        return;
    }
    for (const VfoQmpCommand *command = session->server->commands; command->name; command++) {
        if (strcmp(name, command->name) != 0)
            continue;
        if (command->changes && !session->may_change)
            refuse(session, has_id, id, VFO_ERROR_DENIED,
                   "%s: %s changes things, for which this user has no right; root has it, and the "
                   "[daemon] admin-group",
                   session->name, name);
        else
            call_handler(session, command, arguments, has_id, id);
        return;
    }
    {
        g_autofree char *cut = g_utf8_substring(name, 0, MIN(g_utf8_strlen(name, -1), 64));

        refuse(session, has_id, id, VFO_ERROR_QMP_COMMAND_NOT_FOUND,
               "The command %s has not been found", cut);
    }
}

static void on_message(gpointer owner, json_object *message)
{
    static const char *const members[] = {"execute", "arguments", "id", NULL};
    VfoQmpSession *session = owner;
    g_autoptr(VfoQmpServer) alive = g_object_ref(session->server);
    g_autoptr(GError) error = NULL;
    json_object *arguments = NULL;
    json_object *id = NULL;
    const char *name = NULL;
    gboolean has_id = json_object_object_get_ex(message, "id", &id);

    if (has_id && strlen(json_object_to_json_string_ext(id, JSON_C_TO_STRING_PLAIN)) > MAX_ID) {
        refuse(session, FALSE, NULL, VFO_ERROR_PROTOCOL, "an id may have %d bytes, this has more",
               MAX_ID);
        return;
    }
    if (json_object_object_get_ex(message, "exec-oob", NULL)) {
        refuse(session, has_id, id, VFO_ERROR_QMP_GENERIC,
               "Out-of-band execution is not enabled: send 'execute'");
        return;
    }
    if (!vfo_json_only(message, members, "QMP input", &error) ||
        !vfo_json_string(message, "execute", "QMP input", &name, &error) ||
        (json_object_object_get_ex(message, "arguments", NULL) &&
         !vfo_json_object(message, "arguments", "QMP input", &arguments, &error))) {
        refuse(session, has_id, id, VFO_ERROR_QMP_GENERIC, "%s", error->message);
        return;
    }
    if (session->calls->len >= VFO_QMP_MAX_IN_FLIGHT) {
        refuse(session, has_id, id, VFO_ERROR_PROTOCOL,
               "%s: %d commands wait for their answer already; the connection is closed",
               session->name, VFO_QMP_MAX_IN_FLIGHT);
        vfo_link_finish(session->link);
        return;
    }
    dispatch(session, name, arguments, has_id, id);
}

static void on_garbage(gpointer owner, const GError *error, gboolean over)
{
    VfoQmpSession *session = owner;

    if (!over) {
        refuse(session, FALSE, NULL, VFO_ERROR_QMP_GENERIC, "%s", error->message);
        return;
    }
    g_message("%s: %s; the connection is closed", session->name, error->message);
    refuse(session, FALSE, NULL, VFO_ERROR_PROTOCOL, "%s; the connection is closed",
           error->message);
    vfo_link_finish(session->link);
}

/* ---------------------------------------------------------------- object */

static void vfo_qmp_server_init(VfoQmpServer *self)
{
    self->sessions = g_ptr_array_new_with_free_func(session_free);
}

static void vfo_qmp_server_finalize(GObject *object)
{
    VfoQmpServer *self = VFO_QMP_SERVER(object);

    g_ptr_array_unref(self->sessions);
    g_free(self->package);
    G_OBJECT_CLASS(vfo_qmp_server_parent_class)->finalize(object);
}

static void vfo_qmp_server_class_init(VfoQmpServerClass *class)
{
    G_OBJECT_CLASS(class)->finalize = vfo_qmp_server_finalize;
    signals[SIGNAL_SESSION_CLOSED] =
        g_signal_new("session-closed", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                     NULL, G_TYPE_NONE, 1, G_TYPE_POINTER);
}

VfoQmpServer *vfo_qmp_server_new(const char *package, const VfoQmpCommand *commands, gpointer data)
{
    VfoQmpServer *self = g_object_new(VFO_TYPE_QMP_SERVER, NULL);

    self->package = g_strdup(package);
    self->commands = commands;
    self->data = data;
    return self;
}

static void send_greeting(VfoQmpSession *session)
{
    g_autoptr(json_object) message = json_object_new_object();
    json_object *greeting = json_object_new_object();
    json_object *version = json_object_new_object();
    json_object *qemu = json_object_new_object();

    /* Clients made for QEMU read the three numbers; this is no QEMU. */
    json_object_object_add(qemu, "micro", json_object_new_int(0));
    json_object_object_add(qemu, "minor", json_object_new_int(0));
    json_object_object_add(qemu, "major", json_object_new_int(0));
    json_object_object_add(version, "qemu", qemu);
    json_object_object_add(version, "package", json_object_new_string(session->server->package));
    json_object_object_add(greeting, "version", version);
    json_object_object_add(greeting, "capabilities", json_object_new_array());
    json_object_object_add(message, "QMP", greeting);
    vfo_link_send(session->link, message);
}

VfoQmpSession *vfo_qmp_server_add(VfoQmpServer *self, GIOStream *stream, const char *name,
                                  gboolean may_change)
{
    static const VfoLinkHandlers handlers = {on_message, on_garbage, on_lost};
    VfoQmpSession *session;

    if (self->sessions->len >= MAX_SESSIONS) {
        g_message("%s: refused, %d sessions are open already", name, MAX_SESSIONS);
        return NULL;
    }
    session = g_new0(VfoQmpSession, 1);
    session->server = self;
    session->name = g_strdup(name);
    session->may_change = may_change;
    session->calls = g_ptr_array_new();
    session->link = vfo_link_new(stream, &handlers, session);
    g_ptr_array_add(self->sessions, session);
    send_greeting(session);
    return session;
}

static json_object *make_event(const char *name, json_object *data)
{
    gint64 now = g_get_real_time();
    json_object *event = json_object_new_object();
    json_object *timestamp = json_object_new_object();

    json_object_object_add(timestamp, "seconds", json_object_new_int64(now / G_USEC_PER_SEC));
    json_object_object_add(timestamp, "microseconds", json_object_new_int64(now % G_USEC_PER_SEC));
    json_object_object_add(event, "timestamp", timestamp);
    json_object_object_add(event, "event", json_object_new_string(name));
    if (data)
        json_object_object_add(event, "data", data);
    return event;
}

gboolean vfo_qmp_server_is_heard(VfoQmpServer *self)
{
    for (guint i = 0; i < self->sessions->len; i++)
        if (((VfoQmpSession *)self->sessions->pdata[i])->negotiated)
            return TRUE;
    return FALSE;
}

void vfo_qmp_server_emit(VfoQmpServer *self, const char *name, json_object *data)
{
    g_autoptr(json_object) event = make_event(name, data);

    for (guint i = 0; i < self->sessions->len; i++) {
        VfoQmpSession *session = self->sessions->pdata[i];

        if (session->negotiated)
            vfo_link_send(session->link, event);
    }
}

void vfo_qmp_session_emit(VfoQmpSession *session, const char *name, json_object *data)
{
    g_autoptr(json_object) event = make_event(name, data);

    if (session->negotiated)
        vfo_link_send(session->link, event);
}

void vfo_qmp_session_close(VfoQmpSession *session)
{
    vfo_link_finish(session->link);
}

const char *vfo_qmp_session_name(VfoQmpSession *session)
{
    return session->name;
}

VfoQmpSession *vfo_qmp_call_session(VfoQmpCall *call)
{
    return call->session;
}

static void answer_call(VfoQmpCall *call, const char *member, json_object *value)
{
    if (call->session) {
        send_answer(call->session, member, value, call->has_id, call->id);
        g_ptr_array_remove_fast(call->session->calls, call);
    } else {
        json_object_put(value);
    }
    json_object_put(call->id);
    g_free(call);
}

void vfo_qmp_call_return(VfoQmpCall *call, json_object *value)
{
    answer_call(call, "return", value ? value : json_object_new_object());
}

void vfo_qmp_call_fail(VfoQmpCall *call, GError *error)
{
    g_autoptr(GError) owned = error;

    answer_call(call, "error", vfo_code_to_json(owned));
}
