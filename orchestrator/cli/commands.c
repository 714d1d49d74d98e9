/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <stdio.h>

const char *cli_member(json_object *object, const char *member)
{
    json_object *value = NULL;

    if (!json_object_object_get_ex(object, member, &value) || !value)
        return NULL;
    return json_object_get_string(value);
}

gint64 cli_number(json_object *object, const char *member)
{
    json_object *value = NULL;

    json_object_object_get_ex(object, member, &value);
    return json_object_get_int64(value);
}

void cli_print_json(json_object *value)
{
    puts(json_object_to_json_string_ext(value,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
}

/* ------------------------------------------------------------------- list */

/* Each pair of a VM may have a job of its own. */
static const char *job_of(json_object *vm, json_object *pair)
{
    const char *job = cli_member(pair ? pair : vm, "job");

    return job ? job : "-";
}

static void print_vms(json_object *vms)
{
    CliTable *table = cli_table_new("VM", "STATUS", "STANDBY", "MAC", "SIDE", "VF", "JOB", NULL);

    for (size_t i = 0; i < json_object_array_length(vms); i++) {
        json_object *vm = json_object_array_get_idx(vms, i);
        json_object *pairs = NULL;
        size_t n_pairs;

        json_object_object_get_ex(vm, "pairs", &pairs);
        n_pairs = pairs ? json_object_array_length(pairs) : 0;
        /* A VM without a pair has a line as well. */
        for (size_t k = 0; k < MAX(n_pairs, 1); k++) {
            json_object *pair = k < n_pairs ? json_object_array_get_idx(pairs, k) : NULL;

            cli_table_cell(table, k ? "" : cli_member(vm, "name"));
            cli_table_cell(table, k ? "" : cli_member(vm, "status"));
            cli_table_cell(table, cli_member(pair, "standby"));
            cli_table_cell(table, cli_member(pair, "mac"));
            cli_table_cell(table, cli_member(pair, "side"));
            cli_table_cell(table, cli_member(pair, "vf"));
            cli_table_cellf(table, "%.8s", job_of(vm, pair));
        }
    }
    cli_table_print(table);
    for (size_t i = 0; i < json_object_array_length(vms); i++) {
        const char *why = cli_member(json_object_array_get_idx(vms, i), "error");

        if (why)
            printf("%s\n", why);
    }
}

static int query(Cli *cli, const char *command, json_object *arguments,
                 void (*print)(json_object *value))
{
    GError *error = NULL;
    g_autoptr(json_object) value = cli_call(cli, command, arguments, &error);

    if (!value)
        return cli_fail(error);
    if (cli->json)
        cli_print_json(value);
    else
        print(value);
    return 0;
}

int cli_list(Cli *cli, char **arguments)
{
    return query(cli, "query-vms", NULL, print_vms);
}

/* -------------------------------------------------------------------- vfs */

static gboolean is_true(json_object *object, const char *member)
{
    json_object *value = NULL;

    json_object_object_get_ex(object, member, &value);
    return json_object_get_boolean(value);
}

const char *cli_vf_state(json_object *vf)
{
    if (cli_member(vf, "lease"))
        return "leased";
    if (g_strcmp0(cli_member(vf, "driver"), "vfio-pci") != 0)
        return "no vfio-pci";
    if (is_true(vf, "opened"))
        return is_true(vf, "usable") ? "in use" : "in use, PF down";
    if (cli_member(vf, "unclean"))
        return "unclean";
    if (cli_member(vf, "owner"))
        return "owned";
    if (cli_member(vf, "doubt"))
        return "maybe owned";
    return is_true(vf, "usable") ? "free" : "PF down";
}

static void print_vfs(json_object *vfs)
{
    CliTable *table = cli_table_new("VF", "NETWORK", "PF", "VF#", "DRIVER", "DEVICE", "NODE",
                                    "STATE", "OWNER", "LEASE", "MAC", "VLAN", "GEN", NULL);

    for (size_t i = 0; i < json_object_array_length(vfs); i++) {
        json_object *vf = json_object_array_get_idx(vfs, i);
        const char *lease = cli_member(vf, "lease");

        cli_table_cell(table, cli_member(vf, "pci"));
        cli_table_cell(table, cli_member(vf, "network"));
        cli_table_cell(table, cli_member(vf, "pf"));
        cli_table_cell(table, cli_member(vf, "index"));
        cli_table_cell(table, cli_member(vf, "driver"));
        cli_table_cellf(table, "%04x:%04x", (guint)cli_number(vf, "vendor"),
                        (guint)cli_number(vf, "device"));
        cli_table_cell(table, cli_number(vf, "numa-node") < 0 ? NULL : cli_member(vf, "numa-node"));
        cli_table_cell(table, cli_vf_state(vf));
        cli_table_cell(table, cli_member(vf, "owner"));
        cli_table_cellf(table, "%.8s", lease ? lease : "-");
        cli_table_cell(table, cli_member(vf, "mac"));
        cli_table_cell(table, cli_number(vf, "vlan") ? cli_member(vf, "vlan") : NULL);
        cli_table_cell(table, cli_member(vf, "generation"));
    }
    cli_table_print(table);
}

int cli_vfs(Cli *cli, char **arguments)
{
    return query(cli, "query-vfs", NULL, print_vfs);
}

/* ------------------------------------------------------------------- jobs */

static void print_jobs(json_object *jobs)
{
    CliTable *table = cli_table_new("JOB", "KIND", "VM", "PAIR", "FROM", "STATE", "ERROR", NULL);

    for (size_t i = 0; i < json_object_array_length(jobs); i++) {
        json_object *job = json_object_array_get_idx(jobs, i);

        cli_table_cell(table, cli_member(job, "id"));
        cli_table_cell(table, cli_member(job, "kind"));
        cli_table_cell(table, cli_member(job, "vm"));
        cli_table_cell(table, cli_member(job, "pair"));
        cli_table_cell(table, cli_member(job, "from"));
        cli_table_cell(table, cli_member(job, "state"));
        cli_table_cell(table, cli_member(job, "error"));
    }
    cli_table_print(table);
}

int cli_jobs(Cli *cli, char **arguments)
{
    return query(cli, "query-jobs", NULL, print_jobs);
}

/* In all, and of each daemon. */
static void print_own_time(json_object *job, json_object *steps)
{
    const char *separator = " (";
    g_autoptr(GHashTable) done = g_hash_table_new(g_str_hash, g_str_equal);
    size_t n_steps = steps ? json_object_array_length(steps) : 0;

    printf("vfailover's own time: %.1f ms", (double)cli_number(job, "own-us") / 1e3);
    for (size_t i = 0; i < n_steps; i++) {
        const char *host = cli_member(json_object_array_get_idx(steps, i), "host");
        gint64 own_us = 0;

        if (!host || !g_hash_table_add(done, (gpointer)host))
            continue;
        for (size_t k = i; k < n_steps; k++) {
            json_object *step = json_object_array_get_idx(steps, k);

            if (g_strcmp0(cli_member(step, "host"), host) == 0)
                own_us += cli_number(step, "own-us");
        }
        printf("%s%s %.1f", separator, host, (double)own_us / 1e3);
        separator = ", ";
    }
    puts(g_hash_table_size(done) ? ")" : "");
}

void cli_print_job(json_object *job)
{
    CliTable *table = cli_table_new("STEP", "HOST", "START s", "TIME ms", "RESULT", "", NULL);
    json_object *steps = NULL;
    gint64 first = 0;

    json_object_object_get_ex(job, "steps", &steps);
    for (size_t i = 0; steps && i < json_object_array_length(steps); i++) {
        json_object *step = json_object_array_get_idx(steps, i);
        const char *detail = cli_member(step, "detail");

        if (i == 0)
            first = cli_number(step, "start-us");
        cli_table_cell(table, cli_member(step, "name"));
        cli_table_cell(table, cli_member(step, "host"));
        cli_table_cellf(table, "%7.3f", (double)(cli_number(step, "start-us") - first) / 1e6);
        cli_table_cellf(table, "%7.1f", (double)cli_number(step, "duration-us") / 1e3);
        cli_table_cell(table, cli_member(step, "result"));
        cli_table_cell(table, detail ? detail : "");
    }
    printf("job %s, VM %s%s%s: %s\n", cli_member(job, "id"), cli_member(job, "vm"),
           cli_member(job, "pair") ? ", pair " : "",
           cli_member(job, "pair") ? cli_member(job, "pair") : "", cli_member(job, "state"));
    cli_table_print(table);
    print_own_time(job, steps);
    if (cli_member(job, "error"))
        printf("%s\n", cli_member(job, "error"));
}

static json_object *job_argument(const char *job)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "job", json_object_new_string(job));
    return arguments;
}

static json_object *print_one(Cli *cli, const char *id, GError **error)
{
    json_object *job = cli_call(cli, "query-job", job_argument(id), error);

    if (job && cli->json)
        cli_print_json(job);
    else if (job)
        cli_print_job(job);
    return job;
}

/* By its VM's name: those of the other pairs that moved with this one as well. */
int cli_job(Cli *cli, char **arguments)
{
    GError *error = NULL;
    g_autoptr(json_object) job = print_one(cli, arguments[0], &error);
    json_object *beside = NULL;

    if (!job)
        return cli_fail(error);
    if (g_strcmp0(cli_member(job, "vm"), arguments[0]) == 0)
        json_object_object_get_ex(job, "beside", &beside);
    for (size_t i = 0; beside && i < json_object_array_length(beside); i++) {
        g_autoptr(json_object) other = NULL;

        if (!cli->json)
            puts("");
        other =
            print_one(cli, json_object_get_string(json_object_array_get_idx(beside, i)), &error);
        if (!other)
            return cli_fail(error);
    }
    return 0;
}

static void print_nothing(json_object *value)
{
}

int cli_cancel(Cli *cli, char **arguments)
{
    return query(cli, "cancel-job", job_argument(arguments[0]), print_nothing);
}
