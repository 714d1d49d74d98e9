/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "peer/tls.h"

#include "peer/wire.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>

/* What was read from one set of files. */
typedef struct {
    char *stamp;
    GTlsDatabase *database;
    GTlsCertificate *certificate;
} Kept;

void vfo_tls_files_copy(VfoTlsFiles *to, const VfoTlsFiles *from)
{
    to->ca = g_strdup(from->ca);
    to->server_cert = g_strdup(from->server_cert);
    to->server_key = g_strdup(from->server_key);
    to->client_cert = g_strdup(from->client_cert);
    to->client_key = g_strdup(from->client_key);
}

void vfo_tls_files_clear(VfoTlsFiles *files)
{
    g_clear_pointer(&files->ca, g_free);
    g_clear_pointer(&files->server_cert, g_free);
    g_clear_pointer(&files->server_key, g_free);
    g_clear_pointer(&files->client_cert, g_free);
    g_clear_pointer(&files->client_key, g_free);
}

static GError *file_error(const char *what, const char *file, const GError *error)
{
    return g_error_new(VFO_ERROR,
                       g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)
                           ? VFO_ERROR_NOT_FOUND
                           : VFO_ERROR_INVALID,
                       "the [tls] group's %s in %s cannot be used: %s", what, file, error->message);
}

static GTlsDatabase *load_ca(const char *file, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(file, NULL);
    g_autoptr(GError) reason = NULL;
    GList *list = g_tls_certificate_list_new_from_file(path, &reason);
    GTlsDatabase *database = NULL;

    /* The database takes a file without certificates for an empty list of CAs. */
    if (!list && !reason)
        reason = g_error_new_literal(G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE,
                                     "there is no PEM certificate in it");
    g_list_free_full(list, g_object_unref);
    if (!reason)
        database = g_tls_file_database_new(path, &reason);
    if (!database)
        g_propagate_error(error, file_error("CA", file, reason));
    return database;
}

static void kept_free(gpointer data)
{
    Kept *kept = data;

    g_free(kept->stamp);
    g_object_unref(kept->database);
    g_object_unref(kept->certificate);
    g_free(kept);
}

/* Differs when one of the files is another, or was written to. */
static char *stamp_of(const char *const *files)
{
    GString *stamp = g_string_new(NULL);

    for (; *files; files++) {
        struct stat status = {0};

        /* What cannot be read is the loading's affair. */
        if (stat(*files, &status) == 0)
            g_string_append_printf(
                stamp, "%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT ":%" G_GINT64_FORMAT ".%ld ",
                (guint64)status.st_dev, (guint64)status.st_ino, (gint64)status.st_ctim.tv_sec,
                status.st_ctim.tv_nsec);
        else
            g_string_append(stamp, "- ");
    }
    return g_string_free(stamp, FALSE);
}

static gboolean load(const char *ca, const char *cert, const char *key, GTlsDatabase **database,
                     GTlsCertificate **certificate, GError **error)
{
    g_autoptr(GTlsDatabase) trusted = NULL;
    g_autoptr(GTlsCertificate) own = NULL;
    g_autoptr(GError) reason = NULL;

    if (!g_tls_backend_supports_tls(g_tls_backend_get_default())) {
        g_set_error_literal(error, VFO_ERROR, VFO_ERROR_NOT_SUPPORTED,
                            "GLib has no TLS back end: install glib-networking");
        return FALSE;
    }
    trusted = load_ca(ca, error);
    if (!trusted)
        return FALSE;
    own = g_tls_certificate_new_from_files(cert, key, &reason);
    if (!own) {
        g_autofree char *files = g_strdup_printf("%s (key %s)", cert, key);

        g_propagate_error(error, file_error("certificate", files, reason));
        return FALSE;
    }
    *database = g_steal_pointer(&trusted);
    *certificate = g_steal_pointer(&own);
    return TRUE;
}

