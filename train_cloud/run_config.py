"""The one typed configuration of a run, read by the receiver and the trainer from the same run.json.

Every field states its unit and default; one that is unknown, missing or out of range is refused with its name,
the value that was found and what is allowed. It holds no secrets: the bridge token is a file of its own.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, defstruct

from racing.task_config import TaskConfig
from train_cloud.bucket_config import BucketConfig as BucketConfig
from train_cloud.bucket_config import problem_of
from train_cloud.certificate_settings import certificate_problem
from train_cloud.environment_settings import EnvironmentSettings as EnvironmentSettings
from train_cloud.environment_settings import problem_of_environment
from train_cloud.link_settings import LinkSettings
from train_cloud.run_folder.files import RUN_CONFIG
from train_cloud.settings import ConfigError as ConfigError
from train_cloud.settings import load_settings, parse_settings
from wire.pairing import is_host

MAX_DEMONSTRATIONS: Final = 100_000
"""Demonstrated steps that are kept for ever, at most: 83 minutes at 20 Hz, 45 MB in each checkpoint of racing."""


def _in(unit: str, **limits: Any) -> Meta:
    """A quantity in `unit`, within these limits; docs/settings.md shows both."""
    return Meta(extra_json_schema={"unit": unit}, **limits)


Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Steps = Annotated[int, _in("steps", ge=1, le=10**12)]
Seconds = Annotated[float, _in("s", gt=0, le=86_400)]
Rate = Annotated[float, Meta(gt=0, le=1)]
Network = Annotated[list[Annotated[int, _in("units", ge=1, le=8192)]], Meta(min_length=1, max_length=8)]


def _in_bounds(about: Mapping[str, Any]) -> Any:
    """racing's declaration of a setting as a type that msgspec checks."""
    return Annotated[float, _in(about["unit"], ge=about["least"], le=about["most"], description=about["meaning"])]


_TASK = [(one.name, _in_bounds(one.metadata), one.default) for one in fields(TaskConfig)]
_Declared = defstruct("_Declared", _TASK, forbid_unknown_fields=True, kw_only=True, frozen=True)


class TaskSettings(_Declared):  # type: ignore[misc, valid-type]  # mypy cannot look into a class that is made
    """What the driver is asked to do: the fields, defaults and bounds of racing.task_config.TaskConfig."""


class DqnSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What only DQN asks for."""

    target_update_interval: Steps = 1_000
    """Environment steps between two copies of DQN's network into its target."""
    exploration_fraction: Rate = 0.1
    """Share of the run over which DQN's random actions become fewer."""
    final_epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """Share of random actions that DQN explores with after that."""


class PpoSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What only PPO asks for."""

    rollout_steps: Steps = 1_024
    """Environment steps, of all environments together, that one policy of PPO makes before they are learned from."""
    epochs: Annotated[int, Meta(ge=1, le=1_000)] = 10
    """Passes over these steps, in minibatches of `batch_size`; they take the place of `updates_per_step`."""
    gae_lambda: Annotated[float, Meta(ge=0, le=1)] = 0.95
    """Trade-off of generalized advantage estimation: 0 trusts the value network, 1 what was met."""
    clip_range: Rate = 0.2
    """How far the probability of an action may move in one round of learning."""
    entropy_coefficient: Annotated[float, _in("rewards/nat", ge=0, le=1000)] = 0.0
    """What PPO's entropy is worth."""


class XqcSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What only XQC asks for."""

    policy_delay: Annotated[int, _in("updates", ge=1, le=100)] = 1
    """Updates of the critics for each one of the policy; the paper's 3 is cheaper, and slower to its first laps."""
    bins: Annotated[int, Meta(ge=11, le=1_001)] = 101
    """Values among which a critic tells how probable each one is."""
    greatest_value: Annotated[float, _in("standard deviations", ge=1, le=100)] = 5.0
    """The greatest of these values, in standard deviations of the returns so far; the least is minus that."""
    initial_entropy_coefficient: Annotated[float, _in("standard deviations/nat", gt=0, le=100)] = 0.01
    """Entropy coefficient at the start, for rewards scaled to that; it is learned from there on."""


DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "any": {
        "learning_starts": 2_000,
        "updates_per_step": 1.0,
        "demonstration_updates": 1.0,
        "batch_size": 256,
        "n_step": 1,
        "mirrored": 0.0,
        "learning_rate": 3e-4,
        "tau": 0.005,
        "target_entropy": "auto",
        "initial_entropy_coefficient": 1.0,
        "policy_average": 1,
        "exploration_seconds": 0.0,
        "network": [256, 256],
    },
    "gymnasium": {"gamma": 0.99},
    "racing": {"horizon_seconds": 5.0, "exploration_seconds": 0.5},
    "ppo": {"exploration_seconds": 0.0},
    "xqc": {"n_step": 3},
    "racing sac": {
        "learning_starts": 500,
        "demonstration_updates": 4.0,
        "batch_size": 128,
        "n_step": 3,
        "mirrored": 0.5,
        "learning_rate": 7e-4,
        "initial_entropy_coefficient": 0.01,
        "policy_average": 500,
        "network": [64, 64],
    },
}
"""Defaults of the settings whose best value depends on what is learned, and how: `environment.kind`, `method`, or both.

What a later row says counts. Racing's were found by scripts/bench/learning.py, with one car.
"""
BY_METHOD: Final[Any] = None
"""Stands as default where DEFAULTS has one; no RunConfig ever holds it."""


def defaults_of(kind: str, method: str) -> dict[str, Any]:
    """What DEFAULTS says for one kind of environment and one method."""
    found: dict[str, Any] = {}
    for row in ("any", kind, method, f"{kind} {method}"):
        found |= DEFAULTS.get(row, {})
    return found


class RunConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One training run: its place, its task, its method, its limits."""

    run_id: Name
    """Name of the run; its objects live under `runs/<run_id>/` in the bucket."""
    bucket: BucketConfig
    """Where experience, checkpoints and metrics are kept."""
    environment: EnvironmentSettings = EnvironmentSettings()
    """What the run is trained in."""
    task: TaskSettings = TaskSettings()
    """What the driver is asked to do."""
    link: LinkSettings | None = None
    """Content of the file of `ac-bridge doctor --record-link`: simulated cars obey as late; left out, at once."""

    method: Literal["sac", "tqc", "crossq", "xqc", "dqn", "ppo"] = "sac"
    """Learning method: SAC, TQC, CrossQ, XQC for continuous actions, DQN for one choice of several, PPO for both."""
    dqn: DqnSettings = DqnSettings()
    """What only DQN asks for."""
    ppo: PpoSettings = PpoSettings()
    """What only PPO asks for."""
    xqc: XqcSettings = XqcSettings()
    """What only XQC asks for."""
    total_timesteps: Steps = 200_000
    """Environment steps after which the run is done; demonstrations do not count."""
    save_frequency: Steps = 5_000
    """Environment steps between two checkpoints, each of which is judged by its laps (racing only)."""
    learning_starts: Annotated[int, _in("steps", ge=0, le=10**12)] = BY_METHOD
    """Environment steps collected before the first update, demonstrations among them (PPO: its first rollout)."""
    updates_per_step: Annotated[float, _in("updates/step", gt=0, le=100)] = BY_METHOD
    """Gradient updates for each environment step, the update-to-data ratio that the trainer aims for (not PPO)."""
    batch_size: Annotated[int, _in("transitions", ge=1, le=65_536)] = BY_METHOD
    """Transitions in one update."""
    buffer_size: Annotated[int, _in("transitions", ge=1, le=100_000_000)] = 1_000_000
    """Transitions that the replay buffer holds (PPO has none); images take much memory."""
    n_step: Annotated[int, _in("steps", ge=1, le=100)] = BY_METHOD
    """Steps whose rewards count as driven before the critics say what the rest is worth (not PPO)."""
    mirrored: Annotated[float, Meta(ge=0, le=1)] = BY_METHOD
    """Share of each batch that is learned from as in a mirror, so that left bends teach right ones (racing only)."""
    demonstration_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of each batch that is drawn from demonstrations, while there are any (not PPO, which drops them)."""
    demonstration_updates: Annotated[float, Meta(ge=1, le=100)] = BY_METHOD
    """Times `updates_per_step` once there are demonstrations; the policy's average spans as many more (not PPO)."""
    behaviour_cloning_updates: Annotated[int, _in("updates", ge=0, le=1_000_000)] = 0
    """Updates in which the policy only imitates the demonstrations, before its first one of learning (not DQN, PPO)."""
    learning_rate: Rate = BY_METHOD
    """Step size of the optimiser."""
    horizon_seconds: Seconds | None = BY_METHOD
    """Seconds after which a reward counts 1/e of one of now, whatever the rate (racing only)."""
    gamma: Rate | None = BY_METHOD
    """Discount of one step of a Gymnasium environment, which has no clock; racing has `horizon_seconds`."""
    tau: Rate = BY_METHOD
    """Share of the critics that their targets take over in each update (SAC, TQC and XQC)."""
    target_entropy: Annotated[float, _in("nats")] | Literal["auto"] = BY_METHOD
    """Entropy in nats that the policy is held at; "auto" is minus the number of action components."""
    initial_entropy_coefficient: Annotated[float, _in("rewards/nat", gt=0, le=1000)] = BY_METHOD
    """Entropy coefficient at the start, in rewards per nat; it is learned from there on (XQC has its own)."""
    policy_average: Annotated[int, _in("updates", ge=1, le=1_000_000)] = BY_METHOD
    """Updates over which the policy that a bridge drives by, and that is kept, is averaged; 1: none (not PPO, DQN)."""
    exploration_seconds: Annotated[float, _in("s", ge=0, le=60)] = BY_METHOD
    """Seconds that exploration keeps to what it tries; 0: new noise at each step (racing only, not PPO)."""
    network: Network = BY_METHOD
    """Units of each hidden layer of the policy."""
    critic_network: Network | None = None
    """Units of each hidden layer of each critic; left out, those of `network` (DQN has none)."""
    gradient_chunk: Annotated[int, _in("updates", ge=1, le=10_000)] = 32
    """Updates at a stretch, between which the trainer reads experience, reports and publishes."""
    trainer_threads: Annotated[int, _in("threads", ge=0, le=256)] = 0
    """CPU threads that the trainer computes with; 0 leaves one core to the other processes."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    """Seed of every random generator of the run."""
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    """Where the trainer computes: "auto", "cpu", "cuda" or "cuda:N"."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products while SAC (over one row of numbers) and XQC learn; what is kept is float32."""

    max_lead_steps: Steps = 2_000
    """Steps that a simulated car may be ahead of the trainer before it waits; a real-time car never waits."""
    max_updates_owed: Annotated[int, _in("updates", ge=1, le=10**12)] = 20_000
    """Updates that may be owed before more are forgiven; never fewer than twice what `max_lead_steps` ask for."""
    publish_seconds: Seconds = 2.0
    """Seconds between two versions of the weights sent to the bridges."""

    final_report: bool = True
    """Whether the trainer makes the report when the run is done (a minute at most); `make report` makes one, too."""

    listen_host: Annotated[str, Meta(min_length=1, max_length=253)] = "0.0.0.0"
    """Address that the receiver listens on."""
    listen_port: Annotated[int, Meta(ge=0, le=65_535)] = 8765
    """TCP port that the receiver listens on; 0 takes a free one."""
    public_host: Annotated[str, Meta(min_length=1, max_length=253)] = "127.0.0.1"
    """Name or address by which bridges reach the receiver; it goes into the pairing string."""
    tls_certificate: str | None = None
    """File with an authority's certificate for `public_host` and its chain, PEM; left out, a pinned one is made."""
    tls_key: str | None = None
    """File with the key of `tls_certificate`, PEM without a passphrase; renewed files are taken without a restart."""
    segment_seconds: Seconds = 5.0
    """Seconds between two uploads of stored experience to the bucket."""
    max_bridges: Annotated[int, Meta(ge=1, le=10_000)] = 256
    """Bridges connected at the same time; one more is refused."""
    max_messages_per_second: Annotated[int, _in("1/s", ge=1, le=1_000_000)] = 500
    """Messages a second from one bridge, averaged over ten seconds; a faster bridge is slowed down."""
    max_store_bytes: Annotated[int, _in("bytes", ge=2**20, le=2**50)] = 20 * 2**30
    """Size that the store's database may reach (bytes): logs and checkpoints need room on the disk too."""
    write_telemetry: Literal["jsonl", "parquet"] | None = None
    """Form in which the receiver keeps what streaming bridges tell, in its folder; left out, it keeps none."""
    max_telemetry_bytes: Annotated[int, _in("bytes", ge=2**20, le=2**50)] = 2**30
    """Size that the files of telemetry may reach together (bytes); then the oldest are deleted."""

    wandb_project: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^/\\#?%:\s]+$")] | None = None
    """Weights & Biases project that shows the run's curves; left out, there is no Weights & Biases."""
    wandb_entity: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")] | None = None
    """User or team that the project belongs to; left out, the key's own."""

    def __post_init__(self) -> None:
        for name, value in defaults_of(self.environment.kind, self.method).items():
            if getattr(self, name) is BY_METHOD:
                msgspec.structs.force_setattr(self, name, value)

    @property
    def discount(self) -> float:
        """What a reward counts less for each control step that it comes later."""
        if self.horizon_seconds is None:
            assert self.gamma is not None
            return self.gamma
        return math.exp(-1.0 / (self.horizon_seconds * self.task.control_hz))

    @property
    def exploration_correlation(self) -> float:
        """Of exploration's noise with the noise one control step before."""
        if self.environment.kind != "racing" or not self.exploration_seconds:
            return 0.0
        return math.exp(-1.0 / (self.exploration_seconds * self.task.control_hz))

    @property
    def updates_with_demonstrations(self) -> float:
        """How many times as many updates a step asks for once there are demonstrations that are learned from."""
        return self.demonstration_updates if self.demonstration_share else 1.0


