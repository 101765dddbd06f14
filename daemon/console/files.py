"""Pictures and files of a study: frames, contours, result objects and their reports."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from daemon import schema
from daemon.database import Database
from daemon.errors import InputError, UnknownError
from daemon.lifecycle import FileState
from daemon.preview import Preview
from daemon.spool import Folders
from dicom_io.errors import ObjectError


@dataclass(frozen=True)
class File:
    """Bytes to be handed over, and their name."""

    name: str
    data: bytes


class Files:
    """Finds them by their rows.

    Each raises `UnknownError` where there is no such row in the study, and `InputError` where its
    file is gone or cannot be shown.
    """

    def __init__(self, database: Database, folders: Folders) -> None:
        self._database = database
        self._folders = folders
        self._preview = Preview(folders.scratch)

    def stop(self) -> None:
        """End what was started."""
        self._preview.stop()

    def frame(self, study_id: int, instance_id: int, number: int) -> bytes:
        """Return a frame (1-based) of an image as PNG."""
        path, _ = self._image(study_id, instance_id)
        return self._preview.frame(path, number)

    def contours(self, study_id: int, instance_id: int, number: int) -> dict[str, Any]:
        """Return the latest version's contours on a frame; see `daemon.preview`."""
        _, uid = self._image(study_id, instance_id)
        return self._preview.contours(self._segmentations(study_id), uid, number)

    def result(self, study_id: int, object_id: int) -> File:
        """Return a result object's file."""
        objects, analyses = schema.objects, schema.analyses
        query = (
            select(objects.c.file_hash, objects.c.role)
            .join(analyses, analyses.c.id == objects.c.analysis_id)
            .where(objects.c.id == object_id, analyses.c.study_id == study_id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownError("no such result is known")
        try:
            data = self._folders.objects.path(row.file_hash).read_bytes()
        except OSError:
            raise InputError("the file of this result is no longer here") from None
        return File(f"study-{study_id}-{row.role}-{object_id}.dcm", data)

    def report(self, study_id: int, object_id: int) -> tuple[str, str]:
        """Return a report as a page, and the policy that lets its own style in."""
        from dicom_io import render

        try:
            text = render.html(self.result(study_id, object_id).data, f"/studies/{study_id}")
        except ObjectError:
            raise InputError("this result is no report") from None
        style = b64encode(hashlib.sha256(render.STYLE.encode()).digest()).decode()
        return text, f"default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'self'"

    def _image(self, study_id: int, instance_id: int) -> tuple[Path, str]:
        table = schema.instances
        with self._database.read() as connection:
            row = connection.execute(
                select(table.c.instance_hash, table.c.sop_instance_uid, table.c.file).where(
                    table.c.id == instance_id, table.c.study_id == study_id
                )
            ).one_or_none()
        if row is None:
            raise UnknownError("no such image is known")
        if row.file != FileState.KEPT:
            raise InputError("the image was deleted (retention.instances_days)")
        return self._folders.spool.path(row.instance_hash), row.sop_instance_uid

    def _segmentations(self, study_id: int) -> Sequence[Path]:
        """Return the SEGs of the latest version that has results."""
        objects, analyses = schema.objects, schema.analyses
        latest = (
            select(func.max(objects.c.analysis_id))
            .join(analyses, analyses.c.id == objects.c.analysis_id)
            .where(analyses.c.study_id == study_id)
            .scalar_subquery()
        )
        query = select(objects.c.file_hash).where(
            objects.c.analysis_id == latest,
            objects.c.role == "seg",
            objects.c.file == FileState.KEPT,
        )
        with self._database.read() as connection:
            hashes = connection.execute(query).scalars().all()
        return [self._folders.objects.path(file_hash) for file_hash in hashes]
