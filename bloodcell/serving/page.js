// Sends each image by itself, so that answers come one after another and one bad file stops nothing.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const byId = (id) => document.getElementById(id);
const [drop, files, problem, answers, list, progress] = ["drop", "files", "problem", "answers", "list", "progress"].map(byId);
const RETRIES = 5;
const RETRY_MS = 2000;
const WITH_HEAT = 4; // a few images get their heat maps at once
const NUMBERS = ["probability", "novelty"];

let rows = []; // {file, answer, item}
let waiting = [];
let running = false;
let explained = 0;

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const failed = (why) => ({ answer: settings.answers.unreadable, why, predicted: "" });

async function post(path, body, type) {
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, { method: "POST", body, headers: { "Content-Type": type } });
    } catch {
      throw new Error("the server cannot be reached; start it again, then reload this page");
    }
    if (response.status === 503 && attempt < RETRIES) {
      await new Promise((done) => setTimeout(done, RETRY_MS));
      continue;
    }
    const document_ = await response.json().catch(() => ({}));
    if (response.ok) return document_;
    if (response.status === 401) throw new Error("the server was started again; reload this page");
    throw Object.assign(new Error(document_.message || `the server answered ${response.status}`), { of_image: true });
  }
}

function base64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

async function ask(file) {
  if (!file.size) return failed("the file is empty, or a folder");
  if (file.size > settings.bytes) return failed(`larger than ${Math.floor(settings.bytes / 1e6)} MB`);
  let content;
  try {
    content = await file.arrayBuffer();
  } catch {
    return failed("a folder, or a file that the browser cannot read");
  }
  const error = byId("error").value;
  const body = { dataframe_split: { columns: ["image"], data: [[base64(content)]] } };
  if (error) body.params = { max_error: Number(error) };
  try {
    return (await post("/predict", JSON.stringify(body), "application/json")).predictions[0];
  } catch (reason) {
    if (!reason.of_image) throw reason;
    return failed(reason.message);
  }
}

function verdictOf(answer) {
  const { uncertain, unlike, unreadable } = settings.answers;
  if (answer.answer === uncertain) return ["Not sure", "refused"];
  if (answer.answer === unlike) return ["Unlike the training images", "refused"];
  if (answer.answer === unreadable) return ["No answer", "failed"];
  return [answer.answer, ""];
}

function picture(address, caption, alternative) {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.src = address;
  image.alt = alternative;
  const text = document.createElement("figcaption");
  text.textContent = caption;
  figure.append(image, text);
  return [figure, image];
}

function show(row) {
  const item = byId("answer").content.firstElementChild.cloneNode(true);
  const { answer, file } = row;
  const find = (selector) => item.querySelector(selector);
  const [words, kind] = verdictOf(answer);
  find(".verdict").textContent = words;
  if (kind) find(".verdict").classList.add(kind);
  find(".name").textContent = file.name;
  const guess = kind && answer.predicted ? ` Most probable: ${answer.predicted}.` : "";
  find(".why").textContent = answer.why ? `${answer.why[0].toUpperCase()}${answer.why.slice(1)}.${guess}` : "";
  find(".why").hidden = !answer.why;
  if (answer.predicted) {
    const order = [...settings.classes].sort((a, b) => answer[`p_${b}`] - answer[`p_${a}`]);
    for (const name of order) {
      const line = find("tbody").insertRow();
      const heading = document.createElement("th");
      heading.scope = "row";
      heading.textContent = name;
      line.append(heading);
      line.insertCell().textContent = percent(answer[`p_${name}`]);
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.style.width = percent(answer[`p_${name}`]).replace(" ", "");
      line.insertCell().append(bar);
      line.classList.toggle("best", name === answer.predicted);
    }
    find(".novelty").textContent = `Distance from the training images ${answer.novelty.toFixed(2)} (above 1: unlike them)`;
    if (answer.answer === settings.answers.unlike) {
      item.classList.add("unlike");
      find(".novelty").textContent += ". For such an image the probabilities mean nothing.";
    }
    const address = URL.createObjectURL(file);
    const [figure, image] = picture(address, "", `The photograph ${file.name}`);
    image.addEventListener("load", () => URL.revokeObjectURL(address));
    image.addEventListener("error", () => figure.replaceChildren("The browser cannot show this format; its heat map can."));
    find(".pictures").append(figure);
    find(".heat").setAttribute("aria-label", `Heat map of ${file.name}`);
    find(".heat").addEventListener("click", () => explain(row));
  } else {
    find("table").remove();
    find(".heat").remove();
    find(".pictures").remove();
  }
  row.item = item;
  list.append(item);
}

