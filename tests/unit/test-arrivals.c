/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's hook in the daemon: what is whose, and a VM that libvirt migrates to this host. */
#include "daemon/daemon.h"
#include "domain-xml.h"

#define VF    "0000:01:10.0"
#define OTHER "0000:01:10.2"
#define PAIR  DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV)
#define POOL  DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK)

/* A second pair, and the VF that it has and gets. */
#define SECOND_VF      "0000:02:10.1"
#define SECOND_OTHER   "0000:02:10.5"
#define SECOND_STANDBY DOMAIN_STANDBY_OF("ua-net2", "52:54:00:aa:00:20", "br1", "vnet1", "")
#define SECOND_HOSTDEV_AT(ADDRESS)                                                                 \
    "<hostdev mode='subsystem' type='pci'><source><address " ADDRESS "/></source>"                 \
    "<teaming type='transient' persistent='ua-net2'/></hostdev>"
#define SECOND_HOSTDEV SECOND_HOSTDEV_AT("domain='0x0000' bus='0x02' slot='0x10' function='0x1'")
#define TWO            DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV SECOND_STANDBY SECOND_HOSTDEV)
/* Of a running domain, of a pool: libvirt has taken these two VFs. */
#define POOLED(FIRST, SECOND)                                                                      \
    DOMAIN(DOMAIN_STANDBY SECOND_STANDBY DOMAIN_NETWORK_AT("ua-net1", "10", FIRST)                 \
               DOMAIN_NETWORK_AT("ua-net2", "20", SECOND))
#define DOMAIN_NETWORK_AT(STANDBY, MAC, FUNCTION)                                                  \
    "<interface type='hostdev'><mac address='52:54:00:aa:00:" MAC "'/><source network='vfpool'>"   \
    "<address type='pci' domain='0x0000' bus='0x01' slot='0x10' function='" FUNCTION "'/>"         \
    "</source><teaming type='transient' persistent='" STANDBY "'/></interface>"
#define TWO_POOLED                                                                                 \
    DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK SECOND_STANDBY                                            \
           "<interface type='network'><mac address='52:54:00:aa:00:20'/>"                          \
           "<source network='vfpool'/>"                                                            \
           "<teaming type='transient' persistent='ua-net2'/></interface>")

/* ---------------------------------------------------------- calls, answers */

struct _VfoQmpCall {
    gboolean answered;
    char *xml; /* NULL: unchanged */
    GError *error;
};

void vfo_qmp_call_return(VfoQmpCall *call, json_object *value)
{
    const char *xml;

    g_assert_false(call->answered);
    call->answered = TRUE;
    if (value && vfo_json_string(value, "xml", "answer", &xml, NULL))
        call->xml = g_strdup(xml);
    json_object_put(value);
}

void vfo_qmp_call_fail(VfoQmpCall *call, GError *error)
{
    g_assert_false(call->answered);
    g_assert_nonnull(error);
    call->answered = TRUE;
    call->error = error;
    g_test_message("%s", error->message);
}

static void call_clear(VfoQmpCall *call)
{
    g_free(call->xml);
    g_clear_error(&call->error);
    *call = (VfoQmpCall){0};
}

static void assert_failed(const VfoQmpCall *call, int code, const char *what)
{
    g_assert_true(call->answered);
    g_assert_error(call->error, VFO_ERROR, code);
    g_assert_nonnull(strstr(call->error->message, what));
}

static void assert_unchanged(const VfoQmpCall *call)
{
    g_assert_true(call->answered);
    g_assert_no_error(call->error);
    g_assert_null(call->xml);
}

/* ------------------------------------------------------- the other rooms */

static VfoVm vm = {NULL, (char *)"web1"};
static gint vm_refs;
static gboolean expected, started, not_expected;

VfoVm *vfo_vm_ref(VfoVm *which)
{
    vm_refs++;
    return which;
}

void vfo_vm_unref(VfoVm *which)
{
    vm_refs--;
}

VfoVm *vfo_vms_expect(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    if (not_expected) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY, "VM %s runs here", domain->name);
        return NULL;
    }
    expected = TRUE;
    return &vm;
}

