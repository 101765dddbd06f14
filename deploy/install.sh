#!/usr/bin/env bash
# Puts AxNode onto this machine as a system service, and takes it off again.
#
#   install.sh install [--cpu | --cuda | --torch-index URL] [--python FILE]
#                           install, or upgrade what is there: the new environment is made beside the
#                           old one and takes its place once `axnode check` has passed with it; where
#                           it then does not come up, the old one comes back
#   install.sh rollback     back to the release before
#   install.sh uninstall    program and unit away; configuration and state stay
#   install.sh purge --yes  configuration and state too: every image, result and row is lost; what the
#                           configuration keeps elsewhere stays, and is named
#   install.sh status       what is installed
#
# As root. May be run again at any time: what is in place stays as it is. Interrupted, it puts the
# release that ran back. Without systemd (in a container) the unit is put in place and nothing is started.
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
unit_file=/etc/systemd/system/$unit
python=python3
torch_index=
READY_S=${AXNODE_READY_S:-180}

say() { echo "== $*"; }
die() { echo "install.sh: $*" >&2; exit 1; }
has_systemd() { [ -d /run/systemd/system ]; }

# Replaces itself by a command in the environment that systemd gives the service: what Environment= says,
# then axnode.env by systemd's rules, which are not a shell's: blanks, $ and & need no quotes there.
environment_of_service='
import os, re, shlex, sys
BLANK = r"[ \t\r]*"
QUOTED = r"""\x27[^\x27]*\x27|"(?:\\.|[^"\\])*\""""
LINE = rf"^{BLANK}([^\s=#;][^=\n]*?){BLANK}={BLANK}((?:(?:{QUOTED}){BLANK})*)((?:\\.|[^\\\n])*)"
def bare(quoted):
    if quoted[0] != "\"":
        return quoted[1:-1]
    return re.sub(r"\\(?:([\"\\`$])|\n)", lambda found: found[1] or "", quoted[1:-1])
given = {name: os.environ[name] for name in ("PATH", "LANG", "CREDENTIALS_DIRECTORY") if name in os.environ}
given |= dict(each.split("=", 1) for each in shlex.split(sys.argv[1]))
try:
    text = open("/etc/axnode/axnode.env", encoding="utf-8").read()
except FileNotFoundError:
    text = ""
for name, quoted, rest in re.findall(LINE, text, re.MULTILINE | re.DOTALL):
    rest = re.sub(r"\\(.)", lambda found: found[1].strip("\n"), rest.rstrip(" \t\r"), flags=re.DOTALL)
    given[name] = "".join(map(bare, re.findall(QUOTED, quoted, re.DOTALL))) + rest
os.execvpe(sys.argv[2], sys.argv[2:], given)
'

interpreter() { if [ -x "$current/bin/python" ]; then echo "$current/bin/python"; else echo "$python"; fi; }
like_service() {
    local given=HOME=$state
    ! has_systemd || given="$(systemctl show --property=Environment --value "$unit")"
    CREDENTIALS_DIRECTORY=$credentials "$(interpreter)" -c "$environment_of_service" "$given" "$@"
}
as_axnode() { like_service runuser -u axnode -- "$@"; }

# Lays out what LoadCredential= in the unit and its drop-ins names, until this script ends.
credentials=
gather_credentials() {
    credentials="$(mktemp -d /run/axnode-install.XXXXXX)"
    chown axnode "$credentials"
    has_systemd || return 0
    local kind name file
    while IFS=: read -r kind name file; do
        if [ ! -f "$file" ]; then continue; fi # the check says what it misses
        if [ "$kind" = Encrypted ]; then
            systemd-creds decrypt --name="$name" "$file" "$credentials/$name"
            chown axnode "$credentials/$name"
        else
            install -m 400 -o axnode "$file" "$credentials/$name"
        fi
    done < <(systemctl cat "$unit" 2>/dev/null \
        | sed -nE 's/^[[:blank:]]*LoadCredential(Encrypted)?[[:blank:]]*=[[:blank:]]*/\1:/p')
}
in_use() { readlink -e "$current" || true; }

# --- the end, also by a signal or a failure ------------------------------------------------------

child=   # what `interruptible` waits for
making=  # a release that is not complete
back_to= # the release that ran, while another is put in its place
before=  # the one before that

# A long command that ends with this script: for one in the foreground bash would put a signal off.
interruptible() {
    local code=0
    "$@" &
    child=$!
    wait "$child" || code=$?
    child=
    return $code
}

interrupted() {
    trap '' HUP INT TERM
    echo "install.sh: interrupted; run it again" >&2 || true
    exit 130
}

