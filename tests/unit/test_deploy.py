"""What stands in deploy/ beside the units: alerts, dashboard, container, installer, runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from daemon import metrics, status
from daemon.config import Config, parse
from daemon.lifecycle import DeliveryState, StudyState

DEPLOY = Path(__file__).parents[2] / "deploy"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
ALERTS = DEPLOY / "prometheus-alerts.yml"
KNOWN = {
    "axnode_ready",
    "axnode_disk_free_bytes",
    "axnode_audit_lost_total",
    "axnode_studies",
    "axnode_oldest_waiting_seconds",
    "axnode_deliveries",
    "axnode_certificate_expiry_seconds",
}


def rules() -> list[dict[str, object]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, object]] = group["rules"]
    return found


def named(text: str) -> set[str]:
    """Return the metrics of ours that a text names."""
    return set(re.findall(r"\baxnode_[a-z_]+\b", text))


def test_the_metrics_known_here_are_those_of_the_code() -> None:
    code = "".join(
        Path(module.__file__).read_text() for module in (metrics, status) if module.__file__
    )
    code += (DEPLOY.parent / "daemon" / "health.py").read_text()
    assert named(code) >= KNOWN


def test_every_alert_is_about_what_there_is_and_has_its_remedy() -> None:
    assert len(rules()) == 8
    for rule in rules():
        assert named(str(rule["expr"])) <= KNOWN
        assert f"\n### {rule['alert']}\n" in RUNBOOK
        assert str(rule["annotations"]["runbook"]) == f"RUNBOOK.md#{str(rule['alert']).lower()}"  # type: ignore[index]


def test_states_of_alerts_and_dashboard_exist() -> None:
    text = ALERTS.read_text() + (DEPLOY / "grafana-dashboard.json").read_text()
    used = {
        state
        for states in re.findall(r'state=~?\\?"([a-z_|]+)\\?"', text)
        for state in states.split("|")
    }
    assert used
    assert used <= {*StudyState, *DeliveryState}


def test_the_dashboard_shows_what_there_is() -> None:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    shown = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in named(target["expr"])
    }
    assert shown <= KNOWN
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_runbook_names_settings_and_commands_that_exist() -> None:
    from daemon.cli import COMMANDS

    for command in re.findall(r"`(?:runuser -u axnode -- )?axnode ([a-z]+)", RUNBOOK):
        assert command in COMMANDS, command
    tables = {name: set(table) for name, table in parse({}).model_dump().items() if table}
    for table, key in re.findall(r"`(node|http|model|retention|study)\.([a-z_]+)`", RUNBOOK):
        fields = Config.model_fields[table].annotation.model_fields  # type: ignore[union-attr]
        assert key in fields, (table, key, tables)


def test_the_demonstrations_configuration_is_one() -> None:
    import tomllib

    config = parse(tomllib.loads((DEPLOY / "compose" / "axnode.toml").read_text()))
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    assert config.destinations[0].host in services
    for volume in services["ohif"]["volumes"] + services["axnode"]["volumes"][:1]:
        assert (DEPLOY / "compose" / volume.split(":")[0]).exists()


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_installer_is_clean() -> None:
    subprocess.run([tool("shellcheck"), str(DEPLOY / "install.sh")], check=True)


def test_the_installer_says_how_it_is_used() -> None:
    done = subprocess.run(
        ["bash", str(DEPLOY / "install.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "install.sh purge --yes" in done.stdout


def test_alerts_are_as_prometheus_wants_them() -> None:
    subprocess.run([tool("promtool"), "check", "rules", str(ALERTS)], check=True)


_TRIAL = """
rule_files: [{file}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'axnode_deliveries{{destination="dead",state="pending"}}', values: '3x60'}}
      - {{series: 'axnode_deliveries{{destination="dead",state="delivered"}}', values: '7x60'}}
      - {{series: 'axnode_deliveries{{destination="slow",state="pending"}}', values: '3x60'}}
      - {{series: 'axnode_deliveries{{destination="slow",state="delivered"}}', values: '7+1x60'}}
    alert_rule_test:
      - eval_time: 50m
        alertname: AxNodeDeliveriesWait
        exp_alerts:
          - exp_labels: {{severity: warning, destination: dead, state: pending}}
            exp_annotations:
              summary: "dead takes nothing from "
              runbook: "RUNBOOK.md#axnodedeliverieswait"
"""


def test_a_pacs_that_takes_nothing_is_told_from_a_slow_one(tmp_path: Path) -> None:
    trial = tmp_path / "trial.yml"
    trial.write_text(_TRIAL.format(file=ALERTS))
    subprocess.run([tool("promtool"), "test", "rules", str(trial)], check=True)
