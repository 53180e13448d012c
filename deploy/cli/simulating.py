"""`hone simulate`."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from core.errors import DataError
from deploy.cli.context import JsonOption
from deploy.cli.show import note, percent, progress_bar, say, show_json, show_table
from deploy.cli.teaching import FeatureName, LabelColumnOption, SpeedName, TextColumnOption

if TYPE_CHECKING:
    from deploy.simulate.plan import Plan
    from deploy.simulate.run import Outcome, Simulation


class PresetName(StrEnum):
    """The streams of the benchmark."""

    huffpost = "huffpost"
    clinc150 = "clinc150"
    online_shopping = "online_shopping"
    sst2_hostile = "sst2-hostile"
    still = "still"


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where results go; a simulation goes on where it was.")],
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="Labelled texts, as train reads them.")] = None,
    by: Annotated[
        str, typer.Option("--by", help="day, month, quarter or year of its dates; rows; or a column whose values are stages.")
    ] = "month",
    preset: Annotated[PresetName | None, typer.Option("--preset", help="A stream of the benchmark.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the benchmark's data sets.")] = None,
    strategies: Annotated[
        str | None, typer.Option("--strategies", help="With commas: frozen, memory, head, full, auto, oracle, oracle-head.")
    ] = None,
    label_ratio: Annotated[float | None, typer.Option("--label-ratio", help="Share of answers that annotators judge.")] = None,
    correct_ratio: Annotated[
        float | None, typer.Option("--correct-ratio", help="Share of the other wrong answers that users correct.")
    ] = None,
    delay: Annotated[int | None, typer.Option("--delay", help="Steps for which labels are late.")] = None,
    noise: Annotated[float | None, typer.Option("--noise", help="Share of honest labels that are wrong.")] = None,
    hostile: Annotated[float | None, typer.Option("--hostile", help="Share of labels from hostile annotators.")] = None,
    overlap: Annotated[float | None, typer.Option("--overlap", help="Share of labelled texts that two judge.")] = None,
    date_column: Annotated[str | None, typer.Option("--date-column", help="Column of dates; found if absent.")] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    base_until: Annotated[
        str | None, typer.Option("--base-until", help="Last step that is taught before the first is asked: 2019-12.")
    ] = None,
    base_steps: Annotated[
        int | None, typer.Option("--base-steps", min=1, help="How many steps are taught first; absent: a quarter.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that --by rows makes.")] = 30,
    test_split: Annotated[
        bool | None, typer.Option(help="Measure on rows of split test; absent: unless it goes by dates.")
    ] = None,
    most_rows: Annotated[int | None, typer.Option("--most-rows", min=100, help="Rows to use, chosen by chance.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="Encoder to start from: a folder or a hub id.")] = None,
    base_speed: Annotated[SpeedName | None, typer.Option("--base-speed", help="How the base version is taught.")] = None,
    features: Annotated[FeatureName | None, typer.Option("--features", help="What heads look at.")] = None,
    oracle_every: Annotated[
        int | None, typer.Option("--oracle-every", min=1, help="Steps between fits of the oracle at full speed.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, data and options give the same people.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over what is in the folder.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when a bar is not reached.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay labelled texts as traffic through the real service, and see what each way of learning is worth.

    Rows are asked step by step, before anything of their step is learned. Chance draws a share of the answers for annotators,
    users correct a share of the wrong ones, and at the end of each step a run learns. Writes steps.csv, results.json and
    pictures. A simulation that was killed goes on when the command is repeated.

    \b
    Examples:
      hone simulate --data tickets.parquet --by month --out results
      hone simulate --data intents.csv --by stage --label-ratio 1 --strategies frozen,head,auto,oracle-head --out results
      hone simulate --preset huffpost --data-dir ../data --out huffpost --check
    """
    from deploy.simulate.run import simulate as run

    changed = {
        "strategies": None if strategies is None else tuple(name.strip() for name in strategies.split(",") if name.strip()),
        "label_ratio": label_ratio,
        "correct_ratio": correct_ratio,
        "delay_steps": delay,
        "noise_ratio": noise,
        "hostile_ratio": hostile,
        "overlap_ratio": overlap,
        "base_encoder": base,
        "base_speed": base_speed and base_speed.value,
        "features": features and features.value,
        "oracle_every": oracle_every,
        "seed": seed,
    }
    given = {name: value for name, value in changed.items() if value is not None}
    if preset is not None:
        simulation = _benchmark(preset.value, data_dir, given, out)
    else:
        from deploy.simulate.stream import Cut

        cut = Cut(by, date_column, base_until, base_steps, steps, test_split, most_rows, seed)
        simulation = _own(data, (text_column, label_column), cut, given, out)
    if fresh:
        for folder in out.glob("work*"):
            shutil.rmtree(folder)
    with progress_bar("simulating") as progress:
        outcome = run(simulation, progress)
    _show(outcome, out, as_json=as_json)
    if check and not all(bar.reached for bar in outcome.bars):
        raise typer.Exit(1)


