// Figures of what is noted beside the trials: predictions beside measured thresholds, and spectra.

const intervalOf = (row) => (row.low === null && row.high === null ? "" : ` [${number(row.low)}, ${number(row.high)}]`);

function rowWords(row) {
  if (row.measured) return `${plain(row.name)}: ${plain(row.told)}, ${plain(row.status)}`;
  if (row.value === null) return `${plain(row.name)}: no estimate, ${plain(row.status)}`;
  const end = row.at90 === null ? "" : `<br>success of 90 % at ${number(row.at90)}`;
  const rests = row.samples ? `<br>${row.samples} directions` : "";
  return `${plain(row.name)}, ${plain(row.status)}<br>centre ${number(row.value)}${intervalOf(row)}${end}${rests}`;
}

// A trace of marks: predictions have a centre with its interval and, filled, the d of 90 % success.
function marksOf(rows, names, of, name, look, withInterval) {
  const shown = rows.filter((row) => of(row) > 0);
  const at = (v) => Math.log10(Math.max(v, 1));
  const error = withInterval ? {
    type: "data", thickness: 2, width: 6, color: look.color,
    array: shown.map((row) => (row.high === null ? 0 : Math.max(0, at(row.high) - at(of(row))))),
    arrayminus: shown.map((row) => (row.low === null ? 0 : Math.max(0, at(of(row)) - at(row.low)))),
  } : undefined;
  return {
    x: shown.map((row) => at(of(row))), y: shown.map((row) => names[rows.indexOf(row)]), mode: "markers", name, hoverinfo: "text",
    text: shown.map(rowWords), error_x: error, marker: { size: 11, line: { width: 2, color: look.color }, ...look },
  };
}

function foretold() {
  const one = DATA.predictions[chosenState.prediction];
  if (!one) return null;
  const narrow = innerWidth < 640;
  const names = one.rows.map((row, i) => {
    const told = `${plain(row.name)}${row.status === "ok" ? "" : `<br><i>${plain(row.status)}</i>`}`;
    return (narrow ? told.replace(/ \(|, /, (s) => (s === ", " ? ",<br>" : "<br>(")) : told) + "\u200b".repeat(i); // equal names stay apart
  });
  $("foretold-note").textContent = one.told;
  const own = (measured) => one.rows.map((row) => (Boolean(row.measured) === measured ? row : { ...row, value: null, at90: null }));
  const predicted = own(false), measured = own(true);
  const hollow = (rows, of) => rows.filter((row) => of(row) > 0).map((row) => (row.status === "ok" ? "" : "-open"));
  const ninety = (row) => row.at90, centre = (row) => row.value;
  const traces = [
    marksOf(predicted, names, centre, "predicted: half succeed", { color: series(0), symbol: "line-ns-open", size: 16 }, true),
    marksOf(predicted, names, ninety, "predicted: 90 % succeed", { color: series(0), symbol: hollow(predicted, ninety).map((s) => `diamond${s}`) }, false),
    marksOf(measured, names, ninety, "measured: d*, 90 % succeed", { color: series(1), symbol: hollow(measured, ninety).map((s) => `circle${s}`) }, true),
  ].filter((trace) => trace.x.length);
  const dims = one.rows.flatMap((row) => [row.value, row.low, row.high, row.at90]).filter((v) => v !== null && v >= 1);
  if (!dims.length) dims.push(1, one.ambient);
  const level = one.level ? ` It is predicted at ${one.level}, where full-space training first meets the goal.` : "";
  return {
    traces,
    layout: {
      xaxis: dimAxis(dims), showlegend: true,
      yaxis: { categoryorder: "array", categoryarray: names, autorange: "reversed", type: "category" },
    },
    more: Math.max(0, one.rows.length * 58 - (narrow ? 150 : 300)),
    words: `${one.problem}: ${one.told}${level} ${one.notes.join("; ")}`,
    columns: ["what", "centre", "low", "high", "90 % at", "status"],
    rows: [
      ...one.rows.map((row) => [row.name, row.value, row.low, row.high, row.at90, row.status]),
      ...one.notes.map((note) => [note, null, null, null, null, ""]),
    ],
    again: one.again,
  };
}

function spectrum() {
  const one = DATA.spectra[chosenState.spectrum];
  if (!one) return null;
  $("spectrum-note").textContent = `${one.told}. ` + one.marks.map((m) => `${number(100 * m.share)} % of ${one.energy} lies in ${number(m.d)} directions`).join(", ") + ` of ${number(one.ambient)}.`;
  const values = one.lines.flatMap((line) => line.value), index = one.lines.flatMap((line) => line.i);
  const alone = one.lines.length === 1;
  const traces = one.lines.map((line, k) => ({
    x: line.i.map(Math.log10), y: line.value.map(Math.log10), mode: "lines+markers", name: plain(line.name), hoverinfo: "text",
    text: line.i.map((i, j) => `${plain(line.name)}, i = ${number(i)}<br>${one.symbol} = ${number(line.value[j])}${one.symbol === "σ" ? " of the first" : ""}<br>${number(100 * line.energy[j], 3)} % of ${one.energy} up to here`),
    line: { color: series(k), width: 1.8, dash: DASHES[Math.floor(k / 7) % 4] }, marker: { size: 4, color: series(k) }, opacity: alone ? 1 : 0.75,
  }));
  const shapes = one.marks.map((m) => ({ type: "line", yref: "paper", y0: 0, y1: 1, x0: Math.log10(Math.max(m.d, 1)), x1: Math.log10(Math.max(m.d, 1)), line: { color: colour("mark"), width: 1.2, dash: "dash" } }));
  const middle = Math.sqrt(Math.min(...index) * Math.max(...index)); // beside its line, towards the middle
  const annotations = one.marks.map((m, k) => ({
    x: Math.log10(Math.max(m.d, 1)), yref: "paper", y: 0.98 - 0.08 * k, text: `${number(100 * m.share)} %: ${number(m.d)}`, showarrow: false,
    ...(m.d < middle ? { xanchor: "left", xshift: 4 } : { xanchor: "right", xshift: -4 }), font: { color: colour("mark"), size: 12 },
  }));
  const axis = logAxis(values, one.axis);
  return {
    traces, layout: { xaxis: logAxis(index, "index i"), yaxis: axis, shapes, annotations, showlegend: !alone },
    words: `${one.name}. ${$("spectrum-note").textContent}`,
    columns: ["line", "i", one.axis, `share of ${one.energy} up to i`],
    rows: one.lines.flatMap((line) => line.i.map((i, j) => [line.name, i, line.value[j], line.energy[j]])),
    again: one.again,
  };
}
