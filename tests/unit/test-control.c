/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket: what a client may ask, what it is told, who may change what. */
#include "rooms.h"

#include <errno.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY     65534
#define PATIENCE_S 10

/* ------------------------------------------------------- the other rooms */

static guint peers;      /* that there are */
static guint peers_made; /* ever */

static void peer_release(VfoPeer *peer, GTask *task)
{
    vfo_task_done(task);
}

static const VfoPeerOps peer_ops = {.release = peer_release};

VfoPeer *vfo_peer_new(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool)
{
    VfoPeer *peer = g_new0(VfoPeer, 1);

    peers++;
    peers_made++;
    peer->ops = &peer_ops;
    peer->name = g_strdup(address->name);
    return peer;
}

void vfo_peer_set_job(VfoPeer *peer, VfoJob *job)
{
}

void vfo_peer_free(VfoPeer *peer)
{
    peers--;
    g_free(peer->name);
    g_free(peer);
}

/* Of the hooks, that they are asked is all that counts here. */
void vfo_hooks_call(VfoHooks *hooks, VfoQmpCall *call, json_object *arguments)
{
    vfo_qmp_call_fail(call, g_error_new_literal(VFO_ERROR, VFO_ERROR_BUSY, "the hooks say no"));
}

static GError *vfs_error; /* what list_vfs fails with; NULL: it works */

static gboolean vf_given; /* the VF has got an address */

static GPtrArray *list_vfs(VfoHost *host, GError **error)
{
    GPtrArray *vfs;
    VfoVf *vf;

    if (vfs_error) {
        g_propagate_error(error, g_error_copy(vfs_error));
        return NULL;
    }
    vfs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_vf_free);
    vf = g_new0(VfoVf, 1);
    vf->pci = g_strdup("0000:01:10.0");
    vf->pf = g_strdup("pf0");
    vf->network = g_strdup("lan");
    vf->driver = g_strdup("vfio-pci");
    vf->iommu_group = 17;
    vf->numa_node = -1;
    vf->generation = 3;
    vfo_mac_parse("02:00:00:00:00:01", &vf->parking);
    vf->settings = vfo_vf_parked(vf);
    if (vf_given)
        vfo_mac_parse("52:54:00:aa:00:10", &vf->settings.mac);
    g_ptr_array_add(vfs, vf);
    return vfs;
}

static guint pfs_closed;

static gboolean close_pf(VfoHost *host, const VfoWire *wire, gboolean to_vf, GError **error)
{
    g_assert_false(to_vf);
    g_assert_cmpstr(wire->tap, ==, "tap0");
    pfs_closed++;
    return TRUE;
}

static const VfoHostOps host_ops = {.list_vfs = list_vfs, .close_pf = close_pf};
static VfoHost host = {&host_ops};

/* --------------------------------------------------- a QEMU that is silent */

typedef struct {
    VfoQmpServer *server;
    GSocketService *service;
    GPtrArray *calls; /* of VfoQmpCall: not answered */
} Qemu;

static void hold_call(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    Qemu *qemu = data;

    g_ptr_array_add(qemu->calls, call);
}

static void answer_call(VfoQmpCall *call, json_object *arguments, gpointer data)
{
    vfo_qmp_call_return(call, NULL);
}

static const VfoQmpCommand qemu_commands[] = {
    {"migrate-set-capabilities", FALSE, answer_call},
    {"query-status", FALSE, hold_call},
    {"qom-get", FALSE, hold_call},
    {"qom-list", FALSE, hold_call},
    {NULL, FALSE, NULL},
};

static gboolean on_qemu_incoming(GSocketService *service, GSocketConnection *connection,
                                 GObject *source, gpointer data)
{
    Qemu *qemu = data;

    vfo_qmp_server_add(qemu->server, G_IO_STREAM(connection), "qemu", TRUE);
    return TRUE;
}

static Qemu *qemu_new(const char *path)
{
    Qemu *qemu = g_new0(Qemu, 1);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);

    qemu->calls = g_ptr_array_new();
    qemu->server = vfo_qmp_server_new("qemu", qemu_commands, qemu);
    qemu->service = g_socket_service_new();
    g_signal_connect(qemu->service, "incoming", G_CALLBACK(on_qemu_incoming), qemu);
    g_assert_true(g_socket_listener_add_address(G_SOCKET_LISTENER(qemu->service), address,
                                                G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT,
                                                NULL, NULL, NULL));
    return qemu;
}

static void qemu_fail_calls(Qemu *qemu)
{
    for (guint i = 0; i < qemu->calls->len; i++)
        vfo_qmp_call_fail(qemu->calls->pdata[i],
                          g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "the test says no"));
    g_ptr_array_set_size(qemu->calls, 0);
}

static void qemu_free(Qemu *qemu)
{
    qemu_fail_calls(qemu);
    g_socket_service_stop(qemu->service);
    g_socket_listener_close(G_SOCKET_LISTENER(qemu->service));
    g_object_unref(qemu->service);
    g_object_unref(qemu->server);
    g_ptr_array_unref(qemu->calls);
    g_free(qemu);
}

