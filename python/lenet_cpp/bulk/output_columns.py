"""The columns that prediction adds to tables: what a model finds in the images."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.outputs import normalized
from lenet_cpp.inference.results import NOTHING, Finding

OUTPUTS = (
    *("class_id", "label", "probability", "score"),
    *("class_ids", "labels", "probabilities", "logits"),
)
"""What :class:`lenet_cpp.BatchPredictor` can add to a table, each as a column."""


class OutputColumns(NamedTuple):
    """What a model's outputs mean."""

    model: Model
    rule: dict[str, Any]  # the post-processing
    labels: tuple[str, ...]
    threshold: float | None

    @property
    def finds_several(self) -> bool:
        """Whether an image may have several classes, or attributes."""
        rule, role = self.rule["type"], self.model.output_role
        if role in {"multi_hot", "class_numbers"}:
            return role == "multi_hot"
        return rule != "ThreshOutput" and (rule != "Topk" or self.threshold is not None)

    def of(
        self, outputs: Sequence[NDArray[np.float32]], errors: dict[int, str], asked: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """Return the columns that are asked for, and maybe others; bad rows have class -1.

        Args:
            outputs: What the plan of the model wants, [rows, ...] each.
            errors: Why rows are bad, by their numbers.
            asked: The names of columns.

        Raises:
            Unsupported: The model gives no such values, or several answers about an image.
        """
        wanted, model = set(asked), self.model
        values = _rows_of(outputs[0])
        if wanted <= {"logits"}:
            return {"logits": values}
        self._require(wanted)
        by_place = model.plan.is_plain and self.rule["type"] != "ThreshOutput"
        if by_place and not self.finds_several and not wanted & {"class_ids", "labels"}:
            return self._by_place(values, errors, wanted)
        return self._by_findings(outputs, errors, wanted)

    def _require(self, wanted: set[str]) -> None:
        model, plan = self.model, self.model.plan
        if plan.gives_several:
            names = [model.outputs[number].name for number in plan.wanted]
            raise Unsupported(
                f"{model.program} gives several answers about an image, {names}, and a table has"
                " one for each row: choose one by output_name, or ask for 'logits'"
            )
        if model.output_role in {"class_numbers", "multi_hot"} and wanted & {
            "score",
            "probability",
            "probabilities",
        }:
            raise Unsupported(
                f"{model.program} gives the numbers of classes alone, without scores: ask for"
                " 'class_id' or 'label'"
            )
        if "probabilities" in wanted and not plan.is_plain:
            raise Unsupported(
                f"{model.program} gives the values of some classes alone: ask for 'probability'"
            )
        known = model.value_name == "probability" or model.output_role == "logits"
        if wanted & {"probability", "probabilities"} and not known:
            raise Unsupported(
                f"{model.program} ends in operators that do not tell what its outputs are,"
                " so that there are no probabilities: ask for 'score' or 'logits'"
            )

    def _by_place(
        self, values: NDArray[np.float32], errors: dict[int, str], wanted: set[str]
    ) -> dict[str, NDArray[Any]]:
        """Return the greatest value of each row, and its place as the class."""
        bad = np.array(sorted(errors), np.intp)
        class_ids = np.zeros(0, np.int32)
        if values.size:
            class_ids = values.argmax(axis=1).astype(np.int32)
        class_ids[bad] = -1
        found: dict[str, NDArray[Any]] = {"class_id": class_ids, "logits": values}
        if "score" in wanted:
            found["score"] = values.max(axis=1, initial=-np.inf)
            found["score"][bad] = np.nan
        if wanted & {"probability", "probabilities"}:
            found |= self._shares(values, bad)
        labels = self.labels
        if "label" in wanted and labels and len(labels) != values.shape[1]:
            raise BadInput(f"{len(labels)} labels for {values.shape[1]} classes")
        found["label"] = np.array([*map(dict(enumerate(labels)).get, class_ids.tolist())], object)
        return found

    def _shares(
        self, values: NDArray[np.float32], bad: NDArray[np.intp]
    ) -> dict[str, NDArray[Any]]:
        shares = np.array(normalized(values, self.model.output_role))
        shares[bad] = np.nan
        return {"probabilities": shares, "probability": shares.max(axis=1, initial=0)}

    def _by_findings(
        self, outputs: Sequence[NDArray[np.float32]], errors: dict[int, str], wanted: set[str]
    ) -> dict[str, NDArray[Any]]:
        """Return what the description, or the program itself, finds in each row."""
        values = _rows_of(outputs[0])
        findings = self._findings(outputs, errors)
        found: dict[str, NDArray[Any]] = {"logits": values}
        found |= _lists(findings, errors)
        found |= _firsts(findings)
        if self.model.plan.is_plain and self.finds_several:
            # The first column is the greatest value, also below the threshold.
            found |= self._by_place(values, errors, wanted)
        elif self.model.plan.is_plain:
            found["score"] = values.max(axis=1, initial=-np.inf)
            if "probabilities" in wanted:
                shares = self._shares(values, np.array(sorted(errors), np.intp))
                found["probabilities"] = shares["probabilities"]
        return found

    def _findings(
        self, outputs: Sequence[NDArray[np.float32]], errors: Collection[int]
    ) -> list[Finding]:
        """Return what is found in each row, and nothing in bad rows."""
        rows = len(outputs[0])
        findings: list[Finding] = [NOTHING] * rows
        good = [row for row in range(rows) if row not in errors]
        if not good:
            return findings
        model = self.model.overridden(replace(self.model.overrides, labels=self.labels or None))
        sound = tuple(np.ascontiguousarray(output[good]) for output in outputs)
        for row, finding in zip(good, model.interpret(sound, None, self.threshold), strict=True):
            findings[row] = finding
        return findings


def _rows_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _firsts(findings: list[Finding]) -> dict[str, NDArray[Any]]:
    """Return the first class of each row; -1, None and NaN where there is none."""
    firsts = [finding.predictions[:1] for finding in findings]
    values = np.array([first[0].value if first else np.nan for first in firsts], np.float32)
    return {
        "class_id": np.array([first[0].class_id if first else -1 for first in firsts], np.int32),
        "label": np.array([first[0].label if first else None for first in firsts], object),
        "probability": values,
        "score": values,
    }


def _lists(findings: list[Finding], errors: Collection[int]) -> dict[str, NDArray[Any]]:
    """Return what was found in each row as lists; None in bad rows."""
    class_ids = np.full(len(findings), None, dtype=object)
    labels = np.full(len(findings), None, dtype=object)
    for row, finding in enumerate(findings):
        if row not in errors:
            class_ids[row], labels[row] = _ids_of(finding), _labels_of(finding)
    return {"class_ids": class_ids, "labels": labels}


def _ids_of(finding: Finding) -> list[int]:
    """Return the classes, or else the places of the attributes that an image has."""
    ids = [one.class_id for one in finding.predictions]
    return ids or [place for place, flag in enumerate(finding.output) if flag]


def _labels_of(finding: Finding) -> list[str]:
    """Return the attributes, or else the labels of the classes, and the number of one without."""
    if finding.attributes:
        return [*finding.attributes]
    return [str(one.class_id) if one.label is None else one.label for one in finding.predictions]
