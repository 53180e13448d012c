"""`hone backup` and `hone restore`: all state in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.context import JsonOption, settings_of, who
from deploy.cli.show import note, say, show_json


def backup(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The archive to write; without it, one named by the time.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy versions, feedback, base data, snapshots and keys into one file, beside a running service or without one.

    It holds users' texts, and the secret behind subjects: it is readable by you alone, and should stay so wherever it goes.

    \b
    Examples:
      hone backup
      hone backup /mnt/backups/hone-$(date +%F).tar.gz
    """
    from core.schemas import now
    from feedback.backing_up import back_up
    from feedback.store import Store

    settings = settings_of(context)
    settings.home.prepare()
    store = Store.of(settings)
    path = file or Path(f"hone-{now():%Y%m%dT%H%M%SZ}.tar.gz")
    try:
        report = back_up(store, settings, path, who())
    finally:
        store.close()
    manifest = report.manifest
    rows = {name: table.rows for name, table in manifest.tables.items()}
    if as_json:
        facts = manifest.model_dump(mode="json", include={"created_at", "release", "store_schema", "champion", "trail"})
        show_json({"path": str(report.path), "size_bytes": report.size_bytes, "rows": rows, **facts})
        return
    say(
        f"{report.path}: champion {manifest.champion or 'none'}, {rows['corrections']} corrections, {rows['predictions']} "
        f"predictions, {report.size_bytes / 1e6:.1f} MB"
    )
    note(f"the trail has {manifest.trail.entries} entries; note its last hash elsewhere: {manifest.trail.last_hash}")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="An archive of hone backup.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there; it is moved aside.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read it, and say whether it is whole.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring back what hone backup copied, while no stack runs here. The archive is checked before anything is touched.

    The store of HONE_STORE_URL is filled, whichever kind of database the archive was taken from.

    \b
    Examples:
      hone restore hone-20261128T230000Z.tar.gz --check
      hone restore hone-20261128T230000Z.tar.gz
      HONE_STORE_URL=postgresql://… hone restore hone-20261128T230000Z.tar.gz --overwrite
    """
    from deploy.stack.preflight import locked, teaching
    from feedback.archive import read_manifest
    from feedback.restoring import restore as bring_back

    settings = settings_of(context)
    if check:
        manifest = read_manifest(file)
        facts = manifest.model_dump(mode="json", include={"created_at", "release", "store_schema", "champion", "trail"})
        if as_json:
            show_json(facts)
        else:
            say(f"{file} is whole: of {manifest.created_at:%Y-%m-%d %H:%M} UTC, release {manifest.release}")
        return
    settings.home.prepare()
    with locked(settings.home), teaching(settings.home):
        report = bring_back(settings, file, who(), overwrite=overwrite)
    if as_json:
        show_json(
            {
                "champion": report.manifest.champion,
                "created_at": report.manifest.created_at.isoformat(),
                "erased_again": report.erased_again,
                "replaced": str(report.replaced) if report.replaced else None,
                "trail_whole": report.trail_whole,
            }
        )
        return
    manifest = report.manifest
    say(f"restored what was there on {manifest.created_at:%Y-%m-%d %H:%M} UTC; champion {manifest.champion or 'none'}")
    if report.replaced:
        note(f"what was there before lies in {report.replaced}; remove it when you do not need it")
    if report.erased_again:
        note(f"{report.erased_again} erasures are newer than the backup and were made again")
    if not report.trail_whole:
        note("the audit trail was broken already when the backup was made; see hone trail verify")
