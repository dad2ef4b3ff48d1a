// The figures: from the page's data and what is chosen to traces, a table and the words for both.

const chosenState = { problem: 0, experiment: 0, metric: 0, level: 0, comparison: 0, prediction: 0, spectrum: 0, curve: 0 };

const problem = () => DATA.problems[chosenState.problem];
const experiment = () => problem().experiments[chosenState.experiment];
const metric = () => problem()?.metrics[chosenState.metric];
const counted = (one = experiment()) => one.counted[metric().name];
const levelOf = (one) => counted(one)?.levels[chosenState.level];
const goalWords = () => metric().words[chosenState.level];
const label = (one) => `${one.method}, ${one.training}`;
const percent = Math.round(100 * DATA.confidence);

function stored(one = experiment()) {
  return `import subspan as ss\n\nstored = ss.report.experiment(${JSON.stringify(DATA.store)}, "${one.id}")\n`;
}

function storedOfProblem() {
  const { name, ambient } = problem();
  return `import subspan as ss\n\nstored = ss.report.experiments(${JSON.stringify(DATA.store)})\n` +
    `stored = [s for s in stored if s.problem == ${JSON.stringify(name)} and s.experiment.ambient_dim == ${ambient}]\n`;
}

// --- axes ----------------------------------------------------------------------------------------

function niceTicks(low, high) {
  const ratio = high / low, wide = innerWidth < 640 ? 30 : 300;
  const steps = ratio > wide ? [1] : ratio > 6 ? [1, 2, 5] : ratio > 2 ? [1, 1.5, 2, 3, 4, 5, 7] : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of steps) ticks.push(step * 10 ** power);
  }
  return ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
}

// Labels of experiments without what all of those among which they stand share.
function shortLabels(some, among = some) {
  const parts = among.map((one) => one.training.split(", "));
  const own = some.map((one) => one.training.split(", ").filter((word) => !parts.every((other) => other.includes(word))));
  return some.map((one, i) => [one.method, ...own[i]].join(", "));
}

function logAxis(values, title) {
  const low = Math.min(...values) / 1.25, high = Math.max(...values) * 1.25;
  const ticks = niceTicks(low, high);
  return { title: { text: title }, range: [Math.log10(low), Math.log10(high)], tickvals: ticks.map(Math.log10), ticktext: ticks.map((t) => number(t)), tickangle: 0 };
}

const dimAxis = (values, title = "training dimension d") => logAxis(values, title);

// Where a level stands on the axis: harder goals have larger numbers, or the axis is turned.
function place(level, m = metric()) {
  if (m.scale === "log") return Math.log10(level);
  if (m.scale !== "gap") return level;
  const gaps = m.levels.map((l) => m.top - l).filter((g) => g > 1e-12);
  const least = gaps.length ? Math.min(...gaps) / 2 : 1e-3;
  return -Math.log10(Math.max(m.top - level, least));
}

function levelAxis(m = metric()) {
  const every = Math.ceil(m.levels.length / 9);
  const places = m.levels.map((l) => place(l, m)), least = 0.045 * (Math.max(...places) - Math.min(...places));
  const apart = []; // ticks whose labels do not touch; of two that would, the one asked for, or an end
  const foremost = [...m.asked, 0, places.length - 1];
  for (const i of [...foremost, ...places.keys()]) {
    if (apart.every((j) => Math.abs(places[i] - places[j]) >= least) && (i % every === 0 || foremost.includes(i))) apart.push(i);
  }
  const shown = apart.sort((a, b) => a - b).map((i) => m.levels[i]);
  const turned = m.scale !== "gap" && !m.higher;
  return {
    title: { text: `goal: ${plain(m.name)} ${m.higher ? "≥" : "≤"}` },
    tickvals: shown.map((l) => place(l, m)), ticktext: shown.map((l) => number(l)),
    autorange: turned ? "reversed" : true,
  };
}

function edges(centres, alone) {
  if (centres.length === 1) return [centres[0] - alone, centres[0] + alone];
  const middle = centres.slice(1).map((c, i) => (c + centres[i]) / 2);
  return [2 * centres[0] - middle[0], ...middle, 2 * centres.at(-1) - middle.at(-1)];
}

