"""The model card of an exported policy, in Markdown: what it is, sees and does, how good it is, and its limits."""

from collections.abc import Iterable
from typing import Any

import msgspec

from experience.environment import Environment
from experience.spaces import SpaceSpec, space_text
from racing.policy import Policy
from runtime.progress import duration, lap_text
from train_cloud.export.learned import Learned
from train_cloud.export.onnx_policy import IR_VERSION, OPSET, Agreement
from train_cloud.run_config import RunConfig

_LIMITS_OF_RACING = (
    "It drives one car on an empty road. It sees no other cars, no weather, no flags, no pit lane.",
    "What it sees is computed from the track's centreline and widths, and from the pace that they allow. On a track "
    "that it was not trained on, or with another car, nothing is known of it.",
    "It expects its control rate. At another rate its actions come too early or too late.",
    "The simulator is a model with a few dozen numbers. A lap time there says little of one in the game, and nothing "
    "of a real car, which it must not drive.",
)
_LIMITS = (
    "Outside of the environment and the settings that it was trained in, nothing is known of it.",
    "Its input must be within the bounds above, in this order and of these scales.",
)


def model_card(
    config: RunConfig, environment: Environment, policy: Policy, learned: Learned, found: Agreement, file: str
) -> str:
    """The card of the policy in the ONNX file of that name."""
    racing = config.environment.kind == "racing"
    sections = [
        f"# {config.run_id}: a policy for {environment.name}",
        _what(config, environment, policy, learned, file),
        "## Input",
        _input(environment.spaces.observation, policy),
        "## Output",
        _output(environment.spaces.action, policy),
        "## Control rate",
        f"{config.task.control_hz:g} actions a second, each held until the next." if racing else _ITS_OWN_PACE,
        "## Training",
        _training(config, learned),
        "## How good it is",
        _judged(learned),
        "## Is this file the policy?",
        f"{found.told()} So said ONNX's reference implementation against the numpy policy that drives on the PC, when "
        "the file was written.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in (_LIMITS_OF_RACING if racing else _LIMITS)),
        "## Licence",
        "ac-training, which trained and exported it, is under the MIT licence. The weights are their owner's, who says "
        "how they may be used: write it here before you pass the file on.",
    ]
    return "\n\n".join(sections) + "\n"


_ITS_OWN_PACE = "One action for each step of the environment, which keeps its own time."


def _what(config: RunConfig, environment: Environment, policy: Policy, learned: Learned, file: str) -> str:
    steps = "" if learned.steps is None else f", after {learned.steps:,} steps"
    return (
        f"A feed-forward network, learned by {config.method.upper()}, in `{file}` (ONNX, operator set {OPSET}, IR "
        f"version {IR_VERSION}). It acts without exploration: the same input gives the same action. It is "
        f"{learned.which}{steps}, version {policy.version}.\n\nSignature of task and spaces: `{environment.signature}`."
    )


def _input(spec: SpaceSpec, policy: Policy) -> str:
    told = f"`observation`, float32, (N, {policy.observation_size}): a row for each of N observations."
    if spec.channels:
        low, high = float(spec.space.low.min()), float(spec.space.high.max())  # type: ignore[attr-defined]  # a Box
        told += (
            f" A column is the value in its unit divided by its scale, clipped to {low:g} ... {high:g} and rounded to "
            f"multiples of {spec.step}."
        )
        return f"{told}\n\n{_channels(spec)}"
    return f"{told} It is the environment's observation as it is, of the space `{_short(spec)}`."


def _output(spec: SpaceSpec, policy: Policy) -> str:
    if policy.reach.first or type(spec.space).__name__ == "Discrete":
        first = policy.reach.first
        return f"`action`, int64, (N, 1): the choice, {first} to {first + policy.action_size - 1}."
    told = f"`action`, float32, (N, {policy.action_size})"
    if policy.action_step:
        told += f", on multiples of {policy.action_step}"
    if not spec.channels:
        return f"{told}, within the bounds of the space `{_short(spec)}`."
    return (
        f"{told}, from {policy.reach.low.min():g} to {policy.reach.high.max():g}. Steer is positive to the left. "
        f"Pedals above 0 press the throttle, below 0 the brake.\n\n{_channels(spec)}"
    )


def _short(spec: SpaceSpec) -> str:
    text = space_text(spec.space)
    return text if len(text) <= 500 else f"{text[:500]}..."


def _channels(spec: SpaceSpec) -> str:
    rows = [(str(place), f"`{one.name}`", one.unit, f"{one.scale:g}") for place, one in enumerate(spec.channels)]
    return _table(("column", "name", "unit", "scale"), rows)


def _training(config: RunConfig, learned: Learned) -> str:
    """The run's figures, as metrics.json told them last; what it does not tell is left out."""
    told, rows = learned.metrics, [("method", config.method), ("network", "-".join(map(str, config.network)))]
    rows += [("seed", str(config.seed)), ("discount of one step", f"{config.discount:.6g}")]
    rows += [
        (name, f"{told[key]:,}")
        for key, name in _COUNTS.items()
        if isinstance(told.get(key), int) and not isinstance(told.get(key), bool)
    ]
    if isinstance(told.get("seconds"), (int, float)):
        rows.append(("time in training", duration(told["seconds"])))
    if isinstance(told.get("mean_reward"), (int, float)):
        rows.append(("mean return of the last episodes", f"{told['mean_reward']:.4g}"))
    for key, name in (("policy_lap_s", "fastest clean lap of the policy"), ("human_lap_s", "fastest lap shown to it")):
        if isinstance(told.get(key), (int, float)):
            rows.append((name, lap_text(told[key])))
    if isinstance(told.get("versions"), dict):
        rows.append(
            ("software", ", ".join(f"{name} {version}" for name, version in told["versions"].items() if version))
        )
    rows += [("track", f"{name}, {length:,.0f} m") for name, length in learned.tracks]
    if config.environment.kind == "racing":
        rows += [(f"task: {name}", f"{value:g}") for name, value in msgspec.structs.asdict(config.task).items()]
    when = f"The whole run, as reported last ({told['updated']}):\n\n" if isinstance(told.get("updated"), str) else ""
    return when + _table(("what", "value"), rows)


_COUNTS = {
    "steps": "environment steps",
    "demonstrations": "of them shown by a human or another driver",
    "updates": "gradient updates",
    "episodes": "episodes",
    "laps": "laps",
    "clean_laps": "clean laps",
    "resumes": "interruptions survived",
}


def _judged(learned: Learned) -> str:
    found = learned.judged
    if found is None:
        return "It was not judged: no laps without exploration are known of this version."
    lap = found.get("best_lap_s")
    clean = ", ".join(map(str, found.get("clean_laps") or []))
    who = "a simulated car" if found.get("by") == "simulator" else "the run's own cars"
    text = (
        f"It was judged by driving {who} without exploration, {found.get('of_laps')} laps from each start, alone on "
        f"the track. Clean laps in a row, for each start: {clean}."
    )
    ends = [end for end in found.get("ends") or [] if end != "all laps driven"]
    if ends:
        text += f" Drives that ended early: {', '.join(str(end).replace('_', ' ') for end in ends)}."
    return text if lap is None else f"{text} Fastest clean lap: {lap_text(lap)}."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: Any) -> str:
    """One line, whatever the bucket says, in which nothing ends the cell."""
    return " ".join(str(text).replace("|", "/").split())
