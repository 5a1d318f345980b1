// Fills the station's page from /page.json, twice a second. Text goes in by textContent only.
"use strict";

const at = (id) => document.getElementById(id);
const shown = (value, digits) => (value === null || value === undefined ? "–" : Number(value).toFixed(digits));
const MOODS = { OK: "ok", INSPECTING: "ok", READY: "ok", NG: "bad", FAULT: "bad", FAIL: "bad" };
const mood = (word) => MOODS[word] || "warn";
let best = null;
let drawn = "";

function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function row(cells) {
  const line = document.createElement("tr");
  for (const [text, kind] of cells) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (kind) cell.className = kind;
    line.append(cell);
  }
  return line;
}

function item(text, remedy) {
  const line = document.createElement("li");
  line.textContent = text;
  if (remedy) {
    const more = document.createElement("span");
    more.className = "remedy";
    more.textContent = "→ " + remedy;
    line.append(more);
  }
  return line;
}

function draw(id, minute, column, top) {
  const points = minute.map((one) => {
    const x = 120 * (1 - one[0] / 60);
    const y = 38 - (36 * one[column]) / (top || 1);
    return x.toFixed(1) + "," + Math.max(1, y).toFixed(1);
  });
  let line = at(id).querySelector("polyline");
  if (!line) {
    line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    at(id).append(line);
  }
  line.setAttribute("points", points.join(" "));
}

function showAid(aid) {
  if (!aid) return;
  if (aid.error) {
    say("light-words", aid.error);
    return;
  }
  best = best === null ? aid.best_sharpness : Math.max(best, aid.sharpness);
  say("sharpness", shown(aid.sharpness, 0));
  say("best", shown(best, 0));
  say("brightness", shown(aid.brightness, 0));
  say("burnt", shown(100 * aid.burnt_share, 1) + " %");
  at("sharp-meter").max = Math.max(best, 1);
  at("sharp-meter").value = aid.sharpness;
  at("bright-meter").value = aid.brightness;
  draw("sharp-minute", aid.minute, 1, Math.max(1, ...aid.minute.map((one) => one[1])));
  draw("bright-minute", aid.minute, 2, 255);
  for (const name of ["light", "focus"]) {
    say(name + "-words", aid[name].found + (aid[name].remedy ? " → " + aid[name].remedy : ""));
  }
}

function show(page) {
  const status = page.status;
  const place = status.station;
  say("station", [place.site, place.line, place.station].join(" / "));
  say("state", status.state);
  at("state").className = "badge " + mood(status.state);
  at("simulated").hidden = !status.is_simulated;
  const counts = Object.entries(status.verdict_counts).map(([verdict, count]) => verdict + " " + count);
  say("sums", [status.parts_total + " parts", ...counts, shown(status.parts_per_minute, 1) + " a minute"].join(" · "));
  at("faults").replaceChildren(
    ...(status.faults.length
      ? status.faults.map((fault) => item(fault.code + ": " + fault.message, fault.remedy))
      : [item("none")]));
  at("stages").replaceChildren(...page.stages.map((stage) => row([
    [stage.stage], [shown(stage.p50_ms, 2)], [shown(stage.p99_ms, 2)], [shown(stage.max_ms, 2)],
    [shown(stage.budget_ms, 0)], [stage.over_budget + " of " + stage.count, stage.over_budget ? "warn" : ""],
    [String(stage.late), stage.late ? "bad" : ""]])));
  say("deadline", "capture to verdict at most " + page.deadline_ms + " ms; figures of the last 30 s");
  at("packages").replaceChildren(
    ...(status.active.length
      ? status.active.map((one) => item(
        one.product + ": " + one.package_id.slice(0, 12) + " (" + one.variant + ", " + one.provider + ")"))
      : [item("no package is active: every part is held")]));
  const queues = [["reports without receipt", status.outbox_rows], ["pictures to upload", status.evidence_pending],
    ["pictures dropped", status.evidence_dropped], ["frames waiting", page.queue_length]];
  at("queues").replaceChildren(...queues.flatMap(([name, count]) => {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = String(count);
    return [term, value];
  }));
  at("parts").replaceChildren(...page.parts.map((part) => row([
    [new Date(part.captured_at).toLocaleTimeString()], [String(part.trigger_number ?? "–")], [part.part_id ?? "–"],
    [part.product ?? "–"], [part.verdict, mood(part.verdict)], [part.defect_class || part.image_fault || part.cause],
    [shown(part.score, 4)], [shown(part.ng_limit, 4)], [shown(part.verdict_ms, 1)]])));
  showAid(page.aid);
  if (page.picture) showPicture(page.picture);
}

function showPicture(picture) {
  at("nothing").hidden = true;
  at("picture").hidden = false;
  const time = new Date(picture.captured_at).toLocaleTimeString();
  say("caption", "part " + picture.trigger_number + ", " + time + (picture.has_roi ? "" : ", the whole frame is looked at"));
  const wanted = (at("roi").checked ? "roi&" : "") + (at("heat").checked ? "heat&" : "") + "n=" + picture.number;
  if (wanted !== drawn && at("picture").complete) {
    drawn = wanted;
    at("picture").src = "/picture.jpg?" + wanted;
  }
}

async function tick() {
  try {
    const answer = await fetch("/page.json", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error("HTTP " + answer.status);
    show(await answer.json());
    at("offline").hidden = true;
  } catch {
    at("offline").hidden = false;
  }
  setTimeout(tick, document.hidden ? 3000 : 500);
}

at("anew").addEventListener("click", () => { best = 0; });
tick();