void vfo_vms_unexpect(VfoVms *vms, const char *uuid)
{
    g_assert_cmpstr(uuid, ==, DOMAIN_UUID);
    expected = FALSE;
}

gboolean vfo_vms_tell_start(VfoVms *vms, const VfoDomain *domain, GError **error)
{
    g_assert_true(expected);
    started = TRUE;
    return TRUE;
}

typedef struct {
    char *peer, *job, *standby;
    GTask *task;
} Asked;

static GPtrArray *asked; /* of Asked: what the peers have been asked and not answered */

static void asked_free(gpointer data)
{
    Asked *one = data;

    g_free(one->peer);
    g_free(one->job);
    g_free(one->standby);
    g_free(one);
}

void vfo_peer_call(const VfoPeerAddress *address, const VfoTlsFiles *tls, VfoPeerPool *pool,
                   const VfoPeerCall *call, guint timeout_ms, GTask *task)
{
    Asked *one = g_new0(Asked, 1);

    g_assert_cmpstr(call->vm, ==, "web1");
    g_assert_cmpstr(call->uuid, ==, DOMAIN_UUID);
    g_assert_cmpuint(timeout_ms, >, 0);
    one->peer = g_strdup(address->name);
    one->job = g_strdup(call->job);
    one->standby = g_strdup(call->standby);
    one->task = task;
    g_ptr_array_add(asked, one);
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

/* Lets @peer say that it is ready (no @error), or no. */
static void answer_as(const char *peer, int code, const char *error)
{
    for (guint i = 0; i < asked->len; i++) {
        Asked *one = g_ptr_array_index(asked, i);

        if (!g_str_equal(one->peer, peer))
            continue;
        vfo_task_return(one->task, error == NULL,
                        error ? g_error_new_literal(VFO_ERROR, code, error) : NULL);
        g_ptr_array_remove_index(asked, i);
        turn();
        return;
    }
    g_assert_not_reached();
}

/* Which of a VM's two pairs @job is about. */
static guint number_of(VfoJob *job)
{
    return g_str_equal(vfo_job_pair(job), "ua-net2");
}

static const char *chosen[2]; /* the VFs of both pairs */
static VfoDestinationArgs destination;
static guint yielded[2];

const char *vfo_follow_destination_vf(VfoJob *job)
{
    return chosen[number_of(job)];
}

void vfo_follow_destination_yield(VfoJob *job)
{
    yielded[number_of(job)]++;
}

static GTask *stepping[2];

static void step(VfoJob *job, GTask *task)
{
    stepping[number_of(job)] = task;
}

static gboolean is_cancelled(guint number)
{
    return g_cancellable_is_cancelled(g_task_get_cancellable(stepping[number]));
}

VfoJob *vfo_follow_destination_job(const char *host_name, const VfoDestinationArgs *args,
                                   const VfoPolicy *policy)
{
    static const VfoStep steps[] = {{.name = "all", .waits_for = "x", .run = step}};
    VfoJob *job;

    g_assert_false(policy->standby_only);
    g_assert_true(args->vm == &vm);
    destination = *args;
    job = vfo_job_new(args->offer->job, args->vm->name, host_name, steps, 1, policy);
    vfo_job_set_pair(job, args->offer->pair->standby);
    return job;
}

static guint prepared, begun, up, released, restored;

gboolean vfo_owners_prepare(VfoOwners *owners, const VfoDomain *domain, GError **error)
{
    prepared++;
    return TRUE;
}

gboolean vfo_owners_start(VfoOwners *owners, const VfoDomain *domain, GError **error)
{
    begun++;
    g_set_error_literal(error, VFO_ERROR, VFO_ERROR_BUSY, "no");
    return FALSE;
}

void vfo_owners_started(VfoOwners *owners, const VfoDomain *domain)
{
    up++;
}

void vfo_owners_release(VfoOwners *owners, const VfoDomain *domain, GTask *task)
{
    released++;
    vfo_task_done(task);
}

char *vfo_owners_restore(VfoOwners *owners, const VfoDomain *domain, const char *xml,
                         GError **error)
{
    restored++;
    return g_strdup(restored == 1 ? xml : "<domain/>");
}

/* ---------------------------------------------------------------- fixture */

typedef struct {
    VfoConfig config;
    VfoJobs *jobs;
    VfoArrivals *arrivals;
    VfoHooks *hooks;
    VfoQmpCall call, second;
    VfoPeerAddress peers[2];
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    VfoArrivalsArgs args = {.config = &f->config};

    f->peers[0].name = (char *)"hosta";
    f->peers[1].name = (char *)"hostc";
    f->config.name = (char *)"hostb";
    f->config.hook_ms = 60000;
    f->config.peers = g_ptr_array_new();
    g_ptr_array_add(f->config.peers, &f->peers[0]);
    g_ptr_array_add(f->config.peers, &f->peers[1]);
    vfo_policy_default(&f->config.policy);
    f->config.policy.standby_only = TRUE;
    f->jobs = args.jobs = vfo_jobs_new();
    f->arrivals = vfo_arrivals_new(&args);
    f->hooks = vfo_hooks_new(&f->config, NULL, f->arrivals);
    asked = g_ptr_array_new_with_free_func(asked_free);
    expected = started = not_expected = FALSE;
    chosen[0] = OTHER;
    chosen[1] = SECOND_OTHER;
    yielded[0] = yielded[1] = 0;
    stepping[0] = stepping[1] = NULL;
    prepared = begun = up = released = restored = 0;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    vfo_hooks_free(f->hooks);
    vfo_arrivals_free(f->arrivals);
    while (asked->len)
        answer_as(((Asked *)g_ptr_array_index(asked, 0))->peer, VFO_ERROR_CLOSED, "late");
    for (guint i = 0; i < G_N_ELEMENTS(stepping); i++) {
        if (stepping[i])
            vfo_task_done(g_steal_pointer(&stepping[i]));
        turn();
    }
    g_assert_cmpint(vm_refs, ==, 0);
    g_object_unref(f->jobs);
    g_ptr_array_unref(asked);
    g_ptr_array_unref(f->config.peers);
    call_clear(&f->call);
    call_clear(&f->second);
}

static void call_as(Fixture *f, VfoQmpCall *call, const char *name, const char *operation,
                    const char *sub_operation, const char *xml)
{
    g_autoptr(json_object) arguments = json_object_new_object();

    call_clear(call);
    json_object_object_add(arguments, "domain", json_object_new_string(name));
    json_object_object_add(arguments, "operation", json_object_new_string(operation));
    json_object_object_add(arguments, "sub-operation", json_object_new_string(sub_operation));
    json_object_object_add(arguments, "extra", json_object_new_string("-"));
    json_object_object_add(arguments, "xml", json_object_new_string(xml));
    vfo_hooks_call(f->hooks, call, arguments);
}

static void hook(Fixture *f, const char *operation, const char *sub_operation, const char *xml)
{
    call_as(f, &f->call, "web1", operation, sub_operation, xml);
}

static void on_job_changed(VfoJob *job, const VfoRecord *record, gpointer data)
{
    vfo_jobs_note(data, job, record);
}

static const Asked *asked_of_hosta(void)
{
    for (guint i = asked->len; i > 0; i--) {
        const Asked *one = g_ptr_array_index(asked, i - 1);

        if (g_str_equal(one->peer, "hosta"))
            return one;
    }
    g_assert_not_reached();
}

/* hosta reserves, as it has been asked to. */
static VfoJob *reserve(Fixture *f)
{
    const Asked *one = asked_of_hosta();
    VfoPair pair = {.standby = one->standby};
    const VfoOffer offer = {.job = one->job, .vm = (char *)"web1", .pair = &pair};
    g_autoptr(GError) error = NULL;
    VfoJob *job;

    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_MESSAGE, "*comes from hosta, by libvirt");
    job = vfo_arrivals_job(f->arrivals, "hosta", &offer, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(job);
    g_test_assert_expected_messages();
    vfo_job_on_change(job, on_job_changed, f->jobs);
    vfo_job_run(job);
    turn();
    return job;
}

static void end_one(guint number, const char *error)
{
    vfo_task_return(g_steal_pointer(&stepping[number]), error == NULL,
                    error ? g_error_new_literal(VFO_ERROR, VFO_ERROR_FAILED, error) : NULL);
    turn();
}

static void end_job(const char *error)
{
    end_one(0, error);
}

/* Up to where libvirt goes on. */
static VfoJob *let_come(Fixture *f, const char *xml)
{
    VfoJob *job;

    hook(f, "migrate", "begin", xml);
    g_assert_false(f->call.answered);
    job = reserve(f);
    g_assert_false(f->call.answered);
    answer_as("hosta", 0, NULL);
    g_assert_true(f->call.answered);
    g_assert_no_error(f->call.error);
    return job;
}

/* --------------------------------------------------------------- dispatch */

static void test_ordinary(Fixture *f, gconstpointer data)
{
    hook(f, "prepare", "begin", PAIR);
    assert_unchanged(&f->call);
    hook(f, "start", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_BUSY, "no");
    hook(f, "started", "begin", PAIR);
    assert_unchanged(&f->call);
    hook(f, "stopped", "end", PAIR);
    assert_unchanged(&f->call);
    hook(f, "reconnect", "begin", PAIR);
    assert_unchanged(&f->call);
    hook(f, "release", "end", PAIR);
    turn();
    assert_unchanged(&f->call);
    hook(f, "restore", "begin", PAIR);
    assert_unchanged(&f->call);
    hook(f, "restore", "begin", PAIR);
    g_assert_cmpstr(f->call.xml, ==, "<domain/>");
    g_assert_cmpuint(prepared * begun * up * released, ==, 1);
    g_assert_cmpuint(restored, ==, 2);
}

static void test_bad_arguments(Fixture *f, gconstpointer data)
{
    g_autoptr(json_object) arguments = json_object_new_object();

    call_as(f, &f->call, "web2", "start", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_INVALID, "not the one that 'xml' describes, web1");
    call_as(f, &f->call, "web1", "start", "begin", "<domain/>");
    assert_failed(&f->call, VFO_ERROR_INVALID, "<name>");
    call_clear(&f->call);
    vfo_hooks_call(f->hooks, &f->call, arguments);
    assert_failed(&f->call, VFO_ERROR_INVALID, "'domain' is missing");
}

/* ---------------------------------------------------------------- migrate */

static void test_no_pair(Fixture *f, gconstpointer data)
{
    hook(f, "migrate", "begin", DOMAIN(""));
    assert_unchanged(&f->call);
    hook(f, "migrate", "begin", DOMAIN(DOMAIN_STANDBY));
    assert_unchanged(&f->call);
    g_assert_cmpuint(asked->len, ==, 0);
    g_assert_false(expected);
}

static void test_arrives(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoDomain) domain = NULL;
    g_autofree char *chosen_xml = NULL;
    g_autoptr(VfoJob) job = let_come(f, PAIR);

    domain = vfo_domain_parse(f->call.xml, strlen(f->call.xml), NULL);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net1")->vf, ==, OTHER);
    chosen_xml = g_strdup(f->call.xml);

    hook(f, "prepare", "begin", chosen_xml);
    assert_unchanged(&f->call);
    hook(f, "start", "begin", chosen_xml);
    g_assert_true(started);
    g_assert_false(f->call.answered);
    destination.wired(job, destination.wired_data);
    assert_unchanged(&f->call);
    hook(f, "started", "begin", chosen_xml);
    assert_unchanged(&f->call);
    end_job(NULL);
    g_assert_true(expected);
    /* The next start of the domain is one of its own. */
    hook(f, "prepare", "begin", PAIR);
    g_assert_cmpuint(prepared, ==, 1);
}

