"""``axnode retry``: a parked study's analysis and deliveries again."""

import argparse

from daemon.commands.common import add_config, read_config, rows


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument(
        "study_uid", metavar="STUDY_UID", help="StudyInstanceUID, as in axnode studies"
    )


def run(arguments: argparse.Namespace) -> int:
    """Put what is parked back into its queue."""
    config = read_config(arguments)
    from daemon import clock, unpark

    names = [destination.name for destination in config.destinations]
    with rows(config) as database:
        words = database.write(
            lambda connection: unpark.retry(connection, arguments.study_uid, names, clock.now_us())
        )
    print(words)
    return 0
