"""Audit messages of PS3.15 A.5: events of the node as XML, by the schema of A.5.1.

The patient stands in them as the node's own salted hash of the PatientID, never as a name.
"""

import os
import socket
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from daemon.audit_events import (
    APPLICATION_ACTIVITY,
    APPLICATION_START,
    APPLICATION_STOP,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    MINOR_FAILURE,
    SECURITY_ALERT,
    SOFTWARE_CONFIGURATION,
    SUCCESS,
    USER_AUTHENTICATION,
    Access,
    Activity,
    Administered,
    Alert,
    Code,
    Event,
    Noted,
    SignIn,
    Transfer,
)

_APPLICATION: Final = Code("110150", "Application")  # CID 402
_DESTINATION: Final = Code("110152", "Destination Role ID")
_SOURCE: Final = Code("110153", "Source Role ID")
_STUDY: Final = Code("110180", "Study Instance UID")  # CID 404
_NODE: Final = Code("110182", "Node ID")
_PATIENT: Final = Code("2", "Patient Number: salted SHA-256 of the PatientID", "RFC-3881")


def messages(batch: Sequence[Noted], ae_title: str) -> Iterator[str]:
    """Put a batch into messages: one for the like of each other, at the time of the last.

    Transfers of one study between the same two become one, as do alerts that say the same.
    """
    alike: dict[Event, list[Noted]] = defaultdict(list)
    for noted in batch:
        alike[_without_instance(noted.event)].append(noted)
    for key, group in alike.items():
        yield _line(key, group, ae_title)


def _without_instance(event: Event) -> Event:
    if isinstance(event, Transfer):
        return replace(event, sop_class_uid="", sop_instance_uid="")
    return event


def _line(event: Event, group: Sequence[Noted], ae_title: str) -> str:
    root = Element("AuditMessage")
    at_us = group[-1].at_us
    if isinstance(event, Activity):
        _activity(root, event, at_us, ae_title)
    elif isinstance(event, Alert):
        _alert(root, event, at_us, ae_title, len(group))
    elif isinstance(event, SignIn):
        _sign_in(root, event, at_us, ae_title)
    elif isinstance(event, Access):
        _access(root, event, at_us, ae_title)
    elif isinstance(event, Administered):
        _administered(root, event, at_us, ae_title)
    else:
        transfers = [item.event for item in group if isinstance(item.event, Transfer)]
        _transfer(root, event, at_us, ae_title, transfers)
    return tostring(root, encoding="unicode")


def _activity(root: Element, event: Activity, at_us: int, ae_title: str) -> None:
    kind = APPLICATION_START if event.started else APPLICATION_STOP
    _event(root, APPLICATION_ACTIVITY, kind, "E", at_us, SUCCESS)
    _ourselves(root, ae_title, _APPLICATION, requestor=False)
    _audit_source(root, ae_title)


def _transfer(
    root: Element, event: Transfer, at_us: int, ae_title: str, transfers: Sequence[Transfer]
) -> None:
    _event(root, INSTANCES_TRANSFERRED, None, event.action, at_us, event.outcome, event.words)
    if event.sent:
        _ourselves(root, ae_title, _SOURCE, requestor=True)
        _peer(root, event.peer_ae, event.peer_address, _DESTINATION, requestor=False)
    else:
        _peer(root, event.peer_ae, event.peer_address, _SOURCE, requestor=True)
        _ourselves(root, ae_title, _DESTINATION, requestor=False)
    _audit_source(root, ae_title)
    study = _subject(root, event.study_uid, "2", "3", _STUDY, "study")  # system object, report
    by_class: dict[str, list[str]] = defaultdict(list)
    for transfer in transfers:
        by_class[transfer.sop_class_uid].append(transfer.sop_instance_uid)
    description = SubElement(study, "ParticipantObjectDescription")
    for sop_class, instances in by_class.items():
        element = SubElement(
            description,
            "SOPClass",
            {"UID": _plain(sop_class), "NumberOfInstances": str(len(instances))},
        )
        for uid in instances:
            SubElement(element, "Instance", {"UID": _plain(uid)})
    _subject(root, event.patient_key, "1", "1", _PATIENT, "withheld")  # person, patient


