"""Alert rules: each fires in its fault, leads to a part of the runbook, and the dashboard's questions can be asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promtool import check_alerts, needs_promtool, promtool

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "monitoring" / "alerts.yml"
RULES = {rule["alert"]: rule for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}
# By alert: series that tell of its fault, minute by minute, the minute at which it must fire, and its labels.
FAULTS: dict[str, tuple[dict[str, str], int, dict[str, str]]] = {
    "SurefileNotSeen": ({"other": "1x10"}, 4, {}),
    "SurefileUnaccounted": ({"surefile_unaccounted": "0 0 1x10"}, 5, {}),
    "SurefileRulesBroken": ({"surefile_broken_rules": "2x10"}, 4, {}),
    "SurefileLedgerFaults": ({"surefile_ledger_faults": "3x10"}, 6, {}),
    "SurefileAuditSilent": ({'surefile_audit_age_seconds{scope="recent"}': "30+60x20"}, 10, {}),
    "SurefileSweepStandsStill": ({'surefile_last_run_seconds{work="sweep"}': "5+60x20"}, 6, {}),
    "SurefileLeaseTaken": ({'surefile_passed_over_total{work="audit"}': "0+6x20"}, 12, {"work": "audit"}),
    "SurefileBreakerOpen": (
        {
            'surefile_breaker_open{upstream="btsss"}': "1x20",
            'surefile_breaker_held{upstream="btsss"}': "0x20",
            'surefile_breaker_open{upstream="sts"}': "1x20",
            'surefile_breaker_held{upstream="sts"}': "1x20",
        },
        11,
        {"upstream": "btsss"},
    ),
    "SurefileBreakerFlaps": (
        {'surefile_breaker_trips_total{upstream="btsss"}': "0+1x30"},
        30,
        {"upstream": "btsss"},
    ),
    "SurefileDeadlinesAtRisk": ({'surefile_deadlines_at_risk{queue="form526"}': "7x20"}, 11, {"queue": "form526"}),
    "SurefileDeadlinesMissed": ({'surefile_deadlines_missed{queue="form526"}': "0x9 4x20"}, 12, {"queue": "form526"}),
    "SurefileNothingPublished": (
        {
            'surefile_relay_lag_seconds_count{queue="form526"}': "8x30",
            'surefile_oldest_seconds{queue="form526",state="ready"}': "0+60x30",
            'surefile_breaker_open{upstream="form526"}': "0x30",
        },
        15,
        {"queue": "form526"},
    ),
    "SurefileRequestsFail": (
        {
            'surefile_requests_total{method="GET",route="/a",status="2xx"}': "0+90x20",
            'surefile_requests_total{method="POST",route="/b",status="5xx"}': "0+10x20",
        },
        11,
        {},
    ),
    "SurefileToldLate": (
        {
            'surefile_told_seconds_bucket{flow="travel_claim",le="3600"}': "0x60",
            'surefile_told_seconds_bucket{flow="travel_claim",le="14400"}': "0+2x60",
            'surefile_told_seconds_bucket{flow="travel_claim",le="+Inf"}': "0+2x60",
        },
        50,
        {"flow": "travel_claim"},
    ),
    "SurefileNotificationsFail": (
        {
            'surefile_notifications_total{state="sent"}': "0+4x60",
            'surefile_notifications_total{state="undeliverable"}': "0+1x60",
        },
        60,
        {},
    ),
    "SurefileSyntheticLate": (
        {
            'surefile_synthetic_late{flow="travel_claim"}': "0x3 1x20",
            'surefile_synthetic_late{flow="intent_to_file"}': "0x23",
        },
        10,
        {"flow": "travel_claim"},
    ),
    "SurefileCasesGrow": (
        {'surefile_open_cases{kind="refused"}': "3x60 40x10", 'surefile_open_cases{kind="overdue"}': "0x70"},
        62,
        {},
    ),
    "SurefileDayRunsOut": ({'surefile_open_cases{kind="past_midnight"}': "1x5"}, 2, {}),
}


def staged(alert: str) -> dict[str, Any]:
    series, minute, labels = FAULTS[alert]
    fires = {
        "exp_labels": {**labels, "severity": RULES[alert]["labels"]["severity"]},
    }
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [fires]}],
    }


@needs_promtool
@pytest.mark.parametrize("alert", RULES)
def test_each_alert_fires_in_its_fault(alert: str, tmp_path: Path) -> None:
    # Words are for people and may be said better; without them promtool compares labels only.
    rules = {name: {key: value for key, value in rule.items() if key != "annotations"} for name, rule in RULES.items()}
    bare = tmp_path / "alerts.yml"
    bare.write_text(yaml.safe_dump({"groups": [{"name": "surefile", "rules": [rules[alert]]}]}))
    check_alerts(tmp_path, bare, [staged(alert)])


@needs_promtool
def test_prometheus_reads_the_rules_and_every_question_of_the_dashboard(tmp_path: Path) -> None:
    promtool("check", "rules", str(ALERTS))
    asked = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    rules = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", str(file))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())
    return found


def test_each_alert_has_its_fault_and_leads_to_a_part_of_the_runbook() -> None:
    assert FAULTS.keys() == RULES.keys()
    headings = re.findall(r"^#+ (.+)$", (DOCS / "operations.md").read_text(), re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for name, rule in RULES.items():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md" and anchor in anchors, name


def test_the_dashboard_says_what_each_panel_shows() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels if panel["type"] != "row")