gboolean vfo_tls_load(const char *ca, const char *cert, const char *key, GTlsDatabase **database,
                      GTlsCertificate **certificate, GError **error)
{
    /* The server's and the clients': as many sets as a configuration names. */
    static GHashTable *sets;
    const char *const files[] = {ca, cert, key, NULL};
    g_autofree char *names = g_strjoinv("\n", (char **)files);
    /* Before the files are read: one that changes in the middle is read again next time. */
    g_autofree char *stamp = stamp_of(files);
    Kept *kept;

    if (!sets)
        sets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, kept_free);
    kept = g_hash_table_lookup(sets, names);
    if (!kept || !g_str_equal(kept->stamp, stamp)) {
        Kept fresh = {0};

        if (!load(ca, cert, key, &fresh.database, &fresh.certificate, error))
            return FALSE;
        fresh.stamp = g_steal_pointer(&stamp);
        kept = g_memdup2(&fresh, sizeof(fresh));
        g_hash_table_insert(sets, g_steal_pointer(&names), kept);
    }
    *database = g_object_ref(kept->database);
    *certificate = g_object_ref(kept->certificate);
    return TRUE;
}

char *vfo_tls_subject(GTlsCertificate *certificate)
{
    g_autofree char *subject = NULL;

    if (certificate)
        subject = g_tls_certificate_get_subject_name(certificate);
    return vfo_wire_text(subject ? subject : "no subject");
}

char *vfo_tls_flaws(GTlsCertificateFlags flags, GTlsCertificate *certificate, const char *name,
                    const char *ca)
{
    g_autofree char *subject = vfo_tls_subject(certificate);
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_printf(text, "the certificate %s was not accepted:", subject);
    if (flags & G_TLS_CERTIFICATE_UNKNOWN_CA)
        g_string_append_printf(text, " it is not signed by the CA in %s;", ca);
    if (flags & G_TLS_CERTIFICATE_BAD_IDENTITY)
        g_string_append_printf(text, " it does not carry the name '%s';", name ? name : "");
    if (flags & G_TLS_CERTIFICATE_NOT_ACTIVATED)
        g_string_append(text, " it is not valid yet: check both hosts' clocks;");
    if (flags & G_TLS_CERTIFICATE_EXPIRED)
        g_string_append(text, " it has expired;");
    if (flags & G_TLS_CERTIFICATE_REVOKED)
        g_string_append(text, " it has been revoked;");
    if (flags & G_TLS_CERTIFICATE_INSECURE)
        g_string_append(text, " its algorithm is insecure;");
    if (flags & G_TLS_CERTIFICATE_GENERIC_ERROR)
        g_string_append(text, " it cannot be verified (check its key usage);");
    g_string_truncate(text, text->len - 1);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

void vfo_tls_rehearse(GTlsDatabase *database, GTlsCertificate *certificate, const char *ca)
{
    g_autoptr(GInputStream) silence = g_memory_input_stream_new();
    g_autoptr(GOutputStream) sink = g_memory_output_stream_new_resizable();
    g_autoptr(GIOStream) nobody = g_simple_io_stream_new(silence, sink);
    g_autoptr(GIOStream) stream = NULL;
    g_autoptr(GError) error = NULL;
    GTlsCertificateFlags flags = g_tls_database_verify_chain(
        database, certificate, G_TLS_DATABASE_PURPOSE_AUTHENTICATE_CLIENT, NULL, NULL,
        G_TLS_DATABASE_VERIFY_NONE, NULL, NULL);

    if (flags) {
        g_autofree char *flaws = vfo_tls_flaws(flags, certificate, NULL, ca);

        g_message("our own certificate for connecting to peers: %s", flaws);
    }
    stream = g_initable_new(g_tls_backend_get_client_connection_type(g_tls_backend_get_default()),
                            NULL, &error, "base-io-stream", nobody, "database", database, NULL);
    if (!stream || !g_tls_connection_handshake(G_TLS_CONNECTION(stream), NULL, &error))
        g_debug("rehearsal: %s", error->message);
}

void vfo_tls_tune(GSocketConnection *connection)
{
    static const struct {
        int option, value;
    } options[] = {
        {TCP_KEEPIDLE, 10}, /* seconds */
        {TCP_KEEPINTVL, 5},
        {TCP_KEEPCNT, 3},
        {TCP_USER_TIMEOUT, 25000}, /* ms, for what was sent and not acknowledged */
    };
    GSocket *socket = g_socket_connection_get_socket(connection);

    g_socket_set_keepalive(socket, TRUE);
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autoptr(GError) error = NULL;

        if (!g_socket_set_option(socket, IPPROTO_TCP, options[i].option, options[i].value, &error))
            g_warning("peer: a lost host may go unnoticed: TCP option %d: %s", options[i].option,
                      error->message);
    }
}
