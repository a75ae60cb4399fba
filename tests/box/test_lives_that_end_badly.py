"""How instances end that cannot do their work, each in a box: they save what there is, say why, and stop costing money.

One deployment serves all of them; each life has a run of its own and boots what a `terraform apply` of its settings has
stored. The first environment comes from the good life's bucket when that was played before, else it is built here.
"""

from collections.abc import Iterator

import pytest

from tests.box.cloud import Cloud, Instance
from tests.box.conftest import OpenCloud, keep_environments, seed_environments
from tests.box.world import NAME, World, wait_for

pytestmark = [pytest.mark.box, pytest.mark.terraform, pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE_SECONDS = 8
"""For how long the boot takes a refusal for one that passes; 300 on AWS, where a fresh role needs a while."""
LOOK_SECONDS = 2
"""How often ac-minute looks; 60 on AWS."""
TIMER = f"[Timer]\nOnActiveSec=\nOnUnitInactiveSec=\nOnActiveSec=1\nOnUnitInactiveSec={LOOK_SECONDS}\n"
CARS, TICKS, HZ = 2, 100_000, 100.0
BOOT_SECONDS = 60.0
LOOP = "train_cloud/trainer/loop.py"
PROGRESS = "        counters = self.counters\n        progress = "
CRASH = """        if self.counters.steps >= 2500:
            raise RuntimeError(f"crashed on purpose at step {self.counters.steps}")
"""


class Lives:
    """The deployment, and how to begin a life in it."""

    def __init__(self, world: World) -> None:
        self.world, self.cloud = world, world.cloud

    def prepare(self, run_id: str, **variables: object) -> None:
        """Apply these settings for a run of that name; nothing boots yet."""
        self.world.apply(run_id=run_id, **variables)

    def begin(self) -> Instance:
        """Let the group have an instance; it begins to boot."""
        before = len(self.cloud.of_group(NAME))
        self.desire(1)
        return self.cloud.wait_for_instance(NAME, before + 1)

    def begin_and_listen(self) -> Instance:
        """Let an instance boot until its receiver takes bridges."""
        instance = self.begin()
        self.wait_for(instance, "ac-receiver", "event=listening", BOOT_SECONDS)
        return instance

    def replace(self, instance: Instance) -> Instance:
        """Let spot take the instance at once; returns the one that the group starts in its place."""
        number = len(self.cloud.of_group(NAME)) + 1
        self.cloud.take_back(instance)
        return self.cloud.wait_for_instance(NAME, number)

    def wait_for(self, instance: Instance, unit: str, words: str, seconds: float) -> None:
        """Wait until the unit has logged these words."""
        wait_for(lambda: words in instance.box.log(unit) or instance.gone, f"{unit} says {words}", seconds)
        assert words in instance.box.log(unit), f"the instance ended before {unit} said {words}"

    def drive(self) -> None:
        """Let a bridge dial in and drive until the test's end."""
        self.world.start_bridge(self.world.pair(), CARS, TICKS, HZ)

    def desire(self, capacity: int) -> None:
        """Set the group's desired capacity."""
        asg = self.cloud.aws.client("autoscaling")
        asg.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=capacity)

    def check_end(self, instance: Instance, seconds: float, reason: str, *words: str) -> None:
        """Hold that the instance ends in that time for this reason, in these words, with its log kept, for good."""
        self.cloud.wait_gone(instance, seconds)
        endings = self.world.endings()
        assert [ending["reason"] for ending in endings] == [reason]
        assert endings[0]["desired_capacity"] == 0
        assert endings[0]["instance_id"] == instance.id
        for word in words:
            assert word in endings[0]["text"]
        assert f"the instance ends ({reason})" in self.world.shipped_log(instance)
        assert self.cloud.desired_capacity(NAME) == 0

    def tidy(self) -> None:
        """Between two lives: no instance, no bridge, no fault."""
        self.world.close()
        self.cloud.gate.heal()
        self.desire(0)
        for instance in self.cloud.instances:
            if not instance.gone:
                instance.box.lose_power()
                self.cloud.wait_gone(instance, 20.0)
            instance.box.discard()
        self.cloud.files.clear()
        self.cloud.files["/etc/systemd/system/ac-minute.timer.d/box.conf"] = TIMER
        self.cloud.environment.clear()
        self.cloud.environment["AC_PATIENCE_SECONDS"] = str(PATIENCE_SECONDS)
        self.world.forget_bridge()


