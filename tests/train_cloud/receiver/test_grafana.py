"""docs/grafana/ac-training.json shows what a real receiver answers: nothing that is not there, and all that is."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.support.receivers import CONFIG, ThreadedReceiver, hello
from tests.support.waiting import wait_until
from train_cloud.receiver_client import metrics
from train_cloud.run_folder.states import FIGURES_PREFIX

ROOT = Path(__file__).parents[3]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "ac-training.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
HOW_TO = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    return set(re.findall(rf"\b{FIGURES_PREFIX}(\w+)", text))


def test_every_figure_of_the_receiver_is_shown_and_no_other(receiver: ThreadedReceiver) -> None:
    first = hello(CONFIG)
    with receiver.client() as client:
        client.begin(first)
        client.store(1)
        wait_until(lambda: "last_batch_age_seconds" in metrics(receiver.pairing), "the first batch counts")
        answered = set(metrics(receiver.pairing))
    assert named(" ".join(QUERIES)) == answered
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert named(variables["instance"]["query"]["query"]) <= answered
    assert named(HOW_TO) <= answered


def test_counters_are_shown_as_rates_and_gauges_never_as_such() -> None:
    for query in QUERIES:
        for figure in named(query):
            assert (f"rate({FIGURES_PREFIX}{figure}" in query) == figure.endswith("_total"), query


def test_grafana_finds_what_it_needs_to_import_it() -> None:
    assert DASHBOARD["id"] is None
    assert (DASHBOARD["title"], DASHBOARD["uid"]) == ("ac-training", "ac-training")
    assert DASHBOARD["schemaVersion"] >= 38
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    kinds = {one["id"] for one in DASHBOARD["__requires"] if one["type"] == "panel"}
    assert {panel["type"] for panel in panels} == kinds
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == variables
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) >= 1
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = [one[a] + one[n] <= other[a] or other[a] + other[n] <= one[a] for a, n in (("x", "w"), ("y", "h"))]
        assert any(apart), (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
