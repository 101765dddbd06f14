"""``axnode evaluate --bundle DIR --data DIR --out DIR``: how good a bundle is on a dataset."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.readers import is_picture, open_panels, readers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from daemon.panels import Panel
    from model.runtime import Predictor
    from model.training.evaluation import Look
    from model.training.index import Row


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with index.csv")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for metrics.json, report.html and figures"
    )
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="subgroups by a column of index.csv, or by a limit, as in 'size_mm<10'; repeatable",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate; BundleError and TrainingError say what is wrong with bundle and dataset."""
    from model.training.assess import assess

    assess(
        args.bundle,
        args.data,
        args.out,
        by=args.by,
        readers=readers(),
        look=look,
        device=args.device,
        say=lambda line: print(line, flush=True),
    )
    return 0


def look(predictor: "Predictor", row: "Row", frame: "NDArray[np.uint8]") -> "Look":
    """Show a frame to the model: a DICOM frame as the service does, a picture as training does.

    Where the index gives a tissue box, its word comes before the file's.
    """
    from dicom_io.errors import FrameError
    from model.errors import TrainingError
    from model.training.evaluation import look_at_picture

    if row.region is not None or is_picture(row.image):
        return look_at_picture(predictor, row, frame)
    try:
        return _look_as_service(predictor, row.image, (row.frame or 1) - 1)
    except FrameError as error:
        raise TrainingError(f"{row.image.name} of the dataset cannot be used: {error}") from error


def _look_as_service(predictor: "Predictor", path: Path, index: int) -> "Look":
    """Read the frame at `index` (from 0) by the code of the service: panels, colour, network."""
    from daemon.frame_reader import FrameReader
    from dicom_io.findings import Reason
    from model.training.evaluation import Look

    image, panels = open_panels(path)
    if isinstance(panels, Reason):
        return Look((), (), refused=panels.value)
    reader = FrameReader(predictor, predictor.bundle.card.input)
    shown = reader.read(image, [index], panels)
    reader.finish()
    reading = shown()
    if not reading.frames:
        return Look((), (), refused=reading.exclusions[0].reason.value)
    nodes = [seen.node for panel in reading.seen for seen in panel[0]]
    return Look(nodes, [panel.box for panel in panels], _spacing(panels))


def _spacing(panels: "Sequence[Panel]") -> tuple[float, float] | None:
    """Return rows' and columns' distance in mm where all panels share it."""
    known = {panel.calibration for panel in panels}
    first = panels[0].calibration
    return (first.row_mm, first.column_mm) if first and len(known) == 1 else None
