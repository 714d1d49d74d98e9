/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host/pci.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#define MAX_VECTORS 64
/* sysfs gives no more than a page. */
#define MAX_TEXT 4096

static char *device_path(const char *sysfs, const char *pci, const char *leaf)
{
    return g_build_filename(sysfs, "bus", "pci", "devices", pci, leaf, NULL);
}

/* The last component of what the symbolic link @path points to; NULL: no such link. */
static char *link_target(const char *path)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);

    if (length <= 0)
        return NULL;
    target[length] = '\0';
    return g_path_get_basename(target);
}

static char *device_link(const char *sysfs, const char *pci, const char *leaf)
{
    g_autofree char *path = device_path(sysfs, pci, leaf);

    return link_target(path);
}

/* As much of @path as fits @text; -1 and errno on failure. */
static ssize_t read_text(const char *path, char text[MAX_TEXT])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;
    int saved;

    if (fd < 0)
        return -1;
    length = read(fd, text, MAX_TEXT - 1);
    saved = errno;
    close(fd);
    errno = saved;
    text[length > 0 ? length : 0] = '\0';
    return length;
}

static gint64 device_number(const char *sysfs, const char *pci, const char *leaf, gint64 otherwise)
{
    g_autofree char *path = device_path(sysfs, pci, leaf);
    char text[MAX_TEXT];
    gint64 number;

    if (read_text(path, text) <= 0 ||
        !g_ascii_string_to_signed(g_strstrip(text), 10, -1, G_MAXINT, &number, NULL))
        return otherwise;
    return number;
}

char *vfo_pci_of_interface(const char *sysfs, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(sysfs, "class", "net", name, "device", NULL);
    g_autofree char *pci = link_target(path);

    if (!pci || !vfo_pci_is_address(pci)) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_FOUND,
                    "%s is no network interface of a PCI device on this host; see the 'pf' of the "
                    "configuration",
                    name);
        return NULL;
    }
    return g_steal_pointer(&pci);
}

guint vfo_pci_count_vfs(const char *sysfs, const char *pf)
{
    gint64 count = device_number(sysfs, pf, "sriov_numvfs", 0);

    /* The register behind it is 16 bits wide. */
    return (guint)CLAMP(count, 0, G_MAXUINT16);
}

char *vfo_pci_vf(const char *sysfs, const char *pf, guint index)
{
    g_autofree char *leaf = g_strdup_printf("virtfn%u", index);
    g_autofree char *vf = device_link(sysfs, pf, leaf);

    return vf && vfo_pci_is_address(vf) ? g_steal_pointer(&vf) : NULL;
}

char *vfo_pci_pf(const char *sysfs, const char *vf)
{
    g_autofree char *pf = device_link(sysfs, vf, "physfn");

    return pf && vfo_pci_is_address(pf) ? g_steal_pointer(&pf) : NULL;
}

char *vfo_pci_driver(const char *sysfs, const char *pci)
{
    return device_link(sysfs, pci, "driver");
}

int vfo_pci_iommu_group(const char *sysfs, const char *pci)
{
    g_autofree char *group = device_link(sysfs, pci, "iommu_group");
    guint64 number;

    if (!group || !g_ascii_string_to_unsigned(group, 10, 0, G_MAXINT, &number, NULL))
        return -1;
    return (int)number;
}

int vfo_pci_numa_node(const char *sysfs, const char *pci)
{
    return (int)device_number(sysfs, pci, "numa_node", -1);
}

static guint16 device_id(const char *sysfs, const char *pci, const char *leaf)
{
    g_autofree char *path = device_path(sysfs, pci, leaf);
    char text[MAX_TEXT];
    guint64 id = 0;

    if (read_text(path, text) <= 0 || !g_str_has_prefix(g_strstrip(text), "0x") ||
        !g_ascii_string_to_unsigned(text + 2, 16, 0, G_MAXUINT16, &id, NULL))
        return 0;
    return (guint16)id;
}

void vfo_pci_ids(const char *sysfs, const char *pci, guint16 *vendor, guint16 *device)
{
    *vendor = device_id(sysfs, pci, "vendor");
    *device = device_id(sysfs, pci, "device");
}

gboolean vfo_pci_irq_count(const char *sysfs, const char *irq, guint64 *count)
{
    g_autofree char *path = g_build_filename(sysfs, "kernel", "irq", irq, "per_cpu_count", NULL);
    char text[MAX_TEXT];
    char *next = text;

    /* "3,0,17\n" */
    if (read_text(path, text) <= 0)
        return FALSE;
    *count = 0;
    while (g_ascii_isdigit(*next)) {
        *count += g_ascii_strtoull(next, &next, 10);
        if (*next == ',')
            next++;
    }
    return TRUE;
}

