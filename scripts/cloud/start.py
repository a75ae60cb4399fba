"""`make start`: lets the run go on: a desired capacity of 1, with a fresh count of hours and launches.

Refuses, in sentences, what could only end at once: a finished run, a spent budget. It does not wait for the instance;
`make pair` does.
"""

from datetime import UTC, datetime, timedelta

from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.command import DeploymentFile
from scripts.cloud.deployment import OperatorError, load_deployment
from train_cloud.instance.config import MIN_GUARD_HOURS
from train_cloud.run_folder.states import Reason


def start(deployment: DeploymentFile = None) -> None:
    """Start the run, or let it go on from its last checkpoint."""
    cloud = Cloud(load_deployment(deployment))
    settings, record, group = cloud.deployment, cloud.record, cloud.group()
    if group.desired > 0:
        if problem := cloud.other_run(group.instance):
            raise OperatorError(problem, ExitCode.REFUSED)
        there = str(group.instance) if group.instance else "an instance, which is not there yet,"
        print(f"The run {settings.run_id} is started already: {there} works for it. `make pair` waits for it.")
        return
    spent = record.totals(None).spend_usd
    if record.is_done(settings.total_timesteps):
        raise OperatorError(
            f"The run {settings.run_id} has finished: there is nothing left to train. `make fetch` brings the model "
            "home; to let it go on, raise training.total_timesteps in terraform.tfvars, and for another run set a new "
            "run_id there; then run `terraform -chdir=terraform apply` and `make start`.",
            ExitCode.REFUSED,
        )
    if spent >= settings.budget_usd:
        raise OperatorError(
            f"The run {settings.run_id} has cost ${spent:.2f} and may cost ${settings.budget_usd:.2f}: an instance "
            "would end at once. Raise budget_usd in terraform.tfvars, run `terraform -chdir=terraform apply`, then "
            "`make start`.",
            ExitCode.REFUSED,
        )
    now = datetime.now(UTC)
    # The guard first: whatever fails after it, nothing runs without an end.
    paid_hours = (settings.budget_usd - spent) / settings.guard_usd_per_hour
    cloud.schedule_end(now + timedelta(hours=min(settings.guard_hours, max(MIN_GUARD_HOURS, paid_hours))))
    record.begin_anew(now)
    if (ending := record.last_ending()) is not None and ending.reason == Reason.STOPPED:
        # Who stops and starts may pair anew; whom nobody stopped is found again by every bridge as before.
        cloud.forget_endpoint()
    cloud.set_desired(1)
    print(
        f"Started the run {settings.run_id}: ${spent:.2f} of ${settings.budget_usd:.2f} are spent, and it ends after "
        f"{settings.max_hours:g} hours at the latest. `make pair` waits for the instance."
    )
