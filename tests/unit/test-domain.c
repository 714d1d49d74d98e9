/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain XML: what is read of it, what is refused, and that nothing else of it is changed. */
#include "domain-xml.h"
#include "domain/domain.h"

#include <libxml/c14n.h>
#include <libxml/parser.h>

static VfoDomain *parse(const char *xml)
{
    g_autoptr(GError) error = NULL;
    VfoDomain *domain = vfo_domain_parse(xml, strlen(xml), &error);

    g_assert_no_error(error);
    return domain;
}

static const VfoDomainPair *pair_at(const VfoDomain *domain, guint at)
{
    g_assert_cmpuint(at, <, domain->pairs->len);
    return g_ptr_array_index(domain->pairs, at);
}

static void assert_mac(const VfoMac *mac, const char *expected)
{
    char text[VFO_MAC_STRLEN];

    g_assert_cmpstr(vfo_mac_format(mac, text), ==, expected);
}

/* ------------------------------------------------------------------ forms */

static void test_plain(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(""));

    g_assert_cmpstr(domain->name, ==, "web1");
    g_assert_cmpstr(domain->uuid, ==, DOMAIN_UUID);
    g_assert_cmpstr(domain->machine, ==, "pc-q35-10.0");
    g_assert_cmpint(domain->numa_node, ==, -1);
    g_assert_cmpuint(domain->pairs->len, ==, 0);
}

static void test_hostdev(void)
{
    /* The VF first, as libvirt writes it when the user did. */
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_HOSTDEV DOMAIN_STANDBY));
    g_autoptr(VfoDomain) copy = vfo_domain_copy(domain);

    g_assert_cmpuint(domain->pairs->len, ==, 1);
    g_clear_pointer(&domain, vfo_domain_free);
    const VfoDomainPair *pair = vfo_domain_pair(copy, "ua-net1");

    g_assert_nonnull(pair);
    g_assert_null(vfo_domain_pair(copy, "net9"));
    g_assert_cmpstr(copy->name, ==, "web1");
    g_assert_cmpstr(pair->standby, ==, "ua-net1");
    assert_mac(&pair->mac, "52:54:00:aa:00:10");
    g_assert_cmpstr(pair->tap, ==, "vnet0");
    g_assert_cmpstr(pair->bridge, ==, "br0");
    g_assert_cmpuint(pair->vlan, ==, 0);
    g_assert_true(pair->has_vf);
    g_assert_cmpint(pair->form, ==, VFO_DOMAIN_HOSTDEV);
    g_assert_true(pair->managed);
    g_assert_cmpstr(pair->primary, ==, "ua-vf0");
    g_assert_cmpstr(pair->vf, ==, "0000:01:10.0");
    g_assert_null(pair->network);
    g_assert_false(pair->virtualport);
}

static void test_interface(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE));
    const VfoDomainPair *pair = pair_at(domain, 0);

    g_assert_cmpuint(domain->pairs->len, ==, 1);
    g_assert_cmpint(pair->form, ==, VFO_DOMAIN_INTERFACE);
    g_assert_cmpuint(pair->vlan, ==, 42);
    g_assert_cmpstr(pair->vf, ==, "0000:01:10.0");
    g_assert_cmpstr(pair->tap, ==, "vnet0");
    g_assert_true(pair->managed);
}

static void test_network(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK));
    const VfoDomainPair *pair = pair_at(domain, 0);

    g_assert_cmpuint(domain->pairs->len, ==, 1);
    g_assert_true(pair->has_vf);
    g_assert_cmpint(pair->form, ==, VFO_DOMAIN_NETWORK);
    g_assert_cmpstr(pair->network, ==, "vfpool");
    g_assert_null(pair->vf);
    g_assert_cmpstr(pair->primary, ==, "ua-vf0");
}

static void test_standby_alone(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY));
    const VfoDomainPair *pair = pair_at(domain, 0);

    g_assert_cmpuint(domain->pairs->len, ==, 1);
    g_assert_false(pair->has_vf);
    g_assert_null(pair->vf);
    g_assert_null(pair->primary);
}