// --- thresholds as marks with intervals -----------------------------------------------------------

function thresholdMarks(points, dims) {
  const ok = (p) => p.d.status === "ok";
  return {
    x: points.map((p) => Math.log10(p.d.value)),
    error: points.map((p) => Math.log10((p.d.high ?? Math.max(...dims)) / p.d.value)),
    errorBelow: points.map((p) => Math.log10(p.d.value / Math.max(p.d.low ?? 1, 1))),
    symbols: points.map((p) => (ok(p) ? "circle" : "circle-open")),
  };
}

const hasValue = (d) => d && d.value > 0 && ["ok", "not converged", "edge of the model"].includes(d.status);

// --- figures -------------------------------------------------------------------------------------

function phase() {
  const c = counted();
  if (!c || !c.dims.length || experiment().found) return null;
  const m = metric(), one = experiment(), D = problem().ambient;
  const z = c.levels.map((l) => l.wins.map((w, i) => (l.totals[i] ? w / l.totals[i] : null)));
  const words = c.levels.map((l, row) => l.wins.map((w, i) => l.totals[i]
    ? `d = ${number(c.dims[i])}, D/d = ${number(D / c.dims[i], 3)}<br>${plain(m.words[row])}<br>` +
      `<b>${w} of ${l.totals[i]}</b> reached it<br>${percent} % interval ${number(l.low[i], 3)} to ${number(l.high[i], 3)}` +
      (one.lr === null ? "" : `<br>learning rate ${number(one.lr)}`)
    : "no trial tells"));
  const points = c.levels.map((l, i) => ({ d: l.d, level: m.levels[i], i })).filter((p) => hasValue(p.d));
  const marks = thresholdMarks(points, c.dims), here = points.find((p) => p.i === chosenState.level);
  const line = {
    x: marks.x, y: points.map((p) => place(p.level)), mode: "lines+markers", name: "d*", hoverinfo: "text",
    text: points.map((p) => `${plain(m.words[p.i])}<br>d* = ${plain(p.d.words)}${p.d.remark ? `<br>${plain(p.d.remark)}` : ""}`),
    line: { color: "#ff7f2a", width: 2.5 }, marker: { size: 8, symbol: marks.symbols, color: "#ff7f2a", line: { width: 1.5, color: "#ff7f2a" } },
    error_x: { type: "data", array: marks.error, arrayminus: marks.errorBelow, color: "#ff7f2a", thickness: 1.4, width: 3 },
  };
  const chosenMark = {
    x: here ? [Math.log10(here.d.value)] : [], y: here ? [place(here.level)] : [], mode: "markers", name: "the goal chosen",
    hoverinfo: "skip", marker: { size: 16, symbol: "diamond", color: "#ff7f2a", line: { width: 2.5, color: "#ffffff" } },
  };
  const y = c.levels.map((_, i) => place(m.levels[i]));
  const heat = {
    type: "heatmap", x: edges(c.dims.map(Math.log10), 0.1), y: edges(y, 0.05), z, hoverinfo: "text", text: words, texttemplate: "",
    colorscale: "Cividis", zmin: 0, zmax: 1, hoverongaps: false, colorbar: colourBar("success<br>rate"),
  };
  const rows = c.levels.flatMap((l, row) => c.dims.map((d, i) => [m.goals[row], d, l.wins[i], l.totals[i], l.low[i], l.high[i]])).filter((r) => r[3]);
  const chosenLevel = place(m.levels[chosenState.level]);
  return {
    traces: [heat, line, chosenMark],
    layout: {
      xaxis: { ...dimAxis(c.dims), range: [heat.x[0], heat.x.at(-1)] }, yaxis: levelAxis(), showlegend: false,
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: chosenLevel, y1: chosenLevel, line: { color: "#ffffff", width: 1.5, dash: "dot" } }],
    },
    words: `Heat map of the success rate for ${label(one)}, d from ${c.dims[0]} to ${c.dims.at(-1)}, ${m.levels.length} goals. ${told()}`,
    columns: ["goal", "d", "reached", "trials", "low", "high"], rows,
    again: `${stored()}goals = ${JSON.stringify(m.goals)}\nsurface = stored.surface(goals)\n` +
      "figure = ss.report.draw_phase_diagram(ss.report.phase_diagram_data(surface))\n" +
      'ss.report.save_figure(figure, "phase-diagram")\nfor goal in goals:\n    print(goal, stored.estimate(goal))',
  };
}

