"""What an analysis found, in a few values: for the command, the console and ``result.json``."""

from typing import Any

from dicom_io.findings import NodeFinding, StudyFindings


def summarise(findings: StudyFindings) -> dict[str, Any]:
    """Return JSON-ready values; UIDs of sources are in, people are not."""
    return {
        "version": findings.version,
        "bundle": {
            "name": findings.algorithm.name,
            "version": findings.algorithm.version,
            "demonstration": findings.algorithm.demonstration,
        },
        "operating_point": {
            "name": findings.operating_point.name,
            "threshold": findings.operating_point.threshold,
        },
        "not_evaluable": findings.not_evaluable,
        "images": [
            {
                "sop_instance_uid": image.sop_instance_uid,
                "frames": len(image.frame_numbers),
                "frame_numbers": list(image.frame_numbers),
                "laterality": image.laterality,
                "regions": image.regions,
                "calibrated": image.calibration is not None,
                "notes": list(image.notes),
            }
            for image in findings.images
        ],
        "sides": [
            {
                "laterality": side.laterality,
                "nodes": list(side.node_numbers),
                "score": side.score,
                "evaluation": side.evaluation,
            }
            for side in findings.sides
        ],
        "nodes": [_node(node) for node in findings.nodes],
        "exclusions": [
            {
                "sop_instance_uid": exclusion.sop_instance_uid,
                "frame_number": exclusion.frame_number,
                "reason": exclusion.reason,
                "words": exclusion.reason.words,
            }
            for exclusion in findings.exclusions
        ],
    }


def _node(node: NodeFinding) -> dict[str, Any]:
    unit = "mm" if node.measurements.calibrated else "px"
    return {
        "label": node.label,
        "tracking_uid": node.tracking_uid,
        "laterality": node.laterality,
        "score": node.score,
        "sop_instance_uid": node.views[node.key_view].sop_instance_uid,
        "key_frame": node.views[node.key_view].frame_number,
        "frames": [view.frame_number for view in node.views],
        "unit": unit,
        "long_axis": node.measurements.long_axis,
        "short_axis": node.measurements.short_axis,
        "axis_ratio": node.measurements.axis_ratio,
        "area": node.measurements.area,
        "circularity": node.measurements.circularity,
        "margin_sharpness": node.measurements.margin_sharpness,
    }