/* The inactive XML of a pair whose standby nobody has named: nothing can belong to it. */
static void test_standby_unnamed(void)
{
    g_autoptr(VfoDomain) domain =
        parse(DOMAIN("<interface type='bridge'><mac address='52:54:00:aa:00:10'/>"
                     "<teaming type='persistent'/></interface>"));

    g_assert_cmpuint(domain->pairs->len, ==, 0);
}

static void test_no_pair(void)
{
    g_autoptr(VfoDomain) domain =
        parse(DOMAIN("<hostdev mode='subsystem' type='pci'><source><address bus='3'/></source>"
                     "</hostdev>"
                     "<hostdev mode='subsystem' type='usb'><source/></hostdev>"
                     "<interface type='network'><mac address='52:54:00:aa:00:98'/>"
                     "<source network='default'/></interface>"
                     "<interface type='hostdev'><mac address='52:54:00:aa:00:97'/>"
                     "<source><address type='pci' domain='0' bus='0xff' slot='31' function='7'/>"
                     "</source><virtualport type='802.1Qbh'/></interface>"));
    const VfoDomainPair *device, *interface;

    g_assert_cmpuint(domain->pairs->len, ==, 2);
    device = pair_at(domain, 0);
    g_assert_null(device->standby);
    g_assert_null(device->primary);
    g_assert_false(device->managed);
    g_assert_cmpint(device->form, ==, VFO_DOMAIN_HOSTDEV);
    g_assert_cmpstr(device->vf, ==, "0000:03:00.0");
    g_assert_false(vfo_mac_is_unicast(&device->mac));
    interface = pair_at(domain, 1);
    g_assert_cmpint(interface->form, ==, VFO_DOMAIN_INTERFACE);
    g_assert_cmpstr(interface->vf, ==, "0000:ff:1f.7");
    assert_mac(&interface->mac, "52:54:00:aa:00:97");
    g_assert_true(interface->virtualport);
}

/* Interfaces that a guest may bond with a VF. What cannot be read of them is nobody's business. */
static void test_interfaces(void)
{
    g_autoptr(VfoDomain) parsed = parse(DOMAIN(
        "<interface type='network'><mac address='52:54:00:aa:00:98'/>"
        "<alias name='net1'/><target dev='vnet1'/></interface>"
        "<interface type='network'><mac address='52:54:00:aa:00:97'/></interface>"
        "<interface type='network'><mac address='x'/><alias name='net3'/></interface>"
        "<interface type='network'><alias name='net4'/></interface>"
        "<interface type='hostdev'><mac address='52:54:00:aa:00:96'/>"
        "<alias name='hostdev0'/><source><address bus='3'/></source></interface>" DOMAIN_STANDBY));
    g_autoptr(VfoDomain) domain = vfo_domain_copy(parsed);
    const VfoDomainPair *first, *second;

    g_assert_cmpuint(domain->pairs->len, ==, 2);
    g_assert_cmpuint(domain->plain->len, ==, 2);
    first = g_ptr_array_index(domain->plain, 0);
    second = g_ptr_array_index(domain->plain, 1);
    g_assert_cmpstr(first->standby, ==, "net9");
    g_assert_cmpstr(first->bridge, ==, "br9");
    g_assert_cmpstr(second->standby, ==, "net1");
    g_assert_cmpstr(second->tap, ==, "vnet1");
    assert_mac(&second->mac, "52:54:00:aa:00:98");
    g_assert_false(second->has_vf);
}

#define SECOND_VF                                                                                  \
    "<hostdev mode='subsystem' type='pci'>"                                                        \
    "<source><address domain='0x0000' bus='0x02' slot='0x10' function='0x1'/></source>"            \
    "<teaming type='transient' persistent='ua-net2'/></hostdev>"
#define SECOND_PAIR                                                                                \
    DOMAIN_STANDBY_OF("ua-net2", "52:54:00:AA:00:20", "br1", "vnet1", DOMAIN_VLAN) SECOND_VF

