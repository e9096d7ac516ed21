// Marks of the selected images, and their export.

import { announce, byId, el, get, number, options, plural, post } from "./dom.js";
import { copiesOf, emit, items, on, state } from "./data.js";
import { clearSelection, selected } from "./grid.js";

export async function build() {
  const bar = byId("marking");
  const label = el("select", { "aria-label": "The right label" });
  options(label, [["", "label wrong, unknown which is right"], ...items.classes.map((name) => [name, `label is ${name}`])]);
  const copies = el("input", { type: "checkbox", id: "with-copies", checked: true });
  const act = (kind, text, value) => el("button", { type: "button", "data-kind": kind, onclick: () => mark(kind, [...selected], { label: value?.(), withCopies: copies.checked }) }, text);
  bar.append(
    el("span", { id: "selection", class: "soft" }, "Select images to mark them"),
    label,
    act("label wrong", "Label wrong", () => label.value),
    act("not a cell", "Not a cell"),
    act("same photograph", "Same photograph"),
    act("remove", "Remove marks"),
    el("label", { class: "inline", for: "with-copies" }, copies, "and all copies of the photographs"),
    el("button", { type: "button", onclick: clearSelection }, "Clear selection"),
    el("button", { type: "button", id: "export", onclick: save }, "Export marks"),
    el("p", { id: "mark-state", role: "status" }),
  );
  on("selected", refresh);
  refresh();
  await update(get("marks"));
}

function refresh() {
  const n = selected.size;
  byId("selection").textContent = n ? `${plural(n, "image")} selected` : "Select images to mark them";
  const bar = byId("marking");
  bar.classList.toggle("idle", !n);
  for (const button of bar.querySelectorAll("[data-kind]")) button.disabled = !n || (button.dataset.kind === "same photograph" && n < 2);
}

// Mark rows; copies of a photograph show the same cell, so they have the same label.
export async function mark(kind, rows, { label = "", withCopies = true } = {}) {
  const all = withCopies && kind !== "same photograph" ? [...new Set(rows.flatMap(copiesOf))] : rows;
  const done = await update(post("marks", { kind, rows: all, label: kind === "label wrong" ? label : "" }));
  if (done) say(kind === "remove" ? `Marks of ${plural(all.length, "image")} removed` : `${plural(all.length, "image")} marked: ${kind}${label && kind === "label wrong" ? `, is ${label}` : ""}`);
}

async function update(request) {
  try {
    state.marks = await request;
    emit("marks");
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}

async function save() {
  try {
    const written = await post("export");
    const settings = { "labels.csv": "data.labels_file", "exclude.csv": "data.exclude_file", "groups.csv": "data.groups=column data.groups_file" };
    const lines = Object.entries(written).map(([name, path]) => (settings[name] ? `${settings[name]}=${path}` : path));
    byId("mark-state").replaceChildren("Written: ", ...lines.flatMap((line) => [el("code", {}, line), " "]));
    announce(`${number(lines.length)} files written`);
  } catch (error) {
    say(error.message);
  }
}

function say(text) {
  byId("mark-state").textContent = text;
  announce(text);
}
