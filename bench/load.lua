-- What wrk does here: one request again and again, at most LIMIT times a thread (wrk's own -d
-- bounds the time), and at the end one line of JSON. Call: wrk … --script load.lua URL -- LIMIT
local bytes, limit
local sent = 0

function init(arguments)
  limit = tonumber(arguments[1])
  bytes = wrk.format()
end

function request()
  sent = sent + 1
  if sent > limit then wrk.thread:stop() end
  return bytes
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "failed": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