static void test_several(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV SECOND_PAIR));
    const VfoDomainPair *pair = vfo_domain_pair(domain, "ua-net2");

    g_assert_cmpuint(domain->pairs->len, ==, 2);
    g_assert_nonnull(pair);
    g_assert_cmpstr(pair->vf, ==, "0000:02:10.1");
    g_assert_null(pair->primary);
    g_assert_false(pair->managed);
    g_assert_cmpuint(pair->vlan, ==, 42);
    g_assert_cmpstr(pair->bridge, ==, "br1");
    assert_mac(&pair->mac, "52:54:00:aa:00:20");
}

static void test_vlan_trunk(void)
{
    static const char *const trunks[] = {
        "<vlan trunk='yes'><tag id='42'/></vlan>",
        "<vlan><tag id='42'/><tag id='43'/></vlan>",
        "<vlan/>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(trunks); i++) {
        g_autofree char *xml =
            g_strdup_printf(DOMAIN("<interface type='bridge'><mac address='52:54:00:aa:00:10'/>%s"
                                   "<teaming type='persistent'/><alias name='a'/></interface>"),
                            trunks[i]);
        g_autoptr(VfoDomain) domain = parse(xml);

        g_assert_cmpuint(pair_at(domain, 0)->vlan, ==, 0);
    }
}

static void test_numa(void)
{
    static const struct {
        const char *tune;
        int node;
    } cases[] = {
        {"<memory mode='strict' nodeset='1'/>", 1},
        {"<memory mode='strict' nodeset='0-1'/>", -1},
        {"<memory mode='strict' nodeset='0,1'/>", -1},
        {"<memory mode='preferred' nodeset='1'/>", -1},
        {"<memory mode='strict' placement='auto'/>", -1},
        {"", -1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml = g_strdup_printf("<domain><name>a</name><uuid>" DOMAIN_UUID
                                               "</uuid><numatune>%s</numatune></domain>",
                                               cases[i].tune);
        g_autoptr(VfoDomain) domain = parse(xml);

        g_assert_cmpint(domain->numa_node, ==, cases[i].node);
        g_assert_null(domain->machine);
    }
}

/* ------------------------------------------------------------------ bounds */

static void assert_refused(const char *xml, gsize length, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VfoDomain) domain = vfo_domain_parse(xml, length, &error);

    g_assert_null(domain);
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, why));
    g_assert_null(strchr(error->message, '\n'));
}

#define LAUGHS                                                                                     \
    "<!DOCTYPE domain [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"               \
    "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>]>"

static void test_refused(void)
{
    static const struct {
        const char *xml, *why;
    } cases[] = {
        {"", "there is none"},
        {"x", "line 1"},
        {"<domain>", "line 1"},
        {"<network><name>a</name></network>", "not a <domain>"},
        {"<domain xmlns='http://example.org/'><name>a</name></domain>", "not a <domain>"},
        {"<domain/>", "<name> is missing"},
        {"<domain><name></name></domain>", "<name> is missing, empty"},
        {"<domain><name>a&#10;b</name></domain>", "control characters"},
        {"<domain><name>a\xff</name></domain>", "UTF-8"},
        {"<?xml version='1.0' encoding='UTF-16'?><domain><name>a</name></domain>", "<uuid>"},
        {"<domain><name>web1</name></domain>", "domain web1: <uuid>"},
        {"<domain><name>web1</name><uuid>1-2</uuid></domain>", "domain web1: <uuid>"},
        {LAUGHS "<domain><name>&d;</name></domain>", "has a DTD"},
        {LAUGHS "<domain a='&d;'/>", "has a DTD"},
        {"<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>", "has a DTD"},
        {"<!DOCTYPE domain><domain/>", "has a DTD"},
        {"<domain><name>&nothing;</name></domain>", "line 1"},
        {DOMAIN(DOMAIN_HOSTDEV), "names the interface ua-net1"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV DOMAIN_HOSTDEV), "two VFs"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV DOMAIN_INTERFACE), "two VFs"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_STANDBY), "two interfaces have the alias ua-net1"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE_WITH("52:54:00:aa:00:11", DOMAIN_ADDRESS, "")),
         "wants the same for both"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE_WITH("01:54:00:aa:00:11", DOMAIN_ADDRESS, "")),
         "'01:54:00:aa:00:11' is not the MAC"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("domain='0x0000' bus='0x100'")),
         "not that of a PCI device"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("slot='0x20'")), "not that of a PCI device"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("function='8'")), "not that of a PCI device"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("domain='0x10000'")), "not that of a PCI device"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("bus='-1'")), "not that of a PCI device"},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT("bus='0x-1'")), "not that of a PCI device"},
        {DOMAIN("<hostdev mode='subsystem' type='pci'><source/></hostdev>"), "no <address>"},
        {DOMAIN("<interface type='bridge'><teaming type='persistent'/><alias name='a'/>"
                "</interface>"),
         "has no <mac>"},
        {DOMAIN("<interface type='bridge'><mac address='52:54:00:aa:00:10'/><alias name=''/>"
                "<teaming type='persistent'/></interface>"),
         "<alias>'s name is empty"},
        {DOMAIN("<interface type='bridge'><mac address='52:54:00:aa:00:10'/><alias name='a'/>"
                "<vlan><tag id='4095'/></vlan><teaming type='persistent'/></interface>"),
         "'4095' is not a VLAN"},
        {DOMAIN("<interface type='bridge'><mac address='52:54:00:aa:00:10'/><alias name='a'/>"
                "<vlan><tag/></vlan><teaming type='persistent'/></interface>"),
         "'' is not a VLAN"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_refused(cases[i].xml, strlen(cases[i].xml), cases[i].why);
    assert_refused(DOMAIN("") "\0", sizeof(DOMAIN("") "\0") - 1, "UTF-8");
}

