/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls the ops of a VM that libvirt manages, one after the other, and prints what comes of each,
 * and what is told meanwhile: the lab tries them on a real libvirt. libvirt-steps URI VM STEP...;
 * a step is "wait" (until the VM is there), "lost" (until it does not answer), "file=PATH" (until
 * there is that file), "plug=PCI", or the name of an op. It ends with the first step that fails,
 * with status 1.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vm/vm.h"

typedef struct {
    VfoVms *vms;
    const char *name;
    char **steps;
    VfoVm *vm;
    VfoPair *pair; /* as it was seen first */
    GMainLoop *loop;
    int status;
} Run;

static void say(const char *format, ...) G_GNUC_PRINTF(1, 2);

static void say(const char *format, ...)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%H:%M:%S.%f");
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    printf("%s %s\n", time, text);
    fflush(stdout);
}

static void describe(const char *what, const VfoVmInfo *info)
{
    say("%s: %s, machine %s, %u pairs", what, info->status, info->machine, info->pairs->len);
    for (guint i = 0; i < info->pairs->len; i++) {
        const VfoPair *pair = g_ptr_array_index(info->pairs, i);

        say("  standby %s on %s, primary %s on %s", pair->standby, pair->tap ? pair->tap : "-",
            pair->primary ? pair->primary : "-", pair->vf ? pair->vf : "-");
    }
}

static void on_added(VfoVms *vms, VfoVm *vm, gpointer data)
{
    say("added %s", vm->name);
}

static void on_removed(VfoVms *vms, VfoVm *vm, gpointer data)
{
    say("removed %s", vm->name);
}

static void on_inspected(VfoVms *vms, VfoVm *vm, gpointer data)
{
    describe("inspected", vfo_vm_cached(vm));
}

static void on_progress(VfoVms *vms, VfoVm *vm, gpointer data)
{
    VfoProgress progress;

    vm->ops->progress(vm, &progress);
    say("progress: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes, %.0f Mbit/s, downtime "
        "%" G_GUINT64_FORMAT " ms",
        progress.transferred, progress.total, progress.mbps, progress.downtime_ms);
}

static gboolean next(gpointer data);

static void ended(Run *run, const GError *error)
{
    say("%s: %s%s", *run->steps, error ? "failed: " : "ok", error ? error->message : "");
    run->status = error ? 1 : 0;
    run->steps++;
    if (error || !*run->steps)
        g_main_loop_quit(run->loop);
    else
        g_idle_add(next, run);
}

static void on_op(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(GError) error = NULL;

    g_task_propagate_boolean(G_TASK(result), &error);
    ended(data, error);
}

static void on_inspect(GObject *source, GAsyncResult *result, gpointer data)
{
    Run *run = data;
    g_autoptr(GError) error = NULL;
    VfoVmInfo *info = g_task_propagate_pointer(G_TASK(result), &error);

    if (info)
        describe("inspect", info);
    vfo_vm_info_free(info);
    ended(run, error);
}

static gboolean find_vm(Run *run)
{
    const VfoVmInfo *info;

    if (run->vm)
        return TRUE;
    run->vm = vfo_vms_get(run->vms, run->name, NULL);
    info = run->vm ? vfo_vm_cached(run->vm) : NULL;
    if (!info) {
        run->vm = NULL;
        return FALSE;
    }
    vfo_vm_ref(run->vm);
    if (info->pairs->len)
        run->pair = vfo_pair_copy(g_ptr_array_index(info->pairs, 0));
    return TRUE;
}

static gboolean has_come(Run *run, const char *step)
{
    gboolean answers = vfo_vms_get(run->vms, run->name, NULL) != NULL;

    if (g_str_has_prefix(step, "file="))
        return g_file_test(step + strlen("file="), G_FILE_TEST_EXISTS);
    return g_str_equal(step, "wait") ? answers && find_vm(run) : !answers;
}

static gboolean on_tick(gpointer data)
{
    Run *run = data;

    if (!has_come(run, *run->steps))
        return G_SOURCE_CONTINUE;
    ended(run, NULL);
    return G_SOURCE_REMOVE;
}

