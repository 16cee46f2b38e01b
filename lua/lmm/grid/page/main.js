// The bars above the table, the keys, and the beginning.

// ---- the bars

function press(button, isOn) { button.setAttribute("aria-pressed", String(isOn)); }

function drawFilters() {
  byId("filters").replaceChildren(...usefulFilters().map((filter) => element("button", { type: "button", "aria-pressed": String(view.filter === filter.key),
    onclick: () => { view.filter = filter.key; drawFilters(); draw(); } }, filter.name)));
}

// The values of an axis, each to be shown or not.
function valueMenu(axis) {
  const boxes = axis.values.map((value, i) => element("label", null, element("input", { type: "checkbox", checked: !axis.hidden.has(i),
    onchange: (event) => { if (event.target.checked) axis.hidden.delete(i); else axis.hidden.add(i); drawAxes.count(axis); draw(); } }), element("span", null, value.name)));
  const all = (isOn) => { axis.hidden = new Set(isOn ? [] : axis.values.keys()); boxes.forEach((box) => { box.firstChild.checked = isOn; }); drawAxes.count(axis); draw(); };
  return element("div", { class: "menu" }, element("div", { class: "row" },
    element("button", { type: "button", class: "quiet", onclick: () => all(true) }, "All"), element("button", { type: "button", class: "quiet", onclick: () => all(false) }, "None")), boxes);
}

function axisChip(axis) {
  const isRow = view.rows.includes(axis);
  const count = element("span", { class: "faint" });
  axis.counter = count;
  const menu = element("details", { class: "values", ontoggle: () => { if (menu.open && menu.children.length === 1) menu.append(valueMenu(axis)); } },
    element("summary", { title: "Choose which are shown", "aria-label": axis.name + ": choose which are shown" }, count));
  return element("div", { class: "axis" }, element("button", { type: "button", "data-axis": axis.key, title: isRow ? "Put into the columns" : "Put into the rows",
    onclick: () => moveAxis(axis) }, axis.name), menu);
}

function drawAxes() {
  byId("rows-axes").replaceChildren(...view.rows.map(axisChip));
  byId("columns-axes").replaceChildren(...view.columns.map(axisChip));
  axes.forEach((axis) => drawAxes.count(axis));
  document.querySelector(".bar.axes").classList.toggle("single", view.rows.length + view.columns.length === 0);
}

drawAxes.count = (axis) => {
  if (!axis.counter) return;
  const hidden = axis.hidden.size, all = axis.values.length;
  axis.counter.textContent = (hidden ? all - hidden + " of " + all : all) + " ▾";
};

function moveAxis(axis) {
  const [from, to] = view.rows.includes(axis) ? ["rows", "columns"] : ["columns", "rows"];
  view[from] = view[from].filter((each) => each !== axis);
  view[to] = [...view[to], axis];
  view.column = -1;
  drawAxes();
  draw();
}

function turn() {
  [view.rows, view.columns] = [view.columns, view.rows];
  view.column = -1;
  drawAxes();
  draw();
}

function drawOrder() { byId("order").textContent = view.ascending ? "↑" : "↓"; }

// A click on a column's head: by that column, then the other way round, then by all of them.
function sortBy(column) {
  if (view.sort === "given") view.sort = head.has_check ? "score" : "total";
  if (view.column !== column) { view.column = column; view.ascending = view.sort !== "score"; }
  else if (view.ascending === (view.sort !== "score")) view.ascending = !view.ascending;
  else { view.column = -1; view.sort = "given"; view.ascending = true; }
  byId("sort").value = view.sort;
  drawOrder();
  draw();
}

function toggleDifferences() {
  view.differ = !view.differ;
  press(byId("differ"), view.differ);
  draw();
}

function showAll() {
  view.search = byId("search").value = "";
  view.filter = "all";
  axes.forEach((axis) => axis.hidden.clear());
  drawFilters();
  drawAxes();
  draw();
}

// ---- the keys

const KEYS = [
  ["← ↑ ↓ →", "move between the cells (h k j l, too)"], ["Enter", "the whole answer, its request and its picture"], ["s", "star"], ["n", "note"],
  ["/", "search"], ["d", "mark the words that differ"], ["t", "turn the table"], ["Esc", "close, or leave the search"], ["?", "these keys"],
];

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], h: [0, -1], l: [0, 1], k: [-1, 0], j: [1, 0] };