function told() {
  const level = levelOf(experiment());
  if (experiment().found) return experiment().found;
  if (!level) return `${metric().name}: no trial of this method has it.`;
  if (!level.d) return `${goalWords()}: trials at too few dims to tell d*.`;
  const ratio = level.d.compression ? `, ${number(level.d.compression, 3)}× fewer than D` : "";
  return `${goalWords()}: d* = ${level.d.words}${ratio}. ${level.d.remark}`.trim();
}

function successCurve() {
  const level = levelOf(experiment());
  const c = counted();
  if (!level || !level.totals.some((n) => n) || experiment().found) return null;
  const x = c.dims.map(Math.log10), rates = level.wins.map((w, i) => (level.totals[i] ? w / level.totals[i] : null));
  const rate = {
    x, y: rates, mode: "markers", name: "success rate", hoverinfo: "text",
    text: rates.map((_, i) => `d = ${number(c.dims[i])}: ${level.wins[i]} of ${level.totals[i]}<br>${percent} % interval ${number(level.low[i], 3)} to ${number(level.high[i], 3)}`),
    marker: { color: colour("paper"), size: 9, line: { color: colour("ink"), width: 1.6 } },
    error_y: { type: "data", array: rates.map((r, i) => level.high[i] - r), arrayminus: rates.map((r, i) => r - level.low[i]), color: colour("quiet"), thickness: 1.2, width: 3 },
  };
  const traces = [];
  if (level.fit) {
    const [grid, mean, low, high] = level.fit, gx = grid.map(Math.log10);
    const band = { x: [...gx, ...[...gx].reverse()], y: [...high, ...[...low].reverse()], fill: "toself", fillcolor: "rgba(80,150,220,.22)", line: { width: 0 }, hoverinfo: "skip", name: "credible band" };
    traces.push(band, { x: gx, y: mean, mode: "lines", name: "fit", line: { color: series(0), width: 2.2 }, hoverinfo: "skip" });
  }
  traces.push(rate);
  const shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 0.9, y1: 0.9, line: { color: colour("quiet"), width: 1, dash: "dash" } }];
  if (hasValue(level.d)) {
    const at = Math.log10(level.d.value), right = Math.log10(level.d.high ?? c.dims.at(-1));
    shapes.push({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: Math.log10(Math.max(level.d.low, 1)), x1: right, fillcolor: "rgba(255,127,42,.18)", line: { width: 0 } });
    shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at, line: { color: colour("mark"), width: 2 } });
  }
  return {
    traces, layout: { xaxis: dimAxis(c.dims), yaxis: { title: { text: `P(${plain(goalWords())})` }, range: [-0.05, 1.05] }, shapes },
    words: `Success rate over d for ${goalWords()}. ${told()}`,
    columns: ["d", "reached", "trials", "low", "high"],
    rows: c.dims.map((d, i) => [d, level.wins[i], level.totals[i], level.low[i], level.high[i]]),
    again: `${stored()}estimate = stored.estimate(${JSON.stringify(metric().goals[chosenState.level])})\nprint(estimate)\n` +
      'ss.report.save_figure(ss.report.draw_success_curve(ss.report.success_curve_data(estimate)), "success-curve")',
  };
}

