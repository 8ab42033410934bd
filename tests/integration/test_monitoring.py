"""Alert rules and dashboard: every metric they name exists, and a quiet hour of the real product alerts nobody."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jobs import housekeeping
from tests.product import Product
from tests.promtool import PROMTOOL, check_alerts

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
ALERTS = MONITORING / "alerts.yml"
NAMED = re.compile(r"\bsurefile_\w+")


def series_of(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
    return f"{sample.name}{{{labels}}}"


def test_what_is_named_exists_and_a_quiet_hour_is_silent(product: Product, tmp_path: Path) -> None:
    housekeeping.audit_all()
    housekeeping.sweep()
    samples = [sample for family in text_string_to_metric_families(product.metrics()) for sample in family.samples]
    named = {name for path in MONITORING.iterdir() for name in NAMED.findall(path.read_text())}
    assert len(named) > 25 and named <= {sample.name for sample in samples}
    if PROMTOOL is None:
        return
    # Ages come back to what they were with every run of the work; here they stand.
    series = [{"series": series_of(sample), "values": f"{sample.value:f}x120"} for sample in samples]
    alerts = re.findall(r"alert: (\w+)", ALERTS.read_text())
    silent = [{"eval_time": time, "alertname": alert} for alert in alerts for time in ("61m", "119m")]
    check_alerts(tmp_path, ALERTS, [{"interval": "1m", "input_series": series, "alert_rule_test": silent}])
