// Drives the page of the model in a headless Chromium, from a static server on loopback: writes, stops, copies, scores,
// goes offline, fits a telephone. Run by scripts/check-web.sh, which gives the folder, CHROMIUM and PICTURES.

import puppeteer from "puppeteer-core";
import { serve } from "./web-server.mjs";

const { CHROMIUM, PICTURES } = process.env;
const folder = process.argv[2];
const check = (holds, what) => { if (!holds) throw new Error("failed: " + what); console.log("ok: " + what); };

const { url, server } = await serve(folder);

const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 860 });
  const faults = [], outside = [];
  page.on("pageerror", error => faults.push(error.message));
  page.on("console", message => message.type() === "error" && faults.push(message.text()));
  const isInside = address => address.startsWith(url) || address.startsWith("data:");
  page.on("request", request => { if (!isInside(request.url())) outside.push(request.url()); });
  const text = selector => page.$eval(selector, node => node.textContent);
  const set = (selector, value) => page.$eval(selector, (node, value) => { node.value = value; }, value);
  const until = (test, ...values) => page.waitForFunction(test, { timeout: 60000 }, ...values);
  const isDone = () => until(() => document.getElementById("stop").disabled && /seed/.test(document.getElementById("note").textContent));
  await browser.defaultBrowserContext().overridePermissions(new URL(url).origin, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);

  await page.goto(url, { waitUntil: "load" });
  await until(() => document.getElementById("about").textContent.includes("parameters"));
  check(/293,\d{3} parameters, int4 on simd128/.test(await text("#about")), "the page names its model: " + await text("#about"));

  // Write: the same seed twice, with the colours of probabilities.
  await set("#seed", "1");
  await page.click("#write");
  await isDone();
  const story = await text("#answer");
  check(story.startsWith("Once upon a time") && story.length > 200, "a text is written");
  const colours = await page.$$eval("#answer .token", all => all.map(token => token.style.background));
  check(colours.length > 50 && new Set(colours).size > 10, `tokens are coloured by probability: ${colours.length}`);
  check(/ tokens\/s$/.test(await text("#note")), await text("#note"));
  await page.click("#copy");
  await until(() => document.getElementById("note").textContent === "copied");
  check(await page.evaluate(() => navigator.clipboard.readText()) === story, "it can be copied");
  await page.click("#write");
  await isDone();
  check(await text("#answer") === story, "the same seed gives the same text");

  // Stop a long one, while the page stays responsive.
  await set("#temperature", "2");
  await set("#length", "1000000");
  for (let go = 0; go < 20; go++) {
    await set("#seed", String(go));
    // At once: a text is often written before a second click arrives from here.
    await page.evaluate(() => { document.getElementById("write").click(); document.getElementById("stop").click(); });
    await isDone();
    if ((await text("#note")).startsWith("stopped")) break;
  }
  check((await text("#note")).startsWith("stopped"), "a text can be stopped");
  await set("#temperature", "-1");
  await page.click("#write");
  await until(() => document.getElementById("note").className.includes("bad"));
  check((await text("#note")).startsWith("temperature is -1"), "a wrong setting is said: " + await text("#note"));
  await set("#temperature", "0.8");
  await set("#length", "300");

  // Surprise: every character stays, and what is odd is redder than what is usual.
  const scored = "Once upon a time there was a café at the sea 🐟. Photosynthesis!";
  await set("#text", scored);
  await page.click("#score");
  await until(scored => document.getElementById("map").textContent === scored, scored);
  check(true, "the heat map has the text");
  check(/^\d\.\d{3}$/.test(await text("#figures b")), "bits per byte: " + await text("#figures b"));
  const ends = await page.$$eval("#map .token", all => [all[2], all[all.length - 3]].map(token => token.style.background));
  check(/^rgba\(46/.test(ends[0]) && /^rgba\(231/.test(ends[1]), "what is usual is green, what is odd is red: " + ends);

  // Every model.
  const models = await page.$$eval("#model option", all => all.map(option => option.value));
  for (const model of models) {
    await page.select("#model", model);
    const precision = model.split(".")[1];
    await until(precision => document.getElementById("about").textContent.includes(precision), precision);
    await page.click("#write");
    await isDone();
  }
  check(true, `every model writes: ${models.length}`);

  await page.select("#model", models[0]);
  await set("#seed", "1");
  await page.click("#write");
  await isDone();
  await page.screenshot({ path: PICTURES + "/web.png", fullPage: true });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await page.screenshot({ path: PICTURES + "/web-dark.png", fullPage: true });
  await page.emulateMediaFeatures([]);
  await page.setViewport({ width: 390, height: 840 });
  await page.waitForFunction(() => document.documentElement.clientWidth === 390);
  check(await page.evaluate(() => document.documentElement.scrollWidth) <= 390, "it fits a narrow screen");
  await page.screenshot({ path: PICTURES + "/web-narrow.png", fullPage: true });

  // Without a network, after the first visit.
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  server.close();
  server.closeAllConnections();
  const before = faults.length;
  await page.reload({ waitUntil: "load" });
  await until(() => document.getElementById("about").textContent.includes("parameters"));
  await page.click("#write");
  await isDone();
  check((await text("#answer")).length > 100, "it works without a network");
  // The browser itself notes what it could not fetch anew.
  faults.splice(before, faults.length, ...faults.slice(before).filter(fault => !/ERR_CONNECTION|Failed to load resource/.test(fault)));

  check(outside.length === 0, "nothing is loaded from elsewhere " + outside.join(" "));
  check(faults.length === 0, "no errors in the console " + faults.join("; "));
} finally {
  await browser.close();
  server.close();
}