/* ----------------------------------------------------------------- fixture */

typedef struct {
    char *directory;
    char *qmp_dir;
    char *vm_socket;
    VfoConfig *config;
    VfoVms *vms;
    VfoLeases *leases;
    VfoAbsences *absences;
    VfoJobs *jobs;
    VfoLending *lending;
    VfoPartners *partners;
    VfoControl *control;
    VfoQmpClient *client;
    gboolean ready;
    GPtrArray *events; /* of char *: "JOB {...}" */
} Fixture;

static gboolean on_timeout(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_CONTINUE;
}

#define WAIT(condition)                                                                            \
    do {                                                                                           \
        gboolean late_ = FALSE;                                                                    \
        guint timer_ = g_timeout_add_seconds(PATIENCE_S, on_timeout, &late_);                      \
        while (!(condition) && !late_)                                                             \
            g_main_context_iteration(NULL, TRUE);                                                  \
        g_source_remove(timer_);                                                                   \
        if (late_)                                                                                 \
            g_error("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);               \
    } while (0)

static void on_ready(VfoQmpClient *client, gpointer data)
{
    ((Fixture *)data)->ready = TRUE;
}

static void on_event(VfoQmpClient *client, const char *name, json_object *data, gint64 timestamp_us,
                     gpointer user_data)
{
    Fixture *f = user_data;

    g_ptr_array_add(f->events,
                    g_strdup_printf("%s %s", name,
                                    json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN)));
}

static void fixture_connect(Fixture *f, GIOStream *stream)
{
    if (f->client) {
        vfo_qmp_client_close(f->client);
        g_clear_object(&f->client);
    }
    f->ready = FALSE;
    f->client = stream ? vfo_qmp_client_new_stream("vfailoverd", stream)
                       : vfo_qmp_client_new_unix("vfailoverd", f->config->socket, FALSE);
    g_signal_connect(f->client, "ready", G_CALLBACK(on_ready), f);
    g_signal_connect(f->client, "event", G_CALLBACK(on_event), f);
    WAIT(f->ready);
}

static VfoControl *new_control(Fixture *f, GError **error)
{
    VfoControlArgs args = {
        .config = f->config,
        .vms = f->vms,
        .host = &host,
        .leases = f->leases,
        .jobs = f->jobs,
        .lending = f->lending,
        .partners = f->partners,
    };

    return vfo_control_new(&args, error);
}

static void fixture_set_up(Fixture *f, gconstpointer data)
{
    GError *error = NULL;
    g_autofree char *conf = NULL;
    g_autofree char *text = NULL;

    f->directory = g_dir_make_tmp("vfailover-control-XXXXXX", NULL);
    g_assert_nonnull(f->directory);
    /* Others must get at the socket. */
    g_assert_cmpint(g_chmod(f->directory, 0755), ==, 0);
    f->qmp_dir = g_build_filename(f->directory, "qmp", NULL);
    f->vm_socket = g_build_filename(f->qmp_dir, "web1.sock", NULL);
    conf = g_build_filename(f->directory, "conf", NULL);
    text = g_strdup_printf("[daemon]\nname=hosta\nsocket=%s/control.sock\nqmp-dir=%s\n"
                           "listen=127.0.0.1\n[network lan]\npf=pf0\nbridge=br0\n[peer hostb]\n",
                           f->directory, f->qmp_dir);
    g_assert_true(g_file_set_contents(conf, text, -1, NULL));
    f->config = vfo_config_load(conf, &error);
    g_assert_no_error(error);
    g_unlink(conf);
    f->vms = vfo_vms_new(f->qmp_dir, &error);
    g_assert_no_error(error);
    f->leases = vfo_leases_new();
    f->absences = vfo_absences_new();
    f->jobs = vfo_jobs_new();
    {
        VfoLendingArgs args = {.config = f->config,
                               .vms = f->vms,
                               .host = &host,
                               .leases = f->leases,
                               .absences = f->absences,
                               .jobs = f->jobs};

        f->lending = vfo_lending_new(&args);
    }
    f->partners = vfo_partners_new(f->config, NULL, f->jobs);
    f->events = g_ptr_array_new_with_free_func(g_free);
    peers_made = 0;
    f->control = new_control(f, &error);
    g_assert_no_error(error);
    fixture_connect(f, NULL);
}

static void fixture_tear_down(Fixture *f, gconstpointer data)
{
    vfo_qmp_client_close(f->client);
    g_object_unref(f->client);
    vfo_control_free(f->control);
    g_unlink(f->config->socket);
    vfo_partners_free(f->partners);
    vfo_lending_free(f->lending);
    g_object_unref(f->jobs);
    g_object_unref(f->vms);
    vfo_absences_free(f->absences);
    vfo_leases_free(f->leases);
    g_ptr_array_unref(f->events);
    vfo_config_free(f->config);
    g_unlink(f->vm_socket);
    g_rmdir(f->qmp_dir);
    g_assert_cmpint(g_rmdir(f->directory), ==, 0);
    g_free(f->qmp_dir);
    g_free(f->vm_socket);
    g_free(f->directory);
    g_assert_cmpuint(peers, ==, 0);
}

/* ------------------------------------------------------------------- calls */

typedef struct {
    const Fixture *fixture;
    gboolean done;
    guint heard; /* so many events had come before */
    json_object *value;
    GError *error;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data)
{
    Answer *answer = data;

    answer->value = vfo_qmp_client_execute_finish(VFO_QMP_CLIENT(source), result, &answer->error);
    answer->heard = answer->fixture->events->len;
    answer->done = TRUE;
}

static json_object *call_counting(Fixture *f, const char *command, const char *arguments,
                                  guint *heard, GError **error)
{
    Answer answer = {.fixture = f};

    vfo_qmp_client_execute_async(f->client, command,
                                 arguments ? json_tokener_parse(arguments) : NULL, 0, NULL,
                                 on_answer, &answer);
    WAIT(answer.done);
    if (answer.error)
        g_propagate_error(error, answer.error);
    *heard = answer.heard;
    return answer.value;
}

static json_object *call(Fixture *f, const char *command, const char *arguments, GError **error)
{
    guint heard;

    return call_counting(f, command, arguments, &heard, error);
}

static void assert_answer(Fixture *f, const char *command, const char *arguments,
                          const char *expected)
{
    GError *error = NULL;
    g_autoptr(json_object) value = call(f, command, arguments, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN), ==, expected);
}

