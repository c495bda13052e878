"use strict";
(() => {
  const box = document.getElementById("box"), stage = document.getElementById("stage");
  const part = (name) => document.getElementById(`box-${name}`);
  let figures = [], at = 0;

  // A mask and its button, in a figure or in the enlarged picture.
  function set(root, n, on) {
    for (const mask of root.querySelectorAll(`.m[data-n="${n}"]`)) mask.classList.toggle("off", !on);
    for (const chip of root.querySelectorAll(`.chip[data-n="${n}"]`)) chip.setAttribute("aria-pressed", on);
  }
  const isOn = (chip) => chip.getAttribute("aria-pressed") === "true";
  function change(n, on) {
    set(figures[at], n, on);
    set(box, n, on);
  }

  function show(index) {
    at = (index + figures.length) % figures.length;
    const figure = figures[at], svg = figure.querySelector(".open svg"), caption = figure.querySelector("figcaption");
    const title = caption.querySelector("b").textContent, article = figure.closest("article");
    part("title").textContent = article ? `${article.querySelector("h3").textContent}: ${title}` : title;
    part("caption").textContent = [...caption.childNodes].slice(1).map((node) => node.textContent).join("");
    part("place").textContent = `${at + 1} of ${figures.length}`;
    part("original").hidden = true;
    const picture = document.createElement("img");
    picture.alt = part("title").textContent;
    stage.replaceChildren(picture);
    part("chips").replaceChildren(...[...figure.querySelectorAll(".chip")].map((chip) => chip.cloneNode(true)));
    part("masks").hidden = !part("chips").children.length;
    if (!svg) {
      picture.src = figure.querySelector(".open img").src;
      return;
    }
    const photo = document.querySelector(svg.querySelector("use").getAttribute("href"));
    picture.src = photo.getAttribute("href");
    const original = photo.dataset.original, whole = new Image();
    whole.onload = () => { if (picture.isConnected) picture.src = original; };  // the thumbnail stays where there is none
    whole.src = original;
    if (!original.startsWith("data:")) {
      part("original").href = original;
      part("original").hidden = false;
    }
    const masks = svg.cloneNode(true);
    masks.querySelector("use").remove();
    masks.removeAttribute("role");
    masks.setAttribute("aria-hidden", "true");
    stage.append(masks);
  }

  function toggleAll() {
    const chips = [...part("chips").children], on = !chips.some(isOn);
    for (const chip of chips) change(chip.dataset.n, on);
  }

  document.addEventListener("click", (event) => {
    const chip = event.target.closest(".chip"), open = event.target.closest(".open");
    if (chip && box.contains(chip)) change(chip.dataset.n, !isOn(chip));
    else if (chip) set(chip.closest(".pic"), chip.dataset.n, !isOn(chip));
    else if (open) {
      figures = [...document.querySelectorAll(".pic")].filter(
        (figure) => figure.querySelector(".open") && !figure.closest("details:not([open])"));
      box.showModal();
      show(figures.indexOf(open.closest(".pic")));
    }
  });
  part("previous").onclick = () => show(at - 1);
  part("next").onclick = () => show(at + 1);
  part("close").onclick = () => box.close();
  part("masks").onclick = toggleAll;
  stage.onclick = () => box.close();
  box.onclose = () => figures[at].querySelector(".open").focus();
  box.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") show(at - 1);
    else if (event.key === "ArrowRight") show(at + 1);
    else if (event.key.toLowerCase() === "m") toggleAll();
    else if (/^[1-9]$/.test(event.key)) {
      const chip = [...part("chips").children].find((one) => one.textContent.trim().split(/\s/)[0] === event.key);
      if (chip) change(chip.dataset.n, !isOn(chip));
    } else return;
    event.preventDefault();
  };

  const view = document.getElementById("view");
  const masked = [...document.querySelectorAll("section")].filter((section) => section.querySelector(".m")), seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target);
    view.hidden = !seen.size;
  });
  for (const section of masked) watch.observe(section);
  document.getElementById("truth").parentElement.hidden = !document.querySelector(".m.truth");
  view.oninput = (event) => {
    const root = document.documentElement, input = event.target;
    if (input.id === "fill") root.style.setProperty("--fill", input.value);
    if (input.id === "numbers") root.classList.toggle("no-numbers", !input.checked);
    if (input.id === "truth") {
      for (const mask of document.querySelectorAll(".pic .m.truth")) set(mask.closest(".pic"), mask.dataset.n, input.checked);
    }
  };
})();
