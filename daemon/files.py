"""DICOM files that a person names: which can be analysed, and why the others cannot."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import InputError
from dicom_io import part10, syntaxes
from dicom_io.errors import StoreRefused
from dicom_io.walker import walk


@dataclass
class Gathered:
    """Files by study, and what was left out."""

    # study UID to (SOP Instance UID, file)
    studies: dict[str, list[tuple[str, Path]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[tuple[Path, str]] = field(default_factory=list)  # file, reason in words


def gather(paths: Sequence[Path]) -> Gathered:
    """Sort files and folders into studies.

    Raises
    ------
    InputError
        A path does not exist, or no file under the paths can be analysed.
    """
    gathered = Gathered()
    seen: set[str] = set()
    for path in _files(paths):
        try:
            study_uid, uid = _identify(path)
        except (StoreRefused, OSError) as error:
            gathered.refused.append((path, str(error)))
            continue
        if uid in seen:
            gathered.refused.append((path, "another file has the same SOP Instance UID"))
            continue
        seen.add(uid)
        gathered.studies[study_uid].append((uid, path))
    if not gathered.studies:
        raise InputError(_nothing(paths, gathered))
    return gathered


def _nothing(paths: Sequence[Path], gathered: Gathered) -> str:
    if not gathered.refused:
        return f"no file in {', '.join(map(str, paths))}: name DICOM ultrasound files or folders"
    path, reason = gathered.refused[0]
    more = f" (and {len(gathered.refused) - 1} more)" if len(gathered.refused) > 1 else ""
    return f"{path}: {reason}{more}"


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(
                p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")
            )
        elif path.exists():
            yield path
        else:
            raise InputError(f"{path} does not exist")


def _identify(path: Path) -> tuple[str, str]:
    """Return study and instance UID of a file that may be analysed."""
    meta, offset = part10.split(path)
    if meta.sop_class_uid not in syntaxes.RECEIVED_SOP_CLASSES:
        name = syntaxes.name(meta.sop_class_uid)
        raise StoreRefused(f"not an ultrasound image but {name}")
    header = walk(memoryview(path.read_bytes())[offset:], meta.transfer_syntax_uid)
    return header.study_instance_uid, meta.sop_instance_uid