/* No hook has changed anything: the domain is not tainted. */
static void test_same_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    chosen[0] = VF;
    job = let_come(f, PAIR);
    g_assert_null(f->call.xml);
    hook(f, "prepare", "begin", DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("bus='9'")));
    assert_failed(&f->call, VFO_ERROR_MISMATCH, "another hook");
    end_job(NULL);
}

static void test_pool(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = let_come(f, POOL);

    g_assert_null(f->call.xml);
    hook(f, "prepare", "begin", POOL);
    assert_unchanged(&f->call);
    end_job(NULL);
}

static void test_refused_here(Fixture *f, gconstpointer data)
{
    hook(f, "migrate", "begin",
         DOMAIN(SECOND_STANDBY SECOND_HOSTDEV DOMAIN_STANDBY DOMAIN_INTERFACE_WITH(
             "52:54:00:aa:00:10", DOMAIN_ADDRESS, "<virtualport type='802.1Qbh'/>")));
    assert_failed(&f->call, VFO_ERROR_NOT_SUPPORTED, "<virtualport>");
    not_expected = TRUE;
    hook(f, "migrate", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_BUSY, "runs here");
    g_assert_cmpuint(asked->len, ==, 0);
}

static void test_nobody_has_it(Fixture *f, gconstpointer data)
{
    hook(f, "migrate", "begin", PAIR);
    answer_as("hosta", VFO_ERROR_NOT_FOUND, "peer hosta: hand-over: no such VM");
    g_assert_false(f->call.answered);
    answer_as("hostc", VFO_ERROR_CLOSED, "peer hostc: cannot be reached");
    assert_failed(&f->call, VFO_ERROR_NOT_FOUND,
                  "no host hands it over (it does not run on hosta; peer hostc: cannot be");
    g_assert_false(expected);

    f->config.libvirt_alone = TRUE;
    hook(f, "migrate", "begin", PAIR);
    answer_as("hosta", VFO_ERROR_NOT_FOUND, "no");
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "*comes without being handed over*");
    answer_as("hostc", VFO_ERROR_NOT_FOUND, "no");
    assert_unchanged(&f->call);
    g_assert_false(expected);
    hook(f, "prepare", "begin", PAIR);
    g_assert_cmpuint(prepared, ==, 1);
}

