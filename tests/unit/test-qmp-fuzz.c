/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../fuzz/qmp-input.c"

#include <string.h>

static const char *const seeds[] = {
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2}, \"package\": \"\"}, \"capabilities\": "
    "[]}}\r\n",
    "{\"execute\": \"qmp_capabilities\", \"id\": 1}\n{\"return\": {}, \"id\": 1}\n",
    "{\"event\":\"STEP\",\"data\":{\"job\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\",\"step\":"
    "\"undo "
    "x\",\"host\":\"host-b\",\"start-us\":1,\"duration-us\":2,\"own-us\":0,\"result\":\"ok\","
    "\"detail\":\"\xc3\xa9\"},\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\r\n",
    "{\"event\":\"JOB\",\"data\":{\"job\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\",\"state\":"
    "\"failed\",\"error\":\"x\"}}\r\n",
    "{\"execute\":\"reserve\",\"arguments\":{\"job\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\","
    "\"vm\":\"web1\",\"machine\":\"pc\",\"network\":\"a\",\"pair\":{\"standby\":\"net0\","
    "\"mac\":\"52:54:00:aa:00:10\",\"features\":\"a=b\",\"primary\":\"vf0\",\"bus\":\"b\","
    "\"rombar\":true},\"settings\":{\"vlan\":0,\"qos\":0,\"spoofchk\":true,\"trust\":false,"
    "\"min-tx-rate\":0,\"max-tx-rate\":0,\"link\":\"auto\"}}}",
    "{\"execute\":\"hand-over\",\"arguments\":{\"job\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\","
    "\"vm\":\"web1\",\"uuid\":\"6ba7b811-9dad-11d1-80b4-00c04fd430c8\","
    "\"standby\":\"ua-net1\"}}\n",
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"\\ud83d\\u0000\", \"data\": {\"code\": "
    "\"busy\"}}, \"id\": null}",
    "{\"return\": {\"uri\": \"tcp:[::1]:49152\", \"x\": [1.5e300, -7, 99999999999999999999]}}",
};

static void mutate(GRand *rand, GByteArray *bytes)
{
    static const char special[] = "{}[]\":,\\\n\r\xff\x00'/u0-e";
    guint at = (guint)g_rand_int_range(rand, 0, (gint32)bytes->len);
    guint other = (guint)g_rand_int_range(rand, 0, (gint32)bytes->len);
    guint wanted = (guint)g_rand_int_range(rand, 1, 64);
    guint length = MIN(wanted, bytes->len - other);

    switch (g_rand_int_range(rand, 0, 5)) {
    case 0:
        bytes->data[at] = (guint8)g_rand_int_range(rand, 0, 256);
        break;
    case 1:
    case 2:
        bytes->data[at] = (guint8)special[g_rand_int_range(rand, 0, sizeof(special) - 1)];
        break;
    case 3:
        if (bytes->len > length + 2)
            g_byte_array_remove_range(bytes, other, length);
        break;
    default: {
        g_autofree guint8 *copy = g_memdup2(bytes->data + other, length);

        g_byte_array_append(bytes, copy, length);
        memmove(bytes->data + at + length, bytes->data + at, bytes->len - length - at);
        memcpy(bytes->data + at, copy, length);
        break;
    }
    }
}

static void test_seeds(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(seeds); i++) {
        g_autoptr(VfoFraming) framing = vfo_framing_new();
        g_autoptr(json_object) message = NULL;
        const guint8 *bytes = (const guint8 *)seeds[i];
        gsize length = strlen(seeds[i]);

        g_assert_cmpint(vfo_framing_next(framing, &bytes, &length, &message, NULL), ==,
                        VFO_FRAME_MESSAGE);
    }
}

static void test_mutations(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20260101);

    for (guint round = 0; round < 6000; round++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        const char *seed = seeds[round % G_N_ELEMENTS(seeds)];
        guint8 piece = (guint8)g_rand_int_range(rand, 0, 256);
        gint n = g_rand_int_range(rand, 0, 12);

        g_byte_array_append(bytes, &piece, 1);
        g_byte_array_append(bytes, (const guint8 *)seed, (guint)strlen(seed));
        for (gint i = 0; i < n; i++)
            mutate(rand, bytes);
        LLVMFuzzerTestOneInput(bytes->data, bytes->len);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp-fuzz/seeds", test_seeds);
    g_test_add_func("/qmp-fuzz/mutations", test_mutations);
    return g_test_run();
}
