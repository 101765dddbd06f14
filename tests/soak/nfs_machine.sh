#!/bin/bash
# The first process of a machine of tests/soak/nfs.sh; its kernel's command line says which.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
name="$(sed -n 's/.*axnode.name=\([a-z]*\).*/\1/p' /proc/cmdline)"
number="$(sed -n 's/.*axnode.number=\([0-9]*\).*/\1/p' /proc/cmdline)"
for module in virtio_net virtio_rng 9pnet_virtio 9p; do modprobe "$module"; done
hostname "$name"
ip link set lo up
ip link set eth0 up # to the other machines
ip address add "10.97.0.$number/24" dev eth0
ip link set eth1 up # to whoever drives the trial
ip address add 10.0.2.15/24 dev eth1
for share in sources packages; do # this repository, and what its .venv holds
    mkdir -p "/$share"
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose "$share" "/$share"
done
mkdir -p /run/rpcbind /mnt/shared
rpcbind -w
if [ "$name" = server ]; then
    mkdir -p /export
    mount -t ext4 /dev/vdb /export
    modprobe nfsd
    mount -t nfsd nfsd /proc/fs/nfsd
    mkdir -p /run/rpc_pipefs
    mount -t rpc_pipefs pipes /run/rpc_pipefs
    echo '/export 10.97.0.0/24(rw,sync,no_subtree_check,no_root_squash,fsid=0)' >/etc/exports
    exportfs -r
    nfsdcld # so that clients may reclaim after a restart
    rpc.statd
    rpc.nfsd --nfs-version 3 --nfs-version 4 8
    rpc.mountd
else
    modprobe nfsv4
    rpc.statd
fi
exec 2>&1
exec python3 -c '
import os, signal, socketserver, subprocess, threading

class Command(socketserver.StreamRequestHandler):
    def handle(self):
        command = self.rfile.readline().decode()
        done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=self.wfile, stderr=subprocess.STDOUT)
        self.wfile.write(f"\nended {done.returncode}\n".encode())

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

print("machine ready", flush=True)
Server(("", 9700), Command).serve_forever()
'
