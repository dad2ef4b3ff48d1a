// What `predict` and `spectroscopy` noted in the store: predictions beside measured d*, and spectra.

const commandAgain = (one, name) => one.again || `The store has no command: it was noted from Python, by \`ss.report.${name}\`.`;

function predicted() {
  const p = DATA.predictions[chosenState.prediction];
  if (!p) return null;
  const told = p.rows.filter((r) => r.at !== null);
  const doubts = p.rows.filter((r) => r.status !== "ok").map((r) => `${r.name}: ${r.status}`);
  $("predicted-note").textContent = `${p.problem} to ${p.words}: d of 90 % success, from the geometry of the loss alone and as trials measured it. ` +
    `Bars: the interval of a prediction's centre (the tick), and of a measured d*. Hollow: its status is not ok.` +
    [...doubts, ...p.notes].map((line) => ` ${line}.`).join("");
  if (!told.length) return null;
  const ends = told.flatMap((r) => [r.at, r.low, r.high, r.value]).filter((v) => v !== null && v > 0);
  const marks = (rows, name, k) => ({
    x: rows.map((r) => Math.log10(Math.max(r.at, 1))), y: rows.map((r) => plain(r.name)), mode: "markers", name, hoverinfo: "text",
    text: rows.map((r) => `${plain(r.name)}<br>90 % at d = ${number(Math.round(r.at))}<br>` +
      `${r.measured ? `${percent} % interval` : `centre ${number(r.value)}, its interval`} ${number(r.low)} to ${number(r.high)}<br>${plain(r.status)}`),
    marker: { size: 12, color: series(k), symbol: rows.map((r) => `${r.measured ? "circle" : "diamond"}${r.status === "ok" ? "" : "-open"}`), line: { width: 1.5, color: series(k) } },
  });
  const bars = told.filter((r) => r.low !== null && r.high !== null).map((r) => ({
    x: [Math.log10(Math.max(r.low, 1)), Math.log10(Math.max(r.high, 1))], y: [plain(r.name), plain(r.name)], mode: "lines", hoverinfo: "skip", showlegend: false,
    line: { color: series(r.measured ? 1 : 0), width: 3 },
  }));
  const centres = told.filter((r) => r.value !== null);
  const ticks = {
    x: centres.map((r) => Math.log10(Math.max(r.value, 1))), y: centres.map((r) => plain(r.name)), mode: "markers", hoverinfo: "skip", showlegend: false,
    marker: { symbol: "line-ns-open", size: 16, color: series(0), line: { width: 2.5, color: series(0) } },
  };
  return {
    traces: [...bars, ticks, marks(told.filter((r) => !r.measured), "predicted", 0), marks(told.filter((r) => r.measured), "measured", 1)],
    layout: {
      xaxis: dimAxis(ends), showlegend: true, margin: { l: 8, r: 16, t: 12, b: 52 },
      yaxis: { type: "category", categoryorder: "array", categoryarray: told.map((r) => plain(r.name)).reverse(), automargin: true },
    },
    words: `Predicted and measured d of 90 % success for ${p.problem} to ${p.words}: ${told.map((r) => `${r.name} ${number(Math.round(r.at))}`).join("; ")}.`,
    columns: ["what", "90 % at d", "centre", "low", "high", "status"],
    rows: p.rows.map((r) => [r.name, r.at, r.value, r.low, r.high, r.status]),
    again: commandAgain(p, "note_prediction"),
  };
}

function spectrum() {
  const s = DATA.spectra[chosenState.spectrum];
  if (!s) return null;
  const shares = s.dims.map(([share, d]) => `${number(share)} % of the energy lies in d = ${number(d)}`).join(", ");
  $("spectrum-note").textContent = `${s.problem}, ${s.method}: how far full-space training moves along each direction, singular values to the first. ${shares}, in at least half of the runs.`;
  const values = s.runs.flatMap((run) => run.s).filter((v) => v > 0);
  return {
    traces: s.runs.map((run, k) => ({
      x: run.i.map(Math.log10), y: run.s.map((v) => (v > 0 ? Math.log10(v) : null)), mode: "lines+markers", name: `run ${k}`, hoverinfo: "text",
      text: run.i.map((i, j) => `run ${k}, direction ${number(i)}<br>singular value ${number(run.s[j])} of the first<br>${number(100 * run.energy[j])} % of the energy up to here`),
      line: { color: series(k), dash: DASHES[k % 4] }, marker: { size: 5, symbol: SYMBOLS[k % 7] },
    })),
    layout: { xaxis: dimAxis(s.runs.flatMap((run) => run.i), "direction i"), yaxis: logAxis(values, "singular value, to the first"), showlegend: s.runs.length > 1 },
    words: `Singular values of ${s.runs.length} full-space runs of ${s.problem}. ${shares}.`,
    columns: ["run", "direction", "to the first", "energy up to it"],
    rows: s.runs.flatMap((run, k) => run.i.map((i, j) => [k, i, run.s[j], run.energy[j]])),
    again: commandAgain(s, "note_spectrum"),
  };
}
