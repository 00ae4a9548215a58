#!lua flags=allow-oom
-- Keep a token that was issued, unless somebody else was asked to have one issued meanwhile: who
-- slept through the life of its lock must not put an older token over a newer one.
--
-- KEYS  1 token  2 lock    ARGV  1 owner of the lock  2 value  3 life in ms
-- Returns 1 kept, 0 the lock is not ours any more
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
local now = redis.call('TIME')
local expires_ms = now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'value', ARGV[2], 'life_ms', ARGV[3],
    'expires_ms', string.format('%.0f', expires_ms))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires_ms))
redis.call('DEL', KEYS[2])
return 1
