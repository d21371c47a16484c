/* The byteplot: a cell says where it lies, and what is picked in the tables lights its bytes. */

function byteplot(plot) {
  const canvas = document.getElementById("plot");
  const over = document.getElementById("over");
  const box = document.getElementById("cell");
  const readout = document.getElementById("readout");
  const out = document.getElementById("out");
  const [height, width] = plot.shape;
  const { width: unitsWide, height: unitsHigh } = over.viewBox.baseVal;
  let at = null;
  let lit = "";

  const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  /** What is known of a cell, as lines. */
  function lines(row, column) {
    const index = row * width + column;
    const found = [`cell ${row + 1} down, ${column + 1} across: heat ${signed(plot.heat[index], 4)}`];
    if (!plot.cells) return found;
    const [start, end, rows, bytes, regions] = plot.cells[index];
    if (!bytes) return [...found, "padding: no byte of the file"];
    found.push(
      rows === 1
        ? `${plural(bytes, "byte")}: ${hex(start)}-${hex(end)}`
        : `${plural(bytes, "byte")} in ${plural(rows, "row")} between ${hex(start)} and ${hex(end)}`,
    );
    found.push(regions.map((region) => plot.regions[region][0]).join(", "));
    return found;
  }

  function show(row, column) {
    if (at && at[0] === row && at[1] === column) return;
    at = [row, column];
    box.setAttribute("x", (column * unitsWide) / width);
    box.setAttribute("y", (row * unitsHigh) / height);
    box.setAttribute("width", unitsWide / width);
    box.setAttribute("height", unitsHigh / height);
    box.removeAttribute("hidden");
    readout.replaceChildren(...lines(row, column).map((line) => make("p", { class: "name" }, line)));
  }

  function hide() {
    at = null;
    box.setAttribute("hidden", "");
    readout.replaceChildren(make("p", { class: "faint" }, "Point at the picture, or walk over it with the arrow keys."));
  }

  /** Light the bytes of a region or hot range by the name of its button; "" puts the light out. */
  function light(name) {
    lit = name === lit ? "" : name;
    const outline = (lit && plot.outlines[lit]) || "";
    document.getElementById("lit").setAttribute("d", outline);
    document.getElementById("shade").setAttribute("d", lit ? `M0 0H${unitsWide}V${unitsHigh}H0Z${outline}` : "");
    for (const part of document.querySelectorAll("[data-light]")) {
      const on = part.dataset.light === lit;
      if (part.matches("button")) part.setAttribute("aria-pressed", String(on));
      else part.classList.toggle("on", on);
    }
    out.disabled = !lit;
  }

  /** The place under a pointer, each from 0 to 1. */
  function place(event) {
    const frame = canvas.getBoundingClientRect();
    const within = (value) => Math.min(Math.max(value, 0), 0.999999);
    return [within((event.clientX - frame.left) / frame.width), within((event.clientY - frame.top) / frame.height)];
  }

  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    show(Math.floor(y * height), Math.floor(x * width));
  });
  canvas.addEventListener("pointerleave", () => {
    if (document.activeElement !== canvas) hide();
  });
  canvas.addEventListener("blur", hide);
  canvas.addEventListener("click", (event) => {
    if (!plot.cells) return;
    const [x, y] = place(event);
    const offset = Math.floor(y * unitsHigh) * unitsWide + Math.floor(x * unitsWide);
    const region = plot.regions.findIndex(([, start, end]) => start <= offset && offset < end);
    light(region < 0 ? "" : plot.lights[region]);
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in steps) {
      const [down, across] = steps[event.key];
      const [row, column] = at || [-Math.min(down, 0), -Math.min(across, 0)];
      const from = at ? [down, across] : [0, 0];
      show(
        Math.min(Math.max(row + from[0], 0), height - 1),
        Math.min(Math.max(column + from[1], 0), width - 1),
      );
    } else if (event.key === "Enter" && at && plot.cells) {
      const [first] = plot.cells[at[0] * width + at[1]][4];
      if (first !== undefined) light(plot.lights[first]);
    } else if (event.key === "Escape") {
      if (lit) light("");
      else hide();
    } else {
      return;
    }
    event.preventDefault();
  });

  if (plot.outlines) {
    document.documentElement.classList.add("scripted");
    document.addEventListener("click", (event) => {
      const part = event.target.closest("[data-light]");
      // Text that is being selected in a row is no click on it.
      if (part && !String(window.getSelection())) light(part.dataset.light);
    });
    out.hidden = false;
    out.addEventListener("click", () => light(""));
  }
  const heat = document.getElementById("heat");
  heat.hidden = false;
  heat.addEventListener("click", () => {
    const on = heat.getAttribute("aria-pressed") !== "true";
    heat.setAttribute("aria-pressed", String(on));
    document.getElementById("with-heat").hidden = !on;
    document.getElementById("plain").hidden = on;
  });
  readout.hidden = false;
  hide();
}

const plot = data("plot-data");
if (plot) byteplot(plot);
