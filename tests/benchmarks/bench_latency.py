"""From the last C-STORE response to the report's arrival in the PACS, beside the bare forward pass.

One run prints both, because this figure means little on a machine whose speed is unknown: the
forward time of the model on the study's frames, the time from the last C-STORE response to the
report's arrival in the PACS less the quiet period, and their ratio.

    python -m tests.benchmarks.bench_latency [--repeats N] [--out FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

import sample_dicoms
from daemon.receiver import ReceivingPacs
from dicom_io.acceptor import StoreRequest
from dicom_io.frames import Image
from dicom_io.regions import b_mode_boxes, regions
from model.bundle_file import SHIPPED, Bundle
from model.preprocess import Prepared, prepare
from model.runtime import Predictor
from tests.node import Node, destination

QUIET_S = 1.0
STUDY = ("5-both-sides-1.dcm", "5-both-sides-2.dcm", "5-both-sides-3.dcm", "1-benign-stills-1.dcm")
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


class TimingPacs(ReceivingPacs):
    """A PACS that notes when a report arrives."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.report_at: list[float] = []

    def keep(self, request: StoreRequest, data: bytes) -> None:
        """File an instance; note the time of a report."""
        super().keep(request, data)
        if request.sop_class_uid == COMPREHENSIVE_SR:
            self.report_at.append(time.monotonic())


def fresh_study(folder: Path) -> list[Path]:
    """Write four sample stills as one new study."""
    folder.mkdir()
    study, series, paths = generate_uid(), generate_uid(), []
    for name in STUDY:
        ds = pydicom.dcmread(Path(sample_dicoms.__file__).parent / name)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.PatientID = "BENCH"
        paths.append(folder / name)
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def prepared(paths: list[Path], bundle: Bundle) -> list[Prepared]:
    """Return the network's input for the study's frames."""
    inputs = []
    for path in paths:
        image = Image.open(path)
        declared = b_mode_boxes(regions(image.header, image.rows, image.columns))
        box = declared[0].box if declared else None
        inputs.append(prepare(image.frame(0), box, bundle.card.input))
    return inputs


def forward_s(predictor: Predictor, inputs: list[Prepared], repeats: int) -> list[float]:
    """Time the bare prediction of the study's frames."""
    predictor.predict(inputs)  # warm
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        predictor.predict(inputs)
        times.append(time.monotonic() - start)
    return times


def latency_s(node: Node, pacs: TimingPacs, paths: list[Path]) -> float:
    """Push a study; return the time to its report, less the quiet period."""
    arrived = len(pacs.report_at)
    node.push(paths)
    pushed = time.monotonic()
    while len(pacs.report_at) == arrived:
        time.sleep(0.002)
    return pacs.report_at[-1] - pushed - QUIET_S


def measure(repeats: int) -> dict[str, Any]:
    """Run the benchmark; return medians and spreads in seconds."""
    bundle = Bundle.load(SHIPPED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies = [fresh_study(folder / f"study-{i}") for i in range(repeats + 1)]
        predictor = Predictor(bundle, "cpu")
        forward = forward_s(predictor, prepared(studies[0], bundle), repeats)
        pacs = TimingPacs(folder / "pacs")
        pacs.start()
        with Node(
            folder / "node",
            destinations=[destination("pacs", "PACS", pacs.port)],
            study={"quiet_period_s": QUIET_S},
        ) as node:
            latency_s(node, pacs, studies[0])  # warm
            latency = [latency_s(node, pacs, paths) for paths in studies[1:]]
        pacs.stop()
    return {
        "frames": len(STUDY),
        "forward_s": _summary(forward),
        "latency_s": _summary(latency),
        "ratio": statistics.median(latency) / statistics.median(forward),
    }


def _summary(times: list[float]) -> dict[str, float]:
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


def main() -> None:
    """Print the table; write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    print(f"{result['frames']}-frame study, {arguments.repeats} runs      median     min     max")
    for key, words in (
        ("forward_s", "forward pass of its frames"),
        ("latency_s", "last C-STORE response to report"),
    ):
        times = result[key]
        print(f"{words:33} {times['median']:7.3f} {times['min']:7.3f} {times['max']:7.3f} s")
    print(f"{'ratio of the medians':33} {result['ratio']:7.2f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