static void test_no_peers(Fixture *f, gconstpointer data)
{
    g_ptr_array_set_size(f->config.peers, 0);
    hook(f, "migrate", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_NOT_FOUND, "no [peer]");
}

/* Who has the VM has the last word. */
static void test_source_refuses(Fixture *f, gconstpointer data)
{
    hook(f, "migrate", "begin", PAIR);
    answer_as("hosta", VFO_ERROR_BUSY, "VM web1 already has a job");
    assert_failed(&f->call, VFO_ERROR_BUSY, "already has a job");
    g_assert_false(expected);
}

static void test_no_reservation(Fixture *f, gconstpointer data)
{
    VfoPair pair = {.standby = (char *)"ua-net1"};
    const VfoOffer offer = {.job = (char *)"another", .vm = (char *)"web1", .pair = &pair};
    g_autoptr(GError) error = NULL;

    hook(f, "migrate", "begin", PAIR);
    g_assert_null(vfo_arrivals_job(f->arrivals, "hosta", &offer, NULL, NULL, &error));
    g_assert_no_error(error);
    answer_as("hosta", 0, NULL);
    assert_failed(&f->call, VFO_ERROR_PROTOCOL, "has not reserved");
}

static void test_no_vf(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    hook(f, "migrate", "begin", PAIR);
    job = reserve(f);
    chosen[0] = NULL;
    answer_as("hosta", 0, NULL);
    assert_failed(&f->call, VFO_ERROR_BUSY, "no VF is free");
    g_assert_cmpint(vfo_job_state(job), !=, VFO_JOB_COMPLETED);
}

