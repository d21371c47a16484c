/* Groups of similar files: a row each, which leads to its files and to the one to look at first. */

/** How many files a group has, and of how many contents where some are copies. */
function filesOf({ files, contents }) {
  return contents < files ? `${count(files)} files, ${count(contents)} different` : `${count(files)} files`;
}

function groupTable(groups, files, shared) {
  const numbers = new Map(files.map((file) => [file.path, file.number]));
  const titles = ["group", "score", "verdicts", "alike", "look at first"];
  const rows = groups.map((group) => {
    const number = numbers.get(group.path);
    // What is not flagged may be counted and not listed.
    const first = number === undefined ? group.path : pathLink(group.path, number, shared);
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, make("a", { href: `#group-${group.id}` }, filesOf(group))),
      make("td", { class: group.flagged ? "flagged label" : "faint" }, group.spread),
      make("td", { class: "name" }, group.labels),
      make("td", { class: "name" }, group.alike),
      make("td", { class: "name" }, first),
    );
  });
  const head = make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)));
  return make("table", { class: "groups" }, make("thead", {}, head), make("tbody", {}, ...rows));
}
