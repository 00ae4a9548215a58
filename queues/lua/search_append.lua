#!lua
-- Append a supplier's rates, and finish one of its parts with the last of them. The same chunk
-- twice changes nothing; neither does a chunk for a search that is completed, expired, or past its
-- deadline: what was shown stays as it was shown.
--
-- KEYS  1 entry  2 rates  3 suppliers  4 chunks that came  5 places of the rates
-- ARGV  1 supplier  2 chunk id  3 "1" when its part is finished  4 error text or ""
--       5 when the search began that was asked for (ms), or "": the one before it had the same key
--       6.. the name of a rate, the rate as JSON, the next name, ...
-- Returns {"appended", rates so far}, {"repeated"} or {"late"}
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local entry = redis.call('HMGET', KEYS[1],
    'is_completed', 'deadline_ms', 'created_ms', 'expires_ms', 'open')
local line = redis.call('HGET', KEYS[3], ARGV[1])
if entry[1] ~= '0' or not line or now_ms >= tonumber(entry[2])
    or ARGV[5] ~= '' and ARGV[5] ~= entry[3] then
    return {'late'}
end
if redis.call('SADD', KEYS[4], ARGV[2]) == 0 then
    return {'repeated'}
end
line = cjson.decode(line)
local place = redis.call('LLEN', KEYS[2])
-- By the thousand: Lua's stack bounds what one call takes.
for first = 6, #ARGV, 2000 do
    local rates, places = {}, {}
    for i = first, math.min(first + 1999, #ARGV), 2 do
        rates[#rates + 1] = ARGV[i + 1]
        places[#places + 1] = ARGV[i]
        places[#places + 1] = place
        place = place + 1
    end
    redis.call('RPUSH', KEYS[2], unpack(rates))
    redis.call('HSET', KEYS[5], unpack(places))
end
line.rates = line.rates + (#ARGV - 5) / 2
line.latency_ms = now_ms - tonumber(entry[3])
if ARGV[4] ~= '' then
    line.error = ARGV[4]
end
if ARGV[3] == '1' then
    line.parts_done = line.parts_done + 1
    if line.parts_done == line.parts then
        line.state = (line.error and line.rates == 0) and 'failed' or 'done'
    end
    if redis.call('HINCRBY', KEYS[1], 'open', -1) == 0 then
        redis.call('HSET', KEYS[1], 'is_completed', 1)
    end
end
redis.call('HSET', KEYS[3], ARGV[1], cjson.encode(line))
redis.call('HINCRBY', KEYS[1], 'revision', 1)
for i = 2, 5 do
    redis.call('PEXPIREAT', KEYS[i], entry[4])
end
return {'appended', place}
