// Opens the page of reports from disk in a headless Chromium and checks what a reader does with it. Run by
// scripts/report-page.sh, which gives PAGE, CHROMIUM and PICTURES.

import puppeteer from "puppeteer-core";

const { PAGE, CHROMIUM, PICTURES } = process.env;
const address = "file://" + PAGE;
const check = (holds, what) => { if (!holds) throw new Error("failed: " + what); console.log("ok: " + what); };

const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
try {
  const page = await browser.newPage();
  const faults = [], outside = [];
  page.on("pageerror", error => faults.push(error.message));
  page.on("console", message => message.type() === "error" && faults.push(message.text()));
  page.on("request", request => request.url() !== address && !request.url().startsWith("data:") && outside.push(request.url()));

  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address, { waitUntil: "load" });
  const charts = await page.$$eval("figure svg", all => all.map(svg => svg.getBoundingClientRect().height));
  check(charts.length >= 5 && charts.every(height => height > 100), `${charts.length} charts are drawn`);

  // A numeric column sorts by value, up and then down, whatever the text looks like.
  const column = () => page.$eval("#scores table", table => {
    const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    const index = heads.indexOf("bits/byte");
    table.tHead.rows[0].cells[index].firstChild.click();
    return [...table.tBodies[0].rows].map(row => Number(row.cells[index].dataset.v));
  });
  const rises = values => values.every((value, i) => i === 0 || values[i - 1] <= value);
  const up = await column();
  check(up.length > 3 && rises(up), `a column sorts upwards: ${up[0]} to ${up.at(-1)}`);
  const down = await column();
  check(rises(down.toReversed()), "and downwards");
  const state = await page.$eval("#scores table th[aria-sort]", head => head.getAttribute("aria-sort"));
  check(state === "descending", "and says so to a screen reader");
  const words = await page.$eval("#scores table", table => {
    table.tHead.rows[0].cells[0].firstChild.click();
    return [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
  });
  check(words.join() === [...words].sort((a, b) => a.localeCompare(b)).join(), "words sort by letter");
  await page.screenshot({ path: PICTURES + "/light.png" });
  const look = selector => page.$eval(selector, node => getComputedStyle(node).fill);
  const ink = await look("figure svg text.t");

  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  const ground = await page.$eval("body", node => getComputedStyle(node).backgroundColor);
  check(/rgb\((\d+), (\d+), (\d+)\)/.exec(ground).slice(1).every(part => part < 60), `dark has a dark ground: ${ground}`);
  check(await look("figure svg text.t") !== ink, "and the charts follow");
  await page.screenshot({ path: PICTURES + "/dark.png" });
  await page.evaluate(() => document.getElementById("scores-part").scrollIntoView());
  await page.screenshot({ path: PICTURES + "/dark-scores.png" });

  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await page.setViewport({ width: 400, height: 800, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await page.goto(address, { waitUntil: "load" });
  const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide <= shown, `a phone scrolls down only: ${wide} of ${shown} pixels`);
  await page.screenshot({ path: PICTURES + "/phone.png" });
  await page.evaluate(() => document.getElementById("scores-part").scrollIntoView());
  await page.screenshot({ path: PICTURES + "/phone-scores.png" });

  check(outside.length === 0, "nothing is requested from anywhere: " + outside.join());
  check(faults.length === 0, "no errors: " + faults.join("; "));
} finally {
  await browser.close();
}
