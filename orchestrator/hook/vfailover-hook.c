/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "domain/domain.h"
#include "hook/hook.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_FILE  "/etc/vfailover/vfailoverd.conf"
#define READ_MS      10000
#define MENTION_MS   1000
#define MAX_ARGUMENT 1024 /* bytes */
#define N_HOOK_ARGS  4

/* https://libvirt.org/hooks.html, "Script arguments": those of an operation that concern VFs. */
static const struct {
    const char *operation, *sub_operation;
    gboolean may_refuse; /* an exit status of 1 stops libvirt, and nothing else */
} operations[] = {
    {"migrate", "begin", TRUE}, {"restore", "begin", TRUE},    {"prepare", "begin", TRUE},
    {"start", "begin", TRUE},   {"started", "begin", FALSE},   {"stopped", "end", FALSE},
    {"release", "end", FALSE},  {"reconnect", "begin", FALSE},
};

static const char usage[] =
    "usage: vfailover-hook [--config FILE] DOMAIN OPERATION SUB-OPERATION EXTRA <XML\n"
    "       vfailover-hook --help | --version\n\n"
    "Run by libvirt as /etc/libvirt/hooks/qemu.d/vfailover; see vfailover-hook(8).\n";

/* Whether a domain has something to do with us. */
typedef enum { CONCERN_NONE, CONCERN_VF, CONCERN_PAIR } Concern;

/* A VF that belongs to no pair may be another PCI device; nothing depends on us then. */
static Concern concern_of(const VfoDomain *domain)
{
    Concern concern = CONCERN_NONE;

    for (guint i = 0; i < domain->pairs->len; i++) {
        const VfoDomainPair *pair = g_ptr_array_index(domain->pairs, i);

        concern = MAX(concern, pair->standby ? CONCERN_PAIR : CONCERN_VF);
    }
    return concern;
}

/* The one line that virsh(1) shows. */
static int refuse(const GError *error, gboolean may_refuse)
{
    g_autofree char *line = g_strdup(error->message);

    fprintf(stderr, "vfailover: %s\n", g_strdelimit(line, "\r\n", ' '));
    return may_refuse ? 1 : 0;
}

static int report(const HookSettings *settings, const HookEvent *event, Concern concern,
                  gboolean may_refuse)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) why = NULL;
    g_autofree char *xml = NULL;

    if (hook_ask(settings, event, &xml, &error)) {
        if (xml)
            fputs(xml, stdout);
        return 0;
    }
    if (!g_error_matches(error, VFO_ERROR, HOOK_NO_DAEMON))
        return refuse(error, may_refuse);
    if (concern != CONCERN_PAIR || !settings->refuse)
        return refuse(error, FALSE);
    why = g_error_new(VFO_ERROR, HOOK_NO_DAEMON,
                      "domain %s has a VF that fails over, but vfailoverd does not answer (%s); "
                      "start it, or set [libvirt] no-daemon = allow in vfailoverd.conf",
                      event->domain, error->message);
    return refuse(why, may_refuse);
}

/* One without a VF may be one that the daemon expects from another host. Nothing else tells of its
 * taps before it runs. All others are none of the daemon's business: nothing comes of it that it
 * does not answer, and little that it hangs. */
static int mention(const HookSettings *settings, const HookEvent *event, const VfoDomain *domain)
{
    HookSettings hasty = *settings;
    g_autofree char *xml = NULL;

    hasty.deadline_ms = MIN(hasty.deadline_ms, MENTION_MS);
    if (domain->plain->len > 0 && g_str_equal(event->operation, "start"))
        hook_ask(&hasty, event, &xml, NULL);
    return 0;
}

static int handle(const HookSettings *settings, HookEvent *event, gboolean may_refuse)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) input = hook_read(STDIN_FILENO, VFO_DOMAIN_MAX, READ_MS, &error);
    g_autoptr(VfoDomain) domain = NULL;
    const char *xml;

    if (!input)
        return refuse(error, may_refuse && settings->refuse);
    xml = (const char *)input->data;
    domain = vfo_domain_parse(xml, input->len, &error);
    /* What we cannot read is no reason to stop a domain that is none of our business. */
    if (!domain)
        return refuse(error, may_refuse && settings->refuse &&
                                 g_strstr_len(xml, (gssize)input->len, "<teaming") != NULL);
    event->xml = xml;
    if (concern_of(domain) == CONCERN_NONE)
        return mention(settings, event, domain);
    return report(settings, event, concern_of(domain), may_refuse);
}

/* Whoever writes it need not see a broken pipe. */
static int ignore(void)
{
    g_autoptr(GByteArray) input = hook_read(STDIN_FILENO, VFO_DOMAIN_MAX, READ_MS, NULL);

    return 0;
}

static gboolean are_arguments(char **arguments)
{
    for (int i = 0; i < N_HOOK_ARGS; i++) {
        if (strlen(arguments[i]) > MAX_ARGUMENT || !g_utf8_validate(arguments[i], -1, NULL))
            return FALSE;
    }
    return TRUE;
}

static int run(const char *path, char **arguments)
{
    HookEvent event = {arguments[0], arguments[1], arguments[2], arguments[3], NULL};
    HookSettings settings = {0};
    gsize which = 0;
    int status;

    if (!are_arguments(arguments)) {
        fprintf(stderr, "vfailover: an argument is longer than %d bytes, or not UTF-8\n",
                MAX_ARGUMENT);
        return 1;
    }
    hook_settings_read(path, &settings);
    while (which < G_N_ELEMENTS(operations) &&
           !(g_str_equal(event.operation, operations[which].operation) &&
             g_str_equal(event.sub_operation, operations[which].sub_operation)))
        which++;
    status = settings.in_use && which < G_N_ELEMENTS(operations)
                 ? handle(&settings, &event, operations[which].may_refuse)
                 : ignore();
    hook_settings_clear(&settings);
    return status;
}

int main(int argc, char **argv)
{
    const char *path = CONFIG_FILE;
    char **arguments = argv + 1;
    int n_arguments = argc - 1;

    setlocale(LC_ALL, "");
    if (n_arguments == 1 && g_str_equal(arguments[0], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (n_arguments == 1 && g_str_equal(arguments[0], "--version")) {
        puts("vfailover-hook " VFO_VERSION);
        return 0;
    }
    /* libvirt gives all four, whatever a domain is called. */
    if (n_arguments == N_HOOK_ARGS + 2 && g_str_equal(arguments[0], "--config")) {
        path = arguments[1];
        arguments += 2;
        n_arguments -= 2;
    }
    if (n_arguments != N_HOOK_ARGS) {
        fputs(usage, stderr);
        return 2;
    }
    return run(path, arguments);
}
