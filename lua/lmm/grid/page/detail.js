// One answer in full: its picture, what was asked, what came, and a note.

const detail = byId("detail");
let opened = null;

// The request as it was sent, the bytes of media left out.
function requestOf(cell) {
  const prompt = valueOf(cell, axes[0]), picture = pictureOf(cell), model = valueOf(cell, axes[2]);
  const text = { type: "text", text: promptOf(cell) };
  const kind = picture ? (picture.kind ?? "image") + "_url" : null;
  const content = picture ? [text, { type: kind, [kind]: { url: picture.url ?? picture.path ?? picture.name } }] : text.text;
  const system = prompt.system ?? head.system;
  return { model: model.model ?? model.name, ...head.params, ...valueOf(cell, axes[3]).fields,
    messages: [...(system ? [{ role: "system", content: system }] : []), { role: "user", content }] };
}

function replyOf(cell) {
  const { text, reasoning, refusal, calls, finish, first, total, cost, prompt_tokens, tokens, model, id, error, status, missing } = cell;
  return { model, id, text, reasoning, refusal, tool_calls: calls, finish_reason: finish, seconds: { first_token: first, total },
    usage: tokens == null ? undefined : { prompt_tokens, completion_tokens: tokens }, cost, error, status, not_asked: missing };
}

function section(title, ...children) { return element("section", null, element("h3", null, title), ...children); }

function json(title, value) {
  return element("details", null, element("summary", null, title), element("pre", null, JSON.stringify(value, null, 2)));
}

function largePicture(cell) {
  const picture = pictureOf(cell);
  if (!picture) return null;
  const image = thumbnail(picture);
  if (image.tagName === "IMG") {
    image.loading = "eager";
    image.className = "large";
    const full = fullSource(picture);
    if (full) { // the small one stays where the full one does not come
      const large = new Image();
      large.onload = () => { image.src = full; };
      large.src = full;
    }
  }
  const link = fullSource(picture) ?? picture.href;
  return element("figure", null, image, element("figcaption", null, element("span", null, picture.name),
    element("span", { class: "faint" }, pictureFacts(picture)),
    link ? element("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, "Open the file") : null));
}

function answerSection(cell) {
  const problem = problemOf(cell);
  if (problem) return section("Error", element("p", { class: "text problem" }, (cell.missing ? "Not asked: " : "") + problem + (cell.status ? " (HTTP " + cell.status + ")" : "")));
  const verdict = cell.check === undefined ? null : element("p", { class: isFailing(cell) ? "bad" : "good" },
    (isFailing(cell) ? "✗ " : "✓ ") + (typeof cell.check === "number" ? "score " + score(cell.check) : isFailing(cell) ? "the check says no" : "the check says yes") + (cell.why ? ": " + cell.why : ""));
  const copy = element("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard.writeText(cell.text).then(() => tell("Copied."), () => tell("The browser does not let the page copy.")) }, "Copy");
  return element("section", null, element("h3", null, "Answer ", copy), verdict,
    element("p", { class: "text", dir: "auto" }, cell.text || cell.refusal || "(empty)"));
}

function noteSection(cell) {
  if (!cell.key) return null;
  const area = element("textarea", { rows: 3, placeholder: "What you think of it", "aria-label": "Note", value: noteOf(cell).note ?? "",
    onchange: () => { setNote(cell, { ...noteOf(cell), note: area.value.trim() || undefined }); refreshCell(cell); } });
  return section("Note", area);
}

function detailHead(cell) {
  const star = starButton(cell);
  star.tabIndex = 0;
  star.addEventListener("click", () => star.replaceWith(detailHead(cell).querySelector(".star")));
  const where = axes.filter((axis) => axis.values.length > 1 && axis.key !== "image").map((axis) => valueOf(cell, axis).name);
  const move = (title, sign, rows, columns) => {
    const next = neighbour(cell, rows, columns);
    return element("button", { type: "button", title, disabled: !next, onclick: () => openDetail(next) }, sign);
  };
  return element("header", null, element("h2", null, where.join(" · ") || valueOf(cell, axes[2]).name), element("div", { class: "tools" }, star,
    move("The cell to the left (←)", "←", 0, -1), move("The cell to the right (→)", "→", 0, 1), move("The row above (↑)", "↑", -1, 0), move("The row below (↓)", "↓", 1, 0),
    element("button", { type: "button", title: "Close (Esc)", "aria-label": "Close", onclick: () => detail.close() }, "✕")));
}

function openDetail(cell) {
  keepNote();
  opened = cell;
  detail.replaceChildren(detailHead(cell), element("div", { class: "columns" },
    element("div", { class: "left" }, largePicture(cell), section("Prompt", element("p", { class: "text", dir: "auto" }, promptOf(cell))),
      element("p", { class: "facts" }, element("span", null, valueOf(cell, axes[2]).name), facts(cell))),
    element("div", { class: "right" }, answerSection(cell),
      cell.reasoning ? element("details", null, element("summary", null, "Reasoning"), element("p", { class: "text", dir: "auto" }, cell.reasoning)) : null,
      noteSection(cell), json("Request", requestOf(cell)), json("Reply", replyOf(cell)))));
  if (!detail.open) detail.showModal();
  detail.focus();
  detail.scrollTop = 0;
}

// What stands in the note counts however the dialog is left.
function keepNote() { detail.querySelector("textarea")?.dispatchEvent(new Event("change")); }

detail.addEventListener("close", () => {
  if (detail.open) return; // it has been opened again since
  keepNote();
  const td = tdOf.get(opened);
  opened = null;
  detail.replaceChildren();
  if (td) focusCell(td);
});
detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
