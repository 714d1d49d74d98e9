/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An ordinary interface of a libvirt domain becomes a pair, and back. */
#include "cli/cli.h"

#include "domain/domain.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>

#define DEFAULT_URI "qemu:///system"
#define MAX_DOMAINS 10000

typedef struct {
    virConnectPtr connection;
    virDomainPtr domain;
} Libvirt;

/* It prints every error otherwise. */
static void say_nothing(void *data, virErrorPtr error)
{
}

static gboolean open_domain(Libvirt *libvirt, const char *uri, const char *name, GError **error)
{
    virSetErrorFunc(NULL, say_nothing);
    libvirt->connection = virConnectOpen(uri);
    if (!libvirt->connection)
        return vfo_fail(error, VFO_ERROR_FAILED, "libvirt cannot be reached at %s: %s", uri,
                        virGetLastErrorMessage());
    libvirt->domain = virDomainLookupByName(libvirt->connection, name);
    if (!libvirt->domain)
        libvirt->domain = virDomainLookupByUUIDString(libvirt->connection, name);
    if (!libvirt->domain)
        return vfo_fail(error, VFO_ERROR_NOT_FOUND,
                        "libvirt has no domain '%s'; see 'virsh list --all'", name);
    if (virDomainIsPersistent(libvirt->domain) != 1)
        return vfo_fail(error, VFO_ERROR_INVALID,
                        "domain %s is transient: change the XML that it is created from", name);
    return TRUE;
}

static void close_domain(Libvirt *libvirt)
{
    if (libvirt->domain)
        virDomainFree(libvirt->domain);
    if (libvirt->connection)
        virConnectClose(libvirt->connection);
}

/* -------------------------------------------------------------------- a VF */

/* The VFs that the XML of @domain names, added to @taken. */
static void add_vfs_of(virDomainPtr domain, unsigned int flags, GHashTable *taken)
{
    char *xml = virDomainGetXMLDesc(domain, flags);
    g_autoptr(VfoDomain) described = xml ? vfo_domain_parse(xml, strlen(xml), NULL) : NULL;

    for (guint i = 0; described && i < described->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(described->pairs, i);

        if (pair->vf)
            g_hash_table_add(taken, g_strdup(pair->vf));
    }
    free(xml);
}

/* A VF that another domain names is not free, though that one may not run. */
static GHashTable *find_taken(virConnectPtr connection)
{
    GHashTable *taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(connection, &domains, 0);

    for (int i = 0; i < count; i++) {
        if (i < MAX_DOMAINS) {
            add_vfs_of(domains[i], 0, taken);
            add_vfs_of(domains[i], VIR_DOMAIN_XML_INACTIVE, taken);
        }
        virDomainFree(domains[i]);
    }
    free(domains);
    return taken;
}

static char *choose_vf(Cli *cli, virConnectPtr connection, const char *network, GError **error)
{
    g_autoptr(json_object) vfs =
        cli_connect(cli, error) ? cli_call(cli, "query-vfs", NULL, error) : NULL;
    g_autoptr(GHashTable) taken = NULL;
    guint count = 0;

    if (!vfs)
        return NULL;
    taken = find_taken(connection);
    for (size_t i = 0; i < json_object_array_length(vfs); i++) {
        json_object *vf = json_object_array_get_idx(vfs, i);
        const char *pci = cli_member(vf, "pci");

        if (g_strcmp0(cli_member(vf, "network"), network) != 0)
            continue;
        count++;
        if (pci && g_str_equal(cli_vf_state(vf), "free") && !cli_member(vf, "owner") &&
            !g_hash_table_contains(taken, pci))
            return g_strdup(pci);
    }
    if (count)
        vfo_fail(
            error, VFO_ERROR_BUSY,
            "no VF of network '%s' is free: the %u that it has are in use, a VM's, leased, without "
            "vfio-pci, or in another domain's XML; 'vfailover vfs' shows them, --vf takes one "
            "all the same",
            network, count);
    else
        vfo_fail(error, VFO_ERROR_NOT_FOUND,
                 "there is no VF of a network '%s'; see 'vfailover vfs'", network);
    return NULL;
}