static void test_bounds(void)
{
    g_autoptr(GString) xml = g_string_new("<domain><name>a</name><uuid>" DOMAIN_UUID "</uuid>");
    g_autofree char *name = g_strnfill(256, 'n');
    g_autofree char *named = g_strdup_printf("<domain><name>%s</name></domain>", name);
    gsize head = xml->len;

    assert_refused(named, strlen(named), "longer than 255 bytes");

    g_string_append(xml, "<description>");
    while (xml->len < VFO_DOMAIN_MAX - strlen("</description></domain>"))
        g_string_append_c(xml, 'x');
    g_string_append(xml, "</description></domain>");
    vfo_domain_free(parse(xml->str));
    g_string_append_c(xml, '\n');
    assert_refused(xml->str, xml->len, "longer than 1 MiB");

    g_string_truncate(xml, head);
    g_string_append(xml, "<devices>");
    for (int i = 0; i < 257; i++)
        g_string_append(xml, "<hostdev mode='subsystem' type='pci'><source><address/></source>"
                             "</hostdev>");
    g_string_append(xml, "</devices></domain>");
    assert_refused(xml->str, xml->len, "more than 256");

    g_string_truncate(xml, head);
    for (int i = 0; i < 100000; i++)
        g_string_append(xml, "<a>");
    assert_refused(xml->str, xml->len, "depth");
}

/* ----------------------------------------------------------------- set_vf */

/* The one text that all spellings of the same XML have. */
static char *canonical(const char *xml)
{
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), NULL, "UTF-8", XML_PARSE_NONET);
    xmlChar *text = NULL;
    char *copy;

    g_assert_nonnull(doc);
    g_assert_cmpint(xmlC14NDocDumpMemory(doc, NULL, XML_C14N_1_0, NULL, 1, &text), >, 0);
    copy = g_strdup((const char *)text);
    xmlFree(text);
    xmlFreeDoc(doc);
    return copy;
}

static void assert_set(const char *before, const char *standby, const char *pci, const char *after)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = vfo_domain_set_vf(before, strlen(before), standby, pci, &error);
    g_autofree char *expected = canonical(after);
    g_autofree char *found = NULL;

    g_assert_no_error(error);
    found = canonical(xml);
    g_assert_cmpstr(found, ==, expected);
}

#define OTHER_ADDRESS "domain='0x00a1' bus='0x81' slot='0x1f' function='0x7'"

