"""`make rotate-token`: gives the run a new bridge token and waits until the old one is refused.

The instance looks for a new token about once a minute and restarts its receiver with it; nothing is lost by that. The
tokens are never shown: `make pair` prints the new pairing string.
"""

from dataclasses import replace
from typing import Annotated

import typer

from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.waiting import Wait
from train_cloud.receiver_client import Unreachable, token_accepted
from wire.pairing import PinMismatch, new_token

MINUTES = 5.0
ASK_SECONDS = 10.0
"""Each question with a token that is not the receiver's counts as a wrong guess; ten in a minute close the door."""
_AFTERWARDS = "`make pair` prints the new pairing string; every bridge needs it."


def rotate_token(
    wait_minutes: Annotated[
        float, typer.Option(envvar="AC_WAIT_MINUTES", min=0.0, help="Longest time to wait for the receiver.")
    ] = MINUTES,
    deployment: DeploymentFile = None,
) -> None:
    """Replace the bridge token."""
    cloud = Cloud(load_deployment(deployment))
    endpoint = cloud.present_endpoint(cloud.group().instance)
    old = None if endpoint is None else cloud.pairing(endpoint)
    token = new_token()
    cloud.store_token(token)
    if old is None:
        print(f"The new token is stored; no receiver runs, and the next one takes it at boot. {_AFTERWARDS}")
        return
    new, wait = replace(old, token=token), Wait(wait_minutes)
    state = "the new token is stored; the instance takes it over within about a minute"
    while True:
        wait.say(state)
        try:
            if token_accepted(new) and token_accepted(old) is False:
                break
        except (Unreachable, PinMismatch) as error:
            state = f"the new token is stored; {error}"
        if not wait.again(ASK_SECONDS):
            raise OperatorError(
                f"The new token is stored, but after {wait.minutes:g} minutes the receiver was not seen to take it "
                "over. Until then it goes on taking the old one. `make logs` shows what ac-minute says; a new instance "
                "(`make stop`, `make start`) has the new token for certain."
            )
    print(f"The receiver takes the new token and refuses the old one. {_AFTERWARDS}")
