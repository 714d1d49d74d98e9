/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MAC and PCI addresses: what is read, what is refused, where a VF is parked. */
#include "core/core.h"

static void test_parse_format(void)
{
    static const VfoMac expected = {{0x52, 0x54, 0x00, 0xaa, 0x0f, 0x10}};
    char text[VFO_MAC_STRLEN];
    VfoMac mac;

    g_assert_true(vfo_mac_parse("52:54:00:AA:0f:10", &mac));
    g_assert_true(vfo_mac_equal(&mac, &expected));
    g_assert_cmpstr(vfo_mac_format(&mac, text), ==, "52:54:00:aa:0f:10");
}

static void test_parse_refuses(void)
{
    static const char *const bad[] = {
        "",
        ":",
        "52:54:00:aa:00",
        "52:54:00:aa:00:1",
        "52:54:00:aa:00:100",
        "52:54:00:aa:00:10 ",
        " 2:54:00:aa:00:10",
        "52-54-00-aa-00-10",
        "52:54:00:aa:00-10",
        "52:54:00:aa:00:1g",
        "0x:54:00:aa:00:10",
        "525400aa0010",
        "52:54:00:aa:00:10:11",
    };
    static const VfoMac untouched = {{1, 2, 3, 4, 5, 6}};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        VfoMac mac = untouched;

        g_test_message("'%s'", bad[i]);
        g_assert_false(vfo_mac_parse(bad[i], &mac));
        g_assert_true(vfo_mac_equal(&mac, &untouched));
    }
}

static void test_unicast(void)
{
    static const struct {
        const char *mac;
        gboolean unicast;
    } cases[] = {
        {"52:54:00:aa:00:10", TRUE},  {"00:00:00:00:00:01", TRUE},  {"02:00:00:00:00:00", TRUE},
        {"00:00:00:00:00:00", FALSE}, {"ff:ff:ff:ff:ff:ff", FALSE}, {"01:00:5e:00:00:01", FALSE},
        {"33:33:00:00:00:01", FALSE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        VfoMac mac;

        g_test_message("%s", cases[i].mac);
        g_assert_true(vfo_mac_parse(cases[i].mac, &mac));
        g_assert_cmpint(vfo_mac_is_unicast(&mac), ==, cases[i].unicast);
    }
}

static void test_parking(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint8 card = 0; card < 4; card++) {
        const VfoMac pf = {{0x90, 0xe2, 0xba, 0x00, 0x00, card}};

        for (guint index = 0; index < 256; index++) {
            char text[VFO_MAC_STRLEN];
            VfoMac mac, again;

            vfo_mac_parking(&pf, index, &mac);
            vfo_mac_parking(&pf, index, &again);
            g_assert_true(vfo_mac_equal(&mac, &again));
            g_assert_true(vfo_mac_is_unicast(&mac));
            g_assert_cmphex(mac.octet[0] & 0x03, ==, 0x02);
            g_assert_true(g_hash_table_add(seen, g_strdup(vfo_mac_format(&mac, text))));
        }
    }
}

static void test_pci(void)
{
    static const char *const good[] = {"0000:01:10.0", "ffff:ff:1f.7", "0001:af:00.3"};
    static const char *const bad[] = {
        "",
        "01:10.0",
        "0000:01:10",
        "0000:01:10.",
        "0000:01:10.8",
        "0000:01:10.f",
        "0000:01:10.00",
        "0000:01:10:0",
        "0000.01:10.0",
        "0000:AF:10.0",
        "0000:0g:10.0",
        "0000:01:10.0\n",
        "../../../etc",
        "0000/01/10.0",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_test_message("%s", good[i]);
        g_assert_true(vfo_pci_is_address(good[i]));
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("'%s'", bad[i]);
        g_assert_false(vfo_pci_is_address(bad[i]));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mac/parse-format", test_parse_format);
    g_test_add_func("/mac/parse-refuses", test_parse_refuses);
    g_test_add_func("/mac/unicast", test_unicast);
    g_test_add_func("/mac/parking", test_parking);
    g_test_add_func("/mac/pci", test_pci);
    return g_test_run();
}
