"""What every table of the configuration has in common."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Table(BaseModel):
    """Frozen; knows its keys and their types, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_AE = r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$"  # no backslash, not blank
AETitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=_AE),
]
"""An application entity title: PS3.5 6.2, VR AE."""
Address = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
"""An IP address: peers are told by what they call from, and names are not resolved."""
