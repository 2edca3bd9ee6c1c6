// Drives the page of itera-serve in a headless Chromium: types, streams, rates, corrects, learns, and
// sees the charts change. Run by scripts/serve-page.sh, which gives URL, CHROMIUM and PICTURES.

import puppeteer from "puppeteer-core";

const { URL: url, CHROMIUM, PICTURES, LEARNS } = process.env;
const check = (holds, what) => { if (!holds) throw new Error("failed: " + what); console.log("ok: " + what); };

const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 1180 });
  const faults = [], outside = [];
  page.on("pageerror", error => faults.push(error.message));
  page.on("console", message => message.type() === "error" && faults.push(message.text()));
  page.on("request", request => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) outside.push(request.url()); });
  const text = selector => page.$eval(selector, node => node.textContent);
  const shape = id => page.$eval(id, svg => svg.innerHTML);
  const until = (test, ...args) => page.waitForFunction(test, { timeout: 300000 }, ...args);

  await page.goto(url, { waitUntil: "load" });
  await until(() => document.getElementById("about").textContent.includes("parameters"));
  check((await text("#about")).includes("micro-tinystories"), "the page names the model");
  await until(() => document.getElementById("model").options.length > 1);

  // Type and stream. Writing takes milliseconds, so the page counts the pieces that it got.
  await page.$eval("#prompt", node => { node.value = ""; });
  await page.type("#prompt", "Once upon a time there was a little");
  await page.$eval("#length", node => { node.value = "200"; });
  const before = { latency: await shape("#latency"), tokens: await shape("#tokens") };
  await page.click("#write");
  await until(() => document.getElementById("note").textContent.includes("seed"));
  check((await text("#answer")).startsWith("Once upon a time there was a little "), "the answer goes on from the prompt");
  check((await text("#answer")).length > 100, "the answer is a text");
  const pieces = Number(await page.$eval("#answer", node => node.dataset.pieces));
  check(pieces > 20, `the answer came in pieces: ${pieces}`);
  await until(old => document.getElementById("latency").innerHTML !== old, before.latency);
  check(/polyline/.test(await shape("#latency")), "the latency chart has a line");

  // Rate and correct.
  await page.click("#star2");
  check(await page.$$eval("#stars .on", stars => stars.length) === 2, "two stars are lit");
  await page.type("#correction", " dog who lived by the sea and liked to swim with the fish.");
  await page.click("#send");
  await until(() => document.getElementById("said").textContent.startsWith("recorded"));
  check((await text("#said")).includes("1 of 50"), "the feedback counts");
  await page.click("#send");
  await until(() => document.getElementById("said").textContent.startsWith("updated"));
  check(true, "a second verdict takes the place of the first");

  if (LEARNS === "1") {
    const loss = await shape("#loss"), versions = await page.$$eval("#versions tbody tr", rows => rows.length);
    await page.click("#learn");
    await until(() => /accepted|rejected|failed/.test(document.getElementById("said").textContent));
    check((await text("#said")).startsWith("accepted"), "it learns: " + await text("#said"));
    await until(old => document.getElementById("loss").innerHTML !== old, loss);
    check(/circle/.test(await shape("#loss")), "the loss chart has points");
    await until(count => document.querySelectorAll("#versions tbody tr").length > count, versions);
    check(true, "there is a new version");
    await page.screenshot({ path: PICTURES + "/page-learnt.png", fullPage: true });
    await page.click("#versions tbody button");
    await until(() => document.getElementById("said").textContent.startsWith("serving"));
    check(true, "the first version is served again");
  }
  await page.screenshot({ path: PICTURES + "/page.png", fullPage: true });

  // Narrow, as on a telephone: nothing is wider than the screen.
  await page.setViewport({ width: 390, height: 840 });
  await page.waitForFunction(() => document.documentElement.clientWidth === 390);
  check(await page.evaluate(() => document.documentElement.scrollWidth) <= 390, "it fits a narrow screen");
  await page.screenshot({ path: PICTURES + "/page-narrow.png" });

  await page.setViewport({ width: 1000, height: 900 });
  await page.goto(url + "/docs", { waitUntil: "load" });
  await until(() => document.querySelectorAll("details").length > 8);
  await page.$$eval("details", all => { all[0].open = true; });
  check((await page.$$eval("details code", all => all.map(c => c.textContent))).includes("/infer"), "the documents name /infer");
  await page.screenshot({ path: PICTURES + "/docs.png" });

  check(outside.length === 0, "nothing is loaded from elsewhere " + outside.join(" "));
  check(faults.length === 0, "no errors in the console " + faults.join("; "));
} finally {
  await browser.close();
}
