/* The strip: what is pointed at, or walked over by keys, says what it is. */

function stripOf(places) {
  const strip = document.getElementById("strip");
  const said = document.getElementById("said");
  // In the order of the file, hot ranges after the regions that hold them.
  const parts = [...strip.querySelectorAll("[data-place]")];
  let at = null;

  function show(part) {
    if (part === at && said.hasChildNodes()) return;
    at = part;
    for (const other of parts) other.classList.toggle("at", other === part);
    const lines = part ? places[part.dataset.place] : ["Point at a region or a hot range, or walk over them with the arrow keys."];
    said.replaceChildren(...lines.map((line) => make("p", { class: part ? "name" : "faint" }, line)));
  }

  const named = (name) => parts.find((part) => part.dataset.place === name) || null;
  strip.setAttribute("role", "application");
  strip.setAttribute("tabindex", "0");
  said.hidden = false;
  show(null);
  // A row of the table and the heading of a hot range name the same bytes.
  document.addEventListener("pointerover", (event) => {
    const part = event.target.closest("[data-place], tr[data-light], h3[data-light]");
    if (part) show(named(part.dataset.place || part.dataset.light));
  });
  strip.addEventListener("pointerleave", () => {
    if (document.activeElement !== strip) show(null);
  });
  strip.addEventListener("blur", () => show(null));
  strip.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) show(parts[Math.min(Math.max(at ? parts.indexOf(at) + step : 0, 0), parts.length - 1)]);
    else if (event.key === "Enter" && at) at.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    else return;
    event.preventDefault();
  });
}

if (document.getElementById("strip")) stripOf(data("strip-data"));
