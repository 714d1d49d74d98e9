/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFs of VMs that libvirt starts and stops.
 *
 * From "prepare" until its VM has been looked at nobody else gets a VF that a domain names; at
 * "start", when its tap is in its bridge, the VF gets the guest's address; at "release" it is
 * parked and reset.
 */
#include "daemon/daemon.h"

#include "domain/domain.h"

/* For a domain to start, and for its VF to be cleaned when it has ended. */
#define START_SECONDS 600

struct _VfoOwners {
    VfoOwnersArgs args;
    GHashTable *started; /* PCI address -> name of the domain, of whose VM nobody knows it yet */
    gulong inspected_handler;
};

static gboolean is_held(VfoOwners *owners, const VfoDomain *domain, const char *pci)
{
    g_autofree char *holder = vfo_leases_of_domain(domain->name);

    return g_strcmp0(vfo_leases_holder(owners->args.leases, pci), holder) == 0;
}

/* Somebody has @vf, or is to have it, be it the domain itself. */
static gboolean is_taken(VfoOwners *owners, const VfoDomain *domain, const VfoVf *vf)
{
    VfoLeases *leases = owners->args.leases;

    return vf->opened || vfo_leases_holder(leases, vf->pci) ||
           vfo_leases_owned(leases, vf, domain->name);
}

/* The VF of @pair as it is now, in @vf; NULL there: it has none, or none of ours. */
static gboolean read_vf(VfoOwners *owners, const VfoDomainPair *pair, VfoVf **vf, GError **error)
{
    VfoHost *host = owners->args.host;
    g_autoptr(GError) why = NULL;

    *vf = pair->vf ? host->ops->read_vf(host, pair->vf, &why) : NULL;
    if (!why || g_error_matches(why, VFO_ERROR, VFO_ERROR_NOT_FOUND))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* ----------------------------------------------------------------- prepare */

static gboolean refuse_taken(VfoOwners *owners, const VfoDomain *domain, const VfoVf *vf,
                             GError **error)
{
    const char *holder = vfo_leases_holder(owners->args.leases, vf->pci);
    VfoJob *job = holder ? vfo_jobs_find(owners->args.jobs, holder, NULL) : NULL;
    g_autoptr(GPtrArray) vms = vfo_vms_list(owners->args.vms);
    const char *unclean = vfo_leases_unclean(owners->args.leases, vf->pci, NULL);
    VfoVm *owner;

    vfo_inventory_owner(vms, vf->pci, &owner);
    if (job)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "domain %s: its VF %s is reserved for VM %s, by job %s: wait for that, or give "
                    "the domain another VF ('vfailover vfs' shows the free ones)",
                    domain->name, vf->pci, vfo_job_vm(job), holder);
    else if (unclean)
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "domain %s: its VF %s could not be cleaned when its last VM had left it (%s), "
                    "which is tried once a minute, for 30 seconds: wait for that, or give the "
                    "domain another VF ('vfailover vfs' shows the free ones)",
                    domain->name, vf->pci, unclean);
    else
        g_set_error(error, VFO_ERROR, VFO_ERROR_BUSY,
                    "domain %s: its VF %s is in use by %s%s: give the domain another one "
                    "('vfailover vfs' shows the free ones)",
                    domain->name, vf->pci, owner ? "VM " : "",
                    owner    ? owner->name
                    : holder ? holder
                             : "another program");
    return FALSE;
}

static gboolean take(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                     GError **error)
{
    VfoLeases *leases = owners->args.leases;
    g_autofree char *holder = vfo_leases_of_domain(domain->name);
    g_autoptr(VfoVf) vf = NULL;

    if (pair->vf && is_held(owners, domain, pair->vf))
        return vfo_leases_take(leases, pair->vf, holder, START_SECONDS, error);
    if (!read_vf(owners, pair, &vf, error))
        return FALSE;
    if (!vf)
        return TRUE;
    if (is_taken(owners, domain, vf))
        return refuse_taken(owners, domain, vf, error);
    return vfo_leases_take(leases, vf->pci, holder, START_SECONDS, error);
}

