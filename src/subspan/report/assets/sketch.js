// The first picture: the phase diagram from the same traces and axes, before plotly is read, which
// takes a second or two of a busy processor. It is no figure of its own: plotly's takes its place.

const CIVIDIS = [
  [0, 32, 76], [0, 42, 102], [0, 52, 110], [39, 63, 108], [60, 74, 107], [76, 85, 107], [91, 95, 109], [104, 106, 112], [117, 117, 117],
  [131, 129, 120], [146, 140, 120], [161, 152, 118], [176, 165, 114], [192, 177, 109], [209, 191, 102], [225, 204, 92], [243, 219, 79], [255, 233, 69],
];

function cividis(share) {
  const at = share * (CIVIDIS.length - 1), below = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return `rgb(${CIVIDIS[below].map((from, k) => Math.round(from + (at - below) * (CIVIDIS[below + 1][k] - from)))})`;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function sketch({ plot, made: { traces: [heat, line, chosenMark], layout: { xaxis, yaxis, shapes } } }) {
  const width = plot.clientWidth, height = plot.clientHeight, narrow = innerWidth < 640;
  const box = { left: 82, right: width - (narrow ? 16 : 112), top: narrow ? 113 : 12, bottom: height - 53 };
  const [x0, x1] = xaxis.range, low = heat.y[0], high = heat.y.at(-1), down = yaxis.autorange === "reversed";
  const x = (v) => box.left + ((v - x0) / (x1 - x0)) * (box.right - box.left);
  const y = (v) => box.bottom - ((down ? high - v : v - low) / (high - low)) * (box.bottom - box.top);
  const svg = drawn("svg", { class: "sketch", width, height, "aria-hidden": "true", "font-size": 13, fill: colour("ink") });
  heat.z.forEach((row, j) => row.forEach((share, i) => {
    if (share === null) return;
    const top = Math.min(y(heat.y[j]), y(heat.y[j + 1])), tall = Math.abs(y(heat.y[j]) - y(heat.y[j + 1]));
    svg.append(drawn("rect", { x: x(heat.x[i]), y: top, width: x(heat.x[i + 1]) - x(heat.x[i]), height: tall, fill: cividis(share), "shape-rendering": "crispEdges" }));
  }));
  const level = shapes[0];
  svg.append(drawn("path", { d: `M${box.left} ${y(level.y0)}H${box.right}`, stroke: "#ffffff", "stroke-width": level.line.width, "stroke-dasharray": "2 3" }));
  const points = line.x.map((v, i) => [x(v), y(line.y[i])]);
  const spans = points.map(([px, py], i) => `M${x(line.x[i] - line.error_x.arrayminus[i])} ${py}H${x(line.x[i] + line.error_x.array[i])}`);
  svg.append(drawn("path", { d: spans.join(""), stroke: line.line.color, "stroke-width": 1.4 }));
  svg.append(drawn("polyline", { points: points.join(" "), fill: "none", stroke: line.line.color, "stroke-width": line.line.width }));
  points.forEach(([cx, cy], i) => {
    const open = line.marker.symbol[i].endsWith("-open");
    svg.append(drawn("circle", { cx, cy, r: 4, fill: open ? "none" : line.line.color, stroke: line.line.color, "stroke-width": 1.5 }));
  });
  chosenMark.x.forEach((v, i) => {
    const cx = x(v), cy = y(chosenMark.y[i]);
    svg.append(drawn("path", { d: `M${cx - 10} ${cy}L${cx} ${cy - 10}L${cx + 10} ${cy}L${cx} ${cy + 10}Z`, fill: line.line.color, stroke: "#ffffff", "stroke-width": 2.5 }));
  });
  xaxis.tickvals.forEach((v, i) => svg.append(drawn("text", { x: x(v), y: box.bottom + 18, "text-anchor": "middle" }, xaxis.ticktext[i])));
  yaxis.tickvals.forEach((v, i) => svg.append(drawn("text", { x: box.left - 5, y: y(v) + 4.5, "text-anchor": "end" }, yaxis.ticktext[i])));
  const middle = (box.top + box.bottom) / 2, bar = Array.from({ length: narrow ? 0 : 50 }, (_, i) => i / 49);
  bar.forEach((share) => svg.append(drawn("rect", { x: box.right + 27, y: box.bottom - 30 - share * 240, width: 12, height: 5.5, fill: cividis(share) })));
  if (!narrow) for (const [dy, text] of [[-310, "success"], [-295, "rate"]]) svg.append(drawn("text", { x: box.right + 27, y: box.bottom + dy }, text));
  if (!narrow) for (const share of [0, 0.5, 1]) svg.append(drawn("text", { x: box.right + 44, y: box.bottom - 24 - share * 240 }, String(share)));
  svg.append(
    drawn("text", { x: (box.left + box.right) / 2, y: box.bottom + 42, "text-anchor": "middle", "font-size": 15 }, xaxis.title.text),
    drawn("text", { x: 0, y: 0, transform: `translate(16 ${middle}) rotate(-90)`, "text-anchor": "middle", "font-size": 15 }, metric() ? `goal: ${metric().name} ${metric().higher ? "≥" : "≤"}` : ""),
  );
  plot.replaceChildren(svg);
}
