"""Bytes on the wire and in data sets, written out by hand so that no product code checks itself."""

import struct
from collections.abc import Iterable, Sequence

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT"}
UNDEFINED = 0xFFFFFFFF


def element(
    tag: int, vr: bytes, value: bytes, syntax: str = EXPLICIT, length: int | None = None
) -> bytes:
    """One data element; `length` overrides the true length."""
    order = ">" if syntax == BIG else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", size) + value
    if vr in _LONG:
        return head + vr + struct.pack(order + "xxL", size) + value
    return head + vr + struct.pack(order + "H", size) + value


def uid(tag: int, text: str, syntax: str = EXPLICIT) -> bytes:
    """One UI element, padded."""
    return element(tag, b"UI", text.encode() + b"\0" * (len(text) % 2), syntax)


def short(tag: int, number: int, syntax: str = EXPLICIT) -> bytes:
    """One US element."""
    return element(tag, b"US", struct.pack(">H" if syntax == BIG else "<H", number), syntax)


def item(content: bytes, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    """One item of a sequence."""
    order = ">" if syntax == BIG else "<"
    size = len(content) if length is None else length
    return struct.pack(order + "HHL", 0xFFFE, 0xE000, size) + content


def delimiter(number: int, syntax: str = EXPLICIT) -> bytes:
    """Return an item (E00D) or sequence (E0DD) delimiter."""
    return struct.pack(">HHL" if syntax == BIG else "<HHL", 0xFFFE, number, 0)


def nested(depth: int, syntax: str = EXPLICIT, *, undefined: bool = True) -> bytes:
    """Sequences within sequences, `depth` of them."""
    tag, data = 0x00081140, b""
    for _ in range(depth):
        if undefined:
            inner = item(data + delimiter(0xE00D, syntax), syntax, UNDEFINED)
            data = element(tag, b"SQ", inner + delimiter(0xE0DD, syntax), syntax, UNDEFINED)
        else:
            data = element(tag, b"SQ", item(data, syntax), syntax)
    return data


def dataset(
    syntax: str = EXPLICIT,
    *,
    sop_class: str = US_IMAGE,
    instance: str | None = "1.2.3.4",
    study: str | None = "1.2.3",
    extra: bytes = b"",
    rows: int = 4,
    pixels: bytes | None = b"\1" * 16,
) -> bytes:
    """Return a small ultrasound image of `rows` × 4 grey pixels."""
    parts = [uid(0x00080016, sop_class, syntax)]
    parts += [uid(0x00080018, instance, syntax)] if instance is not None else []
    parts += [
        element(0x00080060, b"CS", b"US", syntax),
        element(0x00080070, b"LO", b"Maker ", syntax),
        extra,
        element(0x00100020, b"LO", b"PID7", syntax),
    ]
    parts += [uid(0x0020000D, study, syntax)] if study is not None else []
    parts += [
        uid(0x0020000E, "1.2.3.1", syntax),
        short(0x00280002, 1, syntax),
        element(0x00280004, b"CS", b"MONOCHROME2 ", syntax),
        short(0x00280010, rows, syntax),
        short(0x00280011, 4, syntax),
        short(0x00280100, 8, syntax),
    ]
    parts += [element(0x7FE00010, b"OW", pixels, syntax)] if pixels is not None else []
    return b"".join(parts)


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """One PDU; `length` overrides the true length."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def sub_item(kind: int, data: bytes, length: int | None = None) -> bytes:
    """One item of an association request."""
    return struct.pack(">BxH", kind, len(data) if length is None else length) + data


def context(identifier: int, abstract: str, syntaxes: Iterable[str]) -> bytes:
    """One proposed presentation context."""
    subs = [sub_item(0x30, abstract.encode())] + [sub_item(0x40, s.encode()) for s in syntaxes]
    return sub_item(0x20, bytes((identifier, 0, 0, 0)) + b"".join(subs))


def role(sop_class: str, *, scu: bool, scp: bool) -> bytes:
    """One SCP/SCU role selection item."""
    name = sop_class.encode()
    return sub_item(0x54, struct.pack(">H", len(name)) + name + bytes((scu, scp)))


def user_name(name: bytes, *, respond: bool) -> bytes:
    """One user identity item."""
    body = struct.pack(">BBH", 1, respond, len(name)) + name + struct.pack(">H", 0)
    return sub_item(0x58, body)


def associate_rq(
    contexts: Sequence[bytes] = (),
    *,
    called: str = "AXNODE",
    calling: str = "US1",
    application_context: str = APPLICATION_CONTEXT,
    maximum: int = 16384,
    user_items: bytes = b"",
    version: int = 1,
) -> bytes:
    """One A-ASSOCIATE-RQ."""
    contexts = contexts or [context(1, VERIFICATION, [IMPLICIT])]
    information = sub_item(0x51, struct.pack(">L", maximum)) + sub_item(0x52, b"1.2.3.4")
    body = (
        struct.pack(">Hxx", version)
        + called.encode().ljust(16)
        + calling.encode().ljust(16)
        + bytes(32)
        + sub_item(0x10, application_context.encode())
        + b"".join(contexts)
        + sub_item(0x50, information + user_items)
    )
    return pdu(1, body)


def p_data(*values: tuple[int, int, bytes]) -> bytes:
    """One P-DATA-TF of (context, control, data)."""
    return pdu(
        4, b"".join(struct.pack(">LBB", len(d) + 2, cx, control) + d for cx, control, d in values)
    )


def command(
    field: int | None,
    *,
    message_id: int | None = 7,
    sop_class: str = VERIFICATION,
    instance: str = "",
    has_data_set: bool = False,
    event_type: int | None = None,
) -> bytes:
    """One command set, implicit VR little endian."""

    def us(number: int, value: int) -> bytes:
        return struct.pack("<HHLH", 0, number, 2, value)

    def ui(number: int, text: str) -> bytes:
        value = text.encode() + b"\0" * (len(text) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    body = ui(0x0002, sop_class) if sop_class else b""
    body += us(0x0100, field) if field is not None else b""
    body += us(0x0110, message_id) if message_id is not None else b""
    body += us(0x0700, 0) if field == 0x0001 else b""  # Priority: medium
    body += us(0x0800, 1 if has_data_set else 0x0101)
    body += ui(0x1000, instance) if instance else b""
    body += us(0x1002, event_type) if event_type is not None else b""
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body
