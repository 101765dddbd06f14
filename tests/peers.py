"""Real DICOM peers for the tests: Orthanc and DCMTK, started on loopback and stopped by the test.

Everything lives in a temporary folder and on ports that were free a moment ago.
"""

import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

START_S = 30.0
_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_PYTHON = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
_FORWARD_BACK = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  SendToModality(instanceId, '{name}')
end
"""

_STORESCP_CONFIG = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LocalEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Classes]
{}
[[Profiles]]
[Profile]
PresentationContexts = Classes
"""

_given: set[int] = set()  # ports handed out: a stopped peer may want its own again


def free_port() -> int:
    """Return a loopback port that nobody has, and that is handed out once.

    It lies below the ports that the kernel gives to outgoing connections.
    """
    for _ in range(1000):
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in _given and probe.connect_ex(("127.0.0.1", port)):
                _given.add(port)
                return port
    raise AssertionError("no free loopback port was found")


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0, what: str = "") -> None:
    """Poll `condition` until it holds; fail the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain for: {what or condition}")
        time.sleep(0.02)


def system_tool(name: str) -> str:
    """Path of a Debian tool; the virtual environment's scripts of the same name are passed over."""
    folders = ("/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/homebrew/bin")
    found = shutil.which(name, path=":".join(folders))
    if found is None:
        pytest.skip(f"{name} is not installed (make debian)")
    return found


