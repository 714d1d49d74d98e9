/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside domain/: XML in and out, bounded.
 */
#pragma once

#include "domain/domain.h"

#include <libxml/tree.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/** vfo_xml_read: the <domain> in @xml, which has no DTD. Free with xmlFreeDoc(). */
xmlDoc *vfo_xml_read(const char *xml, gsize length, GError **error);

/** vfo_xml_write: @doc's root as text. Free with g_free(). */
char *vfo_xml_write(xmlDoc *doc, GError **error);

/** vfo_xml_child: the first element called @name in @parent (NULL: none); NULL: none. */
xmlNode *vfo_xml_child(xmlNode *parent, const char *name);

/** vfo_xml_is: @node is an element of libvirt's called @name. */
gboolean vfo_xml_is(const xmlNode *node, const char *name);

/** vfo_xml_get: @node's attribute @name; NULL: no node, or no such attribute. Free with g_free().
 */
char *vfo_xml_get(xmlNode *node, const char *name);

/** vfo_xml_has: @node's attribute @name is @value. */
gboolean vfo_xml_has(xmlNode *node, const char *name, const char *value);

/** vfo_xml_text: the text in @node; NULL: no node. Free with g_free(). */
char *vfo_xml_text(xmlNode *node);

/** vfo_xml_is_vf: @node is a PCI device of the host, which may be a VF, in @form. */
gboolean vfo_xml_is_vf(xmlNode *node, VfoDomainForm *form);

/** vfo_xml_vf_of: that in @devices whose <teaming> names @standby; NULL: none.
 */
xmlNode *vfo_xml_vf_of(xmlNode *devices, const char *standby);

/** vfo_xml_set_address: writes @pci into @address, an <address> of a PCI device. */
void vfo_xml_set_address(xmlNode *address, const char *pci);