# Nothing half made stays, and the release that ran runs again.
leave() {
    local code=$?
    trap '' HUP INT TERM
    set +e
    if [ -n "$child" ]; then kill "$child"; wait "$child"; fi 2>/dev/null
    if [ -n "$making" ]; then rm -rf "$making" "$base/tmp"; fi
    if [ -n "$back_to" ]; then
        # whoever read this may have been interrupted too, and a command that cannot write fails
        say "Putting back the release that ran" || exec >/dev/null 2>&1
        stop_service
        if switch_to "$back_to" && remember "$before" && start_service; then
            say "It runs again: $("$command" --version)"
        else
            echo "install.sh: it does not get ready either: see axnode check and the log" >&2
        fi
    fi
    rm -rf "$credentials"
    exit "$code"
}

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
    local folder=$1 version
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
        || die "$python is not Python 3.11 or newer: install it, or name one with --python"
    "$python" -c 'import ensurepip' 2>/dev/null \
        || die "$python cannot make environments: apt-get install python3-venv"
    runuser -u nobody -- "$(command -v "$python")" -c '' 2>/dev/null \
        || die "only root can run $python, and the service is another user: name one with --python, such as /usr/bin/python3"
    say "Making $folder (a few minutes)"
    making=$folder
    rm -rf "$folder"
    export TMPDIR="$base/tmp" # gigabytes, for which /tmp may be too small
    install -d -m 700 "$TMPDIR"
    "$python" -m venv "$folder"
    local pip=("$folder/bin/python" -m pip --disable-pip-version-check --quiet install)
    local locked=("${pip[@]}" --require-hashes --no-deps --only-binary :all:)
    if [ -z "$torch_index" ]; then
        interruptible "${locked[@]}" -r "$source_dir/deploy/supply/torch.txt" -r "$source_dir/deploy/supply/runtime.txt"
    else
        interruptible "${pip[@]}" --constraint "$source_dir/constraints.txt" --no-deps --index-url "$torch_index" \
            torch torchvision
        interruptible "${locked[@]}" -r "$source_dir/deploy/supply/runtime.txt"
    fi
    local sources
    sources="$(mktemp -d)"
    cp -r "$source_dir"/{pyproject.toml,README.md,LICENSE,daemon,dicom_io,model,sample_dicoms} "$sources"
    PYTHONWARNINGS=ignore interruptible "${pip[@]}" --no-deps --no-build-isolation "$sources"
    rm -rf "$TMPDIR"
    "$folder/bin/python" -m pip --disable-pip-version-check check >/dev/null
    version="$("$folder/bin/axnode" --version)"
    touch "$folder/.complete"
    making=
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
    install -D -m 644 "$1" "$unit_file"
    ! has_systemd || systemctl daemon-reload
}

# A node that ran under the temporary user of an earlier unit left its state in /var/lib/private. A link
# to another place is the admin's, and stays.
adopt_state() {
    local real
    real="$(readlink -e "$state" || true)"
    if [ -L "$state" ] && [ "$real" = "/var/lib/private/${state##*/}" ]; then
        come_back_to "$(in_use)"
        stop_service
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

has_socket() { has_systemd && systemctl is-enabled --quiet axnode.socket 2>/dev/null; }

# With its socket, which a modality's call would start it by; also where it is about to be restarted.
stop_service() {
    if ! has_systemd || [ ! -e "$unit_file" ]; then return 0; fi
    ! running || say "Stopping the service"
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
    # one that fell over and over has used up the starts that systemd allows in ten minutes
    systemctl reset-failed "$unit" 2>/dev/null || true
    ! has_socket || systemctl start axnode.socket || return 1
    if systemctl restart "$unit" && gets_ready; then return 0; fi
    echo "install.sh: the service does not get ready; its last lines:" >&2
    journalctl --unit "$unit" --lines 5 --no-pager >&2 || true
    return 1
}

gets_ready() {
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
    return 1
}

# The schema that an environment's database has.
schema_of() { "$1/bin/python" -c 'from daemon.migrations import HEAD; print(HEAD)'; }

remember() { if [ -n "$1" ]; then echo "$1" >"$base/previous"; else rm -f "$base/previous"; fi; }

# What `leave` brings back, until this is called without a release.
come_back_to() {
    back_to=$1
    before="$(cat "$base/previous" 2>/dev/null || true)"
}

# Puts another environment in place with its unit, and the database into its schema where that is older.
switch_to() {
    local new=$1 old
    old="$(in_use)"
    if [ -n "$old" ] && [ "$old" != "$new" ] && [[ "$(schema_of "$new")" < "$(schema_of "$old")" ]]; then
        as_axnode "$old/bin/python" -m daemon.migrations.downgrade --config "$config" "$(schema_of "$new")" \
            || return 1
    fi
    if [ -n "$old" ] && [ "$old" != "$new" ]; then
        [ ! -e "$unit_file" ] || cp "$unit_file" "$old/$unit"
        remember "$old"
    fi
    [ ! -e "$new/$unit" ] || install_unit "$new/$unit"
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
        case "$folder" in "$keep_one" | "$keep_two") continue ;; esac
        say "Removing $folder"
        rm -f "$folder/.complete" # first: one that is half removed must not pass for a release
        rm -rf "$folder"
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
    if [ "$new" = "$old" ] && running && cmp -s "$source_dir/deploy/$unit" "$unit_file"; then
        say "Installed already, and running: $("$command" --version)"
        return 0
    fi
    # its drop-ins, which name the credentials, count for nothing without it
    [ -e "$unit_file" ] || install_unit "$source_dir/deploy/$unit"
    gather_credentials
    say "Checking the new release"
    local port=()
    # the socket unit opens the port; this user may not, and would say that another program has it
    if has_socket && ! running; then port=(env AXNODE_NODE_PORT=0); fi
    if ! as_axnode "${port[@]}" "$new/bin/axnode" check --local --config "$config"; then
        [ -z "$old" ] || die "the new release does not pass; the one in use goes on unchanged"
        die "correct $config and run this again"
    fi
    install -m 644 "$source_dir/deploy/$unit" "$new/$unit"
    come_back_to "$old"
    stop_service
    switch_to "$new"
    if ! start_service; then
        if [ -n "$old" ] && [ "$old" != "$new" ]; then die "the new release does not get ready"; fi
        come_back_to ""
        die "see axnode check and the log"
    fi
    come_back_to ""
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
    come_back_to "$now"
    stop_service
    switch_to "$old"
    local ready=0
    start_service || ready=$?
    come_back_to ""
    [ "$ready" = 0 ] || die "it does not get ready: see the log; install.sh rollback goes forward again"
    say "Back at $("$command" --version)"
}

