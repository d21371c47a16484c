/* The table of a scan: all files are in memory, a page of rows is in the document. */

const ROWS = 100;
const count = (number) => number.toLocaleString("en");

/** [row, evidence as JSON] of each file; evidence is parsed when somebody asks for it. */
function read() {
  const lines = document.getElementById("files").textContent.trim().split("\n");
  const files = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const file = JSON.parse(lines[i]);
    file.number = files.length;
    file.evidence = lines[i + 1];
    file.text = [file.path, file.sha256, file.imphash, file.label, file.closest, file.region, file.reason, file.code, file.made, ...(file.codes || [])]
      .join("\n")
      .toLowerCase();
    files.push(file);
  }
  [...files].sort(urgent).forEach((file, index) => {
    file.rank = index + 1;
  });
  return files;
}

/** Order of attention, as the terminal has it; what could not be read comes after what could. */
function urgent(a, b) {
  const [first, second] = [a, b].map((file) => file.urgency || [file.state === "failed" ? 4 : 5, 0]);
  return first[0] - second[0] || first[1] - second[1] || a.number - b.number;
}

function size(value) {
  const units = ["B", "K", "M", "G", "T"];
  let index = 0;
  while (value >= 999.5 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  return value.toFixed(index && value < 9.95 ? 1 : 0) + units[index];
}

function percent(value) {
  if (value >= 0.9995) return ">99.9%";
  return value < 0.0005 ? "<0.1%" : `${(100 * value).toFixed(1)}%`;
}

function styleOf(file) {
  if (["benign", "suspicious", "unknown"].includes(file.label)) return file.label;
  return file.flagged ? "flagged" : "";
}

const COLUMNS = [
  { name: "#", title: "What to look at first", number: true, sort: urgent },
  { name: "file", sort: (a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0) },
  { name: "score", title: "How much it looks like malware, 0 to 100; flagged from 50 on", number: true, sort: urgent },
  { name: "verdict", sort: (a, b) => verdictOf(a).localeCompare(verdictOf(b), "en") },
  { name: "hottest region", down: (file) => file.share },
  { name: "size", number: true, down: (file) => file.size },
  { name: "entropy", title: "Highest entropy of a section, bits per byte", number: true, down: (file) => file.entropy },
  { name: "notices", down: (file) => (file.codes || []).length },
  { name: "checked", title: "Claims supported of those made, and rank correlation", down: (file) => (file.checked ? parseInt(file.checked, 10) : -1) },
];

function verdictOf(file) {
  return file.state === "result" ? file.label : file.state;
}

/** The folders that all files share, which no row has to repeat. */
function sharedFolder(files) {
  const folderOf = (path) => path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
  let shared = files.length ? folderOf(files[0].path) : "";
  for (const { path } of files) {
    while (!path.startsWith(shared)) shared = folderOf(shared.slice(0, -1));
  }
  return shared;
}

/** The cells of a row; the last one, of the checks, where any file was checked. */
function cellsOf(file, copies, checked, shared) {
  const slash = Math.max(file.path.lastIndexOf("/"), file.path.lastIndexOf("\\")) + 1;
  const same = copies.get(file.sha256) || 1;
  const parts = [make("span", { class: "folder" }, file.path.slice(shared.length, slash)), make("span", { class: "base" }, file.path.slice(slash))];
  const link = make("a", { href: `#file-${file.number}`, class: "path", title: file.path }, ...parts);
  const rank = make("td", { class: "number faint" }, count(file.rank));
  const path = make("th", { scope: "row" }, link, same > 1 ? make("span", { class: "copies", title: "files with these very bytes" }, `x${count(same)}`) : null);
  if (file.state !== "result") {
    const state = make("td", { class: file.state === "failed" ? "label t-bad" : "label faint" }, file.state);
    return [rank, path, make("td"), state, make("td", { colspan: checked ? 5 : 4, class: "codes name", title: file.reason }, file.reason)];
  }
  const number = (text) => make("td", { class: "number" }, text);
  const verdict = make("td", {}, make("span", { class: `label name ${styleOf(file)}` }, file.label));
  if (file.closest) verdict.append(make("span", { class: "codes name" }, ` closest: ${file.closest}`));
  return [
    rank,
    path,
    make("td", { class: file.flagged ? "number flagged label" : "number faint" }, file.score === null ? "-" : String(Math.floor(file.score))),
    verdict,
    make("td", { class: "name one" }, ...(file.region === null ? ["-"] : [file.region, make("span", { class: "faint" }, ` ${(100 * file.share).toFixed(1)}%`)])),
    number(size(file.size)),
    make("td", { class: "number" }, file.packed ? make("span", { class: "weak" }, "packed?") : file.entropy === null ? "" : file.entropy.toFixed(2)),
    make("td", { class: "codes name", title: file.codes.join(", ") }, file.codes.join(", ")),
    ...(checked ? [make("td", { class: "mono" }, file.checked || "")] : []),
  ];
}

function scanTable(files, { summary, remarks }) {
  const by = (id) => document.getElementById(id);
  const chosen = { words: [], verdict: "", flagged: false, column: 0, reversed: false, page: 0 };
  const copies = new Map();
  const verdicts = new Map();
  for (const file of files) {
    if (file.sha256) copies.set(file.sha256, (copies.get(file.sha256) || 0) + 1);
    verdicts.set(verdictOf(file), (verdicts.get(verdictOf(file)) || 0) + 1);
  }
  const shared = sharedFolder(files);
  const checked = files.some((file) => file.checked);
  const columns = checked ? COLUMNS : COLUMNS.slice(0, -1);
  let found = [];
  let opened = null;

  function match(file) {
    if (chosen.flagged && !file.flagged) return false;
    // What was skipped is no answer to anything: it is shown to who asks for it.
    if (chosen.verdict ? verdictOf(file) !== chosen.verdict : file.state === "skipped") return false;
    return chosen.words.every((word) => file.text.includes(word));
  }

  function find() {
    const { sort, down } = COLUMNS[chosen.column];
    const order = sort || ((a, b) => (down(b) ?? -1) - (down(a) ?? -1));
    const sign = chosen.reversed ? -1 : 1;
    found = files.filter(match).sort((a, b) => sign * order(a, b) || urgent(a, b));
    chosen.page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    chosen.page = Math.min(Math.max(chosen.page, 0), pages - 1);
    const start = chosen.page * ROWS;
    const part = found.slice(start, start + ROWS);
    by("rows").replaceChildren(
      ...part.map((file) => {
        const classes = [file.label === "benign" && !file.flagged ? "calm" : "", file === opened ? "open" : ""];
        return make("tr", { class: classes.join(" ").trim() || null, "data-number": file.number }, ...cellsOf(file, copies, checked, shared));
      }),
    );
    by("status").textContent = `${count(found.length)} of ${count(files.length)} listed`;
    by("where").textContent = found.length ? `${count(start + 1)} to ${count(start + part.length)} of ${count(found.length)}` : "no file like this";
    by("before").disabled = chosen.page === 0;
    by("next").disabled = chosen.page === pages - 1;
    [...by("head").children].forEach((cell, index) => {
      if (index === chosen.column) cell.setAttribute("aria-sort", chosen.reversed ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.querySelector(".arrow").textContent = index === chosen.column ? (chosen.reversed ? " ▴" : " ▾") : "";
    });
    for (const chip of by("verdicts").children) chip.setAttribute("aria-pressed", String(chip.dataset.verdict === chosen.verdict));
  }

  function head() {
    by("head").append(
      ...columns.map((column, index) => {
        const button = make("button", { type: "button", title: column.title }, column.name, make("span", { class: "arrow", "aria-hidden": "true" }));
        button.addEventListener("click", () => {
          chosen.reversed = chosen.column === index ? !chosen.reversed : false;
          chosen.column = index;
          find();
        });
        return make("th", { scope: "col", class: column.number ? "number" : null }, button);
      }),
    );
  }

  function chips() {
    const order = (name) => ({ failed: 1, skipped: 2 })[name] || 0;
    const names = [...verdicts.keys()].sort((a, b) => order(a) - order(b) || verdicts.get(b) - verdicts.get(a) || (a < b ? -1 : 1));
    const all = files.length - (verdicts.get("skipped") || 0);
    for (const [name, number] of [["", all], ...names.map((name) => [name, verdicts.get(name)])]) {
      const chip = make("button", { type: "button", "data-verdict": name, class: "name" }, name || "all", " ", make("b", {}, count(number)));
      chip.addEventListener("click", () => {
        chosen.verdict = chosen.verdict === name ? "" : name;
        find();
      });
      by("verdicts").append(chip);
    }
  }

  function counts() {
    const box = (number, noun, style = "") => make("div", { class: number ? null : "zero" }, make("b", { class: number ? style : null }, count(number)), make("span", {}, noun));
    const text = (value, noun) => make("div", { class: "text" }, make("b", { class: "name" }, value), make("span", {}, noun));
    by("counts").append(
      box(summary.files, summary.files === 1 ? "file" : "files"),
      box(summary.flagged, "flagged", "flagged"),
      box(summary.clean, "clean"),
      box(summary.unknown, "unknown"),
      ...(summary.unjudged ? [box(summary.unjudged, "not judged", "weak")] : []),
      box(summary.failed, "failed", "weak"),
      box(summary.skipped, "skipped"),
      ...(summary.known ? [box(summary.known, "known good")] : []),
      text(size(summary.bytes), "read"),
      text(`${summary.seconds.toFixed(1)} s`, "taken"),
      text(summary.model.name, `model ${summary.model.weights_sha256.slice(0, 16)}`),
    );
    if (shared) by("remarks").append(make("li", { class: "faint" }, "files below ", make("span", { class: "name mono" }, shared)));
    by("remarks").append(...remarks.map((remark) => make("li", {}, remark)));
  }

  /** The panel follows the address, so that a link to a file can be kept. */
  function follow() {
    const number = /^#file-(\d+)$/.exec(location.hash);
    const before = opened;
    opened = (number && files[Number(number[1])]) || null;
    for (const row of by("rows").children) row.classList.toggle("open", opened !== null && row.dataset.number === String(opened.number));
    by("panel").hidden = opened === null;
    document.documentElement.classList.toggle("beside", opened !== null);
    if (opened) {
      by("panel").replaceChildren(...panel(opened, copies.get(opened.sha256) || 1, close));
      by("panel").scrollTop = 0;
      by("panel").querySelector("h2").focus({ preventScroll: true });
    } else if (before) {
      by("panel").replaceChildren();
      const link = by("rows").querySelector(`a[href="#file-${before.number}"]`);
      if (link) link.focus();
    }
  }

  function close() {
    history.replaceState(null, "", location.pathname + location.search);
    follow();
  }

  by("find").addEventListener("input", (event) => {
    chosen.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    find();
  });
  by("flagged").addEventListener("change", (event) => {
    chosen.flagged = event.target.checked;
    find();
  });
  for (const [name, step] of [["before", -1], ["next", 1]]) {
    by(name).addEventListener("click", () => {
      chosen.page += step;
      show();
      document.querySelector(".files").scrollIntoView({ block: "start" });
    });
  }
  by("rows").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr");
    const other = step && row && (step > 0 ? row.nextElementSibling : row.previousElementSibling);
    if (!other) return;
    other.querySelector("a").focus();
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened) close();
  });
  window.addEventListener("hashchange", follow);

  head();
  counts();
  chips();
  find();
  by("unfinished").remove();
  by("scan").hidden = false;
  follow();
}

