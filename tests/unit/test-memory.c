/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a daemon that is started anew knows of the VMs that are without their VF. */
#include "daemon/daemon.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOB "5f1e2f6a-0000-4000-8000-000000000001"

typedef struct {
    char *directory;
    char *path;
    VfoAbsences *absences;
    VfoMemory *memory;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->directory = g_dir_make_tmp("vfailover-memory-XXXXXX", NULL);
    g_assert_nonnull(f->directory);
    f->path = g_build_filename(f->directory, "absences.json", NULL);
}

static void stop(Fixture *f)
{
    g_clear_pointer(&f->memory, vfo_memory_free);
    g_clear_pointer(&f->absences, vfo_absences_free);
}

/* A daemon that has known nothing but what is in the file. */
static void start(Fixture *f)
{
    stop(f);
    f->absences = vfo_absences_new();
    f->memory = vfo_memory_new(f->absences, f->path);
    g_test_assert_expected_messages();
}

static void tear_down(Fixture *f, gconstpointer data)
{
    stop(f);
    g_unlink(f->path);
    /* No file but that one was left behind. */
    g_assert_cmpint(g_rmdir(f->directory), ==, 0);
    g_free(f->directory);
    g_free(f->path);
}

/* As QEMU and the host describe them, all of it. */
static VfoPair pair = {.standby = (char *)"net1",
                       .mac = {{0x52, 0x54, 0, 0xaa, 0, 0x10}},
                       .tap = (char *)"tap0",
                       .features = (char *)"mq=off,mrg_rxbuf=on",
                       .primary = (char *)"hostdev0",
                       .vf = (char *)"0000:01:10.0",
                       .bus = (char *)"rp1",
                       .rombar = TRUE};

static VfoOffer offer_of(const char *vm)
{
    return (VfoOffer){.job = (char *)JOB,
                      .vm = (char *)vm,
                      .machine = (char *)"pc-q35-10.0",
                      .pair = &pair,
                      .network = (char *)"lan",
                      .settings = {.mac = pair.mac,
                                   .vlan = 100,
                                   .vlan_outer = TRUE,
                                   .qos = 3,
                                   .spoofchk = FALSE,
                                   .trust = TRUE,
                                   .min_tx_rate = 10,
                                   .max_tx_rate = 500,
                                   .link = VFO_LINK_ENABLE},
                      .vendor = 0x8086,
                      .device = 0x10ca,
                      .mtu = 9000};
}

static void note(Fixture *f, const char *vm, gboolean wanted)
{
    VfoOffer offer = offer_of(vm);

    vfo_absences_note(f->absences, &offer, wanted);
}

static void write_file(Fixture *f, const char *text, gssize length)
{
    g_assert_true(g_file_set_contents(f->path, text, length, NULL));
}

static void expect_warning(const char *line)
{
    g_test_expect_message(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, line);
}

static void assert_empty(Fixture *f)
{
    g_assert_null(vfo_absences_nth(f->absences, 0, NULL));
}

/* -------------------------------------------------------------- round trip */

static void test_nothing_yet(Fixture *f, gconstpointer data)
{
    start(f);
    assert_empty(f);
    g_assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
}

static void test_round_trip(Fixture *f, gconstpointer data)
{
    VfoOffer offer = offer_of("web1");
    const VfoOffer *known;
    gboolean wanted = TRUE;

    start(f);
    note(f, "web1", FALSE);
    note(f, "web2", TRUE);
    start(f);
    known = vfo_absences_nth(f->absences, 0, &wanted);
    g_assert_cmpstr(known->vm, ==, "web1");
    g_assert_false(wanted);
    g_assert_cmpstr(known->job, ==, JOB);
    g_assert_cmpstr(known->machine, ==, "pc-q35-10.0");
    g_assert_cmpstr(known->network, ==, "lan");
    g_assert_null(known->uuid);
    g_assert_true(vfo_vf_settings_equal(&known->settings, &offer.settings));
    g_assert_cmphex(known->vendor, ==, 0x8086);
    g_assert_cmphex(known->device, ==, 0x10ca);
    g_assert_cmpuint(known->mtu, ==, 9000);
    g_assert_cmpstr(known->pair->standby, ==, "net1");
    g_assert_true(vfo_mac_equal(&known->pair->mac, &pair.mac));
    g_assert_cmpstr(known->pair->features, ==, pair.features);
    g_assert_cmpstr(known->pair->primary, ==, "hostdev0");
    g_assert_cmpstr(known->pair->bus, ==, "rp1");
    g_assert_true(known->pair->rombar);
    g_assert_false(known->pair->bonded);

    known = vfo_absences_nth(f->absences, 1, &wanted);
    g_assert_cmpstr(known->vm, ==, "web2");
    g_assert_true(wanted);
    g_assert_null(vfo_absences_nth(f->absences, 2, NULL));
}

