/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"

#include <string.h>

static json_object *parse(const char *text)
{
    json_object *object = json_tokener_parse(text);

    g_assert_nonnull(object);
    return object;
}

static void assert_invalid(GError *error, const char *part)
{
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, part));
    g_assert_nonnull(strstr(error->message, "here"));
    g_error_free(error);
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        const char *part;
    } bad[] = {
        {"", "ends too soon"}, {"{\"a\": [", "ends too soon"}, {"[]", "no object"},
        {"7 ", "no object"},   {"{} {}", "JSON parse error"},  {"{\"a\": \"\xff\"}", "not UTF-8"},
    };
    g_autoptr(json_object) object = NULL;
    g_autoptr(GString) deep = g_string_new("{\"a\": ");
    gint64 value = 0;
    GError *error = NULL;

    object = vfo_json_parse("{\"a\": 7} beyond", strlen("{\"a\": 7}"), &error);
    g_assert_no_error(error);
    g_assert_true(vfo_json_int(object, "a", "here", 0, 9, &value, NULL));
    g_assert_cmpint(value, ==, 7);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(vfo_json_parse(bad[i].text, strlen(bad[i].text), &error));
        g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, bad[i].part));
        g_clear_error(&error);
    }
    for (guint i = 0; i < VFO_QMP_MAX_DEPTH; i++)
        g_string_append_c(deep, '[');
    g_assert_null(vfo_json_parse(deep->str, deep->len, &error));
    g_assert_error(error, VFO_ERROR, VFO_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "nesting too deep"));
    g_clear_error(&error);
}

static void test_string(void)
{
    g_autoptr(json_object) object =
        parse("{\"a\": \"x\", \"n\": 1, \"z\": \"a\\u0000b\", \"0\": null}");
    const char *value = NULL;
    GError *error = NULL;

    g_assert_true(vfo_json_string(object, "a", "here", &value, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(value, ==, "x");
    g_assert_false(vfo_json_string(object, "missing", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "'missing' is missing");
    g_assert_false(vfo_json_string(object, "n", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "'n' must be of type string, not int");
    g_assert_false(vfo_json_string(object, "z", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "NUL");
    g_assert_false(vfo_json_string(object, "0", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "not null");
    g_assert_false(vfo_json_string(NULL, "a", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "not a JSON object");
    g_assert_cmpstr(value, ==, "x");
}

static void test_int(void)
{
    g_autoptr(json_object) object =
        parse("{\"a\": 7, \"big\": 9223372036854775807, \"bigger\": 9223372036854775808,"
              " \"huge\": 99999999999999999999, \"d\": 1.0, \"low\": -5, \"b\": true}");
    gint64 value = 42;
    GError *error = NULL;

    g_assert_true(vfo_json_int(object, "a", "here", 7, 7, &value, &error));
    g_assert_cmpint(value, ==, 7);
    g_assert_true(vfo_json_int(object, "big", "here", 0, G_MAXINT64, &value, &error));
    g_assert_cmpint(value, ==, G_MAXINT64);
    g_assert_true(vfo_json_int(object, "low", "here", -5, 0, &value, &error));
    g_assert_cmpint(value, ==, -5);
    g_assert_false(vfo_json_int(object, "a", "here", 8, 9, &value, &error));
    assert_invalid(g_steal_pointer(&error), "between 8 and 9");
    g_assert_false(vfo_json_int(object, "a", "here", 1, 6, &value, &error));
    assert_invalid(g_steal_pointer(&error), "between 1 and 6");
    g_assert_false(vfo_json_int(object, "bigger", "here", 0, G_MAXINT64, &value, &error));
    assert_invalid(g_steal_pointer(&error), "'bigger'");
    g_assert_false(vfo_json_int(object, "huge", "here", 0, G_MAXINT64, &value, &error));
    assert_invalid(g_steal_pointer(&error), "'huge'");
    g_assert_false(vfo_json_int(object, "d", "here", 0, 9, &value, &error));
    assert_invalid(g_steal_pointer(&error), "double");
    g_assert_false(vfo_json_int(object, "b", "here", 0, 9, &value, &error));
    assert_invalid(g_steal_pointer(&error), "boolean");
    g_assert_cmpint(value, ==, -5);
}

static void test_others(void)
{
    g_autoptr(json_object) object =
        parse("{\"b\": true, \"o\": {\"x\": 1}, \"l\": [1, 2], \"0\": null}");
    gboolean flag = FALSE;
    json_object *value = NULL;
    GError *error = NULL;

    g_assert_true(vfo_json_bool(object, "b", "here", &flag, &error));
    g_assert_true(flag);
    g_assert_false(vfo_json_bool(object, "o", "here", &flag, &error));
    assert_invalid(g_steal_pointer(&error), "boolean");
    g_assert_true(vfo_json_object(object, "o", "here", &value, &error));
    g_assert_true(vfo_json_has(value, "x"));
    g_assert_false(vfo_json_object(object, "l", "here", &value, &error));
    assert_invalid(g_steal_pointer(&error), "object, not array");
    g_assert_true(vfo_json_array(object, "l", "here", 2, &value, &error));
    g_assert_cmpuint(json_object_array_length(value), ==, 2);
    g_assert_false(vfo_json_array(object, "l", "here", 1, &value, &error));
    assert_invalid(g_steal_pointer(&error), "more than the 1");
    g_assert_false(vfo_json_array(object, "o", "here", 1, &value, &error));
    assert_invalid(g_steal_pointer(&error), "array");
    g_assert_false(vfo_json_has(object, "0"));
    g_assert_false(vfo_json_has(object, "none"));
    g_assert_false(vfo_json_has(value, "x"));
}

static void test_only(void)
{
    static const char *const some[] = {"a", "b", NULL};
    static const char *const one[] = {"a", NULL};
    g_autoptr(json_object) object = parse("{\"a\": 1, \"b\": 2}");
    g_autoptr(json_object) odd = parse("{\"x\\ny\": 1}");
    GError *error = NULL;

    g_assert_true(vfo_json_only(object, some, "here", &error));
    g_assert_no_error(error);
    g_assert_false(vfo_json_only(object, one, "here", &error));
    assert_invalid(g_steal_pointer(&error), "'b' is unexpected");
    g_assert_false(vfo_json_only(odd, some, "here", &error));
    g_assert_null(strchr(error->message, '\n'));
    assert_invalid(g_steal_pointer(&error), "unexpected");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/parse", test_parse);
    g_test_add_func("/json/string", test_string);
    g_test_add_func("/json/int", test_int);
    g_test_add_func("/json/others", test_others);
    g_test_add_func("/json/only", test_only);
    return g_test_run();
}
