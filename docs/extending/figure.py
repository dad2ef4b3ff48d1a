"""A figure: one function makes its data, which a test can hold; one draws it."""

from collections import defaultdict

import subspan as ss
from subspan.report import figure


def cost_data(records):
    """Return the dims and the mean number of steps that trials took there."""
    steps = defaultdict(list)
    for record in records:
        steps[record.dim].append(record.steps)
    dims = sorted(steps)
    return dims, [sum(steps[dim]) / len(steps[dim]) for dim in dims]


def draw_cost(data, *, ax=None, style="screen", serif=False):
    """Draw the steps over d; on axes of the caller's, or of its own in a paper's size."""
    with figure.canvas(ax, style, serif, 5, 3) as canvas:
        canvas.axes.plot(*data, "o-", color=figure.BLUE)
        canvas.axes.set(xscale="log", xlabel="training dimension d", ylabel="steps")
    return canvas.figure


problem = ss.problems.load("digits-mlp", subset=60)
spec = ss.TrainSpec(lr=0.1, steps=20, batch_size=16, stop_at="loss<=1.5")
data = cost_data(ss.run(problem, "random", [8, 64, 512], 2, spec, workers=1))
assert data[0] == [8, 64, 512]
ss.report.save_figure(draw_cost(data, style="column"), "cost")  # png, svg, pdf
