"use strict";
// A chat with the model of this server, by the interface that all its clients use. Nothing is stored but the API key,
// for as long as the tab is open. Text of the model is never HTML.

const $ = id => document.getElementById(id);
const conversation = [];  // messages as the interface has them
let attached = [];  // {kind, name, url}
let chat = 0;  // counts the conversations
let running = null;  // AbortController of the reply that is written
let model = null;

$("key").value = sessionStorage.getItem("key") || "";

function headers() {
  const key = $("key").value.trim();
  return {"Content-Type": "application/json", ...(key ? {Authorization: `Bearer ${key}`} : {})};
}

async function connect() {
  try {
    const found = await fetch("v1/models", {headers: headers()});
    const body = await found.json();
    if (!found.ok) throw new Error(body.error.message);
    model = body.data[0];
    $("max-tokens").value = Math.min($("max-tokens").value, Math.floor(model.max_model_len / 2));
    $("model").textContent = `${model.id} · ${model.max_model_len.toLocaleString("en")} tokens`;
  } catch (error) {
    model = null;
    $("model").textContent = error.message;
    if (/API key/.test(error.message)) showSettings(true);
  }
  for (const one of document.querySelectorAll(".draws")) one.hidden = !draws();
  $("draw").hidden = !draws();
  $("files").disabled = !model || !model.sees;
  $("attach").classList.toggle("off", $("files").disabled);
  $("attach").title = $("files").disabled ? "This model reads text only" : "Attach pictures or videos";
}

function draws() {
  return Boolean(model && model.draws);
}

function showSettings(shown) {
  $("settings").hidden = !shown;
  $("open-settings").setAttribute("aria-expanded", shown);
}

function element(tag, parent, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  parent.append(made);
  return made;
}

// Shows the parts of a message: text, and pictures and videos that a user attached or the model made.
function show(message, box) {
  const parts = typeof message.content === "string" ? [{type: "text", text: message.content}] : message.content;
  const media = parts.filter(part => part.type !== "text");
  box.replaceChildren();
  if (media.length) {
    const row = element("div", box, {className: "media"});
    for (const part of media) {
      if (part.type === "image_url") element("img", row, {src: part.image_url.url, alt: "picture"});
      if (part.type === "video_url") element("video", row, {src: part.video_url.url, controls: true});
    }
  }
  element("div", box, {className: "text", textContent: parts.map(part => part.text || "").join("")});
}

function bubble(message) {
  $("empty").hidden = true;
  const box = element("div", $("log"), {className: `message ${message.role}`});
  show(message, box);
  box.scrollIntoView({block: "end"});
  return box;
}

function note(box, text, isWrong = false) {
  element("div", box, {className: isWrong ? "note wrong" : "note", textContent: text}).scrollIntoView({block: "end"});
}

function append(message, content) {
  if (typeof content === "string" && typeof message.content === "string") {
    message.content += content;
    return;
  }
  if (typeof message.content === "string") message.content = [{type: "text", text: message.content}];
  for (const part of typeof content === "string" ? [{type: "text", text: content}] : content) {
    const last = message.content.at(-1);
    if (part.type === "text" && last && last.type === "text") last.text += part.text;
    else message.content.push(part);
  }
}