static void test_job_fails(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    hook(f, "migrate", "begin", PAIR);
    job = reserve(f);
    end_job("VM web1: no VF in network 'lan'");
    assert_failed(&f->call, VFO_ERROR_FAILED, "no VF in network");
    g_assert_false(expected);
    hook(f, "prepare", "begin", PAIR);
    g_assert_cmpuint(prepared, ==, 1);
}

/* libvirt was let go on: it must not start QEMU as if nothing were wrong. */
static void test_job_fails_later(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = let_come(f, PAIR);
    g_autoptr(VfoJob) again = NULL;

    end_job("VM web1: VF " OTHER " is gone");
    g_assert_false(expected);
    hook(f, "prepare", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_FAILED, "is gone");
    hook(f, "start", "begin", PAIR);
    assert_failed(&f->call, VFO_ERROR_FAILED, "is gone");
    g_assert_cmpuint(prepared + begun, ==, 0);
    /* The next migration is not in its way. */
    again = let_come(f, PAIR);
    end_job(NULL);
}

static void test_start_fails(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = let_come(f, PAIR);

    hook(f, "start", "begin", PAIR);
    end_job("VM web1: tap vnet0 is in no bridge");
    assert_failed(&f->call, VFO_ERROR_FAILED, "vnet0 is in no bridge");
    hook(f, "release", "end", PAIR);
    turn();
    assert_unchanged(&f->call);
}

