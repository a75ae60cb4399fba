"""The image is not built here, where no docker works: what its Dockerfile copies and runs is tried without it.

Its files are copied to where only they are, its own line makes the list of packages, and its command starts there.
"""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from scripts.cloud.status import status
from scripts.processes.leash import GRACE_SECONDS
from scripts.serve.__main__ import serve

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "scripts" / "serve" / "docker"
INSTRUCTIONS = [
    tuple(line.split(" ", 1))
    for line in re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    if line and not line.startswith("#")
]


def said(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the code as the image has it."""
    folder = tmp_path_factory.mktemp("image")
    for line in said("COPY"):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder / target)
    return folder


def test_what_is_copied_is_sent_to_the_daemon() -> None:
    first, *kept = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    for line in said("COPY"):
        for source in line.split()[:-1]:
            assert f"!{source}" in kept, source
            assert not any(fnmatch(source, pattern) for pattern in kept if not pattern.startswith("!"))


def test_the_packages_are_those_that_the_project_asks_for(image: Path) -> None:
    (run,) = said("RUN")
    python, minus_c, code = shlex.split(run.partition(" >requirements.txt")[0])
    assert (python, minus_c) == ("python", "-c")
    listed = subprocess.run([sys.executable, "-c", code], cwd=image, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert listed.stdout.splitlines() == [*project["dependencies"], *extras["cloud"], *extras["operator"]]
    assert "--constraint constraints.txt --requirement requirements.txt" in run


@pytest.mark.slow
def test_all_that_a_served_run_loads_is_in_the_image(image: Path) -> None:
    code = (
        "import sys, scripts.serve.__main__, scripts.processes.leash, scripts.cloud.cli\n"
        "import train_cloud.receiver.__main__, train_cloud.trainer.__main__, train_cloud.dashboard.__main__\n"
        "rooms = ('runtime', 'racing', 'wire', 'experience', 'bridge', 'train_cloud', 'scripts')\n"
        "ours = [one.__file__ for name, one in sys.modules.items() if name.split('.')[0] in rooms and one.__file__]\n"
        f"strange = [file for file in ours if not file.startswith({str(image)!r})]\n"
        "assert len(ours) > 50 and not strange, strange"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=image, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_is_understood_and_its_variables_are_the_commands(image: Path) -> None:
    command = said("CMD")[0].strip("[]").replace(",", "").replace('"', "").split()
    shown = subprocess.run(
        [sys.executable, *command[1:], "--help"], cwd=image, capture_output=True, text=True, check=False
    )
    assert (command[0], shown.returncode, "--folder" in shown.stdout) == ("python", 0, True), shown.stderr
    variables = re.findall(r"\bAC_\w+(?==)", said("ENV")[0])
    variables += re.findall(r"^ +(AC_\w+):", (DOCKER / "compose.yaml").read_text(encoding="utf-8"), re.M)
    options = [
        *inspect.signature(serve, eval_str=True).parameters.values(),
        *inspect.signature(status).parameters.values(),
    ]
    read = {one.annotation.__metadata__[0].envvar for one in options if hasattr(one.annotation, "__metadata__")}
    assert len(variables) == 3
    assert set(variables) <= read


def test_compose_leads_to_the_dockerfile_and_gives_a_stop_the_time_that_it_takes() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    context = DOCKER / re.findall(r"context: (\S+)", text)[0]
    assert context.resolve() == ROOT
    assert (context / re.findall(r"dockerfile: (\S+)", text)[0]).samefile(DOCKER / "Dockerfile")
    seconds = int(re.findall(r"stop_grace_period: (\d+)s", text)[0])
    assert seconds >= 2 * GRACE_SECONDS, "the trainer's end, then the receiver's"
    ports = set(said("EXPOSE")[0].split())
    assert set(re.findall(r'"(\d+):\1"', text)) == ports
