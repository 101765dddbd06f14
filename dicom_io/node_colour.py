"""The colour of each node, the same in every object that draws it."""

from highdicom.color import CIELabColor

# sRGB, easily told apart on grey tissue; repeated from the seventh node on
_COLOURS = (
    (255, 64, 64),
    (64, 224, 64),
    (64, 160, 255),
    (255, 200, 0),
    (224, 96, 255),
    (0, 224, 224),
)


def rgb(number: int) -> tuple[int, int, int]:
    """Return the colour of node `number`, from 1, in sRGB bytes."""
    return _COLOURS[(number - 1) % len(_COLOURS)]


def cielab(number: int) -> list[int]:
    """Return the recommended display CIELab value (PS3.3 C.10.7.1.1) of node `number`, from 1."""
    return list(CIELabColor.from_rgb(*rgb(number)).value)
