/* The panel of a scan: the evidence of one file. */

/**
 * The evidence of one file.
 *
 * `same` files have its bytes, `group` is that of similar ones if there are others, `scan` is what the page knows of them all, `place` says where the file is in the table.
 */
function panel(file, { same, group, scan, place, close }) {
  const shut = make("button", { type: "button", "aria-label": "Close the evidence" }, "Close");
  shut.addEventListener("click", close);
  const top = make("header", {}, make("h2", { class: "name", tabindex: "-1" }, file.path), shut);
  const at = make("p", { class: "faint place" }, place);
  if (file.state !== "result") return [top, at, make("p", { class: "name" }, `${file.state}: ${file.reason}`)];
  const found = JSON.parse(file.evidence);
  const sure = found.calibrated ? percent(found.probability) : "";
  const said = make(
    "p",
    { class: "verdict" },
    make("strong", { class: `name ${styleOf(file)}` }, file.label),
    file.index ? make("span", { class: "tag flagged name" }, `index: ${file.index}`) : null,
    file.closest ? make("span", { class: "name" }, `closest: ${file.closest} ${sure}`) : null,
    file.score === null ? null : make("span", {}, `score ${Math.floor(file.score)} of 100`),
    sure && !file.closest ? make("span", { class: "faint" }, sure) : null,
    file.flagged === null ? make("span", { class: "faint" }, "no flag") : make("span", { class: `tag ${file.flagged ? "flagged" : "benign"}` }, file.flagged ? "flagged" : "not flagged"),
  );
  const rows = [["sha256", file.sha256], ["file", file.kind]];
  if (found.margin !== null && found.threshold !== null) {
    const alarms = scan.alarms[found.alarms];
    rows.push(["flag", `margin ${signed(found.margin)}, threshold ${signed(found.threshold)}${alarms ? `, ${alarms}` : ""}`]);
  }
  if (found.set) rows.push(["set", found.set]);
  if (found.novelty) rows.push(["novelty", found.novelty]);
  found.checked.forEach((line, index) => rows.push([index ? "" : "checked", line]));
  rows.push(["labels", found.ranked.map(([label, probability]) => `${label} ${percent(probability)}`).join(", ")]);
  if (group) rows.push(["group", make("a", { href: `#group-${group.id}` }, `${filesOf(group)} alike: ${group.alike}`)]);
  if (same > 1) rows.push(["copies", `${count(same)} files of this scan have these very bytes`]);
  const parts = [top, at, said, list(rows, file.codes.includes("disarmed") ? { ...scan, lookups: [] } : scan)];
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
  parts.push(make("h3", {}, "Regions in the order of the file", make("small", {}, "grey: entropy; bars: contribution; below: hot ranges")), strip(file.size, found.regions, found.hot));
  parts.push(make("h3", {}, found.heading, make("small", { class: "name" }, found.remark)), account(found));
  if (found.hot.length) parts.push(make("h3", {}, "Hot ranges", make("small", {}, "runs of bytes with the most heat")), hotRanges(found.hot));
  if (found.views.length) parts.push(make("h3", {}, "By view"), views(found.views));
  parts.push(make("h3", {}, "Identity"), list(Object.entries(found.names), scan));
  parts.push(make("p", { class: "note" }, "maltriage explain on this file shows its byteplot and what is in the hot ranges."));
  return parts;
}

/** Names and values; a hash can be copied, the SHA-256 looked up. */
function list(rows, { hashes, lookups }) {
  const items = rows.flatMap(([name, value]) => {
    if (!hashes.includes(name)) return [make("dt", {}, name), make("dd", { class: "name" }, value)];
    const place = make("span", { class: "mono name" }, value);
    return [make("dt", {}, name), make("dd", {}, place, copier(name, place), name === "sha256" ? lookupLinks(value, lookups) : null)];
  });
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
    make("tr", {}, make("th", { scope: "row", class: "name" }, name), make("td", { class: "faint" }, kind), make("td", { class: "mono" }, `${hex(start)}-${hex(end)}`), make("td", { class: "number" }, fixed(entropy, 2)), amount(contribution), bar(scale, contribution), ...checkCells(checked, measured, status)),
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
