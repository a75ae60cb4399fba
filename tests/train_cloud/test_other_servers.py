"""A run's bucket on S3 servers that are neither AWS nor moto, over TLS as a user would have them."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.odd_s3 import trust
from tests.support.s3_servers import localbucket, make_bucket, seaweedfs
from train_cloud.bucket_probe import probe
from train_cloud.object_store import ObjectNotFound, PreconditionFailed
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig
from train_cloud.s3_store import PART_BYTES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("server", "said"), [(seaweedfs, None), (localbucket, "ignores If-Match: training works")], ids=["seaweed", "local"]
)
def test_another_server_keeps_a_run(
    server: Callable[[Path], AbstractContextManager[BucketConfig]],
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with server(tmp_path) as bucket:
        trust(tmp_path / "server.pem", monkeypatch)
        make_bucket(bucket)
        caplog.clear()
        objects = open_store(bucket, "runs/one/")
        probe(objects)
        assert objects.list() == []
        assert (said in caplog.text) if said else not caplog.text

        content = os.urandom(100_000)
        etag = objects.put("checkpoints/LATEST", content, if_none_match=True)
        assert objects.get("checkpoints/LATEST") == (content, etag)
        with pytest.raises(PreconditionFailed):
            objects.put("checkpoints/LATEST", b"other", if_none_match=True)
        if not said:
            with pytest.raises(PreconditionFailed):
                objects.put("checkpoints/LATEST", b"other", if_match=f'"{0:032x}"')
        objects.put("checkpoints/LATEST", b"newer", if_match=etag)

        file = tmp_path / "large"
        file.write_bytes(os.urandom(PART_BYTES + 1))
        objects.put_file("experience/large", file)
        assert objects.get("experience/large")[0] == file.read_bytes()
        assert objects.list() == ["checkpoints/LATEST", "experience/large"]
        objects.delete("experience/large")
        with pytest.raises(ObjectNotFound):
            objects.get("experience/large")
