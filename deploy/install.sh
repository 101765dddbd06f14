#!/usr/bin/env bash
# Puts AxNode onto this machine as a system service, and takes it off again.
#
#   install.sh install [--cpu | --cuda | --torch-index URL] [--python FILE]
#                           install, or upgrade what is there: the new environment is made beside the
#                           old one and takes its place once `axnode check` has passed with it; where
#                           it then does not come up, the old one comes back
#   install.sh rollback     back to the release before
#   install.sh uninstall    program and unit away; configuration and state stay
#   install.sh purge --yes  configuration and state too: every image, result and row is lost
#   install.sh status       what is installed
#
# As root. May be run again at any time: what is in place stays as it is. Without systemd (in a
# container) the unit is put in place and nothing is started.
#
#   /opt/axnode/releases/*    environments, the one in use and the one before
#   /opt/axnode/venv          the one in use
#   /etc/axnode/axnode.toml   the configuration, kept by an upgrade
#   /var/lib/axnode           images, results, database: patient data
set -euo pipefail
umask 022

source_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd / # python would take the packages of the folder that it is started in for the installed ones
base=/opt/axnode
releases=$base/releases
current=$base/venv
config=/etc/axnode/axnode.toml
state=/var/lib/axnode
command=/usr/local/bin/axnode
unit=axnode.service
python=python3
torch_index=
READY_S=${AXNODE_READY_S:-180}

say() { echo "== $*"; }
die() { echo "install.sh: $*" >&2; exit 1; }
has_systemd() { [ -d /run/systemd/system ]; }

# Runs a command as the service would: its user, what systemd reads from axnode.env, its credentials.
as_axnode() {
    (
        set -a
        # shellcheck disable=SC1091
        if [ -e /etc/axnode/axnode.env ]; then . /etc/axnode/axnode.env; fi
        set +a
        CREDENTIALS_DIRECTORY=$credentials exec runuser -u axnode -- "$@"
    )
}

# Lays out what LoadCredential= in the unit and its drop-ins names, until this script ends.
credentials=
gather_credentials() {
    credentials="$(mktemp -d /run/axnode-install.XXXXXX)"
    chown axnode "$credentials"
    trap 'rm -rf "$credentials"' EXIT
    has_systemd || return 0
    local name file
    while IFS=: read -r name file; do
        [ ! -e "$file" ] || install -m 400 -o axnode "$file" "$credentials/$name"
    done < <(systemctl cat "$unit" 2>/dev/null | sed -n 's/^LoadCredential=//p')
}
in_use() { readlink -e "$current" || true; }

# --- the environment ---------------------------------------------------------------------------

# What an environment is made from: the same sources and choices make the same one.
fingerprint() {
    {
        cd "$source_dir"
        find daemon dicom_io model sample_dicoms deploy/supply pyproject.toml constraints.txt \
            -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
        echo "$torch_index $("$python" -V 2>&1)"
    } | sha256sum | cut -c1-12
}

make_release() {
    local folder=$1 pip version
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
        || die "$python is not Python 3.11 or newer: install it, or name one with --python"
    "$python" -c 'import ensurepip' 2>/dev/null \
        || die "$python cannot make environments: apt-get install python3-venv"
    runuser -u nobody -- "$(command -v "$python")" -c '' 2>/dev/null \
        || die "only root can run $python, and the service is another user: name one with --python, such as /usr/bin/python3"
    say "Making $folder (a few minutes)"
    rm -rf "$folder"
    export TMPDIR="$base/tmp" # gigabytes, for which /tmp may be too small
    install -d -m 700 "$TMPDIR"
    "$python" -m venv "$folder"
    pip="$folder/bin/python -m pip --disable-pip-version-check --quiet install"
    local locked="$pip --require-hashes --no-deps --only-binary :all:"
    if [ -z "$torch_index" ]; then
        $locked -r "$source_dir/deploy/supply/torch.txt" -r "$source_dir/deploy/supply/runtime.txt"
    else
        $pip --constraint "$source_dir/constraints.txt" --no-deps --index-url "$torch_index" \
            torch torchvision
        $locked -r "$source_dir/deploy/supply/runtime.txt"
    fi
    local sources
    sources="$(mktemp -d)"
    cp -r "$source_dir"/{pyproject.toml,README.md,LICENSE,daemon,dicom_io,model,sample_dicoms} "$sources"
    PYTHONWARNINGS=ignore $pip --no-deps --no-build-isolation "$sources"
    rm -rf "$TMPDIR"
    "$folder/bin/python" -m pip --disable-pip-version-check check >/dev/null
    version="$("$folder/bin/axnode" --version)"
    touch "$folder/.complete"
    say "$version"
}

