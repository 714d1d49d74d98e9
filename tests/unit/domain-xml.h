/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Domain XML as libvirt 11.3 writes it: the parts that have to do with pairs,
 * and some that others might trip over.
 */
#pragma once

#define DOMAIN_UUID "12345678-0000-4000-8000-00000000000c"

/* 'virsh dumpxml' of a running domain has ids, targets and aliases of its own. */
#define DOMAIN_HEAD                                                                                \
    "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"         \
    "  <name>web1</name>\n"                                                                        \
    "  <uuid>" DOMAIN_UUID "</uuid>\n"                                                             \
    "  <description>a &lt;teaming&gt; pair &amp; more\xc3\xa9</description>\n"                     \
    "  <metadata>\n"                                                                               \
    "    <app:note xmlns:app='http://example.org/app'><app:teaming type='persistent'/>"            \
    "</app:note>\n"                                                                                \
    "  </metadata>\n"                                                                              \
    "  <memory unit='KiB'>262144</memory>\n"                                                       \
    "  <vcpu placement='static'>1</vcpu>\n"                                                        \
    "  <resource>\n"                                                                               \
    "    <partition>/machine</partition>\n"                                                        \
    "  </resource>\n"                                                                              \
    "  <os>\n"                                                                                     \
    "    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>\n"                                   \
    "    <cmdline>console=ttyS0 a='b' c=\"d\"</cmdline>\n"                                         \
    "  </os>\n"                                                                                    \
    "  <devices>\n"                                                                                \
    "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"                                       \
    "    <controller type='pci' index='1' model='pcie-root-port'>\n"                               \
    "      <model name='pcie-root-port'/>\n"                                                       \
    "      <target chassis='1' port='0x8'/>\n"                                                     \
    "      <alias name='pci.1'/>\n"                                                                \
    "    </controller>\n"

#define DOMAIN_TAIL                                                                                \
    "    <memballoon model='none'/>\n"                                                             \
    "  </devices>\n"                                                                               \
    "  <seclabel type='none' model='none'/>\n"                                                     \
    "  <qemu:commandline>\n"                                                                       \
    "    <qemu:arg value='-qmp'/>\n"                                                               \
    "    <qemu:arg value='unix:/run/x.sock,server=on,wait=off'/>\n"                                \
    "  </qemu:commandline>\n"                                                                      \
    "</domain>\n"

/* An ordinary virtio interface and an ordinary disk. */
#define DOMAIN_PLAIN                                                                               \
    "    <interface type='bridge'>\n"                                                              \
    "      <mac address='52:54:00:aa:00:99'/>\n"                                                   \
    "      <source bridge='br9'/>\n"                                                               \
    "      <target dev='vnet9'/>\n"                                                                \
    "      <model type='virtio'/>\n"                                                               \
    "      <alias name='net9'/>\n"                                                                 \
    "      <address type='pci' domain='0x0000' bus='0x09' slot='0x00' function='0x0'/>\n"          \
    "    </interface>\n"

#define DOMAIN_STANDBY_OF(ALIAS, MAC, BRIDGE, TAP, MORE)                                           \
    "    <interface type='bridge'>\n"                                                              \
    "      <mac address='" MAC "'/>\n"                                                             \
    "      <source bridge='" BRIDGE "'/>\n"                                                        \
    "      <target dev='" TAP "'/>\n" MORE "      <model type='virtio'/>\n"                        \
    "      <teaming type='persistent'/>\n"                                                         \
    "      <link state='up'/>\n"                                                                   \
    "      <alias name='" ALIAS "'/>\n"                                                            \
    "      <rom enabled='no'/>\n"                                                                  \
    "      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>\n"          \
    "    </interface>\n"
#define DOMAIN_STANDBY DOMAIN_STANDBY_OF("ua-net1", "52:54:00:aa:00:10", "br0", "vnet0", "")

#define DOMAIN_ADDRESS "domain='0x0000' bus='0x01' slot='0x10' function='0x0'"

#define DOMAIN_HOSTDEV_AT(ADDRESS)                                                                 \
    "    <hostdev mode='subsystem' type='pci' managed='yes'>\n"                                    \
    "      <driver name='vfio'/>\n"                                                                \
    "      <source>\n"                                                                             \
    "        <address " ADDRESS "/>\n"                                                             \
    "      </source>\n"                                                                            \
    "      <teaming type='transient' persistent='ua-net1'/>\n"                                     \
    "      <alias name='ua-vf0'/>\n"                                                               \
    "      <rom enabled='no'/>\n"                                                                  \
    "      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>\n"          \
    "    </hostdev>\n"
#define DOMAIN_HOSTDEV DOMAIN_HOSTDEV_AT(DOMAIN_ADDRESS)

#define DOMAIN_INTERFACE_WITH(MAC, ADDRESS, MORE)                                                  \
    "    <interface type='hostdev' managed='yes'>\n"                                               \
    "      <mac address='" MAC "'/>\n"                                                             \
    "      <driver name='vfio'/>\n"                                                                \
    "      <source>\n"                                                                             \
    "        <address type='pci' " ADDRESS "/>\n"                                                  \
    "      </source>\n" MORE "      <teaming type='transient' persistent='ua-net1'/>\n"            \
    "      <alias name='ua-vf0'/>\n"                                                               \
    "      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>\n"          \
    "    </interface>\n"
#define DOMAIN_VLAN                                                                                \
    "      <vlan>\n"                                                                               \
    "        <tag id='42'/>\n"                                                                     \
    "      </vlan>\n"
#define DOMAIN_INTERFACE DOMAIN_INTERFACE_WITH("52:54:00:aa:00:10", DOMAIN_ADDRESS, DOMAIN_VLAN)

/* As it is before libvirt has taken a VF of the pool. */
#define DOMAIN_NETWORK                                                                             \
    "    <interface type='network'>\n"                                                             \
    "      <mac address='52:54:00:aa:00:10'/>\n"                                                   \
    "      <source network='vfpool'/>\n"                                                           \
    "      <teaming type='transient' persistent='ua-net1'/>\n"                                     \
    "      <alias name='ua-vf0'/>\n"                                                               \
    "      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>\n"          \
    "    </interface>\n"

#define DOMAIN(DEVICES) DOMAIN_HEAD DOMAIN_PLAIN DEVICES DOMAIN_TAIL
