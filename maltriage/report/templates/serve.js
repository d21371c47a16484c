/* Sends files, one after the other, to the server that the page comes from. The token is in the
   fragment of the first URL, which no browser sends, and then in this tab alone. */

const tokenName = "maltriage-token";
if (location.hash.length > 1) {
  sessionStorage.setItem(tokenName, location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

const form = document.getElementById("form");
const input = document.getElementById("files");
const statusLine = document.getElementById("status");
const refusedLine = document.getElementById("refused");
const results = document.getElementById("results");
let queue = Promise.resolve();

function say(text) {
  refusedLine.textContent = text;
  refusedLine.hidden = !text;
}

function row(name, record, place) {
  const verdict = record.type === "result"
    ? `${record.verdict.label}${record.verdict.flagged ? ", flagged" : ""}`
    : record.reason;
  const links = place
    ? [make("a", { href: place }, "page"), " ", make("a", { href: `${place}/json` }, "JSON")]
    : [];
  results.tBodies[0].prepend(
    make("tr", null, make("td", null, name), make("td", null, verdict), make("td", null, ...links)),
  );
  results.hidden = false;
}

async function send(file) {
  statusLine.textContent = `Scanning ${file.name} ...`;
  try {
    const answer = await fetch(`/scan?name=${encodeURIComponent(file.name)}`, {
      method: "POST",
      body: file,
      headers: {
        Authorization: `Bearer ${sessionStorage.getItem(tokenName) || ""}`,
        "Content-Type": "application/octet-stream",
      },
    });
    const found = await answer.json();
    if (!answer.ok) {
      say(`${file.name}: ${found.error}`);
      return;
    }
    say("");
    const place = answer.headers.get("Location");
    for (const record of found.records.slice(0, 100)) row(record.path, record, place);
    if (!found.records.length) row(file.name, { type: "skipped", reason: "nothing in it" }, place);
  } catch (error) {
    say(`${file.name}: the server does not answer`);
  } finally {
    statusLine.textContent = "";
  }
}

function sendAll(files) {
  for (const file of files) queue = queue.then(() => send(file));
}

if (!sessionStorage.getItem(tokenName)) {
  say("No token: open the address that maltriage serve printed.");
}
input.addEventListener("change", () => {
  sendAll([...input.files]);
  form.reset();
});
form.addEventListener("submit", (event) => event.preventDefault());
for (const name of ["dragover", "dragleave", "drop"]) {
  form.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.toggle("over", name === "dragover");
    if (name === "drop") sendAll([...event.dataTransfer.files]);
  });
}
