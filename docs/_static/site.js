/* for keyboards and screen readers: names for what the theme leaves without one, formulas that scroll, empty heads of tables */
document.addEventListener("DOMContentLoaded", () => {
  for (const toggle of document.querySelectorAll("summary:has(.toctree-toggle)"))
    toggle.setAttribute("aria-label", "Show or hide the pages of this part");
  for (const formula of document.querySelectorAll("div.math")) formula.tabIndex = 0;
  for (const head of document.querySelectorAll("th"))
    if (!head.textContent.trim()) {
      const cell = document.createElement("td");
      cell.className = head.className;
      head.replaceWith(cell);
    }
});
