// What a browser adds to the pages: a filter, sorting, the choice of a route, and buttons that copy. All of them work
// on what stands in the page as text; nothing is fetched, and no text is ever taken for HTML.
"use strict";

function cellText(row, column) {
  return row.cells[column].textContent.trim();
}

function compare(a, b) {
  const x = parseFloat(a), y = parseFloat(b);
  if (a === "" || b === "") return (a === "") - (b === "");
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).map((row) => [cellText(row, column), row]);
  // What is empty stays last, whichever way.
  rows.sort((a, b) => (a[0] === "" || b[0] === "" || !down ? compare(a[0], b[0]) : compare(b[0], a[0])));
  body.append(...rows.map((pair) => pair[1]));
}

function makeSortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sortBy(table, column));
    header.replaceChildren(button);
  });
}

function makeFilter(input) {
  const rows = Array.from(document.getElementById("artefacts").tBodies[0].rows);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById("count");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      shown += !row.hidden;
    });
    count.textContent = shown === 1 ? "1 artefact" : `${shown} artefacts`;
  });
}

function makePicker(picker) {
  const rows = Array.from(document.getElementById("routes").tBodies[0].rows);
  const ends = [document.getElementById("from"), document.getElementById("to")];
  ends.forEach((select, column) => {
    for (const name of new Set(rows.map((row) => cellText(row, column)))) select.add(new Option(name, name));
    select.addEventListener("change", choose);
  });
  function choose() {
    const chosen = new Set();
    for (const row of rows) {
      row.hidden = !ends.every((select, column) => !select.value || select.value === cellText(row, column));
      if (!row.hidden && ends.every((select) => select.value)) row.dataset.lines.split(" ").forEach((id) => chosen.add(id));
    }
    for (const line of document.querySelectorAll(".line")) line.classList.toggle("chosen", chosen.has(line.id));
  }
  picker.hidden = false;
}

function makeCopy(block) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(block.querySelector("code"));
      button.textContent = "Selected";
    }
  });
  block.append(button);
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".code").forEach(makeCopy);
const filter = document.getElementById("filter");
if (filter) makeFilter(filter);
const picker = document.getElementById("picker");
if (picker) makePicker(picker);
