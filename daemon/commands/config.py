"""``axnode config init``: a commented configuration, with what is known put in."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.config import Config

_DEFAULT = Path("/etc/axnode/axnode.toml")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("what", choices=["init"], help="init: write a configuration")
    parser.add_argument(
        "--out",
        type=Path,
        default=_DEFAULT,
        metavar="FILE",
        help="where to; what is there is kept (default: %(default)s)",
    )
    parser.add_argument(
        "--defaults", action="store_true", help="ask nothing, though this is a terminal"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write it; on a terminal, ask for what a site differs in."""
    from daemon.config import parse
    from daemon.errors import InputError

    if arguments.out.exists():
        raise InputError(f"{arguments.out} is there already: edit it, or name another --out")
    text = resources.files("daemon").joinpath("axnode.example.toml").read_text("utf-8")
    if sys.stdin.isatty() and not arguments.defaults:
        text = _asked(text)
    import tomllib

    config: Config = parse(tomllib.loads(text))
    if not sys.stdin.isatty():
        print("no terminal, so nothing was asked: these are the defaults")
    _write(arguments.out, text)
    print(f"written: {arguments.out}")
    if not config.users:
        print("nobody may use the console yet: axnode user NAME --role admin prints who may")
    print(f"next: axnode check --config {arguments.out}")
    return 0


def _write(path: Path, text: str) -> None:
    from daemon.errors import InputError

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror}): name a folder that is there and yours"
        ) from error


def _asked(text: str) -> str:
    """Put the answers of a person into the example."""
    print("Press Enter to keep what stands in brackets.")
    title = _ask("AE title of this node", "AXNODE")
    text = _set(text, "node", "ae_title", title)
    modality = _ask("AE title of the ultrasound machine (empty: this computer only)", "")
    if modality:
        address = _ask("its IP address (empty: any; better named)", "", _address)
        text = _set(text, "node", "host", "0.0.0.0")  # noqa: S104 - sources are listed
        named: dict[str, str | bool] = {"host": address} if address else {}
        only = _ask("does it push nothing but axillary studies? (y, n)", "n", _yes_or_no)
        source = {"ae_title": modality, **named, "assume_axilla": only == "y"}
        text = _block(text, "sources", source)
        print("The node listens on all addresses of this computer, for who is listed.")
    text = _set(text, "node", "port", int(_ask("port to listen on", "11112", _port)))
    folder = _ask("folder for images, results and database", "/var/lib/axnode")
    text = _set(text, "node", "state_dir", folder)
    text = _set(text, "http", "port", int(_ask("port of the console", "8080", _port)))
    name = _ask("AE title of the PACS", "ORTHANC")
    host = _ask("its address", "127.0.0.1")
    port = int(_ask("its port", "4242", _port))
    for key, value in (("ae_title", name), ("host", host), ("port", port)):
        text = _set(text, "destinations", key, value)
    admin = _ask("name of a person who may use the console (empty: none yet)", "")
    if admin:
        from daemon.commands.user import password
        from daemon.console.accounts import hash_password

        user = {"name": admin, "role": "admin", "password_hash": hash_password(password())}
        text = _block(text, "users", user)
    return text


def _ask(question: str, default: str, check: Callable[[str], str] = lambda answer: "") -> str:
    shown = f" [{default}]" if default else ""
    while True:
        answer = input(f"{question}{shown}: ").strip() or default
        problem = check(answer)
        if not problem:
            return answer
        print(problem)


def _address(answer: str) -> str:
    from ipaddress import ip_address

    try:
        ip_address(answer or "0.0.0.0")  # noqa: S104 - none is an answer too
    except ValueError:
        return "that is no IP address"
    return ""


def _yes_or_no(answer: str) -> str:
    return "" if answer in ("y", "n") else "y or n"


def _port(answer: str) -> str:
    return "" if answer.isdecimal() and 0 < int(answer) < 65536 else "a port is 1 to 65535"


def _value(value: str | int) -> str:
    import json

    return json.dumps(value)  # of these TOML writes all as JSON does


def _set(text: str, table: str, key: str, value: str | int) -> str:
    """Set a key that stands in a table of the example."""
    head = re.search(rf"^\[+{table}\]+$", text, re.MULTILINE)
    assert head is not None, table  # noqa: S101 - it stands in the example, which tests read
    line = re.compile(rf"^{key} = .*$", re.MULTILINE)
    found = line.search(text, head.end())
    assert found is not None, key  # noqa: S101 - likewise
    return f"{text[: found.start()]}{key} = {_value(value)}{text[found.end() :]}"


def _block(text: str, table: str, values: Mapping[str, str | bool]) -> str:
    """Add a block of a list where the example has one commented out."""
    lines = [f"[[{table}]]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    mark = f"#[[{table}]]\n"
    before, _, after = text.partition(mark)
    return "\n".join([before.rstrip("\n"), *lines, "", mark + after])
