#!/usr/bin/env bash
# The shared folder over NFS for real: three virtual machines (qemu, no KVM needed) with Debian's own kernel,
# one that exports a disk and two that mount it, in which daemon.spool runs, and then whole nodes
# (tests/soak/nfs.py). As root on Debian 12, with .venv by Python 3.11 and the packages qemu-system-x86,
# debootstrap, kmod and postgresql; an hour and a half on two processors, 3 GB of memory, 3 GB of disk, the
# network for Debian's packages.
#
#   tests/soak/nfs.sh [FOLDER [ARGUMENT...]]   default: /var/tmp/axnode-nfs; python -m tests.soak.nfs --help
set -euo pipefail

source_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
folder="${1:-/var/tmp/axnode-nfs}"
shift || true
mkdir -p "$folder"

if [ ! -e "$folder/made" ]; then
    rm -rf "$folder/root" "$folder/kernel"
    debootstrap --variant=minbase \
        --include=python3,nfs-common,nfs-kernel-server,iproute2,kmod,procps,rpcbind,busybox-static,e2fsprogs \
        bookworm "$folder/root" >"$folder/debootstrap.log"
    package="$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ {print $2}')"
    (cd "$folder" && apt-get --quiet download "$package" && dpkg -x "$package"_*.deb kernel && rm "$package"_*.deb)
    release="$(ls "$folder/kernel/lib/modules")"
    mkdir -p "$folder/root/lib/modules/$release" "$folder/initrd/bin" "$folder/initrd/modules"
    depmod -b "$folder/kernel" "$release"
    modules() { # those needed for what is named, in the order of loading
        for module in "$@"; do modprobe -d "$folder/kernel" -S "$release" --show-depends "$module"; done |
            awk '/^insmod/ && !seen[$2]++ {print $2}'
    }
    # the root's disk by an initial file system of busybox, the rest from that disk
    number=10
    for module in $(modules virtio_pci virtio_blk crc32c ext4); do
        cp "$module" "$folder/initrd/modules/$number-$(basename "$module")"
        number=$((number + 1))
    done
    for module in $(modules virtio_net virtio_rng 9p 9pnet_virtio nfsv4 nfsv3 nfsd ext4 virtio_pci virtio_blk crc32c); do
        install -D "$module" "$folder/root/lib/modules/$release/${module#*/lib/modules/"$release"/}"
    done
    cp "$folder/kernel/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$folder/root/lib/modules/$release/"
    depmod -b "$folder/root" "$release"
    cp "$folder/root/bin/busybox" "$folder/initrd/bin/"
    cat >"$folder/initrd/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /root
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox sh
exec /bin/busybox switch_root /root /machine
INIT
    chmod +x "$folder/initrd/init"
    (cd "$folder/initrd" && find . | "$folder/root/bin/busybox" cpio -o -H newc | gzip) >"$folder/initrd.gz"
    cp "$folder/kernel/boot/vmlinuz-$release" "$folder/vmlinuz"
    rm -rf "$folder/kernel" "$folder/initrd" "$folder"/root/var/cache/apt/archives/*.deb
    touch "$folder/made"
fi

install "$source_dir/tests/soak/nfs_machine.sh" "$folder/root/machine"
for machine in server client; do # clients write to theirs in memory only
    rm -f "$folder/$machine.img"
    truncate -s 1G "$folder/$machine.img"
    mkfs.ext4 -q -d "$folder/root" "$folder/$machine.img"
done

cd "$source_dir"
exec .venv/bin/python -m tests.soak.nfs "$folder" "$@"
