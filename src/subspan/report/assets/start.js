// Fill the controls, listen to them, draw what is in sight.

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

function fillProblem() {
  const own = problem();
  chosenState.experiment = own.first;
  chosenState.metric = own.metric;
  options($("experiment"), own.experiments.map(experimentName), own.first);
  options($("metric"), own.metrics.map((m) => m.name), own.metric);
  if (metric()) fillMetric(own.level);
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

function start() {
  document.documentElement.dataset.theme = theme();
  figure("phase", () => (metric() ? phase() : null));
  figure("curve", () => (metric() ? successCurve() : null));
  figure("goals", () => (metric() ? againstGoal() : null));
  figure("burn", () => (metric() ? againstBurnIn() : null));
  figure("response", () => (metric() ? response() : null));
  figure("null", againstNull);
  figure("learning", learning);
  if (DATA.problems.length) {
    options($("problem"), DATA.problems.map((p) => `${p.name} (D = ${p.ambient.toLocaleString("en")})`), 0);
    fillProblem();
  }
  $("controls").hidden = !DATA.problems.length || !metric();
  choose("problem", (i) => { chosenState.problem = i; fillProblem(); });
  choose("experiment", (i) => { chosenState.experiment = i; });
  choose("metric", (i) => { chosenState.metric = i; fillMetric(); });
  choose("goal", (i) => { chosenState.level = slot(i); }, ["phase", "curve", "burn", "response"]);
  choose("comparison", (i) => { chosenState.comparison = i; }, ["null"]);
  choose("trial", (i) => { chosenState.curve = i; }, ["learning"]);
  options($("comparison"), DATA.comparisons.map((c) => `${c.problem}, ${c.training}, seed ${c.seed}`), 0);
  options($("trial"), DATA.curves.map((c) => `${DATA.table.experiments[c.e].problem}, ${DATA.table.experiments[c.e].method}, d = ${c.d}, seed ${c.seed}, repeat ${c.repeat}`), 0);
  $("theme").addEventListener("click", () => { chosen = theme() === "dark" ? "light" : "dark"; wear(chosen); });
  $("print").addEventListener("click", () => window.print());
  if (metric()) say();
  wear(theme());
  draw(figures.get("phase"));
  for (const held of figures.values()) sight.observe(held.section);
  buildTable();
  $("commands").textContent = DATA.commands.join("\n") || "The store has no note of commands: its trials were made from Python.";
  const names = ["subspan", "torch", "numpy", "python", "platform", "device"];
  const made = simpleTable([...names, "trials"], DATA.provenance.map((p) => [...names.map((name) => p[name]), p.trials]));
  $("provenance").replaceChildren(...made.childNodes);
}

start();
