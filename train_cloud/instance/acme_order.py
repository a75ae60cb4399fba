"""Orders a certificate for one name from an ACME authority (RFC 8555), proven by a TXT record in Route 53.

Promises that nothing but that record is changed, that it is gone afterwards, and that the order ends within the seconds
it is given, some of the library's own for each answer included. What the authority says against it becomes a sentence.
"""

import time
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import requests
from acme import challenges, client, errors, messages
from acme.crypto_util import make_csr
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

ANSWER_SECONDS: Final = 20
TTL_SECONDS: Final = 30
_LOOK_SECONDS: Final = 1.0
_NONCE_TRIES: Final = 3
"""Of the library, which tries a request twice by itself."""


class OrderError(Exception):
    """There is no certificate; the text is a sentence."""


class Issued(NamedTuple):
    """A certificate with those between it and its authority, its key and the key of the account, all in PEM."""

    chain: str
    key: str
    account_key: str


def order_certificate(
    directory: str, name: str, account_key: str | None, route53: Any, zone_id: str, seconds: float
) -> Issued:
    """A certificate for `name`, from the authority whose ACME directory is at that URL. Raises OrderError.

    Without `account_key` (PEM) there is a new account, whose owner agrees to the authority's terms.
    """
    account, key = account_key or _new_key(), _new_key()
    record = _Record(route53, zone_id, f"_acme-challenge.{name}")
    deadline = datetime.now() + timedelta(seconds=seconds)
    try:
        authority = _signed_in(directory, account)
        order = authority.new_order(make_csr(key.encode(), [name]))
        for authorization in order.authorizations:
            if authorization.body.status != messages.STATUS_VALID:
                challenge = _dns_challenge(authorization)
                response, text = challenge.response_and_validation(authority.net.key)
                record.put(text, deadline)
                authority.answer_challenge(challenge, response)
        return Issued(authority.poll_and_finalize(order, deadline).fullchain_pem, key, account)
    except errors.TimeoutError as error:
        raise OrderError(f"{directory} did not finish the order within {seconds:.0f} s.") from error
    except errors.ValidationError as error:
        raise OrderError(f"{directory} did not find {record.name} as it should be: {_details(error)}.") from error
    except (errors.Error, JoseError, requests.RequestException) as error:
        # The library's own sentence names the address, and holds no key.
        raise OrderError(f"{directory} gave no certificate for {name}: {error}") from error
    finally:
        record.clear()


class _Record:
    """The TXT record `name` in one zone, by which the authority sees that the name is ours."""

    def __init__(self, route53: Any, zone_id: str, name: str) -> None:
        self.name, self._route53, self._zone_id, self._text = name, route53, zone_id, ""

    def put(self, text: str, deadline: datetime) -> None:
        """Have every server of the zone answer with `text`. Raises OrderError."""
        change = self._change("UPSERT", text)
        self._text = text
        while change["Status"] != "INSYNC":
            if datetime.now() > deadline:
                raise OrderError(f"Route 53 did not bring {self.name} to all of its servers in time.")
            time.sleep(_LOOK_SECONDS)
            try:
                change = self._route53.get_change(Id=change["Id"])["ChangeInfo"]
            except (BotoCoreError, ClientError) as error:
                raise self._explained(error) from error

    def clear(self) -> None:
        """Delete what was put; what cannot be is replaced by the next order."""
        if self._text:
            try:
                self._change("DELETE", self._text)
            except OrderError:
                return

    def _change(self, action: str, text: str) -> dict[str, Any]:
        values = [{"Value": f'"{text}"'}]
        record = {"Name": self.name, "Type": "TXT", "TTL": TTL_SECONDS, "ResourceRecords": values}
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        try:
            answer = self._route53.change_resource_record_sets(HostedZoneId=self._zone_id, ChangeBatch=batch)
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error) from error
        found: dict[str, Any] = answer["ChangeInfo"]
        return found

    def _explained(self, error: BotoCoreError | ClientError) -> OrderError:
        if not isinstance(error, ClientError):
            return OrderError(f"The record {self.name} could not be written: Route 53 did not answer.")
        code = error.response.get("Error", {}).get("Code", "unknown")
        return OrderError(
            f"The record {self.name} could not be written: Route 53 answered {code}. Is route53_zone_id the zone of "
            "this name, and of this account?"
        )


class _Network(client.ClientNetwork):
    """Tries again, and not once only, where the authority refuses a nonce: RFC 8555, 6.5 lets it do so at any time."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As of the library."""
        for _ in range(_NONCE_TRIES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


def _signed_in(directory: str, account_key: str) -> client.ClientV2:
    """A client of the authority with an account; the one that the key has already, if there is one."""
    loaded = load_pem_private_key(account_key.encode(), None)
    network = _Network(JWKEC(key=loaded), alg=ES256, user_agent="ac-training", timeout=ANSWER_SECONDS)
    authority = client.ClientV2(client.ClientV2.get_directory(directory, network), network)
    try:
        authority.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    except errors.ConflictError as error:
        known = messages.RegistrationResource(uri=error.location, body=messages.Registration())
        authority.query_registration(known)
    return authority


def _dns_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for challenge in authorization.body.challenges:
        if isinstance(challenge.chall, challenges.DNS01):
            return challenge
    raise OrderError("The authority offers no proof by DNS for this name.")


def _details(error: errors.ValidationError) -> str:
    said = {
        str(challenge.error.detail)
        for authorization in error.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    }
    return "; ".join(sorted(said))


def _new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
