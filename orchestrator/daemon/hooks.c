/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libvirt's hook tells, and what it is told: https://libvirt.org/hooks.html. libvirt waits for
 * each answer; nothing here may call it.
 */
#include "daemon/daemon.h"

struct _VfoHooks {
    const VfoConfig *config;
    VfoOwners *owners;
    VfoArrivals *arrivals;
};

VfoHooks *vfo_hooks_new(const VfoConfig *config, VfoOwners *owners, VfoArrivals *arrivals)
{
    VfoHooks *hooks = g_new0(VfoHooks, 1);

    hooks->config = config;
    hooks->owners = owners;
    hooks->arrivals = arrivals;
    return hooks;
}

void vfo_hooks_free(VfoHooks *hooks)
{
    g_free(hooks);
}

/* -------------------------------------------------------------- operations */

static void answer(VfoQmpCall *call, gboolean ok, GError *error)
{
    if (ok)
        vfo_qmp_call_return(call, NULL);
    else
        vfo_qmp_call_fail(call, error);
}

static void on_migrate(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    vfo_arrivals_begin(hooks->arrivals, call, domain, xml);
}

static void on_prepare(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    GError *error = NULL;
    gboolean ok = vfo_arrivals_has(hooks->arrivals, domain)
                      ? vfo_arrivals_prepare(hooks->arrivals, domain, &error)
                      : vfo_owners_prepare(hooks->owners, domain, &error);

    answer(call, ok, error);
}

static void on_start(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    GError *error = NULL;
    gboolean ok;

    if (vfo_arrivals_has(hooks->arrivals, domain)) {
        vfo_arrivals_start(hooks->arrivals, call, domain);
        return;
    }
    ok = vfo_owners_start(hooks->owners, domain, &error);
    answer(call, ok, error);
}

static void on_started(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    vfo_owners_started(hooks->owners, domain);
    vfo_qmp_call_return(call, NULL);
}

/* The answer to "release", and the deadline of the resets that it waits for. */
typedef struct {
    VfoQmpCall *call;
    GCancellable *cancellable;
    guint timer;
} Released;

static gboolean on_release_deadline(gpointer data)
{
    Released *released = data;

    released->timer = 0;
    g_cancellable_cancel(released->cancellable);
    return G_SOURCE_REMOVE;
}

static void on_released(GObject *source, GAsyncResult *result, gpointer data)
{
    Released *released = data;
    GError *error = NULL;
    gboolean ok = g_task_propagate_boolean(G_TASK(result), &error);

    g_clear_handle_id(&released->timer, g_source_remove);
    g_object_unref(released->cancellable);
    answer(released->call, ok, error);
    g_free(released);
}

static void on_release(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    Released *released = g_new0(Released, 1);
    GTask *task;

    released->call = call;
    released->cancellable = g_cancellable_new();
    released->timer = g_timeout_add(hooks->config->hook_ms, on_release_deadline, released);
    task = g_task_new(NULL, released->cancellable, on_released, released);
    g_task_set_check_cancellable(task, FALSE);
    vfo_owners_release(hooks->owners, domain, task);
}

static void return_xml(VfoQmpCall *call, const char *xml)
{
    json_object *value = json_object_new_object();

    json_object_object_add(value, "xml", json_object_new_string(xml));
    vfo_qmp_call_return(call, value);
}

static void on_restore(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml)
{
    GError *error = NULL;
    g_autofree char *changed = vfo_owners_restore(hooks->owners, domain, xml, &error);

    if (!changed)
        vfo_qmp_call_fail(call, error);
    /* A domain whose XML a hook has changed is tainted for libvirt. */
    else if (g_str_equal(changed, xml))
        vfo_qmp_call_return(call, NULL);
    else
        return_xml(call, changed);
}

/* ---------------------------------------------------------------- dispatch */

static const struct {
    const char *operation, *sub_operation;
    void (*run)(VfoHooks *hooks, VfoQmpCall *call, const VfoDomain *domain, const char *xml);
} operations[] = {
    {"migrate", "begin", on_migrate}, {"restore", "begin", on_restore},
    {"prepare", "begin", on_prepare}, {"start", "begin", on_start},
    {"started", "begin", on_started}, {"release", "end", on_release},
};

typedef struct {
    const char *domain, *operation, *sub_operation, *extra, *xml;
} Arguments;

static gboolean read_arguments(json_object *from, Arguments *arguments, GError **error)
{
    static const char *const members[] = {"domain", "operation", "sub-operation",
                                          "extra",  "xml",       NULL};

    return vfo_json_only(from, members, "arguments", error) &&
           vfo_json_string(from, "domain", "arguments", &arguments->domain, error) &&
           vfo_json_string(from, "operation", "arguments", &arguments->operation, error) &&
           vfo_json_string(from, "sub-operation", "arguments", &arguments->sub_operation, error) &&
           vfo_json_string(from, "extra", "arguments", &arguments->extra, error) &&
           vfo_json_string(from, "xml", "arguments", &arguments->xml, error);
}

void vfo_hooks_call(VfoHooks *hooks, VfoQmpCall *call, json_object *from)
{
    Arguments arguments;
    g_autoptr(VfoDomain) domain = NULL;
    GError *error = NULL;

    if (read_arguments(from, &arguments, &error))
        domain = vfo_domain_parse(arguments.xml, strlen(arguments.xml), &error);
    if (domain && !g_str_equal(domain->name, arguments.domain)) {
        g_set_error(&error, VFO_ERROR, VFO_ERROR_INVALID,
                    "arguments: 'domain' is not the one that 'xml' describes, %s", domain->name);
        g_clear_pointer(&domain, vfo_domain_free);
    }
    if (!domain) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(operations); i++) {
        if (g_str_equal(arguments.operation, operations[i].operation) &&
            g_str_equal(arguments.sub_operation, operations[i].sub_operation)) {
            operations[i].run(hooks, call, domain, arguments.xml);
            return;
        }
    }
    vfo_qmp_call_return(call, NULL);
}
