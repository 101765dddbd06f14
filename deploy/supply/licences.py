"""The licences of what serves: which are allowed, and the table in docs/third-party.md."""

import sys
from importlib.metadata import PackageNotFoundError, metadata

from deploy.supply import lock

TABLE = lock.ROOT / "docs" / "third-party.md"

# May be used from, and installed beside, a work under Apache-2.0. MPL-2.0 binds the files of the
# package itself; NVIDIA's libraries may be used and are not ours to pass on.
ALLOWED = frozenset(
    (
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "LicenseRef-NVIDIA-Proprietary",
        "LicenseRef-none-stated",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    )
)

# Read in the licence file of the package, because its metadata say less or nothing.
_READ = {
    "cuda-toolkit": "LicenseRef-none-stated",  # an empty package that names others
    "jinja2": "BSD-3-Clause",
    "mpmath": "BSD-3-Clause",
    "nvidia-cusparselt-cu13": "LicenseRef-NVIDIA-Proprietary",
    "nvidia-nvtx": "Apache-2.0 WITH LLVM-exception",
    "scikit-image": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "torchvision": "BSD-3-Clause",
}

# Under the LGPL, used unmodified, as packages of their own that anybody may replace.
_LGPL = frozenset(("psycopg", "psycopg-binary"))

_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
}

_INTRODUCTION = """\
# What AxNode is built on

Made by `make licences`. AxNode's own licence is [Apache-2.0](../LICENSE). These packages serve in
an installed node. None of them is under the GPL or AGPL, and pylibjpeg-libjpeg (GPL-3.0) stays out.
Under the LGPL is psycopg, which talks to PostgreSQL and is loaded only where that is configured: it
is used unmodified, as a package of its own that anybody may replace. What only training and tests
need (`deploy/supply/develop.txt`) is no part of a node.

None of them is in this repository or in AxNode's wheel: pip fetches each from the package index,
under its own terms. Whoever passes on an image with all of it inside passes these on, too, and
should look at three things then:

- NVIDIA's libraries have a licence of their own. A build of torch without CUDA brings none of them.
- Inside their wheels numpy and scipy carry libgfortran (GPL-3.0 with the GCC runtime exception,
  which frees what links to it) and libquadmath (LGPL-2.1), as separate files.
- setuptools, which builds and does not serve, carries autocommand (LGPL-3.0).

| Package | Release | Licence | Wanted by |
|---|---|---|---|
"""


def of(name: str, allowed: frozenset[str] = ALLOWED) -> str | None:
    """Return the SPDX expression of an installed package; None: it is not installed.

    Raises
    ------
    LookupError
        Its metadata do not tell: read its licence file and note it in ``_READ``.
    """
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return None
    fields = ("License-Expression", "License")
    candidates = [_READ.get(name)]
    candidates += [value for field in fields for value in stated.get_all(field) or []]
    candidates += [_CLASSIFIERS.get(line) for line in stated.get_all("Classifier") or []]
    if name in _LGPL:
        allowed |= {"LGPL-3.0-only"}
    for candidate in candidates:
        if candidate and allowed.issuperset(parts(candidate)):
            return candidate
    raise LookupError(f"{name}: no licence that is allowed, among {candidates}")


def parts(expression: str) -> list[str]:
    """Split an SPDX expression into its licences, each with its exception."""
    flat = expression.replace("(", "").replace(")", "").replace(" OR ", " AND ")
    return flat.split(" AND ")


def table() -> str:
    """Return the page; every package that serves must be installed."""
    rows = []
    for pin in lock.read(lock.SERVING):
        licence = of(pin.name)
        if licence is None:
            raise LookupError(f"{pin.name} is not installed: `make venv` without TORCH_INDEX first")
        rows.append(f"| {pin.name} | {pin.version} | {licence} | {', '.join(pin.wanted_by)} |\n")
    return _INTRODUCTION + "".join(rows)


def main() -> int:
    """Write docs/third-party.md; 1 where a licence is not known or not allowed."""
    try:
        TABLE.write_text(table(), encoding="utf-8")
    except LookupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