@pytest.fixture(scope="module")
def deployment(
    open_cloud: OpenCloud, environments: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lives]:
    """The deployment, with an environment in its bucket, and no instance."""
    with open_cloud("bad") as cloud:
        lives = Lives(World(cloud, tmp_path_factory.mktemp("world"), "bad-0"))
        _begin_without_instance(cloud, lives)
        if environments:
            seed_environments(lives.world, environments)
        else:
            instance = lives.begin()
            lives.wait_for(instance, "ac-store-environment", "the environment is in the bucket", 240.0)
            keep_environments(lives.world, environments)
        yield lives
        lives.tidy()


def _begin_without_instance(cloud: Cloud, lives: Lives) -> None:
    cloud.capacity = False
    lives.prepare("bad-0")
    lives.desire(0)
    cloud.capacity = True


@pytest.fixture
def lives(deployment: Lives, request: pytest.FixtureRequest) -> Iterator[Lives]:
    """The deployment at rest."""
    deployment.tidy()
    failed_before = request.session.testsfailed
    yield deployment
    if request.session.testsfailed > failed_before:
        print(deployment.world.story())


def test_a_missing_code_object_ends_the_boot(lives: Lives) -> None:
    lives.prepare("code-missing")
    key = next(key for key in lives.world.cloud_objects("code/") if key.endswith("trainer/loop.py"))
    s3 = lives.cloud.aws.client("s3")
    kept = s3.get_object(Bucket=lives.world.deployment["bucket"], Key=key)["Body"].read()
    s3.delete_object(Bucket=lives.world.deployment["bucket"], Key=key)
    instance = lives.begin()
    lives.check_end(instance, 40.0, "failed", "trainer/loop.py is missing", "terraform apply")
    s3.put_object(Bucket=lives.world.deployment["bucket"], Key=key, Body=kept)


def test_where_s3_refuses_to_be_read_the_boot_ends(lives: Lives) -> None:
    lives.prepare("no-reads")
    lives.cloud.gate.refuse("s3:GetObject")
    instance = lives.begin()
    lives.check_end(instance, 40.0 + PATIENCE_SECONDS, "failed", "403")


def test_where_s3_refuses_to_be_written_the_console_says_why(lives: Lives) -> None:
    lives.prepare("no-writes")
    lives.cloud.gate.refuse("s3:PutObject")
    instance = lives.begin()
    lives.cloud.wait_gone(instance, 60.0 + PATIENCE_SECONDS)
    assert "the instance ends (failed)" in instance.box.console
    assert "S3 refuses to store" in instance.box.console
    assert lives.cloud.desired_capacity(NAME) == 0


def test_a_trainer_that_crashes_at_once_ends_the_instance(lives: Lives) -> None:
    lives.cloud.files["/etc/systemd/system/ac-training.service.d/box.conf"] = (
        "[Service]\nExecStartPre=/usr/bin/python3 -c 'raise SystemExit(\"level=error event=broken on purpose\")'\n"
    )
    lives.prepare("crash-at-once")
    instance = lives.begin()
    lives.check_end(instance, 90.0, "failed", "ac-training.service failed for good", "broken on purpose")


def test_a_trainer_that_crashes_at_a_step_keeps_its_checkpoint(lives: Lives) -> None:
    world = lives.world
    intact = (world.stack.folder / LOOP).read_text()
    assert PROGRESS in intact
    world.stack.write(LOOP, intact.replace(PROGRESS, CRASH + PROGRESS))
    try:
        lives.prepare("crash-at-step")
        instance = lives.begin_and_listen()
        lives.drive()
        lives.check_end(instance, 120.0, "failed", "ac-training.service failed for good", "crashed on purpose at step")
        assert world.saved_steps() >= 1000
    finally:
        world.stack.write(LOOP, intact)


def test_an_idle_instance_ends(lives: Lives) -> None:
    lives.prepare("idle", idle_minutes=0.2)
    instance = lives.begin()
    lives.check_end(instance, 80.0, "idle", "make start")


