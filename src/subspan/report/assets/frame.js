// The page's frame: data, elements, theme, and figures that are drawn when they come into sight.

const $ = (id) => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Plotly reads a few tags and entities in texts; names are shown as they are written.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(Number(value).toPrecision(digits)));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Okabe and Ito's colours, told apart by colour-blind readers, light ones on dark paper.
function series(i) {
  const light = ["#0072b2", "#b84a00", "#00704f", "#8c6d00", "#a0447c", "#1f78b4", "#555555"];
  const dark = ["#56b4e9", "#ff9f5a", "#5fd6ae", "#f0e442", "#e79ac6", "#9fd0ff", "#bbbbbb"];
  const used = document.documentElement.dataset.theme === "dark" ? dark : light;
  return used[i % used.length];
}

const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star", "x"];

function layout(more) {
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("grid"), linecolor: colour("quiet"), automargin: true };
  const made = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 64, r: 16, t: 12, b: 52 }, hovermode: "closest", dragmode: false,
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)" },
    ...more,
  };
  for (const key of Object.keys(made)) {
    if (/^[xy]axis\d*$/.test(key)) made[key] = { ...axis, ...made[key] };
  }
  return made;
}

// Beside the figure, or above it where the screen is narrow.
function colourBar(title, more = {}) {
  const narrow = { orientation: "h", y: 1.02, yanchor: "bottom", len: 1, thickness: 10, title: { text: title.replace("<br>", " "), side: "top" } };
  const wide = { title: { text: title }, thickness: 12, len: 0.9 };
  return { ...(innerWidth < 640 ? narrow : wide), ...more };
}

// --- figures -------------------------------------------------------------------------------------

const figures = new Map();

// `make()` returns {traces, layout, words, columns, rows, again}, or null where there is nothing;
// `more` pixels of height where a figure has many rows.
function figure(id, make) {
  const section = $(`s-${id}`);
  const plot = element("div", { class: "plot", id, role: "img" });
  const numbers = element("details", {}, element("summary", {}, "The numbers"));
  const again = element("details", {}, element("summary", {}, "Make it again"));
  const body = element("div", { class: "scroll", tabindex: "0", role: "region" });
  const code = element("pre", { tabindex: "0" }, element("code"));
  const title = section.querySelector("h2").textContent;
  body.setAttribute("aria-label", `${title}: the numbers`);
  code.setAttribute("aria-label", `${title}: how to make it again`);
  numbers.append(body);
  again.append(code);
  section.append(plot, numbers, again);
  const held = { section, plot, body, numbers, code, make, seen: false, stale: true };
  figures.set(id, held);
  numbers.addEventListener("toggle", () => numbers.open && fill(held));
}

let onPaper = false; // which no figure is told the size of: it is given one that fits A4 and Letter
const PAPER = 680;

function draw(held) {
  held.stale = false;
  if (held.made === null) return;
  if (!globalThis.Plotly) {
    sketch(held);
    return;
  }
  // A long legend stands above the figure and takes room of its own.
  const { traces, layout: { showlegend }, more = 0 } = held.made;
  const extra = more + 19 * Math.max(0, showlegend ? traces.length - 3 : 0);
  held.plot.style.height = extra > 0 ? `calc(${innerWidth < 640 ? 20 : 26}rem + ${extra}px)` : "";
  const size = onPaper ? { autosize: false, width: PAPER, height: held.plot.clientHeight } : {};
  held.plot.querySelector(".sketch")?.remove();
  Plotly.react(held.plot, held.made.traces, layout({ ...held.made.layout, ...size }), { displayModeBar: false, responsive: true });
  const drawn = held.plot.querySelector(".main-svg");
  if (!onPaper && drawn && drawn.clientWidth !== held.plot.clientWidth) Plotly.Plots.resize(held.plot);
}

function fill(held) {
  if (held.made) held.body.replaceChildren(simpleTable(held.made.columns, held.made.rows));
}

// Make again what a choice changed; draw it at once where it is in sight, else when it comes there.
function refresh(ids = [...figures.keys()]) {
  for (const id of ids) {
    const held = figures.get(id);
    held.made = held.make();
    held.stale = true;
    held.section.classList.toggle("missing", held.made === null);
    if (held.made === null) continue;
    held.plot.setAttribute("aria-label", held.made.words);
    held.code.firstChild.textContent = held.made.again;
    if (held.numbers.open) fill(held);
    if (held.seen) draw(held);
  }
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const held = figures.get(entry.target.id.slice(2));
    held.seen = entry.isIntersecting;
    if (held.seen && held.stale) draw(held);
  }
}, { rootMargin: "300px" });

function drawAll() {
  for (const held of figures.values()) if (held.stale) draw(held);
}

function simpleTable(columns, rows) {
  const numeric = columns.map((_, i) => rows.every((row) => typeof row[i] === "number" || row[i] === null));
  const head = element("tr", {}, ...columns.map((name, i) => element("th", { scope: "col", class: numeric[i] ? "number" : "" }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((value, i) =>
    element("td", { class: numeric[i] ? "number" : "" }, typeof value === "string" ? value : number(value)))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}
