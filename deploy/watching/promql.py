"""Expressions of PromQL that panels are made of."""

from __future__ import annotations

from deploy.watching.panels import RATE, SCOPE, Query


def rate(metric: str, by: str = "", scope: str = SCOPE) -> str:
    """Return an expression for how much a counter grows a second."""
    return f"sum by ({by}) (rate({metric}{{{scope}}}[{RATE}]))"


def increase(metric: str, by: str, scope: str = SCOPE) -> str:
    """Return an expression for how much a counter grows within a panel's step."""
    return f"sum by ({by}) (increase({metric}{{{scope}}}[{RATE}]))"


def quantiles(
    metric: str, by: str = "", scope: str = SCOPE, shares: tuple[float, ...] = (0.5, 0.95, 0.99)
) -> tuple[Query, ...]:
    """Return one query for each quantile of a histogram."""
    names = f"{by}, le" if by else "le"
    called = " ".join([*(f"{{{{{label.strip()}}}}}" for label in by.split(",") if label.strip())])
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({names}) (rate({metric}_bucket{{{scope}}}[{RATE}])))",
            f"{called} p{share * 100:g}".strip(),
        )
        for share in shares
    )


def mean(metric: str, by: str = "", scope: str = SCOPE) -> str:
    """Return an expression for the mean of a histogram's observations."""
    return f"{rate(f'{metric}_sum', by, scope)} / {rate(f'{metric}_count', by, scope)}"


def last(metric: str, by: str, scope: str = SCOPE, merge: str = "max") -> str:
    """Return an expression for a gauge, or a counter since its start, over all targets."""
    return f"{merge} by ({by}) ({metric}{{{scope}}})"
