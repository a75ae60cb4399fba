"""`make logs`: the newest lines of an instance's journal, from the increments that it keeps in the bucket.

Works when the instance is long gone, and needs no way into it. The increments come about once a minute; what to type
for the live journal is told on standard error. Of a run of your own (--run) it is what its processes wrote, by the name
of their machine.
"""

import gzip
import zlib
from typing import Annotated

import typer

from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note, note_other_run
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import OwnRun, RunFile, ServiceFolder, run_of
from scripts.cloud.waiting import POLL_SECONDS, Wait
from train_cloud.run_folder.keys import LOGS

LINES = 200
FOLLOW_MINUTES = 24 * 60.0
FOLLOW_SECONDS = 5 * POLL_SECONDS


def logs(
    instance: Annotated[
        str | None, typer.Option(envvar="AC_INSTANCE", help="An instance's id; default: the one that wrote last.")
    ] = None,
    tail: Annotated[int, typer.Option(envvar="AC_TAIL", min=1, help="How many of the newest lines.")] = LINES,
    follow: Annotated[bool, typer.Option(envvar="AC_FOLLOW", help="Go on with what comes, until Ctrl-C.")] = False,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Print the newest journal lines of an instance."""
    found = run_of(run, folder, deployment)
    if isinstance(found, Cloud):
        note_other_run(found)
    keys = found.objects.list(LOGS)
    # The names of increments begin with the time.
    chosen = instance or _instance_of(max(keys, key=lambda key: key.rpartition("/")[2], default=""))
    if not chosen:
        raise OperatorError(_nothing_yet(found))
    shipped = [key for key in keys if _instance_of(key) == chosen]
    if not shipped and not follow:
        known = ", ".join(sorted({_instance_of(key) for key in keys})) or "none"
        raise OperatorError(f"The bucket has no log of {chosen}. Instances with logs: {known}.")
    if isinstance(found, Cloud):
        note(
            f"{chosen}, of the run {found.run_id}, as kept in the bucket. Live, while it runs: `aws ssm start-session "
            f"--region {found.deployment.region} --target {chosen}`, then `journalctl -u ac-training -f`."
        )
    else:
        note(
            f"{chosen}, as kept in the bucket, a minute behind at most. Live: what its two processes write themselves."
        )
    lines: list[str] = []
    for key in reversed(shipped):
        if len(lines) < tail:
            lines = _increment(found, key) + lines
    for line in lines[-tail:]:
        print(line)
    wait = Wait(FOLLOW_MINUTES if follow else 0.0)
    while wait.again(FOLLOW_SECONDS):
        for key in found.objects.list(f"{LOGS}{chosen}/"):
            if key not in shipped:
                shipped.append(key)
                print("\n".join(_increment(found, key)), flush=True)


def _increment(found: Cloud | OwnRun, key: str) -> list[str]:
    """The lines without control characters: what a stranger made the receiver log must not steer this terminal."""
    try:
        text = gzip.decompress(found.objects.get(key)[0]).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return [f"[the increment {key} is damaged]"]
    return ["".join(sign if sign.isprintable() or sign == "\t" else "?" for sign in line) for line in text.splitlines()]


def _instance_of(key: str) -> str:
    return key.removeprefix(LOGS).partition("/")[0]


def _nothing_yet(found: Cloud | OwnRun) -> str:
    if isinstance(found, OwnRun):
        return (
            f"The run {found.run_id} has no log in its bucket yet; it comes a minute after the start of its processes."
        )
    cloud, group = found, found.group()
    if group.instance is None or cloud.other_run(group.instance):
        return f"No instance has written a log for the run {cloud.deployment.run_id} yet. `make status` tells more."
    return (
        f"{group.instance} has not written a log yet; the first comes about a minute after its boot. What its console "
        f"shows: `aws ec2 get-console-output --latest --output text --region {cloud.deployment.region} --instance-id "
        f"{group.instance.instance_id}`."
    )
