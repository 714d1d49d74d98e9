/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/daemon.h"

#include <net/if.h>

#define DEFAULT_PORT  16516
#define HOOK_MS       30000
#define DEFAULT_PORTS "49152-49215" /* libvirt's, so that firewalls already let them in */

/* Every group and key there is; those with a NAME are matched by their first word. */
static const struct {
    const char *group;
    const char *keys[9];
} known[] = {
    {"daemon",
     {"name", "socket", "admin-group", "listen", "port", "qmp-dir", "state", "guest-mac"}},
    {"migration", {"address", "ports", "max-bandwidth", "downtime-limit", "no-vf", "vf-match"}},
    {"libvirt", {"uri", "update-definition", "no-daemon", "hook-deadline"}},
    {"tls", {"ca", "server-cert", "server-key", "client-cert", "client-key"}},
    {"deadlines", {NULL}}, /* checked against vfo_deadline_name() */
    {"network", {"pf", "bridge", "datapath"}},
    {"peer", {"address", "port", "libvirt-uri"}},
    {"driver",
     {"cannot-set", "vf-counters", "ring-registers", "receive-vector", "quarantine-vlan",
      "resets-vf", "filter-entries"}},
};

typedef struct {
    GKeyFile *file;
    const char *path;
} Reader;

void vfo_config_free(VfoConfig *config)
{
    if (!config)
        return;
    g_free(config->name);
    g_free(config->socket);
    g_free(config->admin_group);
    g_free(config->listen);
    g_free(config->qmp_dir);
    g_free(config->state);
    g_free(config->migration_address);
    g_free(config->migration_ports);
    g_free(config->libvirt_uri);
    g_free(config->tls.ca);
    g_free(config->tls.server_cert);
    g_free(config->tls.server_key);
    g_free(config->tls.client_cert);
    g_free(config->tls.client_key);
    g_clear_pointer(&config->networks, g_ptr_array_unref);
    g_clear_pointer(&config->quirks, g_ptr_array_unref);
    g_clear_pointer(&config->peers, g_ptr_array_unref);
    g_free(config);
}

static gboolean fail(const Reader *r, const char *group, const char *key, GError **error,
                     const char *format, ...) G_GNUC_PRINTF(5, 6);

static gboolean fail(const Reader *r, const char *group, const char *key, GError **error,
                     const char *format, ...)
{
    va_list args;
    g_autofree char *message = NULL;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "%s: [%s]%s%s: %s", r->path, group,
                key ? " " : "", key ? key : "", message);
    return FALSE;
}

static gboolean is_deadline(const char *key)
{
    for (int i = 0; i < VFO_N_DEADLINES; i++) {
        if (g_str_equal(vfo_deadline_name((VfoDeadline)i), key))
            return TRUE;
    }
    return FALSE;
}

static gboolean check_keys(const Reader *r, const char *group, guint row, GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(r->file, group, NULL, NULL);

    for (guint i = 0; keys && keys[i]; i++) {
        g_autoptr(GError) why = NULL;
        gboolean found = FALSE;

        if (g_str_equal(known[row].group, "deadlines"))
            found = is_deadline(keys[i]);
        for (guint k = 0; k < G_N_ELEMENTS(known[row].keys) && known[row].keys[k]; k++)
            found = found || g_str_equal(keys[i], known[row].keys[k]);
        if (!found)
            return fail(r, group, keys[i], error,
                        "there is no such setting; see vfailoverd.conf(5)");
        /* A value that cannot be read must not pass for one that was not given. */
        g_free(g_key_file_get_string(r->file, group, keys[i], &why));
        if (why)
            return fail(r, group, keys[i], error,
                        "the value is not UTF-8 text, or has a '\\' that begins no escape");
    }
    return TRUE;
}

static gboolean check_names(const Reader *r, GError **error)
{
    static const char *const with_name[] = {"network", "peer", "driver", NULL};
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);

    for (guint i = 0; groups[i]; i++) {
        g_auto(GStrv) words = g_strsplit(groups[i], " ", 2);
        gboolean found = FALSE;

        for (guint k = 0; k < G_N_ELEMENTS(known) && !found; k++) {
            gboolean named = g_strv_contains(with_name, known[k].group);

            found = g_str_equal(words[0], known[k].group) && named == (words[1] != NULL);
            if (found && !check_keys(r, groups[i], k, error))
                return FALSE;
        }
        if (!found)
            return fail(r, groups[i], NULL, error,
                        "there is no such group; see vfailoverd.conf(5)");
    }
    return TRUE;
}

