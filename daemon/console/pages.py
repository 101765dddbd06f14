"""The pages: routes, each a few lines between the desk and a template."""

from datetime import date, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from daemon import status
from daemon.console import charts
from daemon.console.accounts import TooManyTries
from daemon.console.depends import Admin, Fields, Sender, TheDesk, TheGate, Viewer
from daemon.console.desk import Desk
from daemon.console.gate import COOKIE, Visitor, foreign
from daemon.console.render import page
from daemon.console.sessions import LONGEST_S
from daemon.http_guard import address_of, is_private
from daemon.lifecycle import StudyState

router = APIRouter(include_in_schema=False)
_DIGITS = 15  # of a row's number at most
Row = Annotated[int, Path(ge=1, lt=10**_DIGITS)]


@router.get("/login")
def login(desk: TheDesk, gate: TheGate, next: str = "/") -> HTMLResponse:
    """Show where to sign in."""
    return page("login.html", desk, None, next=_local(next), wrong="", closed=gate.closed)


@router.post("/login")
def sign_in(desk: TheDesk, gate: TheGate, request: Request, fields: Fields) -> Response:
    """Sign a browser in."""
    target = _local(fields.get("next", "/"))
    wrong = "wrong name or password"
    if not is_private(request):
        wrong = "this way is not encrypted: use https"
    elif not gate.closed and not foreign(request):
        try:
            session = gate.sign_in(
                fields.get("name", ""), fields.get("password", ""), address_of(request)
            )
        except TooManyTries as error:
            session, wrong = None, str(error)
        if session is not None:
            answer = RedirectResponse(target, 303)
            answer.set_cookie(
                COOKIE,
                session.secret,
                max_age=int(LONGEST_S),
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
            return answer
    return page("login.html", desk, None, next=target, wrong=wrong, closed=gate.closed, status=403)


@router.post("/logout")
def sign_out(gate: TheGate, visitor: Sender) -> Response:
    """Sign a browser out."""
    gate.sign_out(visitor)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def overview(desk: TheDesk, visitor: Viewer) -> HTMLResponse:
    """Show the first page."""
    shown = desk.overview()
    return page(
        "overview.html",
        desk,
        visitor,
        shown=shown,
        device=desk.health.device(),
        bundle=desk.bundle,
        came=charts.studies_per_hour(shown.hours),
        took=charts.latency_per_hour(shown.hours),
    )


@router.get("/studies")
def studies(
    desk: TheDesk,
    visitor: Viewer,
    state: str = "",
    source: str = "",
    since: str = "",
    until: str = "",
    after: str | None = None,
) -> HTMLResponse:
    """List studies."""
    known = state if state in list(StudyState) else None
    wanted = status.Page(known, source or None, _day_us(since), _day_us(until, 1))
    found = desk.studies(wanted, after)
    chosen = {"state": known or "", "source": source, "since": since, "until": until}
    query = "&".join(f"{key}={quote(value)}" for key, value in chosen.items() if value)
    return page("studies.html", desk, visitor, found=found, chosen=chosen, query=query, sought="")


@router.post("/studies/find")
def find(desk: TheDesk, visitor: Sender, fields: Fields) -> Response:
    """Find studies by UID or PatientID."""
    sought = fields.get("words", "")[:256]
    found = desk.find(sought)
    if len(found.studies) == 1:
        return RedirectResponse(f"/studies/{found.studies[0].study_id}", 303)
    chosen = {"state": "", "source": "", "since": "", "until": ""}
    return page("studies.html", desk, visitor, found=found, chosen=chosen, query="", sought=sought)


@router.get("/studies/{study_id}")
def study(desk: TheDesk, visitor: Viewer, study_id: str, done: str = "") -> Response:
    """Show one study, by its number; by its UID, lead there."""
    if not (study_id.isdecimal() and len(study_id) <= _DIGITS):
        return RedirectResponse(f"/studies/{desk.study_id(study_id)}", 303)
    return _study(desk, visitor, int(study_id), done)


def _study(desk: Desk, visitor: Visitor, study_id: int, done: str) -> HTMLResponse:
    shown = desk.study(study_id)
    _note_look(desk, visitor, study_id)
    names = [destination.name for destination in desk.config.destinations]
    return page("study.html", desk, visitor, study=shown, destinations=names, done=done[:300])


@router.post("/studies/{study_id}/{action}")
def act(desk: TheDesk, visitor: Admin, study_id: Row, action: str, fields: Fields) -> Response:
    """Do what a button of a study says."""
    asker = visitor.asker
    actions = {
        "retry": lambda: desk.retry(asker, study_id),
        "send": lambda: desk.send(asker, study_id, fields.get("destination", "")),
        "analyse": lambda: desk.analyse(asker, study_id),
        "park": lambda: desk.park(asker, study_id),
    }
    if action not in actions:
        return page("problem.html", desk, visitor, words="There is no such page.", status=404)
    done = actions[action]()
    return RedirectResponse(f"/studies/{study_id}?done={quote(done)}", 303)


@router.get("/studies/{study_id}/images/{instance_id}/{number}.png")
def frame(desk: TheDesk, visitor: Viewer, study_id: Row, instance_id: Row, number: Row) -> Response:
    """Return a frame as PNG."""
    _note_look(desk, visitor, study_id)
    return Response(desk.files.frame(study_id, instance_id, number), media_type="image/png")


@router.get("/studies/{study_id}/images/{instance_id}/{number}.svg")
def contours(
    desk: TheDesk, visitor: Viewer, study_id: Row, instance_id: Row, number: Row
) -> Response:
    """Return the contours on a frame, to be laid over it."""
    found = desk.files.contours(study_id, instance_id, number)
    return Response(charts.contours(found), media_type="image/svg+xml")


@router.get("/studies/{study_id}/objects/{object_id}.dcm")
def download(desk: TheDesk, visitor: Viewer, study_id: Row, object_id: Row) -> Response:
    """Return a result object."""
    file = desk.result(visitor.asker, study_id, object_id)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
    return Response(file.data, media_type="application/dicom", headers=headers)


@router.get("/studies/{study_id}/objects/{object_id}/report")
def report(desk: TheDesk, visitor: Viewer, study_id: Row, object_id: Row) -> Response:
    """Show a report."""
    text, policy = desk.report(visitor.asker, study_id, object_id)
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


@router.get("/peers")
def peers(desk: TheDesk, visitor: Viewer, done: str = "") -> HTMLResponse:
    """Show destinations and sources."""
    return page("peers.html", desk, visitor, peers=desk.peers(), done=done[:300])


@router.post("/peers/{name}/echo")
def echo(desk: TheDesk, visitor: Admin, name: str) -> Response:
    """C-ECHO a destination."""
    return RedirectResponse(f"/peers?done={quote(desk.echo(visitor.asker, name))}", 303)


@router.get("/model")
def model(desk: TheDesk, visitor: Viewer) -> HTMLResponse:
    """Show the bundle and its scores."""
    days = desk.drift()
    return page(
        "model.html",
        desk,
        visitor,
        bundle=desk.bundle,
        others=desk.bundles.every[1:],
        device=desk.health.device(),
        threshold=desk.threshold,
        days=days,
        scores=charts.scores_per_day(days, desk.threshold),
        points=charts.operating_points(desk.bundle.operating_points, desk.threshold),
    )


def _note_look(desk: Desk, visitor: Visitor, study_id: int) -> None:
    """Note that a person looks at a study, once a session."""
    if study_id not in visitor.session.looked_at:
        desk.looked_at(visitor.asker, study_id)
        visitor.session.looked_at.add(study_id)


def _local(target: str) -> str:
    """Return a target on this site; whatever leads elsewhere leads to the first page."""
    inside = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if inside and target.isprintable() else "/"


def _day_us(day: str, more: int = 0) -> int | None:
    """Return when a day of this machine's zone begins, or ends with `more` of 1."""
    try:
        chosen = date.fromordinal(date.fromisoformat(day).toordinal() + more)
        return int(datetime(chosen.year, chosen.month, chosen.day).astimezone().timestamp() * 1e6)
    except (ValueError, OverflowError):
        return None
