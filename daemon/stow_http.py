"""STOW-RS on the HTTP port (PS3.18 10.5): who may, what is taken, and what is answered."""

import asyncio
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.datastructures import Headers
from starlette.types import Message, Scope

from daemon.audit_notes import Notes
from daemon.callers import Callers
from daemon.config import Config
from daemon.console.accounts import Accounts, TooManyTries
from daemon.http_guard import TAKING, address_of, is_private
from daemon.receive import Reception
from daemon.refused import STOW
from daemon.stow import STOW_LIMITS, StowLimits, TooLarge, Transaction
from dicom_io.errors import MultipartError
from dicom_io.multipart import boundary
from dicom_io.reception import CALLING_AE_UNKNOWN, Peer
from dicom_io.store_response import MEDIA_TYPE, SUCCESS, http_status, module
from dicom_io.uids import is_uid

PATH = "/dicom-web/studies"
log = logging.getLogger(__name__)
_OURS = re.compile(re.escape(PATH) + "(/[^/]+)?")
_ACCEPTABLE = ("application/dicom+json", "application/json", "application/*", "*/*")
_RETRY = {"Retry-After": "30"}
_HEADS = 4  # of requests that are judged at once
_TRANSIENT = 2  # result of a rejection (PS3.8 9.3.4)


class Refused(Exception):
    """A request that is answered with an HTTP status and these words."""

    def __init__(
        self,
        status: int,
        words: str,
        headers: Mapping[str, str] | None = None,
        *,
        noted: bool = False,  # where refusals are, or it is not to be
    ) -> None:
        super().__init__(words)
        self.status = status
        self.headers = dict(headers or {})
        self.noted = noted