static void test_deadlines(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    f->config.hook_ms = 30;
    hook(f, "migrate", "begin", PAIR);
    while (!f->call.answered)
        g_main_context_iteration(NULL, TRUE);
    assert_failed(&f->call, VFO_ERROR_DEADLINE, "did not make ready");
    g_assert_false(expected);
    while (asked->len)
        answer_as(((Asked *)g_ptr_array_index(asked, 0))->peer, VFO_ERROR_CLOSED, "late");

    f->config.hook_ms = 60000;
    job = let_come(f, PAIR);
    f->config.hook_ms = 30;
    hook(f, "start", "begin", PAIR);
    while (!f->call.answered)
        g_main_context_iteration(NULL, TRUE);
    assert_failed(&f->call, VFO_ERROR_DEADLINE, "ua-net1 was not found to reach the network");
}

/* libvirt, which has given up without a word, begins anew. */
static void test_again(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) job = NULL;

    hook(f, "migrate", "begin", PAIR);
    call_as(f, &f->second, "web1", "migrate", "begin", PAIR);
    assert_failed(&f->second, VFO_ERROR_BUSY, "wait for it");
    job = reserve(f);
    answer_as("hosta", 0, NULL);
    g_assert_true(f->call.answered);
    call_as(f, &f->second, "web1", "migrate", "begin", PAIR);
    assert_failed(&f->second, VFO_ERROR_BUSY, "is being cancelled; try again");
    g_assert_true(is_cancelled(0));
}

/* ----------------------------------------------------------- several pairs */

/* Both pairs of TWO, or of TWO_POOLED, up to where libvirt goes on. */
static void let_both_come(Fixture *f, const char *xml, VfoJob *jobs[2])
{
    guint before = asked->len;

    hook(f, "migrate", "begin", xml);
    g_assert_cmpuint(asked->len, ==, before + 2);
    g_assert_cmpstr(asked_of_hosta()->standby, ==, "ua-net1");
    jobs[0] = reserve(f);
    answer_as("hosta", 0, NULL);
    g_assert_false(f->call.answered);
    /* Who has the VM is known: nobody else is asked. */
    g_assert_cmpuint(asked->len, ==, before + 2);
    g_assert_cmpstr(asked_of_hosta()->standby, ==, "ua-net2");
    jobs[1] = reserve(f);
    g_assert_false(f->call.answered);
    answer_as("hosta", 0, NULL);
    g_assert_true(f->call.answered);
    g_assert_cmpstr(vfo_job_id(jobs[0]), !=, vfo_job_id(jobs[1]));
}

static void unref_both(VfoJob *jobs[2])
{
    vfo_job_unref(jobs[0]);
    vfo_job_unref(jobs[1]);
}

