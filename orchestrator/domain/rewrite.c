/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a domain's XML is changed to, and no more of it than that. */
#include "domain/xml.h"

#include <string.h>

#define XML(text) ((const xmlChar *)(text))

/* The aliases that are ours to take away again; libvirt wants "ua-" before a user's. */
#define OUR_STANDBY "ua-vfailover-net"
#define OUR_VF      "ua-vfailover-vf"

static xmlNode *devices_of(xmlDoc *doc)
{
    return vfo_xml_child(xmlDocGetRootElement(doc), "devices");
}

static gboolean is_pci(const char *pci, GError **error)
{
    return vfo_pci_is_address(pci) ||
           vfo_fail(error, VFO_ERROR_INVALID, "'%s' is not a PCI address such as 0000:01:10.0",
                    pci);
}

static char *alias_of(xmlNode *device)
{
    return vfo_xml_get(vfo_xml_child(device, "alias"), "name");
}

static char *mac_of(xmlNode *interface)
{
    return vfo_xml_get(vfo_xml_child(interface, "mac"), "address");
}

/* ------------------------------------------------------------------ VF */

char *vfo_domain_set_vf(const char *xml, gsize length, const char *standby, const char *pci,
                        GError **error)
{
    g_autoptr(xmlDoc) doc = is_pci(pci, error) ? vfo_xml_read(xml, length, error) : NULL;
    xmlNode *vf = doc ? vfo_xml_vf_of(devices_of(doc), standby) : NULL;
    xmlNode *address = vfo_xml_child(vfo_xml_child(vf, "source"), "address");

    if (!doc)
        return NULL;
    if (address) {
        vfo_xml_set_address(address, pci);
        return vfo_xml_write(doc, error);
    }
    if (vf)
        vfo_fail(
            error, VFO_ERROR_NOT_SUPPORTED,
            "domain XML: the VF of standby %s is one that libvirt takes from a network's pool: "
            "another cannot be put in its place",
            standby);
    else
        vfo_fail(error, VFO_ERROR_NOT_FOUND, "domain XML: standby %s has no VF", standby);
    return NULL;
}

char *vfo_domain_set_vfs(const char *xml, gsize length, const VfoDomain *running, GError **error)
{
    g_autoptr(VfoDomain) domain = vfo_domain_parse(xml, length, error);
    g_autoptr(GError) missing = NULL;
    g_autofree char *text = NULL;

    for (guint i = 0; domain && i < running->pairs->len; i++) {
        const VfoDomainPair *wanted = g_ptr_array_index(running->pairs, i);
        const VfoDomainPair *pair = vfo_domain_pair(domain, wanted->standby);
        const char *before = text ? text : xml;
        char *changed;

        if (!wanted->standby || !wanted->vf ||
            (pair && pair->has_vf && (!pair->vf || g_str_equal(pair->vf, wanted->vf))))
            continue;
        g_clear_error(&missing);
        changed = vfo_domain_set_vf(before, text ? strlen(text) : length, wanted->standby,
                                    wanted->vf, &missing);
        if (!changed)
            continue;
        g_free(text);
        text = changed;
    }
    if (!text && missing)
        g_propagate_error(error, g_steal_pointer(&missing));
    return g_steal_pointer(&text);
}

/* ------------------------------------------------------------- formatting */

/* The white space before @node, with which what is put beside it stands as it does. */
static xmlNode *space_before(xmlNode *node)
{
    return node->prev && node->prev->type == XML_TEXT_NODE && xmlIsBlankNode(node->prev)
               ? node->prev
               : NULL;
}

static xmlNode *last_element(xmlNode *parent)
{
    xmlNode *node = parent->last;

    while (node && node->type != XML_ELEMENT_NODE)
        node = node->prev;
    return node;
}

/* Adds <@name> as the last element of @parent, on a line of its own if the others are. */
static xmlNode *append(xmlNode *parent, const char *name)
{
    xmlNode *last = last_element(parent);
    xmlNode *node = xmlNewDocNode(parent->doc, NULL, XML(name), NULL);

    if (!last)
        return xmlAddChild(parent, node);
    xmlAddNextSibling(last, node);
    if (space_before(last))
        xmlAddNextSibling(last, xmlDocCopyNode(space_before(last), parent->doc, 1));
    return node;
}

static void remove_node(xmlNode *node)
{
    xmlNode *space = node ? space_before(node) : NULL;

    if (space) {
        xmlUnlinkNode(space);
        xmlFreeNode(space);
    }
    if (node) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
}

/* --------------------------------------------------------------- interface */

/* libvirt's own rules for <teaming type='persistent'/>, and ours: its tap is in a bridge, or is a
 * macvtap, as it is. */
static gboolean may_be_standby(xmlNode *interface)
{
    xmlNode *model = vfo_xml_child(interface, "model");

    return vfo_xml_is(interface, "interface") &&
           (vfo_xml_has(interface, "type", "bridge") || vfo_xml_has(interface, "type", "network") ||
            vfo_xml_has(interface, "type", "direct")) &&
           (vfo_xml_has(model, "type", "virtio") ||
            vfo_xml_has(model, "type", "virtio-non-transitional")) &&
           !vfo_xml_child(interface, "virtualport") && !vfo_xml_child(interface, "teaming");
}

static gboolean is_called(xmlNode *interface, const char *name)
{
    g_autofree char *mac = mac_of(interface);
    g_autofree char *alias = alias_of(interface);

    return (mac && g_ascii_strcasecmp(mac, name) == 0) || g_strcmp0(alias, name) == 0;
}