class StowDoor:
    """``POST /dicom-web/studies`` and ``…/studies/{study}``, with a token of the role source.

    Parameters
    ----------
    stopping
        Set when the service stops: nothing new is begun then.
    """

    def __init__(
        self,
        config: Config,
        reception: Reception,
        notes: Notes,
        stopping: threading.Event,
        limits: StowLimits = STOW_LIMITS,
    ) -> None:
        self._reception = reception
        self._notes = notes
        self._stopping = stopping
        self._limits = limits
        self._callers = Callers(config)
        self._accounts = Accounts(config.users, time.monotonic)
        # threads of its own, for they wait for disk and database: probes and pages have others
        self._heads = CapacityLimiter(_HEADS)
        self._bodies = CapacityLimiter(limits.requests)
        self._taking: Counter[str] = Counter()  # requests now, by source; the event loop's only

    def install(self, app: FastAPI) -> None:
        """Add the two routes.

        They are not in the OpenAPI document, which is that of ``/api/v1``: PS3.18 describes them.
        """
        for path in (PATH, PATH + "/{study_uid}"):
            app.add_api_route(path, self.store, methods=["POST"], include_in_schema=False)

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Tell whether a request is one that may bring a large body."""
        return scope["method"] == "POST" and _OURS.fullmatch(scope["path"]) is not None

    async def store(self, request: Request) -> Response:
        """Serve one Store Transaction."""
        try:
            peer = await to_thread.run_sync(self._caller, request, limiter=self._heads)
        except Refused as refused:
            return await self._refusal(refused, Peer(address_of(request), "", "", ""))
        try:
            transaction = await to_thread.run_sync(self._begun, request, peer, limiter=self._heads)
            self._check_place(peer.calling_ae)
            return await self._taken(request, peer, transaction)
        except Refused as refused:
            return await self._refusal(refused, peer)

    # before the body

    def _caller(self, request: Request) -> Peer:
        """Return who sends a request; else 401, 403 or 429."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        address = address_of(request)
        if not is_private(request):
            raise self._unknown(address, 403, "a token does not go unencrypted: use https")
        try:
            right = scheme.lower() == "bearer"
            # none counts as a wrong one, so that nobody fills the disk with refusals
            person = self._accounts.by_token(token.strip() if right else "", address)
        except TooManyTries as error:  # not noted: it has been, and a stranger could fill the disk
            raise Refused(429, str(error), noted=True) from None
        if person is None:
            words = "that is known here" if right else "came: send Authorization: Bearer TOKEN"
            raise self._unknown(address, 401, f"no token {words}")
        if person.role != "source":
            words = f"no token of the role source: this is one of the role {person.role}"
            raise self._unknown(address, 403, words)
        return self._callers.with_token(person.name, address)

    def _unknown(self, address: str, status: int, words: str) -> Refused:
        """Tell the audit trail of a caller that is no source, as of an unknown AE title."""
        nobody = Peer(address, "", "", "")
        self._notes.rejected(nobody, replace(CALLING_AE_UNKNOWN, message=words))
        return Refused(status, words, {"WWW-Authenticate": "Bearer"} if status == 401 else {})

    def _begun(self, request: Request, peer: Peer) -> Transaction:
        """Begin a transaction; else 400, 403, 406, 411, 413, 415 or 503."""
        if self._stopping.is_set():
            raise Refused(503, "the node is stopping", _RETRY)
        rejection = self._reception.associate(peer, STOW)
        if rejection is not None:
            again = rejection.result == _TRANSIENT
            status, headers = (503, _RETRY) if again else (403, {})
            raise Refused(status, rejection.message, headers, noted=True)
        _check_length(request.headers, self._limits.request_bytes)
        mark = _boundary(request.headers)
        study_uid = request.path_params.get("study_uid", "")
        if study_uid and not is_uid(study_uid):
            raise Refused(400, "the study in the address is no UID")
        return Transaction(self._reception, peer, mark, study_uid, self._limits)

    def _check_place(self, source: str) -> None:
        """Refuse a request without a place; one source leaves as many as it has to the others."""
        most, held = self._limits.requests, self._taking[source]
        left = most - self._taking.total()
        if not left:
            raise Refused(503, f"no more than {most} requests at once are taken", _RETRY)
        if held >= left:
            words = f"this source has {held} of the {most} requests that are taken at once"
            raise Refused(503, f"{words}; {left} are left for others: send it again later", _RETRY)

    # the body

    async def _taken(self, request: Request, peer: Peer, transaction: Transaction) -> Response:
        """Take a body to its end, or as far as it is one."""
        self._taking[peer.calling_ae] += 1
        request.scope[TAKING] = True
        try:
            await self._fed(request, peer, transaction)
        except Refused as fault:
            await self._in_thread(transaction.break_off)
            if all(each.status != SUCCESS for each in transaction.results):
                raise
            await to_thread.run_sync(self._note, fault, peer, limiter=self._heads)
            status = 202 if fault.status == 400 else fault.status  # some are stored
            return _answer(transaction, status)
        finally:
            transaction.close()
            request.scope[TAKING] = False
            self._taking[peer.calling_ae] -= 1
        return _answer(transaction, http_status(transaction.results))

    async def _fed(self, request: Request, peer: Peer, transaction: Transaction) -> None:
        waited_s, received, more = 0.0, 0, True
        while more:
            began_s = time.monotonic()
            message = await self._message(request)
            waited_s += time.monotonic() - began_s  # our own disk's time is not the client's
            data = message.get("body", b"")
            received += len(data)
            if waited_s > self._limits.body_s + received / self._limits.min_rate:
                raise Refused(408, "the body comes too slowly")
            more = message.get("more_body", False)
            try:
                await self._in_thread(transaction.feed, data)
                if not more:
                    await self._in_thread(transaction.end)
            except MultipartError as error:
                self._notes.abused(peer.address, str(error))
                raise Refused(400, str(error)) from error
            except TooLarge as error:
                raise Refused(413, str(error)) from error

    async def _message(self, request: Request) -> Message:
        gap_s = self._limits.gap_s
        try:
            message = await asyncio.wait_for(request.receive(), gap_s)
        except TimeoutError:
            raise Refused(408, f"nothing of the body came for {gap_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away before the end of its body")
        return message

    async def _in_thread(self, work: Callable[..., None], *arguments: bytes) -> None:
        await to_thread.run_sync(work, *arguments, limiter=self._bodies)

    # answers

    async def _refusal(self, refused: Refused, peer: Peer) -> Response:
        await to_thread.run_sync(self._note, refused, peer, limiter=self._heads)
        headers = {**refused.headers, "Connection": "close"}  # what follows may be the body
        return PlainTextResponse(f"{refused}\n", refused.status, headers)

    def _note(self, refused: Refused, peer: Peer) -> None:
        extra = {"action": "stow_refused", "status": refused.status, "reason": str(refused)}
        log.warning("a STOW-RS request was refused", extra=extra)
        if not refused.noted:
            self._reception.refused(peer, STOW, "", str(refused))


def _check_length(headers: Headers, most: int) -> None:
    """Refuse a body of no length, or of too great a one, before it comes."""
    if "transfer-encoding" in headers:  # in chunks: counted as they come
        return
    length = headers.get("content-length")
    if length is None:
        raise Refused(411, "send Content-Length, or the body in chunks")
    if int(length) > most:  # h11 took digits only
        raise Refused(413, f"a request has at most {most} bytes; send several")


def _boundary(headers: Headers) -> str:
    """Return what is between the parts, of a body that is taken and may be answered."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "a packed body is not taken", {"Accept-Encoding": "identity"})
    named = headers.get("accept", "*/*").lower().split(",")
    if not any(each.partition(";")[0].strip() in _ACCEPTABLE for each in named):
        raise Refused(406, f"the answer is {MEDIA_TYPE}, which Accept does not name")
    try:
        mark = boundary(headers.get("content-type", ""))
    except MultipartError as error:
        raise Refused(400, str(error)) from error
    if mark is None:
        words = 'send multipart/related; type="application/dicom"'
        raise Refused(415, words, {"Accept": "multipart/related"})
    return mark


def _answer(transaction: Transaction, status: int) -> Response:
    """Return what became of the parts.

    The connection is closed: it would otherwise come to its end beneath a later request.
    """
    headers = {"Connection": "close"} | (_RETRY if status == 503 else {})
    body = json.dumps(module(transaction.results))
    return Response(body, status, headers, media_type=MEDIA_TYPE)