take_off() {
    stop_service
    if has_systemd; then
        systemctl disable --now --quiet axnode.socket "$unit" 2>/dev/null || true
        systemctl reset-failed axnode.socket "$unit" 2>/dev/null || true
    fi
    rm -f "$unit_file" /etc/systemd/system/axnode.socket \
        /usr/lib/sysusers.d/axnode.conf /usr/lib/tmpfiles.d/axnode.conf "$command"
    # a bundle of yours may lie there too
    rm -rf "$releases" "$current" "$current.new" "$base/previous" "$base/tmp"
    if [ -d "$base" ]; then rmdir "$base" 2>/dev/null || say "Kept what else lies in $base"; fi
    ! has_systemd || systemctl daemon-reload
}

do_uninstall() {
    take_off
    say "Uninstalled. /etc/axnode and $state are kept; install.sh purge --yes deletes them"
}

# What the configuration has outside of $state, one a line. Nobody deletes a folder for being named in
# a file: it may be the root of a disk.
elsewhere() {
    [ -e "$config" ] || [ -L "$state" ] || return 0
    like_service "$(interpreter)" - "$config" "$state" <<'PY'
import os, sys, tomllib
from pathlib import Path
file, own = map(Path, sys.argv[1:])
try:
    config = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
except ValueError as error:
    sys.exit(str(error))
def setting(table, key):
    return os.environ.get(f"AXNODE_{table}_{key}".upper(), config.get(table, {}).get(key))
url = setting("database", "url") or ""
paths = [setting("node", "state_dir") or own, setting("audit", "folder") or own]
if url.startswith("sqlite:///"):
    paths.append(url.removeprefix("sqlite:///").partition("?")[0])
elif url:
    print("the database of database.url")
deleted = own.parent.resolve() / own.name
found = {(own / path).resolve() for path in paths}
print(*sorted(str(path) for path in found if path.exists() and not path.is_relative_to(deleted)), sep="\n")
PY
}

do_purge() {
    [ "${1:-}" = --yes ] || die "purge deletes every image, result and row in $state: say purge --yes"
    local kept
    kept="$(elsewhere)" \
        || die "cannot read $config, which may name other folders with images: mend it, or note them and move it away"
    take_off
    rm -rf /etc/axnode /etc/systemd/system/axnode.service.d /etc/systemd/system/axnode.socket.d
    ! has_systemd || systemctl daemon-reload
    if mountpoint --quiet "$state"; then
        find "$state" -mindepth 1 -delete
        say "The disk that is mounted at $state stays there, empty"
    else
        rm -rf "$state"
    fi
    if [ -n "$kept" ]; then
        # a later user with the number of a deleted one would own the images
        say "Purged, and the user axnode is kept: not deleted, for you to delete (images, results, rows of patients):"
        echo "$kept"
        return 0
    fi
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
    if [ "$what" != status ]; then
        exec 9>/run/axnode-install.lock # held by a pip, too, that outlived the script
        flock --nonblock 9 || die "another install.sh is at work: wait until it has ended"
        trap '' PIPE # a reader that goes away must not end the script in mid-step
        trap interrupted HUP INT TERM
        trap leave EXIT
        rm -rf /run/axnode-install.?????? # of one that was killed
    fi
    "do_$what" "$@"
}

main "$@"
