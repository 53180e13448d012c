"""What a panel and a dashboard are here, and how they become Grafana's JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard as Builder

SOURCE = "prometheus"
RATE = "$__rate_interval"
"""The window over which a panel's rates are taken; Grafana fits it to the step and to the scrapes."""

_WIDTH, _HEIGHT = 8, 8
_WHOLE = 24
_VARIABLES = (
    ("deployment", "Deployment", 'label_values(up{job="hone"}, deployment)'),
    ("model", "Model", 'label_values(up{job="hone",deployment=~"$deployment"}, model)'),
    ("version", "Version", 'label_values(hone_champion_info{deployment=~"$deployment",model=~"$model"}, version)'),
)
SCOPE = 'deployment=~"$deployment",model=~"$model"'
VERSION = f'{SCOPE},version=~"$version"'


@dataclass(frozen=True)
class Query:
    """One line of a panel: an expression of PromQL, and how its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel; ``unit`` is Grafana's name of it. ``now`` shows the latest value instead of a course."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    now: bool = False
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; versions that became champion are marked on the time axis of each."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]


def to_json(dashboard: Dashboard) -> str:
    """Return the dashboard as Grafana reads it from a file."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(_built(dashboard).build()) + "\n"


def _built(dashboard: Dashboard) -> Builder:
    from grafana_foundation_sdk.builders import dashboard as sdk
    from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

    builder = sdk.Dashboard(dashboard.title).uid(dashboard.uid).description(dashboard.description).tags(["hone"])
    builder = builder.editable().refresh("10s").time("now-1h", "now").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    builder = builder.link(_link()).annotation(_swaps())
    for name, label, query in _VARIABLES:
        builder = builder.with_variable(_variable(name, label, query))
    top = number = 0
    for row in dashboard.rows:
        number += 1
        builder = builder.with_row(sdk.Row(row.title).id(number).grid_pos(_place(0, top, _WHOLE, 1)))
        top += 1
        for index, panel in enumerate(row.panels):
            number += 1
            left = index * _WIDTH % _WHOLE
            builder = builder.with_panel(_panel(panel, number, _place(left, top, _WIDTH, _HEIGHT)))
            if left + _WIDTH == _WHOLE or index == len(row.panels) - 1:
                top += _HEIGHT
    return builder


def _panel(panel: Panel, number: int, place: Any) -> Any:
    from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
    from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode

    builder: Any = stat.Panel() if panel.now else timeseries.Panel()
    builder = builder.id(number).title(panel.title).description(panel.description).unit(panel.unit)
    builder = builder.datasource(_source()).grid_pos(place)
    if not panel.now:
        legend = common.VizLegendOptions().show_legend(True)
        legend = legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        builder = builder.legend(legend).fill_opacity(30 if panel.stacked else 8).line_width(1)
        if panel.unit in ("percentunit", "short", "reqps", "s", "bytes"):
            builder = builder.min(0)
    if panel.stacked:
        builder = builder.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter).datasource(_source())
        builder = builder.with_target(target.instant() if panel.now else target.range())
    return builder


def _variable(name: str, label: str, query: str) -> Any:
    from grafana_foundation_sdk.builders import dashboard as sdk
    from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

    variable = sdk.QueryVariable(name).label(label).query(query).datasource(_source()).multi(True).include_all(True)
    variable = variable.all_value(".*").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NUMERICAL_DESC)
    return variable.current(VariableOption(selected=True, text="All", value="$__all"))


def _swaps() -> Any:
    from grafana_foundation_sdk.builders import dashboard as sdk

    annotation = sdk.AnnotationQuery().name("Swaps").datasource(_source()).enable(True).icon_color("purple")
    return annotation.expr(f"changes(hone_champion_since_timestamp_seconds{{{SCOPE}}}[1m]) > 0")


def _link() -> Any:
    from grafana_foundation_sdk.builders import dashboard as sdk
    from grafana_foundation_sdk.models.dashboard import DashboardLinkType

    link = sdk.DashboardLink("Hone").type(DashboardLinkType.DASHBOARDS).tags(["hone"])
    return link.include_vars(True).keep_time(True).as_dropdown(False)


def _place(left: int, top: int, width: int, height: int) -> Any:
    from grafana_foundation_sdk.models.dashboard import GridPos

    return GridPos(x=left, y=top, w=width, h=height)


def _source() -> Any:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid=SOURCE)


def expressions(text: str) -> list[str]:
    """Return every expression of a dashboard's JSON: of its panels, and of the marks on its time axis."""
    document = json.loads(text)
    targets = [target["expr"] for panel in document["panels"] for target in panel.get("targets", ())]
    return [*targets, *(mark["expr"] for mark in document["annotations"]["list"] if "expr" in mark)]
