"""The machines of `tests.soak.nfs`: an NFS server and two clients in qemu, on one network."""

import shlex
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = "/mnt/shared"  # where clients mount the export
NAMES = ("server", "receiver", "worker")
_COMMANDS, DICOM, HTTP = 9700, 11112, 8080  # ports of a machine
OUTSIDE = "10.0.2.2"  # whoever runs the machines, as they see it
_READY_S = 300.0  # without KVM a kernel takes its time
_GROUP = "230.0.0.97"


def free_port() -> int:
    """Return a TCP port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """One virtual machine; `address` is for the others, commands come by a port of the loopback."""

    def __init__(self, folder: Path, name: str, network: int) -> None:
        self.name = name
        self.number = NAMES.index(name) + 1
        self.address = f"10.97.0.{self.number}"
        self._folder = folder
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[int, int] = {}  # of the machine, and of the loopback that lead there

    def start(self) -> None:
        """Boot; `wait` tells when it is there."""
        self._ports = {port: free_port() for port in (_COMMANDS, DICOM, HTTP)}
        with (self._folder / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self) -> list[str]:
        folder, serving = self._folder, self.name == "server"
        disk = f"file={folder}/{'server' if serving else 'client'}.img,format=raw,if=virtio"
        drives = [disk if serving else f"{disk},snapshot=on"]
        if serving:
            drives.append(f"file={folder}/export.img,format=raw,if=virtio")
        forwards = "".join(
            f",hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for inside, outside in self._ports.items()
        )
        shares = {"sources": ROOT, "packages": Path(sysconfig.get_path("purelib"))}
        return [
            *("nice", "qemu-system-x86_64", "-machine", "q35,accel=tcg"),
            *("-cpu", "max", "-m", "1024", "-nographic", "-nodefaults", "-serial", "stdio"),
            *("-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.gz", "-append"),
            "console=ttyS0 quiet panic=-1 no_timer_check "
            f"axnode.name={self.name} axnode.number={self.number}",
            *(word for drive in drives for word in ("-drive", drive)),
            *("-netdev", f"socket,id=peers,mcast={_GROUP}:{self._network},localaddr=127.0.0.1"),
            *(
                "-device",
                f"virtio-net-pci,netdev=peers,romfile=,mac=52:54:00:97:00:{self.number:02x}",
            ),
            *("-netdev", f"user,id=drive{forwards}"),
            *(
                "-device",
                "virtio-net-pci,netdev=drive,romfile=",
                "-device",
                "virtio-rng-pci",
                "-no-reboot",
            ),
            *(
                word
                for tag, path in shares.items()
                for word in (
                    "-virtfs",
                    f"local,path={path},mount_tag={tag},security_model=none,readonly=on,id={tag}",
                )
            ),
        ]

    def port(self, inside: int) -> int:
        """Return the port of the loopback that leads to one of the machine."""
        return self._ports[inside]

    def wait(self) -> float:
        """Wait until it takes commands; return how long that took, in s."""
        began = time.monotonic()
        while time.monotonic() < began + _READY_S:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                self.run("true", 10)
            except (OSError, RuntimeError):
                time.sleep(0.5)
            else:
                return time.monotonic() - began
        raise RuntimeError(f"{self.name} does not boot: see {self._folder}/{self.name}.log")

    def lines(self, command: str, timeout_s: float = 1800.0) -> Iterator[str]:
        """Yield what a command writes, line by line; raise `RuntimeError` where it fails."""
        with socket.create_connection(("127.0.0.1", self.port(_COMMANDS)), timeout_s) as connection:
            connection.sendall(command.replace("\n", " ").encode() + b"\n")
            last = ""
            with connection.makefile() as answer:
                for line in answer:
                    last = line.strip()
                    if last and not last.startswith("ended "):
                        yield last
        if last != "ended 0":
            raise RuntimeError(f"{self.name}: {command}: {last or 'no answer'}")

    def run(self, command: str, timeout_s: float = 1800.0) -> str:
        """Run a command to its end; return what it wrote."""
        return "\n".join(self.lines(command, timeout_s))

    def python(self, module: str, *arguments: object) -> str:
        """Return the command that runs a module of the sources."""
        words = " ".join(shlex.quote(str(word)) for word in arguments)
        return (
            "cd /sources && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/sources:/packages "
            f"exec python3 -m {module} {words}"
        )

    def kill(self) -> None:
        """Cut its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def machines(folder: Path) -> Iterator[tuple[Machine, Machine, Machine]]:
    """Run server, receiver and worker; the export is a new, empty disk."""
    disk = folder / "export.img"
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(3 << 30)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", disk], check=True)
    network = free_port()
    server, receiver, worker = (Machine(folder, name, network) for name in NAMES)
    try:
        for machine in (server, receiver, worker):
            machine.start()
        for machine in (server, receiver, worker):
            machine.wait()
        yield server, receiver, worker
    finally:
        for machine in (server, receiver, worker):
            machine.kill()


def mount(options: str, *clients: Machine) -> None:
    """Mount the export anew on clients, whose caches are empty then."""
    source = f"10.97.0.1:/{'export' if 'vers=3' in options else ''}"
    # over a mount that is still busy the old options would go on
    tries = "for i in $(seq 100)"
    gone = f"{tries}; do mountpoint -q {SHARED} || break; umount {SHARED} || sleep 0.2; done"
    for client in clients:
        client.run(
            f"mkdir -p {SHARED}; ({gone}) 2>/dev/null; ! mountpoint -q {SHARED} && "
            f"mount -t nfs -o {options} {source} {SHARED}"
        )