function againstGoal() {
  const m = metric(), traces = [], rows = [], dims = [];
  const pointsOf = (one) => (counted(one)?.levels ?? []).map((l, k) => ({ d: l.d, level: m.levels[k], k })).filter((p) => hasValue(p.d));
  const shown = problem().experiments.filter((one) => pointsOf(one).length), names = shortLabels(shown, problem().experiments);
  shown.forEach((one, i) => {
    const points = pointsOf(one);
    const marks = thresholdMarks(points, counted(one).dims);
    points.forEach((p) => { dims.push(p.d.value, Math.max(p.d.low, 1), p.d.high ?? p.d.value); rows.push([m.goals[p.k], label(one), p.d.value, p.d.low, p.d.high, p.d.status]); });
    traces.push({
      x: points.map((p) => place(p.level)), y: marks.x, mode: "lines+markers", name: plain(names[i]), hoverinfo: "text",
      text: points.map((p) => `${plain(label(one))}<br>${plain(m.words[p.k])}<br>d* = ${plain(p.d.words)}`),
      line: { color: series(traces.length), dash: DASHES[Math.floor(traces.length / 7) % 4] },
      marker: { size: 8, symbol: points.map((p) => SYMBOLS[traces.length % 7] + (p.d.status === "ok" ? "" : "-open")) },
      error_y: { type: "data", array: marks.error, arrayminus: marks.errorBelow, thickness: 1, width: 3 },
    });
  });
  if (!rows.length) return null;
  return {
    traces, layout: { xaxis: levelAxis(), yaxis: dimAxis(dims, "threshold d*"), showlegend: true },
    words: `d* against the goal, ${traces.length} lines; the numbers are in the table below.`,
    columns: ["goal", "method and training", "d*", "low", "high", "status"], rows,
    again: `${storedOfProblem()}data = ss.report.thresholds_data(stored, ${JSON.stringify(m.goals)})\n` +
      'ss.report.save_figure(ss.report.draw_thresholds(data), "thresholds")',
  };
}

function againstBurnIn() {
  const m = metric(), groups = new Map();
  for (const one of problem().experiments) {
    const level = levelOf(one);
    if (one.burnIn === null || !hasValue(level?.d)) continue;
    if (!groups.has(one.training)) groups.set(one.training, []);
    groups.get(one.training).push({ one, d: level.d });
  }
  const told = [...groups].filter(([, points]) => new Set(points.map((p) => p.one.burnIn)).size > 1);
  if (!told.length) return null;
  const rows = [], dims = [], steps = [];
  const traces = told.map(([training, points], i) => {
    points.sort((a, b) => a.one.burnIn - b.one.burnIn);
    const marks = thresholdMarks(points, points.map((p) => p.d.high ?? p.d.value));
    points.forEach((p) => { dims.push(p.d.value, Math.max(p.d.low, 1), p.d.high ?? p.d.value); steps.push(p.one.burnIn); rows.push([training, p.one.burnIn, p.d.value, p.d.low, p.d.high, p.d.status]); });
    return {
      x: points.map((p) => Math.log2(p.one.burnIn + 1)), y: marks.x, mode: "lines+markers", name: plain(training), hoverinfo: "text",
      text: points.map((p) => `${p.one.burnIn} steps of burn-in<br>d* = ${plain(p.d.words)}`),
      line: { color: series(i) }, marker: { size: 9, symbol: marks.symbols },
      error_y: { type: "data", array: marks.error, arrayminus: marks.errorBelow, thickness: 1, width: 3 },
    };
  });
  const ticks = [...new Set(steps)];
  return {
    traces, layout: { xaxis: { title: { text: "burn-in steps" }, tickvals: ticks.map((t) => Math.log2(t + 1)), ticktext: ticks.map(String) }, yaxis: dimAxis(dims, `d* for ${plain(goalWords())}`), showlegend: traces.length > 1 },
    words: `d* against burn-in steps for ${goalWords()}.`,
    columns: ["training", "burn-in steps", "d*", "low", "high", "status"], rows,
    again: `${storedOfProblem()}data = ss.report.thresholds_data(stored, ${JSON.stringify([m.goals[chosenState.level]])})\n` +
      'ss.report.save_figure(ss.report.draw_burn_in(data), "burn-in")',
  };
}