def test_a_disk_that_stays_full_ends_the_instance_with_a_checkpoint(lives: Lives) -> None:
    # A disk of its own, so that it is the box's alone that fills up.
    lives.cloud.files["/etc/fstab"] = "tmpfs /var/lib/ac-training tmpfs size=48m 0 0\n"
    lives.prepare("disk-full", idle_minutes=30, budget_usd=20, max_launches=50)
    instance = lives.begin_and_listen()
    lives.drive()
    wait_for(lambda: lives.world.saved_steps() >= 1000, "a checkpoint is saved", 60.0)
    instance.box.run("sh", "-c", "cat /dev/zero >/var/lib/ac-training/filler")
    lives.check_end(instance, 120.0, "failed", "the disk has been full", "volume_gb", "make start")
    for unit, words in (("ac-receiver", "the store is full: batches are refused"), ("ac-minute", "the disk is full")):
        assert words in instance.box.log(unit)


def test_a_spent_budget_ends_the_run_with_a_checkpoint(lives: Lives) -> None:
    lives.prepare("over-budget", idle_minutes=30, budget_usd=0.001)
    instance = lives.begin_and_listen()
    lives.drive()
    lives.check_end(instance, 120.0, "over_budget", "budget_usd is 0.001", "make start")
    assert lives.world.saved_steps() > 0


def test_a_run_that_is_done_is_not_begun_again(lives: Lives) -> None:
    lives.prepare("done", idle_minutes=30, budget_usd=20)
    lives.world.objects.put("DONE", b"{}")
    instance = lives.begin()
    lives.check_end(instance, 30.0, "finished", "DONE is in the bucket")
    assert lives.world.saved_steps() == 0


def test_a_run_that_was_launched_too_often_is_not_begun_again(lives: Lives) -> None:
    lives.prepare("too-often", max_launches=3)
    lives.world.objects.put("launches", b"3\n")
    instance = lives.begin()
    lives.check_end(instance, 30.0, "over_launches", "max_launches is 3", "make start")


def test_a_notice_during_the_boot_leaves_the_group_to_replace_the_instance(lives: Lives) -> None:
    lives.prepare("early-notice", max_launches=50)
    instance = lives.begin()
    instance.give_notice()
    ending = lives.world.wait_for_ending(1, 60.0)
    assert (ending["reason"], ending["desired_capacity"]) == ("interrupted", None)
    assert "event=listening" not in instance.box.log("ac-receiver")
    replacement = lives.replace(instance)
    assert lives.cloud.desired_capacity(NAME) == 1
    lives.wait_for(replacement, "ac-receiver", "event=listening", BOOT_SECONDS)
    assert [one["reason"] for one in lives.world.endings()] == ["interrupted"]


def test_a_power_loss_without_notice_costs_no_experience(lives: Lives) -> None:
    ticks = 1500
    lives.prepare("power-loss", training={"total_timesteps": CARS * ticks})
    first = lives.begin_and_listen()
    lives.world.start_bridge(lives.world.pair(), CARS, ticks, HZ)
    wait_for(lambda: lives.world.saved_steps() >= 1000, "a checkpoint is saved", 60.0)
    second = lives.replace(first)
    lives.check_end(second, 120.0, "finished")
    assert "event=resuming" in second.box.log("ac-training")
    lives.world.check_experience(CARS, ticks)


def test_a_jumping_clock_neither_ends_nor_loses_anything(lives: Lives) -> None:
    ticks = 1500
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    lives.cloud.files["/etc/faketimerc"] = "+0"
    # The library breaks systemd's own daemons at the jump: journald dies until it is not started any more, and with it
    # goes the log that is looked for below. They keep the real clock; ours jump.
    for daemon in ("systemd-journald", "systemd-logind"):
        lives.cloud.files[f"/etc/systemd/system/{daemon}.service.d/clock.conf"] = (
            "[Service]\nUnsetEnvironment=LD_PRELOAD\n"
        )
    lives.cloud.environment |= {
        "LD_PRELOAD": library,
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_TIMESTAMP_FILE": "/etc/faketimerc",
    }
    lives.prepare("clock", max_hours=1, budget_usd=20, training={"total_timesteps": CARS * ticks})
    instance = lives.begin_and_listen()
    lives.world.start_bridge(lives.world.pair(), CARS, ticks, HZ)
    wait_for(lambda: lives.world.saved_steps() >= 1000, "a checkpoint is saved", 60.0)
    (instance.box.root / "etc/faketimerc").write_text("+3h")
    lives.wait_for(instance, "ac-minute", "looked at the budget", 30.0)
    lives.check_end(instance, 120.0, "finished")
    lives.world.check_experience(CARS, ticks)
