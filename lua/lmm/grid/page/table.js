// Draws the table, some cells at a time: more come as the reader gets there.

const CHUNK = 240;         // cells that are drawn at once
const MOST_TEXT = 4000;    // characters of an answer in the table
const table = byId("grid"), body = table.tBodies[0];
let drawn = { columns: [], rows: [] }, nextRow = 0;

// ---- a cell

function facts(cell) {
  const list = [];
  const add = (text, title, kind) => { if (text != null) list.push(element("span", { title, class: kind }, text)); };
  add(seconds(cell.first), "time to first token", "first");
  add(seconds(cell.total), "total time");
  if (cell.tokens != null) add(number(cell.tokens) + " tok", number(cell.prompt_tokens) + " tokens in, " + number(cell.tokens) + " out");
  add(money(cell.cost), "cost");
  if (cell.finish != null) add(cell.finish, "finish reason", isCut(cell) ? "cut" : "finish");
  return list;
}

function badge(cell) {
  if (cell.check === undefined || cell.text === undefined) return null;
  const fails = isFailing(cell);
  const words = typeof cell.check === "number" ? score(cell.check) : fails ? "✗" : "✓";
  return element("span", { class: "badge " + (fails ? "bad" : "good"), title: cell.why ?? (fails ? "the check says no" : "the check says yes") }, words);
}

function starButton(cell) {
  const isOn = Boolean(noteOf(cell).star);
  return element("button", { class: "star", type: "button", "aria-pressed": String(isOn), tabIndex: -1, title: "Star (s)", "aria-label": "Star", disabled: !cell.key,
    onclick: (event) => { event.stopPropagation(); toggleStar(cell); refreshCell(cell); } }, isOn ? "★" : "☆");
}

function answerNodes(cell, others) {
  let text = cell.text.trim() || cell.refusal || "";
  if (!text && cell.calls) text = cell.calls.map((call) => call.name + "(" + call.arguments + ")").join("\n");
  if (!text) return [element("em", { class: "faint" }, "an empty answer")];
  const isLong = text.length > MOST_TEXT;
  if (isLong) text = text.slice(0, MOST_TEXT);
  const nodes = others ? markedNodes(text, others) : [text];
  return isLong ? [...nodes, element("span", { class: "faint" }, " … " + number(cell.text.length) + " characters")] : nodes;
}

function fillCell(td, cell, row) {
  const note = noteOf(cell).note, problem = problemOf(cell);
  const others = view.differ ? row.cells.filter((other) => other !== cell && other.text !== undefined)
    .map((other) => other.text.slice(0, MOST_TEXT)) : null;
  td.className = "cell" + (problem ? " error" : "") + (row.shown.has(cell) ? "" : " other");
  td.replaceChildren(problem ? element("p", { class: "answer problem" }, cell.missing ? "Not asked: " + problem : problem)
    : element("p", { class: "answer", dir: "auto" }, answerNodes(cell, others)));
  if (note) td.append(element("p", { class: "note" }, note));
  td.append(element("div", { class: "foot" }, badge(cell), element("p", { class: "facts" }, facts(cell)), starButton(cell)));
}

const tdOf = new Map(), rowOf = new Map();

function refreshCell(cell) {
  const td = tdOf.get(cell);
  if (td) fillCell(td, cell, rowOf.get(cell));
}

// ---- rows and columns

function thumbnail(picture) {
  const source = picture.src ?? picture.url ?? picture.href;
  if (!source || picture.kind !== "image") return element("span", { class: "no-picture" }, picture.kind ?? "");
  return element("img", { src: source, alt: picture.name, loading: "lazy", decoding: "async", referrerPolicy: "no-referrer" });
}

function headingOf([axis, i]) {
  const value = axis.values[i];
  if (axis.key !== "image") return element("div", { class: "value " + axis.key, title: value.text ?? value.server }, value.name);
  return element("div", { class: "value image", title: value.path ?? value.url },
    thumbnail(value), element("div", { class: "name" }, value.name), element("div", { class: "faint" }, pictureFacts(value)));
}

