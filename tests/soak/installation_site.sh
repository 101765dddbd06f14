#!/usr/bin/env bash
# deploy/install.sh at a site: TLS with keys from systemd's credentials, settings in axnode.env, port 104 by the
# socket unit, all in place before the first install; then upgraded, rolled back, interrupted in every way,
# uninstalled, and purged with state elsewhere. Run by installation.sh, inside its root.
set -uo pipefail
cd /src/axnode || exit 1
failed=0
tls=/etc/axnode/tls
units=/etc/systemd/system
expect() { # WHAT WANTED FOUND
    if [ "$2" = "$3" ]; then echo "ok    $1: $3"; else echo "FAIL  $1: $3, not $2"; failed=1; fi
}
schema() {
    python3 -c "import sqlite3; print(sqlite3.connect('/var/lib/axnode/axnode.sqlite').execute('select version_num from alembic_version').fetchone()[0])"
}
release() {
    sed -i "s/__version__ = .*/__version__ = \"$1\"/" daemon/__init__.py
    sed -i "s/^version = .*/version = \"$1\"/" pyproject.toml
    sed -i "s/^Description=.*/Description=AxNode $1/" deploy/axnode.service
}
migration() { # OLD NEW
    sed -i "s/HEAD = \"$1\"/HEAD = \"$2\"/" daemon/migrations/__init__.py
    cat >"daemon/migrations/versions/m$2_trial.py" <<PY
"""A trial."""
import sqlalchemy as sa
from alembic import op
revision, down_revision = "$2", "$1"
def upgrade() -> None:
    op.add_column("studies", sa.Column("trial", sa.Text()))
def downgrade() -> None:
    op.drop_column("studies", "trial")
PY
}
run() { # ACTION: its last words where it fails
    bash deploy/install.sh "$@" >/tmp/install.log 2>&1
    local code=$?
    [ $code = 0 ] || grep -v WARNING /tmp/install.log | tail -4
    return $code
}
# A C-ECHO as US1 over TLS to port 104, by the name that axnode.env gives: its status, or why there is none.
c_echo() {
    (cd / && /opt/axnode/venv/bin/python - "$tls") <<'PY'
import ssl, sys
from pynetdicom import AE
tls = sys.argv[1]
context = ssl.create_default_context(cafile=f"{tls}/ca.pem")
context.load_cert_chain(f"{tls}/us1.pem", f"{tls}/us1.key")
entity = AE("US1")
entity.add_requested_context("1.2.840.10008.1.1")
association = entity.associate("127.0.0.1", 104, ae_title="TRIAL NODE", tls_args=(context, "localhost"))
print(hex(association.send_c_echo().Status) if association.is_established else "no association")
association.release()
PY
}
console() { # what its probe answers
    python3 - "$tls" <<'PY'
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=f"{sys.argv[1]}/ca.pem")
print(urllib.request.urlopen("https://127.0.0.1:8443/readyz", context=context).status)
PY
}
connects() { python3 -c "import socket; socket.create_connection(('127.0.0.1', $1), 3)" 2>/dev/null && echo open || echo refused; }
state() { echo "$(axnode --version) $(systemctl is-active axnode) $(schema) $(c_echo)"; }
pid() { systemctl show -p MainPID --value axnode; }
there() { find "$@" 2>/dev/null | sort | xargs; } # in one line
left_over() { there /run/axnode-install.?????? /opt/axnode/tmp /opt/axnode/venv.new -maxdepth 0; }
releases() { find /opt/axnode/releases -mindepth 1 -maxdepth 1 | wc -l; }
# An install that gets a signal once it has said something and a command has ended: INT as by Ctrl-C,
# which the reader of its output gets too, others alone.
interrupt() { # SIGNAL WORDS COMMAND
    : >/tmp/install.log
    env --default-signal setsid bash -c 'exec bash deploy/install.sh install > >(exec cat >/tmp/install.log) 2>&1' &
    group=$!
    for _ in {1..1800}; do
        if grep -q "$2" /tmp/install.log || [ ! -d /proc/$group ]; then break; fi
        sleep 0.1
    done
    $3
    if [ "$1" = INT ]; then kill -s INT -- -$group; else kill -s "$1" $group; fi
    local begun=$SECONDS
    wait $group
    code=$?
    took=$((SECONDS - begun))
} 2>/dev/null