static void assert_refused(Fixture *f, const char *command, const char *arguments, gint code,
                           const char *what)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(json_object) value = call(f, command, arguments, &error);

    g_assert_null(value);
    g_assert_error(error, VFO_ERROR, code);
    if (!strstr(error->message, what))
        g_error("'%s' does not say '%s'", error->message, what);
    g_assert_null(strchr(error->message, '\n'));
}

/* ------------------------------------------------------------------- tests */

static void test_queries(Fixture *f, gconstpointer data)
{
    assert_answer(f, "query-vms", NULL, "[]");
    assert_answer(f, "query-jobs", NULL, "[]");
    assert_answer(f, "query-vms", "{}", "[]");
    assert_answer(
        f, "query-vfs", NULL,
        "[{\"pci\":\"0000:01:10.0\",\"network\":\"lan\",\"pf\":\"pf0\",\"index\":0,"
        "\"driver\":\"vfio-pci\",\"iommu-group\":17,\"numa-node\":-1,\"vendor\":0,\"device\":0,"
        "\"usable\":false,\"mtu\":0,\"owner\":null,"
        "\"lease\":null,\"unclean\":null,\"doubt\":null,\"opened\":false,\"generation\":3,"
        "\"mac\":\"02:00:00:00:00:01\",\"parked\":true,\"vlan\":0,\"vlan-outer\":false,\"qos\":0,"
        "\"spoofchk\":true,\"trust\":false,\"min-tx-rate\":0,\"max-tx-rate\":0,"
        "\"link\":\"auto\"}]");
    assert_answer(f, "query-commands", NULL,
                  "[{\"name\":\"qmp_capabilities\"},{\"name\":\"query-commands\"},"
                  "{\"name\":\"query-vms\"},{\"name\":\"query-vfs\"},{\"name\":\"query-jobs\"},"
                  "{\"name\":\"query-job\"},{\"name\":\"migrate\"},{\"name\":\"detach\"},"
                  "{\"name\":\"attach\"},{\"name\":\"cancel-job\"},"
                  "{\"name\":\"libvirt-hook\"}]");
}

static void test_unclean_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) why = g_error_new(VFO_ERROR, VFO_ERROR_FAILED, "it is lost");
    g_autoptr(json_object) vfs = NULL;
    json_object *vf;

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*it is lost; no other VM*");
    g_assert_true(vfo_leases_take(f->leases, "0000:01:10.0", "domain web1", 60, NULL));
    vfo_leases_keep(f->leases, "0000:01:10.0", "domain web1", "web1", why);
    vfs = call(f, "query-vfs", NULL, NULL);
    g_test_assert_expected_messages();
    vf = json_object_array_get_idx(vfs, 0);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(vf, "unclean")), ==,
                    "it is lost");
}

static GError *is_unmet(gpointer data)
{
    return g_error_new(VFO_ERROR, VFO_ERROR_CLOSED, "libvirt is silent");
}

/* It may be that of a VM that nobody knows yet. */
static void test_doubted_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(json_object) vfs = NULL;
    const char *doubt;

    vfo_leases_set_unmet(f->leases, is_unmet, NULL);
    vf_given = TRUE;
    vfs = call(f, "query-vfs", NULL, NULL);
    vf_given = FALSE;
    doubt =
        json_object_get_string(json_object_object_get(json_object_array_get_idx(vfs, 0), "doubt"));
    g_assert_nonnull(strstr(doubt, "libvirt is silent"));
}

