/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of qmp/: the wire protocol of QEMU's monitor (docs/interop/qmp-spec.rst
 * of QEMU 10.0), as a client of QEMU and of other daemons, and as the server
 * behind the control socket and the peer port. Nothing here blocks.
 */
#pragma once

#include <gio/gio.h>
#include <json-c/json.h>

#include "core/core.h"

/* Bounds on what the other end may send. Beyond them the connection is closed
 * with VFO_ERROR_PROTOCOL. */
#define VFO_QMP_MAX_LINE      (1024 * 1024)     /* bytes, the newline included */
#define VFO_QMP_MAX_DEPTH     32                /* nested objects and arrays */
#define VFO_QMP_MAX_IN_FLIGHT 256               /* commands without an answer, each way */
#define VFO_QMP_MAX_UNSENT    (4 * 1024 * 1024) /* bytes that the other end does not read */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object, json_object_put)

/* ---------------------------------------------------------------- client */

#define VFO_TYPE_QMP_CLIENT (vfo_qmp_client_get_type())
G_DECLARE_FINAL_TYPE(VfoQmpClient, vfo_qmp_client, VFO, QMP_CLIENT, GObject)

/*
 * Signals, on the thread-default main context in which the client was made:
 *   "ready"  (client)                       greeting read, capabilities negotiated
 *   "event"  (client, const char *name, json_object *data, gint64 timestamp_us)
 *                                           data may be NULL; both are borrowed
 *   "closed" (client, const GError *error)  every command in flight has failed
 */

/**
 * vfo_qmp_client_new_unix: a client of the Unix socket @path, which begins to
 * connect when the loop runs. With @reconnect it tries again, 100 ms to 5 s
 * apart, whenever the connection is lost or could not be made; "closed" is
 * emitted once per loss (not for each failed try). @name is what errors call
 * the other end ("VM web1").
 */
VfoQmpClient *vfo_qmp_client_new_unix(const char *name, const char *path, gboolean reconnect);

/** vfo_qmp_client_new_stream: a client over a connection that is already made
 *  (TLS to another daemon). Takes its own reference of @stream. */
VfoQmpClient *vfo_qmp_client_new_stream(const char *name, GIOStream *stream);

/** vfo_qmp_client_set_greeting_timeout: how long the other end may take, once connected, until the
 *  client is ready; 10 s unless set. QEMU accepts a second client's connection but greets it only
 *  when the first has gone: VFO_ERROR_DEADLINE says so. */
void vfo_qmp_client_set_greeting_timeout(VfoQmpClient *client, guint ms);

/** vfo_qmp_client_is_ready: commands can be sent. */
gboolean vfo_qmp_client_is_ready(VfoQmpClient *client);

/** vfo_qmp_client_greeting: the "QMP" object of the greeting; NULL before "ready". Borrowed. */
json_object *vfo_qmp_client_greeting(VfoQmpClient *client);

/** vfo_qmp_client_peer_pid: the process behind a Unix socket (SO_PEERCRED); -1: unknown. */
pid_t vfo_qmp_client_peer_pid(VfoQmpClient *client);

/** vfo_qmp_client_is_unheard: nobody listened on the socket at the last try to connect. */
gboolean vfo_qmp_client_is_unheard(VfoQmpClient *client);

/** vfo_qmp_client_last_error: why it is not ready; NULL: it is, or has not tried yet. Borrowed. */
const GError *vfo_qmp_client_last_error(VfoQmpClient *client);

/**
 * vfo_qmp_client_execute_async: sends @command with @arguments (transfer full,
 * NULL: none) and waits for its answer, at most @timeout_ms (0: for ever).
 * Several may be in flight; answers are matched by id. A cancelled or timed-out
 * command's answer is dropped when it comes. Fails at once with
 * VFO_ERROR_CLOSED when the client is not ready.
 */
void vfo_qmp_client_execute_async(VfoQmpClient *client, const char *command, json_object *arguments,
                                  guint timeout_ms, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer data);

/** vfo_qmp_client_execute_finish: the "return" value (transfer full), which may be any JSON
 *  value; NULL with @error set on failure. The error of a QMP error answer has the
 *  VFO_ERROR_QMP_* code of its class, and names the other end and the command. JSON null is
 *  returned as an empty object. */
json_object *vfo_qmp_client_execute_finish(VfoQmpClient *client, GAsyncResult *result,
                                           GError **error);

/** vfo_qmp_client_close: closes for good; commands in flight fail; no more signals. */
void vfo_qmp_client_close(VfoQmpClient *client);

/* ---------------------------------------------------------------- server */

#define VFO_TYPE_QMP_SERVER (vfo_qmp_server_get_type())
G_DECLARE_FINAL_TYPE(VfoQmpServer, vfo_qmp_server, VFO, QMP_SERVER, GObject)

