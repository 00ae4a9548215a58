#!lua
-- Note which suppliers are asked, and in how many parts. Only the first plan counts: a search job
-- that is delivered again finds it there and enqueues the same parts under the same ids.
--
-- KEYS  1 entry  2 suppliers    ARGV  supplier, parts, supplier, parts, ...
-- Returns 1 planned, 0 planned before, -1 there is no such search, or it is completed
if redis.call('HGET', KEYS[1], 'is_completed') ~= '0' then
    return -1
end
if redis.call('HGET', KEYS[1], 'planned') == '1' then
    return 0
end
local open = 0
for i = 1, #ARGV, 2 do
    open = open + tonumber(ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], cjson.encode({
        state = 'pending', parts = tonumber(ARGV[i + 1]), parts_done = 0, rates = 0}))
end
redis.call('PEXPIREAT', KEYS[2], redis.call('HGET', KEYS[1], 'expires_ms'))
redis.call('HSET', KEYS[1], 'planned', 1, 'open', open)
if open == 0 then
    redis.call('HSET', KEYS[1], 'is_completed', 1)
end
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
