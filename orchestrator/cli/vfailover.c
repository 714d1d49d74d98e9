/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <locale.h>
#include <stdio.h>

#define DEFAULT_SOCKET "/run/vfailover/vfailoverd.sock"

static const struct {
    const char *name;
    guint n_arguments;
    guint options;  /* those it has, as bits 1 << CliOption */
    gboolean alone; /* connects to the daemon by itself, if it has to */
    int (*run)(Cli *cli, char **arguments);
    const char *usage;
    const char *what;
} commands[] = {
    {"list", 0, 0, FALSE, cli_list, "list", "VMs, their pairs, which side carries the traffic"},
    {"vfs", 0, 0, FALSE, cli_vfs, "vfs", "VFs: PF, driver, owner, lease, MAC, VLAN"},
    {"migrate", 2, 0, FALSE, cli_migrate, "migrate VM HOST", "Move VM to HOST; Ctrl-C cancels"},
    {"detach", 1, 1 << CLI_STANDBY, FALSE, cli_detach, "detach VM",
     "Take the VF from VM, which goes on on its standby"},
    {"attach", 1, 1 << CLI_FROM | 1 << CLI_VF | 1 << CLI_STANDBY, FALSE, cli_attach, "attach VM",
     "Give VM a free VF, or that of another VM (--from)"},
    {"define", 1,
     1 << CLI_NETWORK | 1 << CLI_VF | 1 << CLI_INTERFACE | 1 << CLI_CONNECT | 1 << CLI_UNDO |
         1 << CLI_PRINT_XML | 1 << CLI_STANDBY,
     TRUE, cli_define, "define DOMAIN", "Give a libvirt domain's interface a VF, or --undo that"},
    {"jobs", 0, 0, FALSE, cli_jobs, "jobs", "Jobs, those under way and the latest"},
    {"job", 1, 0, FALSE, cli_job, "job JOB",
     "A job's timeline; JOB is an id, its beginning, or a VM"},
    {"cancel", 1, 0, FALSE, cli_cancel, "cancel JOB", "Cancel a job and undo what it did"},
};

static char *describe_commands(void)
{
    GString *text = g_string_new("Commands:\n");

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        g_string_append_printf(text, "  %-18s%s\n", commands[i].usage, commands[i].what);
    g_string_append(text, "\nExit status: 0 done, 1 failed, 2 the command or its arguments are "
                          "wrong.\nSee vfailover(1).");
    return g_string_free(text, FALSE);
}

static int usage_error(const char *format, const char *argument)
{
    g_autofree char *message = g_strdup_printf("%s '%s'", format, argument);

    fprintf(stderr, "vfailover: %s; see 'vfailover --help'\n", message);
    return 2;
}

static const char *const option_names[CLI_N_OPTIONS] = {"--from",    "--vf",        "--standby",
                                                        "--network", "--interface", "--connect",
                                                        "--undo",    "--print-xml"};

/* An option that the command does not have; NULL: none. */
static const char *strange_option(const Cli *cli, guint options)
{
    for (guint i = 0; i < CLI_N_OPTIONS; i++) {
        if (cli->options[i] && !(options & 1 << i))
            return option_names[i];
    }
    return NULL;
}

static int run_command(Cli *cli, const char *socket, int argc, char **argv)
{
    GError *error = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        int status;

        if (!g_str_equal(commands[i].name, argv[1]))
            continue;
        if ((guint)argc - 2 != commands[i].n_arguments)
            return usage_error("usage: vfailover", commands[i].usage);
        if (strange_option(cli, commands[i].options))
            return usage_error("the command has no option",
                               strange_option(cli, commands[i].options));
        cli->socket = socket;
        if (!commands[i].alone && !cli_connect(cli, &error))
            status = cli_fail(error);
        else
            status = commands[i].run(cli, argv + 2);
        cli_disconnect(cli);
        return status;
    }
    return usage_error("there is no command", argv[1]);
}

int main(int argc, char **argv)
{
    g_autofree char *socket = NULL;
    gboolean json = FALSE, version = FALSE, undo = FALSE, print_xml = FALSE;
    Cli cli = {0};
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "Print JSON instead of tables", NULL},
        {"socket", 's', 0, G_OPTION_ARG_FILENAME, &socket,
         "Talk to the daemon on PATH instead of " DEFAULT_SOCKET, "PATH"},
        {"from", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_FROM],
         "attach: the VM that gives its VF", "VM"},
        {"vf", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_VF],
         "attach, define: this VF and no other", "PCI"},
        {"standby", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_STANDBY],
         "attach, detach, define --undo: the standby, if VM has several", "ID"},
        {"network", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_NETWORK],
         "define: a VF of this network, as 'vfailover vfs' shows it", "NAME"},
        {"interface", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_INTERFACE],
         "define: the interface, if DOMAIN has several: its MAC address or alias", "MAC"},
        {"undo", 0, 0, G_OPTION_ARG_NONE, &undo, "define: make the pair an ordinary interface",
         NULL},
        {"print-xml", 0, 0, G_OPTION_ARG_NONE, &print_xml,
         "define: print the XML and define nothing", NULL},
        {"connect", 0, 0, G_OPTION_ARG_STRING, &cli.options[CLI_CONNECT],
         "define: libvirt's URI instead of qemu:///system", "URI"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version and exit", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("COMMAND [ARGUMENT...]");
    g_autofree char *description = describe_commands();
    g_auto(GStrv) called = g_strdupv(argv);
    g_autoptr(GError) error = NULL;
    int status;

    setlocale(LC_ALL, "");
    g_option_context_set_summary(context, "Shows and steers vfailoverd, which hands over the "
                                          "SR-IOV VFs of virtual machines that migrate.");
    g_option_context_set_description(context, description);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "vfailover: %s\n", error->message);
        return 2;
    }
    if (version) {
        puts("vfailover " VFO_VERSION);
        return 0;
    }
    if (argc < 2) {
        g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);

        fputs(help, stderr);
        return 2;
    }
    cli.json = json;
    cli.argv = called;
    cli.options[CLI_UNDO] = undo ? g_strdup("") : NULL;
    cli.options[CLI_PRINT_XML] = print_xml ? g_strdup("") : NULL;
    status = run_command(&cli, socket ? socket : DEFAULT_SOCKET, argc, argv);
    for (guint i = 0; i < CLI_N_OPTIONS; i++)
        g_free(cli.options[i]);
    return status;
}
