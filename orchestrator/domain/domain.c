/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "domain/xml.h"

#define MAX_NAME  255 /* bytes of a name, an alias, an interface */
#define MAX_PAIRS 256

void vfo_domain_pair_free(VfoDomainPair *pair)
{
    if (!pair)
        return;
    g_free(pair->standby);
    g_free(pair->tap);
    g_free(pair->bridge);
    g_free(pair->primary);
    g_free(pair->vf);
    g_free(pair->network);
    g_free(pair);
}

void vfo_domain_free(VfoDomain *domain)
{
    if (!domain)
        return;
    g_free(domain->name);
    g_free(domain->uuid);
    g_free(domain->machine);
    g_ptr_array_unref(domain->pairs);
    g_ptr_array_unref(domain->plain);
    g_free(domain);
}

VfoDomain *vfo_domain_new(const char *name, const char *uuid)
{
    VfoDomain *domain = g_new0(VfoDomain, 1);

    domain->name = g_strdup(name);
    domain->uuid = uuid ? g_ascii_strdown(uuid, -1) : NULL;
    domain->numa_node = -1;
    domain->pairs = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_domain_pair_free);
    domain->plain = g_ptr_array_new_with_free_func((GDestroyNotify)vfo_domain_pair_free);
    return domain;
}

static void copy_pairs(const GPtrArray *from, GPtrArray *to)
{
    for (guint i = 0; i < from->len; i++) {
        const VfoDomainPair *original = g_ptr_array_index(from, i);
        VfoDomainPair *pair = g_memdup2(original, sizeof(*original));

        pair->standby = g_strdup(original->standby);
        pair->tap = g_strdup(original->tap);
        pair->bridge = g_strdup(original->bridge);
        pair->primary = g_strdup(original->primary);
        pair->vf = g_strdup(original->vf);
        pair->network = g_strdup(original->network);
        g_ptr_array_add(to, pair);
    }
}

VfoDomain *vfo_domain_copy(const VfoDomain *domain)
{
    VfoDomain *copy = vfo_domain_new(domain->name, domain->uuid);

    copy->machine = g_strdup(domain->machine);
    copy->numa_node = domain->numa_node;
    copy_pairs(domain->pairs, copy->pairs);
    copy_pairs(domain->plain, copy->plain);
    return copy;
}

const VfoDomainPair *vfo_domain_pair(const VfoDomain *domain, const char *standby)
{
    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        if (g_strcmp0(pair->standby, standby) == 0)
            return pair;
    }
    return NULL;
}

/* ------------------------------------------------------------------ parse */

static gboolean invalid(const VfoDomain *domain, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean invalid(const VfoDomain *domain, GError **error, const char *format, ...)
{
    va_list args;
    g_autofree char *what = NULL;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "XML of domain %s: %s",
                domain->name ? domain->name : "(without a name)", what);
    return FALSE;
}

/* It goes into messages, each of which is one line. */
static gboolean is_name(const char *text)
{
    if (!text || !*text || strlen(text) > MAX_NAME)
        return FALSE;
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        if (g_unichar_iscntrl(g_utf8_get_char(at)))
            return FALSE;
    }
    return TRUE;
}

/* Reads @node's attribute @name, which may be missing, into @value. */
static gboolean read_name(const VfoDomain *domain, xmlNode *node, const char *name, char **value,
                          GError **error)
{
    g_autofree char *text = vfo_xml_get(node, name);

    if (text && !is_name(text))
        return invalid(domain, error,
                       "<%s>'s %s is empty, longer than %d bytes, or has control characters",
                       (const char *)node->name, name, MAX_NAME);
    g_free(*value);
    *value = g_steal_pointer(&text);
    return TRUE;
}

static gboolean read_mac(const VfoDomain *domain, xmlNode *interface, VfoMac *mac, GError **error)
{
    g_autofree char *text = vfo_xml_get(vfo_xml_child(interface, "mac"), "address");

    if (!text)
        return invalid(domain, error, "an <interface> of a pair, or of a VF, has no <mac>");
    if (!vfo_mac_parse(text, mac) || !vfo_mac_is_unicast(mac))
        return invalid(domain, error, "<mac>: '%.32s' is not the MAC address of a NIC", text);
    return TRUE;
}

/* Several tags, or one that is a trunk's, tell nothing of the frames without one. */
static gboolean read_vlan(const VfoDomain *domain, xmlNode *interface, guint16 *vlan,
                          GError **error)
{
    xmlNode *list = vfo_xml_child(interface, "vlan");
    xmlNode *tag = vfo_xml_child(list, "tag");
    g_autofree char *text = vfo_xml_get(tag, "id");
    guint64 id;

    if (!tag || vfo_xml_has(list, "trunk", "yes"))
        return TRUE;
    for (xmlNode *next = tag->next; next; next = next->next) {
        if (vfo_xml_is(next, "tag"))
            return TRUE;
    }
    if (!text || !g_ascii_string_to_unsigned(text, 10, 0, 4094, &id, NULL))
        return invalid(domain, error, "<vlan>: '%.32s' is not a VLAN's number", text ? text : "");
    *vlan = (guint16)id;
    return TRUE;
}

