"""Draws docs/backends.svg: the reward over the steps of two runs of the same recipe.

python docs/plot_backends.py STORE TORCH_RUN VERL_RUN
"""

import sys
from pathlib import Path

from manifests.runs import load_run
from manifests.store import Store

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 260, 46, 40


def line(values: list[float], style: str) -> str:
    """`values` by step, from 0 to 1 upwards."""
    x = [LEFT + (WIDTH - LEFT - 12) * i / (len(values) - 1) for i in range(len(values))]
    y = [HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 14) * value for value in values]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" {style}/>'


def text(x: float, y: float, said: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{said}</text>'


def drawing(torch: list[float], verl: list[float]) -> str:
    """The whole file; the torch run is the broad line, verl's the thin one upon it."""
    grid = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 14) * share
        grid += [f'<path d="M{LEFT} {y:.1f}H{WIDTH - 12}" stroke="#ddd"/>', text(LEFT - 6, y + 4, f"{share:g}", "end")]
    broad, thin = 'stroke="#f2b06b" stroke-width="6"', 'stroke="#1f4e79" stroke-width="1.6"'
    steps = [text(LEFT + (WIDTH - LEFT - 12) * i / (len(torch) - 1), HEIGHT - BOTTOM + 16, str(i + 1))
             for i in range(0, len(torch)) if i == 0 or (i + 1) % 10 == 0]  # fmt: skip
    legend = [f'<path d="M{WIDTH - 190} {y}h26" {style}/>{text(WIDTH - 156, y + 4, name, "start")}'
              for y, style, name in ((150, broad, "--backend torch"), (172, thin, "--backend verl"))]  # fmt: skip
    body = [*grid, line(torch, broad), line(verl, thin), *steps, *legend,
            text((LEFT + WIDTH) / 2, HEIGHT - 6, "step"), text(LEFT, 10, "mean reward", "start")]  # fmt: skip
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *body, "</svg>"]) + "\n"


def main(url: str, *runs: str) -> None:
    rewards = []
    for run in runs:
        steps = load_run(Store(url), run).table("steps")
        assert steps is not None
        rewards.append(steps["reward"].to_pylist())
    (Path(__file__).parent / "backends.svg").write_text(drawing(*rewards), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