static void test_set_vf(void)
{
    assert_set(DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV), "ua-net1", "00a1:81:1f.7",
               DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT(OTHER_ADDRESS)));
    assert_set(DOMAIN(DOMAIN_HOSTDEV_AT("bus='1'") DOMAIN_STANDBY), "ua-net1", "00a1:81:1f.7",
               DOMAIN(DOMAIN_HOSTDEV_AT(OTHER_ADDRESS) DOMAIN_STANDBY));
    assert_set(DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE), "ua-net1", "00a1:81:1f.7",
               DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE_WITH("52:54:00:aa:00:10", OTHER_ADDRESS,
                                                           DOMAIN_VLAN)));
}

static void test_set_vf_of_several(void)
{
    static const char before[] = DOMAIN(SECOND_PAIR DOMAIN_STANDBY DOMAIN_HOSTDEV);
    static const char after[] = DOMAIN(SECOND_PAIR DOMAIN_STANDBY DOMAIN_HOSTDEV_AT(OTHER_ADDRESS));

    assert_set(before, "ua-net1", "00a1:81:1f.7", after);
    assert_set(after, "ua-net1", "0000:01:10.0", before);
    assert_set(before, "ua-net2", "0000:02:10.1", before);
}

static void test_set_vf_refused(void)
{
    static const struct {
        const char *xml, *standby, *pci;
        int code;
    } cases[] = {
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV), "ua-net1", "01:10.0", VFO_ERROR_INVALID},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV), "ua-net2", "0000:01:10.0", VFO_ERROR_NOT_FOUND},
        {DOMAIN(DOMAIN_STANDBY), "ua-net1", "0000:01:10.0", VFO_ERROR_NOT_FOUND},
        {"<domain/>", "ua-net1", "0000:01:10.0", VFO_ERROR_NOT_FOUND},
        {"<domain", "ua-net1", "0000:01:10.0", VFO_ERROR_INVALID},
        {DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK), "ua-net1", "0000:01:10.0", VFO_ERROR_NOT_SUPPORTED},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *xml = vfo_domain_set_vf(cases[i].xml, strlen(cases[i].xml),
                                                 cases[i].standby, cases[i].pci, &error);

        g_assert_null(xml);
        g_assert_error(error, VFO_ERROR, cases[i].code);
    }
}

#define SECOND_PAIR_AT_SOURCE                                                                      \
    DOMAIN_STANDBY_OF("ua-net2", "52:54:00:AA:00:20", "br1", "vnet1", DOMAIN_VLAN)                 \
    "<hostdev mode='subsystem' type='pci'><source><address bus='0x82'/></source>"                  \
    "<teaming type='transient' persistent='ua-net2'/></hostdev>"
#define WITHOUT_PAIR                                                                               \
    "<hostdev mode='subsystem' type='pci'><source><address bus='0x82'/></source></hostdev>"

/* What a definition is to be when @running, the same domain, runs; NULL: what it is. */
static void assert_set_all(const char *before, const char *running, const char *after)
{
    g_autoptr(VfoDomain) domain = parse(running);
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = vfo_domain_set_vfs(before, strlen(before), domain, &error);
    g_autofree char *expected = after ? canonical(after) : NULL;
    g_autofree char *found = xml ? canonical(xml) : NULL;

    g_assert_no_error(error);
    g_assert_cmpstr(found, ==, expected);
}

static void test_set_vfs(void)
{
    static const char at_source[] = DOMAIN(SECOND_PAIR DOMAIN_STANDBY DOMAIN_HOSTDEV);
    static const char here[] = DOMAIN(SECOND_PAIR DOMAIN_STANDBY DOMAIN_HOSTDEV_AT(OTHER_ADDRESS));

    assert_set_all(at_source, here, here);
    assert_set_all(here, here, NULL);
    assert_set_all(DOMAIN(DOMAIN_HOSTDEV DOMAIN_STANDBY SECOND_PAIR_AT_SOURCE), here,
                   DOMAIN(DOMAIN_HOSTDEV_AT(OTHER_ADDRESS) DOMAIN_STANDBY SECOND_PAIR));
    /* One that the user has left out changes nothing for the other. */
    assert_set_all(DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV), here,
                   DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV_AT(OTHER_ADDRESS)));
    /* It has its standby alone for the moment. */
    assert_set_all(at_source, DOMAIN(DOMAIN_STANDBY), NULL);
    assert_set_all(at_source, DOMAIN(WITHOUT_PAIR), NULL);
    /* The VF of a pool has an address when the domain runs. */
    assert_set_all(DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK), DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE),
                   NULL);
}

