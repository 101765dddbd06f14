"""``axnode backfill``: studies of an archive analysed, as many as the node manages, by night."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config, rows

if TYPE_CHECKING:
    from daemon.config import Config
    from dicom_io.archive import Archive
    from dicom_io.scu import Remote


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="NAME",
        help="the [[destinations]] with a dicomweb service that has the studies",
    )
    parser.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what they match (QIDO-RS), such as StudyDate=20240101-20241231 or "
        "StudyDescription=*AXILLA*; may be given several times",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        required=True,
        metavar="FILE",
        help="where it is written what is done; with the same file it goes on",
    )
    parser.add_argument(
        "--between",
        default="00:00-00:00",
        metavar="HH:MM-HH:MM",
        help="work at these hours only (default: always)",
    )
    parser.add_argument(
        "--waiting",
        type=int,
        default=10,
        metavar="N",
        help="fetch nothing while so many studies wait at the node (default: %(default)s)",
    )
    parser.add_argument("--most", type=int, default=None, metavar="N", help="end after N studies")
    parser.add_argument(
        "--title",
        default=None,
        metavar="AE",
        help="title that pushes to the node, one of its [[sources]] (default: BACKFILL)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Bring them; 1 where some could not be."""
    config = read_config(arguments)
    from functools import partial

    from daemon.backfill import Backfill, Hours, Journal
    from daemon.errors import UnavailableError
    from dicom_io import scu
    from dicom_io.dicomweb_query import Query
    from dicom_io.errors import PeerError

    archive, filters = _archive(config, arguments.source), _filters(arguments.query)
    hours, journal = Hours.read(arguments.between), Journal(arguments.journal)
    failed = done = 0
    with rows(config) as database:
        push = partial(scu.store, _node(config, arguments.title))
        work = Backfill(Query(archive), push, database, journal, hours, arguments.waiting)
        try:
            for study_uid, outcome in work.run(filters, arguments.most):
                print(f"{study_uid}  {outcome}", flush=True)
                done += 1
                failed += outcome.startswith("failed")
        except PeerError as error:
            raise UnavailableError(f"{error}; run it again, and it goes on") from error
    print(f"{done} studies, {failed} failed; the same command goes on, and tries those again")
    return 1 if failed else 0


def _archive(config: "Config", name: str) -> "Archive":
    from daemon import ways
    from daemon.errors import InputError
    from dicom_io.archive import Archive

    for destination in config.destinations:
        if destination.name == name:
            peer = ways.peer(destination, config) if destination.dicomweb else None
            if isinstance(peer, Archive):
                return peer
            raise InputError(f"--from {name}: that destination has no dicomweb service")
    raise InputError(f"--from {name}: no such destination is configured")


def _filters(queries: list[str]) -> dict[str, str]:
    from daemon.errors import InputError

    filters = {}
    for query in queries:
        key, equals, value = query.partition("=")
        if not (key.isalnum() and equals and value):
            raise InputError(f"--query {query}: write it as StudyDate=20240101-20241231")
        filters[key] = value
    return filters


def _node(config: "Config", title: str | None) -> "Remote":
    from daemon import certificates, clock
    from daemon.callers import Callers
    from daemon.errors import InputError
    from dicom_io.scu import Remote

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.node.host, config.node.host)  # noqa: S104
    tls = certificates.load(config, clock.now_us()) if config.tls.receive else None
    context = tls.client if tls else None
    name = (title or "BACKFILL", config.node.ae_title, host, config.node.port)
    callers = Callers(config)
    if not callers.listed(name[0], host) and config.sources:
        raise InputError(
            f"the node takes no images from {name[0]} at {host}: list it under [[sources]] with "
            "that host, or name one that is listed (--title)"
        )
    return Remote("node", name[1], host, name[3], name[0], context, tls_name(config))


def tls_name(config: "Config") -> str | None:
    """Return a name that the node's own certificate holds; None: its host."""
    from daemon import certificates, clock

    setup = certificates.load(config, clock.now_us()) if config.tls.receive else None
    return setup.certificates[0].name if setup else None
