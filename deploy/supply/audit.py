"""Known vulnerabilities among the locked packages, asked of OSV through pip-audit.

A service that cannot be reached must not look like a clean bill: pip-audit ends with 0 where every
package was skipped, and with 1 both for a finding and for a failure. So a release whose flaws have
been public for years is asked for first, and what counts is the report, package by package.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.supply import lock

CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 4  # as the exit codes of axnode

OSV = "https://api.osv.dev/v1/query"
_KNOWN_BAD = "jinja2==2.4.1"  # CVE-2014-1402 and later ones


def audit(url: str) -> int:
    """Ask for every locked package; prints one line per finding and one that sums up."""
    first = _ask(url, _KNOWN_BAD)
    if first is None or not first[0]["vulns"]:
        return _not_audited(f"{url} cannot be reached, or knows no vulnerability of {_KNOWN_BAD}")
    pins = lock.read()
    packages = _ask(url, *(f"{pin.name}=={pin.version}" for pin in pins))
    if packages is None:
        return _not_audited(f"{url} stopped answering")
    findings = [line for package in packages for line in _findings(package)]
    if findings:
        print(*findings, sep="\n")
        return VULNERABLE
    answered = {package["name"] for package in packages if "skip_reason" not in package}
    if missing := [pin.name for pin in pins if pin.name not in answered]:
        return _not_audited(f"no answer for {', '.join(missing)}")
    print(f"{len(pins)} locked packages: no known vulnerability")
    return CLEAN


def _ask(url: str, *requirements: str) -> list[dict[str, Any]] | None:
    """Return pip-audit's report, one entry per package; None: there is none."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("\n".join(requirements), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv"]
        command += ["--osv-url", url, "--requirement", str(listed), "--disable-pip", "--no-deps"]
        command += ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None
    return packages


def _findings(package: dict[str, Any]) -> Iterable[str]:
    for found in package.get("vulns", ()):
        names = ", ".join([found["id"], *found["aliases"]])
        fixed = ", ".join(found["fix_versions"]) or "no release yet"
        yield f"{package['name']} {package['version']}: {names}; fixed in: {fixed}"


def _not_audited(why: str) -> int:
    print(f"NOT AUDITED: {why}", file=sys.stderr)
    return NOT_AUDITED


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 no known vulnerability, 1 at least one, 4 the service could not be asked."""
    parser = argparse.ArgumentParser(prog="python -m deploy.supply.audit", description=main.__doc__)
    parser.add_argument("--osv-url", default=OSV, help="another OSV service, for example a mirror")
    return audit(parser.parse_args(arguments).osv_url)


if __name__ == "__main__":
    sys.exit(main())
