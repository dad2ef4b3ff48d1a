"""A form of goal: percent. A goal says which metric it reads and when a value meets it."""

import subspan as ss
from subspan.goals import AccuracyAbove, parse_goal


def percent(text):
    """Read `accuracy>=95%`; the rest is left to `parse_goal`."""
    if isinstance(text, str) and text.endswith("%") and text.startswith("accuracy>="):
        return AccuracyAbove(float(text[len("accuracy>=") : -1]) / 100)
    return parse_goal(text)


goal = percent("accuracy>=95%")
assert goal == ss.AccuracyAbove(0.95)
assert goal.met_by(0.96)
assert not goal.met_by(float("nan"))
problem = ss.problems.load("digits-mlp", subset=60)
records = ss.run(problem, "random", [4], 2, ss.TrainSpec(steps=3), workers=1)
assert ss.success_surface(records, [goal]).cells[0].trials == 2
