"""``/api/v1`` against its own OpenAPI document: no request, however odd, is a server's error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import STUDY
from tests.console import TOKENS, served

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_no_request_is_a_servers_error(tmp_path: Path, role: str) -> None:
    with served(tmp_path) as console:
        console.rows.delivering(console.objects)
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{console.root}/api/v1/openapi.json",
            *("--header", f"Authorization: Bearer {TOKENS[role]}"),
            *("--checks", "not_a_server_error,status_code_conformance,response_schema_conformance"),
            *("--max-examples", "25", "--seed", "7", "--no-color"),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout[-4000:]
        assert console.rows.study(STUDY).study_uid == STUDY