# shellcheck disable=SC2317 # called by interrupt
migrated() { for _ in {1..600}; do if [ "$(schema)" = "$second" ]; then break; fi; sleep 0.1; done; }

# --- what a site prepares --------------------------------------------------------------------------
first="$(sed -n 's/^HEAD = "\(.*\)"/\1/p' daemon/migrations/__init__.py)"
second="$(printf '%04d' $((10#$first + 1)))"
install -d "$tls" "$units/axnode.service.d"
(
    cd "$tls" || exit 1
    awk '/^```/ { inside = /sh$/; next } inside' /src/axnode/docs/tls.md | bash 2>/dev/null
    chmod 600 ./*.key
    systemd-creds encrypt --quiet --name=console.key node.key console.cred 2>/dev/null
)
cat >/etc/axnode/axnode.toml <<'TOML'
[node]
ae_title = "NOT THIS"
host = "0.0.0.0"
port = 104
[[sources]]
ae_title = "US1"
host = "127.0.0.1"
certificate_name = "us1.example.org"
[tls]
certificate = "/etc/axnode/tls/node.pem"
key = "$CREDENTIALS_DIRECTORY/node.key"
ca = "/etc/axnode/tls/ca.pem"
[http]
port = 1 # which the service may not open
certificate = "/etc/axnode/tls/node.pem"
key = "$CREDENTIALS_DIRECTORY/console.key"
TOML
cat >/etc/axnode/axnode.env <<'ENV'
; for systemd, not for a shell
AXNODE_NODE_AE_TITLE=TRIAL NODE
AXNODE_HTTP_PORT = "8443"
AXNODE_NOTIFY_SECRET="it's \"$a\" & `b`"
ENV
chmod 600 /etc/axnode/axnode.env
printf '[Service]\nLoadCredential = node.key:%s/node.key\nLoadCredentialEncrypted=console.key:%s/console.cred\n' \
    "$tls" "$tls" >"$units/axnode.service.d/tls.conf"
install -m 644 deploy/axnode.socket "$units/"
systemctl daemon-reload
systemctl enable --quiet axnode.socket

# --- install, upgrade, back --------------------------------------------------------------------------
run install; expect "installed" 0 $?
[ $failed = 0 ] || exit 1
old="$(axnode --version)"
expect "answers on port 104, over TLS" "$old active $first 0x0" "$(state)"
expect "the console over TLS, at the port of axnode.env" 200 "$(console)"
expect "not without TLS" 1 "$(cd / && /opt/axnode/venv/bin/python -m pynetdicom echoscu -q -aec 'TRIAL NODE' 127.0.0.1 104 2>/dev/null; echo $?)"
expect "the socket unit is in use" "active active" "$(systemctl is-active axnode.socket axnode | xargs)"
expect "no key and nothing half made stays" 1 "$(left_over)$(releases)"
process="$(pid)"
run install; expect "again" 0 $?
expect "is left alone" "$process" "$(pid)"

release 9.1
echo 'AXNODE_DATABASE_URL=sqlite:////var/lib/axnode/axnode.sqlite?timeout=30&cached_statements=64' >>/etc/axnode/axnode.env
run install; expect "upgraded" 0 $?
expect "answers" "axnode 9.1 active $first 0x0" "$(state)"
run rollback; expect "rolled back" 0 $?
expect "answers" "$old active $first 0x0" "$(state)"
expect "its unit came back too" 0 "$(grep -c 'Description=AxNode 9' $units/axnode.service)"
run rollback; expect "and forward" 0 $?
now="axnode 9.1 active $first 0x0"
expect "answers" "$now" "$(state)"

# --- interrupted -------------------------------------------------------------------------------------
release 9.2; migration "$first" "$second"
process="$(pid)"
for signal in TERM HUP INT; do
    interrupt $signal "== Making" "sleep 12"
    expect "$signal while making a release ends it" "130 at once" "$code $([ $took -lt 15 ] && echo at once)"
    expect "nothing half made stays" 2 "$(left_over)$(releases)"
done
interrupt KILL "== Making" "sleep 12"
run install >/dev/null; expect "after KILL, what is left of it keeps others out" 1 $?
kill -s KILL -- -$group
expect "the node did not notice" "$process $now" "$(pid) $(state)"

interrupt TERM "== Stopping" true
expect "TERM while it stops the service" "130 $now" "$code $(state)"
interrupt HUP "== Starting" true
expect "HUP while it starts the new one" "130 $now" "$code $(state)"
interrupt INT "== Starting" migrated
expect "INT once the schema is new" "130 $now" "$code $(state)"
expect "its unit came back too" 1 "$(grep -c 'Description=AxNode 9.1' $units/axnode.service)"
interrupt TERM "== Checking" "sleep 2"
expect "TERM while it checks" "130 $now" "$code $(state)"
interrupt KILL "== Stopping" "sleep 1"
flock /run/axnode-install.lock sleep 3 # what it had begun ends
expect "KILL leaves it down" "refused" "$(connects 104)"
run install; expect "and again puts it right" 0 $?
now="axnode 9.2 active $second 0x0"
expect "answers" "$now" "$(state)"
expect "no key and nothing half made stays" 2 "$(left_over)$(releases)"
run rollback; expect "back to the one before" 0 $?
expect "answers" "axnode 9.1 active $first 0x0" "$(state)"
interrupt KILL "== Starting" true
flock /run/axnode-install.lock true
run install; expect "KILL while it starts the new one, and again" 0 $?
expect "answers" "$now" "$(state)"
run rollback; expect "knows the one before all the same" 0 $?
expect "answers" "axnode 9.1 active $first 0x0" "$(state)"
for _ in {1..15}; do systemctl restart --no-block axnode; sleep 0.2; done; sleep 5
run install; expect "upgraded where systemd has had enough of starts" 0 $?
expect "answers" "$now" "$(state)"

# --- off ---------------------------------------------------------------------------------------------
run uninstall; expect "uninstalled" 0 $?
expect "nothing listens" "refused refused" "$(connects 104) $(connects 8443)"
expect "systemd knows nothing of it" "" "$(systemctl list-unit-files --no-legend 'axnode*')$(systemctl list-units --all --no-legend 'axnode*')$(there $units -name 'axnode*' ! -name '*.d')"
expect "the site's own files stay" "axnode.env axnode.toml tls tls.conf" "$(there /etc/axnode $units/axnode.service.d -mindepth 1 -maxdepth 1 -printf '%f\n')"

install -d /srv/images /srv/audit
touch /srv/images/one
printf '[audit]\nfolder = "/srv/audit"\n[retention\n' >>/etc/axnode/axnode.toml
run purge --yes >/dev/null; expect "purge wants a configuration that it can read" 1 $?
expect "and deletes nothing" "/etc/axnode/axnode.toml /var/lib/axnode/axnode.sqlite" "$(there /etc/axnode/axnode.toml /var/lib/axnode/axnode.sqlite)"
sed -i '/^\[retention/d; s,^port = 104,&\nstate_dir = "/srv/images",' /etc/axnode/axnode.toml
run purge --yes; expect "purged" 0 $?
expect "it says what stays" "/srv/audit /srv/images" "$(grep ^/ /tmp/install.log | xargs)"
expect "which does, with its owner" "/srv/images/one axnode" "$(there /srv/images/one) $(id -un axnode)"
expect "nothing else" "" "$(there /opt/axnode /etc/axnode /var/lib/axnode $units -name 'axnode*')"
rm -r /srv/images /srv/audit
userdel axnode
exit $failed
