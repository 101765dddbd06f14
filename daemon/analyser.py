"""A loaded bundle that reads studies: what the analysing process holds, and ``axnode analyze``."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from daemon import answer, pictures
from daemon.analysis import Analysis, Frame
from daemon.pipeline import Recipe, analyse
from dicom_io.errors import FrameError
from dicom_io.frames import Image
from dicom_io.recent import RecentFrames
from model.bundle_file import SHIPPED, Bundle
from model.errors import DeviceError
from model.runtime import Predictor

_RECENT_BYTES = 64 << 20  # of decoded frames: the stills of a study, and not a cine


def decode(
    places: Sequence[pictures.Place],
    paths: Sequence[Path],
    progress: Callable[[], None] = lambda: None,
    recent: RecentFrames | None = None,
) -> tuple[Frame, ...]:
    """Return decoded frames, out of their files where they are not among the `recent` ones."""
    wanted = {uid for uid, _ in places}
    images: dict[str, Image] = {}
    for path in paths if wanted else ():
        progress()
        with suppress(FrameError):  # an exclusion already
            image = Image.open(path, recent)
            if image.sop_instance_uid in wanted:
                images[image.sop_instance_uid] = image
    frames = []
    for uid, number in places:
        progress()
        frames.append(Frame(uid, number, images[uid].frame(number - 1)))
    progress()
    return tuple(frames)


@dataclass(frozen=True)
class Analyser:
    """A bundle on a device."""

    bundle: Bundle
    predictor: Predictor

    @classmethod
    def load(cls, bundle: Path | None, device: str) -> "Analyser":
        """Verify the bundle, or the one that ships, load it and run it once."""
        loaded = Bundle.load(bundle or SHIPPED)
        predictor = Predictor(loaded, device)
        predictor.self_test()
        return cls(loaded, predictor)

    def describe(self) -> dict[str, str]:
        """Return what the service shows of it."""
        return {"digest": self.bundle.digest, "device": str(self.predictor.device)}

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request of `daemon.worker`; see `daemon.answer` for its shape."""
        inputs = [(uid, Path(path)) for uid, path in request["inputs"]]
        recent = RecentFrames(_RECENT_BYTES)
        analysis = self.read(
            inputs,
            cine_frames=request["cine_frames"],
            tracking_root=request["tracking_root"],
            progress=progress,
            recent=recent,
        )
        places = pictures.to_send(analysis, request["pictures"])
        frames = decode(places, [path for _, path in inputs], progress, recent)
        analysis = replace(analysis, frames=frames)
        return answer.save(analysis, Path(request["masks"]))

    def read(
        self,
        inputs: list[tuple[str, Path]],
        *,
        cine_frames: int,
        tracking_root: str,
        progress: Callable[[], None] = lambda: None,
        recent: RecentFrames | None = None,
    ) -> Analysis:
        """Read a study in this process."""
        recipe = Recipe(self.bundle.card.input, cine_frames, tracking_root)
        return analyse(inputs, self.predictor, recipe, progress, recent)

    @staticmethod
    def is_fatal(error: Exception) -> bool:
        """Tell whether the process should be replaced after this error."""
        return isinstance(error, (DeviceError, MemoryError)) and not getattr(
            error, "out_of_memory", False
        )
