// A headless Chromium, driven over the DevTools protocol through a pipe: node alone is enough.
import { spawn } from "node:child_process";

const kWait = 60_000; // milliseconds

export class Browser {
  constructor(program, profile) {
    const asRoot = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
    const options = ["--headless=new", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "--no-first-run",
      "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb", ...asRoot];
    this.child = spawn(program, options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.waiting = new Map();
    this.listeners = new Map();
    this.last = 0;
    let text = "";
    this.child.stdio[4].on("data", (bytes) => {
      text += bytes;
      const messages = text.split("\0");
      text = messages.pop();
      for (const message of messages) this.receive(JSON.parse(message));
    });
  }

  receive({ id, sessionId, method, params, result, error }) {
    if (id === undefined) {
      this.listeners.get(sessionId)?.(method, params);
      return;
    }
    const { resolve, reject, name } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) reject(new Error(`${name}: ${error.message}`));
    else resolve(result);
  }

  send(name, params = {}, sessionId = undefined) {
    const id = ++this.last;
    this.child.stdio[3].write(JSON.stringify({ id, method: name, params, sessionId }) + "\0");
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${name}: no answer`)), kWait);
      const done = (then) => (value) => (clearTimeout(late), then(value));
      this.waiting.set(id, { resolve: done(resolve), reject: done(reject), name });
    });
  }

  // view: {width, dark, script}
  async open(url, view) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, targetId, view);
    await page.load(url);
    return page;
  }

  async close() {
    // Until it is gone it writes into its profile, which is removed then.
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    await this.send("Browser.close").catch(() => this.child.kill());
    await gone;
  }
}

export class Page {
  constructor(browser, sessionId, targetId, view) {
    Object.assign(this, { browser, sessionId, targetId, view, faults: [] });
    browser.listeners.set(sessionId, (method, params) => this.hear(method, params));
  }

  send(name, params) {
    return this.browser.send(name, params, this.sessionId);
  }

  hear(method, params) {
    if (method === "Page.loadEventFired") this.loaded?.();
    if (method === "Runtime.exceptionThrown") this.faults.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") this.faults.push(params.entry.text);
    if (method === "Runtime.consoleAPICalled" && ["error", "assert"].includes(params.type)) this.faults.push(JSON.stringify(params.args));
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
  }

  async load(url) {
    const { width, dark, script } = this.view;
    this.requests = [];
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await this.send(`${domain}.enable`);
    await this.send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
    await this.send("Emulation.setScriptExecutionDisabled", { value: !script });
    const loaded = new Promise((resolve) => (this.loaded = resolve));
    await this.send("Page.navigate", { url });
    await loaded;
  }

  // `call` runs in the page; what it returns must be JSON.
  async run(call, ...args) {
    const expression = `(${call})(...${JSON.stringify(args)})`;
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  async key(key) {
    const text = { Enter: "\r", " ": " " }[key];
    const codes = { Tab: 9, Enter: 13, " ": 32, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Home: 36, End: 35 };
    const params = { key, code: key === " " ? "Space" : key, windowsVirtualKeyCode: codes[key], text };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...params });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...params });
  }

  async point(x, y, type = "mouseMoved", more = {}) {
    await this.send("Input.dispatchMouseEvent", { type, x, y, ...more });
  }

  // From one place to another with the button down.
  async drag(from, to) {
    await this.point(from.x, from.y);
    await this.point(from.x, from.y, "mousePressed", { button: "left", buttons: 1, clickCount: 1 });
    await this.point(to.x, to.y, "mouseMoved", { button: "left", buttons: 1 });
    await this.point(to.x, to.y, "mouseReleased", { button: "left", clickCount: 1 });
  }

  async screenshot() {
    const height = Math.min(await this.run(() => document.documentElement.scrollHeight), 16000);
    const clip = { x: 0, y: 0, width: this.view.width, height, scale: 1 };
    const { data } = await this.send("Page.captureScreenshot", { clip, captureBeyondViewport: true });
    return Buffer.from(data, "base64");
  }

  async close() {
    this.browser.listeners.delete(this.sessionId);
    await this.browser.send("Target.closeTarget", { targetId: this.targetId });
  }
}