static void test_set_vfs_refused(void)
{
    g_autoptr(VfoDomain) domain = parse(DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV));
    static const struct {
        const char *xml;
        int code;
    } cases[] = {
        {DOMAIN(""), VFO_ERROR_NOT_FOUND},
        {DOMAIN(DOMAIN_STANDBY), VFO_ERROR_NOT_FOUND},
        {"<domain", VFO_ERROR_INVALID},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(vfo_domain_set_vfs(cases[i].xml, strlen(cases[i].xml), domain, &error));
        g_assert_error(error, VFO_ERROR, cases[i].code);
    }
}

/* ------------------------------------------------------------------- pair */

/* As the user has it before: inactive, libvirt's own aliases are not in it. */
#define ORDINARY(MORE)                                                                             \
    "    <interface type='bridge'>\n"                                                              \
    "      <mac address='52:54:00:aa:00:10'/>\n"                                                   \
    "      <source bridge='br0'/>\n"                                                               \
    "      <model type='virtio'/>\n" MORE "    </interface>\n"
#define E1000                                                                                      \
    "    <interface type='bridge'>\n"                                                              \
    "      <mac address='52:54:00:aa:00:11'/>\n"                                                   \
    "      <model type='e1000e'/>\n"                                                               \
    "    </interface>\n"
#define USER(DEVICES) DOMAIN_HEAD E1000 DEVICES DOMAIN_TAIL
#define OURS          "      <teaming type='persistent'/>\n      <alias name='ua-vfailover-net0'/>\n"
#define PRIMARY(STANDBY, ALIAS)                                                                    \
    "    <hostdev mode='subsystem' type='pci' managed='yes'><source>"                              \
    "<address domain='0x0000' bus='0x01' slot='0x10' function='0x2'/></source>"                    \
    "<teaming type='transient' persistent='" STANDBY "'/><alias name='" ALIAS "'/></hostdev>\n"
/* The <memballoon> of DOMAIN_TAIL stands before what is added. */
#define PAIRED(INTERFACE, STANDBY, ALIAS)                                                          \
    DOMAIN_HEAD E1000 INTERFACE                                                                    \
        "    <memballoon model='none'/>\n" PRIMARY(STANDBY, ALIAS) "  </devices>\n"

static void assert_pair(const char *before, const char *interface, const char *beginning)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *made =
        vfo_domain_make_pair(before, strlen(before), interface, "0000:01:10.2", &error);
    g_autofree char *all = g_strconcat(beginning, strstr(DOMAIN_TAIL, "  <seclabel"), NULL);
    g_autofree char *expected = NULL, *found = NULL, *undone = NULL, *back = NULL, *first = NULL;

    g_assert_no_error(error);
    expected = canonical(all);
    found = canonical(made);
    g_assert_cmpstr(found, ==, expected);

    undone = vfo_domain_unmake_pair(made, strlen(made), NULL, &error);
    g_assert_no_error(error);
    back = canonical(undone);
    first = canonical(before);
    g_assert_cmpstr(back, ==, first);
}

static void test_pair(void)
{
    assert_pair(USER(ORDINARY("")), NULL,
                PAIRED(ORDINARY(OURS), "ua-vfailover-net0", "ua-vfailover-vf0"));
    assert_pair(USER(ORDINARY("")), "52:54:00:AA:00:10",
                PAIRED(ORDINARY(OURS), "ua-vfailover-net0", "ua-vfailover-vf0"));
    /* A name that the user gave stays, then and afterwards. */
    assert_pair(USER(ORDINARY("      <alias name='ua-mine'/>\n")), "ua-mine",
                PAIRED(ORDINARY("      <alias name='ua-mine'/>\n"
                                "      <teaming type='persistent'/>\n"),
                       "ua-mine", "ua-vfailover-vf0"));
}

