"""A checker of audit messages: the schema of PS3.15 A.5.1.1, and what A.5.3 asks of each event."""

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from xml.etree.ElementTree import Element, fromstring

UID = r"[0-2](\.(0|[1-9]\d*))+"
TOKEN = r"\S(.*\S)?"  # noqa: S105 - the schema's name for text without outer blanks
ANY = r"(?s).*"


@dataclass(frozen=True)
class Rule:
    """One element: its attributes, each with a pattern; its children in order; its text."""

    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)
    children: Sequence[tuple[str, float, float]] = ()  # name, least, most
    text: str = r"\s*"


def numbers(first: int, last: int) -> str:
    """Return a pattern of whole numbers."""
    return "|".join(map(str, range(first, last + 1)))


CODED = Rule(
    {"csd-code": TOKEN, "codeSystemName": TOKEN, "originalText": TOKEN}, {"displayName": TOKEN}
)
RULES = {
    "AuditMessage": Rule(
        children=(
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, inf),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, inf),
        )
    ),
    "EventIdentification": Rule(
        {"EventDateTime": TOKEN, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
        (("EventID", 1, 1), ("EventTypeCode", 0, inf), ("EventOutcomeDescription", 0, 1)),
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(text=ANY),
    "ActiveParticipant": Rule(
        {"UserID": ANY, "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": ANY,
            "UserName": ANY,
            "NetworkAccessPointID": TOKEN,
            "NetworkAccessPointTypeCode": numbers(1, 5),
        },
        (("RoleIDCode", 0, inf), ("MediaIdentifier", 0, 1)),
    ),
    "RoleIDCode": CODED,
    "AuditSourceIdentification": Rule(
        {"AuditSourceID": TOKEN},
        {"AuditEnterpriseSiteID": TOKEN},
        (("AuditSourceTypeCode", 0, inf),),
    ),
    "AuditSourceTypeCode": Rule({"csd-code": numbers(1, 9)}),
    "ParticipantObjectIdentification": Rule(
        {"ParticipantObjectID": TOKEN},
        {
            "ParticipantObjectTypeCode": numbers(1, 4),
            "ParticipantObjectTypeCodeRole": numbers(1, 26),
            "ParticipantObjectDataLifeCycle": numbers(1, 15),
            "ParticipantObjectSensitivity": TOKEN,
        },
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 1, 1),  # or ParticipantObjectQuery, which we never write
            ("ParticipantObjectDetail", 0, inf),
            ("ParticipantObjectDescription", 0, inf),
        ),
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(text=TOKEN),
    "ParticipantObjectDetail": Rule({"type": TOKEN, "value": r"[A-Za-z0-9+/]*={0,2}"}),
    "ParticipantObjectDescription": Rule(
        children=(
            ("MPPS", 0, inf),
            ("Accession", 0, inf),
            ("SOPClass", 0, inf),
            ("ParticipantObjectContainsStudy", 0, 1),
            ("Encrypted", 0, 1),
            ("Anonymized", 0, 1),
        )
    ),
    "SOPClass": Rule({"NumberOfInstances": r"\d+"}, {"UID": UID}, (("Instance", 0, inf),)),
    "Instance": Rule({"UID": UID}),
}


def check(line: str) -> Element:
    """Fail unless a line is a message by the schema and by its event's table; return it."""
    root = fromstring(line)  # noqa: S314 - our own
    assert root.tag == "AuditMessage"
    _check(root)
    event = root.find("EventIdentification")
    assert event is not None
    assert datetime.fromisoformat(event.attrib["EventDateTime"]).tzinfo is not None
    {"110100": _activity, "110104": _transfer, "110113": _alert}[code(event, "EventID")](root)
    return root


def _check(element: Element) -> None:
    rule = RULES[element.tag]
    allowed = rule.required | rule.optional
    assert set(rule.required) <= set(element.attrib) <= set(allowed), element.tag
    for name, value in element.attrib.items():
        assert re.fullmatch(allowed[name], value), (element.tag, name, value)
    assert re.fullmatch(rule.text, element.text or ""), element.tag
    order = [name for name, _, _ in rule.children]
    places = [order.index(child.tag) for child in element]  # a stranger raises
    assert places == sorted(places), element.tag
    for name, least, most in rule.children:
        assert least <= len(element.findall(name)) <= most, (element.tag, name)
    for child in element:
        _check(child)


def code(parent: Element, name: str) -> str:
    """Return the value of a coded child, "" where there is none."""
    child = parent.find(name)
    return "" if child is None else child.attrib["csd-code"]


def roles(root: Element) -> list[str]:
    """Return the roles of the active participants."""
    return [code(one, "RoleIDCode") for one in root.findall("ActiveParticipant")]


def subjects(root: Element, id_type: str) -> list[Element]:
    """Return the participant objects of a type of identifier."""
    found = root.findall("ParticipantObjectIdentification")
    return [one for one in found if code(one, "ParticipantObjectIDTypeCode") == id_type]


def kind(root: Element) -> tuple[str, str]:
    """Return action and type of the event."""
    (event,) = root.findall("EventIdentification")
    return event.attrib["EventActionCode"], code(event, "EventTypeCode")


def _activity(root: Element) -> None:
    """Table A.5.3.1-1."""
    action, event_type = kind(root)
    assert action == "E"
    assert event_type in ("110120", "110121")
    assert roles(root).count("110150") == 1


def _transfer(root: Element) -> None:
    """Table A.5.3.7-1."""
    assert kind(root)[0] in ("C", "R", "U")
    assert sorted(roles(root)) == ["110152", "110153"]
    studies, (patient,) = subjects(root, "110180"), subjects(root, "2")
    assert studies
    for study in studies:
        assert study.attrib["ParticipantObjectTypeCode"] == "2"
        assert study.attrib["ParticipantObjectTypeCodeRole"] == "3"
        assert re.fullmatch(UID, study.attrib["ParticipantObjectID"])
        for item in study.iter("SOPClass"):
            assert int(item.attrib["NumberOfInstances"]) == len(item.findall("Instance"))
    assert patient.attrib["ParticipantObjectTypeCode"] == "1"
    assert patient.attrib["ParticipantObjectTypeCodeRole"] == "1"


def _alert(root: Element) -> None:
    """Table A.5.3.11-1."""
    action, event_type = kind(root)
    assert action == "E"
    assert event_type in [str(number) for number in range(110126, 110138)]
    assert 1 <= len(roles(root)) <= 2
    (subject,) = subjects(root, "110182")
    assert subject.attrib["ParticipantObjectTypeCode"] == "2"
    (detail,) = subject.findall("ParticipantObjectDetail")
    assert detail.attrib["type"] == "Alert Description"
    assert b64decode(detail.attrib["value"]).decode()
