"""`python -m train_cloud.export minari|parquet|onnx --config run.json --output PATH`: a run for programs of others.

minari: what was driven as a Minari dataset, in the folder PATH. parquet: the same as one Parquet file, a row a step.
onnx: the best policy (else the newest, or the file that --policy names) as ONNX, with a model card beside it. All is
read from the run's bucket. Exit code 0 when the export is there, 2 for what cannot be exported, 5 when the bucket
cannot be read. Example:

    python -m train_cloud.export minari --config run.json --output datasets
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from train_cloud.environment import environment_of
from train_cloud.export.episodes import Episodes
from train_cloud.export.errors import ExportError, not_installed
from train_cloud.export.experience import Experience
from train_cloud.export.learned import learned_in_bucket, learned_in_file, policy_of
from train_cloud.export.output import counted, draft_of
from train_cloud.object_store import ObjectStore, ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError, RunConfig, load_run_config
from train_cloud.run_folder.keys import run_prefix

KINDS = ("minari", "parquet", "onnx")


def main(arguments: list[str] | None = None) -> ExitCode:
    """Parse the command line, export, and print what was written."""
    parser = argparse.ArgumentParser(
        prog="train_cloud.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS, help="what to make")
    parser.add_argument("--config", required=True, type=Path, help="the run's run.json")
    parser.add_argument("--output", required=True, type=Path, help="folder (minari) or file to make")
    parser.add_argument("--policy", type=Path, help="with onnx: a policy.safetensors in place of the bucket's best")
    options = parser.parse_args(arguments)
    if options.policy is not None and options.kind != "onnx":
        parser.error("--policy goes with onnx")
    configure_logging("export")  # what is left out is told in the log
    try:
        config = load_run_config(options.config)
        if options.kind == "minari":
            _export_minari(config, options.output)
        elif options.kind == "parquet":
            _export_parquet(config, options.output)
        else:
            _export_onnx(config, options.output, options.policy)
    except (ExportError, ConfigError) as error:
        print(error, file=sys.stderr)
        return ExitCode.USAGE
    except ObjectStoreError as error:
        print(error, file=sys.stderr)
        return ExitCode.STORAGE
    return ExitCode.OK


def _objects(config: RunConfig) -> ObjectStore:
    return open_store(config.bucket, run_prefix(config.run_id))


def _export_minari(config: RunConfig, folder: Path) -> None:
    try:
        from train_cloud.export.minari_dataset import dataset_id, write_minari
    except ImportError as error:
        raise not_installed(error) from error
    experience, episodes = Experience(config, _objects(config)), Episodes()
    with draft_of(folder) as draft:
        write_minari(draft, config.run_id, experience.environment, config.method, episodes.of(experience.driven()))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(episodes.counts.items(), reverse=True))
    print(f"{folder}: {counted(episodes.counts.total(), 'episode')} ({kinds}), {_steps(episodes.steps, experience)}.")
    if episodes.demonstrated_steps:
        print(f"Demonstrations are {episodes.demonstrated_steps:,} of the steps.")
    print(f'MINARI_DATASETS_PATH={folder.absolute()}: minari.load_dataset("{dataset_id(config.run_id)}") loads it.')
    _tell_left_out(experience.left_out)


def _export_parquet(config: RunConfig, file: Path) -> None:
    try:
        from train_cloud.export.parquet import write_parquet
    except ImportError as error:
        raise not_installed(error) from error
    experience = Experience(config, _objects(config))
    with draft_of(file) as draft:
        steps = write_parquet(draft, config.run_id, experience.environment, experience.driven())
    print(f"{file}: {_steps(steps, experience)}, {file.stat().st_size / 1e6:.1f} MB.")
    _tell_left_out(experience.left_out)


def _export_onnx(config: RunConfig, file: Path, chosen: Path | None) -> None:
    try:
        from train_cloud.export.model_card import model_card
        from train_cloud.export.onnx_policy import checked, observations_of, onnx_policy
    except ImportError as error:
        raise not_installed(error) from error
    card = file.with_suffix(".md")
    if card.exists() or card == file:
        raise ExportError(f"The model card would go into {card}, which is taken. Name another file with --output.")
    # Racing's spaces are known; another environment's are told by what was driven, in the bucket.
    environment = environment_of(config)
    if environment is None:
        environment = Experience(config, _objects(config)).environment
    learned = learned_in_file(chosen) if chosen else learned_in_bucket(config.run_id, _objects(config))
    policy = policy_of(environment, learned)
    with draft_of(card) as card_draft, draft_of(file) as draft:
        draft.write_bytes(onnx_policy(policy))
        # What is compared is what was written.
        rows = observations_of(environment.spaces.observation.space, policy.observation_size)
        found = checked(policy, draft.read_bytes(), rows)
        told = model_card(config, environment, policy, learned, found, file.name)
        card_draft.write_text(told, encoding="utf-8")
    print(f"{file}: {learned.which}, with its model card {card}. {found.told()}")


def _steps(steps: int, experience: Experience) -> str:
    return f"{counted(steps, 'step')} of {counted(experience.streams, 'stream')}"


def _tell_left_out(left_out: Mapping[str, int]) -> None:
    if left_out:
        told = ", ".join(counted(count, what) for what, count in left_out.items())
        print(f"Left out, as the log says: {told}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
