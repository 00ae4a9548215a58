#!lua flags=allow-oom
-- Ask whether a supplier may be called now, and take one of its places if so. A place is held until
-- it is given back or its time is over: a holder that died keeps nobody out for longer. Asking again
-- with the same holder, before its next call, renews the place: rate and pause count for every call,
-- places and failures for the first one.
--
-- After too many failures in a row nobody is let in for a while; then one at a time is, to see.
--
-- KEYS  1 slots  2 gate
-- ARGV  1 holder  2 most at once (0: any)  3 life of a place in ms  4 most per second (0: any)
--       5 failures in a row that close the gate
-- Returns {"go"}, {"full"}, {"wait", ms} or {"open", ms left}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local life_ms = tonumber(ARGV[3])
local gate = redis.call('HMGET', KEYS[2], 'failures', 'open_until', 'paused_until', 'probe_until',
    'next_ms')
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if tonumber(gate[3] or '0') > now_ms then
    return {'wait', math.ceil(tonumber(gate[3]) - now_ms)}
end
local closed = not held and tonumber(gate[1] or '0') >= tonumber(ARGV[5])
if closed then
    local until_ms = math.max(tonumber(gate[2] or '0'), tonumber(gate[4] or '0'))
    if until_ms > now_ms then
        return {'open', math.ceil(until_ms - now_ms)}
    end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if not held and tonumber(ARGV[2]) > 0 and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return {'full'}
end
if tonumber(ARGV[4]) > 0 then
    -- Requests are spread evenly; a tenth of a second's worth may come together.
    local step, next_ms = 1000 / tonumber(ARGV[4]), tonumber(gate[5] or '0')
    if next_ms > now_ms + 100 then
        return {'wait', math.ceil(next_ms - now_ms - 100)}
    end
    redis.call('HSET', KEYS[2], 'next_ms',
        string.format('%.3f', math.max(next_ms, now_ms) + step))
end
if closed then
    -- The one that is let in to see. Noted here, where it goes: one that was let in nowhere would keep
    -- all others out.
    redis.call('HSET', KEYS[2], 'probe_until', string.format('%.0f', now_ms + life_ms))
end
redis.call('ZADD', KEYS[1], now_ms + life_ms, ARGV[1])
redis.call('PEXPIRE', KEYS[1], life_ms * 2)
redis.call('PEXPIRE', KEYS[2], 3600000)
return {'go'}
