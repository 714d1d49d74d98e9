/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_GROUPS 1024

struct _VfoControl {
    VfoControlArgs args;
    VfoQmpServer *server;
    GSocketService *service;
    gid_t admin_gid; /* (gid_t)-1: none */
    gulong changed_handler;
    gulong progress_handler;
    VfoNotes *notes; /* for those who listen */
};

/* --------------------------------------------------------------- commands */

static gboolean only(VfoQmpCall *call, json_object *arguments, const char *const *members)
{
    GError *error = NULL;

    if (vfo_json_only(arguments, members, "arguments", &error))
        return TRUE;
    vfo_qmp_call_fail(call, error);
    return FALSE;
}

static const char *const no_members[] = {NULL};

static void query_vms(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    VfoControl *control = data;
    g_autoptr(GPtrArray) vms = NULL;
    json_object *list;

    if (!only(call, arguments, no_members))
        return;
    vms = vfo_vms_list(control->args.vms);
    list = json_object_new_array();
    for (guint i = 0; i < vms->len; i++)
        json_object_array_add(list, vfo_view_vm(g_ptr_array_index(vms, i), control->args.jobs,
                                                control->args.host, control->args.absences));
    vfo_qmp_call_return(call, list);
}

/* A VM that expects a VF, or has lost one, may name another VM's, or one that is free. */
static VfoVm *owner_of(const VfoControl *control, GPtrArray *vms, const VfoVf *vf)
{
    VfoVm *owner;
    const VfoPair *pair = vfo_inventory_owner(vms, vf->pci, &owner);

    return pair && !vf->opened && !vfo_leases_owned(control->args.leases, vf, NULL) ? NULL : owner;
}

static void query_vfs(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    VfoControl *control = data;
    VfoHost *host = control->args.host;
    g_autoptr(GPtrArray) vms = NULL;
    g_autoptr(GPtrArray) vfs = NULL;
    GError *error = NULL;
    json_object *list;

    if (!only(call, arguments, no_members))
        return;
    vfs = host->ops->list_vfs(host, &error);
    if (!vfs) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    vms = vfo_vms_list(control->args.vms);
    list = json_object_new_array();
    for (guint i = 0; i < vfs->len; i++) {
        const VfoVf *vf = g_ptr_array_index(vfs, i);
        const VfoVm *owner = owner_of(control, vms, vf);
        g_autoptr(GError) doubt = vfo_vf_doubt(vf, control->args.leases, NULL);
        const VfoVfUse use = {.owner = owner ? owner->name : NULL,
                              .lease = vfo_leases_holder(control->args.leases, vf->pci),
                              .unclean = vfo_leases_unclean(control->args.leases, vf->pci, NULL),
                              .doubt = doubt};

        json_object_array_add(list, vfo_view_vf(vf, &use));
    }
    vfo_qmp_call_return(call, list);
}

static void query_jobs(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    const VfoControl *control = data;
    const GPtrArray *jobs = vfo_jobs_list(control->args.jobs);
    json_object *list;

    if (!only(call, arguments, no_members))
        return;
    list = json_object_new_array();
    for (guint i = 0; i < jobs->len; i++)
        json_object_array_add(list, vfo_view_job(g_ptr_array_index(jobs, i), NULL));
    vfo_qmp_call_return(call, list);
}

static VfoJob *job_argument(VfoControl *control, json_object *arguments, GError **error)
{
    static const char *const members[] = {"job", NULL};
    const char *what;

    if (!vfo_json_only(arguments, members, "arguments", error) ||
        !vfo_json_string(arguments, "job", "arguments", &what, error))
        return NULL;
    return vfo_jobs_find(control->args.jobs, what, error);
}

static void query_job(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    VfoControl *control = data;
    GError *error = NULL;
    VfoJob *job = job_argument(control, arguments, &error);

    if (job)
        vfo_qmp_call_return(call, vfo_view_job(job, control->args.jobs));
    else
        vfo_qmp_call_fail(call, error);
}

static void cancel_job(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    GError *error = NULL;
    VfoJob *job = job_argument(data, arguments, &error);

    if (job && vfo_job_cancel(job, &error))
        vfo_qmp_call_return(call, NULL);
    else
        vfo_qmp_call_fail(call, error);
}

