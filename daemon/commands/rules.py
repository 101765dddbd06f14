"""``axnode rules test``: what the rules of a configuration make of studies, before they count."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.common import add_config, read_config

if TYPE_CHECKING:
    from daemon.rules import Verdict


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config(parser)
    parser.add_argument("what", choices=["test"], help="test: judge the studies of files")
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE", help="DICOM files, or folders of them"
    )
    parser.add_argument(
        "--source", default="", metavar="AE", help="the AE title that they are taken to come from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each study: whether it is analysed, why, and where its results go."""
    config = read_config(arguments)
    from daemon.eligibility import HeaderOf
    from daemon.files import gather
    from daemon.rules import judge

    listed = [source for source in config.sources if source.ae_title == arguments.source]
    assumed = any(source.assume_axilla for source in listed)
    for number, files in enumerate(gather(arguments.paths).studies.values(), 1):
        images = [HeaderOf(path, arguments.source, assumed=assumed) for _, path in files]
        which = f"{files[0][1].name}, study {number}, {len(files)} images"
        print(f"{which}: {_words(judge(config.rules, images))}")
    return 0


def _words(verdict: "Verdict") -> str:
    if not verdict.analyse:
        return f"ignored: {verdict.why}"
    hurry = f", before others ({verdict.urgent_by})" if verdict.urgent_by else ""
    by = f", by {verdict.bundle} ({verdict.bundle_by})" if verdict.bundle else ""
    said = f"analysed ({verdict.why}){hurry}{by}; results go to"
    if verdict.destinations is None:
        return f"{said} every destination"
    names = ", ".join(verdict.destinations) or "nobody"
    return f"{said} {names} ({verdict.sent_by})"
