"""How a destination is reached: by an association, or by web services."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from daemon.config import Config
from daemon.config_destination import Destination
from dicom_io import scu
from dicom_io.archive import Archive
from dicom_io.scu import Remote, StoreResult

Receiver: TypeAlias = Remote | Archive


def peer(destination: Destination, config: Config, tls: ssl.SSLContext | None = None) -> Receiver:
    """Return the peer of a configured destination; `tls` is what one with TLS is opened in."""
    if destination.dicomweb is not None:
        return Archive(
            name=destination.name,
            url=destination.dicomweb.rstrip("/"),
            user=destination.user,
            password=destination.password,
            token=destination.token,
            ca=Path(config.tls.ca) if config.tls.ca else None,
        )
    return remote(destination, config.node.ae_title, tls)


def remote(destination: Destination, calling_ae: str, tls: ssl.SSLContext | None = None) -> Remote:
    """Return what an association is opened to."""
    if destination.tls and tls is None:
        raise ValueError(f"destination {destination.name} must not be talked to without TLS")
    return Remote(
        name=destination.name,
        ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        calling_ae=calling_ae,
        tls=tls if destination.tls else None,
        certificate_name=destination.certificate_name,
    )


def send(
    there: Receiver,
    paths: Sequence[Path],
    on_result: Callable[[StoreResult], None],
    on_tick: Callable[[], None],
) -> object:
    """Send files; see `scu.store` and `dicomweb_store.store`."""
    if isinstance(there, Archive):
        from dicom_io import dicomweb_store  # with requests: only where it is configured

        return dicomweb_store.store(there, paths, on_result, on_tick)
    return scu.store(there, paths, on_result, on_tick=on_tick)


def echo(there: Receiver) -> str:
    """See whether a destination answers; return how it was asked, raise `PeerError` if not."""
    if isinstance(there, Archive):
        from dicom_io import dicomweb

        dicomweb.echo(there)
        return "a query (QIDO-RS)"
    scu.echo(there)
    return "C-ECHO"
