/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of vm/: the VMs of this host. Each is a VfoVm (core/core.h). There are two back ends:
 * one reaches QEMU over QMP, stock 10.0 or patched, the other libvirt, 9.0 or newer.
 */
#pragma once

#include "core/core.h"
#include "domain/domain.h"

#define VFO_TYPE_VMS (vfo_vms_get_type())
G_DECLARE_FINAL_TYPE(VfoVms, vfo_vms, VFO, VMS, GObject)

/* Signals: "added" (vms, VfoVm *vm), "removed" (vms, VfoVm *vm): its socket file appeared, went; or
 *          libvirt's domain started, or is expected; ended, or is not expected any more.
 *          "progress" (vms, VfoVm *vm): a migration moved on (about once a second).
 *          "inspected" (vms, VfoVm *vm): vfo_vm_cached() is new, because QEMU told of something.
 *          "met" (vms, NULL): a VM, or libvirt, has told what was missing: vfo_vms_unmet() is
 *          NULL now, and was not.
 *
 * They are emitted on the thread-default main context in which the set was
 * made, to which all of its VMs belong. */

/**
 * vfo_vms_new: watches @directory: each socket NAME.sock in it is the QMP
 * monitor of the VM called NAME, for vfailoverd alone (QMP serves one client at
 * a time). Files that come and go are followed (inotify); a connection that
 * breaks is made again. The directory is made (0700) when it is missing.
 *
 * NAME is 1 to 64 characters of A-Z a-z 0-9 . _ -; other files are ignored
 * with a line in the log. Does not wait for any QEMU: what is in the directory
 * is listed on return and becomes ready when the loop runs.
 */
VfoVms *vfo_vms_new(const char *directory, GError **error);

/**
 * vfo_vms_get: the VM called @name, ready for commands (transfer none). Errors:
 * VFO_ERROR_NOT_FOUND: no such socket (with the names there are);
 * VFO_ERROR_CLOSED: QEMU does not answer on it. Does not block.
 *
 * The VM goes when its socket file does (QEMU removes it at its exit), or when libvirt's domain
 * ends. Whoever keeps the pointer across turns of the main loop holds a reference.
 */
VfoVm *vfo_vms_get(VfoVms *vms, const char *name, GError **error);

/** vfo_vms_get_uuid: the VM that libvirt has under @uuid, likewise. Those reached over QMP are not
 *  found. */
VfoVm *vfo_vms_get_uuid(VfoVms *vms, const char *uuid, GError **error);

/** vfo_vms_list: every VM by name, ready or not (transfer container) of VfoVm. */
GPtrArray *vfo_vms_list(VfoVms *vms);

/** vfo_vms_unmet: why there may be VMs here of which nothing is known (transfer full): libvirt, if
 *  it is followed, has not told of those that ran before, or what listens on a QMP socket has never
 *  been looked at. NULL: there are none. */
GError *vfo_vms_unmet(VfoVms *vms);

/* ------------------------------------------------------------------ libvirt */

/**
 * vfo_vms_follow_libvirt: adds the domains that run at @uri ("qemu:///system") and have a pair or a
 * VF, now and later; once. Does not block; what goes wrong is logged and tried again. Belongs
 * to the default main context: libvirt-glib knows no other. A domain whose name is not that of a
 * VM (vfo_vms_new()), or that another VM has already, is left alone with a line in the log.
 * @updates: the definition that an expected domain brings from its source is changed, when it runs,
 * to name the VFs that it has here.
 */
void vfo_vms_follow_libvirt(VfoVms *vms, const char *uri, gboolean updates);

/**
 * vfo_vms_expect: libvirt is about to migrate @domain (copied) to this host: the VM (transfer
 * none) that it will be. Nothing is asked of libvirt about it until libvirt tells that it has
 * started: a hook may be waiting for us with the domain locked. Replaces one of the same UUID that
 * is still expected. Errors: VFO_ERROR_BUSY: it runs here already, or another VM has its name;
 * VFO_ERROR_INVALID: its name; VFO_ERROR_NOT_SUPPORTED: libvirt is not followed.
 */
VfoVm *vfo_vms_expect(VfoVms *vms, const VfoDomain *domain, GError **error);

/** vfo_vms_unexpect: @uuid does not come: the VM goes, if libvirt has not started it. */
void vfo_vms_unexpect(VfoVms *vms, const char *uuid);

/** vfo_vms_tell_start: libvirt is about to start the QEMU of the expected VM: @domain has its taps.
 *  VFO_ERROR_NOT_FOUND: none is expected. */
gboolean vfo_vms_tell_start(VfoVms *vms, const VfoDomain *domain, GError **error);

/** vfo_vm_is_libvirts: @vm is one that libvirt manages. */
gboolean vfo_vm_is_libvirts(VfoVm *vm);

/**
 * vfo_vm_ref: keeps @vm in memory, also when it has gone: every
 * op then fails with VFO_ERROR_CLOSED. An op under way holds one of its own.
 */
VfoVm *vfo_vm_ref(VfoVm *vm);
void vfo_vm_unref(VfoVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VfoVm, vfo_vm_unref)

/** vfo_vm_state: NULL: ready; else why it does not answer. Borrowed, until the next call. */
const GError *vfo_vm_state(VfoVm *vm);

/** vfo_vm_cached: what the last inspection saw, NULL: none yet. Refreshed when QEMU
 *  tells of a device, a stop, a resume or a migration. Borrowed, until the loop runs. */
const VfoVmInfo *vfo_vm_cached(VfoVm *vm);

/** vfo_vm_refresh: has @vm inspected soon; "inspected" tells of it, unless @vm goes before. */
void vfo_vm_refresh(VfoVm *vm);
