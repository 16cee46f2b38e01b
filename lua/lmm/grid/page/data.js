// The data of the page: the JSON in it comes in; axes, cells by their place, and values as people read them go out.

const data = JSON.parse(document.getElementById("data").textContent);
const head = data.head;

// An axis has a key, a name, and its values, each with a name. Prompts, pictures, models, settings and repeats are the
// axes 0 to 4 of every cell.
const axes = [
  { key: "prompt", name: "Prompt", values: head.prompts },
  { key: "image", name: "Picture", values: data.pictures.length ? data.pictures : [{ name: "" }] },
  { key: "model", name: "Model", values: head.models },
  { key: "settings", name: "Settings", values: head.settings },
  { key: "repeat", name: "Try", values: Array.from({ length: head.repeats }, (_, i) => ({ name: "try " + (i + 1) })) },
];
axes.forEach((axis, index) => { axis.index = index; axis.hidden = new Set(); });

// The cell at a place on all axes, each counted from 0.
function cellAt(place) {
  return data.cells[axes.reduce((number, axis, i) => number * axis.values.length + place[i], 0)];
}

data.cells.forEach((cell) => { cell.place = cell.at.map((at) => at - 1); });

function valueOf(cell, axis) { return axis.values[cell.place[axis.index]]; }

function promptOf(cell) {
  const prompt = valueOf(cell, axes[0]);
  return cell.asked ?? prompt.text ?? prompt.name;
}

function pictureOf(cell) { return data.pictures.length ? valueOf(cell, axes[1]) : null; }

function problemOf(cell) { return cell.error ?? cell.missing ?? null; }

function scoreOf(cell) {
  if (cell.check === true) return 1;
  if (cell.check === false) return 0;
  return typeof cell.check === "number" ? cell.check : head.has_check ? 0 : null;
}

function isFailing(cell) {
  return typeof cell.check === "number" ? cell.check < head.summary.threshold : cell.check === false;
}

// Whether an answer was not ended by the model itself.
function isCut(cell) { return cell.text !== undefined && cell.finish !== undefined && !["stop", "tool_calls"].includes(cell.finish); }

// ---- as people read it

function seconds(value) {
  if (value == null) return null;
  if (value < 0.0995) return Math.round(value * 1000) + " ms";
  if (value < 99.5) return value.toPrecision(value < 9.95 ? 2 : 3).replace(/\.0$/, "") + " s";
  return Math.round(value) + " s";
}

function money(value) {
  if (value == null) return null;
  return "$" + (value >= 0.1 ? value.toFixed(2) : Number(value.toPrecision(2)).toString().replace(/e-\d+$/, (e) => e));
}

function bytes(value) {
  if (value == null) return null;
  return value < 1e6 ? Math.ceil(value / 1000) + " KB" : (value / 1e6).toFixed(1) + " MB";
}

function number(value) { return value == null ? null : Math.round(value).toLocaleString("en"); }

function score(value) { return value == null ? null : Number(value.toFixed(2)).toString(); }

function pictureFacts(picture) {
  const pixels = picture.width && picture.height ? picture.width + " × " + picture.height : null;
  return [pixels, bytes(picture.size)].filter(Boolean).join(", ");
}

// ---- elements

// An element with properties and children; texts among these become text nodes, whatever is in them.
function element(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value == null || value === false) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

const byId = (id) => document.getElementById(id);
