"""A study analysed in this process, its results written to a folder: behind ``axnode analyze``."""

from datetime import datetime
from pathlib import Path
from typing import Any

from daemon import identity, pictures
from daemon.analyser import Analyser, decode
from daemon.build import build_objects
from daemon.config_results import Results
from daemon.reading import reader
from daemon.summary import summarise
from dicom_io import render

_CINE_FRAMES = 30
_NODE_ID = "standalone"


class Standalone:
    """A bundle without a service around it.

    Parameters
    ----------
    bundle
        Folder of the bundle; None: the one that ships.
    device
        As in the configuration.
    """

    def __init__(self, bundle: Path | None, device: str) -> None:
        self._analyser = Analyser.load(bundle, device)
        self._reader = reader(
            self._analyser.bundle,
            aggregation=None,
            operating_point=None,
            ae_title="AXNODE",
            node_id=_NODE_ID,
        )

    def analyse(self, study_uid: str, inputs: list[tuple[str, Path]], out: Path) -> dict[str, Any]:
        """Write the objects, the report as HTML and text, and the pictures; return the summary."""
        analysis = self._analyser.read(
            inputs, cine_frames=_CINE_FRAMES, tracking_root=f"{_NODE_ID}/{study_uid}"
        )
        findings = self._reader.findings(study_uid, 1, analysis)
        now = datetime.now().astimezone()
        built = build_objects(
            findings,
            [path for _, path in inputs],
            (),
            Results(secondary_capture="off"),
            lambda role, ordinal: identity.uid(
                study_uid, self._analyser.bundle.digest, now.isoformat(), role, ordinal
            ),
            now,
        )
        out.mkdir(parents=True, exist_ok=True)
        files = []
        for item in built:
            path = out / f"{item.role}-{item.ordinal + 1}.dcm"
            path.write_bytes(item.data)
            files.append(str(path.relative_to(out.parent)))
            if item.role == "sr":
                (out / "report.html").write_text(render.html(item.data), encoding="utf-8")
                (out / "report.txt").write_text(render.text(item.data), encoding="utf-8")
        frames = decode(pictures.to_save(analysis), [path for _, path in inputs])
        drawn = pictures.save(findings, frames, out)
        return {
            "study_uid": study_uid,
            **summarise(findings),
            "objects": files,
            "pictures": [str(path.relative_to(out.parent)) for path in drawn],
        }
