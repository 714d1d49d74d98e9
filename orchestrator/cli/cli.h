/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside cli/: the connection to the daemon, the commands, what they print.
 */
#pragma once

#include "qmp/qmp.h"

/* ------------------------------------------------------------- connection */

#define CLI_CALL_MS 10000

/** CliOption: an option that some commands have. */
typedef enum {
    CLI_FROM,
    CLI_VF,
    CLI_STANDBY,
    CLI_NETWORK,
    CLI_INTERFACE,
    CLI_CONNECT,
    CLI_UNDO,      /* "" when given */
    CLI_PRINT_XML, /* "" when given */
    CLI_N_OPTIONS
} CliOption;

typedef struct {
    VfoQmpClient *client;
    GMainLoop *loop;
    const char *socket;
    gboolean json;                /* print what the daemon answered, not what a person reads */
    GError *lost;                 /* the connection is gone */
    char *options[CLI_N_OPTIONS]; /* what they are set to; NULL: not given */
    char **argv;                  /* as the program was called */
} Cli;

/** cli_connect: connects to the daemon at cli->socket; blocks for 5 s at most. */
gboolean cli_connect(Cli *cli, GError **error);
void cli_disconnect(Cli *cli);

/** cli_call: sends @command with @arguments (transfer full) and blocks, with the main loop
 *  running, until its answer is here, 10 s at most. Free with json_object_put(). */
json_object *cli_call(Cli *cli, const char *command, json_object *arguments, GError **error);

/* --------------------------------------------------------------- commands */

/* Each returns the program's exit status, having printed what there is to print. */
int cli_list(Cli *cli, char **arguments);
int cli_vfs(Cli *cli, char **arguments);
int cli_jobs(Cli *cli, char **arguments);
int cli_job(Cli *cli, char **arguments);
int cli_cancel(Cli *cli, char **arguments);
int cli_migrate(Cli *cli, char **arguments);
int cli_detach(Cli *cli, char **arguments);
int cli_attach(Cli *cli, char **arguments);
int cli_define(Cli *cli, char **arguments);

/** cli_vf_state: whether a guest could get @vf ("free"), or why not. Static. */
const char *cli_vf_state(json_object *vf);

/** cli_watch: calls @command with @arguments (transfer full), which starts a job, and shows the job
 *  until it has ended; an interrupt cancels it. */
int cli_watch(Cli *cli, const char *command, json_object *arguments);

/** cli_fail: prints "vfailover: @error" (transfer full); returns the exit status: 2 when the
 *  user's input was wrong, else 1. */
int cli_fail(GError *error);

/* ----------------------------------------------------------------- tables */

typedef struct _CliTable CliTable;

/** cli_table_new: a table with these headings (NULL-terminated list of strings). */
CliTable *cli_table_new(const char *heading, ...) G_GNUC_NULL_TERMINATED;
/** cli_table_cell: the next cell, row by row; NULL prints as "-". */
void cli_table_cell(CliTable *table, const char *text);
void cli_table_cellf(CliTable *table, const char *format, ...) G_GNUC_PRINTF(2, 3);
/** cli_table_print: prints and frees. */
void cli_table_print(CliTable *table);

/** cli_member: the text of @object's string member, NULL when it is null or missing. Borrowed. */
const char *cli_member(json_object *object, const char *member);
gint64 cli_number(json_object *object, const char *member);

/** cli_print_job: a job's timeline. */
void cli_print_job(json_object *job);
/** cli_print_json: @value on one line. */
void cli_print_json(json_object *value);
