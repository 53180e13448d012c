"""`hone cluster …`: what a Ray cluster, or Kubernetes with KubeRay, is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.context import settings_of
from deploy.cli.show import say

app = typer.Typer(no_args_is_help=True, help="Make what a Ray cluster or Kubernetes is told, from the settings.")


ClassifiersOption = Annotated[
    list[str],
    typer.Option(
        "--classifier",
        metavar="NAME[=FILE]",
        help="One of several classifiers, each given by its name; FILE has lines HONE_…=… of what is otherwise for it.",
    ),
]


@app.command("ray")
def ray_config(context: typer.Context, classifier: ClassifiersOption = []) -> None:  # noqa: B006 - Typer's way to say none
    """Print the Serve configuration for a Ray cluster that somebody else started; secrets are not in it.

    \b
    Examples:
      HONE_HOST=0.0.0.0 HONE_REPLICAS=4 hone cluster ray > serve.yaml
      hone cluster ray --classifier reviews --classifier intents=intents.env > serve.yaml
      serve deploy serve.yaml --address http://HEAD:8265
    """
    from deploy.clusters.kubernetes import to_yaml
    from deploy.clusters.serve_config import classifiers, serve_config

    typer.echo(to_yaml(serve_config(*classifiers(settings_of(context), classifier))), nl=False)


@app.command("kubernetes")
def kubernetes(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write the files; made if it is not there.")],
    classifier: ClassifiersOption = [],  # noqa: B006 - Typer's way to say none
) -> None:
    """Write the manifests of a kustomize base; secrets are not in them.

    \b
    Examples:
      HONE_HOME=/var/lib/hone HONE_HOST=0.0.0.0 hone cluster kubernetes hone/
      kubectl apply -k hone/
    """
    from deploy.clusters.kubernetes import manifests
    from deploy.clusters.serve_config import classifiers

    folder.mkdir(parents=True, exist_ok=True)
    files = manifests(*classifiers(settings_of(context), classifier))
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    say(f"{len(files)} files in {folder}; kubectl apply -k {folder}")
