"use strict";

/* What all pages share. Nothing is stored and nothing is asked of a network. */

/** The data of a block of the page, or null where there is none. */
function data(name) {
  const element = document.getElementById(name);
  return element ? JSON.parse(element.textContent) : null;
}

/** An element with attributes and children. Text becomes text, never markup. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same for SVG, all attributes as strings. */
function draw(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A number with so many digits. Of a number halfway the even one, as in the tables: 204.5 is 204, where toFixed has 205. */
function fixed(value, digits) {
  const text = value.toFixed(digits);
  const halfway = Math.abs(value * 2 ** (digits + 1)) % 2 === 1;
  return halfway && Number(text.at(-1)) % 2 ? (Number(text) - Math.sign(value) * 10 ** -digits).toFixed(digits) : text;
}

/** A signed number with three digits, as the tables print it. */
function signed(value, digits = 3) {
  const text = fixed(Math.abs(value), digits);
  return Number(text) === 0 ? text : (value < 0 ? "-" : "+") + text;
}

/** An offset in hexadecimal, at least four digits. */
function hex(value) {
  const text = value.toString(16);
  return text.padStart(Math.max(4, text.length + (text.length % 2)), "0");
}

function theme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show this page ${dark() ? "light" : "dark"}`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
}

theme();
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