typedef void (*VmOp)(VfoVm *vm, GTask *task);
typedef void (*PairOp)(VfoVm *vm, const VfoPair *pair, GTask *task);

static const struct {
    const char *name;
    gsize op;      /* in VfoVmOps: (vm, task), */
    gsize pair_op; /* or (vm, pair, task) */
} ops[] = {
    {"unplug", 0, G_STRUCT_OFFSET(VfoVmOps, unplug)},
    {"resumed", G_STRUCT_OFFSET(VfoVmOps, resumed), 0},
    {"completed", G_STRUCT_OFFSET(VfoVmOps, completed), 0},
    {"cancel", G_STRUCT_OFFSET(VfoVmOps, cancel), 0},
    {"unplugging", 0, G_STRUCT_OFFSET(VfoVmOps, unplugging)},
    {"unplugged", 0, G_STRUCT_OFFSET(VfoVmOps, unplugged)},
    {"stopped", G_STRUCT_OFFSET(VfoVmOps, stopped), 0},
    {"replugged", 0, G_STRUCT_OFFSET(VfoVmOps, replugged)},
    {"ended", G_STRUCT_OFFSET(VfoVmOps, ended), 0},
    {"started", G_STRUCT_OFFSET(VfoVmOps, started), 0},
};

static gboolean call(Run *run, const char *step)
{
    GTask *task = g_task_new(NULL, NULL, on_op, run);
    VfoVm *vm = run->vm;

    if (g_str_has_prefix(step, "plug=")) {
        vm->ops->plug(vm, run->pair, step + strlen("plug="), task);
        return TRUE;
    }
    for (guint i = 0; i < G_N_ELEMENTS(ops); i++) {
        if (!g_str_equal(step, ops[i].name))
            continue;
        if (ops[i].op)
            G_STRUCT_MEMBER(VmOp, vm->ops, ops[i].op)(vm, task);
        else
            G_STRUCT_MEMBER(PairOp, vm->ops, ops[i].pair_op)(vm, run->pair, task);
        return TRUE;
    }
    g_object_unref(task);
    return FALSE;
}

static gboolean next(gpointer data)
{
    Run *run = data;
    const char *step = *run->steps;
    g_autoptr(GError) error = NULL;

    if (g_str_equal(step, "wait") || g_str_equal(step, "lost") || g_str_has_prefix(step, "file=")) {
        g_timeout_add(20, on_tick, run);
    } else if (!find_vm(run) || !run->pair) {
        g_set_error(&error, VFO_ERROR, VFO_ERROR_NOT_FOUND, "no VM with a pair: 'wait' for it");
        ended(run, error);
    } else if (g_str_equal(step, "inspect")) {
        run->vm->ops->inspect(run->vm, g_task_new(NULL, NULL, on_inspect, run));
    } else if (!call(run, step)) {
        g_set_error(&error, VFO_ERROR, VFO_ERROR_INVALID, "there is no such step");
        ended(run, error);
    }
    return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
    g_autofree char *directory = g_dir_make_tmp("libvirt-steps-XXXXXX", NULL);
    Run run = {.name = argc > 2 ? argv[2] : NULL, .steps = argv + MIN(argc, 3)};

    if (argc < 4) {
        fprintf(stderr, "usage: libvirt-steps URI VM STEP...\n");
        return 2;
    }
    run.loop = g_main_loop_new(NULL, FALSE);
    run.vms = vfo_vms_new(directory, NULL);
    g_signal_connect(run.vms, "added", G_CALLBACK(on_added), NULL);
    g_signal_connect(run.vms, "removed", G_CALLBACK(on_removed), NULL);
    g_signal_connect(run.vms, "inspected", G_CALLBACK(on_inspected), NULL);
    g_signal_connect(run.vms, "progress", G_CALLBACK(on_progress), NULL);
    vfo_vms_follow_libvirt(run.vms, argv[1], FALSE);
    g_idle_add(next, &run);
    g_main_loop_run(run.loop);
    rmdir(directory);
    return run.status;
}
