// The table of trials: filtered, sorted and shown fifty at a time.

const PAGE = 50;
const tableState = { order: [], sort: null, down: false, page: 0 };

function trialColumns() {
  const t = DATA.table, of = (name) => (i) => t[name][i], about = (name) => (i) => t.experiments[t.e[i]][name];
  return [
    { name: "problem", get: about("problem") }, { name: "method", get: about("method") }, { name: "training", get: about("training") },
    { name: "d", get: of("d"), numeric: true }, { name: "seed", get: of("seed"), numeric: true }, { name: "repeat", get: of("repeat"), numeric: true },
    { name: "outcome", get: of("outcome") }, { name: "steps", get: of("steps"), numeric: true },
    ...Object.keys(t.best).map((name) => ({ name: `best ${name}`, get: (i) => t.best[name][i], numeric: true })),
    { name: "key", get: of("key") },
  ];
}

function buildTable() {
  const columns = trialColumns();
  const heads = columns.map((column, k) => {
    const button = element("button", { type: "button" }, column.name);
    const head = element("th", { scope: "col", class: column.numeric ? "number" : "" }, button);
    button.addEventListener("click", () => {
      tableState.down = tableState.sort === k ? !tableState.down : false;
      tableState.sort = k;
      heads.forEach((h, j) => (j === k ? h.setAttribute("aria-sort", tableState.down ? "descending" : "ascending") : h.removeAttribute("aria-sort")));
      filterTable();
    });
    return head;
  });
  $("trials").tHead.replaceChildren(element("tr", {}, ...heads, element("th", { scope: "col" }, "curve")));
  for (const id of ["filter", "from", "to"]) $(id).addEventListener("input", filterTable);
  $("back").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  filterTable();
}

function filterTable() {
  const columns = trialColumns(), t = DATA.table;
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const low = $("from").value === "" ? -Infinity : Number($("from").value);
  const high = $("to").value === "" ? Infinity : Number($("to").value);
  const texts = t.experiments.map((e) => `${e.problem} ${e.method} ${e.training} ${e.id}`.toLowerCase());
  tableState.order = t.e.map((_, i) => i).filter((i) => {
    if (t.d[i] < low || t.d[i] > high) return false;
    const text = `${texts[t.e[i]]} ${t.outcome[i]} ${t.key[i]}`;
    return words.every((word) => text.includes(word));
  });
  if (tableState.sort !== null) {
    const { get } = columns[tableState.sort], sign = tableState.down ? -1 : 1;
    const rank = (i) => get(i) ?? Infinity;
    tableState.order.sort((a, b) => sign * (rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : a - b));
  }
  tableState.page = 0;
  showTable();
}

function turn(by) {
  tableState.page += by;
  showTable();
}

function showTable() {
  const columns = trialColumns(), { order, page } = tableState, t = DATA.table;
  const shown = order.slice(page * PAGE, (page + 1) * PAGE);
  $("trials").tBodies[0].replaceChildren(...shown.map((i) => {
    const cells = columns.map(({ get, numeric }) => element("td", { class: numeric ? "number" : "" }, numeric ? number(get(i)) : String(get(i))));
    const last = element("td");
    if (t.curve[i] >= 0) {
      const button = element("button", { type: "button", "aria-label": `Learning curve of trial ${t.key[i]}` }, "show");
      button.addEventListener("click", () => showCurve(t.curve[i]));
      last.append(button);
    }
    return element("tr", {}, ...cells, last);
  }));
  const thinned = t.shown < t.all ? ` (spread over all dims, of ${t.all.toLocaleString("en")} in the store)` : "";
  const first = order.length ? page * PAGE + 1 : 0;
  $("count").textContent = `${first.toLocaleString("en")}–${Math.min((page + 1) * PAGE, order.length).toLocaleString("en")} of ${order.length.toLocaleString("en")} trials${thinned}`;
  $("back").disabled = page === 0;
  $("next").disabled = (page + 1) * PAGE >= order.length;
}

function showCurve(k) {
  chosenState.curve = k;
  $("trial").value = String(k);
  refresh(["learning"]);
  $("s-learning").scrollIntoView({ block: "center" });
  $("trial").focus();
}
