"""The table ``[results]``: which objects are made of a study."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator

from daemon.config_destination import Destination
from daemon.config_table import Table
from daemon.errors import ConfigError

_SWITCH = {True: "on", False: "off"}
Pictures = Annotated[
    Literal["off", "auto", "on"],
    BeforeValidator(lambda value: _SWITCH[value] if isinstance(value, bool) else value),
]
"""Whether contours are sent as pictures too; auto: to destinations that refuse or do not draw SEG.

``true`` and ``false`` mean on and off.
"""


class Results(Table):
    """Which objects are made."""

    seg: bool = True
    sr: bool = True
    presentation_state: Pictures = "off"
    secondary_capture: Pictures = "auto"
    seg_geometry: Literal["viewer", "strict", "volume"] = "viewer"
    seg_empty_frames: bool = False  # frames that were read and show no node are stored too
    seg_compression: Literal["none", "deflated"] = "none"
    sr_class: Literal["comprehensive", "comprehensive_3d"] = "comprehensive"


def check(results: Results, destinations: Sequence[Destination]) -> None:
    """Raise `ConfigError` where nothing would be delivered."""
    pictures = (results.presentation_state, results.secondary_capture)
    drawn = any(go_at_once(each, destinations) for each in pictures)
    if not results.seg and not results.sr and not drawn:
        raise ConfigError(
            "configuration: results: seg and sr are both off, so nothing would ever be delivered; "
            "turn one on"
        )


def go_at_once(pictures: Pictures, destinations: Sequence[Destination]) -> bool:
    """Tell whether pictures are sent without a refusal: `on`, or to a viewer that draws no SEG."""
    return pictures == "on" or (
        pictures == "auto" and any(not each.draws_seg for each in destinations)
    )
