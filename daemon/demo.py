"""The demonstration: a modality, the node and a PACS on this machine, over loopback DIMSE."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from daemon import config as configuration
from daemon import schema, status
from daemon.errors import InputError, UnavailableError
from daemon.overlay import Outline, draw
from daemon.receiver import ReceivingPacs
from daemon.service import Service
from dicom_io import part10, render, scu
from dicom_io.frames import Image
from dicom_io.scu import Outcome, Remote
from dicom_io.seg_read import SegMask, masks
from model.measure import outline_of

_AT_REST = ("delivered", "not_evaluable", "ignored", "parked")
_PATIENCE_S = 600.0
_SEG = "Segmentation Storage"
_SR = "Comprehensive SR Storage"


@dataclass
class Sample:
    """One sample study and what became of it."""

    name: str
    study_uid: str
    files: list[Path]
    state: str = ""
    reason: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    objects: int = 0  # delivered, confirmed by the PACS


def samples(root: Path) -> list[Sample]:
    """Return the sample studies that the manifest below `root` lists."""
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    return [
        Sample(
            study["name"],
            study["study_uid"],
            [root / instance["file"] for instance in study["instances"]],
        )
        for study in manifest["studies"]
    ]


@contextmanager
def loop(out: Path) -> Iterator[tuple[Service, ReceivingPacs]]:
    """Run the PACS and the node, on free ports of this machine."""
    state = out / "node"
    _clear(out)
    pacs = ReceivingPacs(out / "pacs")
    with ExitStack() as ends:
        pacs.start()
        ends.callback(pacs.stop)
        service = Service(_config(state, pacs.port))
        service.start()
        ends.callback(service.stop, 5)
        yield service, pacs


def _config(state: Path, pacs_port: int) -> configuration.Config:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port}
    return configuration.parse(
        {
            "node": {"port": 0, "state_dir": str(state), "disk_floor_gb": 0.2},
            "http": {"port": 0},
            "study": {"quiet_period_s": 0.5, "version_interval_s": 0},
            "destinations": [pacs],
        }
    )


def run(out: Path, root: Path) -> tuple[list[Sample], list[Path]]:
    """Push every sample, wait for the results; return the studies and the pictures written."""
    studies = samples(root)
    with loop(out) as (service, pacs):
        node = Remote("node", "AXNODE", "127.0.0.1", service.port, "MODALITY")
        for number, study in enumerate(studies, 1):
            _progress(f"pushing study {number} of {len(studies)}")
            refused = [r for r in scu.store(node, study.files) if r.outcome is not Outcome.STORED]
            if refused:
                raise UnavailableError(f"the node did not take {study.name}: {refused[0].detail}")
        _wait(service, studies)
        segs = [mask for path in pacs.files(_SEG) for mask in masks(path)]
        for study in studies:
            _look_up(service, study)
        for number, path in enumerate(pacs.files(_SR), 1):
            data = path.read_bytes()
            reports = out / "reports"
            reports.mkdir(exist_ok=True)
            (reports / f"{number}.html").write_text(render.html(data), encoding="utf-8")
            (reports / f"{number}.txt").write_text(render.text(data), encoding="utf-8")
    return studies, _pictures(out / "pictures", studies, segs)


_MARK = ".axnode-demo"
_MADE = ("node", "pacs", "pictures", "reports")


def _clear(out: Path) -> None:
    """Delete what an earlier demonstration left in `out`, and nothing else."""
    if any((out / name).exists() for name in _MADE) and not (out / _MARK).exists():
        raise InputError(f"{out} holds folders that no demonstration made: choose another --out")
    for name in _MADE:
        shutil.rmtree(out / name, ignore_errors=True)
    (out / _MARK).touch()


def _wait(service: Service, studies: list[Sample]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with service.database.read() as connection:
            found = {item["study_uid"]: item for item in status.studies(connection)}
        resting = [s for s in studies if found.get(s.study_uid, {}).get("state") in _AT_REST]
        loading = "; the model is loading" if service.health.unready() else ""
        _progress(f"{len(resting)} of {len(studies)} studies finished{loading}")
        if len(resting) == len(studies):
            _progress("")
            return
        if service.health.model_failed:
            raise UnavailableError(service.health.unready()[0])
        time.sleep(0.2)
    raise UnavailableError(f"the studies were not finished within {_PATIENCE_S:.0f} s")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text and text != _progress.__dict__.get("last"):
        _progress.__dict__["last"] = text
        print(text, file=sys.stderr, flush=True)


def _look_up(service: Service, study: Sample) -> None:
    analyses, objects, deliveries = schema.analyses, schema.objects, schema.deliveries
    with service.database.read() as connection:
        row = connection.execute(
            select(schema.studies).where(schema.studies.c.study_uid == study.study_uid)
        ).one()
        study.state, study.reason = row.state, row.reason
        summary = connection.execute(
            select(analyses.c.summary)
            .where(analyses.c.study_id == row.id)
            .order_by(analyses.c.version.desc())
        ).scalar()
        study.summary = json.loads(summary) if summary else {}
        study.objects = connection.execute(
            select(func.count())
            .select_from(deliveries)
            .join(objects, objects.c.id == deliveries.c.object_id)
            .join(analyses, analyses.c.id == objects.c.analysis_id)
            .where(analyses.c.study_id == row.id, deliveries.c.state == "delivered")
        ).scalar_one()


def _pictures(folder: Path, studies: list[Sample], segs: list[SegMask]) -> list[Path]:
    """Draw what the PACS received over what the modality sent."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for study in studies:
        images = study.summary.get("images", [])
        files = {part10.split(path)[0].sop_instance_uid: path for path in study.files}
        for number, entry in enumerate(images, 1):
            uid = entry["sop_instance_uid"]
            own = [mask for mask in segs if mask.sop_instance_uid == uid]
            target = folder / f"{study.name}-{number}.png"
            _picture(files[uid], own, study.summary).save(target)
            written.append(target)
    return written


def _picture(path: Path, segs: list[SegMask], summary: dict[str, Any]) -> Any:
    source = Image.open(path)
    largest = max(segs, key=lambda seg: int(seg.mask.sum()), default=None)
    shown = largest.frame_number if largest else source.frame_count // 2 + 1
    scores = {node["label"]: node["score"] for node in summary["nodes"]}
    outlines = [
        Outline(
            outline_of(seg.mask), int(seg.label.split()[-1]), f"{seg.label} {scores[seg.label]:.2f}"
        )
        for seg in segs
        if seg.frame_number == shown
    ]
    which = f"Frame {shown} of {source.frame_count}. " if source.frame_count > 1 else ""
    found = "" if outlines else "None segmented. "
    return draw(
        source.frame(shown - 1),
        outlines,
        f"{which}{found}Contours from the SEG in the PACS. DEMONSTRATION, synthetic image, "
        "not for clinical use.",
    )