static VfoJob *make_migration(VfoControl *control, json_object *arguments, GError **error)
{
    static const char *const members[] = {"vm", "host", NULL};
    VfoSourceArgs args = {.host = control->args.host,
                          .leases = control->args.leases,
                          .absences = control->args.absences};
    const VfoPeerAddress *peer;
    const char *vm_name, *host_name;

    if (!vfo_json_only(arguments, members, "arguments", error) ||
        !vfo_json_string(arguments, "vm", "arguments", &vm_name, error) ||
        !vfo_json_string(arguments, "host", "arguments", &host_name, error))
        return NULL;
    args.vm = vfo_vms_get(control->args.vms, vm_name, error);
    peer = args.vm ? vfo_config_peer(control->args.config, host_name, error) : NULL;
    if (!peer)
        return NULL;
    if (vfo_vm_is_libvirts(args.vm))
        args.libvirt_uri = peer->libvirt_uri;
    return vfo_partners_source_job(control->args.partners, vfo_source_job, &args, host_name, TRUE,
                                   error);
}

static VfoJob *make_detachment(VfoControl *control, json_object *arguments, GError **error)
{
    return vfo_lending_detach(control->args.lending, arguments, error);
}

static VfoJob *make_attachment(VfoControl *control, json_object *arguments, GError **error)
{
    return vfo_lending_attach(control->args.lending, arguments, error);
}

typedef VfoJob *(*JobMaker)(VfoControl *control, json_object *arguments, GError **error);

static void start_job(VfoQmpCall *call, json_object *arguments, VfoControl *control, JobMaker make)
{
    GError *error = NULL;
    g_autoptr(VfoJob) job = make(control, arguments, &error);
    json_object *answer;

    if (!job) {
        vfo_qmp_call_fail(call, error);
        return;
    }
    answer = json_object_new_object();
    json_object_object_add(answer, "job", json_object_new_string(vfo_job_id(job)));
    /* Answered first: the caller knows the job's id before its first event. */
    vfo_qmp_call_return(call, answer);
    vfo_job_run(job);
}

static void migrate(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    start_job(call, arguments, data, make_migration);
}

static void detach(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    start_job(call, arguments, data, make_detachment);
}

static void attach(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    start_job(call, arguments, data, make_attachment);
}

static void libvirt_hook(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    vfo_hooks_call(((VfoControl *)data)->args.hooks, call, arguments);
}

static const VfoQmpCommand commands[] = {
    {"query-vms", FALSE, query_vms},
    {"query-vfs", FALSE, query_vfs},
    {"query-jobs", FALSE, query_jobs},
    {"query-job", FALSE, query_job},
    {"migrate", TRUE, migrate},
    {"detach", TRUE, detach},
    {"attach", TRUE, attach},
    {"cancel-job", TRUE, cancel_job},
    {"libvirt-hook", TRUE, libvirt_hook},
    {NULL, FALSE, NULL},
};

/* ----------------------------------------------------------------- events */

static void tell(VfoControl *control, VfoJob *job, const VfoRecord *record)
{
    if (!vfo_qmp_server_is_heard(control->server))
        return;
    if (record) {
        vfo_notes_add(control->notes, job, record);
        return;
    }
    vfo_notes_flush(control->notes);
    vfo_qmp_server_emit(control->server, "JOB", vfo_view_job(job, NULL));
}

static void tell_step(VfoJob *job, const VfoRecord *record, gpointer data)
{
    VfoControl *control = data;
    json_object *view = vfo_view_record(record);

    json_object_object_add(view, "job", json_object_new_string(vfo_job_id(job)));
    vfo_qmp_server_emit(control->server, "STEP", view);
}

static void on_job_changed(VfoJobs *jobs, VfoJob *job, const VfoRecord *record, gpointer data)
{
    tell(data, job, record);
}

static void on_progress(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoControl *control = data;
    VfoJob *job = vfo_jobs_of_vm(control->args.jobs, vm->name);
    VfoProgress progress;

    if (!job || !vfo_qmp_server_is_heard(control->server))
        return;
    vm->ops->progress(vm, &progress);
    vfo_notes_flush(control->notes);
    vfo_qmp_server_emit(control->server, "PROGRESS", vfo_view_progress(job, &progress));
}

/* ----------------------------------------------------------------- socket */

/*
 * Who may change things: root, the daemon's own user, members of the admin
 * group. SO_PEERGROUPS (Linux 4.13) tells the groups as they were at connect().
 */