/* Without an id, a bus, features, a device that is known. */
static void test_little_known(Fixture *f, gconstpointer data)
{
    VfoPair bare = {.standby = (char *)"net1", .mac = pair.mac, .bonded = TRUE};
    VfoOffer offer = {.job = (char *)JOB,
                      .vm = (char *)"web1",
                      .machine = (char *)"q35",
                      .pair = &bare,
                      .network = (char *)"lan"};
    const VfoOffer *known;

    start(f);
    vfo_absences_note(f->absences, &offer, FALSE);
    start(f);
    known = vfo_absences_find(f->absences, "web1", "net1");
    g_assert_nonnull(known);
    g_assert_null(known->pair->primary);
    g_assert_null(known->pair->bus);
    g_assert_true(known->pair->bonded);
}

/* Each change is in the file before it returns: it may be the last. */
static void test_each_change(Fixture *f, gconstpointer data)
{
    gboolean wanted = TRUE;

    start(f);
    note(f, "web1", TRUE);
    note(f, "web2", TRUE);
    start(f);
    note(f, "web1", FALSE);
    start(f);
    g_assert_cmpstr(vfo_absences_nth(f->absences, 1, &wanted)->vm, ==, "web1");
    g_assert_false(wanted);
    vfo_absences_forget(f->absences, "web1", "net1");
    start(f);
    g_assert_null(vfo_absences_find(f->absences, "web1", NULL));
    g_assert_nonnull(vfo_absences_find(f->absences, "web2", NULL));
    vfo_absences_forget(f->absences, "web2", NULL);
    start(f);
    assert_empty(f);
}

