"""SIGHUP, and the console's button: the configuration is read again, or nothing changes."""

import os
import signal
import time
from pathlib import Path

import pytest

from dicom_io import scu
from tests.console import USERS, browser, press
from tests.node import Node

pytestmark = pytest.mark.integration


def rewrite(node: Node, old: str, new: str) -> None:
    text = node.config_file.read_text()
    assert old in text
    node.config_file.write_text(text.replace(old, new))


def wait_for_line(node: Node, words: str, count: int = 1, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while node.log.count(words) < count:
        assert time.monotonic() < deadline, node.log[-2000:]
        time.sleep(0.05)


def test_a_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    with Node(tmp_path, users=list(USERS)) as node:
        rewrite(node, "quiet_period_s = 0.5", "quiet_period = 0.5")
        os.kill(node.pid, signal.SIGHUP)
        wait_for_line(node, "not reloaded")
        assert "study.quiet_period: unknown key" in node.log
        scu.echo(node.remote())
        assert node.log.count('"ready"') == 1
        with browser(f"http://127.0.0.1:{node.http_port}", "anna") as anna:
            assert "study.quiet_period: unknown key" in anna.get("/").text


def test_a_right_one_has_the_process_start_anew_in_its_place(tmp_path: Path) -> None:
    with Node(tmp_path, users=list(USERS)) as node:
        pid = node.pid
        rewrite(node, "[node]\n", '[node]\nae_title = "AXILLA"\n')
        with browser(f"http://127.0.0.1:{node.http_port}", "anna") as anna:
            assert press(anna, "/settings", "/settings/reload").status_code == 303
        wait_for_line(node, '"action": "start"', 2)
        scu.echo(node.remote(called_ae="AXILLA"))
        assert Path(f"/proc/{pid}").exists()
        node._wait_http("readyz")
