// A session of onnxruntime-web in a page of headless Chromium: WebAssembly, one thread, as a site without special
// headers has it. Package and model come from a server on this machine, since a page of file:// may not fetch.
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { Browser } from "../browser/browser.mjs";

const types = { ".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm" };

// The page, "/", the files of the package, and the model.
function serve(model) {
  const library = path.join(process.cwd(), "node_modules/onnxruntime-web/dist");
  const server = http.createServer((request, response) => {
    const name = path.basename(new URL(request.url, "http://localhost").pathname);
    if (name === "") return response.setHeader("Content-Type", "text/html").end("<!doctype html><title>ONNX</title>");
    if (name === "favicon.ico") return response.writeHead(204).end();
    const file = name === "model.onnx" ? model : path.join(library, name);
    if (!fs.existsSync(file)) return response.writeHead(404).end();
    response.setHeader("Content-Type", types[path.extname(name)] ?? "application/octet-stream");
    fs.createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

// In the page. Numbers travel as JSON, in which a float's shortest decimal is that float.
async function create() {
  const ort = await import("/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = location.origin + "/";
  const session = await ort.InferenceSession.create("/model.onnx", { executionProviders: ["wasm"] });
  window.runSession = async (feeds) => {
    const tensors = Object.entries(feeds).map(([name, { type, data, shape }]) =>
      [name, new ort.Tensor(type, type === "int64" ? BigInt64Array.from(data, BigInt) : Float32Array.from(data), shape)]);
    const out = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(out).map(([name, t]) => [name, { data: [...t.data], shape: t.dims }]));
  };
  return Object.fromEntries(session.inputMetadata.map((m) => [m.name, m.shape]));
}

export async function openInBrowser(program, model) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "onnx-web-"));
  const server = await serve(model);
  const browser = new Browser(program, profile);
  const url = `http://127.0.0.1:${server.address().port}/`;
  const page = await browser.open(url, { width: 800, dark: false, script: true });
  const inputs = await page.run(create);
  return {
    inputs,
    async run(feeds) {
      const plain = Object.fromEntries(Object.entries(feeds).map(([name, { type, data, shape }]) =>
        [name, { type, shape, data: Array.from(data, Number) }]));
      return page.run((f) => window.runSession(f), plain);
    },
    async close() {
      if (page.faults.length > 0) throw new Error(`the page says ${page.faults.join("; ")}`);
      await browser.close();
      server.close();
      fs.rmSync(profile, { recursive: true, force: true });
    },
  };
}