static void test_leased_vf(Fixture *f, gconstpointer data)
{
    GError *error = NULL;
    g_autoptr(json_object) vfs = NULL;
    json_object *lease = NULL;

    g_assert_true(vfo_leases_take(f->leases, "0000:01:10.0", "job-1", 60, NULL));
    vfs = call(f, "query-vfs", NULL, &error);
    g_assert_no_error(error);
    lease = json_object_object_get(json_object_array_get_idx(vfs, 0), "lease");
    g_assert_cmpstr(json_object_get_string(lease), ==, "job-1");
}

static void test_host_fails(Fixture *f, gconstpointer data)
{
    vfs_error = g_error_new(VFO_ERROR, VFO_ERROR_DENIED, "netlink says no");
    assert_refused(f, "query-vfs", NULL, VFO_ERROR_DENIED, "netlink says no");
    g_clear_error(&vfs_error);
}

static void test_bad_input(Fixture *f, gconstpointer data)
{
    static const char *const no_arguments[] = {"query-vms", "query-vfs", "query-jobs"};

    for (guint i = 0; i < G_N_ELEMENTS(no_arguments); i++)
        assert_refused(f, no_arguments[i], "{\"x\": 1}", VFO_ERROR_INVALID, "x");
    assert_refused(f, "query-vm", NULL, VFO_ERROR_QMP_COMMAND_NOT_FOUND, "query-vm");
    assert_refused(f, "query-job", NULL, VFO_ERROR_INVALID, "job");
    assert_refused(f, "query-job", "{\"job\": 1}", VFO_ERROR_INVALID, "job");
    assert_refused(f, "query-job", "{\"job\": null}", VFO_ERROR_INVALID, "job");
    assert_refused(f, "query-job", "{\"job\": \"a\", \"x\": 1}", VFO_ERROR_INVALID, "x");
    assert_refused(f, "query-job", "{\"job\": \"abcd\"}", VFO_ERROR_NOT_FOUND, "abcd");
    assert_refused(f, "cancel-job", "{\"job\": \"abcd\"}", VFO_ERROR_NOT_FOUND, "abcd");
    assert_refused(f, "cancel-job", NULL, VFO_ERROR_INVALID, "job");
    assert_refused(f, "libvirt-hook", NULL, VFO_ERROR_BUSY, "the hooks say no");
    assert_refused(f, "migrate", NULL, VFO_ERROR_INVALID, "vm");
    assert_refused(f, "migrate", "{\"vm\": \"web1\"}", VFO_ERROR_INVALID, "host");
    assert_refused(f, "migrate", "{\"vm\": [], \"host\": \"hostb\"}", VFO_ERROR_INVALID, "vm");
    assert_refused(f, "migrate", "{\"vm\": \"w\", \"host\": \"h\", \"x\": 1}", VFO_ERROR_INVALID,
                   "x");
    assert_refused(f, "migrate", "{\"vm\": \"../web1\", \"host\": \"hostb\"}", VFO_ERROR_INVALID,
                   "name of a VM");
    assert_refused(f, "migrate", "{\"vm\": \"web1\", \"host\": \"hostb\"}", VFO_ERROR_NOT_FOUND,
                   "web1");
    assert_refused(f, "detach", NULL, VFO_ERROR_INVALID, "vm");
    assert_refused(f, "detach", "{\"vm\": \"web1\"}", VFO_ERROR_NOT_FOUND, "web1");
    assert_refused(f, "detach", "{\"vm\": \"web1\", \"vf\": \"x\"}", VFO_ERROR_INVALID, "vf");
    assert_refused(f, "detach", "{\"vm\": \"web1\", \"standby\": 1}", VFO_ERROR_INVALID, "standby");
    assert_refused(f, "attach", NULL, VFO_ERROR_INVALID, "vm");
    assert_refused(f, "attach", "{\"vm\": \"web1\"}", VFO_ERROR_NOT_FOUND, "web1");
    assert_refused(f, "attach", "{\"vm\": \"web1\", \"x\": 1}", VFO_ERROR_INVALID, "x");
    assert_refused(f, "attach", "{\"vm\": \"web1\", \"vf\": \"01:10.0\"}", VFO_ERROR_INVALID,
                   "0000:01:10.0");
    assert_refused(f, "attach", "{\"vm\": \"web1\", \"from\": {}}", VFO_ERROR_INVALID, "from");
    g_assert_cmpuint(peers_made, ==, 0);
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 0);
}

/* Is the VM there and its QEMU ready? */
static gboolean is_ready(Fixture *f)
{
    return vfo_vms_get(f->vms, "web1", NULL) != NULL;
}

static const char *find_event(const Fixture *f, const char *name, const char *a, const char *b)
{
    for (guint i = 0; i < f->events->len; i++) {
        const char *event = g_ptr_array_index(f->events, i);

        if (g_str_has_prefix(event, name) && strstr(event, a) && strstr(event, b))
            return event;
    }
    return NULL;
}