static char *read_string(const Reader *r, const char *group, const char *key, const char *fallback)
{
    char *value = g_key_file_get_string(r->file, group, key, NULL);

    return value ? g_strstrip(value) : g_strdup(fallback);
}

static gboolean read_number(const Reader *r, const char *group, const char *key, guint64 min,
                            guint64 max, guint64 *value, GError **error)
{
    g_autofree char *text = read_string(r, group, key, NULL);
    g_autoptr(GError) why = NULL;

    if (!text)
        return TRUE;
    if (!g_ascii_string_to_unsigned(text, 10, min, max, value, &why))
        return fail(r, group, key, error,
                    "'%s' is not a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, text,
                    min, max);
    return TRUE;
}

/* A host's name is also the name in its certificate. */
static gboolean is_name(const char *text)
{
    return g_regex_match_simple("^[A-Za-z0-9]([A-Za-z0-9.-]{0,62})$", text, G_REGEX_DOLLAR_ENDONLY,
                                0);
}

static gboolean is_ports(const char *text)
{
    g_auto(GStrv) ends = g_strsplit(text, "-", 3);
    guint64 first, last;

    return g_strv_length(ends) == 2 &&
           g_ascii_string_to_unsigned(ends[0], 10, 1, 65535, &first, NULL) &&
           g_ascii_string_to_unsigned(ends[1], 10, first, 65535, &last, NULL);
}

static gboolean check_path(const Reader *r, const char *group, const char *key, const char *path,
                           GError **error)
{
    return g_path_is_absolute(path) ||
           fail(r, group, key, error, "'%s' is not a path that begins with '/'", path);
}

static gboolean read_guest_mac(const Reader *r, VfoConfig *config, GError **error)
{
    g_autofree char *value = read_string(r, "daemon", "guest-mac", "deny");

    config->guest_mac = g_str_equal(value, "log") ? VFO_GUEST_MAC_LOG : VFO_GUEST_MAC_DENY;
    if (g_str_equal(value, "carry"))
        return fail(r, "daemon", "guest-mac", error,
                    "the guest's failover driver pairs standby and VF by their common MAC, which "
                    "QEMU fixes at the VM's start: another cannot be carried; 'deny' or 'log' it");
    return g_str_equal(value, "log") || g_str_equal(value, "deny") ||
           fail(r, "daemon", "guest-mac", error, "'%s' is neither 'deny' nor 'log'", value);
}

static gboolean read_daemon(const Reader *r, VfoConfig *config, GError **error)
{
    guint64 port = DEFAULT_PORT;

    config->name = read_string(r, "daemon", "name", g_get_host_name());
    config->socket = read_string(r, "daemon", "socket", VFO_CONTROL_SOCKET);
    config->admin_group = read_string(r, "daemon", "admin-group", NULL);
    config->listen = read_string(r, "daemon", "listen", "0.0.0.0");
    config->qmp_dir = read_string(r, "daemon", "qmp-dir", "/run/vfailover/qmp");
    config->state = read_string(r, "daemon", "state", "/run/vfailover/absences.json");
    if (!is_name(config->name))
        return fail(r, "daemon", "name", error, "'%s' is not a host name", config->name);
    if (!g_hostname_is_ip_address(config->listen))
        return fail(r, "daemon", "listen", error, "'%s' is not an IP address", config->listen);
    if (!check_path(r, "daemon", "socket", config->socket, error) ||
        !check_path(r, "daemon", "qmp-dir", config->qmp_dir, error) ||
        !check_path(r, "daemon", "state", config->state, error) ||
        !read_number(r, "daemon", "port", 1, 65535, &port, error) ||
        !read_guest_mac(r, config, error))
        return FALSE;
    config->port = (guint16)port;
    return TRUE;
}

