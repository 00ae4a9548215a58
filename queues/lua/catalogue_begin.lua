#!lua flags=allow-oom
-- Begin a generation of the catalogue that nobody sees yet. One that was begun before and never
-- shown is given up: its keys are removed later. Repeating it begins another one.
-- A generation is the moment of its beginning in ms, so that no number comes twice, not even
-- after a flush.
--
-- KEYS  1 lease  2 state  3 old
-- ARGV  1 token of the lease  2 lease in ms
-- Returns {"ok", generation, now in ms} or {"lost"}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[2], 'generation', 'building')
local generation = math.max(now_ms, (tonumber(found[1]) or 0) + 1, (tonumber(found[2]) or 0) + 1)
if found[2] then
    redis.call('RPUSH', KEYS[3], found[2])
end
redis.call('HSET', KEYS[2], 'building', string.format('%.0f', generation))
redis.call('HDEL', KEYS[2], 'wanted')
return {'ok', string.format('%.0f', generation), string.format('%.0f', now_ms)}