static void drop_all(VfoOwners *owners, const VfoDomain *domain)
{
    g_autofree char *holder = vfo_leases_of_domain(domain->name);

    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        if (!pair->vf)
            continue;
        vfo_leases_drop(owners->args.leases, pair->vf, holder);
        g_hash_table_remove(owners->started, pair->vf);
    }
}

gboolean vfo_owners_prepare(VfoOwners *owners, const VfoDomain *domain, GError **error)
{
    for (guint i = 0; i < domain->pairs->len; i++) {
        if (!take(owners, domain, g_ptr_array_index(domain->pairs, i), error)) {
            drop_all(owners, domain);
            return FALSE;
        }
    }
    return TRUE;
}

/* ------------------------------------------------------------------- start */

/* The VLAN that the standby's frames are in on the wire; what the domain says goes first. */
static void find_vlan(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                      const VfoVf *vf, VfoVfSettings *found)
{
    VfoHost *host = owners->args.host;
    VfoVfSettings settings = vf->settings;
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoWire) wire = NULL;

    settings.mac = pair->mac;
    settings.vlan = pair->vlan ? pair->vlan : VFO_VLAN_ANY;
    if (pair->tap)
        wire = host->ops->find_wire(host, pair->tap, vf, &settings, &error);
    found->vlan = wire ? wire->vlan : pair->vlan;
    found->vlan_outer = wire && wire->vlan_outer;
    if (wire)
        return;
    g_warning("domain %s: its interface %s does not reach the network of its VF %s, and the domain "
              "cannot be handed over: %s",
              domain->name, pair->standby, vf->pci, error ? error->message : "it is on no tap");
}

/* libvirt sets a VF that is an <interface>, and nobody one that is a <hostdev>. */
static gboolean give(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                     GError **error)
{
    VfoHost *host = owners->args.host;
    g_autoptr(VfoVf) vf = NULL;
    VfoVfSettings settings;

    if (!pair->standby || pair->form != VFO_DOMAIN_HOSTDEV)
        return TRUE;
    if (!read_vf(owners, pair, &vf, error))
        return FALSE;
    if (!vf)
        return TRUE;
    settings = vf->settings;
    settings.mac = pair->mac;
    find_vlan(owners, domain, pair, vf, &settings);
    if (!host->ops->set_vf(host, vf->pci, &settings, error)) {
        g_prefix_error(error, "domain %s: ", domain->name);
        return FALSE;
    }
    g_message("domain %s starts with VF %s at its standby %s", domain->name, vf->pci,
              pair->standby);
    return TRUE;
}

gboolean vfo_owners_start(VfoOwners *owners, const VfoDomain *domain, GError **error)
{
    /* A VF that libvirt has taken from a pool is known only now. */
    if (!vfo_owners_prepare(owners, domain, error))
        return FALSE;
    for (guint i = 0; i < domain->pairs->len; i++) {
        if (!give(owners, domain, g_ptr_array_index(domain->pairs, i), error))
            return FALSE;
    }
    /* One that comes without its VF is expected: what waits for its tap need not ask for it. */
    vfo_vms_tell_start(owners->args.vms, domain, NULL);
    return TRUE;
}

/* ----------------------------------------------------------------- started */

/*
 * QEMU opens the VF of a pair when the guest has negotiated failover: until then only what its VM
 * is known to have tells whose the VF is, and libvirt tells of a VM after it has run the hook.
 */
static void drop_known(VfoOwners *owners)
{
    g_autoptr(GPtrArray) vms = vfo_vms_list(owners->args.vms);
    GHashTableIter iter;
    gpointer pci, name;

    g_hash_table_iter_init(&iter, owners->started);
    while (g_hash_table_iter_next(&iter, &pci, &name)) {
        g_autofree char *holder = vfo_leases_of_domain(name);
        VfoVm *owner;

        vfo_inventory_owner(vms, pci, &owner);
        if (!owner || !g_str_equal(owner->name, name))
            continue;
        vfo_leases_drop(owners->args.leases, pci, holder);
        g_hash_table_iter_remove(&iter);
    }
}

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoOwners *owners = data;

    if (g_hash_table_size(owners->started))
        drop_known(owners);
}

void vfo_owners_started(VfoOwners *owners, const VfoDomain *domain)
{
    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        if (pair->vf && is_held(owners, domain, pair->vf))
            g_hash_table_replace(owners->started, g_strdup(pair->vf), g_strdup(domain->name));
    }
    drop_known(owners);
}