static gboolean read_migration(const Reader *r, VfoConfig *config, GError **error)
{
    g_autofree char *no_vf = read_string(r, "migration", "no-vf", "refuse");
    g_autofree char *match = read_string(r, "migration", "vf-match", "exact");
    guint64 downtime = 0;

    config->migration_address = read_string(r, "migration", "address", config->listen);
    config->migration_ports = read_string(r, "migration", "ports", DEFAULT_PORTS);
    if (!g_hostname_is_ip_address(config->migration_address))
        return fail(r, "migration", "address", error, "'%s' is not an IP address",
                    config->migration_address);
    if (g_str_equal(config->migration_address, "0.0.0.0") ||
        g_str_equal(config->migration_address, "::"))
        return fail(r, "migration", "address", error,
                    "give the address at which other hosts reach this one");
    if (!is_ports(config->migration_ports))
        return fail(r, "migration", "ports", error, "'%s' is not a range such as %s",
                    config->migration_ports, DEFAULT_PORTS);
    if (!read_number(r, "migration", "max-bandwidth", 0, G_MAXINT64, &config->policy.max_bandwidth,
                     error) ||
        !read_number(r, "migration", "downtime-limit", 0, 2000000, &downtime, error))
        return FALSE;
    config->policy.downtime_limit_ms = (guint)downtime;
    config->policy.standby_only = g_str_equal(no_vf, "standby-only");
    if (!config->policy.standby_only && !g_str_equal(no_vf, "refuse"))
        return fail(r, "migration", "no-vf", error, "'%s' is neither 'refuse' nor 'standby-only'",
                    no_vf);
    config->policy.any_vf = g_str_equal(match, "any");
    if (!config->policy.any_vf && !g_str_equal(match, "exact"))
        return fail(r, "migration", "vf-match", error, "'%s' is neither 'exact' nor 'any'", match);
    return TRUE;
}

static gboolean read_seconds(const Reader *r, const char *group, const char *key, guint *ms,
                             GError **error)
{
    g_autofree char *text = read_string(r, group, key, NULL);
    char *rest = NULL;
    double seconds;

    if (!text)
        return TRUE;
    seconds = g_ascii_strtod(text, &rest);
    if (rest == text || *rest || !(seconds >= 0.001 && seconds <= 86400))
        return fail(r, group, key, error, "'%s' is not a time from 0.001 to 86400 seconds", text);
    *ms = (guint)(seconds * 1000 + 0.5);
    return TRUE;
}

static gboolean read_deadlines(const Reader *r, VfoConfig *config, GError **error)
{
    for (int i = 0; i < VFO_N_DEADLINES; i++) {
        if (!read_seconds(r, "deadlines", vfo_deadline_name((VfoDeadline)i),
                          &config->policy.deadline_ms[i], error))
            return FALSE;
    }
    return TRUE;
}

/* FALSE: it is set to something else than yes or no. @value stays as it is when it is not set. */
static gboolean read_yes(const Reader *r, const char *group, const char *key, gboolean *value,
                         GError **error)
{
    g_autofree char *text = read_string(r, group, key, NULL);

    if (text && !g_str_equal(text, "yes") && !g_str_equal(text, "no"))
        return fail(r, group, key, error, "'%s' is neither 'yes' nor 'no'", text);
    if (text)
        *value = g_str_equal(text, "yes");
    return TRUE;
}

/* The group alone says that libvirt is used. hook/ reads the last two as well, by itself. */
static gboolean read_libvirt(const Reader *r, VfoConfig *config, GError **error)
{
    g_autofree char *no_daemon = read_string(r, "libvirt", "no-daemon", "refuse");

    config->hook_ms = HOOK_MS;
    if (!g_key_file_has_group(r->file, "libvirt"))
        return TRUE;
    config->libvirt_uri = read_string(r, "libvirt", "uri", "qemu:///system");
    if (!g_uri_is_valid(config->libvirt_uri, G_URI_FLAGS_NONE, NULL))
        return fail(r, "libvirt", "uri", error, "'%s' is not a URI such as qemu:///system",
                    config->libvirt_uri);
    config->libvirt_alone = g_str_equal(no_daemon, "allow");
    if (!config->libvirt_alone && !g_str_equal(no_daemon, "refuse"))
        return fail(r, "libvirt", "no-daemon", error, "'%s' is neither 'refuse' nor 'allow'",
                    no_daemon);
    config->update_definition = TRUE;
    return read_yes(r, "libvirt", "update-definition", &config->update_definition, error) &&
           read_seconds(r, "libvirt", "hook-deadline", &config->hook_ms, error);
}