static gboolean read_part(xmlNode *address, const char *name, guint64 max, guint64 *value)
{
    g_autofree char *text = vfo_xml_get(address, name);
    const char *digits = text;
    gboolean hex;

    *value = 0;
    if (!text)
        return TRUE;
    hex = g_ascii_strncasecmp(text, "0x", 2) == 0;
    return g_ascii_string_to_unsigned(hex ? digits + 2 : digits, hex ? 16 : 10, 0, max, value,
                                      NULL);
}

/* A part that is missing is 0, as in libvirt (virPCIDeviceAddressParseXML()). */
static gboolean read_address(const VfoDomain *domain, xmlNode *address, char **pci, GError **error)
{
    guint64 parts[4];

    if (!read_part(address, "domain", 0xffff, &parts[0]) ||
        !read_part(address, "bus", 0xff, &parts[1]) ||
        !read_part(address, "slot", 0x1f, &parts[2]) ||
        !read_part(address, "function", 7, &parts[3]))
        return invalid(domain, error, "<source> of a VF: <address> is not that of a PCI device");
    *pci = g_strdup_printf("%04x:%02x:%02x.%x", (guint)parts[0], (guint)parts[1], (guint)parts[2],
                           (guint)parts[3]);
    return TRUE;
}

static VfoDomainPair *add_to(VfoDomain *domain, GPtrArray *list, GError **error)
{
    VfoDomainPair *pair;

    if (list->len >= MAX_PAIRS) {
        invalid(domain, error, "more than %d PCI devices of the host", MAX_PAIRS);
        return NULL;
    }
    pair = g_new0(VfoDomainPair, 1);
    g_ptr_array_add(list, pair);
    return pair;
}

static VfoDomainPair *add_pair(VfoDomain *domain, GError **error)
{
    return add_to(domain, domain->pairs, error);
}

/* Adds @interface to @list, one of the domain's. */
static gboolean read_standby(VfoDomain *domain, GPtrArray *list, xmlNode *interface, GError **error)
{
    g_autofree char *alias = NULL;
    VfoDomainPair *pair;

    if (!read_name(domain, vfo_xml_child(interface, "alias"), "name", &alias, error))
        return FALSE;
    if (!alias)
        return TRUE;
    if (vfo_domain_pair(domain, alias))
        return invalid(domain, error, "two interfaces have the alias %s", alias);
    pair = add_to(domain, list, error);
    if (!pair)
        return FALSE;
    pair->standby = g_steal_pointer(&alias);
    pair->virtualport = vfo_xml_child(interface, "virtualport") != NULL;
    return read_mac(domain, interface, &pair->mac, error) &&
           read_vlan(domain, interface, &pair->vlan, error) &&
           read_name(domain, vfo_xml_child(interface, "target"), "dev", &pair->tap, error) &&
           read_name(domain, vfo_xml_child(interface, "source"), "bridge", &pair->bridge, error);
}

/* The pair that the VF at @node belongs to, or one of its own. */
static VfoDomainPair *pair_of(VfoDomain *domain, xmlNode *node, GError **error)
{
    xmlNode *teaming = vfo_xml_child(node, "teaming");
    g_autofree char *standby = NULL;
    VfoDomainPair *pair;

    if (!vfo_xml_has(teaming, "type", "transient"))
        return add_pair(domain, error);
    if (!read_name(domain, teaming, "persistent", &standby, error))
        return NULL;
    pair = standby ? (VfoDomainPair *)vfo_domain_pair(domain, standby) : NULL;
    if (!pair) {
        invalid(domain, error,
                "<teaming type='transient'> names the interface %s, but no interface with "
                "<teaming type='persistent'/> has that alias",
                standby ? standby : "(none)");
        return NULL;
    }
    if (pair->has_vf) {
        invalid(domain, error, "two VFs name the interface %s as theirs", standby);
        return NULL;
    }
    return pair;
}

/* libvirt sets a VF's MAC to that of its own <interface>, and the guest pairs by it. */
static gboolean read_vf_mac(const VfoDomain *domain, VfoDomainPair *pair, xmlNode *interface,
                            GError **error)
{
    char one[VFO_MAC_STRLEN], other[VFO_MAC_STRLEN];
    VfoMac mac;

    if (!read_mac(domain, interface, &mac, error))
        return FALSE;
    if (pair->standby && !vfo_mac_equal(&mac, &pair->mac))
        return invalid(domain, error,
                       "interface %s has MAC %s and its VF MAC %s; the guest's failover driver "
                       "wants the same for both",
                       pair->standby, vfo_mac_format(&pair->mac, one), vfo_mac_format(&mac, other));
    pair->mac = mac;
    return TRUE;
}

