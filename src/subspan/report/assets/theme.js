// The theme: as the reader prefers, or chooses by the button; on paper light.

function wear(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", String(theme === "dark"));
  refresh();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
const theme = () => chosen ?? (prefersDark.matches ? "dark" : "light");
prefersDark.addEventListener("change", () => wear(theme()));

// On paper: dark on white, and every figure, in the size of a page.
function forPaper() {
  for (const folded of document.querySelectorAll("#headline details")) folded.open = true;
  onPaper = true;
  wear("light");
  drawAll();
}

function forScreen() {
  onPaper = false;
  wear(theme());
}
addEventListener("beforeprint", forPaper);
addEventListener("afterprint", forScreen);
matchMedia("print").addEventListener("change", (event) => (event.matches ? forPaper() : forScreen()));
