"""The answers of the champion and of a candidate to the same rows, as indices of the labels that either of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.bundle import read_manifest
from core.gate import Answers, Reliability
from core.labels import LabelSet
from feedback.snapshot import Example
from train.crossfit import OutOfFold
from train.label_shift import LabelShift
from train.likelihood import likelihood_gains
from train.measure import calibration_error, reliability
from train.scoring import FloatMatrix, scores_of

_NOTHING = OutOfFold()


@dataclass(frozen=True)
class Comparison:
    """The champion and a candidate; ``names`` says what each of the champion's labels is called by now."""

    champion: Path
    names: Mapping[str, str]
    candidate: Path
    labels: LabelSet
    cache: Path

    def beside(self, folder: Path, names: Mapping[str, str]) -> Comparison:
        """Return the comparison of the candidate with another version in the champion's place."""
        return replace(self, champion=folder, names=names)

    def holdout(self, examples: Sequence[Example]) -> tuple[Answers, tuple[float, float] | None, Reliability | None]:
        """Return the right labels, the champion's and the candidate's, as indices, and how honest both models' scores are.

        Both answer as before they followed the mix of labels in traffic. Held-out rows are of another mix: following traffic's
        costs answers there, and is no loss of what a model knows. What it is worth, rows of traffic tell.
        """
        truth = self._truth(examples)
        if not examples:
            return Answers(truth, truth, truth), None, None
        before = self._scores(self.champion, examples, self.names, shifted=False)
        after = self._scores(self.candidate, examples, {}, shifted=False)
        answers = Answers(truth, before.argmax(axis=1), after.argmax(axis=1), likelihood_gains(truth, before, after))
        honest = Reliability(champion=reliability(before, truth), candidate=reliability(after, truth))
        return answers, (calibration_error(before, truth), calibration_error(after, truth)), honest

    def fresh(self, examples: Sequence[Example], after: OutOfFold = _NOTHING, before: OutOfFold = _NOTHING) -> Answers:
        """Return the same of rows that are not held out, each model answering those it learned from as it would have without.

        Rows whose labels neither of them knows are left out.
        """
        examples = [example for example in examples if example.label in self.labels]
        truth = self._truth(examples)
        if not examples:
            return Answers(truth, truth, truth)
        old = self._out_of_fold(self._scores(self.champion, examples, self.names), examples, before, self.names)
        new = self._out_of_fold(self._scores(self.candidate, examples, {}), examples, after, {})
        return Answers(truth, old.argmax(axis=1), new.argmax(axis=1), likelihood_gains(truth, old, new))

    def _out_of_fold(
        self, scores: FloatMatrix, examples: Sequence[Example], known: OutOfFold, names: Mapping[str, str]
    ) -> FloatMatrix:
        own = [self.labels.index(names.get(name, name)) for name in known.labels]
        for place, example in enumerate(examples):
            if example.text_key in known:
                scores[place] = 0.0
                np.add.at(scores[place], own, np.exp(known.scores[known.places[example.text_key]]))
        return scores

    def _truth(self, examples: Sequence[Example]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([self.labels.index(example.label) for example in examples], dtype=np.int64)

    def _scores(
        self, folder: Path, examples: Sequence[Example], names: Mapping[str, str], *, shifted: bool = True
    ) -> FloatMatrix:
        """Return probabilities (n, labels of both); labels the model does not know have none."""
        labels = read_manifest(folder).labels
        own = [self.labels.index(names.get(name, name)) for name in labels]
        scores = scores_of(folder, [example.text for example in examples], self.cache)
        if not shifted:
            scores = LabelShift.load(folder).undone(scores, labels)
        found = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        for column, place in enumerate(own):
            # Labels that were merged since add up.
            found[:, place] += scores[:, column]
        return found
