-- Requests of the load test, for wrk. BODY, PAUSE_MS and OUT come from scripts/serve-bench.py.
wrk.method = "POST"
wrk.path = "/infer"
wrk.headers["Content-Type"] = "application/json"
wrk.body = os.getenv("BODY")

local pause_ms = tonumber(os.getenv("PAUSE_MS") or "0")
if pause_ms > 0 then
  -- Spread around the mean, so that connections do not march in step.
  function delay() return math.random(0, 2 * pause_ms) end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local file = io.open(os.getenv("OUT"), "w")
  file:write(string.format(
    '{"seconds": %.6f, "answers": %d, "errors": %d, "mean_ms": %.4f, "p50_ms": %.4f, "p95_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n',
    summary.duration / 1e6, summary.requests, bad, latency.mean / 1e3, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
  file:close()
end
