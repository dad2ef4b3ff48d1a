// The controls: fill them, say what is chosen, draw again what a choice changes.

function options(select, names, value) {
  select.replaceChildren(...names.flatMap((name, i) => (name === null ? [] : [element("option", { value: String(i) }, name)])));
  select.value = String(value);
}

// Trials that searched the learning rate together are one choice, not one for each learning rate.
function experimentName(one, i, all) {
  if (!one.found) return `${label(one)} (${one.trials} trials)`;
  const together = all.filter((other) => other.found === one.found);
  if (together[0] !== one) return null;
  return `${one.method}, at the best learning rate (${together.reduce((sum, other) => sum + other.trials, 0)} trials)`;
}

// The level that is asked for, or the middle one of those that have a threshold.
function fillMetric(level) {
  const m = metric(), found = (counted()?.levels ?? []).map((l, i) => (hasValue(l.d) ? i : -1)).filter((i) => i >= 0);
  const middle = found[Math.floor(found.length / 2)] ?? Math.floor(m.levels.length / 2);
  chosenState.level = level ?? m.asked[0] ?? middle;
  $("goal").max = String(m.levels.length - 1);
  $("goal").value = String(slot(chosenState.level));
}

// To the right on the slider is harder.
function slot(i) {
  return metric().higher ? i : metric().levels.length - 1 - i;
}

function say() {
  $("goal").setAttribute("aria-valuetext", goalWords());
  $("told").textContent = told();
}

function choose(id, change, ids) {
  $(id).addEventListener(id === "goal" ? "input" : "change", () => {
    change(Number($(id).value));
    if (metric()) say();
    refresh(ids);
  });
}