typedef struct _VfoQmpSession VfoQmpSession; /* one connected client */
typedef struct _VfoQmpCall VfoQmpCall;       /* one command waiting for its answer */

/** VfoQmpHandler: answers @call now or later with vfo_qmp_call_return() or _fail(). */
typedef void (*VfoQmpHandler)(VfoQmpCall *call, json_object *arguments, gpointer data);

typedef struct {
    const char *name;
    gboolean changes; /* needs a session that may change things */
    VfoQmpHandler handler;
} VfoQmpCommand;

/**
 * vfo_qmp_server_new: a server that offers @commands (ended by a NULL name) to
 * the sessions it is given; qmp_capabilities and query-commands are built in.
 * @arguments given to a handler is never NULL and always an object.
 * @package goes into the greeting as QEMU's does ({"QMP": {"version": {...}}}).
 */
VfoQmpServer *vfo_qmp_server_new(const char *package, const VfoQmpCommand *commands, gpointer data);

/** vfo_qmp_server_add: serves @stream (own reference taken) as a session called @name; at most 64
 *  sessions, further ones are closed with a line in the log. Returns the session (owned by the
 *  server, valid until "session-closed") or NULL. */
VfoQmpSession *vfo_qmp_server_add(VfoQmpServer *server, GIOStream *stream, const char *name,
                                  gboolean may_change);

/* Signal "session-closed" (server, VfoQmpSession *session): the session is freed after it; its
 * calls have no session any more. Not emitted for sessions that end with the server. */

/** vfo_qmp_server_is_heard: some session would get an event; else there is no need to make one. */
gboolean vfo_qmp_server_is_heard(VfoQmpServer *server);

/** vfo_qmp_server_emit: sends an event to every session. @data (transfer full, NULL: none). */
void vfo_qmp_server_emit(VfoQmpServer *server, const char *event, json_object *data);

/** vfo_qmp_session_emit: sends an event to one session. */
void vfo_qmp_session_emit(VfoQmpSession *session, const char *event, json_object *data);

/** vfo_qmp_session_name: as given to vfo_qmp_server_add(). Borrowed. */
const char *vfo_qmp_session_name(VfoQmpSession *session);

VfoQmpSession *vfo_qmp_call_session(VfoQmpCall *call); /* NULL once the session is gone */

/** vfo_qmp_session_close: sends what is queued, reads nothing more, and closes ("session-closed"
 *  follows) when the other end has closed or 2 s have passed. */
void vfo_qmp_session_close(VfoQmpSession *session);

/** vfo_qmp_call_return: answers with @value (transfer full, NULL: {}) and frees @call. */
void vfo_qmp_call_return(VfoQmpCall *call, json_object *value);

/** vfo_qmp_call_fail: answers with @error (transfer full) and frees @call. The class is the
 *  one of a VFO_ERROR_QMP_* code, GenericError otherwise; the code's own name goes
 *  into error.data.code ("not-found", "busy", ...), from which the client restores it. */
void vfo_qmp_call_fail(VfoQmpCall *call, GError *error);

/* ------------------------------------------------- reading foreign objects */

/** vfo_json_parse: one JSON object, VFO_QMP_MAX_DEPTH deep at most, and nothing after it; NULL with
 *  VFO_ERROR_INVALID: it is none. The caller bounds @length, in bytes. The result is the caller's
 *  (json_object_put). */
json_object *vfo_json_parse(const char *text, gsize length, GError **error);

/*
 * Members of objects that came from outside. Each returns FALSE with
 * VFO_ERROR_INVALID, naming @where and the member, when it is missing or of
 * another type or out of bounds. Strings are borrowed from @object.
 */
gboolean vfo_json_string(json_object *object, const char *member, const char *where,
                         const char **value, GError **error);
gboolean vfo_json_int(json_object *object, const char *member, const char *where, gint64 min,
                      gint64 max, gint64 *value, GError **error);
gboolean vfo_json_bool(json_object *object, const char *member, const char *where, gboolean *value,
                       GError **error);
gboolean vfo_json_object(json_object *object, const char *member, const char *where,
                         json_object **value, GError **error);
gboolean vfo_json_array(json_object *object, const char *member, const char *where, guint max,
                        json_object **value, GError **error);
/** vfo_json_has: the member is there and not null. */
gboolean vfo_json_has(json_object *object, const char *member);
/** vfo_json_only: VFO_ERROR_INVALID naming the first member of @object that is not in @members
 *  (ended by NULL), as QMP does for an unexpected parameter. */
gboolean vfo_json_only(json_object *object, const char *const *members, const char *where,
                       GError **error);