/* ----------------------------------------------------------------- release */

/* The VFs of one domain that go back to the pool. */
typedef struct {
    VfoOwners *owners;
    char *name;
    char *holder;
    GTask *task;
    guint waits; /* for so many VFs, and one for the caller */
} Release;

typedef struct {
    Release *release;
    char *pci;
} Cleaning;

static void release_done(Release *release)
{
    if (--release->waits > 0)
        return;
    vfo_lending_freed(release->owners->args.lending);
    vfo_task_done(release->task);
    g_free(release->name);
    g_free(release->holder);
    g_free(release);
}

static void on_cleaned(GObject *source, GAsyncResult *result, gpointer data)
{
    Cleaning *cleaning = data;
    Release *release = cleaning->release;
    g_autoptr(GError) error = NULL;

    if (g_task_propagate_boolean(G_TASK(result), &error)) {
        g_message("domain %s has ended: its VF %s is parked and reset", release->name,
                  cleaning->pci);
    } else {
        vfo_leases_keep(release->owners->args.leases, cleaning->pci, release->holder, release->name,
                        error);
    }
    g_free(cleaning->pci);
    g_free(cleaning);
    release_done(release);
}

/* A VF that somebody has open or leased, or whose guest only boots, is theirs: the domain has
 * moved, or never had it. */
static gboolean is_left(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                        const VfoVf *vf)
{
    VfoVfSettings parked = vfo_vf_parked(vf);

    /* The user's own VFs without a pair are the user's to see to. */
    gboolean ours =
        pair->standby || (pair->primary && g_str_has_prefix(pair->primary, VFO_DOMAIN_BONDED));

    return ours && !is_taken(owners, domain, vf) && !vfo_vf_settings_equal(&vf->settings, &parked);
}

static void give_back(Release *release, const VfoVf *vf)
{
    VfoLeases *leases = release->owners->args.leases;
    g_autoptr(GError) error = NULL;
    Cleaning *cleaning;

    if (!vfo_leases_take(leases, vf->pci, release->holder, START_SECONDS, &error)) {
        g_warning("domain %s has ended: its VF %s: %s", release->name, vf->pci, error->message);
        return;
    }
    cleaning = g_new0(Cleaning, 1);
    cleaning->release = release;
    cleaning->pci = g_strdup(vf->pci);
    release->waits++;
    vfo_clean_vf(release->owners->args.host, leases, vf, release->holder,
                 g_task_new(NULL, g_task_get_cancellable(release->task), on_cleaned, cleaning));
}

void vfo_owners_release(VfoOwners *owners, const VfoDomain *domain, GTask *task)
{
    Release *release = g_new0(Release, 1);
    VfoVm *vm = vfo_vms_get_uuid(owners->args.vms, domain->uuid, NULL);

    drop_all(owners, domain);
    /* If libvirt's event does not come, it is seen by itself that the domain has ended. */
    if (vm)
        vfo_vm_refresh(vm);
    release->owners = owners;
    release->name = g_strdup(domain->name);
    release->holder = vfo_leases_of_domain(domain->name);
    release->task = task;
    release->waits = 1;
    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);
        g_autoptr(GError) error = NULL;
        g_autoptr(VfoVf) vf = NULL;

        if (!read_vf(owners, pair, &vf, &error))
            g_warning("domain %s has ended: %s", domain->name, error->message);
        if (vf && is_left(owners, domain, pair, vf))
            give_back(release, vf);
    }
    release_done(release);
}

/* ----------------------------------------------------------------- restore */

/* The network whose bridge the standby is in; NULL: none, or more than one. */
static const char *network_of(VfoOwners *owners, const VfoDomainPair *pair)
{
    const GPtrArray *networks = owners->args.config->networks;
    const char *found = NULL;

    for (guint i = 0; i < networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(networks, i);

        if (g_strcmp0(network->bridge, pair->bridge) != 0)
            continue;
        if (found)
            return NULL;
        found = network->name;
    }
    return found;
}

