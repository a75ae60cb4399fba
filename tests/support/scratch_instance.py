"""An instance's file system in a folder, for running its shell code for real: real bash and curl, a real metadata
service and a moto server that takes what curl signs. Only systemctl and journalctl are stand-ins: they write down how
they were called, and the box tests use the real ones. Import the fixture `scratch` from here.
"""

import contextlib
import gzip
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_server import REGION, AwsServer, WsgiApp
from tests.support.imds import Imds, Metadata
from tests.support.tools import need_tools

SOURCES = Path(__file__).resolve().parents[2] / "train_cloud/instance"
BUCKET, GROUP, RUN_ID, CODE = "ac-scratch-bucket", "ac-scratch", "run-1", "c0de"
INSTALL = 'echo "installed at step $STEP" >"$AC_ROOT/installed"\n'
"""What stands for install.sh in the code that is fetched, unless a test brings another."""
_SYSTEMCTL = """#!/bin/bash
echo "systemctl $*" >>"$AC_ROOT/calls"
case $1 in
is-system-running) cat "$AC_ROOT/system_state" ;;
poweroff) if ! rm "$AC_ROOT/refused_poweroffs" 2>/dev/null; then kill -TERM $PPID; else exit 1; fi ;;
show) cat "$AC_ROOT/unit_state" 2>/dev/null ;;
restart) [[ ! -e $AC_ROOT/broken_unit || $2 != "$(cat "$AC_ROOT/broken_unit")" ]] ;;
esac
"""
_JOURNALCTL = """#!/bin/bash
echo "journalctl $*" >>"$AC_ROOT/calls"
for option; do
  case $option in
  --cursor-file=*) file=${option#*=} && echo "lines after <$(cat "$file" 2>/dev/null)>" && echo "cursor-$$" >"$file" ;;
  --unit=*) cat "$AC_ROOT/unit_log" ;;
  esac
done
"""


class Weather:
    """What goes wrong in front of the server: each rule answers the next `count` matching requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Service, method and path of each request."""
        self._rules: list[tuple[str, str, int]] = []

    def fail(self, what: str, status: str = "403 Forbidden", count: int = 1_000_000) -> None:
        """Answer requests whose "service METHOD /path" contains `what` with `status`, `count` times."""
        self._rules.append((what, status, count))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._rules.clear()

    def wrap(self, app: WsgiApp) -> WsgiApp:
        """The server with this weather."""

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            signed = environ.get("HTTP_AUTHORIZATION", "").partition("/aws4_request")[0]
            request = f"{signed.rpartition('/')[2]} {environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
            self.requests.append(request)
            for number, (what, status, left) in enumerate(self._rules):
                if what in request and left > 0:
                    self._rules[number] = (what, status, left - 1)
                    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                    body = b"<Error><Code>MadeUpError</Code></Error>"
                    start_response(status, [("Content-Length", str(len(body)))])
                    return [body]
            return app(environ, start_response)

        return answer