def _alert(root: Element, event: Alert, at_us: int, ae_title: str, times: int) -> None:
    words = event.words if times == 1 else f"{event.words} ({times} times)"
    _event(root, SECURITY_ALERT, event.kind, "E", at_us, MINOR_FAILURE, words)
    _ourselves(root, ae_title, _APPLICATION, requestor=False)
    if event.peer_address:
        _peer(root, event.peer_ae or "unknown", event.peer_address, None, requestor=True)
    _audit_source(root, ae_title)
    subject = event.peer_address or socket.gethostname()
    node = _subject(root, subject, "2", "13", _NODE, "node")  # system object, security resource
    value = b64encode(_plain(words).encode()).decode()
    SubElement(node, "ParticipantObjectDetail", {"type": "Alert Description", "value": value})


def _sign_in(root: Element, event: SignIn, at_us: int, ae_title: str) -> None:
    _event(root, USER_AUTHENTICATION, event.kind, "E", at_us, event.outcome, event.words)
    _person(root, event.name, event.address)
    _ourselves(root, ae_title, _APPLICATION, requestor=False)
    _audit_source(root, ae_title)


def _access(root: Element, event: Access, at_us: int, ae_title: str) -> None:
    _event(root, INSTANCES_ACCESSED, None, event.action, at_us, SUCCESS, event.words)
    _person(root, event.name, event.address)
    _ourselves(root, ae_title, _APPLICATION, requestor=False)
    _audit_source(root, ae_title)
    _subject(root, event.study_uid, "2", "3", _STUDY, "study")


def _administered(root: Element, event: Administered, at_us: int, ae_title: str) -> None:
    _event(root, SECURITY_ALERT, SOFTWARE_CONFIGURATION, "E", at_us, SUCCESS, event.words)
    _person(root, event.name, event.address)
    _ourselves(root, ae_title, _APPLICATION, requestor=False)
    _audit_source(root, ae_title)
    node = _subject(root, socket.gethostname(), "2", "13", _NODE, "node")
    value = b64encode(_plain(event.words).encode()).decode()
    SubElement(node, "ParticipantObjectDetail", {"type": "Alert Description", "value": value})


def _person(root: Element, name: str, address: str) -> None:
    attributes = {
        "UserID": _plain(name),
        "UserIsRequestor": "true",
        "NetworkAccessPointID": _plain(address),
        "NetworkAccessPointTypeCode": "2" if _is_address(address) else "1",
    }
    SubElement(root, "ActiveParticipant", attributes)


def _event(
    root: Element,
    event_id: Code,
    kind: Code | None,
    action: str,
    at_us: int,
    outcome: str,
    words: str = "",
) -> None:
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC).isoformat(timespec="milliseconds")
    element = SubElement(
        root,
        "EventIdentification",
        {"EventActionCode": action, "EventDateTime": at, "EventOutcomeIndicator": outcome},
    )
    _coded(element, "EventID", event_id)
    if kind is not None:
        _coded(element, "EventTypeCode", kind)
    if words:
        SubElement(element, "EventOutcomeDescription").text = _plain(words)


def _ourselves(root: Element, ae_title: str, role: Code, *, requestor: bool) -> None:
    # A.5.2.1: a process by what names it in the system's logs
    user, host = str(os.getpid()), socket.gethostname()
    _participant(root, user, ae_title, host, role, requestor=requestor)


def _peer(root: Element, ae: str, address: str, role: Code | None, *, requestor: bool) -> None:
    _participant(root, ae, ae, address, role, requestor=requestor)


def _participant(
    root: Element, user: str, ae: str, host: str, role: Code | None, *, requestor: bool
) -> None:
    element = SubElement(
        root,
        "ActiveParticipant",
        {
            "UserID": _plain(user),
            "AlternativeUserID": _plain(f"AETITLES={ae}"),  # A.5.2.2
            "UserIsRequestor": str(requestor).lower(),
            "NetworkAccessPointID": _plain(host),
            "NetworkAccessPointTypeCode": "2" if _is_address(host) else "1",  # IP address, name
        },
    )
    if role is not None:
        _coded(element, "RoleIDCode", role)


def _audit_source(root: Element, ae_title: str) -> None:
    attributes = {"AuditSourceID": _plain(f"{ae_title}@{socket.gethostname()}")}
    source = SubElement(root, "AuditSourceIdentification", attributes)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process


def _subject(
    root: Element, subject: str, kind: str, role: str, id_type: Code, name: str
) -> Element:
    element = SubElement(
        root,
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _plain(subject),
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        },
    )
    _coded(element, "ParticipantObjectIDTypeCode", id_type)
    SubElement(element, "ParticipantObjectName").text = name  # the schema wants one
    return element


def _coded(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning},
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _plain(text: str) -> str:
    """Return a text that XML can hold, in one line; a peer chooses its AE title freely."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