function response() {
  const family = problem().experiments.filter((one) => one.family === experiment().family && one.lr !== null && counted(one));
  const lrs = [...new Set(family.map((one) => one.lr))].sort((a, b) => a - b);
  if (lrs.length < 2) return null;
  const dims = [...new Set(family.flatMap((one) => counted(one).dims))].sort((a, b) => a - b);
  const cell = new Map(), rows = [];
  for (const one of family) {
    const c = counted(one), level = c.levels[chosenState.level];
    c.dims.forEach((d, i) => {
      cell.set(`${one.lr} ${d}`, { middle: c.median[i], wins: level.wins[i], total: level.totals[i] });
      rows.push([d, one.lr, c.median[i], level.wins[i], level.totals[i]]);
    });
  }
  const m = metric(), log = m.scale === "log";
  const shade = (v) => (v === null ? null : log ? Math.log10(v) : v);
  const told = (d, lr) => {
    const at = cell.get(`${lr} ${d}`);
    return at ? `d = ${number(d)}, learning rate ${number(lr)}<br>median ${plain(m.name)} ${number(at.middle)}<br>${at.wins} of ${at.total} met ${plain(goalWords())}` : "no trial";
  };
  const flat = rows.map((r) => shade(r[2])).filter((v) => v !== null), low = Math.min(...flat), high = Math.max(...flat);
  const ticks = log ? niceTicks(10 ** low, 10 ** high) : null;
  const bar = colourBar(`median<br>${plain(m.name)}`, log ? { tickvals: ticks.map(Math.log10), ticktext: ticks.map((t) => number(t)) } : {});
  // A search tries few of all pairs: those are points, not a heat map with holes.
  const searched = rows.length < 0.7 * lrs.length * dims.length;
  const tried = searched ? {
    type: "scatter", mode: "markers", x: rows.map((r) => Math.log10(r[0])), y: rows.map((r) => Math.log10(r[1])), text: rows.map((r) => told(r[0], r[1])), hoverinfo: "text",
    marker: {
      size: 13, symbol: rows.map((r) => (2 * r[3] >= r[4] ? "circle" : "x")), color: rows.map((r) => shade(r[2])), colorscale: "Cividis", reversescale: !m.higher, cmin: low, cmax: high,
      showscale: true, colorbar: bar, line: { color: colour("quiet"), width: 1 },
    },
  } : {
    type: "heatmap", x: edges(dims.map(Math.log10), 0.1), y: edges(lrs.map(Math.log10), 0.1), z: lrs.map((lr) => dims.map((d) => shade(cell.get(`${lr} ${d}`)?.middle ?? null))),
    text: lrs.map((lr) => dims.map((d) => told(d, lr))), texttemplate: "", hoverinfo: "text", hoverongaps: false, colorscale: "Cividis", reversescale: !m.higher, colorbar: bar,
  };
  const best = [...new Map(family.filter((one) => one.best).map((one) => [one.found, one.best])).values()];
  const chosen = {
    type: "scatter", mode: "markers", x: best.map((b) => Math.log10(b.d)), y: best.map((b) => Math.log10(b.lr)), hoverinfo: "text",
    text: best.map((b) => `d* = ${plain(b.words)}<br>the best learning rate there, ${number(b.lr, 2)}`),
    marker: { size: 17, symbol: "diamond", color: "#ff7f2a", line: { width: 2.5, color: "#ffffff" } },
  };
  const shown = searched ? "Points" : "Heat map";
  return {
    traces: [tried, chosen], layout: {
      xaxis: dimAxis([...dims, ...best.map((b) => b.d)]), yaxis: logAxis([...lrs, ...best.map((b) => b.lr)], "learning rate"), showlegend: false,
    },
    words: `${shown} of the median ${m.name} over d and ${lrs.length} learning rates.`,
    columns: ["d", "learning rate", `median ${m.name}`, "met the goal", "trials"], rows,
    again: `import subspan as ss\n\nstored = ss.report.experiments(${JSON.stringify(DATA.store)})\n` +
      `data = ss.report.lr_grid_data([s for s in stored if s.family == "${experiment().family}"], ${JSON.stringify(m.goals[chosenState.level])})\n` +
      'ss.report.save_figure(ss.report.draw_lr_grid(data), "lr-grid")',
  };
}

