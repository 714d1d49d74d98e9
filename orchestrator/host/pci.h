/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PFs and VFs as PCI functions, through sysfs. Private to host/. @sysfs is the
 * root ("/sys") in all of them; PCI addresses are "0000:01:10.0".
 */
#pragma once

#include "core/core.h"

/** vfo_pci_of_interface: the PCI address behind network interface @name. Free with g_free(). */
char *vfo_pci_of_interface(const char *sysfs, const char *name, GError **error);

/** vfo_pci_count_vfs: how many VFs are switched on at PF @pf; 0: none, or no PF. */
guint vfo_pci_count_vfs(const char *sysfs, const char *pf);

/** vfo_pci_vf: the address of VF number @index of PF @pf; NULL: none. Free with g_free(). */
char *vfo_pci_vf(const char *sysfs, const char *pf, guint index);

/** vfo_pci_pf: the address of the PF that VF @vf belongs to; NULL: @vf is not there or
 *  no VF. Free with g_free(). */
char *vfo_pci_pf(const char *sysfs, const char *vf);

/** vfo_pci_driver: the driver bound to @pci; NULL: none. Free with g_free(). */
char *vfo_pci_driver(const char *sysfs, const char *pci);

/** vfo_pci_iommu_group: -1: none. */
int vfo_pci_iommu_group(const char *sysfs, const char *pci);

/** vfo_pci_numa_node: -1: unknown. */
int vfo_pci_numa_node(const char *sysfs, const char *pci);

/** vfo_pci_ids: vendor and device id of @pci, 0 where unknown. The kernel knows those of a VF,
 *  which itself has none (SR-IOV 1.1, 3.4.1). */
void vfo_pci_ids(const char *sysfs, const char *pci, guint16 *vendor, guint16 *device);

/** vfo_pci_interrupts: how many interrupts the vectors that @pci has at present have
 *  delivered, on all CPUs; at most 64 vectors are looked at. 0: no vectors. */
guint64 vfo_pci_interrupts(const char *sysfs, const char *pci);

/** vfo_pci_irq: the host's number, as text, of the interrupt by which vfio waits for MSI-X vector
 *  number @vector of @pci; NULL: the driver in the guest has not asked for it
 *  (vfio_msi_set_vector_signal() in drivers/vfio/pci/vfio_pci_intrs.c names it
 *  "vfio-msix[N](ADDRESS)"). At most 64 vectors are looked at. Free with g_free(). */
char *vfo_pci_irq(const char *sysfs, const char *pci, guint vector);

/** vfo_pci_irq_count: how often interrupt @irq was delivered, on all CPUs. FALSE: it is not there.
 */
gboolean vfo_pci_irq_count(const char *sysfs, const char *irq, guint64 *count);

/**
 * vfo_pci_reset: a function-level reset of @pci, after which it must answer and have the
 * driver it had. Blocks for 100 ms and more: for a thread. Needs Linux 5.15.
 */
gboolean vfo_pci_reset(const char *sysfs, const char *pci, GError **error);
