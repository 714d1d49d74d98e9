/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "domain/xml.h"

static char *fail(GError **error, VfoError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

static char *fail(GError **error, VfoError code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_propagate_error(error, g_error_new_valist(VFO_ERROR, (gint)code, format, args));
    va_end(args);
    return NULL;
}

char *vfo_domain_set_vf(const char *xml, gsize length, const char *standby, const char *pci,
                        GError **error)
{
    g_autoptr(xmlDoc) doc = NULL;
    xmlNode *vf, *address;

    if (!vfo_pci_is_address(pci))
        return fail(error, VFO_ERROR_INVALID, "'%s' is not a PCI address", pci);
    doc = vfo_xml_read(xml, length, error);
    if (!doc)
        return NULL;
    vf = vfo_xml_vf_of(vfo_xml_child(xmlDocGetRootElement(doc), "devices"), standby);
    if (!vf)
        return fail(error, VFO_ERROR_NOT_FOUND, "domain XML: standby %s has no VF", standby);
    address = vfo_xml_child(vfo_xml_child(vf, "source"), "address");
    if (!address)
        return fail(error, VFO_ERROR_NOT_SUPPORTED,
                    "domain XML: the VF of standby %s is one that libvirt takes from a network's "
                    "pool: another cannot be put in its place",
                    standby);
    vfo_xml_set_address(address, pci);
    return vfo_xml_write(doc, error);
}
