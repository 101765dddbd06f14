"""OHIF in a headless browser, and scripts for Node: what tests of viewers need.

`tests/viewer/prepare.sh` fetches the JavaScript side into `build/viewer` once; `make test` runs it.
"""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.peers import Orthanc, system_tool

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(__file__).parent / "viewer"
PREPARED = ROOT / "build" / "viewer"
_PATIENCE_S = 120


def prepared() -> Path:
    """Return the folder with the npm packages and the scripts; skip where it was not prepared."""
    pins = (SCRIPTS / "package.json").read_bytes() + (SCRIPTS / "package-lock.json").read_bytes()
    key = hashlib.sha256(pins).hexdigest()[:12]
    if not (PREPARED / f".ready-{key}").exists():
        pytest.skip("build/viewer is not prepared: run bash tests/viewer/prepare.sh")
    # a module of JavaScript finds its packages beside itself only
    for script in [*SCRIPTS.glob("*.mjs"), SCRIPTS / "app-config.js"]:
        shutil.copy(script, PREPARED)
    return PREPARED


def run_script(name: str, *arguments: object) -> Any:
    """Run a script of `tests/viewer` in Node; what it prints is parsed as JSON."""
    done = subprocess.run(
        [system_tool("node"), name, *map(str, arguments)],
        cwd=prepared(),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Shown:
    """What the viewer's pane shows, once it has come to rest."""

    picture: NDArray[np.uint8]  # (H, W, 3) RGB, the pane as a reader sees it
    affine: NDArray[np.float64]  # (2, 3): column, row of the image, and 1, to x, y of the pane
    frame: int  # 1-based, of the stack
    frames: int  # in the stack

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) columns and rows of the image to x and y of the pane.

        The centre of the image's first pixel is 0.5, as in PS3.3 C.18.6.
        """
        return points @ self.affine[:, :2].T + self.affine[:, 2]

    def warped(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane of the image, (rows, columns), as it lies in the pane; zero around it."""
        height, width = self.picture.shape[:2]
        y, x = np.mgrid[:height, :width] + 0.5
        inverse = np.linalg.inv(self.affine[:, :2])
        at = (np.stack([x, y], axis=-1) - self.affine[:, 2]) @ inverse.T
        column, row = np.floor(at).astype(int).transpose(2, 0, 1)
        inside = (column >= 0) & (column < plane.shape[1]) & (row >= 0) & (row < plane.shape[0])
        out = np.zeros((height, width), plane.dtype)
        out[inside] = plane[row[inside], column[inside]]
        return out


class Viewer:
    """OHIF on an Orthanc's DICOMweb: `with Viewer(pacs) as viewer:`."""

    def __init__(self, pacs: Orthanc) -> None:
        self._pacs = pacs

    def __enter__(self) -> Self:
        folder = prepared()
        chromium = system_tool("chromium")
        self._process = subprocess.Popen(
            [
                *(system_tool("node"), "viewer.mjs", folder / "ohif", folder / "app-config.js"),
                *(self._pacs.url, chromium),
            ],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def call(self, name: str, **argument: object) -> Any:
        """Call a function of `page.mjs`; an error there fails the test with its words."""
        assert self._process.stdin
        assert self._process.stdout
        watchdog = threading.Timer(_PATIENCE_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps({"call": name, "with": argument}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the browser's driver ended during {name}"
        answer = json.loads(line)
        assert "error" not in answer, json.dumps(answer, indent=1)
        return answer["result"]

    def show(self, frame: int | None = None) -> Shown:
        """Go to a frame (1-based) of the open stack, or stay; wait until the pane is at rest."""
        told = self.call("show", frame=frame)
        return Shown(
            picture=_decoded(told["picture"]),
            affine=np.array(told["affine"]).reshape(2, 3),
            frame=told["frame"],
            frames=told["frames"],
        )

    def words(self) -> str:
        """Return the words of the whole window."""
        return str(self.call("look")["text"])

    def window(self) -> NDArray[np.uint8]:
        """Return the whole window as (H, W, 3) RGB."""
        return _decoded(self.call("look")["picture"])


def _decoded(png: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
