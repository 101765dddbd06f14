"""The command ``axnode``: parses, runs one sub-command, turns errors into one line and a code.

Exit codes: 0 done; 1 done, and something is not right; 2 wrong usage or configuration; 3 an input
cannot be used; 4 a port, peer, folder or database cannot be had; 70 an error in AxNode itself;
130 interrupted.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from daemon import __version__
from daemon.errors import DaemonError
from daemon.logs import place_of

COMMANDS = {
    "demo": "show the whole loop on synthetic studies, over loopback",
    "serve": "run the service",
    "check": "examine configuration, disk, database, model and destinations",
    "status": "show counts per state, the oldest waiting study and the destinations",
    "studies": "list the studies and their states",
    "config": "write a commented configuration",
    "rules": "tell what the rules make of studies",
    "user": "make a password hash or a token for the console",
    "backfill": "bring studies of an archive to the node, by DICOMweb",
    "retry": "try a parked study's analysis and deliveries again",
    "backup": "copy the state of a node, which may be running, into a folder",
    "restore": "make a back-up the state of a node that does not run",
    "analyze": "analyse files without a service: SEG, SR, pictures and JSON into a folder",
    "phantom": "write synthetic studies or a synthetic training cohort",
    "train": "train a bundle on your own data",
    "evaluate": "measure a bundle on a dataset: metrics, figures and a report",
    "bundle": "show or verify a model bundle",
}
# by name: the packages that define them are not imported for the sake of a message
_CODES = {
    "BundleError": 2,
    "SettingError": 2,
    "TrainingError": 3,
    "FrameError": 3,
    "StoreRefused": 3,
    "ObjectError": 3,
    "DeviceError": 4,
    "PeerError": 4,
}
_INTERNAL = 70
_INTERRUPTED = 130


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Build the parser; only the chosen command's module is imported, so that help is quick."""
    top = argparse.ArgumentParser(
        prog="axnode",
        description="A DICOM node that segments axillary lymph nodes on ultrasound. "
        "Research use only; the bundle that ships is a demonstration.",
        epilog="Exit codes: 0 done, 1 something is not right, 2 usage or configuration, "
        "3 input, 4 something is not reachable, 70 internal error.",
    )
    top.add_argument("--version", action="version", version=f"axnode {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, words in COMMANDS.items():
        sub = commands.add_parser(name, help=words, description=words.capitalize() + ".")
        if name == chosen:
            importlib.import_module(f"daemon.commands.{name}").configure(sub)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    arguments = parser(chosen if chosen in COMMANDS else None).parse_args(words)
    try:
        module = importlib.import_module(f"daemon.commands.{arguments.command}")
        return int(module.run(arguments))
    except (KeyboardInterrupt, EOFError):  # or the end of what was typed
        print("axnode: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader left; nothing more to say
        return 0
    except DaemonError as error:
        print(f"axnode {arguments.command}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - process entry: one line, and a code that says so
        return _unexpected(arguments.command, error)


def _unexpected(command: str, error: Exception) -> int:
    if os.environ.get("AXNODE_TRACEBACK"):
        raise error
    kind = type(error)
    code = next(
        (_CODES[base.__name__] for base in kind.mro() if base.__name__ in _CODES), _INTERNAL
    )
    text = str(error).splitlines()[0] if str(error) else ""
    if code == _INTERNAL:  # a library's words may quote a data set
        text = f"{kind.__name__}{place_of(error)} (set AXNODE_TRACEBACK=1 to see the whole)"
    print(f"axnode {command}: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