/** The evidence of one file. */
function panel(file, same, close) {
  const shut = make("button", { type: "button", "aria-label": "Close the evidence" }, "Close");
  shut.addEventListener("click", close);
  const top = make("header", {}, make("h2", { class: "name", tabindex: "-1" }, file.path), shut);
  if (file.state !== "result") return [top, make("p", { class: "name" }, `${file.state}: ${file.reason}`)];
  const found = JSON.parse(file.evidence);
  const said = make(
    "p",
    { class: "verdict" },
    make("strong", { class: `name ${styleOf(file)}` }, file.label),
    file.closest ? make("span", { class: "name" }, `closest: ${file.closest}`) : null,
    file.score === null ? null : make("span", {}, `score ${Math.floor(file.score)} of 100`),
    found.calibrated ? make("span", { class: "faint" }, percent(found.probability)) : null,
    file.flagged === null ? make("span", { class: "faint" }, "no flag") : make("span", { class: `tag ${file.flagged ? "flagged" : "benign"}` }, file.flagged ? "flagged" : "not flagged"),
  );
  const rows = [["sha256", file.sha256], ["file", found.kind]];
  if (found.margin !== null && found.threshold !== null) {
    const alarms = found.alarms === null ? "" : `; ${found.alarms}`;
    rows.push(["flag", `margin ${signed(found.margin)}, threshold ${signed(found.threshold)}${alarms}`]);
  }
  if (found.set) rows.push(["set", found.set]);
  if (found.novelty) rows.push(["novelty", found.novelty]);
  found.checked.forEach((line, index) => rows.push([index ? "" : "checked", line]));
  rows.push(["labels", found.ranked.map(([label, probability]) => `${label} ${percent(probability)}`).join(", ")]);
  if (same > 1) rows.push(["copies", `${count(same)} files of this scan have these very bytes`]);
  const parts = [top, said, list(rows)];
  if (found.notices.length) {
    const items = found.notices.map(([code, text]) => make("li", {}, make("span", { class: "tag weak" }, code), " ", make("span", { class: "name" }, text)));
    parts.push(make("h3", {}, "Notices"), make("ul", {}, ...items));
  }
  if (found.similar) {
    parts.push(make("h3", {}, "Similar files", make("small", {}, found.similar.remark)));
    if (found.similar.said) parts.push(make("p", { class: "name" }, found.similar.said));
    const nearest = found.similar.nearest.map(([distance, label, sha256]) => make("li", {}, distance, " ", make("span", { class: "name" }, label), " ", make("span", { class: "mono faint" }, sha256)));
    if (nearest.length) parts.push(make("ul", {}, ...nearest));
  }
  parts.push(make("h3", {}, found.heading, make("small", { class: "name" }, found.remark)), account(found));
  if (found.hot.length) parts.push(make("h3", {}, "Hot ranges", make("small", {}, "runs of bytes with the most heat")), hotRanges(found.hot));
  if (found.views.length) parts.push(make("h3", {}, "By view"), views(found.views));
  parts.push(make("h3", {}, "Identity"), list(Object.entries(found.names)));
  parts.push(make("p", { class: "note" }, "maltriage explain on this file shows its byteplot and what is in the hot ranges."));
  return parts;
}