def _plan(given: dict[str, Any], start: Plan | None = None) -> Plan:
    from deploy.simulate.plan import STRATEGIES, Plan

    unknown = [name for name in given.get("strategies", ()) if name not in STRATEGIES]
    if unknown or given.get("strategies") == ():
        raise DataError(f"there is no strategy {', '.join(unknown) or 'given'}; known are: {', '.join(STRATEGIES)}")
    try:
        return Plan.model_validate({**(start.model_dump() if start else {}), **given})
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}, got {item['input']}" for item in error.errors(include_url=False))
        raise DataError(wrong) from error


def _benchmark(name: str, data_dir: Path | None, given: dict[str, Any], out: Path) -> Simulation:
    from deploy.simulate.presets import PRESETS, preset_stream
    from deploy.simulate.run import Simulation

    if data_dir is None:
        raise DataError(f"--preset {name} needs --data-dir, the folder that holds {PRESETS[name].data}/data.parquet")
    plan = _plan(given, PRESETS[name].plan)
    stream = preset_stream(name, data_dir, plan.seed)
    rivals = None
    if plan.hostile_ratio and name == "sst2-hostile":
        rivals = {", clean": plan.model_copy(update={"hostile_ratio": 0.0})}
    return Simulation(stream, plan, out, PRESETS[name].judge, sys.argv, rivals)


def _own(data: Path | None, columns: tuple[str | None, str | None], cut: Any, given: dict[str, Any], out: Path) -> Simulation:
    from deploy.simulate.presets import judge_own
    from deploy.simulate.run import Simulation
    from deploy.simulate.stream import stream_of
    from train.reading import read_table

    if data is None:
        raise DataError("say what to replay: --data FILE, or --preset NAME with --data-dir FOLDER")
    plan = _plan(given)
    # A stage may lie in a column that would else be taken for the label's.
    stream = stream_of(read_table(data, text_column=columns[0], label_column=columns[1]), cut)
    return Simulation(stream, plan, out, judge_own, sys.argv)


def _show(outcome: Outcome, out: Path, *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "strategies": [summary.model_dump() for summary in outcome.summaries],
                "bars": [bar.model_dump() for bar in outcome.bars],
            }
        )
        return
    tests = sorted({name for summary in outcome.summaries for name in summary.last_tests})[:3]
    rows = [
        [
            item.strategy,
            percent(item.accuracy),
            *(percent(item.last_tests.get(name)) for name in tests),
            f"{item.labels} ({item.wrong_labels} wrong)" if item.wrong_labels else item.labels,
            f"{item.promoted} of {item.runs} ({item.full_runs} full)" if item.runs else "–",
            f"{item.train_cpu_s:,.0f} s",
        ]
        for item in outcome.summaries
    ]
    columns = ["strategy", "right answers", *(f"{name} at the end" for name in tests), "labels", "promoted of runs", "CPU"]
    show_table(columns, rows)
    for bar in outcome.bars:
        value = "–" if bar.value is None else f"{bar.value:.4g}"
        verdict = "reached" if bar.reached else "MISSED"
        say(f"{verdict}: {bar.strategy} {bar.name} {value}, {bar.sense} {bar.limit:g}: {bar.why}")
    note(f"written: {out}/steps.csv, results.json, accuracy.svg, compute.svg")
