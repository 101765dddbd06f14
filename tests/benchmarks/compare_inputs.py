"""The inputs of `compare_writers`: studies, what is to be written of them, and the peers' copy."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from daemon.pictures import key_frames
from dicom_io.findings import NodeFinding, StudyFindings
from tests.builders_objects import SourceSpec, findings, node, source, uid, view, write

STILL = SourceSpec(rows=300, columns=400)
REAL = Path("us_dicom/philips_epiq_jpegll_mono.dcm")
Masks = dict[tuple[str, int, int], NDArray[np.bool_]]  # by image, frame and node


@dataclass(frozen=True)
class Case:
    """One input: a study, and what is to be written of it."""

    title: str
    folder: Path
    paths: list[Path]
    found: StudyFindings

    @property
    def images(self) -> list[Dataset]:
        """The headers of its images."""
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in self.paths]

    @property
    def masks(self) -> Masks:
        """What was found, as whole planes."""
        sizes = {str(ds.SOPInstanceUID): (ds.Rows, ds.Columns) for ds in self.images}
        planes: Masks = {}
        for found in self.found.nodes:
            for v in found.views:
                plane = np.zeros(sizes[v.sop_instance_uid], dtype=bool)
                height, width = v.mask.shape
                plane[v.row : v.row + height, v.column : v.column + width] = v.mask
                planes[v.sop_instance_uid, v.frame_number, found.number] = plane
        return planes


def place(ds: Dataset, number: int, *frames: int, calibrated: bool = True) -> NodeFinding:
    """Return a node of 80 pixels on frames of an image, each node at a place of its own."""
    views = [view(ds, frame, row=20 + 90 * (number - 1), column=150, size=80) for frame in frames]
    return node(number, *views, calibrated=calibrated)


def still(folder: Path) -> Case:
    """Return one RGB still with a scale, two nodes on it."""
    (ds,), paths = _write(folder, STILL)
    nodes = [place(ds, 1, 1), place(ds, 2, 1)]
    return Case("RGB still, calibrated, two nodes", folder, paths, findings([ds], nodes))


def series(folder: Path) -> Case:
    """Return three stills of one series: nodes on the first and the last."""
    sets, paths = _write(folder, *(replace(STILL, number=n) for n in (1, 2, 3)))
    nodes = [place(sets[0], 1, 1), place(sets[2], 2, 1)]
    return Case("Series of three stills", folder, paths, findings(sets, nodes))


def cine(folder: Path) -> Case:
    """Return eight frames, one node on three of them and another on one."""
    (ds,), paths = _write(folder, replace(STILL, frames=8))
    nodes = [place(ds, 1, 3, 4, 5), place(ds, 2, 5)]
    return Case("Cine, nodes on 3 of 8 frames", folder, paths, findings([ds], nodes))


def palette(folder: Path) -> Case:
    """Return a palette still without calibration and frame of reference."""
    spec = replace(STILL, photometric="PALETTE COLOR", calibrated=False)
    (ds,), paths = _write(folder, spec)
    found = findings([ds], [place(ds, 1, 1, calibrated=False)], calibrated=False)
    return Case("PALETTE COLOR still, uncalibrated", folder, paths, found)


def real(folder: Path, path: Path) -> Case:
    """Return a scanner's own file, JPEG lossless."""
    ds = pydicom.dcmread(path)
    (folder / "images").mkdir(parents=True)
    copy = folder / "images" / "0.dcm"
    copy.write_bytes(path.read_bytes())
    found = findings([ds], [place(ds, 1, 1, calibrated=False)], calibrated=False)
    return Case("Philips EPIQ still, JPEG lossless", folder, [copy], found)


def nothing(folder: Path) -> Case:
    """Return the first input where nothing was found."""
    (ds,), paths = _write(folder, STILL)
    return Case("RGB still, no node", folder, paths, findings([ds]))


def positioned(folder: Path) -> Case:
    """Return the stills once more, placed in the patient: seldom in ultrasound, kind to volumes."""
    sets, paths = _write(
        folder, *(replace(STILL, number=n, frame_of_reference=True) for n in (1, 2, 3))
    )
    for ds, path in zip(sets, paths, strict=True):
        ds.ImagePositionPatient = [0, 0, ds.InstanceNumber]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.2, 0.2], 1
        write(ds, path)
    nodes = [place(sets[0], 1, 1), place(sets[2], 2, 1)]
    return Case("The stills with positions in the patient", folder, paths, findings(sets, nodes))


def _write(folder: Path, *specs: SourceSpec) -> tuple[list[Dataset], list[Path]]:
    images = folder / "images"
    images.mkdir(parents=True)
    sets = [source(uid(folder.name, 0), spec) for spec in specs]
    return sets, [write(ds, images / f"{n}.dcm") for n, ds in enumerate(sets)]


def hand_over(case: Case) -> None:
    """Write what the peers need: masks, and the findings in plain values."""
    masks = case.masks
    np.savez(
        case.folder / "masks.npz", **{f"m{n}": plane for n, plane in enumerate(masks.values())}
    )
    keys = key_frames(case.found.nodes)
    answer = {
        "masks": [
            {"image": image, "frame": frame, "node": number, "array": f"m{n}"}
            for n, (image, frame, number) in enumerate(masks)
        ],
        "nodes": [{"label": n.label, "tracking_uid": n.tracking_uid} for n in case.found.nodes],
        "text": "; ".join(map(_words, case.found.nodes)) or "No lymph node was segmented",
        "key": keys[0][0] if keys else None,
        "circles": [{"cx": 190, "cy": 58, "r": 42, "label": n.label} for n in case.found.nodes[:1]],
    }
    (case.folder / "answer.json").write_text(json.dumps(answer))


def _words(found: NodeFinding) -> str:
    size = found.measurements
    unit = "mm" if size.calibrated else "px"
    return f"{found.label}: {size.long_axis:.1f} x {size.short_axis:.1f} {unit}"


def cases(folder: Path, data: Path | None) -> list[Case]:
    """Write every input; the scanner's own file only where the test data are."""
    makers = [still, series, cine, palette]
    if data and (data / REAL).is_file():
        makers.append(lambda place: real(place, data / REAL))
    made = [make(folder / f"case{n}") for n, make in enumerate([*makers, nothing, positioned], 1)]
    for case in made:
        hand_over(case)
    return made
