"""What routes ask for in their signatures: the desk, and who may come in."""

from typing import Annotated

from fastapi import Depends, Request

from daemon.console.desk import Asker, Desk
from daemon.console.gate import Gate, Visitor, form


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


def _viewer(request: Request) -> Visitor:
    return _gate(request).viewer(request)


async def _sender(request: Request) -> Visitor:
    return await _gate(request).sender(request)


async def _admin(request: Request) -> Visitor:
    return await _gate(request).admin(request)


def _program(request: Request) -> Asker:
    return _gate(request).program(request)


def _acting_program(request: Request) -> Asker:
    return _gate(request).acting_program(request)


TheDesk = Annotated[Desk, Depends(_desk)]
TheGate = Annotated[Gate, Depends(_gate)]
Fields = Annotated[dict[str, str], Depends(form)]
Viewer = Annotated[Visitor, Depends(_viewer)]  # a browser that has signed in
Sender = Annotated[Visitor, Depends(_sender)]  # one that sends a form of ours
Admin = Annotated[Visitor, Depends(_admin)]  # an admin's that does
Program = Annotated[Asker, Depends(_program)]  # a token, or a browser that reads
ActingProgram = Annotated[Asker, Depends(_acting_program)]  # an admin's token