// What a column has come to.
function summaryOf(cells) {
  const answered = cells.filter((cell) => cell.text !== undefined);
  const words = [];
  if (head.has_check) words.push(score(mean(cells.map(scoreOf))) + " score");
  const times = mean(answered.map((cell) => cell.total));
  if (times != null) words.push("⌀ " + seconds(times));
  const tokens = mean(answered.map((cell) => cell.tokens));
  if (tokens != null) words.push("⌀ " + number(tokens) + " tok");
  const costs = answered.map((cell) => cell.cost).filter((cost) => cost != null);
  if (costs.length) words.push(money(costs.reduce((sum, cost) => sum + cost, 0)));
  const problems = cells.length - answered.length;
  return [words.join(" · "), problems ? element("span", { class: "bad" }, (words.length ? " · " : "") + problems + (problems > 1 ? " errors" : " error")) : null];
}

function drawHead() {
  const cells = drawn.columns.map((column, i) => {
    const isSorted = view.sort !== "given" && view.column === i;
    return element("th", { scope: "col", class: isSorted ? "sorted" : null, "aria-sort": isSorted ? (view.ascending ? "ascending" : "descending") : null },
      element("button", { type: "button", class: "column", title: "Sort by this column", onclick: () => sortBy(i) },
        column.length ? column.map(headingOf) : "Answer", isSorted ? element("span", { class: "arrow" }, view.ascending ? " ↑" : " ↓") : null),
      element("div", { class: "summary" }, summaryOf(drawn.rows.map((row) => row.cells[i]))));
  });
  const corner = view.rows.length ? [element("th", { class: "corner", scope: "col" }, view.rows.map((axis) => axis.name).join(", "))] : [];
  table.tHead.replaceChildren(element("tr", null, corner, cells));
}

function drawRow(row) {
  const tr = element("tr", null, view.rows.length ? element("th", { scope: "row" }, row.axes.map(headingOf)) : null);
  row.cells.forEach((cell, i) => {
    const td = element("td", { tabIndex: -1, "data-label": nameOf(drawn.columns[i]) });
    td.cell = cell;
    tdOf.set(cell, td);
    rowOf.set(cell, row);
    fillCell(td, cell, row);
    tr.append(td);
  });
  return tr;
}

function drawMore(most) {
  const rows = [];
  for (let left = most; nextRow < drawn.rows.length && left > 0; left -= drawn.columns.length) rows.push(drawRow(drawn.rows[nextRow++]));
  body.append(...rows);
}

// Draws everything anew.
function draw() {
  const focused = document.activeElement?.cell;
  drawn = pivot();
  nextRow = 0;
  tdOf.clear();
  rowOf.clear();
  body.replaceChildren();
  drawHead();
  drawMore(CHUNK);
  table.hidden = drawn.rows.length === 0;
  byId("nothing").hidden = drawn.rows.length > 0;
  const shown = drawn.rows.reduce((sum, row) => sum + row.shown.size, 0);
  byId("count").textContent = shown === data.cells.length ? number(shown) + " cells" : number(shown) + " of " + number(data.cells.length) + " cells";
  const first = body.querySelector("td");
  if (first) first.tabIndex = 0;
  if (focused && tdOf.has(focused)) focusCell(tdOf.get(focused));
}

new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) drawMore(CHUNK); },
  { rootMargin: "1500px" }).observe(byId("more"));
addEventListener("beforeprint", () => drawMore(Infinity));

// ---- the focus

function focusCell(td) {
  body.querySelectorAll('td[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
  td.tabIndex = 0;
  td.focus();
}

// Moves from a cell by rows and columns.
function neighbour(cell, rows, columns) {
  const at = drawn.rows.indexOf(rowOf.get(cell));
  const row = drawn.rows[at + rows];
  const next = row?.cells[drawn.rows[at].cells.indexOf(cell) + columns];
  while (next && !tdOf.has(next)) drawMore(CHUNK);
  return next ?? null;
}

table.addEventListener("click", (event) => {
  const td = event.target.closest("td.cell");
  if (td && !String(getSelection())) openDetail(td.cell);
});
