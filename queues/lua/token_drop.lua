#!lua flags=allow-oom
-- Forget a token that was refused, if it is still the one that is kept. The same for a lock.
--
-- KEYS  1 token (hash) or lock (string)    ARGV  1 its value    Returns 1 or 0
local kind = redis.call('TYPE', KEYS[1]).ok
local value
if kind == 'hash' then
    value = redis.call('HGET', KEYS[1], 'value')
elseif kind == 'string' then
    value = redis.call('GET', KEYS[1])
end
if value and value == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
