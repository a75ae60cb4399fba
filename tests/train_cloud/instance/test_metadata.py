"""The metadata service's client: tokens, what is not there, and a service that fails."""

import pytest

from tests.support.imds import Imds
from tests.support.imds import Metadata as Facts
from train_cloud.instance.metadata import Metadata, MetadataError


def test_one_token_serves_many_questions() -> None:
    with Imds.of(Facts()) as imds:
        metadata = Metadata(imds.endpoint)
        assert metadata.need("instance-type") == "g4dn.xlarge"
        assert metadata.need("placement/availability-zone") == "us-east-1a"
        assert [request.split()[0] for request in imds.requests] == ["PUT", "GET", "GET"]


def test_what_the_instance_has_not_got_is_none() -> None:
    with Imds.of(Facts(public_ip=None)) as imds:
        metadata = Metadata(imds.endpoint)
        assert metadata.get("spot/instance-action") is None
        with pytest.raises(MetadataError, match="knows no public-ipv4"):
            metadata.need("public-ipv4")


def test_a_token_that_the_service_has_forgotten_is_renewed() -> None:
    facts = Facts()
    with Imds.of(facts) as imds:
        metadata = Metadata(imds.endpoint)
        metadata.need("instance-id")
        with Imds.of(facts) as restarted:
            metadata._root = restarted.endpoint + "/latest/"
            assert metadata.need("instance-id") == facts.instance_id
            assert [request.split()[0] for request in restarted.requests] == ["GET", "PUT", "GET"]


def test_a_service_that_fails_is_an_error_and_then_answers_again() -> None:
    with Imds.of(Facts()) as imds:
        imds.failures = 1
        metadata = Metadata(imds.endpoint)
        with pytest.raises(MetadataError, match="no session token"):
            metadata.get("instance-id")
        assert metadata.get("instance-id")


def test_a_service_that_hangs_is_given_up_in_time() -> None:
    with Imds.of(Facts()) as imds:
        # Long before it answers, or the answer would be one.
        imds.delay_seconds = 30.0
        with pytest.raises(MetadataError, match="did not answer"):
            Metadata(imds.endpoint, timeout=0.2).get("instance-id")


def test_a_service_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MetadataError, match="did not answer"):
        Metadata("http://127.0.0.1:1").get("instance-id")