static void test_both_arrive(Fixture *f, gconstpointer data)
{
    g_autofree char *xml = NULL;
    g_autoptr(VfoDomain) domain = NULL;
    VfoJob *jobs[2];

    let_both_come(f, TWO, jobs);
    g_assert_no_error(f->call.error);
    xml = g_strdup(f->call.xml);
    domain = vfo_domain_parse(xml, strlen(xml), NULL);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net1")->vf, ==, OTHER);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-net2")->vf, ==, SECOND_OTHER);
    hook(f, "prepare", "begin", xml);
    assert_unchanged(&f->call);
    hook(f, "start", "begin", xml);
    destination.wired(jobs[1], destination.wired_data);
    g_assert_false(f->call.answered);
    destination.wired(jobs[0], destination.wired_data);
    assert_unchanged(&f->call);
    g_assert_cmpuint(yielded[0] + yielded[1], ==, 0);
    end_one(1, NULL);
    g_assert_false(is_cancelled(0));
    end_one(0, NULL);
    g_assert_true(expected);
    hook(f, "prepare", "begin", TWO);
    g_assert_cmpuint(prepared, ==, 1);
    unref_both(jobs);
}

static void test_second_refused(Fixture *f, gconstpointer data)
{
    g_autoptr(VfoJob) first = NULL;

    hook(f, "migrate", "begin", TWO);
    first = reserve(f);
    answer_as("hosta", 0, NULL);
    answer_as("hosta", VFO_ERROR_NOT_FOUND, "VM web1 has no VF in its pair ua-net2");
    assert_failed(&f->call, VFO_ERROR_NOT_FOUND, "no VF in its pair ua-net2");
    g_assert_true(is_cancelled(0));
    g_assert_false(expected);
    hook(f, "prepare", "begin", TWO);
    g_assert_cmpuint(prepared, ==, 1);
}

static void test_no_second_vf(Fixture *f, gconstpointer data)
{
    VfoJob *jobs[2];

    chosen[1] = NULL;
    let_both_come(f, TWO, jobs);
    assert_failed(&f->call, VFO_ERROR_BUSY,
                  "no VF is free at the destination for its standby "
                  "ua-net2");
    g_assert_true(is_cancelled(0) && is_cancelled(1));
    unref_both(jobs);
}

/* Whichever fails, the other is of no use. */
static void test_one_fails(Fixture *f, gconstpointer data)
{
    guint number = GPOINTER_TO_UINT(data);
    VfoJob *jobs[2];

    let_both_come(f, TWO, jobs);
    end_one(number, "VM web1: its VF is gone");
    g_assert_true(is_cancelled(!number));
    g_assert_false(expected);
    end_one(!number, "cancelled");
    hook(f, "prepare", "begin", TWO);
    assert_failed(&f->call, VFO_ERROR_FAILED, "its VF is gone");
    hook(f, "start", "begin", TWO);
    assert_failed(&f->call, VFO_ERROR_FAILED, "its VF is gone");
    unref_both(jobs);
    /* The next migration is not in its way. */
    let_both_come(f, TWO, jobs);
    g_assert_no_error(f->call.error);
    unref_both(jobs);
}

static void test_one_start_fails(Fixture *f, gconstpointer data)
{
    guint number = GPOINTER_TO_UINT(data);
    VfoJob *jobs[2];

    let_both_come(f, TWO, jobs);
    hook(f, "start", "begin", TWO);
    destination.wired(jobs[!number], destination.wired_data);
    end_one(number, "VM web1: its tap is in no bridge");
    assert_failed(&f->call, VFO_ERROR_FAILED, "is in no bridge");
    g_assert_true(is_cancelled(!number));
    unref_both(jobs);
}

static void test_second_deadline(Fixture *f, gconstpointer data)
{
    VfoJob *jobs[2];

    let_both_come(f, TWO, jobs);
    f->config.hook_ms = 30;
    hook(f, "start", "begin", TWO);
    destination.wired(jobs[0], destination.wired_data);
    while (!f->call.answered)
        g_main_context_iteration(NULL, TRUE);
    assert_failed(&f->call, VFO_ERROR_DEADLINE, "ua-net2 was not found to reach the network");
    unref_both(jobs);
}