/* The name of the network that has @pf; NULL: none. */
static const char *network_of(const GPtrArray *networks, const char *pf)
{
    for (guint i = 0; i < networks->len; i++) {
        const VfoNetwork *network = g_ptr_array_index(networks, i);

        if (g_strv_contains((const char *const *)network->pfs, pf))
            return network->name;
    }
    return NULL;
}

/* How the standbys of @network are wired, and the bridge that this needs or cannot have. */
static gboolean read_datapath(const Reader *r, const char *group, VfoNetwork *network,
                              GError **error)
{
    static const char *const names[] = {"auto", "bridge", "macvtap", "switchdev", NULL};
    g_autofree char *name = read_string(r, group, "datapath", "auto");
    gboolean macvtap = g_str_equal(name, "macvtap");

    network->bridge = read_string(r, group, "bridge", NULL);
    if (!g_strv_contains(names, name))
        return fail(r, group, "datapath", error,
                    "'%s' is neither 'auto', 'bridge', 'macvtap' nor 'switchdev'", name);
    if (macvtap && network->bridge)
        return fail(r, group, "bridge", error, "macvtaps are on the PF itself: leave it out");
    if (macvtap && network->pfs[1])
        return fail(r, group, "pf", error,
                    "a macvtap is on one PF, of which its VF has to be: give each PF a network of "
                    "its own");
    if (!macvtap &&
        (!network->bridge || !network->bridge[0] || strlen(network->bridge) >= IF_NAMESIZE))
        return fail(r, group, "bridge", error,
                    "name the bridge that the PF is a port of, or set 'datapath = macvtap'");
    if (!g_str_equal(name, "auto"))
        network->datapath = g_steal_pointer(&name);
    return TRUE;
}

static gboolean read_network(const Reader *r, const char *group, VfoConfig *config, GError **error)
{
    g_autoptr(VfoNetwork) network = g_new0(VfoNetwork, 1);
    const char *other;

    network->name = g_strdup(group + strlen("network "));
    network->pfs = g_key_file_get_string_list(r->file, group, "pf", NULL, NULL);
    if (!is_name(network->name))
        return fail(r, group, NULL, error, "'%s' is not a name", network->name);
    if (!network->pfs || !network->pfs[0])
        return fail(r, group, "pf", error, "name the PF's network interface");
    for (guint i = 0; network->pfs[i]; i++) {
        g_strstrip(network->pfs[i]);
        if (!network->pfs[i][0] || strlen(network->pfs[i]) >= IF_NAMESIZE)
            return fail(r, group, "pf", error, "'%s' is not an interface name", network->pfs[i]);
        other = network_of(config->networks, network->pfs[i]);
        if (other)
            return fail(r, group, "pf", error, "%s is in network '%s' already", network->pfs[i],
                        other);
    }
    if (!read_datapath(r, group, network, error))
        return FALSE;
    g_ptr_array_add(config->networks, g_steal_pointer(&network));
    return TRUE;
}

typedef struct {
    const char *name; /* NULL: the end */
    guint bit;
} Word;

/* @set stays as it is when @key is not set. */
static gboolean read_set(const Reader *r, const char *group, const char *key, const Word *names,
                         const char *neither, guint *set, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_auto(GStrv) words = g_key_file_get_string_list(r->file, group, key, NULL, &why);

    if (!words)
        return !g_error_matches(why, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE) ||
               fail(r, group, key, error, "%s", why->message);
    *set = 0;
    for (guint i = 0; words[i]; i++) {
        const Word *word = names;

        g_strstrip(words[i]);
        while (word->name && !g_str_equal(word->name, words[i]))
            word++;
        if (!word->name)
            return fail(r, group, key, error, "'%s' is neither %s", words[i], neither);
        *set |= word->bit;
    }
    return TRUE;
}

