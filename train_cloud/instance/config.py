"""How an instance lives: the typed settings of its watchers, written to instance.json by Terraform.

Every field states its unit. What is learned is in run.json (train_cloud.run_config); this file says where secrets are
kept, what may be spent and when an instance ends. It holds no secrets, only the names of the parameters that do.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.run_config import Name, RunConfig, load_run_config
from train_cloud.run_folder.files import RUN_CONFIG
from train_cloud.run_folder.keys import run_prefix
from train_cloud.settings import ConfigError as ConfigError
from train_cloud.settings import load_settings

Text = Annotated[str, Meta(min_length=1, max_length=512)]
Parameter = Annotated[str, Meta(pattern=r"^/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", max_length=1011)]
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
Price = Annotated[float, Meta(ge=0, le=1000)]
MIN_GUARD_HOURS = 0.5
"""The guard outside leaves an instance so long to end by itself, and to say why; as in terraform/locals.tf."""


class Limits(msgspec.Struct, kw_only=True, frozen=True):
    """What a later apply may change while an instance runs; the JSON of the limits parameter."""

    budget_usd: Annotated[float, Meta(gt=0, le=1e6)]
    """What all lives of the run together may cost (US dollars)."""
    max_hours: Annotated[float, Meta(gt=0, le=8784)]
    """Hours of all lives since the last start."""
    idle_minutes: Annotated[float, Meta(gt=0, le=100_000)]
    """Minutes without new experience after which an instance ends, bridge or not."""


class InstanceConfig(Limits, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One deployment as its instances see it: its places in AWS and its limits."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{1,31}$")]
    """Name of the deployment (Terraform's project_name)."""
    region: Text
    """AWS region of everything."""
    group: Text
    """Auto Scaling group whose desired capacity 0 ends the run."""
    schedule: Text
    """Scheduled action that sets it from outside; a healthy instance moves it on."""
    run_id: Name
    """Name of the run; the same as in run.json."""
    endpoint_mode: Literal["eip", "ssm"]
    """How bridges find it: "eip" is one Elastic IP for good, "ssm" an address that each instance publishes."""
    accelerator: Literal["gpu", "cpu"]
    """What the trainer computes on."""
    token_parameter: Parameter
    """SSM SecureString with the bridge token."""
    dashboard_parameter: Parameter | None = None
    """SSM SecureString with the dashboard's token; None for a dashboard that makes its own."""
    tls_parameter: Parameter
    """SSM SecureString with the receiver's key and certificate in PEM; "unset" until an instance made them."""
    certificate_parameter: Parameter | None = None
    """SSM SecureString with the certificate of the run's `public_host`; None without one."""
    route53_zone_id: Annotated[str, Meta(pattern=r"^[A-Z0-9]{1,32}$")] | None = None
    """Zone in which the certificate's name is proven to be ours."""
    acme_directory: Annotated[str, Meta(pattern=r"^https://", max_length=512)] = LETS_ENCRYPT
    """Directory of the authority that the certificate comes from (RFC 8555)."""
    endpoint_parameter: Parameter
    """SSM String with the JSON by which a pairing finds the receiver."""
    limits_parameter: Parameter
    """SSM String with the Limits as last applied; those of this file hold until it was read."""
    wandb_parameter: Parameter | None = None
    """SSM SecureString with the Weights & Biases key; None without W&B."""
    log_group: Text | None = None
    """CloudWatch Logs group that also gets the journal; None without."""

    max_launches: Annotated[int, Meta(ge=1, le=10_000)]
    """Launches of the run after which no further instance works."""
    volume_gb: Annotated[int, Meta(ge=8, le=16_384)]
    """Size of the instance's disk (GB)."""
    hourly_extra_usd: Price
    """What address and disk cost besides the instance (US dollars an hour)."""
    fallback_price_usd_per_hour: Price
    """Spot price that is assumed when AWS tells none (US dollars an hour)."""
    guard_usd_per_hour: Annotated[float, Meta(gt=0, le=1000)]
    """The most that an hour may cost, all in (US dollars an hour): by it the guard outside reckons."""
    published_address: Literal["public-ipv4", "ipv6"] = "public-ipv4"
    """Which of its addresses an instance publishes in endpoint_mode "ssm", by the metadata service's name for it."""
    tensorboard_host: Literal["127.0.0.1", "0.0.0.0", "::"] = "127.0.0.1"
    """Address that TensorBoard listens on."""
    dashboard_host: Literal["127.0.0.1", "0.0.0.0", "::"] = "127.0.0.1"
    """Address that the dashboard listens on."""
    dashboard_port: Annotated[int, Meta(ge=1, le=65_535)] = 8766
    """Port that the dashboard listens on."""


def load_instance_config(path: str | Path) -> InstanceConfig:
    """The settings in the JSON file at `path`. Raises ConfigError with a sentence."""
    config = load_settings(path, InstanceConfig, "The instance's configuration", "an instance.json")
    if (config.certificate_parameter is None) != (config.route53_zone_id is None):
        raise ConfigError(
            f"{path}: only one of `certificate_parameter` and `route53_zone_id` is there: expected both, or neither."
        )
    return config


@dataclass(frozen=True)
class Deployment:
    """One instance's view of its deployment; `folder` outlives a reboot, `run_folder` ends with the boot."""

    config: InstanceConfig
    run: RunConfig
    folder: Path
    run_folder: Path

    @cached_property
    def objects(self) -> ObjectStore:
        """The run's objects."""
        return open_store(self.run.bucket, run_prefix(self.run.run_id))


def load_deployment(config: Path, folder: Path, run_folder: Path) -> Deployment:
    """The deployment whose instance.json is `config`; Terraform's run.json lies beside it. Raises ConfigError."""
    # The run.json that `prepare` writes knows the address as well; before that, Terraform's has to do.
    prepared = folder / RUN_CONFIG
    run = load_run_config(prepared if prepared.exists() else config.parent / RUN_CONFIG)
    return Deployment(load_instance_config(config), run, folder, run_folder)