class ScratchInstance:
    """Paths below `root`; `aws` is the cloud, `imds` the metadata service, `metadata` what it says."""

    def __init__(self, root: Path, aws: AwsServer, imds: Imds, metadata: Metadata, weather: Weather) -> None:
        self.root, self.aws, self.imds, self.metadata, self.weather = root, aws, imds, metadata, weather
        self.library = root / "usr/local/lib/ac-training"
        self.etc, self.run_folder = root / "etc/ac-training", root / "run/ac-training"
        self.var, self.opt = root / "var/lib/ac-training", root / "opt/ac-training"
        self.extra: dict[str, str] = {}
        """More of the environment."""
        self.settings = {
            "AC_NAME": "ac-scratch",
            "AC_REGION": REGION,
            "AC_BUCKET": BUCKET,
            "AC_RUN_ID": RUN_ID,
            "AC_GROUP": GROUP,
            "AC_CODE": CODE,
            "AC_ALLOCATION": "",
            "AC_ACCELERATOR": "cpu",
            "AC_MAX_LAUNCHES": "3",
            "AC_PATIENCE_SECONDS": "1",
            "AC_POWEROFF_SECONDS": "0",
        }
        for folder in (self.library, self.etc, self.run_folder, self.var, self.opt, root / "dev", root / "bin"):
            folder.mkdir(parents=True)
        for name in ("boot.sh", "lifeline.sh"):
            (self.library / name).write_bytes((SOURCES / name).read_bytes())
        (root / "system_state").write_text("running\n")
        (root / "unit_log").write_text("")
        for name, text in (("systemctl", _SYSTEMCTL), ("journalctl", _JOURNALCTL)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.write_settings()

    def write_settings(self, **changes: str) -> None:
        """Write boot.env, as Terraform does."""
        self.settings |= changes
        (self.etc / "boot.env").write_text("".join(f"{key}='{value}'\n" for key, value in self.settings.items()))

    def environment(self) -> dict[str, str]:
        """Where the shell code finds everything."""
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "AC_ROOT": str(self.root),
            "AWS_ENDPOINT_URL": self.aws.endpoint_url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.imds.endpoint,
            "NO_PROXY": "127.0.0.1",
            "LC_ALL": "C.UTF-8",
        } | self.extra

    def start(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        """Run boot.sh or lifeline.sh in the background, in a session of its own."""
        return subprocess.Popen(
            ["bash", str(self.library / script), *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def execute(self, script: str, *arguments: str, seconds: float = 120) -> str:
        """Run boot.sh or lifeline.sh to its end; what it wrote."""
        with self.start(script, *arguments) as process:
            try:
                return process.communicate(timeout=seconds)[0]
            except subprocess.TimeoutExpired:
                # The whole session, or what it started would hold the pipe and live on.
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def shell(self, commands: str) -> "subprocess.CompletedProcess[str]":
        """Run commands after sourcing lifeline.sh."""
        text = f"set -uo pipefail; source {self.library}/lifeline.sh; {commands}"
        return subprocess.run(
            ["bash", "-c", text], env=self.environment(), capture_output=True, text=True, timeout=120, check=False
        )

    def upload_code(self, install: str = INSTALL, more: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
        """Put code (`more` of it by path) and MANIFEST into the bucket, as Terraform does; all files by their paths."""
        files = dict(more or {}) | {
            "train_cloud/instance/install.sh": install.encode(),
            "train_cloud/__init__.py": b"",
            "runtime/logs.py": b"x = 1\n" * 1000,
        }
        manifest = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items())
        for path, data in (files | {"MANIFEST": manifest.encode()}).items():
            self.put(f"code/{CODE}/{path}", data)
        return files

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the bucket."""
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        """An object of the bucket."""
        return bytes(self.aws.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def object_keys(self, prefix: str = "") -> list[str]:
        """Keys in the bucket."""
        listed = self.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def endings(self) -> list[dict[str, Any]]:
        """The records of ends, oldest first."""
        return [json.loads(self.get(key)) for key in self.object_keys(f"runs/{RUN_ID}/endings/")]

    def logs(self) -> list[str]:
        """The increments of the journal that were shipped."""
        keys = self.object_keys(f"runs/{RUN_ID}/logs/")
        return [gzip.decompress(self.get(key)).decode() for key in keys if key.endswith(".log.gz")]

    def desired_capacity(self) -> int:
        """What the group wants."""
        groups = self.aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        return int(groups["AutoScalingGroups"][0]["DesiredCapacity"])

    def calls(self) -> list[str]:
        """How systemctl and journalctl were called."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def notice(self, age_seconds: float = 0.0) -> None:
        """What ac-spot-watch writes when EC2 takes the instance back."""
        file = self.run_folder / "notice"
        file.write_text("terminate\n2026-01-01T00:02:00Z\n")
        moment = time.time() - age_seconds
        os.utime(file, (moment, moment))


def _make_cloud(aws: AwsServer) -> str:
    """A bucket and a group with one instance, whose id is returned."""
    aws.client("s3").create_bucket(Bucket=BUCKET)
    scaling = aws.client("autoscaling")
    scaling.create_launch_configuration(
        LaunchConfigurationName=GROUP, ImageId="ami-03cf127a", InstanceType="g4dn.xlarge"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        LaunchConfigurationName=GROUP,
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        AvailabilityZones=[f"{REGION}a"],
    )
    groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"]
    return str(groups[0]["Instances"][0]["InstanceId"])


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[ScratchInstance]:
    """A fresh instance in a fresh cloud."""
    need_tools("curl")
    weather = Weather()
    aws = AwsServer(wrap=weather.wrap)
    with contextlib.ExitStack() as stack:
        stack.callback(aws.stop)
        aws.reset()
        metadata = Metadata(instance_id=_make_cloud(aws), region=REGION)
        imds = stack.enter_context(Imds.of(metadata))
        weather.requests.clear()
        yield ScratchInstance(tmp_path / "root", aws, imds, metadata, weather)
