"""Sees to it that the learner works in a Ray cluster, as a job of that cluster.

``python -m deploy.clusters.learner_job --address http://HEAD:8265`` starts it where it does not work, and ends; something that
starts this again and again, such as a CronJob, keeps the learner alive. Were there two all the same, the lease lets one work.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from core.errors import StackError
from core.settings import Settings
from deploy.clusters.serve_config import changed_settings

_ENTRY = "python -m train.learner"
_WORKING = {"PENDING", "RUNNING"}
_NO_AGENT = "No available agent"
_AGENT_WITHIN_S = 120.0
_AGAIN_S = 2.0


def ensure_learner(client: Any, settings: Settings) -> tuple[str, bool]:
    """Return the id of the job that is the learner, and whether it was started now; ``client`` is Ray's JobSubmissionClient.

    Raises:
        StackError: no node takes jobs, and none does within two minutes.
    """
    # Each classifier has its own.
    role = f"{settings.app_name}-learner"
    for job in client.list_jobs():
        if (job.metadata or {}).get("role") == role and str(getattr(job.status, "value", job.status)) in _WORKING:
            return str(job.submission_id), False
    return _submit(client, settings, role), True


def _submit(client: Any, settings: Settings, role: str) -> str:
    deadline = time.monotonic() + _AGENT_WITHIN_S
    while True:
        try:
            started = client.submit_job(
                entrypoint=_ENTRY,
                metadata={"role": role},
                # Where the learner runs Ray is there already; what is secret, the nodes' own environment has.
                runtime_env={"env_vars": {**changed_settings(settings), "HONE_RAY_ADDRESS": "auto"}},
                entrypoint_num_cpus=1,
            )
        except RuntimeError as error:
            # A node takes jobs some time after it takes work, and says so by nothing but this.
            if _NO_AGENT not in str(error):
                raise
            if time.monotonic() > deadline:
                raise StackError(f"no node of the Ray cluster took jobs within {_AGENT_WITHIN_S:.0f} s") from error
            time.sleep(_AGAIN_S)
        else:
            return str(started)


def main(
    address: Annotated[str, typer.Option("--address", help="Ray's dashboard, such as http://hone-head-svc:8265.")],
) -> None:
    """Start the learner of the classifier that HONE_NAME names in the cluster, unless it works there already."""
    from ray.job_submission import JobSubmissionClient

    job, new = ensure_learner(JobSubmissionClient(address), Settings())
    typer.echo(f"the learner {'was started' if new else 'works'} as {job}")


if __name__ == "__main__":
    typer.run(main)
