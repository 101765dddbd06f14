"""A node with a modality before it and a PACS behind it, and what must hold at rest."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import func, select

from daemon import reconcile, schema
from daemon.database import Database
from daemon.spool import Spool
from dicom_io import part10
from dicom_io.scu import Remote
from tests.node import AT_REST, Node, axnode, destination
from tests.peers import free_port
from tests.soak.commitment import Depositor
from tests.soak.modality import Modality, Studies
from tests.soak.pacs import AE_TITLE, RecordingPacs

# Without a step: a request for commitment that a kill took away is repeated after ten minutes.
_SETTLE_S = 900.0
_QUIET_S = 0.3
MODALITY = "MODALITY"


@dataclass
class Account:
    """What a verification counted."""

    acknowledged: int = 0  # instances
    studies: int = 0
    versions: int = 0
    objects: int = 0  # distinct, at the PACS
    stores: int = 0  # C-STOREs that the PACS answered
    conflicts: int = 0  # files answered 0x0111
    retried: int = 0  # studies parked for lost workers, and retried by hand
    asked: int = 0  # requests for storage commitment that the PACS took
    promised: int = 0  # instances that the node committed to

    @property
    def resent(self) -> int:
        """C-STOREs of bytes that the PACS had already."""
        return self.stores - self.objects


class Site:
    """A node under attack.

    Parameters
    ----------
    folder
        Where everything lies; the node's state in `node/state`.
    committing
        Whether the PACS is asked to commit to what it stores, and the node by the modality.
    """

    def __init__(self, folder: Path, *, committing: bool = False, **tables: Any) -> None:
        self.pacs = RecordingPacs()
        study = {"quiet_period_s": _QUIET_S, "version_interval_s": 0}
        pacs = destination("pacs", AE_TITLE, self.pacs.port)
        port = free_port()
        node = Remote("node", "AXNODE", "127.0.0.1", port, MODALITY)
        self.depositor = Depositor(node) if committing else None
        if self.depositor:
            pacs["storage_commitment"] = True
            tables["node"] = {"port": port, "storage_commitment_scp": True}
            tables["sources"] = [{"ae_title": MODALITY, "port": self.depositor.port}]
        self.node = Node(folder / "node", destinations=[pacs], **{"study": study, **tables})
        self.pacs.reporter.node_port = self.node.port
        self.studies = Studies(folder / "files")
        self.modality = Modality(
            self.node.remote(MODALITY), self.depositor.deposit if self.depositor else None
        )
        self.kills = 0
        self._retried = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.modality.close()
        if self.depositor:
            self.depositor.close()
        self.node.kill()
        self.pacs.close()

    def settle(self) -> None:
        """Let what was acknowledged come to rest; studies parked by kills are retried."""
        self.pacs.up()
        waiting, since = self._unrest(), time.monotonic()
        while not (self._peers_idle and self._at_rest()):
            if (now := self._unrest()) != waiting:
                waiting, since = now, time.monotonic()
            if time.monotonic() > since + _SETTLE_S:
                raise AssertionError(f"not at rest: {waiting}\n{self.node.log[-3000:]}")
            time.sleep(0.3)

    @property
    def _peers_idle(self) -> bool:
        return (
            self.modality.idle
            and self.pacs.reporter.idle
            and (self.depositor is None or self.depositor.idle)
        )

    def _unrest(self) -> dict[str, Any]:
        return {
            uid: (study["state"], study["reason"])
            for uid, study in self.node.studies().items()
            if study["state"] not in AT_REST
        }

    def _at_rest(self) -> bool:
        known = self.node.studies()
        for uid, study in known.items():
            if study["state"] == "parked":
                assert "worker was lost" in study["reason"], study
                done = axnode("retry", "--config", str(self.node.config_file), uid)
                assert done.returncode == 0, done.stderr
                self._retried += 1
        return self.modality.ledger.studies <= known.keys() and all(
            study["state"] in ("delivered", "not_evaluable") for study in known.values()
        )

    def verify(self) -> Account:
        """Hold modality, node and PACS against each other; the node is at rest."""
        database = Database(f"sqlite:///{self.node.state_dir / 'axnode.sqlite'}", owner=False)
        try:
            account = self._hold(database)
        finally:
            database.close()
        return account

    def _hold(self, database: Database) -> Account:
        spool, objects = (
            Spool(self.node.state_dir / name, owner=False) for name in ("spool", "objects")
        )
        ledger, stored = self.modality.ledger, self.pacs.stored
        with database.read() as connection:
            received = connection.execute(select(schema.instances)).all()
            built = connection.execute(select(schema.objects)).all()
            versions = connection.execute(select(schema.analyses)).all()
            twice = connection.execute(built_twice()).all()
            problems = list(reconcile.inconsistent(connection))
        for kind in (reconcile.instances(spool), reconcile.objects(objects)):
            problems += reconcile.harmed(database, kind)
        assert problems == []
        kept = {row.sop_instance_uid: row.instance_hash for row in received}
        # every acknowledged instance, by its own hash, and under it the bytes that were sent
        assert {uid: kept.get(uid) for uid in ledger.acknowledged} == ledger.acknowledged
        # no conflicting file was answered with success
        assert {status for each in ledger.refused.values() for status in each} <= {0x0111}
        # one set of objects a version, one version an input
        assert twice == []
        inputs = [(row.study_id, row.input_hash) for row in versions]
        assert len(set(inputs)) == len(inputs)
        # the PACS has exactly what is recorded, and never two things under one UID
        wanted = {row.sop_instance_uid: data_set(objects.path(row.file_hash)) for row in built}
        assert {uid: set(digests) for uid, digests in stored.items()} == {
            uid: {digest} for uid, digest in wanted.items()
        }
        # what the PACS was asked to commit to, it has; what was acknowledged, the node commits to
        assert self.pacs.reporter.faults == []
        promised: set[str] = set()
        if self.depositor:
            # other bytes came under its UID, and a modality would forget the wrong ones
            assert self.depositor.failed <= ledger.refused.keys()
            promised = self.depositor.committed - self.depositor.failed
            assert promised == ledger.acknowledged.keys() - self.depositor.failed
            safe = {row.sop_instance_uid for row in received if row.committed_us is not None}
            assert promised <= safe
        account = Account(
            acknowledged=len(ledger.acknowledged),
            studies=len(ledger.studies),
            versions=len(versions),
            objects=len(stored),
            stores=sum(map(len, stored.values())),
            conflicts=sum(map(len, ledger.refused.values())),
            retried=self._retried,
            asked=self.pacs.reporter.requests,
            promised=len(promised),
        )
        # bytes go a second time only where an answer was lost with a kill or an outage
        assert account.resent <= self.kills + self.pacs.outages, account
        return account


def built_twice() -> Any:
    """Return a query for objects that were built twice for one version."""
    table = schema.objects
    key = (table.c.analysis_id, table.c.role, table.c.ordinal)
    return select(*key).group_by(*key).having(func.count() > 1)


def data_set(path: Path) -> str:
    """Return the SHA-256 of a file's data set."""
    _, offset = part10.split(path)
    return hashlib.sha256(path.read_bytes()[offset:]).hexdigest()


def ticks(seconds: float) -> Iterator[float]:
    """Yield the time left until it is over, every tenth of a second."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield left
        time.sleep(min(0.1, left))
