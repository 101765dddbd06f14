// Keeps pages up to date, and serves the pictures' controls. Without it every page still works.
"use strict";

const live = document.querySelectorAll("[data-live]");

async function refresh() {
  const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "manual" });
  if (!answer.ok) {
    if (answer.type === "opaqueredirect") location.reload(); // signed out meanwhile
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now || now.innerHTML === old.innerHTML || old.contains(document.activeElement)) continue;
    const open = [...old.querySelectorAll("details")].map((one) => one.open);
    old.innerHTML = now.innerHTML;
    old.querySelectorAll("details").forEach((one, n) => { one.open = open[n] ?? one.open; });
    if (!now.hasAttribute("data-live")) { // an image that has been read
      old.removeAttribute("data-live");
      sliders(old);
    }
  }
}

if (live.length && location.search.indexOf("after=") < 0) {
  let waiting = null;
  let known = null;
  const stream = new EventSource("/changes");
  const say = document.getElementById("live");
  const soon = () => { waiting ??= setTimeout(() => { waiting = null; refresh().catch(() => {}); }, 300); };
  stream.addEventListener("at", (event) => {
    if (event.data !== known) soon(); // since the page was made, or between two streams
    known = event.data;
    if (say) say.textContent = "Live.";
  });
  stream.addEventListener("changed", (event) => { known = event.data; soon(); });
  let lost = null;
  stream.addEventListener("error", () => {
    lost ??= setTimeout(() => { if (say && stream.readyState !== EventSource.OPEN) say.textContent = "Not live: the node does not answer."; lost = null; }, 5000);
  });
  addEventListener("pagehide", () => stream.close());
}

const tools = document.querySelector(".viewtools");
if (tools) {
  const images = document.querySelector(".images");
  const contours = document.getElementById("contours");
  const opacity = document.getElementById("opacity");
  const zoom = document.getElementById("zoom");
  tools.hidden = false;
  contours.addEventListener("change", () => {
    for (const one of images.querySelectorAll(".contour")) one.hidden = !contours.checked;
  });
  opacity.addEventListener("input", () => {
    for (const one of images.querySelectorAll(".contour")) one.style.opacity = opacity.value;
  });
  zoom.addEventListener("input", () => {
    images.className = `images z${String(10 * zoom.value)}`;
  });
  sliders(images);
}

// Lets the frames of a cine be turned.
function sliders(root) {
  for (const slider of root.querySelectorAll(".frames input")) {
    const article = slider.closest("article");
    const view = article.querySelector(".view");
    const numbers = view.dataset.frames.split(",");
    slider.hidden = false;
    let wanted = null;
    slider.addEventListener("input", () => {
      const number = numbers[slider.value];
      slider.parentElement.querySelector("output").textContent = number;
      clearTimeout(wanted);
      wanted = setTimeout(() => {
        view.querySelector(".picture").src = `${view.dataset.place}${number}.png`;
        view.querySelector(".picture").alt = `Frame ${number}`;
        view.querySelector(".contour").src = `${view.dataset.place}${number}.svg`;
      }, 120);
    });
  }
}
