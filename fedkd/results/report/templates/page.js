
"use strict";
// A click on a heading sorts its table: rising, then falling. What is no number comes last in a column of numbers.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (!heading.textContent) return;
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    const numbers = heading.classList.contains("number");
    const key = (row) => row.cells[column].textContent.trim();
    const number = (row) => Number.parseFloat(key(row).replace(/^< /, ""));
    const compare = numbers
      ? (one, other) => number(one) - number(other)
      : (one, other) => key(one).localeCompare(key(other), "en", { numeric: true });
    button.addEventListener("click", () => {
      const falling = heading.ariaSort === "ascending";
      for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...body.rows];
      const known = rows.filter((row) => !numbers || !Number.isNaN(number(row)));
      const unknown = rows.filter((row) => !known.includes(row));
      known.sort((one, other) => (falling ? compare(other, one) : compare(one, other)));
      body.append(...known, ...unknown);
    });
  });
}
