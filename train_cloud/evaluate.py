"""`python -m train_cloud.evaluate --run RUN [--policy FILE] [--track TRACK]`: how well a run's policy laps.

It drives as the gaming PC would, without exploration, in the simulator: three laps from each of three starts, beside
the reference driver. RUN is a run.json, a folder that `make fetch` made, or a run's name, whose newest folder in
models/ is meant. Without --policy it is the folder's, else the best of the run's bucket, else the newest there. Exit
code 0 when every lap was clean, 1 when not, 2 for what cannot be judged, 5 when the bucket cannot be read.
"""

import argparse
import sys
from pathlib import Path

from experience.environment import racing
from experience.policy_driver import LAPS
from racing.evaluation import Judgement, judge, policy_actions, reference_actions
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.track import Track, parse_track
from racing.track_text import track_of
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from runtime.progress import lap_text
from train_cloud.environment import link_of, task_config
from train_cloud.object_store import ObjectStoreError
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError, RunConfig, load_run_config
from train_cloud.run_folder.keys import POLICY, RUN_CONFIG, TRACKS, run_prefix
from train_cloud.trainer.saving.manifest import CheckpointError, find_best, find_newest

MODELS = Path("models")


class CannotJudge(Exception):
    """There is nothing to judge, or nothing to judge it on; the text says why and what to do."""


def main(arguments: list[str] | None = None) -> ExitCode:
    """Parse the command line, judge, and print what was seen."""
    parser = argparse.ArgumentParser(prog="train_cloud.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="a run.json, a fetched folder, or the name of a fetched run")
    parser.add_argument("--policy", type=Path, help="a policy.safetensors; default: see above")
    parser.add_argument("--track", help="seed:NUMBER, seed:NUMBER:METRES, a CSV, or the SHA-256 of one in the bucket")
    parser.add_argument("--starts", type=int, default=3, choices=range(1, 65), metavar="1-64", help="places to start")
    parser.add_argument("--laps", type=int, default=LAPS, choices=range(1, 101), metavar="1-100", help="from each")
    options = parser.parse_args(arguments)
    configure_logging("evaluate")  # a damaged checkpoint is told in the log
    try:
        file = run_file(options.run)
        config = load_run_config(file)
        if config.environment.kind != "racing":
            raise CannotJudge(f"The run trains {config.environment.id}, which has no laps to judge a policy by.")
        data, which = policy_of(config, file, options.policy)
        policy = racing(task_config(config), link_of(config)).policy(data)
        track = track_named(options.track, config)
    except (CannotJudge, ConfigError, CheckpointError, ValueError) as error:
        return _told(error, ExitCode.USAGE)
    except OSError as error:
        return _told(f"{error.filename} cannot be read ({error.strerror}). Give the path of a file.", ExitCode.USAGE)
    except ObjectStoreError as error:
        return _told(error, ExitCode.STORAGE)
    print(f"{which}, on {track.name}, {track.length:.0f} m")
    return ExitCode.OK if _judged(config, policy, track, options.starts, options.laps) else ExitCode.FAILED


def run_file(run: str) -> Path:
    """The run.json that `run` means. Raises CannotJudge."""
    path = Path(run)
    if path.is_file():
        return path
    for folder in (path, MODELS / run):
        if (folder / RUN_CONFIG).is_file():
            return folder / RUN_CONFIG
        steps = [entry for entry in folder.glob("[0-9]*") if entry.name.isdigit() and (entry / RUN_CONFIG).is_file()]
        if steps:
            return max(steps, key=lambda entry: int(entry.name)) / RUN_CONFIG
    raise CannotJudge(
        f"There is no run {run!r}: it is no file, no folder with a {RUN_CONFIG}, and no folder in {MODELS}/. "
        "`make fetch` makes one."
    )


def policy_of(config: RunConfig, file: Path, chosen: Path | None) -> tuple[bytes, str]:
    """The policy's file and what it is, in words. Raises CannotJudge, CheckpointError, ObjectStoreError, OSError."""
    beside = file.with_name(POLICY)
    if chosen is not None or beside.is_file():
        path = chosen or beside
        return path.read_bytes(), str(path)
    objects = open_store(config.bucket, run_prefix(config.run_id))
    best = find_best(objects).checkpoint
    checkpoint = best or find_newest(objects).checkpoint
    if checkpoint is None:
        raise CannotJudge(f"The run {config.run_id} has no checkpoint yet; --policy names a file.")
    which = "newest" if best is None else "best"
    return checkpoint.files[
        POLICY
    ], f"the {which} checkpoint of {config.run_id}, at {checkpoint.manifest.steps:,} steps"


def track_named(name: str | None, config: RunConfig) -> Track:
    """The track of that name; without one the run's. Raises CannotJudge, TrackError, ObjectStoreError."""
    announced = name or config.environment.track
    if announced is not None and (len(announced) != 64 or Path(announced).exists()):
        return parse_track(announced)
    objects = open_store(config.bucket, run_prefix(config.run_id))
    keys = [f"{TRACKS}{announced}.json"] if announced else objects.list(TRACKS)
    text = objects.find(keys[0]) if len(keys) == 1 else None
    if text is None:
        raise CannotJudge(
            f"The bucket has {len(keys) if not announced else 'no such one among its'} tracks of this run: name the "
            "one to drive on with --track seed:NUMBER or a CSV."
        )
    return track_of(text)


def _judged(config: RunConfig, policy: Policy, track: Track, starts: int, laps: int) -> bool:
    """Drive and print; whether every lap was clean."""
    task = task_config(config)
    found = judge(policy_actions(policy), track, starts, laps, task, link=link_of(config))
    yardstick = judge(reference_actions(ReferenceDriver(track)), track, 1, 2, task)
    for number, told in enumerate(_starts(found, laps), 1):
        print(f"start {number} of {starts}: {told}")
    print(f"best lap: {lap_text(found.best)}; the reference driver's: {lap_text(yardstick.best)}", end="")
    print(f" ({100.0 * found.best / yardstick.best:.1f} %)" if found.best and yardstick.best else "")
    return min(found.clean) >= laps


def _starts(found: Judgement, laps: int) -> list[str]:
    """What was seen from each start."""
    told = zip(found.clean, found.ends, found.metres, strict=True)
    return [
        f"{clean} of {laps} laps clean" + (f", then {end.replace('_', ' ')} after {metres:.0f} m" if end else "")
        for clean, end, metres in told
    ]


def _told(error: object, code: ExitCode) -> ExitCode:
    print(error, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
