"""install.sh behind boot.sh in a scratch root: a real environment is built, stored, restored and mended.

What is installed are empty packages of the real names, so that pip, venv, tar and zstd do their real work in no time.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.scratch_instance import SOURCES, ScratchInstance
from tests.support.scratch_instance import scratch as scratch
from tests.support.tools import need_tools

pytestmark = pytest.mark.slow

MODULES = [
    "boto3",
    "cryptography",
    "gymnasium",
    "matplotlib",
    "msgspec",
    "safetensors",
    "sb3_contrib",
    "sse_starlette",
    "stable_baselines3",
    "starlette",
    "tensorboard",
    "torch",
    "uvicorn",
    "wandb",
    "websockets",
    "zstandard",
]
SERVICES = (
    "ac-farewell.service ac-receiver.service ac-training.service ac-driver.service ac-tensorboard.service "
    "ac-dashboard.service ac-minute.timer ac-checkpoint.path ac-token.path ac-certificate.timer"
)
TORCH = "class cuda:\n    is_available = staticmethod(lambda: False)\n"
PROJECT = f"""[project]
name = "x"
dependencies = {MODULES[:6]!r}
[project.optional-dependencies]
cloud = {MODULES[6:]!r}
dev = ["never-installed"]
"""


class Installed:
    """A scratch instance whose bucket holds the real install.sh and units."""

    def __init__(self, scratch: ScratchInstance) -> None:
        need_tools("zstd", "curl")
        self.scratch = scratch
        scratch.extra = {"PIP_NO_INDEX": "1"}
        (scratch.etc / "instance.json").write_text('{"tensorboard_host": "0.0.0.0"}')
        self.code = code = {"pyproject.toml": PROJECT.encode(), "constraints.txt": b"torch==1.0\n"}
        for file in (SOURCES / "units").rglob("*.*"):
            if file.is_file():
                code[f"train_cloud/instance/units/{file.relative_to(SOURCES / 'units')}"] = file.read_bytes()
        scratch.upload_code((SOURCES / "install.sh").read_text(), code)

    def key(self) -> str:
        """Where the environment belongs in the bucket."""
        functions = f"<(sed '/^write_requirements$/,$d' {SOURCES}/install.sh)"
        code = self.scratch.opt / "code"
        code.mkdir()
        for name, data in self.code.items():
            if "/" not in name:
                (code / name).write_bytes(data)
        prepared = f"AC_OPT={self.scratch.opt}; end_instance() {{ :; }}"
        done = self.scratch.shell(f"{prepared}; source {functions}; write_requirements; environment_key; echo $KEY")
        assert done.stdout.startswith("env/"), done.stderr
        return done.stdout.strip()

    def store_environment(self, torch: str = TORCH, without: str = "") -> str:
        """Put a whole environment into the bucket, as an earlier instance did; its key."""
        key, made = self.key(), self.scratch.root / "made"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
        (packages,) = made.glob("lib/python*/site-packages")
        for module in set(MODULES) - {without}:
            (packages / f"{module}.py").write_text(torch if module == "torch" else "")
        tar = subprocess.run(["tar", "--create", "--directory", made, "."], check=True, capture_output=True)
        packed = subprocess.run(["zstd", "--stdout"], check=True, capture_output=True, input=tar.stdout)
        self.scratch.put(key, packed.stdout)
        return key

    def steps(self) -> list[str]:
        """Names of the boot steps done."""
        return [line.split("\t")[0] for line in (self.scratch.var / "boot_steps").read_text().splitlines()]


@pytest.fixture
def installed(scratch: ScratchInstance) -> Installed:
    return Installed(scratch)


def _wheels(folder: Path) -> None:
    folder.mkdir()
    for module in MODULES:
        name = f"{module}-1.0"
        with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{module}.py", "")
            wheel.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")


def test_a_stored_environment_is_restored_and_the_services_start_after_the_guards(installed: Installed) -> None:
    scratch = installed.scratch
    key = installed.store_environment()
    scratch.weather.fail("s3 GET /ac-scratch-bucket/env/", "503 Slow Down", count=1)

    output = scratch.execute("boot.sh")

    assert scratch.endings() == [], output
    assert f"restored from {key}" in output
    assert installed.steps() == [
        "boot",
        "address",
        "bucket",
        "done_check",
        "code",
        "environment",
        "secrets",
        "services",
    ]
    calls = [call for call in scratch.calls() if "is-system-running" not in call]
    assert calls == [
        "systemctl daemon-reload",
        "systemctl enable --quiet ac-spot-watch.service ac-drain.path ac-end.path ac-overdue.timer",
        "systemctl start ac-spot-watch.service ac-drain.path ac-end.path ac-overdue.timer",
        f"systemctl enable --quiet ac-secrets.service {SERVICES}",
        "systemctl restart ac-secrets.service",
        f"systemctl reset-failed {SERVICES}",
        f"systemctl start --no-block {SERVICES}",
    ]
    units = scratch.root / "etc/systemd/system"
    assert {file.name for file in units.iterdir()} == {
        file.name for file in (SOURCES / "units").iterdir() if "tmpfiles" not in file.name
    }
    settings = (scratch.etc / "units.env").read_text()
    assert settings == (
        "AC_TENSORBOARD_HOST='0.0.0.0'\nAC_DASHBOARD_HOST='127.0.0.1'\nAC_DASHBOARD_PORT='8766'\n"
        f"AC_ENVIRONMENT_KEY='{key}'\n"
    )


@pytest.mark.slow
def test_the_first_boot_builds_the_environment_and_a_second_run_mends_it(installed: Installed, tmp_path: Path) -> None:
    scratch = installed.scratch
    _wheels(tmp_path / "wheels")
    scratch.extra["PIP_FIND_LINKS"] = str(tmp_path / "wheels")

    built = scratch.execute("boot.sh")
    stores = scratch.calls().count("systemctl start --no-block ac-store-environment.service")
    again = scratch.execute("boot.sh")
    (broken,) = (scratch.opt / "env").glob("lib/python*/site-packages/msgspec.py")
    broken.unlink()
    mended = scratch.execute("boot.sh")

    assert "building the Python environment, attempt 1 of 3" in built
    assert "never-installed" not in built
    assert stores == 1
    assert "the Python environment is there" in again
    assert "building the Python environment" in mended
    assert broken.exists()
    assert scratch.endings() == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "incomplete"])
def test_a_stored_environment_that_is_broken_is_built_anew(installed: Installed, tmp_path: Path, damage: str) -> None:
    scratch = installed.scratch
    _wheels(tmp_path / "wheels")
    scratch.extra["PIP_FIND_LINKS"] = str(tmp_path / "wheels")
    key = installed.store_environment(without="wandb" if damage == "incomplete" else "")
    if damage == "cut":
        scratch.put(key, scratch.get(key)[:-500])

    output = scratch.execute("boot.sh")

    assert "building the Python environment" in output
    assert scratch.endings() == []
    assert installed.steps()[-1] == "services"


def test_no_service_starts_after_a_notice(installed: Installed) -> None:
    scratch = installed.scratch
    installed.store_environment()
    scratch.notice()

    output = scratch.execute("boot.sh")

    assert "no service is started" in output
    assert not [call for call in scratch.calls() if "ac-receiver" in call]
    assert scratch.endings() == []
    assert scratch.desired_capacity() == 1


def test_secrets_that_cannot_be_had_end_the_instance_with_their_reason(installed: Installed) -> None:
    scratch = installed.scratch
    installed.store_environment()
    (scratch.root / "broken_unit").write_text("ac-secrets.service")
    (scratch.root / "unit_log").write_text('time=t level=error event="There is no parameter /x/token."\n')

    scratch.execute("boot.sh")

    (record,) = scratch.endings()
    assert "after the step environment: ac-secrets.service failed" in record["text"]
    assert 'event="There is no parameter /x/token."' in record["text"]
    assert scratch.desired_capacity() == 0


@pytest.mark.parametrize("driver", ["absent", "broken", "old"])
def test_a_gpu_that_is_not_seen_ends_the_instance(installed: Installed, driver: str) -> None:
    scratch = installed.scratch
    scratch.write_settings(AC_ACCELERATOR="gpu")
    installed.store_environment()
    if driver != "absent":
        text = "echo 'No devices were found'; exit 6" if driver == "broken" else "echo Tesla T4, 470.0"
        (scratch.root / "bin/nvidia-smi").write_text(f"#!/bin/bash\n{text}\n")
        (scratch.root / "bin/nvidia-smi").chmod(0o755)

    scratch.execute("boot.sh")

    (record,) = scratch.endings()
    said = {"absent": "No such file or directory", "broken": "No devices were found", "old": "Tesla T4, 470.0"}
    assert "GPU not seen: nvidia-smi" in record["text"]
    assert said[driver] in record["text"]
    assert scratch.desired_capacity() == 0


def test_by_hand_a_failure_is_told_and_ends_nothing(installed: Installed) -> None:
    scratch = installed.scratch
    installed.store_environment()
    scratch.execute("boot.sh")
    (scratch.root / "broken_unit").write_text("ac-secrets.service")

    with scratch.start("../../../../opt/ac-training/code/train_cloud/instance/install.sh") as process:
        output = process.communicate(timeout=120)[0]

    assert process.returncode == 1
    assert "ac-secrets.service failed" in output
    assert scratch.endings() == []
    assert scratch.desired_capacity() == 1
