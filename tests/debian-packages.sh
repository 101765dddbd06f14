#!/usr/bin/env bash
# Debian packages that AxNode's set-up needs, looked for by what they bring.
#
#   debian-packages.sh venv    what a virtual environment needs
#   debian-packages.sh test    that, and the peers and validators that the tests talk to
#   debian-packages.sh bench   that, and what the benchmarks compare with
#
# As root on Debian the missing ones are installed; services among them are neither started nor
# enabled. Otherwise the line to run is printed. Ends with 1 only where a virtual environment
# cannot be made: a test whose peer is missing is skipped with a reason, and does not fail.
set -euo pipefail

scope="${1:?say venv, test or bench}"
python="${PYTHON:-python3}"
PATH="$PATH:/usr/sbin:/sbin" # Orthanc lives there, and a user's PATH leaves it out

missing=()
command_from() { command -v "$1" >/dev/null || missing+=("$2"); }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

has_venv || missing+=("python3-venv")
if [ "$scope" != venv ]; then
    command_from storescu dcmtk
    command_from openssl openssl
    command_from dciodvfy dicom3tools
    command_from Orthanc orthanc
    compgen -G '/usr/share/orthanc/plugins/libOrthancDicomWeb.so*' >/dev/null ||
        missing+=("orthanc-dicomweb")
    command_from DicomSRValidator pixelmed-apps
    command_from chromium chromium
    command_from node nodejs
    command_from npm npm
    command_from systemd-analyze systemd
    command_from strace strace
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=("postgresql")
    command_from shellcheck shellcheck
fi
if [ "$scope" = bench ]; then
    compgen -G '/usr/share/orthanc/plugins/libOrthancPython.so*' >/dev/null ||
        missing+=("orthanc-python")
fi
[ "${#missing[@]}" -gt 0 ] || exit 0

line="apt-get install --yes --no-install-recommends ${missing[*]}"

# Packages that bring a service start it unless this file forbids it (Debian Policy 9.3.3).
policy=/usr/sbin/policy-rc.d
forbid_services() {
    [ ! -e "$policy" ] || return 0
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

install_missing() {
    echo "Installing from Debian: ${missing[*]}"
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 --quiet update &&
        apt-get -o DPkg::Lock::Timeout=300 --quiet ${line#apt-get } || return 1
    case " ${missing[*]} " in
        # the tests start their own; the packaged service must not come up at the next boot either
        *" orthanc "*) update-rc.d orthanc disable || true ;;
    esac
}

installed=no
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    ! install_missing || installed=yes
fi

# The system's python3 may have got its venv just now; another interpreter is the user's own.
if ! has_venv; then
    echo "$python cannot make a virtual environment; on Debian run: sudo $line" >&2
    exit 1
elif [ $installed = no ]; then
    echo "Debian packages are missing, and tests that need them are skipped;" \
        "to install them run: sudo $line" >&2
fi