static char *start_command(Fixture *f, const char *command, const char *arguments)
{
    guint before = f->events->len, heard = 0;
    GError *error = NULL;
    g_autoptr(json_object) answer = call_counting(f, command, arguments, &heard, &error);

    g_assert_no_error(error);
    /* The caller knows the job's id before it hears of the job. */
    g_assert_cmpuint(heard, ==, before);
    return g_strdup(json_object_get_string(json_object_object_get(answer, "job")));
}

static char *start_job(Fixture *f)
{
    return start_command(f, "migrate", "{\"vm\": \"web1\", \"host\": \"hostb\"}");
}

static void test_unreachable_vm(Fixture *f, gconstpointer data)
{
    g_autoptr(json_object) vms = NULL;
    json_object *vm;

    /* a socket file without a QEMU behind it */
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(f->vm_socket);
    g_autoptr(GSocket) socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, 0, NULL);

    g_assert_true(g_socket_bind(socket, address, FALSE, NULL));
    WAIT(json_object_array_length((json_object_put(vms), vms = call(f, "query-vms", NULL, NULL))) ==
         1);
    vm = json_object_array_get_idx(vms, 0);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(vm, "name")), ==, "web1");
    g_assert_cmpstr(json_object_get_string(json_object_object_get(vm, "status")), ==,
                    "unreachable");
    g_assert_nonnull(json_object_object_get(vm, "error"));
    assert_refused(f, "migrate", "{\"vm\": \"web1\", \"host\": \"hostb\"}", VFO_ERROR_CLOSED,
                   "web1");
}

static void test_job_fails(Fixture *f, gconstpointer data)
{
    Qemu *qemu = qemu_new(f->vm_socket);
    g_autofree char *id = NULL;
    g_autofree char *by_id = NULL;
    g_autoptr(json_object) jobs = NULL;
    g_autoptr(json_object) job = NULL;
    json_object *step;

    WAIT(is_ready(f));
    assert_refused(f, "migrate", "{\"vm\": \"web1\", \"host\": \"hostx\"}", VFO_ERROR_NOT_FOUND,
                   "hostb");
    id = start_job(f);
    WAIT(find_event(f, "STEP", "\"name\":\"inspect\"", "\"running\""));
    WAIT((qemu_fail_calls(qemu), find_event(f, "JOB", id, "\"failed\"")));
    g_assert_nonnull(find_event(f, "STEP", "\"name\":\"inspect\"", "the test says no"));
    WAIT(peers == 0);

    jobs = call(f, "query-jobs", NULL, NULL);
    g_assert_cmpuint(json_object_array_length(jobs), ==, 1);
    g_assert_null(json_object_object_get(json_object_array_get_idx(jobs, 0), "steps"));
    by_id = g_strdup_printf("{\"job\": \"%.8s\"}", id);
    job = call(f, "query-job", by_id, NULL);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(job, "state")), ==, "failed");
    g_assert_cmpstr(json_object_get_string(json_object_object_get(job, "vm")), ==, "web1");
    g_assert_nonnull(
        strstr(json_object_get_string(json_object_object_get(job, "error")), "the test says no"));
    step = json_object_array_get_idx(json_object_object_get(job, "steps"), 0);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(step, "host")), ==, "hosta");
    assert_refused(f, "cancel-job", by_id, VFO_ERROR_FAILED, "already ended");
    qemu_free(qemu);
}

static void never(VfoJob *job, GTask *task)
{
    g_assert_not_reached();
}

static const VfoStep never_steps[] = {
    {"never", "nobody", never, VFO_DEADLINE_QUERY, NULL, VFO_DEADLINE_QUERY, 0},
};

static void add_pair(Fixture *f, const char *id, const char *standby)
{
    VfoPolicy policy;
    g_autoptr(VfoJob) job = NULL;

    vfo_policy_default(&policy);
    job = vfo_job_new(id, "web7", "hosta", never_steps, 1, &policy);
    vfo_job_set_pair(job, standby);
    g_assert_true(vfo_jobs_add(f->jobs, job, FALSE, NULL));
}

/* Who asks for one of a VM's jobs hears of those of its other pairs. */
static void test_two_pairs(Fixture *f, gconstpointer data)
{
    g_autoptr(json_object) job = NULL;
    g_autoptr(json_object) jobs = NULL;
    json_object *beside;

    add_pair(f, "11111111", "net1");
    add_pair(f, "22222222", "net2");
    job = call(f, "query-job", "{\"job\": \"web7\"}", NULL);
    g_assert_cmpstr(json_object_get_string(json_object_object_get(job, "id")), ==, "11111111");
    g_assert_cmpstr(json_object_get_string(json_object_object_get(job, "pair")), ==, "net1");
    beside = json_object_object_get(job, "beside");
    g_assert_cmpuint(json_object_array_length(beside), ==, 1);
    g_assert_cmpstr(json_object_get_string(json_object_array_get_idx(beside, 0)), ==, "22222222");
    jobs = call(f, "query-jobs", NULL, NULL);
    g_assert_cmpstr(
        json_object_get_string(json_object_object_get(json_object_array_get_idx(jobs, 1), "pair")),
        ==, "net2");
    g_assert_null(json_object_object_get(json_object_array_get_idx(jobs, 1), "beside"));
}

