// Stars and notes, by the keys of cells. Where the page is served, the server keeps them; else the browser does, beside
// those that the page came with.

const isServed = /^https?:$/.test(location.protocol) && new URLSearchParams(location.search).has("token");
const STORE = "lmm grid " + location.pathname;
const notes = new Map(Object.entries(head.notes ?? {}));

// A URL of the server.
const served = (path) => path + location.search;

function loadNotes() {
  if (isServed) {
    return fetch(served("notes")).then((answer) => answer.json())
      .then((found) => Object.entries(found).forEach(([key, entry]) => notes.set(key, entry)));
  }
  try {
    for (const [key, entry] of Object.entries(JSON.parse(localStorage.getItem(STORE) ?? "{}"))) notes.set(key, entry);
  } catch { /* a browser that keeps nothing for a file: they last as long as the page is open */ }
  return Promise.resolve();
}

function noteOf(cell) { return notes.get(cell.key) ?? {}; }

function setNote(cell, entry) {
  notes.set(cell.key, entry);
  if (isServed) {
    return fetch(served("notes"), { method: "POST", body: JSON.stringify({ key: cell.key, ...entry }) })
      .then((answer) => { if (!answer.ok) throw new Error(); })
      .catch(() => tell("The server does not answer: this note is not kept."));
  }
  try { localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(notes))); }
  catch { tell("The browser keeps nothing for this page: lmm grid serve does."); }
  return Promise.resolve();
}

function toggleStar(cell) {
  if (!cell.key) return;
  setNote(cell, { ...noteOf(cell), star: !noteOf(cell).star });
}

// A line at the bottom of the page, for a while.
function tell(message) {
  document.querySelector(".told")?.remove();
  const line = element("p", { class: "told", role: "status" }, message);
  document.body.append(line);
  setTimeout(() => line.remove(), 6000);
}

// The picture in full: from the server, or its file, which a page that was mailed does not find.
function fullSource(picture) {
  if (picture.url) return picture.url;
  if (isServed && picture.digest) return served("picture/" + picture.digest);
  return location.protocol === "file:" && picture.href ? picture.href : null;
}
