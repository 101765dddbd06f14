"""How the service is put together where storage commitment is configured; no model is started."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon import schema
from daemon.config import Config
from daemon.service import Service
from tests import builders
from tests.builders import Rows

PACS = {"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": 4242}
DESTINATIONS = [{**PACS, "storage_commitment": True}, {**PACS, "name": "plain"}]


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    tables: dict[str, Any] = getattr(request, "param", {})
    config: Config = builders.config(tmp_path, destinations=DESTINATIONS, **tables)
    made = Service(config)
    yield made
    made.database.close()
    made._lock.close()


def test_only_who_is_configured_is_asked(service: Service) -> None:
    asked = {name: item._asker is not None for name, item in service._outbox.deliverers.items()}
    assert asked == {"pacs": True, "plain": False}


def test_what_is_stored_follows_the_configuration_at_the_start(service: Service) -> None:
    rows = Rows(service.database)
    rows.delivering(service._folders.objects, ["pacs", "plain", "gone"], count=1)
    service.database.write(lambda c: c.execute(update(schema.deliveries).values(state="stored")))
    service._outbox.adopt()
    found = {row.destination: row.state for row in rows.all(schema.deliveries)}
    assert found == {"pacs": "stored", "plain": "delivered", "gone": "parked"}
    assert service.health.metrics()['axnode_deliveries{destination="pacs",state="stored"}'] == 1


def test_to_modalities_nothing_is_confirmed_unless_it_is_configured(service: Service) -> None:
    receiving = service._receiving
    assert receiving is not None
    assert (receiving.teller, receiving.acceptor._provider) == (None, None)


@pytest.mark.parametrize("service", [{"node": {"storage_commitment_scp": True}}], indirect=True)
def test_to_modalities_it_is_confirmed_where_it_is_configured(service: Service) -> None:
    receiving = service._receiving
    assert receiving is not None
    assert receiving.teller is not None
    assert receiving.acceptor._provider is not None