function againstNull() {
  const c = DATA.comparisons[chosenState.comparison];
  if (!c) return null;
  $("null-note").textContent = `${c.problem}: best ${c.metric}, mean and ${percent} % interval, at equal degrees of freedom; ${c.training}, seed ${c.seed}. ${c.footer}`;
  const methods = [...new Set(c.rows.map((r) => r.method))];
  const traces = methods.map((name, i) => {
    const rows = c.rows.filter((r) => r.method === name);
    const isNull = name === c.null;
    return {
      x: rows.map((r) => Math.log10(r.dim)), y: rows.map((r) => r.value), mode: "lines+markers", hoverinfo: "text", name: plain(isNull ? `${name} (null)` : name),
      text: rows.map((r) => `${plain(name)}, d = ${number(r.dim)}<br>${number(r.value)} [${number(r.low)}, ${number(r.high)}], ${r.repeats} repeats<br>${plain(r.verdict)}${r.note ? `<br>${plain(r.note)}` : ""}`),
      line: { color: isNull ? colour("ink") : series(i), width: isNull ? 3 : 1.8, dash: isNull ? "solid" : DASHES[Math.floor(i / 7) % 4] },
      marker: { size: 9, symbol: rows.map((r) => SYMBOLS[i % 7] + (isNull || ["better", "worse"].includes(r.verdict) ? "" : "-open")) },
      error_y: { type: "data", array: rows.map((r) => (r.high === null ? 0 : r.high - r.value)), arrayminus: rows.map((r) => (r.low === null ? 0 : r.value - r.low)), thickness: 1, width: 3 },
    };
  });
  const k = DATA.comparisons.indexOf(c);
  return {
    traces, layout: { xaxis: dimAxis(c.rows.map((r) => r.dim), "degrees of freedom d"), yaxis: { title: { text: `best ${plain(c.metric)}` } }, showlegend: true },
    words: `Best ${c.metric} of ${methods.length} methods over d. Verdicts are in the table below.`,
    columns: ["method", "d", "D/d", "mean", "low", "high", "to the null", "from", "to", "p (Holm)", "repeats", "verdict"],
    rows: c.rows.map((r) => [r.method, r.dim, r.compression, r.value, r.low, r.high, r.difference, r.difference_low, r.difference_high, r.p_adjusted, r.repeats, r.note ? `${r.verdict}: ${r.note}` : r.verdict]),
    again: `import subspan as ss\n\nstored = ss.report.experiments(${JSON.stringify(DATA.store)})\ntable = ss.report.comparisons(stored)[${k}].table\nprint("\\n".join(table.summary()))\n` +
      'ss.report.save_figure(ss.report.draw_compare_figure(ss.report.compare_figure_data(table)), "against-the-null")',
  };
}

function learning() {
  const curve = DATA.curves[chosenState.curve];
  if (!curve) return null;
  const one = DATA.table.experiments[curve.e], base = metric()?.name.split(":").at(-1);
  const own = Object.keys(curve.values).filter((name) => name.split(":").at(-1) === base);
  const names = own.length ? own : Object.keys(curve.values);
  const values = names.flatMap((name) => curve.values[name]).filter((v) => v !== null);
  const log = base === "loss" && values.every((v) => v > 0), height = (v) => (v === null || !log ? v : Math.log10(v));
  const title = plain(names.length === 1 ? names[0] : base);
  return {
    traces: names.map((name, i) => ({ x: curve.step, y: curve.values[name].map(height), mode: "lines+markers", name: plain(name), line: { color: series(i), dash: DASHES[i % 4] }, marker: { size: 6, symbol: SYMBOLS[i % 7] },
      hoverinfo: "text", text: curve.step.map((s, k) => `step ${number(s)}: ${number(curve.values[name][k])}`) })),
    layout: { xaxis: { title: { text: "step" } }, yaxis: log ? logAxis(values, title) : { title: { text: title } }, showlegend: names.length > 1 },
    words: `Learning curve of ${one.problem}, ${one.method}, d = ${curve.d}, repeat ${curve.repeat}: ${names.join(", ")} over ${curve.step.length} evaluations.`,
    columns: ["step", ...names], rows: curve.step.map((s, i) => [s, ...names.map((name) => curve.values[name][i])]),
    again: `import subspan as ss\n\nstored = ss.report.experiment(${JSON.stringify(DATA.store)}, "${one.id}")\nrecords = [r for r in stored.records if r.key.startswith("${curve.key}")]\n` +
      `ss.report.save_figure(ss.report.draw_learning_curves(ss.report.learning_curves_data(records, ${JSON.stringify(names)})), "learning-curve")`,
  };
}
