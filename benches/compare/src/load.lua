-- The request that wrk repeats (method and body length are arguments, headers are options of
-- wrk), and one line with what came of it.

function init(args)
  wrk.method = args[1]
  local length = tonumber(args[2])
  if length > 0 then
    wrk.body = string.rep("x", length)
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "measured: %d %d %d %d\n",
    summary.requests,
    summary.duration,
    latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout
  ))
end