static gboolean read_vf(VfoDomain *domain, xmlNode *node, VfoDomainForm form, GError **error)
{
    VfoDomainPair *pair = pair_of(domain, node, error);
    xmlNode *source = vfo_xml_child(node, "source");
    xmlNode *address = vfo_xml_child(source, "address");

    if (!pair)
        return FALSE;
    pair->has_vf = TRUE;
    pair->form = form;
    pair->managed = vfo_xml_has(node, "managed", "yes");
    pair->virtualport = pair->virtualport || vfo_xml_child(node, "virtualport");
    if (!read_name(domain, vfo_xml_child(node, "alias"), "name", &pair->primary, error))
        return FALSE;
    if (form != VFO_DOMAIN_HOSTDEV &&
        (!read_vf_mac(domain, pair, node, error) || !read_vlan(domain, node, &pair->vlan, error) ||
         !read_name(domain, source, "network", &pair->network, error)))
        return FALSE;
    if (address)
        return read_address(domain, address, &pair->vf, error);
    return form == VFO_DOMAIN_NETWORK ||
           invalid(domain, error, "a device of the host has no <address> in its <source>");
}

/* What we cannot read here is of no interest. */
static void read_plain(VfoDomain *domain, xmlNode *interface)
{
    guint before = domain->plain->len;

    if (!vfo_xml_child(interface, "teaming") &&
        !read_standby(domain, domain->plain, interface, NULL) && domain->plain->len > before)
        g_ptr_array_set_size(domain->plain, (int)before);
}

static gboolean read_devices(VfoDomain *domain, xmlNode *devices, GError **error)
{
    VfoDomainForm form;

    /* The standbys first: a VF may stand before the one it belongs to. */
    for (xmlNode *node = devices->children; node; node = node->next) {
        if (vfo_xml_is(node, "interface") &&
            vfo_xml_has(vfo_xml_child(node, "teaming"), "type", "persistent") &&
            !read_standby(domain, domain->pairs, node, error))
            return FALSE;
    }
    for (xmlNode *node = devices->children; node; node = node->next) {
        if (vfo_xml_is_vf(node, &form) && !read_vf(domain, node, form, error))
            return FALSE;
        if (vfo_xml_is(node, "interface") && !vfo_xml_is_vf(node, &form))
            read_plain(domain, node);
    }
    return TRUE;
}

/* libvirt's <numatune><memory mode='strict' nodeset='1'/>; a set of one is one number. */
static int read_numa_node(xmlNode *root)
{
    xmlNode *memory = vfo_xml_child(vfo_xml_child(root, "numatune"), "memory");
    g_autofree char *nodes = vfo_xml_get(memory, "nodeset");
    guint64 node;

    if (!nodes || !vfo_xml_has(memory, "mode", "strict") ||
        !g_ascii_string_to_unsigned(nodes, 10, 0, 4095, &node, NULL))
        return -1;
    return (int)node;
}

static gboolean read_domain(VfoDomain *domain, xmlNode *root, GError **error)
{
    xmlNode *devices = vfo_xml_child(root, "devices");
    g_autofree char *name = vfo_xml_text(vfo_xml_child(root, "name"));
    g_autofree char *uuid = vfo_xml_text(vfo_xml_child(root, "uuid"));

    if (!is_name(name))
        return invalid(domain, error,
                       "<name> is missing, empty, longer than %d bytes, or has control characters",
                       MAX_NAME);
    domain->name = g_steal_pointer(&name);
    if (!uuid || !g_uuid_string_is_valid(uuid))
        return invalid(domain, error, "<uuid> is missing or is none");
    domain->uuid = g_ascii_strdown(uuid, -1);
    domain->numa_node = read_numa_node(root);
    return read_name(domain, vfo_xml_child(vfo_xml_child(root, "os"), "type"), "machine",
                     &domain->machine, error) &&
           (!devices || read_devices(domain, devices, error));
}

VfoDomain *vfo_domain_parse(const char *xml, gsize length, GError **error)
{
    g_autoptr(xmlDoc) doc = vfo_xml_read(xml, length, error);
    g_autoptr(VfoDomain) domain = NULL;

    if (!doc)
        return NULL;
    domain = vfo_domain_new(NULL, NULL);
    if (!read_domain(domain, xmlDocGetRootElement(doc), error))
        return NULL;
    return g_steal_pointer(&domain);
}
