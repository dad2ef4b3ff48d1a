// The phase diagram of the start page: the report's own figure and controls, in the site's colours.

const dark = () => document.body.dataset.mdColorScheme === "slate";

function wear() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  refresh();
}

function start() {
  const own = problem();
  chosenState.experiment = own.first;
  chosenState.metric = own.metric;
  options($("experiment"), own.experiments.map(experimentName), own.first);
  fillMetric(own.level);
  document.querySelector("#s-phase img").remove();
  $("controls").hidden = false;
  figure("phase", phase);
  choose("experiment", (i) => { chosenState.experiment = i; });
  choose("goal", (i) => { chosenState.level = slot(i); });
  say();
  wear();
  draw(figures.get("phase"));
  sight.observe($("s-phase"));
  new MutationObserver(wear).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
}

start();
