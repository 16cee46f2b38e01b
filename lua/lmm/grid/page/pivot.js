// The table as a choice of axes: which stand in rows and which in columns, what is shown, and in which order, come in;
// the rows and the columns go out.

const view = {
  rows: [], columns: [],     // the axes that are shown
  search: "", filter: "all", differ: false,
  sort: "given", ascending: true, column: -1, // -1: by the mean of all columns
};

const FILTERS = [
  { key: "all", name: "All", test: () => true },
  { key: "star", name: "★ Starred", test: (cell) => Boolean(noteOf(cell).star) },
  { key: "note", name: "Noted", test: (cell) => Boolean(noteOf(cell).note) },
  { key: "differ", name: "Different", row: (cells) => new Set(cells.map((cell) => cell.text)).size > 1 },
  { key: "pass", name: "✓ Passed", needs: "check", test: (cell) => cell.text !== undefined && !isFailing(cell) },
  { key: "fail", name: "✗ Failed check", needs: "check", test: isFailing },
  { key: "cut", name: "Cut off", needs: isCut, test: isCut },
  { key: "error", name: "Errors", needs: problemOf, test: (cell) => problemOf(cell) !== null },
];

// Those that can be of use for these cells.
function usefulFilters() {
  return FILTERS.filter((filter) => {
    if (filter.needs === "check") return head.has_check;
    return !filter.needs || data.cells.some((cell) => filter.needs(cell));
  });
}

const SORTS = [
  { key: "given", name: "as given" },
  { key: "name", name: "name" },
  { key: "score", name: "score", value: scoreOf, needs: "check" },
  { key: "first", name: "time to first token", value: (cell) => cell.first },
  { key: "total", name: "total time", value: (cell) => cell.total },
  { key: "tokens", name: "tokens", value: (cell) => cell.tokens },
  { key: "cost", name: "cost", value: (cell) => cell.cost, needs: (cell) => cell.cost != null },
  { key: "length", name: "length", value: (cell) => cell.text?.length },
  { key: "finish", name: "finish reason", text: (cell) => cell.finish ?? "" },
];

function usefulSorts() {
  return SORTS.filter((sort) => {
    if (sort.needs === "check") return head.has_check;
    return !sort.needs || data.cells.some((cell) => sort.needs(cell));
  });
}

// All combinations of the values of some axes that are not hidden, each as a list of [axis, value].
function combinations(list) {
  return list.reduce((found, axis) => found.flatMap((places) =>
    axis.values.flatMap((_, i) => axis.hidden.has(i) ? [] : [[...places, [axis, i]]])), [[]]);
}

function cellOf(row, column) {
  const place = [0, 0, 0, 0, 0];
  for (const [axis, i] of row) place[axis.index] = i;
  for (const [axis, i] of column) place[axis.index] = i;
  return cellAt(place);
}

// Everything of a cell that can be searched, in lower case; made once.
const searched = new WeakMap();

function searchText(cell) {
  let text = searched.get(cell);
  if (text === undefined) {
    text = [cell.text, cell.reasoning, problemOf(cell), promptOf(cell), cell.why,
      ...axes.map((axis) => valueOf(cell, axis).name)].join("\n").toLowerCase();
    searched.set(cell, text);
  }
  return text;
}

function isFound(cell, words) {
  const note = (noteOf(cell).note ?? "").toLowerCase();
  return words.every((word) => searchText(cell).includes(word) || note.includes(word));
}

function mean(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

function nameOf(combination) { return combination.map(([axis, i]) => axis.values[i].name).join(", "); }

function sortKey(sort, row) {
  if (sort.key === "name") return nameOf(row.axes);
  const cells = view.column >= 0 ? [row.cells[view.column]] : row.cells;
  return sort.text ? sort.text(cells[0]) : mean(cells.map(sort.value));
}

// What has no value stands last, whatever the order.
function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return view.ascending ? order : -order;
}

// { columns, rows: [{ axes, cells, shown }] }: `shown` are those of a row's cells that search and filter want; a row of
// which none is wanted is left out.
function pivot() {
  const columns = combinations(view.columns);
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const filter = FILTERS.find((each) => each.key === view.filter);
  let rows = [];
  for (const row of combinations(view.rows)) {
    const cells = columns.map((column) => cellOf(row, column));
    if (filter.row && !filter.row(cells)) continue;
    const shown = new Set(cells.filter((cell) => (!filter.test || filter.test(cell)) && isFound(cell, words)));
    if (shown.size) rows.push({ axes: row, cells, shown });
  }
  const sort = SORTS.find((each) => each.key === view.sort);
  if (view.column >= columns.length) view.column = -1;
  if (sort.key !== "given") {
    rows.forEach((row) => { row.key = sortKey(sort, row); });
    rows.sort((a, b) => compare(a.key, b.key));
  } else if (!view.ascending) {
    rows.reverse();
  }
  return { columns, rows };
}

// An axis that the table shows: one with a choice, and the pictures always.
const isShown = (axis) => axis.values.length > 1 || (axis.key === "image" && data.pictures.length > 0);

// Models and settings stand side by side, what is asked about in rows; where there is one model, the prompts stand side
// by side.
function arrange() {
  const many = axes.filter(isShown);
  const across = many.filter((axis) => axis.key === "model" || axis.key === "settings");
  view.columns = across.length ? across : many.filter((axis) => axis.key === "prompt");
  if (!view.columns.length) view.columns = many.filter((axis) => axis.key === "repeat");
  view.rows = many.filter((axis) => !view.columns.includes(axis));
}
