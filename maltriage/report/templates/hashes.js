/* What is done with a hash: a click copies it, another one looks it up on a site. */

/** Copy what `place` shows. A page from a file may have no clipboard: then it is selected and copied. */
async function copy(place) {
  try {
    await navigator.clipboard.writeText(place.textContent);
    return true;
  } catch {
    window.getSelection().selectAllChildren(place);
    return document.execCommand("copy");
  }
}

/** The button that copies the hash in `place`, and what says that it did. */
function copier(name, place) {
  const said = make("span", { role: "status", class: "faint" });
  const button = make("button", { type: "button" }, "Copy", make("span", { class: "unseen" }, ` ${name}`));
  button.addEventListener("click", async () => {
    // Where neither way works the hash stays selected.
    said.textContent = (await copy(place)) ? "copied" : "selected: copy it with the keyboard";
    setTimeout(() => said.replaceChildren(), 4000);
  });
  return make("span", { class: "copier" }, button, said);
}

/** Links to sites that know of files by SHA-256; `lookups` has their names and addresses. */
function lookupLinks(sha256, lookups) {
  if (!/^[0-9a-f]{64}$/.test(sha256)) return null;
  const links = lookups.map(([name, address]) => make("a", { href: address.replace("{sha256}", sha256), target: "_blank", rel: "noreferrer noopener" }, name));
  return make("span", { class: "lookups" }, ...links);
}

for (const place of document.querySelectorAll("[data-hash]")) place.after(copier(place.dataset.hash, place));
