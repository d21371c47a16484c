/* The files of a scan and the cells of their rows. */

/** Letters of a path from which it is set smaller, such as those with a hash. */
const LONG = 48;
const count = (number) => number.toLocaleString("en");

/** [row, evidence as JSON] of each file; evidence is parsed when somebody asks for it. */
function read() {
  const lines = document.getElementById("files").textContent.trim().split("\n");
  const files = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const file = JSON.parse(lines[i]);
    file.number = files.length;
    file.evidence = lines[i + 1];
    file.text = [file.path, file.sha256, file.imphash, file.label, file.closest, file.region, file.reason, file.code, file.made, file.group, file.kind, file.packed && "packed?", file.index, ...(file.codes || [])]
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
  return fixed(value, index && value < 9.95 ? 1 : 0) + units[index];
}

function percent(value) {
  if (value >= 0.9995) return ">99.9%";
  return value < 0.0005 ? "<0.1%" : `${fixed(100 * value, 1)}%`;
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
  { name: "hottest region", one: true, down: (file) => file.share },
  { name: "size", number: true, spare: true, down: (file) => file.size },
  { name: "entropy", title: "Highest entropy of a section, bits per byte", number: true, spare: true, down: (file) => file.entropy },
  { name: "notices", codes: true, down: (file) => (file.codes || []).length },
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

/** A link that opens the panel of a file, its folder where the reader does not know it yet. */
function pathLink(path, number, shared) {
  const slash = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  const parts = [make("span", { class: "folder" }, path.slice(shared.length, slash)), make("span", {}, path.slice(slash))];
  const long = path.length - shared.length > LONG ? " long" : "";
  return make("a", { href: `#file-${number}`, class: `path${long}`, title: path }, ...parts);
}

/** The cells of a row; the last one, of the checks, where any file was checked. */
function cellsOf(file, copies, checked, shared) {
  const same = copies.get(file.sha256) || 1;
  const link = pathLink(file.path, file.number, shared);
  const rank = make("td", { class: "number faint" }, count(file.rank));
  const path = make("th", { scope: "row" }, link, same > 1 ? make("span", { class: "copies", title: "files with these very bytes" }, `x${count(same)}`) : null);
  if (file.state !== "result") {
    const state = make("td", { class: file.state === "failed" ? "label t-bad" : "label faint" }, file.state);
    return [rank, path, make("td"), state, make("td", { colspan: checked ? 5 : 4, class: "codes name" }, file.reason)];
  }
  const packed = () => make("span", { class: "weak" }, "packed?");
  // On a narrow screen the notices are a line of their own, with what the entropy is looked at for.
  const codes = file.packed ? [packed(), ...file.codes] : file.codes;
  path.append(make("span", { class: "codes name moved" }, ...codes.flatMap((code, index) => (index ? [", ", code] : [code]))));
  const verdict = make("td", {}, make("span", { class: `label name ${styleOf(file)}` }, file.label));
  if (file.index) verdict.append(make("span", { class: "name flagged" }, ` index: ${file.index}`));
  if (file.closest) verdict.append(make("span", { class: "codes name" }, ` closest: ${file.closest}`));
  return [
    rank,
    path,
    make("td", { class: file.flagged ? "number flagged label" : "number faint" }, file.score === null ? "-" : String(Math.floor(file.score))),
    verdict,
    make("td", { class: "name one" }, ...(file.region === null ? ["-"] : [file.region, make("span", { class: "faint" }, ` ${fixed(100 * file.share, 1)}%`)])),
    make("td", { class: "number spare" }, size(file.size)),
    make("td", { class: "number spare" }, file.packed ? packed() : file.entropy === null ? "" : fixed(file.entropy, 2)),
    make("td", { class: "codes name" }, file.codes.join(", ")),
    ...(checked ? [make("td", { class: "mono" }, file.checked || "")] : []),
  ];
}