static void test_job_cancelled(Fixture *f, gconstpointer data)
{
    Qemu *qemu = qemu_new(f->vm_socket);
    g_autoptr(json_object) vms = NULL;
    json_object *job;
    g_autofree char *id = NULL;

    WAIT(is_ready(f));
    id = start_job(f);
    assert_refused(f, "migrate", "{\"vm\": \"web1\", \"host\": \"hostb\"}", VFO_ERROR_BUSY, id);
    vms = call(f, "query-vms", NULL, NULL);
    job = json_object_object_get(json_object_array_get_idx(vms, 0), "job");
    g_assert_cmpstr(json_object_get_string(job), ==, id);
    assert_answer(f, "cancel-job", "{\"job\": \"web1\"}", "{}");
    WAIT(find_event(f, "JOB", id, "\"cancelled\""));
    WAIT(peers == 0);
    qemu_free(qemu);
}

/* A job of the given kind begins, bars others of its VM, and ends when QEMU does not answer. */
static void assert_starts(Fixture *f, Qemu *qemu, const char *command, const char *arguments)
{
    g_autofree char *id = start_command(f, command, arguments);
    g_autofree char *kind = g_strdup_printf("\"kind\":\"%s\"", command);

    assert_refused(f, "attach", "{\"vm\": \"web1\"}", VFO_ERROR_BUSY, id);
    assert_refused(f, "detach", "{\"vm\": \"web1\"}", VFO_ERROR_BUSY, id);
    WAIT((qemu_fail_calls(qemu), find_event(f, "JOB", id, "\"failed\"")));
    g_assert_nonnull(find_event(f, "JOB", id, kind));
    g_assert_nonnull(find_event(f, "STEP", "\"name\":\"inspect\"", "the test says no"));
}

static void test_lending(Fixture *f, gconstpointer data)
{
    Qemu *qemu = qemu_new(f->vm_socket);

    WAIT(is_ready(f));
    assert_starts(f, qemu, "detach", "{\"vm\": \"web1\"}");
    assert_starts(f, qemu, "detach", "{\"vm\": \"web1\", \"standby\": \"net0\"}");
    assert_starts(f, qemu, "attach", "{\"vm\": \"web1\", \"from\": null}");
    assert_starts(f, qemu, "attach",
                  "{\"vm\": \"web1\", \"vf\": \"0000:01:10.0\", \"standby\": \"net0\"}");
    assert_refused(f, "attach", "{\"vm\": \"web1\", \"from\": \"web1\"}", VFO_ERROR_INVALID,
                   "itself");
    assert_refused(f, "attach", "{\"vm\": \"web1\", \"from\": \"web2\"}", VFO_ERROR_NOT_FOUND,
                   "web2");
    g_assert_cmpuint(peers_made, ==, 0);
    qemu_free(qemu);
}

/* The job is of both VMs. */
static void test_lending_from(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->qmp_dir, "web2.sock", NULL);
    Qemu *taker = qemu_new(f->vm_socket);
    Qemu *giver = qemu_new(path);
    g_autofree char *id = NULL;

    WAIT(is_ready(f) && vfo_vms_get(f->vms, "web2", NULL));
    id = start_command(f, "attach", "{\"vm\": \"web1\", \"from\": \"web2\"}");
    assert_refused(f, "detach", "{\"vm\": \"web2\"}", VFO_ERROR_BUSY, id);
    assert_refused(f, "detach", "{\"vm\": \"web1\"}", VFO_ERROR_BUSY, id);
    assert_answer(f, "cancel-job", "{\"job\": \"web2\"}", "{}");
    WAIT(find_event(f, "JOB", id, "\"cancelled\""));
    g_assert_nonnull(find_event(f, "JOB", id, "\"from\":\"web2\""));
    qemu_free(giver);
    qemu_free(taker);
    g_unlink(path);
}

static guint count_events(const Fixture *f, const char *name, const char *a, const char *b)
{
    guint count = 0;

    for (guint i = 0; i < f->events->len; i++) {
        const char *event = g_ptr_array_index(f->events, i);

        count += g_str_has_prefix(event, name) && strstr(event, a) && strstr(event, b);
    }
    return count;
}

