/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of vm/: the VMs of this host. Each is a VfoVm (core/core.h); the
 * back end here reaches QEMU over QMP, stock 10.0 or patched.
 */
#pragma once

#include "core/core.h"

#define VFO_TYPE_VMS (vfo_vms_get_type())
G_DECLARE_FINAL_TYPE(VfoVms, vfo_vms, VFO, VMS, GObject)

/* Signals: "added" (vms, VfoVm *vm), "removed" (vms, VfoVm *vm): its socket file appeared, went.
 *          "progress" (vms, VfoVm *vm): a migration moved on (about once a second). */

/**
 * vfo_vms_new: watches @directory: each socket NAME.sock in it is the QMP
 * monitor of the VM called NAME, for vfailoverd alone (QMP serves one client at
 * a time). Files that come and go are followed (inotify); a connection that
 * breaks is made again. The directory is made (0700) when it is missing.
 */
VfoVms *vfo_vms_new(const char *directory, GError **error);

/**
 * vfo_vms_get: the VM called @name, ready for commands (transfer none). Errors:
 * no such socket (with the names there are), or QEMU does not answer on it.
 */
VfoVm *vfo_vms_get(VfoVms *vms, const char *name, GError **error);

/** vfo_vms_list: every VM, ready or not (transfer container) of VfoVm. */
GPtrArray *vfo_vms_list(VfoVms *vms);

/** vfo_vm_state: NULL: ready; else why it does not answer. Borrowed. */
const GError *vfo_vm_state(VfoVm *vm);

/** vfo_vm_cached: what the last inspection saw, NULL: none yet. Refreshed when QEMU
 *  tells of a device, a stop, a resume or a migration. Borrowed. */
const VfoVmInfo *vfo_vm_cached(VfoVm *vm);
