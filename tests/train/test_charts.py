"""Charts hold what they are given, in any script."""

from __future__ import annotations

import warnings

from train.charts import Axis, Line, Lines, lines


def test_a_chart_says_chinese_names_as_text_without_a_warning_and_the_same_each_time() -> None:
    chart = Lines(
        [Line("衣服", [0.0, 1.0], [0.1, 0.3]), Line("$5", [0.0, 1.0], [0.2, 0.2])], Axis("阶段", (0.0, 1.0)), Axis("准确率")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = lines(chart)
    assert all(name in drawn for name in ("衣服", "$5", "阶段", "准确率"))
    assert drawn == lines(chart)