/* A VM that came without a VF gets one when there is one, and nobody has to ask. */
static void test_supply(Fixture *f, gconstpointer data)
{
    Qemu *qemu = qemu_new(f->vm_socket);
    VfoPair pair = {.standby = (char *)"net0"};
    VfoOffer offer = {.vm = (char *)"web1", .pair = &pair, .network = (char *)"lan"};

    WAIT(is_ready(f));
    /* not for a VM that need not have one, nor for one elsewhere, nor when all are taken */
    vfo_absences_note(f->absences, &offer, FALSE);
    vfo_lending_freed(f->lending);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    offer.network = (char *)"wan";
    vfo_absences_note(f->absences, &offer, TRUE);
    vfo_lending_freed(f->lending);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    offer.network = (char *)"lan";
    vfo_absences_note(f->absences, &offer, TRUE);
    g_assert_true(vfo_leases_take(f->leases, "0000:01:10.0", "job-1", 60, NULL));
    vfo_lending_freed(f->lending);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 0);

    vfo_leases_drop(f->leases, "0000:01:10.0", "job-1");
    vfo_lending_freed(f->lending);
    WAIT(find_event(f, "STEP", "\"name\":\"inspect\"", "\"running\""));
    g_assert_cmpstr(vfo_job_kind(vfo_jobs_of_vm(f->jobs, "web1")), ==, "attach");
    WAIT((qemu_fail_calls(qemu), find_event(f, "JOB", "\"attach\"", "\"failed\"")));
    /* once: a guest that cannot use its VF is not given it for ever */
    vfo_lending_freed(f->lending);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 1);
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", "net0"));

    /* the end of any job is an occasion, until the daemon stops */
    vfo_absences_note(f->absences, &offer, TRUE);
    assert_starts(f, qemu, "detach", "{\"vm\": \"web1\"}");
    WAIT((qemu_fail_calls(qemu), count_events(f, "JOB", "\"attach\"", "\"failed\"") == 2));
    vfo_absences_note(f->absences, &offer, TRUE);
    vfo_lending_stop(f->lending);
    assert_starts(f, qemu, "detach", "{\"vm\": \"web1\"}");
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(vfo_jobs_list(f->jobs)->len, ==, 4);
    qemu_free(qemu);
}

/* Another VM of the same name is not to get the old one's settings; and if the VM runs elsewhere
 * now, its frames are not to come here. */
static void test_vm_is_forgotten(Fixture *f, gconstpointer data)
{
    VfoWire *wire = g_new0(VfoWire, 1);
    Qemu *qemu = qemu_new(f->vm_socket);
    VfoPair pair = {.standby = (char *)"net0"};
    VfoOffer offer = {.vm = (char *)"web1", .pair = &pair};

    WAIT(is_ready(f));
    wire->tap = g_strdup("tap0");
    vfo_absences_note(f->absences, &offer, FALSE);
    vfo_absences_keep(f->absences, "web1", "net0", wire);
    qemu_free(qemu);
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", NULL));
    g_unlink(f->vm_socket);
    WAIT(!vfo_absences_find(f->absences, "web1", NULL));
    g_assert_cmpuint(pfs_closed, ==, 1);
}

/* The daemon stops while a job is under way. */
static void test_freed_with_a_job(Fixture *f, gconstpointer data)
{
    Qemu *qemu = qemu_new(f->vm_socket);
    g_autofree char *id = NULL;
    g_autoptr(VfoJob) job = NULL;
    GError *error = NULL;

    WAIT(is_ready(f));
    id = start_job(f);
    job = vfo_job_ref(vfo_jobs_find(f->jobs, id, &error));
    g_assert_no_error(error);
    vfo_control_free(f->control);
    vfo_partners_free(f->partners);
    vfo_job_cancel(job, NULL);
    WAIT(vfo_job_ended(job));
    f->partners = vfo_partners_new(f->config, NULL, f->jobs);
    f->control = new_control(f, &error);
    g_assert_no_error(error);
    qemu_free(qemu);
}

/* --------------------------------------------------------------- the rights */

/* A connection made by another user and group, as the kernel tells the other end. */
static GIOStream *connect_as(Fixture *f, uid_t uid, gid_t gid, gid_t further)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(f->config->socket);
    GSocketConnection *connection;

    g_assert_cmpint(setgroups(1, &further), ==, 0);
    g_assert_cmpint(setegid(gid), ==, 0);
    g_assert_cmpint(seteuid(uid), ==, 0);
    connection = g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, NULL);
    g_assert_cmpint(seteuid(0), ==, 0);
    g_assert_cmpint(setegid(0), ==, 0);
    g_assert_cmpint(setgroups(0, NULL), ==, 0);
    g_assert_nonnull(connection);
    return G_IO_STREAM(connection);
}

static void assert_may(Fixture *f, gboolean may, uid_t uid, gid_t gid, gid_t further)
{
    g_autoptr(GIOStream) stream = connect_as(f, uid, gid, further);

    fixture_connect(f, stream);
    assert_answer(f, "query-vms", NULL, "[]");
    assert_answer(f, "query-jobs", NULL, "[]");
    assert_refused(f, "cancel-job", "{\"job\": \"abcd\"}",
                   may ? VFO_ERROR_NOT_FOUND : VFO_ERROR_DENIED,
                   may ? "cancel-job" : "admin-group");
    assert_refused(f, "libvirt-hook", NULL, may ? VFO_ERROR_BUSY : VFO_ERROR_DENIED,
                   may ? "the hooks" : "admin-group");
    assert_refused(f, "detach", "{\"vm\": \"abcd\"}", may ? VFO_ERROR_NOT_FOUND : VFO_ERROR_DENIED,
                   may ? "detach" : "admin-group");
    assert_refused(f, "attach", "{\"vm\": \"abcd\"}", may ? VFO_ERROR_NOT_FOUND : VFO_ERROR_DENIED,
                   may ? "attach" : "admin-group");
    assert_refused(f, "migrate", "{\"vm\": \"abcd\", \"host\": \"hostb\"}",
                   may ? VFO_ERROR_NOT_FOUND : VFO_ERROR_DENIED, may ? "migrate" : "admin-group");
}

