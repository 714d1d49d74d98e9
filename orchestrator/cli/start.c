/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands that start a job and watch it to its end. */
#include "cli/cli.h"

static void add(json_object *request, const char *member, const char *value)
{
    if (value)
        json_object_object_add(request, member, json_object_new_string(value));
}

int cli_migrate(Cli *cli, char **arguments)
{
    json_object *request = json_object_new_object();

    add(request, "vm", arguments[0]);
    add(request, "host", arguments[1]);
    return cli_watch(cli, "migrate", request);
}

int cli_detach(Cli *cli, char **arguments)
{
    json_object *request = json_object_new_object();

    add(request, "vm", arguments[0]);
    add(request, "standby", cli->options[CLI_STANDBY]);
    return cli_watch(cli, "detach", request);
}

int cli_attach(Cli *cli, char **arguments)
{
    json_object *request = json_object_new_object();

    add(request, "vm", arguments[0]);
    add(request, "from", cli->options[CLI_FROM]);
    add(request, "vf", cli->options[CLI_VF]);
    add(request, "standby", cli->options[CLI_STANDBY]);
    return cli_watch(cli, "attach", request);
}
