// The page starts: the first picture at once; then plotly, and all that a picture need not wait for.

function fillProblem() {
  const own = problem();
  chosenState.experiment = own.first;
  chosenState.metric = own.metric;
  options($("experiment"), own.experiments.map(experimentName), own.first);
  options($("metric"), own.metrics.map((m) => m.name), own.metric);
  if (metric()) fillMetric(own.level);
}

function start() {
  figure("phase", () => (metric() ? phase() : null));
  if (DATA.problems.length) {
    options($("problem"), DATA.problems.map((p) => `${p.name} (D = ${p.ambient.toLocaleString("en")})`), 0);
    fillProblem();
  }
  $("controls").hidden = !DATA.problems.length || !metric();
  if (metric()) say();
  wear(theme());
  draw(figures.get("phase"));
  shown(() => performance.mark("first picture"));
  addEventListener("DOMContentLoaded", () => shown(() => { readLibrary(); shown(goOn); }));
}

// Afterwards, when what is drawn has been shown.
function shown(then) {
  requestAnimationFrame(() => setTimeout(then));
}

// Until here plotly is a text: read where it stands, it would hold up the first picture.
function readLibrary() {
  document.head.append(element("script", {}, $("library").textContent));
  draw(figures.get("phase"));
  shown(() => performance.mark("plotly's picture"));
}

// The figures with a choice of their own turn to the problem too, where they have one of it.
function follow() {
  const { name } = problem(), of = (e) => DATA.table.experiments[e].problem;
  for (const [state, id, all] of [
    ["comparison", "comparison", DATA.comparisons.map((c) => c.problem)], ["prediction", "prediction", DATA.predictions.map((p) => p.problem)],
    ["spectrum", "spectra", DATA.spectra.map((s) => s.problem)], ["curve", "trial", DATA.curves.map((c) => of(c.e))],
  ]) {
    const first = all.indexOf(name);
    if (first < 0 || all[chosenState[state]] === name) continue;
    chosenState[state] = first;
    $(id).value = String(first);
  }
}

function goOn() {
  Object.assign(DATA, JSON.parse($("later").textContent));
  figure("curve", () => (metric() ? successCurve() : null));
  figure("goals", () => (metric() ? againstGoal() : null));
  figure("burn", () => (metric() ? againstBurnIn() : null));
  figure("response", () => (metric() ? response() : null));
  figure("null", againstNull);
  figure("foretold", foretold);
  figure("spectrum", spectrum);
  figure("learning", learning);
  choose("problem", (i) => { chosenState.problem = i; fillProblem(); follow(); });
  choose("experiment", (i) => { chosenState.experiment = i; });
  choose("metric", (i) => { chosenState.metric = i; fillMetric(); });
  choose("goal", (i) => { chosenState.level = slot(i); }, ["phase", "curve", "burn", "response"]);
  choose("comparison", (i) => { chosenState.comparison = i; }, ["null"]);
  choose("prediction", (i) => { chosenState.prediction = i; }, ["foretold"]);
  choose("spectra", (i) => { chosenState.spectrum = i; }, ["spectrum"]);
  choose("trial", (i) => { chosenState.curve = i; }, ["learning"]);
  options($("comparison"), DATA.comparisons.map((c) => `${c.problem}, ${c.training}, seed ${c.seed}`), 0);
  options($("prediction"), DATA.predictions.map((p) => `${p.problem}, ${p.words}, seed ${p.seed}`), 0);
  options($("spectra"), DATA.spectra.map((s) => s.name), 0);
  options($("trial"), DATA.curves.map((c) => `${DATA.table.experiments[c.e].problem}, ${DATA.table.experiments[c.e].method}, d = ${c.d}, seed ${c.seed}, repeat ${c.repeat}`), 0);
  $("theme").addEventListener("click", () => { chosen = theme() === "dark" ? "light" : "dark"; wear(chosen); });
  $("print").addEventListener("click", () => window.print());
  refresh([...figures.keys()].filter((id) => id !== "phase"));
  for (const held of figures.values()) sight.observe(held.section);
  buildTable();
  $("commands").textContent = DATA.commands.join("\n") || "The store has no note of commands: its trials were made from Python.";
  const names = ["subspan", "torch", "numpy", "python", "platform", "device"];
  const made = simpleTable([...names, "trials"], DATA.provenance.map((p) => [...names.map((name) => p[name]), p.trials]));
  $("provenance").replaceChildren(...made.childNodes);
  document.documentElement.dataset.ready = "";
}

start();
