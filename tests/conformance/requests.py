"""What the node proposes when it sends: read off the wire by a listener that takes the request."""

import contextlib
import inspect
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import deliver
from daemon.config import Config
from dicom_io import commitment_scp, commitment_scu, line, scu
from dicom_io.commitment import Reference, Report, Request
from dicom_io.errors import PeerError
from dicom_io.negotiation import Proposal, read_proposal
from dicom_io.scu import Remote
from tests.conformance.config import toml
from tests.conformance.examples import Objects
from tests.conformance.network import named, sentence, table

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.6.1"


@contextmanager
def listener() -> Iterator[tuple[Remote, list[bytes]]]:
    """Listen for one association request, keep it, and hang up."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        thread = threading.Thread(target=_take, args=(server, requests))
        thread.start()
        yield Remote("pacs", "PACS", "127.0.0.1", server.getsockname()[1], "AXNODE"), requests
        thread.join()


def _take(server: socket.socket, requests: list[bytes]) -> None:
    sock, _ = server.accept()
    with sock, sock.makefile("rb") as stream:
        head = stream.read(6)
        (length,) = struct.unpack(">xxL", head)
        requests.append(head + stream.read(length))


def proposal(send: Callable[[Remote], object]) -> Proposal:
    """Return the association request that `send` makes."""
    with listener() as (remote, requests), contextlib.suppress(PeerError):  # nobody answers
        send(remote)
    return read_proposal(requests[0])


def store_proposal(objects: Objects, folder: Path) -> Proposal:
    """Return the request that carries every kind of result object in every form."""
    paths = []
    for number, built in enumerate(objects.built):
        path = folder / f"sent-{number}.dcm"
        path.write_bytes(built.data)
        paths.append(path)
    return proposal(lambda remote: scu.store(remote, paths))


def commitment_proposals() -> list[Proposal]:
    """Return the requests to ask a PACS to commit, and to call a modality back."""
    reference = Reference(SOP_CLASS, "1.2.3")
    asked, told = Request("1.2.9", (reference,)), Report("1.2.9", (reference,), ())
    return [
        proposal(lambda remote: commitment_scu.ask(remote, [asked], lambda *report: 0)),
        proposal(lambda remote: commitment_scp.tell(remote, told)),
    ]


def contexts(proposals: Iterable[Proposal]) -> dict[str, list[str]]:
    """Return the names of the transfer syntaxes proposed, by SOP Class UID."""
    held: dict[str, dict[str, None]] = {}
    for one in proposals:
        for context in one.primitive.presentation_context_definition_list:
            names = [named(str(uid)) for uid in context.transfer_syntax]
            held.setdefault(str(context.abstract_syntax), {}).update(dict.fromkeys(names))
    return {uid: list(names) for uid, names in held.items()}


def contexts_table(proposals: Iterable[Proposal]) -> str:
    """Return the presentation contexts of association requests."""
    rows = [(named(uid), uid, ", ".join(names)) for uid, names in contexts(proposals).items()]
    return table(("SOP class", "UID", "Transfer syntaxes"), rows)


# The setting that an object of a class hangs on.
_SETTINGS = {
    "1.2.840.10008.5.1.4.1.1.66.4": ("seg", "seg_compression"),
    "1.2.840.10008.5.1.4.1.1.7": ("secondary_capture",),
    "1.2.840.10008.5.1.4.1.1.11.1": ("presentation_state",),
    "1.2.840.10008.5.1.4.1.1.11.2": ("presentation_state",),
    "1.2.840.10008.5.1.4.1.1.88.33": ("sr", "sr_class"),
    "1.2.840.10008.5.1.4.1.1.88.34": ("sr", "sr_class"),
}


def minute_table(sent: Proposal) -> str:
    """Return what the administrator of a PACS must know; `sent` is a request to store."""
    own = Config().node
    rows = [
        ("AE title, called and calling", f"`{own.ae_title}`", "`node.ae_title`"),
        ("Address and port", f"`{own.host}`, `{own.port}`", "`node.host`, `node.port`"),
    ]
    for uid, names in contexts([sent]).items():
        rows.append((f"Sends {named(uid)}", ", ".join(names), _settings_of(uid)))
    return table(("What", "By default, or in which syntaxes", "Setting and its default"), rows)


def _settings_of(uid: str) -> str:
    defaults = Config().results
    return ", ".join(f"`results.{k} = {toml(getattr(defaults, k))}`" for k in _SETTINGS[uid])


def sending_sentence() -> str:
    """Return the limits of sending in a sentence."""
    progress = inspect.signature(scu.store).parameters["progress_timeout_s"].default
    return sentence(
        f"At most {deliver._BATCH} objects go over one association. Limits: {line.CONNECT_S:g} s "
        f"for the connection; {progress:g} s without any progress, then the association is cut and "
        "what was not answered counts as transient."
    )