/* A VF that is not managed stays with the driver that it has. */
static gboolean may_have(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                         const VfoVf *vf)
{
    if (!vf || vf->opened || (!pair->managed && g_strcmp0(vf->driver, "vfio-pci") != 0))
        return FALSE;
    return is_held(owners, domain, vf->pci) || !is_taken(owners, domain, vf);
}

/* A free VF of the same network as @old, the one the domain had, was in. */
static char *choose(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                    const VfoVf *old, GError **error)
{
    VfoHost *host = owners->args.host;
    g_autoptr(GPtrArray) vfs = host->ops->list_vfs(host, error);
    VfoWant want = {.vm = domain->name,
                    .network = old ? old->network : network_of(owners, pair),
                    .vendor = old ? old->vendor : 0,
                    .device = old ? old->device : 0,
                    .any_vf = owners->args.config->policy.any_vf,
                    .mac = pair->mac,
                    .numa_node = domain->numa_node,
                    .stays = TRUE};
    g_autofree char *holder = vfo_leases_of_domain(domain->name);
    const VfoVf *vf;

    if (!vfs)
        return NULL;
    if (!want.network) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "domain %s: there is no VF %s on this host, and no [network] of the "
                    "configuration has the bridge '%s', which would tell where another is to come "
                    "from",
                    domain->name, pair->vf, pair->bridge ? pair->bridge : "(none)");
        return NULL;
    }
    vf = vfo_choose_vf(vfs, owners->args.leases, &want, error);
    if (!vf) {
        g_prefix_error(error, "domain %s: its VF %s is taken: ", domain->name, pair->vf);
        return NULL;
    }
    if (!vfo_leases_take(owners->args.leases, vf->pci, holder, START_SECONDS, error))
        return NULL;
    g_message("domain %s is restored with VF %s in place of %s", domain->name, vf->pci, pair->vf);
    return g_strdup(vf->pci);
}

/* None of them is to be chosen for another pair. */
static gboolean keep_own(VfoOwners *owners, const VfoDomain *domain, GError **error)
{
    g_autofree char *holder = vfo_leases_of_domain(domain->name);

    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);
        g_autoptr(VfoVf) vf = NULL;

        if (!read_vf(owners, pair, &vf, error) ||
            (may_have(owners, domain, pair, vf) &&
             !vfo_leases_take(owners->args.leases, vf->pci, holder, START_SECONDS, error)))
            return FALSE;
    }
    return TRUE;
}

static gboolean restore_pair(VfoOwners *owners, const VfoDomain *domain, const VfoDomainPair *pair,
                             char **xml, GError **error)
{
    g_autoptr(VfoVf) old = NULL;
    g_autofree char *pci = NULL;
    char *changed;

    if (!pair->standby || !pair->vf)
        return TRUE;
    if (!read_vf(owners, pair, &old, error))
        return FALSE;
    if (may_have(owners, domain, pair, old))
        return TRUE;
    pci = choose(owners, domain, pair, old, error);
    changed = pci ? vfo_domain_set_vf(*xml, strlen(*xml), pair->standby, pci, error) : NULL;
    if (!changed)
        return FALSE;
    g_free(*xml);
    *xml = changed;
    return TRUE;
}

char *vfo_owners_restore(VfoOwners *owners, const VfoDomain *domain, const char *xml,
                         GError **error)
{
    g_autofree char *changed = g_strdup(xml);

    if (!keep_own(owners, domain, error))
        return NULL;
    for (guint i = 0; i < domain->pairs->len; i++) {
        if (!restore_pair(owners, domain, g_ptr_array_index(domain->pairs, i), &changed, error))
            return NULL;
    }
    return g_steal_pointer(&changed);
}

/* ---------------------------------------------------------------- lifetime */

VfoOwners *vfo_owners_new(const VfoOwnersArgs *args)
{
    VfoOwners *owners = g_new0(VfoOwners, 1);

    owners->args = *args;
    owners->started = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    owners->inspected_handler =
        g_signal_connect(args->vms, "inspected", G_CALLBACK(on_inspected), owners);
    return owners;
}

void vfo_owners_free(VfoOwners *owners)
{
    if (!owners)
        return;
    g_signal_handler_disconnect(owners->args.vms, owners->inspected_handler);
    g_hash_table_unref(owners->started);
    g_free(owners);
}
