// Looking closely: values under the pointer, one cluster or observation in every picture, zoom in an enlarged one.
const lines = (document.querySelector("main").dataset.observations ?? "").split("\n");
const told = Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]));
const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
const all = selector => [...document.querySelectorAll(selector)];
const rounded = (value, reach) => value.toFixed(Math.max(0, Math.min(12, 2 - Math.floor(Math.log10(reach)))));

function placed(svg, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  for (const { at: [l, t, r, b], ends: [x0, x1, y0, y1], names } of JSON.parse(svg.dataset.panels)) {
    if (point.x < l || point.x > r || point.y < t || point.y > b) continue;
    const x = x0 + (x1 - x0) * (point.x - l) / (r - l), y = y1 + (y0 - y1) * (point.y - t) / (b - t);
    return `${names[0]} ${rounded(x, Math.abs(x1 - x0))}, ${names[1]} ${rounded(y, Math.abs(y1 - y0))}`;
  }
}

function say(event, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
}

function near({ clientX, clientY }) {
  for (const [x, y] of [[0, 0], [3, 0], [-3, 0], [0, 3], [0, -3]]) {
    const found = document.elementsFromPoint(clientX + x, clientY + y).find(each => each.dataset?.obs !== undefined);
    if (found) return found.dataset.obs;
  }
}

function pickObservation(position) {
  for (const each of all(".picked")) each.classList.remove("picked");
  if (position !== undefined) for (const each of all(`[data-obs="${position}"]`)) each.classList.add("picked");
}

function pickCluster(name) {
  const root = document.documentElement, same = name === undefined || root.dataset.cluster === name;
  if (same) delete root.dataset.cluster; else root.dataset.cluster = name;
  for (const each of all("svg [data-cluster]")) each.classList.toggle("aside", !same && each.dataset.cluster !== name);
  for (const each of all(".picker button")) each.setAttribute("aria-pressed", String(!same && each.value === name));
}

function zoom(svg, factor, event) {
  const whole = (svg.dataset.whole ??= svg.getAttribute("viewBox")).split(" ").map(Number);
  const [left, top, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const next = Math.min(whole[2], Math.max(whole[2] / 40, width * factor)), share = next / width;
  const within = (start, size, most) => Math.min(Math.max(start, 0), most - size);
  const x = within(point.x - (point.x - left) * share, next, whole[2]);
  const y = within(point.y - (point.y - top) * share, height * share, whole[3]);
  svg.setAttribute("viewBox", [x, y, next, height * share].join(" "));
}

for (const svg of all("svg[data-panels]")) {
  svg.addEventListener("pointermove", event => {
    const obs = near(event);
    say(event, obs === undefined ? placed(svg, event) : `observation ${obs}${told[obs] ? `: ${told[obs]}` : ""}`);
  });
  svg.addEventListener("pointerleave", event => say(event));
  svg.addEventListener("click", event => pickObservation(near(event)));
  svg.addEventListener("wheel", event => {
    if (!svg.closest("figure:target")) return;
    event.preventDefault();
    zoom(svg, event.deltaY > 0 ? 1.2 : 1 / 1.2, event);
  }, { passive: false });
  svg.addEventListener("dblclick", () => svg.dataset.whole && svg.setAttribute("viewBox", svg.dataset.whole));
}

const names = [...new Set(all("svg [data-cluster]").map(each => each.dataset.cluster))].sort((a, b) => a - b);
const called = Object.fromEntries(all("svg [data-name]").map(each => [each.dataset.cluster, each.dataset.name]));
if (names.length > 1) {
  const picker = Object.assign(document.createElement("div"), { className: "picker" });
  picker.setAttribute("role", "group");
  picker.setAttribute("aria-label", "Show one cluster in every picture");
  picker.append("Show cluster ");
  for (const name of names) {
    const button = Object.assign(document.createElement("button"), { type: "button", value: name, textContent: called[name] ?? name });
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => pickCluster(name));
    picker.append(button);
  }
  document.querySelector("nav").append(picker);
}