static void test_rights(Fixture *f, gconstpointer data)
{
    const struct group *group;
    gid_t admins;
    GError *error = NULL;

    if (getuid() != 0) {
        g_test_skip("only root can take on another user");
        return;
    }
    assert_may(f, TRUE, 0, NOBODY, NOBODY);
    assert_may(f, FALSE, NOBODY, NOBODY, NOBODY);
    /* no admin group is configured: root's group is no more than others */
    assert_may(f, FALSE, NOBODY, 0, 0);

    group = getgrnam("adm");
    if (!group) {
        g_test_skip("there is no group adm here");
        return;
    }
    admins = group->gr_gid;
    vfo_control_free(f->control);
    f->config->admin_group = g_strdup("adm");
    f->control = new_control(f, &error);
    g_assert_no_error(error);
    assert_may(f, FALSE, NOBODY, NOBODY, NOBODY);
    assert_may(f, TRUE, NOBODY, admins, NOBODY);
    assert_may(f, TRUE, NOBODY, NOBODY, admins);
    assert_may(f, TRUE, 0, 0, 0);
}

/* --------------------------------------------------------------- the socket */

static void assert_no_control(Fixture *f, gint code, const char *what)
{
    g_autoptr(GError) error = NULL;
    VfoControl *control = new_control(f, &error);

    g_assert_null(control);
    g_assert_error(error, VFO_ERROR, code);
    if (!strstr(error->message, what))
        g_error("'%s' does not say '%s'", error->message, what);
}

static void test_socket(Fixture *f, gconstpointer data)
{
    GStatBuf status;
    GError *error = NULL;
    g_autofree char *path = g_strdup(f->config->socket);
    g_autofree char *long_name = g_strnfill(120, 'x');

    g_assert_cmpint(g_lstat(path, &status), ==, 0);
    g_assert_true(S_ISSOCK(status.st_mode));
    g_assert_cmpint(status.st_mode & 0777, ==, 0666);

    assert_no_control(f, VFO_ERROR_BUSY, "another vfailoverd");
    g_assert_cmpint(g_lstat(path, &status), ==, 0);

    g_free(f->config->socket);
    f->config->socket = g_build_filename(f->directory, long_name, NULL);
    assert_no_control(f, VFO_ERROR_INVALID, "107");
    g_free(f->config->socket);
    f->config->socket = g_build_filename(f->directory, "file", NULL);
    g_assert_true(g_file_set_contents(f->config->socket, "mine", -1, NULL));
    assert_no_control(f, VFO_ERROR_INVALID, "not a socket");
    g_assert_cmpint(g_unlink(f->config->socket), ==, 0);
    g_free(f->config->socket);
    f->config->socket = g_strdup(path);

    f->config->admin_group = g_strdup("no-such-group");
    assert_no_control(f, VFO_ERROR_INVALID, "no-such-group");
    g_clear_pointer(&f->config->admin_group, g_free);

    /* what a daemon that was killed leaves behind is replaced */
    vfo_control_free(f->control);
    g_assert_cmpint(g_lstat(path, &status), ==, 0);
    f->control = new_control(f, &error);
    g_assert_no_error(error);
    fixture_connect(f, NULL);
    assert_answer(f, "query-vms", NULL, "[]");
}

static void ignore(const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
}

#define ADD(name, function)                                                                        \
    g_test_add("/control/" name, Fixture, NULL, fixture_set_up, function, fixture_tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A failed job warns in the log. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    if (!g_test_verbose())
        g_log_set_handler(NULL, G_LOG_LEVEL_WARNING | G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO,
                          ignore, NULL);
    ADD("queries", test_queries);
    ADD("unclean-vf", test_unclean_vf);
    ADD("doubted-vf", test_doubted_vf);
    ADD("leased-vf", test_leased_vf);
    ADD("host-fails", test_host_fails);
    ADD("bad-input", test_bad_input);
    ADD("unreachable-vm", test_unreachable_vm);
    ADD("job-fails", test_job_fails);
    ADD("two-pairs", test_two_pairs);
    ADD("job-cancelled", test_job_cancelled);
    ADD("lending", test_lending);
    ADD("lending-from", test_lending_from);
    ADD("supply", test_supply);
    ADD("vm-is-forgotten", test_vm_is_forgotten);
    ADD("freed-with-a-job", test_freed_with_a_job);
    ADD("rights", test_rights);
    ADD("socket", test_socket);
    return g_test_run();
}
