"""An instance for tests: its settings as Terraform would write them, its folders, and a cloud whose services may fail.

Import the fixture `site` from here.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.aws_server import AwsServer, WsgiApp, environment
from tests.support.imds import Imds, Metadata
from tests.support.runs import run_config
from train_cloud.instance.config import Deployment, InstanceConfig, load_deployment

BUCKET = "ac-instance-test"
TOKEN = "0123456789abcdefToken"
PRICE = 0.40
"""Spot price in this cloud, USD per hour."""
INSTANCE: dict[str, Any] = {
    "name": "ac-test",
    "region": "us-east-1",
    "group": "ac-test",
    "schedule": "ac-test-max-hours",
    "run_id": "run-1",
    "endpoint_mode": "eip",
    "accelerator": "cpu",
    "token_parameter": "/ac-test/token",
    "tls_parameter": "/ac-test/tls",
    "dashboard_parameter": "/ac-test/dashboard",
    "endpoint_parameter": "/ac-test/endpoint",
    "limits_parameter": "/ac-test/limits",
    "budget_usd": 20.0,
    "max_hours": 72.0,
    "idle_minutes": 45.0,
    "max_launches": 20,
    "volume_gb": 50,
    "hourly_extra_usd": 0.01,
    "fallback_price_usd_per_hour": 0.5,
    "guard_usd_per_hour": 1.0,
}


def instance_config(**changes: object) -> InstanceConfig:
    """The settings with `changes` applied, checked like those in a file."""
    return msgspec.convert(INSTANCE | changes, InstanceConfig)


@dataclass
class InstanceSite:
    """An instance's paths below `root` and the cloud around them; services whose names are in `down` answer 503."""

    root: Path
    aws: AwsServer
    imds: Imds
    metadata: Metadata
    down: set[str]

    @property
    def etc(self) -> Path:
        """Where Terraform's files are."""
        return self.root / "etc/ac-training"

    @property
    def folder(self) -> Path:
        """What outlives a reboot."""
        return self.root / "var/lib/ac-training"

    @property
    def run_folder(self) -> Path:
        """What ends with the boot."""
        return self.root / "run/ac-training"

    def write_settings(self, **changes: object) -> None:
        """Write instance.json with `changes`, a run.json and a boot.env, as Terraform does."""
        bucket = {"name": BUCKET, "region": "us-east-1"}
        run = run_config(run_id="run-1", bucket=bucket, public_host="198.51.100.7")
        (self.etc / "run.json").write_bytes(msgspec.json.encode(run))
        (self.etc / "instance.json").write_bytes(msgspec.json.encode(instance_config(**changes)))
        (self.etc / "boot.env").write_text(f"AC_REGION='us-east-1'\nAC_BUCKET='{BUCKET}'\nAC_RUN_ID='run-1'\n")

    def deployment(self, **changes: object) -> Deployment:
        """The instance's view of itself with `changes` in instance.json."""
        self.write_settings(**changes)
        return load_deployment(self.etc / "instance.json", self.folder, self.run_folder)

    def put_parameter(self, name: str, value: str, secret: bool = True) -> None:
        """Set the parameter /ac-test/`name`, as Terraform or a person does."""
        kind = "SecureString" if secret else "String"
        self.aws.client("ssm").put_parameter(Name=f"/ac-test/{name}", Value=value, Type=kind, Overwrite=True)

    def parameter(self, name: str) -> str:
        """The value of /ac-test/`name`."""
        answer = self.aws.client("ssm").get_parameter(Name=f"/ac-test/{name}", WithDecryption=True)
        return str(answer["Parameter"]["Value"])

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the run's folder of the bucket."""
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=f"runs/run-1/{key}", Body=data)

    def get(self, key: str) -> bytes:
        """An object of the run."""
        return bytes(self.aws.client("s3").get_object(Bucket=BUCKET, Key=f"runs/run-1/{key}")["Body"].read())

    def keys(self, prefix: str = "") -> list[str]:
        """Keys in the run's folder, in order."""
        listed = self.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"runs/run-1/{prefix}")
        return [item["Key"].removeprefix("runs/run-1/") for item in listed.get("Contents", [])]

    def ending(self) -> list[str]:
        """The lines of the file `ending`; none when nothing was decided."""
        file = self.run_folder / "ending"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstanceSite]:
    """An instance that was just launched: its bucket is empty, its token is TOKEN, its other parameters are unset."""
    down: set[str] = set()
    aws = AwsServer(wrap=lambda app: _failing(app, down), spot_prices={"g4dn.xlarge": PRICE})
    metadata = Metadata()
    with Imds.of(metadata) as imds:
        for name, value in environment(aws.endpoint_url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.setenv("AC_ROOT", str(tmp_path))
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint)
        here = InstanceSite(tmp_path, aws, imds, metadata, down)
        for folder in (here.etc, here.folder, here.run_folder):
            folder.mkdir(parents=True)
        try:
            aws.reset()
            aws.client("s3").create_bucket(Bucket=BUCKET)
            here.put_parameter("token", TOKEN)
            here.put_parameter("dashboard", "watchers0123456789only")
            here.put_parameter("tls", "unset")
            here.put_parameter("endpoint", "unset", secret=False)
            here.write_settings()
            yield here
        finally:
            aws.stop()


def put_program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program first on the PATH of everything that the test starts."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _failing(app: WsgiApp, down: set[str]) -> WsgiApp:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        service = environ.get("HTTP_AUTHORIZATION", "").partition("/aws4_request")[0].rpartition("/")[2]
        if service not in down:
            return app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]

    return answer