static xmlNode *find_interface(xmlNode *devices, const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    xmlNode *found = NULL;
    guint count = 0;

    for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
        g_autofree char *mac = NULL;

        if (!may_be_standby(node))
            continue;
        mac = mac_of(node);
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", mac ? mac : "(no MAC)");
        if (name && !is_called(node, name))
            continue;
        found = node;
        count++;
    }
    if (count == 1)
        return found;
    if (names->len == 0)
        vfo_fail(
            error, VFO_ERROR_NOT_FOUND,
            "the domain has no interface that could get a VF: of type bridge, network or direct, "
            "of model virtio, without <virtualport>, and in no pair yet");
    else if (name)
        vfo_fail(error, VFO_ERROR_NOT_FOUND,
                 "the domain has %s interface '%s' that could get a VF; these could: %s",
                 count ? "more than one" : "no", name, names->str);
    else
        vfo_fail(error, VFO_ERROR_INVALID, "the domain has several interfaces: choose one of %s",
                 names->str);
    return NULL;
}

/* -------------------------------------------------------------------- pair */

static gboolean is_alias_used(xmlNode *devices, const char *alias)
{
    for (xmlNode *node = devices->children; node; node = node->next) {
        if (vfo_xml_has(vfo_xml_child(node, "alias"), "name", alias))
            return TRUE;
    }
    return FALSE;
}

static char *free_alias(xmlNode *devices, const char *prefix)
{
    for (guint number = 0;; number++) {
        g_autofree char *alias = g_strdup_printf("%s%u", prefix, number);

        if (!is_alias_used(devices, alias))
            return g_steal_pointer(&alias);
    }
}

/* A user's own alias stays; libvirt's own, which are made anew at each start, name nothing. */
static char *make_standby(xmlNode *devices, xmlNode *interface)
{
    g_autofree char *alias = alias_of(interface);
    xmlNode *node = vfo_xml_child(interface, "alias");

    xmlSetProp(append(interface, "teaming"), XML("type"), XML("persistent"));
    if (alias && g_str_has_prefix(alias, "ua-"))
        return g_steal_pointer(&alias);
    g_free(alias);
    alias = free_alias(devices, OUR_STANDBY);
    xmlSetProp(node ? node : append(interface, "alias"), XML("name"), XML(alias));
    return g_steal_pointer(&alias);
}

static void make_primary(xmlNode *devices, const char *standby, const char *pci)
{
    g_autofree char *alias = free_alias(devices, OUR_VF);
    xmlNode *hostdev = append(devices, "hostdev");
    xmlNode *source = xmlNewChild(hostdev, NULL, XML("source"), NULL);
    xmlNode *teaming = xmlNewChild(hostdev, NULL, XML("teaming"), NULL);

    xmlSetProp(hostdev, XML("mode"), XML("subsystem"));
    xmlSetProp(hostdev, XML("type"), XML("pci"));
    xmlSetProp(hostdev, XML("managed"), XML("yes"));
    vfo_xml_set_address(xmlNewChild(source, NULL, XML("address"), NULL), pci);
    xmlSetProp(teaming, XML("type"), XML("transient"));
    xmlSetProp(teaming, XML("persistent"), XML(standby));
    xmlSetProp(xmlNewChild(hostdev, NULL, XML("alias"), NULL), XML("name"), XML(alias));
}

char *vfo_domain_make_pair(const char *xml, gsize length, const char *interface, const char *pci,
                           GError **error)
{
    g_autoptr(xmlDoc) doc = is_pci(pci, error) ? vfo_xml_read(xml, length, error) : NULL;
    xmlNode *devices = doc ? devices_of(doc) : NULL;
    xmlNode *node = doc ? find_interface(devices, interface, error) : NULL;
    g_autofree char *standby = NULL;

    if (!node)
        return NULL;
    standby = make_standby(devices, node);
    make_primary(devices, standby, pci);
    return vfo_xml_write(doc, error);
}

/* The interface that is the standby called @name, or the only one. */
static xmlNode *find_standby(xmlNode *devices, const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    xmlNode *found = NULL;
    guint count = 0;

    for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
        g_autofree char *alias = alias_of(node);

        if (!vfo_xml_is(node, "interface") || !alias ||
            !vfo_xml_has(vfo_xml_child(node, "teaming"), "type", "persistent"))
            continue;
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", alias);
        if (name && !is_called(node, name))
            continue;
        found = node;
        count++;
    }
    if (count == 1)
        return found;
    if (count > 1)
        vfo_fail(error, VFO_ERROR_INVALID, "the domain has several pairs: choose one of %s",
                 names->str);
    else
        vfo_fail(error, VFO_ERROR_NOT_FOUND, "the domain has no such pair (it has: %s)",
                 names->len ? names->str : "none");
    return NULL;
}

static void remove_our_alias(xmlNode *interface)
{
    g_autofree char *alias = alias_of(interface);

    if (alias && g_str_has_prefix(alias, OUR_STANDBY))
        remove_node(vfo_xml_child(interface, "alias"));
}

char *vfo_domain_unmake_pair(const char *xml, gsize length, const char *standby, GError **error)
{
    g_autoptr(xmlDoc) doc = vfo_xml_read(xml, length, error);
    xmlNode *devices = doc ? devices_of(doc) : NULL;
    xmlNode *node = doc ? find_standby(devices, standby, error) : NULL;
    g_autofree char *alias = NULL;

    if (!node)
        return NULL;
    alias = alias_of(node);
    remove_node(vfo_xml_vf_of(devices, alias));
    remove_node(vfo_xml_child(node, "teaming"));
    remove_our_alias(node);
    return vfo_xml_write(doc, error);
}