async function* events(response) {
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = response.body.getReader();;) {
    const {done, value} = await reader.read();
    if (done) return;
    const pieces = (rest + decoder.decode(value, {stream: true})).split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) {
      const data = piece.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function number(id, read = parseFloat) {
  return $(id).value === "" ? undefined : read($(id).value);
}

function sampling() {
  return {
    model: model && model.id,
    temperature: number("temperature"),
    seed: number("seed", value => parseInt(value, 10)),
  };
}

function request() {
  const system = $("system").value.trim();
  return {
    ...sampling(),
    messages: [...(system ? [{role: "system", content: system}] : []), ...conversation],
    max_tokens: number("max-tokens", value => parseInt(value, 10)),
    stream: true,
    stream_options: {include_usage: true},
  };
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

// Pictures and videos are not part of the conversation: the model reads what it is asked, not what it drew.
async function draw(description) {
  bubble({role: "user", content: description});
  const box = bubble({role: "assistant", content: ""});
  const started = performance.now(), mine = chat;
  running = new AbortController();
  busy(true);
  try {
    const body = {...sampling(), prompt: description, frames: number("frames"), guidance: number("guidance")};
    const {data} = await (await post("v1/images/generations", body)).json();
    const parts = data.map(one => {
      const type = one.media_type.startsWith("video") ? "video_url" : "image_url";
      return {type, [type]: {url: `data:${one.media_type};base64,${one.b64_json}`}};
    });
    show({content: parts}, box);
    note(box, `${((performance.now() - started) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (error.name === "AbortError") note(box, "stopped");
    else note(box, error.message, true);
  }
  if (mine !== chat) return;
  running = null;
  busy(false);
}

async function reply() {
  const message = {role: "assistant", content: ""};
  const box = bubble(message);
  const started = performance.now(), mine = chat;
  let usage = null, finish = null;
  running = new AbortController();
  busy(true);
  try {
    const response = await post("v1/chat/completions", request());
    const log = $("log");
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      usage = event.usage || usage;
      const choice = event.choices[0];
      if (!choice) continue;
      finish = choice.finish_reason || finish;
      if (!choice.delta.content) continue;
      const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
      append(message, choice.delta.content);
      show(message, box);
      if (follows) box.scrollIntoView({block: "end"});
    }
    const seconds = (performance.now() - started) / 1000;
    const cut = finish === "length" ? " · ended at the largest number of tokens" : "";
    if (usage) note(box, `${usage.prompt_tokens} + ${usage.completion_tokens} tokens, ${seconds.toFixed(1)} s${cut}`);
  } catch (error) {
    if (error.name === "AbortError") note(box, "stopped");
    else note(box, error.message, true);
  }
  // A turn without a reply is not repeated to the model.
  if (mine !== chat) return;
  if (message.content.length) conversation.push(message);
  else conversation.pop();
  running = null;
  busy(false);
}

function busy(is) {
  $("send").hidden = is;
  $("draw").hidden = is || !draws();
  $("stop").hidden = !is;
  if (!is) $("text").focus();
}

function attach(files) {
  for (const file of files) {
    const kind = file.type.split("/")[0];
    if (kind !== "image" && kind !== "video") continue;
    const reader = new FileReader();
    reader.onload = () => {
      attached.push({kind, name: file.name, url: reader.result});
      showAttached();
    };
    reader.readAsDataURL(file);
  }
}

function showAttached() {
  $("attached").replaceChildren();
  for (const one of attached) {
    const item = element("li", $("attached"));
    element(one.kind === "image" ? "img" : "video", item, {src: one.url, alt: "", muted: true});
    element("span", item, {className: "name", textContent: one.name});
    const remove = element("button", item, {type: "button", className: "plain", textContent: "×", title: `Remove ${one.name}`});
    remove.onclick = () => { attached = attached.filter(other => other !== one); showAttached(); };
  }
}

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

$("ask").onsubmit = event => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (running || (!text && !attached.length)) return;
  const media = attached.map(({kind, url}) => ({type: `${kind}_url`, [`${kind}_url`]: {url}}));
  const content = media.length ? [...media, ...(text ? [{type: "text", text}] : [])] : text;
  conversation.push({role: "user", content});
  bubble(conversation.at(-1));
  attached = [];
  showAttached();
  $("text").value = "";
  grow();
  reply();
};
$("draw").onclick = () => {
  const text = $("text").value.trim();
  if (running || !text) return;
  $("text").value = "";
  grow();
  draw(text);
};
$("text").oninput = grow;
$("text").onkeydown = event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
};
$("stop").onclick = () => running && running.abort();
$("clear").onclick = () => {
  if (running) running.abort();
  running = null;
  busy(false);
  chat += 1;
  conversation.length = 0;
  $("log").replaceChildren($("empty"));
  $("empty").hidden = false;
};
$("files").onchange = () => { attach($("files").files); $("files").value = ""; };
document.body.ondragover = event => event.preventDefault();
document.body.ondrop = event => {
  event.preventDefault();
  if (!$("files").disabled) attach(event.dataTransfer.files);
};
$("text").onpaste = event => { if (!$("files").disabled) attach(event.clipboardData.files); };
$("open-settings").onclick = () => showSettings($("settings").hidden);
$("settings").onsubmit = event => event.preventDefault();
$("key").onchange = () => { sessionStorage.setItem("key", $("key").value.trim()); connect(); };
connect();
