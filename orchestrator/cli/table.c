/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <stdio.h>

struct _CliTable {
    guint columns;
    GPtrArray *cells; /* of char *, the headings first */
};

CliTable *cli_table_new(const char *heading, ...)
{
    CliTable *table = g_new0(CliTable, 1);
    va_list args;

    table->cells = g_ptr_array_new_with_free_func(g_free);
    va_start(args, heading);
    for (const char *text = heading; text; text = va_arg(args, const char *)) {
        g_ptr_array_add(table->cells, g_strdup(text));
        table->columns++;
    }
    va_end(args);
    return table;
}

void cli_table_cell(CliTable *table, const char *text)
{
    g_ptr_array_add(table->cells, g_strdup(text ? text : "-"));
}

void cli_table_cellf(CliTable *table, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(table->cells, g_strdup_vprintf(format, args));
    va_end(args);
}

void cli_table_print(CliTable *table)
{
    g_autofree int *widths = g_new0(int, table->columns);

    for (guint i = 0; i < table->cells->len; i++) {
        int *width = &widths[i % table->columns];

        *width = MAX(*width, (int)g_utf8_strlen(g_ptr_array_index(table->cells, i), -1));
    }
    for (guint i = 0; i < table->cells->len; i++) {
        guint column = i % table->columns;

        if (column + 1 == table->columns)
            printf("%s\n", (const char *)g_ptr_array_index(table->cells, i));
        else
            printf("%-*s  ", widths[column], (const char *)g_ptr_array_index(table->cells, i));
    }
    g_ptr_array_unref(table->cells);
    g_free(table);
}
