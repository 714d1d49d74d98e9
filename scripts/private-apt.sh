#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by scripts that need packages from a suite that the machine does not use: an apt
# configuration of our own, so that the user's /etc/apt stays as it is.
# Who sources this has set private_apt to a directory, and defines say and die.
#
#   private_apt_begin                         start from what the machine itself uses
#   private_apt_suite NAME TYPE SUITE         add a suite ("deb" or "deb-src") of the same mirror
#   private_apt_pin NAME TEXT                 add preferences
#   private_apt_end                           put it in force, and read the package lists
#   run_apt apt-get|apt-cache ARGUMENTS...    run with it
#   download_apt download|source ARGUMENTS...  download into the current directory
#   missing_packages PACKAGE...               those that are not installed

# One line per enabled binary source of this machine: "URI SUITE KEYRING", with "-" for no keyring.
machine_sources() {
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$list" ] || continue
        sed -nE 's/#.*//; s/^[[:space:]]*deb[[:space:]]+//p' "$list" | awk '
            {
                key = "-"
                if (match($0, /^\[[^]]*\][[:space:]]*/)) {
                    options = substr($0, RSTART, RLENGTH)
                    $0 = substr($0, RSTART + RLENGTH)
                    if (match(options, /signed-by=[^] ]+/))
                        key = substr(options, RSTART + 10, RLENGTH - 10)
                }
                if (NF >= 3) print $1, $2, key
            }'
    done
    for deb822 in /etc/apt/sources.list.d/*.sources; do
        [ -f "$deb822" ] || continue
        grep -v '^#' "$deb822" | awk -v RS= '
            {
                type = uri = suites = enabled = ""; key = "-"
                count = split($0, lines, "\n")
                for (i = 1; i <= count; i++) {
                    name = tolower(lines[i]); sub(/:.*/, "", name)
                    value = lines[i]; sub(/^[^:]*:[[:space:]]*/, "", value)
                    if (name == "types") type = value
                    if (name == "uris") uri = value
                    if (name == "suites") suites = value
                    if (name == "enabled") enabled = tolower(value)
                    if (name == "signed-by" && value ~ /^\//) key = value
                }
                if (enabled == "no" || (" " type " ") !~ / deb /) next
                sub(/ .*/, "", uri)
                count = split(suites, suite, " ")
                for (i = 1; i <= count; i++) print uri, suite[i], key
            }'
    done
}

machine_codename() {
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

private_apt_begin() {
    rm -rf "${private_apt:?}/new"
    mkdir -p "$private_apt/new/sources" "$private_apt/new/preferences" "$private_apt/lists/partial"
    for part in /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
        /etc/apt/sources.list.d/*.sources; do
        [ -f "$part" ] || continue
        cp "$part" "$private_apt/new/sources/"
    done
    if [ -f "$private_apt/new/sources/sources.list" ]; then
        mv "$private_apt/new/sources/sources.list" "$private_apt/new/sources/machine.list"
    fi
    [ ! -d /etc/apt/preferences.d ] ||
        cp -r /etc/apt/preferences.d/. "$private_apt/new/preferences/"
}

private_apt_suite() {
    codename=$(machine_codename)
    main=$(machine_sources |
        awk -v suite="$codename" '$2 == suite || $2 == "stable" { print; exit }')
    [ -n "$main" ] || die "no apt source for '$codename' on this machine; add one to /etc/apt"
    {
        echo "Types: $2"
        echo "URIs: ${main%% *}"
        echo "Suites: $3"
        echo "Components: main"
        [ "${main##* }" = - ] || echo "Signed-By: ${main##* }"
    } >"$private_apt/new/sources/$1.sources"
}

private_apt_pin() {
    printf '%s\n' "$2" >"$private_apt/new/preferences/$1"
}

private_apt_end() {
    for part in sources preferences; do
        rm -rf "${private_apt:?}/$part"
        mv "$private_apt/new/$part" "$private_apt/$part"
    done
    rmdir "$private_apt/new"
    say "reading package lists"
    run_apt apt-get -qq update || die "apt-get update failed (is the network there?); try again"
}

run_apt() {
    tool=$1
    shift
    DEBIAN_FRONTEND=noninteractive "$tool" \
        -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$private_apt/sources" \
        -o Dir::Etc::PreferencesParts="$private_apt/preferences" \
        -o Dir::State::Lists="$private_apt/lists" \
        -o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache="" \
        -o DPkg::Lock::Timeout=300 "$@"
}

# apt drops its privileges for downloads and then cannot write to a directory of root's.
download_apt() {
    run_apt apt-get -qq -o APT::Sandbox::User=root "$@"
}

missing_packages() {
    for package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || printf ' %s' "$package"
    done
}
