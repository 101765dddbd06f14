"""The interface for programs, ``/api/v1``: what the pages show and do, as JSON."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query

from daemon import status
from daemon.console.depends import ActingProgram, Program, TheDesk
from daemon.console.diagnostics import settings
from daemon.console.drift import Day
from daemon.console.listing import StudyPage
from daemon.console.overview import Overview
from daemon.console.peers import Peers
from daemon.console.study import Study
from daemon.lifecycle import StudyState

_FAR_US = 2**53  # times are integers that JSON's readers hold exactly
Time = Annotated[int | None, Query(ge=0, le=_FAR_US, description="UTC microseconds")]


@dataclass(frozen=True)
class Done:
    """What was done."""

    done: str


@dataclass(frozen=True)
class Problem:
    """Why it was not."""

    detail: str


@dataclass(frozen=True)
class Model:
    """The bundle in use."""

    name: str
    version: str
    digest: str
    demonstration: bool
    device: str  # empty: it is still loading
    threshold: float
    card: dict[str, Any]


_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or nobody's."},
    403: {"model": Problem, "description": "The token may not do this."},
    404: {"model": Problem, "description": "There is no such study or destination."},
}
_ACTIONS = _REFUSALS | {
    400: {"model": Problem, "description": "It cannot be done; the detail says why."},
    502: {"model": Problem, "description": "The peer did not answer."},
}


router = APIRouter(prefix="/api/v1", tags=["v1"])


@router.get("/overview", responses=_REFUSALS)
def overview(desk: TheDesk, asker: Program) -> Overview:
    """Return the node's state, what needs a person, and the last day by the hour."""
    return desk.overview()


@router.get("/studies", responses=_ACTIONS)
def studies(
    desk: TheDesk,
    asker: Program,
    state: StudyState | None = None,
    source_ae: Annotated[str | None, Query(max_length=16)] = None,
    since_us: Time = None,
    until_us: Time = None,
    after: Annotated[str | None, Query(max_length=40)] = None,
) -> StudyPage:
    """Return fifty studies, the one that began to arrive last first; `older` turns the page."""
    return desk.studies(status.Page(state, source_ae, since_us, until_us), after)


@router.get("/studies/{study_uid}", responses=_REFUSALS)
def study(desk: TheDesk, asker: Program, study_uid: str) -> Study:
    """Return one study, with its images, versions, findings, results and timeline."""
    return desk.looked_at(asker, desk.study_id(study_uid))


@router.post("/studies/{study_uid}/retry", responses=_ACTIONS)
def retry(desk: TheDesk, asker: ActingProgram, study_uid: str) -> Done:
    """Try what is parked again."""
    return Done(desk.retry(asker, desk.study_id(study_uid)))


@router.post("/studies/{study_uid}/send", responses=_ACTIONS)
def send(desk: TheDesk, asker: ActingProgram, study_uid: str, destination: str) -> Done:
    """Send the results to a destination, again or for the first time."""
    return Done(desk.send(asker, desk.study_id(study_uid), destination))


@router.post("/studies/{study_uid}/analyse", responses=_ACTIONS)
def analyse(desk: TheDesk, asker: ActingProgram, study_uid: str) -> Done:
    """Have it analysed again, or in spite of the rules."""
    return Done(desk.analyse(asker, desk.study_id(study_uid)))


@router.post("/studies/{study_uid}/park", responses=_ACTIONS)
def park(desk: TheDesk, asker: ActingProgram, study_uid: str) -> Done:
    """Set it aside."""
    return Done(desk.park(asker, desk.study_id(study_uid)))


@router.get("/peers", responses=_REFUSALS)
def peers(desk: TheDesk, asker: Program) -> Peers:
    """Return modalities, PACS, and what was refused."""
    return desk.peers()


@router.post("/destinations/{name}/echo", responses=_ACTIONS)
def echo(desk: TheDesk, asker: ActingProgram, name: str) -> Done:
    """C-ECHO a destination."""
    return Done(desk.echo(asker, name))


@router.get("/model", responses=_REFUSALS)
def model(desk: TheDesk, asker: Program) -> Model:
    """Return the bundle in use and its card."""
    bundle = desk.bundle
    return Model(
        name=bundle.name,
        version=bundle.version,
        digest=bundle.digest,
        demonstration=bundle.demonstration,
        device=desk.health.device(),
        threshold=desk.threshold,
        card=asdict(bundle.card),
    )


@router.get("/model/drift", responses=_REFUSALS)
def drift(desk: TheDesk, asker: Program) -> tuple[Day, ...]:
    """Return the distribution of the bundle's scores, day by day."""
    return desk.drift()


@router.get("/settings", responses=_REFUSALS)
def shown(desk: TheDesk, asker: Program) -> dict[str, Any]:
    """Return the configuration as it was read, its secrets hidden."""
    return settings(desk.config)


@router.post("/settings/reload", responses=_ACTIONS)
def reload(desk: TheDesk, asker: ActingProgram) -> Done:
    """Read the configuration again."""
    desk.reload(asker)
    return Done("the configuration is right; the service starts anew with it")
