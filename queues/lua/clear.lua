#!lua flags=allow-oom
-- Erase keys of a road on which nobody works. Whoever erases holds the lease of the road; one
-- that slept until it ran out erases nothing any more. A crash leaves fewer keys: run it again.
--
-- KEYS  1 lease  2 workers  3.. the keys to erase
-- ARGV  1 token  2 lease in ms
-- Returns {'cleared', how many were there}, {'lost'}, or {'busy', worker, worker, ...}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local alive = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now_ms, '+inf')
if #alive > 0 then
    return {'busy', unpack(alive)}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local erased = 0
for i = 3, #KEYS do
    erased = erased + redis.call('UNLINK', KEYS[i])
end
return {'cleared', erased}
