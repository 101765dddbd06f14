"""The console's pages on the server, with a thousand studies in the database and with 100,000.

``python -m tests.benchmarks.bench_console`` prints the table. A page is asked for over loopback by
somebody who has signed in.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx

from daemon.clock import now_us
from model.bundle_file import SHIPPED, Bundle
from tests.benchmarks.full_database import DESTINATIONS, fill
from tests.benchmarks.table import Figure, finish, within
from tests.console import served

FEW, MANY, UNDER_WAY = 1_000, 100_000, 400
PAGES = {
    "the first page": "/",
    "studies": "/studies",
    "parked studies": "/studies?state=parked",
    "a study": "/studies/500",
    "peers": "/peers",
    "the model and its drift": "/model",
    "a patient who is not there": "find",
}
_LIMIT_MS = 200


def asked(client: httpx.Client, page: str, token: str) -> float:
    """Return the milliseconds until a page is there."""
    start = time.perf_counter()
    if page == "find":
        data = {"form_token": token, "words": "nobody"}
        answer = client.post("/studies/find", data=data)
    else:
        answer = client.get(page)
    taken = (time.perf_counter() - start) * 1e3
    if answer.status_code != 200:
        raise SystemExit(f"{page} answered {answer.status_code}")
    return taken


def sites(stack: ExitStack, folder: Path) -> Iterator[httpx.Client]:
    """Serve both databases; yield a signed-in browser of each."""
    names = [{"name": n, "ae_title": "P", "host": "127.0.0.1", "port": 9} for n in DESTINATIONS]
    for number in (FEW, MANY):
        own = folder / str(number)
        own.mkdir()
        fill(own / "axnode.sqlite", number, UNDER_WAY)
        _score(own / "axnode.sqlite")
        console = stack.enter_context(served(own, clock=now_us, destinations=names))
        yield stack.enter_context(console.browser("anna"))


def _score(file: Path) -> None:
    """Have the bundle that ships find two nodes in every study, as the page of its scores wants."""
    size = dict.fromkeys(("long_axis", "short_axis", "area", "circularity"), 1.0)
    about = {"laterality": "R", "unit": "mm", "margin_sharpness": None, "key_frame": 1}
    about |= {"sop_instance_uid": "1.2", "frames": [1], **size}
    nodes = [{"label": f"Node {n}", "score": n / 3, **about} for n in (1, 2)]
    values = Bundle.load(SHIPPED).digest, json.dumps({"nodes": nodes}) + " " * 1500
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE analyses SET bundle_digest = ?, summary = ?", values)


def measure(rounds: int) -> list[Figure]:
    """Ask both for each page in turn."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        few, many = sites(stack, Path(folder))
        tokens = [
            client.get("/").text.split('name="form_token" value="')[1].split('"')[0]
            for client in (few, many)
        ]
        found = []
        for name, page in PAGES.items():
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for client, token, taken in zip((few, many), tokens, times, strict=True):
                    taken.append(asked(client, page, token))
            what = f"console: {name}, {MANY:,} studies"
            figure = Figure(what, "ms", tuple(times[1]), f"{FEW:,} studies", tuple(times[0]))
            found.append(within(_LIMIT_MS, figure))
        return found


if __name__ == "__main__":
    finish(__doc__, measure, rounds=9)
