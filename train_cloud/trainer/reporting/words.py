"""How a run goes, in a line of words that a person reads in the log."""

from collections.abc import Mapping
from typing import Any, Final

from runtime.progress import lap_text

_AGREES: Final = 0.02
"""A trend that is less than this share of what it is a trend of is none."""


def in_words(document: Mapping[str, Any]) -> str:
    """How the run of a metrics document goes: its laps, or its returns without any; what is unknown is left out."""
    parts = [_laps(document)] if document.get("mean_laps") is not None or document["laps"] else [_returns(document)]
    parts += [_against_you(document), _judged(document), _keeping_up(document)]
    return "; ".join(part for part in parts if part)


def _laps(document: Mapping[str, Any]) -> str:
    share = document.get("mean_laps")
    gets = "" if share is None else f"an episode gets {share:.2g} laps far{_trend(document, 'metres')}"
    if not document["laps"]:
        return f"no lap yet, {gets}" if gets else "no lap yet"
    laps, clean = document["laps"], document["clean_laps"]
    told = f"{laps} laps, {clean} of them clean, best {lap_text(document['best_lap_s'])}"
    return f"{told}, {gets}" if gets else told


def _returns(document: Mapping[str, Any]) -> str:
    if document["mean_reward"] is None:
        return "no episode has ended yet" if document["steps"] else "waits for experience"
    return f"an episode brings {document['mean_reward']:.4g}{_trend(document, 'reward')}"


def _trend(document: Mapping[str, Any], what: str) -> str:
    trend, mean = document.get(f"{what}_trend"), document.get(f"mean_{what}")
    if trend is None or mean is None:
        return ""
    if abs(trend) <= _AGREES * abs(mean):
        return ", no more and no less than before"
    return ", more than before" if trend > 0 else ", less than before"


def _against_you(document: Mapping[str, Any]) -> str:
    yours, best = document.get("human_lap_s"), document.get("policy_lap_s")
    if yours is None:
        return ""
    if best is None:
        return f"yours {lap_text(yours)}"
    behind = best - yours
    return f"{abs(behind):.2f} s {'behind' if behind > 0 else 'ahead of'} yours"


def _judged(document: Mapping[str, Any]) -> str:
    newest = document.get("judged", {}).get("newest")
    if newest is None:
        return ""
    clean, of = newest["clean_laps"], newest["of_laps"]
    passed = sum(laps >= of for laps in clean)
    return f"judged alone: {passed} of {len(clean)} starts lapped cleanly"


def _keeping_up(document: Mapping[str, Any]) -> str:
    ratio = document.get("update_ratio")
    return "" if ratio is None or ratio >= 0.9 else f"learning keeps up with {ratio:.0%} of what is driven"