static void test_pair_second(void)
{
    static const char first[] =
        USER(ORDINARY(OURS) PRIMARY("ua-vfailover-net0", "ua-vfailover-vf0") DOMAIN_PLAIN);
    g_autoptr(GError) error = NULL;
    g_autofree char *made =
        vfo_domain_make_pair(first, strlen(first), NULL, "0000:01:10.3", &error);
    g_autofree char *undone = NULL, *expected = canonical(first), *found = NULL;
    g_autoptr(VfoDomain) domain = NULL;

    g_assert_no_error(error);
    domain = parse(made);
    g_assert_cmpuint(domain->pairs->len, ==, 2);
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-vfailover-net1")->vf, ==, "0000:01:10.3");
    g_assert_cmpstr(vfo_domain_pair(domain, "ua-vfailover-net1")->primary, ==, "ua-vfailover-vf1");

    g_assert_null(vfo_domain_unmake_pair(made, strlen(made), NULL, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_clear_error(&error);
    undone = vfo_domain_unmake_pair(made, strlen(made), "ua-vfailover-net1", &error);
    g_assert_no_error(error);
    found = canonical(undone);
    /* libvirt gives its own alias again at the next start. */
    g_assert_null(strstr(found, "ua-vfailover-net1"));
    g_assert_cmpuint(strlen(found), <, strlen(expected));
}

static void test_pair_refused(void)
{
    static const struct {
        const char *xml, *interface, *pci;
        int code;
        const char *why;
    } cases[] = {
        {USER(""), NULL, "0000:01:10.2", VFO_ERROR_NOT_FOUND, "no interface that could get"},
        {USER(ORDINARY(OURS)), NULL, "0000:01:10.2", VFO_ERROR_NOT_FOUND, "no interface that"},
        {USER(ORDINARY("<virtualport type='openvswitch'/>")), NULL, "0000:01:10.2",
         VFO_ERROR_NOT_FOUND, "without <virtualport>"},
        {USER(ORDINARY("") DOMAIN_PLAIN), NULL, "0000:01:10.2", VFO_ERROR_INVALID,
         "choose one of 52:54:00:aa:00:10, 52:54:00:aa:00:99"},
        {USER(ORDINARY("")), "52:54:00:aa:00:11", "0000:01:10.2", VFO_ERROR_NOT_FOUND,
         "no interface '52:54:00:aa:00:11'"},
        {USER(ORDINARY("") ORDINARY("")), "52:54:00:aa:00:10", "0000:01:10.2", VFO_ERROR_NOT_FOUND,
         "more than one"},
        {USER(ORDINARY("")), NULL, "01:10.2", VFO_ERROR_INVALID, "not a PCI address"},
        {"<domain/>", NULL, "0000:01:10.2", VFO_ERROR_NOT_FOUND, "no interface"},
        {"<domain", NULL, "0000:01:10.2", VFO_ERROR_INVALID, "line 1"},
    };
    g_autoptr(GError) none = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *made = vfo_domain_make_pair(cases[i].xml, strlen(cases[i].xml),
                                                     cases[i].interface, cases[i].pci, &error);

        g_assert_null(made);
        g_assert_error(error, VFO_ERROR, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].why));
    }
    g_assert_null(
        vfo_domain_unmake_pair(USER(ORDINARY("")), strlen(USER(ORDINARY(""))), NULL, &none));
    g_assert_error(none, VFO_ERROR, VFO_ERROR_NOT_FOUND);
}

/* ------------------------------------------------------------------- fuzz */