def dcmtk(
    tool: str, *args: object, timeout_s: float = 60, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK command such as `storescu`; with `check`, a failure fails the test."""
    done = subprocess.run(
        [system_tool(tool), *map(str, args)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{tool} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def accepts_tcp(port: int) -> bool:
    """Say whether something listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Process:
    """A child process whose output goes to a file and is shown when the start fails."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path) -> None:
        self._log = log
        with log.open("ab") as stream:
            self._popen = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, cwd=cwd
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until it answers; fail the test where it does not, with what it printed."""
        deadline = time.monotonic() + START_S
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"a peer did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.running:
            self._popen.terminate()
        try:
            self._popen.wait(15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()


@dataclass
class Orthanc:
    """An Orthanc PACS: `with Orthanc(modalities={"node": ("AXNODE", "127.0.0.1", port)}) as pacs:`.

    `stop()` and `start()` inside the block make an outage; ports and storage stay the same.
    """

    ae_title: str = "ORTHANC"
    modalities: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)
    forward_to: str | None = None  # modality name: every stored instance is sent on to it
    dicomweb: bool = False  # load the DICOMweb plugin
    script: Path | None = None  # load the Python plugin with this script
    config: Mapping[str, Any] = field(default_factory=dict)  # Orthanc settings that override ours
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    folder: Path = field(init=False)

    def __enter__(self) -> Self:
        self._binary = system_tool("Orthanc")
        self.folder = Path(tempfile.mkdtemp(prefix="orthanc-"))
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._clean_up()

    def _clean_up(self) -> None:
        self._http.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Base address of the REST interface."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def log(self) -> str:
        """What Orthanc has printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start, or start again after `stop()`, and wait until REST and DICOM answer."""
        (self.folder / "orthanc.json").write_text(json.dumps(self._configuration()))
        self._process = Process([self._binary, "orthanc.json"], self.folder / "log", self.folder)
        self._process.wait_ready(self._ready)

    def stop(self) -> None:
        """Stop orderly; what was stored is kept for the next `start()`."""
        self._process.stop()

    def kill(self) -> None:
        """Kill as a power cut would."""
        self._process.kill()

    def _ready(self) -> bool:
        try:
            return self._http.get("/system").status_code == 200
        except httpx.TransportError:
            return False

    def _configuration(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "Name": "test PACS",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.ae_title,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {name: list(to) for name, to in self.modalities.items()},
            "DicomScuTimeout": 20,
            "StableAge": 1,
            "Plugins": [str(_DICOMWEB)] if self.dicomweb else [],
        }
        if self.script is not None:
            settings["Plugins"].append(str(_PYTHON))
            settings["PythonScript"] = str(self.script)
        if self.forward_to is not None:
            script = self.folder / "forward.lua"
            script.write_text(_FORWARD_BACK.format(name=self.forward_to))
            settings["LuaScripts"] = [str(script)]
        return settings | dict(self.config)

    def get(self, path: str) -> Any:
        """GET a REST path; the answer is parsed JSON."""
        return self._http.get(path).raise_for_status().json()

    def get_bytes(self, path: str) -> bytes:
        """GET a REST path; the answer's bytes as they are."""
        return self._http.get(path).raise_for_status().content

    def post(self, path: str, body: Any) -> Any:
        """POST JSON, or bytes as they are; the answer is parsed JSON."""
        if isinstance(body, bytes):
            answer = self._http.post(path, content=body)
        else:
            answer = self._http.post(path, json=body)
        return answer.raise_for_status().json()

    def put(self, path: str, body: Any) -> None:
        """PUT JSON."""
        self._http.put(path, json=body).raise_for_status()

    def delete(self, path: str) -> None:
        """DELETE a REST path."""
        self._http.delete(path).raise_for_status()

    def upload(self, part10: bytes) -> str:
        """Store a Part 10 file by REST; returns Orthanc's identifier of the instance."""
        return str(self.post("/instances", part10)["ID"])

    def instances(self) -> list[str]:
        """Orthanc's identifiers of all stored instances."""
        return list(self.get("/instances"))

    def tags(self, instance: str) -> dict[str, Any]:
        """Attributes of an instance, keyword to value."""
        return dict(self.get(f"/instances/{instance}/simplified-tags"))

    def download(self, instance: str) -> bytes:
        """Part 10 file of an instance."""
        return self.get_bytes(f"/instances/{instance}/file")

    def download_all(self, folder: Path) -> list[Path]:
        """Write every stored instance below `folder`; returns the files."""
        paths = []
        for instance in self.instances():
            path = folder / f"{instance}.dcm"
            path.write_bytes(self.download(instance))
            paths.append(path)
        return paths

    def add_modality(self, name: str, ae_title: str, port: int, host: str = "127.0.0.1") -> None:
        """Make a peer known after the start."""
        self.put(f"/modalities/{name}", {"AET": ae_title, "Host": host, "Port": port})

    def echo(self, modality: str) -> None:
        """C-ECHO a known modality; raises if it does not answer."""
        self.post(f"/modalities/{modality}/echo", {"Timeout": 10})

    def send(self, modality: str, instances: Sequence[str] | None = None) -> Any:
        """C-STORE instances (all, if none are named) to a known modality, synchronously."""
        chosen = self.instances() if instances is None else list(instances)
        body = {"Resources": chosen, "Synchronous": True, "Timeout": 60}
        return self.post(f"/modalities/{modality}/store", body)


@dataclass
class StoreScp:
    """DCMTK's storescp, writing what it gets into `folder`: `with StoreScp(folder) as scp:`.

    `options` take any of its switches, such as `--abort-during` or `--refuse`.
    """

    folder: Path
    options: Sequence[str] = ()
    ae_title: str = "STORESCP"
    port: int = field(default_factory=free_port)
    only: Sequence[str] = ()  # the SOP classes that it takes, uncompressed; none named: all

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            system_tool("storescp"),
            *("--output-directory", str(self.folder), "--aetitle", self.ae_title),
            # the bytes as they came
            *(*self._accepted(), "--bit-preserving", *self.options),
            str(self.port),
        ]
        self._process = Process(command, self.folder.parent / f"{self.port}.log", self.folder)
        self._process.wait_ready(lambda: accepts_tcp(self.port))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accepted(self) -> list[str]:
        """Return what makes it take every transfer syntax, or only the classes named."""
        if not self.only:
            return ["--accept-all"]
        classes = (
            f"PresentationContext{number} = {uid}\\Uncompressed\n"
            for number, uid in enumerate(self.only, 1)
        )
        config = self.folder.parent / f"{self.port}.cfg"
        config.write_text(_STORESCP_CONFIG.format("".join(classes)))
        return ["--config-file", str(config), "Profile"]

    def stop(self) -> None:
        """Stop receiving."""
        self._process.stop()

    def files(self) -> list[Path]:
        """Return the files received so far."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())


def script(name: str) -> list[str]:
    """Return the command line of a script of this virtual environment, such as `dicom-echo`."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed in this environment (the test extra brings it)")
    return [str(path)]


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into pieces of at most `size`."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
