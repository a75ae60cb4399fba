"""The report's section about instances and money: out of the ledger that they write, and of nothing else."""

from collections.abc import Sequence

from train_cloud.instance.ledger import Life
from train_cloud.report.facts import Ending, Facts
from train_cloud.report.markup import Markup, tag
from train_cloud.report.numbers import at_text, finite, plain


def money_section(facts: Facts) -> list[Markup | None]:
    """Each instance with its hours, its cost and its end."""
    parts: list[Markup | None] = [tag("h2", "Instances and money")]
    lives, endings = facts.lives, facts.endings
    if lives:
        parts += [_sentence(lives), _lives(lives, endings)]
    else:
        parts.append(
            tag(
                "p",
                "The ledger in the bucket names no instance, so nothing is known of a cost: a run on a machine of "
                "one's own writes none.",
            )
        )
    seen = {life.instance_id for life in lives}
    others = [ending for ending in endings if ending.instance_id not in seen]
    if others:
        parts.append(tag("h3", "Other endings on record"))
        parts.append(tag("ul", *(tag("li", f"{at_text(one.at)}: {_why(one)}") for one in others)))
    return parts


def spent(lives: Sequence[Life]) -> float:
    """US dollars of all lives together."""
    return sum(finite(life.spend_usd) or 0.0 for life in lives)


def _sentence(lives: Sequence[Life]) -> Markup:
    hours = sum(finite(life.hours) or 0.0 for life in lives)
    count = "One instance" if len(lives) == 1 else f"{len(lives)} instances"
    rate = f", {spent(lives) / hours:.3f} USD an hour" if hours > 0 else ""
    return tag(
        "p",
        f"{count} worked for {hours:.2f} h and took {spent(lives):.2f} USD{rate}, by the spot prices that "
        "they met, disk and address included.",
    )


def _lives(lives: Sequence[Life], endings: Sequence[Ending]) -> Markup:
    heads = ["Instance", "Type, zone", "Launched", "Hours", "USD", "Why it ended"]
    numeric = ("Hours", "USD")
    head = tag("tr", *(tag("th", text, class_="n" if text in numeric else None, scope="col") for text in heads))
    body = []
    for life in lives:
        own = [ending for ending in endings if ending.instance_id == life.instance_id]
        why = _why(own[-1]) if own else f"not on record; last seen {at_text(life.seen_at)}"
        body.append(
            tag(
                "tr",
                tag("th", life.instance_id, scope="row"),
                tag("td", f"{life.instance_type}, {life.availability_zone}"),
                tag("td", at_text(life.launched_at), class_="t"),
                tag("td", plain(finite(life.hours), 2), class_="n"),
                tag("td", plain(finite(life.spend_usd), 3), class_="n"),
                tag("td", why),
            )
        )
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")


def _why(ending: Ending) -> str:
    told = ending.reason.replace("_", " ") or "for no known reason"
    saved = finite(ending.seconds)
    return (
        told
        + (f" (all saved within {saved:.0f} s)" if saved is not None else "")
        + (f": {ending.text}" if ending.text else "")
    )
