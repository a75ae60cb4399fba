"""The report's sections about settings, and about how to do the run again or to go on with it."""

import re
import shlex
from typing import Any

import msgspec

from train_cloud.environment import bridge_options
from train_cloud.report.facts import Facts
from train_cloud.report.markup import Markup, tag
from train_cloud.report.numbers import table
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import CODE

_GENERATED = re.compile(r"seed:\d{1,12}(:\d{1,6}(\.\d+)?)?")
_PLACES = (
    *("run_id", "bucket", "listen_host", "listen_port", "public_host"),
    *("tls_certificate", "tls_key", "wandb_project", "wandb_entity"),
)
"""Settings that do not decide what is learned."""


def settings_section(facts: Facts) -> list[Markup | None]:
    """What was changed from the defaults, and all of run.json."""
    changed = _changed(facts)
    parts: list[Markup | None] = [tag("h2", "Settings")]
    basic = (
        ("Environment", facts.config.environment.id or "racing"),
        ("Method", facts.config.method),
        ("Environment steps", f"{facts.config.total_timesteps:,}"),
        ("Policy network, units", " \u00d7 ".join(map(str, facts.config.network))),
        ("Learning rate", f"{facts.config.learning_rate:g}"),
        ("Discount of a step", f"{facts.config.discount:.5g}"),
        (
            "Updates a step",
            "by PPO's rollouts" if facts.config.method == "ppo" else f"{facts.config.updates_per_step:g}",
        ),
        ("Control rate", f"{facts.config.task.control_hz:g} Hz" if facts.racing else None),
        ("Seed", str(facts.config.seed)),
    )
    parts.append(_facts(basic))
    if changed:
        parts.append(tag("p", tag("b", "Other than the defaults of this version: "), ", ".join(changed), "."))
    else:
        parts.append(tag("p", "Everything that decides what is learned is at its default."))
    whole = msgspec.json.format(msgspec.json.encode(facts.settings), indent=2).decode()
    parts.append(tag("details", tag("summary", "run.json, whole"), tag("pre", whole)))
    return parts


def repeat_section(facts: Facts, report_code: str | None) -> list[Markup | None]:
    """Code, versions, seed, and the commands; `report_code` is what this report was made by."""
    versions = table(facts.metrics.get("versions"))
    packages = ", ".join(f"{name} {value or 'from source'}" for name, value in versions.items())
    track = "\u2013" if facts.track is None else f"{facts.track.name} ({facts.track.length:,.1f} m)"
    rows = (
        ("Code of the run", _code(facts)),
        ("Code of this report", report_code or "not known: no instance, and no git checkout"),
        ("Versions", packages or "not known: metrics.json names none"),
        ("Seed", str(facts.config.seed)),
        ("Track", track if facts.racing else None),
        ("Kept in", f"{facts.config.bucket.place}/runs/{facts.config.run_id}/"),
    )
    again = (
        "Learning is repeatable where the experience is: simulated cars and a link of other speed bring their steps in "
        "another order, so a second run is alike, not the same. With the run's own run_id the run goes on; another one "
        "begins anew."
    )
    return [
        tag("h2", "How to reproduce"),
        _facts(rows),
        tag("p", again),
        *_commands(facts),
    ]


def _code(facts: Facts) -> str:
    code = facts.metrics.get("code")
    if isinstance(code, str) and code:
        return code
    if len(facts.codes) == 1:
        return f"{CODE}{facts.codes[0]}/, the only version in the bucket"
    if facts.codes:
        return f"not known: the bucket holds {len(facts.codes)} versions of the code ({', '.join(sorted(facts.codes))})"
    return "not known: the run's metrics do not name it"


def _commands(facts: Facts) -> list[Markup]:
    track = facts.track.name if facts.track is not None else ""
    options = f" {bridge_options(facts.config)}" if facts.racing else ""
    drive = f'make bridge ARGS="--car simulated --track {track}{options}"'
    if not facts.racing:
        served = facts.config.environment.source == "remote"
        command = "serve-env" if served else "drive"
        drive = f".venv/bin/ac-bridge {command} --env {shlex.quote(str(facts.config.environment.id))}"
    elif not _GENERATED.fullmatch(track):
        drive = f'make bridge ARGS="{options.strip()}"   # on the same track, in the game or from its CSV'
    again = [
        "make setup",
        "(umask 077; .venv/bin/python -c 'from wire.pairing import new_token; print(new_token())' > token)",
        "AC_TRAINING_TOKEN_FILE=token .venv/bin/python -m train_cloud.receiver --config run.json --folder work",
        ".venv/bin/python -m train_cloud.trainer --config run.json --folder work",
        f"{drive}   # pair first: work/pairing.txt",
    ]
    look = ["make fetch RUN=run.json", "make report RUN=run.json"]
    if facts.racing:
        look.insert(1, ".venv/bin/python -m train_cloud.evaluate --run run.json")
    return [
        tag("h3", "Again, with the run.json beside this page and a run_id of its own"),
        tag("pre", "\n".join(again)),
        tag("h3", "The model, its judgement, this report"),
        tag("pre", "\n".join(look)),
    ]


def _facts(rows: "tuple[tuple[str, str | None], ...]") -> Markup:
    shown = [(name, value) for name, value in rows if value is not None]
    return tag("dl", *(part for name, value in shown for part in (tag("dt", name), tag("dd", value))), class_="facts")


def _changed(facts: Facts) -> list[str]:
    config = facts.config
    usual = RunConfig(
        run_id=config.run_id,
        bucket=config.bucket,
        method=config.method,
        environment=msgspec.structs.replace(type(config.environment)(), kind=config.environment.kind),
    )
    before, after = _flat(msgspec.to_builtins(usual)), _flat(facts.settings)
    changed = [(name, value) for name, value in after.items() if before.get(name) != value]
    return [
        f"{name} {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in changed
        if name.split(".")[0] not in _PLACES
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, dict) and bool(value) and name != "kwargs"
        found |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return found
