"""How long a correction takes to change the answers: from the trigger of a head run to the first answer of its version.

::

    python -m load_tests.head_speed --home FOLDER --data banking77/data.parquet [--out results.json]

The training labels of three intents are scattered, and some of their texts are kept out of what is taught: a version is
taught from that into FOLDER, unless it holds one. A copy of it is served by a whole stack. In each round the kept texts are
asked, their answers corrected, and a head run is asked for over HTTP; the clock runs from before that request until an answer
names the new version. The first round starts the process that fits, later ones find it warm. Prints one JSON object, with the
seconds of every stage; the exit code is 1 when a round that was promoted took longer than the limit, or none was promoted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd

from core.schemas import LIVE_STATES
from load_tests.servers import Server, ensure_champion, hone

LIMIT_S = 10.0
_WRONG = ("card_arrival", "exchange_rate", "top_up_failed")
_PER_INTENT = 15
_LOOK_EVERY_S = 0.02
_GIVE_UP_S = 300.0


def main() -> int:
    """Measure, print, and return 1 when the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    spoilt, traffic = spoil(pd.read_parquet(arguments.data), arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="hone-head-") as name:
        folder = Path(name)
        spoilt.to_parquet(folder / "spoilt.parquet")
        ensure_champion(arguments.home, folder / "spoilt.parquet")
        shutil.copytree(arguments.home, folder / "home")
        # Probation would compare versions that are meant to differ.
        settings = {"HONE_LEARN_AFTER_CORRECTIONS": "0", "HONE_PROBATION_S": "0"}
        with hone(folder / "home", folder, settings) as server:
            rounds = [_round(server, folder / "home", part) for part in traffic]
    live = [found["live_s"] for found in rounds if found["live_s"] is not None]
    report = {
        "examples": len(spoilt[spoilt.split == "train"]),
        "classes": int(spoilt.label.nunique()),
        "rounds": rounds,
        "slowest_live_s": max(live, default=None),
        "limit_s": LIMIT_S,
        "cores": os.cpu_count(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0 if live and max(live) <= LIMIT_S else 1


def spoil(frame: pd.DataFrame, rounds: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the data with the training labels of ``_WRONG`` scattered, and for each round texts of theirs kept out of it."""
    random = np.random.default_rng(7)
    names = sorted(frame.label.unique())
    taught = frame[frame.split == "train"]
    kept = pd.concat([taught[taught.label == name].sample(_PER_INTENT * rounds, random_state=7) for name in _WRONG])
    spoilt = frame.drop(kept.index).copy()
    rows = spoilt.index[(spoilt.split == "train") & spoilt.label.isin(_WRONG)]
    spoilt.loc[rows, "label"] = [random.choice([n for n in names if n != spoilt.label[row]]) for row in rows]
    place = kept.groupby("label").cumcount()
    return spoilt, [kept[place % rounds == number] for number in range(rounds)]


def _round(server: Server, home: Path, traffic: pd.DataFrame) -> dict[str, Any]:
    with server.client() as http:
        for text, label in zip(traffic.text, traffic.label, strict=True):
            asked = http.post("/v1/predict", json={"text": text}).raise_for_status().json()
            body = {"prediction_id": asked["prediction_id"], "label": label, "annotator": "ada"}
            http.post("/v1/corrections", json=body).raise_for_status()
        before, used = _version(http), server.cpu_s()
        began = time.perf_counter()
        run = http.post("/v1/runs", json={"speed": "head"}).raise_for_status().json()
        run, ended_s = _wait(http, run, began)
        live_s = None
        while run["promoted"] and live_s is None:
            if _version(http) != before:
                live_s = time.perf_counter() - began
            elif time.perf_counter() - began > _GIVE_UP_S:
                raise SystemExit("the promoted version does not answer")
        used = server.cpu_s() - used
    if run["state"] != "succeeded":
        raise SystemExit(f"the run {run['state']}: {run['error']}")
    stages = _logged(home / "logs" / "learner.log", "run ended", run["run_id"])
    fit = _logged(home / "logs" / "train.log", "fit ended", run["run_id"])
    claimed = pd.Timestamp(run["started_at"]) - pd.Timestamp(run["created_at"])
    return {
        "corrections": len(traffic),
        "promoted": run["promoted"],
        "live_s": None if live_s is None else round(live_s, 2),
        "ended_s": round(ended_s, 2),
        "claimed_after_s": round(claimed.total_seconds(), 2),
        "stages_s": stages,
        "of_which_fit_s": fit,
        "cpu_s": round(used, 1),
        "accuracy": run["metrics"].get("accuracy"),
    }


def _version(http: httpx.Client) -> str:
    return str(http.post("/v1/predict", json={"text": "where is my card"}).raise_for_status().json()["model_version"])


def _wait(http: httpx.Client, run: dict[str, Any], began: float) -> tuple[dict[str, Any], float]:
    while run["state"] in LIVE_STATES:
        if time.perf_counter() - began > _GIVE_UP_S:
            raise SystemExit("the run does not end")
        time.sleep(_LOOK_EVERY_S)
        run = http.get(f"/v1/runs/{run['run_id']}").raise_for_status().json()
    return run, time.perf_counter() - began


def _logged(log: Path, message: str, run_id: str) -> dict[str, float]:
    for line in log.read_text(encoding="utf-8").splitlines():
        if message in line and run_id in line:
            return dict(json.loads(line)["seconds"])
    raise SystemExit(f"{log.name} does not say how long the run took")


if __name__ == "__main__":
    sys.exit(main())
