"""Settings of an instance for tests: what Terraform would write to instance.json."""

from typing import Any

import msgspec

from train_cloud.instance.config import InstanceConfig

INSTANCE: dict[str, Any] = {
    "name": "ac-test",
    "region": "us-east-1",
    "group": "ac-test",
    "run_id": "run-1",
    "endpoint_mode": "eip",
    "accelerator": "cpu",
    "token_parameter": "/ac-test/token",
    "tls_parameter": "/ac-test/tls",
    "endpoint_parameter": "/ac-test/endpoint",
    "budget_usd": 20.0,
    "max_hours": 72.0,
    "idle_minutes": 45.0,
    "max_launches": 20,
    "volume_gb": 50,
    "hourly_extra_usd": 0.01,
    "fallback_price_usd_per_hour": 0.5,
}


def instance_config(**changes: object) -> InstanceConfig:
    """The settings with `changes` applied, checked like those in a file."""
    return msgspec.convert(INSTANCE | changes, InstanceConfig)
