"""Loaded bundles that read studies: what the analysing process holds, and ``axnode analyze``."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from daemon import answer, pictures
from daemon.analysis import Analysis, Frame
from daemon.frame_reader import FrameReader
from daemon.pipeline import Recipe, analyse, look
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

    def read(
        self,
        inputs: Sequence[tuple[str, Path]],
        *,
        cine_frames: int,
        tracking_root: str,
        progress: Callable[[], None] = lambda: None,
    ) -> Analysis:
        """Read a study in this process."""
        recipe = Recipe(self.bundle.card.input, cine_frames, tracking_root)
        return analyse(inputs, self.predictor, recipe, progress)

    def answers(
        self, requests: Sequence[dict[str, Any]], progress: Callable[[], None]
    ) -> list[dict[str, Any]]:
        """Answer requests for studies, whose frames fill batches together."""
        reader = FrameReader(self.predictor, self.bundle.card.input, progress)
        asked = [_Asked(request) for request in requests]
        found = [each.look(reader, progress) for each in asked]
        reader.finish()
        return [
            each.answer(analysis(), progress) for each, analysis in zip(asked, found, strict=True)
        ]


class _Asked:
    """A request of `daemon.worker` for one study; see `daemon.answer` for what answers it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._inputs = [(uid, Path(path)) for uid, path in request["inputs"]]
        self._recent = RecentFrames(_RECENT_BYTES)

    def look(self, reader: FrameReader, progress: Callable[[], None]) -> Callable[[], Analysis]:
        """Give the study's images to the model."""
        request = self._request
        recipe = Recipe(reader.spec, request["cine_frames"], request["tracking_root"])
        return look(self._inputs, reader, recipe, progress, self._recent)

    def answer(self, analysis: Analysis, progress: Callable[[], None]) -> dict[str, Any]:
        """Add the pictures that are to be sent, write the masks, and return the rest."""
        places = pictures.to_send(analysis, self._request["pictures"])
        frames = decode(places, [path for _, path in self._inputs], progress, self._recent)
        return answer.save(replace(analysis, frames=frames), Path(self._request["masks"]))


class Analysers:
    """The bundles of a node, each on the device.

    Parameters
    ----------
    loaded
        That of ``model.bundle`` first; the others are those that rules name.
    """

    def __init__(self, loaded: Sequence[Analyser]) -> None:
        self._first = loaded[0]
        self._by_digest = {each.bundle.digest: each for each in loaded}

    @classmethod
    def load(cls, folders: Sequence[Path | None], device: str) -> "Analysers":
        """Load them; see `Analyser.load`."""
        return cls([Analyser.load(folder, device) for folder in folders])

    def describe(self) -> dict[str, str]:
        """Return what the service shows of them, and how many frames it is best given."""
        predictor = self._first.predictor
        return {
            "digest": self._first.bundle.digest,
            "device": str(predictor.device),
            "together": str(predictor.together),
            "digests": " ".join(self._by_digest),
        }

    def analyse(self, request: dict[str, Any], progress: Callable[[], None]) -> dict[str, Any]:
        """Answer a request of `daemon.worker`: studies for one bundle."""
        analyser = self._by_digest[request["bundle"]]
        return {"studies": analyser.answers(request["studies"], progress)}

    @staticmethod
    def is_fatal(error: Exception) -> bool:
        """Tell whether the process should be replaced after this error."""
        return isinstance(error, (DeviceError, MemoryError)) and not getattr(
            error, "out_of_memory", False
        )
