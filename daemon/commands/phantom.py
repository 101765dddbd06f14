"""``axnode phantom``: synthetic cohorts for training, and the sample studies."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_io.synthetic import SyntheticImage
    from model.training.phantom import PhantomImage
    from model.training.phantom_samples import SampleInstance, SampleStudy


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--patients",
        type=_count,
        metavar="N",
        help="size of the cohort (default: as in the paper, 266)",
    )
    parser.add_argument("--seed", type=_seed, default=2026, metavar="S", help="default: 2026")
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="write DICOM: the sample studies, or with --patients a cohort of DICOM images",
    )
    parser.add_argument(
        "--preset",
        choices=("paper", "separable"),
        default="paper",
        help="how strongly features and pathology hang together (default: %(default)s)",
    )
    parser.add_argument("--style", metavar="NAME", help="one scanner style instead of all")
    parser.add_argument(
        "--images", type=_count, default=1, metavar="N", help="pictures per patient (default: 1)"
    )
    parser.add_argument(
        "--normals",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="further patients without a node, as a share of N (default: 0)",
    )
    parser.add_argument(
        "--tissue",
        type=Path,
        metavar="DATASET",
        help="draw the nodes into the pictures of a dataset, --images times into each",
    )


def run(args: argparse.Namespace) -> int:
    """Write what was asked for and print what it is."""
    from daemon.errors import InputError, UnavailableError
    from model.errors import ModelError

    try:
        if args.tissue:
            _grafts(args)
        elif args.dicom and args.patients is None:
            print(write_samples(args.out, args.seed, _progress))
        else:
            _cohort(args)
    except ModelError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise UnavailableError(f"{args.out} cannot be written: {error.strerror}") from error
    return 0


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 99_999:
        raise argparse.ArgumentTypeError("must be from 1 to 99999")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total}", end=end, file=sys.stderr, flush=True)


def _cohort(args: argparse.Namespace) -> None:
    from model.training.phantom import save_png, write_cohort

    summary = write_cohort(
        args.out,
        args.patients,
        args.seed,
        args.preset,
        style=args.style,
        images=args.images,
        normals=args.normals,
        save=_dicom_saver(args.seed) if args.dicom else save_png,
        suffix=".dcm" if args.dicom else ".png",
        progress=_progress,
    )
    print(
        f"{summary.images} images of {summary.patients} patients in {args.out}, "
        f"{summary.positive} with metastasis"
    )
    print(
        f"best achievable AUROC ({args.preset}): {summary.bound_grey:.3f} from the grey image, "
        f"{summary.bound_all:.3f} with blood flow"
    )


def _grafts(args: argparse.Namespace) -> None:
    from daemon.commands.readers import readers
    from daemon.errors import InputError
    from model.training.graft_cohort import write_grafts

    if args.dicom or args.patients or args.style or args.normals:
        raise InputError("--tissue goes with --images, --preset and --seed only")
    count = write_grafts(
        args.tissue,
        args.out,
        args.seed,
        args.preset,
        images=args.images,
        readers=readers(),
        progress=_progress,
    )
    print(f"{count} images in {args.out}, drawn into the pictures of {args.tissue}")


def _dicom_saver(seed: int) -> "Callable[[Path, PhantomImage, int, int], None]":
    from dicom_io.synthetic import Encoding, SyntheticImage, SyntheticRegion, file_bytes

    def save(path: Path, picture: "PhantomImage", patient: int, image: int) -> None:
        region = SyntheticRegion(picture.tissue_box, picture.mm_per_px, "tissue")
        synthetic = SyntheticImage(
            patient=patient,
            study=f"cohort {patient}",
            series=1,
            instance=image + 1,
            laterality=picture.laterality,
            frames=picture.frame[None],
            encoding=Encoding.RLE,
            regions=(region,),
            model_name=picture.style,
        )
        path.write_bytes(file_bytes(synthetic, seed))

    return save


def write_samples(
    out: Path, seed: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> str:
    """Write the sample studies, their truth and manifest.json; returns a line that says so.

    Parameters
    ----------
    out
        Folder; made if it does not exist. Files of the same names are replaced.
    seed
        The same seed writes the same bytes.
    progress
        Called with studies done and in all.
    """
    from model.training.phantom_samples import COUNT, samples

    (out / "truth").mkdir(parents=True, exist_ok=True)
    studies = []
    for number, study in enumerate(samples(seed), start=1):
        studies.append(_write_study(out, seed, number, study))
        progress(number, COUNT)
    manifest = {
        "format": 1,
        "command": f"axnode phantom --dicom --seed {seed}",
        "seed": seed,
        "studies": studies,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="ascii")
    files = sum(len(study["instances"]) for study in studies)
    return f"{len(studies)} sample studies, {files} files in {out}"


def _write_study(out: Path, seed: int, number: int, study: "SampleStudy") -> dict[str, Any]:
    from dicom_io.synthetic import study_uid

    instances = [
        _write_instance(out, seed, (number, place), study, instance)
        for place, instance in enumerate(study.instances, start=1)
    ]
    evaluable = any(instance["excluded"] is None for instance in instances)
    return {
        "name": study.name,
        "description": study.description,
        "study_uid": study_uid(seed, study.name),
        "outcome": "evaluated" if evaluable else "not_evaluable",
        "lateralities": sorted({instance["laterality"] for instance in instances}),
        "instances": instances,
    }


def _write_instance(
    out: Path,
    seed: int,
    numbers: tuple[int, int],
    study: "SampleStudy",
    instance: "SampleInstance",
) -> dict[str, Any]:
    from dicom_io.synthetic import file_bytes, uid

    number, place = numbers
    name = f"{number}-{study.name}-{place}"
    synthetic = _synthetic(numbers, study.name, instance)
    data = file_bytes(synthetic, seed)
    (out / f"{name}.dcm").write_bytes(data)
    return {
        "file": f"{name}.dcm",
        "sha256": hashlib.sha256(data).hexdigest(),
        "sop_instance_uid": uid(seed, study.name, synthetic.series, synthetic.instance),
        "series_number": instance.series,
        "laterality": instance.laterality,
        "encoding": instance.encoding,
        "frames": len(instance.frames),
        "calibrated": instance.mm_per_px is not None and instance.kind != "spectral",
        "mm_per_px": instance.mm_per_px,
        "kind": instance.kind,
        "excluded": instance.excluded,
        "label": instance.label,
        "nodes": [len(nodes) for nodes in instance.nodes],
        "truth": _write_truth(out, name, instance),
    }


def _synthetic(
    numbers: tuple[int, int], study: str, instance: "SampleInstance"
) -> "SyntheticImage":
    from dicom_io.synthetic import Encoding, SyntheticImage, SyntheticRegion

    kind = "spectral" if instance.kind == "spectral" else "tissue"
    region = SyntheticRegion(instance.box, instance.mm_per_px, kind)
    return SyntheticImage(
        patient=numbers[0],
        study=study,
        series=instance.series,
        instance=numbers[1],
        laterality=instance.laterality,
        frames=instance.frames,
        encoding=Encoding(instance.encoding),
        regions=() if instance.mm_per_px is None else (region,),
        colour_flow=instance.kind == "colour",
    )


def _write_truth(out: Path, name: str, instance: "SampleInstance") -> list[str]:
    """Write one picture per frame: 0 is no node, n the n-th node."""
    import numpy as np
    from PIL import Image

    names = []
    for number, nodes in enumerate(instance.nodes, start=1):
        marked = np.zeros(instance.frames.shape[1:3], np.uint8)
        for value, mask in enumerate(nodes, start=1):
            marked[mask] = value
        image = Image.fromarray(marked).convert("P")
        image.putpalette([0, 0, 0, 255, 255, 0, 0, 255, 255, 255, 0, 255])
        names.append(f"truth/{name}-{number:02d}.png")
        image.save(out / names[-1], optimize=True, bits=2)
    return names