/* ------------------------------------------------------------------ define */

/* The XML that @domain is to have, and what has been done to it. */
static char *change(Cli *cli, const Libvirt *libvirt, const char *xml, char **what, GError **error)
{
    const char *network = cli->options[CLI_NETWORK];
    g_autofree char *pci = NULL;
    char *changed;

    if (cli->options[CLI_UNDO]) {
        *what = g_strdup("its pair is an ordinary interface");
        return vfo_domain_unmake_pair(xml, strlen(xml), cli->options[CLI_STANDBY], error);
    }
    pci = cli->options[CLI_VF] ? g_strdup(cli->options[CLI_VF])
                               : choose_vf(cli, libvirt->connection, network, error);
    if (!pci)
        return NULL;
    changed = vfo_domain_make_pair(xml, strlen(xml), cli->options[CLI_INTERFACE], pci, error);
    *what = g_strdup_printf("its interface has VF %s to fail over from", pci);
    return changed;
}

static gboolean define(const Libvirt *libvirt, const char *name, const char *xml, const char *what,
                       GError **error)
{
    virDomainPtr defined = virDomainDefineXML(libvirt->connection, xml);

    if (!defined)
        return vfo_fail(error, VFO_ERROR_FAILED, "domain %s: libvirt refuses the changed XML: %s",
                        name, virGetLastErrorMessage());
    virDomainFree(defined);
    printf("domain %s: %s%s\n", name, what,
           virDomainIsActive(libvirt->domain) == 1 ? ", from its next start on" : "");
    return TRUE;
}

static gboolean run(Cli *cli, const Libvirt *libvirt, const char *name, GError **error)
{
    /* Without what is secret a domain that is defined anew would lose it. */
    char *xml =
        virDomainGetXMLDesc(libvirt->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    g_autofree char *changed = NULL;
    g_autofree char *what = NULL;

    if (!xml)
        return vfo_fail(error, VFO_ERROR_FAILED, "domain %s: libvirt: %s", name,
                        virGetLastErrorMessage());
    changed = change(cli, libvirt, xml, &what, error);
    free(xml);
    if (!changed)
        return FALSE;
    if (!cli->options[CLI_PRINT_XML])
        return define(libvirt, name, changed, what, error);
    fputs(changed, stdout);
    return TRUE;
}

static gboolean check_options(const Cli *cli, GError **error)
{
    if (!cli->options[CLI_UNDO] && !cli->options[CLI_NETWORK] && !cli->options[CLI_VF])
        return vfo_fail(error, VFO_ERROR_INVALID,
                        "define: --network names the network whose VF the domain gets (or --vf the "
                        "VF); --undo takes it away");
    if (!cli->options[CLI_UNDO] && cli->options[CLI_STANDBY])
        return vfo_fail(error, VFO_ERROR_INVALID, "define: --standby goes with --undo");
    if (cli->options[CLI_UNDO] &&
        (cli->options[CLI_NETWORK] || cli->options[CLI_VF] || cli->options[CLI_INTERFACE]))
        return vfo_fail(error, VFO_ERROR_INVALID,
                        "define: of the other options, --undo goes with "
                        "--standby, --print-xml and --connect alone");
    return TRUE;
}

int cli_define(Cli *cli, char **arguments)
{
    const char *uri = cli->options[CLI_CONNECT] ? cli->options[CLI_CONNECT] : DEFAULT_URI;
    GError *error = NULL;
    Libvirt libvirt = {0};
    gboolean ok = check_options(cli, &error) && open_domain(&libvirt, uri, arguments[0], &error) &&
                  run(cli, &libvirt, arguments[0], &error);

    close_domain(&libvirt);
    return ok ? 0 : cli_fail(error);
}
