"""A whole run as its owner lives it: apply, pair, drive, a spot interruption, a replacement, the end, destroy.

The story is played once, from the user_data that AWS has stored to an account with nothing left in it; each test then
holds one thing about it. Times of the boots go to build/box/boot.json.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.box.cloud import ENDPOINT, Instance
from tests.box.conftest import OpenCloud, keep_environments
from tests.box.policy import RolePolicies
from tests.box.world import NAME, World, wait_for
from tests.support.aws_server import ACCOUNT
from wire.pairing import parse_pairing

pytestmark = [pytest.mark.box, pytest.mark.terraform, pytest.mark.slow, pytest.mark.timeout(1800)]

CARS, TICKS, HZ = 2, 4000, 100.0
STEPS = CARS * TICKS
NOTICE_SECONDS = 60.0
FIRST_BOOT_SECONDS = 240.0
LATER_BOOT_SECONDS = 120.0
EXPOSURE = 3.0
BOOT_FILE = Path("build/box/boot.json")


@dataclass
class Story:
    """What happened, noted while it was played."""

    world: World
    lives: list[Instance] = field(default_factory=list)
    pairings: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    boots: list[dict[str, float]] = field(default_factory=list)
    endings: list[dict[str, Any]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    processes: str = ""
    page: str = ""
    look: str = ""
    owners: str = ""
    saved_after_notice: int = 0
    steps_at_notice: int = 0
    drained_seconds: float = 0.0
    verified: str = ""
    exposures: dict[str, float] = field(default_factory=dict)
    schema: str = ""
    system_state: str = ""
    repaired: str = ""
    status: str = ""
    policies: RolePolicies | None = None
    desired: list[int] = field(default_factory=list)
    launched_after_the_end: int = 0
    objects_in_the_end: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    whole: BaseException | None = None


@pytest.fixture(scope="module")
def story(
    open_cloud: OpenCloud, environments: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """The story, played to its end."""
    with open_cloud("good") as cloud:
        world = World(cloud, tmp_path_factory.mktemp("world"), "good-1", training={"total_timesteps": STEPS})
        told = Story(world)
        try:
            _first_life(told)
            _interruption(told)
            _second_life(told)
            keep_environments(world, environments)
            _aftermath(told)
        except BaseException:
            print(world.story())
            raise
        finally:
            world.close()
        yield told


def _first_life(told: Story) -> None:
    world = told.world
    world.apply()
    _live(told, FIRST_BOOT_SECONDS)
    world.apply(budget_usd=19)
    _inspect(told)
    wait_for(lambda: bool(world.cloud_objects("env/")), "the environment is kept", 90.0)
    _repair(told)
    changed = "the limits were changed by an apply"
    wait_for(lambda: changed in told.lives[0].box.log("ac-minute"), "the new budget is taken over", 90.0)
    told.status = world.operator("status").stdout
    told.pairings.append(world.pair())
    world.start_bridge(told.pairings[0], CARS, TICKS, HZ)
    wait_for(lambda: world.saved_steps() >= 1000, "the first checkpoint is saved", 60.0)
    told.page, told.look = world.page()
    told.owners = told.lives[0].box.run("ps", "axww", "-o", "user,args").stdout
    told.lives[0].recommend_rebalance()
    wait_for(lambda: "a checkpoint was asked for" in told.lives[0].box.log("ac-training"), "the hint is taken", 20.0)
    wait_for(lambda: "first_gradient" in world.metrics().get("boot_seconds", {}), "the boot is told", 30.0)
    told.boots.append(world.metrics()["boot_seconds"])
    _note_processes(told)


def _live(told: Story, seconds: float) -> None:
    """The next instance boots until its receiver takes bridges."""
    world = told.world
    instance = world.cloud.wait_for_instance(NAME, len(told.lives) + 1)
    told.lives.append(instance)
    wait_for(lambda: "event=listening" in instance.box.log("ac-receiver") or instance.gone, "it listens", seconds)
    assert not instance.gone, "the instance ended during its boot"
    told.pairings.append(world.pair())
    told.addresses.append(instance.metadata.public_ip or "none")
    pairing = parse_pairing(told.pairings[-1])
    told.secrets += [pairing.token, instance.metadata.secret_access_key, instance.metadata.session_token]
    told.secrets += _key_lines(instance)
    told.secrets.append(instance.box.read("/run/ac-training/dashboard_token") or "no token, which is a defect")


def _key_lines(instance: Instance) -> list[str]:
    pem = instance.box.read("/var/lib/ac-training/tls.pem") or ""
    private = pem.partition("PRIVATE KEY-----")[2].partition("-----END")[0]
    return [line for line in private.splitlines() if line]


def _inspect(told: Story) -> None:
    """What systemd and cloud-init in the box say of what we gave them."""
    box = told.lives[0].box
    units = "cd /etc/systemd/system && ls ac-*.service ac-*.path ac-*.timer"
    names = box.run("sh", "-c", units).stdout.split()
    done = box.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *names)
    told.verified = f"{done.returncode} {done.stdout}{done.stderr}".strip()
    for name in names:
        if name.endswith(".service"):
            last = box.run("systemd-analyze", "security", "--no-pager", name).stdout.strip().splitlines()[-1]
            told.exposures[name] = float(last.partition(f"{name}: ")[2].split()[0])
    done = box.run("cloud-init", "schema", "--system")
    told.schema = f"{done.returncode} {done.stdout}{done.stderr}".strip()
    wait_for(lambda: box.run("systemctl", "is-system-running").stdout.strip() != "starting", "the boot is over", 300.0)
    state = ("systemctl", "is-system-running"), ("systemctl", "--failed", "--plain", "--no-legend")
    told.system_state = " ".join(box.run(*command).stdout for command in state).strip()


def _repair(told: Story) -> None:
    """Break what install.sh made, and run it again."""
    box = told.lives[0].box
    packages = "/opt/ac-training/env/lib/python3.11/site-packages"
    broken = (
        f"systemctl stop ac-training ac-receiver && rm -r {packages}/msgspec /etc/systemd/system/ac-receiver.service"
    )
    assert box.run("sh", "-c", broken).returncode == 0
    install = "/opt/ac-training/code/train_cloud/instance/install.sh"
    # Only services have systemd's environment, where the address of this small AWS is.
    done = box.run("env", f"AWS_ENDPOINT_URL={ENDPOINT}", "bash", install, seconds=90.0)
    told.repaired = f"{done.returncode} {done.stdout}{done.stderr}"
    active = ("systemctl", "is-active", "ac-receiver", "ac-training")
    wait_for(lambda: box.run(*active).returncode == 0, "the services run again", 60.0)


def _note_processes(told: Story) -> None:
    told.processes += told.lives[-1].box.run("ps", "axww", "-o", "args").stdout


def _interruption(told: Story) -> None:
    world, instance = told.world, told.lives[0]
    told.steps_at_notice = world.saved_steps()
    began = time.monotonic()
    instance.give_notice()
    told.endings.append(world.wait_for_ending(1, NOTICE_SECONDS + 30.0))
    told.drained_seconds = time.monotonic() - began
    told.saved_after_notice = world.saved_steps()
    world.cloud.take_back(instance)
    told.logs.append(world.shipped_log(instance))


def _second_life(told: Story) -> None:
    world = told.world
    _live(told, LATER_BOOT_SECONDS)
    _note_processes(told)
    told.endings.append(world.wait_for_ending(2, 120.0))
    world.cloud.wait_gone(told.lives[1], 60.0)
    told.boots.append(world.metrics()["boot_seconds"])
    told.logs.append(world.shipped_log(told.lives[1]))
    told.desired.append(world.cloud.desired_capacity(NAME))
    try:
        world.check_experience(CARS, TICKS)
    except AssertionError as error:
        told.whole = error
    told.objects_in_the_end = world.objects.list("")


def _aftermath(told: Story) -> None:
    world = told.world
    context = {"ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{NAME}"}
    told.policies = RolePolicies.read(world.cloud.aws.client("iam"), NAME, context)
    world.apply(budget_usd=21)
    told.desired.append(world.cloud.desired_capacity(NAME))
    told.launched_after_the_end = len(world.cloud.of_group(NAME)) - len(told.lives)
    world.stack.destroy()
    told.left = world.leftovers()
    BOOT_FILE.parent.mkdir(parents=True, exist_ok=True)
    BOOT_FILE.write_text(json.dumps({"first": told.boots[0], "restored": told.boots[1]}, indent=2))


def test_the_dashboard_shows_home_the_run_and_is_nobody_on_the_instance(story: Story) -> None:
    assert story.page.startswith("200 <!doctype html>")
    look = json.loads(story.look.partition("data: ")[2].partition("\n")[0])
    assert look["run_id"] == "good-1"
    assert look["progress"]["steps"] > 0
    assert look["money"]["budget_usd"] == 19
    assert [one["connected"] for one in look["bridges"]] == [True]
    (owner,) = {line.split()[0] for line in story.owners.splitlines() if "-m train_cloud.dashboard" in line}
    assert owner not in ("root", "ac-training", "ac-trai+")


def test_the_units_are_what_systemd_understands(story: Story) -> None:
    assert story.verified == "0"


def test_every_service_is_sandboxed(story: Story) -> None:
    assert story.exposures
    assert {name: exposure for name, exposure in story.exposures.items() if exposure > EXPOSURE} == {}


def test_cloud_init_takes_the_user_data_as_it_is(story: Story) -> None:
    assert story.schema.startswith("0 Valid cloud-config"), story.schema


def test_a_booted_instance_has_no_failed_unit(story: Story) -> None:
    assert story.system_state == "running"


def test_installing_a_second_time_repairs(story: Story) -> None:
    assert story.repaired.startswith("0 "), story.repaired
    assert "was restored from" in story.repaired


def test_a_budget_that_is_applied_meanwhile_reaches_the_running_instance(story: Story) -> None:
    (said,) = [line for line in story.lives[0].box.log("ac-minute").splitlines() if "changed by an apply" in line]
    assert "budget_usd=19" in said
    assert f"{story.lives[0].id}, " in story.status
    assert ", for the run good-1\n" in story.status
    assert "of $19.00" in story.status


def test_the_address_and_the_pairing_outlive_the_instance(story: Story) -> None:
    assert len(set(story.addresses)) == 1
    assert len(set(story.pairings)) == 1


def test_a_rebalance_hint_saves_a_checkpoint_and_training_goes_on(story: Story) -> None:
    said = story.lives[0].box.log("ac-training")
    assert "a checkpoint was asked for" in said
    assert story.saved_after_notice > story.steps_at_notice


def test_everything_is_saved_within_a_minute_of_the_notice(story: Story) -> None:
    assert story.endings[0]["reason"] == "interrupted"
    assert story.endings[0]["desired_capacity"] is None
    assert story.endings[0]["seconds"] < NOTICE_SECONDS
    assert story.drained_seconds < NOTICE_SECONDS


def test_the_replacement_goes_on_at_the_saved_step(story: Story) -> None:
    said = story.lives[1].box.log("ac-training")
    assert f"event=resuming steps={story.saved_after_notice} " in said


def test_nothing_is_lost_and_nothing_doubled(story: Story) -> None:
    if story.whole is not None:
        raise story.whole


def test_the_finished_run_ends_itself(story: Story) -> None:
    assert story.endings[1]["reason"] == "finished"
    assert "DONE" in story.objects_in_the_end
    assert story.desired[0] == 0


def test_a_later_apply_does_not_start_a_finished_run(story: Story) -> None:
    assert story.desired[1] == 0
    assert story.launched_after_the_end == 0


def test_destroy_leaves_nothing(story: Story) -> None:
    assert story.left == []


def test_the_journal_tells_the_story(story: Story) -> None:
    first, second = story.logs
    for telling in ("event=listening", "event=training", "checkpoint", "event=resuming"):
        assert telling in first + second, telling
    assert "the run is done" in second


def test_no_secret_is_in_a_log_or_on_a_command_line(story: Story) -> None:
    texts = [*story.logs, story.processes, *(life.box.log() + life.box.console for life in story.lives)]
    found = [secret[:4] for secret in story.secrets for text in texts if secret in text]
    assert len(story.secrets) >= 8
    assert found == []


def test_every_call_was_signed_and_is_allowed_by_the_roles_policy(story: Story) -> None:
    gate = story.world.cloud.gate
    assert gate.bad_signatures == []
    assert story.policies is not None
    refused = {(call.action, call.resources) for call in gate.calls if not story.policies.allows(call)}
    assert refused == set()


def test_the_boot_is_told_step_by_step(story: Story) -> None:
    for boot in story.boots:
        assert {"address", "code", "environment", "secrets", "services", "first_gradient"} <= boot.keys()
        assert sorted(boot.values()) == list(boot.values())
    assert story.boots[1]["environment"] < story.boots[0]["environment"]
