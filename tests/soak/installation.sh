#!/usr/bin/env bash
# deploy/install.sh for real: a fresh Debian with systemd (debootstrap, systemd-nspawn), in which a node is
# installed, upgraded with a migration, kept where a release does not pass its check, brought back where a
# release does not get ready, rolled back, uninstalled and purged; then the same for a site with TLS, port
# 104 and interruptions (installation_site.sh). As root; twenty minutes, 20 GB, the network.
#
#   tests/soak/installation.sh [FOLDER [first | site]]   default: /var/tmp/axnode-root, both; what pip
#                                                        reads is bound in
set -euo pipefail

source_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
root="${1:-/var/tmp/axnode-root}"
trials="${2:-first site}"
script="$(mktemp)"
bound=()
# a pip that finds packages in folders of this machine finds them inside too
for folder in $(pip config list 2>/dev/null | grep -oE '(file://)?/[^ '"'"'"]+' | sed 's,^file://,,' | sort -u); do
    if [ -d "$folder" ]; then bound+=("--bind-ro=$folder"); fi
done

cat >"$script" <<'TRIAL'
set -uo pipefail
cd /src/axnode
failed=0
expect() { # WHAT WANTED FOUND
    if [ "$2" = "$3" ]; then echo "ok    $1: $3"; else echo "FAIL  $1: $3, not $2"; failed=1; fi
}
schema() {
    /opt/axnode/venv/bin/python -c "import sqlite3; print(sqlite3.connect('/var/lib/axnode/axnode.sqlite').execute('select version_num from alembic_version').fetchone()[0])"
}
release() { sed -i "s/__version__ = .*/__version__ = \"$1\"/" daemon/__init__.py; sed -i "s/^version = .*/version = \"$1\"/" pyproject.toml; }
migration() { # OLD NEW
    sed -i "s/HEAD = \"$1\"/HEAD = \"$2\"/" daemon/migrations/__init__.py
    printf '"""A trial."""\nimport sqlalchemy as sa\nfrom alembic import op\nrevision = "%s"\ndown_revision = "%s"\ndef upgrade() -> None:\n    op.add_column("studies", sa.Column("trial%s", sa.Text()))\ndef downgrade() -> None:\n    op.drop_column("studies", "trial%s")\n' \
        "$2" "$1" "$2" "$2" >"daemon/migrations/versions/m$2_trial.py"
}
install() { bash deploy/install.sh install >/tmp/install.log 2>&1; local code=$?; grep -v WARNING /tmp/install.log | tail -3; return $code; }
first="$(sed -n 's/^HEAD = "\(.*\)"/\1/p' daemon/migrations/__init__.py)"
second="$(printf '%04d' $((10#$first + 1)))"
third="$(printf '%04d' $((10#$first + 2)))"

install; expect "installed" 0 $?
old="$(axnode --version)"
expect "runs" active "$(systemctl is-active axnode)"
expect "its state is its own" "700 axnode" "$(stat -c '%a %U' /var/lib/axnode)"
expect "its configuration is not for all" "640 root axnode" "$(stat -c '%a %U %G' /etc/axnode/axnode.toml)"
pid="$(systemctl show -p MainPID --value axnode)"
echo "# mine" >>/etc/axnode/axnode.toml
install; expect "again" 0 $?
expect "is left alone" "$pid" "$(systemctl show -p MainPID --value axnode)"
systemctl reload axnode; sleep 8
expect "reloads in its place" "$pid active" "$(systemctl show -p MainPID --value axnode) $(systemctl is-active axnode)"

release 9.1; migration "$first" "$second"
install; expect "upgraded" 0 $?
expect "to" "axnode 9.1" "$(axnode --version)"
expect "with its schema" "$second" "$(schema)"
expect "and the old configuration" "# mine" "$(tail -1 /etc/axnode/axnode.toml)"

cp daemon/commands/check.py /root/check.py
sed -i 's/^def _model(.*/&\n    raise UnavailableError("broken for a trial")\n/' daemon/commands/check.py
install; expect "a release that does not pass is refused" 1 $?
expect "the one in use goes on" "axnode 9.1 active" "$(axnode --version) $(systemctl is-active axnode)"
cp /root/check.py daemon/commands/check.py

release 9.2; migration "$second" "$third"
sed -i 's/        threads.start("worker", self._work)/        raise RuntimeError("broken for a trial")/' daemon/analysing.py
grep -q 'broken for a trial' daemon/analysing.py || exit 1
export AXNODE_READY_S=25
install; expect "one that does not get ready is refused" 1 $?
expect "the one before is back" "axnode 9.1 active" "$(axnode --version) $(systemctl is-active axnode)"
expect "with its schema" "$second" "$(schema)"

bash deploy/install.sh rollback >/dev/null 2>&1; expect "rolled back" 0 $?
expect "to" "$old active" "$(axnode --version) $(systemctl is-active axnode)"
expect "with its schema" "$first" "$(schema)"

bash deploy/install.sh uninstall >/dev/null; expect "uninstalled" 0 $?
expect "configuration and state stay" "/etc/axnode /var/lib/axnode" "$(echo $(ls -d /opt/axnode /etc/axnode /var/lib/axnode /usr/local/bin/axnode 2>/dev/null))"
bash deploy/install.sh purge >/dev/null 2>&1; expect "purge wants a word more" 1 $?
bash deploy/install.sh purge --yes >/dev/null; expect "purged" 0 $?
expect "nothing stays" "" "$(echo $(ls -d /opt/axnode /etc/axnode /var/lib/axnode 2>/dev/null)$(getent passwd axnode))"
exit $failed
TRIAL

if [ ! -e "$root/.made" ]; then
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates bookworm "$root"
    touch "$root/.made"
fi
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/"; fi
rm -rf "$root/src"
mkdir "$root/src"
mv "$script" "$root/src/first.sh"
cp "$source_dir/tests/soak/installation_site.sh" "$root/src/site.sh"
# systemd-machined may not run here: the container is entered by its first process
systemd-nspawn --quiet --directory "$root" "${bound[@]}" --register=no --keep-unit \
    --machine axnode-trial --boot </dev/null >"$root.log" 2>&1 &
container=$!
trap 'kill $container 2>/dev/null || true' EXIT
sleep 15
init="$(pgrep --parent "$container" systemd | head -1)"
failed=0
for trial in $trials; do
    rm -rf "$root/src/axnode"
    git clone --quiet "$source_dir" "$root/src/axnode"
    nsenter --target "$init" --mount --uts --ipc --pid --root --wd -- env -i HOME=/root LANG=C.UTF-8 \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash "/src/$trial.sh" || failed=1
done
exit $failed