static gboolean read_cannot_set(const Reader *r, const char *group, guint *cannot_set,
                                GError **error)
{
    static const Word names[] = {{"link-state", VFO_QUIRK_LINK_STATE},
                                 {"min-rate", VFO_QUIRK_MIN_RATE},
                                 {"outer-vlan", VFO_QUIRK_OUTER_VLAN},
                                 {NULL, 0}};

    return read_set(r, group, "cannot-set", names, "'link-state', 'min-rate' nor 'outer-vlan'",
                    cannot_set, error);
}

static gboolean read_resets(const Reader *r, const char *group, VfoQuirks *quirks, GError **error)
{
    enum { MAC = 1 << 0, VLAN = 1 << 1 };
    static const Word names[] = {{"mac", MAC}, {"vlan", VLAN}, {NULL, 0}};
    guint set = (quirks->mac_resets_vf ? MAC : 0) | (quirks->vlan_resets_vf ? VLAN : 0);

    if (!read_set(r, group, "resets-vf", names, "'mac' nor 'vlan'", &set, error))
        return FALSE;
    quirks->mac_resets_vf = (set & MAC) != 0;
    quirks->vlan_resets_vf = (set & VLAN) != 0;
    return TRUE;
}

/* What is not set here is as in vfailoverd's own table. */
static gboolean read_driver(const Reader *r, const char *group, VfoConfig *config, GError **error)
{
    const char *name = group + strlen("driver ");
    VfoQuirks *quirks = g_new0(VfoQuirks, 1);
    g_autofree char *vector = read_string(r, group, "receive-vector", NULL);
    g_autofree char *vlan = read_string(r, group, "quarantine-vlan", NULL);
    gboolean counters;
    guint64 number = 0;

    g_ptr_array_add(config->quirks, quirks);
    *quirks = *vfo_quirks_of(NULL, name);
    quirks->driver = g_strdup(name);
    /* A kernel module's name. */
    if (!g_regex_match_simple("^[A-Za-z0-9_-]{1,63}$", name, G_REGEX_DOLLAR_ENDONLY, 0))
        return fail(r, group, NULL, error, "'%s' is not a driver's name", name);
    counters = !quirks->no_vf_counters;
    if (!read_yes(r, group, "vf-counters", &counters, error) ||
        !read_yes(r, group, "ring-registers", &quirks->shows_rings, error))
        return FALSE;
    quirks->no_vf_counters = !counters;
    if (quirks->shows_rings && !vfo_quirks_of(NULL, name)->shows_rings)
        return fail(r, group, "ring-registers", error,
                    "the registers of this driver's cards are not known");
    if (vector && g_str_equal(vector, "none"))
        quirks->receive_vector = quirks->ready_vector = -1;
    else if (vector && !read_number(r, group, "receive-vector", 0, 2047, &number, error))
        return FALSE;
    else if (vector)
        quirks->receive_vector = quirks->ready_vector = (int)number;
    if (vlan && !read_number(r, group, "quarantine-vlan", 0, 4094, &number, error))
        return FALSE;
    if (vlan)
        quirks->quarantine = (guint16)number;
    if (!read_resets(r, group, quirks, error))
        return FALSE;
    if (vlan && quirks->quarantine && quirks->vlan_resets_vf)
        return fail(r, group, "quarantine-vlan", error,
                    "this driver resets a VF whose VLAN changes, and a quarantine ends when the "
                    "guest has the VF: leave it out, or see 'resets-vf'");
    /* Nothing would tell when it may end: a VF that receives nothing counts nothing. */
    if (quirks->ready_vector < 0 || quirks->vlan_resets_vf)
        quirks->quarantine = 0;
    number = quirks->filter_entries;
    if (!read_number(r, group, "filter-entries", 0, 65535, &number, error))
        return FALSE;
    quirks->filter_entries = (guint)number;
    return read_cannot_set(r, group, &quirks->cannot_set, error);
}

static gboolean read_libvirt_uri(const Reader *r, const char *group, VfoPeerAddress *peer,
                                 GError **error)
{
    g_autofree char *host = strchr(peer->address, ':') ? g_strdup_printf("[%s]", peer->address)
                                                       : g_strdup(peer->address);
    g_autofree char *ssh = g_strdup_printf("qemu+ssh://%s/system", host);

    peer->libvirt_uri = read_string(r, group, "libvirt-uri", ssh);
    return g_uri_is_valid(peer->libvirt_uri, G_URI_FLAGS_NONE, NULL) ||
           fail(r, group, "libvirt-uri", error, "'%s' is not a URI such as %s", peer->libvirt_uri,
                ssh);
}

