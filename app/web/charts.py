"""The spend chart as SVG path data: stacked steps per agent, in numbers only, so that no text of an agent gets in."""

from __future__ import annotations

from dataclasses import dataclass

from app.web.views import SpendTab

_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 336.0, 26.4, 150.0
_LABEL_GAP = 64.0
_SHORT_MS = 5 * 60_000
SHOWN_SERIES = 3


@dataclass(frozen=True, slots=True)
class Area:
    """A filled area: its path and its shade (1 dark, 2 middle, 3 light)."""

    name: str
    path: str
    shade: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis at a position in the chart's own units; `anchor` only for the time axis."""

    at: float
    label: int
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws. `labels` of money ticks are micro-dollars, of time ticks milliseconds;
    `seconds` when the time axis is too short to be told in minutes."""

    areas: tuple[Area, ...]
    money: tuple[Tick, ...]
    times: tuple[Tick, ...]
    cap_y: float | None
    now_x: float | None
    now_top: float
    reserved: tuple[float, float, float, float] | None
    seconds: bool = False


def spend_chart(tab: SpendTab) -> Chart | None:
    """The chart of a run, or None while there is nothing to draw. More than three agents: the rest is one series."""
    series = _merged(tab)
    if not series:
        return None
    span = max(tab.to_ms - tab.from_ms, 1)
    total = sum(points[-1][1] for _, points in series) + tab.money.reserved
    top = max(tab.money.cap, total, 1)
    if tab.money.cap > 12 * max(total, 1):
        top = max(total * 2, 1)
    grid = _Grid(tab.from_ms, span, top)
    areas, heights = _areas(series, grid)
    return Chart(
        areas,
        _money_ticks(top, grid),
        _time_ticks(tab, grid),
        grid.y(tab.money.cap) if 0 < tab.money.cap <= top else None,
        grid.x(tab.blocked_ms) if tab.blocked_ms is not None else None,
        max(_TOP + 10, grid.y(heights) - 26),
        _reserved(tab, grid, heights),
        seconds=span < _SHORT_MS,
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    start: int
    span: int
    top: int

    def x(self, at_ms: int) -> float:
        part = min(max((at_ms - self.start) / self.span, 0.0), 1.0)
        return round(_LEFT + part * (_RIGHT - _LEFT - 5), 1)

    def y(self, micro: int) -> float:
        return round(_BOTTOM - min(micro / self.top, 1.0) * (_BOTTOM - _TOP), 1)


Steps = tuple[tuple[int, int], ...]


def _merged(tab: SpendTab) -> list[tuple[str, Steps]]:
    known = [(series.agent, series.points) for series in tab.series if series.points]
    known.sort(key=lambda pair: -pair[1][-1][1])
    if len(known) <= SHOWN_SERIES:
        return known
    rest = known[SHOWN_SERIES - 1 :]
    times = sorted({at for _, points in rest for at, _ in points})
    summed = tuple((at, sum(_value(points, at) for _, points in rest)) for at in times)
    return [*known[: SHOWN_SERIES - 1], (f"{len(rest)} others", summed)]


def _value(points: Steps, at_ms: int) -> int:
    """The cumulative spend at a time: the last step not after it."""
    return max((spent for step, spent in points if step <= at_ms), default=0)


def _areas(series: list[tuple[str, Steps]], grid: _Grid) -> tuple[tuple[Area, ...], int]:
    times = sorted({at for _, points in series for at, _ in points} | {grid.start, grid.start + grid.span})
    floor = [0] * len(times)
    areas: list[Area] = []
    for shade, (name, points) in enumerate(series, 1):
        top = [base + _value(points, at) for base, at in zip(floor, times, strict=True)]
        areas.append(Area(name, _path(times, floor, top, grid), shade))
        floor = top
    return tuple(areas), floor[-1]


def _path(times: list[int], floor: list[int], top: list[int], grid: _Grid) -> str:
    there = _steps(times, top, grid)
    back = list(reversed(_steps(times, floor, grid)))
    return "M" + " L".join(f"{x},{y}" for x, y in there + back) + " Z"


def _steps(times: list[int], values: list[int], grid: _Grid) -> list[tuple[float, float]]:
    corners = [(grid.x(times[0]), grid.y(values[0]))]
    for before, value, at in zip(values, values[1:], times[1:], strict=False):
        corners += [(grid.x(at), grid.y(before)), (grid.x(at), grid.y(value))]
    return corners


def _money_ticks(top: int, grid: _Grid) -> tuple[Tick, ...]:
    step = 1
    while top / step > 4.5:
        step *= 2 if str(step)[0] in "15" else 5
        step = step if str(step)[0] in "125" else int("1" + "0" * len(str(step)))
    return tuple(Tick(grid.y(value), value) for value in range(0, top + 1, step) if value < top * 0.95 or value == 0)


def _time_ticks(tab: SpendTab, grid: _Grid) -> tuple[Tick, ...]:
    count = max(1, int((_RIGHT - _LEFT) // (_LABEL_GAP * 1.5)))
    anchors = ["start", *["middle"] * (count - 1), "end"]
    marks = [tab.from_ms + grid.span * number // count for number in range(count + 1)]
    return tuple(Tick(grid.x(mark), mark, anchor) for mark, anchor in zip(marks, anchors, strict=True))


def _reserved(tab: SpendTab, grid: _Grid, height: int) -> tuple[float, float, float, float] | None:
    if tab.money.reserved <= 0:
        return None
    high, low = grid.y(height + tab.money.reserved), grid.y(height)
    right = grid.x(tab.to_ms)
    left = max(_LEFT, min(grid.x(tab.blocked_ms), right - 12) if tab.blocked_ms is not None else right - 20)
    return left, high, round(right - left, 1), round(low - high, 1)
