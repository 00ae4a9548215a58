-- wrk's side of the bench over HTTP: what is sent, when, and the result as one JSON line.
--
-- Behind `--` on wrk's command line:
--   1  the body, with %d for the number of the request
--   2  requests per second at even distances, or 0: as many as are answered
--   3  "keys" gives each request an Idempotency-Key of its own; "no" none
--   4  a file of paths, one a line: they are got in turn, and no body is sent
local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long s; long ns; } bench_moment;
    int clock_gettime(int clock, bench_moment *now);
]]
local MONOTONIC = 1
local moment = ffi.new("bench_moment")

local function now_ms()
    ffi.C.clock_gettime(MONOTONIC, moment)
    return tonumber(moment.s) * 1000 + tonumber(moment.ns) / 1e6
end

local body, rate, key, started_ms
local slot, sent = 0, 0
local paths = {}

function init(args)
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    body = args[1]
    rate = tonumber(args[2])
    if rate == 0 then
        delay = nil
    end
    key = args[3] == "keys" and string.format("bench-%.0f-", now_ms() * 1000)
    if args[4] then
        wrk.headers["Accept-Encoding"] = "gzip"
        for line in io.lines(args[4]) do
            paths[#paths + 1] = line
        end
    end
end

function request()
    sent = sent + 1
    if #paths > 0 then
        return wrk.format("GET", paths[(sent - 1) % #paths + 1])
    end
    if key then
        wrk.headers["Idempotency-Key"] = key .. sent
    end
    return wrk.format(nil, nil, nil, string.format(body, sent))
end

-- Slots stand on a timetable. Whichever connection is free takes the next one, so an answer that
-- takes long delays no other request while any connection is free.
function delay()
    started_ms = started_ms or now_ms()
    local due_ms = started_ms + slot * 1000 / rate
    slot = slot + 1
    return math.max(0, math.floor(due_ms - now_ms() + 0.5))
end

function done(summary, latency)
    local wrong = summary.errors
    print(string.format(
        '{"answered": %d, "took_s": %.6f, "refused": %d, "broken": %d, ' ..
        '"p50_ms": %.3f, "p99_ms": %.3f}',
        summary.requests, summary.duration / 1e6, wrong.status,
        wrong.connect + wrong.read + wrong.write + wrong.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