function showKeys() {
  const close = element("button", { type: "button", "aria-label": "Close", onclick: () => byId("keys").close() }, "✕");
  byId("keys").replaceChildren(element("header", null, element("h2", null, "Keys"), close),
    element("dl", null, KEYS.flatMap(([key, words]) => [element("dt", null, element("kbd", null, key)), element("dd", null, words)])));
  byId("keys").showModal();
}

// What a key does to the cell that has the focus, or whose answer is open.
function keyOnCell(key, cell) {
  if (MOVES[key]) {
    const next = neighbour(cell, ...MOVES[key]);
    if (next && opened) openDetail(next); else if (next) focusCell(tdOf.get(next));
    return true;
  }
  if (key === "s") { toggleStar(cell); refreshCell(cell); if (opened) openDetail(cell); return true; }
  if (key === "n" || key === "Enter") {
    if (!opened) openDetail(cell);
    if (key === "n") detail.querySelector("textarea")?.focus();
    return true;
  }
  return false;
}

const ACTIONS = { "/": () => byId("search").focus(), d: toggleDifferences, t: turn, "?": showKeys };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.matches("textarea, input, select")) {
    if (event.key === "Escape" && target === byId("search")) target.blur();
    return;
  }
  if (target.matches("button, summary, a") && event.key === "Enter") return;
  const cell = opened ?? target.cell, first = body.querySelector("td.cell");
  if (cell && !byId("keys").open && keyOnCell(event.key, cell)) event.preventDefault();
  else if (MOVES[event.key] && target === document.body && first) { event.preventDefault(); focusCell(first); }
  else if (ACTIONS[event.key] && !opened && !byId("keys").open) { event.preventDefault(); ACTIONS[event.key](); }
});

// ---- the beginning

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
}

function toggleTheme() {
  const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(isDark ? "light" : "dark");
  try { localStorage.setItem("lmm grid theme", isDark ? "light" : "dark"); } catch { /* for this time alone */ }
}

function drawFacts() {
  const words = axes.filter((axis) => axis.values.length > 1).map((axis) => axis.values.length + " " + ({ Try: "tries", Settings: "settings" }[axis.name] ?? axis.name.toLowerCase() + "s"));
  if (head.summary.score != null) words.push("score " + score(head.summary.score));
  const broken = head.summary.check_errors;
  if (broken > 0) words.push(broken + (broken > 1 ? " checks" : " check") + " failed to run");
  const cost = data.cells.reduce((sum, cell) => cell.cost == null ? sum : (sum ?? 0) + cell.cost, null);
  if (cost != null) words.push(money(cost));
  words.push(new Date(head.made).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
  byId("facts").textContent = words.join(" · ");
  // What is the same for all cells.
  byId("fixed").append(...axes.filter((axis) => !isShown(axis) && valueOf(data.cells[0], axis).name && axis.key !== "repeat")
    .map((axis) => element("span", { title: valueOf(data.cells[0], axis).text }, element("b", null, axis.name), " " + valueOf(data.cells[0], axis).name)));
}

// A page that is served is loaded anew when it was made anew, unless something is being read or written in it.
function followVersions() {
  let known = null;
  const look = () => fetch(served("version")).then((answer) => answer.json()).then(({ version }) => {
    if (known !== null && version && version !== known && !detail.open) location.reload();
    else if (known === null) known = version;
  }).catch(() => {}).finally(() => setTimeout(look, 1000));
  look();
}

let pending;
byId("search").addEventListener("input", (event) => {
  clearTimeout(pending);
  pending = setTimeout(() => { view.search = event.target.value; draw(); }, data.cells.length > 300 ? 120 : 0);
});
byId("sort").append(...usefulSorts().map((sort) => element("option", { value: sort.key }, sort.name)));
byId("sort").addEventListener("change", (event) => { view.sort = event.target.value; view.ascending = view.sort !== "score"; drawOrder(); draw(); });
byId("order").addEventListener("click", () => { view.ascending = !view.ascending; drawOrder(); draw(); });
byId("differ").addEventListener("click", toggleDifferences);
byId("turn").addEventListener("click", turn);
byId("reset").addEventListener("click", showAll);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", showKeys);
addEventListener("click", (event) => document.querySelectorAll("details.values[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));

try { setTheme(localStorage.getItem("lmm grid theme")); } catch { /* as the system has it */ }
arrange();
drawFacts();
drawFilters();
drawAxes();
draw();
loadNotes().then(() => { if (notes.size) draw(); }).catch(() => tell("The notes cannot be loaded."));
if (isServed) followVersions();
