"""``axnode status``: counts, the oldest waiting study, destinations, troubles, refusals."""

import argparse
import json
from typing import Any

from daemon.commands.common import add_config, local, read_config, rows

_SHOWN = 20  # refusals
_COUNTED = ("parked", "destination")  # troubles that stand beside their numbers


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; 1 where something is parked."""
    config = read_config(arguments)
    from daemon import clock, refused, status
    from daemon.presence import processes
    from daemon.troubles import of_rows

    with rows(config) as database, database.read() as connection:
        now = database.clock(clock.now_us)()
        names = [destination.name for destination in config.destinations]
        report: dict[str, Any] = {
            "studies": status.counts(connection),
            "oldest_waiting_s": status.oldest_waiting_s(connection, now),
            "destinations": status.destinations(connection, names),
            "refused": [
                vars(each) for each in refused.refusals(connection, config.node.ae_title)[:_SHOWN]
            ],
            "purged": status.purged(connection),
            "processes": [vars(each) for each in processes(connection, now)],
            "attention": [
                {"words": each.words, "remedy": each.remedy}
                for each in of_rows(connection, names)
                if each.key.partition(" ")[0] not in _COUNTED
            ],
        }
    print(json.dumps(report, indent=2) if arguments.json else _text(report))
    return 1 if report["studies"]["parked"] else 0


def _process(seen: dict[str, Any]) -> str:
    where = f", {seen['together']} frames at once on {seen['device']}" if seen["device"] else ""
    since = f"seen {seen['silent_s']:.0f} s ago"
    return f"{seen['holder']}  {', '.join(seen['roles'])}{where}; {since}"


def _text(report: dict[str, Any]) -> str:
    lines = ["studies"]
    lines += [f"  {state:14} {number}" for state, number in report["studies"].items()]
    oldest = report["oldest_waiting_s"]
    lines.append(f"oldest waiting   {'none' if oldest is None else f'{oldest:.0f} s'}")
    lines.append("destinations")
    for item in report["destinations"]:
        shown = ["delivered", "pending", "parked", *(k for k in ("stored", "replaced") if item[k])]
        counts = ", ".join(f"{item[key]} {key}" for key in shown)
        lines.append(f"  {item['name']:14} {counts}")
        if item["last_failure"]:
            lines.append(f"  {'':14} last failure: {item['last_failure']}")
    if not report["destinations"]:
        lines.append("  none is configured: results stay on this node")
    if report["purged"]["studies"]:
        at = local(report["purged"]["last_us"])
        lines.append(f"images deleted   {report['purged']['studies']} studies, last on {at}")
    if report["processes"]:
        lines.append("processes")
    lines += [f"  {_process(each)}" for each in report["processes"]]
    lines += _listed("needs attention", report["attention"])
    refused = [{**each, "words": _refusal(each)} for each in report["refused"]]
    return "\n".join(lines + _listed("refused lately", refused))


def _listed(title: str, items: list[dict[str, Any]]) -> list[str]:
    """Return lines of what is wrong, each with what to do; none where nothing is."""
    lines = [title] if items else []
    for item in items:
        lines += [f"  {item['words']}", f"      {item['remedy']}"]
    return lines


def _refusal(item: dict[str, Any]) -> str:
    syntaxes = f" ({item['transfer_syntaxes']})" if item["transfer_syntaxes"] else ""
    peer = f"{item['calling_ae'] or '?'}@{item['address']}"
    return f"{item['count']} x {peer}: {item['what']}{syntaxes}: {item['reason']}"