static void test_for_us_alone(Fixture *f, gconstpointer data)
{
    struct stat status;

    start(f);
    note(f, "web1", FALSE);
    g_assert_cmpint(stat(f->path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 07777, ==, 0600);
}

/* As many as there can be, with as much to say as there can be. */
static void test_full(Fixture *f, gconstpointer data)
{
    g_autofree char *features = g_strnfill(8192, 'f');
    VfoPair large = pair;
    VfoOffer offer = offer_of(NULL);

    large.features = features;
    offer.pair = &large;
    /* In one go: it is not the writing that is looked at. */
    f->absences = vfo_absences_new();
    for (guint i = 1; i < VFO_MAX_ABSENCES; i++) {
        g_autofree char *vm = g_strdup_printf("%0128u", i);

        offer.vm = vm;
        vfo_absences_note(f->absences, &offer, FALSE);
    }
    f->memory = vfo_memory_new(f->absences, f->path);
    note(f, "web1", FALSE);
    start(f);
    g_assert_nonnull(vfo_absences_nth(f->absences, VFO_MAX_ABSENCES - 1, NULL));
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", NULL));
}

/* ------------------------------------------------------------------ no good */

/* The daemon goes on, and what it writes is read again. */
static void assert_goes_on(Fixture *f)
{
    assert_empty(f);
    note(f, "web1", FALSE);
    start(f);
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", "net1"));
}

static void test_bad(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *text;
        const char *warning;
    } files[] = {
        {"", "*absences.json: JSON parse error: it ends too soon; *guest's MAC alone"},
        {"{\"absences\": [", "*absences.json: JSON parse error: it ends too soon*"},
        {"{\"absences\": []} {}", "*absences.json: JSON parse error*"},
        {"null ", "*absences.json: *no object*"},
        {"[]", "*absences.json: JSON parse error: no object*"},
        {"{}", "*absences.json: the file: 'absences' is missing*"},
        {"{\"absences\": {}}", "*absences.json: the file: 'absences' must be of type array*"},
        {"{\"absences\": [], \"x\": 1}", "*absences.json: the file: *'x'*"},
        {"{\"absences\": [\"\xff\"]}", "*absences.json: it is not UTF-8 text*"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        write_file(f, files[i].text, -1);
        expect_warning(files[i].warning);
        start(f);
        assert_goes_on(f);
    }
    write_file(f, "{\"absences\": []}\0", 17);
    expect_warning("*it is not UTF-8 text*");
    start(f);
    assert_goes_on(f);
}

/* An editor's. */
static void test_newline(Fixture *f, gconstpointer data)
{
    write_file(f, "{\"absences\": []}\n", -1);
    start(f);
    assert_goes_on(f);
}

/* One entry that is no good costs the others nothing. */
static void test_bad_entry(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    g_autofree char *other = NULL;

    start(f);
    note(f, "web1", FALSE);
    note(f, "web2", FALSE);
    note(f, "web3", FALSE);
    g_assert_true(g_file_get_contents(f->path, &text, NULL, NULL));
    parts = g_strsplit(text, "web2", 2);
    other = g_strjoinv("/etc/passwd", parts);
    write_file(f, other, -1);
    expect_warning("*absences.json: entry 1 is left out: *'vm' must be*guest's MAC alone");
    start(f);
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", NULL));
    g_assert_nonnull(vfo_absences_find(f->absences, "web3", NULL));
    g_assert_null(vfo_absences_nth(f->absences, 2, NULL));

    write_file(f, "{\"absences\": [7, {\"wanted\": true}, {\"offer\": {}, \"wanted\": 1}]}", -1);
    expect_warning("*entry 0 is left out: absence: not a JSON object*");
    expect_warning("*entry 1 is left out: absence: 'offer' is missing*");
    expect_warning("*entry 2 is left out: absence: 'wanted' must be of type boolean*");
    start(f);
    assert_goes_on(f);
}

static void test_too_many(Fixture *f, gconstpointer data)
{
    GString *text = g_string_new("{\"absences\": [0");

    for (guint i = 0; i < VFO_MAX_ABSENCES; i++)
        g_string_append(text, ", 0");
    g_string_append(text, "]}");
    write_file(f, text->str, (gssize)text->len);
    g_string_free(text, TRUE);
    expect_warning("*absences.json: the file: 'absences' has more than the 4096 elements*");
    start(f);
    assert_goes_on(f);
}

/* Not a byte of it is read. */
static void test_too_large(Fixture *f, gconstpointer data)
{
    write_file(f, "{\"absences\": []}", -1);
    g_assert_cmpint(truncate(f->path, 1 << 30), ==, 0);
    expect_warning("*absences.json: it has 1073741824 bytes, more than the 41943040 allowed*");
    start(f);
    assert_goes_on(f);
}

static void test_no_file(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(g_mkdir(f->path, 0700), ==, 0);
    expect_warning("*absences.json: it is no ordinary file*");
    start(f);
    assert_empty(f);
    g_assert_cmpint(g_rmdir(f->path), ==, 0);

    /* Nobody ever writes to it. */
    g_assert_cmpint(mkfifo(f->path, 0600), ==, 0);
    expect_warning("*absences.json: it is no ordinary file*");
    start(f);
    assert_goes_on(f);
    g_assert_cmpint(g_unlink(f->path), ==, 0);

    g_assert_cmpint(symlink("/etc/passwd", f->path), ==, 0);
    expect_warning("*absences.json: *symbolic link*");
    start(f);
    assert_goes_on(f);
}

/* What would not be read again is not written, and the other entries are. */
static void test_unreadable(Fixture *f, gconstpointer data)
{
    g_autofree char *standby = g_strnfill(65, 's');
    VfoPair long_pair = pair;
    VfoOffer long_id = offer_of("web1");
    VfoOffer no_machine = offer_of("web2");

    long_pair.standby = standby;
    long_id.pair = &long_pair;
    no_machine.machine = (char *)"";
    start(f);
    expect_warning("*VF of VM web1*cannot be written to *absences.json: *'standby' must be*");
    vfo_absences_note(f->absences, &long_id, FALSE);
    g_test_assert_expected_messages();
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", standby));
    vfo_absences_forget(f->absences, "web1", NULL);
    expect_warning("*VF of VM web2*cannot be written to *absences.json: *'machine' must be*");
    vfo_absences_note(f->absences, &no_machine, FALSE);
    g_test_assert_expected_messages();
    /* That is said once. */
    note(f, "web3", FALSE);
    start(f);
    g_assert_cmpstr(vfo_absences_nth(f->absences, 0, NULL)->vm, ==, "web3");
    g_assert_null(vfo_absences_nth(f->absences, 1, NULL));
}

/* Nothing fails but the writing: what is known is known. */
static void test_unwritable(Fixture *f, gconstpointer data)
{
    g_free(f->path);
    f->path = g_build_filename(f->directory, "missing", "absences.json", NULL);
    start(f);
    expect_warning("*cannot be written to */missing/absences.json: *");
    note(f, "web1", FALSE);
    g_test_assert_expected_messages();
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", "net1"));
}

static void test_freed(Fixture *f, gconstpointer data)
{
    start(f);
    note(f, "web1", FALSE);
    g_clear_pointer(&f->memory, vfo_memory_free);
    vfo_absences_forget(f->absences, "web1", NULL);
    start(f);
    g_assert_nonnull(vfo_absences_find(f->absences, "web1", NULL));
    vfo_memory_free(NULL);
}

#define ADD(name, func) g_test_add("/memory/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("nothing-yet", test_nothing_yet);
    ADD("round-trip", test_round_trip);
    ADD("little-known", test_little_known);
    ADD("each-change", test_each_change);
    ADD("for-us-alone", test_for_us_alone);
    ADD("full", test_full);
    ADD("bad", test_bad);
    ADD("newline", test_newline);
    ADD("bad-entry", test_bad_entry);
    ADD("too-many", test_too_many);
    ADD("too-large", test_too_large);
    ADD("no-file", test_no_file);
    ADD("unreadable", test_unreadable);
    ADD("unwritable", test_unwritable);
    ADD("freed", test_freed);
    return g_test_run();
}
