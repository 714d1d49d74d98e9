/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "domain/xml.h"

#include <libxml/parser.h>

#define XML(text) ((const xmlChar *)(text))

/* Entities, and what they blow up to, come with a DTD; libvirt's XML has none. */
static void on_dtd(void *data, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
    xmlParserCtxt *context = data;
    gboolean *refused = context->_private;

    *refused = TRUE;
    xmlStopParser(context);
}

static xmlDoc *invalid(GError **error, const char *what)
{
    g_set_error(error, VFO_ERROR, VFO_ERROR_INVALID, "domain XML: %s", what);
    return NULL;
}

static char *describe(xmlParserCtxt *context)
{
    const xmlError *why = xmlCtxtGetLastError(context);
    g_autofree char *text = NULL;

    if (!why || !why->message)
        return g_strdup("not well-formed");
    text = g_utf8_make_valid(why->message, (gssize)strnlen(why->message, 200));
    g_strdelimit(g_strstrip(text), "\r\n\t", ' ');
    return g_strdup_printf("line %d: %s", why->line, text);
}

xmlDoc *vfo_xml_read(const char *xml, gsize length, GError **error)
{
    gboolean refused = FALSE;
    xmlParserCtxt *context;
    g_autoptr(xmlDoc) doc = NULL;
    g_autofree char *why = NULL;

    if (length == 0)
        return invalid(error, "there is none");
    if (length > VFO_DOMAIN_MAX)
        return invalid(error, "longer than 1 MiB");
    if (!g_utf8_validate(xml, (gssize)length, NULL))
        return invalid(error, "not valid UTF-8");
    context = xmlNewParserCtxt();
    if (!context)
        return invalid(error, "no memory to read it");
    context->sax->internalSubset = on_dtd;
    context->_private = &refused;
    doc = xmlCtxtReadMemory(context, xml, (int)length, NULL, "UTF-8",
                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (refused)
        why = g_strdup("has a DTD, which libvirt's own never has");
    else if (!doc)
        why = describe(context);
    xmlFreeParserCtxt(context);
    if (why)
        return invalid(error, why);
    if (!vfo_xml_is(xmlDocGetRootElement(doc), "domain"))
        return invalid(error, "it is not a <domain>");
    return g_steal_pointer(&doc);
}

char *vfo_xml_write(xmlDoc *doc, GError **error)
{
    xmlBuffer *buffer = xmlBufferCreate();
    char *text = NULL;

    if (buffer && xmlNodeDump(buffer, doc, xmlDocGetRootElement(doc), 0, 0) > 0)
        text = g_strdup_printf("%s\n", (const char *)xmlBufferContent(buffer));
    else
        invalid(error, "cannot be written");
    xmlBufferFree(buffer);
    return text;
}

gboolean vfo_xml_is(const xmlNode *node, const char *name)
{
    return node && node->type == XML_ELEMENT_NODE && !node->ns &&
           g_str_equal((const char *)node->name, name);
}

xmlNode *vfo_xml_child(xmlNode *parent, const char *name)
{
    for (xmlNode *node = parent ? parent->children : NULL; node; node = node->next) {
        if (vfo_xml_is(node, name))
            return node;
    }
    return NULL;
}

static char *steal(xmlChar *text)
{
    char *copy = g_strdup((const char *)text);

    xmlFree(text);
    return copy;
}

char *vfo_xml_get(xmlNode *node, const char *name)
{
    return node ? steal(xmlGetNoNsProp(node, XML(name))) : NULL;
}

gboolean vfo_xml_has(xmlNode *node, const char *name, const char *value)
{
    g_autofree char *found = vfo_xml_get(node, name);

    return g_strcmp0(found, value) == 0;
}

char *vfo_xml_text(xmlNode *node)
{
    return node ? steal(xmlNodeGetContent(node)) : NULL;
}

gboolean vfo_xml_is_vf(xmlNode *node, VfoDomainForm *form)
{
    if (vfo_xml_is(node, "hostdev")) {
        *form = VFO_DOMAIN_HOSTDEV;
        return vfo_xml_has(node, "mode", "subsystem") && vfo_xml_has(node, "type", "pci");
    }
    if (!vfo_xml_is(node, "interface"))
        return FALSE;
    *form = VFO_DOMAIN_INTERFACE;
    if (vfo_xml_has(node, "type", "hostdev"))
        return TRUE;
    *form = VFO_DOMAIN_NETWORK;
    return vfo_xml_has(node, "type", "network") &&
           vfo_xml_has(vfo_xml_child(node, "teaming"), "type", "transient");
}

xmlNode *vfo_xml_vf_of(xmlNode *devices, const char *standby)
{
    for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
        xmlNode *teaming = vfo_xml_child(node, "teaming");
        VfoDomainForm form;

        if (vfo_xml_is_vf(node, &form) && vfo_xml_has(teaming, "type", "transient") &&
            vfo_xml_has(teaming, "persistent", standby))
            return node;
    }
    return NULL;
}

void vfo_xml_set_address(xmlNode *address, const char *pci)
{
    static const struct {
        const char *attribute;
        guint at, length; /* in "0000:01:10.0" */
    } parts[] = {{"domain", 0, 4}, {"bus", 5, 2}, {"slot", 8, 2}, {"function", 11, 1}};

    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *value = g_strdup_printf("0x%.*s", (int)parts[i].length, pci + parts[i].at);

        xmlSetProp(address, XML(parts[i].attribute), XML(value));
    }
}
