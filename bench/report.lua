-- wrk's own report rounds; this prints what it counted, exactly.
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "REPORT requests=%d bytes=%d microseconds=%d failed=%d\n",
    summary.requests, summary.bytes, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
