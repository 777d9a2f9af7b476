"""Rules, alerts, runbooks and dashboards: well-formed, tested, and one source of each."""

import json
import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml

from deploy.generate import generated

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES_TESTS = ("rules_test.yaml", "slow_rules_test.yaml")
RUNBOOKS = ROOT / "docs" / "runbooks"
needs_promtool = pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str) -> None:
    command = [str(which("promtool")), *arguments]
    ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def rules(kind: str) -> list[dict]:
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


@needs_promtool
@pytest.mark.parametrize("command", [
    ("check", "rules", "rules.yaml"),
    ("check", "config", "prometheus.yaml"),
    ("test", "rules", *RULES_TESTS),
], ids=" ".join)  # fmt: skip
def test_promtool_accepts(command: tuple[str, ...]) -> None:
    promtool(*command)


def test_every_alert_fires_in_a_test_and_stays_silent_in_one() -> None:
    files = [yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in RULES_TESTS]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules("alert")}
    # That of restarts has a replica in its own input that does not raise it; the slow ones are
    # bound by the same expression with other numbers.
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    slow = {name for name in fired if name.endswith("BurnSlow")}
    assert fired - silent == {*slow, "MenagerieRestarts"}


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_severity_and_a_runbook(rule: dict) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    page = ROOT / rule["annotations"]["runbook_url"]
    assert page.parent == RUNBOOKS
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}: ")
    assert "## Look" in text
    assert "## Do" in text


def test_every_runbook_belongs_to_an_alert_and_links_to_others_that_exist() -> None:
    named = {Path(rule["annotations"]["runbook_url"]).name for rule in rules("alert")}
    assert {path.name for path in RUNBOOKS.glob("*.md")} == named


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run python -m deploy.generate"


def test_the_operator_gets_the_same_rules() -> None:
    rule = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text(encoding="utf-8"))
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))


def test_dashboards_are_whole() -> None:
    paths = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert len({board["uid"] for board in boards}) == len(boards) == 4
    listed = (ROOT / "deploy" / "grafana" / "kustomization.yaml").read_text(encoding="utf-8")
    for path, board in zip(paths, boards, strict=True):
        assert f"dashboards/{path.name}" in listed
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}
        assert len(places) == len(board["panels"])
        variables = {f"${variable['name']}" for variable in board["templating"]["list"]}
        used = json.dumps([panel["targets"] for panel in board["panels"]])
        for name in ("$job", "$model", "$instance"):
            assert name not in used or name in variables
