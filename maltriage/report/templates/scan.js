/* The table of a scan: all files are in memory, a page of rows is in the document. */

const ROWS = 100;

function scanTable(files, scan) {
  const { summary, remarks } = scan;
  const by = (id) => document.getElementById(id);
  const chosen = { words: [], verdict: "", flagged: false, group: "", column: 0, reversed: false, page: 0 };
  const copies = new Map();
  const verdicts = new Map();
  for (const file of files) {
    if (file.sha256) copies.set(file.sha256, (copies.get(file.sha256) || 0) + 1);
    verdicts.set(verdictOf(file), (verdicts.get(verdictOf(file)) || 0) + 1);
  }
  const groups = new Map(scan.groups.map((group) => [group.id, group]));
  const shared = sharedFolder(files);
  const checked = files.some((file) => file.checked);
  const columns = checked ? COLUMNS : COLUMNS.slice(0, -1);
  let found = [];
  let opened = null;

  function match(file) {
    if (chosen.flagged && !file.flagged) return false;
    if (chosen.group && file.group !== chosen.group) return false;
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

  function draw(part) {
    by("rows").replaceChildren(
      ...part.map((file) => {
        const classes = [file.label === "benign" && !file.flagged ? "calm" : "", file === opened ? "open" : ""];
        return make("tr", { class: classes.join(" ").trim() || null, "data-number": file.number }, ...cellsOf(file, copies, checked, shared));
      }),
    );
  }

  /** Paper has no controls and no next page: all rows, and in words what was chosen. */
  function print() {
    draw(found);
    const said = [`${count(found.length)} of ${count(files.length)} files, by ${COLUMNS[chosen.column].name === "#" ? "score" : COLUMNS[chosen.column].name}`];
    if (chosen.reversed) said.push("the other way round");
    if (chosen.verdict) said.push(chosen.verdict);
    if (chosen.flagged) said.push("flagged only");
    if (chosen.group) said.push(`group ${chosen.group}`);
    if (chosen.words.length) said.push(`with ${chosen.words.join(" ")}`);
    by("paper").textContent = said.join(", ");
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    chosen.page = Math.min(Math.max(chosen.page, 0), pages - 1);
    const start = chosen.page * ROWS;
    const part = found.slice(start, start + ROWS);
    draw(part);
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
        const classes = [column.number && "number", column.spare && "spare", column.codes && "codes", column.one && "one"];
        return make("th", { scope: "col", class: classes.filter(Boolean).join(" ") || null }, button);
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
      ...(summary.known_malware ? [box(summary.known_malware, "known malware, not flagged", "flagged")] : []),
      box(summary.clean, "look clean"),
      box(summary.unknown, "unknown"),
      ...(summary.unjudged ? [box(summary.unjudged, "not judged", "weak")] : []),
      box(summary.failed, "failed", "weak"),
      box(summary.skipped, "skipped"),
      ...(summary.known ? [box(summary.known, "known good")] : []),
      text(size(summary.bytes), "read"),
      text(`${fixed(summary.seconds, 1)} s`, "taken"),
      text(summary.model.name, `model ${summary.model.weights_sha256.slice(0, 16)}`),
    );
    if (shared) by("remarks").append(make("li", { class: "faint" }, "files below ", make("span", { class: "name mono" }, shared)));
    by("remarks").append(...remarks.map((remark) => make("li", {}, remark)));
  }

  const rowOf = (file) => by("rows").querySelector(`tr[data-number="${file.number}"]`);

  /** Where a file is in the table. */
  function placeOf(file) {
    const at = found.indexOf(file) + 1;
    return at ? `${count(at)} of ${count(found.length)}; arrow keys or j and k go on` : "not in the table as it is filtered";
  }

  /** The table of files, or that of groups. */
  function view(name) {
    for (const other of ["files", "groups"]) by(`${other}-view`).hidden = other !== name;
    for (const link of by("views").children) link.toggleAttribute("aria-current", link.getAttribute("href") === `#${name}`);
  }

  /** The files of a group, or all of them. */
  function within(group) {
    chosen.group = group ? group.id : "";
    by("within").hidden = !group;
    if (group) by("within-what").textContent = `group ${group.id}: ${filesOf(group)}, alike: ${group.alike}`;
    view("files");
    find();
  }

  /** What is shown follows the address, so that a link to a file or a group can be kept. */
  function follow({ focus = true } = {}) {
    const [, name, id] = /^#(groups|files|group-([0-9a-f]+))$/.exec(location.hash) || [];
    if (name === "groups" && groups.size) view(name);
    else if (name) within(groups.get(id));
    const number = /^#file-(\d+)$/.exec(location.hash);
    const before = opened;
    opened = (number && files[Number(number[1])]) || null;
    for (const row of by("rows").children) row.classList.toggle("open", opened !== null && row === rowOf(opened));
    by("panel").hidden = opened === null;
    document.documentElement.classList.toggle("beside", opened !== null);
    if (opened) {
      by("panel").replaceChildren(...panel(opened, { same: copies.get(opened.sha256) || 1, group: groups.get(opened.group), scan, place: placeOf(opened), close }));
      by("panel").scrollTop = 0;
      if (focus) by("panel").querySelector("h2").focus({ preventScroll: true });
    } else if (before) {
      by("panel").replaceChildren();
      rowOf(before)?.querySelector("a").focus();
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
  /** Go on to another file of the table: the panel follows if it is open, and so does the page of rows. */
  function go(file, fromRow) {
    chosen.page = Math.floor(found.indexOf(file) / ROWS);
    if (!rowOf(file)) show();
    if (opened) {
      history.replaceState(null, "", `#file-${file.number}`);
      follow({ focus: !fromRow });
    }
    rowOf(file).scrollIntoView({ block: "nearest" });
    if (fromRow) rowOf(file).querySelector("a").focus({ preventScroll: true });
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened) close();
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    const row = event.target.closest("#rows tr");
    const from = opened || (row && files[Number(row.dataset.number)]);
    // A letter that is typed is no command, nor is one with a modifier.
    if (!step || !from || by("files-view").hidden || event.target.closest("input") || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const other = found[found.indexOf(from) + step];
    if (other) go(other, row !== null);
  });
  window.addEventListener("hashchange", () => follow());
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", show);

  head();
  counts();
  chips();
  if (groups.size) {
    by("group-table").append(groupTable(scan.groups, files, shared));
    by("group-count").textContent = count(groups.size);
    by("views").hidden = false;
  }
  view("files");
  find();
  by("unfinished").remove();
  by("scan").hidden = false;
  follow();
}

scanTable(read(), data("end"));
