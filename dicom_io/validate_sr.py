"""The check of a report: it says what was found, and nothing that may not be said."""

from pydicom.dataset import Dataset

from dicom_io.errors import ObjectError
from dicom_io.findings import StudyFindings
from dicom_io.sr_items import content_items


def check_report(ds: Dataset, findings: StudyFindings) -> None:
    """Check that every node is followed, and that a demonstration evaluates nothing."""
    items = list(content_items(ds))
    tracked = {item.UID for item in items if item.ValueType == "UIDREF"}
    if any(node.tracking_uid not in tracked for node in findings.nodes):
        raise ObjectError("the report lacks a node that was found")
    concepts = {item.ConceptNameCodeSequence[0].CodeValue for item in items}
    if findings.algorithm.demonstration and "111330" in concepts:
        raise ObjectError("a demonstration's report may carry no qualitative finding")