guint64 vfo_pci_interrupts(const char *sysfs, const char *pci)
{
    g_autofree char *path = device_path(sysfs, pci, "msi_irqs");
    g_autoptr(GDir) vectors = g_dir_open(path, 0, NULL);
    const char *vector;
    guint64 count;
    guint64 sum = 0;
    guint seen = 0;

    if (!vectors)
        return 0;
    while (seen < MAX_VECTORS && (vector = g_dir_read_name(vectors))) {
        if (!g_ascii_string_to_unsigned(vector, 10, 0, G_MAXUINT, NULL, NULL))
            continue;
        /* Gone since the directory was read: the guest has just freed it. */
        if (vfo_pci_irq_count(sysfs, vector, &count))
            sum += count;
        seen++;
    }
    return sum;
}

static gint compare_numbers(gconstpointer a, gconstpointer b)
{
    guint left = *(const guint *)a, right = *(const guint *)b;

    return (left > right) - (left < right);
}

char *vfo_pci_irq(const char *sysfs, const char *pci, guint vector)
{
    g_autofree char *path = device_path(sysfs, pci, "msi_irqs");
    g_autofree char *wanted = g_strdup_printf("vfio-msix[%u](%s)", vector, pci);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    g_autoptr(GArray) irqs = NULL;
    const char *name;

    if (!directory)
        return NULL;
    irqs = g_array_new(FALSE, FALSE, sizeof(guint));
    while (irqs->len < MAX_VECTORS && (name = g_dir_read_name(directory))) {
        guint64 number;
        guint irq;

        if (!g_ascii_string_to_unsigned(name, 10, 0, G_MAXUINT, &number, NULL))
            continue;
        irq = (guint)number;
        g_array_append_val(irqs, irq);
    }
    /* In the order of the vectors, as a rule: then the first that is looked at is it. */
    g_array_sort(irqs, compare_numbers);
    for (guint i = 0; i < irqs->len; i++) {
        g_autofree char *irq =
            g_strdup_printf("%u", g_array_index(irqs, guint, (vector + i) % irqs->len));
        g_autofree char *actions = g_build_filename(sysfs, "kernel", "irq", irq, "actions", NULL);
        char text[MAX_TEXT];

        if (read_text(actions, text) <= 0)
            continue;
        text[strcspn(text, "\n")] = '\0';
        if (g_str_equal(text, wanted))
            return g_steal_pointer(&irq);
    }
    return NULL;
}

/* The kernel uses the first method of the file; "bus" would take the neighbours along. */
static gboolean check_reset_method(const char *sysfs, const char *pci, GError **error)
{
    static const char *const own[] = {"device_specific", "acpi", "flr", "af_flr", "pm", NULL};
    g_autofree char *path = device_path(sysfs, pci, "reset_method");
    char text[MAX_TEXT];

    if (read_text(path, text) <= 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                    "VF %s cannot be reset: no reset method in %s (needs Linux 5.15 and a device "
                    "with function-level reset)",
                    pci, path);
        return FALSE;
    }
    text[strcspn(text, " \n")] = '\0';
    if (!g_strv_contains(own, text)) {
        g_set_error(
            error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
            "VF %s was not reset: its first reset method is '%.32s', which resets more than "
            "the VF; write 'flr' to %s if the device can",
            pci, text, path);
        return FALSE;
    }
    return TRUE;
}

static gboolean write_reset(const char *sysfs, const char *pci, GError **error)
{
    g_autofree char *path = device_path(sysfs, pci, "reset");
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, "1", 1);
    int saved = errno;

    if (fd >= 0)
        close(fd);
    if (written == 1)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                "cannot reset VF %s through %s: %s; see the kernel's log", pci, path,
                g_strerror(saved));
    return FALSE;
}

/*
 * The command and status registers, as the kernel itself does after a reset
 * (pci_dev_wait() in drivers/pci/pci.c): a VF's vendor id reads 0xffff in the
 * best of health (SR-IOV 1.1, 3.4.1.1), the reserved bits of these never do.
 */
static gboolean check_answers(const char *sysfs, const char *pci, GError **error)
{
    g_autofree char *path = device_path(sysfs, pci, "config");
    guint32 value = G_MAXUINT32;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : pread(fd, &value, sizeof(value), PCI_COMMAND);

    if (fd >= 0)
        close(fd);
    if (length == sizeof(value) && value != G_MAXUINT32)
        return TRUE;
    g_set_error(error, VFO_ERROR, VFO_ERROR_FAILED,
                "VF %s does not answer after its reset; it is out of use until its PF is reset "
                "('echo 0' and the number of VFs to the PF's sriov_numvfs)",
                pci);
    return FALSE;
}

gboolean vfo_pci_reset(const char *sysfs, const char *pci, GError **error)
{
    g_autofree char *before = vfo_pci_driver(sysfs, pci);
    g_autofree char *after = NULL;

    if (!check_reset_method(sysfs, pci, error) || !write_reset(sysfs, pci, error) ||
        !check_answers(sysfs, pci, error))
        return FALSE;
    after = vfo_pci_driver(sysfs, pci);
    if (g_strcmp0(before, after) != 0) {
        g_set_error(error, VFO_ERROR, VFO_ERROR_MISMATCH,
                    "VF %s had driver %s before its reset and has %s now; bind it again", pci,
                    before ? before : "none", after ? after : "none");
        return FALSE;
    }
    return TRUE;
}
