// SPDX-License-Identifier: Apache-2.0
// The judging desk: a picture to zoom and drag, answers by key, click or touch. It sends one answer a part
// and then waits for the next one, so that a held key cannot judge a part that nobody has seen.

const desks = new WeakMap();

function classButtons(box, names) {
  box.replaceChildren();
  if (!names.length) return;
  const hint = document.createElement("span");
  hint.className = "hint";
  hint.textContent = "Defective, and it is:";
  box.append(hint);
  names.slice(0, 9).forEach((name, index) => {
    const button = document.createElement("button");
    const key = document.createElement("kbd");
    key.textContent = String(index + 1);
    button.type = "button";
    button.dataset.judgement = "DEFECTIVE";
    button.dataset.defectClass = name;
    button.append(key, document.createTextNode(name.replaceAll("_", " ")));
    box.append(button);
  });
}

function clamp(view, stage) {
  const { width, height } = stage.getBoundingClientRect();
  view.x = Math.min(0, Math.max(width * (1 - view.scale), view.x));
  view.y = Math.min(0, Math.max(height * (1 - view.scale), view.y));
}

function makeDesk(root) {
  const desk = root.querySelector(".desk");
  const stage = root.querySelector(".stage");
  const picture = root.querySelector("img");
  const label = root.querySelector(".zoom");
  const view = { scale: 1, x: 0, y: 0 };
  const state = { auditId: null, names: [], isSent: false, send: () => {} };

  const show = () => {
    clamp(view, stage);
    picture.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    stage.classList.toggle("near", view.scale >= 4);
    label.textContent = view.scale === 1 ? "whole part" : `${view.scale.toFixed(1)} ×`;
  };
  const zoom = (factor, x, y) => {
    const box = stage.getBoundingClientRect();
    const px = x === undefined ? box.width / 2 : x - box.left;
    const py = y === undefined ? box.height / 2 : y - box.top;
    const scale = Math.min(16, Math.max(1, view.scale * factor));
    view.x = px - ((px - view.x) * scale) / view.scale;
    view.y = py - ((py - view.y) * scale) / view.scale;
    view.scale = scale;
    show();
  };
  const fit = () => { Object.assign(view, { scale: 1, x: 0, y: 0 }); show(); };
  const answer = (judgement, defectClass) => {
    if (state.isSent || state.auditId === null) return;
    state.isSent = true;
    desk.setAttribute("aria-busy", "true");
    state.send({ audit_id: state.auditId, judgement, defect_class: defectClass ?? null });
  };

  const onKey = (event) => {
    const target = event.composedPath()[0];
    const isTyping = target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    if (isTyping || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const words = { g: "GOOD", d: "DEFECTIVE", u: "UNSURE" };
    if (key in words) answer(words[key]);
    else if (/^[1-9]$/.test(key) && state.names[Number(key) - 1]) answer("DEFECTIVE", state.names[Number(key) - 1]);
    else if (key === "+" || key === "=") zoom(1.4);
    else if (key === "-") zoom(1 / 1.4);
    else if (key === "0") fit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onClick = (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.zoom) ({ in: () => zoom(1.4), out: () => zoom(1 / 1.4), fit })[button.dataset.zoom]();
    else answer(button.dataset.judgement, button.dataset.defectClass);
    button.blur();
  };
  let grip = null;
  stage.onpointerdown = (event) => {
    if (event.target.closest("button")) return;
    grip = { x: event.clientX - view.x, y: event.clientY - view.y };
    stage.setPointerCapture(event.pointerId);
  };
  stage.onpointermove = (event) => {
    if (!grip) return;
    view.x = event.clientX - grip.x;
    view.y = event.clientY - grip.y;
    show();
  };
  stage.onpointerup = () => { grip = null; };
  stage.ondblclick = (event) => (view.scale > 1 ? fit() : zoom(4, event.clientX, event.clientY));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX, event.clientY);
  }, { passive: false });
  desk.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey, true);

  return {
    update(data, send) {
      state.send = send;
      const names = data.classes ?? [];
      if (names.join("\n") !== state.names.join("\n")) classButtons(root.querySelector(".classes"), names);
      state.names = names;
      if (data.audit_id !== state.auditId || data.attempt !== state.attempt) {
        const isNew = data.audit_id !== state.auditId;
        state.auditId = data.audit_id;
        state.attempt = data.attempt;
        state.isSent = false;
        desk.setAttribute("aria-busy", "false");
        if (isNew) { picture.src = data.picture; fit(); }
      }
    },
    close() { document.removeEventListener("keydown", onKey, true); },
  };
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let desk = desks.get(parentElement);
  if (!desk) {
    desk = makeDesk(parentElement);
    desks.set(parentElement, desk);
  }
  desk.update(data, (value) => setTriggerValue("judged", value));
  return () => {
    desk.close();
    desks.delete(parentElement);
  };
}
