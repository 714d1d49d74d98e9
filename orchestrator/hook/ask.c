/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hook/hook.h"

#include "qmp/qmp.h"

#define COMMAND "libvirt-hook"
#define DAEMON  "vfailoverd"

/* The daemon has the deadline; what is longer than this is a daemon that hangs. */
#define GRACE_MS    2000
#define GREETING_MS 5000

typedef struct {
    GMainLoop *loop;
    json_object *request;
    guint deadline_ms;
    json_object *answer;
    GError *error;
} Ask;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Ask *ask = data;

    ask->answer = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &ask->error);
    g_main_loop_quit(ask->loop);
}

static void on_ready(VfoQmpClient *client, gpointer data)
{
    Ask *ask = data;

    vfo_qmp_client_execute_async(client, COMMAND, g_steal_pointer(&ask->request),
                                 ask->deadline_ms + GRACE_MS, NULL, on_answer, ask);
}

static void on_closed(VfoQmpClient *client, const GError *error, gpointer data)
{
    Ask *ask = data;

    /* A command under way has failed with it already. A deadline is that of the greeting, and its
     * text is about monitors of VMs. */
    if (!ask->answer && !ask->error)
        ask->error =
            g_error_matches(error, VFO_ERROR, VFO_ERROR_DEADLINE)
                ? g_error_new(VFO_ERROR, VFO_ERROR_DEADLINE,
                              "it takes connections and says nothing: it hangs; restart it")
                : g_error_copy(error);
    g_main_loop_quit(ask->loop);
}

static json_object *make_request(const HookEvent *event)
{
    json_object *request = json_object_new_object();

    json_object_object_add(request, "domain", json_object_new_string(event->domain));
    json_object_object_add(request, "operation", json_object_new_string(event->operation));
    json_object_object_add(request, "sub-operation", json_object_new_string(event->sub_operation));
    json_object_object_add(request, "extra", json_object_new_string(event->extra));
    json_object_object_add(request, "xml", json_object_new_string(event->xml));
    return request;
}

/* Escaped it may be longer than the control socket takes. */
static gboolean fits(json_object *request, GError **error)
{
    gsize length = 0;

    json_object_to_json_string_length(
        request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    if (length < VFO_QMP_MAX_LINE - 1024)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                "the domain's XML is too long for the control socket of vfailoverd");
    return FALSE;
}

static gboolean take_answer(json_object *answer, char **xml, GError **error)
{
    static const char *const members[] = {"xml", NULL};
    const char *text;

    if (!vfo_json_only(answer, members, "answer of " DAEMON, error))
        return FALSE;
    if (!vfo_json_has(answer, "xml"))
        return TRUE;
    if (!vfo_json_string(answer, "xml", "answer of " DAEMON, &text, error))
        return FALSE;
    *xml = g_strdup(text);
    return TRUE;
}

/* What the daemon itself says comes after its name and the command's; all else is that it does not
 * answer. Who reads it need not know of clients and commands. */
static void explain(const GError *why, GError **error)
{
    static const char name[] = DAEMON ": ", said[] = DAEMON ": " COMMAND ": ";

    if (g_str_has_prefix(why->message, said))
        g_set_error_literal(error, VFO_ERROR,
                            why->code == HOOK_NO_DAEMON ? VFO_ERROR_FAILED : why->code,
                            why->message + strlen(said));
    else
        g_set_error_literal(error, VFO_ERROR, HOOK_NO_DAEMON,
                            g_str_has_prefix(why->message, name) ? why->message + strlen(name)
                                                                 : why->message);
}

gboolean hook_ask(const HookSettings *settings, const HookEvent *event, char **xml, GError **error)
{
    Ask ask = {.request = make_request(event), .deadline_ms = settings->deadline_ms};
    VfoQmpClient *client;
    gboolean ok = FALSE;

    if (!fits(ask.request, error)) {
        json_object_put(ask.request);
        return FALSE;
    }
    ask.loop = g_main_loop_new(NULL, FALSE);
    client = vfo_qmp_client_new_unix(DAEMON, settings->socket, FALSE);
    vfo_qmp_client_set_greeting_timeout(client, MIN(settings->deadline_ms, GREETING_MS));
    g_signal_connect(client, "ready", G_CALLBACK(on_ready), &ask);
    g_signal_connect(client, "closed", G_CALLBACK(on_closed), &ask);
    g_main_loop_run(ask.loop);
    if (ask.error)
        explain(ask.error, error);
    else
        ok = take_answer(ask.answer, xml, error);
    json_object_put(ask.request);
    json_object_put(ask.answer);
    g_clear_error(&ask.error);
    vfo_qmp_client_close(client);
    g_object_unref(client);
    g_main_loop_unref(ask.loop);
    return ok;
}
