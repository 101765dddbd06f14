"""``axnode user``: what lets somebody in on the HTTP port, to be put into the configuration."""

import argparse
import getpass
import sys

_LEAST = 12  # characters (NIST SP 800-63B asks for eight, and for fifteen without a second factor)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", help="name of the person or program")
    parser.add_argument(
        "--role",
        choices=("viewer", "admin", "source"),
        default="viewer",
        help="viewer looks; admin acts too; source stores images by STOW-RS, by a token always",
    )
    parser.add_argument(
        "--token", action="store_true", help="make a token for a program instead of a password"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table ``[[users]]``; the password is read from the terminal, or from a pipe."""
    from daemon import config
    from daemon.console import accounts

    user = {"name": arguments.name, "role": arguments.role}
    if arguments.token or arguments.role == "source":
        token, user["token_hash"] = accounts.new_token()
        print(f"the token, which is not shown again: {token}", file=sys.stderr)
    else:
        user["password_hash"] = accounts.hash_password(password())
    config.parse({"users": [user]})
    print("[[users]]")
    for key, value in user.items():
        print(f'{key} = "{value}"')
    return 0


def password() -> str:
    """Ask for a password, twice and until it will do on a terminal; read one line of a pipe."""
    from daemon.errors import InputError

    if sys.stdin.isatty():
        while True:
            entered = getpass.getpass(f"Password, at least {_LEAST} characters: ")
            if len(entered) < _LEAST:
                print("that is too short", file=sys.stderr)
            elif entered != getpass.getpass("The same again: "):
                print("the two differ", file=sys.stderr)
            else:
                return entered
    entered = sys.stdin.readline().rstrip("\n")
    if len(entered) < _LEAST:
        raise InputError(f"a password has at least {_LEAST} characters")
    return entered
