// For screen readers: a button to copy is no landmark, nor is a part of the table of contents.

function name() {
  for (const made of document.querySelectorAll("nav.md-code__nav:not([role])")) made.setAttribute("role", "none");
}

for (const part of document.querySelectorAll(".md-nav--secondary .md-nav")) {
  part.removeAttribute("aria-label");
  part.setAttribute("role", "none");
}
document.querySelector(".md-search").setAttribute("aria-label", "Search");
new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
name();
