"""The report as one page of HTML: no script, nothing from elsewhere, and a policy of its own that allows neither."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from train_cloud.report.curve_section import curve_section, interruption_section
from train_cloud.report.facts import Facts
from train_cloud.report.lap_section import Courses, lap_sections
from train_cloud.report.markup import Markup, joined, tag
from train_cloud.report.money_section import money_section, spent
from train_cloud.report.numbers import at_text, lap, lasted, number, plain, whole
from train_cloud.report.repeat_section import repeat_section, settings_section
from train_cloud.report.style import STYLE
from train_cloud.report.words import Verdict, judged_best, verdict_of


def page(facts: Facts, courses: Courses, report_code: str | None, beside: Sequence[str]) -> bytes:
    """The page's bytes; `beside` are the files that lie beside it."""
    reference = courses.reference.time if courses.reference else None
    human = courses.human.time if courses.human else number(facts.metrics, "human_lap_s")
    verdict = verdict_of(facts, reference)
    sections: list[Markup | None] = [_header(facts), _verdict(verdict), _tiles(facts, reference)]
    if facts.racing:
        sections += lap_sections(facts, courses)
    sections += curve_section(facts, reference, human)
    sections += interruption_section(facts)
    sections += money_section(facts)
    sections += settings_section(facts)
    sections += repeat_section(facts, report_code)
    sections += _unknown(facts, courses)
    sections.append(_footer(beside))
    return _document(f"Report of {facts.config.run_id}", joined(sections)).encode("utf-8", "replace")


def _document(title: str, body: Markup) -> str:
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en")


def _header(facts: Facts) -> Markup:
    metrics, config = facts.metrics, facts.config
    what = "A driver for " + (facts.track.name if facts.track is not None else "a track that is not known")
    if not facts.racing:
        what = f"A policy for {config.environment.id}"
    state = metrics.get("state")
    told = f"{what}, learned by {config.method.upper()} from {whole(metrics, 'steps'):,} steps of experience"
    told += f"; the run is {'done' if state == 'done' else str(state)}." if isinstance(state, str) else "."
    stamp = [f"figures of {at_text(metrics.get('updated'))}", f"report of {at_text(datetime.now(UTC).isoformat())}"]
    return tag(
        "header",
        tag("div", tag("h1", f"Training report: {config.run_id}"), tag("p", told, class_="what")),
        tag("div", stamp[0], tag("br"), stamp[1], class_="stamp"),
    )


def _verdict(verdict: Verdict) -> Markup:
    return tag("div", tag("b", verdict.word), tag("p", verdict.text), class_=f"verdict {verdict.level}", role="status")


def _tiles(facts: Facts, reference: float | None) -> Markup:
    """The figures that one looks for first."""
    metrics = facts.metrics
    steps, total = whole(metrics, "trained_steps") or whole(metrics, "steps"), whole(metrics, "total_timesteps")
    seconds = number(metrics, "seconds")
    shown: list[tuple[str, str, str]] = []
    if facts.racing:
        best = number(judged_best(facts), "best_lap_s")
        learned = number(metrics, "best_lap_s")
        fastest, how = (best, "without exploration") if best is not None else (learned, "while it explored")
        shown.append(("Best lap", lap(fastest), how if fastest is not None else "no clean lap yet"))
        share = None if not (fastest and reference) else 100.0 * fastest / reference
        shown.append(("Of the reference's time", plain(share, 1, "%"), f"reference {lap(reference)}"))
        laps, clean = plain(number(metrics, "laps"), 0), plain(number(metrics, "clean_laps"), 0)
        shown.append(("Clean laps", clean, f"of {laps} while learning"))
    else:
        shown.append(("Return of an episode", plain(number(metrics, "mean_reward"), 1), "mean of the newest 100"))
        shown.append(("Episodes", plain(number(metrics, "episodes"), 0), "ended so far"))
    done = f"{100 * steps / total:.0f} % of {total:,}" if total > 0 else "of an unknown number"
    shown.append(("Environment steps", f"{steps:,}", done))
    updates = f"{plain(number(metrics, 'updates'), 0)} updates"
    shown.append(("Time of training", lasted(seconds), updates))
    cost = f"{spent(facts.lives):.2f} USD" if facts.lives else "\u2013"
    count = "1 instance" if len(facts.lives) == 1 else f"{len(facts.lives)} instances"
    shown.append(("Spend", cost, count if facts.lives else "no ledger in the bucket"))
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, tag("span", beside))) for name, value, beside in shown),
        class_="tiles",
    )


def _unknown(facts: Facts, courses: Courses) -> list[Markup | None]:
    """What is missing in the sections above."""
    missing = [*facts.missing, *courses.unusable]
    if facts.racing and courses.human is None:
        missing.append("No lap of a human is known, so nothing is compared with one.")
    if not missing:
        return []
    return [tag("h2", "What this report does not know"), tag("ul", *(tag("li", one) for one in missing))]


def _footer(beside: Sequence[str]) -> Markup:
    files = (
        tag("p", "Beside this page: ", joined((tag("code", name) for name in beside), ", "), ".") if beside else None
    )
    return tag("footer", files, tag("p", "Made from the run's folder in the bucket alone, by train_cloud.report."))
