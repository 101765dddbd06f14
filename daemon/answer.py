"""The analysing process's answer: JSON, and bit-packed masks and frames in an ``.npz`` beside it.

Nothing that comes out of that process is unpickled.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from daemon.analysis import Analysis, Frame
from dicom_io.findings import (
    Calibration,
    Exclusion,
    ImageRead,
    Measurements,
    NodeFinding,
    NodeView,
    Reason,
)


def save(analysis: Analysis, masks: Path) -> dict[str, Any]:
    """Write the masks and contours; return everything else as JSON-ready values."""
    arrays: dict[str, Any] = {}
    nodes = []
    for node in analysis.nodes:
        views = []
        for view in node.views:
            key = str(len(arrays) // 2)
            arrays[f"m{key}"] = np.packbits(view.mask)
            arrays[f"c{key}"] = view.contour
            views.append(
                {
                    "sop_instance_uid": view.sop_instance_uid,
                    "frame_number": view.frame_number,
                    "row": view.row,
                    "column": view.column,
                    "shape": list(view.mask.shape),
                    "key": key,
                }
            )
        nodes.append(
            {
                "number": node.number,
                "tracking_uid": node.tracking_uid,
                "laterality": node.laterality,
                "score": node.score,
                "key_view": node.key_view,
                "views": views,
                "measurements": asdict(node.measurements),
            }
        )
    arrays |= {f"f{number}": frame.pixels for number, frame in enumerate(analysis.frames)}
    with masks.open("wb") as file:
        np.savez(file, **arrays)
    return {
        "images": [asdict(image) for image in analysis.images],
        "nodes": nodes,
        "exclusions": [asdict(exclusion) for exclusion in analysis.exclusions],
        "frames": [[frame.sop_instance_uid, frame.frame_number] for frame in analysis.frames],
    }


def load(values: dict[str, Any], masks: Path) -> Analysis:
    """Read back what `save` wrote."""
    with np.load(masks, allow_pickle=False) as arrays:
        nodes = tuple(_node(value, arrays) for value in values["nodes"])
        frames = tuple(
            Frame(uid, number, arrays[f"f{n}"]) for n, (uid, number) in enumerate(values["frames"])
        )
    return Analysis(
        images=tuple(_image(value) for value in values["images"]),
        nodes=nodes,
        exclusions=tuple(
            Exclusion(v["sop_instance_uid"], v["frame_number"], Reason(v["reason"]))
            for v in values["exclusions"]
        ),
        frames=frames,
    )


def _image(value: dict[str, Any]) -> ImageRead:
    calibration = value["calibration"]
    return ImageRead(
        sop_instance_uid=value["sop_instance_uid"],
        frame_numbers=tuple(value["frame_numbers"]),
        calibration=Calibration(**calibration) if calibration else None,
        notes=tuple(value["notes"]),
        laterality=value["laterality"],
        regions=value["regions"],
    )


def _node(value: dict[str, Any], arrays: Any) -> NodeFinding:
    views = []
    for view in value["views"]:
        height, width = view["shape"]
        bits = np.unpackbits(arrays[f"m{view['key']}"], count=height * width)
        views.append(
            NodeView(
                sop_instance_uid=view["sop_instance_uid"],
                frame_number=view["frame_number"],
                row=view["row"],
                column=view["column"],
                mask=bits.astype(bool).reshape(height, width),
                contour=arrays[f"c{view['key']}"],
            )
        )
    return NodeFinding(
        number=value["number"],
        tracking_uid=value["tracking_uid"],
        laterality=value["laterality"],
        score=value["score"],
        key_view=value["key_view"],
        views=tuple(views),
        measurements=Measurements(**value["measurements"]),
    )