function list(rows) {
  const items = rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { class: "name" }, value)]);
  return make("dl", { class: "facts" }, ...items);
}

function amount(value) {
  const style = value >= 0.0005 ? "for" : value <= -0.0005 ? "against" : "faint";
  return make("td", { class: `number ${style}` }, signed(value));
}

function scaleOf(values) {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const unit = high > low ? 100 / (high - low) : 0;
  return { zero: -low * unit, unit };
}

function bar({ zero, unit }, value) {
  const length = Math.abs(value) * unit;
  const stroke = draw("rect", { class: value > 0 ? "for" : "against", x: value < 0 ? zero - length : zero, y: 1, width: length, height: 8 });
  const axis = draw("line", { class: "axis", x1: zero, x2: zero, y1: 0, y2: 10 });
  return make("td", { class: "wide" }, draw("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, stroke, axis));
}

function table(titles, rows) {
  const head = make("tr", {}, ...titles.map(([title, number]) => make("th", { scope: "col", class: number ? "number" : null }, title)));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function checkCells(checked, measured, status) {
  if (!checked) return [];
  if (!status) return [make("td"), make("td")];
  return [amount(measured), make("td", {}, make("span", { class: `tag ${status}` }, status))];
}

const CHECK_TITLES = [["measured", true], ["check", false]];

function account({ regions, folded, sums, additive, whole }) {
  const [padding, total, bias, logit] = sums;
  const scale = scaleOf([...regions.map((region) => region[5]), folded[1], padding]);
  const checked = regions.some((region) => region.length > 6);
  const rows = regions.map(([name, kind, start, end, entropy, contribution, measured, status]) =>
    make("tr", {}, make("th", { scope: "row", class: "name" }, name), make("td", { class: "faint" }, kind), make("td", { class: "mono" }, `${hex(start)}-${hex(end)}`), make("td", { class: "number" }, entropy.toFixed(2)), amount(contribution), bar(scale, contribution), ...checkCells(checked, measured, status)),
  );
  const extra = (text, value, drawn, style) => make("tr", { class: style }, make("td", { colspan: 4, class: "name" }, text), amount(value), drawn ? bar(scale, value) : make("td"));
  if (folded[0]) rows.push(extra(`${count(folded[0])} more regions`, folded[1], true));
  rows.push(extra("padding: plotted, but no byte of the file", padding, true), extra("total: all bytes and padding", total, false, "sum"));
  if (additive) rows.push(extra("baseline + bias: what no byte carries", bias, false));
  rows.push(extra(whole, logit, false, "sum t-bold"));
  return table([["region"], ["kind"], ["offsets"], ["entropy", true], ["contrib.", true], [""], ...(checked ? CHECK_TITLES : [])], rows);
}

function hotRanges(ranges) {
  const scale = scaleOf(ranges.map((range) => range[4]));
  const checked = ranges.some((range) => range.length > 5);
  const rows = ranges.map(([region, start, end, rva, contribution, measured, status]) =>
    make("tr", {}, make("td", { class: "mono" }, `${hex(start)}-${hex(end)}`), make("td", { class: "number" }, size(end - start)), make("td", { class: "name" }, region), make("td", { class: "number" }, rva === null ? "" : rva.toString(16)), amount(contribution), bar(scale, contribution), ...checkCells(checked, measured, status)),
  );
  return table([["offsets"], ["size", true], ["region"], ["rva", true], ["contrib.", true], [""], ...(checked ? CHECK_TITLES : [])], rows);
}

function views(rows) {
  const scale = scaleOf(rows.map((view) => view[1]));
  return table(
    [["view"], ["reads"], ["contrib.", true], [""]],
    rows.map(([name, contribution, start, end]) => {
      const reads = start !== null && start < end ? `${hex(start)}-${hex(end)}` : ["body", "words", "entropy"].includes(name) ? "the whole file" : "not in this file";
      return make("tr", {}, make("th", { scope: "row", class: "name" }, name), make("td", { class: "mono" }, reads), amount(contribution), bar(scale, contribution));
    }),
  );
}

scanTable(read(), data("end"));