static gboolean may_change(VfoControl *control, int fd)
{
    struct ucred credentials;
    socklen_t length = sizeof(credentials);
    gid_t groups[MAX_GROUPS];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return FALSE;
    if (credentials.uid == 0 || credentials.uid == geteuid())
        return TRUE;
    if (control->admin_gid == (gid_t)-1)
        return FALSE;
    if (credentials.gid == control->admin_gid)
        return TRUE;
    length = sizeof(groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0)
        return FALSE;
    for (socklen_t i = 0; i < length / sizeof(gid_t); i++) {
        if (groups[i] == control->admin_gid)
            return TRUE;
    }
    return FALSE;
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    VfoControl *control = data;
    int fd = g_socket_get_fd(g_socket_connection_get_socket(connection));

    vfo_qmp_server_add(control->server, G_IO_STREAM(connection), "control",
                       may_change(control, fd));
    return TRUE;
}

static gboolean find_admin_group(VfoControl *control, GError **error)
{
    const char *name = control->args.config->admin_group;
    const struct group *group;

    control->admin_gid = (gid_t)-1;
    if (!name)
        return TRUE;
    group = getgrnam(name);
    if (!group) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "[daemon] admin-group: there is no group '%s' on this host", name);
        return FALSE;
    }
    control->admin_gid = group->gr_gid;
    return TRUE;
}

/* A socket file that nobody listens on is left from a daemon that was killed. */
static gboolean clear_stale(const char *path, GError **error)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GSocketConnection) connection = NULL;
    g_autofree char *directory = g_path_get_dirname(path);
    GStatBuf status;

    if (g_mkdir_with_parents(directory, 0755) != 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "directory %s cannot be made: %s",
                    directory, g_strerror(errno));
        return FALSE;
    }
    if (g_lstat(path, &status) != 0)
        return TRUE;
    if (!S_ISSOCK(status.st_mode)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "%s is not a socket; remove it or change [daemon] socket", path);
        return FALSE;
    }
    connection = g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, NULL);
    if (connection) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "another vfailoverd listens on %s; stop it first", path);
        return FALSE;
    }
    g_unlink(path);
    return TRUE;
}

static gboolean listen_on(VfoControl *control, const char *path, GError **error)
{
    g_autoptr(GSocketAddress) address = NULL;
    g_autoptr(GError) why = NULL;

    if (!g_unix_socket_address_abstract_names_supported() || strlen(path) >= 108) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "[daemon] socket: %s is longer than the 107 bytes of unix(7)", path);
        return FALSE;
    }
    if (!clear_stale(path, error))
        return FALSE;
    address = g_unix_socket_address_new(path);
    if (!g_socket_listener_add_address(G_SOCKET_LISTENER(control->service), address,
                                       G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL,
                                       &why)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                    "the control socket %s cannot be made: %s; is vfailoverd run as root?", path,
                    why->message);
        return FALSE;
    }
    /* Everybody may look; may_change() decides about the rest. */
    if (g_chmod(path, 0666) != 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED, "chmod of %s: %s", path, g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

VfoControl *vfo_control_new(const VfoControlArgs *args, GError **error)
{
    VfoControl *control = g_new0(VfoControl, 1);

    control->args = *args;
    control->server = vfo_qmp_server_new("vfailover", commands, control);
    control->notes = vfo_notes_new(tell_step, control);
    control->service = g_socket_service_new();
    g_signal_connect(control->service, "incoming", G_CALLBACK(on_incoming), control);
    control->changed_handler =
        g_signal_connect(args->jobs, "changed", G_CALLBACK(on_job_changed), control);
    control->progress_handler =
        g_signal_connect(args->vms, "progress", G_CALLBACK(on_progress), control);
    if (!find_admin_group(control, error) || !listen_on(control, args->config->socket, error)) {
        vfo_control_free(control);
        return NULL;
    }
    return control;
}

void vfo_control_free(VfoControl *control)
{
    if (!control)
        return;
    g_socket_service_stop(control->service);
    g_socket_listener_close(G_SOCKET_LISTENER(control->service));
    g_signal_handlers_disconnect_by_data(control->service, control);
    g_signal_handler_disconnect(control->args.jobs, control->changed_handler);
    g_signal_handler_disconnect(control->args.vms, control->progress_handler);
    vfo_notes_free(control->notes);
    g_object_unref(control->service);
    g_object_unref(control->server);
    g_free(control);
}
