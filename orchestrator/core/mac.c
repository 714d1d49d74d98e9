/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/core.h"

#include <string.h>

gboolean vfo_mac_parse(const char *text, VfoMac *mac)
{
    VfoMac parsed;

    if (strnlen(text, VFO_MAC_STRLEN) != VFO_MAC_STRLEN - 1)
        return FALSE;
    for (int i = 0; i < 6; i++) {
        int high = g_ascii_xdigit_value(text[3 * i]);
        int low = g_ascii_xdigit_value(text[3 * i + 1]);

        if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
            return FALSE;
        parsed.octet[i] = (guint8)(high << 4 | low);
    }
    *mac = parsed;
    return TRUE;
}

char *vfo_mac_format(const VfoMac *mac, char buffer[VFO_MAC_STRLEN])
{
    const guint8 *o = mac->octet;

    g_snprintf(buffer, VFO_MAC_STRLEN, "%02x:%02x:%02x:%02x:%02x:%02x", o[0], o[1], o[2], o[3],
               o[4], o[5]);
    return buffer;
}

gboolean vfo_mac_equal(const VfoMac *a, const VfoMac *b)
{
    return memcmp(a->octet, b->octet, sizeof(a->octet)) == 0;
}

gboolean vfo_mac_is_unicast(const VfoMac *mac)
{
    static const VfoMac zero;

    return !(mac->octet[0] & 0x01) && !vfo_mac_equal(mac, &zero);
}

void vfo_mac_parking(const VfoMac *pf, guint index, VfoMac *mac)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize length = sizeof(digest);
    guint8 number[2] = {(guint8)(index >> 8), (guint8)index};

    g_checksum_update(checksum, pf->octet, sizeof(pf->octet));
    g_checksum_update(checksum, number, sizeof(number));
    g_checksum_get_digest(checksum, digest, &length);
    memcpy(mac->octet, digest, sizeof(mac->octet));
    mac->octet[0] = (guint8)((mac->octet[0] & 0xfc) | 0x02);
}

gboolean vfo_pci_is_address(const char *text)
{
    static const char shape[] = "xxxx:xx:xx.7";

    if (strnlen(text, sizeof(shape)) != sizeof(shape) - 1)
        return FALSE;
    for (gsize i = 0; i < sizeof(shape) - 1; i++) {
        gboolean fits;

        if (shape[i] == 'x')
            fits = g_ascii_isxdigit(text[i]) && !g_ascii_isupper(text[i]);
        else if (shape[i] == '7')
            fits = text[i] >= '0' && text[i] <= '7';
        else
            fits = text[i] == shape[i];
        if (!fits)
            return FALSE;
    }
    return TRUE;
}
