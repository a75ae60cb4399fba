"""`make dashboard-link`: prints a link to the dashboard that lets in once, within some minutes: to the running
instance's, or to that of the run that is served on this machine.

The link is a secret, printed alone on standard output and written nowhere; the token behind it is never shown. It asks
AWS for where the instance is and starts nothing.
"""

from pathlib import Path
from typing import Annotated

import typer

from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile, note
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.own_run import RunFile, ServiceFolder, folder_of
from scripts.cloud.pair import why_nothing_runs
from train_cloud.dashboard_link import LINK_PATH, LINK_SECONDS, link_code, link_of


def dashboard_link(
    tunnel: Annotated[
        bool, typer.Option(envvar="AC_TUNNEL", help="Lead through the tunnel of dashboard_tunnel_command.")
    ] = False,
    run: RunFile = None,
    folder: ServiceFolder = None,
    deployment: DeploymentFile = None,
) -> None:
    """Print a link to the dashboard that lets in once."""
    if here := folder_of(run, folder, deployment):
        try:
            link = link_of(here)
        except OSError as error:
            raise OperatorError(
                f"No dashboard runs for {here} ({error.strerror}). Start one first: make dashboard RUN=run.json."
            ) from error
        note(f"The next line lets in once, within {LINK_SECONDS / 60:.0f} minutes.")
        print(link)
    else:
        _print_link_to_instance(tunnel, deployment)


def _print_link_to_instance(tunnel: bool, deployment: Path | None) -> None:
    cloud = Cloud(load_deployment(deployment))
    group = cloud.group()
    if group.desired == 0:
        raise OperatorError(why_nothing_runs(cloud))
    if problem := cloud.other_run(group.instance):
        raise OperatorError(problem, ExitCode.REFUSED)
    endpoint = cloud.present_endpoint(group.instance)
    if endpoint is None:
        raise OperatorError("The instance boots still: it has no address yet. `make status` shows how far it is.")
    applied = cloud.deployment
    if not (tunnel or applied.dashboard_open):
        raise OperatorError(
            "The dashboard's port is closed (dashboard_port_open = false). Open the tunnel with the command that "
            "`terraform -chdir=terraform output -raw dashboard_tunnel_command` prints, then `make dashboard-link "
            "TUNNEL=1` in another window.",
            ExitCode.USAGE,
        )
    host = "localhost" if tunnel else endpoint.host
    note(f"The next line lets in once, within {LINK_SECONDS / 60:.0f} minutes.")
    if endpoint.pin is not None:
        note(
            "Your browser will say that it does not know the certificate. It is the bridge's: its SHA-256 fingerprint "
            f"begins with {':'.join(endpoint.pin[i : i + 2].upper() for i in range(0, 16, 2))}."
        )
    print(f"https://{host}:{applied.dashboard_port}{LINK_PATH}{link_code(cloud.dashboard_token())}")