static void test_second_changed(Fixture *f, gconstpointer data)
{
    VfoJob *jobs[2];

    chosen[0] = VF;
    let_both_come(f, TWO, jobs);
    hook(f, "prepare", "begin", TWO);
    assert_failed(&f->call, VFO_ERROR_MISMATCH, "for its standby ua-net2, but it comes with");
    unref_both(jobs);
}

/* libvirt may deal out the pool's VFs the other way round. */
static void test_pool_crosses(Fixture *f, gconstpointer data)
{
    guint crosses = GPOINTER_TO_UINT(data);
    VfoJob *jobs[2];

    chosen[1] = VF;
    let_both_come(f, TWO_POOLED, jobs);
    assert_unchanged(&f->call);
    hook(f, "prepare", "begin", TWO_POOLED);
    assert_unchanged(&f->call);
    hook(f, "start", "begin", crosses ? POOLED("0", "2") : POOLED("2", "0"));
    g_assert_true(started);
    g_assert_cmpuint(yielded[0], ==, crosses);
    g_assert_cmpuint(yielded[1], ==, crosses);
    unref_both(jobs);
}

static void test_other_pair_offered(Fixture *f, gconstpointer data)
{
    VfoPair pair = {.standby = (char *)"ua-net2"};
    VfoOffer offer = {.vm = (char *)"web1", .pair = &pair};
    g_autoptr(GError) error = NULL;

    hook(f, "migrate", "begin", TWO);
    offer.job = asked_of_hosta()->job;
    g_assert_null(vfo_arrivals_job(f->arrivals, "hosta", &offer, NULL, NULL, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "ua-net1, and offers ua-net2"));
}

static void test_daemon_stops(Fixture *f, gconstpointer data)
{
    hook(f, "migrate", "begin", PAIR);
    g_clear_pointer(&f->hooks, vfo_hooks_free);
    g_clear_pointer(&f->arrivals, vfo_arrivals_free);
    assert_failed(&f->call, VFO_ERROR_CLOSED, "stops");
}

#define ADD_WITH(name, data, func)                                                                 \
    g_test_add("/arrivals/" name, Fixture, data, set_up, func, tear_down)
#define ADD(name, func) ADD_WITH(name, NULL, func)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A job that fails says so. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
    ADD("ordinary", test_ordinary);
    ADD("bad-arguments", test_bad_arguments);
    ADD("no-pair", test_no_pair);
    ADD("arrives", test_arrives);
    ADD("same-vf", test_same_vf);
    ADD("pool", test_pool);
    ADD("refused-here", test_refused_here);
    ADD("nobody-has-it", test_nobody_has_it);
    ADD("no-peers", test_no_peers);
    ADD("source-refuses", test_source_refuses);
    ADD("no-reservation", test_no_reservation);
    ADD("no-vf", test_no_vf);
    ADD("job-fails", test_job_fails);
    ADD("job-fails-later", test_job_fails_later);
    ADD("start-fails", test_start_fails);
    ADD("deadlines", test_deadlines);
    ADD("again", test_again);
    ADD("both-arrive", test_both_arrive);
    ADD("second-refused", test_second_refused);
    ADD("no-second-vf", test_no_second_vf);
    ADD_WITH("first-fails", GUINT_TO_POINTER(0), test_one_fails);
    ADD_WITH("second-fails", GUINT_TO_POINTER(1), test_one_fails);
    ADD_WITH("first-start-fails", GUINT_TO_POINTER(0), test_one_start_fails);
    ADD_WITH("second-start-fails", GUINT_TO_POINTER(1), test_one_start_fails);
    ADD("second-deadline", test_second_deadline);
    ADD("second-changed", test_second_changed);
    ADD_WITH("pool-crosses", GUINT_TO_POINTER(1), test_pool_crosses);
    ADD_WITH("pool-as-chosen", GUINT_TO_POINTER(0), test_pool_crosses);
    ADD("other-pair-offered", test_other_pair_offered);
    ADD("daemon-stops", test_daemon_stops);
    return g_test_run();
}
