"""``axnode studies``: the studies and their states."""

import argparse
import json

from daemon.commands.common import add_config, local, read_config, rows
from daemon.lifecycle import StudyState


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument("--state", choices=[state.value for state in StudyState])
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the studies, the one that began to arrive last first."""
    config = read_config(arguments)
    from daemon import status

    with rows(config) as database, database.read() as connection:
        found = status.studies(connection, status.Page(state=arguments.state))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        print(
            "none" if arguments.state else "no study has come yet; axnode status tells of refusals"
        )
    for study in found:
        print(
            f"{local(study['last_instance_us'])}  {study['state']:14} v{study['version']} "
            f"{study['instances']:4} instances  {study['study_uid']}"
        )
        if study["reason"]:
            print(f"{'':21}{study['reason']}")
        if study["purged_us"]:
            print(f"{'':21}images deleted on {local(study['purged_us'])}")
    return 0
