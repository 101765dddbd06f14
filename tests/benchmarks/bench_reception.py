"""The acceptor alone: this node's, plain and with TLS, and pynetdicom's own, in one run.

    python -m tests.benchmarks.bench_reception [--rounds 5] [--json FILE]

The servers run in a process of their own, write the raw bytes as they come and make them durable
(fsync of file and folder, rename) before they answer 0x0000; `bench_ingest` measures the node's
whole reception. DCMTK's storescu pushes an uncompressed instance of 2.4 MB over 1, 4 and 16
associations at once.
"""

import hashlib
import itertools
import logging
import multiprocessing
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from pynetdicom import AE, _config, evt

from dicom_io.acceptor import Acceptor, Peer, Rejection, Sink, StoreRequest
from dicom_io.part10 import header
from dicom_io.tls import TlsFiles, server_context
from tests import builders_wire as wire
from tests.benchmarks.table import Figure, finish
from tests.certificates import Site, a_site
from tests.peers import system_tool

ROWS, COLUMNS, SAMPLES = 1000, 800, 3
IMAGES = 64  # in one push
ASSOCIATIONS = (1, 4, 16)
_NUMBERS = itertools.count()


class FileSink:
    """Writes as the spool does: a temporary file, fsync, rename by hash, fsync of the folder."""

    def __init__(self, folder: Path, request: StoreRequest) -> None:
        self._folder = folder
        self._path = folder / f"{next(_NUMBERS)}.part"
        self._stream = self._path.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        uids = (request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid)
        self._stream.write(header(*uids))

    def write(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)
        self._stream.write(data)

    def commit(self) -> int:
        """Make the file durable."""
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._path.rename(self._folder / f"{self._hash.hexdigest()}{next(_NUMBERS)}")
        _sync_folder(self._folder)
        return 0x0000

    def discard(self) -> None:
        """Remove the file."""
        self._stream.close()
        self._path.unlink()


class Node:
    """Accepts everybody and writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def associate(self, peer: Peer) -> Rejection | None:
        """Accept."""
        return None

    def store(self, request: StoreRequest) -> Sink:
        """Write to a file."""
        return FileSink(self._folder, request)

    def context_rejected(
        self, peer: Peer, abstract_syntax: str, transfer_syntaxes: tuple[str, ...], reason: str
    ) -> None:
        """Ignore."""

    def association_failed(
        self, address: str, reason: str, *, abuse: bool, calling_ae: str = ""
    ) -> None:
        """Say so: a benchmark with failures measures something else."""
        print("association failed:", reason)

    def event_report(
        self, peer: Peer, event_type_id: int, dataset: bytes, transfer_syntax_uid: str
    ) -> int:
        """Nothing reports here."""
        return 0x0110


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def serve_ours(folder: Path, pipe: Connection, files: TlsFiles | None) -> None:
    """Run this node's acceptor until the pipe says stop."""
    tls = server_context(files) if files else None
    acceptor = Acceptor(Node(folder), {wire.US_IMAGE: (wire.EXPLICIT,)}, tls=tls)
    acceptor.start()
    pipe.send(acceptor.port)
    _finish(pipe, lambda: acceptor.stop(5))


def serve_pynetdicom(folder: Path, pipe: Connection, files: None) -> None:
    """Run pynetdicom's acceptor, in its fastest form, until the pipe says stop."""
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(folder)  # its temporary files belong on the spool's file system

    def store(event: evt.Event) -> int:
        sha = hashlib.sha256()
        with event.dataset_path.open("rb") as stream:
            while block := stream.read(1 << 17):
                sha.update(block)
            os.fsync(stream.fileno())
        # the temporary file goes after this handler: a second name keeps it
        os.link(event.dataset_path, folder / f"{sha.hexdigest()}{next(_NUMBERS)}")
        _sync_folder(folder)
        return 0x0000

    ae = AE("AXNODE")
    ae.maximum_pdu_size = 131072
    ae.maximum_associations = 64
    ae.add_supported_context(wire.US_IMAGE, [wire.EXPLICIT])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    pipe.send(server.server_address[1])
    _finish(pipe, server.shutdown)


def _finish(pipe: Connection, stop: Callable[[], None]) -> None:
    before = _cpu_s()  # of the imports
    pipe.recv()
    stop()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((_cpu_s() - before, memory))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


PLAIN, SECURED, OTHER = "axnode", "axnode TLS", "pynetdicom"
SERVERS = {PLAIN: serve_ours, SECURED: serve_ours, OTHER: serve_pynetdicom}


@dataclass(frozen=True)
class Round:
    """One push of all images to one server."""

    rate: float  # MB a second, until the last association was released
    cpu: float  # seconds of the server's processor time per GB
    memory: float  # MB, the server's highest resident set


def push(server: str, image: Path, associations: int, site: Site) -> Round:
    """Push the image so often in all over so many associations at once."""
    secured = server == SECURED
    files = site.node.trusting(site.ca) if secured else None
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    each = IMAGES // associations
    with tempfile.TemporaryDirectory(prefix="reception-") as name:
        process = context.Process(target=SERVERS[server], args=(Path(name), far, files))
        process.start()
        port = near.recv()
        command = [system_tool("storescu"), "--quiet", "-R", "-xe", "--max-pdu", "131072"]
        if secured:
            command += ["+tls", str(site.us1.key), str(site.us1.certificate), "+cf", str(site.ca)]
        command += ["--repeat", str(each), "127.0.0.1", str(port), str(image)]
        started = time.perf_counter()
        senders = [subprocess.Popen(command) for _ in range(associations)]
        codes = [sender.wait() for sender in senders]
        seconds = time.perf_counter() - started
        near.send("stop")
        cpu, memory = near.recv()
        process.join()
        kept = [p for p in Path(name).iterdir() if len(p.name) >= 64]
    if any(codes) or len(kept) != each * associations:
        raise SystemExit(f"{server}: {len(kept)} of {each * associations} kept, codes {codes}")
    size = each * associations * image.stat().st_size / 1e6
    return Round(size / seconds, cpu / size * 1e3, memory)


def make_image(folder: Path) -> Path:
    """Write an RGB image of 2.4 MB."""
    pixels = os.urandom(ROWS * COLUMNS * SAMPLES)
    data = wire.dataset(pixels=pixels)
    path = folder / "image.dcm"
    path.write_bytes(header(wire.US_IMAGE, "1.2.3.4", wire.EXPLICIT) + data)
    return path


def figures(associations: int, rounds: dict[str, list[Round]]) -> Iterator[Figure]:
    """Yield the lines of one number of associations."""
    for other in (SECURED, OTHER):
        for key, what, unit in (
            ("rate", "Acceptor alone", "MB/s"),
            ("cpu", "Acceptor's processor time", "s/GB"),
            ("memory", "Acceptor's highest memory", "MB"),
        ):
            ours, theirs = (tuple(getattr(r, key) for r in rounds[s]) for s in (PLAIN, other))
            yield Figure(f"{what}, {associations} at once", unit, ours, other, theirs)


def measure(rounds: int) -> list[Figure]:
    """Measure every server in alternating rounds, so that a noisy neighbour meets all."""
    logging.disable(logging.CRITICAL)
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        image, site = make_image(Path(name)), a_site(Path(name) / "site")
        for associations in ASSOCIATIONS:
            results: dict[str, list[Round]] = {server: [] for server in SERVERS}
            for _ in range(rounds):
                for server, known in results.items():
                    known.append(push(server, image, associations, site))
            found += figures(associations, results)
    return found


if __name__ == "__main__":
    finish(__doc__, measure, 5)
