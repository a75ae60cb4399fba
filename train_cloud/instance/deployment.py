"""What every command on the instance works with: its settings, the run's, and its two folders."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from train_cloud.instance.config import InstanceConfig, load_instance_config
from train_cloud.object_store import ObjectStore
from train_cloud.run_config import RunConfig, load_run_config
from train_cloud.run_folder.files import RUN_CONFIG
from train_cloud.run_folder.keys import run_prefix


@dataclass(frozen=True)
class Deployment:
    """One instance's view of its deployment.

    Attributes:
        config: how the instance lives (instance.json).
        run: what is learned (run.json).
        folder: outlives a reboot: store, identity, cursor, ledger.
        run_folder: ends with the boot: token, notice, ending.
    """

    config: InstanceConfig
    run: RunConfig
    folder: Path
    run_folder: Path

    @cached_property
    def objects(self) -> ObjectStore:
        """The run's objects."""
        return ObjectStore(self.run.bucket, run_prefix(self.run.run_id))


def load_deployment(config: Path, folder: Path, run_folder: Path) -> Deployment:
    """The deployment whose instance.json is `config`; Terraform's run.json lies beside it. Raises ConfigError."""
    # The run.json that `prepare` writes knows the address as well; before that, Terraform's has to do.
    prepared = folder / RUN_CONFIG
    run = load_run_config(prepared if prepared.exists() else config.parent / RUN_CONFIG)
    return Deployment(load_instance_config(config), run, folder, run_folder)
