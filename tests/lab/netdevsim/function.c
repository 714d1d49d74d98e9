// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What netdevsim lacks for vfailover's lab: the function behind a VF's devlink port, which has a
 * MAC address. It is the one that RTM_SETLINK sets, as it is with the drivers of real cards.
 * scripts/lab-setup includes this file in the driver's dev.c.
 */
static int nsim_vf_hw_addr(struct devlink_port *port, u8 **mac, struct netlink_ext_ack *extack)
{
    struct nsim_dev *nsim_dev = devlink_priv(port->devlink);
    u16 vf = port->attrs.pci_vf.vf;

    if (port->attrs.flavour != DEVLINK_PORT_FLAVOUR_PCI_VF || vf >= nsim_dev_get_vfs(nsim_dev)) {
        NL_SET_ERR_MSG_MOD(extack, "Only VFs' ports have a function");
        return -EOPNOTSUPP;
    }
    *mac = nsim_dev->vfconfigs[vf].vf_mac;
    return 0;
}

static int nsim_port_hw_addr_get(struct devlink_port *port, u8 *hw_addr, int *hw_addr_len,
                                 struct netlink_ext_ack *extack)
{
    u8 *mac;
    int err = nsim_vf_hw_addr(port, &mac, extack);

    if (err)
        return err;
    ether_addr_copy(hw_addr, mac);
    *hw_addr_len = ETH_ALEN;
    return 0;
}

static int nsim_port_hw_addr_set(struct devlink_port *port, const u8 *hw_addr, int hw_addr_len,
                                 struct netlink_ext_ack *extack)
{
    u8 *mac;
    int err = nsim_vf_hw_addr(port, &mac, extack);

    if (err)
        return err;
    memcpy(mac, hw_addr, ETH_ALEN);
    return 0;
}