/* Whatever arrives is parsed or refused; what is parsed can be rewritten and parsed again. */
static void test_fuzz(void)
{
    static const char *const seeds[] = {
        DOMAIN(DOMAIN_STANDBY DOMAIN_HOSTDEV SECOND_PAIR),
        DOMAIN(DOMAIN_STANDBY DOMAIN_INTERFACE),
        DOMAIN(DOMAIN_STANDBY DOMAIN_NETWORK),
        LAUGHS "<domain><name>&d;</name></domain>",
    };
    static const char *const words[] = {"<",
                                        ">",
                                        "'",
                                        "/>",
                                        "&",
                                        "&#0;",
                                        "<!DOCTYPE x>",
                                        "\xff",
                                        "<teaming type='persistent'/>",
                                        "</devices>",
                                        "]]>",
                                        "<![CDATA[",
                                        "<!--",
                                        "xmlns=''",
                                        "persistent"};
    guint rounds = g_test_quick() ? 2000 : 200000;
    guint parsed = 0;

    for (guint round = 0; round < rounds; round++) {
        g_autoptr(GString) xml = g_string_new(seeds[g_test_rand_int_range(0, G_N_ELEMENTS(seeds))]);
        g_autoptr(GError) error = NULL;
        g_autoptr(VfoDomain) domain = NULL;

        for (int change = g_test_rand_int_range(0, 6); change > 0 && xml->len; change--) {
            gssize at = g_test_rand_int_range(0, (gint32)xml->len);
            gssize length = g_test_rand_int_range(1, 40);

            length = MIN(length, (gssize)xml->len - at);
            switch (g_test_rand_int_range(0, 4)) {
            case 0:
                g_string_erase(xml, at, length);
                break;
            case 1:
                xml->str[at] = (char)g_test_rand_int_range(0, 256);
                break;
            case 2:
                g_string_insert(xml, at,
                                words[g_test_rand_int_range(0, (gint32)G_N_ELEMENTS(words))]);
                break;
            default:
                g_string_truncate(xml, (gsize)(at + length));
            }
        }
        domain = vfo_domain_parse(xml->str, xml->len, &error);
        g_assert_true((domain == NULL) == (error != NULL));
        for (guint i = 0; domain && i < domain->pairs->len; i++) {
            const VfoDomainPair *pair = pair_at(domain, i);
            g_autofree char *changed = NULL;
            g_autoptr(VfoDomain) again = NULL;

            if (!pair->standby || !pair->vf)
                continue;
            changed = vfo_domain_set_vf(xml->str, xml->len, pair->standby, "0000:7f:00.1", NULL);
            g_assert_nonnull(changed);
            again = parse(changed);
            g_assert_cmpstr(vfo_domain_pair(again, pair->standby)->vf, ==, "0000:7f:00.1");
            parsed++;
        }
    }
    g_test_message("%u pairs were rewritten", parsed);
    g_assert_cmpuint(parsed, >, rounds / 20);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/domain/form/none", test_plain);
    g_test_add_func("/domain/form/hostdev", test_hostdev);
    g_test_add_func("/domain/form/interface", test_interface);
    g_test_add_func("/domain/form/network", test_network);
    g_test_add_func("/domain/form/standby-alone", test_standby_alone);
    g_test_add_func("/domain/form/standby-unnamed", test_standby_unnamed);
    g_test_add_func("/domain/form/no-pair", test_no_pair);
    g_test_add_func("/domain/form/interfaces", test_interfaces);
    g_test_add_func("/domain/form/several", test_several);
    g_test_add_func("/domain/vlan-trunk", test_vlan_trunk);
    g_test_add_func("/domain/numa", test_numa);
    g_test_add_func("/domain/refused", test_refused);
    g_test_add_func("/domain/bounds", test_bounds);
    g_test_add_func("/domain/set-vf", test_set_vf);
    g_test_add_func("/domain/set-vf/several", test_set_vf_of_several);
    g_test_add_func("/domain/set-vf/refused", test_set_vf_refused);
    g_test_add_func("/domain/set-vfs", test_set_vfs);
    g_test_add_func("/domain/set-vfs/refused", test_set_vfs_refused);
    g_test_add_func("/domain/pair", test_pair);
    g_test_add_func("/domain/pair/second", test_pair_second);
    g_test_add_func("/domain/pair/refused", test_pair_refused);
    g_test_add_func("/domain/fuzz", test_fuzz);
    return g_test_run();
}
