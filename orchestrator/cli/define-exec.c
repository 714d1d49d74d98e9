/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command "define" is a program of its own: all others would load libvirt's libraries for
 * nothing each time. It takes the same arguments.
 */
#include "cli/cli.h"

#include <errno.h>
#include <unistd.h>

#define PROGRAM "vfailover-define"

/* Beside this program where it was built; in VFO_LIBEXECDIR once it is installed. */
static char *find_program(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = self ? g_path_get_dirname(self) : NULL;
    g_autofree char *beside = directory ? g_build_filename(directory, PROGRAM, NULL) : NULL;

    if (beside && g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE))
        return g_steal_pointer(&beside);
    return g_build_filename(VFO_LIBEXECDIR, PROGRAM, NULL);
}

int cli_define(Cli *cli, char **arguments)
{
    g_autofree char *program = find_program();

    execv(program, cli->argv);
    return cli_fail(g_error_new(VFO_ERROR, VFO_ERROR_NOT_FOUND,
                                "define: %s cannot be run: %s; is vfailover installed whole?",
                                program, g_strerror(errno)));
}
