"""`hone rules`: Prometheus's rules for the objectives of this stack."""

from __future__ import annotations

import typer

from deploy.cli.context import settings_of


def rules(context: typer.Context) -> None:
    """Print Prometheus's recording and alerting rules for the objectives that HONE_SLO_… name.

    \b
    Examples:
      hone rules > rules.yml
      HONE_SLO_LATENCY_S=0.1 hone rules > rules.yml
    """
    from deploy.watching.rules import rule_file

    typer.echo(rule_file(settings_of(context).objectives), nl=False)