static gboolean read_peer(const Reader *r, const char *group, VfoConfig *config, GError **error)
{
    VfoPeerAddress *peer = g_new0(VfoPeerAddress, 1);
    guint64 port = DEFAULT_PORT;

    g_ptr_array_add(config->peers, peer);
    peer->name = g_strdup(group + strlen("peer "));
    peer->address = read_string(r, group, "address", peer->name);
    if (!is_name(peer->name))
        return fail(r, group, NULL, error, "'%s' is not a host name", peer->name);
    if (g_str_equal(peer->name, config->name))
        return fail(r, group, NULL, error, "this host is no peer of itself");
    if (!g_hostname_is_ip_address(peer->address) && !is_name(peer->address))
        return fail(r, group, "address", error, "'%s' is neither an IP address nor a host name",
                    peer->address);
    if (!read_number(r, group, "port", 1, 65535, &port, error))
        return FALSE;
    peer->port = (guint16)port;
    return read_libvirt_uri(r, group, peer, error);
}

static gboolean read_tls(const Reader *r, VfoConfig *config, GError **error)
{
    VfoTlsFiles *tls = &config->tls;

    tls->ca = read_string(r, "tls", "ca", "/etc/pki/vfailover/cacert.pem");
    tls->server_cert = read_string(r, "tls", "server-cert", "/etc/pki/vfailover/servercert.pem");
    tls->server_key = read_string(r, "tls", "server-key", "/etc/pki/vfailover/serverkey.pem");
    tls->client_cert = read_string(r, "tls", "client-cert", "/etc/pki/vfailover/clientcert.pem");
    tls->client_key = read_string(r, "tls", "client-key", "/etc/pki/vfailover/clientkey.pem");
    return check_path(r, "tls", "ca", tls->ca, error) &&
           check_path(r, "tls", "server-cert", tls->server_cert, error) &&
           check_path(r, "tls", "server-key", tls->server_key, error) &&
           check_path(r, "tls", "client-cert", tls->client_cert, error) &&
           check_path(r, "tls", "client-key", tls->client_key, error);
}

static gboolean read_all(const Reader *r, VfoConfig *config, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(r->file, NULL);

    if (!check_names(r, error) || !read_daemon(r, config, error) || !read_tls(r, config, error))
        return FALSE;
    for (guint i = 0; groups[i]; i++) {
        if (g_str_has_prefix(groups[i], "network ") && !read_network(r, groups[i], config, error))
            return FALSE;
        if (g_str_has_prefix(groups[i], "driver ") && !read_driver(r, groups[i], config, error))
            return FALSE;
        if (g_str_has_prefix(groups[i], "peer ") && !read_peer(r, groups[i], config, error))
            return FALSE;
    }
    if (config->networks->len == 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "%s: there is no [network NAME]: name at least one, with its pf", r->path);
        return FALSE;
    }
    return read_migration(r, config, error) && read_libvirt(r, config, error) &&
           read_deadlines(r, config, error);
}

VfoConfig *vfo_config_load(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(VfoConfig) config = g_new0(VfoConfig, 1);
    g_autoptr(GError) why = NULL;
    Reader r = {file, path};

    config->networks = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_network_free);
    config->quirks = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_quirks_free);
    config->peers = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_peer_address_free);
    vfo_policy_default(&config->policy);
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &why)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID,
                    "the configuration %s cannot be read: %s; see vfailoverd.conf(5)", path,
                    why->message);
        return NULL;
    }
    if (!read_all(&r, config, error))
        return NULL;
    return g_steal_pointer(&config);
}

const VfoPeerAddress *vfo_config_peer(const VfoConfig *config, const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (guint i = 0; i < config->peers->len; i++) {
        const VfoPeerAddress *peer = g_ptr_array_index(config->peers, i);

        if (g_str_equal(peer->name, name))
            return peer;
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", peer->name);
    }
    g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                "no host is called '%s' (peers in the configuration: %s)", name,
                names->len ? names->str : "none");
    return NULL;
}