def load_run_config(path: str | Path) -> RunConfig:
    """The configuration in the JSON file at `path`. Raises ConfigError."""
    return _checked(load_settings(path, RunConfig, "The run's configuration", "a run.json"), str(path))


def parse_run_config(text: bytes, source: str = RUN_CONFIG) -> RunConfig:
    """The configuration in `text` (JSON); `source` names it in errors. Raises ConfigError."""
    return _checked(parse_settings(text, RunConfig, source), source)


def _checked(config: RunConfig, source: str) -> RunConfig:
    """`config`, unless its fields contradict each other, which no single field's type can say: then ConfigError."""
    chosen, problem = config.environment, ""
    if problem := problem_of(config.bucket):
        pass
    elif not is_host(config.public_host):
        problem = (
            f"the field `public_host` has the value {json.dumps(config.public_host)}: expected a name or an IP address "
            "alone, without a scheme or a port (the port is `listen_port`)."
        )
    elif (problem := certificate_problem(config.tls_certificate, config.tls_key, config.public_host)) or (
        problem := problem_of_environment(chosen)
    ):
        pass
    elif chosen.source == "driver" and config.method == "ppo":
        problem = (
            'the field `method` has the value "ppo", but `environment.source` is "driver": expected one that learns '
            "from steps of older policies too, as the actions of chunks are chosen ahead."
        )
    elif chosen.kind == "racing" and config.gamma is not None:
        problem = (
            f'the field `gamma` has the value {config.gamma:g}, but `environment.kind` is "racing": expected '
            "`horizon_seconds`, which means the same at any rate, and is about 1 / (`task.control_hz` * (1 - `gamma`))."
        )
    elif config.link is not None and (config.link.problem or chosen.kind == "gymnasium"):
        problem = config.link.problem or "the field `link` is of simulated cars, which only racing has: leave it out."
    elif chosen.kind == "gymnasium" and config.horizon_seconds is not None:
        problem = (
            f"the field `horizon_seconds` has the value {config.horizon_seconds:g}, but `environment.kind` is "
            '"gymnasium": expected `gamma`, because such an environment has no clock.'
        )
    elif config.method == "ppo" and _problem_of_ppo(config):
        problem = _problem_of_ppo(config)
    elif config.method not in ("sac", "xqc") and config.precision != "float32":
        problem = (
            f"the field `precision` has the value {json.dumps(config.precision)}: expected "
            f'"float32" for {json.dumps(config.method)}, as only SAC and XQC learn in another.'
        )
    elif config.method == "xqc" and config.batch_size < 2:
        problem = "the field `batch_size` has the value 1: expected 2 or more, as XQC normalises by the batch."
    elif config.method != "ppo" and config.updates_per_step * (config.total_timesteps - config.learning_starts) < 1:
        problem = (
            f"the field `total_timesteps` has the value {config.total_timesteps}: expected so many steps beyond "
            f"`learning_starts` ({config.learning_starts}) that there is at least one update at `updates_per_step` "
            f"({config.updates_per_step:g}); else the run would end without having learned anything."
        )
    elif config.wandb_entity is not None and config.wandb_project is None:
        problem = (
            f"the field `wandb_entity` has the value {json.dumps(config.wandb_entity)}, but `wandb_project` is "
            "missing: expected both, or neither of them."
        )
    if problem:
        raise ConfigError(f"{source}: {problem}")
    return config


def _problem_of_ppo(config: RunConfig) -> str:
    steps, most = config.ppo.rollout_steps, min(config.max_lead_steps, config.total_timesteps)
    if config.batch_size < 2:
        return "the field `batch_size` has the value 1: expected 2 or more, as PPO compares the steps of a minibatch."
    if config.batch_size <= steps <= most:
        return ""
    return (
        f"the field `ppo.rollout_steps` has the value {steps}: expected at least `batch_size` ({config.batch_size}), "
        f"at most `max_lead_steps` ({config.max_lead_steps}), beyond which a simulated car waits, and at most "
        f"`total_timesteps` ({config.total_timesteps})."
    )
