"""``axnode train --data DIR --out DIR``: a bundle from a dataset folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.commands.readers import readers

if TYPE_CHECKING:
    from model.training.config import TrainConfig


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--data", type=Path, required=True, help="dataset folder with index.csv")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder of the run")
    what.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help="train nothing; write a PNG of what augmentation makes of 8 images",
    )
    parser.add_argument("--config", type=Path, help="settings in TOML; left out: the paper's")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")


def run(args: argparse.Namespace) -> int:
    """Train; TrainingError says what is wrong with data, settings or checkpoint."""
    from model.training import config
    from model.training.run import train

    settings = config.load(args.config)
    if args.contact_sheet:
        return _contact_sheet(args, settings)
    train(args.data, args.out, settings, resume=args.resume, readers=readers(), say=_say)
    return 0


def _contact_sheet(args: argparse.Namespace, settings: "TrainConfig") -> int:
    from model.training.contact_sheet import write_sheet
    from model.training.index import read_index

    write_sheet(args.contact_sheet, read_index(args.data), settings, readers())
    _say(f"contact sheet written to {args.contact_sheet}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