async function explain(row) {
  const button = row.item.querySelector(".heat");
  if (!button || button.disabled) return;
  const hadFocus = document.activeElement === button;
  button.disabled = true;
  button.textContent = "Heat map …";
  try {
    const found = await post("/explain", row.file, "application/octet-stream");
    const [photograph] = picture(found.photograph, "As the model sees it", `The photograph ${row.file.name}`);
    const [heat] = picture(
      found.heat, `Evidence for ${found.explained}`, `Heat map of the evidence for ${found.explained}, with the outline of the nucleus`,
    );
    row.item.querySelector(".pictures").replaceChildren(photograph, heat);
    button.remove();
    if (hadFocus) {
      heat.tabIndex = -1;
      heat.focus();
    }
  } catch (reason) {
    button.disabled = false;
    button.textContent = "Heat map";
    problem.textContent = `${row.file.name}: no heat map: ${reason.message}`;
  }
}

function tell() {
  const done = rows.length;
  const kinds = new Map();
  for (const { answer } of rows) {
    const [words, kind] = verdictOf(answer);
    const name = kind ? words.toLowerCase() : "with a class";
    kinds.set(name, (kinds.get(name) || 0) + 1);
  }
  const counts = [...kinds].map(([name, count]) => `${count} ${name}`).join(", ");
  const total = done + waiting.length;
  progress.textContent = waiting.length ? `${done} of ${counted(total, "image")}: ${counts || "starting"}` : `${counted(done, "image")}: ${counts}`;
  byId("stop").hidden = !waiting.length;
  byId("error").disabled = Boolean(waiting.length);
  byId("csv").hidden = byId("clear").hidden = !done || Boolean(waiting.length);
}

async function work() {
  if (running) return;
  running = true;
  try {
    while (waiting.length) {
      const file = waiting[0];
      const row = { file, answer: await ask(file) };
      if (waiting[0] !== file) break; // stopped meanwhile
      waiting.shift();
      rows.push(row);
      show(row);
      tell();
    }
    for (const row of rows) {
      if (waiting.length || explained >= WITH_HEAT) break;
      if (row.answer.predicted && row.answer.answer !== settings.answers.unlike && row.item.querySelector(".heat")) {
        explained += 1;
        await explain(row);
      }
    }
  } catch (reason) {
    problem.textContent = reason.message[0].toUpperCase() + reason.message.slice(1);
    waiting = [];
  }
  running = false;
  tell();
  if (waiting.length) work();
}

function add(chosen) {
  problem.textContent = "";
  const room = settings.images - rows.length - waiting.length;
  if (!chosen.length) return;
  if (chosen.length > room) {
    problem.textContent = `${counted(chosen.length, "image")}: at most ${settings.images} at a time${rows.length ? ", with those below" : ""}. ` +
      "Drop fewer, or use bloodcell predict, which has no such limit.";
    return;
  }
  waiting.push(...chosen);
  answers.hidden = false;
  tell();
  work();
}

function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  // A spreadsheet would compute a name that starts like this.
  const safe = (name) => (/^[=+\-@\t\r]/.test(name) ? `'${name}` : name);
  const columns = ["answer", "why", "predicted", ...NUMBERS, ...settings.classes.map((name) => `p_${name}`), "evidence"];
  const lines = rows.map(({ file, answer }) => [safe(file.name), ...columns.map((name) => answer[name])]);
  return [["path", ...columns], ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

files.addEventListener("change", () => {
  add([...files.files]);
  files.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragenter", "dragover"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
window.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
window.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add([...event.dataTransfer.files]);
});
byId("stop").addEventListener("click", () => {
  waiting = [];
  tell();
});
function remove() {
  rows = [];
  explained = 0;
  list.replaceChildren();
  answers.hidden = true;
}

byId("clear").addEventListener("click", () => {
  remove();
  files.focus();
});
byId("error").addEventListener("change", () => {
  const again = rows.map(({ file }) => file); // all answers keep the same limit
  remove();
  add(again);
});
byId("csv").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
