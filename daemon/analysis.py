"""What was read in a study: handed from the analysing process to the one that reports it."""

from dataclasses import dataclass

from dicom_io.findings import Exclusion, ImageRead, NodeFinding


@dataclass(frozen=True)
class Analysis:
    """What was read in a study, before it is put into words."""

    images: tuple[ImageRead, ...]
    nodes: tuple[NodeFinding, ...]
    exclusions: tuple[Exclusion, ...]
