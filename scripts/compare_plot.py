"""Draws a plot of `scripts/compare.py` as SVG: a panel for each client, calls a second over time, readable in the dark too."""

import dataclasses

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 760, 130, 46, 16, 44, 40
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px } .small { font-size: 11px; fill: #59636e }
  .paper { fill: #ffffff } .axis { stroke: #d1d9e0 } .good { fill: #2f81c7 } .bad { fill: #d1242f }
  .limit { stroke: #1a7f37; stroke-width: 1.5; stroke-dasharray: 5 3; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .paper { fill: #0d1117 } .axis { stroke: #3d444d }
    .good { fill: #58a6ff } .bad { fill: #ff7b72 } .limit { stroke: #56d364 }
  }
"""


@dataclasses.dataclass
class Panel:
    """One client's run: calls in each second."""

    title: str
    accepted: list[float]
    rejected: list[float]
    seconds: float


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def draw(title: str, line: str, limit: list[tuple[float, float]], panels: list[Panel], seconds: int, top: float) -> str:
    """`limit` lists from when on which rate holds and `line` names it; `seconds` and `top` are the ends of the axes."""
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
        legend(line),
    ]
    for number, panel in enumerate(panels):
        parts += draw_panel(panel, TOP + 14 + number * (PANEL + GAP), limit, seconds, top)
    return "\n".join([*parts, "</svg>", ""])


def legend(line: str) -> str:
    return (
        f'<rect class="good" x="{LEFT}" y="29" width="10" height="10"/>'
        f'<text class="small" x="{LEFT + 14}" y="38">answered per second</text>'
        f'<rect class="bad" x="{LEFT + 140}" y="29" width="10" height="10"/>'
        f'<text class="small" x="{LEFT + 154}" y="38">rejected (429) per second, on top</text>'
        f'<path class="limit" d="M{LEFT + 350} 34h24"/><text class="small" x="{LEFT + 380}" y="38">{escape(line)}</text>'
    )


def draw_panel(panel: Panel, y0: int, limit: list[tuple[float, float]], seconds: int, top: float) -> list[str]:
    width = (WIDTH - LEFT - RIGHT) / seconds
    base = y0 + PANEL - 10

    def x(second: float) -> float:
        return LEFT + second * width

    def y(rate: float) -> float:
        return base - min(rate, top) / top * (PANEL - 26)

    parts = [f'<text x="{LEFT}" y="{y0 + 8}">{escape(panel.title)}</text>']
    for rate in (0, top / 2, top):
        parts.append(f'<path class="axis" d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="small" x="{LEFT - 6}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:.0f}</text>')
    for second, (good, bad) in enumerate(zip(panel.accepted, panel.rejected, strict=True)):
        if second < seconds:
            parts += bars(x(second), width, y(0), y(good), y(good + bad))
    step = next(step for step in (5, 10, 20, 30, 60, 120) if seconds / step <= 12)
    for second in range(0, seconds + 1, step):
        parts.append(f'<text class="small" x="{x(second):.1f}" y="{base + 14}" text-anchor="middle">{second} s</text>')
    path = f"M{LEFT} {y(limit[0][1]):.1f}" + "".join(f"H{x(at):.1f}V{y(rate):.1f}" for at, rate in limit[1:])
    parts.append(f'<path class="limit" d="{path}H{x(seconds):.1f}"/>')
    if panel.seconds > seconds + 1:
        parts.append(
            f'<text class="small" x="{WIDTH - RIGHT}" y="{y0 + 8}" text-anchor="end">goes on until {panel.seconds:.0f} s →</text>'
        )
    return parts


def bars(x: float, width: float, zero: float, good: float, both: float) -> list[str]:
    left, wide = f'x="{x + 0.5:.1f}"', f'width="{max(width - 1, 0.5):.1f}"'
    made = []
    if good < zero:
        made.append(f'<rect class="good" {left} {wide} y="{good:.1f}" height="{zero - good:.1f}"/>')
    if both < good:
        made.append(f'<rect class="bad" {left} {wide} y="{both:.1f}" height="{good - both:.1f}"/>')
    return made
