/* The regions of a file in a strip: what a panel can show of a file whose bytes the page does not hold. */

/** As wide as the region is large, grey by entropy, a bar of its contribution; a mark for each hot range. */
function strip(size, regions, hot) {
  const [WIDE, AXIS, UP, DOWN, BAR] = [700, 42, 26, 14, 5];
  const unit = WIDE / Math.max(size, 1);
  const strongest = Math.max(...regions.map((region) => Math.abs(region[5])), 0) || 1;
  const place = (start, end, least) => {
    const width = Math.max((end - start) * unit, least);
    return { x: Math.min(start * unit, WIDE - width).toFixed(2), width: width.toFixed(2) };
  };
  const parts = regions.map(([name, kind, start, end, entropy, contribution]) => {
    const said = `${name}, ${kind}, ${hex(start)}-${hex(end)}: entropy ${fixed(entropy, 2)}, contribution ${signed(contribution)}`;
    const height = (Math.abs(contribution) / strongest) * (contribution > 0 ? UP : DOWN);
    // All bars have one width, so that a large region does not look hotter than it is.
    const middle = Math.min(Math.max(((start + end) / 2) * unit - BAR / 2, 0), WIDE - BAR);
    return draw(
      "g",
      {},
      draw("title", {}, said),
      draw("rect", { class: "region", ...place(start, end, 1), y: 0, height: 12, "fill-opacity": (0.05 + 0.08 * entropy).toFixed(2) }),
      draw("rect", { class: contribution > 0 ? "for" : "against", x: middle.toFixed(2), width: BAR, y: contribution > 0 ? AXIS - height : AXIS, height }),
    );
  });
  const marks = hot.map(([region, start, end, , contribution]) => {
    const said = `hot range ${hex(start)}-${hex(end)} in ${region}: contribution ${signed(contribution)}`;
    return draw("g", {}, draw("title", {}, said), draw("rect", { class: contribution > 0 ? "for" : "against", ...place(start, end, 2), y: 59, height: 5 }));
  });
  const whole = draw("rect", { class: "whole", x: 0, width: WIDE, y: 0, height: 12 });
  const axis = draw("line", { class: "axis", x1: 0, x2: WIDE, y1: AXIS, y2: AXIS });
  return draw("svg", { class: "strip", viewBox: `0 0 ${WIDE} 64`, role: "img", "aria-label": "The regions of the table below, in the order of the file" }, whole, ...parts, axis, ...marks);
}