# --- the system --------------------------------------------------------------------------------

install_system_files() {
    install -D -m 644 "$source_dir/deploy/axnode.sysusers" /usr/lib/sysusers.d/axnode.conf
    install -D -m 644 "$source_dir/deploy/axnode.tmpfiles" /usr/lib/tmpfiles.d/axnode.conf
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers axnode.conf
    elif ! id axnode >/dev/null 2>&1; then
        useradd --system --home-dir "$state" --shell /usr/sbin/nologin --comment 'AxNode DICOM node' axnode
    fi
    install -d -m 750 -o root -g axnode /etc/axnode
    adopt_state
}

install_unit() {
    install -D -m 644 "$source_dir/deploy/axnode.service" /etc/systemd/system/axnode.service
    ! has_systemd || systemctl daemon-reload
}

# A node that ran under the temporary user of an earlier unit left its state there.
adopt_state() {
    if [ -L "$state" ]; then
        local real
        stop_service
        real="$(readlink -e "$state")"
        rm "$state"
        mv "$real" "$state"
        chown -R axnode:axnode "$state"
    fi
    install -d -m 700 -o axnode -g axnode "$state"
}

write_config() {
    local release=$1
    if [ -e "$config" ]; then
        say "Keeping $config"
    else
        "$release/bin/axnode" config init --out "$config"
    fi
    chown root:axnode "$config"
    chmod 640 "$config"
}

# --- the service -------------------------------------------------------------------------------

running() { has_systemd && systemctl is-active --quiet "$unit"; }

# With its socket, which a modality's call would start it by.
stop_service() {
    if ! running; then return 0; fi
    say "Stopping the service"
    systemctl stop axnode.socket 2>/dev/null || true
    systemctl stop "$unit"
}

http_port() {
    as_axnode "$current/bin/python" - "$config" <<'PY'
import sys
from pathlib import Path
from daemon.config import load
http = load(Path(sys.argv[1])).http
host = "127.0.0.1" if http.host in ("0.0.0.0", "::") else http.host
host = f"[{host}]" if ":" in host else host
print(f"{'https' if http.certificate else 'http'}://{host}:{http.port}")
PY
}

# Starts it and waits until the model is loaded.
start_service() {
    if ! has_systemd; then
        say "systemd does not run here: nothing is started"
        return 0
    fi
    say "Starting the service"
    systemctl enable --quiet "$unit"
    if systemctl is-enabled --quiet axnode.socket 2>/dev/null; then systemctl start axnode.socket; fi
    systemctl restart "$unit" || return 1
    local url deadline
    url="$(http_port)/readyz"
    deadline=$((SECONDS + READY_S))
    while [ $SECONDS -lt $deadline ]; do
        "$current/bin/python" - "$url" <<'PY' && return 0
import ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
try:
    urllib.request.build_opener(*handlers).open(sys.argv[1], timeout=3)
except OSError:
    sys.exit(1)
PY
        systemctl is-failed --quiet "$unit" && break
        sleep 1
    done
    echo "install.sh: the service does not get ready; its last lines:" >&2
    journalctl --unit "$unit" --lines 5 --no-pager >&2 || true
    return 1
}

# The schema that an environment's database has.
schema_of() { "$1/bin/python" -c 'from daemon.migrations import HEAD; print(HEAD)'; }

# Puts another environment in place, and the database into its schema where that is an older one.
switch_to() {
    local new=$1 old
    old="$(in_use)"
    if [ -n "$old" ] && [ "$old" != "$new" ] && [[ "$(schema_of "$new")" < "$(schema_of "$old")" ]]; then
        as_axnode "$old/bin/python" -m daemon.migrations.downgrade --config "$config" "$(schema_of "$new")"
    fi
    ln -sfn "$new" "$current.new"
    mv -T "$current.new" "$current"
    ln -sfn "$current/bin/axnode" "$command"
}

prune() {
    local keep_one keep_two folder
    keep_one="$(in_use)"
    keep_two="$(cat "$base/previous" 2>/dev/null || true)"
    for folder in "$releases"/*; do
        [ -d "$folder" ] || continue
        case "$folder" in "$keep_one" | "$keep_two") ;; *) say "Removing $folder"; rm -rf "$folder" ;; esac
    done
}

# --- what can be asked for ---------------------------------------------------------------------

do_install() {
    local old new
    old="$(in_use)"
    install -d -m 755 "$releases"
    new="$releases/$(fingerprint)"
    [ -e "$new/.complete" ] || make_release "$new"
    install_system_files
    write_config "$new"
    if [ "$new" = "$old" ] && running; then
        say "Installed already, and running: $("$command" --version)"
        return 0
    fi
    gather_credentials
    say "Checking the new release"
    if ! as_axnode "$new/bin/axnode" check --local --config "$config"; then
        [ -z "$old" ] || die "the new release does not pass; the one in use goes on unchanged"
        die "correct $config and run this again"
    fi
    stop_service
    install_unit
    switch_to "$new"
    if ! start_service; then
        if [ -z "$old" ] || [ "$old" = "$new" ]; then die "see axnode check and the log"; fi
        say "Going back to the release before"
        systemctl stop "$unit" || true
        switch_to "$old"
        start_service || die "the release before does not get ready either: see the log"
        die "the new release did not get ready; the one before is back"
    fi
    if [ -n "$old" ] && [ "$old" != "$new" ]; then echo "$old" >"$base/previous"; fi
    prune
    say "Installed: $("$command" --version). axnode check --config $config tells how it is"
}

do_rollback() {
    local old
    old="$(cat "$base/previous" 2>/dev/null || true)"
    if [ -z "$old" ] || [ ! -e "$old/.complete" ]; then die "there is no release before this one"; fi
    local now
    now="$(in_use)"
    gather_credentials
    as_axnode "$old/bin/python" - "$config" <<'PY' || die "the release before does not read $config: take out what it does not know"
import sys
from pathlib import Path
from daemon.config import load
from daemon.errors import ConfigError
try:
    load(Path(sys.argv[1]))
except ConfigError as error:
    sys.exit(str(error))
PY
    stop_service
    switch_to "$old"
    echo "$now" >"$base/previous"
    start_service || die "it does not get ready: see the log; install.sh rollback goes forward again"
    say "Back at $("$command" --version)"
}

do_uninstall() {
    stop_service
    if has_systemd; then systemctl disable --now --quiet axnode.socket "$unit" 2>/dev/null || true; fi
    rm -f /etc/systemd/system/axnode.service /etc/systemd/system/axnode.socket \
        /usr/lib/sysusers.d/axnode.conf /usr/lib/tmpfiles.d/axnode.conf "$command"
    # a bundle of yours may lie there too
    rm -rf "$releases" "$current" "$current.new" "$base/previous" "$base/tmp"
    rmdir "$base" 2>/dev/null || say "Kept what else lies in $base"
    ! has_systemd || systemctl daemon-reload
    say "Uninstalled. /etc/axnode and $state are kept; install.sh purge --yes deletes them"
}

do_purge() {
    [ "${1:-}" = --yes ] || die "purge deletes every image, result and row in $state: say purge --yes"
    do_uninstall
    rm -rf /etc/axnode "$state"
    ! id axnode >/dev/null 2>&1 || userdel axnode
    say "Purged"
}

do_status() {
    local now
    now="$(in_use)"
    [ -n "$now" ] || { echo "not installed"; return 3; }
    echo "in use: $("$now/bin/axnode" --version), $now"
    echo "before: $(cat "$base/previous" 2>/dev/null || echo none)"
    if has_systemd; then systemctl is-active "$unit" || true; else echo "systemd does not run here"; fi
}

main() {
    local what=${1:-}
    [ $# -eq 0 ] || shift
    case "$what" in install | rollback | uninstall | purge | status) ;; *)
        sed -n '2,/^set /p' "$source_dir/deploy/install.sh" | sed -n 's/^# \{0,1\}//p'
        exit 2
        ;;
    esac
    [ "$(id -u)" = 0 ] || die "run it as root"
    if [ "$what" = install ]; then
        while [ $# -gt 0 ]; do
            case "$1" in
                --cpu) torch_index=https://download.pytorch.org/whl/cpu ;;
                --cuda) torch_index= ;;
                --torch-index) torch_index=${2:?--torch-index URL}; shift ;;
                --python) python=${2:?--python FILE}; shift ;;
                *) die "unknown option $1" ;;
            esac
            shift
        done
    fi
    "do_$what" "$@"
}

main "$@"
